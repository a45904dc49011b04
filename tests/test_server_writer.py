"""The writer behind a server, asked of a real one on this machine that misbehaves in every way we could think of."""

from __future__ import annotations

import gzip
import itertools
import json
import os
import re
import socket
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.errors import GeneratorError, UsageError
from rag.generators.base import Message, Writer
from rag.generators.server import ServerWriter
from tests.misbehaving_server import (
    DONE,
    Connection,
    MisbehavingServer,
    Reply,
    event,
    head,
    packets,
    says,
    status,
    stream,
    whole,
)
from tests.test_architecture import HEAVY, loaded_after

MESSAGES = [Message("system", "Be short."), Message("user", "Who makes honey? 蜂")]
KEY = "sk-Very-Secret-1234567890"
ANSWER = stream(says("Bees do."), says("", last="stop"), DONE)
HALF = {"choices": [{"delta": {"content": "Bees"}}]}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.lower().endswith("_proxy") or name in {"RAG_API_KEY", "OPENAI_API_KEY", "SSL_CERT_FILE"}:
            monkeypatch.delenv(name)


@pytest.fixture
def server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as made:
        yield made


@pytest.fixture
def waits() -> list[float]:
    """How long it was waited before each further try."""
    return []


@pytest.fixture
def writer(server: MisbehavingServer, waits: list[float]) -> ServerWriter:
    return made(server, sleep=waits.append)


def made(server: MisbehavingServer, **options: Any) -> ServerWriter:
    return ServerWriter("small", server.url, **{"timeout_s": 30.0, "sleep": lambda _: None, **options})


def written(writer: Writer, *, max_tokens: int = 50) -> list[str]:
    return list(writer.write(MESSAGES, max_tokens=max_tokens))


def failure(writer: Writer) -> tuple[list[str], str]:
    """The pieces that come, and the one line that says why no more do."""
    pieces = list[str]()
    with pytest.raises(GeneratorError) as caught:
        pieces.extend(writer.write(MESSAGES, max_tokens=50))  # what it took before the error stays
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 600
    return pieces, message


# --- what is asked, and what comes


def test_the_request_is_what_the_protocol_wants(server: MisbehavingServer, writer: ServerWriter) -> None:
    server.replies.append(ANSWER)
    assert written(writer) == ["Bees do."]
    (request,) = server.requests
    assert (request.method, request.target) == ("POST", "/v1/chat/completions")
    assert request.headers["content-type"] == "application/json"
    assert "authorization" not in request.headers
    assert request.body == {
        "model": "small",
        "messages": [
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": "Who makes honey? 蜂"},
        ],
        "stream": True,
        "temperature": 0,
        "max_tokens": 50,
    }


def test_a_lone_surrogate_is_not_sent(server: MisbehavingServer, writer: ServerWriter) -> None:
    server.replies.append(ANSWER)
    list(writer.write([Message("user", "a\ud800b")], max_tokens=5))
    assert server.requests[0].body["messages"] == [{"role": "user", "content": "a?b"}]


def test_nothing_is_asked_before_the_first_piece_is(server: MisbehavingServer, writer: ServerWriter) -> None:
    writer.write(MESSAGES, max_tokens=50)
    assert server.requests == []


def test_a_piece_is_there_before_the_next_one_is_written(server: MisbehavingServer, writer: ServerWriter) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"), says("Bees "))
        conn.wait()
        conn.send(says("do."), DONE)

    server.replies.append(reply)
    pieces = writer.write(MESSAGES, max_tokens=50)
    assert next(pieces) == "Bees "
    server.go_on.set()
    assert list(pieces) == ["do."]


def test_when_nobody_reads_on_the_connection_is_closed(server: MisbehavingServer, writer: ServerWriter) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"), says("Bees "))
        conn.wait_for_the_end()

    server.replies.append(reply)
    pieces: Any = writer.write(MESSAGES, max_tokens=50)
    assert next(pieces) == "Bees "
    assert not server.hung_up.is_set()
    pieces.close()
    assert server.hung_up.wait(30)


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning", "thinking"])
def test_thoughts_are_passed_over(server: MisbehavingServer, writer: ServerWriter, field: str) -> None:
    server.replies.append(
        stream(says(None, **{field: "Hm."}), says("", **{field: "Bees?"}), says("Bees do.", **{field: None}), DONE)
    )
    assert written(writer) == ["Bees do."]


NOISE = [
    b": keep-alive\n\n",
    b":\n",
    b"\n\n\n",
    b"event: ping\nid: 7\nretry: 100\n\n",
    event({"choices": []}),
    event({"choices": None, "usage": {"total_tokens": 7}}),
    event({"choices": [], "error": None}),
    event({"choices": [{"delta": {"role": "assistant"}, "finish_reason": ""}]}),
    event({"choices": [{"delta": {"role": "assistant", "content": None}, "finish_reason": None}]}),
    event({"choices": [{"delta": None}]}),
    event({"choices": [{"delta": {"content": 7}}]}),
    event({"choices": [7]}),
    event({"object": "something else"}),
]


@pytest.mark.parametrize("noise", NOISE)
def test_what_is_no_answer_is_passed_over(server: MisbehavingServer, writer: ServerWriter, noise: bytes) -> None:
    server.replies.append(stream(noise, says("Bees "), noise, says("do."), noise, DONE))
    assert written(writer) == ["Bees ", "do."]


