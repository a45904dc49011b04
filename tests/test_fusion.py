"""Fused scores are worked out by hand, stay in [0, 1], and never fall when a side's score rises."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.fusion import blend, fuse, highest

COSINES = st.dictionaries(st.integers(0, 12), st.floats(-1.001, 1.001), max_size=8)
BM25 = st.dictionaries(st.integers(0, 12), st.floats(0, 40), max_size=8)
CEILINGS = st.floats(0.1, 40)
WEIGHTS = st.floats(0, 1)


def test_each_side_is_held_against_the_highest_score_there_can_be() -> None:
    dense = {1: 1.0, 2: 0.5, 3: 0.25}
    sparse = {2: 12.0, 4: 4.0, 3: 8.0}
    assert fuse(dense, sparse, ceiling=16.0, weight=0.25) == {
        1: 0.25,
        2: 0.125 + 0.75 * 0.75,
        3: 0.0625 + 0.75 * 0.5,
        4: 0.75 * 0.25,
    }


def test_one_side_alone_counts_with_its_share() -> None:
    assert fuse({}, {}, ceiling=0.0) == {}
    assert fuse({1: 0.75, 2: 0.25}, {}, ceiling=0.0, weight=0.5) == {1: 0.375, 2: 0.125}
    assert fuse({}, {1: 3.0}, ceiling=4.0, weight=0.5) == {1: 0.375}


def test_equal_scores_stay_equal() -> None:
    assert fuse({1: 0.5, 2: 0.5}, {1: 2.0, 2: 2.0}, ceiling=2.0, weight=0.5) == {1: 0.75, 2: 0.75}


def test_a_cosine_that_points_away_counts_as_none_and_rounding_never_lifts_one_above_1() -> None:
    assert fuse({1: -0.3, 2: 1.0000001}, {}, ceiling=0.0, weight=1) == {1: 0.0, 2: 1.0}


def test_a_chance_word_speaks_less_loudly_than_all_words() -> None:
    fused = fuse({1: 0.5, 2: 0.25}, {2: 1.0}, ceiling=10.0, weight=0.5)
    assert max(fused, key=fused.__getitem__) == 1


@given(dense=COSINES, sparse=BM25, ceiling=CEILINGS, weight=WEIGHTS)
def test_every_chunk_of_either_side_gets_a_score_from_0_to_1(
    dense: dict[int, float], sparse: dict[int, float], ceiling: float, weight: float
) -> None:
    fused = fuse(dense, sparse, ceiling=ceiling, weight=weight)
    assert fused.keys() == dense.keys() | sparse.keys()
    assert all(0 <= score <= 1 for score in fused.values())


@given(dense=COSINES, sparse=BM25)
def test_at_weight_1_and_0_one_side_says_all(dense: dict[int, float], sparse: dict[int, float]) -> None:
    ids = dense.keys() | sparse.keys()
    by_meaning = fuse(dense, sparse, ceiling=40, weight=1)
    assert by_meaning == {i: min(max(dense.get(i, 0.0), 0.0), 1.0) for i in ids}
    by_words = fuse(dense, sparse, ceiling=40, weight=0)
    assert by_words == {i: sparse.get(i, 0.0) / 40 for i in ids}


@given(dense=COSINES, sparse=BM25, ceiling=CEILINGS, weight=WEIGHTS, rise=st.floats(0, 1), data=st.data())
def test_a_chunk_never_falls_when_its_score_rises_and_no_other_moves(
    dense: dict[int, float],
    sparse: dict[int, float],
    ceiling: float,
    weight: float,
    rise: float,
    data: st.DataObject,
) -> None:
    for side in (dense, sparse):
        if side:
            before = fuse(dense, sparse, ceiling=ceiling, weight=weight)
            i = data.draw(st.sampled_from(sorted(side)))
            side[i] += rise
            after = fuse(dense, sparse, ceiling=ceiling, weight=weight)
            assert after.pop(i) >= before.pop(i)
            assert after == before


@pytest.mark.parametrize("weight", [0.0, 0.1, 0.3, 0.5, 0.7, 1.0])
def test_what_is_perfect_on_both_sides_gets_exactly_1(weight: float) -> None:
    assert fuse({1: 1.0, 2: 0.2}, {1: 7.0, 3: 1.0}, ceiling=7.0, weight=weight)[1] == 1.0


SCORES = st.dictionaries(st.integers(0, 40), st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0]), max_size=30)


@given(scores=SCORES, n=st.integers(1, 8))
def test_the_highest_are_whole_groups_of_equal_scores(scores: dict[int, float], n: int) -> None:
    kept = highest(scores, n)
    levels = sorted(set(scores.values()), reverse=True)[:n]
    assert sorted(kept) == sorted(i for i, score in scores.items() if score in levels)
    assert [scores[i] for i in kept] == sorted((scores[i] for i in kept), reverse=True)


def test_late_interaction_has_a_third_of_the_say() -> None:
    scores = {1: 0.9, 2: 0.6, 3: 0.6, 4: 0.3}
    found = blend(scores, {1: 0.3, 2: 0.9}, among=[1, 2, 3])
    assert found == pytest.approx({1: 0.7, 2: 0.7, 3: 0.6, 4: 0.3})  # 3: as the others in the mean, 4: as the worst
    assert blend(scores, {}, among=[1, 2, 3]) == scores


@given(scores=SCORES, n=st.integers(1, 8), data=st.data())
def test_none_of_the_others_overtakes_one_of_the_best(scores: dict[int, float], n: int, data: st.DataObject) -> None:
    best = highest(scores, n)
    known = data.draw(st.lists(st.sampled_from(best), unique=True)) if best else []
    found = blend(scores, {i: data.draw(st.floats(0, 1)) for i in known}, among=best)
    assert found.keys() == scores.keys()
    assert all(0 <= score <= 1 for score in found.values())
    others = [found[i] for i in scores if i not in best]
    assert not others or not best or max(others) <= min(found[i] for i in best) + 1e-12
