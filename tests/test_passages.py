"""What stands around a hit: whole chunks, exact spans, hits of one stretch together."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.errors import UsageError
from rag.index import Index
from rag.passages import section_of, widen
from rag.retriever import Retriever
from rag.types import Document, Hit, Section

PART = "word " * 40  # so that each paragraph is a chunk
TEXT = (
    f"Intro about owls. {PART}\n\nOne\n\nBees make honey. {PART}\n\n"
    f"One A\n\nCows give milk. {PART}\n\nTwo\n\nTrees grow."
)


def document() -> Document:
    sections = tuple(
        Section(TEXT.index(f"\n{name}\n") + 1, TEXT.index(f"\n{name}\n") + len(name) + 3, path)
        for name, path in (("One", "One"), ("One A", "One > One A"), ("Two", "Two"))
    )
    return Document("doc", TEXT, sections=sections, pages=(0, TEXT.index("Cows")))


@pytest.fixture
def filled(index: Index) -> Index:
    long = "\n\n".join(f"Paragraph {n} of bees{n}. {PART}" for n in range(8))
    index.add([document(), Document("long", long)])
    return index


def test_without_a_window_a_passage_is_its_hit(filled: Index) -> None:
    hits = Retriever(filled).search("honey", k=3)
    found = widen(filled, hits)
    assert [(p.text, p.start, p.end, p.rank, p.score) for p in found] == [
        (h.chunk.text, h.chunk.start, h.chunk.end, h.rank, h.score) for h in hits
    ]
    assert [p.hits for p in found] == [(hit,) for hit in hits]


def test_a_window_takes_in_the_neighbours(filled: Index) -> None:
    (hit,) = Retriever(filled).search("bees3", k=1)
    text = filled.document("long").text
    for window, first, last in ((1, 2, 4), (2, 1, 5), (10, 0, 7)):
        (passage,) = widen(filled, [hit], window=window)
        assert passage.text == text[passage.start : passage.end]
        assert passage.text.startswith(f"Paragraph {first} ")
        assert f"bees{last}." in passage.text
        assert f"bees{last + 1}." not in passage.text


def test_the_nearest_come_first_where_not_all_fit(filled: Index) -> None:
    (hit,) = Retriever(filled).search("bees3", k=1)
    size = len(hit.chunk.text)
    (passage,) = widen(filled, [hit], window=5, max_characters=2 * size + 10)
    assert passage.text.startswith("Paragraph 2 ")
    assert passage.end == hit.chunk.end
    (alone,) = widen(filled, [hit], window=5, max_characters=0)
    assert alone.text == hit.chunk.text


def test_a_section_is_shown_with_those_below_its_heading(filled: Index) -> None:
    def shown(query: str) -> str:
        hit = Retriever(filled).search(query, k=1)[0]
        (passage,) = widen(filled, [hit], section=True)
        assert passage.text == TEXT[passage.start : passage.end]
        return passage.text

    assert shown("honey").startswith("Bees make honey.")
    assert "Cows give milk." in shown("honey")
    assert "Trees" not in shown("honey")
    assert shown("milk").startswith("Cows")
    assert shown("trees") == "Trees grow."
    assert shown("owls").startswith("Intro about owls.")
    assert "Bees" not in shown("owls")


def test_sections_end_where_one_begins_that_is_not_below() -> None:
    whole = document()
    starts = [section.start for section in whole.sections]
    assert section_of(whole, 0) == (0, starts[0])
    assert section_of(whole, TEXT.index("Bees")) == (starts[0], starts[2])
    assert section_of(whole, TEXT.index("Cows")) == (starts[1], starts[2])
    assert section_of(whole, TEXT.index("Trees")) == (starts[2], len(TEXT))
    assert section_of(Document("a", "No headings."), 3) == (0, 12)


def test_hits_of_one_stretch_are_one_passage_under_the_best(filled: Index) -> None:
    hits = Retriever(filled).search("bees3 bees4 bees7", k=3)
    found = widen(filled, hits, window=1)
    assert [p.rank for p in found] == list(range(1, len(found) + 1))
    (together,) = [p for p in found if len(p.hits) > 1] or [found[0]]
    assert together.score == max(hit.score for hit in together.hits)
    assert sorted(hit.rank for p in found for hit in p.hits) == [1, 2, 3]
    for passage in found:
        for hit in passage.hits:
            at = hit.chunk.start - passage.start
            assert passage.text[at : at + len(hit.chunk.text)] == hit.chunk.text


def test_the_page_is_that_of_its_beginning(filled: Index) -> None:
    hit = Retriever(filled).search("milk", k=1)[0]
    assert hit.chunk.page == 2
    assert widen(filled, [hit], window=1)[0].page == 1


def test_what_has_changed_since_is_shown_as_it_was_found(filled: Index) -> None:
    hits = Retriever(filled).search("bees3 honey", k=2)
    filled.remove("long")
    filled.add([Document("doc", "Something else.")])
    found = widen(filled, hits, window=2, section=True)
    assert [p.text for p in found] == [hit.chunk.text for hit in hits]


def test_numbers_below_nothing_are_refused(filled: Index) -> None:
    with pytest.raises(UsageError, match="expected a window and a length of 0 or more, got -1 and 10"):
        widen(filled, [], window=-1, max_characters=10)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.lists(st.sampled_from(["bees1", "bees2", "bees6", "honey", "milk", "owls", "word"]), min_size=1),
    k=st.integers(1, 12),
    window=st.integers(0, 4),
    section=st.booleans(),
    at_most=st.integers(0, 2000),
)
def test_passages_never_break_a_span_nor_overlap(
    filled: Index, query: list[str], k: int, window: int, section: bool, at_most: int
) -> None:
    hits: list[Hit] = Retriever(filled).search(" ".join(query), k=k)
    found = widen(filled, hits, window=window, section=section, max_characters=at_most)
    texts = {source: filled.document(source).text for source in ("doc", "long")}
    assert sorted(hit.chunk_id for p in found for hit in p.hits) == sorted(hit.chunk_id for hit in hits)
    taken: set[tuple[str, int]] = set()
    for passage in found:
        assert texts[passage.source][passage.start : passage.end] == passage.text == passage.text.strip()
        stretch = {(passage.source, at) for at in range(passage.start, passage.end)}
        assert not taken & stretch
        taken |= stretch
        for hit in passage.hits:
            assert passage.start <= hit.chunk.start < hit.chunk.end <= passage.end
    assert [p.hits[0].rank for p in found] == sorted(p.hits[0].rank for p in found)
