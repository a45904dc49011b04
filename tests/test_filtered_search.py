"""Search under `--where` against brute force: everything is ranked, and what does not pass is struck out."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.errors import UsageError
from rag.filters import parse_where
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Mode, Retriever
from rag.types import Document, Hit
from rag.view import Passing
from tests.fakes import HashingEncoder

WORDS = ["bee", "honey", "apple", "tree", "cow", "milk", "river", "stone"]
MODES: tuple[Mode, ...] = ("dense", "bm25", "hybrid")

texts = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)


def scored(hits: list[Hit]) -> list[tuple[str, int, float]]:
    return [(hit.chunk.doc_id, hit.chunk.start, hit.score) for hit in hits]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    made=st.lists(st.tuples(st.sampled_from(["a", "b"]), texts), min_size=1, max_size=20),
    query=texts,
    k=st.integers(1, 25),
    mode=st.sampled_from(MODES),
)
def test_a_filtered_search_equals_brute_force_over_what_passes(
    tmp_path_factory: pytest.TempPathFactory, made: list[tuple[str, str]], query: str, k: int, mode: Mode
) -> None:
    folder = tmp_path_factory.mktemp("index")
    with Index.create(folder, encoder=HashingEncoder(dim=64)) as index:
        # Each text once, so that no hit stands for other places too.
        distinct = {text: place for place, text in made}
        index.add(Document(f"{place}/{n}", text) for n, (text, place) in enumerate(sorted(distinct.items())))
        everything = Retriever(index).search(query, k=1000, mode=mode)
        expected = [hit for hit in everything if hit.chunk.doc_id.startswith("a/")][:k]
        hits = Retriever(index).search(query, k=k, mode=mode, where=["path=a/**"])
    assert scored(hits) == scored(expected)
    assert [hit.rank for hit in hits] == list(range(1, len(hits) + 1))


@pytest.mark.parametrize("mode", MODES)
def test_one_document_among_many_is_found_though_all_others_are_better(index: Index, mode: Mode) -> None:
    """The candidates of each side are 200: what passes must not have to be among them."""
    index.add(Document(f"many/{n:04}", f"honey honey honey {n}") for n in range(600))
    index.add([Document("one/needle", "A long text about stones and rivers that says honey once, near its end.")])
    (hit,) = Retriever(index).search("honey", mode=mode, where=["path=one/**"])
    assert (hit.chunk.doc_id, hit.rank) == ("one/needle", 1)
    assert Retriever(index).search("honey", mode=mode, where=["path=none/**"]) == []


def test_the_same_text_elsewhere_is_told_only_where_it_passes(index: Index) -> None:
    index.add(Document(f"{place}/x", "Bees make honey.") for place in ("a", "b", "c"))
    (hit,) = Retriever(index).search("honey", where=["path!=a/**"])
    assert (hit.chunk.doc_id, [place.source for place in hit.also_in]) == ("b/x", ["c/x"])


def test_front_matter_json_fields_types_and_dates_can_be_asked_for(index: Index, tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "a.md").write_text("---\nauthor: Ada\ntags: [red, blue]\nyear: 2024\n---\nBees make honey.\n")
    (docs / "b.md").write_text("---\nauthor: Bob\nyear: 1999\n---\nHoney is sweet.\n")
    (docs / "c.jsonl").write_text(
        '{"id": 1, "text": "Honey of line one.", "lang": "en"}\n{"id": 2, "text": "Honig."}\n'
    )
    index.ingest(docs)

    def passing(*where: str) -> list[str]:
        assert [row.source for row in index.documents(where=where)] == sorted(
            hit.chunk.doc_id for hit in Retriever(index).search("honey", mode="dense", where=where)
        )
        return [row.source for row in index.documents(where=where)]

    assert passing("author=Ada") == ["a.md"]
    assert passing("tags=blue", "year>2000") == ["a.md"]
    assert passing("year<2000") == ["b.md"]
    assert passing("lang=en") == ["c.jsonl#1"]
    assert passing("type=jsonl", "lang!=en") == ["c.jsonl#2"]
    assert passing("modified>=2020") == ["a.md", "b.md", "c.jsonl#1", "c.jsonl#2"]
    assert passing("modified<2020") == []


def test_a_filter_follows_what_is_committed(index: Index) -> None:
    """The chunks that pass are kept for the next search with the same filter, of the same state only."""
    index.add([Document("a/1", "Bees make honey.", metadata={"kind": "old"})])
    where = ["kind=new"]
    assert Retriever(index).search("honey", where=where) == []
    index.add([Document("a/1", "Bees make honey.", metadata={"kind": "new"})])
    assert [hit.chunk.doc_id for hit in Retriever(index).search("honey", where=where)] == ["a/1"]
    index.remove("a/1")
    assert Retriever(index).search("honey", where=where) == []


def test_an_answer_comes_from_what_passes_only(index: Index, fake_reading: None) -> None:
    index.add([Document("old/1", "The refund takes 10 days."), Document("new/1", "The refund takes 20 days.")])
    pipeline = Pipeline(Retriever(index), min_confidence=0)
    answer = pipeline.ask("How long does the refund take?", where=["path=new/**"])
    assert {hit.chunk.doc_id for hit in answer.nearest} == {"new/1"}
    assert {citation.source for citation in answer.citations} == {"new/1"}


def test_a_condition_without_sense_says_what_was_expected(index: Index) -> None:
    with pytest.raises(UsageError, match="such as"):
        Retriever(index).search("honey", where=["author"])


@given(ids=st.sets(st.integers(1, 200)), probe=st.integers(1, 400))
def test_what_passes_is_told_by_its_bit(ids: set[int], probe: int) -> None:
    passing = Passing.of(sorted(ids))
    assert (probe in passing) == (probe in ids)


def test_a_filter_as_a_string_or_parsed_is_the_same(index: Index) -> None:
    index.add([Document("a/1", "Bees."), Document("b/1", "Bees!")])
    retriever = Retriever(index)
    assert retriever.search("bees", where=parse_where("path=a/*")) == retriever.search("bees", where=["path=a/*"])
