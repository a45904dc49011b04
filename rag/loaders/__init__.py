"""Reads one file as documents, or says why it cannot. Each module below is the only user of its library."""

from __future__ import annotations

import importlib
import os
import stat
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Protocol, cast

from rag.errors import LoadError
from rag.loaders.base import Limits, Loaded, one_line, storable

__all__ = ["FORMATS", "Limits", "Loaded", "format_of", "load"]

FORMATS = {  # what a file is read as, and the module that reads it
    "markdown": "rag.loaders.markdown",
    "html": "rag.loaders.html",
    "pdf": "rag.loaders.pdf",
    "docx": "rag.loaders.docx",
    "jsonl": "rag.loaders.jsonl",
    "csv": "rag.loaders.csv",
    "email": "rag.loaders.email",
    "text": "rag.loaders.text",
}

_TEXT_SUFFIXES = """
    txt text rst org adoc asciidoc textile wiki tex latex ltx bib log srt vtt sub diff patch po pot
    py pyi pyx rb pl pm php lua r jl js mjs cjs jsx ts mts tsx vue svelte java kt kts scala groovy gradle clj cljs
    c h cc cpp cxx hh hpp hxx cs m mm swift go rs zig d dart ex exs erl hrl hs ml mli fs fsx elm lisp el scm rkt
    f f90 f95 for pas ada adb ads asm s v sv vhd vhdl nim cr cu cl glsl proto thrift graphql gql
    sh bash zsh fish ksh ps1 bat cmd awk sed vim tcl sql cmake mk tf hcl nix
    yaml yml toml ini cfg conf properties json json5 geojson xml xsd xsl xslt rss atom dtd plist
    css scss sass less
"""
_TEXT_NAMES = """
    readme license licence copying copyright notice authors contributors changelog changes history news install todo
    faq thanks version makefile gnumakefile dockerfile containerfile vagrantfile jenkinsfile procfile rakefile gemfile
    brewfile justfile codeowners
"""
_SUFFIXES = {
    **dict.fromkeys(["md", "markdown", "mdown", "mkd"], "markdown"),
    **dict.fromkeys(["html", "htm", "xhtml"], "html"),
    **dict.fromkeys(["jsonl", "ndjson"], "jsonl"),
    **dict.fromkeys(["csv", "tsv"], "csv"),
    "pdf": "pdf",
    "docx": "docx",
    "eml": "email",
    **dict.fromkeys(_TEXT_SUFFIXES.split(), "text"),
}


class _Reader(Protocol):
    """What each format's module offers."""

    def read(self, file: BinaryIO, source: str, limits: Limits) -> Loaded:
        """The documents of an open, non-empty file whose `doc_id` is, or begins with, `source`."""


def format_of(path: str | os.PathLike[str]) -> str | None:
    """The key of `FORMATS` that a file is read as, or None for a type that is not read.

    The name decides; only a file whose name has no suffix and says nothing is looked into.
    """
    path = Path(path)
    if path.suffix:
        return _SUFFIXES.get(path.suffix[1:].lower())
    return "text" if path.name.lower() in _TEXT_NAMES.split() or _looks_like_text(path) else None


def load(path: str | os.PathLike[str], *, source: str, limits: Limits | None = None) -> Loaded:
    """The documents in one file.

    Args:
        path: a file of a type that `format_of` knows.
        source: becomes the document's `doc_id`; for a line of a JSONL file, '#' and its id follow.
        limits: how large the file may be.

    Raises:
        LoadError: with a reason for people that does not repeat the path.
    """
    limits = limits or Limits()
    if not (format_name := format_of(path)):
        raise LoadError(f"is of a type that is not read ({Path(path).suffix or 'no suffix, and not text'})")
    reader = cast(_Reader, importlib.import_module(FORMATS[format_name]))
    try:
        with _opened(path) as file:
            loaded = reader.read(file, source, limits)
    except (LoadError, MemoryError):
        raise
    except OSError as exc:
        raise LoadError(f"cannot be read: {_words(exc)}") from exc
    except RecursionError as exc:
        raise LoadError("is nested too deeply to be read") from exc
    except Exception as exc:  # a parser met something that its authors did not foresee: never the end of a batch
        raise LoadError(f"cannot be read as {format_name}: {type(exc).__name__}: {one_line(str(exc))[:200]}") from exc
    documents = tuple(
        replace(document, text=storable(document.text), title=one_line(storable(document.title or ""))[:500] or None)
        for document in loaded.documents
    )
    if not any(document.text.strip() for document in documents):
        raise LoadError("holds no readable text")
    return replace(loaded, documents=documents)


def _opened(path: str | os.PathLike[str]) -> BinaryIO:
    """The file, open for reading; a pipe or device is refused before opening it could block."""
    status = os.stat(path)
    if not stat.S_ISREG(status.st_mode):
        raise LoadError("is not a regular file")
    if not status.st_size:
        raise LoadError("is empty (0 bytes)")
    return open(path, "rb")


def _looks_like_text(path: Path) -> bool:
    """Whether the first 8 KiB are text; a file that cannot be opened counts, so that loading it tells the reason."""
    from rag.loaders.text import looks_like_text

    try:
        with _opened(path) as file:
            return looks_like_text(file.read(8192))
    except LoadError:
        return False
    except OSError:
        return True


def _words(exc: OSError) -> str:
    """The system's own words, which name no path: 'permission denied'."""
    return (exc.strerror or str(exc)).lower()
