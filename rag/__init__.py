"""Footnote: ask your own documents; every sentence of the answer carries its footnote."""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rag.chunking import Chunking
    from rag.conversation import Turn
    from rag.encoders import Encoder, load_encoder
    from rag.entailment import load_entailment
    from rag.errors import RagError
    from rag.generators import Generator
    from rag.generators.extractive import ExtractiveGenerator
    from rag.index import Index, IndexStatus
    from rag.ingest import IngestReport
    from rag.passages import widen
    from rag.pipeline import Pipeline
    from rag.progress import Progress
    from rag.reranker import Reranker, load_reranker
    from rag.retriever import Retriever
    from rag.saved import Replay, SavedAnswer, SavedAnswers, replay
    from rag.support import SupportChecker
    from rag.types import (
        Answer,
        Chunk,
        Citation,
        Document,
        Draft,
        DraftSentence,
        Explanation,
        Hit,
        Passage,
        Place,
        Section,
        Sentence,
        ShortAnswer,
        Span,
    )

# Nothing phones home, from whichever side this package is entered. Set before any library is imported that reads them:
# onnxruntime would keep a device id and a queue of events in the user's cache folder, and send them.
os.environ.update({"ORT_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "DO_NOT_TRACK": "1"})

# The public names, resolved when first used: `import rag` loads neither NumPy nor FAISS.
_HOME = {
    "Answer": "rag.types",
    "Chunk": "rag.types",
    "Chunking": "rag.chunking",
    "Citation": "rag.types",
    "Document": "rag.types",
    "Draft": "rag.types",
    "DraftSentence": "rag.types",
    "Encoder": "rag.encoders",
    "Explanation": "rag.types",
    "ExtractiveGenerator": "rag.generators.extractive",
    "Generator": "rag.generators",
    "Hit": "rag.types",
    "Index": "rag.index",
    "IndexStatus": "rag.index",
    "IngestReport": "rag.ingest",
    "Passage": "rag.types",
    "Pipeline": "rag.pipeline",
    "Place": "rag.types",
    "Progress": "rag.progress",
    "RagError": "rag.errors",
    "Replay": "rag.saved",
    "Reranker": "rag.reranker",
    "Retriever": "rag.retriever",
    "SavedAnswer": "rag.saved",
    "SavedAnswers": "rag.saved",
    "Section": "rag.types",
    "Sentence": "rag.types",
    "ShortAnswer": "rag.types",
    "Span": "rag.types",
    "SupportChecker": "rag.support",
    "Turn": "rag.conversation",
    "load_encoder": "rag.encoders",
    "load_entailment": "rag.entailment",
    "load_reranker": "rag.reranker",
    "replay": "rag.saved",
    "widen": "rag.passages",
}

__version__ = "0.1.0"
__all__ = [
    "Answer",
    "Chunk",
    "Chunking",
    "Citation",
    "Document",
    "Draft",
    "DraftSentence",
    "Encoder",
    "Explanation",
    "ExtractiveGenerator",
    "Generator",
    "Hit",
    "Index",
    "IndexStatus",
    "IngestReport",
    "Passage",
    "Pipeline",
    "Place",
    "Progress",
    "RagError",
    "Replay",
    "Reranker",
    "Retriever",
    "SavedAnswer",
    "SavedAnswers",
    "Section",
    "Sentence",
    "ShortAnswer",
    "Span",
    "SupportChecker",
    "Turn",
    "load_encoder",
    "load_entailment",
    "load_reranker",
    "replay",
    "widen",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'rag' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
