"""The embeddings of one index in memory: a cache of SQLite's rows, and its snapshots on disk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rag.errors import IndexDamagedError
from rag.store import Store
from rag.vectors import Vectors, is_snapshot

SNAPSHOT_NAME = re.compile(r"vectors-(\d+)\.faiss")
# Changed chunks before a snapshot is written again, at least, or this share of all if that is more. Every new process
# reads what has changed since, 20 microseconds a chunk; writing all again costs a hundredth of embedding that share.
_DUE_AFTER = 1_000
_DUE_SHARE = 0.01


class VectorCache:
    """The vectors of an index folder, brought to exactly the change that a reader's transaction sees.

    The log of changes tells what to add and remove; a snapshot or vectors from which it does not lead to now (torn,
    of another index, from before a power cut) are given up, and all is read from SQLite. Not thread-safe.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._vectors: Vectors | None = None
        self._at = (0, b"")  # the change that they are brought to

    def forget(self) -> None:
        """Let go of the vectors; the next use reads them again."""
        self._vectors = None

    def current(self, store: Store, *, dim: int) -> Vectors:
        """The vectors as the open transaction of `store` sees them."""
        now = store.last_change()
        leads_here = self._at == now or store.change_token(self._at[0]) == self._at[1]
        if self._vectors is None or self._vectors.dim != dim or not leads_here:
            self._vectors, self._at = self._from_snapshot(store, dim)
        vectors, (since, _) = self._vectors, self._at
        if self._at != now:
            self._vectors = None  # until they are whole: an interrupt must not leave half of the changes behind
            if since:
                vectors.remove(store.removed_since(since))
            for ids, added in _vectors_since(store, since, dim=vectors.dim):
                vectors.add(ids, added)
            self._vectors, self._at = vectors, now
            if since == 0 and len(vectors):
                self.save(store, dim=dim)
        return vectors

    def save(self, store: Store, *, dim: int) -> bool:
        """Write a snapshot of what the transaction sees, in place of older ones; False where that cannot be done."""
        vectors, (change, token) = self.current(store, dim=dim), self._at
        with suppress(OSError):
            kept = self._folder / f"vectors-{change}.faiss"
            vectors.save(kept, change=change, token=token)
            for older, file in self.snapshots():
                if older < change:  # a newer one is another process's; one of no use goes when something is written
                    file.unlink(missing_ok=True)
            return True
        return False

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
            if behind <= _DUE_AFTER or behind <= _DUE_SHARE * store.n_chunks():
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
        faults = self.torn(store)
        if not faults and self.differing(store, dim=dim) is not None:
            faults.append("the vectors, snapshot and changes since, are not those of the passages")
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
        fresh = Vectors(dim)
        for batch, added in _vectors_since(store, 0, dim=dim):
            fresh.add(batch, added)
        self.forget()  # so that the snapshot itself is read
        ids, kept = self.current(store, dim=dim).items()
        true_ids, true = fresh.items()
        both, here, there = np.intersect1d(ids, true_ids, assume_unique=True, return_indices=True)
        differs = (kept[here].view(np.uint16) != true[there].view(np.uint16)).any(axis=1)
        if not differs.any() and np.array_equal(ids, true_ids):
            return None
        return [int(i) for i in both[differs]]

    def _valid(self, store: Store) -> list[tuple[int, Path]]:
        """Those of the snapshots that belong to this index, by their ends."""
        tokens = ((change, file, store.change_token(change)) for change, file in self.snapshots())
        return [
            (change, file) for change, file, token in tokens if token is not None and is_snapshot(file, token=token)
        ]

    def _from_snapshot(self, store: Store, dim: int) -> tuple[Vectors, tuple[int, bytes]]:
        """The newest snapshot that belongs to this index, or nothing yet."""
        for change, file in self._valid(store):
            token = store.change_token(change)
            assert token is not None
            if (vectors := Vectors.read(file, dim=dim, token=token)) is not None:
                return vectors, (change, token)
        return Vectors(dim), (0, b"")


def _vectors_since(store: Store, change: int, *, dim: int) -> Iterator[tuple[list[int], NDArray[np.float16]]]:
    try:
        for ids, data in store.vectors_since(change):
            yield ids, np.frombuffer(data, dtype="<f2").reshape(len(ids), dim)
    except (ValueError, TypeError) as exc:
        raise IndexDamagedError(f"an embedding is not {dim} numbers: mend the index with rag doctor --repair") from exc
