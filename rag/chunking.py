"""Cuts a `Document` into `Chunk`s that know their exact character span (text splitters)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Literal, cast, get_args

from rag.errors import UsageError
from rag.sentences import sentence_spans
from rag.types import Chunk, Document, JsonValue

_BOUNDARIES = {
    "recursive": ["\n\n", "\n", r"(?<=[.!?])\s+", r"(?<=[。！？])", "[ \t\u3000]", ""],
    "words": [r"\s", ""],
}
_CONTEXT_SHARE = 0.25  # of the encoder's length that title and headings may take from the passage
_SLACK = 1.1  # parts of equal length would leave a stub behind at the first uneven boundary
_FEWEST_TOKENS = 16  # below it, title and special tokens leave no room for a passage
_CHARACTERS_PER_TOKEN = 16  # a "word" longer than this per token (base64, a line of dashes) is counted by its length

Splitter = Literal["recursive", "sentences", "words"]


@dataclass(frozen=True, slots=True)
class Chunking:
    """How documents are cut; recorded in the index, for a chunk is only comparable with chunks cut alike."""

    max_tokens: int = 192  # of the encoder, special tokens and the line of title and headings included
    # Where a section is cut: at the best boundary there is, between sentences only, or at any word. Compared in
    # docs/chunking.md.
    splitter: Splitter = "recursive"

    def __post_init__(self) -> None:
        if self.splitter not in get_args(Splitter):
            raise UsageError(f"expected splitter {', '.join(get_args(Splitter))}, got {self.splitter!r}")
        if self.max_tokens < _FEWEST_TOKENS:
            raise UsageError(f"expected chunks of at least {_FEWEST_TOKENS} tokens, got {self.max_tokens}")

    def record(self) -> dict[str, JsonValue]:
        """For the index's manifest."""
        return {**asdict(self), "version": 1}

    @classmethod
    def of_record(cls, record: Mapping[str, JsonValue]) -> Chunking:
        """What an index's manifest says."""
        return cls(int(str(record["max_tokens"])), cast(Splitter, record.get("splitter", "recursive")))


def chunk_document(document: Document, *, chunking: Chunking, count_tokens: Callable[[str], int]) -> list[Chunk]:
    """Cut a document into passages that the encoder reads whole.

    Each section is cut by itself, and a section longer than the limit into parts of about equal length, at the best
    boundary there is: paragraph, line, sentence, word, character. Chunks follow each other without overlap; only
    white space stands between them. Headings are not part of a chunk's text: they are its `section`. Of another
    splitter than the default, parts are about equal as well.

    Args:
        document: its text may be empty, which gives no chunk.
        chunking: the limit; at least 16 tokens.
        count_tokens: the encoder's tokens in a text, special tokens included.

    Returns:
        Chunks in order; for each, `document.text[chunk.start:chunk.end] == chunk.text`, without white space at either
        end, and `count_tokens(chunk.encoded)` is at most `chunking.max_tokens`.
    """
    count = _remembering(count_tokens)
    chunks = []
    for start, end, section in section_spans(document):
        context = _context(document.title, section, limit=int(chunking.max_tokens * _CONTEXT_SHARE), count=count)
        budget = chunking.max_tokens - count_tokens(context + "\n")

        def fits(text: str, context: str = context, budget: int = budget) -> bool:
            encoded = f"{context}\n{text}" if context else text
            return count_tokens(encoded) <= chunking.max_tokens and len(text) <= budget * _CHARACTERS_PER_TOKEN

        cut = _Cut(document.text, chunking.splitter, budget, count, fits)
        for span_start, span_end in cut.spans(start, end):
            chunks.append(
                Chunk(
                    doc_id=document.doc_id,
                    text=document.text[span_start:span_end],
                    start=span_start,
                    end=span_end,
                    page=document.page_at(span_start),
                    section=section,
                    title=document.title,
                    context=context,
                    breaks=tuple(page for page in document.pages if span_start < page < span_end),
                )
            )
    return chunks


