"""Whatever is wrong with an index is named in words; what can be mended is mended, and nothing else is touched."""

from __future__ import annotations

import random
import shutil
import sqlite3
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rag.cli.rendering import print_diagnosis
from rag.doctor import Diagnosis
from rag.errors import EncoderError, IndexDamagedError, RagError
from rag.index import Index
from rag.types import Document, Section
from rag.vectors import FlatVectors
from tests.fakes import HashingEncoder
from tests.test_index import found, sql

QUERIES = ("honey trees", "蜂蜜 🐝 東京", "a long story of word42", "okapis", "script pages second")

Hits = list[list[tuple[str, int, str, float]]]


def write_docs(folder: Path) -> None:
    """Headings and front matter, copies, lines, a text of several passages, other scripts, one that is set aside."""
    (folder / "sub").mkdir(parents=True)
    (folder / "apples.md").write_text(
        "---\nauthor: Ada\n---\n# Apples\n\nApples grow on trees.\n\n## Harvest\n\nIn September.\n\n## Storage\n"
    )
    (folder / "bees.txt").write_text("Bees make honey.")
    (folder / "copy.txt").write_text("Bees make honey.")
    (folder / "lines.jsonl").write_text(
        '{"id": "a", "text": "Cows give milk.", "lang": "en"}\n{"id": "b", "text": "B."}'
    )
    (folder / "long.txt").write_text("A long story of " + " ".join(f"word{n}" for n in range(150)) + ".")
    (folder / "cjk.txt").write_text("東京 蜂蜜 🐝 e\u0301te\u0301. " * 3, encoding="utf-8")
    (folder / "empty.txt").touch()
    (folder / "sub" / "edited.txt").write_text("Okapis are shy.")


SCRIPTS = [
    Document(
        "a-script's", "Script pages. The second page.", "Script", (Section(0, 7, "One"),), (0, 14), {"n": [1, None]}
    )
]


@dataclass(frozen=True, slots=True)
class Built:
    folder: Path
    docs: Path
    hits: Hits


def hits(index: Index) -> Hits:
    return [found(index, query, mode) for query in QUERIES for mode in ("dense", "bm25", "hybrid")]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """An index with a past: a file was edited, one moved, one removed, and some changes are not in its snapshot."""
    folder = tmp_path_factory.mktemp("template")
    docs = folder / "docs"
    write_docs(docs)
    (docs / "gone.txt").write_text("This is going to go.")
    (docs / "copy.txt").rename(docs / "first.txt")
    (docs / "sub" / "edited.txt").write_text("The first version.")
    with Index.create(folder / "index", encoder=HashingEncoder()) as index:
        index.ingest(docs)
        index.add(SCRIPTS)
        (docs / "gone.txt").unlink()
        (docs / "first.txt").rename(docs / "copy.txt")
        (docs / "sub" / "edited.txt").write_text("Okapis are shy.")
        index.ingest(docs)
        as_is = hits(index)
    with Index.create(folder / "fresh", encoder=HashingEncoder()) as fresh:
        fresh.ingest(docs)
        fresh.add(SCRIPTS)
        assert hits(fresh) == as_is
    return Built(folder / "index", docs, as_is)


