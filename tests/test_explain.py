"""Why a hit has its score: shares that add up, terms that are held, and sentences that carry the similarity."""

from __future__ import annotations

from pathlib import Path

import pytest

from rag.encoders import TokenEncoder, load_encoder
from rag.index import Index
from rag.retriever import Mode, Retriever
from rag.types import Document, Explanation, Hit, Section

TEXTS = {
    "bees": "The hive is quiet in winter. Bees make honey from flowers. Nobody knows why.",
    "cows": "Cows give milk. The milk is white.",
    "trees": "Trees have leaves. Bees like some trees. Flowers grow below them.",
}


@pytest.fixture
def filled(index: Index) -> Index:
    index.add(Document(source, text, title="Of nature") for source, text in TEXTS.items())
    return index


def explained(index: Index, query: str, mode: Mode = "hybrid", *, late: bool = True) -> list[tuple[Hit, Explanation]]:
    hits = Retriever(index, late=late).search(query, mode=mode, explain=True)
    found = [(hit, hit.explanation) for hit in hits]
    return [(hit, why) for hit, why in found if why is not None]


@pytest.mark.parametrize("late", [True, False])
@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_shares_add_up_to_the_score(filled: Index, mode: Mode, late: bool) -> None:
    found = explained(filled, "honey from flowers and trees", mode, late=late)
    assert len(found) >= 2
    for hit, why in found:
        assert sum(why.shares.values()) == pytest.approx(hit.score)
        assert set(why.shares) == ({"dense", "bm25"} | ({"late"} if late else set()) if mode == "hybrid" else {mode})
        assert (why.cosine is None) == (mode == "bm25")
        assert (why.bm25 is None) == (mode == "dense")


def test_the_score_is_the_same_as_without_an_explanation(filled: Index) -> None:
    plain = Retriever(filled).search("honey from flowers")
    assert [(hit.chunk_id, hit.score) for hit in plain] == [
        (hit.chunk_id, hit.score) for hit, _ in explained(filled, "honey from flowers")
    ]
    assert all(hit.explanation is None for hit in plain)


def test_terms_are_those_that_the_passage_holds_and_add_up_to_the_share_of_bm25(filled: Index) -> None:
    found = {hit.chunk.doc_id: why for hit, why in explained(filled, "honey flowers unicorn milk")}
    assert set(found["bees"].terms) == {"honey", "flowers"}
    assert list(found["bees"].terms) == ["honey", "flowers"]  # the rarer one brings more
    assert set(found["cows"].terms) == {"milk"}
    for why in found.values():
        assert sum(why.terms.values()) == pytest.approx(why.bm25)


def test_tokens_and_sentences_add_up_to_the_cosine(filled: Index) -> None:
    for hit, why in explained(filled, "bees make honey", "dense"):
        text = filled.document(hit.chunk.doc_id).text
        assert sum(token.value for token in why.tokens) + why.elsewhere == pytest.approx(why.cosine, abs=1e-3)
        assert sum(s.value for s in why.sentences) == pytest.approx(sum(t.value for t in why.tokens), abs=1e-6)
        assert " ".join(text[token.start : token.end] for token in why.tokens) == " ".join(text.split())
        for token in why.tokens:
            says = text[token.start : token.end].lower().strip(".") in {"bees", "make", "honey"}
            assert (token.value > 0.05) == says
    best = max(explained(filled, "bees make honey")[0][1].sentences, key=lambda share: share.value)
    assert TEXTS["bees"][best.start : best.end] == "Bees make honey from flowers."


def test_spans_are_of_the_document_also_under_headings_and_further_down(index: Index) -> None:
    text = "Head\n\nCows give milk.\n\nBees\n\nBees make honey."
    start = text.index("Bees\n")
    index.add([Document("a", text, "Title", (Section(0, 6, "Head"), Section(start, start + 6, "Head > Bees")))])
    hit, why = explained(index, "bees honey")[0]
    assert hit.chunk.text == "Bees make honey."
    assert [text[s.start : s.end] for s in why.sentences] == ["Bees make honey."]
    assert why.elsewhere > 0.05  # the heading says bees as well


@pytest.mark.slow
def test_with_the_default_model_the_shares_are_exact(tmp_path: Path) -> None:
    encoder = load_encoder(form="onnx-fp32")
    assert isinstance(encoder, TokenEncoder)
    with Index.create(tmp_path / "index", encoder=encoder) as index:
        index.add(Document(source, text, title="Of nature") for source, text in TEXTS.items())
        for hit, why in explained(index, "who makes honey?"):
            assert sum(t.value for t in why.tokens) + why.elsewhere == pytest.approx(why.cosine, abs=2e-3)
            assert sum(why.shares.values()) == pytest.approx(hit.score)
        best = max(explained(index, "who makes honey?")[0][1].sentences, key=lambda share: share.value)
        assert TEXTS["bees"][best.start : best.end] == "Bees make honey from flowers."
