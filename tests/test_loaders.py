"""Reading one file: each format, each limit, and the process that does it safely."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from threading import Thread

import docx
import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import LoadError
from rag.loaders import FORMATS, Limits, Loaded, format_of, load
from rag.loaders.isolation import IsolatedLoader
from rag.loaders.text import decode
from rag.types import Document, JsonValue


def read(path: Path, content: bytes | str, **limits: float) -> Loaded:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return load(path, source="the source", limits=Limits(**limits))  # type: ignore[arg-type]


def document(path: Path, content: bytes | str) -> Document:
    (only,) = read(path, content).documents
    return only


def headings(found: Document) -> dict[str, str]:
    """Section paths, each with the characters that stand at its heading."""
    return {section.path: found.text[section.start : section.body] for section in found.sections}


# --- which files are read, and as what


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.md", "markdown"), ("A.HTML", "html"), ("a.PDF", "pdf"), ("a.docx", "docx"), ("a.ndjson", "jsonl"),
        ("a.tsv", "csv"), ("a.eml", "email"), ("a.rst", "text"), ("a.py", "text"), ("README", "text"),
        ("Makefile", "text"), ("a.doc", None), ("a.odt", None), ("a.rtf", None), ("a.epub", None), ("a.zip", None),
        ("a.ipynb", None), ("a.mbox", None), ("a.png", None), ("a.xlsx", None),
    ],
)  # fmt: skip
def test_the_suffix_says_what_a_file_is_read_as(name: str, expected: str | None) -> None:
    assert format_of(name) == expected
    assert expected is None or expected in FORMATS


def test_a_file_without_suffix_is_text_if_it_looks_like_text(tmp_path: Path) -> None:
    (tmp_path / "notes").write_text("naïve " * 2000, encoding="utf-8")  # its 8192nd byte is within a character
    (tmp_path / "program").write_bytes(b"\x7fELF\x02\x01\x01\0\0\0")
    (tmp_path / "nothing").touch()
    assert [format_of(tmp_path / name) for name in ("notes", "program", "nothing")] == ["text", None, None]


def test_a_type_that_is_not_read_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"type that is not read \(\.xlsx\)"):
        read(tmp_path / "a.xlsx", "x")


# --- every file


def test_an_empty_file_says_so(tmp_path: Path) -> None:
    for name in ("a.txt", "a.pdf", "a.docx", "a.eml", "a.csv"):
        with pytest.raises(LoadError, match=r"^is empty \(0 bytes\)$"):
            read(tmp_path / name, b"")


def test_white_space_alone_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no readable text"):
        read(tmp_path / "a.txt", " \n\t\n")


def test_a_file_that_is_gone_or_closed_says_why(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="cannot be read: no such file"):
        load(tmp_path / "gone.txt", source="x")
    (tmp_path / "folder.txt").mkdir()
    with pytest.raises(LoadError, match="is not a regular file"):
        load(tmp_path / "folder.txt", source="x")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this file system")
def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(LoadError, match="is not a regular file"):
        load(tmp_path / "pipe.txt", source="x")


def test_too_much_text_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "one line.txt"
    with pytest.raises(
        LoadError, match=r"is 2\.0 MB of text; the limit is 1 MB a file: split it, or raise --max-file-mb"
    ):
        read(path, b"x" * 2 * 1024 * 1024, max_file_mb=1)
    assert load(path, source="x", limits=Limits(max_file_mb=2)).documents[0].text == "x" * 2 * 1024 * 1024


def test_importing_the_loaders_loads_no_library() -> None:
    code = "import sys, rag.loaders.worker; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"rag.loaders.worker"} <= set(modules)
    libraries = {"pypdfium2", "docx", "lxml", "selectolax", "markdown_it", "yaml", "chardet", "pandas", "torch"}
    assert libraries.isdisjoint(modules)


# --- encodings


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_decides_and_is_dropped(tmp_path: Path, encoding: str) -> None:
    loaded = read(tmp_path / "a.txt", "Grüße, мир 🙂\r\nend\r".encode(encoding))
    assert (loaded.documents[0].text, loaded.notes) == ("Grüße, мир 🙂\nend\n", ())


def test_a_guessed_encoding_is_named() -> None:
    russian = "Все люди рождаются свободными и равными в своем достоинстве и правах."
    assert decode(russian.encode("windows-1251")).text == russian
    assert decode(russian.encode("windows-1251")).notes == ("read as windows-1251, which was guessed",)


def test_a_few_western_bytes_are_windows_1252() -> None:
    assert decode("Price: 20 €, naïve café".encode("cp1252")).text == "Price: 20 €, naïve café"


def test_utf_8_goes_before_a_wrong_label_and_a_right_label_before_a_guess() -> None:
    assert decode("Grüße".encode(), declared="iso-8859-1").text == "Grüße"
    assert decode("ŁÓDŹ".encode("iso-8859-2"), declared="ISO-8859-2") == decode("ŁÓDŹ".encode())
    assert decode(b"plain", declared="no-such-encoding").text == "plain"
    assert decode(b"\xe9t\xe9 " * 20, declared="unicode_escape").text == "été " * 20


def test_a_few_damaged_bytes_do_not_lose_a_utf_8_file() -> None:
    decoded = decode("Ελληνικό κείμενο ".encode() + b"\xff" + " και πάλι".encode())
    assert decoded.text == "Ελληνικό κείμενο \ufffd και πάλι"
    assert decoded.notes == ("some bytes are not UTF-8; they are shown as \ufffd",)


def test_binary_data_is_not_text(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not text: it holds NUL bytes"):
        read(tmp_path / "a.txt", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256)) * 8)
    with pytest.raises(LoadError, match="is not text"):
        read(tmp_path / "b.txt", bytes(range(1, 256)) * 8)


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_become_storable_text_or_a_reason(data: bytes) -> None:
    try:
        text = decode(data).text
    except LoadError:
        return
    assert text.encode("utf-8").decode("utf-8") == text
    assert not {"\0", "\r"} & set(text)


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_utf_8_text_comes_back_as_it_was(text: str) -> None:
    assert decode(text.encode()).text == text.removeprefix("\ufeff")


# --- Markdown

MARKDOWN = """---
title: "The Guide"
author: Ada
tags: [a, b]
---
Intro.

