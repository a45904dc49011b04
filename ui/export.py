"""Threads and answers as files that carry their evidence: each footnote with its file, place and quote.

Texts of documents, names and questions stand in these files as text. In Markdown all that could begin markup is
escaped; in HTML everything is, and a policy in the file lets it run nothing and fetch nothing. White space is folded,
and what no reader sees but what turns text around is left out.
"""

from __future__ import annotations

import base64
import hashlib
import html as entities
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from rag.types import Answer, Citation
from ui.render import NEAREST, Passage
from ui.threads import Numbering, Thread, Turn

NO_SOURCE = "no source says this"
NEAR_MISS = "What they say that comes near:"
_LONGEST_NAME = 60  # characters of a file name, without its ending
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com\d|lpt\d)", re.IGNORECASE)  # on Windows, with any ending

# What can begin markup in the middle of a line: CommonMark, its GitHub form, mathematics, attributes and templates.
# A name such as notes.md is a web address to some viewers, so its dot is escaped as well.
_ACTIVE = re.compile(r"[\\`*_\[\]<>&~^$|{}#@]|:(?=\S)|(?<=\w)\.(?=[^\W\d_]{2})|(?<=www)\.", re.IGNORECASE)
# At the beginning of one: headings and quotes are among the above; lists, rules, underlines and definitions are not.
_OPENING = re.compile(r"[-+=:%]")
_NUMBERED = re.compile(r"(\d{1,9})([.)])")
_UNSEEN = re.compile("[\u202a-\u202e\u2066-\u2069\ufeff]")
_ODD = re.compile("[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")


@dataclass(frozen=True, slots=True)
class Entry:
    """A question with its answer, as it is exported."""

    answer: Answer
    asked_at: str | None = None  # ISO 8601

    @classmethod
    def of(cls, turns: Iterable[Turn]) -> list[Entry]:
        return [cls(turn.answer, turn.asked_at) for turn in turns]


@dataclass(frozen=True, slots=True)
class Exported:
    """What is exported: a thread, or one answer of it."""

    title: str
    index: str  # name of the index that was asked
    entries: Sequence[Entry]
    one: int | None = None  # position of the answer that it can be instead

    @classmethod
    def of(cls, thread: Thread, turns: Iterable[Turn], one: int | None = None) -> Exported:
        """A thread that was kept."""
        return cls(thread.title, thread.index, Entry.of(turns), one)

    @property
    def alone(self) -> Exported:
        """That one answer."""
        assert self.one is not None
        entry = self.entries[self.one]
        return Exported(entry.answer.question, self.index, [entry])

    def markdown(self) -> str:
        return markdown(self.entries, title=self.title, index=self.index)

    def html(self) -> str:
        return html(self.entries, title=self.title, index=self.index)


def file_name(title: str, ending: str) -> str:
    """A name for a file to be downloaded, from a title: letters, digits and hyphens, whatever the title holds.

    Args:
        title: of the thread, or the question.
        ending: of the file, such as 'md'.
    """
    letters = "".join(c if unicodedata.category(c)[0] in "LNM" else "-" for c in unicodedata.normalize("NFKC", title))
    name = re.sub("-+", "-", letters).strip("-")[:_LONGEST_NAME].strip("-")
    while len(name.encode()) > 2 * _LONGEST_NAME:  # file systems count bytes
        name = name[:-1]
    if not name or unicodedata.category(name[0])[0] == "M":
        name = f"answer{name}" if name else "answer"
    return f"{f'answer-{name}' if _RESERVED.fullmatch(name) else name}.{ending}"


# --- what both say


@dataclass(frozen=True, slots=True)
class _Shown:
    """An answer with the thread's numbers, and the footnotes below it."""

    entry: Entry
    answer: Answer
    notes: tuple[Citation, ...]  # in the order of their numbers

    @property
    def nearest(self) -> tuple[Citation, ...]:
        """Of an answer that abstained: what came near, where something did, else the passages that were read."""
        if not self.answer.abstained:
            return ()
        if self.answer.near_miss:
            return (self.answer.near_miss,)
        chunks = [hit.chunk for hit in self.answer.nearest]
        return tuple(
            Citation(n, c.doc_id, c.title, c.page, c.section, c.start, c.end, c.text) for n, c in enumerate(chunks, 1)
        )

    @property
    def below(self) -> str:
        """What is said between an answer that abstained and what came near; empty where nothing did."""
        if not self.nearest:
            return ""
        return NEAR_MISS if self.answer.near_miss else NEAREST


