"""Brings an index in step with files and folders: what an ingest does, file by file, and what it reports."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Self

from rag.embedder import TEXTS_PER_BATCH, Embedder
from rag.errors import LoadError
from rag.loaders import Limits, Loaded
from rag.loaders.base import MEGABYTE
from rag.loaders.isolation import IsolatedLoader
from rag.plan import Content, FileChange, Plan, Work, after_name, content_of, unreadable
from rag.progress import Progress, Stopped
from rag.store import FileRow, Store
from rag.types import Chunk, Document, JsonValue
from rag.writer import StoreWriter


@dataclass(slots=True)
class IngestReport:
    """What an ingest did. `set_aside` holds every file below the given paths that could not be read, old and new."""

    read: int = 0
    unchanged: int = 0
    moved: int = 0  # followed to their new names, and otherwise as they were
    removed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)  # by suffix: types that are not read
    set_aside: list[tuple[str, str]] = field(default_factory=list)  # (path, reason)
    notes: list[tuple[str, str]] = field(default_factory=list)  # (path, what a person should know)
    chunks: int = 0  # of the files read
    embedded: int = 0  # texts that were new
    stopped: bool = False  # before all was done; what was done is kept, and the next ingest goes on from there
    seconds: float = 0.0

    def as_json(self) -> dict[str, JsonValue]:
        """The form that `rag ingest --json` prints."""
        return {
            "read": self.read,
            "unchanged": self.unchanged,
            "moved": self.moved,
            "removed": self.removed,
            "skipped": dict(sorted(self.skipped.items())),
            "set_aside": [{"path": path, "reason": reason} for path, reason in self.set_aside],
            "notes": [{"path": path, "note": note} for path, note in self.notes],
            "chunks": self.chunks,
            "embedded": self.embedded,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A file that was read and cut, and waits for its embeddings."""

    root: str
    row: FileRow
    documents: tuple[tuple[Document, tuple[Chunk, ...]], ...]
    is_edit: bool  # of a file that was read before
    size: int  # bytes

    @property
    def n_chunks(self) -> int:
        return sum(len(chunks) for _, chunks in self.documents)


