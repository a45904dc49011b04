"""Settings: what they mean was measured, what is broken falls back with a note, and a visitor names no server."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.answers import strictness
from benchmarks.dial import DIAL, RESULT, dial
from rag.answer_evaluation import AskedResult
from rag.calibration import Calibration, Outcome
from rag.errors import IndexMismatchError, UsageError
from rag.generators.extractive import default_weights
from rag.index import Index
from rag.pipeline import Pipeline
from rag.qa import AskedQuestion
from rag.retriever import Retriever
from rag.types import Document
from tests.fakes import HashingEncoder
from ui.access import PUBLIC_VARIABLE
from ui.settings import (
    ANSWER_STYLE_MEANINGS,
    ANSWER_STYLES,
    GENERATOR_VARIABLE,
    SOURCES,
    STRICTNESSES,
    Host,
    Settings,
    SettingsFile,
    calibration_for,
    checked_generator,
    encoder_lines,
    meaning,
    privacy,
    shown_generator,
)

OLLAMA = "openai:llama3.2@http://localhost:11434/v1"
ADA, BEN = "ada", "ben"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "page.sqlite"


@pytest.fixture
def kept(file: Path) -> SettingsFile:
    return SettingsFile(file)


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "handbook", encoder=HashingEncoder()) as index:
        index.add([Document("goose.txt", "The goose is a bird of the lake.")])
        yield index


# --- what they become


@pytest.mark.usefixtures("fake_reading")
@pytest.mark.parametrize("style", ANSWER_STYLES)
@pytest.mark.parametrize("strictness", STRICTNESSES)
def test_every_choice_makes_a_pipeline(index: Index, style: str, strictness: str) -> None:
    settings = Settings(answer_style=style, strictness=strictness, sources=3)
    pipeline = Pipeline(Retriever(index), **settings.pipeline_arguments())
    assert (pipeline.passages, pipeline.max_sentences) == (3, {"short": 2, "context": 4}[style])
    assert pipeline.ask("goose bird lake").generator == "extractive"


def test_without_choices_a_question_is_answered_as_in_the_terminal(index: Index) -> None:
    usual, chosen = Pipeline(Retriever(index)), Pipeline(Retriever(index), **Settings().pipeline_arguments())
    names = [name for name, value in vars(usual).items() if isinstance(value, int | float | str | None)]
    assert {"passages", "max_sentences", "_min_confidence", "_max_error", "_generator"} <= set(names)
    assert {name: vars(chosen)[name] for name in names} == {name: vars(usual)[name] for name in names}


def test_the_more_careful_the_surer_an_answer_must_be() -> None:
    least = [Settings(strictness=level).pipeline_arguments()["min_confidence"] for level in STRICTNESSES]
    assert least == sorted(least, reverse=True)
    assert len(set(least)) == 3


def test_careful_is_the_estimate_of_the_package_until_the_index_is_calibrated() -> None:
    careful = Settings(strictness="careful")
    least = careful.pipeline_arguments()["min_confidence"]
    assert min(row.confidence for row in default_weights().estimates if row.error <= 0.05) == least
    bounded = careful.pipeline_arguments(calibration(Settings(strictness="careful")))
    assert bounded["max_error"] == 0.05
    assert "min_confidence" not in bounded


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"answer_style": "poem"}, "expected the answer style to be one of short, context; got 'poem'"),
        ({"strictness": None}, "expected the strictness to be one of careful, balanced, eager; got None"),
        ({"sources": 1}, "expected 2 to 20 sources, got 1"),
        ({"sources": 21}, "expected 2 to 20 sources, got 21"),
        ({"sources": True}, "expected 2 to 20 sources, got True"),
        ({"sources": "6"}, "expected 2 to 20 sources, got '6'"),
        ({"generator": "gpt"}, "expected a generator in the form extractive, transformers:NAME-OR-PATH or openai:"),
        ({"generator": 7}, "expected a generator in the form .*; got 7"),
        ({"generator": " "}, "expected a generator in the form"),
        ({"generator": "openai:m@ftp://host"}, "ftp://host"),
        ({"generator": "openai:m@http://ada:secret@host/v1"}, "without user and password"),
    ],
)
def test_what_cannot_work_is_refused_in_words(values: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Settings(**values)


def test_a_key_is_never_sent_in_the_clear_to_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_API_KEY", "sesame")
    with pytest.raises(UsageError) as refused:
        Settings(generator="openai:m@http://models.example/v1")
    assert "sesame" not in str(refused.value)
    assert Settings(generator="openai:m@https://models.example/v1").generator == "openai:m@https://models.example/v1"


def test_a_generator_has_one_form_and_a_name_for_people() -> None:
    assert checked_generator(" openai:llama3.2@http://LOCALHOST:11434 ") == OLLAMA
    names = [shown_generator(name) for name in ("extractive", OLLAMA, "transformers:Qwen/Qwen2.5-0.5B-Instruct")]
    assert names == ["Quotes only", "llama3.2 at localhost:11434", "Qwen/Qwen2.5-0.5B-Instruct"]


def test_each_choice_has_its_words() -> None:
    assert ANSWER_STYLES.keys() == ANSWER_STYLE_MEANINGS.keys()
    assert (SOURCES[0], SOURCES[-1]) == (2, 20)


def test_the_encoder_is_named_with_the_reason_why_it_stays(index: Index) -> None:
    name, reason = encoder_lines(replace(index.status(), encoder="sentence-transformers/all-MiniLM-L6-v2"))
    assert name == "all-MiniLM-L6-v2"
    assert reason.startswith("Chosen when handbook was made")
    assert "rag reembed --encoder MODEL" in reason


# --- kept


def test_settings_are_kept_by_owner(kept: SettingsFile) -> None:
    chosen = Settings(answer_style="short", sources=10, strictness="careful", generator=OLLAMA)
    kept.save(ADA, Settings())
    kept.save(ADA, chosen)
    assert kept.load(ADA).settings == chosen
    assert kept.load(ADA).notes == ()
    assert kept.load(BEN) == type(kept.load(BEN))(Settings())


@pytest.mark.parametrize(
    ("form", "settings", "note"),
    [
        ('{"strictness": "wild", "sources": 4}', Settings(sources=4), "The strictness that you chose cannot be used"),
        ('{"sources": 4000}', Settings(), "The sources that you chose cannot be used, and is the usual one now: exp"),
        ('{"generator": "gone:x"}', Settings(), "The generator that you chose cannot be used"),
        ('{"generator": ["x"]}', Settings(), "The generator that you chose cannot be used"),
        ("{", Settings(), "Your settings cannot be read; these are the usual ones."),
        ("[]", Settings(), "Your settings cannot be read; these are the usual ones."),
        ("7", Settings(), "Your settings cannot be read; these are the usual ones."),
    ],
)
def test_what_is_broken_is_the_usual_one_with_a_note(
    kept: SettingsFile, file: Path, form: str, settings: Settings, note: str
) -> None:
    kept.save(ADA, Settings())
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("update settings set form = ?", [form])
    loaded = kept.load(ADA)
    assert loaded.settings == settings
    [said] = loaded.notes
    assert said.startswith(note)


def test_fields_of_another_version_are_passed_over(kept: SettingsFile, file: Path) -> None:
    kept.save(ADA, Settings())
    with closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute('update settings set form = \'{"tone": "calm", "sources": 3}\'')
    assert kept.load(ADA).settings == Settings(sources=3)
    assert kept.load(ADA).notes == ()


def test_a_file_that_cannot_be_read_leaves_the_usual_ones_and_says_why(kept: SettingsFile, file: Path) -> None:
    with closing(sqlite3.connect(file)) as db:
        db.execute("create table theirs (x)")
    loaded = kept.load(ADA)
    assert loaded.settings == Settings()
    assert "belongs to another program: move it away" in loaded.notes[0]
    with pytest.raises(IndexMismatchError, match="belongs to another program"):
        kept.save(ADA, Settings())


# --- the host


def test_a_visitor_chooses_among_what_the_host_offers(kept: SettingsFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    monkeypatch.setenv(GENERATOR_VARIABLE, OLLAMA)
    host = Host.of_environment()
    assert host == Host(is_public=True, generator=OLLAMA)
    assert kept.load(ADA, host).settings.generator == OLLAMA
    kept.save(ADA, Settings(), host)
    assert kept.load(ADA, host).settings.generator == "extractive"
    for other in ("openai:llama3.2@http://10.0.0.1/v1", "openai:other@http://localhost:11434/v1", "transformers:x"):
        with pytest.raises(UsageError, match="which model writes is chosen by the one who runs this page"):
            kept.save(ADA, Settings(generator=other), host)
    assert kept.load(ADA, host).settings.generator == "extractive"


def test_an_address_that_was_kept_before_the_page_became_public_is_not_asked(kept: SettingsFile) -> None:
    kept.save(ADA, Settings(generator="openai:m@http://10.0.0.1/v1", sources=9))
    loaded = kept.load(ADA, Host(is_public=True))
    assert loaded.settings == Settings(sources=9)
    assert "which model writes is chosen by the one who runs this page" in loaded.notes[0]
    assert kept.load(ADA, Host()).settings.generator == "openai:m@http://10.0.0.1/v1"


# --- what was measured


def calibration(settings: Settings, *outcomes: Outcome, **changes: Any) -> Calibration:
    from rag.calibration import Setting

    weights, sentences = default_weights().sha256, {"short": 2, "context": 4}[settings.answer_style]
    setting = Setting("extractive", "bundled", "", False, weights, settings.sources, sentences)
    return Calibration(replace(setting, **changes), "2026-05-03T10:00:00+00:00", "mine.jsonl", outcomes)


def test_the_dial_is_made_of_the_published_measurements() -> None:
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    assert json.loads(DIAL.read_text(encoding="utf-8")) == dial(result), "python -m benchmarks.dial makes it anew"


def test_each_strictness_says_what_it_means_and_on_what_that_was_measured() -> None:
    sets = json.loads(RESULT.read_text(encoding="utf-8"))["sets"].values()
    rows = [found["footnote"]["strictness"]["careful"] for found in sets]
    questions, answered, wrong, elsewhere = (
        sum(row[name] for row in rows) for name in ("questions", "answered", "wrong", "answered_elsewhere")
    )
    said = meaning(Settings(strictness="careful"))
    one_in = (answered + elsewhere / 2) / (wrong + elsewhere / 2)
    assert said.text == (
        f"Careful: answers about {10 * answered / questions:.0f} of 10 questions that the documents answer; "
        f"about 1 answer in {one_in:.0f} is wrong."
    )
    assert said.basis.startswith(f"Measured on {questions:,} public questions, asked of documents that answer them")


def test_the_more_eager_the_more_is_answered_and_wrong() -> None:
    levels = json.loads(DIAL.read_text(encoding="utf-8"))["levels"]
    for name in ("answered", "wrong", "answered_elsewhere", "seeming_answered"):
        counts = [sum(row[name] for row in levels[level]) for level in STRICTNESSES]
        assert counts == sorted(counts)
        assert counts[0] < counts[-1]


def test_strictness_is_counted_by_the_confidence_that_it_asks_for() -> None:
    def asked(confidence: float, elsewhere: float | None, *, right: bool = True) -> AskedResult:
        question = AskedQuestion("1", "Who?", "a", ("Ada",) if elsewhere is not None else ())
        right_ones = (right,)
        return AskedResult(question, "", confidence, False, right_ones, right, ((),), None, elsewhere, 1.0)

    eager = Settings(strictness="eager").pipeline_arguments()["min_confidence"]
    found = strictness([asked(0.99, 0.0), asked(0.5, 0.5, right=False), asked(eager - 0.01, 0.0), asked(0.45, None)])
    assert found["balanced"] == {
        "questions": 3, "answered": 2, "wrong": 1, "answered_elsewhere": 1, "seeming": 1, "seeming_answered": 1,
    }  # fmt: skip
    assert found["careful"] == {
        "questions": 3, "answered": 1, "wrong": 0, "answered_elsewhere": 0, "seeming": 1, "seeming_answered": 0,
    }  # fmt: skip


def test_the_documentation_says_the_same() -> None:
    told = (DIAL.parents[1] / "docs" / "page.md").read_text(encoding="utf-8")
    for level, label in STRICTNESSES.items():
        said = meaning(Settings(strictness=level)).text.removeprefix(f"{label}: ").removesuffix(".")
        least = Settings(strictness=level).pipeline_arguments()["min_confidence"]
        assert f"| {label} | {said} | {least:g}, " in told


@pytest.mark.parametrize("settings", [Settings(answer_style="short"), Settings(generator=OLLAMA)])
def test_what_was_not_measured_with_these_settings_says_so(settings: Settings) -> None:
    assert meaning(settings).basis.endswith("That was with quotes only and answers of up to four sentences.")


def test_an_index_with_a_calibration_tells_of_ones_own_questions(tmp_path: Path) -> None:
    outcomes = (
        [Outcome(0.9, False)] * 30 + [Outcome(0.5, False)] * 5 + [Outcome(0.5, True)] * 5 + [Outcome(0.1, True)] * 10
    )
    settings = Settings()
    calibration(settings, *outcomes).write(tmp_path)
    own = calibration_for(settings, tmp_path)
    assert meaning(settings, own).text == "Balanced: answers about 8 of 10 questions; about 1 answer in 8 is wrong."
    assert meaning(settings, own).basis == "Measured on 50 questions of your own, on 3 May 2026."
    # Of 50 questions, one may be wrong: that none is shown whose confidence is not above the second wrong one.
    assert meaning(replace(settings, strictness="careful"), own).text == (
        "Careful: answers about 6 of 10 questions; no answer was wrong."
    )
    assert meaning(replace(settings, strictness="eager"), own).text.startswith("Eager: answers about 8 of 10 questions")


def test_too_few_questions_of_ones_own_are_said() -> None:
    settings = Settings(strictness="careful")
    said = meaning(settings, calibration(settings, Outcome(0.9, False)))
    assert said.text == "Careful: answers no question yet."
    assert said.basis == "Measured on 1 question of your own, on 3 May 2026. It needs 19 to be sure."


def test_a_calibration_of_other_settings_does_not_count(tmp_path: Path) -> None:
    settings = Settings()
    assert calibration_for(settings, tmp_path) is None
    calibration(settings, Outcome(0.9, False)).write(tmp_path)
    assert calibration_for(replace(settings, strictness="careful"), tmp_path) is not None  # it holds for each of these
    for other in (replace(settings, sources=7), replace(settings, answer_style="short"), Settings(generator=OLLAMA)):
        assert calibration_for(other, tmp_path) is None
    (tmp_path / "calibration.json").write_text("{")
    assert calibration_for(settings, tmp_path) is None


@pytest.mark.usefixtures("fake_reading")
def test_what_counts_here_counts_for_the_pipeline(index: Index) -> None:
    settings = Settings(strictness="careful", answer_style="short", sources=4)
    calibration(settings, *[Outcome(0.9, False)] * 30).write(index.path)
    own = calibration_for(settings, index.path)
    pipeline = Pipeline(Retriever(index), **settings.pipeline_arguments(own))
    assert own is not None
    assert own.setting == pipeline.setting
    assert pipeline.ask("goose bird").notes == ()  # a bound, and not an estimate


# --- where questions go


@pytest.mark.parametrize(
    ("generator", "public", "said"),
    [
        ("extractive", False, "Nothing leaves this computer."),
        ("transformers:a/b", False, "Nothing leaves this computer."),
        ("openai:m@http://127.0.0.1:11434/v1", False, "Nothing leaves this computer."),
        (
            "openai:m@https://models.example.org/v1",
            False,
            "Questions, and the passages found for them, are sent to models.example.org.",
        ),
        ("extractive", True, "Your questions and files go to the computer that runs this page."),
    ],
)
def test_where_questions_go_is_said_as_it_is(generator: str, public: bool, said: str) -> None:
    assert privacy(Settings(generator=generator), Host(is_public=public)) == said
