"""Any sentence-transformers model, by name or path, on any device that torch has."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import encodable, prompts_of, read_model_spec
from rag.encoders.hub import model_folder
from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

HALF = "-fp16"  # behind the form: half precision, as on a GPU


class SentenceTransformerEncoder:
    """Any sentence-transformers model, on any device that torch has; on a GPU in half precision and large batches."""

    def __init__(
        self,
        name: str,
        *,
        device: str | None = None,
        fetch: bool = True,
        half: bool | None = None,
        batch_size: int | None = None,
    ) -> None:
        """Load the model: from its package, its path or the hub's cache if it is there, else from the hub.

        Args:
            name: `DEFAULT_ENCODER`, a path, or a name on the hub.
            device: of torch, e.g. 'cpu' or 'cuda'; by default the GPU where there is one.
            fetch: whether a model that is not on this machine may be fetched from the hub.
            half: run it in half precision; by default on a GPU only.
            batch_size: texts at once; by default 256 on a GPU, 32 elsewhere.

        Raises:
            EncoderError: sentence-transformers cannot load it; the message says what it said.
        """
        folder = model_folder(name, fetch=fetch)
        try:
            from sentence_transformers import SentenceTransformer

            logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
            model = SentenceTransformer(str(folder), device=device, trust_remote_code=False, local_files_only=not fetch)
            on_gpu = model.device.type == "cuda"
        except Exception as exc:  # it raises whatever its backends raise: OSError, ValueError, RuntimeError
            raise EncoderError(f"cannot load the encoder {name!r}: {_first_line(exc)}; check the name or path") from exc
        self._model = model
        self._is_half = on_gpu if half is None else half
        self._prompts = prompts_of(model.prompts)
        self._batch_size = batch_size or (256 if on_gpu else 32)
        self.name = str(folder) if Path(name).is_dir() else name  # as it is found from any working directory
        self.form = "sentence-transformers" + (HALF if self._is_half else "")
        self.dim = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(min(model.max_seq_length or 512, sys.maxsize))  # models of single words have no limit
        self.space = self._space(folder)
        if self._is_half:
            model.half()

    def _space(self, folder: Path) -> str:
        try:
            return read_model_spec(folder).space
        except EncoderError:
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
        from tokenizers import Tokenizer

        text = encodable(self._prompts[1] + text)
        tokenizer = self._model.tokenizer
        if isinstance(tokenizer, Tokenizer):  # models of single words
            return len(tokenizer.encode(text).ids)
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])


def _first_line(exc: Exception) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
