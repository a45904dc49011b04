"""Where the time of a query in a new process, of an ingest and of the encoder goes.

    python -m benchmarks.profiles --text FOLDER --chunks 2300

The functions between which time is divided are wrapped, so that each is charged what passes between its begin and its
end, less what the others in it are charged; what an import takes is charged to the package that is imported. Of the
encoder, onnxruntime's own profile is summed by operator for one text on one core, beside the share of its matrix
products that the core could reach at best. Medians of several rounds, each in a process of its own.
"""

from __future__ import annotations

import argparse
import builtins
import functools
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from benchmarks.processes import QUIET, ROOT, machine

QUERY = "how do I install a plugin"
RESULT = ROOT / "benchmarks" / "results" / "profiles.json"
PACKAGES = ("rag", "numpy", "faiss", "onnxruntime", "tokenizers", "click")
TOKENS = 190  # as many as an ordinary passage has
REPEAT = 20


class Clock:
    """Divides the main thread's time between labels; one that begins within another stops it until it ends."""

    def __init__(self) -> None:
        self.ms: dict[str, float] = defaultdict(float)
        self._labels = ["the rest"]
        self._since = time.perf_counter()

    def _charge(self) -> None:
        now = time.perf_counter()
        self.ms[self._labels[-1]] += 1000 * (now - self._since)
        self._since = now

    @contextmanager
    def charging(self, label: str) -> Iterator[None]:
        self._charge()
        self._labels.append(label)
        try:
            yield
        finally:
            self._charge()
            self._labels.pop()

    def wrap(self, owner: Any, name: str, label: str) -> None:
        """Charge a function or method to a label wherever it is called by that name."""
        real = owner.__dict__[name]
        inner = real.__func__ if isinstance(real, classmethod) else real

        @functools.wraps(inner)
        def charged(*args: Any, **kwargs: Any) -> Any:
            with self.charging(label):
                return inner(*args, **kwargs)

        setattr(owner, name, classmethod(charged) if isinstance(real, classmethod) else charged)

    def wrap_imports(self) -> None:
        real = builtins.__import__

        def charged(name: str, *args: Any, **kwargs: Any) -> Any:
            level = args[3] if len(args) > 3 else kwargs.get("level", 0)
            package = name.split(".", maxsplit=1)[0]
            if level or name in sys.modules:
                return real(name, *args, **kwargs)
            label = f"import {package}" if package in PACKAGES else self._labels[-1]
            if package in sys.stdlib_module_names:
                label = "import Python's own modules"
            with self.charging(label):
                return real(name, *args, **kwargs)

        builtins.__import__ = charged

    def done(self) -> dict[str, float]:
        self._charge()
        return dict(self.ms)


# What is measured, each in a process of its own


def search(index: str) -> dict[str, float]:
    """`rag search`, from the first line of its program to the last."""
    clock = Clock()
    clock.wrap_imports()
    import rag.cli
    import rag.encoders.cache
    import rag.encoders.compiled
    import rag.index
    import rag.retriever
    import rag.snapshots
    import rag.store
    import rag.vectors.flat

    clock.wrap(rag.encoders.compiled.CompiledEncoder, "load", "the encoder: open its graph")
    clock.wrap(rag.encoders.compiled, "read_tokenizer", "the encoder: open its tokenizer")
    clock.wrap(rag.encoders.compiled.CompiledEncoder, "read_queries", "the encoder: embed the query")
    clock.wrap(rag.index.Index, "open", "open the index")
    clock.wrap(rag.snapshots.VectorCache, "current", "read the vectors")
    clock.wrap(rag.vectors.flat.FlatVectors, "search", "compare the vectors")
    clock.wrap(rag.store.Store, "bm25_and", "rank by words")
    clock.wrap(rag.retriever, "late_interaction", "compare the tokens of the best")
    clock.wrap(rag.retriever.Retriever, "search", "the rest of a search: fuse, read passages")
    sys.argv = ["rag", "search", QUERY, "--index", index, "--json"]
    sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - until the process ends
    try:
        rag.cli.main()
    except SystemExit as exc:
        if exc.code:
            raise
    sys.stdout = sys.__stdout__
    return clock.done()


