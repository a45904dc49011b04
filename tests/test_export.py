"""Exported threads carry their evidence, and nothing that a document says is more than text in them."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from rag.index import Index
from rag.pipeline import NOT_FOUND
from rag.types import Answer, Chunk, Citation, Hit, Sentence
from tests.test_saved import answer_of, put
from ui.export import Entry, Exported, escaped, file_name, html, markdown
from ui.threads import Threads

HOSTILE = (
    "<script>alert(1)</script> <img src=x onerror=alert(2)> ![p](http://example.com/p.png) [l](javascript:alert(3)) "
    "**b** _i_ `c` $x$ :red[r] {{ config }} <!-- c --> & &lt; https://example.com www.example.com a@example.com "
    "notes.md ~~s~~ ^[n] | a | b | # h \"q\" 'q' --> ]]> </title></style></main> \\"
)
# As plain as it gets, and as what most viewers make of it: tables, strikethrough, and addresses that become links.
VIEWERS = [MarkdownIt("commonmark"), MarkdownIt("gfm-like", {"html": True, "linkify": True, "typographer": False})]
TURNING = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}  # Unicode's names of what does
TEXTS = {"text", "softbreak", "text_special"}
OURS = {"heading", "paragraph", "blockquote", "strong", "inline"}


def citation(marker: int, quote: str, source: str = "leave.md", **values: object) -> Citation:
    place: dict[str, object] = {"title": "Leave", "page": None, "section": "Leave > Parental leave", **values}
    return Citation(marker, source, start=9, end=9 + len(quote), quote=quote, **place)  # type: ignore[arg-type]


def answer(question: str, *sentences: Sentence, notes: Sequence[Citation] = ()) -> Answer:
    return Answer(question, " ".join(s.text for s in sentences), sentences, tuple(notes), False, 0.9, "fake", ())


LEAVE = answer(
    "How much parental leave do I get?",
    Sentence("A parent may take up to 16 weeks.", (1,), True),
    Sentence("Most take it in summer.", (), False),
    Sentence("Write to your lead.", (2, 1), True),
    notes=[citation(1, "A parent may take\nup to 16 weeks."), citation(2, "Write to your lead.", "terms.pdf", page=4)],
)
PAY = answer("Who pays?", Sentence("The fund pays.", (1,), True), notes=[citation(1, "The fund pays.", "pay.md")])
SILENT = Answer(
    "Who won?", NOT_FOUND, (), (), True, 0.05, "fake", (Hit(1, Chunk("a.txt", "Lunch is at noon.", 0, 17), 1, 1),)
)


def seen(text: str, viewer: MarkdownIt) -> list[tuple[str, str]]:
    """The visible lines, each with the tag of what it stands in; fails where there is anything but plain text."""
    lines = []
    for before, token in zip([None, *viewer.parse(text)], viewer.parse(text), strict=False):
        kind = re.sub("_(open|close)$", "", token.type)
        assert kind in OURS, f"{token.type} in {text!r}"
        if token.type == "inline":
            assert before is not None
            lines.append((before.tag, "".join(_plain(child) for child in token.children or ())))
    return lines


def _plain(token: Token) -> str:
    assert token.type in TEXTS | {"strong_open", "strong_close"}, f"{token.type} {token.content!r} {token.attrs}"
    return "\n" if token.type == "softbreak" else token.content


class Page(HTMLParser):
    """What a browser makes of a page: its tags, with attributes, and the text of each."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open = ["document"]
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag != "meta":
            self._open.append(tag)
            self.texts.append((tag, ""))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append((self._open[-1], data))

    def handle_comment(self, data: str) -> None:
        raise AssertionError(f"a comment: {data!r}")

    def text(self, tag: str) -> list[str]:
        return [text for of, text in self.texts if of == tag and text.strip()]


# --- what is in them


@pytest.mark.parametrize("viewer", VIEWERS, ids=["commonmark", "gfm"])
def test_markdown_has_each_footnote_with_file_place_and_quote_below_the_answer(viewer: MarkdownIt) -> None:
    entries = [Entry(LEAVE, "2026-05-03T10:00:00+00:00"), Entry(SILENT, "2026-05-05T10:00:00+00:00")]
    assert seen(markdown(entries, title="Leave", index="handbook"), viewer) == [
        ("h1", "Leave"),
        ("p", "Asked of handbook from 3 May 2026 to 5 May 2026, with Footnote."),
        ("h2", "How much parental leave do I get?"),
        (
            "p",
            "A parent may take up to 16 weeks.[1] Most take it in summer. (no source says this) "
            "Write to your lead.[2][1]",
        ),
        ("p", "[1] leave.md, Parental leave"),
        ("p", "A parent may take up to 16 weeks."),
        ("p", "[2] terms.pdf, page 4 · Parental leave"),
        ("p", "Write to your lead."),
        ("h2", "Who won?"),
        ("p", "Not in these documents."),
        ("p", "These passages came nearest; none answers the question."),
        ("p", "a.txt"),
        ("p", "Lunch is at noon."),
    ]


