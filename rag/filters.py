"""The language of `--where`: `FIELD OP VALUE`, read into SQL over the documents of an index.

Nothing of an expression ever stands in the SQL itself, only in its arguments, and no row calls back into Python.
Needs SQLite 3.37 with its JSON functions; every form takes about a microsecond a document, dotted fields five.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from rag.errors import UsageError

Argument = str | int

_OPERATORS = "= != < <= > >= ~"
_EXPRESSION = re.compile(r"([^=!<>~]*?)\s*(!=|<=|>=|=|<|>|~)\s*(.*)", re.DOTALL)
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)([T ](?P<hour>\d\d):(?P<minute>\d\d)"
    r"(:(?P<second>\d\d)(\.(?P<fraction>\d{1,9}))?)?(?P<zone>Z|[+-]\d\d:?\d\d)?)?)?)?",
    re.ASCII,
)
_UNBINDABLE = re.compile("[\x00\ud800-\udfff]")
_MAX_CHARACTERS = 1000  # of an expression: as a GLOB pattern it stays far below SQLite's limit of 50 000 bytes
_MAX_EXPRESSIONS = 64
_MAX_PARTS = 32  # of a glob: each is one bit of SQLite's integers
_MAX_PATH = 4096  # characters of a source that '**' looks through: no file system has a longer path
_FIRST_YEAR, _LAST_YEAR = 1678, 2261  # of the times that 64 bits of nanoseconds can tell


@dataclass(frozen=True, slots=True)
class Condition:
    """One expression, understood: what it says in SQL over `documents d left join files f on f.id = d.file_id`."""

    expression: str  # as it was typed
    clause: str  # 1, 0, or null where it cannot be told; in parentheses
    arguments: tuple[Argument, ...]  # of the clause's '?', in order
    negated: bool = False  # for '!=', which is true wherever '=' is not


@dataclass(frozen=True, slots=True)
class Where:
    """Conditions that a document must all meet; without any, every document does."""

    conditions: tuple[Condition, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.conditions)

    def __str__(self) -> str:
        return " and ".join(condition.expression for condition in self.conditions)

    def sql(self) -> tuple[str, list[Argument]]:
        """A condition for a `where` over `documents d left join files f on f.id = d.file_id`, and its arguments."""
        tests = [f"{c.clause} is not true" if c.negated else c.clause for c in self.conditions]
        return f"({' and '.join(tests) or '1'})", [argument for c in self.conditions for argument in c.arguments]


def parse_where(expressions: Sequence[str] | str | Where) -> Where:
    """What a document must be like, as `["type=pdf", "modified>=2026-03"]`; docs/search.md has the language.

    Raises:
        UsageError: an expression that is none, or asks its field for what it cannot tell.
    """
    if isinstance(expressions, Where):
        return expressions
    if isinstance(expressions, str):
        expressions = [expressions]
    if len(expressions) > _MAX_EXPRESSIONS:
        raise UsageError(f"expected at most {_MAX_EXPRESSIONS} conditions, got {len(expressions)}: leave some out")
    return Where(tuple(_condition(expression) for expression in expressions))


class _Sql(NamedTuple):
    clause: str
    arguments: tuple[Argument, ...] = ()


class _Parsed(NamedTuple):
    expression: str
    field: str
    op: str  # never '!=': that is '=', negated
    value: str
    quoted: bool  # the value stood in quotes, and is taken as it is


def _any(*tests: _Sql) -> _Sql:
    return _joined(" or ", tests)


def _all(*tests: _Sql) -> _Sql:
    return _joined(" and ", tests)


def _joined(word: str, tests: Sequence[_Sql]) -> _Sql:
    clause = f"({word.join(test.clause for test in tests)})"
    return _Sql(clause, tuple(argument for test in tests for argument in test.arguments))


def _condition(expression: str) -> Condition:
    match = _EXPRESSION.fullmatch(expression.strip()[: _MAX_CHARACTERS + 1])
    if not match or not match[1]:
        raise UsageError(
            f"expected FIELD OP VALUE, such as type=pdf or 'year>=2020', where OP is one of {_OPERATORS};"
            f" got {expression[:100]!r}"
        )
    field, op, value = match.groups()
    if len(expression) > _MAX_CHARACTERS:
        raise UsageError(
            f"expected a condition of at most {_MAX_CHARACTERS} characters, got {len(expression)} for {field[:100]!r}:"
            " look for a part of it with ~"
        )
    if _UNBINDABLE.search(expression):
        raise UsageError(f"expected a condition of whole characters, got {expression!r}: type it again")
    if value[:1] in ("=", "<", ">", "~"):
        raise UsageError(
            f"expected one of {_OPERATORS} after {field!r}, got {op + value[:1]!r}:"
            f' write {field}=VALUE, or quote a value that begins so: {field}{op}"{value[:1]}..."'
        )
    quoted = len(value) >= 2 and value[0] == value[-1] and value[0] in "\"'"
    value = value[1:-1] if quoted else value
    if not value and not quoted and op not in ("=", "!="):
        raise UsageError(f"expected a value after {field + op!r}, such as {field}{op}2020")
    parsed = _Parsed(expression.strip(), field, "=" if op == "!=" else op, value, quoted)
    sql = _FIELDS.get(field, _metadata)(parsed)
    return Condition(parsed.expression, f"({sql.clause})", sql.arguments, negated=op == "!=")


# --- path and type

# The part of a source that names the file, where the source holds a '#'. It is known where there is a file: its path,
# after the folder's name if another folder has the same path. Otherwise what stands before the first '#' is taken.
_FILE = (
    "case when f.relpath is null then substr(d.source, 1, instr(d.source, '#') - 1)"
    " else substr(d.source, 1, length(f.relpath) +"
    " iif(substr(d.source || '#', 1, length(f.relpath) + 1) = f.relpath || '#', 0, instr(d.source, '/'))) end"
)


def _path(parsed: _Parsed) -> _Sql:
    """The whole source or the file's part of it, by a glob; any part of the source for '~'."""
    if parsed.op == "~":
        return _contains("d.source", parsed.value)
    if parsed.op != "=" or not parsed.value:
        raise UsageError(
            f"expected a glob after path= or path!=, or a part of the path after path~, got {parsed.expression!r}:"
            " write path=reports/** or path=*.pdf"
        )
    parts = [_Part(_escaped(parsed.value), parsed.value)] if parsed.quoted else _parts(parsed)
    whole = _matches("d.source", parts)
    if _is_folder(parts):  # the source begins as its file's part does, and this alone finds it through its index
        return whole
    return _any(whole, _all(_Sql("instr(d.source, '#') > 0"), _matches(f"({_FILE})", parts)))


