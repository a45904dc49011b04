"""Plain parts and wrong turns: each makes scores (queries, passages) of one set, higher is better, -inf not found.

A wrong turn changes one thing of `base`, so that its row says what that thing adds. What each does is said by the page
docs/retrieval.md in a line.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.retrieval.matrices import Array, Matrices, Sentences, fts5_weights, unit
from rag.chunking import Chunking
from rag.fusion import DEFAULT_WEIGHT, LATE_SHARE
from rag.words import stop_stems

DEPTH = 200  # candidates a side, where a method takes so many
_NEAR = 8  # words, within which two neighbouring words of a query must stand


@dataclass(frozen=True, slots=True)
class Method:
    """One row of the table."""

    name: str
    title: str
    scores: Callable[[Matrices], Array]
    max_tokens: int = Chunking().max_tokens  # of a chunk
    is_wrong_turn: bool = True


def base(m: Matrices) -> Array:
    """Half the cosine, half the share of the highest BM25 score: `rag.fusion.fuse` over all passages."""
    return fused(m.cosines, m.shares)


def fused(cosines: NDArray[Any], shares: NDArray[Any]) -> Array:
    return np.asarray(DEFAULT_WEIGHT * np.clip(cosines, 0, 1) + (1 - DEFAULT_WEIGHT) * shares, dtype=np.float32)


# The plain parts


def fts5_bm25(m: Matrices) -> Array:
    """What SQLite's own `bm25()` gives."""
    scores = m.bm25(k1=1.2, b=0.75, weigh=fts5_weights)[0]
    return np.where(scores > 0, scores, -np.inf).astype(np.float32)


def reciprocal_ranks(m: Matrices, *, k: int = 60) -> Array:
    """Cormack, Clarke and Büttcher (2009), doi:10.1145/1571941.1572114: the sum of 1 / (k + rank) of both sides."""
    found = np.zeros_like(m.cosines)
    for side, is_candidate in _sides(m):
        found += np.where(is_candidate, 1 / (k + ranks(side)), 0)
    return _found(found)


def min_max(m: Matrices) -> Array:
    """Both sides scaled from the lowest to the highest of their candidates, half of each."""
    found = np.zeros_like(m.cosines)
    for side, is_candidate in _sides(m):
        lowest = np.where(is_candidate, side, np.inf).min(axis=1, keepdims=True)
        highest = np.where(is_candidate, side, -np.inf).max(axis=1, keepdims=True)
        with np.errstate(invalid="ignore"):  # a side without candidates
            scaled = (side - lowest) / np.maximum(highest - lowest, 1e-9)
        found += np.where(is_candidate, 0.5 * scaled, 0)
    return _found(found)


def z_scores(m: Matrices) -> Array:
    """The sum of both sides' distances from their mean over all passages, in standard deviations."""
    found = np.zeros_like(m.cosines)
    for side in (m.cosines, m.bm25()[0]):
        found += (side - side.mean(axis=1, keepdims=True)) / np.maximum(side.std(axis=1, keepdims=True), 1e-9)
    return found


def _sides(m: Matrices) -> list[tuple[Array, NDArray[np.bool_]]]:
    """Scores of each side, and which of the passages are among its candidates."""
    sparse = m.bm25()[0]
    return [(m.cosines, ranks(m.cosines) <= DEPTH), (sparse, (ranks(sparse) <= DEPTH) & (sparse > 0))]


def _found(scores: Array) -> Array:
    return np.where(scores > 0, scores, -np.inf).astype(np.float32)


def ranks(scores: Array) -> NDArray[np.int64]:
    """The rank of each passage, from 1."""
    order = np.argsort(-scores, axis=1, kind="stable")
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.arange(1, order.shape[1] + 1)[None], axis=1)
    return found


