"""Files that were dropped on the page: what is taken, under which name, and where its copy goes (`rag.uploads`)."""

from __future__ import annotations

import hashlib
import re
import shutil
import unicodedata
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePath
from threading import Lock
from typing import Protocol

from rag.errors import RagError, UsageError
from rag.files import write_whole
from rag.index import Index
from rag.loaders import format_of
from rag.uploads import UPLOADS, kept_at
from ui.access import is_public
from ui.limits import DISK_RESERVE_MB, UPLOADS_AT_ONCE, session_mb, upload_mb

_MEGABYTE = 1024 * 1024
_ONE_BY_ONE = Lock()  # whether a name is free is looked at, then it is taken
_LONGEST_NAME = 160  # characters
_SEPARATORS = re.compile(r"[/\\]")
_INSTEAD = {  # how people get at what is in files that cannot be read
    **dict.fromkeys(["doc", "odt", "rtf", "pages", "wpd"], "save it as .docx"),
    **dict.fromkeys(["xls", "xlsx", "ods", "numbers"], "save it as .csv"),
    **dict.fromkeys(["ppt", "pptx", "odp", "key", "epub", "mobi", "ps"], "save it as .pdf"),
    **dict.fromkeys(["msg", "mbox", "pst"], "save its messages as .eml"),
    **dict.fromkeys(["zip", "7z", "rar", "gz", "tar", "tgz"], "unpack it, and add what is in it"),
}


class Handed(Protocol):
    """A file as Streamlit hands it over: its name is whatever the browser sent."""

    name: str
    size: int

    def getvalue(self) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of files that were handed over."""

    names: tuple[str, ...]  # by which the index is to read them
    refused: tuple[str, ...]  # one sentence for each that was not taken
    replaced: tuple[str, ...] = ()  # one sentence for each that took the place of an earlier one


def take(index: Path, files: Sequence[Handed]) -> Taken:
    """Keep copies of what can be read, in the folder of an index, which may still be empty.

    A file takes the place of an earlier one of its name. Of files that were handed over together none does: the second
    of a name is numbered. So is one that others hand over: none of them is to change what another's file says.

    Raises:
        UsageError: the disk does not take them, or would have too little room left.
    """
    if len(files) > UPLOADS_AT_ONCE:
        many = f"These are {len(files):,} files; up to {UPLOADS_AT_ONCE} can be added at once."
        return Taken((), (many + _folder_instead("their"),))
    wanted, refused = [], []
    for file in files:
        name = clean_name(file.name)
        if reason := refusal(name, file.size):
            refused.append(reason)
        else:
            wanted.append((name, file))
    _check_room(index, sum(file.size for _, file in wanted))
    with _ONE_BY_ONE:
        taken, replaced = _kept(index, wanted)
    return Taken(taken, tuple(refused), replaced)


def _kept(index: Path, wanted: Sequence[tuple[str, Handed]]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Keep copies, one after the other, so that one at a time is in memory; their names, and what is said of them."""
    taken: dict[str, bytes] = {}  # SHA-256 by name
    replaced = []
    for called, file in wanted:
        content = file.getvalue()
        sha256 = hashlib.sha256(content).digest()
        for name in _numbered(called):
            before = taken.get(name) or _sha256(kept_at(index, name))
            is_other = before is not None and before != sha256
            if not is_other or (name not in taken and not is_public()):
                break
        if name in taken:
            continue
        taken[name] = sha256
        copy = kept_at(index, name)
        try:
            copy.parent.mkdir(parents=True, exist_ok=True)
            write_whole(copy, content)
        except OSError as exc:
            raise UsageError(
                f"{name!r} cannot be kept in {str(copy.parent)!r} ({exc.strerror or exc}): make room, or check who may "
                "write there, then add it again"
            ) from exc
        if is_other:
            replaced.append(f"{name} took the place of the one before.")
    return tuple(taken), tuple(replaced)


