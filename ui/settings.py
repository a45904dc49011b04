"""What a person can choose, in words a person understands: kept by owner, and given to `Pipeline` as its arguments."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypedDict
from urllib.parse import urlsplit

from rag.calibration import Calibration, Setting, bound, estimated
from rag.errors import IndexDamagedError, RagError, UsageError
from rag.generators import EXTRACTIVE, FORMS, Generator
from rag.index import IndexStatus
from rag.pipeline import DEFAULT_MIN_CONFIDENCE, DEFAULT_PASSAGES
from ui.access import is_public
from ui.keeping import PageFile, storable

SHORT, WITH_CONTEXT = "short", "context"
ANSWER_STYLES = {SHORT: "Short", WITH_CONTEXT: "With context"}
ANSWER_STYLE_MEANINGS = {SHORT: "One or two sentences.", WITH_CONTEXT: "Up to four sentences."}
_SENTENCES = {SHORT: 2, WITH_CONTEXT: 4}

CAREFUL, BALANCED, EAGER = "careful", "balanced", "eager"
STRICTNESSES = {CAREFUL: "Careful", BALANCED: "Balanced", EAGER: "Eager"}
_CAREFUL_ERROR, _EAGER_ERROR = 0.05, 0.2  # shares of questions that get a wrong answer, as was estimated

SOURCES = range(2, 21)  # passages that can be read for an answer

GENERATOR_VARIABLE = "FOOTNOTE_GENERATOR"


class PipelineArguments(TypedDict, total=False):
    """Of `Pipeline`, beside the retriever."""

    generator: Generator | str
    passages: int
    max_sentences: int
    min_confidence: float
    max_error: float


@dataclass(frozen=True, slots=True)
class Settings:
    """One person's choices. Values that cannot work are refused where it is made."""

    answer_style: str = WITH_CONTEXT  # of ANSWER_STYLES
    sources: int = DEFAULT_PASSAGES  # of SOURCES
    strictness: str = BALANCED  # of STRICTNESSES
    generator: str = EXTRACTIVE  # as `load_generator` takes it

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            UsageError: one cannot work; it says what can.
        """
        _check_choice("answer style", self.answer_style, ANSWER_STYLES)
        _check_choice("strictness", self.strictness, STRICTNESSES)
        if isinstance(self.sources, bool) or not isinstance(self.sources, int) or self.sources not in SOURCES:
            raise UsageError(f"expected {SOURCES[0]} to {SOURCES[-1]} sources, got {self.sources!r}")
        object.__setattr__(self, "generator", checked_generator(self.generator))

    def pipeline_arguments(self, calibration: Calibration | None = None) -> PipelineArguments:
        """For `Pipeline(retriever, **settings.pipeline_arguments())`.

        Args:
            calibration: that of the index, where it was made with these settings (`calibration_for`): then careful is
                a bound, and not an estimate.
        """
        arguments = PipelineArguments(
            generator=self.generator, passages=self.sources, max_sentences=_SENTENCES[self.answer_style]
        )
        if self.strictness == CAREFUL and calibration is not None:
            return {**arguments, "max_error": _CAREFUL_ERROR}
        return {**arguments, "min_confidence": _least_confidence(self.strictness)}


@dataclass(frozen=True, slots=True)
class Host:
    """What the one who runs `rag ui` lets others choose."""

    is_public: bool = False
    generator: str | None = None  # a model that is offered to all

    @classmethod
    def of_environment(cls) -> Host:
        """As `ui.server.serve` left it."""
        return cls(is_public(), os.environ.get(GENERATOR_VARIABLE) or None)

    @property
    def defaults(self) -> Settings:
        return Settings(generator=self.generator or EXTRACTIVE)

    def allow(self, settings: Settings) -> None:
        """Refuse what a visitor must not choose: models, and above all addresses of servers, are the host's to name.

        Raises:
            UsageError: the generator is not one that is offered.
        """
        offered = {EXTRACTIVE, self.defaults.generator}
        if self.is_public and settings.generator not in offered:
            raise UsageError("which model writes is chosen by the one who runs this page: choose one that is offered")


@dataclass(frozen=True, slots=True)
class Loaded:
    """Settings as they were kept, and what of them could not be used."""

    settings: Settings
    notes: tuple[str, ...] = ()  # a sentence each


class SettingsFile:
    """The settings of all owners, in the file where their threads are."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = PageFile(path)

    def load(self, owner: str, host: Host | None = None) -> Loaded:
        """An owner's settings. What is unknown or broken becomes the default, with a note; nothing is raised.

        Args:
            owner: whose.
            host: what may be chosen; by default everything.
        """
        host = host or Host()
        try:
            with self._file.reading() as db:
                row = db and db.execute("select form from settings where owner = ?", [storable(owner)]).fetchone()
        except RagError as exc:
            return Loaded(host.defaults, (f"Your settings cannot be read: {exc}.",))
        return read_settings(row[0], host) if row else Loaded(host.defaults)

    def save(self, owner: str, settings: Settings, host: Host | None = None) -> None:
        """Keep an owner's settings in place of those before.

        Raises:
            UsageError: the host does not allow them, or the file cannot be written.
            IndexDamagedError: the file is torn.
            IndexMismatchError: it is of another program, or a newer version.
        """
        (host or Host()).allow(settings)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        with self._file.writing() as db:
            form = storable(json.dumps(asdict(settings), ensure_ascii=False))
            db.execute("insert or replace into settings values (?, ?, ?)", [storable(owner), form, now])


