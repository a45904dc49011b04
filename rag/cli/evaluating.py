"""The commands that measure retrieval and answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import click

from rag.cli.options import form_option, index_option, json_option, open_index
from rag.cli.rendering import clean, print_json, print_table


@click.group()
def evaluate() -> None:
    """Measure retrieval and answers."""


@evaluate.command("retrieval")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--split", default="test", show_default=True, help="Which qrels/<split>.tsv.")
@click.option("--encoder", metavar="MODEL", help="A sentence-transformers model: name or local path.")
@form_option
@click.option(
    "--save-run", type=click.Path(path_type=Path), metavar="FOLDER", help="Write each mode's run in TREC form."
)
@json_option
def evaluate_retrieval_command(
    folder: Path, split: str, encoder: str | None, form: str | None, save_run: Path | None, as_json: bool
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
        data,
        encoder=load_encoder(encoder or DEFAULT_ENCODER, form=cast(Any, form)),
        progress=lambda line: click.echo(line, err=True),
    )
    if save_run is not None:
        save_run.mkdir(parents=True, exist_ok=True)
        for mode, run in runs.items():
            with (save_run / f"{data.name}-{mode}.trec").open("w", encoding="utf-8") as file:
                write_run(file, run, tag=mode)
    if as_json:
        print_json(result)
        return
    click.echo(f"{data.name}: {result['documents']} documents, {result['queries']} queries, {result['encoder']}")
    modes: Any = result["modes"]
    rows = [[mode, *(f"{value:.4f}" for value in values.values())] for mode, values in modes.items()]
    print_table(["mode", "nDCG@10", "recall@100", "RR@10"], rows)


@evaluate.command("questions")
@click.argument("file", type=click.Path(path_type=Path))
@index_option
@json_option
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
    with open_index(index) as opened:
        result, each = evaluate_questions(questions, Pipeline(Retriever(opened)))
    if as_json:
        print_json(result)
        return
    click.echo(f"{result['questions']} questions, {result['answerable']} of them answerable")
    bm25: Any = result["bm25"]
    shares = [name for name in result if name not in {"questions", "answerable", "unanswerable", "bm25"}]
    print_table(["share", "ours", "plain BM25"], [[n, _percent(result[n]), _percent(bm25.get(n))] for n in shares])
    missed = [r for r in each if r.question.source is not None and not r.said]
    missed += [r for r in each if r.question.source is None and not r.answer.abstained]
    for r in missed:
        said = "not in these documents" if r.answer.abstained else r.answer.text
        click.echo(f"\n{clean(r.question.question)}\n  expected {r.question.source}: {r.question.quote}")
        click.echo(f"  file at rank {r.file_rank}; said ({r.answer.confidence:.2f}): {clean(said)}")


def _percent(value: Any) -> str:
    return "" if value is None else f"{100 * value:.1f} %"
