"""The Search page: ranked passages with their matched words, filters that are exact, and why each was found.

Its address opens what it shows: `/search?index=…&query=…`. Where they were chosen, `weight=0.75` is the share of
meaning (0.5 is not written), and `filters=type=pdf;path=bees/**` are conditions as the command line takes them, with
`%25` for a `%` in one and `%3B` for a `;`. In place of a query, `like=0-44:bees/honey.md` names the characters of a
document that passages like them are listed for. What is not offered here, or not in the index, counts for nothing.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any
from urllib.parse import unquote

import streamlit as st

from rag.errors import UsageError
from rag.fusion import DEFAULT_WEIGHT
from rag.index import Index
from rag.locks import who_writes
from rag.passages import widen
from rag.queries import read_query
from rag.types import Explanation, Hit
from ui import pane
from ui.access import told
from ui.components import component
from ui.facets import Facet, Facets
from ui.hits import chosen_ids, count_line, hit_view, nothing_found, passage_of, plain_query, without
from ui.maps import file_path
from ui.render import Json
from ui.shell import Opened, Place, address, linked, message, write_address

KEY = "results"  # of the component
FIRST, STEP, MOST = 10, 20, 200  # passages shown at first, more at a time, and at most
# Of the slider. The ends are searches of their own: at 0 the encoder is not asked at all, at 1 no word is looked for.
# A step away from one brings passages that it could not find, and what late interaction says of the best.
WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0)
_OVERLAPPING = 8  # passages that the one others are looked for like may overlap, itself included
_AROUND = 2  # passages before and behind that are 'around' one
_LAG = 20  # times as long as filters take to be read may they be kept while files are read into the index
HELP = """\
Words are found in all their forms, and what means the same in other words.
Put words in quotes to find them as they are written: "eight weeks".
A hyphen before a word leaves out what holds it: holiday -unpaid."""
_MAX_QUERY = 2_000  # characters taken from the box
_ADDRESS = ("query", "weight", "filters", "like")  # what of the address is this page's own
_LIKE = re.compile(r"(\d{1,12})-(\d{1,12}):(.+)", re.ASCII | re.DOTALL)


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


@dataclass(slots=True)
class _Latest:
    """The filters of an index as it was when they were last asked for."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    of: tuple[tuple[int, bytes], str] | None = None  # the change of the index, and the day
    facets: Facets | None = None
    due: float = -math.inf  # on the monotonic clock, when they are read anew even while files are read


def page(place: Place) -> None:
    if place.name is None:
        message(
            "Search your documents.", "There is nothing to search yet. Add files, then search here.", to_library=True
        )
        return
    if place.missing:
        message(f"There is no index {place.missing!r} here.", "Choose another at the top right.")
        return
    opened = place.opened()
    assert opened is not None
    _heed_address(place, opened.index)
    with pane.beside(place):
        component("results")(key=KEY, data=_view(opened), on_do_change=_do)
    write_address(index=place.name, **link_to(_asked()))


def _heed_address(place: Place, index: Index) -> None:
    """A link brings what is asked for; the pane brings one too, to look for passages like one."""
    state = st.session_state
    is_another = state.get("searched") != str(place.path)
    if is_another:  # its passages and filters are others
        state["searched"] = str(place.path)
        kept = "" if _asked().like else _asked().query
        state["asked"] = Asked(kept, weight=_asked().weight)
    brought = {name: value for name in _ADDRESS if (value := linked(name)) is not None}
    if brought or (is_another and address().get("index") == place.name):
        # An address tells all that is asked for: what it brought is what of it has changed.
        asked = asked_by({**address(), **brought}, facets_of(index))
        if link_to(asked) != link_to(_asked()):
            state["asked"] = asked


def link_to(asked: Asked) -> dict[str, str | None]:
    """What the address says of what is asked for; None is left out of it."""
    conditions = [c.replace("%", "%25").replace(";", "%3B") for c in asked.chosen.values()]
    return {
        "query": None if asked.like else asked.query or None,
        "like": f"{asked.like.start}-{asked.like.end}:{asked.like.source}" if asked.like else None,
        "weight": None if asked.weight == DEFAULT_WEIGHT else f"{asked.weight:g}",
        "filters": ";".join(conditions) or None,
    }


def asked_by(link: Mapping[str, str], facets: Facets) -> Asked:
    """What an address asks for.

    Args:
        link: its values by name.
        facets: of the index; of the filters, those that it offers count.
    """
    weights = {f"{weight:g}": weight for weight in WEIGHTS}
    weight = weights.get(link.get("weight", ""), DEFAULT_WEIGHT)
    chosen = facets.named(unquote(condition) for condition in link.get("filters", "").split(";"))
    if place := _LIKE.fullmatch(link.get("like", "")):
        return Asked(like=Like(place[3], int(place[1]), int(place[2])), weight=weight, chosen=chosen)
    return Asked(link.get("query", "")[:_MAX_QUERY].strip(), weight=weight, chosen=chosen)


