"""Reads e-mail as text: subject, people and date, then what was written (the standard library's parser)."""

from __future__ import annotations

import email
import re
from collections.abc import Iterator
from email.errors import HeaderParseError
from email.header import decode_header
from email.message import Message
from typing import BinaryIO

from rag.errors import LoadError
from rag.loaders import html
from rag.loaders.base import Limits, Loaded, one_line, read_up_to
from rag.loaders.text import decode
from rag.types import Document

_EXPECTED = {"from", "to", "subject", "date", "received", "content-type"}  # one of them makes an e-mail
_MAX_HEADER = 20_000  # characters; a longer one is cut
_SHOWN = ("Subject", "From", "To", "Cc", "Date")
_WIDE = re.compile(
    rb"\A(?:\xff\xfe|\xfe\xff|\xef\xbb\xbf)|\A[\t\n\r -~]\0|\A\0[\t\n\r -~]"
)  # UTF-16, or a byte order mark


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    data = read_up_to(file, limits.max_file_mb)
    if _WIDE.match(data):
        data = decode(data).text.encode("utf-8", errors="replace")
    message: Message = email.message_from_bytes(data)
    if {name.lower() for name, _ in message.raw_items()}.isdisjoint(_EXPECTED):
        return _plain(data, source)
    attachments: list[str] = []
    text = _message_text(message, attachments)
    return Loaded((Document(source, text, title=_header(message, "Subject") or None),))


def _plain(data: bytes, source: str) -> Loaded:
    """A file under an e-mail's name that has no e-mail's head."""
    decoded = decode(data)
    return Loaded((Document(source, decoded.text),), (*decoded.notes, "has no e-mail headers: read as plain text"))


def _message_text(message: Message, attachments: list[str]) -> str:
    """Header lines, body, and the names of attachments; a forwarded message stands in full below."""
    head = [f"{name}: {value}" for name in _SHOWN if (value := _header(message, name))]
    body = "\n\n".join(filter(None, _body(message, attachments)))
    files = f"Attachments: {', '.join(attachments)}" if attachments else ""
    return "\n\n".join(filter(None, ["\n".join(head), body, files]))


def _header(message: Message, name: str) -> str:
    """One header as a person reads it, whatever is wrong with it.

    The parser of `email.policy.default` would do more, but it raises on some broken headers and takes quadratic time
    on long ones.
    """
    values = [value for key, value in message.raw_items() if key.lower() == name.lower()]
    return ", ".join(filter(None, (one_line(_words(str(value)[:_MAX_HEADER])) for value in values)))


def _words(value: str) -> str:
    """Encoded words ('=?utf-8?q?...?=') and raw bytes of a header, as text."""
    raw = value.encode("utf-8", "surrogateescape").decode("latin-1")
    try:
        chunks = decode_header(re.sub(r"\r?\n[ \t]*", " ", raw))
    except (HeaderParseError, ValueError):
        chunks = [(raw, None)]
    return "".join(
        _decoded(chunk.encode("latin-1", "replace") if isinstance(chunk, str) else chunk, charset)
        for chunk, charset in chunks
    )


def _decoded(data: bytes, charset: str | None) -> str:
    try:
        return decode(data, declared=charset).text
    except LoadError:
        return data.decode("ascii", errors="replace")


def _body(part: Message, attachments: list[str]) -> Iterator[str]:
    """The readable texts of a part, in order; the names of what cannot be read are added to `attachments`."""
    kind = part.get_content_type()
    payload = part.get_payload()
    inner_parts = [inner for inner in payload if isinstance(inner, Message)] if isinstance(payload, list) else []
    if kind == "message/rfc822" and inner_parts:
        for inner in inner_parts:
            yield _message_text(inner, [])
    elif kind == "multipart/alternative" and inner_parts:
        yield from _alternative(inner_parts, attachments)
    elif isinstance(payload, list):
        for inner in inner_parts:
            if kind == "message/delivery-status":
                yield "\n".join(f"{key}: {one_line(_words(str(value)))}" for key, value in inner.raw_items())
            else:
                yield from _body(inner, attachments)
    elif (name := _file_name(part)) or part.get_content_maintype() not in ("text", "multipart"):
        attachments.append(name or kind)
    else:
        yield _part_text(part)


def _alternative(parts: list[Message], attachments: list[str]) -> Iterator[str]:
    """The plain form of what was written, else the one that has text."""
    texts = [(part.get_content_type(), "\n\n".join(filter(None, _body(part, attachments)))) for part in parts]
    written = [(kind != "text/plain", i) for i, (kind, text) in enumerate(texts) if text]
    if written:
        yield texts[min(written)[1]][1]


def _part_text(part: Message) -> str:
    data = part.get_payload(decode=True)
    if not isinstance(data, bytes):
        return ""
    try:
        text = decode(data, declared=part.get_content_charset()).text
    except (LoadError, LookupError):
        text = data.decode("ascii", errors="replace")
    if part.get_content_subtype() == "html":
        text = html.extract(text).text
    return re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.split("\n"))).strip("\n")


def _file_name(part: Message) -> str:
    """The name of an attachment, 'file' for one without a name, or '' for a part that is no attachment."""
    try:
        name = part.get_filename()
        is_attached = part.get_content_disposition() == "attachment"
    except (ValueError, LookupError, TypeError):
        return "file"
    if name and "\N{REPLACEMENT CHARACTER}" in name:  # raw bytes, against the rules
        values = [str(value) for key, value in part.raw_items() if key.lower().startswith("content-")]
        found = re.search(r'name="?([^";\r\n]+)', "\n".join(values))
        name = found[1] if found else name
    return one_line(_words(name)) if name else "file" if is_attached else ""
