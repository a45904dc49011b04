"""What judgements say of a run: its measures with their intervals, and two runs compared query by query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rag.beir import Qrels, Run, ranking
from rag.errors import EvaluationError, UsageError
from rag.significance import Comparison, Interval, compare_pairs, mean_interval
from rag.types import JsonValue

# Our name of each measure, and that of ir_measures.
MEASURES = {
    "ndcg@10": "nDCG@10",
    "recall@100": "R@100",
    "rr@10": "RR@10",
    "success@1": "Success@1",
    "success@5": "Success@5",
    "recall@10": "R@10",
    "map": "AP",
}


@dataclass(frozen=True, slots=True)
class Measured:
    """One run under the measures of `MEASURES`, over all judged queries."""

    means: Mapping[str, float]
    intervals: Mapping[str, Interval | None]  # 95 %, of the mean over queries; None where one query is judged
    values: Mapping[str, Mapping[str, float]]  # measure → query id → value
    without_hits: int  # judged queries for which the run holds nothing: each counts 0
    not_judged: int  # queries of the run that are left out


def measure(run: Run, qrels: Qrels) -> dict[str, float]:
    """The mean of each measure over all judged queries, to four digits; one without hits counts 0."""
    return {name: round(_mean(values), 4) for name, values in measure_queries(run, qrels).items()}


def measure_run(run: Run, qrels: Qrels) -> Measured:
    """Means, intervals and the values of every judged query.

    Raises:
        EvaluationError: no query of the run is judged.
    """
    if not run.keys() & qrels.keys():
        raise EvaluationError(
            f"no query of the run is judged: it holds queries such as {next(iter(run), None)!r}, the judgements such"
            f" as {next(iter(qrels), None)!r}: check that both belong together"
        )
    values = measure_queries(run, qrels)
    return Measured(
        means={name: _mean(of) for name, of in values.items()},
        intervals={name: mean_interval(list(of.values())) for name, of in values.items()},
        values=values,
        without_hits=sum(not run.get(query_id) for query_id in qrels),
        not_judged=sum(query_id not in qrels for query_id in run),
    )


def measure_queries(run: Run, qrels: Qrels) -> dict[str, dict[str, float]]:
    """Measure → judged query id → value, all by ir_measures.

    Its providers order equal scores in different ways, and one of them compares 32 bits of a score: each gets the order
    of `ranking` in place of the scores, so that all measure the ranking that is written and shown.

    Raises:
        EvaluationError: nothing is judged.
    """
    if not qrels:
        raise EvaluationError("expected judgements of at least one query, got none")
    import ir_measures

    ordered = {
        query_id: {doc_id: float(-rank) for rank, doc_id in enumerate(ranking(run.get(query_id, {})), start=1)}
        for query_id in qrels
    }
    names = {ir_measures.parse_measure(theirs): ours for ours, theirs in MEASURES.items()}
    values = {name: dict.fromkeys(qrels, 0.0) for name in MEASURES}
    for found in ir_measures.iter_calc(list(names), {q: dict(judged) for q, judged in qrels.items()}, ordered):
        values[names[found.measure]][found.query_id] = float(found.value)
    return values


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document of a run, and what the judgements say of it."""

    doc_id: str
    relevance: int  # 0 where it was not judged


@dataclass(frozen=True, slots=True)
class ChangedQuery:
    """One query that two runs do not answer equally well."""

    query_id: str
    a: float
    b: float
    hits_a: tuple[RankedDocument, ...]  # the first of run A, best first
    hits_b: tuple[RankedDocument, ...]


@dataclass(frozen=True, slots=True)
class RunsCompared:
    """Two runs on the same judged queries; better and worse say how B did against A."""

    a: Measured
    b: Measured
    comparison: Comparison
    worse: tuple[ChangedQuery, ...]  # the worst first
    better: tuple[ChangedQuery, ...]  # what gained most first


def compare_runs(a: Run, b: Run, qrels: Qrels, *, measure: str = "ndcg@10", k: int = 5) -> RunsCompared:
    """Hold run B against run A.

    Args:
        a: the run that was there.
        b: the run that may be better.
        qrels: the judgements; a query that a run lacks counts 0 in it.
        measure: the one by which queries are better or worse, of `MEASURES`.
        k: how many documents of each run a changed query shows.

    Raises:
        UsageError: an unknown measure.
        EvaluationError: no query of one of the runs is judged.
    """
    if measure not in MEASURES:
        raise UsageError(f"expected a measure of {', '.join(MEASURES)}, got {measure!r}")
    measured_a, measured_b = measure_run(a, qrels), measure_run(b, qrels)
    values_a, values_b = measured_a.values[measure], measured_b.values[measure]
    comparison = compare_pairs(list(values_a.values()), [values_b[query_id] for query_id in values_a])
    changed = sorted(values_a, key=lambda query_id: (values_b[query_id] - values_a[query_id], query_id))

    def shown(run: Run, query_id: str) -> tuple[RankedDocument, ...]:
        best = ranking(run.get(query_id, {}))[:k]
        return tuple(RankedDocument(doc_id, qrels[query_id].get(doc_id, 0)) for doc_id in best)

    def details(query_ids: Sequence[str]) -> tuple[ChangedQuery, ...]:
        return tuple(ChangedQuery(q, values_a[q], values_b[q], shown(a, q), shown(b, q)) for q in query_ids)

    return RunsCompared(
        measured_a,
        measured_b,
        comparison,
        worse=details(changed[: comparison.worse]),
        better=details(changed[len(changed) - comparison.better :][::-1]),
    )


def measured_json(measured: Measured) -> dict[str, JsonValue]:
    """The means, with their intervals below 'intervals', as every `rag evaluate ... --json` prints them."""
    means: dict[str, JsonValue] = {name: round(mean, 4) for name, mean in measured.means.items()}
    intervals = {name: interval_json(found) for name, found in measured.intervals.items()}
    return {**means, "intervals": intervals, "without_hits": measured.without_hits}


def comparison_json(comparison: Comparison) -> dict[str, JsonValue]:
    """A comparison as `rag evaluate retrieval --json` and `rag evaluate compare --json` print it."""
    return {
        "better": comparison.better,
        "worse": comparison.worse,
        "same": comparison.same,
        "difference": round(comparison.difference, 4),
        "interval": interval_json(comparison.interval),
        "p": round(comparison.p, 4),
    }


def interval_json(interval: Interval | None) -> JsonValue:
    return None if interval is None else [round(end, 4) for end in interval]


def _mean(values: Mapping[str, float]) -> float:
    return sum(values.values()) / len(values)
