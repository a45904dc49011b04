"""Says why a hit has its score: what each side brings to it, which words it holds, and which of its sentences count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from rag.attribution import attribute
from rag.encoders import TokenVectors
from rag.fusion import LATE_SHARE, fuse
from rag.store import Store
from rag.types import Explanation, Hit


@dataclass(frozen=True, slots=True)
class Scored:
    """The candidates of one search, by chunk id, with what was said of them."""

    scores: Mapping[int, float]  # that hits are ranked by
    terms: Sequence[str]  # that BM25 looked for
    cosines: Mapping[int, float]
    bm25: Mapping[int, float]
    ceiling: float  # the highest BM25 score that the terms allow
    weight: float = 1.0  # of the dense side
    fused: Mapping[int, float] = field(default_factory=dict)  # in hybrid mode, before late interaction had its say
    late: Mapping[int, float] = field(default_factory=dict)


def term_scores(store: Store, scored: Scored, ids: Sequence[int]) -> dict[str, dict[int, float]]:
    """What each term brings to the BM25 score of each of some chunks; the store is read as when they were found."""
    if not scored.bm25:
        return {}
    found = {term: store.bm25_and([term], k=1, also=ids) for term in scored.terms}
    return {term: {**others, **best} for term, (best, others) in found.items()}


def explanation(
    hit: Hit,
    scored: Scored,
    terms: Mapping[str, Mapping[int, float]],
    *,
    vector: NDArray[np.float32] | None,
    read: TokenVectors | None,
) -> Explanation:
    """Why a hit has its score.

    Args:
        hit: one of those that were found.
        scored: what was said of all candidates.
        terms: by term and chunk id, what `term_scores` gives.
        vector: of the query.
        read: the tokens of `hit.chunk.encoded`, where the encoder tells of them.
    """
    i = hit.chunk_id
    held = {term: by_id[i] / scored.ceiling for term, by_id in terms.items() if i in by_id and i in scored.bm25}
    found = attribute(vector, hit.chunk, read) if vector is not None and read is not None else None
    return Explanation(
        cosine=scored.cosines.get(i),
        bm25=scored.bm25.get(i, 0.0) / scored.ceiling if scored.ceiling else None,
        late=scored.late.get(i),
        shares=_shares(hit, scored),
        terms=dict(sorted(held.items(), key=lambda item: -item[1])),
        sentences=found.sentences if found else (),
        tokens=found.tokens if found else (),
        elsewhere=found.elsewhere if found else 0.0,
    )


def _shares(hit: Hit, scored: Scored) -> dict[str, float]:
    if hit.is_reranked:
        return {"reranker": hit.score}
    shares = _retrieved_shares(hit.chunk_id, scored)
    if hit.retrieved:  # put below those that a reranker has read
        shares = {side: share * hit.score / hit.retrieved for side, share in shares.items()}
    return shares


def _retrieved_shares(i: int, scored: Scored) -> dict[str, float]:
    score = scored.scores[i]
    if not scored.fused:
        return {"dense" if scored.cosines else "bm25": score}
    fused = scored.fused[i]
    of_bm25 = fuse({}, {i: scored.bm25.get(i, 0.0)}, ceiling=scored.ceiling or 1.0, weight=scored.weight)[i]
    rest = 1 - LATE_SHARE if scored.late else 1.0
    shares = {"dense": rest * (fused - of_bm25), "bm25": rest * of_bm25}
    return {**shares, "late": score - rest * fused} if scored.late else shares
