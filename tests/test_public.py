"""`rag` exports what it says, and every command has help that works as typed."""

from __future__ import annotations

import importlib
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import rag
from rag.cli import main

ROOT = Path(__file__).resolve().parents[1]


def test_all_names_what_rag_exports_in_order() -> None:
    assert rag.__all__ == sorted(rag._HOME)
    for name in rag.__all__:
        assert getattr(rag, name) is getattr(importlib.import_module(rag._HOME[name]), name)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'rag' has no attribute 'Indexx'"):
        _ = rag.Indexx


def test_dir_shows_the_public_names() -> None:
    assert set(rag.__all__) <= set(dir(rag))


def commands() -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            found.extend((name, inner) for inner in command.commands)
        else:
            found.append((name,))
    return found


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_help_and_a_place_in_the_documentation(words: tuple[str, ...]) -> None:
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()[2].split()) >= 3, "the first line of help says what the command does"
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert any(f"rag {' '.join(words)}" in page.read_text(encoding="utf-8") for page in pages)


def test_the_package_and_its_metadata_agree_on_the_version() -> None:
    assert f'version = "{rag.__version__}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
