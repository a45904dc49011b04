"""Fits the two regressions of the extractive generator, and prints how good they are on what they never saw.

    python -m benchmarks.fit_extractive ../shared/data [--write]

Which sentence answers is a conditional logit: a softmax over the sentences of all passages, whose loss is that of the
right ones together. Confidence is a logistic regression on two questions at once, each of half the weight: whether
what is shown holds the answer, and whether the documents hold one at all, for the first alone tells less well where
they do not; its scale is then set by the first alone (Platt 1999), so that it is a chance of being right.

Fitted on: SQuAD 1.1 and 2.0 dev questions on articles with int(sha256(title), 16) % 3 != 0; SelQA dev questions on
articles with int(sha256(title), 16) % 2 == 0; CLAPNQ dev questions with int(sha256(id), 16) % 2 == 0; of these only
what the reader was not trained on ('tune' in benchmarks/questions.py); benchmarks/technical_questions.jsonl, asked of
the documentation of Rust, httpx, Datasette and sqlite-utils; benchmarks/hard_questions.jsonl, asked of the sample
corpus. Everything else of these sets, and the sample corpus's own questions, are left for reports. Figures printed are
of five-fold cross-validation over articles. Each set weighs the same, SQuAD as one.

Each collection is split into two halves by article: a question is asked of the half that holds its article, where it
has an answer, and of the other, where it has none. Questions that share at most a third of their words with the
sentence that answers them are counted by themselves ('-low').
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tarfile
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from benchmarks.questions import Dataset, Question, of_hash, read_clapnq, read_selqa, read_squad
from rag.encoders import Encoder, TokenEncoder, load_encoder
from rag.generators.extractive import (
    ANSWER_FEATURES,
    FAR_LESS_LIKELY,
    MAX_SENTENCES,
    SENTENCE_FEATURES,
    Candidate,
    ExtractiveGenerator,
    Judged,
    Weights,
    answered_features,
)
from rag.index import Index
from rag.pipeline import DEFAULT_MIN_CONFIDENCE, DEFAULT_PASSAGES
from rag.retriever import Retriever
from rag.sentences import sentence_spans
from rag.types import Document, Hit
from rag.words import stems, stop_stems

HERE = Path(__file__).resolve().parent
SAMPLE = HERE.parent / "corpora" / "embeddings"


@dataclass(frozen=True, slots=True)
class Example:
    """One question with the candidates of its passages."""

    stratum: str  # the set's name, with '-low' where question and answer share few words
    group: str
    question: str
    passages: tuple[Hit, ...]
    candidates: tuple[Candidate, ...]
    labels: tuple[int, ...]  # 1 right, 0 wrong, -1 not known
    asked_where_it_is: bool  # of the half that holds the answer


@dataclass(frozen=True, slots=True)
class Reading:
    """What the reader says of one question's passages."""

    example: Example
    judged: tuple[Judged, ...]
    labels: tuple[int, ...]


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


def examples(dataset: Dataset, unread: Dataset, encoder: Encoder, *, n_questions: int) -> Iterator[Example]:
    """Each question asked of the half that holds its article, and, where it has an answer, of the other half.

    Args:
        dataset: whose documents are searched.
        unread: the part of it that the reader was not trained on, whose questions are asked.
        encoder: of the indexes.
        n_questions: of each stratum, at most.
    """
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
        for i in np.random.RandomState(0).permutation(len(unread.questions)):
            question = unread.questions[i]
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
                    found = tuple(passages), tuple(candidates)
                    yield Example(stratum, question.group, question.text, *found, labels, has_answer)
            if sum(taken.values()) % 200 == 0:
                print(f"{dataset.name}: {sum(taken.values())} questions", file=sys.stderr)
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


def readings(train: Sequence[Example], encoder: Encoder) -> Iterator[Reading]:
    """What the reader says of each."""
    assert isinstance(encoder, TokenEncoder)
    generator = ExtractiveGenerator(encoder, _NoWords(), weights=Weights("", (), ()))
    for number, e in enumerate(train):
        judged = generator.judged(e.question, e.passages, e.candidates)
        place = {id(candidate): label for candidate, label in zip(e.candidates, e.labels, strict=True)}
        yield Reading(e, tuple(judged), tuple(place[id(j.candidate)] for j in judged))
        if number % 200 == 0:
            print(f"read {number}", file=sys.stderr)


class _NoWords:
    """Candidates are made already: nothing is asked of an index."""

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        return dict.fromkeys(stems, 1.0)

    def known_words(self, stems: Sequence[str]) -> set[str]:
        return set(stems)


