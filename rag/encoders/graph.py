"""Builds a sentence encoder as one ONNX graph from its own weights: token ids in, unit vectors out.

What runs fast on CPUs was measured operator by operator on onnxruntime 1.31 (docs/encoders.md): its fused layer
normalisation takes four times as long as the same written as mean, difference and `SimplifiedLayerNormalization`, and
its 8-bit matrix product of unsigned by signed numbers does four times the work of the 32-bit one in the same time.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from rag.encoders.adapters import Adapter
from rag.encoders.base import ModelSpec
from rag.errors import EncoderError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Precision = Literal["fp32", "int8"]
_LARGEST = 2_000_000_000  # bytes of weights: protobuf's files end at 2^31
# GELU is never below this. Added before rounding and taken off behind, it leaves all 8 bits to what is above.
_LEAST_OF_GELU = 0.17


class CannotCompileError(EncoderError):
    """The model has parts that `build_graph` does not know; sentence-transformers runs it instead."""


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where an architecture keeps what all of this family have."""

    prefix: str
    layer: str  # with {} for its number
    query: str
    key: str
    value: str
    attended: str
    attended_norm: str
    wide: str
    narrow: str
    norm: str


_BERT = _Layout(
    prefix="bert.",
    layer="encoder.layer.{}.",
    query="attention.self.query",
    key="attention.self.key",
    value="attention.self.value",
    attended="attention.output.dense",
    attended_norm="attention.output.LayerNorm",
    wide="intermediate.dense",
    narrow="output.dense",
    norm="output.LayerNorm",
)
_ROBERTA = _Layout("roberta.", *(getattr(_BERT, name) for name in list(_Layout.__slots__)[1:]))
_LAYOUTS = {
    "bert": _BERT,
    "roberta": _ROBERTA,
    "xlm-roberta": _ROBERTA,
    "camembert": _ROBERTA,
    "mpnet": _Layout(
        prefix="mpnet.",
        layer="encoder.layer.{}.",
        query="attention.attn.q",
        key="attention.attn.k",
        value="attention.attn.v",
        attended="attention.attn.o",
        attended_norm="attention.LayerNorm",
        wide="intermediate.dense",
        narrow="output.dense",
        norm="output.LayerNorm",
    ),
    "distilbert": _Layout(
        prefix="distilbert.",
        layer="transformer.layer.{}.",
        query="attention.q_lin",
        key="attention.k_lin",
        value="attention.v_lin",
        attended="attention.out_lin",
        attended_norm="sa_layer_norm",
        wide="ffn.lin1",
        narrow="ffn.lin2",
        norm="output_layer_norm",
    ),
}


class _Graph:
    """ONNX nodes and constants as they are added; every method returns the name of what it makes."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, value: Any) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def node(self, op: str, inputs: list[str], *, fused: bool = False, **attributes: Any) -> str:
        """One operator, of onnxruntime's own where `fused`; gives its output."""
        from onnx import helper

        name = f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, inputs, [name], domain="com.microsoft" if fused else "", **attributes))
        return name

    def named(self, op: str, inputs: list[str], output: str, **attributes: Any) -> None:
        from onnx import helper

        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))


def build_graph(spec: ModelSpec, precision: Precision = "fp32", adapter: Adapter | None = None) -> bytes:
    """The ONNX model, serialised: input_ids int32 (batch, length) → unit vectors float32 (batch, dim), and the
    last layer's `tokens` (batch, length, dim) for who asks for them.

    All tokens of a run count: there is no padding, so no mask. In 'int8' the batch is 1: matrix products round what
    they multiply to 8 bits by the range of the text, or of the token, and a text must not change with its neighbours.

    Args:
        spec: of a model of the BERT family (BERT, RoBERTa, XLM-R, CamemBERT, MPNet, DistilBERT).
        precision: of the matrix products.
        adapter: changes the weights.

    Raises:
        CannotCompileError: the architecture, pooling or activation is not one of those written here.
    """
    layout = _LAYOUTS.get(spec.architecture)
    if layout is None or spec.pooling not in {"mean", "cls"}:
        raise CannotCompileError(f"no compiled form for {spec.architecture!r} with {spec.pooling!r} pooling")
    config: dict[str, Any] = json.loads((spec.transformer / "config.json").read_text(encoding="utf-8"))
    activation = config.get("hidden_act", config.get("activation"))
    if activation != "gelu" or config.get("position_embedding_type", "absolute") != "absolute":
        raise CannotCompileError("no compiled form for this activation or these positions")

    from onnx import TensorProto, helper
    from safetensors.numpy import load_file

    weights = {
        key.removeprefix(layout.prefix): value.astype(np.float32)
        for key, value in load_file(spec.transformer / "model.safetensors").items()
        if value.dtype.kind == "f"
    }
    if adapter:
        weights = adapter.applied(weights)
    try:
        builder = _Builder(weights, config, layout, precision, first_position=spec.first_position)
        builder.encoder(spec.pooling)
    except KeyError as exc:
        raise CannotCompileError(f"the weights lack {exc}") from exc
    if sum(len(constant.raw_data) for constant in builder.graph.constants) > _LARGEST:
        raise CannotCompileError("the weights are more than one ONNX file holds, 2 GB")
    batch = "batch" if precision == "fp32" else 1
    graph = helper.make_graph(
        builder.graph.nodes,
        "sentence-encoder",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT32, [batch, "length"])],
        [
            helper.make_tensor_value_info("vectors", TensorProto.FLOAT, [batch, builder.dim]),
            helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [batch, "length", builder.dim]),
        ],
        builder.graph.constants,
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, producer_name="footnote-rag", ir_version=8)
    return bytes(model.SerializeToString())


