"""The command line: parse, call one library function, render. Data goes to stdout, progress and warnings to stderr."""

from __future__ import annotations

import json
import os
import sys
import textwrap
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from rag.errors import IndexNotFoundError, RagError, UsageError

if TYPE_CHECKING:
    from rag.index import Index
    from rag.ingest import IngestReport, Progress
    from rag.types import Answer, Hit, JsonValue

INDEXES = Path("indexes")
EXIT_SET_ASIDE = 3


class _Commands(click.Group):
    """Every `RagError` is one line and exit code 1; nothing ever shows a trace."""

    def main(self, *args: Any, **kwargs: Any) -> Any:
        try:
            sys.exit(super().main(*args, **{**kwargs, "standalone_mode": False}) or 0)
        except click.ClickException as exc:
            exc.show()
            sys.exit(exc.exit_code)
        except (click.Abort, KeyboardInterrupt):
            click.echo("Stopped.", err=True)
            sys.exit(130)
        except RagError as exc:
            _fail(str(exc))
        except OSError as exc:
            if isinstance(exc, BrokenPipeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # else the flush at exit complains
                sys.exit(1)
            _fail(f"{exc.filename or 'the system'}: {exc.strerror or exc}")
        except Exception as exc:
            if os.environ.get("RAG_DEBUG"):
                raise
            _fail(f"something went wrong that should not: {type(exc).__name__}: {exc} (RAG_DEBUG=1 shows where)")


def _fail(message: str) -> None:
    click.echo(f"rag: {' '.join(message.split())}", err=True)
    sys.exit(1)


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="footnote-rag", prog_name="rag")
def main() -> None:
    """Ask your own documents; every sentence of the answer carries its footnote.

    \b
    rag ingest ~/Documents/handbook
    rag ask "Until when can I ask for a refund?"
    """


_index = click.option(
    "--index", "-i", metavar="NAME", help="Index in ./indexes, or a path. Default: the only one there is."
)
_json = click.option("--json", "as_json", is_flag=True, help="For programs.")
_encoder = click.option(
    "--encoder",
    metavar="MODEL",
    help="A sentence-transformers model: name or local path. Default: what the index was made with.",
)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path())
@click.option(
    "--index",
    "-i",
    metavar="NAME",
    help="Index in ./indexes, or a path. Default: the only one there is, else 'default'.",
)
@_encoder
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
@_json
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

    folder = _index_path(index, default="default")
    if not folder.exists() and not any(os.path.lexists(path) for path in paths):
        raise UsageError(f"there is nothing at {', '.join(map(repr, paths))}: name files or folders that exist")
    bar = _ProgressBar()
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
        _print_json(report.as_json())
    else:
        _print_report(report, folder)
    if report.set_aside:
        sys.exit(EXIT_SET_ASIDE)


@main.command()
@click.argument("query")
@_index
@click.option("-k", type=click.IntRange(min=1), default=10, show_default=True, help="How many passages.")
@click.option("--mode", type=click.Choice(["hybrid", "dense", "bm25"]), default="hybrid", show_default=True)
@_encoder
@_json
def search(query: str, index: str | None, k: int, mode: str, encoder: str | None, as_json: bool) -> None:
    """Find passages, by meaning and by words.

    \b
    rag search "negative sampling" -k 3
    """
    with _open(index, encoder) as opened:
        from rag.retriever import Retriever

        hits = Retriever(opened).search(query, k=k, mode=mode)  # type: ignore[arg-type]
    if as_json:
        for hit in hits:
            _print_json(hit_json(hit))
        return
    for hit in hits:
        click.echo(f"{hit.rank:>3}  {hit.score:.3f}  {click.style(_where(hit.chunk), bold=True)}")
        click.echo(_indented(" ".join(hit.chunk.text.split()), lines=3))
        if hit.also_in:
            click.echo(_indented("also in " + ", ".join(_clean(place.source) for place in hit.also_in[:5])))
    if not hits:
        click.echo("Nothing found.", err=True)


