"""The file that the page keeps beside the indexes: threads and settings, by owner.

One SQLite file for all indexes of a folder. Any number of threads and processes may use it at once.
"""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rag.errors import IndexDamagedError, UsageError
from rag.sidefile import SideFile

FILE_NAME = "page.sqlite"  # in the folder of indexes
APPLICATION_ID = 0x464E5450  # 'FNTP', in SQLite's header: this file is the page's
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

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
        self._file = SideFile(
            self.path, "threads and settings", "the page begins a new one", APPLICATION_ID, _MIGRATIONS
        )

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
        with self._file.open("rw") as db:  # not "ro": what a killed process left half-written is rolled back first
            if 0 < self._file.version(db) < FORMAT_VERSION:
                self._migrate(db)
            db.execute("begin")
            yield db if self._file.version(db) else None

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """One write transaction, in a file that is made where there is none; raises as `reading` does."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"cannot make the folder {str(self.path.parent)!r} ({exc.strerror or exc})") from exc
        with self._file.open("rwc") as db:
            if self._file.version(db) < FORMAT_VERSION:
                with suppress(sqlite3.OperationalError):  # another process is just doing so
                    db.execute("pragma journal_mode = wal")
                self._migrate(db)
            db.execute("begin immediate")
            yield db
            db.execute("commit")

    def asks(self, index: str) -> bool:
        """Whether any thread, of whomever, asks the index of that name; raises as `reading` does."""
        with self.reading() as db:
            sql = "select 1 from threads where index_name = ? limit 1"
            return db is not None and db.execute(sql, [storable(index)]).fetchone() is not None

    def shred(self) -> None:
        """Leave nothing of what was removed in the file, its free pages or its log."""
        with self._file.open("rw") as db, suppress(sqlite3.OperationalError):  # who reads meanwhile is not kept waiting
            db.execute("vacuum")
            db.execute("pragma wal_checkpoint(truncate)")

    def damaged(self, exc: Exception) -> IndexDamagedError:
        """What is to be raised of a content that cannot be read."""
        return self._file.damaged(exc)

    def _migrate(self, db: sqlite3.Connection) -> None:
        db.execute("begin immediate")
        self._file.migrate(db)
        db.execute("commit")


def storable(text: str) -> str:
    """A text that SQLite can keep: lone surrogates become U+FFFD."""
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)
