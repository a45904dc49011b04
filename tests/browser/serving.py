"""Serves the page for the browser tests: `python -m tests.browser.serving FOLDER PORT [STAND-IN …]`.

It is `rag ui` with its real models, but for what the named stand-ins put in their place. A stand-in is a function of
this module that takes the folder of indexes and gives options of `ui.server.serve`. What one of them holds back goes on
once the pipe `go` in that folder was written to.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rag.generators import Message
from ui.server import serve

TRUE = "Tomas Mikolov, Kai Chen, Greg Corrado and Jeffrey Dean of Google published word2vec in January 2013."
FALSE = "Most people read about it in summer."
NOWHERE = "openai:llama@http://127.0.0.1:9/v1"  # a port that nobody listens on


def _gate(folder: Path) -> threading.Event:
    """Is set once the test says so."""
    pipe, gate = folder / "go", threading.Event()
    os.mkfifo(pipe)

    def heed() -> None:
        pipe.read_bytes()  # comes back when somebody wrote
        gate.set()

    threading.Thread(target=heed, daemon=True).start()
    return gate


class _Writer:
    """Writes what it was told to, whatever it is asked; None holds back."""

    name = "openai:told@http://127.0.0.1:9/v1"
    control_tokens: Sequence[str] = ()

    def __init__(self, folder: Path, *said: str | None) -> None:
        self._gate = _gate(folder)
        self._said = said

    def room(self, max_tokens: int) -> int:
        return 4_000 - max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        for said in self._said:
            if said is None:
                self._gate.wait()
            else:
                yield said


def _writing(folder: Path, *said: str | None) -> dict[str, Any]:
    import ui.shell

    writer = _Writer(folder, *said)
    vars(ui.shell)["load_writer"] = lambda _: writer
    return {"generator": writer.name}


def false_sentence(folder: Path) -> dict[str, Any]:
    """A model that writes a sentence that the documents support, and one that they do not."""
    return _writing(folder, TRUE, " ", FALSE)


def hesitant(folder: Path) -> dict[str, Any]:
    """A model that holds back after its first sentence."""
    return _writing(folder, TRUE, " Ilya Sutskever was an author of", None, " the second paper.")


def down(folder: Path) -> dict[str, Any]:
    """A model on a server that is not there."""
    return {"generator": NOWHERE}


def slow_to_load(folder: Path) -> dict[str, Any]:
    """The models take as long to load as it pleases the test."""
    from ui.shell import Opened

    load, gate = Opened.warm_up, _gate(folder)

    def held(self: Opened) -> None:
        gate.wait()
        load(self)

    Opened.warm_up = held  # type: ignore[method-assign]
    return {}


STAND_INS: dict[str, Callable[[Path], dict[str, Any]]] = {
    stand_in.__name__: stand_in for stand_in in (false_sentence, hesitant, down, slow_to_load)
}


def main() -> None:
    folder, port, *names = sys.argv[1:]
    options: dict[str, Any] = {}
    for name in names:
        options |= STAND_INS[name](Path(folder))
    serve(Path(folder), port=int(port), ready=lambda address: print(address, flush=True), **options)  # noqa: T201 - for the test


if __name__ == "__main__":
    main()