class _Part(NamedTuple):
    """What a glob says of one folder, or of the file."""

    glob: str  # as SQLite's GLOB takes it; only '*' also matches '/' there
    literal: str | None = None  # the only text that it matches, if there is one

    @property
    def stars(self) -> int:
        return self.glob.replace("[*]", "").count("*")


_ANY_DEPTH = _Part("**")


def _parts(parsed: _Parsed) -> list[_Part]:
    """The parts of a glob: one without '/' is for the file's name at any depth, as in .gitignore."""
    glob = parsed.value + "**" * parsed.value.endswith("/")
    names = glob.removeprefix("./").split("/") if "/" in glob else ["**", glob]
    parts: list[_Part] = []
    for name in names:
        part = _ANY_DEPTH if name == "**" else _part(name, parsed)
        if part is not _ANY_DEPTH or parts[-1:] != [_ANY_DEPTH]:
            parts.append(part)
    if len(parts) > _MAX_PARTS:
        raise UsageError(f"expected a glob of at most {_MAX_PARTS} parts, got {len(parts)}: put ** in place of some")
    return parts


def _part(name: str, parsed: _Parsed) -> _Part:
    if "**" in name:
        raise UsageError(
            f"expected ** to stand for whole folders, as in reports/**/*.pdf, got {parsed.expression!r}:"
            " within a name, write *"
        )
    glob, literal, at = "", True, 0
    while at < len(name):
        body = re.match(r"\[([!^]?)(\]?[^\]]*)\]", name[at:])
        if body and body[2]:
            glob += _character_class(body[2], negated=bool(body[1]), parsed=parsed)
            at += body.end()
            literal = False
            continue
        glob += {"*": "*", "?": "[^/]"}.get(name[at]) or _escaped(name[at])
        literal = literal and name[at] not in "*?"
        at += 1
    return _Part(glob, name if literal else None)


