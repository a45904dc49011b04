"""The Explore page under Streamlit's `AppTest`: what the map is given, and what comes of what it sends."""

from __future__ import annotations

import base64
import itertools
import json
import re
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit
from numpy.typing import NDArray
from streamlit.proto.WidgetStates_pb2 import WidgetState

import rag
from rag.errors import EncoderError
from tests.apps import AppTest
from tests.fakes import HashingEncoder
from ui import explore, maps, pane, server
from ui.components import WEB
from ui.maps import PassageMap
from ui.render import Passage
from ui.shell import open_index

APP = str(Path(server.__file__).with_name("app.py"))
WAIT_S = 60
TEXTS = [
    *(f"Bees make honey in hive number{i} with wax" for i in range(12)),
    *(f"Ships sail to harbour number{i} with cargo" for i in range(9)),
]
NAMES = [f"{'bees/' if i < 12 else 'ships/'}{i}.{'md' if i % 2 else 'txt'}" for i in range(21)]
HOSTILE = '<img src=x onerror="window.hit=1"> <script>window.hit=1</script> :red[x] ![p](http://example.com/x.png)'


class Explore:
    """The page, its map drawn."""

    def __init__(self, *, wait: bool = True, **link: str) -> None:
        self.app = AppTest.from_file(APP, default_timeout=60)
        for key, value in link.items():
            self.app.query_params[key] = value
        self.app.run()
        if wait:
            self.drawn()

    def drawn(self) -> None:
        for drawing in list(explore.all_maps()._drawings.values()):
            assert drawing.done.wait(WAIT_S)
        self.app.run()

    @property
    def part(self) -> Any:
        assert not self.app.exception
        [part] = [part for part in self.app.get("bidi_component") if part.proto.component_name == "footnote.map"]
        return part

    @property
    def data(self) -> Any:
        return json.loads(self.part.proto.json)

    def parts(self) -> dict[str, str]:
        """The packed numbers, as a browser gets them that has none of them yet."""
        self.send("need", {"token": self.data["token"], "parts": self.data["parts_there"]})
        parts: dict[str, str] = self.data["parts"]
        return parts

    @property
    def source(self) -> Any:
        [part] = [part for part in self.app.get("bidi_component") if part.proto.component_name == "footnote.source"]
        return json.loads(part.proto.json)["source"]

    def send(self, event: str, value: Any) -> None:
        """What map.js sends when one points, clicks or asks."""
        states = self.app._tree.get_widget_states()
        trigger = f"$$STREAMLIT_INTERNAL_KEY_{self.part.proto.id}__events"
        events = json.dumps([{"event": event, "value": value}])
        states.widgets.append(WidgetState(id=trigger, json_trigger_value=events))
        self.app._run(states)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of indexes, and the Explore page in place of the first one."""
    streamlit.cache_resource.clear()
    monkeypatch.setenv("FOOTNOTE_INDEXES", str(tmp_path))
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # the same with and without umap-learn
    monkeypatch.setattr("ui.ask.page", explore.page)  # AppTest opens pages that are files, and these are functions
    return tmp_path


@pytest.fixture
def handbook(folder: Path) -> rag.Index:
    index = rag.Index.create(folder / "handbook", encoder=HashingEncoder())
    index.add([rag.Document(name, text) for name, text in zip(NAMES, TEXTS, strict=True)])
    return index


def all_maps_drawn() -> list[PassageMap]:
    return [drawing.map for drawing in explore.all_maps()._drawings.values() if drawing.map]


def numbers(packed: str, kind: str) -> NDArray[Any]:
    return np.frombuffer(base64.b64decode(packed), dtype=kind)


def message_of(app: AppTest) -> tuple[str, str]:
    [part] = [part for part in app.get("bidi_component") if part.proto.component_name == "footnote.message"]
    view = json.loads(part.proto.json)
    return view["title"], view["text"]


def ids_of(index: rag.Index) -> dict[str, int]:
    with index.reading() as view:
        ids, _ = view.vectors()
        return {chunk.doc_id: i for i, chunk in view.store.chunks(ids.tolist()).items()}


# What is shown


def test_where_there_is_no_index_the_page_says_where_to_begin(folder: Path) -> None:
    page = Explore(wait=False)
    assert message_of(page.app) == (
        "Nothing to explore yet.",
        "Add a folder, and its passages stand here as a map.",
    )


def test_an_empty_index_says_so(folder: Path) -> None:
    rag.Index.create(folder / "handbook", encoder=HashingEncoder()).close()
    page = Explore(wait=False)
    assert message_of(page.app)[0] == "handbook has no documents yet."


def test_a_link_to_an_index_that_is_not_there_says_so(handbook: rag.Index) -> None:
    page = Explore(wait=False, index="gone")
    assert message_of(page.app)[0] == "There is no index 'gone' here."


def test_every_passage_is_a_point_with_its_place_and_groups(handbook: rag.Index) -> None:
    page = Explore()
    data, parts = page.data, page.parts()
    assert (data["title"], data["facts"]) == (
        "Map of handbook",
        "21 passages; those that mean alike stand near each other.",
    )
    names = {i: name for name, i in ids_of(handbook).items()}
    ids = numbers(parts["ids"], "<u4").tolist()
    assert ids == sorted(names)
    at = numbers(parts["overview"], "<u2").reshape(-1, 2).astype(float)
    bees = np.array([names[i].startswith("bees") for i in ids])
    assert abs(at[bees, 0].mean() - at[~bees, 0].mean()) > maps.UNITS / 3  # what is meant alike stands together
    by = {grouping["key"]: grouping for grouping in data["groupings"]}
    assert [by[key]["label"] for key in ("topic", "folder", "type")] == ["Topic", "Folder", "Type"]
    folders = [by["folder"]["groups"][k]["name"] for k in numbers(parts["folder"], "u1")]
    assert folders == [names[i].split("/")[0] for i in ids]
    types = [by["type"]["groups"][k]["name"] for k in numbers(parts["type"], "u1")]
    assert types == [names[i].rsplit(".", 1)[1] for i in ids]
    topics = by["topic"]["groups"]
    assert [topic["n"] for topic in topics] == [12, 9]
    assert {"honey", "hive"} & set(topics[0]["name"].split(", "))
    assert set(topics[1]["typical"]) <= {i for i in ids if names[i].startswith("ships")}


def test_the_points_go_to_the_browser_once_and_again_where_it_lacks_them(handbook: rag.Index) -> None:
    page = Explore()
    assert set(page.data["parts"]) <= set(page.data["parts_there"]) == {"ids", "overview", "folder", "type", "topic"}
    page.app.run()
    assert page.data["parts"] == {}
    page.send("need", {"token": page.data["token"], "parts": ["ids", "topic", "nonsense", 7]})
    assert set(page.data["parts"]) == {"ids", "topic"}


def test_while_the_map_is_being_drawn_the_page_says_so(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    may_go, began = threading.Event(), maps.principal_axes

    def slow(vectors: NDArray[np.float32]) -> maps.Projection:
        assert may_go.wait(WAIT_S)
        return began(vectors)

    monkeypatch.setattr(maps, "principal_axes", slow)
    monkeypatch.setattr(explore, "PATIENCE_S", 0.0)
    page = Explore(wait=False)
    assert (page.data["status"], page.data["parts_there"]) == ("Drawing the map of the passages", [])
    may_go.set()
    page.drawn()
    assert (page.data["status"], len(page.data["parts_there"])) == ("", 5)


def test_a_map_that_cannot_be_drawn_says_so_without_a_trace(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maps, "principal_axes", lambda vectors: 1 / 0)
    page = Explore(wait=False)
    assert page.data["status"].startswith("Something went wrong while drawing this page.")
    assert "ZeroDivision" not in json.dumps(page.data)


def test_a_sample_says_that_it_is_one(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maps, "MOST_POINTS", 10)
    assert Explore().data["facts"] == "A sample: 10 of 21 passages, drawn by chance."


# Pointing and opening


def test_pointing_brings_the_texts_of_the_passages(handbook: rag.Index) -> None:
    page, ids = Explore(), ids_of(handbook)
    page.send("look", [ids["bees/3.md"], 99_999])
    assert page.data["texts"] == [
        {"id": ids["bees/3.md"], "title": "bees/3.md", "where": "", "text": TEXTS[3]},
        {"id": 99_999, "title": "This passage is not in the index any more.", "where": "", "text": ""},
    ]
    page.app.run()
    assert page.data["texts"] == []  # once


def test_the_text_of_a_long_passage_ends_at_a_word(folder: Path) -> None:
    with rag.Index.create(folder / "handbook", encoder=HashingEncoder(max_tokens=256)) as index:
        index.add([rag.Document("a.md", "word " * 120, "A title")])
    page = Explore()
    page.send("look", [1])
    [text] = page.data["texts"]
    assert (text["title"], text["where"]) == ("A title", "a.md")
    assert text["text"].endswith("word …")
    assert len(text["text"]) <= 320


def test_of_an_index_that_was_made_anew_a_map_of_before_names_no_passage(handbook: rag.Index) -> None:
    Explore()
    id_, held = ids_of(handbook)["bees/3.md"], open_index(handbook.path).index
    handbook.close()
    found = all_maps_drawn()[0]
    assert explore._chunks(held, found, [id_])[id_].doc_id == "bees/3.md"
    rag.Index.delete(handbook.path)
    with rag.Index.create(handbook.path, encoder=HashingEncoder()) as other:
        other.add([rag.Document(f"{i}.md", f"Salary {i}.") for i in range(20)])
        assert id_ in ids_of(other).values()
    assert explore._chunks(held, found, [id_]) == {}
    assert explore.pin_passage(held, found, found.layouts["overview"], id_) is None


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[Passage], int]]:
    """What the pane was opened at, call by call; it opens there too."""
    calls: list[tuple[list[Passage], int]] = []
    really = pane.open_passages

    def open_passages(passages: Sequence[Passage], number: int) -> None:
        calls.append((list(passages), number))
        really(passages, number)

    monkeypatch.setattr(pane, "open_passages", open_passages)
    return calls


def test_a_click_opens_exactly_that_passage_of_its_document(
    handbook: rag.Index, opened: list[tuple[list[Passage], int]]
) -> None:
    page, ids = Explore(), ids_of(handbook)
    page.send("open", {"ids": [ids["ships/14.txt"]], "number": 1})
    [([passage], number)] = opened
    assert (passage.source, passage.quote, number) == ("ships/14.txt", TEXTS[14], 1)
    assert handbook.document(passage.source).text[passage.start : passage.end] == TEXTS[14]
    assert page.source["quote"] == TEXTS[14]


def test_a_passage_of_a_list_opens_with_the_others_of_the_list_beside_it(
    handbook: rag.Index, opened: list[tuple[list[Passage], int]]
) -> None:
    page, ids = Explore(), ids_of(handbook)
    page.send("open", {"ids": [ids["bees/1.md"], 99_999, ids["bees/2.txt"]], "number": 3})
    [(passages, number)] = opened
    assert ([passage.source for passage in passages], number) == (["bees/1.md", "bees/2.txt"], 2)


@pytest.mark.parametrize(
    ("event", "value"),
    [
        ("open", {"ids": ["1; drop table chunks"], "number": 1}),
        ("open", {"ids": [1], "number": 5}),
        ("open", {"ids": [10**30], "number": 1}),
        ("open", {"ids": [99_999], "number": 1}),
        ("open", [1]),
        ("look", {"ids": 1}),
        ("look", [True, None, -1, 1.5]),
        ("like", "1"),
        ("like", 99_999),
        ("ask", 7),
        ("ask", "   "),
        ("need", ["ids"]),
        ("layout", "../x"),
    ],
)
def test_what_a_browser_should_not_send_counts_for_nothing(handbook: rag.Index, event: str, value: Any) -> None:
    page = Explore()
    page.send(event, value)
    assert (page.data["pin"], page.data["texts"], page.data["layout"], page.source) == (None, [], "overview", None)


# Pins


def test_a_question_drops_its_pin_among_the_passages_nearest_to_it(handbook: rag.Index) -> None:
    page = Explore()
    page.send("ask", "Which bees make honey?")
    pin = page.data["pin"]
    assert (pin["kind"], pin["title"], len(pin["near"])) == ("question", "Which bees make honey?", 8)
    assert all(row["title"].startswith("bees/") for row in pin["near"])
    assert page.app.query_params["q"] == "Which bees make honey?"
    parts = page.parts()
    ids, at = numbers(parts["ids"], "<u4").tolist(), numbers(parts["overview"], "<u2").reshape(-1, 2).tolist()
    assert [at[ids.index(row["id"])] for row in pin["near"]] == [row["at"] for row in pin["near"]]


def test_the_words_of_a_passage_as_a_question_fall_on_its_own_point(handbook: rag.Index) -> None:
    page = Explore()
    parts = page.parts()
    at = numbers(parts["overview"], "<u2").reshape(-1, 2).astype(float)
    row = numbers(parts["ids"], "<u4").tolist().index(ids_of(handbook)["ships/15.md"])
    page.send("ask", TEXTS[15])
    assert page.data["pin"]["near"][0]["title"] == "ships/15.md"
    assert page.data["pin"]["near"][0]["at"] == at[row].tolist()
    assert page.data["pin"]["at"] == pytest.approx(at[row].tolist(), abs=maps.UNITS * 2e-3)  # float16


def test_more_like_this_shows_the_neighbours_of_a_passage_without_itself(handbook: rag.Index) -> None:
    handbook.add([rag.Document("copy.md", TEXTS[3])])
    page, ids = Explore(), ids_of(handbook)
    page.send("like", ids["bees/3.md"])
    pin = page.data["pin"]
    assert (pin["kind"], pin["title"], len(pin["near"])) == ("passage", TEXTS[3], 8)
    assert all(row["text"] != TEXTS[3] and row["title"].startswith("bees/") for row in pin["near"])


def test_nearest_passages_that_the_sample_left_out_stand_where_they_would(
    handbook: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Explore()
    whole.send("ask", "Which bees make honey?")
    wanted = [row["title"] for row in whole.data["pin"]["near"]]
    streamlit.cache_resource.clear()
    monkeypatch.setattr(maps, "MOST_POINTS", 8)
    page = Explore()
    page.send("ask", "Which bees make honey?")
    assert [row["title"] for row in page.data["pin"]["near"]] == wanted
    drawing = explore.all_maps().get(page.data["token"])
    assert drawing is not None
    assert drawing.map is not None
    left_out = [row for row in page.data["pin"]["near"] if row["id"] not in drawing.map.ids]
    assert left_out
    with handbook.reading() as view:
        vectors = np.array([view.vector(row["id"]) for row in left_out])
    assert [tuple(row["at"]) for row in left_out] == drawing.map.layouts[maps.OVERVIEW].place(vectors)


def test_taking_the_pin_away_empties_the_address(handbook: rag.Index) -> None:
    page = Explore()
    page.send("ask", "Which bees make honey?")
    page.send("clear", True)
    assert page.data["pin"] is None
    assert "q" not in page.app.query_params


def test_a_link_with_a_question_hands_it_to_the_map(handbook: rag.Index) -> None:
    page = Explore(index="handbook", q="Where do ships sail?")
    assert (page.data["linked"], page.data["pin"]) == ("Where do ships sail?", None)  # the map is there before the pin
    page.send("ask", page.data["linked"])
    assert page.data["linked"] is None
    assert page.data["pin"]["near"][0]["title"].startswith("ships/")


def test_the_address_names_the_index_and_the_question(folder: Path, handbook: rag.Index) -> None:
    with rag.Index.create(folder / "menu", encoder=HashingEncoder()) as menu:
        menu.add([rag.Document(f"{i}.md", f"Soup number{i}") for i in range(5)])
    page = Explore()
    assert page.app.query_params == {"index": "handbook"}
    page.app.selectbox[0].select("menu").run()
    page.drawn()
    page.send("ask", "Which soup is it?")
    assert page.app.query_params == {"index": "menu", "q": "Which soup is it?"}


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the browser's Back and Forward do: `turn(page, q="…")`."""

    def go(page: Explore, **values: str) -> None:
        with monkeypatch.context() as back:
            back.setattr("ui.shell.went_back", lambda: True)
            page.app.query_params.clear()
            page.app.query_params.update({"index": "handbook", **values})
            page.app.run()

    return go


