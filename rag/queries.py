"""Reads a query: what the encoder is given, what BM25 looks for, and what hits must or must not hold exactly."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

from rag.words import STOP_WORDS, is_unspaced, query_words

# "exact words" and -"exact words", in quotes of any kind; an inch mark or a lone quote is none.
_QUOTED = re.compile(
    r"(?<![A-Za-z0-9_\"])(-?)"
    r"(?:\"([^\"]+)\"|“([^”“]+)”|„([^“”„]+)[“”]|«([^»«]+)»|「([^「」]+)」|『([^『』]+)』)(?![A-Za-z0-9_])"
)
# A word behind a hyphen that stands alone, of three letters or more with a vowel among them: not "-5", "--flag", "-rf".
_EXCLUDED = re.compile(
    r"(?:(?<=\s)|^)-((?=\w*[aeiouyAEIOUY])[^\W\d_][\w.@/'’-]+\w|(?=[^\x00-\x7f])[^\W\d_][\w.@/'’-]*)"
)
_AROUND = " \t\n.,;:!?()[]{}<>\"'“”„«»‘’`…"
_CLOSING = " \t\n)]}\"'”’»"
_ENDS = frozenset("?!.？！。｡؟।")
_FEW_WORDS = 10
_MOST_NAMES = 16  # each is looked for by itself
# Written in more than one way, and not meant to be told apart; soft hyphens and what has no width is nothing.
_VARIANTS = {
    **dict.fromkeys(map(ord, "‐‑‒–−"), "-"),
    **dict.fromkeys(map(ord, "‘’‛ʼ′"), "'"),
    **dict.fromkeys(map(ord, "“”„‟″"), '"'),
    **dict.fromkeys(map(ord, "\u00ad\u200b\u200c\u200d\u2060\ufeff"), None),
}
# Between letters or digits these make one name of several words: versions, paths, addresses, qualified names.
_JOINED = re.compile(r"\w(?:[._/\\:@#=+&~]|::|->)+\w")
_HYPHENATED = re.compile(r"\w-\w")


@dataclass(frozen=True, slots=True)
class Query:
    """A query as it was read."""

    text: str  # for the encoder: without quotes and what is excluded
    terms: tuple[str, ...]  # for BM25: lower case, distinct; one of several words stands for these side by side
    phrases: tuple[str, ...] = ()  # every hit holds all of these, letter for letter but for case and white space
    excluded: tuple[str, ...] = ()  # no hit holds any of these words, whatever their endings

    @property
    def required(self) -> str:
        """What hits must and must not hold, in words; empty where that is nothing."""
        parts = [f"holds “{phrase}” as it is written" for phrase in self.phrases]
        parts += [f"is without “{word}”" for word in self.excluded]
        return " and ".join(parts)

    @property
    def unmet(self) -> str:
        """What to say where that left nothing to be found."""
        return f"No passage {self.required}: ask without the quotes or hyphens." if self.required else ""


def read_query(query: str) -> Query:
    """Read the operators of a query: `"exact words"` and `-without`.

    They are operators among a few words. In a sentence, which ends with a full stop, question or exclamation mark or
    has more than ten words beside those in quotes, quoted words are only looked for side by side as well, and a hyphen
    excludes nothing: people quote what they heard, and documents may say it otherwise. What consists of exclusions
    only is read as words.

    Args:
        query: not blank.
    """
    phrases: list[str] = []
    excluded: list[str] = []
    outside = _QUOTED.sub(" ", query)
    is_sentence = outside.rstrip(_CLOSING)[-1:] in _ENDS or len(outside.split()) > _FEW_WORDS

    def quoted(match: re.Match[str]) -> str:
        phrase = " ".join(next(filter(None, match.groups()[1:])).split()).rstrip(".,;:!?")
        if not any(map(str.isalnum, phrase)):
            return match[0]
        is_left_out = bool(match[1]) and not is_sentence
        (excluded if is_left_out else phrases).append(phrase)
        return " " if is_left_out else phrase

    def left_out(match: re.Match[str]) -> str:
        excluded.append(match[1])
        return " "

    text = _QUOTED.sub(quoted, query)
    if not is_sentence:
        text = _EXCLUDED.sub(left_out, text)
    if excluded and not any(map(str.isalnum, text)):
        return Query(query, tuple(_terms(query)))
    side_by_side = [phrase.lower() for phrase in phrases if len(query_words(phrase)) > 1]
    return Query(
        text=" ".join(text.split()),
        terms=tuple(dict.fromkeys([*_terms(text), *side_by_side])),
        phrases=() if is_sentence else tuple(dict.fromkeys(phrases)),
        excluded=tuple(dict.fromkeys(excluded)),
    )


def query_terms(query: str) -> list[str]:
    """The words that BM25 looks for: distinct, lower case, without stop words unless there are no others."""
    return list(read_query(query).terms)


def index_terms(phrase: str) -> list[str]:
    """Terms that a chunk which holds a phrase must hold all of: its words side by side, those of pairs one by one."""
    words = query_words(phrase)
    if "".join(words) == "".join(c for c in phrase.lower() if c.isalnum() or c == "_"):
        return [phrase.lower()] if words else []
    return words


def holds(text: str, phrase: str) -> bool:
    """Whether a text holds a phrase: case, white space and typographic variants of letters do not count.

    It must not go on at either end: `4.1` is not held by `4.10`, `2.4.1` or `14.1`, nor `art` by `party`.
    """
    wanted = _folded(phrase)
    before = r"(?<!\w)" if _is_of_a_word(wanted[:1]) else ""
    behind = r"(?!\w)" if _is_of_a_word(wanted[-1:]) else ""
    if wanted[:1].isdigit():
        before += r"(?<!\d[.,:])"
    if wanted[-1:].isdigit():
        behind += r"(?![.,:]\d)"
    return re.search(before + re.escape(wanted) + behind, _folded(text)) is not None


def _is_of_a_word(c: str) -> bool:
    return (c.isalnum() or c == "_") and not is_unspaced(c)


def _folded(text: str) -> str:
    """As it is compared. Between characters of scripts without spaces, white space is where a line was broken."""
    folded = " ".join(unicodedata.normalize("NFKC", text).translate(_VARIANTS).casefold().split())
    return re.sub(r"(?<=[^\x00-\x7f]) (?=[^\x00-\x7f])", _joined, folded)


def _joined(match: re.Match[str]) -> str:
    before, behind = match.string[match.start() - 1], match.string[match.end()]
    return "" if is_unspaced(before) and is_unspaced(behind) else " "


def _terms(text: str) -> list[str]:
    """Names that are made of several words first, as a whole; then every word."""
    names = [name for part in text.split() if _is_name(name := part.strip(_AROUND))][:_MOST_NAMES]
    words = [part for word in query_words(text) for part in ([word, *word.split("_")] if "_" in word else [word])]
    words = list(dict.fromkeys(word for word in words if any(map(str.isalnum, word))))
    words = [word for word in words if word not in STOP_WORDS] or words
    return list(dict.fromkeys([*(name.lower() for name in names), *words]))


def _is_name(word: str) -> bool:
    if not word.isascii() or STOP_WORDS.issuperset(query_words(word)):  # of other scripts, the words alone
        return False
    is_joined = _JOINED.search(word) is not None
    return is_joined or (_HYPHENATED.search(word) is not None and any(map(str.isdigit, word)))
