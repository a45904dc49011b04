"""Haystack with its in-memory store, which is what it brings for one machine without a server."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from haystack import Document
from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever
from haystack.document_stores.in_memory import InMemoryDocumentStore
from haystack.utils import ComponentDevice
from haystack_integrations.components.embedders.sentence_transformers import (
    SentenceTransformersDocumentEmbedder,
    SentenceTransformersTextEmbedder,
)

from benchmarks.peers import Corpus, Found, Search, model_folder


class Haystack:
    """A document embedder, `write_documents`, `save_to_disk`; a text embedder and the embedding retriever."""

    @cached_property
    def embedder(self) -> SentenceTransformersDocumentEmbedder:
        device = ComponentDevice.from_str("cpu")
        embedder = SentenceTransformersDocumentEmbedder(model=model_folder(), device=device, progress_bar=False)
        embedder.warm_up()
        return embedder

    def encode(self, texts: Sequence[str]) -> object:
        return self.embedder.run([Document(content=text) for text in texts])

    def build(self, corpus: Corpus, folder: Path) -> None:
        documents = [Document(id=str(number), content=text) for number, text in enumerate(corpus.chunks)]
        store = InMemoryDocumentStore()
        store.write_documents(self.embedder.run(documents)["documents"])
        folder.mkdir()
        store.save_to_disk(str(folder / "store.json"))

    def open(self, folder: Path) -> Search:
        store = InMemoryDocumentStore.load_from_disk(str(folder / "store.json"))
        device = ComponentDevice.from_str("cpu")
        embedder = SentenceTransformersTextEmbedder(model=model_folder(), device=device, progress_bar=False)
        embedder.warm_up()
        retriever = InMemoryEmbeddingRetriever(store)

        def search(query: str, k: int) -> list[Found]:
            found = retriever.run(embedder.run(query)["embedding"], top_k=k)["documents"]
            return [Found(int(hit.id), hit.score, hit.content) for hit in found]

        return search
