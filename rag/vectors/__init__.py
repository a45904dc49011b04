"""The FAISS side: labelled vectors in, `(ids, scores)` out; and their snapshot files.

Few vectors are held in memory and all compared (`flat`); of very many a sketch is held, and their exact rows are read
from the snapshot (`sketched`). Both find the same, up to a share that is measured and recorded.
"""

from __future__ import annotations

from pathlib import Path

from rag.vectors.base import Vectors
from rag.vectors.files import is_sketched, is_snapshot
from rag.vectors.flat import FlatVectors
from rag.vectors.sketched import SketchedVectors

__all__ = ["FlatVectors", "SketchedVectors", "Vectors", "is_sketched", "is_snapshot", "read_snapshot"]


def read_snapshot(file: Path, *, dim: int, token: bytes) -> Vectors | None:
    """The vectors in a file, or None where it is torn, foreign, or of another dimension: rebuild it then."""
    if not is_snapshot(file, token=token):
        return None
    return SketchedVectors.read(file, dim=dim) if is_sketched(file) else FlatVectors.read(file, dim=dim, token=token)