@pytest.mark.parametrize(
    "parts",
    [
        [says("Bees do."), DONE],
        [says("Bees do."), says(None, last="stop")],
        [says("Bees do.", last="length")],
        [says("Bees do."), says(None, last="stop").strip()],  # no blank line, and not even an end of the line
        [says("Bees do."), DONE.strip()],
        [says("Bees do.").replace(b"\n", b"\r\n"), DONE.replace(b"\n", b"\r\n")],
        [says("Bees do.").replace(b"data: ", b"data:"), DONE.replace(b"data: ", b"data:")],
        [says("Bees do.").replace(b'"delta"', b'\ndata: "delta"'), DONE],
        [event({"choices": [{"message": {"content": "Bees do."}}]}), DONE],
        [says("Bees do."), DONE, says("And more."), event({"error": "behind the end"})],
        [says("Bees do.", last="stop"), event({"choices": [], "usage": {}}), says("And more.")],
    ],
)
def test_an_answer_ends_in_any_of_these_ways(
    server: MisbehavingServer, writer: ServerWriter, parts: list[bytes]
) -> None:
    server.replies.append(stream(*parts))
    assert written(writer) == ["Bees do."]


def test_behind_its_last_word_nothing_is_waited_for(server: MisbehavingServer, writer: ServerWriter) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"), says("Bees do.", last="stop"))
        conn.wait_for_the_end()

    server.replies.append(reply)
    assert written(writer) == ["Bees do."]
    assert server.hung_up.wait(30)


@pytest.mark.parametrize("last", ["stop", None])
def test_a_server_that_cannot_stream_is_read_in_one_piece(
    server: MisbehavingServer, writer: ServerWriter, last: str | None
) -> None:
    message = {"role": "assistant", "content": "Bees do.\u2028So there.", "reasoning": "Hm."}
    server.replies.append(whole({"choices": [{"message": message, "finish_reason": last}]}))
    assert written(writer) == ["Bees do.\u2028So there."]


def test_a_compressed_reply_is_read_though_none_is_asked_for(server: MisbehavingServer, writer: ServerWriter) -> None:
    packed = gzip.compress(json.dumps({"choices": [{"message": {"content": "Bees do."}}]}).encode())
    server.replies.append(lambda conn: conn.send(head("application/json", "Content-Encoding: gzip"), packed))
    assert written(writer) == ["Bees do."]
    assert server.requests[0].headers["accept-encoding"] == "identity"
    server.replies.append(lambda conn: conn.send(head("application/json", "Content-Encoding: gzip"), b"no gzip"))
    assert re.search(r"expected the whole answer of .*, but the connection broke off", failure(writer)[1])


def test_a_character_torn_into_two_escapes_is_one_again(server: MisbehavingServer, writer: ServerWriter) -> None:
    torn = [b'data: {"choices": [{"delta": {"content": "%s"}}]}\n\n' % part for part in (b"a \\ud83d", b"\\ude00 b")]
    server.replies += [stream(*torn, DONE), stream(torn[0], DONE)]
    assert "".join(written(writer)) == "a 😀 b"
    assert "".join(written(writer)) == "a \ufffd"


def test_bytes_that_are_no_text_are_passed_over(server: MisbehavingServer, writer: ServerWriter) -> None:
    server.replies.append(stream(says("Bees X do.").replace(b"X", b"\xff"), DONE))
    assert written(writer) == ["Bees \ufffd do."]
    server.replies.append(whole("\ufeff" + json.dumps({"choices": [{"message": {"content": "Bees do."}}]})))
    assert written(writer) == ["Bees do."]


TEXTS = ["Bees ", "do:\u2028", "蜂蜜 ", "é\u0085\u2029", "😀👩‍👧 ", '"quoted" \\ \n', "\r\n", "data: [DONE]", "."]


@pytest.fixture(scope="module")
def steady_server() -> Iterator[MisbehavingServer]:
    with MisbehavingServer() as made:
        yield made


@settings(max_examples=40, deadline=None)
@given(data=st.data(), crlf=st.booleans(), closed=st.booleans())
def test_however_a_stream_is_cut_into_packets_it_says_the_same(
    steady_server: MisbehavingServer, data: st.DataObject, crlf: bool, closed: bool
) -> None:
    content = b"".join([b": hello\n\n", *map(says, TEXTS), says(None, last="stop") if closed else b"", DONE])
    content = content.replace(b"\n", b"\r\n") if crlf else content
    cuts = sorted(data.draw(st.sets(st.integers(1, len(content) - 1), max_size=200)))
    steady_server.replies.append(packets(content[a:b] for a, b in itertools.pairwise([0, *cuts, len(content)])))
    assert written(made(steady_server)) == TEXTS


def test_byte_by_byte_it_says_the_same(server: MisbehavingServer, writer: ServerWriter) -> None:
    content = b"".join([*map(says, TEXTS), DONE])
    server.replies.append(packets(content[i : i + 1] for i in range(len(content))))
    assert written(writer) == TEXTS


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=300) | st.text('{}[]":,\n\rdata:error10nul \u2028é', max_size=300).map(str.encode))
def test_whatever_bytes_come_it_ends_with_an_answer_or_an_error(
    steady_server: MisbehavingServer, content: bytes
) -> None:
    steady_server.replies.append(packets([content, b"\n\n", says("Bees do."), DONE]))
    try:
        assert "".join(written(made(steady_server))).endswith("Bees do.")
    except GeneratorError as exc:
        assert str(exc).isprintable()  # noqa: PT017 - either is right


