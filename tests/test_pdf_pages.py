"""Pages of a PDF as pictures, and the boxes of a passage's characters on them."""

from __future__ import annotations

import base64
import io
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import rag
from rag.errors import LoadError
from rag.freshness import version_of
from rag.loaders import load
from rag.loaders.pdf import LIGATURES
from ui.pdf import Box, aligned, draw, page_boxes, page_image
from ui.render import Passage
from ui.sources import Shown, source_view

FIXTURES = Path(__file__).parents[2] / "shared" / "data" / "fixtures"
POINTS = (595.28, 841.89)  # of A4

Written = tuple[str, float, float, float]  # a word, and its left, baseline and right in points from the upper left


def make(path: Path, *pages: list[tuple[float, float, str]], rotate: int = 0) -> list[list[Written]]:
    """A PDF of lines at places in points; where each word of them stands."""
    pdf = FPDF(unit="pt", format=POINTS)
    pdf.set_auto_page_break(False)
    written = []
    for lines in pages:
        pdf.add_page()
        pdf.set_font("helvetica", size=14)
        words = []
        for x, y, text in lines:
            pdf.text(x, y, text)
            for match in re.finditer(r"\S+", text):
                left = x + pdf.get_string_width(text[: match.start()])
                words.append((match[0], left, y, left + pdf.get_string_width(match[0])))
        written.append(words)
    pdf.output(str(path))
    if rotate:
        document = pypdfium2.PdfDocument(path)
        for page in document:
            page.set_rotation(rotate)
        document.save(path)
    return written


def boxes_of(path: Path, text: str, quote: str, *, page: int = 0) -> list[Box]:
    with pypdfium2.PdfDocument(path) as pdf:
        at = text.index(quote)
        found = page_boxes(pdf[page], text, [(at, at + len(quote))])
    assert found is not None
    return found


def read(path: Path) -> rag.Document:
    [document] = load(path, source=path.name).documents
    return document


@pytest.fixture
def two_lines(tmp_path: Path) -> tuple[Path, list[Written]]:
    path = tmp_path / "a.pdf"
    [words] = make(path, [(72, 100, "A parent may take"), (72, 120, "sixteen weeks of leave")])
    return path, words


@pytest.mark.parametrize("quote", ["parent", "may take", "A", "weeks of"])
def test_the_box_of_words_of_one_line_is_where_they_were_written(
    two_lines: tuple[Path, list[Written]], quote: str
) -> None:
    path, words = two_lines
    wanted = [word for word in words if word[0] in quote.split()]
    [(left, top, width, height)] = boxes_of(path, read(path).text, quote)
    assert left * POINTS[0] == pytest.approx(wanted[0][1], abs=2)
    assert (left + width) * POINTS[0] == pytest.approx(wanted[-1][3], abs=2)
    baseline = wanted[0][2]
    assert baseline - 14 < top * POINTS[1] < baseline - 6
    assert baseline - 1 < (top + height) * POINTS[1] < baseline + 5


def test_a_quote_of_two_lines_has_a_box_for_each(two_lines: tuple[Path, list[Written]]) -> None:
    path, words = two_lines
    upper, lower = boxes_of(path, read(path).text, "take\nsixteen")
    by_word = {word: (left, right) for word, left, _, right in words}
    assert upper[0] * POINTS[0] == pytest.approx(by_word["take"][0], abs=2)
    assert (lower[0] + lower[2]) * POINTS[0] == pytest.approx(by_word["sixteen"][1], abs=2)
    assert upper[1] + upper[3] < lower[1] + 0.005


def ink(box: Box, picture: Image.Image) -> int:
    """The darkest grey within a box of a picture: 255 is white paper."""
    left, top, width, height = box
    w, h = picture.size
    area = (round(left * w), round(top * h), round((left + width) * w), round((top + height) * h))
    lowest, _ = picture.convert("L").crop(area).getextrema()
    return int(lowest)  # type: ignore[arg-type]


def picture_of(source: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(source.split(",", 1)[1])))


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_boxes_and_ink_are_at_the_same_place_however_the_page_is_turned(tmp_path: Path, rotate: int) -> None:
    path = tmp_path / "a.pdf"
    make(path, [(72, 100, "Alone")], rotate=rotate)
    reply = request(path, read(path).text, "Alone")
    picture = picture_of(reply["source"])
    assert (picture.width > picture.height) == (rotate in (90, 270))
    assert ink(reply["boxes"][0], picture) < 60
    for box in reply["boxes"]:  # and nowhere else
        left, top, width, height = box
        area = (left * picture.width - 3, top * picture.height - 3)
        end = ((left + width) * picture.width + 3, (top + height) * picture.height + 3)
        picture.paste("white", tuple(map(round, (*area, *end))))
    assert ink((0, 0, 1, 1), picture) == 255


