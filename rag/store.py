"""The SQLite side of reading: documents, chunks, full text, embeddings, the change log.

It speaks of rows and bytes; what they mean together is the business of `rag.index`. `rag.writer` writes them.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.bm25 import WordIndex
from rag.errors import IndexDamagedError, IndexMismatchError
from rag.types import Chunk, Document, JsonValue, Place, Section
from rag.uploads import file_path

APPLICATION_ID = 0x464E5445  # 'FNTE', in SQLite's header: this file is an index of ours
FORMAT_VERSION = 4  # of the schema; kept in SQLite's user_version. A reader takes every version up to this one
_READER_CACHE_KB = 16_384
_VARIABLES = 500  # per statement, well below SQLite's limit on every build


@dataclass(frozen=True, slots=True)
class FileRow:
    """What is known of one file: enough to tell whether it has changed without reading it."""

    id: int
    relpath: str
    size: int  # bytes; -1 where the file was so new that it could still change within the same clock tick
    mtime_ns: int
    sha256: bytes | None
    reason: str | None
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """One line of `rag list`."""

    source: str
    title: str | None
    characters: int
    n_chunks: int


@dataclass(frozen=True, slots=True)
class SourceFile:
    """The file that a document came from, as it was when it was read."""

    path: str  # where it was; of a name that is no Unicode, not one to open it by
    size: int  # bytes; -1 where the file was so new that it could still change within the same clock tick
    mtime_ns: int
    sha256: bytes | None
    read_at: str | None  # ISO 8601 with zone; None where the log of changes does not go back so far


@dataclass(frozen=True, slots=True)
class DocumentFacts:
    """What filters can be made of: where a document came from, from when its file is, what it says of itself."""

    source: str
    relpath: str | None  # of its file; None where a script added it
    mtime_ns: int | None
    metadata: Mapping[str, JsonValue]


@dataclass(frozen=True, slots=True)
class FileState:
    """One file that the index knows, or one document that no file stands behind."""

    root: str  # the folder its name is told from; `rag.uploads.UPLOADS` for an upload, '' where there is no file
    name: str  # relative path, what its user called an upload, or the document's source
    source: str | None  # of its first document; None where there is none
    n_documents: int
    n_chunks: int
    size: int  # bytes; -1 where it is not known
    mtime_ns: int
    reason: str | None  # why it was set aside
    notes: tuple[str, ...]  # what a person should know though it was read


def embedding_key(space: str, encoded: str) -> bytes:
    """The key of an embedding: equal only for the same string in the same encoder space."""
    return hashlib.sha256(f"{space}\x00{encoded}".encode()).digest()


def text_key(text: str) -> int:
    """64 bits of the text's SHA-256, signed, as SQLite keeps integers."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little", signed=True)


