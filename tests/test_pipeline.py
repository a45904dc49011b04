"""Every footnote of an answer is a span of its document, and an unsure answer is not given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rag.errors import UsageError
from rag.generators.extractive import ExtractiveGenerator
from rag.index import Index
from rag.pipeline import NOT_FOUND, Pipeline
from rag.retriever import Retriever
from rag.sentences import plain_text
from rag.types import Citation, Document, Draft, DraftSentence, Hit, Section, Sentence, ShortAnswer, Span
from tests.fakes import HashingEncoder, QueuedGenerator, WordChecker

pytestmark = pytest.mark.usefixtures("fake_reading")

GOOSE = "The goose is a bird of the lake. It flies to Egypt in autumn.\n\nPage two tells of the goose's nest."
DOCUMENTS = [
    Document("goose.pdf", GOOSE, title="Geese", pages=(0, 63)),
    Document("fox.md", "# Foxes\nThe fox sleeps in a den.", sections=(Section(0, 8, "Foxes"),)),
]


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.add(DOCUMENTS)
        yield index


def pipeline(index: Index, *sentences: DraftSentence, confidence: float = 0.9, strict: bool = False) -> Pipeline:
    generator = QueuedGenerator(Draft(sentences, confidence))
    return Pipeline(Retriever(index), generator=generator, checker=WordChecker(), strict=strict)


def quote(start: int, end: int, *others: Span) -> DraftSentence:
    """The words of the goose's document at that place."""
    return DraftSentence(GOOSE[start:end], (Span(0, start, end), *others))


def test_spans_are_numbered_from_1_in_the_order_of_the_sentences(index: Index) -> None:
    answer = pipeline(index, quote(0, 32), quote(63, 98, Span(1, 8, 32))).ask("What is a goose?")
    assert answer.text == "The goose is a bird of the lake. Page two tells of the goose's nest."
    assert answer.sentences == (
        Sentence("The goose is a bird of the lake.", (1,), True),
        Sentence("Page two tells of the goose's nest.", (2, 3), True),
    )
    assert answer.citations == (
        Citation(1, "goose.pdf", "Geese", 1, None, 0, 32, "The goose is a bird of the lake."),
        Citation(2, "goose.pdf", "Geese", 2, None, 63, 98, "Page two tells of the goose's nest."),
        Citation(3, "fox.md", None, None, "Foxes", 8, 32, "The fox sleeps in a den."),
    )
    assert not answer.abstained
    assert answer.confidence == pytest.approx(0.9)  # a quote takes nothing from it


def test_every_quote_is_the_text_of_the_document_at_its_offsets(index: Index) -> None:
    spans = tuple(Span(p, start, start + 9) for p in (0, 1) for start in (8, 13, 21))
    said = DraftSentence(GOOSE[8:17].strip(), spans)
    answer = pipeline(index, said).ask("goose")
    assert [c.quote for c in answer.citations] == [
        index.document(c.source).text[c.start : c.end] for c in answer.citations
    ]
    assert [c.marker for c in answer.citations] == [1, 2, 3, 4, 5, 6]


def test_no_more_sentences_are_said_than_are_wanted_and_a_calibration_knows_of_them(index: Index) -> None:
    one, four = (Pipeline(Retriever(index), max_sentences=n, min_confidence=0) for n in (1, 4))
    drafted = [len(asking.asked("Which goose is a bird?").draft.sentences) for asking in (one, four)]
    assert drafted == [1, 4]
    assert one.setting != four.setting == Pipeline(Retriever(index)).setting
    with pytest.raises(UsageError, match="expected at least 1 sentence, got 0"):
        Pipeline(Retriever(index), max_sentences=0)


def test_a_span_that_is_cited_twice_has_one_footnote(index: Index) -> None:
    again = Span(0, 0, 9)
    answer = pipeline(index, quote(0, 9, again), quote(4, 9, again), quote(4, 9)).ask("goose")
    assert [sentence.citations for sentence in answer.sentences] == [(1,), (2, 1), (2,)]
    assert [(c.marker, c.start, c.end) for c in answer.citations] == [(1, 0, 9), (2, 4, 9)]


@pytest.mark.parametrize(
    "span",
    [Span(-1, 8, 13), Span(2, 0, 5), Span(0, -1, 5), Span(0, 5, 5), Span(0, 9, 5), Span(0, 90, 1000), Span(1, 0, 5)],
    ids=[
        "passage -1",
        "no such passage",
        "before the text",
        "empty",
        "backwards",
        "behind the end",
        "above the passage",
    ],
)
def test_a_span_that_points_nowhere_is_no_support(index: Index, span: Span) -> None:
    answer = pipeline(index, DraftSentence("Made up.", (span,)), quote(0, 9, span)).ask("goose")
    assert answer.sentences == (Sentence("Made up.", (), False), Sentence("The goose", (1,), True))
    assert [c.quote for c in answer.citations] == ["The goose"]