def best(scores: Array, n: int) -> NDArray[np.int64]:
    """The n best passages of each query, the best first: (queries, n)."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :n]


# Wrong turns


def dense_feedback(m: Matrices, *, passages: int = 3, weight: float = 0.3) -> Array:
    """Rocchio (1971): the query's vector goes towards those of the best passages, each weighted by its score."""
    first = base(m)
    chosen = best(first, passages)
    towards = (m.corpus.vectors[chosen] * np.take_along_axis(first, chosen, axis=1)[..., None]).sum(axis=1)
    moved = unit((1 - weight) * m.query_vectors + weight * unit(towards))
    return fused(moved @ m.corpus.vectors.T, m.shares)


def rm3(m: Matrices, *, passages: int = 10, terms: int = 20, weight: float = 0.5) -> Array:
    """Abdul-Jaleel et al. (2004), RM3: words of the best passages are looked for beside the query's own."""
    first, inverse = base(m), list(m.corpus.vocabulary)
    counts = m.corpus.counts
    lengths = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    df = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log1p(counts.shape[0] / np.maximum(df, 1))
    # Stop words say nothing, and words of one passage alone lead to itself.
    is_left_out = np.array([word in stop_stems() for word in inverse]) | (df < 2)
    expanded: list[Mapping[str, float]] = []
    for own, chosen, row in zip(m.terms, best(first, passages), first, strict=True):
        shares = row[chosen] / max(float(row[chosen].sum()), 1e-9)
        said = np.asarray(counts[chosen].multiply(1 / lengths[chosen][:, None]).T @ shares).ravel() * rarity
        said[is_left_out] = 0
        kept = np.argsort(-said, kind="stable")[:terms]
        wanted = dict.fromkeys(own, (1 - weight) / max(len(own), 1))
        for column in kept[said[kept] > 0]:
            word = inverse[column]
            wanted[word] = wanted.get(word, 0.0) + weight * float(said[column] / said[kept].sum())
        expanded.append({word: share for word, share in wanted.items() if share > 0})
    return fused(m.cosines, m.bm25_shares(terms=expanded))


def proximity(m: Matrices, *, weight: float = 0.05, among: int = 100) -> Array:
    """More for passages in which words that are neighbours in the query stand within eight words of each other."""
    first = base(m)
    df = np.bincount(m.corpus.counts.indices, minlength=len(m.corpus.vocabulary))
    rarity = np.log1p(len(m.corpus.words) / (1 + df))
    for row, terms, chosen in zip(first, m.terms, best(first, among), strict=True):
        known = [term for term in terms if term in m.corpus.vocabulary]
        pairs = list(pairwise(known))
        weights = [float(rarity[m.corpus.vocabulary[a]] + rarity[m.corpus.vocabulary[b]]) for a, b in pairs]
        for i in chosen if pairs else ():
            near = [_are_near(m.corpus.words[i], a, b) for a, b in pairs]
            row[i] += weight * float(np.dot(near, weights)) / sum(weights)
    return first


def _are_near(words: Sequence[str], a: str, b: str) -> bool:
    at_a, at_b = ([n for n, word in enumerate(words) if word == wanted] for wanted in (a, b))
    return any(abs(i - j) < _NEAR for i in at_a for j in at_b)


def document_bm25(m: Matrices, *, weight: float = 0.5) -> Array:
    """Words are looked for in the passage and, for half of the share, in its whole document."""
    whole = m.bm25_shares(whole_documents=True)
    return fused(m.cosines, (1 - weight) * m.shares + weight * whole)


def smoothing(m: Matrices, *, neighbours: int = 5, weight: float = 0.2, among: int = 100) -> Array:
    """A fifth of a passage's score comes from the nearest of the other hundred best: near passages answer alike."""
    first = base(m)
    for row, chosen in zip(first, best(first, among), strict=True):
        vectors = m.corpus.vectors[chosen]
        cosines = vectors @ vectors.T
        np.fill_diagonal(cosines, -1)
        near = np.argsort(-cosines, axis=1, kind="stable")[:, :neighbours]
        shares = np.clip(np.take_along_axis(cosines, near, axis=1), 0, None)
        scores = row[chosen]
        of_near = (shares * scores[near]).sum(axis=1) / np.maximum(shares.sum(axis=1), 1e-9)
        row[chosen] = 1 + (1 - weight) * scores + weight * of_near  # 1: none of the others comes before them
    return first


