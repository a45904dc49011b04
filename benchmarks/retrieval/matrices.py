"""One judged set as arrays: what the methods of the report are worked out on.

Vectors are those of the product's own index, words those of its stemmer; what an index does not keep (vectors of single
sentences and tokens) is made once and kept beside it.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from rag.beir import Qrels, RetrievalSet, Run
from rag.bm25 import split_terms
from rag.chunking import Chunking
from rag.encoders import Encoder, TokenEncoder
from rag.index import Index
from rag.queries import query_terms
from rag.sentences import sentence_spans
from rag.types import Chunk, Document
from rag.words import stems

Array = NDArray[np.float32]
K1, B = 0.9, 0.4  # of the product's BM25
_RUN_DEPTH = 100  # documents a query, as recall@100 needs
_BATCH = 256  # texts for the encoder at once


@dataclass(frozen=True)
class Corpus:
    """The passages of one index, in the order of their ids."""

    doc_ids: tuple[str, ...]  # of the documents that have a passage
    doc_of: NDArray[np.int64]  # (passages,): which of the documents each belongs to
    chunks: tuple[Chunk, ...]
    vectors: Array  # (passages, dim), unit length
    words: tuple[tuple[str, ...], ...]  # the stemmed words of each, title and headings first

    @classmethod
    def read(cls, index: Index) -> Corpus:
        ids: list[int] = []
        rows = []
        with index.reading() as view:
            for some, blob in view.store.vectors_since(0):
                ids += some
                rows.append(np.frombuffer(blob, dtype="<f2").reshape(len(some), -1).astype(np.float32))
            found = view.store.chunks(ids)
        chunks = tuple(found[i] for i in ids)
        doc_ids = tuple(dict.fromkeys(chunk.doc_id for chunk in chunks))
        place = {doc_id: n for n, doc_id in enumerate(doc_ids)}
        words = tuple(map(tuple, stems([chunk.encoded for chunk in chunks])))
        doc_of = np.array([place[chunk.doc_id] for chunk in chunks], dtype=np.int64)
        return cls(doc_ids, doc_of, chunks, unit(np.concatenate(rows)), words)

    @cached_property
    def vocabulary(self) -> dict[str, int]:
        return {word: n for n, word in enumerate(dict.fromkeys(word for words in self.words for word in words))}

    @cached_property
    def counts(self) -> Any:
        """Sparse (passages, vocabulary): how often each passage holds each word."""
        columns = [self.vocabulary[word] for words in self.words for word in words]
        rows = np.repeat(np.arange(len(self.words)), [len(words) for words in self.words])
        shape = (len(self.words), len(self.vocabulary))
        return sparse.csr_matrix((np.ones(len(columns), dtype=np.float32), (rows, columns)), shape=shape)

    @cached_property
    def document_counts(self) -> Any:
        """The same for whole documents: sparse (documents, vocabulary)."""
        n = len(self.words)
        belongs = sparse.csr_matrix((np.ones(n, np.float32), (self.doc_of, np.arange(n))), (len(self.doc_ids), n))
        return (belongs @ self.counts).tocsr()


@dataclass(frozen=True)
class Sentences:
    """The sentences of all passages, with one vector each."""

    vectors: Array  # (sentences, dim), unit length
    passage_of: NDArray[np.int64]  # (sentences,): ascending


@dataclass(frozen=True)
class Tokens:
    """The tokens of all passages, in order; special ones are left out."""

    vectors: NDArray[np.float16]  # (tokens, dim), not unit length; on disk
    ends: NDArray[np.int64]  # (passages + 1,): passage i has the rows from ends[i] to ends[i + 1]

    def of(self, passage: int) -> Array:
        """Unit vectors of one passage's tokens: (its tokens, dim)."""
        return unit(self.vectors[self.ends[passage] : self.ends[passage + 1]].astype(np.float32))


