"""A document's text laid out as headings, lists, tables and code, every character of it in its place.

A tree of nodes over offsets: its leaves follow each other without a gap, so that what is marked on the page is exactly
what is marked in the text. Characters that only say how it is laid out (`#`, `**`, `|`) are leaves that are hidden;
nothing but white space and punctuation ever is. What cannot be laid out so is one plain block.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from rag.loaders.markdown import FRONT_MATTER
from rag.types import Document

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.token import Token

BLOCKS = frozenset("h1 h2 h3 h4 h5 h6 p plain item row pre line rule field".split())  # counted and cut off by these
REACH = 60_000  # characters looked at on either side of a passage
_MARKDOWN_REACH = 30_000
_MOST_PARSED = 400_000  # characters; a section beyond that is shown as it is written
_LONGEST_BLOCK = 2_000  # characters; a paragraph beyond it is cut at a line or a space
_SHORT_LINE = 0.8  # of the longest line of its page: a line below it ends a paragraph

_BLANK_LINES = re.compile(r"\n(?:[ \t]*\n)+")
_SPOKEN = re.compile(r"[^\s!-/:-@\[-`{-~]")  # what is read: all but white space and the punctuation of ASCII
_HEADING_MARKS = re.compile(r"[ ]{0,3}#{1,6}[ \t]+")
_CLOSING_MARKS = re.compile(r"(?:[ \t]+#+|[ \t]*\n[=-]+)?\s*$")
_ITEM = re.compile(r"( *)- (?=\S)")
_FIELD = re.compile(r"(?:^|; )([^:;\n]{1,60}): ")
_MAIL_FIELD = re.compile(r"(?:Subject|From|To|Cc|Date|Attachments): ")
_TAGS = {
    "paragraph": "p", "bullet_list": "ul", "ordered_list": "ol", "list_item": "li", "blockquote": "quote",
    "table": "table", "thead": "thead", "tbody": "tbody", "tr": "row", "th": "th", "td": "td",
}  # fmt: skip
_INLINE_TAGS = {"em": "em", "strong": "strong", "s": "s", "link": "link"}


@dataclass(slots=True)
class Node:
    """A stretch of the text: an element with children that tile it, or a leaf without any."""

    tag: str  # of an element; of a leaf '' or how it is shown: 'marker', 'address', 'raw', 'name'
    start: int  # character offsets into the document text
    end: int
    children: list[Node] = field(default_factory=list)
    hidden: bool = False  # of a leaf: says how the text is laid out, and is not shown
    page: int | None = None  # the page that begins here
    line: int | None = None  # of code, from 1
    depth: int = 0  # of a list item that stands by itself, from 0

    def leaves(self) -> Iterator[Node]:
        """The leaves in order."""
        if not self.children:
            yield self
        for child in self.children:
            yield from child.leaves()

    def blocks(self) -> Iterator[Node]:
        """The innermost blocks in order."""
        inner = [block for child in self.children for block in child.blocks()]
        if inner:
            yield from inner
        elif self.tag in BLOCKS:
            yield self


class NotExactError(Exception):
    """The text cannot be laid out so that every character keeps its place."""


class Tree:
    """Builds nodes from the text's beginning to its end."""

    def __init__(self, text: str, start: int) -> None:
        self._text = text
        self.at = start
        self._open = [Node("", start, start)]

    def open(self, tag: str, **said: Any) -> None:
        node = Node(tag, self.at, self.at, **said)
        self._open[-1].children.append(node)
        self._open.append(node)

    def close(self) -> None:
        node = self._open.pop()
        node.end = self.at
        if node.start == node.end:  # an empty cell, say
            self._open[-1].children.remove(node)

    def hide(self, upto: int) -> None:
        """What stands up to there says how the text is laid out.

        Raises:
            NotExactError: it is further back, or something to read stands there.
        """
        if upto < self.at or _SPOKEN.search(self._text, self.at, upto):
            raise NotExactError
        self._leaf(upto, hidden=True)

    def show(self, start: int, end: int, tag: str = "") -> None:
        """A stretch that is read, and before it nothing that is."""
        self.hide(start)
        self._leaf(end, tag=tag)

    def plain(self, start: int, end: int) -> None:
        """A block as it is written."""
        self.open("plain")
        lead = self._text[start:end]
        first = start + len(lead) - len(lead.lstrip("\n"))
        last = max(start + len(lead.rstrip()), first)
        self.show(first, last)
        self.hide(end)
        self.close()

    def _leaf(self, end: int, *, tag: str = "", hidden: bool = False) -> None:
        if end > self.at:
            self._open[-1].children.append(Node(tag, self.at, end, hidden=hidden))
            self.at = end

    def done(self, end: int) -> list[Node]:
        self.hide(end)
        [root] = self._open
        return root.children


