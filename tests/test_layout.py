"""A document's text laid out: every character in its place, and nothing hidden that is read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from rag.loaders import load
from rag.types import Document, Section
from ui.layout import BLOCKS, Node, chosen, laid_out, markdown, pruned
from ui.sources import node_view

ROOT = Path(__file__).parents[1]
SYNTAX = re.compile(r"[\s!-/:-@\[-`{-~]*")  # white space and the punctuation of ASCII

# Pieces of Markdown, which put together in any order are as strange as what people write.
PIECES = [
    *"# |## |### |> |>> |- |* |+ |1. |12) |    |  |`|``|```|```python\n|~~~\n|**|*|_|__|***|~~|[|](|) |][ref]|![".split(
        "|"
    ),
    *["](http://x.example/a_b)", "[ref]: http://y.example 'T'\n", "<http://z.example>", "<b>", "</b>", "<!-- c -->"],
    *[
        "<script>alert(1)</script>",
        "\\",
        "\\*",
        "&amp;",
        "&#65;",
        "&nope;",
        "|",
        " | ",
        "| --- | ---: |\n",
        "| a | b |\n",
    ],
    *[
        "\n| a | b |\n| --- | --- |\n",
        "---\n",
        "===\n",
        "- [ ] ",
        "word",
        "two words",
        "ß",
        "漢字",
        "مرحبا",
        "🎉",
        "\t",
        "\n",
    ],
    *["\n\n", "\n\n\n", "  \n", "\\\n", ".", '"', "'", "\u00a0", "\ufeff", "\r"],
]
pieces = st.sampled_from(PIECES)
markdowns = st.lists(pieces, min_size=1, max_size=40).map("".join)
laid = st.lists(
    st.sampled_from(
        [
            "word ",
            "- ",
            "  - ",
            " | ",
            "\n",
            "\n\n",
            "a: b",
            "; ",
            "c: d",
            "# ",
            "Subject: x\n",
            "From: y\n",
            "long " * 500,
        ]
    ),
    min_size=1,
    max_size=40,
).map("".join)


def leaves(nodes: list[Node]) -> Iterator[Node]:
    for node in nodes:
        yield from node.leaves()


def check_tiles(nodes: list[Node], text: str, low: int, high: int) -> None:
    """The leaves follow each other without a gap, nodes hold their children, and only syntax is hidden."""
    at = low
    for leaf in leaves(nodes):
        assert leaf.start == at
        at = leaf.end
        if leaf.hidden:
            assert SYNTAX.fullmatch(text[leaf.start : leaf.end])
    assert at == high
    todo = list(nodes)
    while todo:
        node = todo.pop()
        if node.children:
            assert (node.start, node.end) == (node.children[0].start, node.children[-1].end)
            todo += node.children


def tags(nodes: list[Node]) -> set[str]:
    found = {node.tag for node in nodes}
    return found.union(*(tags(node.children) for node in nodes))


def shown(node: Node, text: str) -> str:
    return "".join(text[leaf.start : leaf.end] for leaf in node.leaves() if not leaf.hidden)


@settings(deadline=None)  # the first one imports the parser
@given(markdowns)
def test_markdown_of_any_kind_keeps_every_character_in_its_place(text: str) -> None:
    check_tiles(markdown(text, 0, len(text)), text, 0, len(text))


@settings(deadline=None)  # the first one imports the parser
@given(
    laid,
    st.sampled_from(["html", "docx", "csv", "email", "pdf", "text", "jsonl", "code"]),
    st.lists(st.integers(0, 200)),
    st.data(),
)
def test_text_of_any_kind_keeps_every_character_in_its_place(
    text: str, kind: str, offsets: list[int], data: st.DataObject
) -> None:
    inside = sorted({offset for offset in offsets if 0 < offset < len(text)})
    sections = tuple(Section(a, (text.find("\n", a) + 1) or len(text), "S") for a in inside[:3])
    document = Document("x", text, sections=sections, pages=(0, *inside) if kind == "pdf" else ())
    start = data.draw(st.integers(0, len(text)))
    nodes = laid_out(document, kind, start, start)
    check_tiles(nodes, text, 0, len(text))


@settings(deadline=None)  # the first one imports the parser
@given(markdowns, st.data())
def test_what_is_marked_is_the_span_and_what_is_shown_of_it_lacks_only_syntax(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    views: Any = [node_view(node, text, start, end) for node in markdown(text, 0, len(text))]
    marked = [leaf for view in views for leaf in json_leaves(view) if leaf.get("mark")]
    assert "".join(leaf["text"] for leaf in marked) == text[start:end]
    seen = "".join(leaf["text"] for leaf in marked if not leaf.get("hidden"))
    assert re.sub(SYNTAX, "", seen) == re.sub(SYNTAX, "", text[start:end])


def json_leaves(view: Any) -> Iterator[Any]:
    if "text" in view:
        yield view
    for child in view.get("of", []):
        yield from json_leaves(child)


@settings(deadline=None)  # the first one imports the parser
@given(markdowns, st.integers(0, 5), st.integers(0, 5), st.data())
def test_a_part_of_the_blocks_is_one_stretch_of_the_text_around_the_span(
    text: str, above: int, below: int, data: st.DataObject
) -> None:
    start = data.draw(st.integers(0, len(text) - 1))
    end = data.draw(st.integers(start + 1, len(text)))
    nodes = markdown(text, 0, len(text))
    low, high = chosen(nodes, start, end, above=above, below=below)
    kept = [part for node in nodes if (part := pruned(node, low, high))]
    check_tiles(kept, text, low, high)
    assert low <= start or not text[low:start].strip() or low == 0
    blocks = [block for node in nodes for block in node.blocks()]
    inside = [block for block in blocks if block.start < end and block.end > start]
    for block in inside:
        assert low <= block.start
        assert block.end <= high


def test_the_constructs_of_markdown_are_what_they_are_and_none_is_plain() -> None:
    text = """\