def test_on_the_way_back_the_pins_follow_the_address(handbook: rag.Index, turn: Callable[..., None]) -> None:
    page = Explore(index="handbook", q="Which bees make honey?")
    page.send("ask", "Which bees make honey?")
    page.send("ask", "Where do ships sail?")
    turn(page, q="Which bees make honey?")
    assert page.data["linked"] == "Which bees make honey?"
    page.send("ask", page.data["linked"])
    assert (page.data["linked"], page.data["pin"]["title"]) == (None, "Which bees make honey?")
    assert page.app.query_params["q"] == "Which bees make honey?"


def test_a_pin_that_back_took_away_stays_away(handbook: rag.Index, turn: Callable[..., None]) -> None:
    page = Explore()
    page.send("ask", "Which bees make honey?")
    turn(page)
    assert (page.data["linked"], page.data["pin"]) == (None, None)
    page.app.run()
    assert page.data["pin"] is None
    assert page.app.query_params == {"index": "handbook"}


def test_who_comes_back_to_the_map_finds_the_pin_and_its_question_in_the_address(
    handbook: rag.Index, turn: Callable[..., None]
) -> None:
    page = Explore()
    page.send("ask", "Which bees make honey?")
    page.app.session_state["page"] = "search"  # where one has been meanwhile; its address is gone with it
    page.app.query_params.clear()
    page.app.run()
    assert page.data["pin"]["title"] == "Which bees make honey?"
    assert page.app.query_params == {"index": "handbook", "q": "Which bees make honey?"}


def test_a_question_is_cut_where_the_box_ends(handbook: rag.Index) -> None:
    page = Explore()
    page.send("ask", "honey " * 1_000)
    assert len(page.data["pin"]["title"]) == len(page.app.query_params["q"]) == 2_000
    assert len(Explore(q="honey " * 1_000).data["linked"]) == 2_000


def test_pinning_alone_does_not_count_as_an_answer(handbook: rag.Index) -> None:
    page = Explore()
    page.send("ask", "Which bees make honey?")
    opened = open_index(handbook.path)
    assert not opened.warm


def test_a_question_that_cannot_be_asked_says_why(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any, **__: Any) -> None:
        raise EncoderError("the model is not there: see rag doctor")

    page = Explore()
    monkeypatch.setattr(HashingEncoder, "encode_queries", fails)
    monkeypatch.setattr(HashingEncoder, "read_queries", fails)
    page.send("ask", "Which bees make honey?")
    assert (page.data["status"], page.data["pin"]) == ("the model is not there: see rag doctor", None)


def test_a_pin_moves_along_to_a_map_drawn_anew(handbook: rag.Index) -> None:
    page = Explore()
    page.send("ask", "Which bees make honey?")
    handbook.add([rag.Document("bees/new.md", "Which bees make honey?")])
    page.app.run()
    page.drawn()
    assert not page.data["stale"]
    assert page.data["facts"].startswith("22 passages")
    assert page.data["pin"]["near"][0]["title"] == "bees/new.md"


