"""Topics: passages that lie together, and the words that tell them from the others."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.fakes import HashingEncoder
from ui.topics import MOST_TOPICS, clusters, find_topics, number_of_topics, telling_words, typical_passages

TEXTS = {
    "bees": ["Bees make honey in hives.", "A hive of bees gives honey.", "Honey comes from the hives of bees."],
    "ships": ["Ships sail to the harbour.", "The harbour holds many ships.", "A ship sails from harbours."],
    "snow": ["Snow falls on cold mountains.", "The mountain is cold, with snow.", "Cold snow, high mountains."],
}


def around(*centres: int, n: int = 30, dim: int = 8, seed: int = 0) -> NDArray[np.float32]:
    """n unit vectors near each of some axes, one axis after the other."""
    rng = np.random.default_rng(seed)
    vectors = np.concatenate([np.eye(dim)[c] + rng.normal(0, 0.05, (n, dim)) for c in centres]).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), dtype=np.float32)


@given(st.integers(0, 10**7))
def test_the_number_of_topics_grows_with_the_passages_and_fits_the_colours(n: int) -> None:
    k = number_of_topics(n)
    assert k == 0 if n < 8 else 2 <= k <= MOST_TOPICS
    assert k <= number_of_topics(n + 1)


def test_the_number_of_topics_at_some_sizes() -> None:
    assert [number_of_topics(n) for n in (0, 7, 8, 50, 200, 800, 2_000, 50_000)] == [0, 0, 2, 2, 5, 10, 16, 16]


def test_heaps_are_found_each_one_a_cluster_and_the_largest_first() -> None:
    vectors = np.concatenate([around(1, n=20), around(5, n=40), around(3, n=30)])
    of, centres = clusters(vectors, 3)
    assert of.tolist() == [2] * 20 + [0] * 40 + [1] * 30
    assert np.argmax(centres, axis=1).tolist() == [5, 3, 1]
    assert np.linalg.norm(centres, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)


def test_the_same_vectors_are_cut_the_same_way_each_time() -> None:
    vectors = around(0, 1, 2, 3, n=50, seed=2)
    one, other = clusters(vectors, 4), clusters(vectors.copy(), 4)
    assert np.array_equal(one[0], other[0])
    assert np.array_equal(one[1], other[1])


def test_fewer_distinct_vectors_than_clusters_leave_none_empty() -> None:
    vectors = np.repeat(np.eye(4, dtype=np.float32)[:2], 10, axis=0)
    of, centres = clusters(vectors, 4)
    assert sorted(set(of.tolist())) == list(range(len(centres)))
    assert len(set(of[:10].tolist()) & set(of[10:].tolist())) == 0


def test_no_vectors_have_no_clusters() -> None:
    of, centres = clusters(np.empty((0, 4), dtype=np.float32), 0)
    assert (of.shape, centres.shape) == ((0,), (0, 4))


def test_the_typical_passages_of_a_group_are_those_nearest_to_its_mean() -> None:
    vectors = np.array([[1, 0], [0.8, 0.6], [0.6, 0.8], [-1, 0]], dtype=np.float32)
    ids = np.array([5, 6, 7, 8])
    assert typical_passages(ids, vectors, np.array([True, True, True, False])) == (6, 7, 5)
    assert typical_passages(ids, vectors, np.zeros(4, dtype=bool)) == ()


# Words


def test_each_group_is_told_by_the_words_that_only_it_has() -> None:
    words = telling_words(list(TEXTS.values()))
    assert [set(of) & {"bees", "hives", "honey", "ships", "harbour", "snow", "cold"} for of in words] == [
        {"bees", "hives", "honey"},
        {"ships", "harbour"},
        {"snow", "cold"},
    ]


def test_the_weight_of_a_word_is_the_root_of_its_share_times_log_1_plus_a_over_f() -> None:
    # Four and two words: A = 3. "plum" has 3 of 4 and f = 3, "pear" 1 of 4 and f = 2; in the other group 1 of 2 each.
    plum, pear = math.sqrt(3 / 4) * math.log(1 + 3 / 3), math.sqrt(1 / 4) * math.log(1 + 3 / 2)
    nut, pear_there = math.sqrt(1 / 2) * math.log(1 + 3 / 1), math.sqrt(1 / 2) * math.log(1 + 3 / 2)
    assert plum > pear
    assert nut > pear_there
    assert telling_words([["plum plum plum pear"], ["pear nut"]]) == [("plum", "pear"), ("nut", "pear")]


def test_words_of_one_stem_are_one_word_in_its_most_frequent_form() -> None:
    [first, _] = telling_words([["sailing sailing sails sailed"], ["bread"]])
    assert first == ("sailing",)


def test_stop_words_numbers_and_single_letters_tell_nothing() -> None:
    assert telling_words([["the of with 42 1990s x y_z"], ["and a"]]) == [(), ()]


def test_a_word_that_stands_in_very_many_texts_tells_nothing() -> None:
    texts = [[f"report{i}{letter} common" for i in range(10)] for letter in "ab"]
    assert all("common" not in words for words in telling_words(texts))


def test_words_of_scripts_without_spaces_are_found() -> None:
    [chinese, _] = telling_words([["蜜蜂 蜜蜂"], ["ship"]])
    assert chinese == ("蜜蜂",)


def test_topics_have_their_words_their_sizes_and_the_passages_that_stand_for_them() -> None:
    texts = dict(enumerate((text for texts in TEXTS.values() for text in texts), start=100))
    encoder = HashingEncoder()
    ids = np.array(list(texts))
    asked: list[int] = []

    def read(some: Sequence[int]) -> dict[int, str]:
        asked.extend(some)
        return {i: texts[i] for i in some if i != 104}  # one has gone meanwhile

    found = find_topics(ids, encoder.encode_documents(list(texts.values())), read)
    assert sum(topic.n for topic in found.topics) == len(ids) == len(asked)
    assert [topic.n for topic in found.topics] == np.bincount(found.of).tolist()
    for k, topic in enumerate(found.topics):
        assert set(topic.typical) <= set(ids[found.of == k].tolist())
        assert topic.name == ", ".join(topic.words) != ""
