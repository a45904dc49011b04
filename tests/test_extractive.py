"""The extractive generator says sentences that stand in the passages, the likeliest first, and nothing else."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.generators.extractive import (
    ANSWER_FEATURES,
    SENTENCE_FEATURES,
    Candidate,
    ExtractiveGenerator,
    Weights,
    default_weights,
)
from rag.sentences import plain_text
from rag.types import Chunk, Draft, DraftSentence, Hit, Span
from rag.words import stems, stop_stems
from tests.fakes import EqualWords, HashingEncoder, WordReader

GEESE = "Geese graze on grass near the lake. The goose flies to Egypt in autumn. Foxes sleep in winter."
# The match and three times the coverage, whatever the reader says; confidence is the match of the best sentence.


def answered_by(bias: float = 0.0, **features: float) -> tuple[float, ...]:
    return (bias, *(features.get(name, 0.0) for name in ANSWER_FEATURES))


def chosen_by(**features: float) -> tuple[float, ...]:
    return tuple(features.get(name, 0.0) for name in SENTENCE_FEATURES)


WEIGHTS = Weights("", chosen_by(match=1.0, coverage=3.0), answered_by(match=1.0))


def passage(text: str, *, doc_id: str = "a.txt", start: int = 0, context: str = "") -> Hit:
    return Hit(1, Chunk(doc_id, text, start, start + len(text), context=context), score=1.0, rank=1)


def generator(*, max_sentences: int = 3, weights: Weights = WEIGHTS, unknown: str = "") -> ExtractiveGenerator:
    vocabulary = EqualWords(*unknown.split())
    return ExtractiveGenerator(
        HashingEncoder(), vocabulary, reader=WordReader(), max_sentences=max_sentences, weights=weights
    )


def of_sentence(candidate: Candidate) -> dict[str, float]:
    return dict(zip(SENTENCE_FEATURES, candidate.features, strict=False))  # the last is the reader's


def of_answer(candidate: Candidate) -> dict[str, float]:
    return dict(zip(ANSWER_FEATURES, candidate.answered, strict=False))  # the rest is the reader's


def test_the_sentence_with_the_words_of_the_question_comes_first() -> None:
    draft = generator().generate("Where does the goose fly in autumn?", [passage(GEESE, start=100)])
    assert draft.sentences[0] == DraftSentence("The goose flies to Egypt in autumn.", (Span(0, 136, 171),))


def test_sentences_of_several_passages_are_ordered_by_their_odds() -> None:
    passages = [
        passage("Winter is a cold time here. The river freezes hard in winter.", doc_id="a"),
        passage("When winter comes the river freezes and boats stay home.", doc_id="b", start=7),
    ]
    found = generator().candidates("river freezes boats", passages)
    assert [round(of_sentence(candidate)["coverage"], 3) for candidate in found] == [0, 0.667, 1]
    draft = generator(max_sentences=2).generate("river freezes boats", passages)
    assert [sentence.spans for sentence in draft.sentences] == [(Span(1, 7, 63),), (Span(0, 28, 61),)]


def test_no_more_sentences_than_asked_for_are_said() -> None:
    text = "The goose is grey today. The goose is white today. The goose is brown today. The goose is black today."
    for n in (1, 2, 3, 4, 9):
        assert len(generator(max_sentences=n).generate("goose", [passage(text)]).sentences) == min(n, 4)


def test_how_sure_it_is_does_not_depend_on_how_much_it_says() -> None:
    passages = [passage("Winter is a cold time here. The river freezes hard in winter. Boats stay at home.")]
    sure = {generator(max_sentences=n).generate("river freezes boats", passages).confidence for n in (1, 2, 3)}
    assert len(sure) == 1


def test_a_sentence_that_is_far_less_likely_than_the_first_is_left_out() -> None:
    draft = generator().generate("goose flies to egypt in autumn", [passage(GEESE)])
    assert [sentence.text for sentence in draft.answer or ()] == ["The goose flies to Egypt in autumn."]
    assert len(draft.sentences) == 3  # they are only not said


def test_a_sentence_that_stands_in_two_passages_is_said_once() -> None:
    passages = [passage("The goose is **grey** today."), passage("the goose is grey today.", doc_id="b.txt")]
    draft = generator().generate("goose", passages)
    assert draft.sentences == (DraftSentence("The goose is grey today.", (Span(0, 0, 28), Span(1, 0, 24))),)


def test_the_confidence_is_the_second_regression_of_the_best_sentence() -> None:
    made = generator()
    best = max(made.candidates("goose", [passage(GEESE)]), key=lambda candidate: of_sentence(candidate)["coverage"])
    match = of_answer(best)["match"]
    assert match == pytest.approx(1)  # the one word of the question stands in the sentence
    assert made.generate("goose", [passage(GEESE)]).confidence == pytest.approx(1 / (1 + math.exp(-match)))


@pytest.mark.parametrize(("bias", "confidence"), [(-1000.0, 0.0), (0.0, 0.5), (1000.0, 1.0)])
def test_the_confidence_stays_within_0_and_1(bias: float, confidence: float) -> None:
    weights = replace(WEIGHTS, answered=answered_by(bias))
    assert generator(weights=weights).generate("goose", [passage(GEESE)]).confidence == confidence


@pytest.mark.parametrize("texts", [[], ["# A heading"], ["---", "```\n```"]], ids=["none", "heading", "marks"])
def test_passages_without_a_sentence_give_an_empty_draft(texts: list[str]) -> None:
    assert generator().generate("goose", [passage(text) for text in texts]) == Draft((), 0.0)


def test_a_label_answers_only_where_there_is_nothing_else() -> None:
    draft = generator().generate("goose", [passage("- goose\n- The lake is deep and cold.")])
    assert [sentence.text for sentence in draft.sentences] == ["The lake is deep and cold."]
    draft = generator().generate("goose", [passage("- goose\n- lake")])
    assert draft.sentences[0] == DraftSentence("goose", (Span(0, 2, 7),))


def test_the_features_of_a_sentence_are_as_their_names_say() -> None:
    text = "It opened for the public. The museum opened in 1987."
    first, second = generator().candidates("When was the museum opened?", [passage(text, context="Museum")])
    names = of_sentence(second)
    assert names["coverage"] == 1  # 'museum' and 'opened'
    assert names["coverage_around"] == 0
    assert names["fits_kind"] == 1
    assert (names["passage_rank"], names["passage_score"]) == (1, 1)
    names = of_sentence(first)
    assert (names["coverage"], names["coverage_around"]) == (0.5, 0.5)
    assert names["fits_kind"] == 0


def test_each_token_of_the_question_is_held_against_its_nearest_token_of_the_sentence() -> None:
    first, second = generator().candidates("red apples fall", [passage("Green apples fall down. Red wine is poured.")])
    assert of_sentence(first)["match"] == pytest.approx(2 / 3)
    assert of_sentence(second)["match"] == pytest.approx(1 / 3)
    # The mean of one-hot words: 2 common ones of 3 and 4 words, and 1 of 3 and 4.
    assert of_sentence(first)["similarity"] == pytest.approx(2 / math.sqrt(12))
    assert of_sentence(second)["similarity"] == pytest.approx(1 / math.sqrt(12))


def test_the_tokens_of_title_and_headings_do_not_count_for_the_sentence() -> None:
    (candidate,) = generator().candidates("red apples", [passage("Green pears fall down.", context="Red apples")])
    assert of_sentence(candidate)["match"] == 0
    assert of_sentence(candidate)["coverage_around"] == 1


def test_names_that_the_passage_lacks_and_words_that_the_index_lacks_are_told() -> None:
    (candidate,) = generator(unknown="annoi").candidates(
        "How does Annoy differ from HNSW?", [passage("HNSW is a graph of vectors.")]
    )
    told = of_answer(candidate)
    assert (told["has_names"], told["names_missing"]) == (1, 0.5)
    assert told["known"] == pytest.approx(2 / 3)  # 'differ' and 'hnsw', but not 'annoy'
    assert told["passage_score"] == 1
    (candidate,) = generator().candidates("how does it differ?", [passage("HNSW is a graph of vectors.")])
    assert (of_answer(candidate)["has_names"], of_answer(candidate)["names_missing"]) == (0, 0)


def test_a_question_of_stop_words_alone_is_asked_with_them() -> None:
    (candidate,) = generator().candidates("who are you", [passage("We are who we are.")])
    assert of_sentence(candidate)["coverage"] == pytest.approx(2 / 3)


def test_a_question_without_words_gets_a_draft_with_no_coverage() -> None:
    assert [of_sentence(candidate)["coverage"] for candidate in generator().candidates("???", [passage(GEESE)])] == [
        0
    ] * 3


def test_the_packages_weights_name_every_feature() -> None:
    weights = default_weights()
    assert len(weights.sentence) == len(SENTENCE_FEATURES)
    assert len(weights.answered) == 1 + len(ANSWER_FEATURES)
    assert weights.sentence[SENTENCE_FEATURES.index("match")] > 0
    assert len(weights.estimates) == 100
    assert [row.error for row in weights.estimates] == sorted((row.error for row in weights.estimates), reverse=True)
    assert weights.answered[1 + ANSWER_FEATURES.index("names_missing")] < 0


@given(
    question=st.text(min_size=1, max_size=60),
    texts=st.lists(
        st.one_of(st.text(max_size=200), st.just(GEESE), st.just("- a\n- b **c** d e.\n| x | y |")), max_size=4
    ),
    start=st.integers(0, 50),
)
@settings(max_examples=60, deadline=None)
def test_nothing_is_invented(question: str, texts: list[str], start: int) -> None:
    question, texts = question.replace("\x00", " "), [text.replace("\x00", " ") for text in texts]
    passages = [passage(text, start=start) for text in texts]
    draft = generator(weights=default_weights()).generate(question, passages)
    assert draft.confidence is not None
    assert 0 <= draft.confidence <= 1
    assert len(draft.sentences) <= 4
    assert len({sentence.text.casefold() for sentence in draft.sentences}) == len(draft.sentences)
    for sentence in (*draft.sentences, *(draft.answer or ())):
        for span in sentence.spans:
            chunk = passages[span.passage].chunk
            assert chunk.start <= span.start < span.end <= chunk.end
        first = sentence.spans[0]
        text = passages[first.passage].chunk.text
        assert sentence.text == plain_text(text[first.start - start : first.end - start])


def test_words_are_stemmed_as_the_index_does_and_kept_in_order() -> None:
    assert stems(["The geese were flying, Élan!", "", "flies"]) == [["the", "gees", "were", "fly", "elan"], [], ["fli"]]
    assert stems([]) == []
    assert {"the", "were", "what"} <= stop_stems()


def test_a_reranker_changes_the_order_and_not_how_sure_the_answer_is() -> None:
    weights = replace(WEIGHTS, answered=answered_by(passage_score=5.0))
    plain = replace(passage(GEESE), score=0.4)
    reranked = replace(passage(GEESE), score=0.99, retrieved=0.4, is_reranked=True)
    sure = [generator(weights=weights).generate("Where do geese graze?", [hit]).confidence for hit in (plain, reranked)]
    assert sure[0] == sure[1] == pytest.approx(1 / (1 + math.exp(-2)))


def test_a_sentence_that_speaks_of_one_before_it_is_said_behind_that() -> None:
    text = "The goose is a grey bird. It flies to Egypt in autumn."
    draft = generator().generate("flies to egypt in autumn", [passage(text)])
    assert draft.sentences[0].text == "It flies to Egypt in autumn."
    assert [s.text for s in draft.answer or ()] == ["The goose is a grey bird.", "It flies to Egypt in autumn."]


def test_the_same_fact_from_two_documents_is_one_sentence_with_two_footnotes() -> None:
    passages = [
        passage("The goose flies to Egypt in autumn."),
        passage("In autumn the goose flies to Egypt.", doc_id="b"),
    ]
    draft = generator().generate("where does the goose fly in autumn", passages)
    [sentence] = draft.sentences
    assert {span.passage for span in sentence.spans} == {0, 1}


def test_a_question_for_steps_gets_all_of_them_in_order() -> None:
    text = "1. Open the lid of it.\n2. Take out the old filter.\n3. Close the lid of it.\n"
    draft = generator().generate("How do I take out the filter?", [passage(text)])
    assert [s.text for s in draft.answer or ()] == [
        "Open the lid of it.", "Take out the old filter.", "Close the lid of it.",
    ]  # fmt: skip
    assert draft.sentences[0].text == "Take out the old filter."


def test_what_the_reader_marks_counts_in_prose_and_not_in_code() -> None:
    made = generator(weights=replace(WEIGHTS, sentence=chosen_by(short=1.0)))
    text = "Geese fly far in May. In autumn the goose flies to Alexandria. Nothing else happens here."
    draft = made.generate("where does a goose go", [passage(text, start=5)])
    assert draft.sentences[0].text == "In autumn the goose flies to Alexandria."
    at = 5 + text.index("Alexandria")
    assert draft.short == Span(0, at, at + 10)  # the fake's: its longest new word
    code = f"{text} `go_to(egypt)` `fly_far()` `stay_here()`"
    assert made.generate("where does a goose go", [passage(code)]).sentences[0].text == "Geese fly far in May."


@pytest.mark.parametrize("question", ["Why does it fly?", "How does it fly?", "Does it fly?", "Describe the goose."])
def test_what_a_few_words_cannot_answer_has_no_short_answer(question: str) -> None:
    assert generator().generate(question, [passage(GEESE)]).short is None
    assert generator().generate("Where does it fly?", [passage(GEESE)]).short is not None


def test_a_question_in_the_passage_is_no_answer() -> None:
    faq = "Where does the goose fly in autumn? It goes to Egypt, as all geese do."
    draft = generator().generate("Where does the goose fly in autumn?", [passage(faq)])
    assert [sentence.text for sentence in draft.sentences] == ["It goes to Egypt, as all geese do."]
    assert generator().generate("Where?", [passage("Where does the goose fly?")]) == Draft((), 0.0)
