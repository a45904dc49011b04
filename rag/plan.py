"""What an ingest will do: files and folders as they are now, against what the index knows. Changes nothing."""

from __future__ import annotations

import hashlib
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rag.folders import FoundFile, absolute, find_files, is_below
from rag.freshness import state_of
from rag.loaders import format_of
from rag.store import FileRow, Store
from rag.types import JsonValue
from rag.uploads import UPLOADS, kept_at

_TICK_NS = 2 * 10**9  # the coarsest clock of a file system (FAT): within it, two edits can have the same time


@dataclass(frozen=True, slots=True)
class FileChange:
    """What happens, or would happen, to one file."""

    kind: Literal["added", "edited", "moved", "removed", "set aside"]
    path: str  # relative to its folder
    detail: str = ""  # where a moved file was; why one was set aside


@dataclass(frozen=True, slots=True)
class Rules:
    """What of a folder is read, and what becomes of what has gone."""

    exclude: tuple[str, ...] = ()  # patterns in .gitignore syntax, relative to the folder
    gitignore: bool = False  # heed .gitignore files
    keep_missing: bool = False  # what has gone stays in the index

    def as_json(self) -> dict[str, JsonValue]:
        """The form that the manifest keeps."""
        return {"exclude": list(self.exclude), "gitignore": self.gitignore, "keep_missing": self.keep_missing}


def rules_of(manifest: Mapping[str, Any]) -> dict[str, Rules]:
    """How the folders of an index were read the last time; those that are not named were read without rules."""
    kept: Mapping[str, Any] = manifest.get("rules", {})
    return {
        folder: Rules(tuple(rules["exclude"]), rules["gitignore"], rules["keep_missing"])
        for folder, rules in kept.items()
    }


@dataclass(frozen=True, slots=True)
class Work:
    """A file that is there, and what is known of it."""

    root: str
    relpath: str
    found: FoundFile
    known: FileRow | None
    stays: bool = False  # in the index, once it has gone

    @property
    def is_known(self) -> bool:
        """Whether its size and time are as they were when it was read, or set aside for what it holds."""
        known = self.known
        if known is None or (known.reason is not None and known.sha256 is None):
            return False
        return (known.size, known.mtime_ns) == (self.found.size, self.found.mtime_ns)


@dataclass(frozen=True, slots=True)
class Content:
    """What a file held at one moment."""

    sha256: bytes
    size: int  # as it is to be kept: -1 if the file was so new that an edit could hide in the same clock tick


@dataclass(frozen=True, slots=True)
class Preview:
    """What an ingest would do. No document was read for it: a file that is new may still be set aside."""

    changes: tuple[FileChange, ...]
    n_files: int  # that would be read, or are known
    skipped: Mapping[str, int]  # by suffix: types that are not read

    def as_json(self) -> dict[str, JsonValue]:
        """The form that `rag ingest --dry-run --json` prints."""
        return {
            "files": self.n_files,
            "changes": [{"kind": c.kind, "path": c.path, "detail": c.detail} for c in self.changes],
            "skipped": dict(sorted(self.skipped.items())),
        }


@dataclass(slots=True)
class Plan:
    """Every file below the given paths is in one of these."""

    keep: list[Work] = field(default_factory=list)  # as they were
    look: list[Work] = field(default_factory=list)  # new, or perhaps changed: their content decides
    moved: list[tuple[Work, Content]] = field(default_factory=list)  # where it is now; `known` is what it was
    gone: list[FileRow] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)
    skipped: Counter[str] = field(default_factory=Counter)  # by suffix: types that are not read
    folders: list[str] = field(default_factory=list)  # the ingested folders, these included

    @property
    def n_files(self) -> int:
        return len(self.keep) + len(self.look) + len(self.moved)

    def preview(self) -> Preview:
        """What would happen."""
        return Preview(tuple(self._changes()), self.n_files, dict(self.skipped))

    def _changes(self) -> Iterator[FileChange]:
        for work, _ in self.moved:
            assert work.known
            yield FileChange("moved", work.relpath, work.known.relpath)
        for row in self.gone:
            if row.reason is None:
                yield FileChange("removed", row.relpath)
        for work in self.look:
            try:
                content = content_of(work.found)
            except OSError as exc:
                yield FileChange("set aside", work.relpath, unreadable(exc))
                continue
            if work.known is None or work.known.sha256 != content.sha256:
                was_read = work.known is not None and work.known.reason is None
                yield FileChange("edited" if was_read else "added", work.relpath)
        for path, reason in self.unreadable:
            yield FileChange("set aside", path, reason)


