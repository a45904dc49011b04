"""Fits the two logistic regressions of the extractive generator, and prints how good they are on what they never saw.

    python -m benchmarks.fit_extractive ../shared/data [--write]

Fitted on: SQuAD 1.1 and 2.0 dev questions on articles with int(sha256(title), 16) % 3 != 0; SelQA dev questions on
articles with int(sha256(title), 16) % 2 == 0; CLAPNQ dev questions with int(sha256(id), 16) % 2 == 0;
benchmarks/technical_questions.jsonl, asked of the documentation of Rust, httpx, Datasette and sqlite-utils;
benchmarks/hard_questions.jsonl, asked of the sample corpus. Everything else of these sets, and the sample corpus's own
questions, are left for reports. Figures printed are of five-fold cross-validation over articles within that part.

Each collection is split into two halves by article: a question is asked of the half that holds its article, where it
has an answer, and of the other, where it has none. Questions that share at most a third of their words with the
sentence that answers them count as a set of their own ('-low'), and each set weighs the same.
"""

from __future__ import annotations

import argparse
import json
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.questions import Dataset, Question, of_hash, read_clapnq, read_selqa, read_squad
from rag.encoders import Encoder, TokenEncoder, load_encoder
from rag.generators.extractive import ANSWER_FEATURES, SENTENCE_FEATURES, Candidate, ExtractiveGenerator, Weights
from rag.index import Index
from rag.pipeline import DEFAULT_PASSAGES
from rag.retriever import Retriever
from rag.sentences import sentence_spans
from rag.types import Document
from rag.words import stems, stop_stems

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "corpora" / "embeddings"


@dataclass(frozen=True, slots=True)
class Example:
    """One question with the candidates of its passages."""

    stratum: str  # the set's name, with '-low' where question and answer share few words
    group: str
    candidates: tuple[Candidate, ...]
    labels: tuple[int, ...]  # 1 right, 0 wrong, -1 not known
    asked_where_it_is: bool  # of the half that holds the answer


def ingested(*folders: Path) -> dict[str, Document]:
    """The documents of folders as `rag ingest` reads them, by source."""
    with tempfile.TemporaryDirectory() as place, Index.create(place) as index:
        index.ingest(*folders)
        return {row.source: index.document(row.source) for row in index.documents()}


def read_technical(data: Path) -> Dataset:
    rows = [json.loads(line) for line in (HERE / "technical_questions.jsonl").open(encoding="utf-8")]
    documents, groups = [], {}
    with tempfile.TemporaryDirectory() as place:
        for name in sorted({row["set"] for row in rows}):
            [archive] = (data / "docs").glob(f"{name}-*.tar.gz")
            with tarfile.open(archive) as packed:
                packed.extractall(Path(place) / name, filter="data")
            for source, document in ingested(Path(place) / name).items():
                key = f"{name}/{source}"
                sections, pages = document.sections, document.pages
                documents.append(Document(key, document.text, document.title, sections, pages))
                groups[key] = name
    questions = []
    for row in rows:
        answering = f"{row['set']}/{row['source']}" if row["source"] else None
        spans = ((row["start"], row["end"]),) if answering else ()
        questions.append(Question(row["question"], answering, row["set"], spans))
    return Dataset("technical", tuple(documents), groups, tuple(questions))


def read_hard() -> Dataset:
    """All of it in one half, for its questions without an answer are near the topic of all its articles."""
    documents = ingested(SAMPLE)
    questions = []
    for line in (HERE / "hard_questions.jsonl").open(encoding="utf-8"):
        row = json.loads(line)
        at = documents[row["source"]].text.find(row["quote"]) if row["source"] else -1
        if row["source"] is None or at >= 0:  # a quote that a PDF breaks over lines is left out
            spans = ((at, at + len(row["quote"])),) if at >= 0 else ()
            questions.append(Question(row["question"], row["source"], "sample", spans))
    return Dataset("hard", tuple(documents.values()), dict.fromkeys(documents, "sample"), tuple(questions))


