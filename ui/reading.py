"""One reading of files into an index, and how it is done in a process of its own.

`read_apart` starts another Python that calls `main`, gives it the task on its standard input, and passes on what it
tells. That process stops when its standard input is closed: because it was asked to, or because the server is not there
any more.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any, Protocol, TextIO

from rag.errors import RagError
from rag.index import Index
from rag.ingest import IngestReport
from rag.loaders import Limits
from rag.plan import FileChange
from rag.progress import Progress
from ui.limits import upload_mb

_TELL_S = 0.2  # between two lines on where it stands


@dataclass(frozen=True, slots=True)
class Task:
    """What is to be read into which index."""

    index: Path  # its folder; made where there is none
    title: str  # what people call it: '~/Documents/handbook', '3 files'
    paths: tuple[str, ...] = ()  # absolute; folders and files
    uploads: tuple[str, ...] = ()  # names of files that were handed over

    def does_as(self, other: Task) -> bool:
        """Whether both read the same."""
        return (self.index, self.paths, self.uploads) == (other.index, other.paths, other.uploads)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a reading stands."""

    files_done: int = 0
    files_total: int = 0
    files_in: int = 0  # in the index, those of earlier readings included: they can be asked
    chunks: int = 0  # of the files read so far
    current: str = ""  # the file at hand
    bytes_done: int = 0  # of the files that are new or changed
    bytes_total: int = 0


@dataclass(frozen=True, slots=True)
class Waiting:
    """Another writer is at work, and waited for."""

    who: str


@dataclass(frozen=True, slots=True)
class Finished:
    """All was read, or it was stopped between two files."""

    report: dict[str, Any]  # as `rag ingest --json` prints it
    edited: int  # files that were in the index already, with another content


@dataclass(frozen=True, slots=True)
class Failed:
    """It came to nothing; what was read before is kept."""

    problem: str  # in words for people


Told = Standing | Waiting | Finished | Failed


class Read(Protocol):
    """Reads what a task names, tells how it goes, and last of all that it finished or failed."""

    def __call__(self, task: Task, tell: Callable[[Told], None], stop: Event) -> None: ...


def read(task: Task, tell: Callable[[Told], None], stop: Event) -> None:
    """Read in this process and thread; `stop` is looked at between files and batches."""
    try:
        with Index.open_or_create(task.index, wait_s=math.inf, on_wait=lambda who: tell(Waiting(who))) as index:
            counts = _Counts(index.status().files, tell)
            report = index.ingest(
                *task.paths,
                uploads=task.uploads,
                as_before=True,  # what `rag ingest --exclude` left out stays out
                # A lower limit of uploads was heeded when they came; here it would take larger files of folders out.
                max_file_mb=max(upload_mb(), Limits().max_file_mb) if task.uploads else Limits().max_file_mb,
                progress=counts.progressed,
                on_change=counts.changed,
                stop=stop.is_set,
            )
    except RagError as exc:
        tell(Failed(str(exc)))
    else:
        tell(counts.finished(report))


class _Counts:
    """Keeps count of what is in the index while it is read, and tells so a few times a second."""

    def __init__(self, files_in: int, tell: Callable[[Told], None]) -> None:
        self._files_in = files_in
        self._edited = 0
        self._tell = tell
        self._told_at = -math.inf
        tell(Standing(files_in=files_in))

    def changed(self, change: FileChange) -> None:
        self._files_in += {"added": 1, "removed": -1}.get(change.kind, 0)
        self._edited += change.kind == "edited"

    def progressed(self, progress: Progress) -> None:
        if time.monotonic() - self._told_at < _TELL_S and progress.files_done < progress.files_total:
            return
        self._told_at = time.monotonic()
        self._tell(
            Standing(
                progress.files_done,
                progress.files_total,
                self._files_in,
                progress.chunks,
                progress.current,
                progress.bytes_done,
                progress.bytes_total,
            )
        )

    def finished(self, report: IngestReport) -> Finished:
        return Finished(report.as_json(), self._edited)


# In a process of its own

_KINDS: dict[str, type[Told]] = {kind.__name__: kind for kind in (Standing, Waiting, Finished, Failed)}


# Ctrl+C in a terminal goes to all that run there. The server ends then, and with it this process's standard input.
_BEGIN = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from ui.reading import main; main()"


def read_apart(task: Task, tell: Callable[[Told], None], stop: Event) -> None:
    """Read in another process, which gives way to this one: the page keeps its share of the machine, and its memory.

    It can be killed at any time: what was read is kept, for each document is one transaction.
    """
    here = str(Path(__file__).parents[1])  # where `ui` and `rag` are, also when they are not installed
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", _BEGIN],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [*sys.path, here])), "PYTHONIOENCODING": "utf-8"},
    )
    assert process.stdin
    assert process.stdout
    asked_to_stop = Thread(target=_close_when, args=(stop, process), daemon=True)
    at, is_over = "", False
    with process:
        with suppress(OSError):  # it has ended already: there are no lines then
            process.stdin.write(json.dumps({**asdict(task), "index": str(task.index)}) + "\n")
            process.stdin.flush()
        asked_to_stop.start()
        for line in process.stdout:
            kind, values = json.loads(line)
            told = _KINDS[kind](**values)
            at = told.current if isinstance(told, Standing) and told.current else at
            is_over = is_over or isinstance(told, Finished | Failed)
            tell(told)
        process.wait()
        asked_to_stop.join()
    if not is_over:
        where = f" at {at}" if at else ""
        tell(Failed(f"Reading broke off{where} (exit code {process.returncode}). What was read is kept."))


def _close_when(stop: Event, process: subprocess.Popen[str]) -> None:
    """Close the process's standard input when it is to stop, or has ended."""
    while not stop.wait(0.1) and process.poll() is None:
        pass
    with suppress(OSError):
        assert process.stdin
        process.stdin.close()


def main() -> None:
    """What the process does: a task on standard input, what it tells as JSON lines on standard output."""
    with suppress(OSError, AttributeError):  # not everywhere
        os.nice(10)
    task = json.loads(sys.stdin.readline())
    stop = Event()
    Thread(target=_stop_at_end, args=(sys.stdin, stop), daemon=True).start()
    lines, sys.stdout = sys.stdout, sys.stderr  # no library writes between the lines

    def tell(told: Told) -> None:
        with suppress(OSError):  # nobody listens any more: it is about to stop
            lines.write(json.dumps([type(told).__name__, asdict(told)]) + "\n")
            lines.flush()

    read(
        Task(Path(task["index"]), task["title"], tuple(task["paths"]), tuple(task["uploads"])),
        tell,
        stop,
    )


def _stop_at_end(stream: TextIO, stop: Event) -> None:
    while stream.readline():
        pass
    stop.set()
