"""Reads Word documents: paragraphs, lists and tables in the order of the body (python-docx)."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from rag.errors import LoadError
from rag.loaders.base import MEGABYTE, Limits, Loaded, Outline, check_characters, one_line
from rag.types import Document

if TYPE_CHECKING:
    from docx.document import Document as WordDocument

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_MATH_TEXT = "{http://schemas.openxmlformats.org/officeDocument/2006/math}t"
_FALLBACK = "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback"  # says again what stands beside it
_ENCRYPTED = b"\xd0\xcf\x11\xe0"  # an OLE file: how Word wraps what it encrypts, and what .doc files are
_MAX_UNPACKED = 1024 * MEGABYTE
_MAX_XML = 256 * MEGABYTE  # of the parts that are parsed
_MAX_RATIO = 200  # XML packs to about a tenth


@dataclass(frozen=True, slots=True)
class _Block:
    """A paragraph, a list item or a table row."""

    text: str
    level: int = 0  # of a heading, from 1
    is_tight: bool = False  # stands directly below another of its kind, without a blank line


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    _check_archive(file, limits)
    word = _opened(file)
    styles = _Styles(word)
    blocks = list(_blocks(word.element.body, styles))
    if not any(block.text for block in blocks):
        blocks = [block for part in _headers_and_footers(word) for block in _blocks(part, styles)]
    outline, parts, length = Outline(), list[str](), 0
    before = _Block("")
    for block in blocks:
        if not block.text:
            continue
        gap = "" if not parts else "\n" if before.is_tight and block.is_tight else "\n\n"
        start, length = length + len(gap), length + len(gap) + len(block.text)
        parts += (gap, block.text)
        if block.level:
            outline.add(block.level, block.text, start=start, body=length)
        before = block
        check_characters(length, limits)
    title = one_line(word.core_properties.title or "") or styles.title
    return Loaded((Document(source, "".join(parts), title=title or None, sections=tuple(outline.sections)),))


def _check_archive(file: BinaryIO, limits: Limits) -> None:
    """Refuse, by the archive's directory alone, what is no archive, is encrypted, or would unpack to far too much."""
    magic = file.read(4)
    if magic == _ENCRYPTED:
        raise LoadError("needs a password (or is an old .doc file under a new name)")
    if (size := file.seek(0, 2)) > limits.max_document_mb * MEGABYTE:
        raise LoadError(f"is {size / MEGABYTE:.0f} MB; the limit is {limits.max_document_mb:g} MB a DOCX: split it")
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError) as exc:
        raise LoadError("is not a DOCX, or is cut off or damaged") from exc
    if any(entry.flag_bits & 1 for entry in entries):
        raise LoadError("needs a password")
    unpacked = sum(entry.file_size for entry in entries)
    xml = sum(entry.file_size for entry in entries if entry.filename.endswith((".xml", ".rels")))
    packed = sum(entry.compress_size for entry in entries)
    if unpacked > _MAX_UNPACKED or xml > _MAX_XML or (unpacked > 64 * MEGABYTE and unpacked > _MAX_RATIO * packed):
        raise LoadError(f"would unpack to {unpacked / MEGABYTE:.0f} MB from {size / MEGABYTE:.1f} MB (a zip bomb?)")
    file.seek(0)


def _opened(file: BinaryIO) -> WordDocument:
    import docx
    from docx.opc.exceptions import OpcError

    try:
        return docx.Document(file)
    except (
        OpcError,
        SyntaxError,  # what lxml's own is
        zipfile.BadZipFile,
        EOFError,
        KeyError,
        ValueError,
        AttributeError,
        AssertionError,
    ) as exc:
        if "memory" in str(exc).lower():  # libxml2 says so in a syntax error
            raise MemoryError from exc
        raise LoadError(f"is not a whole Word document ({type(exc).__name__}: {one_line(str(exc))[:100]})") from exc


