"""Going over to another encoder: the old vectors serve until all new ones are there, then all at once the new ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.chunking import Chunking
from rag.errors import EncoderError, IndexMismatchError, RagError
from rag.index import Index
from rag.types import Document, Section
from tests.fakes import HashingEncoder
from tests.test_index import found, sql

QUERIES = ("word7 and word123", "a long story", "honey", "東京 蜂蜜")
MODES = ("dense", "bm25", "hybrid")

Rows = list[tuple[object, ...]]


class LetterEncoder(HashingEncoder):
    """Counts four letters as a token, so that it cuts elsewhere."""

    def __init__(self) -> None:
        super().__init__(name="letters", dim=64)

    def count_tokens(self, text: str) -> int:
        return -(-len(text) // 4) + 2


class FailingEncoder(HashingEncoder):
    """Fails once it was given as many texts."""

    def __init__(self, *, after: int) -> None:
        super().__init__(name="new", dim=32)
        self.after = after

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if len(self.texts) >= self.after:
            raise EncoderError("the graphics card is on fire: put it out")
        return super().encode_documents(texts)


def new_encoder() -> HashingEncoder:
    return HashingEncoder(name="new", dim=32)


def documents(n: int = 300) -> list[Document]:
    return [
        *(Document(f"d{i:03}", f"This is word{i} and no other.") for i in range(n)),
        Document("the copy", "This is word7 and no other."),
        Document("long", "A long story of " + " ".join(f"word{i}" for i in range(200)) + ".", "Story"),
        Document("paged", "Honey. Bees.\n\nMore honey.", None, (Section(14, 14, "More"),), (0, 7)),
        Document("cjk", "東京で蜂蜜を食べる。🐝 " * 30),
        Document("empty", ""),
    ]


def hits(index: Index) -> list[list[tuple[str, int, str, float]]]:
    return [found(index, query, mode) for query in QUERIES for mode in MODES]


def chunks(index: Index) -> Rows:
    columns = "source, start, end, page, breaks, section, context, c.text, text_key"
    return sql(index.path, f"select {columns} from chunks c join documents d on d.id = document_id order by 1, 2")


def fresh(tmp_path: Path, encoder: HashingEncoder, made: list[Document]) -> Index:
    index = Index.create(tmp_path / "fresh", encoder=encoder)
    index.add(made)
    return index


def known_by_name(monkeypatch: pytest.MonkeyPatch, *encoders: HashingEncoder) -> list[str]:
    """`load_encoder` resolves these names and no others; returns a list of what it is asked for."""
    asked: list[str] = []

    def load(name: str, *, fetch: bool = True, **_: object) -> HashingEncoder:
        asked.append(name)
        for encoder in encoders:
            if encoder.name == name:
                return encoder
        raise EncoderError(f"no model {name!r} on this machine: name another")

    monkeypatch.setattr("rag.index.load_encoder", load)
    return asked


def after(encoder: HashingEncoder, n_batches: int) -> Callable[[], bool]:
    """Says stop once an encoder was given so many batches."""
    return lambda: len(encoder.texts) >= n_batches * 128


# --- after the switch


@pytest.mark.parametrize(
    "make",
    [
        new_encoder,
        lambda: HashingEncoder(name="longer", max_tokens=400),
        lambda: HashingEncoder(name="shorter", max_tokens=24),
        lambda: HashingEncoder(name="hashing", dim=16),
        LetterEncoder,
    ],
    ids=["smaller", "reads more", "reads less", "of the same name", "counts other tokens"],
)
def test_the_index_is_then_as_one_made_with_the_new_encoder(
    index: Index, tmp_path: Path, make: Callable[[], HashingEncoder]
) -> None:
    made = documents()
    index.add(made)
    report = index.reembed(make())
    assert not report.stopped
    assert report.documents == len(made)
    with fresh(tmp_path, make(), made) as other:
        assert report.chunks == other.status().chunks
        assert report.embedded == other.status().embeddings == index.status().embeddings
        assert chunks(index) == chunks(other)
        assert hits(index) == hits(other)
        for query in QUERIES[:2]:
            assert found(index, query, "dense")[0][3] > 0
    assert (index.status().encoder, index.status().reembedding) == (make().name, None)
    assert index.examine().holds
    with Index.open(index.path, encoder=make()) as again:
        assert hits(again) == hits(index)


def test_documents_that_are_cut_alike_keep_their_passages_and_words(index: Index) -> None:
    index.add(documents(3))
    before = sql(index.path, "select id, text from chunks order by id")
    index.reembed(new_encoder())
    assert sql(index.path, "select id, text from chunks order by id") == before


def test_an_own_length_of_passages_is_kept_where_the_new_encoder_reads_as_much(
    tmp_path: Path, encoder: HashingEncoder
) -> None:
    with Index.create(tmp_path / "own", encoder=encoder, chunking=Chunking(max_tokens=40)) as index:
        index.add(documents(3))
        before = chunks(index)
        index.reembed(HashingEncoder(name="longer", max_tokens=400))
        assert chunks(index) == before
        index.reembed(HashingEncoder(name="shorter", max_tokens=24))
        assert max(len(str(row[7]).split()) for row in chunks(index)) <= 22


def test_an_empty_index_goes_over_too(index: Index) -> None:
    report = index.reembed(new_encoder())
    assert (report.documents, report.chunks, report.embedded, report.stopped) == (0, 0, 0, False)
    index.add([Document("a", "Bees make honey.")])
    assert found(index, "honey")[0][0] == "a"
    assert index.examine().holds


def test_what_is_ingested_afterwards_is_cut_and_embedded_by_the_new_encoder(
    index: Index, docs: Path, tmp_path: Path
) -> None:
    index.ingest(docs)
    encoder = HashingEncoder(name="shorter", dim=32, max_tokens=24)
    assert index.reembed(encoder).embedded == 3
    encoder.texts.clear()
    (docs / "long.txt").write_text("Deer " + " ".join(f"jump{n}" for n in range(60)))
    assert index.ingest(docs).unchanged == 3
    assert len(encoder.texts) == 3
    with Index.create(tmp_path / "fresh", encoder=encoder) as other:
        other.ingest(docs)
        assert chunks(index) == chunks(other)
        assert hits(index) == hits(other)


# --- half way


def test_until_the_switch_the_old_vectors_serve_and_the_next_run_goes_on(index: Index, tmp_path: Path) -> None:
    made = documents()
    index.add(made)
    before, rows = hits(index), chunks(index)
    encoder = new_encoder()
    report = index.reembed(encoder, stop=after(encoder, 1))
    assert (report.stopped, report.embedded, len(encoder.texts)) == (True, 128, 128)
    assert (index.status().encoder, index.status().reembedding) == ("hashing", "new")
    assert (hits(index), chunks(index)) == (before, rows)
    with Index.open(index.path, encoder=HashingEncoder()) as again:
        assert hits(again) == before
        assert again.status().reembedding == "new"
    encoder.texts.clear()
    report = index.reembed(encoder)
    with fresh(tmp_path, new_encoder(), made) as other:
        assert report.embedded == len(encoder.texts) == other.status().embeddings - 128
        assert hits(index) == hits(other)
    assert (index.status().encoder, index.status().reembedding) == ("new", None)


def test_an_encoder_that_fails_half_way_leaves_the_old_vectors_to_serve(index: Index) -> None:
    index.add(documents())
    before = hits(index)
    failing = FailingEncoder(after=128)
    with Index.open(index.path, encoder=HashingEncoder()) as reader:
        with pytest.raises(EncoderError, match="the graphics card is on fire: put it out"):
            index.reembed(failing)
        for handle in (index, reader):
            assert (handle.status().encoder, handle.status().reembedding) == ("hashing", "new")
            assert hits(handle) == before
    assert index.examine().holds
    failing.after, failing.texts = 10_000, []
    assert index.reembed(failing).embedded == len(failing.texts) == index.status().embeddings - 128
    assert index.status().reembedding is None


def test_what_changes_between_two_runs_costs_only_itself(index: Index, docs: Path, tmp_path: Path) -> None:
    made = documents()
    index.add(made)
    index.ingest(docs)
    encoder = new_encoder()
    index.reembed(encoder, stop=after(encoder, 2))
    filled = set(encoder.texts)
    (docs / "bees.txt").write_text("Wasps build nests.")
    (docs / "apples.txt").unlink()
    index.ingest(docs)
    index.remove("d005")
    encoder.texts.clear()
    index.reembed(encoder)
    assert not filled & set(encoder.texts)
    assert "Wasps build nests." in encoder.texts
    with Index.create(tmp_path / "fresh", encoder=encoder) as other:
        other.add(document for document in made if document.doc_id != "d005")
        other.ingest(docs)
        assert chunks(index) == chunks(other)
        assert hits(index) == hits(other)
    assert index.examine().holds


def test_another_goal_gives_up_what_was_filled_in_for_the_first(index: Index) -> None:
    index.add(documents())
    old = index.status().embeddings
    encoder = new_encoder()
    index.reembed(encoder, stop=after(encoder, 1))
    assert index.status().embeddings == old + 128
    other = HashingEncoder(name="other", dim=48)
    index.reembed(other, stop=after(other, 1))
    assert (index.status().embeddings, index.status().reembedding) == (old + 128, "other")
    assert index.reembed(other).embedded == old - 128
    assert (index.status().embeddings, index.status().encoder) == (old, "other")


# --- the same space


def test_an_encoder_of_the_same_space_only_changes_the_record(index: Index, encoder: HashingEncoder) -> None:
    index.add(documents(3))
    before, change = hits(index), sql(index.path, "select max(id) from changes")
    encoder.texts.clear()
    same = HashingEncoder()
    same.name = "another name"
    report = index.reembed(same)
    assert (report.documents, report.embedded, same.texts, encoder.texts) == (0, 0, [], [])
    assert index.status().encoder == "another name"
    assert hits(index) == before
    assert sql(index.path, "select max(id) from changes") == change


class RoundingEncoder(HashingEncoder):
    """The same vectors with fewer digits: another form of one space."""

    form = "rounded"

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.round(super()._encode(texts), 1)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


def vectors(index: Index) -> Rows:
    return sql(index.path, "select key, vector from embeddings order by key")


def test_another_form_of_the_encoder_embeds_every_text_once_more(index: Index, tmp_path: Path) -> None:
    index.add(documents())
    assert vectors(index) != vectors(expected := fresh(tmp_path, RoundingEncoder(), documents()))
    rounding = RoundingEncoder()
    report = index.reembed(rounding)
    assert report.embedded == len(rounding.texts) == index.status().embeddings
    assert (report.documents, report.chunks) == (index.status().documents, index.status().chunks)
    assert index.status().encoder_form == "rounded"
    assert vectors(index) == vectors(expected)
    assert hits(index) == hits(expected)
    with Index.open(index.path, encoder=RoundingEncoder()) as other:
        assert hits(other) == hits(expected)
    assert index.examine().holds
    assert index.reembed(RoundingEncoder()).embedded == 0


def test_a_form_that_was_taken_half_way_goes_on_there_or_is_taken_back(index: Index, tmp_path: Path) -> None:
    index.add(documents())
    before, total = vectors(index), index.status().embeddings
    rounding = RoundingEncoder()
    report = index.reembed(rounding, stop=after(rounding, 1))
    assert (report.stopped, report.embedded, index.status().encoder_form) == (True, 128, "fake")
    assert index.examine().holds
    rounding = RoundingEncoder()
    index.reembed(rounding, stop=after(rounding, 1))
    assert vectors(index) != before
    assert index.reembed(HashingEncoder()).embedded == total
    assert vectors(index) == before
    rounding = RoundingEncoder()
    index.reembed(rounding, stop=after(rounding, 1))
    assert index.reembed(RoundingEncoder()).embedded == total - 128
    assert vectors(index) == vectors(fresh(tmp_path, RoundingEncoder(), documents()))
    assert index.status().encoder_form == "rounded"


def test_going_back_to_the_present_encoder_gives_up_a_change_that_was_begun(index: Index) -> None:
    index.add(documents())
    before, old = hits(index), index.status().embeddings
    encoder = new_encoder()
    index.reembed(encoder, stop=after(encoder, 1))
    index.reembed(HashingEncoder())
    assert index.status().reembedding is None
    assert hits(index) == before
    index.compact()
    assert index.status().embeddings == old


# --- readers that were there before


def test_a_reader_goes_over_at_its_next_search(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add(documents())
    asked = known_by_name(monkeypatch, new_encoder(), HashingEncoder())
    with Index.open(index.path) as reader:
        old = hits(reader)
        assert asked == ["hashing"]
        with reader.reading() as view:
            index.reembed(new_encoder())
            assert (view.space, view.n_vectors) == (HashingEncoder().space, view.store.n_chunks())
            assert view.dense(HashingEncoder().encode_queries(["word7"])[0], k=1)
        now = hits(reader)
        assert asked == ["hashing", "new"]
        assert now == hits(index)
        assert now != old
        assert reader.status().encoder == "new"


def test_searches_during_the_change_are_of_one_space_or_the_other(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(documents())
    known_by_name(monkeypatch, new_encoder(), HashingEncoder())
    begun, done = Event(), Event()
    seen: list[list[tuple[str, int, str, float]]] = []
    failed: list[BaseException] = []

    def search() -> None:
        try:
            with Index.open(index.path) as reader:
                while True:
                    was_done = done.is_set()
                    seen.append(found(reader, "word7 and word123"))
                    begun.set()
                    if was_done:
                        return
        except BaseException as exc:
            failed.append(exc)
            begun.set()

    old = found(index, "word7 and word123")
    thread = Thread(target=search)
    thread.start()
    try:
        assert begun.wait(60)
        index.reembed(new_encoder())
    finally:
        done.set()
        thread.join()
    assert failed == []
    assert seen[0] == old
    assert seen[-1] == found(index, "word7 and word123") != old
    assert all(one in (seen[0], seen[-1]) for one in seen)


def test_a_reader_with_an_encoder_of_its_own_is_told_if_the_new_one_is_not_here(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.add(documents(3))
    known_by_name(monkeypatch)
    with Index.open(index.path, encoder=HashingEncoder()) as reader:
        assert found(reader, "honey")[0][0] == "paged"
        index.reembed(new_encoder())
        for _ in range(2):
            with pytest.raises(RagError, match="no model 'new' on this machine: name another"):
                found(reader, "honey")
        assert found(reader, "honey", "bm25")[0][0] == "paged"
        known_by_name(monkeypatch, new_encoder())
        assert found(reader, "honey") == found(index, "honey")


def test_a_writer_that_was_open_before_embeds_with_the_new_encoder(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = new_encoder()
    known_by_name(monkeypatch, encoder)
    with Index.open(index.path, encoder=HashingEncoder()) as writer:
        index.add(documents(3))
        index.reembed(new_encoder())
        writer.add([Document("late", "Deer jump.")])
        assert encoder.texts == ["Deer jump."]
        assert found(writer, "deer")[0][0] == "late"
    assert index.examine().holds


def test_the_old_encoder_is_refused_afterwards_in_words(index: Index) -> None:
    index.add(documents(3))
    index.reembed(new_encoder())
    with pytest.raises(
        IndexMismatchError,
        match=r"made with the encoder 'new', and 'hashing' makes other vectors: .* rag reembed --encoder hashing",
    ):
        Index.open(index.path, encoder=HashingEncoder())


def test_the_report_as_json_has_the_keys_that_programs_rely_on(index: Index) -> None:
    index.add(documents(3))
    report = index.reembed(new_encoder()).as_json()
    chunked = index.status().chunks
    assert report.pop("seconds")
    assert report == {"documents": 8, "chunks": chunked, "embedded": index.status().embeddings, "stopped": False}


def test_progress_is_told_after_each_batch(index: Index) -> None:
    index.add(documents())
    seen: list[tuple[int, int]] = []
    index.reembed(new_encoder(), progress=lambda p: seen.append((p.files_done, p.files_total)))
    assert seen[-1] == (305, 305)
    assert seen == sorted(seen)
    assert len(seen) >= 3


def tokens(index: Index) -> Rows:
    return sql(index.path, "select key, bits from token_bits join embeddings on id = embedding_id order by key")


def test_what_is_kept_of_tokens_goes_over_with_the_vectors(index: Index, tmp_path: Path) -> None:
    index.add(documents())
    other = HashingEncoder(name="other", dim=64)
    index.reembed(other)
    assert tokens(index) == tokens(fresh(tmp_path, HashingEncoder(name="other", dim=64), documents()))
    assert index.status().without_tokens == 0
    index.remove(index.documents()[0].source)
    index.compact()
    assert len(tokens(index)) == index.status().embeddings


def test_tokens_are_made_for_texts_of_which_none_are_kept(index: Index, encoder: HashingEncoder) -> None:
    index.add(documents(5))
    before, expected = tokens(index), hits(index)
    assert len(before) == index.status().embeddings > 2
    sql(index.path, "delete from token_bits where embedding_id > 2")
    assert index.status().without_tokens == len(before) - 2
    (check,) = (check for check in index.examine().checks if check.name == "tokens")
    assert check.holds
    assert check.notes == (
        f"nothing is kept of the tokens of {len(before) - 2} texts: rag reembed makes it, if the encoder can",
    )
    assert index.reembed(encoder).embedded == len(before)
    assert tokens(index) == before
    assert hits(index) == expected
    assert index.reembed(encoder).embedded == 0
