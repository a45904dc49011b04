"""At most the share of questions that was asked for gets a wrong answer, whatever the questions."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.calibration import FILE, Calibration, Estimate, Outcome, Setting, bound, estimated
from rag.errors import GeneratorError, IndexDamagedError, UsageError
from rag.evaluation import OwnQuestion, outcomes
from rag.generators.writing import WritingGenerator
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.types import Document, Draft, DraftSentence, Span
from tests.fakes import HashingEncoder, QueuedGenerator, QueuedWriter, WordChecker

pytestmark = pytest.mark.usefixtures("fake_reading")

some = st.lists(
    st.builds(Outcome, st.sampled_from([0.0, 0.1, 0.3, 0.5, 0.5001, 0.9, 1.0]), st.booleans()), min_size=1, max_size=40
)
shares = st.floats(0.01, 0.99)


@given(some, shares)
def test_of_questions_each_held_against_the_others_no_more_than_the_share_go_wrong(
    outcomes: list[Outcome], share: float
) -> None:
    # What conformal risk control promises for an exchangeable question, as an average over who comes last.
    wrong = 0
    for i, last in enumerate(outcomes):
        wrong += last.is_wrong and last.confidence > bound(outcomes[:i] + outcomes[i + 1 :], share)
    assert wrong / len(outcomes) <= share + 1e-9


@given(some, shares)
def test_no_lower_confidence_would_do(outcomes: list[Outcome], share: float) -> None:
    least = bound(outcomes, share)

    def risk(confidence: float) -> float:
        return (sum(o.is_wrong and o.confidence > confidence for o in outcomes) + 1) / (len(outcomes) + 1)

    if least < math.inf:
        assert risk(least) <= share + 1e-9
    if -math.inf < least < math.inf:
        assert risk(math.nextafter(least, -math.inf)) > share


def test_with_too_few_questions_nothing_is_answered_and_without_wrong_ones_everything() -> None:
    assert bound([Outcome(0.9, False)] * 18, 0.05) == math.inf
    assert bound([Outcome(0.9, False)] * 19, 0.05) == -math.inf
    assert bound([Outcome(0.9, False)] * 18 + [Outcome(0.4, True)], 0.05) == 0.4
    assert bound([Outcome(0.9, False)] * 37 + [Outcome(0.4, True), Outcome(0.3, True)], 0.05) == 0.3
    assert bound([], 0.5) == math.inf


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_outside_of_0_and_1_is_refused(share: float) -> None:
    with pytest.raises(UsageError, match="expected a share of wrong answers between 0 and 1"):
        bound([], share)


def test_an_estimate_takes_the_lowest_confidence_that_is_good_enough() -> None:
    table = [Estimate(0.2, 0.3), Estimate(0.5, 0.1), Estimate(0.8, 0.04)]
    assert [estimated(table, share) for share in (0.3, 0.1, 0.05, 0.01)] == [0.2, 0.5, 0.8, math.inf]


def test_a_calibration_is_kept_in_the_index_folder(tmp_path: Path) -> None:
    made = Calibration(
        Setting("extractive", "bundled", "", False, "abc", 6),
        "2026-11-22T01:00:00+00:00",
        "mine.jsonl",
        (Outcome(0.5, True),),
    )
    assert Calibration.read(tmp_path) is None
    made.write(tmp_path)
    assert Calibration.read(tmp_path) == made
    for broken in ("{", "[]", "{}", json.dumps({"setting": {}, "made_at": "", "questions": "", "outcomes": []})):
        (tmp_path / FILE).write_text(broken)
        with pytest.raises(IndexDamagedError, match="rag calibrate FILE makes it anew"):
            Calibration.read(tmp_path)


def test_one_that_was_made_before_the_length_could_be_chosen_is_of_four_sentences(tmp_path: Path) -> None:
    older = {
        "generator": "extractive",
        "checker": "bundled",
        "reranker": "",
        "strict": False,
        "weights": "w",
        "passages": 6,
    }
    (tmp_path / FILE).write_text(json.dumps({"setting": older, "made_at": "", "questions": "", "outcomes": []}))
    found = Calibration.read(tmp_path)
    assert found is not None
    assert found.setting == Setting("extractive", "bundled", "", False, "w", 6, 4)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.add([Document("goose.txt", "The goose is a bird of the lake.")])
        yield index


def asking(index: Index, max_error: float, confidence: float) -> Pipeline:
    draft = Draft((DraftSentence("The goose is a bird of the lake.", (Span(0, 0, 32),)),), confidence)
    generator = QueuedGenerator(draft, draft)
    return Pipeline(Retriever(index), generator=generator, checker=WordChecker(), max_error=max_error)


def test_with_a_calibration_of_the_same_setting_the_share_is_a_bound(index: Index) -> None:
    outcomes = (*[Outcome(0.9, False)] * 30, Outcome(0.6, True))
    for confidence, abstained in ((0.6, True), (0.6001, False)):
        pipeline = asking(index, 0.05, confidence)
        Calibration(pipeline.setting, "2026", "mine.jsonl", outcomes).write(index.path)
        answer = pipeline.ask("goose")
        assert (answer.abstained, answer.notes) == (abstained, ())


def test_without_one_it_is_an_estimate_and_called_so(index: Index) -> None:
    note = "A share of 0.05 is an estimate here: rag calibrate FILE makes it a bound."
    assert asking(index, 0.05, 0.9).ask("goose").notes == (note,)
    Calibration(Setting("another", "bundled", "", False, "x", 6), "2026", "mine.jsonl", ()).write(index.path)
    anew = (
        "A share of 0.05 is an estimate here: rag calibrate FILE makes it a bound anew, for it was made with another "
    )
    assert asking(index, 0.05, 0.9).ask("goose").notes == (f"{anew}setting.",)


def test_a_share_that_is_none_is_refused(index: Index) -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        Pipeline(Retriever(index), max_error=1.0)


def test_a_calibration_names_what_a_confidence_depends_on(index: Index) -> None:
    plain = Pipeline(Retriever(index), min_confidence=0).setting
    assert plain == Pipeline(Retriever(index)).setting  # from which confidence on is answered changes none
    assert plain != Pipeline(Retriever(index), strict=True).setting
    assert plain != Pipeline(Retriever(index), passages=3).setting
    assert plain != Pipeline(Retriever(index), generator=WritingGenerator(QueuedWriter())).setting


def test_what_stands_in_for_a_model_that_is_down_is_no_outcome_of_it(index: Index) -> None:
    down = WritingGenerator(QueuedWriter([GeneratorError("no server listens")]))
    asking = Pipeline(Retriever(index), generator=down, checker=WordChecker(), min_confidence=0)
    with pytest.raises(GeneratorError, match="no server listens"):
        outcomes([OwnQuestion("Where is the goose?", "goose.txt", None)], asking)


def test_an_index_is_deleted_with_its_calibration(index: Index) -> None:
    Calibration(Pipeline(Retriever(index)).setting, "2026", "mine.jsonl", ()).write(index.path)
    index.close()
    Index.delete(index.path)
    assert not index.path.exists()
