"""What an answer takes along with a sentence: its antecedent, the same fact from elsewhere, the other steps."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.composing import is_same_fact, lead_of, needs_lead, steps_around
from rag.questions import asks_how_to

STEPS = """Before you begin, charge the battery.

1. Open the lid. Mind the spring.
2. Take out the old filter
   and throw it away.

   It is household waste.
3. Put in the new one.

Filters are sold everywhere.

1. Another list
2. with two items
"""


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("He founded it in 1901.", True),
        ("It has nine rooms.", True),
        ("However, the tower fell.", True),
        ("*This* was repaired.", True),
        ("It is known that geese fly.", False),
        ("This guide explains filters.", False),
        ("The tower has nine rooms.", False),
        ("Italy has nine lakes.", False),
        ("Thisbe loved Pyramus.", False),
    ],
)
def test_a_sentence_that_speaks_of_something_before_it_is_known(text: str, needs: bool) -> None:
    assert needs_lead(text) == needs


def test_the_lead_is_the_sentence_before_in_the_same_paragraph() -> None:
    text = "Anna built a mill. She sold it.\n\nIt burned down."
    start, end = lead_of(text, text.index("She")) or (0, 0)
    assert text[start:end] == "Anna built a mill."
    assert lead_of(text, 0) is None
    assert lead_of(text, text.index("It burned")) is None
    assert lead_of(text, 3) is None  # no sentence begins there


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("The bridge was built in 1840.", "The bridge was built in 1840.", True),
        ("The bridge was built in 1840.", "In 1840 the bridge was built.", True),
        ("The bridge was built in 1840.", "The bridge was built in 1841.", False),
        ("The old bridge was built by Anna Keller.", "The old bridge was built by Berta Keller.", False),
        ("The bridge was damaged by a flood.", "The bridge was not damaged by a flood.", False),
        ("The bridge was built in 1840.", "The mill burned down in 1840.", False),
        ("Switzerland won nine medals in Sochi.", "Norway won nine medals in Sochi.", False),
        ("Alice beat Bob in the final.", "Bob beat Alice in the final.", False),
        ("It was -5 degrees.", "It was 5 degrees.", False),
        ("The train runs from Bern to Basel.", "The train runs to Bern from Basel.", False),
        ("A bridge was built.", "The bridge was built.", True),
        ("It came in first place.", "It came in second place.", False),
        ("", "", False),
    ],
)
def test_the_same_fact_has_the_same_words_numbers_names_and_denials(one: str, other: str, same: bool) -> None:
    assert is_same_fact(one, other) == is_same_fact(other, one) == same


def test_the_steps_of_a_numbered_list_are_given_in_order() -> None:
    for word in ("Mind", "Take", "Put"):
        steps = [STEPS[start:end] for start, end in steps_around(STEPS, STEPS.index(word))]
        assert [" ".join(step.split())[:20] for step in steps] == [
            "Open the lid. Mind t", "Take out the old fil", "Put in the new one.",
        ]  # fmt: skip
        assert "household" in steps[1]
        assert "everywhere" not in steps[2]
    assert len(steps_around(STEPS, STEPS.index("with two"))) == 2
    nested = "1. Alpha\n   1. small\n   2. tiny\n2. Beta\n3. Gamma"
    assert [nested[a:b][:5] for a, b in steps_around(nested, nested.index("Beta"))] == ["Alpha", "Beta", "Gamma"]
    assert [nested[a:b] for a, b in steps_around(nested, nested.index("tiny"))] == ["small", "tiny"]
    long = "\n".join(f"{n}. step number {n}" for n in range(1, 31))
    given = [long[a:b] for a, b in steps_around(long, long.index("number 28"))]
    assert len(given) == 12
    assert "step number 28" in given
    assert steps_around("1. \n2. b\n3. c", 7) == [(7, 8), (12, 13)]
    for word in ("Before", "Filters are"):
        assert steps_around(STEPS, STEPS.index(word)) == []
    assert steps_around("1. alone", 3) == []


@given(st.text(alphabet="1234. \nabAB)", max_size=80), st.integers(0, 80))
def test_steps_of_any_text_are_in_order_and_lie_in_it(text: str, start: int) -> None:
    steps = list(steps_around(text, start))
    assert all(0 <= a <= b <= len(text) for a, b in steps)
    assert steps == sorted(steps)


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("How do I change the filter?", True),
        ("how to install it", True),
        ("What are the steps to take?", True),
        ("How many filters are there?", False),
        ("How does the filter work?", False),
        ("Who changed it?", False),
    ],
)
def test_questions_for_steps_are_known(question: str, asks: bool) -> None:
    assert asks_how_to(question) == asks
