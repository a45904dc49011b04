"""Metrics are those worked by hand, judged corpora are read as BEIR writes them, and broken lines are named."""

from __future__ import annotations

import gzip
import io
import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag.beir import RetrievalSet, read_lines, read_retrieval_set, write_run
from rag.calibration import Outcome
from rag.errors import EvaluationError, UsageError
from rag.evaluation import (
    OwnQuestion,
    document_scores,
    evaluate_questions,
    evaluate_retrieval,
    first_tokens_run,
    measure,
    outcomes,
    read_questions,
)
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.sentences import plain_text
from rag.types import Chunk, Document, Draft, DraftSentence, Hit, Place, Span
from tests.fakes import HashingEncoder, QueuedGenerator

pytestmark = pytest.mark.usefixtures("fake_reading")


def test_metrics_are_those_worked_by_hand() -> None:
    qrels = {"q1": {"a": 2, "b": 1, "c": 1}, "q2": {"d": 1}}
    run = {"q1": {"x": 9.0, "a": 8.0, "b": 7.0}, "q2": {"d": 1.0, "x": 0.5}}
    found = 2 / math.log2(3) + 1 / math.log2(4)
    best = 2 / math.log2(2) + 1 / math.log2(3) + 1 / math.log2(4)
    assert measure(run, qrels) == {
        "ndcg@10": round((found / best + 1) / 2, 4),
        "recall@100": round((2 / 3 + 1) / 2, 4),
        "rr@10": (1 / 2 + 1) / 2,
        "success@1": 0.5,
        "success@5": 1.0,
        "recall@10": round((2 / 3 + 1) / 2, 4),
        "map": round(((1 / 2 + 2 / 3) / 3 + 1) / 2, 4),
    }


NOTHING = {
    "ndcg@10": 0.0,
    "recall@100": 0.0,
    "rr@10": 0.0,
    "success@1": 0.0,
    "success@5": 0.0,
    "recall@10": 0.0,
    "map": 0.0,
}


def test_what_stands_below_rank_10_counts_for_recall_100_and_the_average_precision_only() -> None:
    run = {"q": {f"x{i}": 100.0 - i for i in range(10)} | {"a": 1.0}}
    assert measure(run, {"q": {"a": 1}}) == {**NOTHING, "recall@100": 1.0, "map": 0.0909}


def test_success_asks_whether_anything_relevant_stands_so_high() -> None:
    run = {"q": {"x1": 6.0, "x2": 5.0, "x3": 4.0, "x4": 3.0, "a": 2.0, "b": 1.0}}
    found = measure(run, {"q": {"a": 1, "b": 1}})
    assert (found["success@1"], found["success@5"], found["recall@10"]) == (0.0, 1.0, 1.0)
    assert measure(run, {"q": {"b": 1}})["success@5"] == 0.0


def test_every_measure_sees_the_ranking_that_is_written_where_scores_are_equal() -> None:
    near = {"a": 1.0, "b": 1.0 + 1e-12, "c": 1.0}  # 32 bits hold no difference
    found = measure({"q": near}, {"q": {"a": 1}})
    assert (found["rr@10"], found["map"], found["success@1"]) == (0.5, 0.5, 0.0)
    assert measure({"q": near}, {"q": {"b": 1}}) == dict.fromkeys(NOTHING, 1.0)


@pytest.mark.parametrize("missing", [{}, {"q2": {}}], ids=["not in the run", "in it without hits"])
def test_a_query_without_hits_counts_0_in_the_mean(missing: dict[str, dict[str, float]]) -> None:
    qrels = {"q1": {"a": 1}, "q2": {"b": 1}}
    assert measure({"q1": {"a": 1.0}, **missing}, qrels) == dict.fromkeys(NOTHING, 0.5)


def test_a_run_without_any_hit_measures_0() -> None:
    assert measure({}, {"q": {"a": 1}}) == NOTHING


def test_a_document_has_the_score_of_its_best_chunk_and_of_every_text_that_it_shares() -> None:
    def hit(rank: int, doc_id: str, score: float, *places: str) -> Hit:
        also_in = tuple(Place(source, None, 0, 1) for source in places)
        return Hit(rank, Chunk(doc_id, "x", 0, 1), score, rank, also_in)

    hits = [hit(1, "a", 0.9, "b"), hit(2, "a", 0.8), hit(3, "c", 0.7, "a"), hit(4, "b", -0.5), hit(5, "d", -1.0)]
    assert document_scores(hits) == {"a": 0.9, "b": 0.9, "c": 0.7, "d": -1.0}
    assert document_scores([]) == {}


