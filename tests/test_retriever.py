"""A query to ranked hits: the fusion, the order, and queries that nobody foresaw."""

from __future__ import annotations

import math
import re
import sqlite3
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rag.retriever
from rag.errors import UsageError
from rag.fusion import DEFAULT_WEIGHT, fuse
from rag.index import Index
from rag.late import late_interaction, query_tokens
from rag.queries import holds, read_query
from rag.retriever import Mode, Retriever
from rag.types import Document, Place
from rag.words import stems
from tests.fakes import HashingEncoder

TEXTS = {
    "apples": "Apples grow on trees, and apples are red.",
    "bees": "Bees make honey from flowers on trees.",
    "cows": "Cows give milk.",
    "résumé": "A résumé of İstanbul: 東京 is far, and Straße too.",
    "syntax": 'The operators NEAR, AND, OR and NOT stand in "quotes"; col:value and x* too.',
}


@pytest.fixture
def filled(index: Index) -> Index:
    index.add(Document(source, text) for source, text in TEXTS.items())
    return index


def ranking(index: Index, query: str, mode: Mode = "hybrid", k: int = 10) -> list[str]:
    return [hit.chunk.doc_id for hit in Retriever(index).search(query, k=k, mode=mode)]


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.5, 1.0])
def test_hybrid_is_the_fusion_of_both_sides(filled: Index, weight: float) -> None:
    query = "honey from red trees"
    (vector,) = filled.encoder.encode_queries([query])
    with filled.reading() as view:
        sparse = view.store.bm25(["honey", "red", "trees"], k=100)
        ceiling = view.store.bm25_ceiling(["honey", "red", "trees"])
        expected = fuse(view.dense(vector, k=100), sparse, ceiling=ceiling, weight=weight)
    hits = Retriever(filled, weight=weight, late=False).search(query)
    assert {hit.chunk_id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.score for hit in hits] == sorted(expected.values(), reverse=True)
    assert [hit.rank for hit in hits] == [1, 2, 3, 4, 5]
    assert hits[0].chunk.doc_id == "bees"


def test_each_side_alone_has_its_own_scores(filled: Index) -> None:
    (vector,) = filled.encoder.encode_queries(["milk"])
    with filled.reading() as view:
        dense, sparse = view.dense(vector, k=100), view.store.bm25(["milk"], k=100)
    assert {hit.chunk_id: hit.score for hit in Retriever(filled).search("milk", mode="dense")} == dense
    assert {hit.chunk_id: hit.score for hit in Retriever(filled).search("milk", mode="bm25")} == sparse
    assert ranking(filled, "milk", "bm25") == ["cows"]


def test_equal_scores_are_ordered_by_source_and_start(index: Index) -> None:
    index.add(Document(name, f"Honey {name}.") for name in ("c", "a", "d", "b"))
    index.add([Document("aa", "Honey x. " + "y " * 300 + "honey z.")])
    for mode in ("dense", "bm25", "hybrid"):
        hits = Retriever(index).search("honey", mode=mode)
        assert [hit.chunk.doc_id for hit in hits if len(hit.chunk.doc_id) == 1] == ["a", "b", "c", "d"]
        keys = [(-hit.score, hit.chunk.doc_id, hit.chunk.start) for hit in hits]
        assert keys == sorted(keys)


def test_more_than_there_is_gives_what_there_is(filled: Index) -> None:
    for k in (5, 6, 1000, 10**30):
        assert len(ranking(filled, "apples", k=k)) == 5
    assert ranking(filled, "apples", k=1) == ["apples"]


def test_many_copies_of_one_text_do_not_crowd_out_others(index: Index) -> None:
    index.add(Document(f"copy{n:03}", "Bees make honey.") for n in range(400))
    index.add([Document("other", "Honey is sweet and it is sticky.")])
    for mode in ("dense", "bm25", "hybrid"):
        first, second = Retriever(index).search("bees honey", k=2, mode=mode)
        assert (first.chunk.doc_id, second.chunk.doc_id) == ("copy000", "other")
        assert first.also_in == tuple(Place(f"copy{n:03}", None, 0, 16) for n in range(1, 400))


