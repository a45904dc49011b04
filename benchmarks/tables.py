"""What was measured, as tables: pure arithmetic and Markdown, so that a test can check it on made-up results."""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from benchmarks.peers import BASELINE, SYSTEMS

Result = Mapping[str, Any]  # of one row, as it stands in benchmarks/results/<row>.json
Run = Mapping[str, float]
NOTHING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of a system: the median of its runs."""

    heading: str
    of: Callable[[Run], float]
    decimals: int = 2


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that is measured for every system."""

    name: str
    title: str
    columns: tuple[Column, ...]  # the first one is what the systems are compared by
    compared: Callable[[Run], float] | None = None  # lower is better; None where a ratio says nothing
    systems: Literal["all", "builders", "ours"] = "all"  # `builders` leaves out settings that open another's index


def key(name: str, scale: float = 1.0) -> Callable[[Run], float]:
    return lambda run: run[name] * scale


def chunks_per_second(run: Run) -> float:
    return run["chunks"] / run["wall_s"]


SECONDS = Column("seconds", key("wall_s"))
CPU = Column("CPU seconds", key("cpu_s"))
PEAK = Column("peak MB", key("peak_mb"), 0)
PER_QUERY = (
    Column("p50, ms", key("p50_ms"), 1),
    Column("p95, ms", key("p95_ms"), 1),
    Column("CPU, ms", key("cpu_s", 1000), 1),
    PEAK,
)

ROWS = {
    row.name: row
    for row in (
        Row("ingest", "Ingest", (Column("chunks/s", chunks_per_second, 1), CPU, PEAK), key("wall_s"), "builders"),
        Row(
            "encode",
            "The encoder alone",
            (Column("chunks/s", chunks_per_second, 1), CPU, PEAK),
            key("wall_s"),
            "builders",
        ),
        Row("cold", "One query in a new process", (SECONDS, CPU, PEAK), key("wall_s"), "builders"),
        Row("warm-small", "A warm query", PER_QUERY, key("p50_ms")),
        Row("warm-large", "A warm query in a larger index", PER_QUERY, key("p50_ms")),
        Row("import", "Imports of a script that searches", (SECONDS, CPU, PEAK), key("wall_s"), "builders"),
        Row("quality", "Retrieval quality", (Column("nDCG@10", key("ndcg@10"), 4),)),
        Row("help", "rag --help", (SECONDS, CPU, PEAK), systems="ours"),
        Row("unchanged", "rag ingest, nothing changed", (SECONDS, CPU, PEAK), systems="ours"),
        Row("ask-cold", "rag ask in a new process", (SECONDS, CPU, PEAK), systems="ours"),
        Row("ask", "A warm answer", PER_QUERY, systems="ours"),
    )
}


def runs(result: Result, system: str) -> list[Run]:
    return list(result["systems"].get(system, {}).get("runs", []))


