"""How long BM25 takes on one index, against FTS5's own ranking of the same queries, and whether both find the same.

    python -m benchmarks.words --index DIR --queries train.jsonl.gz dev-v1.1.json.gz

Queries are the questions of the files (JSON lines with `text`, or SQuAD's format), so many of each by a fixed lot, and
some that are made of the index's own words: short and long, of frequent, of rare and of all words. The unpruned ranking
is FTS5's: one OR query, `order by rank`. Both are timed in turn, in one process; some again in new processes, where
SQLite has read nothing yet. Recall counts a passage as found if it scores as high as the hundredth of the unpruned
ranking. `benchmarks.scale` has the functions that make an index of a million passages.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np

import rag.bm25
from rag.queries import query_terms
from rag.store import Store

DEPTH = 201  # as many as a search asks for
CUT = 100  # of recall@100
TOLERANCE = 1e-6
UNPRUNED = "select rowid, rank from chunks_fts where chunks_fts match ? order by rank limit ?"
WORDS = {"frequent": (0.02, 0.5), "rare": (0.0, 0.001), "any": (0.0, 0.5)}  # shares of the chunks that hold one
Search = Callable[[Sequence[str]], dict[int, float]]
LENGTHS = {"short": (1, 3), "long": (10, 30)}


def questions(file: Path) -> list[str]:
    data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    if ".jsonl" in file.suffixes:
        return [json.loads(line)["text"] for line in data.splitlines()]
    articles = json.loads(data)["data"]
    return [qa["question"] for article in articles for paragraph in article["paragraphs"] for qa in paragraph["qas"]]


def made_queries(path: Path, *, of_each: int, lot: random.Random) -> dict[str, list[str]]:
    """Queries of the index's own words, by kind; words are of letters, and stems, which are stemmed again."""
    with sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True) as db:
        n = db.execute("select count(*) from chunks").fetchone()[0]
        known = [row for row in db.execute("select term, doc from chunks_words") if re.fullmatch("[a-z]{3,}", row[0])]
    made = {}
    for name, (least, most) in WORDS.items():
        words = [term for term, doc in known if least * n < doc <= most * n]
        for length, (fewest, longest) in LENGTHS.items():
            sizes = [min(lot.randint(fewest, longest), len(words)) for _ in range(of_each)]
            made[f"{length}, of {name} words"] = [" ".join(lot.sample(words, size)) for size in sizes]
    return made


def unpruned(db: sqlite3.Connection, terms: Sequence[str]) -> dict[int, float]:
    """What one query of FTS5 ranks; terms are of what questions consist of."""
    rows = db.execute(UNPRUNED, [" OR ".join(f'"{term}"' for term in terms), DEPTH])
    return {row[0]: -row[1] for row in rows}


def ours(store: Store, terms: Sequence[str]) -> dict[int, float]:
    """All that a hybrid search asks of the words."""
    with store.transaction():
        store.bm25_ceiling(terms)
        return store.bm25(terms, k=DEPTH)


def recall(found: dict[int, float], expected: dict[int, float]) -> float:
    """Share of the unpruned ranking's first hundred; of equal scores, any will do."""
    wanted = sorted(expected.values(), reverse=True)[:CUT]
    if not wanted:
        return 1.0
    enough = wanted[-1] * (1 - TOLERANCE)
    first = sorted(found, key=lambda i: -found[i])[: len(wanted)]
    # One that the unpruned ranking cut off at its depth has at most the score of its last.
    last = min(expected.values()) if len(expected) == DEPTH else 0.0
    return sum(expected.get(i, min(found[i], last)) >= enough for i in first) / len(wanted)


class Timed:
    """Milliseconds of queries: on the clock, and of the processor, which other programs do not slow so much."""

    def __init__(self) -> None:
        self.wall: list[float] = []
        self.processor: list[float] = []

    def __call__(self, call: Search, terms: Sequence[str]) -> dict[int, float]:
        wall, processor = time.perf_counter(), time.process_time()
        found = call(terms)
        self.wall.append((time.perf_counter() - wall) * 1000)
        self.processor.append((time.process_time() - processor) * 1000)
        return found

    def row(self) -> dict[str, dict[str, float]]:
        return {"ms": quantiles(self.wall), "processor ms": quantiles(self.processor)}