def test_a_text_that_stands_twice_in_one_document_is_one_hit(index: Index) -> None:
    part = "Bees make honey."
    index.add([Document("a", part + "\n\n" + "filler " * 80 + "\n\n" + part + "\n\n" + "padding " * 80)])
    hits = Retriever(index).search("bees make honey")
    text = index.document("a").text
    for hit in hits:
        assert text[hit.chunk.start : hit.chunk.end] == hit.chunk.text
        assert all(text[place.start : place.end] == hit.chunk.text for place in hit.also_in)
    assert len({hit.chunk.text for hit in hits}) == len(hits)


def test_an_empty_index_has_no_hits(index: Index) -> None:
    assert ranking(index, "anything") == []


@pytest.mark.parametrize("query", ["", "  \n\t", "\x00", "\udcff \ud800"])
def test_an_empty_question_is_refused(filled: Index, query: str) -> None:
    with pytest.raises(UsageError, match="expected a question, got an empty one: ask in words"):
        Retriever(filled).search(query)


def test_arguments_that_cannot_work_are_refused(filled: Index) -> None:
    with pytest.raises(UsageError, match="expected k of at least 1, got 0"):
        Retriever(filled).search("a", k=0)
    with pytest.raises(UsageError, match="expected mode 'hybrid', 'dense', 'bm25', got 'best'"):
        Retriever(filled).search("a", mode="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"expected a weight from 0 to 1, got 1\.5"):
        Retriever(filled, weight=1.5)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('"a" OR NEAR(', []), ('a" OR NEAR(', ["syntax"]), ("*", []), ("-x", ["syntax"]),
        ("col:", ["syntax"]), ("col:value", ["syntax"]),
        ("{text} : milk", ["cows"]), ("milk NOT cows", ["cows", "syntax"]), ("^milk + 'bees", ["cows", "bees"]),
        ('""""', []), ("東京", ["résumé"]), ("straße", ["résumé"]), ("RESUME", ["résumé"]), ("istanbul", ["résumé"]),
        ("İSTANBUL", ["résumé"]), ("İstanbul", ["résumé"]), (unicodedata.normalize("NFD", "résumé"), ["résumé"]),
        ("😀", []), ("_", []), ("milk\x00cows", ["cows"]), ("\udcffmilk\ud800", ["cows"]), ("मिल्क", []),
        ("what is the", ["résumé", "syntax"]), ("milk " * 100_000, ["cows"]),
        (" ".join(f"w{n}" for n in range(70)) + " milk", ["cows"]), ("m" * 1_000_000, []),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else "",
)  # fmt: skip
def test_whatever_is_asked_is_words_and_never_syntax(filled: Index, query: str, expected: list[str]) -> None:
    assert sorted(ranking(filled, query, "bm25")) == sorted(expected)
    assert len(ranking(filled, query)) == (1 if query.startswith('"a"') else 5)  # 'A résumé'


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(query=st.text(st.characters(exclude_categories=[])) | st.text("\"*:^-+(){}'NEARORAND x\x00\ud800"))
def test_no_text_is_an_error(filled: Index, query: str) -> None:
    try:
        hits = Retriever(filled).search(query, k=2)
    except UsageError as error:
        assert "got an empty one" in str(error)  # noqa: PT017
    else:
        read = read_query(re.sub("[\x00\ud800-\udfff]", " ", query))
        kept = [text for text in TEXTS.values() if all(holds(text, phrase) for phrase in read.phrases)]
        for hit in hits:
            assert not any(stems([word])[0] and holds(hit.chunk.text, word) for word in read.excluded)
        if not read.excluded:
            assert len(hits) == min(len(kept), 2)


# --- operators, names and other scripts


NAMES = {
    "now": "Since version 2026.4.10 the cache is kept.",
    "before": "Since version 2026.4.1 there is a cache; 10 of them, in fact.",
    "later": "Version 2026.4.100 has no cache, nor has 2026.4.10.1.",
    "error": "Opening fails with E_ACCES where the folder is closed.",
    "other error": "E_ACCESS and ACCES are names of other errors.",
    "python": "The python is a snake of the tropics.",
    "language": "Python is a language, and no snake at all.",
    "exact": "She said: these are the exact\nwords of it.",
    "inexact": "The words of it are exact.",
    "tokyo": "東京都の天気は晴れです。",
    "kyoto": "京都の天気は雨です。",
    "hindi": "यह हिन्दी भाषा है",
    "wide": "Ｆｕｌｌ ｗｉｄｔｈ letters",
}


