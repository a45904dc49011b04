"""The extractive generator: it answers with sentences that stand in the documents, and tells whether any answers.

Every sentence of the passages is a candidate, measured by words and by the tokens of the sentence encoder. The reader
(`rag.reader`) reads the question together with each passage, and marks the short answer; how sure it is of that counts,
too, where the passages are prose.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from rag.calibration import Estimate
from rag.composing import is_same_fact, lead_of, needs_lead, steps_around
from rag.encoders import CompiledEncoder, Encoder, TokenEncoder, TokenVectors
from rag.encoders.base import encodable
from rag.questions import asks_for_words, asks_how_to, fitting, names
from rag.reader import CompiledReader, Reader, SentenceRead
from rag.sentences import plain_text, sentence_spans
from rag.types import Draft, DraftSentence, Hit, Span
from rag.words import Vocabulary, stems, stop_stems

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from rag.encoders.graph import Precision

_FEWEST_WORDS = 4  # a shorter line is a label, not an answer, unless there is nothing else
# An answer is short where one sentence stands out, longer where several are about as likely: on the questions it was
# fitted on, 1.9 sentences for those in the documents' own words, 2.6 to 3.8 for those in others.
MAX_SENTENCES = 4
_MOST_COMPARED = 12  # sentences that are looked at for the same fact once more
_MOST_LEAD = 5.0
_CODE = re.compile(r"[`_=<>{}\\|/#]|::|\w\(|--\w|[a-z][A-Z]")
_LITTLE_CODE, _MUCH_CODE = 0.03, 0.06  # shares of the words
FAR_LESS_LIKELY = 2.5  # in log-odds, below the first sentence

SENTENCE_FEATURES = (
    "match",  # each token of the question with its most similar token of the sentence: the mean cosine
    "similarity",  # cosine of the question and the sentence, the latter in the light of its whole passage
    "coverage",  # share of the question's words, weighted by rarity, that stand in the sentence
    "coverage_around",  # share that stand in its neighbours, title or headings, but not in it
    "fits_kind",  # 1 if it holds the kind of thing the question asks for (`rag.questions.fitting`)
    "passage_rank",  # 1 for the best passage, 1/2 for the second, and so on
    "passage_score",  # of its passage, by the retriever: 0 to 1
    "short",  # logits of the likeliest short answer in it, below those of the best; nothing where passages are code
)
ANSWER_FEATURES = (  # of the best sentence
    "match",
    "similarity",
    "passage_score",
    "names_missing",  # share of the question's names that its passage does not hold
    "has_names",  # 1 if there are names in the question
    "known",  # share of the question's words, weighted by rarity, that stand anywhere in the index
    "share",  # logarithm of the share of the likelihood of all sentences that is its
    "lead",  # of its log-odds over those of the next one
    "read",  # log-odds that it answers, as the reader was trained to tell
    "any",  # that some sentence answers
    "short",  # logits of the likeliest short answer in it
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that might answer."""

    span: Span
    text: str
    features: tuple[float, ...]  # the values of SENTENCE_FEATURES without the last, the reader's
    answered: tuple[float, ...]  # the first six values of ANSWER_FEATURES, should it be the best


@dataclass(frozen=True, slots=True)
class Judged:
    """A candidate with what the reader says of it."""

    candidate: Candidate
    read: SentenceRead
    features: tuple[float, ...]  # the values of SENTENCE_FEATURES


@dataclass(frozen=True, slots=True)
class Weights:
    """A conditional and a logistic regression, fitted by benchmarks/fit_extractive.py; the file says on what."""

    space: str  # of the encoder whose token vectors they were fitted on; of no use with another
    sentence: tuple[float, ...]  # one for each of SENTENCE_FEATURES
    answered: tuple[float, ...]  # bias, then one for each of ANSWER_FEATURES
    estimates: tuple[Estimate, ...] = ()  # cross-validated on what they were fitted on
    sha256: str = ""  # of their file


