"""The Library page in a browser: adding, how a reading goes in every tab, taking away, and names that are markup."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Locator, expect

from rag.index import Index
from rag.locks import write_lock
from tests.browser.conftest import PHONE, Served
from tests.browser.pages import Shown

HOSTILE = "<img src=x onerror=window.hacked=1> :red[x] ![p](http:y) $z$ `c`.md"  # browsers send a quote as %22
PATIENCE_MS = 60_000  # for what other processes do; it comes as soon as it can


class Library:
    """The Library page in a tab."""

    def __init__(self, shown: Shown) -> None:
        self.shown, self.page = shown, shown.page

    @property
    def line(self) -> Locator:
        """How a reading goes, or went."""
        return self.page.locator(".reading[data-state]:not([hidden]) .text").last  # while pages turn there may be two

    @property
    def rows(self) -> Locator:
        return self.page.get_by_role("table", name="Files").get_by_role("row")

    def row(self, name: str) -> Locator:
        return self.rows.filter(has_text=name)

    def drop(self, *files: tuple[str, str]) -> None:
        payload = [{"name": name, "mimeType": "text/plain", "buffer": text.encode()} for name, text in files]
        box = self.page.locator('.st-key-hand input[type="file"]')
        expect(box).to_have_count(1)  # after files were refused another takes its place, and for a moment there are two
        box.set_input_files(payload)  # type: ignore[arg-type]

    def read(self, folder: Path) -> None:
        box = self.page.get_by_label("Or a folder on this computer")
        box.fill(str(folder))
        box.press("Enter")

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()

    @property
    def dialog(self) -> Locator:
        return self.page.get_by_role("dialog")


@pytest.fixture
def fresh(serve: Callable[..., Served], tmp_path: Path) -> Served:
    """A server without any index."""
    return serve(tmp_path / "indexes")


@pytest.fixture
def many(tmp_path: Path) -> Path:
    """A folder that takes a while to read."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(1500):
        (folder / f"{i:04}.md").write_text(
            "\n\n".join(f"Case {i} has rule {i * j} on page {j}. " * 12 for j in range(9))
        )
    return folder


@pytest.fixture
def small(serve: Callable[..., Served], sample: Path, tmp_path: Path) -> Served:
    """A server of its own over a copy of the sample."""
    shutil.copytree(sample / "embeddings", tmp_path / "indexes" / "embeddings")
    return serve(tmp_path / "indexes")


# Adding


def test_from_nothing_a_dropped_file_is_read_and_asked(fresh: Served, visit: Callable[..., Shown]) -> None:
    shown = visit(fresh, "/library")
    library = Library(shown)
    expect(shown.page.get_by_role("heading", level=1)).to_have_text("Library")
    library.drop(
        ("leave.md", "# Leave\n\nA parent may take up to sixteen weeks of leave for each child."), ("old.doc", "x")
    )
    expect(shown.page.get_by_text("old.doc: a format this version cannot read; save it as .docx.")).to_be_visible()
    expect(library.line).to_have_text("1 file read.", timeout=PATIENCE_MS)
    expect(library.row("leave.md")).to_contain_text("ready")
    shown.go("Ask")
    shown.ask("How many weeks of leave may a parent take?")
    shown.footnote(1).click()
    assert "sixteen weeks" in shown.marked


def test_a_file_beyond_the_limit_is_told_in_our_words_and_is_not_sent(
    served: Served, visit: Callable[..., Shown], tmp_path: Path
) -> None:
    with (tmp_path / "video.mov").open("wb") as file:
        file.truncate(60 * 1024 * 1024)
    shown = visit(served, "/library")
    sent: list[str] = []
    shown.page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    shown.page.locator('.st-key-hand input[type="file"]').set_input_files(tmp_path / "video.mov")
    words = "video.mov is 60.0 MB; the limit is 50 MB a file. Name its folder instead: nothing is copied then."
    expect(shown.page.get_by_text(words)).to_be_visible()
    shown.page.get_by_role("button", name="Close these words").click()
    expect(shown.page.get_by_text(words)).to_have_count(0)
    assert sent == []


