"""What those who were let in with --public can, and cannot, do on the page to the one who runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rag.store import FileState
from tests.apps import AppTest
from ui import library
from ui.access import PUBLIC_VARIABLE, told
from ui.jobs import Job
from ui.reading import Task
from ui.shelf import Look, files_view, reading_view, removal_words


def adding(home: str) -> None:
    from pathlib import Path

    from ui import library

    library.add(Path(home))


def reading_a_folder(home: str, folder: str) -> None:
    from pathlib import Path

    import streamlit as st

    from ui import library

    st.session_state["library.path"] = folder
    library._read_folder(Path(home), was_there=False)


@pytest.mark.parametrize(("public", "shown"), [("", ["Or a folder on this computer"]), ("1", [])])
def test_only_the_one_who_runs_the_page_is_asked_for_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, public: str, shown: list[str]
) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, public)
    app = AppTest.from_function(adding, kwargs={"home": str(tmp_path / "index")}).run()
    assert not app.exception
    assert [box.label for box in app.text_input] == shown
    assert len(app.get("file_uploader")) == 1


def test_a_visitor_who_names_a_folder_all_the_same_has_nothing_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    begun: list[Any] = []
    monkeypatch.setattr(library, "_begin", begun.append)
    app = AppTest.from_function(reading_a_folder, kwargs={"home": str(tmp_path / "index"), "folder": str(tmp_path)})
    app.run()
    assert begun == []
    assert not app.exception


@pytest.mark.parametrize(
    ("words", "for_visitors"),
    [
        (
            "process 4711 (rag ingest, since 12:00:01) is writing to the index in '/srv/indexes/a': try again",
            "another program is writing to the index in 'a': try again",
        ),
        (
            "It waits until another program is done: process 7 on host-1 (rag watch, since 2026-01-02 03:04).",
            "It waits until another program is done.",
        ),
        (
            "'week.txt' cannot be kept in '/home/ada/my notes/files' (full)",
            "'week.txt' cannot be kept in 'files' (full)",
        ),
        ("\"/home/o'brien/x y\" holds other things ('a.txt')", "\"x y\" holds other things ('a.txt')"),
        (r"no index in 'C:\\Users\\Ada\\a b': nothing was deleted", "no index in 'a b': nothing was deleted"),
        ("cannot open ~/models/tiny (gone)", "cannot open tiny (gone)"),
        ("no model at http://localhost:1/v1, and/or 3 / 4", "no model at http://localhost:1/v1, and/or 3 / 4"),
        ("thread 3 asks the index 'a/b'", "thread 3 asks the index 'a/b'"),
    ],
)
def test_visitors_read_neither_where_things_are_nor_which_processes_run(
    monkeypatch: pytest.MonkeyPatch, words: str, for_visitors: str
) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "")
    assert told(words) == words
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    assert told(words) == for_visitors


def test_visitors_read_of_a_folder_its_own_name_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    files = [FileState(root, "a.md", "a.md", 1, 1, 1, 0, None, ()) for root in ("/x/one", "/y/one", "/z/two")]
    view: Any = files_view(files, Look(), paths=False)
    assert [row["folder"] for row in view["rows"]] == ["one", "one (2)", "two"]
    assert removal_words(files[:1], files, "X", paths=False)[1] == (
        "Nothing is left of one then: it is checked for changes no longer."
    )
    task = Task(Path("/srv/indexes/a"), "~/my notes/one", ("/home/ada/my notes/one",))
    other = Task(Path("/srv/indexes/a"), "2 files", uploads=("a", "b"))
    failed = Job(1, task, "failed", problem="'/srv/indexes/a' holds other things ('b'): name another")
    waiting = Job(2, task, "running", waits_for="process 7 (rag ingest, since 12:00:00)")
    texts = [
        reading_view(failed, queued=[Job(3, other), Job(4, task)], paths=False),
        reading_view(waiting, paths=False),
        reading_view(None, unfinished=[task], paths=False),
        reading_view(None, other="process 7 (rag ingest, since 12:00:00)", paths=False),
    ]
    assert [view["text"] for view in texts] == [
        "one: 'a' holds other things ('b'): name another",
        "one waits until another program is done.",
        "The last reading of one was not finished.",
        "Another program writes to this index just now.",
    ]
    queued: Any = texts[0]["queued"]
    assert [waits["text"] for waits in queued] == ["Next: 2 files", "Next: one"]
