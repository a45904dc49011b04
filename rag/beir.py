"""Reads corpus, queries and qrels in BEIR layout; writes runs in TREC format."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rag.errors import EvaluationError
from rag.types import Document


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A corpus with judged queries."""

    name: str
    documents: tuple[Document, ...]
    queries: Mapping[str, str]  # those that are judged, by query id
    qrels: Mapping[str, Mapping[str, int]]  # query id → doc id → relevance; 0 and below are left out


def read_retrieval_set(folder: Path, *, split: str = "test") -> RetrievalSet:
    """Read corpus.jsonl, queries.jsonl (each also as .gz) and qrels/<split>.tsv.

    Raises:
        EvaluationError: a file is missing, or a line is not in the form BEIR gives it.
    """
    qrels: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in _read_qrels(folder / "qrels" / f"{split}.tsv"):
        if relevance > 0:
            qrels.setdefault(query_id, {})[doc_id] = relevance
    queries = {row["_id"]: row["text"] for row in _read_rows(folder, "queries.jsonl")}
    documents = tuple(
        Document(row["_id"], row["text"], title=str(row.get("title") or "") or None)
        for row in _read_rows(folder, "corpus.jsonl")
    )
    judged = {query_id: text for query_id, text in queries.items() if query_id in qrels}
    if not judged:
        raise EvaluationError(
            f"no query of {str(folder)!r} is judged in qrels/{split}.tsv: check that both belong together"
        )
    return RetrievalSet(folder.resolve().name, documents, judged, {q: qrels[q] for q in judged})


def write_run(file: IO[str], run: Mapping[str, Mapping[str, float]], *, tag: str) -> None:
    """One line a document in TREC's form: query id, Q0, doc id, rank from 1, score, tag."""
    for query_id, scores in run.items():
        for rank, doc_id in enumerate(sorted(scores, key=lambda d: (-scores[d], d)), start=1):
            file.write(f"{query_id} Q0 {doc_id} {rank} {scores[doc_id]:.6f} {tag}\n")


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, line) of a text file that are not blank; of its .gz twin where that is what is there.

    Raises:
        EvaluationError: the file cannot be read.
    """
    packed = path if path.suffix == ".gz" else path.with_name(path.name + ".gz")
    number = 0
    try:
        # A file that an editor saved with a byte order mark is read as one without.
        with (
            gzip.open(packed, "rt", encoding="utf-8-sig")
            if packed.exists() and (packed == path or not path.exists())
            else path.open(encoding="utf-8-sig") as file
        ):
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, line
    except OSError as exc:
        raise EvaluationError(
            f"cannot read {str(path)!r} ({exc.strerror or exc}): expected it there, or {packed.name}"
        ) from exc
    except (EOFError, zlib.error, UnicodeDecodeError) as exc:
        raise EvaluationError(
            f"cannot read {str(path)!r} behind line {number} ({exc}): expected whole text in UTF-8"
        ) from exc


def _read_rows(folder: Path, name: str) -> Iterator[dict[str, Any]]:
    for number, line in read_lines(folder / name):
        try:
            row = json.loads(line)
            if not (isinstance(row["_id"], str | int) and isinstance(row["text"], str)):
                raise TypeError
            yield {**row, "_id": str(row["_id"])}
        except (ValueError, TypeError, KeyError) as exc:
            raise EvaluationError(
                f"{name} line {number}: expected a JSON object with '_id' and 'text', got {line[:60]!r}"
            ) from exc


def _read_qrels(path: Path) -> Iterator[tuple[str, str, int]]:
    for i, (number, line) in enumerate(read_lines(path)):
        fields = line.rstrip("\r\n").split("\t")
        try:
            query_id, doc_id, relevance = fields
            yield query_id, doc_id, int(relevance)
        except ValueError as exc:
            if i == 0 and not fields[-1].lstrip("-").isdigit():
                continue  # the header
            raise EvaluationError(
                f"{path.name} line {number}: expected query id, document id and relevance, a whole number, between"
                f" tabs, got {line[:60]!r}"
            ) from exc
