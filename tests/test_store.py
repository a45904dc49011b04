"""Rows and bytes: what goes into SQLite comes out the same, and no writing is ever half done."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rag.chunking import Chunking, chunk_document
from rag.errors import IndexMismatchError, LoadError
from rag.index import Index
from rag.store import FileRow, Store, embedding_key, text_key
from rag.types import Chunk, Document, JsonValue, Section
from rag.writer import StoreWriter
from tests.fakes import HashingEncoder

SPACE = "a space"
ROW = FileRow(0, "a.txt", 5, 6, b"hash", None, ("a note",))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "index.sqlite"


@pytest.fixture
def writer(file: Path) -> Iterator[StoreWriter]:
    made = StoreWriter(file, create=True)
    yield made
    made.close()


@pytest.fixture
def store(file: Path, writer: StoreWriter) -> Iterator[Store]:
    made = Store(file)
    yield made
    made.close()


def put(writer: StoreWriter, row: FileRow, *documents: Document) -> None:
    cut = [(document, cut_small(document)) for document in documents]
    texts = {chunk.encoded for _, chunks in cut for chunk in chunks}
    writer.add_embeddings([embedding_key(SPACE, text) for text in texts], [text.encode()[:4] for text in texts])
    writer.put_file("/root", row, cut, space=SPACE)


def cut_small(document: Document) -> list[Chunk]:
    return chunk_document(document, chunking=Chunking(max_tokens=16), count_tokens=HashingEncoder().count_tokens)


words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=30)


@st.composite
def documents(draw: st.DrawFn) -> Document:
    text = draw(st.lists(st.sampled_from(["honey", "bees.", "\n\n", "\n", "😀", "e\u0301", "東京", "x" * 40]) | words))
    joined = " ".join(text)
    pages = [0, *sorted(draw(st.lists(st.integers(0, len(joined)), max_size=4)))] if draw(st.booleans()) else []
    starts = sorted(draw(st.sets(st.integers(0, len(joined)), max_size=3)))
    sections = [Section(start, start, draw(words.filter(str.strip))) for start in starts]
    metadata: dict[str, JsonValue] = draw(
        st.dictionaries(words, st.none() | st.integers() | words | st.lists(st.booleans()))
    )
    return Document("source", joined, draw(st.none() | words), tuple(sections), tuple(pages), metadata)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=documents())
def test_documents_and_spans_come_back_as_they_went_in(index: Index, document: Document) -> None:
    index.add([document])
    assert index.document("source") == document
    with index.reading() as view:
        ids = view.store.chunks(range(10_000))
    for chunk in ids.values():
        assert document.text[chunk.start : chunk.end] == chunk.text
        assert chunk.title == document.title
        for offset in range(chunk.start, chunk.end):
            assert chunk.page_at(offset) == document.page_at(offset)


def test_a_file_and_its_documents_come_back(writer: StoreWriter, store: Store) -> None:
    document = Document("a.txt", "Bees make honey.", "Title", (Section(0, 5, "A > B"),), (0, 5), {"n": [1, None]})
    put(writer, ROW, document)
    assert store.files("/root") == {"a.txt": FileRow(1, "a.txt", 5, 6, b"hash", None, ("a note",))}
    assert store.files("/other") == {}
    assert store.document("a.txt") == document
    assert list(store.chunks([1, 2]).values()) == cut_small(document)
    assert (store.owner("a.txt"), store.owner("a"), store.has_file("a.txt")) == (("/root", "a.txt"), None, True)


def test_the_owner_of_lines_is_their_file(writer: StoreWriter, store: Store) -> None:
    put(writer, replace(ROW, relpath="l.jsonl"), Document("l.jsonl#1", "Bees."), Document("l.jsonl#2", "Cows."))
    put(writer, replace(ROW, relpath="m.txt#l.jsonl"), Document("m.txt#l.jsonl#1", "Apples."))
    assert store.owner("l.jsonl") == ("/root", "l.jsonl")
    assert store.owner("m.txt#l.jsonl") == ("/root", "m.txt#l.jsonl")
    assert [store.owner(source) for source in ("l.jsonl#", "l.json", "l.jsonl$", "m.txt")] == [None] * 4


def test_a_taken_source_is_refused_and_all_stays_as_it_was(writer: StoreWriter, store: Store) -> None:
    put(writer, ROW, Document("a.txt", "Bees."))
    before = store.counts(), store.last_change(), store.files("/root")
    other = FileRow(0, "b.txt", 1, 1, None, None, ())
    with pytest.raises(LoadError, match=r"holds a document whose source another one has: 'a\.txt'"):
        put(writer, other, Document("b.txt", "Bees."), Document("a.txt", "Bees."))
    assert (store.counts(), store.last_change(), store.files("/root")) == before


def test_chunks_without_an_embedding_are_refused_whole(writer: StoreWriter, store: Store) -> None:
    document = Document("a.txt", "Bees.")
    with pytest.raises(sqlite3.IntegrityError, match="embedding_id"):
        writer.put_file("/root", ROW, [(document, cut_small(document))], space=SPACE)
    assert store.counts() == {"files": 0, "documents": 0, "chunks": 0, "embeddings": 0}
    assert list(store.bm25(["bees"], k=5)) == []


def test_changes_tell_what_came_and_went(writer: StoreWriter, store: Store) -> None:
    assert store.last_change() == (0, b"")
    put(writer, ROW, Document("a.txt", "Bees."))
    put(writer, ROW, Document("a.txt", "Cows."))
    change, token = store.last_change()
    assert (change, len(token), store.change_token(2), store.change_token(3)) == (2, 8, token, None)
    assert [(ids, data) for ids, data in store.vectors_since(0)] == [([2], b"Cows")]
    assert (list(store.vectors_since(2)), store.removed_since(1), store.removed_since(2)) == ([], [1], [])
    assert [store.changed_chunks(since=n) for n in (0, 1, 2)] == [2, 2, 0]
    writer.remove_files([1])
    assert (store.removed_since(2), store.bm25(["cows"], k=5), store.files("/root")) == ([2], {}, {})
    put(writer, ROW, Document("a.txt", "Cows."))
    assert list(store.vectors_since(0)) == [([3], b"Cows")]  # an id is never given again


def test_vectors_come_in_batches(writer: StoreWriter, store: Store) -> None:
    put(writer, ROW, *(Document(f"{n}", f"{n:04}") for n in range(5)))
    assert list(store.vectors_since(0, batch=2)) == [([1, 2], b"00000001"), ([3, 4], b"00020003"), ([5], b"0004")]


def test_unused_embeddings_go_and_used_ones_stay(writer: StoreWriter, store: Store) -> None:
    put(writer, ROW, Document("a.txt", "Bees."))
    keys = [embedding_key(SPACE, text) for text in ("Bees.", "Never used.")]
    writer.add_embeddings(keys, [b"1234", b"5678"])
    assert store.known_embeddings(keys) == {keys[0]: 1, keys[1]: 2}
    assert next(store.vectors_since(0))[1] == b"Bees"  # the first one stays
    writer.drop_loose_embeddings()
    assert store.known_embeddings(keys) == {keys[0]: 1}


def test_keys_differ_by_text_and_space() -> None:
    assert len({embedding_key(space, text) for space in "ab" for text in ("x", "y", "x\x00y")}) == 6
    assert text_key("a") != text_key("b")
    assert all(-(2**63) <= text_key(str(n)) < 2**63 for n in range(100))


def test_a_reader_in_a_transaction_sees_one_state(writer: StoreWriter, store: Store) -> None:
    put(writer, ROW, Document("a.txt", "Bees."))
    with store.transaction():
        assert store.last_change()[0] == 1
        put(writer, ROW, Document("a.txt", "Cows."))
        assert (store.last_change()[0], store.n_chunks(), list(store.bm25(["bees"], k=5))) == (1, 1, [1])
    assert (store.last_change()[0], list(store.bm25(["bees"], k=5))) == (2, [])


def test_words_are_counted_by_their_stems(writer: StoreWriter, store: Store) -> None:
    put(writer, ROW, Document("a", "Bees flying."), Document("b", "A bee flies."), Document("c", "Cows."))
    assert store.document_frequencies(["bee", "fli", "cow", "none"]) == {"bee": 2, "fli": 1, "cow": 1}
    assert sorted(store.bm25(["bee"], k=5)) == [1, 2]


def test_a_newer_format_is_not_touched_by_a_writer(file: Path, writer: StoreWriter) -> None:
    writer._db.execute("pragma user_version = 5")
    for kind in (Store, StoreWriter):
        with pytest.raises(IndexMismatchError, match="has index format 5, this version reads up to 4"):
            kind(file)
    assert writer._db.execute("pragma user_version").fetchone() == (5,)


def test_old_reports_go_after_a_hundred(writer: StoreWriter, store: Store) -> None:
    for n in range(103):
        writer.add_ingest({"n": n})
    last = store.last_ingest()
    assert last is not None
    assert last["n"] == 102
    assert writer._db.execute("select count(*) from ingests").fetchone() == (100,)
