"""How good the answers are on what nothing was fitted on, beside the plain way of answering.

    python -m benchmarks.answers ../shared/data [--limit N] [--write]

Asked are SQuAD 1.1 and 2.0 on the articles that nothing was trained, fitted or calibrated on ('rest' in
benchmarks/questions.py), all their paragraphs searched together, and CLAPNQ: the questions of the other half, over the
passages of all. The plain way is what one writes in an afternoon with the same model: the five best paragraphs by half
cosine, half BM25 (FTS5), both scaled to between the 100th and the best, and of their sentences the one whose embedding
is most similar to the question's; silence by that similarity.

`max_error` says what `--max-error` at 0.05, 0.1 and 0.2 does there: which share of all questions gets a wrong answer
(one none of whose sentences answers, or any to a question without an answer), which share of the answers are wrong, and
which share of the answerable questions are answered. 'estimate' takes the thresholds of the package; 'bound' those that
`rag calibrate` finds on a half of the questions, drawn 200 times, for the other half: means over these.
"""

from __future__ import annotations

import argparse
import json
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.processes import machine
from benchmarks.questions import is_in
from rag.answer_evaluation import AskedResult, auroc, evaluate_answers
from rag.calibration import Outcome, bound, estimated
from rag.encoders import Encoder, load_encoder
from rag.generators.extractive import default_weights
from rag.pipeline import DEFAULT_MIN_CONFIDENCE
from rag.qa import AnswerSet, AskedQuestion, read_answer_set
from rag.runs import interval_json
from rag.sentences import sentence_spans
from rag.significance import mean_interval
from rag.words import STOP_WORDS, TOKENIZER, query_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESULT = Path(__file__).resolve().parent / "results" / "answers.json"
_PARAGRAPHS = 5
_DRAWS = 200


def sets(data: Path) -> list[AnswerSet]:
    """What nothing was fitted on."""
    found = []
    for version in ("1.1", "2.0"):
        whole = read_answer_set(data / "squad" / f"dev-v{version}-half.json.gz")
        titles = {d.doc_id: (d.title or "").replace(" ", "_") for d in whole.documents}
        kept = {source for source, title in titles.items() if is_in("rest", "squad", title)}
        found.append(
            AnswerSet(
                f"squad-{version}-rest",
                tuple(d for d in whole.documents if d.doc_id in kept),
                {source: glob for source, glob in whole.articles.items() if source in kept},
                tuple(q for q in whole.questions if q.source in kept),
            )
        )
    clapnq = read_answer_set(data / "clapnq")
    questions = tuple(q for q in clapnq.questions if is_in("rest", "clapnq", q.id))
    found.append(replace(clapnq, name="clapnq-rest", questions=questions))
    return found