def _character_class(body: str, *, negated: bool, parsed: _Parsed) -> str:
    """A `[...]` as SQLite reads it, where ']' comes first, '-' next and '^' last; it never matches '/'."""
    spans: list[tuple[int, int]] = []
    at = 0
    while at < len(body):
        end = at + 2 if body[at + 1 : at + 2] == "-" and at + 2 < len(body) else at
        if body[at] > body[end]:
            raise UsageError(f"expected a range in order, such as [a-z], got {body!r} in {parsed.expression!r}")
        spans.append((ord(body[at]), ord(body[end])))
        at = end + 1
    special = {mark for mark in "]-/^" for first, last in spans if first <= ord(mark) <= last}
    for mark in map(ord, "]-/^"):  # cut each span in two where one of them stands
        spans = [part for a, b in spans for part in ([(a, mark - 1), (mark + 1, b)] if a <= mark <= b else [(a, b)])]
    spans = [(first, last) for first, last in spans if first <= last]
    ranges = "".join(chr(a) if a == b else f"{chr(a)}-{chr(b)}" for a, b in spans)
    special = special | {"/"} if negated else special - {"/"}
    inside = "".join(c for c in "]-" if c in special) + ranges + "".join(c for c in "/^" if c in special)
    return inside if inside == "^" else f"[{'^' * negated}{inside}]"


def _escaped(text: str) -> str:
    return re.sub(r"[*?\[]", r"[\g<0>]", text)


def _is_folder(parts: Sequence[_Part]) -> bool:
    """Whether the glob takes everything below one folder, as reports/**."""
    *above, last = parts
    return last is _ANY_DEPTH and all(part.literal is not None for part in above)


def _matches(subject: str, parts: Sequence[_Part]) -> _Sql:
    """Whether a path, given as SQL, is what the parts of a glob say.

    SQLite's '*' runs across '/'. It cannot where the path has no more '/' than the glob spells out, so a glob without
    '**' needs only that count. With '**', the common forms have SQL of their own and the others walk along the path.
    """
    if _ANY_DEPTH not in parts:
        if all(part.literal is not None for part in parts):
            return _Sql(f"{subject} = ?", ("/".join(part.literal or "" for part in parts),))
        glob = _Sql(f"{subject} glob ?", ("/".join(part.glob for part in parts),))
        slashes = _Sql(f"length({subject}) - length(replace({subject}, '/', '')) = ?", (len(parts) - 1,))
        return _all(glob, slashes) if any(part.stars for part in parts) else glob
    *above, last = parts
    if _is_folder(parts):
        head = "/".join(part.literal or "" for part in above)
        return _Sql(f"({subject} >= ? and {subject} < ?)", (f"{head}/", f"{head}0")) if above else _Sql("1")
    if above == [_ANY_DEPTH]:
        if last.literal is not None:
            return _Sql(f"({subject} = ? or {subject} glob ?)", (last.literal, f"*/{last.glob}"))
        if last.glob.startswith("*") and last.stars == 1:
            return _Sql(f"{subject} glob ?", (last.glob,))
        return _Sql(f"({subject} glob ? and {_name(subject)} glob ?)", (f"*{last.glob}", last.glob))
    return _walk(subject, parts)


def _name(subject: str) -> str:
    """What stands after the last '/'; where that takes SQLite too long to find, nothing."""
    folder = f"rtrim({subject}, replace({subject}, '/', ''))"
    return f"iif(length({subject}) <= {_MAX_PATH}, substr({subject}, length({folder}) + 1), '')"


def _walk(subject: str, parts: Sequence[_Part]) -> _Sql:
    """Go along the path one part after the other; bit i of `at` says that the first i parts of the glob fit so far."""
    end = len(parts)

    def reached(i: int) -> int:
        """The bits that follow once the first i parts fit: '**' fits no folder too, but its last place wants one."""
        return 1 << i | (reached(i + 1) if i < end - 1 and parts[i] is _ANY_DEPTH else 0)

    steps = []
    for i, part in enumerate(parts):
        if part is _ANY_DEPTH:
            steps.append(_Sql(f"iif(at & {1 << i}, {reached(i) | (1 << end if i == end - 1 else 0)}, 0)"))
        else:
            fits = "substr(rest, 1, instr(rest, '/') - 1) glob ?"
            steps.append(_Sql(f"iif(at & {1 << i} and {fits}, {reached(i + 1)}, 0)", (part.glob,)))
    step = _joined(" | ", steps)
    likely = "".join("*" if p is _ANY_DEPTH else p.glob + "/" * (i < end - 1) for i, p in enumerate(parts))
    return _Sql(
        f"(length({subject}) <= {_MAX_PATH} and {subject} glob ? and exists (with recursive walk (rest, at) as"
        f" (select {subject} || '/', {reached(0)} union all"
        f" select substr(rest, instr(rest, '/') + 1), {step.clause} from walk where rest <> '' and at <> 0)"
        f" select 1 from walk where rest = '' and at & {1 << end}))",
        (likely, *step.arguments),
    )


