"""What the Ask page shows, as values: numbers, short answers, what came near, and what an answer says of itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import rag
from ui.answering import Progress
from ui.turns import near_passages, short_span, turns

CITED = rag.Citation(1, "terms.pdf", "Terms", 4, "Terms > Refunds > Deadline", 0, 7, "30\ndays")


def answer(*sentences: rag.Sentence, **changes: Any) -> rag.Answer:
    return replace(rag.Answer("When?", "", sentences, (CITED,), False, 0.9, "fake", ()), **changes)


def view(*answers: rag.Answer, **options: Any) -> Any:
    return turns(answers, index="terms", **options).view["turns"]


def hit(source: str) -> rag.Hit:
    return rag.Hit(1, rag.Chunk(source, "Thirty days.", 0, 12), 1.0, 1)


def test_a_sentence_without_a_source_is_counted_and_said() -> None:
    [turn] = view(answer(rag.Sentence("Soon.", (1,), True), rag.Sentence("Never.", (), False)))
    assert turn["note"] == "1 of 2 sentences has a source."
    assert [sentence["supported"] for sentence in turn["sentences"]] == [True, False]


def test_a_source_is_named_by_page_and_headings_without_the_title() -> None:
    [turn] = view(answer(rag.Sentence("Soon.", (1,), True)))
    assert turn["sources"] == [
        {
            "number": 1,
            "source": "terms.pdf",
            "place": "page 4 · Refunds › Deadline",
            "label": "terms.pdf, page 4 · Refunds › Deadline",
            "quote": "30 days",
        }
    ]


def test_numbers_go_on_through_the_thread_the_part_under_way_included() -> None:
    other = replace(CITED, source="faq.md")
    running = Progress(
        "And now?",
        "writing",
        passages=(hit("faq.md"), hit("terms.pdf")),
        sentences=(rag.Sentence("So.", (1, 2), True),),
        citations=(other, replace(CITED, marker=2)),
    )
    drawn = turns([answer(rag.Sentence("Soon.", (1,), True))], running, index="terms")
    views: Any = drawn.view["turns"]
    assert views[1]["sentences"][0]["markers"] == [2, 1]
    assert views[1]["status"] == "Reading 2 passages"
    assert [passage.source for passage in drawn.passages] == ["terms.pdf", "faq.md"]


@pytest.mark.parametrize(
    ("state", "words"),
    [("loading", "Loading the reading model (once, about 3 s)"), ("searching", "Looking for passages")],
)
def test_what_is_happening_is_said_in_words(state: Any, words: str) -> None:
    [turn] = view(now=Progress("When?", state))
    assert (turn["kind"], turn["status"], turn["sentences"]) == ("running", words, [])


def test_where_nothing_answers_what_comes_near_is_the_first_passage_and_search_is_offered() -> None:
    empty = answer(
        abstained=True, text="Not in these documents.", citations=(), near_miss=CITED, nearest=(hit("a.md"),)
    )
    [turn] = view(empty)
    assert (turn["kind"], turn["text"]) == ("abstained", "Not in these documents.")
    assert (turn["near"]["number"], turn["near"]["quote"]) == (1, "30 days")
    assert [(source["number"], source["source"]) for source in turn["sources"]] == [(2, "a.md")]
    assert [link["href"] for link in turn["links"]] == ["./search?index=terms&query=When%3F", "./library?index=terms"]
    assert [passage.source for passage in near_passages(empty)] == ["terms.pdf", "a.md"]


def test_a_question_whose_quotes_no_passage_holds_says_so() -> None:
    [turn] = view(answer(abstained=True, question='cats "asleep at dusk"', citations=()))
    assert turn["note"] == "No passage holds “asleep at dusk” as it is written: ask without the quotes or hyphens."
    assert turn["sources"] == []


def test_a_link_asks_what_stands_by_itself() -> None:
    [turn] = view(answer(rag.Sentence("Soon.", (1,), True), rewritten="When is it & who?"))
    assert turn["link"] == "./?index=terms&q=When+is+it+%26+who%3F"


def test_only_where_another_generator_answered_it_can_be_tried_again() -> None:
    one = answer(rag.Sentence("Soon.", (1,), True))
    assert "again" not in view(one, generator="fake")[0]
    assert "again" not in view(one)[0]
    assert [turn.get("again") for turn in view(one, one, generator="openai:m@http://h/v1")] == [None, "Try again"]


# The short answer


QUOTE = "They must give **notice** of\n`30 days`, says [the law](law.md)."
SAID = "They must give notice of 30 days, says the law."


def short(text: str, quote: str, said: str, *, marker: int = 1) -> tuple[int, int] | None:
    at = quote.index(text) + 100
    found = rag.ShortAnswer(text, marker, at, at + len(text))
    cited = replace(CITED, start=100, end=100 + len(quote), quote=quote)
    return short_span(answer(citations=(cited,), short_answer=found), rag.Sentence(said, (1,), True))


@pytest.mark.parametrize(
    ("text", "shown"), [("30 days", "30 days"), ("notice", "notice"), ("give **notice**", "give notice")]
)
def test_the_short_answer_is_marked_where_the_quote_has_it(text: str, shown: str) -> None:
    span = short(text, QUOTE, SAID)
    assert span is not None
    assert SAID[span[0] : span[1]] == shown


def test_of_words_that_come_twice_those_that_were_meant_are_marked() -> None:
    quote = "Two of two\nare two."
    cited = replace(CITED, start=0, end=len(quote), quote=quote)
    found = rag.ShortAnswer("two", 1, 15, 18)
    sentence = rag.Sentence("Two of two are two.", (1,), True)
    assert short_span(answer(citations=(cited,), short_answer=found), sentence) == (15, 18)


def test_the_short_answer_is_not_looked_for_in_other_words_or_other_sentences() -> None:
    assert short("30 days", QUOTE, "Notice takes 30 days.") is None
    assert short("30 days", QUOTE, SAID, marker=2) is None
    assert short_span(answer(), rag.Sentence(SAID, (1,), True)) is None


def test_a_short_answer_outside_of_its_quote_is_not_marked() -> None:
    found = rag.ShortAnswer("30", 1, 90, 92)
    cited = replace(CITED, start=100, end=100 + len(QUOTE), quote=QUOTE)
    assert short_span(answer(citations=(cited,), short_answer=found), rag.Sentence(SAID, (1,), True)) is None
