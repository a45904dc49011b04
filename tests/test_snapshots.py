"""The cache of vectors against SQLite's rows, with few vectors called many, so that snapshots hold sketches."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.cli.rendering import print_status
from rag.index import Index
from rag.snapshots import VectorCache
from rag.store import Store, embedding_key
from rag.types import Chunk, Document
from rag.vectors import FlatVectors, SketchedVectors, is_sketched, read_snapshot
from rag.vectors.files import SKETCHED, TRAILER
from rag.vectors.sketched import SketchedVectors as Sketched
from rag.view import Passing
from rag.writer import StoreWriter
from tests.fakes import HashingEncoder
from tests.test_vectors import DIM, queries, text_like, unit_vectors

MANY = 1000
SPACE = HashingEncoder(dim=DIM).space


class Rows:
    """An index whose vectors are given, not encoded: document `d7` has one chunk, whose text is its name."""

    def __init__(self, folder: Path) -> None:
        if not folder.exists():
            Index.create(folder, encoder=HashingEncoder(dim=DIM)).close()
        self.folder = folder
        self.writer = StoreWriter(folder / "index.sqlite")
        self.store = Store(folder / "index.sqlite")

    def close(self) -> None:
        self.writer.close()
        self.store.close()

    def put(self, names: Sequence[str], vectors: NDArray[np.float16]) -> None:
        """Documents with these vectors, in place of those of the same names."""
        with self.writer.transaction():
            for name, vector in zip(names, vectors, strict=True):
                text = f"{name} {vector.tobytes().hex()[:20]}"
                self.writer.add_embeddings([embedding_key(SPACE, text)], [vector.tobytes()])
                self.writer.put_document(Document(name, text), [Chunk(name, text, 0, len(text))], space=SPACE)

    def true(self) -> FlatVectors:
        """What SQLite holds, read without the cache."""
        vectors = FlatVectors(DIM)
        for ids, data in self.store.vectors_since(0):
            vectors.add(ids, np.frombuffer(data, dtype="<f2").reshape(len(ids), DIM))
        return vectors

    def file(self) -> Path:
        (file,) = self.folder.glob("vectors-*.faiss")
        return file

    def cache(self) -> VectorCache:
        return VectorCache(self.folder, sketched_from=MANY)


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,200 documents whose sketches are in a snapshot."""
    with closing(Rows(tmp_path_factory.mktemp("template") / "index")) as made:
        made.put([f"d{n}" for n in range(1200)], text_like(1200, seed=1))
        with made.store.transaction():
            assert made.cache().refresh(made.store, dim=DIM) is not None
    return made.folder


@pytest.fixture
def rows(template: Path, tmp_path: Path) -> Iterator[Rows]:
    """A copy of it to change."""
    shutil.copytree(template, tmp_path / "index")
    with closing(Rows(tmp_path / "index")) as copied:
        yield copied


def assert_same(cache: VectorCache, rows: Rows) -> None:
    """The cache finds what exact search finds, and holds what SQLite holds, as of now."""
    with rows.store.transaction():
        vectors, true = cache.current(rows.store, dim=DIM), rows.true()
        assert len(vectors) == len(true)
        hits = 0
        for query in queries(20, seed=4):
            assert vectors.search(query, k=len(true)) == pytest.approx(true.search(query, k=len(true)), abs=1e-6)
            found, expected = vectors.search(query, k=10), true.search(query, k=10)
            assert all(found[i] == pytest.approx(expected.get(i, found[i]), abs=1e-6) for i in found)
            hits += len(found.keys() & expected.keys())
        assert hits >= 0.97 * 200


def test_many_vectors_are_sketched_and_few_are_not(rows: Rows) -> None:
    assert is_sketched(rows.file())
    with rows.store.transaction():
        record = rows.cache().record(rows.store)
        assert isinstance(rows.cache().current(rows.store, dim=DIM), SketchedVectors)
    assert (record["kind"], record["vectors"], record["queries"]) == ("sketched", 1200, 200)
    assert isinstance(record["recall@10"], float)
    assert record["recall@10"] >= 0.99
    assert_same(rows.cache(), rows)
    rows.writer.remove_documents([f"d{n}" for n in range(300)])
    with rows.store.transaction():
        assert rows.cache().save(rows.store, dim=DIM)
        assert not is_sketched(rows.file())
        assert rows.cache().record(rows.store) == {"kind": "exact", "vectors": 900}
    assert_same(rows.cache(), rows)