def read_settings(form: object, host: Host) -> Loaded:
    """Settings from their JSON, value by value; fields of another version are passed over."""
    try:
        kept = json.loads(form) if isinstance(form, str) else None
    except ValueError:
        kept = None
    if not isinstance(kept, dict):
        return Loaded(host.defaults, ("Your settings cannot be read; these are the usual ones.",))
    settings, notes = host.defaults, []
    for field in fields(Settings):
        if field.name not in kept:
            continue
        try:
            changed = replace(settings, **{field.name: kept[field.name]})
            host.allow(changed)
            settings = changed
        except RagError as exc:
            usual = field.name.replace("_", " ")
            notes.append(f"The {usual} that you chose cannot be used, and is the usual one now: {exc}.")
    return Loaded(settings, tuple(notes))


def checked_generator(name: object) -> str:
    """The name of a generator in its own form. No model is loaded, and no server asked.

    Raises:
        UsageError: it has another form, the address cannot be one, or a key would be sent in the clear.
    """
    if not isinstance(name, str) or not name.strip():
        raise UsageError(f"expected a generator in the form {FORMS}; got {name!r}")
    name = name.strip()
    kind, _, rest = name.partition(":")
    if name == EXTRACTIVE or (kind == "transformers" and rest):
        return name
    from rag.generators import load_generator

    return load_generator(name).name  # of a server: this checks its address alone


def shown_generator(name: str) -> str:
    """A generator as people call it."""
    if name == EXTRACTIVE:
        return "Quotes only"
    kind, _, rest = name.partition(":")
    if kind == "openai":
        model, _, address = rest.rpartition("@")
        return f"{model} at {address.partition('://')[2].partition('/')[0]}"
    return rest


def privacy(settings: Settings, host: Host) -> str:
    """Where questions and documents go, in a sentence."""
    if host.is_public:
        return "Your questions and files go to the computer that runs this page."
    from rag.generators.server import is_loopback

    kind, _, rest = settings.generator.partition(":")
    server = urlsplit(rest.rpartition("@")[2]).hostname if kind == "openai" else None
    if server is None or is_loopback(server):
        return "Nothing leaves this computer."
    return f"Questions, and the passages found for them, are sent to {server}."


def encoder_lines(status: IndexStatus) -> tuple[str, str]:
    """What reads the documents of an index, and why that cannot be chosen here."""
    name = status.encoder.rpartition("/")[2]
    return name, (
        f"Chosen when {status.path.name} was made: its notes on the passages mean nothing to another model. "
        "To read everything anew with another: rag reembed --encoder MODEL."
    )


