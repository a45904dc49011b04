"""Whether files still are what was read: by size and time, or else by content, so that a touch is no change."""

from __future__ import annotations

import hashlib
import os
from functools import lru_cache
from pathlib import Path
from typing import Literal

Version = tuple[int, ...]  # of a file
State = Literal["same", "changed", "gone"]

_HASHES_KEPT = 4096  # of files that have another time than when they were read


def version_of(status: os.stat_result) -> Version:
    """What tells a file from another in its place, and from itself after a change: the last of it nobody can set."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


@lru_cache(maxsize=_HASHES_KEPT)
def hash_of(path: str, version: Version) -> bytes:
    """The SHA-256 of a file; one of another version, as `version_of` tells it, is hashed anew."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def state_of(path: Path, size: int, mtime_ns: int, sha256: bytes | None) -> State:
    """Whether a file is as it was read.

    Args:
        path: of the file.
        size: in bytes, as it was; -1 where the file was so new that only its content tells.
        mtime_ns: as it was.
        sha256: of its content then; None where it is not known.

    Raises:
        OSError: it may not be looked at.
    """
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a name that is none
        return "gone"
    if not path.is_file():
        return "changed"
    if (status.st_size, status.st_mtime_ns) == (size, mtime_ns):
        return "same"
    if sha256 is None or size not in (-1, status.st_size):
        return "changed"
    return "same" if hash_of(str(path), version_of(status)) == sha256 else "changed"
