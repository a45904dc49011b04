"""Which way of cutting documents serves best, at equal length of what is shown.

    python -m benchmarks.chunking ../shared/data [--write]

Whole documents are cut in each way, indexed and asked: the articles of SQuAD (their paragraphs joined; those that
nothing is reported on, int(sha256(title), 16) % 3 != 0) and the documentation of Rust, httpx, Datasette and
sqlite-utils, with benchmarks/technical_questions.jsonl. Measured are the share of questions whose answer stands whole
in the first passages, as many as make up so many characters, whatever the length of a passage; and the share for
which the first sentence of a draft answers, made of the first 6 passages of 256 tokens or as many as make up the same.
"Flat" takes the headings away from the loaders' documents before they are cut, as a splitter of plain text would.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.fit_extractive import read_technical
from benchmarks.processes import machine
from benchmarks.questions import Dataset, Question, read_squad
from rag.chunking import Chunking
from rag.encoders import Encoder, load_encoder
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.significance import mean_interval
from rag.types import Document, Hit

HERE = Path(__file__).resolve().parent
SHOWN = (1_500, 4_000)  # characters
MEASURED = (*(f"answer in {n} characters" for n in SHOWN), "first sentence answers")
N_QUESTIONS = 400
_READ_TOKENS = 6 * 256


@dataclass(frozen=True, slots=True)
class Way:
    """One way of cutting documents."""

    name: str
    chunking: Chunking
    is_flat: bool = False


WAYS = (
    Way("recursive, 256 tokens", Chunking(256)),
    Way("recursive, 192 tokens", Chunking(192)),
    Way("recursive, 128 tokens", Chunking(128)),
    Way("recursive, 64 tokens", Chunking(64)),
    Way("sentences, 256 tokens", Chunking(256, "sentences")),
    Way("sentences, 128 tokens", Chunking(128, "sentences")),
    Way("words, 256 tokens", Chunking(256, "words")),
    Way("words, 128 tokens", Chunking(128, "words")),
    Way("flat: recursive, 256 tokens", Chunking(256), is_flat=True),
    Way("flat: words, 256 tokens", Chunking(256, "words"), is_flat=True),
)


def joined(dataset: Dataset) -> Dataset:
    """SQuAD's paragraphs as one document an article, and the questions' spans in it."""
    articles: dict[str, list[Document]] = {}
    for document in dataset.documents:
        articles.setdefault(dataset.groups[document.doc_id], []).append(document)
    documents, offsets = [], {}
    for title, paragraphs in articles.items():
        at = 0
        for paragraph in paragraphs:
            offsets[paragraph.doc_id] = (title, at)
            at += len(paragraph.text) + 2
        documents.append(Document(title, "\n\n".join(p.text for p in paragraphs), title))
    questions = []
    for question in dataset.questions:
        assert question.source is not None
        title, at = offsets[question.source]
        spans = tuple((start + at, end + at) for start, end in question.spans)
        questions.append(replace(question, source=title, spans=spans))
    return Dataset(dataset.name, tuple(documents), {d.doc_id: d.doc_id for d in documents}, tuple(questions))


def shown(hits: Sequence[Hit], characters: int) -> Iterator[Hit]:
    """The first hits, as many as have so many characters together; the last one cut off."""
    left = characters
    for hit in hits:
        if left <= 0:
            return
        chunk = hit.chunk
        if len(chunk.text) > left:
            hit = replace(hit, chunk=replace(chunk, text=chunk.text[:left], end=chunk.start + left))  # noqa: PLW2901
        left -= len(chunk.text)
        yield hit


def holds_answer(question: Question, hits: Sequence[Hit]) -> bool:
    return any(
        hit.chunk.doc_id == question.source and hit.chunk.start <= start and end <= hit.chunk.end
        for hit in hits
        for start, end in question.spans
    )


def measure(dataset: Dataset, way: Way, encoder: Encoder) -> dict[str, Any]:
    """What one way of cutting does on one set."""
    rows: dict[str, list[float]] = {name: [] for name in MEASURED}
    answerable = [question for question in dataset.questions if question.spans]
    chosen = np.random.RandomState(0).permutation(len(answerable))[:N_QUESTIONS]
    n_passages = round(_READ_TOKENS / way.chunking.max_tokens)
    with tempfile.TemporaryDirectory() as folder, Index.create(folder, encoder=encoder, chunking=way.chunking) as index:
        started = time.perf_counter()
        index.add(replace(document, sections=()) if way.is_flat else document for document in dataset.documents)
        seconds = time.perf_counter() - started
        retriever = Retriever(index)
        pipeline = Pipeline(retriever, passages=n_passages, min_confidence=0)
        for i in chosen:
            question = answerable[i]
            hits = retriever.search(question.text, k=60)
            for n in SHOWN:
                rows[f"answer in {n} characters"].append(float(holds_answer(question, list(shown(hits, n)))))
            answer = pipeline.ask(question.text)
            first = answer.citations[:1]
            rows["first sentence answers"].append(
                float(
                    any(
                        c.source == question.source and s < c.end and c.start < e
                        for c in first
                        for s, e in question.spans
                    )
                )
            )
        chunks = index.status().chunks
    return {
        "chunks": chunks,
        "questions": len(chosen),
        "seconds to index": round(seconds, 1),
        **{name: round(float(np.mean(values)), 4) for name, values in rows.items()},
        "intervals": {
            name: [round(bound, 4) for bound in mean_interval(values) or ()] for name, values in rows.items()
        },
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with squad/ and docs/")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results/chunking.json")
    options = parser.parse_args()
    encoder = load_encoder()
    result: dict[str, Any] = {"machine": machine(), "encoder": encoder.name, "form": encoder.form, "sets": {}}
    for dataset in (joined(read_squad(options.data, "1.1", part="fit")), read_technical(options.data)):
        of_set = result["sets"][dataset.name] = {}
        for way in WAYS:
            of_set[way.name] = measure(dataset, way, encoder)
            print(dataset.name, way.name, json.dumps(of_set[way.name]), flush=True)
    if options.write:
        file = HERE / "results" / "chunking.json"
        file.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
