"""A page of a PDF as a picture, and where on it the characters of a passage stand (pypdfium2).

The file is parsed in a worker process with limits of time and memory, as when it was read into the index: it may come
from anybody. Boxes are of the exact characters or are not there.
"""

from __future__ import annotations

import base64
import io
import math
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any

from rag.errors import LoadError
from rag.freshness import Version, version_of
from rag.loaders.isolation import Isolated
from rag.loaders.pdf import LIGATURES

if TYPE_CHECKING:
    from pypdfium2 import PdfPage, PdfTextPage

WIDTH = 1300  # pixels of the picture: sharp in a pane of half that width
_MOST_PIXELS = 3_000_000
_SECONDS = 20
_MEMORY_MB = 1536
_LARGE_PNG = 1_500_000  # bytes; a page of photographs is sent as JPEG
_PAGES_KEPT = 24
_FINE = 64  # parts of a pixel to which places are told
_BREAKS = "\ufffe\x02"  # how PDFium marks a hyphen at the end of a line
_CAN_GO = (
    "".join(map(chr, range(0x21))) + "\x7f\xa0\u2028\u3000\uffff\ufffe"
)  # white space, and glyphs without a letter

Box = tuple[float, float, float, float]  # left, top, width, height as shares of the page's, from its upper left


@dataclass(frozen=True, slots=True)
class PageImage:
    """One page as it is shown."""

    number: int  # from 1
    pages: int  # of the whole file
    width: int  # pixels
    height: int
    source: str  # of the picture, as a data: address
    boxes: tuple[Box, ...] | None  # one for each stretch of a line; None where they cannot be told exactly


def page_image(path: str, version: Version, number: int, text: str, spans: Sequence[tuple[int, int]]) -> PageImage:
    """A page with the boxes of some spans of its text.

    Args:
        path: of the file.
        version: as `version_of` gives it; what was drawn of another one is not shown again.
        number: of the page, from 1.
        text: of the page, as the index keeps it.
        spans: in characters of that text.

    Raises:
        LoadError: the file cannot be read, or is too much to draw.
    """
    return _drawn(path, version, number, text, tuple(spans))


@lru_cache(maxsize=_PAGES_KEPT)
def _drawn(path: str, version: Version, number: int, text: str, spans: tuple[tuple[int, int], ...]) -> PageImage:
    reply: Any = _worker().call(
        {"path": path, "version": list(version), "number": number, "text": text, "spans": [list(s) for s in spans]}
    )
    boxes = None if reply["boxes"] is None else tuple(tuple(box) for box in reply["boxes"])
    return PageImage(number, reply["pages"], reply["width"], reply["height"], reply["source"], boxes)


_STARTING = threading.Lock()


def _worker() -> Isolated:
    with _STARTING:  # two threads would start two
        return _started(os.getpid())


@cache
def _started(process: int) -> Isolated:
    return Isolated("ui.pdf:draw", seconds=_SECONDS, memory_mb=_MEMORY_MB)


# In the worker


def draw(request: Mapping[str, Any]) -> dict[str, Any]:
    """The work of the process that parses: one page as a picture, and the boxes of spans of its text."""
    import pypdfium2

    try:
        file = open(request["path"], "rb")  # noqa: SIM115  PDFium reads from it until it is closed below
    except OSError as exc:
        raise LoadError(f"cannot be read: {exc.strerror}") from exc
    if list(version_of(os.fstat(file.fileno()))) != request["version"]:
        raise LoadError("changed just now")
    try:
        pdf = pypdfium2.PdfDocument(file, autoclose=True)
    except pypdfium2.PdfiumError as exc:
        raise LoadError(f"cannot be drawn: {exc}") from exc
    try:
        if not 1 <= request["number"] <= len(pdf):
            raise LoadError(f"has {len(pdf)} pages, and no page {request['number']}")
        page = pdf[request["number"] - 1]
        width, height = page.get_size()
        if not (width > 0 and height > 0):
            raise LoadError("has a page without a size")
        scale = min(WIDTH / width, math.sqrt(_MOST_PIXELS / (width * height)))
        image = page.render(scale=scale).to_pil().convert("RGB")
        boxes = page_boxes(page, request["text"], [tuple(span) for span in request["spans"]])
        return {
            "pages": len(pdf),
            "width": image.width,
            "height": image.height,
            "source": _address(image),
            "boxes": boxes,
        }
    except pypdfium2.PdfiumError as exc:
        raise LoadError(f"cannot be drawn: {exc}") from exc
    finally:
        pdf.close()


def _address(image: Any) -> str:
    kind, data = "png", io.BytesIO()
    image.save(data, "PNG")
    if data.tell() > _LARGE_PNG:
        kind, data = "jpeg", io.BytesIO()
        image.save(data, "JPEG", quality=85)
    return f"data:image/{kind};base64,{base64.b64encode(data.getvalue()).decode('ascii')}"


def page_boxes(page: PdfPage, text: str, spans: Sequence[tuple[int, int]]) -> list[Box] | None:
    """Where characters stand on a page; None where the page does not say the text that the index keeps.

    Args:
        page: an open page.
        text: of it, as `rag.loaders.pdf` made it.
        spans: in characters of that text.
    """
    text_page = page.get_textpage()
    try:
        raw = str(text_page.get_text_range())
        places = aligned(raw, text)
        if places is None:
            return None
        return _Boxes(page, text_page, raw).of([[places[i] for i in range(a, b)] for a, b in spans])
    finally:
        text_page.close()