# --- strictness, as it was measured


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a strictness means, measured."""

    text: str  # 'Careful: answers about 7 of 10 questions; about 1 answer in 5 is wrong.'
    basis: str  # on what that was measured


@dataclass(frozen=True, slots=True)
class _Counted:
    questions: int
    answers: float  # given to them, and to such as the documents do not answer
    wrong: float
    share: float  # of the questions that the documents answer, those that get an answer


def meaning(settings: Settings, calibration: Calibration | None = None) -> Meaning:
    """What the strictness of settings means: on a person's own questions where the index was calibrated with them.

    Args:
        settings: whose strictness is told.
        calibration: as `calibration_for` gives it.
    """
    label = STRICTNESSES[settings.strictness]
    if calibration is not None and calibration.outcomes:
        return _own_meaning(label, settings, calibration)
    counted, basis = _public_counts(settings.strictness)
    if settings.generator != EXTRACTIVE or settings.answer_style != WITH_CONTEXT:
        basis += " That was with quotes only and answers of up to four sentences."
    return Meaning(f"{label}: {_answers(counted)} that the documents answer; {_wrong(counted)}.", basis)


def calibration_for(settings: Settings, index: Path) -> Calibration | None:
    """The calibration of an index folder, if it was made with these settings; None where there is none that counts."""
    from rag.generators.extractive import default_weights

    try:
        found = Calibration.read(index)
    except IndexDamagedError:  # rag doctor and the pipeline tell of it
        return None
    wanted = Setting(
        generator=settings.generator,
        checker="bundled",
        reranker="",
        strict=False,
        weights=default_weights().sha256,
        passages=settings.sources,
        sentences=_SENTENCES[settings.answer_style],
    )
    return found if found and found.setting == wanted else None


def _own_meaning(label: str, settings: Settings, calibration: Calibration) -> Meaning:
    outcomes = calibration.outcomes
    day = datetime.fromisoformat(calibration.made_at).astimezone()
    basis = f"Measured on {_counted(len(outcomes), 'question')} of your own, on {day.day} {day:%B %Y}."
    if settings.strictness == CAREFUL:
        least = bound(outcomes, _CAREFUL_ERROR)
        needed = round(1 / _CAREFUL_ERROR) - 1
        if len(outcomes) < needed:
            return Meaning(f"{label}: answers no question yet.", f"{basis} It needs {needed} to be sure.")
        shown = [outcome for outcome in outcomes if outcome.confidence > least]
    else:
        shown = [outcome for outcome in outcomes if outcome.confidence >= _least_confidence(settings.strictness)]
    wrong = sum(outcome.is_wrong for outcome in shown)
    counted = _Counted(len(outcomes), len(shown), wrong, len(shown) / len(outcomes))
    return Meaning(f"{label}: {_answers(counted)}; {_wrong(counted)}.", basis)


def _answers(counted: _Counted) -> str:
    tenths = round(10 * counted.share)
    if counted.share == 1:
        return "answers every question"
    if tenths == 10:
        return "answers nearly every question"
    return f"answers about {tenths} of 10 questions" if tenths else "answers hardly any question"


def _wrong(counted: _Counted) -> str:
    if not counted.wrong:
        return "no answer was wrong"
    if counted.answers / counted.wrong < 1.5:
        return "most answers are wrong"
    return f"about 1 answer in {round(counted.answers / counted.wrong)} is wrong"


@cache
def _public_counts(strictness: str) -> tuple[_Counted, str]:
    """What was published, and on what it was measured: benchmarks/dial.py makes the file of the measurements.

    Of three questions one is taken to be asked of documents that do not answer it, as where the weights were fitted.
    """
    made = json.loads(Path(__file__).with_name("dial.json").read_text(encoding="utf-8"))
    rows = made["levels"][strictness]

    def total(name: str) -> int:
        return sum(row[name] for row in rows)

    elsewhere = total("answered_elsewhere") / 2
    answers, wrong = total("answered") + elsewhere, total("wrong") + elsewhere
    counted = _Counted(total("questions"), answers, wrong, total("answered") / total("questions"))
    silent = round(10 * (1 - total("seeming_answered") / total("seeming")))
    basis = (
        f"Measured on {total('questions'):,} public questions, asked of documents that answer them, and half as often "
        "of documents that do not. Where a passage only seems to answer, that is noticed in about "
        f"{silent} of 10 cases."
    )
    return counted, basis


def _least_confidence(strictness: str) -> float:
    """From which on an answer is given, where nothing was calibrated."""
    from rag.generators.extractive import default_weights

    if strictness == BALANCED:
        return DEFAULT_MIN_CONFIDENCE
    return estimated(default_weights().estimates, _CAREFUL_ERROR if strictness == CAREFUL else _EAGER_ERROR)


def _check_choice(what: str, value: Any, choices: Mapping[str, str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise UsageError(f"expected the {what} to be one of {', '.join(choices)}; got {value!r}")


def _counted(n: int, noun: str) -> str:
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"
