"""Keeps an index in step with folders while they change (watchfiles); each sync is an ordinary ingest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISDIR
from typing import NamedTuple

from rag.errors import IndexBusyError, RagError, UsageError
from rag.folders import is_below
from rag.index import Index
from rag.ingest import IngestReport
from rag.plan import FileChange
from rag.progress import Progress

_QUIET_MS = 300  # without a change, after which an edit is taken to be done
_LONGEST_MS = 5_000  # from a first change to its sync, while others keep coming
_LOOK_MS = 250  # between two looks at whether to stop
_ANYWAY_S = 600  # between two syncs though nothing was told: behind links and on network drives nothing is
_AGAIN_S = 10  # after a sync that failed
_RULES = (".ragignore", ".gitignore")


@dataclass(frozen=True, slots=True)
class Watched:
    """What a watch did, from its beginning to its end."""

    syncs: int
    changes: int


def watch(
    index: Index,
    *paths: str | os.PathLike[str],
    exclude: Sequence[str] = (),
    gitignore: bool = False,
    stop: Callable[[], bool],
    progress: Callable[[Progress], None] | None = None,
    on_change: Callable[[FileChange], None] | None = None,
    on_sync: Callable[[IngestReport], None] | None = None,
    on_problem: Callable[[RagError], None] | None = None,
) -> Watched:
    """Ingest, and then ingest again whenever something below the paths has changed and come to rest.

    Args:
        index: open it with `wait_s`, so that another writer is waited for.
        paths: folders or files, which must be there now. The documents of one that goes stay until it is back.
        exclude: as for `Index.ingest`.
        gitignore: as for `Index.ingest`.
        stop: asked a few times a second, and within a sync as `Index.ingest` does.
        progress: of each sync.
        on_change: after each file whose change is committed.
        on_sync: after each sync.
        on_problem: a sync that failed, or a path that has gone; it is tried again.

    Raises:
        UsageError: a path is not there, or the system cannot watch so many folders.
    """
    n_changes = n_syncs = 0

    def counted(change: FileChange) -> None:
        nonlocal n_changes
        n_changes += 1
        if on_change is not None:
            on_change(change)

    def gone(root: str) -> None:
        if on_problem is not None:
            on_problem(
                UsageError(
                    f"{root!r} is not there any more: its documents stay until it is back, or rag remove forgets them"
                )
            )

    due = time.monotonic()  # the first sync, at once
    for has_changed in _changes(paths, index.path, stop, gone):
        if stop():
            break
        if not has_changed and time.monotonic() < due:
            continue
        there = [path for path in paths if os.path.exists(path)]
        if not there:
            continue  # one that is back is a change
        try:
            report = index.ingest(
                *there, exclude=exclude, gitignore=gitignore, progress=progress, on_change=counted, stop=stop
            )
        except RagError as exc:
            if isinstance(exc, IndexBusyError) and stop():
                break  # while another writer was waited for
            if on_problem is not None:
                on_problem(exc)
            due = time.monotonic() + _AGAIN_S
            continue
        n_syncs += 1
        due = time.monotonic() + _ANYWAY_S
        if on_sync is not None:
            on_sync(report)
    return Watched(n_syncs, n_changes)


class _Sight(NamedTuple):
    """What is watched for a root: the root, or the folder that a file is in, for files are replaced when saved."""

    folder: str
    is_root: bool
    device: int
    inode: int


def _sight(root: str) -> _Sight | None:
    """None if there is nothing."""
    try:
        status = os.stat(root)
        is_root = S_ISDIR(status.st_mode)
        folder = root if is_root else os.path.dirname(root)
        status = os.stat(folder)
    except OSError:
        return None
    return _Sight(folder, is_root, status.st_dev, status.st_ino)


def _changes(
    paths: Sequence[str | os.PathLike[str]], index: Path, stop: Callable[[], bool], on_gone: Callable[[str], None]
) -> Iterator[bool]:
    """Whether something has changed, a few times a second. From before the first is given, no change is missed.

    A watch ends with its folder: for one that is back, or is another of the same name, a new one is started, and
    that is a change. What is not there is told to `on_gone`, once.
    """
    roots = [os.path.abspath(path) for path in paths]
    if missing := [path for path in roots if not os.path.exists(path)]:
        raise UsageError(f"there is nothing at {missing[0]!r}: name folders or files that exist")
    own = os.path.realpath(index)
    told: set[str] = set()

    def look() -> dict[str, _Sight]:
        now = {root: sight for root in roots if (sight := _sight(root))}
        for root in roots:
            if root not in now and root not in told:
                on_gone(root)
            (told.discard if root in now else told.add)(root)
        return now

    while not stop():
        watched = look()
        is_new = True
        try:
            with closing(_changed_paths(watched.values(), stop)) as batches:
                for lost, changed in batches:
                    now = look()
                    watched = {root: sight for root, sight in watched.items() if root in now}
                    if now != watched or not lost.isdisjoint(sight.folder for sight in now.values()):
                        break
                    yield is_new or any(_concerns(path, now, own) for path in changed)
                    is_new = False
        except FileNotFoundError:  # it went while the watch was being started
            time.sleep(_LOOK_MS / 1000)


def _changed_paths(
    sights: Collection[_Sight], stop: Callable[[], bool]
) -> Generator[tuple[set[str], set[str]], None, None]:
    """(paths that were deleted, all paths that have changed), a few times a second though there be none.

    Raises:
        FileNotFoundError: there is nothing to watch.
        UsageError: the system cannot watch so many folders.
    """
    from watchfiles import Change, watch

    folders = {sight.folder for sight in sights}
    if not folders:
        raise FileNotFoundError
    try:
        for changes in watch(
            *folders,
            watch_filter=None,  # what it passes over it does not give: while only such changes come, nobody would look
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            recursive=any(sight.is_root for sight in sights),
            ignore_permission_denied=True,
            stop_event=_Asked(stop),
        ):
            yield {path for change, path in changes if change is Change.deleted}, {path for _, path in changes}
    except FileNotFoundError:
        raise
    except OSError as exc:
        raise UsageError(
            f"the system cannot watch {', '.join(map(repr, sorted(folders)))} ({exc}): raise its limit (on Linux "
            "fs.inotify.max_user_watches), or set WATCHFILES_FORCE_POLLING=true"
        ) from exc


def _concerns(path: str, watched: Mapping[str, _Sight], own: str) -> bool:
    """Whether a path can be that of a document below a root, or of the rules that leave files out."""
    if is_below(os.path.realpath(path), own):
        return False  # what an ingest itself writes
    for root, sight in watched.items():
        if is_below(path, root):
            parts = os.path.relpath(path, root).split(os.sep)
            if not sight.is_root or parts[-1] in _RULES or not any(p.startswith(".") for p in parts if p != "."):
                return True
    return False


class _Asked:
    """A function in the form of an event."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def is_set(self) -> bool:
        return self._stop()
