"""Fits the two logistic regressions of the extractive generator, and prints how good they are on what they never saw.

    python -m benchmarks.fit_extractive ../shared/data [--write]

Fitted on: SQuAD 1.1 and 2.0 dev questions on articles with int(sha256(title), 16) % 3 != 0; SelQA dev questions on
articles with int(sha256(title), 16) % 2 == 0; CLAPNQ dev questions with int(sha256(id), 16) % 2 == 0. Everything else
of these sets is left for reports. Figures printed are of five-fold cross-validation over articles within that part.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from rag.encoder import Encoder, load_encoder
from rag.extractive import (
    ANSWER_FEATURES,
    SENTENCE_FEATURES,
    Candidate,
    ExtractiveGenerator,
    Weights,
    answer_features,
)
from rag.index import Index
from rag.pipeline import DEFAULT_PASSAGES
from rag.retriever import Retriever
from rag.types import Document, Hit, Section

_PER_SET = 1200  # questions of each set at most, drawn with a fixed seed


@dataclass(frozen=True, slots=True)
class Question:
    """A labelled question: which document answers it, and which stretches of it."""

    text: str
    source: str
    group: str  # the article: a question without an answer is made by leaving it out
    spans: tuple[tuple[int, int], ...]  # in the document's text; empty where nothing answers
    anywhere: tuple[str, ...] = ()  # strings that make a sentence elsewhere neither right nor wrong


@dataclass(frozen=True, slots=True)
class Dataset:
    name: str
    documents: tuple[Document, ...]
    questions: tuple[Question, ...]


@dataclass(frozen=True, slots=True)
class Example:
    """One question with the candidates of its passages."""

    dataset: str
    group: str
    candidates: tuple[Candidate, ...]
    labels: tuple[int, ...]  # 1 right, 0 wrong, -1 not known
    answerable: bool | None  # None: the right passage was not among those found


class RememberingEncoder:
    """The default encoder, which embeds each text once: the same sentences come up for many questions."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name, self.dim, self.space = encoder.name, encoder.dim, encoder.space
        self.form, self.max_tokens = encoder.form, encoder.max_tokens
        self.count_tokens, self.encode_queries = encoder.count_tokens, encoder.encode_queries
        self._known: dict[str, NDArray[np.float32]] = {}

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        self._known.update(zip(new, self._encoder.encode_documents(new), strict=True))
        return np.array([self._known[text] for text in texts], dtype=np.float32).reshape(len(texts), self.dim)


def of_hash(text: str) -> int:
    return int(hashlib.sha256(text.encode()).hexdigest(), 16)


