"""Very many vectors: a small sketch of each in memory names the candidates, their exact rows on disk decide.

The sketch is a product quantizer of 4 bits for every few dimensions, FAISS's fast scan: 48 bytes instead of 768 for 384
dimensions. All sketches are compared with each query, so nothing hangs on the vectors' forming clusters. (Inverted
lists were tried: made of ordinary text, they have to be searched to a twelfth for a recall@10 of 0.99 on real
questions, which lie far from all passages.) Then the rows of the best are read from the snapshot file, and compared
exactly; filtered searches and very deep ones read all rows that pass, in order.

The file: the rows, float16, one after the other; their ids, int64; the sketches as FAISS writes them; what was
measured; the end that every snapshot has.
"""

from __future__ import annotations

import struct
import weakref
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from rag.errors import IndexDamagedError
from rag.files import written_whole
from rag.types import JsonValue
from rag.vectors.base import check_query, check_rows, empty_flat, one_thread, only
from rag.vectors.files import SKETCHED, TRAILER, end, is_sketched, write_faiss
from rag.vectors.flat import FlatVectors

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Batches = Iterable[tuple[Sequence[int] | NDArray[np.int64], NDArray[np.float16]]]

SAMPLE = 16_384  # vectors to train the sketch with; FAISS takes 256 for each of the 16 values
_BLOCK = 8_192  # rows that are read and compared at once: 6 MB of 384 dimensions, which the processor's cache holds
_GAP = 16  # rows between two that pass, up to which all are read at once
_RECALL = 0.995  # of the ten best that is aimed at when candidates are counted; 0.99 is promised
_QUERIES = 200
_COSINE = 0.6  # of a measuring query to a stored vector: as far as good questions are from their passages
_FEWEST = 128  # candidates
_PER_HIT = 10  # candidates for each hit that is asked for, at least
_DEEPEST_SHARE = 8  # of all rows: rereading more candidates one by one than an eighth takes longer than reading all
_DEEPEST = 8_192  # candidates that are tried when measuring
_ROUNDING = 1e-6  # of scores that are worked out in another order


@dataclass(frozen=True, slots=True)
class Measured:
    """What a snapshot file knows of itself."""

    dim: int
    rows: int
    trained_on: int  # vectors there were when the sketch was trained
    candidates: int  # for the ten best; 0 where no number of them was enough, so that all rows are compared
    queries: int  # that it was measured with
    recall_at_10: float  # share of the ten best by exact search that are found
    recall_at_200: float  # the same of 200, as deep as hybrid search looks

    def record(self) -> dict[str, JsonValue]:
        """The form that the manifest and `rag status` take."""
        if not self.candidates:
            return {"kind": "exact", "vectors": self.rows}
        return {
            "kind": "sketched",
            "vectors": self.rows,
            "candidates": self.candidates,
            "recall@10": round(self.recall_at_10, 4),
            "recall@200": round(self.recall_at_200, 4),
            "queries": self.queries,
        }


_RECORD = struct.Struct("<QQQQQdd")


