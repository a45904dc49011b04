"""Finds the sentences of a passage and their exact spans: prose, list items, and lines of tables and code."""

from __future__ import annotations

import re
from collections.abc import Iterator

MAX_CHARACTERS = 400  # a longer one is cut at a clause, so that a footnote stays a quote and not a page

_FENCE = re.compile(r"^[ \t]*(?:```+|~~~+)([^`\n]*)$", re.MULTILINE)  # with the language it names
_HEADING = re.compile(r"[ \t]{0,3}#{1,6}[ \t]")
_UNDERLINE = re.compile(r"[ \t]*([=\-~^*+#\"']{3,})$")  # below a heading, or a rule
_BULLET = re.compile(r"[ \t]*(?:[-*+•‣◦●○▪■·\uf0b7]|\(?\d{1,3}[.)]|\(?[a-zA-Z][.)])(?:[ \t]+|$)")
# A line of running prose can begin like a list item ("article\n12. It"): only these begin a list there.
_FIRST_BULLET = re.compile(r"[ \t]*(?:[-*+][ \t]|[•‣◦●○▪■·\uf0b7]|[1ai]\.[ \t]|\(?[1aAi]\)[ \t])")
_INITIAL = re.compile(r"[ \t]*[B-Z]\.")  # "J. Smith": an item only after another item
_QUOTE = re.compile(r"[ \t]{0,3}(?:>[ \t]*){1,2}(?!>)")  # >>> is Python's prompt
_TABLE = re.compile(r"[ \t]*\|.*\|$|[^|\n]+(?: \| [^|\n]+)+$")
_TABLE_RULE = re.compile(r"[ \t|:\-+=]{3,}$")

# A sentence ends at . ! ? … or their like in other scripts, with closing quotes, brackets and numbers of notes, before
# white space and a new start.
_END = re.compile(r"[.!?…؟۔।॥]+(?:[\"'”’“»)\]*_`]|\[\d{1,3}\])*(?=\s)|[。！？]+[」』”’）]*")
_START = re.compile(r"[\s\"'“‘„«¿¡(\[*_`$£€¥「『（《]*([^\W_])")
_ABBREVIATION = re.compile(
    r"(?<![^\W_])(?<![.&-])(?:(?:[A-Za-z]\.)*[A-Z]|(?:[a-z]\.)+[a-z]"  # J. K., J.K., U.S., e.g., p.m.
    r"|Mr|Mrs|Ms|Dr|Prof|St|Sr|Jr|Gen|Col|Sgt|Capt|Lt|Rep|Sen|Gov|Rev|Hon|vs|etc|al|ca|cf|approx"
    r"|eg|ie|Fig|Figs|fig|Eq|eq|Eqs|Sec|sec|Ch|ch|No|no|Nos|Vol|vol|pp|p|ed|eds|Inc|Ltd|Co|Corp|Bros|dept|Dept"
    r"|est|Mt|Ave|Blvd|Rd|Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sep|Sept|Oct|Nov|Dec|Ph\.D|viz|resp)\.$"
)
# After these a new sentence can well begin, though they are abbreviations.
_MAY_END = re.compile(r"(?:etc|al|Inc|Ltd|Co|Corp|Bros|a\.m|p\.m|Ph\.D|Jr|Sr)\.$")
# "in the U.S. The", "vitamin C. It": a sentence begins, while "J. Smith" goes on. "K. He" and "N. An" are names.
_STARTER = re.compile(
    r"(?:The|It|They|We|This|That|These|Those|There|Then|But|If|When|However|After|Although|His|Her|Its|Their)\b"
)
# "word2vec uses …", "fastText adds …": a name that begins in lower case can begin a sentence.
_NAMED_IN_LOWER_CASE = re.compile(r"[a-z]+(?:[0-9]|-?[A-Z])\w*")
_SHORT_LINE = 0.6  # of the width of the longest line
_FEWEST_WRAPPED = 50  # characters: text of shorter lines is a list or a poem, and says nothing of its width
_CLAUSE = re.compile(r"[;:,—–]\s+|[；：，、]|\s+")


