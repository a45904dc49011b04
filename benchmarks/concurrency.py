"""Many at once: two writers change an index all the time, eight readers check whatever they are shown of it.

python -m benchmarks.concurrency --seconds 180 [--json]

Four readers are processes of their own; four are threads that share one index, in a process where a fifth thread
ingests a folder of its own into that same index. The other writer, a process, edits, adds, renames and deletes files,
takes documents out by hand, compacts the index and changes its encoder. What each file holds is known for each of its
states, and every passage names the state that it is of: so a reader can tell a half state, a stale one, or one that is
older than what it has seen before. The encoder counts words (tests/fakes.py): what is measured is the index.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import statistics
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray

from rag.errors import UsageError
from rag.index import Index
from rag.ingest import IngestReport
from rag.pipeline import Pipeline
from rag.retriever import Mode, Retriever
from rag.types import Chunk, Hit
from rag.view import View
from tests.fakes import HashingEncoder

ENCODERS = [HashingEncoder(name="one"), HashingEncoder(name="two", dim=192, max_tokens=48)]
MODES: tuple[Mode, ...] = ("dense", "bm25", "hybrid")
SUFFIXES = (".txt", ".md", ".jsonl")
PROCESSES = 4  # that read
THREADS = 4  # that read, sharing one index
OWN = 8  # files of the writer that shares it with them
KINDS = {"error": "errors", "half state": "half states", "stale": "stale states", "back in time": "steps back in time"}

_MARK = re.compile(r"slot(\d+) version(\d+)")
_PROBLEMS_SHOWN = 20
_LOOKS_A_ROUND = 4  # of each reader, where rounds are counted: then it lets the writers go on
_PATIENCE_S = 120.0  # for the others to begin


@dataclass(frozen=True, slots=True)
class Options:
    """How long, and how much."""

    seconds: float = 180.0  # of changing, after a third as much of rest; of no account where `rounds` is above 0
    rounds: int = 0  # of the process that writes; the thread does a quarter as many
    documents: int = 200
    pause_ms: float = 200.0  # of a reader, between two searches


# What stands in the files


class State(NamedTuple):
    """One file at one moment."""

    place: str | None  # relative to its folder; None while the index is not to hold it
    version: int


class Step(NamedTuple):
    """What is done to a file to take it to its next state."""

    what: Literal["add", "edit", "rename", "delete", "forget"]
    state: State


class History:
    """All states of one file, in order: the same in every process."""

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.suffix = SUFFIXES[slot % len(SUFFIXES)]
        self._random = random.Random(slot)
        self._steps = [Step("add", State(self._place(), 1))]

    def step(self, n: int) -> Step:
        while len(self._steps) <= n:
            self._steps.append(self._next())
        return self._steps[n]

    def state(self, n: int) -> State:
        return self.step(n).state

    def _next(self) -> Step:
        what, (place, version) = self._steps[-1]
        if what == "forget":  # the file is there all the while, and the next ingest reads it again
            return Step("add", next(s.state for s in reversed(self._steps) if s.state.place))
        if place is None:
            return Step("add", State(self._place(), version + 1))
        chosen = self._random.choices(["edit", "rename", "delete", "forget"], [12, 4, 3, 1])[0]
        if chosen == "edit":
            return Step("edit", State(place, version + 1))
        if chosen == "rename":
            return Step("rename", State(self._place(besides=place), version))
        return Step("delete" if chosen == "delete" else "forget", State(None, version))

    def _place(self, besides: str = "") -> str:
        while True:
            place = f"folder{self._random.randrange(4)}/slot{self.slot}-{self._random.randrange(100)}{self.suffix}"
            if place != besides:
                return place


@cache
def history(slot: int) -> History:
    return History(slot)


def parts(slot: int, version: int) -> list[str]:
    """Two to five paragraphs, each of about a passage's length, each sentence marked."""
    chosen = random.Random(f"{slot} {version}")
    words = "honey bees trees apples milk cows paper nests rivers stones winter summer".split()
    return [
        " ".join(
            f"Honey slot{slot} version{version} part{n} {' '.join(chosen.choices(words, k=5))}."
            for _ in range(chosen.randrange(2, 5))
        )
        for n in range(2 + (slot + version) % 4)
    ]