def _shown(entries: Sequence[Entry]) -> Iterator[_Shown]:
    numbering = Numbering()
    for entry in entries:
        answer = numbering.numbered(entry.answer)
        yield _Shown(entry, answer, tuple(sorted(answer.citations, key=lambda citation: citation.marker)))


def _about(entries: Sequence[Entry], index: str) -> str:
    days = list(dict.fromkeys(_day(entry.asked_at) for entry in entries if entry.asked_at))
    when = f" on {days[0]}" if len(days) == 1 else f" from {days[0]} to {days[-1]}" if days else ""
    return f"Asked of {_text(index)}{when}, with Footnote."


def _day(asked_at: str) -> str:
    at = datetime.fromisoformat(asked_at).astimezone()
    return f"{at.day} {at:%B %Y}"


def _place(citation: Citation) -> str:
    """File, page and heading, in words."""
    c = citation
    return _text(Passage(c.source, c.title, c.page, c.section, c.start, c.end, c.quote).label)


def _text(text: str) -> str:
    """A text in one line, without what no reader sees."""
    return " ".join(_ODD.sub("\N{REPLACEMENT CHARACTER}", _UNSEEN.sub("", text)).split())


# --- Markdown


def markdown(entries: Sequence[Entry], *, title: str, index: str) -> str:
    """Questions and answers as Markdown that reads well in any viewer, and as it is.

    Footnotes are numbers in brackets, and the sources stand below each answer: the footnotes of some dialects are links
    in others.

    Args:
        entries: in order; a passage keeps its number in all of them.
        title: of the whole.
        index: name of the index that was asked.
    """
    lines = [f"# {escaped(title) or 'Answer'}", escaped(_about(entries, index))]
    for shown in _shown(entries):
        lines += _markdown_of(shown, alone=len(entries) == 1 and _text(title) == _text(shown.answer.question))
    return "\n\n".join(lines) + "\n"


def _markdown_of(shown: _Shown, *, alone: bool) -> Iterator[str]:
    answer = shown.answer
    if not alone:
        yield f"## {escaped(answer.question) or 'Question'}"
    if answer.rewritten:
        yield f"Asked as: {escaped(answer.rewritten, inside=True)}"
    if answer.abstained:
        yield escaped(answer.text)
    elif answer.sentences:
        said = [
            _text(s.text)
            + (f" ({NO_SOURCE})" if not s.supported else "")
            + "".join(f"[{m}]" for m in (s.citations if s.supported else ()))
            for s in answer.sentences
        ]
        yield escaped(" ".join(said))
    for note in answer.notes:
        yield f"Note: {escaped(note, inside=True)}"
    if shown.below:
        yield escaped(shown.below)
    for citation in shown.nearest:
        yield escaped(_place(citation))
        yield f"> {escaped(citation.quote)}"
    for citation in shown.notes:
        yield f"**\\[{citation.marker}\\]** {escaped(_place(citation), inside=True)}"
        yield f"> {escaped(citation.quote)}"


def escaped(text: str, *, inside: bool = False) -> str:
    """A text as Markdown shows it: in one line, and none of it read as markup.

    Args:
        text: any.
        inside: other text of its line stands before it.
    """
    line = _text(text)
    opening = None if inside else _OPENING.match(line) or _NUMBERED.match(line)
    if opening is None:
        return _ACTIVE.sub(_backslashed, line)
    number = opening[1] if opening.re is _NUMBERED else ""
    rest = line[len(number) + 1 :]
    return f"{number}\\{line[len(number)]}{_ACTIVE.sub(_backslashed, rest)}"


def _backslashed(found: re.Match[str]) -> str:
    return f"\\{found[0]}"


# --- HTML