def test_markdown_reads_well_as_it_is() -> None:
    entries = [Entry(LEAVE, "2026-05-03T10:00:00+00:00")]
    assert markdown(entries, title=LEAVE.question, index="handbook") == (
        "# How much parental leave do I get?\n\n"
        "Asked of handbook on 3 May 2026, with Footnote.\n\n"
        "A parent may take up to 16 weeks.\\[1\\] Most take it in summer. (no source says this) "
        "Write to your lead.\\[2\\]\\[1\\]\n\n"
        "**\\[1\\]** leave\\.md, Parental leave\n\n"
        "> A parent may take up to 16 weeks.\n\n"
        "**\\[2\\]** terms\\.pdf, page 4 · Parental leave\n\n"
        "> Write to your lead.\n"
    )


def test_a_passage_keeps_its_number_in_the_whole_thread() -> None:
    again = replace(PAY, citations=(*PAY.citations, citation(2, "Write to your lead.", "terms.pdf", page=4)))
    text = markdown([Entry(LEAVE), Entry(again)], title="Leave", index="handbook")
    assert re.findall(r"\*\*\\\[(\d)\\\]\*\* (\w+)", text) == [
        ("1", "leave"),
        ("2", "terms"),
        ("2", "terms"),
        ("3", "pay"),
    ]
    assert "The fund pays.\\[3\\]" in text


def test_what_came_near_is_told_where_the_documents_do_not_say() -> None:
    near = replace(SILENT, near_miss=citation(1, "Dinner is at six.", "b.txt", section=None))
    text = markdown([Entry(near)], title="?", index="menu")
    assert "What they say that comes near:\n\nb\\.txt\n\n> Dinner is at six." in text
    assert "Lunch" not in text
    assert Page(html([Entry(near)], title="?", index="menu")).text("blockquote") == ["Dinner is at six."]


def test_the_question_as_it_was_asked_and_notes_are_told() -> None:
    told = replace(PAY, rewritten="Who pays the leave?", notes=("One sentence left out.",))
    text = markdown([Entry(told)], title="Leave", index="handbook")
    assert "Asked as: Who pays the leave?\n\n" in text
    assert "Note: One sentence left out.\n\n" in text
    page = Page(html([Entry(told)], title="Leave", index="handbook"))
    assert page.text("p")[1:4] == ["Asked as: Who pays the leave?", "The fund pays.", "Note: One sentence left out."]


def test_html_leads_from_each_number_to_its_note_and_back() -> None:
    page = Page(html([Entry(LEAVE), Entry(LEAVE)], title="Leave", index="handbook"))
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    links = [attrs["href"] for tag, attrs in page.tags if tag == "a"]
    assert links == ["#n1-1", "#n1-2", "#n1-1", "#a1-1", "#a1-2", "#n2-1", "#n2-2", "#n2-1", "#a2-1", "#a2-2"]
    assert {link[1:] for link in links if link} == set(ids)
    assert page.text("blockquote") == ["A parent may take up to 16 weeks.", "Write to your lead."] * 2
    assert page.text("li") == ["leave.md, Parental leave", "terms.pdf, page 4 · Parental leave"] * 2
    assert page.text("span") == ["Most take it in summer.", "(no source says this)"] * 2


def test_a_kept_thread_is_exported_with_its_title_and_index(tmp_path: Path, index: Index) -> None:
    put(index, bees="Bees make honey.")
    threads = Threads(tmp_path / "page.sqlite")
    id_ = threads.add("ada", answer_of(index, ("bees", "Bees make honey.")), index)
    threads.rename("ada", id_, "On bees")
    thread, turns = threads.thread("ada", id_), threads.turns("ada", id_)
    exported = Exported.of(thread, turns, one=0)
    text = exported.markdown()
    assert text.startswith("# On bees\n\nAsked of index on ")
    assert "\n\n## what?\n\nBees make honey.\\[1\\]\n\n**\\[1\\]** bees\n\n> Bees make honey.\n" in text
    page = Page(exported.html())
    assert (page.text("h1"), page.text("h2"), page.text("title")) == (["On bees"], ["what?"], ["On bees"])
    assert exported.alone.markdown().startswith("# what?\n\nAsked of index on ")


# --- what is not in them


def hostile(text: str) -> Answer:
    said = Sentence(text, (1,), True), Sentence(text, (), False)
    cited = Citation(1, text, text, 3, f"{text} > {text}", 0, len(text), text)
    return replace(answer(text, *said, notes=[cited]), rewritten=text, notes=(text,))


def silent(text: str) -> Answer:
    chunk = Chunk(text, text, 0, len(text), 1, text, text)
    return Answer(text, text, (), (), True, 0.0, "fake", (Hit(1, chunk, 0.5, 1),))


