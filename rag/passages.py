"""Small chunks are found, larger passages are shown: neighbours or the whole section, hits of one stretch together."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import replace

from rag.errors import UsageError
from rag.index import Index
from rag.types import Document, Hit, Passage

Span = tuple[int, int]

DEFAULT_MAX_CHARACTERS = 4_000


def widen(
    index: Index,
    hits: Sequence[Hit],
    *,
    window: int = 0,
    section: bool = False,
    max_characters: int = DEFAULT_MAX_CHARACTERS,
) -> list[Passage]:
    """What stands around each hit, the best first; hits whose passages meet in one document are one passage.

    A passage begins and ends where chunks do, and never cuts one: `document.text[start:end] == text`.

    Args:
        index: that the hits are of.
        hits: as `Retriever.search` gives them.
        window: how many chunks before and behind each hit are shown with it, at least 0.
        section: show the section that a hit stands in, with all below its heading; with a window, whichever is more.
        max_characters: a hit gets no more around it than fits in so many; the nearest chunks come first.

    Raises:
        UsageError: a number below 0.
    """
    if window < 0 or max_characters < 0:
        raise UsageError(f"expected a window and a length of 0 or more, got {window} and {max_characters}")
    found: list[Passage] = []
    with index.reading() as view:
        for source in dict.fromkeys(hit.chunk.doc_id for hit in hits):
            own = [hit for hit in hits if hit.chunk.doc_id == source]
            document, spans = view.store.document(source), view.store.spans(source)
            place = {span: i for i, span in enumerate(spans)}
            if document is None or any((hit.chunk.start, hit.chunk.end) not in place for hit in own):
                found += [_passage(None, hit.chunk.start, hit.chunk.text, [hit]) for hit in own]  # changed since
                continue
            around = [
                (
                    _around(
                        document,
                        spans,
                        place[hit.chunk.start, hit.chunk.end],
                        window=window,
                        section=section,
                        at_most=max_characters,
                    ),
                    hit,
                )
                for hit in own
            ]
            found += _merged(document, around)
    found.sort(key=lambda passage: passage.hits[0].rank)
    return [replace(passage, rank=rank) for rank, passage in enumerate(found, start=1)]


def _around(document: Document, spans: Sequence[Span], own: int, *, window: int, section: bool, at_most: int) -> Span:
    """From the first to the last chunk that are shown with one of them."""
    first = last = own
    lowest, highest = max(own - window, 0), min(own + window, len(spans) - 1)
    if section:
        start, end = section_of(document, spans[own][0])
        lowest = min(lowest, bisect_left(spans, (start, 0)))
        highest = max(highest, bisect_left(spans, (end, 0)) - 1)
    while first > lowest or last < highest:
        before, behind = own - first, last - own
        candidates = [(behind + 0.5, first, last + 1)] if last < highest else []
        candidates += [(float(before), first - 1, last)] if first > lowest else []
        fitting = [c for c in candidates if spans[c[2]][1] - spans[c[1]][0] <= at_most]
        if not fitting:
            break
        _, first, last = min(fitting)  # the nearer; of two, the one before
    return spans[first][0], spans[last][1]


def section_of(document: Document, offset: int) -> Span:
    """The section that a character stands in, with those below its heading: the heading's start, and the end."""
    sections = document.sections
    position = bisect_right(sections, offset, key=lambda section: section.start)
    if not position:
        return 0, sections[0].start if sections else len(document.text)
    own = sections[position - 1]
    following = (s.start for s in sections[position:] if s.path != own.path and not s.path.startswith(own.path + " > "))
    return own.start, next(following, len(document.text))


def _merged(document: Document, around: Iterable[tuple[Span, Hit]]) -> list[Passage]:
    """Passages that overlap, or have only white space between them, are one."""
    groups: list[tuple[int, int, list[Hit]]] = []
    for (start, end), hit in sorted(around, key=lambda one: (one[0], one[1].rank)):
        if groups and not document.text[groups[-1][1] : start].strip():
            first, upto, hits = groups[-1]
            groups[-1] = first, max(upto, end), [*hits, hit]
        else:
            groups.append((start, end, [hit]))
    return [_passage(document, start, document.text[start:end], hits) for start, end, hits in groups]


def _passage(document: Document | None, start: int, text: str, hits: Sequence[Hit]) -> Passage:
    """A passage from `start` on; of a document that has changed since, of what the hit itself knows."""
    order = sorted(hits, key=lambda hit: hit.rank)
    best = order[0]
    return Passage(
        source=best.chunk.doc_id,
        title=best.chunk.title,
        page=document.page_at(start) if document else best.chunk.page,
        section=best.chunk.section,
        start=start,
        end=start + len(text),
        text=text,
        score=best.score,
        rank=best.rank,
        hits=tuple(order),
    )
