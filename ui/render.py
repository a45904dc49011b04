"""What all pages share: the passage that can be opened, and the names of the indexes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rag.types import JsonValue

Json = dict[str, JsonValue]
NEAREST = "These passages came nearest; none answers the question."


@dataclass(frozen=True, slots=True)
class Passage:
    """A span of a document that the page can open: what a footnote cites, or a passage that came near."""

    source: str
    title: str | None
    page: int | None
    section: str | None
    start: int
    end: int
    quote: str  # document.text[start:end] when the answer was made

    @property
    def place(self) -> str:
        """Page and heading in words; headings without the document's title, which stands before them already."""
        headings = self.section.split(" > ") if self.section else []
        if headings and headings[0] == self.title:
            del headings[0]
        page = [f"page {self.page}"] if self.page is not None else []
        return " · ".join([*page, *([" › ".join(headings)] if headings else [])])

    @property
    def label(self) -> str:
        return f"{self.source}, {self.place}" if self.place else self.source


def find_indexes(folder: Path) -> list[str]:
    """Names of the subfolders that hold an index, in order."""
    try:
        return sorted(entry.name for entry in folder.iterdir() if (entry / "index.sqlite").is_file())
    except OSError:
        return []
