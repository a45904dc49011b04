"""Fits the logistic regression that tells supported sentences from others, and prints how many faults it catches.

    python -m benchmarks.fit_support ../shared/data [--write]

Fitted on: the gold sentences of CLAPNQ's answerable dev questions with int(sha256(id), 16) % 2 == 0, and the faults
that benchmarks/planted.py plants in them. Each is held against the eight passages that its question finds among all of
CLAPNQ's. Figures are of five-fold cross-validation over questions, and, with --rest, of the other half, which nothing
is fitted or chosen on.

The bias is set so that one in twenty of the good sentences falls below one half; a number or name that no passage holds
costs a few more.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sklearn.linear_model import LogisticRegression

from benchmarks.planted import Claim, plant
from benchmarks.questions import Part, of_hash
from rag.encoders import TokenEncoder, load_encoder
from rag.index import Index
from rag.pipeline import DEFAULT_PASSAGES
from rag.retriever import Retriever
from rag.support import FEATURES, Support, SupportChecker

OUTPUT = Path(__file__).resolve().parent.parent / "rag" / "support.json"
LOST = 1 / 20  # of the good ones


@dataclass(frozen=True, slots=True)
class Checked:
    claim: Claim
    support: Support

    @property
    def is_good(self) -> bool:
        return self.claim.fault is None


def checked(data: Path, *, part: Part) -> list[Checked]:
    """What is measured of each claim of one part."""
    planted = plant(data, part=part)
    encoder = load_encoder()
    assert isinstance(encoder, TokenEncoder)
    found = []
    with tempfile.TemporaryDirectory() as folder, Index.create(Path(folder) / "index", encoder=encoder) as index:
        index.add(planted.documents)
        retriever = Retriever(index)
        checker = SupportChecker(encoder, index, weights=(0.0,) * (1 + len(FEATURES)))
        for question in dict.fromkeys(claim.question for claim in planted.claims):
            claims = [claim for claim in planted.claims if claim.question == question]
            hits = retriever.search(question, k=DEFAULT_PASSAGES)
            if any(hit.chunk.doc_id == claims[0].source for hit in hits):
                support = checker.check([claim.text for claim in claims], hits)
                found += [Checked(claim, of_claim) for claim, of_claim in zip(claims, support, strict=True)]
    return found


def fit(train: Sequence[Checked]) -> tuple[float, ...]:
    """Bias and weights, good and bad weighing the same; the bias so that few of the good ones are lost."""
    x = np.array([c.support.features for c in train])
    y = np.array([c.is_good for c in train])
    model = LogisticRegression(C=10, max_iter=3000, class_weight="balanced").fit(x, y)
    weights = model.coef_[0]
    kept = np.quantile(
        [w for w, c in zip(x @ weights, train, strict=True) if c.is_good and not c.support.nowhere], LOST
    )
    return (-float(kept), *map(float, weights))


def passes(weights: Sequence[float], c: Checked) -> bool:
    """Whether it is shown: supported, and without a number or name that no passage holds."""
    return weights[0] + float(np.dot(weights[1:], c.support.features)) >= 0 and not c.support.nowhere


def shares(passed: Sequence[tuple[Checked, bool]]) -> dict[str, object]:
    """What is lost of the good, and caught of the bad, by kind."""
    kinds = sorted({c.claim.fault for c, _ in passed if c.claim.fault})
    caught = {kind: [not ok for c, ok in passed if c.claim.fault == kind] for kind in kinds}
    return {
        "good": sum(c.is_good for c, _ in passed),
        "lost": round(float(np.mean([not ok for c, ok in passed if c.is_good])), 4),
        "bad": sum(not c.is_good for c, _ in passed),
        "caught": round(float(np.mean([not ok for c, ok in passed if not c.is_good])), 4),
        **{kind: round(float(np.mean(of)), 4) for kind, of in caught.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("data", type=Path, help="folder with clapnq/")
    parser.add_argument("--rest", action="store_true", help="report on the other half, too")
    parser.add_argument("--write", action="store_true", help="replace rag/support.json")
    options = parser.parse_args()
    train = checked(options.data, part="fit")
    folds = [of_hash(c.claim.question) // 2 % 5 for c in train]
    passed = []
    for fold in range(5):
        weights = fit([c for c, f in zip(train, folds, strict=True) if f != fold])
        passed += [(c, passes(weights, c)) for c, f in zip(train, folds, strict=True) if f == fold]
    weights = fit(train)
    written = {
        "fitted_by": "python -m benchmarks.fit_support DATA --write",
        "cross_validated": shares(passed),
        "support": {name: round(w, 4) for name, w in zip(("bias", *FEATURES), weights, strict=True)},
    }
    print(json.dumps(written, indent=2))
    if options.rest:
        rest = [(c, passes(weights, c)) for c in checked(options.data, part="rest")]
        print(json.dumps({"rest": shares(rest)}, indent=2))
    if options.write:
        OUTPUT.write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    for c, ok in passed:
        if ok != c.is_good:
            print(c.claim.fault, "passed" if ok else "lost", c.support.nowhere, c.claim.text, file=sys.stderr)


if __name__ == "__main__":
    main()
