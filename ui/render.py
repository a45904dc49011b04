"""What the page shows, as plain values: answers, passages, and document text in blocks around an exact span.

Nothing here knows Streamlit. The values go to ui/page.js as JSON, which sets them as text nodes: no text of a document,
a name or a question is ever read as markup.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from rag.index import IndexStatus
from rag.queries import read_query
from rag.types import Answer, Document, JsonValue

Json = dict[str, JsonValue]

MAX_BLOCKS = 200  # shown around a passage
_WINDOW = 60_000  # characters looked at on either side of it
_LONGEST_BLOCK = 2_000  # characters; a paragraph beyond it is cut at a line or a space
_SHORT_LINE = 0.8  # of the longest line of its page: a line below it ends a paragraph

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_HEADING_MARKS = re.compile(r"[ ]{0,3}#{1,6}[ \t]+")
_CLOSING_MARKS = re.compile(r"(?:[ \t]+#+|[ \t]*\n[=-]+)?\s*$")


@dataclass(frozen=True, slots=True)
class Passage:
    """A span of a document that the page can open: what a footnote cites, or a passage that came near."""

    source: str
    title: str | None
    page: int | None
    section: str | None
    start: int
    end: int
    quote: str  # document.text[start:end] when the answer was made

    @property
    def place(self) -> str:
        """Page and heading in words; headings without the document's title, which stands before them already."""
        headings = self.section.split(" > ") if self.section else []
        if headings and headings[0] == self.title:
            del headings[0]
        page = [f"page {self.page}"] if self.page is not None else []
        return " · ".join([*page, *([" › ".join(headings)] if headings else [])])

    @property
    def label(self) -> str:
        return f"{self.source}, {self.place}" if self.place else self.source


@dataclass(frozen=True, slots=True)
class Block:
    """A slice of the document text that is drawn as one paragraph or heading."""

    start: int
    end: int
    level: int = 0  # 1 is an outermost heading; 0 is text
    page: int | None = None  # set where the block begins this page