def test_files_that_are_too_much_together_are_told_in_our_words_and_none_is_sent(
    small: Served, visit: Callable[..., Shown], tmp_path: Path
) -> None:
    large = [tmp_path / f"{i}.txt" for i in range(11)]
    for path in large:
        with path.open("wb") as file:
            file.truncate(49 * 1024 * 1024)
    shown = visit(small, "/library")
    sent: list[str] = []
    shown.page.on("request", lambda request: sent.append(request.url) if request.method == "PUT" else None)
    shown.page.locator('.st-key-hand input[type="file"]').set_input_files(large)
    words = "These files are 539.0 MB together; up to 500 MB can be added at once."
    expect(shown.page.get_by_text(words)).to_be_visible()
    assert sent == []
    Library(shown).drop(("ducks.md", "Ducks swim."))
    expect(Library(shown).line).to_have_text("1 file read.", timeout=PATIENCE_MS)


# A reading in every tab


def test_a_reading_shows_after_a_reload_and_to_others_can_be_asked_meanwhile_and_stopped_by_them(
    small: Served, visit: Callable[..., Shown], many: Path
) -> None:
    here, there = visit(small, "/library"), visit(small, "/library", size=PHONE)
    Library(here).read(many)
    running = re.compile(r"^[\d,]+ of 1,500 files · \d{4}\.md")
    expect(Library(here).line).to_have_text(running, timeout=PATIENCE_MS)
    here.page.reload()
    expect(Library(here).line).to_have_text(running, timeout=PATIENCE_MS)
    expect(here.page.get_by_text(re.compile(r"^You can ask already: [\d,]+ files are in\.$"))).to_be_visible()
    here.go("Ask")
    here.ask("Who published word2vec?")
    expect(Library(there).line).to_have_text(running, timeout=PATIENCE_MS)
    Library(there).press("Stop")
    stopped = re.compile(r"^Stopped at [\d,]+ of 1,500 files\. [\d,]+ files read\.$")
    expect(Library(there).line).to_have_text(stopped, timeout=PATIENCE_MS)
    here.go("Library")
    expect(Library(here).line).to_have_text(stopped, timeout=PATIENCE_MS)
    with Index.open(small.folder / "embeddings") as index:
        assert 23 < index.status().files < 1523


def test_a_reading_that_waits_for_another_program_says_so_and_goes_on_when_it_is_done(
    small: Served, visit: Callable[..., Shown], tmp_path: Path
) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "ducks.txt").write_text("Ducks swim.")
    library = Library(visit(small, "/library"))
    with write_lock(small.folder / "embeddings", doing="ingest"):
        library.read(tmp_path / "more")
        expect(library.line).to_contain_text("waits until another program is done: process", timeout=PATIENCE_MS)
    expect(library.line).to_have_text("1 file read.", timeout=PATIENCE_MS)
    library.page.get_by_label("Find a file").fill("duck")
    expect(library.rows).to_have_count(2)


def test_on_the_page_ask_why_files_were_set_aside_leads_to_them(
    fresh: Served, visit: Callable[..., Shown], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "leave.md").write_text("A parent may take sixteen weeks of leave for each child.")
    (notes / "empty.txt").touch()
    shown = visit(fresh)
    library = Library(shown)
    library.read(notes)
    expect(library.line).to_have_text("1 file read, 1 set aside.", timeout=PATIENCE_MS)
    library.press("Why")
    expect(library.rows).to_have_count(2)
    expect(library.row("empty.txt")).to_contain_text("set aside: is empty")


