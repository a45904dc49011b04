"""What every kind of vectors can do, and what they share in using FAISS."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rag.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Vectors(Protocol):
    """Float16 vectors, each under its chunk id. Not thread-safe."""

    dim: int

    def __len__(self) -> int: ...

    def add(self, ids: Sequence[int] | NDArray[np.int64], vectors: NDArray[np.float16]) -> None:
        """Add vectors of shape (len(ids), dim), in place of those that are there under the same ids."""

    def remove(self, ids: Sequence[int] | NDArray[np.int64]) -> None:
        """Remove those of the ids that are there."""

    def search(
        self, query: NDArray[np.float32], *, k: int, passing: NDArray[np.uint8] | None = None
    ) -> dict[int, float]:
        """The k nearest by inner product, the nearest first; fewer where fewer are there.

        Args:
            query: float32 of shape (dim,), length 1, so that scores are cosines, always of the vectors themselves.
            k: how many at most.
            passing: look only at ids whose bit is 1, counted from the lowest bit of the first byte; all are compared.
        """

    def rows(self) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float16]]]:
        """All ids and their vectors, some at a time, in no order."""

    def save(self, file: Path, *, change: int, token: bytes) -> None:
        """Write a snapshot of the state after a change: beside, synced, renamed.

        Raises:
            OSError: it cannot be written.
        """


def check_rows(ids: Sequence[int] | NDArray[np.int64], vectors: NDArray[np.float16], *, dim: int) -> None:
    if vectors.shape != (len(ids), dim):
        raise UsageError(f"expected vectors of shape {(len(ids), dim)}, got {vectors.shape}")


def check_query(query: NDArray[np.float32], *, dim: int) -> None:
    if query.shape != (dim,):
        raise UsageError(f"expected a query vector of shape {(dim,)}, got {query.shape}")


def empty_flat(dim: int) -> Any:
    """FAISS's index that compares with every vector, each kept in float16."""
    import faiss

    return faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)


@contextmanager
def one_thread() -> Iterator[None]:
    """FAISS spreads queries over threads, of which there is one: starting them only costs, most on busy cores.

    At 20,000 vectors on two cores, beside another process: p95 40 ms with two threads, 0.7 ms with one.
    """
    import faiss

    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


def only(bits: NDArray[np.uint8]) -> Any:
    """Parameters of a search among those whose bit is 1."""
    import faiss

    wrapped: Any = faiss  # whose Python wrappers take other arguments than the signatures that mypy sees
    return wrapped.SearchParameters(sel=wrapped.IDSelectorBitmap(bits))
