"""Filters to choose from: folder, type, date and metadata of the documents, each choice with its count.

Every choice is a condition of `rag.filters`, and it is the condition that searches: a choice that no condition can say
exactly is not offered. The counts are made here, from what the index tells of its documents.
"""

from __future__ import annotations

import posixpath
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from rag.errors import UsageError
from rag.filters import parse_where
from rag.store import DocumentFacts
from rag.types import JsonValue

MAX_CHOICES = 200  # of one facet
MAX_METADATA = 6  # facets of metadata
_MAX_VALUES = 60  # a field with more distinct values is no filter to choose from
_MAX_VALUE = 80  # characters
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


class Facets:
    """The filters of one index, as it is at one change."""

    def __init__(self, facts: Sequence[DocumentFacts], *, now: datetime) -> None:
        """Read what filters there are.

        Args:
            facts: of all documents.
            now: for 'past week'; of the zone in which dates are told, as `rag.filters` takes local time.
        """
        self._recent = {days: (now - timedelta(days=days)).date().isoformat() for days in _RECENT}
        self._since = {day: _nanoseconds(day) for day in self._recent.values()}
        documents = [dict(self._pairs(fact)) for fact in facts]
        self._labels: dict[str, dict[str, str]] = {}  # facet name → condition → label
        self._holds: list[dict[str, set[str]]] = []  # of each document: facet name → its conditions
        fields = _offered_fields(documents)
        accepted: dict[str, bool] = {}
        for document in documents:
            held: dict[str, set[str]] = {}
            for (name, condition), label in document.items():
                if name.startswith("meta.") and name not in fields:
                    continue
                if condition not in accepted:
                    accepted[condition] = _is_condition(condition)
                if accepted[condition]:
                    self._labels.setdefault(name, {})[condition] = label
                    held.setdefault(name, set()).add(condition)
            self._holds.append(held)

    def offer(self, chosen: Mapping[str, str]) -> list[Facet]:
        """The filters with their choices, counted among the documents that meet what is chosen of the others.

        Args:
            chosen: condition by facet name; a name or condition that is not offered here counts for nothing.
        """
        known = {name: condition for name, condition in chosen.items() if condition in self._labels.get(name, {})}
        facets = []
        for name, labels in self._labels.items():
            others = [(n, condition) for n, condition in known.items() if n != name]
            counts: Counter[str] = Counter()
            for held in self._holds:
                if all(condition in held.get(n, ()) for n, condition in others):
                    counts.update(held.get(name, ()))
            choices = [
                Choice(c, label, counts[c], _depth(name, label), known.get(name) == c)
                for c, label in labels.items()
                if counts[c] or known.get(name) == c
            ]
            if len(labels) > 1 or name in known:
                facets.append(Facet(name, _label(name), tuple(self._ordered(name, choices))))
        return sorted(facets, key=lambda facet: _place(facet.name))

    def known(self, chosen: Mapping[str, str]) -> dict[str, str]:
        """Those of the choices that are offered here."""
        return {name: condition for name, condition in chosen.items() if condition in self._labels.get(name, {})}

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
        folder = posixpath.dirname(_file_part(fact))
        while folder.strip("/"):
            if folder == folder.lstrip() and not f"{folder}/".startswith(
                "./"
            ):  # which a condition takes as if not there
                yield ("folder", f"path={_escaped(folder)}/**"), folder
            folder = posixpath.dirname(folder)
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


def _offered_fields(documents: Sequence[Mapping[tuple[str, str], str]]) -> set[str]:
    """The fields of the metadata that tell documents apart by a few values: those that most documents have."""
    values: dict[str, set[str]] = {}
    n_documents: Counter[str] = Counter()
    for document in documents:
        names = {name for name, _ in document if name.startswith("meta.")}
        n_documents.update(names)
        for name, condition in document:
            if name in names:
                values.setdefault(name, set()).add(condition)
    few = [name for name, found in values.items() if 1 < len(found) <= _MAX_VALUES and len(found) < n_documents[name]]
    return set(sorted(few, key=lambda name: (-n_documents[name], name))[:MAX_METADATA])


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
