"""Late interaction in one bit a number: what is kept of tokens, and how near its scores come to the exact ones."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rag.encoders import TokenEncoder, TokenVectors, load_encoder
from rag.late import QueryTokens, late_interaction, query_tokens, token_bits

DIM = 64


def made(rng: np.random.Generator, text: str) -> TokenVectors:
    """A token a word, each with a vector of its own."""
    spans, at = [], 0
    for word in text.split():
        start = text.index(word, at)
        at = start + len(word)
        spans.append((start, at))
    vectors = rng.normal(size=(len(spans), DIM)).astype(np.float32)
    return TokenVectors(vectors, np.array(spans, dtype=np.int64).reshape(-1, 2))


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    found: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return found


def test_of_each_distinct_token_that_says_something_the_signs_are_kept() -> None:
    text = "Bees , the bees make honey"
    read = made(np.random.default_rng(0), text)
    bits = np.frombuffer(token_bits(text, read), dtype=np.uint8).reshape(-1, DIM // 8)
    vectors = unit(read.vectors)
    expected = np.array([vectors[0] + vectors[3], vectors[4], vectors[5]]) > 0  # bees, make, honey
    assert (np.unpackbits(bits, axis=1) == expected).all()


def test_where_no_token_says_anything_all_are_kept() -> None:
    read = made(np.random.default_rng(0), "the of ; the")
    assert len(token_bits("the of ; the", read)) == 4 * DIM // 8
    assert query_tokens("the of ; the", read).vectors.shape == (4, DIM)
    assert token_bits("", made(np.random.default_rng(0), "")) == b""


def test_a_passage_of_the_same_tokens_scores_near_one_and_others_near_nothing() -> None:
    rng = np.random.default_rng(1)
    read, other = made(rng, "honey bees"), made(rng, "cows milk")
    query = query_tokens("honey bees", read)
    found = late_interaction(
        query, [1, 1], {7: token_bits("honey bees", read), 8: token_bits("cows milk", other), 9: b""}
    )
    assert found.keys() == {7, 8}
    assert found[7] > 0.85
    assert found[8] < 0.3


def test_weights_say_which_token_counts() -> None:
    rng = np.random.default_rng(2)
    read, other = made(rng, "honey bees"), made(rng, "x y")
    first = TokenVectors(read.vectors[:1], read.spans[:1])
    passages = {1: token_bits("honey", first), 2: token_bits("x y", other)}
    query = query_tokens("honey bees", read)
    heavy, light = (late_interaction(query, weights, passages) for weights in ([3, 1], [1, 3]))
    assert heavy[1] - light[1] == pytest.approx((heavy[1] - late_interaction(query, [0.0, 1.0], passages)[1]) * 2 / 3)
    assert heavy[1] > light[1] > light[2]


def test_a_token_without_a_direction_is_like_none() -> None:
    query = QueryTokens(np.zeros((1, DIM), dtype=np.float32), ((0, 1),))
    assert late_interaction(query, [1.0], {1: bytes(DIM // 8)}) == {1: 0.0}


@given(seed=st.integers(0, 1000), n=st.integers(1, 12), sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8))
def test_it_is_near_the_mean_of_the_largest_cosines(seed: int, n: int, sizes: list[int]) -> None:
    rng = np.random.default_rng(seed)
    query = QueryTokens(unit(rng.normal(size=(n, 384)).astype(np.float32)), ((0, 1),) * n)
    weights = rng.uniform(0.5, 2, size=n).tolist()
    passages = {i: unit(rng.normal(size=(size, 384)).astype(np.float32)) for i, size in enumerate(sizes)}
    found = late_interaction(query, weights, {i: np.packbits(v > 0, axis=1).tobytes() for i, v in passages.items()})
    for i, vectors in passages.items():
        signs = np.where(vectors > 0, 1.0, -1.0)
        best = np.clip(query.vectors @ signs.T / np.sqrt(2 * 384 / np.pi), 0, 1).max(axis=1)
        assert found[i] == pytest.approx(float(best @ weights) / sum(weights), abs=0.01)


@given(seed=st.integers(0, 1000), before=st.integers(0, 20), behind=st.integers(0, 20))
def test_equal_passages_score_equally_wherever_they_stand(seed: int, before: int, behind: int) -> None:
    rng = np.random.default_rng(seed)
    query = QueryTokens(unit(rng.normal(size=(5, DIM)).astype(np.float32)), ((0, 1),) * 5)

    def bits() -> bytes:
        return rng.integers(0, 256, size=int(rng.integers(1, 9)) * DIM // 8, dtype=np.uint8).tobytes()

    one = bits()
    passages = [*(bits() for _ in range(before)), one, *(bits() for _ in range(behind)), one]
    found = late_interaction(query, [1.0, 0.3, 2.0, 1.0, 0.7], dict(enumerate(passages)))
    assert found[before] == found[len(passages) - 1] == late_interaction(query, [1.0, 0.3, 2.0, 1.0, 0.7], {0: one})[0]


@pytest.mark.slow
def test_of_the_default_model_the_answering_passage_matches_best() -> None:
    encoder = load_encoder()
    assert isinstance(encoder, TokenEncoder)
    texts = [
        "The sting of a bee holds apitoxin, which makes the skin swell.",
        "Bees make honey from the nectar of flowers and keep it in combs.",
        "A hive has one queen, who lays up to two thousand eggs a day.",
    ]
    _, read = encoder.read_documents(texts)
    kept = {i: token_bits(text, tokens) for i, (text, tokens) in enumerate(zip(texts, read, strict=True))}
    assert all(len(bits) < 20 * 384 // 8 for bits in kept.values())
    for question, expected in (("what is honey made of", 1), ("how many eggs does a queen lay", 2), ("bee venom", 0)):
        query = query_tokens(question, encoder.read_queries([question])[1][0])
        found = late_interaction(query, [1.0] * len(query.vectors), kept)
        assert max(found, key=lambda i: found[i]) == expected