def aligned(raw: str, text: str) -> list[int | None] | None:
    """For each character of a page's text in the index, which one of PDFium's raw text it was made of.

    What `rag.loaders.pdf` changes is known: line ends, ligatures, hyphens at line ends, glyphs without a letter, white
    space at the ends of lines and of the page. Anything else that differs is no alignment.

    Returns:
        None for a character that was put in; no list at all where the two do not fit.
    """
    places: list[int | None] = []
    i, n = 0, len(raw)
    j = 0
    while j < len(text):
        c = text[j]
        if i >= n:
            if text[j:].strip():
                return None
            places += [None] * (len(text) - j)
            return places
        r = raw[i]
        letters = LIGATURES.get(ord(r))
        if letters and text.startswith(letters, j):
            places += [i] * len(letters)
            i, j = i + 1, j + len(letters)
        elif r == "\r" and c == "\n":
            places.append(i)
            i, j = i + 1 + (raw[i + 1 : i + 2] == "\n"), j + 1
        elif r == c or (r in _BREAKS and c == "-") or c == "\N{REPLACEMENT CHARACTER}" or (c == " " and r in _CAN_GO):
            places.append(i)
            i, j = i + 1, j + 1
        elif r in _BREAKS or r in _CAN_GO:
            i += 1
        elif not text[j:].strip():  # the gap between this page and the next
            places += [None] * (len(text) - j)
            return places if not raw[i:].strip(_CAN_GO) else None
        else:
            return None
    return places if not raw[i:].strip(_CAN_GO) else None


class _Boxes:
    """The boxes of characters of one page."""

    def __init__(self, page: PdfPage, text_page: PdfTextPage, raw: str) -> None:
        import pypdfium2.raw as pdfium

        self._pdfium = pdfium
        self._page, self._text_page, self._raw = page, text_page, raw
        width, height = page.get_size()
        self._width, self._height = math.ceil(width) * _FINE, math.ceil(height) * _FINE
        self._utf16 = [0]  # PDFium counts units of UTF-16
        for c in raw:
            self._utf16.append(self._utf16[-1] + 1 + (ord(c) > 0xFFFF))

    def of(self, spans: Sequence[Sequence[int | None]]) -> list[Box] | None:
        """The boxes of the characters at some places of the raw text; None where one of them is not what it says."""
        found: list[Box] = []
        for places in spans:
            line: tuple[float, float, float, float] | None = None
            for place in dict.fromkeys(places):
                if place is None or self._raw[place] in "\r\n":
                    found += [_box(line)] if line else []
                    line = None
                    continue
                if self._raw[place].isspace():
                    continue
                edges = self._edges(place)
                if edges is None:
                    return None
                if line is not None and not _is_of_line(line, edges):
                    found.append(_box(line))
                    line = None
                line = edges if line is None else _around(line, edges)
            found += [_box(line)] if line else []
        return [box for box in found if box[2] > 0 and box[3] > 0]

    def _edges(self, place: int) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom of a character as it is shown, or None where PDFium means another one."""
        from ctypes import c_double, c_int

        pdfium = self._pdfium
        index = pdfium.FPDFText_GetCharIndexFromTextIndex(self._text_page, self._utf16[place])
        if index < 0:
            return None
        meant, said = pdfium.FPDFText_GetUnicode(self._text_page, index), ord(self._raw[place])
        # Beyond 16 bits PDFium may tell the first unit only; of a hyphen at a line end it tells the hyphen.
        if meant != said and said <= 0xFFFF and self._raw[place] not in _BREAKS and meant not in (0, 0xFFFE):
            return None
        left, right, bottom, top = c_double(), c_double(), c_double(), c_double()
        if not pdfium.FPDFText_GetCharBox(self._text_page, index, left, right, bottom, top):
            return None
        xs, ys = [], []
        for x, y in ((left.value, top.value), (right.value, bottom.value)):
            on_x, on_y = c_int(), c_int()
            pdfium.FPDF_PageToDevice(self._page, 0, 0, self._width, self._height, 0, x, y, on_x, on_y)
            xs.append(on_x.value / self._width)
            ys.append(on_y.value / self._height)
        return min(xs), min(ys), max(xs), max(ys)


def _is_of_line(line: tuple[float, float, float, float], edges: tuple[float, float, float, float]) -> bool:
    """Whether a character follows on the same line: they overlap in height (a comma and a capital just do)."""
    overlap = min(line[3], edges[3]) - max(line[1], edges[1])
    height = min(line[3] - line[1], edges[3] - edges[1])
    return overlap > -0.5 * height and edges[0] > line[2] - 0.2


def _around(
    a: tuple[float, float, float, float], b: tuple[float, float, float, float]
) -> tuple[float, float, float, float]:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _box(edges: tuple[float, float, float, float]) -> Box:
    """As a share of the page; what stands beyond its edge is not to be seen."""
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in edges)
    return round(left, 5), round(top, 5), round(right - left, 5), round(bottom - top, 5)