@pytest.fixture
def named(index: Index) -> Index:
    index.add(Document(source, text) for source, text in NAMES.items())
    return index


@pytest.mark.parametrize(
    ("query", "first"),
    [
        ("2026.4.10", "now"), ("what came with 2026.4.10?", "now"), ("E_ACCES", "error"), ("e_acces", "error"),
        ("東京", "tokyo"), ("京都の天気", "kyoto"), ("हिन्दी", "hindi"), ("full width", "wide"),
    ],
)  # fmt: skip
def test_names_and_words_of_any_script_are_found(named: Index, query: str, first: str) -> None:
    for mode in ("bm25", "hybrid"):
        assert ranking(named, query, mode)[0] == first


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ('"exact words"', {"exact"}), ('"words of it"', {"exact", "inexact"}), ('"WORDS  of it"', {"exact", "inexact"}),
        ('"2026.4.10"', {"now"}), ('"E_ACCES"', {"error"}), ('"no such words"', set()), ('"天気は雨"', {"kyoto"}),
        ('python "a snake"', {"python"}), ("python -snake", set()), ("snake -tropics", {"language"}),
        ('snake -"no snake"', {"python"}), ("天気 -東京", {"kyoto"}),
    ],
)  # fmt: skip
def test_what_is_quoted_stands_in_every_hit_and_what_is_excluded_in_none(
    named: Index, query: str, expected: set[str]
) -> None:
    assert set(ranking(named, query, "bm25")) == expected
    for mode in ("dense", "hybrid"):
        found = set(ranking(named, query, mode, k=20))
        assert found >= expected
        for source in found:
            read = read_query(query)
            assert all(holds(NAMES[source], phrase) for phrase in read.phrases)
            assert not any(word.lower() in NAMES[source].lower() for word in read.excluded)


def test_a_sentence_may_quote_what_no_passage_holds(named: Index) -> None:
    assert ranking(named, 'Which errors are called "errors of access"?')[0] in {"error", "other error"}


def test_operators_and_filters_hold_together(named: Index) -> None:
    def found(query: str, where: str) -> list[str]:
        return [hit.chunk.doc_id for hit in Retriever(named).search(query, where=[where])]

    assert found('"words of it"', "path=in*") == ["inexact"]
    assert found("snake -tropics", "path=python") == []


def test_copies_hold_what_is_quoted_too(index: Index) -> None:
    index.add(Document(f"{n:03}", "The exact words.") for n in range(450))
    index.add([Document("x", "the words, exact")])
    (hit,) = Retriever(index).search('"exact words"')
    assert len(hit.also_in) == 449


def test_the_order_of_ingest_does_not_matter_also_where_many_match(tmp_path: Path) -> None:
    """More passages match equally well than candidates are taken, so that which of them came first would be chance."""
    documents = [
        Document(f"{n:03}", f"zebra {'beta ' * (n % 3)}{'gamma' if n % 7 == 0 else 'delta'}") for n in range(400)
    ]
    found = []
    for order in (1, -1):
        with Index.create(tmp_path / f"{order}", encoder=HashingEncoder()) as index:
            index.add(documents[::order])
            hits = [Retriever(index, depth=50).search(q, k=20, explain=True) for q in ("zebra", "zebra beta gamma")]
        found.append([[(hit.chunk.doc_id, hit.score, hit.explanation) for hit in of_query] for of_query in hits])
        for of_query in hits:
            assert all(hit.explanation and hit.explanation.bm25 for hit in of_query)  # all hold "zebra"
    assert found[0] == found[1]


# --- late interaction


def test_many_copies_of_the_best_do_not_keep_late_interaction_from_the_others(index: Index) -> None:
    index.add(Document(f"copy{n:03}", "Honey bees and trees.") for n in range(300))
    index.add([Document("a", "Honey on trees, of bees."), Document("b", "trees and more of them, no honey")])
    hits = Retriever(index).search("honey bees trees", explain=True)
    assert [hit.chunk.doc_id for hit in hits] == ["copy000", "a", "b"]
    assert all(hit.explanation and hit.explanation.late for hit in hits)