_STYLE = """
:root { color-scheme: light dark; --page: #fff; --panel: #f4f5f7; --text: #14181d; --soft: #5c6166; --line: #d7dade;
  --link: #1f5faf; --chip: #e3ebf5; --orange: #8a4600; }
@media (prefers-color-scheme: dark) { :root { --page: #14171c; --panel: #1e2229; --text: #eceff3; --soft: #a3a7ac;
  --line: #363b44; --link: #8ab8f5; --chip: #222b38; --orange: #f2b27a; } }
body { margin: 0; background: var(--page); color: var(--text);
  font: 17px/27px "Source Sans 3", "Source Sans Pro", system-ui, sans-serif; overflow-wrap: anywhere; }
main { max-width: 68ch; margin: 0 auto; padding: 32px 20px 64px; }
h1 { font-size: 28px; line-height: 36px; margin: 0 0 4px; }
h2 { font-size: 22px; line-height: 30px; margin: 0 0 12px; }
article { border-top: 1px solid var(--line); margin-top: 32px; padding-top: 24px; }
p { margin: 0 0 12px; }
.soft { color: var(--soft); font-size: 15px; line-height: 24px; }
.no-source { text-decoration: underline dashed var(--orange); text-underline-offset: 4px; }
.why { color: var(--orange); font-size: 15px; white-space: nowrap; }
h1, h2, p, li, blockquote { unicode-bidi: plaintext; }
a { color: var(--link); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
sup { line-height: 0; }
sup a, .back { background: var(--chip); border-radius: 4px; font-weight: 700; padding: 1px 5px; margin-left: 2px; }
sup a { font-size: 0.72em; }
ul { list-style: none; margin: 20px 0 0; padding: 0; }
li { margin-bottom: 16px; font-size: 15px; line-height: 24px; }
li:target { outline: 2px solid var(--link); outline-offset: 6px; border-radius: 4px; }
.back { margin: 0 6px 0 0; font-size: 0.8em; }
blockquote { background: var(--panel); border-left: 3px solid var(--line); border-radius: 0 8px 8px 0; margin: 6px 0 0;
  padding: 8px 14px; }
@media print { body { font-size: 11pt; line-height: 16pt; } li { break-inside: avoid; } }
"""
_POLICY = (
    f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'"
)


def html(entries: Sequence[Entry], *, title: str, index: str) -> str:
    """Questions and answers as one HTML file: without scripts, requests or pictures, light or dark as its reader is.

    Args:
        entries: in order; a passage keeps its number in all of them.
        title: of the whole.
        index: name of the index that was asked.
    """
    name = _html(title) or "Answer"
    body = [f"<h1>{name}</h1>", f'<p class="soft">{_html(_about(entries, index))}</p>']
    for n, shown in enumerate(_shown(entries), start=1):
        alone = len(entries) == 1 and _text(title) == _text(shown.answer.question)
        body += ["<article>", *_html_of(shown, n, alone=alone), "</article>"]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="und">',  # of the documents' language nothing is known
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{name}</title>",
        f"<style>{_STYLE}</style>",
        "</head>",
        "<body>",
        "<main>",
        *body,
        "</main>",
        "</body>",
        "</html>",
    ]
    return "\n".join(lines) + "\n"


def _html_of(shown: _Shown, n: int, *, alone: bool) -> Iterator[str]:
    """The lines of the n-th answer."""
    answer = shown.answer
    if not alone:
        yield f"<h2>{_html(answer.question) or 'Question'}</h2>"
    if answer.rewritten:
        yield f'<p class="soft">Asked as: {_html(answer.rewritten)}</p>'
    if answer.abstained:
        yield f"<p><strong>{_html(answer.text)}</strong></p>"
    elif answer.sentences:
        yield f"<p>{' '.join(_sentences(answer, n))}</p>"
    for note in answer.notes:
        yield f'<p class="soft">Note: {_html(note)}</p>'
    if shown.below:
        yield f'<p class="soft">{shown.below}</p>'
    if shown.nearest or shown.notes:
        yield "<ul>"
        for citation in shown.nearest:
            yield f"<li>{_html(_place(citation))}{_quote(citation)}</li>"
        for citation in shown.notes:
            m = citation.marker
            back = f'<a class="back" href="#a{n}-{m}" aria-label="Back to footnote {m}">{m}</a>'
            yield f'<li id="n{n}-{m}">{back}{_html(_place(citation))}{_quote(citation)}</li>'
        yield "</ul>"


def _sentences(answer: Answer, n: int) -> Iterator[str]:
    linked: set[int] = set()  # the first of each number is where its note leads back to
    for sentence in answer.sentences:
        if not sentence.supported:
            yield f'<span class="no-source">{_html(sentence.text)}</span> <span class="why">({NO_SOURCE})</span>'
            continue
        marks = []
        for m in sentence.citations:
            own = "" if m in linked else f' id="a{n}-{m}"'
            linked.add(m)
            marks.append(f'<sup><a{own} href="#n{n}-{m}" aria-label="Footnote {m}">{m}</a></sup>')
        yield _html(sentence.text) + "".join(marks)


def _quote(citation: Citation) -> str:
    return f"<blockquote>{_html(citation.quote)}</blockquote>"


def _html(text: str) -> str:
    return entities.escape(_text(text))
