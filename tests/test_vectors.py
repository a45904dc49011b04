"""FAISS against a product worked out by NumPy, and the snapshot file against everything that can befall it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rag.errors import UsageError
from rag.vectors import Vectors

TOKEN = b"12345678"


def unit_vectors(n: int, dim: int, *, seed: int) -> NDArray[np.float32]:
    made = np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)
    made /= np.linalg.norm(made, axis=1, keepdims=True)
    return made


def filled(n: int = 5, dim: int = 8) -> Vectors:
    vectors = Vectors(dim)
    vectors.add(range(100, 100 + n), unit_vectors(n, dim, seed=1).astype(np.float16))
    return vectors


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 60), dim=st.integers(1, 40), k=st.integers(1, 80), seed=st.integers(0, 2**32 - 1))
def test_a_search_equals_a_brute_force_product(n: int, dim: int, k: int, seed: int) -> None:
    kept = unit_vectors(n, dim, seed=seed).astype(np.float16)
    (query,) = unit_vectors(1, dim, seed=seed + 1)
    vectors = Vectors(dim)
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
    vectors, never = filled(20), Vectors(8)
    vectors.remove(sorted(removed))
    left = [i for i in range(20) if 100 + i not in removed]
    never.add([100 + i for i in left], kept[left])
    assert len(vectors) == len(left)
    assert vectors.search(query, k=20) == never.search(query, k=20)


def test_nothing_is_found_where_nothing_is() -> None:
    assert Vectors(8).search(np.ones(8, dtype=np.float32), k=3) == {}


def test_a_wrong_dimension_is_refused_in_words() -> None:
    with pytest.raises(UsageError, match=r"expected vectors of shape \(1, 8\), got \(1, 7\)"):
        Vectors(8).add([1], np.zeros((1, 7), dtype=np.float16))
    with pytest.raises(UsageError, match=r"expected vectors of shape \(2, 8\), got \(1, 8\)"):
        Vectors(8).add([1, 2], np.zeros((1, 8), dtype=np.float16))
    with pytest.raises(UsageError, match=r"expected a query vector of shape \(8,\), got \(7,\)"):
        filled().search(np.zeros(7, dtype=np.float32), k=1)


def test_a_snapshot_comes_back_as_it_was_and_takes_more(tmp_path: Path) -> None:
    (query,) = unit_vectors(1, 8, seed=2)
    filled().save(tmp_path / "v.faiss", change=3, token=TOKEN)
    read = Vectors.read(tmp_path / "v.faiss", dim=8, token=TOKEN)
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
    assert Vectors.read(file, dim=8, token=TOKEN) is None


def test_a_snapshot_of_another_state_dimension_or_kind_is_none(tmp_path: Path) -> None:
    file = tmp_path / "v.faiss"
    filled().save(file, change=3, token=TOKEN)
    assert Vectors.read(file, dim=8, token=b"87654321") is None
    assert Vectors.read(file, dim=9, token=TOKEN) is None
    assert Vectors.read(tmp_path / "none", dim=8, token=TOKEN) is None
    data = bytearray(file.read_bytes())
    data[:4] = b"what"  # FAISS's own mark
    file.write_bytes(data)
    assert Vectors.read(file, dim=8, token=TOKEN) is None


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