def test_what_is_added_removed_and_replaced_shows_at_once(rows: Rows) -> None:
    """In a cache that was open before, and in one that is opened after."""
    old, new = rows.cache(), text_like(300, seed=2)
    assert_same(old, rows)
    rows.put([f"new{n}" for n in range(100)], new[:100])
    assert_same(old, rows)
    rows.writer.remove_documents([f"d{n}" for n in range(50)])
    assert_same(old, rows)
    rows.put([f"d{n}" for n in range(100, 200)], new[100:200])
    assert_same(old, rows)
    assert_same(rows.cache(), rows)


def test_a_chunk_whose_vector_comes_later_or_changes_is_there_once(rows: Rows) -> None:
    """Its id stays; its change is raised, so that the log yields it again."""
    cache = rows.cache()
    assert_same(cache, rows)
    rows.put(["other"], text_like(1, seed=7))
    with closing(sqlite3.connect(rows.folder / "index.sqlite")) as db, db:
        last = "(select max(id) from changes)"
        newest = "(select embedding_id from chunks order by id desc limit 1)"
        db.execute(f"update chunks set embedding_id = {newest}, change_id = {last} where id in (5, 6)")
    rows.put(["yet another"], text_like(1, seed=8))
    for seen in (cache, rows.cache()):
        assert_same(seen, rows)
        with rows.store.transaction():
            query = text_like(1, seed=7)[0].astype(np.float32)
            assert {5, 6} <= seen.current(rows.store, dim=DIM).search(query, k=3).keys()


def test_a_reader_sees_its_own_transaction_whatever_is_written_meanwhile(rows: Rows) -> None:
    cache = rows.cache()
    with rows.store.transaction():
        before = rows.true()
        rows.put(["late"], text_like(1, seed=7))
        with closing(Store(rows.folder / "index.sqlite")) as other, other.transaction():
            assert VectorCache(rows.folder, sketched_from=MANY).save(other, dim=DIM)
        (query,) = text_like(1, seed=7).astype(np.float32)
        assert cache.current(rows.store, dim=DIM).search(query, k=1200).keys() == before.search(query, k=1200).keys()
    assert_same(cache, rows)


def test_a_filter_equals_brute_force_over_what_passes(rows: Rows) -> None:
    rows.put([f"new{n}" for n in range(100)], text_like(100, seed=2))
    rows.writer.remove_documents([f"d{n}" for n in range(50)])
    with rows.store.transaction():
        vectors, true = rows.cache().current(rows.store, dim=DIM), rows.true()
        for seed, share in enumerate((0.01, 0.3, 1.0)):
            passing = Passing.of(np.flatnonzero(np.random.default_rng(seed).random(1400) < share).tolist())
            for query in queries(5, seed=seed):
                found = vectors.search(query, k=30, passing=passing.bits)
                assert found == pytest.approx(true.search(query, k=30, passing=passing.bits), abs=1e-6)