@pytest.fixture
def old(template: Built, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    shutil.copytree(template.folder, tmp_path / "index")
    return tmp_path / "index"


def faults(diagnosis: Diagnosis) -> dict[str, str]:
    return {check.name: "; ".join(check.faults) for check in diagnosis.checks if not check.holds}


def opened(folder: Path) -> Index:
    return Index.open(folder, encoder=HashingEncoder())


# --- nothing is wrong


def nothing(index: Index, docs: Path) -> None:
    pass


def files(index: Index, docs: Path) -> None:
    index.ingest(docs)


def scripts(index: Index, docs: Path) -> None:
    index.add(
        [
            *SCRIPTS,
            Document("empty", ""),
            Document("blank", " \n\t "),
            Document("heading", "Alone", None, (Section(0, 5, "Alone"),)),
            Document("pages", "One. Two. Three.", None, (), (0, 5, 5, 10, 16)),
            Document("late", "Before the heading. Heading And after.", None, (Section(20, 27, "Heading"),)),
            Document("long", "東京で蜂蜜を食べる。🐝" * 40, "é" * 300, (Section(3, 3, "一" * 200),), (0, 7)),
        ]
    )


def removals(index: Index, docs: Path) -> None:
    index.ingest(docs)
    index.add(SCRIPTS)
    index.remove("bees.txt")
    index.remove("a-script's")
    index.remove(docs / "sub")
    (docs / "long.txt").unlink()
    index.ingest(docs)


def moves_and_edits(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "lines.jsonl").rename(docs / "sub" / "rows.jsonl")
    (docs / "bees.txt").rename(docs / "insects.txt")
    (docs / "apples.md").write_text("# Pears\n\nNo apples.")
    index.ingest(docs)


def another_encoder(index: Index, docs: Path) -> None:
    index.ingest(docs)
    index.reembed(HashingEncoder(name="small", dim=32, max_tokens=32))


def half_way_to_another_encoder(index: Index, docs: Path) -> None:
    index.ingest(docs)
    assert index.reembed(HashingEncoder(name="small", dim=32), stop=lambda: True).stopped
    assert index.status().reembedding == "small"


def compacted(index: Index, docs: Path) -> None:
    removals(index, docs)
    index.compact()


@pytest.mark.parametrize(
    "make",
    [nothing, files, scripts, removals, moves_and_edits, another_encoder, half_way_to_another_encoder, compacted],
    ids=lambda make: make.__name__.replace("_", " "),
)
def test_a_healthy_index_holds_in_every_check(
    index: Index, tmp_path: Path, make: Callable[[Index, Path], None]
) -> None:
    write_docs(tmp_path / "docs")
    make(index, tmp_path / "docs")
    before = [tuple(row) for row in sql(index.path, "select * from chunks, embeddings, changes")]
    for diagnosis in (index.examine(), index.examine(repair=True)):
        assert faults(diagnosis) == {}
        assert diagnosis.holds
        assert [check.name for check in diagnosis.checks] == [
            "file", "words", "files", "log", "documents", "embeddings", "tokens", "unused", "snapshot"
        ]  # fmt: skip
        assert not any(check.mended for check in diagnosis.checks)
    assert [tuple(row) for row in sql(index.path, "select * from chunks, embeddings, changes")] == before


def test_an_index_is_examined_beside_its_readers(old: Path, template: Built) -> None:
    with opened(old) as reader, opened(old) as index, reader.reading() as view:
        assert view.n_vectors > 0
        assert index.examine(repair=True).holds
    with opened(old) as index:
        assert hits(index) == template.hits


def test_the_diagnosis_as_json_has_the_keys_that_programs_rely_on(old: Path) -> None:
    sql(old, "update manifest set value = '999' where key = 'log_start'")
    with opened(old) as index:
        json = index.examine().as_json()
    assert json["holds"] is False
    checks = json["checks"]
    assert isinstance(checks, list)
    assert checks[3] == {
        "name": "log",
        "promise": "the log of changes leads from any state to now",
        "holds": False,
        "mended": False,
        "faults": ["the log begins after its end"],
        "notes": [],
    }


# --- damage


def chunk(source: str, *, n: int = 0) -> str:
    """SQL for the id of the nth passage of a document."""
    return (
        f"(select c.id from chunks c join documents d on d.id = c.document_id where d.source = '{source}'"
        f" order by c.start limit 1 offset {n})"
    )


def embedding(source: str, *, n: int = 0) -> str:
    """SQL for the id of its embedding."""
    return f"(select embedding_id from chunks where id = {chunk(source, n=n)})"


def of_chunk(source: str, assignment: str, *, n: int = 0) -> str:
    return f"update chunks set {assignment} where id = {chunk(source, n=n)}"


def of_document(source: str, assignment: str) -> str:
    return f"""update documents set {assignment} where source = '{source.replace("'", "''")}'"""


def vector(value: float, length: int = 256) -> str:
    return "x'" + np.full(length, value, "<f2").tobytes().hex() + "'"


def damage_rows(folder: Path, *statements: str) -> None:
    """Through a connection of its own, which keeps no reference and no trigger unless told to."""
    db = sqlite3.connect(folder / "index.sqlite", isolation_level=None)
    try:
        for statement in statements:
            assert db.execute(statement).rowcount != 0, statement
    finally:
        db.close()


def without_triggers(folder: Path, *statements: str) -> None:
    triggers = sql(folder, "select name, sql from sqlite_master where type = 'trigger'")
    damage_rows(
        folder,
        *(f"drop trigger {name}" for name, _ in triggers),
        *statements,
        *(str(text) for _, text in triggers),
    )


@dataclass(frozen=True, slots=True)
class Damage:
    name: str
    check: str  # that must tell
    words: str  # in what it says
    statements: tuple[str, ...]
    has_triggers: bool = True

    def do(self, folder: Path) -> None:
        (damage_rows if self.has_triggers else without_triggers)(folder, *self.statements)


def damage(name: str, check: str, words: str, *statements: str, has_triggers: bool = True) -> Damage:
    return Damage(name, check, words, statements, has_triggers)


SCRIPT = "a-script''s"  # in SQL
NO_TEXT = "is not the document's text there"
OTHER_TEXT = "has the embedding of another text"
MENDABLE = [
    damage("text", "documents", f"bees.txt: the passage at 0 {NO_TEXT}", of_chunk("bees.txt", "text = 'Wasps.'")),
    damage("text, for the words", "words", "does not hold what the passages hold", of_chunk("cjk.txt", "text = 'x'")),
    damage("start", "documents", f"long.txt: the passage at 1 {NO_TEXT}", of_chunk("long.txt", "start = 1")),
    damage("start above end", "documents", "the passage at 99 is not inside", of_chunk("bees.txt", "start = 99")),
    damage("start below 0", "documents", "the passage at -1 is not inside", of_chunk("bees.txt", "start = -1")),
    damage("end", "documents", f"the passage at 0 {NO_TEXT}", of_chunk("bees.txt", "end = end - 1")),
    damage("end outside", "documents", "the passage at 0 is not inside its text", of_chunk("bees.txt", "end = 17")),
    damage("no number", "documents", "bees.txt: a passage cannot be read", of_chunk("bees.txt", "end = 'x'")),
    damage("page", "documents", "names another page than its document", of_chunk(SCRIPT, "page = 2")),
    damage("page without pages", "documents", "names another page", of_chunk("bees.txt", "page = 1")),
    damage("breaks", "documents", "names another page than its document", of_chunk(SCRIPT, "breaks = '[3]'")),
    damage("breaks, no JSON", "documents", "a passage cannot be read", of_chunk(SCRIPT, "breaks = '['")),
    damage("words beside", "documents", "has words beside it that its text does not give",
           of_chunk("cjk.txt", "extra = 'x'")),
    damage("torn tokens", "tokens", "the tokens of embedding 1 are torn",
           "update token_bits set bits = substr(bits, 2) where embedding_id = 1"),
    damage("section", "documents", "names another section", of_chunk("apples.md", "section = 'Pears'")),
    damage("section of another", "documents", "names another section",
           of_chunk("apples.md", "section = 'Apples'", n=2)),
    damage("no section", "documents", "names another section", of_chunk("apples.md", "section = null", n=2)),
    damage("context", "documents", f"the passage at 0 {OTHER_TEXT}", of_chunk("bees.txt", "context = 'Wasps'")),
    damage("text key", "documents", "has the key of another text", of_chunk("copy.txt", "text_key = text_key + 1")),
    damage("other embedding", "documents", f"bees.txt: the passage at 0 {OTHER_TEXT}",
           of_chunk("bees.txt", f"embedding_id = {embedding('cjk.txt')}")),
    damage("no embedding", "file", "of chunks refers to no row of embeddings",
           of_chunk("cjk.txt", "embedding_id = 999")),
    damage("no embedding, for the document", "documents", "bees.txt: the passage at 0 has no embedding",
           of_chunk("bees.txt", "embedding_id = 999")),
    damage("passage deleted", "documents", "bees.txt: the text at 0 is in no passage",
           f"delete from chunks where id = {chunk('bees.txt')}"),
    damage("middle passage deleted", "documents", "is in no passage",
           f"delete from chunks where id = {chunk('long.txt', n=1)}"),
    damage("passage of a heading deleted", "documents", "apples.md: the text at 64 is in no passage",
           f"delete from chunks where id = {chunk('apples.md', n=2)}"),
    damage("passage deleted, not its words", "words", "does not hold what the passages hold",
           f"delete from chunks where id = {chunk('bees.txt')}", has_triggers=False),
    damage("passage twice", "documents", "long.txt: the passage at 0 stands where another one is",
           "insert into chunks (document_id, change_id, embedding_id, start, end, page, breaks, section, context, text,"
           " text_key) select document_id, change_id, embedding_id, start, end, page, breaks, section, context, text,"
           f" text_key from chunks where id = {chunk('long.txt')}"),
    damage("passage of no document", "file", "of chunks refers to no row of documents",
           "delete from documents where source = 'bees.txt'"),
    damage("passage of no change", "file", "of chunks refers to no row of changes",
           "delete from changes where id = (select min(change_id) from chunks)"),
    damage("words of a passage deleted", "words", "the word index does not hold",
           "insert into chunks_fts (chunks_fts, rowid, context, text)"
           f" select 'delete', id, context, text from chunks where id = {chunk('bees.txt')}"),
    damage("words twice", "words", "the word index does not hold",
           f"insert into chunks_fts (rowid, context, text) select id, '', 'more'"
           f" from chunks where id = {chunk('cjk.txt')}"),
    damage("words deleted", "words", "the word index does not hold", "delete from chunks_fts_data where id > 10"),
    damage("words garbled", "words", "the word index does not hold",
           "update chunks_fts_data set block = zeroblob(length(block)) where id > 10"),
    damage("lengths of words deleted", "words", "the word index does not hold", "delete from chunks_fts_docsize"),
    damage("words without structure", "words", "the word index does not hold",
           "update chunks_fts_data set block = zeroblob(4) where id = 10"),
    damage("vector of another length", "embeddings", "is not 256 numbers of length 1",
           f"update embeddings set vector = {vector(1 / 16, 255)} where id = {embedding('bees.txt')}"),
    damage("vector of another length, for the vectors", "snapshot", "are not all of one dimension",
           f"update embeddings set vector = {vector(1 / 16, 255)} where id = {embedding('bees.txt')}"),
    damage("no vector", "snapshot", "are not those of the passages",
           f"update embeddings set vector = x'' where id = {embedding('bees.txt')}"),
    damage("vector of an odd length", "embeddings", "is not 256 numbers of length 1",
           f"update embeddings set vector = x'010203' where id = {embedding('bees.txt')}"),
    damage("vector as text", "embeddings", "is not 256 numbers of length 1",
           f"update embeddings set vector = 'text' where id = {embedding('bees.txt')}"),
    *(
        damage(f"vector of {value}", "embeddings", "is not 256 numbers of length 1",
               f"update embeddings set vector = {vector(value)} where id = {embedding('bees.txt')}")
        for value in (0.0, 0.5, 60_000.0, np.nan, np.inf, -np.inf)
    ),
    damage("unused vector of zeros", "embeddings", "is not 256 numbers of length 1",
           f"update embeddings set vector = {vector(0)} where id = (select min(id) from loose_embeddings)"),
    damage("vectors of two texts swapped", "documents", OTHER_TEXT,
           "create temp table swap as select id, key from embeddings"
           f" where id in ({embedding('bees.txt')}, {embedding('cjk.txt')})",
           "update embeddings set key = randomblob(32) where id in (select id from swap)",
           "update embeddings set key = (select key from swap where id <> embeddings.id)"
           " where id in (select id from swap)"),
    damage("embedding deleted", "documents", "has no embedding",
           f"delete from embeddings where id = {embedding('cjk.txt')}"),
    damage("unused not listed", "unused", "unused ones not listed", "delete from loose_embeddings"),
    damage("used listed as unused", "unused", "1 listed that are in use",
           f"insert into loose_embeddings values ({embedding('bees.txt')})"),
    damage("listed as unused without being there", "unused", "1 listed that are in use",
           "insert into loose_embeddings values (999)"),
    damage("noted as removed", "log", "1 passages that are there are noted as removed",
           f"insert into removed_chunks values ({chunk('bees.txt')}, 999)"),
    damage("not noted as removed", "snapshot", "are not those of the passages", "delete from removed_chunks"),
    damage("log begins too late", "log", "begins after its end",
           "update manifest set value = 999 where key = 'log_start'"),
    damage("token shortened", "log", "1 changes without a token", "update changes set token = x'0102' where id = 2"),
    damage("token gone", "log", "changes without a token", "update changes set token = x''"),
    damage("file without hash", "files", "1 files that were read without a hash",
           "update files set sha256 = null where relpath = 'bees.txt'"),
    damage("file with half a hash", "files", "files that were read without a hash",
           "update files set sha256 = x'0102'"),
]  # fmt: skip


@pytest.mark.parametrize("harm", MENDABLE, ids=lambda harm: harm.name)
def test_a_damage_is_named_and_mended(old: Path, template: Built, harm: Damage) -> None:
    harm.do(old)
    with opened(old) as index:
        told = faults(index.examine())
        assert harm.words in told.get(harm.check, ""), told
        mended = index.examine(repair=True)
        assert faults(mended) == {}
        assert {check.name for check in mended.checks if check.mended} == set(told)
        assert faults(index.examine()) == {}
        index.ingest(template.docs)
        assert hits(index) == template.hits
        assert faults(index.examine()) == {}
    with opened(old) as again:
        assert hits(again) == template.hits


def test_what_was_embedded_is_not_embedded_again_for_a_mend(old: Path) -> None:
    """Only the texts whose vectors are in doubt are."""
    encoder = HashingEncoder()
    of_text, of_vector, swapped = (
        next(harm for harm in MENDABLE if harm.name == name)
        for name in ("text", "vector of nan", "vectors of two texts swapped")
    )
    for harm, embedded in (
        (of_text, []),
        (of_vector, ["Bees make honey."]),
        (swapped, ["Bees make honey.", "東京 蜂蜜 🐝 e\u0301te\u0301. " * 2 + "東京 蜂蜜 🐝 e\u0301te\u0301."]),
    ):
        harm.do(old)
        encoder.texts.clear()
        with Index.open(old, encoder=encoder) as index:
            assert index.examine(repair=True).holds
        assert encoder.texts == embedded


def test_a_reader_that_took_the_damage_in_sees_the_mend(old: Path, template: Built) -> None:
    """It stands at the last change already, and has the wrong vectors in memory."""
    damage_rows(old, "delete from removed_chunks", of_chunk("bees.txt", f"embedding_id = {embedding('cjk.txt')}"))
    for snapshot in old.glob("vectors-*"):
        snapshot.unlink()
    with opened(old) as reader, opened(old) as index:
        assert hits(reader) != template.hits
        assert index.examine(repair=True).holds
        assert hits(reader) == template.hits


def test_many_faults_are_counted(index: Index) -> None:
    index.add(Document(f"d{n}", f"word{n}") for n in range(9))
    damage_rows(index.path, "update chunks set page = 7")
    (told,) = (check for check in index.examine().checks if check.name == "documents")
    assert told.faults[0] == "d0: the passage at 0 names another page than its document"
    assert (len(told.faults), told.faults[-1]) == (6, "and 4 more")


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        (f"delete from chunks where id = {chunk('cjk.txt')}", "a passage that was found is not there: mend the index"),
        ("delete from documents where source = 'cjk.txt'", "a passage that was found is not there: mend the index"),
        (
            f"update embeddings set vector = x'0102' where id = {embedding('cjk.txt')}",
            "an embedding is not 256 numbers",
        ),
        (f"update embeddings set vector = 'text' where id = {embedding('cjk.txt')}", "an embedding is not 256"),
    ],
)
def test_a_search_that_meets_a_damage_says_what_mends_it(old: Path, statement: str, words: str) -> None:
    with opened(old) as index:
        if "delete from chunks" in statement:
            index.compact()  # its vector is in the snapshot
        damage_rows(old, statement)
        if "vector" in statement:
            for snapshot in old.glob("vectors-*"):
                snapshot.unlink()
        with pytest.raises(IndexDamagedError, match=rf"{words}.* rag doctor --repair"):
            found(index, "蜂蜜", "dense")
        index.examine(repair=True)
        assert found(index, "honey", "dense")[0][0] == "bees.txt"


