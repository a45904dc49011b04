"""Measures the web page in a real browser: first paint, answers, footnotes, searches, and memory under four users.

    python -m benchmarks.page ../shared/data [--minutes 30] [--write]

The index is SciFact's 5,183 abstracts, read by the default model into over 10,000 passages, and served by `rag ui`; it
is made anew unless `--index FOLDER` names one. Browser and server share the machine. Measured are, as medians and 95th
percentiles over the test queries, asked as they are:

- first paint: from following the link in a new profile (nothing cached), and in one that was there before, until the
  box can be typed into;
- answer: from Enter until the first sentence, or "Not in these documents", stands on the page; and until it is whole;
- footnote: from the click until the marked passage is in sight beside the answer;
- search: from Enter until the passages stand there;
- first visit, to a server just started that has no index: from the click on "Use the sample" until the passage of a
  footnote is marked, clicking on what is offered as soon as it is there;
- layout shift while the page is first drawn (web.dev/cls: good up to 0.1).

Then four users with a profile each ask, open footnotes, search and look at the library, a thing every few seconds, for
the minutes given; the memory of the server and its children is taken every half minute (proportional set size, so that
what processes share is counted once).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, expect, sync_playwright

from benchmarks.processes import QUIET, ROOT
from rag.beir import read_retrieval_set
from rag.encoders import load_encoder
from rag.index import Index
from tests.browser import chromium
from tests.browser.pages import Shown

OUTPUT = Path(__file__).resolve().parent / "results" / "page.json"
USERS = 4
TIMES = 30  # of everything that is timed


def serve_index(data: Path, folder: Path) -> None:
    """Make the index to be served."""
    judged = read_retrieval_set(data / "scifact")
    with Index.create(folder / "scifact", encoder=load_encoder()) as index:
        index.add(judged.documents)


@contextmanager
def server(folder: Path) -> Iterator[tuple[str, int]]:
    """`rag ui` over a folder of indexes: its address and the id of its process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "rag.cli", "ui", "--no-browser", "--indexes", str(folder), "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **QUIET}, stderr=subprocess.PIPE, text=True, encoding="utf-8"
    )
    try:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert f"127.0.0.1:{port}" in line, line
        yield f"http://127.0.0.1:{port}", process.pid
    finally:
        process.terminate()
        process.wait(20)


def memory_mb(pid: int) -> float:
    """The proportional set size of a process and its children, in units of 10^6 bytes."""
    total = 0.0
    for one in (pid, *children(pid)):
        try:
            lines = Path(f"/proc/{one}/smaps_rollup").read_text(encoding="ascii").splitlines()
        except OSError:  # it ended just now
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) * 1024 / 1e6
    return round(total, 1)


def children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, task.read_text(encoding="ascii").split()):
            yield child
            yield from children(child)


class Person:
    """Somebody in front of the page."""

    def __init__(self, browser: Browser, address: str) -> None:
        context = browser.new_context(viewport={"width": 1280, "height": 800}, reduced_motion="reduce")
        self.shown = Shown(context.new_page(), address)
        self.page = self.shown.page

    def first_paint(self) -> float:
        """Milliseconds until the box can be typed into."""
        began = time.perf_counter()
        self.page.goto(self.shown.address + "/")
        expect(self.shown.box).to_be_editable()
        return (time.perf_counter() - began) * 1000

    def ask(self, question: str) -> tuple[float, float]:
        """Milliseconds until something of the answer stands there, and until it is whole.

        The page itself takes the times, so that what the measuring costs does not count.
        """
        self.shown.open("/")
        self.shown.box.fill(question)
        self.page.evaluate(_WATCH)
        self.shown.box.press("Enter")
        self.page.wait_for_function("() => window.measured?.whole", polling=50)
        first, whole = self.page.evaluate("() => [window.measured.first, window.measured.whole]")
        return float(first), float(whole)

    def open_footnote(self) -> float | None:
        """Milliseconds until the passage is marked beside the answer; None where there is no footnote."""
        button = self.shown.footnote(1)
        if not button.count():
            return None
        began = time.perf_counter()
        button.click()
        self.shown.pane.locator("mark").first.wait_for()
        took = (time.perf_counter() - began) * 1000
        self.page.keyboard.press("Escape")
        return took

    def search(self, query: str) -> float:
        """Milliseconds until the passages stand there."""
        self.shown.open("/search")
        box = self.page.get_by_role("searchbox")
        box.fill(query)
        began = time.perf_counter()
        box.press("Enter")
        self.page.get_by_text("passages in").first.wait_for()
        return (time.perf_counter() - began) * 1000

    def try_sample(self) -> float:
        """Milliseconds from taking the sample to the first marked passage."""
        self.shown.open("/")
        began = time.perf_counter()
        self.page.get_by_role("button", name="Use the sample").click()
        self.page.get_by_role("list", name="Questions to begin with").get_by_role("button").first.click(timeout=120_000)
        self.shown.footnote(1).click()
        self.shown.pane.locator("mark").first.wait_for()
        return (time.perf_counter() - began) * 1000

    def shift(self) -> float:
        """How far the page jumps while it is drawn."""
        self.page.add_init_script(_SHIFTS)
        self.first_paint()
        self.shown.settled()
        return float(self.page.evaluate("() => window.shifted"))

    def look_around(self) -> None:
        self.shown.open("/library")


_SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""

