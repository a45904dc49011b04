"""The report of retrieval quality: each method against an oracle or what can be worked out by hand, and its tables."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.questions import is_in, read_clapnq, read_selqa, read_squad
from benchmarks.retrieval import methods
from benchmarks.retrieval.__main__ import PAGE, RESULT, main
from benchmarks.retrieval.matrices import Array, Corpora, Corpus, Matrices, Sentences, unit
from benchmarks.retrieval.methods import Examples, base, learn, learned_scores
from benchmarks.retrieval.sets import SOURCES, Source, as_retrieval
from benchmarks.retrieval.tables import ROWS, mode_table, publish, ranking_table
from rag.beir import RetrievalSet
from rag.evaluation import document_scores
from rag.fusion import fuse
from rag.index import Index
from rag.queries import query_terms
from rag.retriever import Retriever
from rag.types import Document
from tests.fakes import HashingEncoder

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"
needs_data = pytest.mark.skipif(not DATA.exists(), reason=f"needs the judged sets in {DATA}")

TEXTS = {
    "apples": "Apples grow on old trees in sunny orchards. Most apples ripen in autumn.",
    "bees": "Bees make honey from nectar. A hive keeps honey for winter.",
    "cows": "Cows give milk, and milk makes cheese.",
    "hives": "A hive of bees needs thirty kilograms of honey in winter.",
    "moons": "Jupiter has many moons.",
    "trees": "Old trees grow slowly. Orchards of apples are sunny.",
}
QUERIES = {"1": "how much honey does a hive keep", "2": "old apples", "3": "unheard words", "4": "milk, bees and honey"}


@pytest.fixture
def data() -> RetrievalSet:
    qrels = {"1": {"hives": 2, "bees": 1}, "2": {"apples": 1}, "3": {"moons": 1}, "4": {"cows": 1}}
    return RetrievalSet("made", tuple(Document(i, text) for i, text in TEXTS.items()), QUERIES, qrels)


@pytest.fixture
def m(index: Index, data: RetrievalSet) -> Matrices:
    """A small index of real words and vectors that can be worked out."""
    index.add(data.documents)
    return Matrices(data, Corpus.read(index), HashingEncoder())


def row(scores: Array, m: Matrices, query_id: str) -> dict[str, float]:
    """One query's scores by document; each has one passage here."""
    found = scores[m.query_ids.index(query_id)]
    return {m.corpus.doc_ids[d]: float(score) for d, score in zip(m.corpus.doc_of, found, strict=True)}


# What is read from the index


def test_vectors_and_words_are_those_of_the_index(m: Matrices) -> None:
    expected = HashingEncoder().encode_documents([chunk.encoded for chunk in m.corpus.chunks])
    assert m.corpus.vectors == pytest.approx(expected, abs=1e-3)
    assert m.corpus.words[m.corpus.doc_ids.index("moons")] == ("jupit", "ha", "mani", "moon")
    assert int(m.corpus.counts[m.corpus.doc_ids.index("cows"), m.corpus.vocabulary["milk"]]) == 2


def test_bm25_is_that_of_the_product(m: Matrices, index: Index) -> None:
    scores, ceilings = m.bm25()
    with index.reading() as view:
        for i, query_id in enumerate(m.query_ids):
            terms = query_terms(QUERIES[query_id])
            by_id = view.store.bm25(terms, k=100)
            chunks = view.store.chunks(by_id)
            expected = {chunks[n].doc_id: score for n, score in by_id.items()}
            assert {d: s for d, s in row(scores, m, query_id).items() if s > 0} == pytest.approx(expected, rel=1e-5)
            assert ceilings[i, 0] == pytest.approx(max(view.store.bm25_ceiling(terms), 1e-9))


def test_bm25_as_fts5_has_it_is_that_of_sqlite(m: Matrices, index: Index) -> None:
    with index.reading() as view:
        rows = view.store._db.execute(
            "select d.source, -bm25(chunks_fts) from chunks_fts join chunks c on c.id = chunks_fts.rowid"
            " join documents d on d.id = c.document_id where chunks_fts match 'milk OR bees OR honey'"
        ).fetchall()
    found = {doc_id: score for doc_id, score in row(methods.fts5_bm25(m), m, "4").items() if score > -math.inf}
    assert found == pytest.approx(dict(rows), rel=1e-5)


