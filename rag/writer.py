"""The SQLite side of writing: every method is one transaction, so that a kill leaves all of it or nothing.

The schema and its migrations are sqlite-utils'; it is imported only where one is due, as it brings pandas along, which
takes 0.6 s.
"""

from __future__ import annotations

import json
import math
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rag.audit import Audit
from rag.errors import IndexDamagedError, IndexMismatchError, LoadError
from rag.store import (
    APPLICATION_ID,
    FORMAT_VERSION,
    FileRow,
    check_ours,
    check_version,
    embedding_key,
    in_parts,
    marks,
    text_key,
)
from rag.types import Chunk, Document, JsonValue
from rag.words import extra_words

_PATIENCE_S = 30.0  # for readers that keep the log from being emptied; nothing else is waited for
_CHUNK_COLUMNS = "start, end, page, section, context, text, text_key, breaks, extra"


class StoreWriter:
    """Writes one `index.sqlite`; the owner holds the index's write lock. Readers go on beside it (WAL)."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        """Open the file, and bring its schema up to date.

        Args:
            path: of the file.
            create: make it where it is not there.

        Raises:
            IndexDamagedError: it is no index that can be used, or cannot be opened.
            IndexMismatchError: another program, or a newer version of the format, made it.
        """
        try:
            db = sqlite3.connect(
                f"{path.absolute().as_uri()}?mode={'rwc' if create else 'rw'}",
                uri=True,
                timeout=_PATIENCE_S,
                check_same_thread=False,
                isolation_level=None,
            )
        except sqlite3.OperationalError as exc:
            raise IndexDamagedError(f"cannot open {str(path)!r} ({exc}): check that it can be written") from exc
        self._db = db
        try:
            check_ours(path, db)
            version = int(db.execute("pragma user_version").fetchone()[0])
            check_version(path, version)
            db.execute("pragma journal_mode = wal")
            db.execute("pragma synchronous = normal")
            db.execute("pragma foreign_keys = on")
            if version < FORMAT_VERSION:
                _migrate(db)
        except IndexMismatchError:
            db.close()
            raise
        except sqlite3.DatabaseError as exc:
            db.close()
            if isinstance(exc, sqlite3.OperationalError):
                raise  # a full disk, say: not the file's fault
            raise IndexDamagedError(
                f"{str(path)!r} is not a usable index ({exc}): delete its folder and ingest again"
            ) from exc

    def close(self) -> None:
        self._db.close()

    def audit(self) -> Audit:
        """What checks, and mends, the rows of this file; inside a `transaction` where it writes."""
        return Audit(self._db)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All that is written inside, or nothing; one inside another is part of it."""
        if self._db.in_transaction:
            yield
            return
        self._db.execute("begin immediate")
        try:
            yield
            self._db.execute("commit")
        except BaseException:
            with suppress(sqlite3.OperationalError):  # some errors have rolled back already
                self._db.execute("rollback")
            raise

    def set_manifest(self, values: Mapping[str, JsonValue]) -> None:
        with self.transaction():
            self._db.executemany(
                "insert into manifest (key, value) values (?, ?)"
                " on conflict (key) do update set value = excluded.value",
                [(key, json.dumps(value)) for key, value in values.items()],
            )

    # Embeddings

    def add_embeddings(
        self,
        keys: Sequence[bytes],
        vectors: Sequence[bytes],
        token_bits: Sequence[bytes] | None = None,
        *,
        replace: bool = False,
    ) -> None:
        """Kept from this moment on: an ingest that is killed later need not embed these texts again.

        Passages that waited for one of them are changed by that.

        Args:
            keys: of what was embedded.
            vectors: float16, little-endian, unit length, one for each key.
            token_bits: of the tokens of each (`rag.late`), where the encoder tells of them.
            replace: put them in place of vectors that are there, too.
        """
        changes = "" if replace else "and vector = x''"
        with self.transaction():
            waited = [
                row[0]
                for part in in_parts(list(keys))
                for row in self._db.execute(f"select id from embeddings where key in ({marks(part)}) {changes}", part)
            ]
            self._db.executemany(
                "insert into embeddings (key, vector) values (?, ?)"
                f" on conflict (key) do update set vector = excluded.vector where true {changes}",
                zip(keys, vectors, strict=True),
            )
            if token_bits is not None:
                self._db.executemany(
                    "insert or replace into token_bits (embedding_id, bits)"
                    " values ((select id from embeddings where key = ?), ?)",
                    zip(keys, token_bits, strict=True),
                )
            if waited:
                change = self._new_change()
                self._db.executemany(
                    "update chunks set change_id = ? where embedding_id = ?", [(change, id_) for id_ in waited]
                )

    def add_waiting(self, keys: Sequence[bytes]) -> None:
        """Embeddings whose vectors come later, so that passages can be kept, and found by their words, without them."""
        with self.transaction():
            self._db.executemany(
                "insert or ignore into embeddings (key, vector) values (?, x'')", [(key,) for key in keys]
            )

    def n_loose_embeddings(self) -> int:
        """How many embeddings no chunk uses."""
        return int(self._db.execute("select count(*) from loose_embeddings").fetchone()[0])

    def drop_loose_embeddings(self) -> None:
        with self.transaction():
            self._db.execute("delete from embeddings where id in (select id from loose_embeddings)")
            self._db.execute("delete from loose_embeddings")

    # Files and documents

    def root_id(self, path: str) -> int:
        row = self._db.execute("select id from roots where path = ?", [path]).fetchone()
        return int(row[0] if row else self._insert("insert into roots (path, of_folder) values (?, 0)", [path]))

    def set_folders(self, paths: Sequence[str]) -> None:
        """The roots that are ingested folders; any other is only the folder of files that were named themselves."""
        if set(paths) == {row[0] for row in self._db.execute("select path from roots where of_folder")}:
            return
        with self.transaction():
            self._db.executemany(
                "insert into roots (path) values (?) on conflict (path) do update set of_folder = 1",
                [(path,) for path in paths],
            )

    def drop_empty_roots(self) -> None:
        """Folders of named files that hold none any more."""
        self._db.execute(
            "delete from roots where not of_folder and not exists (select 1 from files where root_id = roots.id)"
        )

    def put_file(
        self,
        root: str,
        row: FileRow,
        documents: Iterable[tuple[Document, Sequence[Chunk]]],
        *,
        space: str,
    ) -> None:
        """One file with all its documents, chunks and words, in place of what it was before.

        Raises:
            LoadError: another file, or a script, has put in a document of the same source.
        """
        source = ""
        with self.transaction(), _taken_sources_named(lambda: source):
            change = self._new_change()
            file_id = self._upsert_file(self.root_id(root), row)
            self._delete_documents("file_id = ?", [file_id])
            for document, chunks in documents:
                source = document.doc_id
                self._insert_document(file_id, document, chunks, change=change, space=space)

    def move_file(self, file_id: int, root: str, row: FileRow, sources: Mapping[str, str]) -> None:
        """One file under another name: its documents get the new sources, and all else stays as it is.

        Raises:
            LoadError: a document of another file has one of the new sources.
        """
        with self.transaction(), _taken_sources_named(lambda: ", ".join(sources.values())[:200]):
            self._new_change()
            self._db.execute("delete from files where root_id = ? and relpath = ?", [self.root_id(root), row.relpath])
            self._db.execute(
                "update files set root_id = ?, relpath = ?, size = ?, mtime_ns = ? where id = ?",
                [self.root_id(root), row.relpath, row.size, row.mtime_ns, file_id],
            )
            self._db.executemany(
                "update documents set source = ? where source = ?", [(new, old) for old, new in sources.items()]
            )

    def put_document(self, document: Document, chunks: Sequence[Chunk], *, space: str) -> None:
        """One document that no file stands behind, in place of the one of the same source."""
        with self.transaction():
            change = self._new_change()
            self._delete_documents("source = ?", [document.doc_id])
            self._insert_document(None, document, chunks, change=change, space=space)

    def recut_document(self, source: str, chunks: Sequence[Chunk], *, space: str) -> None:
        """A document that stays as it is, with its chunks anew."""
        with self.transaction():
            change = self._new_change()
            document_id = self._document_id(source)
            self._db.execute("delete from chunks where document_id = ?", [document_id])
            self._insert_chunks(document_id, chunks, change=change, space=space)

    def touch_file(self, root: str, row: FileRow) -> None:
        """Note a new size or time of a file whose documents stay as they are: a change, for filters see times."""
        with self.transaction():
            self._new_change()
            self._upsert_file(self.root_id(root), row)

    def remove_files(self, ids: Sequence[int]) -> None:
        """Files that have gone, with all that came from them: one transaction."""
        with self.transaction():
            self._new_change()
            for part in in_parts(list(ids)):
                self._delete_documents(f"file_id in ({marks(part)})", part)
                self._db.execute(f"delete from files where id in ({marks(part)})", part)

    def forget_folders(self, paths: Sequence[str]) -> None:
        """Ingested folders that hold no file any more, and are not to be looked into again."""
        with self.transaction():
            self._db.executemany(
                "delete from roots where path = ? and not exists (select 1 from files where root_id = roots.id)",
                [(path,) for path in paths],
            )

    def remove_documents(self, sources: Sequence[str]) -> None:
        """Documents that a script had added, or single lines of a file, which is then read again by the next ingest."""
        with self.transaction():
            self._new_change()
            for part in in_parts(list(sources)):
                self._db.execute(
                    "update files set size = -1, sha256 = zeroblob(32) where id in"
                    f" (select file_id from documents where source in ({marks(part)}))",
                    part,
                )
                self._delete_documents(f"source in ({marks(part)})", part)

    # The whole

    def switch_encoder(
        self,
        documents: Iterable[tuple[str, Sequence[Chunk]]],
        manifest: Mapping[str, JsonValue],
        *,
        space: str,
    ) -> None:
        """All chunks with the embeddings of another space, which are there already: one transaction.

        Args:
            documents: the source and the chunks of every document.
            manifest: what says so.
            space: of the encoder from now on.
        """
        with self.transaction():
            change = self._new_change()
            for source, chunks in documents:
                self._embed_anew(self._document_id(source), chunks, change=change, space=space)
            self.set_manifest({**manifest, "log_start": change})
            self._db.execute("delete from removed_chunks")

    def forget_removed(self, *, upto: int) -> None:
        """Shorten the log of removed chunks: who is not as far as `upto` starts from a snapshot, or from all rows."""
        with self.transaction():
            self.set_manifest({"log_start": upto})
            self._db.execute("delete from removed_chunks where change_id <= ?", [upto])

    def compact(self) -> bool:
        """Leave no trace of what was removed in the file; False where a reader keeps the log from being emptied."""
        with self.transaction():
            # Reports name files that may have gone; of those that are there, the files themselves tell.
            self._db.execute("delete from ingests where id < (select max(id) from ingests)")
            self._db.execute("update ingests set report = json_remove(report, '$.set_aside', '$.notes', '$.paths')")
            self._db.execute("insert into chunks_fts (chunks_fts) values ('optimize')")
        self._db.execute("vacuum")
        busy, _, _ = self._db.execute("pragma wal_checkpoint(truncate)").fetchone()
        return not busy

    def add_ingest(self, report: Mapping[str, JsonValue]) -> None:
        with self.transaction():
            self._insert("insert into ingests (at, report) values (?, ?)", [_now(), json.dumps(report)])
            self._db.execute("delete from ingests where id <= (select max(id) from ingests) - 100")

    def _new_change(self) -> int:
        return self._insert("insert into changes (token, at) values (?, ?)", [os.urandom(8), _now()])

    def _document_id(self, source: str) -> int:
        return int(self._db.execute("select id from documents where source = ?", [source]).fetchone()[0])

    def _insert(self, sql: str, arguments: Sequence[Any]) -> int:
        return int(self._db.execute(sql, arguments).lastrowid or 0)

    def _upsert_file(self, root_id: int, row: FileRow) -> int:
        self._db.execute(
            "insert into files (root_id, relpath, size, mtime_ns, sha256, reason, notes) values (?, ?, ?, ?, ?, ?, ?)"
            " on conflict (root_id, relpath) do update set size = excluded.size, mtime_ns = excluded.mtime_ns,"
            " sha256 = excluded.sha256, reason = excluded.reason, notes = excluded.notes",
            [root_id, row.relpath, row.size, row.mtime_ns, row.sha256, row.reason, json.dumps(row.notes)],
        )
        found = self._db.execute("select id from files where root_id = ? and relpath = ?", [root_id, row.relpath])
        return int(found.fetchone()[0])

    def _delete_documents(self, where: str, arguments: Sequence[Any]) -> None:
        self._db.execute(f"delete from chunks where document_id in (select id from documents where {where})", arguments)
        self._db.execute(f"delete from documents where {where}", arguments)

    def _insert_document(
        self, file_id: int | None, document: Document, chunks: Sequence[Chunk], *, change: int, space: str
    ) -> None:
        document_id = self._insert(
            "insert into documents (file_id, source, title, text, sections, pages, metadata)"
            " values (?, ?, ?, ?, ?, ?, ?)",
            [
                file_id,
                document.doc_id,
                document.title,
                document.text,
                json.dumps([[s.start, s.body, s.path] for s in document.sections]),
                json.dumps(document.pages),
                _metadata_json(document.metadata),
            ],
        )
        self._insert_chunks(document_id, chunks, change=change, space=space)

    def _insert_chunks(self, document_id: int, chunks: Sequence[Chunk], *, change: int, space: str) -> None:
        self._db.executemany(
            f"insert into chunks (document_id, change_id, embedding_id, {_CHUNK_COLUMNS})"
            " values (?, ?, (select id from embeddings where key = ?), ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            ((document_id, change, embedding_key(space, chunk.encoded), *_chunk_row(chunk)) for chunk in chunks),
        )

    def _embed_anew(self, document_id: int, chunks: Sequence[Chunk], *, change: int, space: str) -> None:
        """The chunks of a document in another space; where they are cut as before, rows and words stay."""
        rows = self._db.execute(
            f"select id, {_CHUNK_COLUMNS} from chunks where document_id = ? order by start, id", [document_id]
        ).fetchall()
        if [row[1:] for row in rows] == [_chunk_row(chunk) for chunk in chunks]:
            self._db.executemany(
                "update chunks set change_id = ?, embedding_id = (select id from embeddings where key = ?)"
                " where id = ?",
                [(change, embedding_key(space, c.encoded), row[0]) for row, c in zip(rows, chunks, strict=True)],
            )
        else:
            self._db.execute("delete from chunks where document_id = ?", [document_id])
            self._insert_chunks(document_id, chunks, change=change, space=space)


