"""The worker process of `Isolated`: does what it is asked, one request after the other."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from typing import Any, BinaryIO

from rag.errors import LoadError
from rag.loaders.base import MEGABYTE, Limits, Loaded
from rag.types import Document, Section

MEMORY = "memory"  # the error of a file that needed more than there is

_Work = Callable[[Mapping[str, Any]], dict[str, Any]]
_Load = Callable[..., Loaded]


def main(options: Mapping[str, Any]) -> None:
    """Answer requests until there are no more, as when the process that asks has ended."""
    requests, replies = _private_pipes()
    _limit_itself(memory_mb=options["memory_mb"])
    work: _Work = _named(options["work"])
    while (request := receive(requests)) is not None:
        _alarm(options["seconds"] + 5)
        send(replies, _reply(work, request))
        _alarm(0)


def load_file(request: Mapping[str, Any]) -> dict[str, Any]:
    """The work of `IsolatedLoader`: the documents in one file, read by the function that `reader` names."""
    load: _Load = _named(request["reader"])
    loaded = load(request["path"], source=request["source"], limits=Limits(**request["limits"]))
    return loaded_to_json(loaded)


def _reply(work: _Work, request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return work(request)
    except LoadError as exc:
        return {"error": str(exc)}
    except MemoryError:
        return {"error": MEMORY}


def _named(name: str) -> Any:
    module, function = name.split(":")
    return getattr(importlib.import_module(module), function)


def _private_pipes() -> tuple[BinaryIO, BinaryIO]:
    """The pipes to and from the process that asks, out of reach of libraries that print or read."""
    requests, replies = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)
    return os.fdopen(requests, "rb"), os.fdopen(replies, "wb")


def _limit_itself(*, memory_mb: int) -> None:
    """Give way to others, leave Ctrl-C to the process that asks, and take no more memory than allowed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with suppress(ImportError, AttributeError, OSError, ValueError):  # not on every system
        os.nice(5)
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_AS, (memory_mb * MEGABYTE, memory_mb * MEGABYTE))


def _alarm(seconds: float) -> None:
    """Have the system end this process after so long (0: never), should nobody be left to do it."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def send(pipe: BinaryIO, message: Mapping[str, Any]) -> None:
    """Write a message: its length in 8 bytes, then JSON. Undecodable bytes of file names stay surrogates."""
    data = json.dumps(message, ensure_ascii=False).encode("utf-8", errors="surrogatepass")
    pipe.write(len(data).to_bytes(8, "big"))
    pipe.write(data)
    pipe.flush()


def receive(pipe: BinaryIO) -> dict[str, Any] | None:
    """The next message, or None where the other side has ended, be it within a message."""
    head = pipe.read(8)
    size = int.from_bytes(head, "big")
    if len(head) < 8 or len(data := pipe.read(size)) < size:
        return None
    message: dict[str, Any] = json.loads(data.decode("utf-8", errors="surrogatepass"))
    return message


def loaded_to_json(loaded: Loaded) -> dict[str, Any]:
    return {"documents": [asdict(document) for document in loaded.documents], "notes": loaded.notes}


def loaded_from_json(reply: Mapping[str, Any]) -> Loaded:
    documents = (
        Document(
            **{
                **entry,
                "sections": tuple(Section(**section) for section in entry["sections"]),
                "pages": tuple(entry["pages"]),
            }
        )
        for entry in reply["documents"]
    )
    return Loaded(tuple(documents), tuple(reply["notes"]))


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