def test_who_presses_not_now_by_key_goes_on_from_there(
    small: Served, visit: Callable[..., Shown], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    for name in ("leave.md", "lunch.md"):
        (notes / name).write_text(f"Of {name}.")
    with Index.open(small.folder / "embeddings") as index:
        index.ingest(notes)
    (notes / "leave.md").write_text("Another.")
    library = Library(visit(small, "/library"))
    expect(library.line).to_have_text("leave.md changed after it was read.", timeout=PATIENCE_MS)
    not_now = library.page.get_by_role("button", name="Not now", exact=True)
    not_now.press("Enter")
    expect(not_now).to_have_count(0)
    library.page.keyboard.press("Tab")
    expect(library.page.get_by_label("Find a file")).to_be_focused()


def test_a_file_edited_behind_the_page_is_told_and_brought_up_to_date_at_a_press(
    small: Served, visit: Callable[..., Shown], tmp_path: Path
) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "leave.md").write_text("A parent may take sixteen weeks of leave for each child.")
    shown = visit(small, "/library")
    library = Library(shown)
    library.read(notes)
    expect(library.line).to_have_text("1 file read.", timeout=PATIENCE_MS)
    (notes / "leave.md").write_text("A parent may take twenty weeks of leave for each child.")
    shown = visit(small)
    library = Library(shown)
    expect(library.line).to_have_text("leave.md changed after it was read.", timeout=PATIENCE_MS)
    library.press("Bring up to date")
    expect(library.line).to_have_text("1 file read anew, 23 as before.", timeout=PATIENCE_MS)
    shown.ask("How many weeks of leave may a parent take for each child?")
    shown.footnote(1).click()
    assert "twenty weeks" in shown.marked


# Looking through


def test_files_are_found_while_one_types_and_those_set_aside_with_their_reasons(
    small: Served, visit: Callable[..., Shown]
) -> None:
    library = Library(visit(small, "/library"))
    library.drop(("empty.txt", " "), ("full.txt", "Ducks swim."))
    expect(library.line).to_have_text("1 file read, 1 set aside.", timeout=PATIENCE_MS)
    library.press("Why")
    expect(library.rows).to_have_count(2)
    expect(library.row("empty.txt")).to_contain_text("set aside: holds no readable text")
    find = library.page.get_by_label("Find a file")
    find.press_sequentially("word2")
    expect(library.page.get_by_text("No file is called so.")).to_be_visible()
    find.press_sequentially("vec")
    library.page.get_by_role("button", name=re.compile("^All ")).click()  # before what was typed is sent by itself
    expect(library.row("word2vec.md")).to_contain_text("ready")
    expect(library.rows).to_have_count(2)
    expect(find).to_have_value("word2vec")


# Taking away


def test_removing_asks_first_and_escape_keeps_the_files(small: Served, visit: Callable[..., Shown]) -> None:
    library = Library(visit(small, "/library"))
    for name in ("autoencoders.pdf", "word2vec.md"):
        library.page.get_by_role("checkbox", name=f"Choose {name}").check()
    library.press("Remove…")
    question = "Remove 2 files from embeddings? The files themselves stay where they are."
    expect(library.dialog).to_contain_text(question)
    library.page.keyboard.press("Escape")
    expect(library.dialog).to_have_count(0)
    expect(library.row("autoencoders.pdf")).to_be_visible()
    library.press("Remove…")
    library.dialog.get_by_role("button", name="Remove", exact=True).click()
    expect(library.dialog).to_have_count(0)
    expect(library.page.get_by_text("2 files removed from embeddings.")).to_be_visible()
    expect(library.row("autoencoders.pdf")).to_have_count(0)
    expect(library.page.get_by_text("2 files chosen")).to_have_count(0)


def test_a_dialog_gives_the_focus_back_to_what_opened_it(small: Served, visit: Callable[..., Shown]) -> None:
    library = Library(visit(small, "/library"))
    for opens, closes in (("Delete index…", "Escape"), ("Rename…", "Cancel"), ("About this index", "Escape")):
        library.press(opens)
        expect(library.dialog).to_be_visible()
        if closes == "Cancel":
            library.dialog.get_by_role("button", name="Cancel", exact=True).click()
        else:
            library.page.keyboard.press(closes)
        expect(library.dialog).to_have_count(0)
        expect(library.page.get_by_role("button", name=opens, exact=True)).to_be_focused()
    library.page.get_by_role("checkbox", name="Choose word2vec.md").check()
    library.press("Remove…")
    expect(library.dialog).to_be_visible()
    library.page.keyboard.press("Escape")
    expect(library.page.get_by_role("button", name="Remove…", exact=True)).to_be_focused()