---
title: Leave
---
# Leave

**Bold**, *emphasis*, `code`, [a link](http://x.example "T"), ![a chart](c.png), <http://y.example>, a\\*b &amp; c.

1. One
2. Two
   - inner

> Quoted
> twice

| A | B |
| --- | --- |
| 1 | `2` |

```python
x = 1
```

    indented

---

<b>raw</b>

Setext
======
"""
    nodes = markdown(text, 0, len(text))
    check_tiles(nodes, text, 0, len(text))
    assert "plain" not in tags(nodes)
    assert {
        "h1",
        "p",
        "strong",
        "em",
        "code",
        "link",
        "image",
        "ol",
        "ul",
        "li",
        "quote",
        "table",
        "row",
        "th",
        "td",
        "pre",
        "rule",
    } <= tags(nodes)
    said = [shown(node, text) for node in nodes if node.children]
    assert said[2] == 'Bold, emphasis, code, a linkhttp://x.example "T", a chartc.png, http://y.example, a*b &amp; c.'
    assert said[3] == "1.One2.Twoinner"
    assert said[4] == "Quoted\ntwice"
    assert said[5] == "AB12"
    assert said[6] == "pythonx = 1\n"


def test_addresses_are_text_beside_the_words_of_a_link() -> None:
    text = "See [the policy](javascript:alert(1)) and [that][ref].\n\n[ref]: http://x.example\n"
    nodes = markdown(text, 0, len(text))
    check_tiles(nodes, text, 0, len(text))
    assert "javascript:alert(1)" in shown(nodes[0], text)
    assert "ref" in shown(nodes[0], text)
    assert "[ref]: http://x.example" in [shown(node, text) for node in nodes]  # what the parser leaves out is shown


def test_a_table_that_would_lose_a_cell_is_shown_as_it_is_written() -> None:
    table = "| a | b |\n| --- | --- |\n| 1 | 2 | lost |\n"
    [node, *rest] = markdown(table, 0, len(table))
    assert (node.tag, shown(node, table).strip()) == ("plain", table.strip())
    assert not [leaf for leaf in leaves(rest) if not leaf.hidden]


def test_a_bar_within_a_cell_is_shown_without_its_backslash() -> None:
    table = "| a | b |\n| --- | --- |\n| x \\| y | `p \\| q` |\n"
    [node, *_] = markdown(table, 0, len(table))
    check_tiles(markdown(table, 0, len(table)), table, 0, len(table))
    assert (node.tag, shown(node, table)) == ("table", "abx | yp \\| q")


def test_our_own_pages_of_markdown_are_laid_out_whole() -> None:
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "corpora").rglob("*.md")]:
        text = path.read_text(encoding="utf-8")
        nodes = markdown(text, 0, len(text))
        check_tiles(nodes, text, 0, len(text))
        plain = sum(node.end - node.start for node in nodes if node.tag == "plain")
        assert plain <= 0.05 * len(text), path


def test_documents_of_the_sample_corpus_are_structured_by_their_type() -> None:
    expected = {"interpretability.html": "h1", "visualisation.docx": "h1", "recommendation.pdf": "p"}
    for name, tag in expected.items():
        [document] = load(ROOT / "corpora/embeddings" / name, source=name).documents
        nodes = laid_out(document, Path(name).suffix[1:], 0, 10)
        check_tiles(nodes, document.text, nodes[0].start, nodes[-1].end)
        assert tag in tags(nodes)


def test_what_loaders_write_as_lists_tables_rows_and_mail_is_shown_as_such(tmp_path: Path) -> None:
    files = {
        "a.html": "<h1>T</h1><ul><li>one<ul><li>two</li></ul></li></ul>"
        "<table><tr><th>A</th><th>B</th></tr><tr><td>1</td><td>2</td></tr></table>",
        "b.csv": "name,weeks\nAnna,16\nBo,2\n",
        "c.eml": "From: a@example.com\nSubject: Hello\n\nBody\n",
        "d.py": "def f():\n\n    return 1\n",
    }
    found = {}
    for name, content in files.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
        [document] = load(tmp_path / name, source=name).documents
        kind = {"a.html": "html", "b.csv": "csv", "c.eml": "email", "d.py": "code"}[name]
        found[name] = (laid_out(document, kind, 0, 1), document.text)
    nodes, text = found["a.html"]
    assert [(n.depth, shown(n, text)) for n in nodes if n.tag == "item"] == [(0, "one"), (1, "two")]
    [table] = [n for n in nodes if n.tag == "table"]
    assert [[shown(cell, text) for cell in row.children if cell.tag == "td"] for row in table.children] == [
        ["A", "B"],
        ["1", "2"],
    ]
    nodes, text = found["b.csv"]
    rows = [[shown(one, text) for one in row.children if one.tag == "field"] for row in nodes if row.tag == "row"]
    assert rows == [["nameAnna", "weeks16"], ["nameBo", "weeks2"]]
    nodes, text = found["c.eml"]
    assert [shown(one, text) for one in nodes[0].children if one.tag == "field"] == [
        "SubjectHello",
        "Froma@example.com",
    ]
    nodes, text = found["d.py"]
    assert [(n.line, shown(n, text)) for n in nodes] == [(1, "def f():\n"), (2, "\n"), (3, "    return 1\n")]


def test_a_long_document_is_looked_at_around_the_passage_only() -> None:
    text = "".join(f"# Section {i}\n\nParagraph {i} of it.\n\n" for i in range(20_000))
    starts = [match.start() for match in re.finditer("^# ", text, re.MULTILINE)]
    sections = tuple(Section(a, text.index("\n", a) + 1, f"Section {i}") for i, a in enumerate(starts))
    at = text.index("Paragraph 10000 ")
    nodes = laid_out(Document("a.md", text, sections=sections), "markdown", at, at + 9)
    assert nodes[0].start <= at - 30_000
    assert nodes[-1].end - nodes[0].start < 100_000
    low, high = chosen(nodes, at, at + 9, above=100, below=100)
    n = sum(low <= block.start < high for node in nodes for block in node.blocks())
    assert n == 201
    assert {"h1", "p"} == tags(nodes) & BLOCKS


def test_one_endless_line_is_cut_into_blocks() -> None:
    text = "word " * 100_000
    nodes = laid_out(Document("a.txt", text), "text", 250_000, 250_004)
    check_tiles(nodes, text, nodes[0].start, nodes[-1].end)
    assert max(node.end - node.start for node in nodes) <= 2000


def test_lines_of_a_page_flow_together_and_a_short_line_ends_the_paragraph() -> None:
    text = "A line as long as the paper is wide\ncontinues.\nAnother paragraph of the same width\nPage two."
    nodes = laid_out(Document("a.pdf", text, pages=(0, text.index("Page two."))), "pdf", 0, 5)
    assert [(node.tag, node.page, shown(node, text)) for node in nodes] == [
        ("p", 1, "A line as long as the paper is wide\ncontinues."),
        ("p", None, "Another paragraph of the same width"),
        ("p", 2, "Page two."),
    ]


def test_near_the_end_what_stands_above_makes_up_for_what_is_not_below() -> None:
    text = "".join(f"Paragraph {i}.\n\n" for i in range(300))
    nodes = laid_out(Document("a.txt", text), "text", len(text) - 5, len(text))
    low, high = chosen(nodes, len(text) - 5, len(text), above=100, below=100)
    assert text[low:].startswith("Paragraph 99.")
    assert high == len(text)
