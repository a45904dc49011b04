"""Real and nasty files: each is read or set aside for a true reason, and none stops the others."""

from __future__ import annotations

import codecs
import csv
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.errors import LoadError
from rag.folders import FoundFile, find_files
from rag.loaders import Loaded, format_of
from rag.loaders.isolation import IsolatedLoader
from rag.loaders.text import decode

FIXTURES = Path(__file__).parents[2] / "shared" / "data" / "fixtures"
needs_fixtures = pytest.mark.skipif(not FIXTURES.is_dir(), reason=f"no fixtures at {FIXTURES}")

SET_ASIDE = {
    "OCRmyPDF/invalid.pdf": "is not a PDF, or is damaged",
    "OCRmyPDF/skew.pdf": "no page has a text layer",
    "made-here/not-a-pdf.pdf": "is not a PDF",
    "made-here/nul-bytes.txt": "holds NUL bytes",
    "made-here/truncated-half.pdf": "is damaged beyond reading",
    "pdfminer-six/aes-256.pdf": "needs a password",
    "pdfminer-six/rc4-40.pdf": "needs a password",
    "pdfplumber/empty.pdf": r"is empty \(0 bytes\)",
    "pypdf/r6-user-password.pdf": "needs a password",
    "tika/testWORD_protected_passtika.docx": "needs a password",
    "tika/testWORD_truncated.docx": "cut off or damaged",
    "unstructured/empty.eml": "holds no readable text",
    "unstructured/empty.txt": r"is empty \(0 bytes\)",
    "unstructured/fake-text-all-whitespace.txt": "holds no readable text",
    "unstructured/loremipsum-flat.pdf": "no page has a text layer",
    "unstructured/password.pdf": "needs a password",
    "unstructured/table-multi-row-column-cells.pdf": "no page has a text layer",
}
SKIPPED = 17  # .doc, .odt, .rtf, .epub, .msg, .mbox, .zip, .bin and the like
HOLDS = {  # words that a person sees in the file
    "big-list-of-naughty-strings/blns.txt": "Reserved Strings",
    "docling/equations.docx": "inline equation: A=πr2",
    "docling/nested.md": "- abc\n\t- abc123",
    "docling/wiki_duck.html": "Duck is the common name for numerous species of waterfowl in the family Anatidae.",
    "docling/word_sample.docx": "Leaves | Ash, Elm, Maple | 50",
    "made-here/latin1.txt": "Le café est fermé à midi. Straße, £20, niño.",
    "made-here/rtl-bidi-controls.txt": "مرحبا",
    "made-here/utf16le-bom.txt": "Search me: 日本語, עברית, عربي",
    "made-here/utf8-bom-crlf.md": "# Title\n\nText with CRLF line ends.\n",
    "mail/attachment_content_disposition.eml": "Attachments: ",
    "mail/attachment_nonascii_filename.eml": "Attachments: ciële.txt",
    "mail/attachment_message_rfc822.eml": "Attachments: broken.pdf",
    "mail/bad_encoded_subject.eml": "TEST",
    "mail/encoding_madness.eml": "Body Text",
    "mail/japanese_attachment.eml": "Attachments: てすと.txt",
    "mail/japanese_iso_2022.eml": "まみむめも",
    "mail/ks_c_5601-1987.eml": "스티해",
    "mail/multi_address_bounce2.eml": "I'm sorry to have to inform you that your message could not",
    "mail/raw_email_incorrect_header.eml": "Get your free scan and removal download now",
    "mail/trademark_character_in_subject.eml": "has a lead for you",
    "mail/utf8_headers.eml": "Säying Hello",
    "markitdown/test_mskanji.csv": "名前: 佐藤太郎; 年齢: 30; 住所: 東京",
    "pdfminer-six/issue-1113-evil-xobjects.pdf": "Hello world Hello world",
    "pdfminer-six/jo.pdf": "宇宙塵をたべ、または空気や塩水を呼吸しながら",
    "pdfminer-six/simple1.pdf": "Hello",
    "pdfminer-six/zen_of_python_corrupted.pdf": "Beautiful is better than ugly",
    "pdfplumber/federal-register-2020-17221.pdf": "The FAA proposes to",
    "pypdf/multilang.pdf": "English",
    "python-docx/test.docx": "python-docx was here!",
    "sample-files/multicolumn.pdf": "consectetuer adipiscing elit",
    "sample-files/pdflatex-outline.pdf": "This text should show what a",
    "unstructured/UDHR_first_article_all.txt": "Все люди рождаются свободными",
    "unstructured/codeblock.md": "## XML Example",
    "unstructured/copy-protected.pdf": "LayoutParser",
    "unstructured/csv-with-escaped-commas.csv": "A | A | A | A,A | A",
    "unstructured/docx-hdrftr.docx": "Main document",
    "unstructured/docx-tables.docx": "Lorem ipsum | A link example",
    "unstructured/email-no-utf8-2008-07-16.062410.eml": "סלבה היקר",
    "unstructured/example-10k-1p.html": "Galaxy Gaming, Inc.",
    "unstructured/example-steelJIS-datasheet-utf-16.html": "Bars | 890 | 1000 | 12 | 40",
    "unstructured/example-with-scripts.html": "Belarusian forces remain unlikely to attack Ukraine",
    "unstructured/factbook-utf-16.xml": "United States",
    "unstructured/fake-email-malformed-encoding.eml": "Roses are red",
    "unstructured/fake-email-utf-16.eml": "Roses are red",
    "unstructured/fake-html-cp1252.html": "Der Preis betrug 15,50 €.",
    "unstructured/fr_olap.pdf": "nous montrons comment des propriétés simples",
    "unstructured/handbook-1p.docx": "The United States Trustee appoints and supervises standing trustees",
    "unstructured/invalid-pdf-structure-pdfminer-one-page.pdf": "National Cybersecurity Strategy",
    "unstructured/korean-text-with-tables.pdf": "의",
    "unstructured/mime-different-plain-html.eml": "This is the text/plain part.",
    "unstructured/multi-column-2p.pdf": "dense representations alone, where embeddings are learned",
    "unstructured/norwich-city.txt": "Norwich City",
    "unstructured/README.rst": "Example Docs\n------------\n",
}
HOLDS_NOT = {
    "docling/wiki_duck.html": ["Afrikaans", "Edit links", "wgBackendResponseTime", "Privacy policy"],
    "unstructured/example-with-scripts.html": ["function(", "Skip to main content"],
    "mail/attachment_pdf.eml": ["JVBERi"],
    "unstructured/fake-email-attachment.eml": ["SGV5IHRoaXM"],
}
TITLES = {
    "docling/nested.md": "Nesting",
    "docling/wiki_duck.html": "Duck - Wikipedia",
    "docling/word_sample.docx": "Swimming in the lake",
    "unstructured/mime-word-encoded-subject.eml": "Simple email with ☸☿ Unicode subject",
    "pdfminer-six/zen_of_python_corrupted.pdf": None,
}


