"""One contract for every reranker; the cross-encoder against transformers alone; deadlines by a clock made here."""

from __future__ import annotations

import json
import math
import re
import time
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from rag.encoders import DEFAULT_ENCODER
from rag.errors import RerankerError, UsageError
from rag.reranker import CrossEncoderReranker, Reranker, load_reranker
from tests.test_architecture import HEAVY, loaded_after
from tests.test_encoders import make_model

QUERY = "who makes honey"
PASSAGES = ["bees make honey", "cows give milk", "a", "many words " * 40, "honey", "apples grow on trees", "who"]
WILD = ["", " ", "東京は遠い。", "😀 \x00 \ud800", "[SEP] [CLS]", "x" * 3000]


class WordsReranker:
    """The share of the query's words that a passage holds, one passage at a time."""

    name = "words"

    def scores(self, query: str, passages: Sequence[str], *, deadline: float = math.inf) -> list[float]:
        asked = set(query.split())
        scores: list[float] = []
        for passage in passages:
            if scores and time.monotonic() > deadline:
                break
            scores.append(len(asked & set(passage.split())) / max(1, len(asked)))
        return scores


@pytest.fixture(scope="module")
def torch_is_there() -> None:
    """Imported once, as it takes seconds; what it warns of while it is imported is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import sentence_transformers  # noqa: F401
        import torch

        torch.set_num_threads(1)  # its threads and those of other tests would wait for each other


def make_reranker(folder: Path, *, n_labels: int = 1, bias: float = 0.0, half: bool = False) -> Path:
    """A cross-encoder of 2 layers and 32 dimensions with random weights, as its authors would publish it."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    make_model(folder)  # for its tokenizer
    for file in ("modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"):
        (folder / file).unlink()
    config = BertConfig.from_pretrained(folder, num_labels=n_labels)
    config.sbert_ce_default_activation_function = "torch.nn.modules.linear.Identity"  # as those of MS MARCO have it
    torch.manual_seed(1)
    model: Any = BertForSequenceClassification(config)
    model.classifier.bias.data += bias
    (model.half() if half else model).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, torch_is_there: None) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return make_reranker(tmp_path_factory.mktemp("reranker") / "model")


