"""A BERT sentence encoder as one fused ONNX graph behind the `Encoder` protocol, run by onnxruntime without torch.

The graph is built once from the model's own safetensors (`build_graph`), kept in the user's cache folder under the
weights' hash, and used from then on. It takes token ids and gives unit vectors: pooling and normalisation are inside.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rag.encoders.base import ModelSpec, TokenVectors, encodable, read_model_spec
from rag.errors import EncoderError
from rag.files import write_whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GRAPH_VERSION = 2  # raise it when build_graph changes: the cached files of older versions are then left alone
_TOKENS_PER_RUN = 512  # texts of one length are run together up to this many tokens; more gains nothing on CPUs


class CannotCompileError(EncoderError):
    """The model has parts that `build_graph` does not know; sentence-transformers runs it instead."""


class CompiledEncoder:
    """Unit vectors from a compiled graph. A text's vector never depends on the texts beside it: no run is padded."""

    form = "onnx-fp32"

    def __init__(self, spec: ModelSpec, model_file: Path, *, name: str, threads: int | None = None) -> None:
        import onnxruntime
        from tokenizers import Tokenizer, normalizers

        self.name = name
        self.space = spec.space
        self.max_tokens = spec.max_tokens
        self._prompts = (spec.query_prompt, spec.document_prompt)
        self._threads = threads or available_cores()
        self._pool: ThreadPoolExecutor | None = None
        try:
            # The file as it stands truncates and pads to 128: both are set here, not inherited.
            self._tokenizer = Tokenizer.from_file(str(spec.folder / "tokenizer.json"))
            self._tokenizer.no_padding()
            self._tokenizer.no_truncation()
            if spec.lower_case:
                own = self._tokenizer.normalizer
                self._tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *([own] if own else [])])
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = 1  # a run stays on the thread that calls it: cores are used by our pool
            options.inter_op_num_threads = 1
            options.log_severity_level = 3
            self._session = onnxruntime.InferenceSession(str(model_file), options, providers=["CPUExecutionProvider"])
        except Exception as exc:  # both libraries raise bare Exception subclasses of their own
            raise EncoderError(
                f"cannot open the compiled encoder {str(model_file)!r}: {exc}; delete that file, it is made again"
            ) from exc
        self.dim = int(self._session.get_outputs()[0].shape[1])

    @classmethod
    def load(cls, folder: Path, *, name: str, expected_sha256: str | None = None) -> CompiledEncoder:
        """Open the compiled form of the model in `folder`, making it first if it is not in the cache.

        Raises:
            CannotCompileError: the model is not BERT with mean or CLS pooling.
            EncoderError: the weights are not the expected ones, or the files are unreadable.
        """
        spec = _checked_spec(folder, name, expected_sha256)
        return cls(spec, _compiled_file(spec), name=name)

    def encode_queries(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode([self._prompts[0] + text for text in texts])

    def encode_documents(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return self._encode([self._prompts[1] + text for text in texts])

    def count_tokens(self, text: str) -> int:
        return len(self._tokenizer.encode(encodable(self._prompts[1] + text)).ids)

    def _encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.zeros((len(texts), self.dim), dtype=np.float32)
        encodings = self._tokenizer.encode_batch_fast([encodable(text) for text in texts])
        runs = self._plan([self._cut(encoding.ids) for encoding in encodings])

        def run(rows: list[int], ids: NDArray[np.int32]) -> None:
            vectors[rows] = self._session.run(["vectors"], {"input_ids": ids})[0]

        self._run_all(run, runs)
        return vectors

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """The tokens of each text, as far as `max_tokens`, without the special tokens; no prompt is put before it."""
        encodings = self._tokenizer.encode_batch([encodable(text) for text in texts])
        found: dict[int, TokenVectors] = {}

        def run(rows: list[int], ids: NDArray[np.int32]) -> None:
            for row, tokens in zip(rows, self._session.run(["tokens"], {"input_ids": ids})[0], strict=True):
                spans = np.array(encodings[row].offsets[1 : len(tokens) - 1], dtype=np.int64)
                found[row] = TokenVectors(tokens[1:-1], spans.reshape(-1, 2))

        self._run_all(run, self._plan([self._cut(encoding.ids) for encoding in encodings]))
        return [found[row] for row in range(len(texts))]

    def _run_all(
        self, run: Callable[[list[int], NDArray[np.int32]], None], runs: list[tuple[list[int], NDArray[np.int32]]]
    ) -> None:
        """Each run on a core of its own; a single one on the caller's thread."""
        try:
            if len(runs) == 1 or self._threads == 1:
                for rows, ids in runs:
                    run(rows, ids)
            else:
                for done in [self._workers().submit(run, rows, ids) for rows, ids in runs]:
                    done.result()
        except Exception as exc:  # onnxruntime raises bare Exception subclasses of its own
            raise EncoderError(f"the encoder {self.name!r} failed: {exc}") from exc

    def _cut(self, ids: list[int]) -> list[int]:
        """At most `max_tokens`; the last token, [SEP], is kept, as the tokenizer's own truncation does."""
        return ids if len(ids) <= self.max_tokens else [*ids[: self.max_tokens - 1], ids[-1]]

    def _plan(self, token_ids: list[list[int]]) -> list[tuple[list[int], NDArray[np.int32]]]:
        """Group rows of equal length, so that nothing is padded; the longest first, so that cores end together."""
        order = sorted(range(len(token_ids)), key=lambda row: -len(token_ids[row]))
        runs: list[tuple[list[int], NDArray[np.int32]]] = []
        group: list[int] = []
        for row in [*order, None]:
            length = len(token_ids[group[0]]) if group else 0
            if group and (row is None or len(token_ids[row]) != length or (len(group) + 1) * length > _TOKENS_PER_RUN):
                runs.append((group, np.array([token_ids[r] for r in group], dtype=np.int32)))
                group = []
            if row is not None:
                group.append(row)
        return runs

    def _workers(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="encoder")
        return self._pool


def available_cores() -> int:
    """The cores this process may use, at least 1."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0)) or 1
    return os.cpu_count() or 1


def _checked_spec(folder: Path, name: str, expected_sha256: str | None) -> ModelSpec:
    """The spec; hashing 90 MB at each start is saved by a note in the cache, valid while the file is the same."""
    weights = folder / "model.safetensors"
    try:
        stat = weights.stat()
    except OSError as exc:
        raise CannotCompileError(f"{str(weights)!r} cannot be read ({exc.strerror})") from exc
    fingerprint = [str(weights), stat.st_size, stat.st_mtime_ns]
    note_file = cache_folder() / "weights.json"
    try:
        notes = json.loads(note_file.read_text(encoding="utf-8"))
        known = notes.get(str(weights), [None, None])
        known_sha256 = known[1] if known[0] == fingerprint else None
    except (OSError, ValueError, AttributeError, TypeError, IndexError):
        notes, known_sha256 = {}, None
    spec = read_model_spec(folder, weights_sha256=known_sha256)
    if expected_sha256 is not None and spec.weights_sha256 != expected_sha256:
        raise EncoderError(
            f"the weights of {name!r} in {str(folder)!r} are not the official ones (expected SHA-256 "
            f"{expected_sha256[:12]}…, found {spec.weights_sha256[:12]}…): reinstall the package, or name this folder "
            "as --encoder to use it as a model of its own"
        )
    if known_sha256 is None:
        with suppress(EncoderError):  # no more than a note: a compiled file may be there all the same
            _keep(note_file, json.dumps({**notes, str(weights): [fingerprint, spec.weights_sha256]}).encode())
    return spec


def cache_folder() -> Path:
    """Where compiled models are kept: $FOOTNOTE_CACHE, or the user's cache folder."""
    if override := os.environ.get("FOOTNOTE_CACHE"):
        return Path(override)
    import platformdirs

    return Path(platformdirs.user_cache_dir("footnote-rag", appauthor=False))


def _compiled_file(spec: ModelSpec) -> Path:
    import onnxruntime

    release = ".".join(onnxruntime.__version__.split(".")[:2])
    file = cache_folder() / f"{spec.space}-v{_GRAPH_VERSION}-ort{release}.onnx"
    if not file.exists():
        _keep(file, build_graph(spec))
    return file


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


def build_graph(spec: ModelSpec) -> bytes:
    """The ONNX model, serialised: input_ids int32 (batch, length) → unit vectors float32 (batch, dim), and the
    last layer's `tokens` (batch, length, dim) for who asks for them.

    Uses onnxruntime's fused operators (com.microsoft: EmbedLayerNormalization, Attention, SkipLayerNormalization,
    BiasGelu). All tokens of a run count: there is no padding, so no mask.

    Raises:
        CannotCompileError: the architecture, pooling or activation is not one of those written here.
    """
    if spec.architecture != "bert" or spec.pooling not in {"mean", "cls"}:
        raise CannotCompileError(f"no compiled form for {spec.architecture!r} with {spec.pooling!r} pooling")
    config: dict[str, Any] = json.loads((spec.folder / "config.json").read_text(encoding="utf-8"))
    if config.get("hidden_act") != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise CannotCompileError("no compiled form for this activation or these positions")

    from onnx import TensorProto, helper, numpy_helper
    from safetensors.numpy import load_file

    weights = {key.removeprefix("bert."): value for key, value in load_file(spec.folder / "model.safetensors").items()}
    epsilon, heads = float(config["layer_norm_eps"]), int(config["num_attention_heads"])
    nodes, initializers = [], []

    def constant(name: str, value: NDArray[Any]) -> str:
        array = value if value.dtype.kind == "i" else value.astype(np.float32)
        # Not ascontiguousarray, which gives a scalar a dimension.
        initializers.append(numpy_helper.from_array(np.asarray(array, order="C"), name))
        return name

    def node(op: str, inputs: list[str], output: str, *, fused: bool = True, **attributes: Any) -> str:
        domain = "com.microsoft" if fused else ""
        nodes.append(helper.make_node(op, inputs, [output], name=output, domain=domain, **attributes))
        return output

    def linear(key: str) -> tuple[str, str]:
        return constant(f"{key}.w", weights[f"{key}.weight"].T), constant(f"{key}.b", weights[f"{key}.bias"])

    def norm(key: str) -> list[str]:
        return [constant(f"{key}.{part}", weights[f"{key}.{part}"]) for part in ("weight", "bias")]

    try:
        embeddings = "embeddings."
        # Token type 0 throughout: its one row is added to every position once, here.
        positions = (
            weights[embeddings + "position_embeddings.weight"] + weights[embeddings + "token_type_embeddings.weight"][0]
        )
        words = constant("words", weights[embeddings + "word_embeddings.weight"])
        nodes.append(
            helper.make_node(
                "EmbedLayerNormalization",
                ["input_ids", "", words, constant("positions", positions), "", *norm(embeddings + "LayerNorm")],
                ["embedded", "unused_mask"],
                domain="com.microsoft",
                epsilon=epsilon,
            )
        )
        x = "embedded"
        for layer in range(int(config["num_hidden_layers"])):
            key = f"encoder.layer.{layer}."
            parts = [f"{key}attention.self.{part}" for part in ("query", "key", "value")]
            qkv = constant(f"{key}qkv.w", np.concatenate([weights[f"{p}.weight"].T for p in parts], axis=1))
            qkv_bias = constant(f"{key}qkv.b", np.concatenate([weights[f"{p}.bias"] for p in parts]))
            attended = node("Attention", [x, qkv, qkv_bias], f"{key}attended", num_heads=heads)
            w, b = linear(f"{key}attention.output.dense")
            projected = node("MatMul", [attended, w], f"{key}projected", fused=False)
            x = node(
                "SkipLayerNormalization",
                [projected, x, *norm(f"{key}attention.output.LayerNorm"), b],
                f"{key}normed",
                epsilon=epsilon,
            )
            w, b = linear(f"{key}intermediate.dense")
            wide = node("BiasGelu", [node("MatMul", [x, w], f"{key}wide", fused=False), b], f"{key}activated")
            w, b = linear(f"{key}output.dense")
            narrow = node("MatMul", [wide, w], f"{key}narrow", fused=False)
            x = node(
                "SkipLayerNormalization", [narrow, x, *norm(f"{key}output.LayerNorm"), b], f"{key}out", epsilon=epsilon
            )
    except KeyError as exc:
        raise CannotCompileError(f"the weights lack {exc}") from exc

    x = node("Identity", [x], "tokens", fused=False)
    if spec.pooling == "mean":
        axes = constant("length_axis", np.array([1], dtype=np.int64))
        pooled = node("ReduceMean", [x, axes], "pooled", fused=False, keepdims=0)
    else:
        first = constant("first", np.array(0, dtype=np.int64))
        pooled = node("Gather", [x, first], "pooled", fused=False, axis=1)
    node("LpNormalization", [pooled], "vectors", fused=False, axis=1, p=2)

    dim = int(config["hidden_size"])
    graph = helper.make_graph(
        nodes,
        "sentence-encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, ["batch", "length"])],
        [
            helper.make_tensor_value_info("vectors", TensorProto.FLOAT, ["batch", dim]),
            helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["batch", "length", dim]),
        ],
        initializers,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="footnote-rag", ir_version=8)
    return bytes(model.SerializeToString())