class _Styles:
    """What a style says of its paragraphs, by its id: the heading level, whether it is a list's or the title's."""

    def __init__(self, word: WordDocument) -> None:
        self.title = ""  # of the document: its first paragraph in the style Title
        self._elements = {style.get(f"{_W}styleId"): style for style in word.styles.element.iter(f"{_W}style")}

    def level(self, paragraph: Any) -> int:
        """1 to 9 for a heading, by its outline level or by the name of its style or of one that is based on; else 0."""
        level = paragraph.find(f"{_W}pPr/{_W}outlineLvl")
        if level is not None:
            return _outline_level(level)
        for style in self._chain(paragraph):
            name = _value(style.find(f"{_W}name")).lower()  # Word writes 'heading 1' here in every language
            if name.startswith("heading ") and name[8:].isdigit():
                return min(int(name[8:]), 9)
            level = style.find(f"{_W}pPr/{_W}outlineLvl")
            if level is not None:
                return _outline_level(level)
        return 0

    def is_list(self, paragraph: Any) -> bool:
        number = paragraph.find(f"{_W}pPr/{_W}numPr/{_W}numId")
        if number is not None:
            return _value(number) != "0"
        return any(_value(style.find(f"{_W}name")).lower().startswith("list ") for style in self._chain(paragraph))

    def is_title(self, paragraph: Any) -> bool:
        return any(_value(style.find(f"{_W}name")).lower() == "title" for style in self._chain(paragraph))

    def _chain(self, paragraph: Any) -> Iterator[Any]:
        """The paragraph's style and those it is based on."""
        name = _value(paragraph.find(f"{_W}pPr/{_W}pStyle"))
        seen = set()
        while name and name not in seen and (style := self._elements.get(name)) is not None:
            seen.add(name)
            yield style
            name = _value(style.find(f"{_W}basedOn"))


def _value(element: Any) -> str:
    return "" if element is None else element.get(f"{_W}val") or ""


def _outline_level(element: Any) -> int:
    value = _value(element)
    return int(value) + 1 if value.isdigit() and int(value) < 9 else 0  # 9 is body text


def _blocks(container: Any, styles: _Styles) -> Iterator[_Block]:
    """Paragraphs and table rows, also those inside content controls and text boxes."""
    for element in container:
        if element.tag == f"{_W}p":
            yield from _paragraph_blocks(element, styles)
        elif element.tag == f"{_W}tbl":
            yield from _table_blocks(element, styles)
        elif element.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins", f"{_W}moveTo"):
            yield from _blocks(element, styles)


def _paragraph_blocks(paragraph: Any, styles: _Styles) -> Iterator[_Block]:
    boxes: list[Any] = []
    text = _text(paragraph, boxes)
    level = styles.level(paragraph)
    if level:
        yield _Block(one_line(text), level=level)
    elif text:
        is_item = styles.is_list(paragraph)
        if not styles.title and styles.is_title(paragraph):
            styles.title = one_line(text)
        yield _Block(f"- {text}" if is_item else text, is_tight=is_item)
    for box in boxes:
        yield from _blocks(box, styles)


def _text(paragraph: Any, boxes: list[Any]) -> str:
    """The words of a paragraph without deleted ones; text boxes anchored in it are set apart."""
    parts: list[str] = []
    pending = list(reversed(paragraph))
    while pending:
        element = pending.pop()
        tag = element.tag
        if tag in (f"{_W}t", _MATH_TEXT):
            parts.append(element.text or "")
        elif tag in (f"{_W}tab", f"{_W}ptab"):
            parts.append("\t")
        elif tag in (f"{_W}br", f"{_W}cr"):
            parts.append("\n")
        elif tag == f"{_W}noBreakHyphen":
            parts.append("-")
        elif tag == f"{_W}txbxContent":
            boxes.append(element)
        elif tag not in (f"{_W}pPr", f"{_W}rPr", f"{_W}del", f"{_W}moveFrom", _FALLBACK):
            pending.extend(reversed(element))
    text = "".join(parts).replace("\xad", "")  # a soft hyphen is only seen at a line end
    return "\n".join(line.strip() for line in text.split("\n")).strip()


def _table_blocks(table: Any, styles: _Styles) -> Iterator[_Block]:
    """One block a row, 'a | b'; a merged cell counts once; a table inside of a cell follows the row."""
    for row in _children(table, "tr"):
        cells, inner = list[str](), list[Any]()
        for cell in _children(row, "tc"):
            merge = cell.find(f"{_W}tcPr/{_W}vMerge")
            if merge is not None and _value(merge) != "restart":
                cells.append("")  # goes on from the row above
                continue
            boxes: list[Any] = []
            cells.append(one_line(" ".join(_text(paragraph, boxes) for paragraph in _children(cell, "p"))))
            inner += [*_children(cell, "tbl"), *(found for box in boxes for found in _children(box, "tbl"))]
        if any(cells):
            yield _Block(" | ".join(cells).rstrip(" |").strip(), is_tight=True)
        for nested in inner:
            yield from _table_blocks(nested, styles)


def _children(element: Any, name: str) -> Iterator[Any]:
    """Children of this name, also those wrapped in a content control."""
    for child in element:
        if child.tag == f"{_W}{name}":
            yield child
        elif child.tag in (f"{_W}sdt", f"{_W}sdtContent", f"{_W}customXml", f"{_W}ins"):
            yield from _children(child, name)


def _headers_and_footers(word: WordDocument) -> Iterator[Any]:
    for section in word.sections:
        for part in (section.header, section.footer):
            if not part.is_linked_to_previous:
                yield part._element
