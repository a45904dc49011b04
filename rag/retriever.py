"""A query to a ranked list of `Hit`: dense and BM25, fused."""

from __future__ import annotations

import re
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from rag.bm25 import split_terms
from rag.encoders import Encoder, TokenVectors, tells_of_tokens
from rag.errors import IndexDamagedError, UsageError
from rag.explain import Scored, explanation, term_scores
from rag.filters import Where, parse_where
from rag.fusion import DEFAULT_WEIGHT, blend, fuse, highest
from rag.index import Index
from rag.late import QueryTokens, late_interaction, query_tokens
from rag.queries import Query, holds, index_terms, read_query
from rag.reranker import Reranker
from rag.types import Chunk, Hit, Place
from rag.view import Passing, View

Mode = Literal["hybrid", "dense", "bm25"]

_MAX_TERMS = 64  # of a very long query; each further term costs and says little
DEFAULT_RERANK_MS = 500.0
_RERANKED = 50
_READ_LATE = 20  # distinct scores, for copies have one; 50 and 100 rank no better
_MAX_DEPTH = 10**9  # more chunks than any index holds, and no more than FAISS and SQLite count
_MAX_QUERY_CHARACTERS = 20_000  # beyond any question, and far beyond what the encoder reads


@dataclass(frozen=True, slots=True)
class _Asked:
    """A query, as far as it does not depend on the index."""

    query: Query
    vector: NDArray[np.float32] | None = None  # None where the dense side is not asked
    tokens: QueryTokens | None = None  # None where the encoder does not tell of tokens, or sees none in it


