"""Queries and qrels to a run and its metrics, over any retriever; and a user's own questions over any pipeline."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from rag.beir import RetrievalSet, read_lines
from rag.encoders import Encoder
from rag.errors import EvaluationError
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Mode, Retriever
from rag.sentences import plain_text
from rag.types import Answer, Hit, JsonValue

Run = dict[str, dict[str, float]]  # query id → doc id → score
_RUN_DEPTH = 400  # chunks a query: enough that 100 documents are among them


def evaluate_retrieval(
    data: RetrievalSet, *, encoder: Encoder, progress: Callable[[str], None] | None = None
) -> tuple[dict[str, JsonValue], dict[str, Run]]:
    """Index a judged corpus with the ordinary chunker and search it in every mode; a document's best chunk counts.

    The row 'dense_first_tokens' is there to be held beside published figures, which embed each document once, cut off
    at the encoder's length.

    Returns:
        The metrics in the form that `rag evaluate retrieval --json` prints, and the run of each mode.
    """
    say = progress or (lambda _: None)
    runs: dict[str, Run] = {}
    with tempfile.TemporaryDirectory(prefix="rag-evaluate-") as folder, Index.create(folder, encoder=encoder) as index:
        say(f"indexing {len(data.documents)} documents")
        index.add(data.documents)
        retriever = Retriever(index)
        for mode in get_args(Mode):
            say(f"searching {len(data.queries)} queries, {mode}")
            runs[mode] = {
                query_id: document_scores(retriever.search(query, k=_RUN_DEPTH, mode=mode))
                for query_id, query in data.queries.items()
            }
    say("embedding each document once, cut off at the encoder's length")
    runs["dense_first_tokens"] = first_tokens_run(data, encoder)
    metrics: dict[str, JsonValue] = {mode: dict(measure(run, data.qrels)) for mode, run in runs.items()}
    return {
        "dataset": data.name,
        "documents": len(data.documents),
        "queries": len(data.queries),
        "encoder": encoder.name,
        "modes": metrics,
    }, runs


def document_scores(hits: Sequence[Hit]) -> dict[str, float]:
    """The score of each document's best chunk, every place of a shared text included."""
    scores: dict[str, float] = {}
    for hit in hits:
        for source in (hit.chunk.doc_id, *(place.source for place in hit.also_in)):
            scores[source] = max(hit.score, scores.get(source, hit.score))
    return scores


def first_tokens_run(data: RetrievalSet, encoder: Encoder, *, k: int = 100) -> Run:
    """Exact dense search over one vector a document, of title and text as far as the encoder reads."""
    texts = [f"{document.title} {document.text}" if document.title else document.text for document in data.documents]
    parts = [encoder.encode_documents(texts[i : i + 256]) for i in range(0, len(texts), 256)]
    vectors = np.concatenate(parts) if parts else np.zeros((0, encoder.dim), dtype=np.float32)
    run: Run = {}
    for query_id, query in data.queries.items():
        scores = vectors @ encoder.encode_queries([query])[0]
        best = np.argsort(-scores, kind="stable")[:k]
        run[query_id] = {data.documents[i].doc_id: float(scores[i]) for i in best}
    return run


def measure(run: Run, qrels: Mapping[str, Mapping[str, int]]) -> dict[str, float]:
    """nDCG@10, recall@100 and RR@10 (ir_measures), averaged over all judged queries; one without hits counts 0."""
    import ir_measures
    from ir_measures import RR, R, nDCG

    names = {"ndcg@10": nDCG @ 10, "recall@100": R @ 100, "rr@10": RR @ 10}
    results = ir_measures.calc_aggregate(list(names.values()), {q: dict(r) for q, r in qrels.items()}, run)
    return {name: round(float(results[measure]), 4) for name, measure in names.items()}


@dataclass(frozen=True, slots=True)
class OwnQuestion:
    """A user's own question; `source` and `quote` are None where the documents do not tell."""

    question: str
    source: str | None
    quote: str | None


