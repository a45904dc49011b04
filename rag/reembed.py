"""Takes an index from one encoder to another: the new vectors beside the old, then one switch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rag.embedder import TEXTS_PER_BATCH, Embedder
from rag.encoders import tells_of_tokens
from rag.progress import Progress, Stopped
from rag.store import Store
from rag.types import Chunk, Document, JsonValue
from rag.writer import StoreWriter

PENDING = "reembedding"  # in the manifest: the encoder whose vectors are being filled in, or null
_AGAIN = "embedding_again"  # in the manifest: the form in which all is embedded once more, and how far that is, or null


@dataclass(slots=True)
class ReembedReport:
    """What a change of encoder did."""

    documents: int = 0
    chunks: int = 0
    embedded: int = 0  # texts, in this run
    stopped: bool = False  # before the switch: the old vectors serve, and the next run goes on from there
    seconds: float = 0.0

    def as_json(self) -> dict[str, JsonValue]:
        """The form that `rag reembed --json` prints."""
        return {
            "documents": self.documents,
            "chunks": self.chunks,
            "embedded": self.embedded,
            "stopped": self.stopped,
            "seconds": round(self.seconds, 3),
        }


def reembed(
    writer: StoreWriter,
    store: Store,
    embedder: Embedder,
    report: ReembedReport,
    *,
    manifest: dict[str, JsonValue],
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> None:
    """Embed every document with another encoder, then switch. The caller holds the write lock.

    Until the switch, which is one transaction, readers are served from the old vectors. Documents are cut anew from
    their stored text, as the new encoder may count other tokens; no file is read.

    Args:
        writer: of the index.
        store: of the index; used by nobody else meanwhile.
        embedder: with the new encoder.
        report: filled on the way.
        manifest: what it says after the switch, with the new encoder.
        progress: called after each batch.
        stop: asked before each document and after each batch.

    Raises:
        Stopped: `stop` said so; what was embedded is kept for the next run.
    """
    encoder = embedder.encoder
    if store.manifest().get(PENDING) != {"name": encoder.name, "space": encoder.space}:
        writer.drop_loose_embeddings()  # of another encoder that was given up, for instance
        writer.set_manifest({PENDING: {"name": encoder.name, "space": encoder.space}})
    sources = store.sources()
    waiting: list[Chunk] = []
    for done, source in enumerate(sources, start=1):
        if stop is not None and stop():
            raise Stopped
        waiting.extend(embedder.cut(_document(store, source)))
        report.documents = done
        if len(waiting) < TEXTS_PER_BATCH and done < len(sources):
            continue
        report.chunks += len(waiting)
        for n_new in embedder.embed(waiting):
            report.embedded += n_new
            if progress is not None:
                progress(Progress(done, len(sources), report.chunks, source))
            if stop is not None and stop():
                raise Stopped
        waiting.clear()
    documents = ((source, embedder.cut(_document(store, source))) for source in sources)
    with writer.transaction():
        writer.switch_encoder(documents, {**manifest, PENDING: None, _AGAIN: None}, space=encoder.space)
        writer.drop_loose_embeddings()  # of the old encoder, and of any length: none must outlive the note of a change


def take_form(
    writer: StoreWriter,
    store: Store,
    embedder: Embedder,
    report: ReembedReport,
    *,
    manifest: dict[str, JsonValue],
    progress: Callable[[Progress], None] | None,
    stop: Callable[[], bool] | None,
) -> None:
    """Go over to an encoder of the same space: embed every text once more, if it has another form or tells of tokens.

    Vectors of both forms are comparable, so that each batch takes its place at once; nothing is cut anew. The caller
    holds the write lock. Arguments and errors are those of `reembed`.
    """
    form, old, begun = embedder.encoder.form, store.manifest()["encoder"], store.manifest().get(_AGAIN)
    after = int(str(begun["upto"])) if isinstance(begun, dict) and begun["form"] == form else 0
    is_other = bool(begun) or not isinstance(old, dict) or old["form"] != form
    is_other = is_other or (tells_of_tokens(embedder.encoder) and store.n_without_tokens() > 0)
    with writer.transaction():
        writer.set_manifest({PENDING: None})  # a change to another encoder is given up
        writer.drop_loose_embeddings()
    counts = store.counts()
    if is_other:
        report.documents, report.chunks = counts["documents"], counts["chunks"]
    while is_other and (rows := store.embedded_texts(after=after, limit=TEXTS_PER_BATCH)):
        after = rows[-1][0]
        with writer.transaction():
            embedder.embed_again({key: text for _, key, text in rows})
            writer.set_manifest({_AGAIN: {"form": form, "upto": after}})
        report.embedded += len(rows)
        if progress is not None:
            done = min(report.documents * report.embedded // counts["embeddings"], report.documents)
            progress(Progress(done, report.documents, report.chunks, form))
        if stop is not None and stop():
            raise Stopped
    writer.set_manifest({**manifest, _AGAIN: None})


def _document(store: Store, source: str) -> Document:
    document = store.document(source)
    assert document is not None, "the caller holds the write lock"
    return document
