"""What a question says of itself: the kind of thing it asks for, and the names in it."""

from __future__ import annotations

import re
from collections.abc import Callable

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


# What a comparison speaks of, and what it says it with.
_COMPARES = re.compile(
    r"\b(?:differ(?:s|ence|ences|ent)?|compare[ds]?|comparison|versus|vs|better|worse|than|distinguish(?:es)?|or)\b",
    re.IGNORECASE,
)
_CONTRASTS = re.compile(
    r"\b(?:than|whereas|while|unlike|compared|instead|rather|versus|differ\w*|both|contrast|but|in place of|not|more"
    r"|less|\w+er)\b",
    re.IGNORECASE,
)
# What says yes or no to "may I", "does it", "is it allowed".
_GRANTS = re.compile(
    r"\b(?:not|no|never|only|must|may|can|cannot|always|allowed|required|requires?|needs?|possible|without|unless"
    r"|neither|none|both|either|every|any|should|optional|supports?|does|do)\b|n['’]t\b",
    re.IGNORECASE,
)
_ASKS_WHAT = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"^\W*what(?:['’]s| is| are| was| were) (?:an? |the )?(?:meaning|definition) of (?:an? |the )?"
        r"(?:word |term )?(?P<what>[\w\s'’/-]+?)\W*$",
        r"^\W*what(?:['’]s| is| are| was| were) (?:meant by |an? |the )?(?P<what>[\w\s'’/-]+?)\W*$",
        r"^\W*what (?:does|do|did) (?:an? |the )?(?P<what>[\w\s'’/-]+?) (?:mean|stand for|refer to)\b",
        r"^\W*who (?:is|are|was|were) (?:the )?(?P<what>[\w\s'’/-]+?)\W*$",
        r"^\W*(?:please )?define (?:an? |the )?(?P<what>[\w\s'’/-]+?)\W*$",
    )
)
_MOST_DEFINED = 6  # words; more describe what is looked for, and are no name of it
_DESCRIBES = re.compile(r"\b(?:called|known|used|named|that|which|who|for|between|reason|purpose|name|term)\b", re.I)


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


def fitting(question: str) -> Callable[[str], bool]:
    """Tells of a sentence whether it holds the kind of thing the question asks for.

    A number, date or name that is not in the question; for "what is" a definition of just that; for a comparison words
    that contrast; for yes or no words that grant, deny or limit.
    """
    tests: list[Callable[[str], object]] = []
    if kind := expected_kind(question):
        tests.append(lambda sentence: novel(kind, sentence, question))
    if what := defined(question):
        tests.append(_definition_of(what).match)
    if _COMPARES.search(question):
        tests.append(_CONTRASTS.search)
    if _YES_OR_NO.search(question):
        tests.append(_GRANTS.search)
    return lambda sentence: any(test(sentence) for test in tests)


def defined(question: str) -> str | None:
    """What the question wants to be told what it is: "word embedding" of "What is a word embedding?"; else None."""
    for match in filter(None, (pattern.match(question) for pattern in _ASKS_WHAT)):
        what: str = match["what"].strip()
        if len(what.split()) <= _MOST_DEFINED and not _DESCRIBES.search(what):
            return what
    return None


def _definition_of(what: str) -> re.Pattern[str]:
    """Of a sentence that begins by saying what something is; in singular or plural, with a word or a clause between."""
    # The last letter of a plural may be missing, and others follow.
    words = r"\s+".join(re.escape(word) for word in what.rstrip("s").split())
    return re.compile(
        rf"\W*(?:(?:an?|the|in [\w\s]{{1,60}},) )?(?:[\w-]+ )?{words}\w{{0,2}}\W?"
        r"(?: ?\([^)]*\))?(?: or [\w -]{1,60})?(?:,[^,]{1,80},)?\s*"
        r"(?:(?:is|are|was|were|refers? to|means?|denotes?|describes?|stands? for|consists? of"
        r"|comprises?)\b|[-–—:])",
        re.IGNORECASE,
    )


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
