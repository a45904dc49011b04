"""Where a long run stands."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Given to the caller's function after each file and each batch."""

    files_done: int
    files_total: int
    chunks: int  # of the files read so far
    current: str  # the file at hand