# --- what goes wrong in the middle


@pytest.mark.parametrize("error", [{"message": "out of memory\nat line 3", "code": 500}, "out of memory"])
def test_an_error_in_the_stream_is_told_behind_what_was_written(
    server: MisbehavingServer, writer: ServerWriter, error: object
) -> None:
    server.replies.append(stream(says("Bees "), event({"error": error}), DONE))
    pieces, message = failure(writer)
    assert pieces == ["Bees "]
    assert message == f"{writer.name} failed: out of memory; look at the server's log, and ask again"


def test_an_error_in_the_words_of_an_older_llama_cpp_is_told(server: MisbehavingServer, writer: ServerWriter) -> None:
    server.replies.append(stream(b'error: {"code": 500, "message": "context is full"}\n\n'))
    assert "failed: context is full;" in failure(writer)[1]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ({"type": "overloaded"}, '{"type": "overloaded"}'),
        ({"message": ""}, "an error without a message"),
        ("\x1b[31mred\x07\u202e alert\nmore", "[31mred   alert"),
        ("long " * 100, ("long " * 40)[:200] + "…"),
        (7, "7"),
    ],
)
def test_an_error_of_any_form_becomes_one_short_line(
    server: MisbehavingServer, writer: ServerWriter, error: object, told: str
) -> None:
    server.replies.append(whole({"error": error}))
    assert failure(writer)[1] == f"{writer.name} failed: {told}; look at the server's log, and ask again"


@pytest.mark.parametrize("chunked", [False, True])
def test_an_answer_that_breaks_off_is_an_error_behind_what_came(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float], chunked: bool
) -> None:
    piece = says("Bees ")
    framed = b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece
    lines = ["Transfer-Encoding: chunked"] if chunked else []
    server.replies.append(lambda conn: conn.send(head("text/event-stream", *lines), framed))
    pieces, message = failure(writer)
    assert pieces == ["Bees "]
    expected = "but the connection broke off" if chunked else "got its beginning, as the server closed the connection"
    assert re.search(rf"expected the whole answer of openai:small@.*, {expected}.*: look at the server's log", message)
    assert waits == []


def test_a_connection_reset_behind_a_piece_is_an_error_and_not_tried_again(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float]
) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"), says("Bees "))
        conn.wait()
        conn.reset()

    server.replies.append(reply)
    pieces = writer.write(MESSAGES, max_tokens=50)
    assert next(pieces) == "Bees "
    server.go_on.set()
    with pytest.raises(GeneratorError, match=r"expected the whole answer of .*, but the connection broke off \(.*\)"):
        next(pieces)
    assert (len(server.requests), waits) == (1, [])


@pytest.mark.parametrize("beginning", [b"", head("text/event-stream"), head("text/event-stream") + says("Bees ")])
def test_a_server_that_falls_silent_is_waited_for_only_so_long(
    server: MisbehavingServer, waits: list[float], beginning: bytes
) -> None:
    def reply(conn: Connection) -> None:
        conn.send(beginning)
        conn.wait()

    server.replies.append(reply)
    writer = made(server, timeout_s=0.5, sleep=waits.append)
    pieces, message = failure(writer)
    assert pieces == (["Bees "] if b"Bees" in beginning else [])
    assert message == (
        f"expected {writer.name} to write on, got nothing for 0.5 s: look at the server's log, or use a smaller model"
    )
    assert (len(server.requests), waits) == (1, [])


@pytest.mark.parametrize("trickle", [says(None, reasoning="Hm."), b": keep-alive\n\n", b"x"])
def test_a_trickle_ends_at_the_deadline(server: MisbehavingServer, trickle: bytes) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"), says("Bees "))
        conn.send_without_end(trickle)

    server.replies.append(reply)
    seconds = itertools.count()
    writer = made(server, deadline_s=5, clock=lambda: float(next(seconds)))
    pieces, message = failure(writer)
    assert pieces == ["Bees "]
    assert message.startswith(f"expected the answer of {writer.name} within 5 s, got no end of it: use a faster server")
    assert server.hung_up.wait(30)
    assert next(seconds) == 7  # it began at 0, and looked at 1 to 6


def test_all_tries_share_one_deadline(server: MisbehavingServer) -> None:
    now = 0.0

    def sleep(seconds: float) -> None:
        nonlocal now
        now += 100

    server.replies += [status(503, ""), ANSWER]
    writer = made(server, deadline_s=99, clock=lambda: now, sleep=sleep)
    assert "within 99 s, got no end of it" in failure(writer)[1]


def test_a_model_that_does_not_stop_is_stopped(server: MisbehavingServer, writer: ServerWriter) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"))
        conn.send_without_end(says("and then " * 10))

    server.replies.append(reply)
    pieces, message = failure(writer)
    assert len("".join(pieces)) <= 50 * 20
    assert re.search(r"expected at most 50 tokens from openai:small@.*, got 10\d\d characters and no end: the", message)
    assert server.hung_up.wait(30)