# BEIR layout

CORPUS = [
    {"_id": "d1", "title": "Geese", "text": "The goose flies."},
    {"_id": 2, "title": "", "text": "Foxes sleep."},
    {"_id": "d3", "text": ""},
]
QUERIES = [{"_id": "q1", "text": "goose"}, {"_id": "7", "text": "fox"}, {"_id": "q3", "text": "not judged"}]
HEADER = "query-id\tcorpus-id\tscore\n"
QRELS = "q1\td1\t2\nq1\t2\t0\n7\t2\t1\n7\td1\t-1\nq9\td1\t1\n"


def lines(rows: Sequence[object]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def write(folder: Path, name: str, text: str, *, packed: bool = False) -> None:
    file = folder / (f"{name}.gz" if packed else name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "animals"
    write(folder, "corpus.jsonl", lines(CORPUS))
    write(folder, "queries.jsonl", lines(QUERIES))
    write(folder, "qrels/test.tsv", HEADER + QRELS)
    return folder


EXPECTED = RetrievalSet(
    "animals",
    (Document("d1", "The goose flies.", title="Geese"), Document("2", "Foxes sleep."), Document("d3", "")),
    {"q1": "goose", "7": "fox"},
    {"q1": {"d1": 2}, "7": {"2": 1}},
)


@pytest.mark.parametrize("header", [HEADER, ""], ids=["header", "no header"])
@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
def test_a_judged_corpus_is_read_as_beir_writes_it(tmp_path: Path, *, packed: bool, header: str) -> None:
    folder = tmp_path / "animals"
    write(folder, "corpus.jsonl", lines(CORPUS), packed=packed)
    write(folder, "queries.jsonl", lines(QUERIES) + "\n", packed=packed)
    write(folder, "qrels/test.tsv", header + QRELS + "\n", packed=packed)
    assert read_retrieval_set(folder) == EXPECTED


def test_windows_line_ends_and_byte_order_marks_are_no_text(folder: Path) -> None:
    write(folder, "corpus.jsonl", "\ufeff" + lines(CORPUS))
    write(folder, "qrels/test.tsv", "\ufeff" + QRELS.replace("\n", "\r\n"))
    assert read_retrieval_set(folder) == EXPECTED


def test_another_split_is_read_by_its_name(folder: Path) -> None:
    write(folder, "qrels/dev.tsv", "q3\td1\t1\n")
    assert read_retrieval_set(folder, split="dev").queries == {"q3": "not judged"}
    with pytest.raises(EvaluationError, match=r"cannot read '.*train\.tsv' \(No such file or directory\)"):
        read_retrieval_set(folder, split="train")


def test_judgements_can_lie_elsewhere_and_in_trecs_form(folder: Path, tmp_path: Path) -> None:
    write(tmp_path, "mine.qrels", "q3 0 d1 2\n7 0 2 0\n")
    data = read_retrieval_set(folder, qrels=tmp_path / "mine.qrels")
    assert (data.queries, data.qrels) == ({"q3": "not judged"}, {"q3": {"d1": 2}})
    write(tmp_path, "other.qrels", "q8 0 d1 2\n")
    with pytest.raises(EvaluationError, match=r"no query of '.*animals' is judged in '.*other\.qrels'"):
        read_retrieval_set(folder, qrels=tmp_path / "other.qrels")


def test_a_document_that_is_a_title_alone_has_it_as_its_text(folder: Path) -> None:
    rows = [{"_id": "d1", "title": "Geese", "text": " \n"}, {"_id": "d2", "title": "", "text": " "}]
    write(folder, "corpus.jsonl", lines(rows))
    assert read_retrieval_set(folder).documents == (Document("d1", "Geese"), Document("d2", " "))


def test_where_a_file_and_its_packed_twin_are_there_the_file_is_read(folder: Path) -> None:
    write(folder, "queries.jsonl", lines([{"_id": "q1", "text": "old"}]), packed=True)
    assert read_retrieval_set(folder).queries == {"q1": "goose", "7": "fox"}


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("corpus.jsonl", lines(CORPUS) + "{broken\n", r"corpus\.jsonl line 4: expected a JSON object.*got '\{broken"),
        ("corpus.jsonl", '{"_id": "d1"}\n', r"corpus\.jsonl line 1: expected a JSON object with '_id' and 'text'"),
        ("corpus.jsonl", '{"_id": "d1", "text": null}\n', r"corpus\.jsonl line 1"),
        ("corpus.jsonl", '{"_id": null, "text": "x"}\n', r"corpus\.jsonl line 1"),
        ("queries.jsonl", lines(QUERIES) + "\n[1, 2]\n", r"queries\.jsonl line 5"),
        ("queries.jsonl", '"text"\n', r"queries\.jsonl line 1"),
        ("qrels/test.tsv", HEADER + "q1\td1\t1\nq1 d1 1\n", r"test\.tsv line 3: expected query id.*got 'q1 d1 1"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\tyes\n", r"test\.tsv line 2"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t²\n", r"test\.tsv line 2"),
        ("qrels/test.tsv", "q1\td1\t1\nq1\td1\t0.5\n", r"test\.tsv line 2"),
        ("qrels/test.tsv", "q1\t0\td1\t1\n", r"test\.tsv line 1"),
        ("qrels/test.tsv", "q8\td1\t1\n", r"no query of '.*animals' is judged in qrels/test\.tsv"),
        ("qrels/test.tsv", "", r"no query of '.*animals' is judged in qrels/test\.tsv"),
    ],
)
def test_a_line_that_is_not_in_the_form_is_named(folder: Path, name: str, text: str, match: str) -> None:
    write(folder, name, text)
    with pytest.raises(EvaluationError, match=match):
        read_retrieval_set(folder)