def test_where_a_sentence_that_is_no_quote_claims_to_come_from_does_not_count(index: Index) -> None:
    said = DraftSentence("The fox has a den.", (Span(0, 0, 32),))
    answer = pipeline(index, said).ask("goose")
    assert [(c.source, c.quote) for c in answer.citations] == [("fox.md", "The fox sleeps in a den.")]
    assert 0 < answer.confidence < 0.9  # for the check is not certain


def test_a_sentence_without_support_is_marked_or_with_strict_left_out(index: Index) -> None:
    invented = DraftSentence("I just know.", ())
    assert pipeline(index, invented, quote(0, 9)).ask("goose").sentences == (
        Sentence("I just know.", (), False),
        Sentence("The goose", (1,), True),
    )
    assert pipeline(index, invented, quote(0, 9), strict=True).ask("goose").sentences == (
        Sentence("The goose", (1,), True),
    )
    assert pipeline(index, invented, strict=True).ask("goose").abstained


def test_numbers_names_and_links_that_no_passage_holds_are_never_shown(index: Index) -> None:
    for said in (
        "The goose weighs 12 kilos.",
        "The goose flies to Kenya in autumn.",
        "The goose is at http://goose.example/fly.",
    ):
        answer = pipeline(index, DraftSentence(said, ()), quote(0, 9)).ask("goose")
        assert answer.text == "The goose"


def test_a_number_of_a_note_in_the_text_does_not_pass_for_a_footnote(tmp_path: Path) -> None:
    with Index.create(tmp_path / "notes", encoder=HashingEncoder()) as index:
        index.add([Document("note.txt", "The goose came in May.[12] It left.")])
        answer = pipeline(index, DraftSentence("The goose came in May.[12]", (Span(0, 0, 26),))).ask("goose")
    assert answer.sentences == (Sentence("The goose came in May.", (1,), True),)
    assert answer.citations[0].quote == "The goose came in May.[12]"


def test_below_the_least_confidence_the_documents_do_not_tell(index: Index) -> None:
    said = quote(0, 9)
    for confidence, abstained in ((0.39, True), (0.4, False), (float("nan"), True)):
        answer = pipeline(index, said, confidence=confidence).ask("goose")
        assert answer.abstained == abstained
        assert (answer.text == NOT_FOUND) == abstained
        assert (answer.sentences == () and answer.citations == ()) == abstained
    unsure = pipeline(index, said, confidence=0.25).ask("goose")
    assert unsure.confidence == 0.25
    assert [hit.chunk.doc_id for hit in unsure.nearest] == ["goose.pdf", "fox.md"]


def test_at_least_confidence_0_only_an_empty_draft_abstains(index: Index) -> None:
    made = QueuedGenerator(Draft((quote(0, 9),), 0.0), Draft((), 1.0))
    eager = Pipeline(Retriever(index), generator=made, min_confidence=0)
    assert eager.ask("goose").text == "The goose"
    assert eager.ask("goose").abstained


def test_the_generator_is_asked_with_the_passages_that_the_answer_names(index: Index) -> None:
    made = QueuedGenerator(Draft((), 0.0))
    answer = Pipeline(Retriever(index), generator=made, passages=1).ask("  what is a goose? ")
    assert made.asked == [("what is a goose?", answer.nearest)]
    assert [(hit.chunk.text, hit.rank) for hit in answer.nearest] == [(GOOSE, 1)]
    assert (answer.question, answer.generator) == ("  what is a goose? ", "queued")
    assert answer.timings_ms.keys() == {"search", "generate", "total"}


def test_what_is_no_text_never_reaches_the_generator(index: Index) -> None:
    made = QueuedGenerator(Draft((), 0.0))
    Pipeline(Retriever(index), generator=made).ask("goose \ud800\x00?")
    assert made.asked[0][0] == "goose   ?"
    assert Pipeline(Retriever(index), min_confidence=0).ask("goose \udcff?").text.startswith("The goose")


def test_the_default_generator_answers_with_sentences_of_the_documents(index: Index) -> None:
    asking = Pipeline(Retriever(index), min_confidence=0)
    assert isinstance(asking.generator, ExtractiveGenerator)
    assert asking.generator is asking.generator
    answer = asking.ask("When does it fly to Egypt?")
    # "It" is named in the sentence before, which is taken along.
    assert answer.sentences[:2] == (
        Sentence("The goose is a bird of the lake.", (1,), True), Sentence("It flies to Egypt in autumn.", (2,), True),
    )  # fmt: skip
    assert answer.citations[1].quote == "It flies to Egypt in autumn."
    assert answer.generator == "extractive"


