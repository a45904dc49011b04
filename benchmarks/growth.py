"""Draws what grows with an index as an SVG: time and memory against the number of chunks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 350
TOP, BOTTOM, LEFT, GAP = 64, 262, 52, 64  # of the panels
INK, FAINT, LINE = "#1f2937", "#6b7280", "#e5e7eb"
# The rows of benchmarks/results/scale.json that are drawn, what they are called, and in which colour
SERIES = (
    ("a search in a new process", "rag search, a new process", "#2563eb"),
    ("one more document", "rag ingest, one more document", "#d97706"),
    ("nothing changed", "rag ingest, nothing changed", "#059669"),
    ("a warm search", "a warm search", "#9333ea"),
)


@dataclass(frozen=True, slots=True)
class Panel:
    """One diagram: a figure of each row that has it."""

    title: str
    key: str
    rows: tuple[str, ...]


WHOLE = ("a search in a new process", "one more document", "nothing changed")
PANELS = (
    Panel("Whole process, seconds", "seconds", WHOLE),
    Panel("Peak memory, MB", "peak_mb", (*WHOLE, "a warm search")),
    Panel("A warm search, p95 in ms", "p95_ms", ("a warm search",)),
)


def growth_svg(result: Mapping[str, Any]) -> str:
    """The picture of a result of `benchmarks.scale`; sizes below 100 chunks and diagrams of nothing are left out."""
    sizes = sorted((size for size in result["sizes"] if size["chunks"] >= 100), key=lambda size: int(size["chunks"]))
    if not any(row in size["rows"] for size in sizes for row, _, _ in SERIES):
        raise ValueError("expected measured sizes of 100 chunks or more: run python -m benchmarks.scale")
    panels = [panel for panel in PANELS if any(_points(sizes, row, panel.key) for row in panel.rows)]
    width = (WIDTH - LEFT - 24 - GAP * (len(panels) - 1)) / len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        ' font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img"'
        ' aria-label="Time and memory against the number of chunks">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" rx="10" fill="#ffffff"/>',
    ]
    for i, panel in enumerate(panels):
        parts += _panel(panel, sizes, left=LEFT + i * (width + GAP), width=width)
    parts += _legend(sizes)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _panel(panel: Panel, sizes: Sequence[Mapping[str, Any]], *, left: float, width: float) -> list[str]:
    lowest, highest = (math.log10(sizes[i]["chunks"]) for i in (0, -1))
    series = {row: points for row in panel.rows if (points := _points(sizes, row, panel.key))}
    ticks = nice_ticks(max((value for points in series.values() for _, value in points), default=1.0))

    def x(chunks: float) -> float:
        return left + width * ((math.log10(chunks) - lowest) / (highest - lowest) if highest > lowest else 0.5)

    def y(value: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * value / ticks[-1]

    parts = [_text(left - 42, TOP - 26, panel.title, size=14, fill=INK, weight=600)]
    for tick in ticks:
        parts.append(_line(left, y(tick), left + width, y(tick), FAINT if tick == 0 else LINE))
        parts.append(_text(left - 8, y(tick) + 4, f"{tick:,g}", anchor="end"))
    parts += [_text(x(size["chunks"]), BOTTOM + 18, short(size["chunks"]), anchor="middle") for size in sizes]
    parts.append(_text(left + width / 2, BOTTOM + 36, "chunks", anchor="middle"))
    for row, _, colour in SERIES:
        if row in series:
            places = [(x(chunks), y(value)) for chunks, value in series[row]]
            path = " ".join(f"{px:.1f},{py:.1f}" for px, py in places)
            parts.append(
                f'<polyline data-row="{escape(row)}" points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"'
                ' stroke-linejoin="round" stroke-linecap="round"/>'
            )
            parts += [
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="3.5" fill="{colour}" stroke="#ffffff" stroke-width="1.5"/>'
                for px, py in places
            ]
    return parts


def _points(sizes: Sequence[Mapping[str, Any]], row: str, key: str) -> list[tuple[float, float]]:
    return [(size["chunks"], size["rows"][row][key]) for size in sizes if key in size["rows"].get(row, {})]


def _legend(sizes: Sequence[Mapping[str, Any]]) -> list[str]:
    parts, left = [], float(LEFT - 42)
    for row, label, colour in SERIES:
        if any(row in size["rows"] for size in sizes):
            parts.append(f'<circle cx="{left + 5:.1f}" cy="{HEIGHT - 24}" r="5" fill="{colour}"/>')
            parts.append(_text(left + 16, HEIGHT - 19.5, label, size=13, fill=INK))
            left += 46 + 6.9 * len(label)
    return parts


def nice_ticks(largest: float) -> list[float]:
    """From 0 to at least `largest`, in three to six steps of 1, 2 or 5 times a power of ten."""
    if largest <= 0:
        return [0.0, 1.0]
    power = 10.0 ** math.floor(math.log10(largest / 3))
    step = next(power * of for of in (1, 2, 5, 10) if largest / (power * of) <= 6)
    return [round(step * i, 10) for i in range(math.ceil(largest / step - 1e-9) + 1)]


def short(chunks: int) -> str:
    """1 k, 100 k, 1 M."""
    if chunks >= 1_000_000:
        return f"{chunks / 1e6:.3g} M"
    return f"{chunks / 1000:.3g} k" if chunks >= 1000 else str(chunks)


def _text(
    x: float, y: float, text: str, *, size: int = 12, fill: str = FAINT, anchor: str = "", weight: int = 0
) -> str:
    more = (f' text-anchor="{anchor}"' if anchor else "") + (f' font-weight="{weight}"' if weight else "")
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}"{more}>{escape(text)}</text>'


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}"/>'
