"""What chance could have done: the interval of a mean over queries, and two systems on the same queries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Interval = tuple[float, float]

_RESAMPLES = 9_999
_SEED = 0  # the same values always give the same interval
_CELLS = 2_000_000  # resampled values in memory at once
_EQUAL = 1e-9  # of two measures; what lies below is how they were added up


def mean_interval(values: Sequence[float]) -> Interval | None:
    """95 % percentile bootstrap interval of the mean; None below two values, which say nothing of how others would be.

    Efron and Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.
    """
    if len(values) < 2:
        return None
    from scipy.stats import bootstrap

    sample = np.asarray(values, dtype=np.float64)
    found = bootstrap(
        (sample,), np.mean, method="percentile", n_resamples=_RESAMPLES, batch=_batch(sample), rng=_generator()
    ).confidence_interval
    return float(found.low), float(found.high)


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a second system did against a first one on the same queries; above 0, and better, is for the second."""

    difference: float  # of the means
    interval: Interval | None  # 95 %, of the difference; None below two queries
    p: float  # two-sided: how often at least this difference comes out where it is chance which system is which
    better: int  # queries
    worse: int
    same: int


def compare_pairs(first: Sequence[float], second: Sequence[float]) -> Comparison:
    """Paired bootstrap interval and paired randomisation test of the difference of two means.

    The test that Smucker, Allan and Carterette (2007), doi:10.1145/1321440.1321528, recommend for retrieval: all
    exchanges of the two systems' values where there are few queries, 9,999 random ones else.

    Args:
        first: one value a query, at least one.
        second: values of the same queries in the same order.
    """
    differences = np.asarray(second, dtype=np.float64) - np.asarray(first, dtype=np.float64)
    differences[np.abs(differences) < _EQUAL] = 0.0
    better, worse = int(np.sum(differences > 0)), int(np.sum(differences < 0))
    return Comparison(
        difference=float(np.mean(differences)),
        interval=mean_interval(differences.tolist()),
        p=_randomisation_p(differences.tolist()),
        better=better,
        worse=worse,
        same=len(differences) - better - worse,
    )


def _randomisation_p(differences: Sequence[float]) -> float:
    """Exchanging the two systems' values of a query is changing the sign of its difference."""
    if len(differences) < 2:
        return 1.0  # two signs, and each is as far from 0
    from scipy.stats import permutation_test

    sample = np.asarray(differences, dtype=np.float64)
    found = permutation_test(
        (sample,),
        np.mean,
        permutation_type="samples",
        n_resamples=_RESAMPLES,
        vectorized=True,
        batch=_batch(sample),
        rng=_generator(),
    )
    return float(found.pvalue)


def _batch(sample: np.ndarray) -> int:
    return max(1, _CELLS // len(sample))


def _generator() -> np.random.Generator:
    return np.random.default_rng(_SEED)