@pytest.fixture(scope="module")
def outcomes() -> dict[str, Loaded | str]:
    """By relative path, what each fixture of a supported type became: documents, or a reason."""
    results: dict[str, Loaded | str] = {}
    with IsolatedLoader() as loader:
        for found in find_files(FIXTURES):
            assert isinstance(found, FoundFile)
            if "/" in found.relpath and format_of(found.path):
                try:
                    results[found.relpath] = loader.load(found.path, source=found.relpath)
                except LoadError as exc:
                    results[found.relpath] = str(exc)
    return results


def text_of(outcome: Loaded | str) -> str:
    assert isinstance(outcome, Loaded), outcome
    return outcome.documents[0].text


@needs_fixtures
def test_exactly_the_files_that_cannot_be_read_are_set_aside_each_for_its_reason(
    outcomes: dict[str, Loaded | str],
) -> None:
    reasons = {name: outcome for name, outcome in outcomes.items() if isinstance(outcome, str)}
    assert sorted(reasons) == sorted(SET_ASIDE)
    for name, reason in reasons.items():
        assert re.search(SET_ASIDE[name], reason), (name, reason)
    n_files = sum(1 for path in FIXTURES.glob("*/*") if path.is_file())
    assert n_files - len(outcomes) == SKIPPED


@needs_fixtures
@pytest.mark.parametrize("name", sorted(HOLDS))
def test_the_words_that_a_person_sees_are_found(outcomes: dict[str, Loaded | str], name: str) -> None:
    assert HOLDS[name] in re.sub(r"(?<=\w)\n(?=\w)", " ", text_of(outcomes[name])) + text_of(outcomes[name])


