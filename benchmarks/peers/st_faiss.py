"""The plain baseline: sentence-transformers encodes, a flat FAISS index compares with everything."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import faiss
from sentence_transformers import SentenceTransformer

from benchmarks.peers import Corpus, Found, Search, model_folder


class SentenceTransformersFaiss:
    """`encode` and `IndexFlatIP`, the texts in a JSON file."""

    @cached_property
    def model(self) -> SentenceTransformer:
        return SentenceTransformer(model_folder(), device="cpu")

    def encode(self, texts: Sequence[str]) -> object:
        return self.model.encode(list(texts))

    def build(self, corpus: Corpus, folder: Path) -> None:
        vectors = self.model.encode(list(corpus.chunks))
        index = faiss.IndexFlatIP(vectors.shape[1])
        index.add(vectors)
        folder.mkdir()
        faiss.write_index(index, str(folder / "vectors.faiss"))
        (folder / "chunks.json").write_text(json.dumps(list(corpus.chunks)), encoding="utf-8")

    def open(self, folder: Path) -> Search:
        index = faiss.read_index(str(folder / "vectors.faiss"))
        chunks = json.loads((folder / "chunks.json").read_text(encoding="utf-8"))

        def search(query: str, k: int) -> list[Found]:
            scores, numbers = index.search(self.model.encode([query]), k)
            return [Found(int(i), float(s), chunks[i]) for s, i in zip(scores[0], numbers[0], strict=True) if i >= 0]

        return search