def test_a_box_keeps_the_focus_while_the_rows_change_beside_it(small: Served, visit: Callable[..., Shown]) -> None:
    library = Library(visit(small, "/library"))
    box = library.page.get_by_role("checkbox", name="Choose word2vec.md")
    box.focus()
    library.drop(("aardvarks.md", "Aardvarks dig."))
    expect(library.row("aardvarks.md")).to_contain_text("ready", timeout=PATIENCE_MS)
    expect(box).to_be_focused()


def test_enter_makes_an_index_and_what_is_wrong_with_its_name_is_said_aloud(
    small: Served, visit: Callable[..., Shown]
) -> None:
    library = Library(visit(small, "/library"))
    library.press("New index…")
    name = library.dialog.get_by_label("Name")
    expect(library.dialog.get_by_role("button", name="Cancel")).to_be_visible()  # the form is whole: Enter sends it
    name.fill("a/b")
    name.press("Enter")
    expect(library.dialog.get_by_role("alert")).to_contain_text("A name has at most 80 characters")
    name.fill("Second")
    name.press("Enter")
    expect(library.dialog).to_have_count(0)
    expect(library.page.get_by_role("heading", level=1)).to_have_text("Second")


def test_an_index_gets_another_name_and_the_address_has_it(small: Served, visit: Callable[..., Shown]) -> None:
    library = Library(visit(small, "/library"))
    library.press("Rename…")
    library.dialog.get_by_label("Name").fill("Course 2026")
    library.dialog.get_by_role("button", name="Rename", exact=True).click()
    expect(library.page.get_by_role("heading", level=1)).to_have_text("Course 2026")
    library.page.wait_for_url("**/library?index=Course+2026")
    assert (small.folder / "Course 2026" / "index.sqlite").exists()
    library.shown.go("Ask")
    library.shown.ask("Who published word2vec?")


# What holds for every page


def test_names_that_are_markup_stay_text_wherever_they_are_shown(small: Served, visit: Callable[..., Shown]) -> None:
    library = Library(visit(small, "/library"))
    library.drop((HOSTILE, "<script>window.hacked = 'text'</script> Bees make honey."))
    expect(library.line).to_have_text("1 file read.", timeout=PATIENCE_MS)
    library.page.get_by_label("Find a file").fill("onerror")
    expect(library.rows).to_have_count(2)
    expect(library.row(HOSTILE)).to_be_visible()
    library.page.get_by_role("checkbox", name="All files shown").check()
    library.press("Remove…")
    expect(library.dialog).to_contain_text(f"Remove {HOSTILE} from embeddings?")
    assert library.page.evaluate("() => window.hacked ?? null") is None
    assert library.page.locator("img[src='x']").count() == 0


@pytest.mark.parametrize("dark", [False, True])
def test_axe_finds_nothing_serious(served: Served, visit: Callable[..., Shown], dark: bool) -> None:
    library = Library(visit(served, "/library", dark=dark))
    expect(library.row("word2vec.md")).to_be_visible()
    assert library.shown.findings() == []
    library.page.get_by_role("checkbox", name="Choose word2vec.md").check()
    library.press("Remove…")
    expect(library.dialog).to_be_visible()
    assert library.shown.findings() == []


def test_on_a_phone_nothing_scrolls_sideways_and_all_can_be_reached(
    served: Served, visit: Callable[..., Shown]
) -> None:
    library = Library(visit(served, "/library", size=PHONE))
    expect(library.row("word2vec.md")).to_contain_text("ready")
    assert not library.shown.scrolls_sideways()
    library.page.get_by_role("checkbox", name="Choose word2vec.md").check()
    library.press("Remove…")
    expect(library.dialog).to_be_visible()
    assert not library.shown.scrolls_sideways()
    assert library.shown.findings() == []
