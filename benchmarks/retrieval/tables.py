"""What was measured, as the tables of docs/retrieval.md: Markdown alone, so that a test can check made-up results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.retrieval.methods import METHODS
from benchmarks.tables import NOTHING, between_markers

Result = Mapping[str, Any]  # as it stands in benchmarks/results/retrieval.json
BASE = "base"  # what wrong turns are held against
LEARNED = "learned"
MODES = {"hybrid": "**hybrid**", "fused": "hybrid, `late=False`", "dense": "dense", "bm25": "bm25"}
ROWS = {
    **MODES,
    **{method.name: method.title for method in METHODS.values()},
    LEARNED: "weights learned on the tuning sets",
}
_SHOWN = ("dense", "bm25", "hybrid")  # with their intervals
_PARTS = [method.name for method in METHODS.values() if not method.is_wrong_turn]
_WRONG_TURNS = [BASE, *(method.name for method in METHODS.values() if method.is_wrong_turn), LEARNED]


def publish(result: Result, page: str) -> str:
    """A page with its marked tables brought up to date."""
    tables = {
        "retrieval": ranking_table(result, [*MODES, *_PARTS]),
        "retrieval wrong turns": ranking_table(result, _WRONG_TURNS, against=BASE),
        "retrieval modes": mode_table(result),
    }
    for name, table in tables.items():
        page = between_markers(page, name, f"{table}\n\n{caption(result)}")
    return page


def ranking_table(result: Result, rows: Sequence[str], *, against: str | None = None) -> str:
    """nDCG@10: a line a row, a column a set, and the means over the sets nothing was chosen on and over the others.

    Args:
        result: of all sets; a row that was not measured is left out.
        rows: their names, in order.
        against: a row from whose means those of the others are taken, instead of the means themselves.
    """
    sets: Mapping[str, Any] = result["sets"]
    last = "mean" if against is None else "mean difference"
    lines = [["", *(heading(name, of_set) for name, of_set in sets.items()), last, f"*{last}*"]]
    for row in rows:
        found = [ndcg(of_set, row) for of_set in sets.values()]
        if any(value is not None for value in found):
            means = [_mean(sets, row, is_tuning=is_tuning) for is_tuning in (False, True)]
            cells = [_number(mean) for mean in means]
            if against is not None and row != against:
                of_base = [_mean(sets, against, is_tuning=is_tuning) for is_tuning in (False, True)]
                cells = [_difference(mean, base) for mean, base in zip(means, of_base, strict=True)]
            lines.append([ROWS[row], *map(_number, found), *cells])
    return markdown(lines)


def mode_table(result: Result) -> str:
    """A line a set: nDCG@10 with its interval and recall@100 of each mode, hybrid against the better side, and ms."""
    measures = [f"{mode}: {what}" for mode in _SHOWN for what in ("nDCG@10 [95 %]", "recall@100")]
    lines = [["", "queries", *measures, "hybrid against the better side", f"ms: {', '.join(_SHOWN)}"]]
    for name, of_set in result["sets"].items():
        rows = of_set["rows"]
        cells = [heading(name, of_set), f"{of_set['queries']:,}"]
        for mode in _SHOWN:
            row = rows.get(mode)
            cells += [_with_interval(row), _number(row["recall@100"])] if row else [NOTHING] * 2
        against = rows.get("hybrid", {}).get("against")
        cells.append(_compared(against) if against else NOTHING)
        cells.append(", ".join(f"{rows[mode]['p50_ms']:.1f}" if mode in rows else NOTHING for mode in _SHOWN))
        lines.append(cells)
    return markdown(lines)


def _compared(against: Mapping[str, Any]) -> str:
    """By how much hybrid is ahead of the better side, how likely chance does as much, and on how many queries."""
    p = f"p {against['p']:.3f}" if against["p"] >= 0.001 else "p < 0.001"
    return (
        f"{against['difference']:+.3f} ({against['side']}), {p}; {against['better']} better, {against['worse']} worse"
    )


def heading(name: str, of_set: Mapping[str, Any]) -> str:
    """A set's name; in italics where choices were made on it."""
    return f"*{name}*" if of_set["is_tuning"] else name


def ndcg(of_set: Mapping[str, Any], row: str) -> float | None:
    found = of_set["rows"].get(row)
    return None if found is None else float(found["ndcg@10"])


def caption(result: Result) -> str:
    """Where and when, and with which encoder."""
    on = result["machine"]
    return f"{result['encoder']}; {on['cpu']}, {on['cores']} cores; {result['date']}."


def markdown(lines: Sequence[Sequence[str]]) -> str:
    """The first of the lines is the head."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in ruled)


def _mean(sets: Mapping[str, Any], row: str, *, is_tuning: bool) -> float | None:
    """Over the sets of one kind; None where one of them lacks the row, or there is none."""
    found = [ndcg(of_set, row) for of_set in sets.values() if of_set["is_tuning"] == is_tuning]
    known = [value for value in found if value is not None]
    return sum(known) / len(known) if known and len(known) == len(found) else None


def _difference(mean: float | None, base: float | None) -> str:
    return NOTHING if mean is None or base is None else f"{mean - base:+.3f}"


def _with_interval(row: Mapping[str, Any]) -> str:
    low, high = row["intervals"]["ndcg@10"] or (None, None)
    return f"{_number(row['ndcg@10'])} [{_number(low)}, {_number(high)}]"


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}"
