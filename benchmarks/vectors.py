"""What a search among very many vectors costs, and what it finds of what exact search finds.

    python -m benchmarks.vectors --text FOLDER --questions FILE... --vectors 200000 1000000 10000000

FOLDER holds real text (.txt, .md, .rst, as .gz or in .tar.gz too, and .jsonl.gz with a "text" in each line); each FILE
is in SQuAD format, or JSON lines with a "text". Real passages are encoded; more vectors are made between each and one
of the hundred nearest to it, and turned away at random so far that their nearest neighbours have the cosines of the
real ones' (`neighbours` in the result tells both). They are written into an index.sqlite, and every row is measured in
a process of its own, through the cache of vectors that a search uses. Queries are real questions, and mixtures that
are not in the index. 10 million vectors take 21 GB on disk.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import shutil
import sqlite3
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.processes import ROOT, machine, run
from rag.encoders import load_encoder
from rag.index import Index
from rag.snapshots import VectorCache
from rag.store import Store

REAL = 20_000
QUERIES = 500  # of each kind
NEAR = 100
NOISE = 0.6  # length of what a mixture is turned away by, before it is made a unit vector again
DEPTH = 201  # what hybrid search asks for
BATCH = 50_000
TEXT = "x" * 400  # as long as a short passage: SQLite's pages should be as full as in life
Vectors32 = NDArray[np.float32]


# Real vectors


def texts_below(folder: Path) -> Iterator[str]:
    for file in sorted(folder.rglob("*")):
        if file.name.endswith(".tar.gz"):
            with tarfile.open(file) as packed:
                for member in packed:
                    if member.name.endswith((".txt", ".md", ".rst")) and (opened := packed.extractfile(member)):
                        yield opened.read().decode(errors="replace")
        elif file.name.endswith(".jsonl.gz"):
            for line in gzip.decompress(file.read_bytes()).decode().splitlines():
                yield str(json.loads(line).get("text", ""))
        elif file.name.endswith((".txt.gz", ".md.gz")):
            yield gzip.decompress(file.read_bytes()).decode(errors="replace")
        elif file.suffix in {".txt", ".md", ".rst"}:
            yield file.read_text(encoding="utf-8", errors="replace")


def passages_below(folder: Path) -> list[str]:
    """Distinct passages of 150 to 800 characters, cut where paragraphs end if they can be."""
    found: dict[str, None] = {}
    for text in texts_below(folder):
        part = ""
        for paragraph in [*re.split(r"\n\s*\n", text), ""]:
            part = f"{part} {' '.join(paragraph.split())}".strip()
            while len(part) > 700 or (part and not paragraph):
                if len(part[:800]) >= 150:
                    found[part[:800]] = None
                part = part[800:]
    return list(found)


def questions_in(files: list[Path]) -> list[str]:
    found: dict[str, None] = {}
    for file in files:
        text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode()
        if ".jsonl" in file.name:
            found.update((json.loads(line)["text"], None) for line in text.splitlines())
        else:
            paragraphs = [paragraph for article in json.loads(text)["data"] for paragraph in article["paragraphs"]]
            found.update((question["question"], None) for p in paragraphs for question in p["qas"])
    return list(found)


def encode(text: Path, questions: list[Path], kept: Path) -> None:
    """Real passages and questions as vectors, kept so that another run need not encode them again."""
    rng = np.random.default_rng(0)
    passages, asked = passages_below(text), questions_in(questions)
    rng.shuffle(passages)
    rng.shuffle(asked)
    encoder = load_encoder()
    np.savez(kept, real=encoder.encode_documents(passages[:REAL]), questions=encoder.encode_queries(asked[:QUERIES]))


# Made vectors


def unit(rows: Vectors32) -> Vectors32:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def nearest(queries: Vectors32, rows: Vectors32, k: int) -> tuple[Vectors32, NDArray[np.int64]]:
    import faiss

    scores, found = faiss.knn(queries, rows, k, metric=faiss.METRIC_INNER_PRODUCT)
    return scores, found


class Mixtures:
    """Vectors between neighbours among the real ones."""

    def __init__(self, real: Vectors32, *, seed: int) -> None:
        self._real = real
        self._rng = np.random.default_rng(seed)
        self._near = nearest(real, real, NEAR + 1)[1][:, 1:]

    def take(self, n: int) -> NDArray[np.float16]:
        rng, dim = self._rng, self._real.shape[1]
        which = rng.integers(len(self._real), size=n)
        share = rng.uniform(0.5, 1, size=(n, 1)).astype(np.float32)
        others = self._real[self._near[which, rng.integers(NEAR, size=n)]]
        mixed = unit(share * self._real[which] + (1 - share) * others)
        noise = rng.standard_normal((n, dim), dtype=np.float32) * np.float32(NOISE / np.sqrt(dim))
        return unit(mixed + noise).astype(np.float16)


# The index


def add_chunks(place: Path, mixtures: Mixtures, n: int) -> None:
    """Chunks with vectors, one change for each batch, without words."""
    with closing(sqlite3.connect(place / "index.sqlite", isolation_level=None)) as db:
        db.execute("pragma synchronous = off")
        for (trigger,) in db.execute("select name from sqlite_master where type = 'trigger'").fetchall():
            db.execute(f"drop trigger {trigger}")  # of the word index, which is not searched here
        columns = {row[1] for row in db.execute("pragma table_info(chunks)")}
        values = {"start": 0, "end": len(TEXT), "breaks": "[]", "context": "", "text": TEXT, "text_key": 0}
        fixed = {name: value for name, value in values.items() if name in columns}
        while n > 0:
            some = min(n, BATCH)
            db.execute("begin immediate")
            change = db.execute("insert into changes (token, at) values (?, '')", [os.urandom(8)]).lastrowid
            first = int(db.execute("select coalesce(max(id), 0) from embeddings").fetchone()[0]) + 1
            document = db.execute(
                "insert into documents (source, text, sections, pages, metadata) values (?, '', '[]', '[]', '{}')",
                [f"{first}.txt"],
            ).lastrowid
            vectors = mixtures.take(some)
            db.executemany(
                "insert into embeddings (id, key, vector) values (?, ?, ?)",
                ((first + i, (first + i).to_bytes(32, "big"), vector.tobytes()) for i, vector in enumerate(vectors)),
            )
            marks = ", ".join("?" * (3 + len(fixed)))
            db.executemany(
                f"insert into chunks (document_id, change_id, embedding_id, {', '.join(fixed)}) values ({marks})",
                ((document, change, first + i, *fixed.values()) for i in range(some)),
            )
            db.execute("commit")
            n -= some


def opened(place: Path) -> Store:
    return Store(place / "index.sqlite")


def truth(place: Path, queries: Vectors32) -> NDArray[np.int64]:
    """The ids of the 200 nearest to each query, all vectors of SQLite compared."""
    import faiss

    wrapped: Any = faiss
    heap = wrapped.ResultHeap(len(queries), 200, keep_max=True)
    with closing(opened(place)) as store:
        for ids, data in store.vectors_since(0, batch=16_384):
            rows = np.frombuffer(data, dtype="<f2").reshape(len(ids), -1).astype(np.float32)
            scores, found = nearest(queries, rows, min(200, len(ids)))
            heap.add_result(scores, np.asarray(ids)[found])
    heap.finalize()
    return np.asarray(heap.I)


# What is measured, each in a process of its own


def seconds_of(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def measure_build(place: Path, dim: int) -> dict[str, object]:
    with closing(opened(place)) as store, store.transaction():
        cache = VectorCache(place)
        seconds = seconds_of(lambda: cache.refresh(store, dim=dim))
        return {"seconds": round(seconds, 1), "record": cache.record(store)}


def measure_search(place: Path, dim: int) -> dict[str, object]:
    """Open, and search for each query as hybrid search does: one transaction each."""
    asked = np.load(place / "queries.npz")
    found: dict[str, object] = {}
    with closing(opened(place)) as store:
        cache = VectorCache(place)

        def search(query: Vectors32, k: int = DEPTH, passing: NDArray[np.uint8] | None = None) -> dict[int, float]:
            with store.transaction():
                return cache.current(store, dim=dim).search(query, k=k, passing=passing)

        def open_it() -> None:
            with store.transaction():
                cache.current(store, dim=dim)

        found["open_ms"] = round(1000 * seconds_of(open_it), 1)
        found["first_query_ms"] = round(1000 * seconds_of(lambda: search(asked["held_out"][0])), 1)
        for kind in ("questions", "held_out"):
            times, hits_10, hits_200 = [], 0, 0
            for query, true in zip(asked[kind], asked[f"{kind}_truth"], strict=True):
                started = time.perf_counter()
                ids = list(search(query))
                times.append(1000 * (time.perf_counter() - started))
                hits_10 += len(set(ids[:10]) & set(true[:10].tolist()))
                hits_200 += len(set(ids[:200]) & set(true.tolist()))
            n = len(times)
            p50, p95 = np.percentile(times, [50, 95])
            found[kind] = {
                "recall@10": round(hits_10 / (10 * n), 4),
                "recall@200": round(hits_200 / (200 * n), 4),
                "p50_ms": round(p50, 2),
                "p95_ms": round(p95, 2),
            }
        last = int(asked["last_id"])
        for name, share in (("all", 1.0), ("1 in 100", 0.01), ("1 in 10,000", 0.0001)):
            passes = np.packbits(np.random.default_rng(0).random(last + 1) < share, bitorder="little")
            times = [1000 * seconds_of(lambda q=q, p=passes: search(q, passing=p)) for q in asked["questions"][:7]]  # type: ignore[misc]
            found[f"filtered, {name} pass, ms"] = round(float(np.median(times)), 1)
    return found


def measure_flat(place: Path, dim: int) -> dict[str, object]:
    """The same with all vectors in memory, for comparison."""
    from rag.vectors import FlatVectors

    flat = FlatVectors(dim)
    with closing(opened(place)) as store:
        for ids, data in store.vectors_since(0):
            flat.add(ids, np.frombuffer(data, dtype="<f2").reshape(len(ids), dim))
    asked = np.load(place / "queries.npz")["questions"][:100]
    times = [1000 * seconds_of(lambda q=q: flat.search(q, k=DEPTH)) for q in asked]  # type: ignore[misc]
    return {"p50_ms": round(float(np.median(times)), 2), "p95_ms": round(float(np.percentile(times, 95)), 2)}


def measure_sqlite(place: Path, dim: int) -> dict[str, object]:
    """What reading 1,608 candidates' vectors from SQLite takes, which sketched vectors read from their snapshot."""
    with closing(opened(place)) as store:
        ids, rng = store.vector_ids(), np.random.default_rng(0)
        draws = [np.sort(rng.choice(ids, size=1608)).tolist() for _ in range(20)]
        times = [1000 * seconds_of(lambda some=some: list(store.vectors_of(some))) for some in draws]  # type: ignore[misc]
    return {"p50_ms": round(float(np.median(times)), 2)}


