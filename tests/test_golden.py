"""An index that format version 1 made opens for ever: read as it is, migrated by the first writer, never lost."""

from __future__ import annotations

import hashlib
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from rag.errors import IndexMismatchError, UsageError
from rag.index import Index
from rag.migrations import migrations
from rag.retriever import Retriever
from rag.store import FORMAT_VERSION, Store
from rag.types import Document, Place, Section
from rag.writer import StoreWriter
from tests.fakes import HashingEncoder
from tests.test_index import found, is_root, sql

GOLDEN = Path(__file__).parent / "golden" / "format-1"
BEES = "Bees make honey. " * 12

DOCUMENTS = [
    Document("a-script's", "Documents of a script stay.", "Script", (), (0, 10), {"n": [1, None]}),
    Document(
        "apples.md",
        "---\nauthor: Ada\nyear: 2024\n---\n# Apples\n\nApples grow on trees.\n\n"
        "## Harvest\n\nThe harvest begins in September.\n",
        "Apples",
        (Section(31, 40, "Apples"), Section(64, 75, "Apples > Harvest")),
        (),
        {"author": "Ada", "year": "2024"},
    ),
    Document("bees.txt", BEES),
    Document("copy.txt", BEES),
    Document("lines.jsonl#a", "Cows give milk.", metadata={"lang": "en"}),
    Document("lines.jsonl#b", "Kühe geben Milch.", metadata={"lang": "de"}),
    Document("sub/edited.txt", "Second version about okapis."),
]
CHUNKS = [  # source, start, end, page, breaks, section, context
    ("a-script's", 0, 27, 1, "[10]", None, "Script"),
    ("apples.md", 0, 30, None, "[]", None, "Apples"),
    ("apples.md", 41, 62, None, "[]", "Apples", "Apples"),
    ("apples.md", 76, 108, None, "[]", "Apples > Harvest", "Apples > Harvest"),
    ("bees.txt", 0, 203, None, "[]", None, ""),
    ("copy.txt", 0, 203, None, "[]", None, ""),
    ("lines.jsonl#a", 0, 15, None, "[]", None, ""),
    ("lines.jsonl#b", 0, 17, None, "[]", None, ""),
    ("sub/edited.txt", 0, 28, None, "[]", None, ""),
]
FILES = [  # relative path, size, reason; the root is /tmp/golden-docs
    ("apples.md", 109, None),
    ("bees.txt", 204, None),
    ("copy.txt", 204, None),
    ("empty.txt", 0, "is empty (0 bytes)"),
    ("lines.jsonl", 109, None),
    ("sub/edited.txt", 28, None),
]
HITS = {  # the best of each, with its score
    ("who makes honey", "dense"): [("lines.jsonl#b", 0, 0.5165), ("bees.txt", 0, 0.3332), ("apples.md", 0, 0.1741)],
    ("who makes honey", "bm25"): [("bees.txt", 0, 4.6308)],
    ("who makes honey", "hybrid"): [("bees.txt", 0, 0.6061), ("lines.jsonl#b", 0, 0.2582), ("apples.md", 0, 0.0870)],
    ("harvest", "dense"): [("apples.md", 76, 0.5771), ("apples.md", 0, 0.3015)],
    ("harvest", "bm25"): [("apples.md", 76, 2.6158)],
    ("okapis", "hybrid"): [("sub/edited.txt", 0, 0.5047), ("bees.txt", 0, 0.2886)],
    ("Kühe script", "dense"): [("a-script's", 0, 0.6125), ("lines.jsonl#b", 0, 0.3163)],
    ("Kühe script", "bm25"): [("a-script's", 0, 2.6454), ("lines.jsonl#b", 0, 2.2079)],
}


@pytest.fixture
def old(tmp_path: Path) -> Path:
    shutil.copytree(GOLDEN, tmp_path / "old")
    return tmp_path / "old"


def opened(folder: Path) -> Index:
    return Index.open(folder, encoder=HashingEncoder(dim=32))