@pytest.fixture
def place(tmp_path: Path, torch_is_there: None) -> Iterator[Path]:
    """Where to make a model of another kind."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield tmp_path / "model"


def loaded(folder: Path, **options: Any) -> CrossEncoderReranker:
    return CrossEncoderReranker(str(folder), device="cpu", **options)


@pytest.fixture(params=["words", pytest.param("cross-encoder", marks=pytest.mark.slow)])
def any_reranker(request: pytest.FixtureRequest) -> Reranker:
    if request.param == "words":
        return WordsReranker()
    return load_reranker(str(request.getfixturevalue("small")), device="cpu")


# --- the contract


def test_each_passage_has_its_score_in_order(any_reranker: Reranker) -> None:
    scores = any_reranker.scores(QUERY, PASSAGES)
    assert len(scores) == len(PASSAGES)
    assert all(type(score) is float and 0 <= score <= 1 for score in scores)
    assert max(scores) - min(scores) > 0.01  # else what follows would show nothing
    assert any_reranker.scores(QUERY, PASSAGES[::-1])[::-1] == pytest.approx(scores, abs=1e-4)
    assert any_reranker.scores(QUERY, []) == []


def test_alone_or_beside_others_a_passage_has_one_score(any_reranker: Reranker) -> None:
    together = any_reranker.scores(QUERY, [*PASSAGES, *WILD])
    alone = [any_reranker.scores(QUERY, [passage])[0] for passage in [*PASSAGES, *WILD]]
    assert together == pytest.approx(alone, abs=1e-4)


def test_the_score_is_that_of_the_query(any_reranker: Reranker) -> None:
    assert any_reranker.scores(QUERY, PASSAGES) != pytest.approx(any_reranker.scores("milk", PASSAGES), abs=1e-2)
    for query in WILD:
        assert all(0 <= score <= 1 for score in any_reranker.scores(query, ["honey", ""]))


def test_behind_the_deadline_the_best_passages_are_scored_and_the_others_left(any_reranker: Reranker) -> None:
    passages = PASSAGES * 20
    whole = any_reranker.scores(QUERY, passages, deadline=time.monotonic() + 3600)
    part = any_reranker.scores(QUERY, passages, deadline=time.monotonic() - 1)
    assert len(whole) == len(passages)
    assert 1 <= len(part) < len(passages)
    assert part == pytest.approx(whole[: len(part)], abs=1e-4)
    assert any_reranker.scores(QUERY, [], deadline=time.monotonic() - 1) == []


def test_a_reranker_has_a_name(any_reranker: Reranker) -> None:
    assert isinstance(any_reranker.name, str)
    assert any_reranker.name


# --- the cross-encoder


@pytest.mark.slow
def test_the_scores_are_those_of_transformers_and_a_sigmoid(small: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(small)
    model: Any = AutoModelForSequenceClassification.from_pretrained(small)
    expected = []
    with torch.no_grad():
        for passage in PASSAGES:  # one by one: nothing is padded
            tokens = tokenizer(QUERY, passage, truncation=True, max_length=64, return_tensors="pt")
            expected.append(1 / (1 + math.exp(-model(**tokens).logits.item())))
    assert loaded(small).scores(QUERY, PASSAGES) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
def test_the_size_of_a_batch_does_not_move_a_score(small: Path) -> None:
    one, *others = (loaded(small, batch_size=size).scores(QUERY, PASSAGES) for size in (1, 3, 7, 100))
    assert all(other == pytest.approx(one, abs=1e-4) for other in others)
    with pytest.raises(UsageError, match="expected a batch size of 1 or more, got 0"):
        loaded(small, batch_size=0)


@pytest.mark.slow
def test_passages_are_read_in_order_in_batches(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reranker = loaded(small, batch_size=3)
    read: list[list[tuple[str, str]]] = []
    predict = reranker._model.predict

    def note(pairs: list[tuple[str, str]], **options: Any) -> Any:
        read.append(pairs)
        return predict(pairs, **options)

    monkeypatch.setattr(reranker._model, "predict", note)
    reranker.scores(QUERY, PASSAGES)
    assert [[passage for _, passage in batch] for batch in read] == [PASSAGES[:3], PASSAGES[3:6], PASSAGES[6:]]
    assert {query for batch in read for query, _ in batch} == {QUERY}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("paces", "deadline", "n_scores"),
    [
        ([1, 1, 1, 1], 50, 2),  # long past: exactly the first batch
        ([1, 1, 1, 1], 101, 2),  # past while the first is read
        ([1, 1, 1, 1], 103.9, 2),  # the second would end at 104
        ([1, 1, 1, 1], 104, 4),
        ([1, 1, 1, 1], 106.9, 6),  # the last, of a single passage, would end at 107
        ([1, 1, 1, 1], 107, 7),
        ([1, 1, 1, 1], math.inf, 7),
        ([2, 0.5, 0.5, 0.5], 108.5, 4),  # at the pace of the slowest, the third would end at 109
        ([0.5, 2, 0.5, 0.5], 108.5, 4),
        ([0.5, 0.5, 3, 0.5], 103, 6),  # a batch under way is read to its end
    ],
)
def test_a_batch_that_would_end_behind_the_deadline_is_not_begun(
    small: Path, monkeypatch: pytest.MonkeyPatch, paces: list[float], deadline: float, n_scores: int
) -> None:
    now = 100.0
    reranker = loaded(small, batch_size=2, clock=lambda: now)
    predict, left = reranker._model.predict, iter(paces)

    def slow(pairs: list[tuple[str, str]], **options: Any) -> Any:
        nonlocal now
        now += next(left) * len(pairs)
        return predict(pairs, **options)

    monkeypatch.setattr(reranker._model, "predict", slow)
    assert len(reranker.scores(QUERY, PASSAGES, deadline=deadline)) == n_scores


@pytest.mark.slow
def test_deadlines_are_of_the_monotonic_clock(small: Path) -> None:
    reranker = loaded(small)
    assert len(reranker.scores(QUERY, PASSAGES, deadline=time.monotonic())) == 4  # a batch, as it is on a CPU
    assert len(reranker.scores(QUERY, PASSAGES, deadline=time.monotonic() + 3600)) == 7


@pytest.mark.slow
def test_in_half_precision_as_on_a_gpu_the_scores_are_near(small: Path) -> None:
    half, whole = (loaded(small, half=half) for half in (True, False))
    assert [str(model._model.dtype) for model in (half, whole)] == ["torch.float16", "torch.float32"]
    assert half.scores(QUERY, PASSAGES) == pytest.approx(whole.scores(QUERY, PASSAGES), abs=1e-2)


@pytest.mark.slow
def test_saved_in_half_precision_a_model_runs_in_32_bits_where_there_is_no_gpu(place: Path, small: Path) -> None:
    reranker = loaded(make_reranker(place, half=True))
    assert str(reranker._model.dtype) == "torch.float32"
    assert reranker.scores(QUERY, PASSAGES) == pytest.approx(loaded(small).scores(QUERY, PASSAGES), abs=1e-2)


@pytest.mark.slow
def test_saved_again_by_sentence_transformers_it_is_the_same(small: Path, place: Path) -> None:
    from sentence_transformers import CrossEncoder

    CrossEncoder(str(small), device="cpu").save_pretrained(str(place))
    assert (place / "modules.json").exists()
    assert loaded(place).scores(QUERY, PASSAGES) == pytest.approx(loaded(small).scores(QUERY, PASSAGES), abs=1e-6)


@pytest.mark.slow
def test_an_encoder_below_a_trained_head_is_a_reranker(place: Path) -> None:
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.models import Dense, Pooling, Transformer

    head = Dense(
        32, 1, activation_function=torch.nn.Identity(),
        module_input_name="sentence_embedding", module_output_name="scores",
    )  # fmt: skip
    made = CrossEncoder(modules=[Transformer(str(make_model(place))), Pooling(32, "cls"), head], device="cpu")
    made.save_pretrained(str(place.parent / "judge"))
    expected = made.predict([(QUERY, passage) for passage in PASSAGES], activation_fn=torch.nn.Sigmoid())
    assert loaded(place.parent / "judge").scores(QUERY, PASSAGES) == pytest.approx(list(expected), abs=1e-5)


@pytest.mark.slow
def test_nothing_is_written_while_it_loads_and_reads(small: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    loaded(small).scores(QUERY, PASSAGES)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()  # as it was


# --- names, and models that are refused


@pytest.mark.slow
def test_a_folder_is_named_by_its_whole_path(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.parent)
    assert load_reranker("model", device="cpu").name == str(small)


@pytest.mark.slow
def test_a_model_in_the_hubs_cache_is_found_under_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = place.parent / "hub"
    repository = hub / "models--someone--judge"
    make_reranker(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    reranker = load_reranker("someone/judge", device="cpu", fetch=False)
    assert (reranker.name, len(reranker.scores(QUERY, PASSAGES))) == ("someone/judge", 7)


def test_a_model_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(RerankerError, match=r"cannot load the reranker 'no-such/model': .*; check the name or path"):
        load_reranker("no-such/model")
    with pytest.raises(RerankerError, match=r"'no-such/model' is not on this machine: load it once with fetch=True"):
        load_reranker("no-such/model", fetch=False)


@pytest.mark.slow
@pytest.mark.parametrize("n_labels", [2, 3])
def test_a_model_of_several_labels_is_refused(place: Path, n_labels: int) -> None:
    expected = rf"expected a reranker with one label, .*; '.*' has {n_labels}: name another, such as 'cross-encoder/"
    with pytest.raises(RerankerError, match=expected):
        load_reranker(str(make_reranker(place, n_labels=n_labels)))


@pytest.mark.slow
def test_an_encoder_is_refused_as_its_judgement_would_be_random(place: Path) -> None:
    make_model(place, config={"num_labels": 1})
    for name in (str(place), DEFAULT_ENCODER):
        with pytest.raises(RerankerError, match=rf"expected a reranker, .*; '{re.escape(name)}' is a BertModel: name"):
            load_reranker(name)


@pytest.mark.slow
def test_a_folder_that_is_no_model_and_a_device_that_is_not_there_are_refused(small: Path, tmp_path: Path) -> None:
    for content in (None, "{", "[]", "{}", '{"architectures": 3}'):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(RerankerError, match=r"cannot load the reranker .*; check the name or path$"):
            load_reranker(str(tmp_path))
    with pytest.raises(RerankerError, match=r"cannot load .*; check the name or path, and the device 'abacus'"):
        load_reranker(str(small), device="abacus")


@pytest.mark.slow
def test_code_that_comes_with_a_model_is_not_run(place: Path) -> None:
    make_reranker(place)
    config = json.loads((place / "config.json").read_text())
    config |= {"model_type": "other", "auto_map": {"AutoConfig": "code.Config"}}
    (place / "config.json").write_text(json.dumps(config))
    (place / "code.py").write_text(f"open({str(place / 'was run')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(RerankerError, match="cannot load the reranker"):
        load_reranker(str(place))
    assert not (place / "was run").exists()


@pytest.mark.slow
def test_a_failure_while_reading_is_a_reranker_error(small: Path) -> None:
    reranker = loaded(small)
    reranker._model.max_seq_length = 100_000  # more than there are positions
    with pytest.raises(RerankerError, match=r"the reranker '.*' failed: .*; load it on another device or"):
        reranker.scores(QUERY, PASSAGES)


@pytest.mark.slow
def test_scores_that_are_no_numbers_are_refused(place: Path) -> None:
    reranker = loaded(make_reranker(place, bias=math.nan))
    with pytest.raises(RerankerError, match=r"expected scores in \[0, 1\], got \[nan\] from the reranker .*half=False"):
        reranker.scores(QUERY, ["honey"])


def test_importing_it_loads_nothing_heavy() -> None:
    assert not loaded_after("import rag.reranker") & (HEAVY | {"onnxruntime", "huggingface_hub"})
