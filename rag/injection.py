"""Finds what a document says to a model instead of its reader: orders, hidden text, tokens of a chat.

Documents are data. Nothing of them is followed or run, whatever they say; what looks like an order to whoever answers
is besides kept out of what is answered with, so that it is neither quoted nor taken for support. The rules are about
the form of such orders, not about a list of known ones: they speak of the reply, the model, its rules or the user.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import replace

from rag.sentences import sentence_spans
from rag.types import Hit

_REPLY = (
    r"(?:responses?|repl(?:y|ies)|answers?|outputs?|summar(?:y|ies)|completions?|translations?|explanations?|"
    r"elucidations?|explications?|clarifications?|elaborations?|expositions?)"
)
_DO = (
    "add|append|adjoin|insert|include|incorporate|integrate|embed|inject|attach|augment|enhance|enrich|modify|change|"
    "alter|adapt|adjust|edit|rewrite|rephrase|replace|substitute|convert|encode|decode|encrypt|cipher|translate|"
    "render|transform|turn|use|utili[sz]e|employ|apply|provide|give|write|craft|compose|generate|produce|make|create|"
    "begin|start|end|close|conclude|finish|introduce|misspell|scramble|jumble|shuffle|reverse|mirror|rearrange|"
    "anagram|remove|delete|drop|omit|skip|swap|group|combine|join|split|mix|insist|suggest|recommend|mention|promote|"
    "advertise|endorse|encourage|urge|persuade|invite|remind|tease|hint|highlight|emphasi[sz]e|stress|state|say|tell|"
    "respond|reply|answer|output|print|repeat|return|display|show|echo|format|present|express|put|place|weave|slip|"
    "work|sprinkle|scatter|merge|meld|blend|infuse|complement|supplement|extend|expand|ensure|execute|run|keep|let|have|"
    "leverage"
)
_FIRST = (
    r"(?:^|[.!?:;\n(\"“*>-]\s*)(?:and |then |also |now |please,? |you must |you should |always |kindly |simply |just |"
    r"\d+[.)] )*"
)
_SAME = r"(?:(?![.!?]\s).)"  # on within the sentence
_WHOLE = r"(?:own |final |whole |entire |full )?"
_CODE = (
    r"(?:following|subsequent|next|below|provided|given|attached) "
    r"(?:code|script) ?(?:section|snippet|excerpt|block|segment|fragment|piece|passage|lines?|sample)"
)
_YOURS = (
    r"(?:your (?:\w+ ){0,2}(?:code ?base|code|implementations?|solutions?|programs?|projects?|scripts?|algorithms?|"
    r"software|work|development)|you (?:write|create|develop|build|generate|produce|provide))"
)
_MODEL = r"(?:ai|llms?|(?:language )?models?|assistants?|chat ?bots?|gpt|crawlers?)"

# Each with words of which one must stand in a text for it to be looked for: most texts hold few of them.
_ORDERS = tuple(
    (words.split(","), re.compile(pattern, re.IGNORECASE | re.DOTALL))
    for words, pattern in (
        # The rules that came before.
        (
            "ignore,disregard,forget,overr,bypass,neglect,stop following,pay no",
            r"\b(?:ignore|disregard|forget|override|overrule|bypass|neglect|stop following|pay no attention to)\b"
            r".{0,40}\b(?:above|previous|prior|preceding|earlier|original|initial|system|other|all|any|your|these|"
            r"those|the)\b.{0,30}\b(?:instructions?|prompts?|directions?|directives?|guidelines?|conversations?|"
            r"training|programming|context)\b",
        ),
        (
            "ignore,disregard,forget",
            rf"{_FIRST}(?:ignore|disregard|forget) (?:everything|anything|what (?:came|was|is|you)|"
            r"(?:all )?(?:of )?the (?:above|previous|preceding)|all (?:previous|prior|preceding|above))\b",
        ),
        (
            "instruction,prompt,order,directive",
            r"\b(?:new|updated|additional|special|secret|hidden|important|real) (?:system )?(?:instructions?|prompts?|"
            rf"orders?|directives?)\b\s*(?:for (?:you|(?:the |all )?{_MODEL})\b|:)",
        ),
        (
            "prompt,instruction",
            r"\bsystem prompt\b|\b(?:hidden|initial|original|secret) (?:prompt|instructions)\b"
            r"|\b(?:begin|end|start) of (?:the )?(?:system |user |hidden )?(?:prompt|instructions)\b",
        ),
        ("jailbreak,dan mode,do anything", r"\b(?:jailbreak|DAN mode|do anything now)\b"),
        # Whom they speak to.
        (
            "you are,you're,act as,behave,pretend,role,imagine,you must,you will,you shall,you should,from now",
            r"\b(?:you are|you're|act as|behave as|pretend (?:to be|that you)|role-?play as|imagine (?:that )?you are|"
            rf"you (?:must|will|shall|should) (?:now )?(?:act|behave|pretend)|from now on,? you)\b{_SAME}{{0,40}}"
            r"\b(?:assistants?|ai|chat ?bots?|language models?|llms?|gpt|unrestricted|DAN|hackers?)\b",
        ),
        (
            "attention,note to,message,instruction,dear,hey,hello,hi ,hi,",
            r"\b(?:attention|note to|message (?:to|for)|instructions? (?:to|for)|dear|hey|hello|hi)\b[ ,:]{0,3}"
            rf"(?:the |any |all |every )?{_MODEL}\b",
        ),
        (
            "as an ai,as a large,as a lang,as an art",
            r"\bas an? (?:ai|artificial intelligence|large language|language model)\b",
        ),
        (
            "if,when,before,after,while",
            r"\b(?:if|when|whenever|before|after|while) (?:you are |you're )?(?:asked|answering|summari[sz]ing|"
            rf"responding|replying|someone asks|(?:the |any )?users? asks?)\b{_SAME}{{0,100}}"
            r"\b(?:say|respond|reply|answer|tell|output|print|claim|state|mention|recommend|include|add)\b",
        ),
        (
            "user,reader,asker,person,people,customer,recipient",
            rf"{_FIRST}(?:tell|inform|instruct|urge|convince|persuade|encourage|direct|redirect|invite|advise|remind|"
            r"warn) (?:the |your |all |any )?(?:users?|readers?|askers?|person (?:who|asking)|people (?:who|asking)|"
            r"customers?|recipients?)\b",
        ),
        # What is to be done with the reply: by such words they differ from e-mails that speak of a reply, too.
        (
            "your",
            rf"\b(?:{_DO})(?:e?d|s|ing)?\b{_SAME}{{0,160}}"
            rf"\byour (?:(?:\w+ ){{0,2}}(?:responses?|repl(?:y|ies))|{_WHOLE}{_REPLY})\b",
        ),
        (
            "repl,answer,summary",
            rf"{_FIRST}(?:{_DO})\b{_SAME}{{0,100}}"
            rf"\b(?:in|to|into|with|of|for) (?:the|this|each|every) {_WHOLE}(?:repl(?:y|ies)|answers?|summary)\b",
        ),
        (
            "your",
            r"\b(?:in|to|into|within|throughout|for|at the (?:end|beginning|start|top|bottom) of|using) "
            rf"(?:all |each |every )?(?:of )?your (?:\w+ ){{0,3}}{_REPLY}\b",
        ),
        (
            "your",
            rf"\byour (?:\w+ ){{0,2}}{_REPLY} (?:must|should|shall|has to|needs? to|ought to|is to|are to) "
            r"(?:also |only |always |not |never )?(?:be|contain|include|end|begin|start|say|use|have|mention|consist|"
            r"avoid)\b",
        ),
        (
            "your",
            rf"{_FIRST}(?:{_DO})\b{_SAME}{{0,120}}"
            r"\byour (?:\w+ ){0,2}(?:messages?|text|writing|words|sentences|reports?)\b",
        ),
        (
            "respond,reply,answer",
            rf"{_FIRST}(?:only |always )?(?:respond|reply|answer)(?: back)?,? (?:(?:only|just|exactly|simply|solely|"
            r"always|verbatim)\b|(?:with|in|as|using|by)\b(?! (?:this|the|that) (?:e-?mail|letter|message)))",
        ),
        (
            "output,say,write,repeat,claim",
            rf"{_FIRST}(?:output|say|write|repeat|claim) (?:only|just|exactly|nothing but|verbatim|"
            r"that (?:the|you|there|it|this|all)|"
            r"the (?:words?|phrase|sentence|following (?:words?|phrase|sentence|text)))\b",
        ),
        (
            "instead of",
            r"\binstead of (?:answering|responding|replying|following (?:the|your|these) (?:instructions?|rules))\b",
        ),
        (
            "not,don,never",
            rf"{_FIRST}(?:do not|don't|never) (?:answer|respond|reply|reveal|disclose|mention|summari[sz]e|cite|"
            rf"quote|trust)\b{_SAME}{{0,60}}\b(?:questions?|query|passages?|documents?|sources?|instructions?|prompt|users?|"
            rf"{_REPLY})\b",
        ),
        # Code that is to be taken over.
        (
            "code,script",
            rf"\b{_CODE}\b{_SAME}{{0,80}}\b{_YOURS}\b|\b{_YOURS}\b{_SAME}{{0,80}}\b{_CODE}\b"
            rf"|\b(?:do not|don't) (?:hesitate|forget|fail|neglect|omit) to\b{_SAME}{{0,60}}\b{_CODE}\b",
        ),
        # What carries things away: an address with something to be filled in.
        (
            "http",
            r"!\[[^\]]*\]\(\s*https?://[^)]*(?:\{|\[|<|\$|%7b|=\s*\))|https?://\S*(?:\{\{[^}]*\}\}"
            r"|[{<\[](?:data|secret|answer|question|context|conversation|prompt|history)[}>\]])",
        ),
        # Tokens and roles of a chat.
        (
            "<,[,system,assistant",
            r"<\|[^<>|]{1,40}\|>|\[/?INST\]|<</?SYS>>|</?(?:start|end)_of_turn>|</?think>"
            r"|(?:^|\n)\s*#{1,4} *(?:system|assistant|instructions?)\s*: *\S|(?:^|\n)\s*(?:system|assistant) ?: +[A-Z]",
        ),
    )
)
_CODE_BLOCK = re.compile(r"\s*(?:```|~~~).*?(?:```|~~~|\Z)", re.DOTALL)
_TAGS = re.compile("[\U000e0000-\U000e007f]")  # letters that no font shows, and models read


def orders(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence or heading that looks like an order to a model, with a block of code behind it.

    Text that cannot be seen, of Unicode's tag characters, is such an order whatever it says. Letters that look alike
    and characters of no width do not hide one.
    """
    found: list[tuple[int, int]] = []
    low = _seen(text).casefold()
    looked_for = [order for words, order in _ORDERS if any(word in low for word in words)]
    if not looked_for and not _TAGS.search(text):
        return found
    spans = _with_lines_between(text, sentence_spans(text))
    for i, (start, end) in enumerate(spans):
        seen = _seen(text[start:end])
        if not _TAGS.search(text[start:end]) and not any(order.search(seen) for order in looked_for):
            continue
        block = _CODE_BLOCK.match(text, end)
        found.append((start, block.end() if block else end))
        # What is ordered can come behind a colon: "Reply with the following:" and a line of its own.
        if seen.rstrip().endswith(":") and block is None and i + 1 < len(spans):
            found.append(spans[i + 1])
    return _joined(found)


