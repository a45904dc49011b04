"""The script that Streamlit runs: the frame around the pages, then the page that the address names."""

from __future__ import annotations

import streamlit as st

from ui import ask, drawers, explore, library, search
from ui.components import component
from ui.shell import address, guarded, heed_address, heed_go, here

ICON = (  # our own: Streamlit fetches emoji and Material icons for the tab from elsewhere
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1F5FAF"/>'
    '<path d="M12 10l5-3v18" fill="none" stroke="#FFF" stroke-width="3.5" stroke-linejoin="round"/></svg>'
)


def first_row() -> None:
    """Index, Threads and Settings, at the top right; with one index it is only text."""
    place = here()
    component("top")(key="around")
    with st.container(key="top", horizontal=True, horizontal_alignment="right", vertical_alignment="center"):
        if len(place.names) > 1 and st.session_state.get("missing") and chosen.url_path != "library":
            st.selectbox(
                "Index",
                place.names,
                index=None,
                key="instead",
                placeholder="Choose an index",
                label_visibility="collapsed",
                width=200,
                on_change=_chosen_instead,
            )
        elif len(place.names) > 1:
            st.selectbox("Index", place.names, key="index", label_visibility="collapsed", width=200, on_change=_chosen)
        elif place.names:
            st.text(place.names[0], width="content")
        st.button("Threads", key="threads", type="tertiary", on_click=drawers.ask_for, args=("threads",))
        st.button("Settings", key="settings", type="tertiary", on_click=drawers.ask_for, args=("settings",))


def _chosen() -> None:
    st.session_state["missing"] = None


def _chosen_instead() -> None:
    """In place of one that is not there, none is taken for chosen before somebody does."""
    ask.choose_instead(st.session_state["instead"])


st.set_page_config(page_title="Footnote", page_icon=ICON, layout="wide", initial_sidebar_state="collapsed")
PAGES = {
    "ask": st.Page(guarded(ask.page), title="Ask", url_path="ask", default=True),
    "search": st.Page(guarded(search.page), title="Search", url_path="search"),
    "library": st.Page(guarded(library.page), title="Library", url_path="library"),
    "explore": st.Page(guarded(explore.page), title="Explore", url_path="explore"),
}
chosen = st.navigation(list(PAGES.values()), position="top")
heed_address(chosen.url_path)
title = address().get("q", "") if chosen.url_path == "" else chosen.title
st.set_page_config(page_title=f"{title} · Footnote" if title else "Footnote")
heed_go(PAGES)
first_row()
chosen.run()
drawers.draw(here())
