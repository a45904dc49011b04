"""What a question says of itself: the kind of thing it asks for, and the names in it."""

from __future__ import annotations

import re

_KINDS = {
    "number": re.compile(
        r"\bhow (?:many|much|long|large|big|far|often|old|tall|high|deep|fast|small|wide)\b"
        r"|\bwhat (?:number|percentage|share|fraction|proportion|size|score|accuracy|rate)\b",
        re.IGNORECASE,
    ),
    "date": re.compile(r"\bwhen\b|\b(?:what|which) (?:year|date|day|month|decade|century)\b", re.IGNORECASE),
    "name": re.compile(
        r"\bwho(?:m|se)?\b|\bwhere\b|\bwhich (?:person|team|company|university|city|country|paper)\b", re.IGNORECASE
    ),
}
_EXAMPLES = {
    "number": re.compile(
        r"\d+(?:[.,]\d+)*|\b(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|twenty|thirty|forty|fifty"
        r"|hundred|thousand|million|billion|half|twice|double)\b",
        re.IGNORECASE,
    ),
    "date": re.compile(
        r"\b(?:1\d{3}|20\d{2})\b|\b\d{1,2}:\d\d\b"
        r"|\b(?:January|February|March|April|May|June|July|August|September|October|November|December|century"
        r"|Monday|Tuesday|Wednesday|Thursday|Friday|Saturday|Sunday)\b"
    ),
    "name": re.compile(r"(?<![.!?]\s)(?<!^)\b[A-Z][\w'-]+"),  # a capital that does not begin a sentence
}


_HOW_TO = re.compile(
    r"\bhow (?:to|(?:do|can|should|would) (?:i|you|we|they|people|one)|does one)\b"
    r"|\b(?:steps|instructions|procedure)\b",
    re.IGNORECASE,
)


_TELL = re.compile(
    r"^\W*(?:please )?(?:explain|describe|summari[sz]e|compare|list|tell me about|give an overview)\b", re.I
)
_EXPLAIN = re.compile(r"\bwhy\b|\bhow (?:do|does|did|is|are|was|were|can|could|should|would|to|come)\b", re.IGNORECASE)
_YES_OR_NO = re.compile(
    r"^\W*(?:is|are|was|were|am|do|does|did|has|have|had|can|could|will|would|should|may|might|must)\b", re.IGNORECASE
)


def asks_for_words(question: str) -> bool:
    """Whether a few words can answer it: not where it asks why or how, yes or no, or for a description."""
    if expected_kind(question) is not None:
        return True
    return not any(pattern.search(question) for pattern in (_TELL, _EXPLAIN, _YES_OR_NO, _HOW_TO))


def asks_how_to(question: str) -> bool:
    """Whether it asks for steps to take."""
    return _HOW_TO.search(question) is not None


def expected_kind(question: str) -> str | None:
    """'number', 'date' or 'name' where the question asks for one, else None."""
    return next((kind for kind, pattern in _KINDS.items() if pattern.search(question)), None)


def novel(kind: str, sentence: str, question: str) -> set[str]:
    """What the sentence holds of that kind and the question does not, in lower case."""
    asked = set(re.findall(r"[\w'-]+", question.casefold()))
    return {match[0].casefold() for match in _EXAMPLES[kind].finditer(sentence)} - asked


def names(question: str) -> list[str]:
    """The words that look like names: a digit or an inner capital (GPT-3, word2vec), or a capital not at the start."""
    words = re.findall(r"[\w'-]+", question)
    return [
        word
        for i, word in enumerate(words)
        if re.search(r"\d|\w[A-Z]", word) or (i > 0 and word[0].isupper() and word != "I")
    ]
