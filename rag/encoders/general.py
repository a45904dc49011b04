"""Any sentence-transformers model, by name or path, on any device that torch has."""

from __future__ import annotations

import hashlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import TokenVectors, encodable, prompts_of, read_model_spec
from rag.encoders.hub import model_folder
from rag.encoders.quiet import first_line
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
            raise EncoderError(f"cannot load the encoder {name!r}: {first_line(exc)}; check the name or path") from exc
        self._model = model
        self._is_half = on_gpu if half is None else half
        self._prompts = prompts_of(model.prompts)
        self._batch_size = batch_size or (256 if on_gpu else 32)
        self.name = str(folder) if Path(name).is_dir() else name  # as it is found from any working directory
        self.form = "sentence-transformers" + (HALF if self._is_half else "")
        self.dim = int(model.get_embedding_dimension() or 0)
        self.max_tokens = int(min(model.max_seq_length or 512, sys.maxsize))  # models of single words have no limit
        self.space = self._space(folder)
        self.has_tokens, self._is_mean = self._kind(folder)
        if self._is_half:
            model.half()

    def _kind(self, folder: Path) -> tuple[bool, bool]:
        """Whether tokens have vectors of their own, as long as the text's and with their places, and are its mean."""
        try:
            pooling = read_model_spec(folder).pooling
        except EncoderError:
            return False, False
        return bool(getattr(self._model.tokenizer, "is_fast", False)) and pooling in {"mean", "cls"}, pooling == "mean"

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

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text, as far as `max_tokens`, without the special tokens; no prompt is put before it."""
        return self._read(self._model.encode, texts, prompt="")[1]

    def read_queries(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        return self._read(self._model.encode_query, texts, prompt=self._prompts[0])

    def read_documents(self, texts: Sequence[str]) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        return self._read(self._model.encode_document, texts, prompt=self._prompts[1])

    def _read(
        self, method: Any, texts: Sequence[str], *, prompt: str
    ) -> tuple[NDArray[np.float32], list[TokenVectors]]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        read: list[TokenVectors] = []
        # All that is asked for at once is held at once, on the GPU where there is one.
        for first in range(0, len(texts), self._batch_size):
            part = [encodable(text) for text in texts[first : first + self._batch_size]]
            try:
                found = method(
                    part, prompt=prompt, batch_size=self._batch_size, output_value=None, show_progress_bar=False
                )
            except (RuntimeError, ValueError, IndexError) as exc:
                raise EncoderError(f"the encoder {self.name!r} failed: {first_line(exc)}") from exc
            for i, (text, of_text) in enumerate(zip(part, found, strict=True)):
                pooled = of_text["sentence_embedding"].float().cpu().numpy()
                vectors[first + i] = pooled / max(float(np.linalg.norm(pooled)), 1e-12)
                read.append(self._tokens(prompt, text, of_text))
        return vectors, read

    def _tokens(self, prompt: str, text: str, of_text: dict[str, Any]) -> TokenVectors:
        """The tokens of one text, out of all that the model was given: prompt, special tokens and padding too."""
        rows = of_text["token_embeddings"].float().cpu().numpy()[of_text["attention_mask"].bool().cpu().numpy()]
        said = self._model.tokenizer(
            prompt + text,
            truncation=True,
            max_length=self.max_tokens,
            return_offsets_mapping=True,
            return_special_tokens_mask=True,
        )
        spans = np.array(said["offset_mapping"], dtype=np.int64).reshape(-1, 2)
        own = (np.array(said["special_tokens_mask"]) == 0) & (spans[:, 0] >= len(prompt))
        others = rows[~own].sum(axis=0) if self._is_mean else None
        return TokenVectors(np.ascontiguousarray(rows[own]), spans[own] - len(prompt), others)

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
            raise EncoderError(f"the encoder {self.name!r} failed: {first_line(exc)}") from exc
        return np.ascontiguousarray(vectors, dtype=np.float32)

    def count_tokens(self, text: str) -> int:
        from tokenizers import Tokenizer

        text = encodable(self._prompts[1] + text)
        tokenizer = self._model.tokenizer
        if isinstance(tokenizer, Tokenizer):  # models of single words
            return len(tokenizer.encode(text).ids)
        return len(tokenizer(text, truncation=False, verbose=False)["input_ids"])
