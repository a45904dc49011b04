"""What kind of thing a question asks for, and whether a sentence holds a new one."""

from __future__ import annotations

import pytest

from rag.questions import defined, expected_kind, fitting, names, novel


@pytest.mark.parametrize(
    ("question", "kind"),
    [
        ("How many dimensions has it?", "number"),
        ("how long may a passage be", "number"),
        ("What percentage of users left?", "number"),
        ("When was the treaty signed?", "date"),
        ("In which year did it open?", "date"),
        ("WHO wrote it?", "name"),
        ("Whose idea was it?", "name"),
        ("Where is the office?", "name"),
        ("Which university published the paper?", "name"),
        ("What is an embedding?", None),
        ("How does it work?", None),
        ("Why are whole sentences better?", None),
        ("", None),
    ],
)
def test_the_kind_is_told_by_the_question_word(question: str, kind: str | None) -> None:
    assert expected_kind(question) == kind


@pytest.mark.parametrize(
    ("kind", "sentence", "question", "found"),
    [
        ("number", "It has 384 dimensions, or 1,024.", "How many dimensions?", {"384", "1,024"}),
        ("number", "Two of 3.5 million left.", "How many of the two left?", {"3.5", "million"}),
        ("number", "It has many dimensions.", "How many dimensions?", set()),
        ("date", "It opened in May 1987 at 9:30.", "When did it open?", {"may", "1987", "9:30"}),
        ("date", "In 1987 it may have opened.", "When in 1987 did it open?", set()),
        ("date", "Page 3187 says nothing.", "When?", set()),
        ("name", "The model is by Mikolov and Google.", "Who made the model?", {"mikolov", "google"}),
        ("name", "Mikolov made it. Google paid.", "Who made it?", set()),  # capitals that begin a sentence
        ("name", "It was made at Google.", "Who worked at google?", set()),
    ],
)
def test_only_what_the_question_does_not_say_is_new(kind: str, sentence: str, question: str, found: set[str]) -> None:
    assert novel(kind, sentence, question) == found


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("How does Annoy build its trees?", ["Annoy"]),
        ("What did GPT-3 and word2vec cost?", ["GPT-3", "word2vec"]),
        ("fastText or GloVe?", ["fastText", "GloVe"]),
        ("What should I do in May 2021?", ["May", "2021"]),
        ("Which colours are there?", []),
        ("", []),
    ],
)
def test_names_are_words_with_a_digit_an_inner_capital_or_a_capital_within_the_question(
    question: str, found: list[str]
) -> None:
    assert names(question) == found


@pytest.mark.parametrize(
    ("question", "what"),
    [
        ("What is a word embedding?", "word embedding"),
        ("what are embeddings", "embeddings"),
        ("What's the meaning of the word serendipity?", "serendipity"),
        ("What does TF-IDF stand for?", "TF-IDF"),
        ("What is meant by overfitting?", "overfitting"),
        ("Who was Ada Lovelace?", "Ada Lovelace"),
        ("Define recall.", "recall"),
        ("What is the upper house called?", None),  # asks for a name
        ("What is the reason for leaving?", None),
        ("What does it cost?", None),
        ("How does it work?", None),
    ],
)
def test_what_is_to_be_defined_is_told(question: str, what: str | None) -> None:
    assert defined(question) == what


@pytest.mark.parametrize(
    ("question", "sentence", "fits"),
    [
        ("What is an embedding?", "An embedding is a vector of numbers.", True),
        ("What is an embedding?", "Embeddings (also called vectors) are lists of numbers.", True),
        ("What are embeddings?", "In machine learning, an embedding maps words to vectors.", False),
        ("What are embeddings?", "In machine learning, an embedding is a map of words to vectors.", True),
        ("What is an embedding?", "Every embedding has 384 numbers.", False),
        ("What does BM25 stand for?", "BM25 stands for best matching.", True),
        ("What is C++?", "C++ is a language.", False),  # signs are no words: nothing is asked to be defined
        ("May I bring a dog?", "Dogs are not allowed in the office.", True),
        ("May I bring a dog?", "The office is on the second floor.", False),
        ("What is the difference between Flat and HNSW?", "HNSW is faster than Flat, but not exact.", True),
        ("What is the difference between Flat and HNSW?", "Flat and HNSW live in FAISS.", False),
        ("How many weeks are there?", "There are 52 weeks.", True),
        ("How many weeks are there?", "There are weeks.", False),
        ("Why is the sky blue?", "The sky is blue, since light is scattered.", False),  # nothing is looked for
    ],
)
def test_a_sentence_fits_where_it_has_the_form_that_is_asked_for(question: str, sentence: str, fits: bool) -> None:
    assert fitting(question)(sentence) is fits


def test_a_sentence_of_any_length_is_told_soon() -> None:
    """Regular expressions that go back and forth would not come to an end here."""
    fits = fitting("What is a word?")
    for piece in ("in a word ", "the word (", "word or ", "a-word-", "word, "):
        fits(piece * 4000)
