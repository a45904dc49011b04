"""The command line: parse, call one library function, render. Data goes to stdout, progress and warnings to stderr.

What a command needs of the library is imported inside it, so that `rag --help` loads neither NumPy nor FAISS.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from rag.cli.asking import ask, chat, search, ui
from rag.cli.evaluating import evaluate
from rag.cli.evaluating_answers import calibrate, evaluate_answers_command, evaluate_questions_command
from rag.cli.indexing import delete, ingest, list_documents, remove, rename, show, status
from rag.cli.maintaining import doctor, reembed, watch
from rag.cli.saving import replay
from rag.errors import RagError

__all__ = ["main"]


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


COMMANDS = (
    ingest, watch, search, ask, chat, replay, show, list_documents, status, remove, rename, doctor, reembed, delete, ui,
    calibrate, evaluate,
)  # fmt: skip
for command in (evaluate_questions_command, evaluate_answers_command):
    evaluate.add_command(command)
for command in COMMANDS:
    main.add_command(command)