# One *strong* `code` [link](x)

```sh
# not a heading
```

Two
---
### Three ###
> # quoted
"""


def test_markdown_knows_its_headings_title_and_front_matter(tmp_path: Path) -> None:
    found = document(tmp_path / "a.md", MARKDOWN)
    assert found.text == MARKDOWN
    assert (found.title, found.metadata) == ("The Guide", {"author": "Ada", "tags": ["a", "b"]})
    assert headings(found) == {
        "One strong code link": "# One *strong* `code` [link](x)\n",
        "One strong code link > Two": "Two\n---\n",
        "One strong code link > Two > Three": "### Three ###\n",
    }
    assert found.section_at(found.text.index("Intro")) is None


def test_the_title_of_markdown_is_its_first_level_one_heading(tmp_path: Path) -> None:
    assert document(tmp_path / "a.md", "## Small\n\n# Big\n").title == "Big"
    assert document(tmp_path / "a.md", "## Small\n").title is None


def front_matter(path: Path, yaml: str) -> tuple[str | None, dict[str, JsonValue]]:
    found = document(path, f"---\n{yaml}\n---\nText.\n")
    return found.title, dict(found.metadata)


def test_front_matter_is_yaml(tmp_path: Path) -> None:
    yaml = """
title: 2024-03-01
tags:
- a
- 'b: c'
year: 2024
price: 2.50
draft: false
date: 2024-03-01  # of the meeting
at: 2024-03-01 10:30:00
author: {name: Ada, born: 1815}
summary: >
  two
  lines
