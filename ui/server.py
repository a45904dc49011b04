"""Starts the web page, for this machine only unless told otherwise. Streamlit is imported then, not before."""

from __future__ import annotations

import errno
import os
import socket
import threading
import time
import webbrowser
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.errors import UsageError
from ui.limits import ALL_TABS, UPLOAD_MB, UPLOAD_VARIABLE, session_mb

if TYPE_CHECKING:
    from ui.access import Password

ADDRESS = "127.0.0.1"
EVERYWHERE = "0.0.0.0"
LOOPBACK = (ADDRESS, "localhost", "::1")  # names of this machine for itself
SCRIPT = Path(__file__).with_name("app.py")
_OWN_ADDRESSES = (ADDRESS, "::1")
_UPLOADS = "/_stcore/upload_file/"  # then the session's id, a slash and the file's
_PROXIES_VARIABLE = "FORWARDED_ALLOW_IPS"  # read by uvicorn: who is believed when it says for whom it asks

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
        "connect-src 'self' {sockets}",  # older browsers do not count a WebSocket as 'self'
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_HEADERS = {
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True)
class Public:
    """How others may come in."""

    hosts: tuple[str, ...]  # names and addresses under which they do; `ui.access.checked_host` checks them
    password: Password
    address: str = EVERYWHERE  # where it listens
    certificate: tuple[Path, Path] | None = None  # PEM files of the certificate and its key, for https


def serve(
    indexes: Path,
    *,
    port: int = 8501,
    open_browser: bool = False,
    ready: Callable[[str], None] | None = None,
    public: Public | None = None,
    generator: str | None = None,
    max_upload_mb: int = UPLOAD_MB,
) -> None:
    """Serve the page at http://127.0.0.1:PORT, or as `public` says, until it is stopped.

    Args:
        indexes: the folder whose subfolders are the indexes to choose from; need not exist yet.
        port: to listen on.
        open_browser: show the page in the browser as soon as it is there.
        ready: called with the address then, from another thread.
        public: lets others in; by default it listens on the loopback address, and asks for no password.
        generator: a model that is offered to all, by name as `load_generator` takes it.
        max_upload_mb: of each file.

    Raises:
        UsageError: the port is in use, or is none; the address is none of this machine; a certificate is not there.
    """
    _check_port(port, public.address if public else ADDRESS)
    for file in (public and public.certificate) or ():
        if not file.is_file():
            raise UsageError(f"no certificate or key in {str(file)!r}: name the two PEM files")
    from ui.access import PUBLIC_VARIABLE, Access, OwnHosts
    from ui.frame import Frame
    from ui.settings import GENERATOR_VARIABLE

    os.environ["FOOTNOTE_INDEXES"] = os.path.abspath(indexes)
    os.environ[PUBLIC_VARIABLE] = "1" if public else ""
    os.environ[GENERATOR_VARIABLE] = generator or ""
    os.environ[UPLOAD_VARIABLE] = str(max_upload_mb)
    os.environ[_PROXIES_VARIABLE] = ",".join(_OWN_ADDRESSES)
    from starlette.middleware import Middleware
    from streamlit import App

    from ui import originals

    hosts = allowed_hosts(public)
    threading.Thread(target=_when_ready, args=(port, public, open_browser, ready), daemon=True).start()
    app = App(
        SCRIPT,
        routes=[originals.route(indexes)],
        lifespan=_warming,
        on_script_error=_told,
        middleware=[
            Middleware(OwnHosts, hosts=hosts),
            *([Middleware(Access, password=public.password)] if public else []),
            Middleware(SecurityHeaders, hosts=hosts, port=port),
            Middleware(Frame),
            Middleware(UploadBudget),
        ],
    )
    with suppress(KeyboardInterrupt):  # Ctrl+C is how it is stopped
        app.run(config=streamlit_options(port, public=public, max_upload_mb=max_upload_mb))


def allowed_hosts(public: Public | None) -> tuple[str, ...]:
    """The names that the page answers to."""
    return tuple(dict.fromkeys((*LOOPBACK, *(public.hosts if public else ()))))


