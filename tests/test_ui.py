"""The page: what its values say (`ui.render`), what Streamlit makes of them, and how the server is started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from streamlit.proto.WidgetStates_pb2 import WidgetState

import rag
from rag.calibration import Outcome
from rag.errors import GeneratorError, UsageError
from rag.pipeline import NOT_FOUND
from tests.apps import AppTest
from tests.fakes import HashingEncoder, QueuedWriter
from tests.test_settings import calibration
from ui import server
from ui.access import PUBLIC_VARIABLE, owner
from ui.components import WEB
from ui.jobs import Jobs
from ui.keeping import FILE_NAME
from ui.reading import Standing, Task, Told
from ui.render import find_indexes
from ui.settings import Settings, SettingsFile
from ui.shell import open_index, running
from ui.threads import Threads

APP = str(Path(server.__file__).with_name("app.py"))
LEAVE = """\
# Leave

## Parental leave

A parent may take up to 16 weeks of leave for each child.

Ask your lead first.
"""
SECTIONS = (rag.Section(0, 8, "Leave"), rag.Section(9, 27, "Leave > Parental leave"))
HOSTILE = (
    '<img src=x onerror=alert(1)> ![pixel](http://example.com/x.png) :red[weeks] $x$ <script>alert("weeks")</script>'
)


class Quoting:
    """Answers with the whole first passage that shares a word of more than four letters with the question."""

    name = "quoting"

    def generate(self, question: str, passages: Sequence[rag.Hit]) -> rag.Draft:
        wanted = {word for word in question.lower().strip("?").split() if len(word) > 4}
        for i, hit in enumerate(passages):
            if wanted & set(hit.chunk.text.lower().replace(".", "").split()):
                span = rag.Span(i, hit.chunk.start, hit.chunk.end)
                return rag.Draft((rag.DraftSentence(" ".join(hit.chunk.text.split()), (span,)),), 0.9)
        return rag.Draft((), 0.0)


class Page:
    """The page under `AppTest`, which runs the script without a browser."""

    def __init__(self, **link: str) -> None:
        self.app = AppTest.from_file(APP, default_timeout=60)
        for key, value in link.items():
            self.app.query_params[key] = value
        self.run()

    @classmethod
    def beside(cls, other: Page) -> Page:
        """Another tab, opened by the link in a first one's address; what is on its way is not waited for."""
        tab = cls.__new__(cls)
        tab.app = AppTest.from_file(APP, default_timeout=60)
        tab.app.query_params = dict(other.app.query_params)
        tab.app.run()
        return tab

    def run(self) -> None:
        """Run the script, and again when the answers are whole that it began."""
        self.app.run()
        self._to_its_end()

    def _to_its_end(self) -> None:
        assert not self.app.exception
        while (talk := self.app.session_state.get("talk", None)) and talk.job:
            assert talk.job.wait(60)
            self.app.run()

    def ask(self, question: str) -> None:
        self.send(question)
        self._to_its_end()

    def send(self, question: str) -> None:
        """Ask, and wait for no answer."""
        self.app.chat_input[0].set_value(question).run()

    def do(self, what: str, value: object = None, *, part: str = "answer", **more: object) -> None:
        """What a part of the page sends when something is clicked in it."""
        states = self.app._tree.get_widget_states()
        trigger = f"$$STREAMLIT_INTERNAL_KEY_{self.part(part).proto.id}__events"
        event = json.dumps([{"event": "do", "value": {"what": what, "value": value, **more}}])
        states.widgets.append(WidgetState(id=trigger, json_trigger_value=event))
        self.app._run(states)
        self._to_its_end()

    def part(self, name: str) -> Any:
        [found] = [part for part in self.app.get("bidi_component") if part.proto.component_name == f"footnote.{name}"]
        return found

    def data(self, name: str) -> Any:
        return json.loads(self.part(name).proto.json)

    @property
    def view(self) -> Any:
        """What the Ask page shows."""
        return self.data("answer")

    @property
    def turn(self) -> Any:
        """The newest question with its answer."""
        return self.view["turns"][-1]

    @property
    def source(self) -> Any:
        return self.data("source")["source"]