def test_the_base_is_what_the_product_fuses(m: Matrices, index: Index) -> None:
    """With more candidates a side than passages, the product scores them all."""
    retriever = Retriever(index, late=False)
    for query_id, query in QUERIES.items():
        hits = document_scores(retriever.search(query, k=10))
        assert row(base(m), m, query_id) == pytest.approx(hits, abs=2e-3)


def test_a_run_holds_the_best_passage_of_each_document_and_leaves_out_what_was_not_found(data: RetrievalSet) -> None:
    corpus = Corpus(("a", "b", "c"), np.array([0, 0, 1, 2]), (), np.zeros((4, 2), np.float32), ((),) * 4)
    made = Matrices(RetrievalSet("", (), {"1": "x"}, {"1": {"b": 1}}), corpus, HashingEncoder())
    assert made.run(np.array([[0.25, 0.5, 0.125, -np.inf]], np.float32)) == {"1": {"a": 0.5, "b": 0.125}}
    assert made.relevant().tolist() == [[False, False, True, False]]


def test_what_is_kept_is_made_once_and_read_again(data: RetrievalSet, tmp_path: Path) -> None:
    said: list[str] = []
    encoder = HashingEncoder()
    for _ in range(2):
        corpora = Corpora(tmp_path, encoder, say=said.append)
        folder = corpora.index("made", data.documents)
        sentences, pooled, tokens = corpora.sentences(folder), corpora.pooled(folder), corpora.tokens(folder)
        assert sentences.passage_of.tolist() == [0, 0, 1, 1, 2, 3, 4, 5, 5]
        assert sentences.vectors[5] == pytest.approx(encoder.encode_documents([TEXTS["hives"]])[0], abs=1e-3)
        # A sentence is the mean of its words here, each of which has the vector that it has alone.
        assert pooled.vectors[5] == pytest.approx(sentences.vectors[5], abs=1e-3)
        assert tokens.ends[-1] == len(" ".join(TEXTS.values()).split())
        assert tokens.of(4) == pytest.approx(encoder.encode_documents("Jupiter has many moons.".split()), abs=1e-3)
    assert [line.split()[0] for line in said] == ["indexing", "embedding", "reading"]


# Parts


def made_up(cosines: Sequence[Sequence[float]], shares: Sequence[Sequence[float]] | None = None) -> Matrices:
    """A set of which only the scores of both sides are known, one document a passage."""
    n = len(cosines[0])
    corpus = Corpus(tuple(map(str, range(n))), np.arange(n), (), np.eye(n, dtype=np.float32), ((),) * n)
    made = Matrices(RetrievalSet("", (), {str(i): "x" for i in range(len(cosines))}, {}), corpus, HashingEncoder(dim=n))
    made.__dict__["cosines"] = np.array(cosines, np.float32)
    sparse = np.array(shares if shares is not None else np.zeros_like(cosines), np.float32)
    made.__dict__["shares"] = sparse
    made.bm25 = lambda **_: (sparse, np.ones((len(cosines), 1)))  # type: ignore[method-assign]
    return made


def test_reciprocal_ranks_add_up_and_words_that_match_nothing_bring_nothing() -> None:
    found = methods.reciprocal_ranks(made_up([[0.9, 0.5, 0.7]], [[0.0, 2.0, 1.0]]))
    assert found[0] == pytest.approx([1 / 61, 1 / 63 + 1 / 61, 1 / 62 + 1 / 62])


def test_min_max_scales_each_side_over_its_candidates() -> None:
    found = methods.min_max(made_up([[0.9, 0.5, 0.7]], [[0.0, 2.0, 1.0]]))
    assert found[0, [1, 2]] == pytest.approx([0.5 * 1.0, 0.5 * 0.5])  # 0.5 and 0.0 of words; 0.0 and 0.5 of meaning
    assert found[0, 0] == pytest.approx(0.5)


def test_z_scores_are_distances_from_the_mean_in_standard_deviations() -> None:
    found = methods.z_scores(made_up([[1.0, 0.0, 0.5]], [[0.0, 3.0, 3.0]]))
    assert found[0] == pytest.approx([1.2247449 - 1.4142136, -1.2247449 + 0.7071068, 0.7071068], abs=1e-5)


