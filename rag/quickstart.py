"""From a fresh clone to a cited answer: `python3 -m rag.quickstart`. Needs Python 3.11 or later and nothing else.

Makes a virtual environment in .venv, installs the pinned packages into it, reads the sample corpus and asks it a
question. Only the standard library is imported here, for nothing else is there yet.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = ROOT / ".venv"
_BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
_QUESTION = "Why is the dot product enough when vectors have unit length?"


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def run(command: Sequence[str | Path]) -> None:
    """Run a step and show it; a step that fails ends all, with its exit code."""
    words = [str(word) for word in command]
    shown = [os.path.relpath(word, ROOT) if word.startswith(str(ROOT)) else word for word in words]
    say(f"\n$ {' '.join(repr(word) if ' ' in word else word for word in shown)}")
    code = subprocess.run(words, cwd=ROOT, check=False).returncode
    if code:
        say(f"This step failed with exit code {code}; the lines above say why.")
        sys.exit(code)


def install(extra: str = "") -> None:
    """Make .venv if it is not there and install this folder into it, with the versions of constraints.txt."""
    if sys.version_info < (3, 11):  # noqa: UP036 - said here, before pip says it less clearly
        sys.exit(f"Footnote needs Python 3.11 or later; this is {sys.version.split()[0]}. Run it as python3.11 -m …")
    if not (_BIN / tool("python")).exists():
        say(f"Making a virtual environment in {ENVIRONMENT.name} …")
        venv.create(ENVIRONMENT, with_pip=True, clear=ENVIRONMENT.exists())
    say("Installing the packages (the first time takes a few minutes) …")
    pip: list[str | Path] = [_BIN / tool("python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run([*pip, "--constraint", "constraints.txt", "--editable", f".{extra}"])


def tool(name: str) -> str:
    return f"{name}.exe" if os.name == "nt" else name


def program(name: str) -> Path:
    """An installed program of the virtual environment."""
    return _BIN / tool(name)


def main() -> None:
    install()
    run([program("rag"), "ingest", "corpora/embeddings", "--index", "embeddings"])
    run([program("rag"), "ask", _QUESTION, "--index", "embeddings"])
    rag = os.path.relpath(program("rag"), ROOT)
    say(f'\nAsk more:       {rag} ask "…" --index embeddings')
    say(f"Your own files: {rag} ingest ~/Documents --index mine")
    say(f"The web page:   {rag} ui")


if __name__ == "__main__":
    main()