@pytest.mark.parametrize("packet", [b": keep-alive\n\n", b"data: x", says(None, reasoning="Hm." * 99)])
def test_bytes_without_end_are_not_read_to_the_end(
    server: MisbehavingServer, writer: ServerWriter, packet: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.generators.server._MOST_BYTES", 200_000)

    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"))
        conn.send_without_end(packet)

    server.replies.append(reply)
    assert "got more than 200000 bytes and no end" in failure(writer)[1]
    assert server.hung_up.wait(30)


@pytest.mark.parametrize(
    "reply",
    [
        stream(says(""), DONE),
        stream(says(" "), says("\n", last="stop"), DONE),
        stream(says(None, reasoning="Hm."), says(None, last="length"), DONE),
        stream(DONE),
        whole({"choices": [{"message": {"content": None}}]}),
        whole({"choices": []}),
        whole({}),
    ],
)
def test_an_answer_of_nothing_is_an_error(server: MisbehavingServer, writer: ServerWriter, reply: Reply) -> None:
    server.replies.append(reply)
    pieces, message = failure(writer)
    assert "".join(pieces).strip() == ""
    assert message.startswith(f"expected an answer of {writer.name}, got an empty one, perhaps as all of its 50 tokens")


# --- what is no reply of this protocol


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "text/plain", "application/x-ndjson", ""])
def test_another_kind_of_content_is_refused(server: MisbehavingServer, writer: ServerWriter, kind: str) -> None:
    server.replies.append(whole("<!doctype html><title>Hello</title>", kind=kind))
    assert failure(writer)[1] == (
        f"expected text/event-stream or application/json from {server.url}/v1, "
        f"got {kind.partition(';')[0] or 'no content type'}: give the address of its API, "
        "such as http://localhost:11434/v1"
    )


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("<!doctype html>\n<title>Hello</title>", "'<!doctype html>'"),
        ('{"choices": [', "'{\"choices\": ['"),
        ("[]", "'[]'"),
        ("null", "'null'"),
        ("", "'nothing'"),
        ("[" * 100_000, "'" + "[" * 200 + "…'"),
    ],
)
def test_what_is_no_json_is_refused(server: MisbehavingServer, writer: ServerWriter, content: str, told: str) -> None:
    server.replies.append(whole(content))
    expected = f"expected JSON of OpenAI's protocol from {server.url}/v1, got {told}: give the address of its API, such"
    assert failure(writer)[1].startswith(expected)
    if content and "\n" not in content:
        server.replies.append(stream(says("Bees "), b"data: " + content.encode() + b"\n\n", DONE))
        pieces, message = failure(writer)
        assert pieces == ["Bees "]
        assert message.startswith(expected)


def test_a_reply_without_a_body_is_refused(server: MisbehavingServer, writer: ServerWriter) -> None:
    server.replies.append(stream())
    assert "got its beginning, as the server closed the connection" in failure(writer)[1]


def test_what_is_no_http_is_refused(server: MisbehavingServer, writer: ServerWriter) -> None:
    server.replies.append(lambda conn: conn.send(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"))
    assert re.fullmatch(rf"expected HTTP from 127.0.0.1:{server.port}, got: .*; check the address", failure(writer)[1])


def test_a_server_without_encryption_asked_for_it_says_so(server: MisbehavingServer, waits: list[float]) -> None:
    server.replies.append(status(400, "plain HTTP here"))
    writer = ServerWriter("small", f"https://127.0.0.1:{server.port}", timeout_s=30, sleep=waits.append)
    expected = (
        rf"expected a secure connection to 127.0.0.1:{server.port}, got: .*SSL.*; check whether its address begins"
    )
    assert re.match(expected, failure(writer)[1])
    assert waits == []


# --- statuses


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"error": {"message": "it is too long", "type": "bad"}}, " (it is too long)"),
        ({"error": "it is too long\nby far"}, " (it is too long)"),
        ({"object": "error", "message": "it is too long", "code": 400}, " (it is too long)"),
        ({"detail": "it is too long"}, " (it is too long)"),
        ({"detail": [{"loc": ["body"], "msg": "no"}]}, ' ([{"loc": ["body"], "msg": "no"}])'),
        ("it is too long", " (it is too long)"),
        ("\n <html><body>it is", " (a web page)"),
        ({"error": {"message": "x" * 300}}, f" ({'x' * 200}…)"),
        ({"error": {"message": "\x1b[2Jgone"}}, " ([2Jgone)"),
        ({}, ""),
        ([], ""),
        ("", ""),
    ],
)
def test_a_refusal_is_told_in_the_servers_words(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float], body: object, told: str
) -> None:
    server.replies.append(status(400, body))
    assert failure(writer)[1] == (
        f"expected an answer of {writer.name}, got HTTP 400{told}: "
        "check the name of the model and the address, or look at the server's log"
    )
    assert waits == []