none:
1: one
année: é
"""
    assert front_matter(tmp_path / "a.md", yaml) == (
        "2024-03-01",
        {
            "tags": ["a", "b: c"], "year": 2024, "price": 2.5, "draft": False, "date": "2024-03-01",
            "at": "2024-03-01T10:30:00", "author": {"name": "Ada", "born": 1815}, "summary": "two lines\n",
            "none": None, "1": "one", "année": "é",
        },
    )  # fmt: skip


def test_front_matter_keeps_as_text_what_yaml_alone_takes_for_something_else(tmp_path: Path) -> None:
    texts = ["no", "On", "12:30", "010", "0x1F", "1_000", "1e400", "1.0e+999", ".inf", ".nan", "2024-99-01", "9" * 301]
    yaml = "\n".join(f"k{number}: {text}" for number, text in enumerate(texts))
    assert list(front_matter(tmp_path / "a.md", yaml)[1].values()) == texts


def test_a_title_in_front_matter_is_text(tmp_path: Path) -> None:
    assert front_matter(tmp_path / "a.md", "title: 007") == ("007", {})
    assert front_matter(tmp_path / "a.md", "title: Yes") == ("Yes", {})
    assert front_matter(tmp_path / "a.md", "title:") == (None, {})
    assert front_matter(tmp_path / "a.md", "title: [a]") == (None, {"title": ["a"]})
    assert front_matter(tmp_path / "a.md", "title: first\ntitle: last") == ("last", {})


def test_front_matter_that_no_database_keeps_is_made_storable(tmp_path: Path) -> None:
    assert front_matter(tmp_path / "a.md", 'a: ["\\0", "\\ud800"]\n"k\\0": 1')[1] == {
        "a": ["\ufffd", "\ufffd"],
        "k\ufffd": 1,
    }


BOMB = "a: &a [x, x]\n" + "".join(f"{y}: &{y} [*{x}, *{x}]\n" for x, y in pairwise("abcdefghijklmnopqrstuvwxyz"))


@pytest.mark.parametrize(
    "yaml",
    [
        "title: Notes: a summary", "other: [1, 2", "other: {a", "other: !!python/object:os.system x", "other: !mine x",
        "other: !!binary aGk=", "? [a]\n: b", "other: *gone", "other: &x 1\nagain: *x", "\tx", "%TAG", "<<: *x", BOMB,
        "other: " + "[" * 40_000, "other: " + "{a: " * 10_000, "- " * 20_000, "other: " + "[" * 150 + "]" * 150,
        'other: "\\U00110000"', "other: '" + "x\n" * 30_000 + "'", "\ufffe\uffff", "# long\n" * 10_000 + "tags: [a]",
    ],
    ids=lambda yaml: yaml[:20],
)  # fmt: skip
def test_front_matter_that_is_not_plain_yaml_still_gives_its_plain_lines(tmp_path: Path, yaml: str) -> None:
    title, metadata = front_matter(tmp_path / "a.md", f"plain: yes\n{yaml}\nlast: 'and least'")
    assert title == ("Notes: a summary" if "Notes" in yaml else None)
    assert (metadata["plain"], metadata["last"]) == ("yes", "and least")
    assert all(isinstance(value, str) for value in metadata.values())


@given(st.text(st.characters(exclude_categories=["Cs"])) | st.text("ab:-[]{},&*!|>'\"%@`?# \n01.~<="))
@settings(deadline=None)
def test_any_front_matter_is_metadata_that_json_keeps(yaml: str) -> None:
    from rag.loaders.markdown import _front_matter

    title, metadata = _front_matter(yaml)
    assert json.loads(json.dumps(metadata, allow_nan=False)) == metadata
    assert title is None or title.strip() == title != ""


def test_markdown_without_front_matter_needs_no_yaml(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("# Title\n\n---\na: b\n---\n")
    code = (
        f"import sys; from rag.loaders import load; load({str(tmp_path / 'a.md')!r}, source='x'); print(*sys.modules)"
    )
    modules = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "markdown_it" in modules
    assert "yaml" not in modules


def test_long_markdown_is_scanned_for_headings(tmp_path: Path) -> None:
    found = document(tmp_path / "a.md", "# One\n\n~~~~\n# no\n~~~\n# no\n~~~~\n## Two ##\n" + "word " * 500_000)
    assert headings(found) == {"One": "# One\n", "One > Two": "## Two ##\n"}


def test_a_line_separator_inside_a_line_does_not_shift_headings(tmp_path: Path) -> None:
    found = document(tmp_path / "a.md", "a\u2028b\x0cc\x85d\n\n# Here\ntext")
    assert headings(found) == {"Here": "# Here\n"}


@given(st.text(st.sampled_from("#-=`~>*[]() ab\n\t|\u2028")))
@settings(deadline=None)
def test_sections_of_any_markdown_are_in_order_and_hold_their_words(text: str) -> None:
    from rag.loaders import markdown

    class OneFile:
        def read(self, size: int = -1) -> bytes:
            return text.encode()

    (found,) = markdown.read(OneFile(), "x", Limits()).documents  # type: ignore[arg-type]
    starts = [section.start for section in found.sections]
    assert starts == sorted(set(starts))
    assert all(section.start < section.body <= len(found.text) for section in found.sections)


# --- HTML

PAGE = """<!DOCTYPE html><html lang="en"><head><title>The  page</title><style>p{}</style></head><body>
<header>Site name</header><nav><a href=/>Home</a></nav>
<main><header>By Ada</header><h1>Ducks <em>and</em>
geese</h1><p>A <b>duck</b> is&nbsp;a&#32;bird.<br>It swims.</p><script>var x = 1</script>
<ul><li>one<li><p>two</p><ul><li>deep</ul></ul>
<h2>Sizes</h2><table><caption>All sizes</caption><tr><th>Bird<th>cm<td>&nbsp;</tr><tr><td>Duck<td> 50 </table>
<pre>  x = 1
    y</pre><p hidden>no</p><p style="color:red; display: none">no</p><p aria-hidden="true">no</p></main>
