"""The SQLite side of checking: does every row say what the others say? Each method returns what does not hold."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

import numpy as np

from rag.chunking import section_spans
from rag.store import embedding_key, text_key
from rag.types import Document, Section
from rag.words import extra_words

_UNIT = 0.01  # how far from 1 the length of a float16 unit vector may be
_ROWS = 4096
_UNREADABLE = "what is stored of it cannot be read: ingest its file again, or remove it and add it again"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the passages of one document."""

    source: str
    words: str
    doubts_text: bool = False  # the stored document and its passages say different things: its file knows better
    can_cut: bool = True  # the document itself can be read, so that its passages can be made anew


class Audit:
    """Checks one open `index.sqlite`; the owner of the connection holds the write lock."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.text_factory = lambda data: data.decode(errors="replace")  # what is no text is told by comparing it

    def file(self) -> list[str]:
        """Pages, trees and references, as SQLite itself checks them."""
        found = [str(row[0]) for row in self._db.execute("pragma integrity_check(20)") if row[0] != "ok"]
        orphans = self._db.execute("pragma foreign_key_check").fetchmany(20)
        return found + [f"row {rowid} of {table} refers to no row of {parent}" for table, rowid, parent, _ in orphans]

    def words(self) -> list[str]:
        """The word index against the chunks, as FTS5 itself compares them."""
        self._db.execute("begin immediate")
        try:
            self._db.execute("insert into chunks_fts (chunks_fts, rank) values ('integrity-check', 1)")
        except sqlite3.DatabaseError as exc:
            return [f"the word index does not hold what the passages hold ({exc})"]
        finally:
            with suppress(sqlite3.OperationalError):  # some errors have rolled back already
                self._db.execute("rollback")
        return []

    def log(self) -> list[str]:
        """The log of changes, from which snapshots are brought up to date."""
        return self._that_hold(
            ("select count(*) from changes where length(token) <> 8", "{} changes without a token"),
            (
                "select count(*) from removed_chunks where chunk_id in (select id from chunks)",
                "{} passages that are there are noted as removed",
            ),
            (
                "select count(*) from manifest where key = 'log_start'"
                " and cast(value as integer) > (select coalesce(max(id), 0) from changes)",
                "the log begins after its end",
            ),
        )

    def loose(self) -> list[str]:
        """The list of embeddings that no chunk uses."""
        unused = "select id from embeddings where id not in (select embedding_id from chunks)"
        return self._that_hold(
            (f"select count(*) from ({unused} except select id from loose_embeddings)", "{} unused ones not listed"),
            (f"select count(*) from (select id from loose_embeddings except {unused})", "{} listed that are in use"),
        )

    def files(self) -> list[str]:
        """What is known of files: one that was read has a hash, by which a change is told."""
        return self._that_hold(
            (
                "select count(*) from files where reason is null and (sha256 is null or length(sha256) <> 32)",
                "{} files that were read without a hash",
            )
        )

    def embeddings(self, dim: int, *, and_others: bool) -> list[int]:
        """The ids of the embeddings that are no unit vectors of this dimension.

        Args:
            dim: of the encoder.
            and_others: those that no chunk uses may be of any dimension: another encoder's are being filled in.
        """
        wrong: list[int] = []
        rows = self._db.execute("select id, vector, id in (select embedding_id from chunks) from embeddings")
        while part := rows.fetchmany(_ROWS):
            by_size: dict[int, list[tuple[int, bytes]]] = {}
            for id_, data, is_used in part:
                if data == b"":
                    continue  # it waits for its vector
                may_be = isinstance(data, bytes) and (
                    len(data) == 2 * dim or (and_others and not is_used and len(data) > 0 and len(data) % 2 == 0)
                )
                if may_be:
                    by_size.setdefault(len(data), []).append((id_, data))
                else:
                    wrong.append(id_)
            for size, same in by_size.items():
                vectors = np.frombuffer(b"".join(data for _, data in same), dtype="<f2").reshape(-1, size // 2)
                with np.errstate(over="ignore", invalid="ignore"):
                    lengths = np.linalg.norm(vectors.astype(np.float32), axis=1)
                    is_unit = np.abs(lengths - 1) <= _UNIT  # False for what is not a number
                wrong += [i for (i, _), unit in zip(same, is_unit, strict=True) if not unit]
        return sorted(wrong)

    def torn_tokens(self, dim: int, *, and_others: bool) -> list[int]:
        """The embeddings of whose tokens no whole rows of bits are kept; arguments are those of `embeddings`."""
        wrong = f"(typeof(bits) <> 'blob' or length(bits) % {max(dim // 8, 1)} <> 0)"
        if and_others:
            wrong += " and embedding_id in (select embedding_id from chunks)"
        return [row[0] for row in self._db.execute(f"select embedding_id from token_bits where {wrong}")]

    def drop_tokens(self, of: Iterable[int]) -> None:
        """Those of some embeddings, and of all that are gone."""
        self._db.executemany("delete from token_bits where embedding_id = ?", [(i,) for i in of])
        self._db.execute("delete from token_bits where embedding_id not in (select id from embeddings)")

    def documents(self, space: str) -> Iterator[Fault]:
        """The first fault of each document that has one."""
        for (document_id,) in self._db.execute("select id from documents order by source").fetchall():
            row = self._db.execute(
                "select source, cast(text as blob), cast(title as blob), cast(sections as blob), cast(pages as blob),"
                " cast(metadata as blob), relpath from documents left join files on files.id = file_id"
                " where documents.id = ?",
                [document_id],
            ).fetchone()
            if row is None:
                raise sqlite3.DatabaseError(f"document {document_id} is listed, and not there")
            try:
                document = _document(*row[:6])
            except (ValueError, TypeError):
                yield Fault(str(row[0]), _UNREADABLE, doubts_text=True, can_cut=False)
                continue
            if row[6] is not None and f"/{row[6]}#" not in f"/{document.doc_id}#":
                words = f"its source is not that of its file, {row[6]!r}: ingest that again"
                yield Fault(document.doc_id, words, doubts_text=True, can_cut=False)
                continue
            try:
                fault = self._fault(document_id, document, space)
            except (ValueError, TypeError, AttributeError):  # a value of a kind that was never written there
                fault = Fault(document.doc_id, "a passage cannot be read", doubts_text=True)
            if fault is not None:
                yield fault

    def mistaken_embeddings(self, space: str) -> list[int]:
        """The ids of the embeddings that a chunk of another text uses, and of those that are known as of its text.

        Which of the two has the wrong key cannot be told. Chunks that are not their document's text are left out.
        """
        mistaken: set[int] = set()
        rows = self._db.execute(
            "select c.context, c.text, e.id, e.key from chunks c join embeddings e on e.id = c.embedding_id"
            ' join documents d on d.id = c.document_id where c.text = substr(d.text, c.start + 1, c."end" - c.start)'
        )
        for context, text, id_, key in rows:
            true_key = embedding_key(space, _encoded(context, f"{text}"))
            if key != true_key:
                known = self._db.execute("select id from embeddings where key = ?", [true_key]).fetchone()
                mistaken |= {id_, *(known or ())}
        return sorted(mistaken)

    def embeddings_of(self, chunks: Iterable[int]) -> list[int]:
        """The ids of the embeddings that these chunks use."""
        found = (self._db.execute("select embedding_id from chunks where id = ?", [i]).fetchone() for i in chunks)
        return [row[0] for row in found if row]

    def files_to_read(self) -> list[str]:
        """The files that were disowned, and that no ingest has read since."""
        rows = self._db.execute("select relpath from files where sha256 = zeroblob(32) order by relpath")
        return [str(relpath) for (relpath,) in rows]

    def without_file(self, sources: Iterable[str]) -> list[str]:
        """Those of these documents that a script added."""
        is_so = "select 1 from documents where source = ? and file_id is null"
        return [source for source in sources if self._db.execute(is_so, [source]).fetchone()]

    # Mending

    def restore_texts(self, space: str) -> None:
        """Put passages back into the texts of their documents, where the passage has its keys and the text has not."""
        for (document_id,) in self._db.execute("select id from documents").fetchall():
            row = self._db.execute(
                "select source, cast(text as blob), cast(title as blob), cast(sections as blob), cast(pages as blob),"
                " cast(metadata as blob) from documents where id = ?",
                [document_id],
            ).fetchone()
            with suppress(ValueError, TypeError, AttributeError):  # told of later, as what cannot be read
                document = replace(_document(row[0], b"", *row[2:]), text=row[1].decode(errors="surrogateescape"))
                text = _with_passages(document, self._passages(document_id), space).encode()
                if text != row[1]:
                    self._db.execute("update documents set text = ? where id = ?", [text.decode(), document_id])

    def rebuild_trees(self) -> None:
        """The trees that SQLite can make anew from the rows."""
        with suppress(sqlite3.DatabaseError):  # rows that cannot be read: the check says so again
            self._db.execute("reindex")

    def rebuild_words(self) -> None:
        self._db.execute("insert into chunks_fts (chunks_fts) values ('rebuild')")

    def rebuild_log(self) -> None:
        """Begin the log anew, with a change of its own: who follows it starts from the rows, or a new snapshot."""
        self._db.execute("delete from removed_chunks")
        self._db.execute("update changes set token = randomblob(8) where length(token) <> 8")
        self._db.execute("insert into changes (token, at) values (randomblob(8), datetime('now'))")
        self._db.execute("insert or replace into manifest (key, value) select 'log_start', max(id) from changes")
        self._db.execute(
            "update chunks set change_id = (select max(id) from changes)"
            " where change_id not in (select id from changes)"
        )

    def rebuild_loose(self) -> None:
        self._db.execute("delete from loose_embeddings")
        self._db.execute(
            "insert into loose_embeddings"
            " select id from embeddings where not exists (select 1 from chunks where embedding_id = embeddings.id)"
        )

    def disown_embeddings(self, ids: Iterable[int]) -> None:
        """Let no text find these embeddings any more, so that it is embedded anew."""
        self._db.executemany("update embeddings set key = randomblob(32) where id = ?", [(i,) for i in ids])

    def drop_unused_embeddings(self, ids: Iterable[int]) -> None:
        """Those of these that no chunk uses."""
        self._db.executemany(
            "delete from embeddings where id = ?1 and not exists (select 1 from chunks where embedding_id = ?1)",
            [(i,) for i in ids],
        )

    def drop_orphans(self) -> None:
        """Passages whose document has gone; a file that no document is known of any more is read again."""
        orphans = "document_id not in (select id from documents)"
        if self._db.execute(f"select 1 from chunks where {orphans}").fetchone():
            self._db.execute(f"delete from chunks where {orphans}")
            self._disown_files("id not in (select file_id from documents where file_id is not null)")

    def disown_files(self, sources: Iterable[str]) -> None:
        """Have the next ingest read again the files of these documents, and those whose hash is missing."""
        self._disown_files("sha256 is null or length(sha256) <> 32")
        for source in sources:
            self._disown_files("id = (select file_id from documents where source = ?)", source)

    def _disown_files(self, where: str, *arguments: str) -> None:
        self._db.execute(
            f"update files set size = -1, sha256 = zeroblob(32) where reason is null and ({where})", arguments
        )

    def _that_hold(self, *faults: tuple[str, str]) -> list[str]:
        counted = ((int(self._db.execute(sql).fetchone()[0]), words) for sql, words in faults)
        return [words.format(n) for n, words in counted if n]

    def _fault(self, document_id: int, document: Document, space: str) -> Fault | None:
        passages = self._passages(document_id)
        faults = [fault for fault in _passage_faults(document, passages, space) if fault]
        words = _outline_fault(document, [(passage.start, passage.end, passage.section) for passage in passages])
        faults += [(words, True)] if words else []
        return Fault(document.doc_id, faults[0][0], any(doubts for _, doubts in faults)) if faults else None

    def _passages(self, document_id: int) -> list[_Passage]:
        rows = self._db.execute(
            'select c.start, c."end", c.section, c.text, c.text_key, c.page, c.breaks, c.context, e.key,'
            " c.extra"
            " from chunks c left join embeddings e on e.id = c.embedding_id"
            " where c.document_id = ? order by c.start, c.id",
            [document_id],
        )
        return [_Passage(*row) for row in rows]


@dataclass(frozen=True, slots=True)
class _Passage:
    """A chunk as its row says."""

    start: int
    end: int
    section: str | None
    text: str
    key: int
    page: int | None
    breaks: str
    context: str
    embedding: bytes | None  # the key of its embedding, where there is one
    extra: str  # words, indexed beside it

    def has_keys_of(self, text: str, space: str) -> bool:
        """Whether both of its keys, made when it was cut, are those of this text."""
        return text_key(text) == self.key and embedding_key(space, _encoded(self.context, text)) == self.embedding


def _encoded(context: str, text: str) -> str:
    return f"{context}\n{text}" if context else text


def _passage_faults(document: Document, passages: Iterable[_Passage], space: str) -> Iterator[tuple[str, bool] | None]:
    """For each passage its first fault, if any, and whether that leaves the document's text in doubt."""
    upto = 0
    for passage in passages:
        yield _passage_fault(document, passage, space, upto=upto)
        upto = max(upto, passage.end)


