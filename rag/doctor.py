"""Checks every promise an index makes, and mends what can be mended from what is there."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace

from rag.audit import Audit
from rag.embedder import Embedder
from rag.errors import IndexDamagedError
from rag.reembed import PENDING
from rag.snapshots import VectorCache
from rag.store import Store, in_parts
from rag.types import JsonValue
from rag.writer import StoreWriter

_SHOWN = 5  # faults of one kind, or names, that are told one by one


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, and whether it is kept."""

    name: str
    promise: str
    faults: tuple[str, ...]
    mended: bool = False  # in this run
    notes: tuple[str, ...] = ()  # what is no fault, and yet to be done

    @property
    def holds(self) -> bool:
        return not self.faults


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What `rag doctor` found."""

    checks: tuple[Check, ...]

    @property
    def holds(self) -> bool:
        """Whether every promise is kept, as of now."""
        return all(check.holds for check in self.checks)

    def as_json(self) -> dict[str, JsonValue]:
        """The form that `rag doctor --json` prints."""
        return {
            "holds": self.holds,
            "checks": [
                {
                    "name": c.name,
                    "promise": c.promise,
                    "holds": c.holds,
                    "mended": c.mended,
                    "faults": list(c.faults),
                    "notes": list(c.notes),
                }
                for c in self.checks
            ],
        }


@dataclass(frozen=True, slots=True)
class Compaction:
    """What `rag doctor --compact` did."""

    bytes_before: int
    bytes_after: int
    is_clean: bool  # False where an open reader, a full disk or a reembed half way keeps traces of what was removed


class Doctor:
    """Examines one index; the caller holds the write lock, so that nothing moves meanwhile."""

    def __init__(
        self, writer: StoreWriter, store: Store, vectors: VectorCache, embedder: Callable[[], Embedder], *, dim: int
    ) -> None:
        """Bind an index.

        Args:
            writer: of the index.
            store: of the index; used by nobody else meanwhile.
            vectors: a cache of this doctor's own.
            embedder: asked for when a document must be embedded again.
            dim: of the vectors.
        """
        self._writer = writer
        self._store = store
        self._vectors = vectors
        self._embedder = embedder
        self._dim = dim

    def examine(self) -> Diagnosis:
        """Check everything; nothing is changed."""
        audit = self._writer.audit()
        space = str(self._space())
        return Diagnosis(
            (
                _check("file", "SQLite finds the file whole, and every row refers to rows that are there", audit.file),
                _check("words", "the word index holds exactly what the passages hold", audit.words),
                _check("files", "every file that was read is known by its hash", audit.files),
                _check("log", "the log of changes leads from any state to now", audit.log),
                _check(
                    "documents",
                    "every passage is its document's text at its place, with the embedding of that text",
                    lambda: _some([f"{fault.source}: {fault.words}" for fault in audit.documents(space)]),
                    notes=lambda: _to_read(audit),
                ),
                _check(
                    "embeddings",
                    "every embedding is a unit vector of the encoder's dimension",
                    lambda: _some(
                        [f"embedding {i} is not {self._dim} numbers of length 1" for i in self._wrong(audit)]
                    ),
                    notes=self._to_embed,
                ),
                _check(
                    "tokens",
                    "what is kept of tokens is whole",
                    lambda: _some([f"the tokens of embedding {i} are torn" for i in self._torn(audit)]),
                    notes=self._without_tokens,
                ),
                _check("unused", "the embeddings that no passage uses are known", audit.loose),
                _check("snapshot", "the vectors are those of the passages, and no file is torn", self._snapshot),
            )
        )

    def repair(self) -> Diagnosis:
        """Mend what can be mended from what is there, and check again."""
        before = self.examine()
        if before.holds:
            return before
        faulty = {check.name for check in before.checks if not check.holds}
        audit = self._writer.audit()
        if "file" in faulty:
            audit.rebuild_trees()
        failure = ""
        notes: tuple[str, ...] = ()
        try:
            notes = self._mend_rows(audit)
        except sqlite3.DatabaseError as exc:  # rows that cannot be read or written
            failure = f" ({exc})"
        with suppress(sqlite3.DatabaseError, IndexDamagedError), self._store.transaction():
            self._vectors.renew(self._store, dim=self._dim)
        checks = []
        for check in self.examine().checks:
            if not check.holds and (failure or check.name != "documents"):  # what a document needs, its fault says
                advice = f"this cannot be mended{failure}: delete the index and ingest again"
                checks.append(replace(check, faults=(*check.faults, advice)))
            else:
                checks.append(replace(check, mended=check.holds and check.name in faulty))
        return Diagnosis(tuple(replace(c, notes=(*c.notes, *notes)) if c.name == "documents" else c for c in checks))

    def _mend_rows(self, audit: Audit) -> tuple[str, ...]:
        """Notes on the documents that no file can tell the text of."""
        space, doubted = str(self._space()), self._other_than_in_snapshot()
        with self._writer.transaction():
            audit.rebuild_words()  # first: rows are taken out of it one by one
            audit.drop_orphans()
            audit.rebuild_loose()
            audit.drop_tokens(torn := self._torn(audit))
            audit.restore_texts(space)  # before a key is taken from an embedding: it may be the one that vouches
            wrong = [*self._wrong(audit), *audit.mistaken_embeddings(space), *audit.embeddings_of(doubted)]
            audit.disown_embeddings(wrong)
            faults = list(audit.documents(space))
            audit.disown_files(fault.source for fault in faults if fault.doubts_text)
            unsure = audit.without_file(fault.source for fault in faults if fault.doubts_text and fault.can_cut)
            audit.rebuild_log()  # with the words: no reader goes on from what it knew of them
        for fault in faults:
            if fault.can_cut:
                self._cut_again(fault.source, space)
        for _ in self._embedder().embed_waiting():  # a vector that was lost looks like one that is still to come
            pass
        for part in in_parts(torn):
            self._embedder().embed_again(self._store.texts_of(part))
        with self._writer.transaction():
            audit.drop_unused_embeddings(wrong)
            audit.rebuild_loose()
        names = ", ".join(_some(unsure))
        return (f"the text may not be what was added, and no file can tell: add again {names}",) if unsure else ()

    def _cut_again(self, source: str, space: str) -> None:
        """The passages of a document anew, from its stored text."""
        document = self._store.document(source)
        assert document is not None, "the caller holds the write lock"
        chunks = self._embedder().cut(document)
        for _ in self._embedder().embed(chunks):
            pass
        self._writer.recut_document(source, chunks, space=space)

    def _other_than_in_snapshot(self) -> list[int]:
        """Chunks whose vector is another one in a snapshot that is whole: which of the two is right cannot be told."""
        with suppress(IndexDamagedError), self._store.transaction():
            if not self._vectors.torn(self._store):
                return self._vectors.differing(self._store, dim=self._dim) or []
        return []

    def _wrong(self, audit: Audit) -> list[int]:
        is_between = bool(self._store.manifest().get(PENDING))
        return audit.embeddings(self._dim, and_others=is_between)

    def _torn(self, audit: Audit) -> list[int]:
        return audit.torn_tokens(self._dim, and_others=bool(self._store.manifest().get(PENDING)))

    def _to_embed(self) -> tuple[str, ...]:
        n = self._store.n_waiting()
        which = "1 passage waits for its vector" if n == 1 else f"{n} passages wait for their vectors"
        return (f"{which}, until the next rag ingest",) if n else ()

    def _without_tokens(self) -> tuple[str, ...]:
        n = self._store.n_without_tokens()
        which = "1 text" if n == 1 else f"{n} texts"
        return (f"nothing is kept of the tokens of {which}: rag reembed makes it, if the encoder can",) if n > 0 else ()

    def _snapshot(self) -> list[str]:
        try:
            with self._store.transaction():
                return self._vectors.faults(self._store, dim=self._dim)
        except IndexDamagedError:
            return ["the embeddings are not all of one dimension, so that none can be compared"]

    def _space(self) -> JsonValue:
        encoder = self._store.manifest()["encoder"]
        assert isinstance(encoder, dict)
        return encoder["space"]


def _check(
    name: str, promise: str, faults: Callable[[], Iterable[str]], *, notes: Callable[[], tuple[str, ...]] = tuple
) -> Check:
    try:
        return Check(name, promise, tuple(faults()), notes=notes())
    except (sqlite3.DatabaseError, ValueError, TypeError) as exc:  # what cannot be read cannot hold
        return Check(name, promise, (f"it cannot be read ({exc})",))


def _some(faults: list[str]) -> list[str]:
    more = len(faults) - _SHOWN
    return [*faults[:_SHOWN], f"and {more} more"] if more > 0 else faults


def _to_read(audit: Audit) -> tuple[str, ...]:
    names = audit.files_to_read()
    which = "1 file" if len(names) == 1 else f"{len(names)} files"
    return (f"{which} will be read again by the next rag ingest: {', '.join(_some(names))}",) if names else ()
