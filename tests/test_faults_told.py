"""What goes wrong outside of a page is told in words, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.apps import AppTest
from ui import server
from ui.shell import OUR_FAULT


def failing(words: str) -> None:
    from rag.errors import UsageError
    from ui.server import _told

    _told(UsageError(words) if words else ValueError("a secret"))


@pytest.mark.parametrize(("words", "shown"), [("There is no thread 3.", "There is no thread 3."), ("", OUR_FAULT)])
def test_a_fault_that_no_page_took_is_told_in_words(words: str, shown: str) -> None:
    app = AppTest.from_function(failing, kwargs={"words": words}).run()
    assert [text.value for text in app.text] == [shown]
    assert not app.exception


def test_the_server_has_all_faults_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: dict[str, Any] = {}

    class Recorded:
        def __init__(self, *_: object, **options: Any) -> None:
            given.update(options)

        def run(self, **_: object) -> None:
            pass

    monkeypatch.setattr("streamlit.App", Recorded)
    monkeypatch.setattr(server, "_when_ready", lambda *_: None)
    for name in ("FOOTNOTE_INDEXES", "FOOTNOTE_PUBLIC", "FOOTNOTE_GENERATOR", "FORWARDED_ALLOW_IPS"):
        monkeypatch.setenv(name, "")
    server.serve(tmp_path, port=8599)
    assert given["on_script_error"] is server._told
