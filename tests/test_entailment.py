"""A model whose weights are set by hand finds entailed what has no word that the premise lacks; what is made of it."""

from __future__ import annotations

import itertools
import json
import math
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

import rag
from rag import index as index_module
from rag.cli import main
from rag.encoders import DEFAULT_ENCODER, Encoder
from rag.entailment import EntailmentChecker, load_entailment
from rag.errors import EncoderError, UsageError
from rag.generators.writing import WritingGenerator
from rag.index import Index
from rag.pipeline import Pipeline
from rag.retriever import Retriever
from rag.support import Support, SupportChecker
from rag.types import Chunk, Document, Hit, Span
from tests.fakes import EqualWords, HashingEncoder, QueuedWriter, WordChecker
from tests.test_architecture import HEAVY, loaded_after
from tests.test_encoders import make_model

slow = pytest.mark.slow

MILL = (
    "The mill stands by the river. It grinds rye for the baker. Its wheel is new. The miller is old. He sleeps at noon."
)
BAKER = "The baker lives in the town. He sells bread on the market. His oven is hot."
CATS = "Cats sleep for sixteen hours a day. They are awake at dusk."
KNOWN = f"{MILL} {BAKER} {CATS} mills history trades blue like fish".replace(".", "").lower().split()
THREE = ("contradiction", "entailment", "neutral")


def make_judge(
    folder: Path,
    labels: Sequence[str] = THREE,
    *,
    bias: float = 0.0,
    max_tokens: int = 128,
) -> Path:
    """A BERT of two layers that compares words, with weights set by hand.

    Everything that a layer knows of a token is a feature: its word, that it is of the sentence and not the premise,
    that it is missing. A feature takes two dimensions, one the negative of the other, so that a norm only scales them.
    In the first layer each token of the sentence attends to the same word of the premise; where there is none, to the
    first token, which tells it that it is missing. In the second the first token attends to what is missing, if
    anything is. Labels that say entailment have the one side, all others the other.
    """
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

    vocabulary = {word: i for i, word in enumerate(dict.fromkeys(["[PAD]", "[UNK]", "[CLS]", "[SEP]", *KNOWN]))}
    n = len(vocabulary)
    of_sentence, missing, size = n, n + 1, 2 * (n + 2)

    config = BertConfig(
        vocab_size=n, hidden_size=size, intermediate_size=1, num_hidden_layers=2, num_attention_heads=1,
        max_position_embeddings=max_tokens, id2label=dict(enumerate(labels)),
    )  # fmt: skip
    model: Any = BertForSequenceClassification(config)
    with torch.no_grad():
        for name, weights in model.named_parameters():
            weights.fill_(1.0 if name.endswith("LayerNorm.weight") else 0.0)
        made = model.bert.embeddings
        for word in range(n):
            made.word_embeddings.weight[word, 2 * word : 2 * word + 2] = torch.tensor([1.0, -1.0])
        made.token_type_embeddings.weight[1, 2 * of_sentence : 2 * of_sentence + 2] = torch.tensor([1.0, -1.0])

        # Each of a token's m features is the square root of size / 2m, and scores are divided by that of the size.
        attention = model.bert.encoder.layer[0].attention
        query, key, value = attention.self.query, attention.self.key, attention.self.value
        for word in range(n):
            query.weight[word, 2 * word] = 1.0
            key.weight[word, 2 * word] = 200.0 / size**0.5
        query.bias[n] = 1.0
        key.weight[n, 2 * of_sentence] = -200.0  # a word of the sentence itself is no support
        key.weight[n, 2 * vocabulary["[CLS]"]] = 50.0  # between the same word and another one
        value.weight[0, 2 * vocabulary["[CLS]"]] = 1.0
        attention.output.dense.weight[2 * missing, 0] = 1.0
        attention.output.dense.weight[2 * missing + 1, 0] = -1.0

        attention = model.bert.encoder.layer[1].attention
        query, key, value = attention.self.query, attention.self.key, attention.self.value
        query.bias[0] = 1.0
        key.weight[0, 2 * missing] = 400.0
        key.weight[0, 2 * of_sentence] = 600.0  # rather any token of the sentence than the first itself
        value.weight[0, 2 * missing] = 1.0
        attention.output.dense.weight[0, 0] = 1.0  # the padding has no need of its place
        model.bert.pooler.dense.weight[0, 0] = 1.0
        for i, label in enumerate(labels):
            side = 1.0 if len(labels) == 1 or label.lower().startswith("entail") else -1.0
            model.classifier.weight[i, 0] = -10.0 * side
            model.classifier.bias[i] = bias + 5.0 * side
    model.save_pretrained(folder)

    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(".", "")])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    fast: Any = PreTrainedTokenizerFast
    names = ["input_ids", "token_type_ids", "attention_mask"]
    fast(tokenizer_object=tokenizer, model_input_names=names, **special).save_pretrained(folder)
    return folder


