"""The generator that writes: asks a writer, and takes what it writes apart into sentences as they are complete."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.generators.base import Writer
from rag.generators.prompts import NOT_THERE, answering, rewriting
from rag.sentences import plain_text, sentence_spans
from rag.types import Draft, DraftSentence, Hit

MAX_TOKENS = 400  # of an answer
_MAX_CHARACTERS = 8_000  # of one: a model that does not stop is stopped
_MAX_REWRITTEN = 300  # characters
_MARKERS = re.compile(
    r"\s*(?:\[\^?\d{1,3}(?:\s*[,;–-]\s*\^?\d{1,3})*\]|【[^】\n]{0,20}】|\((?:passage|source)s? \d{1,3}\))", re.I
)
_THOUGHT = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(
    r"^\s*(?:\*\*)?(?:Answer|Final answer|Standalone question|Question)(?:\*\*)?:(?:\*\*)?\s*", re.IGNORECASE
)


class WritingGenerator:
    """Writes an answer from the passages. Its sentences have no spans: their support is looked for later."""

    def __init__(self, writer: Writer, *, max_tokens: int = MAX_TOKENS) -> None:
        """Bind a writer.

        Args:
            writer: the model.
            max_tokens: of an answer, at most.
        """
        self.name = writer.name
        self._writer = writer
        self._max_tokens = max_tokens

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        return Draft(tuple(self.stream(question, passages)), None)

    def stream(self, question: str, passages: Sequence[Hit]) -> Iterator[DraftSentence]:
        if not passages:
            return
        messages = answering(question, passages, self._writer, max_tokens=self._max_tokens)
        said = set[str]()
        for text in _sentences(self._writer.write(messages, max_tokens=self._max_tokens)):
            if not said and _folded(text).startswith(_folded(NOT_THERE)):
                return
            if _folded(text) not in said:  # small models repeat themselves
                said.add(_folded(text))
                yield DraftSentence(text, ())

    def rewrite(self, question: str, history: Sequence[tuple[str, str]]) -> str | None:
        written = "".join(self._writer.write(rewriting(question, history, self._writer), max_tokens=100))
        lines = [line for line in _LABEL.sub("", _THOUGHT.sub("", written)).splitlines() if line.strip()]
        made = plain_text(lines[0]).strip("\"'“” ") if lines else ""
        return made if made and len(made) <= _MAX_REWRITTEN else None


def _sentences(pieces: Iterator[str]) -> Iterator[str]:
    """The sentences of a text that comes in pieces, each without markers and markup, as soon as the next one begins."""
    text, n_said = "", 0
    for piece in pieces:
        text += piece
        if len(text) > _MAX_CHARACTERS:
            break
        if re.search(r"[\n.!?…。！？]", piece) or len(piece) > 20:
            found = _parts(text)
            for part in found[n_said:-1]:  # the last one may go on
                yield part
                n_said += 1
    yield from _parts(text)[n_said:]


def _parts(text: str) -> list[str]:
    text = _LABEL.sub("", _THOUGHT.sub("", text))
    # A marker behind the full stop would begin the next sentence; what it points at is found anew anyway.
    text = _MARKERS.sub("", text)
    return [said for start, end in sentence_spans(text) if (said := plain_text(text[start:end]))]


def _folded(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
