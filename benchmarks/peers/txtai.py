"""txtai with its defaults, the texts kept in its database; hybrid adds its BM25."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from txtai import Embeddings

from benchmarks.peers import Corpus, Found, Search, model_folder


class Txtai:
    """`Embeddings.index`, `save`, `load` and `search`."""

    def __init__(self, hybrid: str = "") -> None:
        self.hybrid = bool(hybrid)

    @cached_property
    def embeddings(self) -> Embeddings:
        return Embeddings(path=model_folder(), content=True, hybrid=self.hybrid)

    def encode(self, texts: Sequence[str]) -> object:
        return self.embeddings.batchtransform(list(texts), category="data")

    def build(self, corpus: Corpus, folder: Path) -> None:
        self.embeddings.index(enumerate(corpus.chunks))
        self.embeddings.save(str(folder))

    def open(self, folder: Path) -> Search:
        embeddings = Embeddings()
        embeddings.load(str(folder))

        def search(query: str, k: int) -> list[Found]:
            return [Found(int(row["id"]), row["score"], row["text"]) for row in embeddings.search(query, k)]

        return search
