"""How sure an answer must be so that at most a given share of questions gets a wrong one.

On a person's own questions this is a bound: conformal risk control (Angelopoulos et al. 2022, arXiv:2208.02814) takes
the lowest confidence at which the share of questions with a wrong answer, one more counted as wrong, is small enough.
For further questions of the same kind the expected share is then at most that, however few the questions were. Without
such questions it is an estimate, from the public sets that the default configuration was calibrated on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rag.errors import IndexDamagedError, UsageError
from rag.files import write_whole

if TYPE_CHECKING:
    from rag.types import JsonValue

FILE = "calibration.json"  # in the index folder


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a question that was answered whatever the confidence."""

    confidence: float  # 0 to 1
    is_wrong: bool  # silence is never wrong


@dataclass(frozen=True, slots=True)
class Setting:
    """What a calibration holds for: with anything else a confidence means something else."""

    generator: str
    checker: str
    reranker: str  # empty where there is none
    strict: bool
    weights: str  # hash of what the confidence is computed with
    passages: int
    sentences: int = 4  # at most, in an answer; calibrations made before this could be chosen are of 4


@dataclass(frozen=True, slots=True)
class Calibration:
    """The outcomes of a person's own questions."""

    setting: Setting
    made_at: str  # UTC, ISO 8601
    questions: str  # name of their file
    outcomes: tuple[Outcome, ...]

    def write(self, folder: Path) -> None:
        """Keep it in the index folder, in place of the one before."""
        write_whole(folder / FILE, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> Calibration | None:
        """That of an index folder; None where there is none.

        Raises:
            IndexDamagedError: the file cannot be read.
        """
        try:
            data: dict[str, JsonValue] = json.loads((folder / FILE).read_text(encoding="utf-8"))
            return cls(
                Setting(**data["setting"]),  # type: ignore[arg-type]
                str(data["made_at"]),
                str(data["questions"]),
                tuple(Outcome(float(o["confidence"]), bool(o["is_wrong"])) for o in data["outcomes"]),  # type: ignore
            )
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as exc:
            raise IndexDamagedError(
                f"{str(folder / FILE)!r} cannot be read ({exc}): rag calibrate FILE makes it anew"
            ) from exc


def checked_error(max_error: float) -> float:
    """The same share, if it is one.

    Raises:
        UsageError: it is not between 0 and 1.
    """
    if not 0 < max_error < 1:
        raise UsageError(f"expected a share of wrong answers between 0 and 1, such as 0.05; got {max_error!r}")
    return max_error


def bound(outcomes: Sequence[Outcome], max_error: float) -> float:
    """The lowest confidence above which answers may be shown: an answer is shown where its confidence is higher.

    Of n questions, at most max_error * (n + 1) - 1 may then have a wrong answer. Infinite, for silence, where even none
    is too many: n must be at least 1 / max_error - 1.

    Args:
        outcomes: of questions like those that will be asked.
        max_error: the share of questions that may get a wrong answer, between 0 and 1.
    """
    allowed = checked_error(max_error) * (len(outcomes) + 1) - 1
    if allowed < 0:
        return math.inf
    wrong = sorted((o.confidence for o in outcomes if o.is_wrong), reverse=True)
    # With the k highest above it, k are wrong: the first one that is too many must not be above.
    n_allowed = math.floor(allowed + 1e-9)
    return wrong[n_allowed] if n_allowed < len(wrong) else -math.inf


@dataclass(frozen=True, slots=True)
class Estimate:
    """What was found on public sets: an answer is shown from a confidence on, and then so many questions go wrong."""

    confidence: float
    error: float  # share of questions that get a wrong answer


def estimated(table: Sequence[Estimate], max_error: float) -> float:
    """The lowest confidence of a table from which on the estimated error is small enough; infinite where none is."""
    checked_error(max_error)
    fitting = [row.confidence for row in table if row.error <= max_error]
    return min(fitting, default=math.inf)
