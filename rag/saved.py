"""Answers that are kept beside their index, and what became of their sources since.

`answers.sqlite` is a file of its own: saving needs no write lock, and works while an ingest writes to the index.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

from rag.errors import UsageError
from rag.index import Index
from rag.sidefile import SideFile
from rag.store import Store
from rag.types import Answer, Citation, Sentence, ShortAnswer

FILE_NAME = "answers.sqlite"
APPLICATION_ID = 0x464E5441  # 'FNTA', in SQLite's header: this file holds answers of ours
_DOCUMENTS_KEPT = 16  # in memory, while many answers are held against them
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")

_SCHEMA = (
    """create table answers (
        id integer primary key autoincrement,  -- so that none is ever given twice
        saved_at text not null, version text not null,
        encoder text not null, space text not null, change integer not null, token blob not null,
        question text not null, rewritten text, text text not null, abstained integer not null,
        confidence real,  -- null for what is not a number
        generator text not null,
        sentences text not null, short_answer text, notes text not null, timings_ms text not null,  -- JSON
        nearest text not null  -- JSON
    )""",
    """create table citations (
        answer_id integer not null references answers on delete cascade, position integer not null,
        is_near_miss integer not null, marker integer not null, source text not null, title text, page integer,
        section text, start integer not null, "end" integer not null, quote text not null,
        primary key (answer_id, position)
    ) without rowid""",
    "create index citations_by_source on citations (source)",
    """create table sources (
        answer_id integer not null references answers on delete cascade, position integer not null,
        source text not null, sha256 blob, primary key (answer_id, position)
    ) without rowid""",
)

QuoteState = Literal["stands", "moved", "gone"]
SourceState = Literal["unchanged", "changed", "removed"]


@dataclass(frozen=True, slots=True)
class IndexState:
    """Which state of an index a question was asked of. Equal only if nothing was committed in between."""

    encoder: str
    space: str  # of its vectors
    change: int
    token: bytes  # of that change: numbers alone come again where an index is made anew

    @classmethod
    def of(cls, index: Index) -> IndexState:
        """The state as of now."""
        with index.reading() as view:
            return _state(view.store)


@dataclass(frozen=True, slots=True)
class Near:
    """Where a passage stood that was read for an answer."""

    source: str
    start: int
    end: int
    score: float


@dataclass(frozen=True, slots=True)
class SavedAnswer:
    """An answer as it was given, and what it was given from."""

    id: int  # from 1, never given twice in an index folder
    saved_at: str  # UTC, ISO 8601, to the second
    version: str  # of footnote-rag
    answer: Answer  # without `nearest`, whose places are below
    nearest: tuple[Near, ...]
    sources: Mapping[str, bytes | None]  # SHA-256 of each text; the cited first. None where it is not known any more
    state: IndexState

    @classmethod
    def of(cls, answer: Answer, index: Index, *, asked_of: IndexState | None = None) -> SavedAnswer:
        """An answer as `SavedAnswers.save` keeps it, for who keeps it elsewhere; its id is 0.

        Args:
            answer: as `Pipeline.ask` gave it.
            index: which it was given from.
            asked_of: its state before the question was asked; by default that of now.
        """
        with index.reading() as view:
            state = asked_of or _state(view.store)
            hashes = _hashes(answer, view.store)
        return cls(
            id=0,
            saved_at=datetime.now(UTC).isoformat(timespec="seconds"),
            version=version("footnote-rag"),
            answer=replace(answer, nearest=()),
            nearest=tuple(Near(h.chunk.doc_id, h.chunk.start, h.chunk.end, float(h.score)) for h in answer.nearest),
            sources=hashes,
            state=state,
        )


@dataclass(frozen=True, slots=True)
class QuoteNow:
    """What became of the quote of a footnote."""

    marker: int
    state: QuoteState
    start: int | None  # where it stands now, or where the nearest of its kind does; None where it is gone
    end: int | None


@dataclass(frozen=True, slots=True)
class SourceNow:
    """What became of a document that an answer was given from."""

    source: str
    state: SourceState
    quotes: tuple[QuoteNow, ...]  # none where it was read but not cited


@dataclass(frozen=True, slots=True)
class Replay:
    """A saved answer held against the documents as they are now."""

    saved: SavedAnswer
    answer: Answer  # as it was; quotes that stand where they did are cut from the documents as they are now
    sources: tuple[SourceNow, ...]  # the cited first
    index_changed: bool

    @property
    def holds(self) -> bool:
        """Whether each quote stands where it did, in a document that did not change.

        "Not in these documents" rests on all of them: it holds as long as nothing in the index has changed.
        """
        if self.answer.abstained:
            return not self.index_changed
        cited = [source for source in self.sources if source.quotes]
        quotes = [quote for source in cited for quote in source.quotes]
        return all(s.state == "unchanged" for s in cited) and all(q.state == "stands" for q in quotes)


class SavedAnswers:
    """The answers that were saved in one index folder. Safe to use from several threads and processes."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Bind an index folder; the file is made when the first answer is saved.

        Raises:
            IndexDamagedError: the file there is no database, or is torn.
            IndexMismatchError: another program, or a newer version of the format, made it.
        """
        self.folder = Path(folder)
        self._file = SideFile(
            self.folder / FILE_NAME, "saved answers", "the next --save begins a new one", APPLICATION_ID, (_SCHEMA,)
        )
        with self._reading():  # what is wrong is told before a question is asked
            pass

    def save(self, answer: Answer, index: Index, *, asked_of: IndexState | None = None) -> int:
        """Keep an answer; returns its id. Lone surrogates, which SQLite cannot keep, become U+FFFD.

        A source whose text is not the one that was quoted, as an ingest was quicker, is kept without a hash, and will
        count as changed.

        Args:
            answer: as `Pipeline.ask` gave it.
            index: which it was given from.
            asked_of: its state before the question was asked; by default that of now.
        """
        kept = SavedAnswer.of(answer, index, asked_of=asked_of)
        with self._writing() as db:
            id_ = _insert_answer(db, kept)
            n = len(answer.citations)  # the near miss comes behind them
            _insert(db, "citations", [(id_, i, i == n, *_values(c)) for i, c in enumerate(_quoting(answer))])
            _insert(
                db, "sources", [(id_, i, source, sha256) for i, (source, sha256) in enumerate(kept.sources.items())]
            )
        return id_

    def load(self, id_: int) -> SavedAnswer:
        """One saved answer.

        Raises:
            UsageError: there is none of that id.
        """
        with self._reading() as db:
            found = self._answers(db, "id = ?", [id_]) if db and _is_storable(id_) else ()
        if not found:
            raise self._unknown(id_)
        return found[0]

    def list(self) -> tuple[SavedAnswer, ...]:
        """All of them, in the order in which they were saved."""
        with self._reading() as db:
            return self._answers(db, "true", []) if db else ()

    def citing(self, source: str) -> tuple[int, ...]:
        """The ids of the answers that quote a document, in a footnote or as what comes near."""
        with self._reading() as db:
            if db is None:
                return ()
            sql = "select distinct answer_id from citations where source = ? order by answer_id"
            return tuple(row[0] for row in db.execute(sql, [_storable(source)]))

    def delete(self, id_: int) -> None:
        """Delete one for good: nothing of it stays in the file, and its id is not given again.

        Raises:
            UsageError: there is none of that id.
        """
        if not self._file.path.exists() or not _is_storable(id_):
            raise self._unknown(id_)
        with self._writing() as db:
            if not db.execute("delete from answers where id = ?", [id_]).rowcount:
                raise self._unknown(id_)
        # Rows that SQLite moves from page to page leave copies behind, which secure_delete does not know of.
        with self._file.open("rw") as db:
            db.execute("vacuum")

    def _unknown(self, id_: int) -> UsageError:
        return UsageError(f"no saved answer {id_} in index {self.folder.name!r}: rag replay lists those there are")

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        """One read transaction; None where nothing was saved yet."""
        if not self._file.path.exists():
            yield None
            return
        with self._file.open("rw") as db:  # not "ro": what a killed process left half-written is rolled back first
            db.execute("begin")
            yield db if self._file.version(db) else None

    @contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """One transaction, in a file that is made where there is none."""
        with self._file.open("rwc") as db:
            db.execute("begin immediate")
            self._file.migrate(db)
            yield db
            db.execute("commit")

    def _answers(self, db: sqlite3.Connection, where: str, values: Sequence[Any]) -> tuple[SavedAnswer, ...]:
        try:
            rows = db.execute(f"select * from answers where {where} order by id", values).fetchall()
            return tuple(_saved_answer(db, row) for row in rows)
        except (ValueError, TypeError) as exc:  # of JSON that is none, or has another form
            raise self._file.damaged(exc) from exc


def leads_to(state: IndexState, index: Index) -> bool:
    """Whether an index is the one that was in that state: False where it was made anew under the same name since."""
    with index.reading() as view:
        return state.change == 0 or view.store.change_token(state.change, of_any_age=True) == state.token


def replay(saved: SavedAnswer, index: Index) -> Replay:
    """Hold a saved answer against the documents as they are now.

    A document is the same if the hash of its text is. A quote stands if its characters are where they were; else the
    nearest place where they are is where it moved to.
    """
    return replay_all([saved], index)[0]


def replay_all(saved: Iterable[SavedAnswer], index: Index) -> tuple[Replay, ...]:
    """As `replay`, of many, in one state of the index."""
    with index.reading() as view:
        state = _state(view.store)

        @lru_cache(maxsize=_DOCUMENTS_KEPT)
        def document(source: str) -> tuple[str, bytes] | None:
            text = _text(view.store, source)
            return None if text is None else (text, _sha256(text))

        return tuple(_replay(one, state, document) for one in saved)


def _replay(saved: SavedAnswer, state: IndexState, document: Callable[[str], tuple[str, bytes] | None]) -> Replay:
    cited = _quoting(saved.answer)
    sources = []
    proven: dict[Citation, Citation] = {}
    for source, sha256 in saved.sources.items():
        here = [citation for citation in cited if citation.source == source]
        if (found := document(source)) is None:
            gone = tuple(QuoteNow(citation.marker, "gone", None, None) for citation in here)
            sources.append(SourceNow(source, "removed", gone))
            continue
        text, now = found
        quotes = tuple(_quote_now(text, citation) for citation in here)
        sources.append(SourceNow(source, "unchanged" if now == sha256 else "changed", quotes))
        for citation, quote in zip(here, quotes, strict=True):
            if quote.state == "stands":
                proven[citation] = replace(citation, quote=text[citation.start : citation.end])
    near_miss = saved.answer.near_miss
    answer = replace(
        saved.answer,
        citations=tuple(proven.get(citation, citation) for citation in saved.answer.citations),
        near_miss=proven.get(near_miss, near_miss) if near_miss else None,
    )
    return Replay(saved, answer, tuple(sources), index_changed=state != saved.state)


def _quote_now(text: str, citation: Citation) -> QuoteNow:
    start, quote = citation.start, citation.quote
    if _stands(text, start, citation.end, quote):
        return QuoteNow(citation.marker, "stands", start, citation.end)
    before, behind = text.rfind(quote, 0, start + len(quote)), text.find(quote, start)
    places = [place for place in (before, behind) if place >= 0]
    if not places:
        return QuoteNow(citation.marker, "gone", None, None)
    nearest = min(places, key=lambda place: abs(place - start))
    return QuoteNow(citation.marker, "moved", nearest, nearest + len(quote))


def _stands(text: str, start: int, end: int, quote: str) -> bool:
    return text[start:end] == quote and end - start == len(quote)


def _hashes(answer: Answer, store: Store) -> dict[str, bytes | None]:
    """SHA-256 of the text of each source; None where it is gone, or not the one that was read."""
    spans: dict[str, list[tuple[int, int, str]]] = {}
    for citation in _quoting(answer):
        spans.setdefault(citation.source, []).append((citation.start, citation.end, citation.quote))
    for chunk in (hit.chunk for hit in answer.nearest):
        spans.setdefault(chunk.doc_id, []).append((chunk.start, chunk.end, chunk.text))
    hashes: dict[str, bytes | None] = {}
    for source, read in spans.items():
        text = _text(store, source)
        is_same = text is not None and all(_stands(text, *span) for span in read)
        hashes[source] = _sha256(text) if text is not None and is_same else None
    return hashes


def _state(store: Store) -> IndexState:
    manifest: dict[str, Any] = store.manifest()
    change, token = store.last_change()
    return IndexState(manifest["encoder"]["name"], manifest["encoder"]["space"], change, token)


def _text(store: Store, source: str) -> str | None:
    document = store.document(_storable(source))
    return None if document is None else document.text


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()


def _quoting(answer: Answer) -> tuple[Citation, ...]:
    """All that holds words of a document: the citations, and behind them the near miss."""
    return (*answer.citations, *([answer.near_miss] if answer.near_miss else []))


def _values(citation: Citation) -> tuple[Any, ...]:
    c = citation
    return c.marker, c.source, c.title, c.page, c.section, c.start, c.end, c.quote


def _insert_answer(db: sqlite3.Connection, kept: SavedAnswer) -> int:
    answer, state = kept.answer, kept.state
    near = [(place.source, place.start, place.end, place.score) for place in kept.nearest]
    return _insert(
        db,
        "answers",
        [
            (
                None,  # the next id
                kept.saved_at,
                kept.version,
                *(state.encoder, state.space, state.change, state.token),
                *(answer.question, answer.rewritten, answer.text, answer.abstained),
                float(answer.confidence),
                answer.generator,
                _json([(s.text, s.citations, s.supported) for s in answer.sentences]),
                _json(asdict(answer.short_answer)) if answer.short_answer else None,
                _json(answer.notes),
                _json(dict(answer.timings_ms)),
                _json(near),
            )
        ],
    )


def _insert(db: sqlite3.Connection, table: str, rows: Sequence[Sequence[Any]]) -> int:
    """Put whole rows into a table; returns the id of the last."""
    id_ = 0
    for row in rows:
        values = [_storable(value) if isinstance(value, str) else value for value in row]
        id_ = db.execute(f"insert into {table} values ({','.join('?' * len(values))})", values).lastrowid or 0
    return id_


def _saved_answer(db: sqlite3.Connection, row: Sequence[Any]) -> SavedAnswer:
    id_, saved_at, made_by, encoder, space, change, token, question, rewritten, text, abstained, *rest = row
    confidence, generator, sentences, short_answer, notes, timings_ms, nearest = rest
    cited = db.execute("select * from citations where answer_id = ? order by position", [id_]).fetchall()
    answer = Answer(
        question=question,
        text=text,
        sentences=tuple(Sentence(said, tuple(markers), bool(ok)) for said, markers, ok in json.loads(sentences)),
        citations=tuple(Citation(*columns) for _, _, is_near_miss, *columns in cited if not is_near_miss),
        abstained=bool(abstained),
        confidence=math.nan if confidence is None else confidence,
        generator=generator,
        nearest=(),
        short_answer=ShortAnswer(**json.loads(short_answer)) if short_answer else None,
        rewritten=rewritten,
        near_miss=next((Citation(*columns) for _, _, is_near_miss, *columns in cited if is_near_miss), None),
        notes=tuple(json.loads(notes)),
        timings_ms=json.loads(timings_ms),
    )
    hashes = db.execute("select source, sha256 from sources where answer_id = ? order by position", [id_])
    return SavedAnswer(
        id=id_,
        saved_at=saved_at,
        version=made_by,
        answer=answer,
        nearest=tuple(Near(*place) for place in json.loads(nearest)),
        sources=dict(hashes.fetchall()),
        state=IndexState(encoder, space, change, token),
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _storable(text: str) -> str:
    return _LONE_SURROGATE.sub("\N{REPLACEMENT CHARACTER}", text)


def _is_storable(id_: int) -> bool:
    return 0 < id_ < 2**63
