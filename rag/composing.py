"""What goes with a sentence in an answer: the one before it where it needs that, its like, the other steps."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from rag.sentences import sentence_spans
from rag.words import stems

# Who "he" is, or what "this" was, stands before. "It is …ed that" and "this paper" need nothing.
_NEEDS_MORE = re.compile(
    r"(?:(?:He|She|They|Him|Her|His|Hers|Their|Theirs|Its)\b"
    r"|It\b(?! (?:is|was|has been|seems|appears|follows|turns out) (?:\w+ )?(?:that|to)\b)"
    r"|(?:This|That|These|Those|Such)\b(?! (?:paper|article|chapter|section|page|document|book|guide|policy|study)\b)"
    r"|(?:However|But|Therefore|Thus|Hence|Instead|Moreover|Furthermore|Otherwise|Then|So|Both|Neither|Likewise|Also"
    r"|Similarly|Conversely|Nevertheless|Still|Consequently|Accordingly|Afterwards)\b)"
)
_STEP = re.compile(r"^[ \t]*\(?\d{1,3}[.)][ \t]+", re.MULTILINE)
_MOST_STEPS = 12
_ARTICLES = frozenset({"a", "an", "the"})


def needs_lead(text: str) -> bool:
    """Whether a sentence speaks of something that is named before it."""
    return _NEEDS_MORE.match(text.lstrip("\"'“‘*_")) is not None


def lead_of(text: str, start: int) -> tuple[int, int] | None:
    """The sentence before the one that begins at `start`, in the same paragraph; None where there is none."""
    spans = sentence_spans(text)
    for before, own in pairwise(spans):
        if own[0] == start and not re.search(r"\n[ \t\r]*\n", text[before[1] : start]):
            return before
    return None


def is_same_fact(one: str, other: str) -> bool:
    """Whether two sentences say the same: the same words in the same order, or the end of one put first.

    Only articles and inflections may differ: another name, number, sign, denial or direction is another fact.
    """
    if one.casefold() == other.casefold():
        return any(character.isalnum() for character in one)
    if not _share_a_third(one, other):
        return False
    first, second = ([s for s in own if s not in _ARTICLES] for own in stems([one, other]))
    if not first or sorted(first) != sorted(second) or _signs(one) != _signs(other):
        return False
    return any(first[i:] + first[:i] == second for i in range(len(first)))


def _signs(text: str) -> list[str]:
    return sorted(re.findall(r"[-−]?\d+", text))


def _share_a_third(one: str, other: str) -> bool:
    """Soon told, and true of most sentences whose stems are the same."""
    first, second = (set(re.findall(r"\w+", text.casefold())) for text in (one, other))
    return 3 * len(first & second) >= min(len(first), len(second))


def steps_around(text: str, start: int) -> list[tuple[int, int]]:
    """The items of the numbered list that holds `start`, in order: (start, end) of each; none outside of a list.

    What is indented deeper belongs to its item. A list ends where a line that is not indented, and no item, follows a
    blank one, or its numbers begin anew. Of a long one, those around `start` are given.
    """
    items = list(_STEP.finditer(text))
    for indent in sorted({_indent(item) for item in items}, reverse=True):  # the innermost list counts
        for run in _runs(text, [item for item in items if _indent(item) <= indent], indent):
            if len(run) > 1 and run[0][0] <= start < run[-1][1]:
                at = next(i for i, (_, end) in enumerate(run) if start < end)
                first = max(min(at - _MOST_STEPS // 2, len(run) - _MOST_STEPS), 0)
                return [(begin, end) for begin, end in run[first : first + _MOST_STEPS] if end > begin]
    return []


def _indent(item: re.Match[str]) -> int:
    return len(item[0].expandtabs(4)) - len(item[0].expandtabs(4).lstrip())


def _runs(text: str, items: Sequence[re.Match[str]], indent: int) -> Iterator[list[tuple[int, int]]]:
    """Items of that indent whose numbers follow each other, nothing but themselves between them."""
    run: list[tuple[int, int]] = []
    last = 0
    for i, item in enumerate(items):
        if _indent(item) < indent:
            continue
        number = int(re.findall(r"\d+", item[0])[0])
        end = items[i + 1].start() if i + 1 < len(items) else len(text)
        if broken := re.search(r"\n[ \t\r]*\n(?=\S)", text[item.end() : end]):
            end = item.end() + broken.start()
        span = item.end(), item.end() + len(text[item.end() : end].rstrip())
        if run and (number != last + 1 or text[run[-1][1] : item.start()].strip()):
            yield run
            run = []
        run.append(span)
        last = number
    if run:
        yield run