def test_of_a_refusal_without_end_the_beginning_is_told(
    server: MisbehavingServer, writer: ServerWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.generators.server._MOST_BYTES", 10**15)  # of an error, far less is read

    def endless(conn: Connection) -> None:
        conn.send(head("text/plain", code=400))
        conn.send_without_end(b"no and ")

    def torn(conn: Connection) -> None:
        conn.send(head("text/plain", "Content-Length: 100", code=400), b"no and ")

    def silent(conn: Connection) -> None:
        conn.send(head("text/plain", code=400), b"no and ")
        conn.wait()

    server.replies += [endless, torn, silent]
    assert f"got HTTP 400 ({('no and ' * 30)[:200]}…)" in failure(writer)[1]
    assert server.hung_up.wait(30)
    assert "got HTTP 400 (no and)" in failure(writer)[1]
    assert "got HTTP 400 (no and)" in failure(made(server, timeout_s=0.5))[1]


@pytest.mark.parametrize("n_models", [2, 7])
def test_a_model_that_is_not_there_is_named_beside_those_that_are(
    server: MisbehavingServer, writer: ServerWriter, n_models: int
) -> None:
    names = [f"model-{number}" for number in range(n_models)]
    server.replies += [
        status(404, {"error": {"message": "model 'small' not found"}}),
        whole({"data": [{"id": name} for name in names] + [{"id": 7}]}),
    ]
    known = ", ".join(names[:5]) + (" and others" if n_models > 5 else "")
    assert failure(writer)[1] == (
        f"expected an answer of {writer.name}, got HTTP 404 (model 'small' not found): "
        f"name a model that is there instead of 'small'; there are {known}"
    )
    assert [(request.method, request.target) for request in server.requests][1:] == [("GET", "/v1/models")]


@pytest.mark.parametrize(
    "models",
    [status(404, ""), whole("<html>", kind="text/html"), whole({"data": []}), whole({"data": None}), whole([]),
     whole({"data": ["x"]}), whole({"data": [{"name": "x"}]}), whole('{"da'), lambda conn: conn.reset()],
)  # fmt: skip
def test_a_model_that_is_not_there_is_told_where_the_server_lists_none(
    server: MisbehavingServer, writer: ServerWriter, models: Reply
) -> None:
    server.replies += [status(404, "<html>Not found</html>", kind="text/html"), models]
    assert failure(writer)[1] == (
        f"expected an answer of {writer.name}, got HTTP 404 (a web page): "
        f"name a model that is there instead of 'small'; see what GET {server.url}/v1/models lists"
    )


@pytest.mark.timeout(60)
def test_a_list_of_models_is_not_waited_for_as_long_as_an_answer(server: MisbehavingServer) -> None:
    server.replies += [status(404, ""), lambda conn: conn.wait()]
    assert (
        f"see what GET {server.url}/v1/models lists" in failure(made(server, connect_timeout_s=0.5, timeout_s=600))[1]
    )


@pytest.mark.parametrize("code", [401, 403])
def test_a_key_that_is_missing_or_wrong_is_told_by_its_variable(
    server: MisbehavingServer, writer: ServerWriter, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    server.replies += [status(code, {"error": "no"})] * 2
    expected = f"expected an answer of {writer.name}, got HTTP {code} (no): "
    assert failure(writer)[1] == f"{expected}put a key into the environment variable RAG_API_KEY"
    monkeypatch.setenv("RAG_API_KEY", KEY)
    assert failure(writer)[1] == f"{expected}check the key in the environment variable RAG_API_KEY"


@pytest.mark.parametrize("code", [301, 302, 307, 308])
def test_a_redirect_is_told_and_not_followed(server: MisbehavingServer, writer: ServerWriter, code: int) -> None:
    with MisbehavingServer() as other:
        server.replies.append(status(code, "", f"Location: {other.url}/v2?token=x"))
        assert failure(writer)[1] == (
            f"expected an answer of {writer.name}, got HTTP {code}, a redirect to '{other.url}/v2': "
            "give the address where the API is"
        )
        assert other.requests == []
    server.replies.append(status(code, ""))
    assert f"got HTTP {code}, a redirect to '': give" in failure(writer)[1]


def test_a_model_that_takes_neither_temperature_nor_max_tokens_is_asked_without(
    server: MisbehavingServer, waits: list[float]
) -> None:
    def refused(setting: str) -> Reply:
        return status(400, {"error": {"message": f"Unsupported: '{setting}'", "param": setting}})

    server.replies += [refused("max_tokens"), refused("temperature"), ANSWER]
    assert written(made(server, retries=0, sleep=waits.append)) == ["Bees do."]
    given_up = [
        {name for name in ("max_tokens", "max_completion_tokens", "temperature") if name in request.body}
        for request in server.requests
    ]
    assert given_up == [
        {"max_tokens", "temperature"},
        {"max_completion_tokens", "temperature"},
        {"max_completion_tokens"},
    ]
    assert server.requests[-1].body["max_completion_tokens"] == 50
    assert waits == []
    server.replies += [refused("max_tokens"), refused("max_tokens")]
    assert "got HTTP 400 (Unsupported: 'max_tokens')" in failure(made(server))[1]
    server.replies += [refused("stream")]
    assert "got HTTP 400 (Unsupported: 'stream')" in failure(made(server))[1]


# --- trying again


@pytest.mark.parametrize("code", [408, 429, 500, 502, 503, 504])
def test_a_server_that_is_busy_is_asked_again(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float], code: int
) -> None:
    server.replies += [status(code, {"error": "busy"}), status(code, ""), ANSWER]
    assert written(writer) == ["Bees do."]
    assert waits == [0.5, 1.0]
    server.replies += [status(code, {"error": "busy"})] * 3
    assert failure(writer)[1] == (
        f"expected an answer of {writer.name}, got HTTP {code} (busy): "
        "ask again in a while, or look at the server's log"
    )
    assert len(server.requests) == 6


@pytest.mark.parametrize("code", [400, 401, 403, 405, 413, 422, 501])
def test_what_would_be_refused_again_is_not_asked_again(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float], code: int
) -> None:
    server.replies.append(status(code, ""))
    assert f"got HTTP {code}:" in failure(writer)[1]
    assert waits == []