def laid_out(document: Document, kind: str, start: int, end: int, *, reach: int = 1) -> list[Node]:
    """The text around a span as nodes that follow each other without a gap.

    Args:
        document: whose text it is.
        kind: how it is written: a format of `rag.loaders`, or 'code'.
        start: of the span to be seen, in characters of the text.
        end: of that span.
        reach: how far around it is looked at, from 1.
    """
    text = document.text
    if kind == "markdown":
        low, high = _sections_around(document, start, end, reach * _MARKDOWN_REACH)
        if high - low <= _MOST_PARSED:
            return markdown(text, low, high)
    low, high = window(text, start, end, reach * REACH)
    if kind == "code":
        return _code(text, low, high)
    return _by_blocks(document, kind, low, high)


def chosen(nodes: Sequence[Node], start: int, end: int, *, above: int, below: int) -> tuple[int, int]:
    """From where to where to show: so many blocks above the span and below it, as far as there are.

    Near one end of the text, the other side gets what that one does not need.
    """
    blocks = [block for node in nodes for block in node.blocks()]
    low, high = (nodes[0].start, nodes[-1].end) if nodes else (0, 0)
    if not blocks:
        return low, high
    first = next((i for i, block in enumerate(blocks) if block.end > start), len(blocks) - 1)
    last = next((i for i, block in enumerate(blocks) if block.end >= end), len(blocks) - 1)
    last = max(first, last)
    spare_above, spare_below = max(above - first, 0), max(below - (len(blocks) - 1 - last), 0)
    begin, stop = max(first - above - spare_below, 0), min(last + below + spare_above, len(blocks) - 1)
    return blocks[begin].start if begin else low, blocks[stop + 1].start if stop + 1 < len(blocks) else high


def pruned(node: Node, low: int, high: int) -> Node | None:
    """A node without what lies outside of two offsets between blocks; None where nothing is left."""
    if node.end <= low or node.start >= high:
        return None
    if low <= node.start and node.end <= high:
        return node
    if not node.children:  # white space between blocks
        start, end = max(node.start, low), min(node.end, high)
        return Node(node.tag, start, end, hidden=node.hidden)
    children = [kept for child in node.children if (kept := pruned(child, low, high))]
    return Node(
        node.tag,
        children[0].start,
        children[-1].end,
        children,
        page=node.page if children[0].start == node.start else None,
        line=node.line,
        depth=node.depth,
    )


def window(text: str, start: int, end: int, reach: int) -> tuple[int, int]:
    """Where to look for blocks, so that a document of any size costs the same; it begins and ends with a line."""
    low = text.rfind("\n", 0, max(start - reach, 0)) + 1
    high = text.find("\n", end + reach)
    return max(low, start - 2 * reach, 0), min(high + 1 or len(text), end + 2 * reach, len(text))


def _sections_around(document: Document, start: int, end: int, reach: int) -> tuple[int, int]:
    """The same between headings, for Markdown has sense from a heading on only: they stand outside of all else."""
    starts = [section.start for section in document.sections]
    low = max((s for s in starts if s <= max(start - reach, 0)), default=0)
    return low, min((s for s in starts if s >= end + reach), default=len(document.text))


# Markdown