class Pause:
    """Where the answer to "When is lunch?" stands still, until it may go on."""

    def __init__(self) -> None:
        self.reached, self.go_on = threading.Event(), threading.Event()

    def hold(self) -> None:
        self.reached.set()
        assert self.go_on.wait(60)

    def ask(self, page: Page) -> None:
        """Ask, until it stands still."""
        page.send("When is lunch?")
        assert self.reached.wait(60)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of indexes; the encoder and the generator are fakes, all else is real."""
    import streamlit

    streamlit.cache_resource.clear()
    monkeypatch.setenv("FOOTNOTE_INDEXES", str(tmp_path))
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    monkeypatch.setattr(rag.Pipeline, "generator", Quoting())
    return tmp_path


@pytest.fixture
def handbook(folder: Path) -> rag.Index:
    index = rag.Index.create(folder / "handbook", encoder=HashingEncoder())
    index.add([rag.Document("leave.md", LEAVE, "Leave", SECTIONS), rag.Document("food.txt", "Lunch is at noon.")])
    return index


@pytest.fixture
def menu(folder: Path) -> None:
    """A second index."""
    with rag.Index.create(folder / "menu", encoder=HashingEncoder()) as index:
        index.add([rag.Document("week.txt", "Lunch on Monday is soup.")])


# What Streamlit shows


def test_where_there_is_no_index_the_first_visit_offers_the_sample_and_a_folder(folder: Path) -> None:
    page = Page()
    assert page.view["title"] == "Ask your own documents. Nothing leaves this computer."
    assert [button.label for button in page.app.button if button.key == "first_sample"] == ["Use the sample"]
    assert page.app.text_input[0].label == "Or a folder on this computer"
    assert page.app.chat_input[0].disabled


def test_an_index_says_what_is_in_it_before_anything_is_asked(handbook: rag.Index) -> None:
    page = Page()
    assert page.view["text"].startswith("2 documents in handbook. ")
    assert not page.app.chat_input[0].disabled
    assert [text.value for text in page.app.text] == ["handbook"]
    assert not page.app.selectbox


def test_an_answer_has_its_question_as_title_and_a_footnote_for_every_sentence(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    quote = "A parent may take up to 16 weeks of leave for each child. Ask your lead first."
    [turn] = page.view["turns"]
    assert turn == {
        "kind": "answer",
        "question": "How many weeks of leave?",
        "rewritten": None,
        "notes": [],
        "link": "./?index=handbook&q=How+many+weeks+of+leave%3F",
        "sentences": [{"text": quote, "markers": [1], "supported": True}],
        "note": "",
        "sources": [
            {
                "number": 1,
                "source": "leave.md",
                "place": "Parental leave",
                "label": "leave.md, Parental leave",
                "quote": quote,
            }
        ],
    }
    assert page.source is None


def test_a_click_on_a_footnote_opens_its_document_at_exactly_the_quote(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.do("open", {"turn": 0, "number": 1, "near": False})
    [citation] = rag.Pipeline(rag.Retriever(handbook)).ask("How many weeks of leave?").citations
    assert page.source["quote"] == citation.quote == LEAVE[citation.start : citation.end]
    assert (page.source["title"], page.source["number"], page.source["of"]) == ("Leave", 1, 1)
    assert [part.proto.component_name for part in page.app.get("bidi_component")] == ["footnote.source"]  # no other
    page.do("go", 0, part="source")
    assert page.source is None


@pytest.mark.parametrize("value", [{"turn": 0, "number": 7, "near": False}, {"turn": 9, "number": 1, "near": True}, 1])
def test_a_passage_that_is_not_there_opens_nothing(handbook: rag.Index, value: object) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.do("open", value)
    assert page.source is None


def test_abstaining_looks_like_an_answer_and_its_nearest_passages_open_too(handbook: rag.Index) -> None:
    page = Page()
    page.ask("Who won yesterday?")
    assert (page.turn["kind"], page.turn["text"]) == ("abstained", NOT_FOUND)
    assert page.turn["note"] == "These passages came nearest; none answers the question."
    assert [link["text"] for link in page.turn["links"]] == ["Search instead", "Add documents"]
    numbers = {source["source"]: source["number"] for source in page.turn["sources"]}
    assert set(numbers) == {"food.txt", "leave.md"}
    page.do("open", {"turn": 0, "number": numbers["food.txt"], "near": True})
    assert page.source["quote"] == "Lunch is at noon."


def test_the_next_question_joins_the_thread_and_closes_the_pane(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.do("open", {"turn": 0, "number": 1, "near": False})
    page.run()
    page.ask("When is lunch?")
    assert [turn["question"] for turn in page.view["turns"]] == ["How many weeks of leave?", "When is lunch?"]
    assert page.source is None


def test_a_passage_keeps_its_number_in_the_whole_thread(handbook: rag.Index) -> None:
    page = Page()
    for question in ("How many weeks of leave?", "When is lunch?", "Which leave is there?"):
        page.ask(question)
    markers = [[sentence["markers"] for sentence in turn["sentences"]] for turn in page.view["turns"]]
    assert markers == [[[1]], [[2]], [[1]]]
    page.do("open", {"turn": 2, "number": 1, "near": False})
    assert (page.source["number"], page.source["of"]) == (1, 2)


def test_a_question_that_points_back_is_made_whole_and_says_so(handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    page.ask("And dinner?")
    assert page.turn["rewritten"] == "When is dinner?"
    assert page.app.query_params["q"] == "When is dinner?"


def test_a_new_question_puts_the_thread_away_and_it_is_kept(handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    page.do("fresh")
    assert page.view["kind"] == "welcome"
    assert "q" not in page.app.query_params
    page.ask("How many weeks of leave?")
    threads = Threads(handbook.path.parent / FILE_NAME)
    assert [thread.title for thread in threads.list(owner())] == ["How many weeks of leave?", "When is lunch?"]


def test_a_link_opens_the_answered_question_and_asking_makes_one(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(q="How many weeks of leave?")
    assert page.turn["sources"][0]["source"] == "leave.md"
    assert page.app.query_params == {"q": "How many weeks of leave?"}  # it says what is shown: one step of the way back
    page.ask("When is lunch?")
    assert page.app.query_params == {"index": "handbook", "q": "When is lunch?"}
    monkeypatch.setattr("ui.shell.went_back", lambda: True)
    page.app.query_params["q"] = "How many weeks of leave?"
    page.run()
    assert page.view["at"] == 0
    assert page.app.query_params["q"] == "How many weeks of leave?"  # nothing was put in the way of going on back
    del page.app.query_params["q"]
    page.run()
    assert page.view["kind"] == "welcome"


@pytest.mark.parametrize("old", [{}, {"index": "handbook", "q": "How many weeks of leave?"}])
def test_an_address_that_is_old_when_it_comes_changes_nothing(handbook: rag.Index, old: dict[str, str]) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.ask("When is lunch?")
    page.app.query_params = old  # the browser sent it before it heard of the new one
    page.run()
    assert page.turn["question"] == "When is lunch?"
    assert page.view["at"] is None
    assert page.app.query_params == old  # what was written once is not written again


def test_a_link_to_what_was_asked_before_opens_the_thread_and_asks_nothing(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Page()
    first.ask("How many weeks of leave?")
    first.ask("When is lunch?")
    monkeypatch.setattr(rag.Retriever, "search", lambda *args, **kwargs: pytest.fail("asked again"))
    again = Page(q="How many weeks of leave?")
    assert [turn["question"] for turn in again.view["turns"]] == ["How many weeks of leave?", "When is lunch?"]
    assert again.view["at"] == 0


def test_a_thread_whose_documents_changed_says_so_and_can_be_asked_again(handbook: rag.Index) -> None:
    Page().ask("When is lunch?")
    handbook.add([rag.Document("food.txt", "At noon there is lunch.")])
    page = Page(q="When is lunch?")
    assert page.turn["remark"].startswith("Documents of handbook have changed since this was asked on ")
    assert page.turn["sentences"][0]["text"] == "Lunch is at noon."
    page.do("again")
    assert page.turn["sentences"][0]["text"] == "At noon there is lunch."
    assert "remark" not in page.turn


def test_a_visitor_reads_of_a_first_folder_its_own_name_only(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    go_on = threading.Event()
    jobs = Jobs(lambda task, tell, stop: assert_set(go_on))
    for module in ("ui.library", "ui.ask", "ui.first"):
        monkeypatch.setattr(f"{module}.jobs", lambda: jobs)
    jobs.start(Task(folder / "documents", "~/clients/Acme/handbook", ("/home/ada/clients/Acme/handbook",)))
    page = Page()
    assert page.view["title"] == "Reading handbook."
    go_on.set()


def assert_set(event: threading.Event) -> None:
    assert event.wait(60)


def test_a_link_to_an_index_that_is_not_there_says_so(handbook: rag.Index) -> None:
    page = Page(index="gone", q="How many weeks of leave?")
    assert (page.view["title"], page.view["choices"]) == ("There is no index 'gone' here.", ["handbook"])
    page.ask("How many weeks?")
    assert page.view["text"].startswith(
        "Your question was not asked: How many weeks?\n"
    )  # nor is another asked in its place
    page.do("choose", "nowhere")
    assert page.view["kind"] == "message"
    page.do("choose", "handbook")
    assert page.turn["question"] == "How many weeks?"
    page.ask("When is lunch?")
    assert page.turn["kind"] == "answer"


@pytest.mark.usefixtures("menu")
def test_in_place_of_an_index_that_is_not_there_any_other_can_be_chosen_at_the_top(handbook: rag.Index) -> None:
    page = Page(index="gone")
    assert page.app.selectbox[0].value is None
    page.app.selectbox[0].select("handbook").run()
    assert page.view["kind"] == "welcome"
    assert page.app.selectbox[0].options == ["handbook", "menu"]


@pytest.mark.usefixtures("menu")
def test_a_question_asked_of_an_index_that_has_gone_meanwhile_waits_until_another_is_chosen(
    handbook: rag.Index,
) -> None:
    page = Page(index="handbook")
    rag.Index.delete(handbook.path)
    page.send("When is lunch?")
    assert page.view["text"].startswith("Your question was not asked: When is lunch?\n")
    page.do("choose", "menu")
    assert [turn["question"] for turn in page.view["turns"]] == ["When is lunch?"]
    assert page.turn["sources"][0]["source"] == "week.txt"


@pytest.mark.usefixtures("menu")
def test_a_question_that_was_not_asked_is_asked_of_no_index_that_nobody_chose_for_it(handbook: rag.Index) -> None:
    page = Page(index="menu")
    page.ask("What is for lunch?")
    page.app.query_params["index"] = "gone"
    page.app.session_state["page"] = None  # as by a link
    page.run()
    page.ask("When is lunch?")
    page.app.button(key="threads").click().run()
    [row] = page.data("threads")["threads"]
    page.do("open", part="threads", id=row["id"])
    assert [turn["question"] for turn in page.view["turns"]] == ["What is for lunch?"]
    page.run()
    assert [turn["question"] for turn in page.view["turns"]] == ["What is for lunch?"]


@pytest.mark.usefixtures("menu")
def test_a_thread_goes_on_with_its_index_when_that_was_renamed_in_another_tab(handbook: rag.Index) -> None:
    page = Page(index="handbook")
    page.ask("When is lunch?")
    renamed = rag.Index.rename(handbook.path, "manual")
    Threads(handbook.path.parent / FILE_NAME).rename_index("handbook", "manual")
    page.ask("And dinner?")
    assert [turn["question"] for turn in page.view["turns"]] == ["When is lunch?", "And dinner?"]
    assert page.turn["rewritten"] == "When is dinner?"
    assert (page.app.selectbox[0].value, page.app.query_params["index"]) == ("manual", "manual")
    [thread] = Threads(renamed.parent / FILE_NAME).list(owner())
    assert (thread.index, thread.n_turns) == ("manual", 2)


def test_an_answer_that_finds_nothing_while_files_are_read_says_so_and_can_be_asked_again(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on, told = threading.Event(), threading.Event()

    def read(task: Task, tell: Callable[[Told], None], stop: threading.Event) -> None:
        tell(Standing(30, 633, 31))
        told.set()
        assert_set(go_on)

    jobs = Jobs(read)
    for module in ("ui.library", "ui.ask"):
        monkeypatch.setattr(f"{module}.jobs", lambda: jobs)
    jobs.start(Task(handbook.path, "peps"))
    assert told.wait(60)
    page = Page()
    page.ask("When is lunch?")
    assert page.turn.get("remark") is None
    page.ask("Who keeps geese?")
    assert (page.turn["kind"], page.turn["again"]) == ("abstained", "Ask again")
    assert page.turn["remark"] == "Files were still being read when this was asked: 30 of 633 files were in."
    assert page.data("library")["state"] == "running"  # beside the answer
    go_on.set()


def test_a_thread_is_opened_also_where_the_index_of_a_link_is_missed(handbook: rag.Index) -> None:
    Page().ask("When is lunch?")
    page = Page(index="nowhere")
    page.app.button(key="threads").click().run()
    [row] = page.data("threads")["threads"]
    page.do("open", part="threads", id=row["id"])
    assert page.turn["question"] == "When is lunch?"


@pytest.mark.usefixtures("menu")
def test_with_several_indexes_one_is_chosen_and_the_question_goes_to_it(folder: Path, handbook: rag.Index) -> None:
    page = Page(index="menu")
    assert page.app.selectbox[0].options == ["handbook", "menu"]
    page.ask("When is lunch?")
    assert page.turn["sources"][0]["source"] == "week.txt"
    page.app.selectbox[0].select("handbook")
    page.run()
    assert [turn["sources"][0]["source"] for turn in page.view["turns"]] == ["food.txt"]


def test_an_empty_index_says_where_documents_are_added(folder: Path) -> None:
    rag.Index.create(folder / "empty", encoder=HashingEncoder()).close()
    page = Page()
    assert page.view["title"] == "empty has no documents yet."
    assert page.view["links"] == [{"text": "Open Library", "page": "library", "href": "./library?index=empty"}]
    assert page.app.chat_input[0].disabled


def test_a_damaged_index_is_one_sentence_and_no_trace(folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken/index.sqlite").write_bytes(b"not a database, whatever its name says" * 100)
    message = Page().data("message")
    assert message["title"] == "broken cannot be read."
    assert "delete its folder and ingest again" in message["text"]
    assert "Traceback" not in message["text"]


def test_a_failure_of_ours_is_told_without_a_trace_and_asking_again_works(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page()
    with monkeypatch.context() as broken:
        broken.setattr(rag.Retriever, "search", lambda *args, **kwargs: 1 / 0)
        page.ask("When is lunch?")
        assert page.turn["kind"] == "fault"
        assert page.turn["text"].startswith(
            "Something went wrong while drawing this page. Your documents are unharmed."
        )
    page.do("again")
    assert [(turn["question"], turn["kind"]) for turn in page.view["turns"]] == [("When is lunch?", "answer")]


def test_a_failure_while_drawing_is_told_without_a_trace(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.Index, "status", lambda self: 1 / 0)
    assert Page().data("message")["title"] == "Something went wrong."


def test_what_a_refused_question_lacks_is_said(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise UsageError("expected a shorter question")

    monkeypatch.setattr(rag.Retriever, "search", refuse)
    page = Page()
    page.ask("When is lunch?")
    assert (page.turn["question"], page.turn["text"]) == ("When is lunch?", "expected a shorter question")


def test_an_index_made_again_under_its_name_is_read_anew(folder: Path, handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    rag.Index.delete(folder / "handbook")
    with rag.Index.create(folder / "handbook", encoder=HashingEncoder()) as again:
        again.add([rag.Document("new.txt", "There is no lunch any more.")])
    page.ask("When is lunch?")
    assert page.turn["sources"][0]["source"] == "new.txt"


def test_markup_in_documents_names_titles_and_questions_reaches_the_page_as_data_only(folder: Path) -> None:
    with rag.Index.create(folder / "odd :red[x] ![y](z)", encoder=HashingEncoder()) as index:
        index.add([rag.Document(f"{HOSTILE}.md", HOSTILE, HOSTILE, (rag.Section(0, 0, HOSTILE),))])
    page = Page()
    page.ask(f"weeks {HOSTILE}")
    page.do("open", {"turn": 0, "number": 1, "near": False})
    assert page.source["quote"] == HOSTILE
    page.run()
    assert page.turn["sources"][0]["source"] == f"{HOSTILE}.md"
    page.app.button(key="threads").click().run()
    assert page.data("threads")["threads"][0]["title"].startswith("weeks <img src=x onerror=alert(1)>")
    assert [text.value for text in page.app.text] == ["odd :red[x] ![y](z)"]  # st.text reads no Markdown
    assert not page.app.markdown
    assert all("alert" not in element.proto.body for element in page.app.get("html"))
    assert page.part("answer").proto.html_content == ""


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Pause:
    """The passages for lunch are looked for, and come as soon as the test says so."""
    pause, search = Pause(), rag.Retriever.search

    def hold(self: rag.Retriever, query: str, **options: Any) -> list[rag.Hit]:
        if query == "When is lunch?":
            pause.hold()
        return search(self, query, **options)

    monkeypatch.setattr(rag.Retriever, "search", hold)
    return pause


@pytest.mark.parametrize("looks_meanwhile", [True, False])
def test_a_reload_finds_the_question_on_its_way_and_those_that_wait_behind_it(
    handbook: rag.Index, held: Pause, looks_meanwhile: bool
) -> None:
    page = Page()
    page.ask("Which leave is there?")
    held.ask(page)
    page.send("How many weeks of leave?")
    asked = ["Which leave is there?", "When is lunch?", "How many weeks of leave?"]
    if not looks_meanwhile:
        held.go_on.set()
        assert page.app.session_state["talk"].job.wait(60)
    again = Page.beside(page)
    if looks_meanwhile:
        kinds = [turn["kind"] for turn in again.view["turns"]]
        assert kinds == ["answer", "running", "waiting"]
    held.go_on.set()
    again.run()
    assert [(turn["question"], turn["kind"]) for turn in again.view["turns"]] == [(q, "answer") for q in asked]
    threads = Threads(handbook.path.parent / FILE_NAME)
    [thread] = threads.list(owner())
    assert [turn.answer.question for turn in threads.turns(owner(), thread.id)] == asked


def test_a_question_sent_when_the_one_before_has_just_ended_comes_after_those_that_wait(
    handbook: rag.Index, held: Pause
) -> None:
    page = Page()
    held.ask(page)
    page.send("How many weeks of leave?")
    held.go_on.set()
    assert page.app.session_state["talk"].job.wait(60)  # and nobody has looked since
    page.ask("Which leave is there?")
    assert [turn["question"] for turn in page.view["turns"]] == [
        "When is lunch?",
        "How many weeks of leave?",
        "Which leave is there?",
    ]


def test_what_waits_is_asked_by_one_of_two_tabs_only(handbook: rag.Index, held: Pause) -> None:
    here = Page()
    held.ask(here)
    for question in ("How many weeks of leave?", "Which leave is there?"):
        here.send(question)
    there = Page.beside(here)
    assert [turn["kind"] for turn in there.view["turns"]] == ["running", "waiting", "waiting"]
    held.go_on.set()
    here.run()
    there.run()
    threads = Threads(handbook.path.parent / FILE_NAME)
    [thread] = threads.list(owner())
    asked = [turn.answer.question for turn in threads.turns(owner(), thread.id)]
    assert asked == ["When is lunch?", "How many weeks of leave?", "Which leave is there?"]


def test_a_reload_finds_a_follow_up_by_the_question_that_it_stands_for(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page()
    page.ask("When is lunch?")
    begun, go_on, generate = threading.Event(), threading.Event(), Quoting.generate

    def hold(self: Quoting, question: str, passages: Sequence[rag.Hit]) -> rag.Draft:
        begun.set()  # its passages are known by now
        assert go_on.wait(60)
        return generate(self, question, passages)

    monkeypatch.setattr(Quoting, "generate", hold)
    page.send("And dinner?")
    assert begun.wait(60)
    page.app.run()
    assert page.app.query_params["q"] == "When is dinner?"
    again = Page.beside(page)
    assert [turn["question"] for turn in again.view["turns"]] == ["When is lunch?", "And dinner?"]
    go_on.set()
    again.run()
    assert len(Threads(handbook.path.parent / FILE_NAME).list(owner())) == 1


@pytest.fixture
def down(monkeypatch: pytest.MonkeyPatch) -> Pause:
    """What is to answer fails at lunch, as soon as the test says so."""
    pause, generate = Pause(), Quoting.generate

    def fail(self: Quoting, question: str, passages: Sequence[rag.Hit]) -> rag.Draft:
        if question == "When is lunch?":
            pause.hold()
            raise GeneratorError("the model at localhost:11434 did not answer")
        return generate(self, question, passages)

    monkeypatch.setattr(Quoting, "generate", fail)
    return pause


def asked_and_how(page: Page) -> list[tuple[str, str]]:
    return [(turn["question"], turn["kind"]) for turn in page.view["turns"]]


def test_a_question_that_failed_stays_when_another_was_waiting_and_can_be_tried_again(
    handbook: rag.Index, down: Pause
) -> None:
    page = Page()
    down.ask(page)
    page.send("How many weeks of leave?")
    down.go_on.set()
    page.run()
    assert asked_and_how(page) == [("When is lunch?", "fault"), ("How many weeks of leave?", "answer")]
    assert page.view["turns"][0]["text"] == "the model at localhost:11434 did not answer"
    with pytest.MonkeyPatch.context() as mended:
        mended.setattr(Quoting, "generate", lambda self, question, passages: rag.Draft((), 0.0))
        page.do("again", 0)
    assert asked_and_how(page) == [("How many weeks of leave?", "answer"), ("When is lunch?", "abstained")]


def test_a_question_that_failed_stays_when_another_is_asked_and_waits_behind_it_when_tried_again_meanwhile(
    handbook: rag.Index,
    down: Pause,
    held: Pause,
) -> None:
    down.go_on.set()
    held.go_on.set()
    page = Page()
    page.ask("When is lunch?")
    held.reached.clear()
    held.go_on.clear()
    page.ask("How many weeks of leave?")
    held.ask(page)
    kinds = ["fault", "answer", "running"]
    assert [kind for _, kind in asked_and_how(page)] == kinds
    assert page.app.session_state["talk"].job.waiting == ()
    held.go_on.set()
    page.run()
    assert [kind for _, kind in asked_and_how(page)] == ["fault", "answer", "fault"]
    page.do("again", 1)  # an answer is no question to be tried again
    assert [kind for _, kind in asked_and_how(page)] == ["fault", "answer", "fault"]
    page.do("quotes")
    assert [kind for _, kind in asked_and_how(page)] == ["fault", "answer", "fault"]


def test_what_waits_behind_a_question_is_found_again_in_the_thread_that_it_has_begun(
    handbook: rag.Index, held: Pause
) -> None:
    page = Page()
    held.ask(page)
    page.send("How many weeks of leave?")
    job = page.app.session_state["talk"].job
    page.do("fresh")
    held.go_on.set()
    assert job.wait(60)
    threads = Threads(handbook.path.parent / FILE_NAME)
    [thread] = threads.list(owner())
    again = Page(q="When is lunch?")
    assert running().of_thread(owner(), thread.id) is None  # it is taken up
    assert asked_and_how(again) == [("When is lunch?", "answer"), ("How many weeks of leave?", "answer")]
    assert len(threads.list(owner())) == 1


def test_a_question_asked_meanwhile_waits_its_turn(handbook: rag.Index, held: Pause) -> None:
    page = Page()
    held.ask(page)
    page.send("How many weeks of leave?")
    first, second = page.view["turns"]
    assert (first["kind"], first["status"]) == ("running", "Looking for passages")
    assert (second["kind"], second["status"]) == ("waiting", "Waits for its turn")
    held.go_on.set()
    page.run()
    assert [turn["kind"] for turn in page.view["turns"]] == ["answer", "answer"]


@pytest.mark.parametrize("part", sorted(path.name for path in WEB.glob("*.js")))
def test_no_script_of_the_page_reads_a_text_as_markup(part: str) -> None:
    script = (WEB / part).read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc", "fetch("):
        assert way not in script


def test_only_folders_that_hold_an_index_are_offered(tmp_path: Path) -> None:
    for name in ("b", "a", "empty"):
        (tmp_path / name).mkdir()
    for name in ("b", "a"):
        (tmp_path / name / "index.sqlite").touch()
    assert find_indexes(tmp_path) == ["a", "b"]
    assert find_indexes(tmp_path / "nowhere") == []


# The server


def test_a_port_in_use_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"port {port} is in use, perhaps by another rag ui"):
            server.serve(tmp_path, port=port)
    with pytest.raises(UsageError, match="expected a port from 1 to 65535, got 0"):
        server.serve(tmp_path, port=0)


def test_the_server_listens_on_this_machine_only_and_calls_nobody() -> None:
    from streamlit import config

    options = server.streamlit_options(8501)
    assert options["server.address"] == "127.0.0.1"
    assert options["browser.gatherUsageStats"] is False
    assert options["server.headless"] is True
    assert set(options) <= set(config._config_options_template)  # none that this Streamlit does not know


def test_importing_the_server_loads_no_streamlit() -> None:
    code = "import sys, ui.server; print([m for m in ('streamlit', 'starlette', 'numpy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_started_from_a_folder_with_other_settings_it_still_serves_this_machine_only(tmp_path: Path) -> None:
    (tmp_path / ".streamlit").mkdir()
    settings = '[server]\naddress = "0.0.0.0"\nport = 1\n[browser]\ngatherUsageStats = true\n'
    (tmp_path / ".streamlit/config.toml").write_text(settings, encoding="utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    code = f"from pathlib import Path; from ui.server import serve; serve(Path('none'), port={port}, ready=print)"
    root = str(Path(APP).parents[1])
    process = subprocess.Popen(
        [sys.executable, "-uc", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": root}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert process.stdout.readline().decode().strip() == f"http://127.0.0.1:{port}"
        if sys.platform == "linux":  # where every address 127.x.y.z is there: the others are still free
            with socket.socket() as other:
                other.bind(("127.0.0.2", port))
        host = f"127.0.0.1:{port}"
        page = fetch(port, host=host)
        assert page.status == HTTPStatus.OK
        assert "default-src 'self'; script-src 'self' blob:;" in (page.getheader("content-security-policy") or "")
        assert fetch(port, host="elsewhere.example").status == HTTPStatus.BAD_REQUEST
    finally:
        process.terminate()
        process.communicate()


def fetch(port: int, *, host: str) -> HTTPResponse:
    connection = HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/", headers={"Host": host})
    response = connection.getresponse()
    response.read()
    connection.close()
    return response


# What changes meanwhile, in another tab or a terminal


@pytest.mark.usefixtures("menu")
def test_an_index_that_was_renamed_meanwhile_is_missed_and_no_other_is_asked_in_its_place(
    folder: Path, handbook: rag.Index
) -> None:
    page = Page(index="menu")
    page.ask("When is lunch?")
    (folder / "menu").rename(folder / "plan")
    page.run()
    assert page.view["title"] == "There is no index 'menu' here."
    assert [thread.index for thread in Threads(folder / FILE_NAME).list(owner())] == ["menu"]


def test_an_answer_to_a_thread_that_was_removed_meanwhile_begins_another(handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    threads = Threads(handbook.path.parent / FILE_NAME)
    [first] = threads.list(owner())
    threads.remove(owner(), first.id)
    page.ask("How many weeks of leave?")
    page.ask("Which leave is there?")
    [second] = threads.list(owner())
    assert [turn.answer.question for turn in threads.turns(owner(), second.id)] == [
        "How many weeks of leave?",
        "Which leave is there?",
    ]


@pytest.mark.usefixtures("menu")
def test_the_way_back_over_a_change_of_index_asks_nothing_anew(
    folder: Path, handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page(index="menu")
    page.ask("When is lunch?")
    page.app.selectbox[0].select("handbook")
    page.run()
    monkeypatch.setattr("ui.shell.went_back", lambda: True)
    for index, source in [("menu", "week.txt"), ("handbook", "food.txt"), ("menu", "week.txt")]:
        page.app.query_params["index"] = index
        page.run()
        assert page.turn["sources"][0]["source"] == source
    assert len(Threads(folder / FILE_NAME).list(owner())) == 2


@pytest.mark.usefixtures("menu")
def test_a_thread_whose_index_is_not_there_any_more_says_so_and_can_be_exported(
    folder: Path, handbook: rag.Index
) -> None:
    page = Page(index="menu")
    page.ask("When is lunch?")
    rag.Index.delete(folder / "menu")
    page = Page()
    page.app.button(key="threads").click().run()
    [row] = page.data("threads")["threads"]
    assert (row["index"], row["gone"]) == ("menu", True)
    page.do("export", part="threads", id=row["id"])
    assert page.app.session_state["export"].title == "When is lunch?"
    assert [button.proto.label for button in page.app.get("download_button")] == ["Markdown", "Web page"]


def test_a_thread_that_was_removed_meanwhile_is_told_in_the_drawer(handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    page.do("fresh")
    page.app.button(key="threads").click().run()
    [row] = page.data("threads")["threads"]
    Threads(handbook.path.parent / FILE_NAME).remove(owner(), row["id"])
    page.do("open", part="threads", id=row["id"])
    assert page.app.session_state["threads_fault"].startswith(f"there is no thread {row['id']} of yours")


# The drawers


def settings() -> None:
    """The drawer of the settings; run again and again, as a browser runs what is open."""
    import streamlit as st

    from ui import drawers, shell

    if "opened" not in st.session_state:
        st.session_state["opened"] = True
        drawers.ask_for("settings")
        drawers.draw(shell.here())
    else:
        drawers.settings_drawer(shell.here())


def test_every_change_of_the_settings_counts_also_the_second_and_third(handbook: rag.Index) -> None:
    app = AppTest.from_function(settings, default_timeout=60).run()
    kept = SettingsFile(handbook.path.parent / FILE_NAME)
    for style in ("short", "context", "short"):
        app.radio(key="settings_style").set_value(style).run()
        assert kept.load(owner()).settings.answer_style == style
    for strictness in ("careful", "eager", "balanced"):
        app.select_slider(key="settings_strictness").set_value(strictness).run()
        assert kept.load(owner()).settings == Settings(answer_style="short", strictness=strictness)
    for sources in (3, 12):
        app.slider(key="settings_sources").set_value(sources).run()
        assert kept.load(owner()).settings.sources == sources


def test_one_answer_or_the_whole_thread_is_exported(handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    page.ask("How many weeks of leave?")
    page.do("export", 0)
    exported = page.app.session_state["export"]
    assert [entry.answer.question for entry in exported.entries] == ["When is lunch?", "How many weeks of leave?"]
    assert [entry.answer.question for entry in exported.alone.entries] == ["When is lunch?"]
    assert page.app.radio[0].options == ["The whole thread", "This answer"]
    page.app.radio[0].set_value("This answer").run()
    assert not page.app.exception


def test_the_answer_that_was_meant_is_exported_also_where_another_tab_went_on_with_the_thread(
    handbook: rag.Index,
) -> None:
    here = Page()
    here.ask("How many weeks of leave?")
    there = Page.beside(here)
    here.ask("When is lunch?")
    there.ask("Which leave is there?")
    there.do("export", 1)
    exported = there.app.session_state["export"]
    assert [entry.answer.question for entry in exported.alone.entries] == ["Which leave is there?"]
    assert len(exported.entries) == 3
    Threads(handbook.path.parent / FILE_NAME).remove(owner(), there.app.session_state["talk"].thread)
    there.do("export", 1)
    exported = there.app.session_state["export"]
    assert [entry.answer.question for entry in exported.alone.entries] == ["Which leave is there?"]
    assert len(exported.entries) == 2


def test_settings_that_are_open_in_two_tabs_do_not_undo_each_other(handbook: rag.Index) -> None:
    here, there = (AppTest.from_function(settings, default_timeout=60).run() for _ in range(2))
    here.radio(key="settings_style").set_value("short").run()
    there.slider(key="settings_sources").set_value(12).run()
    kept = SettingsFile(handbook.path.parent / FILE_NAME)
    assert kept.load(owner()).settings == Settings(answer_style="short", sources=12)
    there.select_slider(key="settings_strictness").set_value("eager").run()
    assert kept.load(owner()).settings == Settings(answer_style="short", sources=12, strictness="eager")


def test_a_calibration_that_was_made_anew_counts(handbook: rag.Index) -> None:
    opened, careful = open_index(handbook.path), Settings(strictness="careful")
    made = calibration(careful, *[Outcome(0.9, False)] * 30)
    made.write(handbook.path)
    first = opened.pipeline_for(careful)
    assert opened.pipeline_for(careful) is first
    replace(made, made_at="2026-11-01T12:00:00+00:00").write(handbook.path)
    assert opened.pipeline_for(careful) is not first


def test_a_model_is_loaded_once_for_all_settings(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []

    def load(name: str) -> QueuedWriter:
        loaded.append(name)
        return QueuedWriter([])

    monkeypatch.setattr("ui.shell.load_writer", load)
    opened = open_index(handbook.path)
    chosen = [
        Settings(strictness=strictness, sources=sources, generator="transformers:a")
        for strictness in ("careful", "balanced", "eager")
        for sources in (3, 8)
    ]
    assert not opened.is_ready(chosen[0])
    assert len({id(opened.pipeline_for(settings)) for settings in chosen}) == 6
    assert loaded == ["transformers:a"]
