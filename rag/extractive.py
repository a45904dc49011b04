"""The extractive generator: it answers with sentences that stand in the documents, and tells whether any answers."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from rag.encoder import Encoder
from rag.generator import Draft, DraftSentence, Span
from rag.questions import CONTINUATION, expected_kind, novel
from rag.sentences import plain_text, sentence_spans
from rag.types import Hit
from rag.words import stems, stop_stems

_FEWEST_WORDS = 4  # a shorter line is a label, not an answer, unless there is nothing else
_FAR_LESS_LIKELY = 2.0  # in log-odds, below the first sentence of an answer


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence that might answer, with what was measured of it (`SENTENCE_FEATURES`)."""

    span: Span
    text: str
    features: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Weights:
    """Two logistic regressions, fitted by benchmarks/fit_extractive.py; the file says on what."""

    sentence: tuple[float, ...]  # bias, then one for each of SENTENCE_FEATURES
    answered: tuple[float, ...]  # bias, then one for each of ANSWER_FEATURES


SENTENCE_FEATURES = (
    "similarity",  # cosine of the question and the sentence under its title and headings
    "coverage",  # share of the question's words, weighted by rarity, that stand in the sentence
    "coverage_around",  # share that stand in its neighbours, title or headings, but not in it
    "fits_kind",  # 1 if the question asks for a number, date or name, and the sentence holds one that is not in it
    "asks_for_fact",  # 1 if it asks for a number, date or name
    "words",  # logarithm of its length in words
    "fragment",  # 1 if it begins like the continuation of another sentence
)
ANSWER_FEATURES = (  # of the best sentence
    "best_sentence",  # its log-odds by the first regression
    "similarity",
    "coverage",
    "coverage_with_context",  # coverage + coverage_around
)


@cache
def default_weights() -> Weights:
    """Those in the package."""
    data = json.loads(files("rag").joinpath("extractive.json").read_text(encoding="utf-8"))
    return Weights(
        sentence=(data["sentence"]["bias"], *(data["sentence"][name] for name in SENTENCE_FEATURES)),
        answered=(data["answered"]["bias"], *(data["answered"][name] for name in ANSWER_FEATURES)),
    )


class ExtractiveGenerator:
    """Answers with the few sentences of the passages that answer best. Nothing is ever written, so nothing invented."""

    name = "extractive"

    def __init__(
        self,
        encoder: Encoder,
        term_weights: Callable[[Sequence[str]], Mapping[str, float]],
        *,
        max_sentences: int = 3,
        weights: Weights | None = None,
    ) -> None:
        """Bind what it measures with.

        Args:
            encoder: of the index that the passages come from.
            term_weights: rarity of stemmed words, as `Index.term_weights`.
            max_sentences: at most, in a draft.
            weights: by default those in the package.
        """
        self._encoder = encoder
        self._term_weights = term_weights
        self._max_sentences = max_sentences
        self._weights = weights or default_weights()

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        candidates = self.candidates(question, passages)
        if not candidates:
            return Draft((), 0.0)
        odds = [_linear(self._weights.sentence, candidate.features) for candidate in candidates]
        confidence = _sigmoid(_linear(self._weights.answered, answer_features(candidates, odds)))
        chosen: list[DraftSentence] = []
        said: set[str] = set()
        for i in sorted(range(len(candidates)), key=lambda i: -odds[i]):
            text = plain_text(candidates[i].text)
            # Behind the first come only sentences that are not far less likely to answer.
            if chosen and (len(chosen) >= self._max_sentences or odds[i] < max(odds) - _FAR_LESS_LIKELY):
                break
            if text.casefold() not in said:
                said.add(text.casefold())
                chosen.append(DraftSentence(text, (candidates[i].span,)))
        return Draft(tuple(chosen), confidence)

    def candidates(self, question: str, passages: Sequence[Hit]) -> list[Candidate]:
        """Every sentence of the passages with its features, in the order of the passages."""
        found = [
            (p, start, end)
            for p, hit in enumerate(passages)
            for start, end in sentence_spans(hit.chunk.text)
            if len(hit.chunk.text[start:end].split()) >= _FEWEST_WORDS
        ] or [(p, s, e) for p, hit in enumerate(passages) for s, e in sentence_spans(hit.chunk.text)]
        if not found:
            return []
        texts = [passages[p].chunk.text[start:end] for p, start, end in found]
        contexts = [passages[p].chunk.context for p, _, _ in found]
        query = self._encoder.encode_queries([question])[0]
        encoded = [f"{context}\n{text}" if context else text for context, text in zip(contexts, texts, strict=True)]
        similarities = (self._encoder.encode_documents(encoded) @ query).tolist()

        asked, *words = stems([question, *texts, *contexts])
        sentence_words, context_words = words[: len(texts)], words[len(texts) :]
        wanted = {stem for stem in asked if stem not in stop_stems()} or set(asked)
        rarity = self._term_weights(sorted(wanted))
        total = sum(rarity.values()) or 1.0
        kind = expected_kind(question)

        candidates = []
        for i, (p, start, end) in enumerate(found):
            here = wanted.intersection(sentence_words[i])
            around = {stem for stem in context_words[i] if stem in wanted}
            for j in (i - 1, i + 1):
                if 0 <= j < len(found) and found[j][0] == p:
                    around |= wanted.intersection(sentence_words[j])
            candidates.append(
                Candidate(
                    span=Span(p, passages[p].chunk.start + start, passages[p].chunk.start + end),
                    text=texts[i],
                    features=(
                        similarities[i],
                        sum(rarity[stem] for stem in here) / total,
                        sum(rarity[stem] for stem in around - here) / total,
                        float(kind is not None and bool(novel(kind, texts[i], question))),
                        float(kind is not None),
                        math.log(1 + len(texts[i].split())),
                        float(bool(CONTINUATION.match(texts[i]))),
                    ),
                )
            )
        return candidates


def answer_features(candidates: Sequence[Candidate], odds: Sequence[float]) -> tuple[float, ...]:
    """What tells whether any sentence answers: the values of ANSWER_FEATURES."""
    best = max(range(len(odds)), key=odds.__getitem__)
    value = dict(zip(SENTENCE_FEATURES, candidates[best].features, strict=True))
    return odds[best], value["similarity"], value["coverage"], value["coverage"] + value["coverage_around"]


def _linear(weights: Sequence[float], features: Sequence[float]) -> float:
    return weights[0] + sum(w * x for w, x in zip(weights[1:], features, strict=True))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x >= 0 else math.exp(x) / (1 + math.exp(x))