def _sha256(copy: Path) -> bytes | None:
    """Of what a copy holds; None where there is none that can be read."""
    try:
        with copy.open("rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return None


def _check_room(index: Path, size: int) -> None:
    """Refuse what would fill the disk: the index needs room to be made, and so do other programs.

    Raises:
        UsageError: too little would be left.
    """
    there = next(folder for folder in (index.absolute(), *index.absolute().parents) if folder.exists())
    try:
        free = shutil.disk_usage(there).free
    except OSError:  # it is not told: then writing shows
        return
    if size and free - size < DISK_RESERVE_MB * _MEGABYTE:
        reserve = megabytes(DISK_RESERVE_MB * _MEGABYTE)
        raise UsageError(
            f"There is too little room on the disk: {reserve} of it are to stay free, and {megabytes(size)} were "
            "to be added. Nothing was taken: make room, then add it again."
        )


def too_much(size: int) -> str:
    """Why files that were dropped together are not sent.

    Args:
        size: of all, in bytes.
    """
    all_of = f"These files are {megabytes(size)} together; up to {session_mb()} MB can be added at once."
    return all_of + _folder_instead("their")


def _folder_instead(whose: str) -> str:
    """Another way, for those who may name folders."""
    return "" if is_public() else f" Name {whose} folder instead: nothing is copied then."


def refusal(name: str, size: int) -> str | None:
    """Why a file is not taken, in a sentence, or None.

    Args:
        name: as `clean_name` gives it.
        size: in bytes.
    """
    if size > upload_mb() * _MEGABYTE:
        return f"{name} is {megabytes(size)}; the limit is {upload_mb()} MB a file.{_folder_instead('its')}"
    suffix = PurePath(name).suffix
    if suffix and format_of(f"x{suffix}") is None:
        instead = _INSTEAD.get(suffix[1:].lower())
        return f"{name}: a format this version cannot read{f'; {instead}' if instead else ''}."
    return None


def clean_name(name: str) -> str:
    """What an upload is called: the last part of whatever name came, on one line, and of bearable length.

    It is only ever shown and compared, never a path. Two spellings of the same characters are one name.
    """
    last = _SEPARATORS.split(unicodedata.normalize("NFC", name))[-1]
    seen = "".join(c if c.isprintable() else " " for c in last)  # no line ends, no turning of the writing direction
    seen = " ".join(seen.split())
    if seen in ("", ".", ".."):
        return "unnamed"
    if len(seen) <= _LONGEST_NAME:
        return seen
    suffix = PurePath(seen).suffix
    suffix = suffix if len(suffix) < _LONGEST_NAME // 2 else ""
    return f"{seen[: _LONGEST_NAME - len(suffix) - 1].rstrip()}…{suffix}"


def drop_unread(index: Path, names: Iterable[str]) -> None:
    """Delete the copies of uploads that were never read into an index, which may not have been made at all."""
    known: set[str] = set()
    if (index / "index.sqlite").exists():
        try:
            with Index.open(index) as opened:
                known = {file.name for file in opened.files() if file.root == UPLOADS}
        except RagError:  # then nobody can tell which were read
            return
    for name in set(names) - known:
        with suppress(OSError):
            kept_at(index, name).unlink(missing_ok=True)


def megabytes(size: int) -> str:
    """A size in bytes, for people: '1.2 GB'."""
    if size < 1024:
        return f"{size} bytes"
    if size < _MEGABYTE:
        return f"{size / 1024:.0f} kB"
    return f"{size / _MEGABYTE:.1f} MB" if size < 1000 * _MEGABYTE else f"{size / _MEGABYTE / 1024:.1f} GB"


def _numbered(name: str) -> Iterable[str]:
    """The name, then 'name (2).txt', and so on."""
    yield name
    path = PurePath(name)
    stem = name.removesuffix(path.suffix)
    for n in count(2):
        yield f"{stem} ({n}){path.suffix}"
