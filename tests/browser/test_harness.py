"""The harness itself: it would see what it is there to see."""

from __future__ import annotations

import pytest

from tests.browser import chromium
from tests.browser.pages import Shown


def test_a_footnote_opens_its_passage(page: Shown) -> None:
    page.ask("Who published word2vec?")
    page.footnote(1).click()
    assert "word2vec" in page.pane_text.lower()
    assert "Mikolov" in page.marked


def test_axe_sees_a_picture_without_words_and_a_field_without_name(page: Shown) -> None:
    page.page.evaluate(
        "() => document.body.append(document.createElement('img'), document.createElement('input'))",
    )
    found = {line.split(":")[0] for line in page.findings()}
    assert {"image-alt", "label"} <= found


def test_a_request_that_would_leave_this_machine_is_seen(page: Shown) -> None:
    page.page.route("http://elsewhere.example/**", lambda route: route.abort())
    page.page.goto("about:blank")  # where no policy of ours stops it before it is a request
    page.page.evaluate("() => fetch('http://elsewhere.example/x').catch(() => 0)")
    assert page.foreign == ["http://elsewhere.example/x"]
    page.foreign.clear()


def test_a_browser_is_installed_only_by_root_on_debian(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setattr("subprocess.run", lambda *args, **kwargs: pytest.fail("ran apt-get"))
    assert chromium.ensure() is None
