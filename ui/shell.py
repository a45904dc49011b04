"""What every page stands in: the index in use, the address, the first row, and faults told without a trace."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn

import streamlit as st
from streamlit.navigation.page import Page
from streamlit.runtime.scriptrunner import get_script_run_ctx

from rag.errors import RagError
from rag.generators import EXTRACTIVE, Writer, load_writer
from rag.generators.writing import WritingGenerator
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from ui.access import told
from ui.answering import Running
from ui.changes import Changes
from ui.components import component
from ui.keeping import storable
from ui.render import find_indexes
from ui.settings import Settings, calibration_for
from ui.suggestions import Suggestions

OUR_FAULT = (
    "Something went wrong while drawing this page. Your documents are unharmed. "
    "Reload; if it happens again, rag doctor checks the index, and the terminal where rag ui runs shows why."
)

_PIPELINES_KEPT = 6  # of an index, with other settings each

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Opened:
    """An open index, shared by all sessions of this process."""

    pipeline: Pipeline
    warm: bool = False  # it has answered once, so its model is loaded
    suggestions: Suggestions = field(default_factory=Suggestions)
    changes: Changes = field(default_factory=Changes)
    _loading: threading.Lock = field(default_factory=threading.Lock)
    _making: threading.Lock = field(default_factory=threading.Lock)
    _pipelines: dict[str, Pipeline] = field(default_factory=dict)  # by their arguments
    _written_by: set[str] = field(default_factory=set)  # models that were loaded

    @property
    def index(self) -> Index:
        return self.pipeline.retriever.index

    @property
    def name(self) -> str:
        return self.index.path.name

    def pipeline_for(self, settings: Settings) -> Pipeline:
        """What answers with these settings; made once for all who chose the same.

        Raises:
            GeneratorError: the model that writes cannot be loaded.
        """
        calibration = calibration_for(settings, self.index.path)
        arguments = settings.pipeline_arguments(calibration)
        key = repr((sorted(arguments.items()), calibration and calibration.made_at))
        with self._making:
            if key in self._pipelines:
                return self._pipelines[key]
        if settings.generator != EXTRACTIVE:  # it may take minutes, and those who ask for quotes do not wait for it
            written_by = writer(settings.generator)
            arguments["generator"] = WritingGenerator(written_by, max_sentences=arguments["max_sentences"])
        made = Pipeline(self.pipeline.retriever, like=self.pipeline, **arguments)
        with self._making:
            self._written_by.add(settings.generator)
            while len(self._pipelines) >= _PIPELINES_KEPT:
                del self._pipelines[next(iter(self._pipelines))]
            return self._pipelines.setdefault(key, made)

    def is_ready(self, settings: Settings) -> bool:
        """Whether nothing has to be loaded before it answers with these settings."""
        return self.warm and (settings.generator == EXTRACTIVE or settings.generator in self._written_by)

    def warm_up(self) -> None:
        """Load the models that read, if that was not done; who comes meanwhile waits for it."""
        with self._loading:
            if not self.warm:
                self.warm = bool(self.pipeline.ask("What is in these documents?").nearest)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a page is drawn: the folder of indexes, their names, and the one in use."""

    folder: Path
    names: tuple[str, ...]
    name: str | None  # None where there is no index yet
    missing: str | None = None  # an index that a link names and that is not there

    @property
    def path(self) -> Path | None:
        return self.folder / self.name if self.name else None

    def opened(self) -> Opened | None:
        """The index in use, or None where there is none.

        Raises:
            RagError: it cannot be read.
        """
        return open_index(self.path) if self.path else None


def open_index(path: Path) -> Opened:
    """Open an index once for all sessions; made again under the same path, it is another file and opened anew.

    Raises:
        RagError: it cannot be read.
    """
    return _open(*_file(path))


def let_go(path: Path) -> None:
    """Open an index anew for whoever comes next; those that have it at hand finish what they are at."""
    _open.clear(*_file(path))


def _file(path: Path) -> tuple[str, int]:
    try:
        return str(path.absolute()), (path / "index.sqlite").stat().st_ino
    except OSError:  # it has gone since its name was found, and opening it says so
        return str(path.absolute()), 0


@st.cache_resource(show_spinner=False, max_entries=16)
def _open(path: str, inode: int) -> Opened:
    return Opened(Pipeline(Retriever(Index.open(path))))


@st.cache_resource(show_spinner=False)
def running() -> Running:
    """What is being answered in this process."""
    return Running()


