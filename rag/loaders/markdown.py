"""Reads Markdown: the text stays as it was written, markdown-it-py only tells where its headings are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from rag.loaders.base import Limits, Loaded, Outline, read_up_to
from rag.loaders.text import decode
from rag.types import Document, JsonValue

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_PARSED_CHARACTERS = 2_000_000  # a longer text is scanned line by line: the parser takes a second a megabyte
_FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PAIR = re.compile(r"([A-Za-z][\w-]*)[ \t]*:[ \t]+(\S.*)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")


class _Heading(NamedTuple):
    level: int  # 1 to 6
    title: str  # without markup
    first_line: int
    end_line: int  # the line after the heading


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    decoded = decode(read_up_to(file, limits.max_file_mb))
    text = decoded.text
    front = _FRONT_MATTER.match(text)
    metadata = _pairs(front[1]) if front else {}
    body = "\n" * front[0].count("\n") + text[front.end() :] if front else text  # the same lines, for the same numbers
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    outline = Outline()
    title = metadata.pop("title", None)
    for level, heading, first_line, end_line in _headings(body):
        start, end = starts[first_line], starts[min(end_line, len(starts) - 1)]
        outline.add(level, heading, start=start, body=end)
        title = title or (heading if level == 1 else None)
    values: dict[str, JsonValue] = {**metadata}
    document = Document(source, text, title=title, sections=tuple(outline.sections), metadata=values)
    return Loaded((document,), decoded.notes)


def _pairs(front_matter: str) -> dict[str, str]:
    """The plain `key: value` lines of front matter; lists and nested values are left in the text only."""
    lines = (_PAIR.fullmatch(line.rstrip()) for line in front_matter.splitlines())
    pairs = {match[1]: match[2].strip().strip("\"'") for match in lines if match and match[2][0] not in "[{|>&*!#"}
    return {key: value for key, value in pairs.items() if value}


def _headings(text: str) -> Iterator[_Heading]:
    if len(text) > _PARSED_CHARACTERS:
        return _scanned_headings(text)
    try:
        return iter(list(_parsed_headings(text)))
    except Exception:  # whatever text the parser cannot take, its headings can still be found
        return _scanned_headings(text)


@cache
def _parser() -> MarkdownIt:
    from markdown_it import MarkdownIt

    return MarkdownIt("commonmark").enable("table")


def _parsed_headings(text: str) -> Iterator[_Heading]:
    """Headings outside of lists and quotations; only their own inline markup is parsed."""
    from markdown_it.token import Token

    blocks: list[Token] = []
    parser = _parser()
    parser.block.parse(text, parser, {}, blocks)
    for opening, inline in pairwise(blocks):
        if opening.type == "heading_open" and opening.level == 0 and opening.map:
            children = parser.parseInline(inline.content)[0].children or []
            words = (
                " " if child.type == "softbreak" else child.content
                for child in children
                if child.type in ("text", "text_special", "code_inline", "image", "softbreak")
            )
            yield _Heading(int(opening.tag[1:]), "".join(words), *opening.map)


def _scanned_headings(text: str) -> Iterator[_Heading]:
    """'#' headings outside of code fences, found line by line, whatever else the text holds."""
    fence = ""
    for number, line in enumerate(text.split("\n")):
        marks = _FENCE.match(line)
        if fence:
            if marks and marks[1].startswith(fence) and not line[marks.end() :].strip():
                fence = ""
        elif marks:
            fence = marks[1]
        elif len(line) < 1000 and (heading := _ATX.match(line)):
            title = re.sub(r"(?:^|[ \t]+)#+[ \t]*$", "", heading[2] or "")
            yield _Heading(len(heading[1]), title, number, number + 1)
