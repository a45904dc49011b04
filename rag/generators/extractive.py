"""The extractive generator: it answers with sentences that stand in the documents, and tells whether any answers."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np

from rag.calibration import Estimate
from rag.composing import is_same_fact, lead_of, needs_lead, steps_around
from rag.encoders import TokenEncoder, TokenVectors
from rag.encoders.base import encodable
from rag.questions import asks_how_to, expected_kind, names, novel
from rag.sentences import plain_text, sentence_spans
from rag.types import Draft, DraftSentence, Hit, Span
from rag.words import Vocabulary, stems, stop_stems

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FEWEST_WORDS = 4  # a shorter line is a label, not an answer, unless there is nothing else
# An answer is short where one sentence stands out, longer where several are about as likely: on the questions it was
# fitted on, 2.1 sentences for those in the documents' own words, 3.5 for those in others.
_MAX_SENTENCES = 4
_MOST_COMPARED = 12  # sentences that are looked at for the same fact once more
_FAR_LESS_LIKELY = 1.5  # in log-odds, below the first sentence

SENTENCE_FEATURES = (
    "match",  # each token of the question with its most similar token of the sentence: the mean cosine
    "similarity",  # cosine of the question and the sentence, the latter in the light of its whole passage
    "coverage",  # share of the question's words, weighted by rarity, that stand in the sentence
    "coverage_around",  # share that stand in its neighbours, title or headings, but not in it
    "fits_kind",  # 1 if the question asks for a number, date or name, and the sentence holds one that is not in it
    "asks_for_fact",  # 1 if it asks for a number, date or name
    "words",  # logarithm of its length in words
)
ANSWER_FEATURES = (  # of the best sentence
    "match",
    "similarity",
    "passage_score",  # of its passage, by the retriever: 0 to 1
    "names_missing",  # share of the question's names that its passage does not hold
    "has_names",  # 1 if there are names in the question
    "known",  # share of the question's words, weighted by rarity, that stand anywhere in the index
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that might answer."""

    span: Span
    text: str
    features: tuple[float, ...]  # the values of SENTENCE_FEATURES
    answered: tuple[float, ...]  # the values of ANSWER_FEATURES, should it be the best


@dataclass(frozen=True, slots=True)
class Weights:
    """Two logistic regressions, fitted by benchmarks/fit_extractive.py; the file says on what."""

    space: str  # of the encoder whose token vectors they were fitted on; of no use with another
    sentence: tuple[float, ...]  # bias, then one for each of SENTENCE_FEATURES
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
        sentence=(data["sentence"]["bias"], *(data["sentence"][name] for name in SENTENCE_FEATURES)),
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
        max_sentences: int = _MAX_SENTENCES,
        weights: Weights | None = None,
    ) -> None:
        """Bind what it measures with.

        Args:
            encoder: reads question and passages token by token; need not be the one that the index was made with.
            vocabulary: of the index that the passages come from.
            max_sentences: at most, in a draft.
            weights: by default those in the package, which go with the default model.
        """
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._max_sentences = max_sentences
        self._weights = weights or default_weights()

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        question = encodable(question)
        candidates = self.candidates(question, passages)
        if not candidates:
            return Draft((), 0.0)
        odds = [_linear(self._weights.sentence, candidate.features) for candidate in candidates]
        order = sorted(range(len(candidates)), key=lambda i: -odds[i])
        best = candidates[order[0]]
        chosen: list[DraftSentence] = []
        shown = 0
        for i in order[:_MOST_COMPARED]:
            text = plain_text(candidates[i].text)
            same = next((n for n, other in enumerate(chosen) if is_same_fact(other.text, text)), None)
            if same is not None:  # one sentence with several footnotes
                chosen[same] = replace(chosen[same], spans=(*chosen[same].spans, candidates[i].span))
            elif len(chosen) < self._max_sentences:
                chosen.append(DraftSentence(text, (candidates[i].span,)))
                # Behind the first come only sentences that are not far less likely to answer.
                shown += odds[i] >= odds[order[0]] - _FAR_LESS_LIKELY
        answer = (asks_how_to(question) and _steps(best, passages)) or _with_leads(chosen[:shown], passages)
        return Draft(tuple(chosen), _sigmoid(_linear(self._weights.answered, best.answered)), tuple(answer))

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
        kind = expected_kind(question)

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
                        float(kind is not None and bool(novel(kind, texts[i], question))),
                        float(kind is not None),
                        math.log(1 + len(texts[i].split())),
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


def _steps(best: Candidate, passages: Sequence[Hit]) -> list[DraftSentence]:
    """The steps of the numbered list that the best sentence is of, as far as its passage holds them."""
    span = best.span
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


def _linear(weights: Sequence[float], features: Sequence[float]) -> float:
    return weights[0] + sum(w * x for w, x in zip(weights[1:], features, strict=True))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
