"""The file of a document is served as a download, or as a PDF, and nothing else of the machine is."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from starlette.responses import FileResponse

from rag.index import Index
from rag.uploads import kept_at
from tests.fakes import HashingEncoder
from ui.originals import response

HOSTILE = "<html><body><script>alert(1)</script>Bees make honey.</body></html>"


@pytest.fixture
def indexes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of indexes with one, 'bees', of the folder 'notes' beside it."""
    monkeypatch.setattr("rag.index.load_encoder", lambda name, **_: HashingEncoder())
    notes = tmp_path / "notes"
    notes.mkdir()
    (notes / "bees.txt").write_text("Bees make honey.")
    (notes / "page.html").write_text(HOSTILE)
    with Index.create(tmp_path / "indexes" / "bees", encoder=HashingEncoder()) as index:
        index.ingest(notes)
    return tmp_path / "indexes"


def told(indexes: Path, name: str, source: str) -> str:
    """Why a file is not served."""
    refused = response(indexes, name, source)
    assert not isinstance(refused, FileResponse)
    assert refused.status_code == 404
    return bytes(refused.body).decode()


def test_a_document_is_a_download_that_no_browser_runs(indexes: Path) -> None:
    served = response(indexes, "bees", "page.html")
    assert isinstance(served, FileResponse)
    assert served.headers["content-type"] == "application/octet-stream"
    assert served.headers["content-disposition"] == 'attachment; filename="page.html"'
    assert served.headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize(
    ("name", "source", "text"),
    [
        ("week #3.txt", "week #3.txt", "Lunch is soup."),
        ("two #2.JSONL", "two #2.JSONL#a", '{"_id": "a", "text": "Lunch is soup."}'),
        ("lines.jsonl", "lines.jsonl#a/b#c", '{"_id": "a/b#c", "text": "Lunch is soup."}'),
    ],
)
def test_a_file_that_was_added_is_downloaded_under_its_own_name(
    indexes: Path, name: str, source: str, text: str
) -> None:
    copy = kept_at(indexes / "bees", name)
    copy.parent.mkdir()
    copy.write_text(text)
    with Index.open(indexes / "bees") as index:
        index.ingest(uploads=[name])
        assert source in [row.source for row in index.documents()]
    served = response(indexes, "bees", source)
    assert isinstance(served, FileResponse)
    assert name.replace(" ", "%20").replace("#", "%23") in served.headers["content-disposition"]


@pytest.mark.parametrize("name", ["", ".", "..", "bees/..", "../indexes/bees", "bees\0"])
def test_only_indexes_of_the_folder_are_asked(indexes: Path, name: str) -> None:
    assert told(indexes, name, "bees.txt") == f"There is no index {name!r} here."


@pytest.mark.parametrize("source", ["", "../notes/bees.txt", "/etc/passwd", "bees.txt\0", "index.sqlite"])
def test_only_documents_of_the_index_are_served(indexes: Path, source: str) -> None:
    assert told(indexes, "bees", source) == "No file stands behind this document."


def test_a_link_put_in_the_place_of_a_file_is_not_followed_to_another_of_the_same_size_and_time(indexes: Path) -> None:
    read, secret = indexes.parent / "notes" / "bees.txt", indexes.parent / "secret"
    secret.write_text("The key is 1234.")
    status = read.stat()
    os.utime(secret, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert secret.stat().st_size == status.st_size
    assert isinstance(response(indexes, "bees", "bees.txt"), FileResponse)
    read.unlink()
    read.symlink_to(secret)
    assert told(indexes, "bees", "bees.txt") == "This file changed after it was read."
