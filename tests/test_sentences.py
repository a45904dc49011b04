"""Sentences are exact spans of the text, none is lost, and each begins and ends where a reader would say so."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.sentences import MAX_CHARACTERS, plain_text, sentence_spans


def sentences(text: str) -> list[str]:
    return [text[start:end] for start, end in sentence_spans(text)]


MARKS = " .,;:!?…'\"()[]{}<>|*_`~#=+-–/\\&$%@^•\n\r\t\u3000。！？「」،؟।0123456789"
WILD = st.one_of(
    st.text(max_size=300),
    st.text(alphabet=MARKS + "abAB", max_size=300),
    st.lists(st.sampled_from(["```", "~~~", "- ", "1. ", "> ", "| a | b |", "===", "# H", "word", "\n", " "])).map(
        "".join
    ),
)


@given(WILD)
@settings(max_examples=400, deadline=None)
def test_spans_are_in_order_apart_short_and_without_white_space_at_the_ends(text: str) -> None:
    cursor = 0
    for start, end in sentence_spans(text):
        assert cursor <= start < end <= len(text)
        assert end - start <= MAX_CHARACTERS
        sentence = text[start:end]
        assert sentence == sentence.strip()
        assert any(character.isalnum() for character in sentence)
        cursor = end


@given(
    st.lists(
        st.tuples(
            st.text(alphabet=st.characters(categories=["L", "N"]), min_size=2, max_size=30),
            st.sampled_from(
                [" ", " ", " ", ", ", ". ", "! ", "? ", "… ", ".) ", " (", "; ", ".\n", "\n", "\n\n", "。"]
            ),
        ),
        max_size=80,
    )
)
@settings(deadline=None)
def test_every_letter_and_digit_of_plain_prose_is_in_a_sentence(words: list[tuple[str, str]]) -> None:
    text = "".join(word + mark for word, mark in words)
    inside = "".join(sentences(text))
    assert [c for c in inside if c.isalnum()] == [c for c in text if c.isalnum()]


@pytest.mark.parametrize(
    "expected",
    [
        ["It rained.", "We left!", "Why?", "Nobody knows…", "Good."],
        ["He met Dr. Smith and Mrs. Jones of Acme Inc. in St. Louis.", "They talked."],
        ["J. K. Rowling, J.R.R. Tolkien and George W. Bush met.", "E.W. Scripps did not."],
        ["The U.S. Army is large.", "The U.K. has one too."],
        ["They moved to the U.S.", "They stayed.", "Take vitamin C.", "It helps.", "K. He agrees."],
        ["She came at 5 p.m.", "He left at 6 a.m. on Monday."],
        ["Pi is about 3.14, and version 2.0.1 is out.", "The price is 1.5 million."],
        ["Use tools, e.g. this one, i.e. the best.", "It is cf. approx. 5 cm vs. 6 cm long."],
        ["As Smith et al. [3] show, see Fig. 3, Eq. 4 and pp. 5.", "Also see no. 7 and Vol. 2."],
        ["He said no.", "They went on.", "No.", "That was all."],
        ["Apples, pears, etc. are fruit."],
        ["Models are slow.", "word2vec uses windows.", "fastText adds n-grams.", "iPhone sells."],
        ["It is fast.", "`rag ask` answers, e.g. `this`."],
        ["Well... maybe not… or so.", "Then it ended..."],
        ['He said "Go."', "She went.", "(It rained.)", "“Why?”", "‘Because.’", "[So.]", "They ran."],
        ["Él dijo «no».", "¿Por qué?", "¡Sí!", "„Ja.“", "Gut."],
        ["A claim.[2]", "Another one.[3][14]", "The last."],
        ["He paid.", "$5 was too much.", "€3 was not."],
        ["See https://a.example/b.c?d=e.f for it.", "Then open index.html or lib/a.py.", "Done."],
        ["**It is bold.**", "_This is not._", "So."],
        ["Он ушёл.", "Она осталась."],
        ["یہ ہے۔", "کیا؟", "ہاں"],
        ["यह एक है।", "वह दो है।"],
        ["It is in the V&A.", "In it are drawings."],
    ],
)
def test_prose_is_split_where_a_reader_would(expected: list[str]) -> None:
    assert sentences(" ".join(expected)) == expected


def test_a_lower_case_letter_after_a_full_stop_goes_on() -> None:
    assert sentences("It is in the dept. of health. It") == ["It is in the dept. of health.", "It"]


def test_a_hard_wrapped_sentence_is_one_span_over_its_lines() -> None:
    text = "This sentence runs over\nthree lines of\na PDF. The next\none too.\n\nA new paragraph"
    assert sentences(text) == [
        "This sentence runs over\nthree lines of\na PDF.",
        "The next\none too.",
        "A new paragraph",
    ]


def test_a_line_of_prose_that_begins_like_a_list_item_loses_nothing() -> None:
    text = "It is the law since article\n12. Then came World War\nI. After it, a quiet time began."
    assert sentences(text) == [
        "It is the law since article\n12.",
        "Then came World War\nI.",
        "After it, a quiet time began.",
    ]
    assert sentences("J. Smith wrote it.\nB. Jones read it.") == ["J. Smith wrote it.", "B. Jones read it."]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("- one\n- two. And more\n  of it.\n* three\n+ four", ["one", "two.", "And more\n  of it.", "three", "four"]),
        (
            "Intro:\n1. one\n2. two\n10. ten\n(11) eleven\n12) twelve",
            ["Intro:", "one", "two", "ten", "eleven", "twelve"],
        ),
        ("a) one\nb) two\n\nA. One\nB. Two", ["one", "two", "One", "Two"]),
        ("• one\n● two\n\uf0b7 three", ["one", "two", "three"]),
        ("- \n-\n1.\n• \n", []),
        ("•\nOne is here.\n•\nTwo is there.", ["One is here.", "Two is there."]),
        ("Text before\n- item\n\nText after", ["Text before", "item", "Text after"]),
    ],
    ids=["marks", "numbers", "letters", "PDF bullets", "empty", "bullets alone", "in prose"],
)
def test_a_list_item_is_a_sentence_without_its_bullet(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_line_of_a_table_is_a_sentence_and_its_rules_are_none() -> None:
    assert sentences("| Name | Size |\n|---|:--:|\n| a.b | 1 |\n\nBoth. Yes.") == [
        "| Name | Size |",
        "| a.b | 1 |",
        "Both.",
        "Yes.",
    ]
    assert sentences("Leaves | Ash, Elm | 50\nRoots | Oak | 60") == ["Leaves | Ash, Elm | 50", "Roots | Oak | 60"]
    assert sentences("=====  =====\nA      B\n=====  =====\n1      2\n=====  =====") == ["A      B", "1      2"]


def test_lines_of_code_are_sentences_of_their_own_and_fences_are_none() -> None:
    text = "Before.\n```python\n# set x\nx = 1\n\n> y\n- z\n```\nAfter it\ncomes more.\n~~~\na\n~~~"
    assert sentences(text) == ["Before.", "# set x", "x = 1", "> y", "- z", "After it\ncomes more.", "a"]


def test_inline_code_at_the_start_of_a_line_is_no_fence() -> None:
    assert sentences("```a``` is code.\nIt is\nhere.") == ["```a``` is code.", "It is\nhere."]


def test_a_passage_that_begins_inside_code_is_prose_after_it() -> None:
    text = "x = 1\n```\nProse that is\nhard-wrapped.\n```sh\nls\n```\nMore prose\nhere."
    assert sentences(text) == ["x = 1", "Prose that is\nhard-wrapped.", "ls", "More prose\nhere."]


@pytest.mark.parametrize(
    "text",
    [
        "# Title\nBody.",
        "Title\n=====\nBody.",
        "Title\n-----\nBody.",
        "=====\nTitle\n=====\n\nBody.",
        "Title\r\n===\r\nBody.",
    ],
    ids=["ATX", "setext 1", "setext 2", "RST", "CRLF"],
)
def test_headings_are_no_sentences(text: str) -> None:
    assert sentences(text) == ["Body."]


def test_a_rule_below_a_paragraph_does_not_make_it_a_heading() -> None:
    assert sentences("Two lines\nof text.\n---\nMore.") == ["Two lines\nof text.", "More."]


def test_quoted_paragraphs_are_sentences_without_the_first_mark() -> None:
    text = "> One runs\n> on. Two.\n>\n> - item\n>\n> # Heading\n> Last."
    assert sentences(text) == ["One runs\n> on.", "Two.", "item", "Last."]
    assert sentences(">>> import rag") == [">>> import rag"]


def test_chinese_and_japanese_are_split_without_white_space() -> None:
    assert sentences("今日は良い。明日も！「はい。」そうか？（多分。）終") == [
        "今日は良い。",
        "明日も！",
        "「はい。」",
        "そうか？",
        "（多分。）",
        "終",
    ]
    assert sentences("これは良い。pip で入れる。") == ["これは良い。", "pip で入れる。"]


def test_a_long_sentence_is_cut_at_a_clause() -> None:
    text = "word " * 60 + "clause; " + "word " * 60 + "end."
    first, second = sentences(text)
    assert first.endswith("clause;")
    assert second.endswith("end.")


def test_a_long_sentence_without_clauses_is_cut_between_words_and_a_long_word_anywhere() -> None:
    assert " ".join(sentences("word " * 200)).split() == ["word"] * 200
    assert [len(s) for s in sentences("x" * 1000)] == [400, 400, 200]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("**bold**, *italic*, ***both***, _italic_ and __bold text__", "bold, italic, both, italic and bold text"),
        ("**k**-means, (*so*) **Note**: it", "k-means, (so) Note: it"),
        ("**a *nested* one** and **with `x*y` code**", "a nested one and with x*y code"),
        ("太字は**これ**です", "太字はこれです"),
        ("Use `rag ask`, ``a`b`` and `x`.", "Use rag ask, a`b and x."),
        ("Open `_s`, `**kwargs` and `__init__`", "Open _s, **kwargs and __init__"),
        ('A [link](http://a.b/c_(d)), [one](u "title"), [a *b*](u), [ref][1]', "A link, one, a b, ref"),
        ("![picture](a.png) and [![badge](b.svg)](url)", "picture and badge"),
        ("one\n  two\n\tthree", "one two three"),
        ("a quote\n> goes on\n> 5 mm", "a quote goes on > 5 mm"),
        ("| a | **b** | 1 |", "a, b, 1"),
        (r"\*not\* \_so\_", "*not* _so_"),
        ("`PEP 8`_ and [1]_ say", "PEP 8 and [1] say"),
        ("**A bold stretch begins.", "A bold stretch begins."),
        ("It ends here.**", "It ends here."),
    ],
)
def test_markdowns_inline_marks_and_links_go(text: str, plain: str) -> None:
    assert plain_text(text) == plain


@pytest.mark.parametrize(
    "text",
    [
        "snake_case, _private and __init__.py",
        "def __init__(self, *args, **kwargs): self.__x = 2**n",
        "2*3*4, 2 * 3 * 4, a*b, 2**3**4 and a ** b",
        "a_b, x_1, x_{i} and $x_i^{*}$",
        "C++, C#, char *a, *b; COUNT(*) and SUM(*)",
        "p < 0.05*, grade II*",
        "a[i][j] = f[k](x) and notes [1][2]",
        "[brackets] (and) [text]",
        "[](https://a.example)",
        "5 > 3 and <tag>",
        "it's 5 o'clock ~ 6",
        r"C:\dir\file and \alpha",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert plain_text(text) == text


@given(WILD)
@settings(max_examples=300, deadline=None)
def test_what_is_said_is_one_line_and_never_empty(text: str) -> None:
    for sentence in sentences(text):
        plain = plain_text(sentence)
        assert plain == " ".join(plain.split())
        assert any(character.isalnum() for character in plain)


def test_a_heading_without_a_mark_does_not_run_into_the_sentence_below_it() -> None:
    text = (
        "Autoencoders\nThe bottleneck\nAn autoencoder is a neural network that is trained to reproduce its own input\n"
        "and a decoder turns the code back. They wrote of it in the journal\nScience, years ago.\nMore layers\nIt grew."
    )
    assert [text[start:end] for start, end in sentence_spans(text)] == [
        "Autoencoders",
        "The bottleneck",
        "An autoencoder is a neural network that is trained to reproduce its own input\n"
        "and a decoder turns the code back.",
        "They wrote of it in the journal\nScience, years ago.",
        "More layers",
        "It grew.",
    ]
