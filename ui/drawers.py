"""What opens beside the page for a moment: the threads that were kept, the export of one, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import streamlit as st

from rag.errors import RagError
from rag.generators import EXTRACTIVE
from ui import ask, export
from ui.access import owner
from ui.components import component
from ui.export import escaped
from ui.keeping import FILE_NAME
from ui.render import Json
from ui.settings import (
    ANSWER_STYLE_MEANINGS,
    ANSWER_STYLES,
    SOURCES,
    STRICTNESSES,
    Host,
    Settings,
    SettingsFile,
    calibration_for,
    encoder_lines,
    meaning,
    shown_generator,
)
from ui.shell import Place, go, here
from ui.threads import Thread

KEY = "threads_part"  # of the component
PER_PAGE = 50
ANOTHER = "another"  # model than those that are offered


def ask_for(name: str) -> None:
    """Open a drawer with the next run: "threads", "export" or "settings"."""
    st.session_state["drawer"] = name


def draw(place: Place) -> None:
    """Open what was asked for; called last in a run."""
    match st.session_state.pop("drawer", None):
        case "threads":
            st.session_state.update(thread_search="", threads_shown=PER_PAGE)
            threads(place)
        case "export":
            export_thread(place)
        case "settings":
            settings_drawer(place)


@st.dialog("Threads", position="left")
def threads(place: Place) -> None:
    """The threads of this index and the others, newest first, with one box to search them."""
    try:
        view = _list(place)
    except RagError as exc:
        st.text(str(exc))
    else:
        component("threads")(key=KEY, data=view, on_do_change=_do)


def _list(place: Place) -> Json:
    state = st.session_state
    search, shown = state.get("thread_search", ""), state.get("threads_shown", PER_PAGE)
    found = ask.threads_of(place).list(owner(), search=search, limit=shown + 1)
    open_one = state.get("talk")
    return {
        "search": search,
        "threads": [_row(thread) for thread in found[:shown]],
        "more": len(found) > shown,
        "open": open_one.thread if open_one else None,
        "indexes": len({thread.index for thread in found}) > 1,
    }


def _row(thread: Thread) -> Json:
    n = thread.n_turns
    return {
        "id": thread.id,
        "title": thread.title,
        "index": thread.index,
        "when": when(thread.changed_at),
        "questions": f"{n} question{'' if n == 1 else 's'}",
    }


def when(at: str, *, now: datetime | None = None) -> str:
    """A moment as a person says it: the time of today, else the day.

    Args:
        at: ISO 8601, with its zone.
        now: what today is.
    """
    moment, today = datetime.fromisoformat(at).astimezone(), (now or datetime.now()).astimezone()
    if moment.date() == today.date():
        return f"{moment:%H:%M}"
    year = "" if moment.year == today.year else f" {moment.year}"
    return f"{moment.day} {moment:%B}{year}"


def _do() -> None:
    event = st.session_state[KEY]["do"]
    if isinstance(event, Mapping):
        act(event)


def act(event: Mapping[str, Any]) -> None:
    """Carry out what was done in the list of threads; what is none of ours counts for nothing.

    Args:
        event: 'what', and the 'id' or 'text' that belongs to it.
    """
    place, state = here(), st.session_state
    kept, text = ask.threads_of(place), event.get("text")
    match event.get("what"):
        case "search" if isinstance(text, str):
            state["thread_search"], state["threads_shown"] = text, PER_PAGE
        case "more":
            state["threads_shown"] += PER_PAGE
        case "rename" if isinstance(id_ := event.get("id"), int) and isinstance(text, str):
            kept.rename(owner(), id_, text)
        case "remove" if isinstance(id_ := event.get("id"), int):
            kept.remove(owner(), id_)
            ask.forget(id_)
        case "open" if isinstance(id_ := event.get("id"), int):
            thread = kept.thread(owner(), id_)
            if thread.index in place.names:
                state["index"] = thread.index
                ask.show_thread(here(), id_, kept.turns(owner(), id_))
                _to_ask()
        case "fresh":
            ask.begin_anew()
            _to_ask()


def _to_ask() -> None:
    """Show the Ask page, and close the drawer. Gone there from there, it would look as if one began anew."""
    if st.session_state.get("page") == ask.__name__:
        st.rerun()
    go("ask")


@st.dialog("Export this thread")
def export_thread(place: Place) -> None:
    """The thread that is shown, as a file with all its evidence."""
    talk = st.session_state.get("talk")
    if talk is None or talk.thread is None:
        st.text("There is nothing to export yet.")
        return
    kept = ask.threads_of(place)
    thread, turns = kept.thread(owner(), talk.thread), kept.turns(owner(), talk.thread)
    st.text("Each footnote goes with it: file, page or heading, and the quote.")
    files = {
        "Markdown": ("md", "text/markdown", export.thread_markdown),
        "Web page": ("html", "text/html", export.thread_html),
    }
    with st.container(horizontal=True):
        for label, (ending, kind, written) in files.items():
            name = export.file_name(thread.title, ending)
            st.download_button(label, written(thread, turns), name, kind, on_click="ignore")


@st.dialog("Settings", position="right")
def settings_drawer(place: Place) -> None:
    """What a person can choose; every change is kept at once."""
    file, host = SettingsFile(place.folder / FILE_NAME), Host.of_environment()
    loaded = file.load(owner(), host)
    chosen = loaded.settings
    for note in loaded.notes:
        st.text(note)
    style = st.radio(
        "Answers",
        list(ANSWER_STYLES),
        format_func=ANSWER_STYLES.__getitem__,
        captions=list(ANSWER_STYLE_MEANINGS.values()),
        index=list(ANSWER_STYLES).index(chosen.answer_style),
        horizontal=True,
    )
    strictness = st.select_slider(
        "How sure an answer must be",
        list(STRICTNESSES),
        value=chosen.strictness,
        format_func=STRICTNESSES.__getitem__,
    )
    said = st.container()
    sources = st.slider("Passages read for an answer", SOURCES[0], SOURCES[-1], chosen.sources)
    generator = _generator(chosen.generator, host)
    try:
        wanted = Settings(style, sources, strictness, generator)
        if wanted != chosen:
            file.save(owner(), wanted, host)
    except RagError as exc:
        st.text(str(exc))
        wanted = chosen
    with said:
        told = meaning(wanted, calibration_for(wanted, place.path) if place.path else None)
        st.text(told.text)
        st.caption(told.basis)
    if (opened := place.opened()) is not None:
        name, why = encoder_lines(opened.index.status())
        with st.container(key="encoder", gap=None):
            st.text(f"Reading model: {name}")
            st.text(why)


def _generator(chosen: str, host: Host) -> str:
    """Who writes the answer: the documents' own words, or a model that somebody named."""
    offered = [EXTRACTIVE, *dict.fromkeys(g for g in (host.generator, chosen) if g and g != EXTRACTIVE)]
    options = offered if host.is_public else [*offered, ANOTHER]
    picked = st.radio(
        "Answers are written by",
        options,
        format_func=lambda name: "Another model" if name == ANOTHER else escaped(shown_generator(name)),
        index=options.index(chosen) if chosen in options else 0,
    )
    if picked != ANOTHER:
        return picked
    named = st.text_input(
        "Its name and address", placeholder="openai:llama3.2@http://localhost:11434/v1", key="generator_named"
    )
    return named.strip() or chosen