def _migrate(db: sqlite3.Connection) -> None:
    from sqlite_utils import Database

    from rag.migrations import migrations

    db.execute(f"pragma application_id = {APPLICATION_ID}")
    migrations.apply(Database(db))
    db.execute(f"pragma user_version = {FORMAT_VERSION}")


@contextmanager
def _taken_sources_named(source: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except sqlite3.IntegrityError as exc:
        if "documents.source" not in str(exc):
            raise
        raise LoadError(f"holds a document whose source another one has: {source()!r}; rename it") from exc


def _chunk_row(chunk: Chunk) -> tuple[Any, ...]:
    """The values of `_CHUNK_COLUMNS`."""
    return (
        chunk.start,
        chunk.end,
        chunk.page,
        chunk.section,
        chunk.context,
        chunk.text,
        text_key(chunk.text),
        json.dumps(chunk.breaks),
        extra_words(chunk.encoded),
    )


def _metadata_json(metadata: Mapping[str, JsonValue]) -> str:
    """As SQLite reads it as well: numbers that are not finite, which JSON does not know, become null."""
    try:
        return json.dumps(dict(metadata), allow_nan=False)
    except ValueError:
        return json.dumps(_finite(dict(metadata)))


def _finite(value: JsonValue) -> JsonValue:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
