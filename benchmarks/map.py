"""How smoothly the map of the Explore page moves: `python -m benchmarks.map`, with Chromium and Playwright installed.

Points in as many heaps as there are topics are panned and zoomed in a window of 1280 by 800, once a frame. What is
measured is the time between frames, which is what a person sees, and the time that JavaScript takes for one. WebGL is
measured even where no graphics card is; the page does not use it there.
"""

from __future__ import annotations

import argparse
import base64
import json
import statistics
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import Browser, sync_playwright

from tests.browser import chromium

POINTS = Path(__file__).resolve().parents[1] / "ui" / "web" / "points.js"
FRAMES = 180
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, nargs="+", default=[2_000, 15_000, 50_000])
    arguments = parser.parse_args()
    with sync_playwright() as playwright:
        path = chromium.find(playwright.chromium.executable_path)
        if path is None:
            parser.error(chromium.MISSING)
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for n in arguments.points:
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
