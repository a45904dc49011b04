"""Ours."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import cast

from benchmarks.peers import Corpus, Found, Search
from rag import Encoder, Index, Retriever, load_encoder
from rag.retriever import Mode


class Footnote:
    """Reads the files, cuts, embeds, and keeps words and vectors."""

    def __init__(self, mode: str = "hybrid") -> None:
        self.mode = cast(Mode, mode)

    @cached_property
    def encoder(self) -> Encoder:
        return load_encoder()

    def encode(self, texts: Sequence[str]) -> object:
        return self.encoder.encode_documents(texts)

    def build(self, corpus: Corpus, folder: Path) -> None:
        with Index.create(folder, encoder=self.encoder) as index:
            index.ingest(corpus.files)

    def open(self, folder: Path) -> Search:
        retriever = Retriever(Index.open(folder))

        def search(query: str, k: int) -> list[Found]:
            hits = retriever.search(query, k=k, mode=self.mode)
            return [Found(hit.chunk_id - 1, hit.score, hit.chunk.text) for hit in hits]  # a new index counts from 1

        return search
