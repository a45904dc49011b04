"""What an index survives: killed processes, power cuts, disks that are full. After each, nothing is lost or wrong.

    python -m benchmarks.faults --kills 2000 [--seed N] [--json]

A round changes a folder at random, forks a process that brings an index in step with it (or embeds it anew, compacts
it, mends it ...) and kills that process at a random moment. Another process then opens what was left, asks
`Index.examine`, compares every document, passage and search with what must be there, does the same thing again to its
end and looks once more. In some rounds a copy of what was left loses power as well: the end of SQLite's log goes, pages
that were being written are torn, snapshots are old, torn or another index's. In others nothing is killed, but writing
fails: a limit on the size of files, a full file system, a failing `fsync` or rename.

Processes are forked from one that has imported everything and uses neither SQLite nor FAISS itself, with an encoder
that computes, so that a round takes a tenth of a second. The seed decides what is done, the clock what a kill hits.
"""

from __future__ import annotations

import argparse
import errno
import importlib
import itertools
import json
import os
import pkgutil
import random
import re
import resource
import select
import shutil
import signal
import sqlite3
import statistics
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any, Self, get_args
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from rag.chunking import Chunking, chunk_document
from rag.errors import IndexDamagedError, IndexNotFoundError, LoadError, UsageError
from rag.index import Index
from rag.loaders import load
from rag.plan import FileChange
from rag.retriever import Mode, Retriever
from rag.types import Chunk, Document
from rag.writer import StoreWriter
from tests.fakes import HashingEncoder, InProcessLoader

GOLDEN = Path(__file__).parents[1] / "tests" / "golden" / "format-1"  # made with the encoder 'hashing'
ENCODERS = {"hashing": (32, 64), "wider": (96, 48), "longer": (48, 64)}  # dimension, tokens: cut alike, and not
TEXTS_PER_BATCH = 4
TASKS = ("add", "update", "delete", "move", "everything", "script", "remove", "reembed", "compact") * 2 + (
    "repair", "create", "migrate"
)  # fmt: skip
_HUNG_S = 120  # after which a child that was not to be killed is taken to hang
_AT_MOST = 20  # faults after which more of them would say nothing new
_WORD = re.compile(r"qq\d+qq")  # every paragraph has one that stands nowhere else, but in its copies
_WORDS = "apple bee cow dawn elm fern goat hill iris jar kite lake moss nest oak pond quay reed sand tree".split()

State = dict[str, tuple[Document, ...]]  # by the path of the file, or by the doc_id that a script gave
Message = list[Any]  # what it is about, and then the particulars; as JSON


# Processes


class Teller:
    """A child's line to its parent: what was told has arrived, also from a process that is killed a moment later."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    def __call__(self, about: str, *particulars: object) -> None:
        os.write(self._pipe, json.dumps([about, *particulars]).encode() + b"\n")


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a child."""

    messages: list[Message]
    killed: bool  # before it was done
    seconds: float  # from its start, set-up left out

    def told(self, about: str) -> list[Message]:
        return [rest for name, *rest in self.messages if name == about]


def in_child(work: Callable[[Teller], None], *, kill_after: float | None = None) -> Ended:
    """Do something in a forked process; kill it so many seconds after it told 'start', if it has not ended by then."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reading)
            tell = Teller(writing)
            try:
                work(tell)
                tell("end")
            except BaseException:
                tell("fault", "crash", traceback.format_exc())
        finally:
            os._exit(0)
    os.close(writing)
    told, started, is_killed = b"", None, False
    begun = time.perf_counter()
    while True:
        now = time.perf_counter()
        deadline = begun + _HUNG_S if kill_after is None or started is None else started + kill_after
        if now >= deadline and not is_killed:
            os.kill(pid, signal.SIGKILL)
            is_killed = True
        if not select.select([reading], [], [], None if is_killed else deadline - now)[0]:
            continue
        if not (part := os.read(reading, 1 << 16)):
            break
        told += part
        if started is None and b'["start"]\n' in told:
            started = time.perf_counter()
    seconds = time.perf_counter() - (started or begun)
    os.close(reading)
    os.waitpid(pid, 0)
    messages = [json.loads(line) for line in told.split(b"\n")[:-1]]
    has_ended = ["end"] in messages or any(message[0] == "fault" for message in messages)
    if is_killed and not has_ended and (kill_after is None or started is None):
        messages.append(["fault", "hung", f"nothing was heard for {_HUNG_S} s"])
    return Ended(messages, is_killed and not has_ended, seconds)


class TellingEncoder(HashingEncoder):
    """Tells of each text that it is given to embed."""

    def __init__(self, name: str, tell: Teller) -> None:
        super().__init__(name=name, dim=ENCODERS[name][0], max_tokens=ENCODERS[name][1])
        self._tell = tell

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._tell("embedded", *(_digest(text) for text in texts))
        return super().encode_documents(texts)


def prepare(rng: random.Random, tell: Teller, *, isolated: bool = False) -> None:
    """Make this child's library work in small steps, and tell of each commit that no callback tells of."""
    for module in ("embedder", "ingest", "index", "reembed"):
        patch(f"rag.{module}.TEXTS_PER_BATCH", TEXTS_PER_BATCH).start()
    if not isolated:
        patch("rag.ingest.IsolatedLoader", InProcessLoader).start()
    if rng.random() < 0.5:  # a snapshot after each change
        patch("rag.snapshots._DUE_AFTER", 0).start()
        patch("rag.snapshots._DUE_SHARE", 0).start()
    _tell_after("rag.writer.StoreWriter.put_document", lambda _, document, *__, **___: tell("done", document.doc_id))
    _tell_after("rag.writer.StoreWriter.remove_documents", lambda _, sources: tell("done", *sources))
    _tell_after("rag.index.reembed", lambda *_, **__: tell("switched"))
    if rng.random() < 0.5:  # pages go from the log into the file all the time
        pages = rng.randint(1, 20)
        opened = StoreWriter.__init__

        def open_and_set(writer: StoreWriter, path: Path, **how: bool) -> None:
            opened(writer, path, **how)
            writer._db.execute(f"pragma wal_autocheckpoint = {pages}")

        patch.object(StoreWriter, "__init__", open_and_set).start()


