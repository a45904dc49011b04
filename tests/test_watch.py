"""Watching a folder: edits reach the index by themselves, through an ordinary ingest."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from shutil import rmtree
from threading import Event, Thread
from typing import Any

import pytest
import watchfiles

from rag.errors import IndexBusyError, RagError, UsageError
from rag.index import Index
from rag.ingest import IngestReport
from rag.plan import FileChange
from rag.watch import Watched, watch
from tests.fakes import HashingEncoder

PATIENCE_S = 60


class Watching:
    """A watch in a thread of its own."""

    def __init__(self, index: Index, *paths: Path) -> None:
        self.syncs: SimpleQueue[IngestReport] = SimpleQueue()
        self.changes: SimpleQueue[FileChange] = SimpleQueue()
        self.problems: SimpleQueue[RagError] = SimpleQueue()
        self.done: Watched | None = None
        self.asked = Event()
        self._thread = Thread(target=self._run, args=(index, *paths))
        self._thread.start()

    def _run(self, index: Index, *paths: Path) -> None:
        self.done = watch(
            index,
            *paths,
            stop=self.asked.is_set,
            on_change=self.changes.put,
            on_sync=self.syncs.put,
            on_problem=self.problems.put,
        )

    def next_change(self) -> tuple[str, str]:
        change = self.changes.get(timeout=PATIENCE_S)
        return change.kind, change.path

    def end(self) -> None:
        self.asked.set()
        self._thread.join(PATIENCE_S)


def one_file(folder: Path) -> Path:
    """A new folder with other apples."""
    folder.mkdir()
    (folder / "apples.txt").write_text("Apples fall.")
    return folder


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


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
def test_an_index_below_the_folder_through_a_link_does_not_wake_its_own_watch(
    docs: Path, tmp_path: Path, encoder: HashingEncoder
) -> None:
    (tmp_path / "link").symlink_to(docs)
    with Index.create(tmp_path / "link" / "own", encoder=encoder) as index:
        watching = Watching(index, docs)
        watching.syncs.get(timeout=PATIENCE_S)
        (docs / "dogs.txt").write_text("Dogs bark.")
        watching.syncs.get(timeout=PATIENCE_S)  # what it writes itself must not lead to another
        (docs / "cats.txt").write_text("Cats sleep.")
        report = watching.syncs.get(timeout=PATIENCE_S)
        watching.end()
    assert (report.read, report.unchanged) == (1, 4)
    assert watching.done == Watched(syncs=3, changes=5)


def test_a_folder_that_goes_is_told_once_and_its_documents_stay_until_it_is_back(
    watching: Watching, index: Index, docs: Path
) -> None:
    docs.rename(docs.with_name("aside"))
    assert str(watching.problems.get(timeout=PATIENCE_S)) == (
        f"'{docs}' is not there any more: its documents stay until it is back, or rag remove forgets them"
    )
    assert [row.source for row in index.documents()] == ["apples.txt", "bees.txt", "sub/cows.txt"]
    one_file(docs.with_name("new")).rename(docs)
    assert {watching.next_change() for _ in range(3)} == {
        ("edited", "apples.txt"), ("removed", "bees.txt"), ("removed", "sub/cows.txt")
    }  # fmt: skip
    (docs / "dogs.txt").write_text("Dogs bark.")
    assert watching.next_change() == ("added", "dogs.txt")
    rmtree(docs)
    assert "is not there any more" in str(watching.problems.get(timeout=PATIENCE_S))
    docs.with_name("aside").rename(docs)
    assert {watching.next_change() for _ in range(4)} == {
        ("edited", "apples.txt"), ("added", "bees.txt"), ("removed", "dogs.txt"), ("added", "sub/cows.txt")
    }  # fmt: skip
    watching.end()
    assert watching.problems.empty()


@pytest.mark.parametrize("go", [rmtree, lambda docs: docs.rename(docs.with_name("aside"))], ids=["removed", "renamed"])
def test_a_folder_that_is_replaced_at_once_is_watched_on(
    watching: Watching, docs: Path, go: Callable[[Path], object]
) -> None:
    new = one_file(docs.with_name("new"))
    go(docs)
    new.rename(docs)
    changes = [watching.next_change() for _ in range(3)]
    assert set(changes) == {("edited", "apples.txt"), ("removed", "bees.txt"), ("removed", "sub/cows.txt")}
    (docs / "dogs.txt").write_text("Dogs bark.")
    assert watching.next_change() == ("added", "dogs.txt")


def test_an_empty_folder_that_is_made_again_at_once_is_watched_on(index: Index, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    watching = Watching(index, other, docs)
    assert watching.syncs.get(timeout=PATIENCE_S).read == 3
    other.rmdir()
    other.mkdir()  # often with the number of the old one
    assert watching.syncs.get(timeout=PATIENCE_S).unchanged == 3
    (other / "eels.txt").write_text("Eels swim.")
    assert watching.syncs.get(timeout=PATIENCE_S).read == 1
    watching.end()


def test_while_one_folder_is_gone_the_others_are_watched(index: Index, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    watching = Watching(index, other, docs)
    assert {watching.next_change()[0] for _ in range(3)} == {"added"}
    other.rmdir()
    assert f"'{other}' is not there any more" in str(watching.problems.get(timeout=PATIENCE_S))
    (docs / "dogs.txt").write_text("Dogs bark.")
    assert watching.next_change() == ("added", "dogs.txt")
    other.mkdir()
    (other / "eels.txt").write_text("Eels swim.")
    assert watching.next_change() == ("added", "eels.txt")
    (docs / "bees.txt").unlink()
    assert watching.next_change() == ("removed", "bees.txt")
    watching.end()
    assert watching.problems.empty()


def test_a_folder_that_goes_while_its_watch_is_started_is_looked_for_again(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, starts = watchfiles.watch, iter([False, True])

    def missing_once(*paths: str, **options: Any) -> Iterator[set[tuple[watchfiles.Change, str]]]:
        if not next(starts, True):
            docs.rename(docs.with_name("aside"))
        return real(*paths, **options)

    monkeypatch.setattr(watchfiles, "watch", missing_once)
    watching = Watching(index, docs)
    assert "is not there any more" in str(watching.problems.get(timeout=PATIENCE_S))
    docs.with_name("aside").rename(docs)
    assert watching.syncs.get(timeout=PATIENCE_S).read == 3
    watching.end()


def test_a_stop_while_another_writer_is_waited_for_ends_the_watch_quietly(
    watching: Watching, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = Event()

    def waiting(self: Index, *args: object, stop: Callable[[], bool], **kwargs: object) -> IngestReport:
        waits.set()
        assert watching.asked.wait(PATIENCE_S)
        assert stop()
        raise IndexBusyError("another process is writing")

    monkeypatch.setattr(Index, "ingest", waiting)
    (docs / "dogs.txt").write_text("Dogs bark.")
    assert waits.wait(PATIENCE_S)
    watching.end()
    assert watching.done == Watched(syncs=1, changes=3)
    assert watching.problems.empty()


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