@cache
def default_weights() -> Weights:
    """Those in the package."""
    text = files("rag.generators").joinpath("extractive.json").read_text(encoding="utf-8")
    data = json.loads(text)
    return Weights(
        space=data["space"],
        sentence=tuple(data["sentence"][name] for name in SENTENCE_FEATURES),
        answered=(data["answered"]["bias"], *(data["answered"][name] for name in ANSWER_FEATURES)),
        estimates=tuple(Estimate(*row) for row in data.get("estimates", ())),
        sha256=hashlib.sha256(text.encode()).hexdigest(),
    )


class ExtractiveGenerator:
    """Answers with the few sentences of the passages that answer best. Nothing is ever written, so nothing invented."""

    name = "extractive"

    def __init__(
        self,
        encoder: TokenEncoder,
        vocabulary: Vocabulary,
        *,
        max_sentences: int = MAX_SENTENCES,
        weights: Weights | None = None,
        reader: Reader | None = None,
    ) -> None:
        """Bind what it measures with.

        Args:
            encoder: reads question and passages token by token; need not be the one that the index was made with.
            vocabulary: of the index that the passages come from.
            max_sentences: at most, in a draft.
            weights: by default those in the package, which go with the default model.
            reader: by default the one in the package.
        """
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._max_sentences = max_sentences
        self._weights = weights or default_weights()
        self._reader = reader
        self._loading = threading.Lock()

    @property
    def reader(self) -> Reader:
        with self._loading:
            if self._reader is None:
                self._reader = CompiledReader.load(_precision(self._encoder))
            return self._reader

    def limited_to(self, max_sentences: int) -> ExtractiveGenerator:
        """One that reads with the same models, and answers with at most so many sentences."""
        return ExtractiveGenerator(
            self._encoder, self._vocabulary, max_sentences=max_sentences, weights=self._weights, reader=self.reader
        )

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        question = encodable(question)
        judged = self.judged(question, passages, self.candidates(question, passages))
        if not judged:
            return Draft((), 0.0)
        odds = [_dot(self._weights.sentence, sentence.features) for sentence in judged]
        order = sorted(range(len(judged)), key=lambda i: -odds[i])
        best = judged[order[0]]
        chosen: list[DraftSentence] = []
        shown = 0
        lead: float | None = None
        for i in order[:_MOST_COMPARED]:
            candidate = judged[i].candidate
            text = plain_text(candidate.text)
            same = next((n for n, other in enumerate(chosen) if is_same_fact(other.text, text)), None)
            if same is not None:  # one sentence with several footnotes
                chosen[same] = replace(chosen[same], spans=(*chosen[same].spans, candidate.span))
                continue
            if chosen and lead is None:  # whatever number of sentences is wanted: the confidence is that of the best
                lead = odds[order[0]] - odds[i]
            if len(chosen) < self._max_sentences:
                chosen.append(DraftSentence(text, (candidate.span,)))
                # Behind the first come only sentences that are not far less likely to answer.
                shown += odds[i] >= odds[order[0]] - FAR_LESS_LIKELY
        measured = answered_features(best, judged, odds, lead)
        answer = (asks_how_to(question) and _steps(best, passages)) or _with_leads(chosen[:shown], passages)
        return Draft(
            tuple(chosen),
            _sigmoid(self._weights.answered[0] + _dot(self._weights.answered[1:], measured)),
            tuple(answer),
            _short(best, passages) if asks_for_words(question) else None,
        )

    def judged(self, question: str, passages: Sequence[Hit], candidates: Sequence[Candidate]) -> list[Judged]:
        """The candidates with what the reader says of them."""
        if not candidates:
            return []
        of_passages: dict[int, list[int]] = {}
        for i, candidate in enumerate(candidates):
            of_passages.setdefault(candidate.span.passage, []).append(i)
        chunks = [passages[p].chunk for p in of_passages]
        spans = [
            [(candidates[i].span.start - chunk.start, candidates[i].span.end - chunk.start) for i in mine]
            for chunk, mine in zip(chunks, of_passages.values(), strict=True)
        ]
        said: dict[int, SentenceRead] = {}
        for mine, read in zip(of_passages.values(), self.reader.read(question, chunks, spans), strict=True):
            said.update(zip(mine, read, strict=True))
        best = max(read.short_odds for read in said.values())
        counts = _prose(passages)
        return [
            Judged(candidate, said[i], (*candidate.features, (said[i].short_odds - best) * counts))
            for i, candidate in enumerate(candidates)
        ]

    def candidates(self, question: str, passages: Sequence[Hit]) -> list[Candidate]:
        """Every sentence of the passages with its features, in the order of the passages."""
        found = _sentences(passages)
        if not found:
            return []
        texts = [passages[p].chunk.text[start:end] for p, start, end in found]
        matches = self._matches(question, passages, found)

        asked, named, *words = stems(
            [question, " ".join(names(question)), *texts, *(h.chunk.encoded for h in passages)]
        )
        in_sentence, in_passage = [set(w) for w in words[: len(texts)]], [set(w) for w in words[len(texts) :]]
        in_context = [set(w) for w in stems([hit.chunk.context for hit in passages])]
        wanted = {stem for stem in asked if stem not in stop_stems()} or set(asked)
        wanted_names = {stem for stem in named if stem not in stop_stems()}
        rarity = self._vocabulary.term_weights(sorted(wanted))
        total = sum(rarity.values()) or 1.0
        known = sum(rarity[stem] for stem in self._vocabulary.known_words(sorted(wanted))) / total
        fits = fitting(question)

        candidates = []
        for i, (p, start, end) in enumerate(found):
            here = wanted & in_sentence[i]
            around = wanted & in_context[p]
            for j in (i - 1, i + 1):
                if 0 <= j < len(found) and found[j][0] == p:
                    around |= wanted & in_sentence[j]
            match, similarity = matches[i]
            candidates.append(
                Candidate(
                    span=Span(p, passages[p].chunk.start + start, passages[p].chunk.start + end),
                    text=texts[i],
                    features=(
                        match,
                        similarity,
                        sum(rarity[stem] for stem in here) / total,
                        sum(rarity[stem] for stem in around - here) / total,
                        float(fits(texts[i])),
                        1 / (1 + p),
                        _retrieved(passages[p]),
                    ),
                    answered=(
                        match,
                        similarity,
                        _retrieved(passages[p]),
                        len(wanted_names - in_passage[p]) / max(len(wanted_names), 1),
                        float(bool(wanted_names)),
                        known,
                    ),
                )
            )
        return candidates

    def _matches(
        self, question: str, passages: Sequence[Hit], found: Sequence[tuple[int, int, int]]
    ) -> list[tuple[float, float]]:
        """(match, similarity) of each sentence. Each passage is read once, whole, under its title and headings.

        `match` is the late interaction of Khattab and Zaharia (2020), doi:10.1145/3397271.3401075, on the token vectors
        of the sentence encoder; `similarity` takes the mean of the sentence's token vectors for its vector.
        """
        read = self._encoder.encode_tokens([question, *(hit.chunk.encoded for hit in passages)])
        tokens = _unit(read[0].vectors)
        whole = _unit(read[0].vectors.mean(axis=0)) if len(tokens) else None
        matches = []
        for p, start, end in found:
            chunk, passage = passages[p].chunk, read[1 + p]
            offset = len(chunk.encoded) - len(chunk.text)
            inside = _tokens_between(passage, offset + start, offset + end)
            if whole is None or not len(inside):
                matches.append((0.0, 0.0))
                continue
            best = (tokens @ _unit(inside).T).max(axis=1)
            matches.append((float(best.mean()), float(whole @ _unit(inside.mean(axis=0)))))
        return matches


