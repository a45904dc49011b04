"""Words as the full-text index sees them: FTS5's own tokenizer and stemmer, so that both always agree."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import cache

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


@cache
def stop_stems() -> frozenset[str]:
    """The stop words as the index stems them."""
    return frozenset(stems([" ".join(STOP_WORDS)])[0])


def stems(texts: Sequence[str]) -> list[list[str]]:
    """The stemmed words of each text, in order, stop words included."""
    db = sqlite3.connect(":memory:")
    try:
        db.execute(f"create virtual table texts using fts5(text, tokenize='{TOKENIZER}')")
        db.execute("create virtual table words using fts5vocab(texts, instance)")
        db.executemany("insert into texts (rowid, text) values (?, ?)", enumerate(texts))
        found: list[list[str]] = [[] for _ in texts]
        for row, term in db.execute("select doc, term from words order by doc, offset"):
            found[row].append(term)
        return found
    finally:
        db.close()
