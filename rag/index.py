"""One folder, the truth and its snapshot: open, read, ingest, add, remove."""

from __future__ import annotations

import math
import os
import re
import shutil
import sqlite3
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from rag.chunking import Chunking
from rag.encoders import DEFAULT_ENCODER, Encoder, load_encoder
from rag.errors import (
    IndexBusyError,
    IndexDamagedError,
    IndexMismatchError,
    IndexNotFoundError,
    UsageError,
)
from rag.folders import absolute, is_below, shown
from rag.ingest import TEXTS_PER_BATCH, Embedder, Ingest, IngestReport, Progress
from rag.loaders import Limits
from rag.loaders.isolation import IsolatedLoader
from rag.store import DocumentRow, Store, StoreWriter
from rag.types import Document, JsonValue
from rag.vectors import Vectors

_SNAPSHOT_AFTER = 10_000  # changed chunks, at least, before a snapshot is written again
_SNAPSHOT_SHARE = 0.05  # or this share of all chunks, if that is more
_OURS = re.compile(r"(?:index|answers)\.sqlite(?:-wal|-shm|-journal)?|vectors-\d+\.faiss.*|write\.lock|files")
_SNAPSHOT_NAME = re.compile(r"vectors-(\d+)\.faiss")


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
            UsageError: there is an index already, or the folder holds other things.
            IndexMismatchError: an `index.sqlite` of another program is there.
            EncoderError: the encoder cannot be loaded.
        """
        folder = Path(path)
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        chunking = chunking or Chunking(max_tokens=min(loaded.max_tokens, 256))
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"cannot make the index folder {str(folder)!r} ({exc.strerror}): name another") from exc
        if other := [entry.name for entry in folder.iterdir() if not _OURS.fullmatch(entry.name)]:
            raise UsageError(
                f"{str(folder)!r} holds other things ({other[0]!r}): name a new or empty folder for the index"
            )
        with _write_lock(folder), _sqlite_errors_named(folder):
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
                loaded = load_encoder(self._manifest["encoder"]["name"], fetch=False)
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
        with self._reading_rows() as store, store.transaction():
            yield View(store, self._current_vectors)

    def documents(self) -> list[DocumentRow]:
        """All documents, ordered by source."""
        with self._reading_rows() as store:
            return store.documents()

    def document(self, source: str) -> Document:
        """One whole document by its source.

        Raises:
            UsageError: there is none of that source; the message names some that are near.
        """
        source = shown(source)
        with self._reading_rows():
            document = self._store.document(source)
            if document is None:
                near = self._store.sources(like=source.rsplit("/", 1)[-1].split("#", maxsplit=1)[0], limit=3)
                hint = f"did you mean {' or '.join(map(repr, near))}?" if near else "rag list shows what there is"
                raise UsageError(f"no document {source!r} in index {self.name!r}: {hint}")
            return document

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        """Inverse document frequency of each stemmed word over the chunks: log(1 + n / (1 + df)), above 0."""
        with self._reading_rows():
            n, found = self._store.n_chunks(), self._store.document_frequencies(stems)
            return {stem: math.log1p(n / (1 + found.get(stem, 0))) for stem in stems}

    def known_words(self, stems: Sequence[str]) -> set[str]:
        """Those of the stemmed words that stand anywhere in the index."""
        with self._reading_rows() as store:
            return set(store.document_frequencies(stems))

    def status(self) -> IndexStatus:
        """Counts, sizes, what made the index, the last ingest, and which files were set aside and why."""
        with self._reading_rows():
            counts, last = self._store.counts(), self._store.last_ingest()
            # A link that leads nowhere or a closed folder has no row of its own: the last ingest tells of it.
            told = {(entry["path"], entry["reason"]) for entry in (last or {}).get("set_aside", [])}
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
                set_aside=tuple(sorted({*self._store.set_aside(), *told})),
                last_ingest=last,
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
        if not paths or not all(os.fspath(path) for path in paths):
            raise UsageError(f"expected files or folders to ingest, got {paths!r}: write '.' for this folder")
        if not (math.isfinite(max_file_mb) and max_file_mb > 0):
            raise UsageError(f"expected max_file_mb above 0, got {max_file_mb!r}")
        started, report = time.perf_counter(), IngestReport()
        with self._writing() as writer, IsolatedLoader(limits=Limits(max_file_mb=max_file_mb)) as loader:
            with self._reading_rows() as store:
                before = store.last_change()
            job = Ingest(writer, loader, self._embedder(), report, progress, max_bytes=int(max_file_mb * 2**20))
            job.run([Path(os.path.abspath(path)) for path in paths], exclude=exclude, gitignore=gitignore)
            with self._reading_rows() as store:
                changed = store.last_change() != before
            if changed:
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
                if len(batch) >= TEXTS_PER_BATCH:
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
        name = shown(os.fspath(path))
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
        target = absolute(name)
        owner = self._store.owner(name)
        if owner is not None and not name.endswith(owner[1]):
            owner = None  # a single line of a JSONL file
        return [
            row.id
            for root in self._store.roots()
            for row in self._store.files(root).values()
            if (root, row.relpath) == owner
            or (row.reason is not None and row.relpath == name)
            or is_below(os.path.join(root, row.relpath), target)
        ]

    @classmethod
    def delete(cls, path: str | os.PathLike[str]) -> None:
        """Delete an index: its own files, and the folder if nothing else is in it. The documents stay where they are.

        Raises:
            IndexMismatchError: the file there belongs to another program.
            IndexNotFoundError: the folder holds no index, and is left alone.
            IndexBusyError: another process is writing to it.
        """
        folder = Path(path)
        if not (folder / "index.sqlite").exists():
            raise IndexNotFoundError(f"no index in {str(folder)!r}: nothing was deleted")
        with suppress(IndexDamagedError):
            Store(folder / "index.sqlite").close()  # refuses another program's file
        with _write_lock(folder):
            for entry in folder.iterdir():
                if entry.name == "files" and entry.is_dir():
                    shutil.rmtree(entry)
                elif _OURS.fullmatch(entry.name) and entry.name != "write.lock":
                    entry.unlink()
        with suppress(OSError):  # a folder that holds something else stays, with that in it
            (folder / "write.lock").unlink()
            folder.rmdir()

    @contextmanager
    def _writing(self) -> Iterator[StoreWriter]:
        with _write_lock(self.path), _sqlite_errors_named(self.path):
            writer = StoreWriter(self.path / "index.sqlite")
            try:
                yield writer
            finally:
                writer.close()

    def _embedder(self) -> Embedder:
        chunking = Chunking(max_tokens=int(self._manifest["chunking"]["max_tokens"]))
        return Embedder(lambda: self.encoder, chunking, self._reading_rows)

    @contextmanager
    def _reading_rows(self) -> Iterator[Store]:
        with self._lock, _sqlite_errors_named(self.path):
            yield self._store

    def _put_documents(self, writer: StoreWriter, documents: list[Document]) -> None:
        embedder = self._embedder()
        cut = [(document, embedder.cut(document)) for document in documents]
        for _ in embedder.embed(writer, [chunk for _, chunks in cut for chunk in chunks]):
            pass
        for document, chunks in cut:
            writer.put_document(document, chunks, space=self.encoder.space)


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
def _sqlite_errors_named(folder: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as exc:  # not the file's fault: a full disk, a limit, a folder closed to writing
        raise UsageError(
            f"the index in {str(folder)!r} cannot be used ({exc}): make room, or check who may write there, then run "
            "the same command again; what was read is kept"
        ) from exc
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