def answered_features(
    best: Judged, judged: Sequence[Judged], odds: Sequence[float], lead: float | None
) -> tuple[float, ...]:
    """The values of ANSWER_FEATURES.

    Args:
        best: the best sentence.
        judged: all of them.
        odds: log-odds of each.
        lead: of the best over the next one that says something else; None where there is none.
    """
    return (
        *best.candidate.answered,
        max(odds) - float(np.logaddexp.reduce(odds)),
        min(_MOST_LEAD if lead is None else lead, _MOST_LEAD),
        best.read.odds,
        float(np.logaddexp.reduce([sentence.read.odds for sentence in judged])),
        best.read.short_odds,
    )


def _prose(passages: Sequence[Hit]) -> float:
    """1 for prose, 0 for code and what is full of it, by the share of words that look like it.

    The reader was trained on prose. On documentation of programs it is sure, and wrong.
    """
    words = [word for hit in passages for word in hit.chunk.text.split()]
    share = sum(_CODE.search(word) is not None for word in words) / max(len(words), 1)
    return min(max((_MUCH_CODE - share) / (_MUCH_CODE - _LITTLE_CODE), 0.0), 1.0)


def _precision(encoder: Encoder) -> Precision:
    """What serves best on this processor, where the encoder has found it out."""
    return encoder.chosen.precision if isinstance(encoder, CompiledEncoder) else "fp32"