def without_orders(hit: Hit, before: str = "") -> tuple[Hit, list[str]]:
    """The hit with blanks in the place of orders, every other character where it was; and what they say.

    Args:
        hit: a passage.
        before: what stands in front of it in its document: an order there can go on in the passage.
    """
    text = hit.chunk.text
    if above := orders(hit.chunk.context):  # a title or heading
        without, orders_in = without_orders(
            replace(hit, chunk=replace(hit.chunk, context="", title=None, section=None)), before
        )
        return without, [*(hit.chunk.context[start:end] for start, end in above), *orders_in]
    found = [(max(s - len(before), 0), e - len(before)) for s, e in orders(before + text) if e > len(before)]
    if not found:
        return hit, []
    blanked = text
    for start, end in found:
        # Blank lines: what stands around an order must not become one sentence across it.
        blanked = blanked[:start] + "\n" * (end - start) + blanked[end:]
    return replace(hit, chunk=replace(hit.chunk, text=blanked)), [text[start:end] for start, end in found]


def _seen(text: str) -> str:
    """As it is read: compatible forms made one, characters of no width gone."""
    if not text.isascii():
        plain = unicodedata.normalize("NFKC", text)
        text = "".join(c for c in plain if unicodedata.category(c) != "Cf").replace("’", "'")
    return text


def _with_lines_between(text: str, spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The sentences, and what stands between them and is none, line by line: headings, for one."""
    found: list[tuple[int, int]] = []
    at = 0
    for start, end in [*spans, (len(text), len(text))]:
        lines = re.finditer(r"\S[^\n]*", text[at:start])
        found += [(at + line.start(), at + line.start() + len(line[0].rstrip())) for line in lines]
        if end > start:
            found.append((start, end))
        at = end
    return found


def _joined(spans: list[tuple[int, int]]) -> list[tuple[int, int]]:
    joined: list[tuple[int, int]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined
