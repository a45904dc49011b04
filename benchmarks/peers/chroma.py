"""Chroma with a folder of its own and its sentence-transformers embedding function."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import chromadb
from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction

from benchmarks.peers import Corpus, Found, Search, model_folder

BATCH = 1000  # documents that are added at once; it refuses more than some thousands


class Chroma:
    """`PersistentClient`, `add` and `query`."""

    @cached_property
    def embedding(self) -> SentenceTransformerEmbeddingFunction:
        return SentenceTransformerEmbeddingFunction(model_name=model_folder(), device="cpu")

    def encode(self, texts: Sequence[str]) -> object:
        return self.embedding(list(texts))

    def build(self, corpus: Corpus, folder: Path) -> None:
        collection = chromadb.PersistentClient(str(folder)).create_collection(
            "chunks", embedding_function=self.embedding
        )
        for start in range(0, len(corpus.chunks), BATCH):
            chunks = list(corpus.chunks[start : start + BATCH])
            collection.add(documents=chunks, ids=[str(start + i) for i in range(len(chunks))])

    def open(self, folder: Path) -> Search:
        collection = chromadb.PersistentClient(str(folder)).get_collection("chunks", embedding_function=self.embedding)

        def search(query: str, k: int) -> list[Found]:
            found = collection.query(query_texts=[query], n_results=k)
            rows = zip(found["ids"][0], found["distances"][0], found["documents"][0], strict=True)
            return [Found(int(number), -distance, text) for number, distance, text in rows]

        return search
