"""Questions to begin with, made of the headings of documents; each was asked, and answered, before it is offered."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence

from rag.index import Index
from rag.pipeline import Pipeline
from rag.types import Document

WANTED = 3
_TRIES = 12  # questions that are asked for them
_LOOKED_AT = 24  # documents
_SURE = 0.6  # confidence of an answer that is a good beginning
_WORDS = range(2, 7)  # in a heading that can be asked for
_NO_TOPIC = re.compile(
    r"[:;?!.()\[\]{}<>|\"“”„]|\d{3}|^\W*(?:table of contents|contents|introduction|overview|summary|conclusions?"
    r"|references|appendix|about|further reading|see also|untitled|page|chapter|section)\b",
    re.IGNORECASE,
)
_ORDINARY = re.compile(r"[A-Z][a-z]+\Z")  # a first word that has its capital only because it is the first

log = logging.getLogger(__name__)


def question_of(heading: str) -> str | None:
    """A question for what stands under a heading; None for a heading that names no topic."""
    words = heading.split()
    if len(words) not in _WORDS or _NO_TOPIC.search(heading):
        return None
    first = words[0].lower() if _ORDINARY.match(words[0]) else words[0]
    return f"What is said about {' '.join([first, *words[1:]])}?"


def candidates(documents: Sequence[Document]) -> Iterator[tuple[str, str]]:
    """Questions with the document that they are of: of each document its first, then of each its second."""
    asked = [
        [question for section in document.sections if (question := question_of(section.path.split(" > ")[-1]))]
        for document in documents
    ]
    for turn in range(max(map(len, asked), default=0)):
        for document, questions in zip(documents, asked, strict=True):
            if turn < len(questions):
                yield questions[turn], document.doc_id


def suggest(pipeline: Pipeline, index: Index) -> tuple[str, ...]:
    """Up to three questions, of different documents, that the index answers well."""
    rows = index.documents()
    step = max(len(rows) // _LOOKED_AT, 1)
    documents = [index.document(row.source) for row in rows[::step][:_LOOKED_AT]]
    found: dict[str, str] = {}
    for tried, (question, source) in enumerate(candidates(documents)):
        if tried == _TRIES or len(found) == WANTED:
            break
        if source not in found.values():
            answer = pipeline.ask(question)
            if not answer.abstained and answer.confidence >= _SURE:
                found[question] = source
    return tuple(found)


class Suggestions:
    """The suggestions of one index, made in a thread once it is known that they are wanted."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._made: tuple[str, ...] | None = None
        self._working = False
        self._of: tuple[int, bytes] | None = None  # the change of the index that they were made of

    def of(self, pipeline: Pipeline, index: Index, *, settled: bool = True) -> tuple[str, ...] | None:
        """What there is to offer; None while it is made for the first time. Changed documents are looked at anew.

        Args:
            pipeline: answers.
            index: its own.
            settled: whether the documents stay as they are for a while; else what was found is good enough.
        """
        change = index.last_change()
        with self._changed:
            if not self._working and self._of != change and (settled or not self._made):
                self._working, self._of = True, change
                threading.Thread(target=self._make, args=(pipeline, index), name="suggesting", daemon=True).start()
            return self._made

    def wait(self, seconds: float) -> bool:
        """Until none are being made, at most so long; whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._working, seconds)

    def _make(self, pipeline: Pipeline, index: Index) -> None:
        made: tuple[str, ...] = ()
        try:
            made = suggest(pipeline, index)
        except Exception as exc:  # there is only nothing to offer then; the page tells of a broken index by itself
            log.info("no questions to begin with: %s", exc)
        with self._changed:
            self._made, self._working = made, False
            self._changed.notify_all()
