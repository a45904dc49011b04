"""Starts the web page on this machine, and for this machine only. Streamlit is imported when it starts, not before."""

from __future__ import annotations

import os
import socket
import threading
import time
import webbrowser
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from rag.errors import UsageError

ADDRESS = "127.0.0.1"
SCRIPT = Path(__file__).with_name("app.py")

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]

_LIGHT = {
    "primaryColor": "#1F5FAF",
    "backgroundColor": "#FFFFFF",
    "secondaryBackgroundColor": "#F4F5F7",
    "textColor": "#14181D",
    "linkColor": "#1F5FAF",
    "yellowBackgroundColor": "#FFE9A8",
    "yellowColor": "#977000",
    "orangeTextColor": "#8A4600",
    "redTextColor": "#A61B1B",
    "greenTextColor": "#1A6B3C",
}
_DARK = {
    "primaryColor": "#8AB8F5",
    "backgroundColor": "#14171C",
    "secondaryBackgroundColor": "#1E2229",
    "textColor": "#ECEFF3",
    "linkColor": "#8AB8F5",
    "yellowBackgroundColor": "#5A4700",
    "yellowColor": "#E0B100",
    "orangeTextColor": "#F2B27A",
    "redTextColor": "#FF9A94",
    "greenTextColor": "#7FD6A0",
}

# The second fence: were a text ever drawn as markup, the browser would still run no script and fetch nothing.
_POLICY = "; ".join(
    [
        "default-src 'self'",
        "script-src 'self' blob:",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        f"connect-src 'self' ws://{ADDRESS}:* ws://localhost:*",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


def serve(
    indexes: Path, *, port: int = 8501, open_browser: bool = False, ready: Callable[[str], None] | None = None
) -> None:
    """Serve the page at http://127.0.0.1:PORT until it is stopped.

    Args:
        indexes: the folder whose subfolders are the indexes to choose from; need not exist yet.
        port: on the loopback address, which is the only one listened on.
        open_browser: show the page in the browser as soon as it is there.
        ready: called with the address then, from another thread.

    Raises:
        UsageError: the port is in use, or is none.
    """
    _check_port(port)
    os.environ["FOOTNOTE_INDEXES"] = os.path.abspath(indexes)
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from streamlit import App

    threading.Thread(target=_when_ready, args=(port, open_browser, ready), daemon=True).start()
    app = App(
        SCRIPT,
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=[ADDRESS, "localhost"]),  # no other site by another name
            Middleware(SecurityHeaders),
        ],
    )
    with suppress(KeyboardInterrupt):  # Ctrl+C is how it is stopped
        app.run(config=streamlit_options(port))


def streamlit_options(port: int) -> dict[str, Any]:
    """Every option that matters, so that no config.toml of the working directory or the user changes it."""
    return {
        "server.address": ADDRESS,
        "server.port": port,
        "server.allowedHosts": [ADDRESS, "localhost"],
        "server.headless": True,  # the browser is opened here, and nobody is asked for an e-mail address
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.enableStaticServing": False,
        "server.maxUploadSize": 1,  # MB; nothing is uploaded
        "browser.gatherUsageStats": False,
        "browser.serverAddress": ADDRESS,
        "client.toolbarMode": "minimal",
        "client.showErrorDetails": "none",
        "logger.hideWelcomeMessage": True,
        **{f"theme.light.{name}": value for name, value in _LIGHT.items()},
        **{f"theme.dark.{name}": value for name, value in _DARK.items()},
        "theme.baseRadius": "8px",
        "theme.showWidgetBorder": True,
    }


class SecurityHeaders:
    """Adds the headers above to every HTTP response; plain ASGI, so that WebSockets pass untouched."""

    def __init__(self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        async def with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                added = [(name.encode(), value.encode()) for name, value in _HEADERS.items()]
                message = {**message, "headers": [*message.get("headers", []), *added]}
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def _check_port(port: int) -> None:
    if not 1 <= port <= 65535:
        raise UsageError(f"expected a port from 1 to 65535, got {port}")
    with socket.socket() as probe:
        if os.name != "nt":  # there this option would let two servers share a port
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except PermissionError as exc:
            raise UsageError(f"port {port} may not be used by you: name one above 1023 with --port") from exc
        except OSError as exc:
            raise UsageError(f"port {port} is in use, perhaps by another rag ui: name another with --port") from exc


def _when_ready(port: int, open_browser: bool, ready: Callable[[str], None] | None) -> None:
    if answers(port, seconds=30):
        address = f"http://{ADDRESS}:{port}"
        if ready is not None:
            ready(address)
        if open_browser:
            webbrowser.open(address)


def answers(port: int, *, seconds: float) -> bool:
    """Wait until the port takes connections; False if it does not within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection((ADDRESS, port), timeout=1).close()
            return True
        time.sleep(0.05)
    return False