def median(result: Result, system: str, of: Callable[[Run], float]) -> float | None:
    """None where the system has no run."""
    values = [of(run) for run in runs(result, system)]
    return statistics.median(values) if values else None


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times less than the baseline a system takes."""

    of_medians: float
    smallest: float  # of the repetitions, each against the baseline's run of the same round
    largest: float

    def __str__(self) -> str:
        if self.smallest == self.largest:
            return f"{self.of_medians:.2f}"
        return f"{self.of_medians:.2f} ({self.smallest:.2f} to {self.largest:.2f})"


def ratio(result: Result, system: str, of: Callable[[Run], float]) -> Ratio | None:
    """The baseline's figure over the system's; None unless both have a run of the same round."""
    mine, base = ({run["round"]: of(run) for run in runs(result, name)} for name in (system, BASELINE))
    both = sorted(mine.keys() & base.keys())
    if not both:
        return None
    each = [base[i] / mine[i] for i in both]
    of_medians = statistics.median(base[i] for i in both) / statistics.median(mine[i] for i in both)
    return Ratio(of_medians, min(each), max(each))


def number(value: float | None, decimals: int) -> str:
    return NOTHING if value is None else f"{value:,.{decimals}f}"


def row_table(result: Result, quality: Result | None = None) -> str:
    """One measured row as a table of systems; their retrieval quality stands beside it."""
    row = ROWS[result["row"]]
    ndcg = ROWS["quality"].columns[0]
    beside = quality is not None and row.systems != "ours" and row.name not in {"quality", "import"}
    head = ["", *(column.heading for column in row.columns)]
    if row.compared:
        head.insert(2, "times as fast as the baseline")
    if beside:
        head.append(ndcg.heading)
    lines = [head, ["---"] * len(head)]
    for name, system in SYSTEMS.items():
        if name not in result["systems"]:
            continue
        cells = [number(median(result, name, column.of), column.decimals) for column in row.columns]
        if row.compared:
            found = ratio(result, name, row.compared)
            cells.insert(1, NOTHING if found is None else "1" if name == BASELINE else str(found))
        if beside and quality is not None:
            cells.append(number(median(quality, name, ndcg.of), ndcg.decimals))
        lines.append([f"**{system.title}**" if name == "footnote" else system.title, *cells])
    table = "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)
    return f"{table}\n\n{caption(result)}"


def caption(result: Result) -> str:
    """Of what, how often, where and when; and what went wrong."""
    rounds = max((len(runs(result, name)) for name in result["systems"]), default=0)
    machine = result["machine"]
    said = [result["text"], f"{rounds} {'round' if rounds == 1 else 'rounds'}"]
    said += [f"{machine['cpu']}, {machine['cores']} cores", result["date"]]
    errors = [
        f" {SYSTEMS[name].title} failed: {measured['error']}."
        for name, measured in result["systems"].items()
        if measured.get("error")
    ]
    return "; ".join(part for part in said if part) + "." + "".join(errors)


# The few systems and figures of the README
SHOWN = ("footnote", BASELINE, "txtai-hybrid", "langchain", "llamaindex", "chroma", "haystack")


def summary_table(results: Mapping[str, Result]) -> str:
    """A line a row, a column a system: medians, those of systems that were not measured left open."""
    shown = [name for name in SHOWN if any(runs(result, name) for result in results.values())]
    lines = [["", *(SYSTEMS[name].title for name in shown)], ["---"] * (len(shown) + 1)]

    def line(title: str, row: str, *columns: int, unit: str = "") -> None:
        if row not in results:
            return
        result, cells = results[row], []
        for name in shown:
            found = [
                number(median(result, name, column.of), column.decimals)
                for column in (ROWS[row].columns[i] for i in columns)
            ]
            cells.append(NOTHING if found[0] == NOTHING else found[0] + (f" ({found[1]}{unit})" if found[1:] else ""))
        lines.append(
            [title.format(n=f"{n_chunks(result):,}"), *(["**" + cells[0] + "**"] if cells else []), *cells[1:]]
        )

    line("ingest, chunks a second", "ingest", 0)
    line("a query in a new process, s (peak memory)", "cold", 0, 2, unit=" MB")
    line("a warm query, {n} chunks, p50 ms", "warm-small", 0)
    line("a warm query, {n} chunks, p50 ms", "warm-large", 0)
    line("imports, s", "import", 0)
    line("nDCG@10, SciFact", "quality", 0)
    return "\n".join(f"| {' | '.join(cells)} |".replace("|  |", "| |") for cells in lines)


def n_chunks(result: Result) -> int:
    return int(result.get("chunks", 0))


def between_markers(page: str, name: str, content: str) -> str:
    """The page with what stands between `<!-- name:begin -->` and `<!-- name:end -->` replaced.

    A page without these markers stays as it is.
    """
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{content}\n{end}", page)


def publish(results: Mapping[str, Result], page: str) -> str:
    """A page with all its marked tables brought up to date."""
    for name, result in results.items():
        if name in ROWS:
            page = between_markers(page, f"row {name}", row_table(result, results.get("quality")))
    rows = {name: result for name, result in results.items() if name in ROWS}
    return between_markers(page, "benchmarks", summary_table(rows)) if rows else page
