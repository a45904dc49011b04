"""One folder, the truth and its snapshot: open, ingest, remove."""

from __future__ import annotations

import hashlib
import math
import os
import re
import shutil
import sqlite3
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rag.chunking import Chunking, chunk_document
from rag.encoders import DEFAULT_ENCODER, Encoder, load_encoder
from rag.errors import (
    EncoderError,
    IndexBusyError,
    IndexDamagedError,
    IndexMismatchError,
    IndexNotFoundError,
    LoadError,
    UsageError,
)
from rag.folders import FoundFile, find_files
from rag.loaders import Limits, format_of
from rag.loaders.isolation import IsolatedLoader
from rag.store import DocumentRow, FileRow, Store, StoreWriter, embedding_key
from rag.types import Chunk, Document, JsonValue
from rag.vectors import Vectors

_TEXTS_PER_BATCH = 128  # embedded, then kept at once: what a kill can cost
_SNAPSHOT_AFTER = 10_000  # changed chunks, at least, before a snapshot is written again
_SNAPSHOT_SHARE = 0.05  # or this share of all chunks, if that is more
_SNAPSHOT_NAME = re.compile(r"vectors-(\d+)\.faiss")


@dataclass(frozen=True, slots=True)
class Progress:
    """Where an ingest stands; given to the caller's function after each file and each batch."""

    files_done: int
    files_total: int
    chunks: int  # embedded or known so far
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
class IndexStatus:
    """What is in an index, and what made it."""

    path: Path
    documents: int
    chunks: int
    files: int
    bytes: int  # of the whole folder on disk
    encoder: str
    encoder_form: str
    created: str
    made_with: dict[str, JsonValue]
    roots: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    last_ingest: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file that was read and cut, and waits for its embeddings."""

    root: str
    row: FileRow
    documents: tuple[tuple[Document, tuple[Chunk, ...]], ...]


class View:
    """One consistent state of an index: all of it is of the same change. Valid inside `Index.reading()` only."""

    def __init__(self, store: Store, vectors: Callable[[], Vectors]) -> None:
        self.store = store
        self._vectors = vectors

    @property
    def n_vectors(self) -> int:
        return len(self._vectors())

    def dense(self, query: np.ndarray[Any, np.dtype[np.float32]], *, k: int) -> dict[int, float]:
        """The k chunks most similar to a unit vector, with their cosines."""
        return self._vectors().search(query, k=k)


class Index:
    """A folder of documents made searchable. Safe to use from several threads; one process writes at a time."""

    def __init__(self, path: Path, store: Store, manifest: dict[str, Any], encoder: Encoder | None) -> None:
        self.path = path
        self._store = store
        self._manifest = manifest
        self._encoder = encoder
        self._vectors: Vectors | None = None
        self._vectors_at = (0, b"")  # the change they are brought to
        self._snapshot_at = 0  # the change of the snapshot that they were read from or saved as
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], *, encoder: Encoder | str = DEFAULT_ENCODER, chunking: Chunking | None = None
    ) -> Index:
        """Make an empty index in a folder that does not hold one yet.

        Args:
            path: the folder; made with its parents.
            encoder: recorded, and from then on the only one whose vectors this index takes.
            chunking: recorded; by default as long as the encoder reads, at most 256 tokens.

        Raises:
            UsageError: there is an index already.
            EncoderError: the encoder cannot be loaded.
        """
        folder = Path(path)
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        chunking = chunking or Chunking(max_tokens=min(loaded.max_tokens, 256))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"cannot make the index folder {str(folder)!r} ({exc.strerror}): name another") from exc
        with _write_lock(folder):
            writer = StoreWriter(folder / "index.sqlite")
            try:
                with suppress(IndexDamagedError):
                    cls.open(folder).close()
                    raise UsageError(f"there is an index in {str(folder)!r} already: open it, or name another folder")
                packages = ("footnote-rag", "faiss-cpu", "numpy")
                writer.set_manifest(
                    {
                        "encoder": {
                            "name": loaded.name,
                            "space": loaded.space,
                            "form": loaded.form,
                            "dim": loaded.dim,
                            "max_tokens": loaded.max_tokens,
                        },
                        "chunking": chunking.record(),
                        "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
                        "made_with": {
                            "python": sys.version.split()[0],
                            "sqlite": sqlite3.sqlite_version,
                            **{name: version(name) for name in packages},
                        },
                    }
                )
            finally:
                writer.close()
        return cls.open(folder, encoder=loaded)

    @classmethod
    def open(cls, path: str | os.PathLike[str], *, encoder: Encoder | str | None = None) -> Index:
        """Open an index; the encoder is loaded when it is first needed.

        Args:
            path: its folder.
            encoder: only where another is wanted than the recorded one, which works if it is of the same space.

        Raises:
            IndexNotFoundError: there is none in that folder.
            IndexDamagedError: it is half-written or not readable.
            IndexMismatchError: another encoder, or a newer version of the format, made it.
        """
        folder = Path(path)
        if not (folder / "index.sqlite").exists():
            raise IndexNotFoundError(
                f"no index in {str(folder)!r}: make one with rag ingest PATH --index {str(folder)!r}"
            )
        store = Store(folder / "index.sqlite")
        try:
            with store.transaction():
                manifest: dict[str, Any] = store.manifest()
            if "encoder" not in manifest:
                raise IndexDamagedError(
                    f"{str(folder)!r} is half-written: an ingest was stopped before its first commit. "
                    "Run rag ingest again"
                )
            index = cls(folder, store, manifest, None)
            if encoder is not None:
                loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
                index._check(loaded)
                index._encoder = loaded
        except BaseException:
            store.close()
            raise
        return index

    @classmethod
    def open_or_create(cls, path: str | os.PathLike[str], *, encoder: Encoder | str | None = None) -> Index:
        """Open the index in a folder, or make it where there is none or only a half-written one."""
        try:
            return cls.open(path, encoder=encoder)
        except IndexNotFoundError:
            return cls.create(path, encoder=encoder or DEFAULT_ENCODER)
        except IndexDamagedError:
            with suppress(UsageError):
                return cls.create(path, encoder=encoder or DEFAULT_ENCODER)
            raise

    def close(self) -> None:
        """Let go of the files. The index cannot be used afterwards."""
        with self._lock:
            self._store.close()
            self._vectors = None

    def __enter__(self) -> Index:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def encoder(self) -> Encoder:
        """The encoder that made this index, loaded on first use."""
        with self._lock:
            if self._encoder is None:
                loaded = load_encoder(self._manifest["encoder"]["name"])
                self._check(loaded)
                self._encoder = loaded
            return self._encoder

    def _check(self, encoder: Encoder) -> None:
        recorded = self._manifest["encoder"]
        if encoder.space != recorded["space"]:
            raise IndexMismatchError(
                f"index {self.name!r} was made with the encoder {recorded['name']!r}, and {encoder.name!r} makes other "
                f"vectors: search it with --encoder {recorded['name']}, "
                "or make another: rag ingest PATH --index NEW_NAME"
            )

    # Reading

    @contextmanager
    def reading(self) -> Iterator[View]:
        """One read transaction: words, vectors and rows inside are all of the same change."""
        with self._lock, _damage_named(self.path), self._store.transaction():
            yield View(self._store, self._current_vectors)

    def documents(self) -> list[DocumentRow]:
        """All documents, ordered by source."""
        with self._lock:
            return self._store.documents()

    def document(self, source: str) -> Document:
        """One whole document by its source.

        Raises:
            UsageError: there is none of that source; the message names some that are near.
        """
        source = _shown(source)
        with self._lock:
            document = self._store.document(source)
            if document is None:
                near = self._store.sources(like=source.rsplit("/", 1)[-1].split("#", maxsplit=1)[0], limit=3)
                hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "rag list shows what there is"
                raise UsageError(f"no document {source!r} in index {self.name!r}: {hint}")
            return document

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        """Inverse document frequency of each stemmed word over the chunks: log(1 + n / (1 + df)), above 0."""
        with self._lock:
            n, found = self._store.n_chunks(), self._store.document_frequencies(stems)
            return {stem: math.log1p(n / (1 + found.get(stem, 0))) for stem in stems}

    def known_words(self, stems: Sequence[str]) -> set[str]:
        """Those of the stemmed words that stand anywhere in the index."""
        with self._lock:
            return set(self._store.document_frequencies(stems))

    def status(self) -> IndexStatus:
        """Counts, sizes, what made the index, the last ingest, and which files were set aside and why."""
        with self._lock:
            counts = self._store.counts()
            return IndexStatus(
                path=self.path,
                documents=counts["documents"],
                chunks=counts["chunks"],
                files=counts["files"],
                bytes=_folder_bytes(self.path),
                encoder=self._manifest["encoder"]["name"],
                encoder_form=self._manifest["encoder"]["form"],
                created=self._manifest["created"],
                made_with=self._manifest["made_with"],
                roots=tuple(self._store.roots()),
                set_aside=tuple(self._store.set_aside()),
                last_ingest=self._store.last_ingest(),
            )

    # Vectors: a cache of the truth

    def _current_vectors(self) -> Vectors:
        """The vectors, brought to exactly the change that the open transaction sees."""
        store, now = self._store, self._store.last_change()
        if self._vectors is None or store.change_token(self._vectors_at[0]) != (self._vectors_at[1] or None):
            self._vectors, self._vectors_at = self._from_snapshot()
            self._snapshot_at = self._vectors_at[0]
        vectors, (since, _) = self._vectors, self._vectors_at
        if self._vectors_at != now:
            self._vectors = None  # until they are whole: an interrupt must not leave half of the changes behind
            vectors.remove(store.removed_since(since))
            for ids, data in store.vectors_since(since):
                vectors.add(ids, np.frombuffer(data, dtype="<f2").reshape(len(ids), vectors.dim))
            self._vectors, self._vectors_at = vectors, now
            if since == 0 and len(vectors):
                self._save_snapshot()
        return vectors

    def _from_snapshot(self) -> tuple[Vectors, tuple[int, bytes]]:
        """The newest snapshot that belongs to this index, or an empty one to be filled from SQLite."""
        dim = int(self._manifest["encoder"]["dim"])
        for change, file in self._snapshots():
            token = self._store.change_token(change)
            vectors = Vectors.read(file, dim=dim, token=token) if token is not None else None
            if vectors is not None and token is not None:
                return vectors, (change, token)
        return Vectors(dim), (0, b"")

    def _snapshots(self) -> list[tuple[int, Path]]:
        """(change, file), the newest first."""
        matches = ((_SNAPSHOT_NAME.fullmatch(file.name), file) for file in self.path.glob("vectors-*.faiss"))
        return sorted(((int(match[1]), file) for match, file in matches if match), reverse=True)

    def _save_snapshot(self) -> None:
        """Keep the vectors as they are now; where the folder cannot be written, go on without."""
        change, token = self._vectors_at
        assert self._vectors is not None
        with suppress(OSError):
            kept = self.path / f"vectors-{change}.faiss"
            self._vectors.save(kept, change=change, token=token)
            self._snapshot_at = change
            for _, file in self._snapshots():
                if file != kept:
                    file.unlink(missing_ok=True)

    def _refresh_snapshot(self) -> None:
        """After writing: a new snapshot where none is, or where too much has changed since the last one."""
        with self.reading():
            n_chunks = len(self._current_vectors())
            behind = self._store.changed_chunks(since=self._snapshot_at)
            is_there = (self.path / f"vectors-{self._snapshot_at}.faiss").exists()
            if self._vectors_at[0] and (not is_there or behind > max(_SNAPSHOT_AFTER, _SNAPSHOT_SHARE * n_chunks)):
                self._save_snapshot()

    # Writing

    def ingest(
        self,
        *paths: str | os.PathLike[str],
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        max_file_mb: float = Limits().max_file_mb,
        progress: Callable[[Progress], None] | None = None,
    ) -> IngestReport:
        """Bring the index in step with files and folders: read what is new or changed, remove what has gone.

        A file whose size and time are known is not read again; only texts that were not seen before are embedded. Each
        file is one transaction. A file that cannot be read is set aside with its reason and never stops the others.

        Args:
            paths: files, or folders that are read recursively without hidden files and what .ragignore names.
            exclude: more patterns in .gitignore syntax, relative to each folder.
            gitignore: leave out what .gitignore files name as well.
            max_file_mb: the largest text file that is read, in MiB.
            progress: called after each file and each batch.

        Raises:
            UsageError: no path was given.
            IndexBusyError: another process is writing to this index.
        """
        if not paths:
            raise UsageError("expected at least one file or folder to ingest")
        started, report = time.perf_counter(), IngestReport()
        with self._writing() as writer, IsolatedLoader(limits=Limits(max_file_mb=max_file_mb)) as loader:
            job = _Ingest(self, writer, loader, report, progress, max_bytes=int(max_file_mb * 2**20))
            job.run([Path(os.path.abspath(path)) for path in paths], exclude=exclude, gitignore=gitignore)
            if report.read or report.removed:
                writer.drop_unused_embeddings()
            report.seconds = time.perf_counter() - started
            writer.add_ingest({"paths": [str(path) for path in paths], **report.as_json()})
            self._refresh_snapshot()
        report.seconds = time.perf_counter() - started
        return report

    def add(self, documents: Iterable[Document]) -> int:
        """Add documents that no file stands behind, each in place of one of the same `doc_id`; returns how many.

        NUL characters and lone surrogates, which SQLite cannot keep, become U+FFFD, so that offsets stay true.

        Raises:
            UsageError: a `doc_id` holds such a character, or is that of a document that came from a file, which only
                `ingest` changes.
            IndexBusyError: another process is writing to this index.
        """
        n, batch = 0, []
        with self._writing() as writer:
            for document in documents:
                if document.doc_id != _storable(document.doc_id):
                    raise UsageError(
                        f"expected a doc_id without NUL and lone surrogates, got {document.doc_id!r}: add another"
                    )
                with self._lock:
                    came_from_file = self._store.has_file(document.doc_id)
                if came_from_file:
                    raise UsageError(
                        f"{document.doc_id!r} came from a file: change the file and ingest it, or add another doc_id"
                    )
                batch.append(_storable_document(document))
                n += 1
                if len(batch) >= _TEXTS_PER_BATCH:
                    self._put_documents(writer, batch)
                    batch = []
            self._put_documents(writer, batch)
            writer.drop_unused_embeddings()
            self._refresh_snapshot()
        return n

    def remove(self, path: str | os.PathLike[str]) -> int:
        """Forget documents by their source, or all below a file or folder that was ingested; the files stay.

        Returns:
            How many documents went.

        Raises:
            UsageError: nothing in the index is of that name.
        """
        name = _shown(os.fspath(path))
        with self._writing() as writer:
            with self._lock:
                before = self._store.counts()["documents"]
                gone = self._files_called(name)
                is_document = self._store.document(name) is not None
            if gone:
                writer.remove_files(gone)
            elif is_document:
                writer.remove_documents([name])
            else:
                raise UsageError(
                    f"nothing in index {self.name!r} is called {str(path)!r}: rag list shows what there is"
                )
            writer.drop_unused_embeddings()
            self._refresh_snapshot()
            with self._lock:
                return before - self._store.counts()["documents"]

    def _files_called(self, name: str) -> list[int]:
        """The ids of files by their source, by the relative path of one that was set aside, or below a path."""
        target = _absolute(name)
        owner = self._store.owner(name)
        if owner is not None and not name.endswith(owner[1]):
            owner = None  # a single line of a JSONL file
        return [
            row.id
            for root in self._store.roots()
            for row in self._store.files(root).values()
            if (root, row.relpath) == owner
            or (row.reason is not None and row.relpath == name)
            or _is_below(os.path.join(root, row.relpath), target)
        ]

    @classmethod
    def delete(cls, path: str | os.PathLike[str]) -> None:
        """Delete an index folder with all that is in it; the documents it was made of stay where they are.

        Raises:
            IndexNotFoundError: the folder holds no index, and is left alone.
            IndexBusyError: another process is writing to it.
        """
        folder = Path(path)
        if not (folder / "index.sqlite").exists():
            raise IndexNotFoundError(f"no index in {str(folder)!r}: nothing was deleted")
        with _write_lock(folder):
            shutil.rmtree(folder)

    @contextmanager
    def _writing(self) -> Iterator[StoreWriter]:
        with _write_lock(self.path):
            writer = StoreWriter(self.path / "index.sqlite")
            try:
                yield writer
            finally:
                writer.close()

    def _cut(self, document: Document) -> tuple[Chunk, ...]:
        chunking = Chunking(max_tokens=int(self._manifest["chunking"]["max_tokens"]))
        return tuple(chunk_document(document, chunking=chunking, count_tokens=self.encoder.count_tokens))

    def _put_documents(self, writer: StoreWriter, documents: list[Document]) -> None:
        cut = [(document, self._cut(document)) for document in documents]
        for _ in self._embed(writer, [chunk for _, chunks in cut for chunk in chunks]):
            pass
        for document, chunks in cut:
            writer.put_document(document, chunks, space=self.encoder.space)

    def _embed(self, writer: StoreWriter, chunks: Sequence[Chunk]) -> Iterator[int]:
        """Embed what was never embedded, batch by batch, each kept at once; yields how many were new."""
        space = self.encoder.space
        texts = {embedding_key(space, chunk.encoded): chunk.encoded for chunk in chunks}
        with self._lock:
            known = self._store.known_embeddings(list(texts))
        new = [key for key in texts if key not in known]
        for i in range(0, len(new), _TEXTS_PER_BATCH):
            keys = new[i : i + _TEXTS_PER_BATCH]
            vectors = self.encoder.encode_documents([texts[key] for key in keys])
            if vectors.shape != (len(keys), self.encoder.dim) or not np.isfinite(vectors).all():
                raise EncoderError(
                    f"the encoder {self.encoder.name!r} gave vectors of shape {vectors.shape}, or numbers that are not "
                    f"finite, where {(len(keys), self.encoder.dim)} was expected: use another"
                )
            writer.add_embeddings(keys, [vector.astype("<f2").tobytes() for vector in vectors])
            yield len(keys)


class _Ingest:
    """One run of `Index.ingest`."""

    def __init__(
        self,
        index: Index,
        writer: StoreWriter,
        loader: IsolatedLoader,
        report: IngestReport,
        progress: Callable[[Progress], None] | None,
        *,
        max_bytes: int,
    ) -> None:
        self._max_bytes = max_bytes
        self._index = index
        self._writer = writer
        self._loader = loader
        self._report = report
        self._progress = progress
        self._waiting: list[_Loaded] = []
        self._sources: set[str] = set()  # given in this run and not committed yet
        self._done, self._total, self._chunks_done = 0, 0, 0

    def run(self, paths: Sequence[Path], *, exclude: Sequence[str], gitignore: bool) -> None:
        with self._index._lock:
            roots = _Roots(self._index._store.roots())
        work: dict[tuple[str, str], FoundFile] = {}
        unreadable: list[str] = []
        folders = [_absolute(path) for path in paths if os.path.isdir(path)]
        for path in paths:
            named = not os.path.isdir(path)
            root = roots.add(_absolute(path.parent if named else path))
            for found in find_files(path, exclude=exclude, gitignore=gitignore):
                if isinstance(found, FoundFile):
                    if format_of(found.path) is None and not named:
                        self._report.skipped[found.path.suffix.lower() or "no suffix"] += 1
                        continue
                    work[roots.place(_absolute(found.path), found.relpath, root)] = found
                else:
                    unreadable.append(_absolute(found.path))
                    self._report.set_aside.append((found.relpath, found.reason))
        self._total = len(work)
        with self._index._lock:
            known = {root: self._index._store.files(root) for root in {root for root, _ in work} | set(roots.paths)}
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
                if (root, relpath) in work or not any(_is_below(place, folder) for folder in folders):
                    continue
                if not any(_is_below(place, closed) for closed in unreadable):
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
        documents = tuple((document, self._index._cut(document)) for document in loaded.documents)
        self._report.read += 1
        self._report.notes.extend((relpath, note) for note in loaded.notes)
        self._report.chunks += sum(len(chunks) for _, chunks in documents)
        self._waiting.append(_Loaded(root, row, documents))
        if sum(len(chunks) for loaded in self._waiting for _, chunks in loaded.documents) >= _TEXTS_PER_BATCH:
            self._flush()

    def _keep(self, relpath: str, known: FileRow) -> None:
        if known.reason is None:
            self._report.unchanged += 1
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
            with self._index._lock:
                owner = self._index._store.owner(source)
            if source not in self._sources and owner in (None, (root, relpath)):
                self._sources.add(source)
                return source
        raise LoadError(f"has the same relative path as files of {n} other folders")

    def _flush(self) -> None:
        """Embed what waits, then commit file by file."""
        chunks = [chunk for loaded in self._waiting for _, cut in loaded.documents for chunk in cut]
        for n_new in self._index._embed(self._writer, chunks):
            self._report.embedded += n_new
            self._tell(self._waiting[-1].row.relpath)
        space = self._index.encoder.space if self._waiting else ""
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
            if _is_below(folder, path):
                return path
        self.paths = sorted([*self.paths, folder], key=len, reverse=True)
        return folder

    def place(self, absolute: str, relpath: str, root: str) -> tuple[str, str]:
        """(root, path relative to it) of a file."""
        for path in self.paths:
            if _is_below(absolute, path):
                return path, os.path.relpath(absolute, path).replace(os.sep, "/")
        return root, relpath


def _absolute(path: str | os.PathLike[str]) -> str:
    """An absolute path as valid Unicode, as `find_files` shows it: it names a place, and opens nothing."""
    return _shown(os.path.abspath(path))


def _shown(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _is_below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _file_hash(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _folder_bytes(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with suppress(OSError):  # SQLite's own files come and go
            total += file.stat().st_size if file.is_file() else 0
    return total


def _storable(text: str) -> str:
    return re.sub("[\x00\ud800-\udfff]", "\ufffd", text)


def _storable_document(document: Document) -> Document:
    sections = tuple(replace(section, path=_storable(section.path)) for section in document.sections)
    title = None if document.title is None else _storable(document.title)
    return replace(document, text=_storable(document.text), title=title, sections=sections)


@contextmanager
def _damage_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.DatabaseError as exc:
        raise IndexDamagedError(
            f"the index in {str(folder)!r} is damaged ({exc}): delete its folder and ingest again"
        ) from exc


@contextmanager
def _write_lock(folder: Path) -> Iterator[None]:
    from filelock import FileLock, Timeout

    lock = FileLock(folder / "write.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise IndexBusyError(
            f"another process is writing to the index in {str(folder)!r}: try again when it is done"
        ) from exc
    except OSError as exc:
        raise UsageError(
            f"cannot write to the index in {str(folder)!r} ({exc.strerror or exc}): check who may write there"
        ) from exc
    try:
        yield
    finally:
        lock.release()