def streamlit_options(port: int, *, public: Public | None = None, max_upload_mb: int = UPLOAD_MB) -> dict[str, Any]:
    """Every option that matters, so that no config.toml of the working directory or the user changes it."""
    certificate, key = (public and public.certificate) or ("", "")
    return {
        "global.developmentMode": False,
        "server.address": public.address if public else ADDRESS,
        "server.port": port,
        "server.allowedHosts": list(allowed_hosts(public)),
        "server.baseUrlPath": "",
        # Its own checks of origins stay on, behind ours. They compare host names without ports, and ask another server
        # for the address of this machine where none fits, so none of what they are to refuse must reach them.
        "server.enableCORS": True,
        "server.corsAllowedOrigins": [],
        "server.enableXsrfProtection": True,  # for uploads
        "server.xsrfCookieSameSite": "strict",
        "server.enableAgentApi": False,
        "server.sslCertFile": str(certificate),
        "server.sslKeyFile": str(key),
        "server.headless": True,  # the browser is opened here, and nobody is asked for an e-mail address
        "server.fileWatcherType": "none",
        "server.runOnSave": False,
        "server.enableStaticServing": False,
        "server.maxUploadSize": max_upload_mb,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": public.hosts[0] if public else ADDRESS,
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

    def __init__(
        self, app: Callable[[_Message, _Receive, _Send], Awaitable[None]], *, hosts: Sequence[str], port: int
    ) -> None:
        self._app = app
        # No policy can name an IPv6 address.
        sockets = " ".join(f"{scheme}://{host}:{port}" for host in hosts if ":" not in host for scheme in ("ws", "wss"))
        headers = {**_HEADERS, "content-security-policy": _POLICY.replace("{sockets}", sockets)}
        self._headers = [(name.encode(), value.encode()) for name, value in headers.items()]

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        async def with_headers(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *self._headers]}
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class UploadBudget:
    """Refuses uploads beyond a budget, of one tab and of all: until they are kept, files are held in memory.

    Streamlit knows a limit of each file only, and takes any number of them, asked for by a page or not.
    """

    def __init__(
        self,
        app: Callable[[_Message, _Receive, _Send], Awaitable[None]],
        *,
        held: Callable[[], dict[str, int]] | None = None,
    ) -> None:
        """Stand in front of an app.

        Args:
            app: what takes the files.
            held: bytes of the files that it holds, by session; by default those of Streamlit.
        """
        self._app = app
        self._held = held or _held
        self._coming: dict[str, int] = {}  # bytes on their way, by session

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] != "http" or scope["method"] != "PUT" or not scope["path"].startswith(_UPLOADS):
            await self._app(scope, receive, send)
            return
        from starlette.exceptions import HTTPException
        from starlette.responses import PlainTextResponse

        session = scope["path"].removeprefix(_UPLOADS).partition("/")[0]
        counted, came = _announced(scope), 0
        if not self._fits(session, counted):
            await PlainTextResponse(f"{_TOO_MUCH}\n", 413)(scope, receive, send)
            return
        self._coming[session] = self._coming.get(session, 0) + counted

        async def counting() -> _Message:  # for the length may not have been announced, or not truly
            nonlocal counted, came
            message = await receive()
            came += len(message.get("body", b""))
            if (more := came - counted) > 0:
                if not self._fits(session, more):
                    raise HTTPException(413, _TOO_MUCH)
                self._coming[session] += more
                counted = came
            return message

        try:
            await self._app(scope, counting, send)
        finally:
            self._coming[session] -= counted
            if not self._coming[session]:
                del self._coming[session]

    def _fits(self, session: str, n_bytes: int) -> bool:
        held, budget = self._held(), session_mb() * 1024 * 1024
        of_all = sum(held.values()) + sum(self._coming.values()) + n_bytes
        of_session = held.get(session, 0) + self._coming.get(session, 0) + n_bytes
        return of_session <= budget and of_all <= ALL_TABS * budget


_TOO_MUCH = "More files are on their way than are taken at once: add them in parts."


def _announced(scope: _Message) -> int:
    """The length that a request says it has; 0 where it says none."""
    for name, value in scope["headers"]:
        if name == b"content-length" and value.isdigit():
            return int(value)
    return 0


def _held() -> dict[str, int]:
    """The bytes of the files that Streamlit holds in memory, by session."""
    from streamlit import runtime
    from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager

    manager = runtime.get_instance().uploaded_file_mgr if runtime.exists() else None
    if not isinstance(manager, MemoryUploadedFileManager):
        return {}
    files = [(session, list(held.values())) for session, held in list(manager.file_storage.items())]
    return {session: sum(len(file.data) for file in held) for session, held in files}


def _told(exc: Exception) -> bool:
    """What no page took, of a drawer, a part that is drawn again or a click, is told in words as well."""
    from ui.shell import tell

    tell(exc)
    return True


@asynccontextmanager
async def _warming(app: Any) -> AsyncIterator[None]:
    """Loads the models while the port is open already: the first paint waits for none of them."""
    threading.Thread(target=_warm_up, name="warming", daemon=True).start()
    yield


def _warm_up() -> None:
    from ui.shell import indexes_folder, warm_up

    warm_up(indexes_folder())


def _check_port(port: int, address: str) -> None:
    if not 1 <= port <= 65535:
        raise UsageError(f"expected a port from 1 to 65535, got {port}")
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            if os.name != "nt":  # there this option would let two servers share a port
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((address, port))
    except PermissionError as exc:
        raise UsageError(f"port {port} may not be used by you: name one above 1023 with --port") from exc
    except OSError as exc:
        if isinstance(exc, socket.gaierror) or exc.errno in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
            raise UsageError(f"{address!r} is no address of this machine: name one of its own with --listen") from exc
        raise UsageError(f"port {port} is in use, perhaps by another rag ui: name another with --port") from exc


def _in_address(host: str) -> str:
    """A host name or IP address as it stands in a web address."""
    return f"[{host}]" if ":" in host else host


def _when_ready(port: int, public: Public | None, open_browser: bool, ready: Callable[[str], None] | None) -> None:
    listens = public.address if public else ADDRESS
    own = {EVERYWHERE: ADDRESS, "::": ADDRESS}.get(listens, listens)
    if answers(port, seconds=30, address=own):
        scheme = "https" if public and public.certificate else "http"
        address = f"{scheme}://{_in_address(public.hosts[0] if public else ADDRESS)}:{port}"
        if ready is not None:
            ready(address)
        if open_browser:
            webbrowser.open(address)


def answers(port: int, *, seconds: float, address: str = ADDRESS) -> bool:
    """Wait until the port takes connections; False if it does not within that time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with suppress(OSError):
            socket.create_connection((address, port), timeout=1).close()
            return True
        time.sleep(0.05)
    return False