def test_a_file_that_is_cut_off_or_no_text_is_an_error_in_words(tmp_path: Path) -> None:
    packed = gzip.compress(b"one\n" * 9_000)
    (tmp_path / "cut.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "other.gz").write_bytes(b"not packed at all")
    (tmp_path / "latin1").write_bytes("Straße\n".encode("latin-1"))
    for name, match in {
        "cut": "behind line .*Compressed file ended",
        "other": "Not a gzipped file",
        "latin1": "expected whole text in UTF-8",
    }.items():
        with pytest.raises(EvaluationError, match=match):
            list(read_lines(tmp_path / name))


def test_a_run_is_written_in_trecs_form() -> None:
    file = io.StringIO()
    write_run(file, {"q1": {"b": 0.5, "a": 0.5, "c": 1.25}, "q2": {}, "q3": {"a": -1.0}}, tag="hybrid")
    assert file.getvalue() == (
        "q1 Q0 c 1 1.250000 hybrid\nq1 Q0 a 2 0.500000 hybrid\nq1 Q0 b 3 0.500000 hybrid\nq3 Q0 a 1 -1.000000 hybrid\n"
    )


# Retrieval

LONG = "Much is said of nothing here. " * 30 + "A walrus rests on the ice."


def test_every_mode_is_measured_and_a_documents_best_chunk_counts() -> None:
    data = RetrievalSet(
        "tiny",
        (
            Document("goose", "The goose flies south."),
            Document("copy", "The goose flies south."),  # the same text: one chunk, two documents
            Document("long", LONG),  # the walrus is in the last of its chunks
            Document("fox", "A fox sleeps in the den."),
            Document("empty", ""),
        ),
        {"q1": "goose flies", "q2": "walrus rests on ice", "q3": "zebra"},
        {"q1": {"goose": 1, "copy": 1}, "q2": {"long": 1}, "q3": {"missing": 1}},
    )
    said: list[str] = []
    result, runs = evaluate_retrieval(data, encoder=HashingEncoder(dim=4096), progress=said.append)
    equal = {"better": 0, "worse": 0, "same": 3, "difference": 0.0, "interval": [0.0, 0.0], "p": 1.0}
    assert {name: value for name, value in result.items() if name != "modes"} == {
        "dataset": "tiny",
        "documents": 5,
        "queries": 3,
        "encoder": "hashing",
        "comparisons": {
            "dense": equal,
            "bm25": equal,
            # There the walrus is at rank 5, last of those without a word of q2; q2 alone is drawn in 1 of 27 samples.
            "dense_first_tokens": {**equal, "better": 1, "same": 2, "difference": 0.2044, "interval": [0.0, 0.6131]},
        },
    }
    means = dict.fromkeys(NOTHING, 0.6667)  # nothing can be found for q3
    perfect = {**means, "intervals": {name: [0.0, 1.0] for name in NOTHING}}
    modes = result["modes"]
    assert isinstance(modes, dict)
    assert modes.keys() == runs.keys() == {"hybrid", "dense", "bm25", "dense_first_tokens"}
    assert modes["hybrid"] == modes["dense"] == {**perfect, "without_hits": 0}
    assert modes["bm25"] == {**perfect, "without_hits": 1}
    assert runs["bm25"]["q1"].keys() == {"goose", "copy"}
    assert runs["bm25"]["q1"]["goose"] == runs["bm25"]["q1"]["copy"]
    assert runs["bm25"]["q3"] == {}
    assert runs["dense"]["q2"].keys() == {"goose", "copy", "long", "fox"}
    assert runs["dense"]["q2"]["long"] > 0.5
    assert runs["dense_first_tokens"]["q2"]["long"] == 0  # the encoder never gets so far
    assert said[0] == "indexing 5 documents"


TINY = RetrievalSet("tiny", (Document("goose", "The goose flies."),), {"q": "goose"}, {"q": {"goose": 1}})


def test_a_query_that_is_a_document_does_not_find_itself_and_a_blank_one_finds_nothing() -> None:
    """As BEIR has it: the queries of ArguAna are arguments of its corpus."""
    texts = {"a": "The goose flies south.", "b": "The goose flies north.", "c": "A fox sleeps."}
    queries = {"a": texts["a"], "blank": " \x00 "}
    documents = tuple(Document(name, text) for name, text in texts.items())
    data = RetrievalSet("tiny", documents, queries, {"a": {"b": 1}, "blank": {"c": 1}})
    result, runs = evaluate_retrieval(data, encoder=HashingEncoder(dim=4096))
    modes: Any = result["modes"]
    for mode in ("hybrid", "dense", "bm25", "dense_first_tokens"):
        assert "a" not in runs[mode]["a"]
        assert next(iter(runs[mode]["a"])) == "b"
    for mode in ("hybrid", "dense", "bm25"):
        assert runs[mode]["blank"] == {}
        assert modes[mode]["success@1"] == 0.5


@pytest.mark.parametrize(
    ("modes", "compared"),
    [(["bm25", "hybrid"], {"bm25"}), (["dense"], set()), (["dense_first_tokens"], set())],
    ids=["hybrid and another", "one", "one without an index"],
)
def test_chosen_modes_are_measured_and_hybrid_is_held_against_them(modes: list[str], compared: set[str]) -> None:
    result, runs = evaluate_retrieval(TINY, encoder=HashingEncoder(dim=4096), modes=modes)
    assert isinstance(result["modes"], dict)
    assert isinstance(result["comparisons"], dict)
    assert result["modes"].keys() == runs.keys() == set(modes)
    assert result["comparisons"].keys() == compared
    assert all(run == {"q": {"goose": pytest.approx(run["q"]["goose"])}} for run in runs.values())


def test_of_one_query_there_is_no_interval() -> None:
    result, _ = evaluate_retrieval(TINY, encoder=HashingEncoder(dim=4096), modes=["bm25", "hybrid"])
    assert isinstance(result["modes"], dict)
    assert result["modes"]["bm25"] == {
        **dict.fromkeys(NOTHING, 1.0),
        "intervals": dict.fromkeys(NOTHING),
        "without_hits": 0,
    }
    equal = {"better": 0, "worse": 0, "same": 1, "difference": 0.0, "interval": None, "p": 1.0}
    assert result["comparisons"] == {"bm25": equal}


@pytest.mark.parametrize("modes", [[], ["hybrid", "magic"]])
def test_an_unknown_mode_is_refused_before_anything_is_indexed(modes: list[str]) -> None:
    encoder = HashingEncoder()
    with pytest.raises(UsageError, match=r"expected modes of hybrid, .*, dense_first_tokens, got (none|hybrid, magic)"):
        evaluate_retrieval(TINY, encoder=encoder, modes=modes)
    assert encoder.texts == []


def test_the_run_of_first_tokens_embeds_title_and_text_once() -> None:
    encoder = HashingEncoder(dim=4096)
    documents = (Document("a", "flies south", title="Goose"), Document("b", "sleeps"), Document("c", "goose"))
    data = RetrievalSet("tiny", documents, {"q": "goose"}, {"q": {"a": 1}})
    run = first_tokens_run(data, encoder, k=2)
    assert encoder.texts == ["Goose flies south", "sleeps", "goose"]
    assert run == {"q": {"c": 1.0, "a": pytest.approx(1 / math.sqrt(3))}}
    assert first_tokens_run(RetrievalSet("none", (), {"q": "goose"}, {}), encoder) == {"q": {}}


# A user's own questions


@pytest.mark.parametrize("name", ["mine.jsonl", "mine.jsonl.gz"])
def test_questions_are_read_one_a_line(tmp_path: Path, name: str) -> None:
    text = '{"question": "Who?", "source": "a.md", "quote": "He."}\n\n{"question": "Why?", "source": null}\n'
    write(tmp_path, "mine.jsonl", text, packed=name.endswith(".gz"))
    assert read_questions(tmp_path / name) == [OwnQuestion("Who?", "a.md", "He."), OwnQuestion("Why?", None, None)]


@pytest.mark.parametrize(
    "line",
    [
        "{broken",
        "[]",
        "3",
        "{}",
        '{"question": null}',
        '{"question": "  "}',
        '{"question": "Who?", "source": 3}',
        '{"question": "Who?", "source": "a.md", "quote": ["x"]}',
        '{"question": "Who?", "source": "a.md", "quote": ""}',
    ],
)
def test_a_question_that_is_not_in_the_form_is_named(tmp_path: Path, line: str) -> None:
    write(tmp_path, "mine.jsonl", '{"question": "Who?"}\n' + line + "\n")
    with pytest.raises(EvaluationError, match=r"mine\.jsonl line 2: expected \{'question': …"):
        read_questions(tmp_path / "mine.jsonl")


def test_a_file_without_questions_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "mine.jsonl", "\n \n")
    with pytest.raises(EvaluationError, match="holds no questions: write one JSON object a line"):
        read_questions(tmp_path / "mine.jsonl")
    with pytest.raises(EvaluationError, match=r"cannot read .*none\.jsonl"):
        read_questions(tmp_path / "none.jsonl")