def read_lines(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt", encoding="utf-8") as file:
        yield from map(json.loads, file)


def read_squad(data: Path, version: str) -> Dataset:
    with gzip.open(data / "squad" / f"dev-v{version}-half.json.gz", "rt", encoding="utf-8") as file:
        articles = json.load(file)["data"]
    documents, questions = [], []
    for article in articles:
        if of_hash(article["title"]) % 3 == 0:
            continue
        title = article["title"].replace("_", " ")
        for n, paragraph in enumerate(article["paragraphs"]):
            source, text = f"{article['title']}#{n}", paragraph["context"]
            documents.append(Document(source, text, title=title))
            for asked in paragraph["qas"]:
                gold = {(a["answer_start"], a["answer_start"] + len(a["text"])) for a in asked["answers"]}
                if asked.get("is_impossible"):
                    gold = set()
                strings = tuple(sorted({answer["text"] for answer in asked["answers"]}))
                questions.append(Question(asked["question"], source, title, tuple(sorted(gold)), strings))
    return Dataset(f"squad-{version}", tuple(documents), tuple(questions))


def read_selqa(data: Path) -> Dataset:
    documents: dict[str, Document] = {}
    questions = []
    for row in read_lines(data / "selqa" / "ass-dev.jsonl.gz"):
        if of_hash(row["article"]) % 2:
            continue
        source = f"{row['article']}#{row['section']}"
        text = " ".join(row["candidates"])
        path = f"{row['article']} > {row['section']}"
        documents.setdefault(source, Document(source, text, row["article"], (Section(0, 0, path),)))
        spans, at = [], 0
        for i, sentence in enumerate(row["candidates"]):
            if i in row["answers"]:
                spans.append((at, at + len(sentence)))
            at += len(sentence) + 1
        if documents[source].text == text and spans:
            questions.append(Question(row["question"], source, row["article"], tuple(spans)))
    return Dataset("selqa", tuple(documents.values()), tuple(questions))


def read_clapnq(data: Path) -> Dataset:
    documents, questions = [], []
    for kind in ("answerable", "unanswerable"):
        for row in read_lines(data / "clapnq" / f"dev_{kind}.jsonl.gz"):
            passage = row["passages"][0]
            documents.append(Document(row["id"], passage["text"], passage["title"]))
            if of_hash(row["id"]) % 2:
                continue
            chosen = {s for output in row["output"] for s in output.get("selected_sentences", [])}
            spans = [(passage["text"].find(s), len(s)) for s in chosen if kind == "answerable"]
            found = tuple((start, start + length) for start, length in sorted(spans) if start >= 0)
            if bool(found) == (kind == "answerable"):
                questions.append(Question(row["input"], row["id"], passage["title"], found))
    return Dataset("clapnq", tuple(documents), tuple(questions))


def examples(dataset: Dataset, encoder: Encoder, *, n_questions: int) -> list[Example]:
    """Each question as it is, and, where it has an answer, once more with its article left out."""
    made = []
    with tempfile.TemporaryDirectory() as folder:
        index = Index.create(folder, encoder=encoder)
        index.add(dataset.documents)
        groups = {q.source: q.group for q in dataset.questions}
        groups.update({d.doc_id: d.title or d.doc_id for d in dataset.documents if d.doc_id not in groups})
        retriever = Retriever(index)
        # Only its measurements are used here, not what weights it has.
        generator = ExtractiveGenerator(encoder, index.term_weights, weights=Weights((), ()))
        chosen = np.random.RandomState(0).permutation(len(dataset.questions))[:n_questions]
        for n, question in enumerate(dataset.questions[i] for i in chosen):
            hits = retriever.search(question.text, k=80)
            elsewhere = [hit for hit in hits if groups[hit.chunk.doc_id] != question.group]
            shown = [(hits[:DEFAULT_PASSAGES], bool(question.spans)), (elsewhere[:DEFAULT_PASSAGES], False)]
            for passages, has_answer in shown if question.spans else shown[:1]:
                made.append(example(dataset.name, question, passages, generator, has_answer=has_answer))
            if n % 100 == 0:
                print(f"{dataset.name}: {n} of {len(chosen)}", file=sys.stderr)
        index.close()
    return [e for e in made if e.candidates]


def example(
    name: str, question: Question, passages: Sequence[Hit], generator: ExtractiveGenerator, *, has_answer: bool
) -> Example:
    candidates = generator.candidates(question.text, passages)
    labels = []
    for candidate in candidates:
        chunk, span = passages[candidate.span.passage].chunk, candidate.span
        right = chunk.doc_id == question.source and any(s < span.end and span.start < e for s, e in question.spans)
        unclear = not right and has_answer and any(string in candidate.text for string in question.anywhere)
        labels.append(1 if right and has_answer else -1 if unclear else 0)
    answerable = True if 1 in labels else None if has_answer else False
    return Example(name, question.group, tuple(candidates), tuple(labels), answerable)


def fit(train: Sequence[Example]) -> Weights:
    """Sentences first, then, with their log-odds, whether there is an answer. Each set weighs the same."""
    x: list[tuple[float, ...]] = []
    y: list[int] = []
    w: list[float] = []
    sizes = {name: sum(e.dataset == name for e in train) for name in {e.dataset for e in train}}
    for e in train:
        if e.answerable:
            rows = [i for i, label in enumerate(e.labels) if label >= 0]
            x.extend(e.candidates[i].features for i in rows)
            y.extend(e.labels[i] for i in rows)
            w.extend([1000 / sizes[e.dataset] / len(rows)] * len(rows))
    model = LogisticRegression(C=1e3, max_iter=2000).fit(np.array(x), np.array(y), np.array(w) * len(x) / sum(w))
    sentence = (float(model.intercept_[0]), *map(float, model.coef_[0]))
    judged = [e for e in train if e.answerable is not None]
    share = {(n, a): sum(e.dataset == n and e.answerable is a for e in judged) for n in sizes for a in (True, False)}
    answers = np.array([answer_features(e.candidates, odds(sentence, e)) for e in judged])
    weights = [1 / share[e.dataset, bool(e.answerable)] for e in judged]
    final = LogisticRegression(C=1e3, max_iter=2000).fit(
        answers, [bool(e.answerable) for e in judged], np.array(weights) * len(judged) / sum(weights)
    )
    return Weights(sentence, (float(final.intercept_[0]), *map(float, final.coef_[0])))


def odds(weights: Sequence[float], e: Example) -> list[float]:
    return [weights[0] + float(np.dot(weights[1:], candidate.features)) for candidate in e.candidates]


def report(train: Sequence[Example], *, folds: int = 5) -> dict[str, dict[str, float]]:
    """Cross-validated over articles: sentence@1, sentence@3, and how well confidence tells answered from not."""
    groups = sorted({e.group for e in train})
    fold_of = {group: of_hash(group) % folds for group in groups}
    hits: dict[str, list[tuple[int, int]]] = {}
    scores: dict[str, list[tuple[float, bool]]] = {}
    for fold in range(folds):
        weights = fit([e for e in train if fold_of[e.group] != fold])
        for e in (e for e in train if fold_of[e.group] == fold):
            o = odds(weights.sentence, e)
            if e.answerable is not False:
                order = sorted(range(len(o)), key=lambda i: -o[i])
                hits.setdefault(e.dataset, []).append(
                    (int(e.labels[order[0]] == 1), int(any(e.labels[i] == 1 for i in order[:3])))
                )
            if e.answerable is not None:
                z = float(np.dot(weights.answered[1:], answer_features(e.candidates, o))) + weights.answered[0]
                scores.setdefault(e.dataset, []).append((z, bool(e.answerable)))
    out = {}
    for name in sorted(hits):
        z_all, truth = np.array([s for s, _ in scores[name]]), np.array([t for _, t in scores[name]])
        out[name] = {
            "questions": len(hits[name]),
            "sentence@1": round(float(np.mean([a for a, _ in hits[name]])), 4),
            "sentence@3": round(float(np.mean([b for _, b in hits[name]])), 4),
            "abstain_auroc": round(float(roc_auc_score(truth, z_all)), 4),
            "answered_when_answerable": round(float((z_all[truth] > 0).mean()), 4),
            "abstained_when_not": round(float((z_all[~truth] <= 0).mean()), 4),
        }
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with squad/, selqa/ and clapnq/")
    parser.add_argument("--questions", type=int, default=_PER_SET, help="of each set, at most")
    parser.add_argument("--write", action="store_true", help="replace rag/extractive.json")
    options = parser.parse_args()
    encoder = RememberingEncoder(load_encoder())
    sets = [
        read_squad(options.data, "1.1"), read_squad(options.data, "2.0"), read_selqa(options.data),
        read_clapnq(options.data),
    ]  # fmt: skip
    train = [e for dataset in sets for e in examples(dataset, encoder, n_questions=options.questions)]
    figures, weights = report(train), fit(train)
    written = {
        "fitted_by": "python -m benchmarks.fit_extractive DATA --write",
        "fitted_on": (__doc__ or "").split("Fitted on: ")[1].split(". Everything")[0].replace("\n", " "),
        "encoder": encoder.name,
        "cross_validated": figures,
        "sentence": named(("bias", *SENTENCE_FEATURES), weights.sentence),
        "answered": named(("bias", *ANSWER_FEATURES), weights.answered),
    }
    print(json.dumps(written, indent=2))
    if options.write:
        file = Path(__file__).parents[1] / "rag" / "extractive.json"
        file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in zip(names, values, strict=True)}


if __name__ == "__main__":
    main()
