"""What those who were let in with --public can, and cannot, do on the page to the one who runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from ui import library
from ui.access import PUBLIC_VARIABLE


def adding(home: str) -> None:
    from pathlib import Path

    from ui import library

    library.add(Path(home))


def reading_a_folder(home: str, folder: str) -> None:
    from pathlib import Path

    import streamlit as st

    from ui import library

    st.session_state["library.path"] = folder
    library._read_folder(Path(home))


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