def _type(parsed: _Parsed) -> _Sql:
    """The suffix of the file's name, be it in capitals; of a source that no file stands behind, also before a '#'."""
    suffix = parsed.value.removeprefix(".")
    if parsed.op != "=" or re.search(r"[\s./\\*?,\[\]]", suffix):
        raise UsageError(f"expected type= or type!= and one suffix, such as type=pdf, got {parsed.expression!r}")
    before = "substr(d.source, 1, instr(d.source, '#') - 1)"
    whole = "coalesce(f.relpath, d.source)"
    is_script = "f.relpath is null and instr(d.source, '#') > 0"
    if suffix:
        glob = f"*[^/].{_folded(suffix)}"
        return _Sql(f"({whole} glob ? or ({is_script} and {before} glob ?))", (glob, glob))
    return _Sql(f"not ({_has_suffix(whole)} or ({is_script} and {_has_suffix(before)}))")


def _has_suffix(subject: str) -> str:
    return f"({_name(subject)} glob '?*.*' and {subject} not glob '*.')"


# --- modified


def _modified(parsed: _Parsed) -> _Sql:
    if not parsed.value and not parsed.quoted:
        return _Sql("f.mtime_ns is null")
    start, end = _period(parsed)
    if parsed.op == "=":
        return _Sql("f.mtime_ns >= ? and f.mtime_ns < ?", (start, end))
    op, bound = {"<": ("<", start), "<=": ("<", end), ">": (">=", end), ">=": (">=", start)}[parsed.op]
    return _Sql(f"f.mtime_ns {op} ?", (bound,))


def _period(parsed: _Parsed) -> tuple[int, int]:
    """The nanosecond at which a year, month, day, minute, second or part of one begins, and that of the next one."""
    wrong = UsageError(
        f"expected modified, one of = != < <= > >=, and a date from {_FIRST_YEAR} to {_LAST_YEAR},"
        f" such as 'modified>=2026-03' or 'modified<2026-03-01T10:00', got {parsed.expression!r}"
    )
    match = _DATE.fullmatch(parsed.value)
    if not match or parsed.op == "~" or not _FIRST_YEAR <= int(match["year"]) <= _LAST_YEAR:
        raise wrong
    year, month, day, hour, minute, second = (
        int(match[name] or default)
        for name, default in [("year", 0), ("month", 1), ("day", 1), ("hour", 0), ("minute", 0), ("second", 0)]
    )
    try:
        first = datetime(year, month, day, hour, minute, second)
        zone = datetime.strptime(match["zone"], "%z").tzinfo if match["zone"] else None
    except ValueError as exc:
        raise wrong from exc
    if not match["month"]:
        after = first.replace(year=year + 1)
    elif not match["day"]:
        after = (first + timedelta(days=31)).replace(day=1)
    elif not match["hour"]:
        after = first + timedelta(days=1)
    else:
        after = first + timedelta(minutes=0 if match["second"] else 1, seconds=1 if match["second"] else 0)
    start, end = (_nanoseconds(time.replace(tzinfo=zone)) for time in (first, after))
    if match["fraction"]:
        unit = 10 ** (9 - len(match["fraction"]))
        start += int(match["fraction"]) * unit
        end = start + unit
    return start, end


def _nanoseconds(time: datetime) -> int:
    """Since 1970; a time that names no zone is local time, as file managers and `ls` show it."""
    try:
        time = time.astimezone(UTC)
    except (OSError, OverflowError):  # Windows knows no local time before 1970
        time = time.replace(tzinfo=UTC)
    return (time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1) * 10**9


# --- title and metadata

# A test of one value names its JSON type `e.type` and, as `json_extract` gives it, the value itself `e.value`.
_METADATA = "iif(json_valid(d.metadata), d.metadata, '{}')"  # JSON has no NaN or infinity, but Python writes them
_PLAIN_KEY = re.compile(r"[\w $@:/+-]+", re.ASCII)  # stands in JSON, and in a path into it, as it is
_IS_TEXT = _Sql("e.type = 'text'")
_IS_NUMBER = _Sql("e.type in ('integer', 'real')")
_IS_TEXT_OF_NUMBER = _Sql("(e.type = 'text' and e.value glob '[-0-9]*' and json_valid(e.value))")
_IS_TEXT_OF_DATE = _Sql("(e.type = 'text' and e.value glob '[0-9][0-9][0-9][0-9]-[0-9][0-9]*')")
_IS_SOMETHING = _Sql(
    "(e.type in ('integer', 'real', 'true', 'false') or (e.type = 'text' and e.value <> '')"
    " or (e.type in ('array', 'object') and e.value not in ('[]', '{}')))"
)


