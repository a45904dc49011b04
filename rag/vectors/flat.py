"""Vectors that are held in memory and all compared: exact, and fast as long as they are not very many."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.files import written_whole
from rag.vectors.base import check_query, check_rows, empty_flat, one_thread, only
from rag.vectors.files import FLAT, end, is_snapshot, write_faiss

if TYPE_CHECKING:
    from numpy.typing import NDArray


class FlatVectors:
    """An exact inner-product index over float16 vectors in memory; see `Vectors` for what its methods do."""

    def __init__(self, dim: int) -> None:
        import faiss

        self.dim = dim
        self._index: Any = faiss.IndexIDMap2(empty_flat(dim))
        self._last = -1  # no id is higher

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Sequence[int] | NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Add vectors of shape (len(ids), dim), in place of those that are there under the same ids."""
        check_rows(ids, vectors, dim=self.dim)
        if not len(ids):
            return
        labels = np.asarray(ids, dtype=np.int64)
        self.remove(labels[labels <= self._last])  # new chunks have higher ids: mostly there are none
        self._index.add_with_ids(vectors.astype(np.float32), labels)
        self._last = max(self._last, int(labels.max()))

    def remove(self, ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Remove those of the ids that are there."""
        if len(ids) and len(self):
            self._index.remove_ids(np.asarray(ids, dtype=np.int64))

    def rows(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """All ids and their vectors."""
        import faiss

        flat: Any = faiss.downcast_index(self._index.index)
        codes = faiss.vector_to_array(flat.codes)
        yield faiss.vector_to_array(self._index.id_map), codes.view("<f2").reshape(len(self), self.dim)

    def search(
        self, query: NDArray[np.float32], *, k: int, passing: NDArray[np.uint8] | None = None
    ) -> dict[int, float]:
        """The k nearest by inner product, the nearest first; fewer where fewer are there."""
        check_query(query, dim=self.dim)
        k = min(k, len(self))
        if k == 0:
            return {}
        with one_thread():
            scores, ids = self._index.search(query[None, :], k, params=None if passing is None else only(passing))
        # FAISS pads what it does not find with id -1 and an extreme score.
        return {int(i): float(s) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0}

    def save(self, file: Path, *, change: int, token: bytes) -> None:
        """Write a snapshot of the state after a change; `read_index` of FAISS reads it too."""
        with written_whole(file) as partial, partial.open("wb+") as data:
            write_faiss(self._index, data.write)
            end(data, kind=FLAT, change=change, token=token)

    @classmethod
    def read(cls, file: Path, *, dim: int, token: bytes) -> FlatVectors | None:
        """The snapshot in a file, or None where it is torn, foreign, of another dimension, or of another kind."""
        import faiss

        if not is_snapshot(file, token=token):
            return None
        try:
            index = faiss.read_index(str(file))
        except RuntimeError:
            return None
        if index.d != dim or not isinstance(index, faiss.IndexIDMap2):
            return None
        vectors = cls(dim)
        vectors._index = index
        vectors._last = int(faiss.vector_to_array(index.id_map).max(initial=-1))
        return vectors
