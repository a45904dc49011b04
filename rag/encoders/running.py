"""Runs compiled graphs with onnxruntime: rows of token ids in, arrays out, a core for each run."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import ModelSpec
from rag.encoders.graph import Precision
from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Texts of one length are run together up to this many tokens; more gains nothing on CPUs. In 8 bits each text is run
# alone, for it is rounded by its own range.
_TOKENS_PER_RUN: dict[Precision, int] = {"fp32": 512, "int8": 1}


class Runner:
    """One graph in an onnxruntime session. What a row gives never depends on those beside it: no run is padded."""

    def __init__(self, session: Any, *, name: str, precision: Precision, threads: int | None = None) -> None:
        """Bind a session; `opened` makes one.

        Args:
            session: of a graph that takes `input_ids`.
            name: of the model, for errors.
            precision: that the graph was built in.
            threads: by default as many as there are cores.
        """
        self._session = session
        self._name = name
        self._most = _TOKENS_PER_RUN[precision]
        self._threads = threads or available_cores()
        self._pool: ThreadPoolExecutor | None = None
        self.dim = int(session.get_outputs()[0].shape[1])

    def run(
        self,
        token_ids: Sequence[Sequence[int]],
        outputs: Sequence[str],
        take: Callable[[list[int], list[NDArray[np.float32]]], None],
    ) -> None:
        """Run all rows, each on a core of its own; a single one on the caller's thread.

        Args:
            token_ids: of each row.
            outputs: names of the graph's outputs.
            take: given the rows of a run and its outputs, from any thread.

        Raises:
            EncoderError: the graph fails.
        """

        def one(rows: list[int], ids: NDArray[np.int32]) -> None:
            take(rows, self._session.run(list(outputs), {"input_ids": ids}))

        runs = self._plan(token_ids)
        try:
            if len(runs) == 1 or self._threads == 1:
                for rows, ids in runs:
                    one(rows, ids)
            else:
                for done in [self._workers().submit(one, rows, ids) for rows, ids in runs]:
                    done.result()
        except Exception as exc:  # onnxruntime raises bare Exception subclasses of its own
            raise EncoderError(f"the encoder {self._name!r} failed: {exc}") from exc

    def _plan(self, token_ids: Sequence[Sequence[int]]) -> list[tuple[list[int], NDArray[np.int32]]]:
        """Group rows of equal length, so that nothing is padded; the longest first, so that cores end together."""
        order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))
        runs: list[tuple[list[int], NDArray[np.int32]]] = []
        group: list[int] = []
        for row in [*order, None]:
            length = len(token_ids[group[0]]) if group else 0
            if group and (row is None or len(token_ids[row]) != length or (len(group) + 1) * length > self._most):
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


def read_tokenizer(spec: ModelSpec) -> Any:
    """The model's tokenizer, which neither pads nor cuts.

    Raises:
        EncoderError: its file is not there or not readable.
    """
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


def opened(graph: Path | bytes) -> Any:
    """An onnxruntime session of a graph.

    Raises:
        EncoderError: it is not one, or is broken.
    """
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