def _title(parsed: _Parsed) -> _Sql:
    def in_title(test: _Sql) -> _Sql:
        title = "(select 'text' as type, d.title as value)"
        return _Sql(f"exists (select 1 from {title} e where {test.clause})", test.arguments)

    return _value(parsed, in_title)


def _metadata(parsed: _Parsed) -> _Sql:
    """A field of the metadata: its value or, where that is a list, any element of it."""
    key = parsed.field.removeprefix("meta.")
    if not key:
        raise UsageError(f"expected a name after 'meta.', such as meta.type=report, got {parsed.expression!r}")
    return _value(parsed, lambda test: (_at_key if _PLAIN_KEY.fullmatch(key) else _at_dotted_key)(key, test))


def _value(parsed: _Parsed, somewhere: Callable[[_Sql], _Sql]) -> _Sql:
    """Whether a value passes somewhere; with nothing to compare it to, whether there is nothing anywhere."""
    if parsed.value or parsed.quoted:
        return somewhere(_test(parsed))
    anything = somewhere(_IS_SOMETHING)
    return _Sql(f"not {anything.clause}", anything.arguments)


def _test(parsed: _Parsed) -> _Sql:
    """Like is compared with like: numbers with numbers, dates with dates, and other text with text."""
    op, value = parsed.op, parsed.value
    if op == "~":
        return _all(_IS_TEXT, _contains("e.value", value))
    tests = []
    if not parsed.quoted and _NUMBER.fullmatch(value):  # read by SQLite, as it reads the numbers of the metadata
        tests.append(_all(_IS_NUMBER, _Sql(f"e.value {op} cast(? as numeric)", (value,))))
        tests.append(_all(_IS_TEXT_OF_NUMBER, _Sql(f"cast(e.value as numeric) {op} cast(? as numeric)", (value,))))
    date = None if parsed.quoted else _DATE.fullmatch(value)
    if date and not date["zone"]:
        written = _Sql(f"replace(substr(e.value, 1, {len(value)}), ' ', 'T') {op} ?", (value.replace(" ", "T"),))
        tests.append(_all(_IS_TEXT_OF_DATE, written))
    if not parsed.quoted and op == "=" and value in ("true", "false"):
        tests.append(_Sql("e.type = ?", (value,)))
    if op == "=" or not tests:
        tests.append(_all(_IS_TEXT, _Sql(f"e.value {op} ?", (value,))))
    return _any(*tests)


def _at_key(key: str, test: _Sql) -> _Sql:
    """In the value of a plain key: `json_each` goes through a list, and opens an object, which is taken whole here."""
    path = f'$."{key}"'
    is_object = f"json_type({_METADATA}, ?) = 'object'"
    elements = f"select 1 from json_each({_METADATA}, ?) e where not {is_object} and {test.clause}"
    whole = f"select 1 from (select 'object' as type, json_extract({_METADATA}, ?) as value) e where {is_object}"
    return _Sql(
        f"(exists ({elements}) or exists ({whole} and {test.clause}))",
        (path, path, *test.arguments, path, path, *test.arguments),
    )


def _at_dotted_key(key: str, test: _Sql) -> _Sql:
    """In every value that the key leads to, be its dots steps into objects, and lists of them, or part of names."""
    return _Sql(
        "exists (with recursive e (type, value, rest, in_list) as"
        f" (select 'object', {_METADATA}, ?, 0 union all"
        " select j.type, j.value, iif(e.type = 'object', substr(e.rest, length(j.key) + 2), e.rest), e.type = 'array'"
        " from e, json_each(iif(e.type in ('object', 'array'), e.value, '[]')) j where case e.type"
        " when 'object' then e.rest <> '' and substr(e.rest, 1, length(j.key) + 1) = j.key || '.'"
        " else not e.in_list end)"
        f" select 1 from e where rest = '' and (type <> 'array' or in_list) and {test.clause})",
        (f"{key}.", *test.arguments),
    )


def _contains(subject: str, value: str) -> _Sql:
    return _Sql(f"{subject} glob ?", (f"*{_folded(value)}*",))


def _folded(text: str) -> str:
    """A GLOB pattern for the text with each letter in either case, which SQLite itself knows of ASCII only."""
    return "".join(_either_case(character) for character in text)


def _either_case(character: str) -> str:
    cases, found = {character}, {character}
    while found:
        forms = (form for c in found for form in (c.lower(), c.upper(), c.title(), "ς" if c == "σ" else c))
        found = {form for form in forms if len(form) == 1} - cases
        cases |= found
    return f"[{''.join(sorted(cases))}]" if len(cases) > 1 else _escaped(character)


_FIELDS = {"path": _path, "type": _type, "modified": _modified, "title": _title}