def _context(title: str | None, section: str | None, *, limit: int, count: Callable[[str], int]) -> str:
    """Title and headings in one line, cut at a word where they would take more than `limit` tokens."""
    headings = section.split(" > ") if section else []
    if title and title not in headings:
        headings.insert(0, title)
    words = " > ".join(headings).split()
    while words and count(" ".join(words)) > limit:
        words = words[: len(words) * 3 // 4]
    return " ".join(words)


def section_spans(document: Document) -> Iterator[tuple[int, int, str | None]]:
    """(start, end, heading path) of each stretch of text under one heading, in order."""
    text, sections = document.text, document.sections
    first = sections[0].start if sections else len(text)
    if text[:first].strip():
        yield 0, first, None
    for i, section in enumerate(sections):
        following = sections[i + 1] if i + 1 < len(sections) else None
        end = following.start if following else len(text)
        if text[section.body : end].strip():
            yield section.body, end, section.path
        elif following is None or not following.path.startswith(section.path + " > "):
            yield section.start, end, section.path  # a heading with nothing below it is itself the passage


@dataclass(frozen=True, slots=True)
class _Cut:
    """How the text of one document is cut below one heading."""

    text: str
    splitter: Splitter
    budget: int  # tokens for the passage itself
    count: Callable[[str], int]  # tokens, word by word
    fits: Callable[[str], bool]  # as the encoder itself counts

    def spans(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Cut text[start:end] into spans that fit, about equal in length; each is at least one character."""
        start, end = _stripped(self.text, start, end)
        if start == end:
            return
        total = self.count(self.text[start:end])
        if end - start == 1 or (total <= self.budget and self.fits(self.text[start:end])):
            yield start, end
            return
        parts = max(math.ceil(total / self.budget), 2)  # 2 where the count by words said that it fits, but it did not
        size = max(min(self.budget, math.ceil(total / parts * _SLACK)), 1)
        pieces = self._sentences(start, end, size) if self.splitter == "sentences" else []
        if len(pieces) < 2:  # one sentence, if any: at what stands within it
            pieces = self._pieces(start, end, size, _BOUNDARIES["words" if self.splitter == "words" else "recursive"])
        if pieces == [(start, end)]:  # one word as the splitter sees it, yet too long for the encoder
            middle = (start + end) // 2
            pieces = [(start, middle), (middle, end)]
        for piece in pieces:
            yield from self.spans(*piece)

    def _pieces(self, start: int, end: int, size: int, boundaries: list[str]) -> list[tuple[int, int]]:
        """At the best of some boundaries, the best first."""
        from langchain_text_splitters import RecursiveCharacterTextSplitter

        splitter = RecursiveCharacterTextSplitter(
            separators=boundaries,
            is_separator_regex=True,
            keep_separator="start",
            chunk_size=size,
            chunk_overlap=0,
            length_function=self.count,
            strip_whitespace=True,
        )
        pieces = []
        cursor = start
        for piece in splitter.split_text(self.text[start:end]):
            # The splitter's own start index can be -1. Its pieces come in order, with only white space dropped between
            # them, so that the first place from the cursor on is the place.
            found = self.text.index(piece, cursor, end)
            cursor = found + len(piece)
            pieces.append((found, cursor))
        return pieces

    def _sentences(self, start: int, end: int, size: int) -> list[tuple[int, int]]:
        """As many whole sentences as make up one part; what stands between two of them belongs to the first."""
        starts = [start, *(start + at for at, _ in sentence_spans(self.text[start:end]) if at)]
        cuts, filled = [start], 0
        for first, upto in pairwise([*starts, end]):
            tokens = self.count(self.text[first:upto])
            if filled and filled + tokens > size:
                cuts.append(first)
                filled = 0
            filled += tokens
        return [_stripped(self.text, first, last) for first, last in pairwise([*cuts, end])]


def _stripped(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end


def _remembering(count_tokens: Callable[[str], int]) -> Callable[[str], int]:
    """Counts word by word and remembers each word: splitters ask for the length of every piece again and again."""
    special = count_tokens("")

    @lru_cache(maxsize=65_536)
    def of_word(word: str) -> int:
        return max(count_tokens(word) - special, math.ceil(len(word) / _CHARACTERS_PER_TOKEN))

    def count(text: str) -> int:
        return sum(map(of_word, text.split()))

    return count
