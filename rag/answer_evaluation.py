"""Measures answers on a question-answering set: the answering sentence, the short answer, footnotes, and silence."""

from __future__ import annotations

import re
import string
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rag.encoders import Encoder
from rag.generators import EXTRACTIVE
from rag.index import Index
from rag.pipeline import Pipeline
from rag.qa import AnswerSet, AskedQuestion
from rag.retriever import Retriever
from rag.runs import interval_json
from rag.sentences import sentence_spans
from rag.significance import mean_interval
from rag.support import Checker
from rag.types import DraftSentence, Hit, JsonValue, Span
from rag.verifiability import Verifiability, verifiability

_COVERAGES = 20  # points of the curve of risk


@dataclass(frozen=True, slots=True)
class AskedResult:
    """How one question went."""

    question: AskedQuestion
    text: str  # of the draft's first sentence; empty where no passage holds a sentence
    confidence: float
    abstained: bool
    is_right: tuple[bool, ...]  # of each sentence of the draft, the best first
    is_answer_right: bool  # of what is shown, or would be: whether any sentence is right
    in_gold: tuple[tuple[bool, ...], ...]  # of each: which of its footnotes stand in the document asked about
    short: str | None  # the draft's short answer; None where it has none
    elsewhere: float | None  # confidence where its article is filtered out; None where the question has no answer
    ms: float
    generator: str = EXTRACTIVE
    verifiability: Verifiability | None = None  # of what was shown; None for silence and for quotes


def evaluate_answers(
    data: AnswerSet,
    *,
    encoder: Encoder,
    limit: int | None = None,
    pipeline_of: Callable[[Index], Pipeline] = lambda index: Pipeline(Retriever(index)),
    judge_of: Callable[[Index], Checker | None] = lambda _: None,
    progress: Callable[[str], None] | None = None,
) -> tuple[dict[str, JsonValue], list[AskedResult]]:
    """Index all documents of a set together, ask its questions, and hold the drafts against the gold answers.

    A draft is what the generator finds, the best sentence first, before it is decided whether to show any, and how
    many. `sentence@k`: one of its first k sentences is right: it holds a gold answer as an exact substring, or, where a
    set marks whole sentences, overlaps one of these. `exact_match` and `f1` are SQuAD's own, of the draft's short
    answer; none is a wrong one. `abstain_auroc`: how well confidence tells the questions as they are from the same ones
    with their article filtered out; `unanswerable_auroc`: from those that the set says nothing answers.
    `citation_precision`: the share of first footnotes that stand in the document that was asked about;
    `citation_recall`: of drafts with any there. For a generator that writes, both are those of `rag.verifiability`, of
    the answers that it wrote and that were shown. `risk_coverage`: the share of wrong first sentences among those
    answered, if the most confident share were.

    Args:
        data: the set.
        encoder: embeds it.
        limit: ask so many questions, drawn with seed 0.
        pipeline_of: what is asked, made of the index.
        judge_of: what judges the citations of a generator that writes, made of the index; None for the pipeline's own
            checker.
        progress: told what goes on.

    Returns:
        The figures in the form that `rag evaluate answers --json` prints, and what happened to each question.
    """
    say = progress or (lambda _: None)
    chosen = list(data.questions)
    if limit is not None and limit < len(chosen):
        chosen = [chosen[i] for i in np.random.RandomState(0).permutation(len(chosen))[:limit]]
    with (
        tempfile.TemporaryDirectory(prefix="footnote-evaluate-") as folder,
        Index.create(Path(folder) / "index", encoder=encoder) as index,
    ):
        say(f"indexing {len(data.documents)} documents")
        index.add(data.documents)
        pipeline = pipeline_of(index)
        judge = (judge_of(index) or pipeline.checker) if pipeline.writes else None
        for question in chosen[:1]:
            pipeline.ask(question.text)  # what is loaded when it is first needed is no time of a question's
        results = []
        for number, question in enumerate(chosen):
            if number % 100 == 0:
                say(f"asked {number} of {len(chosen)} questions")
            results.append(_ask(pipeline, data, question, judge))
    return _figures(data, results, writes=judge is not None), results


def _ask(pipeline: Pipeline, data: AnswerSet, question: AskedQuestion, judge: Checker | None) -> AskedResult:
    asked = pipeline.asked(question.text)
    draft, hits, answer = asked.draft, asked.passages, asked.answer
    elsewhere = None
    if question.is_answerable:
        elsewhere = pipeline.asked(question.text, where=[f"path!={data.articles[question.source]}"]).answer.confidence
    wrote = judge is not None and answer.generator == pipeline.generator.name and not answer.abstained
    return AskedResult(
        question=question,
        text=draft.sentences[0].text if draft.sentences else "",
        confidence=answer.confidence,
        abstained=answer.abstained,
        is_right=tuple(_is_right(question, sentence, hits) for sentence in draft.sentences),
        is_answer_right=any(
            _is_right(question, sentence, hits)
            for sentence in (draft.sentences if draft.answer is None else draft.answer)
        ),
        in_gold=tuple(
            tuple(hits[span.passage].chunk.doc_id == question.source for span in sentence.spans)
            for sentence in draft.sentences
        ),
        short=_quote(draft.short, hits) if draft.short else None,
        elsewhere=elsewhere,
        ms=answer.timings_ms["total"],
        generator=answer.generator,
        verifiability=verifiability(answer, judge) if judge is not None and wrote else None,
    )


