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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

from rag.calibration import FILE as CALIBRATION
from rag.chunking import Chunking
from rag.doctor import Compaction, Diagnosis, Doctor
from rag.embedder import TEXTS_PER_BATCH, Embedder, chunking_for, default_chunking, encoder_record
from rag.encoders import DEFAULT_ENCODER, Encoder, load_encoder
from rag.errors import IndexDamagedError, IndexMismatchError, IndexNotFoundError, UsageError
from rag.files import sizes_below
from rag.filters import Where, parse_where
from rag.folders import absolute, is_below, shown
from rag.ingest import Ingest, IngestReport
from rag.loaders import Limits
from rag.loaders.base import storable
from rag.locks import HOLDER, write_lock
from rag.plan import FileChange, Preview, Rules, make_plan, rules_of, stale
from rag.progress import Progress, Stopped
from rag.reembed import PENDING, ReembedReport, reembed, take_form
from rag.snapshots import VectorCache
from rag.store import DocumentFacts, DocumentRow, FileRow, FileState, SourceFile, Store, file_id
from rag.types import Chunk, Document, Hit, JsonValue
from rag.uploads import UPLOADS, kept_at
from rag.view import Passing, View
from rag.writer import StoreWriter

_OURS = re.compile(
    rf"(?:index|answers)\.sqlite(?:-wal|-shm|-journal)?|vectors-\d+\.faiss.*|write\.lock|{re.escape(HOLDER)}"
    rf"|{re.escape(CALIBRATION)}|reading\.json|{UPLOADS}"
)
_FILTERS_KEPT = 16  # with what passes them, a bit a chunk
_LOOSE_KEPT = 10_000  # embeddings that no chunk uses, for texts that come back, as when a folder's branch is switched
_LOOSE_SHARE = 0.05  # or this share of all, if that is more
_DATABASE = re.compile(r"\.sqlite(?:-wal|-shm|-journal)?$", re.IGNORECASE)
_NO_NAME = re.compile(r'[/\\:*?"<>|]')  # what a folder cannot be called everywhere


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """What is in an index, and what made it."""

    path: Path
    documents: int
    chunks: int
    files: int
    embeddings: int  # of distinct texts; those kept for texts that may come back included
    waiting: int  # passages that have no vector yet, and are found by their words alone; the next ingest embeds them
    without_tokens: int  # embeddings of whose tokens nothing is kept, so that late interaction does not know them
    bytes: int  # of the whole folder on disk
    sizes: dict[str, int]  # in bytes, of each file in it
    encoder: str
    encoder_form: str
    encoder_cosine: float | None  # of that form's vectors to those of 32 bits, in the mean, where it was measured
    vectors: dict[str, JsonValue]  # how they are searched, and what was measured of that when it is not exact
    reembedding: str | None  # the encoder whose vectors are being filled in beside, if a change was begun
    created: str
    made_with: dict[str, JsonValue]
    roots: tuple[str, ...]
    set_aside: tuple[tuple[str, str], ...]
    last_ingest: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Origins:
    """Where the documents of an index come from: what `ingest` is given to bring all of them up to date."""

    paths: tuple[str, ...]  # ingested folders, and files that were named themselves
    uploads: tuple[str, ...]  # by what their users call them


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a writer does where another one is at work."""

    seconds: float = 0.0  # to wait for it; `math.inf` for as long as it takes
    on_wait: Callable[[str], None] | None = None  # told once who is waited for


@dataclass(frozen=True, slots=True)
class _Session:
    """One writer at work, with a reader of its own, so that it keeps no other reader waiting."""

    writer: StoreWriter
    store: Store
    embedder: Embedder


class Index:
    """A folder of documents made searchable. Safe to use from several threads; one process writes at a time."""

    def __init__(self, path: Path, store: Store, waiting: Waiting) -> None:
        """Bind an open store; `create` and `open` make one."""
        self.path = path
        self._store = store
        self._waiting = waiting
        self._manifest: dict[str, Any] = {}
        self._manifest_at = (-1, b"")  # the change at which it was read
        self._encoder: Encoder | None = None
        self._vectors = VectorCache(path)
        self._passing: dict[Where, Passing] = {}
        self._passing_at = (-1, b"")  # the change at which they pass
        self._lock = threading.RLock()

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: Encoder | str = DEFAULT_ENCODER,
        chunking: Chunking | None = None,
        wait_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> Index:
        """Make an empty index in a folder that does not hold one yet.

        Args:
            path: the folder; made with its parents.
            encoder: recorded, and from then on the only one whose vectors this index takes.
            chunking: recorded; by default as long as the encoder reads, at most 192 tokens.
            wait_s: as for `open`.
            on_wait: as for `open`.

        Raises:
            UsageError: there is an index already, or the folder holds other things.
            IndexMismatchError: an `index.sqlite` of another program is there.
            EncoderError: the encoder cannot be loaded.
        """
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        cls._make(Path(path), loaded, chunking, exist_ok=False, waiting=Waiting(wait_s, on_wait))
        return cls.open(path, encoder=loaded, wait_s=wait_s, on_wait=on_wait)

    @classmethod
    def _make(
        cls, folder: Path, encoder: Encoder, chunking: Chunking | None, *, exist_ok: bool, waiting: Waiting
    ) -> None:
        _refuse_database(folder.name)
        chunking = chunking or default_chunking(encoder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise UsageError(f"cannot make the index folder {str(folder)!r} ({exc.strerror}): name another") from exc
        if other := [entry.name for entry in folder.iterdir() if not _OURS.fullmatch(entry.name)]:
            raise UsageError(
                f"{str(folder)!r} holds other things ({other[0]!r}): name a new or empty folder for the index"
            )
        lock = write_lock(folder, doing="ingest", wait_s=waiting.seconds, on_wait=waiting.on_wait)
        with lock, _sqlite_errors_named(folder), closing(StoreWriter(folder / "index.sqlite", create=True)) as writer:
            with suppress(IndexDamagedError):
                cls.open(folder).close()
                if exist_ok:
                    return
                raise UsageError(f"there is an index in {str(folder)!r} already: open it, or name another folder")
            packages = ("footnote-rag", "faiss-cpu", "numpy")
            writer.set_manifest(
                {
                    "encoder": encoder_record(encoder),
                    "chunking": chunking.record(),
                    "created": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
                    "made_with": {
                        "python": sys.version.split()[0],
                        "sqlite": sqlite3.sqlite_version,
                        **{name: version(name) for name in packages},
                    },
                }
            )

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: Encoder | str | None = None,
        wait_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> Index:
        """Open an index; the encoder is loaded when it is first needed.

        Args:
            path: its folder.
            encoder: only where another is wanted than the recorded one, which works if it is of the same space.
            wait_s: seconds to wait for another writer before writing; `math.inf` for as long as it takes.
            on_wait: told once who is waited for.

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
        index = cls(folder, Store(folder / "index.sqlite"), Waiting(wait_s, on_wait))
        try:
            with index._reading_rows() as store, store.transaction():
                index._heed_manifest(store)
            if encoder is not None:
                loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
                index._check(loaded)
                index._encoder = loaded
        except BaseException:
            index.close()
            raise
        return index

    @classmethod
    def open_or_create(
        cls,
        path: str | os.PathLike[str],
        *,
        encoder: Encoder | str | None = None,
        wait_s: float = 0.0,
        on_wait: Callable[[str], None] | None = None,
    ) -> Index:
        """Open the index in a folder, or make it where there is none or only a half-written one."""
        with suppress(IndexNotFoundError, IndexDamagedError):
            return cls.open(path, encoder=encoder, wait_s=wait_s, on_wait=on_wait)
        wanted = encoder or DEFAULT_ENCODER
        loaded = load_encoder(wanted) if isinstance(wanted, str) else wanted
        with suppress(IndexDamagedError):  # more than half-written: opening says what is wrong with it
            cls._make(Path(path), loaded, None, exist_ok=True, waiting=Waiting(wait_s, on_wait))
        index = cls.open(path, encoder=encoder and loaded, wait_s=wait_s, on_wait=on_wait)
        if index._manifest["encoder"]["space"] == loaded.space:
            index._encoder = loaded  # unless another process was quicker, and made it with another one
        return index

    def close(self) -> None:
        """Let go of the files. The index cannot be used afterwards."""
        with self._lock:
            self._store.close()
            self._vectors.forget()

    def __enter__(self) -> Self:
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
                recorded = self._manifest["encoder"]
                loaded = load_encoder(recorded["name"], made_in=recorded["form"], fetch=False)
                self._check(loaded)
                self._encoder = loaded
            return self._encoder

    def _check(self, encoder: Encoder) -> None:
        recorded = self._manifest["encoder"]
        if encoder.space != recorded["space"]:
            raise IndexMismatchError(
                f"index {self.name!r} was made with the encoder {recorded['name']!r}, and {encoder.name!r} makes other "
                f"vectors: search it with --encoder {recorded['name']}, "
                f"or take it to the other with rag reembed --encoder {encoder.name}"
            )

    def _heed_manifest(self, store: Store) -> None:
        """Read the manifest again if anything was committed since: another process may have changed the encoder."""
        if (now := store.last_change()) == self._manifest_at:
            return
        manifest: dict[str, Any] = store.manifest()
        if "encoder" not in manifest:
            raise IndexDamagedError(
                f"{str(self.path)!r} is half-written: an ingest was stopped before its first commit. "
                "Run rag ingest again"
            )
        if self._manifest and self._manifest["encoder"]["space"] != manifest["encoder"]["space"]:
            self._encoder = None
            self._vectors.forget()
        self._manifest, self._manifest_at = manifest, now

    @property
    def _dim(self) -> int:
        return int(self._manifest["encoder"]["dim"])

    # Reading

    @contextmanager
    def reading(self) -> Iterator[View]:
        """One read transaction: words, vectors and rows inside are all of the same change."""
        with self._reading_rows() as store, store.transaction():
            self._heed_manifest(store)
            space = self._manifest["encoder"]["space"]
            yield View(store, space, lambda: self._vectors.current(store, dim=self._dim), self._chunks_that_pass)

    def _chunks_that_pass(self, where: Where) -> Passing:
        """Kept for the next search with the same filter, until something is committed."""
        if (now := self._store.last_change()) != self._passing_at:
            self._passing, self._passing_at = {}, now
        if where not in self._passing:
            self._passing = dict(list(self._passing.items())[-_FILTERS_KEPT + 1 :])
            self._passing[where] = Passing.of(self._store.chunks_that_pass(*where.sql()))
        return self._passing[where]

    def documents(self, *, where: Sequence[str] | Where = ()) -> list[DocumentRow]:
        """All documents, or those that meet conditions as `Retriever.search` takes them, ordered by source."""
        where = parse_where(where)
        with self._reading_rows() as store:
            return store.documents(*where.sql())

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

    def file(self, source: str) -> SourceFile | None:
        """The file that a document came from, as it was when it was read.

        None where a script added the document, or where there is none of that source.
        """
        with self._reading_rows() as store:
            return store.file_of(shown(source))

    def facts(self) -> list[DocumentFacts]:
        """What filters can be made of, for every document, ordered by source."""
        with self._reading_rows() as store:
            return store.facts()

    def last_change(self) -> tuple[int, bytes]:
        """Number and token of the last committed change: what was read of the index holds until it is another."""
        with self._reading_rows() as store:
            return store.last_change()

    def files(self) -> list[FileState]:
        """Every file, read or set aside and why, and every document that no file stands behind, ordered by name."""
        with self._reading_rows() as store:
            return store.file_states()

    def stale_files(self) -> tuple[FileChange, ...]:
        """Files that were read and are another now ('edited'), or have gone ('removed'): `ingest` has work to do.

        Each is looked at where it was. No folder is searched: what is new is not told, and what has moved has gone.
        Nothing is told of what may be on a drive that is put away.
        """
        # With a connection of its own: of many files this takes a while, and others are not to wait for it.
        with _sqlite_errors_named(self.path), closing(Store(self.path / "index.sqlite")) as store, store.transaction():
            files = {root: list(store.files(root).values()) for root in store.roots() if root != UPLOADS}
            rules = rules_of(store.manifest())
        return tuple(stale(files, rules))

    def origins(self) -> Origins:
        """What `ingest` is to be given to bring all documents up to date."""
        with self._reading_rows() as store, store.transaction():
            named = [root for root in store.roots_of_files() if root != UPLOADS]
            folders = [root for root in store.roots() if root not in named and root != UPLOADS]
            files = [os.path.join(root, relpath) for root in named for relpath in store.files(root)]
            return Origins((*folders, *sorted(files)), tuple(sorted(store.files(UPLOADS))))

    def texts_before(self, chunk_ids: Sequence[int], *, at_most: int) -> dict[int, str]:
        """What stands in front of chunks in their documents.

        Args:
            chunk_ids: as hits tell them; one that is gone is left out.
            at_most: characters of each.
        """
        with self._reading_rows() as store:
            return store.texts_before(chunk_ids, at_most=at_most)

    def copies(self, hit: Hit, *, at_most: int) -> list[Chunk]:
        """Passages elsewhere with exactly the text of a hit, of the places that it names itself (`Hit.also_in`)."""
        if not hit.also_in:
            return []
        named = {(place.source, place.start) for place in hit.also_in[:at_most]}
        with self._reading_rows() as store:
            ids = [i for i, place in store.same_text(hit.chunk.text) if (place.source, place.start) in named]
            found = store.chunks(ids)
        return [found[i] for i in ids if i in found]

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        """Inverse document frequency of each stemmed word over the chunks: log(1 + n / (1 + df)), above 0."""
        with self._reading_rows() as store:
            return store.term_weights(stems)

    def known_words(self, stems: Sequence[str]) -> set[str]:
        """Those of the stemmed words that stand anywhere in the index."""
        with self._reading_rows() as store:
            return set(store.document_frequencies(stems))

    def is_empty(self) -> bool:
        """Whether no passage is in it, told at once: `status` counts, and looks at the sizes of files."""
        with self.reading() as view:
            return not view.store.has_chunks()

    def status(self) -> IndexStatus:
        """Counts, sizes, what made the index, the last ingest, and which files were set aside and why."""
        with self.reading() as view:
            store = view.store
            manifest: dict[str, Any] = store.manifest()  # anew: beginning a change of encoder commits no change
            counts, last = store.counts(), store.last_ingest()
            # A link that leads nowhere or a closed folder has no row of its own: the last ingest tells of it.
            told = {(entry["path"], entry["reason"]) for entry in (last or {}).get("unreadable", [])}
            sizes = sizes_below(self.path)
            return IndexStatus(
                path=self.path,
                documents=counts["documents"],
                chunks=counts["chunks"],
                files=counts["files"],
                embeddings=counts["embeddings"],
                waiting=store.n_waiting(),
                without_tokens=store.n_without_tokens(),
                bytes=sum(sizes.values()),
                sizes=sizes,
                encoder=manifest["encoder"]["name"],
                encoder_form=manifest["encoder"]["form"],
                encoder_cosine=manifest["encoder"].get("cosine"),
                vectors=self._vectors.record(store),
                reembedding=(manifest.get(PENDING) or {}).get("name"),
                created=manifest["created"],
                made_with=manifest["made_with"],
                roots=tuple(root for root in store.roots() if root != UPLOADS),
                set_aside=tuple(sorted({*store.set_aside(), *told})),
                last_ingest=last,
            )

    # Writing

    def ingest(
        self,
        *paths: str | os.PathLike[str],
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        max_file_mb: float = Limits().max_file_mb,
        rehash: bool = False,
        keep_missing: bool = False,
        as_before: bool = False,
        progressive: bool = False,
        uploads: Sequence[str] = (),
        progress: Callable[[Progress], None] | None = None,
        on_change: Callable[[FileChange], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> IngestReport:
        """Bring the index in step with files and folders: read what is new or changed, remove what has gone.

        A file whose size and time are known is not read again; a file that was moved is followed to its new name; only
        texts that were not seen before are embedded. Each file is one transaction. A file that cannot be read is set
        aside with its reason and never stops the others.

        Args:
            paths: files, or folders that are read recursively without hidden files and what .ragignore names.
            exclude: more patterns in .gitignore syntax, relative to each folder.
            gitignore: leave out what .gitignore files name as well.
            max_file_mb: the largest text file that is read, in MiB.
            rehash: compare the content of every file, whatever its size and time say.
            keep_missing: documents whose files have gone stay.
            as_before: a folder that was ingested is read with the `exclude`, `gitignore` and `keep_missing` of the last
                time; these here count for others.
            progressive: keep all files first, so that they are soon found by their words; their vectors follow, and
                searches use those that are there. A run that is stopped before the end is finished by the next one.
            uploads: names of files that were handed over, whose copies are at `rag.uploads.kept_at`.
            progress: called after each file and each batch, and once all new and changed files are committed.
            on_change: called after each file whose change is committed.
            stop: asked between files and between batches; True ends the run, and the report says so.

        Raises:
            UsageError: no path was given, nor an upload.
            IndexBusyError: another process is writing to this index.
        """
        limits, absolute_paths = _checked_limits(max_file_mb), _checked_paths(paths) if paths or not uploads else []
        started, report = time.perf_counter(), IngestReport()
        try:
            with self._writing("ingest", stop) as at_work:
                writer, store = at_work.writer, at_work.store
                rules = dict.fromkeys(absolute_paths, Rules(tuple(exclude), gitignore, keep_missing))
                if as_before:
                    rules.update(_rules_before(store, absolute_paths))
                plan = make_plan(store, rules, rehash=rehash, leave_out=self.path, uploads=uploads)
                _keep_rules(at_work, rules, plan.folders)
                try:
                    with Ingest(
                        writer,
                        store,
                        at_work.embedder,
                        report,
                        limits=limits,
                        progressive=progressive,
                        progress=progress,
                        on_change=on_change,
                        stop=stop,
                    ) as run:
                        run.run(plan)
                except Stopped:
                    report.stopped = True
                else:
                    self._drop_loose_embeddings(at_work)
                report.seconds = time.perf_counter() - started
                writer.add_ingest(
                    {
                        "paths": [*map(str, paths), *uploads],
                        **report.as_json(),
                        "unreadable": [{"path": path, "reason": reason} for path, reason in plan.unreadable],
                    }
                )
                self._refresh_snapshot(at_work)
        except Stopped:  # while it waited for another writer
            report.stopped = True
        report.seconds = time.perf_counter() - started
        return report

    @classmethod
    def preview(
        cls,
        path: str | os.PathLike[str],
        *paths: str | os.PathLike[str],
        exclude: Sequence[str] = (),
        gitignore: bool = False,
        rehash: bool = False,
        keep_missing: bool = False,
    ) -> Preview:
        """What `ingest` into the index at `path` would do. Changes nothing, waits for no writer, needs no index yet.

        Args:
            path: of the index.
            paths: these and the others as for `ingest`.
            exclude: see there.
            gitignore: see there.
            rehash: see there.
            keep_missing: see there.

        Raises:
            UsageError: no path was given.
            IndexDamagedError: the index is not readable.
        """
        folder, files = Path(path), _checked_paths(paths)
        with ExitStack() as resources:
            store = None
            if (folder / "index.sqlite").exists():
                resources.enter_context(_sqlite_errors_named(folder))
                store = resources.enter_context(closing(Store(folder / "index.sqlite")))
                resources.enter_context(store.transaction())
            rules = dict.fromkeys(files, Rules(tuple(exclude), gitignore, keep_missing))
            plan = make_plan(store, rules, rehash=rehash, leave_out=folder)
            return plan.preview()

    def reembed(
        self,
        encoder: Encoder | str,
        *,
        progress: Callable[[Progress], None] | None = None,
        stop: Callable[[], bool] | None = None,
    ) -> ReembedReport:
        """Go over to another encoder: fill its vectors in beside the old, which serve meanwhile, then switch at once.

        A run that was stopped or killed goes on where it was. No file is read: the stored text is what is embedded.
        Where it is the same encoder in another form, all is embedded once more; by another name, nothing is.

        Args:
            encoder: the new one.
            progress: called after each batch.
            stop: asked after each batch; True ends the run, and the report says so.

        Raises:
            EncoderError: the encoder cannot be loaded.
            IndexBusyError: another process is writing to this index.
        """
        loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
        started, report = time.perf_counter(), ReembedReport()
        try:
            with self._writing("reembed", stop) as at_work:
                old = self._manifest["encoder"]
                manifest: dict[str, JsonValue] = {"encoder": encoder_record(loaded)}
                chunking, change = self._chunking(), take_form
                if old["space"] != loaded.space:
                    chunking = chunking_for(loaded, instead_of=old, chunking=chunking)
                    manifest["chunking"], change = chunking.record(), reembed
                embedder = Embedder(lambda: loaded, chunking, store=at_work.store, writer=at_work.writer)
                try:
                    change(
                        at_work.writer,
                        at_work.store,
                        embedder,
                        report,
                        manifest=manifest,
                        progress=progress,
                        stop=stop,
                    )
                except Stopped:
                    report.stopped = True
                with self._lock:
                    self._manifest_at = (-1, b"")  # read it again
                    self._heed_manifest(at_work.store)
                    if not report.stopped:
                        self._encoder = loaded
                self._refresh_snapshot(at_work)
        except Stopped:  # while it waited for another writer
            report.stopped = True
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
        n = 0
        batch: list[Document] = []
        with self._writing("add") as at_work:
            for document in documents:
                if document.doc_id != storable(document.doc_id):
                    raise UsageError(
                        f"expected a doc_id without NUL and lone surrogates, got {document.doc_id!r}: add another"
                    )
                if at_work.store.has_file(document.doc_id):
                    raise UsageError(
                        f"{document.doc_id!r} came from a file: change the file and ingest it, or add another doc_id"
                    )
                batch.append(_storable_document(document))
                n += 1
                if len(batch) >= TEXTS_PER_BATCH:
                    _put_documents(at_work, batch)
                    batch = []
            _put_documents(at_work, batch)
            self._drop_loose_embeddings(at_work)
            self._refresh_snapshot(at_work)
        return n

    def remove(self, path: str | os.PathLike[str]) -> int:
        """Forget documents by their source, or all below a file or folder that was ingested; the files stay.

        An ingested folder that goes as a whole is forgotten itself. The copy of an upload is deleted.

        Returns:
            How many documents went.

        Raises:
            UsageError: nothing in the index is of that name.
        """
        name = shown(os.fspath(path))
        with self._writing("remove") as at_work:
            store = at_work.store
            before = store.counts()["documents"]
            folders = [root for root in store.roots() if is_below(root, absolute(name))]
            if (gone := _files_called(store, name)) or folders:
                at_work.writer.remove_files([row.id for _, row in gone])
                at_work.writer.forget_folders(folders)
                self._delete_copies(gone)
            elif store.document(name) is not None:
                at_work.writer.remove_documents([name])
            else:
                raise UsageError(
                    f"nothing in index {self.name!r} is called {str(path)!r}: rag list shows what there is"
                )
            self._drop_loose_embeddings(at_work, at_most=0)
            self._refresh_snapshot(at_work)
            return before - store.counts()["documents"]

    def remove_files(self, files: Iterable[FileState]) -> int:
        """Forget files as `files` tells of them, all or none; the files stay, but copies of uploads are deleted.

        A folder of which no file is left is forgotten itself.

        Returns:
            How many were there to be forgotten.

        Raises:
            IndexBusyError: another process is writing to this index.
        """
        with self._writing("remove") as at_work:
            wanted: dict[str, set[str]] = {}
            for file in files:
                wanted.setdefault(file.root, set()).add(file.name)
            store, sources = at_work.store, wanted.pop("", set())
            gone = [
                (root, row)
                for root, names in wanted.items()
                for relpath, row in store.files(root).items()
                if relpath in names
            ]
            added = [file.name for file in store.file_states() if not file.root and file.name in sources]
            with at_work.writer.transaction():
                at_work.writer.remove_files([row.id for _, row in gone])
                at_work.writer.remove_documents(added)
                at_work.writer.forget_folders(list(wanted))
            self._delete_copies(gone)
            self._drop_loose_embeddings(at_work, at_most=0)
            self._refresh_snapshot(at_work)
            return len(gone) + len(added)

    def _delete_copies(self, gone: Sequence[tuple[str, FileRow]]) -> None:
        """Those of the uploads among files that are not in the index any more."""
        for root, row in gone:
            if root == UPLOADS:
                with suppress(OSError):  # what is left of it is read by nobody
                    kept_at(self.path, row.relpath).unlink(missing_ok=True)

    def examine(self, *, repair: bool = False) -> Diagnosis:
        """Check every promise the index makes: rows, words, vectors, snapshot, spans, hashes.

        Args:
            repair: mend what can be mended from what is there, and check again.

        Raises:
            IndexBusyError: another process is writing to this index.
            EncoderError: a document must be embedded again, and the encoder cannot be loaded.
        """
        with self._writing("doctor") as at_work:
            cache = VectorCache(self.path)
            doctor = Doctor(at_work.writer, at_work.store, cache, lambda: at_work.embedder, dim=self._dim)
            return doctor.repair() if repair else doctor.examine()

    def compact(self) -> Compaction:
        """Leave no trace of what was removed in the files of the index, and give its space back.

        Raises:
            IndexBusyError: another process is writing to this index.
        """
        with self._writing("compact") as at_work:
            before = sum(sizes_below(self.path).values())
            self._drop_loose_embeddings(at_work, at_most=0)
            at_work.writer.forget_removed(upto=at_work.store.last_change()[0])
            is_clean = at_work.writer.compact() and at_work.writer.n_loose_embeddings() == 0
            vectors, store = VectorCache(self.path), at_work.store
            with store.transaction():
                is_clean = vectors.save(store, dim=self._dim, anew=True) and is_clean
                record = vectors.record(store)
            at_work.writer.set_manifest({"vectors": record})
            return Compaction(before, sum(sizes_below(self.path).values()), is_clean)

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
        with write_lock(folder, doing="delete"):
            for entry in folder.iterdir():
                if entry.name == "files" and entry.is_dir():
                    shutil.rmtree(entry)
                elif _OURS.fullmatch(entry.name) and entry.name not in ("write.lock", HOLDER):
                    entry.unlink()
        with suppress(OSError):  # a folder that holds something else stays, with that in it
            (folder / "write.lock").unlink()
            folder.rmdir()

    @classmethod
    def rename(cls, path: str | os.PathLike[str], name: str) -> Path:
        """Give an index another name: that of its folder, which stays where it is. Who has it open opens it anew.

        Returns:
            The folder's new path.

        Raises:
            UsageError: the name is none, or taken; or the system refuses, as Windows does while the index is open.
            IndexNotFoundError: the folder holds no index.
            IndexBusyError: another process is writing to it.
        """
        folder = Path(path)
        target = folder.with_name(checked_name(name))
        if not (folder / "index.sqlite").exists():
            raise IndexNotFoundError(f"no index in {str(folder)!r}: nothing was renamed")
        with suppress(IndexDamagedError):
            Store(folder / "index.sqlite").close()  # refuses another program's file
        with write_lock(folder, doing="rename"):
            if os.path.lexists(target) and not _is_same(folder, target):
                raise UsageError(f"there is a {target.name!r} beside it already: choose another name")
            try:
                os.rename(folder, target)
            except OSError as exc:
                raise UsageError(
                    f"{folder.name!r} cannot be renamed to {target.name!r} ({exc.strerror or exc}): check who may "
                    "write to the folder it is in, and close other programs that have the index open"
                ) from exc
            with suppress(OSError):
                (target / HOLDER).unlink()
        return target

    @contextmanager
    def _writing(self, doing: str, stop: Callable[[], bool] | None = None) -> Iterator[_Session]:
        """Be the one writer, with the index's own ways of cutting and embedding as they are now."""
        with self._reading_rows():
            waiting = self._waiting  # for an index that is there: a lock would make its folder again
        lock = write_lock(self.path, doing=doing, wait_s=waiting.seconds, on_wait=waiting.on_wait, stop=stop)
        with lock, _sqlite_errors_named(self.path):
            for left_behind in self.path.glob("*.partial"):  # by a process that was killed
                left_behind.unlink(missing_ok=True)
            file = self.path / "index.sqlite"
            with closing(StoreWriter(file)) as writer, closing(Store(file)) as store:
                with self._reading_rows():
                    self._heed_manifest(store)
                embedder = Embedder(lambda: self.encoder, self._chunking(), store=store, writer=writer)
                yield _Session(writer, store, embedder)

    def _chunking(self) -> Chunking:
        return Chunking.of_record(self._manifest["chunking"])

    def _drop_loose_embeddings(self, at_work: _Session, *, at_most: int | None = None) -> None:
        """If more than so many are used by no chunk; not those that a change of encoder has filled in so far."""
        if (n := at_work.writer.n_loose_embeddings()) == 0 or at_work.store.manifest().get(PENDING):
            return
        if at_most is None:
            at_most = max(_LOOSE_KEPT, int(_LOOSE_SHARE * at_work.store.counts()["embeddings"]))
        if n > at_most:
            at_work.writer.drop_loose_embeddings()

    def _refresh_snapshot(self, at_work: _Session) -> None:
        """Write a snapshot if one is due, and then shorten the log that led from the one before."""
        # By a reader of its own: with millions of vectors this takes minutes, in which other threads go on searching.
        vectors, store = VectorCache(self.path), at_work.store
        with store.transaction():
            change = vectors.refresh(store, dim=self._dim)
            record = vectors.record(store) if change is not None else None
        if change is not None:
            at_work.writer.set_manifest({"vectors": record})
            at_work.writer.forget_removed(upto=change)

    @contextmanager
    def _reading_rows(self) -> Iterator[Store]:
        with self._lock, _sqlite_errors_named(self.path):
            self._follow_file()
            yield self._store

    def _follow_file(self) -> None:
        """Open the index again where it was deleted and made anew since; the one that was opened is not there any more.

        Raises:
            IndexNotFoundError: it was deleted.
        """
        file = self.path / "index.sqlite"
        if (now := file_id(file)) == self._store.file_id or self._store.in_transaction:
            return
        if now is None:
            raise IndexNotFoundError(f"the index in {str(self.path)!r} was deleted: make it again with rag ingest PATH")
        store, encoder = Store(file), self._encoder
        self._store.close()
        self._store = store
        self._manifest, self._manifest_at, self._encoder, self._passing = {}, (-1, b""), None, {}
        self._vectors.forget()
        self._heed_manifest(store)
        if encoder is not None and encoder.space == self._manifest["encoder"]["space"]:
            self._encoder = encoder


def _put_documents(at_work: _Session, documents: list[Document]) -> None:
    cut = [(document, at_work.embedder.cut(document)) for document in documents]
    for _ in at_work.embedder.embed([chunk for _, chunks in cut for chunk in chunks]):
        pass
    for document, chunks in cut:
        at_work.writer.put_document(document, chunks, space=at_work.embedder.encoder.space)


def checked_name(name: str) -> str:
    """A name that an index can have: that of a folder, on every system.

    Raises:
        UsageError: it is none.
    """
    name = name.strip()
    if not name or len(name) > 80 or _NO_NAME.search(name) or not name.isprintable() or name[0] in ".-":
        raise UsageError(
            f'expected a name of 1 to 80 characters without / \\ : * ? " < > | that begins with none of . and -, '
            f"got {name[:100]!r}: choose another"
        )
    if name.endswith("."):
        raise UsageError(f"expected a name that ends without a full stop, got {name!r}: leave it away")
    _refuse_database(name)
    return name


def _refuse_database(name: str) -> None:
    """The page keeps its own database beside the indexes: no folder is to stand in its place."""
    if _DATABASE.search(name):
        raise UsageError(f"expected a name that is none of a database file, got {name!r}: leave its end away")


def _is_same(one: Path, other: Path) -> bool:
    """Whether two names are of one folder, as where only the case is another and the system heeds none."""
    with suppress(OSError):
        return os.path.samefile(one, other)
    return False


def _files_called(store: Store, name: str) -> list[tuple[str, FileRow]]:
    """Files with their roots by their source, by the relative path of one that was set aside, or below a path."""
    target = absolute(name)
    owner = store.owner(name)
    if owner is not None and not name.endswith(owner[1]):
        owner = None  # a single line of a JSONL file
    return [
        (root, row)
        for root in store.roots()
        for row in store.files(root).values()
        if (root, row.relpath) == owner
        or (row.reason is not None and row.relpath == name)
        or is_below(os.path.join(root, row.relpath), target)
    ]


def _checked_paths(paths: Sequence[str | os.PathLike[str]]) -> list[Path]:
    if not paths or not all(os.fspath(path) for path in paths):
        raise UsageError(f"expected files or folders to ingest, got {paths!r}: write '.' for this folder")
    return [Path(os.path.abspath(path)) for path in paths]


def _rules_before(store: Store, paths: Sequence[Path]) -> dict[Path, Rules]:
    """How those of the paths that are ingested folders were read the last time."""
    folders, before = {*store.roots()} - {*store.roots_of_files()}, rules_of(store.manifest())
    return {path: before.get(absolute(path), Rules()) for path in paths if absolute(path) in folders}


def _keep_rules(at_work: _Session, rules: Mapping[Path, Rules], folders: Sequence[str]) -> None:
    """Remember how folders were read, those before included, as long as they are followed."""
    before = rules_of(at_work.store.manifest())
    now = {**before, **{absolute(path): new for path, new in rules.items()}}
    now = {folder: now[folder] for folder in folders if now.get(folder, Rules()) != Rules()}
    if now != before:
        at_work.writer.set_manifest({"rules": {folder: new.as_json() for folder, new in now.items()}})


def _checked_limits(max_file_mb: float) -> Limits:
    if not (math.isfinite(max_file_mb) and max_file_mb > 0):
        raise UsageError(f"expected max_file_mb above 0, got {max_file_mb!r}")
    return Limits(max_file_mb=max_file_mb)


def _storable_document(document: Document) -> Document:
    sections = tuple(replace(section, path=storable(section.path)) for section in document.sections)
    title = None if document.title is None else storable(document.title)
    return replace(document, text=storable(document.text), title=title, sections=sections)


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
