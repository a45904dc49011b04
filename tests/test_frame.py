"""The HTML that comes first has our name and sheet in it, and all else passes untouched."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import streamlit

from ui.frame import PATH, Frame, framed, sheet

HTML = (Path(streamlit.__file__).parent / "static" / "index.html").read_bytes()


def ask(path: str, *, kind: str = "text/html", status: int = 200, method: str = "GET") -> tuple[Any, bytes, Any]:
    """The status and headers, the body, and what the server behind was asked with."""
    asked: list[Any] = []
    sent: list[Any] = []

    async def served(scope: Any, _receive: Any, send: Any) -> None:
        asked.append(scope)
        headers = [(b"content-type", kind.encode()), (b"etag", b'"x"'), (b"content-length", str(len(HTML)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": HTML[:100], "more_body": True})
        await send({"type": "http.response.body", "body": HTML[100:]})

    async def send(message: Any) -> None:
        sent.append(message)

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    scope = {"type": "http", "method": method, "path": path, "headers": [(b"if-none-match", b'"x"'), (b"host", b"a")]}
    asyncio.run(Frame(served)(scope, receive, send))
    return sent[0], b"".join(message["body"] for message in sent[1:]), asked[0] if asked else None


@pytest.mark.parametrize("path", ["/", "/search", "/library"])
def test_a_page_comes_with_the_sheet_behind_the_head_and_our_name(path: str) -> None:
    start, body, asked = ask(path)
    assert body == framed(HTML)
    assert b'<body><link rel="stylesheet" href="/frame.css?' in body
    assert b"<title>Footnote</title>" in body
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(body)).encode()
    assert b"etag" not in headers  # it was of Streamlit's bytes
    assert asked["headers"] == [(b"host", b"a")]


@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("/static/index.js", {"kind": "text/javascript"}),
        ("/_stcore/health", {"kind": "text/plain"}),
        ("/source", {"kind": "application/pdf"}),
        ("/", {"status": 404}),
        ("/", {"method": "HEAD"}),
    ],
)
def test_all_else_passes_untouched(path: str, more: dict[str, Any]) -> None:
    start, body, _ = ask(path, **more)
    assert body == HTML
    assert dict(start["headers"])[b"etag"] == b'"x"'


def test_the_sheet_is_served_and_has_another_address_when_it_is_another(monkeypatch: pytest.MonkeyPatch) -> None:
    start, body, asked = ask(PATH)
    assert asked is None
    assert (start["status"], body) == (200, sheet())
    assert b".st-key-top" in body
    before = framed(HTML)
    monkeypatch.setattr("ui.frame.sheet", lambda: b"p {}")
    assert framed(HTML) != before