def _tell_after(name: str, tell: Callable[..., None]) -> None:
    """Have a function, at the end of which something is committed, tell so with its own arguments."""
    original = pkgutil.resolve_name(name)

    def then_tell(*args: Any, **kwargs: Any) -> None:
        original(*args, **kwargs)
        tell(*args, **kwargs)

    patch(name, then_tell).start()


# The folder, and what an index of it must hold


class Folder:
    """A folder of documents that changes at random; every time it is written to, its words are new."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.path = path
        self._rng = rng
        self._serial = 0
        self.change("add", 15)

    def change(self, kind: str, n: int) -> None:
        """Change n files, as far as there are any."""
        for _ in range(n):
            kinds = ("add", "update", "delete", "move") if kind == "everything" else (kind,)
            how = self._rng.choice(kinds)
            if self._files() or how == "add":
                getattr(self, f"_{how}")()

    def state(self) -> State:
        """What an index of it must hold."""
        state: State = {}
        for file in self._files():
            relpath = file.relative_to(self.path).as_posix()
            with suppress(LoadError):
                documents = load(file, source=relpath).documents
                state[relpath] = tuple(sorted(documents, key=lambda document: document.doc_id))
        return state

    def names(self) -> set[str]:
        """Of all files, those without any text included."""
        return {file.relative_to(self.path).as_posix() for file in self._files()}

    def text(self) -> str:
        """Paragraphs of about one passage each; now and then more than one batch of them."""
        n = self._rng.choice((1, 1, 1, 2, 2, 3, 6, 2 * TEXTS_PER_BATCH + 1))
        return "\n\n".join(self._paragraph() for _ in range(n)) + "\n"

    def _paragraph(self) -> str:
        words = self._rng.choices(_WORDS, k=self._rng.randint(5, 45))
        return " ".join([words[0].title(), f"qq{self._next()}qq", *words[1:]]) + "."

    def _add(self) -> None:
        files = self._files()
        if files and self._rng.random() < 0.2:
            original = self._rng.choice(files)
            shutil.copy(original, self._new_name(original.suffix))
            return
        suffix = self._rng.choices((".txt", ".md", ".jsonl"), weights=(6, 2, 1))[0]
        self._write(self._new_name(suffix))

    def _update(self) -> None:
        file, how = self._rng.choice(self._files()), self._rng.random()
        if how < 0.1:
            self._date(file)  # nothing but the time
        elif how < 0.2:
            file.write_bytes(self._rng.choice((b"", b"\0\1\2\3" * 50)))  # no text any more
            self._date(file)
        elif how < 0.4:
            with file.open("a") as end:
                end.write(f"\n{self._paragraph()}\n" if file.suffix != ".jsonl" else self._line())
            self._date(file)
        else:
            self._write(file)

    def _delete(self) -> None:
        self._rng.choice(self._files()).unlink()

    def _move(self) -> None:
        file, other = (self._rng.choice(self._files()) for _ in range(2))
        how = self._rng.random()
        if how < 0.7 or file.suffix != other.suffix:
            file.rename(self._new_name(file.suffix))
        elif how < 0.85:  # swap
            beside = file.with_name(f"{self._next()}.beside")
            file.rename(beside)
            if other != file:
                other.rename(file)
            beside.rename(other)
        else:  # one takes the place of the other, which takes a new one
            taken = self._new_name(other.suffix)
            other.rename(taken)
            if file != other:
                file.rename(other)

    def _write(self, file: Path) -> None:
        if file.suffix == ".jsonl":
            file.write_text("".join(self._line() for _ in range(self._rng.randint(1, 4))))
        else:
            title = f"# {self._rng.choice(_WORDS)} {self._next()}\n\n" if file.suffix == ".md" else ""
            file.write_text(title + self.text())
        self._date(file)

    def _line(self) -> str:
        return json.dumps({"id": str(self._next()), "text": self._paragraph(), "colour": "blue"}) + "\n"

    def _date(self, file: Path) -> None:
        """Half of the files seem to be written long ago, each at another time; the others just now."""
        if self._rng.random() < 0.5:
            at = (1_700_000_000 + self._next()) * 10**9
            os.utime(file, ns=(at, at))

    def _new_name(self, suffix: str) -> Path:
        folder = self.path / self._rng.choice((".", "a", "a/b", "c"))
        folder.mkdir(parents=True, exist_ok=True)
        return folder / f"{self._rng.choice(_WORDS)}-{self._next()}{suffix}"

    def _files(self) -> list[Path]:
        return sorted(file for file in self.path.rglob("*") if file.is_file())

    def _next(self) -> int:
        self._serial += 1
        return self._serial


def renamed(before: State, after: State) -> list[tuple[str, str]]:
    """(old, new) of each text that was in one file and is in one other."""

    def by_text(state: State) -> dict[tuple[str, ...], str]:
        texts = {path: tuple(document.text for document in documents) for path, documents in state.items()}
        n = Counter(texts.values())
        return {text: path for path, text in texts.items() if n[text] == 1}

    old, new = by_text(before), by_text(after)
    return [(old[text], new[text]) for text in old.keys() & new.keys() if old[text] != new[text]]


_cut: dict[tuple[str, str, str | None, int], tuple[Chunk, ...]] = {}


def passages(document: Document, encoder: str) -> tuple[Chunk, ...]:
    """Those that an index made with one of the encoders must hold."""
    max_tokens = ENCODERS[encoder][1]
    key = document.doc_id, document.text, document.title, max_tokens
    if key not in _cut:
        count = HashingEncoder(max_tokens=max_tokens).count_tokens
        _cut[key] = tuple(chunk_document(document, chunking=Chunking(max_tokens=max_tokens), count_tokens=count))
    return _cut[key]


def all_passages(state: State, encoder: str) -> Iterator[Chunk]:
    return (chunk for documents in state.values() for document in documents for chunk in passages(document, encoder))


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


# What is done to an index


@dataclass(frozen=True)
class Task:
    """Something done to an index, from a known state to a known state. Done twice, it is as if done once."""

    name: str
    index: Path
    before: State
    after: State
    do: Callable[[Path, Teller], None]  # to the index in a folder
    encoder: str
    new_encoder: str  # another than `encoder` only where that is what changes
    moved: Sequence[tuple[str, str]] = ()  # (old, new) of what was renamed, and nothing else
    hurt: Callable[[Path], None] | None = None  # done before, so that there is something to mend


class World:
    """A folder, an index that is in step with it, and what may be done to them."""

    def __init__(self, home: Path, rng: random.Random) -> None:
        self.home = home
        self.rng = rng
        self.index = home / "index"
        (home / "docs").mkdir(parents=True)
        self.folder = Folder(home / "docs", rng)
        self.scripts: State = {}
        self.encoder = "hashing"
        self.state: State = {}  # of the index
        self.older: list[tuple[str, bytes]] = []  # snapshots of earlier rounds
        foreign = home / "foreign"
        others = [Document(f"other-{n}", self.folder.text()) for n in range(9)]
        self._in_child(lambda tell: self._ingest(self.index, tell))
        self._in_child(lambda tell: add(foreign, tell, documents=others, encoder="hashing"))
        self.foreign = next(foreign.glob("vectors-*")).read_bytes()
        self.state = self.state_of_all()
        self._names = self.folder.names()

    def state_of_all(self) -> State:
        """Of an index that is in step with the folder, and what scripts have added."""
        return {**self.folder.state(), **self.scripts}

    def task(self, name: str) -> Task:
        """Change what must be changed first, and say what is to be done then."""
        make: Callable[[], Task] = getattr(self, f"_task_{name}", partial(self._task_ingest, name))
        return make()

    def keep_snapshots(self) -> None:
        """Remember the snapshots as they are now."""
        for file in self.index.glob("vectors-*.faiss"):
            self.older = [*self.older, (file.name, file.read_bytes())][-5:]

    def _in_child(self, work: Callable[[Teller], None]) -> None:
        def prepared(tell: Teller) -> None:
            prepare(random.Random(0), tell)
            work(tell)

        ended = in_child(prepared)
        assert ["end"] in ended.messages, ended.messages

    def _ingest(self, path: Path, tell: Teller) -> None:
        ingest(path, tell, docs=self.folder.path, encoder=self.encoder)

    def _task_ingest(self, kind: str) -> Task:
        n = self.rng.randint(1, 8)
        if kind in ("add", "everything") and len(self.state) > 25:
            self.folder.change("delete", n)
        elif kind == "delete" and len(self.state) < 12:
            self.folder.change("add", n)
        self.folder.change(kind, n)
        after, names = self.state_of_all(), self.folder.names()
        moved = [(old, new) for old, new in renamed(self.state, after) if old not in names and new not in self._names]
        self._names = names
        return replace(self._of(f"ingest: {kind}", after, self._ingest), moved=moved)

    def _task_script(self) -> Task:
        documents = []
        for n in self.rng.sample(range(12), self.rng.randint(1, 7)):
            name = f"script-{n}"
            documents.append(Document(name, self.folder.text(), self.rng.choice((None, "A title")), metadata={"n": n}))
        self.scripts.update({document.doc_id: (document,) for document in documents})
        after = {**self.state, **{document.doc_id: (document,) for document in documents}}
        return self._of("add", after, partial(add, documents=documents, encoder=self.encoder))

    def _task_remove(self) -> Task:
        what = self.rng.choice(sorted(self.state))
        folders = sorted({"/".join(path.split("/")[:-1]) for path in self.state if "/" in path})
        if folders and self.rng.random() < 0.3:
            what = self.rng.choice(folders)
        after = {path: kept for path, kept in self.state.items() if path != what and not path.startswith(f"{what}/")}
        self.scripts = {name: kept for name, kept in self.scripts.items() if name in after}
        name = what if what in self.state else str(self.folder.path / what)
        return self._of("remove", after, partial(remove, name=name, encoder=self.encoder))

    def _task_reembed(self) -> Task:
        other = self.rng.choice([name for name in ENCODERS if name != self.encoder])
        return self._of("reembed", self.state, partial(reembed, encoder=other), new_encoder=other)

    def _task_compact(self) -> Task:
        return self._of("compact", self.state, partial(compact, encoder=self.encoder))

    def _task_repair(self) -> Task:
        hurt = partial(hurt_rows, rng=random.Random(self.rng.random()))
        return self._of("repair", self.state, partial(repair, encoder=self.encoder), hurt=hurt)

    def _task_create(self) -> Task:
        path = self.home / "created"
        shutil.rmtree(path, ignore_errors=True)
        after = self.folder.state()
        return Task("create", path, {}, after, self._ingest, self.encoder, self.encoder)

    def _task_migrate(self) -> Task:
        path = self.home / "golden"
        shutil.rmtree(path, ignore_errors=True)
        shutil.copytree(GOLDEN, path)
        before = golden_state()
        documents = [Document(f"script-{n}", self.folder.text()) for n in range(5)]
        after = {**before, **{document.doc_id: (document,) for document in documents}}
        do = partial(add, documents=documents, encoder="hashing")
        return Task("migrate", path, before, after, do, "hashing", "hashing")

    def _of(
        self,
        name: str,
        after: State,
        do: Callable[[Path, Teller], None],
        *,
        new_encoder: str | None = None,
        hurt: Callable[[Path], None] | None = None,
    ) -> Task:
        return Task(name, self.index, self.state, after, do, self.encoder, new_encoder or self.encoder, hurt=hurt)


def golden_state() -> State:
    """Of the index of format 1 that the tests keep."""
    with tempfile.TemporaryDirectory() as home:
        path = shutil.copytree(GOLDEN, Path(home) / "index")
        with Index.open(path) as index:
            return state_of(index)


def ingest(path: Path, tell: Teller, *, docs: Path, encoder: str) -> None:
    def on_change(change: FileChange) -> None:
        tell("done", change.path, *([change.detail] if change.kind == "moved" else []))

    with Index.open_or_create(path, encoder=TellingEncoder(encoder, tell)) as index:
        index.ingest(docs, on_change=on_change)


def add(path: Path, tell: Teller, *, documents: Sequence[Document], encoder: str) -> None:
    with Index.open_or_create(path, encoder=TellingEncoder(encoder, tell)) as index:
        index.add(documents)


def remove(path: Path, tell: Teller, *, name: str, encoder: str) -> None:
    with Index.open(path, encoder=TellingEncoder(encoder, tell)) as index:
        try:
            index.remove(name)
        except UsageError as exc:
            if "nothing in index" not in str(exc):  # it went before
                raise


def reembed(path: Path, tell: Teller, *, encoder: str) -> None:
    with Index.open(path) as index:
        index.reembed(TellingEncoder(encoder, tell))


def compact(path: Path, tell: Teller, *, encoder: str) -> None:
    with Index.open(path, encoder=TellingEncoder(encoder, tell)) as index:
        index.compact()


def repair(path: Path, tell: Teller, *, encoder: str) -> None:
    with Index.open(path, encoder=TellingEncoder(encoder, tell)) as index:
        index.examine(repair=True)


def hurt_rows(path: Path, *, rng: random.Random) -> None:
    """Break promises that can be mended from what is there."""
    ways = (
        "insert into chunks_fts (chunks_fts) values ('delete-all')",
        "delete from loose_embeddings",
        "insert or ignore into loose_embeddings select id from embeddings where id % 3 = 0",
        "update chunks set text_key = 0 where id % 4 = 0",
        "update chunks set start = start + 1 where id % 5 = 0",
        "update chunks set embedding_id = (select max(id) from embeddings) where id % 4 = 1",
        "update embeddings set vector = zeroblob(length(vector)) where id % 4 = 2",
        "delete from chunks where id % 6 = 1",
    )
    with closing(sqlite3.connect(path / "index.sqlite", isolation_level=None)) as db:
        for way in rng.sample(ways, rng.randint(1, 3)):
            with suppress(sqlite3.DatabaseError):  # a row cannot be taken out of a word index that was emptied
                db.execute(way)
    for file in path.glob("vectors-*.faiss"):
        if rng.random() < 0.5:
            os.truncate(file, rng.randrange(file.stat().st_size))


# What must hold afterwards


class Look:
    """Opens an index as a new process does, and tells of everything that is not as it must be."""

    def __init__(self, task: Task, path: Path, rng: random.Random, tell: Teller, *, power_cut: bool = False) -> None:
        """Bind an index.

        Args:
            task: what was done to it.
            path: of it, or of a copy.
            rng: says what is searched for, and in which order all is looked at.
            tell: told of faults.
            power_cut: the last of what was committed may be gone, and a snapshot may be wrong until it is mended.
        """
        self._task = task
        self._path = path
        self._rng = rng
        self._tell = tell
        self._power_cut = power_cut

    def after_fault(self, done: Sequence[Sequence[str]], *, switched: bool = False) -> None:
        """Every document is as it was or as it was to be, and what was told to be done is done.

        Args:
            done: in order, the paths that each commit was told to be about.
            switched: whether a change of encoder was told.
        """
        try:
            encoder = encoder_of(self._path)
        except (IndexNotFoundError, IndexDamagedError) as exc:
            if self._task.before or (done and not self._power_cut):
                self._fault("lost", f"all: {exc}")
            return
        must_be = {self._task.new_encoder}
        if not switched or self._power_cut:
            must_be.add(self._task.encoder)
        if encoder not in must_be:
            self._fault("space", f"the index is of {encoder!r}, not of {must_be}")
        with Index.open(self._path, encoder=TellingEncoder(encoder, self._tell)) as index:
            got = state_of(index)
            self._each_old_or_new(got)
            self._done(got, done)
            if self._task.hurt is None:
                self._whole(index, got, encoder)

    def while_full(self) -> None:
        """On a disk without room, readers are served, or told why not."""
        try:
            with Index.open(self._path, encoder=TellingEncoder(encoder_of(self._path), self._tell)) as index:
                self._each_old_or_new(state_of(index))
                Retriever(index).search("apple")
        except UsageError as exc:
            self._tell("not served", str(exc))

    def at_end(self, expected: State, encoder: str) -> None:
        """The index holds exactly what it must."""
        if (name := encoder_of(self._path)) != encoder:
            self._fault("space", f"the index is of {name!r}, not {encoder!r}, at the end")
            return
        with Index.open(self._path, encoder=TellingEncoder(encoder, self._tell)) as index:
            got = state_of(index)
            for path in sorted(expected.keys() | got.keys()):
                if got.get(path) != expected.get(path):
                    self._fault("not in step" if path in got else "lost", f"{path} at the end")
            self._whole(index, got, encoder)

    def same_as(self, afresh: Path, words: Sequence[str]) -> None:
        """It finds what another index finds, in the same order and with the same scores."""
        encoder = encoder_of(self._path)
        found = []
        for path in (self._path, afresh):
            with Index.open(path, encoder=TellingEncoder(encoder, self._tell)) as index:
                retriever = Retriever(index)
                hits = {(mode, q): retriever.search(q, k=20, mode=mode) for q in words for mode in get_args(Mode)}
                found.append({asked: [replace(hit, chunk_id=0) for hit in hits[asked]] for asked in hits})
        for asked in found[0]:
            if found[0][asked] != found[1][asked]:
                self._fault("search", f"{asked}: other hits than of an index made afresh")

    def no_traces(self) -> None:
        """No word of a text that has gone stands in any file of the index."""
        with Index.open(self._path) as index:
            words = {word for path in state_of(index).values() for d in path for word in _WORD.findall(d.text)}
        for file in self._path.rglob("*"):
            if traces := {word.decode() for word in re.findall(_WORD.pattern.encode(), file.read_bytes())} - words:
                self._fault("traces", f"{file.name} holds {sorted(traces)[:5]}, which were removed")

    def _fault(self, kind: str, words: str) -> None:
        self._tell("fault", kind, words)

    def _each_old_or_new(self, got: State) -> None:
        before, after = self._task.before, self._task.after
        for path in sorted(before.keys() | after.keys() | got.keys()):
            if got.get(path) not in (before.get(path), after.get(path)):
                self._fault("half" if path in got else "lost", f"{path} is neither as it was nor as it was to be")
        for old, new in self._task.moved:
            if (old in got) == (new in got):
                self._fault("half" if old in got else "lost", f"{old} became {new}: under one name, not both or none")

    def _done(self, got: State, done: Sequence[Sequence[str]]) -> None:
        before, after = self._task.before, self._task.after
        told = [paths for paths in done if any(before.get(path) != after.get(path) for path in paths)]
        in_force = [all(got.get(path) == after.get(path) for path in paths) for paths in told]
        if self._power_cut:
            if in_force != sorted(in_force, reverse=True):
                self._fault("no prefix", f"of {told}, in force: {in_force}")
        elif not all(in_force):
            self._fault("undone", f"of {told}, in force: {in_force}")

    def _whole(self, index: Index, got: State, encoder: str) -> None:
        """The doctor, every passage, and searches for some, in any order."""
        looks: list[Callable[[Index, State, str], None]] = [self._examined, self._cut, self._searched]
        self._rng.shuffle(looks)
        for look in looks:
            look(index, got, encoder)

    def _examined(self, index: Index, got: State, encoder: str) -> None:
        found = [check for check in index.examine().checks if not check.holds]
        if self._power_cut and [check.name for check in found] == ["snapshot"]:
            self._tell("snapshot mended")
            found = [check for check in index.examine(repair=True).checks if not check.holds]
        for check in found:
            self._fault("doctor", f"{check.name}: {'; '.join(check.faults)}")
        if left := [file.name for file in index.path.glob("*.partial")]:
            self._fault("doctor", f"left behind: {left}")

    def _cut(self, index: Index, got: State, encoder: str) -> None:
        expected = sorted((c.doc_id, c.start, c.end, c.text, c.context) for c in all_passages(got, encoder))
        with closing(sqlite3.connect(index.path / "index.sqlite")) as db:
            sql = 'select source, start, "end", c.text, context from chunks c join documents d on d.id = document_id'
            if sorted(db.execute(sql)) != expected:
                self._fault("half", "the passages are not those of the documents")

    def _searched(self, index: Index, got: State, encoder: str) -> None:
        """Passages of what has changed and of a few other documents are found where they are, and nowhere else."""
        before, after = self._task.before, self._task.after
        places: dict[str, set[tuple[str, int]]] = {}
        for chunk in all_passages(got, encoder):
            places.setdefault(chunk.text, set()).add((chunk.doc_id, chunk.start))
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        others = self._rng.sample(sorted(got), min(4, len(got)))
        is_now = list(all_passages({path: got.get(path, ()) for path in [*changed, *others]}, encoder))
        could_be = [c for s in (before, after) for c in all_passages({p: s.get(p, ()) for p in changed}, encoder)]
        gone = [chunk for chunk in could_be if chunk.text not in places]
        for chunk in self._rng.sample(is_now, min(12, len(is_now))) + self._rng.sample(gone, min(8, len(gone))):
            for word in _WORD.findall(chunk.text)[:1]:
                holders = {text: at for text, at in places.items() if word in _WORD.findall(text)}
                if (found := found_places(index, word, "bm25")) != holders:
                    self._fault("search", f"bm25 finds {word} at {found.values()}, not at {holders.values()}")
            found = found_places(index, chunk.encoded, "dense")
            if any(places.get(text) != at for text, at in found.items()) or found.get(chunk.text) != places.get(
                chunk.text
            ):
                self._fault("search", f"dense finds {chunk.text[:30]!r} at {found.get(chunk.text)}")
        with index.reading() as view:
            if view.n_vectors != sum(map(len, places.values())):
                self._fault("search", f"{view.n_vectors} vectors for {sum(map(len, places.values()))} passages")


def encoder_of(path: Path) -> str:
    with Index.open(path) as index:
        return index.status().encoder


def state_of(index: Index) -> State:
    state: State = {}
    for row in index.documents():
        path = row.source.split("#")[0]
        state[path] = (*state.get(path, ()), index.document(row.source))
    return state


def found_places(index: Index, query: str, mode: Mode) -> dict[str, set[tuple[str, int]]]:
    """Where the hits stand, by their text."""
    return {
        hit.chunk.text: {(hit.chunk.doc_id, hit.chunk.start), *((place.source, place.start) for place in hit.also_in)}
        for hit in Retriever(index).search(query, k=20, mode=mode)
    }


# What goes wrong


@dataclass(frozen=True, slots=True)
class Log:
    """SQLite's write-ahead log as a power cut meets it."""

    file: Path
    frame: int  # bytes; the file begins with 32 others
    n_frames: int  # that are committed
    n_synced: int  # frames that have reached the disk for certain, as SQLite does before it copies them

    @classmethod
    def of(cls, folder: Path) -> Self | None:
        """That of an index nobody has open; None where there is none, or nothing in it that could still be lost."""
        file, shared = folder / "index.sqlite-wal", folder / "index.sqlite-shm"
        try:
            log, index = file.read_bytes()[:32], shared.read_bytes()[:136]
        except FileNotFoundError:
            return None
        # https://www.sqlite.org/walformat.html: two copies of a header, and what was backfilled.
        if len(log) < 32 or len(index) < 136 or index[:48] != index[48:96] or log[16:24] != index[32:40]:
            return None
        (page_size,) = struct.unpack(">I", log[8:12])
        (n_frames,), (n_synced,) = struct.unpack("=I", index[16:20]), struct.unpack("=I", index[128:132])
        return cls(file, 24 + page_size, n_frames, n_synced) if n_frames else None

    def at(self, frame: int) -> int:
        """Where a frame begins, counted from 0."""
        return 32 + frame * self.frame

    def pages(self) -> set[int]:
        """The numbers of the pages, from 1, that stand in it."""
        data = self.file.read_bytes()
        return {struct.unpack_from(">I", data, self.at(i))[0] for i in range(self.n_frames)}