def find_indexes(folder: Path) -> list[str]:
    """Names of the subfolders that hold an index, in order."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / "index.sqlite").is_file())
    except OSError:
        return []


def first_visit_view(folder: Path) -> Json:
    """What to do where no index is yet."""
    made = folder / "default"
    named = "" if made.absolute() == Path("indexes/default").absolute() else f" --index {shlex.quote(str(made))}"
    return {
        "kind": "welcome",
        "title": "Ask your own documents.",
        "text": "Nothing leaves this computer.\nIn a terminal, name the folder to read:",
        "command": f"rag ingest PATH{named}",
        "note": "Then reload this page.",
    }


def index_view(status: IndexStatus) -> Json:
    """What can be asked while nothing was; for an empty index, what to do."""
    name = status.path.name
    if not status.chunks:
        path = name if status.path.absolute() == Path("indexes", name).absolute() else str(status.path)
        return {
            "kind": "welcome",
            "title": f"{name} has no documents yet.",
            "text": "In a terminal, name a folder of documents:",
            "command": f"rag ingest PATH --index {shlex.quote(path)}",
            "note": "Then reload this page.",
        }
    read = f"{status.documents:,} document{'' if status.documents == 1 else 's'} in {name}"
    if status.last_ingest:
        day = datetime.fromisoformat(status.last_ingest["at"]).astimezone()
        read += f", last read on {day.day} {day:%B %Y}"
    text = f"{read}.\nEvery sentence of an answer has its footnote; click one to see the passage in its document."
    return {
        "kind": "welcome",
        "title": "Ask your own documents.",
        "text": text,
        "note": "Nothing leaves this computer.",
    }


def passages(answer: Answer) -> list[Passage]:
    """What can be opened: the cited spans by marker; when abstained, the passages that came nearest."""
    if not answer.abstained:
        return [Passage(c.source, c.title, c.page, c.section, c.start, c.end, c.quote) for c in answer.citations]
    chunks = [hit.chunk for hit in answer.nearest]
    return [Passage(c.doc_id, c.title, c.page, c.section, c.start, c.end, c.text) for c in chunks]


def answer_view(answer: Answer) -> Json:
    """An answer as the page draws it."""
    sources: list[JsonValue] = [
        {"source": p.source, "place": p.place, "label": p.label, "quote": " ".join(p.quote.split())}
        for p in passages(answer)
    ]
    if answer.abstained:
        nearest = "These passages came nearest; none answers the question."
        note = nearest if sources else read_query(answer.question).unmet
        return {"kind": "abstained", "title": answer.question, "text": answer.text, "note": note, "sources": sources}
    return {
        "kind": "answer",
        "title": answer.question,
        "sentences": [
            {"text": s.text, "markers": list(s.citations), "supported": s.supported} for s in answer.sentences
        ],
        "note": _support(sum(s.supported for s in answer.sentences), len(answer.sentences)),
        "sources": sources,
    }


def _support(supported: int, n: int) -> str:
    if supported == n:
        return "Every sentence has a source." if n > 1 else "The sentence has a source."
    return f"{supported} of {n} sentences {'has' if supported == 1 else 'have'} a source."


def source_view(document: Document | None, passage: Passage, *, number: int, of: int) -> Json:
    """The source pane: the document's text around the passage, the passage marked by its offsets.

    Where the document has gone, or the offsets do not hold the quote any more, there is no mark and no text, but the
    quote and a sentence that says so: a wrong mark is worse than none.

    Args:
        document: as it is in the index now; None if it is not there any more.
        passage: what to mark.
        number: of the passage among those that can be opened, from 1.
        of: how many there are.
    """
    view: Json = {
        "number": number,
        "of": of,
        "title": passage.title or passage.source,
        "place": " · ".join(filter(None, [passage.source, passage.place])),
        "quote": passage.quote,
    }
    if document is None or document.text[passage.start : passage.end] != passage.quote:
        gone = "This document is not in the index any more." if document is None else "This document has changed since."
        return {**view, "note": f"{gone} The passage as it was read:", "blocks": []}
    blocks = blocks_around(document, passage.start, passage.end)
    return {
        **view,
        "before": blocks[0].start > 0,
        "after": blocks[-1].end < len(document.text),
        "flow": bool(document.pages),
        "blocks": [
            {
                "level": block.level,
                "page": f"Page {block.page}" if block.page is not None else None,
                "parts": list(_parts(document.text, block, passage)),
            }
            for block in blocks
        ],
    }


def blocks_around(document: Document, start: int, end: int, *, limit: int = MAX_BLOCKS) -> list[Block]:
    """The document's text as blocks without a gap, at most `limit` of them unless the span itself takes more.

    Blocks end at headings, pages and blank lines. Text with pages has lines broken where the paper ended and no blank
    lines; there a line much shorter than the longest ends a paragraph.

    Args:
        document: whose text and sections are cut.
        start: of the span to be seen, in characters of the text.
        end: of that span.
        limit: of blocks.
    """
    low, high = _window(document.text, start, end)
    cuts = sorted({low, high, *(cut for cut in _cuts(document, low, high) if low < cut < high)})
    headings = {s.start: (s.body, s.path.count(" > ") + 1) for s in document.sections if low <= s.start < high}
    pages = {offset: number for number, offset in enumerate(document.pages, 1) if low <= offset < high}
    blocks: list[Block] = []
    for a, b in pairwise(cuts):
        if blocks and not document.text[a:b].strip() and a not in pages:
            blocks[-1] = Block(blocks[-1].start, b, blocks[-1].level, blocks[-1].page)
            continue
        body, level = headings.get(a, (a, 0))
        blocks.append(Block(a, b, level if b <= body else 0, pages.get(a)))
    first = next((i for i, block in enumerate(blocks) if block.end > start), 0)
    last = next((i for i, block in enumerate(blocks) if block.end >= end), len(blocks) - 1)
    spare = max(limit - (last - first + 1), 0)
    begin = max(first - max(spare // 2, spare - (len(blocks) - 1 - last)), 0)
    return blocks[begin : max(begin + limit, last + 1)]


def _window(text: str, start: int, end: int) -> tuple[int, int]:
    """Where to look for blocks, so that a document of any size costs the same; it begins and ends with a line."""
    low = text.rfind("\n", 0, max(start - _WINDOW, 0)) + 1
    high = text.find("\n", end + _WINDOW)
    return max(low, start - 2 * _WINDOW, 0), min(high + 1 or len(text), end + 2 * _WINDOW, len(text))


def _cuts(document: Document, low: int, high: int) -> Iterator[int]:
    text = document.text
    ends = [low, high]
    ends += [offset for section in document.sections for offset in (section.start, section.body) if low < offset < high]
    ends += [offset for offset in document.pages if low < offset < high]
    ends += [match.end() for match in _BLANK_LINES.finditer(text, low, high)]
    if document.pages:
        ends += _paragraph_ends(document, low, high)
    ends = sorted(set(ends))
    for a, b in pairwise(ends):
        yield from _pieces(text, a, b)


def _pieces(text: str, start: int, end: int) -> Iterator[int]:
    """Where to begin blocks between two ends, so that none is too long: after a line or a space where there is one."""
    yield start
    while end - start > _LONGEST_BLOCK:
        limit = start + _LONGEST_BLOCK
        line, space = text.rfind("\n", start, limit), text.rfind(" ", start + _LONGEST_BLOCK // 2, limit)
        start = max(line, space) + 1 or limit
        yield start


def _paragraph_ends(document: Document, low: int, high: int) -> Iterator[int]:
    for a, b in zip(document.pages, (*document.pages[1:], len(document.text)), strict=True):
        if b <= low or a >= high:
            continue
        lines = document.text[a:b].splitlines(keepends=True)
        longest, at = max((len(line) for line in lines), default=0), a
        for line in lines:
            at += len(line)
            if len(line) < _SHORT_LINE * longest and low < at < high:
                yield at


def _parts(text: str, block: Block, passage: Passage) -> Iterator[JsonValue]:
    """Slices of a block: marked or not, hidden where they are white space at its ends or the marks of a heading."""
    shown = text[block.start : block.end]
    lead = len(shown) - len(shown.lstrip("\n"))
    tail = len(shown.rstrip())
    if block.level:
        opening = _HEADING_MARKS.match(shown, lead)
        closing = _CLOSING_MARKS.search(shown)
        lead = opening.end() if opening else lead
        tail = min(tail, closing.start()) if closing else tail
    first, last = block.start + lead, block.start + max(tail, lead)
    inside = {offset for offset in (first, last, passage.start, passage.end) if block.start < offset < block.end}
    edges = sorted({block.start, block.end, *inside})
    for a, b in pairwise(edges):
        part: Json = {"text": text[a:b]}
        if passage.start <= a and b <= passage.end:
            part["mark"] = True
        if b <= first or a >= last:
            part["hidden"] = True
        yield part
