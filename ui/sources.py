"""What the source pane shows, as plain values: a document around a passage, or the page of a PDF it stands on.

Nothing here knows Streamlit. The values go to web/source.js as JSON, which makes elements of a fixed list of names and
sets every text as a text node: no text of a document, a name or a title is ever read as markup. A mark comes from
offsets or is not there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Literal

from rag.errors import LoadError, UsageError
from rag.freshness import Version, hash_of, state_of, version_of
from rag.index import Index
from rag.loaders import format_of
from rag.store import SourceFile
from rag.types import Document, JsonValue
from ui.layout import Node, chosen, laid_out, pruned
from ui.pdf import PageImage, page_image
from ui.render import Json, Passage

BLOCKS = 100  # shown above a passage, and below it, at first and with every step
MAX_STEPS = 40
_MAX_FIELDS = 30
_MAX_FIELD = 400  # characters
_PROSE = frozenset(
    "txt text rst org adoc asciidoc textile wiki tex latex ltx bib srt vtt sub readme license licence".split()
)

FileState = Literal["same", "changed", "gone", "none"]


@dataclass(frozen=True, slots=True)
class Shown:
    """How far a person has opened a source up."""

    above: int = 1  # steps of blocks above the passage
    below: int = 1
    page: int | None = None  # of a PDF, from 1; None for those that the passage stands on
    as_text: bool = False  # of a PDF, its text instead of its page


@dataclass(frozen=True, slots=True)
class File:
    """The file of a source, as it is now beside how it was read."""

    state: FileState  # 'none' where no file stands behind the document
    path: Path | None = None  # only where it is the same
    version: Version = ()
    read_on: str = ""  # as "3 May"; empty where that is not known

    @property
    def note(self) -> str:
        """What a person should know; empty where the file is as it was read."""
        as_read = f"Shown as it was read{f' on {self.read_on}' if self.read_on else ''}."
        return {
            "changed": f"This file changed after it was read. {as_read}",
            "gone": f"This file is not where it was any more. {as_read}",
        }.get(self.state, "")


def source_view(index: Index, passage: Passage, *, number: int, of: int, shown: Shown | None = None) -> Json:
    """The source pane: a document around a passage, the passage marked by its offsets.

    Where the document has gone, or the offsets do not hold the quote any more, there is no mark and no text, but the
    quote and a sentence that says so: a wrong mark is worse than none.

    Args:
        index: that the passage is of.
        passage: what to mark.
        number: of the passage among those that can be opened, from 1.
        of: how many there are.
        shown: how far it was opened up.
    """
    shown = shown or Shown()
    view: Json = {
        "number": number,
        "of": of,
        "title": passage.title or PurePosixPath(passage.source).name,
        "place": " · ".join(filter(None, [passage.source, passage.place])),
        "quote": passage.quote,
        "nodes": [],
    }
    try:
        document = index.document(passage.source)
    except UsageError:
        document = None
    if document is None or document.text[passage.start : passage.end] != passage.quote:
        gone = "This document is not in the index any more." if document is None else "This document has changed since."
        return {**view, "lost": f"{gone} The passage as it was read:"}
    kept = index.file(passage.source)
    kind = kind_of(passage.source, kept)
    file = file_as_read(kept) if kind == "pdf" else file_now(kept)  # of all others no more is shown than what was read
    view |= {"kind": kind, "note": file.note, "file": file.path is not None}
    if kind == "pdf" and file.path is not None:
        view |= pages_view(document, passage, file, shown)
    return {**view, **text_view(document, kind, passage, shown), "fields": list(fields(document, kind))}


def text_view(document: Document, kind: str, passage: Passage, shown: Shown) -> Json:
    """The text around the passage in nodes, and whether there is more of it above and below."""
    nodes = laid_out(document, kind, passage.start, passage.end, reach=max(shown.above, shown.below))
    low, high = chosen(nodes, passage.start, passage.end, above=BLOCKS * shown.above, below=BLOCKS * shown.below)
    kept = (part for node in nodes if (part := pruned(node, low, high)))
    return {
        "nodes": [node_view(node, document.text, passage.start, passage.end) for node in kept],
        "above": low > 0 and bool(document.text[:low].strip()),
        "below": high < len(document.text) and bool(document.text[high:].strip()),
    }


def node_view(node: Node, text: str, start: int, end: int) -> JsonValue:
    """A node as JSON: an element `{tag, of: […]}`, or a leaf `{text}` with what it is: `mark`, `hidden`, `as`.

    Args:
        node: laid out over the text.
        text: of the document.
        start: of what is marked.
        end: of what is marked.
    """
    if not node.children:
        parts = [_leaf_view(node, text, a, b, start, end) for a, b in _split(node, start, end)]
        return parts[0] if len(parts) == 1 else {"tag": "", "of": parts}
    view: Json = {"tag": node.tag, "of": [node_view(child, text, start, end) for child in node.children]}
    if node.page is not None:
        view["page"] = f"Page {node.page}"
    if node.line is not None:
        view["line"] = node.line
    if node.depth:
        view["depth"] = node.depth
    return view


def _split(node: Node, start: int, end: int) -> Iterator[tuple[int, int]]:
    edges = sorted({node.start, node.end, *(edge for edge in (start, end) if node.start < edge < node.end)})
    return pairwise(edges)


def _leaf_view(node: Node, text: str, a: int, b: int, start: int, end: int) -> JsonValue:
    view: Json = {"text": text[a:b]}
    if start <= a and b <= end:
        view["mark"] = True
    if node.hidden:
        view["hidden"] = True
    if node.tag:
        view["as"] = node.tag
    return view


def pages_view(document: Document, passage: Passage, file: File, shown: Shown) -> Json:
    """The page of a PDF that a passage stands on, or both that it does, or the one that was turned to.

    Without boxes where they cannot be told exactly, and without the page where it cannot be drawn.
    """
    assert file.path is not None
    first = document.page_at(passage.start) or 1
    last = document.page_at(max(passage.end - 1, passage.start)) or first
    numbers = range(first, min(last, first + 2) + 1) if shown.page is None else [shown.page]
    starts = [*document.pages, len(document.text)]
    pages: list[JsonValue] = []
    n_pages = len(document.pages)
    exact = True
    for number in numbers:
        if not 1 <= number <= n_pages:
            continue
        low, high = starts[number - 1], starts[number]
        inside = (max(passage.start, low) - low, min(passage.end, high) - low)
        spans = [inside] if inside[0] < inside[1] else []
        try:
            image = page_image(str(file.path), file.version, number, document.text[low:high], spans)
        except LoadError as exc:
            return {"unshown": f"Its page cannot be shown as a picture: it {exc}. This is its text."}
        exact = exact and image.boxes is not None
        pages.append(_page_view(image))
    here = shown.page or first
    return {
        "pages": pages,
        "page": here,
        "last": last if shown.page is None else here,
        "n_pages": n_pages,
        "as_text": shown.as_text,
        "inexact": not exact,
    }


def _page_view(image: PageImage) -> Json:
    return {
        "number": image.number,
        "width": image.width,
        "height": image.height,
        "source": image.source,
        "boxes": [list(box) for box in image.boxes or ()],
    }


def fields(document: Document, kind: str) -> Iterator[JsonValue]:
    """What a line of a JSONL file says beside its text: name and value."""
    if kind != "jsonl":
        return
    for name, value in list(document.metadata.items())[:_MAX_FIELDS]:
        said = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        if said not in ("", "null", "[]", "{}"):
            yield [name, said if len(said) <= _MAX_FIELD else f"{said[:_MAX_FIELD]}…"]


def kind_of(source: str, file: SourceFile | None) -> str:
    """How a document is written: a key of `rag.loaders.FORMATS`, or 'code'; 'text' where nothing says more."""
    names = [file.path] if file else [source.split("#", 1)[0], source]  # a line of a file is 'notes.jsonl#3'
    for name in names:
        suffix = PurePosixPath(Path(name).as_posix()).suffix[1:].lower()
        if found := format_of(f"x.{suffix}") if suffix else None:
            return "code" if found == "text" and suffix not in _PROSE else found
    return "text"


def file_now(file: SourceFile | None) -> File:
    """The file of a source: whether it is still what was read, by its size and time, or else by its content."""
    if file is None:
        return File("none")
    read_on = _day(file.read_at)
    path = Path(file.path)
    try:
        state = state_of(path, file.size, file.mtime_ns, file.sha256)
        version = version_of(path.stat()) if state == "same" else ()
    except OSError:
        return File("gone", read_on=read_on)
    return File(state, path if state == "same" else None, version, read_on)


def file_as_read(kept: SourceFile | None) -> File:
    """The file of a source, by its content: its size and time would pass another file that has the same."""
    file = file_now(kept)
    if kept is None or file.path is None or kept.sha256 is None:
        return file
    try:
        is_same = hash_of(str(file.path), version_of(file.path.stat())) == kept.sha256
    except OSError:
        return replace(file, state="gone", path=None)
    return file if is_same else replace(file, state="changed", path=None)


def _day(at: str | None) -> str:
    """A day as people say it, with the year where it is another."""
    if not at:
        return ""
    try:
        day = datetime.fromisoformat(at).astimezone()
    except ValueError:
        return ""
    year = "" if day.year == datetime.now().year else f" {day.year}"
    return f"{day.day} {day:%B}{year}"