def test_the_base_is_the_products_fusion() -> None:
    found = base(made_up([[0.9, -0.5, 0.7]], [[0.0, 0.5, 1.0]]))
    fused = fuse({0: 0.9, 1: -0.5, 2: 0.7}, {1: 0.5, 2: 1.0}, ceiling=1.0)
    assert found[0] == pytest.approx([fused[0], fused[1], fused[2]])


# Wrong turns: with nothing of what each adds, it is the base; with it, it does what it says


def test_feedback_without_weight_changes_nothing(m: Matrices) -> None:
    assert methods.dense_feedback(m, weight=0.0) == pytest.approx(base(m), abs=1e-6)
    assert methods.rm3(m, weight=0.0) == pytest.approx(base(m), abs=1e-6)


def test_feedback_goes_towards_the_best_passage(m: Matrices) -> None:
    moved = methods.dense_feedback(m, passages=1, weight=1.0)
    first = base(m)
    for i in np.flatnonzero(first.any(axis=1)):  # one query finds nothing to go towards
        cosines = m.corpus.vectors @ m.corpus.vectors[first[i].argmax()]
        assert moved[i] == pytest.approx(0.5 * cosines + 0.5 * m.shares[i], abs=1e-6)


def test_rm3_finds_what_shares_words_with_the_best_passages_alone(index: Index, data: RetrievalSet) -> None:
    index.add(data.documents)
    m = Matrices(RetrievalSet("", (), {"1": "cheese"}, {}), Corpus.read(index), HashingEncoder())
    plain, expanded = row(base(m), m, "1"), row(methods.rm3(m, passages=1, weight=0.5), m, "1")
    # "Cows give milk, and milk makes cheese." Of its other words, bees make something too; the rest stand there alone.
    assert max(plain, key=plain.__getitem__) == "cows"
    assert [doc_id for doc_id in plain if expanded[doc_id] > plain[doc_id] + 1e-6] == ["bees"]
    assert expanded["moons"] == plain["moons"]


def test_neighbours_of_the_query_count_where_they_are_near_each_other(index: Index) -> None:
    far = "honey " + "and so on " * 5 + "winter"
    documents = (Document("near", "honey in winter " + "and so on " * 5), Document("far", far))
    index.add(documents)
    data = RetrievalSet("made", documents, {"1": "winter honey", "2": "honey"}, {})
    m = Matrices(data, Corpus.read(index), HashingEncoder())
    more = methods.proximity(m, weight=0.05) - base(m)
    assert row(more, m, "1") == pytest.approx({"near": 0.05, "far": 0.0}, abs=1e-6)
    assert row(more, m, "2") == {"near": 0.0, "far": 0.0}


def test_the_document_speaks_for_each_of_its_passages(index: Index) -> None:
    long = Document("long", "honey " * 40 + "\n\n" + "winter " * 40)
    index.add([long, Document("other", "cows give milk")])
    m = Matrices(RetrievalSet("made", (long,), {"1": "honey winter"}, {}), Corpus.read(index), HashingEncoder())
    assert len(m.corpus.words) > 2
    own, whole = m.shares[0], m.bm25_shares(whole_documents=True)[0]
    of_long = [i for i, d in enumerate(m.corpus.doc_of) if m.corpus.doc_ids[d] == "long"]
    assert len({round(float(whole[i]), 6) for i in of_long}) == 1
    assert whole[of_long[0]] > max(own[i] for i in of_long)
    assert methods.document_bm25(m, weight=0.0) == pytest.approx(base(m))
    assert methods.document_bm25(m)[0] == pytest.approx(0.5 * np.clip(m.cosines[0], 0, 1) + 0.25 * (own + whole))