def make_plan(
    store: Store | None,
    paths: Mapping[Path, Rules],
    *,
    rehash: bool = False,
    leave_out: Path | None = None,
    uploads: Sequence[str] = (),
) -> Plan:
    """Compare the files below some paths with the rows of an index.

    Args:
        store: of the index; None where there is none yet.
        paths: absolute; files, or folders that are searched recursively, and how.
        rehash: look at the content of every file, whatever its size and time.
        leave_out: a folder that is not looked into: that of the index, whose files are no documents.
        uploads: but these files are, which were handed over by that name and have their copy in there.
    """
    plan = Plan()
    own = os.path.realpath(leave_out) if leave_out else None
    roots = _Roots(store.roots(), store.roots_of_files()) if store else _Roots()
    known = {root: store.files(root) for root in roots.all} if store else {}
    work: dict[tuple[str, str], Work] = {}
    parent, is_own = None, False  # the folder at hand, and whether it is the index's
    looked: list[str] = []  # at or below these, what is not found has gone
    closed: list[str] = []  # but here one cannot look
    bare: list[str] = []  # ingested folders in which nothing at all is, as where a drive was mounted
    for path in paths:
        if os.path.isdir(path):
            roots.add_folder(absolute(path))
    for path, rules in paths.items():
        named = not os.path.isdir(path)
        place = absolute(path)
        if not os.path.lexists(path) and any(is_below(root, place) for root in roots.all):
            reason = "is not there: its documents stay until it is back, or rag remove forgets them"
            plan.unreadable.append((os.path.basename(place), reason))
            continue
        looked.append(place)
        if place in known and _is_bare(path):
            bare.append(place)
        if not os.path.lexists(path) and os.path.isdir(path.parent) and _any_at(known, place):
            continue  # it was there: gone, as below a folder
        root = roots.of_file(absolute(path.parent)) if named else roots.add_folder(place)
        for found in find_files(path, exclude=rules.exclude, gitignore=rules.gitignore, below=None if named else root):
            place = absolute(found.path)
            if own and found.path.parent != parent:
                parent = found.path.parent
                is_own = is_below(os.path.realpath(parent), own)
            if is_own:
                continue
            if not isinstance(found, FoundFile):
                closed.append(place)
                plan.unreadable.append((found.relpath, found.reason))
                continue
            at = roots.place(place, found.relpath, root)
            row = known.get(at[0], {}).get(at[1])
            if row is None and not named and format_of(found.path) is None:
                plan.skipped[found.path.suffix.lower() or "no suffix"] += 1
                continue
            work[at] = Work(*at, found, row, rules.keep_missing)
    for name in uploads:
        assert leave_out is not None
        copy = kept_at(leave_out, name)
        try:
            status = copy.stat()
        except OSError:
            plan.unreadable.append((name, "has no copy in the index: add it again"))
            continue
        row = (known.get(UPLOADS) or {}).get(name)
        work[UPLOADS, name] = Work(UPLOADS, name, FoundFile(copy, name, status.st_size, status.st_mtime_ns), row)
    plan.folders = sorted(roots.folders)
    kept = [absolute(path) for path, rules in paths.items() if rules.keep_missing]
    places = {absolute(one.found.path) for one in work.values()} if kept else set()
    gone: list[FileRow] = []
    for root, rows in known.items():
        for relpath, row in rows.items():
            place = os.path.join(root, relpath)
            if (root, relpath) in work or not any(is_below(place, path) for path in looked):
                continue
            # Of one that is there, the row is gone: it now belongs to a folder above.
            is_kept = place not in places and any(is_below(place, path) for path in kept)
            if not is_kept and not any(is_below(place, path) for path in closed):
                gone.append(row)
    moves = _moves(store, work.values(), gone) if store else {}
    for at, one in work.items():
        if at in moves:
            plan.moved.append(moves[at])
        elif one.is_known and not rehash:
            plan.keep.append(one)
        else:
            plan.look.append(one)
    moved_ids = {moved.known.id for moved, _ in plan.moved if moved.known}
    plan.gone = [row for row in gone if row.id not in moved_ids]
    for root in bare:
        left = {row.id for row in known[root].values()} - moved_ids
        if left:
            reason = "is empty: its documents stay until it is filled again, or rag remove forgets them"
            plan.unreadable.append((os.path.basename(root), reason))
            plan.gone = [row for row in plan.gone if row.id not in left]
    return plan


def _moves(
    store: Store, work: Iterable[Work], gone: Iterable[FileRow]
) -> Mapping[tuple[str, str], tuple[Work, Content]]:
    """Files that are new where another of the same content and suffix has gone; only of equal sizes are read."""
    left: dict[tuple[bytes, str], list[FileRow]] = {}
    sizes: set[tuple[int, str]] = set()
    for row in gone:
        if row.reason is None and row.sha256 is not None and can_follow(store, row):
            left.setdefault((row.sha256, _suffix(row.relpath)), []).append(row)
            sizes.add((row.size, _suffix(row.relpath)))
    moves = {}
    for new in work:
        suffix = _suffix(new.relpath)
        was_read = new.known is not None and new.known.reason is None
        if was_read or sizes.isdisjoint({(new.found.size, suffix), (-1, suffix)}):
            continue
        with suppress(OSError):  # it is looked at again, and set aside then
            content = content_of(new.found)
            if candidates := left.get((content.sha256, suffix)):
                moves[new.root, new.relpath] = replace(new, known=candidates.pop(0)), content
    return moves


