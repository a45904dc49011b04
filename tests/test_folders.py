"""Finding files: in order, each once, whatever the folder holds."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path

import pytest

from rag.errors import UsageError
from rag.folders import FoundFile, Unreadable, find_files


def make(root: Path, *names: str, text: str = "x") -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def found(root: Path, *exclude: str, gitignore: bool = False) -> list[str]:
    """Relative paths of the files; none may be unreadable."""
    results = list(find_files(root, exclude=exclude, gitignore=gitignore))
    assert not [result for result in results if isinstance(result, Unreadable)]
    return [result.relpath for result in results]


def refused(root: Path) -> dict[str, str]:
    return {result.relpath: result.reason for result in find_files(root) if isinstance(result, Unreadable)}


def test_files_come_in_order_with_their_size_and_time(tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/z.txt", "a/b/c.txt", "c.txt", text="four")
    results = list(find_files(tmp_path))
    status = (tmp_path / "b.txt").stat()
    assert results[0] == FoundFile(tmp_path / "b.txt", "b.txt", 4, status.st_mtime_ns)
    assert found(tmp_path) == ["b.txt", "c.txt", "a/z.txt", "a/b/c.txt"]


def test_hidden_files_are_left_out_but_a_hidden_root_is_read(tmp_path: Path) -> None:
    make(tmp_path, ".hidden.txt", ".git/config", "a/.cache/x", "shown.txt", ".root/in.txt")
    assert found(tmp_path) == ["shown.txt"]
    assert found(tmp_path / ".root") == ["in.txt"]
    assert found(tmp_path / ".hidden.txt") == [".hidden.txt"]


def test_one_file_is_found_under_its_name(tmp_path: Path) -> None:
    make(tmp_path, "a b.txt")
    assert found(tmp_path / "a b.txt") == ["a b.txt"]


def test_what_is_not_there_is_reported(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone") == {"gone": "is not there, or is a link to what is not there"}


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert found(tmp_path) == []


def test_ragignore_applies_below_its_folder_and_the_inner_one_decides(tmp_path: Path) -> None:
    make(tmp_path, "a.log", "a.txt", "sub/a.log", "sub/keep.log", "sub/a.txt", "build/x.txt", "sub/deep/build/y.txt")
    (tmp_path / ".ragignore").write_text("# comment\n*.log\n/build/\n")
    (tmp_path / "sub" / ".ragignore").write_text("!keep.log\n/a.txt\n")
    assert found(tmp_path) == ["a.txt", "sub/keep.log", "sub/deep/build/y.txt"]


def test_excludes_go_before_ignore_files(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt", "node_modules/x/y.txt", "sub/b.txt")
    (tmp_path / ".ragignore").write_text("a.txt\n")
    assert found(tmp_path, "!a.txt", "b.txt", "node_modules/") == ["a.txt"]


def test_gitignore_counts_only_when_asked(tmp_path: Path) -> None:
    make(tmp_path, "a.txt", "b.txt")
    (tmp_path / ".gitignore").write_text("a.txt\n")
    assert found(tmp_path) == ["a.txt", "b.txt"]
    assert found(tmp_path, gitignore=True) == ["b.txt"]


def test_a_pattern_without_meaning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"patterns as in a \.gitignore file, not \['!'\]"):
        find_files(tmp_path, exclude=["!"])


@pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
class TestLinks:
    def test_links_to_files_and_folders_are_followed(self, tmp_path: Path) -> None:
        make(tmp_path, "out/a.txt", "out/b.txt", "in/c.txt")
        (tmp_path / "in" / "one.txt").symlink_to(tmp_path / "out" / "a.txt")
        (tmp_path / "in" / "all").symlink_to(tmp_path / "out")
        assert found(tmp_path / "in") == ["c.txt", "one.txt", "all/a.txt", "all/b.txt"]

    def test_a_folder_is_read_once_and_under_its_own_name(self, tmp_path: Path) -> None:
        make(tmp_path, "real/a.txt")
        (tmp_path / "alias").symlink_to(tmp_path / "real")
        (tmp_path / "zalias").symlink_to(tmp_path / "real")
        assert found(tmp_path) == ["real/a.txt"]

    def test_a_link_that_loops_is_named_and_the_rest_is_found(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/x.txt")
        (tmp_path / "a" / "b" / "up").symlink_to(tmp_path / "a")
        (tmp_path / "self").symlink_to(tmp_path / "self")
        (tmp_path / "lost.txt").symlink_to(tmp_path / "nowhere")
        assert refused(tmp_path) == {
            "a/b/up": "is a link that loops: it leads to a folder above",
            "self": "is a link that loops",
            "lost.txt": "is not there, or is a link to what is not there",
        }
        assert [f.relpath for f in find_files(tmp_path) if isinstance(f, FoundFile)] == ["a/b/x.txt"]

    def test_two_linked_folders_that_lead_to_each_other_end(self, tmp_path: Path) -> None:
        make(tmp_path, "x/in.txt", "y/in.txt", "root/a.txt")
        (tmp_path / "x" / "to_y").symlink_to(tmp_path / "y")
        (tmp_path / "y" / "to_x").symlink_to(tmp_path / "x")
        (tmp_path / "root" / "go").symlink_to(tmp_path / "x")
        files = [f.relpath for f in find_files(tmp_path / "root") if isinstance(f, FoundFile)]
        assert files == ["a.txt", "go/in.txt", "go/to_y/in.txt"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in this file system")
def test_pipes_are_passed_over(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    os.mkfifo(tmp_path / "pipe.txt")
    assert found(tmp_path) == ["a.txt"]
    assert refused(tmp_path / "pipe.txt") == {"pipe.txt": "is neither a file nor a folder"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_closed_folder_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "closed/a.txt", "open/b.txt")
    (tmp_path / "closed").chmod(0)
    try:
        assert refused(tmp_path) == {"closed": "may not be read: permission denied"}
    finally:
        (tmp_path / "closed").chmod(0o700)


@pytest.mark.skipif(sys.platform != "linux", reason="names are Unicode elsewhere")
def test_names_of_any_bytes_stay_apart_and_can_be_opened(tmp_path: Path) -> None:
    make(tmp_path, "e\u0301.txt", "\u00e9.txt", "line\nend.txt", "🦆 'q'.txt")
    for name in (b"\xff.txt", b"a\xffb.txt", b"a\\xffb.txt"):
        with open(os.fsencode(tmp_path) + b"/" + name, "w") as file:
            file.write("bytes")
    files = {f.relpath: f.path for f in find_files(tmp_path) if isinstance(f, FoundFile)}
    assert set(files) == {"e\u0301.txt", "\u00e9.txt", "line\nend.txt", "🦆 'q'.txt", "\\xff.txt", "a\\xffb.txt"}
    assert files["\\xff.txt"].read_text() == "bytes"
    assert os.fsencode(files["a\\xffb.txt"].name) == b"a\\xffb.txt"
    assert refused(tmp_path) == {"a\\xffb.txt": "is named as another file is once its bytes are written out"}


@pytest.mark.skipif(sys.platform != "linux", reason="makes the folders step by step")
def test_a_path_too_long_for_the_system_is_reported(tmp_path: Path) -> None:
    make(tmp_path, "a.txt")
    here = os.open(tmp_path, os.O_RDONLY)
    made = [here]
    for _ in range(100):
        os.mkdir("d" * 50, dir_fd=made[-1])
        made.append(os.open("d" * 50, os.O_RDONLY, dir_fd=made[-1]))
    try:
        reasons = set(refused(tmp_path).values())
        assert reasons == {"has a path that is too long for the system"}
        assert [f.relpath for f in find_files(tmp_path) if isinstance(f, FoundFile)] == ["a.txt"]
    finally:
        for parent, child in reversed(list(pairwise(made))):
            os.close(child)
            os.rmdir("d" * 50, dir_fd=parent)
        os.close(here)


def test_deep_folders_are_read_without_recursion(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["d"] * 600)
    deep.mkdir(parents=True)
    (deep / "x.txt").write_text("x")
    assert found(tmp_path) == ["d/" * 600 + "x.txt"]