def test_another_index_has_a_map_of_its_own_and_keeps_no_pin_of_a_passage(folder: Path, handbook: rag.Index) -> None:
    with rag.Index.create(folder / "menu", encoder=HashingEncoder()) as menu:
        menu.add([rag.Document(f"{i}.md", f"Soup number{i}") for i in range(5)])
    page = Explore(index="handbook")
    page.send("like", ids_of(handbook)["bees/3.md"])
    assert page.data["pin"] is not None
    page.app.selectbox[0].select("menu").run()
    page.drawn()
    assert (page.data["facts"][:10], page.data["pin"]) == ("5 passages", None)


def test_a_map_that_was_done_when_another_index_was_chosen_is_not_shown_as_the_others(
    folder: Path, handbook: rag.Index
) -> None:
    with rag.Index.create(folder / "menu", encoder=HashingEncoder()) as menu:
        menu.add([rag.Document(f"{i}.md", f"Soup number{i}") for i in range(5)])
    page = Explore(index="handbook")
    page.app.session_state["map_kept"] = "handbook", page.data["token"]
    page.app.selectbox[0].select("menu").run()
    assert not page.data["facts"].startswith("21")
    page.drawn()
    assert page.data["facts"][:10] == "5 passages"


def test_two_sessions_share_one_map(handbook: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    began = maps.principal_axes

    def counted(vectors: NDArray[np.float32]) -> maps.Projection:
        calls.append(len(vectors))
        return began(vectors)

    monkeypatch.setattr(maps, "principal_axes", counted)
    one, other = Explore(), Explore()
    assert one.data["token"] == other.data["token"]
    assert calls == [21]


def test_texts_and_names_reach_the_page_as_they_are(folder: Path) -> None:
    with rag.Index.create(folder / "handbook", encoder=HashingEncoder()) as index:
        index.add([rag.Document(f"<b>{i}</b>.md", f"{HOSTILE} {i}", HOSTILE) for i in range(9)])
    page = Explore()
    page.send("look", [1])
    [text] = page.data["texts"]
    assert (text["title"], text["text"]) == (HOSTILE, f"{HOSTILE} 0")


def test_the_scripts_of_the_map_set_texts_and_no_markup() -> None:
    script = "".join((WEB / name).read_text(encoding="utf-8") for name in ("map.js", "points.js"))
    for unsafe in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http:", "https:"):
        assert unsafe not in script


# Colours


def colours(theme: str) -> list[str]:
    sheet = (WEB / "map.css").read_text(encoding="utf-8")
    found = re.findall(r"--colour\d: light-dark\((#\w{6}), (#\w{6})\)", sheet)
    return [pair[theme == "dark"] for pair in found]


def linear(colour: str) -> NDArray[np.float64]:
    """Linear light of an sRGB colour."""
    c = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.asarray(np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4))