@st.cache_resource(show_spinner=False, max_entries=2)
def writer(name: str) -> Writer:
    """A model that writes, loaded once for all indexes, settings and sessions."""
    return load_writer(name)


def indexes_folder() -> Path:
    return Path(os.environ.get("FOOTNOTE_INDEXES", "indexes"))


def heed_address(page: str) -> None:
    """Take in what a person brought with the address: by a link, by turning to another page, by Back and Forward.

    Called once at the beginning of a run of the whole page. At other times the address may be an old one, for the
    browser sends it along with everything, and may not have heard yet what was written into it.

    Args:
        page: the last part of its path.
    """
    state = st.session_state
    has_turned, is_back = state.get("page") != page, went_back()
    state["page"] = page
    if not (has_turned or is_back):
        return
    known, now = state.get("address", {}), st.query_params.to_dict()
    state["address"] = now
    if has_turned:
        state["missing"] = None
    gone = {} if has_turned else dict.fromkeys(known, "")  # on another page, what is not named stays as it was left
    state["brought"] = {**gone, **now}


def went_back() -> bool:
    """Whether this run comes of Back or Forward in the browser."""
    ctx = get_script_run_ctx()
    return ctx is not None and ctx.is_history_navigation


def linked(name: str) -> str | None:
    """A value that the address brought, or "" where it is gone from it; None where nothing new came. Told once."""
    value: str | None = st.session_state.get("brought", {}).pop(name, None)
    return value


def bring(**values: str) -> None:
    """Let the next run take these values as a link's."""
    st.session_state.setdefault("brought", {}).update(values)


def address() -> Mapping[str, str]:
    """What the address says, or will as soon as the browser hears of it."""
    known: dict[str, str] = st.session_state.setdefault("address", {})
    return known


def write_address(**values: str | None) -> None:
    """Put values into the address, so that it opens what is shown; those that are None are taken out."""
    wanted = {name: storable(value) for name, value in {**address(), **values}.items() if value is not None}
    if wanted != address():
        st.session_state["address"] = wanted
        st.query_params.from_dict(wanted)  # at once: each change is one more step of the browser's way back


def here() -> Place:
    """The place of this run, with the index that the address or the first row names."""
    folder = indexes_folder()
    names = tuple(find_indexes(folder))
    state = st.session_state
    name = linked("index")
    if name:
        state["missing"] = None if name in names else name
        if name in names:
            state["index"] = name
    if not names:
        state.pop("index", None)
    elif state.get("index") not in names:
        state["missing"] = state.get("missing") or state.get("index")  # deleted or renamed, maybe in another tab
        state["index"] = names[0]
    return Place(folder, names, state["index"] if names else None, state.get("missing"))


def go(page: str, **address: str) -> NoReturn:
    """Leave for another page of ours, from anywhere in a script, a fragment or a callback.

    Args:
        page: "ask", "search", "library" or "explore".
        address: what its address says, such as `query="…"`.
    """
    st.session_state["go"] = page, address
    st.rerun()


def heed_go(pages: Mapping[str, Page]) -> None:
    """Go where `go` was asked to; called at the beginning of a run."""
    if wanted := st.session_state.pop("go", None):
        page, address = wanted
        st.switch_page(pages[page], query_params=address)


def message(title: str, text: str, *, key: str = "message", to_library: bool = False) -> None:
    """One calm text in the place of what was asked for; where documents are to be added, with the way there."""
    sent = component("message")(
        key=key, data={"title": title, "text": text, "library": to_library}, on_library_change=lambda: None
    )
    if to_library and getattr(sent, "library", None):
        go("library")


def tell(exc: Exception) -> None:
    """A fault in words, in the place where it happened."""
    st.text(told(str(exc)) if isinstance(exc, RagError) else OUR_FAULT)


def warm_up(folder: Path) -> None:
    """Load the models for the index that a first visit shows, so that its first question need not wait for them."""
    for name in find_indexes(folder)[:1]:
        try:
            opened = Place(folder, (name,), name).opened()
            assert opened is not None
            opened.warm_up()
        except Exception as exc:  # the page will say what is wrong with it, to who asks it
            log.info("the index %r was not made ready: %s", name, exc)


def guarded(draw: Callable[[Place], None]) -> Callable[[], None]:
    """A page that tells its faults in words."""

    def run() -> None:
        place = here()
        try:
            draw(place)
        except RagError as exc:
            message(f"{place.name} cannot be read.", told(str(exc)))
        except Exception:
            log.exception("drawing the page failed")
            message("Something went wrong.", OUR_FAULT)

    return run
