"""A question while it is answered: what is told when, what stopping keeps, and who finds it again."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

import rag
from rag.errors import GeneratorError
from rag.pipeline import Found, Part, Pipeline
from ui.answering import NOTHING_YET, STOPPED, Answering, Progress, Running

HIT = rag.Hit(1, rag.Chunk("a.md", "Noon.", 0, 5), 1.0, 1)
CITED = rag.Citation(1, "a.md", None, None, None, 0, 5, "Noon.")
SENTENCE = rag.Sentence("Noon.", (1,), True)
WHOLE = rag.Answer("When?", "Noon.", (SENTENCE,), (CITED,), False, 0.9, "told", (HIT,))
SECONDS = 30  # for what must come


class Told:
    """A pipeline that says what it was given, and waits for `go` before each `Event` among that."""

    class generator:  # noqa: N801 - a name as the pipeline's own
        name = "told"

    def __init__(self, *said: object) -> None:
        self.said = said
        self.closed = threading.Event()
        self.history: tuple[Any, ...] = ()

    def stream(self, question: str, *, history: tuple[Any, ...] = ()) -> Iterator[object]:
        self.history = history
        try:
            for one in self.said:
                if isinstance(one, threading.Event):
                    assert one.wait(SECONDS)
                elif isinstance(one, Exception):
                    raise one
                else:
                    yield one
        finally:
            self.closed.set()

    def __call__(self) -> Pipeline:
        return cast(Pipeline, self)


class Kept(list[rag.Answer]):
    """Keeps answers, all in thread 7."""

    def __call__(self, answer: rag.Answer) -> int:
        self.append(answer)
        return 7


def until(job: Answering, holds: Callable[[Progress], bool]) -> Progress:
    with job._changed:
        assert job._changed.wait_for(lambda: holds(job._now), SECONDS)
        return job._now


def test_passages_then_sentences_then_the_answer_are_told() -> None:
    first, second = threading.Event(), threading.Event()
    job = Answering("When?", Told(Found("When?", (HIT,)), first, Part(SENTENCE, (CITED,)), second, WHOLE))
    assert until(job, lambda now: now.state == "writing").passages == (HIT,)
    first.set()
    now = until(job, lambda now: bool(now.sentences))
    assert (now.sentences, now.citations, now.answer, now.ended) == ((SENTENCE,), (CITED,), None, False)
    second.set()
    assert job.wait(SECONDS)
    assert (job.now.state, job.now.answer) == ("answered", WHOLE)


def test_an_answer_is_kept_before_it_is_told_and_its_thread_is_known() -> None:
    kept = Kept()
    job = Answering("When?", Told(WHOLE), keep=kept)
    assert job.wait(SECONDS)
    assert (kept, job.now.thread) == ([WHOLE], 7)


def test_an_answer_that_cannot_be_kept_is_told_all_the_same() -> None:
    def full(answer: rag.Answer) -> int:
        raise OSError("no space")

    job = Answering("When?", Told(WHOLE), keep=full)
    assert job.wait(SECONDS)
    assert (job.now.answer, job.now.thread) == (WHOLE, None)


def test_stopping_keeps_what_was_written_and_closes_the_stream() -> None:
    kept = Kept()
    go_on = threading.Event()
    told = Told(Found("When is it?", (HIT,)), Part(SENTENCE, (CITED,)), go_on, Part(SENTENCE, ()), WHOLE)
    job = Answering("When?", told, keep=kept)
    until(job, lambda now: bool(now.sentences))
    job.stop()
    assert job.wait(SECONDS)
    answer = job.now.answer
    assert answer is not None
    assert (job.now.state, job.now.thread, kept) == ("stopped", 7, [answer])
    assert (answer.text, answer.citations, answer.notes, answer.generator) == ("Noon.", (CITED,), (STOPPED,), "told")
    assert (answer.rewritten, answer.nearest, math.isnan(answer.confidence)) == ("When is it?", (HIT,), True)
    go_on.set()
    assert told.closed.wait(SECONDS)
    assert job.now.sentences == (SENTENCE,)  # what came after the stop counts for nothing


def test_stopping_before_anything_was_written_keeps_nothing_and_says_so() -> None:
    go_on = threading.Event()
    job = Answering("When?", Told(go_on, WHOLE), keep=lambda answer: pytest.fail("kept"))
    job.stop()
    go_on.set()
    assert (job.now.state, job.now.answer, job.now.fault) == ("stopped", None, NOTHING_YET)


def test_while_an_answer_is_kept_nobody_waits_and_stopping_keeps_it_no_second_time() -> None:
    begun, go_on, kept = threading.Event(), threading.Event(), Kept()

    def slow(answer: rag.Answer) -> int:
        begun.set()
        assert go_on.wait(SECONDS)
        return kept(answer)

    job = Answering("When?", Told(Part(SENTENCE, (CITED,)), WHOLE), keep=slow)
    assert begun.wait(SECONDS)
    job.stop()
    assert (job.now.state, job.now.sentences, job.wait(0)) == ("searching", (SENTENCE,), False)
    go_on.set()
    assert job.wait(SECONDS)
    assert (job.now.state, job.now.answer, kept) == ("answered", WHOLE, [WHOLE])


def test_while_a_stopped_answer_is_kept_nobody_waits_and_its_end_keeps_it_no_second_time() -> None:
    begun, go_on, more, kept = threading.Event(), threading.Event(), threading.Event(), Kept()

    def slow(answer: rag.Answer) -> int:
        begun.set()
        assert go_on.wait(SECONDS)
        return kept(answer)

    told = Told(Part(SENTENCE, (CITED,)), more, WHOLE)
    job = Answering("When?", told, keep=slow)
    until(job, lambda now: bool(now.sentences))
    job.stop()
    assert begun.wait(SECONDS)
    more.set()
    assert told.closed.wait(SECONDS)
    assert not job.now.ended
    go_on.set()
    assert job.wait(SECONDS)
    assert (job.now.state, [answer.notes for answer in kept]) == ("stopped", [(STOPPED,)])


def test_what_has_ended_cannot_be_stopped() -> None:
    job = Answering("When?", Told(WHOLE))
    assert job.wait(SECONDS)
    job.stop()
    assert (job.now.state, job.now.answer) == ("answered", WHOLE)


def test_a_model_that_cannot_be_had_is_told_in_its_words_and_our_faults_in_ours() -> None:
    def none() -> Pipeline:
        raise GeneratorError("no model at localhost:1")

    job = Answering("When?", none)
    assert job.wait(SECONDS)
    assert (job.now.state, job.now.fault) == ("failed", "no model at localhost:1")
    job = Answering("When?", Told(ZeroDivisionError("secret")), fault_words="Something went wrong.")
    assert job.wait(SECONDS)
    assert job.now.fault == "Something went wrong."


def test_loading_is_told_until_the_pipeline_is_there() -> None:
    go_on = threading.Event()
    told = Told(WHOLE)

    def slow() -> Pipeline:
        assert go_on.wait(SECONDS)
        return told()

    job = Answering("When?", slow, loading=True)
    assert job.now.state == "loading"
    go_on.set()
    assert job.wait(SECONDS)


def test_only_who_asked_finds_a_running_question_and_only_while_it_runs() -> None:
    go_on = threading.Event()
    job, running = Answering("When?", Told(go_on, WHOLE)), Running()
    running.add("ada", "/i", job)
    assert running.find("ada", "/i", "When?") is job
    assert running.find("bob", "/i", "When?") is None
    assert running.find("ada", "/other", "When?") is None
    go_on.set()
    assert job.wait(SECONDS)
    assert running.find("ada", "/i", "When?") is None
