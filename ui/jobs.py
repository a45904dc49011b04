"""Readings of this server: what waits, runs and has ended, for every session and tab to see and to stop.

A reading survives the page that began it. Of one index one is read at a time; the next waits its turn. What is not
finished is noted beside the index, so that it can go on after the server was stopped, or what made it fail was mended.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

from rag.files import write_whole
from rag.locks import who_writes
from ui.reading import Failed, Finished, Read, Standing, Task, Told, Waiting, read_apart

NOTE = "reading.json"  # beside the index: the tasks that are not finished
_ENDED_KEPT = 5  # of each index
_WINDOW_S = 30.0  # over which speed is measured
_ENOUGH_S = 2.0  # of measuring before time left is told

State = Literal["waiting", "running", "stopping", "stopped", "done", "failed"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """A reading at one moment."""

    number: int  # counted from 1 in this process
    task: Task
    state: State = "waiting"
    waits_for: str = ""  # another writer, in words
    standing: Standing = field(default_factory=Standing)
    seconds_left: float | None = None  # None until it can be told
    finished: Finished | None = None  # once stopped or done
    problem: str = ""  # why it failed

    @property
    def is_over(self) -> bool:
        return self.state in ("stopped", "done", "failed")


class Jobs:
    """The readings of one process. Every method may be called from any thread and returns at once, except `wait`."""

    def __init__(self, read: Read = read_apart, *, clock: Callable[[], float] = time.monotonic) -> None:
        """No reading yet.

        Args:
            read: does one; in a thread of ours.
            clock: seconds, for the time that is left.
        """
        self._read = read
        self._clock = clock
        self._numbers = count(1)
        self._jobs: dict[int, Job] = {}
        self._stops: dict[int, threading.Event] = {}
        self._queues: dict[Path, deque[int]] = {}  # of indexes that a thread works for
        self._changed = threading.Condition(threading.RLock())

    def start(self, task: Task) -> Job:
        """Read what the task names as soon as the index is free; a reading of the same that is not over serves."""
        task = replace(task, index=task.index.absolute())
        with self._changed:
            for job in self._jobs.values():
                if job.task.does_as(task) and not job.is_over and job.state != "stopping":
                    return job
            _note(task.index, [*(t for t in _noted(task.index) if not t.does_as(task)), task])
            job = Job(next(self._numbers), task)
            self._jobs[job.number] = job
            self._stops[job.number] = threading.Event()
            self._forget_old(task.index)
            if (queue := self._queues.get(task.index)) is not None:
                queue.append(job.number)
            else:
                self._queues[task.index] = deque([job.number])
                threading.Thread(target=self._work, args=(task.index,), daemon=True, name="reading").start()
            self._changed.notify_all()
            return job

    def stop(self, number: int) -> None:
        """Let a reading end after the file at hand; what was read is kept. One that is over is left alone."""
        with self._changed:
            job = self._jobs.get(number)
            if job is not None and not job.is_over:
                self._stops[number].set()
                self._put(replace(job, state="stopping" if job.state == "running" else "stopped"))

    def of(self, index: Path) -> list[Job]:
        """The readings of an index, the oldest first; of those that are over only the last few."""
        with self._changed:
            return [job for job in self._jobs.values() if job.task.index == index.absolute()]

    def active(self, index: Path) -> Job | None:
        """The reading that is under way, or else the first that waits."""
        return next((job for job in self.of(index) if not job.is_over), None)

    def latest(self, index: Path) -> Job | None:
        """The last reading that is over, unless one is under way, or it was dismissed."""
        jobs = self.of(index)
        return jobs[-1] if jobs and all(job.is_over for job in jobs) else None

    def begun(self, folder: Path) -> list[Path]:
        """The indexes of a folder that were begun to be read: those that still are, then the others, the latest first.

        Last come those that an earlier server left unread.
        """
        folder = folder.absolute()
        with self._changed:
            jobs = [job for job in self._jobs.values() if job.task.index.parent == folder]
        going = [job.task.index for job in jobs if not job.is_over]
        over = [job.task.index for job in reversed(jobs) if job.is_over]
        noted = sorted(note.parent for note in folder.glob(f"*/{NOTE}"))
        return list(dict.fromkeys([*going, *over, *noted]))

    def unfinished(self, index: Path) -> list[Task]:
        """What a reading that was stopped or failed, or an earlier server, left unread, if nobody reads just now."""
        index = index.absolute()
        with self._changed:
            if self.active(index) is not None:
                return []
            tasks = _noted(index)
        return tasks if tasks and who_writes(index) is None else []

    def dismiss(self, index: Path) -> list[Task]:
        """Speak no more of the readings of an index that are over, nor of what was left unread; returns the latter."""
        with self._changed:
            for job in self.of(index):
                if job.is_over:
                    del self._jobs[job.number], self._stops[job.number]
            going = [job.task for job in self.of(index)]
            left = [task for task in _noted(index.absolute()) if not any(task.does_as(other) for other in going)]
            _note(index.absolute(), going)
            self._changed.notify_all()
            return left

    def wait(self, number: int, until: Callable[[Job], bool], *, seconds: float) -> Job:
        """The job as soon as a condition holds of it; raises `TimeoutError` if it does not within that time."""
        with self._changed:
            if not self._changed.wait_for(lambda: until(self._jobs[number]), seconds):
                raise TimeoutError(f"job {number} is {self._jobs[number]!r}")
            return self._jobs[number]

    def _work(self, index: Path) -> None:
        """Read what waits for an index, one after the other, until nothing does."""
        while True:
            with self._changed:
                queue = self._queues[index]
                if not queue:
                    del self._queues[index]
                    return
                job = self._jobs.get(queue.popleft())
                if job is None or job.is_over:  # it was stopped while it waited
                    continue
                stop = self._stops[job.number]
                self._put(replace(job, state="running"))
            try:
                self._read_one(job, stop)
            except Exception:  # a fault of ours in one leaves the others their turn
                log.exception("reading failed")

    def _read_one(self, job: Job, stop: threading.Event) -> None:
        """Do one, and put down what it came to. From the moment it tells that, it may be dismissed, and is gone."""
        speed = _Speed(self._clock)

        def tell(told: Told) -> None:
            with self._changed:
                if (now := self._jobs.get(job.number)) is None:
                    return
                now = _after(now, told, speed)
                if now.state == "done":
                    _note(job.task.index, [task for task in _noted(job.task.index) if not task.does_as(job.task)])
                self._put(now)

        try:
            self._read(job.task, tell, stop)
        except Exception:
            log.exception("reading failed")
            tell(Failed("Something went wrong while reading. What was read is kept."))
        with self._changed:
            ended = self._jobs.get(job.number)
            if ended is not None and not ended.is_over:
                self._put(replace(ended, state="failed", problem="Reading broke off."))

    def _put(self, job: Job) -> None:
        self._jobs[job.number] = job
        self._changed.notify_all()

    def _forget_old(self, index: Path) -> None:
        over = [job.number for job in self.of(index) if job.is_over]
        for number in over[:-_ENDED_KEPT]:
            del self._jobs[number], self._stops[number]


@cache
def jobs() -> Jobs:
    """The readings of this process."""
    return Jobs()


def _after(job: Job, told: Told, speed: _Speed) -> Job:
    """A job after it told something."""
    match told:
        case Standing():
            return replace(job, standing=told, waits_for="", seconds_left=speed.left(told))
        case Waiting(who):
            return replace(job, waits_for=who)
        case Finished(report):
            return replace(job, state="stopped" if report["stopped"] else "done", finished=told, waits_for="")
        case Failed(problem):
            return replace(job, state="failed", problem=problem, waits_for="")


class _Speed:
    """Bytes a second over the last half minute, for files are too unlike to be counted."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def left(self, standing: Standing) -> float | None:
        """Seconds to go at that speed; None as long as it was not measured."""
        now = self._clock()
        self._seen.append((now, standing.bytes_done))
        while len(self._seen) > 1 and now - self._seen[1][0] >= _WINDOW_S:
            self._seen.popleft()
        since, first = self._seen[0]
        seconds = now - since
        if seconds < _ENOUGH_S or standing.bytes_done <= first:
            return None
        return (standing.bytes_total - standing.bytes_done) * seconds / (standing.bytes_done - first)


# What is not finished, beside the index


def _noted(index: Path) -> list[Task]:
    with suppress(OSError, ValueError, KeyError, TypeError):
        noted: list[dict[str, Any]] = json.loads((index / NOTE).read_text(encoding="utf-8"))
        return [Task(index, str(t["title"]), tuple(t["paths"]), tuple(t["uploads"])) for t in noted]
    return []


def _note(index: Path, tasks: Sequence[Task]) -> None:
    """A disk that is full or closed to writing is no reason not to read: then it only cannot go on by itself."""
    with suppress(OSError):
        if tasks:
            index.mkdir(parents=True, exist_ok=True)
            noted = [{"title": t.title, "paths": t.paths, "uploads": t.uploads} for t in tasks]
            write_whole(index / NOTE, json.dumps(noted).encode())
        else:
            (index / NOTE).unlink(missing_ok=True)
