"""Filters to choose from: folder, type, date and metadata of the documents, each choice with its count.

Every choice is a condition of `rag.filters`, and it is the condition that searches: a choice that no condition can say
exactly is not offered. The counts are made here, from what the index tells of its documents: of each facet it is kept
which document meets which condition, as two columns of numbers, so that counting is one pass over them.
"""

from __future__ import annotations

import posixpath
import re
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from rag.errors import UsageError
from rag.filters import parse_where
from rag.store import DocumentFacts
from rag.types import JsonValue

MAX_CHOICES = 200  # of one facet
MAX_METADATA = 6  # facets of metadata
_MAX_VALUES = 60  # a field with more distinct values is no filter to choose from
_MAX_VALUE = 80  # characters
_OFFERS_KEPT = 64  # of the latest choices
_SUFFIX = re.compile(r"[^/]\.(\w[\w+-]*)\Z")
_PLAIN_FIELD = re.compile(r"[\w $@:/+-]+", re.ASCII)
_RECENT = {7: "Past week", 31: "Past month", 366: "Past year"}


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a facet."""

    condition: str  # as `rag.filters.parse_where` reads it
    label: str
    count: int  # of the documents that meet it and what was chosen of the other facets
    depth: int = 0  # of a folder, how many are above it
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Facet:
    """A filter: of its choices one may be chosen."""

    name: str  # 'type', 'folder', 'date' or a field of the metadata behind 'meta.'
    label: str
    choices: tuple[Choice, ...]

    @property
    def chosen(self) -> Choice | None:
        return next((choice for choice in self.choices if choice.chosen), None)


class _Met:
    """Which document meets which condition of one facet."""

    def __init__(self) -> None:
        self.labels: dict[str, str] = {}  # by condition, in the order in which they came
        self.n_documents = 0
        self.is_given_up = False  # a field with too many values: nothing of it is kept
        self._codes: dict[str, int] = {}  # of each condition, from 0
        self._rows, self._met = array("i"), array("i")

    def add(self, row: int, condition: str, label: str) -> None:
        """Note that a document meets a condition; documents come in order, and each condition once for one."""
        if self.is_given_up:
            return
        if not self._rows or self._rows[-1] != row:
            self.n_documents += 1
        self.labels[condition] = label
        self._rows.append(row)
        self._met.append(self._codes.setdefault(condition, len(self._codes)))

    def give_up(self) -> None:
        self.is_given_up = True
        self.labels, self._codes, self._rows, self._met = {}, {}, array("i"), array("i")

    def incidence(self) -> _Incidence:
        """What was noted, without what is no condition."""
        accepted = [condition for condition in self.labels if _is_condition(condition)]
        new = np.full(len(self.labels), -1, dtype=np.int32)
        new[[self._codes[condition] for condition in accepted]] = np.arange(len(accepted), dtype=np.int32)
        rows, codes = np.array(self._rows, dtype=np.int32), new[np.array(self._met, dtype=np.int32)]
        return _Incidence({c: self.labels[c] for c in accepted}, rows[codes >= 0], codes[codes >= 0])


@dataclass(frozen=True, slots=True)
class _Incidence:
    """The conditions of one facet and the documents that meet them: document rows[i] meets condition codes[i]."""

    labels: Mapping[str, str]  # by condition; the position of a condition is its code
    rows: NDArray[np.int32]  # ascending
    codes: NDArray[np.int32]

    def meets(self, condition: str, n_documents: int) -> NDArray[np.bool_]:
        """Of each document, whether it meets a condition."""
        met = np.zeros(n_documents, dtype=np.bool_)
        met[self.rows[self.codes == list(self.labels).index(condition)]] = True
        return met

    def counts(self, among: NDArray[np.bool_] | None) -> dict[str, int]:
        """How many documents meet each condition, of all or of some."""
        codes = self.codes if among is None else self.codes[among[self.rows]]
        return dict(zip(self.labels, np.bincount(codes, minlength=len(self.labels)).tolist(), strict=True))


class Facets:
    """The filters of one index, as it is at one change. Safe to use from several threads."""

    def __init__(self, facts: Sequence[DocumentFacts], *, now: datetime) -> None:
        """Read what filters there are.

        Args:
            facts: of all documents.
            now: for 'past week'; of the zone in which dates are told, as `rag.filters` takes local time.
        """
        self._recent = {days: (now - timedelta(days=days)).date().isoformat() for days in _RECENT}
        self._since = {day: _nanoseconds(day) for day in self._recent.values()}
        self._folders: dict[str, tuple[tuple[str, str], ...]] = {}  # the conditions of each, and of those above it
        self._n_documents = len(facts)
        met: dict[str, _Met] = {}
        for row, fact in enumerate(facts):
            for (name, condition), label in dict(self._pairs(fact)).items():
                if (facet := met.get(name)) is None:
                    facet = met[name] = _Met()
                facet.add(row, condition, label)
                if name.startswith("meta.") and len(facet.labels) > _MAX_VALUES:
                    facet.give_up()
        fields = _offered_fields(met)
        offered = {name: facet for name, facet in met.items() if not name.startswith("meta.") or name in fields}
        found = {name: facet.incidence() for name, facet in offered.items()}
        self._facets = {name: facet for name, facet in found.items() if facet.labels}
        self._offers: dict[frozenset[tuple[str, str]], tuple[Facet, ...]] = {}  # by what was chosen

    def offer(self, chosen: Mapping[str, str]) -> Sequence[Facet]:
        """The filters with their choices, counted among the documents that meet what is chosen of the others.

        Args:
            chosen: condition by facet name; a name or condition that is not offered here counts for nothing.
        """
        known = self.known(chosen)
        key = frozenset(known.items())
        if (offer := self._offers.get(key)) is None:
            offer = self._counted(known)
            if len(self._offers) >= _OFFERS_KEPT:
                self._offers = {}
            self._offers[key] = offer
        return offer

    def _counted(self, known: Mapping[str, str]) -> tuple[Facet, ...]:
        meeting = {name: self._facets[name].meets(condition, self._n_documents) for name, condition in known.items()}
        facets = []
        for name, facet in self._facets.items():
            others = [met for n, met in meeting.items() if n != name]
            counts = facet.counts(np.logical_and.reduce(others) if others else None)
            choices = [
                Choice(c, label, counts[c], _depth(name, label), known.get(name) == c)
                for c, label in facet.labels.items()
                if counts[c] or known.get(name) == c
            ]
            if len(facet.labels) > 1 or name in known:
                facets.append(Facet(name, _label(name), tuple(self._ordered(name, choices))))
        return tuple(sorted(facets, key=lambda facet: _place(facet.name)))

    def known(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Those of the choices that are offered here."""
        return {
            name: condition
            for name, condition in chosen.items()
            if name in self._facets and condition in self._facets[name].labels
        }

    def named(self, conditions: Iterable[str]) -> dict[str, str]:
        """Those of some conditions that are offered here, by the names of their facets; of one facet, the last."""
        names = {c: name for name, facet in self._facets.items() for c in facet.labels}
        return {names[condition]: condition for condition in conditions if condition in names}

    def _ordered(self, name: str, choices: list[Choice]) -> list[Choice]:
        if name == "folder":
            choices.sort(key=lambda choice: choice.label.split("/"))
        elif name == "date":
            recent = list(_RECENT.values())
            choices.sort(key=lambda c: (0, recent.index(c.label)) if c.label in recent else (1, -int(c.label)))
        else:
            choices.sort(key=lambda choice: (-choice.count, choice.label.casefold()))
        kept = choices[:MAX_CHOICES]
        return kept + [choice for choice in choices[MAX_CHOICES:] if choice.chosen]

    def _pairs(self, fact: DocumentFacts) -> Iterator[tuple[tuple[str, str], str]]:
        """((facet name, condition), label) of everything a document can be filtered by."""
        names = [fact.relpath] if fact.relpath else [fact.source.split("#", 1)[0], fact.source]
        for suffix in filter(None, map(_SUFFIX.search, names)):
            yield ("type", f"type={suffix[1].lower()}"), suffix[1].lower()
        if not any(map(_has_suffix, names)):
            yield ("type", "type="), "no suffix"
        for condition, folder in self._folders_from(posixpath.dirname(_file_part(fact))):
            yield ("folder", condition), folder
        if fact.mtime_ns is not None:
            year = datetime.fromtimestamp(fact.mtime_ns / 1e9).year
            yield ("date", f"modified={year:04}"), str(year)
            for days, label in _RECENT.items():
                if fact.mtime_ns >= self._since[self._recent[days]]:
                    yield ("date", f"modified>={self._recent[days]}"), label
        for key, values in fact.metadata.items():
            if _PLAIN_FIELD.fullmatch(key) and "." not in key:
                for value in values if isinstance(values, list) else [values]:
                    if said := _said(value):
                        yield (f"meta.{key}", f"meta.{key}={said[0]}"), said[1]

    def _folders_from(self, folder: str) -> tuple[tuple[str, str], ...]:
        """(condition, label) of a folder and of those above it."""
        if (known := self._folders.get(folder)) is not None:
            return known
        found = []
        above = folder
        while above.strip("/"):
            if above == above.lstrip() and not f"{above}/".startswith("./"):  # which a condition takes as if not there
                found.append((f"path={_escaped(above)}/**", above))
            above = posixpath.dirname(above)
        self._folders[folder] = tuple(found)
        return self._folders[folder]


