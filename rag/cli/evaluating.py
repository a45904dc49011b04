"""The commands that measure retrieval."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rag.cli.options import (
    form_option,
    json_option,
    make_retriever,
    rerank_ms_option,
    rerank_option,
)
from rag.cli.rendering import bracketed, clean, print_changed_query, print_json, print_table

if TYPE_CHECKING:
    from rag.runs import ChangedQuery, Measured, RunsCompared

_NAMES = {
    "ndcg@10": "nDCG@10",
    "recall@100": "recall@100",
    "rr@10": "RR@10",
    "success@1": "success@1",
    "success@5": "success@5",
    "recall@10": "recall@10",
    "map": "MAP",
}
_SHOWN = ("ndcg@10", "recall@100", "rr@10", "success@1", "map")  # in the table of `rag evaluate retrieval`
_CERTAIN = 0.05  # a p below it is more than chance, as is usual

judged_option = click.option(
    "--qrels",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE_OR_FOLDER",
    help="Judgements: a folder in BEIR layout, a .tsv file of BEIR, or qrels of TREC.",
)
split_option = click.option("--split", default="test", show_default=True, help="Which qrels/<split>.tsv of a folder.")


@click.group()
def evaluate() -> None:
    """Measure retrieval and answers."""


@evaluate.command("retrieval")
@click.argument("folder", type=click.Path(path_type=Path))
@split_option
@click.option(
    "--qrels",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Judgements that lie elsewhere: a .tsv file of BEIR, or qrels of TREC.",
)
@click.option(
    "--mode",
    "modes",
    type=click.Choice(["hybrid", "dense", "bm25", "dense_first_tokens"]),
    multiple=True,
    help="Measure this mode. Can be given again. Default: all of them.",
)
@click.option("--encoder", metavar="MODEL", help="A sentence-transformers model: name or local path.")
@form_option
@rerank_option
@rerank_ms_option
@click.option(
    "--save-run", type=click.Path(path_type=Path), metavar="FOLDER", help="Write each mode's run in TREC form."
)
@json_option
def evaluate_retrieval_command(
    folder: Path,
    split: str,
    qrels: Path | None,
    modes: tuple[str, ...],
    encoder: str | None,
    form: str | None,
    rerank: str | None,
    rerank_ms: float,
    save_run: Path | None,
    as_json: bool,
) -> None:
    """Measure search on a corpus with judged queries, in BEIR layout.

    Brackets hold 95 % intervals of the mean over queries.

    \b
    rag evaluate retrieval scifact
    rag evaluate retrieval scifact --mode hybrid --mode bm25 --save-run runs
    """
    from rag.beir import read_retrieval_set, write_run
    from rag.encoders import DEFAULT_ENCODER, load_encoder
    from rag.evaluation import RETRIEVAL_MODES, evaluate_retrieval

    data = read_retrieval_set(folder, split=split, qrels=qrels)
    if save_run is not None:
        save_run.mkdir(parents=True, exist_ok=True)  # before anything is measured that could not be kept
    result, runs = evaluate_retrieval(
        data,
        encoder=load_encoder(encoder or DEFAULT_ENCODER, form=cast(Any, form)),
        modes=modes or RETRIEVAL_MODES,
        retriever_of=partial(make_retriever, rerank=rerank, rerank_ms=rerank_ms),
        progress=lambda line: click.echo(line, err=True),
    )
    if as_json:
        print_json(result)
    else:
        _print_retrieval(result)
    if save_run is not None:  # last, so that a run that cannot be written costs no figures
        for mode, run in runs.items():
            with (save_run / f"{data.name}-{mode}.trec").open("w", encoding="utf-8") as file:
                write_run(file, run, tag=mode)


def _print_retrieval(result: Any) -> None:
    click.echo(
        clean(f"{result['dataset']}: {result['documents']} documents, {result['queries']} queries, {result['encoder']}")
    )
    rows = []
    for mode, values in result["modes"].items():
        first, *others = (f"{values[name]:.4f}" for name in _SHOWN)
        rows.append([mode, first + bracketed(values["intervals"][_SHOWN[0]]), *others])
    first, *others = (_NAMES[name] for name in _SHOWN)
    print_table(["mode", f"{first} [95 %]", *others], rows)
    empty = [f"{mode} {values['without_hits']}" for mode, values in result["modes"].items() if values["without_hits"]]
    if empty:
        click.echo(f"queries without results, each counts 0: {', '.join(empty)}")
    for mode, comparison in result["comparisons"].items():
        click.echo(f"hybrid against {mode}: {_in_words('ndcg@10', **comparison)}")


@evaluate.command("run")
@click.argument("run", type=click.Path(path_type=Path))
@judged_option
@split_option
@json_option
def evaluate_run_command(run: Path, qrels: Path, split: str, as_json: bool) -> None:
    """Measure a run of any system, in TREC form.

    \b
    rag evaluate run runs/scifact-hybrid.trec --qrels scifact
    """
    from rag.beir import read_qrels, read_run
    from rag.runs import measure_run, measured_json

    measured = measure_run(read_run(run), read_qrels(qrels, split=split))
    _note_not_judged(run, measured)
    queries = len(measured.values["ndcg@10"])
    if as_json:
        counts = {"queries": queries, "not_judged": measured.not_judged}
        print_json({"run": str(run), **counts, **measured_json(measured)})
        return
    without = f", {measured.without_hits} of them without results" if measured.without_hits else ""
    click.echo(f"{clean(str(run))}: {queries} judged queries{without}")
    rows = [[_NAMES[name], _with_interval(measured, name)] for name in measured.means]
    print_table(["measure", "mean [95 %]"], rows)


@evaluate.command("compare")
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@judged_option
@split_option
@click.option("--measure", type=click.Choice(list(_NAMES)), default="ndcg@10", show_default=True, help="What decides.")
@click.option("--better", is_flag=True, help="Show the queries that B answers better, not those that it answers worse.")
@click.option("--limit", type=click.IntRange(min=0), default=10, show_default=True, help="How many queries to show.")
@click.option("-k", type=click.IntRange(min=1), default=5, show_default=True, help="How many hits of each run to show.")
@json_option
def evaluate_compare_command(
    a: Path, b: Path, qrels: Path, split: str, measure: str, better: bool, limit: int, k: int, as_json: bool
) -> None:
    """Hold run B against run A, both in TREC form: is it better, and for which queries not.

    Shown are the queries that B answers worse than A, the worst first, with both runs' first hits; a star marks the
    relevant ones. Where --qrels is a folder, also what each query asks and what the documents are called.

    \b
    rag evaluate compare runs/scifact-bm25.trec runs/scifact-hybrid.trec --qrels scifact
    """
    from rag.beir import read_qrels, read_queries, read_run
    from rag.runs import compare_runs, comparison_json, measured_json

    found = compare_runs(read_run(a), read_run(b), read_qrels(qrels, split=split), measure=measure, k=k)
    _note_not_judged(a, found.a)
    _note_not_judged(b, found.b)
    questions = read_queries(qrels) if qrels.is_dir() else {}
    chosen = (found.better if better else found.worse)[:limit]
    if as_json:
        print_json(
            {
                "measure": measure,
                "a": {"run": str(a), **measured_json(found.a)},
                "b": {"run": str(b), **measured_json(found.b)},
                **comparison_json(found.comparison),
                "queries": [_changed_json(changed, questions.get(changed.query_id)) for changed in chosen],
            }
        )
        return
    _print_compared(found, a, b, measure)
    total = found.comparison.better if better else found.comparison.worse
    if chosen:
        direction = "better" if better else "worse"
        click.echo(f"\n{len(chosen)} of the {total} queries that B answers {direction}, most changed first:")
    titles = _titles(qrels, chosen) if qrels.is_dir() else {}
    for changed in chosen:
        print_changed_query(changed, question=questions.get(changed.query_id, ""), titles=titles)


def _print_compared(found: RunsCompared, a: Path, b: Path, measure: str) -> None:
    rows = [
        [f"{letter}  {clean(str(path))}", _with_interval(measured, measure)]
        for letter, path, measured in (("A", a, found.a), ("B", b, found.b))
    ]
    print_table(["run", f"{_NAMES[measure]} [95 %]"], rows)
    c = found.comparison
    words = _in_words(
        measure, better=c.better, worse=c.worse, same=c.same, difference=c.difference, interval=c.interval, p=c.p
    )
    click.echo(f"B against A: {words}")


def _changed_json(changed: ChangedQuery, question: str | None) -> dict[str, Any]:
    return {
        "query_id": changed.query_id,
        "query": question,
        "a": round(changed.a, 4),
        "b": round(changed.b, 4),
        "difference": round(changed.b - changed.a, 4),
        "hits_a": [{"doc_id": hit.doc_id, "relevance": hit.relevance} for hit in changed.hits_a],
        "hits_b": [{"doc_id": hit.doc_id, "relevance": hit.relevance} for hit in changed.hits_b],
    }


def _titles(folder: Path, chosen: Sequence[ChangedQuery]) -> dict[str, str]:
    """Title, or beginning of the text, of the documents that are shown; no other is kept in memory."""
    from rag.beir import read_documents

    shown = {hit.doc_id for changed in chosen for hit in (*changed.hits_a, *changed.hits_b)}
    there = (document for document in read_documents(folder) if document.doc_id in shown) if shown else ()
    return {document.doc_id: document.title or document.text[:200] for document in islice(there, len(shown))}


def _note_not_judged(run: Path, measured: Measured) -> None:
    if measured.not_judged:
        click.echo(f"{clean(str(run))}: {measured.not_judged} queries are not judged and left out", err=True)


def _with_interval(measured: Measured, name: str) -> str:
    return f"{measured.means[name]:.4f}" + bracketed(measured.intervals[name])


def _in_words(
    measure: str,
    *,
    better: int,
    worse: int,
    same: int,
    difference: float,
    interval: Sequence[float] | None,
    p: float,
) -> str:
    """How a second system did against a first."""
    chance = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    verdict = "more than chance" if p < _CERTAIN else "no more than chance could do"
    return (
        f"{_NAMES[measure]} {difference:+.4f}{bracketed(interval, form='+.4f')}, {chance}: {verdict}\n"
        f"  {better} queries better, {worse} worse, {same} the same"
    )
