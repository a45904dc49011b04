"""Faults planted in good sentences, by rules that were fixed before there was a checker.

The sentences are those of CLAPNQ's gold answers, which people wrote from one passage each. Of each that offers the
occasion, one bad sentence of each kind is made:

- 'number': one number of it becomes another of its form that the passage does not hold.
- 'name': one name becomes another name, by turns one of the same passage and one of another answer's.
- 'negation': a verb is negated, or its negation taken away.
- 'invented': a sentence of another gold answer, its names replaced by those of this sentence, as far as it has as many.

Everything follows from the seed and the question's id.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.questions import Part, is_in
from rag.sentences import sentence_spans
from rag.types import Document

Fault = Literal["number", "name", "negation", "invented"]
_NUMBER = re.compile(r"(?<![\w.,])\d+(?:,\d{3})*(?:\.\d+)?(?![\w,]|\.\d)")
_NUMBER_WORDS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve", "twenty", "thirty")
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b")
_NAME = re.compile(r"\b[A-Z][\w'’-]*(?: (?:(?:of|the|de|von|van|and) )?[A-Z][\w'’-]*)*")
_NO_NAMES = frozenset(
    "The A An It He She They This That These Those There In On At By As For From With When While After Before During "
    "If But And Or Its His Her Their Some Many Most Both Each All Other Although However Since Because".split()
)
_AUXILIARY = re.compile(
    r"\b(is|was|are|were|has|have|had|can|could|will|would|does|did|may|might|must|should)\b(?! not\b)"
)
_NEGATED = re.compile(r"\b(is|was|are|were|has|have|had|can|could|will|would|does|did|may|might|must|should) not\b")
_VERB = re.compile(r"(?<=[a-z] )(\w{3,}ed)(?= (?:in|on|by|the|a|an|to|from|at|with|as|for)\b)")


@dataclass(frozen=True, slots=True)
class Claim:
    """One sentence that is said of a question's passage."""

    question: str
    source: str  # the document of the passage
    text: str
    fault: Fault | None  # None for a good one


@dataclass(frozen=True, slots=True)
class Planted:
    """All passages of CLAPNQ, and the claims of one part of its questions."""

    documents: tuple[Document, ...]
    claims: tuple[Claim, ...]


def tidy(text: str) -> str:
    """CLAPNQ's passages as people write: its tokens stand apart from their marks."""
    text = re.sub(r"``\s*|\s*''", '"', text)
    text = re.sub(r"\s+([.,;:!?%)\]]|'s\b|n't\b|'(?:re|ve|ll|d)\b)", r"\1", text)
    text = re.sub(r"([(\[$£])\s+", r"\1", text)
    text = re.sub(r"(?<=\w) (--) (?=\w)", r" \1 ", text)
    return re.sub(r"(?<=\w) - (?=\w)", "-", text).strip()


