"""Makes the texts that the systems are measured on: folders of files, and the chunks that our index makes of them."""

from __future__ import annotations

import json
import random
import re
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.peers import Corpus
from benchmarks.scale import made_documents, sentences_below
from rag.beir import read_retrieval_set
from rag.chunking import Chunking, chunk_document
from rag.encoders import load_encoder
from rag.errors import LoadError
from rag.folders import FoundFile, find_files
from rag.loaders import format_of, load
from rag.store import Store

N_QUERIES = 220
_WORD = re.compile(r"[^\W\d_]{2,}")


def gather(text: Path, folder: Path, *, n_chunks: int, fill: bool) -> int:
    """Copy files below `text` to `folder`/files, in order, until they make so many chunks.

    Archives (.tar.gz) below `text` are unpacked and read as folders. Where there is too little text and `fill` is set,
    documents of shuffled sentences of the same text make up for the rest.

    Returns:
        How many chunks are of real text.
    """
    encoder = load_encoder()
    files = folder / "files"
    files.mkdir(parents=True)
    n = 0
    for origin, relpath in _text_files(text, folder / "unpacked"):
        if n >= n_chunks:
            break
        try:
            documents = load(origin, source=relpath).documents
        except LoadError:
            continue
        n += sum(len(chunk_document(d, chunking=Chunking(), count_tokens=encoder.count_tokens)) for d in documents)
        (files / relpath).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(origin, files / relpath)
    real = n
    if fill and n < n_chunks:
        missing = n_chunks - n
        for document in made_documents(sentences_below(files), files=missing, chunks=missing, seed=0):
            if n >= n_chunks:
                break
            n += len(chunk_document(document, chunking=Chunking(), count_tokens=encoder.count_tokens))
            file = files / "made" / document.doc_id
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(document.text, encoding="utf-8")
    shutil.rmtree(folder / "unpacked", ignore_errors=True)
    return real


def _text_files(text: Path, unpacked: Path) -> Iterator[tuple[Path, str]]:
    """(file, path below the corpus) of every file of a type that is read."""
    for number, archive in enumerate(sorted(text.rglob("*.tar.gz"))):
        with tarfile.open(archive) as packed:
            packed.extractall(unpacked / f"{number:02}", filter="data")
    for root in (text, unpacked):
        if root.exists():
            found = [one for one in find_files(root) if isinstance(one, FoundFile) and format_of(one.path)]
            yield from sorted((one.path, one.relpath) for one in found)


def gather_judged(judged: Path, folder: Path) -> None:
    """The documents of a corpus in BEIR layout, as one file that is ingested like any other."""
    files = folder / "files"
    files.mkdir(parents=True)
    with (files / "corpus.jsonl").open("w", encoding="utf-8") as file:
        for document in read_retrieval_set(judged).documents:
            row = {"id": document.doc_id, "title": document.title or "", "text": document.text}
            file.write(json.dumps(row) + "\n")


def read_back(index: Path, folder: Path) -> Corpus:
    """Keep beside the files the chunks that our index holds of them, in the order of their ids."""
    store = Store(index / "index.sqlite")
    try:
        chunks = store.chunks(store.chunks_that_pass("1", ()))
    finally:
        store.close()
    ids = sorted(chunks)
    assert ids == list(range(1, len(ids) + 1)), "an index made in one go numbers its chunks from 1"
    owners = [chunks[i].doc_id.removeprefix("corpus.jsonl#") for i in ids]
    texts = [chunks[i].encoded for i in ids]
    corpus = Corpus(folder / "files", texts, owners, short_queries(texts, n=N_QUERIES, seed=0))
    corpus.write(folder)
    return corpus


def short_queries(chunks: Sequence[str], *, n: int, seed: int) -> list[str]:
    """Two to five words that follow each other in a chunk; no query comes twice, so that nothing kept can answer."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    for _ in range(100 * n):  # a corpus of a few words has fewer
        words = _WORD.findall(rng.choice(chunks).lower())
        length = rng.randint(2, 5)
        if len(words) >= length:
            start = rng.randint(0, len(words) - length)
            found[" ".join(words[start : start + length])] = None
        if len(found) == n:
            break
    return list(found)