def oklab(light: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ottosson 2020: a space in which distances are as the eye sees them."""
    to_cones = [[0.4122214708, 0.5363325363, 0.0514459929], [0.2119034982, 0.6806995451, 0.1073969566]]
    to_cones.append([0.0883024619, 0.2817188376, 0.6299787005])
    to_lab = [[0.2104542553, 0.7936177850, -0.0040720468], [1.9779984951, -2.4285922050, 0.4505937099]]
    to_lab.append([0.0259040371, 0.7827717662, -0.8086757660])
    return np.asarray(np.array(to_lab) @ np.cbrt(np.array(to_cones) @ light.clip(0, 1)))


# Machado, Oliveira and Fernandes 2009, doi:10.1109/TVCG.2009.113: how colours look, at full severity.
SEEN = {
    "all colours": np.eye(3),
    "no red": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "no green": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "no blue": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("kind", SEEN)
def test_the_eight_colours_stay_apart_also_for_the_colour_blind(theme: str, kind: str) -> None:
    seen = [oklab(np.array(SEEN[kind]) @ linear(colour)) for colour in colours(theme)]
    assert len(seen) == 8
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 0.1


@pytest.mark.parametrize(("theme", "page"), [("light", "#FFFFFF"), ("dark", "#14171C")])
def test_each_colour_has_3_to_1_against_the_page(theme: str, page: str) -> None:
    def light(colour: str) -> float:
        return float(linear(colour) @ [0.2126, 0.7152, 0.0722]) + 0.05

    for colour in colours(theme):
        assert max(light(colour), light(page)) / min(light(colour), light(page)) >= 3
