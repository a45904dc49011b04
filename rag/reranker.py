"""`Reranker` protocol and the cross-encoder: any with one label, by name or path, on any device that torch has."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from rag.encoders.base import encodable
from rag.encoders.hub import folder_of
from rag.encoders.quiet import first_line, no_bars
from rag.errors import RerankerError, UsageError

EXAMPLE = "cross-encoder/ms-marco-MiniLM-L6-v2"  # what messages name: small, and of the kind that is needed

# The heads that come trained with a model. Any other model is given one of random weights by transformers.
_JUDGES = ("ForSequenceClassification", "ForCausalLM")


class Reranker(Protocol):
    """Judges how well each passage answers a query, reading both together."""

    name: str

    def scores(self, query: str, passages: Sequence[str], *, deadline: float = math.inf) -> list[float]:
        """One score a passage, higher is better, in [0, 1]; in order, fewer where the deadline came first.

        A score depends on the query and its passage, not on the passages beside it, beyond rounding. Where there are
        passages, at least one is scored, whatever the deadline.

        Args:
            query: what is searched.
            passages: best first, as those at the end are the ones left out.
            deadline: in seconds of `time.monotonic`.

        Raises:
            RerankerError: the model cannot be run.
        """


class CrossEncoderReranker:
    """A cross-encoder of sentence-transformers, with one label, which a sigmoid brings into [0, 1].

    Passages are read in batches, in order. Each batch is padded to its longest text, and the padding is masked, so it
    does not matter what a passage is read beside: a score moves by rounding only, less than 1e-4 in 32 bits.
    """

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        fetch: bool = True,
        half: bool | None = None,
        batch_size: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Load the model: from its path or the hub's cache if it is there, else from the hub. Code in it is never run.

        Args:
            name: a path, or a name on the hub.
            device: of torch, e.g. 'cpu' or 'cuda'; by default the GPU where there is one.
            fetch: whether a model that is not on this machine may be fetched from the hub.
            half: run it in half precision; by default on a GPU only.
            batch_size: passages at once, between two looks at the clock; by default 64 on a GPU, 4 elsewhere, where
                more at once are hardly faster.
            clock: what deadlines are of.

        Raises:
            UsageError: a batch size below 1.
            RerankerError: the model is neither here nor to be had, cannot be loaded, or is no reranker with one label.
        """
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"expected a batch size of 1 or more, got {batch_size!r}")
        folder = folder_of("reranker", name, fetch=fetch, error=RerankerError)
        _refuse_random_head(folder, name=name)
        try:
            import torch
            from sentence_transformers import CrossEncoder

            # Its files are here by now: nothing is asked of the hub, whatever they name.
            with no_bars():
                model = CrossEncoder(
                    str(folder),
                    device=device,
                    trust_remote_code=False,
                    local_files_only=True,
                    activation_fn=torch.nn.Sigmoid(),  # many models name none, or that of their training
                )
            n_labels = int(model.num_labels)
            on_gpu = model.device.type == "cuda"
            if not (on_gpu if half is None else half):
                model.float()  # whatever it was saved in
            elif next(model.parameters()).dtype == torch.float32:
                model.half()  # else it stays in the 16 bits it was saved in
        except Exception as exc:  # it raises whatever its backends raise: OSError, ValueError, RuntimeError
            hint = "check the name or path" + (f", and the device {device!r}" if device is not None else "")
            raise RerankerError(f"cannot load the reranker {name!r}: {first_line(exc)}; {hint}") from exc
        if n_labels != 1:
            raise RerankerError(
                f"expected a reranker with one label, the relevance of a passage; {name!r} has {n_labels}: "
                f"name another, such as {EXAMPLE!r}"
            )
        self._model = model
        self._batch_size = batch_size or (64 if on_gpu else 4)
        self._clock = clock
        self.name = str(folder) if Path(name).is_dir() else name  # as it is found from any working directory

    def scores(self, query: str, passages: Sequence[str], *, deadline: float = math.inf) -> list[float]:
        """As `Reranker.scores`: the first batch is read in any case, another only if, at the pace of the slowest so
        far, it ends by the deadline."""
        scores: list[float] = []
        pace = 0.0  # seconds a passage, in the slowest batch so far
        while len(scores) < len(passages):
            batch = passages[len(scores) : len(scores) + self._batch_size]
            began = self._clock()
            if scores and began + pace * len(batch) > deadline:
                break
            scores += self._read(query, batch)
            pace = max(pace, (self._clock() - began) / len(batch))
        return scores

    def _read(self, query: str, passages: Sequence[str]) -> list[float]:
        """The scores of one batch."""
        pairs = [(encodable(query), encodable(passage)) for passage in passages]
        try:
            found = self._model.predict(pairs, batch_size=len(pairs), show_progress_bar=False)
            scores = [float(score) for score in found]
        except (RuntimeError, ValueError, IndexError, TypeError) as exc:
            raise RerankerError(
                f"the reranker {self.name!r} failed: {first_line(exc)}; "
                "load it on another device or with a smaller batch size, or name another"
            ) from exc
        if not all(map(math.isfinite, scores)):
            raise RerankerError(
                f"expected scores in [0, 1], got {scores!r} from the reranker {self.name!r}: "
                "load it with half=False, or name another"
            )
        return scores


def load_reranker(name: str, *, device: str | None = None, fetch: bool = True) -> Reranker:
    """The reranker that a name stands for. torch is imported here, and not before.

    Args:
        name: the path of a model folder, or a name on the Hugging Face hub.
        device: of torch, e.g. 'cpu' or 'cuda'; by default the GPU where there is one.
        fetch: whether a model that is not on this machine may be fetched from the hub.

    Raises:
        RerankerError: the model is neither here nor to be had, cannot be loaded, or is no reranker with one label.
    """
    return CrossEncoderReranker(name, device=device, fetch=fetch)


def _refuse_random_head(folder: Path, *, name: str) -> None:
    """Encoders and bare models load as cross-encoders too, and then judge at random."""
    if (folder / "modules.json").exists() and _read_json(folder, "config_sentence_transformers.json").get(
        "model_type"
    ) == "CrossEncoder":
        return
    architectures = _read_json(folder, "config.json").get("architectures")
    if isinstance(architectures, list) and architectures and not str(architectures[0]).endswith(_JUDGES):
        raise RerankerError(
            f"expected a reranker, whose architecture ends with {' or '.join(_JUDGES)}; "
            f"{name!r} is a {architectures[0]}: name another, such as {EXAMPLE!r}"
        )


def _read_json(folder: Path, file: str) -> dict[str, object]:
    """What a file of a model says; nothing where it is not there, or broken, which is told once it is loaded."""
    with suppress(OSError, ValueError):
        content = json.loads((folder / file).read_text(encoding="utf-8"))
        if isinstance(content, dict):
            return content
    return {}
