"""A server of raw sockets on this machine, which replies as it is told: in torn packets, halfway, or not at all."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self


@dataclass(frozen=True)
class Request:
    method: str
    target: str  # a path, or a whole address where the server is asked as a proxy
    headers: dict[str, str]  # names in small letters
    body: Any  # from JSON


class Connection:
    """What a reply has to work with."""

    def __init__(self, conn: socket.socket, *, go_on: threading.Event, hung_up: threading.Event) -> None:
        self._conn = conn
        self._go_on = go_on
        self._hung_up = hung_up

    def send(self, *packets: bytes) -> None:
        for packet in packets:
            self._conn.sendall(packet)

    def wait(self) -> None:
        """Until the test says `go_on`, or ends."""
        self._go_on.wait()
        self._go_on.clear()

    def wait_for_the_end(self) -> None:
        """Until the other side closes."""
        with suppress(OSError):
            while self._conn.recv(4096):
                pass
        self._hung_up.set()

    def send_without_end(self, packet: bytes) -> None:
        with suppress(OSError):
            while True:
                self._conn.sendall(packet)
        self._hung_up.set()

    def reset(self) -> None:
        self._conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._conn.close()


Reply = Callable[[Connection], None]


class MisbehavingServer:
    """Each connection has one request, and gets the next of the replies."""

    def __init__(self, *replies: Reply, port: int = 0) -> None:
        self.replies = list(replies)
        self.requests = list[Request]()
        self.go_on = threading.Event()
        self.hung_up = threading.Event()
        self._ended = False
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._serve)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self.go_on.set()
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port)):
            pass  # so that it looks up from waiting
        self._thread.join()
        self._listener.close()
        assert not self.replies, "it was asked less often than the test expected"

    def _serve(self) -> None:
        while True:
            conn, _ = self._listener.accept()
            with conn:
                if self._ended:
                    return
                conn.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with suppress(OSError):  # the other side may close whenever it likes
                    self._take(conn)
                    reply = self.replies.pop(0) if self.replies else status(418, "asked more often than expected")
                    reply(Connection(conn, go_on=self.go_on, hung_up=self.hung_up))

    def _take(self, conn: socket.socket) -> None:
        """Notes the request; one that is no HTTP is passed over."""
        content = b""
        while b"\r\n\r\n" not in content:
            content += conn.recv(65536)
            if not content or content[0] == 0x16:  # the beginning of TLS
                return
        head, _, body = content.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        while len(body) < int(headers.get("content-length", 0)):
            body += conn.recv(65536)
        method, target, _ = first.split(" ")
        self.requests.append(Request(method, target, headers, json.loads(body) if body else None))


# --- replies


def head(kind: str, *lines: str, code: int = 200) -> bytes:
    """The beginning of a reply that ends where the connection does."""
    typed = [f"Content-Type: {kind}"] if kind else []
    return "\r\n".join([f"HTTP/1.1 {code} Said", *typed, *lines, "Connection: close", "\r\n"]).encode("latin-1")


def status(code: int, body: object, *lines: str, kind: str = "application/json") -> Reply:
    """A reply that is an error; a body that is no text is sent as JSON."""
    content = body if isinstance(body, str) else json.dumps(body)
    return lambda conn: conn.send(head(kind, *lines, code=code), content.encode())


def whole(body: object, *, kind: str = "application/json") -> Reply:
    return status(200, body, kind=kind)


def event(data: object) -> bytes:
    return b"data: " + (data if isinstance(data, str) else json.dumps(data, ensure_ascii=False)).encode() + b"\n\n"


def says(text: str | None, *, last: str | None = None, **fields: object) -> bytes:
    """An event that holds a piece of the answer."""
    return event({"choices": [{"index": 0, "delta": {"content": text, **fields}, "finish_reason": last}]})


DONE = event("[DONE]")


def stream(*parts: bytes) -> Reply:
    return lambda conn: conn.send(head("text/event-stream"), *parts)


def packets(parts: Iterable[bytes]) -> Reply:
    """A stream in chunks of HTTP, which are handed on one by one, however the network puts them together."""

    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream", "Transfer-Encoding: chunked"))
        conn.send(b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts if part) + b"0\r\n\r\n")

    return reply