# From the key that asks: when a sentence or the silence is on the page, and when nothing is busy any more. The answer
# is in the shadow of its part.
_WATCH = """() => {
  const found = (selector) => {
    const walk = (node) => [...node.querySelectorAll("*")].flatMap((n) =>
      [n, ...(n.shadowRoot ? walk(n.shadowRoot) : [])]);
    return walk(document).filter((n) => n.matches(selector));
  };
  window.measured = null;
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const began = performance.now();
    const measured = {};
    const look = () => {
      const text = found(".sentence, .said").some((n) => n.textContent.trim());
      if (text && !measured.first) measured.first = performance.now() - began;
      if (text && !found('[aria-busy="true"]').length) {
        measured.whole = performance.now() - began;
        window.measured = measured;
        return;
      }
      requestAnimationFrame(look);
    };
    look();
  }, { capture: true, once: true });
}"""


def spread(times: Sequence[float]) -> dict[str, float]:
    return {"p50": round(float(np.median(times)), 1), "p95": round(float(np.percentile(times, 95)), 1)}


def measure(browser: Browser, address: str, questions: Sequence[str]) -> dict[str, object]:
    """Times in milliseconds, each over so many tries, the server and its model warm."""
    person = Person(browser, address)
    person.ask(questions[0])
    cold = []
    for _ in range(5):
        stranger = Person(browser, address)
        cold.append(stranger.first_paint())
        stranger.page.context.close()
    again = [person.first_paint() for _ in range(10)]
    asked, opened = [], []
    for question in questions[1 : 1 + TIMES]:
        asked.append(person.ask(question))
        took = person.open_footnote()
        if took is not None:
            opened.append(took)
    searched = [person.search(question) for question in questions[1 : 1 + TIMES // 2]]
    person.page.context.close()
    newcomer = Person(browser, address)
    shift = newcomer.shift()
    newcomer.page.context.close()
    return {
        "layout_shift": round(shift, 4),
        "first_paint_new_ms": spread(cold),
        "first_paint_again_ms": spread(again),
        "answer_begins_ms": spread([first for first, _ in asked]),
        "answer_whole_ms": spread([whole for _, whole in asked]),
        "footnote_ms": spread(opened),
        "footnotes": len(opened),
        "search_ms": spread(searched),
    }


def first_visits(browser: Browser) -> dict[str, object]:
    """Times in milliseconds from nothing to the first marked passage, of three servers that were just started."""
    took = []
    for _ in range(3):
        with tempfile.TemporaryDirectory(prefix="footnote-page-") as empty, server(Path(empty)) as (address, _):
            person = Person(browser, address)
            took.append(person.try_sample())
            person.page.context.close()
    return {"first_visit_ms": spread(took)}


def crowd(browser: Browser, address: str, pid: int, questions: Sequence[str], *, minutes: float) -> dict[str, object]:
    """Memory of the server while four people use it, and how often something went wrong."""
    people = [Person(browser, address) for _ in range(USERS)]
    began, n, faults = time.monotonic(), 0, 0
    levels = [memory_mb(pid)]
    while time.monotonic() - began < 60 * minutes:
        person = people[n % USERS]
        question = questions[n % len(questions)]
        steps: tuple[Callable[[], object], ...] = (
            lambda p=person, q=question: (p.ask(q), p.open_footnote()),  # type: ignore[misc]
            lambda p=person, q=question: p.search(q),  # type: ignore[misc]
            lambda p=person, q=question: (p.ask(q), p.open_footnote()),  # type: ignore[misc]
            person.look_around,
        )
        try:
            steps[n // USERS % len(steps)]()
        except Exception as exc:  # counted, and told: a benchmark that stops tells less
            faults += 1
            print(f"{type(exc).__name__}: {str(exc).splitlines()[0]}", file=sys.stderr)
        n += 1
        if time.monotonic() - began > 30 * len(levels):
            levels.append(memory_mb(pid))
            print(f"{n} things done, {levels[-1]} MB", file=sys.stderr)
    for person in people:
        person.page.context.close()
    return {"minutes": minutes, "users": USERS, "things_done": n, "faults": faults, "memory_mb": levels}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with scifact/")
    parser.add_argument("--minutes", type=float, default=30.0, help="of the four users; 0 leaves them out")
    parser.add_argument("--index", type=Path, metavar="FOLDER", help="a folder of indexes with 'scifact' in it")
    parser.add_argument("--write", action="store_true", help=f"replace {OUTPUT.name}")
    options = parser.parse_args()
    questions = list(read_retrieval_set(options.data / "scifact").queries.values())
    with tempfile.TemporaryDirectory(prefix="footnote-page-") as place, sync_playwright() as running:
        folder = options.index or Path(place)
        if options.index is None:
            serve_index(options.data, folder)
        path = chromium.find(running.chromium.executable_path)
        browser = running.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"])
        with server(folder) as (address, pid):
            figures: dict[str, object] = {
                "cpu": platform.processor() or platform.machine(),
                "cores": os.cpu_count(),
                **first_visits(browser),
                **measure(browser, address, questions),
                "memory_warm_mb": memory_mb(pid),
            }
            print(json.dumps(figures, indent=2))
            if options.minutes:
                figures |= crowd(browser, address, pid, questions, minutes=options.minutes)
                print(json.dumps(figures, indent=2))
        browser.close()
    if options.write:
        OUTPUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
