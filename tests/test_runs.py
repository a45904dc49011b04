"""Runs and judgements are read as TREC and BEIR write them, and two runs are held against each other query by query."""

from __future__ import annotations

import gzip
import io
import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.beir import Run, read_qrels, read_queries, read_run, write_run
from rag.errors import EvaluationError, UsageError
from rag.runs import (
    MEASURES,
    ChangedQuery,
    RankedDocument,
    compare_runs,
    comparison_json,
    measure_queries,
    measure_run,
    measured_json,
)

# Reading


def test_a_run_is_read_by_its_scores_whatever_its_ranks(tmp_path: Path) -> None:
    file = tmp_path / "a.trec"
    file.write_text("q1 Q0 a 7 0.5 tag\n\nq1\tQ0\tb  1 1e1\ttag\r\nq2 0 a 1 -2 x\n")
    assert read_run(file) == {"q1": {"a": 0.5, "b": 10.0}, "q2": {"a": -2.0}}


@pytest.mark.parametrize("asked", ["a.trec", "a.trec.gz"])
def test_a_packed_run_is_read_under_both_names(tmp_path: Path, asked: str) -> None:
    (tmp_path / "a.trec.gz").write_bytes(gzip.compress(b"q1 Q0 a 1 0.5 tag\n"))
    assert read_run(tmp_path / asked) == {"q1": {"a": 0.5}}


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("q1 Q0 a 1 0.5 tag\nq1 Q0 b 2 0.4\n", r"a\.trec line 2: expected query id, Q0, .* tag, got 'q1 Q0 b 2 0\.4"),
        ("q1 Q0 a b 1 0.5 tag\n", r"a\.trec line 1"),
        ("q1 Q0 a 1 high tag\n", r"a\.trec line 1: .* score \(a number\)"),
        ("q1 Q0 a 1 nan tag\n", r"a\.trec line 1"),
        ("q1 Q0 a 1 inf tag\n", r"a\.trec line 1"),
        (
            "q1 Q0 a 1 2 x\nq2 Q0 a 1 2 x\nq1 Q0 a 2 1 x\n",
            r"line 3: expected each document once a query, got 'a' again",
        ),
        ("\n \n", r"a\.trec' holds no results"),
    ],
)
def test_a_line_of_a_run_that_is_not_in_the_form_is_named(tmp_path: Path, text: str, match: str) -> None:
    (tmp_path / "a.trec").write_text(text)
    with pytest.raises(EvaluationError, match=match):
        read_run(tmp_path / "a.trec")


def test_a_run_that_is_not_there_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(EvaluationError, match=r"cannot read '.*none\.trec' \(No such file or directory\)"):
        read_run(tmp_path / "none.trec")


ids = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=6)
runs = st.dictionaries(ids, st.dictionaries(ids, st.floats(-1e6, 1e6), min_size=1, max_size=5), min_size=1, max_size=5)


@given(runs)
@settings(deadline=None)
def test_what_is_written_is_read_again_up_to_six_digits(tmp_path_factory: pytest.TempPathFactory, run: Run) -> None:
    written = io.StringIO()
    write_run(written, run, tag="x")
    file = tmp_path_factory.mktemp("run") / "a.trec"
    file.write_text(written.getvalue(), encoding="utf-8")
    assert read_run(file) == {
        query_id: {doc_id: pytest.approx(score, abs=1e-6) for doc_id, score in scores.items()}
        for query_id, scores in run.items()
    }


@pytest.mark.parametrize("run", [{"q 1": {"a": 1.0}}, {"q": {"a": 1.0, "my file.md": 1.0}}, {"": {}}])
def test_an_id_that_trecs_form_cannot_hold_is_refused_and_nothing_written(run: Run) -> None:
    file = io.StringIO()
    with pytest.raises(EvaluationError, match=r"expected ids without white space.*got '(q 1|my file\.md|)'"):
        write_run(file, {"q0": {"a": 1.0}, **run}, tag="x")
    assert file.getvalue() == ""


