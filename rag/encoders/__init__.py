"""Makes vectors of texts: the protocol, models in compiled form, and any sentence-transformers model."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from rag.encoders.base import (
    DEFAULT_ENCODER,
    DEFAULT_WEIGHTS_SHA256,
    Encoder,
    TokenEncoder,
    TokenVectors,
    bundled_model,
    tells_of_tokens,
)
from rag.encoders.compiled import CompiledEncoder
from rag.encoders.general import HALF, SentenceTransformerEncoder
from rag.encoders.graph import CannotCompileError, Precision
from rag.encoders.hub import model_folder
from rag.errors import EncoderError, UsageError

__all__ = [
    "DEFAULT_ENCODER",
    "CompiledEncoder",
    "Encoder",
    "Form",
    "SentenceTransformerEncoder",
    "TokenEncoder",
    "TokenVectors",
    "bundled_model",
    "load_encoder",
    "tells_of_tokens",
]

# How a model is run: compiled, with matrix products in 8 or 32 bits, or by sentence-transformers.
Form = Literal["onnx-int8", "onnx-fp32", "sentence-transformers"]
_PRECISIONS: dict[str, Precision] = {"onnx-int8": "int8", "onnx-fp32": "fp32"}


def load_encoder(
    name: str = DEFAULT_ENCODER,
    *,
    form: Form | None = None,
    made_in: str | None = None,
    device: str | None = None,
    fetch: bool = True,
) -> Encoder:
    """The encoder that a name stands for.

    Models whose parts the compiler understands run compiled, without torch, in the precision that serves best on this
    processor; the default one comes from its installed package. Everything else runs through sentence-transformers,
    on the GPU where there is one.

    Args:
        name: `DEFAULT_ENCODER`, the path of a model folder, or a name on the Hugging Face hub.
        form: runs it in this form and in no other.
        made_in: the form that an index was made in: this one is taken if it can be had here, and does not lose more
            here than it may, else the best.
        device: forces sentence-transformers on that torch device, e.g. 'cpu' or 'cuda'.
        fetch: whether a model that is not on this machine may be fetched from the hub.

    Raises:
        UsageError: an unknown form.
        EncoderError: the model is neither here nor to be had, its weights are not the official ones, or it cannot be
            run in that form.
    """
    if form is not None and form not in get_args(Form):
        raise UsageError(f"expected form {', '.join(get_args(Form))}, got {form!r}")
    if form is None and made_in is not None and made_in.removesuffix(HALF) == "sentence-transformers":
        with suppress(EncoderError):
            return SentenceTransformerEncoder(name, fetch=fetch)
    if form == "sentence-transformers" or device is not None:
        return SentenceTransformerEncoder(name, device=device, fetch=fetch)
    folder = model_folder(name, fetch=fetch)
    if Path(name).is_dir():
        name = str(folder)  # recorded in an index, it must be found from any working directory
    try:
        return CompiledEncoder.load(
            folder,
            name=name,
            precision=_PRECISIONS[form] if form else None,
            preferred=_PRECISIONS.get(made_in) if made_in else None,
            expected_sha256=DEFAULT_WEIGHTS_SHA256 if name == DEFAULT_ENCODER else None,
        )
    except CannotCompileError as exc:
        if form is not None:
            raise EncoderError(f"cannot run {name!r} as {form}: {exc}; leave --form away") from exc
        return SentenceTransformerEncoder(name, fetch=fetch)  # a model of another shape: the general path runs it
