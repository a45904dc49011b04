"""The Explore page: an index as a map, its topics, and where a question falls among the passages."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from rag.errors import RagError
from rag.index import Index
from rag.queries import read_query
from rag.types import Chunk, JsonValue
from ui import pane
from ui.access import told
from ui.components import component
from ui.maps import NEIGHBOURS, OVERVIEW, Drawing, Layout, Maps, PassageMap, state_token
from ui.render import Json, Passage
from ui.shell import OUR_FAULT, Opened, Place, linked, message, write_address

KEY = "map"  # of the part; the names of this page's state begin with it
PATIENCE_S = 0.4  # to wait for a map before the page says that it is being drawn
POLL_S = 0.5  # between two looks at what is still being worked out
NEAREST = 8  # passages joined with a pin
MAX_QUESTION = 2_000  # characters taken from a link or the box
_EMPTY = "Add a folder, and its passages stand here as a map."
_SNIPPET = 320  # characters of a passage that the map shows
_MOST_LOOKED_AT = 40  # texts sent for one look
_LAYOUTS = {
    OVERVIEW: ("Overview", "The two directions in which the passages differ most"),
    NEIGHBOURS: ("Neighbours", "Passages that mean alike stand together; how far groups are apart says little"),
}
_GROUPINGS = {"topic": "Topic", "folder": "Folder", "type": "Type"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pin:
    """A question or a passage on the map, and the passages nearest to it, the nearest first."""

    kind: str  # "question" or "passage"
    title: str
    at: tuple[float, float]  # in units of the layout
    near: tuple[tuple[int, tuple[float, float], Chunk], ...]  # id, place, passage


@st.cache_resource(show_spinner=False)
def all_maps() -> Maps:
    """The maps of this process, for all sessions."""
    return Maps()


def page(place: Place) -> None:
    """The page. Its address, `?index=…&q=…`, names the index and the question that is pinned, if one is."""
    state = st.session_state
    if (question := linked("q")) is not None:
        state["map_linked"] = question[:MAX_QUESTION].strip() or None
        if state["map_linked"] is None:  # Back led to where nothing was pinned
            _unpin()
    if place.missing:
        message(f"There is no index {place.missing!r} here.", "Choose another at the top right, or add one in Library.")
        return
    opened = place.opened()
    if opened is None:
        message("Nothing to explore yet.", _EMPTY, to_library=True)
        return
    write_address(index=place.name, q=_named_question())
    if opened.index.is_empty():
        message(f"{opened.name} has no documents yet.", _EMPTY, to_library=True)
        return
    if state.get("map_index") != opened.name:
        state["map_index"] = opened.name
        if (state.get("map_wish") or ("", 0))[0] == "passage":  # its number means another one here
            state["map_wish"] = None
    drawing = _drawing(opened.index)
    drawing.drawn.wait(PATIENCE_S)
    with pane.beside(place), st.container(key="explore"):
        # Looked at again and again until nothing more comes; then once more whole, without the clock.
        st.fragment(run_every=None if drawing.done.is_set() else POLL_S)(_map)(opened, drawing)


def _drawing(index: Index) -> Drawing:
    """The map that this session shows: of the index as it is now, but for the run that ends the drawing of one."""
    state = st.session_state
    of, token = state.pop("map_kept", None) or ("", "")
    if of == index.path.name and (drawing := all_maps().get(token)):  # another may have been chosen in the meantime
        return drawing
    return all_maps().of(index)


def _map(opened: Opened, drawing: Drawing) -> None:
    """The part itself. It alone is drawn again when one points, asks, or something new has been worked out."""
    state = st.session_state
    if state.pop("map_anew", False):
        st.rerun()
    if drawing.done.is_set() and state.get("map_polled") == drawing.token:
        state["map_polled"], state["map_kept"] = None, (opened.name, drawing.token)
        st.rerun()  # before anything is drawn, for of two pictures in a row a browser may see only the last
    if not drawing.done.is_set():
        state["map_polled"] = drawing.token
    try:
        data = view_of(opened, drawing)
    except RagError as exc:
        data = {**_blank(opened.name), "status": told(str(exc))}
    except Exception:
        log.exception("drawing the map failed")
        data = {**_blank(opened.name), "status": OUR_FAULT}
    component("map", "points")(
        key=KEY,
        data=data,
        on_need_change=_need,
        on_look_change=_look,
        on_open_change=lambda: _open(opened.index, drawing.map),
        on_ask_change=_ask,
        on_like_change=_like,
        on_clear_change=_clear,
        on_layout_change=_layout,
        on_anew_change=_anew,
    )


# What the part is given


def _blank(name: str) -> Json:
    return {"token": "", "title": f"Map of {name}", "facts": "", "groupings": [], "layouts": [], "parts_there": []}


def view_of(opened: Opened, drawing: Drawing) -> Json:
    """The map as the part draws it: what is new since the last time, and names for all that is there.

    Raises:
        RagError: the index cannot be read.
    """
    state = st.session_state
    found = drawing.map
    if found is None:
        if drawing.drawn.is_set():
            fault = drawing.fault
            return {**_blank(opened.name), "status": told(str(fault)) if isinstance(fault, RagError) else OUR_FAULT}
        return {**_blank(opened.name), "status": "Drawing the map of the passages"}
    if not found.total:
        words = "The passages are still being read. The map comes with the first ones that are done."
        return {**_blank(opened.name), "status": words}
    layout = found.layouts.get(state.get("map_layout") or OVERVIEW, found.layouts[OVERVIEW])
    notice = _answer_wish(opened, found, layout)
    there = _parts_there(found)
    status = notice or ("" if "topic" in found.groupings else "Finding topics")
    data: Json = {
        "token": found.token,
        "title": f"Map of {opened.name}",
        "facts": _facts(found),
        "notes": list(_notes(found)),
        "status": status,
        "layout": layout.name,
        "layouts": _layouts(found),
        "groupings": _groupings(found),
        "parts_there": list(there),
        "parts": _parts(found, there),
        "texts": _texts(opened.index, found),
        "pin": _pin_view(state.get("map_pin")),
        "asked": state.get("map_asked", 0),
        "linked": state.get("map_linked"),
        "stale": found.is_done and state_token(opened.index) != found.token,
    }
    return data


def _facts(found: PassageMap) -> str:
    if found.is_sample:
        return f"A sample: {len(found.ids):,} of {found.total:,} passages, drawn by chance."
    n = len(found.ids)
    return f"{n:,} passage{'' if n == 1 else 's'}; those that mean alike stand near each other."


def _notes(found: PassageMap) -> Iterable[str]:
    if found.waiting:
        yield f"{found.waiting:,} more are still being read, and are not on the map yet."
    if found.neighbours == "coming" and "topic" in found.groupings:
        yield "A layout by neighbours is being worked out; the overview stays meanwhile."
    if found.neighbours == "failed":
        yield "The layout by neighbours could not be worked out; the terminal where rag ui runs shows why."


def _layouts(found: PassageMap) -> list[JsonValue]:
    if found.neighbours not in {"coming", "ready"}:
        return []
    return [
        {"key": key, "label": label, "about": about, "ready": key in found.layouts}
        for key, (label, about) in _LAYOUTS.items()
    ]


def _groupings(found: PassageMap) -> list[JsonValue]:
    return [
        {
            "key": key,
            "label": label,
            "groups": [
                {"name": group.name, "n": group.n, "typical": list(group.typical)}
                for group in (found.groupings[key].groups if key in found.groupings else ())
            ],
        }
        for key, label in _GROUPINGS.items()
        if key != "topic" or key not in found.groupings or found.groupings[key].groups
    ]


def _parts_there(found: PassageMap) -> dict[str, Any]:
    """The packed numbers of a map by name; little-endian, as every browser keeps them."""
    layouts = {name: layout.at for name, layout in found.layouts.items()}
    groupings = {name: grouping.of for name, grouping in found.groupings.items()}
    return {"ids": found.ids.astype("<u4"), **layouts, **groupings}


def _parts(found: PassageMap, there: dict[str, Any]) -> Json:
    """Those of the packed numbers that the browser lacks: half a megabyte for 50,000 points, so they go once."""
    state = st.session_state
    needed = state.pop("map_needed", ())
    sent: set[str] = state.setdefault("map_sent", set())
    new = [name for name in there if f"{found.token}/{name}" not in sent or name in needed]
    sent.update(f"{found.token}/{name}" for name in new)
    return {name: base64.b64encode(np.ascontiguousarray(there[name]).tobytes()).decode() for name in new}


def _texts(index: Index, found: PassageMap) -> list[JsonValue]:
    """What was pointed at since the last time."""
    wanted = st.session_state.pop("map_looked", ())
    if not wanted:
        return []
    chunks = _chunks(index, found, wanted)
    return [{"id": i, **_snippet(chunks[i])} if i in chunks else _gone(i) for i in wanted]


def _chunks(index: Index, found: PassageMap, ids: Sequence[int]) -> dict[int, Chunk]:
    """Passages of the map by id; those that have gone are left out."""
    with index.reading() as view:
        return view.store.chunks(ids) if found.is_of(view.store) else {}


def _snippet(chunk: Chunk) -> Json:
    text, passage = " ".join(chunk.text.split()), passage_of(chunk)
    where = [passage.source] if passage.title else []
    return {
        "title": passage.title or passage.source,
        "where": " · ".join([*where, *([passage.place] if passage.place else [])]),
        "text": text if len(text) <= _SNIPPET else text[: _SNIPPET - 1].rsplit(" ", 1)[0] + " …",
    }


def _gone(chunk_id: int) -> Json:
    return {"id": chunk_id, "title": "This passage is not in the index any more.", "where": "", "text": ""}


def passage_of(chunk: Chunk) -> Passage:
    return Passage(chunk.doc_id, chunk.title, chunk.page, chunk.section, chunk.start, chunk.end, chunk.text)


def _pin_view(pin: Pin | None) -> Json | None:
    if pin is None:
        return None
    near: list[JsonValue] = [{"id": i, "at": list(at), **_snippet(chunk)} for i, at, chunk in pin.near]
    return {"kind": pin.kind, "title": pin.title, "at": list(pin.at), "near": near}


# Pins


def _answer_wish(opened: Opened, found: PassageMap, layout: Layout) -> str:
    """Pin what was asked for, and move a pin along when the map or the layout is another one; why not, if it cannot."""
    state = st.session_state
    if (wish := state.get("map_wish")) is None:
        state["map_pin"] = None
        return ""
    drawn_for = (found.token, layout.name, wish)
    if state.get("map_pin_of") == drawn_for:
        return ""
    kind, value = wish
    state["map_pin"], state["map_pin_of"] = None, drawn_for
    try:
        if kind == "question":
            state["map_pin"] = pin_question(opened, found, layout, value)
        else:
            state["map_pin"] = pin_passage(opened.index, found, layout, value)
    except RagError as exc:
        return told(str(exc))
    finally:
        state["map_asked"] = state.get("map_asked", 0) + 1
    return ""


def pin_question(opened: Opened, found: PassageMap, layout: Layout, question: str) -> Pin:
    """Where a question falls, and the passages that mean the most like it.

    Raises:
        RagError: there is no question in the text, or the index cannot be read.
    """
    index = opened.index
    hits = opened.pipeline.retriever.search(question, k=NEAREST, mode="dense")
    vector = index.encoder.encode_queries([read_query(question).text])
    [at] = layout.place(vector)
    near = _on_map(index, found, layout, [(hit.chunk_id, hit.chunk) for hit in hits])
    return Pin("question", question, at, near)


def pin_passage(index: Index, found: PassageMap, layout: Layout, chunk_id: int) -> Pin | None:
    """The passages most like one; other places of the same text are left out. None where the passage has gone."""
    with index.reading() as view:
        vector = view.vector(chunk_id)
        own = view.store.chunks([chunk_id]).get(chunk_id) if found.is_of(view.store) else None
        if vector is None or own is None:
            return None
        nearest = list(view.dense(vector, k=4 * NEAREST))
        chunks = view.store.chunks(nearest)
    alike: dict[str, int] = {}
    for i in nearest:
        if i != chunk_id and chunks[i].text != own.text:
            alike.setdefault(chunks[i].text, i)
    near = _on_map(index, found, layout, [(i, chunks[i]) for i in list(alike.values())[:NEAREST]])
    [(_, at, _)] = _on_map(index, found, layout, [(chunk_id, own)])
    return Pin("passage", " ".join(own.text.split()), at, near)


def _on_map(
    index: Index, found: PassageMap, layout: Layout, passages: Sequence[tuple[int, Chunk]]
) -> tuple[tuple[int, tuple[float, float], Chunk], ...]:
    """Passages with their places; of one that the sample left out, the place where it would stand."""
    placed = []
    for chunk_id, chunk in passages:
        row = int(np.searchsorted(found.ids, chunk_id))
        if row < len(found.ids) and found.ids[row] == chunk_id:
            placed.append((chunk_id, (float(layout.at[row, 0]), float(layout.at[row, 1])), chunk))
            continue
        with index.reading() as view:
            vector = view.vector(chunk_id)
        if vector is not None:
            placed.append((chunk_id, layout.place(vector[None, :])[0], chunk))
    return tuple(placed)


# What the part sends. A browser may send anything: what is not as expected counts for nothing.


def _sent(event: str) -> Any:
    return st.session_state[KEY][event]


def _ids(value: object, *, most: int = _MOST_LOOKED_AT) -> list[int]:
    """Ids of passages, without what is none."""
    given = value if isinstance(value, list) else []
    return [i for i in given if isinstance(i, int) and not isinstance(i, bool) and 0 <= i < 2**63][:most]


def _need() -> None:
    value = _sent("need")
    parts = value.get("parts") if isinstance(value, dict) else None
    st.session_state["map_needed"] = (
        [part for part in parts if isinstance(part, str)] if isinstance(parts, list) else []
    )


def _look() -> None:
    st.session_state["map_looked"] = _ids(_sent("look"))


def _open(index: Index, found: PassageMap | None) -> None:
    """A passage was clicked: the pane opens at it, and walks through those that were listed with it."""
    value = _sent("open")
    ids = _ids(value.get("ids")) if isinstance(value, dict) else []
    number = value.get("number") if isinstance(value, dict) else None
    chunks = _chunks(index, found, ids) if found else {}
    if not isinstance(number, int) or not 1 <= number <= len(ids) or ids[number - 1] not in chunks:
        return
    there = [i for i in ids if i in chunks]
    st.session_state["map_looked"] = there  # so that the map can name what was clicked, whenever it is drawn next
    pane.open_passages([passage_of(chunks[i]) for i in there], there.index(ids[number - 1]) + 1)


def _ask() -> None:
    question = _sent("ask")
    if isinstance(question, str) and (question := question[:MAX_QUESTION].strip()):
        put_question(question)


def put_question(question: str) -> None:
    _wish("question", question)
    write_address(index=st.session_state["map_index"], q=question)


def _like() -> None:
    [chunk_id] = _ids([_sent("like")]) or [-1]
    if chunk_id >= 0:
        _wish("passage", chunk_id)
        write_address(q=None)


def _clear() -> None:
    _unpin()
    write_address(q=None)


def _wish(kind: str, value: str | int) -> None:
    """Let the next look at the map pin that, in place of whatever a link may have brought."""
    st.session_state.update(map_wish=(kind, value), map_pin_of=None, map_linked=None)


def _unpin() -> None:
    st.session_state.update(map_wish=None, map_pin=None, map_pin_of=None, map_linked=None)


def _named_question() -> str | None:
    """The question for the address: one that a link brought and that is not pinned yet, or the one that is."""
    kind, value = st.session_state.get("map_wish") or ("", None)
    question: str | None = st.session_state.get("map_linked") or (value if kind == "question" else None)
    return question


def _layout() -> None:
    if (layout := _sent("layout")) in _LAYOUTS:
        st.session_state["map_layout"] = layout


def _anew() -> None:
    st.session_state["map_anew"] = True
