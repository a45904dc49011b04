"""The sample corpus and its questions keep their promises.

The DOCX and PDF articles are read from their Markdown sources in build/.
"""

import html
import json
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

CORPUS = Path(__file__).resolve().parent.parent / "corpora" / "embeddings"

# The function words of English, which say nothing about a question's subject.
FUNCTION_WORDS = """
    a about above after again against all also am an and any are as at be because been before being below between
    both but by can cannot could did do does doing down during each either few for from further had has have having
    he her here hers herself him himself his how i if in into is it its itself just many may me might more most much
    must my myself neither no nor not of off on once only or other our ours ourselves out over own same shall she
    should so some such than that the their theirs them themselves then there these they this those through to too
    under until up us very was we were what when where which while who whom whose why will with without would yet you
    your yours yourself
"""
STOP_WORDS = frozenset(FUNCTION_WORDS.split())


class Question(NamedTuple):
    question: str
    source: str | None
    quote: str | None


class Answered(NamedTuple):
    question: str
    source: str
    quote: str


def collapsed(text: str) -> str:
    return " ".join(text.split())


def reading_order() -> list[str]:
    """The file names of the articles, as the corpus's README lists them."""
    return re.findall(r"^\d+\. \[.+\]\((.+)\)$", (CORPUS / "README.md").read_text(encoding="utf-8"), re.MULTILINE)


def article_text(name: str) -> str:
    path = CORPUS / name
    if path.suffix in {".pdf", ".docx"}:
        path = CORPUS / "build" / f"{path.stem}.md"
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        text = re.sub(r"<head>.*?</head>", " ", text, flags=re.DOTALL)
        text = html.unescape(re.sub(r"<[^>]+>", " ", text))
    return collapsed(text)


def content_words(text: str) -> set[str]:
    """The lower-cased words and numbers of a text, less stop words and single letters."""
    words = re.findall(r"\w+", re.sub(r"['’]s\b", "", text.lower()))
    return {word for word in words if word not in STOP_WORDS and (len(word) > 1 or word.isdigit())}


def shared_words(question: str, sentence: str) -> set[str]:
    """The question's content words that stand in the sentence, exactly or with the same first five letters."""
    stems = {word[:5] for word in re.findall(r"\w+", sentence.lower())}
    return {word for word in content_words(question) if word[:5] in stems}


ARTICLES = reading_order()
QUESTIONS = [
    Question(**json.loads(line)) for line in (CORPUS / "questions.jsonl").read_text(encoding="utf-8").splitlines()
]
ANSWERED = [Answered(q.question, q.source, q.quote) for q in QUESTIONS if q.source is not None and q.quote is not None]
UNANSWERED = [q for q in QUESTIONS if q.source is None and q.quote is None]


def test_there_are_60_answered_and_15_unanswered_questions() -> None:
    assert (len(ANSWERED), len(UNANSWERED), len(QUESTIONS)) == (60, 15, 75)


def test_the_readme_lists_every_article_once() -> None:
    files = {path.name for path in CORPUS.iterdir() if path.suffix in {".md", ".html", ".pdf", ".docx"}}
    assert sorted(ARTICLES) == sorted(files - {"README.md"})


@pytest.mark.parametrize("article", ARTICLES)
def test_every_article_has_400_to_1000_words(article: str) -> None:
    assert 400 <= len(article_text(article).split()) <= 1000


def test_every_article_has_at_least_two_questions() -> None:
    counts = Counter(answered.source for answered in ANSWERED)
    assert counts.keys() == set(ARTICLES)
    assert min(counts.values()) >= 2


def test_questions_follow_the_reading_order_and_the_unanswered_ones_come_last() -> None:
    places = [len(ARTICLES) if question.source is None else ARTICLES.index(question.source) for question in QUESTIONS]
    assert places == sorted(places)


def test_no_question_is_asked_twice() -> None:
    counts = Counter(" ".join(re.findall(r"\w+", question.question.lower())) for question in QUESTIONS)
    assert [question for question, count in counts.items() if count > 1] == []


@pytest.mark.parametrize("answered", ANSWERED, ids=lambda answered: answered.question)
def test_a_quote_stands_exactly_once_in_its_article(answered: Answered) -> None:
    assert article_text(answered.source).count(collapsed(answered.quote)) == 1


@pytest.mark.parametrize("answered", ANSWERED, ids=lambda answered: answered.question)
def test_at_most_a_third_of_a_questions_content_words_stand_in_its_quote(answered: Answered) -> None:
    words = content_words(answered.question)
    shared = shared_words(answered.question, answered.quote)
    assert words
    assert 3 * len(shared) <= len(words), f"{sorted(shared)} of {sorted(words)}"
