"""`rag evaluate` in words and in JSON: retrieval sets, runs of any system, and two of them held against each other."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rag.cli import evaluating, main
from rag.evaluation import RETRIEVAL_MODES
from rag.index import Index
from rag.runs import MEASURES
from rag.types import Document
from tests.fakes import HashingEncoder

Run = Callable[..., Result]

CORPUS = [
    {"_id": "goose", "title": "Geese", "text": "The goose flies south."},
    {"_id": "fox", "title": "", "text": "A fox sleeps in the den.\n\x1b[31mIt dreams."},
    {"_id": "title", "title": "Walrus on ice", "text": ""},
]
QUERIES = [
    {"_id": "q1", "text": "goose flies"},
    {"_id": "q2", "text": "fox\x07 sleeps"},
    {"_id": "q3", "text": "walrus"},
]
QRELS = "q1\tgoose\t1\nq2\tfox\t2\nq3\ttitle\t1\n"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_reading: None) -> Run:
    """Runs `rag evaluate` in a folder that holds a judged corpus, with a fake encoder in place of the model."""
    folder = tmp_path / "animals"
    (folder / "qrels").mkdir(parents=True)
    for name, rows in {"corpus": CORPUS, "queries": QUERIES}.items():
        (folder / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (folder / "qrels" / "test.tsv").write_text(QRELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("rag.encoders.load_encoder", lambda *_, **__: HashingEncoder(dim=4096))
    monkeypatch.setattr("rag.index.load_encoder", lambda *_, **__: HashingEncoder(dim=4096))
    (tmp_path / "a.trec").write_text("q1 Q0 goose 1 2 a\nq1 Q0 fox 2 1 a\nq2 Q0 fox 1 1 a\nq3 Q0 goose 1 1 a\n")
    (tmp_path / "b.trec").write_text("q1 Q0 fox 1 2 b\nq1 Q0 goose 2 1 b\nq3 Q0 title 1 1 b\nq9 Q0 fox 1 1 b\n")

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, ["evaluate", *words], catch_exceptions=False)

    return invoke


def parsed(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_the_choices_are_what_the_library_knows() -> None:
    [modes] = [p for p in evaluating.evaluate_retrieval_command.params if p.name == "modes"]
    assert tuple(modes.type.choices) == RETRIEVAL_MODES  # type: ignore[attr-defined]
    [measures] = [p for p in evaluating.evaluate_compare_command.params if p.name == "measure"]
    assert list(measures.type.choices) == list(MEASURES)  # type: ignore[attr-defined]


def test_retrieval_prints_each_mode_and_how_hybrid_compares(run: Run) -> None:
    result = run("retrieval", "animals")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "animals: 3 documents, 3 queries, hashing"
    assert lines[1].split() == ["mode", "nDCG@10", "[95", "%]", "recall@100", "RR@10", "success@1", "MAP"]
    for line, mode in zip(lines[2:6], RETRIEVAL_MODES, strict=True):  # the title alone is found too
        assert line.split() == [mode, "1.0000", "[1.0000,", "1.0000]", "1.0000", "1.0000", "1.0000", "1.0000"]
    assert lines[6:8] == [
        "hybrid against dense: nDCG@10 +0.0000 [+0.0000, +0.0000], p = 1.000: no more than chance could do",
        "  0 queries better, 0 worse, 3 the same",
    ]
    assert result.stderr.startswith("indexing 3 documents\n")


def test_a_saved_run_measures_as_the_mode_did(run: Run) -> None:
    there = parsed(run("retrieval", "animals", "--mode", "bm25", "--save-run", "runs/new", "--json"))
    assert [file.name for file in Path("runs/new").iterdir()] == ["animals-bm25.trec"]
    again = parsed(run("run", "runs/new/animals-bm25.trec", "--qrels", "animals", "--json"))
    counts = {"run": "runs/new/animals-bm25.trec", "queries": 3, "not_judged": 0}
    assert again == {**counts, **there["modes"]["bm25"]}


def test_judgements_from_elsewhere_choose_the_queries(run: Run) -> None:
    Path("mine.qrels").write_text("q2 0 fox 1\n")
    assert parsed(run("retrieval", "animals", "--qrels", "mine.qrels", "--mode", "bm25", "--json"))["queries"] == 1


def test_a_run_of_any_system_is_measured(run: Run) -> None:
    result = run("run", "b.trec", "--qrels", "animals")
    lines = result.stdout.splitlines()
    assert lines[0] == "b.trec: 3 judged queries, 1 of them without results"
    assert lines[2].split()[:2] == ["nDCG@10", "0.5436"]  # 1 / log2(3), 0 and 1
    assert lines[4].split() == ["RR@10", "0.5000", "[0.0000,", "1.0000]"]
    assert result.stderr == "b.trec: 1 queries are not judged and left out\n"


def test_a_run_of_other_queries_is_an_error_in_one_line(run: Run) -> None:
    Path("other.qrels").write_text("x7 0 fox 1\n")
    result = run("run", "a.trec", "--qrels", "other.qrels")
    assert result.exit_code == 1
    assert result.stderr.startswith("rag: no query of the run is judged: it holds queries such as 'q1'")


def test_compare_shows_where_the_second_run_is_worse_side_by_side(run: Run) -> None:
    result = run("compare", "a.trec", "b.trec", "--qrels", "animals")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "run                 nDCG@10 [95 %]",
        "A  a.trec  0.6667 [0.0000, 1.0000]",
        "B  b.trec  0.5436 [0.0000, 1.0000]",
        "B against A: nDCG@10 -0.1230 [-1.0000, +1.0000], p = 1.000: no more than chance could do",
        "  1 queries better, 2 worse, 0 the same",
        "",
        "2 of the 2 queries that B answers worse, most changed first:",
        "",
        "q2  1.0000 → 0.0000 (-1.0000)",
        "     fox\\x07 sleeps",
        f"{'     A':<48} |      B",
        r"*  1 fox  A fox sleeps in the den. \x1b[31mIt d… |      nothing",
        "",
        "q1  1.0000 → 0.6309 (-0.3691)",
        "     goose flies",
        f"{'     A':<48} |      B",
        f"{'*  1 goose  Geese':<48}" + r" |    1 fox  A fox sleeps in the den. \x1b[31mIt d…",
        r"   2 fox  A fox sleeps in the den. \x1b[31mIt d… | *  2 goose  Geese",
    ]


def test_compare_keeps_to_the_width_of_the_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((50, 20)))
    shown = run("compare", "a.trec", "b.trec", "--qrels", "animals").stdout.partition("most changed first:")[2]
    assert max(map(len, shown.splitlines())) == 49
    assert "   2 fox  A fox sleeps…" in shown


def test_compare_without_a_folder_names_documents_alone(run: Run) -> None:
    Path("mine.qrels").write_text("q1 0 goose 1\n")
    result = run("compare", "a.trec", "b.trec", "--qrels", "mine.qrels", "-k", "1")
    assert result.stdout.splitlines()[-3:] == [
        "q1  1.0000 → 0.6309 (-0.3691)",
        f"{'     A':<48} |      B",
        f"{'*  1 goose':<48} |    1 fox",
    ]
    assert "a.trec: 2 queries are not judged" in result.stderr


def test_compare_gives_programs_the_same(run: Run) -> None:
    found = parsed(run("compare", "a.trec", "b.trec", "--qrels", "animals", "--limit", "1", "--json"))
    alone = parsed(run("run", "a.trec", "--qrels", "animals", "--json"))
    assert found.pop("a") == {n: of for n, of in alone.items() if n not in {"queries", "not_judged"}}
    assert found.pop("b")["ndcg@10"] == 0.5436
    assert found == {
        "measure": "ndcg@10",
        "difference": -0.123,
        "interval": [-1.0, 1.0],
        "p": 1.0,
        "better": 1,
        "worse": 2,
        "same": 0,
        "queries": [
            {
                "query_id": "q2",
                "query": "fox\x07 sleeps",
                "a": 1.0,
                "b": 0.0,
                "difference": -1.0,
                "hits_a": [{"doc_id": "fox", "relevance": 2}],
                "hits_b": [],
            }
        ],
    }


def test_compare_shows_the_other_direction_and_another_measure_on_demand(run: Run) -> None:
    asked = ("compare", "a.trec", "b.trec", "--qrels", "animals", "--measure", "recall@10")
    found = parsed(run(*asked, "--better", "--json"))
    assert [query["query_id"] for query in found["queries"]] == ["q3"]
    assert "1 of the 1 queries that B answers better" in run(*asked, "--better").stdout
    none = run(*asked, "--limit", "0")
    assert none.stdout.splitlines()[-2].startswith("B against A: recall@10 +0.0000")


def test_a_document_with_white_space_in_its_id_costs_the_run_and_not_the_figures(run: Run) -> None:
    Path("animals/corpus.jsonl").write_text('{"_id": "my goose", "text": "goose"}\n')
    result = run("retrieval", "animals", "--mode", "bm25", "--save-run", "runs")
    assert result.exit_code == 1
    assert "bm25  0.0000" in result.stdout
    assert "queries without results, each counts 0: bm25 2\n" in result.stdout
    assert "expected ids without white space" in result.stderr


def test_questions_show_the_modes_side_by_side(run: Run) -> None:
    with Index.create("indexes/mine", encoder=HashingEncoder(dim=4096)) as index:
        index.add([Document("goose.md", "The goose flies south."), Document("fox.md", "A fox sleeps in its den.")])
    rows = [
        {"question": "Where does the goose fly?", "source": "goose.md", "quote": "The goose flies south."},
        {"question": "Where does a fox sleep?", "source": "fox.md", "quote": "A fox sleeps in its den."},
    ]
    Path("q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    lines = run("questions", "q.jsonl").stdout.splitlines()
    assert lines[0] == "2 questions, 2 of them answerable"
    assert lines[1].split() == ["found", "[95", "%]", "hybrid", "dense", "plain", "BM25"]
    assert lines[2].split() == ["file@1", *["100.0", "%", "[100,", "100]"] * 3]
    assert lines[5].split() == ["rr@10", *["1.000", "[1.000,", "1.000]"] * 3]
    assert lines[7].split()[0] == "passage@6"
    assert lines[9].split() == ["answers", "[95", "%]", "hybrid"]
    assert lines[13].split() == ["abstained"]  # no question is unanswerable
