"""Looking for files that changed: now and then, in a thread, and never telling of an index that is another by now."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from rag.index import Index
from rag.plan import FileChange
from ui.changes import Changed, Changes


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def seen(changes: Changes, index: Index) -> Changed:
    """What is told once no look is under way."""
    changes.of(index)
    assert changes.wait(60)
    return changes.of(index)


def test_what_changed_is_counted_and_one_of_it_named(index: Index, docs: Path) -> None:
    index.ingest(docs)
    changes = Changes(clock=Clock())
    assert not seen(changes, index)
    (docs / "bees.txt").write_text("Bees make wax.")
    (docs / "apples.txt").unlink()
    found = seen(Changes(clock=Clock()), index)
    assert (found.edited, found.gone) == (1, 1)
    assert found.first in ("bees.txt", "apples.txt")


def test_files_are_looked_at_again_after_half_a_minute_and_at_once_when_the_index_changed(
    index: Index, docs: Path
) -> None:
    index.ingest(docs)
    clock = Clock()
    changes = Changes(clock=clock)
    assert not seen(changes, index)
    (docs / "bees.txt").write_text("Bees make wax.")
    clock.seconds = 29
    assert not seen(changes, index)
    clock.seconds = 30
    found = seen(changes, index)
    assert (found.edited, found.gone, found.first) == (1, 0, "bees.txt")
    index.ingest(docs)
    assert not changes.of(index)  # before anything was looked at
    assert not seen(changes, index)


def test_other_files_and_another_state_of_the_index_are_other_changes(index: Index, docs: Path) -> None:
    def found() -> Changed:
        return seen(Changes(clock=Clock()), index)

    index.ingest(docs)
    (docs / "bees.txt").write_text("Bees make wax.")
    first = found()
    assert found() == first
    (docs / "bees.txt").write_text("Bees make honey.")
    (docs / "apples.txt").write_text("Apples fall.")
    assert (found().edited, found() != first) == (1, True)
    index.ingest(docs)
    (docs / "apples.txt").write_text("Apples grow on trees.")
    (docs / "bees.txt").write_text("Bees make wax.")
    index.ingest(docs / "apples.txt")
    assert (found().first, found() != first) == ("bees.txt", True)


def test_where_a_look_takes_long_the_next_comes_late(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, looks = Clock(), list[float]()

    def slow(_: Index) -> tuple[FileChange, ...]:
        looks.append(clock.seconds)
        clock.seconds += 10
        return ()

    monkeypatch.setattr(Index, "stale_files", slow)
    changes = Changes(clock=clock)
    seen(changes, index)
    clock.seconds = 509
    seen(changes, index)
    assert looks == [0]
    clock.seconds = 510
    seen(changes, index)
    assert looks == [0, 510]


def test_two_who_ask_at_once_share_a_look(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, go_on, looks = threading.Event(), threading.Event(), list[int]()

    def held(_: Index) -> tuple[FileChange, ...]:
        looks.append(1)
        begun.set()
        assert go_on.wait(60)
        return (FileChange("removed", "bees.txt"),)

    monkeypatch.setattr(Index, "stale_files", held)
    changes = Changes()
    assert not changes.of(index)
    assert begun.wait(60)
    assert not changes.of(index)
    go_on.set()
    assert changes.wait(60)
    found = changes.of(index)
    assert (found.edited, found.gone, found.first) == (0, 1, "bees.txt")
    assert len(looks) == 1


def test_files_that_cannot_be_looked_at_are_no_change(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: Index) -> tuple[FileChange, ...]:
        raise OSError("gone")

    monkeypatch.setattr(Index, "stale_files", broken)
    assert not seen(Changes(), index)