class Corpora:
    """The indexes of a working folder, and what is kept beside them; each is made when it is first needed."""

    def __init__(self, folder: Path, encoder: Encoder, *, say: Callable[[str], None] = lambda _: None) -> None:
        self._folder = folder
        self.encoder = encoder
        self._say = say
        self._read: dict[Path, Corpus] = {}

    def index(self, name: str, documents: Sequence[Document], *, max_tokens: int = Chunking().max_tokens) -> Path:
        """The folder of the product's index of a corpus, chunks of at most so many tokens."""
        folder = self._folder / f"{name}@{max_tokens}" / "index"
        if not folder.exists():
            self._say(f"indexing {name}: {len(documents)} documents, chunks of {max_tokens} tokens")
            fresh = folder.with_name("index.new")  # one that was stopped half way is not taken for whole
            shutil.rmtree(fresh, ignore_errors=True)
            with Index.create(fresh, encoder=self.encoder, chunking=Chunking(max_tokens)) as index:
                index.add(documents)
            fresh.rename(folder)
        return folder

    def corpus(self, folder: Path) -> Corpus:
        if folder not in self._read:
            with Index.open(folder, encoder=self.encoder) as index:
                self._read[folder] = Corpus.read(index)
        return self._read[folder]

    def sentences(self, folder: Path) -> Sentences:
        """Each sentence embedded by itself."""
        corpus = self.corpus(folder)
        spans = _sentences(corpus)

        def embedded() -> Array:
            self._say(f"embedding {len(spans)} sentences of {folder.parent.name}")
            texts = [corpus.chunks[i].text[start:end] for i, start, end in spans]
            parts = [self.encoder.encode_documents(texts[n : n + _BATCH]) for n in range(0, len(texts), _BATCH)]
            return np.concatenate(parts)

        return _of_passages(spans, self._kept(folder.parent / "sentences.npy", len(spans), embedded))

    def pooled(self, folder: Path) -> Sentences:
        """Each sentence as the mean of its tokens' vectors, in the light of the whole passage."""
        corpus, tokens = self.corpus(folder), self.tokens(folder)
        spans = _sentences(corpus)

        def pooled() -> Array:
            places = np.load(folder.parent / "token-spans.npy", mmap_mode="r")
            found = np.zeros((len(spans), corpus.vectors.shape[1]), dtype=np.float32)
            for n, (i, start, end) in enumerate(spans):
                chunk, rows = corpus.chunks[i], slice(tokens.ends[i], tokens.ends[i + 1])
                before = len(chunk.encoded) - len(chunk.text)
                first, behind = places[rows].T
                is_inside = (first >= before + start) & (behind <= before + end)
                if is_inside.any():
                    found[n] = tokens.vectors[rows][is_inside].astype(np.float32).mean(axis=0)
            return unit(found)

        return _of_passages(spans, self._kept(folder.parent / "pooled.npy", len(spans), pooled))

    def tokens(self, folder: Path) -> Tokens:
        """The vectors of all tokens, read once more from the passages."""
        file, ends_file = folder.parent / "tokens.npy", folder.parent / "token-ends.npy"
        if not ends_file.exists():  # it is written last
            self._write_tokens(folder)
        return Tokens(np.load(file, mmap_mode="r"), np.load(ends_file))

    def _write_tokens(self, folder: Path) -> None:
        encoder, corpus = self.encoder, self.corpus(folder)
        assert isinstance(encoder, TokenEncoder)
        self._say(f"reading the tokens of {len(corpus.chunks)} passages of {folder.parent.name}")
        vectors, spans, lengths = [], [], [0]
        for n in range(0, len(corpus.chunks), _BATCH):
            for read in encoder.encode_tokens([chunk.encoded for chunk in corpus.chunks[n : n + _BATCH]]):
                vectors.append(read.vectors.astype(np.float16))
                spans.append(read.spans)
                lengths.append(len(read.spans))
        np.save(folder.parent / "tokens.npy", np.concatenate(vectors))
        np.save(folder.parent / "token-spans.npy", np.concatenate(spans))
        np.save(folder.parent / "token-ends.npy", np.cumsum(lengths))

    def _kept(self, file: Path, n: int, make: Callable[[], Array]) -> Array:
        if file.exists() and len(found := np.load(file)) == n:
            return unit(found.astype(np.float32))
        made = make()
        np.save(file, made.astype(np.float16))
        return made


def _sentences(corpus: Corpus) -> list[tuple[int, int, int]]:
    """(passage, start, end) of each sentence, in characters of the passage's text."""
    return [(i, *span) for i, chunk in enumerate(corpus.chunks) for span in sentence_spans(chunk.text)]


def _of_passages(spans: Sequence[tuple[int, int, int]], vectors: Array) -> Sentences:
    return Sentences(vectors, np.array([i for i, _, _ in spans], dtype=np.int64))


