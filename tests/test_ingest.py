"""An ingest is a sync: what is known is not read, what moved is followed, and what it will do can be seen before."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from rag.index import Index
from rag.ingest import IngestReport
from rag.plan import FileChange
from rag.retriever import Retriever
from rag.types import Document, Place
from tests.fakes import HashingEncoder
from tests.test_index import best, counts, found, sources, sql, touch

LONG_AGO = 1_600_000_000 * 10**9


@pytest.fixture
def docs(docs: Path) -> Path:
    """Of long ago, so that no edit hides in the tick of a clock."""
    age(docs)
    return docs


def age(folder: Path) -> None:
    for n, file in enumerate(sorted(file for file in folder.rglob("*") if file.is_file())):
        os.utime(file, ns=(LONG_AGO, LONG_AGO + n))


def edit_unseen(file: Path, text: str) -> None:
    """An edit that keeps size and time."""
    status = file.stat()
    assert len(text.encode()) == status.st_size
    file.write_text(text)
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def contents(folder: Path) -> dict[str, tuple[int, bytes]]:
    """All but SQLite's notes of who is reading."""
    files = (file for file in folder.iterdir() if not file.name.endswith("-shm"))
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in files}


def told(
    index: Index, *paths: Path, **options: bool | Sequence[str]
) -> tuple[list[tuple[str, str, str]], IngestReport]:
    """What an ingest said of each file."""
    changes: list[FileChange] = []
    report = index.ingest(*paths, on_change=changes.append, **options)  # type: ignore[arg-type]
    return [(change.kind, change.path, change.detail) for change in changes], report


# --- what is read


def test_an_edit_that_keeps_size_and_time_is_found_by_rehash_only(index: Index, docs: Path) -> None:
    index.ingest(docs)
    edit_unseen(docs / "bees.txt", "Bees make money.")
    assert counts(index.ingest(docs)) == (0, 3, 0, 0, 0)
    assert index.document("bees.txt").text == "Bees make honey."
    assert told(index, docs, rehash=True)[0] == [("edited", "bees.txt", "")]
    assert index.document("bees.txt").text == "Bees make money."
    assert counts(index.ingest(docs, rehash=True)) == (0, 3, 0, 0, 0)


def test_a_file_edited_in_the_tick_in_which_it_was_read_is_noticed(index: Index, docs: Path) -> None:
    file = docs / "bees.txt"
    now = time.time_ns()
    os.utime(file, ns=(now, now))
    index.ingest(docs)
    assert sql(index.path, "select size from files where relpath = 'bees.txt'") == [(-1,)]
    edit_unseen(file, "Bees make money.")
    assert index.ingest(docs).read == 1
    assert index.document("bees.txt").text == "Bees make money."
    os.utime(file, ns=(LONG_AGO, LONG_AGO))
    assert counts(index.ingest(docs)) == (0, 3, 0, 0, 0)  # settled: looked at once more
    assert sql(index.path, "select size, mtime_ns from files where relpath = 'bees.txt'") == [(16, LONG_AGO)]


def test_a_file_of_the_future_is_looked_at_each_time(index: Index, docs: Path) -> None:
    future = time.time_ns() + 10**15
    os.utime(docs / "bees.txt", ns=(future, future))
    index.ingest(docs)
    edit_unseen(docs / "bees.txt", "Bees make money.")
    assert index.ingest(docs).read == 1


def test_nothing_new_starts_no_reader_and_asks_no_encoder(
    index: Index, docs: Path, encoder: HashingEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "empty.txt").touch()
    age(docs)
    index.ingest(docs)

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("asked for nothing")

    monkeypatch.setattr("rag.ingest.IsolatedLoader", fail)
    monkeypatch.setattr("rag.index.load_encoder", fail)
    monkeypatch.setattr("rag.plan.content_of", fail)
    monkeypatch.setattr("rag.ingest.content_of", fail)
    with Index.open(index.path) as unloaded:
        changes, report = told(unloaded, docs)
        assert (changes, counts(report)) == ([], (0, 3, 0, 0, 0))
        (docs / "bees.txt").unlink()
        changes, report = told(unloaded, docs)
        assert (changes, counts(report)) == ([("removed", "bees.txt", "")], (0, 2, 1, 0, 0))


