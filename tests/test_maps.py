"""Maps of an index: where its passages stand, what they are grouped by, and that a map is of one state of one index."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as shapes
from numpy.typing import NDArray

from rag.index import Index
from rag.types import Document
from tests.fakes import HashingEncoder
from ui import maps
from ui.maps import NEIGHBOURS, OVERVIEW, UNITS, Drawing, Layout, Maps, file_path, principal_axes, suffix

WAIT_S = 60


def drawn(index: Index) -> maps.PassageMap:
    """The whole map of an index, drawn in this thread."""
    drawing = Drawing("")
    maps.draw(index, drawing)
    assert drawing.map is not None
    return drawing.map


def documents(n: int, *, folder: str = "") -> list[Document]:
    return [Document(f"{folder}{i}.md", f"fruit{i % 3} tree{i % 3} leaf{i % 3} number{i}") for i in range(n)]


# The projection


@given(
    shapes.arrays(
        np.float32,
        st.tuples(st.integers(1, 12), st.integers(2, 8)),
        elements=st.floats(-1, 1, width=32, allow_subnormal=False),
    )
)
def test_the_projection_is_the_best_plane_as_the_svd_finds_it(vectors: NDArray[np.float32]) -> None:
    points = principal_axes(vectors).place(vectors).astype(np.float64)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    singular = np.linalg.svd(centred, compute_uv=False)
    wanted = np.pad(singular, (0, 2))[:2]
    # Of equal singular values any plane will do, so what is compared is how much of the vectors each axis holds.
    found = np.linalg.norm(points, axis=0)
    assert found == pytest.approx(wanted, abs=2e-3 * max(singular.max(), 1e-3))


def test_where_the_directions_differ_points_stand_where_the_svd_puts_them() -> None:
    rng = np.random.default_rng(3)
    vectors = (rng.standard_normal((400, 6)) * [5, 3, 1, 0.5, 0.2, 0.1] + 2).astype(np.float32)
    centred = vectors.astype(np.float64) - vectors.astype(np.float64).mean(axis=0)
    _, _, rows = np.linalg.svd(centred, full_matrices=False)
    axes = rows[:2].T
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), [0, 1]])
    assert principal_axes(vectors).place(vectors) == pytest.approx(centred @ axes, abs=1e-4)


def test_more_dimensions_than_vectors_give_the_same_points() -> None:
    rng = np.random.default_rng(4)
    few = (rng.standard_normal((5, 40)) * np.linspace(3, 0.1, 40)).astype(np.float32)
    points = principal_axes(few).place(few)
    centred = few.astype(np.float64) - few.astype(np.float64).mean(axis=0)
    left, singular, _ = np.linalg.svd(centred, full_matrices=False)
    assert np.abs(points) == pytest.approx(np.abs(left[:, :2] * singular[:2]), abs=1e-4)


def test_the_same_vectors_give_the_same_map_and_the_largest_entry_of_an_axis_is_positive() -> None:
    vectors = np.random.default_rng(5).standard_normal((300, 16)).astype(np.float32)
    one, other = principal_axes(vectors), principal_axes(vectors.copy())
    assert np.array_equal(one.axes, other.axes)
    assert (one.axes[np.abs(one.axes).argmax(axis=0), [0, 1]] > 0).all()


@pytest.mark.parametrize("n", [0, 1, 5])
def test_vectors_that_do_not_differ_stand_at_one_point(n: int) -> None:
    vectors = np.full((n, 4), 0.5, dtype=np.float32)
    assert np.array_equal(principal_axes(vectors).place(vectors), np.zeros((n, 2)))


# What goes to the page


def test_a_layout_keeps_distances_and_fills_the_units_with_its_longer_side() -> None:
    points = np.array([[-1.0, 0.0], [3.0, 0.0], [1.0, 1.0]], dtype=np.float32)
    layout = Layout(OVERVIEW, points, lambda vectors: vectors)
    assert layout.at.tolist() == [[0, 24576], [UNITS, 24576], [32768, 40959]]
    assert layout.at.dtype == np.dtype("<u2")
    assert layout.place(points) == [(0.0, 24575.6), (65535.0, 24575.6), (32767.5, 40959.4)]
    assert layout.place(np.array([[5.0, 0.5]], dtype=np.float32)) == [(98302.5, 32767.5)]


def test_points_that_are_all_the_same_stand_in_the_middle() -> None:
    layout = Layout(OVERVIEW, np.zeros((2, 2), dtype=np.float32), lambda vectors: vectors)
    assert layout.at.tolist() == [[32768, 32768], [32768, 32768]]


# The map of an index


def test_each_passage_of_an_index_has_its_point_and_its_own_text_falls_on_it(index: Index) -> None:
    index.add([Document("fruit.md", "Apples are red.", "Fruit"), *documents(9)])
    found = drawn(index)
    with index.reading() as view:
        chunks = view.store.chunks(found.ids.tolist())
    assert sorted(chunk.doc_id for chunk in chunks.values()) == sorted(["fruit.md", *(f"{i}.md" for i in range(9))])
    texts = [chunks[int(i)].encoded for i in found.ids]
    placed = found.layouts[OVERVIEW].place(index.encoder.encode_queries(texts))
    assert np.array(placed) == pytest.approx(found.layouts[OVERVIEW].at.astype(float), abs=UNITS * 2e-3)  # float16


def test_an_index_without_passages_has_a_map_without_points(index: Index) -> None:
    found = drawn(index)
    assert (found.total, len(found.ids), found.groupings["folder"].groups) == (0, 0, ())


def test_a_map_says_how_many_passages_are_still_waiting_for_their_vector(
    index: Index, encoder: HashingEncoder, tmp_path: Path
) -> None:
    (tmp_path / "docs").mkdir()
    for i in range(150):
        (tmp_path / "docs" / f"{i}.txt").write_text(f"word{i}")
    index.ingest(tmp_path / "docs", progressive=True, stop=lambda: len(encoder.texts) >= 64)
    found = drawn(index)
    assert found.total == len(found.ids) == len(encoder.texts) < 150
    assert found.total + found.waiting == 150


def test_of_more_passages_than_are_drawn_a_sample_is_taken_the_same_one_each_time(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "MOST_POINTS", 20)
    index.add(documents(60))
    one, other = drawn(index), drawn(index)
    assert (len(one.ids), one.total, one.is_sample) == (20, 60, True)
    assert one.ids.tolist() == other.ids.tolist() == sorted(one.ids.tolist())


def test_a_sample_stays_mostly_what_it_was_while_the_index_grows(index: Index) -> None:
    index.add(documents(60))
    with index.reading() as view:
        before, _ = view.vectors(at_most=30)
    index.add(documents(6, folder="new/"))
    with index.reading() as view:
        after, _ = view.vectors(at_most=30)
    assert len(set(before.tolist()) & set(after.tolist())) >= 24


def test_the_vectors_of_an_index_are_those_of_its_passages(index: Index) -> None:
    index.add(documents(5))
    index.add([Document("1.md", "another text")])  # in place of the one before
    with index.reading() as view:
        ids, vectors = view.vectors()
        chunks = view.store.chunks(ids.tolist())
        alone = [view.vector(int(i)) for i in ids]
        assert view.vector(10_000) is None
    assert len(ids) == 5
    assert vectors.dtype == np.float32
    wanted = index.encoder.encode_documents([chunks[int(i)].encoded for i in ids])
    assert vectors == pytest.approx(wanted, abs=1e-3)
    assert np.array(alone) == pytest.approx(wanted, abs=1e-3)


# Folders and types


@pytest.mark.parametrize(
    ("source", "relpath", "path"),
    [
        ("a/b.md", "a/b.md", "a/b.md"),
        ("a/b.jsonl#7", "a/b.jsonl", "a/b.jsonl"),
        ("docs/a/b.md", "a/b.md", "docs/a/b.md"),  # two folders that were read have an a/b.md
        ("docs/b.jsonl#7/8", "b.jsonl", "docs/b.jsonl"),
        ("c#.md", "c#.md", "c#.md"),
        ("notes.txt#3", None, "notes.txt"),
        ("issue #3", None, "issue #3"),
    ],
)
def test_a_source_names_its_file(source: str, relpath: str | None, path: str) -> None:
    assert file_path(source, relpath) == path


def test_a_type_is_the_ending_in_small_letters() -> None:
    assert [suffix(path) for path in ("a/B.PDF", "b.tar.gz", "c", ".hidden")] == ["pdf", "gz", "", ""]


def test_passages_are_grouped_where_their_folders_part_ways_and_by_type(index: Index) -> None:
    sources = ["all/a/x/1.md", "all/a/x/2.md", "all/a/y/3.MD", "all/b/4.pdf", "all/5"]
    index.add([Document(source, f"word{i} other{i}") for i, source in enumerate(sources)])
    found = drawn(index)
    folders, types = found.groupings["folder"], found.groupings["type"]
    assert [(group.name, group.n) for group in folders.groups] == [("all/a", 3), ("all", 1), ("all/b", 1)]
    assert [(group.name, group.n) for group in types.groups] == [("md", 3), ("no ending", 1), ("pdf", 1)]
    with index.reading() as view:
        chunks = view.store.chunks(found.ids.tolist())
    assert [folders.groups[k].name for k in folders.of] == [
        "all" if chunks[int(i)].doc_id == "all/5" else chunks[int(i)].doc_id[:5] for i in found.ids
    ]
    [typical] = {chunks[i].doc_id for i in types.groups[2].typical}
    assert typical == "all/b/4.pdf"


def test_more_folders_than_there_are_colours_end_in_one_for_all_others(index: Index) -> None:
    index.add([Document(f"f{i:02}/{j}.md", f"w{i} w{j}") for i in range(20) for j in range(2 if i < 3 else 1)])
    groups = drawn(index).groupings["folder"].groups
    assert len(groups) == 16
    assert [group.name for group in groups[:4]] == ["f00", "f01", "f02", "f03"]
    assert (groups[-1].name, groups[-1].n) == ("5 others", 5)


# One state of one index


def test_a_map_is_drawn_once_for_a_state_and_anew_for_the_next(index: Index) -> None:
    index.add(documents(9))
    kept = Maps()
    first = kept.of(index)
    assert first.done.wait(WAIT_S)
    assert kept.of(index) is first
    assert kept.get(first.token) is first
    index.add([Document("new.md", "something new")])
    second = kept.of(index)
    assert second.done.wait(WAIT_S)
    assert first.map is not None
    assert second.map is not None
    assert (len(first.map.ids), len(second.map.ids)) == (9, 10)
    assert first.map.token != second.map.token


def test_indexes_with_the_same_content_do_not_share_a_map(tmp_path: Path) -> None:
    kept = Maps()
    tokens = set()
    for name in ("one", "two"):
        with Index.create(tmp_path / name, encoder=HashingEncoder()) as made:
            made.add(documents(4))
            drawing = kept.of(made)
            assert drawing.done.wait(WAIT_S)
            tokens.add(drawing.token)
    assert len(tokens) == 2


def test_an_index_made_anew_under_the_same_path_has_a_map_of_its_own(tmp_path: Path) -> None:
    kept = Maps()
    sizes = []
    for n in (4, 6):
        with Index.open_or_create(tmp_path / "index", encoder=HashingEncoder()) as made:
            made.add(documents(n))
            drawing = kept.of(made)
            assert drawing.done.wait(WAIT_S)
            assert drawing.map is not None
            sizes.append(len(drawing.map.ids))
        Index.delete(tmp_path / "index")
    assert sizes == [4, 6]


def test_only_the_last_few_maps_are_kept(index: Index) -> None:
    kept = Maps()
    drawings = []
    for n in range(6):
        index.add([Document(f"{n}.md", f"word{n}")])
        drawings.append(kept.of(index))
        assert drawings[-1].done.wait(WAIT_S)
    assert [kept.get(drawing.token) is drawing for drawing in drawings] == [False, False, True, True, True, True]


def test_a_map_that_failed_says_why_and_is_tried_again(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    index.add(documents(4))
    kept = Maps()
    with monkeypatch.context() as patch:
        patch.setattr(maps, "principal_axes", lambda vectors: 1 / 0)
        failed = kept.of(index)
        assert failed.done.wait(WAIT_S)
    assert isinstance(failed.fault, ZeroDivisionError)
    assert failed.map is None
    again = kept.of(index)
    assert again.done.wait(WAIT_S)
    assert again.map is not None


# Neighbours


class FakeUmap(ModuleType):
    """Stands in for umap-learn: lays vectors out by their first and last numbers, when it is let."""

    def __init__(self) -> None:
        super().__init__("umap")
        self.__spec__ = SimpleNamespace(name="umap")  # type: ignore[assignment]
        self.may_go = threading.Event()
        self.fails = False
        self.given: dict[str, object] = {}
        fake = self

        class UMAP:
            def __init__(self, **given: object) -> None:
                fake.given = given

            def fit_transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
                assert fake.may_go.wait(WAIT_S)
                if fake.fails:
                    raise RuntimeError("llvm is not in the mood")
                return self.transform(vectors)

            def transform(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
                return np.asarray(vectors[:, [0, -1]])

        self.UMAP = UMAP


@pytest.fixture
def umap(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeUmap]:
    fake = FakeUmap()
    monkeypatch.setitem(sys.modules, "umap", fake)
    yield fake
    fake.may_go.set()


def test_where_umap_is_installed_its_layout_follows_and_the_map_is_there_meanwhile(
    index: Index, umap: FakeUmap
) -> None:
    index.add(documents(60))
    drawing = Maps().of(index)
    assert drawing.drawn.wait(WAIT_S)
    assert drawing.map is not None
    assert (drawing.map.neighbours, list(drawing.map.layouts), drawing.done.is_set()) == ("coming", [OVERVIEW], False)
    umap.may_go.set()
    assert drawing.done.wait(WAIT_S)
    assert (drawing.map.neighbours, list(drawing.map.layouts)) == ("ready", [OVERVIEW, NEIGHBOURS])
    assert umap.given["random_state"] is not None
    with index.reading() as view:
        _, vectors = view.vectors()
    layout = drawing.map.layouts[NEIGHBOURS]
    assert np.array(layout.place(vectors)) == pytest.approx(layout.at.astype(float), abs=1)


def test_when_umap_fails_the_overview_stays(index: Index, umap: FakeUmap) -> None:
    umap.fails = True
    umap.may_go.set()
    index.add(documents(60))
    drawing = Maps().of(index)
    assert drawing.done.wait(WAIT_S)
    assert drawing.map is not None
    assert (drawing.map.neighbours, list(drawing.map.layouts), drawing.fault) == ("failed", [OVERVIEW], None)


def test_few_passages_have_no_second_layout(index: Index, umap: FakeUmap) -> None:
    index.add(documents(10))
    assert drawn(index).neighbours == "none"


def test_without_umap_there_is_one_layout(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    index.add(documents(60))
    found = drawn(index)
    assert (found.neighbours, list(found.layouts)) == ("none", [OVERVIEW])
