"""What a reader sees of an index: one state of it, whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.filters import Where
from rag.store import Store
from rag.vectors import Vectors


@dataclass(frozen=True, slots=True)
class Passing:
    """The chunks that may be found."""

    bits: NDArray[np.uint8]  # bit i % 8 of byte i // 8, from the lowest, is 1 where the chunk of id i passes

    @classmethod
    def of(cls, ids: Sequence[int] | NDArray[np.int64]) -> Passing:
        """Those of the ids."""
        chosen = np.asarray(ids, dtype=np.int64)
        passes = np.zeros(int(chosen.max(initial=0)) + 1, dtype=bool)
        passes[chosen] = True
        return cls(np.packbits(passes, bitorder="little"))

    def __contains__(self, chunk_id: object) -> bool:
        assert isinstance(chunk_id, int)
        return chunk_id >> 3 < len(self.bits) and bool(self.bits[chunk_id >> 3] >> (chunk_id & 7) & 1)


class View:
    """One consistent state of an index: all of it is of the same change. Valid inside `Index.reading()` only."""

    def __init__(self, store: Store, space: str, vectors: Callable[[], Vectors], passing: Callable[[Where], Passing]):
        self.store = store
        self.space = space  # of the embeddings
        self._vectors = vectors
        self._passing = passing

    @property
    def n_vectors(self) -> int:
        return len(self._vectors())

    def passing(self, where: Where) -> Passing:
        """The chunks of the documents that pass a filter."""
        return self._passing(where)

    def among(self, ids: NDArray[np.int64], passing: Passing | None) -> Passing:
        """Those of the chunks that pass."""
        kept = Passing.of(ids)
        if passing is None:
            return kept
        n = min(len(kept.bits), len(passing.bits))
        return Passing(kept.bits[:n] & passing.bits[:n])

    def without(self, ids: NDArray[np.int64], passing: Passing | None) -> Passing:
        """All that pass but some."""
        # Without a filter all ids there can be: those of chunks that have gone lead nowhere.
        bits = passing.bits.copy() if passing else np.full(self.store.last_chunk() // 8 + 1, 255, dtype=np.uint8)
        out = Passing.of(ids).bits[: len(bits)]
        bits[: len(out)] &= ~out
        return Passing(bits)

    def dense(self, query: NDArray[np.float32], *, k: int, passing: Passing | None = None) -> dict[int, float]:
        """The k chunks most similar to a unit vector, with their cosines: of all, or exactly of those that pass."""
        return self._vectors().search(query, k=k, passing=passing.bits if passing else None)

    def cosines(self, query: NDArray[np.float32], ids: Sequence[int]) -> dict[int, float]:
        """The cosines of those of the chunks that have a vector."""
        if not len(ids):
            return {}
        return self._vectors().search(query, k=len(ids), passing=Passing.of(ids).bits)
