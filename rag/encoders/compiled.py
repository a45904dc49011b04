"""A sentence encoder in its compiled form behind the `Encoder` protocol: run by onnxruntime, without torch.

The graph (`rag.encoders.graph`) is built once from the model's own weights and kept in the user's cache folder
(`rag.encoders.cache`). It takes token ids and gives unit vectors: pooling and normalisation are inside.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import ModelSpec, TokenVectors, encodable
from rag.encoders.cache import Choice, checked_spec, choice, compiled_file
from rag.encoders.graph import Precision
from rag.encoders.running import Runner, opened, read_tokenizer
from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CompiledEncoder:
    """Unit vectors from a compiled graph. A text's vector never depends on the texts beside it: no run is padded."""

    has_tokens = True

    def __init__(self, spec: ModelSpec, session: Any, *, name: str, chosen: Choice, threads: int | None = None) -> None:
        """Bind a graph in an onnxruntime session; `load` makes both."""
        self.name = name
        self.space = spec.space
        self.form = f"onnx-{chosen.precision}"
        self.chosen = chosen
        self.max_tokens = spec.max_tokens
        self._prompts = (spec.query_prompt, spec.document_prompt)
        self._is_mean = spec.pooling == "mean"
        self._tokenizer = read_tokenizer(spec)
        self._runner = Runner(session, name=name, precision=chosen.precision, threads=threads)
        self.dim = self._runner.dim

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        name: str,
        precision: Precision | None = None,
        preferred: Precision | None = None,
        expected_sha256: str | None = None,
    ) -> CompiledEncoder:
        """Open the compiled form of the model in `folder`, making it first if it is not in the cache.

        Args:
            folder: in sentence-transformers layout.
            name: that the encoder goes by.
            precision: of its matrix products; by default the one that serves best here, measured once.
            preferred: taken, if not forced, where it does its work well enough here; as an index was made with.
            expected_sha256: of the weights.

        Raises:
            CannotCompileError: the model has parts that have no compiled form.
            EncoderError: the weights are not the expected ones, or the files are unreadable.
        """
        spec = checked_spec(folder, name, expected_sha256)

        def encode(graph: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
            return cls(spec, opened(graph), name=name, chosen=Choice("int8"), threads=1).encode_documents(texts)

        chosen = choice(spec, encode, forced=precision, preferred=preferred)
        file = compiled_file(spec, chosen.precision)
        try:
            session = opened(file)
        except EncoderError:
            file.unlink(missing_ok=True)  # broken: it is only a cache
            session = opened(compiled_file(spec, chosen.precision))
        return cls(spec, session, name=name, chosen=chosen)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode([self._prompts[0] + text for text in texts])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode([self._prompts[1] + text for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(encodable(self._prompts[1] + text)).ids)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast([encodable(text) for text in texts])

        def take(rows: list[int], outputs: list[NDArray[np.float32]]) -> None:
            vectors[rows] = outputs[0]

        self._runner.run([self._cut(encoding.ids) for encoding in encodings], ["vectors"], take)
        return vectors

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text, as far as `max_tokens`, without the special tokens; no prompt is put before it."""
        return self._read(texts, prompt="")[1]

    def read_queries(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        return self._read(texts, prompt=self._prompts[0])

    def read_documents(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        return self._read(texts, prompt=self._prompts[1])

    def _read(self, texts: Sequence[str], *, prompt: str) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        encodings = self._tokenizer.encode_batch([encodable(prompt + text) for text in texts])
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        found: dict[int, TokenVectors] = {}

        def take(rows: list[int], outputs: list[NDArray[np.float32]]) -> None:
            pooled, of_tokens = outputs
            vectors[rows] = pooled
            for row, tokens in zip(rows, of_tokens, strict=True):
                spans = np.array(encodings[row].offsets[1 : len(tokens) - 1], dtype=np.int64).reshape(-1, 2)
                first = int((spans[:, 0] < len(prompt)).sum()) if prompt else 0
                others = tokens[: first + 1].sum(axis=0) + tokens[-1] if self._is_mean else None
                found[row] = TokenVectors(tokens[first + 1 : -1], spans[first:] - len(prompt), others)

        self._runner.run([self._cut(encoding.ids) for encoding in encodings], ["vectors", "tokens"], take)
        return vectors, [found[row] for row in range(len(texts))]

    def _cut(self, ids: list[int]) -> list[int]:
        """At most `max_tokens`; the last token, [SEP], is kept, as the tokenizer's own truncation does."""
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]
