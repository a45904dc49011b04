"""The sample: a short course on embeddings, read with one click, and questions that it answers."""

from __future__ import annotations

from pathlib import Path

NAME = "sample"  # of its index
TITLE = "the sample"
QUESTIONS = (  # with the file that answers
    ("Who published word2vec?", "word2vec.md"),
    ("How does HNSW work?", "vector-indexes.pdf"),
    ("Can BM25 find synonyms?", "semantic-search.md"),
)


def folder() -> Path | None:
    """Where its files are: in the package, or in the clone that the package runs from. None where neither has them."""
    here = Path(__file__).resolve()
    for place in (here.with_name("sample"), here.parents[1] / "corpora" / "embeddings"):
        if (place / QUESTIONS[0][1]).is_file():
            return place
    return None
