"""Question-answering sets: SQuAD's format, with questions that nothing answers, and CLAPNQ's."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.beir import read_lines
from rag.errors import EvaluationError
from rag.types import Document


@dataclass(frozen=True, slots=True)
class AskedQuestion:
    """A question with what answers it."""

    id: str
    text: str
    source: str  # the document it was asked of, whether it answers or not
    answers: tuple[str, ...]  # strings that answer; empty where nothing does
    spans: tuple[tuple[int, int], ...] = ()  # of that document: where answering sentences stand, in place of strings

    @property
    def is_answerable(self) -> bool:
        return bool(self.answers or self.spans)


@dataclass(frozen=True, slots=True)
class AnswerSet:
    """Documents and the questions asked of them."""

    name: str
    documents: tuple[Document, ...]
    articles: Mapping[str, str]  # of each document's id: a glob of the ids of its article's documents
    questions: tuple[AskedQuestion, ...]


def read_answer_set(path: Path) -> AnswerSet:
    """Read a file of questions: `.json` or `.json.gz` in SQuAD's format, `.jsonl` or `.jsonl.gz` in CLAPNQ's.

    A folder is read as CLAPNQ's: all its `.jsonl` and `.jsonl.gz` files together.

    Raises:
        EvaluationError: it cannot be read, is in neither form, or holds no questions.
    """
    if path.is_dir():
        files = sorted(f for f in path.iterdir() if f.name.endswith((".jsonl", ".jsonl.gz")))
        found = _clapnq(path.name, files)
    elif path.name.removesuffix(".gz").endswith(".jsonl"):
        found = _clapnq(path.name, [path])
    else:
        found = _squad(path)
    if not found.questions:
        raise EvaluationError(f"{str(path)!r} holds no questions: expected SQuAD's or CLAPNQ's format")
    return found


def _squad(path: Path) -> AnswerSet:
    data = _read_json(path)
    documents: list[Document] = []
    articles: dict[str, str] = {}
    questions: list[AskedQuestion] = []
    try:
        for a, article in enumerate(data["data"]):
            for p, paragraph in enumerate(article["paragraphs"]):
                source = f"{a}/{p}"
                title = article.get("title")
                documents.append(Document(source, paragraph["context"], title=title and title.replace("_", " ")))
                articles[source] = f"{a}/*"
                for asked in paragraph["qas"]:
                    texts = () if asked.get("is_impossible") else (answer["text"] for answer in asked["answers"])
                    answers = tuple(sorted({text for text in texts if text}))
                    questions.append(AskedQuestion(str(asked["id"]), asked["question"], source, answers))
    except (KeyError, TypeError, AttributeError) as exc:
        raise EvaluationError(
            f"{path.name}: expected SQuAD's format, {{'data': [{{'paragraphs': [{{'context', 'qas'}}]}}]}}, but "
            f"{type(exc).__name__}: {exc}"
        ) from exc
    return AnswerSet(path.name, tuple(documents), articles, tuple(questions))


def _read_json(path: Path) -> Any:
    try:
        data = path.read_bytes()
        return json.loads(gzip.decompress(data) if path.suffix == ".gz" else data)
    except OSError as exc:
        raise EvaluationError(f"cannot read {str(path)!r} ({exc.strerror or exc})") from exc
    except (ValueError, EOFError, zlib.error) as exc:
        raise EvaluationError(f"cannot read {str(path)!r} as JSON: {exc}") from exc


def _clapnq(name: str, files: list[Path]) -> AnswerSet:
    documents: list[Document] = []
    articles: dict[str, str] = {}
    questions: list[AskedQuestion] = []
    articles_by_title: dict[str, int] = {}
    for path in files:
        for number, line in read_lines(path):
            try:
                row = json.loads(line)
                id_ = str(row["id"])
                passage = row["passages"][0]
                text, title = passage["text"], passage["title"]
                chosen = {s for output in row["output"] for s in output.get("selected_sentences") or [] if s}
                question = row["input"]
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as exc:
                raise EvaluationError(
                    f"{path.name} line {number}: expected CLAPNQ's format, {{'id', 'input', 'passages', 'output'}}, "
                    f"got {line[:60]!r}"
                ) from exc
            article = articles_by_title.setdefault(title, len(articles_by_title))
            source = f"{article}/{id_}"
            documents.append(Document(source, text, title=title))
            articles[source] = f"{article}/*"
            places = sorted((text.find(sentence), len(sentence)) for sentence in chosen)
            spans = tuple((start, start + length) for start, length in places if start >= 0)
            if spans or not chosen:  # else its marked sentences stand elsewhere: it is neither
                questions.append(AskedQuestion(id_, question, source, (), spans))
    return AnswerSet(name, tuple(documents), articles, tuple(questions))