def markdown(text: str, low: int, high: int) -> list[Node]:
    """Markdown as nodes; a block whose characters cannot be told one by one is plain.

    Args:
        text: of the whole document.
        low: where a line begins that no list, quotation or fence is open at.
        high: another such place, or the end.
    """
    nodes: list[Node] = []
    at = low
    front = FRONT_MATTER.match(text, 0, high) if low == 0 else None
    if front:
        nodes += _alone(text, 0, front.end(), "pre")
        at = front.end()
    part = text[at:high]
    lines = [at, *(at + match.end() for match in re.finditer("\n", part)), high]
    tokens: list[Token] = []
    parser = _parser()
    try:
        parser.block.parse(part, parser, {}, tokens)
    except Exception:  # whatever the parser cannot take
        return [*nodes, *_plain_blocks(text, at, high)]
    for group in _groups(tokens):
        span = group[0].map
        if span is None:
            continue
        first, last = lines[span[0]], lines[min(span[1], len(lines) - 1)]
        if text[at:first].strip():  # the definition of a link, say
            nodes += _plain_blocks(text, at, first)
            at = first
        try:
            nodes += _Group(text, at, lines).nodes(group, last)
        except NotExactError:
            nodes += _plain_blocks(text, at, last)
        at = last
    return [*nodes, *_plain_blocks(text, at, high)]


def _groups(tokens: Sequence[Token]) -> Iterator[list[Token]]:
    """The tokens of one outermost block after the other."""
    group: list[Token] = []
    for token in tokens:
        group.append(token)
        if token.level == 0 and token.nesting <= 0:
            yield group
            group = []


class _Group:
    """One outermost block of Markdown."""

    def __init__(self, text: str, at: int, lines: Sequence[int]) -> None:
        self._text = text
        self._lines = lines  # where each begins, and the end
        self._tree = Tree(text, at)
        self._row = 0  # the line of the table row that is open

    def nodes(self, tokens: Sequence[Token], end: int) -> list[Node]:
        tree = self._tree
        above: list[str] = []
        for token in tokens:
            kind = token.type.removesuffix("_open").removesuffix("_close")
            if token.nesting == 1:
                self._opens(token, kind, ordered=above[-1:] == ["ordered_list"])
                above.append(kind)
            elif token.nesting == -1:
                above.pop()
                tree.close()
            elif kind == "inline":
                self._inline(token, in_cell=above[-1:] in (["th"], ["td"]))
            elif kind in ("fence", "code_block", "html_block"):
                self._verbatim(token, kind)
            elif kind == "hr":
                tree.open("rule")
                tree.hide(self._line_end(token.map[1] - 1 if token.map else 0))
                tree.close()
            else:
                raise NotExactError
        return tree.done(end)

    def _opens(self, token: Token, kind: str, *, ordered: bool) -> None:
        if kind == "heading":
            self._tree.open(token.tag)
            return
        if kind not in _TAGS:
            raise NotExactError
        if kind == "tr":
            self._row = token.map[0] if token.map else 0
        self._tree.open(_TAGS[kind])
        if kind == "list_item" and ordered:
            marker = re.compile(r"[\s>*+-]*(\d{1,9}[.)])").match(self._text, self._tree.at)
            if not marker:
                raise NotExactError
            self._tree.show(*marker.span(1), tag="marker")

    def _line_end(self, line: int) -> int:
        """Where a line ends, before its line break."""
        end = self._lines[line + 1]
        return end - 1 if self._text[end - 1 : end] == "\n" else end

    def _verbatim(self, token: Token, kind: str) -> None:
        """Code, or HTML as it is written: each line without what a list or quotation puts before it."""
        first, last = token.map or (0, 0)
        tree = self._tree
        tree.open("pre")
        if kind == "fence":
            if token.info.strip():
                at = self._text.find(token.info.strip(), self._lines[first], self._lines[first + 1])
                tree.show(at, at + len(token.info.strip()), tag="name")
            first += 1
        for number, line in enumerate(token.content.splitlines(keepends=True), start=first):
            if number >= last:
                raise NotExactError
            start, end = self._lines[number], self._lines[number + 1]
            if not self._text[start:end].endswith(line):
                raise NotExactError
            tree.show(end - len(line), end)
        if kind == "fence":  # the closing one, which may not be there
            tree.hide(self._lines[last])
        tree.close()

    def _inline(self, token: Token, *, in_cell: bool) -> None:
        if not token.content:
            return
        if in_cell:
            start, content = self._cell(token.content)
            _Inline(self._tree, content, [start]).draw()
        else:
            starts = self._starts(token.content.split("\n"), (token.map or [0])[0])
            _Inline(self._tree, token.content, starts).draw()

    def _starts(self, lines: Sequence[str], first: int) -> list[int]:
        """Where each line of a paragraph or heading stands in the text."""
        starts = []
        for number, line in enumerate(lines, start=first):
            begin, end = self._lines[number], self._line_end(number)
            written = self._text[begin:end]
            if number == first + len(lines) - 1 and not written.endswith(line):
                written = written.rstrip()
                if not written.endswith(line):  # a heading with marks behind it
                    written = re.sub(r"[ \t]+#+$", "", written).rstrip()
            if not written.endswith(line):
                raise NotExactError
            starts.append(begin + len(written) - len(line))
        return starts

    def _cell(self, content: str) -> tuple[int, str]:
        """Where a cell of the open row stands, and how it is written: a bar within it has a backslash before it."""
        written = re.compile(re.escape(content).replace("\\|", r"\\\|"))
        found = written.search(self._text, self._tree.at, self._line_end(self._row))
        if not found:
            raise NotExactError
        return found.start(), found[0]


