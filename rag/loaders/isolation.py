"""Reads files in a worker process, so that no file can crash, stall or swell the process that asks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from types import TracebackType
from typing import BinaryIO, Self

from rag.errors import LoadError
from rag.loaders.base import Limits, Loaded
from rag.loaders.worker import MEMORY, loaded_from_json, receive, send


class Isolated:
    """Calls a function in a worker process, within a time and a memory limit for each call.

    The worker starts at once and is started again after a request that was too much for it. Threads may share one;
    their requests are answered one after the other. Use it as a context manager, or call `close`.

    Args:
        work: 'module:function', which gets a request and returns a reply, both as JSON has them; it may raise
            `LoadError`.
        seconds: time for one request, after which the worker is killed.
        memory_mb: address space of the worker, where the system can limit it (not on Windows).
    """

    def __init__(self, work: str, *, seconds: float = 60, memory_mb: int = 2048) -> None:
        self._seconds = seconds
        self._memory_mb = memory_mb
        self._options: dict[str, object] = {"work": work, "seconds": seconds, "memory_mb": memory_mb}
        self._lock = Lock()
        self._worker: _Worker | None = _Worker(self._options)

    def call(self, request: dict[str, object]) -> dict[str, object]:
        """The reply.

        Raises:
            LoadError: as the function did, or because it took too long, too much memory, or crashed.
        """
        with self._lock:
            reply = self._ask(request)
        if "error" in reply:
            raise LoadError(str(reply["error"]))
        return reply

    def close(self) -> None:
        """End the worker; a later `load` starts another."""
        with self._lock:
            self._stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, request: dict[str, object]) -> dict[str, object]:
        """One reply; what a worker that has read other files could not do, a fresh one tries again."""
        while True:
            worker = self._worker = self._worker or _Worker(self._options)
            was_fresh = worker.n_asked == 0
            try:
                reply = worker.ask(request, self._seconds)
            except TimeoutError:
                self._stop()
                raise LoadError(f"took longer than {self._seconds:g} s to read") from None
            except BaseException:  # an interrupt, say: the reply to this question must not answer the next
                self._stop()
                raise
            if reply is not None and reply.get("error") != MEMORY:
                return reply
            code = self._stop()
            if not was_fresh:
                continue
            if reply is not None:
                raise LoadError(f"needed more memory than {self._memory_mb} MB to read")
            raise LoadError(f"crashed the reader ({_cause(code)})")

    def _stop(self) -> int:
        """End the worker, if there is one, and return its exit code."""
        worker, self._worker = self._worker, None
        return worker.stop() if worker else 0


class IsolatedLoader(Isolated):
    """Does what `rag.loaders.load` does, within a time and a memory limit for each file.

    Args:
        limits: as for `load`.
        seconds: time for one file, after which the worker is killed.
        memory_mb: address space of the worker, where the system can limit it (not on Windows).
        reader: 'module:function' with the signature of `load`, to read files of your own in the same safety.
    """

    def __init__(
        self,
        *,
        limits: Limits | None = None,
        seconds: float = 60,
        memory_mb: int = 2048,
        reader: str = "rag.loaders:load",
    ) -> None:
        super().__init__("rag.loaders.worker:load_file", seconds=seconds, memory_mb=memory_mb)
        self._with: dict[str, object] = {"limits": asdict(limits or Limits()), "reader": reader}

    def load(self, path: str | os.PathLike[str], *, source: str) -> Loaded:
        """The documents in one file.

        Raises:
            LoadError: as from `load`, or because the file took too long, too much memory, or crashed the reader.
        """
        return loaded_from_json(self.call({"path": os.fsdecode(path), "source": source, **self._with}))


class _Worker:
    """The process, and a thread that waits for its replies (pipes cannot be polled on every system)."""

    def __init__(self, options: dict[str, object]) -> None:
        here = str(Path(__file__).parents[2])  # where `rag` is, also when it is not installed
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "rag.loaders.worker", json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, here]))},
        )
        assert self._process.stdin
        assert self._process.stdout
        self._requests: BinaryIO = self._process.stdin  # type: ignore[assignment]
        self._replies: SimpleQueue[dict[str, object] | None] = SimpleQueue()
        self._thread = Thread(target=self._listen, args=(self._process.stdout,), daemon=True)
        self._thread.start()
        self.n_asked = 0

    def ask(self, request: dict[str, object], seconds: float) -> dict[str, object] | None:
        """The reply, or None if the worker ended instead; `TimeoutError` if there is none in time."""
        self.n_asked += 1
        try:
            send(self._requests, request)
        except OSError:
            return None
        try:
            return self._replies.get(timeout=seconds)
        except Empty:
            raise TimeoutError from None

    def stop(self) -> int:
        """Kill the process, which has nothing to save; its exit code is its own if it ended before."""
        if self._thread.is_alive():
            self._process.kill()
        code = self._process.wait()
        self._thread.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe:
                with suppress(OSError):  # what was not yet written to a dead process
                    pipe.close()
        return code

    def _listen(self, replies: BinaryIO) -> None:
        try:
            while (reply := receive(replies)) is not None:
                self._replies.put(reply)
        finally:
            self._replies.put(None)


def _cause(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
