"""Files that are dropped on the page: their names are data, their sizes and types are limited, and none is mixed up."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rag.errors import UsageError
from rag.index import Index
from rag.retriever import Retriever
from rag.uploads import UPLOADS, kept_at
from tests.fakes import HashingEncoder
from ui.access import PUBLIC_VARIABLE
from ui.limits import DISK_RESERVE_MB, UPLOAD_VARIABLE
from ui.reading import Failed, Finished, Task, Told, read
from ui.uploads import clean_name, drop_unread, megabytes, refusal, take

MB = 1024 * 1024


@dataclass
class Dropped:
    """A file as the page gets it."""

    name: str
    text: str = "Bees make honey."
    size: int = 16

    def getvalue(self) -> bytes:
        return self.text.encode()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    return tmp_path / "indexes" / "handbook"


def ingested(home: Path, names: tuple[str, ...]) -> Finished:
    told: list[Told] = []
    read(Task(home, "files", uploads=names), told.append, Event())
    assert not isinstance(told[-1], Failed), told[-1]
    assert isinstance(told[-1], Finished)
    return told[-1]


def texts(home: Path) -> dict[str, str]:
    with Index.open(home, encoder=HashingEncoder()) as index:
        return {row.source: index.document(row.source).text for row in index.documents()}


# Limits


def test_the_limit_is_the_one_that_was_said_when_the_page_was_started(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(UPLOAD_VARIABLE, "60")
    assert refusal("big.pdf", 60 * MB) is None
    assert refusal("big.pdf", 61 * MB) == (
        "big.pdf is 61.0 MB; the limit is 60 MB a file. Name its folder instead: nothing is copied then."
    )
    take(home, [Dropped("bees.html", f"<p>Bees make honey.</p><!--{'x' * 33 * MB}-->", 33 * MB)])
    assert ingested(home, ("bees.html",)).report["set_aside"] == []


def test_the_limit_of_uploads_takes_no_larger_file_of_a_folder_out_of_the_index(
    home: Path, docs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (docs / "large.txt").write_text("Bees make honey. " * (2 * MB // 17))
    with Index.open_or_create(home) as index:
        index.ingest(docs)
    monkeypatch.setenv(UPLOAD_VARIABLE, "1")
    take(home, [Dropped("ants.txt")])
    (docs / "large.txt").write_text("Bees make wax. " * (2 * MB // 15))
    told: list[Told] = []
    read(Task(home, "all of handbook", (str(docs),), ("ants.txt",)), told.append, Event())
    assert isinstance(told[-1], Finished)
    assert (told[-1].report["read"], told[-1].report["set_aside"]) == (2, [])
    assert "large.txt" in texts(home)


def test_visitors_are_not_sent_to_folders_that_they_cannot_name(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    assert refusal("big.pdf", 51 * MB) == "big.pdf is 51.0 MB; the limit is 50 MB a file."
    [refused] = take(home, [Dropped("bees.txt")] * 201).refused
    assert refused == "These are 201 files; up to 200 can be added at once."


# Names


@pytest.mark.parametrize(
    ("sent", "name"),
    [
        ("report.pdf", "report.pdf"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\Ada\\report.pdf", "report.pdf"),
        ("a\nb\x00\u202ec.md", "a b c.md"),
        ("u\u0308ber.md", "über.md"),
        ("  much   space .md", "much space .md"),
        ('<img src=x onerror="alert(1)">.md', '<img src=x onerror="alert(1)">.md'),
        ("", "unnamed"),
        ("..", "unnamed"),
        ("a/", "unnamed"),
    ],
)
def test_an_upload_is_called_by_the_last_part_of_the_name_that_came(sent: str, name: str) -> None:
    assert clean_name(sent) == name


@given(st.text(max_size=600))
def test_any_name_becomes_one_line_that_is_no_path_and_stays_as_it_is(sent: str) -> None:
    name = clean_name(sent)
    assert 0 < len(name) <= 160
    assert not set("/\\\n\r\0") & set(name)
    assert name.isprintable()
    assert name not in {".", ".."}
    assert clean_name(name) == name
    copy = kept_at(Path("/indexes/a"), name)
    assert copy.parent == Path("/indexes/a/files")
    assert ".." not in copy.name


def test_a_long_name_keeps_its_type() -> None:
    assert clean_name("a" * 500 + ".pdf").endswith("a….pdf")


def test_dropped_files_are_kept_below_the_index_and_nowhere_else(home: Path) -> None:
    taken = take(home, [Dropped("../../../outside.md"), Dropped("/etc/cron.d/x.txt"), Dropped("a\\..\\b.md")])
    assert taken.names == ("outside.md", "x.txt", "b.md")
    files = [file for file in home.parents[1].rglob("*") if file.is_file()]
    assert {file.parent for file in files} == {home / UPLOADS}
    assert len(files) == 3


# What is taken


def test_each_is_read_by_its_type_under_its_users_name(home: Path) -> None:
    taken = take(home, [Dropped("notes.MD", "# Bees\n\nThey make honey."), Dropped("README", "Ducks swim.")])
    ingested(home, taken.names)
    assert texts(home) == {"notes.MD": "# Bees\n\nThey make honey.", "README": "Ducks swim."}
    with Index.open(home, encoder=HashingEncoder()) as index:
        assert index.document("notes.MD").title == "Bees"


def test_what_is_too_large_is_told_with_its_size_and_the_way_out() -> None:
    assert refusal("video.mp4", int(1.2 * 1024 * MB)) == (
        "video.mp4 is 1.2 GB; the limit is 50 MB a file. Name its folder instead: nothing is copied then."
    )
    assert refusal("exact.pdf", 50 * MB) is None
    assert refusal("over.pdf", 50 * MB + 1) is not None


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("old.doc", "old.doc: a format this version cannot read; save it as .docx."),
        ("budget.XLSX", "budget.XLSX: a format this version cannot read; save it as .csv."),
        ("photo.jpg", "photo.jpg: a format this version cannot read."),
        ("odd.p/y".replace("/", "¬"), "odd.p¬y: a format this version cannot read."),
    ],
)
def test_a_type_that_is_not_read_is_told_in_words(name: str, words: str) -> None:
    assert refusal(name, 10) == words


def test_what_is_refused_is_not_kept_and_keeps_nothing_else_out(home: Path) -> None:
    taken = take(home, [Dropped("photo.jpg"), Dropped("bees.txt"), Dropped("big.txt", size=51 * MB)])
    assert taken.names == ("bees.txt",)
    assert len(taken.refused) == 2
    assert len(list((home / UPLOADS).iterdir())) == 1


def test_too_many_at_once_are_told_the_way_out(home: Path) -> None:
    taken = take(home, [Dropped(f"{i}.txt") for i in range(201)])
    assert taken.refused == (
        "These are 201 files; up to 200 can be added at once. Name their folder instead: nothing is copied then.",
    )
    assert not home.exists()


def test_a_disk_that_does_not_take_it_is_told(home: Path) -> None:
    home.parent.mkdir(parents=True)
    home.write_text("a file, where the index would be")
    with pytest.raises(UsageError, match=r"'bees.txt' cannot be kept in .*: make room"):
        take(home, [Dropped("bees.txt")])


def test_what_would_fill_the_disk_is_refused_before_anything_is_written(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = DISK_RESERVE_MB * MB + 20
    monkeypatch.setattr("ui.uploads.shutil.disk_usage", lambda path: SimpleNamespace(free=free))
    assert take(home, [Dropped("bees.txt")]).names == ("bees.txt",)
    with pytest.raises(UsageError) as refused:
        take(home, [Dropped("ants.txt"), Dropped("ducks.txt")])
    assert str(refused.value) == (
        "There is too little room on the disk: 1.0 GB of it are to stay free, and 32 bytes were to be added. "
        "Nothing was taken: make room, then add it again."
    )
    assert list((home / UPLOADS).iterdir()) == [kept_at(home, "bees.txt")]
    free = 0
    assert take(home, [Dropped("photo.jpg")]).names == ()  # it takes no room


# One name twice


def test_of_one_name_the_later_upload_counts_and_an_equal_one_changes_nothing(home: Path) -> None:
    ingested(home, take(home, [Dropped("week.txt", "Lunch is soup.")]).names)
    assert ingested(home, take(home, [Dropped("week.txt", "Lunch is soup.")]).names).report["unchanged"] == 1
    finished = ingested(home, take(home, [Dropped("week.txt", "Lunch is stew.")]).names)
    assert (finished.report["read"], finished.edited) == (1, 1)
    assert texts(home) == {"week.txt": "Lunch is stew."}
    with Index.open(home, encoder=HashingEncoder()) as index:
        assert [hit.chunk.text for hit in Retriever(index).search("lunch")] == ["Lunch is stew."]


def test_two_files_of_one_name_dropped_together_are_both_kept_unless_they_are_the_same(home: Path) -> None:
    dropped = [Dropped("a/x.md", "Ants."), Dropped("b/x.md", "Bees."), Dropped("c/x.md", "Ants."), Dropped("x", "No.")]
    taken = take(home, dropped)
    assert taken.names == ("x.md", "x (2).md", "x")
    ingested(home, taken.names)
    assert texts(home) == {"x.md": "Ants.", "x (2).md": "Bees.", "x": "No."}


def test_one_that_took_the_place_of_another_is_named_and_an_equal_one_is_not(home: Path) -> None:
    assert take(home, [Dropped("week.txt", "Lunch is soup.")]).replaced == ()
    assert take(home, [Dropped("week.txt", "Lunch is soup.")]).replaced == ()
    assert take(home, [Dropped("week.txt", "Lunch is stew.")]).replaced == (
        "week.txt took the place of the one before.",
    )


def test_what_a_visitor_adds_takes_the_place_of_no_other_file(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(PUBLIC_VARIABLE, "1")
    ingested(home, take(home, [Dropped("week.txt", "Lunch is soup.")]).names)
    assert take(home, [Dropped("week.txt", "Lunch is soup.")]).names == ("week.txt",)
    later = take(home, [Dropped("week.txt", "Lunch is stew."), Dropped("week.txt", "No lunch.")])
    assert (later.names, later.replaced) == (("week (2).txt", "week (3).txt"), ())
    ingested(home, later.names)
    assert texts(home) == {
        "week.txt": "Lunch is soup.",
        "week (2).txt": "Lunch is stew.",
        "week (3).txt": "No lunch.",
    }


def test_copies_that_were_never_read_are_deleted_and_others_stay(home: Path) -> None:
    ingested(home, take(home, [Dropped("read.txt")]).names)
    take(home, [Dropped("unread.txt")])
    drop_unread(home, ["read.txt", "unread.txt", "never.txt"])
    assert list((home / UPLOADS).iterdir()) == [kept_at(home, "read.txt")]


def test_copies_go_where_no_index_was_made_and_stay_where_one_cannot_be_opened(home: Path) -> None:
    take(home, [Dropped("unread.txt")])
    (home / "index.sqlite").write_bytes(b"no database" * 100)
    drop_unread(home, ["unread.txt"])
    assert kept_at(home, "unread.txt").exists()
    (home / "index.sqlite").unlink()
    drop_unread(home, ["unread.txt"])
    assert not kept_at(home, "unread.txt").exists()


@pytest.mark.parametrize(
    ("size", "words"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (2048, "2 kB"), (3 * MB // 2, "1.5 MB"), (1024 * MB, "1.0 GB")],
)
def test_sizes_are_told_for_people(size: int, words: str) -> None:
    assert megabytes(size) == words