class _Inline:
    """What stands within a paragraph: emphasis, code, links."""

    def __init__(self, tree: Tree, content: str, starts: Sequence[int]) -> None:
        self._tree = tree
        self._content = content
        self._offsets = [0, *(match.end() for match in re.finditer("\n", content)), len(content) + 1]
        self._starts = starts  # of each line of the content in the text

    def draw(self) -> None:
        tree, content = self._tree, self._content
        tokens = _inline_tokens(content)
        ends = [*(token.meta["at"] for token in tokens[1:]), len(content)]
        for token, following in zip(tokens, ends, strict=True):
            at = token.meta["at"]
            kind = token.type.removesuffix("_open").removesuffix("_close")
            if kind == "text":
                at += content[at : at + 1] == "<" != token.content[:1]  # of <https://…>
                self._same(at, token.content)
                self._show(at, at + len(token.content))
            elif kind == "text_special":
                end = at + len(token.markup)
                self._same(at, token.markup)
                self._show(end - len(token.content) if token.info == "escape" else at, end)
            elif kind in ("softbreak", "hardbreak"):
                at = content.index("\n", at)
                self._show(at, at + 1, "break" if kind == "hardbreak" else "")
            elif kind == "code_inline":
                self._code(token, at)
            elif kind == "html_inline":
                self._same(at, token.content)
                self._show(at, at + len(token.content), "raw")
            elif kind == "image":
                self._same(at, f"![{token.content}]")
                tree.open("image")
                end = at + 2 + len(token.content)
                self._show(at + 2, end)
                self._address(end, following)
                tree.close()
            elif kind not in _INLINE_TAGS:
                raise NotExactError
            elif token.nesting == 1:
                tree.open(_INLINE_TAGS[kind])
            else:
                if kind == "link" and token.info != "auto":
                    self._address(at, following)
                tree.close()
        tree.hide(self._starts[-1] + len(content) - self._offsets[-2])  # marks that end with the paragraph

    def _code(self, token: Token, at: int) -> None:
        marks = len(token.markup)
        closing = re.compile(rf"(?<!`)`{{{marks}}}(?!`)").search(self._content, at + marks)
        if not closing:
            raise NotExactError
        start, end = at + marks, closing.start()
        if end - start == len(token.content) + 2:  # a space on either side belongs to the marks
            start, end = start + 1, end - 1
        self._tree.open("code")
        self._show(start, end)
        self._tree.close()

    def _address(self, at: int, end: int) -> None:
        """Where a link leads or an image comes from: shown as the text it is."""
        written = re.compile(r"\](?:\(\s*(.*?)\s*\)|\[(.*)\])?\s*", re.DOTALL).fullmatch(self._content, at, end)
        if not written:
            raise NotExactError
        start, stop = written.span(1) if written[1] is not None else written.span(2)
        if start < stop:
            self._show(start, stop, "address")

    def _same(self, at: int, expected: str) -> None:
        if self._content[at : at + len(expected)] != expected:
            raise NotExactError

    def _show(self, start: int, end: int, tag: str = "") -> None:
        """Part of the content, line by line, for the text has more between its lines than the content."""
        for line, (a, b) in enumerate(pairwise(self._offsets)):
            first, last = max(start, a), min(end, b)
            if first < last:
                self._tree.show(self._starts[line] + first - a, self._starts[line] + last - a, tag)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    parser = MarkdownIt("commonmark").enable("table").disable(["fragments_join"])
    parser.inline.ruler.before("text", "place", _note_place)
    return parser


