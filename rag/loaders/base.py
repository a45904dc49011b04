"""What every loader shares: its limits, what it returns, and the outline that headings build."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import BinaryIO

from rag.errors import LoadError
from rag.types import Document, Section

MEGABYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How large a file may be before it is set aside."""

    max_file_mb: float = 32  # text, source code, CSV, e-mail, HTML, Markdown, JSONL
    max_document_mb: float = 512  # PDF and DOCX, whose size is mostly pictures
    max_characters: int = 32_000_000  # of text out of one PDF, DOCX or CSV file


@dataclass(frozen=True, slots=True)
class Loaded:
    """What one file holds: usually one document, several for JSONL."""

    documents: tuple[Document, ...]
    notes: tuple[str, ...] = ()  # what a person should know though the file was read, as 'page 2 has no text layer'


@dataclass(slots=True)
class Outline:
    """Turns headings, met in order, into sections whose path names the headings above each."""

    sections: list[Section] = field(default_factory=list)
    _open: list[tuple[int, str]] = field(default_factory=list)  # (level, title) from the outermost heading inwards

    def add(self, level: int, title: str, *, start: int, body: int) -> None:
        """A heading of `level` (1: outermost) that stands at [start, body) of the text; a blank one does not count."""
        if not (title := one_line(title)):
            return
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, title))
        self.sections.append(Section(start, body, " > ".join(title for _, title in self._open)))


_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def storable(text: str) -> str:
    """`text` with NULs and lone surrogates, which SQLite cannot keep, as U+FFFD: the same length, so offsets hold."""
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def one_line(text: str) -> str:
    """`text` with each run of white space as one space, as titles are shown."""
    return " ".join(text.split())


def read_up_to(file: BinaryIO, limit_mb: float) -> bytes:
    """The whole file, or a `LoadError` if it holds more than `limit_mb`."""
    data = file.read(int(limit_mb * MEGABYTE) + 1)
    if len(data) > limit_mb * MEGABYTE:
        file.seek(0, 2)
        raise LoadError(
            f"is {file.tell() / MEGABYTE:.1f} MB of text; the limit is {limit_mb:g} MB a file: "
            "split it, or raise --max-file-mb"
        )
    return data


def check_characters(n_characters: int, limits: Limits) -> None:
    """Raise a `LoadError` if more text came out of a file than an index should take from one."""
    if n_characters > limits.max_characters:
        raise LoadError(f"holds more than {limits.max_characters / 1e6:g} million characters of text: split it")


def list_numbers(noun: str, numbers: list[int], *, at_most: int = 20) -> str:
    """Numbers with runs joined, as 'page 2' or 'pages 3-7, 9 and 12', and a count of those past `at_most` runs."""
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][-1] + 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    shown = ["-".join(map(str, run)) for run in runs[:at_most]]
    if len(runs) > at_most:
        shown.append(f"{len(runs) - at_most} more places")
    words = " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)
    return f"{noun}{'' if len(numbers) == 1 else 's'} {words}"
