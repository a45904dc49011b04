"""One measurement of one system, in a process of its own; prints one JSON object as its last line.

    python -m benchmarks.worker TASK SYSTEM CORPUS [INDEX] [JUDGED]

What is measured inside a process (`wall_s`, `cpu_s`) leaves out its start-up: imports, loading the model, one warm-up.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.launcher import descendants
from benchmarks.peers import SYSTEMS, Corpus, System

WARM_UP_CHUNKS = 32
WARM_UP_QUERIES = 20
QUESTIONS = 70  # those to warm up included
HITS = 10
JUDGED_HITS = 100  # chunks a query, enough for ten documents


def cpu_seconds() -> float:
    """Of this process, of the children it waited for, and of those that are still at work."""
    spent = sum(sum(resource.getrusage(who)[:2]) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    for pid in descendants(os.getpid()):
        if pid != os.getpid():
            try:
                fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            except OSError:
                continue  # it has just ended
            spent += sum(int(ticks) for ticks in fields[11:15]) / os.sysconf("SC_CLK_TCK")
    return spent


@contextmanager
def timed() -> Iterator[dict[str, float]]:
    """Fills in wall and CPU seconds of what is done within."""
    spent: dict[str, float] = {}
    wall, cpu = time.perf_counter(), cpu_seconds()
    yield spent
    spent["wall_s"] = time.perf_counter() - wall
    spent["cpu_s"] = cpu_seconds() - cpu


def ingest(system: System, corpus: Path, index: Path) -> dict[str, float]:
    """From the same text to an index on disk that another process can open."""
    peer, whole = system.load(), Corpus.read(corpus)
    with tempfile.TemporaryDirectory(prefix="footnote-warm-up-") as folder:
        small = Corpus(Path(folder) / "files", whole.chunks[:WARM_UP_CHUNKS])
        small.files.mkdir()
        for number, chunk in enumerate(small.chunks):
            (small.files / f"{number}.txt").write_text(chunk, encoding="utf-8")
        peer.build(small, Path(folder) / "index")
    with timed() as spent:
        peer.build(whole, index)
    return {**spent, "chunks": len(whole.chunks)}


def encode(system: System, corpus: Path) -> dict[str, float]:
    """The encoder alone."""
    peer, chunks = system.load(), Corpus.read(corpus).chunks
    peer.encode(chunks[:WARM_UP_CHUNKS])
    with timed() as spent:
        peer.encode(chunks)
    return {**spent, "chunks": len(chunks)}


def percentiles(call: Callable[[str], object], queries: Sequence[str]) -> dict[str, float]:
    """p50 and p95 in milliseconds of one call after the other, each with another query."""
    cpu, times = cpu_seconds(), []
    for query in queries:
        started = time.perf_counter()
        call(query)
        times.append((time.perf_counter() - started) * 1000)
    cpu = cpu_seconds() - cpu
    return {
        "p50_ms": statistics.median(times),
        "p95_ms": statistics.quantiles(times, n=20)[-1],
        "cpu_s": cpu / len(queries),
        "queries": len(queries),
    }


def warm(system: System, corpus: Path, index: Path) -> dict[str, float]:
    """Short queries to an open index."""
    queries = Corpus.read(corpus).queries
    search = system.load().open(index)
    for query in queries[:WARM_UP_QUERIES]:
        search(query, HITS)
    return percentiles(lambda query: search(query, HITS), queries[WARM_UP_QUERIES:])


def ask(system: System, corpus: Path, index: Path) -> dict[str, float]:
    """Whole answers, with their citations checked; ours only."""
    from rag import Index, Pipeline, Retriever

    assert system.name == "footnote"
    queries = Corpus.read(corpus).queries[:QUESTIONS]
    with Index.open(index) as opened:
        pipeline = Pipeline(Retriever(opened))
        for query in queries[:WARM_UP_QUERIES]:
            pipeline.ask(query)
        return percentiles(pipeline.ask, queries[WARM_UP_QUERIES:])


def quality(system: System, corpus: Path, index: Path, judged: Path) -> dict[str, float]:
    """nDCG@10 of a judged set; a document's best chunk counts, wherever its text stands."""
    from rag.beir import read_retrieval_set
    from rag.evaluation import Run, measure

    data, chunks = read_retrieval_set(judged), Corpus.read(corpus)
    places: dict[str, set[str]] = {}
    for chunk, owner in zip(chunks.chunks, chunks.owners, strict=True):
        places.setdefault(chunk, set()).add(owner)
    search = system.load().open(index)
    run: Run = {}
    for query_id, query in data.queries.items():
        scores = run[query_id] = {}
        for found in search(query, JUDGED_HITS):
            for owner in places[chunks.chunks[found.number]]:
                scores[owner] = max(found.score, scores.get(owner, found.score))
    return {"ndcg@10": measure(run, data.qrels)["ndcg@10"], "chunks": len(chunks.chunks), "queries": len(run)}


TASKS: dict[str, Callable[..., dict[str, float]]] = {
    "ingest": ingest,
    "encode": encode,
    "warm": warm,
    "ask": ask,
    "quality": quality,
}


def main() -> None:
    task, system, *folders = sys.argv[1:]
    found = TASKS[task](SYSTEMS[system], *(Path(folder) for folder in folders))
    print(json.dumps(found))


if __name__ == "__main__":
    main()
