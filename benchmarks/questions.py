"""Public sets of questions about passages, and which part of each something may be fitted on.

A question belongs to one part for good, by a hash of its article or of itself: what is fitted or chosen on 'fit' is
reported on 'rest'. 'fit' is 'train', what the reader is trained on, and 'tune', what it has not seen, on which all that
stands on its readings is fitted and calibrated.

| set | 'fit' | 'tune', of 'fit' | of the hash of |
| --- | --- | --- | --- |
| squad | int(sha256, 16) % 3 != 0 | int(sha256, 16) // 3 % 4 == 0 | the article's title |
| selqa | int(sha256, 16) % 2 == 0 | int(sha256, 16) // 2 % 4 == 0 | the article's title |
| clapnq | int(sha256, 16) % 2 == 0 | int(sha256, 16) // 2 % 3 == 0 | the question's id |
| policyqa | int(sha256, 16) % 2 == 0 | int(sha256, 16) // 2 % 4 == 0 | the policy's title |
"""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag.types import Document, Section

Part = Literal["fit", "train", "tune", "rest"]


@dataclass(frozen=True, slots=True)
class Question:
    """A labelled question: which document answers it, and which stretches of it."""

    text: str
    source: str | None  # None where no document answers; it is then asked of the half that holds its group
    group: str  # the article
    spans: tuple[tuple[int, int], ...]  # in the document's text; empty where nothing answers
    anywhere: tuple[str, ...] = ()  # strings that make a sentence elsewhere neither right nor wrong


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    documents: tuple[Document, ...]
    groups: dict[str, str]  # of each document
    questions: tuple[Question, ...]


def of_hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


_ONE_OF: dict[str, tuple[Callable[[int], bool], int, int]] = {
    # in 'fit', the divisor of what tells 'tune' from 'train', and one of how many is 'tune'
    "squad": (lambda n: n % 3 != 0, 3, 4),
    "selqa": (lambda n: n % 2 == 0, 2, 4),
    "clapnq": (lambda n: n % 2 == 0, 2, 3),
    "policyqa": (lambda n: n % 2 == 0, 2, 4),
}


def is_in(part: Part, name: str, key: str) -> bool:
    """Whether what has this key is in that part of a set."""
    n = of_hash(key)
    is_fit, divisor, one_of = _ONE_OF[name]
    own = ("tune" if n // divisor % one_of == 0 else "train") if is_fit(n) else "rest"
    return own == part or (part == "fit" and own != "rest")


def read_squad(data: Path, version: str, *, part: Part) -> Dataset:
    """The articles of one part with all their questions; of 2.0, those without an answer too."""
    with gzip.open(data / "squad" / f"dev-v{version}-half.json.gz", "rt", encoding="utf-8") as file:
        articles = [a for a in json.load(file)["data"] if is_in(part, "squad", a["title"])]
    documents, groups, questions = [], {}, []
    for article in articles:
        title = article["title"].replace("_", " ")
        for n, paragraph in enumerate(article["paragraphs"]):
            source = f"{article['title']}#{n}"
            documents.append(Document(source, paragraph["context"], title=title))
            groups[source] = title
            for asked in paragraph["qas"]:
                answers = [] if asked.get("is_impossible") else asked["answers"]
                spans = {(a["answer_start"], a["answer_start"] + len(a["text"])) for a in answers}
                strings = tuple(sorted({answer["text"] for answer in asked["answers"]}))
                questions.append(Question(asked["question"], source, title, tuple(sorted(spans)), strings))
    return Dataset(f"squad-{version}", tuple(documents), groups, tuple(questions))


def read_policyqa(data: Path, *, part: Part) -> Dataset:
    """The policies of one part with all their questions; several questions are asked in the same words."""
    with gzip.open(data / "policyqa" / "dev.json.gz", "rt", encoding="utf-8") as file:
        policies = [p for p in json.load(file)["data"] if is_in(part, "policyqa", p["title"])]
    documents, groups, questions = [], {}, []
    for policy in policies:
        title = policy["title"]
        for n, paragraph in enumerate(policy["paragraphs"]):
            source = f"{title}#{n}"
            documents.append(Document(source, paragraph["context"], title=title))
            groups[source] = title
            for asked in paragraph["qas"]:
                spans = {(a["answer_start"], a["answer_start"] + len(a["text"])) for a in asked["answers"]}
                questions.append(Question(asked["question"], source, title, tuple(sorted(spans))))
    return Dataset("policyqa", tuple(documents), groups, tuple(questions))


def read_selqa(data: Path, *, part: Part) -> Dataset:
    """The articles' sections of one part, with their questions."""
    documents: dict[str, Document] = {}
    groups, questions = {}, []
    for row in _read_lines(data / "selqa" / "ass-dev.jsonl.gz"):
        if not is_in(part, "selqa", row["article"]):
            continue
        source = f"{row['article']}#{row['section']}"
        text = " ".join(row["candidates"])
        path = f"{row['article']} > {row['section']}"
        documents.setdefault(source, Document(source, text, row["article"], (Section(0, 0, path),)))
        groups[source] = row["article"]
        spans, at = [], 0
        for i, sentence in enumerate(row["candidates"]):
            if i in row["answers"]:
                spans.append((at, at + len(sentence)))
            at += len(sentence) + 1
        if documents[source].text == text and spans:
            questions.append(Question(row["question"], source, row["article"], tuple(spans)))
    return Dataset("selqa", tuple(documents.values()), groups, tuple(questions))


def read_clapnq(data: Path, *, part: Part) -> Dataset:
    """All passages, with the questions of one part; those without an answer too."""
    documents, groups, questions = [], {}, []
    for kind in ("answerable", "unanswerable"):
        for row in _read_lines(data / "clapnq" / f"dev_{kind}.jsonl.gz"):
            passage = row["passages"][0]
            documents.append(Document(row["id"], passage["text"], passage["title"]))
            groups[row["id"]] = passage["title"]
            if not is_in(part, "clapnq", row["id"]):
                continue
            chosen = {s for output in row["output"] for s in output.get("selected_sentences", [])}
            found = [(passage["text"].find(s), len(s)) for s in chosen if kind == "answerable"]
            spans = tuple((start, start + length) for start, length in sorted(found) if start >= 0)
            if bool(spans) == (kind == "answerable"):
                questions.append(Question(row["input"], row["id"], passage["title"], spans))
    return Dataset("clapnq", tuple(documents), groups, tuple(questions))


def _read_lines(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)
