"""The commands that make an index, look into it and take from it."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict

import click

from rag.cli.options import encoder_option, index_option, index_path, json_option, open_index
from rag.cli.rendering import ProgressBar, clean, print_documents, print_json, print_report, print_status, status_json
from rag.errors import IndexNotFoundError, UsageError

EXIT_SET_ASIDE = 3


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--index",
    "-i",
    metavar="NAME",
    help="Index in ./indexes, or a path. Default: the only one there is, else 'default'.",
)
@encoder_option
@click.option(
    "--exclude", multiple=True, metavar="PATTERN", help="Leave out, in .gitignore syntax. Can be given again."
)
@click.option("--gitignore", is_flag=True, help="Leave out what .gitignore files name.")
@click.option(
    "--max-file-mb",
    type=click.FloatRange(min=0, min_open=True),
    default=32,
    show_default=True,
    help="Largest text file.",
)
@json_option
def ingest(
    paths: tuple[str, ...],
    index: str | None,
    encoder: str | None,
    exclude: tuple[str, ...],
    gitignore: bool,
    max_file_mb: float,
    as_json: bool,
) -> None:
    """Read files and folders into an index, or bring it up to date.

    Only what is new or has changed is read again, and what has gone is removed. Files that cannot be read are set aside
    and listed; then the exit code is 3.

    \b
    rag ingest corpora/embeddings --index embeddings
    """
    from rag.index import Index

    folder = index_path(index, default="default")
    if not folder.exists() and not any(os.path.lexists(path) for path in paths):
        raise UsageError(f"there is nothing at {', '.join(map(repr, paths))}: name files or folders that exist")
    bar = ProgressBar()
    with Index.open_or_create(folder, encoder=encoder) as opened, bar:
        try:
            report = opened.ingest(
                *paths, exclude=exclude, gitignore=gitignore, max_file_mb=max_file_mb, progress=bar.update
            )
        except KeyboardInterrupt:
            bar.close()
            click.echo("Stopped. What was read so far is kept; run the same command to go on.", err=True)
            sys.exit(130)
    if as_json:
        print_json(report.as_json())
    else:
        print_report(report, folder)
    if report.set_aside:
        sys.exit(EXIT_SET_ASIDE)


@click.command("list")
@index_option
@json_option
def list_documents(index: str | None, as_json: bool) -> None:
    """List the documents of an index."""
    with open_index(index) as opened:
        rows = opened.documents()
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
def remove(path: str, index: str | None) -> None:
    """Forget a document, or all below a file or folder.

    The files themselves stay, and come back at the next ingest unless a .ragignore file names them.
    """
    with open_index(index) as opened:
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

    folder = index_path(name)
    if not (folder / "index.sqlite").exists():
        raise IndexNotFoundError(f"no index in {str(folder)!r}: nothing was deleted")
    if not yes:
        click.confirm(f"Delete the index {str(folder)!r}? Your documents stay where they are.", abort=True)
    Index.delete(folder)
    click.echo(f"Deleted {folder}.")
