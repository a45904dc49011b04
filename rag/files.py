"""Writes a file whole or not at all."""

from __future__ import annotations

import os
import threading
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
