"""What becomes of threads when their index is renamed or deleted in the Library."""

from __future__ import annotations

from pathlib import Path

import pytest

import rag
from tests.apps import AppTest
from tests.fakes import HashingEncoder
from ui.keeping import FILE_NAME
from ui.threads import Threads


@pytest.fixture
def asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Threads:
    """The threads of a folder with the index 'bees', of which something was asked by two people."""
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    threads = Threads(tmp_path / FILE_NAME)
    with rag.Index.create(tmp_path / "bees", encoder=HashingEncoder()) as index:
        index.add([rag.Document("bees.txt", "Bees make honey.")])
        answer = rag.Answer("What do bees make?", "Honey.", (), (), False, 0.9, "extractive", ())
        for whose in ("user:ada", "user:ben"):
            threads.add(whose, answer, index)
    return threads


def changing(folder: str, name: str | None) -> None:
    from pathlib import Path

    from ui import library
    from ui.shell import Place

    place = Place(Path(folder), ("bees",), "bees")
    if name is None:
        library._delete(place, forget_threads=True)
    else:
        library._rename(place, name)


def test_threads_follow_an_index_that_is_renamed(tmp_path: Path, asked: Threads) -> None:
    app = AppTest.from_function(changing, kwargs={"folder": str(tmp_path), "name": "hives"}, default_timeout=30).run()
    assert not app.exception
    assert [thread.index for thread in (*asked.list("user:ada"), *asked.list("user:ben"))] == ["hives", "hives"]


def test_with_an_index_that_is_deleted_go_the_threads_of_who_deletes_it_and_of_nobody_else(
    tmp_path: Path, asked: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.library.owner", lambda: "user:ada")
    app = AppTest.from_function(changing, kwargs={"folder": str(tmp_path), "name": None}, default_timeout=30).run()
    assert not app.exception
    assert asked.list("user:ada") == ()
    assert [thread.title for thread in asked.list("user:ben")] == ["What do bees make?"]