class Ingest:
    """One run of a plan: what is new or changed is read, cut, embedded and committed file by file; what has gone goes.

    A context manager: the process that reads files is started when the first one is read, and ended with this.
    """

    def __init__(
        self,
        writer: StoreWriter,
        store: Store,
        embedder: Embedder,
        report: IngestReport,
        *,
        limits: Limits,
        progressive: bool = False,
        progress: Callable[[Progress], None] | None = None,
        on_change: Callable[[FileChange], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> None:
        """Bind what it works with; the caller holds the write lock.

        Args:
            writer: of the index.
            store: of the index; used by nobody else meanwhile.
            embedder: of the index.
            report: filled as things are committed.
            limits: a file above them is tried each time, for they may be higher then.
            progressive: keep all files first, to be found by their words, and embed them behind that.
            progress: called after each file and each batch, and once all are committed.
            on_change: called after each file whose change is committed.
            stop: asked between files and between batches.
        """
        self._writer = writer
        self._store = store
        self._embedder = embedder
        self._limits = limits
        self._report = report
        self._progressive = progressive
        self._progress = progress
        self._on_change = on_change or (lambda change: None)
        self._stop = stop or (lambda: False)
        self._resources = ExitStack()
        self._loader: IsolatedLoader | None = None
        self._waiting: list[_Loaded] = []
        self._sources: set[str] = set()  # given in this run and not committed yet
        self._done, self._total, self._chunks_done = 0, 0, 0
        self._bytes_seen, self._bytes_total = 0, 0
        self._share = 0.0  # of what waits, that is embedded

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def run(self, plan: Plan) -> None:
        """Carry a plan out.

        Raises:
            Stopped: `stop` said so; what is committed stays, and texts that were embedded are not embedded again.
        """
        self._report.skipped.update(plan.skipped)
        self._report.set_aside.extend(plan.unreadable)
        self._writer.set_folders(plan.folders)
        self._total = plan.n_files
        self._bytes_total = sum(work.found.size for work in plan.look)
        for work in plan.keep:
            assert work.known
            self._keep(work.relpath, work.known)
        self._done += len(plan.keep)
        again = [work for work, content in plan.moved if not self._move(work, content)]
        self._bytes_total += sum(work.found.size for work in again)
        self._remove([*plan.gone, *(work.known for work in again if work.known)])
        for work in [*(replace(work, known=None) for work in again), *plan.look]:
            if self._stop():
                raise Stopped
            self._bytes_seen += work.found.size
            self._file(work)
            self._done += 1
            self._tell(work.relpath)
        self._flush()
        if plan.look or again:
            self._tell("")
        self._writer.drop_empty_roots()
        for n_new in self._embedder.embed_waiting():
            self._report.embedded += n_new
            self._tell("vectors")
            if self._stop():
                raise Stopped

    def _move(self, work: Work, content: Content) -> bool:
        """Follow a file to its new name; False where a document of another file has a source that it would get."""
        assert work.known
        sources, old = self._store.sources_of(work.known.id), work.known.relpath
        own = next((self._store.owner(source) for source in sources), None)
        row = replace(work.known, relpath=work.relpath, size=content.size, mtime_ns=work.found.mtime_ns)
        try:
            new = self._source(work.root, work.relpath, own)
            self._sources.discard(new)  # it is committed at once, or free for the file when it is read
            self._writer.move_file(
                work.known.id, work.root, row, {s: new + (after_name(s, old) or "") for s in sources}
            )
        except LoadError:
            return False
        self._report.moved += 1
        self._report.notes.extend((work.relpath, note) for note in row.notes)
        self._done += 1
        self._on_change(FileChange("moved", work.relpath, old))
        return True

    def _remove(self, rows: Sequence[FileRow]) -> None:
        if not rows:
            return
        self._writer.remove_files([row.id for row in rows])
        for row in rows:
            if row.reason is None:
                self._report.removed += 1
                self._on_change(FileChange("removed", row.relpath))

    def _file(self, work: Work) -> None:
        known, found = work.known, work.found
        row = FileRow(0, work.relpath, found.size, found.mtime_ns, None, None, ())
        try:
            content = content_of(found)
            row = replace(row, sha256=content.sha256, size=content.size)
            if known is not None and known.reason is None and known.sha256 == content.sha256:
                if (known.size, known.mtime_ns) != (row.size, row.mtime_ns):
                    self._writer.touch_file(work.root, replace(known, size=row.size, mtime_ns=row.mtime_ns))
                self._keep(work.relpath, known)
                return
            loaded = self._load(work)
        except FileNotFoundError:  # it was there a moment ago
            if known is not None and not work.stays:
                self._remove([known])
            return
        except OSError as exc:
            self._set_aside(work.root, row, unreadable(exc), known)
            return
        except LoadError as exc:
            # Without its hash, a file is tried again each time: the limit may be higher then.
            too_large = found.size > self._limits.max_file_mb * MEGABYTE
            self._set_aside(work.root, replace(row, sha256=None) if too_large else row, str(exc), known)
            return
        documents = tuple((document, self._embedder.cut(document)) for document in loaded.documents)
        is_edit = known is not None and known.reason is None
        self._waiting.append(_Loaded(work.root, replace(row, notes=loaded.notes), documents, is_edit, found.size))
        if sum(loaded.n_chunks for loaded in self._waiting) >= TEXTS_PER_BATCH:
            self._flush()

    def _load(self, work: Work) -> Loaded:
        if self._loader is None:
            self._loader = self._resources.enter_context(IsolatedLoader(limits=self._limits))
        return self._loader.load(work.found.path, source=self._source(work.root, work.relpath))

    def _keep(self, relpath: str, known: FileRow) -> None:
        if known.reason is None:
            self._report.unchanged += 1
            self._report.notes.extend((relpath, note) for note in known.notes)
        else:
            self._report.set_aside.append((relpath, known.reason))

    def _set_aside(self, root: str, row: FileRow, reason: str, known: FileRow | None) -> None:
        self._report.set_aside.append((row.relpath, reason))
        if known is not None and known.reason == reason:
            if (known.size, known.mtime_ns, known.sha256) != (row.size, row.mtime_ns, row.sha256):
                self._writer.touch_file(root, replace(row, reason=reason))
        else:
            self._writer.put_file(root, replace(row, reason=reason), (), space="")
            self._on_change(FileChange("set aside", row.relpath, reason))

    def _source(self, root: str, relpath: str, own: tuple[str, str] | None = None) -> str:
        """The relative path; where another folder's file has that source already, with its folder's name before it.

        A file that is moved has its old source, which is `own`, to give.
        """
        folder = os.path.basename(root) or "root"
        for n in range(1, 1000):
            source = relpath if n == 1 else f"{folder}{'' if n == 2 else f'-{n - 1}'}/{relpath}"
            if source not in self._sources and self._store.owner(source) in (None, (root, relpath), own):
                self._sources.add(source)
                return source
        raise LoadError(f"has the same relative path as files of {n} other folders")

    def _flush(self) -> None:
        """Embed what waits, or put that off, then commit file by file."""
        chunks = [chunk for loaded in self._waiting for _, cut in loaded.documents for chunk in cut]
        if self._progressive:
            self._embedder.put_off(chunks)
        for n_new in self._embedder.embed([] if self._progressive else chunks):
            self._report.embedded += n_new
            self._share += n_new / len(chunks)
            self._tell(self._waiting[-1].row.relpath)
            if self._stop():
                raise Stopped
        space = self._embedder.encoder.space if self._waiting else ""
        for loaded in self._waiting:
            try:
                self._writer.put_file(loaded.root, loaded.row, loaded.documents, space=space)
            except LoadError as exc:
                self._set_aside(loaded.root, replace(loaded.row, sha256=None), str(exc), None)
                continue
            self._report.read += 1
            self._report.chunks += loaded.n_chunks
            self._report.notes.extend((loaded.row.relpath, note) for note in loaded.row.notes)
            self._on_change(FileChange("edited" if loaded.is_edit else "added", loaded.row.relpath))
        self._chunks_done += len(chunks)
        self._waiting.clear()
        self._share = 0.0
        self._sources.clear()

    def _tell(self, current: str) -> None:
        if self._progress is None:
            return
        chunks = self._chunks_done + sum(loaded.n_chunks for loaded in self._waiting)
        waiting = sum(loaded.size for loaded in self._waiting)
        done = self._bytes_seen - waiting + int(waiting * self._share)
        self._progress(Progress(self._done, self._total, chunks, current, done, self._bytes_total))
