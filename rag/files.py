"""Files as wholes: written at once or not at all, and their sizes."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def written_whole(file: Path) -> Iterator[Path]:
    """A path beside to write to; then it is synced and renamed. Who reads meets the old file or the new one.

    Of writers at once one wins.

    Raises:
        OSError: it cannot be written; nothing is left behind then.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        yield partial
        with partial.open("rb+") as out:
            os.fsync(out.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def write_whole(file: Path, *parts: bytes) -> None:
    """Write a file as `written_whole` does."""
    with written_whole(file) as partial, partial.open("wb") as out:
        out.writelines(parts)


def sizes_below(folder: Path) -> dict[str, int]:
    """The size in bytes of each file below a folder, by its path in it."""
    sizes = {}
    for file in sorted(folder.rglob("*")):
        with suppress(OSError):  # SQLite's own files come and go
            if file.is_file():
                sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    return sizes
