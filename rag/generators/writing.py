"""The generator that writes: asks a writer, and takes what it writes apart into sentences as they are complete."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from rag.generators.base import Writer
from rag.generators.prompts import NOT_THERE, answering, rewriting
from rag.sentences import plain_text, sentence_spans
from rag.types import Draft, DraftSentence, Hit

MAX_TOKENS = 400  # of an answer
MAX_SENTENCES = 4  # that it is asked to have
_MAX_CHARACTERS = 8_000  # of one: a model that does not stop is stopped
_MAX_REWRITTEN = 300  # characters
_NUMBERS = r"\^?\d{1,3}(?:\s*(?:[,;–&-]|and)\s*(?:(?:passages?|sources?)\s*)?\^?\d{1,3})*"
_WORD = r"(?:passages?|sources?|documents?|docs?)"
_INSIDE = rf"\s?(?:{_WORD}\s?:?\s?)?{_NUMBERS}(?:†[^\]\n]{{0,12}})?\s?"
_MARKER = (
    rf"(?:(?:\[\[{_INSIDE}\]\]|(?<!\[)\[{_INSIDE}\])(?:\(#?[^)\s]{{0,20}}\))?"
    rf"|【[^】\n]{{0,20}}】|\((?:see )?{_WORD}\s{_NUMBERS}\))"
)
_MARKERS = re.compile(rf"(?<![\s,])\s*(?:,\s*)?{_MARKER}", re.IGNORECASE)
_ACCORDING = re.compile(rf"^(?:according to|as stated in|as per|in) (?:the )?{_WORD} {_NUMBERS},?\s+", re.IGNORECASE)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL | re.IGNORECASE)
_LABEL = re.compile(
    r"^\s*(?:\*\*)?(?:Answer|Final answer|Standalone question|Question)(?:\*\*)?:(?:\*\*)?\s*", re.IGNORECASE
)


class WritingGenerator:
    """Writes an answer from the passages. Its sentences have no spans: their support is looked for later."""

    def __init__(self, writer: Writer, *, max_tokens: int = MAX_TOKENS, max_sentences: int = MAX_SENTENCES) -> None:
        """Bind a writer.

        Args:
            writer: the model.
            max_tokens: of an answer, at most.
            max_sentences: that it is asked to have, at most.
        """
        self.name = writer.name
        self._writer = writer
        self._max_tokens = max_tokens
        self._max_sentences = max_sentences

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        return Draft(tuple(self.stream(question, passages)), None)

    def stream(self, question: str, passages: Sequence[Hit]) -> Iterator[DraftSentence]:
        if not passages:
            return
        messages = answering(
            question, passages, self._writer, max_tokens=self._max_tokens, max_sentences=self._max_sentences
        )
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
    """The sentences of a text that comes in pieces, each without markers and markup, as soon as the next one begins.

    What was given is cut off: what comes later changes nothing of it.
    """
    rest, n_characters, is_first = "", 0, True
    for piece in pieces:
        rest += piece
        n_characters += len(piece)
        if n_characters > _MAX_CHARACTERS:
            break
        if not re.search(r"[\n.!?…。！？>]", piece) and len(piece) <= 20:
            continue
        # Markers go first: one behind a full stop would begin the next sentence. What it points at is found anew.
        rest = _MARKERS.sub("", _THOUGHT.sub("", rest)).lstrip()
        if "<think" in rest.lower():  # it goes on
            continue
        spans = sentence_spans(rest)[:-1]  # the last one may go on
        for start, end in spans:
            if said := _said(rest[start:end], is_first=is_first):
                is_first = False
                yield said
        if spans:
            rest = rest[spans[-1][1] :]
    rest = _MARKERS.sub("", re.sub(r"<think.*", "", _THOUGHT.sub("", rest), flags=re.DOTALL | re.IGNORECASE))
    for start, end in sentence_spans(rest):
        if said := _said(rest[start:end], is_first=is_first):
            is_first = False
            yield said


def _said(text: str, *, is_first: bool) -> str:
    """A sentence without what is none of its words."""
    if is_first:
        text = _LABEL.sub("", text)
    said = plain_text(text)
    if according := _ACCORDING.match(said):
        said = said[according.end() :]
        said = said[:1].upper() + said[1:]
    return said if re.search(r"\w", said) else ""


def _folded(text: str) -> str:
    return re.sub(r"\W+", " ", text).strip().casefold()
