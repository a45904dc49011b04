"""Files that are no longer as they were read: told by what they hold, and only of those that were read."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.index import Index
from rag.plan import FileChange
from tests.fakes import HashingEncoder


def told(index: Index) -> set[tuple[str, str]]:
    return {(change.kind, change.path) for change in index.stale_files()}


@pytest.fixture
def kept(index: Index, docs: Path) -> Index:
    (docs / "empty.txt").touch()
    for path in docs.rglob("*.txt"):  # so old that their time tells
        os.utime(path, (1_000_000_000, 1_000_000_000))
    index.ingest(docs)
    return index


def test_files_that_are_as_they_were_read_are_not_told(kept: Index) -> None:
    assert told(kept) == set()


def test_files_that_were_edited_or_have_gone_are_told_until_they_are_read_again(kept: Index, docs: Path) -> None:
    (docs / "bees.txt").write_text("Bees make wax.")
    (docs / "sub" / "cows.txt").unlink()
    assert set(kept.stale_files()) == {FileChange("edited", "bees.txt"), FileChange("removed", "sub/cows.txt")}
    kept.ingest(docs)
    assert told(kept) == set()


def test_another_text_of_the_same_length_is_an_edit_and_the_same_text_at_another_time_is_none(
    kept: Index, docs: Path
) -> None:
    (docs / "bees.txt").write_text("Bees take honey."[: len("Bees make honey.")])
    (docs / "apples.txt").touch()
    assert told(kept) == {("edited", "bees.txt")}
    (docs / "bees.txt").write_text("Bees make honey.")
    assert told(kept) == set()


def test_a_file_that_was_so_new_that_its_time_tells_nothing_is_told_by_its_content(index: Index, docs: Path) -> None:
    index.ingest(docs)
    status = (docs / "bees.txt").stat()
    assert told(index) == set()
    (docs / "bees.txt").write_text("Bees take honey."[: status.st_size])
    os.utime(docs / "bees.txt", ns=(status.st_atime_ns, status.st_mtime_ns))
    assert told(index) == {("edited", "bees.txt")}


def test_a_folder_where_a_file_was_is_a_change(kept: Index, docs: Path) -> None:
    (docs / "bees.txt").unlink()
    (docs / "bees.txt").mkdir()
    shutil.rmtree(docs / "sub")
    (docs / "sub").touch()
    assert told(kept) == {("edited", "bees.txt"), ("removed", "sub/cows.txt")}


def test_of_a_folder_that_is_put_away_nothing_is_told(kept: Index, docs: Path) -> None:
    docs.rename(docs.with_name("away"))
    assert told(kept) == set()
    docs.mkdir()  # what is seen where a drive is not mounted
    assert told(kept) == set()


def test_of_what_lies_behind_a_link_that_leads_nowhere_nothing_is_told(
    index: Index, docs: Path, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    far.mkdir()
    (far / "geese.txt").write_text("Geese honk.")
    (tmp_path / "ducks.txt").write_text("Ducks swim.")
    (docs / "far").symlink_to(far)
    (docs / "ducks.txt").symlink_to(tmp_path / "ducks.txt")
    index.ingest(docs)
    assert index.status().files == 5
    far.rename(tmp_path / "away")
    (tmp_path / "ducks.txt").unlink()
    assert told(index) == set()
    (docs / "ducks.txt").unlink()
    assert told(index) == {("removed", "ducks.txt")}


def test_neither_new_files_nor_those_set_aside_nor_uploads_nor_texts_of_scripts_are_told(
    kept: Index, docs: Path, tmp_path: Path
) -> None:
    (docs / "new.txt").write_text("New.")
    (docs / "empty.txt").write_text("Not any more.")
    shutil.copytree(kept.path, tmp_path / "other")
    assert told(kept) == set()


@pytest.mark.skipif(os.name == "nt", reason="there every name is Unicode")
def test_a_name_that_is_no_unicode_is_not_said_to_have_gone(index: Index, docs: Path) -> None:
    try:
        Path(os.fsdecode(os.fsencode(docs) + b"/b\xfftter.txt")).write_text("Butter.")
    except OSError:
        pytest.skip("this file system takes no such names")
    assert index.ingest(docs).read == 4
    assert told(index) == set()


CONTENTS = st.dictionaries(st.sampled_from(["a.txt", "b.md", "c/d.txt", "c/e.txt"]), st.sampled_from("xyz"), min_size=1)


@settings(max_examples=40)
@given(before=CONTENTS, after=CONTENTS)
def test_what_is_told_is_what_an_ingest_would_do_with_the_files_that_it_knows(
    before: dict[str, str], after: dict[str, str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        docs = Path(folder, "docs")
        with Index.create(Path(folder, "index"), encoder=HashingEncoder()) as index:
            _write(docs, before)
            index.ingest(docs)
            shutil.rmtree(docs)
            _write(docs, after)
            changes = Index.preview(index.path, docs).changes
            expected = {(c.kind, c.path) for c in changes if c.kind in ("edited", "removed")}
            moved = {("removed", c.detail) for c in changes if c.kind == "moved"}
            is_any_there = not before.keys().isdisjoint(after)  # else they may be on a drive that is put away
            assert told(index) == (expected | moved if is_any_there else set())
            index.ingest(docs)
            assert told(index) == set()


def _write(docs: Path, contents: dict[str, str]) -> None:
    docs.mkdir()
    for name, content in contents.items():
        (docs / name).parent.mkdir(exist_ok=True)
        (docs / name).write_text(f"Of {content} much is said.")