GOOSE = "The *goose* flies to `Egypt` in\nautumn. It sleeps on the water."


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=HashingEncoder(dim=4096)) as index:
        index.add([Document("goose.md", GOOSE), Document("fox.md", "The fox sleeps in a den.")])
        yield index


def test_a_users_own_questions_are_counted(index: Index) -> None:
    def says(start: int, end: int, confidence: float = 0.9) -> Draft:
        return Draft((DraftSentence(plain_text(GOOSE[start:end]), (Span(0, start, end),)),), confidence)

    flies = OwnQuestion("goose flies", "goose.md", "The goose flies to Egypt  in autumn.")
    generator = QueuedGenerator(
        says(0, 40),  # the right sentence
        says(40, 64),  # another one
        says(0, 40, 0.1),  # the right one, not shown
        says(0, 9),  # a question without a quote
        Draft((), 0.0),  # rightly abstained
        says(0, 9),  # an answer to what the documents do not tell
    )
    questions = [flies] * 3 + [OwnQuestion("fox", "fox.md", None)]
    questions += [OwnQuestion("zebra", None, None), OwnQuestion("zebra den", None, None)]
    result, each = evaluate_questions(questions, Pipeline(Retriever(index), generator=generator))
    names = ("file@1", "file@3", "file@10", "rr@10", "passage@1", "passage@6")
    all_right = {**dict.fromkeys(names, 1.0), "intervals": {name: [1.0, 1.0] for name in names}}
    assert result == {
        "questions": 6,
        "answerable": 4,
        "unanswerable": 2,
        "file@1": 1.0,
        "file@3": 1.0,
        "sentence_in_answer": 0.3333,  # of the three with a quote
        "sentence_in_draft": 0.6667,
        "answered": 0.75,
        "abstained": 0.5,
        "intervals": {
            "sentence_in_answer": [0.0, 1.0],
            "sentence_in_draft": [0.0, 1.0],
            "answered": [0.25, 1.0],
            "abstained": [0.0, 1.0],
        },
        "bm25": {"file@1": 1.0, "file@3": 1.0},
        "modes": {"hybrid": all_right, "dense": all_right, "bm25": all_right},
    }
    assert [(r.said, r.found, r.answer.abstained) for r in each] == [
        (True, True, False),
        (False, False, False),
        (False, True, True),
        (False, False, False),
        (False, False, True),
        (False, False, False),
    ]
    assert [(r.file_rank, r.found_by["bm25"].file_rank) for r in each] == [*[(1, 1)] * 4, *[(None, None)] * 2]
    assert [r.found_by["dense"].passage_rank for r in each] == [1, 1, 1, None, None, None]  # those with a quote


