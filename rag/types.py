"""The frozen values that travel: `Document`, `Chunk`, `Hit`, `Draft`, `Citation`, `Sentence`, `Answer`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

JsonValue = str | int | float | bool | None | list["JsonValue"] | dict[str, "JsonValue"]


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and the text below it, up to the next heading of any level."""

    start: int  # where the heading itself begins in the document text
    body: int  # where the text below the heading begins
    path: str  # headings from the outermost to this one, joined by ' > '


@dataclass(frozen=True, slots=True)
class Document:
    """One source text. Every offset anywhere counts Python characters of `text`, which is stored as it is here."""

    doc_id: str  # the source: path relative to the ingested folder, plus '#id' for a line of a JSONL file
    text: str
    title: str | None = None
    sections: tuple[Section, ...] = ()  # in order of start; text before the first one has no section
    pages: tuple[int, ...] = ()  # pages[i] is where page i + 1 begins; empty where the source has no pages
    metadata: Mapping[str, JsonValue] = field(default_factory=dict)

    def page_at(self, offset: int) -> int | None:
        """The page, from 1, that holds the character at `offset`, or None where the source has no pages."""
        return max(bisect_right(self.pages, offset), 1) if self.pages else None

    def section_at(self, offset: int) -> str | None:
        """The heading path over the character at `offset`, or None above the first heading."""
        position = bisect_right(self.sections, offset, key=lambda section: section.start)
        return self.sections[position - 1].path if position else None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A passage of one document: what is embedded, retrieved and cited."""

    doc_id: str
    text: str  # always document.text[start:end], so a footnote can be shown in place
    start: int  # character offsets into the document text
    end: int
    page: int | None = None  # 1 is the first, where the source has pages
    section: str | None = None  # heading path, joined by ' > '
    title: str | None = None  # of the document
    context: str = ""  # title and headings in one line, as the encoder and the word index get them before the text

    breaks: tuple[int, ...] = ()  # document offsets inside the passage where a new page begins

    def page_at(self, offset: int) -> int | None:
        """The page that holds the character at `offset` of the document, or None where the source has no pages."""
        return None if self.page is None else self.page + bisect_right(self.breaks, offset)

    @property
    def encoded(self) -> str:
        """The exact string given to the encoder."""
        return f"{self.context}\n{self.text}" if self.context else self.text


@dataclass(frozen=True, slots=True)
class Place:
    """One more place where the text of a hit stands."""

    source: str
    page: int | None
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Share:
    """A stretch of a document, and what it brings to a number."""

    start: int  # character offsets into the document text
    end: int
    value: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why a hit has its score, and which parts of the passage carry it."""

    cosine: float | None  # of the query's and the passage's vector; None where the dense side was not asked
    bm25: float | None  # share of the highest BM25 score that the query allows; None where words were not looked for
    late: float | None  # mean cosine of the query's tokens to their like; None where it was not read
    shares: Mapping[str, float]  # what 'dense', 'bm25' and 'late' bring to the score; they add up to it
    terms: Mapping[str, float]  # the query's terms that the passage holds, and what each brings of `bm25`
    sentences: tuple[Share, ...] = ()  # what each brings to the cosine; title, headings and the rest is `elsewhere`
    tokens: tuple[Share, ...] = ()  # the same for each token of the passage's text
    elsewhere: float = 0.0  # with all tokens it adds up to the cosine


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk. Scores compare only within one ranking; higher is better."""

    chunk_id: int  # given by SQLite and never reused; also the label in FAISS
    chunk: Chunk
    score: float
    rank: int  # 1 is best; equal scores are ordered by source and start, so a run is repeatable
    also_in: tuple[Place, ...] = ()  # other documents, or places, that hold the same text
    explanation: Explanation | None = None  # where it was asked for
    retrieved: float | None = None  # the score it had before a reranker put the hits in another order
    is_reranked: bool = False  # whether the reranker read it, and `score` is its


@dataclass(frozen=True, slots=True)
class Passage:
    """A stretch of one document around one or more hits."""

    source: str
    title: str | None
    page: int | None  # where it begins
    section: str | None  # of its best hit
    start: int
    end: int
    text: str  # always document.text[start:end]
    score: float  # of its best hit
    rank: int  # from 1, in the order of the best hits
    hits: tuple[Hit, ...]  # that stand in it, the best first


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a passage's document: what a sentence rests on."""

    passage: int  # position in the passages given
    start: int  # character offsets into the document text
    end: int


@dataclass(frozen=True, slots=True)
class DraftSentence:
    """One sentence of a draft, and where it claims to come from."""

    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True)
class Draft:
    """What a generator says before anyone decides whether to show it."""

    sentences: tuple[DraftSentence, ...]  # the best first
    confidence: float | None  # 0 to 1: how likely the passages answer at all; None where the generator cannot tell
    answer: tuple[DraftSentence, ...] | None = None  # what is said, in the order of reading; None for all sentences
    short: Span | None = None  # the few words of the best sentence that answer


@dataclass(frozen=True, slots=True)
class Citation:
    """A footnote: from a marker in an answer to a span of a document."""

    marker: int  # from 1
    source: str
    title: str | None
    page: int | None
    section: str | None
    start: int
    end: int
    quote: str  # always document.text[start:end]


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer, with the markers of the citations that support it."""

    text: str
    citations: tuple[int, ...]
    supported: bool


@dataclass(frozen=True, slots=True)
class ShortAnswer:
    """The few words inside a citation that answer the question."""

    text: str
    marker: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a question gets: sentences with footnotes, or an honest "not in these documents"."""

    question: str
    text: str  # the sentences joined; when abstained, the message
    sentences: tuple[Sentence, ...]
    citations: tuple[Citation, ...]
    abstained: bool
    confidence: float  # 0 to 1: how likely it is that the answer stands in the passages
    generator: str
    nearest: tuple[Hit, ...]  # the passages that were read, best first
    short_answer: ShortAnswer | None = None
    rewritten: str | None = None  # what was asked in place of the question, where that pointed back in a conversation
    near_miss: Citation | None = None  # when abstained: what the documents do say that comes near; its marker is 1
    notes: tuple[str, ...] = ()  # what the asker should know: another generator answered, sentences were left out
    timings_ms: Mapping[str, float] = field(default_factory=dict)
