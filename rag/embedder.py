"""From documents to embeddings in an index: cut, embed what was never embedded, keep it at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from rag.chunking import Chunking, chunk_document
from rag.encoders import CompiledEncoder, Encoder, tells_of_tokens
from rag.errors import EncoderError
from rag.late import token_bits
from rag.store import Store, embedding_key
from rag.types import Chunk, Document, JsonValue
from rag.writer import StoreWriter

TEXTS_PER_BATCH = 128  # embedded, then kept at once: what a kill can cost


class Embedder:
    """Cuts documents and embeds what was never embedded."""

    def __init__(
        self, encoder: Callable[[], Encoder], chunking: Chunking, *, store: Store, writer: StoreWriter
    ) -> None:
        """Bind an index's own ways; the encoder is asked for when it is first needed."""
        self._encoder = encoder
        self._chunking = chunking
        self._store = store
        self._writer = writer

    @property
    def encoder(self) -> Encoder:
        return self._encoder()

    def cut(self, document: Document) -> tuple[Chunk, ...]:
        """The passages of a document."""
        return tuple(chunk_document(document, chunking=self._chunking, count_tokens=self.encoder.count_tokens))

    def embed(self, chunks: Sequence[Chunk]) -> Iterator[int]:
        """Embed what was never embedded, batch by batch, each kept at once; yields how many were new.

        Raises:
            EncoderError: the encoder fails, or gives what cannot be a unit vector.
        """
        new = self._new_texts(chunks)
        keys = list(new)
        for i in range(0, len(keys), TEXTS_PER_BATCH):
            yield self._keep({key: new[key] for key in keys[i : i + TEXTS_PER_BATCH]})

    def put_off(self, chunks: Sequence[Chunk]) -> None:
        """Let what was never embedded wait for `embed_waiting`."""
        self._writer.add_waiting(list(self._new_texts(chunks)))

    def embed_waiting(self) -> Iterator[int]:
        """Embed what was put off, in this run or in one that was stopped; as `embed`."""
        while texts := self._store.waiting_texts(limit=TEXTS_PER_BATCH):
            yield self._keep(texts)

    def embed_again(self, texts: Mapping[bytes, str]) -> None:
        """Embed what is embedded once more, in the form that the encoder has now, in place of the vectors there are."""
        self._keep(texts, replace=True)

    def _new_texts(self, chunks: Sequence[Chunk]) -> dict[bytes, str]:
        """What was never embedded, by its key."""
        if not chunks:
            return {}  # without loading the encoder
        space = self.encoder.space
        texts = {embedding_key(space, chunk.encoded): chunk.encoded for chunk in chunks}
        known = self._store.known_embeddings(list(texts))
        return {key: text for key, text in texts.items() if key not in known}

    def _keep(self, texts: Mapping[bytes, str], *, replace: bool = False) -> int:
        encoder, bits = self.encoder, None
        if tells_of_tokens(encoder):
            vectors, read = encoder.read_documents(list(texts.values()))
            bits = [token_bits(text, tokens) for text, tokens in zip(texts.values(), read, strict=True)]
        else:
            vectors = encoder.encode_documents(list(texts.values()))
        if vectors.shape != (len(texts), encoder.dim) or not np.isfinite(vectors).all():
            raise EncoderError(
                f"the encoder {encoder.name!r} gave vectors of shape {vectors.shape}, or numbers that are not "
                f"finite, where {(len(texts), encoder.dim)} was expected: use another"
            )
        rows = [vector.astype("<f2").tobytes() for vector in vectors]
        self._writer.add_embeddings(list(texts), rows, bits, replace=replace)
        return len(texts)


def default_chunking(encoder: Encoder) -> Chunking:
    """Passages as long as the encoder reads, within reason."""
    return Chunking(max_tokens=min(encoder.max_tokens, Chunking().max_tokens))


def chunking_for(encoder: Encoder, *, instead_of: Mapping[str, Any], chunking: Chunking) -> Chunking:
    """As long as the default where it was that for the encoder before, else as it was, if the new one reads so much."""
    if chunking.max_tokens == min(instead_of["max_tokens"], Chunking().max_tokens):
        return replace(chunking, max_tokens=default_chunking(encoder).max_tokens)
    return replace(chunking, max_tokens=min(chunking.max_tokens, encoder.max_tokens))


def encoder_record(encoder: Encoder) -> dict[str, JsonValue]:
    """What an index keeps of its encoder."""
    # How far the form's vectors are from those of 32 bits, where that was measured.
    cosine = encoder.chosen.cosine if isinstance(encoder, CompiledEncoder) else None
    return {
        "name": encoder.name,
        "space": encoder.space,
        "form": encoder.form,
        "cosine": cosine if encoder.form == "onnx-int8" else None,
        "dim": encoder.dim,
        "max_tokens": encoder.max_tokens,
    }
