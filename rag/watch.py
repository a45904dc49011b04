"""Keeps an index in step with folders while they change (watchfiles); each sync is an ordinary ingest."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.errors import RagError, UsageError
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
        paths: folders or files, which must be there now.
        exclude: as for `Index.ingest`.
        gitignore: as for `Index.ingest`.
        stop: asked a few times a second, and within a sync as `Index.ingest` does.
        progress: of each sync.
        on_change: after each file whose change is committed.
        on_sync: after each sync.
        on_problem: a sync that failed; it is tried again.

    Raises:
        UsageError: a path is not there, or the system cannot watch so many folders.
    """
    n_changes = n_syncs = 0

    def counted(change: FileChange) -> None:
        nonlocal n_changes
        n_changes += 1
        if on_change is not None:
            on_change(change)

    due = time.monotonic()  # the first sync, at once
    for has_changed in _changes(paths, index.path, stop):
        if stop():
            break
        if not has_changed and time.monotonic() < due:
            continue
        try:
            report = index.ingest(
                *paths, exclude=exclude, gitignore=gitignore, progress=progress, on_change=counted, stop=stop
            )
        except RagError as exc:
            if on_problem is not None:
                on_problem(exc)
            due = time.monotonic() + _AGAIN_S
            continue
        n_syncs += 1
        due = time.monotonic() + _ANYWAY_S
        if on_sync is not None:
            on_sync(report)
    return Watched(n_syncs, n_changes)


def _changes(paths: Sequence[str | os.PathLike[str]], index: Path, stop: Callable[[], bool]) -> Iterator[bool]:
    """Whether something has changed, a few times a second. From before the first is given, no change is missed."""
    from watchfiles import Change
    from watchfiles import watch as changed_files

    roots = [os.path.abspath(path) for path in paths]
    if missing := [path for path in roots if not os.path.exists(path)]:
        raise UsageError(f"there is nothing at {missing[0]!r}: name folders or files that exist")
    files = {root for root in roots if not os.path.isdir(root)}
    own = os.path.abspath(index)

    def concerns_us(_: Change, path: str) -> bool:
        if is_below(path, own):
            return False  # what an ingest itself writes
        for root in roots:
            if is_below(path, root):
                parts = os.path.relpath(path, root).split(os.sep)
                return root in files or parts[-1] in _RULES or not any(p.startswith(".") for p in parts if p != ".")
        return False

    try:
        for changes in changed_files(
            *{os.path.dirname(root) if root in files else root for root in roots},
            watch_filter=concerns_us,
            debounce=_LONGEST_MS,
            step=_QUIET_MS,
            rust_timeout=_LOOK_MS,
            yield_on_timeout=True,
            recursive=len(files) < len(roots),
            ignore_permission_denied=True,
            stop_event=_Asked(stop),
        ):
            yield bool(changes)
    except OSError as exc:
        raise UsageError(
            f"the system cannot watch {', '.join(map(repr, roots))} ({exc}): raise its limit (on Linux "
            "fs.inotify.max_user_watches), or set WATCHFILES_FORCE_POLLING=true"
        ) from exc


class _Asked:
    """A function in the form of an event."""

    def __init__(self, stop: Callable[[], bool]) -> None:
        self._stop = stop

    def is_set(self) -> bool:
        return self._stop()
