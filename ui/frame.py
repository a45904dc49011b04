"""What the browser gets first: Streamlit's own HTML, with our name and the style sheet of the frame around the pages.

Put into the page by its script, the sheet would come after what it places, and everything would jump.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, MutableMapping
from functools import cache
from pathlib import Path
from typing import Any

WEB = Path(__file__).with_name("web")
PATH = "/frame.css"
FILES = "/source"  # of documents: browsers ask for parts of them, and get them as they are

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_ASKS_FOR_BYTES = (b"accept-encoding", b"if-none-match", b"if-modified-since", b"range")
_OF_THE_BYTES = (b"content-length", b"etag", b"last-modified", b"accept-ranges", b"vary")


@cache
def sheet() -> bytes:
    """All style sheets of the frame as one."""
    return b"\n".join(path.read_bytes() for path in sorted((WEB / "frame").glob("*.css")))


def framed(html: bytes) -> bytes:
    """Streamlit's HTML with ours in it.

    The link stands in the body, behind what Streamlit will put into the head: of rules that weigh the same, ours count.
    """
    version = hashlib.sha256(sheet()).hexdigest()[:16]
    link = f'<link rel="stylesheet" href="{PATH}?{version}">'.encode()
    html = html.replace(b"<title>Streamlit</title>", b"<title>Footnote</title>", 1)
    return html.replace(b"<body>", b"<body>" + link, 1)


class Frame:
    """Serves the sheet, and puts it into every HTML that is served; plain ASGI, so that all else passes untouched."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await _serve(send)
        elif _may_be_page(scope):
            await self._frame(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _frame(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        # Not for Streamlit's bytes, but for ours.
        asked = [(name, value) for name, value in scope["headers"] if name.lower() not in _ASKS_FOR_BYTES]
        begun: _Message | None = None
        body = bytearray()

        async def through(message: _Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start" and _is_page(message):
                begun = message
            elif begun is None:
                await send(message)
            elif message["type"] == "http.response.body":
                body.extend(message.get("body", b""))
                if not message.get("more_body", False):
                    html = framed(bytes(body))
                    headers = [(name, value) for name, value in begun["headers"] if name.lower() not in _OF_THE_BYTES]
                    headers.append((b"content-length", str(len(html)).encode()))
                    await send({**begun, "headers": headers})
                    await send({"type": "http.response.body", "body": html})

        await self._app({**scope, "headers": asked}, receive, through)


def _may_be_page(scope: _Message) -> bool:
    if scope["type"] != "http" or scope["method"] != "GET":
        return False
    return scope["path"] != FILES and "." not in scope["path"].rpartition("/")[2]


def _is_page(message: _Message) -> bool:
    kinds = [value for name, value in message.get("headers", []) if name.lower() == b"content-type"]
    return message["status"] == 200 and any(kind.startswith(b"text/html") for kind in kinds)


async def _serve(send: _Send) -> None:
    headers = [
        (b"content-type", b"text/css; charset=utf-8"),
        (b"content-length", str(len(sheet())).encode()),
        (b"cache-control", b"private, max-age=31536000, immutable"),  # with other content it has another address
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": sheet()})
