"""The FAISS side: labelled vectors in, `(ids, scores)` out; and its snapshot file."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from rag.errors import UsageError
from rag.files import written_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_TRAILER = struct.Struct("<8sQ8sQ32s")  # magic, change number, its token, length of what precedes, its SHA-256
_MAGIC = b"footnote"


class Vectors:
    """An exact inner-product index over float16 vectors, each under its chunk id."""

    def __init__(self, dim: int) -> None:
        import faiss

        self.dim = dim
        flat = faiss.IndexScalarQuantizer(dim, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
        self._index: Any = faiss.IndexIDMap2(flat)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def add(self, ids: Sequence[int], vectors: NDArray[np.float16]) -> None:
        """Add vectors of shape (len(ids), dim) under ids that are not there yet."""
        if vectors.shape != (len(ids), self.dim):
            raise UsageError(f"expected vectors of shape {(len(ids), self.dim)}, got {vectors.shape}")
        self._index.add_with_ids(vectors.astype(np.float32), np.asarray(ids, dtype=np.int64))

    def remove(self, ids: Sequence[int]) -> None:
        """Remove those of the ids that are there."""
        if len(ids):
            self._index.remove_ids(np.asarray(ids, dtype=np.int64))

    def items(self) -> tuple[NDArray[np.int64], NDArray[np.float16]]:
        """All ids in increasing order, and their vectors, of shape (len(ids), dim)."""
        import faiss

        ids = faiss.vector_to_array(self._index.id_map)
        flat: Any = faiss.downcast_index(self._index.index)
        codes = faiss.vector_to_array(flat.codes)
        order = np.argsort(ids)
        return ids[order], codes.view("<f2").reshape(len(ids), self.dim)[order]

    def search(
        self, query: NDArray[np.float32], *, k: int, passing: NDArray[np.uint8] | None = None
    ) -> dict[int, float]:
        """The k nearest by inner product; fewer where fewer are there.

        Args:
            query: float32 of shape (dim,), length 1, so that scores are cosines.
            passing: look only at ids whose bit is 1, counted from the lowest bit of the first byte; all are compared.
        """
        if query.shape != (self.dim,):
            raise UsageError(f"expected a query vector of shape {(self.dim,)}, got {query.shape}")
        k = min(k, len(self))
        if k == 0:
            return {}
        parameters = None
        if passing is not None:
            parameters = _passing_parameters(passing)
        with _one_thread():
            scores, ids = self._index.search(query[None, :], k, params=parameters)
        # FAISS pads what it does not find with id -1 and an extreme score.
        return {int(i): float(s) for i, s in zip(ids[0], scores[0], strict=True) if i >= 0}

    def save(self, file: Path, *, change: int, token: bytes) -> None:
        """Write a snapshot of the state after a change: beside, synced, renamed. `read_index` of FAISS reads it too.

        Raises:
            OSError: it cannot be written.
        """
        import faiss

        with written_whole(file) as partial, partial.open("wb") as data:
            digest = hashlib.sha256()

            def write(part: bytes) -> None:
                data.write(part)
                digest.update(part)

            wrapped: Any = faiss
            writer = wrapped.PyCallbackIOWriter(write, 2**20)
            # Piece by piece, through our own file: as one string it would be in memory three times, and FAISS's own
            # file tells of a full disk on stderr alone.
            try:
                faiss.write_index(self._index, writer)
            except RuntimeError as exc:
                raise OSError(f"cannot write {str(partial)!r}: {exc}") from exc
            length = data.tell()
            data.write(_TRAILER.pack(_MAGIC, change, token.ljust(8, b"\0"), length, digest.digest()))

    @classmethod
    def read(cls, file: Path, *, dim: int, token: bytes) -> Vectors | None:
        """The snapshot in a file, or None where it is torn, foreign, or of another dimension: rebuild it then."""
        import faiss

        if not is_snapshot(file, token=token):
            return None
        try:
            index = faiss.read_index(str(file))
        except RuntimeError:
            return None
        if index.d != dim or not isinstance(index, faiss.IndexIDMap2):
            return None
        vectors = cls(dim)
        vectors._index = index
        return vectors


def is_snapshot(file: Path, *, token: bytes, hashed: bool = False) -> bool:
    """Whether a file is a whole snapshot of the change that has this token; told by its end, or by all its bytes.

    Args:
        file: need not be there.
        token: of the change, from the log.
        hashed: read all of it and compare its SHA-256 as well.
    """
    try:
        with file.open("rb") as data:
            size = data.seek(0, 2)
            data.seek(max(size - _TRAILER.size, 0))
            magic, _, its_token, length, digest = _TRAILER.unpack(data.read())
            if (magic, its_token, length) != (_MAGIC, token.ljust(8, b"\0"), size - _TRAILER.size):
                return False
            return not hashed or _hash_of_first(data, length) == digest
    except (OSError, struct.error):
        return False


@contextmanager
def _one_thread() -> Iterator[None]:
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


def _passing_parameters(passing: NDArray[np.uint8]) -> Any:
    import faiss

    wrapped: Any = faiss  # whose Python wrappers take other arguments than the signatures that mypy sees
    return wrapped.SearchParameters(sel=wrapped.IDSelectorBitmap(passing))


def _hash_of_first(data: BinaryIO, length: int) -> bytes:
    data.seek(0)
    digest = hashlib.sha256()
    while length and (part := data.read(min(length, 2**20))):
        digest.update(part)
        length -= len(part)
    return digest.digest()