def examples(dataset: Dataset, encoder: Encoder, *, n_questions: int) -> Iterator[Example]:
    """Each question asked of the half that holds its article, and, where it has an answer, of the other half."""
    assert isinstance(encoder, TokenEncoder)
    half = {group: n % 2 for n, group in enumerate(sorted(set(dataset.groups.values()), key=of_hash))}
    documents = {document.doc_id: document for document in dataset.documents}
    with tempfile.TemporaryDirectory() as folder:
        indexes = [Index.create(Path(folder) / str(n), encoder=encoder) for n in (0, 1)]
        for n, index in enumerate(indexes):
            index.add(d for d in dataset.documents if half[dataset.groups[d.doc_id]] == n)
        # Only their measurements are used here, not what weights they have.
        generators = [ExtractiveGenerator(encoder, index, weights=Weights("", (), ())) for index in indexes]
        taken: Counter[str] = Counter()
        for i in np.random.RandomState(0).permutation(len(dataset.questions)):
            question = dataset.questions[i]
            text = documents[question.source].text if question.source else ""
            stratum = dataset.name + ("-low" if shares_few_words(question, text) else "")
            taken[stratum] += 1
            if taken[stratum] > n_questions:
                continue
            own = half[question.group]
            for n in {own, 1 - own} if question.spans else {own}:
                passages = Retriever(indexes[n]).search(question.text, k=DEFAULT_PASSAGES)
                candidates = generators[n].candidates(question.text, passages)
                has_answer = bool(question.spans) and n == own
                sources = [passages[c.span.passage].chunk.doc_id for c in candidates]
                labels = tuple(label(question, c, s, has_answer) for c, s in zip(candidates, sources, strict=True))
                if candidates:
                    yield Example(stratum, question.group, tuple(candidates), labels, has_answer)
            if sum(taken.values()) % 200 == 0:
                print(f"{dataset.name}: {dict(taken)}", file=sys.stderr)
        for index in indexes:
            index.close()


def shares_few_words(question: Question, text: str) -> bool:
    """Whether at most a third of the question's content words stand in the best of the sentences that answer it."""
    asked = set(stems([question.text])[0]) - stop_stems()
    sentences = [
        text[s:e] for s, e in sentence_spans(text) if any(a < e and s < b for a, b in question.spans)
    ]  # fmt: skip
    shares = [len(asked.intersection(words)) / max(len(asked), 1) for words in stems(sentences)]
    return bool(shares) and max(shares) <= 1 / 3


def label(question: Question, candidate: Candidate, source: str, has_answer: bool) -> int:
    span = candidate.span
    right = source == question.source and any(s < span.end and span.start < e for s, e in question.spans)
    if right and has_answer:
        return 1
    return -1 if has_answer and any(string in candidate.text for string in question.anywhere) else 0


def fit(train: Sequence[Example], space: str) -> Weights:
    """Which sentence answers, and whether the best one does. Each stratum weighs the same."""
    x: list[tuple[float, ...]] = []
    y: list[int] = []
    w: list[float] = []
    found = [e for e in train if 1 in e.labels]
    sizes = Counter(e.stratum for e in found)
    for e in found:
        rows = [i for i, value in enumerate(e.labels) if value >= 0]
        x.extend(e.candidates[i].features for i in rows)
        y.extend(e.labels[i] for i in rows)
        w.extend([1 / sizes[e.stratum] / len(rows)] * len(rows))
    sentence = logistic(x, y, w)

    # A question whose passages miss its answer says nothing of either case.
    judged = [e for e in train if not e.asked_where_it_is or 1 in e.labels]
    shares = Counter((e.stratum, e.asked_where_it_is) for e in judged)
    kinds = Counter(answered for _, answered in shares)
    w = [1 / shares[e.stratum, e.asked_where_it_is] / kinds[e.asked_where_it_is] for e in judged]
    best = [e.candidates[ranked(sentence, e)[0]].answered for e in judged]
    return Weights(space, sentence, logistic(best, [int(e.asked_where_it_is) for e in judged], w))