@needs_fixtures
def test_what_is_not_for_readers_is_left_out(outcomes: dict[str, Loaded | str]) -> None:
    for name, words in HOLDS_NOT.items():
        assert [word for word in words if word in text_of(outcomes[name])] == [], name


@needs_fixtures
def test_titles_are_those_of_the_documents(outcomes: dict[str, Loaded | str]) -> None:
    for name, title in TITLES.items():
        outcome = outcomes[name]
        assert isinstance(outcome, Loaded)
        assert outcome.documents[0].title == title, name


@needs_fixtures
def test_every_offset_is_in_order_and_every_text_can_be_stored(outcomes: dict[str, Loaded | str]) -> None:
    for name, outcome in outcomes.items():
        for document in outcome.documents if isinstance(outcome, Loaded) else ():
            text = document.text
            assert document.doc_id.split("#")[0] == name
            assert text.strip(), name
            assert not {"\0", "\r"} & set(text), name
            assert text.encode("utf-8").decode("utf-8") == text
            assert list(document.pages) == sorted(document.pages), name
            assert all(0 <= start <= len(text) for start in document.pages), name
            starts = [section.start for section in document.sections]
            assert starts == sorted(set(starts)), name
            for section in document.sections:
                assert section.start < section.body <= len(text), name
                words = set(re.findall(r"\w+", section.path.split(" > ")[-1]))
                assert words <= set(re.findall(r"\w+", text[section.start : section.body])), name
            if document.sections:
                assert document.section_at(document.sections[-1].start) == document.sections[-1].path


@needs_fixtures
def test_the_sections_of_a_wikipedia_page_are_its_headings(outcomes: dict[str, Loaded | str]) -> None:
    outcome = outcomes["docling/wiki_duck.html"]
    assert isinstance(outcome, Loaded)
    paths = [section.path for section in outcome.documents[0].sections]
    assert paths[:3] == ["Duck", "Duck > Etymology", "Duck > Taxonomy"]
    assert "Duck > Behaviour > Feeding" in paths


@needs_fixtures
def test_encodings_without_a_label_are_guessed_right(outcomes: dict[str, Loaded | str]) -> None:
    """All 48 whose encoding Python knows, but for a sign that Shift_JIS shares with CP932, which is the likelier."""
    wrong = []
    with (FIXTURES / "manifest.tsv").open(encoding="utf-8") as manifest:
        rows = list(csv.DictReader(manifest, delimiter="\t", quoting=csv.QUOTE_NONE))
    for row in rows:
        name = row["file"].removeprefix("fixtures/")
        if not row["note"].startswith("true encoding") or "EUC-TW" in name:
            continue
        encoding = row["note"].split(": ")[1]
        while not _is_encoding(encoding):
            encoding = encoding.rpartition("-")[0]
        truth = (
            (FIXTURES / name)
            .read_bytes()
            .decode(encoding)
            .removeprefix("\ufeff")
            .replace("\r\n", "\n")
            .replace("\r", "\n")
        )
        if decode((FIXTURES / name).read_bytes()).text != truth:
            wrong.append(name)
        elif format_of(name) == "text":
            assert text_of(outcomes[name]) == truth
    assert [name for name in wrong if "SHIFT_JIS" not in name] == []