markup = st.text(
    alphabet=st.sampled_from("\\`*_[]()<>!#&~^$|{}@:/.-+=%\"'\n\t 19awgm;x\u202e\u00a0\x00\ud800"), max_size=40
)
pieces = st.lists(
    st.sampled_from(
        [*HOSTILE.split(), "\n", "\n\n", "    ", "- ", "1. ", "2) ", "> ", "---", "===", "[^1]: x", "```", "&#64;"]
    ),
    max_size=8,
).map(" ".join)


def folded(text: str) -> str:
    """The text as it is seen: in one line, without what turns it around, and with a sign for what is no character."""
    kept = [c for c in text if unicodedata.bidirectional(c) not in TURNING and c != "\ufeff"]
    return " ".join("".join("\N{REPLACEMENT CHARACTER}" if is_odd(c) else c for c in kept).split())


def is_odd(c: str) -> bool:
    no_character = unicodedata.category(c) == "Cn" and (0xFDD0 <= ord(c) <= 0xFDEF or ord(c) in (0xFFFE, 0xFFFF))
    return no_character or (unicodedata.category(c) in {"Cc", "Cs"} and not c.isspace())


@given(markup | pieces | st.text(max_size=60))
@example(HOSTILE)
@example("1.")
@example("12345678901234567890. x")
@example("-")
@example("www.example")
def test_an_escaped_text_is_shown_as_it_is_by_every_viewer(text: str) -> None:
    for viewer in VIEWERS:
        if not (shown := escaped(text)):
            continue
        for line, tag in (
            (f"# {shown}", "h1"),
            (f"> {shown}", "p"),
            (shown, "p"),
            (f"As: {escaped(text, inside=True)}", "p"),
        ):
            [(of, said)] = seen(line, viewer)
            assert (of, said.removeprefix("As: " if line.startswith("As: ") else "")) == (tag, folded(text))


@given(markup | pieces)
@example(HOSTILE)
def test_nothing_in_an_exported_thread_is_markup_of_a_document(text: str) -> None:
    entries = [Entry(hostile(text)), Entry(silent(text)), Entry(LEAVE)]
    exported = markdown(entries, title=text, index=text)
    for viewer in VIEWERS:
        lines = [line for _, line in seen(exported, viewer)]
        assert lines.count("How much parental leave do I get?") == 1
        said = folded(text)
        if said:
            assert sum(said in line for line in lines) >= 10
    page = Page(html(entries, title=text, index=text))
    x = "x" if text else ""
    plain = Page(html([Entry(hostile(x)), Entry(silent(x)), Entry(LEAVE)], title=x, index=x))
    assert page.tags == plain.tags
    assert page.text("style") == plain.text("style")


@given(st.text(max_size=60) | markup)
@example(HOSTILE)
def test_html_shows_the_text_as_it_is(text: str) -> None:
    said = folded(text)
    page = Page(html([Entry(hostile(text))], title=text, index="i"))
    assert page.text("blockquote") == ([said] if said else [])
    assert page.text("h1") == [said or "Answer"]


def test_a_page_may_run_and_fetch_nothing() -> None:
    page = Page(html([Entry(LEAVE)], title="Leave", index="handbook"))
    [policy] = [attrs["content"] for tag, attrs in page.tags if attrs.get("http-equiv") == "Content-Security-Policy"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "img", "link", "iframe", "form", "object", "svg"})
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name in {"style", "src"}]
    [style] = page.text("style")
    assert "url(" not in style
    assert "@import" not in style


# --- names of files


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("How much parental leave do I get?", "How-much-parental-leave-do-I-get.md"),
        ("../../etc/passwd", "etc-passwd.md"),
        ('a\\b:c*d?e"f<g>h|i\x00j\r\nSet-Cookie: k', "a-b-c-d-e-f-g-h-i-j-Set-Cookie-k.md"),
        ("Wo ist die Straße?", "Wo-ist-die-Straße.md"),
        ("हिन्दी", "हिन्दी.md"),
        (".bashrc", "bashrc.md"),
        ("con", "answer-con.md"),
        ("LPT1", "answer-LPT1.md"),
        ("", "answer.md"),
        ("???", "answer.md"),
        ("\u202egpj.exe", "gpj-exe.md"),
    ],
)
def test_a_file_is_named_by_the_letters_of_its_title(title: str, name: str) -> None:
    assert file_name(title, "md") == name


@given(st.text())
@example("\u0301")
@example("長" * 100)
def test_no_title_names_a_file_elsewhere_or_a_hidden_one(title: str) -> None:
    name = file_name(title, "html")
    stem = name.removesuffix(".html")
    assert re.fullmatch(r"[^\W_](?:[^\x00-\x2f\x3a-\x40\x5b-\x60\x7b-\x7f]|-)*", stem)
    assert len(name.encode()) <= 140
    assert name.isprintable()
