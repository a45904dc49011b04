"""Brings an index in step with files and folders: what an ingest does, file by file, and what it reports."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from rag.chunking import Chunking, chunk_document
from rag.encoders import Encoder
from rag.errors import EncoderError, LoadError
from rag.folders import FoundFile, absolute, find_files, is_below
from rag.loaders import format_of
from rag.loaders.isolation import IsolatedLoader
from rag.store import FileRow, Store, StoreWriter, embedding_key
from rag.types import Chunk, Document, JsonValue

TEXTS_PER_BATCH = 128  # embedded, then kept at once: what a kill can cost


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an ingest stands; given to the caller's function after each file and each batch."""

    files_done: int
    files_total: int
    chunks: int  # of the files read so far
    current: str  # the file at hand


@dataclass(slots=True)
class IngestReport:
    """What an ingest did. `set_aside` holds every file below the given paths that could not be read, old and new."""

    read: int = 0
    unchanged: int = 0
    removed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by suffix: types that are not read
    set_aside: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)
    notes: list[tuple[str, str]] = field(default_factory=list)  # (path, what a person should know)
    chunks: int = 0  # of the files read
    embedded: int = 0  # texts that were new
    seconds: float = 0.0

    def as_json(self) -> dict[str, JsonValue]:
        """The form that `rag ingest --json` prints."""
        return {
            "read": self.read,
            "unchanged": self.unchanged,
            "removed": self.removed,
            "skipped": dict(sorted(self.skipped.items())),
            "set_aside": [{"path": path, "reason": reason} for path, reason in self.set_aside],
            "notes": [{"path": path, "note": note} for path, note in self.notes],
            "chunks": self.chunks,
            "embedded": self.embedded,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file that was read and cut, and waits for its embeddings."""

    root: str
    row: FileRow
    documents: tuple[tuple[Document, tuple[Chunk, ...]], ...]


class Embedder:
    """Cuts documents and embeds what was never embedded."""

    def __init__(
        self, encoder: Callable[[], Encoder], chunking: Chunking, reading: Callable[[], AbstractContextManager[Store]]
    ) -> None:
        """Bind an index's own ways; the encoder is asked for when it is first needed."""
        self._encoder = encoder
        self._chunking = chunking
        self.reading = reading

    @property
    def encoder(self) -> Encoder:
        return self._encoder()

    def cut(self, document: Document) -> tuple[Chunk, ...]:
        """The passages of a document."""
        return tuple(chunk_document(document, chunking=self._chunking, count_tokens=self.encoder.count_tokens))

    def embed(self, writer: StoreWriter, chunks: Sequence[Chunk]) -> Iterator[int]:
        """Embed what was never embedded, batch by batch, each kept at once; yields how many were new."""
        space = self.encoder.space
        texts = {embedding_key(space, chunk.encoded): chunk.encoded for chunk in chunks}
        with self.reading() as store:
            known = store.known_embeddings(list(texts))
        new = [key for key in texts if key not in known]
        for i in range(0, len(new), TEXTS_PER_BATCH):
            keys = new[i : i + TEXTS_PER_BATCH]
            vectors = self.encoder.encode_documents([texts[key] for key in keys])
            if vectors.shape != (len(keys), self.encoder.dim) or not np.isfinite(vectors).all():
                raise EncoderError(
                    f"the encoder {self.encoder.name!r} gave vectors of shape {vectors.shape}, or numbers that are not "
                    f"finite, where {(len(keys), self.encoder.dim)} was expected: use another"
                )
            writer.add_embeddings(keys, [vector.astype("<f2").tobytes() for vector in vectors])
            yield len(keys)


class Ingest:
    """One run: what is new or changed is read, cut, embedded and committed file by file; what has gone is forgotten."""

    def __init__(
        self,
        writer: StoreWriter,
        loader: IsolatedLoader,
        embedder: Embedder,
        report: IngestReport,
        progress: Callable[[Progress], None] | None,
        *,
        max_bytes: int,
    ) -> None:
        """Bind what it works with; the caller holds the write lock. A file above `max_bytes` is tried each time."""
        self._max_bytes = max_bytes
        self._writer = writer
        self._embedder = embedder
        self._loader = loader
        self._report = report
        self._progress = progress
        self._waiting: list[_Loaded] = []
        self._sources: set[str] = set()  # given in this run and not committed yet
        self._done, self._total, self._chunks_done = 0, 0, 0

    def run(self, paths: Sequence[Path], *, exclude: Sequence[str], gitignore: bool) -> None:
        with self._embedder.reading() as store:
            roots = _Roots(store.roots())
        work: dict[tuple[str, str], FoundFile] = {}
        unreadable: list[str] = []
        folders = [absolute(path) for path in paths if os.path.isdir(path)]
        for path in paths:
            named = not os.path.isdir(path)
            root = roots.add(absolute(path.parent if named else path))
            for found in find_files(path, exclude=exclude, gitignore=gitignore):
                if isinstance(found, FoundFile):
                    if format_of(found.path) is None and not named:
                        self._report.skipped[found.path.suffix.lower() or "no suffix"] += 1
                        continue
                    work[roots.place(absolute(found.path), found.relpath, root)] = found
                else:
                    unreadable.append(absolute(found.path))
                    self._report.set_aside.append((found.relpath, found.reason))
        self._total = len(work)
        with self._embedder.reading() as store:
            known = {root: store.files(root) for root in {root for root, _ in work} | set(roots.paths)}
        self._remove_gone(folders, work, known, unreadable)
        for (root, relpath), found in work.items():
            self._file(root, relpath, found, known[root].get(relpath))
            self._done += 1
            self._tell(relpath)
        self._flush()

    def _remove_gone(
        self,
        folders: Sequence[str],
        work: dict[tuple[str, str], FoundFile],
        known: dict[str, dict[str, FileRow]],
        unreadable: list[str],
    ) -> None:
        """Forget files below the given folders that are not there any more; what cannot be looked at is kept."""
        gone = []
        for root, rows in known.items():
            for relpath, row in rows.items():
                place = os.path.join(root, relpath)
                if (root, relpath) in work or not any(is_below(place, folder) for folder in folders):
                    continue
                if not any(is_below(place, closed) for closed in unreadable):
                    gone.append(row)
        if gone:
            self._writer.remove_files([row.id for row in gone])
            self._report.removed = sum(row.reason is None for row in gone)

    def _file(self, root: str, relpath: str, found: FoundFile, known: FileRow | None) -> None:
        is_whole = known is not None and (known.reason is None or known.sha256 is not None)
        if known is not None and is_whole and (known.size, known.mtime_ns) == (found.size, found.mtime_ns):
            self._keep(relpath, known)
            return
        row = FileRow(0, relpath, found.size, found.mtime_ns, None, None, ())
        try:
            # Before the text is read: what is written to the file in between is then noticed the next time.
            row = replace(row, sha256=_file_hash(found.path))
            if known is not None and known.reason is None and known.sha256 == row.sha256:
                self._writer.touch_file(self._writer.root_id(root), replace(known, mtime_ns=found.mtime_ns))
                self._keep(relpath, known)
                return
            loaded = self._loader.load(found.path, source=self._source(root, relpath))
            row = replace(row, notes=loaded.notes)
        except OSError as exc:
            self._set_aside(root, row, f"cannot be read: {(exc.strerror or str(exc)).lower()}")
            return
        except LoadError as exc:
            # Without its hash, a file is tried again each time: the limit may be higher then.
            too_large = found.size > self._max_bytes
            self._set_aside(root, replace(row, sha256=None) if too_large else row, str(exc))
            return
        documents = tuple((document, self._embedder.cut(document)) for document in loaded.documents)
        self._report.read += 1
        self._report.notes.extend((relpath, note) for note in loaded.notes)
        self._report.chunks += sum(len(chunks) for _, chunks in documents)
        self._waiting.append(_Loaded(root, row, documents))
        if sum(len(chunks) for loaded in self._waiting for _, chunks in loaded.documents) >= TEXTS_PER_BATCH:
            self._flush()

    def _keep(self, relpath: str, known: FileRow) -> None:
        if known.reason is None:
            self._report.unchanged += 1
            self._report.notes.extend((relpath, note) for note in known.notes)
        else:
            self._report.set_aside.append((relpath, known.reason))

    def _set_aside(self, root: str, row: FileRow, reason: str) -> None:
        self._report.set_aside.append((row.relpath, reason))
        self._writer.put_file(self._writer.root_id(root), replace(row, reason=reason), (), space="")

    def _source(self, root: str, relpath: str) -> str:
        """The relative path; where another folder's file has that source already, with its folder's name before it."""
        folder = os.path.basename(root) or "root"
        for n in range(1, 1000):
            source = relpath if n == 1 else f"{folder}{'' if n == 2 else f'-{n - 1}'}/{relpath}"
            with self._embedder.reading() as store:
                owner = store.owner(source)
            if source not in self._sources and owner in (None, (root, relpath)):
                self._sources.add(source)
                return source
        raise LoadError(f"has the same relative path as files of {n} other folders")

    def _flush(self) -> None:
        """Embed what waits, then commit file by file."""
        chunks = [chunk for loaded in self._waiting for _, cut in loaded.documents for chunk in cut]
        for n_new in self._embedder.embed(self._writer, chunks):
            self._report.embedded += n_new
            self._tell(self._waiting[-1].row.relpath)
        space = self._embedder.encoder.space if self._waiting else ""
        for loaded in self._waiting:
            try:
                self._writer.put_file(self._writer.root_id(loaded.root), loaded.row, loaded.documents, space=space)
            except LoadError as exc:
                self._report.read -= 1
                self._report.chunks -= sum(len(cut) for _, cut in loaded.documents)
                self._set_aside(loaded.root, replace(loaded.row, sha256=None), str(exc))
        self._chunks_done += len(chunks)
        self._waiting.clear()
        self._sources.clear()

    def _tell(self, current: str) -> None:
        if self._progress is not None:
            waiting = sum(len(cut) for loaded in self._waiting for _, cut in loaded.documents)
            self._progress(Progress(self._done, self._total, self._chunks_done + waiting, current))


class _Roots:
    """The ingested folders. A file belongs to the deepest of them that holds it, so it has one source for ever."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = sorted(paths, key=len, reverse=True)

    def add(self, folder: str) -> str:
        """The root for a folder given to ingest: a known one above it, or itself."""
        for path in self.paths:
            if is_below(folder, path):
                return path
        self.paths = sorted([*self.paths, folder], key=len, reverse=True)
        return folder

    def place(self, absolute: str, relpath: str, root: str) -> tuple[str, str]:
        """(root, path relative to it) of a file."""
        for path in self.paths:
            if is_below(absolute, path):
                return path, os.path.relpath(absolute, path).replace(os.sep, "/")
        return root, relpath


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
