"""BM25 over the inverted lists of SQLite's FTS5, with constants of our own, over all chunks at once.

FTS5's own ranking looks up and sorts every chunk that holds any of the words, about 2 µs each: a second and more for a
question in common words about a million chunks. It hands out where a word stands far faster, 0.1 µs a place, and NumPy
adds up what is then known. The full-text index stays the only one: nothing is on disk that could fall behind it, and
what is kept in memory is of one change.

The formula, for a chunk of `length` words that holds a term `tf` times, where df of n chunks hold it:

    log(1 + (n - df + 0.5) / (df + 0.5)) * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))

FTS5's k1 = 1.2 and b = 0.75 cannot be changed. Passages are of about one length, and what a second mention of a word
says is small: k1 = 0.9 and b = 0.4, those that Pyserini takes for passages, rank better beside the dense side
(docs/retrieval.md).
"""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rag.errors import IndexDamagedError
from rag.queries import holds
from rag.words import stems

_K1, _B = 0.9, 0.4
_FTS5_K1, _FTS5_B = 1.2, 0.75
_FEW = 0.1  # share of the chunks that the words of a query stand in: up to here only their lengths are looked up,
_MOST_OF_FEW = 5_000  # and up to so many, which takes 10 ms; all lengths of a million chunks are read in 0.3 s, once
_POSTINGS_KEPT = 24_000_000  # of the words asked for last, at 5 to 6 bytes
_PHRASES_KEPT = 1_000_000  # chunks that hold the phrases asked for last, at 16 bytes
_FREQUENCIES_KEPT = 100_000
_LARGEST_SPAN = 8  # of ids for each chunk: up to here a table tells a chunk's place, five times as fast as a search
_GONE_KEPT = 10_000  # places of chunks that have gone, at least, before all lengths are read anew
_READ_FOR_NAMES = 300  # chunks, 10 ms: names that more hold in some form are taken as FTS5 takes them
_PER_STATEMENT = 500  # well below SQLite's limit on every build

Change = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Postings:
    """The chunks that hold one term."""

    places: NDArray[np.integer]  # in the order of the chunks' ids: which of the chunks that are scored
    counts: NDArray[np.unsignedinteger]  # how often each of them holds it


@dataclass(frozen=True, slots=True)
class _Phrase:
    """The chunks that hold the words of a term side by side."""

    ids: NDArray[np.int64]  # ascending
    scores: NDArray[np.float64]  # FTS5's own
    n_hits: int  # that FTS5 found, of which some may not hold the term as it is written


@dataclass(frozen=True, slots=True)
class _Scored:
    """The chunks that are scored together."""

    ids: NDArray[np.int64]  # ascending
    scale: NDArray[np.float64]  # k1 * (1 - b + b * length / mean length), of each


