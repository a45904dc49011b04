"""Finds the files below a folder: links followed once, hidden and ignored ones left out (pathspec)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from rag.errors import UsageError

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A regular file, or a link to one."""

    path: Path  # to open it by
    relpath: str  # below the root, with '/', always valid Unicode: an undecodable byte is shown as '\\xff'
    size: int  # bytes
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file or folder that is there but cannot be looked at."""

    path: Path
    relpath: str
    reason: str  # for people, without the path


class _Folder(NamedTuple):
    path: str
    relpath: str  # '' for the root, else ends in '/'
    rules: tuple[_Rules, ...]  # from the outermost folder inwards
    above: frozenset[tuple[int, int]]  # (device, inode) of this folder and those it was reached through


class _Rules(NamedTuple):
    relpath: str  # of the folder whose rules they are; '' also for one above the root
    spec: GitIgnoreSpec
    lead: str = ""  # from a folder above the root down to the root, ending in '/'


def find_files(
    path: str | os.PathLike[str],
    *,
    exclude: Sequence[str] = (),
    gitignore: bool = False,
    below: str | os.PathLike[str] | None = None,
) -> Iterator[FoundFile | Unreadable]:
    """The files below a folder, sorted by name within each, or the one file that `path` is.

    Left out: hidden files and folders (unless `path` itself is one), what a `.ragignore` file in any folder says,
    pipes, sockets and devices. A folder that is reached twice through links is read once.

    Args:
        path: a folder or a file; if it is not there, that is what is found.
        exclude: patterns in gitignore syntax, relative to `path`; they go before all ignore files.
        gitignore: heed `.gitignore` files as well.
        below: the ingested folder that `path` lies in, whose ignore files and those between count as well: if they
            leave out `path` itself, nothing is found. It counts for a folder that lies below it by its name.

    Raises:
        UsageError: if a pattern of `exclude` has no meaning.
    """
    ignore_names = (".gitignore", ".ragignore") if gitignore else (".ragignore",)
    try:
        excluded = _Rules("", _spec(exclude)) if exclude else None
    except ValueError as exc:
        raise UsageError(f"exclude takes patterns as in a .gitignore file, not {list(exclude)!r}: {exc}") from exc
    return _found(os.fspath(path), os.fspath(below) if below is not None else None, excluded, ignore_names)


def _found(
    root: str, below: str | None, excluded: _Rules | None, ignore_names: Sequence[str]
) -> Iterator[FoundFile | Unreadable]:
    name = shown(os.path.basename(os.path.abspath(root)))
    try:
        status = os.stat(root)
    except OSError as exc:
        yield Unreadable(Path(root), name, _reason(exc))
        return
    if not stat.S_ISDIR(status.st_mode):
        if stat.S_ISREG(status.st_mode):
            yield FoundFile(Path(root), name, status.st_size, status.st_mtime_ns)
        else:
            yield Unreadable(Path(root), name, "is neither a file nor a folder")
        return
    walk = _Walk(excluded, ignore_names)
    yield from walk.start(root, below)
    yield from walk.files()


class _Walk:
    """One walk below a root. Folders behind links come last, so that a file is found under its own name first."""

    def __init__(self, excluded: _Rules | None, ignore_names: Sequence[str]) -> None:
        self._pending: list[_Folder] = []
        self._linked: list[_Folder] = []
        self._seen: set[tuple[int, int]] = set()
        self._excluded = excluded
        self._ignore_names = ignore_names

    def start(self, root: str, below: str | None) -> Iterator[Unreadable]:
        """Put the root in line, unless the ignore files of the folders above it, from `below` on, leave it out."""
        folder = _Folder(below or root, "", (), frozenset())
        for name in _names_between(below, root) if below is not None else ():
            try:
                status = os.stat(folder.path)
                present = [n for n in self._ignore_names if os.path.lexists(os.path.join(folder.path, n))]
                rules = folder.rules + tuple(_read_rules(folder, present))
            except (OSError, ValueError) as exc:
                yield _ignore_file_unreadable(folder.path, shown(os.path.relpath(folder.path, root)), exc)
                return
            relpath = folder.relpath + shown(name) + "/"
            if _is_ignored(relpath, rules):
                return
            above = folder.above | {(status.st_dev, status.st_ino)}
            folder = _Folder(os.path.join(folder.path, name), relpath, rules, above)
        lead = folder.relpath
        from_root = tuple(_Rules("", spec, lead.removeprefix(relpath)) for relpath, spec, _ in folder.rules)
        yield from self._enter(_Folder(root, "", from_root, folder.above), via_link=False)

    def files(self) -> Iterator[FoundFile | Unreadable]:
        while self._pending or self._linked:
            if self._pending:
                yield from self._read(self._pending.pop())
                continue
            folder = self._linked.pop(0)
            yield from self._enter(folder, via_link=True)

    def _enter(self, folder: _Folder, *, via_link: bool) -> Iterator[Unreadable]:
        """Put a folder in line, unless it was read under another name."""
        try:
            status = os.stat(folder.path)
        except OSError as exc:
            yield Unreadable(Path(folder.path), folder.relpath.rstrip("/"), _reason(exc))
            return
        identity = (status.st_dev, status.st_ino)
        if via_link and identity in folder.above:
            yield Unreadable(
                Path(folder.path), folder.relpath.rstrip("/"), "is a link that loops: it leads to a folder above"
            )
        elif identity not in self._seen:
            self._seen.add(identity)
            self._pending.append(folder._replace(above=folder.above | {identity}))

    def _read(self, folder: _Folder) -> Iterator[FoundFile | Unreadable]:
        """The files of one folder; its folders are put in line so that the first is read next."""
        try:
            with os.scandir(folder.path) as entries:
                listed = sorted(entries, key=lambda entry: entry.name)
        except OSError as exc:
            yield Unreadable(Path(folder.path), folder.relpath.rstrip("/") or ".", _reason(exc))
            return
        names = {entry.name for entry in listed}
        try:
            rules = folder.rules + tuple(_read_rules(folder, [n for n in self._ignore_names if n in names]))
        except (OSError, ValueError) as exc:
            yield _ignore_file_unreadable(folder.path, folder.relpath.rstrip("/") or ".", exc)
            return
        deciding = (*rules, self._excluded) if self._excluded else rules
        folders = []
        for entry in listed:
            if entry.name.startswith("."):
                continue
            name = shown(entry.name)
            relpath = folder.relpath + name
            try:
                is_folder = entry.is_dir()
                if _is_ignored(relpath + "/" * is_folder, deciding):
                    continue
                if name != entry.name and name in names:
                    yield Unreadable(
                        Path(entry.path), relpath, "is named as another file is once its bytes are written out"
                    )
                elif is_folder:
                    child = _Folder(entry.path, relpath + "/", rules, folder.above)
                    if entry.is_symlink():
                        self._linked.append(child)
                    else:
                        folders.append(child)
                else:
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        yield FoundFile(Path(entry.path), relpath, status.st_size, status.st_mtime_ns)
            except OSError as exc:
                yield Unreadable(Path(entry.path), relpath, _reason(exc))
        for child in reversed(folders):
            yield from self._enter(child, via_link=False)


def _names_between(folder: str, path: str) -> list[str]:
    """The names that lead from a folder down to a path below it; none for any other path."""
    folder, path = os.path.abspath(folder), os.path.abspath(path)
    return os.path.relpath(path, folder).split(os.sep) if path != folder and is_below(path, folder) else []


def _is_ignored(relpath: str, rules: tuple[_Rules, ...]) -> bool:
    """What the last rules that know the path say of it."""
    for above, spec, lead in reversed(rules):
        include = spec.check_file(lead + relpath.removeprefix(above)).include
        if include is not None:
            return bool(include)
    return False


def _read_rules(folder: _Folder, names: Iterable[str]) -> Iterator[_Rules]:
    for name in names:
        with open(os.path.join(folder.path, name), encoding="utf-8-sig", errors="replace") as file:
            yield _Rules(folder.relpath, _spec(file.read().splitlines()))


def _ignore_file_unreadable(folder: str, relpath: str, exc: Exception) -> Unreadable:
    return Unreadable(Path(folder), relpath, f"is left out, as its ignore file cannot be read: {exc}")


def _spec(patterns: Iterable[str]) -> GitIgnoreSpec:
    from pathspec import GitIgnoreSpec

    return GitIgnoreSpec.from_lines(patterns)


def absolute(path: str | os.PathLike[str]) -> str:
    """An absolute path as valid Unicode, as files are shown: it names a place, and opens nothing."""
    return shown(os.path.abspath(path))


def is_below(path: str, folder: str) -> bool:
    """Whether a path is that of a folder or of anything in it, by its name alone."""
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def shown(name: str) -> str:
    r"""A file name as valid Unicode: bytes that are no UTF-8 are written out, as '\xff'."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half of a pair, which Windows allows in names
        return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _reason(exc: OSError) -> str:
    """Why the system refuses, in words for people."""
    reasons: dict[type[OSError], str] = {
        FileNotFoundError: "is not there, or is a link to what is not there",
        PermissionError: "may not be read: permission denied",
    }
    words = (exc.strerror or str(exc)).lower()
    if "too many levels of symbolic links" in words:
        return "is a link that loops"
    if "file name too long" in words:
        return "has a path that is too long for the system"
    return reasons.get(type(exc), f"cannot be read: {words}")