@cache
def documents_in(slot: int, version: int) -> dict[str, str]:
    """The text of each document in a file, by what follows the path in its source."""
    paragraphs = parts(slot, version)
    match history(slot).suffix:
        case ".jsonl":
            return {f"#line{n}": paragraph for n, paragraph in enumerate(paragraphs)}
        case ".md":
            return {"": "\n\n".join(f"## Heading {n}\n\n{paragraph}" for n, paragraph in enumerate(paragraphs))}
        case _:
            return {"": "\n\n".join(paragraphs)}


def content(slot: int, version: int) -> str:
    found = documents_in(slot, version)
    if history(slot).suffix == ".jsonl":
        return "\n".join(json.dumps({"id": line[1:], "text": text}) for line, text in found.items())
    return found[""]


# What the processes share


@dataclass(frozen=True, slots=True)
class Shared:
    """Which state of each file the index must have reached by now, and which it can have reached at most."""

    folder: Path
    options: Options
    begun: Any  # an array of integers, by slot: raised before the change
    committed: Any  # by slot: raised after it
    start: Any  # a barrier: the writers begin, and the readers count from here as during ingest
    writing: Any  # how many writers are at work still
    over: Any  # an event: no writer is

    @property
    def slots(self) -> range:
        return range(self.options.documents + OWN)

    @property
    def is_own(self) -> Callable[[int], bool]:
        """Whether the thread writes the file of a slot."""
        return lambda slot: slot >= self.options.documents

    def root(self, slot: int) -> Path:
        return self.folder / ("own" if self.is_own(slot) else "docs")

    def open(self) -> Index:
        return Index.open(self.folder / "index", wait_s=float("inf"))

    def has_time(self, started: float, n_rounds: int, *, share: float = 1.0) -> bool:
        """Whether to go on, for a part that gets this share of it all."""
        if self.options.rounds:
            return n_rounds < max(round(self.options.rounds * share), 1)
        return time.perf_counter() - started < self.options.seconds * share


@contextmanager
def fakes() -> Iterator[None]:
    """The encoders that count words, and a snapshot after every ingest."""
    by_name = {encoder.name: encoder for encoder in ENCODERS}
    with ExitStack() as patches:
        for name, value in {
            "rag.index.load_encoder": lambda name, **_: by_name[name],
            "rag.pipeline.load_encoder": lambda: HashingEncoder(max_tokens=256),
            "rag.snapshots._DUE_AFTER": 0,
            "rag.snapshots._DUE_SHARE": 0,
        }.items():
            patches.enter_context(patch(name, value))
        yield


# Writing


class Writer:
    """Takes files from state to state, and the index after them."""

    def __init__(self, shared: Shared, index: Index, slots: Sequence[int], *, seed: int) -> None:
        self.shared = shared
        self.index = index
        self.slots = slots
        self.root = shared.root(slots[0])
        self.random = random.Random(seed)
        self.forgotten: set[int] = set()
        self.done: Counter[str] = Counter()

    def begin(self) -> None:
        """The first state of every file."""
        for slot in self.slots:
            self._to_disk(slot, history(slot).step(0), State(None, 0))
        self._ingest()

    def round(self, n: int) -> None:
        """A few files change, and an ingest follows; now and then the whole index is worked on."""
        chosen = set(self.random.sample(self.slots, k=self.random.randint(1, 4))) - self.forgotten
        steps = {slot: history(slot).step(self.shared.begun[slot] + 1) for slot in chosen | self.forgotten}
        by_hand = {slot for slot in chosen if steps[slot].what == "forget"}
        for slot in steps.keys() - by_hand:
            self._to_disk(slot, steps[slot], history(slot).state(self.shared.begun[slot]))
            self.shared.begun[slot] += 1
        self._ingest()
        self._commit(steps.keys() - by_hand)
        for slot in by_hand:
            place = history(slot).state(self.shared.begun[slot]).place
            assert place is not None
            self.shared.begun[slot] += 1
            self.index.remove(self.root / place)
            self._commit([slot])
        self.forgotten = by_hand
        self.done.update(step.what for step in steps.values())

    def work_on_the_whole(self, n: int) -> None:
        if n % 10 == 4:
            self.done["compact"] += self.index.compact().is_clean or 1
        if n % 10 == 9:
            self.index.reembed(next(encoder for encoder in ENCODERS if encoder.space != self.index.encoder.space))
            self.done["reembed"] += 1

    def _ingest(self) -> IngestReport:
        report = self.index.ingest(self.root)
        assert not report.set_aside, report.set_aside
        self.done["ingest"] += 1
        return report

    def _commit(self, slots: Sequence[int] | set[int]) -> None:
        for slot in slots:
            self.shared.committed[slot] = self.shared.begun[slot]

    def _to_disk(self, slot: int, step: Step, before: State) -> None:
        old = self.root / before.place if before.place else None
        new = self.root / step.state.place if step.state.place else None
        if step.what == "delete":
            assert old
            old.unlink()
        elif step.what == "rename":
            assert old
            assert new
            new.parent.mkdir(parents=True, exist_ok=True)
            old.rename(new)
        elif new:
            new.parent.mkdir(parents=True, exist_ok=True)
            new.write_text(content(slot, step.state.version), encoding="utf-8")


