"""A follow-up question is made to stand by itself, and one that stands by itself is left alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.conversation import Turn, self_contained
from rag.types import Answer, Citation, Sentence, ShortAnswer


def turn(question: str, said: str = "", *, short: str | None = None, section: str | None = None) -> Turn:
    citation = Citation(1, "a.md", "A", None, section, 0, len(said), said)
    return Turn(
        question,
        Answer(
            question,
            said,
            (Sentence(said, (1,), True),),
            (citation,),
            abstained=not said,
            confidence=1.0,
            generator="x",
            nearest=(),
            short_answer=ShortAnswer(short, 1, said.find(short), said.find(short) + len(short)) if short else None,
        ),
    )


WORD2VEC = turn("Who published word2vec?", "Tomas Mikolov published word2vec in 2013.", short="Tomas Mikolov")
SAMPLING = turn("What is negative sampling?", "Negative sampling draws wrong words.", section="Negative sampling")
SUMMER = turn("How warm is the lake in summer?", "The lake has 24 degrees in summer.")


@pytest.mark.parametrize(
    ("question", "last", "asked"),
    [
        ("When was it published?", WORD2VEC, "When was word2vec published?"),
        ("Where does he work?", WORD2VEC, "Where does Tomas Mikolov work?"),
        (
            "Where was she born?",
            turn("Who wrote Emma?", "In 1815 Jane Austen wrote Emma."),
            "Where was Jane Austen born?",
        ),
        ("Where was he born?", turn("Who fed the geese?", "Nobody did."), "Where was he born?"),
        ("What is his employer?", WORD2VEC, "What is Tomas Mikolov's employer?"),
        ("How fast is it?", SAMPLING, "How fast is negative sampling?"),
        ("What are its drawbacks?", SAMPLING, "What are negative sampling's drawbacks?"),
        ("Why does that work?", SAMPLING, "Why does negative sampling work?"),
        (
            "How fast are they?",
            turn("How many hours do wild cats sleep?", "Wild cats sleep."),
            "How fast are wild cats?",
        ),
        ("And in winter?", SUMMER, "How warm is the lake in winter?"),
        ("What about GloVe?", WORD2VEC, "Who published GloVe?"),
        ("And fastText?", WORD2VEC, "Who published fastText?"),
        ("What about hierarchical softmax?", SAMPLING, "What is hierarchical softmax?"),
        ("Why?", WORD2VEC, "Why? – Who published word2vec?"),
        ("and since when?", WORD2VEC, "Since when? – Who published word2vec?"),
    ],
)
def test_what_points_back_is_put_in_its_place(question: str, last: Turn, asked: str) -> None:
    assert self_contained(question, [last]) == asked


@pytest.mark.parametrize(
    "question",
    [
        "Who published GloVe?",
        "Is it known that geese fly?",
        "Does Rust free memory when it can?",
        "What is the capital of Mongolia?",
        "I think that geese fly",
        "How do I install that package?",
        "",
        "???",
    ],
)
def test_a_question_that_stands_by_itself_is_left_alone(question: str) -> None:
    assert self_contained(question, [WORD2VEC]) == question
    assert self_contained(question, []) == question


def test_what_is_meant_may_stand_further_back() -> None:
    plain = turn("Why is that so?", "Nobody knows.")
    assert self_contained("When was it published?", [WORD2VEC, plain]) in {
        "When was word2vec published?", "When was that published?", "When was it published?",
    }  # fmt: skip
    assert self_contained(
        "Where was she born?", [turn("Who wrote Emma?", "Jane Austen did.", short="Jane Austen"), SUMMER]
    ) == ("Where was Jane Austen born?")


def test_what_was_answered_is_meant_before_what_was_not() -> None:
    missed = turn("Where did Tomas Mikolov work?")
    assert self_contained("When was it published?", [WORD2VEC, missed]) == "When was word2vec published?"


@given(st.text(max_size=80), st.text(max_size=80), st.text(max_size=80))
def test_any_conversation_gives_a_question(question: str, before: str, said: str) -> None:
    asked = self_contained(question, [turn(before, said)])
    assert bool(asked.strip()) == bool(question.strip())