def test_a_move_starts_no_reader_and_asks_no_encoder(index: Index, docs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index.ingest(docs)
    (docs / "bees.txt").rename(docs / "sub" / "wasps.txt")
    monkeypatch.setattr("rag.ingest.IsolatedLoader", None)
    monkeypatch.setattr("rag.index.load_encoder", None)
    with Index.open(index.path) as unloaded:
        assert told(unloaded, docs)[0] == [("moved", "sub/wasps.txt", "bees.txt")]


def test_equal_text_in_several_files_is_embedded_once_and_cited_at_every_place(
    index: Index, docs: Path, encoder: HashingEncoder
) -> None:
    for name in ("copy.txt", "sub/copy.md", "sub/copy.html"):
        (docs / name).write_text("Bees make honey.")
    report = index.ingest(docs)
    assert (report.read, report.chunks, report.embedded) == (6, 6, 3)
    assert Counter(encoder.texts)["Bees make honey."] == 1
    hit = Retriever(index).search("honey")[0]
    assert hit.chunk.doc_id == "bees.txt"
    assert hit.also_in == tuple(Place(name, None, 0, 16) for name in ("copy.txt", "sub/copy.html", "sub/copy.md"))
    (docs / "bees.txt").unlink()
    index.ingest(docs)
    hit = Retriever(index).search("honey")[0]
    assert (hit.chunk.doc_id, len(hit.also_in)) == ("copy.txt", 2)


# --- as before


@pytest.fixture
def ruled(index: Index, docs: Path) -> Index:
    (docs / ".gitignore").write_text("cows.txt\n")
    index.ingest(docs, exclude=["bees*"], gitignore=True)
    assert sources(index) == ["apples.txt"]
    return index


def test_a_folder_is_read_as_the_last_time_if_that_is_wanted_and_by_the_options_given_otherwise(
    ruled: Index, docs: Path
) -> None:
    assert ruled.ingest(docs, as_before=True).read == 0
    ruled.ingest(docs)
    assert sources(ruled) == ["apples.txt", "bees.txt", "sub/cows.txt"]
    assert ruled.ingest(docs, as_before=True).removed == 0
    ruled.ingest(docs, exclude=["apples*"])
    assert ruled.ingest(docs, exclude=["bees*"], as_before=True).removed == 0
    assert sources(ruled) == ["bees.txt", "sub/cows.txt"]


def test_another_folder_read_meanwhile_leaves_the_rules_of_the_first_alone_and_has_those_given(
    ruled: Index, docs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for name in ("bees2.txt", "deer.txt"):
        (other / name).write_text(f"Of {name}.")
    ruled.ingest(docs, other, exclude=["deer*"], as_before=True)
    assert sources(ruled) == ["apples.txt", "bees2.txt"]
    ruled.ingest(other)
    assert ruled.ingest(docs, other, as_before=True).unchanged == 3


def test_what_has_gone_stays_as_the_last_time_and_is_not_told_as_stale(index: Index, docs: Path) -> None:
    index.ingest(docs, keep_missing=True)
    (docs / "bees.txt").unlink()
    assert index.stale_files() == ()
    assert index.ingest(docs, as_before=True).removed == 0
    assert index.ingest(docs).removed == 1


def test_rules_go_with_the_folder_that_they_are_of(ruled: Index, docs: Path) -> None:
    ruled.remove(docs)
    assert sources(ruled) == []
    ruled.ingest(docs, as_before=True)
    assert sources(ruled) == ["apples.txt", "bees.txt", "sub/cows.txt"]


# --- what has gone


def test_what_has_gone_stays_if_that_is_wanted(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").unlink()
    (docs / "apples.txt").rename(docs / "pears.txt")
    changes, report = told(index, docs, keep_missing=True)
    assert (report.removed, report.moved, report.embedded) == (0, 0, 0)
    assert changes == [("added", "pears.txt", "")]
    assert sources(index) == ["apples.txt", "bees.txt", "pears.txt", "sub/cows.txt"]
    assert index.ingest(docs).removed == 2
    assert sources(index) == ["pears.txt", "sub/cows.txt"]


def test_only_what_is_below_the_given_paths_goes(index: Index, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "docs-2"
    other.mkdir()
    (other / "deer.txt").write_text("Deer jump.")
    (other / "elks.txt").write_text("Elks stand.")
    index.ingest(docs, other)
    for file in (docs / "bees.txt", docs / "sub" / "cows.txt", other / "deer.txt"):
        file.unlink()
    assert told(index, docs / "sub")[0] == [("removed", "sub/cows.txt", "")]
    assert told(index, docs)[0] == [("removed", "bees.txt", "")]
    assert told(index, other)[0] == [("removed", "deer.txt", "")]


def test_a_folder_that_is_empty_as_a_whole_keeps_its_documents_for_a_drive_may_be_missing_there(
    index: Index, docs: Path
) -> None:
    index.ingest(docs)
    away = docs.rename(docs.with_name("away"))
    docs.mkdir()
    reason = "is empty: its documents stay until it is filled again, or rag remove forgets them"
    preview = Index.preview(index.path, docs)
    changes, report = told(index, docs)
    assert [(c.kind, c.path, c.detail) for c in preview.changes] == [("set aside", "docs", reason)]
    assert (changes, report.removed, report.set_aside) == ([], 0, [("docs", reason)])
    docs.rmdir()
    away.rename(docs)
    assert index.ingest(docs).unchanged == 3
    index.remove(docs)
    assert sources(index) == []


def test_from_a_folder_that_is_emptied_files_are_followed_to_where_they_went(index: Index, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder, name in ((one, "a"), (one, "b"), (two, "c")):
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.txt").write_text(f"Of {name}.")
    index.ingest(one, two)
    (one / "a.txt").rename(two / "a.txt")
    (one / "b.txt").unlink()
    report = index.ingest(one, two)
    assert (report.moved, report.removed, [path for path, _ in report.set_aside]) == (1, 0, ["one"])
    assert sources(index) == ["a.txt", "b.txt", "c.txt"]


# --- moves


def test_a_move_to_a_subfolder_is_followed_and_keeps_its_passages(
    index: Index, docs: Path, encoder: HashingEncoder
) -> None:
    index.ingest(docs)
    encoder.texts.clear()
    passages = sql(index.path, "select * from chunks order by id")
    (docs / "new" / "deep").mkdir(parents=True)
    (docs / "bees.txt").rename(docs / "new" / "deep" / "b.txt")
    changes, report = told(index, docs)
    assert changes == [("moved", "new/deep/b.txt", "bees.txt")]
    assert (report.moved, *counts(report)) == (1, 0, 2, 0, 0, 0)
    assert sql(index.path, "select * from chunks order by id") == passages
    assert encoder.texts == []
    assert best(index, "honey") == "new/deep/b.txt"
    assert told(index, docs)[0] == []
    assert index.examine().holds


def test_a_move_to_another_folder_that_was_ingested_is_followed(index: Index, docs: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "deer.txt").write_text("Deer jump.")
    index.ingest(docs, other)
    (docs / "bees.txt").rename(other / "b.txt")
    changes, report = told(index, docs, other)
    assert changes == [("moved", "b.txt", "bees.txt")]
    assert (report.moved, report.unchanged, report.removed) == (1, 3, 0)
    assert sources(index) == ["apples.txt", "b.txt", "deer.txt", "sub/cows.txt"]
    assert told(index, other)[0] == []
    (other / "b.txt").unlink()
    assert told(index, other)[0] == [("removed", "b.txt", "")]


def test_a_move_out_of_the_given_paths_is_an_addition(index: Index, docs: Path, tmp_path: Path) -> None:
    """What has gone elsewhere is not looked at, so it cannot be known that it is the same file."""
    other = tmp_path / "other"
    other.mkdir()
    index.ingest(docs)
    (docs / "bees.txt").rename(other / "b.txt")
    changes, report = told(index, other)
    assert changes == [("added", "b.txt", "")]
    assert report.embedded == 0
    assert told(index, docs)[0] == [("removed", "bees.txt", "")]
    assert sources(index) == ["apples.txt", "b.txt", "sub/cows.txt"]


def test_files_of_equal_content_that_move_at_once_are_all_followed(index: Index, docs: Path) -> None:
    for name in ("c1.txt", "c2.txt", "c3.txt"):
        (docs / name).write_text("The same in all.")
    index.ingest(docs)
    for n in (1, 2, 3):
        (docs / f"c{n}.txt").rename(docs / "sub" / f"d{n}.txt")
    (docs / "sub" / "d4.txt").write_text("The same in all.")
    changes, report = told(index, docs)
    assert (report.moved, report.read, report.embedded, report.removed) == (3, 1, 0, 0)
    assert sorted(kind for kind, _, _ in changes) == ["added", "moved", "moved", "moved"]
    assert {detail for kind, _, detail in changes if kind == "moved"} == {"c1.txt", "c2.txt", "c3.txt"}
    assert sources(index) == ["apples.txt", "bees.txt", "sub/cows.txt", *(f"sub/d{n}.txt" for n in (1, 2, 3, 4))]
    assert told(index, docs)[0] == []


def test_fewer_files_than_have_gone_leave_the_rest_removed(index: Index, docs: Path) -> None:
    for name in ("c1.txt", "c2.txt"):
        (docs / name).write_text("The same in all.")
    index.ingest(docs)
    (docs / "c1.txt").unlink()
    (docs / "c2.txt").rename(docs / "d.txt")
    changes, report = told(index, docs)
    assert (report.moved, report.removed) == (1, 1)
    assert sorted(kind for kind, _, _ in changes) == ["moved", "removed"]
    assert [source for source in sources(index) if source[0] in "cd"] == ["d.txt"]


def test_a_moved_jsonl_file_takes_its_lines_along(index: Index, docs: Path) -> None:
    (docs / "l.jsonl").write_text('{"id": "a#1", "text": "Apples."}\n{"text": "Bees.", "year": 1999}\n')
    index.ingest(docs)
    (docs / "l.jsonl").rename(docs / "sub" / "rows.jsonl")
    changes, report = told(index, docs)
    assert changes == [("moved", "sub/rows.jsonl", "l.jsonl")]
    assert report.moved == 1
    assert [source for source in sources(index) if "#" in source] == ["sub/rows.jsonl#2", "sub/rows.jsonl#a#1"]
    assert index.document("sub/rows.jsonl#2").metadata == {"year": 1999}
    assert index.remove("sub/rows.jsonl") == 2


def test_a_move_to_a_source_that_a_script_has_taken_gets_its_folder_in_front(index: Index, docs: Path) -> None:
    index.ingest(docs)
    index.add([Document("new.txt", "A script's own.")])
    (docs / "bees.txt").rename(docs / "new.txt")
    changes, report = told(index, docs)
    assert (changes, report.moved) == ([("moved", "new.txt", "bees.txt")], 1)
    assert index.document("docs/new.txt").text == "Bees make honey."
    assert index.document("new.txt").text == "A script's own."
    assert told(index, docs)[0] == []
    assert index.examine().holds


def test_a_move_to_lines_that_a_script_has_taken_gets_its_folder_in_front(index: Index, docs: Path) -> None:
    (docs / "l.jsonl").write_text('{"id": "x", "text": "One line."}')
    index.ingest(docs)
    index.add([Document("m.jsonl#x", "A script's own.")])
    (docs / "l.jsonl").rename(docs / "m.jsonl")
    assert told(index, docs)[0] == [("moved", "m.jsonl", "l.jsonl")]
    assert index.document("docs/m.jsonl#x").text == "One line."
    assert index.document("m.jsonl#x").text == "A script's own."
    assert told(index, docs)[0] == []


def test_a_file_that_is_moved_and_edited_is_another_file(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").rename(docs / "new.txt")
    (docs / "new.txt").write_text("Bees make wax.")
    changes, report = told(index, docs)
    assert sorted(changes) == [("added", "new.txt", ""), ("removed", "bees.txt", "")]
    assert (report.moved, report.read, report.removed, report.embedded) == (0, 1, 1, 1)


def test_files_that_change_places_are_both_edited_and_nothing_is_embedded(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "bees.txt").rename(docs / "x")
    (docs / "apples.txt").rename(docs / "bees.txt")
    (docs / "x").rename(docs / "apples.txt")
    changes, report = told(index, docs)
    assert sorted(changes) == [("edited", "apples.txt", ""), ("edited", "bees.txt", "")]
    assert report.embedded == 0
    assert best(index, "honey") == "apples.txt"


def test_another_suffix_is_read_anew(index: Index, docs: Path) -> None:
    """What is in a file depends on what it is read as."""
    (docs / "note.txt").write_text("# Title\n\nText.")
    index.ingest(docs)
    (docs / "note.txt").rename(docs / "note.md")
    changes, report = told(index, docs)
    assert sorted(changes) == [("added", "note.md", ""), ("removed", "note.txt", "")]
    assert report.moved == 0
    assert index.document("note.md").title == "Title"
    (docs / "note.md").rename(docs / "note.MD")
    assert told(index, docs)[0] == [("moved", "note.MD", "note.md")]


def test_a_file_with_its_folder_in_front_is_followed_to_a_plain_source(index: Index, docs: Path) -> None:
    index.add([Document("bees.txt", "A script's own.")])
    index.ingest(docs)
    assert index.document("docs/bees.txt").text == "Bees make honey."
    (docs / "bees.txt").rename(docs / "insects.txt")
    changes, report = told(index, docs)
    assert (report.moved, report.embedded) == (1, 0)
    assert changes == [("moved", "insects.txt", "bees.txt")]
    assert sources(index) == ["apples.txt", "bees.txt", "insects.txt", "sub/cows.txt"]
    assert index.document("bees.txt").text == "A script's own."


def test_a_file_that_was_set_aside_and_moves_is_tried_again(index: Index, docs: Path) -> None:
    (docs / "empty.txt").touch()
    index.ingest(docs)
    (docs / "empty.txt").rename(docs / "sub" / "none.txt")
    changes, report = told(index, docs)
    assert changes == [("set aside", "sub/none.txt", "is empty (0 bytes)")]
    assert report.set_aside == [("sub/none.txt", "is empty (0 bytes)")]
    assert index.status().set_aside == (("sub/none.txt", "is empty (0 bytes)"),)


# --- preview


def many_changes(docs: Path) -> None:
    (docs / "bees.txt").write_text("Wasps build nests.")
    (docs / "apples.txt").rename(docs / "sub" / "apples.txt")
    (docs / "sub" / "cows.txt").unlink()
    (docs / "deer.txt").write_text("Deer jump.")
    (docs / "photo.png").write_bytes(b"\x89PNG")
    (docs / "note.txt").rename(docs / "note.md")


def swap_roles(docs: Path) -> None:
    (docs / "bees.txt").rename(docs / "moved.txt")
    (docs / "bees.txt").write_text("New bees.")
    (docs / "note.txt").rename(docs / "a.txt")
    (docs / "apples.txt").rename(docs / "note.txt")


def touch_all(docs: Path) -> None:
    for file in docs.rglob("*.txt"):
        touch(file)


def hide_an_edit(docs: Path) -> None:
    edit_unseen(docs / "bees.txt", "Bees make money.")


def break_a_link(docs: Path) -> None:
    (docs / "link.txt").symlink_to(docs / "nowhere.txt")


OPTIONS: list[dict[str, bool | Sequence[str]]] = [{}, {"rehash": True}, {"keep_missing": True}, {"exclude": ["sub/"]}]


@pytest.mark.parametrize("options", OPTIONS, ids=["plain", "rehash", "keep missing", "exclude"])
@pytest.mark.parametrize("change", [many_changes, swap_roles, touch_all, hide_an_edit, break_a_link])
def test_a_preview_says_what_an_ingest_then_does_and_changes_nothing(
    index: Index, docs: Path, change: Callable[[Path], None], options: dict[str, bool | Sequence[str]]
) -> None:
    (docs / "note.txt").write_text("A note.")
    age(docs)
    index.ingest(docs)
    change(docs)
    before = contents(index.path)
    preview = Index.preview(index.path, docs, **options)  # type: ignore[arg-type]
    assert contents(index.path) == before
    changes, report = told(index, docs, **options)
    of_files = {(c.kind, c.path, c.detail) for c in preview.changes if c.path != "link.txt"}
    assert of_files == set(changes)
    assert [(c.path, c.detail) for c in preview.changes if c.path == "link.txt"] == report.set_aside
    assert preview.skipped == report.skipped
    assert preview.n_files == report.read + report.unchanged + report.moved
    assert Index.preview(index.path, docs, **options).changes == tuple(  # type: ignore[arg-type]
        FileChange("set aside", *entry) for entry in report.set_aside
    )


def test_a_preview_needs_no_index_and_makes_none(docs: Path, tmp_path: Path, index: Index) -> None:
    preview = Index.preview(tmp_path / "not there", docs, docs / "gone.txt")
    assert not (tmp_path / "not there").exists()
    assert {(c.kind, c.path) for c in preview.changes} == {
        ("added", "apples.txt"), ("added", "bees.txt"), ("added", "sub/cows.txt"), ("set aside", "gone.txt")
    }  # fmt: skip
    assert preview.as_json() == {
        "files": 3,
        "changes": [{"kind": c.kind, "path": c.path, "detail": c.detail} for c in preview.changes],
        "skipped": {},
    }
    index.close()
    names = sorted(os.listdir(index.path))
    Index.preview(index.path, docs)
    assert sorted(os.listdir(index.path)) == names


def test_a_preview_does_not_wait_for_a_writer(index: Index, docs: Path) -> None:
    seen: list[int] = []

    def look(change: FileChange) -> None:
        seen.append(len(Index.preview(index.path, docs).changes))

    index.ingest(docs, on_change=look)
    assert seen == [2, 1, 0]


@pytest.mark.parametrize("moved_to", ["new.txt", "insects.txt"])
def test_a_preview_tells_a_move_that_cannot_be_followed_from_one_that_can(
    index: Index, docs: Path, moved_to: str
) -> None:
    """The first: another document has the source, the second: the file had its folder's name in front."""
    index.add([Document("bees.txt" if moved_to == "insects.txt" else "new.txt", "A script's own.")])
    index.ingest(docs)
    (docs / "bees.txt").rename(docs / moved_to)
    preview = Index.preview(index.path, docs)
    changes, _ = told(index, docs)
    assert {(c.kind, c.path, c.detail) for c in preview.changes} == set(changes)


# --- stop, progress, changes


def test_a_stopped_ingest_says_so_and_the_next_embeds_only_what_is_missing(
    index: Index, tmp_path: Path, encoder: HashingEncoder
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for n in range(200):
        (folder / f"{n:03}.txt").write_text(f"Number word{n}.")
    age(folder)
    asked: list[None] = []

    def stop() -> bool:
        asked.append(None)
        return len(asked) > 150

    report = index.ingest(folder, stop=stop)
    assert report.stopped
    assert report.as_json()["stopped"] is True
    assert 0 < report.read < 200
    assert index.status().documents == report.read
    assert index.status().last_ingest is not None
    assert index.status().last_ingest["stopped"] is True  # type: ignore[index]
    n_embedded = len(encoder.texts)
    encoder.texts.clear()
    again = index.ingest(folder)
    assert (again.stopped, again.unchanged, again.read) == (False, report.read, 200 - report.read)
    assert len(encoder.texts) == 200 - n_embedded
    assert index.status().documents == 200
    assert index.examine().holds


def test_what_was_embedded_before_a_stop_is_kept_though_its_file_was_not_committed(
    index: Index, tmp_path: Path, encoder: HashingEncoder
) -> None:
    (tmp_path / "long.txt").write_text("\n\n".join(f"Paragraph word{n} " * 20 for n in range(200)))
    report = index.ingest(tmp_path / "long.txt", stop=lambda: len(encoder.texts) > 0)
    assert (report.stopped, report.read, report.embedded) == (True, 0, 128)
    assert sources(index) == []
    assert index.ingest(tmp_path / "long.txt").embedded == index.status().chunks - 128


def test_a_stop_before_anything_leaves_all_as_it_was(index: Index, docs: Path) -> None:
    report = index.ingest(docs, stop=lambda: True)
    assert (report.stopped, report.read) == (True, 0)
    assert sources(index) == []


def test_a_change_is_told_once_it_can_be_seen_by_others(index: Index, docs: Path) -> None:
    """A second handle looks inside the callback."""
    index.ingest(docs)
    many: dict[str, Callable[[], object]] = {
        "added": lambda: (docs / "deer.txt").write_text("Deer jump."),
        "edited": lambda: (docs / "bees.txt").write_text("Wasps build nests."),
        "moved": lambda: (docs / "apples.txt").rename(docs / "sub" / "apples.txt"),
        "removed": (docs / "sub" / "cows.txt").unlink,
        "set aside": (docs / "void.txt").touch,
    }
    for do in many.values():
        do()
    seen: dict[str, tuple[str, list[str], str]] = {}
    with Index.open(index.path, encoder=HashingEncoder()) as other:

        def look(change: FileChange) -> None:
            text = other.document("bees.txt").text if change.kind == "edited" else ""
            seen[change.kind] = change.path, sources(other), text
            assert change.kind != "set aside" or ("void.txt", "is empty (0 bytes)") in other.status().set_aside

        index.ingest(docs, on_change=look)
    assert seen.keys() == many.keys()
    assert "deer.txt" in seen["added"][1]
    assert seen["edited"][2] == "Wasps build nests."
    assert "apples.txt" not in seen["moved"][1]
    assert "sub/apples.txt" in seen["moved"][1]
    assert "sub/cows.txt" not in seen["removed"][1]
    assert seen["set aside"][0] == "void.txt"


def test_a_failing_listener_leaves_what_was_committed(index: Index, docs: Path) -> None:
    def fail(change: FileChange) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.ingest(docs, on_change=fail)
    assert sources(index) == ["apples.txt"]
    assert index.ingest(docs).read == 2
    assert found(index, "milk", "bm25")[0][0] == "sub/cows.txt"
    assert index.examine().holds


def test_a_file_renamed_to_the_name_of_one_that_was_set_aside_is_followed(index: Index, docs: Path) -> None:
    (docs / "broken.txt").touch()
    index.ingest(docs)
    (docs / "bees.txt").replace(docs / "broken.txt")
    report = index.ingest(docs)
    assert (report.moved, report.read, report.removed, report.set_aside) == (1, 0, 0, [])
    assert [row.source for row in index.documents()] == ["apples.txt", "broken.txt", "sub/cows.txt"]


def test_a_folder_of_many_files_that_was_renamed_is_followed_whole(index: Index, tmp_path: Path) -> None:
    folder = tmp_path / "many"
    (folder / "old").mkdir(parents=True)
    for n in range(300):
        (folder / "old" / f"{n}.txt").write_text(f"File {n % 100} of a hundred.")  # each three times
    index.ingest(folder)
    (folder / "old").rename(folder / "new")
    report = index.ingest(folder)
    assert (report.moved, report.read, report.removed, report.embedded) == (300, 0, 0, 0)
    assert {row.source.split("/")[0] for row in index.documents()} == {"new"}


def test_a_file_that_stays_set_aside_is_told_of_once(index: Index, docs: Path) -> None:
    (docs / "large.txt").write_text("Large. " * 1000)
    told: list[tuple[str, str]] = []
    for _ in range(3):
        report = index.ingest(docs, max_file_mb=0.001, on_change=lambda change: told.append((change.kind, change.path)))
        assert [path for path, _ in report.set_aside] == ["large.txt"]
    assert told.count(("set aside", "large.txt")) == 1


def test_a_file_that_was_named_goes_to_the_folder_that_is_ingested_later(index: Index, docs: Path) -> None:
    index.ingest(docs / "sub" / "cows.txt")
    assert [row.source for row in index.documents()] == ["cows.txt"]
    report = index.ingest(docs)
    assert (report.moved, report.read, report.removed) == (1, 2, 0)
    assert [row.source for row in index.documents()] == ["apples.txt", "bees.txt", "sub/cows.txt"]
    assert index.status().roots == (str(docs),)


def test_the_folder_of_a_named_file_is_no_root_of_the_folders_in_it(index: Index, docs: Path) -> None:
    index.ingest(docs / "bees.txt")
    index.ingest(docs / "sub")
    assert [row.source for row in index.documents()] == ["bees.txt", "cows.txt"]
    report = index.ingest(docs, keep_missing=True)
    assert (report.read, report.unchanged, report.moved) == (1, 2, 0)
    assert [row.source for row in index.documents()] == ["apples.txt", "bees.txt", "cows.txt"]


def test_a_file_that_moves_between_two_folders_keeps_its_plain_source(index: Index, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    (one / "alpha.md").write_text("Alpha.")
    (two / "beta.md").write_text("Beta.")
    for _ in range(2):
        index.ingest(one, two)
        (one / "alpha.md").rename(two / "alpha.md")
        assert index.ingest(one, two).moved == 1
        assert [row.source for row in index.documents()] == ["alpha.md", "beta.md"]
        (two / "alpha.md").rename(one / "alpha.md")


def test_a_named_path_that_has_gone_is_forgotten(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "sub" / "cows.txt").unlink()
    report = index.ingest(docs / "sub" / "cows.txt")
    assert (report.removed, report.set_aside) == (1, [])
    (docs / "sub").rmdir()
    (docs / "sub").write_text("A file in place of the folder.")
    (docs / "bees.txt").unlink()
    index.ingest(docs / "bees.txt", docs / "sub")
    assert "cows.txt" not in " ".join(row.source for row in index.documents())
    assert "bees.txt" not in [row.source for row in index.documents()]


def test_a_whole_folder_that_is_not_there_keeps_its_documents_and_says_so(index: Index, docs: Path) -> None:
    index.ingest(docs)
    docs.rename(docs.with_name("elsewhere"))
    report = index.ingest(docs)
    assert report.removed == 0
    [(path, reason)] = report.set_aside
    assert (path, reason) == ("docs", "is not there: its documents stay until it is back, or rag remove forgets them")
    assert len(index.documents()) == 3


def test_a_file_replaced_by_another_below_its_name_is_forgotten(index: Index, docs: Path) -> None:
    index.ingest(docs)
    (docs / "sub" / "cows.txt").unlink()
    (docs / "sub").rmdir()
    (docs / "sub").write_text("No folder.")
    assert index.ingest(docs / "sub").removed == 1


def test_the_rules_of_the_ingested_folder_hold_for_a_part_of_it(index: Index, docs: Path) -> None:
    (docs / ".ragignore").write_text("*.log\n")
    (docs / "sub" / "noise.log").write_text("Noise.")
    index.ingest(docs)
    assert index.ingest(docs / "sub").read == 0
    assert "sub/noise.log" not in [row.source for row in index.documents()]


def test_a_line_that_was_removed_by_hand_comes_back_at_the_next_ingest(index: Index, docs: Path) -> None:
    (docs / "l.jsonl").write_text('{"id": 1, "text": "One."}\n{"id": 2, "text": "Two."}\n')
    index.ingest(docs)
    assert index.remove("l.jsonl#1") == 1
    assert index.ingest(docs).read == 1
    assert index.document("l.jsonl#1").text == "One."


def test_the_name_of_a_file_that_was_set_aside_and_has_gone_is_nowhere_after_compact(index: Index, docs: Path) -> None:
    (docs / "quaggafile.txt").touch()
    index.ingest(docs)
    index.remove("quaggafile.txt")
    assert index.status().set_aside == ()
    (docs / "quaggafile.txt").unlink()
    index.ingest(docs)
    index.compact()
    assert not any(b"quaggafile" in file.read_bytes() for file in index.path.iterdir())


def test_a_folder_above_the_ingested_one_that_is_not_there_keeps_its_documents(index: Index, docs: Path) -> None:
    """As when a removable disk, whose mount point goes with it, is named whole."""
    disk = docs.with_name("disk")
    disk.mkdir()
    docs.rename(disk / "docs")
    index.ingest(disk / "docs")
    disk.rename(disk.with_name("taken out"))
    report = index.ingest(disk)
    assert (report.removed, len(report.set_aside), len(index.documents())) == (0, 1, 3)