def sentence_spans(text: str) -> list[tuple[int, int]]:
    """(start, end) of each sentence of a passage, in order, without overlap and without white space at either end.

    Headings, rules and code fences are no sentences. A list item or a line of a table begins a sentence of its own,
    whose span leaves the bullet out. Every sentence has at most 400 characters.
    """
    return [part for start, end in _blocks(text) for span in _split(text, start, end) for part in _short(text, *span)]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Stretches of lines that run on: paragraphs, list items, single lines of tables and code."""
    begin: int | None = None  # of the running paragraph
    end = 0
    in_code, in_list = _begins_in_code(text), False
    width = max(len(line) for line in text.split("\n"))
    for line_start, stop in _lines(text):
        quote = None if in_code else _QUOTE.match(text, line_start, stop)
        start = quote.end() if quote else line_start
        line = text[start:stop].rstrip()
        fence = _FENCE.match(line)
        underline, rule, row = _UNDERLINE.match(line), _TABLE_RULE.match(line), in_code or _TABLE.match(line)
        if fence or not line.strip() or _HEADING.match(line) or underline or rule or row:
            if underline and begin is not None and underline[1][0] in "=-~^" and "\n" not in text[begin:end].strip():
                begin = None  # the line above was a heading
            if begin is not None:
                yield begin, end
            begin = None
            if fence:
                in_code = not in_code or bool(fence[1].strip())
            elif row and not rule:
                yield start, stop
            continue
        marker = _BULLET.match(line)
        if marker and (in_list or (not _INITIAL.match(line) if begin is None else _FIRST_BULLET.match(line))):
            if begin is not None:
                yield begin, end
            begin, in_list = start + marker.end(), True
        elif begin is None:
            begin, in_list = start, False
        end = stop
        if _stands_alone(line, text[stop + 1 : stop + 2], width):
            yield begin, end
            begin = None
    if begin is not None:
        yield begin, end


def _stands_alone(line: str, following: str, width: int) -> bool:
    """Whether a line is a heading that carries no mark, as in the text of a PDF: far shorter than the lines are wide,
    without an end mark, and followed by a capital."""
    short = len(line) < _SHORT_LINE * width and width >= _FEWEST_WRAPPED
    return short and following.isupper() and line[-1:].isalnum()


def _begins_in_code(text: str) -> bool:
    """Whether a passage was cut inside a code block: then a fence closes before one that names a language opens."""
    languages = [fence[1].strip() for fence in _FENCE.finditer(text)]
    bare = next((i for i, language in enumerate(languages) if language), 0)
    return bare % 2 == 1


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while start <= len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        yield start, stop
        start = stop + 1


def _split(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    begin = start
    for match in _END.finditer(text, start, end):
        following = _START.match(text, match.end(), end)
        if following and _ends_here(
            text[max(match.end() - 12, begin) : match.end()],
            match[0],
            text[match.end() : following.start(1)],
            text[following.start(1) : following.start(1) + 40],
        ):
            yield from _trimmed(text, begin, match.end())
            begin = match.end()
    yield from _trimmed(text, begin, end)


def _ends_here(so_far: str, mark: str, opening: str, rest: str) -> bool:
    """Whether a sentence ends at the mark, the last of `so_far`; `opening` (quotes, brackets) and `rest` come next."""
    if mark[0] in "。！？":
        return True
    if rest[0].islower() and "`" not in opening and not _NAMED_IN_LOWER_CASE.match(rest):
        return False  # "e.g. this", "the U.S. army", "approx. five"
    if mark[0] != "." or not _ABBREVIATION.search(so_far):
        return True
    if so_far[-3:].casefold() == "no.":
        return not rest[0].isdigit()  # "He said no. They left.", "no. 5"
    if so_far[-2].isupper() and _STARTER.match(rest):
        return True
    return bool(_MAY_END.search(so_far)) and rest[0].isupper()


def _trimmed(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    if any(character.isalnum() for character in text[start:end]):
        yield start, end


def _short(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    while end - start > MAX_CHARACTERS:
        cut = start + MAX_CHARACTERS
        for match in _CLAUSE.finditer(text, start + MAX_CHARACTERS // 2, start + MAX_CHARACTERS):
            cut = match.end() if match[0].strip() or cut == start + MAX_CHARACTERS else cut
        yield from _trimmed(text, start, cut)
        start = cut
    yield from _trimmed(text, start, end)


_INLINE = re.compile(
    r"\\(?P<escaped>[*_`])"
    r"|(?P<ticks>`+)(?P<code>[^`](?:.*?[^`])??)(?P=ticks)(?!`)(?:__?(?!\w))?"  # `name`_ is a link of RST
    # A link has words to show, and stands by itself: a[i](x) is a call.
    r"|(?<![A-Za-z0-9_)\]])!?\[(?=[^\]]*[^\W_])(?P<link>(?:[^\[\]]|\[[^\[\]]*\])*)\]"
    r"\((?:[^()\s]|\([^()]*\))*(?:\s+(?:\"[^\"]*\"|'[^']*'))?\)"
    r"|(?<![A-Za-z0-9_)\]])!?\[(?=[^\]]*[^\W\d])(?P<reference>[^\[\]]+)\]\[[^\[\]]*\]"  # [1][2] are two notes
    # So does emphasis: 2*3*4, f(*a, *b), x_1 and __init__ are none.
    r"|(?<![A-Za-z0-9*\\)\]}])(?P<stars>\*{1,3})(?=[\w\"'“‘(\[`$\\])(?P<starred>.*?[^\s*\\(\[])(?P=stars)(?![A-Za-z0-9*])"
    r"|(?<![\w\\)\]}])(?P<lines>_{1,3})(?=[^\W_]|[\"'“‘(\[`*$\\./~])(?!(?<=__)[a-z]+(?:_[a-z]+)*__)"
    r"(?P<underlined>.*?[^\s_\\(\[])(?P=lines)(?!\w)"
    # What opens or closes a stretch of several sentences.
    r"|\A(?:\*{1,3}|_{1,3})(?=[^\W_a-z])|(?<=[.!?…:,;)\"'”’])(?:\*{1,3}|_{1,3})\Z|(?<=\])_(?!\w)|`+",
    re.DOTALL,
)
_QUOTED_LINE = re.compile(r"\n[ \t]{0,3}(?:>[ \t]*){1,2}(?=[^\W\d]|[\"'“‘(\[*_`])")  # not "\n> 5 mm"


def plain_text(text: str) -> str:
    """A quote as it is said in an answer: one line, without Markdown's inline marks.

    What only looks like them stays: names in code, products and powers, indices, numbers of notes.
    """
    text = " ".join(_INLINE.sub(_said, _QUOTED_LINE.sub("\n", text.strip())).split())
    return text.strip("| ").replace(" | ", ", ") if text.startswith("|") else text


def _said(match: re.Match[str]) -> str:
    inner = match["link"] or match["reference"] or match["starred"] or match["underlined"]
    return _INLINE.sub(_said, inner) if inner else match["escaped"] or match["code"] or ""