def request(path: Path, text: str, quote: str, number: int = 1) -> Any:
    status = path.stat()
    at = text.index(quote) if quote else 0
    spans = [[at, at + len(quote)]] if quote else []
    return draw(
        {
            "path": str(path),
            "version": list(version_of(status)),
            "number": number,
            "text": text,
            "spans": spans,
        }
    )


# Alignment


@given(
    st.lists(st.sampled_from(["word", "fi", "ﬁ", "\r\n", " ", "  ", "co\ufffeop", "\x1c", "é", "🎉", "-"]), max_size=30)
)
def test_what_the_loader_makes_of_a_page_is_found_again_in_it_character_by_character(pieces: list[str]) -> None:
    from rag.loaders.pdf import _mended

    raw = "".join(pieces)
    [text] = _mended([raw])
    places = aligned(raw, text)
    assert places is not None
    assert len(places) == len(text)
    assert sorted(p for p in places if p is not None) == [p for p in places if p is not None]
    for c, place in zip(text, places, strict=True):
        assert place is not None
        made_of = raw[place]
        assert c in LIGATURES.get(ord(made_of), made_of) or (made_of, c) in {
            ("\r", "\n"),
            ("\ufffe", "-"),
            ("\x1c", " "),
        }


@pytest.mark.parametrize(
    ("raw", "text"), [("abc", "abd"), ("abc", "ab"), ("ab", "abc"), ("a b", "ab"[::-1]), ("", "x")]
)
def test_a_text_that_is_another_aligns_with_nothing(raw: str, text: str) -> None:
    assert aligned(raw, text) is None


def test_of_a_page_that_says_something_else_there_are_no_boxes(two_lines: tuple[Path, list[Written]]) -> None:
    path, _ = two_lines
    with pypdfium2.PdfDocument(path) as pdf:
        assert page_boxes(pdf[0], "A parent may not take\nsixteen weeks of leave", [(0, 8)]) is None


# In the pane


@pytest.fixture
def read_pdf(tmp_path: Path, index: rag.Index) -> Callable[..., Path]:
    folder = tmp_path / "files"
    folder.mkdir()

    def made(*pages: list[tuple[float, float, str]]) -> Path:
        make(folder / "a.pdf", *pages)
        index.ingest(folder)
        return folder / "a.pdf"

    return made


def view_of(index: rag.Index, quote: str, shown: Shown | None = None) -> Any:
    text = index.document("a.pdf").text
    start = text.index(quote)
    passage = Passage("a.pdf", None, 1, None, start, start + len(quote), quote)
    return source_view(index, passage, number=1, of=1, shown=shown)


PAGES = [
    [(72.0, 100.0, "The first page ends with half a sentence")],
    [(72.0, 100.0, "and the second has the other half.")],
    [(72.0, 100.0, "A third page.")],
]


def test_a_passage_is_marked_on_its_page_and_in_the_text_beside_it(
    index: rag.Index, read_pdf: Callable[..., Path]
) -> None:
    read_pdf(*PAGES)
    view = view_of(index, "the second")
    assert [page["number"] for page in view["pages"]] == [2]
    assert (view["page"], view["n_pages"], view["inexact"]) == (2, 3, False)
    [page] = view["pages"]
    assert len(page["boxes"]) == 1
    assert page["source"].startswith("data:image/png;base64,")
    assert picture_of(page["source"]).size == (page["width"], page["height"])
    text = "".join(leaf["text"] for node in view["nodes"] for leaf in leaves(node) if leaf.get("mark"))
    assert text == "the second"


def leaves(view: Any) -> Iterator[Any]:
    if "text" in view:
        yield view
    for child in view.get("of", []):
        yield from leaves(child)


def test_a_passage_over_two_pages_is_marked_on_both(index: rag.Index, read_pdf: Callable[..., Path]) -> None:
    read_pdf(*PAGES)
    view = view_of(index, "half a sentence\nand the second")
    assert [(page["number"], len(page["boxes"])) for page in view["pages"]] == [(1, 1), (2, 1)]
    assert (view["page"], view["last"]) == (1, 2)
    assert "".join(leaf["text"] for node in view["nodes"] for leaf in leaves(node) if leaf.get("mark")) == (
        "half a sentence\nand the second"
    )


def test_one_can_turn_to_other_pages_and_to_the_text(index: rag.Index, read_pdf: Callable[..., Path]) -> None:
    read_pdf(*PAGES)
    view = view_of(index, "the second", Shown(page=3, as_text=True))
    assert [(page["number"], page["boxes"]) for page in view["pages"]] == [(3, [])]
    assert (view["page"], view["last"], view["as_text"]) == (3, 3, True)
    assert view_of(index, "the second", Shown(page=99))["pages"] == []


