"""FAISS against products worked out by NumPy, and snapshot files of both kinds against all that can befall them."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rag.errors import UsageError
from rag.vectors import FlatVectors, SketchedVectors, Vectors, is_sketched, is_snapshot, read_snapshot

TOKEN = b"12345678"


def unit_vectors(n: int, dim: int, *, seed: int) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def filled(n: int = 5, dim: int = 8) -> FlatVectors:
    vectors = FlatVectors(dim)
    vectors.add(range(100, 100 + n), unit_vectors(n, dim, seed=1).astype(np.float16))
    return vectors


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), dim=st.integers(1, 40), k=st.integers(1, 80), seed=st.integers(0, 2**32 - 1))
def test_a_search_equals_a_brute_force_product(n: int, dim: int, k: int, seed: int) -> None:
    kept = unit_vectors(n, dim, seed=seed).astype(np.float16)
    (query,) = unit_vectors(1, dim, seed=seed + 1)
    vectors = FlatVectors(dim)
    vectors.add([7 + 3 * i for i in range(n)], kept)
    scores = kept.astype(np.float32) @ query
    found = vectors.search(query, k=k)
    assert len(found) == min(k, n)
    assert all(found[i] == pytest.approx(scores[(i - 7) // 3], abs=1e-5) for i in found)
    assert sorted(found.values()) == pytest.approx(sorted(scores)[-len(found) :], abs=1e-5)


@settings(max_examples=30, deadline=None)
@given(removed=st.sets(st.integers(95, 125)))
def test_what_was_removed_is_as_if_it_never_was(removed: set[int]) -> None:
    kept = unit_vectors(20, 8, seed=1).astype(np.float16)
    (query,) = unit_vectors(1, 8, seed=2)
    vectors, never = filled(20), FlatVectors(8)
    vectors.remove(sorted(removed))
    left = [i for i in range(20) if 100 + i not in removed]
    never.add([100 + i for i in left], kept[left])
    assert len(vectors) == len(left)
    assert vectors.search(query, k=20) == never.search(query, k=20)


def test_nothing_is_found_where_nothing_is() -> None:
    assert FlatVectors(8).search(np.ones(8, dtype=np.float32), k=3) == {}


def test_a_wrong_dimension_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"expected vectors of shape \(1, 8\), got \(1, 7\)"):
        FlatVectors(8).add([1], np.zeros((1, 7), dtype=np.float16))
    with pytest.raises(UsageError, match=r"expected vectors of shape \(2, 8\), got \(1, 8\)"):
        FlatVectors(8).add([1, 2], np.zeros((1, 8), dtype=np.float16))
    with pytest.raises(UsageError, match=r"expected a query vector of shape \(8,\), got \(7,\)"):
        filled().search(np.zeros(7, dtype=np.float32), k=1)


def test_a_snapshot_comes_back_as_it_was_and_takes_more(tmp_path: Path) -> None:
    (query,) = unit_vectors(1, 8, seed=2)
    filled().save(tmp_path / "v.faiss", change=3, token=TOKEN)
    read = FlatVectors.read(tmp_path / "v.faiss", dim=8, token=TOKEN)
    assert read is not None
    assert read.search(query, k=9) == filled().search(query, k=9)
    read.remove([100])
    read.add([200], query[None, :].astype(np.float16))
    assert next(iter(read.search(query, k=1))) == 200
    assert os.listdir(tmp_path) == ["v.faiss"]


@pytest.mark.parametrize("kept", [0, 1, 50, 95, -1], ids="keeps {} bytes".format)
def test_a_torn_snapshot_is_none(tmp_path: Path, kept: int) -> None:
    file = tmp_path / "v.faiss"
    filled().save(file, change=3, token=TOKEN)
    file.write_bytes(file.read_bytes()[:kept])
    assert FlatVectors.read(file, dim=8, token=TOKEN) is None


def test_a_snapshot_of_another_state_dimension_or_kind_is_none(tmp_path: Path) -> None:
    file = tmp_path / "v.faiss"
    filled().save(file, change=3, token=TOKEN)
    assert FlatVectors.read(file, dim=8, token=b"87654321") is None
    assert FlatVectors.read(file, dim=9, token=TOKEN) is None
    assert FlatVectors.read(tmp_path / "none", dim=8, token=TOKEN) is None
    data = bytearray(file.read_bytes())
    data[:4] = b"what"  # FAISS's own mark
    file.write_bytes(data)
    assert FlatVectors.read(file, dim=8, token=TOKEN) is None


def test_a_snapshot_that_finds_no_room_is_an_error_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="limits on the size of files are not known here")
    vectors = filled(20_000, 64)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            vectors.save(tmp_path / "v.faiss", change=3, token=TOKEN)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")


# --- both kinds

N, DIM, RANK = 2000, 64, 8


def text_like(n: int, *, seed: int, rank: int = RANK) -> NDArray[np.float16]:
    """Unit vectors that vary in a few directions only, as those of texts do: their sketches can tell them apart."""
    directions = np.random.default_rng(99).normal(size=(rank, DIM))
    made = np.random.default_rng(seed).normal(size=(n, rank)) @ directions
    return np.asarray(made / np.linalg.norm(made, axis=1, keepdims=True), dtype=np.float16)


def sketched(folder: Path, rows: NDArray[np.float16], *, first: int = 100) -> SketchedVectors:
    """In a file, in batches, under ids from `first` on."""
    ids = np.arange(first, first + len(rows))
    batches = ((ids[i : i + 300], rows[i : i + 300]) for i in range(0, len(rows), 300))
    file = folder / "v.faiss"
    SketchedVectors.build(file, batches, sample=rows[::2], n=len(rows), change=3, token=TOKEN)
    read = read_snapshot(file, dim=DIM, token=TOKEN)
    assert isinstance(read, SketchedVectors)
    return read


def flat(rows: NDArray[np.float16], *, first: int = 100) -> FlatVectors:
    vectors = FlatVectors(DIM)
    vectors.add(range(first, first + len(rows)), rows)
    return vectors


@pytest.fixture(scope="module")
def file_of_many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("many")
    sketched(folder, text_like(N, seed=1))
    return folder / "v.faiss"


@pytest.fixture(scope="module")
def many(file_of_many: Path) -> SketchedVectors:
    """Two thousand vectors, of which a search looks at some hundred; not to be changed."""
    found = SketchedVectors.read(file_of_many, dim=DIM)
    assert found is not None
    assert found.measured.candidates == 128
    return found


def queries(n: int, *, seed: int) -> NDArray[np.float32]:
    """As far from all vectors as questions are."""
    near, away = text_like(n, seed=seed).astype(np.float32), unit_vectors(n, DIM, seed=seed)
    mixed = 0.7 * near + 0.7 * away
    return np.asarray(mixed / np.linalg.norm(mixed, axis=1, keepdims=True), dtype=np.float32)


def test_sketches_find_what_was_promised_with_exact_scores(many: SketchedVectors) -> None:
    exact = flat(text_like(N, seed=1))
    hits = 0
    for query in queries(200, seed=2):
        found, true = many.search(query, k=10), exact.search(query, k=10)
        hits += len(found.keys() & true.keys())
        scores = exact.search(query, k=N)
        assert all(found[i] == scores[i] for i in found)
        assert list(found.values()) == sorted(found.values(), reverse=True)
    assert hits / 2000 >= 0.99
    assert many.measured.recall_at_10 >= 0.995


def test_what_was_measured_is_kept_in_the_file(many: SketchedVectors) -> None:
    assert many.measured.record() == {
        "kind": "sketched",
        "vectors": N,
        "candidates": many.measured.candidates,
        "recall@10": round(many.recall(), 4),
        "recall@200": 1.0,  # so many of so few are looked for among all
        "queries": 200,
    }


@settings(max_examples=30, deadline=None)
@given(k=st.integers(1, N + 50), seed=st.integers(0, 2**32 - 1))
def test_as_many_are_found_as_are_asked_for(many: SketchedVectors, k: int, seed: int) -> None:
    (query,) = queries(1, seed=seed)
    found = many.search(query, k=k)
    assert len(found) == min(k, N)
    if k * 5 > N // 8:  # too many candidates to be looked up one by one
        assert found.keys() == flat(text_like(N, seed=1)).search(query, k=k).keys()


@settings(max_examples=30, deadline=None)
@given(share=st.sampled_from([0.0, 0.001, 0.05, 0.5, 1.0]), seed=st.integers(0, 2**32 - 1), k=st.integers(1, 300))
def test_a_filter_is_exact_whatever_share_passes(many: SketchedVectors, share: float, seed: int, k: int) -> None:
    passes = np.random.default_rng(seed).random(N + 90) < share  # the last ids are beyond the last bit
    (query,) = queries(1, seed=seed)
    bits = np.packbits(passes, bitorder="little")
    found = many.search(query, k=k, passing=bits)
    assert found == flat(text_like(N, seed=1)).search(query, k=k, passing=bits)
    assert all(passes[i] for i in found)


def test_copies_of_one_vector_are_found_all_or_none(tmp_path: Path) -> None:
    rows = text_like(N, seed=1)
    rows[500:900] = rows[0]
    vectors = sketched(tmp_path, rows)
    query = rows[0].astype(np.float32)
    found = vectors.search(query, k=401)
    copies = {100, *range(600, 1000)}
    assert copies <= found.keys()
    assert vectors.search(query, k=20).keys() <= copies


@settings(max_examples=20, deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["add", "again", "remove"]), st.integers(0, N + 40), st.integers(1, 60)), max_size=5
    ),
    saves=st.booleans(),
)
def test_changes_show_as_if_they_had_always_been(
    file_of_many: Path, tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, int]], saves: bool
) -> None:
    vectors: Vectors | None = SketchedVectors.read(file_of_many, dim=DIM)
    assert vectors is not None
    expected = dict(zip(range(100, 100 + N), text_like(N, seed=1), strict=True))
    top = 100 + N
    for number, (step, at, n) in enumerate(steps):
        new = text_like(n, seed=100 + number)
        ids = list(range(top, top + n)) if step == "add" else list(range(100 + at, 100 + at + n))
        if step == "remove":
            vectors.remove(ids)
            expected = {i: row for i, row in expected.items() if i not in set(ids)}
        else:
            vectors.add(ids, new)
            expected |= dict(zip(ids, new, strict=True))
        top = max(top, *(i + 1 for i in ids))
    if saves:
        again = tmp_path_factory.mktemp("again") / "v.faiss"
        vectors.save(again, change=4, token=TOKEN)
        read = read_snapshot(again, dim=DIM, token=TOKEN)
        assert isinstance(read, SketchedVectors)
        assert read.measured.trained_on == N  # and not anew
        vectors = read
    fresh = FlatVectors(DIM)
    fresh.add(list(expected), np.array(list(expected.values())))
    assert len(vectors) == len(expected)
    kept = {i: row for ids, rows in vectors.rows() for i, row in zip(ids.tolist(), rows, strict=True)}
    assert kept.keys() == expected.keys()
    assert all((kept[i].view(np.uint16) == expected[i].view(np.uint16)).all() for i in kept)
    hits = 0
    for query in queries(20, seed=3):
        assert vectors.search(query, k=len(expected)) == pytest.approx(fresh.search(query, k=len(expected)), abs=1e-6)
        hits += len(vectors.search(query, k=10).keys() & fresh.search(query, k=10).keys())
    assert hits >= 0.97 * 200


def test_where_all_candidates_have_been_removed_the_next_are_found(tmp_path: Path) -> None:
    rows = text_like(N, seed=1)
    vectors, exact = sketched(tmp_path, rows), flat(rows)
    (query,) = queries(1, seed=5)
    gone = list(exact.search(query, k=500))
    vectors.remove(gone)
    exact.remove(gone)
    assert vectors.search(query, k=5).keys() == exact.search(query, k=5).keys()


def test_where_sketches_cannot_tell_vectors_apart_all_are_compared(tmp_path: Path) -> None:
    """Directions drawn at random have no neighbours that are much nearer than others."""
    rows = unit_vectors(N, DIM, seed=1).astype(np.float16)
    vectors, exact = sketched(tmp_path, rows), flat(rows)
    assert vectors.measured.record() == {"kind": "exact", "vectors": N}
    for query in unit_vectors(20, DIM, seed=2):
        assert vectors.search(query, k=10) == exact.search(query, k=10)


def test_equal_vectors_are_replaced_under_their_id() -> None:
    vectors = filled(3)
    new = unit_vectors(1, 8, seed=9).astype(np.float16)
    vectors.add([101], new)
    assert len(vectors) == 3
    (best,) = vectors.search(new[0].astype(np.float32), k=1)
    assert best == 101


@pytest.mark.parametrize("kept", [0, 1, 500, -1, -40, -120, -200], ids="keeps {} bytes".format)
def test_a_torn_file_of_sketches_is_none(tmp_path: Path, kept: int) -> None:
    sketched(tmp_path, text_like(300, seed=1))
    file = tmp_path / "v.faiss"
    file.write_bytes(file.read_bytes()[:kept])
    assert read_snapshot(file, dim=DIM, token=TOKEN) is None


def test_a_file_of_sketches_of_another_state_dimension_or_index_is_none(tmp_path: Path) -> None:
    sketched(tmp_path, text_like(300, seed=1))
    file = tmp_path / "v.faiss"
    assert is_sketched(file)
    assert read_snapshot(file, dim=DIM, token=b"87654321") is None
    assert read_snapshot(file, dim=DIM + 1, token=TOKEN) is None
    data = bytearray(file.read_bytes())
    place = 300 * (2 * DIM + 8)  # where FAISS's own form begins
    data[place : place + 4] = b"what"
    file.write_bytes(data)
    assert read_snapshot(file, dim=DIM, token=TOKEN) is None
    assert is_snapshot(file, token=TOKEN)
    assert not is_snapshot(file, token=TOKEN, hashed=True)


@pytest.mark.parametrize("dim", [1, 7, 9, 10, 30])
def test_every_dimension_can_be_sketched(tmp_path: Path, dim: int) -> None:
    rows = unit_vectors(600, dim, seed=1).astype(np.float16)
    file = tmp_path / "v.faiss"
    SketchedVectors.build(file, [(range(600), rows)], sample=rows, n=600, change=1, token=TOKEN)
    vectors, exact = read_snapshot(file, dim=dim, token=TOKEN), FlatVectors(dim)
    exact.add(range(600), rows)
    assert vectors is not None
    query = unit_vectors(1, dim, seed=2)[0]
    assert vectors.search(query, k=600) == exact.search(query, k=600)


def test_sketches_that_find_no_room_are_an_error_and_leave_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    resource = pytest.importorskip("resource", reason="limits on the size of files are not known here")
    rows = text_like(N, seed=1)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (100_000, N * (2 * DIM + 8) + 1000):  # within the rows, and within FAISS's form
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
        try:
            with pytest.raises(OSError, match="File too large"):
                sketched(tmp_path, rows)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
        assert os.listdir(tmp_path) == []
    assert capfd.readouterr() == ("", "")
