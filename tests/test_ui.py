"""The page: what its values say (`ui.render`), what Streamlit makes of them, and how the server is started."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from streamlit.proto.WidgetStates_pb2 import WidgetState
from streamlit.testing.v1 import AppTest

import rag
from rag.errors import UsageError
from rag.pipeline import NOT_FOUND
from tests.fakes import HashingEncoder
from ui import server
from ui.render import Passage, answer_view, blocks_around, find_indexes, passages, source_view

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
        self.app.run()

    def ask(self, question: str) -> None:
        self.app.chat_input[0].set_value(question).run()

    def click(self, number: int) -> None:
        """What page.js sends when the footnote or passage of that number is clicked; 0 is the closing cross."""
        states = self.app._tree.get_widget_states()
        trigger = f"$$STREAMLIT_INTERNAL_KEY_{self.component.proto.id}__events"
        event = json.dumps([{"event": "open", "value": number}])
        states.widgets.append(WidgetState(id=trigger, json_trigger_value=event))
        self.app._run(states)

    @property
    def component(self) -> Any:
        assert not self.app.exception
        [component] = self.app.get("bidi_component")
        return component

    @property
    def data(self) -> Any:
        return json.loads(self.component.proto.json)

    @property
    def view(self) -> Any:
        return self.data["view"]


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


def marked(source: Any) -> str:
    return "".join(part["text"] for block in source["blocks"] for part in block["parts"] if part.get("mark"))


def shown(source: Any) -> str:
    return "".join(part["text"] for block in source["blocks"] for part in block["parts"])


# What Streamlit shows


def test_where_there_is_no_index_the_first_visit_says_what_to_run(folder: Path) -> None:
    page = Page()
    assert page.view["title"] == "Ask your own documents."
    assert page.view["command"] == f"rag ingest PATH --index {folder / 'default'}"
    assert page.app.chat_input[0].disabled


def test_an_index_says_what_is_in_it_before_anything_is_asked(handbook: rag.Index) -> None:
    page = Page()
    assert page.view["text"].startswith("2 documents in handbook")
    assert not page.app.chat_input[0].disabled
    assert [text.value for text in page.app.text] == ["handbook"]
    assert not page.app.selectbox


def test_an_answer_has_its_question_as_title_and_a_footnote_for_every_sentence(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    assert page.view == {
        "kind": "answer",
        "title": "How many weeks of leave?",
        "sentences": [
            {
                "text": "A parent may take up to 16 weeks of leave for each child. Ask your lead first.",
                "markers": [1],
                "supported": True,
            }
        ],
        "note": "The sentence has a source.",
        "sources": [
            {
                "source": "leave.md",
                "place": "Parental leave",
                "label": "leave.md, Parental leave",
                "quote": "A parent may take up to 16 weeks of leave for each child. Ask your lead first.",
            }
        ],
    }
    assert page.data["source"] is None


def test_a_click_on_a_footnote_opens_its_document_with_exactly_the_quote_marked(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.click(1)
    source = page.data["source"]
    [citation] = rag.Pipeline(rag.Retriever(handbook)).ask("How many weeks of leave?").citations
    assert marked(source) == citation.quote == LEAVE[citation.start : citation.end]
    assert shown(source) == LEAVE
    assert (source["title"], source["place"], source["number"], source["of"]) == (
        "Leave",
        "leave.md · Parental leave",
        1,
        1,
    )
    assert page.view["kind"] == "answer"
    page.click(0)
    assert page.data["source"] is None


def test_a_passage_number_that_is_not_there_opens_nothing(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.click(7)
    assert page.data["source"] is None


def test_abstaining_looks_like_an_answer_and_its_nearest_passages_open_too(handbook: rag.Index) -> None:
    page = Page()
    page.ask("Who won yesterday?")
    assert (page.view["kind"], page.view["text"]) == ("abstained", NOT_FOUND)
    assert page.view["note"] == "These passages came nearest; none answers the question."
    sources = [source["source"] for source in page.view["sources"]]
    assert sorted(set(sources)) == ["food.txt", "leave.md"]
    page.click(sources.index("food.txt") + 1)
    assert marked(page.data["source"]) == "Lunch is at noon."


def test_the_next_question_closes_the_pane(handbook: rag.Index) -> None:
    page = Page()
    page.ask("How many weeks of leave?")
    page.click(1)
    page.ask("When is lunch?")
    assert (page.view["title"], page.data["source"]) == ("When is lunch?", None)


def test_a_link_opens_the_answered_question_and_asking_makes_one(handbook: rag.Index) -> None:
    page = Page(index="handbook", q="How many weeks of leave?")
    assert page.view["sources"][0]["source"] == "leave.md"
    page.ask("When is lunch?")
    assert page.app.query_params == {"index": "handbook", "q": "When is lunch?"}
    page.app.query_params["q"] = "How many weeks of leave?"  # the browser's Back
    page.app.run()
    assert page.view["title"] == "How many weeks of leave?"


def test_a_link_to_an_index_that_is_not_there_says_so(handbook: rag.Index) -> None:
    page = Page(index="gone", q="How many weeks of leave?")
    assert (page.view["title"], page.view["text"]) == (
        "There is no index 'gone' here.",
        "Ask below, and handbook answers.",
    )
    page.ask("When is lunch?")
    assert page.view["kind"] == "answer"


def test_with_several_indexes_one_is_chosen_and_the_question_goes_to_it(folder: Path, handbook: rag.Index) -> None:
    with rag.Index.create(folder / "menu", encoder=HashingEncoder()) as menu:
        menu.add([rag.Document("week.txt", "Lunch on Monday is soup.")])
    page = Page(index="menu")
    assert page.app.selectbox[0].options == ["handbook", "menu"]
    page.ask("When is lunch?")
    assert page.view["sources"][0]["source"] == "week.txt"
    page.app.selectbox[0].select("handbook").run()
    assert page.view["sources"][0]["source"] == "food.txt"


def test_an_empty_index_says_what_to_run(folder: Path) -> None:
    rag.Index.create(folder / "empty", encoder=HashingEncoder()).close()
    page = Page()
    assert page.view["title"] == "empty has no documents yet."
    assert page.view["command"] == f"rag ingest PATH --index {folder / 'empty'}"
    page.ask("When is lunch?")
    assert page.view["title"] == "empty has no documents yet."


def test_a_damaged_index_is_one_sentence_and_no_trace(folder: Path) -> None:
    (folder / "broken").mkdir()
    (folder / "broken/index.sqlite").write_bytes(b"not a database, whatever its name says" * 100)
    page = Page()
    assert page.view["kind"] == "message"
    assert "delete its folder and ingest again" in page.view["text"]
    assert "Traceback" not in page.view["text"]


def test_a_failure_of_ours_is_told_without_a_trace_and_asking_again_works(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = Page()
    with monkeypatch.context() as broken:
        broken.setattr(rag.Retriever, "search", lambda *args, **kwargs: 1 / 0)
        page.ask("When is lunch?")
        assert page.view["text"].startswith(
            "Something went wrong while drawing this page. Your documents are unharmed."
        )
    page.ask("When is lunch?")
    assert page.view["kind"] == "answer"


def test_a_failure_while_drawing_is_told_without_a_trace(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rag.Index, "status", lambda self: 1 / 0)
    assert Page().view["title"] == "Something went wrong."


def test_what_a_refused_question_lacks_is_said(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise UsageError("expected a shorter question")

    monkeypatch.setattr(rag.Retriever, "search", refuse)
    page = Page()
    page.ask("When is lunch?")
    assert (page.view["title"], page.view["text"]) == ("When is lunch?", "expected a shorter question")


def test_a_document_that_changed_since_is_not_marked(handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    handbook.add([rag.Document("food.txt", "At noon there is lunch.")])
    page.click(1)
    source = page.data["source"]
    assert source["blocks"] == []
    assert (source["note"], source["quote"]) == (
        "This document has changed since. The passage as it was read:",
        "Lunch is at noon.",
    )
    handbook.remove("food.txt")
    page.app.run()
    assert page.data["source"]["note"].startswith("This document is not in the index any more.")


def test_an_index_made_again_under_its_name_is_read_anew(folder: Path, handbook: rag.Index) -> None:
    page = Page()
    page.ask("When is lunch?")
    rag.Index.delete(folder / "handbook")
    with rag.Index.create(folder / "handbook", encoder=HashingEncoder()) as again:
        again.add([rag.Document("new.txt", "There is no lunch any more.")])
    page.ask("When is lunch?")
    assert page.view["sources"][0]["source"] == "new.txt"


def test_markup_in_documents_names_titles_and_questions_reaches_the_page_as_data_only(folder: Path) -> None:
    with rag.Index.create(folder / "odd :red[x] ![y](z)", encoder=HashingEncoder()) as index:
        index.add([rag.Document(f"{HOSTILE}.md", HOSTILE, HOSTILE, (rag.Section(0, 0, HOSTILE),))])
    page = Page()
    page.ask(f"weeks {HOSTILE}")
    page.click(1)
    assert marked(page.data["source"]) == HOSTILE
    assert page.view["sources"][0]["source"] == f"{HOSTILE}.md"
    assert [text.value for text in page.app.text] == ["odd :red[x] ![y](z)"]  # st.text reads no Markdown
    assert not page.app.markdown
    assert all("alert" not in element.proto.body for element in page.app.get("html"))
    assert page.component.proto.html_content == ""


def test_the_page_script_never_reads_a_text_as_markup() -> None:
    script = Path(APP).with_name("page.js").read_text(encoding="utf-8")
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "srcdoc", "fetch("):
        assert way not in script


# Text in blocks around a span


def passage(text: str, start: int, end: int) -> Passage:
    return Passage("a.md", None, None, None, start, end, text[start:end])


@given(
    st.text(alphabet=st.sampled_from("ab #=\n\t"), max_size=300),
    st.lists(st.integers(0, 300), max_size=6),
    st.booleans(),
    st.data(),
)
def test_blocks_join_to_the_text_and_marks_to_the_quote(
    text: str, offsets: list[int], paged: bool, data: st.DataObject
) -> None:
    text = text or "a"
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    inside = sorted({offset for offset in offsets if offset < len(text)})
    sections = tuple(rag.Section(a, (text.find("\n", a) + 1) or len(text), "S") for a in inside)
    document = rag.Document("a.md", text, sections=sections, pages=(0, *(a for a in inside if a)) if paged else ())
    source = source_view(document, passage(text, start, end), number=1, of=1)
    assert shown(source) == text
    assert marked(source) == text[start:end]
    assert (source["before"], source["after"]) == (False, False)


def test_a_heading_is_shown_without_its_marks_and_a_paragraph_without_the_white_space_around_it() -> None:
    document = rag.Document("leave.md", LEAVE, "Leave", SECTIONS)
    source: Any = source_view(document, passage(LEAVE, 28, 33), number=1, of=1)
    visible = [
        (block["level"], "".join(part["text"] for part in block["parts"] if not part.get("hidden")))
        for block in source["blocks"]
    ]
    assert visible == [
        (1, "Leave"),
        (2, "Parental leave"),
        (0, "A parent may take up to 16 weeks of leave for each child."),
        (0, "Ask your lead first."),
    ]


def test_of_a_long_document_two_hundred_blocks_around_the_passage_are_shown() -> None:
    text = "".join(f"Paragraph {i}.\n\n" for i in range(2000))
    at = text.index("Paragraph 1000.")
    source: Any = source_view(rag.Document("a.md", text), passage(text, at, at + 15), number=1, of=1)
    assert len(source["blocks"]) == 200
    assert marked(source) == "Paragraph 1000."
    assert (source["before"], source["after"]) == (True, True)
    assert shown(source).startswith("Paragraph 901.")


def test_near_the_end_the_blocks_before_make_up_for_those_that_are_not_there() -> None:
    text = "".join(f"Paragraph {i}.\n\n" for i in range(300))
    blocks = blocks_around(rag.Document("a.md", text), len(text) - 5, len(text))
    assert (len(blocks), blocks[-1].end) == (200, len(text))


def test_one_endless_line_is_cut_into_blocks() -> None:
    text = "word " * 100_000
    blocks = blocks_around(rag.Document("a.txt", text), 250_000, 250_004)
    assert max(block.end - block.start for block in blocks) <= 2000
    assert any(block.start <= 250_000 < block.end for block in blocks)


def test_lines_of_a_page_flow_together_and_a_short_line_ends_the_paragraph() -> None:
    text = "A line as long as the paper is wide\ncontinues.\nAnother paragraph of the same width\nPage two."
    document = rag.Document("a.pdf", text, pages=(0, text.index("Page two.")))
    blocks = blocks_around(document, 0, 5)
    assert [text[block.start : block.end] for block in blocks] == [
        "A line as long as the paper is wide\ncontinues.\n",
        "Another paragraph of the same width\n",
        "Page two.",
    ]
    assert [block.page for block in blocks] == [1, None, 2]


def test_a_span_of_two_pages_is_marked_on_both() -> None:
    text = "The first page ends with half a sentence\nand the second has the other half."
    document = rag.Document("a.pdf", text, pages=(0, 41))
    source: Any = source_view(document, passage(text, text.index("half"), text.index(" has")), number=1, of=1)
    assert [[part["text"] for part in block["parts"] if part.get("mark")] for block in source["blocks"]] == [
        ["half a sentence", "\n"],
        ["and the second"],
    ]


# Answers as values


def answer(*sentences: rag.Sentence) -> rag.Answer:
    citation = rag.Citation(1, "terms.pdf", "Terms", 4, "Terms > Refunds > Deadline", 0, 7, "30\ndays")
    return rag.Answer("When?", "", sentences, (citation,), False, 0.9, "fake", ())


def test_a_sentence_without_a_source_is_counted_and_said() -> None:
    view: Any = answer_view(answer(rag.Sentence("Soon.", (1,), True), rag.Sentence("Never.", (), False)))
    assert view["note"] == "1 of 2 sentences has a source."
    assert [sentence["supported"] for sentence in view["sentences"]] == [True, False]


def test_a_source_is_named_by_page_and_headings_without_the_title() -> None:
    [found] = passages(answer(rag.Sentence("Soon.", (1,), True)))
    assert found.label == "terms.pdf, page 4 · Refunds › Deadline"
    assert replace(found, page=None, section=None).label == "terms.pdf"


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


def test_a_question_whose_quotes_no_passage_holds_says_so() -> None:
    empty = replace(answer(), abstained=True, question='cats "asleep at dusk"', nearest=())
    view: Any = answer_view(empty)
    assert view["note"] == "No passage holds “asleep at dusk” as it is written: ask without the quotes or hyphens."
    assert view["sources"] == []
