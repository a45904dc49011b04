"""The Search page: ranked passages with their matched words, filters that are exact, and why each was found."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import streamlit as st

from rag.errors import UsageError
from rag.fusion import DEFAULT_WEIGHT
from rag.index import Index
from rag.passages import widen
from rag.queries import read_query
from rag.types import Explanation, Hit
from ui import pane
from ui.components import component
from ui.facets import Facet, Facets
from ui.hits import (
    chosen_ids,
    count_line,
    hit_view,
    nothing_found,
    passage_of,
    plain_query,
    without,
)
from ui.render import Json
from ui.shell import Opened, Place, linked, message, write_address

KEY = "results"  # of the component
FIRST, STEP, MOST = 10, 20, 200  # passages shown at first, more at a time, and at most
_AROUND = 2  # passages before and behind that are 'around' one
HELP = """\
Words are found in all their forms, and what means the same in other words.
Put words in quotes to find them as they are written: "eight weeks". A hyphen leaves a word out: leave -sick."""
_MAX_QUERY = 2_000  # characters taken from the box


@dataclass(frozen=True, slots=True)
class Like:
    """A passage that others like it are looked for."""

    source: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What the page is asked for."""

    query: str = ""
    like: Like | None = None  # then `query` is its text
    weight: float = DEFAULT_WEIGHT  # 0 words only, 1 meaning only
    chosen: Mapping[str, str] = field(default_factory=dict)  # condition by facet name
    k: int = FIRST
    around: frozenset[int] = frozenset()  # chunks whose surroundings are shown
    why: frozenset[int] = frozenset()  # chunks that say why they were found


@dataclass(frozen=True, slots=True)
class Found:
    """What one search gave."""

    hits: tuple[Hit, ...]
    more: bool  # whether there are further ones
    seconds: float


def page(place: Place) -> None:
    _heed_address(place)
    if place.name is None:
        message(
            "Search your documents.", "There is nothing to search yet. Add files on the page Library, then search here."
        )
        return
    if place.missing:
        message(f"There is no index {place.missing!r} here.", "Choose another at the top right.")
        return
    opened = place.opened()
    assert opened is not None
    with pane.beside(place):
        component("results")(key=KEY, data=_view(opened), on_do_change=_do)
    asked = _asked()
    write_address(index=place.name, query=asked.query if asked.query and not asked.like else None)


def _heed_address(place: Place) -> None:
    """A link brings a query; the pane brings a passage to look for others like it."""
    state = st.session_state
    if state.get("searched") != str(place.path):  # another index: its passages and filters are others
        state["searched"] = str(place.path)
        state["asked"] = replace(_asked(), chosen={}, like=None, k=FIRST, around=frozenset(), why=frozenset())
    query = linked("query")
    if query is not None:
        state["asked"] = Asked(query[:_MAX_QUERY].strip())
    like = state.pop("like", None)
    if like is not None:
        wanted = Like(str(like["source"]), int(like["start"]), int(like["end"]))
        state["asked"] = Asked(like=wanted, chosen=_asked().chosen)


def _view(opened: Opened) -> Json:
    asked = _asked()
    facets = facets_of(opened.index)
    asked = _with_text(opened.index, replace(asked, chosen=facets.known(asked.chosen)))
    st.session_state["asked"] = asked
    view: Json = {
        "query": "" if asked.like else asked.query,
        "like": asked.like.source if asked.like else None,
        "weight": asked.weight,
        "facets": [_facet_view(facet) for facet in facets.offer(asked.chosen)],
        "hits": [],
        "more": False,
        "note": "",
    }
    if not asked.query:
        n = opened.index.status().documents
        if not n:
            return {
                **view,
                "title": f"{opened.name} has no documents yet.",
                "text": "Add a folder on the page Library.",
            }
        return {
            **view,
            "title": "Search your documents.",
            "text": f"{n:,} document{'' if n == 1 else 's'} in {opened.name}. {HELP}",
        }
    try:
        found = search(opened, asked)
    except UsageError as exc:
        return {**view, "title": "This cannot be searched.", "text": str(exc)}
    st.session_state["found"] = found
    if not found.hits:
        title, text = nothing_found(asked.query, filtered=bool(asked.chosen))
        return {**view, "title": title, "text": text}
    return {
        **view,
        "note": count_line(found.hits, seconds=found.seconds, more=found.more),
        "more": found.more and asked.k < MOST,
        "hits": hit_views(opened, asked, found.hits),
    }


