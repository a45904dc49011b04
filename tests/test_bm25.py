"""BM25 against FTS5's own ranking: with FTS5's constants the same chunks and scores, after any change."""

from __future__ import annotations

import math
import random
import sqlite3
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import rag.bm25
from rag.errors import IndexDamagedError
from rag.index import Index
from rag.retriever import Retriever
from rag.store import Store
from rag.types import Document
from rag.words import extra_words, stems
from tests.fakes import HashingEncoder

# "the" and "honey" stand in most chunks and weigh next to nothing, "bee_hive" and "don't" are phrases of two words.
OWN_WEIGHT = rag.bm25._weight
VOCABULARY = ["the", "honey", "bees", "bee", "apple", "cow", "cows", "bee_hive", "don't", "東京", "résumé", "x9"]

words = st.lists(st.sampled_from([*VOCABULARY, "the", "honey", "the"]), min_size=1, max_size=200)
texts = words.map(" ".join)
terms = st.lists(st.sampled_from([*VOCABULARY, "hive", "unknown", "🐝", 'say "the'] * 2), min_size=1, max_size=8)


@pytest.fixture(autouse=True, params=[0.0, 2.0], ids=["all", "few"])
def as_fts5(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """FTS5's constants, so that it is the oracle; with the lengths of all chunks, and of those alone that count."""
    monkeypatch.setattr(rag.bm25, "_K1", 1.2)
    monkeypatch.setattr(rag.bm25, "_B", 0.75)
    monkeypatch.setattr(rag.bm25, "_weight", rag.bm25._fts5_weight)
    monkeypatch.setattr(rag.bm25, "_FEW", request.param)


def by_fts5(store: Store, asked: Sequence[str]) -> dict[int, float]:
    """All chunks that FTS5 finds, through a connection of its own."""
    match = " OR ".join('"' + term.replace('"', '""') + '"' for term in asked)
    with sqlite3.connect(store.path) as db:
        rows = db.execute("select rowid, -rank from chunks_fts where chunks_fts match ?", [match]).fetchall()
    return dict(rows)


def is_best_of(found: dict[int, float], everything: dict[int, float], k: int) -> bool:
    """Whether these are the k best of all, in order, with their scores; of equal ones any will do."""
    scores = sorted(everything.values(), reverse=True)[:k]
    own = [everything[i] for i in found]
    return list(found.values()) == pytest.approx(scores, rel=1e-6) and own == pytest.approx(scores, rel=1e-6)


def bits(ids: Sequence[int]) -> NDArray[np.uint8]:
    passes = np.zeros(max(ids, default=0) + 1, dtype=bool)
    passes[list(ids)] = True
    return np.packbits(passes, bitorder="little")


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(made=st.lists(texts, min_size=1, max_size=25), queries=st.lists(terms, min_size=1, max_size=5), data=st.data())
def test_the_best_are_those_of_fts5_with_its_scores(
    tmp_path_factory: pytest.TempPathFactory,
    index: Index,
    made: list[str],
    queries: list[list[str]],
    data: st.DataObject,
) -> None:
    folder = tmp_path_factory.mktemp("index")
    with Index.create(folder, encoder=index.encoder) as filled:
        filled.add(Document(f"{n}", text, title=data.draw(st.none() | texts)) for n, text in enumerate(made))
        with filled.reading() as view:
            store = view.store
            for asked in queries:
                everything = by_fts5(store, asked)
                k = data.draw(st.integers(1, 40))
                assert is_best_of(store.bm25(asked, k=k), everything, k)
                passing = data.draw(st.lists(st.integers(1, 60)))
                kept = {i: score for i, score in everything.items() if i in passing}
                assert is_best_of(store.bm25(asked, k=k, passing=bits(passing)), kept, k)
                assert all(score <= store.bm25_ceiling(asked) * (1 + 1e-9) for score in everything.values())


steps = st.lists(
    st.tuples(st.sampled_from(["add", "add", "remove", "compact"]), st.integers(0, 4), texts), min_size=1, max_size=8
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps, asked=terms)
def test_an_open_reader_follows_every_change(
    tmp_path_factory: pytest.TempPathFactory, index: Index, steps: list[tuple[str, int, str]], asked: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("index")
    with Index.create(folder, encoder=index.encoder) as writer, Index.open(folder, encoder=index.encoder) as reader:
        writer.add([Document("first", "The honey of the bees.")])
        there = set()
        for step, n, text in steps:
            if step == "add":
                writer.add([Document(f"{n}", text)])  # in place of what was there under this name
                there.add(n)
            elif step == "remove" and n in there:
                writer.remove(f"{n}")
                there.remove(n)
            elif step == "compact":
                writer.compact()
            with reader.reading() as view:
                assert is_best_of(view.store.bm25(asked, k=100), by_fts5(view.store, asked), 100)
                assert view.store.document_frequencies(["honei"])["honei"] == len(by_fts5(view.store, ["honey"]))


def test_ids_that_come_again_for_other_text_after_a_power_cut_are_told_apart(index: Index) -> None:
    """SQLite's last commits can be lost; an open reader then sees the same change number and ids for other text."""
    index.add([Document("a", "Bees make honey."), Document("b", "Honey.")])
    with index.reading() as view:
        before = view.store.bm25(["honey"], k=5)
    with sqlite3.connect(index.path / "index.sqlite") as db:
        old = db.execute("select id, context, text from chunks where id = 2").fetchone()
        db.execute("insert into chunks_fts (chunks_fts, rowid, context, text) values ('delete', ?, ?, ?)", old)
        db.execute("update chunks set text = 'Honey and honey, from a longer text.' where id = 2")
        db.execute("insert into chunks_fts (rowid, context, text) select id, context, text from chunks where id = 2")
        db.execute("update changes set token = randomblob(8) where id = (select max(id) from changes)")
    with index.reading() as view:
        after, expected = view.store.bm25(["honey"], k=5), by_fts5(view.store, ["honey"])
    assert before != after == pytest.approx(expected)


@pytest.mark.parametrize("apart", [1, 1000])
def test_ids_may_be_far_apart(index: Index, apart: int) -> None:
    """An index that was often rewritten gives high ids, and leaves gaps."""
    for n in range(1, 6):
        with sqlite3.connect(index.path / "index.sqlite") as db:
            if n > 1:
                db.execute("update sqlite_sequence set seq = ? where name = 'chunks'", [apart * n])
        index.add([Document(f"{n}", "honey " * n + "and bees")])
    with index.reading() as view:
        found = view.store.bm25(["honey", "bees"], k=9)
        assert max(found) == 5 * apart + 1
        assert is_best_of(found, by_fts5(view.store, ["honey", "bees"]), 9)


def test_a_rare_phrase_of_words_of_most_chunks_counts(index: Index) -> None:
    texts = [
        "apples are the honey",
        *(f"the best of apples, not honey {n}" for n in range(5)),
        *["the other honey"] * 20,
    ]
    index.add(Document(f"{n}", text) for n, text in enumerate(texts))
    with index.reading() as view:
        found = view.store.bm25(["the honey", "best"], k=2)
        assert is_best_of(found, by_fts5(view.store, ["the honey", "best"]), 2)
    assert next(iter(found)) == 1


def test_memory_is_kept_for_the_words_asked_for_last(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_FEW", 0)
    monkeypatch.setattr(rag.bm25, "_POSTINGS_KEPT", 25)
    index.add(Document(f"{n}", "apple cow milk" + " tree" * n) for n in range(10))
    with index.reading() as view:
        for asked in (["apple"], ["cow"], ["apple"], ["milk"], ["tree"]):
            assert is_best_of(view.store.bm25(asked, k=9), by_fts5(view.store, asked), 9)
        assert list(view.store._words._postings) == ["milk", "tree"]


def test_a_reader_that_stays_lets_go_of_what_has_gone(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_FEW", 0)
    monkeypatch.setattr(rag.bm25, "_GONE_KEPT", 20)
    for n in range(30):
        index.add(Document(f"{i}", f"apple round{n} " + "tree " * i) for i in range(10))
        with index.reading() as view:
            assert is_best_of(view.store.bm25(["apple", "tree"], k=5), by_fts5(view.store, ["apple", "tree"]), 5)
            assert len(view.store._words._ids) <= 2 * 10 + 20 + 10


def test_of_words_in_few_chunks_only_their_lengths_are_read(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_FEW", 0.1)
    index.add(Document(f"{n}", f"honey bees {n}" if n % 10 else f"apple {n} cow") for n in range(40))
    with index.reading() as view:
        assert is_best_of(view.store.bm25(["apple"], k=30), by_fts5(view.store, ["apple"]), 30)
        assert view.store._words._all is None
        assert is_best_of(view.store.bm25(["apple", "honey"], k=30), by_fts5(view.store, ["apple", "honey"]), 30)
        assert view.store._words._all is not None


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    asked=terms, k=st.integers(1, 6), also=st.lists(st.integers(0, 30)), passing=st.none() | st.sets(st.integers(0, 30))
)
def test_chunks_that_are_asked_for_are_scored_behind_the_best(
    vocabulary_index: Index, asked: list[str], k: int, also: list[int], passing: set[int] | None
) -> None:
    with vocabulary_index.reading() as view:
        everything = by_fts5(view.store, asked)
        may = None if passing is None else bits(sorted(passing))
        allowed = {i: s for i, s in everything.items() if passing is None or i in passing}
        best, others = view.store.bm25_and(asked, k=k, passing=may, also=also)
    assert is_best_of(best, allowed, k)
    assert others == pytest.approx({i: allowed[i] for i in also if i in allowed and i not in best}, rel=1e-6)


@pytest.fixture(scope="module")
def vocabulary_index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Index]:
    with Index.create(tmp_path_factory.mktemp("words"), encoder=HashingEncoder()) as index:
        lot = random.Random(0)
        index.add(Document(f"{n}", " ".join(lot.choices(VOCABULARY, k=lot.randint(1, 40)))) for n in range(25))
        yield index


@pytest.mark.parametrize("query", [["honey"], ["cow", "bees"], ["don't", "x9", "the", "unknown"]])
def test_with_constants_of_our_own_scores_are_the_formulas(
    vocabulary_index: Index, monkeypatch: pytest.MonkeyPatch, query: list[str]
) -> None:
    k1, b = 0.9, 0.4
    monkeypatch.setattr(rag.bm25, "_K1", k1)
    monkeypatch.setattr(rag.bm25, "_B", b)
    monkeypatch.setattr(rag.bm25, "_weight", OWN_WEIGHT)
    with Index.open(vocabulary_index.path, encoder=vocabulary_index.encoder) as opened, opened.reading() as view:
        chunks = view.store.chunks(range(1, 26))
        whole = [f"{chunk.text} {extra_words(chunk.text)}" for chunk in chunks.values()]
        read = dict(zip(chunks, stems(whole), strict=True))
        mean = sum(map(len, read.values())) / len(read)
        expected = dict.fromkeys(read, 0.0)
        for term in query:
            wanted = stems([term])[0]
            counts = {
                i: sum(found[n : n + len(wanted)] == wanted for n in range(len(found))) for i, found in read.items()
            }
            df = sum(map(bool, counts.values()))
            weight = math.log(1 + (len(read) - df + 0.5) / (df + 0.5))
            for i, tf in counts.items():
                expected[i] += weight * tf * (k1 + 1) / (tf + k1 * (1 - b + b * len(read[i]) / mean))
        found = view.store.bm25(query, k=30)
    assert found == pytest.approx({i: score for i, score in expected.items() if score}, rel=1e-6)


def test_a_reader_still_writes_nothing(index: Index) -> None:
    index.add([Document("a", "Bees make honey.")])
    before = (index.path / "index.sqlite").read_bytes()
    with index.reading() as view:
        assert view.store.bm25(["honey"], k=1)
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            view.store._db.execute("delete from chunks")
    assert (index.path / "index.sqlite").read_bytes() == before


def test_a_word_index_without_a_chunks_length_is_damaged(index: Index) -> None:
    index.add(Document(f"{n}", "Bees make honey.") for n in range(3))
    for damage in ("where id = 2", ""):
        with sqlite3.connect(index.path / "index.sqlite") as db:
            db.execute(f"delete from chunks_fts_docsize {damage}")
            db.execute("insert into changes (token, at) values (randomblob(8), '')")
        with (
            Index.open(index.path, encoder=index.encoder) as opened,
            pytest.raises(IndexDamagedError, match=r"whose length it does not know.* rag doctor --repair"),
        ):
            Retriever(opened).search("honey", mode="bm25")
    index.examine(repair=True)
    assert [hit.chunk.doc_id for hit in Retriever(index).search("honey", mode="bm25")] == ["0"]