def _is_encoding(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


# --- the recipes for files too large to keep, made smaller where the mechanism is the same


@pytest.fixture(scope="module")
def loader() -> Iterator[IsolatedLoader]:
    with IsolatedLoader() as made:
        yield made


def reading(loader: IsolatedLoader, path: Path, content: str | bytes) -> Loaded:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return loader.load(path, source=path.name)


def test_one_line_of_50_mb_is_refused_and_one_of_30_is_read(loader: IsolatedLoader, tmp_path: Path) -> None:
    line = b"the quick brown fox jumps over the lazy dog "
    with pytest.raises(LoadError, match=r"is 50\.0 MB of text; the limit is 32 MB a file"):
        reading(loader, tmp_path / "a.txt", (line * 1_200_000)[: 50 * 2**20])
    data = bytearray((line * 800_000)[: 30 * 2**20])
    data[15 * 2**20 : 15 * 2**20 + 29] = b"needle: the door code is 4711"
    assert "needle: the door code is 4711" in text_of(reading(loader, tmp_path / "b.md", bytes(data)))


def test_html_of_any_depth_and_breadth(loader: IsolatedLoader, tmp_path: Path) -> None:
    deep = "<div>" * 10_000 + "deep text" + "</div>" * 10_000
    assert text_of(reading(loader, tmp_path / "deep.html", deep)) == "deep text"
    assert text_of(reading(loader, tmp_path / "tables.html", "<table><tr><td>" * 3000 + "x")) == "x"
    wide = '<p title="' + "x" * 5 * 2**20 + '">hello</p>'
    assert text_of(reading(loader, tmp_path / "wide.html", wide)) == "hello"


def test_json_of_any_depth(loader: IsolatedLoader, tmp_path: Path) -> None:
    nested = "[" * 100_000 + "]" * 100_000
    assert text_of(reading(loader, tmp_path / "a.json", nested)) == nested
    lines = f'{{"text": {nested}}}\n{{"text": "ok", "n": {"9" * 10_000}, "a": 1, "a": 2}}'
    loaded = reading(loader, tmp_path / "b.jsonl", lines)
    assert [(d.text, d.metadata["a"]) for d in loaded.documents] == [("ok", 2)]
    assert loaded.notes == ("line 1 is not a JSON object with a 'text'",)


def test_markdown_and_mail_made_to_be_slow(loader: IsolatedLoader, tmp_path: Path) -> None:
    text = ">" * 50_000 + "\n" + "[" * 50_000 + "\n" + "- " * 5000 + "\n" + "*a _b " * 20_000 + "\n\n# End\n"
    assert text_of(reading(loader, tmp_path / "a.md", text)) == text
    head = "Subject: " + "=?utf-8?q?x?= " * 50_000 + "\nTo: " + "a@b.c, " * 100_000 + "\n\nhello"
    assert text_of(reading(loader, tmp_path / "a.eml", head)).endswith("\n\nhello")
    nested = "".join(f'Content-Type: multipart/mixed; boundary="b{i}"\n\n--b{i}\n' for i in range(3000))
    with pytest.raises(LoadError, match="nested too deeply"):
        reading(loader, tmp_path / "b.eml", nested)


def test_20_000_files_with_wild_names_are_found(tmp_path: Path) -> None:
    for i in range(200):
        folder = tmp_path / f"folder {i} 'q' 🦆"
        folder.mkdir()
        for j in range(100):
            os.close(os.open(folder / f"{j}\n.txt", os.O_CREAT | os.O_WRONLY))
    relpaths = [found.relpath for found in find_files(tmp_path)]
    assert len(set(relpaths)) == 20_000