def logistic(x: Sequence[Sequence[float]], y: Sequence[int], w: Sequence[float]) -> tuple[float, ...]:
    """Bias and weights; nearly without regularisation, for there are few features and many rows."""
    model = LogisticRegression(C=1e3, max_iter=3000).fit(np.array(x), np.array(y), np.array(w) * len(w) / sum(w))
    return (float(model.intercept_[0]), *map(float, model.coef_[0]))


def ranked(sentence: Sequence[float], e: Example) -> list[int]:
    """Positions of the candidates, the likeliest first."""
    return sorted(range(len(e.candidates)), key=lambda i: -float(np.dot(sentence[1:], e.candidates[i].features)))


def report(train: Sequence[Example], *, folds: int = 5) -> dict[str, dict[str, float]]:
    """Cross-validated over articles: sentence@1, sentence@3, and how well confidence tells answered from not."""
    # Sets of one or a few groups are spread by question instead.
    few = {s for s in {e.stratum for e in train} if len({e.group for e in train if e.stratum == s}) < folds}
    fold_of = [of_hash(e.group) % folds if e.stratum not in few else n % folds for n, e in enumerate(train)]
    hits: dict[str, list[tuple[bool, bool]]] = {}
    scores: dict[str, list[tuple[float, bool]]] = {}
    for fold in range(folds):
        weights = fit([e for e, f in zip(train, fold_of, strict=True) if f != fold], "")
        for e in (e for e, f in zip(train, fold_of, strict=True) if f == fold):
            order = ranked(weights.sentence, e)
            if e.asked_where_it_is:
                first = [e.labels[i] == 1 for i in order[:3]]
                hits.setdefault(e.stratum, []).append((first[0], any(first)))
            z = weights.answered[0] + float(np.dot(weights.answered[1:], e.candidates[order[0]].answered))
            scores.setdefault(e.stratum, []).append((z, e.asked_where_it_is))
    out = {}
    for name in sorted(hits):
        odds, truth = np.array([s for s, _ in scores[name]]), np.array([t for _, t in scores[name]])
        out[name] = {
            "questions": len(hits[name]),
            "sentence@1": round(float(np.mean([a for a, _ in hits[name]])), 4),
            "sentence@3": round(float(np.mean([b for _, b in hits[name]])), 4),
            "answered_when_answerable": round(float((odds[truth] > 0).mean()), 4),
        }
        if not truth.all():
            out[name]["abstained_when_not"] = round(float((odds[~truth] <= 0).mean()), 4)
            out[name]["abstain_auroc"] = round(float(roc_auc_score(truth, odds)), 4)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with squad/, selqa/, clapnq/ and docs/")
    parser.add_argument("--questions", type=int, default=800, help="of each set and stratum, at most")
    parser.add_argument("--write", action="store_true", help="replace rag/generators/extractive.json")
    options = parser.parse_args()
    encoder = load_encoder()
    sets = [
        read_squad(options.data, "1.1", part="fit"), read_squad(options.data, "2.0", part="fit"),
        read_selqa(options.data, part="fit"), read_clapnq(options.data, part="fit"),
        read_technical(options.data), read_hard(),
    ]  # fmt: skip
    train = [e for dataset in sets for e in examples(dataset, encoder, n_questions=options.questions)]
    figures, weights = report(train), fit(train, encoder.space)
    written = {
        "fitted_by": "python -m benchmarks.fit_extractive DATA --write",
        "fitted_on": " ".join((__doc__ or "").split("Fitted on: ")[1].split(". Everything")[0].split()),
        "encoder": encoder.name,
        "space": encoder.space,
        "cross_validated": figures,
        "sentence": named(("bias", *SENTENCE_FEATURES), weights.sentence),
        "answered": named(("bias", *ANSWER_FEATURES), weights.answered),
    }
    print(json.dumps(written, indent=2))
    if options.write:
        file = HERE.parent / "rag" / "generators" / "extractive.json"
        file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in zip(names, values, strict=True)}


if __name__ == "__main__":
    main()
