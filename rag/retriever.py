"""A query to a ranked list of `Hit`: dense and BM25, fused."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rag.errors import IndexDamagedError, UsageError
from rag.filters import Where, parse_where
from rag.fusion import DEFAULT_WEIGHT, fuse
from rag.index import Index
from rag.types import Hit, Place
from rag.view import Passing, View
from rag.words import STOP_WORDS

Mode = Literal["hybrid", "dense", "bm25"]

_MAX_TERMS = 64  # of a very long query; each further term costs and says little
_MAX_DEPTH = 10**9  # more chunks than any index holds, and no more than FAISS and SQLite count
_MAX_QUERY_CHARACTERS = 20_000  # beyond any question, and far beyond what the encoder reads


class Retriever:
    """Ranks the chunks of one index for a query."""

    def __init__(self, index: Index, *, weight: float = DEFAULT_WEIGHT, depth: int = 200) -> None:
        """Bind an index.

        Args:
            index: searched as it is at the moment of each query.
            weight: share of the dense side in hybrid mode, in [0, 1].
            depth: candidates that each side brings; at least k distinct texts are looked for in any case.
        """
        if not 0 <= weight <= 1:
            raise UsageError(f"expected a weight from 0 to 1, got {weight!r}")
        self.index = index
        self._weight = weight
        self._depth = depth

    def search(self, query: str, *, k: int = 10, mode: Mode = "hybrid", where: Sequence[str] | Where = ()) -> list[Hit]:
        """The k best passages, the best first; fewer where the index holds fewer.

        The same text in several places is one hit; `also_in` names the other places.

        Args:
            query: in any words; only its first 64 words count for BM25, and what the encoder reads for the dense side.
            k: how many, at least 1.
            mode: 'dense' ranks by meaning, 'bm25' by words, 'hybrid' by both.
            where: conditions that a document must meet, as `rag.filters.parse_where` reads them; all of those that do
                are searched, and nothing else.

        Raises:
            UsageError: an empty query, k below 1, an unknown mode, or a condition without sense.
        """
        query = _checked(query, k, mode)
        where = parse_where(where)
        while True:
            encoder = self.index.encoder if mode != "bm25" else None
            vector = encoder.encode_queries([query])[0] if encoder else None
            with self.index.reading() as view:
                if encoder is None or encoder.space == view.space:
                    return self._search(view, query, vector, k=k, mode=mode, where=where)
            # The index has gone over to another encoder since.

    def _search(
        self, view: View, query: str, vector: NDArray[np.float32] | None, *, k: int, mode: Mode, where: Where
    ) -> list[Hit]:
        terms = query_terms(query)
        passing = view.passing(where) if where else None
        ceiling = view.store.bm25_ceiling(terms) if mode == "hybrid" else 0.0
        depth = max(self._depth, min(k, _MAX_DEPTH))
        while True:
            found = (
                view.dense(vector, k=depth + 1, passing=passing) if vector is not None else {},
                view.store.bm25(terms, k=depth + 1, passing=passing.bits if passing else None)
                if mode != "dense"
                else {},
            )
            dense, sparse = (_whole_ties(side, depth=depth) for side in found)
            scores = dense or sparse
            if mode == "hybrid":
                waiting = view.store.waiting_of(list(sparse))
                scores = fuse(dense, sparse, ceiling=ceiling, weight=self._weight, waiting=waiting)
            hits = _ranked(view, scores, k=k, passing=passing)
            # Copies of one text, or one score, can fill the candidates: look deeper until there are k texts, of which
            # both sides had a say, or no more chunks.
            has_said = all(candidates or not side for candidates, side in zip((dense, sparse), found, strict=True))
            if (len(hits) >= k and has_said) or max(map(len, found)) <= depth:
                return hits
            depth *= 4


def _whole_ties(scores: Mapping[int, float], *, depth: int) -> Mapping[int, float]:
    """Without the lowest score where there are more than `depth`: which of a tie came is chance (FAISS's, SQLite's)."""
    if len(scores) <= depth:
        return scores
    lowest = min(scores.values())
    return {i: score for i, score in scores.items() if score > lowest}


def query_terms(query: str) -> list[str]:
    """The words that BM25 looks for: distinct, lower case, without stop words unless there are no others."""
    found = re.findall(r"\w+", unicodedata.normalize("NFC", query))  # a combining accent alone is no part of \w
    words = list(dict.fromkeys(word.lower() for word in found))
    return ([word for word in words if word not in STOP_WORDS] or words)[:_MAX_TERMS]


def _checked(query: str, k: int, mode: str) -> str:
    # A lone surrogate (undecodable bytes on a command line) or a NUL is no text for tokenizer and SQLite.
    query = re.sub("[\x00\ud800-\udfff]", " ", query).strip()
    if not query:
        raise UsageError("expected a question, got an empty one: ask in words, for example 'what is an embedding?'")
    if k < 1:
        raise UsageError(f"expected k of at least 1, got {k}")
    if mode not in get_args(Mode):
        raise UsageError(f"expected mode {', '.join(map(repr, get_args(Mode)))}, got {mode!r}")
    return query[:_MAX_QUERY_CHARACTERS]


def _ranked(view: View, scores: Mapping[int, float], *, k: int, passing: Passing | None) -> list[Hit]:
    """The k best distinct texts, equal scores ordered by source and start."""
    order = sorted(scores, key=lambda i: -scores[i])
    hits: list[Hit] = []
    texts: set[str] = set()
    taken = 0
    while len(hits) < k and taken < len(order):
        # Rows are read a few at a time; all of one score belong together, for their order is not FAISS's or SQLite's.
        upto = min(max(taken + 2 * k, taken + 20), len(order))
        while upto < len(order) and scores[order[upto]] == scores[order[upto - 1]]:
            upto += 1
        part = order[taken:upto]
        chunks = view.store.chunks(part)
        if len(chunks) < len(part):
            raise IndexDamagedError("a passage that was found is not there: mend the index with rag doctor --repair")
        part.sort(key=lambda i: (-scores[i], chunks[i].doc_id, chunks[i].start))
        for i in part:
            if len(hits) < k and chunks[i].text not in texts:
                texts.add(chunks[i].text)
                hits.append(Hit(chunk_id=i, chunk=chunks[i], score=scores[i], rank=len(hits) + 1))
        taken = upto
    return [replace(hit, also_in=_other_places(view, hit, passing)) for hit in hits]


def _other_places(view: View, hit: Hit, passing: Passing | None) -> tuple[Place, ...]:
    places = view.store.same_text(hit.chunk.text)
    return tuple(place for i, place in places if i != hit.chunk_id and (passing is None or i in passing))