def can_follow(store: Store, row: FileRow) -> bool:
    """Whether the sources of a file's documents can be told from its name."""
    return all(after_name(source, row.relpath) is not None for source in store.sources_of(row.id))


def after_name(source: str, relpath: str) -> str | None:
    """What stands behind the file's name in a source: '#' and the id of a line, or nothing; None if neither.

    The name may have a folder's name in front.
    """
    for start in (0, source.find("/") + 1):
        rest = source[start + len(relpath) :]
        if source.startswith(relpath, start) and (not rest or rest.startswith("#")):
            return rest
    return None


def stale(files: Mapping[str, Iterable[FileRow]], rules: Mapping[str, Rules]) -> Iterator[FileChange]:
    """The files that were read and are another now, or have gone.

    Nothing is told of a folder of which no file is there any more, nor of what lies behind a link that leads nowhere:
    they may be on a drive that is put away. Nor of a file that may not be looked at, or that is to stay though it has
    gone; nor of a name that is no Unicode, by which none can be opened.

    Args:
        files: by the folder that they are told from.
        rules: of the folders that have some.
    """
    for root, rows in files.items():
        gone, is_any_there = list[str](), False
        for row in rows:
            if row.reason is not None:
                is_any_there = is_any_there or os.path.exists(os.path.join(root, row.relpath))
                continue
            try:
                state = state_of(Path(root, row.relpath), row.size, row.mtime_ns, row.sha256)
            except OSError:
                continue
            is_any_there |= state != "gone"
            if state == "changed":
                yield FileChange("edited", row.relpath)
            elif state == "gone" and "\\" not in row.relpath and not _is_behind_lost_link(root, row.relpath):
                gone.append(row.relpath)
        if is_any_there and not rules.get(root, Rules()).keep_missing:
            yield from (FileChange("removed", relpath) for relpath in gone)


def _is_behind_lost_link(root: str, relpath: str) -> bool:
    """Whether a link on the way to a file, or the file itself, leads to where nothing is."""
    way = root
    for name in relpath.split("/"):
        way = os.path.join(way, name)
        if os.path.islink(way) and not os.path.exists(way):
            return True
    return False


def content_of(found: FoundFile) -> Content:
    """The hash of a file, taken after its size and time: what is written to it in between is noticed the next time.

    Raises:
        OSError: it cannot be read.
    """
    is_settled = time.time_ns() - found.mtime_ns > _TICK_NS
    with found.path.open("rb") as file:
        return Content(hashlib.file_digest(file, "sha256").digest(), found.size if is_settled else -1)


def unreadable(exc: OSError) -> str:
    """Why a file cannot be opened, in words."""
    return f"cannot be read: {(exc.strerror or str(exc)).lower()}"


def _suffix(relpath: str) -> str:
    return os.path.splitext(relpath)[1].lower()


class _Roots:
    """The folders from which paths are told. A file belongs to the deepest that holds it, so it keeps its source.

    A file that was named itself is told from its folder, until a folder above it is ingested: then it is that one's.
    """

    def __init__(self, folders: Iterable[str] = (), of_files: Iterable[str] = ()) -> None:
        self._of_files = set(of_files)
        self.folders = set(folders) - self._of_files

    @property
    def all(self) -> set[str]:
        return self.folders | self._of_files

    def add_folder(self, folder: str) -> str:
        """The root of a folder given to ingest: the deepest known one above it, or itself."""
        above = [path for path in self.folders if is_below(folder, path)]
        if not above:
            self.folders.add(folder)
            self._of_files.discard(folder)
        return max(above, key=len, default=folder)

    def of_file(self, folder: str) -> str:
        """The root of a file in a folder, where the file itself was named."""
        above = [path for path in self.folders if is_below(folder, path)]
        if not above:
            self._of_files.add(folder)
        return max(above, key=len, default=folder)

    def place(self, absolute: str, relpath: str, root: str) -> tuple[str, str]:
        """(root, path relative to it) of a file."""
        holding = [path for path in self.folders if is_below(absolute, path)]
        holding = holding or [path for path in self._of_files if is_below(absolute, path)]
        if not holding:
            return root, relpath
        deepest = max(holding, key=len)
        return deepest, os.path.relpath(absolute, deepest).replace(os.sep, "/")


def _is_bare(folder: Path) -> bool:
    """Whether nothing at all is in a folder, as in one where a drive was mounted."""
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:  # it is told as one that cannot be looked into
        return False


def _any_at(known: Mapping[str, Mapping[str, FileRow]], path: str) -> bool:
    """Whether a file at or below a path is known."""
    return any(is_below(os.path.join(root, relpath), path) for root, rows in known.items() for relpath in rows)
