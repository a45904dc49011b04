"""Whatever befalls a folder and its index on the way, after an ingest the index is one built afresh from the folder."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from rag.index import Index
from rag.ingest import IngestReport
from rag.pipeline import Pipeline
from rag.plan import FileChange, Preview
from rag.retriever import Retriever
from rag.store import FileRow, embedding_key
from rag.types import Chunk, Document, Hit, Place
from tests.fakes import HashingEncoder, InProcessLoader

QUERIES = ("Who makes honey?", "apples and cows", "paper nests in trees", "long words again")
MODES = ("dense", "bm25", "hybrid")
ENCODERS = {  # of two spaces, and of another length each, so that passages are cut anew
    encoder.name: encoder for encoder in (HashingEncoder(name="one"), HashingEncoder(name="two", dim=96, max_tokens=40))
}

SENTENCES = (
    "Bees make honey.",
    "Bees make money.",
    "Apples grow on trees.",
    "Wasps build paper nests.",
    "Cows give milk and say nothing of honey.",
    "Long words come again and again. " * 15,
)
FOLDERS = ("", "a", "a/b", "c d")
STEMS = ("x", "é", "x.txt#1")
SUFFIXES = (".txt", ".md", ".jsonl")

folders = st.sampled_from(FOLDERS)
names = st.builds(os.path.join, folders, st.sampled_from(STEMS))
texts = st.lists(st.sampled_from(SENTENCES), min_size=1, max_size=3)
which = st.integers(0, 40)  # of the files there are, modulo their number


def txt(sentences: list[str]) -> str:
    return "\n\n".join(sentences)


def md(sentences: list[str]) -> str:
    return "Before.\n\n" + "\n\n".join(f"{'#' * (n % 2 + 1)} {s[:9]}\n\n{s}" for n, s in enumerate(sentences))


def jsonl(sentences: list[str]) -> str:
    lines: list[dict[str, str | int]] = [{"text": text, "year": 1990 + n} for n, text in enumerate(sentences)]
    lines[0] |= {"id": "first", "title": "A title"}
    return "\n".join(map(json.dumps, lines))


CONTENTS = {".txt": txt, ".md": md, ".jsonl": jsonl}


def file_rows(index: Index) -> dict[str, tuple[bytes | None, str | None, tuple[str, ...]]]:
    def told(row: FileRow) -> tuple[bytes | None, str | None, tuple[str, ...]]:
        return row.sha256, row.reason, row.notes

    with index.reading() as view:
        return {name: told(row) for root in view.store.roots() for name, row in view.store.files(root).items()}


def documents(index: Index) -> list[Document]:
    return [index.document(row.source) for row in index.documents()]


def chunks(index: Index) -> list[Chunk]:
    """Those that have a vector, which are all that there are."""
    with index.reading() as view:
        some = np.full(index.encoder.dim, index.encoder.dim**-0.5, dtype=np.float32)
        found = view.store.chunks(view.dense(some, k=view.n_vectors + 1))
        assert view.n_vectors == view.store.n_chunks() == len(found)
    return sorted(found.values(), key=lambda chunk: (chunk.doc_id, chunk.start))


def without_ids(hits: tuple[Hit, ...] | list[Hit]) -> list[tuple[Chunk, float, int, tuple[Place, ...]]]:
    return [(hit.chunk, hit.score, hit.rank, hit.also_in) for hit in hits]


def hits(index: Index, mode: str, *where: str) -> list[list[tuple[Chunk, float, int, tuple[Place, ...]]]]:
    retriever = Retriever(index)
    return [without_ids(retriever.search(query, mode=mode, where=where)) for query in QUERIES]  # type: ignore[arg-type]


def answers(index: Index) -> list[object]:
    pipeline = Pipeline(Retriever(index), min_confidence=0)
    asked = [pipeline.ask(query) for query in QUERIES[:2]]
    return [(replace(answer, nearest=(), timings_ms={}), without_ids(answer.nearest)) for answer in asked]


def known_keys(index: Index) -> set[bytes]:
    with closing(sqlite3.connect(index.path / "index.sqlite")) as db:
        return {bytes(row[0]) for row in db.execute("select key from embeddings")}


def bytes_of(folder: Path) -> dict[str, str]:
    """A hash of every file but the one in which SQLite's readers sign in."""
    files = (file for file in folder.iterdir() if not file.name.endswith("-shm"))
    return {file.name: sha256(file.read_bytes()).hexdigest() for file in files}


