"""Render the Markdown sources in this folder as the corpus's DOCX and PDF files.

Each source has one title (# ...), sections (## ...), paragraphs on one line each and
at most one pipe table. The same source always gives the same bytes.

    python make_documents.py
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from docx import Document
from docx.document import Document as DocxDocument
from docx.enum.table import WD_TABLE_ALIGNMENT
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor
from docx.styles.style import ParagraphStyle
from fpdf import FPDF
from fpdf.enums import TableBordersLayout
from fpdf.fonts import FontFace

BUILD = Path(__file__).resolve().parent
CORPUS = BUILD.parent

FORMATS: dict[str, str] = {
    "autoencoders": "pdf",
    "classification-and-sentiment": "docx",
    "recommendation": "pdf",
    "vector-indexes": "pdf",
    "visualisation": "docx",
}

AUTHOR = "Footnote sample corpus"
CREATED = datetime(2026, 1, 1, tzinfo=UTC)
ZIP_DATE = (2026, 1, 1, 0, 0, 0)


@dataclass(frozen=True)
class Heading:
    text: str


@dataclass(frozen=True)
class Paragraph:
    text: str


@dataclass(frozen=True)
class Table:
    rows: tuple[tuple[str, ...], ...]


Block = Heading | Paragraph | Table


@dataclass(frozen=True)
class Article:
    title: str
    blocks: tuple[Block, ...]


def table_row(line: str) -> tuple[str, ...]:
    return tuple(cell.strip() for cell in line.strip().strip("|").split("|"))


def is_rule(row: tuple[str, ...]) -> bool:
    """Whether a row is the rule below a table's header, such as | --- | --- |."""
    return all(cell and not cell.strip(":-") for cell in row)


def read_article(path: Path) -> Article:
    title = ""
    blocks: list[Block] = []
    rows: list[tuple[str, ...]] = []
    for line in [*path.read_text(encoding="utf-8").splitlines(), ""]:
        if line.startswith("|"):
            row = table_row(line)
            if not is_rule(row):
                rows.append(row)
            continue
        if rows:
            blocks.append(Table(tuple(rows)))
            rows = []
        if line.startswith("## "):
            blocks.append(Heading(line[3:].strip()))
        elif line.startswith("# "):
            title = line[2:].strip()
        elif line.strip():
            blocks.append(Paragraph(line.strip()))
    if not title:
        raise ValueError(f"{path.name} has no title")
    return Article(title, tuple(blocks))


class ArticlePdf(FPDF):  # type: ignore[misc]  # fpdf2 has no type information
    """An A4 page with a page number at the foot."""

    margin = 27.0
    ink = (34, 34, 34)
    grey = (110, 110, 110)
    line_height = 5.6

    def __init__(self, title: str) -> None:
        super().__init__(format="A4")
        self.set_margins(self.margin, 24, self.margin)
        self.set_auto_page_break(True, margin=24)
        self.c_margin = 0
        self.set_creation_date(CREATED)
        self.set_title(title)
        self.set_author(AUTHOR)
        self.set_lang("en-GB")
        self.add_page()

    def footer(self) -> None:
        self.set_y(-16)
        self.set_font("Helvetica", size=9)
        self.set_text_color(*self.grey)
        self.cell(0, 5, f"Page {self.page_no()} of {{nb}}", align="C")

    def text_block(self, text: str, height: float) -> None:
        self.multi_cell(0, height, text, align="L", new_x="LMARGIN", new_y="NEXT")

    def write_title(self, text: str) -> None:
        self.set_font("Helvetica", "B", 20)
        self.set_text_color(*self.ink)
        self.text_block(text, 9)
        self.ln(3)

    def write_heading(self, text: str) -> None:
        # Start a new page rather than leave a heading without text below it.
        if self.will_page_break(12 + 2 * self.line_height):
            self.add_page()
        else:
            self.ln(2.5)
        self.start_section(text)
        self.set_font("Helvetica", "B", 13)
        self.set_text_color(*self.ink)
        self.text_block(text, 7)
        self.ln(1)

    def write_paragraph(self, text: str) -> None:
        self.set_font("Times", size=11.5)
        self.set_text_color(*self.ink)
        self.text_block(text, self.line_height)
        self.ln(2.2)

    def write_table(self, rows: tuple[tuple[str, ...], ...]) -> None:
        self.ln(1)
        self.set_font("Helvetica", size=9.5)
        self.set_text_color(*self.ink)
        self.set_draw_color(190, 190, 190)
        longest = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
        with (
            self.unbreakable() as page,
            page.table(
                rows,
                align="LEFT",
                text_align="LEFT",
                col_widths=tuple(min(max(length, 8), 30) for length in longest),
                line_height=5,
                padding=1.2,
                borders_layout=TableBordersLayout.HORIZONTAL_LINES,
                headings_style=FontFace(emphasis="BOLD", fill_color=(240, 240, 240)),
            ),
        ):
            pass
        self.ln(4)


