"""The first visit, where nothing was read yet: drop files, name a folder, or take the sample."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from ui import library, sample
from ui.components import component
from ui.jobs import NOTE, Job, jobs
from ui.reading import Task
from ui.shell import Place

WELCOME = {
    "kind": "welcome",
    "title": "Ask your own documents. Nothing leaves this computer.",
    "text": "Every sentence of an answer has its footnote; click one to see the passage in its document.",
}


def beginning(place: Place) -> Job | None:
    """The reading that makes the first index, if one is under way."""
    folder = place.folder.absolute()
    active = (jobs().active(index) for index in jobs().indexes() if index.parent == folder)
    return next((job for job in active if job is not None), None)


def draw(place: Place) -> None:
    """The page of a first visit."""
    component("answer")(key="welcome", data=WELCOME)
    home = _home(place)
    if sample.folder() is not None:
        with st.container(border=True, key="first-sample"):
            st.text("Try it with the sample: a short course on embeddings, read in a few seconds.")
            st.button("Use the sample", key="first_sample", type="primary", on_click=_take_sample, args=(place,))
    with st.container(border=True, key="first-own"):
        st.text("Or read your own documents.")
        library.add(home)
    library.reading(home)  # what an earlier one came to, or left unread


def _home(place: Place) -> Path:
    """Where the first index is going to be; where one was begun, its folder."""
    kept = st.session_state.get("library.home")
    folder = place.folder.absolute()
    noted = sorted(note.parent for note in folder.glob(f"*/{NOTE}"))
    return Path(kept) if kept else noted[0] if noted else folder / library.FIRST_NAME


def _take_sample(place: Place) -> None:
    folder = sample.folder()
    assert folder is not None
    jobs().start(Task(place.folder.absolute() / sample.NAME, sample.TITLE, (str(folder),)))
