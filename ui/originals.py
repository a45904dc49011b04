"""Serves the file that a document was read from, and no other: the browser names a document, never a path.

A PDF opens in the browser's own viewer, which no script of it can leave; everything else is a download. Nothing is ever
served as a type that would run as part of this page.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, Response
from starlette.routing import Route

from rag.errors import RagError
from rag.index import Index
from rag.loaders import format_of
from ui.access import told
from ui.render import find_indexes
from ui.sources import file_as_read

_LOCKED = {  # beside what ui/server.py puts on every response, nosniff among it
    "cache-control": "private, no-store",
    "cross-origin-resource-policy": "same-origin",
}
_JSONL = re.compile(r".*?\.(?:jsonl|ndjson)(?=#)", re.IGNORECASE)  # before what a line is called


def route(indexes: Path) -> Route:
    """`/source?index=NAME&source=DOCUMENT`.

    Args:
        indexes: the folder whose subfolders are the indexes.
    """

    def original(request: Request) -> Response:  # not async: Starlette runs it in a thread
        name, source = request.query_params.get("index", ""), request.query_params.get("source", "")
        return response(indexes, name, source)

    return Route("/source", original, methods=["GET"])


def response(indexes: Path, name: str, source: str) -> Response:
    """The file of a document, if it is still the one that was read; otherwise a line that says why not."""
    if name not in find_indexes(indexes):
        return _refused(f"There is no index {name!r} here.")
    try:
        with Index.open(indexes / name) as index:
            file = file_as_read(index.file(source))
    except RagError as exc:
        return _refused(told(str(exc)))
    if file.path is None:
        reasons = {"changed": "This file changed after it was read.", "gone": "This file is not where it was any more."}
        return _refused(reasons.get(file.state, "No file stands behind this document."))
    if file.path.suffix.lower() == ".pdf" and _begins_as_pdf(file.path):
        disposition, media_type, headers = "inline", "application/pdf", _LOCKED
    else:
        headers = {**_LOCKED, "content-security-policy": "sandbox"}
        disposition, media_type = "attachment", "application/octet-stream"
    return FileResponse(
        file.path,
        media_type=media_type,
        headers=headers,
        filename=_file_name(source, file.path),
        content_disposition_type=disposition,
    )


def _file_name(source: str, path: Path) -> str:
    """What people call the file: the copy of an upload is called otherwise, and a line of JSONL is part of a file."""
    file = _JSONL.match(source) if format_of(path) == "jsonl" else None
    return PurePosixPath(file[0] if file else source).name


def _begins_as_pdf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return b"%PDF-" in file.read(1024)
    except OSError:
        return False


def _refused(words: str) -> Response:
    return PlainTextResponse(words, status_code=404, headers=_LOCKED)
