"""Makes a follow-up question stand by itself: what "it" is, and what "and in winter?" asks, was said before.

Rules alone, no model: they change a question only where it speaks of something before it, and what they made of it is
shown. A question that names its own things is taken as it is.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rag.claims import names
from rag.types import Answer
from rag.words import STOP_WORDS

_PERSON = re.compile(r"\b(?:he|she|him|his|hers?)\b", re.IGNORECASE)
_THING = re.compile(
    r"\b(?:its|it|theirs?|they|them)\b"
    r"|\b(?:this|that|these|those)\b(?=\s*(?:[?.!,;]|$|(?:is|are|was|were|do|does|did|has|have|had|can|could|will|work|"
    r"works|mean|means|cost|costs|for|in|on|with|from|than|compare)\b))",
    re.IGNORECASE,
)
# "It is known that", "what is it that": nothing before is meant. "That" after a noun or verb is a conjunction.
_EMPTY_IT = re.compile(
    r"\bit (?:is|was|takes?|rains?|snows?)\b.*\b(?:that|to)\b"
    r"|\b(?:is|was) it (?:\w+ )?(?:that|true|possible|likely)\b",
    re.IGNORECASE,
)
_POSSESSIVE = {"its", "his", "her", "hers", "their", "theirs"}
_WHAT_ABOUT = re.compile(
    r"^\W*(?:(?:and|but|or|so|ok(?:ay)?|also),?\s+)?(?:what|how) about\s+(?P<rest>.+?)\W*$", re.IGNORECASE
)
_AND = re.compile(r"^\W*(?:and|but|or)\s+(?P<rest>.+?)\W*$", re.IGNORECASE)
_BARE = re.compile(
    r"^\W*(?:(?:and|but|so)\s+)?(?:why(?: not)?|how(?: (?:many|much|long|often|far|so))?|when|where|who|really"
    r"|since when|by whom|for example)\W*$",
    re.IGNORECASE,
)
_ASKS = re.compile(
    r"\b(?:who|whom|whose|what|which|when|where|why|how|is|are|was|were|do|does|did|can|could|will|would|should|has|have|had)\b",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[\w][\w'’.+#-]*")
_PLACE = re.compile(
    r"^(?:in|on|at|for|with|without|from|by|during|after|before|under|since|until|to|of)\b", re.IGNORECASE
)
_ASKING = frozenset(
    "who whom whose what which when where why how many much long often far is are was were be been do does did can "
    "could will would should has have had may might must there about tell me explain describe give show list name "
    "kind kinds type types sort mean means called please".split()
)
_NO_NAMES = STOP_WORDS | frozenset("nobody somebody everybody anybody everyone someone anyone no one none not".split())
_MOST_WORDS = 6  # of a topic


@dataclass(frozen=True, slots=True)
class Turn:
    """One question of a conversation, as it was searched, and its answer."""

    question: str
    answer: Answer


def self_contained(question: str, history: Sequence[Turn]) -> str:
    """The question as it would be asked by itself; as it is, where nothing in it points back.

    Args:
        question: the follow-up.
        history: what was asked before, in order; the last turn that fits is pointed at.
    """
    if not history or not question.strip():
        return question
    last = history[-1].question.strip()
    if _BARE.match(question):
        return f"{_trimmed(question)} – {last}"
    if match := _WHAT_ABOUT.match(question):
        return _exchanged(match["rest"], last)
    if (match := _AND.match(question)) and not _ASKS.search(match["rest"]):
        return _exchanged(match["rest"], last)
    return _resolved(question, history)


def _trimmed(question: str) -> str:
    return re.sub(r"^\W*(?:and|but|so)\s+", "", question.strip(), flags=re.IGNORECASE).rstrip("?!. ").capitalize() + "?"


def _exchanged(rest: str, last: str) -> str:
    """The last question with the like of `rest` in it put in its place, or `rest` behind it."""
    mark = "?" if last.endswith("?") else ""
    body = last.rstrip("?!. ")
    if own := _PLACE.match(rest):
        # "in winter" takes the place of "in summer"
        same = list(re.finditer(rf"\b{own[0]}\b\s+(?:the\s+)?[\w'’-]+(?:\s+[A-Z\d][\w'’-]*)*", body, re.IGNORECASE))
        if same:
            return body[: same[-1].start()] + rest + body[same[-1].end() :] + mark
        return f"{body} {rest}{mark}"
    named = set(names(body))
    theirs = [m for m in re.finditer(r"\b[\w'’-]+\b", body) if m[0] in named]
    if names(rest) and theirs:
        first, end = theirs[-1].start(), theirs[-1].end()
        for before in reversed(theirs[:-1]):  # names of several words are one
            if body[before.end() : first].isspace():
                first = before.start()
        return body[:first] + rest + body[end:] + mark
    if topic := _topic_words(last):
        at = re.search(re.escape(topic), body, re.IGNORECASE)
        if at is not None:
            return (
                body[: at.start()]
                + re.sub(r"^(?:the|a|an)\s+", "", rest, flags=re.IGNORECASE)
                + body[at.end() :]
                + mark
            )
    return f"{body}, {rest}{mark}"


def _resolved(question: str, history: Sequence[Turn]) -> str:
    """What pronouns stand for, put in their place, once each kind. Turns that were answered are pointed at first."""
    turns = [t for abstained in (False, True) for t in reversed(history) if t.answer.abstained == abstained]
    if person := _PERSON.search(question):
        who = next((found for turn in turns if (found := _person(turn))), None)
        if who and not _named_before(question, person.start()):
            question = _put(question, person, who)
    thing = None if _EMPTY_IT.search(question) else _THING.search(question)
    if thing and not _named_before(question, thing.start()):
        what = next((found for turn in turns if (found := _topic(turn))), None)
        if what:
            question = _put(question, thing, what)
    return question


def _named_before(question: str, at: int) -> bool:
    """Whether the question itself names something before the pronoun: "Does Rust free memory when it can?"."""
    before = question[:at]
    return (
        bool(names(before))
        or sum(word.lower() not in STOP_WORDS and word.lower() not in _ASKING for word in _WORDS.findall(before)) >= 2
    )


def _put(question: str, pronoun: re.Match[str], what: str) -> str:
    is_possessive = pronoun[0].lower() in _POSSESSIVE and re.match(r"\s+\w", question[pronoun.end() :]) is not None
    owned = (what + ("'" if what.endswith("s") else "'s")) if is_possessive else what
    return question[: pronoun.start()] + owned + question[pronoun.end() :]


def _person(turn: Turn) -> str | None:
    """Who a turn is about: of a question for a person, the first name in the answer that is new; else its own name."""
    if not re.search(r"\bwho(?:m|se)?\b", turn.question, re.IGNORECASE):
        return _run(turn.question)
    short = turn.answer.short_answer
    said = short.text if short else turn.answer.sentences[0].text if turn.answer.sentences else ""
    asked = turn.question.casefold()
    # Behind another word, one that begins the sentence can be a name, too.
    new = [run for run in _runs(f"x {said}") if run.lower() not in _NO_NAMES and run.casefold() not in asked]
    return new[0] if new else None


def _run(text: str) -> str | None:
    """The last run of names in a text."""
    runs = _runs(text)
    return runs[-1] if runs else None


def _runs(text: str) -> list[str]:
    """Names that follow each other, joined."""
    found = set(names(text))
    runs: list[list[re.Match[str]]] = []
    for match in _WORDS.finditer(text):
        word = re.sub(r"['’]s$", "", match[0]).strip(".'’-")
        if word not in found:
            continue
        if runs and text[runs[-1][-1].end() : match.start()].isspace():
            runs[-1].append(match)
        else:
            runs.append([match])
    return [re.sub(r"['’]s$", "", text[run[0].start() : run[-1].end()].rstrip("?!., ")) for run in runs]


def _topic(turn: Turn) -> str | None:
    """What a turn is about: a name in its question, who does what it asks, or its words that the answer has, too."""
    if (done := _run(turn.question) or _doer(turn.question)) is not None:
        return done
    told = " ".join(
        [turn.answer.text, *(f"{c.quote} {c.title or ''} {c.section or ''}" for c in turn.answer.citations)]
    ).casefold()
    words = [m[0].rstrip(".'’-") for m in _WORDS.finditer(turn.question)]
    best: tuple[int, str] | None = None
    for i in range(len(words)):
        for j in range(i + 1, min(i + _MOST_WORDS, len(words)) + 1):
            run = words[i:j]
            if any(w.lower() in _ASKING for w in run) or run[0].lower() in STOP_WORDS or run[-1].lower() in STOP_WORDS:
                continue
            if " ".join(run).casefold() in told and (best is None or len(run) > best[0]):
                best = len(run), " ".join(run)
    return best[1] if best else _topic_words(turn.question)


def _doer(question: str) -> str | None:
    """Who does what a question with "do" asks: "how many hours do cats sleep", "how does negative sampling work"."""
    match = re.search(r"\b(?:do|does|did)\s+(?:(?:the|a|an)\s+)?(.+)", question, re.IGNORECASE)
    if match is None:
        return None
    words = []
    for word in (m[0].rstrip(".'’-") for m in _WORDS.finditer(match[1])):
        if word.lower() in STOP_WORDS or word.lower() in _ASKING:
            break
        words.append(word)
    return " ".join(words[:-1][:_MOST_WORDS]) or None  # the last is what is done


def _topic_words(question: str) -> str | None:
    """The last run of words of a question that say something."""
    runs: list[list[str]] = [[]]
    for match in _WORDS.finditer(question):
        word = match[0].rstrip(".'’-")
        if word.lower() in STOP_WORDS or word.lower() in _ASKING:
            runs.append([])
        else:
            runs[-1].append(word)
    said = [run for run in runs if run]
    return " ".join(said[-1][:_MOST_WORDS]) if said else None