def write_pdf(article: Article, path: Path) -> None:
    pdf = ArticlePdf(article.title)
    pdf.write_title(article.title)
    for block in article.blocks:
        match block:
            case Heading(text):
                pdf.write_heading(text)
            case Paragraph(text):
                pdf.write_paragraph(text)
            case Table(rows):
                pdf.write_table(rows)
    pdf.output(str(path))


def paragraph_style(document: DocxDocument, name: str) -> ParagraphStyle:
    style = document.styles[name]
    if not isinstance(style, ParagraphStyle):
        raise TypeError(f"{name} is not a paragraph style")
    return style


def write_docx(article: Article, path: Path) -> None:
    document = Document()
    section = document.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = Cm(2.7)
    section.top_margin = section.bottom_margin = Cm(2.4)

    normal = paragraph_style(document, "Normal")
    normal.font.name = "Calibri"
    normal.font.size = Pt(11)
    normal.paragraph_format.space_after = Pt(7)
    normal.paragraph_format.line_spacing = 1.15
    for name in ("Title", "Heading 1"):
        paragraph_style(document, name).font.color.rgb = RGBColor(0x22, 0x22, 0x22)

    properties = document.core_properties
    properties.title = article.title
    properties.author = AUTHOR
    properties.language = "en-GB"
    properties.comments = ""
    properties.created = properties.modified = CREATED.replace(tzinfo=None)

    document.add_heading(article.title, level=0)
    for block in article.blocks:
        match block:
            case Heading(text):
                document.add_heading(text, level=1)
            case Paragraph(text):
                document.add_paragraph(text)
            case Table(rows):
                table = document.add_table(len(rows), len(rows[0]), style="Table Grid")
                table.alignment = WD_TABLE_ALIGNMENT.LEFT
                for row, values in zip(table.rows, rows, strict=True):
                    for cell, value in zip(row.cells, values, strict=True):
                        run = cell.paragraphs[0].add_run(value)
                        run.bold = values is rows[0]
                        cell.paragraphs[0].paragraph_format.space_after = Pt(2)
                # Mark the first row as a header that is repeated on every page.
                header = OxmlElement("w:tblHeader")
                header.set(qn("w:val"), "true")
                table.rows[0]._tr.get_or_add_trPr().append(header)
                document.add_paragraph().paragraph_format.space_after = Pt(0)
    document.save(str(path))
    fix_zip_dates(path)


def fix_zip_dates(path: Path) -> None:
    """Give every member of a zip file the same date, so that reruns give the same bytes."""
    with zipfile.ZipFile(path) as source:
        members = [(info.filename, source.read(info)) for info in source.infolist()]
    with zipfile.ZipFile(path, "w") as target:
        for name, data in members:
            info = zipfile.ZipInfo(name, ZIP_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            target.writestr(info, data)


def main() -> None:
    sources = {path.stem for path in BUILD.glob("*.md")}
    if sources != FORMATS.keys():
        raise SystemExit(f"sources and FORMATS differ: {sorted(sources ^ FORMATS.keys())}")
    for name, kind in sorted(FORMATS.items()):
        article = read_article(BUILD / f"{name}.md")
        target = CORPUS / f"{name}.{kind}"
        if kind == "pdf":
            write_pdf(article, target)
        else:
            write_docx(article, target)
        print(target.name)


if __name__ == "__main__":
    main()
