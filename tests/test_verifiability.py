"""Citation recall and precision are those of Liu et al. (2023), with a checker in the place of people."""

from __future__ import annotations

from collections.abc import Sequence

from rag.support import Support
from rag.types import Answer, Citation, Hit, Sentence
from rag.verifiability import Verifiability, verifiability
from tests.fakes import WordChecker


def answer(*sentences: Sentence, quotes: tuple[str, ...]) -> Answer:
    citations = tuple(
        Citation(n, "geese.md", "Geese", None, None, 0, len(quote), quote) for n, quote in enumerate(quotes, 1)
    )
    text = " ".join(sentence.text for sentence in sentences)
    return Answer("Where?", text, sentences, citations, abstained=False, confidence=0.9, generator="w", nearest=())


def test_a_sentence_is_held_by_what_it_cites_and_by_nothing_else() -> None:
    quotes = ("The goose flies south.", "The fox sleeps all day.")
    flies, sleeps = "The goose flies south.", "The fox sleeps all day."
    own = answer(Sentence(flies, (1,), True), Sentence(sleeps, (2,), True), quotes=quotes)
    assert verifiability(own, WordChecker()) == Verifiability((True, True), (True, True))
    swapped = answer(Sentence(flies, (2,), True), Sentence(sleeps, (1,), True), quotes=quotes)
    assert verifiability(swapped, WordChecker()) == Verifiability((False, False), (False, False))


def test_a_citation_that_adds_nothing_is_not_precise() -> None:
    flies = Sentence("The goose flies south.", (1, 2), True)
    said = answer(flies, quotes=("The goose flies south.", "The fox sleeps all day."))
    assert verifiability(said, WordChecker()) == Verifiability((True,), (True, False))


class Together:
    """Two quotes hold what neither holds alone."""

    def check(self, sentences: Sequence[str], passages: Sequence[Hit]) -> list[Support]:
        held = {word for hit in passages for word in hit.chunk.text.split()}
        return [Support((), float(set(text.split()) <= held), ()) for text in sentences]


def test_citations_that_hold_a_sentence_only_together_are_precise_and_a_third_is_not() -> None:
    both = Sentence("goose fox", (1, 2, 3), True)
    said = answer(both, quotes=("goose", "fox", "owl"))
    assert verifiability(said, Together()) == Verifiability((True,), (True, True, False))


def test_a_sentence_without_citations_is_not_held_and_silence_says_nothing() -> None:
    assert verifiability(answer(Sentence("Geese fly.", (), False), quotes=()), WordChecker()) == Verifiability(
        (False,), ()
    )
    assert verifiability(answer(quotes=()), WordChecker()) == Verifiability((), ())


def test_title_and_headings_of_a_quote_are_known_to_the_judge() -> None:
    said = answer(Sentence("In Geese 1 is told.", (1,), True), quotes=("Told in 1.",))
    assert verifiability(said, WordChecker()).sentences == (True,)