def ingest(folder: str) -> dict[str, float]:
    """All files of a folder into a new index, start-up left out."""
    import resource

    import rag.embedder
    import rag.encoders.compiled
    import rag.encoders.running
    import rag.loaders.isolation
    import rag.snapshots
    import rag.writer
    from rag.index import Index

    with tempfile.TemporaryDirectory(prefix="footnote-profile-") as place:
        with Index.create(Path(place) / "index") as index:
            index.encoder.encode_documents(["Warm up."] * 8)
            clock = Clock()
            clock.wrap(rag.loaders.isolation.IsolatedLoader, "load", "wait for the process that reads files")
            clock.wrap(rag.embedder.Embedder, "cut", "cut into passages, by the encoder's tokens")
            clock.wrap(rag.encoders.compiled.CompiledEncoder, "_encode", "embed: tokens, plan, results")
            clock.wrap(rag.encoders.running.Runner, "run", "embed: the graph, on all cores")
            for name in ("put_file", "add_embeddings"):
                clock.wrap(rag.writer.StoreWriter, name, "write to SQLite, word index included")
            clock.wrap(rag.store.Store, "known_embeddings", "look for known texts")
            clock.wrap(rag.snapshots.VectorCache, "refresh", "write the snapshot")
            before, started = time.process_time(), time.perf_counter()
            report = index.ingest(folder)
            wall, cpu = time.perf_counter() - started, time.process_time() - before
            found = clock.done()
        children = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    return {
        **found,
        "total: wall": 1000 * wall,
        "total: CPU, all threads": 1000 * cpu,
        "total: CPU of the process that reads files": 1000 * children,
        "total: passages": report.chunks,
    }


def operators(tokens: str) -> dict[str, float]:
    """Milliseconds of one text on one core, by operator, and those its 8-bit or 32-bit products would need at best."""
    import numpy as np
    import onnxruntime

    from rag.encoders import CompiledEncoder, load_encoder
    from rag.encoders.base import bundled_model
    from rag.encoders.cache import checked_spec, compiled_file

    encoder, folder = load_encoder(), bundled_model()
    if not isinstance(encoder, CompiledEncoder) or folder is None:
        raise SystemExit("the bundled model is not there, or is not compiled")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    file = str(compiled_file(checked_spec(folder, encoder.name, None), encoder.chosen.precision))
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    ids = np.random.default_rng(0).integers(1000, 20_000, size=(1, int(tokens))).astype(np.int32)
    times = []
    for _ in range(REPEAT):
        started = time.perf_counter()
        session.run(["vectors"], {"input_ids": ids})
        times.append(1000 * (time.perf_counter() - started))
    found = {"total: one text": statistics.median(times)}
    with tempfile.TemporaryDirectory(prefix="footnote-profile-") as place:
        options.enable_profiling, options.profile_file_prefix = True, f"{place}/p"
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        for _ in range(REPEAT):
            session.run(["vectors"], {"input_ids": ids})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    spent: dict[str, float] = defaultdict(float)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            spent[event["args"]["op_name"]] += event["dur"] / 1000 / REPEAT
    return {**found, **spent}


MEASURES: dict[str, Callable[[str], dict[str, float]]] = {"search": search, "ingest": ingest, "operators": operators}


def process(measure: str, argument: str) -> dict[str, float]:
    started = time.perf_counter()
    words = [sys.executable, "-m", "benchmarks.profiles", "--measure", measure, argument]
    done = subprocess.run(words, cwd=ROOT, env={**os.environ, **QUIET}, stdout=subprocess.PIPE, check=True)
    whole = 1000 * (time.perf_counter() - started)
    found: dict[str, float] = json.loads(done.stdout.decode().strip().splitlines()[-1])
    if measure == "search":
        found["start and end Python"] = whole - sum(found.values())
        found["total"] = whole
    return found


def medians(rounds: Sequence[dict[str, float]]) -> dict[str, float]:
    labels = dict.fromkeys(label for found in rounds for label in found)
    return {label: round(statistics.median(found.get(label, 0.0) for found in rounds), 2) for label in labels}


def table(title: str, found: dict[str, float]) -> str:
    parts = {label: ms for label, ms in found.items() if not label.startswith("total")}
    whole = sum(parts.values())
    lines = [f"| {title} | ms | share |", "| --- | --- | --- |"]
    lines += [
        f"| {label} | {ms:,.1f} | {ms / whole:.0%} |"
        for label, ms in sorted(parts.items(), key=lambda part: -part[1])
        if ms >= whole / 200
    ]
    lines += [f"| {label} | {ms:,.1f} | |" for label, ms in found.items() if label.startswith("total")]
    return "\n".join(lines)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        print(json.dumps(MEASURES[sys.argv[2]](sys.argv[3])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=ROOT / "corpora" / "embeddings", help="a folder of documents")
    parser.add_argument("--chunks", type=int, default=2300)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="footnote-profiles-"))
    try:
        from benchmarks import corpora
        from rag.index import Index

        corpora.gather(options.text, place / "corpus", n_chunks=options.chunks, fill=True)
        files = str(place / "corpus" / "files")
        with Index.create(place / "index") as index:
            index.ingest(files)
        process("search", str(place / "index"))  # reads programs from the disk
        found = {
            "search": medians([process("search", str(place / "index")) for _ in range(options.repeat)]),
            "ingest": medians([process("ingest", files) for _ in range(min(options.repeat, 3))]),
            "operators": medians([process("operators", str(TOKENS)) for _ in range(options.repeat)]),
        }
    finally:
        shutil.rmtree(place, ignore_errors=True)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    result = {"date": date.today().isoformat(), "machine": machine(), **found}
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    for title, each in found.items():
        print(f"\n{table(title, each)}")


if __name__ == "__main__":
    main()
