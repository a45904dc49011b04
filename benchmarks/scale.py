"""What an index costs again as it grows: nothing changed, one more document, the first search; up to a million chunks.

    python -m benchmarks.scale --text FOLDER --chunks 1000 10000 100000 1000000

The chunks are made of shuffled sentences of the texts below FOLDER (.txt, .md or .txt.gz), so that words are as
frequent as in real text; their vectors are mixtures of pairs of real ones. Every row but that of warm searches is a
whole process, `rag ...`, as a person runs it; the first rows are of an index of one small file, so that what grows can
be told from what does not. What is found goes to benchmarks/results/scale.json, and `python -m benchmarks --rows`
plots it.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers import Corpus
from benchmarks.processes import ROOT, machine, run
from rag.encoders import load_encoder
from rag.index import Index
from rag.sentences import sentence_spans
from rag.store import FileRow, embedding_key
from rag.types import Chunk, Document
from rag.writer import StoreWriter

SENTENCES_PER_CHUNK = 5
REAL_VECTORS = 1000
LONG_AGO_NS = 10**18


def sentences_below(folder: Path) -> list[str]:
    """Distinct sentences of a few words, in order."""
    found: dict[str, None] = {}
    for file in sorted(folder.rglob("*")) if folder.is_dir() else [folder]:
        if file.suffix in {".txt", ".md", ".gz"} and file.is_file():
            data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
            text = data.decode(errors="replace")
            for start, end in sentence_spans(text):
                if 30 <= end - start <= 300:
                    found[" ".join(text[start:end].split())] = None
    return list(found)


def made_documents(sentences: list[str], *, files: int, chunks: int, seed: int) -> Iterator[Document]:
    """Documents of equal numbers of paragraphs of shuffled sentences."""
    rng = np.random.default_rng(seed)
    for n in range(files):
        paragraphs = [
            " ".join(sentences[i] for i in rng.integers(len(sentences), size=SENTENCES_PER_CHUNK))
            for _ in range(chunks // files)
        ]
        yield Document(f"{n % 100:02}/{n:06}.txt", "\n\n".join(paragraphs))


def cut(document: Document) -> list[Chunk]:
    chunks, start = [], 0
    for text in document.text.split("\n\n"):
        chunks.append(Chunk(document.doc_id, text, start, start + len(text)))
        start += len(text) + 2
    return chunks


def mixtures(real: NDArray[np.float32], n: int, rng: np.random.Generator) -> NDArray[np.float16]:
    """Unit vectors between pairs of real ones, float16 of shape (n, dim)."""
    share = rng.uniform(0.5, 1, size=(n, 1)).astype(np.float32)
    mixed = share * real[rng.integers(len(real), size=n)] + (1 - share) * real[rng.integers(len(real), size=n)]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return mixed.astype(np.float16)


def build(place: Path, sentences: list[str], *, files: int, chunks: int) -> float:
    """A folder of documents and its index, written row by row as an ingest would; returns the seconds."""
    started = time.perf_counter()
    docs, rng = place / "docs", np.random.default_rng(0)
    encoder = load_encoder()
    samples = [d.text for d in made_documents(sentences, files=REAL_VECTORS, chunks=REAL_VECTORS, seed=1)]
    real = encoder.encode_documents(samples)
    with Index.create(place / "index", encoder=encoder) as index:
        writer = StoreWriter(index.path / "index.sqlite")
        for document in made_documents(sentences, files=files, chunks=chunks, seed=2):
            file = docs / document.doc_id
            file.parent.mkdir(parents=True, exist_ok=True)
            data = document.text.encode()
            file.write_bytes(data)
            os.utime(file, ns=(LONG_AGO_NS, LONG_AGO_NS))
            mine = cut(document)
            keys = [embedding_key(encoder.space, chunk.encoded) for chunk in mine]
            writer.add_embeddings(keys, [v.tobytes() for v in mixtures(real, len(mine), rng)])
            row = FileRow(0, document.doc_id, len(data), LONG_AGO_NS, hashlib.sha256(data).digest(), None, ())
            writer.put_file(str(docs), row, [(document, mine)], space=encoder.space)
        writer.close()
        index.ingest(docs)  # finds nothing new, and writes the snapshot
    return time.perf_counter() - started


def median(place: Path, *words: str, times: int = 3) -> dict[str, float]:
    """Seconds, CPU seconds and peak memory of a whole `rag` process, that of middling length of some."""
    command = [sys.executable, "-m", "rag.cli", *words, "--index", str(place / "index"), "--json"]
    cost = sorted((run(command) for _ in range(times)), key=lambda cost: cost.wall_s)[times // 2]
    return {"seconds": round(cost.wall_s, 2), "cpu_s": round(cost.cpu_s, 2), "peak_mb": round(cost.peak_mb)}


def warm(place: Path, sentences: list[str]) -> dict[str, float]:
    """Short queries to an index that is open, one after the other."""
    from benchmarks.corpora import short_queries

    Corpus(place, queries=short_queries(sentences, n=220, seed=3)).write(place)
    worker = [sys.executable, "-m", "benchmarks.worker", "warm", "footnote", str(place), str(place / "index")]
    cost = run(worker)
    found = json.loads(cost.out.strip().splitlines()[-1])
    return {"p50_ms": round(found["p50_ms"], 1), "p95_ms": round(found["p95_ms"], 1), "peak_mb": round(cost.peak_mb)}


def measured(place: Path, sentences: list[str]) -> dict[str, dict[str, float]]:
    docs = str(place / "docs")
    new = place / "docs" / "new.txt"
    rows = {"nothing changed": median(place, "ingest", docs)}
    documents = made_documents(sentences, files=4, chunks=12, seed=int(time.time()))

    def once(name: str) -> None:
        rows[name] = median(place, "ingest", docs, times=1)

    for name in ("one more document", "one edited document"):
        new.write_text(next(documents).text)
        once(name)
    new.unlink()
    once("one removed document")
    search = ("search", "who wrote the first song of the album")
    rows["a search in a new process"] = median(place, *search)
    rows["the same, one document passes a filter"] = median(place, *search, "--where", "path=00/000000.txt")
    rows["the same, all documents pass a filter"] = median(place, *search, "--where", "modified<2020")
    rows["a warm search"] = warm(place, sentences)
    rows["rag status"] = median(place, "status", times=1)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path("corpora/embeddings"))
    parser.add_argument("--chunks", type=int, nargs="+", default=[1000, 10_000, 100_000, 1_000_000])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--result", type=Path, default=ROOT / "benchmarks" / "results" / "scale.json")
    parser.add_argument("--place", type=Path, help="a folder to work in, emptied before and after")
    options = parser.parse_args()
    sentences = sentences_below(options.text)
    place: Path = options.place or Path(tempfile.mkdtemp(prefix="footnote-scale-"))
    sizes: list[dict[str, object]] = []
    for chunks in (1, *options.chunks):
        shutil.rmtree(place, ignore_errors=True)
        files = min(options.files, chunks)
        seconds = build(place, sentences, files=files, chunks=chunks)
        with Index.open(place / "index") as index:
            status = index.status()
        sizes.append(
            {
                "chunks": status.chunks,
                "files": files,
                "built_s": round(seconds, 1),
                "on_disk_mb": round(status.bytes / 1e6, 1),
                "rows": measured(place, sentences),
            }
        )
        print(json.dumps(sizes[-1]), file=sys.stderr, flush=True)
    shutil.rmtree(place, ignore_errors=True)
    found = {
        "text": options.text.resolve().name,
        "date": date.today().isoformat(),
        "machine": machine(),
        "sizes": sizes,
    }
    options.result.parent.mkdir(parents=True, exist_ok=True)
    options.result.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