@pytest.mark.parametrize(
    ("asked", "wait"),
    [("3", 3), ("0", 0), ("1.5", 1.5), ("3600", 10), ("9" * 9, 10), ("9" * 99, 0.5), ("-1", 0.5), ("soon", 0.5),
     ("", 0.5), ("nan", 0.5), ("Wed, 21 Oct 2026 07:28:00 GMT", 0.5)],
)  # fmt: skip
def test_a_server_that_says_when_is_asked_then(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float], asked: str, wait: float
) -> None:
    server.replies += [status(429, "", f"Retry-After: {asked}"), ANSWER]
    assert written(writer) == ["Bees do."]
    assert waits == [wait]


def test_waiting_doubles_up_to_a_limit(server: MisbehavingServer, waits: list[float]) -> None:
    server.replies += [status(503, "")] * 8
    failure(made(server, retries=7, sleep=waits.append))
    assert waits == [0.5, 1, 2, 4, 8, 10, 10]


@pytest.mark.parametrize(
    "breaks",
    [lambda conn: conn.reset(), lambda conn: None],
    ids=["reset", "closed"],
)
def test_a_connection_that_breaks_before_the_reply_is_made_again(
    server: MisbehavingServer, writer: ServerWriter, waits: list[float], breaks: Reply
) -> None:
    server.replies += [breaks, ANSWER]
    assert written(writer) == ["Bees do."]
    assert waits == [0.5]
    server.replies += [breaks] * 3
    expected = r"expected an answer of .*, but the server closed the connection \(.+\): look at the server's log"
    assert re.match(expected, failure(writer)[1])


def test_a_connection_reset_before_the_first_piece_is_made_again(server: MisbehavingServer, waits: list[float]) -> None:
    def reply(conn: Connection) -> None:
        conn.send(head("text/event-stream"))
        conn.reset()

    server.replies += [reply, ANSWER]
    assert written(made(server, sleep=waits.append)) == ["Bees do."]
    assert waits == [0.5]


def test_a_server_that_is_not_there_is_told_by_host_and_port(waits: list[float]) -> None:
    port = free_port()
    writer = ServerWriter("small", f"http://127.0.0.1:{port}", sleep=waits.append)
    pieces, message = failure(writer)
    assert pieces == []
    assert re.fullmatch(
        rf"the server at 127.0.0.1:{port} cannot be reached \(.*refused.*\): start it, or check the address", message
    )
    assert waits == [0.5, 1.0]


def test_a_server_that_is_started_meanwhile_is_found() -> None:
    port = free_port()
    late = list[MisbehavingServer]()

    def start(_: float) -> None:
        late.append(MisbehavingServer(ANSWER, port=port).__enter__())

    assert written(ServerWriter("small", f"http://127.0.0.1:{port}", sleep=start)) == ["Bees do."]
    late[0].__exit__()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (socket.gaierror(-2, "Name or service not known"), r"models.example:80 cannot be reached \(.*Name or service"),
        (TimeoutError("timed out"), r"models.example:80 did not take the connection within 0.5 s: start it, or check"),
        (OSError(113, "No route to host"), r"models.example:80 cannot be reached \(.*No route to host\): start it"),
    ],
)
def test_an_address_that_leads_nowhere_is_told_at_once(
    monkeypatch: pytest.MonkeyPatch, waits: list[float], error: OSError, told: str
) -> None:
    timeouts = list[float]()

    def connect(_: object, timeout: float, **__: object) -> socket.socket:
        timeouts.append(timeout)
        raise error

    monkeypatch.setattr(socket, "create_connection", connect)
    writer = ServerWriter("small", "http://models.example", connect_timeout_s=0.5, sleep=waits.append)
    assert re.match(rf"the server at {told}", failure(writer)[1])
    assert (timeouts, waits) == ([0.5], [])


