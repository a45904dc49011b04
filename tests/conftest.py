"""What the tests of an index share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from rag.index import Index
from tests.fakes import HashingEncoder

os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it: no test asks the hub


@pytest.fixture
def encoder() -> HashingEncoder:
    return HashingEncoder()


@pytest.fixture
def index(tmp_path: Path, encoder: HashingEncoder) -> Iterator[Index]:
    with Index.create(tmp_path / "index", encoder=encoder) as made:
        yield made


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A folder of three small files."""
    folder = tmp_path / "docs"
    (folder / "sub").mkdir(parents=True)
    (folder / "apples.txt").write_text("Apples grow on trees.")
    (folder / "bees.txt").write_text("Bees make honey.")
    (folder / "sub" / "cows.txt").write_text("Cows give milk.")
    return folder