def write(shared: Shared, writer: Writer, *, share: float) -> None:
    """Until the time is up; the last of the writers says so to the readers."""
    shared.start.wait(_PATIENCE_S)
    started, n = time.perf_counter(), 0
    try:
        while shared.has_time(started, n, share=share if shared.options.rounds else 1.0):
            writer.round(n)
            if not shared.is_own(writer.slots[0]):
                writer.work_on_the_whole(n)
            n += 1
    finally:
        with shared.writing.get_lock():
            shared.writing.value -= 1
            if not shared.writing.value:
                shared.over.set()


# Reading


@dataclass(slots=True)
class Findings:
    """What one reader saw."""

    problems: list[tuple[str, str]] = field(default_factory=list)  # (one of KINDS, in words)
    did: Counter[str] = field(default_factory=Counter)
    idle_ms: list[float] = field(default_factory=list)  # of each search
    busy_ms: list[float] = field(default_factory=list)


class All(NamedTuple):
    """All that a reader can know, in one transaction."""

    change: int
    encoder: HashingEncoder
    query: NDArray[np.float32]
    dense: dict[int, float]
    words: set[int]
    chunks: dict[int, Chunk]
    n_chunks: int
    n_vectors: int
    rows: dict[str, int]
    texts: dict[str, str]


