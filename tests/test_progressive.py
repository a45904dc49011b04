"""With `progressive`, files are found by their words first, and their vectors follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rag.fusion import fuse
from rag.index import Index
from rag.retriever import Mode, Retriever
from rag.types import Document
from tests.fakes import HashingEncoder
from tests.test_index import sql

WORDS = "bees honey milk cows clover hives meadow queen nectar barn".split()


class Watched(HashingEncoder):
    """Tells of every batch before it is embedded, and keeps what it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[str] = []
        self.before_batch: Callable[[], None] = lambda: None

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.before_batch()
        self.given.extend(texts)
        return super().encode_documents(texts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """300 files of one passage each, so that there are several batches."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(300):
        words = [WORDS[(n * step + step) % len(WORDS)] for step in (1, 3, 7)]
        (folder / f"{n:03}.txt").write_text(f"{' '.join(words)} number{n} stands here.")
    return folder


def hits(index: Index, query: str, mode: Mode = "hybrid", k: int = 12) -> list[tuple[str, float]]:
    found = Retriever(index).search(query, k=k, mode=mode)
    return [(hit.chunk.doc_id, round(hit.score, 5)) for hit in found]


def stop_after(n: int) -> Callable[[], bool]:
    """Says stop when it is asked for the n-th time after all files were kept."""
    asked = [0]

    def stop() -> bool:
        asked[0] += 1
        return asked[0] > n

    return stop


def test_all_files_are_found_by_their_words_before_the_first_text_is_embedded(tmp_path: Path, folder: Path) -> None:
    encoder = Watched()
    seen: list[tuple[int, int, list[str]]] = []
    with Index.create(tmp_path / "index", encoder=encoder) as index, Index.open(index.path, encoder=encoder) as reader:

        def look() -> None:
            status = reader.status()
            found = [source for source, _ in hits(reader, "number7 number299", k=2)]
            seen.append((status.documents, status.waiting, found))

        encoder.before_batch = look
        report = index.ingest(folder, progressive=True)
    assert (report.read, report.embedded, len(encoder.given)) == (300, 300, 300)
    assert [(documents, waiting) for documents, waiting, _ in seen] == [(300, 300), (300, 172), (300, 44)]
    assert all(sorted(found) == ["007.txt", "299.txt"] for _, _, found in seen)


def test_in_the_end_it_is_the_index_of_an_ordinary_ingest(tmp_path: Path, folder: Path) -> None:
    encoder = HashingEncoder()
    with (
        Index.create(tmp_path / "one", encoder=encoder) as progressive,
        Index.create(tmp_path / "two", encoder=encoder) as plain,
    ):
        progressive.ingest(folder, progressive=True)
        plain.ingest(folder)
        for mode in ("hybrid", "dense", "bm25"):
            assert hits(progressive, "bees make honey number12", mode) == hits(plain, "bees make honey number12", mode)
        assert progressive.examine().holds
        assert (progressive.status().waiting, progressive.status().chunks) == (0, 300)


@pytest.mark.parametrize("again", [True, False], ids=["progressive again", "ordinary then"])
def test_what_was_stopped_in_between_is_found_by_words_and_finished_by_the_next_ingest(
    tmp_path: Path, folder: Path, again: bool
) -> None:
    encoder = Watched()
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        report = index.ingest(folder, progressive=True, stop=lambda: len(encoder.given) >= 128)
        assert (report.read, report.stopped, index.status().waiting) == (300, True, 172)
        diagnosis = index.examine()
        assert diagnosis.holds  # to wait is no fault
        (check,) = (check for check in diagnosis.checks if check.name == "embeddings")
        assert check.notes == ("172 passages wait for their vectors, until the next rag ingest",)
        assert hits(index, "number299", k=1)[0][0] == "299.txt"
    with Index.open(tmp_path / "index", encoder=encoder) as index:
        report = index.ingest(folder, progressive=again)
        assert (report.read, report.unchanged, report.embedded, report.stopped) == (0, 300, 172, False)
        assert len(encoder.given) == len(set(encoder.given)) == 300  # nothing twice
        assert index.status().waiting == 0
        assert index.examine().holds


def test_a_text_that_waits_is_embedded_by_whoever_needs_it_first(tmp_path: Path, folder: Path) -> None:
    encoder = Watched()
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.ingest(folder, progressive=True, stop=lambda: len(encoder.given) >= 128)
        (folder / "copy.txt").write_text((folder / "299.txt").read_text())
        index.ingest(folder)
        assert len(encoder.given) == len(set(encoder.given)) == 300
        (hit,) = Retriever(index).search((folder / "299.txt").read_text(), k=1, mode="dense")
        assert {hit.chunk.doc_id, *(place.source for place in hit.also_in)} == {"299.txt", "copy.txt"}


def test_another_encoder_takes_over_an_index_whose_vectors_are_not_all_there(tmp_path: Path, folder: Path) -> None:
    encoder = Watched()
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.ingest(folder, progressive=True, stop=lambda: len(encoder.given) >= 128)
        index.reembed(HashingEncoder(dim=64))
        assert (index.status().waiting, index.examine().holds) == (0, True)
        assert sql(index.path, "select count(*) from embeddings where vector = x''") == [(0,)]
        assert hits(index, (folder / "299.txt").read_text(), "dense", k=1)[0][0] == "299.txt"


def test_a_passage_that_waits_ranks_by_words_among_those_that_wait(tmp_path: Path, folder: Path) -> None:
    encoder = Watched()
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.ingest(folder, progressive=True, stop=lambda: len(encoder.given) >= 128)
        waiting = {f"{n:03}.txt" for n in range(128, 300)}
        by_words = [source for source, _ in hits(index, "honey clover number200", "bm25", k=300) if source in waiting]
        fused = [source for source, _ in hits(index, "honey clover number200", k=300) if source in waiting]
        assert fused == by_words
        assert fused[0] == "200.txt"
        assert not waiting & {source for source, _ in hits(index, "honey clover", "dense", k=300)}


SCORES = st.dictionaries(st.integers(0, 30), st.floats(0.01, 1), min_size=1, max_size=20)


@given(dense=SCORES, sparse=SCORES, weight=st.floats(0, 1), data=st.data())
def test_a_vector_that_is_not_there_yet_counts_as_those_that_are(
    dense: dict[int, float], sparse: dict[int, float], weight: float, data: st.DataObject
) -> None:
    waiting = set(data.draw(st.lists(st.sampled_from(sorted(sparse)), unique=True)))
    dense = {i: score for i, score in dense.items() if i not in waiting}
    scores = fuse(dense, sparse, ceiling=1.0, weight=weight, waiting=waiting)
    plain = fuse(dense, sparse, ceiling=1.0, weight=weight)
    assert scores.keys() == plain.keys()
    assert all(scores[i] == plain[i] for i in scores.keys() - waiting)
    of_both = [dense[i] for i in dense.keys() & sparse.keys()]
    for i in waiting:
        assert scores[i] >= plain[i]
        if of_both:
            # One with as many words, and a vector as near as the mean of the others, has the same score.
            twin = fuse({**dense, i: float(np.mean(of_both))}, sparse, ceiling=1.0, weight=weight)
            assert scores[i] == pytest.approx(twin[i])


def test_a_reader_that_was_there_before_the_format_knew_of_waiting_learns_of_it(tmp_path: Path, folder: Path) -> None:
    encoder = Watched()
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add([Document("old", "bees honey kept")])
    for statement in (
        "drop index embeddings_waiting",
        "delete from _sqlite_migrations where name like 'm003%'",
        "pragma user_version = 2",
    ):
        sql(tmp_path / "index", statement)
    with (
        Index.open(tmp_path / "index", encoder=encoder) as reader,
        Index.open(tmp_path / "index", encoder=encoder) as writer,
    ):
        assert reader.status().waiting == 0
        writer.ingest(folder, progressive=True, stop=lambda: len(encoder.given) > 100)
        with Index.open(tmp_path / "index", encoder=encoder) as fresh:
            assert reader.status().waiting == fresh.status().waiting > 0
            assert hits(reader, "bees nectar number7") == hits(fresh, "bees nectar number7")