def _quote(span: Span, hits: Sequence[Hit]) -> str:
    chunk = hits[span.passage].chunk
    return chunk.text[span.start - chunk.start : span.end - chunk.start]


def _is_right(question: AskedQuestion, sentence: DraftSentence, hits: Sequence[Hit]) -> bool:
    for span in sentence.spans:
        chunk = hits[span.passage].chunk
        if chunk.doc_id == question.source and any(s < span.end and span.start < e for s, e in question.spans):
            return True
        if any(text in _quote(span, hits) for text in question.answers):
            return True
    return any(text in sentence.text for text in question.answers)


def _figures(data: AnswerSet, results: Sequence[AskedResult], *, writes: bool) -> dict[str, JsonValue]:
    answerable = [r for r in results if r.question.is_answerable]
    others = [r for r in results if not r.question.is_answerable]
    has_short = any(r.short is not None for r in answerable)  # a generator without them has no such figures
    worded = [(r.short or "", r.question.answers) for r in answerable if r.question.answers and has_short]
    cited = [r for r in answerable if r.in_gold and r.in_gold[0]]
    shares: dict[str, list[bool] | list[float]] = {
        "sentence@1": [any(r.is_right[:1]) for r in answerable],
        "sentence@3": [any(r.is_right[:3]) for r in answerable],
        "exact_match": [max(_exact(short, text) for text in answers) for short, answers in worded],
        "f1": [max(_f1(short, text) for text in answers) for short, answers in worded],
        "citation_precision": [r.in_gold[0][0] for r in cited],
        "citation_recall": [any(map(any, r.in_gold)) for r in answerable],
        "answered": [not r.abstained for r in answerable],
        "abstained": [r.abstained for r in others],
    }
    if writes:
        said = [r.verifiability for r in results if r.verifiability is not None]
        shares["citation_precision"] = [holds for one in said for holds in one.citations]
        shares["citation_recall"] = [holds for one in said for holds in one.sentences]
        shares["written"] = [r.verifiability is not None for r in results if not r.abstained]
    means: dict[str, JsonValue] = {
        name: round(sum(values) / len(values), 4) if values else None for name, values in shares.items()
    }
    inside = [r.confidence for r in answerable]
    elsewhere = [r.elsewhere for r in answerable if r.elsewhere is not None]
    lengths = [len(d.text[s:e].split()) for d in data.documents for s, e in sentence_spans(d.text)]
    times = [r.ms for r in results]
    return {
        "dataset": data.name,
        "questions": len(results),
        "answerable": len(answerable),
        "documents": len(data.documents),
        **means,
        "intervals": {name: interval_json(mean_interval([float(v) for v in of])) for name, of in shares.items()},
        "mean_words_first_sentence": _mean([len(r.text.split()) for r in answerable if r.text]),
        "mean_words_corpus_sentence": _mean(lengths),
        "abstain_auroc": auroc(inside, elsewhere),
        "unanswerable_auroc": auroc(inside, [r.confidence for r in others]),
        "risk_coverage": [*_risks(results)],
        "latency_ms": {
            "p50": round(float(np.percentile(times, 50)), 1),
            "p95": round(float(np.percentile(times, 95)), 1),
        },
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(float(np.mean(values)), 2) if values else None


def auroc(positive: Sequence[float], negative: Sequence[float]) -> float | None:
    """How likely a value of the first is above one of the second; equal ones count half. None where one is empty."""
    if not positive or not negative:
        return None
    from scipy.stats import rankdata

    ranks = rankdata([*positive, *negative])[: len(positive)]
    n = len(positive)
    return round(float((ranks.sum() - n * (n + 1) / 2) / (n * len(negative))), 4)


def _risks(results: Sequence[AskedResult]) -> list[JsonValue]:
    """(share answered, share of wrong first sentences among them), the most confident first; silence is right where
    nothing answers, so that any answer there is wrong."""
    ordered = sorted(results, key=lambda r: -r.confidence)
    wrong = np.cumsum([not any(r.is_right[:1]) for r in ordered])
    points: list[JsonValue] = []
    for step in range(1, _COVERAGES + 1):
        n = round(step * len(ordered) / _COVERAGES)
        if n:
            points.append([round(n / len(ordered), 4), round(float(wrong[n - 1] / n), 4)])
    return points


# SQuAD's own measures (Rajpurkar et al. 2016, section 6.1): case, punctuation and articles do not count.


def _normal(text: str) -> str:
    text = "".join(character for character in text.lower() if character not in string.punctuation)
    return " ".join(re.sub(r"\b(?:a|an|the)\b", " ", text).split())


def _exact(said: str, gold: str) -> float:
    return float(_normal(said) == _normal(gold))


def _f1(said: str, gold: str) -> float:
    ours, theirs = _normal(said).split(), _normal(gold).split()
    if not ours or not theirs:
        return float(ours == theirs)
    common = sum((Counter(ours) & Counter(theirs)).values())
    if not common:
        return 0.0
    precision, recall = common / len(ours), common / len(theirs)
    return 2 * precision * recall / (precision + recall)
