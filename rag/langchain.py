"""The retriever for LangChain: `FootnoteRetriever(retriever=rag.Retriever(index))` goes wherever a LangChain one does.

LangSmith's tracing sends every question and every passage to its server as soon as an environment variable asks for it.
It stays off inside this retriever whatever the environment says. A chain around it is the caller's own: what that
chain traces of its inputs and outputs is not decided here.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnableConfig
from langsmith import tracing_context
from pydantic import ConfigDict

from rag.retriever import Mode, Retriever
from rag.types import Hit


class FootnoteRetriever(BaseRetriever):
    """Finds what `Retriever.search` finds, as LangChain documents.

    Each document is a passage. Its metadata says where it stands: `source`, `title`, `page`, `section`, `start`, `end`
    (characters of the document's text), `score`, `rank`, and `also_in`, the other places of the same text.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    retriever: Retriever
    k: int = 10
    mode: Mode = "hybrid"

    def invoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """The k best passages for a query. Raises as `Retriever.search` does."""
        with tracing_context(enabled=False):
            return super().invoke(input, config, **kwargs)

    async def ainvoke(self, input: str, config: RunnableConfig | None = None, **kwargs: Any) -> list[Document]:
        """As `invoke`; the search runs in a thread of LangChain's."""
        with tracing_context(enabled=False):
            return await super().ainvoke(input, config, **kwargs)

    def _get_relevant_documents(self, query: str, *, run_manager: CallbackManagerForRetrieverRun) -> list[Document]:
        return [_document(hit) for hit in self.retriever.search(query, k=self.k, mode=self.mode)]


def _document(hit: Hit) -> Document:
    chunk = hit.chunk
    return Document(
        id=str(hit.chunk_id),
        page_content=chunk.text,
        metadata={
            "source": chunk.doc_id,
            "title": chunk.title,
            "page": chunk.page,
            "section": chunk.section,
            "start": chunk.start,
            "end": chunk.end,
            "score": hit.score,
            "rank": hit.rank,
            "also_in": [asdict(place) for place in hit.also_in],
        },
    )