def free_port() -> int:
    """A port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


# --- addresses and names


@pytest.mark.parametrize(
    ("url", "whole_url"),
    [
        ("http://localhost:11434", "http://localhost:11434/v1"),
        ("http://localhost:11434/", "http://localhost:11434/v1"),
        ("http://localhost:11434/v1/", "http://localhost:11434/v1"),
        ("http://localhost:11434/v1/chat/completions", "http://localhost:11434/v1"),
        ("HTTPS://API.OpenAI.com/v1", "https://api.openai.com/v1"),
        ("https://models.example/some/Path//", "https://models.example/some/Path"),
        ("http://[::1]:8000/v1", "http://[::1]:8000/v1"),
        (" http://my_server-1.lan \n", "http://my_server-1.lan/v1"),
    ],
)
def test_the_name_is_how_it_is_asked_for(url: str, whole_url: str) -> None:
    writer: Writer = ServerWriter("org/model:7b", url)
    assert writer.name == f"openai:org/model:7b@{whole_url}"
    assert list(writer.control_tokens) == []


@pytest.mark.parametrize(
    "url",
    ["", "localhost:11434", "ftp://localhost/v1", "http://", "http:///v1", "https://:80/v1", "http://a b/v1",
     "http://localhost:0", "http://localhost:65536", "http://localhost:port/v1", "http://localhost:/v1",
     "http://[::1/v1", "http://[1:2]/v1", "http://löcal/v1", "http://a..b/v1", f"http://{'a' * 64}/v1",
     "http://localhost\\evil.example/v1", "http://localhost/v1\\x", "http://local\nhost/v1", "http://localhost/a b",
     "http://localhost:１１/v1"],
)  # fmt: skip
def test_an_address_of_another_form_is_refused(url: str) -> None:
    expected = "expected the address of a server in the form http://localhost:11434/v1, without a query; got "
    with pytest.raises(UsageError, match=re.escape(expected + repr(url))):
        ServerWriter("small", url)


@pytest.mark.parametrize("url", [f"http://localhost/v1?key={KEY}", f"http://localhost/v1#{KEY}", f"local?{KEY}"])
def test_an_address_with_a_query_is_refused_without_telling_it(url: str) -> None:
    with pytest.raises(UsageError, match=r"without a query; got '(http://localhost/v1|local)'$") as caught:
        ServerWriter("small", url)
    assert KEY not in str(caught.value)


@pytest.mark.parametrize(
    ("model", "url"),
    [
        ("small", f"http://user:{KEY}@localhost/v1"),
        ("small", f"https://{KEY}@models.example/v1"),
        ("small", f"http://user:a/{KEY}@localhost/v1"),
        ("small", f"user:{KEY}@localhost"),
        (f"small@http://user:{KEY}", "localhost/v1"),  # as openai:MODEL@URL comes apart
        (f"http://user:{KEY}", "localhost/v1"),
    ],
)
def test_a_password_in_the_address_is_refused_without_telling_it(model: str, url: str) -> None:
    with pytest.raises(UsageError, match=r"put the key into the environment variable RAG_API_KEY instead$") as caught:
        ServerWriter(model, url)
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize("model", ["", "  ", "a\nb", "a\x1b[2Jb"])
def test_a_model_needs_a_name(model: str) -> None:
    with pytest.raises(UsageError, match="expected the name of a model, as the server calls it; got "):
        ServerWriter(model, "http://localhost")


# --- keys


class Recorder:
    """In the place of the network: answers whatever is asked, and notes it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, code: int = 200) -> None:
        self.requests = list[httpx.Request]()
        self._code = code
        monkeypatch.setattr(httpx.HTTPTransport, "handle_request", lambda _, request: self._reply(request))

    def _reply(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        return httpx.Response(self._code, json={"choices": [{"message": {"content": "Bees do."}}]})

    @property
    def keys(self) -> list[str | None]:
        return [request.headers.get("authorization") for request in self.requests]


@pytest.mark.parametrize(
    ("url", "sent"),
    [
        ("https://api.openai.com/v1", "of openai"),
        ("https://eu.api.openai.com/v1", "of openai"),
        ("https://openai.com", "of openai"),
        ("https://openai.com.evil.example/v1", None),
        ("https://evil-openai.com/v1", None),
        ("https://evil.example/openai.com", None),
        ("http://localhost:11434/v1", None),
    ],
)
def test_the_key_of_openai_is_for_openai_alone(monkeypatch: pytest.MonkeyPatch, url: str, sent: str | None) -> None:
    recorder = Recorder(monkeypatch)
    monkeypatch.setenv("OPENAI_API_KEY", "of-openai")
    written(ServerWriter("small", url))
    assert recorder.keys == [f"Bearer {sent.replace(' ', '-')}" if sent else None]
    monkeypatch.setenv("RAG_API_KEY", "ours\n")  # as files end
    written(ServerWriter("small", url))
    assert recorder.keys[1:] == ["Bearer ours"]


def test_a_key_that_openai_misses_is_told_by_both_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    Recorder(monkeypatch, code=401)
    writer = ServerWriter("small", "https://api.openai.com")
    assert failure(writer)[1].endswith(": put a key into the environment variable RAG_API_KEY or OPENAI_API_KEY")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    assert failure(writer)[1].endswith(": check the key in the environment variable OPENAI_API_KEY")


@pytest.mark.parametrize(
    "host", ["models.example", "192.168.1.7:8000", "0.0.0.0:8000", "127.0.0.1.evil.example", "localhost.evil.example"]
)
def test_a_key_is_not_sent_in_the_clear(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    recorder = Recorder(monkeypatch)
    writer = ServerWriter("small", f"http://{host}")  # without a key anything goes
    written(writer)
    assert recorder.keys == [None]
    monkeypatch.setenv("RAG_API_KEY", KEY)
    expected = (
        r"expected an address with https, as a key is not sent to .* in the clear: give one, or unset RAG_API_KEY"
    )
    with pytest.raises(UsageError, match=expected) as caught:
        written(writer)
    assert KEY not in repr(caught.value)
    with pytest.raises(UsageError, match=expected):
        ServerWriter("small", f"http://{host}")
    assert len(recorder.requests) == 1
    written(ServerWriter("small", f"https://{host}"))
    assert recorder.keys[1:] == [f"Bearer {KEY}"]


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:8000", "127.8.9.1", "[::1]:8000", "LOCALHOST"])
def test_on_this_machine_a_key_may_go_in_the_clear(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("RAG_API_KEY", KEY)
    recorder = Recorder(monkeypatch)
    written(ServerWriter("small", f"http://{host}"))
    assert recorder.keys == [f"Bearer {KEY}"]


@pytest.mark.parametrize("key", [f"{KEY} x", f"{KEY}\nx: y", f"{KEY}é", f"{KEY}\x7f"])
def test_a_key_that_is_none_is_refused_without_telling_it(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("RAG_API_KEY", key)
    with pytest.raises(UsageError, match="expected a key of letters, digits and signs of ASCII in RAG_API_KEY: set it"):
        ServerWriter("small", "http://localhost")


@pytest.mark.parametrize(
    "replies",
    [
        [status(401, {"error": f"wrong key {KEY}, that is {KEY}"})],
        [status(400, {"error": {"message": "x" * 190 + KEY}})],  # where the cut goes through it
        [status(400, KEY)],
        [status(302, "", f"Location: http://elsewhere.example/{KEY}")],
        [status(404, ""), whole({"data": [{"id": KEY}]})],
        [whole({"error": KEY})],
        [whole(f"<html>{KEY}")],
        [whole("", kind=f"text/{KEY}")],
        [stream(event({"error": {"message": f"for {KEY}"}}))],
        [stream(event(f"no JSON {KEY}"))],
        [lambda conn: conn.send(f"HTTP/9 {KEY}\r\n\r\n".encode())],
        [lambda conn: conn.send(head("application/json", f"{KEY} no colon"))],
    ],
)
def test_a_key_is_in_no_message_whatever_the_server_echoes(
    server: MisbehavingServer, writer: ServerWriter, monkeypatch: pytest.MonkeyPatch, replies: list[Reply]
) -> None:
    monkeypatch.setenv("RAG_API_KEY", KEY)
    server.replies += replies
    with pytest.raises(GeneratorError) as caught:
        written(writer)
    assert server.requests[0].headers["authorization"] == f"Bearer {KEY}"
    for told in (str(caught.value), repr(caught.value), repr(vars(caught.value)), writer.name, repr(writer)):
        assert KEY[:10].lower() not in told.lower()
    assert KEY not in repr(vars(writer))


# --- proxies


def test_this_machine_is_asked_directly_whatever_proxy_is_set(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with MisbehavingServer() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
            monkeypatch.setenv(name.lower(), proxy.url)
        server.replies += [ANSWER] * 2
        assert written(made(server)) == ["Bees do."]
        assert written(ServerWriter("small", f"http://localhost:{server.port}")) == ["Bees do."]
        assert proxy.requests == []
        assert [request.target for request in server.requests] == ["/v1/chat/completions"] * 2


def test_certificates_that_are_not_there_matter_only_where_some_are_needed(
    server: MisbehavingServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/no/such/file")
    server.replies.append(ANSWER)
    assert written(made(server)) == ["Bees do."]
    assert "look at HTTPS_PROXY" in failure(ServerWriter("small", "https://127.0.0.1:1"))[1]


def test_other_machines_are_asked_through_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    with MisbehavingServer(ANSWER) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        assert written(ServerWriter("small", "http://models.example:8000/v1")) == ["Bees do."]
        assert [request.target for request in proxy.requests] == ["http://models.example:8000/v1/chat/completions"]


def test_a_proxy_that_refuses_is_told(monkeypatch: pytest.MonkeyPatch, waits: list[float]) -> None:
    with MisbehavingServer(status(407, "")) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        message = failure(ServerWriter("small", "https://models.example", sleep=waits.append))[1]
    assert re.match(r"the proxy between here and models.example:443 refused: .*407.*; look at HTTPS_PROXY", message)
    assert waits == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("http_proxy", f"socks5://user:{KEY}@127.0.0.1:1080"), ("http_proxy", f"gopher://user:{KEY}@127.0.0.1"),
     ("SSL_CERT_FILE", "/no/such/file")],
)  # fmt: skip
def test_an_environment_that_cannot_be_used_is_told(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    message = failure(ServerWriter("small", "http://models.example"))[1]
    assert message.startswith("cannot make a connection to models.example:80, as the environment names a proxy or cert")
    assert KEY not in message


# --- counting


def tokens(*texts: str) -> int:
    return ServerWriter("small", "http://localhost").count_tokens([Message("user", text) for text in texts])


def test_prompt_and_answer_share_the_context() -> None:
    assert ServerWriter("small", "http://localhost").room(400) == 8192 - 400
    assert ServerWriter("small", "http://localhost", context_tokens=300).room(400) == -100
    with pytest.raises(UsageError, match="expected a context of 1 token or more, got 0"):
        ServerWriter("small", "http://localhost", context_tokens=0)


def test_tokens_are_counted_on_the_high_side() -> None:
    assert (tokens(), tokens(""), tokens("", "")) == (32, 40, 48)  # a template, and what is around each message
    assert tokens("The cat sat") == 40 + 3  # |The| cat| sat|
    assert tokens("Honey") == 40 + 2  # |Hone|y|
    assert tokens("2024-03-01 | 7.5") == 40 + 16  # as many small models have no tokens of several digits
    assert tokens("EU, BGB") == 40 + 7
    assert tokens("蜂蜜はおいしい") == 40 + 11  # 7 characters of 3 bytes
    assert tokens("Добрый день") == 40 + 11
    assert tokens("😀") == 40 + 2
    assert tokens("\x00\x7f") == 40 + 2
    assert tokens("a\n\n\n    b") == 40 + 6  # |a|\n|\n|\n|    |b|


@given(st.text(st.characters(), max_size=40), st.text(st.characters(), max_size=40))
def test_more_text_is_never_fewer_tokens_nor_fewer_than_a_fourth_of_its_characters(text: str, more: str) -> None:
    assert tokens(text + more) >= tokens(text)
    # The most of one token are a space, a capital and three small letters; white space in a row is one, too.
    assert tokens(text) - 40 >= len(re.sub(r"\s+", " ", text)) / 5
    assert tokens(text, more) - 32 == (tokens(text) - 32) + (tokens(more) - 32)


def test_importing_it_loads_nothing_heavy() -> None:
    code = "from rag.generators.server import ServerWriter; ServerWriter('small', 'http://localhost')"
    assert not loaded_after(code) & (HEAVY | {"httpx", "httpcore", "anyio", "numpy", "onnxruntime"})
