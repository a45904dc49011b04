"""The source pane: the document of a footnote or a passage, beside the page it was opened from.

It is a fragment of its own, so that opening, walking and closing it redraws nothing of the page. A page draws its main
part inside `with beside(place):` and opens passages from the callbacks of its parts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlencode, urlsplit

import streamlit as st
from streamlit.errors import StreamlitAPIException

from rag.errors import RagError
from ui.access import told
from ui.components import component
from ui.render import Json, Passage
from ui.shell import OUR_FAULT, Place, bring, go
from ui.sources import MAX_STEPS, Shown, source_view

KEY = "source"  # of the fragment, and of the component in it

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pane:
    """What is open."""

    passages: tuple[Passage, ...] = ()  # that ‹ and › walk through
    number: int = 0  # of the one shown, from 1; 0 is closed
    shown: Shown = field(default_factory=Shown)  # how far it was opened up

    @property
    def passage(self) -> Passage | None:
        return self.passages[self.number - 1] if 1 <= self.number <= len(self.passages) else None


def open_passages(passages: Sequence[Passage], number: int) -> None:
    """Open the pane at a passage; the others are reached with ‹ and ›.

    In the callback of a widget or part only the pane is redrawn then; anywhere else the run that draws it shows it.

    Args:
        passages: in the order of their numbers.
        number: from 1; one that is not there closes the pane.
    """
    pane = Pane(tuple(passages), number)
    _show(pane if pane.passage else Pane())


def close() -> None:
    """Close the pane."""
    _show(Pane())


def put_away(*pages: str) -> None:
    """Close the panes of pages with the run that follows anyway; `close` redraws the pane at once, and nothing else.

    Args:
        pages: the last part of their addresses; "" is the first page.
    """
    panes = st.session_state.get("panes", {})
    st.session_state["panes"] = {path: pane for path, pane in panes.items() if path.rpartition("/")[2] not in pages}


@contextmanager
def beside(place: Place) -> Iterator[None]:
    """Lay the page out with the pane at its right, or over its lower half where it is narrow.

    Args:
        place: whose index holds the documents.
    """
    if st.session_state.get("panes_of") != str(place.path):  # another index: what is open there is not in this one
        st.session_state["panes_of"], st.session_state["panes"] = str(place.path), {}
    with st.container(key="beside"):
        main, side = st.container(key="beside-main"), st.container(key="beside-pane")
    with main:
        yield
    with side:
        _source(place)


@st.fragment(key=KEY)
def _source(place: Place) -> None:
    if like := st.session_state.pop("find_like", None):  # here, for a callback cannot turn to another page
        _find_like(place, like)
    try:
        view = _view(place)
    except RagError as exc:
        view = _fault(told(str(exc)))
    except Exception:
        log.exception("drawing a source failed")
        view = _fault(OUR_FAULT)
    component("source")(key=KEY, data={"source": view}, on_do_change=_do)


def _find_like(place: Place, passage: str) -> None:
    """Search for passages like one, by its address: one step of the browser's way back."""
    if _page().rpartition("/")[2] == "search":
        bring(query="", like=passage)
        st.rerun()
    go("search", **({"index": place.name} if place.name else {}), like=passage)


def _view(place: Place) -> Json | None:
    pane = _pane()
    opened = place.opened() if pane.passage else None
    if opened is None or pane.passage is None:
        return None
    view = source_view(opened.index, pane.passage, number=pane.number, of=len(pane.passages), shown=pane.shown)
    if view.get("file"):
        page = f"#page={view['page']}" if view.get("pages") else ""
        view["file"] = f"source?{urlencode({'index': opened.name, 'source': pane.passage.source})}{page}"
    return view


def _fault(words: str) -> Json:
    pane = _pane()
    assert pane.passage
    return {
        "number": pane.number,
        "of": len(pane.passages),
        "title": pane.passage.title or pane.passage.source,
        "place": pane.passage.label,
        "quote": pane.passage.quote,
        "lost": f"{words} The passage as it was read:",
        "nodes": [],
    }


def _do() -> None:
    """Something was clicked in the pane: only this fragment runs then."""
    event = st.session_state[KEY]["do"]
    if isinstance(event, dict):
        _keep(act(_pane(), event))


def act(pane: Pane, event: Mapping[str, Any]) -> Pane:
    """The pane after what the browser sent; what is none of ours counts for nothing.

    Args:
        pane: as it is.
        event: 'what', and a 'value' where there is one.
    """
    value, shown, passage = event.get("value"), pane.shown, pane.passage
    number = value if isinstance(value, int) and not isinstance(value, bool) else 0
    match event.get("what"):
        case "go":
            return Pane(pane.passages, number) if 1 <= number <= len(pane.passages) else Pane()
        case "above":
            shown = replace(shown, above=min(shown.above + 1, MAX_STEPS))
        case "below":
            shown = replace(shown, below=min(shown.below + 1, MAX_STEPS))
        case "page" if number > 0:
            shown = replace(shown, page=number)
        case "text":
            shown = replace(shown, as_text=not shown.as_text)
        case "like" if passage is not None:
            st.session_state["find_like"] = f"{passage.start}-{passage.end}:{passage.source}"
            return Pane()
    return replace(pane, shown=shown)


def _pane() -> Pane:
    pane = st.session_state.get("panes", {}).get(_page(), Pane())
    assert isinstance(pane, Pane)
    return pane


def _keep(pane: Pane) -> None:
    st.session_state["panes"] = {**st.session_state.get("panes", {}), _page(): pane}


def _page() -> str:
    """Each page has its own pane, which is as it was when one comes back."""
    return urlsplit(st.context.url or "").path


def _show(pane: Pane) -> None:
    _keep(pane)
    try:
        st.rerun(KEY)
    except StreamlitAPIException:  # not in a callback, or the pane was not drawn yet: this run will
        return
