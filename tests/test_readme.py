"""What the README and the documentation show is what happens."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

import rag
from rag.cli import main

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

pytestmark = pytest.mark.slow


def python_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def shell_examples() -> list[tuple[str, str]]:
    """(command, the output printed below it) of every fenced example that begins with '$ '."""
    found = []
    for block in re.findall(r"^```\n(\$ .*?)^```$", README, re.MULTILINE | re.DOTALL):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = part.partition("\n")
            found.append((command, output))
    return found


def test_the_commands_of_the_readme_print_what_it_says(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(course)
    assert len(shell_examples()) >= 3
    for command, output in shell_examples():
        program, *words = shlex.split(command)
        assert program == "rag"
        result = CliRunner().invoke(main, words, catch_exceptions=False)
        assert result.exit_code == 0
        if words[0] != "ingest":  # which says how many seconds it took
            assert result.stdout.strip() == output.strip()


def test_the_python_of_the_readme_runs(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(course)
    [code] = python_blocks(README)
    exec(compile(code, "README.md", "exec"), {})


def test_the_python_of_the_library_page_runs(course: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(course)
    model = rag.encoders.bundled_model()
    assert model is not None
    names: dict[str, object] = {}
    for code in python_blocks((ROOT / "docs" / "library.md").read_text(encoding="utf-8")):
        exec(compile(code.replace("path/to/a/sentence-transformers/model", str(model)), "library.md", "exec"), names)
    documents = names["documents"]
    assert isinstance(documents, list)
    assert len(documents) == 4


def test_every_link_of_the_pages_points_to_a_file_that_is_there() -> None:
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_two_commands_stand_in_the_readme_and_ci_calls_the_second() -> None:
    assert "```\npython3 -m rag.quickstart\n```" in README
    assert "```\npython3 -m tests\n```" in README
    assert (ROOT / ".ci" / "run").read_text(encoding="utf-8").rstrip().endswith("exec python3 -m tests")
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
