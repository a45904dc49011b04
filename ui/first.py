"""The first visit, where nothing was read yet: drop files, name a folder, or take the sample."""

from __future__ import annotations

import streamlit as st

from ui import library, sample
from ui.components import component
from ui.jobs import Job, jobs
from ui.reading import Task
from ui.shell import Place


def beginning(place: Place) -> Job | None:
    """The reading that makes the first index, if one is under way."""
    active = (jobs().active(index) for index in jobs().begun(place.folder))
    return next((job for job in active if job is not None), None)


def draw(place: Place, where: str) -> None:
    """The page of a first visit.

    Args:
        where: questions and files go, in a sentence.
    """
    title = f"Ask your own documents. {where}"
    text = "Every sentence of an answer has its footnote; click one to see the passage in its document."
    component("answer")(key="welcome", data={"kind": "welcome", "title": title, "text": text})
    home = library.home_of(place)
    if sample.folder() is not None:
        with st.container(border=True, key="first-sample"):
            st.text("Try it with the sample: a short course on embeddings, read in a few seconds.")
            st.button("Use the sample", key="first_sample", type="primary", on_click=_take_sample, args=(place,))
    with st.container(border=True, key="first-own"):
        st.text("Or read your own documents.")
        library.add(home)
    library.reading(library.told_of(place))  # what an earlier one came to, the sample's too, or left unread


def _take_sample(place: Place) -> None:
    folder = sample.folder()
    assert folder is not None
    jobs().start(Task(place.folder.absolute() / sample.NAME, sample.TITLE, (str(folder),)))
