"""The Search page in a browser: with the keyboard, with filters that hold, and on a phone."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Locator, expect

import rag
from tests.browser.conftest import PHONE, Served
from tests.browser.pages import Shown

Visit = Callable[..., Shown]
Serve = Callable[..., Served]


@pytest.fixture(scope="module")
def library(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Notes in two folders and two types, some with markup in their names and metadata."""
    files = tmp_path_factory.mktemp("documents")
    for folder, suffix in [("animals", "md"), ("animals/wild", "txt"), ("![p](http://elsewhere.example/x.png)", "md")]:
        (files / folder).mkdir(parents=True)
        for i in range(6):
            text = f"Note {i} of {suffix}: the otter swims in river {i}, and the refund deadline is {i} days.\n"
            head = f"---\nkind: <b onmouseover=window.hacked=1>{i % 2}</b>\n---\n\n" if suffix == "md" else ""
            (files / folder / f"note-{i}.{suffix}").write_text(head + text, encoding="utf-8")
    indexes = tmp_path_factory.mktemp("indexes")
    with rag.Index.create(indexes / "notes") as index:
        index.ingest(files)
    return serve(indexes)


def passages(page: Shown) -> Locator:
    return page.page.get_by_role("button", name=re.compile(r"^Passage \d+:"))


def names(page: Shown) -> list[str]:
    expect(page.page.locator("[aria-busy=true]")).to_have_count(0)
    return [
        re.sub(r"^Passage \d+: |\. Open it\.$", "", str(p.get_attribute("aria-label"))) for p in passages(page).all()
    ]


