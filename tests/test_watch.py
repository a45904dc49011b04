"""Watching a folder: edits reach the index by themselves, through an ordinary ingest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from threading import Event, Thread

import pytest

from rag.errors import RagError, UsageError
from rag.index import Index
from rag.ingest import IngestReport
from rag.plan import FileChange
from rag.watch import Watched, watch
from tests.fakes import HashingEncoder

PATIENCE_S = 60


class Watching:
    """A watch in a thread of its own."""

    def __init__(self, index: Index, folder: Path) -> None:
        self.syncs: SimpleQueue[IngestReport] = SimpleQueue()
        self.changes: SimpleQueue[FileChange] = SimpleQueue()
        self.problems: SimpleQueue[RagError] = SimpleQueue()
        self.done: Watched | None = None
        self._stop = Event()
        self._thread = Thread(target=self._run, args=(index, folder))
        self._thread.start()

    def _run(self, index: Index, folder: Path) -> None:
        self.done = watch(
            index,
            folder,
            stop=self._stop.is_set,
            on_change=self.changes.put,
            on_sync=self.syncs.put,
            on_problem=self.problems.put,
        )

    def next_change(self) -> tuple[str, str]:
        change = self.changes.get(timeout=PATIENCE_S)
        return change.kind, change.path

    def end(self) -> None:
        self._stop.set()
        self._thread.join(PATIENCE_S)


@pytest.fixture
def watching(index: Index, docs: Path) -> Iterator[Watching]:
    started = Watching(index, docs)
    assert started.syncs.get(timeout=PATIENCE_S).read == 3
    assert {started.next_change() for _ in range(3)} == {
        ("added", "apples.txt"), ("added", "bees.txt"), ("added", "sub/cows.txt")
    }  # fmt: skip
    yield started
    started.end()


def test_each_change_reaches_the_index_and_is_told(watching: Watching, index: Index, docs: Path) -> None:
    (docs / "dogs.txt").write_text("Dogs bark.")
    assert watching.next_change() == ("added", "dogs.txt")
    assert index.document("dogs.txt").text == "Dogs bark."
    (docs / "dogs.txt").write_text("Dogs bark loudly.")
    assert watching.next_change() == ("edited", "dogs.txt")
    (docs / "dogs.txt").rename(docs / "sub" / "dogs.txt")
    assert watching.next_change() == ("moved", "sub/dogs.txt")
    (docs / "bees.txt").unlink()
    assert watching.next_change() == ("removed", "bees.txt")
    assert [row.source for row in index.documents()] == ["apples.txt", "sub/cows.txt", "sub/dogs.txt"]
    watching.end()
    assert watching.done is not None
    assert watching.done.changes == 7
    assert watching.problems.empty()


def test_an_index_below_the_folder_does_not_wake_its_own_watch(docs: Path, encoder: HashingEncoder) -> None:
    with Index.create(docs / "indexes" / "own", encoder=encoder) as index:
        watching = Watching(index, docs)
        watching.syncs.get(timeout=PATIENCE_S)
        (docs / ".hidden").write_text("not ours")
        (docs / "dogs.txt").write_text("Dogs bark.")
        watching.syncs.get(timeout=PATIENCE_S)  # of the dogs; what it writes itself must not lead to another
        (docs / "cats.txt").write_text("Cats sleep.")
        report = watching.syncs.get(timeout=PATIENCE_S)
        watching.end()
    assert (report.read, report.unchanged) == (1, 4)
    assert watching.done == Watched(syncs=3, changes=5)


def test_a_rule_that_leaves_files_out_is_heeded_when_it_is_written(
    watching: Watching, index: Index, docs: Path
) -> None:
    (docs / ".ragignore").write_text("bees.txt\n")
    assert watching.next_change() == ("removed", "bees.txt")


def test_a_failed_sync_is_told_and_the_watch_goes_on(
    watching: Watching, index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.watch._AGAIN_S", 0)
    real = Index.ingest
    failures = [UsageError("the disk is full")]

    def failing(self: Index, *args: object, **kwargs: object) -> IngestReport:
        if failures:
            raise failures.pop()
        return real(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Index, "ingest", failing)
    (docs / "dogs.txt").write_text("Dogs bark.")
    assert str(watching.problems.get(timeout=PATIENCE_S)) == "the disk is full"
    assert watching.next_change() == ("added", "dogs.txt")


def test_a_single_file_is_watched_too(index: Index, docs: Path) -> None:
    watching = Watching(index, docs / "bees.txt")
    watching.syncs.get(timeout=PATIENCE_S)
    assert watching.next_change() == ("added", "bees.txt")
    (docs / "new.txt").write_text("bees, in place of the old ones")
    (docs / "new.txt").replace(docs / "bees.txt")  # as editors save
    assert watching.next_change() == ("edited", "bees.txt")
    watching.end()


def test_what_is_not_there_cannot_be_watched(index: Index, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is nothing at"):
        watch(index, tmp_path / "none", stop=lambda: False)