def _note_place(state: Any, silent: bool) -> bool:
    """Called at every place before all rules: if no text is pending, it begins here if it does."""
    if not silent and not state.pending:
        state.pending_at = state.pos
    return False


def _inline_tokens(content: str) -> list[Token]:
    """The tokens of a paragraph, each with where it was made as `meta["at"]`."""
    parser = _parser()
    state = _placing_state()(content, parser, {}, [])
    try:
        parser.inline.tokenize(state)
        for rule in parser.inline.ruler2.getRules(""):
            rule(state)
    except Exception as exc:
        raise NotExactError from exc
    return list(state.tokens)


@cache
def _placing_state() -> type[Any]:
    from markdown_it.rules_inline import StateInline

    class Placing(StateInline):
        """Notes where each token was made; the marks of one run are made at one place, one after the other."""

        pending_at = 0
        _made_at, _made = -1, 0

        def pushPending(self) -> Token:  # noqa: N802
            token = super().pushPending()
            token.meta = {"at": self.pending_at}
            return token

        def push(self, ttype: str, tag: str, nesting: Any) -> Token:
            token = super().push(ttype, tag, nesting)
            is_next = ttype == "text" and self._made_at == self.pos
            self._made = self._made + 1 if is_next else 0
            self._made_at = self.pos if ttype == "text" else -1
            token.meta = {"at": self.pos + self._made}
            return token

    return Placing


def _alone(text: str, start: int, end: int, tag: str) -> list[Node]:
    """One block that is shown as it is written, but for white space at its end."""
    tree = Tree(text, start)
    tree.open(tag)
    tree.show(start, start + len(text[start:end].rstrip()) if text[start:end].strip() else start)
    tree.hide(end)
    tree.close()
    return tree.done(end)


def _plain_blocks(text: str, start: int, end: int) -> list[Node]:
    """Paragraphs as they are written."""
    if not text[start:end].strip():
        return [Node("", start, end, hidden=True)] if end > start else []
    cuts = sorted({start, end, *(m.end() for m in _BLANK_LINES.finditer(text, start, end))})
    pieces = [cut for a, b in pairwise(cuts) for cut in _pieces(text, a, b)]
    tree = Tree(text, start)
    for a, b in pairwise([*pieces, end]):
        if text[a:b].strip():
            tree.plain(a, b)
    return tree.done(end)


# Text that a loader laid out: blank lines between paragraphs, '- ' before list items, ' | ' between cells


def _by_blocks(document: Document, kind: str, low: int, high: int) -> list[Node]:
    text = document.text
    cuts = sorted({low, high, *(cut for cut in _cuts(document, low, high) if low < cut < high)})
    headings = {s.start: (s.body, s.path.count(" > ") + 1) for s in document.sections if low <= s.start < high}
    pages = {offset: number for number, offset in enumerate(document.pages, 1) if low <= offset < high}
    nodes: list[Node] = []
    for a, b in pairwise(cuts):
        body, level = headings.get(a, (a, 0))
        nodes += _block(text, a, b, kind, level if b <= body else 0, pages.get(a))
    return nodes


