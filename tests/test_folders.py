"""Finding files: in order, each once, whatever the folder holds."""

from __future__ import annotations

import os
import sys
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

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


def below(root: Path, folder: str, *, gitignore: bool = False) -> list[str]:
    """As `found`, of a folder below one that is ingested."""
    results = list(find_files(root / folder, below=root, gitignore=gitignore))
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


class TestBelow:
    """A folder that lies in one that is ingested: the rules above it count."""

    def test_the_rules_above_count_each_from_its_own_folder(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/x.log", "a/b/x.txt", "a/b/c/y.txt", "a/b/c/z.txt", "a/b/keep.log", "a/b/own.txt")
        (tmp_path / ".ragignore").write_text("*.log\n/a/b/c/y.txt\n/x.txt\n")
        (tmp_path / "a" / ".ragignore").write_text("!keep.log\n/b/own.txt\n/x.txt\n")
        assert below(tmp_path, "a/b") == ["keep.log", "x.txt", "c/z.txt"]
        assert len(found(tmp_path / "a" / "b")) == 6

    def test_the_inner_rules_go_before_those_above(self, tmp_path: Path) -> None:
        make(tmp_path, "a/x.log", "a/y.log")
        (tmp_path / ".ragignore").write_text("*.log\n")
        (tmp_path / "a" / ".ragignore").write_text("!x.log\n")
        assert below(tmp_path, "a") == ["x.log"]
        assert [f.relpath for f in find_files(tmp_path / "a", below=tmp_path, exclude=["!y.log"])] == ["x.log", "y.log"]

    def test_a_folder_that_is_left_out_above_holds_nothing_whatever_its_own_rules_say(self, tmp_path: Path) -> None:
        make(tmp_path, "build/a/x.txt")
        (tmp_path / ".ragignore").write_text("build/\n")
        (tmp_path / "build" / ".ragignore").write_text("!*\n")
        (tmp_path / "build" / "a" / ".ragignore").write_text("!x.txt\n")
        assert below(tmp_path, "build/a") == below(tmp_path, "build") == []

    def test_gitignore_files_above_count_only_when_asked(self, tmp_path: Path) -> None:
        make(tmp_path, "a/x.txt", "a/y.txt")
        (tmp_path / ".gitignore").write_text("x.txt\n")
        assert below(tmp_path, "a") == ["x.txt", "y.txt"]
        assert below(tmp_path, "a", gitignore=True) == ["y.txt"]

    def test_a_folder_that_does_not_lie_below_and_a_file_are_found_as_ever(self, tmp_path: Path) -> None:
        make(tmp_path, "in/x.txt", "inside/x.txt")
        (tmp_path / ".ragignore").write_text("x.txt\n")
        (tmp_path / "in" / ".ragignore").write_text("*\n")
        assert [f.relpath for f in find_files(tmp_path / "inside", below=tmp_path / "in")] == ["x.txt"]
        assert [f.relpath for f in find_files(tmp_path / "in" / "x.txt", below=tmp_path)] == ["x.txt"]
        assert [f.relpath for f in find_files(tmp_path, below=tmp_path)] == []

    def test_a_hidden_folder_that_is_named_is_read(self, tmp_path: Path) -> None:
        make(tmp_path, ".hidden/x.txt", ".hidden/.y.txt")
        assert below(tmp_path, ".hidden") == ["x.txt"]

    def test_an_ignore_file_above_that_cannot_be_read_is_reported_and_nothing_is_found(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/x.txt", "a/.ragignore/is a folder.txt")
        (result,) = find_files(tmp_path / "a" / "b", below=tmp_path)
        assert isinstance(result, Unreadable)
        assert (result.path, result.relpath) == (tmp_path / "a", "..")
        assert result.reason.startswith("is left out, as its ignore file cannot be read: ")
        assert refused(tmp_path) == {"a": result.reason}

    @pytest.mark.skipif(os.name == "nt", reason="links need rights on Windows")
    def test_a_link_to_a_folder_above_loops_as_it_does_from_there(self, tmp_path: Path) -> None:
        make(tmp_path, "a/b/x.txt")
        (tmp_path / "a" / "b" / "up").symlink_to(tmp_path)
        results = {r.relpath: getattr(r, "reason", "") for r in find_files(tmp_path / "a" / "b", below=tmp_path)}
        assert results == {"x.txt": "", "up": "is a link that loops: it leads to a folder above"}

    @given(
        files=st.lists(st.lists(st.sampled_from(["a", "b", "c d"]), min_size=1, max_size=4), min_size=1, max_size=12),
        rules=st.dictionaries(
            st.sampled_from(["", "a", "a/b", "a/b/a", "b"]),
            st.lists(
                st.sampled_from(
                    "a b* !a !b /a /b/ a/ a/b !a/b/ a/b/c?d **/b a/** !a/**/b c* * !* /* !/a !*/ ? a/*/a".split(" ")
                ),
                max_size=4,
            ),
        ),
        folder=st.sampled_from(["a", "b", "a/b", "a/b/a", "a/c d", "b/b"]),
    )
    @settings(max_examples=150, deadline=None)
    def test_what_is_found_below_is_what_is_found_there_from_above(
        self, files: list[list[str]], rules: dict[str, list[str]], folder: str
    ) -> None:
        with TemporaryDirectory() as made:
            root = Path(made)
            (root / folder).mkdir(parents=True)
            for parts in files:
                make(root, "/".join(parts) + "/x", "/".join(parts) + "/a.txt")
            for where, lines in rules.items():
                make(root, f"{where}/.ragignore", text="\n".join(lines))
            assert below(root, folder) == [f[len(folder) + 1 :] for f in found(root) if f.startswith(f"{folder}/")]


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