def check_content(index: Index) -> None:
    """All that was in the golden index, by values worked out when it was made."""
    assert [index.document(document.doc_id) for document in DOCUMENTS] == DOCUMENTS
    assert [row.source for row in index.documents()] == [document.doc_id for document in DOCUMENTS]
    columns = "source, start, end, page, breaks, section, context"
    assert (
        sql(index.path, f"select {columns} from chunks join documents d on d.id = document_id order by 1, 2") == CHUNKS
    )
    assert sql(index.path, "select relpath, size, reason from files order by 1") == FILES
    for (query, mode), expected in HITS.items():
        got = found(index, query, mode)[: len(expected)]
        assert [hit[:2] for hit in got] == [hit[:2] for hit in expected]
        assert [hit[3] for hit in got] == pytest.approx([hit[2] for hit in expected], abs=1e-4)
    with index.reading() as view:
        assert [place for _, place in view.store.same_text(BEES.strip())] == [
            Place("bees.txt", None, 0, 203), Place("copy.txt", None, 0, 203)
        ]  # fmt: skip
    status = index.status()
    assert (status.documents, status.chunks, status.embeddings, status.files) == (7, 9, 8, 5)
    assert (status.created, status.roots) == ("2026-11-21T08:57:16+00:00", ("/tmp/golden-docs",))
    assert status.last_ingest is not None
    assert (status.last_ingest["read"], status.last_ingest["removed"]) == (1, 1)


def version(folder: Path) -> object:
    return sql(folder, "pragma user_version")[0][0]


def tables(folder: Path) -> list[tuple[object, ...]]:
    return sql(folder, "select type, name, sql from sqlite_master order by 1, 2")


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


# --- read as it is


def test_it_is_read_and_searched_without_being_changed(old: Path) -> None:
    before = contents(old)
    with opened(old) as index:
        check_content(index)
    assert version(old) == 1
    assert contents(old) == before == contents(GOLDEN)


def test_a_preview_leaves_it_as_it_is(old: Path, docs: Path) -> None:
    before = contents(old)
    assert Index.preview(old, docs).n_files == 3
    assert contents(old) == before


@pytest.mark.skipif(is_root, reason="root may write anywhere")
def test_it_is_read_where_nothing_can_be_written(old: Path) -> None:
    for file in old.iterdir():
        file.chmod(0o444)
    old.chmod(0o555)
    try:
        with opened(old) as index:
            assert [index.document(document.doc_id) for document in DOCUMENTS] == DOCUMENTS
            assert found(index, "harvest")[0][:2] == ("apples.md", 76)
            with pytest.raises(UsageError, match="cannot write to the index in"):
                index.add([Document("a", "b")])
    finally:
        old.chmod(0o755)
    assert contents(old) == contents(GOLDEN)


# --- migrated by the first writer


def test_the_first_writer_brings_it_up_to_date_and_keeps_everything(old: Path) -> None:
    with opened(old) as index, opened(old) as reader:
        check_content(reader)
        diagnosis = index.examine()
        assert [check.faults for check in diagnosis.checks if not check.holds] == []
        assert version(old) == FORMAT_VERSION
        for handle in (index, reader):
            check_content(handle)
    with opened(old) as again:
        check_content(again)


def test_a_reader_that_was_open_ranks_by_the_words_that_a_migration_adds(old: Path) -> None:
    of_copy = "document_id = (select id from documents where source = 'copy.txt')"
    sql(old, f"update chunks set text = 'Bees 蜂蜜蜂蜜蜂蜜 honey.' where {of_copy}")
    sql(old, "insert into chunks_fts (chunks_fts) values ('rebuild')")
    with opened(old) as reader:
        before = Retriever(reader).search("bees honey", mode="bm25")
        StoreWriter(old / "index.sqlite").close()
        after = Retriever(reader).search("bees honey", mode="bm25")
        with opened(old) as fresh:
            assert Retriever(fresh).search("bees honey", mode="bm25") == after != before
        assert Retriever(reader).search("蜂蜜", mode="bm25")[0].chunk.doc_id == "copy.txt"


def test_it_has_then_the_schema_of_a_new_index(old: Path, tmp_path: Path) -> None:
    with opened(old) as index, Index.create(tmp_path / "new", encoder=HashingEncoder(dim=32)) as new:
        index.examine()
        assert tables(old) == tables(new.path)


def test_it_is_then_written_like_any_other(old: Path, docs: Path) -> None:
    with opened(old) as index:
        assert index.ingest(docs).read == 3
        assert [row.source for row in index.documents()][:3] == ["a-script's", "apples.md", "apples.txt"]
        assert found(index, "cows milk")[0][0] == "lines.jsonl#a"
        assert index.document("docs/bees.txt").text == "Bees make honey."
        assert index.remove("copy.txt") == 1
        assert index.reembed(HashingEncoder(name="new", dim=48)).documents == 9
        assert index.compact().is_clean
        assert found(index, "okapis", "bm25")[0][0] == "sub/edited.txt"
        assert index.examine().holds


