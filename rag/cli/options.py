"""The options that commands share, and the index that `--index` stands for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.rendering import clean
from rag.errors import IndexNotFoundError, UsageError

if TYPE_CHECKING:
    from rag.index import Index

INDEXES = Path("indexes")

index_option = click.option(
    "--index", "-i", metavar="NAME", help="Index in ./indexes, or a path. Default: the only one there is."
)
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")
encoder_option = click.option(
    "--encoder",
    metavar="MODEL",
    help="A sentence-transformers model: name or local path. Default: what the index was made with.",
)


def open_index(name: str | None, encoder: str | None = None) -> Index:
    """Open the index that --index stands for."""
    from rag.index import Index

    return Index.open(index_path(name), encoder=encoder)


def index_path(name: str | None, *, default: str | None = None) -> Path:
    """The folder that --index stands for; without it the only index there is, or `default` where there is none."""
    if name is not None:
        if not name.strip():
            raise UsageError("expected the name of an index, got an empty one")
        separators = {os.sep, os.altsep or os.sep, "/"}
        return Path(name) if any(s in name for s in separators) or name in {".", ".."} else INDEXES / name
    found = sorted(file.parent.name for file in INDEXES.glob("*/index.sqlite"))
    if len(found) == 1:
        return INDEXES / found[0]
    if default is not None:
        return INDEXES / default
    if not found:
        raise IndexNotFoundError("no index in ./indexes: make one with rag ingest PATH, or name one with --index")
    raise UsageError(f"there are {len(found)} indexes ({', '.join(map(clean, found))}): name one with --index")
