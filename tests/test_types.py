"""Pages and sections are found by offset, and what travels cannot be changed on the way."""

from __future__ import annotations

from dataclasses import FrozenInstanceError

import pytest

from rag.types import Chunk, Document, Section


def test_the_page_at_an_offset_is_the_last_that_begins_there_or_before() -> None:
    document = Document("a.pdf", "x" * 30, pages=(0, 10, 10, 20))
    assert [document.page_at(offset) for offset in (0, 9, 10, 19, 20, 30)] == [1, 1, 3, 3, 4, 4]
    assert Document("a.txt", "x").page_at(0) is None


def test_what_stands_before_the_first_page_mark_is_on_page_1() -> None:
    assert Document("a.pdf", "x" * 9, pages=(3, 6)).page_at(0) == 1


def test_a_heading_belongs_to_its_own_section() -> None:
    document = Document("a.md", "x" * 30, sections=(Section(5, 8, "A"), Section(20, 24, "A > B")))
    assert [document.section_at(offset) for offset in (0, 4, 5, 8, 19, 20, 29)] == [
        None,
        None,
        "A",
        "A",
        "A",
        "A > B",
        "A > B",
    ]


def test_a_chunk_knows_the_pages_inside_it() -> None:
    chunk = Chunk("a.pdf", "x" * 20, 5, 25, page=2, breaks=(10, 20))
    assert [chunk.page_at(offset) for offset in (5, 9, 10, 20, 24)] == [2, 2, 3, 4, 4]
    assert Chunk("a.txt", "x", 0, 1).page_at(0) is None


def test_the_encoder_gets_the_context_above_the_text() -> None:
    assert Chunk("a.md", "Text.", 0, 5, context="Title > Heading").encoded == "Title > Heading\nText."
    assert Chunk("a.md", "Text.", 0, 5).encoded == "Text."


def test_values_are_frozen() -> None:
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'text'"):
        Document("a.txt", "x").text = "y"  # type: ignore[misc]