def quantiles(times: Sequence[float]) -> dict[str, float]:
    return {
        "p50": round(float(np.percentile(times, 50)), 1),
        "p95": round(float(np.percentile(times, 95)), 1),
        "max": round(max(times), 1),
    }


def first_of_a_process(path: Path, terms: Sequence[str], *, plain: bool) -> float:
    """Milliseconds of one query in a new process, opening the file included, Python's start not."""
    call = (
        f"store._db.execute({UNPRUNED!r}, [' OR '.join(f'\"{{t}}\"' for t in terms), {DEPTH}]).fetchall()"
        if plain
        else f"[store.bm25_ceiling(terms), store.bm25(terms, k={DEPTH})]"
    )
    code = (
        "import json, sys, time; from pathlib import Path; from rag.store import Store\n"
        "path, terms = json.loads(sys.argv[1])\n"
        f"started = time.perf_counter(); store = Store(Path(path)); {call}\n"
        "print((time.perf_counter() - started) * 1000)"
    )
    words = [sys.executable, "-c", code, json.dumps([str(path), terms])]
    return float(subprocess.run(words, check=True, stdout=subprocess.PIPE).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--index", type=Path, required=True, help="the folder of an index")
    parser.add_argument("--queries", type=Path, nargs="*", default=[], help="files of questions")
    parser.add_argument("--of-each", type=int, default=150, help="questions of each file")
    parser.add_argument("--made", type=int, default=20, help="made queries of each kind")
    parser.add_argument("--new-processes", type=int, default=30, help="queries that are run in new processes too")
    options = parser.parse_args()
    lot = random.Random(0)
    path: Path = options.index / "index.sqlite"
    kinds = {f"questions of {file.name}": questions(file) for file in options.queries}
    kinds = {name: lot.sample(all_of, min(options.of_each, len(all_of))) for name, all_of in kinds.items()}
    kinds |= made_queries(path, of_each=options.made, lot=lot)
    queries = [(kind, query_terms(query)) for kind, each in kinds.items() for query in each]
    lot.shuffle(queries)

    # With FTS5's own constants, so that both rank alike.
    rag.bm25._K1, rag.bm25._B, rag.bm25._weight = rag.bm25._FTS5_K1, rag.bm25._FTS5_B, rag.bm25._fts5_weight
    store, plain = Store(path), Store(path)
    each = {kind: {"unpruned": Timed(), "ours": Timed()} for kind in kinds}
    total, again = {"unpruned": Timed(), "ours": Timed()}, Timed()
    recalls, error = [], 0.0
    for kind, terms in queries:
        found = total["ours"](partial(each[kind]["ours"], partial(ours, store)), terms)
        expected = total["unpruned"](partial(each[kind]["unpruned"], partial(unpruned, plain._db)), terms)
        recalls.append(recall(found, expected))
        error = max([error, *(abs(found[i] - expected[i]) / expected[i] for i in found.keys() & expected.keys())])
    for _, terms in queries:
        again(partial(ours, store), terms)
    started = [terms for _, terms in queries[: options.new_processes]]
    new = {
        "unpruned": [first_of_a_process(path, terms, plain=True) for terms in started],
        "ours": [first_of_a_process(path, terms, plain=False) for terms in started],
    }
    result = {
        "chunks": store.n_chunks(),
        "queries": len(queries),
        "recall@100": {"mean": round(float(np.mean(recalls)), 4), "min": round(min(recalls), 4)},
        "largest difference of a score": error,  # as a share of it
        "all queries": {side: timed.row() for side, timed in total.items()},
        "all queries a second time": again.row(),
        "in new processes, ms": {side: quantiles(times) for side, times in new.items()},
        **{
            kind: {"queries": len(timed["ours"].wall), **{side: t.row() for side, t in timed.items()}}
            for kind, timed in each.items()
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
