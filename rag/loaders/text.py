"""Reads plain text of any kind, and decodes bytes for every other loader (chardet)."""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from typing import BinaryIO

from rag.errors import LoadError
from rag.loaders.base import Limits, Loaded, read_up_to
from rag.types import Document

_BOMS = {  # in this order, as the mark of UTF-32 begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_WIDER = {  # what is labelled with the left is often the right, which holds it: the WHATWG's list, in Python's names
    **dict.fromkeys(["ascii", "us-ascii", "iso-8859-1", "iso8859-1", "latin-1", "latin1"], "windows-1252"),
    **dict.fromkeys(["shift_jis", "shift-jis", "sjis", "x-sjis", "windows-31j"], "cp932"),
    **dict.fromkeys(["euc-kr", "ks_c_5601-1987", "ksc5601", "windows-949"], "cp949"),
    **dict.fromkeys(["gb2312", "gbk", "x-gbk"], "gb18030"),
    **dict.fromkeys(["iso-8859-9", "iso8859-9"], "windows-1254"),
    **dict.fromkeys(["tis-620", "iso-8859-11", "iso8859-11"], "cp874"),
    **dict.fromkeys(["big5", "big5-hkscs"], "big5hkscs"),
    **dict.fromkeys(["iso-8859-8-i", "iso-8859-8-e"], "iso-8859-8"),
}
_NEVER = {"idna", "punycode", "unicode_escape", "raw_unicode_escape", "undefined", "utf-7", "mbcs", "oem"}
_DECLARED_XML = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([\w.:-]+)""")
_CONTROLS = re.compile(r"[\x00-\x07\x0e-\x1a\x1c-\x1f\x7f]")  # not tab, line ends, form feed, nor ANSI's escape
_STATEFUL = re.compile(rb"\x1b[$(]")  # how ISO-2022 text, all of it ASCII bytes, switches to other letters


@dataclass(frozen=True, slots=True)
class Decoded:
    """Text with '\\n' line ends and without a byte order mark."""

    text: str
    notes: tuple[str, ...] = ()


def read(file: BinaryIO, source: str, limits: Limits) -> Loaded:
    data = read_up_to(file, limits.max_file_mb)
    declared = _DECLARED_XML.match(data)
    decoded = decode(data, declared=declared[1].decode("ascii") if declared else None)
    return Loaded((Document(source, decoded.text),), decoded.notes)


def decode(data: bytes, *, declared: str | None = None) -> Decoded:
    """Bytes as text: by their byte order mark, as UTF-8, by the declared encoding, or by the best guess.

    UTF-8 goes before what was declared: text in another encoding that happens to be valid UTF-8 is far rarer than a
    wrong label. A guess is named in the notes.

    Raises:
        LoadError: if these are no text's bytes.
    """
    text, notes = _decode(data, declared)
    if len(_CONTROLS.findall(text[:100_000])) > 0.02 * min(len(text), 100_000):
        raise LoadError("is not text: it is full of control characters")
    return Decoded(text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"), notes)


def looks_like_text(sample: bytes) -> bool:
    """Whether the first bytes of a file are text; the last character may be cut in two."""
    if not sample:
        return False
    try:
        text = codecs.getincrementaldecoder("utf-8")().decode(sample)
        return not _CONTROLS.search(text)
    except UnicodeDecodeError:
        pass
    try:
        return not _CONTROLS.search(decode(sample[: len(sample) & ~3]).text)
    except LoadError:
        return False


def _decode(data: bytes, declared: str | None) -> tuple[str, tuple[str, ...]]:
    for mark, encoding in _BOMS.items():
        if data.startswith(mark):
            if (text := _strictly(data, encoding)) is not None:
                return text, ()
            if encoding != "utf-32":  # whose mark is also that of UTF-16 text that begins with NUL
                return _with_replacements(data, encoding)
    if b"\0" in data:
        guess = _guess(data)
        if guess.startswith(("utf-16", "utf-32")) and (text := _strictly(data, guess)) and "\0" not in text:
            return text, (f"read as {guess.upper()}, which was guessed",)
        raise LoadError("is not text: it holds NUL bytes")
    if _STATEFUL.search(data) and (text := _strictly(data, declared or _guess(data))) is not None:
        return text, ()
    if (text := _strictly(data, "utf-8")) is not None:
        return text, ()
    if declared and (text := _strictly(data, declared)) is not None:
        return text, ()
    text, notes = _with_replacements(data, "utf-8")
    if sum(map(len, re.findall(r"[^\x00-\x7f\ufffd]+", text))) >= 10 * text.count("\ufffd"):  # damaged, yet UTF-8
        return text, notes
    if guess := _guess(data):
        if (text := _strictly(data, guess)) is not None:
            return text, (f"read as {guess}, which was guessed",)
        return _with_replacements(data, guess)
    raise LoadError("is not text: its bytes are of no known encoding")


def _strictly(data: bytes, encoding: str) -> str | None:
    """The text, or None if `encoding` is unknown or does not fit every byte."""
    encoding = encoding.strip().lower()
    encoding = _WIDER.get(encoding, encoding)
    try:
        return None if codecs.lookup(encoding).name in _NEVER else data.decode(encoding)
    except (LookupError, UnicodeError, ValueError):
        return None


def _with_replacements(data: bytes, encoding: str) -> tuple[str, tuple[str, ...]]:
    text = data.decode(encoding, errors="replace")
    name = encoding.removesuffix("-sig").upper()
    return text, (f"some bytes are not {name}; they are shown as \N{REPLACEMENT CHARACTER}",)


def _guess(data: bytes) -> str:
    """The most likely encoding, in lower case, or '' for bytes that are no text.

    A few bytes above ASCII say little: where the detector is unsure, Western text in windows-1252 is the likeliest.
    """
    import chardet

    found = chardet.detect(data, max_bytes=len(data))
    guess = (found["encoding"] or "").lower()
    guess = _WIDER.get(guess, guess)
    n_high = len(data) - len(data.translate(None, bytes(range(128, 256))))
    unsure = found["confidence"] < 0.15 and n_high < 0.2 * len(data)
    return "windows-1252" if guess and unsure and _strictly(data, "windows-1252") is not None else guess
