"""The user's cache folder: compiled forms of models, made once, and notes of what was found out about them."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from rag.encoders.adapters import Adapter
from rag.encoders.base import ModelSpec, read_model_spec
from rag.encoders.graph import CannotCompileError, Precision, build_graph
from rag.errors import EncoderError
from rag.files import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRAPH_VERSION = 3  # raise it when build_graph changes: the cached files of older versions are then left alone
_LEAST_GAIN = 1.2  # times as fast as fp32: less is not worth what rounding loses
_LEAST_COSINE = 0.995  # of an 8-bit vector to that of fp32, in the mean
_ROUNDS = 3
# What forms are compared on: sentences as documents have them, short and long, in several scripts.
_SAMPLES = (
    "What is the difference between a median and a mean?",
    "The committee met on 14 March 2019 and approved the budget of 2.4 million euros, with two members voting against.",
    "To install the plugin, copy the file into the folder named in the settings, restart the server, and check the "
    "log for a line that says it was loaded. If it is missing, the path is wrong or the file cannot be read.",
    "def area(width: float, height: float) -> float:\n    return width * height  # in square metres",
    "Les abeilles produisent du miel à partir du nectar des fleurs; die Bienen leben in einem Stock. 東京は遠い。",
    "Patients who received the higher dose recovered after a median of 6 days, compared with 9 days in the group that "
    "was given a placebo (hazard ratio 1.42, 95% confidence interval 1.10 to 1.83). Side effects were mild: headache "
    "in 12 of 240 patients, nausea in 9, and a rash in 3. No deaths were recorded in either group within 30 days, and "
    "none of the patients left the study because of one. The authors conclude that a larger trial is justified.",
)


@dataclass(frozen=True, slots=True)
class Choice:
    """How a model runs best on this kind of processor, and what it was judged by."""

    precision: Precision
    speedup: float | None = None  # of int8 over fp32
    cosine: float | None = None  # of int8 vectors to fp32 vectors, in the mean


def cache_folder() -> Path:
    """Where compiled models are kept: $FOOTNOTE_CACHE, or the user's cache folder."""
    if override := os.environ.get("FOOTNOTE_CACHE"):
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("footnote-rag", appauthor=False))


def checked_spec(folder: Path, name: str, expected_sha256: str | None) -> ModelSpec:
    """What a model folder says of itself, its weights compared with those expected.

    Hashing 90 MB at each start is saved by a note in the cache, valid while the file is the same.

    Raises:
        CannotCompileError: the weights are not there as safetensors, or the folder is not as expected.
        EncoderError: the weights are not the expected ones.
    """
    weights = _weights_file(folder)
    try:
        stat = weights.stat()
    except OSError as exc:
        raise CannotCompileError(f"{str(weights)!r} cannot be read ({exc.strerror})") from exc
    fingerprint = [str(weights), stat.st_size, stat.st_mtime_ns]
    note_file = cache_folder() / "weights.json"
    notes = _note(note_file)
    known = notes.get(str(weights))
    known_sha256 = known[1] if isinstance(known, list) and len(known) == 2 and known[0] == fingerprint else None
    try:
        spec = read_model_spec(folder, weights_sha256=known_sha256)
    except EncoderError as exc:
        raise CannotCompileError(str(exc)) from exc
    if not (spec.transformer / "tokenizer.json").exists():
        raise CannotCompileError(f"{str(spec.transformer)!r} holds no tokenizer.json")
    if expected_sha256 is not None and spec.weights_sha256 != expected_sha256:
        raise EncoderError(
            f"the weights of {name!r} in {str(folder)!r} are not the official ones (expected SHA-256 "
            f"{expected_sha256[:12]}…, found {spec.weights_sha256[:12]}…): reinstall the package, or name this folder "
            "as --encoder to use it as a model of its own"
        )
    if known_sha256 is None:
        _keep_note(note_file, {**notes, str(weights): [fingerprint, spec.weights_sha256]})
    return spec