# --- damage that only the files can mend: it is said until they are ingested again


IN_FILES = [
    damage("document's text", "documents", f"bees.txt: the passage at 0 {NO_TEXT}",
           of_document("bees.txt", "text = 'Wasps make paper.'")),
    damage("document's text, longer", "documents", "bees.txt: the text at 16 is in no passage",
           of_document("bees.txt", "text = text || ' Or not.'")),
    damage("document's text, shorter", "documents", "bees.txt: the passage at 0 is not inside its text",
           of_document("bees.txt", "text = 'Bees'")),
    damage("document's text, none", "documents", "bees.txt: the passage at 0 is not inside its text",
           of_document("bees.txt", "text = ''")),
    damage("document's text, no UTF-8", "documents", "bees.txt: what is stored of it cannot be read",
           of_document("bees.txt", "text = cast(x'42ff' as text)")),
    damage("sections", "documents", "apples.md: what is stored of it cannot be read",
           of_document("apples.md", "sections = '[[0, 1'")),
    damage("sections of another form", "documents", "apples.md: what is stored of it cannot be read",
           of_document("apples.md", "sections = '[[1, 2]]'")),
    damage("sections, none", "documents", "names another section", of_document("apples.md", "sections = '[]'")),
    damage("pages", "documents", "bees.txt: what is stored of it cannot be read",
           of_document("bees.txt", "pages = '{'")),
    damage("pages of another form", "documents", "what is stored of it cannot be read",
           of_document("bees.txt", "pages = '[null]'")),
    damage("more pages", "documents", "names another page", of_document("bees.txt", "pages = '[0, 4]'")),
    damage("metadata", "documents", "lines.jsonl#a: what is stored of it cannot be read",
           of_document("lines.jsonl#a", "metadata = 'lang'")),
    damage("metadata, a list", "documents", "lines.jsonl#a: what is stored of it cannot be read",
           of_document("lines.jsonl#a", "metadata = '[]'")),
    damage("source", "documents", "wasps.txt: its source is not that of its file, 'bees.txt'",
           of_document("bees.txt", "source = 'wasps.txt'")),
]  # fmt: skip


