"""Files as wholes: written at once or not at all, and their sizes."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path


def write_whole(file: Path, *parts: bytes) -> None:
    """Write beside, sync and rename: whoever reads meets the old file or the new one, and of writers at once one wins.

    Raises:
        OSError: it cannot be written; nothing is left behind then.
    """
    partial = file.with_name(f"{file.name}.{os.getpid()}-{threading.get_ident()}.partial")
    try:
        with partial.open("wb") as out:
            out.writelines(parts)
            out.flush()
            os.fsync(out.fileno())
        os.replace(partial, file)
    finally:
        partial.unlink(missing_ok=True)


def sizes_below(folder: Path) -> dict[str, int]:
    """The size in bytes of each file below a folder, by its path in it."""
    sizes = {}
    for file in sorted(folder.rglob("*")):
        with suppress(OSError):  # SQLite's own files come and go
            if file.is_file():
                sizes[file.relative_to(folder).as_posix()] = file.stat().st_size
    return sizes