def compiled_file(spec: ModelSpec, precision: Precision, adapter: Adapter | None = None) -> Path:
    """The compiled form of a model, made now where it is not there. Processes that make it at once do no harm.

    Args:
        spec: of the model.
        precision: of its matrix products.
        adapter: that changes its weights.

    Raises:
        CannotCompileError: `build_graph` does not know the model.
        EncoderError: the cache cannot be written.
    """
    file = _file(spec, f"{adapter.sha256[:16]}-{precision}.onnx" if adapter else f"{precision}.onnx")
    if not file.exists():
        _keep(file, build_graph(spec, precision, adapter))
    return file


def choice(
    spec: ModelSpec,
    encode: Callable[[bytes, tuple[str, ...]], NDArray[np.float32]],
    *,
    forced: Precision | None = None,
    preferred: Precision | None = None,
) -> Choice:
    """The precision that serves best here, found out once for each model and kind of processor, and then kept.

    Args:
        spec: of the model.
        encode: runs a serialised graph on texts.
        forced: this one, whatever was found out or would be.
        preferred: this one, if its vectors are near enough to those of fp32 on this processor.

    Raises:
        CannotCompileError: `build_graph` does not know the model.
    """
    wanted = forced or ("fp32" if preferred == "fp32" else None)
    note_file = _file(spec, f"{_processor()}.json")
    found = None
    with suppress(TypeError):
        found = Choice(**_note(note_file))
    if found is None or found.precision not in get_args(Precision):
        if wanted:
            return Choice(wanted)
        found = _compared(spec, encode)
        _keep_note(note_file, asdict(found))
    if preferred == "int8" and (found.cosine or 0) >= _LEAST_COSINE:
        wanted = wanted or "int8"
    return replace(found, precision=wanted or found.precision)


def _compared(spec: ModelSpec, encode: Callable[[bytes, tuple[str, ...]], NDArray[np.float32]]) -> Choice:
    """What is measured of int8 beside fp32, and which of them is better here; its compiled form is kept."""
    graphs = {precision: build_graph(spec, precision) for precision in get_args(Precision)}
    vectors, seconds = {}, dict.fromkeys(graphs, float("inf"))
    try:
        for _ in range(_ROUNDS):  # in turn, so that what else runs slows both
            for precision, graph in graphs.items():
                started = time.perf_counter()
                vectors[precision] = encode(graph, _SAMPLES)
                seconds[precision] = min(seconds[precision], time.perf_counter() - started)
    except EncoderError:  # not every processor has products of 8 bits
        found = Choice("fp32")
    else:
        speedup = seconds["fp32"] / seconds["int8"]
        cosine = float((vectors["fp32"] * vectors["int8"]).sum(axis=1).mean())
        gains = speedup >= _LEAST_GAIN and cosine >= _LEAST_COSINE
        found = Choice("int8" if gains else "fp32", round(speedup, 2), round(cosine, 4))
    file = _file(spec, f"{found.precision}.onnx")
    if not file.exists():
        _keep(file, graphs[found.precision])
    return found


def _weights_file(folder: Path) -> Path:
    older = folder / "0_Transformer" / "model.safetensors"
    return older if older.exists() else folder / "model.safetensors"


def _file(spec: ModelSpec, rest: str) -> Path:
    import onnxruntime

    release = ".".join(onnxruntime.__version__.split(".")[:2])
    return cache_folder() / f"{spec.space}-v{_GRAPH_VERSION}-ort{release}-{rest}"


@cache
def _processor() -> str:
    """A name for this kind of processor: a cache folder may be shared by several machines."""
    import hashlib
    import platform

    facts = [platform.machine()]
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").split("\n\n", 1)[0].splitlines()
        facts += [line for line in lines if line.startswith(("model name", "flags", "Features"))]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:12]


def _note(file: Path) -> dict[str, Any]:
    """What a note says; nothing where there is none, or it is broken."""
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _keep_note(file: Path, note: Mapping[str, Any]) -> None:
    with suppress(EncoderError):  # it only saves time
        _keep(file, json.dumps(note).encode())


def _keep(file: Path, data: bytes) -> None:
    """Put a file into the cache folder, which is made if it is not there."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, data)
    except OSError as exc:
        raise EncoderError(
            f"cannot write the compiled encoder to {str(file.parent)!r} ({exc.strerror}): "
            "make room or set FOOTNOTE_CACHE to a folder that can be written"
        ) from exc