class WordIndex:
    """Reads the full-text index of one SQLite file. `move_to` says which change is being read, before anything else."""

    # For each connection: a view of its own, in no file, of every place where a word stands.
    SETUP = "create virtual table temp.chunks_instances using fts5vocab(main, chunks_fts, instance)"

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.change: Change = (0, b"")
        self._n_chunks, self._n_words = 0, 0
        self._frequencies: dict[str, int] = {}
        self._phrases: dict[str, _Phrase] = {}
        self._postings: dict[str, _Postings] = {}  # among all chunks; the term asked for last at the end
        self._ids = np.zeros(0, dtype=np.int64)  # ascending; those of removed chunks stay, and no word leads to them
        self._place_of = np.zeros(0, dtype=np.int32)  # by id less the first id; empty where ids are too far apart
        self._lengths = np.zeros(0)  # in words, by place
        self._all: _Scored | None = None  # all chunks, once they were needed

    def move_to(self, change: Change, *, follows: bool) -> None:
        """From now on, read another change; if it follows on the last one, what was added since has higher ids."""
        self._frequencies, self._phrases, self._postings, self._all = {}, {}, {}, None
        if not follows:
            self._ids, self._lengths = np.zeros(0, dtype=np.int64), np.zeros(0)
        row = self._db.execute("select block from chunks_fts_data where id = 1").fetchone()  # FTS5's own totals
        totals = _varints(np.frombuffer(row[0], dtype=np.uint8)) if row and row[0] else np.zeros(1, dtype=np.int64)
        self._n_chunks, self._n_words = int(totals[0]), int(totals[1:].sum())
        self.change = change

    def document_frequencies(self, stems: Sequence[str]) -> dict[str, int]:
        """In how many chunks each stemmed word stands; words that stand in none are left out."""
        if len(self._frequencies) > _FREQUENCIES_KEPT:
            self._frequencies = {}
        unknown = [stem for stem in dict.fromkeys(stems) if stem not in self._frequencies]
        for first in range(0, len(unknown), _PER_STATEMENT):
            part = unknown[first : first + _PER_STATEMENT]
            self._frequencies.update(dict.fromkeys(part, 0))
            marks = ",".join("?" * len(part))
            self._frequencies.update(
                self._db.execute(f"select term, doc from chunks_words where term in ({marks})", part)
            )
        return {stem: self._frequencies[stem] for stem in stems if self._frequencies[stem]}

    def ceiling(self, terms: Sequence[str]) -> float:
        """The score that no chunk can exceed."""
        return (_K1 + 1) * sum(_weight(df, self._n_chunks) for df in self._frequencies_of(terms))

    def rarest(self, terms: Sequence[str], n: int) -> list[str]:
        """Those n of the terms that stand in the fewest chunks, in their order; those in none are taken last."""
        if len(terms) <= n:
            return list(terms)
        frequencies = self._at_most(terms)
        order = sorted(range(len(terms)), key=lambda i: (frequencies[i] == 0, frequencies[i]))
        return [terms[i] for i in sorted(order[:n])]

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        """Inverse document frequency of each stemmed word over the chunks: log(1 + n / (1 + df)), above 0."""
        found = self.document_frequencies(stems)
        return {stem: math.log1p(self._n_chunks / (1 + found.get(stem, 0))) for stem in stems}

    def holding(self, term: str) -> NDArray[np.int64]:
        """The ids of the chunks that hold a term, ascending."""
        return self._read(term, split_terms((term,))[0])[0]

    def best(
        self, terms: Sequence[str], *, k: int, passing: NDArray[np.uint8] | None, also: Sequence[int]
    ) -> tuple[dict[int, float], dict[int, float]]:
        """The k best chunks that hold any of the terms, the best first, and the scores of some others.

        Args:
            terms: words, or several joined by what is no letter, which must then stand side by side.
            k: how many at most.
            passing: bit i % 8 of byte i // 8, from the lowest, is 1 where the chunk of id i may be found; words are
                weighed over all chunks nonetheless.
            also: the others; of those that hold none of the terms, or may not be found, nothing is said.
        """
        frequencies = self._frequencies_of(terms)
        if not sum(frequencies):
            return {}, {}
        split = split_terms(tuple(terms))
        known: list[_Postings] = []
        if self._all is None and sum(frequencies) <= min(_FEW * self._n_chunks, _MOST_OF_FEW):
            read = [self._read(term, words) for term, words in zip(terms, split, strict=True)]
            among = self._few(np.unique(np.concatenate([ids for ids, _ in read])))
            known = [_Postings(np.searchsorted(among.ids, ids), counts) for ids, counts in read]
        else:
            among = self._every()
        scores = np.zeros(len(among.ids))
        for i, (term, words) in enumerate(zip(terms, split, strict=True)):
            held = known[i] if known else self._postings_of(term, words)
            _add(scores, held, among.scale, weight=_weight(len(held.places), self._n_chunks))
        found = self._highest(scores, among, k, passing)
        best = dict(zip(among.ids[found].tolist(), scores[found].tolist(), strict=True))
        wanted = np.array([i for i in also if i not in best], dtype=np.int64)
        if not len(wanted) or not len(among.ids):
            return best, {}
        places = np.minimum(np.searchsorted(among.ids, wanted), len(among.ids) - 1)
        there = (among.ids[places] == wanted) & (scores[places] > 0) & _pass(wanted, passing)
        return best, dict(zip(wanted[there].tolist(), scores[places[there]].tolist(), strict=True))

    def _frequencies_of(self, terms: Sequence[str]) -> list[int]:
        """In how many chunks each term stands."""
        return [
            len(self._phrase(term).ids) if df and len(words) > 1 else df
            for term, words, df in zip(terms, split_terms(tuple(terms)), self._at_most(terms), strict=True)
        ]

    def _at_most(self, terms: Sequence[str]) -> list[int]:
        """In how many chunks the rarest word of each term stands, which is found without looking for it."""
        split = split_terms(tuple(terms))
        found = self.document_frequencies([stem for words in split for stem in words])
        return [min((found.get(stem, 0) for stem in words), default=0) for words in split]

    def _highest(
        self, scores: NDArray[np.float64], among: _Scored, k: int, passing: NDArray[np.uint8] | None
    ) -> NDArray[np.intp]:
        """The places of the k highest scores above 0, the highest first."""
        found = np.flatnonzero(scores > 0)
        if passing is not None:
            found = found[_pass(among.ids[found], passing)]
        if len(found) > k:
            found = found[np.argpartition(scores[found], len(found) - k)[-k:]]
        return found[np.argsort(-scores[found], kind="stable")]

    # What is read

    def _read(self, term: str, words: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.unsignedinteger]]:
        """The chunks that hold a term, and how often each does."""
        if len(words) != 1:
            found = self._phrase(term)
            return found.ids, self._counts(found)
        # As one text: a row for each would take SQLite's interface for Python four times as long.
        (text,) = self._db.execute(
            "select group_concat(doc) from temp.chunks_instances where term = ?", [words[0]]
        ).fetchone()
        ids = np.fromstring(text or "", dtype=np.int64, sep=",")
        is_first = np.ones(len(ids), dtype=bool)
        np.not_equal(ids[1:], ids[:-1], out=is_first[1:])
        first = np.flatnonzero(is_first)
        counts = np.diff(first, append=len(ids))
        return ids[first], counts.astype(np.min_scalar_type(counts.max(initial=0)))

    def _phrase(self, term: str) -> _Phrase:
        """Where the words of a term stand side by side, which FTS5 alone knows.

        What joins the words of a name (`2026.4.10`) is no letter to FTS5: whether it is held so, the text tells.
        """
        if (known := self._phrases.get(term)) is None:
            rows = self._db.execute(
                "select rowid, -bm25(chunks_fts) from chunks_fts where chunks_fts match ? order by rowid",
                [_phrase(term)],
            ).fetchall()
            n_hits = len(rows)
            if n_hits <= _READ_FOR_NAMES and any(not c.isalnum() and not c.isspace() for c in term):
                held = self._that_hold(term, [row[0] for row in rows])
                rows = [row for row in rows if row[0] in held]
            ids = np.array([row[0] for row in rows], dtype=np.int64)
            known = _Phrase(ids, np.array([row[1] for row in rows]), n_hits)
            while self._phrases and sum(len(p.ids) for p in self._phrases.values()) + len(ids) > _PHRASES_KEPT:
                del self._phrases[next(iter(self._phrases))]
            self._phrases[term] = known
        return known

    def _that_hold(self, name: str, ids: Sequence[int]) -> set[int]:
        held = set()
        for first in range(0, len(ids), _PER_STATEMENT):
            part = ids[first : first + _PER_STATEMENT]
            marks = ",".join("?" * len(part))
            rows = self._db.execute(f"select id, context, text from chunks where id in ({marks})", part)
            held |= {row[0] for row in rows if holds(row[1], name) or holds(row[2], name)}
        return held

    def _counts(self, found: _Phrase) -> NDArray[np.unsignedinteger]:
        """How often a phrase stands in each chunk: FTS5 does not tell, but its score is s = w (k + 1) tf / (tf + K)."""
        if not len(found.ids):
            return np.zeros(0, dtype=np.uint32)
        lengths = self._few_lengths(found.ids) if self._all is None else self._lengths[self._places(found.ids)]
        k = _FTS5_K1 * (1 - _FTS5_B + _FTS5_B * lengths * self._n_chunks / self._n_words)
        counts = found.scores * k / ((_FTS5_K1 + 1) * _fts5_weight(found.n_hits, self._n_chunks) - found.scores)
        return np.maximum(np.rint(counts), 1).astype(np.uint32)

    def _postings_of(self, term: str, words: Sequence[str]) -> _Postings:
        """The chunks that hold a term, among all."""
        key = words[0] if len(words) == 1 else term
        held = self._postings.pop(key, None)
        if held is None:
            ids, counts = self._read(term, words)
            held = _Postings(self._places(ids), counts)
            room = _POSTINGS_KEPT - len(held.places)
            while self._postings and sum(len(p.places) for p in self._postings.values()) > room:
                del self._postings[next(iter(self._postings))]
        self._postings[key] = held
        return held

    def _places(self, ids: NDArray[np.int64]) -> NDArray[np.int32]:
        if not len(ids):
            return np.zeros(0, dtype=np.int32)
        last = len(self._ids) - 1
        if len(self._place_of):
            places: NDArray[np.int32] = self._place_of[np.clip(ids - self._ids[0], 0, len(self._place_of) - 1)]
        else:
            places = np.minimum(np.searchsorted(self._ids, ids), last).astype(np.int32)
        if not np.array_equal(self._ids[places], ids):
            raise _lengths_missing()
        return places

    def _few(self, ids: NDArray[np.int64]) -> _Scored:
        """Some chunks, by their ids, ascending."""
        return _Scored(ids, self._scale(self._few_lengths(ids)))

    def _few_lengths(self, ids: NDArray[np.int64]) -> NDArray[np.float64]:
        lengths: list[int] = []
        for first in range(0, len(ids), _PER_STATEMENT):
            part = ids[first : first + _PER_STATEMENT].tolist()
            marks = ",".join("?" * len(part))
            sql = f"select sz from chunks_fts_docsize where id in ({marks}) order by id"
            if len(rows := self._db.execute(sql, part).fetchall()) < len(part):
                raise _lengths_missing()
            lengths += _lengths(b"".join(row[0] for row in rows), of=len(part)).tolist()
        return np.array(lengths, dtype=np.float64)

    def _every(self) -> _Scored:
        """All chunks; how many words there are in each that is new since the last change is read."""
        if self._all is not None:
            return self._all
        if len(self._ids) > 2 * self._n_chunks + _GONE_KEPT:  # most are of chunks that have gone
            self._ids, self._lengths = np.zeros(0, dtype=np.int64), np.zeros(0)
        last = int(self._ids[-1]) if len(self._ids) else -1
        ids_text, sizes = self._db.execute(
            "select group_concat(id), group_concat(hex(sz), '') from chunks_fts_docsize where id > ?", [last]
        ).fetchone()
        if ids_text:
            ids = np.fromstring(ids_text, dtype=np.int64, sep=",")
            self._lengths = np.concatenate([self._lengths, _lengths(bytes.fromhex(sizes), of=len(ids))])
            self._ids = np.concatenate([self._ids, ids])
        if not (len(self._ids) and self._n_chunks):
            raise _lengths_missing()
        span = int(self._ids[-1] - self._ids[0]) + 1
        self._place_of = np.zeros(0, dtype=np.int32)
        if span <= _LARGEST_SPAN * len(self._ids):
            self._place_of = np.zeros(span, dtype=np.int32)
            self._place_of[self._ids - self._ids[0]] = np.arange(len(self._ids), dtype=np.int32)
        self._all = _Scored(self._ids, self._scale(self._lengths))
        return self._all

    def _scale(self, lengths: NDArray[np.float64]) -> NDArray[np.float64]:
        return _K1 * (1 - _B + _B * lengths / (self._n_words / self._n_chunks))


