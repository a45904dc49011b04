"""The Ask page in a browser: from a first visit to a marked passage, and what it does when something is amiss."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from rag import Document, Index
from tests.browser.conftest import PHONE, WIDE, Served
from tests.browser.pages import Shown
from tests.browser.serving import FALSE, TRUE

WORD2VEC = "Who published word2vec?"
MAYOR = "Who is the mayor of Berlin?"
READING_MS = 180_000  # for the sample to be read, however busy the machine is

SHIFTS = """
window.shifted = 0;
new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) if (!entry.hadRecentInput) window.shifted += entry.value;
}).observe({ type: "layout-shift", buffered: true });
"""

Visit = Callable[..., Shown]
Serve = Callable[..., Served]


@pytest.fixture
def own(course: Path, tmp_path: Path) -> Path:
    """A folder of indexes with the sample corpus, for one test alone."""
    shutil.copytree(course / "indexes" / "embeddings", tmp_path / "indexes" / "embeddings")
    return tmp_path / "indexes"


def article(page: Shown, question: str) -> Locator:
    """The question with its answer."""
    return page.page.get_by_role("article").filter(has=page.page.get_by_role("heading", name=question, exact=True))


def test_from_nothing_to_a_marked_passage_it_takes_three_clicks(serve: Serve, visit: Visit, tmp_path: Path) -> None:
    page = visit(serve(tmp_path / "indexes"))
    expect(page.page.get_by_role("heading", level=1)).to_have_text(
        "Ask your own documents. Nothing leaves this computer."
    )
    assert page.findings() == []
    page.page.get_by_role("button", name="Use the sample").click()
    page.page.get_by_role("button", name=WORD2VEC).click(timeout=READING_MS)
    page.footnote(1).click(timeout=READING_MS)
    assert page.marked == TRUE


def test_a_link_opened_cold_shows_the_answer_and_the_way_back_leads_back(visit: Visit, served: Served) -> None:
    page = visit(served, q="How does HNSW work?")
    page.answered()
    expect(page.footnote(1)).to_be_visible()
    page.ask(WORD2VEC)
    expect(page.page).to_have_url(re.compile(r"q=Who\+published\+word2vec"))
    page.page.go_back()
    expect(page.page).to_have_url(re.compile(r"q=How(\+|%20)does"))
    page.page.go_back()
    expect(page.page).to_have_url("about:blank")


def test_another_page_and_back_finds_the_thread_as_it_was(page: Shown) -> None:
    page.ask(WORD2VEC)
    page.footnote(1).click()
    page.pane.wait_for()
    page.go("Library")
    page.go("Ask")
    expect(page.page.get_by_role("heading", name=WORD2VEC)).to_be_visible()
    assert page.marked == TRUE


def test_the_short_answer_is_strong_and_a_follow_up_says_how_it_was_asked(page: Shown) -> None:
    page.ask(WORD2VEC)
    assert article(page, WORD2VEC).locator("strong").all_text_contents() == [
        "Tomas Mikolov, Kai Chen, Greg Corrado and Jeffrey Dean"
    ]
    page.ask("When was it published?")
    expect(page.page.get_by_text("Asked as: When was word2vec published?")).to_be_visible()
    turn = article(page, "When was it published?")
    assert "".join(turn.locator("strong").all_text_contents()) == "January 2013"
    assert turn.get_by_role("button", name=re.compile("^Footnote 1:")).count() == 1  # the same passage, the same number
    assert page.page.get_by_role("heading", level=1).count() == 1


def test_not_in_these_documents_is_an_answer_that_shows_what_came_nearest(page: Shown) -> None:
    page.ask(MAYOR)
    turn = article(page, MAYOR)
    expect(turn.get_by_text("Not in these documents.", exact=True)).to_be_visible()
    expect(turn.get_by_text("These passages came nearest; none answers the question.")).to_be_visible()
    assert turn.get_by_role("button", name=re.compile("^Footnote")).count() == 0
    nearest = turn.get_by_role("button", name=re.compile("^Passage: "))
    quote = nearest.first.locator(".quote").text_content()
    nearest.first.click()
    assert " ".join(page.marked.split()) == quote
    expect(nearest.first).to_have_attribute("aria-pressed", "true")
    turn.get_by_role("link", name="Search instead").click()
    expect(page.page).to_have_url(re.compile(r"/search\?.*query=Who\+is\+the\+mayor"))


def test_with_the_keyboard_alone_one_asks_opens_a_source_and_comes_back(page: Shown) -> None:
    keys = page.page.keyboard
    expect(page.page.get_by_role("heading", level=1)).to_be_visible()  # the parts, which hear keys, are there
    page.page.locator("body").evaluate("() => document.activeElement.blur()")
    keys.press("/")
    expect(page.box).to_be_focused()
    keys.type("How does HNSW work?")
    keys.press("Enter")
    expect(page.footnote(1)).to_be_visible()
    page.answered()
    page.page.evaluate(  # Tab begins where the focus was last: at the top of the page
        "() => { const top = document.createElement('button'); document.body.prepend(top); top.focus(); top.remove(); }"
    )
    keys.press("Tab")
    assert page.focused() == "Skip to main content"
    walked = []
    while not page.focused().startswith("Footnote"):
        keys.press("Tab")
        walked.append(page.focused())
    named = ["Ask", "Search", "Library", "Explore", "Threads", "Settings"]
    assert [name for name in walked if name in named] == named
    first = page.focused()
    assert first.startswith("Footnote 1: vector-indexes.pdf")
    expect(page.page.locator(".card")).to_be_visible()  # the quote, without opening anything
    keys.press("Enter")
    page.pane.wait_for()
    expect(page.footnote(1)).to_have_attribute("aria-pressed", "true")
    assert page.page.evaluate("() => document.activeElement.shadowRoot.activeElement.closest('aside') !== null")
    keys.press("Escape")
    expect(page.pane).to_be_hidden()
    assert page.focused() == first
    keys.press("Tab")
    assert page.focused().startswith("Footnote 2:")


def test_on_a_phone_the_claim_stays_above_the_source_and_nothing_scrolls_sideways(visit: Visit, served: Served) -> None:
    page = visit(served, size=PHONE)
    assert not page.scrolls_sideways()
    page.ask(WORD2VEC)
    assert not page.scrolls_sideways()
    page.footnote(1).click()
    assert page.marked == TRUE
    claim, sheet = page.footnote(1).bounding_box(), page.pane.bounding_box()
    assert claim is not None and sheet is not None  # noqa: PT018 - for the type checker
    assert 60 < claim["y"] < claim["y"] + claim["height"] <= sheet["y"]
    assert not page.scrolls_sideways()
    page.page.get_by_role("button", name="Close the source").click()
    expect(page.pane).to_be_hidden()
    page.drawer("Threads")
    assert not page.scrolls_sideways()


def test_two_people_at_once_see_their_own_questions(visit: Visit, served: Served) -> None:
    ada, ben = visit(served), visit(served)
    for page, question in ((ada, WORD2VEC), (ben, "Can BM25 find synonyms?")):
        page.box.fill(question)
        page.box.press("Enter")
    for page, own, others in ((ada, WORD2VEC, "Can BM25"), (ben, "Can BM25 find synonyms?", "Who published")):
        expect(page.page.get_by_role("heading", name=own, exact=True)).to_be_visible()
        page.answered()
        expect(page.footnote(1)).to_be_visible()
        assert page.page.get_by_role("heading", name=others).count() == 0


def test_on_a_phone_the_pages_can_be_reached_beside_the_box_of_indexes(serve: Serve, visit: Visit, own: Path) -> None:
    shutil.copytree(own / "embeddings", own / "another index with a rather long name")
    page = visit(serve(own), size=PHONE)
    assert not page.scrolls_sideways()
    page.page.get_by_test_id("stExpandSidebarButton").click()
    expect(page.page.get_by_role("button", name="Threads", exact=True)).to_be_hidden()  # the pages lie over it
    page.page.get_by_role("link", name="Library", exact=True).click()
    expect(page.page.get_by_role("heading", level=1)).to_have_text("another index with a rather long name")
    expect(page.page.get_by_role("button", name="Threads", exact=True)).to_be_visible()  # they have gone again


def test_a_long_word_at_the_end_of_a_sentence_breaks_and_keeps_its_footnote_in_sight(
    serve: Serve, visit: Visit, tmp_path: Path
) -> None:
    address = "https://forms.example.org/" + "a-very-long-path/" * 12
    with Index.create(tmp_path / "indexes" / "forms") as index:
        index.add([Document("form.md", f"The form for parental leave stands at {address}")])
    page = visit(serve(tmp_path / "indexes"), size=PHONE)
    page.ask("Where is the form for parental leave?")
    assert not page.scrolls_sideways()
    box = page.footnote(1).bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= PHONE[0]


@pytest.mark.parametrize("size", [WIDE, PHONE])
def test_nothing_jumps_while_the_page_is_drawn(visit: Visit, served: Served, size: tuple[int, int]) -> None:
    page = visit(served, size=size)
    page.page.add_init_script(SHIFTS)
    page.page.reload()
    page.settled()
    expect(page.page.get_by_role("button", name=WORD2VEC)).to_be_visible()
    assert page.page.evaluate("() => window.shifted") < 0.1  # from there on people are disturbed by it (web.dev/cls)


# Threads, export and settings


def test_threads_are_found_renamed_exported_and_removed(serve: Serve, visit: Visit, own: Path) -> None:
    page = visit(serve(own))
    page.ask(WORD2VEC)
    page.page.get_by_role("button", name="New question").click()
    expect(page.page.get_by_role("heading", level=1)).to_have_text("Ask your own documents.")
    page.ask("How does HNSW work?")

    drawer = page.drawer("Threads")
    titles = drawer.locator(".title")
    expect(titles).to_have_text(["How does HNSW work?", WORD2VEC])
    drawer.get_by_role("searchbox").fill("WORD2VEC")
    expect(titles).to_have_text([WORD2VEC])
    titles.first.hover()
    drawer.get_by_role("button", name=f"Rename {WORD2VEC}").click()
    drawer.get_by_role("textbox", name=re.compile("^New name")).fill("Its authors <b>word2vec</b>")
    drawer.get_by_role("button", name="Save").click()
    drawer.get_by_role("searchbox").fill("")
    expect(titles).to_have_text(["Its authors <b>word2vec</b>", "How does HNSW work?"])
    titles.first.click()
    expect(page.page.get_by_role("heading", level=1)).to_have_text(WORD2VEC)
    page.footnote(1).click()
    assert page.marked == TRUE

    page.page.get_by_role("button", name="Export this answer or the thread").last.click()
    with page.page.expect_download() as download:
        page.page.get_by_role("button", name="Markdown").click()
    assert TRUE in Path(download.value.path()).read_text(encoding="utf-8")
    assert download.value.suggested_filename.endswith(".md")
    page.page.keyboard.press("Escape")

    drawer = page.drawer("Threads")
    titles.first.hover()
    drawer.get_by_role("button", name=re.compile("^Remove Its authors")).click()
    drawer.get_by_role("button", name="Remove", exact=True).click()
    expect(titles).to_have_text(["How does HNSW work?"])
    page.page.keyboard.press("Escape")

    page.go("Search")
    page.drawer("Threads")
    titles.first.click()
    expect(page.page.get_by_role("heading", level=1)).to_have_text("How does HNSW work?")


def test_threads_are_reached_renamed_and_left_by_the_keyboard_alone(serve: Serve, visit: Visit, own: Path) -> None:
    page = visit(serve(own))
    page.ask(WORD2VEC)
    page.page.get_by_role("button", name="Threads", exact=True).press("Enter")
    drawer = page.page.get_by_role("dialog")
    thread = drawer.get_by_role("button", name=re.compile(f"^{re.escape(WORD2VEC)}"))
    thread.wait_for()
    keys, rename = page.page.keyboard, drawer.get_by_role("button", name=f"Rename {WORD2VEC}")
    seen = []
    for _ in range(12):
        keys.press("Tab")
        seen.append(page.focused())
        if rename.count() and rename.evaluate("node => node.matches(':focus')"):
            break
    assert rename.evaluate("node => node.matches(':focus')"), seen
    assert "Search threads" in seen
    keys.press("Enter")
    box = drawer.get_by_role("textbox", name=re.compile("^New name"))
    expect(box).to_be_focused()
    keys.type("Its authors")
    keys.press("Enter")
    named = drawer.get_by_role("button", name=re.compile("^Its authors"))
    expect(named).to_be_focused()
    keys.press("Enter")
    expect(drawer).to_have_count(0)
    page.page.get_by_role("button", name="Threads", exact=True).press("Enter")
    named.wait_for()
    keys.press("Escape")
    expect(drawer).to_have_count(0)


def test_settings_are_kept_and_what_is_chosen_is_what_answers(serve: Serve, visit: Visit, own: Path) -> None:
    page = visit(serve(own))
    drawer = page.drawer("Settings")
    drawer.get_by_text("Short", exact=True).click()
    page.settled()
    page.page.reload()
    page.settled()
    drawer = page.drawer("Settings")
    expect(drawer.get_by_role("radio", name=re.compile("^Short"))).to_be_checked()
    page.page.keyboard.press("Escape")
    page.ask("How does HNSW work?")
    assert article(page, "How does HNSW work?").locator(".sentence").count() <= 2


# While it is answered


def test_while_the_model_loads_the_box_is_there_and_the_question_waits(serve: Serve, visit: Visit, own: Path) -> None:
    page = visit(serve(own, "slow_to_load"))
    page.box.fill(WORD2VEC)
    page.box.press("Enter")
    expect(page.statuses.filter(has_text="Loading the reading model")).to_be_visible()
    page.box.fill("How does HNSW work?")
    page.box.press("Enter")
    expect(page.statuses.filter(has_text="Waits for its turn")).to_be_visible()
    (own / "go").write_text("now")
    page.answered()
    expect(article(page, WORD2VEC).get_by_role("button", name=re.compile("^Footnote")).first).to_be_visible()
    expect(
        article(page, "How does HNSW work?").get_by_role("button", name=re.compile("^Footnote")).first
    ).to_be_visible()


def test_sentences_arrive_in_one_node_that_keeps_the_focus_and_stop_keeps_what_was_written(
    serve: Serve, visit: Visit, own: Path
) -> None:
    page = visit(serve(own, "hesitant"))
    page.box.fill(WORD2VEC)
    page.box.press("Enter")
    expect(page.footnote(1)).to_be_visible()
    expect(page.statuses.filter(has_text=re.compile(r"^Reading \d+ passages$"))).to_be_visible()
    page.page.evaluate("() => window.first = null")
    page.footnote(1).evaluate("(node) => { window.first = node; node.focus(); }")
    page.page.get_by_role("button", name="Stop", exact=True).click()
    page.answered()
    expect(page.page.get_by_text("Stopped before its end.")).to_be_visible()
    assert article(page, WORD2VEC).locator(".sentence").count() == 1
    assert page.page.evaluate("() => window.first.isConnected")
    page.footnote(1).click()
    assert page.marked == TRUE
    page.page.reload()
    page.settled()
    expect(page.page.get_by_text("Stopped before its end.")).to_be_visible()  # it is kept as it was left


def test_a_reload_while_it_is_answered_finds_the_answer(serve: Serve, visit: Visit, own: Path) -> None:
    page = visit(serve(own, "hesitant"))
    page.box.fill(WORD2VEC)
    page.box.press("Enter")
    expect(page.footnote(1)).to_be_visible()
    page.page.reload()
    page.settled()
    expect(page.footnote(1)).to_be_visible()
    (own / "go").write_text("now")
    page.answered()
    assert article(page, WORD2VEC).locator(".sentence").count() == 2
    drawer = page.drawer("Threads")
    expect(drawer.locator(".title")).to_have_text([WORD2VEC])  # it was asked once


def test_a_sentence_that_no_source_says_looks_and_reads_so(serve: Serve, visit: Visit, own: Path) -> None:
    page = visit(serve(own, "false_sentence"))
    page.ask(WORD2VEC)
    turn = article(page, WORD2VEC)
    expect(turn.get_by_text("1 of 2 sentences has a source.")).to_be_visible()
    sentence = turn.locator(".sentence").filter(has_text=FALSE)
    expect(sentence).to_contain_text("(no source says this)")
    assert sentence.get_by_role("button").count() == 0
    line = sentence.locator(".unsupported").first.evaluate("(node) => getComputedStyle(node).textDecoration")
    assert "underline" in line
    assert "dashed" in line


def test_a_model_that_is_down_is_named_the_documents_answer_and_it_can_be_tried_again(
    serve: Serve, visit: Visit, own: Path
) -> None:
    page = visit(serve(own, "down"))
    page.ask(WORD2VEC)
    turn = article(page, WORD2VEC)
    expect(turn.get_by_text(re.compile(r"127\.0\.0\.1:9"))).to_be_visible()
    page.footnote(1).click()
    assert page.marked == TRUE
    turn.get_by_role("button", name="Try again").click()
    expect(article(page, WORD2VEC)).to_have_count(2)


# What nobody may do


HOSTILE = "<img src=x onerror=window.hacked=1><script>window.hacked=1</script>![p](http://elsewhere.example/p.png)"


@pytest.fixture(scope="module")
def hostile(serve: Serve, tmp_path_factory: pytest.TempPathFactory) -> Served:
    """A corpus whose every text is an attack: file names, titles, headings, metadata, and the texts."""
    import rag

    folder = tmp_path_factory.mktemp("hostile")
    name = "<svg onload=window.hacked=1> [x](javascript:window.hacked=1) :red[y] $z$.md"
    text = (
        f"# {HOSTILE}\n\nThe secret word of the guild is {HOSTILE} pomegranate.\n\n<iframe srcdoc='{HOSTILE}'></iframe>"
    )
    heading = rag.Section(0, text.index("\n"), HOSTILE)
    metadata = {HOSTILE: HOSTILE, "author": HOSTILE}
    with rag.Index.create(folder / "guild") as index:
        index.add([rag.Document(name, text, HOSTILE, (heading,), metadata=metadata), rag.Document("b.txt", "Nothing.")])
    return serve(folder)


@pytest.mark.parametrize("fence", [True, False], ids=["with the policy", "without it"])
def test_a_corpus_full_of_scripts_stays_text_on_every_page(visit: Visit, hostile: Served, fence: bool) -> None:
    page = visit(hostile, fence=fence)
    page.ask(f"What is the secret word of the guild? {HOSTILE}")
    page.footnote(1).hover()
    page.footnote(1).click()
    assert "window.hacked=1" in page.pane_text
    page.drawer("Threads").locator(".title").first.wait_for()
    page.page.keyboard.press("Escape")
    page.page.get_by_role("button", name="Export this answer or the thread").last.click()
    page.page.get_by_role("button", name="Web page").wait_for()
    page.page.keyboard.press("Escape")
    for name in ("Search", "Library", "Explore"):
        page.go(name)
        assert page.page.evaluate("() => window.hacked === undefined"), name
    page.open("/search", index="guild", query="secret word of the guild")
    page.page.get_by_text("pomegranate").first.wait_for()
    assert page.page.evaluate("() => window.hacked === undefined")
    # That nothing was fetched from elsewhere either is looked at when the tab is closed.


# For everybody


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_axe_finds_nothing_serious_in_any_state(visit: Visit, served: Served, dark: bool) -> None:
    page = visit(served, dark=dark)
    found = {"nothing asked": page.findings()}
    page.ask(WORD2VEC)
    page.footnote(1).click()
    page.pane.wait_for()
    found["answered, source open"] = page.findings()
    page.page.keyboard.press("Escape")
    page.ask(MAYOR)
    found["not in these documents"] = page.findings()
    for name in ("Threads", "Settings"):
        page.drawer(name)
        found[name] = page.findings()
        page.page.keyboard.press("Escape")
        expect(page.page.get_by_role("dialog")).to_have_count(0)
    assert found == {name: [] for name in found}


def test_footnotes_and_tags_can_be_read_on_what_is_behind_them(serve: Serve, visit: Visit, own: Path) -> None:
    served = serve(own, "false_sentence")
    for dark in (False, True):
        page = visit(served, dark=dark)
        page.ask(WORD2VEC)
        for part in (".footnote", ".no-source", ".note", ".quiet", ".source .quote"):
            assert contrast(page.page.locator(part).first) >= 4.5, (part, dark)


def contrast(node: Locator) -> float:
    """The ratio of a text's colour to the one behind it, as WCAG 2 defines it."""
    ratio: float = node.evaluate(
        """(node) => {
          const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
          const light = (colours) => {
            canvas.clearRect(0, 0, 1, 1);
            for (const colour of colours) {
              canvas.fillStyle = colour;
              canvas.fillRect(0, 0, 1, 1);
            }
            const [r, g, b] = [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3).map((value) => {
              const share = value / 255;
              return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
            });
            return 0.2126 * r + 0.7152 * g + 0.0722 * b;
          };
          const behind = [];
          for (let at = node; at; at = at.parentElement ?? at.getRootNode().host) {
            behind.unshift(getComputedStyle(at).backgroundColor);
          }
          const [text, ground] = [light([...behind, getComputedStyle(node).color]), light(behind)];
          return (Math.max(text, ground) + 0.05) / (Math.min(text, ground) + 0.05);
        }"""
    )
    return ratio