def test_an_empty_index_holds_no_answer(tmp_path: Path) -> None:
    with Index.create(tmp_path / "empty", encoder=HashingEncoder()) as empty:
        answer = Pipeline(Retriever(empty), min_confidence=0).ask("What is a goose?")
    assert (answer.text, answer.abstained, answer.confidence) == ("Not in these documents.", True, 0.0)
    assert (answer.sentences, answer.citations, answer.nearest) == ((), (), ())


@pytest.mark.parametrize("question", ["", "  \n\t"])
def test_an_empty_question_is_refused(index: Index, question: str) -> None:
    with pytest.raises(UsageError, match="expected a question, got an empty one"):
        Pipeline(Retriever(index)).ask(question)


def test_arguments_that_cannot_work_are_refused(index: Index) -> None:
    with pytest.raises(UsageError, match="expected at least 1 passage, got 0"):
        Pipeline(Retriever(index), passages=0)
    for wrong in (-0.1, 1.1, float("nan")):
        with pytest.raises(UsageError, match=f"expected a confidence from 0 to 1, got {wrong!r}"):
            Pipeline(Retriever(index), min_confidence=wrong)


def test_a_pipeline_like_another_reads_with_its_models_and_answers_by_its_own_settings(index: Index) -> None:
    first = Pipeline(Retriever(index), min_confidence=0)
    second = Pipeline(Retriever(index), min_confidence=0, max_sentences=1, like=first)
    assert second.extractive.reader is first.extractive.reader
    both = "Where does the goose fly, and where is its nest?"
    assert len(second.asked(both).draft.sentences) == 1 < len(first.asked(both).draft.sentences)


def test_the_short_answer_stands_in_a_footnote_of_the_answer(index: Index) -> None:
    def short(span: Span) -> ShortAnswer | None:
        made = Draft((quote(33, 61), quote(0, 32)), 0.9, short=span)
        return Pipeline(Retriever(index), generator=QueuedGenerator(made)).ask("goose").short_answer

    at = GOOSE.index("Egypt")
    assert short(Span(0, at, at + 5)) == ShortAnswer("Egypt", 1, at, at + 5)
    assert short(Span(0, 4, 9)) == ShortAnswer("goose", 2, 4, 9)
    assert short(Span(0, 63, 67)) is None  # in the passage, but in no footnote
    assert short(Span(7, 0, 4)) is None


def test_silence_shows_what_comes_near_and_only_what_does(index: Index) -> None:
    answer = pipeline(index, quote(0, 32), confidence=0.2).ask("goose")
    assert (answer.abstained, answer.citations) == (True, ())
    assert answer.near_miss == Citation(1, "goose.pdf", "Geese", 1, None, 0, 32, "The goose is a bird of the lake.")
    assert pipeline(index, quote(0, 32), confidence=0.1).ask("goose").near_miss is None
    assert pipeline(index, confidence=0.9).ask("goose").near_miss is None


def test_a_passage_that_stands_in_several_documents_is_one_sentence_with_several_footnotes(index: Index) -> None:
    fox = "# Foxes\nThe fox sleeps in a den."
    index.add([Document(f"{n}-den.md", fox, "Dens", (Section(0, 8, "Foxes"),)) for n in range(9)])
    index.add([Document("late.pdf", "# Geese\n" + GOOSE, sections=(Section(0, 8, "Geese"),), pages=(0, 4, 71))])
    answer = Pipeline(Retriever(index), generator=FirstPassage()).ask("goose nest page two")
    [sentence] = answer.sentences
    assert {c.source for c in answer.citations} == {"goose.pdf", "late.pdf"}
    for citation in answer.citations:
        document = index.document(citation.source)
        assert document.text[citation.start : citation.end] == citation.quote
        assert document.page_at(citation.start) == citation.page
    assert sentence.citations == tuple(range(1, len(answer.citations) + 1))

    many = Pipeline(Retriever(index), generator=FirstPassage()).ask("fox den sleeps")
    assert len({c.source for c in many.citations}) == len(many.citations) == 3  # its own, and two more of ten
    assert {c.quote for c in many.citations} == {"The fox sleeps in a den."}
    only = Pipeline(Retriever(index), generator=FirstPassage()).ask("fox den sleeps", where=["path=3-den.md"])
    assert [c.source for c in only.citations] == ["3-den.md"]


class FirstPassage:
    """Says the first passage."""

    name = "first passage"

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        chunk = passages[0].chunk
        return Draft((DraftSentence(plain_text(chunk.text), (Span(0, chunk.start, chunk.end),)),), 0.9)
