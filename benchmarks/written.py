"""Lets a writer that hallucinates on purpose answer through the whole pipeline, and counts what of it is shown.

    python -m benchmarks.written ../shared/data [--write]

It is asked the questions of CLAPNQ whose id has an odd int(sha256(id), 16): nothing was fitted or chosen on them. It
writes the gold answer, in which each sentence is, with an even chance drawn with seed 0, replaced by one of the faults
that benchmarks/planted.py plants in it, if it offers the occasion. Shown are, with --strict:

- sentences_right: of the sentences shown with a footnote, the share that is as people wrote it;
- citations_in_place: of their footnotes, the share that stand in the passage that the gold answer was written from;
- citation_recall, citation_precision: as `rag evaluate answers` has them, the bundled checker being the judge.

Each citation is besides looked up in its document.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.planted import Claim, plant
from rag.encoders import load_encoder
from rag.generators import Message
from rag.generators.writing import WritingGenerator
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.sentences import plain_text
from rag.significance import mean_interval
from rag.types import JsonValue
from rag.verifiability import verifiability

OUTPUT = Path(__file__).resolve().parent / "results" / "written.json"


class Hallucinating:
    """A writer that says what it is told to say next, whatever it reads."""

    name = "hallucinating"
    control_tokens: Sequence[str] = ()
    text = ""

    def room(self, max_tokens: int) -> int:
        return 100_000

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content) for message in messages)

    def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        yield self.text


def said(claims: Sequence[Claim], draw: random.Random) -> list[Claim]:
    """The gold answer, about half of its sentences with a fault. The claims of a sentence follow each other."""
    sentences: list[list[Claim]] = []
    for claim in claims:
        if claim.fault is None:
            sentences.append([claim])
        else:
            sentences[-1].append(claim)
    return [draw.choice(of[1:]) if len(of) > 1 and draw.random() < 0.5 else of[0] for of in sentences]


def measure(data: Path) -> dict[str, JsonValue]:
    planted = plant(data, part="rest")
    draw, writer = random.Random(0), Hallucinating()
    right, in_place, recall, precision = list[bool](), list[bool](), list[bool](), list[bool]()
    written = faults = unresolved = 0
    with (
        tempfile.TemporaryDirectory() as folder,
        Index.create(Path(folder) / "index", encoder=load_encoder()) as index,
    ):
        index.add(planted.documents)
        pipeline = Pipeline(Retriever(index), generator=WritingGenerator(writer), min_confidence=0, strict=True)
        for question in dict.fromkeys(claim.question for claim in planted.claims):
            spoken = said([claim for claim in planted.claims if claim.question == question], draw)
            writer.text = "\n".join(claim.text for claim in spoken)
            written, faults = written + len(spoken), faults + sum(claim.fault is not None for claim in spoken)
            answer = pipeline.ask(question)
            if answer.generator != writer.name:
                continue
            good = {plain_text(claim.text) for claim in spoken if claim.fault is None}
            own = spoken[0].source
            cited = {citation.marker: citation for citation in answer.citations}
            unresolved += sum(index.document(c.source).text[c.start : c.end] != c.quote for c in cited.values())
            for sentence in answer.sentences:
                right.append(sentence.text in good)
                in_place += [cited[marker].source == own for marker in sentence.citations]
            judged = verifiability(answer, pipeline.checker)
            recall += judged.sentences
            precision += judged.citations
    measured = {
        "sentences_right": right,
        "citations_in_place": in_place,
        "citation_recall": recall,
        "citation_precision": precision,
    }
    return {
        "written": written,
        "of_them_faults": faults,
        "shown": len(right),
        **{name: round(sum(of) / len(of), 4) for name, of in measured.items()},
        "intervals": {
            name: [round(end, 4) for end in mean_interval([float(v) for v in of]) or ()]
            for name, of in measured.items()
        },
        "citations_that_do_not_resolve": unresolved,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with clapnq/")
    parser.add_argument("--write", action="store_true", help=f"replace {OUTPUT.name}")
    options = parser.parse_args()
    figures = measure(options.data)
    print(json.dumps(figures, indent=2))
    if options.write:
        OUTPUT.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