@main.command()
@click.argument("question")
@_index
@_encoder
@_json
def ask(question: str, index: str | None, encoder: str | None, as_json: bool) -> None:
    """Answer a question from the documents, with footnotes, or say that they do not tell.

    \b
    rag ask "Who invented word2vec?"
    """
    with _open(index, encoder) as opened:
        from rag.pipeline import Pipeline
        from rag.retriever import Retriever

        answer = Pipeline(Retriever(opened)).ask(question)
    if as_json:
        _print_json(answer_json(answer))
    else:
        _print_answer(answer)


@main.command()
@click.argument("source")
@_index
@_json
def show(source: str, index: str | None, as_json: bool) -> None:
    """Print a document as the index keeps it; every offset counts characters of this text."""
    with _open(index) as opened:
        document = opened.document(source)
    if as_json:
        _print_json({**asdict(document), "metadata": dict(document.metadata)})
    else:
        click.echo(_clean(document.text, keep="\n\t"))


@main.command("list")
@_index
@_json
def list_documents(index: str | None, as_json: bool) -> None:
    """List the documents of an index."""
    with _open(index) as opened:
        rows = opened.documents()
    if as_json:
        for row in rows:
            _print_json(asdict(row))
        return
    for row in rows:
        click.echo(f"{row.n_chunks:>6}  {_clean(row.source)}" + (f"  ({_clean(row.title)})" if row.title else ""))
    click.echo(f"{len(rows)} documents. The first column counts passages.", err=True)


@main.command()
@_index
@_json
def status(index: str | None, as_json: bool) -> None:
    """What is in an index, what made it, and which files were set aside and why."""
    with _open(index) as opened:
        found = opened.status()
    if as_json:
        values = {**asdict(found), "path": str(found.path)}
        values["set_aside"] = [{"path": path, "reason": reason} for path, reason in found.set_aside]
        _print_json(values)
        return
    last = found.last_ingest
    rows = [
        ("index", str(found.path)),
        ("documents", f"{found.documents} in {found.files} files"),
        ("passages", str(found.chunks)),
        ("size", f"{found.bytes / 1e6:.1f} MB"),
        ("encoder", f"{found.encoder} ({found.encoder_form})"),
        ("folders", ", ".join(map(_clean, found.roots)) or "none"),
        ("created", found.created),
        ("last ingest", f"{last['at']}: {last['read']} read, {last['unchanged']} unchanged" if last else "never"),
        ("set aside", str(len(found.set_aside))),
    ]
    for name, value in rows:
        click.echo(f"{name:<12} {value}")
    for path, reason in found.set_aside:
        click.echo(f"  {_clean(path)}: {_clean(reason)}")


@main.command()
@click.argument("path")
@_index
def remove(path: str, index: str | None) -> None:
    """Forget a document, or all below a file or folder.

    The files themselves stay, and come back at the next ingest unless a .ragignore file names them.
    """
    with _open(index) as opened:
        n = opened.remove(path)
    click.echo(
        f"Removed {n} document{'' if n == 1 else 's'} from {opened.name}. The files themselves stay where they are, "
        "and come back at the next ingest unless a .ragignore file names them."
    )


@main.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(name: str, yes: bool) -> None:
    """Delete a whole index. The documents it was made of stay where they are."""
    from rag.index import Index

    folder = _index_path(name)
    if not (folder / "index.sqlite").exists():
        raise IndexNotFoundError(f"no index in {str(folder)!r}: nothing was deleted")
    if not yes:
        click.confirm(f"Delete the index {str(folder)!r}? Your documents stay where they are.", abort=True)
    Index.delete(folder)
    click.echo(f"Deleted {folder}.")


@main.command()
@click.option(
    "--indexes", type=click.Path(path_type=Path), default=INDEXES, show_default=True, help="Folder of indexes."
)
@click.option("--port", type=click.IntRange(1, 65535), default=8501, show_default=True)
@click.option("--browser/--no-browser", default=True, help="Open the page in the browser.")
def ui(indexes: Path, port: int, browser: bool) -> None:
    """Open the web page, on this machine only."""
    from ui.server import serve

    def ready(url: str) -> None:
        click.echo(f"Footnote is at {url}. Ctrl+C stops it.", err=True)

    serve(indexes, port=port, open_browser=browser, ready=ready)


@main.group()
def evaluate() -> None:
    """Measure retrieval and answers."""


