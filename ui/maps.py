"""An index as a map: each passage a point of the plane, those with like vectors near each other.

The overview is a projection on the two directions in which the vectors differ most (PCA), there within a second. Where
`umap-learn` is installed, a second layout that keeps neighbours together is worked out behind it. A map belongs to
one state of one index: `Maps` keeps the last few, and never shows that of another.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.errors import RagError
from rag.index import Index
from rag.store import Store
from ui.topics import MOST_TOPICS, Topics, find_topics, typical_passages

MOST_POINTS = 50_000  # of more passages a sample is drawn: what browsers draw smoothly, and eyes tell apart
UNITS = 65_535  # positions go to the page as whole numbers from 0 to this, of the larger side of the map
OVERVIEW, NEIGHBOURS = "overview", "neighbours"
_KEPT = 4  # maps in memory: about 2 MB each, and with a second layout also the vectors, up to 77 MB of 384 dimensions
_FEWEST_FOR_NEIGHBOURS = 50
_SAME_TOKENS = 16  # hex digits of a map's name

log = logging.getLogger(__name__)

Points = NDArray[np.float32]  # of shape (n, 2)
Vectors = NDArray[np.float32]  # of shape (n, dim)


@dataclass(frozen=True, slots=True)
class Projection:
    """An affine map from vectors to the plane."""

    mean: NDArray[np.float32]  # of shape (dim,)
    axes: NDArray[np.float32]  # of shape (dim, 2), columns of length 1 that are at right angles

    def place(self, vectors: Vectors) -> Points:
        """Where vectors of shape (n, dim) fall."""
        return np.asarray((vectors - self.mean) @ self.axes, dtype=np.float32)


def principal_axes(vectors: Vectors) -> Projection:
    """The plane through the mean in which the vectors differ most: PCA by the covariance's eigenvectors, exact.

    The sign of each axis is the one with which its largest entry is positive, so the same vectors give the same map.
    Vectors that differ in fewer than two directions get axes along which they are all at 0.
    """
    n, dim = vectors.shape
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32) if n else np.zeros(dim, dtype=np.float32)
    axes = np.zeros((dim, 2), dtype=np.float32)
    if n > 1:
        found = _top_two((vectors - mean).astype(np.float32))
        axes[:, : found.shape[1]] = found
    return Projection(mean, axes)


def _top_two(centred: Vectors) -> NDArray[np.float64]:
    """The first two right singular vectors of a matrix, as columns; those of singular value 0 are left out."""
    import scipy.linalg

    n, dim = centred.shape
    # Of n vectors the n x n products tell as much as the covariance: the smaller one of both is taken apart.
    wide = n < dim
    side = min(n, dim)
    products = (centred @ centred.T if wide else centred.T @ centred).astype(np.float64)
    values, parts = scipy.linalg.eigh(products, subset_by_index=[max(side - 2, 0), side - 1])
    noise = float(values[-1]) * side * np.finfo(np.float32).eps
    parts = parts[:, ::-1][:, values[::-1] > max(noise, np.finfo(np.float32).tiny)]
    if wide:
        parts = centred.T.astype(np.float64) @ parts
    parts /= np.linalg.norm(parts, axis=0, keepdims=True)
    largest = np.argmax(np.abs(parts), axis=0)
    return np.asarray(parts * np.sign(parts[largest, np.arange(parts.shape[1])]))


class Layout:
    """Points of the plane, and where others fall among them."""

    def __init__(self, name: str, points: Points, place: Callable[[Vectors], Points]) -> None:
        """Bind points of shape (n, 2), and what places further vectors of shape (m, dim)."""
        self.name = name
        self._place = place
        low = points.min(axis=0) if len(points) else np.zeros(2, dtype=np.float32)
        high = points.max(axis=0) if len(points) else np.zeros(2, dtype=np.float32)
        self._middle = (low.astype(np.float64) + high) / 2
        self._scale = UNITS / (float((high - low).max()) or 1.0)  # the same for both sides, so that distances hold
        self.at = np.rint(self._units(points)).clip(0, UNITS).astype("<u2")  # of shape (n, 2)

    def place(self, vectors: Vectors) -> list[tuple[float, float]]:
        """Where vectors fall, in the units of `at`; further out than these for what lies beyond all points."""
        return [(round(float(x), 1), round(float(y), 1)) for x, y in self._units(self._place(vectors))]

    def _units(self, points: Points) -> NDArray[np.float64]:
        return (points.astype(np.float64) - self._middle) * self._scale + UNITS / 2


@dataclass(frozen=True, slots=True)
class Group:
    """Points that have something in common."""

    name: str
    n: int
    typical: tuple[int, ...]  # ids of passages that stand for it


@dataclass(frozen=True, slots=True)
class Grouping:
    """A way to colour the points: by topic, folder or type."""

    groups: tuple[Group, ...]  # the largest first; where there are too many, the last one is all others
    of: NDArray[np.uint8]  # of shape (n,): the position of each point's group


@dataclass(slots=True)
class PassageMap:
    """The map of one state of one index; what is worked out later comes to it while it is shown."""

    token: str  # names the index and its state, and nothing else has the same
    change: tuple[int, bytes]  # number and token of the last change in it
    ids: NDArray[np.int64]  # of the passages, ascending, shape (n,)
    total: int  # passages that have a vector, of which the points may be a sample
    waiting: int  # passages that have none yet
    layouts: dict[str, Layout]
    groupings: dict[str, Grouping]
    neighbours: str = "none"  # the second layout: none (not installed, or too few), coming, ready or failed
    is_done: bool = False  # nothing more will come

    def is_of(self, store: Store) -> bool:
        """Whether an index is still the one that is drawn: in one made anew under its name, ids name other passages."""
        return store.change_token(self.change[0], of_any_age=True) == self.change[1]

    @property
    def is_sample(self) -> bool:
        return len(self.ids) < self.total


@dataclass(slots=True)
class Drawing:
    """A map that is being drawn. Its events are set by the thread that draws it."""

    token: str
    drawn: threading.Event = field(default_factory=threading.Event)  # the overview is there, or it failed
    done: threading.Event = field(default_factory=threading.Event)  # so is all that comes after
    map: PassageMap | None = None
    fault: Exception | None = None  # why there is no map


class Maps:
    """The maps of the indexes of this process, each drawn once for all who look. Safe to use from several threads."""

    def __init__(self) -> None:
        self._drawings: OrderedDict[str, Drawing] = OrderedDict()
        self._lock = threading.Lock()
        self._at_work = threading.Lock()  # one map at a time: each keeps all processors busy

    def of(self, index: Index) -> Drawing:
        """The map of the index as it is now, begun if it is not there.

        Raises:
            RagError: the index cannot be read.
        """
        token = state_token(index)
        with self._lock:
            if (drawing := self._drawings.get(token)) is None:
                drawing = self._drawings[token] = Drawing(token)
                thread = threading.Thread(target=self._draw, args=(index, drawing), name="map", daemon=True)
                thread.start()
            self._drawings.move_to_end(token)
            while len(self._drawings) > _KEPT:
                self._drawings.popitem(last=False)
        return drawing

    def get(self, token: str) -> Drawing | None:
        """A map that was asked for before, if it is still kept."""
        with self._lock:
            return self._drawings.get(token)

    def _draw(self, index: Index, drawing: Drawing) -> None:
        try:
            with self._at_work:
                draw(index, drawing)
        except Exception as exc:
            if not isinstance(exc, RagError):
                log.exception("drawing the map failed")
            drawing.fault = drawing.fault or exc
            with self._lock:  # the next who looks tries again
                self._drawings.pop(drawing.token, None)
        finally:
            if drawing.map is not None:
                drawing.map.is_done = True
            drawing.drawn.set()
            drawing.done.set()


def state_token(index: Index) -> str:
    """Names the state that an index is in: its folder, and the number and token of the last change."""
    with index.reading() as view:
        return _token(index, view.change)


def _token(index: Index, change: tuple[int, bytes]) -> str:
    state = f"{index.path.absolute()}\x00{change[0]}\x00{change[1].hex()}"
    return hashlib.sha256(state.encode(errors="surrogateescape")).hexdigest()[:_SAME_TOKENS]


def draw(index: Index, drawing: Drawing) -> None:
    """Draw the map of an index in stages: overview, folders and types; then topics; then neighbours, if possible."""
    with index.reading() as view:
        change = view.change
        token = _token(index, change)
        ids, vectors = view.vectors(at_most=MOST_POINTS)
        total, waiting = view.n_vectors, view.store.n_waiting()
        origins = view.store.origins(ids.tolist())
    projection = principal_axes(vectors)
    overview = Layout(OVERVIEW, projection.place(vectors), projection.place)
    paths = [file_path(*origins[i]) for i in ids.tolist()]
    groupings = {
        "folder": grouping([PurePosixPath(path).parent.parts for path in paths], ids, vectors, name=folder_names),
        "type": grouping([(suffix(path),) for path in paths], ids, vectors, name=type_names),
    }
    drawing.map = PassageMap(token, change, ids, total, waiting, {OVERVIEW: overview}, groupings)
    has_neighbours = can_keep_neighbours() and len(ids) >= _FEWEST_FOR_NEIGHBOURS
    drawing.map.neighbours = "coming" if has_neighbours else "none"
    drawing.drawn.set()
    drawing.map.groupings = {"topic": _by_topic(index, ids, vectors), **groupings}
    if has_neighbours:
        try:
            layout = keep_neighbours(vectors)
        except Exception:  # numba, llvm and their like: anything may be amiss, and the overview is there
            log.exception("the second layout of the map failed")
            drawing.map.neighbours = "failed"
        else:
            drawing.map.layouts = {**drawing.map.layouts, NEIGHBOURS: layout}
            drawing.map.neighbours = "ready"


def _by_topic(index: Index, ids: NDArray[np.int64], vectors: Vectors) -> Grouping:
    def read_texts(some: Sequence[int]) -> dict[int, str]:
        with index.reading() as view:
            return {i: chunk.text for i, chunk in view.store.chunks(some).items()}

    topics: Topics = find_topics(ids, vectors, read_texts)
    return Grouping(
        tuple(Group(topic.name or "no words", topic.n, topic.typical) for topic in topics.topics), topics.of
    )


# Folders and types


def file_path(source: str, relpath: str | None) -> str:
    """The part of a source that names the file: without the '#' and what follows for one of its lines or records."""
    if relpath is None:
        head, _, _ = source.partition("#")
        return head if PurePosixPath(head).suffix else source
    if (source + "#").startswith(relpath + "#"):
        return relpath
    return source[: source.find("/") + 1 + len(relpath)]  # after the name of its folder, where two have such a path


def suffix(path: str) -> str:
    return PurePosixPath(path).suffix.removeprefix(".").lower()


def grouping(
    keys: Sequence[tuple[str, ...]],
    ids: NDArray[np.int64],
    vectors: Vectors,
    *,
    name: Callable[[list[list[tuple[str, ...]]]], list[str]],
) -> Grouping:
    """Group points by where their keys part ways first: below what all have in common, by the next step.

    Args:
        keys: of each point, such as the folders that its file lies in.
        ids: of the points.
        vectors: of the points.
        name: makes names for groups, each given as its distinct keys.
    """
    shared = len(_common(keys))
    groups: dict[tuple[str, ...], list[int]] = {}
    for row, key in enumerate(keys):
        groups.setdefault(key[: shared + 1], []).append(row)
    ordered = sorted(groups, key=lambda key: (-len(groups[key]), key))
    kept = [groups[key] for key in ordered[:MOST_TOPICS]]
    if len(ordered) > MOST_TOPICS:
        kept[MOST_TOPICS - 1 :] = [[row for key in ordered[MOST_TOPICS - 1 :] for row in groups[key]]]
    names = name([sorted({keys[row] for row in rows}) for rows in kept])
    if len(ordered) > MOST_TOPICS:
        names[-1] = f"{len(ordered) - MOST_TOPICS + 1} others"
    of = np.zeros(len(keys), dtype=np.uint8)
    made = []
    for position, rows in enumerate(kept):
        of[rows] = position
        made.append(Group(names[position], len(rows), typical_passages(ids, vectors, of == position)))
    return Grouping(tuple(made), of)


def folder_names(groups: list[list[tuple[str, ...]]]) -> list[str]:
    """The deepest folder that holds all of a group; 'top folder' for what lies in none."""
    return ["/".join(_common(keys)) or "top folder" for keys in groups]


def type_names(groups: list[list[tuple[str, ...]]]) -> list[str]:
    return [keys[0][0] or "no ending" for keys in groups]


def _common(keys: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """What all begin with."""
    distinct = set(keys)
    first, last = min(distinct, default=()), max(distinct, default=())
    n = 0
    while n < min(len(first), len(last)) and first[n] == last[n]:
        n += 1
    return first[:n]


# The layout that keeps neighbours together


def can_keep_neighbours() -> bool:
    """Whether `umap-learn` is installed."""
    return importlib.util.find_spec("umap") is not None


def keep_neighbours(vectors: Vectors) -> Layout:
    """Lay passages out so that neighbours stay neighbours: UMAP (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    It takes from some ten seconds to minutes. The seed is fixed, which keeps it to one thread: the same passages give
    the same map, and whoever asks a question meanwhile has a processor left.
    """
    import umap

    model: Any = umap.UMAP(n_neighbors=15, min_dist=0.1, metric="cosine", random_state=7, n_jobs=1)
    points = np.asarray(model.fit_transform(vectors), dtype=np.float32)
    lock = threading.Lock()  # nothing says that a model may be used from two threads

    def place(some: Vectors) -> Points:
        with lock:
            return np.asarray(model.transform(some), dtype=np.float32)

    return Layout(NEIGHBOURS, points, place)