def _has_suffix(path: str) -> bool:
    return "." in posixpath.basename(path)[1:] and not path.endswith(".")


def _file_part(fact: DocumentFacts) -> str:
    """The source without what stands behind the file's name in it."""
    if fact.relpath is None:
        return fact.source.split("#", 1)[0]
    end = fact.source.rfind(fact.relpath)
    return fact.source[: end + len(fact.relpath)] if end >= 0 else fact.source


def _said(value: JsonValue) -> tuple[str, str] | None:
    """How a condition says a value of the metadata, and how people read it; None for what is not offered."""
    if isinstance(value, bool):
        return str(value).lower(), "yes" if value else "no"
    if isinstance(value, int):
        return str(value), str(value)
    if isinstance(value, str) and 0 < len(value) <= _MAX_VALUE and value == value.strip():
        return f'"{value}"', value
    return None


def _offered_fields(met: Mapping[str, _Met]) -> set[str]:
    """The fields of the metadata that tell documents apart by a few values: those that most documents have."""
    fields = {name: facet for name, facet in met.items() if name.startswith("meta.") and not facet.is_given_up}
    few = [name for name, facet in fields.items() if 1 < len(facet.labels) < facet.n_documents]
    return set(sorted(few, key=lambda name: (-fields[name].n_documents, name))[:MAX_METADATA])


def _is_condition(expression: str) -> bool:
    try:
        parse_where(expression)
    except UsageError:
        return False
    return True


def _escaped(folder: str) -> str:
    return re.sub(r"[*?\[]", r"[\g<0>]", folder)


def _nanoseconds(day: str) -> int:
    return int(datetime.fromisoformat(day).astimezone().timestamp()) * 10**9


def _label(name: str) -> str:
    if name in ("folder", "type", "date"):
        return name.capitalize()
    words = name.removeprefix("meta.").replace("_", " ")
    return words[:1].upper() + words[1:]


def _depth(name: str, label: str) -> int:
    return label.count("/") if name == "folder" else 0


def _place(name: str) -> tuple[int, str]:
    order = ["folder", "type", "date"]
    return (order.index(name), "") if name in order else (len(order), name)