def test_with_the_keyboard_alone_from_a_query_to_a_passage_and_back(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search")
    box = page.page.get_by_role("searchbox", name="Search your documents")
    expect(box).to_be_focused()
    page.page.keyboard.type("otter river")
    page.page.keyboard.press("Enter")
    expect(passages(page).first).to_be_visible()
    expect(page.page.get_by_role("status").filter(has_text="passages in")).to_be_visible()
    expect(page.page).to_have_url(re.compile(r"query=otter\+river"))
    for _ in range(20):
        page.page.keyboard.press("Tab")
        if page.focused().startswith("Passage 1:"):
            break
    page.page.keyboard.press("Enter")
    page.pane.wait_for()
    assert "otter swims" in page.marked
    page.page.keyboard.press("Escape")
    assert page.focused().startswith("Passage 1:")
    page.page.keyboard.press("/")
    expect(box).to_be_focused()


def test_a_link_opens_the_search_and_the_way_back_leads_back(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="refund deadline")
    expect(passages(page).first).to_be_visible()
    box = page.page.get_by_role("searchbox")
    expect(box).to_have_value("refund deadline")
    box.fill("otter")
    box.press("Enter")
    expect(page.page).to_have_url(re.compile("query=otter"))
    page.page.go_back()
    expect(box).to_have_value("refund deadline")


def test_a_search_that_finds_the_same_again_is_not_left_dimmed(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="otter")
    expect(passages(page).first).to_be_visible()
    before = names(page)
    for _ in range(3):
        page.page.get_by_role("searchbox").press("Enter")
        page.settled()
        expect(page.page.locator(".hits[aria-busy=false]")).to_be_visible()
    assert names(page) == before


def test_reload_and_back_keep_the_slider_and_the_filters(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="otter")
    slider = page.page.get_by_role("slider", name="Find by words or by meaning")
    slider.press("End")
    expect(page.page).to_have_url(re.compile("weight=1"))
    page.page.get_by_role("button", name="Type", exact=True).click()
    page.page.get_by_role("group", name="Type").get_by_role("button", name=re.compile("^txt")).click()
    expect(page.page).to_have_url(re.compile("filters=type%3Dtxt"))
    expect(page.page.get_by_text("6 passages in 6 files")).to_be_visible()
    page.page.reload()
    expect(page.page.get_by_role("button", name="Type: txt")).to_be_visible()
    expect(slider).to_have_attribute("aria-valuetext", "meaning only")
    page.page.go_back()
    expect(page.page.get_by_role("button", name="Type", exact=True)).to_be_visible()
    expect(slider).to_have_attribute("aria-valuetext", "meaning only")
    page.page.go_back()
    expect(slider).to_have_attribute("aria-valuetext", "words and meaning")


def test_what_is_like_a_passage_has_its_heading_first_and_comes_back_after_a_reload(
    visit: Visit, library: Served
) -> None:
    page = visit(library, path="/search", query="otter")
    passages(page).first.click()
    page.pane.get_by_role("button", name="Find passages like this one").click()
    heading = page.page.get_by_role("heading", level=1)
    expect(heading).to_have_text(re.compile("^Passages like one of "))
    words = heading.inner_text()
    tops = [place.bounding_box() for place in (heading, page.page.locator(".tools"), page.page.locator(".note"))]
    assert [box["y"] for box in tops if box] == sorted(box["y"] for box in tops if box)
    assert page.page.locator(".words strong").count() == 0
    expect(page.page).to_have_url(re.compile("like="))
    page.page.reload()
    expect(heading).to_have_text(words)


def test_what_is_like_a_passage_is_one_step_of_the_way_back(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="otter")
    like = page.page.get_by_role("heading", level=1, name=re.compile("^Passages like one of "))
    passages(page).first.click()
    page.pane.get_by_role("button", name="Find passages like this one").click()
    expect(like).to_be_visible()
    expect(page.page).to_have_url(re.compile("like="))
    page.page.go_back()
    expect(page.page.get_by_label("Search your documents")).to_have_value("otter")
    expect(like).to_have_count(0)
    page.go("Ask")
    page.ask("Where does the otter swim?")
    page.footnote(1).click()
    page.pane.get_by_role("button", name="Find passages like this one").click()
    expect(like).to_be_visible()
    expect(page.page).to_have_url(re.compile("like="))
    page.page.go_back()
    expect(page.page.get_by_role("heading", level=1)).to_have_text("Where does the otter swim?")


def test_filters_show_their_counts_and_hold_exactly(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="otter")
    expect(passages(page).first).to_be_visible()
    page.page.get_by_role("button", name="Folder", exact=True).click()
    page.page.get_by_role("group", name="Folder").get_by_role("button", name=re.compile(r"^wild\s*6$")).click()
    expect(page.page.get_by_role("button", name="Folder: animals/wild")).to_be_focused()
    expect(page.page.get_by_text("6 passages in 6 files")).to_be_visible()
    assert all(name.startswith("animals/wild/") for name in names(page))
    page.page.get_by_role("button", name="Type", exact=True).click()
    types = page.page.get_by_role("group", name="Type").get_by_role("button")
    assert types.all_inner_texts() == ["txt\n6"]  # counted among those of the folder
    page.page.keyboard.press("Escape")
    expect(page.page.get_by_role("button", name="Type", exact=True)).to_be_focused()
    page.page.get_by_role("button", name="Remove all filters").click()
    expect(page.page.get_by_text("The first 10 passages in 10 files")).to_be_visible()


def test_the_slider_at_words_finds_only_what_holds_them(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="swimming mammals refund")
    expect(passages(page).first).to_be_visible()
    slider = page.page.get_by_role("slider", name="Find by words or by meaning")
    expect(slider).to_have_attribute("aria-valuetext", "words and meaning")
    slider.focus()
    page.page.keyboard.press("Home")
    expect(slider).to_have_attribute("aria-valuetext", "words only")
    expect(page.page.locator("strong", has_text="refund").first).to_be_visible()
    page.page.get_by_role("button", name="Why this passage, 1", exact=True).click()
    expect(page.page.get_by_text("Of its score, 100 % comes from words and 0 % from meaning.")).to_be_visible()


def test_why_and_around_open_in_place_and_keep_the_focus(visit: Visit, served: Served) -> None:
    page = visit(served, path="/search", query="negative sampling")
    why = page.page.get_by_role("button", name="Why this passage, 1", exact=True)
    why.click()
    expect(
        page.page.get_by_text(re.compile(r"Of its score, \d+ % comes from words and \d+ % from meaning\."))
    ).to_be_visible()
    expect(why).to_have_attribute("aria-expanded", "true")
    expect(why).to_be_focused()
    around = page.page.get_by_role("button", name="Text around it, 1", exact=True)
    around.click()
    expect(around).to_have_attribute("aria-expanded", "true")
    assert page.page.locator(".beside").count() > 0
    page.page.get_by_role("button", name="More passages").click()
    expect(page.page.get_by_role("button", name=re.compile("^Passage 30:"))).to_be_visible()
    page.settled()  # Streamlit fades a part while its script runs
    assert page.findings() == []


def test_what_holds_nothing_says_what_can_be_done(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query='"purple walrus"')
    expect(page.page.get_by_role("heading", name="Nothing found.")).to_be_visible()
    expect(page.page.get_by_text("No passage holds “purple walrus” as it is written")).to_be_visible()


def test_markup_in_names_and_metadata_stays_text_in_the_filters(visit: Visit, library: Served) -> None:
    page = visit(library, path="/search", query="otter <img src=x onerror=window.hacked=1>")
    expect(passages(page).first).to_be_visible()
    for facet in ("Folder", "Kind"):
        page.page.get_by_role("button", name=facet, exact=True).click()
        expect(page.page.get_by_role("group", name=facet)).to_be_visible()
        page.page.get_by_role("group", name=facet).get_by_role("button").first.hover()
    page.page.get_by_role("group", name="Kind").get_by_role("button").first.click()
    expect(page.page.get_by_role("button", name=re.compile("^Kind: <b onmouseover"))).to_be_visible()
    assert page.page.evaluate("() => window.hacked") is None


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("size", [(1280, 800), PHONE], ids=["wide", "phone"])
def test_the_page_is_accessible_and_fits(visit: Visit, library: Served, size: tuple[int, int], dark: bool) -> None:
    page = visit(library, path="/search", query="otter", size=size, dark=dark)
    expect(passages(page).first).to_be_visible()
    assert page.findings() == []
    page.page.get_by_role("button", name="Folder", exact=True).click()
    expect(page.page.get_by_role("group", name="Folder")).to_be_in_viewport(ratio=0.9)
    assert page.findings() == []
    assert not page.scrolls_sideways()
