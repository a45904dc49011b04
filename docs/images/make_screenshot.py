"""Takes docs/images/ask.png: the page with an answer from corpora/embeddings and one of its sources open.

    pip install playwright && apt-get install chromium
    python docs/images/make_screenshot.py

It fails if what is marked is not the quote of the footnote that was clicked, or if the page asks for anything from
beyond this machine.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlencode

from PIL import Image
from playwright.sync_api import sync_playwright

import rag

ROOT = Path(__file__).parents[2]
PICTURE = Path(__file__).with_name("ask.png")
QUESTION = "What does the temperature do in contrastive learning?"
FOOTNOTE = 2
SERVE = "import sys, pathlib, ui.server; ui.server.serve(pathlib.Path(sys.argv[1]), port=int(sys.argv[2]))"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        with rag.Index.create(Path(folder) / "embeddings") as index:
            index.ingest(ROOT / "corpora/embeddings")
            citation = rag.Pipeline(rag.Retriever(index)).ask(QUESTION).citations[FOOTNOTE - 1]
        port = free_port()
        server = subprocess.Popen([sys.executable, "-c", SERVE, folder, str(port)], cwd=ROOT)
        try:
            assert take_picture(f"http://127.0.0.1:{port}") == citation.quote
        finally:
            server.terminate()
            server.wait()


def take_picture(address: str) -> str:
    """Ask, click, save the picture; returns the marked text."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 800}, color_scheme="light")
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        for _ in range(100):
            try:
                page.goto(f"{address}/?{urlencode({'index': 'embeddings', 'q': QUESTION})}")
                break
            except Exception:
                page.wait_for_timeout(100)  # the server is starting
        page.get_by_role("button", name=f"Footnote {FOOTNOTE}:").click()
        page.locator("aside.pane mark").first.wait_for()
        page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
        page.mouse.move(0, 0)
        marked = "".join(page.locator("aside.pane mark").all_text_contents())
        page.screenshot(path=PICTURE, animations="disabled")
        with Image.open(PICTURE) as picture:  # 256 colours: a third of the size, and no difference to see
            few = picture.convert("RGB").quantize(256, dither=Image.Dither.NONE)
        few.save(PICTURE, optimize=True)
        browser.close()
    beyond = [url for url in asked if not url.startswith((address, "data:", "blob:"))]
    assert not beyond, beyond
    return marked


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


if __name__ == "__main__":
    main()