def test_a_pdf_that_changed_is_shown_by_its_stored_text(index: rag.Index, read_pdf: Callable[..., Path]) -> None:
    path = read_pdf(*PAGES)
    make(path, [(72, 100, "Another text altogether, and a longer one than before.")])
    view = view_of(index, "the second")
    assert "pages" not in view
    assert view["note"].startswith("This file changed after it was read. Shown as it was read on ")
    assert any(leaf.get("mark") for node in view["nodes"] for leaf in leaves(node))


def test_another_pdf_of_the_same_size_and_time_is_not_drawn_in_its_place(
    index: rag.Index, read_pdf: Callable[..., Path]
) -> None:
    path = read_pdf(*PAGES)
    status, read_before = path.stat(), path.read_bytes()
    path.write_bytes(read_before[:-1] + b" ")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    view = view_of(index, "the second")
    assert "pages" not in view
    assert view["note"].startswith("This file changed after it was read. ")


def test_a_pdf_that_cannot_be_drawn_any_more_says_so_and_shows_its_text(
    index: rag.Index, read_pdf: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    read_pdf(*PAGES)

    def fail(*args: object) -> None:
        raise LoadError("took longer than 20 s to read")

    monkeypatch.setattr("ui.sources.page_image", fail)
    view = view_of(index, "the second")
    assert view["unshown"] == (
        "Its page cannot be shown as a picture: it took longer than 20 s to read. This is its text."
    )
    assert "pages" not in view
    assert any(leaf.get("mark") for node in view["nodes"] for leaf in leaves(node))


# The worker


def test_a_page_is_drawn_in_another_process_and_only_once(two_lines: tuple[Path, list[Written]]) -> None:
    path, _ = two_lines
    status, text = path.stat(), read(path).text
    version = version_of(status)
    image = page_image(str(path), version, 1, text, [(0, 1)])
    assert (image.number, image.pages, image.width) == (1, 1, 1300)
    assert page_image(str(path), version, 1, text, [(0, 1)]) is image


def test_a_file_that_is_replaced_between_look_and_drawing_is_not_drawn(two_lines: tuple[Path, list[Written]]) -> None:
    path, _ = two_lines
    with pytest.raises(LoadError, match="changed just now"):
        page_image(str(path), (1, 1), 1, "", [])


@pytest.mark.parametrize(
    ("content", "words"), [(b"no pdf at all", "cannot be drawn"), (b"%PDF-1.4\n%%EOF", "cannot be drawn")]
)
def test_what_is_no_pdf_is_refused_in_words(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "a.pdf").write_bytes(content)
    status = (tmp_path / "a.pdf").stat()
    with pytest.raises(LoadError, match=words):
        page_image(str(tmp_path / "a.pdf"), version_of(status), 1, "", [])


def test_a_page_that_is_not_there_is_refused(two_lines: tuple[Path, list[Written]]) -> None:
    with pytest.raises(LoadError, match="has 1 pages, and no page 2"):
        request(two_lines[0], "", "", number=2)


def test_a_page_of_any_shape_is_a_picture_of_bounded_size(tmp_path: Path) -> None:
    for width, height in [(14_000, 20), (20, 14_000), (1, 1)]:
        pdf = FPDF(unit="pt", format=(width, height))
        pdf.add_page()
        pdf.output(str(tmp_path / "a.pdf"))
        reply = request(tmp_path / "a.pdf", "", "")
        assert reply["width"] * reply["height"] <= 3_100_000


NASTY = ["pypdf/multilang.pdf", "sample-files/habibi.pdf", "pdfplumber/nics-background-checks-2015-11-rotated.pdf",
         "unstructured/korean-text-with-tables.pdf", "unstructured/multi-column-2p.pdf",
         "pdfminer-six/zen_of_python_corrupted.pdf", "unstructured/fr_olap.pdf"]  # fmt: skip


@pytest.mark.skipif(not FIXTURES.is_dir(), reason="the fixtures are not here")
@pytest.mark.parametrize("name", NASTY)
def test_every_character_of_files_that_others_made_has_its_box_on_ink(name: str) -> None:
    document = read(FIXTURES / name)
    starts = [*document.pages, len(document.text)]
    text = document.text[starts[0] : starts[1]]
    reply = request(FIXTURES / name, text, text)
    assert reply["boxes"]
    picture = picture_of(reply["source"]).convert("L")
    on_ink = sum(ink(box, picture) < 230 for box in reply["boxes"])
    assert on_ink >= 0.9 * len(reply["boxes"])
    assert all(0 <= x <= 1.00002 for left, top, w, h in reply["boxes"] for x in (left, top, left + w, top + h))
