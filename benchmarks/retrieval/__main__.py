"""How good the rankings are: python -m benchmarks.retrieval DATA

    python -m benchmarks.retrieval ../shared/data                          all sets, all rows
    python -m benchmarks.retrieval ../shared/data --sets cacm --rows hybrid dense
    python -m benchmarks.retrieval ../shared/data --work FOLDER --write    keep the indexes, write results and the page

Each corpus is indexed by the product. Its modes are searched through `Retriever`; the plain parts and what was tried
are worked out over the vectors and words of the same index. A document's best passage counts. Rows on which nothing is
learned stand for themselves; 'learned' is fitted on those of the tuning sets that are asked for, so it needs one.
docs/retrieval.md says what each row is; with --write its tables are written from benchmarks/results/retrieval.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.processes import ROOT, machine
from benchmarks.retrieval.matrices import Array, Corpora, Matrices
from benchmarks.retrieval.methods import METHODS, Examples, examples, learn, learned_scores
from benchmarks.retrieval.sets import SOURCES, Source
from benchmarks.retrieval.tables import LEARNED, MODES, ROWS, publish
from rag.beir import RetrievalSet, Run
from rag.chunking import Chunking
from rag.encoders import load_encoder
from rag.evaluation import document_scores
from rag.index import Index
from rag.retriever import Mode, Retriever
from rag.runs import Measured, comparison_json, measure_queries, measure_run, measured_json
from rag.significance import compare_pairs

RESULT = ROOT / "benchmarks" / "results" / "retrieval.json"
PAGE = ROOT / "docs" / "retrieval.md"
_RUN_DEPTH = 400  # chunks a query: enough that 100 documents are among them
DEFAULT = Chunking().max_tokens
_TIMED = 200  # queries, at most
_MODES: dict[str, Mode] = {"hybrid": "hybrid", "fused": "hybrid", "dense": "dense", "bm25": "bm25"}
_PACKAGES = ("numpy", "faiss-cpu", "onnxruntime", "scikit-learn")


def say(text: str) -> None:
    print(f"{time.strftime('%X')} {text}", file=sys.stderr, flush=True)


def search(retriever: Retriever, data: RetrievalSet, mode: Mode) -> tuple[Run, float]:
    """The run of one mode, and the milliseconds that half of its queries take less than, ten hits each."""
    took = []
    for query in list(data.queries.values())[:_TIMED]:
        started = time.perf_counter()
        retriever.search(query, k=10, mode=mode)
        took.append((time.perf_counter() - started) * 1000)
    run = {q: document_scores(retriever.search(query, k=_RUN_DEPTH, mode=mode)) for q, query in data.queries.items()}
    return run, float(np.median(took))


def measure_modes(index: Index, data: RetrievalSet, names: Sequence[str]) -> dict[str, Any]:
    """The product's own modes, and hybrid held beside the better single side."""
    measured: dict[str, Measured] = {}
    rows: dict[str, Any] = {}
    for name in names:
        run, p50 = search(Retriever(index, late=name != "fused"), data, _MODES[name])
        measured[name] = measure_run(run, data.qrels)
        rows[name] = {**measured_json(measured[name]), "p50_ms": round(p50, 1)}
    if measured.keys() >= {"hybrid", "dense", "bm25"}:
        values = {name: list(of.values["ndcg@10"].values()) for name, of in measured.items()}
        side = max(("dense", "bm25"), key=lambda name: float(np.mean(values[name])))
        rows["hybrid"]["against"] = {"side": side, **comparison_json(compare_pairs(values[side], values["hybrid"]))}
    return rows


def measure_scores(m: Matrices, scores: Array) -> dict[str, float]:
    """The means of a method. Intervals are for what the product does: of a wrong turn they would say nothing more."""
    values = measure_queries(m.run(scores), m.data.qrels)
    return {name: round(float(np.mean(list(values[name].values()))), 4) for name in ("ndcg@10", "recall@100")}


