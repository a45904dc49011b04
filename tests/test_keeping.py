"""What the page needs of an index: files as they stand, uploads, removing many, another name, and who writes."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event, Thread

import pytest

from rag.errors import IndexBusyError, IndexNotFoundError, UsageError
from rag.index import Index
from rag.locks import HOLDER, who_writes, write_lock
from rag.progress import Progress
from rag.retriever import Retriever
from rag.types import Document
from rag.uploads import UPLOADS, kept_at
from tests.fakes import HashingEncoder


def hand_over(index: Index, name: str, text: str) -> Path:
    copy = kept_at(index.path, name)
    copy.parent.mkdir(exist_ok=True)
    copy.write_text(text)
    os.utime(copy, ns=(0, hash(text) % 10**15))  # another time for another text, and none of them just now
    return copy


def sources(index: Index) -> list[str]:
    return [row.source for row in index.documents()]


def path_of(index: Index, source: str) -> Path:
    file = index.file(source)
    assert file is not None
    return Path(file.path)


def standing(index: Index) -> list[tuple[str, str, int, str | None]]:
    return [(file.root, file.name, file.n_chunks, file.reason) for file in index.files()]


# Files as they stand


def test_files_tell_what_was_read_what_was_set_aside_and_what_no_file_stands_behind(index: Index, docs: Path) -> None:
    (docs / "empty.txt").touch()
    (docs / "list.jsonl").write_text('{"id": "a", "text": "One."}\n{"id": "b", "text": "Two."}\n')
    index.ingest(docs)
    index.add([Document("note", "Ducks swim.")])
    root = str(docs)
    assert standing(index) == [
        (root, "apples.txt", 1, None),
        (root, "bees.txt", 1, None),
        (root, "empty.txt", 0, "is empty (0 bytes)"),
        (root, "list.jsonl", 2, None),
        ("", "note", 1, None),
        (root, "sub/cows.txt", 1, None),
    ]
    [lines] = [file for file in index.files() if file.name == "list.jsonl"]
    assert (lines.source, lines.n_documents) == ("list.jsonl#a", 2)


def test_origins_are_the_folders_the_files_named_themselves_and_the_uploads(
    index: Index, docs: Path, tmp_path: Path
) -> None:
    (tmp_path / "alone.txt").write_text("Ducks swim.")
    hand_over(index, "upload.txt", "Eels turn.")
    index.ingest(docs, tmp_path / "alone.txt", uploads=["upload.txt"])
    origins = index.origins()
    assert origins.paths == (str(docs), str(tmp_path / "alone.txt"))
    assert origins.uploads == ("upload.txt",)
    (docs / "new.txt").write_text("Foxes run.")
    report = index.ingest(*origins.paths, uploads=origins.uploads)
    assert (report.read, report.unchanged, report.removed) == (1, 5, 0)


# Uploads


def test_an_upload_is_read_under_the_name_its_user_gave_it(index: Index) -> None:
    copy = hand_over(index, "Über uns.md", "# Bees\n\nBees make honey.")
    report = index.ingest(uploads=["Über uns.md"])
    assert (report.read, sources(index)) == (1, ["Über uns.md"])
    assert path_of(index, "Über uns.md") == copy
    assert index.status().roots == ()


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "/etc/passwd",
        "..",
        "a/../../b.txt",
        "C:\\x.txt",
        "x\n.txt",
        "\ud800.txt",
        "a" * 5000,
        "x.p/y",
    ],
)
def test_no_name_leads_out_of_the_folder_of_copies(tmp_path: Path, name: str) -> None:
    copy = kept_at(tmp_path, name)
    assert copy.resolve().parent == tmp_path.resolve() / UPLOADS
    assert copy.name.isascii()
    assert len(copy.name) < 64


def test_another_upload_of_a_name_takes_the_place_of_the_first_and_an_equal_one_changes_nothing(index: Index) -> None:
    hand_over(index, "week.txt", "Lunch is soup.")
    index.ingest(uploads=["week.txt"])
    hand_over(index, "week.txt", "Lunch is soup.").touch()
    assert index.ingest(uploads=["week.txt"]).unchanged == 1
    hand_over(index, "week.txt", "Lunch is stew.")
    assert index.ingest(uploads=["week.txt"]).read == 1
    assert [hit.chunk.text for hit in Retriever(index).search("lunch")] == ["Lunch is stew."]


def test_an_upload_and_a_file_of_a_folder_with_one_name_stay_two_documents(index: Index, docs: Path) -> None:
    index.ingest(docs)
    hand_over(index, "bees.txt", "Bees sting.")
    index.ingest(uploads=["bees.txt"])
    index.ingest(docs)  # the folder's sync does not take it for one of its own that has gone
    assert index.document("bees.txt").text == "Bees make honey."
    assert index.document("files/bees.txt").text == "Bees sting."
    assert path_of(index, "files/bees.txt") == kept_at(index.path, "bees.txt")
    assert path_of(index, "bees.txt") == docs / "bees.txt"


def test_the_index_folder_itself_is_no_folder_of_documents_though_copies_lie_in_it(index: Index) -> None:
    hand_over(index, "week.txt", "Lunch is soup.")
    assert index.ingest(index.path).read == 0
    assert index.ingest(index.path / UPLOADS).read == 0


def test_an_upload_whose_copy_has_gone_stays_and_is_told(index: Index) -> None:
    copy = hand_over(index, "week.txt", "Lunch is soup.")
    index.ingest(uploads=["week.txt"])
    copy.unlink()
    report = index.ingest(uploads=["week.txt"])
    assert report.set_aside == [("week.txt", "has no copy in the index: add it again")]
    assert sources(index) == ["week.txt"]


def test_an_upload_set_aside_is_told_by_its_users_name(index: Index) -> None:
    hand_over(index, "empty.txt", "")
    index.ingest(uploads=["empty.txt"])
    assert index.status().set_aside == (("empty.txt", "is empty (0 bytes)"),)


def test_removing_an_upload_deletes_its_copy(index: Index) -> None:
    copies = [hand_over(index, name, "Lunch is soup.") for name in ("a.txt", "b.txt")]
    index.ingest(uploads=["a.txt", "b.txt"])
    index.remove("a.txt")
    assert [copy.exists() for copy in copies] == [False, True]


def test_what_is_left_of_a_run_over_bytes_reaches_all_of_them(index: Index, docs: Path) -> None:
    told: list[Progress] = []
    index.ingest(docs, progress=told.append)
    size = sum(file.stat().st_size for file in docs.rglob("*.txt"))
    assert (told[0].bytes_total, told[-1].bytes_done) == (size, size)
    assert [p.bytes_done for p in told] == sorted(p.bytes_done for p in told)
    told.clear()
    (docs / "bees.txt").write_text("Bees sting, and make honey.")
    index.ingest(docs, rehash=False, progress=told.append)
    assert told[-1].bytes_total < size + 20  # those known are no work


def test_within_a_long_file_the_bytes_that_are_done_grow_as_it_is_embedded(index: Index, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text("\n\n".join(f"Paragraph {i} " + "word " * 55 for i in range(500)))
    told: list[Progress] = []
    index.ingest(tmp_path / "long.txt", progress=told.append)
    size = (tmp_path / "long.txt").stat().st_size
    shares = [round(p.bytes_done / size, 1) for p in told]
    assert shares == sorted(shares)
    assert len({share for share in shares if 0 < share < 1}) > 2
    assert told[-1].bytes_done == told[-1].bytes_total == size


# Removing many


def test_many_files_are_removed_at_once_and_stay_on_the_disk(index: Index, docs: Path) -> None:
    (docs / "empty.txt").touch()
    index.ingest(docs)
    index.add([Document("note", "Ducks swim."), Document("other", "Eels turn.")])
    copy = hand_over(index, "week.txt", "Lunch is soup.")
    index.ingest(uploads=["week.txt"])
    gone = [file for file in index.files() if file.name not in ("bees.txt", "other")]
    assert index.remove_files(gone) == 5
    assert sources(index) == ["bees.txt", "other"]
    assert sorted(file.name for file in docs.rglob("*.txt")) == ["apples.txt", "bees.txt", "cows.txt", "empty.txt"]
    assert not copy.exists()
    assert index.remove_files(gone) == 0
    assert index.examine().holds


def test_a_folder_removed_as_a_whole_is_not_looked_into_again(index: Index, docs: Path) -> None:
    index.ingest(docs)
    index.remove(docs / "sub")
    assert index.origins().paths == (str(docs),)
    index.remove(docs)
    assert index.origins().paths == ()
    index.ingest(docs)
    index.remove_files([file for file in index.files() if file.name != "bees.txt"])
    assert index.origins().paths == (str(docs),)
    index.remove_files(index.files())
    assert index.origins().paths == ()
    index.ingest(docs)
    assert sources(index) == ["apples.txt", "bees.txt", "sub/cows.txt"]


# Another name


def test_an_index_gets_another_name_with_all_that_is_in_it(index: Index, docs: Path) -> None:
    hand_over(index, "week.txt", "Lunch is soup.")
    index.ingest(docs, uploads=["week.txt"])
    path = Index.rename(index.path, " Mine ")
    assert path == index.path.with_name("Mine")
    assert not index.path.exists()
    assert not (path / HOLDER).exists()
    with pytest.raises(IndexNotFoundError, match="was deleted"):
        index.documents()
    with Index.open(path, encoder=HashingEncoder()) as again:
        assert path_of(again, "week.txt") == kept_at(path, "week.txt")
        report = again.ingest(*again.origins().paths, uploads=again.origins().uploads)
        assert (report.read, report.unchanged) == (0, 4)
        assert again.examine().holds


@pytest.mark.parametrize(
    "name", ["", "  ", "a/b", "a\\b", "..", ".hidden", "-x", "a\nb", "a:b", "a" * 81, "end.", "\u202e"]
)
def test_a_name_that_is_a_path_or_none_is_refused(index: Index, name: str) -> None:
    with pytest.raises(UsageError, match="expected a name"):
        Index.rename(index.path, name)
    assert index.status().documents == 0


def test_a_name_that_is_taken_is_refused_and_nothing_is_lost(index: Index, docs: Path) -> None:
    with pytest.raises(UsageError, match="there is a 'docs' beside it already"):
        Index.rename(index.path, "docs")
    assert (docs / "bees.txt").exists()
    with pytest.raises(UsageError, match="already"):
        Index.rename(index.path, index.path.name.upper() if os.name == "nt" else "docs")
    assert index.status().documents == 0


def test_an_index_that_is_written_to_keeps_its_name(index: Index) -> None:
    with write_lock(index.path, doing="ingest"), pytest.raises(IndexBusyError, match=r"rag ingest, since"):
        Index.rename(index.path, "other")
    with pytest.raises(IndexNotFoundError, match="nothing was renamed"):
        Index.rename(index.path.with_name("gone"), "other")


# Who writes


def test_who_writes_is_told_while_it_writes_and_not_after(index: Index) -> None:
    assert who_writes(index.path) is None
    with write_lock(index.path, doing="ingest"):
        assert f"process {os.getpid()} (rag ingest, since " in (who_writes(index.path) or "")
    assert who_writes(index.path) is None


def test_one_that_was_killed_does_not_write_any_more(index: Index) -> None:
    (index.path / HOLDER).write_text('{"doing": "ingest", "process": 1, "host": "x", "since": "2026-01-01T00:00:00Z"}')
    assert who_writes(index.path) is None
    assert not (index.path / HOLDER).exists()


def test_asking_who_writes_never_keeps_a_writer_out(index: Index) -> None:
    done = Event()

    def ask() -> None:
        while not done.is_set():
            who_writes(index.path)

    asking = Thread(target=ask)
    asking.start()
    try:
        for i in range(20):
            index.add([Document(f"{i}", "Bees make honey.")])
    finally:
        done.set()
        asking.join()
    assert index.status().documents == 20
