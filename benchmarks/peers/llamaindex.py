"""LlamaIndex with its default vector store and its Hugging Face embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from llama_index.core import StorageContext, VectorStoreIndex, load_index_from_storage
from llama_index.core.schema import TextNode
from llama_index.embeddings.huggingface import HuggingFaceEmbedding

from benchmarks.peers import Corpus, Found, Search, model_folder


class LlamaIndex:
    """`VectorStoreIndex`, `persist`, `load_index_from_storage` and `as_retriever`."""

    @cached_property
    def embedding(self) -> HuggingFaceEmbedding:
        return HuggingFaceEmbedding(model_name=model_folder(), device="cpu")

    def encode(self, texts: Sequence[str]) -> object:
        return self.embedding.get_text_embedding_batch(list(texts))

    def build(self, corpus: Corpus, folder: Path) -> None:
        nodes = [TextNode(text=text, id_=str(number)) for number, text in enumerate(corpus.chunks)]
        VectorStoreIndex(nodes, embed_model=self.embedding).storage_context.persist(str(folder))

    def open(self, folder: Path) -> Search:
        storage = StorageContext.from_defaults(persist_dir=str(folder))
        index = load_index_from_storage(storage, embed_model=self.embedding)
        retrievers = {}

        def search(query: str, k: int) -> list[Found]:
            if k not in retrievers:
                retrievers[k] = index.as_retriever(similarity_top_k=k)
            found = retrievers[k].retrieve(query)
            return [Found(int(hit.node.node_id), hit.score, hit.node.text) for hit in found]

        return search
