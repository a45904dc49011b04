"""Where a long run stands, and how it is left."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """Given to the caller's function after each file and each batch."""

    files_done: int
    files_total: int
    chunks: int  # of the files read so far
    current: str  # the file at hand; '' once all are read
    bytes_done: int = 0  # of the files that are new or changed: read and embedded, by which the time left is told
    bytes_total: int = 0


class Stopped(Exception):  # noqa: N818 - no error
    """Leaves a long run between two batches, because its caller asked for that."""
