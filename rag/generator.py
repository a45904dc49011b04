"""`Generator` protocol: what turns a question and passages into a draft, before anyone decides whether to show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from rag.types import Hit


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a passage's document: what a sentence rests on."""

    passage: int  # position in the passages given
    start: int  # character offsets into the document text
    end: int


@dataclass(frozen=True, slots=True)
class DraftSentence:
    """One sentence of a draft, and where it claims to come from."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a generator says before anyone decides whether to show it."""

    sentences: tuple[DraftSentence, ...]  # the best first
    confidence: float  # 0 to 1: how likely it is that the passages answer the question at all
    answer: tuple[DraftSentence, ...] | None = None  # what is said, in the order of reading; None for all sentences


class Generator(Protocol):
    """Turns a question and passages into a draft."""

    name: str

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        """A draft of a few sentences; none where no passage holds a sentence."""
