"""Intervals and p are those worked out by trying everything, and two systems are treated alike."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.significance import Comparison, compare_pairs, mean_interval

measures = st.integers(0, 8).map(lambda eighths: eighths / 8)  # as coarse as real ones, so that some are equal
pairs = st.lists(st.tuples(measures, measures), min_size=1, max_size=30)


def test_the_interval_of_few_values_is_that_of_all_ways_to_draw_them() -> None:
    values = [0.0, 0.2, 0.3, 0.9, 1.0]
    means = [float(np.mean(drawn)) for drawn in product(values, repeat=len(values))]
    expected = np.percentile(means, [2.5, 97.5])
    assert mean_interval(values) == pytest.approx(tuple(expected), abs=0.02)


def test_one_value_and_none_have_no_interval() -> None:
    assert mean_interval([0.5]) is None
    assert mean_interval([]) is None


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval([0.25] * 4) == (0.25, 0.25)


def test_p_of_few_queries_is_that_of_all_exchanges() -> None:
    first, second = [0.1, 0.2, 0.5, 0.4, 0.0], [0.3, 0.1, 0.9, 0.8, 0.5]
    differences = np.array(second) - np.array(first)
    means = [float(np.mean(differences * signs)) for signs in product([-1, 1], repeat=5)]
    as_far = sum(abs(mean) >= abs(float(np.mean(differences))) - 1e-12 for mean in means)
    assert as_far == 4  # of 32: all as they are, or all but the one that is lost; and their mirror images
    assert compare_pairs(first, second).p == pytest.approx(4 / 32)


def test_a_comparison_counts_queries_and_takes_the_mean() -> None:
    found = compare_pairs([0.5, 0.5, 0.5, 0.5], [1.0, 0.25, 0.5, 0.5 + 1e-12])
    assert (found.better, found.worse, found.same) == (1, 1, 2)  # what adding up leaves over is no difference
    assert found.difference == pytest.approx(0.0625)


def test_many_queries_that_all_gain_are_more_than_chance() -> None:
    found = compare_pairs([0.25] * 40, [0.5] * 40)
    assert found.p == pytest.approx(2 / 10_000)  # the least that 9,999 exchanges can show
    assert (found.difference, found.interval) == (0.25, (0.25, 0.25))


def test_of_one_query_nothing_can_be_said() -> None:
    assert compare_pairs([0.0], [1.0]) == Comparison(1.0, None, 1.0, better=1, worse=0, same=0)


@given(st.lists(measures, min_size=2, max_size=40))
@settings(deadline=None)
def test_an_interval_holds_the_mean_and_lies_among_the_values(values: list[float]) -> None:
    interval = mean_interval(values)
    assert interval is not None
    low, high = interval
    assert min(values) - 1e-9 <= low <= np.mean(values) + 1e-9
    assert np.mean(values) - 1e-9 <= high <= max(values) + 1e-9
    assert mean_interval(values) == interval


@given(st.lists(measures, min_size=1, max_size=40))
@settings(deadline=None)
def test_a_system_against_itself_differs_in_nothing(values: list[float]) -> None:
    found = compare_pairs(values, values)
    interval = (0.0, 0.0) if len(values) > 1 else None
    assert found == Comparison(0.0, interval, 1.0, better=0, worse=0, same=len(values))


@given(pairs)
@settings(deadline=None)
def test_the_other_way_round_all_signs_change_and_chance_does_not(values: list[tuple[float, float]]) -> None:
    first, second = ([pair[side] for pair in values] for side in (0, 1))
    there, back = compare_pairs(first, second), compare_pairs(second, first)
    assert back.difference == pytest.approx(-there.difference)
    assert (back.better, back.worse, back.same) == (there.worse, there.better, there.same)
    assert back.p == pytest.approx(there.p)
    assert 0 < there.p <= 1
    if there.interval is not None:
        assert back.interval == pytest.approx((-there.interval[1], -there.interval[0]))