class Pointing:
    """Every sentence rests on these quotes; a chance of its own, which is to be replaced."""

    def __init__(self, *quotes: str, nowhere: tuple[str, ...] = ()) -> None:
        self.quotes = quotes
        self.nowhere = nowhere

    def check(self, sentences: Sequence[str], passages: Sequence[Hit]) -> list[Support]:
        spans = []
        for quote in self.quotes:
            p, chunk = next((p, hit.chunk) for p, hit in enumerate(passages) if quote in hit.chunk.text)
            start = chunk.start + chunk.text.index(quote)
            spans.append(Span(p, start, start + len(quote)))
        return [Support(tuple(spans), 0.3, self.nowhere, (1.0, 2.0)) for _ in sentences]


def passage(text: str, *, doc_id: str = "mill.txt", context: str = "", start: int = 10) -> Hit:
    return Hit(1, Chunk(doc_id, text, start, start + len(text), context=context), score=1.0, rank=1)


PASSAGES = (passage(MILL), passage(BAKER, doc_id="baker.txt"))


@pytest.fixture(scope="module")
def torch_is_there() -> None:
    """Imported once, as it takes seconds; what it warns of while it is imported is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import transformers  # noqa: F401

        torch.set_num_threads(1)  # its threads and those of other tests would wait for each other


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory, torch_is_there: None) -> Path:
    return make_judge(tmp_path_factory.mktemp("judge") / "model")


@pytest.fixture
def place(tmp_path: Path, torch_is_there: None) -> Path:
    """Where to make a model of another kind."""
    return tmp_path / "model"


def loaded(folder: Path, *quotes: str, **options: Any) -> EntailmentChecker:
    return EntailmentChecker(str(folder), Pointing(*quotes), device="cpu", **options)


def asked(checker: EntailmentChecker, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Where the pairs of premise and sentence that the model is asked about are found."""
    pairs: list[tuple[str, str]] = []
    read = checker._read

    def note(premises: list[str], texts: list[str]) -> list[float]:
        pairs.extend(zip(premises, texts, strict=True))
        return read(premises, texts)

    monkeypatch.setattr(checker, "_read", note)
    return pairs


# --- what counts


@slow
def test_the_chance_is_the_models_and_all_else_that_of_the_checker_within(judge: Path) -> None:
    within = Pointing("The mill stands by the river.", nowhere=("1840",))
    yes, no = "The mill stands by the river.", "The mill is blue."
    found = EntailmentChecker(str(judge), within, device="cpu").check([yes, no], PASSAGES)
    for support, before in zip(found, within.check([yes, no], PASSAGES), strict=True):
        assert (support.spans, support.nowhere, support.features) == (before.spans, before.nowhere, before.features)
    assert found[0].chance > 0.99
    assert found[1].chance < 0.01
    assert not any(support.is_supported for support in found)  # 1840 stands nowhere, whatever the model says


