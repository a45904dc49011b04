"""Questions to begin with: which headings can be asked for, and that each was answered before it is offered."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import rag
from tests.fakes import HashingEncoder
from ui import sample
from ui.suggestions import Suggestions, candidates, question_of, suggest


@pytest.mark.parametrize(
    ("heading", "question"),
    [
        ("Parental leave", "What is said about parental leave?"),
        ("HNSW and its kin", "What is said about HNSW and its kin?"),
        ("McDonald and sons", "What is said about McDonald and sons?"),
        ("Leave", None),
        ("Table of contents", None),
        ("What is leave?", None),
        ("Chapter 3", None),
        ("Leave: who gets it", None),
        ("One heading that is far too long to be a topic", None),
    ],
)
def test_a_heading_that_names_a_topic_becomes_a_question(heading: str, question: str | None) -> None:
    assert question_of(heading) == question


def document(source: str, *headings: str) -> rag.Document:
    text, sections = "", []
    for heading in headings:
        start = len(text)
        text += f"{heading}\n"
        sections.append(rag.Section(start, len(text), heading))
        text += f"The {heading.lower()} is well known.\n"
    return rag.Document(source, text, sections=tuple(sections))


def test_each_document_comes_once_before_any_comes_twice() -> None:
    documents = [document("a.md", "Sick leave", "Paid leave"), document("b.md"), document("c.md", "Free lunch")]
    assert [source for _, source in candidates(documents)] == ["a.md", "c.md", "a.md"]


class Sure:
    """Answers what it was told to, and counts what it was asked."""

    name = "sure"

    def __init__(self, *known: str) -> None:
        self.known = known
        self.asked: list[str] = []

    def generate(self, question: str, passages: Sequence[rag.Hit]) -> rag.Draft:
        self.asked.append(question)
        if not any(word in question for word in self.known):
            return rag.Draft((), 0.0)
        chunk = passages[0].chunk
        span = rag.Span(0, chunk.start, chunk.end)
        return rag.Draft((rag.DraftSentence(" ".join(chunk.text.split()), (span,)),), 0.9)


def test_only_questions_that_are_answered_are_offered_and_of_each_document_one(tmp_path: Path) -> None:
    with rag.Index.create(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.add(
            [
                document("a.md", "Sick leave", "Paid leave"),
                document("b.md", "Free lunch", "Warm dinner"),
                document("c.md", "Long nights"),
            ]
        )
        generator = Sure("leave", "dinner")
        pipeline = rag.Pipeline(rag.Retriever(index), generator=generator)
        assert suggest(pipeline, index) == ("What is said about sick leave?", "What is said about warm dinner?")
        assert "What is said about paid leave?" not in generator.asked


def test_suggestions_are_made_once_for_each_state_of_the_index(tmp_path: Path) -> None:
    with rag.Index.create(tmp_path / "i", encoder=HashingEncoder()) as index:
        index.add([document("a.md", "Sick leave")])
        generator = Sure("leave")
        pipeline, made = rag.Pipeline(rag.Retriever(index), generator=generator), Suggestions()
        made.of(pipeline, index)
        made.wait(30)
        assert made.of(pipeline, index) == ("What is said about sick leave?",)
        assert len(generator.asked) == 1
        index.add([document("b.md", "Paid leave")])
        assert made.of(pipeline, index, settled=False) == ("What is said about sick leave?",)
        made.of(pipeline, index)
        made.wait(30)
        assert len(made.of(pipeline, index) or ()) == 2


@pytest.mark.slow
def test_the_sample_answers_its_questions_from_the_files_they_name(course: Path) -> None:
    with rag.Index.open(course / "indexes" / "embeddings") as index:
        pipeline = rag.Pipeline(rag.Retriever(index))
        for question, source in sample.QUESTIONS:
            assert source in {citation.source for citation in pipeline.ask(question).citations}


def test_the_sample_is_where_the_code_runs_from_a_clone() -> None:
    folder = sample.folder()
    assert folder is not None
    assert all((folder / source).is_file() for _, source in sample.QUESTIONS)


def test_the_package_takes_the_sample_along(tmp_path: Path) -> None:
    setup = Path(__file__).parents[1] / "setup.py"
    command = [
        sys.executable,
        str(setup),
        "-q",
        "egg_info",
        "-e",
        str(tmp_path),
        "build_py",
        "-d",
        str(tmp_path / "built"),
    ]
    subprocess.run(command, cwd=setup.parent, check=True, capture_output=True)
    folder = sample.folder()
    assert folder is not None
    built = tmp_path / "built" / "ui" / "sample"
    wanted = {path.name for path in folder.iterdir() if path.name not in {"build", "questions.jsonl"}}
    assert {path.name for path in built.iterdir()} == wanted
    assert (built / "word2vec.md").read_bytes() == (folder / "word2vec.md").read_bytes()