def test_a_file_that_is_not_found_or_not_first_counts_as_such(index: Index) -> None:
    index.add([Document(f"{i}.md", f"The goose flies goose flies {'goose ' * i}") for i in range(3)])
    generator = QueuedGenerator(*[Draft((), 0.0)] * 4)
    questions = [OwnQuestion("goose flies", "goose.md", "x"), OwnQuestion("goose flies", "none.md", "x")]
    result, each = evaluate_questions(questions, Pipeline(Retriever(index), generator=generator))
    assert [(r.file_rank, r.found_by["bm25"].file_rank) for r in each] == [(4, 4), (None, None)]
    assert (result["file@1"], result["file@3"], result["answered"]) == (0.0, 0.0, 0.0)
    assert isinstance(result["modes"], dict)
    assert result["modes"]["bm25"] == {
        "file@1": 0.0,
        "file@3": 0.0,
        "file@10": 0.5,
        "rr@10": 0.125,  # the fourth, and never
        "passage@1": 0.0,
        "passage@6": 0.0,
        "intervals": {
            "file@1": [0.0, 0.0],
            "file@3": [0.0, 0.0],
            "file@10": [0.0, 1.0],
            "rr@10": [0.0, 0.25],
            "passage@1": [0.0, 0.0],
            "passage@6": [0.0, 0.0],
        },
    }