def _view(opened: Opened) -> Json:
    asked = _asked()
    facets = facets_of(opened.index)
    asked = _with_text(opened.index, replace(asked, chosen=facets.known(asked.chosen)))
    st.session_state["asked"] = asked
    view: Json = {
        "query": "" if asked.like else asked.query,
        "like": asked.like.source if asked.like else None,
        "weight": asked.weight,
        "facets": [_facet_view(facet) for facet in facets.offer(asked.chosen) if facet.choices],
        "hits": [],
        "more": False,
        "note": "",
        "acts": st.session_state.get("acts", 0),  # so that the part hears of each, were the list the same as before
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
        return {**view, "title": "This cannot be searched.", "text": told(str(exc))}
    st.session_state["found"] = found
    if not found.hits:
        title, text = nothing_found(asked.query, filtered=bool(asked.chosen))
        return {**view, "title": title, "text": text}
    return {
        **view,
        "note": count_line(len(found.hits), n_files(opened.index, found.hits), seconds=found.seconds, more=found.more),
        "more": found.more and asked.k < MOST,
        "hits": hit_views(opened, asked, found.hits),
    }


def search(opened: Opened, asked: Asked) -> Found:
    """The passages for what is asked, and whether there are more than are shown.

    Raises:
        UsageError: what is asked has no sense.
    """
    started = time.perf_counter()
    hits = _ranked(opened, asked)
    seconds = time.perf_counter() - started
    if asked.like is not None:
        hits = without(hits, asked.like.source, asked.like.start, asked.like.end)
    return Found(tuple(hits[: asked.k]), len(hits) > asked.k, seconds)


def _ranked(opened: Opened, asked: Asked, *, explain: bool = False) -> list[Hit]:
    """More than are shown: one tells whether there are others, and those that overlap the passage itself go out."""
    k = asked.k + 1 + (_OVERLAPPING if asked.like else 0)
    conditions = list(asked.chosen.values())
    return opened.pipeline.retriever.search(asked.query, k=k, weight=asked.weight, where=conditions, explain=explain)


def n_files(index: Index, hits: Sequence[Hit]) -> int:
    """In how many files passages stand; of one with many lines or records, each is a document."""
    with index.reading() as view:
        origins = view.store.origins([hit.chunk_id for hit in hits])
    return len({file_path(*origins.get(hit.chunk_id, (hit.chunk.doc_id, None))) for hit in hits})


def hit_views(opened: Opened, asked: Asked, hits: tuple[Hit, ...]) -> list[Any]:
    """The passages of the list, with what is around those, and why those were found, of which that was asked."""
    query = read_query(asked.query)
    wide = {hit.chunk_id: widen(opened.index, [hit], window=_AROUND)[0] for hit in hits if hit.chunk_id in asked.around}
    why: dict[int, Explanation] = {}
    if not asked.why.isdisjoint(hit.chunk_id for hit in hits):
        explained = _ranked(opened, asked, explain=True)
        why = {hit.chunk_id: hit.explanation for hit in explained if hit.explanation is not None}
    return [
        hit_view(
            hit,
            query,
            marked=asked.like is None,
            around=wide.get(hit.chunk_id),
            why=why.get(hit.chunk_id) if hit.chunk_id in asked.why else None,
        )
        for hit in hits
    ]


def facets_of(index: Index) -> Facets:
    """The filters of an index, read anew when something was committed since; those of before are let go.

    While files are read into it, a commit follows the other: a large index keeps them for a while then. A search heeds
    the index as it is, so that only the counts lag.
    """
    latest, now = _latest(str(index.path)), datetime.now()
    with latest.lock:
        of = index.last_change(), now.date().isoformat()
        may_lag = time.monotonic() < latest.due and who_writes(index.path) is not None
        if latest.facets is None or (latest.of != of and not may_lag):
            began = time.monotonic()
            latest.facets = None  # first, so that there are never two
            latest.facets, latest.of = Facets(index.facts(), now=now), of
            ended = time.monotonic()
            latest.due = ended + _LAG * (ended - began)
        return latest.facets


@st.cache_resource(show_spinner=False, max_entries=8)
def _latest(path: str) -> _Latest:
    return _Latest()


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
    st.session_state["acts"] = st.session_state.get("acts", 0) + 1
    asked, found = _asked(), st.session_state.get("found") or Found((), False, 0.0)
    ids = [hit.chunk_id for hit in found.hits]
    value = event.get("value")
    match event.get("what"):
        case "search" if isinstance(value, str):
            asked = Asked(value[:_MAX_QUERY].strip(), weight=asked.weight, chosen=asked.chosen)
        case "weight" if isinstance(value, int | float) and value in WEIGHTS:
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