def _passage_fault(document: Document, passage: _Passage, space: str, *, upto: int) -> tuple[str, bool] | None:
    start, end, where = passage.start, passage.end, f"the passage at {passage.start}"
    if not 0 <= start < end <= len(document.text):
        return f"{where} is not inside its text", True
    if start < upto:
        return f"{where} stands where another one is", True
    text = document.text[start:end]
    if text != passage.text:
        return f"{where} is not the document's text there", not passage.has_keys_of(text, space)
    if text_key(text) != passage.key:
        return f"{where} has the key of another text", False
    inside = [offset for offset in document.pages if start < offset < end]
    if (passage.page, json.loads(passage.breaks)) != (document.page_at(start), inside):
        return f"{where} names another page than its document", True
    if passage.embedding is None:
        return f"{where} has no embedding", False
    if passage.embedding != embedding_key(space, _encoded(passage.context, text)):
        return f"{where} has the embedding of another text", False
    if passage.extra != extra_words(_encoded(passage.context, text)):
        return f"{where} has words beside it that its text does not give", False
    return None


def _with_passages(document: Document, passages: Sequence[_Passage], space: str) -> str:
    """Its text, with every passage in its place whose keys vouch for it.

    Where the passages, one after the other, do not make up the whole of it, places or lengths have changed: then the
    text is left as it is.
    """
    text, upto = document.text, 0
    for passage in passages:
        start, end = passage.start, passage.end
        if not upto <= start < end <= len(text):
            return document.text
        if len(passage.text) == end - start and passage.has_keys_of(passage.text, space):
            text = text[:start] + passage.text + text[end:]
        upto = end
    whole = replace(document, text=text)
    spans = [(passage.start, passage.end, document.section_at(passage.start)) for passage in passages]
    return document.text if _outline_fault(whole, spans) else text


