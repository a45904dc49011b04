"""The protocols: `Generator` turns a question and passages into a draft, `Writer` is a model that writes text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from rag.types import Draft, DraftSentence, Hit


class Generator(Protocol):
    """Turns a question and passages into a draft."""

    name: str

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        """A draft of a few sentences; none where no passage holds a sentence.

        Raises:
            GeneratorError: the model cannot be reached or run.
        """


@runtime_checkable
class StreamingGenerator(Protocol):
    """A generator whose sentences can be had one by one, as they are written."""

    name: str

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        """As `Generator.generate`."""

    def stream(self, question: str, passages: Sequence[Hit]) -> Iterator[DraftSentence]:
        """The sentences of the draft, each as soon as it is complete.

        Raises:
            GeneratorError: the model cannot be reached or run; what came before stays.
        """

    def rewrite(self, question: str, history: Sequence[tuple[str, str]]) -> str | None:
        """A follow-up question made to stand by itself, or None where the model makes nothing of it.

        Args:
            question: the follow-up.
            history: the questions before it with their answers, in order.

        Raises:
            GeneratorError: the model cannot be reached or run.
        """


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of what a writer is told."""

    role: Literal["system", "user"]
    content: str


class Writer(Protocol):
    """A model that writes text: in this process, or behind a server."""

    name: str  # as --generator takes it
    control_tokens: Sequence[str]  # strings that mean something to the model itself and must not stand in a document

    def room(self, max_tokens: int) -> int:
        """How many tokens a prompt may have, if so many are to be written; 0 and less where there is none."""

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """How many of the model's own tokens these messages take, what is put around them included."""

    def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """What the model writes, in pieces as they come.

        Args:
            messages: the prompt.
            max_tokens: at most so many are written.

        Raises:
            GeneratorError: the model cannot be reached or run.
        """
