"""Takes the pictures of the page in docs/images, light and dark, from corpora/embeddings.

    python -m docs.images.make_screenshots [NAME …]      needs Chromium: apt-get install chromium

It fails if what is marked is not the quote of the footnote that was clicked, if a script of the page fails, or if the
page asks for anything from beyond this machine.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, sync_playwright

import rag
from tests.browser import chromium
from tests.browser.pages import Shown

ROOT = Path(__file__).parents[2]
PICTURES = Path(__file__).parent
WIDE, PHONE = (1280, 800), (390, 844)
QUESTION = "What does the temperature do in contrastive learning?"
FOOTNOTE = 2
SEARCHED = "negative sampling"
OF_A_PDF = "How does HNSW work?"  # answered from a PDF: its page is drawn
NOT_THERE = "Who is the mayor of Berlin?"
SERVE = "import sys, pathlib, ui.server; ui.server.serve(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]), ready=print)"


def ask(page: Shown) -> None:
    page.open("/", index="embeddings", q=QUESTION)
    page.answered()
    page.footnote(FOOTNOTE).click()
    with rag.Index.open(Path(page.folder) / "embeddings") as index:
        cited = rag.Pipeline(rag.Retriever(index)).ask(QUESTION).citations[FOOTNOTE - 1]
    assert page.marked == cited.quote, (page.marked, cited.quote)


def pdf(page: Shown) -> None:
    page.open("/", index="embeddings", q=OF_A_PDF)
    page.answered()
    page.footnote(1).click()
    page.pane.get_by_role("img").first.wait_for()


def not_there(page: Shown) -> None:
    page.open("/", index="embeddings", q=NOT_THERE)
    page.page.get_by_text("Not in these documents.").wait_for()


def search(page: Shown) -> None:
    page.open("/search", index="embeddings", query=SEARCHED)
    page.page.get_by_role("listitem").first.wait_for()


def library(page: Shown) -> None:
    page.open("/library", index="embeddings")
    page.page.get_by_text("word2vec.md").first.wait_for()


def explore(page: Shown) -> None:
    page.open("/explore", index="embeddings")
    page.page.locator("canvas").first.wait_for()
    page.page.wait_for_load_state("networkidle")


def settings(page: Shown) -> None:
    page.open("/", index="embeddings", q=QUESTION)
    page.answered()
    page.drawer("Settings").get_by_text("Reading model").wait_for()


def first(page: Shown) -> None:
    page.open("/")
    page.page.get_by_role("button", name="Use the sample").wait_for()


SHOTS: dict[str, tuple[Callable[[Shown], None], tuple[int, int]]] = {
    "ask": (ask, WIDE),
    "ask-phone": (ask, PHONE),
    "pdf": (pdf, WIDE),
    "not-there": (not_there, WIDE),
    "search": (search, WIDE),
    "library": (library, WIDE),
    "explore": (explore, WIDE),
    "settings": (settings, WIDE),
    "first": (first, WIDE),
}


def main() -> None:
    wanted = sys.argv[1:] or list(SHOTS)
    own = chromium.find()
    assert own is not None, chromium.MISSING
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as empty, sync_playwright() as playwright:
        with rag.Index.create(Path(made) / "embeddings") as index:
            index.ingest(ROOT / "corpora/embeddings")
        browser = playwright.chromium.launch(executable_path=own, args=["--no-sandbox"])
        for folder, names in (
            (made, [n for n in wanted if n != "first"]),
            (empty, [n for n in wanted if n == "first"]),
        ):
            if names:
                with serving(folder) as address:
                    for name in names:
                        for dark in (False, True):
                            take(browser, address, folder, name, dark=dark)
        browser.close()


def take(browser: Browser, address: str, folder: str, name: str, *, dark: bool) -> None:
    """Show a page and save its picture, in 256 colours: a third of the size, and no difference to see."""
    show, (width, height) = SHOTS[name]
    context = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        has_touch=width == PHONE[0],
    )
    page = Shown(context.new_page(), address, Path(folder))
    show(page)
    page.settled()
    page.page.mouse.move(0, 0)
    page.page.wait_for_timeout(500)  # for what fades in
    picture = PICTURES / f"{name}{'-dark' if dark else ''}.png"
    page.page.screenshot(path=picture, animations="disabled")
    with Image.open(picture) as taken:
        few = taken.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    few.save(picture, optimize=True)
    context.close()
    assert not page.faults, page.faults
    assert not page.foreign, page.foreign


@contextmanager
def serving(folder: str) -> Iterator[str]:
    """The page over a folder of indexes; gives its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen([sys.executable, "-uc", SERVE, folder, str(port)], cwd=ROOT, stdout=subprocess.PIPE)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().decode().strip()
    finally:
        server.terminate()
        server.communicate()


if __name__ == "__main__":
    main()
