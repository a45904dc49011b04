"""The retriever as LangChain sees it."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.runnables import RunnableLambda

import rag
from rag.langchain import FootnoteRetriever
from tests.fakes import HashingEncoder

TEXTS = {
    "tea.md": "Green tea is steamed. Black tea is oxidised before it is dried.",
    "copy.md": "Green tea is steamed. Black tea is oxidised before it is dried.",
    "coffee.md": "Coffee beans are roasted until they crack.",
}


@pytest.fixture
def retriever(tmp_path: Path) -> rag.Retriever:
    index = rag.Index.create(tmp_path / "drinks", encoder=HashingEncoder())
    section = rag.Section(0, 0, "Drinks > Hot")
    index.add(rag.Document(name, text, title="Drinks", sections=(section,)) for name, text in TEXTS.items())
    return rag.Retriever(index)


def test_a_document_holds_the_passage_and_where_it_stands(retriever: rag.Retriever) -> None:
    [found] = FootnoteRetriever(retriever=retriever, k=1).invoke("How is black tea made?")
    [hit] = retriever.search("How is black tea made?", k=1)
    assert found == Document(
        id=str(hit.chunk_id),
        page_content=TEXTS["tea.md"],
        metadata={
            "source": "copy.md",  # of two places of one text the first by source
            "title": "Drinks",
            "page": None,
            "section": "Drinks > Hot",
            "start": 0,
            "end": len(TEXTS["tea.md"]),
            "score": hit.score,
            "rank": 1,
            "also_in": [{"source": "tea.md", "page": None, "start": 0, "end": len(TEXTS["tea.md"])}],
        },
    )


@pytest.mark.parametrize("mode", ["hybrid", "dense", "bm25"])
def test_it_finds_what_the_retriever_finds_in_the_same_order(retriever: rag.Retriever, mode: Any) -> None:
    found = FootnoteRetriever(retriever=retriever, k=2, mode=mode).invoke("roasted coffee or tea")
    hits = retriever.search("roasted coffee or tea", k=2, mode=mode)
    assert [(d.id, d.page_content, d.metadata["rank"], d.metadata["score"]) for d in found] == [
        (str(h.chunk_id), h.chunk.text, h.rank, h.score) for h in hits
    ]


def test_awaiting_gives_what_calling_gives(retriever: rag.Retriever) -> None:
    footnotes = FootnoteRetriever(retriever=retriever)
    assert asyncio.run(footnotes.ainvoke("green tea")) == footnotes.invoke("green tea")


def test_it_is_a_link_in_a_chain(retriever: rag.Retriever) -> None:
    def sources(documents: list[Document]) -> list[str]:
        return [document.metadata["source"] for document in documents]

    assert (FootnoteRetriever(retriever=retriever, k=1) | RunnableLambda(sources)).invoke("coffee beans") == [
        "coffee.md"
    ]


def test_a_question_that_cannot_work_is_refused_in_words(retriever: rag.Retriever) -> None:
    with pytest.raises(rag.RagError, match="expected a question, got an empty one"):
        FootnoteRetriever(retriever=retriever).invoke(" ")


def test_nothing_is_traced_even_where_the_environment_asks_for_it(
    retriever: rag.Retriever, monkeypatch: pytest.MonkeyPatch
) -> None:
    import langsmith
    from langchain_core.callbacks import CallbackManager
    from langsmith import utils

    forget: Any = utils.get_env_var  # it remembers what the environment said
    for name in ("LANGSMITH_TRACING", "LANGCHAIN_TRACING_V2"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("LANGSMITH_API_KEY", "not-a-key")
    forget.cache_clear()
    calls: list[object] = []
    monkeypatch.setattr(langsmith.Client, "create_run", lambda *args, **kwargs: calls.append(kwargs))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **kwargs: calls.append(args))
    tracers: list[str] = []
    configure = CallbackManager.configure.__func__  # type: ignore[attr-defined]

    def noted(cls: type[CallbackManager], *args: Any, **kwargs: Any) -> CallbackManager:
        manager: CallbackManager = configure(cls, *args, **kwargs)
        tracers.extend(type(handler).__name__ for handler in manager.handlers)
        return manager

    monkeypatch.setattr(CallbackManager, "configure", classmethod(noted))
    try:
        found = FootnoteRetriever(retriever=retriever, k=1).invoke("coffee beans")
        awaited = asyncio.run(FootnoteRetriever(retriever=retriever, k=1).ainvoke("coffee beans"))
    finally:
        forget.cache_clear()
    assert found == awaited
    assert found[0].metadata["source"] == "coffee.md"
    assert (calls, tracers) == ([], [])
