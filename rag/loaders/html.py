"""Reads HTML as a person sees it: paragraphs, lists, tables; no scripts, menus or hidden parts (selectolax)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO

from rag.loaders.base import Limits, Loaded, Outline, one_line, read_up_to
from rag.loaders.text import decode
from rag.types import Document, Section

if TYPE_CHECKING:
    from selectolax.lexbor import LexborHTMLParser, LexborNode

_DECLARED = re.compile(
    rb"""<meta[^>]{1,500}?charset\s*=\s*["']?\s*([\w.:-]+)|<\?xml[^>]{1,200}?encoding\s*=\s*["']([\w.:-]+)""",
    re.IGNORECASE,
)
_SELF_CLOSED = re.compile(r"<(script|style|title|textarea|iframe|a|div|span|p)\b([^<>]*)/>")
_NEVER_TEXT_TAGS = """
    head script style template noscript svg iframe object embed canvas audio video map noframes button select datalist
    input progress meter annotation annotation-xml rp -comment -doctype
"""
_PARAGRAPH_TAGS = """
    p div section article main header footer aside nav form fieldset figure table ul ol dl pre blockquote address
    details hgroup hr h1 h2 h3 h4 h5 h6 body
"""
_CLASSES_NOT_PRINTED = """
    noprint visually-hidden sr-only skip-link element-invisible
    mw-editsection mw-jump-link interlanguage-link after-portlet catlinks printfooter
"""  # the second line is Wikipedia's
_NEVER_TEXT = set(_NEVER_TEXT_TAGS.split())
_PARAGRAPHS = set(_PARAGRAPH_TAGS.split())
_LINES = {"li", "dt", "dd", "tr", "td", "th", "caption", "figcaption", "summary", "legend"}
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_AROUND = {"footer", "aside", "banner", "contentinfo", "complementary"}  # tags and roles: not text, unless within it
_MENUS = {"nav", "navigation", "search"}  # tags and roles: never text
_NOT_PRINTED = set(_CLASSES_NOT_PRINTED.split())
_HIDDEN_STYLE = re.compile(r"(?:^|;)\s*(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.IGNORECASE)
_SPACES = re.compile(r"[ \t\n\r\f\v\xa0\u200b]+")


@dataclass(frozen=True, slots=True)
class Page:
    """The readable text of a page; the offsets of its sections count characters of `text`."""

    text: str
    title: str | None
    sections: tuple[Section, ...]
    language: str | None


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    data = read_up_to(file, limits.max_file_mb)
    found = _DECLARED.search(data[:4096])
    decoded = decode(data, declared=(found[1] or found[2]).decode("ascii") if found else None)
    markup = decoded.text
    if markup.lstrip().startswith("<?xml"):  # where a tag may close itself, which HTML does not know
        markup = _SELF_CLOSED.sub(r"<\1\2></\1>", markup)
    page = extract(markup)
    document = Document(
        source,
        page.text,
        title=page.title,
        sections=page.sections,
        metadata={"lang": page.language} if page.language else {},
    )
    return Loaded((document,), decoded.notes)


def extract(markup: str) -> Page:
    """The text of an HTML page. Menus and footers count only if the page has no other text."""
    from selectolax.lexbor import LexborHTMLParser

    tree = LexborHTMLParser(markup)
    if not (writer := _written(tree, furniture=False)).length:
        writer = _written(tree, furniture=True)
    title = tree.css_first("head > title")
    first_heading = next((section.path for section in writer.outline.sections if section.path), None)
    language = tree.root.attributes.get("lang") if tree.root else None
    return Page(
        text="".join(writer.parts),
        title=one_line(title.text() if title else "") or (first_heading or "").split(" > ")[0] or None,
        sections=tuple(writer.outline.sections),
        language=one_line(language or "")[:20] or None,
    )


@dataclass(slots=True)
class _Writer:
    """Text as it is laid out: white space is written only once something stands after it."""

    parts: list[str] = field(default_factory=list)
    length: int = 0
    breaks: int = 0  # line ends owed before the next word: 1 a new line, 2 a new paragraph
    space: bool = False  # or only a space
    blank: str = ""  # or, in preformatted text, these blanks
    marker: str = ""  # of the list item that begins with the next word
    outline: Outline = field(default_factory=Outline)

    def end(self, breaks: int) -> None:
        """The line, or the paragraph if `breaks` is 2, ends here."""
        self.breaks = max(self.breaks, breaks)

    def words(self, text: str) -> None:
        """Text of a paragraph, in which white space of any kind is one space."""
        words = _SPACES.sub(" ", text.replace("\xad", ""))  # a soft hyphen is only seen at a line end
        if stripped := words.strip(" "):
            self.space |= words[0] == " "
            self.write(stripped)
        self.space |= words.endswith(" ")

    def write(self, text: str) -> None:
        gap = ("\n" * self.breaks or " " * self.space) if self.length else ""
        self.parts += (gap, self.marker, text)
        self.length += len(gap) + len(self.marker) + len(text)
        self.breaks, self.space, self.marker = 0, False, ""

    def preformatted(self, text: str) -> None:
        """Text whose spaces and line ends count."""
        for piece in re.split("(\n)", text):
            if piece == "\n":
                self.breaks, self.blank = self.breaks + 1, ""
            elif piece.strip():
                self.write(self.blank + piece)
                self.blank = ""
            else:
                self.blank += piece


@dataclass(slots=True)
class _Layout:
    """Turns the tags of a page, as they open and close, into text."""

    layout_tables: set[int]  # the `mem_id`s of tables that only place things on the page
    writer: _Writer = field(default_factory=_Writer)
    outer: list[_Writer] = field(default_factory=list)  # the page's writer, while a cell has its own
    rows: list[list[str]] = field(default_factory=list)  # of the table of data that is open
    heading: tuple[int, int] = (0, 0)  # parts and characters written before the open heading
    lists: int = 0  # how many are open
    preformatted: int = 0  # how many are open

    def opens(self, node: LexborNode, tag: str) -> None:
        if tag == "-text":
            text = node.text_content or ""
            return self.writer.preformatted(text) if self.preformatted else self.writer.words(text)
        if tag == "br":
            self.writer.breaks = min(self.writer.breaks + 1, 2)
        self.writer.end(self.breaks_around(tag))
        if tag in ("ul", "ol"):
            self.lists += 1
        elif tag == "li":
            self.writer.marker = "  " * (self.lists - 1) + "- "
        elif tag == "pre":
            self.preformatted += 1
        elif tag in _HEADINGS:
            self.heading = (len(self.writer.parts), self.writer.length)
        elif tag == "table" and node.mem_id not in self.layout_tables:
            self.rows = []
            self.outer.append(self.writer)
            self.writer = _Writer()
        elif self.outer and tag in ("tr", "caption"):
            self.rows.append([])
        if self.outer and tag in ("td", "th", "caption"):
            self.writer = _Writer()
        return None

    def closes(self, node: LexborNode, tag: str) -> None:
        if tag in ("ul", "ol"):
            self.lists -= 1
        elif tag == "li":
            self.writer.marker = ""
        elif tag == "pre":
            self.preformatted -= 1
            self.writer.blank = ""
        elif tag in _HEADINGS:
            self.close_heading(_HEADINGS[tag])
        elif tag == "table" and node.mem_id not in self.layout_tables:
            self.writer = self.outer.pop()
            if lines := _table_lines(self.rows):
                self.writer.write(lines)
        elif self.outer and self.rows and tag in ("td", "th", "caption"):
            span = node.attributes.get("colspan") or ""
            n_blank = min(int(span), 100) - 1 if span.isascii() and span.isdigit() else 0
            self.rows[-1] += ["".join(self.writer.parts), *[""] * n_blank]
        self.writer.end(self.breaks_around(tag))

    def close_heading(self, level: int) -> None:
        n_parts, length = self.heading
        gap, *words = self.writer.parts[n_parts:] or [""]
        self.writer.outline.add(level, "".join(words), start=length + len(gap), body=self.writer.length)

    def breaks_around(self, tag: str) -> int:
        """Line ends before and after an element: 2 around a paragraph, 1 around a line or what stands in a list."""
        if tag in _PARAGRAPHS:
            return 1 if self.lists and tag in ("p", "div", "ul", "ol") else 2
        return int(tag in _LINES)


def _written(tree: LexborHTMLParser, *, furniture: bool) -> _Writer:
    if not tree.body:
        return _Writer()
    has_main = tree.css_first("main, article, div[role=main]") is not None
    layout = _Layout(_layout_tables(tree.body) if tree.css_first("table") else set())
    for node, tag, opens in _walk(tree.body, furniture=furniture, has_main=has_main):
        (layout.opens if opens else layout.closes)(node, tag)
    return layout.writer


def _walk(
    root: LexborNode, *, furniture: bool = True, has_main: bool = False
) -> Iterator[tuple[LexborNode, str, bool]]:
    """Every shown node with its tag, as it opens (True) and, but for text, as it closes (False).

    Without recursion, as some pages nest ten thousand deep.
    """
    above: list[tuple[LexborNode, str]] = []
    n_main = 0  # how many of the nodes above are the text proper
    node: LexborNode | None = root
    while node:
        tag = node.tag or ""
        if tag == "-text":
            yield node, tag, True
        elif _is_shown(node, tag, furniture=furniture, within=n_main > 0, has_main=has_main):
            yield node, tag, True
            if child := node.first_child:
                above.append((node, tag))
                n_main += _is_main(node, tag)
                node = child
                continue
            yield node, tag, False
        following = node.next
        while above and not following:
            node, tag = above.pop()
            n_main -= _is_main(node, tag)
            yield node, tag, False
            following = node.next
        node = following if above else None


def _is_main(node: LexborNode, tag: str) -> bool:
    return tag in ("main", "article") or (tag == "div" and node.attributes.get("role") == "main")


def _is_shown(node: LexborNode, tag: str, *, furniture: bool, within: bool, has_main: bool) -> bool:
    """Whether a reader would see this element, and as text rather than as a menu or footer around it."""
    if tag in _NEVER_TEXT:
        return False
    attributes = node.attributes
    if attributes and (
        "hidden" in attributes
        or attributes.get("aria-hidden") == "true"
        or _HIDDEN_STYLE.search(attributes.get("style") or "")
        or not _NOT_PRINTED.isdisjoint((attributes.get("class") or "").split())
    ):
        return False
    if furniture:
        return True
    kinds = {tag, attributes.get("role") or ""}
    if not kinds.isdisjoint(_MENUS):
        return False
    return within or (kinds.isdisjoint(_AROUND) and not (tag == "header" and has_main))


def _layout_tables(root: LexborNode) -> set[int]:
    """Tables that hold tables, headings or preformatted text: they place things on the page and are no data."""
    layout: set[int] = set()
    unknown: list[int] = []  # tables around this node that look like data so far
    for node, tag, opens in _walk(root):
        if tag == "table" and not opens:
            if unknown and unknown[-1] == node.mem_id:
                unknown.pop()
        elif opens and (tag in ("table", "pre") or tag in _HEADINGS):
            layout.update(unknown)
            unknown.clear()
            if tag == "table":
                presents = node.attributes.get("role") in ("presentation", "none")
                (layout.add if presents else unknown.append)(node.mem_id)
    return layout


def _table_lines(rows: list[list[str]]) -> str:
    """Rows as 'a | b | c' lines, without columns that are empty throughout; a single column is plain paragraphs."""
    width = max(map(len, rows), default=0)
    used = [any(len(row) > i and row[i] for row in rows) for i in range(width)]
    if sum(used) == 1:
        return "\n\n".join(cell for row in rows for cell in row if cell)
    cells = ([one_line(cell) for cell, is_used in zip(row, used, strict=False) if is_used] for row in rows)
    return "\n".join(" | ".join(row).rstrip(" |").strip() for row in cells if any(row))