MEASURES = {"build": measure_build, "search": measure_search, "flat": measure_flat, "sqlite": measure_sqlite}


def process(measure: str, place: Path, dim: int) -> dict[str, object]:
    cost = run([sys.executable, "-m", "benchmarks.vectors", "--measure", measure, str(place), str(dim)])
    found: dict[str, object] = json.loads(cost.out.strip().splitlines()[-1])
    return {**found, "peak_mb": round(cost.peak_mb)}


def drop_from_cache(place: Path) -> None:
    """Have the system forget what it keeps of the index's files, so that the next process reads the disk."""
    os.sync()
    for file in place.iterdir():
        if file.is_file() and hasattr(os, "posix_fadvise"):
            with file.open("rb") as data:
                os.posix_fadvise(data.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def measured(n: int, encoded: Path, folder: Path) -> dict[str, object]:
    kept = np.load(encoded)
    real, dim = kept["real"], int(kept["real"].shape[1])
    place = folder / "index"
    shutil.rmtree(place, ignore_errors=True)
    Index.create(place).close()
    started = time.perf_counter()
    mixtures = Mixtures(real, seed=1)
    add_chunks(place, mixtures, n)
    filled = time.perf_counter() - started
    queries = {"questions": kept["questions"][:QUERIES], "held_out": mixtures.take(QUERIES).astype(np.float32)}
    both = np.concatenate(list(queries.values()))
    truths = truth(place, both)
    with closing(opened(place)) as store:
        last = int(store.vector_ids().max())
    np.savez(
        place / "queries.npz",
        **queries,
        questions_truth=truths[: len(queries["questions"])],
        held_out_truth=truths[len(queries["questions"]) :],
        last_id=np.array(last),
    )
    result: dict[str, object] = {"vectors": n, "filled_s": round(filled, 1)}
    sample = mixtures.take(1000).astype(np.float32)
    result["build"] = process("build", place, dim)
    (snapshot,) = place.glob("vectors-*.faiss")
    result["snapshot_mb"] = round(snapshot.stat().st_size / 1e6, 1)
    result["sqlite_mb"] = round((place / "index.sqlite").stat().st_size / 1e6, 1)
    drop_from_cache(place)
    cold = process("search", place, dim)
    result["cold"] = {name: cold[name] for name in ("open_ms", "first_query_ms")}
    result["warm"] = process("search", place, dim)
    result["1608 vectors from SQLite"] = process("sqlite", place, dim)
    if n <= 2_000_000:
        result["all in memory"] = process("flat", place, dim)
    real_near = nearest(real[:1000], real, 11)[0]
    made_near = _cosines(place, sample)
    result["neighbours"] = {
        f"{name}, median cosine to the {nth}": round(float(np.median(cosines[:, column])), 3)
        for name, cosines, columns in (("real", real_near, (1, 10)), ("made", made_near, (0, 9)))
        for nth, column in zip(("1st", "10th"), columns, strict=True)
    }
    add_chunks(place, mixtures, n * 19 // 1000)
    behind = process("search", place, dim)
    result["1.9 % behind"] = {name: behind[name] for name in ("open_ms", "peak_mb")}
    add_chunks(place, mixtures, n * 2 // 1000)
    result["snapshot again"] = process("build", place, dim)
    shutil.rmtree(place)
    return result


def _cosines(place: Path, queries: Vectors32) -> Vectors32:
    """Cosines of the ten nearest, by what is searched."""
    with closing(opened(place)) as store, store.transaction():
        vectors = VectorCache(place).current(store, dim=queries.shape[1])
        return np.array([list(vectors.search(query, k=10).values()) for query in queries], dtype=np.float32)


def main() -> None:
    if sys.argv[1:2] == ["--measure"]:
        measure, place, dim = sys.argv[2:]
        print(json.dumps(MEASURES[measure](Path(place), int(dim))))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path("corpora/embeddings"))
    parser.add_argument("--questions", type=Path, nargs="*", default=[])
    parser.add_argument("--encoded", type=Path, help="a .npz file to keep the real vectors in, taken if it is there")
    parser.add_argument("--vectors", type=int, nargs="+", default=[200_000, 1_000_000])
    parser.add_argument("--place", type=Path, help="a folder to work in, emptied before and after")
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks" / "results" / "vectors.json")
    options = parser.parse_args()
    folder: Path = options.place or Path(tempfile.mkdtemp(prefix="footnote-vectors-"))
    folder.mkdir(parents=True, exist_ok=True)
    encoded: Path = options.encoded or folder / "encoded.npz"
    if not encoded.exists():
        encode(options.text, options.questions, encoded)
    sizes = []
    for n in options.vectors:
        sizes.append(measured(n, encoded, folder))
        print(json.dumps(sizes[-1]), file=sys.stderr, flush=True)
    if options.place is None:
        shutil.rmtree(folder)
    found = {"date": date.today().isoformat(), "machine": machine(), "sizes": sizes}
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
