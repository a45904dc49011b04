"""A file of ours beside the index: opened, told from other programs' files, brought up to date, its faults in words."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from rag.errors import IndexDamagedError, IndexMismatchError, UsageError

_PATIENCE_S = 30.0  # for others who write at the same moment


@dataclass(frozen=True, slots=True)
class SideFile:
    """One SQLite file that any number of threads and processes may use at once. It need not be there yet."""

    path: Path
    holds: str  # what is in it, for people: 'saved answers'
    anew: str  # what happens when it is moved away: 'the next --save begins a new one'
    application_id: int  # in SQLite's header: the file is of this kind
    # One entry a version of the schema, never edited again; user_version says how many were run.
    migrations: tuple[tuple[str, ...], ...]

    @contextmanager
    def open(self, mode: str) -> Iterator[sqlite3.Connection]:
        """A connection without a transaction; nothing of what is deleted over it stays in the file.

        Args:
            mode: 'rw', or 'rwc', which makes the file where there is none.

        Raises:
            IndexDamagedError: the file is no database, is torn, or has other tables.
            UsageError: it cannot be opened or written.
        """
        try:
            uri = f"{self.path.absolute().as_uri()}?mode={mode}"
            with closing(sqlite3.connect(uri, uri=True, timeout=_PATIENCE_S, isolation_level=None)) as db:
                db.execute("pragma foreign_keys = on")
                db.execute("pragma secure_delete = on")
                db.execute("pragma temp_store = memory")  # no copy of what is deleted in another folder
                yield db
        except (sqlite3.DatabaseError, UnicodeDecodeError) as exc:  # the latter: names in the schema are no text
            # A full disk, a closed folder or a lock is not the file's fault; other tables, or text that is none, are.
            code = getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
            if isinstance(exc, sqlite3.OperationalError) and code != sqlite3.SQLITE_ERROR:
                raise UsageError(
                    f"the {self.holds} in {str(self.path)!r} cannot be used ({exc}): make room, or check who may write "
                    "there, then try again"
                ) from exc
            raise self.damaged(exc) from exc

    def version(self, db: sqlite3.Connection) -> int:
        """Of the schema; 0 where there is none yet.

        Raises:
            IndexMismatchError: another program, or a newer version of the format, made the file.
        """
        if not db.execute("select 1 from sqlite_master limit 1").fetchone():
            return 0
        if db.execute("pragma application_id").fetchone()[0] != self.application_id:
            raise IndexMismatchError(f"{str(self.path)!r} belongs to another program: move it away, and {self.anew}")
        found = int(db.execute("pragma user_version").fetchone()[0])
        if found > len(self.migrations):
            raise IndexMismatchError(
                f"{str(self.path)!r} has format {found} of {self.holds}, this version reads up to "
                f"{len(self.migrations)}: upgrade with pip install --upgrade footnote-rag"
            )
        return found

    def migrate(self, db: sqlite3.Connection) -> None:
        """Bring the schema up to date, in a write transaction that is open."""
        version = self.version(db)
        for number, statements in enumerate(self.migrations[version:], start=version + 1):
            for statement in statements:
                db.execute(statement)
            db.execute(f"pragma application_id = {self.application_id}")
            db.execute(f"pragma user_version = {number}")

    def damaged(self, exc: Exception) -> IndexDamagedError:
        """What is to be raised of a content that cannot be read."""
        return IndexDamagedError(
            f"{str(self.path)!r} holds no {self.holds} that can be read ({exc}): move it away, and {self.anew}"
        )
