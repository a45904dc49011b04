"""The Search page: passages, matched words, filters that are exact, and why each was found."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable, Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from streamlit.proto.WidgetStates_pb2 import WidgetState

import rag
from rag.errors import UsageError
from rag.locks import write_lock
from rag.queries import read_query
from rag.store import DocumentFacts
from tests.apps import AppTest
from tests.fakes import HashingEncoder
from ui import search
from ui.facets import Facets
from ui.hits import count_line, excerpt, hit_view, matched, nothing_found, parts, plain_query, why_view

SCRIPT = "from ui import search, shell\nshell.heed_address('search')\nshell.guarded(search.page)()"
HOSTILE = '<img src=x onerror=alert(1)> ![p](http://x.example/p.png) :red[honey] $x$ <script>alert("honey")</script>'
DOCUMENTS = [
    rag.Document("bees/honey.md", "# Bees\n\nBees make **honey** from flowers on trees.", "Bees"),
    rag.Document("bees/wild/hives.txt", "Wild bees keep no honey for the winter."),
    rag.Document("cows.txt", "Cows give milk.", metadata={"kind": "farm", "year": 2020}),
    rag.Document("goats.txt", "Goats give milk as well.", metadata={"kind": "farm", "year": 2021}),
    rag.Document("apples.pdf", "Apples grow on trees.", metadata={"kind": "garden", "year": 2021}),
]


class Page:
    """The page under `AppTest`, which runs the script without a browser."""

    def __init__(self, **link: str) -> None:
        self.app = AppTest.from_string(SCRIPT, default_timeout=60)
        for key, value in link.items():
            self.app.query_params[key] = value
        self.app.run()

    def part(self, name: str) -> Any:
        """The values of 'results' or 'source', and the part itself."""
        assert not self.app.exception
        wanted = {"results": "facets", "source": "source"}[name]
        [found] = [p for p in self.app.get("bidi_component") if wanted in json.loads(p.proto.json)]
        return found

    @property
    def view(self) -> Any:
        return json.loads(self.part("results").proto.json)

    @property
    def source(self) -> Any:
        return json.loads(self.part("source").proto.json)["source"]

    def do(self, what: str, value: object = None, *, part: str = "results") -> None:
        """What the browser sends when something is done in a part."""
        states = self.app._tree.get_widget_states()
        trigger = f"$$STREAMLIT_INTERNAL_KEY_{self.part(part).proto.id}__events"
        event = json.dumps([{"event": "do", "value": {"what": what, "value": value}}])
        states.widgets.append(WidgetState(id=trigger, json_trigger_value=event))
        self.app._run(states)

    def hit(self, source: str) -> Any:
        [found] = [hit for hit in self.view["hits"] if hit["source"] == source]
        return found

    @property
    def sources(self) -> list[str]:
        return [hit["source"] for hit in self.view["hits"]]

    def choose(self, facet: str, label: str | None) -> None:
        [found] = [f for f in self.view["facets"] if f["label"] == facet]
        conditions = {choice["label"]: choice["condition"] for choice in found["choices"]}
        self.do("choose", {"facet": found["name"], "condition": None if label is None else conditions[label]})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    import streamlit

    streamlit.cache_resource.clear()
    monkeypatch.setenv("FOOTNOTE_INDEXES", str(tmp_path))
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    return tmp_path


@pytest.fixture
def farm(folder: Path) -> Iterator[rag.Index]:
    with rag.Index.create(folder / "farm", encoder=HashingEncoder()) as index:
        index.add(DOCUMENTS)
        yield index


# What is shown


def test_before_anything_is_searched_the_page_says_what_can_be(farm: rag.Index) -> None:
    view = Page().view
    assert view["title"] == "Search your documents."
    assert view["text"].startswith("5 documents in farm.")
    assert view["hits"] == []


def test_where_there_is_nothing_to_search_it_says_so(folder: Path) -> None:
    page = Page()
    [part] = page.app.get("bidi_component")
    assert "Search your documents." in part.proto.json
    rag.Index.create(folder / "empty", encoder=HashingEncoder()).close()
    assert Page().view["title"] == "empty has no documents yet."


def test_a_link_opens_the_search_and_searching_makes_one(farm: rag.Index) -> None:
    page = Page(index="farm", query="honey")
    assert page.sources[:2] == ["bees/wild/hives.txt", "bees/honey.md"]
    page.do("search", "milk")
    assert set(page.sources[:2]) == {"cows.txt", "goats.txt"}
    assert page.app.query_params == {"index": "farm", "query": "milk"}
    page.do("search", "")
    assert "query" not in page.app.query_params
    assert page.view["title"] == "Search your documents."


@pytest.fixture
def turn(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """What the browser's Back and Forward do: `turn(page, query="…")`."""

    def go(page: Page, **values: str) -> None:
        with monkeypatch.context() as back:
            back.setattr("ui.shell.went_back", lambda: True)
            page.app.query_params.clear()
            page.app.query_params.update(values)
            page.app.run()

    return go


