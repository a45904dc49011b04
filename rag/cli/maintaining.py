"""The commands that look after an index: doctor, reembed, watch."""

from __future__ import annotations

import sys
import time

import click

from rag.cli.options import (
    EXIT_STOPPED,
    Interrupt,
    chosen_encoder,
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
)
from rag.cli.rendering import ProgressBar, clean, print_change, print_diagnosis, print_json, print_report
from rag.errors import RagError


@click.command()
@index_option
@click.option("--repair", is_flag=True, help="Mend what can be mended from what is there.")
@click.option("--compact", is_flag=True, help="Leave no trace of what was removed, and give its space back.")
@wait_option
@json_option
def doctor(index: str | None, repair: bool, compact: bool, wait: bool, as_json: bool) -> None:
    """Check every promise of an index, and say which hold. The exit code is 1 if one does not.

    \b
    rag doctor
    rag doctor --repair --compact
    """
    with open_index(index, wait=wait) as opened:
        diagnosis = opened.examine(repair=repair)
        compaction = opened.compact() if compact and diagnosis.holds else None
    if as_json:
        sizes = {"bytes_before": compaction.bytes_before, "bytes_after": compaction.bytes_after} if compaction else {}
        print_json({**diagnosis.as_json(), **sizes, **({"clean": compaction.is_clean} if compaction else {})})
    else:
        print_diagnosis(diagnosis, repaired=repair)
        if compaction:
            click.echo(f"Compacted: {compaction.bytes_before / 1e6:.1f} → {compaction.bytes_after / 1e6:.1f} MB.")
        elif compact:
            click.echo("Not compacted: mend it first, with rag doctor --repair.", err=True)
    if compaction and not compaction.is_clean:
        click.echo(
            "Traces of what was removed may still be there: another process reads the index, a change of encoder is "
            "half done, or the disk is full. Close it, finish rag reembed, or make room, and run this again.",
            err=True,
        )
        sys.exit(1)
    if not diagnosis.holds:
        sys.exit(1)


@click.command()
@click.option("--encoder", metavar="MODEL", required=True, help="The new one: a name or a local path.")
@form_option
@index_option
@wait_option
@json_option
def reembed(encoder: str, form: str | None, index: str | None, wait: bool, as_json: bool) -> None:
    """Take an index to another encoder. No file is read again.

    The new vectors are filled in beside the old, which serve until all are there; then the index goes over at once.
    After Ctrl-C or a crash, the same command goes on from there.

    \b
    rag reembed --encoder path/to/a/sentence-transformers/model
    """
    bar = ProgressBar(unit="document")
    with open_index(index, wait=wait) as opened, bar, Interrupt() as interrupt:
        report = opened.reembed(
            chosen_encoder(encoder, form, opened.path) or encoder, progress=bar.update, stop=interrupt
        )
        name = opened.status().encoder
    if as_json:
        print_json(report.as_json())
    elif report.stopped:
        click.echo(f"Stopped: {report.embedded} texts embedded. The index still serves with {clean(name)}.")
    else:
        click.echo(
            f"{report.chunks} passages, {report.embedded} texts embedded, {report.seconds:.1f} s → {clean(name)}"
        )
    if report.stopped:
        click.echo("What was embedded is kept; the same command goes on from there.", err=True)
        sys.exit(EXIT_STOPPED)


@click.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True))
@target_option
@exclude_option
@gitignore_option
@json_option
def watch(paths: tuple[str, ...], index: str | None, exclude: tuple[str, ...], gitignore: bool, as_json: bool) -> None:
    """Keep an index in step with folders: one line for each file that changes. Ctrl-C ends it.

    \b
    rag watch corpora/embeddings --index embeddings
    """
    from rag.index import Index
    from rag.ingest import IngestReport
    from rag.plan import FileChange
    from rag.watch import watch

    folder = index_path(index, default="default")
    bar = ProgressBar()
    is_first = True

    def changed(change: FileChange) -> None:
        bar.close()
        if as_json:
            print_json({"kind": change.kind, "path": change.path, "detail": change.detail})
        elif not is_first:
            click.echo(f"{time.strftime('%H:%M:%S')}  ", nl=False)
            print_change(change)
        sys.stdout.flush()

    def synced(report: IngestReport) -> None:
        nonlocal is_first
        bar.close()
        if is_first and not as_json:
            print_report(report, folder)
            click.echo(f"Watching {', '.join(map(clean, paths))}. Ctrl-C ends it.", err=True)
        is_first = False

    def failed(problem: RagError) -> None:
        bar.close()
        click.echo(f"rag: {problem} (watching on)", err=True)

    with Index.open_or_create(folder, **waiting(True)) as opened, bar, Interrupt(told="Stopping.") as interrupt:
        done = watch(
            opened,
            *paths,
            exclude=exclude,
            gitignore=gitignore,
            stop=interrupt,
            progress=bar.update,
            on_change=changed,
            on_sync=synced,
            on_problem=failed,
        )
    click.echo(f"Stopped after {done.changes} changes in {done.syncs} syncs.", err=True)