def _outline_fault(document: Document, passages: list[tuple[int, int, str | None]]) -> str | None:
    """What is wrong with the sections of its passages, or is in none of them; white space and headings may be."""
    for start, end, path in section_spans(document):
        upto = start
        for at, passage_end, section in (passage for passage in passages if start <= passage[0] < end):
            if section != path:
                return f"the passage at {at} names another section than its document"
            if document.text[upto:at].strip():
                break
            upto = passage_end
        if document.text[upto:end].strip():
            return f"the text at {upto} is in no passage"
    return None


def _document(
    source: str, text: bytes, title: bytes | None, sections: bytes, pages: bytes, metadata: bytes
) -> Document:
    """What a row says.

    Raises:
        ValueError: it is not UTF-8, no JSON, or of another form.
        TypeError: as above.
    """
    outline = tuple(Section(*section) for section in json.loads(sections))
    offsets = json.loads(pages)
    is_whole = (
        isinstance(json.loads(metadata), dict)
        and all(isinstance(offset, int) for offset in offsets)
        and all(isinstance(s.start, int) and isinstance(s.body, int) and isinstance(s.path, str) for s in outline)
    )
    if not is_whole:
        raise ValueError(f"no document: {source!r}")
    return Document(source, text.decode(), None if title is None else title.decode(), outline, tuple(offsets))