@pytest.mark.parametrize("harm", IN_FILES, ids=lambda harm: harm.name)
def test_what_only_the_file_can_mend_is_mended_by_the_next_ingest(old: Path, template: Built, harm: Damage) -> None:
    harm.do(old)
    with opened(old) as index:
        assert harm.words in faults(index.examine()).get(harm.check, "")
        repaired = faults(index.examine(repair=True))
        assert repaired.keys() <= {"documents"}
        assert index.ingest(template.docs).read == 1
        assert faults(index.examine()) == {}
        assert hits(index) == template.hits


@pytest.mark.parametrize("column", ["sections", "pages", "metadata"])
def test_what_a_script_added_and_cannot_be_read_is_said_until_it_is_added_again(
    old: Path, template: Built, column: str
) -> None:
    damage_rows(old, of_document("a-script's", f"{column} = 'no JSON'"))
    with opened(old) as index:
        for repair in (False, True, True):
            told = faults(index.examine(repair=repair))
            assert told == {
                "documents": "a-script's: what is stored of it cannot be read:"
                " ingest its file again, or remove it and add it again"
            }
        with pytest.raises(RagError, match=r"what is stored of \"a-script's\" cannot be read .*: see rag doctor"):
            index.document("a-script's")
        assert hits(index) == template.hits
        index.add(SCRIPTS)
        assert faults(index.examine()) == {}
        assert hits(index) == template.hits


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("delete from files where relpath = 'bees.txt'", "of documents refers to no row of files"),
        ("delete from roots", "of files refers to no row of roots"),
    ],
)
def test_a_reference_that_leads_nowhere_and_cannot_be_guessed_is_said(
    old: Path, template: Built, statement: str, words: str
) -> None:
    damage_rows(old, statement)
    with opened(old) as index:
        for repair in (False, True):
            assert words in faults(index.examine(repair=repair))["file"]
        assert hits(index) == template.hits


