"""The Library page without a browser: what it shows of an index, and what each control does."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

import rag
from rag.errors import UsageError
from rag.locks import write_lock
from rag.store import FileState
from rag.uploads import UPLOADS, kept_at
from tests.apps import AppTest
from tests.fakes import HashingEncoder, QueuedGenerator
from ui.access import owner
from ui.answering import Running
from ui.changes import Changed
from ui.jobs import Job, Jobs
from ui.keeping import FILE_NAME
from ui.library import first_name, named_folder
from ui.limits import UPLOAD_VARIABLE
from ui.reading import Finished, Standing, Task, Told, read
from ui.shelf import Look, at_home, files_view, reading_view, removal_words, report_words, time_left
from ui.shell import open_index
from ui.threads import Threads

SECONDS = 60
HOSTILE = "<img src=x onerror=alert(1)> :red[x] ![p](http:y) $z$ `c`"


def script() -> None:
    from ui import library
    from ui.shell import guarded, heed_address

    heed_address("library")
    guarded(library.page)()


class Library:
    """The page under `AppTest`."""

    def __init__(self, **link: str) -> None:
        self.app = AppTest.from_function(script, default_timeout=60)
        for key, value in link.items():
            self.app.query_params[key] = value
        self.app.run()
        assert not self.app.exception

    def run(self) -> None:
        self.app.run()
        assert not self.app.exception

    def parts(self, kind: str) -> list[Any]:
        found = [(part, json.loads(part.proto.json)) for part in self.app.get("bidi_component")]
        return [(part, data) for part, data in found if data.get("kind") == kind]

    def part(self, kind: str) -> Any:
        """What a part is given."""
        [(_, data)] = self.parts(kind)
        return data

    def send(self, kind: str, what: str, value: Any = None) -> None:
        """What library.js sends when something is done in that part."""
        [(part, _)] = self.parts(kind)
        states = self.app._tree.get_widget_states()
        event = json.dumps([{"event": "do", "value": {"what": what, "value": value}}])
        trigger = f"$$STREAMLIT_INTERNAL_KEY_{part.proto.id}__events"
        states.widgets.append(WidgetState(id=trigger, json_trigger_value=event))
        self.app._run(states)
        assert not self.app.exception

    def look(self, find: str = "", *, standing: str = "all") -> None:
        """What is looked at in the table."""
        self.send("files", "look", {"find": find, "standing": standing})

    def press(self, label: str) -> None:
        [button] = [button for button in self.app.button if button.label == label]
        button.click().run()
        assert not self.app.exception

    def drop(self, *files: tuple[str, bytes]) -> None:
        self.app.file_uploader[0].set_value([(name, content, "text/plain") for name, content in files]).run()
        assert not self.app.exception

    def name_folder(self, path: str) -> None:
        [box] = [box for box in self.app.text_input if box.label == "Or a folder on this computer"]
        box.set_value(path)
        self.press("Read")

    @property
    def said(self) -> list[str]:
        said: list[str] = self.part("said")["said"]
        return said

    @property
    def names(self) -> list[str]:
        return [row["label"] for row in self.part("files")["rows"]]

    @property
    def dialog_words(self) -> list[str]:
        return [line for _, data in self.parts("words") for line in data["lines"]]


@pytest.fixture
def jobs(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    """The readings of this test, done in this process with the fake encoder."""
    jobs = Jobs(read)
    monkeypatch.setattr("ui.library.jobs", lambda: jobs)
    return jobs


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> Path:
    """An empty folder of indexes."""
    import streamlit

    streamlit.cache_resource.clear()
    indexes = tmp_path / "indexes"
    monkeypatch.setenv("FOOTNOTE_INDEXES", str(indexes))
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    return indexes


@pytest.fixture
def handbook(folder: Path, docs: Path) -> Iterator[rag.Index]:
    (docs / "empty.txt").touch()
    with rag.Index.create(folder / "handbook", encoder=HashingEncoder()) as index:
        index.ingest(docs)
        yield index


def finish(jobs: Jobs, index: Path) -> Job:
    """The last reading of an index, when it is over."""
    return jobs.wait(jobs.of(index)[-1].number, lambda job: job.is_over, seconds=SECONDS)


class Held:
    """A reading that stands still until it is let go, or stopped."""

    def __init__(self) -> None:
        self.go = Event()

    def __call__(self, task: Task, tell: Callable[[Told], None], stop: Event) -> None:
        tell(Standing(412, 1030, 398, 2000, "report.pdf", 400, 1000))
        while not (stop.wait(0.005) or self.go.is_set()):
            pass
        zero = dict.fromkeys(["read", "unchanged", "moved", "removed"], 0)
        report = {**zero, "skipped": {}, "set_aside": [], "stopped": stop.is_set()}
        tell(Finished(report, edited=0))


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """Readings that stand still until they are stopped, or the test ends."""
    held = Held()
    jobs = Jobs(held)
    monkeypatch.setattr("ui.library.jobs", lambda: jobs)
    yield jobs
    held.go.set()


# What is in it


def test_every_file_is_listed_with_how_it_stands_and_why_one_was_set_aside(handbook: rag.Index) -> None:
    page = Library()
    assert page.part("head")["title"] == "handbook"
    assert page.part("head")["text"].startswith("3 files ready · 1 set aside · 3 passages · last read today, ")
    rows = [(row["folder"], row["name"], row["state"], row["passages"]) for row in page.part("files")["rows"]]
    assert rows == [
        ("", "apples.txt", "ready", 1),
        ("", "bees.txt", "ready", 1),
        ("", "empty.txt", "set aside: is empty (0 bytes)", 0),
        ("sub", "cows.txt", "ready", 1),
    ]
    assert page.part("files")["counts"] == {"all": 4, "ready": 3, "aside": 1}
    assert page.app.query_params == {"index": "handbook"}


def test_files_are_found_by_any_part_of_their_names_or_of_why_they_were_set_aside(handbook: rag.Index) -> None:
    page = Library()
    page.look("SUB cow")
    assert page.names == ["sub/cows.txt"]
    page.look("bytes")
    assert page.names == ["empty.txt"]
    page.look(standing="aside")
    assert page.names == ["empty.txt"]
    page.look(standing="nonsense")
    page.send("files", "page", {"not": "a number"})
    assert page.names == ["empty.txt"]


def test_ten_thousand_files_come_page_by_page() -> None:
    files = [FileState("/d", f"{i:05}.md", f"{i:05}.md", 1, 2, 10, 0, None, ()) for i in range(10_000)]
    view: Any = files_view(files, Look(page=3))
    assert [len(view["rows"]), view["first"], view["n"], view["pages"]] == [50, 151, 10_000, 200]
    assert view["rows"][0]["name"] == "00150.md"
    last: Any = files_view(files, Look(find="0999", page=999))
    assert (last["page"], last["n"], len(last["rows"])) == (0, 10 + 1, 11)
    none: Any = files_view(files, Look(find="nowhere"))
    assert (none["rows"], none["first"], none["pages"]) == ([], 0, 1)


def test_of_several_folders_each_file_tells_which_it_is_from() -> None:
    files = [FileState(root, "a.md", "a.md", 1, 1, 1, 0, None, ()) for root in ("/x/one", "/y/one", "/z/two", UPLOADS)]
    view: Any = files_view(files, Look())
    assert [(row["folder"], row["kept"]) for row in view["rows"]] == [
        ("/x/one", ""),
        ("/y/one", ""),
        ("two", ""),
        ("", "added here"),
    ]
    assert len({row["id"] for row in view["rows"]}) == 4


def test_facts_are_those_of_the_status(handbook: rag.Index, docs: Path) -> None:
    page = Library()
    page.press("About this index")
    facts = dict(page.part("facts")["facts"])
    assert (facts["Documents"], facts["Passages"], facts["Folders"]) == ("3 in 3 files", "3", str(docs))
    assert facts["Reading model"].startswith("hashing (fake). ")
    assert facts["Made"].startswith("today, ")


def test_a_damaged_index_is_told_in_words_and_can_be_deleted(folder: Path) -> None:
    (folder / "broken").mkdir(parents=True)
    (folder / "broken/index.sqlite").write_bytes(b"not a database, whatever its name says" * 100)
    page = Library()
    assert page.part("head")["title"] == "broken cannot be read."
    page.press("Delete index…")
    page.press("Delete")
    assert not (folder / "broken").exists()


def test_markup_in_names_reaches_the_parts_as_data_and_no_label(folder: Path, docs: Path) -> None:
    (docs / f"{HOSTILE.replace('/', '')}.txt").write_text("Bees.")
    with rag.Index.create(folder / "odd :red[x] ![y](z)", encoder=HashingEncoder()) as index:
        index.ingest(docs)
    page = Library()
    page.look("onerror")
    [row] = page.part("files")["rows"]
    page.send("files", "remove", [row["id"]])
    assert HOSTILE.replace("/", "") in page.dialog_words[0]
    assert not page.app.markdown
    labels = [widget.label for widget in (*page.app.button, *page.app.text_input, *page.app.file_uploader)]
    assert not any("red[" in label or "onerror" in label for label in labels)


# Adding


def test_dropped_files_are_read_and_told_with_those_that_were_not_taken(handbook: rag.Index, jobs: Jobs) -> None:
    page = Library()
    page.drop(("../ants.md", b"# Ants\n\nAnts carry leaves."), ("old.doc", b"x"))
    assert page.said == ["old.doc: a format this version cannot read; save it as .docx."]
    job = finish(jobs, handbook.path)
    assert (job.state, job.task.title, job.task.uploads) == ("done", "ants.md", ("ants.md",))
    page.run()
    assert page.part("reading")["text"] == "1 file read."
    assert page.names[0] == "ants.md"
    assert page.part("files")["rows"][0]["kept"] == "added here"
    assert handbook.document("ants.md").title == "Ants"
    page.send("said", "close")
    assert page.said == []


def test_the_place_to_drop_files_lets_go_of_what_was_taken(handbook: rag.Index, jobs: Jobs) -> None:
    page = Library()
    page.drop(("ants.md", b"Ants carry leaves."))
    assert page.app.file_uploader[0].value == []
    finish(jobs, handbook.path)


@pytest.mark.parametrize("name", ["ants.md", "old.doc"])
def test_streamlit_holds_nothing_of_what_was_dropped_whether_it_was_taken_or_not(
    handbook: rag.Index, jobs: Jobs, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    managers: list[MemoryUploadedFileManager] = []
    add_file = MemoryUploadedFileManager.add_file

    def added(self: MemoryUploadedFileManager, session: str, file: Any) -> None:
        managers.append(self)
        add_file(self, session, file)

    monkeypatch.setattr(MemoryUploadedFileManager, "add_file", added)
    page = Library()
    page.drop((name, b"Ants carry leaves."))
    assert managers
    assert [list(files) for manager in managers for files in manager.file_storage.values()] == [[]]


def test_a_second_file_of_a_name_takes_the_place_of_the_first_and_the_page_says_so(
    handbook: rag.Index, jobs: Jobs
) -> None:
    page = Library()
    page.drop(("week.txt", b"Lunch is soup."))
    finish(jobs, handbook.path)
    page.drop(("week.txt", b"Lunch is stew."))
    finish(jobs, handbook.path)
    page.run()
    assert page.part("reading")["text"] == "1 file read anew."
    assert page.said == ["week.txt took the place of the one before."]
    assert handbook.document("week.txt").text == "Lunch is stew."


def test_the_place_to_drop_files_says_how_large_they_may_be(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(UPLOAD_VARIABLE, "7")
    assert Library().app.file_uploader[0].label == "Add files: drop them here, up to 7 MB each"


def test_files_that_the_browser_does_not_send_are_told_in_our_words(handbook: rag.Index) -> None:
    page = Library()
    big = {"files": [{"name": "video.mov", "size": 1_288_490_189}], "all": True}
    page.send("said", "large", big)
    words = "video.mov is 1.2 GB; the limit is 50 MB a file. Name its folder instead: nothing is copied then."
    assert page.said == [words]
    page.send("said", "large", {**big, "all": False})
    page.drop(("old.doc", b"x"))
    assert page.said == ["old.doc: a format this version cannot read; save it as .docx.", words]
    page.send("said", "much", 1_288_490_189)
    assert page.said == [
        "These files are 1.2 GB together; up to 500 MB can be added at once. "
        "Name their folder instead: nothing is copied then."
    ]
    page.send("said", "large", "nonsense")
    page.send("said", "large", {"files": "x", "all": 3})


def test_a_folder_is_named_and_read(handbook: rag.Index, jobs: Jobs, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "ducks.txt").write_text("Ducks swim.")
    page = Library()
    page.name_folder(f'  "{tmp_path / "more"}" ')
    finish(jobs, handbook.path)
    page.run()
    assert "ducks.txt" in page.names
    assert page.said == []


def test_a_folder_that_is_none_is_told_and_kept_in_the_box(handbook: rag.Index, jobs: Jobs) -> None:
    page = Library()
    page.name_folder("/nowhere/at/all")
    assert page.said == ["There is no folder '/nowhere/at/all' on this computer."]
    assert page.app.text_input[0].value == "/nowhere/at/all"
    assert jobs.of(handbook.path) == []


@pytest.mark.parametrize("typed", ["", "  ", "relative/path", "~nobody-of-this-name/x", "a\0b", "/a\0b", "x" * 10_000])
def test_what_is_no_whole_path_of_anything_is_refused_in_words(typed: str) -> None:
    with pytest.raises(UsageError, match=r"Name (a folder|the whole path)|There is no folder"):
        named_folder(typed)


def test_the_first_folder_makes_an_index_of_its_name(folder: Path, docs: Path, jobs: Jobs) -> None:
    page = Library()
    assert page.part("head")["title"] == "Library"
    page.name_folder(str(docs))
    finish(jobs, folder / "docs")
    page.run()
    assert page.part("head")["title"] == "docs"
    assert page.names == ["apples.txt", "bees.txt", "sub/cows.txt"]
    assert first_name(Path("/")) == "documents"


def test_the_first_files_make_an_index(folder: Path, jobs: Jobs) -> None:
    page = Library()
    page.drop(("bees.txt", b"Bees make honey."))
    finish(jobs, folder / "documents")
    page.run()
    assert (page.part("head")["title"], page.names) == ("documents", ["bees.txt"])


@pytest.mark.parametrize("add", ["drop", "name", "check"])
def test_what_is_added_in_an_old_tab_makes_no_index_of_a_name_that_has_gone(
    handbook: rag.Index, jobs: Jobs, folder: Path, docs: Path, add: str
) -> None:
    page = Library()
    rag.Index.rename(folder / "handbook", "manual")  # in another tab
    match add:
        case "drop":
            page.drop(("ants.md", b"Ants carry leaves."))
        case "name":
            page.name_folder(str(docs))
        case "check":
            page.press("Check for changes")
    assert page.said == ["This index was renamed or deleted meanwhile."]
    assert jobs.of(folder / "handbook") == []
    assert [entry.name for entry in folder.iterdir() if entry.is_dir()] == ["manual"]


# A reading


def test_a_reading_is_told_in_every_tab_and_stopped_from_any(handbook: rag.Index, held: Jobs) -> None:
    here, there = Library(), Library()
    here.drop(("ants.md", b"Ants."))
    number = held.of(handbook.path)[0].number
    held.wait(number, lambda job: job.standing.files_done > 0, seconds=SECONDS)
    for page in (here, there, Library()):  # the last is a reload
        page.run()
        line = page.part("reading")
        assert line["text"] == "412 of 1,030 files · report.pdf"
        assert line["more"] == "You can ask already: 398 files are in."
        assert (line["share"], line["actions"]) == (0.4, [["stop", "Stop"]])
    there.send("reading", "stop", number)
    held.wait(number, lambda job: job.is_over, seconds=SECONDS)
    here.run()
    assert here.part("reading")["text"] == "Stopped at 412 of 1,030 files. There was nothing to read."
    assert here.part("reading")["actions"] == [["dismiss", "Leave it"], ["go on", "Go on"]]
    here.send("reading", "go on")
    assert held.active(handbook.path) is not None


def test_what_waits_behind_a_reading_is_told_and_can_be_taken_out(handbook: rag.Index, held: Jobs, docs: Path) -> None:
    page = Library()
    page.drop(("ants.md", b"Ants."))
    page.name_folder(str(docs))
    page.run()
    [waits] = page.part("reading")["queued"]
    assert waits["text"] == f"Next: {at_home(str(docs))}"
    page.send("reading", "stop", waits["number"])
    page.run()
    assert page.part("reading")["queued"] == []


def test_nothing_is_removed_renamed_or_deleted_while_files_are_read(
    handbook: rag.Index, held: Jobs, folder: Path
) -> None:
    page = Library()
    page.drop(("ants.md", b"Ants."))
    page.run()
    assert page.part("files")["locked"].startswith("Files are being read.")
    page.send("files", "remove", "all")
    page.press("Remove")
    assert page.dialog_words[-1].startswith("Files are being read into it.")
    page.press("Cancel")
    for opens, does in (("Rename…", "Rename"), ("Delete index…", "Delete")):
        page.press(opens)
        if does == "Rename":
            page.app.text_input(key="library.name").set_value("other")
        page.press(does)
        assert page.dialog_words[-1].startswith("Files are being read into it.")
        page.press("Cancel")
    assert (folder / "handbook").exists()
    assert handbook.status().files == 3


def test_what_an_ended_server_left_can_go_on_or_be_left(handbook: rag.Index, jobs: Jobs, docs: Path) -> None:
    stopped = Held()
    earlier = Jobs(stopped)
    earlier.start(Task(handbook.path, "~/docs", (str(docs),)))
    page = Library()
    assert page.part("reading")["text"] == "The last reading of ~/docs was not finished."
    page.send("reading", "go on")
    assert finish(jobs, handbook.path).state == "done"
    page.run()
    assert page.part("reading")["text"] == "3 files, as before, 1 set aside."
    assert page.part("reading")["actions"] == [["aside", "Why"], ["dismiss", "Close"]]
    page.send("reading", "aside")
    page.run()
    assert page.names == ["empty.txt"]
    page.send("reading", "dismiss")
    assert page.part("reading")["state"] == "none"
    stopped.go.set()


def test_leaving_what_was_not_read_deletes_its_copies(handbook: rag.Index, jobs: Jobs) -> None:
    copy = kept_at(handbook.path, "ants.md")
    copy.parent.mkdir()
    copy.write_text("Ants.")
    stopped = Held()
    Jobs(stopped).start(Task(handbook.path, "ants.md", uploads=("ants.md",)))
    page = Library()
    page.send("reading", "dismiss")
    assert not copy.exists()
    assert page.part("reading")["state"] == "none"
    stopped.go.set()


def test_leaving_it_deletes_the_copies_where_no_index_was_made_and_while_another_program_writes(
    folder: Path, held: Jobs, docs: Path
) -> None:
    page = Library()
    page.drop(("ants.md", b"Ants carry leaves."))
    home = folder / "documents"
    held.stop(held.of(home)[0].number)
    assert finish(held, home).state == "stopped"
    page.run()
    with write_lock(home, doing="ingest"):
        page.send("reading", "dismiss")
    assert not kept_at(home, "ants.md").exists()
    assert (held.of(home), held.unfinished(home)) == ([], [])


def test_a_copy_that_a_later_reading_is_to_read_stays_when_an_earlier_one_is_left(
    handbook: rag.Index, held: Jobs
) -> None:
    page = Library()
    page.drop(("ants.md", b"Ants."))
    page.run()
    held.stop(held.of(handbook.path)[0].number)
    finish(held, handbook.path)
    page.drop(("ants.md", b"Ants."), ("bees.md", b"Bees."))
    page.send("reading", "dismiss")  # with a page from before
    assert kept_at(handbook.path, "ants.md").exists()


def test_another_program_that_writes_is_named(handbook: rag.Index) -> None:
    with write_lock(handbook.path, doing="ingest"):
        page = Library()
        assert page.part("reading")["text"].startswith("Another program writes to this index just now: process ")
    page.run()
    assert page.part("reading")["state"] == "none"


def looked(index: rag.Index) -> None:
    """The files of an index were looked at once."""
    assert open_index(index.path).changes.wait(SECONDS)


def test_a_file_that_changed_since_is_told_and_brought_up_to_date(handbook: rag.Index, jobs: Jobs, docs: Path) -> None:
    (docs / "bees.txt").write_text("Bees make wax.")
    page = Library()
    looked(handbook)
    page.run()
    line = page.part("reading")
    assert (line["state"], line["text"]) == ("due", "bees.txt changed after it was read.")
    page.send("reading", "check")
    assert finish(jobs, handbook.path).state == "done"
    page.run()
    looked(handbook)
    page.run()
    assert page.part("reading")["text"].startswith("1 file read")
    assert handbook.document("bees.txt").text == "Bees make wax."


def test_what_one_does_not_want_to_hear_of_now_is_told_again_when_more_has_changed(
    handbook: rag.Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ui.changes._EVERY_S", 0)
    monkeypatch.setattr("ui.changes._SHARE", 0)
    (docs / "bees.txt").unlink()
    page = Library()
    looked(handbook)
    page.run()
    assert page.part("reading")["text"] == "bees.txt is not where it was any more."
    page.send("reading", "leave")
    page.run()
    assert page.part("reading")["state"] == "none"
    (docs / "apples.txt").write_text("Apples fall.")
    page.run()
    looked(handbook)
    page.run()
    assert page.part("reading")["text"] == "1 file changed after it was read, and 1 has gone."


def test_what_was_left_out_before_stays_out_when_changes_are_read(folder: Path, jobs: Jobs, docs: Path) -> None:
    with rag.Index.create(folder / "handbook", encoder=HashingEncoder()) as index:
        index.ingest(docs, exclude=["bees*"])
        (docs / "apples.txt").write_text("Apples fall.")
        page = Library()
        page.press("Check for changes")
        report = finish(jobs, index.path).finished
        assert report is not None
        assert (report.edited, [file.name for file in index.files()]) == (1, ["apples.txt", "sub/cows.txt"])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (Changed(2, 0, "a.md"), "2 files changed after they were read."),
        (Changed(1, 2, "a.md"), "1 file changed after it was read, and 2 have gone."),
        (Changed(0, 1200, "a.md"), "1,200 files are not where they were any more."),
    ],
)
def test_changes_are_counted_in_words(changed: Changed, words: str) -> None:
    view = reading_view(None, changed=changed)
    assert (view["text"], view["actions"]) == (words, [["check", "Bring up to date"], ["leave", "Not now"]])
    assert ("forgets what has gone" in str(view["more"])) == (changed.gone > 0)


def test_not_now_said_twice_is_said_once(handbook: rag.Index, docs: Path) -> None:
    (docs / "bees.txt").unlink()
    page = Library()
    looked(handbook)
    page.run()
    page.send("reading", "leave")
    page.send("reading", "leave")
    page.run()
    assert page.part("reading")["state"] == "none"


def test_not_now_said_of_one_index_says_nothing_of_another(handbook: rag.Index, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "more").mkdir()
    for home in (folder / "handbook", folder / "other"):
        with rag.Index.open_or_create(home, encoder=HashingEncoder()) as index:
            (tmp_path / "more" / "bees.txt").write_text("Bees make honey.")
            (tmp_path / "more" / "cats.txt").write_text("Cats sleep.")
            index.ingest(tmp_path / "more")
    (tmp_path / "more" / "cats.txt").write_text("Cats play.")
    page = Library()
    for name in ("handbook", "other"):
        page.app.query_params["index"] = name
        page.app.session_state["page"] = None  # as by a link
        page.run()
        assert open_index(folder / name).changes.wait(SECONDS)
        page.run()
        assert page.part("reading")["text"] == "cats.txt changed after it was read."
        page.send("reading", "leave")
        page.run()
        assert page.part("reading")["state"] == "none"


def test_nothing_is_renamed_or_deleted_while_a_question_is_answered_from_it(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Running, "is_busy", lambda self, index: index == str(handbook.path))
    words = "A question is being answered from it. Wait until it is done, then try again."
    page = Library()
    page.press("Rename…")
    page.app.text_input(key="library.name").set_value("manual")
    page.press("Rename")
    assert page.dialog_words[-1] == words
    page.press("Delete index…")
    page.press("Delete")
    assert page.dialog_words[-1] == words
    assert handbook.path.is_dir()


def test_changes_wait_while_something_else_is_told(handbook: rag.Index) -> None:
    changed = Changed(1, 0, "a.md")
    task = Task(handbook.path, "notes")
    assert reading_view(None, unfinished=[task], changed=changed)["state"] == "unfinished"
    assert reading_view(Job(1, task, "running"), changed=changed)["state"] == "running"
    assert reading_view(Job(1, task, "failed"), changed=changed)["state"] == "failed"
    assert reading_view(None, changed=Changed())["state"] == "none"


def test_changes_are_read_from_all_folders_and_uploads(handbook: rag.Index, jobs: Jobs, docs: Path) -> None:
    page = Library()
    (docs / "bees.txt").unlink()
    (docs / "ducks.txt").write_text("Ducks swim.")
    page.press("Check for changes")
    finish(jobs, handbook.path)
    page.run()
    assert page.part("reading")["text"] == "1 file read, 1 gone, 2 as before, 1 set aside."
    assert page.names == ["apples.txt", "ducks.txt", "empty.txt", "sub/cows.txt"]


# Taking away


def test_files_are_removed_when_that_was_confirmed_and_stay_on_the_disk(handbook: rag.Index, docs: Path) -> None:
    page = Library()
    ids = {row["label"]: row["id"] for row in page.part("files")["rows"]}
    page.send("files", "remove", [ids["bees.txt"], ids["empty.txt"], "stale"])
    assert page.dialog_words == [
        "Remove 2 files from handbook? The files themselves stay where they are.",
        "What is removed of a folder comes back when it is checked for changes, unless a .ragignore there names it.",
    ]
    page.press("Cancel")
    assert len(handbook.files()) == 4
    page.send("files", "remove", [ids["bees.txt"], ids["empty.txt"]])
    page.press("Remove")
    page.run()
    assert page.said == ["2 files removed from handbook."]
    assert page.names == ["apples.txt", "sub/cows.txt"]
    assert (docs / "bees.txt").exists()


def test_all_that_were_found_are_removed_at_once(handbook: rag.Index) -> None:
    page = Library()
    page.look("s.txt")
    page.send("files", "remove", "all")
    assert page.dialog_words[0].startswith("Remove 3 files from handbook?")
    page.press("Remove")
    assert [file.name for file in handbook.files()] == ["empty.txt"]


def test_what_comes_after_all_were_chosen_is_not_removed_with_them(handbook: rag.Index, docs: Path) -> None:
    page = Library()
    page.look("s.txt")
    page.send("files", "remove", "all")
    (docs / "ducks.txt").write_text("Ducks swim.")
    handbook.ingest(docs)  # by somebody else
    page.press("Remove")
    assert [file.name for file in handbook.files()] == ["ducks.txt", "empty.txt"]


def test_what_removing_means_is_told_for_copies_and_for_files() -> None:
    file = FileState("/d", "a.md", "a.md", 1, 1, 1, 0, None, ())
    copy = FileState(UPLOADS, "b.md", "b.md", 1, 1, 1, 0, None, ())
    other = FileState("/d", "c.md", "c.md", 1, 1, 1, 0, None, ())
    known = [file, copy, other]
    back = "What is removed of a folder comes back when it is checked for changes, unless a .ragignore there names it."
    assert removal_words([file], known, "X") == ("Remove a.md from X? The file itself stays where it is.", back)
    assert removal_words([copy], known, "X") == (
        "Remove b.md from X? With it goes the copy that was made when it was added here.",
        "",
    )
    assert removal_words(known, known, "X") == (
        "Remove 3 files from X? The files themselves stay where they are. 1 of them was added here: that copy goes.",
        "Nothing is left of /d then: it is checked for changes no longer.",
    )


def test_others_than_this_machines_people_name_no_folder_and_learn_of_none(
    handbook: rag.Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Library()
    monkeypatch.setenv("FOOTNOTE_PUBLIC", "1")
    page.name_folder(str(docs.parent))  # with a page from before
    assert handbook.status().roots == (str(docs),)
    page = Library()
    assert not page.app.text_input
    assert page.app.file_uploader
    page.press("About this index")
    facts = dict(page.part("facts")["facts"])
    assert facts["Folders"] == "docs"
    assert str(docs.parent) not in json.dumps(facts)


# The index as a whole


def test_an_index_is_renamed_and_the_page_goes_with_it(handbook: rag.Index, folder: Path) -> None:
    page = Library(index="handbook")
    page.press("Rename…")
    page.app.text_input(key="library.name").set_value("a/b")
    page.press("Rename")
    assert page.dialog_words[-1].startswith("A name has at most 80 characters")
    page.app.text_input(key="library.name").set_value("Manual")
    page.press("Rename")
    page.run()
    assert page.part("head")["title"] == "Manual"
    assert page.app.query_params == {"index": "Manual"}
    assert sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) == ["Manual"]
    assert page.names == ["apples.txt", "bees.txt", "empty.txt", "sub/cows.txt"]


@pytest.mark.parametrize(
    ("name", "words"), [(" ", "Give it a name."), ("HANDBOOK", "There is an index 'HANDBOOK' already")]
)
def test_a_name_that_will_not_do_is_told_in_words_for_people(handbook: rag.Index, name: str, words: str) -> None:
    rag.Index.create(handbook.path.with_name("other"), encoder=HashingEncoder()).close()
    page = Library(index="other")
    for button, confirm in (("New index…", "Make it"), ("Rename…", "Rename")):
        page.press(button)
        page.app.text_input(key="library.name").set_value(name)
        page.press(confirm)
        assert page.dialog_words[-1].startswith(words)


@pytest.mark.parametrize("name", ["page.sqlite", "PAGE.SQLITE-wal", "a.sqlite-shm"])
def test_no_index_takes_the_name_of_the_file_that_the_page_keeps(handbook: rag.Index, folder: Path, name: str) -> None:
    page = Library()
    page.press("New index…")
    page.app.text_input(key="library.name").set_value(name)
    page.press("Make it")
    assert page.dialog_words[-1].endswith("ends neither with a full stop nor as files of databases do.")
    assert [entry.name for entry in folder.iterdir()] == ["handbook"]


def test_a_new_index_is_made_empty_and_shown(handbook: rag.Index, folder: Path) -> None:
    page = Library()
    page.press("New index…")
    page.app.text_input(key="library.name").set_value("handbook")
    page.press("Make it")
    assert "there is an index in" in page.dialog_words[-1]
    page.app.text_input(key="library.name").set_value("Second")
    page.press("Make it")
    page.run()
    assert page.part("head") == {
        "kind": "head",
        "title": "Second",
        "text": "Nothing is in here yet. Add files, or a folder.",
    }


def test_deleting_names_the_index_and_leaves_its_documents(handbook: rag.Index, folder: Path, docs: Path) -> None:
    rag.Index.create(folder / "other", encoder=HashingEncoder()).close()
    page = Library(index="handbook")
    page.press("Delete index…")
    assert page.dialog_words[0] == "Delete the index handbook?"
    page.press("Delete")
    page.run()
    assert page.part("head")["title"] == "other"
    assert page.said == ["The index handbook was deleted."]
    assert not (folder / "handbook").exists()
    assert (docs / "bees.txt").exists()


def test_threads_follow_an_index_that_is_renamed_and_go_with_one_that_is_deleted_if_that_is_wished(
    handbook: rag.Index, folder: Path
) -> None:
    threads = Threads(folder / FILE_NAME)
    answer = rag.Pipeline(rag.Retriever(handbook), generator=QueuedGenerator(rag.Draft((), 0.0))).ask("Who?")
    for whose in (owner(), "another"):
        threads.add(whose, answer, handbook)
    page = Library()
    page.press("Rename…")
    page.app.text_input(key="library.name").set_value("Manual")
    page.press("Rename")
    assert [thread.index for thread in threads.list(owner())] == ["Manual"]
    page.run()
    page.press("Delete index…")
    page.app.checkbox[0].check()
    page.press("Delete")
    assert not threads.list(owner())
    assert len(threads.list("another")) == 1


def test_what_was_deleted_or_renamed_is_done_with_even_if_its_threads_cannot_be_changed(
    handbook: rag.Index, folder: Path
) -> None:
    rag.Index.create(folder / "almanac", encoder=HashingEncoder()).close()
    (folder / FILE_NAME).write_bytes(b"no file of threads" * 100)
    page = Library(index="handbook")
    page.press("Rename…")
    page.app.text_input(key="library.name").set_value("Manual")
    page.press("Rename")
    page.run()
    assert (page.part("head")["title"], page.dialog_words) == ("Manual", [])
    assert page.said[0].startswith("The index was renamed; its threads still name it handbook: ")
    page.press("Delete index…")
    page.app.checkbox[0].check()
    page.press("Delete")
    page.run()
    assert (page.part("head")["title"], page.dialog_words) == ("almanac", [])
    assert page.said[0].startswith("The index was deleted; its threads could not be removed: ")
    assert (folder / "almanac" / "index.sqlite").exists()


@pytest.mark.parametrize("opens", ["Delete index…", "Rename…"])
def test_a_dialog_about_an_index_that_has_gone_is_closed_and_asks_about_no_other(
    handbook: rag.Index, folder: Path, opens: str
) -> None:
    rag.Index.create(folder / "almanac", encoder=HashingEncoder()).close()
    page = Library(index="handbook")
    page.press(opens)
    rag.Index.rename(folder / "handbook", "manual")  # by somebody else
    page.run()
    assert page.part("head")["title"] == "almanac"
    assert (page.dialog_words, page.said) == ([], ["This index was renamed or deleted meanwhile."])
    assert "Cancel" not in [button.label for button in page.app.button]


def test_an_index_that_goes_while_its_dialog_is_open_is_told_in_words(handbook: rag.Index, folder: Path) -> None:
    rag.Index.create(folder / "almanac", encoder=HashingEncoder()).close()
    page = Library(index="handbook")
    page.press("Rename…")
    page.app.text_input(key="library.name").set_value("other")
    rag.Index.rename(folder / "handbook", "manual")  # by somebody else
    page.press("Rename")
    assert page.said == ["This index was renamed or deleted meanwhile."]
    assert sorted(entry.name for entry in folder.iterdir() if entry.is_dir()) == ["almanac", "manual"]


def test_a_dialog_stays_open_when_the_page_is_drawn_anew(handbook: rag.Index) -> None:
    page = Library()
    page.press("Delete index…")
    page.run()
    assert page.dialog_words[0] == "Delete the index handbook?"


# Words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "a few seconds"),
        (31, "30 s"),
        (54, "50 s"),
        (56, "1 min"),
        (185, "3 min"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
    ],
)
def test_time_left_is_told_as_people_say_it(seconds: float, words: str) -> None:
    assert time_left(seconds) == words


def test_the_line_of_a_reading_names_file_count_and_time(tmp_path: Path) -> None:
    job = Job(1, Task(tmp_path, "~/docs"), "running")

    def line(**changes: Any) -> str:
        return str(reading_view(replace(job, **changes))["text"])

    assert line() == "Looking through ~/docs"
    standing = Standing(412, 1030, 398, 0, "report.pdf", 1, 2)
    assert line(standing=standing, seconds_left=185.0) == "412 of 1,030 files · report.pdf · 3 min left"
    assert line(standing=Standing(1030, 1030, 398)) == "1,030 of 1,030 files · finishing"
    assert line(standing=standing, state="stopping") == "Stopping after report.pdf"
    assert line(waits_for="process 7") == "~/docs waits until another program is done: process 7."
    assert line(state="failed", problem="no.") == "~/docs: no."
    assert reading_view(replace(job, state="failed"))["actions"] == [["go on", "Try again"], ["dismiss", "Leave it"]]


def test_a_report_is_told_with_what_was_left_alone() -> None:
    report = {
        "read": 1027,
        "unchanged": 0,
        "moved": 2,
        "removed": 0,
        "set_aside": [{}, {}, {}],
        "skipped": {".jpg": 40, ".png": 3, ".a": 1, ".b": 1, ".c": 1},
    }
    assert report_words(report, edited=5) == (
        "1,027 files read, 5 of them anew, 2 moved, 3 set aside.",
        "Left alone, as they are of no kind that is read: .jpg (40), .png (3), .a (1), .b (1) and 1 more.",
    )


def test_a_path_below_home_is_told_from_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "home", lambda: Path("/home/ada"))
    assert [at_home(path) for path in ("/home/ada/x", "/home/ada", "/home/adam/x")] == ["~/x", "~", "/home/adam/x"]


def test_a_link_to_an_index_that_is_not_there_says_so_and_shows_another_by_its_name(handbook: rag.Index) -> None:
    page = Library(index="gone")
    assert page.said == ["There is no index 'gone' here."]
    assert page.part("head")["title"] == "handbook"
    page.run()
    assert page.app.query_params == {"index": "handbook"}