def read_questions(path: Path) -> list[OwnQuestion]:
    """One JSON object a line: question, source, quote.

    Raises:
        EvaluationError: the file cannot be read, a line is not in that form (an empty text is none), or there is none.
    """
    questions = []
    for number, line in read_lines(path):
        try:
            row = json.loads(line)
            question, source, quote = row["question"], row.get("source"), row.get("quote")
            texts = [text for text in (question, source, quote) if text is not None]
            if not (isinstance(question, str) and all(isinstance(text, str) and text.strip() for text in texts)):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError) as exc:
            raise EvaluationError(
                f"{path.name} line {number}: expected {{'question': …, 'source': … or null, 'quote': … or null}}, "
                f"got {line[:60]!r}"
            ) from exc
        questions.append(OwnQuestion(question, source, quote))
    if not questions:
        raise EvaluationError(f"{str(path)!r} holds no questions: write one JSON object a line")
    return questions


@dataclass(frozen=True, slots=True)
class QuestionResult:
    """How one question went."""

    question: OwnQuestion
    answer: Answer
    file_rank: int | None  # of the first hit from the right file, from 1
    bm25_file_rank: int | None
    said: bool  # the answering sentence stands in the answer that was shown
    found: bool  # it stands in the draft, shown or not


def evaluate_questions(
    questions: Sequence[OwnQuestion], pipeline: Pipeline
) -> tuple[dict[str, JsonValue], list[QuestionResult]]:
    """Ask a user's own questions.

    Returns:
        The metrics in the form that `rag evaluate questions --json` prints, and what happened to each question.
        Shares are of the answerable questions, those of sentences only of the ones with a quote, and `abstained` of
        those that the documents do not answer.
    """
    eager = Pipeline(pipeline.retriever, generator=pipeline.generator, passages=pipeline.passages, min_confidence=0)
    results = []
    for asked in questions:
        answer = pipeline.ask(asked.question)
        draft = eager.ask(asked.question) if answer.abstained else answer
        ranks = [
            _file_rank(pipeline.retriever.search(asked.question, k=10, mode=mode), asked.source) for mode in _COMPARED
        ]
        said = not answer.abstained and _holds(answer, asked.quote)
        results.append(QuestionResult(asked, answer, ranks[0], ranks[1], said, _holds(draft, asked.quote)))
    answerable = [r for r in results if r.question.source is not None]
    quoted = [r for r in answerable if r.question.quote is not None]
    others = [r for r in results if r.question.source is None]
    return {
        "questions": len(results),
        "answerable": len(answerable),
        "unanswerable": len(others),
        "file@1": _share(r.file_rank == 1 for r in answerable),
        "file@3": _share((r.file_rank or 99) <= 3 for r in answerable),
        "sentence_in_answer": _share(r.said for r in quoted),
        "sentence_in_draft": _share(r.found for r in quoted),
        "answered": _share(not r.answer.abstained for r in answerable),
        "abstained": _share(r.answer.abstained for r in others),
        "bm25": {
            "file@1": _share(r.bm25_file_rank == 1 for r in answerable),
            "file@3": _share((r.bm25_file_rank or 99) <= 3 for r in answerable),
        },
    }, results


_COMPARED: tuple[Mode, Mode] = ("hybrid", "bm25")


def _file_rank(hits: Sequence[Hit], source: str | None) -> int | None:
    for hit in hits:
        if source in {hit.chunk.doc_id, *(place.source for place in hit.also_in)}:
            return hit.rank
    return None


def _holds(answer: Answer, quote: str | None) -> bool:
    """Whether the answering sentence is among the answer's quotes; white space and inline markup do not count."""
    if quote is None:
        return False
    wanted = _normal(quote)
    return bool(wanted) and any(wanted in _normal(text) for text in (answer.text, *(c.quote for c in answer.citations)))


def _normal(text: str) -> str:
    return re.sub(r"\W+", " ", plain_text(text)).strip().casefold()


def _share(of: object) -> float | None:
    values = [bool(value) for value in of]  # type: ignore[attr-defined]
    return round(sum(values) / len(values), 4) if values else None
