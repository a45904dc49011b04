"""Any sentence-transformers model, by name or path, on any device that torch has."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import (
    BUNDLE,
    DEFAULT_ENCODER,
    DEFAULT_REVISION,
    bundled_model,
    encodable,
    prompts_of,
    read_model_spec,
)
from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)


class SentenceTransformerEncoder:
    """Any sentence-transformers model, on any device that torch has."""

    form = "sentence-transformers"

    def __init__(self, name: str, *, device: str | None = None, fetch: bool = True, batch_size: int = 32) -> None:
        """Load the model: from its package or local path if it is there, else from the hub.

        Raises:
            EncoderError: sentence-transformers cannot load it; the message says what it said.
        """
        folder = bundled_model() if name == DEFAULT_ENCODER else None
        revision = DEFAULT_REVISION if name == DEFAULT_ENCODER and folder is None else None
        if revision is not None:
            log.warning(
                "the package %s, which carries the default model, is not installed: fetching %s, revision %s",
                BUNDLE.replace("_", "-"), name, revision[:8],
            )  # fmt: skip
        try:
            from sentence_transformers import SentenceTransformer

            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
            model = SentenceTransformer(
                str(folder or name),
                device=device,
                revision=revision,
                trust_remote_code=False,
                local_files_only=not fetch,
            )
        except Exception as exc:  # it raises whatever its backends raise: OSError, ValueError, HTTP errors
            hint = f"pip install {BUNDLE.replace('_', '-')}" if name == DEFAULT_ENCODER else "check the name or path"
            if not fetch:
                hint = f"it is not on this machine: name it with --encoder {name} to fetch it"
            raise EncoderError(f"cannot load the encoder {name!r}: {_first_line(exc)}; {hint}") from exc
        self._model = model
        self._prompts = prompts_of(model.prompts)
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


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
