"""One folder, the truth and its snapshot: whatever happens to files, processes and snapshots, the hits are right."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event, Thread

import numpy as np
import pytest

from rag.errors import (
    EncoderError,
    IndexBusyError,
    IndexDamagedError,
    IndexMismatchError,
    IndexNotFoundError,
    LoadError,
    UsageError,
)
from rag.index import Index
from rag.ingest import IngestReport
from rag.progress import Progress
from rag.retriever import Retriever
from rag.types import Document, Place
from rag.writer import StoreWriter
from tests.fakes import HashingEncoder

is_root = hasattr(os, "geteuid") and os.geteuid() == 0


def counts(report: IngestReport) -> tuple[int, int, int, int, int]:
    return report.read, report.unchanged, report.removed, report.chunks, report.embedded


def found(index: Index, query: str, mode: str = "hybrid", k: int = 50) -> list[tuple[str, int, str, float]]:
    hits = Retriever(index).search(query, k=k, mode=mode)  # type: ignore[arg-type]
    return [(hit.chunk.doc_id, hit.chunk.start, hit.chunk.text, hit.score) for hit in hits]


def best(index: Index, query: str) -> str:
    return found(index, query)[0][0]


def sources(index: Index) -> list[str]:
    return [row.source for row in index.documents()]


def touch(file: Path, *, seconds: int = 5) -> None:
    """Another time, as an editor leaves it, without waiting for the clock."""
    status = file.stat()
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + seconds * 10**9))


def snapshots(index: Index) -> list[str]:
    return sorted(file.name for file in index.path.glob("vectors-*"))


def sql(index_folder: Path, statement: str) -> list[tuple[object, ...]]:
    db = sqlite3.connect(index_folder / "index.sqlite")
    try:
        rows = db.execute(statement).fetchall()
        db.commit()
        return rows
    finally:
        db.close()


# --- ingest counts what it does


def test_a_folder_is_read_once_and_then_costs_nothing(index: Index, docs: Path, encoder: HashingEncoder) -> None:
    (docs / "photo.png").write_bytes(b"\x89PNG")
    (docs / "movie.MP4").write_bytes(b"\0")
    (docs / "empty.txt").touch()
    report = index.ingest(docs)
    assert counts(report) == (3, 0, 0, 3, 3)
    assert report.skipped == {".png": 1, ".mp4": 1}
    assert report.set_aside == [("empty.txt", "is empty (0 bytes)")]
    assert sources(index) == ["apples.txt", "bees.txt", "sub/cows.txt"]
    assert best(index, "who makes honey?") == "bees.txt"
    encoder.texts.clear()
    again = index.ingest(docs)
    assert counts(again) == (0, 3, 0, 0, 0)
    assert again.set_aside == report.set_aside
    assert encoder.texts == []


def test_the_report_as_json_has_the_keys_that_programs_rely_on(index: Index, docs: Path) -> None:
    (docs / "empty.txt").touch()
    report = index.ingest(docs).as_json()
    assert {key: value for key, value in report.items() if key != "seconds"} == {
        "read": 3, "unchanged": 0, "moved": 0, "removed": 0, "skipped": {}, "notes": [], "chunks": 3, "embedded": 3,
        "stopped": False,
        "set_aside": [{"path": "empty.txt", "reason": "is empty (0 bytes)"}],
    }  # fmt: skip
    assert json.loads(json.dumps(report)) == report


def test_an_edit_replaces_what_was_there(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").write_text("Wasps build paper nests.")
    assert counts(index.ingest(docs)) == (1, 2, 0, 1, 1)
    assert best(index, "paper nests") == "bees.txt"
    assert found(index, "honey", "bm25") == []
    assert "honey" not in str(found(index, "honey", "dense"))


def test_an_edit_of_the_same_length_and_a_touch_are_told_apart(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").write_text("Bees make money.")
    touch(docs / "bees.txt")
    touch(docs / "apples.txt")
    assert counts(index.ingest(docs)) == (1, 2, 0, 1, 1)
    assert counts(index.ingest(docs)) == (0, 3, 0, 0, 0)


def test_a_renamed_file_is_not_embedded_again(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").rename(docs / "insects.txt")
    report = index.ingest(docs)
    assert (report.moved, *counts(report)) == (1, 0, 2, 0, 0, 0)
    assert best(index, "honey") == "insects.txt"


def test_a_renamed_file_that_had_its_folder_before_its_name_gets_the_name_that_is_free(
    index: Index, tmp_path: Path
) -> None:
    for folder in ("cats", "dogs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(f"These are {folder}.")
        (tmp_path / folder / "l.jsonl").write_text(json.dumps({"text": f"A line on {folder}."}))
        index.ingest(tmp_path / folder)
    (tmp_path / "dogs" / "a.txt").rename(tmp_path / "dogs" / "b.txt")
    (tmp_path / "dogs" / "l.jsonl").rename(tmp_path / "dogs" / "m.jsonl")
    assert index.ingest(tmp_path / "dogs").embedded == 0
    assert sources(index) == ["a.txt", "b.txt", "l.jsonl#1", "m.jsonl#1"]


@pytest.mark.parametrize("suffix", ["txt", "jsonl"])
def test_a_file_whose_name_goes_on_after_that_of_another_leaves_it_its_own(
    index: Index, docs: Path, suffix: str
) -> None:
    (docs / "bees.txt").unlink()
    (docs / f"bees.txt#old.{suffix}").write_text('{"text": "Bees make honey."}')
    index.ingest(docs)
    for text in ("Bees make honey and wax.", "Bees make wax."):
        (docs / "bees.txt").write_text(text)
        assert index.ingest(docs).read == 1
        assert sources(index)[1] == "bees.txt"


def test_a_deleted_file_is_found_on_neither_side(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").unlink()
    assert counts(index.ingest(docs)) == (0, 2, 1, 0, 0)
    assert found(index, "honey", "bm25") == []
    assert [hit[0] for hit in found(index, "honey", "dense")] == ["apples.txt", "sub/cows.txt"]
    with pytest.raises(UsageError, match=r"no document 'bees\.txt' in index 'index'"):
        index.document("bees.txt")
    assert sql(index.path, "select count(*) from embeddings") == [(3,)]  # kept, in case the text comes back
    assert sql(index.path, "select count(*) from loose_embeddings") == [(1,)]


def test_a_file_that_is_excluded_from_now_on_goes(index: Index, docs: Path) -> None:
    index.ingest(docs)
    assert index.ingest(docs, exclude=["sub/"]).removed == 1
    assert sources(index) == ["apples.txt", "bees.txt"]


def test_the_same_text_twice_is_embedded_once_and_is_one_hit(index: Index, docs: Path) -> None:
    (docs / "copy.txt").write_text("Bees make honey.")
    assert counts(index.ingest(docs)) == (4, 0, 0, 4, 3)
    first, *others = Retriever(index).search("honey")
    assert (first.chunk.doc_id, first.also_in) == ("bees.txt", (Place("copy.txt", None, 0, 16),))
    assert "copy.txt" not in [hit.chunk.doc_id for hit in others]


def test_two_folders_with_the_same_names_never_mix(index: Index, tmp_path: Path) -> None:
    for folder, text in (("cats", "Cats purr."), ("dogs", "Dogs bark."), ("x/dogs", "Foxes scream.")):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "a.txt").write_text(text)
    folders = [tmp_path / "cats", tmp_path / "dogs", tmp_path / "x/dogs"]
    index.ingest(*folders[:2])
    index.ingest(folders[2])
    assert [best(index, query) for query in ("purr", "bark", "scream")] == ["a.txt", "dogs/a.txt", "dogs-2/a.txt"]
    assert counts(index.ingest(*folders)) == (0, 3, 0, 0, 0)
    (folders[1] / "a.txt").write_text("Dogs howl now.")
    index.ingest(folders[1])
    assert [best(index, query) for query in ("purr", "howl", "scream")] == ["a.txt", "dogs/a.txt", "dogs-2/a.txt"]


def test_a_part_of_a_known_folder_keeps_its_sources(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "sub" / "cows.txt").write_text("Cows give milk and cheese.")
    (docs / "sub" / "deer.txt").write_text("Deer jump.")
    assert counts(index.ingest(docs / "sub")) == (2, 0, 0, 2, 2)
    (docs / "bees.txt").write_text("Bees make honey and wax.")
    assert counts(index.ingest(docs / "bees.txt")) == (1, 0, 0, 1, 1)
    assert sources(index) == ["apples.txt", "bees.txt", "sub/cows.txt", "sub/deer.txt"]
    assert index.status().roots == (str(docs),)


def test_a_folder_above_a_known_one_leaves_its_sources_as_they_are(index: Index, docs: Path) -> None:
    index.ingest(docs / "sub")
    assert counts(index.ingest(docs)) == (2, 1, 0, 2, 2)
    assert sources(index) == ["apples.txt", "bees.txt", "cows.txt"]


def test_a_named_path_that_is_not_there_is_set_aside(index: Index, docs: Path) -> None:
    report = index.ingest(docs, docs / "gone.txt")
    assert report.set_aside == [("gone.txt", "is not there, or is a link to what is not there")]
    assert report.read == 3
    with pytest.raises(UsageError, match="expected files or folders to ingest"):
        index.ingest()


def test_a_type_that_is_not_read_is_set_aside_only_where_it_is_named(index: Index, docs: Path) -> None:
    (docs / "table.xlsx").write_bytes(b"PK")
    assert index.ingest(docs).set_aside == []
    (set_aside,) = index.ingest(docs / "table.xlsx").set_aside
    assert set_aside == ("table.xlsx", "is of a type that is not read (.xlsx)")
    assert index.status().set_aside == (set_aside,)


def test_a_folder_that_cannot_be_listed_keeps_its_documents(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.ingest(docs)
    real = os.scandir

    def refusing(path: str) -> object:
        if os.fspath(path).endswith("sub"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", refusing)
    report = index.ingest(docs)
    assert (report.removed, [path for path, _ in report.set_aside]) == (0, ["sub"])
    assert best(index, "milk") == "sub/cows.txt"


def test_a_file_that_was_set_aside_is_read_once_it_is_mended(index: Index, docs: Path) -> None:
    (docs / "late.txt").touch()
    index.ingest(docs)
    (docs / "late.txt").write_text("Late birds sleep.")
    report = index.ingest(docs)
    assert (counts(report), report.set_aside) == ((1, 3, 0, 1, 1), [])
    (docs / "late.txt").write_bytes(b"")
    assert [path for path, _ in index.ingest(docs).set_aside] == ["late.txt"]
    assert found(index, "birds", "bm25") == []


def test_a_higher_limit_is_heeded_for_a_file_that_was_too_large(index: Index, docs: Path) -> None:
    (docs / "large.txt").write_text("Whales sing. " * 200)
    (set_aside,) = index.ingest(docs, max_file_mb=0.001).set_aside
    assert set_aside[0] == "large.txt"
    assert "raise --max-file-mb" in set_aside[1]
    report = index.ingest(docs)
    assert (report.read, report.unchanged, report.set_aside) == (1, 3, [])


def test_a_file_that_cannot_be_opened_is_tried_again(index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def refusing(self: Path, *args: object, **kwargs: object) -> object:
        if self.name == "bees.txt":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **kwargs)  # type: ignore[call-overload]

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", refusing)
        assert index.ingest(docs).set_aside == [("bees.txt", "cannot be read: permission denied")]
    assert counts(index.ingest(docs)) == (1, 2, 0, 1, 1)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems take no such names")
def test_file_names_of_any_kind(index: Index, tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path / "names") + b"\xe9"  # no UTF-8, as the folder given to ingest
    os.mkdir(folder)
    names = [
        b"with space.txt",
        b"'quoted' \"twice\".txt",
        b"new\nline.txt",
        "😀.txt".encode(),
        b"caf\xe9.txt",
        b"%s?#.txt",
    ]
    for n, name in enumerate(names):
        with open(os.path.join(folder, name), "w") as file:
            file.write(f"word{n}")
    path = os.fsdecode(folder)
    assert counts(index.ingest(path)) == (6, 0, 0, 6, 6)
    expected = ["with space.txt", "'quoted' \"twice\".txt", "new\nline.txt", "😀.txt", "caf\\xe9.txt", "%s?#.txt"]
    assert [best(index, f"word{n}") for n in range(6)] == expected
    assert counts(index.ingest(path)) == (0, 6, 0, 0, 0)
    assert [index.document(source).text for source in expected] == [f"word{n}" for n in range(6)]
    assert index.remove(os.path.join(path, os.fsdecode(b"caf\xe9.txt"))) == 1
    assert index.remove(path) == 5


def test_lines_of_jsonl_are_documents(index: Index, tmp_path: Path) -> None:
    file = tmp_path / "lines.jsonl"
    file.write_text('{"id": "a", "title": "One", "text": "Apples."}\n{"text": "Bees.", "year": 1999}\n')
    report = index.ingest(file)
    assert (report.read, report.chunks) == (1, 2)
    assert sources(index) == ["lines.jsonl#2", "lines.jsonl#a"]
    assert index.document("lines.jsonl#a") == Document("lines.jsonl#a", "Apples.", title="One")
    assert index.document("lines.jsonl#2").metadata == {"year": 1999}
    file.write_text('{"id": "a", "title": "One", "text": "Apples."}\n')
    assert counts(index.ingest(file)) == (1, 0, 0, 1, 0)
    assert sources(index) == ["lines.jsonl#a"]


def test_a_file_whose_name_is_that_of_a_line_is_set_aside(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "l.jsonl").write_text('{"id": "x.txt", "text": "One line."}')
    (folder / "l.jsonl#x.txt").write_text("A file.")
    (folder / "m.txt").write_text("More.")
    report = index.ingest(folder)
    assert (report.read, report.chunks) == (2, 2)
    assert report.set_aside == [
        ("l.jsonl#x.txt", "holds a document whose source another one has: 'l.jsonl#x.txt'; rename it")
    ]
    assert sources(index) == ["l.jsonl#x.txt", "m.txt"]
    assert index.document("l.jsonl#x.txt").text == "One line."


def test_progress_ends_with_all_files_and_all_chunks(index: Index, docs: Path) -> None:
    seen: list[Progress] = []
    index.ingest(docs, progress=seen.append)
    counts = [(p.files_done, p.files_total, p.chunks) for p in seen]
    assert counts == [(1, 3, 1), (2, 3, 2), (3, 3, 3), (3, 3, 3), (3, 3, 3)]  # three files, their batch, the end
    assert [p.current for p in seen] == ["apples.txt", "bees.txt", "sub/cows.txt", "sub/cows.txt", ""]


# --- opening again


def hits_of(folder: Path, encoder: HashingEncoder) -> list[list[tuple[str, int, str, float]]]:
    with Index.open(folder, encoder=encoder) as opened:
        return [found(opened, query, mode) for query in ("honey trees", "milk") for mode in ("dense", "bm25", "hybrid")]


@pytest.fixture
def built(index: Index, docs: Path, encoder: HashingEncoder) -> Path:
    index.ingest(docs)
    index.close()
    encoder.texts.clear()
    return index.path


def test_closed_and_opened_gives_the_same_hits(index: Index, docs: Path, encoder: HashingEncoder) -> None:
    index.ingest(docs)
    before = [found(index, query, mode) for query in ("honey trees", "milk") for mode in ("dense", "bm25", "hybrid")]
    index.close()
    assert hits_of(index.path, encoder) == before


def damage_nothing(_: Path) -> None:
    pass


def tear(snapshot: Path) -> None:
    snapshot.write_bytes(snapshot.read_bytes()[:-10])


def empty(snapshot: Path) -> None:
    snapshot.write_bytes(b"")


def take_another_index(snapshot: Path) -> None:
    """Of the same change number, encoder and size, but with other documents."""
    folder = snapshot.parent.parent / "other"
    with Index.create(folder, encoder=HashingEncoder()) as other:
        for text in ("Milk.", "Milk and honey.", "Trees."):
            other.add([Document(text, text)])
    (foreign,) = folder.glob("vectors-*.faiss")
    snapshot.write_bytes(foreign.read_bytes())


def take_another_dimension(snapshot: Path) -> None:
    from rag.vectors import FlatVectors

    change = int(snapshot.stem.removeprefix("vectors-"))
    ((token,),) = sql(snapshot.parent, f"select token from changes where id = {change}")
    assert isinstance(token, bytes)
    FlatVectors(7).save(snapshot, change=change, token=token)


def claim_a_later_change(snapshot: Path) -> None:
    (snapshot.parent / "vectors-999.faiss").write_bytes(snapshot.read_bytes())
    (snapshot.parent / "vectors-.faiss").write_bytes(b"?")


@pytest.mark.parametrize(
    "damage",
    [Path.unlink, tear, empty, take_another_index, take_another_dimension, claim_a_later_change, damage_nothing],
    ids=lambda damage: damage.__name__,
)
def test_whatever_befalls_the_snapshot_the_hits_are_the_same(
    built: Path, encoder: HashingEncoder, damage: Callable[[Path], None]
) -> None:
    before = hits_of(built, encoder)
    (snapshot,) = built.glob("vectors-*.faiss")
    damage(snapshot)
    assert hits_of(built, encoder) == before
    assert encoder.texts == []
    assert snapshot.exists()
    assert hits_of(built, encoder) == before


def test_a_snapshot_of_no_change_of_ours_does_not_stop_ours_from_being_renewed(
    built: Path, encoder: HashingEncoder, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rag.snapshots._DUE_AFTER", 0)
    (snapshot,) = built.glob("vectors-*.faiss")
    (built / "vectors-999.faiss").write_bytes(snapshot.read_bytes())
    (docs / "dogs.txt").write_text("Dogs bark.")
    with Index.open(built, encoder=encoder) as opened:
        opened.ingest(docs)
        assert snapshots(opened) == ["vectors-4.faiss"]


def test_few_changes_are_applied_to_the_old_snapshot(built: Path, encoder: HashingEncoder, docs: Path) -> None:
    with Index.open(built, encoder=encoder) as opened:
        (old,) = snapshots(opened)
        (docs / "dogs.txt").write_text("Dogs bark.")
        (docs / "bees.txt").unlink()
        opened.ingest(docs)
        assert snapshots(opened) == [old]
    with Index.open(built, encoder=encoder) as again:
        assert sorted(hit[0] for hit in found(again, "honey", "dense")) == ["apples.txt", "dogs.txt", "sub/cows.txt"]
        assert best(again, "bark") == "dogs.txt"


def test_numbers_that_come_again_after_a_power_cut_are_told_apart(
    index: Index, docs: Path, encoder: HashingEncoder
) -> None:
    """SQLite's last commits can be lost; an open reader then sees the same change number for other text."""
    index.ingest(docs)
    assert best(index, "honey") == "bees.txt"
    sql(index.path, "delete from removed_chunks")
    ((last,),) = sql(index.path, "select max(id) from changes")
    sql(index.path, f"update changes set token = randomblob(8) where id = {last}")
    sql(index.path, "update chunks set embedding_id = 4 - embedding_id")  # 1, 2, 3 become 3, 2, 1
    assert found(index, "trees", "dense")[0][0] == "sub/cows.txt"