class PowerCut:
    """Does to the files of an index what a power cut does: whatever had not been synced may be gone, or half there."""

    def __init__(self, rng: random.Random, older: Sequence[tuple[str, bytes]], foreign: bytes) -> None:
        """Bind what it does it with.

        Args:
            rng: says what is hit.
            older: the names and bytes of snapshots of earlier.
            foreign: the snapshot of another index.
        """
        self._rng = rng
        self._older = older
        self._foreign = foreign

    def __call__(self, folder: Path) -> list[str]:
        """One thing to SQLite's files if it can be, one to the snapshots, or both; returns their names."""
        groups = [
            [("log cut", self._cut_log), ("log garbled", self._garble_log), ("pages torn", self._tear_pages)],
            [
                ("snapshot torn", self._tear_snapshot),
                ("snapshot of earlier", self._restore_snapshot),
                ("snapshot of another index", self._put_foreign_snapshot),
            ],
        ]
        done: list[str] = []
        for ways in groups:
            self._rng.shuffle(ways)
            if not done or self._rng.random() < 0.5:
                done += itertools.islice((name for name, way in ways if way(folder)), 1)
        if self._rng.random() < 0.5:
            (folder / "index.sqlite-shm").unlink(missing_ok=True)
        if self._rng.random() < 0.3:
            (folder / "vectors-7.faiss.1-1.partial").write_bytes(self._foreign[:100])
        return done

    def _cut_log(self, folder: Path) -> bool:
        log = Log.of(folder)
        if log is None or log.n_synced >= log.n_frames:
            return False
        os.truncate(log.file, self._rng.randrange(log.at(log.n_synced), log.at(log.n_frames)))
        return True

    def _garble_log(self, folder: Path) -> bool:
        log = Log.of(folder)
        if log is None or log.n_synced >= log.n_frames:
            return False
        for _ in range(self._rng.randint(1, 3)):
            _write_at(log.file, self._rng.randrange(log.at(log.n_synced), log.at(log.n_frames)), self._rng.randbytes(1))
        return True

    def _tear_pages(self, folder: Path) -> bool:
        """Half of some pages that stand in the log, as if the power had gone while they were copied from there."""
        log = Log.of(folder)
        if log is None or log.file.stat().st_size < log.at(log.n_frames):
            return False
        file, size = folder / "index.sqlite", log.frame - 24
        pages = [page for page in sorted(log.pages()) if page * size <= file.stat().st_size]
        for page in self._rng.sample(pages, min(3, len(pages))):
            _write_at(file, page * size - size // 2, self._rng.randbytes(size // 2))
        return bool(pages)

    def _tear_snapshot(self, folder: Path) -> bool:
        files = sorted(folder.glob("vectors-*.faiss"))
        for file in files:
            os.truncate(file, self._rng.randrange(file.stat().st_size))
        return bool(files)

    def _restore_snapshot(self, folder: Path) -> bool:
        if not self._older:
            return False
        for file in folder.glob("vectors-*.faiss"):
            file.unlink()
        name, data = self._rng.choice(self._older)
        (folder / name).write_bytes(data)
        return True

    def _put_foreign_snapshot(self, folder: Path) -> bool:
        files = sorted(folder.glob("vectors-*.faiss")) or [folder / f"vectors-{self._rng.randint(1, 30)}.faiss"]
        self._rng.choice(files).write_bytes(self._foreign)
        return True


def _write_at(file: Path, offset: int, data: bytes) -> None:
    with file.open("r+b") as out:
        out.seek(offset)
        out.write(data)


def limit_file_size(rng: random.Random, folder: Path) -> None:
    """No file of this process gets longer than about the largest there is: writes are short, and then fail."""
    largest = max((file.stat().st_size for file in folder.glob("*")), default=100_000)
    resource.setrlimit(resource.RLIMIT_FSIZE, (rng.randint(1000, 2 * largest), resource.RLIM_INFINITY))


def fail_once(rng: random.Random) -> None:
    """The first `fsync` or rename of a snapshot, or a later one, finds no room."""
    name, calls = rng.choice(("fsync", "replace")), rng.randint(1, 2)
    original = getattr(os, name)

    def failing(*args: Any) -> None:
        nonlocal calls
        calls -= 1
        if calls == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        original(*args)

    patch(f"rag.files.os.{name}", failing).start()


def fill_disk(folder: Path, *, leave: int) -> Path:
    """A file that takes all of the room on a file system but so many bytes."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as out, suppress(OSError):
        while out.write(bytes(1 << 16)):
            pass
    os.truncate(filler, max(filler.stat().st_size - leave, 0))
    return filler


@contextmanager
def small_file_system(folder: Path) -> Iterator[str | None]:
    """A file system of a few MB in a folder; gives the reason where that is not allowed here."""
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", "size=6m", "footnote-faults", str(folder)]
    try:
        subprocess.run(words, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as exc:
        yield f"no small file system could be made: {getattr(exc, 'stderr', '').strip() or exc}"
        return
    try:
        yield None
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


# Rounds


@dataclass
class Report:
    """What was done to an index, and what came of it."""

    seed: int
    kills: Counter[str] = field(default_factory=Counter)  # by task: while it was at it
    kills_after_commit: int = 0  # of documents or embeddings: the others came before the first, or to tasks without
    ended_before: int = 0  # of those that were to be killed
    power_cuts: Counter[str] = field(default_factory=Counter)  # by what was hit
    write_errors: Counter[str] = field(default_factory=Counter)  # by kind
    refused: int = 0  # write errors that ended the task, in words; the others cost a snapshot, or nothing
    not_served: int = 0  # readers that were told why, on a full disk
    embedded_again: int = 0  # texts, at most, after a kill or a write error
    compared_afresh: int = 0
    faults: list[dict[str, str]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def as_json(self) -> dict[str, object]:
        return {
            "seed": self.seed,
            "kills": self.kills.total(),
            "kills_by_task": dict(sorted(self.kills.items())),
            "kills_after_commit": self.kills_after_commit,
            "ended_before": self.ended_before,
            "power_cuts": dict(sorted(self.power_cuts.items())),
            "write_errors": dict(sorted(self.write_errors.items())),
            "refused": self.refused,
            "not_served": self.not_served,
            "texts_per_batch": TEXTS_PER_BATCH,
            "embedded_again": self.embedded_again,
            "compared_afresh": self.compared_afresh,
            "documents_lost": sum(fault["kind"] == "lost" for fault in self.faults),
            "faults": self.faults,
            "skipped": self.skipped,
            "seconds": round(self.seconds, 1),
        }

    def __str__(self) -> str:
        rows: list[tuple[str, object]] = [("seed", self.seed), ("kills", self.kills.total())]
        rows += [(f"  {name}", n) for name, n in sorted(self.kills.items())]
        rows += [("  after a first commit", self.kills_after_commit)]
        rows += [("ended before they were killed", self.ended_before), ("power cuts", self.power_cuts.total())]
        rows += [(f"  {name}", n) for name, n in sorted(self.power_cuts.items())]
        rows += [("write errors", self.write_errors.total())]
        rows += [(f"  {name}", n) for name, n in sorted(self.write_errors.items())]
        rows += [("  that ended the task, in words", self.refused), ("  readers told why", self.not_served)]
        rows += [(f"texts embedded again, at most (a batch is {TEXTS_PER_BATCH})", self.embedded_again)]
        rows += [("compared with an index made afresh", self.compared_afresh)]
        rows += [("documents lost", self.as_json()["documents_lost"]), ("faults found", len(self.faults))]
        rows += [("seconds", round(self.seconds, 1))]
        lines = [f"{name:<55}{n:>8}" for name, n in rows]
        lines += [f"skipped: {reason}" for reason in self.skipped]
        lines += [f"FAULT in {f['task']}, {f['what']}: {f['kind']}: {f['words']}" for f in self.faults]
        return "\n".join(lines)


class Harness:
    """Goes on until so many processes were killed."""

    def __init__(self, home: Path, *, seed: int) -> None:
        self.report = Report(seed)
        self._home = home
        self._rng = random.Random(seed)
        self._seconds: dict[str, list[float]] = {}  # that a task took, by its name
        self._worlds = 0
        self._world = self._new_world()

    def run(self, *, kills: int) -> Report:
        started = time.perf_counter()
        names: list[str] = []
        with small_file_system(self._home / "small") as reason:
            if reason:
                self.report.skipped.append(reason)
            for n in itertools.count():
                if self.report.kills.total() >= kills or len(self.report.faults) >= _AT_MOST:
                    break
                if not names:
                    names = self._rng.sample(TASKS, len(TASKS))
                n_faults = len(self.report.faults)
                self._round(names.pop(), n, has_small=reason is None)
                if len(self.report.faults) > n_faults:  # what follows would find the same again
                    self._world = self._new_world()
                if n % 200 == 199:
                    print(f"{self.report.kills.total()} of {kills} kills", file=sys.stderr)
        self.report.seconds = time.perf_counter() - started
        return self.report

    def _new_world(self) -> World:
        self._worlds += 1
        return World(self._home / f"world-{self._worlds}", self._rng)

    def _round(self, name: str, n: int, *, has_small: bool) -> None:
        world = self._world
        world.keep_snapshots()
        task = world.task(name)
        if (hurt := task.hurt) is not None:
            self._faults(task, "before", in_child(lambda tell: hurt(task.index)))
        if n % 6 == 5 and task.index.exists():
            kinds = ["file size limit", "no room to sync or rename", *(["full file system"] if has_small else [])]
            kind = kinds[n // 6 % len(kinds)]
            self.report.write_errors[kind] += 1
            if kind != "full file system":
                self._aftermath(task, kind, self._write_error(task, kind))
                return
            self._full_disk(task)
        ended = self._kill(task, isolated=n % 25 == 24)
        if ended.killed and task.index.exists() and self._rng.random() < 0.4:
            copy = shutil.copytree(task.index, self._home / "copy")
            cut = PowerCut(random.Random(self._rng.random()), world.older, world.foreign)(copy)
            if cut:
                self.report.power_cuts.update(cut)
                self._aftermath(task, f"power cut: {', '.join(cut)}", ended, copy=copy, power_cut=True)
            shutil.rmtree(copy)
        self._aftermath(task, "kill" if ended.killed else "end", ended)

    def _kill(self, task: Task, *, isolated: bool) -> Ended:
        """Run a task and kill it, uniformly over the time that it takes; the first of each kind is let be."""
        seed, name = self._rng.random(), f"{task.name}, isolated" if isolated else task.name

        def work(tell: Teller) -> None:
            prepare(random.Random(seed), tell, isolated=isolated)
            tell("start")
            task.do(task.index, tell)

        times = self._seconds.setdefault(name, [])
        kill_after = None
        if times:
            kill_after = 0 if self._rng.random() < 0.04 else self._rng.uniform(0, statistics.median(times))
        ended = in_child(work, kill_after=kill_after)
        if ended.killed:
            self.report.kills[task.name] += 1
            self.report.kills_after_commit += bool(ended.told("done") or ended.told("embedded"))
        else:
            times.append(ended.seconds)
            self.report.ended_before += kill_after is not None
        return ended

    def _write_error(self, task: Task, kind: str, path: Path | None = None) -> Ended:
        seed, path = self._rng.random(), path or task.index

        def work(tell: Teller) -> None:
            rng = random.Random(seed)
            prepare(rng, tell)
            if kind == "file size limit":
                limit_file_size(rng, path)
            elif kind == "no room to sync or rename":
                fail_once(rng)
            try:
                task.do(path, tell)
            except UsageError as exc:
                if not re.search("make room|cannot write", str(exc)):
                    raise
                tell("refused", str(exc))

        ended = in_child(work)
        self.report.refused += bool(ended.told("refused"))
        return ended

    def _full_disk(self, task: Task) -> None:
        copy = shutil.copytree(task.index, self._home / "small" / "index")
        filler = fill_disk(copy.parent, leave=self._rng.randrange(2 * sum(f.stat().st_size for f in copy.iterdir())))
        ended = self._write_error(task, "full file system", copy)
        served = in_child(lambda tell: Look(task, copy, random.Random(0), tell).while_full())
        self.report.not_served += bool(served.told("not served"))
        self._faults(task, "readers on a full disk", served)
        filler.unlink()
        self._aftermath(task, "full disk", ended, copy=copy)
        shutil.rmtree(copy)

    def _aftermath(
        self, task: Task, what: str, ended: Ended, *, copy: Path | None = None, power_cut: bool = False
    ) -> None:
        """Another process looks at what was left, does the task again to its end, and looks again."""
        world, path, seed = self._world, copy or task.index, self._rng.random()
        goal = world.state_of_all() if task.index == world.index else task.after
        gives_up = task.name == "reembed" and self._rng.random() < 0.2
        afresh = self._home / "afresh" if self._rng.random() < 0.2 and task.index == world.index else None
        for state in (task.before, task.after, goal):
            for encoder in {task.encoder, task.new_encoder}:
                list(all_passages(state, encoder))  # kept for the child

        def work(tell: Teller) -> None:
            rng = random.Random(seed)
            prepare(rng, tell)
            look = Look(task, path, rng, tell, power_cut=power_cut)
            look.after_fault(ended.told("done"), switched=bool(ended.told("switched")))
            tell("again")
            if gives_up:
                encoder = encoder_of(path)
            else:
                task.do(path, tell)
                encoder = task.new_encoder
            tell("did again")
            look = Look(task, path, rng, tell)
            look.at_end(task.after, encoder)
            if task.name == "compact":
                look.no_traces()
            if goal != task.after or task.hurt is not None:  # files whose text was in doubt are read again
                ingest(path, tell, docs=world.folder.path, encoder=encoder)
                look.at_end(goal, encoder)
            if afresh:
                ingest(afresh, tell, docs=world.folder.path, encoder=encoder)
                add(afresh, tell, documents=[d for name in world.scripts for d in world.scripts[name]], encoder=encoder)
                words = [*rng.sample(_WORDS, 5), *rng.sample(sorted(_words_of(goal)), 5)]
                look.same_as(afresh, [*words, " ".join(words[:3]), " ".join(words[-3:])])
                tell("compared")
            tell("encoder", encoder)

        after = in_child(work)
        self._faults(task, what, ended)
        self._faults(task, what, after)
        if afresh:
            shutil.rmtree(afresh, ignore_errors=True)
            self.report.compared_afresh += bool(after.told("compared"))
        if not power_cut and not gives_up and task.hurt is None:
            self._embedded(task, what, ended, after)
        if path == world.index and after.told("encoder"):
            world.state, world.encoder = goal, str(after.told("encoder")[0][0])

    def _embedded(self, task: Task, what: str, ended: Ended, after: Ended) -> None:
        """What was embedded before is not again; of what was new, one batch at most."""
        since = after.messages.index(["again"]) if ["again"] in after.messages else 0
        upto = after.messages.index(["did again"]) if ["did again"] in after.messages else None
        messages = [*ended.messages, *after.messages[since:upto]]
        given = [text for name, *texts in messages if name == "embedded" for text in texts]
        again = len(given) - len(set(given))
        self.report.embedded_again = max(self.report.embedded_again, again)
        if again > TEXTS_PER_BATCH:
            self._fault(task, what, "embedded again", f"{again} texts, where a batch is {TEXTS_PER_BATCH}")
        if task.encoder == task.new_encoder:
            known = {_digest(chunk.encoded) for chunk in all_passages(task.before, task.encoder)}
            if known & set(given):
                self._fault(task, what, "embedded again", f"{len(known & set(given))} texts that were known")

    def _faults(self, task: Task, what: str, ended: Ended) -> None:
        for kind, words in ended.told("fault"):
            self._fault(task, what, str(kind), str(words))

    def _fault(self, task: Task, what: str, kind: str, words: str) -> None:
        self.report.faults.append({"task": task.name, "what": what, "kind": kind, "words": words})


def _words_of(state: State) -> set[str]:
    return {word for documents in state.values() for d in documents for word in _WORD.findall(d.text)}


def _begin_anew() -> None:
    """Become a process that may fork: of a single thread, everything imported; and one that may mount, where it can."""
    if (threads := {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}).items() - os.environ.items():
        command = [sys.executable, *sys.orig_argv[1:]]
        with suppress(OSError, subprocess.CalledProcessError):
            subprocess.run(["unshare", "-rm", "true"], check=True, capture_output=True)
            command = ["unshare", "-rm", *command]
        os.execvpe(command[0], command, {**os.environ, **threads})
    sys.modules["pandas"] = None  # type: ignore[assignment]  # sqlite-utils takes it along, and with it a thread
    for module in ("faiss", "filelock", "rag.migrations"):
        importlib.import_module(module)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=2000, help="of processes that were at work (default 2000)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of what is done to the folder")
    parser.add_argument("--json", action="store_true", help="one object instead of a table")
    arguments = parser.parse_args()
    if not hasattr(os, "fork"):
        sys.exit("this system cannot fork processes")
    _begin_anew()
    # In memory where there is such a folder: a process that is killed leaves the same there, and sooner.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="footnote-faults-", dir=memory) as home:
        report = Harness(Path(home), seed=arguments.seed).run(kills=arguments.kills)
    print(json.dumps(report.as_json()) if arguments.json else report)
    sys.exit(bool(report.faults))


if __name__ == "__main__":
    main()
