"""The same road on real documents: all fixtures in one index, and answers from the right page."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pypdfium2
import pytest

import rag

FIXTURES = Path(__file__).parents[2] / "shared" / "data" / "fixtures"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no fixtures at {FIXTURES}"),
    pytest.mark.xdist_group("fixtures"),
]


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory) -> Iterator[rag.Index]:
    with rag.Index.create(tmp_path_factory.mktemp("fixtures") / "index") as made:
        report = made.ingest(FIXTURES)
        assert report.read >= 160
        assert {path.rsplit("/", 1)[-1] for path, _ in report.set_aside} >= {"password.pdf", "empty.txt", "skew.pdf"}
        assert all(reason for _, reason in report.set_aside)
        yield made


@pytest.mark.parametrize(
    ("question", "source", "page", "words"),
    [
        ("What components is LayoutParser built with?", "unstructured/layout-parser-paper-fast.pdf", 2, "components"),
        (
            "Which aircraft does the proposed FAA airworthiness directive for Boeing concern?",
            "pdfplumber/federal-register-2020-17221.pdf",
            1,
            "Model 737",
        ),
        (
            "What is efficient passage retrieval needed for?",
            "unstructured/multi-column-2p.pdf",
            1,
            "question answering",
        ),
        ("What is the common name of the family Anatidae?", "docling/wiki_duck.html", None, "Duck is the common name"),
        ("What is important after swimming in the lake?", "docling/word_sample.docx", None, "eat something nice"),
    ],
)
def test_questions_about_real_documents_are_answered_from_the_right_page(
    index: rag.Index, question: str, source: str, page: int | None, words: str
) -> None:
    answer = rag.Pipeline(rag.Retriever(index)).ask(question)
    assert not answer.abstained
    right = [
        c for c in answer.citations if c.source == source and c.page == page and words in " ".join(c.quote.split())
    ]
    assert right, [(c.source, c.page, c.quote) for c in answer.citations]
    for citation in answer.citations:
        assert index.document(citation.source).text[citation.start : citation.end] == citation.quote


def test_the_page_of_every_pdf_citation_is_the_page_that_pdfium_finds_it_on(index: rag.Index) -> None:
    ask = rag.Pipeline(rag.Retriever(index), min_confidence=0).ask
    checked = 0
    for question in ("What does LayoutParser offer?", "What must the FAA consider?", "Which pillars has the strategy?"):
        for citation in ask(question).citations:
            if citation.source.endswith(".pdf"):
                pdf = pypdfium2.PdfDocument(FIXTURES / citation.source)
                assert citation.page is not None
                text = pdf[citation.page - 1].get_textpage().get_text_range()
                pdf.close()
                begin = citation.quote.split()[:4]  # a quote may run on over the page's end, but begins on its page
                assert " ".join(begin) in " ".join(text.split())
                checked += 1
    assert checked >= 5


def test_nothing_of_peru_is_in_these_documents(index: rag.Index) -> None:
    assert rag.Pipeline(rag.Retriever(index)).ask("What is the capital of Peru?").abstained
