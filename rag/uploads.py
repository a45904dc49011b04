"""Files that were handed over instead of named: copies in the index's own folder, under names that we choose."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePath

# Their folder in that of the index, and the root that the index tells them from. All other roots are absolute paths;
# this one is not, so an index takes its copies along wherever it is moved, and no folder's sync ever looks at them.
UPLOADS = "files"

_SUFFIX = re.compile(r"\.[a-z0-9]{1,16}")


def kept_at(index: Path, name: str) -> Path:
    """Where the copy of an upload is: its name is only hashed, so none leads out of the folder or to another's copy.

    Args:
        index: folder of the index.
        name: what its user calls the file; the suffix, by which files are read, is all that stays of it.
    """
    suffix = PurePath(name).suffix.lower()
    known = suffix if not suffix or _SUFFIX.fullmatch(suffix) else ".unknown"
    return index / UPLOADS / (hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:40] + known)


def file_path(index: Path, root: str, relpath: str) -> Path:
    """Where a file is that the index tells by its root and relative path."""
    return kept_at(index, relpath) if root == UPLOADS else Path(root, relpath)
