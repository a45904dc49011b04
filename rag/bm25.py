"""BM25 as SQLite's FTS5 defines it, over all chunks at once: the same scores, in a twentieth of the time.

FTS5 looks up and sorts every chunk that holds any of the words, about 2 µs each: a second and more for a question in
common words about a million chunks. It hands out where a word stands far faster, 0.1 µs a place, and NumPy adds up what
is then known. So few chunks are left to FTS5, and many are scored here. The full-text index stays the only one: nothing
is on disk that could fall behind it, and what is kept in memory is of one change.

The formula, with FTS5's k1 = 1.2 and b = 0.75, for a chunk of `length` words that holds a term `tf` times:

    weight * tf * (k1 + 1) / (tf + k1 * (1 - b + b * length / mean length))
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
from rag.words import stems

_K1, _B = 1.2, 0.75  # fixed in FTS5
_LEAST_WEIGHT = 1e-6  # of a word that stands in half of the chunks or more
_TOLERANCE = 1e-6  # share of a score that the words of least weight may have, and then need not be read
_LEFT_TO_FTS5 = 10_000  # places of the words of a query: up to here FTS5 takes no more than 25 ms
_POSTINGS_KEPT = 24_000_000  # of the words asked for last, at 5 to 6 bytes
_FREQUENCIES_KEPT = 100_000
_LARGEST_SPAN = 8  # of ids for each chunk: up to here a table tells a chunk's place, five times as fast as a search
_GONE_KEPT = 10_000  # places of chunks that have gone, at least, before all lengths are read anew
_COLUMNS = 2  # of chunks_fts: context and text
_PER_STATEMENT = 500  # well below SQLite's limit on every build

Change = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class _Postings:
    """The chunks that hold one word."""

    places: NDArray[np.int32]  # in the order of the chunks' ids
    counts: NDArray[np.unsignedinteger]  # how often each of them holds it


class WordIndex:
    """Reads the full-text index of one SQLite file. `move_to` says which change is being read, before anything else."""

    # For each connection: a view of its own, in no file, of every place where a word stands.
    SETUP = "create virtual table temp.chunks_instances using fts5vocab(main, chunks_fts, instance)"

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.change: Change = (0, b"")
        self._n_chunks, self._n_words = 0, 0
        self._frequencies: dict[str, int] = {}
        self._postings: dict[str, _Postings] = {}  # the word asked for last at the end
        self._ids = np.zeros(0, dtype=np.int64)  # ascending; those of removed chunks stay, and no word leads to them
        self._place_of = np.zeros(0, dtype=np.int32)  # by id less the first id; empty where ids are too far apart
        self._lengths = np.zeros(0)  # in words, by place
        self._scale = np.zeros(0)  # k1 * (1 - b + b * length / mean length), by place; empty until it is needed

    def move_to(self, change: Change, *, follows: bool) -> None:
        """From now on, read another change; if it follows on the last one, what was added since has higher ids."""
        self._frequencies, self._postings, self._scale = {}, {}, np.zeros(0)
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
        """The score that no chunk can exceed; a term of several words is weighed by its rarest."""
        return (_K1 + 1) * sum(self._weight(df) for df in self._rarest(terms))

    def best(self, terms: Sequence[str], *, k: int, passing: NDArray[np.uint8] | None) -> dict[int, float]:
        """The k best chunks that hold any of the terms, the best first.

        Words that stand in half of the chunks or more are left out where all of them together could not change any
        of these scores by a millionth.

        Args:
            terms: words, or several joined by what is no letter, which must then stand side by side.
            k: how many at most.
            passing: bit i % 8 of byte i // 8, from the lowest, is 1 where the chunk of id i may be found; words are
                weighed over all chunks nonetheless.
        """
        frequencies = self._rarest(terms)
        if sum(frequencies) <= _LEFT_TO_FTS5:
            return self._best_by_fts5(terms, k, passing)
        self._learn_lengths()
        split = _split(tuple(terms))
        common = [len(w) == 1 and self._weight(df) == _LEAST_WEIGHT for w, df in zip(split, frequencies, strict=True)]
        scores = np.zeros(len(self._ids))
        for term, words, is_common in zip(terms, split, common, strict=True):
            if not is_common:
                self._add(scores, term, words)
        found = self._highest(scores, k, passing)
        missing = (_K1 + 1) * _LEAST_WEIGHT * sum(common)
        if missing and (len(found) < k or scores[found[-1]] * _TOLERANCE < missing):
            for term, words, is_common in zip(terms, split, common, strict=True):
                if is_common:
                    self._add(scores, term, words)
            found = self._highest(scores, k, passing)
        return dict(zip(self._ids[found].tolist(), scores[found].tolist(), strict=True))

    def _best_by_fts5(self, terms: Sequence[str], k: int, passing: NDArray[np.uint8] | None) -> dict[int, float]:
        condition = ""
        if passing is not None:
            # SQLite asks for one row after the other, the best first, until k have passed.
            self._db.create_function(
                "passes", 1, lambda i: i >> 3 < len(passing) and bool(passing[i >> 3] >> (i & 7) & 1)
            )
            condition = "and passes(rowid)"
        rows = self._db.execute(
            f"select rowid, rank from chunks_fts where chunks_fts match ? {condition} order by rank limit ?",
            [" OR ".join(map(_phrase, terms)), k],
        )
        return {row[0]: -row[1] for row in rows}

    def _rarest(self, terms: Sequence[str]) -> list[int]:
        """In how many chunks each term stands, at most: a term of several words stands in no more than its rarest."""
        split = _split(tuple(terms))
        found = self.document_frequencies([stem for words in split for stem in words])
        return [min((found.get(stem, 0) for stem in words), default=0) for words in split]

    def _weight(self, df: int) -> float:
        n = self._n_chunks
        weight = math.log((n - min(df, n) + 0.5) / (df + 0.5))
        return weight if weight > 0 else _LEAST_WEIGHT

    def _add(self, scores: NDArray[np.float64], term: str, words: Sequence[str]) -> None:
        """Add what a term brings to each chunk's score."""
        if len(words) != 1:  # a phrase, or nothing: which chunks hold it only FTS5 knows
            rows = self._db.execute(
                "select rowid, bm25(chunks_fts) from chunks_fts where chunks_fts match ?", [_phrase(term)]
            ).fetchall()
            scores[self._places(np.array([row[0] for row in rows], dtype=np.int64))] -= [row[1] for row in rows]
            return
        held = self._postings_of(words[0])
        brought = self._scale[held.places]
        brought += held.counts
        np.divide(np.multiply(held.counts, _K1 + 1, dtype=np.float64), brought, out=brought)
        brought *= self._weight(len(held.places))
        scores[held.places] += brought

    def _highest(self, scores: NDArray[np.float64], k: int, passing: NDArray[np.uint8] | None) -> NDArray[np.intp]:
        """The places of the k highest scores above 0, the highest first."""
        found = np.flatnonzero(scores > 0)
        if passing is not None:
            ids = self._ids[found]
            found = found[ids >> 3 < len(passing)]
            ids = self._ids[found]
            found = found[(passing[ids >> 3] >> (ids & 7).astype(np.uint8) & 1).astype(bool)]
        if len(found) > k:
            found = found[np.argpartition(scores[found], len(found) - k)[-k:]]
        return found[np.argsort(-scores[found], kind="stable")]

    def _postings_of(self, word: str) -> _Postings:
        held = self._postings.pop(word, None)
        if held is None:
            held = self._read_postings(word)
            room = _POSTINGS_KEPT - len(held.places)
            while self._postings and sum(len(p.places) for p in self._postings.values()) > room:
                del self._postings[next(iter(self._postings))]
        self._postings[word] = held
        return held

    def _read_postings(self, word: str) -> _Postings:
        # As one text: a row for each would take SQLite's interface for Python four times as long.
        (text,) = self._db.execute(
            "select group_concat(doc) from temp.chunks_instances where term = ?", [word]
        ).fetchone()
        ids = np.fromstring(text or "", dtype=np.int64, sep=",")
        is_first = np.ones(len(ids), dtype=bool)
        np.not_equal(ids[1:], ids[:-1], out=is_first[1:])
        first = np.flatnonzero(is_first)
        counts = np.diff(first, append=len(ids))
        return _Postings(self._places(ids[first]), counts.astype(np.min_scalar_type(counts.max(initial=0))))

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

    def _learn_lengths(self) -> None:
        """Read how many words there are in each chunk that is new since the last change."""
        if len(self._scale):
            return
        if len(self._ids) > 2 * self._n_chunks + _GONE_KEPT:  # most are of chunks that have gone
            self._ids, self._lengths = np.zeros(0, dtype=np.int64), np.zeros(0)
        last = int(self._ids[-1]) if len(self._ids) else -1
        ids_text, sizes = self._db.execute(
            "select group_concat(id), group_concat(hex(sz), '') from chunks_fts_docsize where id > ?", [last]
        ).fetchone()
        if ids_text:
            ids = np.fromstring(ids_text, dtype=np.int64, sep=",")
            of_columns = _varints(np.frombuffer(bytes.fromhex(sizes), dtype=np.uint8))
            if len(of_columns) != _COLUMNS * len(ids):
                raise _lengths_missing()
            lengths = np.concatenate([self._lengths, of_columns.reshape(-1, _COLUMNS).sum(axis=1)])
            self._ids, self._lengths = np.concatenate([self._ids, ids]), lengths
        if not (len(self._ids) and self._n_chunks):
            raise _lengths_missing()
        span = int(self._ids[-1] - self._ids[0]) + 1
        self._place_of = np.zeros(0, dtype=np.int32)
        if span <= _LARGEST_SPAN * len(self._ids):
            self._place_of = np.zeros(span, dtype=np.int32)
            self._place_of[self._ids - self._ids[0]] = np.arange(len(self._ids), dtype=np.int32)
        self._scale = _K1 * (1 - _B + _B * self._lengths / (self._n_words / self._n_chunks))


def _lengths_missing() -> IndexDamagedError:
    return IndexDamagedError(
        "the word index holds passages whose length it does not know: mend the index with rag doctor --repair"
    )


def _phrase(term: str) -> str:
    """A term as a query of FTS5, whatever is in it."""
    return f'"{term.replace(chr(34), chr(34) * 2)}"'


@lru_cache(maxsize=64)
def _split(terms: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
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