def _weight(df: int, n: int) -> float:
    """Of a term that stands in df of n chunks; above 0, also where most chunks hold it, as they do in small indexes."""
    return math.log1p((n - min(df, n) + 0.5) / (df + 0.5))


def _fts5_weight(df: int, n: int) -> float:
    """The same as FTS5 has it, which gives words of half of the chunks next to nothing."""
    weight = math.log((n - min(df, n) + 0.5) / (df + 0.5))
    return weight if weight > 0 else 1e-6


def _add(scores: NDArray[np.float64], held: _Postings, scale: NDArray[np.float64], *, weight: float) -> None:
    """Add what a term brings to each chunk's score."""
    brought = scale[held.places]
    brought += held.counts
    np.divide(np.multiply(held.counts, _K1 + 1, dtype=np.float64), brought, out=brought)
    brought *= weight
    scores[held.places] += brought


def _pass(ids: NDArray[np.int64], passing: NDArray[np.uint8] | None) -> NDArray[np.bool_]:
    """Which of the ids may be found."""
    if passing is None:
        return np.ones(len(ids), dtype=bool)
    within = ids >> 3 < len(passing)
    there = np.where(within, ids, 0)
    return within & (passing[there >> 3] >> (there & 7).astype(np.uint8) & 1).astype(bool) if len(passing) else within


