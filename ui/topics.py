"""Topics of an index: passages whose vectors lie together, and the words that tell them from the others."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rag.words import query_words, stems, stop_stems

MOST_TOPICS = 16  # as many as can be told apart on a map: eight colours, two shapes
_FEWEST_PASSAGES = 8  # below that there is nothing to group
_LONGEST = 30  # letters of a word; what is longer is none
_READ = 300  # passages of each topic whose words are counted, the most typical ones
_TYPICAL = 5  # passages that are shown for a topic
_WORDS = 4  # that name a topic
_EVERYWHERE = 0.3  # share of the passages of most topics, from which on a word tells nothing
_SEED = 7


@dataclass(frozen=True, slots=True)
class Topic:
    """A group of passages that are about the same."""

    words: tuple[str, ...]  # the most telling one first; none where its passages hold no words
    n: int  # passages
    typical: tuple[int, ...]  # ids of the passages nearest to its centre, the nearest first

    @property
    def name(self) -> str:
        return ", ".join(self.words)


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of some passages, the largest first."""

    topics: tuple[Topic, ...]
    of: NDArray[np.uint8]  # of shape (n,): the position of each passage's topic


def number_of_topics(n: int) -> int:
    """How many topics n passages are cut into: sqrt(n / 8), at most 16; 0 where there are too few passages for any.

    So a topic of a small collection has some ten passages, and a large one has no more topics than a list shows.
    """
    return 0 if n < _FEWEST_PASSAGES else min(max(round(math.sqrt(n / 8)), 2), MOST_TOPICS)


def find_topics(
    ids: NDArray[np.int64], vectors: NDArray[np.float32], read_texts: Callable[[Sequence[int]], Mapping[int, str]]
) -> Topics:
    """Cut passages into topics, the same ones each time.

    Args:
        ids: of the passages, shape (n,).
        vectors: of them, float32 of shape (n, dim) and length 1.
        read_texts: gives the texts of passages by their ids; one that has gone meanwhile is left out.
    """
    of, centres = clusters(vectors, number_of_topics(len(ids)))
    typical = [ids[_nearest(vectors, of == c, centre)] for c, centre in enumerate(centres)]
    read = read_texts([int(i) for some in typical for i in some])
    words = telling_words([[read[int(i)] for i in some if int(i) in read] for some in typical])
    topics = [
        Topic(words[c], int(np.count_nonzero(of == c)), tuple(int(i) for i in typical[c][:_TYPICAL]))
        for c in range(len(centres))
    ]
    return Topics(tuple(topics), of)


def clusters(vectors: NDArray[np.float32], k: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Spherical k-means with a fixed seed.

    Returns:
        The cluster of each vector, uint8 of shape (n,), and the centres, float32 of shape (k', dim) and length 1. The
        largest cluster is the first; k' is below k where there are fewer than k distinct vectors.
    """
    n, dim = vectors.shape
    if k == 0 or n == 0:
        return np.zeros(n, dtype=np.uint8), np.empty((0, dim), dtype=np.float32)
    import faiss

    kmeans: Any = faiss.Kmeans(
        dim, k, niter=20, nredo=2, seed=_SEED, spherical=True, min_points_per_centroid=1, max_points_per_centroid=1024
    )
    kmeans.train(vectors)
    nearest = np.argmax(vectors @ kmeans.centroids.T, axis=1)
    sizes = np.bincount(nearest, minlength=k)
    order = [c for c in np.argsort(-sizes, kind="stable") if sizes[c]]
    place = np.zeros(k, dtype=np.uint8)
    place[order] = np.arange(len(order), dtype=np.uint8)
    return place[nearest], kmeans.centroids[order]


def typical_passages(ids: NDArray[np.int64], vectors: NDArray[np.float32], group: NDArray[np.bool_]) -> tuple[int, ...]:
    """The ids of the passages of a group that lie nearest to its mean, the nearest first."""
    if not group.any():
        return ()
    return tuple(int(i) for i in ids[_nearest(vectors, group, vectors[group].mean(axis=0))[:_TYPICAL]])


def _nearest(vectors: NDArray[np.float32], group: NDArray[np.bool_], centre: NDArray[np.float32]) -> NDArray[np.int64]:
    rows = np.flatnonzero(group)
    return rows[np.argsort(-(vectors[rows] @ centre), kind="stable")[:_READ]]


def telling_words(texts: Sequence[Sequence[str]]) -> list[tuple[str, ...]]:
    """The words that tell each group of texts from the others, the most telling one first.

    Class-based TF-IDF: the share of a word among those of the group, times log(1 + A / f), where f counts the word in
    all groups and A is the mean number of words of a group (Grootendorst 2022, arXiv:2203.05794, equation 3); of the
    share the root is taken, so that a word that is merely frequent does not win. Words with the same stem are one,
    shown in its most frequent form. Numbers, single letters, and words that stand in many texts of most groups are left
    out.
    """
    counted = [[Counter(query_words(text)) for text in group] for group in texts]
    stem_of = _stems_of({word for group in counted for words in group for word in words})
    forms: dict[str, Counter[str]] = {}
    shares: list[Counter[str]] = []
    found_in: list[Counter[str]] = []
    for group in counted:
        of_group: Counter[str] = Counter()
        texts_with: Counter[str] = Counter()
        for words in group:
            for word, count in words.items():
                if (stem := stem_of.get(word)) is not None:
                    of_group[stem] += count
                    forms.setdefault(stem, Counter())[word] += count
            texts_with.update({stem_of[word] for word in words if word in stem_of})
        found_in.append(texts_with)
        shares.append(of_group)
    everywhere = _everywhere(found_in, [len(group) for group in counted])
    frequency = sum(shares, Counter())
    mean = frequency.total() / max(len(shares), 1)
    told = []
    for of_group in shares:
        total = max(of_group.total(), 1)
        weight = {
            stem: math.sqrt(count / total) * math.log1p(mean / frequency[stem])
            for stem, count in of_group.items()
            if stem not in everywhere
        }
        best = sorted(weight, key=lambda stem: (-weight[stem], stem))[:_WORDS]
        told.append(tuple(min(forms[stem], key=lambda word: (-forms[stem][word], word)) for stem in best))
    return told


def _everywhere(found_in: Sequence[Counter[str]], n_texts: Sequence[int]) -> set[str]:
    """The stems that stand in many texts of more than half of the groups; none where there are hardly any texts."""
    if sum(n_texts) <= 2 * len(n_texts):
        return set()
    often: Counter[str] = Counter()
    for texts_with, n in zip(found_in, n_texts, strict=True):
        often.update(stem for stem, count in texts_with.items() if count > _EVERYWHERE * n)
    return {stem for stem, n in often.items() if n > len(n_texts) / 2}


def _stems_of(words: set[str]) -> dict[str, str]:
    """The stem of each word that can tell something."""
    telling = sorted(word for word in words if 1 < len(word) <= _LONGEST and not re.search(r"[\d_]", word))
    stop = stop_stems()
    stemmed = zip(telling, stems(telling), strict=True)
    return {word: parts[0] for word, parts in stemmed if len(parts) == 1 and parts[0] not in stop}
