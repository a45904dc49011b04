"""A question while it is answered: in a thread of its own, so that no page waits for it and none loses it.

The page looks at `Answering.now` as often as it likes. A reload finds the same question again (`Running`), and what was
answered meanwhile is kept, whether or not anybody looks.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from rag.conversation import Turn
from rag.errors import RagError
from rag.pipeline import Found, Part, Pipeline
from rag.types import Answer, Citation, Hit, Sentence
from ui.access import told

STOPPED = "Stopped before its end."
NOTHING_YET = "Stopped before anything was written."

log = logging.getLogger(__name__)

State = Literal["loading", "searching", "writing", "answered", "stopped", "failed"]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an answer is."""

    question: str
    state: State
    rewritten: str | None = None  # what is asked in its place, where it pointed back in the conversation
    passages: tuple[Hit, ...] = ()  # that are read for it
    sentences: tuple[Sentence, ...] = ()  # checked, in order
    citations: tuple[Citation, ...] = ()  # of these sentences
    answer: Answer | None = None  # the whole of it; once stopped, what was written until then, if anything was
    thread: int | None = None  # where the answer is kept
    fault: str | None = None  # why there is none, in words

    @property
    def ended(self) -> bool:
        return self.state in {"answered", "stopped", "failed"}


class Answering:
    """One question on its way to an answer."""

    def __init__(
        self,
        question: str,
        pipeline: Callable[[], Pipeline],
        *,
        history: Sequence[Turn] = (),
        loading: bool = False,
        keep: Callable[[Answer], int | None] = lambda answer: None,
        thread: int | None = None,
        waiting: Sequence[str] = (),
        fault_words: str = "Something went wrong.",
    ) -> None:
        """Begin at once.

        Args:
            question: what is asked.
            pipeline: gives what answers it; called in the thread, for it may load a model, wait or fail.
            history: the turns before it.
            loading: a model has to be loaded first.
            keep: called with the answer, in the thread, before it is told; gives the id of the thread it is kept in.
            thread: the id of the one that it goes on with; None begins a new one.
            waiting: questions that come after it.
            fault_words: what is said of an error that is not a `RagError`.
        """
        self.question = question
        self.continues = thread
        self.n_before = len(history)  # turns of its thread
        self._waiting = list(waiting)
        self._pipeline = pipeline
        self._history = tuple(history)
        self._keep = keep
        self._fault_words = fault_words
        self._changed = threading.Condition()
        self._now = Progress(question, "loading" if loading else "searching")
        self._is_decided = False  # how it ends; what comes later counts for nothing, though the end may still be kept
        self._generator = ""
        self._thread = threading.Thread(target=self._run, name="answering", daemon=True)
        self._thread.start()

    @property
    def now(self) -> Progress:
        with self._changed:
            return self._now

    def stop(self) -> None:
        """End it here, as soon as it is kept. What was written stays; a model is let go at its next word."""
        with self._changed:
            if self._is_decided:
                return
            self._is_decided = True
            if not self._now.sentences:
                self._tell(state="stopped", fault=NOTHING_YET)
                return
            answer = self._so_far()
        threading.Thread(target=self._end, args=("stopped", answer), name="keeping", daemon=True).start()

    @property
    def waiting(self) -> tuple[str, ...]:
        """Questions that come after it."""
        with self._changed:
            return tuple(self._waiting)

    def put_behind(self, question: str) -> None:
        """Let a question wait until this one has ended."""
        with self._changed:
            self._waiting.append(question)

    def take_waiting(self) -> list[str]:
        """What waits, all of it at once: who takes it has it asked, and nobody else."""
        with self._changed:
            taken, self._waiting = self._waiting, []
            return taken

    def wait(self, seconds: float) -> bool:
        """Until it has ended, at most so long; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._now.ended, timeout=seconds)

    def _run(self) -> None:
        try:
            pipeline = self._pipeline()
            self._generator = pipeline.generator.name
            with self._changed:
                if self._is_decided:
                    return
                self._tell(state="searching")
            self._follow(pipeline)
        except RagError as exc:
            self._fail(told(str(exc)))
        except Exception:
            log.exception("asking failed")
            self._fail(self._fault_words)

    def _follow(self, pipeline: Pipeline) -> None:
        for said in pipeline.stream(self.question, history=self._history):
            with self._changed:
                if self._is_decided:
                    return  # the stream is closed with its last reference, and the model's connection with it
                if isinstance(said, Found):
                    rewritten = said.question if said.question != self.question else None
                    self._tell(state="writing", passages=said.passages, rewritten=rewritten)
                elif isinstance(said, Part):
                    sentences = (*self._now.sentences, said.sentence)
                    self._tell(sentences=sentences, citations=(*self._now.citations, *said.citations))
                else:
                    self._is_decided = True
            if not isinstance(said, Found | Part):
                self._end("answered", said)

    def _end(self, state: State, answer: Answer) -> None:
        """Keep the answer, then tell it: nobody who looks meanwhile waits for a file that others write to."""
        thread = self._kept(answer)
        with self._changed:
            self._tell(state=state, answer=answer, thread=thread)

    def _so_far(self) -> Answer:
        now = self._now
        return Answer(
            question=self.question,
            text=" ".join(sentence.text for sentence in now.sentences),
            sentences=now.sentences,
            citations=now.citations,
            abstained=False,
            confidence=math.nan,  # it is told of whole answers only
            generator=self._generator,
            nearest=now.passages,
            rewritten=now.rewritten,
            notes=(STOPPED,),
        )

    def _kept(self, answer: Answer) -> int | None:
        try:
            return self._keep(answer)
        except Exception:  # an answer that cannot be kept is still an answer
            log.exception("keeping an answer failed")
            return None

    def _fail(self, words: str) -> None:
        with self._changed:
            if not self._is_decided:
                self._is_decided = True
                self._tell(state="failed", fault=words)

    def _tell(self, **changes: object) -> None:
        self._now = replace(self._now, **changes)  # type: ignore[arg-type]  # each is a field of it
        self._changed.notify_all()


@dataclass(slots=True)
class Running:
    """What is being answered for whom, so that a reload finds it again, and what waits behind it."""

    _jobs: list[tuple[str, str, Answering]] = field(default_factory=list)  # owner, index, job
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def find(self, owner: str, index: str, question: str) -> Answering | None:
        """The job that answers this question for this owner now, if one does."""
        return self._newest(
            lambda o, i, job: (o, i) == (owner, index) and question in (job.question, job.now.rewritten)
        )

    def of_thread(self, owner: str, thread: int) -> Answering | None:
        """The job whose answer goes on with this thread or has begun it, if there is one."""
        return self._newest(lambda o, _, job: o == owner and thread in (job.continues, job.now.thread))

    def is_busy(self, index: str) -> bool:
        """Whether a question is being answered from an index, for anybody."""
        with self._lock:
            return any(asked == index and not job.now.ended for _, asked, job in self._jobs)

    def add(self, owner: str, index: str, job: Answering) -> None:
        with self._lock:
            self._jobs = [*filter(_is_live, self._jobs), (owner, index, job)]

    def _newest(self, is_wanted: Callable[[str, str, Answering], bool]) -> Answering | None:
        with self._lock:
            found = (entry[2] for entry in reversed(self._jobs) if _is_live(entry) and is_wanted(*entry))
            return next(found, None)


def _is_live(entry: tuple[str, str, Answering]) -> bool:
    _, _, job = entry
    return not job.now.ended or bool(job.waiting)
