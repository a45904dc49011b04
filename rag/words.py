"""Words as the full-text index sees them: FTS5's own tokenizer and stemmer, so that both always agree.

What that tokenizer cannot make of a text is indexed beside it (`extra_words`): it takes a run of Chinese or Japanese
for one word, cuts Indic and Thai words at each vowel sign, and knows nothing of full-width letters.
"""

from __future__ import annotations

import re
import sqlite3
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Protocol

TOKENIZER = "porter unicode61 remove_diacritics 2"

# Words that say how a thing is asked, not what is asked for.
STOP_WORDS = frozenset(
    """
    a about am an and any are as at be been but by can could did do does for from had has have having he her hers
    him his how i if in into is it its me my of on or our ours she should so some such than that the their theirs
    them then there these they this those to us was we were what when where which while who whom whose why will with
    would you your yours
    """.split()
)


class Vocabulary(Protocol):
    """What an index knows of words; `Index` is one."""

    def term_weights(self, stems: Sequence[str]) -> Mapping[str, float]:
        """How rare each stemmed word is: above 0, higher is rarer."""

    def known_words(self, stems: Sequence[str]) -> set[str]:
        """Those of the stemmed words that stand anywhere in the index."""


@cache
def stop_stems() -> frozenset[str]:
    """The stop words as the index stems them."""
    return frozenset(stems([" ".join(STOP_WORDS)])[0])


def stems(texts: Sequence[str]) -> list[list[str]]:
    """The stemmed words of each text, in order, stop words included."""
    if (db := getattr(_own, "db", None)) is None:
        db = _own.db = sqlite3.connect(":memory:", isolation_level=None)
        db.execute(f"create virtual table texts using fts5(text, content='', tokenize='{TOKENIZER}')")
        db.execute("create virtual table words using fts5vocab(texts, instance)")
    db.execute("begin")
    try:
        db.executemany("insert into texts (rowid, text) values (?, ?)", enumerate(texts))
        found: list[list[str]] = [[] for _ in texts]
        for row, term in db.execute("select doc, term from words order by doc, offset"):
            found[row].append(term)
        return found
    finally:
        db.execute("rollback")


_own = threading.local()  # a connection in memory for each thread: opening one takes as long as a query's words


# Written without spaces: Thai, Lao, Myanmar, Khmer, Japanese, Chinese; and Korean, where particles follow a word.
_UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3041-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U0001b000-\U0001b16f\U00020000-\U0003ffff]+"
)
# White space where a line was broken, in text that has none between words.
_BROKEN = re.compile(rf"(?<={_UNSPACED.pattern[:-1]})[ \t]*\n[ \t]*(?={_UNSPACED.pattern[:-1]})")


def extra_words(text: str) -> str:
    """What is to be indexed beside a text, so that its words are found; empty for most.

    Runs of scripts without spaces give their characters and pairs of neighbours; words with vowel signs or points
    are given without them, and full-width letters, ligatures and their like as plain ones (NFKC).
    """
    if text.isascii():
        return ""
    found: list[str] = []
    for word in _BROKEN.sub("", text).split():
        if word.isascii():
            continue
        plain = unicodedata.normalize("NFKC", word)
        is_other = plain != unicodedata.normalize("NFC", word)
        for letters, has_marks in _words_of(plain):
            for part, has_no_spaces in _parts(letters):
                if has_no_spaces:
                    found += [*part, *_pairs(part)] if len(part) > 1 else [part]
                elif is_other or has_marks:
                    found.append(part)
    return " ".join(found)


def query_words(text: str) -> list[str]:
    """The words of a query, in order, lower case, as they stand in the index or in its extra words."""
    words = []
    for letters, _ in _words_of(unicodedata.normalize("NFKC", text).lower()):
        for part, has_no_spaces in _parts(letters):
            words += _pairs(part) if has_no_spaces and len(part) > 1 else [part]
    return words


def is_unspaced(c: str) -> bool:
    """Whether a character is of a script that is written without spaces between words."""
    return _UNSPACED.match(c) is not None


def _words_of(text: str) -> Iterator[tuple[str, bool]]:
    """(letters, digits and underscores that follow each other, without the marks on them; whether there were marks)."""
    if text.isascii():
        for match in re.finditer(r"\w+", text):
            yield match[0], False
        return
    letters: list[str] = []
    has_marks = False
    for c in [*text, " "]:
        if c.isalnum() or c == "_":
            letters.append(c)
        elif letters and unicodedata.category(c)[0] == "M":
            has_marks = True
        elif letters:
            yield "".join(letters), has_marks
            letters, has_marks = [], False


def _parts(letters: str) -> Iterator[tuple[str, bool]]:
    """A word cut where it goes over to or from a script without spaces; whether each part is of one."""
    at = 0
    for match in [] if letters.isascii() else _UNSPACED.finditer(letters):
        if match.start() > at:
            yield letters[at : match.start()], False
        yield match[0], True
        at = match.end()
    if at < len(letters):
        yield letters[at:], False


def _pairs(run: str) -> list[str]:
    return [run[i : i + 2] for i in range(len(run) - 1)]
