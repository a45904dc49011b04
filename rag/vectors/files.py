"""How a snapshot file ends: with what tells whether it is whole, of which change, and of which kind."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

FLAT, SKETCHED = b"footnote", b"sketched"
TRAILER = struct.Struct("<8sQ8sQ32s")  # kind, change number, its token, length of what precedes, its SHA-256


def is_snapshot(file: Path, *, token: bytes, hashed: bool = False) -> bool:
    """Whether a file is a whole snapshot of the change that has this token; told by its end, or by all its bytes.

    Args:
        file: need not be there.
        token: of the change, from the log.
        hashed: read all of it and compare its SHA-256 as well.
    """
    try:
        with file.open("rb") as data:
            size = data.seek(0, 2)
            data.seek(max(size - TRAILER.size, 0))
            kind, _, its_token, length, digest = TRAILER.unpack(data.read())
            if kind not in (FLAT, SKETCHED) or (its_token, length) != (token.ljust(8, b"\0"), size - TRAILER.size):
                return False
            return not hashed or _hash_of_first(data, length) == digest
    except (OSError, struct.error):
        return False


def is_sketched(file: Path) -> bool:
    """Whether a snapshot is of the kind for very many vectors."""
    try:
        with file.open("rb") as data:
            data.seek(-TRAILER.size, 2)
            return data.read(len(SKETCHED)) == SKETCHED
    except OSError:
        return False


def end(data: BinaryIO, *, kind: bytes, change: int, token: bytes) -> None:
    """Write the end of a snapshot behind all the rest, which is read once more for its hash."""
    data.flush()
    length = data.seek(0, 2)
    digest = _hash_of_first(data, length)
    data.seek(length)
    data.write(TRAILER.pack(kind, change, token.ljust(8, b"\0"), length, digest))


def write_faiss(index: Any, write: Callable[[bytes], object]) -> None:
    """FAISS's form of an index, piece by piece.

    As one string it would be in memory three times, and FAISS's own file tells of a full disk on stderr alone.

    Raises:
        OSError: it cannot be written.
    """
    import faiss

    wrapped: Any = faiss
    try:
        faiss.write_index(index, wrapped.PyCallbackIOWriter(write, 2**20))
    except RuntimeError as exc:
        raise OSError(f"cannot write vectors: {exc}") from exc


def _hash_of_first(data: BinaryIO, length: int) -> bytes:
    data.seek(0)
    digest = hashlib.sha256()
    while length and (part := data.read(min(length, 2**20))):
        digest.update(part)
        length -= len(part)
    return digest.digest()