def test_late_interaction_orders_the_best_and_no_other_overtakes_them(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rag.retriever, "_READ_LATE", 4)
    index.add(Document(f"{n:02}", f"honey {'bees ' * (n % 5)} {'tree ' * (n % 7)} w{n}") for n in range(30))
    plain = Retriever(index, late=False).search("honey bees tree w7", k=30)
    late = Retriever(index).search("honey bees tree w7", k=30)
    assert {hit.chunk_id for hit in late[:4]} == {hit.chunk_id for hit in plain[:4]}
    assert [hit.chunk_id for hit in late[4:]] == [hit.chunk_id for hit in plain[4:]]
    assert [hit.score for hit in late] == sorted((hit.score for hit in late), reverse=True)
    assert all(0 <= hit.score <= 1 for hit in late)


def test_its_share_is_what_token_bits_say(index: Index) -> None:
    index.add([Document("a", "honey from bees"), Document("b", "honey and milk"), Document("c", "cows")])
    plain = {h.chunk_id: h.score for h in Retriever(index, late=False).search("honey bees")}
    late = {h.chunk_id: h.score for h in Retriever(index).search("honey bees")}
    encoder = index.encoder
    assert isinstance(encoder, HashingEncoder)
    query = query_tokens("honey bees", encoder.read_queries(["honey bees"])[1][0])
    weights = index.term_weights(["honei", "bee"])
    with index.reading() as view:
        found = late_interaction(query, [weights["honei"], weights["bee"]], view.store.token_bits([1, 2, 3]))
    assert late == pytest.approx({i: (2 * score + found[i]) / 3 for i, score in plain.items()})


def test_passages_without_token_bits_are_taken_to_match_as_the_others_do(index: Index) -> None:
    index.add([Document("a", "honey from bees"), Document("b", "honey and milk")])
    before = Retriever(index).search("honey bees")
    with sqlite3.connect(index.path / "index.sqlite") as db:
        db.execute("delete from token_bits where embedding_id = 2")
    first, second = Retriever(index).search("honey bees")
    assert first == before[0]
    late = 3 * first.score - 2 * Retriever(index, late=False).search("honey bees")[0].score
    assert 3 * second.score - 2 * Retriever(index, late=False).search("honey bees")[1].score == pytest.approx(late)
    with sqlite3.connect(index.path / "index.sqlite") as db:
        db.execute("delete from token_bits")
    assert Retriever(index).search("honey bees") == Retriever(index, late=False).search("honey bees")


@pytest.mark.slow
@pytest.mark.parametrize("query", ["\u200b", "\u00ad\u00ad", "\x07"])
def test_a_query_in_which_the_encoder_sees_no_token_is_searched_without_them(tmp_path: Path, query: str) -> None:
    with Index.create(tmp_path / "real") as index:
        index.add([Document("a", "Bees make honey."), Document("b", "\u200b")])
        assert sorted(ranking(index, query)) == ["a", "b"]
        assert sorted(ranking(index, "honey")) == ["a", "b"]


def test_an_encoder_that_tells_of_no_tokens_will_do(tmp_path: Path) -> None:
    class Plain:
        """An encoder with nothing but what the protocol asks for."""

        name, dim, space, form, max_tokens = "plain", 32, "plain", "fake", 64

        def __init__(self) -> None:
            whole = HashingEncoder(dim=32)
            self.encode_queries, self.encode_documents = whole.encode_queries, whole.encode_documents
            self.count_tokens = whole.count_tokens

    with Index.create(tmp_path / "plain", encoder=Plain()) as index:
        index.add([Document("a", "honey from bees"), Document("b", "honey and milk")])
        assert ranking(index, "bees honey") == ["a", "b"]
        assert index.status().without_tokens == 2


# --- reranking


class Backwards:
    """A reranker that likes the last best, and reads only so many."""

    name = "backwards"

    def __init__(self, n: int = 100) -> None:
        self.n = n
        self.read: list[tuple[str, list[str], float]] = []

    def scores(self, query: str, passages: Sequence[str], *, deadline: float = math.inf) -> list[float]:
        self.read.append((query, list(passages), deadline))
        return [0.5 + i / 1000 for i in range(min(self.n, len(passages)))]


