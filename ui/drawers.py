"""What opens beside the page for a moment: the threads that were kept, the export of one, the settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from datetime import datetime
from typing import Any

import streamlit as st

from rag.errors import RagError
from rag.generators import EXTRACTIVE
from ui import ask
from ui.access import owner, told
from ui.components import open_component
from ui.export import Exported, escaped, file_name
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
HOW_NAMED = (
    "One on a server is named as openai:llama3.2@http://localhost:11434/v1, one on this computer as "
    "transformers: and its folder."
)
ASK = ""  # the last part of its page's address


def ask_for(name: str) -> None:
    """Open a drawer with the next run: "threads" or "settings"."""
    st.session_state["drawer"] = name


def draw(place: Place) -> None:
    """Open what was asked for; called last in a run."""
    match st.session_state.pop("drawer", None):
        case "threads":
            st.session_state.update(thread_search="", threads_shown=PER_PAGE, threads_fault="")
            threads(place)
        case "export":
            export_drawer()
        case "settings":
            _fill(place)
            settings_drawer(place)


@st.dialog("Threads", position="left")
def threads(place: Place) -> None:
    """The threads of this index and the others, newest first, with one box to search them."""
    try:
        view = _list(place)
    except RagError as exc:
        st.text(told(str(exc)))
    else:
        open_component("threads", KEY)(data=view, on_do_change=_do)


def _list(place: Place) -> Json:
    state = st.session_state
    search, shown = state.get("thread_search", ""), state.get("threads_shown", PER_PAGE)
    found = ask.threads_of(place).list(owner(), search=search, limit=shown + 1)
    open_one = state.get("talk")
    return {
        "search": search,
        "threads": [_row(thread, gone=thread.index not in place.names) for thread in found[:shown]],
        "fault": state.get("threads_fault", ""),
        "more": len(found) > shown,
        "open": open_one.thread if open_one else None,
        "indexes": len({thread.index for thread in found}) > 1,
    }


def _row(thread: Thread, *, gone: bool) -> Json:
    n = thread.n_turns
    return {
        "id": thread.id,
        "title": thread.title,
        "index": thread.index,
        "gone": gone,
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
        st.session_state["threads_fault"] = ""
        try:
            act(event)
        except RagError as exc:  # a thread that was removed in another tab
            st.session_state["threads_fault"] = f"{told(str(exc))}."


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
        case "export" if isinstance(id_ := event.get("id"), int):
            state.update(drawer="export", export=Exported.of(kept.thread(owner(), id_), kept.turns(owner(), id_)))
            st.rerun()
        case "fresh":
            ask.begin_anew()
            _to_ask()


def _to_ask() -> None:
    """Show the Ask page, and close the drawer. Gone there from there, it would look as if one began anew."""
    st.session_state["missing"] = None
    if st.session_state.get("page") == ASK:
        st.rerun()
    go("ask")


@st.dialog("Export")
def export_drawer() -> None:
    """A thread, or one answer of it, as a file with all its evidence."""
    exported: Exported = st.session_state["export"]
    if exported.one is not None and len(exported.entries) > 1:
        whole = "The whole thread"
        if st.radio("What", [whole, "This answer"], horizontal=True, label_visibility="collapsed") != whole:
            exported = exported.alone
    st.text("Each footnote goes with it: file, page or heading, and the quote.")
    files = {"Markdown": ("md", "text/markdown", exported.markdown), "Web page": ("html", "text/html", exported.html)}
    with st.container(horizontal=True):
        for label, (ending, kind, written) in files.items():
            st.download_button(label, written(), file_name(exported.title, ending), kind, on_click="ignore")


def _fill(place: Place) -> None:
    """Put what was chosen into the widgets of the settings; from then on they hold it themselves."""
    loaded = SettingsFile(place.folder / FILE_NAME).load(owner(), Host.of_environment())
    chosen = loaded.settings
    st.session_state.update(
        settings_notes=loaded.notes,
        settings_style=chosen.answer_style,
        settings_strictness=chosen.strictness,
        settings_sources=chosen.sources,
        settings_generator=chosen.generator,
        settings_offered=chosen.generator,
        settings_named="",
        settings_shown=chosen,
    )


@st.dialog("Settings", position="right")
def settings_drawer(place: Place) -> None:
    """What a person can choose; every change is kept at once."""
    file, host = SettingsFile(place.folder / FILE_NAME), Host.of_environment()
    chosen = file.load(owner(), host).settings
    for note in st.session_state["settings_notes"]:
        st.text(told(note))
    style = st.radio(
        "Answers",
        list(ANSWER_STYLES),
        format_func=ANSWER_STYLES.__getitem__,
        captions=list(ANSWER_STYLE_MEANINGS.values()),
        key="settings_style",
        horizontal=True,
    )
    strictness = st.select_slider(
        "How sure an answer must be, from careful to eager",
        list(STRICTNESSES),
        format_func=STRICTNESSES.__getitem__,
        key="settings_strictness",
    )
    said = st.container()
    sources = st.slider("Passages read for an answer", SOURCES[0], SOURCES[-1], key="settings_sources")
    generator = _generator(chosen.generator, host)
    try:
        shown, picked = st.session_state["settings_shown"], Settings(style, sources, strictness, generator)
        st.session_state["settings_shown"] = picked
        wanted = changed(chosen, shown, picked)
        if wanted != chosen:
            file.save(owner(), wanted, host)
    except RagError as exc:
        st.text(told(str(exc)))
        wanted = chosen
    with said:
        found = meaning(wanted, calibration_for(wanted, place.path) if place.path else None)
        st.text(found.text)
        st.caption(found.basis)
    if (opened := place.opened()) is not None:
        name, why = encoder_lines(opened.index.status())
        with st.container(key="encoder", gap=None):
            st.text(f"Reading model: {name}")
            st.text(why)


def changed(chosen: Settings, before: Settings, now: Settings) -> Settings:
    """What is chosen, with what is another now than before: in another tab other things may have been chosen since."""
    was = asdict(before)
    return replace(chosen, **{name: value for name, value in asdict(now).items() if value != was[name]})


def _generator(chosen: str, host: Host) -> str:
    """Who writes the answer: the documents' own words, or a model that somebody named."""
    known = (host.generator, st.session_state["settings_offered"])
    offered = [EXTRACTIVE, *dict.fromkeys(g for g in known if g and g != EXTRACTIVE)]
    picked = st.radio(
        "Answers are written by",
        offered if host.is_public else [*offered, ANOTHER],
        format_func=lambda name: "Another model" if name == ANOTHER else escaped(shown_generator(name)),
        key="settings_generator",
    )
    if picked != ANOTHER:
        return picked
    named = st.text_input(
        "Its name and address", placeholder="openai:llama3.2@http://localhost:11434/v1", key="settings_named"
    )
    named = named.strip() or chosen
    if named.partition(":")[0] not in (EXTRACTIVE, "openai", "transformers"):
        st.text(f"{named} names no model. {HOW_NAMED}")
        return chosen
    return named
