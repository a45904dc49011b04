"""Reads the text layer of PDF, page by page (pypdfium2)."""

from __future__ import annotations

import re
from threading import Lock
from typing import TYPE_CHECKING, BinaryIO

from rag.errors import LoadError
from rag.loaders.base import MEGABYTE, Limits, Loaded, check_characters, list_numbers
from rag.types import Document

if TYPE_CHECKING:
    from pypdfium2 import PdfDocument

_PDFIUM = Lock()  # the library is not made for threads
_BROKEN_WORD = re.compile(r"(\w*)[\ufffe\x02](\w*)")  # how PDFium marks a hyphen at the end of a line
LIGATURES = str.maketrans(
    {"\ufb00": "ff", "\ufb01": "fi", "\ufb02": "fl", "\ufb03": "ffi", "\ufb04": "ffl", "\ufb05": "st", "\ufb06": "st"}
)
_CONTROLS = re.compile(r"[\x01\x03-\x08\x0b-\x1f\x7f\uffff]")  # glyphs without a letter
_NO_TITLE = re.compile(
    r"untitled.*|.*\.\w{2,5}|microsoft .*|.*[\\/].*|(document|slide|page|book|title)\s*\d*", re.IGNORECASE
)
_PDFIUM_WORDS = {
    3: "is not a PDF, or is damaged beyond reading",
    4: "needs a password",
    5: "is locked in a way that cannot be read",
}


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    if (size := file.seek(0, 2)) > limits.max_document_mb * MEGABYTE:
        raise LoadError(f"is {size / MEGABYTE:.0f} MB; the limit is {limits.max_document_mb:g} MB a PDF: split it")
    file.seek(0)
    with _PDFIUM:
        title, raw_pages = _extract(file, limits)
    texts = _mended(raw_pages)
    blank = [number for number, text in enumerate(texts, start=1) if not text]
    if len(blank) == len(texts):
        raise LoadError("no page has a text layer (a scan?)" if texts else "has no pages")
    text, starts = _joined(texts)
    have = "has" if len(blank) == 1 else "have"
    notes = (f"{list_numbers('page', blank)} {have} no text layer",) if blank else ()
    return Loaded((Document(source, text, title=title, pages=starts),), notes)


def _extract(file: BinaryIO, limits: Limits) -> tuple[str | None, list[str]]:
    """The title, if the file has one worth showing, and the raw text of each page."""
    import pypdfium2

    try:
        pdf = pypdfium2.PdfDocument(file)
    except pypdfium2.PdfiumError as exc:
        raise LoadError(_PDFIUM_WORDS.get(getattr(exc, "err_code", 0), "cannot be read as PDF")) from exc
    try:
        pages, n_characters = [], 0
        for number in range(len(pdf)):
            pages.append(_page_text(pdf, number))
            n_characters += len(pages[-1])
            check_characters(n_characters, limits)
        title = str(pdf.get_metadata_dict().get("Title") or "").strip("\0\ufeff \t\r\n")
        return (None if not title or _NO_TITLE.fullmatch(title) else title), pages
    finally:
        pdf.close()


def _page_text(pdf: PdfDocument, number: int) -> str:
    """The raw text of a page; a page that is damaged counts as one without text."""
    import pypdfium2

    try:
        page = pdf[number]
        text_page = page.get_textpage()
    except pypdfium2.PdfiumError:
        return ""
    try:
        return str(text_page.get_text_range())
    finally:
        text_page.close()
        page.close()


def _mended(pages: list[str]) -> list[str]:
    """Pages with plain line ends, letters for ligatures, and the words that a line end broke made whole again."""
    pages = [page.replace("\r\n", "\n").replace("\r", "\n").translate(LIGATURES) for page in pages]
    whole_text = _BROKEN_WORD.sub(" ", "\n".join(pages)).lower()
    words = set(re.findall(r"\w+", whole_text))
    compounds = set(re.findall(r"\w+-\w+", whole_text))

    def mend(match: re.Match[str]) -> str:
        left, right = match[1], match[2]
        whole = (left + right).lower() in words
        compound = f"{left}-{right}".lower() in compounds or {left.lower(), right.lower()} <= words
        letters = left[-1:].islower() and right[:1].islower()
        return left + right if letters and (whole or not compound) else f"{left}-{right}"

    pages = [_CONTROLS.sub(" ", _BROKEN_WORD.sub(mend, page)) for page in pages]
    return ["\n".join(line.rstrip() for line in page.split("\n")).strip() for page in pages]


def _joined(texts: list[str]) -> tuple[str, tuple[int, ...]]:
    """One text, and where each page begins in it; no blank line cuts a sentence that runs on to the next page."""
    starts, parts, length = [], list[str](), 0
    for text in texts:
        if parts and text:
            gap = "\n\n" if re.search(r"""[.!?:。！？]["'”’)\]]*$""", parts[-1]) else "\n"
            parts.append(gap)
            length += len(gap)
        starts.append(length)
        if text:
            parts.append(text)
            length += len(text)
    return "".join(parts), tuple(starts)
