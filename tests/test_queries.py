"""How a query is read: operators among a few words, names of several words, other scripts, and what a phrase is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.queries import Query, holds, index_terms, query_terms, read_query
from rag.words import STOP_WORDS, query_words

any_text = st.text(st.characters(exclude_categories=["Cs"])) | st.text("\"“”-'ab c.?9_") | st.text('東京 a“”"-のप्र')


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("honey bees", Query("honey bees", ("honey", "bees"))),
        ("What is the Honey of the bees?", Query("What is the Honey of the bees?", ("honey", "bees"))),
        ("To be or not to be", Query("To be or not to be", ("not",))),
        ("Who is it", Query("Who is it", ("who", "is", "it"))),
        ('"exact words"', Query("exact words", ("exact", "words", "exact words"), ("exact words",))),
        ("“Exact”  words", Query("Exact words", ("exact", "words"), ("Exact",))),
        ('words "of steel."', Query("words of steel", ("words", "steel", "of steel"), ("of steel",))),
        ("python -snake", Query("python", ("python",), (), ("snake",))),
        ('python -"monty python"', Query("python", ("python",), (), ("monty python",))),
        ("-snake python -e-mail", Query("python", ("python",), (), ("snake", "e-mail"))),
        ('("exact words")', Query("(exact words)", ("exact", "words", "exact words"), ("exact words",))),
        ("「東京」の天気", Query("東京の天気", ("東京", "京の", "の天", "天気"), ("東京",))),
        ('"東京"の天気', Query("東京の天気", ("東京", "京の", "の天", "天気"), ("東京",))),
    ],
)
def test_quotes_and_hyphens_are_operators_among_a_few_words(query: str, expected: Query) -> None:
    assert read_query(query) == expected


@pytest.mark.parametrize(
    "query",
    [
        "What does -pthread do?",
        "Compile it with -pthread.",
        "compile and link a program with threads so that it runs on linux with -pthread",
        "a -5 degrees", "rag search -k 3 --where x", "well-known", "a - b", "5\" screen, 3\" nail", '"" empty', '"?!"',
        "-x", "ls -la", "tar -xzf archive", "rm -rf", "「深層学習」と「強化学習」の違いは何ですか？", "ما معنى «كلمة»؟",
        'a"b" c"d"',
    ],
)  # fmt: skip
def test_elsewhere_they_are_words_and_marks(query: str) -> None:
    read = read_query(query)
    assert (read.phrases, read.excluded) == ((), ())


def test_what_a_sentence_quotes_is_looked_for_side_by_side_and_not_required() -> None:
    read = read_query('Who released the album "Let it Be"?')
    assert read.phrases == ()
    assert "let it be" in read.terms
    assert read.text == "Who released the album Let it Be?"


def test_names_of_stop_words_only_are_none() -> None:
    assert query_terms("honey and/or milk") == ["honey", "milk"]
    assert query_terms("and/or") == ["and", "or"]


def test_so_many_names_are_looked_for_as_a_whole() -> None:
    names = [f"module.part{n}" for n in range(50)]
    assert sum("." in term for term in query_terms(" ".join(names))) == 16


def test_only_exclusions_are_words() -> None:
    assert read_query("-snake") == Query("-snake", ("snake",))


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("changes in 2026.4.10", "2026.4.10"), ("E_ACCES", "e_acces"), ("call os.path.join() now", "os.path.join"),
        ("gpt-4 costs", "gpt-4"), ("std::vector", "std::vector"), ("mail to ada@example.org,", "ada@example.org"),
        ("see https://example.org/a.html.", "https://example.org/a.html"), ("10:30", "10:30"),
    ],
)  # fmt: skip
def test_names_of_several_words_are_looked_for_as_a_whole_and_in_parts(query: str, name: str) -> None:
    terms = query_terms(query)
    assert terms[0] == name
    assert set(index_words(name)) - STOP_WORDS <= set(terms[1:])


def index_words(name: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in name).split()


def test_words_of_scripts_without_spaces_are_pairs() -> None:
    assert query_terms("東京都の天気") == ["東京", "京都", "都の", "の天", "天気"]
    assert query_terms("茶 APIキー") == ["茶", "api", "キー"]
    assert query_terms("서울에서") == ["서울", "울에", "에서"]


def test_marks_and_widths_do_not_count() -> None:
    assert query_terms("ＦＵＬＬ ｗｉｄｔｈ ﬁne") == ["full", "width", "fine"]
    assert query_terms("हिन्दी") == ["हनद"]
    assert query_terms("مُحَمَّد") == ["محمد"]
    assert query_terms(unicodedata.normalize("NFD", "résumé")) == ["résumé"]


@pytest.mark.parametrize(
    ("text", "phrase", "expected"),
    [
        ("in 2026.4.10, as", "2026.4.10", True), ("2026.4.100", "2026.4.10", False),
        ("2026.4.10.1", "2026.4.10", False),
        ("12026.4.10", "2026.4.10", False), ("1.2026.4.10", "2026.4.10", False), ("It ends with 4.10.", "4.10", True),
        ("Exact\n  WORDS", "exact words", True), ("exact  word", "exact words", False), ("a party", "art", False),
        ("E_ACCESS", "E_ACCES", False), ("C++, Java", "c++", True), ("ﬁne", "fine", True), ("ｆｕｌｌ", "full", True),
        ("we say don’t panic", "don't panic", True), ("the ship's engine", "ship’s engine", True),
        ("co\u00adop\u200beration", "cooperation", True), ("北\n京", "北京", True),
        ("Tokyo 東京 at night", "東京", True),
        ("a b", "ab", False), ("Straße", "STRASSE", True), ("x", "x y", False), ("1,000 of them", "000", False),
    ],
)  # fmt: skip
def test_a_phrase_is_held_letter_for_letter_and_does_not_go_on(text: str, phrase: str, expected: bool) -> None:
    assert holds(text, phrase) == expected


@given(any_text)
def test_any_text_can_be_read(query: str) -> None:
    read = read_query(query)
    assert len(set(read.terms)) == len(read.terms)
    assert all(term == term.strip() and term for term in read.terms)
    assert all(any(map(str.isalnum, phrase)) for phrase in (*read.phrases, *read.excluded))
    if '"' not in query and "“" not in query and "-" not in query:
        assert read.text == " ".join(query.split())


@given(any_text, any_text)
def test_a_text_holds_what_it_says_between_spaces(before: str, phrase: str) -> None:
    if phrase.strip() and phrase[0].isalpha() and phrase[-1].isalpha():
        assert holds(f"{before} {phrase} {before}", phrase)


@given(any_text)
def test_the_words_of_a_phrase_are_looked_for_in_the_index(phrase: str) -> None:
    assert (index_terms(phrase) != []) == bool(query_words(phrase))