class Matrices:
    """The queries of one set against the passages of its corpus. All scores are (queries, passages)."""

    def __init__(
        self,
        data: RetrievalSet,
        corpus: Corpus,
        encoder: Encoder,
        *,
        sentences: Callable[[], Sentences] | None = None,
        pooled: Callable[[], Sentences] | None = None,
        tokens: Callable[[], Tokens] | None = None,
    ) -> None:
        """Bind a set; the last three say what only some methods need."""
        self.data = data
        self.corpus = corpus
        self.query_ids = tuple(data.queries)
        self.queries = tuple(data.queries.values())
        self._encoder = encoder
        self.sentences = sentences
        self.pooled = pooled
        self.tokens = tokens

    @cached_property
    def query_vectors(self) -> Array:
        """(queries, dim), unit length."""
        return self._encode(self.queries)

    @cached_property
    def keyword_vectors(self) -> Array:
        """The same of each query's words for BM25 alone."""
        return self._encode([" ".join(query_terms(query)) for query in self.queries])

    @cached_property
    def query_tokens(self) -> list[Array]:
        """Unit vectors of each query's tokens: (its tokens, dim)."""
        assert isinstance(self._encoder, TokenEncoder)
        return [unit(self._encoder.read_queries([query])[1][0].vectors) for query in self.queries]

    def _encode(self, queries: Sequence[str]) -> Array:
        # One by one, as a search does: in 8 bits each text is rounded by its own range.
        return np.concatenate([self._encoder.encode_queries([query]) for query in queries])

    @cached_property
    def cosines(self) -> Array:
        found: Array = self.query_vectors @ self.corpus.vectors.T
        return found

    @cached_property
    def terms(self) -> list[tuple[str, ...]]:
        """The distinct stemmed words that BM25 looks for, of each query; names count by their words."""
        return [
            tuple(dict.fromkeys(stem for words in split_terms(tuple(query_terms(query))) for stem in words))
            for query in self.queries
        ]

    @cached_property
    def shares(self) -> Array:
        """The product's BM25 as a share of the highest score that each query allows, from 0 to 1."""
        return self.bm25_shares()

    def bm25(
        self,
        *,
        k1: float = K1,
        b: float = B,
        weigh: Callable[[NDArray[np.float64], int], NDArray[np.float64]] | None = None,
        terms: Sequence[Mapping[str, float]] | None = None,
        whole_documents: bool = False,
    ) -> tuple[Array, NDArray[np.float64]]:
        """BM25 of every passage, and the highest score that each query allows: (queries, 1).

        Args:
            k1: what a further mention of a word says.
            b: what the length takes from it.
            weigh: of words that stand in so many of n passages; the product's `log(1 + …)` by default.
            terms: weights of the stemmed words to look for, instead of each of the query's own once.
            whole_documents: words and lengths are those of the passage's whole document.
        """
        counts = (self.corpus.document_counts if whole_documents else self.corpus.counts).tocsr()
        n = counts.shape[0]
        lengths = np.asarray(counts.sum(axis=1)).ravel()
        scale = k1 * (1 - b + b * lengths / lengths.mean())
        saturated = counts.astype(np.float64)
        saturated.data = saturated.data * (k1 + 1) / (saturated.data + np.repeat(scale, np.diff(counts.indptr)))
        df = np.bincount(counts.indices, minlength=counts.shape[1]).astype(np.float64)
        # The last one is of words that no passage holds: they, too, are in the highest score that a query allows.
        weights = (weigh or log_weights)(np.append(df, 0), n)
        asked = sparse.lil_matrix((len(self.queries), counts.shape[1]))
        ceilings = np.zeros((len(self.queries), 1))
        for i, wanted in enumerate(terms or [dict.fromkeys(words, 1.0) for words in self.terms]):
            for word, weight in wanted.items():
                column = self.corpus.vocabulary.get(word, -1)
                ceilings[i] += (k1 + 1) * weight * weights[column]
                if column >= 0:
                    asked[i, column] = weight * weights[column]
        scores = np.asarray((asked.tocsr() @ saturated.T).todense(), dtype=np.float32)
        ceilings = np.maximum(ceilings, 1e-9)
        return scores[:, self.corpus.doc_of] if whole_documents else scores, ceilings

    def bm25_shares(
        self, *, terms: Sequence[Mapping[str, float]] | None = None, whole_documents: bool = False
    ) -> Array:
        scores, ceilings = self.bm25(terms=terms, whole_documents=whole_documents)
        return np.minimum(scores / ceilings, 1.0).astype(np.float32)

    def best_sentences(self, sentences: Sentences) -> Array:
        """The highest cosine of any of a passage's sentences; 0 for one without."""
        found = np.zeros_like(self.cosines)
        starts = np.flatnonzero(np.diff(sentences.passage_of, prepend=-1))
        cosines = self.query_vectors @ sentences.vectors.T
        found[:, sentences.passage_of[starts]] = np.maximum.reduceat(cosines, starts, axis=1)
        return found

    def run(self, scores: Array) -> Run:
        """The hundred best documents of each query by their best passages; -inf is not found."""
        found: Run = {}
        for query_id, row in zip(self.query_ids, scores, strict=True):
            of_documents = np.full(len(self.corpus.doc_ids), -np.inf, dtype=np.float32)
            np.maximum.at(of_documents, self.corpus.doc_of, row)
            best = np.argsort(-of_documents, kind="stable")[:_RUN_DEPTH]
            found[query_id] = {
                self.corpus.doc_ids[i]: float(of_documents[i]) for i in best if of_documents[i] > -np.inf
            }
        return found

    def relevant(self) -> NDArray[np.bool_]:
        """Which passages are of a relevant document: (queries, passages)."""
        qrels: Qrels = self.data.qrels
        of_documents = np.array(
            [[doc_id in qrels[query_id] for doc_id in self.corpus.doc_ids] for query_id in self.query_ids]
        )
        relevant: NDArray[np.bool_] = of_documents[:, self.corpus.doc_of]
        return relevant


def log_weights(df: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """The product's weight of words that stand in df of n passages; above 0 always."""
    return np.log1p((n - df + 0.5) / (df + 0.5))


def fts5_weights(df: NDArray[np.float64], n: int) -> NDArray[np.float64]:
    """FTS5's, which gives words of half of the passages next to nothing."""
    return np.maximum(np.log((n - df + 0.5) / (df + 0.5)), 1e-6)


def unit(vectors: NDArray[Any]) -> Array:
    """Each of the last axis at length 1; zeros stay."""
    found: Array = vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9)
    return found
