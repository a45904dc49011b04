"""Holds a sentence that a generator wrote against the passages it was given: which spans support it, and do they.

What is measured needs no other model than the bundled one: which of the sentence's words, numbers and names stand in
the few source sentences that hold most of it, near each other or not, what both deny, and how near their tokens are.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

import numpy as np

from rag.claims import begins_with_name, figures, links, names, negated_words, numbers
from rag.encoders import TokenEncoder
from rag.encoders.base import encodable
from rag.sentences import sentence_spans
from rag.types import Hit, Span
from rag.words import Vocabulary, stems, stop_stems

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MOST_SPANS = 3  # that support one sentence
_BESIDE = 3  # words of content on either side
_LEAST_GAIN = 0.08  # share of the sentence's words that a further span must bring

FEATURES = (
    "coverage",  # share of the words, weighted by rarity, that stand in the supporting sentences
    "best",  # share that stands in the best of them alone
    "near",  # mean cosine of each token of the sentence to its like in the supporting sentences
    "worst",  # the mean of the five least of these
    "pairs",  # share of words next to each other that stand near each other in one supporting sentence, too
    "local",  # of names and numbers: the least share of the words beside one that stands where it does
    "names",  # how many names the supporting sentences, their neighbours and headings do not hold
    "numbers",  # how many numbers they do not hold
    "denies",  # 1 if it denies what they do not, or does not deny what they do
    "words",  # logarithm of how many words it has
)


@dataclass(frozen=True, slots=True)
class Support:
    """What the passages say to one sentence."""

    spans: tuple[Span, ...]  # the source sentences that hold most of it, the best first
    chance: float  # 0 to 1: from one half on they are taken to support it
    nowhere: tuple[str, ...]  # numbers, names and links of it that no passage holds
    features: tuple[float, ...] = ()  # the values of FEATURES

    @property
    def is_supported(self) -> bool:
        """Whether the passages support it: never with a number or name that none holds."""
        return self.chance >= 0.5 and not self.nowhere


class Checker(Protocol):
    """Judges whether passages support sentences."""

    def check(self, sentences: Sequence[str], passages: Sequence[Hit]) -> list[Support]:
        """What the passages say to each sentence.

        Args:
            sentences: as they were written, without markers.
            passages: what they may rest on.

        Raises:
            RagError: the model cannot be run.
        """


@dataclass(frozen=True, slots=True)
class _Source:
    """A sentence of a passage."""

    passage: int
    start: int  # in the document's text
    end: int
    text: str
    words: tuple[str, ...]  # stems, in order
    around: frozenset[str]  # stems of it and its neighbours, of title and headings
    tokens: NDArray[np.float32]  # unit vectors


@dataclass(frozen=True, slots=True)
class _Evidence:
    """What passages hold."""

    passages: tuple[Hit, ...]
    sources: list[_Source]
    values: frozenset[str]  # of all numbers in the passages and over them
    words: frozenset[str]  # stems
    figures: frozenset[str]  # runs of them as they stand
    links: frozenset[str]  # in lower case


class SupportChecker:
    """Measures support by the bundled means."""

    def __init__(
        self, encoder: TokenEncoder, vocabulary: Vocabulary, *, weights: Sequence[float] | None = None
    ) -> None:
        """Bind what it measures with.

        Args:
            encoder: reads sentences and passages token by token.
            vocabulary: of the index that the passages come from.
            weights: bias, then one for each of FEATURES; by default those in the package.
        """
        self._encoder = encoder
        self._vocabulary = vocabulary
        self._weights = tuple(weights) if weights is not None else _default_weights()
        self._kept: _Evidence | None = None

    def check(self, sentences: Sequence[str], passages: Sequence[Hit]) -> list[Support]:
        """What the passages say to each sentence.

        Args:
            sentences: as they were written, without markers.
            passages: what they may rest on.

        Raises:
            EncoderError: the encoder cannot be run.
        """
        if not sentences:
            return []
        sentences = [encodable(text) for text in sentences]
        evidence = self._evidence_of(tuple(passages))
        read = self._encoder.encode_tokens(list(sentences))
        words = stems(list(sentences))
        wanted = sorted({stem for own in words for stem in own})
        rarity = self._vocabulary.term_weights(wanted)
        return [
            self._support(text, tuple(own), _unit(tokens.vectors), rarity, evidence)
            for text, own, tokens in zip(sentences, words, read, strict=True)
        ]

    def _evidence_of(self, passages: tuple[Hit, ...]) -> _Evidence:
        """What was read last is kept: the sentences of one answer come one by one."""
        kept = self._kept
        if kept is None or kept.passages != passages:
            texts = [hit.chunk.encoded for hit in passages]
            kept = self._kept = _Evidence(
                passages,
                self._sources(passages),
                frozenset(str(number.value.normalize()) for text in texts for number in numbers(text)),
                frozenset(stem for own in stems(texts) for stem in own),
                frozenset(run for text in texts for run in figures(text)),
                frozenset(link.casefold() for text in texts for link in links(text)),
            )
        return kept

    def _sources(self, passages: Sequence[Hit]) -> list[_Source]:
        read = self._encoder.encode_tokens([hit.chunk.encoded for hit in passages])
        found: list[_Source] = []
        contexts = stems([hit.chunk.context for hit in passages])
        for p, (hit, tokens) in enumerate(zip(passages, read, strict=True)):
            text = hit.chunk.text
            spans = sentence_spans(text)
            own = stems([text[start:end] for start, end in spans])
            offsets = tokens.spans - (len(hit.chunk.encoded) - len(text))
            for i, (start, end) in enumerate(spans):
                inside = (offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > offsets[:, 0])
                found.append(
                    _Source(
                        passage=p,
                        start=hit.chunk.start + start,
                        end=hit.chunk.start + end,
                        text=text[start:end],
                        words=tuple(own[i]),
                        around=frozenset(
                            [*contexts[p], *(stem for near in own[max(i - 1, 0) : i + 2] for stem in near)]
                        ),
                        tokens=_unit(tokens.vectors[inside]),
                    )
                )
        return found

    def _support(
        self,
        text: str,
        words: tuple[str, ...],
        tokens: NDArray[np.float32],
        rarity: Mapping[str, float],
        evidence: _Evidence,
    ) -> Support:
        content = {stem for stem in words if stem not in stop_stems()} or set(words)
        weight = {stem: rarity.get(stem, 1.0) for stem in content}
        total = sum(weight.values()) or 1.0
        chosen = _chosen(content, weight, total, evidence.sources)
        nowhere = _nowhere(text, evidence)

        def measured(sources: Sequence[_Source]) -> tuple[float, ...]:
            return _features(text, words, content, weight, total, tokens, sources)

        features = measured(chosen)
        chance = self._chance(features)
        # What is not needed is not cited, if the rest holds the sentence as well as every name and number in it.
        for source in chosen[::-1] if chance >= 0.5 else ():
            rest = [other for other in chosen if other is not source]
            if rest and self._chance(without := measured(rest)) >= 0.5 and _told(without) <= _told(features):
                chosen = rest
        spans = tuple(Span(s.passage, s.start, s.end) for s in chosen)
        return Support(spans, chance if chosen else 0.0, nowhere, features)

    def _chance(self, features: Sequence[float]) -> float:
        z = self._weights[0] + sum(w * x for w, x in zip(self._weights[1:], features, strict=True))
        return 1 / (1 + math.exp(-z)) if z >= 0 else math.exp(z) / (1 + math.exp(z))


def _told(features: Sequence[float]) -> float:
    """How many names and numbers the sources do not hold."""
    return features[FEATURES.index("names")] + features[FEATURES.index("numbers")]


def _nowhere(text: str, evidence: _Evidence) -> tuple[str, ...]:
    """Numbers, names and links of a sentence that no passage holds."""
    missing = [n.text for n in numbers(text) if str(n.value.normalize()) not in evidence.values]
    known = {run for number in numbers(text) for run in figures(number.text)}
    missing += [run for run in figures(text) if run not in evidence.figures and run not in known]
    told = names(text)
    if first := begins_with_name(text):
        told = [first, *told]
    missing += [name for name, own in zip(told, stems(told), strict=True) if not evidence.words.issuperset(own)]
    for link in (found.casefold() for found in links(text)):
        if not any(held == link or held.startswith((f"{link}/", f"{link}?", f"{link}#")) for held in evidence.links):
            missing.append(link)
    return tuple(dict.fromkeys(missing))


def _chosen(content: set[str], weight: dict[str, float], total: float, sources: Sequence[_Source]) -> list[_Source]:
    """The sentences that hold most of the words together: each adds what those before it lack."""
    chosen: list[_Source] = []
    missing = set(content)
    while len(chosen) < _MOST_SPANS:
        gains = [sum(weight[stem] for stem in missing.intersection(source.words)) for source in sources]
        best = max(range(len(sources)), key=lambda i: (gains[i], -len(sources[i].words)), default=None)
        if best is None or gains[best] <= 0 or (chosen and gains[best] < _LEAST_GAIN * total):
            break
        chosen.append(sources[best])
        missing -= set(sources[best].words)
    return chosen


def _features(
    text: str,
    words: tuple[str, ...],
    content: set[str],
    weight: dict[str, float],
    total: float,
    tokens: NDArray[np.float32],
    chosen: Sequence[_Source],
) -> tuple[float, ...]:
    there = {stem for source in chosen for stem in source.words}
    around = there.union(*(source.around for source in chosen)) if chosen else set()
    covered = sum(weight[stem] for stem in content & there) / total
    best = max((sum(weight[stem] for stem in content.intersection(s.words)) / total for s in chosen), default=0.0)
    if chosen and len(tokens) and sum(len(s.tokens) for s in chosen):
        nearest = np.sort((tokens @ np.concatenate([s.tokens for s in chosen]).T).max(axis=1))
    else:
        nearest = np.zeros(1, dtype=np.float32)
    ordered = [stem for stem in words if stem in content]
    pairs = list(pairwise(ordered))
    near = [any(_together(a, b, source.words) for source in chosen) for a, b in pairs]
    values = {str(number.value.normalize()) for source in chosen for number in numbers(source.text)}
    named = [tuple(own) for own in stems(names(text))]
    counted = stems([number.text for number in numbers(text)])
    told = {stem for own in [*named, *counted] for stem in own}
    local = [_beside(stem, ordered, chosen) for stem in dict.fromkeys(ordered) if stem in told]
    return (
        covered,
        best,
        float(nearest.mean()),
        float(nearest[:5].mean()),
        sum(near) / len(near) if near else 1.0,
        min(local, default=1.0),
        float(sum(not around.issuperset(name) for name in named)),
        float(sum(str(n.value.normalize()) not in values for n in numbers(text))),
        float(_denies(text, chosen)),
        math.log(1 + len(words)),
    )


def _together(a: str, b: str, words: tuple[str, ...], *, within: int = 5) -> bool:
    places = [i for i, word in enumerate(words) if word == a]
    return any(b in words[max(i - within, 0) : i + within + 1] for i in places)


def _beside(told: str, ordered: Sequence[str], chosen: Sequence[_Source]) -> float:
    """Of the words next to a name or number, the share that stands in a supporting sentence that holds it, too."""
    at = [i for i, stem in enumerate(ordered) if stem == told]
    beside = {ordered[j] for i in at for j in range(max(i - _BESIDE, 0), min(i + _BESIDE + 1, len(ordered)))} - {told}
    places = [{*source.words} for source in chosen if told in source.words]
    return max((len(beside & place) for place in places), default=0) / len(beside) if beside else float(bool(places))


def _denies(text: str, chosen: Sequence[_Source]) -> bool:
    """Whether a word is denied on one side and stands undenied on the other."""
    ours = negated_words(text)
    theirs = [negated_words(source.text) for source in chosen]
    own = set(stems([text])[0])
    for source, denied in zip(chosen, theirs, strict=True):
        if any(stem in source.words and stem not in denied for stem in ours):
            return True
        if any(stem in own and stem not in ours for stem in denied):
            return True
    return False


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    unit: NDArray[np.float32] = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return unit


@cache
def _default_weights() -> tuple[float, ...]:
    data = json.loads(files("rag").joinpath("support.json").read_text(encoding="utf-8"))
    return (data["support"]["bias"], *(data["support"][name] for name in FEATURES))