def test_a_snapshot_that_is_due_again_trains_nothing(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.snapshots._DUE_AFTER", 0)

    def build(*_: object, **__: object) -> None:
        raise AssertionError("trained anew")

    with monkeypatch.context() as patch:
        patch.setattr(Sketched, "build", build)
        rows.put([f"new{n}" for n in range(200)], text_like(200, seed=2))
        rows.writer.remove_documents(["d0", "d1"])
        old = rows.file()
        with rows.store.transaction():
            assert rows.cache().refresh(rows.store, dim=DIM) == rows.store.last_change()[0]
            record = rows.cache().record(rows.store)
        assert not old.exists()
        assert record["vectors"] == 1398
        assert_same(rows.cache(), rows)
    rows.put([f"more{n}" for n in range(1100)], text_like(1100, seed=3))  # more than twice as many as it was trained on
    with rows.store.transaction():
        rows.cache().refresh(rows.store, dim=DIM)
        vectors = rows.cache().current(rows.store, dim=DIM)
    assert isinstance(vectors, SketchedVectors)
    assert vectors.measured.trained_on == 2498


def test_a_chunk_that_waits_for_its_vector_is_not_sketched(rows: Rows) -> None:
    with rows.writer.transaction():
        for n in range(3):
            text = f"waits {n}"
            rows.writer.add_waiting([embedding_key(SPACE, text)])
            rows.writer.put_document(Document(text, text), [Chunk(text, text, 0, len(text))], space=SPACE)
    with rows.store.transaction():
        assert (rows.store.n_vectors(), rows.store.n_chunks()) == (1200, 1203)
        ids = rows.store.vector_ids().tolist()
        assert sorted(ids) == sorted(rows.true().search(queries(1, seed=1)[0], k=2000))
        waiting = [1201, 1202, 1203]
        assert [found for found, _ in rows.store.vectors_of([*waiting, 5])] == [[5]]
        assert rows.cache().save(rows.store, dim=DIM, anew=True)
        assert rows.cache().record(rows.store)["vectors"] == 1200
    assert faults(rows) == []
    assert_same(rows.cache(), rows)


def test_a_few_changes_make_no_snapshot_due(rows: Rows) -> None:
    old = rows.file()
    rows.put(["new"], text_like(1, seed=2))
    with rows.store.transaction():
        assert rows.cache().refresh(rows.store, dim=DIM) is None
    assert rows.file() == old


def test_a_reader_that_stays_goes_over_to_a_newer_snapshot(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would hold all that is added from its beginning to its end."""
    monkeypatch.setattr("rag.snapshots._DUE_AFTER", 0)
    reader = rows.cache()
    assert_same(reader, rows)
    rows.put([f"new{n}" for n in range(200)], text_like(200, seed=2))
    with rows.store.transaction():
        rows.cache().refresh(rows.store, dim=DIM)
    rows.put(["last"], text_like(1, seed=3))
    assert_same(reader, rows)
    with rows.store.transaction():
        vectors = reader.current(rows.store, dim=DIM)
    assert isinstance(vectors, SketchedVectors)
    assert vectors.measured.rows == 1400


def test_without_a_snapshot_a_reader_makes_one_of_sketches(rows: Rows) -> None:
    """Held in memory, so many would take gigabytes."""
    rows.file().unlink()
    reader = rows.cache()
    with rows.store.transaction():
        assert isinstance(reader.current(rows.store, dim=DIM), SketchedVectors)
    assert is_sketched(rows.file())
    assert_same(reader, rows)


def test_where_nothing_can_be_written_a_reader_holds_all_in_memory(rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    rows.file().unlink()
    monkeypatch.setattr(SketchedVectors, "build", full)
    reader = rows.cache()
    with rows.store.transaction():
        assert isinstance(reader.current(rows.store, dim=DIM), FlatVectors)
    assert list(rows.folder.glob("vectors-*")) == []
    assert_same(reader, rows)


def test_a_snapshot_that_is_replaced_while_a_reader_looks_for_it_is_followed(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows.put(["new"], text_like(1, seed=2))
    real = read_snapshot

    def replaced_first(file: Path, *, dim: int, token: bytes) -> object:
        monkeypatch.setattr("rag.snapshots.read_snapshot", real)
        with closing(Store(rows.folder / "index.sqlite")) as other, other.transaction():
            assert rows.cache().save(other, dim=DIM)
        assert not file.exists()
        return real(file, dim=dim, token=token)

    monkeypatch.setattr("rag.snapshots.read_snapshot", replaced_first)
    reader = rows.cache()
    with rows.store.transaction():
        vectors = reader.current(rows.store, dim=DIM)
    assert isinstance(vectors, SketchedVectors)
    assert vectors.measured.rows == 1201
    assert is_sketched(rows.file())


def test_many_copies_of_one_text_do_not_keep_vectors_from_being_sketched(tmp_path: Path) -> None:
    copied = text_like(1200, seed=1)
    copied[300:460] = copied[0]  # more than the candidates that are counted
    with closing(Rows(tmp_path / "index")) as made:
        made.put([f"d{n}" for n in range(1200)], copied)
        with made.store.transaction():
            made.cache().refresh(made.store, dim=DIM)
            assert made.cache().record(made.store)["kind"] == "sketched"
        assert_same(made.cache(), made)


def tear(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-10])


def empty(file: Path) -> None:
    file.write_bytes(b"")


def lose_the_rows(file: Path) -> None:
    file.write_bytes(file.read_bytes()[-500:])


def claim_another_token(file: Path) -> None:
    data = file.read_bytes()
    kind, change, _, length, digest = TRAILER.unpack(data[-TRAILER.size :])
    file.write_bytes(data[: -TRAILER.size] + TRAILER.pack(kind, change, b"anothers", length, digest))


def claim_another_kind(file: Path) -> None:
    data = file.read_bytes()
    file.write_bytes(data[: -TRAILER.size] + b"footnote" + data[-TRAILER.size + len(SKETCHED) :])


@pytest.mark.parametrize("harm", [tear, empty, lose_the_rows, claim_another_token, claim_another_kind, Path.unlink])
def test_whatever_befalls_a_snapshot_of_sketches_the_hits_are_the_same(rows: Rows, harm: object) -> None:
    assert callable(harm)
    harm(rows.file())
    assert_same(rows.cache(), rows)


def test_vectors_that_sketches_cannot_tell_apart_stay_exact(tmp_path: Path) -> None:
    with closing(Rows(tmp_path / "index")) as made:
        made.put([f"d{n}" for n in range(1200)], unit_vectors(1200, DIM, seed=1).astype(np.float16))
        with made.store.transaction():
            made.cache().refresh(made.store, dim=DIM)
            assert made.cache().record(made.store) == {"kind": "exact", "vectors": 1200}
            vectors, true = made.cache().current(made.store, dim=DIM), made.true()
            for query in unit_vectors(20, DIM, seed=2):
                assert vectors.search(query, k=10) == true.search(query, k=10)


# --- what the doctor finds


def rewritten(
    rows: Rows, *, row: NDArray[np.float16] | None = None, sketch_of: NDArray[np.float16] | None = None
) -> None:
    """The snapshot as a whole one of the right token, with another first row, or with the sketches of other vectors."""
    file = rows.file()
    change, token = rows.store.last_change()
    with rows.store.transaction():
        vectors = rows.cache().current(rows.store, dim=DIM)
    assert isinstance(vectors, SketchedVectors)
    if row is not None:
        data = bytearray(file.read_bytes())
        data[: 2 * DIM] = row.tobytes()
        file.write_bytes(data)
        read = SketchedVectors.read(file, dim=DIM)
        assert read is not None
        vectors = read
    if sketch_of is not None:
        vectors._sketch.reset()
        vectors._sketch.add(sketch_of.astype(np.float32))
    measured = vectors.measured
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SketchedVectors, "measure", lambda _: measured)
        vectors.save(file, change=change, token=token)


def faults(rows: Rows) -> list[str]:
    with rows.store.transaction():
        return rows.cache().faults(rows.store, dim=DIM)


def test_a_snapshot_as_it_was_written_has_no_faults(rows: Rows) -> None:
    assert faults(rows) == []
    rows.put(["new"], text_like(1, seed=2))
    rows.writer.remove_documents([f"d{n}" for n in range(300)])
    assert faults(rows) == []


def test_one_flipped_bit_is_found(rows: Rows) -> None:
    data = bytearray(rows.file().read_bytes())
    data[1000] ^= 1
    rows.file().write_bytes(data)
    assert faults(rows) == [f"{rows.file().name} is torn, or not as it was written"]


def test_a_row_that_is_not_sqlites_is_found_and_named(rows: Rows) -> None:
    rewritten(rows, row=text_like(1, seed=9))
    assert faults(rows) == ["the vectors, snapshot and changes since, are not those of the passages"]
    with rows.store.transaction():
        assert rows.cache().differing(rows.store, dim=DIM) == [1]


def test_sketches_that_are_not_those_of_the_rows_are_found(rows: Rows) -> None:
    rewritten(rows)
    assert faults(rows) == []
    rewritten(rows, sketch_of=text_like(1200, seed=9))
    assert faults(rows) == ["the sketches in the snapshot are not those of its vectors, so that searches miss passages"]


# --- in an index


def test_an_index_of_many_tells_what_was_measured_and_embeds_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("rag.snapshots._SKETCHED_FROM", MANY)
    monkeypatch.setattr("rag.snapshots._DUE_AFTER", 0)
    encoder = HashingEncoder(dim=DIM)
    words = [f"w{n}" for n in range(8)]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, size=60, p=rng.dirichlet(np.full(8, 0.7)))) for _ in range(1300)]
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add(Document(f"d{n}", text) for n, text in enumerate(texts[:900]))
        assert index.status().vectors == {"kind": "exact", "vectors": 900}
        assert "exact" in status_of(index, capsys)
        index.add(Document(f"d{n}", text) for n, text in enumerate(texts[900:], start=900))
        assert len(encoder.texts) == 1300
        record = index.status().vectors
        assert (record["kind"], record["vectors"]) == ("sketched", 1300)
        with index.reading() as view:
            assert view.store.manifest()["vectors"] == record
        assert f"sketched, recall@10 {record['recall@10']:.3f} of exact (200 queries)" in status_of(index, capsys)
        assert index.examine().holds
        index.compact()
        assert index.examine(repair=True).holds
        assert index.status().vectors["kind"] == "sketched"
        assert len(encoder.texts) == 1300


def status_of(index: Index, capsys: pytest.CaptureFixture[str]) -> str:
    print_status(index.status())
    return next(line for line in capsys.readouterr().out.splitlines() if line.startswith("vectors "))