def _short(judged: Judged, passages: Sequence[Hit]) -> Span | None:
    """The few words of the sentence that answer, as a span of the document."""
    passage, (start, end) = judged.candidate.span.passage, judged.read.short
    offset = passages[passage].chunk.start
    return Span(passage, offset + start, offset + end) if end > start else None


def _steps(best: Judged, passages: Sequence[Hit]) -> list[DraftSentence]:
    """The steps of the numbered list that the best sentence is of, as far as its passage holds them."""
    span = best.candidate.span
    text, offset = passages[span.passage].chunk.text, passages[span.passage].chunk.start
    return [
        _sentence(passages, Span(span.passage, offset + start + first, offset + start + last))
        for start, end in steps_around(text, span.start - offset)
        for first, last in sentence_spans(text[start:end])
    ]


def _with_leads(chosen: Sequence[DraftSentence], passages: Sequence[Hit]) -> list[DraftSentence]:
    """Each sentence, behind the one before it in its passage where it speaks of something named there.

    For the first sentence that one is said, too; another that would need it is left out.
    """
    answer: list[DraftSentence] = []
    for n, sentence in enumerate(chosen):
        span = sentence.spans[0]
        chunk = passages[span.passage].chunk
        if needs_lead(sentence.text) and (before := lead_of(chunk.text, span.start - chunk.start)):
            lead = _sentence(passages, Span(span.passage, chunk.start + before[0], chunk.start + before[1]))
            lead = next((other for other in chosen if lead.spans[0] in other.spans), lead)
            if n and lead not in chosen:
                continue
            if lead not in answer:
                answer.append(lead)
        if sentence not in answer:
            answer.append(sentence)
    return answer


def _sentence(passages: Sequence[Hit], span: Span) -> DraftSentence:
    chunk = passages[span.passage].chunk
    return DraftSentence(plain_text(chunk.text[span.start - chunk.start : span.end - chunk.start]), (span,))


def _retrieved(hit: Hit) -> float:
    """The retriever's own score, which the weights know; a reranker's is of another kind."""
    return hit.score if hit.retrieved is None else hit.retrieved


def _sentences(passages: Sequence[Hit]) -> list[tuple[int, int, int]]:
    """(passage, start, end) of each sentence, in characters of the passage.

    Labels only where there is nothing else, and questions never.
    """
    found = [(p, s, e) for p, hit in enumerate(passages) for s, e in sentence_spans(hit.chunk.text)]
    long = [(p, s, e) for p, s, e in found if len(passages[p].chunk.text[s:e].split()) >= _FEWEST_WORDS]
    # A question, such as those of a list of frequent ones, is like what is asked and answers nothing.
    return [(p, s, e) for p, s, e in long if not _asks(passages[p].chunk.text[s:e])] or [
        (p, s, e) for p, s, e in found if not _asks(passages[p].chunk.text[s:e])
    ]


def _asks(sentence: str) -> bool:
    return sentence.rstrip("\"'”’)*_").endswith("?")


def _tokens_between(read: TokenVectors, start: int, end: int) -> NDArray[np.float32]:
    spans = read.spans
    inside = (spans[:, 0] >= start) & (spans[:, 1] <= end) & (spans[:, 1] > spans[:, 0])
    return read.vectors[inside]


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit


def _dot(weights: Sequence[float], features: Sequence[float]) -> float:
    return sum(w * x for w, x in zip(weights, features, strict=True))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
