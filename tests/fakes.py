"""Fakes that compute: small enough to work out on paper, and they obey the protocols' contracts."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from rag.claims import links, names, numbers
from rag.encoders import TokenVectors
from rag.generators import Message
from rag.loaders import Limits, Loaded, load
from rag.reader import SentenceRead
from rag.sentences import sentence_spans
from rag.support import Support
from rag.types import Chunk, Draft, Hit, Span


class HashingEncoder:
    """Counts words: word w adds 1 at position crc32(w) % dim; the counts are made unit length. No words: e_0."""

    form = "fake"
    has_tokens = True

    def __init__(self, *, name: str = "hashing", dim: int = 256, max_tokens: int = 64) -> None:
        self.name = name
        self.dim = dim
        self.space = f"space-of-{name}-{dim}-{max_tokens}"
        self.max_tokens = max_tokens
        self.texts: list[str] = []  # every document text it was given, in order

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode(texts)

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.texts.extend(texts)
        return self._encode(texts)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """One token a word; its vector is that of the word alone."""
        found = []
        for text in texts:
            words = list(re.finditer(r"\S+", text))[: self.max_tokens - 2]
            spans = np.array([match.span() for match in words], dtype=np.int64).reshape(-1, 2)
            others = np.zeros(self.dim, dtype=np.float32)
            found.append(TokenVectors(self._encode([match[0] for match in words]), spans, others))
        return found

    def read_queries(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        return self.encode_queries(texts), self.encode_tokens(texts)

    def read_documents(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        return self.encode_documents(texts), self.encode_tokens(texts)

    def count_tokens(self, text: str) -> int:
        return len(text.split()) + 2  # a beginning and an end, as real models have

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        for row, text in enumerate(texts):
            for word in text.lower().split()[: self.max_tokens - 2]:
                vectors[row, zlib.crc32(word.strip(".,;:!?()\"'").encode(errors="replace")) % self.dim] += 1
            if not vectors[row].any():
                vectors[row, 0] = 1
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors


class EqualWords:
    """A vocabulary in which every word is equally rare, and known unless it was named as unknown."""

    def __init__(self, *unknown: str) -> None:
        self.unknown = set(unknown)

    def term_weights(self, stems: Sequence[str]) -> dict[str, float]:
        return dict.fromkeys(stems, 1.0)

    def known_words(self, stems: Sequence[str]) -> set[str]:
        return set(stems) - self.unknown


class QueuedGenerator:
    """Replies with the drafts it was given, one after the other, and keeps what it was asked."""

    name = "queued"

    def __init__(self, *drafts: Draft) -> None:
        self.drafts = list(drafts)
        self.asked: list[tuple[str, tuple[Hit, ...]]] = []

    def generate(self, question: str, passages: Sequence[Hit]) -> Draft:
        self.asked.append((question, tuple(passages)))
        return self.drafts.pop(0)


class WordChecker:
    """A sentence rests on the source sentence that holds most of its words of three letters on; chance: their share."""

    def check(self, sentences: Sequence[str], passages: Sequence[Hit]) -> list[Support]:
        held = " ".join(hit.chunk.encoded for hit in passages)
        found = []
        for text in sentences:
            words = set(re.findall(r"\w{3,}", text.lower()))
            nowhere = [n.text for n in numbers(text) if n.text not in held]
            nowhere += [claim for claim in [*names(text), *links(text)] if claim not in held]
            best: tuple[float, tuple[Span, ...]] = (0.0, ())
            for p, hit in enumerate(passages):
                for start, end in sentence_spans(hit.chunk.text):
                    there = set(re.findall(r"\w{3,}", hit.chunk.text[start:end].lower()))
                    share = len(words & there) / max(len(words), 1)
                    if share > best[0]:
                        best = share, (Span(p, hit.chunk.start + start, hit.chunk.start + end),)
            found.append(Support(best[1], best[0], tuple(nowhere)))
        return found


class QueuedWriter:
    """Writes what it was given, prompt by prompt, in pieces of a few characters, and keeps what it was told.

    An exception among the texts is raised where it stands.
    """

    control_tokens: Sequence[str] = ("<|end|>",)

    def __init__(
        self, *texts: str | Sequence[str | Exception], name: str = "queued", context_tokens: int = 2_000, piece: int = 7
    ) -> None:
        self.name = name
        self._context_tokens = context_tokens
        self.texts = list(texts)
        self.told: list[tuple[Sequence[Message], int]] = []
        self._piece = piece

    def room(self, max_tokens: int) -> int:
        return self._context_tokens - max_tokens

    def count_tokens(self, messages: Sequence[Message]) -> int:
        return sum(len(message.content.split()) for message in messages)

    def write(self, messages: Sequence[Message], *, max_tokens: int) -> Iterator[str]:
        self.told.append((messages, max_tokens))
        queued = self.texts.pop(0)
        for part in [queued] if isinstance(queued, str) else queued:
            if isinstance(part, Exception):
                raise part
            for at in range(0, len(part), self._piece):
                yield part[at : at + self._piece]


class InProcessLoader:
    """Reads as `IsolatedLoader` does, without its process, which takes longer to start than a small file to read."""

    def __init__(self, *, limits: Limits) -> None:
        self._limits = limits

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def load(self, path: Path, *, source: str) -> Loaded:
        return load(path, source=source, limits=self._limits)


class WordReader:
    """Says of a sentence: twice the share of the question's words in it, less 1; short is its longest other word."""

    name = "words"

    def __init__(self) -> None:
        self.read_passages: list[str] = []

    def read(
        self, question: str, passages: Sequence[Chunk], sentences: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[SentenceRead]]:
        self.read_passages += [passage.text for passage in passages]
        asked = set(re.findall(r"\w+", question.casefold()))
        return [
            [self._of(asked, passage.text, *span) for span in spans]
            for passage, spans in zip(passages, sentences, strict=True)
        ]

    def _of(self, asked: set[str], text: str, start: int, end: int) -> SentenceRead:
        words = list(re.finditer(r"\w+", text[start:end]))
        share = len(asked & {word[0].casefold() for word in words}) / max(len(asked), 1)
        new = [word for word in words if word[0].casefold() not in asked] or words
        longest = max(new, key=lambda word: len(word[0]))
        return SentenceRead(2 * share - 1, (start + longest.start(), start + longest.end()), float(len(longest[0])))