def test_an_interrupt_while_vectors_are_read_leaves_nothing_half_done(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.ingest(docs)
    (docs / "dogs.txt").write_text("Dogs bark.")
    with Index.open(index.path, encoder=HashingEncoder()) as writer:
        writer.ingest(docs)
    with monkeypatch.context() as patch:
        from rag.vectors import FlatVectors

        real = FlatVectors.add

        def interrupted(self: FlatVectors, ids: list[int], vectors: np.ndarray) -> None:
            real(self, ids, vectors)
            raise KeyboardInterrupt

        patch.setattr(FlatVectors, "add", interrupted)
        with pytest.raises(KeyboardInterrupt):
            found(index, "bark")
    with index.reading() as view:
        assert view.n_vectors == 4
    assert [hit[0] for hit in found(index, "bark", "dense")].count("dogs.txt") == 1


def test_the_order_of_ingesting_does_not_show(tmp_path: Path, encoder: HashingEncoder) -> None:
    """300 texts of one score, more than a search looks at, and 250 copies of one text."""
    texts = {f"d{n:03}": f"Honey {n}." for n in range(300)} | {f"e{n:03}": "Honey cake." for n in range(250)}
    documents = [Document(source, text) for source, text in texts.items()]
    rankings = []
    for n, order in enumerate((documents, documents[::-1])):
        with Index.create(tmp_path / str(n), encoder=encoder) as made:
            made.add(order)
            rankings.append(
                [[hit[:2] for hit in found(made, q, mode, k=5)] for q in ("honey", "cake honey") for mode in
                 ("dense", "bm25", "hybrid")]
            )  # fmt: skip
    assert rankings[0] == rankings[1]
    assert rankings[0][1] == [(f"d{n:03}", 0) for n in range(5)]
    assert [[hit for hit in ranking if hit[0] >= "e"] for ranking in rankings[0][3:]] == [[("e000", 0)]] * 3


# --- one writer, many readers


def test_an_open_reader_sees_each_state_whole(index: Index, docs: Path) -> None:
    index.ingest(docs)
    with Index.open(index.path, encoder=HashingEncoder()) as reader:
        assert best(reader, "honey") == "bees.txt"
        with reader.reading() as view:
            assert view.n_vectors == 3
            (docs / "dogs.txt").write_text("Dogs bark.")
            (docs / "bees.txt").unlink()
            index.ingest(docs)
            assert (view.n_vectors, view.store.n_chunks()) == (3, 3)
            assert list(view.store.bm25(["honey"], k=5)) == [2]
        assert found(reader, "honey", "bm25") == []
        assert best(reader, "bark") == "dogs.txt"


def test_threads_that_search_while_another_ingests_never_see_a_mix(index: Index, docs: Path) -> None:
    """Each state holds one version of the file, in all three: words, vectors and rows."""
    index.ingest(docs)
    done, wrong, failed = Event(), [], []

    def search(own: Index) -> None:
        try:
            while not done.is_set():
                with own.reading() as view:
                    dense = view.dense(own.encoder.encode_queries(["bees version"])[0], k=100)
                    chunks = view.store.chunks(dense)
                    sparse = view.store.bm25(["bees"], k=100)
                    if (
                        set(chunks) != set(dense)
                        or len(chunks) != 3
                        or len(sparse) != 1
                        or not set(sparse) <= set(dense)
                    ):
                        wrong.append((dense, chunks, sparse))
        except Exception as exc:
            failed.append(exc)

    with Index.open(index.path, encoder=HashingEncoder()) as other:
        threads = [Thread(target=search, args=[own]) for own in (index, index, other)]
        for thread in threads:
            thread.start()
        try:
            for n in range(8):
                (docs / "bees.txt").write_text(f"Bees version {n}. " + "x" * n)
                assert index.ingest(docs).read == 1
        finally:
            done.set()
            for thread in threads:
                thread.join()
    assert (wrong, failed) == ([], [])


def test_a_second_writer_is_told_to_wait(index: Index, docs: Path) -> None:
    code = (
        "import sys; from filelock import FileLock\n"
        "with FileLock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(index.path / "write.lock")], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for write in (
            lambda: index.ingest(docs),
            lambda: index.add([Document("a", "b")]),
            lambda: index.remove("a"),
            lambda: Index.delete(index.path),
            lambda: Index.create(index.path, encoder=HashingEncoder()),
        ):
            with pytest.raises(IndexBusyError, match="another process is writing to the index in"):
                write()
        holder.communicate()
    assert index.ingest(docs).read == 3


def test_a_lock_that_cannot_be_taken_says_so(built: Path, encoder: HashingEncoder) -> None:
    (built / "write.lock").unlink(missing_ok=True)
    (built / "write.lock").mkdir()
    with Index.open(built, encoder=encoder) as opened, pytest.raises(UsageError, match="cannot write to the index in"):
        opened.add([Document("a", "b")])


# --- add, remove, delete


def test_documents_of_a_script_come_replace_each_other_and_go(index: Index) -> None:
    assert index.add(Document(f"n{n}", f"Number word{n}.") for n in range(300)) == 300
    assert best(index, "word299") == "n299"
    assert index.add([Document("n299", "Other."), Document("n299", "Another.")]) == 2
    assert index.document("n299").text == "Another."
    assert found(index, "word299", "bm25") == []
    assert index.remove("n299") == 1
    assert found(index, "another", "bm25") == []
    with pytest.raises(UsageError, match="nothing in index 'index' is called 'n299': rag list shows"):
        index.remove("n299")
    assert index.status().chunks == 299


def test_what_sqlite_cannot_keep_is_replaced_and_offsets_hold(index: Index) -> None:
    index.add([Document("a", "Be\x00es \ud800make honey.", title="T\udc80itle\x00")])
    document = index.document("a")
    assert (document.text, document.title) == ("Be\ufffdes \ufffdmake honey.", "T\ufffditle\ufffd")
    ((_, start, text, _),) = found(index, "honey")
    assert document.text[start : start + len(text)] == text
    with pytest.raises(UsageError, match=r"expected a doc_id without NUL and lone surrogates, got 'a\\udc80'"):
        index.add([Document("a\udc80", "b")])


def test_a_script_cannot_change_what_came_from_a_file_nor_be_mixed_with_it(index: Index, docs: Path) -> None:
    index.add([Document("apples.txt", "A script's own apples.")])
    index.ingest(docs)
    assert sources(index) == ["apples.txt", "bees.txt", "docs/apples.txt", "sub/cows.txt"]
    with pytest.raises(UsageError, match=r"'bees\.txt' came from a file"):
        index.add([Document("bees.txt", "No.")])
    assert index.ingest(docs).unchanged == 3


def test_remove_takes_a_source_a_file_or_a_folder(index: Index, docs: Path) -> None:
    index.ingest(docs)
    assert index.remove("bees.txt") == 1
    assert index.remove(docs / "sub") == 1
    assert sources(index) == ["apples.txt"]
    assert index.remove(docs) == 1
    assert counts(index.ingest(docs)) == (3, 0, 0, 3, 3)  # the files stayed


def test_remove_by_source_takes_that_document_only_and_its_file_can_come_back(index: Index, tmp_path: Path) -> None:
    for folder in ("cats", "dogs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text(f"These are {folder}.")
        index.ingest(tmp_path / folder)
    assert index.remove("a.txt") == 1
    assert sources(index) == ["dogs/a.txt"]
    assert index.remove("dogs/a.txt") == 1
    assert index.ingest(tmp_path / "dogs").read == 1


def test_remove_takes_one_line_of_a_jsonl_file_or_all(index: Index, tmp_path: Path) -> None:
    (tmp_path / "l.jsonl").write_text('{"text": "Apples."}\n{"text": "Bees."}\n{"text": "Cows."}')
    index.ingest(tmp_path / "l.jsonl")
    assert index.remove("l.jsonl#2") == 1
    assert sources(index) == ["l.jsonl#1", "l.jsonl#3"]
    assert index.remove("l.jsonl") == 2


def test_delete_takes_the_index_and_nothing_else(built: Path, docs: Path) -> None:
    Index.delete(built)
    assert not built.exists()
    with pytest.raises(IndexNotFoundError, match=r"no index in .*: nothing was deleted"):
        Index.delete(docs)
    assert len(list(docs.rglob("*.txt"))) == 3


# --- what is not a usable index


def test_no_index_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(IndexNotFoundError, match=r"no index in .*: make one with rag ingest PATH"):
        Index.open(tmp_path / "none")


def test_create_refuses_where_an_index_is(built: Path) -> None:
    for encoder in (HashingEncoder(), HashingEncoder(name="another")):
        with pytest.raises(UsageError, match=r"there is an index in .* already"):
            Index.create(built, encoder=encoder)
    with Index.open_or_create(built, encoder=HashingEncoder()) as opened:
        assert opened.status().documents == 3


def test_another_encoder_is_refused_in_words(built: Path) -> None:
    message = (
        "index 'index' was made with the encoder 'hashing', and 'other' makes other vectors: "
        "search it with --encoder hashing, or take it to the other with rag reembed --encoder other"
    )
    for opening in (Index.open, Index.open_or_create):
        with pytest.raises(IndexMismatchError, match=message):
            opening(built, encoder=HashingEncoder(name="other"))


def test_a_newer_format_is_refused_and_left_as_it_is(built: Path, encoder: HashingEncoder) -> None:
    sql(built, "pragma user_version = 7")
    for opening in (Index.open, Index.open_or_create, Index.create):
        with pytest.raises(
            IndexMismatchError, match="has index format 7, this version reads up to 4: upgrade with pip"
        ):
            opening(built, encoder=encoder)
    assert sql(built, "pragma user_version") == [(7,)]


def half_written(file: Path) -> None:
    StoreWriter(file, create=True).close()


@pytest.mark.parametrize("write", [half_written, Path.touch], ids=["killed before the manifest", "empty file"])
def test_a_half_written_index_says_so_and_is_mended_by_ingest(
    tmp_path: Path, encoder: HashingEncoder, docs: Path, write: Callable[[Path], None]
) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    write(folder / "index.sqlite")
    with pytest.raises(IndexDamagedError, match=r"is half-written: .*[Rr]un rag ingest"):
        Index.open(folder)
    with Index.open_or_create(folder, encoder=encoder) as mended:
        assert mended.ingest(docs).read == 3


@pytest.mark.parametrize("content", [b"short", b"garbage " * 1000], ids=["short", "long"])
def test_a_file_that_is_no_index_is_refused_and_left(tmp_path: Path, encoder: HashingEncoder, content: bytes) -> None:
    (tmp_path / "index.sqlite").write_bytes(content)
    for opening in (Index.open, Index.open_or_create, Index.create):
        with pytest.raises(IndexDamagedError, match=r"not an? .*: delete its folder and ingest again"):
            opening(tmp_path, encoder=encoder)
    assert (tmp_path / "index.sqlite").read_bytes() == content


def test_a_damaged_page_is_told_when_it_is_read(built: Path, encoder: HashingEncoder) -> None:
    file = built / "index.sqlite"
    ((page,),) = sql(built, "select rootpage from sqlite_master where name = 'chunks'")
    assert isinstance(page, int)
    data = bytearray(file.read_bytes())
    data[(page - 1) * 4096 : page * 4096] = b"\xff" * 4096
    file.write_bytes(data)
    with (
        Index.open(built, encoder=encoder) as opened,
        pytest.raises(IndexDamagedError, match=r"is damaged .*: delete its folder and ingest again"),
    ):
        found(opened, "honey")


def test_a_folder_in_place_of_the_file_is_refused(tmp_path: Path, encoder: HashingEncoder) -> None:
    (tmp_path / "index.sqlite").mkdir()
    for opening in (Index.open, Index.open_or_create, Index.create):
        with pytest.raises(IndexDamagedError, match="cannot open"):
            opening(tmp_path, encoder=encoder)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot make the index folder"):
        Index.create(tmp_path / "file" / "index", encoder=encoder)


# --- kills and failures


def test_a_file_is_written_whole_or_not_at_all(
    index: Index, docs: Path, encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = docs / "lines.jsonl"
    file.write_text('{"text": "Old one."}\n{"text": "Old two."}')
    index.ingest(docs)
    before, rows = hits_of(index.path, encoder), sql(index.path, "select * from files")
    file.write_text('{"text": "New first."}\n{"text": "New second."}\n{"text": "New third."}')
    real, calls = StoreWriter._insert_document, []

    def failing(self: StoreWriter, *args: object, **kwargs: object) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise sqlite3.OperationalError("disk I/O error")
        real(self, *args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "_insert_document", failing)
        with pytest.raises(UsageError, match=r"disk I/O error.*make room.*what was read is kept"):
            index.ingest(docs)
    assert len(calls) == 2
    assert hits_of(index.path, encoder) == before
    assert sql(index.path, "select * from files") == rows
    encoder.texts.clear()
    assert counts(index.ingest(docs)) == (1, 3, 0, 3, 0)  # what was embedded before the failure is kept
    assert best(index, "third") == "lines.jsonl#3"
    assert found(index, "old", "bm25") == []


def test_an_ingest_that_is_killed_goes_on_where_it_was(tmp_path: Path, encoder: HashingEncoder) -> None:
    folder = tmp_path / "docs"
    folder.mkdir()
    for n in range(400):
        (folder / f"{n:03}.txt").write_text(f"Number word{n}.")
    code = (
        "import os, sys; sys.path[:0] = sys.argv[3:]\n"
        "from rag.index import Index; from tests.fakes import HashingEncoder\n"
        "def stop(p):\n    if p.files_done == 300: os._exit(9)\n"
        "Index.create(sys.argv[1], encoder=HashingEncoder()).ingest(sys.argv[2], progress=stop)"
    )
    here = str(Path(__file__).parents[1])
    killed = subprocess.run([sys.executable, "-c", code, tmp_path / "index", folder, here], check=False)
    assert killed.returncode == 9
    with Index.open_or_create(tmp_path / "index", encoder=encoder) as opened:
        assert counts(opened.ingest(folder)) == (144, 256, 0, 144, 144)
        assert [best(opened, f"word{n}") for n in (0, 255, 256, 399)] == ["000.txt", "255.txt", "256.txt", "399.txt"]


def test_an_encoder_that_gives_nonsense_is_refused(index: Index, encoder: HashingEncoder) -> None:
    encoder.encode_documents = lambda texts: np.full((len(texts), encoder.dim), np.nan, np.float32)  # type: ignore[method-assign]
    with pytest.raises(EncoderError, match="numbers that are not finite"):
        index.add([Document("a", "b")])
    assert sources(index) == []


def test_a_failed_load_that_is_not_foreseen_is_a_load_error(
    index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise LoadError("crashed the reader (signal 11)")

    monkeypatch.setattr("rag.ingest.IsolatedLoader.load", failing)
    report = index.ingest(docs)
    assert {reason for _, reason in report.set_aside} == {"crashed the reader (signal 11)"}
    assert (report.read, len(report.set_aside)) == (0, 3)


@pytest.mark.skipif(is_root, reason="root may write anywhere")
def test_an_index_that_cannot_be_written_can_be_searched(built: Path, encoder: HashingEncoder) -> None:
    before = hits_of(built, encoder)
    for snapshot in built.glob("vectors-*"):
        snapshot.unlink()
    for file in built.iterdir():
        file.chmod(0o444)
    built.chmod(0o555)
    try:
        assert hits_of(built, encoder) == before
        with Index.open(built, encoder=encoder) as opened, pytest.raises(UsageError, match="cannot write to the index"):
            opened.add([Document("a", "b")])
    finally:
        built.chmod(0o755)


def test_an_index_is_empty_until_a_passage_is_in_it_and_again_when_the_last_has_gone(index: Index) -> None:
    assert index.is_empty()
    index.add([Document("blank.txt", " ")])
    assert index.is_empty()
    index.add([Document("bees.txt", "Bees make honey.")])
    assert not index.is_empty()
    index.remove("bees.txt")
    assert index.is_empty()


def test_the_status_says_what_made_the_index(index: Index, docs: Path) -> None:
    (docs / "empty.txt").touch()
    index.ingest(docs)
    status = index.status()
    assert (status.documents, status.chunks, status.files, status.encoder) == (3, 3, 3, "hashing")
    assert status.set_aside == (("empty.txt", "is empty (0 bytes)"),)
    assert status.last_ingest is not None
    assert (status.last_ingest["read"], status.last_ingest["paths"]) == (3, [str(docs)])
    assert status.bytes == sum(file.stat().st_size for file in index.path.iterdir())


def test_the_status_of_a_long_lived_reader_tells_of_a_change_of_encoder_that_was_begun(
    index: Index, docs: Path
) -> None:
    index.ingest(docs)
    assert index.status().reembedding is None
    with Index.open(index.path, encoder=HashingEncoder()) as other:
        other.reembed(HashingEncoder(name="another"), stop=lambda: True)
    assert index.status().reembedding == "another"


def test_a_document_that_is_not_there_names_its_neighbours(index: Index, docs: Path) -> None:
    index.ingest(docs)
    with pytest.raises(UsageError, match=r"did you mean 'sub/cows\.txt'\?"):
        index.document("cows.txt")


def test_rare_words_weigh_more(index: Index) -> None:
    index.add([Document("a", "common rare"), Document("b", "common"), Document("c", "common")])
    weights = index.term_weights(["common", "rare", "absent"])
    assert weights == pytest.approx({"common": np.log1p(3 / 4), "rare": np.log1p(3 / 2), "absent": np.log1p(3)})


def test_a_snapshot_that_lay_in_the_folder_of_a_new_index_goes(
    built: Path, tmp_path: Path, encoder: HashingEncoder
) -> None:
    (snapshot,) = built.glob("vectors-*.faiss")
    empty = tmp_path / "empty"
    empty.mkdir()
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / snapshot.name).write_bytes(snapshot.read_bytes())
    with Index.create(tmp_path / "new", encoder=encoder) as index:
        index.ingest(empty)
        assert snapshots(index) == []
        assert index.examine().holds


def test_one_reading_inside_another_is_of_the_same_state(index: Index, docs: Path) -> None:
    index.ingest(docs)
    with index.reading() as outer, index.reading() as inner:
        assert outer.store.last_change() == inner.store.last_change()
        assert [row.source for row in index.documents()] == ["apples.txt", "bees.txt", "sub/cows.txt"]
    index.remove("bees.txt")
    assert [row.source for row in index.documents()] == ["apples.txt", "sub/cows.txt"]


def test_an_open_index_follows_one_that_was_deleted_and_made_again(
    index: Index, docs: Path, encoder: HashingEncoder
) -> None:
    index.ingest(docs)
    assert best(index, "honey") == "bees.txt"
    Index.delete(index.path)
    with pytest.raises(IndexNotFoundError, match="was deleted: make it again with rag ingest PATH"):
        found(index, "honey")
    with pytest.raises(IndexNotFoundError, match="was deleted"):
        index.ingest(docs)
    assert not index.path.exists()
    (docs / "bees.txt").write_text("Wasps build nests of honey paper.")
    with Index.create(index.path, encoder=encoder) as other:
        other.ingest(docs)
    assert "Wasps" in found(index, "honey")[0][2]
    assert index.ingest(docs).unchanged == 3


def test_a_kept_reader_sees_a_new_time_through_its_filter(built: Path, docs: Path, encoder: HashingEncoder) -> None:
    where = ["modified>=2030"]
    with Index.open(built, encoder=encoder) as reader, Index.open(built, encoder=encoder) as writer:
        assert Retriever(reader).search("honey", where=where) == []
        os.utime(docs / "bees.txt", ns=(2 * 10**18, 2 * 10**18))
        writer.ingest(docs)
        assert [hit.chunk.doc_id for hit in Retriever(reader).search("honey", where=where)] == ["bees.txt"]


def test_what_was_added_after_a_change_is_found_by_the_index_on_changes(built: Path) -> None:
    plan = sql(
        built,
        "explain query plan select c.id, e.vector from chunks c join embeddings e on e.id = c.embedding_id"
        " where c.id in (select id from chunks where change_id > 3) order by c.id",
    )
    assert not [row for row in plan if row[3] in ("SCAN c", "SCAN chunks")]
