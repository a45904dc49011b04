"""What a sentence claims: its numbers by value, its names, and the words that it denies."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.claims import names, negated_words, numbers


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("It opened in 1987 with 1,250 seats.", ["1987", "1250"]),
        ("a third of 2.50 metres", ["3", "2.50"]),
        ("twenty-five of one hundred and fifty, and thirty thousand", ["25", "150", "30000"]),
        ("3.5 million of two million", ["3500000", "2000000"]),
        ("the first two years of one third, twenty\nthree", ["2", "3", "20", "3"]),
        ("the 3rd of 40% and 12th", ["3", "40", "12"]),
        ("one of them came first", []),
        ("two dogs, one hundred cats", ["2", "100"]),
        ("version 2026.4.10, part A4 and x86", []),
        ("none", []),
    ],
)
def test_numbers_are_told_by_value_in_figures_or_words(text: str, values: list[str]) -> None:
    assert sorted(n.value for n in numbers(text)) == sorted(Decimal(value) for value in values)


@given(st.integers(0, 10**9))
def test_a_number_has_one_value_however_it_is_grouped(n: int) -> None:
    for form in (str(n), f"{n:,}"):
        assert [number.value for number in numbers(f"about {form} people")] == [n]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The goose met Anna in Paris. Later they flew.", ["Anna", "Paris"]),
        ("word2vec beats GPT-3 there", ["word2vec", "GPT-3"]),
        ("rebuilt by Dr. Smith and J. Jones, the 3rd in 5km", ["Dr", "Smith", "J", "Jones"]),
        ("McDonald's opened. However, it closed.", ["McDonald"]),
        ('He said: "Nobody came", and I left.', []),
        ("nothing at all", []),
    ],
)
def test_names_are_capitals_that_do_not_only_begin_a_sentence_and_words_with_digits(
    text: str, found: list[str]
) -> None:
    assert names(text) == found


@pytest.mark.parametrize(
    ("text", "denied"),
    [
        ("The lake is not frozen in winter.", {"frozen", "winter"}),
        ("It doesn't rain.", {"rain"}),
        ("He came without his dog, and stayed.", {"dog"}),
        ("She was never elected but stayed there.", {"elect"}),
        ("All is well.", set()),
    ],
)
def test_what_is_denied_is_what_follows_in_the_clause(text: str, denied: set[str]) -> None:
    assert negated_words(text) == denied
