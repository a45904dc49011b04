"""Who may reach the page, and who is who: hosts, password, sessions. Plain ASGI, in front of everything of Streamlit.

A middleware that knows requests only would let WebSockets pass, and those are the page.
"""

from __future__ import annotations

import asyncio
import base64
import getpass
import hashlib
import hmac
import html
import ipaddress
import os
import re
import secrets
import time
import unicodedata
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

from starlette.requests import HTTPConnection
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response

from rag.errors import UsageError

PUBLIC_VARIABLE = "FOOTNOTE_PUBLIC"  # set while others than this machine's people may come in
PASSWORD_VARIABLE = "FOOTNOTE_PASSWORD"
SHORTEST_PASSWORD = 10  # characters
SESSION_COOKIE = "footnote_session"
OWNER_COOKIE = "footnote_owner"
SESSION_S = 30 * 86_400  # from logging in
_OWNER_S = 400 * 86_400  # the longest that browsers keep a cookie
_KEY_BYTES = 32
_KEY = re.compile(r"[\w-]{43}", re.ASCII)  # so many in base64
_MOST_SESSIONS = 10_000
_MOST_ADDRESSES = 10_000
_MOST_BODY = 4_096  # bytes of a login form
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?(?:\.[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?)*")
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[^\[\]:@/?#\\\s]+)(?::[0-9]{1,5})?", re.IGNORECASE)
_WRITER = re.compile(r"process \d+(?: on \S+)? \([^()]*\)")
_PROCESS = re.compile(rf": {_WRITER.pattern}(?=\.?$)")  # after words that say already that it is another program
_PATH = r"(?:~|[A-Za-z]:)?[/\\]"  # how a path begins that says where it is
_QUOTED_PATH = re.compile(rf"""(['"])({_PATH}(?:\\.|(?!\1).)*)\1""")
_BARE_PATH = re.compile(rf"""(?<![\w'"/\\:.]){_PATH}[^\s'":;,()]+""")

_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


def is_public() -> bool:
    """Whether others than this machine's people may come in: then nobody but the host names paths and servers."""
    return bool(os.environ.get(PUBLIC_VARIABLE))


def told(words: str) -> str:
    """Words of the library as the reader may know them.

    Visitors learn neither where things are on this machine nor what else runs on it: of a path they read the last part,
    of a process that it is another program.
    """
    if not is_public():
        return words
    words = _PROCESS.sub("", words)
    words = _WRITER.sub("another program", words)
    words = _QUOTED_PATH.sub(lambda found: f"{found[1]}{_last_part(found[2])}{found[1]}", words)
    return _BARE_PATH.sub(lambda found: _last_part(found[0]), words)


def _last_part(path: str) -> str:
    return re.split(r"[/\\]+", path.rstrip("/\\"))[-1] or path


def owner() -> str:
    """Whose threads and settings are meant: the machine's user, or with --public whoever has this browser.

    To be called from a page.

    Raises:
        UsageError: with --public, a browser without its key, which the login gives it.
    """
    if not is_public():
        try:
            return f"user:{getpass.getuser()}"
        except (OSError, KeyError, ImportError):  # in a container the user may have no name
            return "user:"
    import streamlit as st

    key = st.context.cookies.get(OWNER_COOKIE) or ""
    if not _KEY.fullmatch(key):
        raise UsageError("this browser has lost its key: reload the page, and log in again")
    # The file of threads holds no key with which one could come in as their owner.
    return f"browser:{hashlib.sha256(key.encode()).hexdigest()}"


# --- hosts and origins


def checked_host(name: str) -> str:
    """A host name or address as others call this machine, in its own form.

    Raises:
        UsageError: it is none, or stands for every address.
    """
    host = name.strip().removeprefix("[").removesuffix("]").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        with suppress(UnicodeError):
            host = host.encode("idna").decode()  # as browsers send it
        if _NAME.fullmatch(host):
            return host
        raise UsageError(
            f"expected a host name or address such as docs.example.org or 192.168.1.20; got {name!r}"
        ) from None
    if address.is_unspecified:
        raise UsageError(f"{host} stands for every address: give the one, or the name, under which others come here")
    return str(address)


def host_name(host: str | None) -> str | None:
    """The name in a Host header, without port, brackets and a last dot; None where it has another form."""
    found = _HOST.fullmatch(host or "")
    return found[1].strip("[]").lower().rstrip(".") or None if found else None


class OwnHosts:
    """Lets through what asks for this machine under one of its names, and what this page itself asks.

    Another name is that of a web page elsewhere that had its name lead here (DNS rebinding). Another origin is a web
    page elsewhere, or of another program on this machine, that asks with the cookies of who looks at it.
    """

    def __init__(self, app: App, *, hosts: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(hosts)

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
        elif host_name(HTTPConnection(scope).headers.get("host")) not in self._hosts:
            await _refused(scope, receive, send, 400, "This page is not known under that name.")
        elif _changes(scope) and not _is_own(HTTPConnection(scope)):
            await _refused(scope, receive, send, 403, "Another page asked for that, so it was refused.")
        else:
            await self._app(scope, receive, send)


def _changes(scope: _Message) -> bool:
    return scope["type"] == "websocket" or scope["method"] not in ("GET", "HEAD", "OPTIONS")


def _is_own(connection: HTTPConnection) -> bool:
    """Whether a request comes from a page of ours, or from no browser."""
    origin, site = connection.headers.get("origin"), connection.headers.get("sec-fetch-site")
    if origin is None or origin == "null":
        return site in ("same-origin", "none") or (site is None and origin is None)
    try:
        return urlsplit(origin).netloc.lower() == connection.headers["host"].lower()
    except ValueError:
        return False


async def _refused(scope: _Message, receive: _Receive, send: _Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})  # before it was accepted: 403
    else:
        await PlainTextResponse(f"{text}\n", status, headers=_NOT_KEPT)(scope, receive, send)


# --- password and sessions


class Password:
    """A password, of which only a hash is kept, in memory."""

    def __init__(self, text: str) -> None:
        """Hash it.

        Raises:
            UsageError: it is too short.
        """
        if len(text) < SHORTEST_PASSWORD:
            raise UsageError(f"expected a password of {SHORTEST_PASSWORD} characters or more, got {len(text)}")
        self._salt = secrets.token_bytes(16)
        self._hash = self._hashed(text)

    def matches(self, text: str) -> bool:
        """Whether it is this one; takes some 50 ms, the same for each."""
        return hmac.compare_digest(self._hash, self._hashed(text))

    def _hashed(self, text: str) -> bytes:
        # Keyboards differ in how they write one letter.
        said = unicodedata.normalize("NFKC", text).encode("utf-8", "surrogatepass")
        return hashlib.scrypt(said, salt=self._salt, n=2**14, r=8, p=1)


class Attempts:
    """How long an address must wait before it may try a password again: five are free, then the wait doubles."""

    FREE = 5
    LONGEST_S = 900.0
    FORGOTTEN_S = 86_400.0

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: dict[str, tuple[int, float]] = {}  # how often, and when last; the oldest first

    def wait_s(self, address: str) -> float:
        """Seconds until it may try; 0 for now."""
        n, at = self._failed.get(_network(address), (0, 0.0))
        if n < self.FREE or self._clock() - at >= self.FORGOTTEN_S:
            return 0.0
        return max(at + min(2.0 ** (n - self.FREE), self.LONGEST_S) - self._clock(), 0.0)

    def failed(self, address: str) -> None:
        """Count a try. To be called before the password is looked at, so that many at once are many."""
        key, now = _network(address), self._clock()
        n, at = self._failed.pop(key, (0, now))
        self._failed[key] = (1 if now - at >= self.FORGOTTEN_S else min(n + 1, 64)), now
        if len(self._failed) > _MOST_ADDRESSES:
            del self._failed[next(iter(self._failed))]

    def succeeded(self, address: str) -> None:
        self._failed.pop(_network(address), None)


def _network(address: str) -> str:
    """What one person has: an IPv4 address, or 64 bits of an IPv6 address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(ip, ipaddress.IPv6Address):
        return str(ip.ipv4_mapped or ipaddress.ip_network((int(ip) >> 64 << 64, 64)))
    return str(ip)


@dataclass(slots=True)
class Session:
    """Someone who has logged in."""

    ends_at: float
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class Sessions:
    """Who is logged in, by a key of which only the hash is kept. All end with the process."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._open: dict[bytes, Session] = {}  # the oldest first

    def begin(self) -> str:
        """Log in; returns the key."""
        key = secrets.token_urlsafe(_KEY_BYTES)
        self._open[_digest(key)] = Session(self._clock() + SESSION_S)
        if len(self._open) > _MOST_SESSIONS:
            self._end(next(iter(self._open)))
        return key

    def find(self, key: str | None) -> Session | None:
        """The session of a key, if it has not ended."""
        found = self._open.get(_digest(key or ""))
        if found is not None and not self.is_on(found):
            self._end(_digest(key or ""))
            return None
        return found

    def is_on(self, session: Session) -> bool:
        return not session.ended.is_set() and self._clock() < session.ends_at

    def end(self, key: str | None) -> None:
        """Log out; what is open under the session closes."""
        self._end(_digest(key or ""))

    def _end(self, digest: bytes) -> None:
        if (session := self._open.pop(digest, None)) is not None:
            session.ended.set()


def _digest(key: str) -> bytes:
    # Looked up by hash: how long that takes tells nothing of the keys there are.
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


# --- the door


class Access:
    """Asks for the password before anything behind it is reached: pages, WebSockets, files and health alike."""

    def __init__(
        self, app: App, *, password: Password, attempts: Attempts | None = None, sessions: Sessions | None = None
    ) -> None:
        self._app = app
        self._password = password
        self._attempts = attempts or Attempts()
        self._sessions = sessions or Sessions()
        self._one_by_one = asyncio.Lock()  # hashing is made to be costly

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        session = self._session(connection)
        if scope["type"] == "websocket":
            if session is None:
                await _refused(scope, receive, send, 401, "")
            else:
                await self._watched(session, scope, receive, send)
        elif (response := await self._answer(connection, session, receive)) is not None:
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _session(self, connection: HTTPConnection) -> Session | None:
        """Of a browser that has both its keys."""
        if not _KEY.fullmatch(connection.cookies.get(OWNER_COOKIE, "")):
            return None
        return self._sessions.find(connection.cookies.get(SESSION_COOKIE))

    async def _answer(self, connection: HTTPConnection, session: Session | None, receive: _Receive) -> Response | None:
        """What the door itself answers; None for what it lets through."""
        scope = connection.scope
        path, method = scope["path"], scope["method"]
        if path == "/login" and method == "POST":
            return await self._login(connection, receive)
        if path == "/logout" and method == "POST":
            self._sessions.end(connection.cookies.get(SESSION_COOKIE))
            response = _page(_form("/"), 200)
            response.delete_cookie(SESSION_COOKIE, httponly=True, samesite="strict", secure=_is_secure(connection))
            return response
        if session is not None:
            if path == "/login":
                return RedirectResponse("/", 303, headers=_NOT_KEPT)
            return _page(_LOGOUT, 200) if path == "/logout" else None
        if method not in ("GET", "HEAD") or "text/html" not in connection.headers.get("accept", ""):
            return PlainTextResponse("Log in first.\n", 401, headers=_NOT_KEPT)
        if connection.headers.get("sec-fetch-site") == "cross-site" and path not in ("/login", "/logout"):
            # A link from elsewhere brings no strict cookie, though there may be one: our own page asks again.
            return _page(_AGAIN, 200)
        return _page(_form(_here(scope)), 401)

    async def _login(self, connection: HTTPConnection, receive: _Receive) -> Response:
        body = await _body(receive)
        if body is None:
            return PlainTextResponse("That is longer than any password.\n", 413, headers=_NOT_KEPT)
        try:
            form = parse_qs(body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=8)
        except ValueError:  # more fields than any form of ours has
            return PlainTextResponse("That is not the login form.\n", 400, headers=_NOT_KEPT)
        said, target = form.get("password", [""])[0], _target(form.get("next", ["/"])[0])
        address = connection.client.host if connection.client else ""
        if wait_s := self._attempts.wait_s(address):
            return _too_many(wait_s, target)
        self._attempts.failed(address)
        async with self._one_by_one:
            is_it = await asyncio.to_thread(self._password.matches, said)
        if not is_it:
            return _page(_form(target, "That is not the password."), 401)
        self._attempts.succeeded(address)
        owner = connection.cookies.get(OWNER_COOKIE, "")
        response = RedirectResponse(target, 303, headers=_NOT_KEPT)
        keys = {
            SESSION_COOKIE: (self._sessions.begin(), SESSION_S),
            OWNER_COOKIE: (owner if _KEY.fullmatch(owner) else secrets.token_urlsafe(_KEY_BYTES), _OWNER_S),
        }
        for name, (key, age) in keys.items():
            response.set_cookie(name, key, max_age=age, httponly=True, samesite="strict", secure=_is_secure(connection))
        return response

    async def _watched(self, session: Session, scope: _Message, receive: _Receive, send: _Send) -> None:
        """A WebSocket that closes when its session ends."""
        ended = asyncio.ensure_future(session.ended.wait())
        coming: asyncio.Future[_Message] | None = None

        async def next_message() -> _Message:
            nonlocal coming
            coming = coming or asyncio.ensure_future(receive())
            either: set[asyncio.Future[Any]] = {coming, ended}
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
            if not self._sessions.is_on(session):
                return {"type": "websocket.disconnect", "code": 1008}
            message, coming = coming.result(), None
            return message

        try:
            await self._app(scope, next_message, send)
        finally:
            ended.cancel()
            if coming is not None:
                coming.cancel()
            if not self._sessions.is_on(session):
                with suppress(Exception):  # it may be closed already
                    await send({"type": "websocket.close", "code": 1008})


def _is_secure(connection: HTTPConnection) -> bool:
    return bool(connection.scope["scheme"] == "https")


async def _body(receive: _Receive) -> bytes | None:
    """Of a request; None where it is too long."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        body += message.get("body", b"")
        if len(body) > _MOST_BODY:
            return None
        if not message.get("more_body"):
            return bytes(body)


def _here(scope: _Message) -> str:
    query = scope["query_string"].decode("latin-1")
    return _target(quote(scope["path"]) + (f"?{query}" if query else ""))


def _target(path: str) -> str:
    """A path on this page, and nothing that a browser takes for another one."""
    is_ours = path.startswith("/") and not path.startswith(("//", "/\\", "/login", "/logout"))
    return path if is_ours and path.isprintable() else "/"


# --- its own pages, without a script

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --text: #14181d; --soft: #5c6166; --line: #84898f; --primary: #1f5faf;
  --label: #fff; --red: #a61b1b; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --text: #eceff3; --soft: #a3a7ac; --line: #7d848e;
  --primary: #8ab8f5; --label: #0e1620; --red: #ff9a94; } }
body { margin: 0; min-height: 100vh; display: grid; place-items: center; background: var(--page); color: var(--text);
  font: 16px/24px "Source Sans 3", "Source Sans Pro", system-ui, sans-serif; }
main { width: min(320px, calc(100vw - 48px)); padding-bottom: 10vh; }
h1 { font-size: 28px; line-height: 36px; margin: 0 0 4px; }
p { margin: 0 0 24px; color: var(--soft); text-wrap: balance; }
p[role=alert] { color: var(--red); margin: 0 0 16px; }
label { display: block; font-weight: 600; margin-bottom: 4px; }
input, button { font: inherit; box-sizing: border-box; width: 100%; height: 44px; border-radius: 8px; padding: 0 12px; }
input { background: transparent; color: inherit; border: 1px solid var(--line); margin-bottom: 16px; }
button { background: var(--primary); color: var(--label); border: 0; font-weight: 600; cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 2px solid var(--primary); outline-offset: 2px; }
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_NOT_KEPT = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
_HEADERS = {
    **_NOT_KEPT,
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",  # with none, the form's own origin would be kept back as well
}
_LOGOUT = """<h1>Log out</h1>
<p>This browser keeps the key to its threads. Log in again, and they are there.</p>
<form method="post" action="/logout"><button type="submit">Log out</button></form>"""
_AGAIN = '<meta http-equiv="refresh" content="0"><h1>Footnote</h1>'


def _form(target: str, fault: str = "") -> str:
    told = f'<p role="alert" id="fault">{html.escape(fault)}</p>\n' if fault else ""
    marked = ' aria-invalid="true" aria-describedby="fault"' if fault else ""
    return f"""<h1>Footnote</h1>
<p>Enter the password to ask these documents.</p>
<form method="post" action="/login">
<input type="text" autocomplete="username" value="Footnote" hidden>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password" required autofocus{marked}>
<input type="hidden" name="next" value="{html.escape(target)}">
{told}<button type="submit">Log in</button>
</form>"""


def _page(body: str, status: int, headers: dict[str, str] | None = None) -> HTMLResponse:
    text = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Footnote</title>
<style>{_STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
    return HTMLResponse(text, status, headers={**_HEADERS, **(headers or {})})


def _too_many(wait_s: float, target: str) -> Response:
    seconds = int(wait_s) + 1
    wait = f"{seconds} s" if seconds < 120 else f"{-(-seconds // 60)} min"
    return _page(_form(target, f"Too many tries. Wait {wait}, then try again."), 429, {"retry-after": str(seconds)})