class Reader:
    """Looks at an index in every way there is, and does not believe it."""

    def __init__(self, shared: Shared, index: Index, *, seed: int, is_alone: bool) -> None:
        self.shared = shared
        self.index = index
        self.random = random.Random(seed)
        self.is_alone = is_alone  # nobody else uses the index
        self.findings = Findings()
        self.reached = [0] * len(shared.slots)  # the state of each file that was seen
        self.change = 0
        self.vectors: dict[tuple[str, str], NDArray[np.float32]] = {}

    def run(self) -> None:
        started, n = time.perf_counter(), 0
        while self.shared.has_time(started, n, share=1 / 3):
            self.look(self.findings.idle_ms)
            n += 1
        self.shared.start.wait(_PATIENCE_S)
        n = 0
        while not self.shared.over.is_set() and not n >= _LOOKS_A_ROUND * self.shared.options.rounds > 0:
            self.look(self.findings.busy_ms)
            n += 1
        self.shared.over.wait()
        self.view()  # what stands at the end: nothing is under way any more, so each file has one state

    def look(self, times: list[float]) -> None:
        """One search, and one thing more."""
        if self.shared.options.pause_ms and not self.shared.options.rounds:
            time.sleep(self.shared.options.pause_ms / 1000)
        try:
            self.search(times)
            self.random.choices([self.view, self.read, self.ask, self.open_afresh, self.list], [8, 4, 2, 1, 1])[0]()
        except Exception:
            self.problem("error", traceback.format_exc(limit=-6))

    def problem(self, kind: str, words: str) -> None:
        self.findings.problems.append((kind, words))

    def search(self, times: list[float]) -> list[Hit]:
        before, mode = list(self.shared.committed), self.random.choice(MODES)
        slot = self.random.choice(self.shared.slots)
        query = f"slot{slot} honey {self.random.choice(['part1', 'milk', 'winter'])}"
        started = time.perf_counter()
        hits = Retriever(self.index).search(query, k=10, mode=mode)
        times.append((time.perf_counter() - started) * 1000)
        after = list(self.shared.begun)
        seen: dict[int, set[State]] = {}
        for hit in hits:
            self.passage(hit.chunk, seen)
        for found, states in seen.items():
            if len(states) > 1:
                self.problem("half state", f"{mode}: slot {found} is found in the states {states}")
            self.placed(found, states.pop(), before, after, what=f"{mode} search")
        self.findings.did["searches"] += 1
        return hits

    def passage(self, chunk: Chunk, seen: dict[int, set[State]]) -> None:
        """One passage: of one version, and where it says that it stands."""
        marks = {(int(slot), int(version)) for slot, version in _MARK.findall(chunk.text)}
        if len(marks) != 1:
            self.problem("half state", f"a passage of {chunk.doc_id} has the marks {marks}")
            return
        ((slot, version),) = marks
        place, hash_, line = chunk.doc_id.partition("#")
        text = documents_in(slot, version).get(hash_ + line, "")
        if text[chunk.start : chunk.end] != chunk.text:
            self.problem("half state", f"a passage of {chunk.doc_id} is not its document's text, version {version}")
        seen.setdefault(slot, set()).add(State(place, version))

    def placed(self, slot: int, state: State | None, before: Sequence[int], after: Sequence[int], *, what: str) -> None:
        """Was that a state that the file had, in this time? None is one in which the index does not hold it."""
        fits = [n for n in range(before[slot], after[slot] + 1) if _is(history(slot).state(n), state)]
        ahead = [n for n in fits if n >= self.reached[slot]]
        if ahead:
            self.reached[slot] = ahead[0]
        elif fits:
            self.problem(
                "back in time", f"{what}: slot {slot} is {state}, and was in state {self.reached[slot]} before"
            )
        else:
            states = [history(slot).state(n) for n in range(before[slot], after[slot] + 1)]
            self.problem("stale", f"{what}: slot {slot} is {state}, and must be one of {states}")

    def view(self) -> None:
        self.view_of(self.index)

    def view_of(self, index: Index) -> None:
        before = list(self.shared.committed)
        with index.reading() as view:
            all_ = self.all_of(view)
        after = list(self.shared.begun)
        if all_.change < self.change:
            self.problem("back in time", f"change {all_.change} after {self.change}")
        self.change = all_.change
        states = self.states_in(all_)
        for slot in self.shared.slots:
            own: list[State | None] = [*states.get(slot, ())] or [None]
            if len(own) > 1:
                self.problem("half state", f"slot {slot} is there in the states {own}")
            self.placed(slot, own[0], before, after, what="view")
        self.findings.did["views"] += 1

    def all_of(self, view: View) -> All:
        encoder = next(encoder for encoder in ENCODERS if encoder.space == view.space)
        query = encoder.encode_queries([f"honey slot{self.random.choice(self.shared.slots)} winter"])[0]
        dense, n = view.dense(query, k=view.n_vectors + 1), view.store.n_chunks()
        rows = {row.source: row.n_chunks for row in view.store.documents()}
        return All(
            change=view.store.last_change()[0],
            encoder=encoder,
            query=query,
            dense=dense,
            words=set(view.store.bm25(["honey"], k=n + 1)),
            chunks=view.store.chunks(dense),
            n_chunks=n,
            n_vectors=view.n_vectors,
            rows=rows,
            texts={source: document.text for source in rows if (document := view.store.document(source))},
        )

    def states_in(self, all_: All) -> dict[int, set[State]]:
        """Of each file that is there; each must be whole."""
        if not all_.n_chunks == len(all_.chunks) == len(all_.dense) == all_.n_vectors:
            counts = f"{all_.n_chunks} chunks, {len(all_.chunks)} of {len(all_.dense)} found"
            self.problem("half state", f"{counts}, {all_.n_vectors} vectors")
        if all_.words != all_.chunks.keys():
            self.problem("half state", "BM25 knows other passages than there are")
        for i, chunk in all_.chunks.items():
            if abs(all_.dense[i] - float(self.vector(all_.encoder, chunk.encoded) @ all_.query)) > 0.01:
                self.problem("half state", f"a passage of {chunk.doc_id} has the vector of another text")
        states: dict[int, set[State]] = {}
        chunks: dict[str, list[Chunk]] = {}
        for chunk in all_.chunks.values():
            self.passage(chunk, states)
            chunks.setdefault(chunk.doc_id, []).append(chunk)
        if all_.rows != {source: len(own) for source, own in chunks.items()}:
            self.problem("half state", "documents, and the documents of the passages, are not the same")
        should_be = {
            f"{place}{line}": text
            for slot, own in states.items()
            for place, version in own
            for line, text in documents_in(slot, version).items()
        }
        if all_.texts != should_be:
            differ = sorted(dict(all_.texts.items() ^ should_be.items()))
            self.problem("half state", f"{differ[:3]} are not as the versions of their passages have them")
        for source, text in all_.texts.items():
            own = sorted(chunks.get(source, []), key=lambda chunk: chunk.start)
            if not _covers(text, own):
                self.problem("half state", f"{source} lacks a passage")
        return states

    def vector(self, encoder: HashingEncoder, text: str) -> NDArray[np.float32]:
        key = encoder.space, text
        if key not in self.vectors:
            if len(self.vectors) > 50_000:
                self.vectors.clear()
            self.vectors[key] = encoder.encode_queries([text])[0]
        return self.vectors[key]

    def read(self) -> None:
        """A document that a search has found, unless it has gone since."""
        for hit in self.search([])[:3]:
            before, source = list(self.shared.committed), hit.chunk.doc_id
            try:
                text: str | None = self.index.document(source).text
            except UsageError:
                text = None
            after, (place, _, line) = list(self.shared.begun), source.partition("#")
            marks = _MARK.search(hit.chunk.text)
            assert marks
            slot = int(marks[1])
            states = [history(slot).state(n) for n in range(before[slot], after[slot] + 1)]
            texts = [
                documents_in(slot, state.version).get(f"#{line}" if line else "") if state.place == place else None
                for state in states
            ]
            if text not in texts:
                self.problem("stale", f"{source} is {text!r}, and should be as in one of {states}")
            self.findings.did["documents read"] += 1

    def ask(self) -> None:
        """An answer, whose every footnote is a span of a state of its document."""
        before = list(self.shared.committed)
        answer = Pipeline(Retriever(self.index), min_confidence=0).ask(
            f"Where is honey of slot{self.random.choice(self.shared.slots)} part1?"
        )
        after = list(self.shared.begun)
        if answer.abstained or not answer.citations:
            self.problem("error", f"no answer to {answer.question!r}")
        for citation in answer.citations:
            marks = _MARK.search(citation.quote)
            assert marks
            slot, version = int(marks[1]), int(marks[2])
            place, hash_, line = citation.source.partition("#")
            if documents_in(slot, version)[hash_ + line][citation.start : citation.end] != citation.quote:
                self.problem("half state", f"a citation is not the text of {citation.source}, version {version}")
            self.placed(slot, State(place, version), before, after, what="citation")
        self.findings.did["answers"] += 1

    def open_afresh(self) -> None:
        """As another process would find it; who does not share the index goes on with the new one."""
        fresh = self.shared.open()
        self.view_of(fresh)
        self.findings.did["opened afresh"] += 1
        old, self.index = (self.index, fresh) if self.is_alone else (fresh, self.index)
        old.close()

    def list(self) -> None:
        """What `rag list` and `rag status` show."""
        self.index.documents()
        self.index.term_weights(["honey"])
        self.index.status()
        self.findings.did["lists"] += 1