@evaluate.command("retrieval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Which qrels/<split>.tsv.")
@click.option("--encoder", metavar="MODEL", help="A sentence-transformers model: name or local path.")
@click.option(
    "--save-run", type=click.Path(path_type=Path), metavar="FOLDER", help="Write each mode's run in TREC form."
)
@_json
def evaluate_retrieval_command(
    folder: Path, split: str, encoder: str | None, save_run: Path | None, as_json: bool
) -> None:
    """Measure search on a corpus with judged queries, in BEIR layout.

    \b
    rag evaluate retrieval scifact
    """
    from rag.beir import read_retrieval_set, write_run
    from rag.encoders import DEFAULT_ENCODER, load_encoder
    from rag.evaluation import evaluate_retrieval

    data = read_retrieval_set(folder, split=split)
    result, runs = evaluate_retrieval(
        data, encoder=load_encoder(encoder or DEFAULT_ENCODER), progress=lambda line: click.echo(line, err=True)
    )
    if save_run is not None:
        save_run.mkdir(parents=True, exist_ok=True)
        for mode, run in runs.items():
            with (save_run / f"{data.name}-{mode}.trec").open("w", encoding="utf-8") as file:
                write_run(file, run, tag=mode)
    if as_json:
        _print_json(result)
        return
    click.echo(f"{data.name}: {result['documents']} documents, {result['queries']} queries, {result['encoder']}")
    modes: Any = result["modes"]
    rows = [[mode, *(f"{value:.4f}" for value in values.values())] for mode, values in modes.items()]
    _print_table(["mode", "nDCG@10", "recall@100", "RR@10"], rows)


@evaluate.command("questions")
@click.argument("file", type=click.Path(path_type=Path))
@_index
@_json
def evaluate_questions_command(file: Path, index: str | None, as_json: bool) -> None:
    """Ask your own questions and see how many are answered from the right file with the right sentence.

    FILE holds one JSON object a line: {"question", "source", "quote"}, with source and quote null where the documents
    do not tell.

    \b
    rag evaluate questions corpora/embeddings/questions.jsonl
    """
    from rag.evaluation import evaluate_questions, read_questions
    from rag.pipeline import Pipeline
    from rag.retriever import Retriever

    questions = read_questions(file)
    with _open(index) as opened:
        result, each = evaluate_questions(questions, Pipeline(Retriever(opened)))
    if as_json:
        _print_json(result)
        return
    click.echo(f"{result['questions']} questions, {result['answerable']} of them answerable")
    bm25: Any = result["bm25"]
    shares = [name for name in result if name not in {"questions", "answerable", "unanswerable", "bm25"}]
    _print_table(["share", "ours", "plain BM25"], [[n, _percent(result[n]), _percent(bm25.get(n))] for n in shares])
    missed = [r for r in each if r.question.source is not None and not r.said]
    missed += [r for r in each if r.question.source is None and not r.answer.abstained]
    for r in missed:
        said = "not in these documents" if r.answer.abstained else r.answer.text
        click.echo(f"\n{_clean(r.question.question)}\n  expected {r.question.source}: {r.question.quote}")
        click.echo(f"  file at rank {r.file_rank}; said ({r.answer.confidence:.2f}): {_clean(said)}")


# Rendering


def hit_json(hit: Hit) -> dict[str, JsonValue]:
    """A hit in the form of `rag search --json`."""
    chunk = hit.chunk
    return {
        "rank": hit.rank,
        "score": round(hit.score, 6),
        "chunk_id": hit.chunk_id,
        "source": chunk.doc_id,
        "title": chunk.title,
        "page": chunk.page,
        "section": chunk.section,
        "start": chunk.start,
        "end": chunk.end,
        "text": chunk.text,
        "also_in": [asdict(place) for place in hit.also_in],
    }


def answer_json(answer: Answer) -> dict[str, JsonValue]:
    """An answer in the form of `rag ask --json`."""
    return {
        "question": answer.question,
        "answer": answer.text,
        "short_answer": asdict(answer.short_answer) if answer.short_answer else None,
        "abstained": answer.abstained,
        "confidence": round(answer.confidence, 4),
        "generator": answer.generator,
        "sentences": [
            {"text": s.text, "citations": list(s.citations), "supported": s.supported} for s in answer.sentences
        ],
        "citations": [asdict(citation) for citation in answer.citations],
        "nearest": [hit_json(hit) for hit in answer.nearest],
        "timings_ms": dict(answer.timings_ms),
    }