def search(opened: Opened, asked: Asked) -> Found:
    """The passages for what is asked, and whether there are more than are shown.

    Raises:
        UsageError: what is asked has no sense.
    """
    extra = 0 if asked.like is None else 8  # those that overlap the passage itself are left out
    started = time.perf_counter()
    hits = opened.pipeline.retriever.search(
        asked.query, k=asked.k + 1 + extra, weight=asked.weight, where=list(asked.chosen.values())
    )
    seconds = time.perf_counter() - started
    if asked.like is not None:
        hits = without(hits, asked.like.source, asked.like.start, asked.like.end)
    opened.warm = opened.warm or asked.weight > 0
    return Found(tuple(hits[: asked.k]), len(hits) > asked.k, seconds)


def hit_views(opened: Opened, asked: Asked, hits: tuple[Hit, ...]) -> list[Any]:
    """The passages of the list, with what is around those, and why those were found, of which that was asked."""
    query = read_query(asked.query)
    wide = {hit.chunk_id: widen(opened.index, [hit], window=_AROUND)[0] for hit in hits if hit.chunk_id in asked.around}
    why: dict[int, Explanation] = {}
    if not asked.why.isdisjoint(hit.chunk_id for hit in hits):
        explained = opened.pipeline.retriever.search(
            asked.query, k=len(hits), weight=asked.weight, where=list(asked.chosen.values()), explain=True
        )
        why = {hit.chunk_id: hit.explanation for hit in explained if hit.explanation is not None}
    return [
        hit_view(
            hit,
            query,
            around=wide.get(hit.chunk_id),
            why=why.get(hit.chunk_id) if hit.chunk_id in asked.why else None,
        )
        for hit in hits
    ]


def facets_of(index: Index) -> Facets:
    """The filters of an index, read anew only when something was committed since."""
    return _facets(str(index.path), index.last_change(), datetime.now().date().isoformat(), index)


@st.cache_resource(show_spinner=False, max_entries=8)
def _facets(path: str, change: tuple[int, bytes], today: str, _index: Index) -> Facets:
    return Facets(_index.facts(), now=datetime.now())


def _with_text(index: Index, asked: Asked) -> Asked:
    """With the text of the passage that others like it are looked for; without it where it is not there any more."""
    if asked.like is None or asked.query:
        return asked
    try:
        text = index.document(asked.like.source).text[asked.like.start : asked.like.end]
    except UsageError:
        text = ""
    query = plain_query(text)[:_MAX_QUERY]
    return replace(asked, query=query, like=asked.like if query else None)


def _facet_view(facet: Facet) -> Json:
    return {
        "name": facet.name,
        "label": facet.label,
        "chosen": facet.chosen.label if facet.chosen else None,
        "choices": [
            {"condition": c.condition, "label": c.label, "count": c.count, "depth": c.depth, "chosen": c.chosen}
            for c in facet.choices
        ],
    }


def _do() -> None:
    """Something was done in the list: what, and with what, as results.js sends it."""
    event = st.session_state[KEY]["do"]
    if isinstance(event, dict):
        act(event)


def act(event: Mapping[str, Any]) -> None:
    """Carry out what the browser sent; what is none of ours counts for nothing.

    Args:
        event: 'what', and what belongs to it.
    """
    asked, found = _asked(), st.session_state.get("found") or Found((), False, 0.0)
    ids = [hit.chunk_id for hit in found.hits]
    value = event.get("value")
    match event.get("what"):
        case "search" if isinstance(value, str):
            asked = Asked(value[:_MAX_QUERY].strip(), weight=asked.weight, chosen=asked.chosen)
        case "weight" if isinstance(value, int | float) and 0 <= value <= 1:
            asked = replace(asked, weight=float(value), k=FIRST)
        case "choose" if isinstance(value, dict):
            asked = replace(asked, chosen=_choose(asked.chosen, value), k=FIRST)
        case "more":
            asked = replace(asked, k=min(asked.k + STEP, MOST))
        case "around" if (chunk := chosen_ids(value, ids)) is not None:
            asked = replace(asked, around=asked.around ^ {chunk})
        case "why" if (chunk := chosen_ids(value, ids)) is not None:
            asked = replace(asked, why=asked.why ^ {chunk})
        case "open" if (chunk := chosen_ids(value, ids)) is not None:
            pane.open_passages([passage_of(hit) for hit in found.hits], ids.index(chunk) + 1)
            return
        case _:
            return
    if event["what"] in ("search", "weight", "choose"):  # other passages: what is open is none of them
        pane.put_away("search")
    st.session_state["asked"] = asked


def _choose(chosen: Mapping[str, str], value: Mapping[str, Any]) -> dict[str, str]:
    """What is chosen after a click: a condition of a facet, none of it, or nothing at all any more."""
    name, condition = value.get("facet"), value.get("condition")
    if name is None:
        return {}
    kept = {n: c for n, c in chosen.items() if n != name}
    return {**kept, str(name): condition} if isinstance(condition, str) else kept


def _asked() -> Asked:
    asked = st.session_state.get("asked", Asked())
    assert isinstance(asked, Asked)
    return asked