class SketchedVectors:
    """Vectors of which most stay on disk; see `Vectors` for what its methods do."""

    def __init__(self, data: BinaryIO, sketch: Any, ids: NDArray[np.int64], measured: Measured) -> None:
        """Bind an open file, whose first bytes are the rows of `ids`."""
        import faiss

        self.dim = measured.dim
        self.measured = measured
        self._data = data
        self._sketch = sketch
        self._ids = ids
        self._last = int(ids.max(initial=-1))
        self._gone: NDArray[np.bool_] | None = None  # by row
        self._n_gone = 0
        self._added = FlatVectors(self.dim)  # since the snapshot
        self._buffer = empty_flat(self.dim)
        self._buffer.codes.resize(_BLOCK * self._row_bytes)
        self._bytes: NDArray[np.uint8] = faiss.rev_swig_ptr(self._buffer.codes.data(), _BLOCK * self._row_bytes)
        self._slots = list(self._bytes.reshape(_BLOCK, -1))

    @property
    def _row_bytes(self) -> int:
        return 2 * self.dim

    def __len__(self) -> int:
        return len(self._ids) - self._n_gone + len(self._added)

    def add(self, ids: Sequence[int] | NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Add vectors of shape (len(ids), dim), in place of those that are there under the same ids."""
        check_rows(ids, vectors, dim=self.dim)
        labels = np.asarray(ids, dtype=np.int64)
        self._forget(labels[labels <= self._last])
        self._added.add(labels, vectors)

    def remove(self, ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Remove those of the ids that are there."""
        self._forget(np.asarray(ids, dtype=np.int64))
        self._added.remove(ids)

    def _forget(self, ids: NDArray[np.int64]) -> None:
        if not len(ids):
            return
        if self._gone is None:
            self._gone = np.zeros(len(self._ids), dtype=bool)
        self._gone |= np.isin(self._ids, ids)
        self._n_gone = int(self._gone.sum())

    def rows(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """All ids and their vectors, in the order of the file, then those added since."""
        yield from self._kept()
        if len(self._added):
            yield from self._added.rows()

    def _kept(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        for start in range(0, len(self._ids), _BLOCK):
            stop = min(start + _BLOCK, len(self._ids))
            self._read(start, stop, at=0)
            rows = self._bytes[: (stop - start) * self._row_bytes].view("<f2").reshape(-1, self.dim)
            kept = slice(None) if self._gone is None else ~self._gone[start:stop]
            yield self._ids[start:stop][kept], rows[kept].copy()

    def search(
        self, query: NDArray[np.float32], *, k: int, passing: NDArray[np.uint8] | None = None
    ) -> dict[int, float]:
        """The k nearest by inner product, the nearest first; fewer where fewer are there."""
        check_query(query, dim=self.dim)
        k = min(k, len(self))
        if k == 0:
            return {}
        found = self._added.search(query, k=k, passing=passing) | self._among_kept(query, k, passing=passing)
        return dict(sorted(found.items(), key=lambda item: -item[1])[:k])

    def _among_kept(self, query: NDArray[np.float32], k: int, *, passing: NDArray[np.uint8] | None) -> dict[int, float]:
        """The k nearest of the rows of the file that are not gone."""
        with one_thread():
            candidates = self._candidates(query, k) if passing is None else None
            if candidates is not None:
                return self._best_of_few(query, candidates, k)
            kept = None if self._gone is None else ~self._gone
            if passing is not None:
                passes = _has_bit(passing, self._ids)
                kept = passes if kept is None else kept & passes
            if kept is None:
                return self._best(query, [(0, len(self._ids))], k)
            return self._best(query, _spans(np.flatnonzero(kept), gap=_GAP), k, kept=kept)

    def _candidates(self, query: NDArray[np.float32], k: int) -> NDArray[np.int64] | None:
        """Rows, in order, among which the k nearest are; None where all had better be compared."""
        if not self.measured.candidates:
            return None
        wanted = max(self.measured.candidates, _PER_HIT * k)
        n = wanted
        while n <= len(self._ids) // _DEEPEST_SHARE:
            scores, rows = self._sketch.search(query[None, :], n)
            # Copies of one vector are candidates all or none, so that which of them came last does not matter.
            candidates = rows[0][scores[0] > scores[0, -1]]
            if self._gone is not None:
                candidates = candidates[~self._gone[candidates]]
            if len(candidates) >= max(k, wanted // 2):
                return np.sort(candidates)
            n *= 4
        return None

    def _best(
        self,
        query: NDArray[np.float32],
        spans: Iterable[tuple[int, int]],
        k: int,
        *,
        kept: NDArray[np.bool_] | None = None,
    ) -> dict[int, float]:
        """The k nearest of the rows in spans, or of those of them that are kept, all compared."""
        best_scores, best_rows = np.empty(0, np.float32), np.empty(0, np.int64)
        for block in _blocks(spans):
            filled = 0
            for start, stop in block:
                self._read(start, stop, at=filled)
                filled += stop - start
            rows = np.concatenate([np.arange(start, stop) for start, stop in block])
            self._buffer.ntotal = filled
            parameters = None if kept is None else only(np.packbits(kept[rows], bitorder="little"))
            scores, places = self._buffer.search(query[None, :], min(k, filled), params=parameters)
            is_found = places[0] >= 0
            best_scores = np.concatenate([best_scores, scores[0][is_found]])
            best_rows = np.concatenate([best_rows, rows[places[0][is_found]]])
            if len(best_rows) > 4 * k:
                best_scores, best_rows = _highest(best_scores, best_rows, k)
        best_scores, best_rows = _highest(best_scores, best_rows, k)
        return dict(zip(self._ids[best_rows].tolist(), best_scores.tolist(), strict=True))

    def _best_of_few(self, query: NDArray[np.float32], rows: NDArray[np.int64], k: int) -> dict[int, float]:
        """The k nearest of some rows, each read by itself: a microsecond or two a row."""
        size, seek, read = self._row_bytes, self._data.seek, self._data.readinto  # type: ignore[attr-defined]
        best_scores, best_rows = np.empty(0, np.float32), np.empty(0, np.int64)
        for start in range(0, len(rows), _BLOCK):
            some = rows[start : start + _BLOCK]
            n_read = 0
            for offset, into in zip((some * size).tolist(), self._slots, strict=False):
                seek(offset)
                n_read += read(into)
            if n_read != len(some) * size:
                raise _torn()
            self._buffer.ntotal = len(some)
            scores, places = self._buffer.search(query[None, :], min(k, len(some)))
            best_scores = np.concatenate([best_scores, scores[0]])
            best_rows = np.concatenate([best_rows, some[places[0]]])
        best_scores, best_rows = _highest(best_scores, best_rows, k)
        return dict(zip(self._ids[best_rows].tolist(), best_scores.tolist(), strict=True))

    def _read(self, start: int, stop: int, *, at: int) -> None:
        """Rows of the file into the buffer, from its row `at` on."""
        size = self._row_bytes
        self._data.seek(start * size)
        into = self._bytes[at * size : (at + stop - start) * size]
        if self._data.readinto(into) != len(into):  # type: ignore[attr-defined]
            raise _torn()

    def measure(self) -> Measured:
        """How many candidates it takes to find the ten best, by queries that are as far from the vectors as questions.

        Stored vectors, turned away from themselves at random: they need about as many candidates as real questions do,
        while others like the stored vectors need fewer (measured in benchmarks/vectors.py).
        """
        n, queries = len(self._ids), self._queries()
        found = replace(self.measured, rows=n, queries=len(queries), candidates=0, recall_at_10=1, recall_at_200=1)
        true, candidates = self._exact(queries, k=min(200, n)), _FEWEST
        while candidates <= min(n // _DEEPEST_SHARE, _DEEPEST):
            self.measured = replace(found, candidates=candidates)
            if (recall := self._recall(queries, true[:, :10])) >= _RECALL:
                return replace(self.measured, recall_at_10=recall, recall_at_200=self._recall(queries, true))
            candidates *= 2
        return found

    def recall(self) -> float:
        """recall@10 of what the file holds with the recorded number of candidates, measured anew."""
        whole = SketchedVectors(self._data, self._sketch, self._ids, self.measured)  # without what is gone since
        queries = whole._queries()
        return whole._recall(queries, whole._exact(queries, k=min(10, len(self._ids))))

    def _queries(self) -> NDArray[np.float32]:
        """Unit vectors at the angle of a good question to some of the rows; the same whenever they are asked for."""
        rng = np.random.default_rng(0)
        n = len(self._ids)
        found: list[NDArray[np.float32]] = []
        for row in np.sort(rng.choice(n, size=min(_QUERIES, n), replace=False)).tolist():
            self._read(row, row + 1, at=0)
            found.append(self._bytes[: self._row_bytes].view("<f2").astype(np.float32))
        vectors = np.stack(found)
        away = rng.normal(size=vectors.shape).astype(np.float32)
        away -= (away * vectors).sum(axis=1, keepdims=True) * vectors
        away /= np.maximum(np.linalg.norm(away, axis=1, keepdims=True), 1e-9)
        turned = _COSINE * vectors + np.sqrt(1 - _COSINE**2) * away
        return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True), dtype=np.float32)

    def _exact(self, queries: NDArray[np.float32], *, k: int) -> NDArray[np.float32]:
        """The scores of the k nearest rows of the file, of shape (len(queries), k), all compared."""
        import faiss

        heap: Any = faiss.ResultHeap(len(queries), k, keep_max=True)
        for start in range(0, len(self._ids), _BLOCK):
            stop = min(start + _BLOCK, len(self._ids))
            self._read(start, stop, at=0)
            rows = self._buffer.sa_decode(self._bytes[: (stop - start) * self._row_bytes].reshape(stop - start, -1))
            scores, found = faiss.knn(queries, rows, min(k, stop - start), metric=faiss.METRIC_INNER_PRODUCT)
            heap.add_result(scores, found + start)
        heap.finalize()
        return np.asarray(heap.D)

    def _recall(self, queries: NDArray[np.float32], true: NDArray[np.float32]) -> float:
        """The share of the k nearest that a search finds; of equally near ones it does not matter which.

        Args:
            queries: of shape (n, dim).
            true: the scores of the k nearest to each, the nearest first, of shape (n, k).
        """
        k, hits = true.shape[1], 0
        for query, scores in zip(queries, true, strict=True):
            found = self._among_kept(query, k, passing=None)
            hits += sum(score >= scores[-1] - _ROUNDING for score in found.values())
        return min(hits / true.size, 1.0)

    def save(self, file: Path, *, change: int, token: bytes) -> None:
        """Write a snapshot: what was kept, and what was added since, sketched as before."""
        import faiss

        sketch: Any = faiss.clone_index(self._sketch)
        if self._gone is not None:
            sketch.remove_ids(np.flatnonzero(self._gone))

        def batches() -> Batches:
            yield from self._kept()
            if len(self._added):
                yield from _sketched(self._added.rows(), sketch)

        _write(file, batches(), sketch, self.measured, change=change, token=token)

    @classmethod
    def build(
        cls, file: Path, batches: Batches, *, sample: NDArray[np.float16], n: int, change: int, token: bytes
    ) -> None:
        """Write a snapshot of vectors that come in batches, of which one is held at a time.

        Args:
            file: see `save`.
            batches: all ids and their vectors.
            sample: some of the vectors, chosen at random, to train the sketch with.
            n: how many there are, about.
            change: see `save`.
            token: see `save`.

        Raises:
            OSError: it cannot be written.
        """
        import faiss

        dim = sample.shape[1]
        few = next(size for size in (4, 3, 2, 1) if dim % size == 0)
        sketch: Any = faiss.IndexPQFastScan(dim, dim // few, 4, faiss.METRIC_INNER_PRODUCT)
        sketch.train(sample.astype(np.float32))
        _write(file, _sketched(batches, sketch), sketch, Measured(dim, 0, n, 0, 0, 1, 1), change=change, token=token)

    @classmethod
    def read(cls, file: Path, *, dim: int) -> SketchedVectors | None:
        """What is in a file that `is_sketched`, or None where it is of another dimension or not readable."""
        import faiss

        wrapped: Any = faiss
        measured = read_measured(file)
        if measured is None or measured.dim != dim:
            return None
        try:
            data = file.open("rb", buffering=0)
        except OSError:
            return None
        try:
            data.seek(measured.rows * dim * 2)
            ids = np.fromfile(data, dtype="<i8", count=measured.rows)
            data.seek(measured.rows * (dim * 2 + 8))
            sketch = wrapped.read_index(wrapped.PyCallbackIOReader(data.read, 2**20))
            if sketch.ntotal != len(ids) or len(ids) != measured.rows or sketch.d != dim:
                raise ValueError
            vectors = cls(data, sketch, ids, measured)
        except (OSError, RuntimeError, ValueError, struct.error, OverflowError):
            data.close()
            return None
        weakref.finalize(vectors, data.close)
        return vectors


def _torn() -> IndexDamagedError:
    return IndexDamagedError("the snapshot of the vectors is torn: see rag doctor")


def read_measured(file: Path) -> Measured | None:
    """What a snapshot file that is whole knows of itself; None where it is of the other kind."""
    if not is_sketched(file):
        return None
    try:
        with file.open("rb") as data:
            data.seek(-TRAILER.size - _RECORD.size, 2)
            return Measured(*_RECORD.unpack(data.read(_RECORD.size)))
    except (OSError, struct.error):
        return None


def _write(file: Path, batches: Batches, sketch: Any, measured: Measured, *, change: int, token: bytes) -> None:
    """Rows and ids as they come, then the sketch, which has been filled by then, and what is measured of it all."""
    with written_whole(file) as partial, partial.open("wb+") as data:
        labels = []
        for ids, rows in batches:
            data.write(np.ascontiguousarray(rows, dtype="<f2").data)
            labels.append(np.asarray(ids, dtype="<i8"))
        all_ids = np.concatenate(labels) if labels else np.empty(0, "<i8")
        data.write(all_ids.data)
        write_faiss(sketch, data.write)
        data.flush()
        written = SketchedVectors(data, sketch, all_ids, measured).measure()
        data.seek(0, 2)
        data.write(_RECORD.pack(*astuple(written)))
        end(data, kind=SKETCHED, change=change, token=token)


def _sketched(batches: Batches, sketch: Any) -> Batches:
    """The batches as they are; a sketch of each vector is kept in passing."""
    for ids, rows in batches:
        sketch.add(rows.astype(np.float32))
        yield ids, rows


def _spans(rows: NDArray[np.int64], *, gap: int) -> list[tuple[int, int]]:
    """[start, stop) of rows in increasing order, over gaps below `gap` rows."""
    if not len(rows):
        return []
    cuts = np.flatnonzero(np.diff(rows) > gap)
    starts = rows[np.concatenate([[0], cuts + 1])]
    stops = rows[np.concatenate([cuts, [len(rows) - 1]])] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _blocks(spans: Iterable[tuple[int, int]]) -> Iterator[list[tuple[int, int]]]:
    """The spans in groups of up to a block of rows, cut where need be."""
    block: list[tuple[int, int]] = []
    room = _BLOCK
    for first, stop in spans:
        start = first
        while start < stop:
            upto = min(stop, start + room)
            block.append((start, upto))
            room -= upto - start
            start = upto
            if room == 0:
                yield block
                block, room = [], _BLOCK
    if block:
        yield block


def _has_bit(bits: NDArray[np.uint8], ids: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Whether each id's bit is 1; ids beyond the last bit have none."""
    passes = np.unpackbits(bits, bitorder="little").astype(bool)
    return np.asarray((ids < len(passes)) & passes[np.minimum(ids, len(passes) - 1)])


def _highest(
    scores: NDArray[np.float32], rows: NDArray[np.int64], k: int
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    if len(scores) <= k:
        return scores, rows
    best = np.argpartition(-scores, k - 1)[:k]
    return scores[best], rows[best]
