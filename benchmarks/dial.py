"""What the page says of each strictness, from the published measurements: `python -m benchmarks.dial` writes it anew.

The page must not read benchmarks/, which is not installed with it, so what it needs of them is kept in ui/dial.json.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

RESULT = Path(__file__).with_name("results") / "answers.json"
DIAL = Path(__file__).parents[1] / "ui" / "dial.json"


def dial(result: dict[str, Any]) -> dict[str, Any]:
    """The counts of `benchmarks.answers.strictness`, by strictness and set.

    Args:
        result: benchmarks/results/answers.json.
    """
    return {
        "made_by": "python -m benchmarks.dial",
        "measured_on": result["date"],
        "levels": {
            level: [{"set": name, **of["footnote"]["strictness"][level]} for name, of in result["sets"].items()]
            for level in ("careful", "balanced", "eager")
        },
    }


def main() -> None:
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    made = dial(json.loads(RESULT.read_text(encoding="utf-8")))
    DIAL.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