<footer>Imprint</footer></body></html>"""


def test_html_reads_as_a_person_sees_it(tmp_path: Path) -> None:
    found = document(tmp_path / "a.html", PAGE)
    assert found.text == (
        "By Ada\n\nDucks and geese\n\nA duck is a bird.\nIt swims.\n\n- one\n- two\n  - deep\n\nSizes\n\n"
        "All sizes\nBird | cm\nDuck | 50\n\n  x = 1\n    y"
    )
    assert (found.title, found.metadata) == ("The page", {"lang": "en"})
    assert headings(found) == {"Ducks and geese": "Ducks and geese", "Ducks and geese > Sizes": "Sizes"}


def test_a_page_that_is_all_menu_is_not_lost(tmp_path: Path) -> None:
    assert document(tmp_path / "a.html", "<nav>Opening hours: 9 to 5</nav>").text == "Opening hours: 9 to 5"


def test_a_page_of_scripts_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="holds no readable text"):
        read(tmp_path / "a.html", "<html><style>a{}</style><body><script>var x</script></body></html>")


def test_tables_that_only_place_things_keep_their_paragraphs(tmp_path: Path) -> None:
    found = document(tmp_path / "a.html", "<table><tr><td><h1>Top</h1><p>One.</p><p>Two.</p></td><td>Side</td></table>")
    assert found.text == "Top\n\nOne.\n\nTwo.\n\nSide"
    assert headings(found) == {"Top": "Top"}


def test_xhtml_may_close_its_scripts_at_once_and_soft_hyphens_vanish(tmp_path: Path) -> None:
    markup = '<?xml version="1.0"?><html><head><script src="x.js"/><title/></head><p>Donau&shy;dampf</p></html>'
    assert document(tmp_path / "a.xhtml", markup).text == "Donaudampf"


def test_a_meta_tag_tells_the_encoding(tmp_path: Path) -> None:
    markup = '<meta http-equiv="Content-Type" content="text/html; charset=windows-1251"><p>Привет'
    assert document(tmp_path / "a.html", markup.encode("windows-1251")).text == "Привет"


TAGS = "<p> </p> <h1> </h1> <table> <tr> <td> </td> </table> <ul> <li> </ul> <br> <pre> </pre> a b"


@given(st.lists(st.sampled_from(TAGS.split())))
@settings(deadline=None)
def test_any_tangle_of_tags_gives_tidy_text(tags: list[str]) -> None:
    from rag.loaders.html import extract

    page = extract(" ".join(tags))
    assert page.text == page.text.strip("\n")
    assert sorted("".join(page.text.split()).replace("-", "").replace("|", "")) == sorted(c for c in tags if c in "ab")
    for section in page.sections:
        assert page.text[section.start : section.body].strip(" -")


# --- PDF


def pdf(path: Path, pages: list[str], **kwargs: str) -> Path:
    made = FPDF()
    made.set_font("helvetica", size=12)
    if "title" in kwargs:
        made.set_title(kwargs["title"])
    if "owner" in kwargs:
        made.set_encryption(owner_password=kwargs["owner"], user_password=kwargs.get("user"))
    for text in pages:
        made.add_page()
        if text:
            made.multi_cell(0, text=text)
    made.output(str(path))
    return path


def test_a_pdf_knows_its_pages_and_names_those_without_text(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", ["Ends here.", "", "", "runs on", "to the end", ""], title="A Study of Ducks")
    loaded = load(path, source="s")
    (found,) = loaded.documents
    assert found.text == "Ends here.\n\nruns on\nto the end"
    assert [found.page_at(found.text.index(word)) for word in ("Ends", "runs", "to the")] == [1, 4, 5]
    assert (len(found.pages), found.title) == (6, "A Study of Ducks")
    assert loaded.notes == ("pages 2-3 and 6 have no text layer",)


@pytest.mark.parametrize("title", ["untitled", "report-final.docx", "Microsoft Word - x", "C:\\x", ""])
def test_a_pdf_title_that_is_none_is_not_shown(tmp_path: Path, title: str) -> None:
    assert load(pdf(tmp_path / "a.pdf", ["x"], title=title), source="s").documents[0].title is None


def test_a_scan_and_a_locked_pdf_are_set_aside(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match=r"no page has a text layer \(a scan\?\)"):
        load(pdf(tmp_path / "a.pdf", ["", ""]), source="s")
    with pytest.raises(LoadError, match=r"^needs a password$"):
        load(pdf(tmp_path / "b.pdf", ["secret"], owner="o", user="u"), source="s")
    assert load(pdf(tmp_path / "c.pdf", ["open"], owner="o"), source="s").documents[0].text == "open"


def test_a_pdf_that_is_none_says_so(tmp_path: Path) -> None:
    with pytest.raises(LoadError, match="is not a PDF, or is damaged"):
        read(tmp_path / "a.pdf", "hello")


def test_words_broken_at_a_line_end_are_mended_by_what_the_document_says_elsewhere() -> None:
    from rag.loaders.pdf import _mended

    assert _mended(["em\ufffebeddings pre\ufffetrained A\ufffe1 embeddings\r\npre-trained ef\ufb01cient co\x02op"]) == [
        "embeddings pre-trained A-1 embeddings\npre-trained efficient coop"
    ]


# --- DOCX


def test_docx_keeps_the_order_of_paragraphs_and_tables(tmp_path: Path) -> None:
    word = docx.Document()
    word.core_properties.title = ""
    word.add_paragraph("The Report", style="Title")
    word.add_heading("First", 1)
    word.add_paragraph("Before the table.")
    table = word.add_table(2, 3)
    for cell, text in zip(table._cells, ["a", "b", "c", "d", "e", "f"], strict=True):
        cell.text = text
    table.cell(0, 0).merge(table.cell(0, 1)).text = "ab"
    inner = table.cell(1, 2).add_table(1, 1)
    inner.cell(0, 0).text = "inner"
    word.add_heading("Second", 2)
    word.add_paragraph("one", style="List Bullet")
    word.add_paragraph("two", style="List Bullet")
    word.add_paragraph("End.")
    word.save(str(tmp_path / "a.docx"))
    (found,) = load(tmp_path / "a.docx", source="s").documents
    assert found.text == (
        "The Report\n\nFirst\n\nBefore the table.\n\nab | c\nd | e | f\ninner\n\nSecond\n\n- one\n- two\n\nEnd."
    )
    assert found.title == "The Report"
    assert headings(found) == {"First": "First", "First > Second": "Second"}


def test_a_style_based_on_a_heading_is_a_heading(tmp_path: Path) -> None:
    word = docx.Document()
    style = word.styles.add_style("Kapitel", 1)
    style.base_style = word.styles["Heading 2"]
    word.add_paragraph("Anfang", style="Kapitel")
    word.save(str(tmp_path / "a.docx"))
    assert headings(load(tmp_path / "a.docx", source="s").documents[0]) == {"Anfang": "Anfang"}


def test_headers_count_only_in_an_empty_document(tmp_path: Path) -> None:
    word = docx.Document()
    word.sections[0].header.paragraphs[0].text = "Letterhead"
    word.save(str(tmp_path / "a.docx"))
    assert load(tmp_path / "a.docx", source="s").documents[0].text == "Letterhead"
    word.add_paragraph("Body")
    word.save(str(tmp_path / "a.docx"))
    assert load(tmp_path / "a.docx", source="s").documents[0].text == "Body"


def test_a_docx_that_cannot_be_opened_says_why(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with pytest.raises(LoadError, match="needs a password"):
        read(path, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(LoadError, match="is not a DOCX, or is cut off"):
        read(path, b"PK\x03\x04 and no more")
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")
    with pytest.raises(LoadError, match="is not a whole Word document"):
        load(path, source="s")


def test_a_zip_bomb_is_refused_by_its_directory(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.docx", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("word/document.xml", bytes(80 * 1024 * 1024))
    with pytest.raises(LoadError, match=r"would unpack to 80 MB from 0\.1 MB"):
        load(tmp_path / "a.docx", source="s")


# --- JSONL


def test_jsonl_gives_one_document_a_line(tmp_path: Path) -> None:
    lines = [
        {"text": "one", "id": "a", "title": "First", "year": 1999, "tags": ["x", None]},
        {"text": "two", "_id": 7},
        {"text": "three"},
    ]
    loaded = read(tmp_path / "a.jsonl", "\n".join(map(json.dumps, lines)) + "\n\n")
    assert loaded.documents == (
        Document("the source#a", "one", title="First", metadata={"year": 1999, "tags": ["x", None]}),
        Document("the source#7", "two"),
        Document("the source#3", "three"),
    )
    assert loaded.notes == ()


def test_lines_that_are_no_documents_are_named(tmp_path: Path) -> None:
    deep = '{"text": ' + "[" * 100_000 + "]" * 100_000 + "}"
    lines = [
        '{"text": "ok", "id": 1}',
        "not json",
        '{"txt": 1}',
        "[]",
        '{"text": ""}',
        deep,
        '{"text": "again", "id": 1}',
    ]
    loaded = read(tmp_path / "a.jsonl", "\n".join(lines))
    assert [found.text for found in loaded.documents] == ["ok"]
    assert loaded.notes == (
        "lines 2-6 are not JSON objects with a 'text'",
        "line 7 repeats an id of the file and was left out",
    )
    with pytest.raises(LoadError, match="has no line that is a JSON object with a 'text'"):
        read(tmp_path / "b.jsonl", "nothing here")


def test_json_values_that_no_database_keeps_are_made_storable(tmp_path: Path) -> None:
    line = '{"text": "a\\u0000b\\ud800c", "n": ' + "9" * 10_000 + ', "k\\ud800": ["\\u0000"]}'
    found = document(tmp_path / "a.jsonl", line)
    assert found.text == "a\ufffdb\ufffdc"
    assert found.metadata == {"n": "9" * 10_000, "k\ufffd": ["\ufffd"]}


# --- CSV


def test_each_csv_row_is_a_paragraph_that_names_its_columns(tmp_path: Path) -> None:
    rows = 'name;"home\ntown";age\nAnn;"Paris; France";30\n;;\nBob;;"41"\nEve;Rome;5;extra\n'
    assert document(tmp_path / "a.csv", rows).text.split("\n\n") == [
        "name: Ann; home town: Paris; France; age: 30",
        "name: Bob; age: 41",
        "name: Eve; home town: Rome; age: 5; extra",
    ]


def test_csv_without_a_header_keeps_its_first_row(tmp_path: Path) -> None:
    assert document(tmp_path / "a.csv", "1,2\n3,4\n").text == "1 | 2\n\n3 | 4"
    assert document(tmp_path / "a.tsv", "only\tone\n").text == "only | one"


def test_a_quote_that_is_never_closed_swallows_nothing(tmp_path: Path) -> None:
    loaded = read(tmp_path / "a.csv", 'name,age\nAnn,3\nBob,"4\nEve,5\n')
    assert loaded.documents[0].text == 'name: Ann; age: 3\n\nname: Bob; age: "4\n\nname: Eve; age: 5'
    assert loaded.notes == ("the quote in line 3 is never closed; from there on each line is one row",)


def test_huge_fields_and_many_columns_are_read(tmp_path: Path) -> None:
    assert len(document(tmp_path / "a.csv", 'a,b\n1,"' + "word " * 400_000 + '"\n').text) > 1_999_000
    wide = ",".join(f"c{i}" for i in range(5000)) + "\n" + ",".join(map(str, range(5000)))
    assert document(tmp_path / "b.csv", wide).text.endswith("c4999: 4999")


def test_a_csv_that_grows_out_of_bounds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a long column name,b\n" + "1,2\n" * 100)
    with pytest.raises(LoadError, match=r"holds more than 0\.001 million characters of text"):
        load(path, source="s", limits=Limits(max_characters=1000))


# --- e-mail


def test_an_e_mail_is_its_head_its_words_and_the_names_of_its_attachments(tmp_path: Path) -> None:
    from email.message import EmailMessage

    inner = EmailMessage()
    inner["Subject"] = "Old"
    inner.set_content("Old words.")
    message = EmailMessage()
    message["Subject"] = "Grüße 🙂"
    message["From"] = "Zoë <zoe@example.org>"
    message["To"] = "bob@example.org"
    message["X-Secret"] = "hidden"
    message.set_content("The plain words.\r\n\r\n\r\n\r\nBye.")
    message.add_alternative("<p>The <b>HTML</b> words.</p>", subtype="html")
    message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="Größe.pdf")
    message.add_attachment(inner)
    found = document(tmp_path / "a.eml", bytes(message))
    assert found.text == (
        "Subject: Grüße 🙂\nFrom: Zoë <zoe@example.org>\nTo: bob@example.org\n\nThe plain words.\n\nBye.\n\n"
        "Subject: Old\n\nOld words.\n\nAttachments: Größe.pdf"
    )
    assert found.title == "Grüße 🙂"


def test_an_html_mail_and_a_raw_header_are_read(tmp_path: Path) -> None:
    mail = "Subject: Zoë =?utf-8?b?broken\nContent-Type: text/html; charset=nonsense\n\n<p>Hello <i>you</i></p>"
    assert document(tmp_path / "a.eml", mail).text == "Subject: Zoë =?utf-8?b?broken\n\nHello you"


def test_text_under_an_e_mails_name_is_read_as_text(tmp_path: Path) -> None:
    loaded = read(tmp_path / "a.eml", "Just words.\n")
    assert (loaded.documents[0].text, loaded.notes) == ("Just words.\n", ("has no e-mail headers: read as plain text",))


@given(st.binary(max_size=200))
@settings(deadline=None)
def test_no_e_mail_crashes_the_reader(data: bytes) -> None:
    from io import BytesIO

    from rag.loaders import email

    with suppress(LoadError):
        email.read(BytesIO(b"Subject: x\nContent-Type: multipart/mixed; boundary=b\n" + data), "s", Limits())


# --- the worker process

READERS = """
import os, sys, time
from rag.errors import LoadError
from rag.loaders import Loaded, load
from rag.types import Document

