"""What the Search page shows, as plain values: passages with their matched words, why each was found, what is around.

Nothing here knows Streamlit. The values go to web/results.js as JSON, which sets them as text nodes.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from itertools import pairwise

from rag.queries import Query, read_query
from rag.types import Explanation, Hit, JsonValue
from rag.types import Passage as Wide
from rag.words import is_unspaced, query_words, stems, stop_stems
from ui.layout import markdown
from ui.render import Json, Passage
from ui.sources import kind_of

EXCERPT = 360  # characters of a passage that are shown at first
_WORD = re.compile(r"[^\W_]+")

Span = tuple[int, int]


def passage_of(hit: Hit) -> Passage:
    """A hit as something to open."""
    chunk = hit.chunk
    return Passage(chunk.doc_id, chunk.title, chunk.page, chunk.section, chunk.start, chunk.end, chunk.text)


def matched(text: str, query: Query) -> list[Span]:
    """Where the words of a query stand in a text, by the index's own stems; in order, without overlaps.

    Args:
        text: of a passage.
        query: as it was read; words that are excluded do not count.
    """
    words = [word for term in query.terms for word in query_words(term)]
    wanted = {stem for of_word in stems(words) for stem in of_word}
    if len(wanted - stop_stems()):
        wanted -= stop_stems()
    found = list(_WORD.finditer(text))
    spans = [
        match.span()
        for match, of_word in zip(found, stems([match[0] for match in found]), strict=True)
        if not wanted.isdisjoint(of_word)
    ]
    for run in {word for word in words if word and all(map(is_unspaced, word))}:  # no spaces: wherever it stands
        spans += [match.span() for match in re.finditer(re.escape(run), text)]
    merged: list[Span] = []
    for start, end in sorted(spans):
        if merged and start < merged[-1][1]:
            merged[-1] = merged[-1][0], max(end, merged[-1][1])
        else:
            merged.append((start, end))
    return merged


def excerpt(text: str, spans: Sequence[Span], *, at_most: int = EXCERPT) -> Span:
    """The stretch of a text that holds the most matched words, cut between words; the beginning where none match."""
    if len(text) <= at_most:
        return 0, len(text)
    best, start = 0, 0
    for first, _ in spans:
        begin = max(first - at_most // 5, 0)
        n = sum(begin <= a and b <= begin + at_most for a, b in spans)
        if n > best:
            best, start = n, begin
    start = min(start, len(text) - at_most)
    end = start + at_most
    if start and (space := text.find(" ", start, start + 40)) >= 0:
        start = space + 1
    if end < len(text) and (space := text.rfind(" ", end - 40, end)) >= 0:
        end = space
    return start, end


def hit_view(
    hit: Hit, query: Query, *, marked: bool = True, around: Wide | None = None, why: Explanation | None = None
) -> Json:
    """One passage of the list.

    Args:
        hit: that was found.
        query: that it was found for.
        marked: whether the query's words are; of one that is itself a passage, they would be nearly all.
        around: the wider passage it stands in, where that was asked for.
        why: where that was asked for.
    """
    passage, text = passage_of(hit), hit.chunk.text

    def spans_of(some: str) -> list[Span]:
        return matched(some, query) if marked else []

    view: Json = {
        "id": hit.chunk_id,
        "source": passage.source,
        "title": passage.title,
        "place": passage.place,
        "label": passage.label,
        "also": [f"{p.source}{'' if p.page is None else f', page {p.page}'}" for p in hit.also_in],
    }
    is_markdown = kind_of(passage.source, None) == "markdown"
    if around is not None and around.text[hit.chunk.start - around.start :].startswith(text):
        at = hit.chunk.start - around.start
        marks = hidden(around.text) if is_markdown else []
        view["around"] = parts(around.text, spans_of(around.text), hidden=marks, within=(at, at + len(text)))
    else:
        spans = spans_of(text)
        start, end = excerpt(text, spans)
        view["cut"] = [start > 0, end < len(text)]
        marks = hidden(text) if is_markdown else []
        view["parts"] = parts(text, spans, hidden=marks, only=(start, end))
    if why is not None:
        view["why"] = why_view(hit, why, query)
    return view


def hidden(text: str) -> list[Span]:
    """What of a passage of Markdown only says how it is laid out."""
    return [(leaf.start, leaf.end) for node in markdown(text, 0, len(text)) for leaf in node.leaves() if leaf.hidden]


def parts(
    text: str,
    spans: Sequence[Span],
    *,
    hidden: Sequence[Span] = (),
    within: Span | None = None,
    only: Span | None = None,
) -> list[JsonValue]:
    """A text in slices: those that are matched words, and those outside of the passage itself, say so.

    Args:
        text: to cut.
        spans: of matched words.
        hidden: spans that are left out; of what parts words in them, a space or line break stays.
        within: the passage itself; by default all of it.
        only: what to take of the text; by default all of it.
    """
    low, high = only or (0, len(text))
    within = within or (0, len(text))
    inner = {edge for span in (*spans, *hidden, within) for edge in span if low < edge < high}
    found: list[JsonValue] = []
    gap = ""
    for a, b in pairwise(sorted({low, high, *inner})):
        if any(start <= a and b <= end for start, end in hidden):
            gap += text[a:b]
            continue
        if found and (between := _gap(gap)) and not text[a].isspace():
            found.append({"text": between})
        gap = ""
        part: Json = {"text": text[a:b]}
        if any(start <= a and b <= end for start, end in spans):
            part["match"] = True
        if not (within[0] <= a and b <= within[1]):
            part["beside"] = True
        found.append(part)
    return found


def _gap(hidden: str) -> str:
    """What stays of marks of Markdown: a line break, or a space where they part words."""
    lines = min(hidden.count("\n"), 2)
    return "\n" * lines or (" " if re.search(r"[\s|(]", hidden) else "")


def why_view(hit: Hit, why: Explanation, query: Query) -> Json:
    """Why a passage was found, in words: what its words and its meaning bring to its score, in percent."""
    view: Json = {"sentences": [], "lines": list(_why_lines(hit, why, query))}
    total = sum(why.shares.values())
    if "reranker" not in why.shares and total > 0:
        words = round(100 * why.shares.get("bm25", 0.0) / total)
        view["shares"] = {"words": words, "meaning": 100 - words}
    return view


def _why_lines(hit: Hit, why: Explanation, query: Query) -> Iterator[JsonValue]:
    text = hit.chunk.text
    if "reranker" in why.shares:
        yield "A model that reads the passage together with what was searched put it in this place."
    asked = [term for term in query.terms if query_words(term) == [term]]
    held = [term for term in why.terms if term in asked] or list(why.terms)
    if held:
        n, names = len(held), ", ".join(f"“{term}”" for term in held[:8])
        if len(asked) < 2 or n > len(asked):
            yield f"It holds {names}."
        else:
            all_of_them = "both words" if n == 2 else f"all {n} words"
            yield f"It holds {all_of_them if n == len(asked) else f'{n} of the {len(asked)} words'}: {names}."
    elif why.bm25 is not None and asked:
        yield "It holds none of the words; it was found by its meaning."
    if why.sentences:
        best = max(why.sentences, key=lambda share: share.value)
        sentence = " ".join(text[best.start - hit.chunk.start : best.end - hit.chunk.start].split())
        if best.value > 0 and sentence and len(why.sentences) > 1:
            yield f"Nearest in meaning is its sentence “{sentence}”"
    if hit.chunk.section:
        yield f"It stands under “{hit.chunk.section.replace(' > ', ' › ')}”, which counts as well."


def plain_query(text: str) -> str:
    """A passage's text as a query: nothing in it is an operator."""
    text = re.sub(r'["“”„«»「」『』]', " ", " ".join(text.split()))
    return re.sub(r"(?<!\S)-(?=\w)", " ", text).strip()


def count_line(n: int, files: int, *, seconds: float, more: bool) -> str:
    """How many passages of how many files, and how long it took."""
    passages = f"{'The first ' if more else ''}{n:,} passage{'' if n == 1 else 's'}"
    return f"{passages} in {files:,} file{'' if files == 1 else 's'} · {max(seconds, 0.01):.2f} s"


def nothing_found(query: str, *, filtered: bool) -> tuple[str, str]:
    """Title and text where there is no hit."""
    if unmet := read_query(query).unmet:
        return "Nothing found.", unmet
    if filtered:
        return "Nothing found with these filters.", "Take one away to look further."
    return "Nothing found in these documents.", "Try other words, or move the slider towards meaning."


def without(hits: Sequence[Hit], source: str, start: int, end: int) -> list[Hit]:
    """The hits but for those that overlap a span of a document."""
    return [h for h in hits if h.chunk.doc_id != source or h.chunk.end <= start or h.chunk.start >= end]


def chosen_ids(value: object, among: Collection[int]) -> int | None:
    """A chunk id as the browser sent it, if it is one of those that are shown."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value in among else None