def test_the_address_opens_the_list_with_its_slider_and_filters(farm: rag.Index, turn: Callable[..., None]) -> None:
    page = Page(query="milk")
    page.do("weight", 0.75)
    page.choose("Type", "txt")
    page.choose("Kind", "farm")
    link = dict(page.app.query_params)
    assert link == {"index": "farm", "query": "milk", "weight": "0.75", "filters": 'type=txt;meta.kind="farm"'}
    again = Page(**link)
    assert (again.view["weight"], again.sources) == (0.75, page.sources)
    assert [f["chosen"] for f in again.view["facets"]] == [f["chosen"] for f in page.view["facets"]]
    again.do("choose", {"facet": None})
    again.do("weight", 0.5)
    assert again.app.query_params == {"index": "farm", "query": "milk"}
    turn(again, **link)
    assert (again.view["weight"], again.sources) == (0.75, page.sources)


def test_back_takes_a_filter_out_again_and_keeps_the_others(farm: rag.Index, turn: Callable[..., None]) -> None:
    page = Page(query="milk", filters="type=txt")
    page.choose("Kind", "farm")
    turn(page, index="farm", query="milk", filters="type=txt")
    assert {f["label"]: f["chosen"] for f in page.view["facets"] if f["chosen"]} == {"Type": "txt"}
    turn(page, index="farm", query="honey", filters="type=txt")
    assert page.sources[0] == "bees/wild/hives.txt"
    assert {f["label"]: f["chosen"] for f in page.view["facets"] if f["chosen"]} == {"Type": "txt"}


@pytest.mark.parametrize("weight", ["7", "-1", "nan", "0.3", "<b>", ""])
@pytest.mark.parametrize("filters", ["type=exe", "type=pdf or 1", ";;", "%", "path=../**", "meta.kind=farm", HOSTILE])
def test_what_a_link_asks_for_and_is_not_offered_counts_for_nothing(farm: rag.Index, weight: str, filters: str) -> None:
    page = Page(index="farm", query="milk", weight=weight, filters=filters)
    assert page.view["weight"] == 0.5
    assert not any(facet["chosen"] for facet in page.view["facets"])
    assert page.app.query_params == {"index": "farm", "query": "milk"}


def test_a_condition_with_any_character_comes_back_from_the_address(folder: Path) -> None:
    with rag.Index.create(folder / "odd", encoder=HashingEncoder()) as index:
        kinds = ["a;b", "50%", "%3B", "x", "; type=txt"]
        index.add(rag.Document(f"{i}.txt", "milk", metadata={"kind": kinds[i % 5]}) for i in range(10))
        facets = search.facets_of(index)
    [conditions] = [[c.condition for c in facet.choices] for facet in facets.offer({}) if facet.label == "Kind"]
    assert len(conditions) == 5
    for condition in conditions:
        link = search.link_to(search.Asked("milk", chosen={"meta.kind": condition}))
        assert search.asked_by({k: v for k, v in link.items() if v}, facets).chosen == {"meta.kind": condition}


