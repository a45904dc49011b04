"""Which parts of a passage carry its similarity to a query: exact, as a mean is the sum of its parts.

With mean pooling, a passage's vector is the sum of its tokens' vectors over the length of that sum. Its cosine to the
query is then the sum of what each token brings, and each sentence brings what its tokens do. A token's vector knows its
neighbours: what it brings is what is said there, in that light, and not the word alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rag.encoders import TokenVectors
from rag.sentences import sentence_spans
from rag.types import Chunk, Share


@dataclass(frozen=True, slots=True)
class Attribution:
    """What the parts of a passage bring to its cosine."""

    sentences: tuple[Share, ...]
    tokens: tuple[Share, ...]  # of the passage's own text
    elsewhere: float  # title, headings and special tokens; with all tokens it adds up to the cosine


def attribute(query: NDArray[np.float32], chunk: Chunk, read: TokenVectors) -> Attribution | None:
    """Share the cosine of a query's vector and a passage's out among the passage's tokens and sentences.

    Args:
        query: float32 of shape (dim,), length 1.
        chunk: the passage.
        read: the tokens of `chunk.encoded`.

    Returns:
        None where the encoder's vectors are no means of their tokens.
    """
    if read.others is None:
        return None
    total = read.vectors.sum(axis=0, dtype=np.float64) + read.others
    scale = max(float(np.linalg.norm(total)), 1e-12)
    brought = (read.vectors @ query) / scale
    spans = read.spans - (len(chunk.encoded) - len(chunk.text))
    own = spans[:, 0] >= 0
    spans, values = spans[own], brought[own]
    tokens = tuple(
        Share(chunk.start + start, chunk.start + end, value)
        for (start, end), value in zip(spans.tolist(), values.tolist(), strict=True)
    )
    sentences = tuple(
        Share(
            chunk.start + start, chunk.start + end, float(values[(spans[:, 0] >= start) & (spans[:, 1] <= end)].sum())
        )
        for start, end in sentence_spans(chunk.text)
    )
    return Attribution(sentences, tokens, float(total @ query) / scale - float(values.sum()))
