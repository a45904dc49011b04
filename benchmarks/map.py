"""How smoothly the map of the Explore page moves: `python -m benchmarks.map`, with Chromium and Playwright installed.

    python -m benchmarks.map [--points 2000 15000 50000]
    python -m benchmarks.map --explore 50000

Points in as many heaps as there are topics are panned and zoomed in a window of 1280 by 800, once a frame. What is
measured is the time between frames, which is what a person sees, and the time that JavaScript takes for one. WebGL is
measured even where no graphics card is; the page does not use it there.

With `--explore` an index of so many passages is made, short texts with random unit vectors in 16 heaps, and explored in
the real page, served by `rag ui` with its default model. Measured are:

- drawn: from following the link until all points are on the map, where the map has yet to be worked out, and in a
  second window, where it is there already; topics: from the same moment until they have their names;
- pan frame: the time between frames while the map is dragged;
- card: from the pointer's arrival at a point whose text was not asked for yet until its card is there, the 60 ms
  included that the pointer has to rest;
- memory of the server and its children when the page was seen once, and after all of that.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from playwright.sync_api import Browser, Page, expect, sync_playwright

from benchmarks.page import memory_mb, server, spread
from rag.encoders import load_encoder
from rag.index import Index
from rag.types import Document
from tests.browser import chromium

POINTS = Path(__file__).resolve().parents[1] / "ui" / "web" / "points.js"
FRAMES = 180
CARDS = 30
HEAPS = 16
_PATIENCE_MS = 300_000
_PAGE = "<!doctype html><body style='margin:0'><canvas style='width:1000px;height:700px'></canvas></body>"
_MOVE = """async ({at, groups, frames, flat}) => {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const canvas = document.querySelector("canvas");
  const original = HTMLCanvasElement.prototype.getContext;
  HTMLCanvasElement.prototype.getContext = function (kind, options) {
    if (kind === "webgl" && flat) return null;
    const context = original.call(this, kind, {...options, failIfMajorPerformanceCaveat: false});
    if (kind === "webgl") context.getExtension = () => null; // so that it does not tell that it is no graphics card
    return context;
  };
  const began = performance.now();
  const points = new Points(canvas);
  points.colours = Array.from({length: 8}, (_, i) => [i / 8, 0.4, 1 - i / 8]);
  points.place(new Uint16Array(bytes(at).buffer));
  points.group(bytes(groups));
  points.resize();
  points.fit();
  points.draw();
  const first = performance.now() - began;
  const [between, drawing, picking] = [[], [], []];
  let last = await new Promise(requestAnimationFrame);
  for (let i = 0; i < frames; i++) {
    const now = await new Promise(requestAnimationFrame);
    between.push(now - last);
    last = now;
    const start = performance.now();
    points.pan(3 * Math.sin(i / 10), 2);
    points.zoom(i < frames / 2 ? 1.02 : 1 / 1.02, 500, 350);
    points.draw();
    drawing.push(performance.now() - start);
    const picked = performance.now();
    points.near(300 + 2 * i, 350, 10, 12);
    picking.push(performance.now() - picked);
  }
  return {kind: points.brush.kind, first, between, drawing, picking};
}"""


def heaps(n: int, *, seed: int = 1) -> tuple[bytes, bytes]:
    """Positions (uint16 pairs) and groups (uint8) of n points in 16 heaps."""
    rng = np.random.default_rng(seed)
    groups = rng.integers(0, 16, n).astype(np.uint8)
    at = rng.uniform(8_000, 57_000, (16, 2))[groups] + rng.normal(0, 4_000, (n, 2))
    return np.rint(at.clip(0, 65_535)).astype("<u2").tobytes(), groups.tobytes()


def measure(browser: Browser, n: int, *, flat: bool) -> dict[str, Any]:
    """Move n points about.

    Args:
        browser: that draws them.
        n: points.
        flat: without WebGL.
    """
    page = browser.new_page(viewport={"width": 1280, "height": 800})
    page.set_content(_PAGE)
    page.add_script_tag(content=POINTS.read_text(encoding="utf-8") + "\nwindow.Points = Points;")
    at, groups = (base64.b64encode(data).decode() for data in heaps(n))
    found: dict[str, Any] = page.evaluate(_MOVE, {"at": at, "groups": groups, "frames": FRAMES, "flat": flat})
    page.close()
    return found


class RandomEncoder:
    """Stands for the default model while an index is made: vectors in its space, by chance and not by the texts."""

    def __init__(self, *, seed: int = 1) -> None:
        real = load_encoder()
        self.name, self.dim, self.space, self.form = real.name, real.dim, real.space, real.form
        self.max_tokens = real.max_tokens
        self._rng = np.random.default_rng(seed)
        self._middles = self._rng.normal(size=(HEAPS, self.dim))

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = self._middles[self._rng.integers(0, HEAPS, len(texts))] + self._rng.normal(
            size=(len(texts), self.dim)
        )
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)

    encode_queries = encode_documents

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2


def make_index(folder: Path, n: int) -> None:
    """An index of n documents of one passage each, in 100 folders."""
    rng = np.random.default_rng(2)
    words = [f"{a}{b}{c}" for a in "bdfgklmnprst" for b in "aeiou" for c in "lmnrst"]

    def texts() -> list[str]:
        return [" ".join(words[k] for k in rng.zipf(1.3, 24) % len(words)) for _ in range(n)]

    with Index.create(folder / "random", encoder=RandomEncoder()) as index:
        index.add(Document(f"{i % 100:02}/{i:06}.md", text) for i, text in enumerate(texts()))


_WATCH_FRAMES = """() => {
  window.between = [];
  let last = performance.now();
  const look = (now) => {
    window.between.push(now - last);
    last = now;
    window.watching = requestAnimationFrame(look);
  };
  window.watching = requestAnimationFrame(look);
}"""


class Explorer:
    """Somebody in front of the map."""

    def __init__(self, browser: Browser, address: str, n: int) -> None:
        self.page: Page = browser.new_page(viewport={"width": 1280, "height": 800})
        self.page.set_default_timeout(_PATIENCE_MS)
        began = time.perf_counter()
        self.page.goto(f"{address}/explore")
        self.page.locator(f'canvas.points[data-points="{n}"]').wait_for()
        self.drawn_s = round(time.perf_counter() - began, 2)
        self.page.locator(".explore[aria-busy=false]").wait_for()
        self.topics_s = round(time.perf_counter() - began, 2)
        box = self.page.get_by_role("application").bounding_box()
        assert box is not None
        self._left, self._top, self._width, self._height = box["x"], box["y"], box["width"], box["height"]

    def pan(self) -> list[float]:
        """Milliseconds between frames while the map is dragged in a circle."""
        mouse, (x, y) = self.page.mouse, (self._left + self._width / 2, self._top + self._height / 2)
        mouse.move(x, y)
        mouse.down()
        self.page.evaluate(_WATCH_FRAMES)
        for i in range(FRAMES):
            mouse.move(x + 120 * np.sin(i / 15), y + 120 * np.cos(i / 15))
        between: list[float] = self.page.evaluate("() => (cancelAnimationFrame(window.watching), window.between)")
        mouse.up()
        return between

    def card(self, i: int) -> float | None:
        """Milliseconds until the card of the point at place i stands there; None where no point is."""
        cards = self.page.locator(".stage > .card:not([hidden])")
        self.page.mouse.move(self._left + self._width - 4, self._top + self._height - 4)
        cards.wait_for(state="detached")
        turn, reach = 2.4 * i, 0.3 * self._height * (i + 1) / CARDS  # a spiral, so that each is far from those before
        began = time.perf_counter()
        self.page.mouse.move(
            self._left + self._width / 2 + reach * np.cos(turn), self._top + self._height / 2 + reach * np.sin(turn)
        )
        if self.page.get_by_role("application").evaluate("(node) => node.style.cursor") != "pointer":
            return None
        cards.wait_for()
        return (time.perf_counter() - began) * 1000


def explore(browser: Browser, n: int) -> dict[str, Any]:
    """Make an index of n passages, and explore it in the page."""
    with tempfile.TemporaryDirectory(prefix="footnote-map-") as place:
        began = time.perf_counter()
        make_index(Path(place), n)
        made_s = round(time.perf_counter() - began, 1)
        with server(Path(place)) as (address, pid):
            first = browser.new_page()
            first.goto(address)
            expect(first.locator('[data-testid="stChatInputTextArea"]')).to_be_editable(timeout=_PATIENCE_MS)
            first.close()
            before = memory_mb(pid)
            person = Explorer(browser, address, n)
            frames = person.pan()
            cards = [took for i in range(CARDS) if (took := person.card(i)) is not None]
            second = Explorer(browser, address, n)
            after = memory_mb(pid)
    return {
        "passages": n,
        "index made s": made_s,
        "drawn s": person.drawn_s,
        "topics s": person.topics_s,
        "drawn in a second window s": second.drawn_s,
        "pan frame ms": spread(frames),
        "card ms": spread(cards),
        "cards": len(cards),
        "memory before MB": before,
        "memory after MB": after,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[2_000, 15_000, 50_000])
    parser.add_argument("--explore", type=int, metavar="N", help="explore an index of N passages in the real page")
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        path = chromium.find(playwright.chromium.executable_path)
        if path is None:
            parser.error(chromium.MISSING)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        if arguments.explore:
            print(json.dumps(explore(browser, arguments.explore)))
        for n in arguments.points if not arguments.explore else ():
            for flat in (False, True):
                found = measure(browser, n, flat=flat)
                row = {"points": n, "drawn with": found["kind"], "first draw ms": round(found["first"], 1)}
                for name, key in (("frame", "between"), ("script", "drawing"), ("pick", "picking")):
                    ordered = sorted(found[key])
                    row[f"{name} ms"] = round(statistics.median(ordered), 2)
                    row[f"{name} p95 ms"] = round(ordered[int(0.95 * len(ordered))], 2)
                print(json.dumps(row))
        browser.close()


if __name__ == "__main__":
    main()