def _lengths(sizes: bytes, *, of: int) -> NDArray[np.int64]:
    """Words in each chunk, of all columns of the word index together, of which there are more since format 4."""
    of_columns = _varints(np.frombuffer(sizes, dtype=np.uint8))
    if len(of_columns) % of:
        raise _lengths_missing()
    return np.asarray(of_columns.reshape(of, -1).sum(axis=1))


def _lengths_missing() -> IndexDamagedError:
    return IndexDamagedError(
        "the word index holds passages whose length it does not know: mend the index with rag doctor --repair"
    )


def _phrase(term: str) -> str:
    """A term as a query of FTS5, whatever is in it."""
    return f'"{term.replace(chr(34), chr(34) * 2)}"'


@lru_cache(maxsize=64)
def split_terms(terms: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """The stemmed words of each term."""
    return tuple(map(tuple, stems(terms)))


def _varints(data: NDArray[np.uint8]) -> NDArray[np.int64]:
    """The numbers that stand one after the other: seven bits a byte, the highest first, the last byte below 128."""
    last = np.flatnonzero(data < 0x80)
    sizes = np.diff(last, prepend=-1)
    numbers = data[last].astype(np.int64)
    for behind in range(1, int(sizes.max(initial=0))):
        longer = np.flatnonzero(sizes > behind)
        numbers[longer] += (data[last[longer] - behind] & 0x7F).astype(np.int64) << 7 * behind
    return numbers