def test_a_reranker_reads_the_best_and_its_order_holds(index: Index) -> None:
    index.add(Document(f"{n:02}", f"honey {'bees ' * n} word{n}", title="T") for n in range(60))
    plain = Retriever(index).search("honey bees", k=60)
    reranker = Backwards()
    before = time.monotonic()
    hits = Retriever(index, reranker=reranker, rerank_ms=250).search('honey "bees" -word3', k=10)
    ((query, passages, deadline),) = reranker.read
    assert query == "honey bees"
    assert before < deadline - 0.25 < time.monotonic()
    kept = [hit for hit in plain if "bees" in hit.chunk.text and "word3" not in hit.chunk.text.split()]
    assert set(passages) <= {hit.chunk.encoded for hit in kept}
    assert len(passages) == 50
    assert [hit.chunk.encoded for hit in hits] == passages[::-1][:10]
    assert [hit.rank for hit in hits] == list(range(1, 11))
    assert [hit.score for hit in hits] == pytest.approx([0.5 + i / 1000 for i in range(49, 39, -1)])


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_what_the_reranker_has_not_read_follows_in_the_order_it_had(filled: Index, mode: Mode) -> None:
    plain = Retriever(filled).search("honey on red trees", mode=mode)
    hits = Retriever(filled, reranker=Backwards(2)).search("honey on red trees", mode=mode, explain=True)
    assert [h.chunk_id for h in hits] == [h.chunk_id for h in (plain[1], plain[0], *plain[2:])]
    assert [h.score for h in hits] == sorted((h.score for h in hits), reverse=True)
    assert all(0 <= h.score <= 1 for h in hits)
    assert [hit.retrieved for hit in hits] == [h.score for h in (plain[1], plain[0], *plain[2:])]
    assert [hit.is_reranked for hit in hits] == [True, True, *[False] * (len(hits) - 2)]
    for hit in hits:
        assert hit.explanation is not None
        assert sum(hit.explanation.shares.values()) == pytest.approx(hit.score)
        assert (set(hit.explanation.shares) == {"reranker"}) == hit.is_reranked


def test_a_reranker_with_nothing_to_read(index: Index) -> None:
    assert Retriever(index, reranker=Backwards()).search("anything") == []
    with pytest.raises(UsageError, match="expected 0 milliseconds or more for reranking, got -1"):
        Retriever(index, rerank_ms=-1)


def test_a_reranker_with_more_scores_than_passages_and_more_hits_than_it_reads(index: Index) -> None:
    class Generous(Backwards):
        def scores(self, query: str, passages: Sequence[str], *, deadline: float = math.inf) -> list[float]:
            return [*super().scores(query, passages, deadline=deadline), 0.1, 0.2]

    index.add(Document(f"{n:02}", f"honey {'bees ' * (n % 5)}w{n}") for n in range(80))
    hits = Retriever(index, reranker=Generous()).search("honey bees", k=70)
    assert len(hits) == 70
    assert sum(hit.is_reranked for hit in hits) == 50
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)


@pytest.mark.parametrize("query", ["honey from red trees", '"honey from flowers"', "milk -trees", "nothing of this"])
def test_a_weight_of_a_search_runs_from_words_alone_to_meaning_alone(filled: Index, query: str) -> None:
    retriever = Retriever(filled)
    assert retriever.search(query, weight=0) == retriever.search(query, mode="bm25")
    assert retriever.search(query, weight=1) == retriever.search(query, mode="dense")
    assert retriever.search(query, weight=DEFAULT_WEIGHT) == retriever.search(query)
    assert retriever.search(query, weight=0.3, explain=True) == Retriever(filled, weight=0.3).search(
        query, explain=True
    )


def test_for_words_alone_the_encoder_is_not_asked(filled: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HashingEncoder, "read_queries", None)
    monkeypatch.setattr(HashingEncoder, "encode_queries", None)
    assert [hit.chunk.doc_id for hit in Retriever(filled).search("milk", weight=0)] == ["cows"]


@pytest.mark.parametrize(("mode", "weight"), [("hybrid", -0.1), ("hybrid", 1.1), ("hybrid", math.nan), ("dense", 0.5)])
def test_a_weight_that_has_no_sense_is_refused(filled: Index, mode: Mode, weight: float) -> None:
    with pytest.raises(UsageError, match=f"expected a weight from 0 to 1, in mode 'hybrid', got {weight!r}"):
        Retriever(filled).search("milk", mode=mode, weight=weight)