class SyncMachine(RuleBasedStateMachine):
    """A folder, and an index that is told of its changes now and then."""

    def __init__(self) -> None:
        super().__init__()
        self._patches = pytest.MonkeyPatch()
        self._patches.setattr("rag.ingest.IsolatedLoader", InProcessLoader)
        self._patches.setattr("rag.index.load_encoder", lambda name, **_: ENCODERS[name])
        self._patches.setattr("rag.pipeline.load_encoder", lambda: HashingEncoder(max_tokens=256))
        self._patches.setattr("rag.snapshots._DUE_AFTER", 3)
        self.place = Path(tempfile.mkdtemp())
        self.folder = self.place / "docs"
        for folder in FOLDERS:
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
        self.encoder = ENCODERS["one"]
        self.index = Index.create(self.place / "index", encoder=self.encoder)
        self.scripted: dict[str, Document] = {}
        self.clock = count(1_600_000_000)  # of files that were written long ago, each at another second

    def teardown(self) -> None:
        self.index.close()
        shutil.rmtree(self.place)
        self._patches.undo()

    # What happens to the folder

    @initialize()
    def begin(self) -> None:
        """The folder is the root, whatever part of it is ingested first."""
        (self.folder / "a" / "first.txt").write_text(SENTENCES[0])
        self.index.ingest(self.folder)

    def file(self, n: int) -> Path:
        files = sorted(file for file in self.folder.rglob("*") if file.is_file())
        return files[n % len(files)]

    @property
    def has_files(self) -> bool:
        return any(file.is_file() for file in self.folder.rglob("*"))

    def date(self, file: Path, *, is_old: bool) -> None:
        """Long ago, as most files; or just now, when a later edit could have the same time."""
        when = next(self.clock)
        if is_old:
            os.utime(file, (when, when))
        else:
            os.utime(file)

    @rule(name=names, suffix=st.sampled_from(SUFFIXES), sentences=texts, is_old=st.booleans())
    def write(self, name: str, suffix: str, sentences: list[str], is_old: bool) -> None:
        """Add a file, or write another text over it."""
        file = self.folder / (name + suffix)
        file.write_text(CONTENTS[suffix](sentences), encoding="utf-8")
        self.date(file, is_old=is_old)

    @precondition(lambda self: self.has_files)
    @rule(n=which, is_old=st.booleans())
    def edit_in_place(self, n: int, is_old: bool) -> None:
        """Another text of the same length."""
        file = self.file(n)
        file.write_bytes(file.read_bytes().translate(bytes.maketrans(b"hm", b"mh")))
        self.date(file, is_old=is_old)

    @precondition(lambda self: self.has_files)
    @rule(n=which, name=names)
    def move(self, n: int, name: str) -> None:
        """To another name or folder, over what is there."""
        file = self.file(n)
        file.rename(self.folder / (name + file.suffix))

    @precondition(lambda self: self.has_files)
    @rule(n=which, m=which)
    def swap(self, n: int, m: int) -> None:
        one, other = self.file(n), self.file(m)
        if one.suffix == other.suffix and one != other:
            one.rename(self.folder / "aside")
            other.rename(one)
            (self.folder / "aside").rename(other)

    @rule(folder=folders, to=folders)
    def move_folder(self, folder: str, to: str) -> None:
        """All files of a folder into another."""
        for file in sorted((self.folder / folder).iterdir()):
            if file.is_file():
                file.rename(self.folder / to / file.name)

    @precondition(lambda self: self.has_files)
    @rule(n=which)
    def delete(self, n: int) -> None:
        self.file(n).unlink()

    @precondition(lambda self: self.has_files)
    @rule(n=which, is_old=st.booleans())
    def make_empty(self, n: int, is_old: bool) -> None:
        """It is set aside."""
        file = self.file(n)
        file.write_bytes(b"")
        self.date(file, is_old=is_old)

    @precondition(lambda self: self.has_files)
    @rule(n=which, name=names, with_time=st.booleans())
    def copy(self, n: int, name: str, with_time: bool) -> None:
        file = self.file(n)
        to = self.folder / (name + file.suffix)
        if to != file:
            (shutil.copy2 if with_time else shutil.copy)(file, to)

    @precondition(lambda self: self.has_files)
    @rule(n=which, is_old=st.booleans())
    def touch(self, n: int, is_old: bool) -> None:
        self.date(self.file(n), is_old=is_old)

    # What happens to the index

    @contextmanager
    def embedding_only_what_is_new(self, *, may_forget: bool = False) -> Iterator[list[str]]:
        """Within, no text that the index knows is given to an encoder, and none twice; yields those that are given.

        Of so few texts it forgets none either, unless it may: they may come back.
        """
        before = known_keys(self.index)
        given: list[str] = []
        for encoder in ENCODERS.values():
            encoder.texts.clear()
        yield given
        for encoder in ENCODERS.values():
            assert len(encoder.texts) == len(set(encoder.texts))
            assert not before & {embedding_key(encoder.space, text) for text in encoder.texts}
            given += encoder.texts
        assert may_forget or before <= known_keys(self.index)

    @rule(folder=folders, stop_after=st.none() | st.integers(0, 3), keep_missing=st.booleans(), rehash=st.booleans())
    def ingest_a_part(self, folder: str, stop_after: int | None, keep_missing: bool, rehash: bool) -> None:
        """A folder in the folder, or not to the end, or without removing what has gone."""
        asked = count()
        with self.embedding_only_what_is_new():
            report = self.index.ingest(
                self.folder / folder,
                keep_missing=keep_missing,
                rehash=rehash,
                stop=None if stop_after is None else lambda: next(asked) >= stop_after,
            )
        assert stop_after is not None or not report.stopped

    @rule(rehash=st.booleans())
    def ingest(self, rehash: bool) -> None:
        """The whole folder: what it does was foretold, and the index is as one that was built afresh."""
        known = known_keys(self.index)
        was = file_rows(self.index)
        foretold = self.preview(rehash=rehash)
        done: list[FileChange] = []
        with self.embedding_only_what_is_new() as given:
            report = self.index.ingest(self.folder, rehash=rehash, on_change=done.append)
        check_foretold(foretold, done, report, was)
        assert report.embedded == len(given)
        assert self.preview().changes == ()
        with Index.create(self.place / "fresh", encoder=self.encoder) as fresh:
            fresh.ingest(self.folder)
            fresh.add(self.scripted.values())
            check_equal(self.index, fresh)
            needed = {embedding_key(self.encoder.space, chunk.encoded) for chunk in chunks(fresh)}
            assert {embedding_key(self.encoder.space, text) for text in given} == needed - known
        Index.delete(self.place / "fresh")

    def preview(self, *, rehash: bool = False) -> Preview:
        before = bytes_of(self.index.path)
        foretold = Index.preview(self.index.path, self.folder, rehash=rehash)
        assert bytes_of(self.index.path) == before
        return foretold

    @precondition(lambda self: self.index.documents())
    @rule(n=which)
    def remove(self, n: int) -> None:
        """One document goes, or one line of a file; the next ingest brings a whole file back."""
        rows = self.index.documents()
        source = rows[n % len(rows)].source
        if source not in self.scripted and "jsonl" in source:
            source = source[: source.index(".jsonl#") + len(".jsonl")]
        assert self.index.remove(source) >= 1
        self.scripted.pop(source, None)
        assert not [row for row in self.index.documents() if row.source == source]

    @rule(name=st.sampled_from(["script-1", "script-2"]), sentences=texts)
    def add(self, name: str, sentences: list[str]) -> None:
        """A document that no file stands behind."""
        self.scripted[name] = Document(name, txt(sentences), title="From a script")
        with self.embedding_only_what_is_new():
            self.index.add([self.scripted[name]])

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = Index.open(self.place / "index")

    @rule()
    def delete_the_snapshot(self) -> None:
        for file in self.index.path.glob("vectors-*.faiss"):
            file.unlink()

    @rule()
    def compact(self) -> None:
        # Half way to another encoder, vectors that no passage uses yet are kept, and with them what may be traces.
        assert self.index.compact().is_clean or self.index.status().reembedding

    @rule(to=st.sampled_from(sorted(ENCODERS)), stop_after=st.none() | st.integers(1, 8))
    def reembed(self, to: str, stop_after: int | None) -> None:
        """Go over to an encoder, or begin to."""
        before, asked = documents(self.index), count(1)
        with self.embedding_only_what_is_new(may_forget=True):
            stop = None if stop_after is None else lambda: next(asked) >= stop_after
            report = self.index.reembed(ENCODERS[to], stop=stop)
        if not report.stopped:
            self.encoder = ENCODERS[to]
        assert documents(self.index) == before

    @rule()
    def doctor(self) -> None:
        diagnosis = self.index.examine()
        assert [(check.name, check.faults) for check in diagnosis.checks if not check.holds] == []

    @invariant()
    def rows_and_vectors_match(self) -> None:
        with self.index.reading() as view:
            assert view.n_vectors == view.store.n_chunks()
            assert view.space == self.encoder.space