EXPECTED = {"q1": {"a": 2}, "7": {"b": 1}}
BEIR = "query-id\tcorpus-id\tscore\nq1\ta\t2\nq1\tb\t0\n7\tb\t1\n"
TREC = "q1 0 a 2\nq1 0 b -1\n7\t0\tb\t1\n"


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gz"])
@pytest.mark.parametrize("text", [BEIR, BEIR.partition("\n")[2], TREC], ids=["BEIR", "BEIR, no header", "TREC"])
def test_the_form_of_judgements_is_seen_in_them(tmp_path: Path, text: str, *, packed: bool) -> None:
    file = tmp_path / ("qrels.gz" if packed else "qrels")
    file.write_bytes(gzip.compress(text.encode()) if packed else text.encode())
    assert read_qrels(file) == EXPECTED


def test_ids_of_several_words_between_tabs_are_beirs(tmp_path: Path) -> None:
    (tmp_path / "qrels").write_text("q1\tmy file\t1\n")
    assert read_qrels(tmp_path / "qrels") == {"q1": {"my file": 1}}


def test_judgements_of_a_folder_are_those_of_the_split(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text(BEIR)
    (tmp_path / "qrels" / "dev.tsv").write_text("q3\ta\t1\n")
    assert read_qrels(tmp_path) == EXPECTED
    assert read_qrels(tmp_path, split="dev") == {"q3": {"a": 1}}
    with pytest.raises(EvaluationError, match=r"cannot read '.*train\.tsv'"):
        read_qrels(tmp_path, split="train")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (TREC + "q1 a 1\n", r"qrels line 4: expected query id, 0, document id and relevance, .*got 'q1 a 1"),
        (TREC + "q1 0 a yes\n", r"qrels line 4: expected query id, 0"),
        (BEIR + "q1 0 a 1\n", r"qrels line 5: expected query id, document id and relevance, .*between tabs"),
        ("q1 a 1\n", r"qrels line 1: .*between tabs, got 'q1 a 1"),
        ("q1 0 a 0\n", r"qrels' judges no document as relevant"),
        ("", r"qrels' judges no document as relevant"),
    ],
)
def test_a_line_of_judgements_that_is_not_in_the_form_of_the_first_is_named(
    tmp_path: Path, text: str, match: str
) -> None:
    (tmp_path / "qrels").write_text(text)
    with pytest.raises(EvaluationError, match=match):
        read_qrels(tmp_path / "qrels")


def test_queries_are_read_without_their_judgements(tmp_path: Path) -> None:
    (tmp_path / "queries.jsonl").write_text('{"_id": 1, "text": "goose"}\n')
    assert read_queries(tmp_path) == {"1": "goose"}


# Measuring

QRELS = {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"b": 1}, "q4": {"c": 2}}
A: Run = {"q1": {"a": 2.0, "b": 1.0}, "q2": {"a": 2.0, "b": 1.0}, "q3": {"b": 1.0}, "q4": {"x": 2.0}}
B: Run = {"q1": {"b": 2.0, "a": 1.0}, "q2": {"b": 2.0, "c": 1.0}, "q3": {"b": 1.0}, "q4": {"c": 2.0}, "q9": {"a": 1.0}}
BELOW = 1 / math.log2(3)  # nDCG of the second rank


def test_a_run_is_measured_on_every_judged_query() -> None:
    measured = measure_run(B, QRELS)
    assert measured.values["ndcg@10"] == {"q1": pytest.approx(BELOW), "q2": 0.0, "q3": 1.0, "q4": 1.0}
    assert (measured.without_hits, measured.not_judged) == (0, 1)
    found = measured_json(measured)
    assert found["ndcg@10"] == round((BELOW + 2) / 4, 4)
    assert found["rr@10"] == 0.625
    assert isinstance(found["intervals"], dict)
    assert found["intervals"].keys() == MEASURES.keys()