def sentence_beside(m: Matrices) -> Array:
    """Half of the cosine is that of the best sentence, each embedded by itself."""
    return _with_sentences(m, m.sentences)


def sentence_pooled(m: Matrices) -> Array:
    """The same with sentences pooled from the tokens of the passage, for which nothing is embedded anew."""
    return _with_sentences(m, m.pooled)


def _with_sentences(m: Matrices, made: Callable[[], Sentences] | None) -> Array:
    assert made is not None, "the set was bound without its sentences"
    return fused((m.cosines + m.best_sentences(made())) / 2, m.shares)


def centred(m: Matrices) -> Array:
    """The mean of all passages' vectors is taken from every vector."""
    mean = m.corpus.vectors.mean(axis=0)
    return fused(unit(m.query_vectors - mean) @ unit(m.corpus.vectors - mean).T, m.shares)


def keywords_beside(m: Matrices) -> Array:
    """The query's vector is the mean of its own and that of its keywords alone."""
    return fused(unit(m.query_vectors + m.keyword_vectors) @ m.corpus.vectors.T, m.shares)


def late_whole(m: Matrices, *, among: int = 20) -> Array:
    """As hybrid reads the twenty best once more, but with whole vectors of all tokens in place of signs of some."""
    assert m.tokens is not None, "the set was bound without its tokens"
    first, tokens = base(m), m.tokens()
    found = np.empty_like(first)
    for i, (query, chosen) in enumerate(zip(m.query_tokens, best(first, among), strict=True)):
        late = np.array([np.clip(query @ tokens.of(n).T, 0, 1).max(axis=1).mean() for n in chosen])
        # Of the others nothing is known: none overtakes one of the best.
        found[i] = (1 - LATE_SHARE) * first[i] + LATE_SHARE * late.min()
        found[i, chosen] = (1 - LATE_SHARE) * first[i, chosen] + LATE_SHARE * late
    return found


def diversified(m: Matrices, *, trade: float = 0.7, among: int = 50) -> Array:
    """Carbonell and Goldstein (1998), maximal marginal relevance: of the best, those come later that are like others.

    Args:
        m: the set.
        trade: share of the score against that of the highest cosine to what stands above; 1 is the order itself.
        among: how many of the best are ordered anew.
    """
    first = base(m)
    for row, chosen in zip(first, best(first, among), strict=True):
        cosines = m.corpus.vectors[chosen] @ m.corpus.vectors[chosen].T
        likeness = np.zeros(len(chosen))  # to the most similar of those that were taken
        scores, left = row[chosen].astype(np.float64), np.ones(len(chosen), dtype=bool)
        for place in range(len(chosen)):
            i = int(np.argmax(np.where(left, trade * scores - (1 - trade) * likeness, -np.inf)))
            left[i] = False
            likeness = np.maximum(likeness, cosines[i])
            row[chosen[i]] = 1 + len(chosen) - place
    return first


def without_near_duplicates(m: Matrices, *, likeness: float = 0.95, among: int = 50) -> Array:
    """Of the best passages, those left out whose cosine to a better one is at least so high."""
    first = base(m)
    for row, chosen in zip(first, best(first, among), strict=True):
        ranked = chosen[np.argsort(-row[chosen], kind="stable")]
        cosines = np.tril(m.corpus.vectors[ranked] @ m.corpus.vectors[ranked].T, k=-1)
        row[ranked[(cosines >= likeness).any(axis=1)]] = -1
    return first


