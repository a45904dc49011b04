"""The embeddings of one index in memory: a cache of SQLite's rows, and its snapshots on disk."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.errors import IndexDamagedError
from rag.store import Store
from rag.types import JsonValue
from rag.vectors import FlatVectors, SketchedVectors, Vectors, is_sketched, is_snapshot, read_snapshot
from rag.vectors.sketched import SAMPLE, read_measured

_Batches = Iterable[tuple[Sequence[int] | NDArray[np.int64], NDArray[np.float16]]]

SNAPSHOT_NAME = re.compile(r"vectors-(\d+)\.faiss")
# Changed chunks before a snapshot is written again, at least, or this share of all if that is more. Every new process
# reads what has changed since, 10 microseconds a chunk; writing all again costs a hundredth of embedding that share.
_DUE_AFTER = 1_000
_DUE_SHARE = 0.02
# Vectors from which on sketches are searched instead of all vectors: 200,000 of 384 dimensions take 10 ms and 154 MB.
_SKETCHED_FROM = 200_000
_LOST = 0.005  # of recall, beyond which sketches are not those of the vectors


class VectorCache:
    """The vectors of an index folder, brought to exactly the change that a reader's transaction sees.

    The log of changes tells what to add and remove; a snapshot or vectors from which it does not lead to now (torn,
    of another index, from before a power cut) are given up, and all is read from SQLite. Not thread-safe.
    """

    def __init__(self, folder: Path, *, sketched_from: int | None = None) -> None:
        """Bind a folder.

        Args:
            folder: of the index.
            sketched_from: vectors from which on a snapshot that is written here holds sketches.
        """
        self._folder = folder
        self._sketched_from = _SKETCHED_FROM if sketched_from is None else sketched_from
        self._vectors: Vectors | None = None
        self._at = (0, b"")  # the change that they are brought to
        self._from = 0  # the change of the snapshot that they began with

    def forget(self) -> None:
        """Let go of the vectors; the next use reads them again."""
        self._vectors = None

    def current(self, store: Store, *, dim: int) -> Vectors:
        """The vectors as the open transaction of `store` sees them."""
        now = store.last_change()
        leads_here = self._at == now or store.change_token(self._at[0]) == self._at[1]
        if self._vectors is None or self._vectors.dim != dim or not leads_here or self._is_outrun(now):
            self._vectors = None  # first, so that its file is closed
            self._vectors, self._at = self._begin(store, now, dim=dim)
            self._from = self._at[0]
        vectors, (since, _) = self._vectors, self._at
        if self._at != now:
            self._vectors = None  # until they are whole: an interrupt must not leave half of the changes behind
            if since:
                vectors.remove(store.removed_since(since))
            for ids, added in _vectors_since(store, since, dim=vectors.dim):
                vectors.add(ids, added)
            self._vectors, self._at = vectors, now
            if since == 0 and 0 < len(vectors) < self._sketched_from:
                self._put(vectors, now)
        return vectors

    def _is_outrun(self, now: tuple[int, bytes]) -> bool:
        """Whether there are very many vectors, and a newer snapshot than these began with.

        Else a process that goes on for long would hold in memory all that has changed since it began.
        """
        if self._at == now or self._vectors is None or len(self._vectors) < self._sketched_from:
            return False
        return any(self._from < change <= now[0] for change, _ in self.snapshots())

    def save(self, store: Store, *, dim: int, anew: bool = False) -> bool:
        """Write a snapshot of what the transaction sees, in place of older ones; False where that cannot be done.

        Only a writer may call this: it can take minutes for millions of vectors.

        Args:
            store: read in its open transaction.
            dim: of the vectors.
            anew: from the rows of SQLite alone, so that nothing of what was removed shows.
        """
        now, n = store.last_change(), store.n_vectors()
        if anew:
            self.forget()
        if n < self._sketched_from:
            if anew or self._is_sketched(store):
                flat = FlatVectors(dim)
                for ids, added in _vectors_since(store, 0, dim=dim):
                    flat.add(ids, added)
                self._vectors, self._at = flat, now
            return self._put(self.current(store, dim=dim), now)
        if not anew and self._is_sketched(store):
            vectors = self.current(store, dim=dim)
            if isinstance(vectors, SketchedVectors) and n < 2 * vectors.measured.trained_on:
                return self._put(vectors, now)
        self.forget()
        return self._build(store, now, dim=dim, n=n)

    def renew(self, store: Store, *, dim: int) -> None:
        """Write a snapshot from the rows of SQLite alone; all others go, also where it cannot be written."""
        now, is_written = store.last_change()[0], False
        try:
            is_written = self.save(store, dim=dim, anew=True)
        finally:
            for change, file in self.snapshots():
                if change != now or not is_written:
                    file.unlink(missing_ok=True)

    def _put(self, vectors: Vectors, now: tuple[int, bytes]) -> bool:
        """Write vectors that are at a change as its snapshot."""
        change, token = now
        with suppress(OSError):
            vectors.save(self._file(change), change=change, token=token)
            self._drop_before(change)
            return True
        return False

    def _build(self, store: Store, now: tuple[int, bytes], *, dim: int, n: int) -> bool:
        """Write a snapshot with sketches from the rows of SQLite, of which few are held at once."""
        change, token = now
        ids = store.vector_ids()
        chosen = np.sort(np.random.default_rng(0).choice(ids, size=min(SAMPLE, len(ids)), replace=False))
        sample = np.concatenate([rows for _, rows in _rows(store.vectors_of(chosen.tolist()), dim=dim)])
        with suppress(OSError):
            batches = _vectors_since(store, 0, dim=dim)
            SketchedVectors.build(self._file(change), batches, sample=sample, n=n, change=change, token=token)
            self._drop_before(change)
            return True
        return False

    def _file(self, change: int) -> Path:
        return self._folder / f"vectors-{change}.faiss"

    def _drop_before(self, change: int) -> None:
        for older, file in self.snapshots():
            if older < change:  # a newer one is another process's; one of no use goes when something is written
                file.unlink(missing_ok=True)

    def _is_sketched(self, store: Store) -> bool:
        """Whether the newest snapshot is of the kind for very many vectors."""
        return any(is_sketched(file) for _, file in self._valid(store)[:1])

    def record(self, store: Store) -> dict[str, JsonValue]:
        """What kind the newest snapshot is, and what was measured of it."""
        for _, file in self._valid(store)[:1]:
            if (measured := read_measured(file)) is not None:
                return measured.record()
        return {"kind": "exact", "vectors": store.n_vectors()}

    def refresh(self, store: Store, *, dim: int) -> int | None:
        """Write a snapshot if there is none, or too much has changed since; returns the change of a new one.

        Snapshots that are of no use (torn, of another index, older than the log) go. Only a writer may call this.
        """
        now, _ = store.last_change()
        valid = self._valid(store)
        for snapshot in self.snapshots():
            if snapshot not in valid:
                with suppress(OSError):
                    snapshot[1].unlink(missing_ok=True)
        if valid:
            behind = store.changed_chunks(since=valid[0][0])
            is_due = behind > _DUE_AFTER and behind > _DUE_SHARE * store.n_chunks()
            if not is_due and (is_sketched(valid[0][1]) or store.n_vectors() < self._sketched_from):
                return None
        elif not now:
            return None
        return now if self.save(store, dim=dim) else None

    def snapshots(self) -> list[tuple[int, Path]]:
        """(change, file) of all that are named as one, the newest first."""
        matches = ((SNAPSHOT_NAME.fullmatch(file.name), file) for file in self._folder.glob("vectors-*.faiss"))
        return sorted(((int(match[1]), file) for match, file in matches if match), reverse=True)

    def faults(self, store: Store, *, dim: int) -> list[str]:
        """What is wrong with the snapshots on disk, all their bytes read; none at all is fine."""
        if faults := self.torn(store):
            return faults
        if self.differing(store, dim=dim) is not None:
            faults.append("the vectors, snapshot and changes since, are not those of the passages")
        vectors = self._vectors
        if isinstance(vectors, SketchedVectors) and vectors.recall() < vectors.measured.recall_at_10 - _LOST:
            faults.append("the sketches in the snapshot are not those of its vectors, so that searches miss passages")
        return faults

    def torn(self, store: Store) -> list[str]:
        """Which snapshots on disk are not whole, or not of this index; one that is out of date is both."""
        faults = []
        for change, file in self.snapshots():
            token = store.change_token(change, of_any_age=True)
            if token is None:
                faults.append(f"{file.name} is of no change of this index")
            elif not is_snapshot(file, token=token, hashed=True):
                faults.append(f"{file.name} is torn, or not as it was written")
        return faults

    def differing(self, store: Store, *, dim: int) -> list[int] | None:
        """The chunks that have another vector here than in SQLite; None where all is the same, chunks included."""
        self.forget()  # so that the snapshot itself is read
        weights = np.random.default_rng().integers(2**64 - 1, size=dim, dtype=np.uint64) | np.uint64(1)
        ids, kept = _sums(self.current(store, dim=dim).rows(), weights)
        true_ids, true = _sums(_vectors_since(store, 0, dim=dim), weights)
        both, here, there = np.intersect1d(ids, true_ids, return_indices=True)
        differs = kept[here] != true[there]
        if not differs.any() and np.array_equal(np.sort(ids), true_ids):
            return None
        return [int(i) for i in both[differs]]

    def _valid(self, store: Store) -> list[tuple[int, Path]]:
        """Those of the snapshots that belong to this index, by their ends."""
        tokens = ((change, file, store.change_token(change)) for change, file in self.snapshots())
        return [
            (change, file) for change, file, token in tokens if token is not None and is_snapshot(file, token=token)
        ]

    def _begin(self, store: Store, now: tuple[int, bytes], *, dim: int) -> tuple[Vectors, tuple[int, bytes]]:
        """The vectors to bring to the present: those of the newest snapshot that belongs to this index, or none yet.

        Where there is none and there are very many vectors, it is written first: held in memory, they would take
        gigabytes.
        """
        if (found := self._from_snapshot(store, dim)) is not None:
            return found
        n = store.n_vectors()
        if n >= self._sketched_from and self._build(store, now, dim=dim, n=n):
            found = self._from_snapshot(store, dim)
        return found or (FlatVectors(dim), (0, b""))

    def _from_snapshot(self, store: Store, dim: int) -> tuple[Vectors, tuple[int, bytes]] | None:
        """The newest snapshot that belongs to this index and can be read; and its change."""
        for _ in range(2):  # a writer may put a newer one in place of what was listed
            for change, file in self._valid(store):
                token = store.change_token(change)
                assert token is not None
                if (vectors := read_snapshot(file, dim=dim, token=token)) is not None:
                    return vectors, (change, token)
        return None


def _vectors_since(store: Store, change: int, *, dim: int) -> Iterator[tuple[list[int], NDArray[np.float16]]]:
    return _rows(store.vectors_since(change), dim=dim)


def _rows(batches: Iterator[tuple[list[int], bytes]], *, dim: int) -> Iterator[tuple[list[int], NDArray[np.float16]]]:
    try:
        for ids, data in batches:
            yield ids, np.frombuffer(data, dtype="<f2").reshape(len(ids), dim)
    except (ValueError, TypeError) as exc:
        raise IndexDamagedError(f"an embedding is not {dim} numbers: mend the index with rag doctor --repair") from exc


def _sums(batches: _Batches, weights: NDArray[np.uint64]) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """All ids, and 64 bits that tell each one's vector from others: its numbers' bits, weighed and added up."""
    ids, sums = [np.empty(0, np.int64)], [np.empty(0, np.uint64)]
    for some, rows in batches:
        ids.append(np.asarray(some, dtype=np.int64))
        sums.append((np.ascontiguousarray(rows).view(np.uint16) * weights).sum(axis=1, dtype=np.uint64))
    return np.concatenate(ids), np.concatenate(sums)
