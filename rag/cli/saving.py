"""The command that shows saved answers again, and what became of their sources."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

import click

from rag.cli.options import index_option, json_option, open_index
from rag.cli.rendering import AnswerPrinter, answer_json, clean, print_json

if TYPE_CHECKING:
    from rag.saved import QuoteNow, Replay, SavedAnswer, SourceNow
    from rag.types import JsonValue

_QUESTION_SHOWN = 60  # characters of it, in a list


@click.command()
@click.argument("answer", metavar="[ID]", type=int, required=False)
@index_option
@click.option("--delete", is_flag=True, help="Delete the answer for good instead.")
@json_option
def replay(answer: int | None, index: str | None, delete: bool, as_json: bool) -> None:
    """Show a saved answer again, and which of its sources changed since; without ID, list them all.

    \b
    rag ask "Who published word2vec?" --save
    rag replay 1
    rag replay 1 --delete
    """
    if delete and answer is None:
        raise click.UsageError("Name the answer to delete: rag replay ID --delete")
    with open_index(index) as opened:
        from rag.saved import SavedAnswers, replay_all

        answers = SavedAnswers(opened.path)
        if answer is None:
            _print_list(replay_all(answers.list(), opened), as_json=as_json)
        elif delete:
            answers.delete(answer)
            print_json({"deleted": answer}) if as_json else click.echo(f"Deleted saved answer {answer}.")
        else:
            [replayed] = replay_all([answers.load(answer)], opened)
            print_json(replay_json(replayed)) if as_json else _print_replay(replayed)


def replay_json(replayed: Replay) -> dict[str, JsonValue]:
    """A saved answer, held against the documents, in the form of `rag replay ID --json`."""
    return {
        "id": replayed.saved.id,
        "saved_at": replayed.saved.saved_at,
        "answer": {name: value for name, value in answer_json(replayed.answer).items() if name != "nearest"},
        "holds": replayed.holds,
        "index_changed": replayed.index_changed,
        "sources": [
            {
                "source": source.source,
                "state": source.state,
                "quotes": [
                    {"marker": q.marker, "state": q.state, "start": q.start, "end": q.end} for q in source.quotes
                ],
            }
            for source in replayed.sources
        ],
    }


def _print_list(replays: Sequence[Replay], *, as_json: bool) -> None:
    for replayed in replays:
        saved = replayed.saved
        question = saved.answer.question
        if as_json:
            print_json(
                {
                    "id": saved.id,
                    "saved_at": saved.saved_at,
                    "question": question,
                    "abstained": saved.answer.abstained,
                    "holds": replayed.holds,
                    "index_changed": replayed.index_changed,
                }
            )
            continue
        shown = question if len(question) <= _QUESTION_SHOWN else f"{question[: _QUESTION_SHOWN - 1]}…"
        state = "as it was" if replayed.holds else "changed"
        click.echo(f"{saved.id:>4}  {_time(saved)}  {state:<9}  {clean(shown)}")
    if not replays and not as_json:
        click.echo("No answers are saved yet: rag ask QUESTION --save keeps one.", err=True)


def _print_replay(replayed: Replay) -> None:
    from rag.pipeline import Part

    saved, answer = replayed.saved, replayed.answer
    click.echo(click.style(clean(answer.question), bold=True))
    if answer.rewritten:
        click.echo(click.style(f"({clean(answer.rewritten)})", dim=True))
    click.echo(click.style(f"(saved on {_time(saved)}, by {clean(answer.generator)})", dim=True))
    if answer.abstained and not answer.near_miss:
        click.echo(click.style(answer.text, bold=True))
        if saved.nearest:
            click.echo("\nThese passages came nearest:")
        for near in saved.nearest[:3]:
            click.echo(f"  {clean(near.source)} · characters {near.start} to {near.end}")
    else:
        printer = AnswerPrinter(answer.question)
        for sentence in answer.sentences:
            printer.add(Part(sentence, ()))
        printer.end(answer)
    click.echo()
    for line in _verdict(replayed):
        click.echo(line)


def _verdict(replayed: Replay) -> Iterator[str]:
    """What became of the sources, a line each where they are not as they were."""
    cited = [source for source in replayed.sources if source.quotes]
    touched = [s for s in cited if s.state != "unchanged" or any(q.state != "stands" for q in s.quotes)]
    if replayed.answer.abstained:
        changed = "The index has changed since: ask again, it may tell now."
        yield changed if replayed.index_changed else "Nothing in the index has changed since."
    elif not touched:
        few = ["It cites no source.", "Its one source is as it was."]
        yield few[len(cited)] if len(cited) < len(few) else f"All {len(cited)} sources are as they were."
    for source in touched:
        yield _became(source)
    read = [clean(s.source) for s in replayed.sources if not s.quotes and s.state != "unchanged"]
    if read and not replayed.answer.abstained:
        yield f"Read but not cited, and changed or gone since: {', '.join(read)}."


def _became(source: SourceNow) -> str:
    """One cited source that is not as it was, in a line."""
    name, markers = clean(source.source), "".join(f"[{quote.marker}]" for quote in source.quotes)
    if source.state == "removed":
        return f"{name} is not in the index any more, and {markers} with it."
    return f"{name} has changed: {', '.join(map(_quote_became, source.quotes))}."


def _quote_became(quote: QuoteNow) -> str:
    became = {
        "stands": "stands where it did",
        "moved": f"now stands at characters {quote.start} to {quote.end}",
        "gone": "is gone",
    }
    return f"[{quote.marker}] {became[quote.state]}"


def _time(saved: SavedAnswer) -> str:
    return f"{datetime.fromisoformat(saved.saved_at).astimezone():%Y-%m-%d %H:%M}"
