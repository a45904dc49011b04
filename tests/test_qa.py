"""Question-answering sets are read as they are written, and answers measured as their definitions say."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from rag import answer_evaluation
from rag.answer_evaluation import auroc, evaluate_answers
from rag.cli import main
from rag.errors import EvaluationError
from rag.generators import Message
from rag.generators.writing import WritingGenerator
from rag.qa import read_answer_set
from tests.fakes import HashingEncoder, QueuedWriter, WordChecker

GEESE = "Geese graze on wet meadows. The goose flies to Egypt in autumn. Its nest lies near the water."
FOXES = "Foxes sleep in a den. The fox hunts mice at night. A vixen has five cubs in spring."


def squad(**changes: Any) -> dict[str, Any]:
    def asked(id_: str, question: str, *answers: str) -> dict[str, Any]:
        found = [{"text": text, "answer_start": (GEESE + FOXES).find(text)} for text in answers]
        return {"id": id_, "question": question, "answers": found, "is_impossible": not answers}

    geese = {"context": GEESE, "qas": [asked("a", "Where does the goose fly in autumn?", "Egypt", "to Egypt")]}
    foxes = {
        "context": FOXES,
        "qas": [asked("b", "How many cubs has a vixen?", "five"), asked("c", "Who feeds the zebra at noon?")],
    }
    data = [{"title": "Grey_goose", "paragraphs": [geese]}, {"title": "Red_fox", "paragraphs": [foxes]}]
    return {"version": "x", "data": data, **changes}


@pytest.fixture
def squad_file(tmp_path: Path) -> Path:
    file = tmp_path / "small.json.gz"
    file.write_bytes(gzip.compress(json.dumps(squad()).encode()))
    return file


def clapnq_row(id_: str, question: str, text: str, *selected: str) -> str:
    output = [{"answer": " ".join(selected), "selected_sentences": list(selected)}]
    return json.dumps({"id": id_, "input": question, "passages": [{"title": "T", "text": text}], "output": output})


def test_squads_paragraphs_are_documents_under_their_articles_titles(squad_file: Path) -> None:
    found = read_answer_set(squad_file)
    assert [(d.doc_id, d.title, d.text) for d in found.documents] == [
        ("0/0", "Grey goose", GEESE), ("1/0", "Red fox", FOXES),
    ]  # fmt: skip
    assert [(q.id, q.source, q.answers, q.is_answerable) for q in found.questions] == [
        ("a", "0/0", ("Egypt", "to Egypt"), True), ("b", "1/0", ("five",), True), ("c", "1/0", (), False),
    ]  # fmt: skip
    assert found.articles == {"0/0": "0/*", "1/0": "1/*"}


def test_clapnqs_selected_sentences_are_spans_of_its_passage(tmp_path: Path) -> None:
    (tmp_path / "dev_answerable.jsonl").write_text(
        clapnq_row("7", "Where does the goose fly?", GEESE, "The goose flies to Egypt in autumn.", "Not in it.")
    )
    (tmp_path / "dev_unanswerable.jsonl.gz").write_bytes(gzip.compress(clapnq_row("8", "Why?", FOXES).encode()))
    found = read_answer_set(tmp_path)
    [first, second] = found.questions
    assert [GEESE[s:e] for s, e in first.spans] == ["The goose flies to Egypt in autumn."]
    assert (first.is_answerable, second.is_answerable, second.source) == (True, False, "0/8")
    assert found.articles == {"0/7": "0/*", "0/8": "0/*"}  # both passages are of one title
    assert read_answer_set(tmp_path / "dev_answerable.jsonl").questions == (first,)


def test_a_clapnq_question_whose_marked_sentences_are_not_in_its_passage_is_left_out(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(clapnq_row("1", "Where?", GEESE, "Nowhere.") + "\n" + clapnq_row("2", "Where?", FOXES, ""))
    found = read_answer_set(file)
    assert [(q.id, q.is_answerable) for q in found.questions] == [("2", False)]
    assert len(found.documents) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.json", "{", "as JSON"),
        ("a.json", "[]", "SQuAD's format"),
        ("a.json", '{"data": [{"paragraphs": [{"context": "x"}]}]}', "KeyError: 'qas'"),
        ("a.json", '{"data": []}', "holds no questions"),
        ("a.json.gz", "no gzip", "cannot read"),
        ("a.jsonl", '{"id": 1}', "line 1: expected CLAPNQ's format"),
        ("missing.json", None, "cannot read"),
    ],
)
def test_a_file_in_another_form_is_told_in_one_line(
    tmp_path: Path, name: str, content: str | None, message: str
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(EvaluationError, match=message) as told:
        read_answer_set(tmp_path / name)
    assert "\n" not in str(told.value)


@pytest.mark.usefixtures("fake_reading")
def test_the_figures_are_those_of_their_definitions(squad_file: Path) -> None:
    figures, each = evaluate_answers(read_answer_set(squad_file), encoder=HashingEncoder())
    assert (figures["questions"], figures["answerable"], figures["documents"]) == (3, 2, 2)
    assert [asked.text for asked in each[:2]] == [
        "The goose flies to Egypt in autumn.", "A vixen has five cubs in spring.",
    ]  # fmt: skip
    assert [asked.is_right[0] for asked in each[:2]] == [True, True]
    assert figures["sentence@1"] == figures["sentence@3"] == figures["citation_precision"] == 1
    assert [asked.short for asked in each[:2]] == ["flies", "spring"]  # the fake reader marks the longest new word
    assert figures["exact_match"] == figures["f1"] == 0
    confidences = [asked.confidence for asked in each]
    elsewhere = [asked.elsewhere for asked in each[:2]]
    assert figures["abstain_auroc"] == roc_auc_score([1, 1, 0, 0], [*confidences[:2], *elsewhere])
    assert figures["unanswerable_auroc"] == roc_auc_score([1, 1, 0], confidences)
    assert each[2].elsewhere is None
    assert figures["risk_coverage"][-1] == [1.0, round(1 / 3, 4)]  # type: ignore[index] # all answered: one is wrong
    assert figures["mean_words_first_sentence"] == 7
    assert figures["mean_words_corpus_sentence"] == pytest.approx(np.mean([5, 7, 6, 5, 6, 7]), abs=0.005)


@pytest.mark.usefixtures("fake_reading")
def test_the_command_prints_what_the_library_measures(squad_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.encoders.load_encoder", lambda *_, **__: HashingEncoder())
    dump = squad_file.parent / "each.jsonl"
    command = ["evaluate", "answers", str(squad_file), "--limit", "2"]
    told = CliRunner().invoke(main, [*command, "--json", "--dump", str(dump)])
    figures = json.loads(told.stdout)
    assert figures["questions"] == 2
    assert {"sentence@1", "f1", "abstain_auroc", "risk_coverage", "latency_ms"} <= figures.keys()
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    assert len(rows) == 2
    assert {"first_sentence", "is_right", "confidence", "short_answer"} <= rows[0].keys()
    shown = CliRunner().invoke(main, command).stdout
    assert "sentence@1" in shown
    assert "2 documents, 2 questions" in shown


@pytest.mark.parametrize(
    ("said", "gold", "exact", "f1"),
    [
        ("the Egypt!", "Egypt", 1, 1),
        ("to Egypt", "Egypt", 0, pytest.approx(2 / 3)),
        ("Paris", "Egypt", 0, 0),
        ("the", "a", 1, 1),
        ("five five cubs", "five cubs", 0, pytest.approx(0.8)),
    ],
)
def test_short_answers_are_compared_as_squad_does(said: str, gold: str, exact: int, f1: float) -> None:
    assert (answer_evaluation._exact(said, gold), answer_evaluation._f1(said, gold)) == (exact, f1)


numbers = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.5001, 1.0]), min_size=1, max_size=20)


@given(numbers, numbers)
def test_auroc_is_that_of_scikit_learn(positive: list[float], negative: list[float]) -> None:
    truth = [1] * len(positive) + [0] * len(negative)
    assert auroc(positive, negative) == pytest.approx(roc_auc_score(truth, positive + negative), abs=1e-4)
    assert auroc([], negative) is None


@pytest.mark.usefixtures("fake_reading")
def test_what_a_model_wrote_is_held_against_what_it_cites(squad_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One answer is right, one is half invented, and one question is met with silence."""
    monkeypatch.setattr("rag.encoders.load_encoder", lambda *_, **__: HashingEncoder())
    monkeypatch.setattr("rag.cli.evaluating_answers.make_checker", lambda *_, **__: WordChecker())
    flies = "The goose flies to Egypt in autumn."

    class Same(QueuedWriter):
        def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
            yield f"{flies} Every vixen admires rabbits, hedgehogs, badgers."

    monkeypatch.setattr("rag.generators.load_generator", lambda _: WritingGenerator(Same(name="same")))
    dump = squad_file.parent / "each.jsonl"
    command = ["evaluate", "answers", str(squad_file), "--generator", "openai:m@http://localhost:1"]
    told = CliRunner().invoke(main, [*command, "--json", "--dump", str(dump)])
    assert told.exit_code == 0, told.output
    figures = json.loads(told.stdout)
    rows = [json.loads(line) for line in dump.read_text().splitlines()]
    wrote = [row for row in rows if row["generator"] == "same" and not row["abstained"]]
    assert wrote
    assert all(row["sentences_held"] == [True, False] for row in wrote)
    assert all(row["citations_held"] == [True] for row in wrote)
    assert (figures["citation_recall"], figures["citation_precision"]) == (0.5, 1.0)
    shown = [row for row in rows if not row["abstained"]]
    assert figures["written"] == pytest.approx(len(wrote) / len(shown), abs=1e-4)
    strict = json.loads(CliRunner().invoke(main, [*command, "--strict", "--json"]).stdout)
    assert (strict["citation_recall"], strict["citation_precision"]) == (1.0, 1.0)


def test_a_judge_of_quotes_is_refused(squad_file: Path) -> None:
    told = CliRunner().invoke(main, ["evaluate", "answers", str(squad_file), "--judge", "m"])
    assert (told.exit_code, "--generator" in told.stderr) == (2, True)