def test_what_a_run_lacks_counts_0_and_is_counted() -> None:
    measured = measure_run({"q1": {"a": 1.0}, "q2": {}}, QRELS)
    assert measured.means["success@1"] == 0.25
    assert measured.without_hits == 3


def test_a_run_of_other_queries_is_refused() -> None:
    with pytest.raises(EvaluationError, match="it holds queries such as 'x', the judgements such as 'q1': check"):
        measure_run({"x": {"a": 1.0}}, QRELS)
    with pytest.raises(EvaluationError, match="expected judgements of at least one query, got none"):
        measure_queries({"x": {"a": 1.0}}, {})


def test_two_runs_are_held_against_each_other_query_by_query() -> None:
    found = compare_runs(A, B, QRELS, k=1)
    lost, gained, none = RankedDocument("a", 1), RankedDocument("c", 2), RankedDocument("b", 0)
    assert found.worse == (
        ChangedQuery("q2", 1.0, 0.0, (lost,), (none,)),
        ChangedQuery("q1", 1.0, BELOW, (lost,), (none,)),
    )
    assert found.better == (ChangedQuery("q4", 0.0, 1.0, (RankedDocument("x", 0),), (gained,)),)
    result = comparison_json(found.comparison)
    assert (result["better"], result["worse"], result["same"]) == (1, 2, 1)
    assert result["difference"] == pytest.approx((BELOW - 1) / 4, abs=1e-4)
    assert result["p"] == 1.0  # no exchange of 1, 1 and 0.3691 comes nearer to 0 than 1 - 1 - 0.3691


def test_the_measure_decides_which_queries_are_worse() -> None:
    found = compare_runs(A, B, QRELS, measure="recall@100")
    assert [changed.query_id for changed in found.worse] == ["q2"]
    with pytest.raises(UsageError, match=r"expected a measure of ndcg@10, .*, map, got 'mrr'"):
        compare_runs(A, B, QRELS, measure="mrr")


def test_hits_are_shown_in_the_order_that_was_measured_to_the_asked_depth() -> None:
    a: Run = {"q1": {"c": 1.0, "b": 1.0, "a": 0.5}}
    [changed] = compare_runs(a, {"q1": {"a": 1.0}}, {"q1": {"a": 3}}, k=2).better
    assert changed.hits_a == (RankedDocument("b", 0), RankedDocument("c", 0))
    assert changed.hits_b == (RankedDocument("a", 3),)


small_ids = st.sampled_from("abcde")
small_runs = st.dictionaries(st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(small_ids, st.integers(0, 3)))
small_qrels = st.dictionaries(
    st.sampled_from(["q1", "q2", "q3"]), st.dictionaries(small_ids, st.integers(1, 3), min_size=1), min_size=1
)


@given(small_runs, small_runs, small_qrels, st.sampled_from(list(MEASURES)))
@settings(deadline=None, max_examples=50)
def test_a_run_against_itself_is_the_same_and_the_other_way_round_is_the_mirror_image(
    a: Run, b: Run, qrels: dict[str, dict[str, int]], measure: str
) -> None:
    some = next(iter(qrels))
    a, b = ({some: {}, **run} for run in (a, b))
    alone = compare_runs(a, a, qrels, measure=measure)
    assert (alone.worse, alone.better, alone.comparison.difference, alone.comparison.p) == ((), (), 0.0, 1.0)
    there, back = compare_runs(a, b, qrels, measure=measure), compare_runs(b, a, qrels, measure=measure)
    assert back.comparison.difference == pytest.approx(-there.comparison.difference)
    assert {(c.query_id, c.a, c.b, c.hits_a, c.hits_b) for c in back.worse} == {
        (c.query_id, c.b, c.a, c.hits_b, c.hits_a) for c in there.better
    }
    assert [c.b - c.a for c in there.worse] == sorted(c.b - c.a for c in there.worse)
    assert len(there.worse) + len(there.better) + there.comparison.same == len(qrels)
