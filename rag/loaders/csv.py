"""Reads CSV and TSV: each row becomes one paragraph, 'column: value; column: value'."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain, islice
from statistics import median
from typing import BinaryIO, NamedTuple

from rag.loaders.base import Limits, Loaded, check_characters, one_line, read_up_to
from rag.loaders.text import decode
from rag.types import Document

_NUMBER = re.compile(r"[\s\d.,:%/+-]*")


class _Row(NamedTuple):
    cells: list[str]
    first_line: int
    end_line: int  # the line after the row, counted from 0


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    decoded = decode(read_up_to(file, limits.max_file_mb))
    lines = decoded.text.split("\n")
    csv.field_size_limit(2**31 - 1)  # the file's own size is limited already
    delimiter = _delimiter(lines)
    notes = list(decoded.notes)
    paragraphs: list[str] = []
    n_characters = 0
    rows = _rows(lines, delimiter, notes)
    header = next(rows, None)
    second = next(rows, None)
    columns = _columns(header) if header and second else None
    if columns is None and header:
        paragraphs.append(" | ".join(filter(None, header)))
    for row in chain([second] if second else [], rows):
        paragraphs.append(_paragraph(row, columns))
        n_characters += len(paragraphs[-1])
        check_characters(n_characters, limits)
    return Loaded((Document(source, "\n\n".join(filter(None, paragraphs))),), tuple(notes))


def _delimiter(lines: list[str]) -> str:
    """The separator that cuts the first rows most evenly into the most cells; a comma if none cuts them."""

    def evenness(delimiter: str) -> float:
        rows = [row for row in islice(csv.reader(_ended(lines[:50]), delimiter=delimiter), 50) if row]
        widths = [len(row) for row in rows] or [1]
        middle = median(widths)
        return sum(width == middle for width in widths) / len(widths) * min(middle - 1, 10)

    return max(",\t;|", key=evenness)


def _rows(lines: list[str], delimiter: str, notes: list[str]) -> Iterator[list[str]]:
    """Rows with some text in them; where a quote is never closed, the lines from it on are read one by one."""
    reader = csv.reader(_ended(lines), delimiter=delimiter)
    first_line = 0
    for cells in reader:
        if (
            reader.line_num >= len(lines)
            and reader.line_num - first_line > 1
            and _is_open(lines[first_line:], delimiter)
        ):
            notes.append(f"the quote in line {first_line + 1} is never closed; from there on each line is one row")
            plain = csv.reader(_ended(lines[first_line:]), delimiter=delimiter, quoting=csv.QUOTE_NONE)
            yield from (cells for row in plain if any(cells := [one_line(cell) for cell in row]))
            return
        first_line = reader.line_num
        if any(cleaned := [one_line(cell) for cell in cells]):
            yield cleaned


def _is_open(lines: list[str], delimiter: str) -> bool:
    """Whether these lines, all of one row, end inside of a quoted field."""
    try:
        list(csv.reader(_ended(lines), delimiter=delimiter, strict=True))
    except csv.Error as exc:
        return "unexpected end of data" in str(exc)
    return False


def _ended(lines: list[str]) -> Iterator[str]:
    return (line + "\n" for line in lines)


def _columns(header: list[str]) -> list[str] | None:
    """The names of the columns, if the first row can be that: words, all different."""
    named = all(cell and not _NUMBER.fullmatch(cell) for cell in header)
    return header if named and len(set(header)) == len(header) else None


def _paragraph(row: list[str], columns: list[str] | None) -> str:
    if columns is None:
        return " | ".join(filter(None, row))
    named = [f"{column}: {cell}" for column, cell in zip(columns, row, strict=False) if cell]
    return "; ".join(named + [cell for cell in row[len(columns) :] if cell])