def check_foretold(foretold: Preview, done: list[FileChange], report: IngestReport, was: dict[str, Any]) -> None:
    """A preview reads no document, so it takes a file that will be set aside for one that is added, or edited."""
    aside = {change.path: change for change in done if change.kind == "set aside"}
    told = {(change.kind, change.path, change.detail) for change in foretold.changes}
    for path in aside:
        told -= {("added", path, ""), ("edited", path, "")}
    assert told == {(change.kind, change.path, change.detail) for change in done} - {
        (change.kind, change.path, change.detail) for change in aside.values()
    }
    assert len(foretold.changes) == len(told) + len({change.path for change in foretold.changes} & aside.keys()), (
        "nothing is told twice"
    )
    news = {path for path in aside if path not in {change.path for change in foretold.changes}}
    assert all(was[path][1] is not None for path in news), "set aside before, and looked at again"
    kinds = [change.kind for change in done]
    assert (report.moved, report.removed) == (kinds.count("moved"), kinds.count("removed"))
    assert report.read == kinds.count("added") + kinds.count("edited")
    assert foretold.n_files == report.read + report.unchanged + report.moved + len(report.set_aside)


def check_equal(index: Index, fresh: Index) -> None:
    assert file_rows(index) == file_rows(fresh)
    assert documents(index) == documents(fresh)
    assert chunks(index) == chunks(fresh)
    for mode in MODES:
        assert hits(index, mode) == hits(fresh, mode)
    assert hits(index, "hybrid", "path~a/**") == hits(fresh, "hybrid", "path~a/**")
    assert answers(index) == answers(fresh)
    status, wanted = index.status(), fresh.status()
    assert (status.documents, status.chunks, status.files) == (wanted.documents, wanted.chunks, wanted.files)
    assert status.set_aside == wanted.set_aside


def machine_settings(*, examples: int, steps: int) -> settings:
    return settings(
        max_examples=examples, stateful_step_count=steps, deadline=None, suppress_health_check=list(HealthCheck)
    )


TestSync = SyncMachine.TestCase
TestSync.settings = machine_settings(examples=60, steps=25)

if __name__ == "__main__":  # for longer: python -m tests.test_sync_machine 1000
    run_state_machine_as_test(SyncMachine, settings=machine_settings(examples=int(sys.argv[1]), steps=50))
