"""Gives the sentences of a draft their footnotes: numbers spans, and holds what is no quote against the passages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from rag.sentences import plain_text
from rag.support import Support
from rag.types import Chunk, Citation, DraftSentence, Hit, Sentence, Span

_NOTE = re.compile(r"(?<=[.!?,;:”\"'’)\]])\s?\[\d{1,3}\](?=[\s.,;:!?\[]|$)")


@dataclass(frozen=True, slots=True)
class Noted:
    """A sentence with its footnotes, as it is shown."""

    sentence: Sentence
    citations: tuple[Citation, ...]  # that it is the first to have
    spans: tuple[Span, ...]  # all that support it
    chance: float  # 0 to 1: that its spans support it; 1 for a quote


class Footnotes:
    """Numbers the spans of one answer from 1 in the order of its sentences, one number a span."""

    def __init__(
        self,
        passages: Sequence[Hit],
        check: Callable[[Sequence[str]], list[Support]],
        *,
        copies: Callable[[Hit], Sequence[Chunk]] = lambda _: (),
        strict: bool = False,
    ) -> None:
        """Begin an answer.

        Args:
            passages: what it may rest on; a span is cut from its passage.
            check: judges sentences that are not the words of a passage, as `Checker.check` does; spans that it names
                are of these passages.
            copies: other passages with the text of one, which are cited beside it.
            strict: leave out what has no support, instead of marking it.
        """
        self.citations: list[Citation] = []
        self.left_out: list[str] = []  # sentences that were
        self.nowhere: list[str] = []  # numbers, names and links that stand in no passage
        self.passages = passages
        self._check = check
        self._copies = copies
        self._strict = strict
        self._markers: dict[tuple[str, int, int], int] = {}

    def noted(self, sentence: DraftSentence) -> Noted | None:
        """The sentence with its footnotes; None where it must not be shown.

        A sentence that is the words of its first span is supported by being there. Any other is aligned with the spans
        that hold most of it and judged; where it claims to come from does not count. With a number, name or link that
        no passage holds it is never shown.
        """
        spans, chance = sentence.spans, 1.0
        if not self._is_quote(sentence):
            [support] = self._check([sentence.text])
            if support.nowhere:
                self.nowhere += [claim for claim in support.nowhere if claim not in self.nowhere]
            if support.nowhere or (self._strict and not support.is_supported):
                self.left_out.append(sentence.text)
                return None
            spans, chance = (support.spans if support.is_supported else ()), support.chance
        before = len(self.citations)
        markers = tuple(dict.fromkeys(self._numbered(spans)))
        # A number of a note in the text would pass for a footnote of ours.
        shown = Sentence(_NOTE.sub("", sentence.text), markers, supported=bool(markers))
        return Noted(shown, tuple(self.citations[before:]), spans, chance)

    def _is_quote(self, sentence: DraftSentence) -> bool:
        cited = cut(sentence.spans[0], self.passages, marker=0) if sentence.spans else None
        return cited is not None and plain_text(cited.quote) == sentence.text

    def _numbered(self, spans: Sequence[Span]) -> Iterator[int]:
        for span in spans:
            cited = cut(span, self.passages, marker=0)
            if cited is None:
                continue
            for citation in (cited, *self._elsewhere(span)):
                key = (citation.source, citation.start, citation.end)
                if key not in self._markers:
                    self._markers[key] = len(self.citations) + 1
                    self.citations.append(replace(citation, marker=self._markers[key]))
                yield self._markers[key]

    def _elsewhere(self, span: Span) -> Iterator[Citation]:
        """The same words where the text of the passage stands once more."""
        hit = self.passages[span.passage]
        for chunk in self._copies(hit):
            moved = Span(0, span.start - hit.chunk.start + chunk.start, span.end - hit.chunk.start + chunk.start)
            if citation := cut(moved, [replace(hit, chunk=chunk)], marker=0):
                yield citation


def cut(span: Span, passages: Sequence[Hit], *, marker: int) -> Citation | None:
    """The footnote of a span, or None if it does not lie within the passage it names."""
    if not 0 <= span.passage < len(passages):
        return None
    chunk = passages[span.passage].chunk
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