def test_a_passage_counts_where_it_holds_the_quote_whatever_its_file(index: Index) -> None:
    index.add([Document(f"{i}.md", f"The fox sleeps fox sleeps {'fox ' * i}") for i in range(3)])
    generator = QueuedGenerator(*[Draft((), 0.0)] * 4)
    asked = [OwnQuestion("fox sleeps", "none.md", quote) for quote in ("the *fox* sleeps in a den", "fox sleeps fox")]
    result, each = evaluate_questions(asked, Pipeline(Retriever(index), generator=generator))
    assert [r.found_by["bm25"].passage_rank for r in each] == [4, 1]
    assert isinstance(result["modes"], dict)
    bm25 = result["modes"]["bm25"]
    assert isinstance(bm25, dict)
    assert (bm25["passage@1"], bm25["passage@6"], bm25["file@10"]) == (0.5, 1.0, 0.0)


def test_without_questions_of_a_kind_there_is_no_share(index: Index) -> None:
    generator = QueuedGenerator(Draft((), 0.0), Draft((), 0.0))
    result, _ = evaluate_questions([OwnQuestion("zebra", None, None)], Pipeline(Retriever(index), generator=generator))
    assert (result["abstained"], result["answered"], result["sentence_in_answer"], result["file@3"]) == (
        1,
        None,
        None,
        None,
    )


def test_each_question_is_asked_once_shown_or_not(index: Index) -> None:
    generator = QueuedGenerator(Draft((), 0.0))
    asking = Pipeline(Retriever(index), generator=generator, passages=1)
    evaluate_questions([OwnQuestion("sleeps", "fox.md", "x")], asking)
    assert [len(passages) for _, passages in generator.asked] == [1]


def test_a_quote_of_marks_alone_stands_nowhere(index: Index) -> None:
    generator = QueuedGenerator(Draft((DraftSentence("Said.", (Span(0, 0, 9),)),), 0.9))
    _, (result,) = evaluate_questions(
        [OwnQuestion("goose", "goose.md", "…")], Pipeline(Retriever(index), generator=generator)
    )
    assert not result.found


def test_outcomes_say_what_would_be_wrong_if_every_question_were_answered(index: Index) -> None:
    def says(start: int, end: int, confidence: float) -> Draft:
        return Draft((DraftSentence(plain_text(GOOSE[start:end]), (Span(0, start, end),)),), confidence)

    flies = OwnQuestion("goose flies", "goose.md", "The goose flies to Egypt  in autumn.")
    drafts = [says(0, 42, 0.9), says(40, 63, 0.2), says(0, 9, 0.3), says(0, 9, 0.4), Draft((), 0.0)]
    questions = [flies, flies, OwnQuestion("goose", "goose.md", None), OwnQuestion("goose", None, None), flies]
    eager = Pipeline(Retriever(index), generator=QueuedGenerator(*drafts), min_confidence=0)
    assert outcomes(questions, eager) == [
        Outcome(0.9, False),
        Outcome(0.2, True),  # another sentence
        Outcome(0.3, False),  # of a question without a quote, any of the right source
        Outcome(0.4, True),  # the documents do not tell
        Outcome(0.0, False),  # silence is never wrong
    ]
