"""Reads JSON Lines: one document a line, an object with a 'text'."""

from __future__ import annotations

import json
from typing import BinaryIO

from rag.errors import LoadError
from rag.loaders.base import Limits, Loaded, list_numbers, read_up_to, storable
from rag.loaders.text import decode
from rag.types import Document, JsonValue

_MAX_DEPTH = 100  # of lists and objects in metadata
_MAX_DIGITS = 300  # a longer number is kept as the text it is


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    decoded = decode(read_up_to(file, limits.max_file_mb))
    documents: dict[str, Document] = {}
    unusable, repeated = [], []
    for number, line in enumerate(decoded.text.split("\n"), start=1):
        if not line.strip():
            continue
        document = _document(line, source, number)
        if document is None:
            unusable.append(number)
        elif document.doc_id in documents:
            repeated.append(number)
        else:
            documents[document.doc_id] = document
    if not documents:
        raise LoadError("has no line that is a JSON object with a 'text'")
    notes = list(decoded.notes)
    if unusable:
        be = "is not a JSON object" if len(unusable) == 1 else "are not JSON objects"
        notes.append(f"{list_numbers('line', unusable, at_most=5)} {be} with a 'text'")
    if repeated:
        repeat = "repeats" if len(repeated) == 1 else "repeat"
        notes.append(f"{list_numbers('line', repeated, at_most=5)} {repeat} an id of the file and was left out")
    return Loaded(tuple(documents.values()), tuple(notes))


def _document(line: str, source: str, number: int) -> Document | None:
    """The document in a line; its id is 'id', else '_id', else the line's number. None if there is no text.

    Where there is only a title, it is the text: many catalogues have lines like that, and they must be found.
    """
    try:
        entry = _storable(json.loads(line, parse_int=_integer))
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict):
        return None
    text, title = entry.pop("text", None), None
    if isinstance(entry.get("title"), str):
        title = str(entry.pop("title"))
    if title is not None and (text is None or (isinstance(text, str) and not text.strip())):
        text, title = title, None
    if not isinstance(text, str) or not text.strip():
        return None
    key = next((key for key in ("id", "_id") if _is_id(entry.get(key))), None)
    line_id = entry.pop(key) if key else number
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return Document(f"{source}#{line_id}", text, title=title or None, metadata=entry)


def _is_id(value: JsonValue) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _integer(digits: str) -> int | str:
    return int(digits) if len(digits) <= _MAX_DIGITS else digits


def _storable(value: JsonValue, depth: int = 0) -> JsonValue:
    """The same value with every string, keys included, such that SQLite can keep it."""
    if depth > _MAX_DEPTH:
        raise RecursionError
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable(item, depth + 1) for key, item in value.items()}
    return value