def plant(data: Path, *, part: Part, seed: int = 0) -> Planted:
    """The gold sentences of one part's answerable questions, and a bad one of each kind that each allows.

    Args:
        data: the folder that holds clapnq/.
        part: of the questions.
        seed: of all choices.
    """
    rows = []
    with gzip.open(data / "clapnq" / "dev_answerable.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    documents = [Document(r["id"], tidy(r["passages"][0]["text"]), r["passages"][0]["title"]) for r in rows]
    mine = [(r, d) for r, d in zip(rows, documents, strict=True) if is_in(part, "clapnq", r["id"])]
    told = [(r, d, tuple(_sentences(r["output"][0]["answer"]))) for r, d in mine]
    claims: list[Claim] = []
    for n, (row, document, sentences) in enumerate(told):
        draw = random.Random(f"{seed} {row['id']}")
        others = [s for _, _, of_other in (told[(n + step) % len(told)] for step in range(1, 6)) for s in of_other]
        for text in sentences:
            claims.append(Claim(row["input"], document.doc_id, text, None))
            for fault, bad in _faults(text, document.text, others, draw):
                claims.append(Claim(row["input"], document.doc_id, bad, fault))
    return Planted(tuple(documents), tuple(claims))


def _sentences(answer: str) -> Iterator[str]:
    """Of a gold answer: those of at least four words."""
    for start, end in sentence_spans(answer := tidy(answer)):
        if len(answer[start:end].split()) >= 4:
            yield answer[start:end]


def _faults(text: str, passage: str, others: Sequence[str], draw: random.Random) -> Iterator[tuple[Fault, str]]:
    makers = {"number": _other_number, "name": _other_name, "negation": _negated, "invented": _invented}
    for fault, make in makers.items():
        bad = make(text, passage, others, draw)
        if bad is not None and bad != text:
            yield fault, bad  # type: ignore[misc]


def _other_number(text: str, passage: str, _others: Sequence[str], draw: random.Random) -> str | None:
    found = [*_NUMBER.finditer(text), *_NUMBER_WORD.finditer(text)]
    if not found:
        return None
    match = draw.choice(found)
    if match[0] in _NUMBER_WORDS:
        free = [word for word in _NUMBER_WORDS if word not in passage and word not in text]
        return _replaced(text, match, draw.choice(free)) if free else None
    for _ in range(20):
        other = _number_like(match[0], draw)
        if other not in passage and other != match[0]:
            return _replaced(text, match, other)
    return None


def _number_like(number: str, draw: random.Random) -> str:
    plain = number.replace(",", "")
    if "." in plain:
        whole, _, decimals = plain.partition(".")
        return f"{max(int(whole) + draw.choice([-2, -1, 1, 2, 3]), 0)}.{decimals}"
    value = int(plain)
    if len(plain) == 4 and 1000 <= value <= 2100:
        return str(value + draw.choice([-1, 1]) * draw.randint(1, 30))
    value = max(value + draw.choice([-1, 1]) * draw.randint(1, max(3, value // 3)), 1)
    return f"{value:,}" if "," in number else str(value)


def _other_name(text: str, passage: str, others: Sequence[str], draw: random.Random) -> str | None:
    mine = _names(text)
    if not mine:
        return None
    match = draw.choice(mine)
    near = sorted({m[0] for m in _names(passage)} - {m[0] for m in mine})
    far = sorted({m[0] for other in others for m in _names(other)} - {m[0] for m in _names(passage)})
    first, second = (near, far) if draw.random() < 0.5 else (far, near)
    choices = [name for name in (first or second) if name not in text and match[0] not in name]
    return _replaced(text, match, draw.choice(choices)) if choices else None


def _names(text: str) -> list[re.Match[str]]:
    """Capitalised words, without those that only begin a sentence."""
    return [
        m for m in _NAME.finditer(text)
        if m[0] not in _NO_NAMES and m[0].split()[0] not in _NO_NAMES and not _begins(text, m)
    ]  # fmt: skip


def _begins(text: str, match: re.Match[str]) -> bool:
    """One capitalised word where a sentence begins says nothing of being a name."""
    return " " not in match[0] and (match.start() == 0 or text[: match.start()].rstrip()[-1:] in {".", "!", "?", '"'})


def _negated(text: str, _passage: str, _others: Sequence[str], draw: random.Random) -> str | None:
    if negated := list(_NEGATED.finditer(text)):
        match = draw.choice(negated)
        return _replaced(text, match, match[1])
    if positive := list(_AUXILIARY.finditer(text)):
        match = positive[0]
        return _replaced(text, match, f"{match[1]} not")
    if verbs := list(_VERB.finditer(text)):
        return _replaced(text, verbs[0], f"never {verbs[0][1]}")
    return None


def _invented(text: str, _passage: str, others: Sequence[str], draw: random.Random) -> str | None:
    if not others:
        return None
    other = draw.choice(others)
    mine, theirs = _names(text), _names(other)
    for match, name in reversed(list(zip(theirs, mine, strict=False))):
        other = _replaced(other, match, name[0])
    return other


def _replaced(text: str, match: re.Match[str], new: str) -> str:
    return text[: match.start()] + new + text[match.end() :]
