"""The Ask page: questions, their answers with footnotes, and the source of the footnote that was opened."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import streamlit as st

from rag.conversation import Turn as Asked
from rag.errors import RagError, UsageError
from rag.generators import EXTRACTIVE
from rag.pipeline import Pipeline
from rag.saved import IndexState
from rag.types import Answer
from ui import first, library, pane, sample
from ui.access import is_public, owner
from ui.answering import Answering, Progress
from ui.components import component
from ui.export import Entry, Exported
from ui.jobs import Job, jobs
from ui.keeping import FILE_NAME
from ui.render import Json
from ui.settings import Host, Settings, SettingsFile, privacy
from ui.shelf import plural, title_of
from ui.shell import OUR_FAULT, Opened, Place, address, bring, go, here, linked, running, write_address
from ui.threads import Threads, Turn, made_anew
from ui.turns import index_view, near_passages, turns

KEY = "answer"  # of the component
POLL_S = 0.15  # between two looks at an answer
LOOK_S = 0.5  # at a reading
QUICK_S = 0.15  # an answer that is there by then is drawn at once
MAX_QUESTION = 4_000  # characters taken from a link or the box
log = logging.getLogger(__name__)

_CHOICES = 8  # indexes offered in place of one that is not there
_FEW = 60  # documents, among which the sample's can be looked for
PAGES = ("search", "library", "explore")  # that the part may lead to


@dataclass(slots=True)
class Talk:
    """What the page shows: the turns of one thread, and the question that is being answered."""

    index: str  # path of the index that is asked
    entries: list[Answer | Progress] = field(default_factory=list)  # questions with their answers, or why there is none
    thread: int | None = None  # where the answers are kept
    job: Answering | None = None  # on its way
    generator: str | None = None  # what was to answer last, where that is a model
    at: int | None = None  # position of the turn to be seen first; None is the newest
    remark: str | None = None  # what became of the documents since the last answer

    @property
    def seen(self) -> tuple[str, str | None] | None:
        """The question of the turn to be seen first, as it was asked and as it stands by itself, if that is known."""
        if self.at is None and self.job:
            now = self.job.now
            # Until it is known how a follow-up stands by itself, the address leads to what it follows.
            return (now.question, now.rewritten) if now.passages or now.ended or not self.entries else None
        if not self.entries:
            return None
        entry = self.entries[-1 if self.at is None else self.at]
        return entry.question, entry.rewritten

    @property
    def answers(self) -> list[Answer]:
        """Those there are."""
        return [entry for entry in self.entries if isinstance(entry, Answer)]

    def answer_at(self, position: object) -> Answer | None:
        """The answer at a position; None where there is none, or that is no position."""
        entry = self.entries[position] if isinstance(position, int) and 0 <= position < len(self.entries) else None
        return entry if isinstance(entry, Answer) else None

    def find(self, question: str) -> int | None:
        """Position of the newest turn with that question, the one under way included; None where there is none."""
        asked = [(entry.question, entry.rewritten) for entry in self.entries]
        if self.job:
            asked.append((self.job.question, self.job.now.rewritten))
        return next((i for i in reversed(range(len(asked))) if question in asked[i]), None)

    @property
    def waiting(self) -> tuple[str, ...]:
        """Questions that come after the one on its way."""
        return self.job.waiting if self.job else ()

    @property
    def last_asked(self) -> str | None:
        """The newest question, as it was asked."""
        return self.job.question if self.job else self.entries[-1].question if self.entries else None

    @property
    def is_busy(self) -> bool:
        return self.job is not None and not self.job.now.ended

    def settle(self) -> bool:
        """Take in what a job that has ended came to; whether no job is running any more."""
        if self.job is None or not (now := self.job.now).ended:
            return self.job is None
        self.entries.append(now.answer or now)
        self.thread = now.thread or self.thread
        self.job = None
        return True

    def take_failed(self, at: int) -> str | None:
        """Take the question out of which nothing came, to ask it again; None where there is none at that position."""
        if not -len(self.entries) <= at < len(self.entries) or isinstance(self.entries[at], Answer):
            return None
        return self.entries.pop(at).question


def page(place: Place) -> None:
    renamed = _renamed(place)
    if renamed is None:
        _heed_address(place)
    body = st.container()
    with st.container(key="box"):  # ours, for a box at Streamlit's own bottom makes the page scroll to the answer's end
        asked = st.chat_input(
            "Ask your documents", key="ask", max_chars=MAX_QUESTION, disabled=not _can_be_asked(place)
        )
    if asked and asked.strip() and place.missing:
        st.session_state["unasked"] = asked.strip()
    elif asked and asked.strip():
        put_question(place, asked.strip())
    if renamed is not None:
        st.session_state["instead_of"] = place.missing
        bring(index=renamed)
        st.rerun()
    with body:
        if job := _reading_first(place):
            _reading_page(place, job)
        elif place.name is None:
            first.draw(place, _privacy(place))
        elif st.session_state.get("missing"):
            title = f"There is no index {st.session_state['missing']!r} here."
            unasked = st.session_state.get("unasked")
            text = f"Your question was not asked: {unasked}\nOpen an index, and it is asked there." if unasked else ""
            _show({"kind": "message", "title": title, "text": text, "choices": list(place.names[:_CHOICES])})
        else:
            with pane.beside(place):
                _draw(place)


# What is asked


def put_question(place: Place, question: str) -> None:
    """Ask in the thread that is shown, after what is being answered or waits; in a new one where none is."""
    talk = _talk(place) or _begin(place)
    if talk.job and (talk.is_busy or talk.waiting):
        talk.job.put_behind(question)
        return
    talk.settle()
    _ask(place, talk, question)


def _ask(place: Place, talk: Talk, question: str, *, quotes_only: bool = False) -> None:
    talk.at = talk.remark = None
    pane.put_away("", "ask")
    talk.job = _answering(place, talk, question, quotes_only=quotes_only)
    talk.job.wait(QUICK_S)


def _answering(
    place: Place, talk: Talk, question: str, *, waiting: Sequence[str] = (), quotes_only: bool = False
) -> Answering:
    opened = place.opened()
    assert opened is not None
    threads, before = threads_of(place), list[IndexState]()
    settings, whose = settings_of(place), owner()
    if quotes_only:
        settings = replace(settings, generator=EXTRACTIVE)
    talk.generator = None if settings.generator == EXTRACTIVE else settings.generator

    def ready() -> Pipeline:
        before.append(IndexState.of(opened.index))
        opened.warm_up()
        return opened.pipeline_for(settings)

    def keep(answer: Answer) -> int:
        try:
            return threads.add(whose, answer, opened.index, thread=talk.thread, asked_of=before[0])
        except UsageError:  # the thread was removed meanwhile, maybe in another tab: what comes now begins another
            return threads.add(whose, answer, opened.index, asked_of=before[0])

    job = Answering(
        question,
        ready,
        history=_history(talk),
        loading=not opened.is_ready(settings),
        keep=keep,
        thread=talk.thread,
        waiting=waiting,
        fault_words=OUR_FAULT,
    )
    running().add(whose, talk.index, job)
    return job


def _history(talk: Talk) -> list[Asked]:
    return [Asked(answer.rewritten or answer.question, answer) for answer in talk.answers]


def settings_of(place: Place) -> Settings:
    """What the person in front of this page chose."""
    return SettingsFile(place.folder / FILE_NAME).load(owner(), Host.of_environment()).settings


def _privacy(place: Place) -> str:
    return privacy(settings_of(place), Host.of_environment())


def threads_of(place: Place) -> Threads:
    return Threads(place.folder / FILE_NAME)


def _renamed(place: Place) -> str | None:
    """What the index of the thread on the page is called now, where it was renamed in another tab or a terminal."""
    talk: Talk | None = st.session_state.get("talk")
    if talk is None or talk.thread is None or place.missing != Path(talk.index).name:
        return None
    try:
        name = threads_of(place).thread(owner(), talk.thread).index
    except RagError:  # it was removed, or cannot be read: the page says that the index is not there
        return None
    if name not in place.names:
        return None
    talk.index = str(place.folder / name)
    return name


def _heed_address(place: Place) -> None:
    """A link brings a question; so does going back in the browser."""
    state = st.session_state
    talk: Talk | None = state.get("talk")
    question = linked("q")
    unasked, is_chosen = state.get("unasked"), state.pop("instead_of", None) is not None
    if not place.missing:
        state.pop("unasked", None)
    if unasked and is_chosen and not place.missing:  # its index had gone, and one was chosen to be asked instead
        if talk and talk.index != str(place.path):
            state["talk"] = None
        put_question(place, unasked)
        return
    if talk and talk.index != str(place.path):  # another index was chosen: the question goes to it
        state["talk"] = None
        pane.put_away("", "ask")
        if question is None and (seen := talk.seen) and place.name and not state.get("missing"):
            put_question(place, seen[1] or seen[0])
    if question is None or place.name is None or state.get("missing"):
        return
    question = question.strip()[:MAX_QUESTION]
    if not question:  # the way back to before the first
        state["talk"] = None
        pane.put_away("", "ask")
    elif talk is None or talk.index != str(place.path) or (at := talk.find(question)) is None:
        state["talk"] = None
        open_question(place, question)
    else:
        talk.at = at if at < len(talk.entries) else None


def open_question(place: Place, question: str) -> None:
    """Show the thread in which a question was asked, or is being answered; where there is none, ask it."""
    threads = threads_of(place)
    try:
        if job := running().find(owner(), str(place.path), question):
            _show_running(place, job)
            return
        for thread in threads.list(owner(), index=place.name, search=question, limit=10):
            kept = threads.turns(owner(), thread.id)
            if (at := Talk("", [turn.answer for turn in kept]).find(question)) is not None:
                show_thread(place, thread.id, kept, at=at)
                return
    except RagError as exc:  # the drawer of threads tells of it; a question can be answered without them
        log.warning("looking for a kept answer failed: %s", exc)
    put_question(place, question)


def show_thread(place: Place, id_: int, kept: Sequence[Turn], *, at: int | None = None) -> None:
    """Show a thread that was kept, at one of its turns or the newest."""
    if job := running().of_thread(owner(), id_):
        _show_running(place, job)
        return
    talk = _begin(place)
    talk.thread, talk.entries, talk.at = id_, [turn.answer for turn in kept], at
    talk.remark = _since(place, kept)
    pane.put_away("", "ask")


def _show_running(place: Place, job: Answering) -> None:
    """Show a question on its way, behind the turns that were there when it was asked."""
    kept = () if job.continues is None else threads_of(place).turns(owner(), job.continues)
    talk = _begin(place)
    talk.job, talk.thread = job, job.continues
    talk.entries = [turn.answer for turn in kept[: job.n_before]]
    pane.put_away("", "ask")


def _since(place: Place, kept: Sequence[Turn]) -> str | None:
    """What became of the documents since a thread was asked last, where something did."""
    opened = place.opened()
    if opened is None or not kept or kept[-1].state == IndexState.of(opened.index):
        return None
    asked = datetime.fromisoformat(kept[-1].asked_at).astimezone()
    on = f"this was asked on {asked.day} {asked:%B}"
    if made_anew(kept, opened.index):
        return f"{opened.name} was made anew since {on}."
    return f"Documents of {opened.name} have changed since {on}."


def _begin(place: Place) -> Talk:
    talk = Talk(str(place.path))
    st.session_state["talk"] = talk
    return talk


def _talk(place: Place) -> Talk | None:
    talk: Talk | None = st.session_state.get("talk")
    return talk if talk and talk.index == str(place.path) else None


# What is shown


def _draw(place: Place) -> None:
    pace = _pace(place)
    st.fragment(_now, run_every=pace, key="now")(place, pace, _can_be_asked(place))
    if path := place.path:
        with st.container(key="reading"):
            library.reading(path.absolute(), after_all=_shown(place) is None)


def _now(place: Place, pace: float | None, could_be_asked: bool) -> None:
    """What there is to see now; while that changes by itself only this part of the page runs, again and again.

    One fragment for all of it: the browser asks for the next run of a fragment without knowing what became of the page
    meanwhile, and a run that comes too late must show what is true now.
    """
    if _pace(place) != pace or _can_be_asked(place) != could_be_asked:
        st.rerun()
    if talk := _shown(place):
        _show_talk(place, talk)
    else:
        opened = place.opened()
        assert opened is not None
        status, questions = opened.index.status(), _offered(opened) or ()
        _show(index_view(status, questions, reading=_is_read_into(opened), privacy=_privacy(place)))


def _shown(place: Place) -> Talk | None:
    """The thread, where it has turns to be seen."""
    talk = _talk(place)
    return talk if talk and (talk.entries or talk.job) else None


def _pace(place: Place) -> float | None:
    """Seconds to the next look: at an answer on its way, or else at what is read or found to begin with."""
    if talk := _shown(place):
        return None if _move_on(place, talk) else POLL_S
    opened = place.opened()
    assert opened is not None
    return LOOK_S if _is_read_into(opened) or _offered(opened) is None else None


def _is_read_into(opened: Opened) -> bool:
    return jobs().active(opened.index.path) is not None


def _reading_page(place: Place, job: Job) -> None:
    """The first reading, until its index can be opened."""
    data = {"kind": "welcome", "title": f"Reading {title_of(job.task, paths=not is_public())}.", "text": ""}
    component("answer")(key="welcome", data=data)
    with st.container(key="reading"):
        library.reading(job.task.index)
    _until_open()


@st.fragment(run_every=LOOK_S)
def _until_open() -> None:
    if _reading_first(here()) is None:
        st.rerun()


def _offered(opened: Opened) -> tuple[str, ...] | None:
    """Questions to begin with; None while they are looked for."""
    status = opened.index.status()
    if not status.chunks:
        return ()
    if status.documents <= _FEW:
        there = {row.source for row in opened.index.documents()}
        known = tuple(question for question, source in sample.QUESTIONS if source in there)
        if len(known) == len(sample.QUESTIONS) or opened.name == sample.NAME:
            return known
    return opened.suggestions.of(opened.pipeline, opened.index, settled=not _is_read_into(opened))


def _move_on(place: Place, talk: Talk) -> bool:
    """Take in what has ended and begin what waited; whether nothing is being answered any more."""
    job, ended = talk.job, talk.settle()
    if ended and job and talk.entries and talk.answer_at(len(talk.entries) - 1):
        talk.remark = _unread(place, talk.answers[-1])
    if ended and job and (waiting := job.take_waiting()):
        talk.job = _answering(place, talk, waiting[0], waiting=waiting[1:])
        return False
    return ended


def _unread(place: Place, answer: Answer) -> str | None:
    """What a person should know of an answer that found nothing while files were being read."""
    job = jobs().active(place.path) if place.path and answer.abstained else None
    if job is None:
        return None
    at = job.standing
    n = f": {at.files_done:,} of {plural(at.files_total, 'file')} were in" if at.files_total else ""
    return f"Files were still being read when this was asked{n}."


def _show_talk(place: Place, talk: Talk) -> None:
    drawn = turns(
        talk.entries,
        talk.job.now if talk.job else None,
        index=Path(talk.index).name,
        waiting=talk.waiting,
        at=talk.at,
        generator=talk.generator,
        remark=talk.remark,
    )
    st.session_state["cited"] = drawn.passages
    _show(drawn.view)
    _write_link(place, talk)


def _write_link(place: Place, talk: Talk) -> None:
    """The address opens what is seen. One that does so already stays: written anew, the way back would lead here."""
    if (seen := talk.seen) is None:
        return
    question, alone = seen
    is_named = address().get("q", "") in seen and address().get("index", place.name) == place.name
    if not is_named:
        write_address(index=place.name, q=alone or question)


def _show(view: Json) -> None:
    """Draw the component; once in a run and under one key, so that it stays one node and keeps the focus."""
    component("answer")(key=KEY, data=view, on_do_change=_do)


def _reading_first(place: Place) -> Job | None:
    """The reading that makes the index in use, as long as there is none yet that can be opened."""
    if place.path is None:
        return first.beginning(place)
    try:
        place.opened()
    except RagError:  # only half-written, as long as it is read into
        if job := jobs().active(place.path):
            return job
        raise
    return None


def _can_be_asked(place: Place) -> bool:
    if place.name is None:
        return False
    try:
        opened = place.opened()
        return opened is not None and not opened.index.is_empty()
    except RagError:
        return False


# What is done


def _do() -> None:
    event = st.session_state[KEY]["do"]
    if isinstance(event, Mapping):
        act(event)


def act(event: Mapping[str, Any]) -> None:
    """Carry out what the browser sent; what is none of ours counts for nothing.

    Args:
        event: 'what', and the 'value' that belongs to it.
    """
    place = here()
    talk, value = _talk(place), event.get("value")
    match event.get("what"):
        case "open" if talk and isinstance(value, Mapping):
            _open(talk, value)
            return
        case "stop" if talk and talk.job:
            talk.job.take_waiting()
            talk.job.stop()
        case "again" if talk and isinstance(value, int) and 0 <= value < len(talk.entries) - (talk.job is None):
            if question := talk.take_failed(value):  # an earlier one
                talk.at = None
                put_question(place, question)
        case "again" | "quotes" if talk and talk.last_asked and not talk.is_busy:
            talk.settle()
            question = talk.take_failed(-1) or talk.last_asked
            _ask(place, talk, question, quotes_only=event["what"] == "quotes")
        case "ask" if isinstance(value, str) and value.strip():
            put_question(place, value.strip()[:MAX_QUESTION])
        case "fresh":
            begin_anew()
        case "choose" if value in place.names:
            choose_instead(value)
        case "export" if talk and talk.answers:
            st.session_state.update(drawer="export", export=_exported(place, talk, value))
        case "go" if isinstance(value, Mapping) and value.get("page") in PAGES:
            go(value["page"], **dict(parse_qsl(urlsplit(str(value.get("href"))).query)))
    st.rerun()  # all of the page, not only the part that this came from


def choose_instead(name: str) -> None:
    """Take another index in place of one that is not there; a question that was kept is asked of it."""
    st.session_state.update(index=name, missing=None, instead_of=st.session_state.get("missing"))


def _open(talk: Talk, value: Mapping[str, Any]) -> None:
    """Open a passage: by its number in the thread, or in an answer that abstains, by its number there."""
    turn, number = value.get("turn"), value.get("number")
    if not isinstance(number, int):
        return
    if not value.get("near"):
        pane.open_passages(st.session_state.get("cited", ()), number)
    elif answer := talk.answer_at(turn):
        pane.open_passages(near_passages(answer), number)


def _exported(place: Place, talk: Talk, at: object) -> Exported:
    """The thread that is shown, and which answer of it was meant."""
    meant = talk.answer_at(at)
    if talk.thread is not None:
        try:
            threads = threads_of(place)
            thread, kept = threads.thread(owner(), talk.thread), threads.turns(owner(), talk.thread)
            one = next((i for i, turn in enumerate(kept) if turn.answer == meant), None)
            if meant is None or one is not None:
                return Exported.of(thread, kept, one)
        except RagError as exc:  # what stands on the page can be exported without it
            log.warning("a kept thread cannot be exported: %s", exc)
    answers = talk.answers
    one = next((i for i, answer in enumerate(answers) if answer is meant), None)
    return Exported(answers[0].question, Path(talk.index).name, [Entry(answer) for answer in answers], one)


def forget(thread: int) -> None:
    """A thread was removed: it is not shown any more."""
    talk: Talk | None = st.session_state.get("talk")
    if talk and talk.thread == thread:
        begin_anew()


def begin_anew() -> None:
    """Put the thread away, for a question that has nothing to do with it."""
    st.session_state["talk"] = None
    write_address(q=None)
    pane.put_away("", "ask")