class Retriever:
    """Ranks the chunks of one index for a query."""

    def __init__(
        self,
        index: Index,
        *,
        weight: float = DEFAULT_WEIGHT,
        depth: int = 200,
        late: bool = True,
        reranker: Reranker | None = None,
        rerank_ms: float = DEFAULT_RERANK_MS,
    ) -> None:
        """Bind an index.

        Args:
            index: searched as it is at the moment of each query.
            weight: share of the dense side in hybrid mode, in [0, 1].
            depth: candidates that each side brings; at least k distinct texts are looked for in any case.
            late: whether, in hybrid mode, late interaction has a say in the order of the best (`rag.late`).
            reranker: reads the best 50 and puts them in its own order.
            rerank_ms: milliseconds that it may take; what it has not read by then follows in the order it had.
        """
        if not rerank_ms >= 0:
            raise UsageError(f"expected 0 milliseconds or more for reranking, got {rerank_ms!r}")
        if not 0 <= weight <= 1:
            raise UsageError(f"expected a weight from 0 to 1, got {weight!r}")
        self.index = index
        self._weight = weight
        self._depth = depth
        self._late = late
        self.reranker = reranker
        self._rerank_ms = rerank_ms

    def search(
        self,
        query: str,
        *,
        k: int = 10,
        mode: Mode = "hybrid",
        weight: float | None = None,
        where: Sequence[str] | Where = (),
        explain: bool = False,
    ) -> list[Hit]:
        """The k best passages, the best first; fewer where the index holds fewer.

        The same text in several places is one hit; `also_in` names the other places.

        Args:
            query: in any words. `"exact words"` must stand in every hit, `-word` in none (`rag.queries.read_query`). Of
                a very long one, its 64 rarest words count for BM25, and what the encoder reads for the dense side.
            k: how many, at least 1.
            mode: 'dense' ranks by meaning, 'bm25' by words, 'hybrid' by both.
            weight: share of the dense side in hybrid mode, in place of the retriever's own; 0 is mode 'bm25', without
                the encoder, and 1 is mode 'dense'.
            where: conditions that a document must meet, as `rag.filters.parse_where` reads them; all of those that do
                are searched, and nothing else.
            explain: whether each hit says why it has its score, for which the encoder reads it once more.

        Raises:
            UsageError: an empty query, k below 1, an unknown mode, a weight beyond 0 to 1 or for another mode than
                'hybrid', or a condition without sense.
        """
        query = _checked(query, k, mode)
        if weight is not None:
            mode = _weighed(mode, weight)
        share = self._weight if weight is None else weight
        where = parse_where(where)
        while True:
            encoder = self.index.encoder if mode != "bm25" else None
            asked = _ask(query, encoder, with_tokens=self._late and mode == "hybrid")
            with self.index.reading() as view:
                if encoder is None or encoder.space == view.space:
                    n = max(k, _RERANKED) if self.reranker else k
                    hits, scored = self._search(view, asked, k=n, mode=mode, weight=share, where=where)
                    terms = term_scores(view.store, scored, [hit.chunk_id for hit in hits]) if explain else {}
                    break
            # The index has gone over to another encoder since.
        hits = self._reranked(asked.query.text, hits)[:k]
        return _explained(encoder, asked, hits, scored, terms) if explain else hits

    def _reranked(self, query: str, hits: list[Hit]) -> list[Hit]:
        """In the reranker's order, where there is one; those that it did not read keep theirs, below those it did."""
        if self.reranker is None or not hits:
            return hits
        deadline = time.monotonic() + self._rerank_ms / 1000
        texts = [hit.chunk.encoded for hit in hits[:_RERANKED]]
        scores = self.reranker.scores(query, texts, deadline=deadline)[: len(texts)]
        order = sorted(range(len(scores)), key=lambda i: -scores[i])
        found = [replace(hits[i], score=scores[i], retrieved=hits[i].score, is_reranked=True) for i in order]
        lowest, highest = min(scores, default=1.0), max(hits[0].score, 0.0) or 1.0
        found += [
            replace(hit, score=lowest * min(max(hit.score / highest, 0.0), 1.0), retrieved=hit.score)
            for hit in hits[len(scores) :]
        ]
        return [replace(hit, rank=rank) for rank, hit in enumerate(found, start=1)]

    def _search(
        self, view: View, asked: _Asked, *, k: int, mode: Mode, weight: float, where: Where
    ) -> tuple[list[Hit], Scored]:
        query = asked.query
        terms = view.store.rarest(query.terms, _MAX_TERMS)
        passing = _allowed(view, query, view.passing(where) if where else None)
        bits = passing.bits if passing else None
        ceiling = view.store.bm25_ceiling(terms) if mode != "dense" else 0.0
        depth = max(self._depth, min(k, _MAX_DEPTH))
        while True:
            near = view.dense(asked.vector, k=depth + 1, passing=passing) if asked.vector is not None else {}
            exact, others = (
                view.store.bm25_and(terms, k=depth + 1, passing=bits, also=list(near)) if mode != "dense" else ({}, {})
            )
            dense, sparse = _whole_ties(near, depth=depth), _whole_ties(exact, depth=depth)
            scored = Scored(dense or sparse, terms, dense, sparse, ceiling)
            if mode == "hybrid":
                scored = self._fused(view, asked, scored, {**exact, **others}, weight=weight)
            hits = _ranked(view, scored.scores, k=k, passing=passing, phrases=query.phrases)
            # Copies of one text, or one score, can fill the candidates: look deeper until there are k texts, of which
            # both sides had a say, or no more chunks.
            has_said = (dense or not near) and (sparse or not exact)
            if (len(hits) >= k and has_said) or max(len(near), len(exact)) <= depth:
                return hits, scored
            depth *= 4

    def _fused(self, view: View, asked: _Asked, found: Scored, others: Mapping[int, float], *, weight: float) -> Scored:
        """Every candidate of either side with what both say of it, and of the best what late interaction says.

        Args:
            view: that both sides were asked in.
            asked: with its vector.
            found: what each side found by itself.
            others: BM25 scores of all that the dense side found, ties at the end of the other side included.
            weight: share of the dense side.
        """
        assert asked.vector is not None
        near, exact = dict(found.cosines), dict(found.bm25)
        near |= view.cosines(asked.vector, list(exact.keys() - near.keys()))
        waiting = view.store.waiting_of(list(exact.keys() - near.keys()))
        exact |= {i: score for i, score in others.items() if i in found.cosines}
        fused = fuse(near, exact, ceiling=found.ceiling, weight=weight, waiting=waiting)
        if asked.tokens is None:
            return Scored(fused, found.terms, near, exact, found.ceiling, weight, fused)
        best = highest(fused, _READ_LATE)
        weights = _token_weights(view, asked.query.text, asked.tokens)
        late = late_interaction(asked.tokens, weights, view.store.token_bits(best))
        return Scored(blend(fused, late, among=best), found.terms, near, exact, found.ceiling, weight, fused, late)