def read(path, *, source, limits):
    what = os.path.basename(path)
    if what == "hang":
        while True: time.sleep(60)
    if what == "spin":
        import re; re.match(r"(a+)+$", "a" * 40 + "b")
    if what == "swell":
        hoard = b"x" * 2**30
    if what == "crash":
        os.abort()
    if what == "leave":
        os._exit(7)
    if what == "print":
        print("noise"); os.write(1, b"noise"); os.write(2, b"noise"); sys.stdin.read()
    if what == "pid":
        return Loaded((Document(source, str(os.getpid())),))
    return load(path, source=source, limits=limits)
"""


@pytest.fixture
def loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[IsolatedLoader]:
    """A loader whose reader also does what a hostile file would make it do."""
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules" / "hostile_readers.py").write_text(READERS)
    monkeypatch.syspath_prepend(tmp_path / "modules")
    (tmp_path / "good.txt").write_text("good")
    with IsolatedLoader(reader="hostile_readers:read", memory_mb=512) as made:
        yield made


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("crash", r"^crashed the reader \(signal 6\)$"),
        ("leave", r"^crashed the reader \(exit code 7\)$"),
        pytest.param("swell", "^needed more memory than 512 MB to read$", marks=pytest.mark.skipif(
            sys.platform != "linux", reason="memory is limited on Linux")),
    ],
)  # fmt: skip
def test_a_file_that_is_too_much_is_set_aside_and_the_next_is_read(
    loader: IsolatedLoader, tmp_path: Path, what: str, reason: str
) -> None:
    with pytest.raises(LoadError, match=reason):
        loader.load(tmp_path / what, source="s")
    assert loader.load(tmp_path / "good.txt", source="s").documents == (Document("s", "good"),)
    with pytest.raises(LoadError, match=reason):  # also when the worker has read other files before
        loader.load(tmp_path / what, source="s")


@pytest.mark.parametrize("what", ["hang", "spin"])
def test_a_file_that_takes_too_long_is_set_aside_and_the_next_is_read(
    loader: IsolatedLoader, tmp_path: Path, what: str
) -> None:
    with IsolatedLoader(reader="hostile_readers:read", seconds=3) as hasty:  # its modules are those of `loader`
        with pytest.raises(LoadError, match=r"^took longer than 3 s to read$"):
            hasty.load(tmp_path / what, source="s")
        assert hasty.load(tmp_path / "good.txt", source="s").documents == (Document("s", "good"),)


def test_what_a_library_prints_does_not_reach_the_reply(loader: IsolatedLoader, tmp_path: Path) -> None:
    (tmp_path / "print").write_text("printed")
    assert loader.load(tmp_path / "print", source="s").documents[0].text == "printed"
    assert loader.load(tmp_path / "good.txt", source="s").documents[0].text == "good"


def test_isolated_reading_equals_reading(loader: IsolatedLoader, tmp_path: Path) -> None:
    for name, content in [
        ("a.md", MARKDOWN),
        ("b.html", PAGE),
        ("c.jsonl", '{"text": "x", "n": [1, null, {"a": 0.5}]}'),
    ]:
        plain = read(tmp_path / name, content)
        assert loader.load(tmp_path / name, source="the source") == plain
    with pytest.raises(LoadError, match="no such file"):
        loader.load(tmp_path / "gone.txt", source="s")


def test_any_file_name_reaches_the_worker(loader: IsolatedLoader, tmp_path: Path) -> None:
    names = ["with space.txt", "quote'\"s.txt", "line\nend.txt", "🦆.txt", "e\u0301.txt", "é.txt"]
    if sys.platform == "linux":
        names.append(os.fsdecode(b"bytes\xff\xfe.txt"))
    for name in names:
        (tmp_path / name).write_text("found")
        assert loader.load(tmp_path / name, source=ascii(name)).documents == (Document(ascii(name), "found"),)


def test_threads_share_a_loader(loader: IsolatedLoader, tmp_path: Path) -> None:
    texts = {f"{i}.txt": f"text {i}" for i in range(20)}
    for name, text in texts.items():
        (tmp_path / name).write_text(text)
    found: dict[str, str] = {}

    def work(name: str) -> None:
        found[name] = loader.load(tmp_path / name, source=name).documents[0].text

    threads = [Thread(target=work, args=(name,)) for name in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == texts


def test_a_closed_loader_starts_again(loader: IsolatedLoader, tmp_path: Path) -> None:
    first = loader.load(tmp_path / "pid", source="s").documents[0].text
    assert loader.load(tmp_path / "pid", source="s").documents[0].text == first
    loader.close()
    assert loader.load(tmp_path / "pid", source="s").documents[0].text != first


@pytest.mark.skipif(sys.platform == "win32", reason="asks /bin/kill")
def test_the_worker_ends_with_the_process_that_asks(tmp_path: Path) -> None:
    code = (
        "import os, signal\n"
        "from rag.loaders.isolation import IsolatedLoader\n"
        "loader = IsolatedLoader()\n"
        "print(loader._worker._process.pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    process = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    pid = int(process.stdout)  # ends only once the worker has closed its copy, or sooner: its stdout is another pipe
    for _ in range(10_000):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{pid}/stat").exists() and Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            return
        os.sched_yield()
    pytest.fail("the worker is still there")


def test_a_line_that_has_only_a_title_is_found_by_it(tmp_path: Path) -> None:
    lines = ['{"_id": "1", "title": "The title alone", "text": ""}', '{"_id": "2", "title": "No text", "year": 1968}']
    (tmp_path / "catalogue.jsonl").write_text("\n".join(lines), encoding="utf-8")
    found = load(tmp_path / "catalogue.jsonl", source="catalogue.jsonl").documents
    assert [(d.text, d.title, dict(d.metadata)) for d in found] == [
        ("The title alone", None, {}),
        ("No text", None, {"year": 1968}),
    ]