def bound(corpora: Corpora, source: Source, data: RetrievalSet, *, max_tokens: int) -> Matrices:
    folder = corpora.index(source.corpus, data.documents, max_tokens=max_tokens)
    return Matrices(
        data,
        corpora.corpus(folder),
        corpora.encoder,
        sentences=lambda: corpora.sentences(folder),
        pooled=lambda: corpora.pooled(folder),
        tokens=lambda: corpora.tokens(folder),
    )


def measure_set(
    corpora: Corpora, source: Source, data: RetrievalSet, rows: Sequence[str]
) -> tuple[dict[str, Any], Examples | None]:
    """All rows of one set, and the candidates that weights are learned from."""
    folder = corpora.index(source.corpus, data.documents)
    with Index.open(folder, encoder=corpora.encoder) as index:
        found = measure_modes(index, data, [name for name in MODES if name in rows])
    methods = [method for method in METHODS.values() if method.name in rows]
    matrices = {n: bound(corpora, source, data, max_tokens=n) for n in {DEFAULT, *(of.max_tokens for of in methods)}}
    for method in methods:
        started, m = time.perf_counter(), matrices[method.max_tokens]
        found[method.name] = measure_scores(m, method.scores(m))
        say(f"  {method.name}: {found[method.name]['ndcg@10']:.4f} in {time.perf_counter() - started:.1f} s")
    return found, examples(matrices[DEFAULT]) if LEARNED in rows else None


def measure(data: Path, corpora: Corpora, names: Sequence[str], rows: Sequence[str]) -> dict[str, Any]:
    """Everything that is asked for, in the form of benchmarks/results/retrieval.json."""
    read = {name: SOURCES[name].read(data) for name in names}
    sets: dict[str, Any] = {}
    candidates: dict[str, Examples] = {}
    for name, judged in read.items():
        say(f"{name}: {len(judged.queries)} queries")
        measured, of_set = measure_set(corpora, SOURCES[name], judged, rows)
        sets[name] = {
            "documents": len(judged.documents),
            "queries": len(judged.queries),
            "is_tuning": SOURCES[name].is_tuning,
            "rows": measured,
        }
        if of_set is not None:
            candidates[name] = of_set
    if tuning := [name for name in candidates if SOURCES[name].is_tuning]:
        weights = learn([candidates[name] for name in tuning])
        for name, of_set in candidates.items():
            m = bound(corpora, SOURCES[name], read[name], max_tokens=DEFAULT)
            scores = learned_scores(of_set, weights, n_passages=len(m.corpus.chunks))
            sets[name]["rows"][LEARNED] = measure_scores(m, scores)
    elif candidates:
        say("learned: left out, as none of the sets is one that may be fitted on")
    return {
        "date": date.today().isoformat(),
        "machine": machine(),
        "versions": {package: version(package) for package in _PACKAGES},
        "encoder": f"{corpora.encoder.name} ({corpora.encoder.form})",
        "sets": sets,
    }


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.retrieval", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of judged sets, as shared/data is")
    parser.add_argument(
        "--sets", nargs="+", choices=list(SOURCES), default=None, metavar="NAME", help=", ".join(SOURCES)
    )
    parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=None, metavar="NAME", help=", ".join(ROWS))
    parser.add_argument("--work", type=Path, help="where indexes are kept for the next run (3 GB); else nowhere")
    parser.add_argument(
        "--write", action="store_true", help=f"replace {RESULT.relative_to(ROOT)} and the page's tables"
    )
    options = parser.parse_args(words)
    if options.write and (options.sets or options.rows):
        parser.error("--write is for all sets and all rows; --rows without a name writes the tables alone")
    return options


def main(words: Sequence[str] | None = None) -> None:
    options = parse(words)
    if options.rows == []:  # as `python -m benchmarks --rows`: measure nothing, write what was measured
        write_page(json.loads(RESULT.read_text(encoding="utf-8")))
        return
    names = options.sets or [name for name, source in SOURCES.items() if (options.data / source.needs).exists()]
    with ExitStack() as stack:
        place = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="footnote-retrieval-")))
        result = measure(options.data, Corpora(place, load_encoder(), say=say), names, options.rows or list(ROWS))
    print(json.dumps(result, indent=1))
    if options.write:
        RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        write_page(result)


def write_page(result: dict[str, Any]) -> None:
    PAGE.write_text(publish(result, PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