class _Builder:
    """Writes the layers of one model."""

    def __init__(
        self,
        weights: dict[str, NDArray[np.float32]],
        config: dict[str, Any],
        layout: _Layout,
        precision: Precision,
        *,
        first_position: int,
    ) -> None:
        self.graph = _Graph()
        self._weights = weights
        self._layout = layout
        self._is_int8 = precision == "int8"
        self._first_position = first_position
        self._heads = int(config.get("num_attention_heads", config.get("n_heads", 0)))
        self._layers = int(config.get("num_hidden_layers", config.get("n_layers", 0)))
        self._epsilon = float(config.get("layer_norm_eps", 1e-12))
        self._last_axis = self.graph.constant(np.array([2], dtype=np.int64))
        self._first_axis = self.graph.constant(np.array([0], dtype=np.int64))
        self.dim = weights["embeddings.word_embeddings.weight"].shape[1]

    def encoder(self, pooling: str) -> None:
        """Everything from `input_ids` to `vectors` and `tokens`."""
        graph, layout = self.graph, self._layout
        x, bias = self._embedded()
        for number in range(self._layers):
            layer = layout.layer.format(number)
            attended = self._attention(x, layer, bias)
            x = self._norm([attended, x], layer + layout.attended_norm)
            wide = graph.node("Gelu", [self._product(x, layer + layout.wide, by="token")], fused=True)
            x = self._norm([self._product(wide, layer + layout.narrow, by="shifted token"), x], layer + layout.norm)
        graph.named("Identity", [x], "tokens")
        if pooling == "mean":
            axes = graph.constant(np.array([1], dtype=np.int64))
            pooled = graph.node("ReduceMean", ["tokens", axes], keepdims=0)
        else:
            pooled = graph.node("Gather", ["tokens", graph.constant(np.array(0, dtype=np.int64))], axis=1)
        graph.named("LpNormalization", [pooled], "vectors", axis=1, p=2)

    def _embedded(self) -> tuple[str, str]:
        """The first layer's input, and the bias of its attention where the model has one ('' otherwise)."""
        graph, weights = self.graph, self._weights
        words = weights["embeddings.word_embeddings.weight"]
        positions = weights["embeddings.position_embeddings.weight"][self._first_position :]
        if (types := weights.get("embeddings.token_type_embeddings.weight")) is not None:
            positions = positions + types[0]  # type 0 throughout: its one row is added to every position once, here
        shape = graph.node("Shape", ["input_ids"])
        length = graph.node("Slice", [shape, *(graph.constant(np.array([i], dtype=np.int64)) for i in (1, 2))])
        if self._is_int8:
            # Half the file and the memory; 16 bits hold the table as well as 8 bits hold what is made of it.
            found = graph.node("Gather", [graph.constant(words.astype(np.float16)), "input_ids"])
            found = graph.node("Cast", [found], to=1)
        else:
            found = graph.node("Gather", [graph.constant(words), "input_ids"])
        here = graph.node("Slice", [graph.constant(positions), self._first_axis, length, self._first_axis])
        x = self._norm([found, here], "embeddings.LayerNorm")
        table = weights.get("encoder.relative_attention_bias.weight")
        if table is None:
            return x, ""
        distances = _distance_buckets(len(positions), n_buckets=len(table))
        bias = graph.constant(table[distances].transpose(2, 0, 1)[None])
        axes = graph.constant(np.array([2, 3], dtype=np.int64))
        starts = graph.constant(np.array([0, 0], dtype=np.int64))
        ends = graph.node("Concat", [length, length], axis=0)
        return x, graph.node("Slice", [bias, starts, ends, axes])

    def _attention(self, x: str, layer: str, bias: str) -> str:
        layout = self._layout
        sides = [self._product(x, layer + name, by="text") for name in (layout.query, layout.key, layout.value)]
        inputs = [*sides, "", "", bias] if bias else sides
        mixed = self.graph.node("MultiHeadAttention", inputs, fused=True, num_heads=self._heads)
        return self._product(mixed, layer + layout.attended, by="text")

    def _norm(self, terms: list[str], key: str) -> str:
        """Layer normalisation of the sum of two."""
        graph = self.graph
        total = graph.node("Add", terms)
        centred = graph.node("Sub", [total, graph.node("ReduceMean", [total, self._last_axis], keepdims=1)])
        scale, shift = (graph.constant(self._weights[f"{key}.{part}"]) for part in ("weight", "bias"))
        scaled = graph.node("SimplifiedLayerNormalization", [centred, scale], axis=-1, epsilon=self._epsilon)
        return graph.node("Add", [scaled, shift])

    def _product(self, x: str, key: str, *, by: str) -> str:
        """x times a matrix, plus its bias. In 8 bits, x is rounded by the range of the 'text' or of each 'token'.

        Where activations have outliers, one range for all tokens costs the most: behind GELU and before it. Before
        attention, the range of a text, which need not be symmetric, was the better one (measured, docs/encoders.md).
        """
        graph = self.graph
        matrix, bias = self._weights[f"{key}.weight"].T, self._weights[f"{key}.bias"]
        if not self._is_int8:
            return graph.node("Add", [graph.node("MatMul", [x, graph.constant(matrix)]), graph.constant(bias)])
        scales = np.maximum(np.abs(matrix).max(axis=0), np.finfo(np.float32).tiny) / 127
        rounded = np.rint(matrix / scales).astype(np.int8)
        columns = graph.constant(scales.astype(np.float32))
        if by == "text":
            inputs = [x, graph.constant(rounded), columns, "", graph.constant(bias)]
            return graph.node("DynamicQuantizeMatMul", inputs, fused=True)
        if by == "token":
            size = graph.node("ReduceMax", [graph.node("Abs", [x]), self._last_axis], keepdims=1)
            steps, zero = 127.0, 128
        else:
            x = graph.node("Add", [x, graph.constant(np.float32(_LEAST_OF_GELU))])
            size = graph.node("ReduceMax", [x, self._last_axis], keepdims=1)
            steps, zero = 255.0, 0
            bias = bias - _LEAST_OF_GELU * (rounded * scales).sum(axis=0)
        scale = graph.node("Mul", [size, graph.constant(np.float32(1 / steps))])
        whole = graph.node(
            "QuantizeLinear",
            [graph.node("Div", [x, scale]), graph.constant(np.float32(1)), graph.constant(np.uint8(zero))],
        )
        product = graph.node(
            "MatMulIntegerToFloat",
            [whole, graph.constant(rounded), graph.constant(np.float32(1)), columns, graph.constant(np.uint8(zero))],
            fused=True,
        )
        scaled = graph.node("Mul", [product, scale])
        return graph.node("Add", [scaled, graph.constant(bias.astype(np.float32))])


def _distance_buckets(length: int, *, n_buckets: int, furthest: int = 128) -> NDArray[np.int64]:
    """The bucket of each distance between two positions, (length, length), as MPNet and T5 count them.

    Near ones have a bucket each, those further off share theirs logarithmically (Raffel et al. 2020, section 2.1).
    """
    positions = np.arange(length)
    distance = positions[None, :] - positions[:, None]
    half = n_buckets // 2
    exact = half // 2
    size = np.abs(distance)
    far = exact + (
        np.log(np.maximum(size, 1).astype(np.float32) / exact) / np.log(np.float32(furthest / exact)) * (half - exact)
    ).astype(np.int64)
    within = np.where(size < exact, size, np.minimum(far, half - 1))
    return np.asarray(within + np.where(distance > 0, half, 0))
