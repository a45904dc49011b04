"""The writer behind a server: any that speaks OpenAI's protocol, such as Ollama, llama.cpp, vLLM or LM Studio."""

from __future__ import annotations

import codecs
import ipaddress
import json
import os
import re
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import TYPE_CHECKING

from rag.errors import GeneratorError, UsageError
from rag.generators.base import Message

if TYPE_CHECKING:
    import httpx

KEY_VARIABLE = "RAG_API_KEY"  # its key is sent to any server that is named
OPENAI_KEY_VARIABLE = "OPENAI_API_KEY"  # its key is sent to hosts of openai.com only

_EXAMPLE = "http://localhost:11434/v1"
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
# Only what every reader of addresses reads in one way; other hosts can be written as xn--...
_URL = re.compile(
    rf"""(https?)://({_LABEL}(?:\.{_LABEL})*|\[[0-9a-f:.]+\])(?::([0-9]{{1,5}}))?(/[!"$->@-\[\]-~]*)?""", re.IGNORECASE
)

_PASSING = {408, 429, 500, 502, 503, 504}  # statuses after which the same request may work
_FIRST_WAIT_S = 0.5  # doubled with each try
_LONGEST_WAIT_S = 10.0
_CHARACTERS_PER_TOKEN = 20  # more than any answer has on average
_MOST_BYTES = 16 * 2**20  # of one reply, thoughts and whatever is put around the pieces included
_MOST_ERROR_BYTES = 2**16
_LONGEST_QUOTE = 200  # characters of what a server says that are passed on

# A token of an unknown model: up to three small letters with the capital and the space before them, or one other
# character; beyond ASCII, two bytes. Tried on the vocabularies of Mistral 7B (32,000 tokens) and Qwen (152,000), this
# is 1.5 to 1.7 times the tokens of English prose and 1.1 to 1.8 times those of code, tables, German and Chinese. What
# comes out too low is rare: 0.9 of Polish for Mistral, 0.8 of emoji, 0.6 of a list of foreign names.
_PARTS = re.compile(r" ?[A-Z]?[a-z]{1,3}|[^\S\n]+|[\x00-\x7f]")
_WIDE = re.compile(r"[^\x00-\x7f]+")
_AROUND_MESSAGE = 8  # tokens of a chat template
_AROUND_PROMPT = 32


