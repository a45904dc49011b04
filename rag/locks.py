"""One writer at a time: the lock of an index folder, and who holds it (filelock)."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexBusyError, UsageError
from rag.progress import Stopped

if TYPE_CHECKING:
    from filelock import FileLock

_LOOK_S = 0.25  # between two looks at whether to give up
_MOMENT_S = 0.1  # in which one that only asks who writes lets go again

# JSON, though not by its name: it is no document. Trusted only while the lock is held.
HOLDER = "write.holder"  # says who writes


@contextmanager
def write_lock(
    folder: Path,
    *,
    doing: str,
    wait_s: float = 0,
    on_wait: Callable[[str], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Iterator[None]:
    """Hold the write lock of an index folder; the system lets go of it however the process ends.

    Args:
        folder: of the index.
        doing: what for, as others are told: 'ingest'.
        wait_s: seconds to wait for another writer; `math.inf` for as long as it takes.
        on_wait: told once who is waited for.
        stop: asked a few times a second whether to give up waiting.

    Raises:
        IndexBusyError: another writer holds it; the message says who, and since when.
        Stopped: `stop` said so while it waited.
        UsageError: the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "write.lock")
    try:
        try:
            lock.acquire(timeout=_MOMENT_S, poll_interval=0.01)
        except Timeout:
            if wait_s <= 0:
                raise
            if on_wait is not None:
                on_wait(_holder(folder))
            _wait(lock, wait_s, stop or (lambda: False))
    except Timeout as exc:
        raise IndexBusyError(
            f"{_holder(folder)} is writing to the index in {str(folder)!r}: "
            "try again when it is done, or wait for it with --wait"
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"cannot write to the index in {str(folder)!r} ({exc.strerror or exc}): check who may write there"
        ) from exc
    try:
        _tell(folder, doing)
        yield
    finally:
        with suppress(OSError):
            (folder / HOLDER).unlink()
        lock.release()


def who_writes(folder: Path) -> str | None:
    """Who holds the write lock of an index folder and since when, in words; None where nobody does."""
    from filelock import FileLock, Timeout

    if not (folder / HOLDER).exists():
        return None
    lock = FileLock(folder / "write.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return _holder(folder)
    except OSError:
        return None
    with suppress(OSError):  # left behind by one that was killed
        (folder / HOLDER).unlink()
    lock.release()
    return None


def _wait(lock: FileLock, wait_s: float, stop: Callable[[], bool]) -> None:
    """Take a lock that another process holds, or raise `Timeout`."""
    from filelock import Timeout

    until = time.monotonic() + wait_s
    while True:
        left = until - time.monotonic()
        with suppress(Timeout):
            lock.acquire(timeout=max(min(left, _LOOK_S), 0), poll_interval=0.05)
            return
        if stop():
            raise Stopped
        if left <= 0:
            raise Timeout(str(lock.lock_file))


def _tell(folder: Path, doing: str) -> None:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"doing": doing, "process": os.getpid(), "host": socket.gethostname(), "since": since}
    with suppress(OSError):  # a full disk: then nobody is told, and the lock holds all the same
        (folder / HOLDER).write_text(json.dumps(holder), encoding="utf-8")


def _holder(folder: Path) -> str:
    """Who holds the lock and since when, in words."""
    try:
        told = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        since = datetime.fromisoformat(told["since"]).astimezone()
        where = "" if told["host"] == socket.gethostname() else f" on {told['host']}"
        when = f"{since:%H:%M:%S}" if since.date() == datetime.now().astimezone().date() else f"{since:%Y-%m-%d %H:%M}"
        return f"process {int(told['process'])}{where} (rag {told['doing']}, since {when})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
