"""The values of the source pane: the text around a passage by its type, its file, and what is never in them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rag
from tests.fakes import HashingEncoder
from ui import originals
from ui.layout import BLOCKS, markdown
from ui.render import Passage
from ui.sources import Shown, file_now, kind_of, node_view, source_view

HOSTILE = """\
# <img src=x onerror=alert(1)>

[click](javascript:alert(1)) ![pixel](http://evil.example/p.png) <script>alert(2)</script> <svg onload=alert(3)>

<iframe src="http://evil.example"></iframe>

| <b onclick=x> | :red[x] |
| --- | --- |
| `</pre><script>` | $x$ |
"""
ELEMENTS = {"", *BLOCKS, *"ul ol li quote table thead tbody th td em strong s code link image".split()}


@pytest.fixture
def files(tmp_path: Path, index: rag.Index) -> Path:
    """A folder of files of several types, read into the index."""
    folder = tmp_path / "files"
    folder.mkdir()
    texts = {
        "leave.md": "# Leave\n\nA parent gets **16 weeks** of leave.\n",
        "page.html": "<h1>Refunds</h1><p>Thirty days.</p>",
        "people.csv": "name,weeks\nAnna,16\nBo,2\n",
        "faq.jsonl": '{"id": "a", "title": "First", "text": "Thirty days.", "kind": "faq", "tags": ["x", "y"]}\n',
        "code.py": "def weeks():\n    return 16\n",
        "notes.txt": "Plain *text* stays as it is.\n",
    }
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    index.ingest(folder)
    return folder


def passage(index: rag.Index, source: str, quote: str) -> Passage:
    start = index.document(source).text.index(quote)
    return Passage(source, None, None, None, start, start + len(quote), quote)


def view_of(index: rag.Index, source: str, quote: str, shown: Shown | None = None) -> Any:
    return source_view(index, passage(index, source, quote), number=1, of=1, shown=shown)


def leaves(view: Any) -> Iterator[Any]:
    if "text" in view:
        yield view
    for child in view.get("of", []):
        yield from leaves(child)


def elements(view: Any) -> Iterator[str]:
    if "tag" in view:
        yield view["tag"]
    for child in view.get("of", []):
        yield from elements(child)


def marked(view: Any) -> str:
    return "".join(leaf["text"] for node in view["nodes"] for leaf in leaves(node) if leaf.get("mark"))


def test_each_type_has_its_structure_and_exactly_the_quote_marked(index: rag.Index, files: Path) -> None:
    expected = {
        "leave.md": ("**16 weeks** of", "strong"),
        "page.html": ("Thirty", "h1"),
        "people.csv": ("name: Anna", "field"),
        "faq.jsonl#a": ("Thirty days", "plain"),
        "code.py": ("weeks():\n    return", "line"),
        "notes.txt": ("*text* stays", "plain"),
    }
    for source, (quote, tag) in expected.items():
        view = view_of(index, source, quote)
        assert marked(view) == quote
        assert tag in {tag for node in view["nodes"] for tag in elements(node)}
        assert (view["note"], view["file"]) == ("", True)


def test_a_line_of_a_catalogue_shows_its_fields_beside_the_text(index: rag.Index, files: Path) -> None:
    assert view_of(index, "faq.jsonl#a", "Thirty")["fields"] == [["kind", "faq"], ["tags", '["x", "y"]']]
    assert view_of(index, "leave.md", "parent")["fields"] == []


def test_a_document_without_a_file_is_shown_by_its_name(index: rag.Index) -> None:
    index.add([rag.Document("notes/x.md", "# One\n\n*Two*"), rag.Document("loose", "*Two*")])
    assert "em" in {tag for node in view_of(index, "notes/x.md", "Two")["nodes"] for tag in elements(node)}
    view = view_of(index, "loose", "*Two*")
    assert (view["kind"], view["file"], view["note"]) == ("text", False, "")


def test_a_file_that_changed_is_shown_as_it_was_read_and_says_so(index: rag.Index, files: Path) -> None:
    (files / "leave.md").write_text("# Leave\n\nA parent gets no leave at all.\n", encoding="utf-8")
    view = view_of(index, "leave.md", "16 weeks")
    assert marked(view) == "16 weeks"
    assert view["note"].startswith("This file changed after it was read. Shown as it was read on ")
    assert view["file"] is False
    (files / "leave.md").unlink()
    assert view_of(index, "leave.md", "16 weeks")["note"].startswith("This file is not where it was any more. Shown as")


def test_a_file_with_another_time_but_the_same_content_is_the_same(index: rag.Index, files: Path) -> None:
    os.utime(files / "leave.md", (1, 1))
    file = file_now(index.file("leave.md"))
    assert (file.state, file.note, file.path) == ("same", "", files / "leave.md")


def test_a_folder_in_the_place_of_a_file_is_no_file(index: rag.Index, files: Path) -> None:
    (files / "leave.md").unlink()
    (files / "leave.md").mkdir()
    assert file_now(index.file("leave.md")).path is None


def test_a_document_that_is_gone_or_another_is_not_marked(index: rag.Index, files: Path) -> None:
    wanted = passage(index, "leave.md", "16 weeks")
    (files / "leave.md").write_text("# Leave\n\nNo more.\n", encoding="utf-8")
    index.ingest(files)
    view: Any = source_view(index, wanted, number=2, of=3)
    assert (view["lost"], view["quote"]) == ("This document has changed since. The passage as it was read:", "16 weeks")
    assert view["nodes"] == []
    index.remove("leave.md")
    view = source_view(index, wanted, number=2, of=3)
    assert view["lost"].startswith("This document is not in the index any more.")


def test_of_a_long_document_more_is_shown_step_by_step(index: rag.Index) -> None:
    text = "".join(f"Paragraph {i}.\n\n" for i in range(1000))
    index.add([rag.Document("long.md", text)])

    def numbers(shown: Shown) -> list[int]:
        view = view_of(index, "long.md", "Paragraph 500.", shown)
        assert (view["above"], view["below"]) == (True, True)
        said = "".join(leaf["text"] for node in view["nodes"] for leaf in leaves(node) if not leaf.get("hidden"))
        found = [int(n) for n in said.replace("Paragraph ", "").split(".") if n.strip()]
        return [found[0], found[-1]]

    assert numbers(Shown()) == [400, 600]
    assert numbers(Shown(above=2)) == [300, 600]
    assert numbers(Shown(below=3)) == [400, 800]


def test_hostile_text_is_text_and_no_value_is_an_address_or_an_unknown_element(index: rag.Index) -> None:
    index.add([rag.Document("x.md", HOSTILE, HOSTILE)])
    view = view_of(index, "x.md", HOSTILE.strip())
    assert marked(view) == HOSTILE.strip()
    assert {tag for node in view["nodes"] for tag in elements(node)} <= ELEMENTS
    keys = set()
    for node in view["nodes"]:
        todo = [node]
        while todo:
            one = todo.pop()
            keys |= set(one)
            todo += one.get("of", [])
    assert keys <= {
        "tag",
        "of",
        "text",
        "mark",
        "hidden",
        "as",
        "page",
        "line",
        "depth",
    }  # none that could be an address
    assert "pages" not in view


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("<>/&;:[](){}!`*_#|\\\"'= \nabsrci"), max_size=200))
def test_whatever_is_written_only_known_elements_come_of_it(text: str) -> None:
    for node in markdown(text, 0, len(text)):
        view = node_view(node, text, 0, 1)
        assert set(elements(view)) <= ELEMENTS
        assert json.loads(json.dumps(view)) == view


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("a.md", "markdown"),
        ("a.PDF", "pdf"),
        ("a.py", "code"),
        ("a.rst", "text"),
        ("README", "text"),
        ("a.jsonl#3.1", "jsonl"),
        ("a.jsonl#b.py", "jsonl"),
        ("a.yaml", "code"),
        ("a.unknown", "text"),
    ],
)
def test_the_name_says_how_a_document_is_written(source: str, kind: str) -> None:
    assert kind_of(source, None) == kind


# The originals


@pytest.fixture
def indexes(tmp_path: Path, index: rag.Index, files: Path) -> Path:
    (files / "a.pdf").write_bytes(b"%PDF-1.4 not whole")
    return index.path.parent


def test_the_original_of_a_document_is_a_download_that_can_run_nothing(indexes: Path, files: Path) -> None:
    for source, file in {"page.html": "page.html", "faq.jsonl#a": "faq.jsonl", "leave.md": "leave.md"}.items():
        found: Any = originals.response(indexes, "index", source)
        assert found.status_code == 200
        assert Path(found.path) == files / file
        headers = found.headers
        assert headers["content-type"] == "application/octet-stream"
        assert headers["content-disposition"] == f'attachment; filename="{file}"'
        assert headers["content-security-policy"] == "sandbox"


@pytest.mark.parametrize(
    ("name", "source", "words"),
    [
        ("index", "../secret.txt", "No file stands behind this document."),
        ("index", "a.pdf", "No file stands behind this document."),  # beside the documents, and none of them
        ("../index", "leave.md", "There is no index"),
        ("", "leave.md", "There is no index"),
        ("index", "", "No file stands behind this document."),
    ],
)
def test_nothing_but_documents_of_an_index_is_served(indexes: Path, name: str, source: str, words: str) -> None:
    (indexes / "secret.txt").write_text("secret", encoding="utf-8")
    found = originals.response(indexes, name, source)
    assert found.status_code == 404
    assert words in bytes(found.body).decode()


def test_a_file_that_was_replaced_since_is_not_served(indexes: Path, files: Path) -> None:
    (indexes / "secret.txt").write_text("secret", encoding="utf-8")
    (files / "leave.md").unlink()
    (files / "leave.md").symlink_to(indexes / "secret.txt")
    found = originals.response(indexes, "index", "leave.md")
    assert (found.status_code, bytes(found.body)) == (404, b"This file changed after it was read.")


def test_no_file_stands_behind_what_a_script_added(indexes: Path) -> None:
    with rag.Index.open(indexes / "index", encoder=HashingEncoder()) as index:
        index.add([rag.Document("added.md", "Added.")])
    assert bytes(originals.response(indexes, "index", "added.md").body) == b"No file stands behind this document."