@dataclass(frozen=True, slots=True)
class Fitted:
    """The two regressions."""

    sentence: tuple[float, ...]
    answered: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Shown:
    """What would be answered."""

    order: tuple[int, ...]  # of the sentences, the likeliest first
    features: tuple[float, ...]  # the values of ANSWER_FEATURES
    n: int  # of sentences
    is_right: bool | None  # whether one of them answers; None where that is not known


def fit(train: Sequence[Reading]) -> Fitted:
    """Which sentence answers, and how sure it is that one that is shown does."""
    sentence = conditional_logit([r for r in train if r.example.asked_where_it_is and 1 in r.labels])
    shown = [(r, shown_of(sentence, r)) for r in train]
    known = [(r, s) for r, s in shown if s.is_right is not None]
    y = [*(int(bool(s.is_right)) for _, s in known), *(int(r.example.asked_where_it_is) for r in train)]
    weights = weights_of([r for r, _ in known]) + weights_of(train)
    bias, *both = logistic([s.features for _, s in known + shown], y, weights)
    odds = [(bias + float(np.dot(both, s.features)),) for _, s in known]
    shift, scale = logistic(odds, y[: len(known)], weights[: len(known)])
    return Fitted(sentence, (shift + scale * bias, *(scale * w for w in both)))