METHODS = {
    method.name: method
    for method in (
        Method("fts5", "BM25 as FTS5 has it (k1 1.2, b 0.75)", fts5_bm25, is_wrong_turn=False),
        Method("rrf", "reciprocal ranks, 60", reciprocal_ranks, is_wrong_turn=False),
        Method("min-max", "half and half, min-max", min_max, is_wrong_turn=False),
        Method("z-scores", "half and half, z-scores", z_scores, is_wrong_turn=False),
        Method("base", "half and half, as fused, over all passages", base, is_wrong_turn=False),
        Method("feedback", "dense feedback, 3 passages", dense_feedback),
        Method("rm3", "RM3, 20 words of 10 passages", rm3),
        Method("proximity", "neighbouring words near each other", proximity),
        Method("document-bm25", "BM25 of the whole document beside", document_bm25),
        Method("smoothing", "smoothed over the nearest passages", smoothing),
        Method("sentence", "best sentence, embedded by itself", sentence_beside),
        Method("pooled", "best sentence, pooled from tokens", sentence_pooled),
        Method("centred", "vectors centred", centred),
        Method("keywords", "keywords alone beside the query", keywords_beside),
        Method("late-whole", "late interaction, all tokens in 32 bits", late_whole),
        Method("chunks-128", "chunks of 128 tokens", base, max_tokens=128),
        Method("chunks-256", "chunks of 256 tokens", base, max_tokens=256),
        Method("mmr", "MMR, 0.7 over the best 50", diversified),
        Method("near-duplicates", "one of several near-duplicates", without_near_duplicates),
    )
}


# Weights that are learned


@dataclass(frozen=True)
class Examples:
    """The candidates of one set's queries as a model sees them."""

    passages: NDArray[np.int64]  # (queries, candidates)
    features: NDArray[np.float64]  # (queries, candidates, features)
    is_relevant: NDArray[np.bool_]  # (queries, candidates)


def examples(m: Matrices, *, among: int = 100) -> Examples:
    """Cosine and BM25 share of the best by `base`, by themselves and times what the query looks like.

    That is, each about 0 in the mean: how many words it looks for, its highest cosine and share, and how widely its
    cosines are spread.
    """
    chosen = best(base(m), among)
    sides = np.stack([np.take_along_axis(side, chosen, axis=1) for side in (m.cosines, m.shares)], axis=-1)
    of_queries = np.stack(
        [
            np.log([max(len(terms), 1) for terms in m.terms]) - 2,
            m.cosines.max(axis=1) - 0.6,
            m.shares.max(axis=1) - 0.6,
            m.cosines.std(axis=1) * 10 - 1,
        ],
        axis=-1,
    )
    crossed = sides[:, :, :, None] * of_queries[:, None, None, :]
    features = np.concatenate([sides, crossed.reshape(*chosen.shape, -1)], axis=-1).astype(np.float64)
    return Examples(chosen, features, np.take_along_axis(m.relevant(), chosen, axis=1))


def learn(sets: Sequence[Examples]) -> NDArray[np.float64]:
    """Weights (features,) of a logistic regression that tells a query's relevant candidates from its others.

    Features are taken from their mean over the query, so that only what orders its candidates counts. Each set, each of
    its queries and both kinds of candidates weigh the same.
    """
    from sklearn.linear_model import LogisticRegression

    rows, labels, weights = [], [], []
    for of_set in sets:
        n = len(of_set.features)
        for x, y in zip(of_set.features, of_set.is_relevant, strict=True):
            if y.any() and not y.all():
                rows.append(x - x.mean(axis=0))
                labels.append(y)
                weights.append(np.where(y, 1 / y.sum(), 1 / (~y).sum()) * 1000 / n)
    model = LogisticRegression(max_iter=2000)
    model.fit(np.concatenate(rows), np.concatenate(labels), sample_weight=np.concatenate(weights))
    return np.asarray(model.coef_[0])


def learned_scores(found: Examples, weights: NDArray[np.float64], *, n_passages: int) -> Array:
    """The candidates by their learned scores; no others are found."""
    scores = np.full((len(found.passages), n_passages), -np.inf, dtype=np.float32)
    np.put_along_axis(scores, found.passages, (found.features @ weights).astype(np.float32), axis=1)
    return scores
