"""Makes vectors of texts: the protocol, the compiled default model, and any sentence-transformers model."""

from __future__ import annotations

from pathlib import Path

from rag.encoders.base import (
    DEFAULT_ENCODER,
    DEFAULT_WEIGHTS_SHA256,
    Encoder,
    TokenEncoder,
    TokenVectors,
    bundled_model,
)
from rag.encoders.compiled import CannotCompileError, CompiledEncoder
from rag.encoders.general import SentenceTransformerEncoder

__all__ = [
    "DEFAULT_ENCODER",
    "CompiledEncoder",
    "Encoder",
    "SentenceTransformerEncoder",
    "TokenEncoder",
    "TokenVectors",
    "bundled_model",
    "load_encoder",
]


def load_encoder(name: str = DEFAULT_ENCODER, *, device: str | None = None, fetch: bool = True) -> Encoder:
    """The encoder that a name stands for.

    The default model comes from its installed package and runs compiled, without torch; so does any local folder whose
    parts the compiler understands. Everything else runs through sentence-transformers.

    Args:
        name: `DEFAULT_ENCODER`, the path of a model folder, or a name on the Hugging Face hub.
        device: forces sentence-transformers on that torch device, e.g. 'cpu' or 'cuda'.
        fetch: whether a model that is not on this machine may be fetched from the hub.

    Raises:
        EncoderError: the model is neither here nor to be had, or its weights are not the official ones.
    """
    folder = bundled_model() if name == DEFAULT_ENCODER else None
    if name != DEFAULT_ENCODER and Path(name).is_dir():
        folder = Path(name).resolve()
        name = str(folder)  # recorded in an index, it must be found from any working directory
    if folder is not None and device is None:
        try:
            expected = DEFAULT_WEIGHTS_SHA256 if name == DEFAULT_ENCODER else None
            return CompiledEncoder.load(folder, name=name, expected_sha256=expected)
        except CannotCompileError:
            pass  # a model of another shape: the general path runs it
    return SentenceTransformerEncoder(name, device=device, fetch=fetch)