def conditional_logit(found: Sequence[Reading]) -> tuple[float, ...]:
    """Weights of SENTENCE_FEATURES, hardly regularised; sentences of which it is not known count nowhere."""
    sizes = Counter(set_of(r) for r in found)
    rows = []
    for r in found:
        kept = [i for i, label in enumerate(r.labels) if label >= 0]
        x = np.array([r.judged[i].features for i in kept])
        rows.append((1 / sizes[set_of(r)], x, np.array([r.labels[i] == 1 for i in kept])))

    def loss(w: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        total, slope = 1e-3 * float(w @ w), 2e-3 * w
        for weight, x, right in rows:
            z = x @ w
            of_all, of_right = np.logaddexp.reduce(z), np.logaddexp.reduce(z[right])
            total += weight * (of_all - of_right)
            slope = slope + weight * (np.exp(z - of_all) @ x - np.exp(z[right] - of_right) @ x[right])
        return total, slope

    best = minimize(loss, np.zeros(len(SENTENCE_FEATURES)), jac=True, method="L-BFGS-B")
    return tuple(map(float, best.x))


def set_of(r: Reading) -> str:
    return r.example.stratum.removesuffix("-low").removesuffix("-1.1").removesuffix("-2.0")


def weights_of(readings: Sequence[Reading]) -> list[float]:
    """Two of three questions are asked where they are answered; the sets of each kind weigh the same."""
    sizes = Counter((set_of(r), r.example.asked_where_it_is) for r in readings)
    kinds = Counter(answered for _, answered in sizes)
    share = {True: 2 / 3, False: 1 / 3}
    keys = [(set_of(r), r.example.asked_where_it_is) for r in readings]
    return [share[key[1]] / sizes[key] / kinds[key[1]] for key in keys]


def shown_of(sentence: Sequence[float], r: Reading) -> Shown:
    """As `ExtractiveGenerator.generate` chooses, but for the same fact once more, leads and steps."""
    odds = [float(np.dot(sentence, judged.features)) for judged in r.judged]
    order = sorted(range(len(odds)), key=lambda i: -odds[i])
    distinct: list[int] = []
    for i in order:
        if all(r.judged[i].candidate.text != r.judged[j].candidate.text for j in distinct):
            distinct.append(i)
    lead = odds[distinct[0]] - odds[distinct[1]] if len(distinct) > 1 else None
    features = answered_features(r.judged[order[0]], r.judged, odds, lead)
    labels = [r.labels[i] for i in distinct[:MAX_SENTENCES] if odds[i] >= odds[order[0]] - FAR_LESS_LIKELY]
    is_right = True if 1 in labels else None if -1 in labels else False
    return Shown(tuple(order), features, len(labels), is_right)


def logistic(x: Sequence[Sequence[float]], y: Sequence[int], w: Sequence[float]) -> tuple[float, ...]:
    """Bias and weights; nearly without regularisation, for there are few features and many rows."""
    model = LogisticRegression(C=1e3, max_iter=3000).fit(np.array(x), np.array(y), np.array(w) * len(w) / sum(w))
    return (float(model.intercept_[0]), *map(float, model.coef_[0]))


def report(train: Sequence[Reading], *, folds: int = 5) -> tuple[dict[str, dict[str, float]], list[list[float]]]:
    """Cross-validated over articles: sentence@1, sentence@3, how well confidence tells; and the estimated errors."""
    # Sets of one or a few groups are spread by question instead.
    strata = {r.example.stratum for r in train}
    few = {s for s in strata if len({r.example.group for r in train if r.example.stratum == s}) < 2 * folds}
    fold_of = [
        of_hash(r.example.question if r.example.stratum in few else r.example.group) % folds for r in train
    ]  # fmt: skip
    told: list[tuple[Reading, Shown, float]] = []
    for fold in range(folds):
        fitted = fit([r for r, f in zip(train, fold_of, strict=True) if f != fold])
        for r in (r for r, f in zip(train, fold_of, strict=True) if f == fold):
            shown = shown_of(fitted.sentence, r)
            z = fitted.answered[0] + float(np.dot(fitted.answered[1:], shown.features))
            told.append((r, shown, 1 / (1 + math.exp(-z))))
    out: dict[str, dict[str, float]] = {}
    for name in sorted(strata):
        mine = [row for row in told if row[0].example.stratum == name]
        inside = [row for row in mine if row[0].example.asked_where_it_is]
        outside = [row for row in mine if not row[0].example.asked_where_it_is]
        first = [[r.labels[i] == 1 for i in shown.order[:3]] for r, shown, _ in inside]
        row: dict[str, float] = {"questions": len(inside) or len(outside)}
        if inside:
            row["sentence@1"] = _mean([one[0] for one in first])
            row["sentence@3"] = _mean([any(one) for one in first])
            row["sentences_shown"] = round(float(np.mean([shown.n for _, shown, _ in inside])), 2)
            row["shown"] = _mean([bool(shown.is_right) for _, shown, _ in inside])
            row["answered_when_answerable"] = _mean([p >= DEFAULT_MIN_CONFIDENCE for _, _, p in inside])
            row["wrong_of_all"] = _mean([p >= DEFAULT_MIN_CONFIDENCE and not s.is_right for _, s, p in inside])
        if outside:
            row["abstained_when_not"] = _mean([p < DEFAULT_MIN_CONFIDENCE for _, _, p in outside])
        if inside and outside:
            truth = [1] * len(inside) + [0] * len(outside)
            row["abstain_auroc"] = round(float(roc_auc_score(truth, [p for _, _, p in inside + outside])), 4)
        out[name] = row
    return out, _estimates(told)


def _mean(values: Sequence[bool]) -> float:
    return round(float(np.mean(values)), 4)


def _estimates(told: Sequence[tuple[Reading, Shown, float]]) -> list[list[float]]:
    """(confidence, share of questions with a wrong answer if those of it and above are answered)."""
    known = [row for row in told if row[1].is_right is not None]
    weights = np.array(weights_of([r for r, _, _ in known]))
    wrong = np.array([not shown.is_right for _, shown, _ in known])
    confidences = np.array([p for _, _, p in known])
    return [
        [round(least, 2), round(float((weights * (wrong & (confidences >= least))).sum() / weights.sum()), 4)]
        for least in np.arange(0, 1, 0.01)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with squad/, selqa/, clapnq/ and docs/")
    parser.add_argument(
        "--questions",
        type=int,
        default=800,
        help="of each set and stratum, at most",
    )
    parser.add_argument("--write", action="store_true", help="replace rag/generators/extractive.json")
    options = parser.parse_args()
    encoder = load_encoder()
    data = options.data
    technical, hard = read_technical(data), read_hard()
    sets = [
        (read_squad(data, "1.1", part="fit"), read_squad(data, "1.1", part="tune")),
        (read_squad(data, "2.0", part="fit"), read_squad(data, "2.0", part="tune")),
        (read_selqa(data, part="fit"), read_selqa(data, part="tune")),
        (read_clapnq(data, part="fit"), read_clapnq(data, part="tune")),
        (technical, technical), (hard, hard),
    ]  # fmt: skip
    train = [e for whole, unread in sets for e in examples(whole, unread, encoder, n_questions=options.questions)]
    read_by = [r for r in readings(train, encoder) if r.judged]
    (figures, estimates), fitted = report(read_by), fit(read_by)
    written = {
        "fitted_by": "python -m benchmarks.fit_extractive DATA --write",
        "fitted_on": " ".join((__doc__ or "").split("Fitted on: ")[1].split(". Everything")[0].split()),
        "encoder": encoder.name,
        "space": encoder.space,
        "cross_validated": figures,
        "sentence": named(SENTENCE_FEATURES, fitted.sentence),
        "answered": named(("bias", *ANSWER_FEATURES), fitted.answered),
        "estimates": estimates,
    }
    print(json.dumps(written, indent=2))
    if options.write:
        file = HERE.parent / "rag" / "generators" / "extractive.json"
        file.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")


def named(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    return {name: round(value, 4) for name, value in zip(names, values, strict=True)}


if __name__ == "__main__":
    main()
