"""Asks a model of natural language inference, which the user has, whether the passages entail a sentence.

The model judges pairs of a premise and a sentence and knows nothing of footnotes: which spans a sentence rests on, and
what of it stands nowhere, is told by another checker, such as the bundled one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import Any

from rag.encoders.base import encodable
from rag.encoders.hub import folder_of
from rag.encoders.quiet import best_device, first_line, quiet
from rag.errors import EncoderError, UsageError
from rag.sentences import plain_text, sentence_spans
from rag.support import Checker, Support
from rag.types import Chunk, Hit, Span

EXAMPLE = "cross-encoder/nli-deberta-v3-small"  # what messages name: small, and of the kind that is needed

_WHAT = "entailment model"  # what messages call it
_MOST_TOKENS = 512  # of premise and sentence: models of inference were trained on no longer ones


class EntailmentChecker:
    """A cross-encoder for natural language inference on top of another checker, whose `chance` it replaces.

    The premise is what stands around the spans of a sentence: each with the sentence before and the one behind it in
    its passage, in the order of the documents, below title and headings. That is one premise, as what a sentence says
    may stand in two places. If it does not entail the sentence, each whole passage that holds a span is tried, and the
    best of all counts. A premise that is too long for the model loses its neighbours, then its end. The spans stay as
    they are, and so do the numbers, names and links that no passage holds. What has no spans is not asked about, and
    has no chance; nor has a sentence that takes more than half of what the model reads, as part of it would decide.
    """

    def __init__(
        self,
        name: str,
        within: Checker,
        *,
        device: str | None = None,
        fetch: bool = True,
        batch_size: int | None = None,
    ) -> None:
        """Load the model: from its path or the hub's cache if it is there, else from the hub.

        Only weights in safetensors are read, and no code that comes with a model is run. Its labels must say which one
        is entailment; a single one is taken for the consistency of the sentence with the premise, which cannot be told
        from what the label of a reranker means.

        Args:
            name: a path, or a name on the hub.
            within: finds the spans of each sentence, and what stands nowhere.
            device: of torch, e.g. 'cpu' or 'cuda'; by default the GPU where there is one.
            fetch: whether a model that is not on this machine may be fetched from the hub.
            batch_size: pairs at once; by default 64 on a GPU, 4 elsewhere.

        Raises:
            UsageError: a batch size below 1.
            EncoderError: the model is neither here nor to be had, cannot be loaded, or does not judge entailment.
        """
        if batch_size is not None and batch_size < 1:
            raise UsageError(f"expected a batch size of 1 or more, got {batch_size!r}")
        folder = folder_of(_WHAT, name, fetch=fetch, error=EncoderError)
        try:
            # Its files are here by now: nothing is asked of the hub, whatever they name.
            with quiet():
                self._model, self._tokenizer, self._label = _load(folder, name=name, device=device)
        except EncoderError:
            raise
        except Exception as exc:  # it raises whatever its backends raise: OSError, ValueError, AssertionError
            hint = "check the name or path" + (f", and the device {device!r}" if device is not None else "")
            raise EncoderError(f"cannot load the {_WHAT} {name!r}: {first_line(exc)}; {hint}") from exc
        self._within = within
        self._max_tokens = _max_tokens(self._model.config, self._tokenizer)
        self._batch_size = batch_size or (64 if self._model.device.type == "cuda" else 4)
        self._lock = Lock()  # a tokenizer keeps how it was called last
        self.name = str(folder) if Path(name).is_dir() else name  # as it is found from any working directory

    def check(self, sentences: Sequence[str], passages: Sequence[Hit]) -> list[Support]:
        """As `Checker.check`; `chance` is the model's probability of entailment.

        Raises:
            RagError: the model cannot be run, or what is within raises it.
        """
        found = self._within.check(sentences, passages)
        texts = [self._readable(text) for text in sentences]
        asked = [i for i, support in enumerate(found) if support.spans and self._is_short(texts[i])]
        joint = {i: self._joint(found[i], texts[i], passages) for i in asked}
        chances = [0.0] * len(found)
        self._judge([(i, joint[i]) for i in asked], texts, chances)
        whole = [
            (i, premise)
            for i in asked
            if chances[i] < 0.5
            for premise in self._whole(found[i], passages)
            if premise != joint[i]
        ]
        self._judge(whole, texts, chances)
        return [replace(support, chance=chance) for support, chance in zip(found, chances, strict=True)]

    def _joint(self, support: Support, text: str, passages: Sequence[Hit]) -> str:
        for with_neighbours in (True, False):
            premise = self._readable(_around(support.spans, passages, with_neighbours=with_neighbours))
            if self._count(premise, text) <= self._max_tokens:
                break
        return premise

    def _whole(self, support: Support, passages: Sequence[Hit]) -> list[str]:
        chunks = [passages[i].chunk for i in dict.fromkeys(span.passage for span in support.spans)]
        return [self._readable(_below_headings(chunk, plain_text(chunk.text))) for chunk in chunks]

    def _is_short(self, text: str) -> bool:
        return self._count(text) <= self._max_tokens // 2

    def _count(self, *texts: str) -> int:
        with self._lock:
            return len(self._tokenizer(*texts, truncation=False, verbose=False)["input_ids"])

    def _readable(self, text: str) -> str:
        """The text without what the model would take for the end of it."""
        text = encodable(text)
        for token in self._tokenizer.all_special_tokens:
            text = text.replace(token, " ".join(token))
        return text

    def _judge(self, asked: Sequence[tuple[int, str]], texts: Sequence[str], chances: list[float]) -> None:
        """Raise the chance of each text to that which its best premise gives it."""
        for first in range(0, len(asked), self._batch_size):
            batch = asked[first : first + self._batch_size]
            read = self._read([premise for _, premise in batch], [texts[i] for i, _ in batch])
            for (i, _), chance in zip(batch, read, strict=True):
                chances[i] = max(chances[i], chance)

    def _read(self, premises: list[str], texts: list[str]) -> list[float]:
        """The probability, for each premise, that it entails its text."""
        import torch

        try:
            with self._lock, torch.inference_mode():
                tokens = self._tokenizer(
                    premises, texts, truncation="only_first", max_length=self._max_tokens, padding=True,
                    return_tensors="pt",
                )  # fmt: skip
                logits = self._model(**tokens.to(self._model.device)).logits.float()
                shares = logits.sigmoid() if logits.shape[-1] == 1 else logits.softmax(-1)
                chances = [float(chance) for chance in shares[:, self._label]]
        except (RuntimeError, ValueError, IndexError, TypeError) as exc:
            raise EncoderError(
                f"the {_WHAT} {self.name!r} failed: {first_line(exc)}; "
                "load it on another device or with a smaller batch size, or name another"
            ) from exc
        if not all(map(math.isfinite, chances)):
            raise EncoderError(
                f"expected chances in [0, 1], got {chances!r} from the {_WHAT} {self.name!r}: "
                f"its weights are damaged; name another, such as {EXAMPLE!r}"
            )
        return chances


def load_entailment(name: str, within: Checker, *, device: str | None = None, fetch: bool = True) -> EntailmentChecker:
    """The checker that asks the model of that name. torch is imported here, and not before.

    Args:
        name: the path of a model folder, or a name on the Hugging Face hub.
        within: finds the spans of each sentence, and what stands nowhere: a `SupportChecker`.
        device: of torch, e.g. 'cpu' or 'cuda'; by default the GPU where there is one.
        fetch: whether a model that is not on this machine may be fetched from the hub.

    Raises:
        EncoderError: the model is neither here nor to be had, cannot be loaded, or does not judge entailment.
    """
    return EntailmentChecker(name, within, device=device, fetch=fetch)


def _load(folder: Path, *, name: str, device: str | None) -> tuple[Any, Any, int]:
    """The model in 32 bits, its tokenizer, and which of its labels is entailment."""
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

    local: dict[str, Any] = {"trust_remote_code": False, "local_files_only": True}
    config = AutoConfig.from_pretrained(str(folder), **local)
    label = _entailing(config, name=name)
    if not any(folder.glob("*.safetensors")):
        raise EncoderError(
            f"expected weights in safetensors, which hold numbers and no code; {name!r} has none: "
            f"convert what it has, or name another model, such as {EXAMPLE!r}"
        )
    if not (folder / "tokenizer.json").exists() and any(folder.glob("*.model")) and not find_spec("sentencepiece"):
        raise EncoderError(
            f"the {_WHAT} {name!r} comes with a vocabulary that needs a package which is not installed: "
            "pip install sentencepiece"
        )
    kind: Any = AutoModelForSequenceClassification
    model, info = kind.from_pretrained(
        str(folder), dtype="float32", use_safetensors=True, output_loading_info=True, **local
    )
    if missing := sorted(info["missing_keys"]):
        raise EncoderError(
            f"expected all weights of the {_WHAT} {name!r}, but {len(missing)} are not in its files, such as "
            f"{missing[0]!r}: it would judge at random; name another, such as {EXAMPLE!r}"
        )
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder), **local)
    return model.to(torch.device(device or best_device())).eval(), tokenizer, label


def _entailing(config: Any, *, name: str) -> int:
    """The label that says entailment. Models order theirs in every way."""
    labels = {int(i): str(label) for i, label in config.id2label.items()}
    if len(labels) == 1:
        return 0
    found = [i for i, label in labels.items() if "entail" in label.lower() and "no" not in label.lower()]
    if len(found) != 1:
        raise EncoderError(
            "expected a model of natural language inference, with one label that is called entailment; those of "
            f"{name!r} are {', '.join([repr(label) for label in labels.values()][:4])}: "
            f"name another, such as {EXAMPLE!r}, or correct id2label in its config.json"
        )
    return found[0]


def _max_tokens(config: Any, tokenizer: Any) -> int:
    limits = [getattr(config, "max_position_embeddings", None), tokenizer.model_max_length, _MOST_TOKENS]
    return min(limit for limit in limits if isinstance(limit, int) and limit > 0)


def _around(spans: Sequence[Span], passages: Sequence[Hit], *, with_neighbours: bool) -> str:
    """What the spans say, as one text in the order of the documents, nothing twice."""
    documents = list(dict.fromkeys(hit.chunk.doc_id for hit in passages))
    stretches = []
    for span in spans:
        chunk = passages[span.passage].chunk
        start, end = _with_neighbours(span, chunk) if with_neighbours else (span.start, span.end)
        stretches.append((documents.index(chunk.doc_id), start, end, chunk))
    parts: list[str] = []
    document, reached, context = -1, 0, ""
    for place, start, end, chunk in sorted(stretches, key=lambda stretch: stretch[:3]):
        if place != document:
            document, reached, context = place, 0, ""
        if end <= reached:
            continue
        said = plain_text(chunk.text[max(start, reached) - chunk.start : end - chunk.start])
        parts.append(said if chunk.context == context else _below_headings(chunk, said))
        reached, context = end, chunk.context
    return "\n".join(parts)


def _with_neighbours(span: Span, chunk: Chunk) -> tuple[int, int]:
    """From where the sentence before the span begins to where the one behind it ends, within the passage."""
    sentences = [(chunk.start + start, chunk.start + end) for start, end in sentence_spans(chunk.text)]
    return (
        max((start for start, end in sentences if end <= span.start), default=span.start),
        min((end for start, end in sentences if start >= span.end), default=span.end),
    )


def _below_headings(chunk: Chunk, text: str) -> str:
    return f"{chunk.context}\n{text}" if chunk.context else text