def max_errors(results: Sequence[AskedResult]) -> dict[str, Any]:
    """What --max-error does, by the estimates of the package and by a calibration on half of these questions."""
    confidences = np.array([r.confidence for r in results])
    answerable = np.array([r.question.is_answerable for r in results])
    wrong = np.array([not r.is_answer_right for r in results])
    draw = np.random.RandomState(0)
    halves = [draw.permutation(len(results)) < len(results) // 2 for _ in range(_DRAWS)]

    def row(shown: NDArray[np.bool_], of: NDArray[np.bool_]) -> tuple[float, float, float]:
        wrong_shown, n_shown = (wrong & shown & of).sum(), (shown & of).sum()
        return (
            wrong_shown / of.sum(),
            wrong_shown / max(n_shown, 1),
            (shown & answerable & of).sum() / (answerable & of).sum(),
        )

    def named(values: Sequence[float]) -> dict[str, float]:
        names = ("wrong_of_all", "wrong_of_answers", "answered_of_answerable")
        return {name: round(float(value), 4) for name, value in zip(names, values, strict=True)}

    found: dict[str, Any] = {}
    for share in (0.05, 0.1, 0.2):
        least = estimated(default_weights().estimates, share)
        drawn = []
        for half in halves:
            known = [Outcome(float(c), bool(w)) for c, w in zip(confidences[half], wrong[half], strict=True)]
            drawn.append(row(confidences > bound(known, share), ~half))
        found[f"{share:g}"] = {
            "estimate": named(row(confidences >= least, np.ones(len(results), dtype=bool))),
            "bound": named([float(np.mean(values)) for values in zip(*drawn, strict=True)]),
        }
    return found


def strictness(results: Sequence[AskedResult]) -> dict[str, dict[str, int]]:
    """What each strictness of the page does, in numbers of questions.

    Careful and eager ask for the confidence that the package estimates for `--max-error` 0.05 and 0.2, balanced for
    the default. Each question with an answer is asked where it stands, and once more with its article taken away; of
    the others the set says that nothing answers them, though a paragraph seems to.
    """
    estimates = default_weights().estimates
    levels = {
        "careful": estimated(estimates, 0.05),
        "balanced": DEFAULT_MIN_CONFIDENCE,
        "eager": estimated(estimates, 0.2),
    }
    told = [r for r in results if r.question.is_answerable]
    seeming = [r for r in results if not r.question.is_answerable]
    return {
        level: {
            "questions": len(told),
            "answered": sum(r.confidence >= least for r in told),
            "wrong": sum(r.confidence >= least and not r.is_answer_right for r in told),
            "answered_elsewhere": sum((r.elsewhere or 0.0) >= least for r in told),
            "seeming": len(seeming),
            "seeming_answered": sum(r.confidence >= least for r in seeming),
        }
        for level, least in levels.items()
    }


def plain(data: AnswerSet, questions: Sequence[AskedQuestion], encoder: Encoder) -> dict[str, Any]:
    """The figures of the plain way."""
    texts = [d.text for d in data.documents]
    spans = [sentence_spans(text) for text in texts]
    own = np.array([n for n, of in enumerate(spans) for _ in of])
    places = [span for of in spans for span in of]
    sentences = [texts[n][s:e] for n, (s, e) in zip(own, places, strict=True)]
    of_texts, of_sentences = encoder.encode_documents(texts), encoder.encode_documents(sentences)
    asked = encoder.encode_queries([q.text for q in questions])
    fused = _scaled(asked @ of_texts.T) / 2 + _scaled(_bm25(texts, [q.text for q in questions])) / 2
    number = {d.doc_id: n for n, d in enumerate(data.documents)}
    article = np.array([sorted(set(data.articles.values())).index(data.articles[d.doc_id]) for d in data.documents])
    one, three, words, inside, elsewhere = [], [], [], [], []
    for q, scores, vector in zip(questions, fused, asked, strict=True):
        near = of_sentences @ vector
        there = article[own] == article[number[q.source]]
        inside.append((bool(q.is_answerable), float(near.max())))
        if not q.is_answerable:
            continue
        elsewhere.append(float(near[~there].max()))
        among = np.nonzero(np.isin(own, np.argsort(-scores)[:_PARAGRAPHS]))[0]
        best = among[np.argsort(-near[among])[:3]]
        right = [_is_right(q, sentences[i], data.documents[own[i]].doc_id, places[i]) for i in best]
        one.append(right[0])
        three.append(any(right))
        words.append(len(sentences[best[0]].split()))
    answerable = [score for is_answerable, score in inside if is_answerable]
    return {
        "sentence@1": round(float(np.mean(one)), 4),
        "sentence@3": round(float(np.mean(three)), 4),
        "intervals": {
            name: interval_json(mean_interval([float(v) for v in values]))
            for name, values in (("sentence@1", one), ("sentence@3", three))
        },
        "mean_words_first_sentence": round(float(np.mean(words)), 2),
        "abstain_auroc": auroc(answerable, elsewhere),
        "unanswerable_auroc": auroc(answerable, [score for is_answerable, score in inside if not is_answerable]),
    }


def _is_right(q: AskedQuestion, sentence: str, source: str, place: tuple[int, int]) -> bool:
    marked = source == q.source and any(s < place[1] and place[0] < e for s, e in q.spans)
    return marked or any(text in sentence for text in q.answers)


def _scaled(scores: NDArray[np.float32]) -> NDArray[np.float32]:
    ordered = np.sort(scores, axis=1)
    low, high = ordered[:, -min(100, scores.shape[1])], ordered[:, -1]
    scaled: NDArray[np.float32] = np.clip((scores - low[:, None]) / (high - low + 1e-9)[:, None], 0, 1)
    return scaled


def _bm25(texts: Sequence[str], questions: Sequence[str]) -> NDArray[np.float32]:
    scores = np.zeros((len(questions), len(texts)), dtype=np.float32)
    with closing(sqlite3.connect(":memory:")) as db:
        db.execute(f"create virtual table f using fts5(text, tokenize='{TOKENIZER}')")
        db.executemany("insert into f (rowid, text) values (?, ?)", enumerate(texts))
        for row, question in enumerate(questions):
            wanted = [word for word in query_words(question) if word not in STOP_WORDS]
            if wanted:
                match = " or ".join(f'"{word}"' for word in wanted).replace(" or ", " OR ")
                for n, score in db.execute("select rowid, -bm25(f) from f where f match ?", (match,)):
                    scores[row, n] = score
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with squad/ and clapnq/")
    parser.add_argument("--limit", type=int, help="questions of each set")
    parser.add_argument("--write", action="store_true", help="keep the figures in benchmarks/results/answers.json")
    options = parser.parse_args()
    encoder = load_encoder()
    rows: dict[str, Any] = {}
    for data in sets(options.data):
        print(f"{time.strftime('%X')} {data.name}: {len(data.questions)} questions", flush=True)
        ours, each = evaluate_answers(data, encoder=encoder, limit=options.limit)
        rows[data.name] = {
            "footnote": {**ours, "max_error": max_errors(each), "strictness": strictness(each)},
            "plain": plain(data, [r.question for r in each], encoder),
        }
        print(json.dumps(rows[data.name], indent=1), flush=True)
    if options.write:
        written = {"date": date.today().isoformat(), "machine": machine(), "encoder": encoder.name, "sets": rows}
        RESULT.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
