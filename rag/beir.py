"""Reads corpus, queries and qrels in BEIR layout; reads and writes runs, and reads qrels, in TREC format."""

from __future__ import annotations

import gzip
import json
import math
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from rag.errors import EvaluationError
from rag.types import Document

Run = dict[str, dict[str, float]]  # query id → doc id → score
Qrels = Mapping[str, Mapping[str, int]]  # query id → doc id → relevance, above 0


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """A corpus with judged queries."""

    name: str
    documents: tuple[Document, ...]
    queries: Mapping[str, str]  # those that are judged, by query id
    qrels: Qrels  # 0 and below are left out


def read_retrieval_set(folder: Path, *, split: str = "test", qrels: Path | None = None) -> RetrievalSet:
    """Read corpus.jsonl, queries.jsonl (each also as .gz) and qrels/<split>.tsv, or judgements that lie elsewhere.

    Raises:
        EvaluationError: a file is missing, or a line is not in the form BEIR gives it.
    """
    beside = folder / "qrels" / f"{split}.tsv"
    judgements = _kept(_read_beir_qrels(beside)) if qrels is None else read_qrels(qrels, split=split)
    queries = read_queries(folder)
    documents = tuple(read_documents(folder))
    judged = {query_id: text for query_id, text in queries.items() if query_id in judgements}
    if not judged:
        where = f"qrels/{split}.tsv" if qrels is None else repr(str(qrels))
        raise EvaluationError(f"no query of {str(folder)!r} is judged in {where}: check that both belong together")
    return RetrievalSet(folder.resolve().name, documents, judged, {q: judgements[q] for q in judged})


def read_queries(folder: Path) -> dict[str, str]:
    """The text of each query of queries.jsonl, by its id.

    Raises:
        EvaluationError: the file is missing, or a line is not in the form BEIR gives it.
    """
    return {row["_id"]: row["text"] for row in _read_rows(folder, "queries.jsonl")}


def read_documents(folder: Path) -> Iterator[Document]:
    """The documents of corpus.jsonl; where one is a title alone, that is its text.

    Raises:
        EvaluationError: the file is missing, or a line is not in the form BEIR gives it.
    """
    for row in _read_rows(folder, "corpus.jsonl"):
        title, text = str(row.get("title") or ""), row["text"]
        # A document without text has no passage, and would never be found.
        if title and not text.strip():
            title, text = "", title
        yield Document(row["_id"], text, title=title or None)


def read_qrels(path: Path, *, split: str = "test") -> dict[str, dict[str, int]]:
    """Relevance above 0 by query and document.

    Args:
        path: a folder in BEIR layout, or a file (also as .gz) in BEIR's form (query id, document id, relevance between
            tabs, with or without a header) or in TREC's (query id, 0, document id, relevance); its first line tells.
        split: which qrels/<split>.tsv of a folder.

    Raises:
        EvaluationError: the file is missing, a line is not in the form of the first, or nothing is relevant.
    """
    file = path / "qrels" / f"{split}.tsv" if path.is_dir() else path
    qrels = _kept(_read_trec_qrels(file) if file == path and _is_trec(file) else _read_beir_qrels(file))
    if not qrels:
        raise EvaluationError(
            f"{str(file)!r} judges no document as relevant: expected lines of query id, document id and a relevance"
            " above 0"
        )
    return qrels


def read_run(path: Path) -> Run:
    """A run in TREC's form, also as .gz. The scores decide; ranks are not read.

    Raises:
        EvaluationError: the file is missing, a line is not in that form, names a document a second time, or there is
            none.
    """
    run: Run = {}
    for number, line in read_lines(path):
        try:
            query_id, _, doc_id, _, written, _ = line.split()
            score = float(written)
            if not math.isfinite(score):
                raise ValueError
        except ValueError as exc:
            raise EvaluationError(
                f"{path.name} line {number}: expected query id, Q0, document id, rank, score (a number) and tag, got"
                f" {line[:60]!r}"
            ) from exc
        scores = run.setdefault(query_id, {})
        if doc_id in scores:
            raise EvaluationError(
                f"{path.name} line {number}: expected each document once a query, got {doc_id!r} again for query"
                f" {query_id!r}: leave its best line alone"
            )
        scores[doc_id] = score
    if not run:
        raise EvaluationError(f"{str(path)!r} holds no results: expected one line a document in TREC's form")
    return run


def write_run(file: IO[str], run: Mapping[str, Mapping[str, float]], *, tag: str) -> None:
    """One line a document in TREC's form: query id, Q0, doc id, rank from 1, score, tag.

    Raises:
        EvaluationError: an id is empty or holds white space, which that form cannot tell from the next column. Nothing
            is written then.
    """
    for written in (*run, *(doc_id for scores in run.values() for doc_id in scores)):
        if written.split() != [written]:
            raise EvaluationError(f"expected ids without white space, as TREC's form has them, got {written!r}")
    for query_id, scores in run.items():
        for rank, doc_id in enumerate(ranking(scores), start=1):
            file.write(f"{query_id} Q0 {doc_id} {rank} {scores[doc_id]:.6f} {tag}\n")


def ranking(scores: Mapping[str, float]) -> list[str]:
    """Document ids, the best first; equal scores by id."""
    return sorted(scores, key=lambda doc_id: (-scores[doc_id], doc_id))


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


_Judgement = tuple[str, str, int]  # query id, document id, relevance


def _kept(judgements: Iterator[_Judgement]) -> dict[str, dict[str, int]]:
    """By query and document, what is relevant."""
    qrels: dict[str, dict[str, int]] = {}
    for query_id, doc_id, relevance in judgements:
        if relevance > 0:
            qrels.setdefault(query_id, {})[doc_id] = relevance
    return qrels


def _is_trec(path: Path) -> bool:
    """Whether the first line has TREC's four columns, of which BEIR's, with ids of several words, could be made too."""
    first = next((line.rstrip("\r\n") for _, line in read_lines(path)), "")
    return len(first.split()) == 4 and len(first.split("\t")) != 3


def _read_beir_qrels(path: Path) -> Iterator[_Judgement]:
    for i, (number, line) in enumerate(read_lines(path)):
        fields = line.rstrip("\r\n").split("\t")
        try:
            query_id, doc_id, relevance = fields
            yield query_id, doc_id, int(relevance)
        except ValueError as exc:
            if i == 0 and len(fields) == 3 and not fields[-1].lstrip("-").isdigit():
                continue  # the header
            raise EvaluationError(
                f"{path.name} line {number}: expected query id, document id and relevance, a whole number, between"
                f" tabs, got {line[:60]!r}"
            ) from exc


def _read_trec_qrels(path: Path) -> Iterator[_Judgement]:
    for number, line in read_lines(path):
        try:
            query_id, _, doc_id, relevance = line.split()
            yield query_id, doc_id, int(relevance)
        except ValueError as exc:
            raise EvaluationError(
                f"{path.name} line {number}: expected query id, 0, document id and relevance, a whole number, got"
                f" {line[:60]!r}"
            ) from exc