class Store:
    """Reads one `index.sqlite`. Not thread-safe: the owner serialises calls, or opens one for each thread."""

    def __init__(self, path: Path) -> None:
        """Open an existing file.

        Raises:
            IndexDamagedError: it is not a whole index.
            IndexMismatchError: a newer version of the format made it.
        """
        self.path = path
        self.file_id = file_id(path)  # of the file that was opened
        self._db = _connect(path)
        self._words = WordIndex(self._db)
        self._words_version = FORMAT_VERSION  # of the file when its words were last looked at
        try:
            self._version = self._words_version = version = int(self._db.execute("pragma user_version").fetchone()[0])
            tables = {row[0] for row in self._db.execute("select name from sqlite_master where type = 'table'")}
        except sqlite3.DatabaseError as exc:
            self._db.close()
            raise IndexDamagedError(
                f"{str(path)!r} is not a readable index ({exc}): delete its folder and ingest again"
            ) from exc
        try:
            check_ours(path, self._db)
            check_version(path, version)
        except IndexMismatchError:
            self._db.close()
            raise
        if version == 0 or "chunks" not in tables:
            self._db.close()
            raise IndexDamagedError(
                f"{str(path.parent)!r} is half-written: an ingest was stopped before its first commit. "
                "Delete the folder, or run rag ingest PATH on it again"
            )

    def close(self) -> None:
        self._db.close()

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One consistent state for all reads inside, whatever a writer commits meanwhile; one in another is part of it.

        Raises:
            IndexDamagedError: what is read is not what SQLite had written.
        """
        if self.in_transaction:
            yield
            return
        self._db.execute("begin")
        try:
            yield
        finally:
            self._db.execute("rollback")

    def manifest(self) -> dict[str, JsonValue]:
        try:
            return {key: json.loads(value) for key, value in self._db.execute("select key, value from manifest")}
        except (ValueError, TypeError) as exc:
            raise IndexDamagedError(
                f"what {str(self.path)!r} says of itself cannot be read ({exc}): delete its folder and ingest again"
            ) from exc

    def last_change(self) -> tuple[int, bytes]:
        """Number and token of the last committed change; (0, b'') before the first."""
        row = self._db.execute("select id, token from changes order by id desc limit 1").fetchone()
        return (int(row[0]), bytes(row[1])) if row else (0, b"")

    def change_token(self, change: int, *, of_any_age: bool = False) -> bytes | None:
        """The token of a change from which the log still leads to now, or of any change; None for all others."""
        row = self._db.execute(
            "select token from changes where id = ?1 and (?2"
            " or id >= coalesce((select cast(value as integer) from manifest where key = 'log_start'), 0))",
            [change, of_any_age],
        ).fetchone()
        return bytes(row[0]) if row else None

    def vectors_since(self, change: int, *, batch: int = 8192) -> Iterator[tuple[list[int], bytes]]:
        """(chunk ids, their float16 vectors one after the other) of all chunks that are new, or got theirs, since."""
        # Of few among many, found by the index on changes: SQLite would rather go through all in their order.
        chosen = "c.change_id > ?" if change == 0 else "c.id in (select id from chunks where change_id > ?)"
        cursor = self._db.execute(
            "select c.id, e.vector from chunks c join embeddings e on e.id = c.embedding_id"
            f" where {chosen} and e.vector <> x'' order by c.id",
            [change],
        )
        while rows := cursor.fetchmany(batch):
            yield [row[0] for row in rows], b"".join(row[1] for row in rows)

    def n_vectors(self) -> int:
        """How many chunks have their vector."""
        return self.n_chunks() - self.n_waiting()

    def vector_ids(self) -> NDArray[np.int64]:
        """The ids of all chunks that have their vector, in no order."""
        rows = self._db.execute(
            "select id from chunks where embedding_id not in (select id from embeddings where vector = x'')"
        )
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def vectors_of(self, ids: Sequence[int]) -> Iterator[tuple[list[int], bytes]]:
        """(chunk ids, their float16 vectors one after the other) of those of some chunks that have one."""
        for part in in_parts(list(ids)):
            rows = self._db.execute(
                "select c.id, e.vector from chunks c join embeddings e on e.id = c.embedding_id"
                f" where c.id in ({marks(part)}) and e.vector <> x''",
                part,
            ).fetchall()
            yield [row[0] for row in rows], b"".join(row[1] for row in rows)

    def removed_since(self, change: int) -> list[int]:
        return [row[0] for row in self._db.execute("select chunk_id from removed_chunks where change_id > ?", [change])]

    def bm25(self, terms: Sequence[str], *, k: int, passing: NDArray[np.uint8] | None = None) -> dict[int, float]:
        """The k best chunks that hold any of the terms, by BM25 (`rag.bm25`); higher is better.

        Args:
            terms: any one of them is enough.
            k: how many at most.
            passing: only chunks whose bits are 1 (`Passing.bits`); words are weighed over all chunks nonetheless.
        """
        return self.bm25_and(terms, k=k, passing=passing)[0]

    def bm25_and(
        self, terms: Sequence[str], *, k: int, passing: NDArray[np.uint8] | None = None, also: Sequence[int] = ()
    ) -> tuple[dict[int, float], dict[int, float]]:
        """What `bm25` gives, and the scores of those of some other chunks that hold any of the terms, and may pass."""
        if not terms:
            return {}, {}
        with self.transaction():
            return self._current_words().best(terms, k=k, passing=passing, also=also)

    def rarest(self, terms: Sequence[str], n: int) -> list[str]:
        """Those n of the terms that stand in the fewest chunks, in their order."""
        with self.transaction():
            return self._current_words().rarest(terms, n)

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        """Inverse document frequency of each stemmed word over the chunks: log(1 + n / (1 + df)), above 0."""
        with self.transaction():
            return self._current_words().term_weights(stems)

    def bm25_ceiling(self, terms: Sequence[str]) -> float:
        """The score that no chunk can exceed: (k1 + 1) times the sum of the terms' weights."""
        with self.transaction():
            return self._current_words().ceiling(terms)

    def holding(self, term: str) -> NDArray[np.int64]:
        """The ids of the chunks that hold a word, or several side by side, ascending; endings do not count."""
        with self.transaction():
            return self._current_words().holding(term)

    def document_frequencies(self, stems: Sequence[str]) -> dict[str, int]:
        """In how many chunks each stemmed word stands; words that stand in none are left out."""
        with self.transaction():
            return self._current_words().document_frequencies(stems)

    def _current_words(self) -> WordIndex:
        now = self.last_change()
        is_migrated = self._is_of_format(FORMAT_VERSION) and self._words_version < FORMAT_VERSION
        if now != self._words.change or is_migrated:  # a migration changes words, and is no change
            change, token = self._words.change
            self._words.move_to(now, follows=not is_migrated and self.change_token(change) == token)
            self._words_version = self._version
        return self._words

    def chunks(self, ids: Iterable[int]) -> dict[int, Chunk]:
        """The chunks of those ids that exist."""
        found = {}
        for part in in_parts(list(ids)):
            rows = self._db.execute(
                "select c.id, d.source, c.text, c.start, c.end, c.page, c.section, d.title, c.context, c.breaks"
                f" from chunks c join documents d on d.id = c.document_id where c.id in ({marks(part)})",
                part,
            )
            found.update({row[0]: _chunk(row[1:]) for row in rows})
        return found

    def origins(self, ids: Iterable[int]) -> dict[int, tuple[str, str | None]]:
        """(source of its document, path of its file below the folder that was read; None without one) of each chunk."""
        rows = self._db.execute(
            "select c.id, d.source, f.relpath from json_each(?) i join chunks c on c.id = i.value"
            " join documents d on d.id = c.document_id left join files f on f.id = d.file_id",
            [json.dumps(list(ids))],
        )
        return {row[0]: (row[1], row[2]) for row in rows}

    def same_text(self, text: str) -> list[tuple[int, Place]]:
        """The id and the place of every chunk with exactly this text, ordered by source and start."""
        rows = self._db.execute(
            "select c.id, d.source, c.page, c.start, c.end, c.text from chunks c"
            " join documents d on d.id = c.document_id where c.text_key = ? order by d.source, c.start",
            [text_key(text)],
        )
        return [(row[0], Place(*row[1:5])) for row in rows if row[5] == text]

    def texts_before(self, chunk_ids: Sequence[int], *, at_most: int) -> dict[int, str]:
        """What stands in front of each chunk in its document: so many characters, or as many as there are."""
        rows = self._db.execute(
            "select c.id, substr(d.text, max(c.start - :n, 0) + 1, min(c.start, :n))"
            " from json_each(:ids) i join chunks c on c.id = i.value join documents d on d.id = c.document_id",
            {"n": at_most, "ids": json.dumps(list(chunk_ids))},
        )
        return dict(rows.fetchall())

    def document(self, source: str) -> Document | None:
        row = self._db.execute(
            "select source, text, title, sections, pages, metadata from documents where source = ?", [source]
        ).fetchone()
        if row is None:
            return None
        try:
            sections = tuple(Section(*section) for section in json.loads(row[3]))
            return Document(row[0], row[1], row[2], sections, tuple(json.loads(row[4])), json.loads(row[5]))
        except (ValueError, TypeError) as exc:
            raise IndexDamagedError(f"what is stored of {source!r} cannot be read ({exc}): see rag doctor") from exc

    def spans(self, source: str) -> list[tuple[int, int]]:
        """(start, end) of each chunk of a document, in order."""
        rows = self._db.execute(
            'select c.start, c."end" from chunks c join documents d on d.id = c.document_id'
            " where d.source = ? order by c.start",
            [source],
        )
        return [(row[0], row[1]) for row in rows]

    def documents(self, where: str = "1", arguments: Sequence[Any] = ()) -> list[DocumentRow]:
        """All documents, or those for which an SQL condition on `documents d` and `files f` holds."""
        rows = self._db.execute(
            "select d.source, d.title, length(d.text), (select count(*) from chunks c where c.document_id = d.id)"
            f" from documents d left join files f on f.id = d.file_id where {where} order by d.source",
            arguments,
        )
        return [DocumentRow(*row) for row in rows]

    def facts(self) -> list[DocumentFacts]:
        """What filters can be made of, for every document, ordered by source."""
        rows = self._db.execute(
            "select d.source, f.relpath, f.mtime_ns, iif(json_valid(d.metadata), d.metadata, '{}')"
            " from documents d left join files f on f.id = d.file_id order by d.source"
        )
        return [DocumentFacts(source, relpath, mtime, json.loads(said)) for source, relpath, mtime, said in rows]

    def file_of(self, source: str) -> SourceFile | None:
        """The file that the document of that source came from; None where a script added it, or there is none."""
        row = self._db.execute(
            "select r.path, f.relpath, f.size, f.mtime_ns, f.sha256, (select x.at from chunks c join changes x"
            " on x.id = c.change_id where c.document_id = d.id order by c.change_id limit 1)"
            " from documents d join files f on f.id = d.file_id join roots r on r.id = f.root_id where d.source = ?",
            [source],
        ).fetchone()
        return SourceFile(str(file_path(self.path.parent, row[0], row[1])), *row[2:]) if row else None

    def chunks_that_pass(self, where: str, arguments: Sequence[Any]) -> list[int]:
        """The ids of the chunks of the documents for which an SQL condition on `documents d` and `files f` holds."""
        rows = self._db.execute(
            "select c.id from documents d left join files f on f.id = d.file_id"
            f" cross join chunks c on c.document_id = d.id where {where}",  # cross: documents first, each tested once
            arguments,
        )
        return [row[0] for row in rows]

    def sources(self, *, like: str = "", limit: int = -1) -> list[str]:
        """Sources that contain a string, in order; all of them by default."""
        rows = self._db.execute(
            "select source from documents where instr(source, ?) order by source limit ?", [like, limit]
        )
        return [row[0] for row in rows]

    def owner(self, source: str) -> tuple[str, str] | None:
        """(root, relative path) of the file whose document has this source, or whose lines begin with it and '#'."""
        row = self._db.execute(
            "select r.path, f.relpath from documents d left join files f on f.id = d.file_id"
            " left join roots r on r.id = f.root_id"
            " where d.source = ?1 or (d.source > ?1 || '#' and d.source < ?1 || '$'"
            " and (f.id is null or substr(?1, -length(f.relpath)) = f.relpath))"  # a name may hold a '#' itself
            " order by d.source limit 1",
            [source],
        ).fetchone()
        return (row[0] or "", row[1] or "") if row else None

    def sources_of(self, file_id: int) -> list[str]:
        """The sources of all documents that came from a file, in order."""
        rows = self._db.execute("select source from documents where file_id = ? order by source", [file_id])
        return [row[0] for row in rows]

    def has_file(self, source: str) -> bool:
        """Whether the document of that source came from a file."""
        return (self.owner(source) or ("", ""))[0] != ""

    def waiting_texts(self, *, limit: int) -> dict[bytes, str]:
        """What the encoder is still to be given, by its key: the texts of passages that have no vector yet."""
        return {key: text for _, key, text in self._texts("e.vector = x''", [limit])}

    def embedded_texts(self, *, after: int, limit: int) -> list[tuple[int, bytes, str]]:
        """(embedding id, key, what the encoder is given) of embeddings that passages use, in order of their ids."""
        return list(self._texts("e.id > ?", [after, limit]))

    def texts_of(self, embeddings: Sequence[int]) -> dict[bytes, str]:
        """What the encoder was given for those of the embeddings that passages use, by key."""
        wanted = list(embeddings)
        return {key: text for _, key, text in self._texts(f"e.id in ({marks(wanted)})", [*wanted, -1])}

    def _texts(self, which: str, values: Sequence[int]) -> Iterator[tuple[int, bytes, str]]:
        rows = self._db.execute(
            "select e.id, e.key, c.context, c.text from embeddings e join chunks c on c.id ="
            f" (select min(id) from chunks where embedding_id = e.id) where {which} order by e.id limit ?",
            values,
        )
        for id_, key, context, text in rows:
            yield id_, bytes(key), Chunk("", text, 0, len(text), context=context).encoded

    def _is_of_format(self, version: int) -> bool:
        """Whether the file is of that format or a later one; a writer may bring it up to date while it is open here."""
        if self._version < version:
            self._version = int(self._db.execute("pragma user_version").fetchone()[0])
        return self._version >= version

    def _has_waiting(self) -> bool:
        """Whether any embedding is still to come, as the index on them tells at once."""
        return self._is_of_format(3) and bool(
            self._db.execute("select exists (select 1 from embeddings where vector = x'')").fetchone()[0]
        )

    def n_waiting(self) -> int:
        """How many passages have no vector yet."""
        if not self._has_waiting():
            return 0
        rows = self._db.execute(
            "select count(*) from embeddings e join chunks c on c.embedding_id = e.id where e.vector = x''"
        )
        return int(rows.fetchone()[0])

    def waiting_of(self, ids: Sequence[int]) -> set[int]:
        """Those of the chunks that have no vector yet."""
        if not self._has_waiting():
            return set()
        return {
            row[0]
            for part in in_parts(list(ids))
            for row in self._db.execute(
                "select c.id from chunks c join embeddings e on e.id = c.embedding_id"
                f" where c.id in ({marks(part)}) and e.vector = x''",
                part,
            )
        }

    def token_bits(self, ids: Sequence[int]) -> dict[int, bytes]:
        """What `rag.late` keeps of the tokens of each chunk, read once for all copies of a text; of some, nothing."""
        if not self._is_of_format(4):
            return {}
        embedding_of = {
            row[0]: row[1]
            for part in in_parts(list(ids))
            for row in self._db.execute(f"select id, embedding_id from chunks where id in ({marks(part)})", part)
        }
        bits = {
            row[0]: row[1]
            for part in in_parts(list(dict.fromkeys(embedding_of.values())))
            for row in self._db.execute(
                f"select embedding_id, bits from token_bits where embedding_id in ({marks(part)})", part
            )
        }
        return {i: bits[embedding] for i, embedding in embedding_of.items() if embedding in bits}

    def n_without_tokens(self) -> int:
        """Of how many embeddings no tokens are kept: made before format 4, or by an encoder that tells of none."""
        there = "(select count(*) from token_bits)" if self._is_of_format(4) else "0"
        sql = f"select (select count(*) from embeddings where vector <> x'') - {there}"
        if not self._has_waiting():  # all have their vector, and need not be passed
            sql = f"select (select count(*) from embeddings) - {there}"
        return int(self._db.execute(sql).fetchone()[0])

    def changed_chunks(self, *, since: int) -> int:
        """How many chunks were added or removed after a change."""
        sql = (
            "select (select count(*) from chunks where change_id > ?1)"
            " + (select count(*) from removed_chunks where change_id > ?1)"
        )
        return int(self._db.execute(sql, [since]).fetchone()[0])

    def last_chunk(self) -> int:
        """The highest id of a chunk, 0 where there is none."""
        return int(self._db.execute("select coalesce(max(id), 0) from chunks").fetchone()[0])

    def n_chunks(self) -> int:
        return int(self._db.execute("select count(*) from chunks").fetchone()[0])

    def has_chunks(self) -> bool:
        return bool(self._db.execute("select exists (select 1 from chunks)").fetchone()[0])

    def counts(self) -> dict[str, int]:
        """How many files were read, and how many documents, chunks and embeddings there are."""
        tables = {"files": "files where reason is null", **{t: t for t in ("documents", "chunks", "embeddings")}}
        return {
            name: int(self._db.execute(f"select count(*) from {table}").fetchone()[0]) for name, table in tables.items()
        }

    def files(self, root: str) -> dict[str, FileRow]:
        """All known files below an ingested folder, by relative path."""
        rows = self._db.execute(
            "select f.id, relpath, size, mtime_ns, sha256, reason, notes from files f join roots r on r.id = f.root_id"
            " where r.path = ?",
            [root],
        )
        return {row[1]: _file_row(row) for row in rows}

    def file_states(self) -> list[FileState]:
        """Every file, read or set aside, and every document without one, ordered by name."""
        count = "(select count(*) from chunks c where c.document_id = d.id)"
        rows = self._db.execute(
            f"select r.path, f.relpath, min(d.source), count(d.id), coalesce(sum({count}), 0), f.size, f.mtime_ns,"
            " f.reason, f.notes from files f join roots r on r.id = f.root_id left join documents d on d.file_id = f.id"
            f" group by f.id union all select '', d.source, d.source, 1, {count}, -1, 0, null, '[]'"
            " from documents d where d.file_id is null order by 2, 1"
        )
        return [_file_state(row) for row in rows]

    def set_aside(self) -> list[tuple[str, str]]:
        """(relative path, reason) of each file that was set aside, in order."""
        return list(self._db.execute("select relpath, reason from files where reason is not null order by relpath"))

    def roots(self) -> list[str]:
        return [row[0] for row in self._db.execute("select path from roots order by path")]

    def roots_of_files(self) -> list[str]:
        """Those of the roots that are only folders of files that were named themselves."""
        if not self._is_of_format(2):
            return []
        return [row[0] for row in self._db.execute("select path from roots where not of_folder order by path")]

    def last_ingest(self) -> dict[str, Any] | None:
        row = self._db.execute("select at, report from ingests order by id desc limit 1").fetchone()
        return {"at": row[0], **json.loads(row[1])} if row else None

    def known_embeddings(self, keys: Sequence[bytes]) -> dict[bytes, int]:
        """The ids of the embeddings that are there, by key; one that waits for its vector is not."""
        found: dict[bytes, int] = {}
        for part in in_parts(list(keys)):
            there = f"key in ({marks(part)}) and vector <> x''"
            rows = self._db.execute(f"select key, id from embeddings where {there}", part)
            found.update({bytes(row[0]): row[1] for row in rows})
        return found


