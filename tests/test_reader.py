"""The reader gets question and passage as it was trained on them, and says of each sentence what its model computes."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from rag.encoders import bundled_model
from rag.encoders.adapters import Adapter
from rag.encoders.base import DEFAULT_WEIGHTS_SHA256, ModelSpec, read_model_spec
from rag.encoders.graph import build_graph
from rag.encoders.running import Runner, opened, read_tokenizer
from rag.errors import EncoderError
from rag.reader import MOST_QUESTION_TOKENS, MOST_TOKENS, CompiledReader, pairs_of
from rag.sentences import sentence_spans
from rag.types import Chunk

WORD2VEC = (
    "Tomas Mikolov and his colleagues at Google published word2vec in January 2013. It learns vectors of words from "
    "their neighbours. Training takes a day on one machine."
)


@pytest.fixture(scope="module")
def spec() -> ModelSpec:
    folder = bundled_model()
    assert folder is not None
    return read_model_spec(folder, weights_sha256=DEFAULT_WEIGHTS_SHA256)


@pytest.fixture(scope="module")
def tokenizer(spec: ModelSpec) -> Any:
    return read_tokenizer(spec)


def passage(text: str, *, context: str = "") -> Chunk:
    return Chunk("a.txt", text, 7, 7 + len(text), context=context)


def adapter_file(folder: Path, seed: int = 0, **changes: Any) -> Path:
    """Random changes to one matrix, one bias and the heads."""
    rng = np.random.default_rng(seed)
    key = "encoder.layer.2.attention.self.query.weight"
    tensors = {
        f"{key}.a": rng.normal(size=(4, 384)).astype(np.float16),
        f"{key}.b": rng.normal(size=(384, 4)).astype(np.float16),
        "encoder.layer.5.output.dense.bias": rng.normal(size=384).astype(np.float16),
        "heads.weight": rng.normal(size=(3, 384)).astype(np.float16),
        "heads.bias": rng.normal(size=3).astype(np.float16),
        **changes,
    }
    file = folder / "adapter.safetensors"
    save_file({name: value for name, value in tensors.items() if value is not None}, file, {"base": "b" * 64})
    return file


@given(
    question=st.text(max_size=400),
    words=st.lists(
        st.sampled_from(["goose", "flies.", "unbelievable", "Élan", "日本", "2013", "\n\n", "?!", "a"]), max_size=500
    ),
    context=st.sampled_from(["", "A title > Its heading", "word " * 300]),
)
@settings(max_examples=40, deadline=None)
def test_every_sentence_is_read_once_in_parts_that_the_model_takes(
    tokenizer: Any, question: str, words: list[str], context: str
) -> None:
    text = " ".join(words).strip()
    spans = sentence_spans(text)
    asked = tokenizer.encode(question.encode("utf-8", "replace").decode()).ids
    found = list(pairs_of(tokenizer, question, passage(text, context=context.strip()), spans))
    assert [i for part, _ in found for i in part] == list(range(len(spans)))
    for part, pair in found:
        assert len(pair.token_ids) == len(pair.offsets) <= MOST_TOKENS
        assert pair.token_ids[: 1 + min(len(asked) - 2, MOST_QUESTION_TOKENS)] == asked[:-1][: 1 + MOST_QUESTION_TOKENS]
        for i, (first, last) in zip(part, pair.sentences, strict=True):
            inside = [t for t in tokenizer.encode(text).offsets if spans[i][0] <= t[0] < t[1] <= spans[i][1]]
            assert bool(last) == bool(inside)
            if last:
                start, end = spans[i]
                assert start <= pair.offsets[first, 0] < pair.offsets[last - 1, 1] <= end
                assert (pair.offsets[first:last] >= 0).all()


def test_a_passage_that_fits_is_read_whole_under_its_headings(tokenizer: Any) -> None:
    spans = sentence_spans(WORD2VEC)
    [(part, pair)] = pairs_of(tokenizer, "Who published it?", passage(WORD2VEC, context="Words > Vectors"), spans)
    assert part == range(3)
    whole = tokenizer.encode("Who published it?", f"Words > Vectors\n{WORD2VEC}").ids
    assert pair.token_ids == whole
    texts = [WORD2VEC[pair.offsets[a, 0] : pair.offsets[b - 1, 1]] for a, b in pair.sentences]
    assert texts == [WORD2VEC[start:end] for start, end in spans]


def test_an_adapter_adds_a_product_to_a_matrix_and_puts_a_vector_in_the_place_of_another(tmp_path: Path) -> None:
    file = adapter_file(tmp_path)
    adapter = Adapter.read(file)
    assert adapter.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    assert adapter.base_sha256 == "b" * 64
    assert adapter.heads["weight"].shape == (3, 384)
    key, bias = "encoder.layer.2.attention.self.query.weight", "encoder.layer.5.output.dense.bias"
    weights = {key: np.ones((384, 384), np.float32), bias: np.zeros(384, np.float32), "other": np.ones(2, np.float32)}
    changed = adapter.applied(weights)
    rng = np.random.default_rng(0)
    a, b, c = (rng.normal(size=shape).astype(np.float16).astype(np.float32) for shape in ((4, 384), (384, 4), 384))
    np.testing.assert_allclose(changed[key], 1 + b @ a, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(changed[bias], c)
    np.testing.assert_array_equal(changed["other"], weights["other"])
    assert (weights[key] == 1).all()  # what was given is as it was


@pytest.mark.parametrize(
    "changes",
    [{"encoder.layer.5.output.dense.bias": np.zeros(5, np.float16)}, {"encoder.layer.9.bias": np.zeros(5, np.float16)}],
    ids=["shape", "name"],
)
def test_an_adapter_of_another_model_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    key = "encoder.layer.2.attention.self.query.weight"
    weights = {key: np.ones((384, 384), np.float32), "encoder.layer.5.output.dense.bias": np.zeros(384, np.float32)}
    with pytest.raises(EncoderError, match="is not of this model"):
        Adapter.read(adapter_file(tmp_path, **changes)).applied(weights)


def test_a_missing_or_broken_adapter_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken").write_bytes(b"\xff" * 100)
    for name in ("none", "broken"):
        with pytest.raises(EncoderError, match="install the package again"):
            Adapter.read(tmp_path / name)


@pytest.mark.slow
def test_the_compiled_reader_computes_what_the_changed_model_does_in_torch(
    spec: ModelSpec, tokenizer: Any, tmp_path: Path
) -> None:
    import torch
    from transformers import AutoModel

    adapter = Adapter.read(adapter_file(tmp_path))
    reader = CompiledReader(
        spec, Runner(opened(build_graph(spec, "fp32", adapter)), name="r", precision="fp32"), adapter
    )
    spans = sentence_spans(WORD2VEC)
    [read] = reader.read("Who published word2vec?", [passage(WORD2VEC)], [spans])

    model = AutoModel.from_pretrained(spec.folder, add_pooling_layer=False)
    weights = {name: value.numpy() for name, value in model.state_dict().items()}
    model.load_state_dict({name: torch.from_numpy(value) for name, value in adapter.applied(weights).items()})
    [(_, pair)] = pairs_of(tokenizer, "Who published word2vec?", passage(WORD2VEC), spans)
    with torch.no_grad():
        hidden = model(input_ids=torch.tensor([pair.token_ids])).last_hidden_state[0].numpy()
    logits = hidden @ adapter.heads["weight"].T + adapter.heads["bias"]
    for said, (first, last), (start, end) in zip(read, pair.sentences, spans, strict=True):
        assert said.odds == pytest.approx(logits[first:last, 0].mean(), abs=1e-3)
        best = max(
            (logits[i, 1] + logits[j, 2], i, j) for i in range(first, last) for j in range(i, min(i + 24, last))
        )  # fmt: skip
        assert said.short_odds == pytest.approx(best[0], abs=1e-3)
        assert said.short == (pair.offsets[best[1], 0], pair.offsets[best[2], 1])
        assert start <= said.short[0] < said.short[1] <= end


@pytest.mark.slow
def test_what_is_said_of_a_passage_does_not_depend_on_those_beside_it() -> None:
    reader = CompiledReader.load()
    passages = [passage(WORD2VEC), passage("The goose flies to Egypt in autumn."), passage("Foxes. " * 300)]
    spans = [sentence_spans(p.text) for p in passages]
    together = reader.read("When was word2vec published?", passages, spans)
    for p, of_passage, own in zip(passages, spans, together, strict=True):
        [alone] = reader.read("When was word2vec published?", [p], [of_passage])
        assert [s.short for s in alone] == [s.short for s in own]
        np.testing.assert_allclose([s.odds for s in alone], [s.odds for s in own], atol=1e-4)
    assert reader.read("When?", [], []) == []
