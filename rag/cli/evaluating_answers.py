"""The commands that measure answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from rag.cli.options import (
    encoder_option,
    entail_option,
    form_option,
    generator_option,
    index_option,
    json_option,
    make_checker,
    make_retriever,
    open_index,
    rerank_ms_option,
    rerank_option,
    strict_option,
)
from rag.cli.rendering import bracketed, clean, print_json, print_table

SHARES = (0.05, 0.1, 0.2)  # of wrong answers, for which it is told how much would be answered

if TYPE_CHECKING:
    from rag.answer_evaluation import AskedResult
    from rag.index import Index


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@index_option
@generator_option
@entail_option
@strict_option
@rerank_option
@rerank_ms_option
@encoder_option
@json_option
def calibrate(
    file: Path,
    index: str | None,
    generator: str,
    entail: str | None,
    strict: bool,
    rerank: str | None,
    rerank_ms: float,
    encoder: str | None,
    as_json: bool,
) -> None:
    """Ask your own questions, so that --max-error is a bound for questions like them.

    FILE is as for rag evaluate questions; of the documents' questions some should be ones that they do not answer, as
    many as are really asked. 19 questions are the least for --max-error 0.05; more let more be answered.

    \b
    rag calibrate questions.jsonl
    rag ask "Until when can I ask for a refund?" --max-error 0.05
    """
    from datetime import UTC, datetime

    from rag.calibration import Calibration, bound
    from rag.evaluation import outcomes, read_questions
    from rag.pipeline import Pipeline

    questions = read_questions(file)
    with open_index(index, encoder) as opened:
        pipeline = Pipeline(
            make_retriever(opened, rerank=rerank, rerank_ms=rerank_ms),
            generator=generator,
            checker=make_checker(opened, entail=entail),
            min_confidence=0,
            strict=strict,
        )
        found = tuple(outcomes(questions, pipeline))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        Calibration(pipeline.setting, now, file.name, found).write(opened.path)
    rows = []
    for share in SHARES:
        least = bound(found, share)
        shown = [outcome for outcome in found if outcome.confidence > least]
        rows.append((share, len(shown), sum(outcome.is_wrong for outcome in shown)))
    if as_json:
        shares = [{"max_error": share, "answered": shown, "wrong": wrong} for share, shown, wrong in rows]
        print_json({"questions": len(found), "wrong": sum(o.is_wrong for o in found), "shares": shares})
        return
    click.echo(f"{len(found)} questions; answered whatever the confidence, {sum(o.is_wrong for o in found)} go wrong.")
    print_table(
        ("--max-error", "answered", "of them wrong"),
        [(f"{share:g}", f"{shown / len(found):.0%}", str(wrong)) for share, shown, wrong in rows],
    )


@click.command("questions")
@click.argument("file", type=click.Path(path_type=Path))
@index_option
@rerank_option
@rerank_ms_option
@json_option
def evaluate_questions_command(
    file: Path, index: str | None, rerank: str | None, rerank_ms: float, as_json: bool
) -> None:
    """Ask your own questions and see how many are answered from the right file with the right sentence.

    FILE holds one JSON object a line: {"question", "source", "quote"}, with source and quote null where the documents
    do not tell. Brackets hold 95 % intervals over questions.

    \b
    rag evaluate questions corpora/embeddings/questions.jsonl
    """
    from rag.evaluation import evaluate_questions, read_questions
    from rag.pipeline import Pipeline

    questions = read_questions(file)
    with open_index(index) as opened:
        result, each = evaluate_questions(
            questions, Pipeline(make_retriever(opened, rerank=rerank, rerank_ms=rerank_ms))
        )
    if as_json:
        print_json(result)
        return
    click.echo(f"{result['questions']} questions, {result['answerable']} of them answerable")
    _print_questions(result)
    missed = [r for r in each if r.question.source is not None and not r.said]
    missed += [r for r in each if r.question.source is None and not r.answer.abstained]
    for r in missed:
        said = "not in these documents" if r.answer.abstained else r.answer.text
        expected = (
            "nothing" if r.question.source is None else f"{r.question.source}: {r.question.quote or 'any sentence'}"
        )
        click.echo(f"\n{clean(r.question.question)}\n  expected {clean(expected)}")
        click.echo(f"  file at rank {r.file_rank}; said ({r.answer.confidence:.2f}): {clean(said)}")


def _print_questions(result: Any) -> None:
    """What each mode finds, and below it how the questions are answered, from what hybrid finds."""
    modes = result["modes"]
    names = [name for name in modes["hybrid"] if name != "intervals"]
    header = ["found [95 %]", *("plain BM25" if mode == "bm25" else mode for mode in modes)]
    print_table(header, [[name, *(_percent(values, name) for values in modes.values())] for name in names])
    click.echo()
    print_table(["answers [95 %]", "hybrid"], [[name, _percent(result, name)] for name in result["intervals"]])


def _percent(values: Any, name: str) -> str:
    """A share with its interval; a mean of reciprocal ranks is none, and stays a number."""
    value, interval = values[name], values["intervals"][name]
    if value is None:
        return ""
    if name.startswith("rr@"):
        return f"{value:.3f}" + bracketed(interval, form=".3f")
    return f"{100 * value:.1f} %" + bracketed(interval and [100 * end for end in interval], form=".0f")


@click.command("answers")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Ask N of the questions, drawn with seed 0.")
@click.option("--dump", type=click.Path(path_type=Path), metavar="FILE", help="Write what happened to each question.")
@generator_option
@entail_option
@strict_option
@click.option(
    "--judge",
    metavar="MODEL",
    help="A model as for --entail that judges the citations of what was written. Default: what checked it.",
)
@click.option("--encoder", metavar="MODEL", help="A sentence-transformers model: name or local path.")
@form_option
@json_option
def evaluate_answers_command(
    file: Path,
    limit: int | None,
    dump: Path | None,
    generator: str,
    entail: str | None,
    strict: bool,
    judge: str | None,
    encoder: str | None,
    form: str | None,
    as_json: bool,
) -> None:
    """Measure answers on a set of questions in SQuAD's format, or in CLAPNQ's (.jsonl, or a folder of them).

    All its paragraphs are indexed together and each question is asked of all of them. Brackets hold 95 % intervals
    over questions; docs/evaluate.md says what each figure is.

    \b
    rag evaluate answers dev-v1.1.json --limit 500
    rag evaluate answers clapnq --dump each.jsonl
    rag evaluate answers clapnq --limit 50 --generator openai:qwen3@http://localhost:11434/v1
    """
    from rag.answer_evaluation import evaluate_answers
    from rag.encoders import DEFAULT_ENCODER, load_encoder
    from rag.generators import EXTRACTIVE, load_generator
    from rag.pipeline import Pipeline
    from rag.qa import read_answer_set

    if judge is not None and generator == EXTRACTIVE:
        raise click.UsageError("--judge is for what a model wrote: name one with --generator")
    writer = None if generator == EXTRACTIVE else load_generator(generator)

    def pipeline_of(index: Index) -> Pipeline:
        checker = make_checker(index, entail=entail)
        return Pipeline(make_retriever(index), generator=writer or EXTRACTIVE, checker=checker, strict=strict)

    if dump is not None:
        dump.open("a", encoding="utf-8").close()  # before anything is measured that could not be kept
    result, each = evaluate_answers(
        read_answer_set(file),
        encoder=load_encoder(encoder or DEFAULT_ENCODER, form=cast(Any, form)),
        limit=limit,
        pipeline_of=pipeline_of,
        judge_of=lambda index: make_checker(index, entail=judge),
        progress=lambda line: click.echo(line, err=True),
    )
    if dump is not None:
        with dump.open("w", encoding="utf-8") as out:
            for asked in each:
                out.write(json.dumps(_asked_json(asked), ensure_ascii=False) + "\n")
    if as_json:
        print_json(result)
        return
    _print_answers(result)


def _asked_json(asked: AskedResult) -> dict[str, Any]:
    question = asked.question
    return {
        "id": question.id,
        "question": question.text,
        "source": question.source,
        "answers": list(question.answers),
        "spans": [list(span) for span in question.spans],
        "first_sentence": asked.text,
        "short_answer": asked.short,
        "is_right": list(asked.is_right),
        "in_gold": [list(of_sentence) for of_sentence in asked.in_gold],
        "abstained": asked.abstained,
        "confidence": round(asked.confidence, 4),
        "confidence_elsewhere": None if asked.elsewhere is None else round(asked.elsewhere, 4),
        "generator": asked.generator,
        "sentences_held": None if asked.verifiability is None else list(asked.verifiability.sentences),
        "citations_held": None if asked.verifiability is None else list(asked.verifiability.citations),
        "ms": asked.ms,
    }


def _print_answers(result: Any) -> None:
    click.echo(
        clean(
            f"{result['dataset']}: {result['documents']} documents, {result['questions']} questions, "
            f"{result['answerable']} of them answerable"
        )
    )
    measured = [name for name in result["intervals"] if result[name] is not None]
    print_table(["answers [95 %]", ""], [[name, _percent(result, name)] for name in measured])
    click.echo()
    words = result["mean_words_first_sentence"], result["mean_words_corpus_sentence"]
    rows = [
        ["words of the first sentence, of the corpus's", f"{words[0]}, {words[1]}"],
        ["AUROC of confidence, article there or not", f"{result['abstain_auroc']}"],
        ["AUROC of confidence, answerable or not", f"{result['unanswerable_auroc']}"],
        [
            "wrong of the most confident half",
            f"{min(result['risk_coverage'], key=lambda point: abs(point[0] - 0.5))[1]:.1%}",
        ],
        ["milliseconds, p50 and p95", f"{result['latency_ms']['p50']}, {result['latency_ms']['p95']}"],
    ]
    print_table(["besides", ""], [row for row in rows if row[1] != "None"])
