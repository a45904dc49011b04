"""A query to ranked hits: the fusion, the order, and queries that nobody foresaw."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.errors import UsageError
from rag.fusion import fuse
from rag.index import Index
from rag.retriever import Mode, Retriever, query_terms
from rag.types import Document, Place

TEXTS = {
    "apples": "Apples grow on trees, and apples are red.",
    "bees": "Bees make honey from flowers on trees.",
    "cows": "Cows give milk.",
    "résumé": "A résumé of İstanbul: 東京 is far, and Straße too.",
    "syntax": 'The operators NEAR, AND, OR and NOT stand in "quotes"; col:value and x* too.',
}


@pytest.fixture
def filled(index: Index) -> Index:
    index.add(Document(source, text) for source, text in TEXTS.items())
    return index


def ranking(index: Index, query: str, mode: Mode = "hybrid", k: int = 10) -> list[str]:
    return [hit.chunk.doc_id for hit in Retriever(index).search(query, k=k, mode=mode)]


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_hybrid_is_the_fusion_of_both_sides(filled: Index, weight: float) -> None:
    query = "honey from red trees"
    (vector,) = filled.encoder.encode_queries([query])
    with filled.reading() as view:
        sparse = view.store.bm25(["honey", "red", "trees"], k=100)
        ceiling = view.store.bm25_ceiling(["honey", "red", "trees"])
        expected = fuse(view.dense(vector, k=100), sparse, ceiling=ceiling, weight=weight)
    hits = Retriever(filled, weight=weight).search(query)
    assert {hit.chunk_id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert hits[0].chunk.doc_id == "bees"


def test_each_side_alone_has_its_own_scores(filled: Index) -> None:
    (vector,) = filled.encoder.encode_queries(["milk"])
    with filled.reading() as view:
        dense, sparse = view.dense(vector, k=100), view.store.bm25(["milk"], k=100)
    assert {hit.chunk_id: hit.score for hit in Retriever(filled).search("milk", mode="dense")} == dense
    assert {hit.chunk_id: hit.score for hit in Retriever(filled).search("milk", mode="bm25")} == sparse
    assert ranking(filled, "milk", "bm25") == ["cows"]


def test_equal_scores_are_ordered_by_source_and_start(index: Index) -> None:
    index.add(Document(name, f"Honey {name}.") for name in ("c", "a", "d", "b"))
    index.add([Document("aa", "Honey x. " + "y " * 300 + "honey z.")])
    for mode in ("dense", "bm25", "hybrid"):
        hits = Retriever(index).search("honey", mode=mode)
        assert [hit.chunk.doc_id for hit in hits if len(hit.chunk.doc_id) == 1] == ["a", "b", "c", "d"]
        keys = [(-hit.score, hit.chunk.doc_id, hit.chunk.start) for hit in hits]
        assert keys == sorted(keys)


def test_more_than_there_is_gives_what_there_is(filled: Index) -> None:
    for k in (5, 6, 1000, 10**30):
        assert len(ranking(filled, "apples", k=k)) == 5
    assert ranking(filled, "apples", k=1) == ["apples"]


def test_many_copies_of_one_text_do_not_crowd_out_others(index: Index) -> None:
    index.add(Document(f"copy{n:03}", "Bees make honey.") for n in range(400))
    index.add([Document("other", "Honey is sweet and it is sticky.")])
    for mode in ("dense", "bm25", "hybrid"):
        first, second = Retriever(index).search("bees honey", k=2, mode=mode)
        assert (first.chunk.doc_id, second.chunk.doc_id) == ("copy000", "other")
        assert first.also_in == tuple(Place(f"copy{n:03}", None, 0, 16) for n in range(1, 400))


def test_a_text_that_stands_twice_in_one_document_is_one_hit(index: Index) -> None:
    part = "Bees make honey."
    index.add([Document("a", part + "\n\n" + "filler " * 80 + "\n\n" + part + "\n\n" + "padding " * 80)])
    hits = Retriever(index).search("bees make honey")
    text = index.document("a").text
    for hit in hits:
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
        assert all(text[place.start : place.end] == hit.chunk.text for place in hit.also_in)
    assert len({hit.chunk.text for hit in hits}) == len(hits)


def test_an_empty_index_has_no_hits(index: Index) -> None:
    assert ranking(index, "anything") == []


@pytest.mark.parametrize("query", ["", "  \n\t", "\x00", "\udcff \ud800"])
def test_an_empty_question_is_refused(filled: Index, query: str) -> None:
    with pytest.raises(UsageError, match="expected a question, got an empty one: ask in words"):
        Retriever(filled).search(query)


def test_arguments_that_cannot_work_are_refused(filled: Index) -> None:
    with pytest.raises(UsageError, match="expected k of at least 1, got 0"):
        Retriever(filled).search("a", k=0)
    with pytest.raises(UsageError, match="expected mode 'hybrid', 'dense', 'bm25', got 'best'"):
        Retriever(filled).search("a", mode="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"expected a weight from 0 to 1, got 1\.5"):
        Retriever(filled, weight=1.5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('"a" OR NEAR(', ["syntax"]), ("*", []), ("-x", ["syntax"]), ("col:", ["syntax"]), ("col:value", ["syntax"]),
        ("{text} : milk", ["cows"]), ("milk NOT cows", ["cows", "syntax"]), ("^milk + 'bees", ["cows", "bees"]),
        ('""""', []), ("東京", ["résumé"]), ("straße", ["résumé"]), ("RESUME", ["résumé"]), ("istanbul", ["résumé"]),
        ("İSTANBUL", ["résumé"]), ("İstanbul", ["résumé"]), (unicodedata.normalize("NFD", "résumé"), ["résumé"]),
        ("😀", []), ("_", []), ("milk\x00cows", ["cows"]), ("\udcffmilk\ud800", ["cows"]), ("मिल्क", []),
        ("what is the", ["résumé", "syntax"]), ("milk " * 100_000, ["cows"]),
        (" ".join(f"w{n}" for n in range(70)) + " milk", []), ("m" * 1_000_000, []),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_whatever_is_asked_is_words_and_never_syntax(filled: Index, query: str, expected: list[str]) -> None:
    assert sorted(ranking(filled, query, "bm25")) == sorted(expected)
    assert len(ranking(filled, query)) == 5


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(exclude_categories=[])) | st.text("\"*:^-+(){}'NEARORAND x\x00\ud800"))
def test_no_text_is_an_error(filled: Index, query: str) -> None:
    try:
        hits = Retriever(filled).search(query, k=2)
    except UsageError as error:
        assert "got an empty one" in str(error)  # noqa: PT017
    else:
        assert len(hits) == 2


def test_stop_words_count_only_where_there_are_no_others() -> None:
    assert query_terms("What is the Honey of the bees?") == ["honey", "bees"]
    assert query_terms("To be or not to be") == ["not"]
    assert query_terms("Who is it?") == ["who", "is", "it"]
    assert len(query_terms(" ".join(map(str, range(100))))) == 64
