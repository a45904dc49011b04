"""LangChain with its FAISS vector store and its Hugging Face embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from langchain_community.vectorstores import FAISS
from langchain_huggingface import HuggingFaceEmbeddings

from benchmarks.peers import Corpus, Found, Search, model_folder


class LangChain:
    """`FAISS.from_texts`, `save_local`, `load_local` and `similarity_search_with_score`."""

    @cached_property
    def embeddings(self) -> HuggingFaceEmbeddings:
        return HuggingFaceEmbeddings(model_name=model_folder(), model_kwargs={"device": "cpu"})

    def encode(self, texts: Sequence[str]) -> object:
        return self.embeddings.embed_documents(list(texts))

    def build(self, corpus: Corpus, folder: Path) -> None:
        numbers = [{"number": number} for number in range(len(corpus.chunks))]
        FAISS.from_texts(list(corpus.chunks), self.embeddings, numbers).save_local(str(folder))

    def open(self, folder: Path) -> Search:
        # It unpickles what it saved: fit for files that were made a minute ago by this program.
        store = FAISS.load_local(str(folder), self.embeddings, allow_dangerous_deserialization=True)

        def search(query: str, k: int) -> list[Found]:
            found = store.similarity_search_with_score(query, k=k)  # squared distances
            return [Found(hit.metadata["number"], -float(score), hit.page_content) for hit, score in found]

        return search