def _print_json(value: Any) -> None:
    # Escaped to ASCII: what a document holds cannot break a line or a terminal, and a lone surrogate cannot stop it.
    click.echo(json.dumps(value))


def _print_answer(answer: Answer) -> None:
    if answer.abstained:
        click.echo(click.style(answer.text, bold=True))
        if not answer.nearest:
            click.echo("\nThe index holds no documents yet: add some with rag ingest PATH.")
        else:
            click.echo("\nThese passages came nearest; none answers the question.")
        for hit in answer.nearest[:3]:
            click.echo(f"\n  {_where(hit.chunk)}")
            click.echo(_indented(" ".join(hit.chunk.text.split()), lines=2))
        return
    marked = [f"{_clean(s.text)}{''.join(f'[{marker}]' for marker in s.citations)}" for s in answer.sentences]
    click.echo(textwrap.fill(" ".join(marked), width=_width()))
    for citation in answer.citations:
        click.echo(f"\n[{citation.marker}] {click.style(_where(citation), bold=True)}")
        click.echo(_indented(f"“{' '.join(citation.quote.split())}”"))


def _where(place: Any) -> str:
    """Path, page and section of a chunk or citation, in one line."""
    source = getattr(place, "source", None) or place.doc_id
    parts = [source, f"page {place.page}" if place.page is not None else "", place.section or ""]
    return _clean(" · ".join(part for part in parts if part))


def _print_report(report: IngestReport, folder: Path) -> None:
    parts = [f"{report.read} files read", f"{report.unchanged} unchanged"]
    if report.removed:
        parts.append(f"{report.removed} removed")
    parts.append(f"{len(report.set_aside)} set aside")
    click.echo(
        f"{', '.join(parts)}; {report.chunks} passages, {report.embedded} embedded, {report.seconds:.1f} s → {folder}"
    )
    for path, reason in report.set_aside:
        click.echo(f"  set aside: {_clean(path)}: {_clean(reason)}")
    for path, note in report.notes:
        click.echo(f"  note: {_clean(path)}: {_clean(note)}")
    if report.skipped:
        kinds = ", ".join(f"{n} {_clean(suffix)}" for suffix, n in report.skipped.most_common())
        click.echo(f"  skipped, of types that are not read: {kinds}")


def _print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    lines = [header, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        click.echo(
            "  ".join([line[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True))])
        )


def _percent(value: Any) -> str:
    return "" if value is None else f"{100 * value:.1f} %"


def _clean(text: str, *, keep: str = "") -> str:
    """Control characters shown as escapes: a file name or a document cannot drive the terminal or break a line."""
    return "".join(c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text)


def _indented(text: str, *, lines: int | None = None) -> str:
    return textwrap.fill(
        _clean(text),
        width=_width(),
        initial_indent="     ",
        subsequent_indent="     ",
        max_lines=lines,
        placeholder=" …",
    )


def _width() -> int:
    with suppress(OSError):
        return min(max(os.get_terminal_size().columns, 40), 100)
    return 100


class _ProgressBar:
    """Files, passages and time left on stderr; silent where that is not a terminal."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> _ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def update(self, progress: Progress) -> None:
        if not sys.stderr.isatty():
            return
        if self._bar is None:
            from tqdm import tqdm

            self._bar = tqdm(total=progress.files_total, unit="file", file=sys.stderr, leave=False, dynamic_ncols=True)
        self._bar.n = progress.files_done
        self._bar.set_postfix_str(f"{progress.chunks} passages, {_clean(progress.current)[-30:]}", refresh=False)
        self._bar.refresh()

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None


# Which index


def _open(name: str | None, encoder: str | None = None) -> Index:
    from rag.index import Index

    return Index.open(_index_path(name), encoder=encoder)


def _index_path(name: str | None, *, default: str | None = None) -> Path:
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
    raise UsageError(f"there are {len(found)} indexes ({', '.join(map(_clean, found))}): name one with --index")


if __name__ == "__main__":
    main()