class ServerWriter:
    """A model behind a server that speaks OpenAI's protocol: POST URL/chat/completions, as a stream of events.

    A key is read from the environment with each request and kept nowhere. Redirects are not followed.
    """

    control_tokens: Sequence[str] = ()

    def __init__(
        self,
        model: str,
        url: str,
        *,
        timeout_s: float = 180.0,
        connect_timeout_s: float = 5.0,
        deadline_s: float = 600.0,
        retries: int = 2,
        context_tokens: int = 8192,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Check the address; the server is asked when something is to be written.

        Args:
            model: as the server names it.
            url: of the server's API, such as http://localhost:11434/v1. Without a path it gets /v1.
            timeout_s: the longest silence. A model that reads a long prompt on a CPU is silent for a minute or two.
            connect_timeout_s: until the server takes the connection.
            deadline_s: until the end of the answer, all tries together; looked at whenever something comes.
            retries: how often it is tried again where the server is not there, breaks off or says that it is busy, and
                has not yet written anything.
            context_tokens: that the server gives to prompt and answer together. Its protocol cannot ask for it.
            sleep: waits before it is tried again.
            clock: what the deadline is of, in seconds.

        Raises:
            UsageError: the model has no name, the address another form or a user and password in it, the context no
                room, or there is a key that would be sent in the clear.
        """
        if "@" in url or "://" in model:  # openai:MODEL@http://USER:PASSWORD@HOST comes apart at its last @
            raise UsageError(
                f"expected the address of a server without user and password, such as {_EXAMPLE}: "
                f"put the key into the environment variable {KEY_VARIABLE} instead"
            )
        if context_tokens < 1:
            raise UsageError(f"expected a context of 1 token or more, got {context_tokens!r}")
        if not model.strip() or not model.isprintable():
            raise UsageError(f"expected the name of a model, as the server calls it; got {model!r}")
        scheme, host, port, path = _address(url)
        self._url = f"{scheme}://{host}{f':{port}' if port else ''}{path}"
        self._at = f"{host}:{port or {'http': 80, 'https': 443}[scheme]}"
        self._host = host
        self._on_this_machine = is_loopback(host)
        self._in_the_clear = scheme == "http" and not self._on_this_machine
        self._model = model
        self._timeout_s = timeout_s
        self._connect_timeout_s = connect_timeout_s
        self._deadline_s = deadline_s
        self._retries = retries
        self._sleep = sleep
        self._clock = clock
        self.context_tokens = context_tokens
        self.name = f"openai:{model}@{self._url}"
        self._key()  # to refuse at once what could never be sent

    def room(self, max_tokens: int) -> int:
        return self.context_tokens - max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        """An estimate on the high side: the server's tokenizer is not known."""
        return _AROUND_PROMPT + sum(_AROUND_MESSAGE + _estimated_tokens(message.content) for message in messages)

    def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        """As `Writer.write`. Nothing is asked before the first piece is; closing the iterator closes the connection."""
        body: dict[str, object] = {
            "model": self._model,
            "messages": [{"role": message.role, "content": _encodable(message.content)} for message in messages],
            "stream": True,
            "temperature": 0,
            "max_tokens": max_tokens,
        }
        until = self._clock() + self._deadline_s
        n_tries, begun = 0, False
        while True:
            try:
                with closing(self._asked(body, max_tokens=max_tokens, until=until)) as pieces:
                    for piece in pieces:
                        begun = True
                        yield piece
                return
            except _UnwantedSettingError as exc:
                body.pop(exc.setting)
                if exc.setting == "max_tokens":
                    body["max_completion_tokens"] = max_tokens
            except _PassingError as exc:
                if begun or n_tries >= self._retries:
                    raise
                wait_s = _FIRST_WAIT_S * 2**n_tries if exc.wait_s is None else exc.wait_s
                self._sleep(min(wait_s, _LONGEST_WAIT_S))
                n_tries += 1

    def _asked(self, body: Mapping[str, object], *, max_tokens: int, until: float) -> Generator[str, None, None]:
        """The pieces of one try."""
        import httpx

        _, key = self._key()
        headers = {"Content-Type": "application/json", "Accept": "text/event-stream, application/json"}
        headers |= {"Accept-Encoding": "identity"}  # a compressed stream may come late, in blocks
        headers |= {"Authorization": f"Bearer {key}"} if key else {}
        begun = False
        try:
            with (
                self._client() as client,
                client.stream(
                    "POST", f"{self._url}/chat/completions", content=json.dumps(body).encode(), headers=headers
                ) as response,
            ):
                begun = True
                if not response.is_success:
                    raise self._refusal(client, response, headers=headers, body=body, until=until)
                yield from self._pieces(response, max_tokens=max_tokens, until=until)
        except httpx.HTTPError as exc:
            raise self._failure(exc, begun=begun) from exc

    def _client(self) -> httpx.Client:
        import httpx

        secure = self._url.startswith("https:")
        try:
            return httpx.Client(
                timeout=httpx.Timeout(self._timeout_s, connect=self._connect_timeout_s),
                follow_redirects=False,
                # With a transport of its own, no proxy that the environment names is used. Plain http needs none of its
                # certificates.
                transport=httpx.HTTPTransport(verify=secure) if self._on_this_machine else None,
            )
        except (ImportError, ValueError, OSError, httpx.InvalidURL) as exc:
            raise GeneratorError(
                f"cannot make a connection to {self._at}, as the environment names a proxy or certificates that cannot "
                f"be used ({type(exc).__name__}): look at HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and SSL_CERT_FILE"
            ) from exc

    # --- what comes

    def _pieces(self, response: httpx.Response, *, max_tokens: int, until: float) -> Iterator[str]:
        """What the model says in a reply that is no error."""
        chunks = self._bounded(response.iter_bytes(), until=until)
        kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "text/event-stream":
            payloads = _events(chunks)
        elif kind == "application/json":  # a server that cannot stream, or does not care to
            payloads = iter([b"".join(chunks)])
        else:
            raise GeneratorError(
                f"expected text/event-stream or application/json from {self._url}, "
                f"got {self._quote(kind) or 'no content type'}: give the address of its API, such as {_EXAMPLE}"
            )
        # JSON escapes may tear a character into two surrogates, which may come in two events.
        whole = codecs.getincrementaldecoder("utf-16-le")("replace")
        n_characters, says, ended = 0, False, kind == "application/json"
        for payload in payloads:
            if payload.strip() == b"[DONE]":
                ended = True
                break
            said, last = self._read(payload)
            piece = whole.decode(said.encode("utf-16-le", "surrogatepass"))
            n_characters += len(piece)
            if n_characters > max_tokens * _CHARACTERS_PER_TOKEN:
                raise GeneratorError(
                    f"expected at most {max_tokens} tokens from {self.name}, got {n_characters} characters and no end: "
                    "the server does not heed max_tokens; use another server or model"
                )
            if piece:
                says = says or not piece.isspace()
                yield piece
            if last:
                ended = True
                break
        if torn := whole.decode(b"", final=True):
            says = True
            yield torn
        if not ended:
            raise GeneratorError(
                f"expected the whole answer of {self.name}, got its beginning, as the server closed the connection: "
                "look at the server's log, and ask again"
            )
        if not says:
            raise GeneratorError(
                f"expected an answer of {self.name}, got an empty one, perhaps as all of its {max_tokens} tokens went "
                "into thinking: ask again, or name a model that does not think first"
            )

    def _bounded(self, chunks: Iterable[bytes], *, until: float) -> Iterator[bytes]:
        """The bytes as they come, not without end."""
        n_bytes = 0
        for chunk in chunks:
            n_bytes += len(chunk)
            if n_bytes > _MOST_BYTES:
                raise GeneratorError(
                    f"expected an answer of {self.name}, got more than {_MOST_BYTES} bytes and no end: "
                    "use another server or model"
                )
            if self._clock() > until:
                raise GeneratorError(
                    f"expected the answer of {self.name} within {self._deadline_s:g} s, got no end of it: "
                    "use a faster server or a smaller model"
                )
            yield chunk

    def _read(self, payload: bytes) -> tuple[str, bool]:
        """What one event or body says, and whether it is the last to say something."""
        try:
            data = json.loads(payload.decode("utf-8-sig", "replace"))
        except (ValueError, RecursionError) as exc:
            raise self._not_json(payload) from exc
        if not isinstance(data, dict):
            raise self._not_json(payload)
        if said := _error_of(data):
            raise GeneratorError(f"{self.name} failed: {self._quote(said)}; look at the server's log, and ask again")
        choices = data.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices else None
        if not isinstance(choice, dict):  # counts of tokens, and other things beside the answer
            return "", False
        part = choice.get("delta") or choice.get("message")
        content = part.get("content") if isinstance(part, dict) else None
        return content if isinstance(content, str) else "", bool(choice.get("finish_reason"))

    def _not_json(self, payload: bytes) -> GeneratorError:
        return GeneratorError(
            f"expected JSON of OpenAI's protocol from {self._url}, "
            f"got {self._quote(payload.decode('utf-8', 'replace')) or 'nothing'!r}: "
            f"give the address of its API, such as {_EXAMPLE}"
        )

    # --- what goes wrong

    def _refusal(
        self,
        client: httpx.Client,
        response: httpx.Response,
        *,
        headers: Mapping[str, str],
        body: Mapping[str, object],
        until: float,
    ) -> GeneratorError:
        """What a status other than 200 means."""
        status = response.status_code
        data = self._error_body(response, until=until)
        said = f"HTTP {status}" + (f" ({quoted})" if (quoted := self._quote(_error_of(data) or "")) else "")
        expected = f"expected an answer of {self.name}, got {said}"
        if response.is_redirect:
            to = self._quote(re.split(r"[?#]", response.headers.get("location", ""))[0])
            return GeneratorError(f"{expected}, a redirect to {to!r}: give the address where the API is")
        if status in {401, 403}:
            variable, key = self._key()
            if key:
                return GeneratorError(f"{expected}: check the key in the environment variable {variable}")
            variables = " or ".join(self._variables())
            return GeneratorError(f"{expected}: put a key into the environment variable {variables}")
        if status == 404:
            names = self._models(client, headers=headers, until=until)
            known = f"there are {', '.join(names[:5])}" + (" and others" if len(names) > 5 else "")
            see = known if names else f"see what GET {self._url}/models lists"
            return GeneratorError(f"{expected}: name a model that is there instead of {self._model!r}; {see}")
        if status == 400 and (setting := _refused_setting(data)) in body:
            return _UnwantedSettingError(f"{expected}: use another model", setting=setting)
        if status in _PASSING:
            asked = response.headers.get("retry-after", "")
            return _PassingError(
                f"{expected}: ask again in a while, or look at the server's log",
                wait_s=float(asked) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", asked, re.ASCII) else None,
            )
        return GeneratorError(f"{expected}: check the name of the model and the address, or look at the server's log")

    def _error_body(self, response: httpx.Response, *, until: float) -> object:
        """The JSON of an error, its text where it is none, and what came of it where it does not end."""
        import httpx

        content = bytearray()
        with suppress(httpx.HTTPError, GeneratorError):
            for chunk in self._bounded(response.iter_bytes(), until=until):
                content += chunk
                if len(content) > _MOST_ERROR_BYTES:
                    break
        text = content.decode("utf-8", "replace")
        with suppress(ValueError, RecursionError):
            return json.loads(text)
        return "a web page" if text.lstrip().startswith("<") else text

    def _models(self, client: httpx.Client, *, headers: Mapping[str, str], until: float) -> list[str]:
        """The names of the server's models; none where it does not tell."""
        import httpx

        try:
            with client.stream(
                "GET", f"{self._url}/models", headers=headers, timeout=self._connect_timeout_s
            ) as response:
                data = json.loads(b"".join(self._bounded(response.iter_bytes(), until=until)))
            names = [self._quote(model["id"]) for model in data["data"] if isinstance(model["id"], str)]
        except (httpx.HTTPError, GeneratorError, ValueError, TypeError, KeyError, RecursionError):
            return []
        return [name for name in names if name]

    def _failure(self, exc: httpx.HTTPError, *, begun: bool) -> GeneratorError:
        """What an exception of httpx means.

        Args:
            exc: what it raised.
            begun: whether the reply had begun by then.
        """
        import httpx

        causes = list(_causes(exc))
        reset = any(isinstance(cause, ConnectionError) for cause in causes)
        if isinstance(exc, httpx.ConnectTimeout):
            return GeneratorError(
                f"the server at {self._at} did not take the connection within {self._connect_timeout_s:g} s: "
                "start it, or check the address"
            )
        if isinstance(exc, httpx.TimeoutException):
            return GeneratorError(
                f"expected {self.name} to write on, got nothing for {self._timeout_s:g} s: "
                "look at the server's log, or use a smaller model"
            )
        reason = self._quote(str(exc)) or type(exc).__name__
        if any(isinstance(cause, ssl.SSLError) for cause in causes):
            return GeneratorError(
                f"expected a secure connection to {self._at}, got: {reason}; "
                "check whether its address begins with http or https, and its certificate"
            )
        if isinstance(exc, httpx.ProxyError):
            return GeneratorError(
                f"the proxy between here and {self._at} refused: {reason}; look at HTTPS_PROXY, ALL_PROXY and NO_PROXY"
            )
        if isinstance(exc, httpx.ConnectError):
            message = f"the server at {self._at} cannot be reached ({reason}): start it, or check the address"
            return _PassingError(message) if reset else GeneratorError(message)
        if begun:
            message = f"expected the whole answer of {self.name}, but the connection broke off ({reason}): "
            message += "look at the server's log, and ask again"
            return _PassingError(message) if reset else GeneratorError(message)
        if reset or "disconnected" in reason:  # httpx has no class for a connection that is closed without a reply
            return _PassingError(
                f"expected an answer of {self.name}, but the server closed the connection ({reason}): "
                "look at the server's log, and ask again"
            )
        return GeneratorError(f"expected HTTP from {self._at}, got: {reason}; check the address")

    def _variables(self) -> list[str]:
        """The environment variables whose key this server may get."""
        openai = self._host == "openai.com" or self._host.endswith(".openai.com")
        return [KEY_VARIABLE, OPENAI_KEY_VARIABLE] if openai else [KEY_VARIABLE]

    def _key(self) -> tuple[str, str]:
        """The first of these variables that is set, and its key; two empty strings where none is."""
        for variable in self._variables():
            key = os.environ.get(variable, "").strip()  # the end of a line comes along from files
            if not key:
                continue
            if not all("!" <= character <= "~" for character in key):
                raise UsageError(f"expected a key of letters, digits and signs of ASCII in {variable}: set it again")
            if self._in_the_clear:
                raise UsageError(
                    f"expected an address with https, as a key is not sent to {self._at} in the clear: "
                    f"give one, or unset {variable}"
                )
            return variable, key
        return "", ""

    def _quote(self, text: str) -> str:
        """The first line of what a server said, without what could move a terminal, and without the key it was sent."""
        line = (text.strip().splitlines() or [""])[0]
        line = "".join(character if character.isprintable() else " " for character in line)
        _, key = self._key()
        line = (re.sub(re.escape(key), "…", line, flags=re.IGNORECASE) if key else line).strip()
        return line if len(line) <= _LONGEST_QUOTE else line[:_LONGEST_QUOTE] + "…"


class _PassingError(GeneratorError):
    """It may work when it is tried again."""

    def __init__(self, message: str, *, wait_s: float | None = None) -> None:
        super().__init__(message)
        self.wait_s = wait_s  # as the server asks for


class _UnwantedSettingError(GeneratorError):
    """The model does not take one of the settings: OpenAI's own that think take neither temperature nor max_tokens."""

    def __init__(self, message: str, *, setting: str) -> None:
        super().__init__(message)
        self.setting = setting


def _address(url: str) -> tuple[str, str, int | None, str]:
    """Scheme, host in small letters, port if any, and path without a slash at its end."""
    match = _URL.fullmatch(url.strip())
    if match is None or (match[2].startswith("[") and _ip(match[2]) is None) or not 0 < int(match[3] or 80) < 65536:
        shown = re.split(r"[?#]", url)[0]  # what follows may be a key
        raise UsageError(f"expected the address of a server in the form {_EXAMPLE}, without a query; got {shown!r}")
    scheme, host, port, path = match.groups()
    return scheme.lower(), host.lower(), int(port) if port else None, _path(path or "")


def _path(path: str) -> str:
    return path.rstrip("/").removesuffix("/chat/completions") or "/v1"


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host.removeprefix("[").removesuffix("]"))
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    ip = _ip(host)
    return host == "localhost" if ip is None else ip.is_loopback