def _ask(query: str, encoder: Encoder | None, *, with_tokens: bool) -> _Asked:
    read = read_query(query)
    if encoder is None:
        return _Asked(read)
    if with_tokens and tells_of_tokens(encoder):
        vectors, [of_text] = encoder.read_queries([read.text])
        tokens = query_tokens(read.text, of_text)
        return _Asked(read, vectors[0], tokens if tokens.spans else None)
    return _Asked(read, encoder.encode_queries([read.text])[0])


def _allowed(view: View, query: Query, passing: Passing | None) -> Passing | None:
    """The chunks that may be found: those that pass, hold the words of each phrase, and no word that is excluded.

    A phrase is looked up by its words; that it stands there letter for letter is seen when the text is read.
    """
    for phrase in query.phrases:
        for term in index_terms(phrase):
            passing = view.among(view.store.holding(term), passing)
    for word in query.excluded:
        held = [view.store.holding(term) for term in index_terms(word)]
        passing = view.without(reduce(np.intersect1d, held), passing) if held else passing
    return passing


def _token_weights(view: View, query: str, tokens: QueryTokens) -> list[float]:
    """How rare the word is that each token belongs to."""
    words = [(match.start(), match[0].lower()) for match in re.finditer(r"\w+", query)]
    stemmed = split_terms(tuple(word for _, word in words))
    weights = view.store.term_weights([stem for of_word in stemmed for stem in of_word])
    of_words = [max((weights[stem] for stem in of_word), default=0.0) for of_word in stemmed]
    starts = [start for start, _ in words]
    mean = sum(of_words) / len(of_words) if any(of_words) else 1.0
    found = (bisect_right(starts, start) - 1 for start, _ in tokens.spans)
    return [(of_words[n] if n >= 0 else 0.0) or mean for n in found]


def _whole_ties(scores: Mapping[int, float], *, depth: int) -> Mapping[int, float]:
    """Without the lowest score where there are more than `depth`: which of a tie came is chance (FAISS's, SQLite's)."""
    if len(scores) <= depth:
        return scores
    lowest = min(scores.values())
    return {i: score for i, score in scores.items() if score > lowest}


def _explained(
    encoder: Encoder | None,
    asked: _Asked,
    hits: Sequence[Hit],
    scored: Scored,
    terms: Mapping[str, Mapping[int, float]],
) -> list[Hit]:
    read: Sequence[TokenVectors | None] = [None] * len(hits)
    if asked.vector is not None and encoder is not None and tells_of_tokens(encoder):
        read = encoder.read_documents([hit.chunk.encoded for hit in hits])[1]
    return [
        replace(hit, explanation=explanation(hit, scored, terms, vector=asked.vector, read=of_hit))
        for hit, of_hit in zip(hits, read, strict=True)
    ]


def _weighed(mode: Mode, weight: float) -> Mode:
    """The mode that a weight asks for: at either end one side is not asked at all."""
    if mode != "hybrid" or not 0 <= weight <= 1:
        raise UsageError(f"expected a weight from 0 to 1, in mode 'hybrid', got {weight!r} in mode {mode!r}")
    return "bm25" if weight == 0 else "dense" if weight == 1 else mode


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


def _ranked(
    view: View, scores: Mapping[int, float], *, k: int, passing: Passing | None, phrases: Sequence[str]
) -> list[Hit]:
    """The k best distinct texts that hold the phrases, equal scores ordered by source and start."""
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
            if len(hits) < k and chunks[i].text not in texts and _holds_all(chunks[i], phrases):
                texts.add(chunks[i].text)
                hits.append(Hit(chunk_id=i, chunk=chunks[i], score=scores[i], rank=len(hits) + 1))
        taken = upto
    return [replace(hit, also_in=_other_places(view, hit, passing)) for hit in hits]


def _holds_all(chunk: Chunk, phrases: Sequence[str]) -> bool:
    return all(holds(chunk.text, phrase) or holds(chunk.context, phrase) for phrase in phrases)


def _other_places(view: View, hit: Hit, passing: Passing | None) -> tuple[Place, ...]:
    places = view.store.same_text(hit.chunk.text)
    return tuple(place for i, place in places if i != hit.chunk_id and (passing is None or i in passing))