# --- a document's text and its passages' say different things: the keys tell which of the two was damaged

CONTRACT = "The contract ends on 17 March 2031."
Texts = tuple[dict[str, str], list[tuple[object, ...]]]


def stored(folder: Path) -> Texts:
    """The text of each document, and its passages."""
    texts = {str(source): str(text) for source, text in sql(folder, "select source, text from documents")}
    passages = sql(
        folder,
        "select source, start, end, page, breaks, section, context, c.text, text_key, key, vector from chunks c"
        " join documents d on d.id = document_id join embeddings e on e.id = embedding_id order by source, start",
    )
    return texts, [tuple(row) for row in passages]


def notes(diagnosis: Diagnosis) -> list[str]:
    return [note for check in diagnosis.checks for note in check.notes]


@pytest.mark.parametrize("by_script", [False, True], ids=["from a file", "added by a script"])
@pytest.mark.parametrize(
    "statements",
    [
        ["update documents set text = replace(text, '17 March', '57 March') where text like '%17 March%'"],
        ["update documents set text = cast(replace(text, '17 March', cast(x'b137' as text) || ' March') as text)"
         " where text like '%17 March%'"],
        ["update chunks set text = replace(text, '17 March', '57 March') where text like '%17 March%'"],
        ["update documents set text = replace(text, '17 March', '57 March') where text like '%17 March%'",
         f"update embeddings set vector = {vector(0)}"],
    ],
    ids=["document", "document, no UTF-8", "passage", "document and vectors"],
)  # fmt: skip
def test_the_text_whose_keys_match_is_put_back(
    index: Index, tmp_path: Path, statements: list[str], by_script: bool
) -> None:
    if by_script:
        index.add([Document("contract.txt", CONTRACT), Document("other", "Another text.")])
    else:
        (tmp_path / "docs").mkdir()
        (tmp_path / "docs" / "contract.txt").write_text(CONTRACT)
        index.ingest(tmp_path / "docs")
    before, as_is = stored(index.path), found(index, "17 March 2031", "hybrid")
    damage_rows(index.path, *statements)
    mended = index.examine(repair=True)
    assert mended.holds
    assert notes(mended) == []
    assert stored(index.path) == before
    assert found(index, "17 March 2031", "hybrid") == as_is
    assert by_script or index.ingest(tmp_path / "docs").unchanged == 1


def test_of_many_passages_each_is_put_back_and_the_rest_of_the_document_stays(old: Path, template: Built) -> None:
    before = stored(old)
    damage_rows(
        old,
        of_document("long.txt", "text = replace(replace(text, 'word3 ', 'wurd3 '), 'word149', 'wurd149')"),
        of_chunk("long.txt", "text = replace(text, 'word60', 'wurd60')", n=1),
        of_document("apples.md", "text = replace(text, 'In September.', 'In November!')"),
    )  # the last is of another length, by one
    with opened(old) as index:
        mended = index.examine(repair=True)
        assert mended.holds
        assert notes(mended) == ["1 file will be read again by the next rag ingest: apples.md"]
        assert stored(old)[0].items() - before[0].items() == {
            ("apples.md", before[0]["apples.md"].replace("In September.", "In November!"))
        }
        assert notes(index.examine()) == notes(mended)
        assert index.ingest(template.docs).read == 1
        assert notes(index.examine()) == []
        assert hits(index) == template.hits
    assert stored(old) == before


