"""What the Ask page shows, as plain values: the turns of a thread, each a question with its answer and its sources.

Nothing here knows Streamlit. A passage keeps its number in the whole thread.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlencode

from rag.index import IndexStatus
from rag.queries import read_query
from rag.sentences import plain_text
from rag.types import Answer, Citation, Hit, JsonValue, Sentence
from ui.answering import Progress
from ui.render import NEAREST, Json, Passage
from ui.threads import Numbering

LOADING = "Loading the reading model (once, about 3 s)"
LOADING_WRITER = "Loading the models (once; one that writes can take minutes)"
SEARCHING = "Looking for passages"
_EDGES = "\ua66e\ua610"  # rare letters: they stand around the short answer while a quote becomes plain text


@dataclass(frozen=True, slots=True)
class Turns:
    """A thread as it is drawn."""

    view: Json
    passages: tuple[Passage, ...]  # number n of the thread is passages[n - 1]


def turns(
    entries: Sequence[Answer | Progress],
    now: Progress | None = None,
    *,
    index: str,
    waiting: Sequence[str] = (),
    at: int | None = None,
    generator: str | None = None,
    remark: str | None = None,
) -> Turns:
    """The turns of a thread.

    Args:
        entries: answers as they were given and questions that got none, in order.
        now: the question that is being answered.
        index: name of the index, for links.
        waiting: questions that come after that one.
        at: position of the turn to be seen first; by default the newest.
        generator: name of what was to answer, where that is a model: it may have failed.
        remark: on the last answer, for which it may be asked again.
    """
    numbering = Numbering()
    drawn: list[JsonValue] = [
        _answered(entry, numbering, index) if isinstance(entry, Answer) else _failed(entry) for entry in entries
    ]
    newest = entries[-1] if entries and now is None else None
    if isinstance(newest, Answer) and (remark or generator not in (None, newest.generator)):
        last = drawn[-1]
        assert isinstance(last, dict)
        last |= {"again": "Ask again" if remark else "Try again", "remark": remark}
    if now is not None:
        drawn.append(_under_way(now, numbering, LOADING_WRITER if generator else LOADING))
    drawn += [{"kind": "waiting", "question": question, "status": "Waits for its turn"} for question in waiting]
    return Turns({"kind": "talk", "turns": drawn, "at": at}, tuple(numbering.passages))


def near_passages(answer: Answer) -> list[Passage]:
    """What an answer that abstains can open: what comes near, sentence first, then the passages that were read."""
    sentence = [_cited(answer.near_miss)] if answer.near_miss else []
    return [*sentence, *(_read(hit) for hit in answer.nearest)]


def index_view(status: IndexStatus, questions: Sequence[str] = (), *, reading: bool = False, privacy: str = "") -> Json:
    """What can be asked while nothing was; for an empty index, where to add documents.

    Args:
        status: of the index.
        questions: to begin with.
        reading: whether files are read into it just now.
        privacy: where questions go.
    """
    name = status.path.name
    if not status.chunks and reading:
        return {"kind": "welcome", "title": f"Reading into {name}.", "text": ""}
    if not status.chunks:
        return {
            "kind": "welcome",
            "title": f"{name} has no documents yet.",
            "text": "Add a folder in Library.",
            "links": [{"text": "Open Library", "page": "library", "href": _href("library", index=name)}],
        }
    n = f"{status.documents:,} document{'' if status.documents == 1 else 's'}"
    return {
        "kind": "welcome",
        "title": "Ask your own documents.",
        "text": f"{n} in {name}. Every sentence of an answer has its footnote; click one to see the passage in its "
        f"document.\n{privacy}".rstrip(),
        "questions": list(questions),
    }


def short_span(answer: Answer, sentence: Sentence) -> tuple[int, int] | None:
    """Where the short answer stands in a sentence, in characters of its text; None where that is not certain.

    It is known by its place in the quote of a footnote. A sentence that is this quote as plain text has it where the
    quote has it; in a sentence of other words it is not looked for.
    """
    short = answer.short_answer
    cited = next((c for c in answer.citations if short and c.marker == short.marker), None)
    if short is None or cited is None or short.marker not in sentence.citations:
        return None
    a, b = short.start - cited.start, short.end - cited.start
    if not 0 <= a < b <= len(cited.quote) or any(edge in cited.quote for edge in _EDGES):
        return None
    first, last = _EDGES[0], _EDGES[1]
    edged = plain_text(cited.quote[:a] + first + cited.quote[a:b] + last + cited.quote[b:])
    if edged.count(first) != 1 or edged.count(last) != 1:
        return None
    if edged.replace(first, "").replace(last, "") != sentence.text:
        return None
    start, end = edged.index(first), edged.index(last) - 1
    return (start, end) if start < end else None


def _answered(answer: Answer, numbering: Numbering, index: str) -> Json:
    view: Json = {
        "question": answer.question,
        "rewritten": answer.rewritten,
        "notes": list(answer.notes),
        "link": _href("", index=index, q=answer.rewritten or answer.question),
    }
    if answer.abstained:
        return {**view, **_abstained(answer, index)}
    numbered = numbering.numbered(answer)
    return {
        **view,
        "kind": "answer",
        "sentences": [_sentence(s, short_span(numbered, s)) for s in numbered.sentences],
        "note": _support(sum(s.supported for s in answer.sentences), len(answer.sentences)),
        "sources": _sources(numbered.citations),
    }


def _abstained(answer: Answer, index: str) -> Json:
    asked = answer.rewritten or answer.question
    near = answer.near_miss
    return {
        "kind": "abstained",
        "text": answer.text,
        "near": {"number": 1, **_source(_cited(near))} if near else None,
        "note": NEAREST if answer.nearest else read_query(asked).unmet,
        "sources": [
            {"number": number, **_source(passage)}
            for number, passage in enumerate(near_passages(answer), 1)
            if not (near and number == 1)
        ],
        "links": [
            {"text": "Search instead", "page": "search", "href": _href("search", index=index, query=asked)},
            {"text": "Add documents", "page": "library", "href": _href("library", index=index)},
        ],
    }


def _failed(ended: Progress) -> Json:
    return {"kind": "fault", "question": ended.question, "rewritten": ended.rewritten, "text": ended.fault}


def _under_way(now: Progress, numbering: Numbering, loading: str) -> Json:
    view: Json = {"question": now.question, "rewritten": now.rewritten}
    numbers = {citation.marker: numbering.number(citation) for citation in now.citations}
    sentences = [
        {"text": s.text, "markers": [numbers[m] for m in s.citations], "supported": s.supported} for s in now.sentences
    ]
    n = len(now.passages)
    reading = f"Reading {n} passage{'' if n == 1 else 's'}"
    status = {"loading": loading, "searching": SEARCHING}.get(now.state, reading)
    sources = [{"number": numbers[c.marker], **_source(_cited(c))} for c in now.citations]
    return {**view, "kind": "running", "status": status, "sentences": sentences, "sources": sources}  # type: ignore[dict-item]


def _sentence(sentence: Sentence, short: tuple[int, int] | None) -> Json:
    view: Json = {
        "text": sentence.text,
        "markers": list(sentence.citations),
        "supported": sentence.supported,
    }
    return {**view, "short": list(short)} if short else view


def _sources(citations: Sequence[Citation]) -> list[JsonValue]:
    first = {citation.marker: citation for citation in reversed(citations)}  # one number, one line
    return [{"number": number, **_source(_cited(first[number]))} for number in sorted(first)]


def _source(passage: Passage) -> Json:
    return {
        "source": passage.source,
        "place": passage.place,
        "label": passage.label,
        "quote": " ".join(passage.quote.split()),
    }


def _cited(citation: Citation) -> Passage:
    c = citation
    return Passage(c.source, c.title, c.page, c.section, c.start, c.end, c.quote)


def _read(hit: Hit) -> Passage:
    c = hit.chunk
    return Passage(c.doc_id, c.title, c.page, c.section, c.start, c.end, c.text)


def _support(supported: int, n: int) -> str:
    if supported == n:
        return "Every sentence has a source." if n > 1 else ""
    return f"{supported} of {n} sentences {'has' if supported == 1 else 'have'} a source."


def _href(page: str, **values: str) -> str:
    return f"./{page}?{urlencode(values)}"
