"""The commands that make an index, look into it and take from it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict
from typing import TypedDict

import click

from rag.cli.options import (
    EXIT_STOPPED,
    Interrupt,
    chosen_encoder,
    encoder_option,
    exclude_option,
    form_option,
    gitignore_option,
    index_option,
    index_path,
    json_option,
    open_index,
    target_option,
    wait_option,
    waiting,
    where_option,
)
from rag.cli.rendering import (
    ProgressBar,
    clean,
    print_documents,
    print_json,
    print_preview,
    print_report,
    print_status,
    status_json,
)
from rag.errors import IndexNotFoundError, RagError, UsageError

EXIT_SET_ASIDE = 3


class SyncOptions(TypedDict):
    """What decides which files are read, looked at and forgotten."""

    exclude: Sequence[str]
    gitignore: bool
    rehash: bool
    keep_missing: bool


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@target_option
@encoder_option
@form_option
@exclude_option
@gitignore_option
@click.option(
    "--max-file-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=32,
    show_default=True,
    help="Largest text file.",
)
@click.option("--rehash", is_flag=True, help="Read every file, whatever its size and time say.")
@click.option("--keep-missing", is_flag=True, help="Keep the documents whose files have gone.")
@click.option("--progressive", is_flag=True, help="Found by words within seconds; vectors follow.")
@click.option("--dry-run", is_flag=True, help="Say what would happen, and change nothing.")
@wait_option
@json_option
def ingest(
    paths: tuple[str, ...],
    index: str | None,
    encoder: str | None,
    form: str | None,
    exclude: tuple[str, ...],
    gitignore: bool,
    max_file_mb: float,
    rehash: bool,
    keep_missing: bool,
    progressive: bool,
    dry_run: bool,
    wait: bool,
    as_json: bool,
) -> None:
    """Read files and folders into an index, or bring it up to date.

    Only what is new or has changed is read again, a file that was moved is followed, and what has gone is removed.
    Files that cannot be read are set aside and listed; then the exit code is 3. Ctrl-C leaves after the batch at hand:
    what was read is kept, and the same command goes on from there.

    \b
    rag ingest corpora/embeddings --index embeddings
    rag ingest corpora/embeddings --index embeddings --dry-run
    """
    from rag.index import Index

    folder = index_path(index, default="default")
    if not folder.exists() and not any(os.path.lexists(path) for path in paths):
        raise UsageError(f"there is nothing at {', '.join(map(repr, paths))}: name files or folders that exist")
    which: SyncOptions = {
        "exclude": exclude,
        "gitignore": gitignore,
        "rehash": rehash,
        "keep_missing": keep_missing,
    }
    if dry_run:
        preview = Index.preview(folder, *paths, **which)
        print_json(preview.as_json()) if as_json else print_preview(preview)
        return
    bar = ProgressBar()
    chosen = chosen_encoder(encoder, form, folder)
    with Index.open_or_create(folder, encoder=chosen, **waiting(wait)) as opened, bar, Interrupt() as interrupt:
        found = opened.status() if form else None
        if form and found and found.chunks and not found.encoder_form.startswith(form):
            raise UsageError(
                f"index {opened.name!r} is made in {found.encoder_form}, and so its new passages are: leave --form "
                f"away, or take all of it over with rag reembed --encoder {found.encoder} --form {form}"
            )
        report = opened.ingest(
            *paths,
            **which,
            max_file_mb=max_file_mb,
            progressive=progressive,
            progress=bar.update,
            stop=interrupt,
        )
    print_json(report.as_json()) if as_json else print_report(report, folder)
    if report.stopped:
        click.echo("Stopped. What was read is kept; the same command goes on from there.", err=True)
        sys.exit(EXIT_STOPPED)
    if report.set_aside:
        sys.exit(EXIT_SET_ASIDE)


@click.command("list")
@index_option
@where_option
@json_option
def list_documents(index: str | None, where: tuple[str, ...], as_json: bool) -> None:
    """List the documents of an index."""
    with open_index(index) as opened:
        rows = opened.documents(where=where)
    if as_json:
        for row in rows:
            print_json(asdict(row))
    else:
        print_documents(rows)


@click.command()
@click.argument("source")
@index_option
@json_option
def show(source: str, index: str | None, as_json: bool) -> None:
    """Print a document as the index keeps it; every offset counts characters of this text."""
    with open_index(index) as opened:
        document = opened.document(source)
    if as_json:
        print_json({**asdict(document), "metadata": dict(document.metadata)})
    else:
        click.echo(clean(document.text, keep="\n\t"))


@click.command()
@index_option
@json_option
def status(index: str | None, as_json: bool) -> None:
    """What is in an index, what made it, and which files were set aside and why."""
    with open_index(index) as opened:
        found = opened.status()
    if as_json:
        print_json(status_json(found))
    else:
        print_status(found)


@click.command()
@click.argument("path")
@index_option
@wait_option
def remove(path: str, index: str | None, wait: bool) -> None:
    """Forget a document, or all below a file or folder.

    The files themselves stay, and come back at the next ingest unless a .ragignore file names them.
    """
    with open_index(index, wait=wait) as opened:
        n = opened.remove(path)
    click.echo(
        f"Removed {n} document{'' if n == 1 else 's'} from {opened.name}. The files themselves stay where they are, "
        "and come back at the next ingest unless a .ragignore file names them."
    )


@click.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a whole index. The documents it was made of stay where they are."""
    from rag.index import Index
    from ui.keeping import FILE_NAME, PageFile

    folder = index_path(name)
    if not (folder / "index.sqlite").exists():
        raise IndexNotFoundError(f"no index in {str(folder)!r}: nothing was deleted")
    if not yes:
        click.confirm(f"Delete the index {str(folder)!r}? Your documents stay where they are.", abort=True)
    Index.delete(folder)
    click.echo(f"Deleted {folder}.")
    with suppress(RagError):  # then the page itself says what is wrong with its file
        if PageFile(folder.parent / FILE_NAME).asks(folder.name):
            click.echo("Threads about it stay in the page; remove them there.")


@click.command()
@click.argument("name")
@click.argument("new_name")
def rename(name: str, new_name: str) -> None:
    """Give an index another name. It stays in its folder of indexes, and its threads in the page stay its own."""
    from rag.index import Index
    from ui.keeping import FILE_NAME
    from ui.threads import Threads

    folder = index_path(name)
    renamed = Index.rename(folder, new_name)
    click.echo(f"Renamed {folder} to {renamed}.")
    try:
        Threads(folder.parent / FILE_NAME).rename_index(folder.name, renamed.name)
    except RagError as exc:
        raise UsageError(f"its threads in the page still name it {folder.name!r}: {exc}") from exc
