"""A sentence that was written is held against the passages: what they hold of it, and what no passage holds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.planted import plant, tidy
from rag.sentences import sentence_spans
from rag.support import FEATURES, Support, SupportChecker
from rag.types import Chunk, Hit
from tests.fakes import EqualWords, HashingEncoder

BRIDGE = (
    "The bridge over the Aare was built in 1840 by Anna Keller. It carries 3,000 carts a day. "
    "It was not damaged by the flood. The tower stands beside the mill."
)


def passage(text: str, *, doc_id: str = "a.txt", context: str = "", start: int = 10) -> Hit:
    return Hit(1, Chunk(doc_id, text, start, start + len(text), context=context), score=1.0, rank=1)


def check(sentence: str, *passages: Hit) -> Support:
    checker = SupportChecker(HashingEncoder(), EqualWords(), weights=(-4.0, 5.0, *(0.0,) * (len(FEATURES) - 1)))
    [support] = checker.check([sentence], passages or (passage(BRIDGE),))
    return support


def feature(support: Support, name: str) -> float:
    return support.features[FEATURES.index(name)]


def test_a_sentence_of_the_passage_is_supported_by_itself() -> None:
    support = check("It carries 3,000 carts a day.")
    [span] = support.spans
    assert BRIDGE[span.start - 10 : span.end - 10] == "It carries 3,000 carts a day."
    assert feature(support, "coverage") == feature(support, "best") == feature(support, "pairs") == 1
    assert feature(support, "near") == pytest.approx(1)
    assert support.chance == pytest.approx(1 / (1 + 2.718281828**-1))
    assert support.nowhere == ()


def test_two_source_sentences_together_hold_what_neither_does_alone() -> None:
    support = check("The bridge built in 1840 carries 3,000 carts.")
    assert {BRIDGE[s.start - 10 : s.end - 10][:10] for s in support.spans} == {"The bridge", "It carries"}
    assert feature(support, "coverage") == 1
    assert feature(support, "best") < 1


def test_what_a_sentence_does_not_need_is_not_cited_but_what_holds_a_number_or_name_is() -> None:
    def cited(sentence: str) -> list[str]:
        return [BRIDGE[s.start - 10 : s.end - 10].split(maxsplit=1)[0] for s in check(sentence).spans]

    # At four fifths of the words these weights take a sentence for supported.
    assert cited("The bridge over the Aare, built in 1840 by Anna Keller, carries carts.") == ["The", "It"]
    assert cited("The bridge over the Aare, built in 1840 by Anna Keller, carries.") == ["The"]
    assert cited("The bridge over the Aare, built in 1840 by Anna Keller: 3,000.") == ["The", "It"]


def test_numbers_and_names_that_no_passage_holds_are_told() -> None:
    assert check("The bridge was built in 1841 by Anna Keller.").nowhere == ("1841",)
    assert check("The bridge was built in 1840 by Berta Keller.").nowhere == ("Berta",)
    assert check("It carries three thousand carts a day.").nowhere == ()
    # The heading over a passage counts, as the question's words do not.
    assert check("The flood of Bern spared it.", passage(BRIDGE, context="Bern")).nowhere == ()


def test_a_number_of_another_sentence_does_not_support_this_one() -> None:
    other = passage("The mill has 17 wheels.", doc_id="b.txt")
    support = check("The bridge was built in 17 by Anna Keller.", passage(BRIDGE), other)
    assert support.nowhere == ()
    right, wrong = (check(f"The bridge over the Aare was built in {n} by Anna Keller.") for n in ("1840", "3,000"))
    assert feature(right, "local") == 1
    assert feature(wrong, "local") < 0.2


@pytest.mark.parametrize(
    ("sentence", "denies"),
    [
        ("The bridge was not built in 1840.", 1),
        ("It was damaged by the flood.", 1),
        ("It was not damaged by the flood.", 0),
        ("The bridge was built in 1840.", 0),
    ],
)
def test_a_denial_on_one_side_alone_is_told(sentence: str, denies: int) -> None:
    assert feature(check(sentence), "denies") == denies


def test_what_stands_nowhere_has_no_spans_and_no_chance() -> None:
    support = check("Zebras eat oranges quietly.")
    assert (support.spans, support.chance) == ((), 0.0)
    assert check("Zebras eat.", passage("---")).spans == ()


@given(st.text(max_size=80), st.lists(st.text(max_size=120), max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_text_is_checked_and_its_spans_lie_in_their_passages(sentence: str, texts: list[str]) -> None:
    sentence, texts = sentence.replace("\x00", ""), [text.replace("\x00", "") for text in texts]
    passages = [passage(text) for text in texts]
    checker = SupportChecker(HashingEncoder(), EqualWords(), weights=(0.0,) * (1 + len(FEATURES)))
    for support in checker.check([sentence], passages):
        assert 0 <= support.chance <= 1
        for span in support.spans:
            chunk = passages[span.passage].chunk
            assert chunk.start <= span.start < span.end <= chunk.end
    assert checker.check([], passages) == []


CLAPNQ = Path(__file__).parents[1].parent / "shared" / "data" / "clapnq"


@pytest.mark.skipif(not CLAPNQ.exists(), reason="shared/data/clapnq is not here")
def test_faults_are_planted_alike_each_time_and_only_where_a_sentence_allows() -> None:
    first, second = (plant(CLAPNQ.parent, part="fit") for _ in range(2))
    assert first == second
    other = plant(CLAPNQ.parent, part="fit", seed=1)
    assert other != first
    good = {(c.question, c.text) for c in first.claims if c.fault is None}
    assert {c.fault for c in first.claims} == {None, "number", "name", "negation", "invented"}
    assert not [c for c in first.claims if c.fault and (c.question, c.text) in good]
    passages = {d.doc_id: d.text for d in first.documents}
    assert not {c.question for c in first.claims} & {c.question for c in plant(CLAPNQ.parent, part="rest").claims}
    assert all(c.source in passages for c in first.claims)


def test_clapnqs_tokens_are_put_together_as_people_write() -> None:
    text = "`` It 's 1 , 000 '' , he said ( twice ) . A two - year plan was n't made"
    assert tidy(text) == "\"It's 1, 000\", he said (twice). A two-year plan wasn't made"
    assert len(sentence_spans(tidy(text))) == 2


def test_the_packages_weights_name_every_feature() -> None:
    file = Path(__file__).parents[1] / "rag" / "support.json"
    assert {"bias", *FEATURES} == json.loads(file.read_text(encoding="utf-8"))["support"].keys()


@pytest.mark.parametrize(
    ("said", "nowhere"),
    [
        ("Take 250mg daily.", ("250",)),
        ("Version 2.3.1 is out.", ("2.3.1",)),
        ("It was on 12.03.2024.", ("12.03.2024",)),
        ("Take 50mg daily.", ()),
        ("It costs 1000 francs.", ()),
        ("Zuckerberg wrote it.", ("Zuckerberg",)),
        ("It was Łukasz who wrote it.", ("Łukasz",)),
        ("See evil.de/login for more.", ("evil.de/login",)),
        ("See ample.com for more.", ("ample.com",)),
        ("See example.com for more.", ()),
        ("Unfortunately it is daily.", ()),
    ],
)
def test_whatever_holds_figures_and_every_name_and_address_must_stand_in_a_passage(
    said: str, nowhere: tuple[str, ...]
) -> None:
    leaflet = (
        "Take 50mg of Veralin daily with water. It costs 1,000 francs. Version 2.3 of example.com/leaflet says so."
    )
    assert check(said, passage(leaflet)).nowhere == nowhere
