"""What an index costs again as it grows: nothing changed, one more document, the first search; up to a million chunks.

    python -m benchmarks.scale --text FOLDER --chunks 10000 100000 1000000

The chunks are made of shuffled sentences of the texts below FOLDER (.txt, .md or .txt.gz), so that words are as
frequent as in real text; their vectors are mixtures of pairs of real ones. Every row is a whole process, `rag ...`, as
a person runs it; the first rows are of an index of one small file, so that what grows can be told from what does not.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

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


# A process inherits the peak memory of the one that starts it: a small one stands in between.
LAUNCHER = """
import json, os, sys, time
started = time.perf_counter()
pid = os.posix_spawn(sys.executable, [sys.executable, "-m", "rag.cli", *sys.argv[1:]], os.environ,
                     file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)])
_, status, usage = os.wait4(pid, 0)
print(json.dumps([time.perf_counter() - started, usage.ru_maxrss // 1024, os.waitstatus_to_exitcode(status)]))
"""


def timed(*words: str) -> tuple[float, int]:
    """Seconds and peak memory in MB of a whole `rag` process."""
    done = subprocess.run([sys.executable, "-S", "-c", LAUNCHER, *words], stdout=subprocess.PIPE, check=True)
    seconds, megabytes, code = json.loads(done.stdout)
    if code:
        raise SystemExit(f"rag {' '.join(words)} ended with {code}")
    return seconds, megabytes


def median(place: Path, *words: str, times: int = 3) -> dict[str, float]:
    runs = sorted(timed(*words, "--index", str(place / "index"), "--json") for _ in range(times))
    seconds, megabytes = runs[times // 2]
    return {"seconds": round(seconds, 2), "peak_mb": megabytes}


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
    rows["rag status"] = median(place, "status", times=1)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--text", type=Path, default=Path("corpora/embeddings"))
    parser.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--place", type=Path, help="a folder to work in, emptied before and after")
    options = parser.parse_args()
    sentences = sentences_below(options.text)
    place: Path = options.place or Path(tempfile.mkdtemp(prefix="footnote-scale-"))
    found: dict[str, object] = {}
    for chunks in (1, *options.chunks):
        shutil.rmtree(place, ignore_errors=True)
        files = min(options.files, chunks)
        seconds = build(place, sentences, files=files, chunks=chunks)
        with Index.open(place / "index") as index:
            status = index.status()
        found[f"{chunks} chunks in {files} files"] = {
            "built in s": round(seconds, 1),
            "on disk, MB": round(status.bytes / 1e6, 1),
            **measured(place, sentences),
        }
        print(json.dumps({f"{chunks} chunks": found[f"{chunks} chunks in {files} files"]}), file=sys.stderr)
    shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
