"""What a sentence claims, in terms that can be held against a source: its words, numbers, names, and what it denies."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal

from rag.words import STOP_WORDS, stems, stop_stems

_DIGITS = re.compile(r"(?<![\w.,])(\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)(st|nd|rd|th|s|k|m|bn|%)?(?!\w|\.\d)", re.IGNORECASE)
_UNITS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
).split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_CARDINALS: dict[str, int] = {
    **{word: n for n, word in enumerate(_UNITS)},
    **{word: 10 * n for n, word in enumerate(_TENS, start=2)},
    "hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000,
}  # fmt: skip
_OTHERS: dict[str, int | Decimal] = {
    "half": Decimal("0.5"), "twice": 2, "double": 2, "triple": 3, "dozen": 12, "third": 3, "fourth": 4, "fifth": 5,
    "sixth": 6, "seventh": 7, "eighth": 8, "ninth": 9, "tenth": 10,
}  # fmt: skip
_SCALES = ("hundred", "thousand", "million", "billion")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")
_SCALE = re.compile(rf"[ \t]({'|'.join(_SCALES)})\b", re.IGNORECASE)
_TOKEN = re.compile(r"[A-Za-z]+|\n|[^A-Za-z\s-]+")
_QUANTITY = re.compile(r"[\d.,]+[a-z%]{0,3}")  # 19th, 5km
_NAME = re.compile(r"[^\W_][\w'’-]*")
_BEGINS = re.compile(r"(?:^|(?<!\bDr)(?<!\bMr)(?<!\bMs)(?<!\bSt)(?<!\bMrs)(?<!\b[A-Z])[.!?:;]\s|\n)[\s\"'“‘(\[*_]*$")
_LABELS = r"(?:[^\W_](?:[\w-]{0,62}[^\W_])?\.)+[^\W\d_]{2,24}"
_LINK = re.compile(
    rf"[\w.+-]{{1,64}}@{_LABELS}|(?<![\w.@-]){_LABELS}(?::\d+)?(?:[/?#][^\s<>()\[\]\"']*)?", re.IGNORECASE
)
_SHORTEST_NAME = 3
_SUBJECT = re.compile(
    r"\W*([^\W\d_][\w'’-]*) (?:is|was|are|were|has|have|had|do|does|did|will|would|can|could|should|may|might|must|"
    r"said|wrote|won|made|went|became|began|took|led|built|held|found|gave|told|\w+ed)\b"
)
# Words that begin a sentence and are no names: Unfortunately, Building, Information, Payment, Customers.
_COMMON_END = re.compile(
    r"(?:ly|ing|tion|sion|ment|ness|ity|ance|ence|ism|able|ible|ful|less|ous|ive|ed|s)$", re.IGNORECASE
)
_RUN = re.compile(r"\d+(?:[.,:/]\d+)*")  # figures, versions, dates, times, addresses
_NEGATION = re.compile(
    r"\b(?:not|no|never|none|nobody|nothing|neither|nor|without|cannot|hardly|scarcely|unable to|fail(?:s|ed)? to)\b"
    r"|n['’]t\b",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[.,;:!?]\s|\b(?:but|and|or|because|although|while|which|who|that)\b")
_SCOPE = 2  # words of content
_CONTRACTED = re.compile(r"n['’]t\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it stands in a text."""

    text: str
    value: Decimal


def numbers(text: str) -> list[Number]:
    """The numbers of a text, in figures or English words; "one", "first" and "second" are none: they rarely count."""
    found = []
    for match in _DIGITS.finditer(text):
        value = Decimal(match[1].replace(",", ""))
        scale = _SCALE.match(text, match.end())
        if scale is not None:  # 3.5 million
            value *= _CARDINALS[scale[1].lower()]
        found.append(Number(match[0] + (scale[0] if scale else ""), value))
    return found + [Number(run, value) for run, value in _in_words(text)]


def _in_words(text: str) -> Iterator[tuple[str, Decimal]]:
    """Runs such as "twenty-five" or "two hundred and six"; the parts of a run are no numbers of their own."""
    run: list[str] = []
    before = ""  # what stands before the run: a scale behind figures is theirs
    for word in [*_TOKEN.findall(text), ""]:
        low = word.lower()
        if low in _CARDINALS and not (run and low in _SCALES and run[-1] == low):
            if not run and low in _SCALES and before[-1:].isdigit():
                continue
            run.append(low)
            continue
        if low == "and" and run and run[-1] in _SCALES:
            run.append(low)
            continue
        if run and run[-1] == "and":
            run.pop()
        if run and run != ["one"]:
            yield " ".join(run), _value(run)
        run, before = [], word
        if low in _OTHERS:
            yield word, Decimal(_OTHERS[low])


def _value(run: list[str]) -> Decimal:
    total, current = Decimal(0), Decimal(0)
    for word in run:
        if word == "and":
            continue
        worth = Decimal(_CARDINALS[word])
        if word == "hundred":
            current = max(current, Decimal(1)) * 100
        elif worth >= 1000:
            total += max(current, Decimal(1)) * worth
            current = Decimal(0)
        else:
            current += worth
    return total + current


def names(text: str) -> list[str]:
    """The words that look like names: with a capital that does not only begin a sentence, or letters beside digits."""
    found = []
    for match in _NAME.finditer(text):
        word = match[0].strip("'’-")
        word = re.sub(r"['’]s$", "", word)
        if not word or re.match(r"I(?:['’]|$)", word) or _CONTRACTED.search(word) or _QUANTITY.fullmatch(word):
            continue
        if not any(c.isupper() for c in word) and not (any(map(str.isdigit, word)) and any(map(str.isalpha, word))):
            continue
        inner = any(c.isupper() for c in word[1:]) or any(c.isdigit() for c in word)
        if inner or not _BEGINS.search(text[max(match.start() - 20, 0) : match.start()]):
            found.append(word)
    return found


def links(text: str) -> list[str]:
    """Addresses of the web and of e-mail, names of hosts and files: without `https://`, `www.`, a full stop behind."""
    return [match[0].removeprefix("www.").rstrip(".,;:!?/'\"") for match in _LINK.finditer(text)]


def figures(text: str) -> list[str]:
    """Every run of figures as it stands: of `250mg` 250, of `v2.3.1` 2.3.1."""
    return _RUN.findall(text)


def begins_with_name(text: str) -> str | None:
    """The word that a sentence begins with, where it may be a name: it has a capital, and something is said of it."""
    match = _SUBJECT.match(text)
    word = re.sub(r"['’]s$", "", match[1]) if match else ""
    is_common = word.lower() in STOP_WORDS or _COMMON_END.search(word)
    return word if word[:1].isupper() and len(word) >= _SHORTEST_NAME and not is_common else None


def negated_words(text: str) -> set[str]:
    """Stems of the words that a text denies: the next two of content behind each word that denies, in its clause."""
    found: set[str] = set()
    for match in _NEGATION.finditer(text):
        clause = _CLAUSE_END.split(text[match.end() :], maxsplit=1)[0]
        content = [stem for stem in stems([clause])[0] if stem not in stop_stems()]
        found.update(content[:_SCOPE])
    return found
