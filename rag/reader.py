"""Reads a question and a passage together: how likely each sentence answers, and which few words of it do.

The reader is the default model's own transformer, changed by an adapter of a few MB (rag/reader.safetensors) that
benchmarks/train_reader.py makes. It runs compiled, as the encoder does, with three numbers a token behind it: one
whose mean over a sentence's tokens says how likely the sentence answers, and how likely the token begins and ends the
short answer (as in Devlin et al. 2019, section 4.2).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from rag.encoders.adapters import Adapter
from rag.encoders.base import DEFAULT_ENCODER, DEFAULT_WEIGHTS_SHA256, ModelSpec, encodable
from rag.encoders.cache import checked_spec, compiled_file
from rag.encoders.graph import Precision
from rag.encoders.hub import model_folder
from rag.encoders.running import Runner, opened, read_tokenizer
from rag.errors import EncoderError
from rag.types import Chunk

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float32]

SENTENCE, BEGIN, END = 0, 1, 2  # the heads
MOST_QUESTION_TOKENS = 64
MOST_TOKENS = 384  # of question and passage together: a longer passage is read in parts
_LONGEST_SHORT_ANSWER = 24  # tokens


@dataclass(frozen=True, slots=True)
class SentenceRead:
    """What the reader says of one sentence."""

    odds: float  # log-odds that it answers, beside what the generator knows of it
    short: tuple[
        int, int
    ]  # character offsets into the passage's text: the words of it that answer best, if it was read
    short_odds: float  # the sum of their logits; compares within a question


class Reader(Protocol):
    """Reads question and passage together."""

    name: str

    def read(
        self, question: str, passages: Sequence[Chunk], sentences: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[SentenceRead]]:
        """What it says of each sentence of each passage.

        Args:
            question: in any words.
            passages: what to read.
            sentences: of each passage: start and end of each, in characters of its text.

        Raises:
            EncoderError: the model cannot be run.
        """


@dataclass(frozen=True, slots=True)
class Pair:
    """A question and a part of a passage as the model takes them: [CLS] question [SEP] passage [SEP]."""

    token_ids: list[int]
    # (sentences, 2): where each begins and ends among the tokens; nothing of it where both are 0
    sentences: NDArray[np.int64]
    offsets: NDArray[np.int64]  # (tokens, 2): in characters of the passage's text; -1 where a token is not of it


def pairs_of(
    tokenizer: Any, question: str, passage: Chunk, sentences: Sequence[tuple[int, int]]
) -> Iterator[tuple[range, Pair]]:
    """A passage under its title and headings with the question: whole, or in parts that break between sentences.

    Args:
        tokenizer: of the model.
        question: cut off behind 64 tokens.
        passage: what is read.
        sentences: of it, in characters of its text.

    Yields:
        which sentences, and what the model is given.
    """
    asked = tokenizer.encode(encodable(question)).ids
    cls, sep = asked[0], asked[-1]
    asked = asked[1:-1][:MOST_QUESTION_TOKENS]
    read = tokenizer.encode(encodable(passage.encoded), add_special_tokens=False)
    offsets = np.array(read.offsets, dtype=np.int64).reshape(-1, 2) - (len(passage.encoded) - len(passage.text))
    n_context = int((offsets[:, 0] < 0).sum())
    room = MOST_TOKENS - len(asked) - 3
    head = read.ids[:n_context] if n_context <= room // 2 else []
    places = np.full((len(sentences), 2), n_context, dtype=np.int64)
    for i, (start, end) in enumerate(sentences):
        inside = np.nonzero((offsets[:, 0] >= start) & (offsets[:, 1] <= end) & (offsets[:, 1] > offsets[:, 0]))[0]
        # Nothing of a sentence without a token, but in its place.
        places[i] = (inside[0], inside[-1] + 1) if len(inside) else places[max(i - 1, 0), 1]

    first = len(asked) + 2 + len(head)
    before = np.full((first, 2), -1, dtype=np.int64)
    fits = len(read.ids) - n_context <= room - len(head)
    for part in [range(len(sentences))] if fits else _parts(places, room - len(head)):
        lowest = n_context if fits else int(places[part.start, 0])
        # Up to where the next part begins: what stands between two sentences belongs to the first of them.
        following = int(places[part.stop, 0]) if part.stop < len(places) else len(read.ids)
        highest = min(following, lowest + room - len(head))
        own = np.clip(places[part.start : part.stop], lowest, highest) - lowest + first
        own[own[:, 1] <= own[:, 0]] = 0
        yield (
            part,
            Pair(
                [cls, *asked, sep, *head, *read.ids[lowest:highest], sep],
                own,
                np.concatenate([before, offsets[lowest:highest], [[-1, -1]]]),
            ),
        )


def _parts(places: NDArray[np.int64], room: int) -> Iterator[range]:
    """Runs of sentences whose tokens fit together; a sentence that does not fit alone is cut off."""
    begin = 0
    for i in range(1, len(places) + 1):
        if i == len(places) or places[i, 1] - places[begin, 0] > room:
            yield range(begin, i)
            begin = i


class CompiledReader:
    """The reader of the package, in its compiled form."""

    def __init__(self, spec: ModelSpec, runner: Runner, adapter: Adapter) -> None:
        """Bind a graph; `load` makes all three."""
        self.name = f"reader {adapter.sha256[:8]}"
        self._runner = runner
        self._tokenizer = read_tokenizer(spec)
        self._weight, self._bias = adapter.heads["weight"], adapter.heads["bias"]

    @classmethod
    def load(cls, precision: Precision = "fp32") -> CompiledReader:
        """Open the reader's compiled form, making it first if it is not in the cache.

        Args:
            precision: of its matrix products.

        Raises:
            EncoderError: the default model is not to be had, or a file is broken.
        """
        spec = checked_spec(model_folder(DEFAULT_ENCODER), DEFAULT_ENCODER, DEFAULT_WEIGHTS_SHA256)
        with as_file(files("rag").joinpath("reader.safetensors")) as file:
            adapter = Adapter.read(file)
            if adapter.base_sha256 != spec.weights_sha256:
                raise EncoderError(
                    f"the reader was made for weights {adapter.base_sha256[:12]}…, the default model's are "
                    f"{spec.weights_sha256[:12]}…: install the package again"
                )
            graph = compiled_file(spec, precision, adapter)
            try:
                session = opened(graph)
            except EncoderError:
                graph.unlink(missing_ok=True)  # broken: it is only a cache
                session = opened(compiled_file(spec, precision, adapter))
        return cls(spec, Runner(session, name="reader", precision=precision), adapter)

    def read(
        self, question: str, passages: Sequence[Chunk], sentences: Sequence[Sequence[tuple[int, int]]]
    ) -> list[list[SentenceRead]]:
        rows = [
            (p, part, pair)
            for p, passage in enumerate(passages)
            for part, pair in pairs_of(self._tokenizer, question, passage, sentences[p])
        ]
        logits: list[Array] = [np.zeros((0, 3), dtype=np.float32)] * len(rows)

        def take(taken: list[int], outputs: list[Array]) -> None:
            for row, tokens in zip(taken, outputs[0], strict=True):
                logits[row] = tokens @ self._weight.T + self._bias

        self._runner.run([pair.token_ids for _, _, pair in rows], ["tokens"], take)
        found: list[list[SentenceRead]] = [[] for _ in passages]
        for (p, part, pair), of_row in zip(rows, logits, strict=True):
            for i, (first, last) in zip(part, pair.sentences, strict=True):
                found[p].append(_said(of_row[first:last], pair.offsets[first:last], sentences[p][i]))
        return found


_UNREAD = -20.0  # log-odds of what no token is of


def _said(logits: Array, offsets: NDArray[np.int64], sentence: tuple[int, int]) -> SentenceRead:
    """Of one sentence's tokens."""
    if not len(logits):
        return SentenceRead(_UNREAD, (sentence[0], sentence[0]), _UNREAD)
    both = logits[:, BEGIN, None] + logits[None, :, END]
    n = len(logits)
    length = np.arange(n)[None, :] - np.arange(n)[:, None]
    both = np.where((length >= 0) & (length < _LONGEST_SHORT_ANSWER), both, -np.inf)
    begin, end = np.unravel_index(int(both.argmax()), both.shape)
    short = (int(offsets[begin, 0]), int(offsets[end, 1]))
    return SentenceRead(float(logits[:, SENTENCE].mean()), short, float(both[begin, end]))