def test_a_smoothed_score_has_its_share_from_the_nearest() -> None:
    m = made_up([[0.8, 0.4, 0.2]])
    near = unit(np.array([[1.0, 0.0, 0.0], [0.8, 0.6, 0.0], [0.0, 0.0, 1.0]], np.float32))
    object.__setattr__(m.corpus, "vectors", near)
    found = methods.smoothing(m, neighbours=1, weight=0.2)
    assert found[0, :2] == pytest.approx([1 + 0.8 * 0.4 + 0.2 * 0.2, 1 + 0.8 * 0.2 + 0.2 * 0.4])
    assert methods.smoothing(m, weight=0.0) == pytest.approx(1 + base(m))


def test_the_best_sentence_of_a_passage_counts(m: Matrices) -> None:
    of_first = np.stack(
        [m.query_vectors[0], m.query_vectors[1]]
    )  # both are sentences of passage 1; the others have none
    found = m.best_sentences(Sentences(of_first, np.array([1, 1])))
    assert found[:2, 1] == pytest.approx([1.0, 1.0])
    assert not found[:, [0, 2, 3, 4, 5]].any()
    m.pooled = m.sentences = lambda: Sentences(m.corpus.vectors, np.arange(len(m.corpus.vectors)))
    assert methods.sentence_beside(m) == pytest.approx(base(m), abs=1e-6)
    assert methods.sentence_pooled(m) == pytest.approx(base(m), abs=1e-6)


def test_centred_vectors_are_those_less_their_mean() -> None:
    m = made_up([[0.0, 0.0]])
    m.__dict__["query_vectors"] = np.array([[1.0, 0.0]], np.float32)
    # The passages are (1, 0) and (0, 1), their mean (½, ½): they point away from each other, the query along the first.
    assert methods.centred(m)[0] == pytest.approx([0.5, 0.0])


def test_keywords_alone_are_the_query_without_its_stop_words(m: Matrices) -> None:
    assert m.keyword_vectors[0] == pytest.approx(HashingEncoder().encode_queries(["much honey hive keep"])[0])
    m.__dict__["keyword_vectors"] = m.query_vectors
    assert methods.keywords_beside(m) == pytest.approx(base(m), abs=1e-6)


def test_late_interaction_orders_the_best_alone(m: Matrices, tmp_path: Path, data: RetrievalSet) -> None:
    corpora = Corpora(tmp_path, HashingEncoder())
    m.tokens = lambda: corpora.tokens(corpora.index("made", data.documents))
    first, found = base(m)[0], methods.late_whole(m, among=2)[0]
    chosen = np.argsort(-first, kind="stable")[:2]
    # Every token has the vector of its word alone: the share of the query's words that the passage holds as they are.
    words = QUERIES["1"].split()
    held = {i: np.mean([word in m.corpus.chunks[i].text.lower().rstrip(".").split() for word in words]) for i in chosen}
    for i in range(len(first)):
        late = held[i] if i in held else min(held.values())
        assert found[i] == pytest.approx(2 / 3 * first[i] + late / 3, abs=2e-3)


@given(st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12, unique=True))
def test_mmr_of_scores_alone_is_the_order_itself(scores: list[float]) -> None:
    m = made_up([scores])
    assert methods.best(methods.diversified(m, trade=1.0), 12).tolist() == methods.best(base(m), 12).tolist()


def test_mmr_puts_what_says_the_same_behind_what_does_not() -> None:
    m = made_up([[0.9, 0.88, 0.6]])
    object.__setattr__(m.corpus, "vectors", unit(np.array([[1.0, 0, 0], [1.0, 0.01, 0], [0, 0, 1.0]], np.float32)))
    assert methods.best(methods.diversified(m, trade=0.5), 3).tolist() == [[0, 2, 1]]
    assert methods.best(methods.diversified(m, trade=0.99), 3).tolist() == [[0, 1, 2]]


# Weights that are learned


def planted(weights: Sequence[float], *, n_queries: int, seed: int) -> Examples:
    """Candidates that are relevant with the odds of a logistic model with these weights."""
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n_queries, 100, len(weights)))
    odds = 1 / (1 + np.exp(-(features @ np.array(weights))))
    return Examples(np.tile(np.arange(100), (n_queries, 1)), features, rng.random(odds.shape) < odds)


def test_planted_weights_are_found_again() -> None:
    wanted = np.array([2.0, -1.0, 0.0])
    sets = [planted(wanted.tolist(), n_queries=200, seed=seed) for seed in (0, 1)]
    assert learn(sets) == pytest.approx(wanted, abs=0.1)


