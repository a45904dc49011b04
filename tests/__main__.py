"""All checks, from a fresh clone: `python3 -m tests`. Sets up .venv as `rag.quickstart` does, then runs each in turn.

Arguments go to pytest: `python3 -m tests -k chunking`.
"""

from __future__ import annotations

import sys

from rag.quickstart import install, program, run
from tests.browser import chromium


def main() -> None:
    install("[dev]")
    python = program("python")
    run([python, "-m", "ruff", "format", "--check", "."])
    run([python, "-m", "ruff", "check", "."])
    run([python, "-m", "mypy"])
    chromium.ensure()  # without one the browser tests skip, and with CI=true they fail
    run([python, "-m", "pytest", "-q", "-rs", "-n", "2", "--dist", "loadgroup", *sys.argv[1:]])


if __name__ == "__main__":
    main()
