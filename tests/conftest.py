"""What the tests of an index share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from rag.index import Index
from tests.fakes import HashingEncoder, WordReader

os.environ["HF_HUB_OFFLINE"] = "1"  # before any library reads it: no test asks the hub

# How long an example takes tells of the machine, not of the law.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


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


@pytest.fixture
def fake_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extractive generator reads with the fake encoder and reader in place of the default model."""
    monkeypatch.setattr("rag.pipeline.load_encoder", lambda: HashingEncoder(max_tokens=256))
    monkeypatch.setattr("rag.generators.extractive.CompiledReader.load", lambda _precision: WordReader())


@pytest.fixture(scope="session")
def course(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that looks like a clone in which the sample corpus was ingested with the real model."""
    folder = tmp_path_factory.mktemp("clone")
    shutil.copytree(Path(__file__).parents[1] / "corpora", folder / "corpora")
    with Index.create(folder / "indexes" / "embeddings") as index:
        report = index.ingest(folder / "corpora" / "embeddings")
    assert (report.read, report.set_aside) == (23, [])
    return folder
