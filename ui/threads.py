"""Threads: questions and their answers, kept by owner, with what is needed to mark their passages later.

An answer is kept whole, and as `rag.saved` keeps it: with the hash of each source and the state of the index, so that
`rag.saved.replay(turn.saved, index)` says of an old thread which quotes stand, moved or are gone.
"""

from __future__ import annotations

import json
import os
import sqlite3
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from rag.errors import UsageError
from rag.index import Index
from rag.saved import IndexState, Near, SavedAnswer, leads_to
from rag.types import Answer, Citation
from ui.keeping import PageFile, storable
from ui.render import Passage

if TYPE_CHECKING:
    from pydantic import TypeAdapter

LONGEST_TITLE = 120  # characters
_LARGEST_ID = 2**63  # of SQLite


@dataclass(frozen=True, slots=True)
class Thread:
    """A thread as it is listed."""

    id: int  # from 1, never given twice in a file
    index: str  # name of the index that was asked
    title: str  # the first question until it is renamed
    created_at: str  # UTC, ISO 8601
    changed_at: str  # when its last question was asked, or it was renamed
    n_turns: int


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a thread and its answer, whole."""

    number: int  # from 1
    answer: Answer  # as it was given, `nearest` and all
    asked_at: str  # UTC, ISO 8601, to the second
    version: str  # of footnote-rag
    sources: Mapping[str, bytes | None]  # SHA-256 of each text; None where it is not known any more
    state: IndexState

    @property
    def saved(self) -> SavedAnswer:
        """As `rag.saved` knows it, to be replayed."""
        near = tuple(Near(h.chunk.doc_id, h.chunk.start, h.chunk.end, h.score) for h in self.answer.nearest)
        answer = replace(self.answer, nearest=())
        return SavedAnswer(self.number, self.asked_at, self.version, answer, near, self.sources, self.state)


class Threads:
    """The threads of one file. Safe to use from several threads and processes.

    Each method sees the threads of the owner that it is given, and no others. All raise what `PageFile.reading` does.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Bind a file; it is made when the first answer is kept."""
        self._file = PageFile(path)

    def add(
        self, owner: str, answer: Answer, index: Index, *, thread: int | None = None, asked_of: IndexState | None = None
    ) -> int:
        """Keep an answer at the end of a thread, or as the first of a new one; returns the thread's id.

        Args:
            owner: whose it is.
            answer: as `Pipeline.ask` gave it.
            index: which it was given from.
            thread: where it goes; None begins a new one.
            asked_of: the state of the index before the question was asked (`IndexState.of`); by default that of now.

        Raises:
            UsageError: the owner has no such thread, or it is one of another index.
        """
        kept, name = SavedAnswer.of(answer, index, asked_of=asked_of), index.path.name
        sources = {source: sha256.hex() if sha256 else None for source, sha256 in kept.sources.items()}
        now = _now()
        with self._file.writing() as db:
            if thread is None:
                begun = (storable(owner), storable(name), None, now, now)
                sql = "insert into threads (owner, index_name, title, created_at, changed_at) values (?, ?, ?, ?, ?)"
                thread = db.execute(sql, begun).lastrowid
                assert thread is not None
            elif (of := self._owned(db, owner, thread).index) != storable(name):
                raise UsageError(f"thread {thread} asks the index {of!r}, not {name!r}: begin a new one for that")
            db.execute("update threads set changed_at = ? where id = ?", [now, thread])
            [number] = db.execute("select count(*) + 1 from turns where thread_id = ?", [thread]).fetchone()
            values = [
                *(None, thread, number, kept.saved_at, kept.version),
                *(kept.state.encoder, kept.state.space, kept.state.change, kept.state.token),
                *(storable(answer.question), None if answer.rewritten is None else storable(answer.rewritten)),
                *(answer_text(answer), storable(json.dumps(sources, ensure_ascii=False))),
            ]
            db.execute(f"insert into turns values ({','.join('?' * len(values))})", values)
        return thread

    def list(
        self, owner: str, *, index: str | None = None, search: str = "", limit: int = 50, offset: int = 0
    ) -> tuple[Thread, ...]:
        """The threads of an owner, the one changed last first.

        Args:
            owner: whose.
            index: only those that asked the index of this name.
            search: only those in whose title and questions each of these words occurs, in upper or lower case.
            limit: how many at most.
            offset: how many to pass over before.
        """
        where, values = "owner = ?", [storable(owner)]
        if index is not None:
            where, values = f"{where} and index_name = ?", [*values, storable(index)]
        wanted = _folded(search).split()
        with self._file.reading() as db:
            if db is None:
                return ()
            db.create_function("holds", 1, lambda text: all(w in _folded(text) for w in wanted), deterministic=True)
            if wanted:
                said = "select group_concat(question || ' ' || coalesce(rewritten, ''), ' ') from turns"
                where += f" and holds(coalesce(title, '') || ' ' || ({said} where thread_id = threads.id))"
            return self._threads(
                db, f"{where} order by changed_at desc, id desc limit ? offset ?", *values, limit, offset
            )

    def thread(self, owner: str, id_: int) -> Thread:
        """One thread as it is listed.

        Raises:
            UsageError: the owner has none of that id.
        """
        with self._file.reading() as db:
            if db is None:
                raise _unknown(id_)
            return self._owned(db, owner, id_)

    def turns(self, owner: str, id_: int) -> tuple[Turn, ...]:
        """The questions and answers of a thread, in order.

        Raises:
            UsageError: the owner has none of that id.
        """
        with self._file.reading() as db:
            if db is None:
                raise _unknown(id_)
            self._owned(db, owner, id_)
            rows = db.execute(
                "select number, asked_at, version, encoder, space, change, token, answer, sources from turns"
                " where thread_id = ? order by number",
                [id_],
            ).fetchall()
        try:
            return tuple(_turn(row) for row in rows)
        except (ValueError, TypeError, AttributeError) as exc:  # of JSON that is none, or has another form
            raise self._file.damaged(ValueError(f"thread {id_} has another form")) from exc

    def rename(self, owner: str, id_: int, title: str) -> None:
        """Give a thread another title; with an empty one it is named by its first question again.

        Raises:
            UsageError: the owner has none of that id.
        """
        with self._file.writing() as db:
            self._owned(db, owner, id_)
            named = storable(_one_line(title)) or None
            db.execute("update threads set title = ?, changed_at = ? where id = ?", [named, _now(), id_])

    def remove(self, owner: str, id_: int) -> None:
        """Remove a thread for good: nothing of it stays in the file, and its id is not given again.

        Raises:
            UsageError: the owner has none of that id.
        """
        with self._file.writing() as db:
            self._owned(db, owner, id_)
            db.execute("delete from threads where id = ?", [id_])
        self._file.shred()

    def remove_all(self, *, index: str, owner: str | None = None) -> int:
        """Remove the threads that asked the index of a name, as when it is deleted; returns how many.

        Args:
            index: its name.
            owner: only those of one; None stands for everybody.
        """
        with self._file.reading() as found:
            if found is None:
                return 0
        with self._file.writing() as db:
            sql, values = "delete from threads where index_name = ?", [storable(index)]
            if owner is not None:
                sql, values = f"{sql} and owner = ?", [*values, storable(owner)]
            removed = db.execute(sql, values).rowcount
        if removed:
            self._file.shred()
        return removed

    def rename_index(self, old: str, new: str) -> None:
        """Follow an index that got another name."""
        with self._file.reading() as found:
            if found is None:
                return
        with self._file.writing() as db:
            db.execute("update threads set index_name = ? where index_name = ?", [storable(new), storable(old)])

    def _threads(self, db: sqlite3.Connection, where: str, *values: object) -> tuple[Thread, ...]:
        rows = db.execute(
            "select id, index_name, title, created_at, changed_at,"
            " (select count(*) from turns where thread_id = threads.id),"
            " (select question from turns where thread_id = threads.id order by number limit 1)"
            f" from threads where {where}",
            values,
        )
        return tuple(
            Thread(id_, index, title or _one_line(first or ""), created, changed, n)
            for id_, index, title, created, changed, n, first in rows.fetchall()
        )

    def _owned(self, db: sqlite3.Connection, owner: str, id_: int) -> Thread:
        found = self._threads(db, "id = ? and owner = ?", id_, storable(owner)) if 0 < id_ < _LARGEST_ID else ()
        if not found:
            raise _unknown(id_)
        return found[0]


def made_anew(turns: Sequence[Turn], index: Index) -> bool:
    """Whether the index is another than the one that the thread asked last, though it has the same name."""
    return bool(turns) and not leads_to(turns[-1].state, index)


class Numbering:
    """The numbers of the passages of a thread: one passage keeps its number in all of its answers.

    They count from 1, in the order in which the passages first come. A span whose text is another than before, as its
    document was read again, is another passage.
    """

    def __init__(self, answers: Iterable[Answer] = ()) -> None:
        self.passages: list[Passage] = []  # number n is passages[n - 1]
        self._numbers: dict[tuple[str, int, int, str], int] = {}
        for answer in answers:
            self.numbered(answer)

    def number(self, citation: Citation) -> int:
        """The number of what a footnote cites; a new one where it is cited for the first time."""
        c = citation
        key = (c.source, c.start, c.end, c.quote)
        if key not in self._numbers:
            self.passages.append(Passage(c.source, c.title, c.page, c.section, c.start, c.end, c.quote))
            self._numbers[key] = len(self.passages)
        return self._numbers[key]

    def numbered(self, answer: Answer) -> Answer:
        """The answer with the thread's numbers in place of its own; its near miss is no footnote, and keeps its 1."""
        numbers = {citation.marker: self.number(citation) for citation in answer.citations}
        short = answer.short_answer
        return replace(
            answer,
            citations=tuple(replace(citation, marker=numbers[citation.marker]) for citation in answer.citations),
            sentences=tuple(
                # Two markers can become one where an answer cites a passage twice, so each is named once.
                replace(s, citations=tuple(dict.fromkeys(numbers[m] for m in s.citations if m in numbers)))
                for s in answer.sentences
            ),
            short_answer=replace(short, marker=numbers[short.marker]) if short and short.marker in numbers else short,
        )


def answer_text(answer: Answer) -> str:
    """An answer as JSON, whole; `read_answer` gives it back. Lone surrogates become U+FFFD."""
    return storable(json.dumps(asdict(answer), ensure_ascii=False, default=float))  # scores can be NumPy's


def read_answer(text: str) -> Answer:
    """The answer of `answer_text`.

    Raises:
        ValueError: it has another form.
    """
    answer: Answer = _form().validate_python(json.loads(text))
    return answer


@cache
def _form() -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(Answer)


def _turn(row: Sequence[Any]) -> Turn:
    number, asked_at, made_by, encoder, space, change, token, answer, sources = row
    hashes = {source: bytes.fromhex(sha256) if sha256 else None for source, sha256 in json.loads(sources).items()}
    return Turn(number, read_answer(answer), asked_at, made_by, hashes, IndexState(encoder, space, change, token))


def _unknown(id_: int) -> UsageError:
    return UsageError(f"there is no thread {id_} of yours: it may have been removed")


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= LONGEST_TITLE else f"{line[: LONGEST_TITLE - 1].rstrip()}…"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
