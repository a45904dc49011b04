"""The FAISS side: labelled vectors in, `(ids, scores)` out; and its snapshot file."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.errors import UsageError
from rag.files import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAILER = struct.Struct("<8sQ8sQ32s")  # magic, change number, its token, length of what precedes, its SHA-256
_MAGIC = b"footnote"


class Vectors:
    """An exact inner-product index over float16 vectors, each under its chunk id."""

    def __init__(self, dim: int) -> None:
        import faiss

        self.dim = dim
        flat = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index: Any = faiss.IndexIDMap2(flat)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Sequence[int], vectors: NDArray[np.float16]) -> None:
        """Add vectors of shape (len(ids), dim) under ids that are not there yet."""
        if vectors.shape != (len(ids), self.dim):
            raise UsageError(f"expected vectors of shape {(len(ids), self.dim)}, got {vectors.shape}")
        self._index.add_with_ids(vectors.astype(np.float32), np.asarray(ids, dtype=np.int64))

    def remove(self, ids: Sequence[int]) -> None:
        """Remove those of the ids that are there."""
        if len(ids):
            self._index.remove_ids(np.asarray(ids, dtype=np.int64))

    def search(self, query: NDArray[np.float32], *, k: int) -> dict[int, float]:
        """The k nearest by inner product; fewer where fewer are there.

        Args:
            query: float32 of shape (dim,), length 1, so that scores are cosines.
        """
        if query.shape != (self.dim,):
            raise UsageError(f"expected a query vector of shape {(self.dim,)}, got {query.shape}")
        k = min(k, len(self))
        if k == 0:
            return {}
        scores, ids = self._index.search(query[None, :], k)
        # FAISS pads what it does not find with id -1 and an extreme score.
        return {int(i): float(s) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0}

    def save(self, file: Path, *, change: int, token: bytes) -> None:
        """Write a snapshot of the state after a change: beside, synced, renamed. `read_index` of FAISS reads it too."""
        import faiss

        body = faiss.serialize_index(self._index).tobytes()
        trailer = _TRAILER.pack(_MAGIC, change, token.ljust(8, b"\0"), len(body), hashlib.sha256(body).digest())
        write_whole(file, body, trailer)

    @classmethod
    def read(cls, file: Path, *, dim: int, token: bytes) -> Vectors | None:
        """The snapshot in a file, or None where it is torn, foreign, or of another dimension: rebuild it then."""
        import faiss

        try:
            size = file.stat().st_size
            with file.open("rb") as data:
                data.seek(max(size - _TRAILER.size, 0))
                trailer = data.read()
            magic, _, its_token, length, _ = _TRAILER.unpack(trailer)
            if magic != _MAGIC or its_token != token.ljust(8, b"\0") or length != size - _TRAILER.size:
                return None
            index = faiss.read_index(str(file))
        except (OSError, struct.error, RuntimeError):
            return None
        if index.d != dim or not isinstance(index, faiss.IndexIDMap2):
            return None
        vectors = cls(dim)
        vectors._index = index
        return vectors
