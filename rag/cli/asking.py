"""The commands that search and answer, in the terminal and on the web page."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rag.cli.options import (
    INDEXES,
    encoder_option,
    entail_option,
    generator_option,
    index_option,
    json_option,
    make_checker,
    make_retriever,
    max_error_option,
    open_index,
    rerank_ms_option,
    rerank_option,
    strict_option,
    where_option,
)
from rag.cli.rendering import (
    AnswerPrinter,
    answer_json,
    clean,
    hit_json,
    passage_json,
    print_hits,
    print_json,
    print_passages,
)
from rag.errors import UsageError
from rag.queries import read_query
from rag.types import Answer

if TYPE_CHECKING:
    from rag.index import Index
    from rag.pipeline import Found, Part
    from ui.server import Public


@click.command()
@click.argument("query")
@index_option
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many passages.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "bm25"]), default="hybrid", show_default=True)
@where_option
@click.option("--explain", is_flag=True, help="Say why each passage was found.")
@click.option("--window", type=click.IntRange(min=0), metavar="N", help="Show N passages before and behind, too.")
@click.option("--section", is_flag=True, help="Show the whole section, with what is below its heading.")
@rerank_option
@rerank_ms_option
@encoder_option
@json_option
def search(
    query: str,
    index: str | None,
    k: int,
    mode: str,
    where: tuple[str, ...],
    explain: bool,
    window: int | None,
    section: bool,
    rerank: str | None,
    rerank_ms: float,
    encoder: str | None,
    as_json: bool,
) -> None:
    """Find passages, by meaning and by words.

    Every passage holds what is in quotes, and none a word behind a hyphen.

    \b
    rag search "negative sampling" -k 3
    rag search "negative sampling" --where "path=word*.md"
    rag search '"hierarchical softmax" -glove' --explain
    """
    with open_index(index, encoder) as opened:
        retriever = make_retriever(opened, rerank=rerank, rerank_ms=rerank_ms)
        hits = retriever.search(query, k=k, mode=mode, where=where, explain=explain)  # type: ignore[arg-type]
        passages = None
        if window is not None or section:
            from rag.passages import widen

            passages = widen(opened, hits, window=window or 0, section=section)
    if as_json:
        for row in [passage_json(p) for p in passages] if passages is not None else map(hit_json, hits):
            print_json(row)
    else:
        if required := read_query(query).required:
            click.echo(f"Every passage {clean(required)}.", err=True)
        if passages is not None:
            print_passages(passages)
        else:
            print_hits(hits)


save_option = click.option(
    "--save", is_flag=True, help="Keep each answer and what it rests on: rag replay holds it against what is."
)


@click.command()
@click.argument("question")
@index_option
@where_option
@generator_option
@max_error_option
@strict_option
@entail_option
@rerank_option
@rerank_ms_option
@encoder_option
@save_option
@json_option
def ask(
    question: str,
    index: str | None,
    where: tuple[str, ...],
    generator: str,
    max_error: float | None,
    strict: bool,
    entail: str | None,
    rerank: str | None,
    rerank_ms: float,
    encoder: str | None,
    save: bool,
    as_json: bool,
) -> None:
    """Answer a question from the documents, with footnotes, or say that they do not tell.

    \b
    rag ask "Who invented word2vec?"
    rag ask "Who invented word2vec?" --generator openai:llama3.2@http://localhost:11434/v1
    """
    with open_index(index, encoder) as opened:
        from rag.pipeline import Pipeline

        retriever = make_retriever(opened, rerank=rerank, rerank_ms=rerank_ms)
        keep = _saving(opened, index) if save else None
        checker = make_checker(opened, entail=entail)
        pipeline = Pipeline(retriever, generator=generator, checker=checker, max_error=max_error, strict=strict)
        _tell(pipeline.stream(question, where=where), question=question, where=where, as_json=as_json, save=keep)


@click.command()
@index_option
@where_option
@generator_option
@max_error_option
@strict_option
@entail_option
@encoder_option
@save_option
@json_option
def chat(
    index: str | None,
    where: tuple[str, ...],
    generator: str,
    max_error: float | None,
    strict: bool,
    entail: str | None,
    encoder: str | None,
    save: bool,
    as_json: bool,
) -> None:
    """Ask one question after the other; one may point back: "who wrote it?", "and in winter?".

    Questions are read line by line, from the terminal or a pipe. An empty line or Ctrl+D ends it. Where a question was
    made to stand by itself, the answer says what was asked.
    """
    with open_index(index, encoder) as opened:
        from rag.conversation import Turn
        from rag.errors import UsageError
        from rag.filters import parse_where
        from rag.pipeline import Pipeline
        from rag.retriever import Retriever

        conditions = parse_where(where)  # what has no sense is told before anything is asked
        checker = make_checker(opened, entail=entail)
        pipeline = Pipeline(Retriever(opened), generator=generator, checker=checker, max_error=max_error, strict=strict)
        is_terminal = sys.stdin.isatty()
        history: list[Turn] = []
        while True:
            if is_terminal:
                click.echo(click.style("? ", bold=True), nl=False, err=True)
            line = sys.stdin.readline()
            if not line or (is_terminal and not line.strip()):
                break
            if not line.strip():
                continue
            try:
                keep = _saving(opened, index) if save else None
                parts = pipeline.stream(line.strip(), history=history, where=conditions)
                answer = _tell(parts, question=line.strip(), where=where, as_json=as_json, save=keep)
            except UsageError as exc:  # this question cannot be asked: the next one can
                click.echo(clean(str(exc)), err=True)
                continue
            history.append(Turn(answer.rewritten or answer.question, answer))
            if not as_json:
                click.echo()


def _saving(opened: Index, name: str | None) -> Callable[[Answer], int]:
    """Saves the answer that is going to be given; what stands in its way is told before."""
    from rag.saved import IndexState, SavedAnswers

    answers, asked_of = SavedAnswers(opened.path), IndexState.of(opened)

    def save(answer: Answer) -> int:
        id_ = answers.save(answer, opened, asked_of=asked_of)
        index = f" --index {shlex.quote(name)}" if name else ""
        click.echo(f"Saved as {id_}: rag replay {id_}{index} shows it again.", err=True)
        return id_

    return save


def _tell(
    parts: Iterator[Found | Part | Answer],
    *,
    question: str,
    where: Sequence[str],
    as_json: bool,
    save: Callable[[Answer], int] | None = None,
) -> Answer:
    """Print an answer, for people while it is written, and save it; return it."""
    printer = AnswerPrinter(question, where=where)
    for part in parts:
        if isinstance(part, Answer):
            if as_json:
                print_json({**answer_json(part), **({"saved": save(part)} if save else {})})
            else:
                printer.end(part)
                if save:
                    save(part)
            return part
        if not as_json:
            printer.add(part)
    raise AssertionError("a stream ends with its answer")


@click.command()
@click.option(
    "--indexes", type=click.Path(path_type=Path), default=INDEXES, show_default=True, help="Folder of indexes."
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.")
@click.option(
    "--generator",
    metavar="NAME",
    help="Offer this model to all: transformers:NAME-OR-PATH, or openai:MODEL@URL. With --public it is the only one.",
)
@click.option(
    "--max-upload", type=click.IntRange(min=1), metavar="MB", default=50, show_default=True, help="For each file."
)
@click.option(
    "--public",
    "hosts",
    metavar="HOST",
    multiple=True,
    help="Let others in, who come under this name or address of this machine, with a password: that of the environment "
    "variable FOOTNOTE_PASSWORD, else it is asked for. Can be given again.",
)
@click.option("--listen", metavar="ADDRESS", help="With --public: where to listen. Default: on every address.")
@click.option("--certificate", type=click.Path(path_type=Path), help="With --public: a PEM file, for https.")
@click.option("--key", type=click.Path(path_type=Path), help="That of the certificate.")
def ui(
    indexes: Path,
    port: int,
    browser: bool,
    generator: str | None,
    max_upload: int,
    hosts: tuple[str, ...],
    listen: str | None,
    certificate: Path | None,
    key: Path | None,
) -> None:
    """Open the web page, on this machine only unless --public says otherwise.

    \b
    rag ui
    rag ui --public 192.168.1.20
    """
    from ui.server import serve

    if generator is not None:
        from ui.settings import checked_generator

        generator = checked_generator(generator)
    public = _public(hosts, listen, certificate, key)

    def ready(url: str) -> None:
        click.echo(f"Footnote is at {url}. Ctrl+C stops it.", err=True)
        if public and not public.certificate and public.address not in ("127.0.0.1", "::1"):
            click.echo(
                "Over http, who is on the network can read along, the password too: "
                "--certificate and --key, or a proxy in front, make it https.",
                err=True,
            )

    serve(
        indexes,
        port=port,
        open_browser=browser,
        ready=ready,
        public=public,
        generator=generator,
        max_upload_mb=max_upload,
    )


def _public(hosts: Sequence[str], listen: str | None, certificate: Path | None, key: Path | None) -> Public | None:
    """What --public and the options that go with it ask for."""
    if not hosts:
        if listen or certificate or key:
            raise click.UsageError("--listen, --certificate and --key go with --public HOST")
        return None
    if (certificate is None) != (key is None):
        raise click.UsageError("--certificate and --key go together")
    from ui.access import PASSWORD_VARIABLE, Password, checked_host
    from ui.server import EVERYWHERE, Public

    named = tuple(checked_host(host) for host in hosts)
    password = os.environ.pop(PASSWORD_VARIABLE, None)  # what is started from here need not know it
    if password is None:
        if not sys.stdin.isatty():
            raise UsageError(f"expected a password for those who come in: set {PASSWORD_VARIABLE}")
        password = click.prompt("Password for those who come in", hide_input=True, confirmation_prompt=True, err=True)
    files = (certificate, key) if certificate and key else None
    return Public(named, Password(password), listen or EVERYWHERE, files)