def _is(state: State, seen: State | None) -> bool:
    return state.place is None if seen is None else state == seen


def _covers(text: str, chunks: Sequence[Chunk]) -> bool:
    """Whether the chunks hold all of a text but its headings and white space."""
    body = re.sub(r"^## .*", "", text, flags=re.MULTILINE)
    return "".join("".join(chunk.text for chunk in chunks).split()) == "".join(body.split())


# The processes


def writing_process(shared: Shared) -> None:
    with fakes(), shared.open() as index:
        writer = Writer(shared, index, range(shared.options.documents), seed=0)
        try:
            write(shared, writer, share=1.0)
            _report(shared, "writer", Findings(did=writer.done))
        except Exception:
            _report(shared, "writer", Findings([("error", traceback.format_exc())]))


def reading_process(shared: Shared, number: int) -> None:
    with fakes():
        reader = Reader(shared, shared.open(), seed=number, is_alone=True)
        _run(shared, f"process-{number}", reader)
        reader.index.close()


def sharing_process(shared: Shared) -> None:
    """Readers that share an index, and one that writes to it."""
    with fakes(), shared.open() as index:
        writer = Writer(shared, index, shared.slots[shared.options.documents :], seed=1)

        def run() -> None:
            try:
                write(shared, writer, share=1 / 4)
                _report(shared, "writer-thread", Findings(did=writer.done))
            except Exception:
                _report(shared, "writer-thread", Findings([("error", traceback.format_exc())]))

        threads = [threading.Thread(target=run)]
        for number in range(THREADS):
            reader = Reader(shared, index, seed=100 + number, is_alone=False)
            threads.append(threading.Thread(target=_run, args=[shared, f"thread-{number}", reader]))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def _run(shared: Shared, name: str, reader: Reader) -> None:
    try:
        reader.run()
    except Exception:
        reader.problem("error", traceback.format_exc())
    _report(shared, name, reader.findings)


