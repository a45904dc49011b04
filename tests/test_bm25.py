"""BM25 over many chunks against FTS5's own ranking: the same chunks, the same scores, after any change."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

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

# "the" and "honey" stand in most chunks and weigh next to nothing, "bee_hive" and "don't" are phrases of two words.
VOCABULARY = ["the", "honey", "bees", "bee", "apple", "cow", "cows", "bee_hive", "don't", "東京", "résumé", "x9"]

words = st.lists(st.sampled_from([*VOCABULARY, "the", "honey", "the"]), min_size=1, max_size=200)
texts = words.map(" ".join)
terms = st.lists(st.sampled_from([*VOCABULARY, "hive", "unknown", "🐝", 'say "the'] * 2), min_size=1, max_size=8)


@pytest.fixture(autouse=True)
def nothing_is_left_to_fts5(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_LEFT_TO_FTS5", 0)


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


def test_words_of_most_chunks_are_read_only_where_they_could_matter(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(Document(f"{n}", f"the honey {n}" if n % 10 else f"the honey of rare bees {n}") for n in range(100))
    read = []
    real = rag.bm25.WordIndex._read_postings

    def noted(self: rag.bm25.WordIndex, word: str) -> rag.bm25._Postings:
        read.append(word)
        return real(self, word)

    monkeypatch.setattr(rag.bm25.WordIndex, "_read_postings", noted)
    with index.reading() as view:
        found = view.store.bm25(["the", "rare", "bees"], k=5)
        assert read == ["rare", "bee"]  # ten chunks hold these: the five best are known
        assert is_best_of(found, by_fts5(view.store, ["the", "rare", "bees"]), 5)
        everything = view.store.bm25(["the", "rare"], k=50)
        assert read == ["rare", "bee", "the"]  # only ten chunks hold "rare"; "rare" was read before
        assert is_best_of(everything, by_fts5(view.store, ["the", "rare"]), 50)


def test_a_rare_phrase_of_words_of_most_chunks_counts(index: Index) -> None:
    texts = [
        "apples are the honey",
        *(f"the best of apples, not honey {n}" for n in range(5)),
        *["the other honey"] * 20,
    ]
    index.add(Document(f"{n}", text) for n, text in enumerate(texts))
    with index.reading() as view:
        found = view.store.bm25(["the_honey", "best"], k=2)
        assert is_best_of(found, by_fts5(view.store, ["the_honey", "best"]), 2)
    assert next(iter(found)) == 1


def test_memory_is_kept_for_the_words_asked_for_last(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_POSTINGS_KEPT", 25)
    index.add(Document(f"{n}", "apple cow milk" + " tree" * n) for n in range(10))
    with index.reading() as view:
        for asked in (["apple"], ["cow"], ["apple"], ["milk"], ["tree"]):
            assert is_best_of(view.store.bm25(asked, k=9), by_fts5(view.store, asked), 9)
        assert list(view.store._words._postings) == ["milk", "tree"]


def test_a_reader_that_stays_lets_go_of_what_has_gone(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_GONE_KEPT", 20)
    for n in range(30):
        index.add(Document(f"{i}", f"apple round{n} " + "tree " * i) for i in range(10))
        with index.reading() as view:
            assert is_best_of(view.store.bm25(["apple", "tree"], k=5), by_fts5(view.store, ["apple", "tree"]), 5)
            assert len(view.store._words._ids) <= 2 * 10 + 20 + 10


def test_few_places_are_left_to_fts5(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.bm25, "_LEFT_TO_FTS5", 20)
    index.add(Document(f"{n}", f"honey bees {n}") for n in range(20))
    with index.reading() as view:
        assert view.store.bm25(["honey"], k=30) == by_fts5(view.store, ["honey"])
        assert view.store.bm25(["honey"], k=30, passing=bits([3, 99])) == {3: by_fts5(view.store, ["honey"])[3]}
        assert not view.store._words._postings
        assert is_best_of(view.store.bm25(["honey", "bees"], k=30), by_fts5(view.store, ["honey", "bees"]), 30)
        assert list(view.store._words._postings) == ["honei", "bee"]


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


def test_a_hybrid_search_is_the_same_on_both_roads(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add(Document(f"{n}", f"{'honey ' * (n % 7)} bees and trees {n}") for n in range(300))
    index.add([Document("kept/one", "Honey from trees.")])
    for where in ([], ["path=kept/**"], ["path=1*"]):
        hits = Retriever(index).search("honey trees", k=20, where=where)
        with monkeypatch.context() as patch:
            patch.setattr(rag.bm25, "_LEFT_TO_FTS5", 10**9)
            expected = Retriever(index).search("honey trees", k=20, where=where)
        assert [hit.chunk.doc_id for hit in hits] == [hit.chunk.doc_id for hit in expected]
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected])
