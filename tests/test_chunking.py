"""Chunks are exact spans of their document, in order, and short enough for the encoder, whatever the text."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.chunking import Chunking, Splitter, chunk_document
from rag.encoders import Encoder, load_encoder
from rag.errors import UsageError
from rag.types import Chunk, Document, Section
from tests.fakes import HashingEncoder

CountTokens = Callable[[str], int]

of_words = HashingEncoder().count_tokens


def of_characters(text: str) -> int:
    return len("".join(text.split())) + 2


def of_pieces(text: str) -> int:
    """Like a subword model: a word is one token for every three characters that it begins."""
    return sum(-(-len(word) // 3) for word in text.split()) + 2


def cut(
    document: Document,
    *,
    max_tokens: int = 16,
    count_tokens: CountTokens = of_words,
    splitter: Splitter = "recursive",
) -> list[Chunk]:
    return chunk_document(document, chunking=Chunking(max_tokens, splitter), count_tokens=count_tokens)


def check_laws(document: Document, chunks: list[Chunk], *, max_tokens: int, count_tokens: CountTokens) -> None:
    """What holds for every document and its chunks."""
    text = document.text
    covered = [False] * len(text)
    cursor = 0
    for chunk in chunks:
        assert chunk.doc_id == document.doc_id
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text
        assert chunk.text == chunk.text.strip()
        assert chunk.start >= cursor
        cursor = chunk.end
        covered[chunk.start : chunk.end] = [True] * len(chunk.text)
        assert count_tokens(chunk.encoded) <= max_tokens
        assert chunk.section == document.section_at(chunk.start)
        assert chunk.page == document.page_at(chunk.start)
        assert all(chunk.start < page < chunk.end for page in chunk.breaks)
        probes = {chunk.start, chunk.end - 1, *chunk.breaks, *(page - 1 for page in chunk.breaks)}
        assert all(chunk.page_at(offset) == document.page_at(offset) for offset in probes)
    for i, section in enumerate(document.sections):
        following = document.sections[i + 1] if i + 1 < len(document.sections) else None
        below = text[section.body : following.start if following else len(text)]
        if below.strip() or (following and following.path.startswith(section.path + " > ")):
            covered[section.start : section.body] = [True] * (section.body - section.start)  # said by `section`
    assert not "".join(c for c, is_covered in zip(text, covered, strict=True) if not is_covered).strip()


PIECES = st.one_of(
    st.text(max_size=30),
    st.text(alphabet=st.characters(categories=["Cc", "Cf", "Zs", "Zl", "Zp"]), max_size=8),
    st.sampled_from(
        [" ", "  ", "\n", "\n\n", "\r\n", "\t", "\u3000", "\u2028", "\x1c", "\x00", ". ", "! ", "。", "word ", "A b. "]
    ),
    st.sampled_from(["今日は良い天気です", "👍🏽", "مرحبا بالعالم ", "e\u0301", "x" * 700, "=" * 300, "a,b;" * 60]),
)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """Wild text with nested headings and pages at any place."""
    text, sections, outer = "", [], list[str]()
    for level in draw(st.lists(st.integers(0, 3), max_size=5)):
        text += "".join(draw(st.lists(PIECES, max_size=6)))
        heading = draw(st.sampled_from(["Scope", "A longer heading of seven words here", "見出し", "x" * 90]))
        outer = [*outer[:level], heading]
        start = len(text)
        text += f"{'#' * (level + 1)} {heading}\n"
        sections.append(Section(start, len(text), " > ".join(outer)))
    text += "".join(draw(st.lists(PIECES, max_size=12)))
    pages = draw(st.lists(st.integers(0, len(text)), max_size=4).map(sorted))
    return Document(
        "wild.md",
        text,
        title=draw(st.sampled_from([None, "", "Handbook", "Scope", "a title of many words " * 10, "長い題" * 30])),
        sections=tuple(sections),
        pages=(0, *pages) if draw(st.booleans()) else (),
    )


@pytest.mark.parametrize("splitter", get_args(Splitter))
@pytest.mark.parametrize("count_tokens", [of_words, of_characters, of_pieces])
@given(document=documents(), max_tokens=st.integers(16, 60))
@settings(max_examples=80, deadline=None)
def test_every_chunk_is_a_span_that_fits_and_nothing_else_is_left_out(
    splitter: Splitter, count_tokens: CountTokens, document: Document, max_tokens: int
) -> None:
    chunks = cut(document, max_tokens=max_tokens, count_tokens=count_tokens, splitter=splitter)
    check_laws(document, chunks, max_tokens=max_tokens, count_tokens=count_tokens)


@pytest.fixture(scope="module")
def real() -> Encoder:
    return load_encoder()


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        "x" * 200_000,
        base64.b64encode(random.Random(0).randbytes(60_000)).decode(),
        "今日は良い天気です" * 2_000,
        "👍🏽" * 5_000,
        "-" * 20_000,
        "antidisestablishmentarianism" * 500 + " " + "counterrevolutionaries " * 2_000,
        "\u200b\u00ad\x00\x07" * 3_000 + "end",
        "1.2,3;4:5/6" * 3_000,
    ],
    ids=["one word", "base64", "CJK", "emoji", "dashes", "rare words", "invisible", "punctuation"],
)
def test_no_text_is_longer_than_the_real_encoder_reads(text: str, real: Encoder) -> None:
    document = Document("d", text, title="A title", pages=(0, len(text) // 2))
    for max_tokens in (16, 256):
        chunks = cut(document, max_tokens=max_tokens, count_tokens=real.count_tokens)
        check_laws(document, chunks, max_tokens=max_tokens, count_tokens=real.count_tokens)


@pytest.mark.slow
@given(document=documents())
@settings(max_examples=40, deadline=None)
def test_the_laws_hold_with_the_real_tokenizer(document: Document, real: Encoder) -> None:
    chunks = cut(document, max_tokens=32, count_tokens=real.count_tokens)
    check_laws(document, chunks, max_tokens=32, count_tokens=real.count_tokens)


def test_a_small_document_is_one_chunk() -> None:
    assert cut(Document("a.txt", "  One.\n\nTwo.\n", title="T")) == [
        Chunk("a.txt", "One.\n\nTwo.", 2, 12, title="T", context="T")
    ]


@pytest.mark.parametrize("text", ["", " ", "\n\t\r\n\u3000\x1c"])
def test_a_document_without_text_has_no_chunk(text: str) -> None:
    assert cut(Document("a.txt", text, pages=(0,))) == []


def test_sections_are_cut_apart_and_their_headings_are_not_in_the_text() -> None:
    text = "Before.\n# One\nFirst.\n## Two\nSecond.\n"
    sections = (Section(8, 14, "One"), Section(21, 28, "One > Two"))
    chunks = cut(Document("a.md", text, sections=sections))
    assert [(c.text, c.section, c.context) for c in chunks] == [
        ("Before.", None, ""),
        ("First.", "One", "One"),
        ("Second.", "One > Two", "One > Two"),
    ]


def test_a_heading_with_nothing_below_it_is_a_chunk_and_one_with_subheadings_is_not() -> None:
    text = "# Outer\n## Inner\n## Last\nText.\n# Alone\n"
    starts = [text.index("# Outer"), text.index("## Inner"), text.index("## Last"), text.index("# Alone")]
    paths = ["Outer", "Outer > Inner", "Outer > Last", "Alone"]
    sections = tuple(Section(s, text.index("\n", s) + 1, path) for s, path in zip(starts, paths, strict=True))
    assert [(c.text, c.section) for c in cut(Document("a.md", text, sections=sections))] == [
        ("## Inner", "Outer > Inner"),
        ("Text.", "Outer > Last"),
        ("# Alone", "Alone"),
    ]


def test_a_heading_is_not_taken_for_the_parent_of_one_that_begins_alike() -> None:
    text = "# Use\n# User\nText."
    sections = (Section(0, 6, "Use"), Section(6, 13, "User"))
    assert [c.text for c in cut(Document("a.md", text, sections=sections))] == ["# Use", "Text."]


def test_title_and_headings_stand_before_the_text_and_a_heading_that_is_the_title_only_once() -> None:
    document = Document("a.md", "Text.", title="Guide", sections=(Section(0, 0, "Setup"),))
    assert [c.encoded for c in cut(document)] == ["Guide > Setup\nText."]
    document = Document("a.md", "Text.", title="Guide", sections=(Section(0, 0, "Guide > Setup"),))
    assert [c.encoded for c in cut(document)] == ["Guide > Setup\nText."]
    assert [c.encoded for c in cut(Document("a.md", "Text."))] == ["Text."]


def test_a_title_that_would_crowd_out_the_passage_is_cut_at_a_word() -> None:
    title = "one two three four five six seven eight"
    (chunk,) = cut(Document("a.md", "Text.", title=title))
    assert chunk.context == "one two three four"  # a quarter of 16 tokens
    assert chunk.title == title


def test_pages_are_those_of_the_first_character_and_of_every_break_inside() -> None:
    text = "Page one. Page two. Page four."
    document = Document("a.pdf", text, pages=(0, 10, 20, 20))  # the third is empty
    (chunk,) = cut(document)
    assert (chunk.page, chunk.breaks) == (1, (10, 20, 20))
    assert [chunk.page_at(offset) for offset in (0, 9, 10, 19, 20, 29)] == [1, 1, 2, 2, 4, 4]
    later = cut(Document("a.pdf", "One. " * 9 + "\n\n" + "Two. " * 9, pages=(0, 47)))
    assert [(c.page, c.breaks, c.text[:3]) for c in later] == [(1, (), "One"), (2, (), "Two")]


def test_a_text_slightly_too_long_is_halved_and_not_cut_to_a_page_and_a_stub() -> None:
    text = "This sentence has exactly seven words here. " * 40  # 280 words for at most 254
    first, second = cut(Document("a.txt", text), max_tokens=256)
    assert (len(first.text.split()), len(second.text.split())) == (154, 126)


@pytest.mark.parametrize(
    ("text", "cuts"),
    [
        ("a b c d e f g h.\n\ni j k l m n o p.", ["a b c d e f g h.", "i j k l m n o p."]),
        ("a b c d e f g h.\ni j k l m n o p.", ["a b c d e f g h.", "i j k l m n o p."]),
        ("a b c d e f g h. i j k l m n o p.", ["a b c d e f g h.", "i j k l m n o p."]),
        ("a b c d e f g h i j k l m n o p", ["a b c d e f g h i", "j k l m n o p"]),
        ("a\tb\tc\td\te\tf\tg\th\ti\tj\tk\tl\tm\tn\to\tp", ["a\tb\tc\td\te\tf\tg\th\ti", "j\tk\tl\tm\tn\to\tp"]),
        ("月が出た出た月が出た。海も見えた山も見えた。", ["月が出た出た月が出た。", "海も見えた山も見えた。"]),
    ],
    ids=["paragraph", "line", "sentence", "word", "tab", "CJK sentence"],
)
def test_the_cut_is_at_the_best_boundary_there_is(text: str, cuts: list[str]) -> None:
    count_tokens = of_characters if "。" in text else of_words
    assert [c.text for c in cut(Document("a.txt", text), count_tokens=count_tokens)] == cuts


def test_a_word_longer_than_any_passage_is_cut_into_pieces_that_join_to_it() -> None:
    text = "see " + "x" * 5_000 + " end"
    document = Document("a.txt", text)
    chunks = cut(document)
    check_laws(document, chunks, max_tokens=16, count_tokens=of_words)
    assert "".join(c.text for c in chunks).count("x") == 5_000
    assert max(len(c.text) for c in chunks) <= 14 * 16


@pytest.mark.parametrize(
    "text",
    ["word " * 400_000, "a" + " " * 1_000_000 + "b", "\n" * 500_000 + "a. " * 100_000, "(" * 200_000],
    ids=["2 MB on one line", "white space", "lines", "brackets"],
)
def test_long_texts_are_cut_to_the_end(text: str) -> None:
    document = Document("a.txt", text)
    chunks = cut(document, max_tokens=256)
    assert sum(len("".join(c.text.split())) for c in chunks) == len("".join(text.split()))
    assert all(text[c.start : c.end] == c.text for c in chunks)
    assert max(of_words(c.encoded) for c in chunks) <= 256
    assert max(len(c.text) for c in chunks) <= 254 * 16


def test_chunks_of_fewer_than_16_tokens_are_refused() -> None:
    with pytest.raises(UsageError, match="expected chunks of at least 16 tokens, got 15"):
        Chunking(15)


def test_the_record_says_what_shaped_the_chunks() -> None:
    assert Chunking(128).record() == {"splitter": "recursive", "version": 1, "max_tokens": 128}
    for chunking in (Chunking(128), Chunking(64, "sentences")):
        assert Chunking.of_record(chunking.record()) == chunking


def test_other_splitters_cut_between_sentences_only_or_at_any_word() -> None:
    text = "One two\n\nthree four five six. Seven eight nine ten eleven twelve. Thirteen fourteen fifteen."
    assert [c.text for c in cut(Document("a", text), splitter="sentences")] == [
        "One two\n\nthree four five six.", "Seven eight nine ten eleven twelve. Thirteen fourteen fifteen."
    ]  # fmt: skip
    assert [c.text for c in cut(Document("a", text), splitter="words")] == [
        "One two\n\nthree four five six. Seven eight nine", "ten eleven twelve. Thirteen fourteen fifteen."
    ]  # fmt: skip
    with pytest.raises(UsageError, match="expected splitter recursive, sentences, words, got 'pages'"):
        Chunking(splitter="pages")  # type: ignore[arg-type]


def test_a_sentence_longer_than_a_passage_is_cut_within() -> None:
    text = "Short one here. " + "a long sentence that goes on, " * 10 + "and ends."
    chunks = cut(Document("a", text), splitter="sentences")
    assert len(chunks) > 2
    check_laws(Document("a", text), chunks, max_tokens=16, count_tokens=of_words)
