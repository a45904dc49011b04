"""The page that Streamlit runs: choose an index, ask, read the answer with its footnotes, open one in its document."""

from __future__ import annotations

import logging
import os
from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from rag.errors import RagError, UsageError
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.types import Answer
from ui.render import Json, answer_view, find_indexes, first_visit_view, index_view, passages, source_view

LOADING = "Loading the reading model (once, about 3 s)"
READING = "Reading the nearest passages"
OUR_FAULT = (
    "Something went wrong while drawing this page. Your documents are unharmed. "
    "Reload; if it happens again, rag doctor checks the index, and the terminal where rag ui runs shows why."
)
ICON = (  # our own: Streamlit fetches emoji and Material icons for the tab from elsewhere
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="7" fill="#1F5FAF"/>'
    '<path d="M12 10l5-3v18" fill="none" stroke="#FFF" stroke-width="3.5" stroke-linejoin="round"/></svg>'
)
STYLE = """<style>
[data-testid=stHeader] { display: none; }
[data-testid=stMainBlockContainer] { max-width: 1280px; padding: 16px 32px 120px; }
.st-key-box {
  position: fixed; z-index: 100; left: 0; right: 0; bottom: 0; width: auto;
  padding: 8px max(32px, 50vw - 608px) 24px; background: light-dark(#FFF, #14171C);
}
.st-key-top { align-items: center; min-height: 40px; }
.st-key-top p, .st-key-top [data-testid=stText] { font: inherit; font-size: 15px; }
.footnote-name { font-weight: 700; font-size: 17px; letter-spacing: -0.01em; }
@media (max-width: 899px) {
  [data-testid=stMainBlockContainer] { padding: 8px 16px 100px; }
  .st-key-box { padding: 8px 16px 16px; }
}
</style>"""

log = logging.getLogger(__name__)
_HERE = Path(__file__).parent
_page = st.components.v2.component(
    "footnote.page",
    js=(_HERE / "page.js").read_text(encoding="utf-8"),
    css=(_HERE / "page.css").read_text(encoding="utf-8"),
)


@dataclass(slots=True)
class Opened:
    """An open index, shared by all sessions."""

    pipeline: Pipeline
    warm: bool = False  # it has answered once, so its model is loaded

    @property
    def index(self) -> Index:
        return self.pipeline.retriever.index


@st.cache_resource(show_spinner=False, max_entries=16)
def open_index(path: str, inode: int) -> Opened:
    """Open an index once for all sessions; made again under the same path, it is another file and opened anew."""
    return Opened(Pipeline(Retriever(Index.open(path))))


def main() -> None:
    st.set_page_config(page_title="Footnote", page_icon=ICON, layout="wide")
    st.html(STYLE)
    follow_link()
    state = st.session_state
    folder = Path(os.environ.get("FOOTNOTE_INDEXES", "indexes"))
    names = find_indexes(folder)
    name = choose_index(names)
    body = st.container()
    with st.container(key="box"):  # ours, for a box at Streamlit's own bottom makes the page scroll to the answer's end
        asked = st.chat_input("Ask your documents", key="ask", disabled=name is None)
    if asked:
        put_question(asked)
        state["missing"] = None
    with body:
        if name is None:
            show(first_visit_view(folder))
        elif state.get("missing"):
            title = f"There is no index {state['missing']!r} here."
            show({"kind": "message", "title": title, "text": elsewhere(names)})
        else:
            write_link(name)
            try:
                answer_page(folder / name)
            except RagError as exc:
                show({"kind": "message", "title": state.get("question") or f"{name} cannot be read.", "text": str(exc)})


def answer_page(path: Path) -> None:
    """The question with its answer, or what is in the index while nothing was asked."""
    state = st.session_state
    opened = open_index(str(path), (path / "index.sqlite").stat().st_ino)
    question = state.get("question")
    if question and (state.get("outcome") is None or state.get("answered_by") != str(path)):
        state["open"] = 0
        show({"kind": "waiting", "title": question, "text": READING if opened.warm else LOADING})
        state["outcome"], state["answered_by"] = ask(opened, question), str(path)
        st.rerun()
    outcome = state.get("outcome")
    if isinstance(outcome, str):
        show({"kind": "message", "title": question, "text": outcome})
    elif question and outcome is not None and (outcome.nearest or not outcome.abstained):
        show(answer_view(outcome), source_pane(opened.index, outcome, state.get("open", 0)))
    else:
        show(index_view(opened.index.status()))


def ask(opened: Opened, question: str) -> Answer | str:
    """The answer, or why there is none in one sentence."""
    try:
        answer = opened.pipeline.ask(question)
    except RagError as exc:
        return str(exc)
    except Exception:
        log.exception("asking failed")
        return OUR_FAULT
    opened.warm = True
    return answer


def source_pane(index: Index, answer: Answer, number: int) -> Json | None:
    """The pane of the passage of that number, from 1; none for a number that is not there."""
    choices = passages(answer)
    if not 1 <= number <= len(choices):
        return None
    passage = choices[number - 1]
    try:
        document = index.document(passage.source)
    except UsageError:
        document = None
    return source_view(document, passage, number=number, of=len(choices))


def show(view: Json, source: Json | None = None, *, key: str = "page") -> None:
    """Draw the component; once in a run, so that it stays one node and keeps the focus."""
    _page(key=key, data={"view": view, "source": source}, on_open_change=open_passage)


def open_passage() -> None:
    """A footnote or passage was clicked, by number from 1; 0 closes the pane."""
    st.session_state["open"] = int(st.session_state["page"]["open"] or 0)


def put_question(question: str | None) -> None:
    st.session_state.update(question=question, outcome=None, open=0)


def follow_link() -> None:
    """Take index and question from the address when it is not the one written last: a link was followed, or Back."""
    state, address = st.session_state, st.query_params
    link = {key: address[key] for key in ("index", "q") if address.get(key)}
    if link != state.get("link", {}):
        state["link"] = link
        state["linked_index"] = link.get("index")
        put_question(link.get("q", "").strip() or None)


def write_link(name: str) -> None:
    """Put index and question into the address, so that it opens this answer again."""
    state = st.session_state
    link = {"index": name, **({"q": state["question"]} if state.get("question") else {})}
    if link != state.get("link") and (state.get("question") or state.get("link")):
        state["link"] = link
        st.query_params.from_dict(link)


def choose_index(names: list[str]) -> str | None:
    """The first row of the page; returns the index in use, or None where there is none."""
    state = st.session_state
    linked = state.pop("linked_index", None)
    if linked is not None:
        state["missing"] = None if linked in names else linked
    if linked in names:
        state["index"] = linked
    elif state.get("index") not in names and names:
        state["index"] = names[0]
    with st.container(key="top", horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.html('<span class="footnote-name">Footnote</span>', width="content")
        if len(names) > 1:
            st.selectbox("Index", names, key="index", label_visibility="collapsed", width=220, on_change=_index_chosen)
        elif names:
            st.text(names[0], width="content")
    return state["index"] if names else None


def _index_chosen() -> None:
    st.session_state["missing"] = None


def elsewhere(names: list[str]) -> str:
    return "Choose another at the top right." if len(names) > 1 else f"Ask below, and {names[0]} answers."


try:
    main()
except Exception:
    log.exception("drawing the page failed")
    show({"kind": "message", "title": "Something went wrong.", "text": OUR_FAULT}, key="fault")
