"""A sentence encoder in its compiled form behind the `Encoder` protocol: run by onnxruntime, without torch.

The graph (`rag.encoders.graph`) is built once from the model's own weights and kept in the user's cache folder
(`rag.encoders.cache`). It takes token ids and gives unit vectors: pooling and normalisation are inside.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import ModelSpec, TokenVectors, encodable
from rag.encoders.cache import Choice, checked_spec, choice, compiled_file
from rag.encoders.graph import Precision
from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Texts of one length are run together up to this many tokens; more gains nothing on CPUs. In 8 bits each text is run
# alone, for it is rounded by its own range.
_TOKENS_PER_RUN: dict[Precision, int] = {"fp32": 512, "int8": 1}


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
        self._threads = threads or available_cores()
        self._pool: ThreadPoolExecutor | None = None
        self._tokenizer = _tokenizer(spec)
        self._session = session
        self.dim = int(self._session.get_outputs()[0].shape[1])

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
            return cls(spec, _session(graph), name=name, chosen=Choice("int8"), threads=1).encode_documents(texts)

        chosen = choice(spec, encode, forced=precision, preferred=preferred)
        file = compiled_file(spec, chosen.precision)
        try:
            session = _session(file)
        except EncoderError:
            file.unlink(missing_ok=True)  # broken: it is only a cache
            session = _session(compiled_file(spec, chosen.precision))
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
        runs = self._plan([self._cut(encoding.ids) for encoding in encodings])

        def run(rows: list[int], ids: NDArray[np.int32]) -> None:
            vectors[rows] = self._session.run(["vectors"], {"input_ids": ids})[0]

        self._run_all(run, runs)
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

        def run(rows: list[int], ids: NDArray[np.int32]) -> None:
            pooled, of_tokens = self._session.run(["vectors", "tokens"], {"input_ids": ids})
            vectors[rows] = pooled
            for row, tokens in zip(rows, of_tokens, strict=True):
                spans = np.array(encodings[row].offsets[1 : len(tokens) - 1], dtype=np.int64).reshape(-1, 2)
                first = int((spans[:, 0] < len(prompt)).sum()) if prompt else 0
                others = tokens[: first + 1].sum(axis=0) + tokens[-1] if self._is_mean else None
                found[row] = TokenVectors(tokens[first + 1 : -1], spans[first:] - len(prompt), others)

        self._run_all(run, self._plan([self._cut(encoding.ids) for encoding in encodings]))
        return vectors, [found[row] for row in range(len(texts))]

    def _run_all(
        self, run: Callable[[list[int], NDArray[np.int32]], None], runs: list[tuple[list[int], NDArray[np.int32]]]
    ) -> None:
        """Each run on a core of its own; a single one on the caller's thread."""
        try:
            if len(runs) == 1 or self._threads == 1:
                for rows, ids in runs:
                    run(rows, ids)
            else:
                for done in [self._workers().submit(run, rows, ids) for rows, ids in runs]:
                    done.result()
        except Exception as exc:  # onnxruntime raises bare Exception subclasses of its own
            raise EncoderError(f"the encoder {self.name!r} failed: {exc}") from exc

    def _cut(self, ids: list[int]) -> list[int]:
        """At most `max_tokens`; the last token, [SEP], is kept, as the tokenizer's own truncation does."""
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _plan(self, token_ids: list[list[int]]) -> list[tuple[list[int], NDArray[np.int32]]]:
        """Group rows of equal length, so that nothing is padded; the longest first, so that cores end together."""
        most = _TOKENS_PER_RUN[self.chosen.precision]
        order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))
        runs: list[tuple[list[int], NDArray[np.int32]]] = []
        group: list[int] = []
        for row in [*order, None]:
            length = len(token_ids[group[0]]) if group else 0
            if group and (row is None or len(token_ids[row]) != length or (len(group) + 1) * length > most):
                runs.append((group, np.array([token_ids[r] for r in group], dtype=np.int32)))
                group = []
            if row is not None:
                group.append(row)
        return runs

    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="encoder")
        return self._pool


def available_cores() -> int:
    """The cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def _tokenizer(spec: ModelSpec) -> Any:
    from tokenizers import Tokenizer, normalizers

    file = spec.transformer / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(file))
        # The default model's file truncates and pads to 128 as it stands: both are set here, not inherited.
        tokenizer.no_padding()
        tokenizer.no_truncation()
        if spec.lower_case:
            own = tokenizer.normalizer
            tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
    except Exception as exc:  # it raises bare Exception
        raise EncoderError(
            f"cannot read the tokenizer {str(file)!r}: {exc}; name a folder that holds tokenizer.json"
        ) from exc
    return tokenizer


def _session(graph: Path | bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # a run stays on the thread that calls it: cores are used by our pool
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        model = graph if isinstance(graph, bytes) else str(graph)
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as exc:  # it raises bare Exception subclasses of its own
        where = "" if isinstance(graph, bytes) else f" {str(graph)!r}"
        raise EncoderError(
            f"cannot open the compiled encoder{where}: {exc}; name another encoder, or --form sentence-transformers"
        ) from exc