@pytest.mark.parametrize(
    "assignment", ["start = start + 1, end = end + 1", "start = 0, end = 8", "text = 'Jam', start = 0, end = 3"]
)
def test_a_passage_whose_place_was_damaged_is_not_put_there(old: Path, template: Built, assignment: str) -> None:
    before = stored(old)
    damage_rows(old, of_chunk("cjk.txt", assignment))
    with opened(old) as index:
        assert index.examine(repair=True).holds
        assert hits(index) == template.hits
    assert stored(old) == before


@pytest.mark.parametrize(
    "statements",
    [
        [of_document("a-script's", "text = replace(text, 'second', 'seventh')")],
        [of_document("a-script's", "text = replace(text, 'second', 'fourth')"),
         f"delete from chunks where id = {chunk(SCRIPT)}"],
        [of_document("a-script's", "text = replace(text, 'second', 'fourth')"), of_chunk(SCRIPT, "text_key = 0")],
    ],
    ids=["length", "passage gone", "key damaged"],
)  # fmt: skip
def test_a_text_of_a_script_that_nothing_vouches_for_is_said_to_be_so(
    old: Path, template: Built, statements: list[str]
) -> None:
    damage_rows(old, *statements)
    with opened(old) as index:
        mended = index.examine(repair=True)
        assert mended.holds
        assert notes(mended) == ["the text may not be what was added, and no file can tell: add again a-script's"]
        index.add(SCRIPTS)
        assert hits(index) == template.hits


def test_the_files_to_be_read_again_are_counted_and_some_named(index: Index, tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    for n in range(7):
        (tmp_path / "docs" / f"{n}.txt").write_text(f"Text {n}.")
    index.ingest(tmp_path / "docs")
    damage_rows(index.path, "update documents set text = text || ' More.'")
    mended = index.examine(repair=True)
    told = "7 files will be read again by the next rag ingest: 0.txt, 1.txt, 2.txt, 3.txt, 4.txt, and 2 more"
    assert notes(mended) == [told]
    (documents,) = (check for check in mended.checks if check.name == "documents")
    assert (documents.mended, documents.notes) == (True, (told,))
    assert index.ingest(tmp_path / "docs").read == 7
    assert set(stored(index.path)[0].values()) == {f"Text {n}." for n in range(7)}


def test_what_is_printed_after_a_repair_says_what_is_left_to_do(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    damage_rows(old, of_document("bees.txt", "text = 'Wasps'"))
    with opened(old) as index:
        print_diagnosis(index.examine(repair=True), repaired=True)
        printed = capsys.readouterr().out.splitlines()
        assert "        note: 1 file will be read again by the next rag ingest: bees.txt" in printed
        assert printed[-1] == "All holds, but for what the notes above ask for."
        damage_rows(old, of_document("a-script's", "pages = '{'"))
        print_diagnosis(index.examine(repair=True), repaired=True)
    out, err = capsys.readouterr()
    assert "ingest its file again, or remove it and add it again" in out
    assert "delete" not in out + err
    assert err == "What still fails cannot be mended from what is there: its own words say what helps.\n"


def flip_a_character(folder: Path, chance: random.Random) -> str:
    """One bit of one character of a text in SQL; gives the document's source.

    White space that stays so, between passages, and headings are left out: nothing that is kept vouches for them.
    """
    table = chance.choice(["documents", "chunks"])
    source = "source" if table == "documents" else "(select source from documents where id = document_id)"
    rows = sql(folder, f"select id, {source}, text from {table} order by id")
    passages = sql(folder, "select source, start, end from chunks join documents d on d.id = document_id")
    while True:
        id_, name, text = chance.choice(rows)
        at, bit = chance.randrange(len(str(text))), chance.randrange(8)
        old, new = str(text)[at], chr(ord(str(text)[at]) ^ 1 << bit)
        is_kept = table == "chunks" or any(s == name and int(str(a)) <= at < int(str(b)) for s, a, b in passages)
        if is_kept or (old.isspace() and not new.isspace()):
            break
    db = sqlite3.connect(folder / "index.sqlite")
    db.execute(f"update {table} set text = ? where id = ?", [f"{str(text)[:at]}{new}{str(text)[at + 1 :]}", id_])
    db.commit()
    db.close()
    return str(name)


@pytest.mark.parametrize("n_flips", [1, 3])
def test_after_a_repair_a_text_is_the_original_or_its_file_is_said_to_be_read_again(
    template: Built, tmp_path: Path, n_flips: int
) -> None:
    before = stored(template.folder)
    n_restored = 0
    for seed in range(60):
        chance, folder = random.Random(seed), tmp_path / str(seed)
        shutil.copytree(template.folder, folder)
        names = {flip_a_character(folder, chance) for _ in range(n_flips)}
        with opened(folder) as index:
            mended = index.examine(repair=True)
            assert faults(mended) == {}, seed
            texts, passages = stored(folder)
            others = {source for source, text in texts.items() if text != before[0][source]}
            told = " ".join(notes(mended))
            assert others <= names, seed
            assert all(source.partition("#")[0] in told for source in others), (seed, told)
            if not others:
                n_restored += 1
                assert passages == before[1], seed
                assert hits(index) == template.hits, seed
            index.ingest(template.docs)
            if "add again" in told:
                index.add(SCRIPTS)
            assert notes(index.examine()) == [], seed
            assert hits(index) == template.hits, seed
        assert stored(folder) == before, seed
    assert n_restored > 40


# --- damaged snapshots


def tear(snapshot: Path, old: Path) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:-10])