def test_a_list_of_what_is_like_a_passage_has_an_address_too(farm: rag.Index, turn: Callable[..., None]) -> None:
    page = Page(query="honey")
    page.app.session_state["brought"] = {"query": "", "like": "0-15:cows.txt"}
    page.app.run()
    assert page.app.query_params == {"index": "farm", "like": "0-15:cows.txt"}
    again = Page(index="farm", like="0-15:cows.txt")
    assert (again.view["like"], again.sources) == ("cows.txt", page.sources)
    turn(page, index="farm", query="honey")
    assert (page.view["like"], page.view["query"]) == (None, "honey")
    turn(page, index="farm", like="0-15:cows.txt")
    assert (page.view["like"], page.sources) == ("cows.txt", again.sources)


@pytest.mark.parametrize(
    "like", ["cows.txt", "0-15:", "0-15:gone.txt", "15-0:cows.txt", "99-120:cows.txt", "0-x:cows.txt"]
)
def test_a_link_to_what_is_no_passage_opens_the_page_with_nothing_asked(farm: rag.Index, like: str) -> None:
    page = Page(index="farm", like=like)
    assert (page.view["like"], page.view["title"]) == (None, "Search your documents.")
    assert page.app.query_params == {"index": "farm"}


def test_the_part_hears_of_a_search_that_finds_the_same_again(farm: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.perf_counter", lambda: 0.0)  # the list tells how long it took
    page = Page(query="milk")
    before = page.view
    page.do("search", "milk")
    assert before != page.view
    assert {**before, "acts": None} == {**page.view, "acts": None}


def test_matched_words_are_marked_in_all_their_forms_and_markup_is_left_out(farm: rag.Index) -> None:
    page = Page(query="making honeys")
    text = page.hit("bees/honey.md")["parts"]
    assert [part["text"] for part in text if part.get("match")] == ["make", "honey"]
    assert "".join(part["text"] for part in text).split() == "Bees Bees make honey from flowers on trees.".split()
    page.do("around", page.hit("bees/honey.md")["id"])
    around = "".join(part["text"] for part in page.hit("bees/honey.md")["around"])
    assert around == "Bees\n\nBees make honey from flowers on trees."


def test_the_count_names_passages_files_and_time(farm: rag.Index) -> None:
    page = Page(query="milk")
    assert page.view["note"].startswith("5 passages in 5 files · 0.")
    page.do("weight", 0)
    assert page.view["note"].startswith("2 passages in 2 files · ")


def test_the_slider_goes_from_words_alone_to_meaning_alone(farm: rag.Index) -> None:
    page = Page(query="milk")
    for weight, mode in [(0, "bm25"), (1, "dense"), (0.5, "hybrid")]:
        page.do("weight", weight)
        expected = rag.Retriever(farm).search("milk", mode=mode)  # type: ignore[arg-type]
        assert page.sources == [hit.chunk.doc_id for hit in expected]
        assert page.view["weight"] == weight


def test_nothing_found_is_said_with_what_can_be_done(farm: rag.Index) -> None:
    page = Page(query='"purple cows"')
    assert page.view["title"] == "Nothing found."
    assert page.view["text"] == "No passage holds “purple cows” as it is written: ask without the quotes or hyphens."
    page.do("search", "milk")
    page.do("weight", 0)
    page.choose("Type", "pdf")
    assert page.view["title"] == "Nothing found with these filters."
    page.do("choose", {"facet": None})
    assert page.sources == ["cows.txt", "goats.txt"]


def test_a_query_that_cannot_be_searched_is_refused_in_words(farm: rag.Index, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise UsageError("expected a shorter query")

    monkeypatch.setattr(rag.Retriever, "search", refuse)
    view = Page(query="milk").view
    assert (view["title"], view["text"]) == ("This cannot be searched.", "expected a shorter query")


def test_more_passages_come_when_they_are_asked_for(farm: rag.Index) -> None:
    farm.add(rag.Document(f"n{i:03}.txt", f"Note {i} about milk.") for i in range(40))
    page = Page(query="milk")
    assert (len(page.view["hits"]), page.view["more"]) == (10, True)
    assert page.view["note"].startswith("The first 10 passages in 10 files")
    page.do("more")
    assert (len(page.view["hits"]), page.view["more"]) == (30, True)
    page.do("more")
    assert (len(page.view["hits"]), page.view["more"]) == (45, False)


def test_text_around_a_passage_shows_its_neighbours_beside_it(farm: rag.Index) -> None:
    words = " ".join(f"word{i}" for i in range(600))
    farm.add([rag.Document("long.txt", f"{words}\n\nThe zebra sleeps.\n\n{words}")])
    page = Page(query="zebra")
    hit = page.hit("long.txt") if page.sources.count("long.txt") == 1 else page.view["hits"][0]
    page.do("around", hit["id"])
    around = page.view["hits"][0]["around"]
    beside = "".join(part["text"] for part in around if part.get("beside"))
    own = "".join(part["text"] for part in around if not part.get("beside"))
    assert "zebra" in own
    assert "word" in beside
    assert "".join(part["text"] for part in around) in farm.document("long.txt").text
    page.do("around", hit["id"])
    assert "around" not in page.view["hits"][0]


def test_why_says_the_shares_and_the_words_that_are_held(farm: rag.Index) -> None:
    page = Page(query="honey of bees")
    page.do("why", page.hit("bees/wild/hives.txt")["id"])
    why = page.hit("bees/wild/hives.txt")["why"]
    assert why["shares"]["words"] + why["shares"]["meaning"] == 100
    assert 0 < why["shares"]["words"] < 100
    assert (
        "It holds both words: “honey”, “bees”." in why["lines"]
        or "It holds both words: “bees”, “honey”." in why["lines"]
    )
    assert all("why" not in hit for hit in page.view["hits"] if hit["source"] != "bees/wild/hives.txt")


def test_a_click_opens_the_passage_beside_with_exactly_it_marked(farm: rag.Index) -> None:
    page = Page(query="honey")
    assert not page.source
    number = page.sources.index("bees/honey.md") + 1
    page.do("open", page.hit("bees/honey.md")["id"])  # from here on only the pane is redrawn
    source = page.source
    assert source["number"] == number
    assert "".join(leaf["text"] for node in source["nodes"] for leaf in leaves(node) if leaf.get("mark")) == (
        farm.document("bees/honey.md").text
    )
    page.do("go", 1, part="source")
    assert page.source["number"] == 1
    page.do("go", 0, part="source")
    assert not page.source


def leaves(view: Any) -> Iterator[Any]:
    if "text" in view:
        yield view
    for child in view.get("of", []):
        yield from leaves(child)


def test_more_like_a_passage_leaves_the_passage_itself_out(farm: rag.Index) -> None:
    page = Page()
    text = farm.document("cows.txt").text
    page.app.session_state["brought"] = {"query": "", "like": f"0-{len(text)}:cows.txt"}
    page.app.run()
    assert page.view["like"] == "cows.txt"
    assert page.sources[0] == "goats.txt"
    assert "cows.txt" not in page.sources
    assert "query" not in page.app.query_params
    assert not any(part.get("match") for hit in page.view["hits"] for part in hit["parts"])  # nearly all would be
    page.do("search", "honey")
    assert page.view["like"] is None


def test_every_passage_of_such_a_list_says_why_it_is_there(farm: rag.Index) -> None:
    text = farm.document("cows.txt").text
    page = Page(like=f"0-{len(text)}:cows.txt")
    for hit in page.view["hits"]:
        page.do("why", hit["id"])
    assert len(page.view["hits"]) == len(DOCUMENTS) - 1
    assert all(hit.get("why") for hit in page.view["hits"])


def test_lines_of_one_file_count_as_one_file(farm: rag.Index, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    lines = [json.dumps({"id": f"r{i}", "text": f"Record {i} of milk."}) for i in range(3)]
    (tmp_path / "records" / "all.jsonl").write_text("\n".join(lines))
    farm.ingest(tmp_path / "records")
    page = Page(query="milk", weight="0")
    assert len(page.view["hits"]) == 5
    assert page.view["note"].startswith("5 passages in 3 files")


@pytest.mark.parametrize(
    "event",
    [
        {"what": "open", "value": 10**9},
        {"what": "open", "value": "1"},
        {"what": "around", "value": True},
        {"what": "weight", "value": 7},
        {"what": "weight", "value": "0"},
        {"what": "search", "value": ["x"]},
        {"what": "choose", "value": "type=pdf"},
        {"what": "choose", "value": {"facet": "type", "condition": "type=exe or 1"}},
        {"what": "__class__"},
    ],
)
def test_what_the_browser_sends_and_is_none_of_ours_changes_nothing(farm: rag.Index, event: dict[str, Any]) -> None:
    page = Page(query="milk")
    before = page.sources
    page.do(event["what"], event.get("value"))
    assert page.sources == before
    assert not page.source


def test_another_index_has_other_filters_and_closes_what_was_open(
    folder: Path, farm: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    with rag.Index.create(folder / "zoo", encoder=HashingEncoder()) as zoo:
        zoo.add([rag.Document("z.txt", "Zebras drink milk.")])
    page = Page(index="farm", query="milk")
    page.choose("Type", "txt")
    page.do("open", page.view["hits"][0]["id"])
    monkeypatch.setattr("ui.shell.went_back", lambda: True)
    page.app.query_params["index"] = "zoo"
    page.app.run()
    assert page.sources == ["z.txt"]
    assert not page.source


def test_markup_in_documents_names_metadata_and_queries_is_data(folder: Path) -> None:
    with rag.Index.create(folder / "odd", encoder=HashingEncoder()) as index:
        index.add(
            [
                rag.Document(f"{HOSTILE}/a.txt", HOSTILE, HOSTILE, metadata={"kind": HOSTILE[:60]}),
                rag.Document("b/b.txt", "honey", metadata={"kind": "plain"}),
                rag.Document("c.txt", "honey too", metadata={"kind": "plain"}),
            ]
        )
    page = Page(query=f"honey {HOSTILE}")
    text = page.view["hits"][page.sources.index(f"{HOSTILE}/a.txt")]["parts"]
    assert "".join(part["text"] for part in text) == HOSTILE
    assert not page.app.markdown
    assert all("alert" not in element.proto.body for element in page.app.get("html"))


# Filters


def test_filters_are_counted_and_every_passage_meets_them(farm: rag.Index) -> None:
    page = Page(query="milk")
    facets = {f["label"]: [(c["label"], c["count"]) for c in f["choices"]] for f in page.view["facets"]}
    assert facets == {
        "Folder": [("bees", 2), ("bees/wild", 1)],
        "Type": [("txt", 3), ("md", 1), ("pdf", 1)],
        "Kind": [("farm", 2), ("garden", 1)],
        "Year": [("2021", 2), ("2020", 1)],
    }
    page.choose("Folder", "bees")
    assert set(page.sources) == {"bees/honey.md", "bees/wild/hives.txt"}
    page.choose("Type", "txt")
    assert page.sources == ["bees/wild/hives.txt"]
    counts = {f["label"]: {c["label"]: c["count"] for c in f["choices"]} for f in page.view["facets"]}
    assert counts["Type"] == {"txt": 1, "md": 1}  # among those of the folder
    assert counts["Folder"] == {"bees": 1, "bees/wild": 1}  # among those of the type
    page.choose("Folder", None)
    assert set(page.sources) == {"bees/wild/hives.txt", "cows.txt", "goats.txt"}


names = st.text(alphabet=st.sampled_from("ab*?[]!#/. =~<>\"'é-"), min_size=1, max_size=8)
values = st.one_of(names, st.integers(-5, 5), st.booleans(), st.lists(names, max_size=2), st.none(), st.floats())


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(documents=st.dictionaries(names, st.dictionaries(st.sampled_from(["k", "a b", "x.y"]), values), max_size=8))
def test_the_count_of_every_choice_is_what_its_condition_finds(
    index: rag.Index, documents: dict[str, dict[str, Any]]
) -> None:
    for row in index.documents():
        index.remove(row.source)
    index.add(rag.Document(name, "text", metadata=metadata) for name, metadata in documents.items())
    facets = Facets(index.facts(), now=datetime.now())
    chosen: dict[str, str] = {}
    for facet in facets.offer({}):
        for choice in facet.choices:
            assert len(index.documents(where=[choice.condition])) == choice.count
        chosen[facet.name] = facet.choices[0].condition
    for facet in facets.offer(chosen):
        for choice in facet.choices:
            where = [c for name, c in chosen.items() if name != facet.name] + [choice.condition]
            assert len(index.documents(where=where)) == choice.count


facts = st.builds(
    DocumentFacts,
    source=names,
    relpath=st.one_of(st.none(), names),
    mtime_ns=st.one_of(st.none(), st.integers(10**18, 2 * 10**18)),
    metadata=st.dictionaries(st.sampled_from(["k", "l", "a b", "x.y"]), values),
)


@settings(max_examples=200, deadline=None)
@given(facts=st.lists(facts, max_size=12), data=st.data())
def test_choices_are_counted_as_a_plain_walk_over_the_documents_counts_them(
    facts: list[DocumentFacts], data: st.DataObject
) -> None:
    facets = Facets(facts, now=datetime.now())
    held = [set(dict(facets._pairs(fact))) for fact in facts]  # (facet name, condition) of each document
    offered = {facet.name: [choice.condition for choice in facet.choices] for facet in facets.offer({})}
    chosen = {name: data.draw(st.sampled_from(c)) for name, c in offered.items() if data.draw(st.booleans())}
    found = {facet.name: {c.condition: c.count for c in facet.choices} for facet in facets.offer(chosen)}
    assert found.keys() == offered.keys()
    for name, conditions in offered.items():
        others = {pair for pair in chosen.items() if pair[0] != name}
        counts = {c: sum(others | {(name, c)} <= of_one for of_one in held) for c in conditions}
        assert found[name] == {c: n for c, n in counts.items() if n or chosen.get(name) == c}


def test_of_an_index_the_filters_of_its_newest_state_alone_are_kept(farm: rag.Index) -> None:
    first = search.facets_of(farm)
    assert search.facets_of(farm) is first
    gone = weakref.ref(first)
    del first
    farm.add([rag.Document("new.csv", "Milk again.")])
    assert any("csv" in str(choice.label) for facet in search.facets_of(farm).offer({}) for choice in facet.choices)
    gc.collect()
    assert gone() is None


def test_while_files_are_read_filters_lag_a_little_and_are_exact_again_as_soon_as_nobody_writes(
    farm: rag.Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    def types() -> set[str]:
        return {choice.label for facet in search.facets_of(farm).offer({}) for choice in facet.choices}

    monkeypatch.setattr("ui.search._LAG", 0)
    before = types()
    monkeypatch.setattr("ui.search._LAG", 1e9)
    farm.add([rag.Document("new.csv", "Milk again.")])
    with write_lock(farm.path, doing="ingest"):
        now = types()  # they were due
        assert now > before
    farm.add([rag.Document("new.tex", "Milk once more.")])
    with write_lock(farm.path, doing="ingest"):
        assert types() == now
    assert types() > now


def test_dates_and_types_of_files_are_counted_as_they_are_found(index: rag.Index, tmp_path: Path) -> None:
    import os

    folder = tmp_path / "files" / "a [b] *c"
    folder.mkdir(parents=True)
    times = {"now.TXT": datetime.now(), "old.md": datetime(2019, 7, 1), "older.tar.txt": datetime(2001, 1, 1)}
    for name, time in times.items():
        (folder / name).write_text("text of it", encoding="utf-8")
        os.utime(folder / name, (time.timestamp(), time.timestamp()))
    (tmp_path / "files" / "lines.jsonl").write_text('{"id": "a.py", "text": "x"}\n{"id": "b/c", "text": "y"}\n')
    index.ingest(tmp_path / "files")
    found = {f.label: f for f in Facets(index.facts(), now=datetime.now()).offer({})}
    labels = {label: {choice.label: choice.count for choice in facet.choices} for label, facet in found.items()}
    assert labels["Type"] == {"txt": 2, "jsonl": 2, "md": 1}
    assert labels["Date"]["2019"] == 1
    assert labels["Date"]["Past week"] == 3
    assert list(labels["Date"])[:3] == ["Past week", "Past month", "Past year"]
    for facet in found.values():
        for choice in facet.choices:
            assert len(index.documents(where=[choice.condition])) == choice.count


# Values


@given(st.text(max_size=80), st.text(max_size=40))
@settings(deadline=None)
def test_matched_words_are_spans_in_order_without_overlaps(text: str, query: str) -> None:
    spans = matched(text, read_query(query or "x"))
    assert all(0 <= a < b <= len(text) for a, b in spans)
    assert all(b <= c for (_, b), (c, _) in pairwise(spans))
    low, high = excerpt(text, spans, at_most=20)
    assert 0 <= low <= high <= len(text)
    assert "".join(str(part["text"]) for part in parts(text, spans) if isinstance(part, dict)) == text


@pytest.mark.parametrize(
    ("text", "query", "words"),
    [
        ("The deadlines were refunded.", "refund deadline", ["deadlines", "refunded"]),
        ("What is it? It is what it was.", "what is it", ["What", "is", "it", "It", "is", "what", "it"]),
        ("The cat and the dog.", "the cat", ["cat"]),
        ("Café CAFE cafés", "cafe", ["Café", "CAFE", "cafés"]),
        ("東京は大きい。", "東京", ["東京"]),
        ("snake_case names", "snake_case", ["snake", "case"]),
        ("without milk", "bread -milk", []),
    ],
)
def test_words_match_as_the_index_matches_them(text: str, query: str, words: list[str]) -> None:
    assert [text[a:b] for a, b in matched(text, read_query(query))] == words


def test_an_excerpt_is_cut_between_words_where_most_of_them_are() -> None:
    text = "filler " * 100 + "the refund deadline is thirty days " + "filler " * 100
    spans = matched(text, read_query("refund deadline"))
    low, high = excerpt(text, spans)
    assert text[low:high].startswith("filler")
    assert "refund deadline" in text[low:high]
    assert high - low <= 360
    assert text[low - 1] == " "
    assert text[high] == " "


def test_the_text_of_a_passage_as_a_query_has_no_operators() -> None:
    query = read_query(plain_query('Bees -make "wild honey" „und“ -x'))
    assert (query.phrases, query.excluded) == ((), ())


def test_a_share_that_a_second_reader_gave_is_said_in_words(farm: rag.Index) -> None:
    [hit, *_] = rag.Retriever(farm).search("milk")
    why = rag.types.Explanation(None, None, None, {"reranker": 1.0}, {})
    view: Any = why_view(hit, why, read_query("milk"))
    assert "shares" not in view
    assert view["lines"][0].startswith("A model that reads the passage together with what was searched")


def test_the_same_text_elsewhere_is_named(farm: rag.Index) -> None:
    farm.add([rag.Document("copy.txt", "Cows give milk.")])
    hit = next(hit for hit in rag.Retriever(farm).search("cows milk") if hit.chunk.doc_id in ("copy.txt", "cows.txt"))
    view: Any = hit_view(hit, read_query("cows"))
    assert {view["source"], *view["also"]} == {"copy.txt", "cows.txt"}


def test_counts_are_told_in_the_singular_too() -> None:
    assert count_line(1, 1, seconds=0.0004, more=False) == "1 passage in 1 file · 0.01 s"
    assert nothing_found("milk", filtered=False)[0] == "Nothing found in these documents."
