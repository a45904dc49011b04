"""The judged sets, and which of them something may be chosen on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.questions import Dataset, read_clapnq, read_selqa, read_squad
from rag.beir import RetrievalSet, read_retrieval_set

_MOST_QUESTIONS = 800  # of one set of questions, by a fixed lot


@dataclass(frozen=True, slots=True)
class Source:
    """One column of the report."""

    name: str
    corpus: str  # sets of one corpus share its index
    is_tuning: bool  # choices were made on it
    needs: str  # the folder below DATA
    read: Callable[[Path], RetrievalSet]  # from DATA


def as_retrieval(dataset: Dataset) -> RetrievalSet:
    """Questions as queries for which the document that answers is relevant; at most 800 of them, by a fixed lot."""
    answerable = [question for question in dataset.questions if question.source and question.spans]
    lot = np.random.RandomState(0).permutation(len(answerable))[:_MOST_QUESTIONS]
    asked = {str(i): answerable[i] for i in lot}
    return RetrievalSet(
        dataset.name,
        dataset.documents,
        {query_id: question.text for query_id, question in asked.items()},
        {query_id: {question.source: 1} for query_id, question in asked.items() if question.source},
    )


SOURCES = {
    source.name: source
    for source in (
        Source("scifact", "scifact", False, "scifact", lambda data: read_retrieval_set(data / "scifact")),
        Source("cacm", "cacm", False, "cacm", lambda data: read_retrieval_set(data / "cacm")),
        Source("cisi", "cisi", False, "cisi", lambda data: read_retrieval_set(data / "cisi")),
        Source(
            "nfcorpus-preproc",
            "nfcorpus-preproc",
            False,
            "nfcorpus-preproc",
            lambda data: read_retrieval_set(data / "nfcorpus-preproc"),
        ),
        Source(
            "squad-rest", "squad-rest", False, "squad", lambda data: as_retrieval(read_squad(data, "1.1", part="rest"))
        ),
        Source("selqa-rest", "selqa-rest", False, "selqa", lambda data: as_retrieval(read_selqa(data, part="rest"))),
        Source("clapnq-rest", "clapnq", False, "clapnq", lambda data: as_retrieval(read_clapnq(data, part="rest"))),
        Source(
            "scifact-train",
            "scifact",
            True,
            "scifact",
            lambda data: read_retrieval_set(data / "scifact", split="train"),
        ),
        Source("squad-fit", "squad-fit", True, "squad", lambda data: as_retrieval(read_squad(data, "1.1", part="fit"))),
        Source("selqa-fit", "selqa-fit", True, "selqa", lambda data: as_retrieval(read_selqa(data, part="fit"))),
        Source("clapnq-fit", "clapnq", True, "clapnq", lambda data: as_retrieval(read_clapnq(data, part="fit"))),
    )
}
