"""Ours and the peers, in turn, on the same chunks and weights: python -m benchmarks

    python -m benchmarks                               all rows, all systems that are installed
    python -m benchmarks --rows ingest cold --peers footnote st-faiss --repeat 5
    python -m benchmarks --rows                        measure nothing, write tables and plot from what was measured

Each measurement runs in a process of its own, one after the other: in each round every system once, so that what else
the machine does falls on all. The peers come with: pip install -c benchmarks/peers.txt -e '.[peers]'.
docs/benchmarks.md says what each row is. Results go to benchmarks/results/<row>.json and, from there, into the tables
of the pages.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.growth import growth_svg
from benchmarks.peers import BASELINE, OURS, SYSTEMS, Corpus, System
from benchmarks.processes import ROOT, ProcessFailedError, machine, run
from benchmarks.tables import ROWS, Result, Row, publish, row_table

RESULTS = ROOT / "benchmarks" / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")
GROWTH = ROOT / "docs" / "images" / "growth.svg"
OTHERS = ("numpy", "torch", "transformers", "sentence-transformers", "faiss-cpu", "onnxruntime")
SMALL = 600  # chunks
LARGE = 10_000
FILES = 10_000
QUERY = "how do I install a plugin"
QUESTION = "How do I install a plugin?"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass
class Bench:
    """One run: where it works, and what it has made there so far."""

    options: argparse.Namespace
    place: Path
    described: dict[str, str] = field(default_factory=dict)  # of each corpus
    broken: dict[tuple[str, str], str] = field(default_factory=dict)  # (system, corpus) → why it has no index

    def corpus(self, name: str) -> Path:
        """The folder of a corpus, made when it is first needed, with our index of it."""
        folder = self.place / "corpora" / name
        if name in self.described:
            return folder
        from benchmarks import corpora
        from benchmarks.peers.footnote import Footnote

        say(f"making the corpus {name!r}")
        if name == "judged":
            corpora.gather_judged(self.options.scifact, folder)
            text = self.options.scifact.resolve().name
        else:
            wanted = {"main": self.options.chunks, "small": self.options.small, "large": self.options.large}[name]
            real = corpora.gather(self.options.text, folder, n_chunks=wanted, fill=name != "main")
            text = self.options.text.resolve().name
            if name == "main" and real < wanted:
                say(f"{self.options.text} has only {real} chunks, {wanted} were wanted: name another with --text")
            if name != "main" and real < wanted:
                text += f" and shuffled sentences of it ({wanted - real:,} chunks)"
        index = self.index_folder(SYSTEMS["footnote"], name)
        Footnote().build(Corpus(folder / "files"), index)
        made = corpora.read_back(index, folder)
        mean = sum(map(len, made.chunks)) / max(len(made.chunks), 1)
        self.described[name] = f"{len(made.chunks):,} chunks of {mean:.0f} characters ({text})"
        return folder

    def index_folder(self, system: System, corpus: str) -> Path:
        folder = self.place / "indexes" / (system.index or system.name) / corpus
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder

    def worker(self, task: str, system: System, *folders: Path) -> dict[str, float]:
        """What a worker measured within itself, and what its process cost as a whole."""
        words = [sys.executable, "-m", "benchmarks.worker", task, system.name, *map(str, folders)]
        cost = run(words, timeout_s=self.options.timeout)
        whole = {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_mb": cost.peak_mb}
        return {**whole, **json.loads(cost.out.strip().splitlines()[-1])}

    def whole(self, words: Sequence[str]) -> dict[str, float]:
        """What a process cost from start to exit."""
        cost = run(words, timeout_s=self.options.timeout)
        return {"wall_s": cost.wall_s, "cpu_s": cost.cpu_s, "peak_mb": cost.peak_mb}

    def index(self, system: System, corpus: str) -> Path:
        """The system's index of a corpus, made when it is first needed.

        Raises:
            ProcessFailedError: it cannot be made; it is not tried a second time.
        """
        self.corpus(corpus)
        folder, which = self.index_folder(system, corpus), (system.index or system.name, corpus)
        if which in self.broken:
            raise ProcessFailedError(self.broken[which])
        if not folder.exists():
            self.ingest(SYSTEMS[which[0]], corpus)
        return folder

    def ingest(self, system: System, corpus: str) -> dict[str, float]:
        source, kept = self.corpus(corpus), self.index_folder(system, corpus)
        fresh = kept.with_name(f"{corpus}.new")
        say(f"  {system.name} indexes the corpus {corpus!r}")
        try:
            found = self.worker("ingest", system, source, fresh)
            if not kept.exists():
                fresh.rename(kept)
        except ProcessFailedError as exc:
            self.broken[system.name, corpus] = str(exc)
            raise
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        return found

    def unchanged(self) -> list[str]:
        """A command that finds nothing new in many files."""
        from benchmarks.scale import build, sentences_below

        place = self.place / "unchanged"
        if not place.exists():
            say(f"making an index of {self.options.files} files")
            build(place, sentences_below(self.options.text), files=self.options.files, chunks=self.options.files)
        return [*RAG, "ingest", str(place / "docs"), "--index", str(place / "index"), "--json"]

    @property
    def large(self) -> str:
        return "judged" if self.options.scifact else "large"


RAG = [sys.executable, "-m", "rag.cli"]

# How each row is measured, and on which corpus.
Measure = Callable[[Bench, System], dict[str, float]]
MEASURES: dict[str, tuple[Callable[[Bench], str], Measure]] = {
    "ingest": (lambda b: "main", lambda b, s: b.ingest(s, "main")),
    "encode": (lambda b: "main", lambda b, s: b.worker("encode", s, b.corpus("main"))),
    "cold": (lambda b: "main", lambda b, s: b.whole(s.query_command(b.index(s, "main"), QUERY))),
    "warm-small": (lambda b: "small", lambda b, s: b.worker("warm", s, b.corpus("small"), b.index(s, "small"))),
    "warm-large": (lambda b: b.large, lambda b, s: b.worker("warm", s, b.corpus(b.large), b.index(s, b.large))),
    "import": (lambda b: "", lambda b, s: b.whole([sys.executable, "-c", s.imports])),
    "quality": (
        lambda b: "judged",
        lambda b, s: b.worker("quality", s, b.corpus("judged"), b.index(s, "judged"), b.options.scifact.resolve()),
    ),
    "help": (lambda b: "", lambda b, s: b.whole([*RAG, "--help"])),
    "unchanged": (lambda b: "", lambda b, s: b.whole(b.unchanged())),
    "ask-cold": (
        lambda b: "main",
        lambda b, s: b.whole([*RAG, "ask", QUESTION, "--index", str(b.index(s, "main"))]),
    ),
    "ask": (lambda b: "main", lambda b, s: b.worker("ask", s, b.corpus("main"), b.index(s, "main"))),
}
ONCE = {"quality"}  # says the same each time
# Their first round reads programs and indexes from the disk, which the others find in memory: it is left out.
FIRST_LEFT_OUT = {"cold", "import", "help", "unchanged", "ask-cold"}


def measure(bench: Bench, row: Row, systems: Sequence[System]) -> dict[str, Any]:
    """All rounds of one row; a system that fails is left out of the rounds that follow, and its error is kept."""
    corpus_of, measure_one = MEASURES[row.name]
    found: dict[str, dict[str, Any]] = {system.name: {"runs": []} for system in systems}
    rounds = range(1, (1 if row.name in ONCE else bench.options.repeat) + 1)
    load = round(os.getloadavg()[0], 2)  # of the minute before: what else ran
    corpus = corpus_of(bench)
    if corpus:
        bench.corpus(corpus)
    for number in [*([0] if row.name in FIRST_LEFT_OUT else []), *rounds]:
        for system in systems:
            if "error" in found[system.name]:
                continue
            say(f"{row.name}, round {number}: {system.name}")
            try:
                figures = measure_one(bench, system)
            except ProcessFailedError as exc:
                found[system.name]["error"] = str(exc)
                say(f"  {system.name} failed: {exc}")
                continue
            if number:
                found[system.name]["runs"].append({"round": number, **figures})
    text = bench.described.get(corpus, "")
    if row.name == "unchanged":
        text = f"{bench.options.files:,} files"
    return {
        "row": row.name,
        "title": row.title,
        "text": text,
        "chunks": len(Corpus.read(bench.corpus(corpus)).chunks) if corpus else 0,
        "date": date.today().isoformat(),
        "machine": machine(),
        "load": load,
        "versions": {p: v for system in systems for p, v in (system.versions() or {}).items()}
        | {package: version(package) for package in OTHERS},
        "systems": found,
    }


def chosen(row: Row, names: Sequence[str]) -> list[System]:
    """The systems of a row, those that are asked for and installed."""
    systems = [SYSTEMS[name] for name in names]
    if row.systems == "ours":
        return [system for system in systems if system.home == OURS and system.builds]
    return [system for system in systems if system.builds or row.systems == "all"]


def installed(names: Sequence[str]) -> list[str]:
    """Those whose packages are there; a line for each of the others."""
    found = []
    for name in names:
        if SYSTEMS[name].versions() is None:
            say(f"{name} is not installed: pip install -c benchmarks/peers.txt -e '.[peers]'")
        else:
            found.append(name)
    return found


def read_results(folder: Path) -> dict[str, Result]:
    """All that was measured, the last of each row."""
    return {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in sorted(folder.glob("*.json"))}


def write_pages(results: dict[str, Result]) -> None:
    """The tables of README.md and docs/benchmarks.md, and the plot of growth."""
    for page in PAGES:
        before = page.read_text(encoding="utf-8")
        if (after := publish(results, before)) != before:
            page.write_text(after, encoding="utf-8")
    if "scale" in results:
        GROWTH.write_text(growth_svg(results["scale"]), encoding="utf-8")


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--rows", nargs="*", choices=list(ROWS), default=list(ROWS), metavar="ROW", help=", ".join(ROWS)
    )
    parser.add_argument(
        "--peers", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS), metavar="SYSTEM", help=", ".join(SYSTEMS)
    )
    parser.add_argument("--text", type=Path, default=ROOT / "corpora" / "embeddings", help="a folder of documents")
    parser.add_argument("--scifact", type=Path, help="a judged corpus in BEIR layout, for the row quality")
    parser.add_argument("--chunks", type=int, default=2300, help="of ingest and of a query in a new process")
    parser.add_argument("--small", type=int, default=SMALL, help="chunks of the row warm-small")
    parser.add_argument("--large", type=int, default=LARGE, help="chunks of the row warm-large, without --scifact")
    parser.add_argument("--files", type=int, default=FILES, help="of the row unchanged")
    parser.add_argument("--repeat", type=int, default=3, help="rounds")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds for one process")
    parser.add_argument("--place", type=Path, help="a new folder to work in, which is then kept")
    parser.add_argument(
        "--results", type=Path, default=RESULTS, help="where the JSON goes; elsewhere, no page is written"
    )
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    options.results.mkdir(parents=True, exist_ok=True)
    place = options.place or Path(tempfile.mkdtemp(prefix="footnote-benchmarks-"))
    names = installed(options.peers)
    if options.rows and BASELINE not in names:
        say(f"without {BASELINE} there are no ratios")
    bench = Bench(options, place)
    try:
        for name in options.rows:
            row = ROWS[name]
            if name == "quality" and not options.scifact:
                say("quality: skipped, as no judged corpus is given: --scifact FOLDER")
                continue
            if not (systems := chosen(row, names)):
                continue
            result = measure(bench, row, systems)
            (options.results / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            print(f"\n{row.title}\n\n{row_table(result)}", flush=True)
    finally:
        if not options.place:
            shutil.rmtree(place, ignore_errors=True)
    if options.results == RESULTS:
        write_pages(read_results(RESULTS))


if __name__ == "__main__":
    main()
