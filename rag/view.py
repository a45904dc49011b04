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
    def change(self) -> tuple[int, bytes]:
        """Number and token of the last change that is seen; the same only for the same state of the same index."""
        return self.store.last_change()

    @property
    def n_vectors(self) -> int:
        return len(self._vectors())

    def vectors(self, *, at_most: int | None = None) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """The chunks that have a vector, and their vectors.

        Args:
            at_most: of more chunks so many are taken by chance: the same each time, and while an index grows nearly so.

        Returns:
            The ids in ascending order, int64 of shape (n,), and float32 of shape (n, dim), row i of ids[i].
        """
        vectors = self._vectors()
        last = _lowest_tickets(self.store.vector_ids(), at_most) if at_most is not None else None
        ids, rows = [np.empty(0, dtype=np.int64)], [np.empty((0, vectors.dim), dtype=np.float32)]
        for some, halves in vectors.rows():
            taken = _tickets(some) <= last if last is not None else slice(None)
            ids.append(some[taken])
            rows.append(halves[taken].astype(np.float32))
        every = np.concatenate(ids)
        order = np.argsort(every)
        return every[order], np.concatenate(rows)[order]

    def vector(self, chunk_id: int) -> NDArray[np.float32] | None:
        """The vector of one chunk, float32 of shape (dim,) and length 1; None where it has none, or is not there."""
        for _, data in self.store.vectors_of([chunk_id]):
            if data:
                halves = np.frombuffer(data, dtype="<f2").astype(np.float32)
                return np.asarray(halves / np.linalg.norm(halves), dtype=np.float32)
        return None

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


def _lowest_tickets(ids: NDArray[np.int64], n: int) -> np.uint64 | None:
    """The highest of the n lowest tickets; None where all are in."""
    return np.partition(_tickets(ids), n - 1)[n - 1] if len(ids) > n else None


def _tickets(ids: NDArray[np.int64]) -> NDArray[np.uint64]:
    """64 bits for each id as if by chance, no two the same: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = ids.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
