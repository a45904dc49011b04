"""A real server and a real browser, in one worker."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Playwright, expect, sync_playwright

from tests.browser import chromium
from tests.browser.pages import PATIENCE_S, Shown

ROOT = Path(__file__).parents[2]
TABS = pytest.StashKey[list[Shown]]()
WIDE, PHONE = (1280, 800), (390, 844)
expect.set_options(timeout=PATIENCE_S * 1000)  # a machine that is busy with the other half of the tests is slow


@pytest.hookimpl(tryfirst=True)  # before xdist looks for groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("browser"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """A test that fails shows what its tabs showed."""
    report = yield
    if report.when == "call" and report.failed:
        for tab in item.stash.get(TABS, ()):
            report.sections.append((tab.page.url, tab.page.locator("body").aria_snapshot()))
    return report


@dataclass(frozen=True)
class Served:
    """A server that is running."""

    address: str
    folder: Path  # of indexes
    log: Path  # what it said

    @property
    def said(self) -> str:
        return self.log.read_text(encoding="utf-8")


# Of the package, not of the session: while it runs, Playwright's event loop is in the way of other tests' own.
@pytest.fixture(scope="package")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="package")
def browser(playwright: Playwright) -> Iterator[Browser]:
    path = chromium.find(playwright.chromium.executable_path)
    if path is None:
        if os.environ.get("CI") == "true":
            pytest.fail(chromium.MISSING)
        pytest.skip(chromium.MISSING)
    running = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
    yield running
    running.close()


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Served]]:
    """Starts `rag ui` over a folder of indexes: `serve(folder, *stand_ins)`, see tests/browser/serving.py."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path, *stand_ins: str) -> Served:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        log = tmp_path_factory.mktemp("served") / "log.txt"
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.browser.serving", str(folder), str(port), *stand_ins],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
            )
        running.append(process)
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        assert address == f"http://127.0.0.1:{port}", log.read_text(encoding="utf-8")
        return Served(address, folder, log)

    yield start
    for process in running:
        process.terminate()
        process.communicate(timeout=20)


@pytest.fixture(scope="module")
def sample(course: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of indexes of this module's own, with the sample corpus in `embeddings`, read by the real model."""
    folder = tmp_path_factory.mktemp("indexes")
    shutil.copytree(course / "indexes" / "embeddings", folder / "embeddings")
    return folder


@pytest.fixture(scope="module")
def served(serve: Callable[..., Served], sample: Path) -> Served:
    """The page over the sample corpus, for all tests of a module."""
    return serve(sample)


@pytest.fixture
def visit(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Callable[..., Shown]]:
    """Opens a tab with cookies of its own: `visit(served, path="/", size=WIDE, dark=False, **address)`.

    With `fence=False` the browser does not heed the page's policy, so that what it would stop is seen.

    When the test is over, no script may have failed and no request have left this machine.
    """
    tabs = request.node.stash[TABS] = []

    def open_tab(
        served: Served,
        path: str = "/",
        *,
        size: tuple[int, int] = WIDE,
        dark: bool = False,
        fence: bool = True,
        **values: str,
    ) -> Shown:
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
            has_touch=size == PHONE,
            bypass_csp=not fence,
        )
        shown = Shown(context.new_page(), served.address, served.folder)
        tabs.append(shown)
        shown.open(path, **values)
        return shown

    yield open_tab
    for shown in tabs:
        shown.page.context.close()
    assert [fault for shown in tabs for fault in shown.faults] == []
    assert [url for shown in tabs for url in shown.foreign] == []


@pytest.fixture
def page(visit: Callable[..., Shown], served: Served) -> Shown:
    """A wide, light tab on the Ask page over the sample corpus."""
    return visit(served)


@pytest.fixture
def axe() -> Callable[[Shown], list[str]]:
    """The serious and critical findings of axe-core on a tab."""
    return Shown.findings
