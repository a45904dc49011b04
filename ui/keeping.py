"""The file that the page keeps beside the indexes: threads and settings, by owner.

One SQLite file for all indexes of a folder. Any number of threads and processes may use it at once.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from rag.errors import IndexDamagedError, IndexMismatchError, UsageError

FILE_NAME = "page.sqlite"  # in the folder of indexes
APPLICATION_ID = 0x464E5450  # 'FNTP', in SQLite's header: this file is the page's
_PATIENCE_S = 30.0  # for others who write at the same moment
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

# One entry a version of the schema, never edited again; user_version says how many were run.
_MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        """create table threads (
            id integer primary key autoincrement,  -- so that none is ever given twice
            owner text not null, index_name text not null,
            title text,  -- null until it is renamed: then it is the first question
            created_at text not null, changed_at text not null  -- UTC, ISO 8601
        )""",
        "create index threads_by_owner on threads (owner, changed_at)",
        """create table turns (
            id integer primary key autoincrement,
            thread_id integer not null references threads on delete cascade, number integer not null,
            asked_at text not null, version text not null,
            encoder text not null, space text not null, change integer not null, token blob not null,
            question text not null, rewritten text,
            answer text not null,  -- JSON: all of it
            sources text not null,  -- JSON: SHA-256 in hex by source, null where it is not known
            unique (thread_id, number)
        )""",
        "create table settings (owner text primary key, form text not null, changed_at text not null)",
    ),
)
FORMAT_VERSION = len(_MIGRATIONS)


class PageFile:
    """What the page keeps. The file is made when something is kept for the first time."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection | None]:
        """One read transaction; None where nothing was kept yet.

        Raises:
            IndexDamagedError: the file is no database, is torn, or holds what cannot be read.
            IndexMismatchError: another program, or a newer version of the format, made it.
            UsageError: it cannot be opened.
        """
        if not self.path.exists():
            yield None
            return
        with self._open("rw") as db:  # not "ro": what a killed process left half-written is rolled back first
            if 0 < self._version(db) < FORMAT_VERSION:
                self._migrate(db)
            db.execute("begin")
            yield db if self._version(db) else None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, in a file that is made where there is none; raises as `reading` does."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"cannot make the folder {str(self.path.parent)!r} ({exc.strerror or exc})") from exc
        with self._open("rwc") as db:
            if self._version(db) < FORMAT_VERSION:
                with suppress(sqlite3.OperationalError):  # another process is just doing so
                    db.execute("pragma journal_mode = wal")
                self._migrate(db)
            db.execute("begin immediate")
            yield db
            db.execute("commit")

    def shred(self) -> None:
        """Leave nothing of what was removed in the file, its free pages or its log."""
        with self._open("rw") as db, suppress(sqlite3.OperationalError):  # who reads meanwhile is not kept waiting
            db.execute("vacuum")
            db.execute("pragma wal_checkpoint(truncate)")

    def damaged(self, exc: Exception) -> IndexDamagedError:
        return IndexDamagedError(
            f"{str(self.path)!r} holds no threads and settings that can be read ({exc}): move it away, and the page "
            "begins a new one"
        )

    @contextmanager
    def _open(self, mode: str) -> Iterator[sqlite3.Connection]:
        try:
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S, isolation_level=None)) as db:
                db.execute("pragma foreign_keys = on")
                db.execute("pragma secure_delete = on")
                db.execute("pragma temp_store = memory")  # no copy of what is removed in another folder
                yield db
        except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:  # the latter: names in the schema are no text
            # A full disk, a closed folder or a lock is not the file's fault; other tables, or text that is none, are.
            code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            if isinstance(exc, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                raise UsageError(
                    f"the threads and settings in {str(self.path)!r} cannot be used ({exc}): make room, or check who "
                    "may write there, then try again"
                ) from exc
            raise self.damaged(exc) from exc

    def _migrate(self, db: sqlite3.Connection) -> None:
        db.execute("begin immediate")
        for number, statements in enumerate(_MIGRATIONS[self._version(db) :], start=self._version(db) + 1):
            for statement in statements:
                db.execute(statement)
            db.execute(f"pragma application_id = {APPLICATION_ID}")
            db.execute(f"pragma user_version = {number}")
        db.execute("commit")

    def _version(self, db: sqlite3.Connection) -> int:
        """Of the schema; 0 where there is none yet."""
        if not db.execute("select 1 from sqlite_master limit 1").fetchone():
            return 0
        if db.execute("pragma application_id").fetchone()[0] != APPLICATION_ID:
            raise IndexMismatchError(
                f"{str(self.path)!r} belongs to another program: move it away, and the page begins a new one"
            )
        found = int(db.execute("pragma user_version").fetchone()[0])
        if found > FORMAT_VERSION:
            raise IndexMismatchError(
                f"{str(self.path)!r} has format {found} of threads and settings, this version reads up to "
                f"{FORMAT_VERSION}: upgrade with pip install --upgrade footnote-rag"
            )
        return found


def storable(text: str) -> str:
    """A text that SQLite can keep: lone surrogates become U+FFFD."""
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