def _events(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The data of each Server-Sent Event.

    Not by httpx-sse (0.4.3): it loses a last event that no blank line follows, as where a server closes at once.
    """
    data = list[bytes]()
    for line in _lines(chunks):
        field, _, value = line.partition(b":")
        if not line and data:
            yield b"\n".join(data)
            data = []
        elif field == b"data":
            data.append(value)
        elif field == b"error":  # an older llama.cpp
            data.append(b'{"error": ' + value + b"}")
    if data:
        yield b"\n".join(data)


def _lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines of bytes that come in chunks, cut at LF and CRLF only: U+2028 may stand within JSON."""
    rest = bytearray()
    for chunk in chunks:
        rest += chunk
        if b"\n" in chunk:
            *lines, last = rest.split(b"\n")
            yield from (bytes(line.removesuffix(b"\r")) for line in lines)
            rest = last
    if rest:
        yield bytes(rest.removesuffix(b"\r"))


def _error_of(data: object) -> str | None:
    """What the JSON of a server says went wrong: OpenAI's form, and those of FastAPI, vLLM and Ollama."""
    if isinstance(data, str):
        return data
    if not isinstance(data, dict):
        return None
    error = data.get("error") or data.get("detail")
    if not error and "choices" not in data and isinstance(data.get("message"), str):
        error = data
    if not error:
        return None
    if isinstance(error, dict) and isinstance(error.get("message"), str):
        return str(error["message"]) or "an error without a message"
    return error if isinstance(error, str) else json.dumps(error)


def _refused_setting(data: object) -> str:
    """The setting that a model of OpenAI refuses, if that is what it says."""
    error = data.get("error") if isinstance(data, dict) else None
    setting = error.get("param") if isinstance(error, dict) else None
    return setting if setting in {"temperature", "max_tokens"} else ""


def _causes(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__  # httpcore raises some of its own "from None"


def _estimated_tokens(text: str) -> int:
    wide = "".join(_WIDE.findall(text))
    return len(_PARTS.findall(text)) + -(-len(wide.encode("utf-8", "replace")) // 2)


def _encodable(text: str) -> str:
    """The text without lone surrogates, which no server takes: each becomes '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")