def test_sets_weigh_the_same_however_many_queries_they_have() -> None:
    small, large = planted([2.0], n_queries=100, seed=0), planted([-2.0], n_queries=400, seed=1)
    assert learn([small, large]) == pytest.approx([0.0], abs=0.1)


def test_learned_scores_order_the_candidates_and_find_no_others(m: Matrices) -> None:
    found = methods.examples(m, among=3)
    assert found.features.shape == (4, 3, 10)
    sides = np.array([0.5, 0.5, *[0.0] * 8])
    scores = learned_scores(found, sides, n_passages=6)
    for i, chosen in enumerate(found.passages):
        assert scores[i, chosen] == pytest.approx(base(m)[i, chosen], abs=1e-6)
        assert np.isneginf(np.delete(scores[i], chosen)).all()
    assert found.is_relevant[0].tolist() == [m.corpus.doc_ids[i] in {"hives", "bees"} for i in found.passages[0]]


# Sets


@needs_data
def test_each_question_belongs_to_one_part() -> None:
    for read, n in ((read_selqa, 785), (read_clapnq, 600)):
        fit, rest = read(DATA, part="fit"), read(DATA, part="rest")
        texts = [{(q.text, q.source) for q in part.questions} for part in (fit, rest)]
        assert not texts[0] & texts[1]
        assert 0.9 * n < len(fit.questions) + len(rest.questions) <= n
    titles = [{d.title for d in read_squad(DATA, "1.1", part=part).documents} for part in ("fit", "rest")]
    assert not titles[0] & titles[1]
    assert len(titles[0] | titles[1]) == 24
    assert is_in("fit", "squad", "Nikola_Tesla") != is_in("rest", "squad", "Nikola_Tesla")


@needs_data
def test_questions_become_queries_that_one_document_answers() -> None:
    asked = as_retrieval(read_squad(DATA, "1.1", part="rest"))
    assert len(asked.queries) == 800
    assert asked.queries.keys() == asked.qrels.keys()
    sources = {document.doc_id for document in asked.documents}
    assert all(len(judged) == 1 and judged.keys() <= sources for judged in asked.qrels.values())
    again = as_retrieval(read_squad(DATA, "1.1", part="rest"))
    assert again.queries == asked.queries
    answerable = as_retrieval(read_clapnq(DATA, part="fit"))
    assert len(answerable.documents) == 600
    assert 100 < len(answerable.queries) < 200


# Tables and the command


def made_result() -> dict[str, Any]:
    def modes(ndcg: float) -> dict[str, Any]:
        means = {"ndcg@10": ndcg, "recall@100": 0.9, "intervals": {"ndcg@10": [ndcg - 0.1, ndcg + 0.1]}, "p50_ms": 2.5}
        against = {"side": "dense", "difference": 0.1, "p": 0.0312, "better": 7, "worse": 2}
        return {"hybrid": {**means, "against": against}, "dense": means, "bm25": means}

    def of_set(ndcg: float, *, is_tuning: bool, **rows: float) -> dict[str, Any]:
        methods = {name: {"ndcg@10": value, "recall@100": 0.9} for name, value in rows.items()}
        return {"queries": 1200, "is_tuning": is_tuning, "rows": {**modes(ndcg), **methods}}

    return {
        "date": "2026-01-02",
        "machine": {"cpu": "a CPU", "cores": 2},
        "encoder": "an encoder (fp32)",
        "sets": {
            "one": of_set(0.5, is_tuning=False, base=0.5, mmr=0.45, rm3=0.6),
            "two": of_set(0.7, is_tuning=False, base=0.3, mmr=0.28),
            "fit": of_set(0.9, is_tuning=True, base=0.9, mmr=0.9, rm3=0.9),
        },
    }


def test_rankings_have_a_line_a_row_and_their_mean_is_of_the_sets_nothing_was_chosen_on() -> None:
    assert ranking_table(made_result(), ["hybrid", "rm3", "fts5"]) == (
        "| | one | two | *fit* | mean | *mean* |\n"
        "| --- | --- | --- | --- | --- | --- |\n"
        "| **hybrid** | 0.500 | 0.700 | 0.900 | 0.600 | 0.900 |\n"
        "| RM3, 20 words of 10 passages | 0.600 | – | 0.900 | – | 0.900 |"
    )


