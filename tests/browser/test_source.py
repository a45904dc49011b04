"""The source pane in a browser: marks where the characters are, on text and on paper, and nothing else moves."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fpdf import FPDF
from playwright.sync_api import expect

import rag
from tests.browser.conftest import PHONE, Served
from tests.browser.pages import Shown

Visit = Callable[..., Shown]
Serve = Callable[..., Served]

NAME = 'x <img src=q onerror="window.hacked=1">.md'
LEAVE = """\
# Leave

## Parental leave

A parent may take up to **sixteen weeks** of parental leave for each child, paid at 80 % of the salary.

1. Write to your team lead.
2. Wait for *one* week.

| Kind | Weeks |
| --- | --- |
| Parental | 16 |
"""
HOSTILE = """\
# Quokka <script>window.hacked=1</script>

The quokka smiles. <img src=x onerror="window.hacked=1"> [click](javascript:window.hacked=1)
![pixel](http://elsewhere.example/p.png) <svg onload="window.hacked=1"></svg> <http://elsewhere.example>

<iframe src="http://elsewhere.example" srcdoc="<script>window.hacked=1</script>"></iframe>

<style>* { display: none }</style>
"""


def make_pdf(path: Path, *pages: list[str]) -> None:
    pdf = FPDF(unit="pt", format="A4")
    pdf.set_auto_page_break(False)
    for lines in pages:
        pdf.add_page()
        pdf.set_font("helvetica", size=14)
        for number, line in enumerate(lines):
            pdf.text(72, 100 + 20 * number, line)
    pdf.output(str(path))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("documents") / "handbook"
    (folder / "policies").mkdir(parents=True)
    (folder / "policies" / "leave.md").write_text(LEAVE, encoding="utf-8")
    (folder / NAME).write_text(HOSTILE, encoding="utf-8")
    (folder / "code.py").write_text("def zebra_stripes():\n    return 'black and white'\n", encoding="utf-8")
    (folder / "page.html").write_text(
        "<h1>Otters</h1><p>Otters hold hands.</p><ul><li>They swim.</li></ul><script>window.hacked=1</script>",
        encoding="utf-8",
    )
    (folder / "long.md").write_text(
        "\n\n".join(f"Paragraph {i} of the long saga." if i != 500 else "The walrus sleeps here." for i in range(1000)),
        encoding="utf-8",
    )
    make_pdf(
        folder / "badger.pdf",
        ["Badgers dig setts in the woods, which", "have many rooms. The largest sett that was", "ever measured"],
        ["had ninety rooms and twelve doors."],
        ["Nothing is said of badgers here."],
    )
    return folder


@pytest.fixture(scope="module")
def handbook(serve: Serve, files: Path, tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("indexes")
    with rag.Index.create(folder / "handbook") as index:
        assert index.ingest(files).set_aside == []
    return serve(folder)


def opened(visit: Visit, served: Served, query: str, name: str, **how: Any) -> Shown:
    """A search with one of its passages open."""
    page = visit(served, path="/search", query=query, **how)
    pattern = re.escape(name).replace("/", ".")  # a slash would end it in JavaScript
    page.page.get_by_role("button", name=re.compile(rf"^Passage \d+: {pattern}")).first.click()
    page.pane.wait_for()
    return page


def test_a_footnote_opens_the_printed_page_with_the_passage_marked_on_it(page: Shown) -> None:
    page.ask("What is collaborative filtering?")
    label = re.compile(r"^Footnote \d+: recommendation\.pdf")
    page.page.get_by_role("button", name=label).first.click()
    picture = page.pane.get_by_role("img", name=re.compile(r"^Page \d as it is printed"))
    expect(picture).to_be_visible()
    boxes = page.pane.locator(".box")
    assert boxes.count() >= 1
    around = picture.bounding_box()
    assert around
    for box in boxes.all():
        place = box.bounding_box()
        assert place
        assert around["x"] <= place["x"]
        assert place["x"] + place["width"] <= around["x"] + around["width"]
        assert 4 < place["height"] < 30
    assert page.findings() == []


def test_the_marks_on_paper_are_where_the_words_were_printed(visit: Visit, handbook: Served) -> None:
    page = opened(visit, handbook, "badger setts in the woods", "badger.pdf")
    picture = page.pane.get_by_role("img", name="Page 1 as it is printed")
    expect(picture).to_be_visible()
    around, first = picture.bounding_box(), page.pane.locator(".box").first.bounding_box()
    assert around
    assert first
    scale = around["width"] / 595.28
    assert first["x"] - around["x"] == pytest.approx(72 * scale, abs=2)
    baseline = around["y"] + 100 * scale
    assert first["y"] < baseline - 5 * scale
    assert baseline - 2 < first["y"] + first["height"] < baseline + 5 * scale


def test_a_passage_of_two_pages_is_marked_on_both_and_one_can_turn_to_the_others(
    visit: Visit, handbook: Served
) -> None:
    page = opened(visit, handbook, "largest sett ninety rooms", "badger.pdf")
    expect(page.pane.locator("figure")).to_have_count(3)  # the whole file is one passage
    assert [figure.locator(".box").count() > 0 for figure in page.pane.locator("figure").all()] == [True] * 3
    page.pane.get_by_role("button", name="Show the text").click()
    expect(page.pane.locator("figure")).to_have_count(0)
    assert "ever measured" in page.marked
    assert page.focused() == "Show the page"


def test_structure_is_shown_and_exactly_the_passage_is_marked(visit: Visit, handbook: Served) -> None:
    page = opened(visit, handbook, "sixteen weeks of parental leave", "policies/leave.md")
    assert page.marked.strip() in LEAVE
    assert "**sixteen weeks**" in page.marked  # its marks are there, and hidden
    expect(page.pane.get_by_role("heading", name="Parental leave")).to_be_visible()
    expect(page.pane.locator("strong", has_text="sixteen weeks")).to_be_visible()
    expect(page.pane.get_by_role("cell", name="16")).to_be_visible()
    assert "**" not in page.pane_text
    assert "| --- |" not in page.pane_text
    assert page.findings() == []


def test_opening_walking_and_closing_leave_the_page_beside_as_it_is(visit: Visit, handbook: Served) -> None:
    page = visit(handbook, path="/search", query="parental leave of badgers")
    first = page.page.get_by_role("button", name=re.compile(r"^Passage 1:"))
    first.evaluate("node => { window.before = node; }")
    first.focus()
    first.press("Enter")
    page.pane.wait_for()
    expect(first).to_have_attribute("aria-pressed", "true")
    title = page.pane.get_by_role("heading", level=2)
    assert page.focused() == title.text_content()
    page.pane.get_by_role("button", name="Next passage").click()
    expect(page.pane.get_by_text("2 of")).to_be_visible()
    expect(page.page.get_by_role("button", name=re.compile(r"^Passage 2:"))).to_have_attribute("aria-pressed", "true")
    page.page.keyboard.press("Escape")
    expect(page.pane).to_have_count(0)
    assert page.focused().startswith("Passage 1:")
    expect(first).to_have_attribute("aria-pressed", "false")
    assert page.page.evaluate("() => window.before?.isConnected")


def test_hostile_markdown_is_text(visit: Visit, handbook: Served) -> None:
    page = opened(visit, handbook, "quokka smiles", NAME)
    assert "javascript:window.hacked=1" in page.pane_text
    assert "<script>window.hacked=1</script>" in page.pane_text
    assert page.pane.locator("a[href^='javascript'], script, iframe, svg, img, style").count() == 0
    assert page.page.evaluate("() => window.hacked") is None
    page = opened(visit, handbook, "otters hold hands", "page.html")
    expect(page.pane.get_by_role("heading", name="Otters").last).to_be_visible()
    assert page.page.evaluate("() => window.hacked") is None


def test_code_has_its_lines_numbered_and_keeps_its_indentation(visit: Visit, handbook: Served) -> None:
    page = opened(visit, handbook, "zebra stripes black and white", "code.py")
    lines = page.pane.locator("[data-line]")
    assert [line.get_attribute("data-line") for line in lines.all()] == ["1", "2"]
    assert lines.nth(1).text_content() == "    return 'black and white'\n"


def test_of_a_long_document_more_is_shown_and_what_is_read_stays_in_place(visit: Visit, handbook: Served) -> None:
    page = opened(visit, handbook, "walrus sleeps", "long.md")
    mark = page.pane.locator("mark:visible").first
    expect(mark).to_be_in_viewport()
    before = mark.bounding_box()
    page.pane.get_by_role("button", name="Show what stands above").evaluate("node => node.click()")
    expect(page.pane.get_by_text("Paragraph 310 of the long saga.")).to_be_attached()
    after = page.pane.locator("mark:visible").first.bounding_box()
    assert before
    assert after
    assert after["y"] == pytest.approx(before["y"], abs=2)
    page.pane.get_by_role("button", name="Show more").click()
    expect(page.pane.get_by_text("Paragraph 690 of the long saga.")).to_be_attached()


def test_a_file_that_changed_is_shown_as_it_was_read(visit: Visit, serve: Serve, tmp_path: Path) -> None:
    (tmp_path / "files").mkdir()
    make_pdf(tmp_path / "files" / "a.pdf", ["Hedgehogs sleep through the winter."])
    with rag.Index.create(tmp_path / "indexes" / "own") as index:
        index.ingest(tmp_path / "files")
    make_pdf(tmp_path / "files" / "a.pdf", ["Something else."], ["On two pages."])
    os.utime(tmp_path / "files" / "a.pdf", (1, 1))
    page = opened(visit, serve(tmp_path / "indexes"), "hedgehogs in winter", "a.pdf")
    expect(page.pane.get_by_text("This file changed after it was read. Shown as it was read on")).to_be_visible()
    assert page.marked == "Hedgehogs sleep through the winter."
    expect(page.pane.get_by_role("link", name="Open the file")).to_be_hidden()


def test_the_file_itself_is_a_download_and_a_pdf_opens(visit: Visit, handbook: Served, files: Path) -> None:
    page = opened(visit, handbook, "otters hold hands", "page.html")
    with page.page.expect_download() as download:
        page.pane.get_by_role("link", name="Open the file").click()
    assert Path(download.value.path()).read_bytes() == (files / "page.html").read_bytes()
    answer = page.page.request.get(f"{handbook.address}/source?index=handbook&source=badger.pdf")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/pdf")
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.body() == (files / "badger.pdf").read_bytes()
    assert page.page.request.get(f"{handbook.address}/source?index=handbook&source=../index.sqlite").status == 404


def test_more_like_this_searches_for_the_passage_and_leaves_it_out(visit: Visit, handbook: Served) -> None:
    page = opened(visit, handbook, "badger setts in the woods", "badger.pdf")
    page.pane.get_by_role("button", name="Find passages like this one").click()
    expect(page.page.get_by_role("heading", name="Passages like one of badger.pdf")).to_be_visible()
    expect(page.pane).to_have_count(0)
    names = page.page.get_by_role("button", name=re.compile(r"^Passage \d+:"))
    expect(names.first).to_be_visible()
    assert not [name for name in names.all() if "badger.pdf" in (name.get_attribute("aria-label") or "")]


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_on_a_phone_the_pane_is_a_sheet_below_what_it_was_opened_from(
    visit: Visit, handbook: Served, dark: bool
) -> None:
    page = opened(visit, handbook, "sixteen weeks of parental leave", "policies/leave.md", size=PHONE, dark=dark)
    sheet, passage = (
        page.pane.bounding_box(),
        page.page.get_by_role("button", name=re.compile("^Passage 1:")).bounding_box(),
    )
    assert sheet
    assert passage
    assert (sheet["x"], sheet["width"]) == (0, PHONE[0])
    assert passage["y"] + passage["height"] <= sheet["y"]
    assert passage["y"] >= 0
    assert not page.scrolls_sideways()
    assert page.findings() == []


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_marked_words_can_be_read_in_both_themes(visit: Visit, handbook: Served, dark: bool) -> None:
    page = opened(visit, handbook, "sixteen weeks of parental leave", "policies/leave.md", dark=dark)
    text, ground = page.pane.locator("mark:visible").first.evaluate(
        "node => [getComputedStyle(node).color, getComputedStyle(node).backgroundColor]"
    )
    assert contrast(text, ground) >= 4.5


def contrast(one: str, other: str) -> float:
    """The contrast ratio of two colours as the browser writes them (WCAG 2)."""

    def light(colour: str) -> float:
        shares = [int(value) / 255 for value in re.findall(r"\d+", colour)[:3]]
        linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([light(one), light(other)])
    return (high + 0.05) / (low + 0.05)
