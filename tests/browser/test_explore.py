"""The Explore page in a browser: points, pointing, pins, keys."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import Locator, expect

import rag
from tests.browser.conftest import PHONE, Served
from tests.browser.pages import PATIENCE_S, Shown

HOSTILE = '<img src=x onerror="window.hit=1"> <script>window.hit=1</script> :red[x] ![p](http://example.com/x.png)'

THINGS = (
    "bees cows ships rain bread law music chess iron snow tea maps wolves glass rice salt wool oak moss clay".split()
)


@dataclass
class Explored:
    """The Explore page in a tab, its points drawn."""

    shown: Shown

    def __post_init__(self) -> None:
        self.points.wait_for()
        expect(self.shown.page.locator(".explore[aria-busy=false]")).to_be_visible(timeout=60_000)

    @property
    def points(self) -> Locator:
        return self.shown.page.locator('canvas.points[data-points]:not([data-points="0"])')

    @property
    def map(self) -> Locator:
        return self.shown.page.get_by_role("application", name=re.compile("^Map of"))

    @property
    def card(self) -> Locator:
        return self.shown.page.locator(".stage > .card:not([hidden])")

    @property
    def box(self) -> Locator:
        return self.shown.page.get_by_role("textbox", name="A question to pin on the map")

    @property
    def nearest(self) -> Locator:
        return self.shown.page.locator(".nearest .passage")

    def ink(self) -> int:
        """Pixels of the map that are coloured, as the points are and all else is not, where nothing is pinned."""
        self.shown.page.mouse.move(0, 0)
        shot = Image.open(io.BytesIO(self.map.screenshot())).convert("RGB")
        pixels = np.asarray(shot.crop((0, 80, shot.width - 80, shot.height)), dtype=int)
        return int(np.count_nonzero(np.ptp(pixels, axis=2) > 40))

    def pin(self, question: str) -> None:
        self.box.fill(question)
        self.box.press("Enter")
        expect(self.nearest).to_have_count(8, timeout=PATIENCE_S * 1000)  # the model may have to be loaded first
        self.shown.settled()

    def point_at_something(self) -> None:
        """Move the pointer over the map until it is at a passage."""
        area = self.map.bounding_box()
        assert area is not None
        for share in range(5, 95, 1):
            self.shown.page.mouse.move(area["x"] + area["width"] * share / 100, area["y"] + area["height"] * 0.55)
            if self.map.evaluate("(node) => node.style.cursor") == "pointer":
                return
        raise AssertionError("there is no passage along the middle of the map")


@pytest.fixture
def explored(visit: Callable[..., Shown], served: Served) -> Explored:
    return Explored(visit(served, "/explore"))


@pytest.fixture(scope="module")
def poisoned(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """An index whose names, titles and texts hold scripts and markup."""
    folder = tmp_path_factory.mktemp("indexes")
    with rag.Index.create(folder / "poisoned") as index:
        names = [f"<img src=x onerror=window.hit=1>{i}.md" for i in range(20)]
        index.add([rag.Document(name, f"{HOSTILE} passage {i}", HOSTILE) for i, name in enumerate(names)])
    return serve(folder)


@pytest.fixture(scope="module")
def two(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> Served:
    """Two indexes whose passages have the same numbers and other texts."""
    folder = tmp_path_factory.mktemp("indexes")
    for name in ("first", "second"):
        with rag.Index.create(folder / name) as index:
            index.add([rag.Document(f"{i}.md", f"The {name} index speaks of {it}.") for i, it in enumerate(THINGS)])
    return serve(folder)


def test_points_are_drawn_and_the_list_says_in_words_what_they_are(explored: Explored) -> None:
    n = int(explored.points.get_attribute("data-points") or 0)
    page = explored.shown.page
    assert page.get_by_role("heading", level=1).all_text_contents() == ["Map of embeddings"]
    expect(page.locator(".facts")).to_have_text(f"{n:,} passages; those that mean alike stand near each other.")
    assert explored.ink() > 2 * n  # each point has more than one pixel
    page.locator(".group").first.wait_for()
    counts = page.locator(".group .count").all_text_contents()
    assert sum(int(count.replace(",", "")) for count in counts) == n
    page.get_by_role("button", name="Type", exact=True).click()
    assert {"md", "txt"} & set(page.locator(".group .name").all_text_contents())


def test_pointing_shows_the_passage_and_a_click_opens_it_marked(explored: Explored) -> None:
    explored.point_at_something()
    explored.card.wait_for()
    title, quote = explored.card.locator(".name").inner_text(), explored.card.locator(".quote").inner_text()
    explored.shown.page.mouse.down()
    explored.shown.page.mouse.up()
    assert title in explored.shown.pane_text
    marked = " ".join(explored.shown.marked.split())
    assert marked.startswith(quote.removesuffix(" …"))
    explored.shown.page.keyboard.press("Escape")
    expect(explored.shown.pane).to_be_hidden()
    assert explored.shown.focused().startswith("Map of")


def test_a_question_drops_its_pin_and_the_address_brings_it_back(
    explored: Explored, visit: Callable[..., Shown], served: Served
) -> None:
    explored.pin("Who published word2vec?")
    titles = explored.nearest.all_text_contents()
    assert "word2vec" in " ".join(titles).lower()
    assert "q=Who+published+word2vec" in explored.shown.page.url
    again = Explored(visit(served, "/explore", q="Who published word2vec?"))
    expect(again.nearest).to_have_count(8)
    assert again.nearest.all_text_contents() == titles
    explored.shown.page.get_by_role("button", name="Take the pin away").first.click()
    expect(explored.nearest).to_have_count(0)


def test_back_and_the_navigation_lead_to_the_pin_that_was_there(visit: Callable[..., Shown], served: Served) -> None:
    explored = Explored(visit(served, "/explore", q="Who published word2vec?"))
    about = explored.shown.page.locator(".nearest .about")
    expect(about).to_have_text("Who published word2vec?")
    explored.box.fill("What is HNSW?")
    explored.box.press("Enter")
    expect(about).to_have_text("What is HNSW?")
    explored.shown.page.go_back()
    expect(about).to_have_text("Who published word2vec?")
    expect(explored.box).to_have_value("Who published word2vec?")
    explored.shown.go("Search")
    explored.shown.go("Explore")
    expect(about).to_have_text("Who published word2vec?")
    expect(explored.shown.page).to_have_url(re.compile(r"index=embeddings&q=Who\+published"))


def test_another_index_shows_nothing_of_the_one_before(visit: Callable[..., Shown], two: Served) -> None:
    explored = Explored(visit(two, "/explore", index="first"))
    page = explored.shown.page
    explored.map.press("+")
    expect(explored.card).to_contain_text("The first index speaks of")
    page.locator(".group").first.click()
    page.locator(".typical .passage").first.click()
    expect(page.locator(".chosen .name")).to_be_visible()
    assert "first index" in explored.shown.marked  # only then does the source take the focus no more
    explored.shown.settled()
    page.get_by_role("combobox", name="Index").fill("second")
    page.get_by_role("option", name="second").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Map of second")
    explored = Explored(explored.shown)
    expect(page.locator(".chosen .name")).to_have_count(0)
    explored.map.press("+")
    expect(explored.card).to_contain_text("The second index speaks of")
    page.locator(".group").first.click()
    expect(page.locator(".typical .passage").first).to_contain_text("The second index speaks of")


def test_more_like_this_shows_the_neighbours_of_a_passage(explored: Explored) -> None:
    explored.pin("Who published word2vec?")
    before = explored.nearest.all_text_contents()
    explored.nearest.first.hover()
    explored.shown.page.get_by_role("button", name=re.compile("^Pin its neighbours")).first.click()
    expect(explored.shown.page.get_by_role("heading", name="Most like this passage")).to_be_visible()
    expect(explored.nearest).to_have_count(8)
    assert explored.nearest.all_text_contents() != before


def test_the_list_opens_passages_and_the_pane_walks_through_them(explored: Explored) -> None:
    explored.pin("What is an embedding?")
    explored.nearest.nth(1).click()
    assert "2 of 8" in explored.shown.pane_text
    page = explored.shown.page
    titles = explored.nearest.locator(".name").all_inner_texts()
    explored.shown.pane.get_by_role("button", name="Next passage").click()
    expect(explored.shown.pane).to_contain_text("3 of 8")
    expect(page.locator(".chosen .name")).to_have_text(titles[2])  # the map follows


@pytest.mark.parametrize("size", [(1280, 800), (1024, 768)])
def test_map_and_list_use_the_height_of_the_window_and_keep_it_beside_a_source(
    visit: Callable[..., Shown], served: Served, size: tuple[int, int]
) -> None:
    explored = Explored(visit(served, "/explore", size=size))
    page = explored.shown.page

    def bottom_and_height(selector: str) -> tuple[float, float]:
        found = page.locator(selector).bounding_box()
        assert found is not None
        return found["y"] + found["height"], found["height"]

    assert bottom_and_height(".stage")[0] == pytest.approx(size[1] - 16, abs=2)
    explored.pin("What is an embedding?")
    explored.nearest.first.click()
    explored.shown.pane.locator("mark").first.wait_for()
    assert bottom_and_height(".stage")[1] > 300
    assert bottom_and_height(".side")[1] > 250  # two passages and a half
    for part in (".side", ".pane"):
        assert bottom_and_height(part)[0] == pytest.approx(size[1] - 16, abs=2)
    assert page.locator("[data-testid=stMain]").evaluate("(node) => node.scrollHeight === node.clientHeight")


def test_a_topic_shown_alone_fades_the_others_and_names_typical_passages(explored: Explored) -> None:
    page = explored.shown.page
    topic = page.locator(".group").first
    topic.click()
    expect(topic).to_have_attribute("aria-pressed", "true")
    typical = page.locator(".typical .passage")
    expect(typical.first).to_be_visible()
    typical.first.click()
    assert explored.shown.marked
    page.get_by_role("button", name="Show all").click()
    expect(topic).to_have_attribute("aria-pressed", "false")


def test_the_wheel_zooms_the_map_and_does_not_scroll_the_page(explored: Explored) -> None:
    page, whole = explored.shown.page, explored.ink()
    area = explored.map.bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 5, area["y"] + area["height"] - 5)  # where no points are: closer, they leave the map
    for _ in range(30):
        page.mouse.wheel(0, -120)
    assert explored.ink() < whole / 2
    assert explored.map.bounding_box() == area
    page.get_by_role("button", name="The whole map").click()
    assert explored.ink() == pytest.approx(whole, rel=0.02)


def test_with_the_keys_alone_one_moves_reads_and_opens(explored: Explored) -> None:
    page = explored.shown.page
    page.keyboard.press("/")
    assert explored.shown.focused() == "A question to pin on the map"
    explored.map.focus()
    for key in ("+", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    explored.card.wait_for()
    said = page.locator(".stage .unseen")
    expect(said).not_to_be_empty()
    title = explored.card.locator(".name").inner_text()
    page.keyboard.press("Enter")
    assert title in explored.shown.pane_text
    page.keyboard.press("Escape")
    expect(explored.shown.pane).to_be_hidden()
    stops = []
    for _ in range(6):
        page.keyboard.press("Tab")
        stops.append(explored.shown.focused())
    assert stops[0].startswith("Pin its neighbours: ")
    assert stops[1:] == ["Let go of this passage", "Closer", "Further away", "The whole map", "Topic"]


def test_on_a_phone_nothing_scrolls_sideways_and_a_tap_opens_the_sheet(
    visit: Callable[..., Shown], served: Served
) -> None:
    explored = Explored(visit(served, "/explore", size=PHONE))
    assert not explored.shown.scrolls_sideways()
    explored.point_at_something()
    explored.shown.page.mouse.down()
    explored.shown.page.mouse.up()
    assert explored.shown.marked
    assert not explored.shown.scrolls_sideways()


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(
    visit: Callable[..., Shown], served: Served, axe: Callable[[Shown], list[str]], dark: bool
) -> None:
    explored = Explored(visit(served, "/explore", dark=dark))
    explored.pin("What is an embedding?")
    assert axe(explored.shown) == []


def test_coming_back_from_another_page_the_map_is_there_at_once(explored: Explored) -> None:
    explored.shown.go("Search")
    explored.shown.go("Explore")
    assert Explored(explored.shown).ink() > 100


def test_coming_back_what_was_open_is_named_and_the_map_follows_as_before(explored: Explored) -> None:
    explored.pin("What is an embedding?")
    explored.nearest.nth(1).click()
    titles = explored.nearest.locator(".name").all_inner_texts()
    chosen = explored.shown.page.locator(".chosen .name")
    expect(chosen).to_have_text(titles[1])
    explored.shown.go("Search")
    explored.shown.go("Explore")
    expect(chosen).to_have_text(titles[1])
    explored.shown.pane.get_by_role("button", name="Next passage").click()
    expect(chosen).to_have_text(titles[2])


def test_a_document_added_meanwhile_is_told_and_the_map_is_drawn_anew(
    visit: Callable[..., Shown], serve: Callable[..., Served], sample: Path
) -> None:
    served = serve(sample)
    explored = Explored(visit(served, "/explore"))
    n = int(explored.points.get_attribute("data-points") or 0)
    with rag.Index.open(sample / "embeddings") as index:
        index.add([rag.Document("new.md", "A new document about lighthouses.")])
    explored.pin("Where do lighthouses stand?")
    explored.shown.page.get_by_role("button", name="Draw it anew").click()
    expect(explored.points).to_have_attribute("data-points", str(n + 1), timeout=60_000)
    expect(explored.nearest.first).to_contain_text("new.md")


def test_scripts_and_markup_in_texts_titles_and_names_stay_texts(visit: Callable[..., Shown], poisoned: Served) -> None:
    explored = Explored(visit(poisoned, "/explore"))
    explored.point_at_something()
    explored.card.wait_for()
    assert HOSTILE in explored.card.locator(".name").inner_text()
    explored.pin("passage")
    explored.nearest.first.click()
    assert HOSTILE in explored.shown.pane_text
    assert explored.shown.page.evaluate("() => window.hit") is None