def test_a_wrong_turn_says_what_it_adds_to_the_base() -> None:
    assert ranking_table(made_result(), ["base", "mmr"], against="base").splitlines()[2:] == [
        "| half and half, as fused, over all passages | 0.500 | 0.300 | 0.900 | 0.400 | 0.900 |",
        "| MMR, 0.7 over the best 50 | 0.450 | 0.280 | 0.900 | -0.035 | +0.000 |",
    ]


def test_modes_stand_with_their_intervals_and_hybrid_beside_the_better_side() -> None:
    line = mode_table(made_result()).splitlines()[2]
    cells = "0.500 [0.400, 0.600] | 0.900"
    compared = "+0.100 (dense), p 0.031; 7 better, 2 worse"
    assert line == f"| one | 1,200 | {cells} | {cells} | {cells} | {compared} | 2.5, 2.5, 2.5 |"


def test_what_chance_hardly_ever_does_is_not_said_to_be_impossible() -> None:
    result = made_result()
    result["sets"]["one"]["rows"]["hybrid"]["against"]["p"] = 0.0002
    assert "p < 0.001; 7 better" in mode_table(result)


def test_the_page_gets_its_tables_between_the_markers() -> None:
    names = ("retrieval", "retrieval wrong turns", "retrieval modes")
    page = "\n".join(f"{name}\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->" for name in names)
    published = publish(made_result(), page)
    assert "old" not in published
    assert published.count("an encoder (fp32); a CPU, 2 cores; 2026-01-02.") == 3
    assert publish(made_result(), published) == published


def test_the_tables_of_the_page_are_those_of_the_result_and_every_row_is_in_one() -> None:
    page, result = PAGE.read_text(encoding="utf-8"), json.loads(RESULT.read_text(encoding="utf-8"))
    assert publish(result, page) == page, "run: python -m benchmarks.retrieval DATA --rows"
    assert all(f"| {title} |" in page for title in ROWS.values())
    assert list(result["sets"]) == list(SOURCES)


def test_results_of_some_sets_or_rows_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([str(DATA), "--sets", "cacm", "--write"])
    assert "--write is for all sets and all rows" in capsys.readouterr().err


def test_one_command_measures_every_row_of_a_set(
    data: RetrievalSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.retrieval.__main__.load_encoder", HashingEncoder)
    made = Source("cacm", "made", is_tuning=True, needs="made", read=lambda _: data)
    monkeypatch.setitem(SOURCES, "cacm", made)
    main([str(tmp_path), "--sets", "cacm", "--work", str(tmp_path)])
    printed = capsys.readouterr()
    found = json.loads(printed.out)["sets"]["cacm"]
    rows = found["rows"]
    assert (found["documents"], found["queries"]) == (6, 4)
    assert rows.keys() == ROWS.keys()
    # Words find all three that share a word with their query; the fourth, "unheard words", finds nothing by them.
    assert rows["bm25"]["recall@100"] == rows["fts5"]["recall@100"] == 0.75
    assert rows["bm25"]["without_hits"] == 1
    assert rows["dense"]["recall@100"] == rows["base"]["recall@100"] == rows["learned"]["recall@100"] == 1.0
    assert rows["base"]["ndcg@10"] == rows["fused"]["ndcg@10"]
    assert rows["hybrid"]["against"]["better"] + rows["hybrid"]["against"]["worse"] <= 4
    assert "indexing made: 6 documents, chunks of 128 tokens" in printed.err


def test_without_a_set_to_learn_on_no_weights_are_learned(
    data: RetrievalSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("benchmarks.retrieval.__main__.load_encoder", HashingEncoder)
    monkeypatch.setitem(SOURCES, "cacm", Source("cacm", "made", is_tuning=False, needs="made", read=lambda _: data))
    main([str(tmp_path), "--sets", "cacm", "--rows", "learned", "--work", str(tmp_path)])
    printed = capsys.readouterr()
    assert json.loads(printed.out)["sets"]["cacm"]["rows"] == {}
    assert "learned: left out" in printed.err
