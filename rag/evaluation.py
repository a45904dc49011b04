"""Queries and qrels to a run and its metrics, over any retriever; and a user's own questions over any pipeline."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np

from rag.beir import RetrievalSet, Run, read_lines
from rag.calibration import Outcome
from rag.encoders import Encoder
from rag.errors import EvaluationError, UsageError
from rag.footnotes import cut
from rag.index import Index
from rag.pipeline import DEFAULT_PASSAGES, Asked, Pipeline
from rag.retriever import Mode, Retriever
from rag.runs import comparison_json, interval_json, measure, measure_run, measured_json
from rag.sentences import plain_text
from rag.significance import compare_pairs, mean_interval
from rag.types import Answer, Hit, JsonValue

__all__ = [
    "RETRIEVAL_MODES",
    "OwnQuestion",
    "QuestionResult",
    "Run",
    "document_scores",
    "evaluate_questions",
    "evaluate_retrieval",
    "first_tokens_run",
    "measure",
    "outcomes",
    "read_questions",
]

FIRST_TOKENS = "dense_first_tokens"
RETRIEVAL_MODES = (*get_args(Mode), FIRST_TOKENS)
_RUN_DEPTH = 400  # chunks a query: enough that 100 documents are among them


def evaluate_retrieval(
    data: RetrievalSet,
    *,
    encoder: Encoder,
    modes: Sequence[str] = RETRIEVAL_MODES,
    retriever_of: Callable[[Index], Retriever] = Retriever,
    progress: Callable[[str], None] | None = None,
) -> tuple[dict[str, JsonValue], dict[str, Run]]:
    """Index a judged corpus with the ordinary chunker and search it in every mode; a document's best chunk counts.

    The row 'dense_first_tokens' is there to be held beside published figures, which embed each document once, cut off
    at the encoder's length.

    Args:
        data: the corpus, its queries and judgements.
        encoder: embeds both.
        modes: those to measure.
        retriever_of: makes the retriever, with settings other than the default's.
        progress: told what is being done.

    Returns:
        The metrics in the form that `rag evaluate retrieval --json` prints, and the run of each mode.

    Raises:
        UsageError: no mode, or an unknown one.
    """
    if not modes or not set(modes) <= set(RETRIEVAL_MODES):
        raise UsageError(f"expected modes of {', '.join(RETRIEVAL_MODES)}, got {', '.join(modes) or 'none'}")
    say = progress or (lambda _: None)
    runs: dict[str, Run] = {}
    if searched := [mode for mode in get_args(Mode) if mode in modes]:
        with (
            tempfile.TemporaryDirectory(prefix="rag-evaluate-") as folder,
            Index.create(folder, encoder=encoder) as index,
        ):
            say(f"indexing {len(data.documents)} documents")
            index.add(data.documents)
            retriever = retriever_of(index)
            for mode in searched:
                say(f"searching {len(data.queries)} queries, {mode}")
                runs[mode] = {
                    query_id: _scores(retriever, query_id, query, mode=mode) for query_id, query in data.queries.items()
                }
    if FIRST_TOKENS in modes:
        say("embedding each document once, cut off at the encoder's length")
        runs[FIRST_TOKENS] = first_tokens_run(data, encoder)
    measured = {mode: measure_run(run, data.qrels) for mode, run in runs.items()}
    by_query = {mode: list(of.values["ndcg@10"].values()) for mode, of in measured.items()}
    comparisons: dict[str, JsonValue] = {
        mode: comparison_json(compare_pairs(by_query[mode], by_query["hybrid"]))
        for mode in (by_query if "hybrid" in by_query else ())
        if mode != "hybrid"
    }
    return {
        "dataset": data.name,
        "documents": len(data.documents),
        "queries": len(data.queries),
        "encoder": encoder.name,
        "modes": {mode: measured_json(of) for mode, of in measured.items()},
        "comparisons": comparisons,
    }, runs


def _scores(retriever: Retriever, query_id: str, query: str, *, mode: Mode) -> dict[str, float]:
    """One query's run. A document of the query's own id is left out, as BEIR does: in some sets it is the query."""
    try:
        found = document_scores(retriever.search(query, k=_RUN_DEPTH, mode=mode))
    except UsageError:  # a blank query, which some sets have: it finds nothing, and counts
        return {}
    return {doc_id: score for doc_id, score in found.items() if doc_id != query_id}


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
        best = np.argsort(-scores, kind="stable")[: k + 1]
        found = {data.documents[i].doc_id: float(scores[i]) for i in best}
        found.pop(query_id, None)  # as in the modes
        run[query_id] = dict(list(found.items())[:k])
    return run


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
class Found:
    """What one mode found for one question, as ranks among its first ten passages, from 1."""

    file_rank: int | None  # of the first passage from the right file
    passage_rank: int | None  # of the first passage that holds the quote


@dataclass(frozen=True, slots=True)
class QuestionResult:
    """How one question went."""

    question: OwnQuestion
    answer: Answer
    found_by: Mapping[Mode, Found]
    said: bool  # the answering sentence stands in the answer that was shown
    found: bool  # it stands in the draft, shown or not

    @property
    def file_rank(self) -> int | None:
        """Of the first hit from the right file, in the mode that answers are made with."""
        return self.found_by["hybrid"].file_rank


def evaluate_questions(
    questions: Sequence[OwnQuestion], pipeline: Pipeline
) -> tuple[dict[str, JsonValue], list[QuestionResult]]:
    """Ask a user's own questions.

    Returns:
        The metrics in the form that `rag evaluate questions --json` prints, and what happened to each question.
        Shares are of the answerable questions, those of sentences and passages only of the ones with a quote, and
        `abstained` of those that the documents do not answer.
    """
    results = []
    for asked in questions:
        made = pipeline.asked(asked.question)
        found_by = {}
        for mode in get_args(Mode):
            hits = pipeline.retriever.search(asked.question, k=10, mode=mode)
            found_by[mode] = Found(_file_rank(hits, asked.source), _passage_rank(hits, asked.quote))
        said = not made.answer.abstained and _holds(_texts(made.answer), asked.quote)
        results.append(
            QuestionResult(asked, made.answer, found_by, said, found=_holds(_draft_texts(made), asked.quote))
        )
    answerable = [r for r in results if r.question.source is not None]
    quoted = [r for r in answerable if r.question.quote is not None]
    others = [r for r in results if r.question.source is None]
    answers, intervals = _means(
        {
            "sentence_in_answer": [r.said for r in quoted],
            "sentence_in_draft": [r.found for r in quoted],
            "answered": [not r.answer.abstained for r in answerable],
            "abstained": [r.answer.abstained for r in others],
        }
    )
    modes: dict[str, dict[str, JsonValue]] = {}
    for mode in get_args(Mode):
        files = [r.found_by[mode].file_rank for r in answerable]
        passages = [r.found_by[mode].passage_rank for r in quoted]
        means, their_intervals = _means(
            {
                **{f"file@{k}": [_within(rank, k) for rank in files] for k in (1, 3, 10)},
                "rr@10": [1 / rank if rank else 0.0 for rank in files],
                **{f"passage@{k}": [_within(rank, k) for rank in passages] for k in (1, DEFAULT_PASSAGES)},
            }
        )
        modes[mode] = {**means, "intervals": their_intervals}
    files_at = ("file@1", "file@3")
    return {
        "questions": len(results),
        "answerable": len(answerable),
        "unanswerable": len(others),
        **{name: modes["hybrid"][name] for name in files_at},
        **answers,
        "intervals": intervals,
        "bm25": {name: modes["bm25"][name] for name in files_at},
        "modes": {**modes},
    }, results


def _means(values: Mapping[str, Sequence[float]]) -> tuple[dict[str, JsonValue], dict[str, JsonValue]]:
    """The mean of each list and its interval, in the form of JSON; null where nothing is to be averaged."""
    means: dict[str, JsonValue] = {n: round(sum(of) / len(of), 4) if of else None for n, of in values.items()}
    return means, {name: interval_json(mean_interval(of)) for name, of in values.items()}


def _within(rank: int | None, k: int) -> bool:
    return rank is not None and rank <= k


def _file_rank(hits: Sequence[Hit], source: str | None) -> int | None:
    for hit in hits:
        if source in {hit.chunk.doc_id, *(place.source for place in hit.also_in)}:
            return hit.rank
    return None


def _passage_rank(hits: Sequence[Hit], quote: str | None) -> int | None:
    return next((hit.rank for hit in hits if _holds([hit.chunk.text], quote)), None)


def _texts(answer: Answer) -> Iterable[str]:
    return (answer.text, *(citation.quote for citation in answer.citations))


def _draft_texts(made: Asked) -> Iterator[str]:
    for sentence in made.draft.sentences if made.draft.answer is None else made.draft.answer:
        yield sentence.text
        for span in sentence.spans:
            if (cited := cut(span, made.passages, marker=1)) is not None:
                yield cited.quote


def outcomes(questions: Sequence[OwnQuestion], pipeline: Pipeline) -> list[Outcome]:
    """What becomes of a user's own questions if every one is answered, for `Calibration`.

    An answer is right where it, or a footnote, holds the quote; of a question without a quote, where a footnote is of
    the right source. Any answer to what the documents do not tell is wrong.

    Args:
        questions: like those that will be asked.
        pipeline: answers with any confidence: with `min_confidence=0`.

    Raises:
        GeneratorError: its generator cannot be reached or run.
    """
    found = []
    for asked in questions:
        made = pipeline.asked(asked.question)
        if made.failed:
            raise made.failed  # what stood in for it says nothing of it
        answer = made.answer
        is_right = answer.abstained or (
            _holds(_texts(answer), asked.quote)
            if asked.quote is not None
            else asked.source is not None and any(c.source == asked.source for c in answer.citations)
        )
        found.append(Outcome(answer.confidence, not is_right))
    return found


def _holds(texts: Iterable[str], quote: str | None) -> bool:
    """Whether the answering sentence is in one of the texts; white space and inline markup do not count."""
    if quote is None:
        return False
    wanted = _normal(quote)
    return bool(wanted) and any(wanted in _normal(text) for text in texts)


def _normal(text: str) -> str:
    return re.sub(r"\W+", " ", plain_text(text)).strip().casefold()