def _block(text: str, start: int, end: int, kind: str, level: int, page: int | None) -> list[Node]:
    """One paragraph, heading, list or table."""
    shown = text[start:end]
    if not shown.strip():
        return [Node("" if page is None else "p", start, end, hidden=page is None, page=page)]
    lead = start + len(shown) - len(shown.lstrip("\n"))
    tail = start + len(shown.rstrip())
    tree = Tree(text, start)
    if level:
        opening = _HEADING_MARKS.match(text, lead, end)
        closing = _CLOSING_MARKS.search(shown)
        lead = opening.end() if opening and opening.end() < end else lead
        tail = max(min(tail, start + closing.start()) if closing else tail, lead)
        tree.open(f"h{min(level, 6)}", page=page)
        tree.show(lead, tail)
        tree.hide(end)
        tree.close()
        return tree.done(end)
    lines = list(_lines(text, lead, tail))
    if kind in ("html", "docx") and len(lines) > 1 and all(" | " in text[a:b] for a, b in lines):
        _draw_table(tree, text, lines)
    elif kind in ("html", "docx") and _ITEM.match(text, lead, tail):
        _draw_items(tree, text, lines)
    elif kind == "csv" and _FIELD.match(text[lead:tail]):
        _draw_fields(tree, text, lead, tail)
    elif kind == "email" and start == 0 and all(_MAIL_FIELD.match(text, a, b) for a, b in lines):
        _draw_mail_head(tree, text, lines)
    else:
        tree.open("p" if kind == "pdf" else "plain", page=page)
        tree.show(lead, tail)
        tree.hide(end)
        tree.close()
    nodes = tree.done(end)
    if page is not None and nodes[0].page is None:
        next(node for node in nodes if not node.hidden).page = page
    return nodes


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each line, without its line break."""
    at = start
    while at < end:
        stop = text.find("\n", at, end)
        yield at, stop if stop >= 0 else end
        at = stop + 1 if stop >= 0 else end


def _draw_table(tree: Tree, text: str, lines: Sequence[tuple[int, int]]) -> None:
    tree.open("table")
    for a, b in lines:
        tree.open("row")
        at = a
        for cell in re.finditer(r"(.*?)(?: \| |$)", text[a:b]):
            if cell.end() == cell.start() and cell.start() == b - a:
                break
            tree.open("td")
            tree.show(at, a + cell.end(1))
            tree.hide(a + cell.end())
            tree.close()
            at = a + cell.end()
        tree.close()
    tree.close()


def _draw_items(tree: Tree, text: str, lines: Sequence[tuple[int, int]]) -> None:
    """List items, each with the lines that belong to it."""
    is_open = False
    for a, b in lines:
        if marker := _ITEM.match(text, a, b):
            if is_open:
                tree.close()
            tree.open("item", depth=min(len(marker[1]) // 2, 8))
            tree.show(marker.end(), b)
            is_open = True
        else:
            tree.show(tree.at, b)  # with the line break before it
    tree.close()


def _draw_fields(tree: Tree, text: str, start: int, end: int) -> None:
    """A row of a table whose columns have names: each value behind its name."""
    tree.open("row")
    names = list(_FIELD.finditer(text[start:end]))
    for name, following in zip(names, [*names[1:], None], strict=True):
        stop = start + following.start() if following else end
        tree.open("field")
        tree.show(start + name.start(1), start + name.end(1), "name")
        tree.show(start + name.end(), stop)
        tree.close()
    tree.close()


def _draw_mail_head(tree: Tree, text: str, lines: Sequence[tuple[int, int]]) -> None:
    tree.open("row")
    for a, b in lines:
        colon = text.index(": ", a, b)
        tree.open("field")
        tree.show(a, colon, "name")
        tree.show(colon + 2, b)
        tree.close()
    tree.close()


def _code(text: str, low: int, high: int) -> list[Node]:
    number = text.count("\n", 0, low) + 1
    nodes: list[Node] = []
    for match in re.finditer(r"[^\n]*\n|[^\n]+", text[low:high]):
        for i, (a, b) in enumerate(
            pairwise([*_pieces(text, low + match.start(), low + match.end()), low + match.end()])
        ):
            nodes.append(Node("line", a, b, [Node("", a, b)], line=number if i == 0 else None))
        number += 1
    return nodes


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
    """In text whose lines were broken where the paper ended, a line much shorter than the longest ends a paragraph."""
    for a, b in zip(document.pages, (*document.pages[1:], len(document.text)), strict=True):
        if b <= low or a >= high:
            continue
        lines = document.text[a:b].splitlines(keepends=True)
        longest, at = max((len(line) for line in lines), default=0), a
        for line in lines:
            at += len(line)
            if len(line) < _SHORT_LINE * longest and low < at < high:
                yield at