@slow
def test_around_the_bundled_means_it_judges_what_they_align(judge: Path) -> None:
    checker = load_entailment(str(judge), SupportChecker(HashingEncoder(), EqualWords()), device="cpu")
    quote, other, elsewhere = checker.check(
        ["The miller sleeps at noon.", "The mill is blue.", "The mill stands by the river in 1840."], PASSAGES
    )
    assert quote.is_supported
    assert not other.is_supported
    assert other.spans
    assert elsewhere.nowhere == ("1840",)
    assert checker.check([], PASSAGES) == []
    assert [support.spans for support in checker.check(["Zebras."], PASSAGES)] == [()]


@slow
def test_what_has_no_spans_has_no_chance_and_the_model_is_not_asked(
    judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = loaded(judge)
    pairs = asked(checker, monkeypatch)
    assert [support.chance for support in checker.check(["The mill stands.", "Cats sleep."], PASSAGES)] == [0.0, 0.0]
    assert pairs == []


@slow
def test_two_passages_entail_together_what_neither_does_alone(judge: Path) -> None:
    sentence = "The mill grinds rye for the baker in the town."
    together = loaded(judge, "It grinds rye for the baker.", "The baker lives in the town.")
    assert together.check([sentence], PASSAGES)[0].is_supported
    for quote in together._within.quotes:  # type: ignore[attr-defined]
        assert not loaded(judge, quote).check([sentence], PASSAGES)[0].is_supported


@slow
def test_a_neighbour_may_say_what_the_span_leaves_open(judge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checker = loaded(judge, "It grinds rye for the baker.")
    pairs = asked(checker, monkeypatch)
    sentence = "The mill grinds rye."
    assert checker.check([sentence], PASSAGES)[0].is_supported
    assert pairs == [
        ("The mill stands by the river. It grinds rye for the baker. Its wheel is new.", sentence)
    ]  # the whole passage need not be read


@slow
def test_the_whole_passage_counts_where_what_stands_around_the_span_does_not_do(
    judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = loaded(judge, "The mill stands by the river.", "His oven is hot.")
    pairs = asked(checker, monkeypatch)
    entailed, missing = "The mill stands by the river. The miller is old.", "The mill is blue."
    found = checker.check([entailed, missing], PASSAGES)
    assert [support.is_supported for support in found] == [True, False]
    assert [len(support.spans) for support in found] == [2, 2]
    assert [premise for premise, text in pairs if text == entailed][1:] == [MILL, BAKER]
    assert found[0].chance > 0.99  # the best of all premises counts, not the last


@slow
def test_the_premise_has_the_order_of_the_documents_and_nothing_twice(
    judge: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = MILL[: MILL.index("Its")].strip(), MILL[MILL.index("It grinds") :]
    passages = (
        passage(second, context="Mills", start=10 + MILL.index("It grinds")),
        passage(f"- The **oven** is hot.\n\n{BAKER}", doc_id="baker.txt", context="Trades"),
        passage(first, context="Mills"),
    )
    checker = loaded(judge, "The baker lives", "Its wheel is new.", "The mill stands by the river.")
    pairs = asked(checker, monkeypatch)
    checker.check(["Cats."], passages)
    assert pairs[0][0].splitlines() == [
        "Mills",
        "The mill stands by the river. It grinds rye for the baker.",
        "Its wheel is new. The miller is old.",
        "Trades",
        "The oven is hot. The baker lives in the town. He sells bread on the market.",
    ]


@slow
def test_headings_over_the_passage_are_part_of_the_premise(judge: Path) -> None:
    checker = loaded(judge, "The miller is old.")
    with_heading, without = (passage(MILL, context=context) for context in ("History", ""))
    sentence = "The old miller is history."
    assert checker.check([sentence], [with_heading])[0].is_supported
    assert not checker.check([sentence], [without])[0].is_supported


@slow
def test_a_premise_that_is_too_long_loses_its_neighbours_then_its_end(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = EntailmentChecker(
        str(make_judge(place, max_tokens=24)), Pointing("It grinds rye for the baker.", "He sleeps at noon.")
    )
    pairs = asked(checker, monkeypatch)
    supported, cut = checker.check(["He sleeps at noon.", "Its wheel is old."], PASSAGES)
    assert pairs[0][0] == "It grinds rye for the baker.\nHe sleeps at noon."
    assert supported.is_supported
    assert [premise for premise, text in pairs if text.startswith("Its")][1:] == [MILL]
    assert not cut.is_supported  # 'new' is read, and 'old' is behind the end
    assert checker.check(["Its wheel is new."], PASSAGES)[0].is_supported


@slow
def test_a_sentence_of_which_only_a_part_could_be_judged_is_not_supported(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = EntailmentChecker(str(make_judge(place, max_tokens=24)), Pointing("The mill stands by the river."))
    pairs = asked(checker, monkeypatch)
    long = "The mill stands by the river. " * 2 + "It is blue."
    assert [support.chance for support in checker.check([long], PASSAGES)] == [0.0]
    assert pairs == []


# --- how it is asked


@slow
def test_the_size_of_a_batch_does_not_move_a_chance(judge: Path) -> None:
    sentences = [MILL, "The mill is blue.", "He sleeps.", "Cats sleep.", "The miller is old.", "", " "]
    quotes = ("The mill stands by the river.", "The miller is old.")
    one, *others = (
        [support.chance for support in loaded(judge, *quotes, batch_size=size).check(sentences, PASSAGES)]
        for size in (1, 3, 100)
    )
    assert all(other == pytest.approx(one, abs=1e-5) for other in others)
    assert min(one) < 0.01
    assert max(one) > 0.99
    with pytest.raises(UsageError, match="expected a batch size of 1 or more, got 0"):
        loaded(judge, batch_size=0)


@slow
@pytest.mark.parametrize("text", ["[SEP] [CLS] [PAD]", "東京は遠い。", "😀 \x00 \ud800", "x" * 3000, ""])
def test_any_text_is_judged_and_no_text_ends_the_premise(
    judge: Path, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checker = loaded(judge, "The mill stands by the river.")
    forward, given = checker._model.forward, list[Any]()

    def note(**tokens: Any) -> Any:
        given.append(tokens["input_ids"])
        return forward(**tokens)

    monkeypatch.setattr(checker._model, "forward", note)
    found = checker.check(
        [text, f"The mill {text} stands."], [passage(f"The mill stands by the river. {text} It is new.")]
    )
    assert all(0 <= support.chance <= 1 for support in found)
    assert found[0].spans
    for ids in given:
        for row in ids.tolist():
            assert (row.count(2), row.count(3)) == (1, 2)  # [CLS] at the beginning, [SEP] behind either text


@slow
def test_nothing_is_written_while_it_loads_and_reads(judge: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from transformers.utils import logging

    level = logging.get_verbosity()
    loaded(judge, "The mill stands by the river.").check(["The mill stands. " * 200, "The mill."], PASSAGES)
    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()  # as it was
    assert logging.get_verbosity() == level


# --- labels


@slow
@pytest.mark.parametrize(
    "labels",
    [
        *itertools.permutations(THREE),
        ("ENTAILMENT", "NEUTRAL", "CONTRADICTION"),
        ("entailment", "not_entailment"),
        ("NOT-ENTAILMENT", "Entailment"),
        ("non_entailment", "entailed"),
        ("LABEL_0",),  # a model of consistency: one label, and its chance a sigmoid
    ],
    ids="-".join,
)
def test_entailment_is_found_wherever_its_label_stands(place: Path, labels: tuple[str, ...]) -> None:
    checker = loaded(make_judge(place, labels), "The mill stands by the river.")
    yes, no = checker.check(["The mill stands.", "The mill is blue."], PASSAGES)
    assert yes.chance > 0.99
    assert no.chance < 0.01


@slow
def test_the_chance_is_a_softmax_over_all_labels(judge: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer: Any = AutoTokenizer.from_pretrained(judge)
    model: Any = AutoModelForSequenceClassification.from_pretrained(judge)
    sentence = "It is blue."
    with torch.no_grad():
        logits = model(**tokenizer(MILL, sentence, return_tensors="pt")).logits[0].tolist()
    total = sum(math.exp(logit) for logit in logits)
    checker = loaded(judge, MILL)
    assert checker.check([sentence], PASSAGES)[0].chance == pytest.approx(math.exp(logits[1]) / total, abs=1e-6)


@slow
@pytest.mark.parametrize(
    ("labels", "named"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), "'LABEL_0', 'LABEL_1', 'LABEL_2'"),
        (("negative", "positive"), "'negative', 'positive'"),
        (("not_entailment", "neutral"), "'not_entailment', 'neutral'"),
        (("entailment", "weak entailment"), "'entailment', 'weak entailment'"),
    ],
)
def test_a_model_whose_labels_do_not_tell_is_refused(place: Path, labels: tuple[str, ...], named: str) -> None:
    expected = (
        rf"^expected a model of natural language inference, with one label that is called entailment; those of '.*' "
        rf"are {named}: name another, such as 'cross-encoder/nli-.*', or correct id2label in its config.json$"
    )
    with pytest.raises(EncoderError, match=expected):
        loaded(make_judge(place, labels))


# --- names, and models that are refused


@slow
def test_a_folder_is_named_by_its_whole_path(judge: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(judge.parent)
    assert load_entailment("model", Pointing(), device="cpu").name == str(judge)


def test_a_model_that_is_not_there_says_what_to_do() -> None:
    with pytest.raises(EncoderError, match=r"cannot load the entailment model 'no/model': .*; check the name or path"):
        load_entailment("no/model", Pointing())
    with pytest.raises(EncoderError, match=r"'no/model' is not on this machine: load it once with fetch=True, or name"):
        load_entailment("no/model", Pointing(), fetch=False)


@slow
def test_a_model_without_a_trained_head_is_refused_as_its_judgement_would_be_random(place: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        make_model(place, config={"num_labels": 2})
    with pytest.raises(EncoderError, match=r"with one label that is called entailment; those of '.*' are 'LABEL_0'"):
        loaded(place)
    config = json.loads((place / "config.json").read_text())
    config |= {"id2label": {"0": "entailment", "1": "contradiction"}}
    (place / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=r"expected all weights of the entailment model '.*', but \d+ are not in"):
        loaded(place)
    with pytest.raises(EncoderError, match="with one label that is called entailment"):
        load_entailment(DEFAULT_ENCODER, Pointing())


@slow
def test_weights_that_could_hold_code_are_refused(judge: Path, place: Path) -> None:
    make_judge(place)
    (place / "model.safetensors").rename(place / "pytorch_model.bin")
    with pytest.raises(EncoderError, match="expected weights in safetensors, which hold numbers and no code"):
        loaded(place)


@slow
def test_a_vocabulary_that_needs_another_package_says_which(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_judge(place)
    (place / "tokenizer.json").rename(place / "spm.model")
    monkeypatch.setattr("rag.entailment.find_spec", lambda name: None)
    with pytest.raises(EncoderError, match=r"which is not installed: pip install sentencepiece$"):
        loaded(place)


@slow
def test_code_that_comes_with_a_model_is_not_run(place: Path) -> None:
    make_judge(place, ("consistent",))
    config = json.loads((place / "config.json").read_text())
    config |= {"model_type": "other", "auto_map": {"AutoConfig": "code.Config"}}
    (place / "config.json").write_text(json.dumps(config))
    (place / "code.py").write_text(f"open({str(place / 'was run')!r}, 'w')\nclass Config: pass\n")
    with pytest.raises(EncoderError, match="cannot load the entailment model"):
        loaded(place)
    assert not (place / "was run").exists()


@slow
def test_a_folder_that_is_no_model_and_a_device_that_is_not_there_are_refused(judge: Path, tmp_path: Path) -> None:
    for content in (None, "{", "[]", "{}", '{"architectures": 3}'):
        if content is not None:
            (tmp_path / "config.json").write_text(content)
        with pytest.raises(EncoderError, match=r"cannot load the entailment model .*; check the name or path$"):
            load_entailment(str(tmp_path), Pointing())
    with pytest.raises(EncoderError, match=r"cannot load .*; check the name or path, and the device 'abacus'"):
        load_entailment(str(judge), Pointing(), device="abacus")


@slow
def test_chances_that_are_no_numbers_are_refused(place: Path) -> None:
    checker = loaded(make_judge(place, bias=math.nan), "The mill stands by the river.")
    with pytest.raises(EncoderError, match=r"expected chances in \[0, 1\], got \[nan\] from the entailment model '.*'"):
        checker.check(["The mill stands."], PASSAGES)


@slow
def test_a_failure_while_reading_is_an_encoder_error(judge: Path) -> None:
    checker = loaded(judge, "The mill stands by the river.")
    checker._max_tokens = 100_000  # more than there are positions
    with pytest.raises(EncoderError, match=r"the entailment model '.*' failed: .*; load it on another device or"):
        checker.check(["The mill stands by the river. " * 30], PASSAGES)


def test_importing_it_loads_nothing_heavy() -> None:
    assert not loaded_after("import rag.entailment") & (HEAVY | {"onnxruntime", "huggingface_hub"})


# --- in an answer


@slow
def test_a_sentence_that_the_model_does_not_find_entailed_has_no_footnote(
    judge: Path, tmp_path: Path, fake_reading: None
) -> None:
    entailed, not_entailed = "The miller is old.", "The miller is blue at noon."
    with Index.create(tmp_path / "index", encoder=HashingEncoder()) as index:
        index.add([Document("mill.txt", MILL)])
        checker = load_entailment(str(judge), WordChecker(), device="cpu")
        generator = WritingGenerator(QueuedWriter(f"{entailed} {not_entailed}"))
        answer = Pipeline(Retriever(index), generator=generator, checker=checker, min_confidence=0).ask("Who is old?")
    assert [(sentence.text, sentence.supported) for sentence in answer.sentences] == [
        (entailed, True),
        (not_entailed, False),
    ]


Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_reading: None) -> Run:
    """Runs `rag` in a folder with a small index; what a generator writes is told."""

    def load(name: str = "hashing", **_: object) -> Encoder:
        return HashingEncoder(name=name)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(index_module, "load_encoder", load)
    with Index.create(tmp_path / "indexes" / "default", encoder=HashingEncoder()) as index:
        index.add([Document("cats.txt", CATS)])

    def invoke(*words: str, written: str = "", asked: str = "") -> Result:
        monkeypatch.setattr("rag.pipeline.load_generator", lambda name, **_: WritingGenerator(QueuedWriter(written)))
        return CliRunner().invoke(main, list(words), input=asked, catch_exceptions=False)

    return invoke


QUESTION = "How many hours a day do cats sleep?"


@slow
def test_the_model_that_is_named_judges_what_rag_ask_and_rag_chat_write(judge: Path, run: Run) -> None:
    sentences = ["Cats sleep sixteen hours.", "Cats like fish a day."]
    for words, asked in ((("ask", QUESTION), ""), (("chat",), f"{QUESTION}\n")):
        result = run(
            *words, "--generator", "any", "--entail", str(judge), "--json", written=" ".join(sentences), asked=asked
        )
        [answer] = [json.loads(line) for line in result.stdout.splitlines()]
        assert [(s["text"], s["supported"]) for s in answer["sentences"]] == list(
            zip(sentences, (True, False), strict=True)
        )
        assert answer["citations"][0]["quote"] == "Cats sleep for sixteen hours a day."


@pytest.mark.parametrize("command", [("ask", QUESTION), ("chat",)])
def test_a_model_that_is_not_there_is_one_line(run: Run, command: tuple[str, ...]) -> None:
    result = run(*command, "--entail", "no/model", asked=f"{QUESTION}\n")
    assert result.exit_code == 1
    assert result.stdout == ""
    [line] = result.stderr.splitlines()
    assert "cannot load the entailment model 'no/model'" in line


def test_it_is_public() -> None:
    assert rag.load_entailment is load_entailment