def _report(shared: Shared, name: str, findings: Findings) -> None:
    (shared.folder / "findings" / f"{name}.json").write_text(
        json.dumps({f.name: getattr(findings, f.name) for f in fields(findings)})
    )


def measure(options: Options, folder: Path) -> dict[str, Any]:
    """Run it all in an empty folder; returns what is printed."""
    context = multiprocessing.get_context("forkserver")  # not on Windows
    context.set_forkserver_preload(["faiss", "rag.index", "rag.pipeline", "tests.fakes"])
    n = options.documents + OWN
    shared = Shared(
        folder,
        options,
        context.RawArray("q", n),
        context.RawArray("q", n),
        context.Barrier(PROCESSES + THREADS + 2),
        context.Value("i", 2),
        context.Event(),
    )
    (folder / "findings").mkdir()
    with fakes(), Index.create(folder / "index", encoder=ENCODERS[0]) as index:
        for slots in (shared.slots[: options.documents], shared.slots[options.documents :]):
            Writer(shared, index, slots, seed=0).begin()
        with index.reading() as view:
            first = view.store.last_change()[0]
        status = index.status()
    processes = [context.Process(target=reading_process, args=[shared, n], daemon=True) for n in range(PROCESSES)]
    processes += [
        context.Process(target=work, args=[shared], daemon=True) for work in (sharing_process, writing_process)
    ]
    started = time.perf_counter()
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    seconds = time.perf_counter() - started
    with fakes(), shared.open() as index:
        with index.reading() as view:
            commits = view.store.last_change()[0] - first
        faults = [f"{check.name}: {fault}" for check in index.examine().checks for fault in check.faults]
    found = {file.stem: json.loads(file.read_text()) for file in sorted((folder / "findings").iterdir())}
    problems: list[tuple[str, str]] = [(kind, words) for one in found.values() for kind, words in one["problems"]]
    problems += [("error", f"{p.name} ended with {p.exitcode}") for p in processes if p.exitcode]
    problems += [("half state", fault) for fault in faults]
    did: Counter[str] = Counter()
    for name, one in found.items():
        did.update({f"writers: {what}" if name.startswith("writer") else what: n for what, n in one["did"].items()})
    return {
        "machine": f"{os.cpu_count()} cores, Python {sys.version.split()[0]}, {sys.platform}",
        "options": asdict(options),
        "seconds": round(seconds, 1),
        "documents, chunks at the start": [status.documents, status.chunks],
        "commits": commits,
        **{name: sum(kind == one for one, _ in problems) for kind, name in KINDS.items()},
        "did": dict(sorted(did.items())),
        "latency": {
            f"{who}, {phase}": _spread([ms for name, one in found.items() if name.startswith(who) for ms in one[key]])
            for who in ("process", "thread")
            for phase, key in (("idle", "idle_ms"), ("during ingest", "busy_ms"))
        },
        "problems": [f"{kind}: {words}" for kind, words in problems[:_PROBLEMS_SHOWN]],
    }


def _spread(times: list[float]) -> dict[str, float]:
    if len(times) < 2:
        return {"searches": len(times)}
    hundredths = statistics.quantiles(times, n=100, method="inclusive")
    return {"searches": len(times), "p50 ms": round(hundredths[49], 2), "p95 ms": round(hundredths[94], 2)}


def show(found: dict[str, Any]) -> None:
    for name, value in found.items():
        if isinstance(value, dict):
            print(f"{name}:")
            for key, one in value.items():
                print(f"  {key}: {one}")
        else:
            print(f"{name}: {value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=180.0, help="of changing")
    parser.add_argument("--rounds", type=int, default=0, help="of changes, in place of seconds")
    parser.add_argument("--documents", type=int, default=200)
    parser.add_argument("--pause-ms", type=float, default=200.0, help="of a reader, between two searches")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    options = Options(given.seconds, given.rounds, given.documents, given.pause_ms)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(options, Path(folder))
    if given.json:
        print(json.dumps(found, indent=2))
    else:
        show(found)
    sys.exit(1 if any(found[name] for name in KINDS.values()) else 0)


if __name__ == "__main__":
    main()