def test_what_no_passage_used_before_is_known_afterwards(old: Path) -> None:
    sql(old, "insert into embeddings (key, vector) select randomblob(32), vector from embeddings limit 1")
    with opened(old) as index:
        assert index.examine().holds
        assert sql(old, "select id from loose_embeddings") == sql(old, "select max(id) from embeddings")
        index.compact()
        check_content(index)


# --- a migration that does not come to its end


@pytest.mark.parametrize("nth", [1, 2])
def test_a_migration_that_fails_leaves_version_1_whole_and_is_done_the_next_time(
    old: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    before = tables(old)
    failing = migrations._migrations[nth]
    real = failing.fn

    def fail(db: object) -> None:
        real(db)  # type: ignore[arg-type]
        raise sqlite3.OperationalError("database or disk is full")

    with opened(old) as index:
        with monkeypatch.context() as patch:
            patch.setattr(failing, "fn", fail)
            for _ in range(2):
                with pytest.raises(UsageError, match=r"database or disk is full\): make room"):
                    index.add([Document("a", "b")])
                assert version(old) == 1
                assert (tables(old) == before) == (nth == 1)  # each is whole; those before it stay
                check_content(index)
        assert index.examine().holds
        assert version(old) == FORMAT_VERSION
        check_content(index)


KILLS = {
    "before the last step is kept": "last.fn = lambda db: (real(db), kill())",
    "before the version is noted": "migrations.apply = lambda db, apply=migrations.apply: (apply(db), kill())",
    "before anything is done": "migrations.apply = lambda db: kill()",
}


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no such signal here")
@pytest.mark.parametrize("moment", KILLS)
def test_a_migration_that_is_killed_is_done_the_next_time(old: Path, moment: str) -> None:
    code = (
        "import os, signal, sys; sys.path[:0] = sys.argv[2:]\n"
        "from rag.migrations import migrations; from rag.writer import StoreWriter; from pathlib import Path\n"
        "kill = lambda: os.kill(os.getpid(), signal.SIGKILL); last = migrations._migrations[-1]; real = last.fn\n"
        f"{KILLS[moment]}\n"
        "StoreWriter(Path(sys.argv[1]))"
    )
    here = str(Path(__file__).parents[1])
    killed = subprocess.run([sys.executable, "-c", code, old / "index.sqlite", here], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert version(old) == 1
    with opened(old) as index:
        check_content(index)
        assert index.examine().holds
        check_content(index)
    assert version(old) == FORMAT_VERSION


def test_two_first_writers_migrate_once(old: Path) -> None:
    """The second waits for no lock here: whoever comes second finds it done."""
    for _ in range(2):
        StoreWriter(old / "index.sqlite").close()
    assert sql(old, "select count(*) from _sqlite_migrations") == [(len(migrations._migrations),)]
    with opened(old) as index:
        check_content(index)


# --- a newer format


def test_a_newer_format_is_refused_in_words_by_all_and_left_as_it_is(old: Path, docs: Path) -> None:
    """`Index.delete` refuses as well: a newer version may keep things in the folder that this one does not know."""
    newer = FORMAT_VERSION + 1
    sql(old, f"pragma user_version = {newer}")
    before = contents(old)
    words = f"has index format {newer}, this version reads up to {FORMAT_VERSION}: upgrade with pip install --upgrade"
    for use in (
        lambda: opened(old),
        lambda: Index.open_or_create(old, encoder=HashingEncoder(dim=32)),
        lambda: Index.preview(old, docs),
        lambda: Index.delete(old),
        lambda: Store(old / "index.sqlite"),
        lambda: StoreWriter(old / "index.sqlite"),
    ):
        with pytest.raises(IndexMismatchError, match=words):
            use()
    assert contents(old) == before


def test_a_handle_that_was_open_when_a_newer_version_came_writes_nothing_more(old: Path) -> None:
    with opened(old) as index:
        sql(old, f"pragma user_version = {FORMAT_VERSION + 1}")
        before = sql(old, "select * from changes")
        with pytest.raises(IndexMismatchError, match="upgrade with pip install"):
            index.add([Document("a", "b")])
        assert sql(old, "select * from changes") == before


def test_the_golden_index_is_as_it_was_made() -> None:
    assert {name: hashlib.sha256(data).hexdigest()[:16] for name, data in contents(GOLDEN).items()} == {
        "index.sqlite": "cdc9bfaefb4d9700",
        "vectors-7.faiss": "1216ec470b14b1b5",
    }