def file_id(path: Path) -> tuple[int, int] | None:
    """What tells one file from another of the same name; None where there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _file_row(row: Sequence[Any]) -> FileRow:
    id_, relpath, size, mtime_ns, sha256, reason, notes = row
    return FileRow(id_, relpath, size, mtime_ns, sha256, reason, tuple(json.loads(notes)))


def _file_state(row: Sequence[Any]) -> FileState:
    root, name, source, n_documents, n_chunks, size, mtime_ns, reason, notes = row
    return FileState(root, name, source, n_documents, n_chunks, size, mtime_ns, reason, tuple(json.loads(notes)))


def _chunk(row: Sequence[Any]) -> Chunk:
    source, text, start, end, page, section, title, context, breaks = row
    return Chunk(source, text, start, end, page, section, title, context, tuple(json.loads(breaks)))


def _connect(path: Path) -> sqlite3.Connection:
    """A reader's connection: never creates the file, works on a folder that cannot be written."""
    wal = path.with_name(path.name + "-wal")
    for query in ("mode=rw", "mode=ro", "mode=ro&immutable=1"):
        if "immutable" in query and wal.exists() and wal.stat().st_size:
            break  # it would not look into the log, where the last commits are
        db = None
        try:
            db = sqlite3.connect(
                f"{path.absolute().as_uri()}?{query}",
                uri=True,
                check_same_thread=False,
                isolation_level=None,
                timeout=30,
            )
            db.execute(WordIndex.SETUP)
            db.execute("pragma query_only = 1")
            db.execute(f"pragma cache_size = -{_READER_CACHE_KB}")
            db.execute("select 1 from sqlite_master limit 1").fetchone()
            return db
        except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:  # the latter: names in the schema are no text
            if db is not None:
                db.close()
            if isinstance(exc, sqlite3.OperationalError):
                error = exc
                continue
            raise IndexDamagedError(
                f"{str(path)!r} is damaged, or not an SQLite file ({exc}): delete its folder and ingest again"
            ) from exc
    raise IndexDamagedError(f"cannot open {str(path)!r} ({error}): check that it can be read") from error


def check_ours(path: Path, db: sqlite3.Connection) -> None:
    """Refuse another program's file before anything is written into it; one without any table is nobody's yet."""
    application = db.execute("pragma application_id").fetchone()[0]
    if application != APPLICATION_ID and db.execute("select 1 from sqlite_master limit 1").fetchone():
        raise IndexMismatchError(f"{str(path)!r} belongs to another program: name another folder as the index")


def check_version(path: Path, version: int) -> None:
    if version > FORMAT_VERSION:
        raise IndexMismatchError(
            f"{str(path.parent)!r} has index format {version}, this version reads up to {FORMAT_VERSION}: "
            "upgrade with pip install --upgrade footnote-rag"
        )


def marks(values: Sequence[Any]) -> str:
    return ",".join("?" * len(values))


def in_parts(values: list[Any]) -> Iterator[list[Any]]:
    for i in range(0, len(values), _VARIABLES):
        yield values[i : i + _VARIABLES]
