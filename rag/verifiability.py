"""Whether what an answer says is held by what it cites: citation recall and precision of answers that were written.

The definitions are those of Liu, Zhang and Liang (2023), "Evaluating verifiability in generative search engines",
arXiv:2304.09848: recall is the share of sentences that their citations, taken together, support fully; precision is the
share of citations that support their sentence, or a part of it where all of them together support it. People judged
that. Here a checker does: a citation supports a part where without it the others do not support the sentence, as Gao et
al. (2023), arXiv:2305.14627, put it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rag.support import Checker
from rag.types import Answer, Chunk, Citation, Hit


@dataclass(frozen=True, slots=True)
class Verifiability:
    """What a judge says of one answer."""

    sentences: tuple[bool, ...]  # of each: whether its citations, taken together, support it; without any they do not
    citations: tuple[bool, ...]  # of each use of a citation, in the order of the sentences: whether it supports it


def verifiability(answer: Answer, judge: Checker) -> Verifiability:
    """Hold each sentence of an answer against the quotes of its footnotes, and nothing else.

    Args:
        answer: what was shown.
        judge: told of a quote what stands there, its document's title and headings.

    Raises:
        RagError: the judge's model cannot be run.
    """
    cited = {citation.marker: citation for citation in answer.citations}
    sentences, uses = [], []
    for sentence in answer.sentences:
        own = [cited[marker] for marker in sentence.citations]
        is_held = _holds(judge, sentence.text, own)
        sentences.append(is_held)
        uses += [
            _holds(judge, sentence.text, [one])
            or (is_held and len(own) > 1 and not _holds(judge, sentence.text, [*own[:i], *own[i + 1 :]]))
            for i, one in enumerate(own)
        ]
    return Verifiability(tuple(sentences), tuple(uses))


def _holds(judge: Checker, sentence: str, cited: Sequence[Citation]) -> bool:
    if not cited:
        return False
    [support] = judge.check([sentence], [_passage(citation) for citation in cited])
    return support.is_supported


def _passage(citation: Citation) -> Hit:
    """A quote as a passage of its own."""
    context = " > ".join(filter(None, (citation.title, citation.section)))
    chunk = Chunk(
        citation.source,
        citation.quote,
        citation.start,
        citation.end,
        citation.page,
        citation.section,
        citation.title,
        context,
    )
    return Hit(chunk_id=0, chunk=chunk, score=1.0, rank=1)
