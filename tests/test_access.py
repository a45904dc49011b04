"""Without the password nothing but the login page answers, one's threads are one's own, and no other site gets in."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection, HTTPSConnection
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from rag.cli import main
from rag.errors import UsageError
from ui import access, server
from ui.access import (
    OWNER_COOKIE,
    PUBLIC_VARIABLE,
    SESSION_COOKIE,
    SESSION_S,
    Access,
    Attempts,
    OwnHosts,
    Password,
    Sessions,
    checked_host,
    host_name,
    owner,
)

SESAME = "open sesame, please"
ROOT = Path(server.__file__).parents[1]
# Of this test alone, for localhost.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBgDCCASWgAwIBAgIUWkehoCrXEBkiYgShlODqIiTg4ogwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjA0MjE0MVoYDzIxMjYxMDI5
MDQyMTQxWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAASZM5BXLzjc1eZpxzR9jfw3JOB8UP7sHA9X7qzb1ifE6GQS1AC3j78D
FvgrDcf5d5rpFsb2v1RRzQULDvApaEmJo1MwUTAdBgNVHQ4EFgQUjMnVtmbQ94fo
7bjJ1Y7P7zV3O3IwHwYDVR0jBBgwFoAUjMnVtmbQ94fo7bjJ1Y7P7zV3O3IwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNJADBGAiEAm8wZ+ZTeI0M9Wy5qO+jR
mzO2Bl84Nc7e3uLYH1Q9H9MCIQCsothewwUjVKc+r3yzVKqf3oozUbYW6HqjatUo
FCQ6ZQ==
-----END CERTIFICATE-----
"""
KEY = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgdu/+LB82vAiQ8ieL
6/FZawLf+C5fbbNWJ7KQQ2dpryahRANCAASZM5BXLzjc1eZpxzR9jfw3JOB8UP7s
HA9X7qzb1ifE6GQS1AC3j78DFvgrDcf5d5rpFsb2v1RRzQULDvApaEmJ
-----END PRIVATE KEY-----
"""
PATHS = [
    "/",
    "/search?index=a&query=b",
    "/_stcore/health",
    "/_stcore/host-config",
    "/_stcore/agent/openapi.json",
    "/_stcore/upload_file/a/b",
    "/media/abc.png",
    "/component/x/index.html",
    "/static/js/index.js",
    "/index.html",
    "/favicon.png",
    "/source/a/1.png",
    "//",
    "/%2e%2e/etc/passwd",
]
HTML = {"Accept": "text/html,*/*"}


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    cookies: SimpleCookie
    body: str


@dataclass
class Browser:
    """As much of a browser as is needed: it keeps cookies, and says where it stands."""

    port: int
    host: str = "localhost"
    cookies: dict[str, str] = field(default_factory=dict)

    def ask(self, path: str, method: str = "GET", body: str = "", **headers: str) -> Reply:
        sent = {
            "Host": f"{self.host}:{self.port}",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        if self.cookies:
            sent["Cookie"] = self._cookie
        with closing(HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.request(method, path, body.encode(), sent)
            response = connection.getresponse()
            set_cookies = SimpleCookie()
            for value in response.headers.get_all("set-cookie") or []:
                set_cookies.load(value)
            text = response.read().decode("utf-8", "replace")
        for name, morsel in set_cookies.items():
            if morsel["max-age"] == "0":
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = morsel.value
        return Reply(response.status, {k.lower(): v for k, v in response.headers.items()}, set_cookies, text)

    def post(self, path: str, **form: str) -> Reply:
        origin = {"Origin": f"http://{self.host}:{self.port}", "Content-Type": "application/x-www-form-urlencoded"}
        return self.ask(path, "POST", urlencode(form), **origin)

    def log_in(self, password: str = SESAME, **form: str) -> Reply:
        return self.post("/login", password=password, **form)

    def socket(self, **headers: str) -> ClientConnection:
        sent = {"Origin": f"http://{self.host}:{self.port}", **headers}
        if self.cookies:
            sent["Cookie"] = self._cookie
        origin: Any = sent.pop("Origin", None)
        url = f"ws://{sent.pop('Host', f'localhost:{self.port}')}/_stcore/stream"
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        protocols: Any = ["streamlit"]
        return connect(
            url, sock=raw, origin=origin, additional_headers=sent, subprotocols=protocols, open_timeout=30, proxy=None
        )

    @property
    def _cookie(self) -> str:
        return "; ".join(f"{name}={value}" for name, value in self.cookies.items())


def read_on(stream: ClientConnection) -> None:
    """Until nothing comes any more."""
    while True:
        stream.recv(timeout=30)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(folder: Path, *arguments: str, password: str | None = SESAME) -> Iterator[Browser]:
    """`rag ui` as it is started, in a process of its own."""
    port = free_port()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **({"FOOTNOTE_PASSWORD": password} if password else {})}
    command = [sys.executable, "-um", "rag.cli", "ui", "--no-browser", "--port", str(port), *arguments]
    process = subprocess.Popen(
        [*command, "--indexes", str(folder / "indexes")],
        cwd=folder, env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr is not None
    try:
        told = process.stderr.readline()
        assert f":{port}. Ctrl+C stops it." in told, told + process.stderr.read()
        yield Browser(port)
    finally:
        process.terminate()
        process.communicate()


@pytest.fixture(scope="module")
def public(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """One server for all: the loopback address in the part of a public one, so that no test listens elsewhere."""
    with serving(tmp_path_factory.mktemp("public"), "--public", "docs.example.org", "--listen", "127.0.0.1") as browser:
        yield browser


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with serving(tmp_path_factory.mktemp("private"), password=None) as browser:
        yield browser


def fresh(browser: Browser, host: str = "localhost") -> Browser:
    return Browser(browser.port, host)


# --- with --public


@pytest.mark.parametrize("path", PATHS)
def test_without_the_password_nothing_but_the_login_page_answers(public: Browser, path: str) -> None:
    page = fresh(public).ask(path, **HTML)
    assert page.status == HTTPStatus.UNAUTHORIZED
    assert "Enter the password to ask these documents." in page.body
    assert page.headers["cache-control"] == "no-store"
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        other = fresh(public).ask(path, method)
        assert (other.status, other.body) == (HTTPStatus.UNAUTHORIZED, "" if method == "HEAD" else "Log in first.\n")
        assert not other.cookies


def test_without_the_password_no_websocket_opens(public: Browser) -> None:
    guessed = fresh(public)
    guessed.cookies = {SESSION_COOKIE: "a" * 43, OWNER_COOKIE: "b" * 43}
    for browser in (fresh(public), guessed):
        with pytest.raises(InvalidStatus) as refused:
            browser.socket()
        assert refused.value.response.status_code == HTTPStatus.FORBIDDEN


def test_with_the_password_the_page_and_its_websocket_open(public: Browser) -> None:
    browser = fresh(public)
    reply = browser.log_in(next="/search?index=a&query=b")
    assert (reply.status, reply.headers["location"]) == (HTTPStatus.SEE_OTHER, "/search?index=a&query=b")
    page = browser.ask("/", **HTML)
    assert page.status == HTTPStatus.OK
    assert "streamlit" in page.body.lower()
    assert f"connect-src 'self' ws://127.0.0.1:{public.port} " in page.headers["content-security-policy"]
    assert browser.ask("/_stcore/health").status == HTTPStatus.OK
    with browser.socket() as stream:
        assert stream.subprotocol == "streamlit"


def test_cookies_are_out_of_reach_of_scripts_and_other_sites(public: Browser) -> None:
    cookies = fresh(public).log_in().cookies
    assert set(cookies) == {SESSION_COOKIE, OWNER_COOKIE}
    for morsel in cookies.values():
        assert (morsel["httponly"], morsel["samesite"].lower(), morsel["path"]) == (True, "strict", "/")
        assert re.fullmatch(r"[\w-]{43}", morsel.value)
        assert int(morsel["max-age"]) <= 400 * 86_400


def test_another_password_opens_nothing(public: Browser) -> None:
    browser = fresh(public)
    reply = browser.log_in("open barley, please")
    assert (reply.status, reply.cookies) == (HTTPStatus.UNAUTHORIZED, {})
    assert '<p role="alert" id="fault">That is not the password.</p>' in reply.body
    assert browser.log_in().status == HTTPStatus.SEE_OTHER  # and the tries before are forgotten


def test_a_proxy_on_this_machine_says_who_comes_and_how(public: Browser) -> None:
    def come(password: str, address: str) -> Reply:
        sent = {"X-Forwarded-For": address, "X-Forwarded-Proto": "https"}
        return fresh(public).ask("/login", "POST", urlencode({"password": password}), **sent)

    assert all(morsel["secure"] for morsel in come(SESAME, "198.51.100.1").cookies.values())
    tries = [come("wrong password", "198.51.100.2").status for _ in range(6)]
    assert tries == [HTTPStatus.UNAUTHORIZED] * 5 + [HTTPStatus.TOO_MANY_REQUESTS]
    assert come(SESAME, "198.51.100.3").status == HTTPStatus.SEE_OTHER


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere this machine has only one address of its own")
def test_nobody_else_says_who_comes_whatever_the_environment_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with serving(tmp_path, "--public", "docs.example.org", "--listen", "127.0.0.1") as browser:
        tries = []
        for n in range(6):
            source = ("127.0.0.2", 0)  # on this machine, but not where a proxy of it comes from
            with closing(HTTPConnection("127.0.0.1", browser.port, timeout=30, source_address=source)) as connection:
                sent = {"Host": f"localhost:{browser.port}", "X-Forwarded-For": f"198.51.100.{n}"}
                connection.request("POST", "/login", "password=wrong", sent)
                tries.append(connection.getresponse().status)
    assert tries == [HTTPStatus.UNAUTHORIZED] * 5 + [HTTPStatus.TOO_MANY_REQUESTS]


def test_logging_out_closes_what_is_open_and_keeps_the_key_to_the_threads(public: Browser) -> None:
    browser = fresh(public)
    browser.log_in()
    mine = browser.cookies[OWNER_COOKIE]
    assert '<form method="post" action="/logout">' in browser.ask("/logout", **HTML).body
    assert browser.ask("/", **HTML).status == HTTPStatus.OK  # a link alone logs nobody out
    taken = Browser(public.port, cookies=dict(browser.cookies))
    with browser.socket() as stream:
        assert browser.post("/logout").status == HTTPStatus.OK
        with pytest.raises(ConnectionClosed):
            read_on(stream)
    assert list(browser.cookies) == [OWNER_COOKIE]
    assert taken.ask("/", **HTML).status == HTTPStatus.UNAUTHORIZED  # with a copy of the cookie, too
    browser.log_in()
    assert browser.cookies[OWNER_COOKIE] == mine


def test_two_browsers_have_two_keys(public: Browser) -> None:
    one, two = fresh(public), fresh(public)
    one.log_in()
    two.log_in()
    assert {one.cookies[name] for name in one.cookies}.isdisjoint(two.cookies.values())


def test_a_session_without_its_owner_key_is_none(public: Browser) -> None:
    browser = fresh(public)
    browser.log_in()
    for key in (None, "", "short", "ö" * 43):
        other = fresh(public)
        other.cookies = {SESSION_COOKIE: browser.cookies[SESSION_COOKIE], **({OWNER_COOKIE: key} if key else {})}
        with suppress(UnicodeEncodeError):
            assert other.ask("/", **HTML).status == HTTPStatus.UNAUTHORIZED


def test_a_form_that_is_too_long_is_not_read(public: Browser) -> None:
    assert fresh(public).log_in("x" * 5000).status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_a_form_with_more_fields_than_ours_is_refused(public: Browser) -> None:
    sent = {"Content-Type": "application/x-www-form-urlencoded"}
    reply = fresh(public).ask("/login", "POST", "a&" * 20, **sent)
    assert (reply.status, reply.body) == (HTTPStatus.BAD_REQUEST, "That is not the login form.\n")


@pytest.mark.parametrize(
    "target",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "",
        "/\r\nSet-Cookie: a=b",
        "/logout",
    ],
)
def test_logging_in_leads_nowhere_else(public: Browser, target: str) -> None:
    assert fresh(public).log_in(next=target).headers["location"] == "/"


def test_the_path_in_the_login_page_is_text(public: Browser) -> None:
    page = fresh(public).ask('/?q="><script>alert(1)</script>'.replace("<", "%3C").replace('"', "%22"), **HTML)
    assert "<script" not in page.body
    assert 'name="next" value="/?q=%22&gt;%3Cscript&gt;alert(1)%3C/script&gt;"' in page.body
    assert "script-src" not in page.headers["content-security-policy"]
    assert page.headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")


def test_a_link_from_elsewhere_comes_back_with_its_cookie(public: Browser) -> None:
    page = fresh(public).ask("/?q=x", Sec_Fetch_Site="cross-site", **HTML)
    assert (page.status, '<meta http-equiv="refresh" content="0">' in page.body) == (HTTPStatus.OK, True)
    again = fresh(public).ask("/?q=x", Sec_Fetch_Site="same-origin", **HTML)
    assert (again.status, 'name="next" value="/?q=x"' in again.body) == (HTTPStatus.UNAUTHORIZED, True)


@pytest.mark.parametrize(
    "sent",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:1"},  # another program on this machine
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_another_site_neither_logs_in_nor_out_nor_opens_a_websocket(public: Browser, sent: dict[str, str]) -> None:
    browser = fresh(public)
    browser.log_in()
    for path in ("/login", "/logout", "/_stcore/upload_file/a/b"):
        assert browser.ask(path, "POST", urlencode({"password": SESAME}), **sent).status == HTTPStatus.FORBIDDEN
    if "Origin" in sent:
        with pytest.raises(InvalidStatus):
            browser.socket(**sent)
    assert browser.ask("/", **HTML).status == HTTPStatus.OK


def test_others_come_in_under_the_name_that_was_given_and_no_other(public: Browser) -> None:
    assert fresh(public, "docs.example.org").log_in().status == HTTPStatus.SEE_OTHER
    assert fresh(public, "127.0.0.1").log_in().status == HTTPStatus.SEE_OTHER
    for host in ("evil.example", "docs.example.org.evil.example", "xdocs.example.org", "user@docs.example.org"):
        assert fresh(public, host).log_in().status == HTTPStatus.BAD_REQUEST


# --- on this machine alone


def test_on_this_machine_no_password_is_asked_and_no_cookie_of_ours_is_set(private: Browser) -> None:
    page = fresh(private).ask("/", **HTML)
    assert page.status == HTTPStatus.OK
    assert not {SESSION_COOKIE, OWNER_COOKIE} & set(page.cookies)
    with fresh(private).socket() as stream:
        assert stream.subprotocol == "streamlit"


@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/_stcore/upload_file/a/b"])
def test_under_another_name_nothing_answers(private: Browser, path: str) -> None:
    for host in ("evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::1", "localhost:x"):
        reply = Browser(private.port).ask(path, Host=host, **HTML)
        assert (reply.status, reply.body) == (HTTPStatus.BAD_REQUEST, "This page is not known under that name.\n")


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        ("evil.example", "http://evil.example"),
        (None, "http://evil.example"),
        (None, "http://localhost:1"),
        (None, "null"),
    ],
)
def test_no_page_elsewhere_opens_its_websocket(private: Browser, host: str | None, origin: str) -> None:
    with pytest.raises(InvalidStatus) as refused:
        fresh(private).socket(Origin=origin, **({"Host": host} if host else {}))
    assert refused.value.response.status_code == HTTPStatus.FORBIDDEN


def test_no_other_site_uploads(private: Browser) -> None:
    reply = fresh(private).ask("/_stcore/upload_file/a/b", "PUT", "x", Origin="http://localhost:1")
    assert reply.status == HTTPStatus.FORBIDDEN


# --- how it is started


def test_a_password_is_needed_and_never_an_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "serve", lambda *_, **__: pytest.fail("it must not start"))
    monkeypatch.delenv("FOOTNOTE_PASSWORD", raising=False)
    run = CliRunner().invoke
    done = run(main, ["ui", "--public", "docs.example.org"])
    assert (done.exit_code, "expected a password for those who come in: set FOOTNOTE_PASSWORD" in done.output) == (
        1,
        True,
    )
    short = run(main, ["ui", "--public", "docs.example.org"], env={"FOOTNOTE_PASSWORD": "sesame"})
    assert (short.exit_code, "expected a password of 10 characters or more, got 6" in short.output) == (1, True)
    assert run(main, ["ui", "--password", SESAME]).exit_code == 2
    for alone in (["--listen", "0.0.0.0"], ["--certificate", "a.pem"], ["--key", "b.pem"]):
        assert "go with --public HOST" in run(main, ["ui", *alone]).output
    for named in ("0.0.0.0", "::", "*", "http://docs.example.org", "docs example", ""):
        done = run(main, ["ui", "--public", named], env={"FOOTNOTE_PASSWORD": SESAME})
        assert done.exit_code == 1, named


def test_the_password_is_taken_from_the_environment_and_leaves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(server, "serve", lambda folder, **options: seen.update(options, env=dict(os.environ)))
    monkeypatch.setenv("FOOTNOTE_PASSWORD", SESAME)
    done = CliRunner().invoke(
        main, ["ui", "--public", "Docs.Example.org.", "--public", "192.168.1.20", "--max-upload", "9"]
    )
    assert done.exit_code == 0, done.output
    public = seen["public"]
    assert (public.hosts, public.address, seen["max_upload_mb"]) == (("docs.example.org", "192.168.1.20"), "0.0.0.0", 9)
    assert public.password.matches(SESAME)
    assert SESAME not in repr(vars(public.password))
    assert "FOOTNOTE_PASSWORD" not in seen["env"]


def test_without_public_it_listens_here_alone_whatever_else_is_said() -> None:
    options = server.streamlit_options(8501, max_upload_mb=7)
    assert (options["server.address"], options["server.maxUploadSize"]) == ("127.0.0.1", 7)
    assert options["server.allowedHosts"] == ["127.0.0.1", "localhost", "::1"]
    assert (options["server.enableCORS"], options["server.enableXsrfProtection"]) == (True, True)
    assert options["server.enableAgentApi"] is False


def test_an_address_that_is_none_of_this_machine_is_said(tmp_path: Path) -> None:
    far = server.Public(("docs.example.org",), Password(SESAME), address="192.0.2.1")
    with pytest.raises(UsageError, match=r"'192.0.2.1' is no address of this machine"):
        server.serve(tmp_path, port=free_port(), public=far)


def test_a_certificate_that_is_not_there_is_said(tmp_path: Path) -> None:
    files = (tmp_path / "cert.pem", tmp_path / "key.pem")
    public = server.Public(("docs.example.org",), Password(SESAME), address="127.0.0.1", certificate=files)
    with pytest.raises(UsageError, match=r"no certificate or key in '.*cert\.pem': name the two PEM files"):
        server.serve(tmp_path, port=free_port(), public=public)


@pytest.mark.parametrize(
    ("said", "host"),
    [
        ("Docs.Example.ORG", "docs.example.org"),
        ("192.168.1.20", "192.168.1.20"),
        ("[2001:DB8:0::1]", "2001:db8::1"),
        ("büro.example", "xn--bro-hoa.example"),
        ("my_host", "my_host"),
    ],
)
def test_a_host_has_the_form_in_which_browsers_send_it(said: str, host: str) -> None:
    assert checked_host(said) == host
    assert host_name(f"[{host}]:8501" if ":" in host else f"{host}:8501") == host


def test_with_a_certificate_it_is_https(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    files = ["--certificate", str(tmp_path / "cert.pem"), "--key", str(tmp_path / "key.pem")]
    unverified = ssl._create_unverified_context()
    with serving(tmp_path, "--public", "localhost", "--listen", "127.0.0.1", *files) as browser:
        address = f"localhost:{browser.port}"
        with closing(HTTPSConnection("127.0.0.1", browser.port, timeout=30, context=unverified)) as connection:
            sent = {"Host": address, "Origin": f"https://{address}"}
            connection.request("POST", "/login", urlencode({"password": SESAME}), sent)
            response = connection.getresponse()
            cookies = response.headers.get_all("set-cookie") or []
            assert response.status == HTTPStatus.SEE_OTHER
        assert len(cookies) == 2
        assert all("; Secure" in cookie for cookie in cookies)


# --- owners


class Context:
    def __init__(self, cookies: dict[str, str]) -> None:
        self.cookies = cookies


def test_on_this_machine_the_owner_is_its_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PUBLIC_VARIABLE, raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    assert owner() == "user:ada"


def test_in_public_the_owner_is_the_key_in_the_browser_which_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    monkeypatch.setattr("streamlit.context", Context({OWNER_COOKIE: "k" * 43}))
    mine = owner()
    assert mine.startswith("browser:")
    assert "k" * 43 not in mine
    monkeypatch.setattr("streamlit.context", Context({OWNER_COOKIE: "l" * 43}))
    assert owner() != mine
    for cookies in ({}, {OWNER_COOKIE: "user:ada"}):
        monkeypatch.setattr("streamlit.context", Context(cookies))
        with pytest.raises(UsageError, match="this browser has lost its key: reload the page, and log in again"):
            owner()


# --- tries


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_five_tries_are_free_and_then_the_wait_doubles() -> None:
    clock = Clock()
    attempts = Attempts(clock)
    waits = []
    for _ in range(17):
        waits.append(attempts.wait_s("10.0.0.1"))
        clock.now += waits[-1]
        attempts.failed("10.0.0.1")
    assert waits == [0, 0, 0, 0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]
    assert attempts.wait_s("10.0.0.2") == 0
    clock.now += 86_400
    assert attempts.wait_s("10.0.0.1") == 0
    attempts.failed("10.0.0.1")
    assert attempts.wait_s("10.0.0.1") == 0


def test_one_who_has_many_addresses_of_one_network_waits_as_one() -> None:
    attempts = Attempts(Clock())
    for n in range(5):
        attempts.failed(f"2001:db8::{n:x}")
    assert attempts.wait_s("2001:db8::ffff:1") == 1
    assert attempts.wait_s("2001:db8:0:1::1") == 0
    for _ in range(5):
        attempts.failed("::ffff:10.0.0.1")
    assert attempts.wait_s("10.0.0.1") == 1
    assert attempts.wait_s("10.0.0.2") == attempts.wait_s("::ffff:10.0.0.2") == 0


@given(st.lists(st.text(max_size=4), max_size=20))
def test_any_address_is_counted(addresses: list[str]) -> None:
    attempts = Attempts(Clock())
    for address in addresses:
        attempts.failed(address)
    assert all(attempts.wait_s(address) >= 0 for address in addresses)


def test_addresses_are_forgotten_before_they_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_MOST_ADDRESSES", 3)
    attempts = Attempts(Clock())
    for _ in range(5):
        for n in range(4):
            attempts.failed(f"10.0.0.{n}")
    assert len(attempts._failed) == 3


def test_sessions_end_by_themselves_and_are_not_without_number(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    sessions = Sessions(clock)
    key = sessions.begin()
    session = sessions.find(key)
    assert session is not None
    clock.now += SESSION_S
    assert sessions.find(key) is None
    assert session.ended.is_set()
    assert sessions.find(None) is None
    monkeypatch.setattr(access, "_MOST_SESSIONS", 2)
    keys = [sessions.begin() for _ in range(3)]
    assert [sessions.find(key) is not None for key in keys] == [False, True, True]


@pytest.mark.parametrize(("kept", "said"), [("é" * 10, "e\u0301" * 10), ("ﬁ" * 10, "fi" * 10)])
def test_a_password_is_the_same_however_it_is_typed(kept: str, said: str) -> None:
    assert Password(kept).matches(said)
    assert not Password(kept).matches(f"{said} ")
    assert not Password(kept).matches("\ud800")


# --- the door by itself


def asked(
    door: Any, path: str, body: bytes = b"", *, method: str = "POST", client: str = "10.0.0.1"
) -> tuple[int, str]:
    """What a door answers to one request."""
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"accept", b"text/html")]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers}
    asyncio.run(door({**scope, "scheme": "https", "client": (client, 1)}, receive, send))
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


async def nothing(*_: object) -> None:
    pytest.fail("it must not be reached")


def test_who_tried_too_often_waits_even_with_the_password_and_others_do_not() -> None:
    clock = Clock()
    door = Access(nothing, password=Password(SESAME), attempts=Attempts(clock))
    right = urlencode({"password": SESAME}).encode()
    for _ in range(5):
        assert asked(door, "/login", b"password=wrong")[0] == HTTPStatus.UNAUTHORIZED
    status, page = asked(door, "/login", right)
    assert status == HTTPStatus.TOO_MANY_REQUESTS
    assert "Too many tries. Wait 2 s, then try again." in page
    assert asked(door, "/login", right, client="10.0.0.2")[0] == HTTPStatus.SEE_OTHER
    clock.now += 1
    assert asked(door, "/login", right)[0] == HTTPStatus.SEE_OTHER
    assert asked(door, "/login", b"password=wrong")[0] == HTTPStatus.UNAUTHORIZED  # counted anew


def test_many_tries_at_once_are_many() -> None:
    looked: list[str] = []

    class Counting(Password):
        def matches(self, text: str) -> bool:
            looked.append(text)
            return super().matches(text)

    door = Access(nothing, password=Counting(SESAME), attempts=Attempts(Clock()))

    async def at_once() -> None:
        async def one() -> None:
            sent = []

            async def receive() -> dict[str, Any]:
                return {"type": "http.request", "body": b"password=wrong"}

            async def send(message: Any) -> None:
                sent.append(message)

            scope: Any = {"type": "http", "method": "POST", "path": "/login", "query_string": b"", "headers": []}
            await door({**scope, "scheme": "http", "client": ("10.0.0.1", 1)}, receive, send)

        await asyncio.gather(*(one() for _ in range(50)))

    asyncio.run(at_once())
    assert len(looked) == 5


def test_over_https_cookies_are_secure() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": urlencode({"password": SESAME}).encode()}

    async def send(message: Any) -> None:
        sent.append(message)

    scope: Any = {
        "type": "http",
        "method": "POST",
        "path": "/login",
        "query_string": b"",
        "headers": [],
        "client": None,
    }
    asyncio.run(Access(nothing, password=Password(SESAME))({**scope, "scheme": "https"}, receive, send))
    cookies = [value.decode() for name, value in sent[0]["headers"] if name == b"set-cookie"]
    assert len(cookies) == 2
    assert all("; Secure" in cookie for cookie in cookies)


def test_what_is_neither_a_request_nor_a_websocket_passes() -> None:
    reached: list[str] = []

    async def app(scope: Any, *_: object) -> None:
        reached.append(scope["type"])

    doors: list[Callable[..., Any]] = [Access(app, password=Password(SESAME)), OwnHosts(app, hosts=["localhost"])]
    for door in doors:
        asyncio.run(door({"type": "lifespan"}, None, None))
    assert reached == ["lifespan", "lifespan"]
