"""Fuses scored rankings into one; knows ids, scores and ranks, no models."""

from __future__ import annotations

from collections.abc import Collection, Mapping

# Share of the dense side: the middle of the plateau on questions that nothing is reported on (docs/retrieval.md).
DEFAULT_WEIGHT = 0.5
LATE_SHARE = 1 / 3  # of late interaction: as much as the two sides have each


def fuse(
    dense: Mapping[int, float],
    sparse: Mapping[int, float],
    *,
    ceiling: float,
    weight: float = DEFAULT_WEIGHT,
    waiting: Collection[int] = (),
) -> dict[int, float]:
    """Convex combination of the two sides' scores for one query.

    Each side is divided by the highest score there can be: 1 for a cosine, and for BM25 the sum of the query's term
    weights. Scaled by the best score that was found instead (min-max: Bruch, Gai and Ingber 2023,
    doi:10.1145/3596512), one rare word that matches by chance would count as much as a passage that holds them all;
    scaled so, BM25 speaks as loudly as it has words to speak of. Measured against both min-max and reciprocal rank
    fusion in docs/retrieval.md.

    Args:
        dense: cosine similarity by chunk id; may be empty.
        sparse: BM25 score by chunk id, 0 or more, higher is better; may be empty.
        ceiling: the highest BM25 score that the query allows, above 0 where `sparse` is not empty.
        weight: share of the dense side, in [0, 1].
        waiting: those of the sparse side that have no vector yet. Nothing is known of them on the dense side, which is
            not 0: they are taken to be as near as the others that both sides found, in the mean (or the dense side's).

    Returns:
        A score in [0, 1] for every chunk of either side; one that a side lacks gets 0 from it.
    """
    near = {i: min(max(score, 0.0), 1.0) for i, score in dense.items()}
    if waiting:
        of_both = [near[i] for i in near.keys() & sparse.keys()] or list(near.values())
        near |= dict.fromkeys(waiting, sum(of_both) / len(of_both) if of_both else 0.0)
    exact = {i: min(score / ceiling, 1.0) for i, score in sparse.items()}
    return {i: weight * near.get(i, 0.0) + (1 - weight) * exact.get(i, 0.0) for i in near.keys() | exact.keys()}


def highest(scores: Mapping[int, float], n: int) -> list[int]:
    """The ids of the n highest distinct scores, the highest first; those of one score belong together.

    Copies of a text have one score, and which of them came first would be chance.
    """
    order = sorted(scores, key=lambda i: -scores[i])
    distinct = 0
    for position, i in enumerate(order):
        if position == 0 or scores[i] != scores[order[position - 1]]:
            if distinct == n:
                return order[:position]
            distinct += 1
    return order


def blend(scores: Mapping[int, float], late: Mapping[int, float], *, among: Collection[int]) -> dict[int, float]:
    """The fused scores with what late interaction says of the best of them.

    Args:
        scores: from 0 to 1.
        late: from 0 to 1, of some of the best; without any, the scores stay as they are.
        among: the best; those of them that `late` does not know are taken to match as the others do, in the mean.

    Returns:
        A score in [0, 1] for each; those that are not among the best are taken to match as the worst of them does, so
        that none of them overtakes one.
    """
    if not late:
        return dict(scores)
    mean, worst = sum(late.values()) / len(late), min(late.values())
    best = set(among)
    return {
        i: (1 - LATE_SHARE) * score + LATE_SHARE * (late.get(i, mean) if i in best else worst)
        for i, score in scores.items()
    }
