"""Reads Markdown: the text stays as it was written, markdown-it-py only tells where its headings are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from math import isfinite
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from rag.loaders.base import Limits, Loaded, Outline, read_up_to, storable
from rag.loaders.text import decode
from rag.types import Document, JsonValue

if TYPE_CHECKING:
    from markdown_it import MarkdownIt

_PARSED_CHARACTERS = 2_000_000  # a longer text is scanned line by line: the parser takes a second a megabyte
FRONT_MATTER = re.compile(r"---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_PARSED_FRONT_MATTER = 50_000  # characters; of a longer one only the plain pairs are read
_MAX_DEPTH = 100  # of lists and mappings in front matter
_MAX_DIGITS = 300  # a longer number is kept as the text it is
_YAML = "tag:yaml.org,2002:"  # before the name of each type
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
    front = FRONT_MATTER.match(text)
    title, metadata = _front_matter(front[1]) if front else (None, {})
    body = "\n" * front[0].count("\n") + text[front.end() :] if front else text  # the same lines, for the same numbers
    starts = [0, *(match.end() for match in re.finditer("\n", text)), len(text)]
    outline = Outline()
    for level, heading, first_line, end_line in _headings(body):
        start, end = starts[first_line], starts[min(end_line, len(starts) - 1)]
        outline.add(level, heading, start=start, body=end)
        title = title or (heading if level == 1 else None)
    document = Document(source, text, title=title, sections=tuple(outline.sections), metadata=metadata)
    return Loaded((document,), decoded.notes)


def _front_matter(front_matter: str) -> tuple[str | None, dict[str, JsonValue]]:
    """The title, and all else: as YAML if it is that, otherwise what stands in its plain `key: value` lines."""
    if len(front_matter) <= _PARSED_FRONT_MATTER:
        try:
            return _parsed_front_matter(front_matter)
        except Exception:  # whatever text the parser cannot take, its plain lines can still be read
            pass
    pairs = _pairs(front_matter)
    return pairs.pop("title", None), {**pairs}


def _pairs(front_matter: str) -> dict[str, str]:
    """The plain `key: value` lines of front matter; lists and nested values are left in the text only."""
    lines = (_PAIR.fullmatch(line.rstrip()) for line in front_matter.splitlines())
    pairs = {match[1]: match[2].strip().strip("\"'") for match in lines if match and match[2][0] not in "[{|>&*!#"}
    return {key: value for key, value in pairs.items() if value}


def _parsed_front_matter(front_matter: str) -> tuple[str | None, dict[str, JsonValue]]:
    """As `_front_matter`; raises any error for what is not a YAML mapping, or is not worth the risk."""
    import yaml

    root = yaml.compose(front_matter, Loader=yaml.SafeLoader)  # the pure Python one: C has no guard against depth
    metadata = _plain_value(root, set())
    if not isinstance(root, yaml.MappingNode) or not isinstance(metadata, dict):
        raise ValueError("not a mapping")
    title = None
    for key, value in root.value:
        if key.value == "title" and isinstance(value, yaml.ScalarNode):
            metadata.pop("title", None)
            title = "" if value.tag == _YAML + "null" else storable(value.value).strip()
    return title or None, metadata


def _plain_value(node: Any, seen: set[int], depth: int = 0) -> JsonValue:
    """The value of a YAML node; an alias is refused, as a few of them can stand for billions of values."""
    if id(node) in seen or depth > _MAX_DEPTH:
        raise ValueError("an alias, or too deep")
    seen.add(id(node))
    if node.tag == _YAML + "seq":
        return [_plain_value(item, seen, depth + 1) for item in node.value]
    if node.tag == _YAML + "map":
        keys = [key.value for key, _ in node.value]
        if not all(isinstance(key, str) for key in keys):
            raise ValueError("a key that is no text")
        return {
            storable(key): _plain_value(value, seen, depth + 1)
            for key, (_, value) in zip(keys, node.value, strict=True)
        }
    return _plain_scalar(node)


def _plain_scalar(node: Any) -> JsonValue:
    """Of what YAML 1.1 takes for more than text, only what everybody does: neither `no` nor 12:30 nor 010 changes."""
    from yaml.constructor import SafeConstructor

    kind, text = node.tag.removeprefix(_YAML), storable(node.value)
    if kind == "null":
        return None
    if kind == "bool" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    if kind == "int" and re.fullmatch(r"[-+]?(0|[1-9][0-9]*)", text) and len(text) <= _MAX_DIGITS:
        return int(text)
    if kind == "float" and re.fullmatch(r"[-+]?[0-9]+\.[0-9]*([eE][-+]?[0-9]+)?", text) and isfinite(float(text)):
        return float(text)
    if kind == "timestamp":
        try:
            return str(SafeConstructor().construct_yaml_timestamp(node).isoformat())
        except (ValueError, OverflowError):  # no such day
            return text
    if kind in ("str", "bool", "int", "float", "value", "merge"):
        return text
    raise ValueError("a tag")


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