def empty(snapshot: Path, old: Path) -> None:
    snapshot.write_bytes(b"")


def flip(snapshot: Path, old: Path) -> None:
    data = bytearray(snapshot.read_bytes())
    data[len(data) // 2] ^= 0xFF
    snapshot.write_bytes(data)


def take_a_later_number(snapshot: Path, old: Path) -> None:
    snapshot.rename(old / "vectors-999.faiss")


def take_another_index(snapshot: Path, old: Path) -> None:
    with Index.create(old.parent / "other", encoder=HashingEncoder()) as other:
        other.add([Document("a", "Another text.")])
    (foreign,) = other.path.glob("vectors-*.faiss")
    snapshot.write_bytes(foreign.read_bytes())


def hold_other_vectors(snapshot: Path, old: Path) -> None:
    """Whole, and of the right token."""
    change = int(snapshot.stem.removeprefix("vectors-"))
    ((token,),) = sql(old, f"select token from changes where id = {change}")
    rows = sql(old, f"select id from chunks where change_id <= {change}")
    assert isinstance(token, bytes)
    others = FlatVectors(256)
    others.add([int(str(id_)) for (id_,) in rows], np.full((len(rows), 256), 1 / 16, np.float16))
    others.save(snapshot, change=change, token=token)


SNAPSHOTS: list[tuple[Callable[[Path, Path], None], str]] = [
    (tear, "is torn, or not as it was written"),
    (empty, "is torn, or not as it was written"),
    (flip, "is torn, or not as it was written"),
    (take_a_later_number, "vectors-999.faiss is of no change of this index"),
    (take_another_index, "is torn, or not as it was written"),
    (hold_other_vectors, "the vectors, snapshot and changes since, are not those of the passages"),
]


@pytest.mark.parametrize(("harm", "words"), SNAPSHOTS, ids=lambda harm: getattr(harm, "__name__", ""))
def test_a_damaged_snapshot_is_named_and_made_anew(
    old: Path, template: Built, harm: Callable[[Path, Path], None], words: str
) -> None:
    (snapshot,) = old.glob("vectors-*.faiss")
    harm(snapshot, old)
    with opened(old) as index:
        told = faults(index.examine())
        assert list(told) == ["snapshot"]
        assert words in told["snapshot"]
        mended = index.examine(repair=True)
        assert [check.name for check in mended.checks if check.mended] == ["snapshot"]
        assert faults(index.examine()) == {}
        assert hits(index) == template.hits
    assert len(list(old.glob("vectors-*.faiss"))) == 1


def test_no_snapshot_is_no_fault(old: Path, template: Built) -> None:
    for snapshot in old.glob("vectors-*"):
        snapshot.unlink()
    with opened(old) as index:
        assert index.examine().holds
        assert hits(index) == template.hits


def test_where_a_whole_snapshot_and_a_row_disagree_the_text_is_embedded_again(old: Path, template: Built) -> None:
    """A vector that is still of length 1 has changed in SQLite: no row says that it is wrong."""
    damage_rows(old, f"update embeddings set vector = {vector(1 / 16)} where id = {embedding('long.txt')}")
    encoder = HashingEncoder()
    with Index.open(old, encoder=encoder) as index:
        assert list(faults(index.examine())) == ["snapshot"]
        assert index.examine(repair=True).holds
        assert len(encoder.texts) == 1
        assert encoder.texts[0].startswith("A long story")
        assert hits(index) == template.hits


# --- damaged bytes


def page_of(folder: Path, name: str) -> int:
    ((page,),) = sql(folder, f"select rootpage from sqlite_master where name = '{name}'")
    return int(str(page))


def overwrite(folder: Path, at: int, data: bytes) -> None:
    with (folder / "index.sqlite").open("r+b") as file:
        file.seek(at)
        file.write(data)


TABLES = ["documents", "chunks", "embeddings", "loose_embeddings", "chunks_text_key", "changes", "chunks_fts_data"]


@pytest.mark.parametrize("name", TABLES)
def test_a_damaged_page_is_told_and_never_a_traceback(old: Path, name: str) -> None:
    page = page_of(old, name)
    if name == "changes":
        overwrite(old, (page - 1) * 4096, b"\xff" * 4096)
        with pytest.raises(RagError, match=r"is damaged .*: delete its folder and ingest again"):
            opened(old)
        return
    with opened(old) as index:
        overwrite(old, (page - 1) * 4096, b"\xff" * 4096)
        assert "malformed" in faults(index.examine())["file"]
        after = faults(index.examine(repair=True))
        assert after["file"].endswith(": delete the index and ingest again")


def test_a_row_that_is_missing_from_a_tree_is_mended(old: Path, template: Built) -> None:
    """As after a lost write: SQLite makes the tree anew from the rows."""
    page = page_of(old, "chunks_text_key")
    before = (old / "index.sqlite").read_bytes()[(page - 1) * 4096 : page * 4096]
    with opened(old) as index:
        index.add([Document("more", "A text that the old page does not know.")])
        index.remove("more")
        index.add([Document("again", "Another one that it does not know.")])
        index.compact()
    page = page_of(old, "chunks_text_key")
    overwrite(old, (page - 1) * 4096, before)
    with opened(old) as index:
        assert "chunks_text_key" in faults(index.examine())["file"]
        assert index.examine(repair=True).holds
        index.remove("again")
        assert hits(index) == template.hits


def test_an_index_that_does_not_say_what_it_is_is_refused_in_words(old: Path) -> None:
    damage_rows(old, "update manifest set value = '{' where key = 'encoder'")
    with pytest.raises(
        IndexDamagedError, match=r"says of itself cannot be read .*: delete its folder and ingest again"
    ):
        opened(old)


@pytest.mark.parametrize("seed", range(12))
def test_whatever_bytes_are_damaged_nothing_but_our_own_errors_comes(old: Path, template: Built, seed: int) -> None:
    chance = random.Random(seed)
    size = (old / "index.sqlite").stat().st_size
    for _ in range(3):
        overwrite(old, chance.randrange(size - 8), chance.randbytes(chance.choice([1, 8])))
    try:
        with opened(old) as index:
            if index.examine().holds or not index.examine(repair=True).holds:
                return
            assert index.examine().holds
            index.ingest(template.docs)
            assert hits(index) == template.hits
    except RagError:
        return


def test_an_encoder_that_cannot_be_loaded_is_told_only_if_it_is_needed(
    old: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_there(name: str, **_: object) -> HashingEncoder:
        raise EncoderError(f"no model {name!r}")

    monkeypatch.setattr("rag.index.load_encoder", not_there)
    with Index.open(old) as index:
        assert index.examine(repair=True).holds
        damage_rows(old, "update manifest set value = '999' where key = 'log_start'")
        assert index.examine(repair=True).holds
        damage_rows(old, of_chunk("bees.txt", "page = 3"))
        with pytest.raises(EncoderError, match="hashing"):
            index.examine(repair=True)
    with opened(old) as index:
        assert index.examine(repair=True).holds


# --- compact


def files_with(folder: Path, *needles: bytes) -> set[str]:
    """The files of an index in which any of the words or vectors stands."""
    return {file.name for file in folder.iterdir() for needle in needles if needle in file.read_bytes()}


def float16(text: str) -> bytes:
    return bytes(HashingEncoder().encode_documents([text])[0].astype("<f2").tobytes())


@pytest.fixture
def with_secrets(index: Index, tmp_path: Path) -> tuple[Index, list[bytes]]:
    """An index from which texts were deleted, edited, removed and replaced; and what must not be found in it."""
    docs = tmp_path / "docs"
    write_docs(docs)
    texts = [f"Sesame{n} opens the {kind} door." for n, kind in enumerate(("deleted", "edited", "removed", "replaced"))]
    for n in (0, 1, 2):
        (docs / f"secret{n}.txt").write_text(texts[n])
    index.ingest(docs)
    index.add([Document("secret3", texts[3]), *(Document(f"n{n}", f"Filler word{n}. " * 9) for n in range(300))])
    (docs / "secret0.txt").unlink()
    (docs / "secret1.txt").write_text("Now harmless.")
    index.ingest(docs)
    index.remove("secret2.txt")
    index.add([Document("secret3", "Harmless.")])
    (docs / "secret2.txt").unlink()
    return (
        index,
        [needle for n, text in enumerate(texts) for needle in (text.encode(), f"sesame{n}".encode(), float16(text))],
    )


def test_compact_leaves_no_trace_of_what_was_removed(with_secrets: tuple[Index, list[bytes]], tmp_path: Path) -> None:
    index, secrets = with_secrets
    assert {"index.sqlite", next(index.path.glob("vectors-*")).name} <= files_with(index.path, *secrets)
    before, size = hits(index), index.status().bytes
    compaction = index.compact()
    assert compaction.is_clean
    assert files_with(index.path, *secrets) == set()
    assert files_with(
        index.path, b"Bees make honey.", float16("Bees make honey.")
    )  # the search itself finds what is there
    assert (compaction.bytes_before, compaction.bytes_after) == pytest.approx((size, index.status().bytes), abs=200)
    assert compaction.bytes_after < compaction.bytes_before
    assert hits(index) == before
    assert index.examine().holds
    assert index.ingest(tmp_path / "docs").embedded == 0
    assert index.compact().is_clean


def test_compact_beside_a_reader_says_that_traces_are_left_and_the_next_leaves_none(
    with_secrets: tuple[Index, list[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.writer._PATIENCE_S", 0.1)
    index, secrets = with_secrets
    before = hits(index)
    begun, done = threading.Event(), threading.Event()
    seen: list[int] = []

    def read() -> None:
        with opened(index.path) as reader, reader.reading() as view:
            seen.append(view.n_vectors)
            begun.set()
            done.wait(60)
            seen.append(len(view.store.chunks(range(10_000))))

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert begun.wait(60)
        assert not index.compact().is_clean
    finally:
        done.set()
        thread.join()
    assert seen[0] == seen[1]
    assert hits(index) == before
    assert index.compact().is_clean
    assert files_with(index.path, *secrets) == set()
    assert hits(index) == before


def test_compact_half_way_to_another_encoder_keeps_what_was_filled_in_and_says_so(
    with_secrets: tuple[Index, list[bytes]],
) -> None:
    """Which of the vectors that no passage uses are of removed text cannot be told before the switch."""
    index, secrets = with_secrets
    encoder = HashingEncoder(name="small", dim=32)
    index.reembed(encoder, stop=lambda: True)
    index.remove("n5")
    n_filled = len(encoder.texts)
    assert not index.compact().is_clean
    assert index.reembed(encoder).embedded == index.status().embeddings - n_filled
    assert index.compact().is_clean
    assert files_with(index.path, *secrets, b"word5.") == set()
