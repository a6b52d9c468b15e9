"""Parameters: the values that are written, and the members that they make. Pure.

``m: 1..500`` makes ``sim_m001`` to ``sim_m500``: whole numbers are zero-padded in names, so that names sort;
the value itself (``$JOBMGR_PARAM_m``, ``{m}``) stays as it was typed.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections.abc import Mapping, Sequence

from msgspec import Struct

from jobmgr.core.fields import Wrong, as_list, each, expected, found, variable
from jobmgr_remote import layout

MOST_MEMBERS = 100_000

_RANGE = re.compile(r"(-?\d{1,12})\.\.(-?\d{1,12})(?:\.\.(\d{1,12}))?")
_WHOLE = re.compile(r"-?\d+")
_IN_NAMES = re.compile(r"[A-Za-z0-9_.+@%-]+")

Values = tuple[str, ...]


class Member(Struct, frozen=True):
    """One member of a parametrised task: its name, and its value of each parameter."""

    name: str
    values: Values


class Rows(Struct, frozen=True):
    """The parameters of a task and the combinations of their values; ``naming`` = how many of the
    parameters, from the first, stand in a member's name."""

    names: tuple[str, ...]
    rows: tuple[Values, ...]
    naming: int


def _range(text: str) -> list[str] | None:
    """``1..500`` or ``0..100..10`` (both ends included), or None for anything else. Leading zeros give
    the width: ``001..500``."""
    match = _RANGE.fullmatch(text)
    if match is None:
        return None
    first, last, step = int(match[1]), int(match[2]), int(match[3] or 1)
    if step < 1 or last < first:
        raise Wrong(f"the range {text!r} is empty: write LOW..HIGH or LOW..HIGH..STEP")
    if (last - first) // step >= MOST_MEMBERS:
        raise Wrong(f"the range {text!r} has more than {MOST_MEMBERS} values")
    padded = len(match[1].lstrip("-")) > 1 and match[1].lstrip("-").startswith("0")
    width = len(match[1]) if padded else 1
    return [f"{number:0{width}d}" for number in range(first, last + 1, step)]


def _item(_: str | int, item: object) -> list[str]:
    if not isinstance(item, str) or not item:
        raise expected("a value such as 0.5, or a range such as 1..500", item)
    values = _range(item)
    if values is None and not _IN_NAMES.fullmatch(item):
        raise Wrong(
            f"the value {found(item)} cannot stand in a task's name (letters, digits and _ . + @ % - only); "
            "a parameter_file can hold any text"
        )
    return [item] if values is None else values


def value_list(value: object) -> Values:
    """The values of one parameter: a list of values and ranges, or one of them; none twice."""
    values = [text for item in each(enumerate(as_list(value)), _item) for text in item]
    if not values:
        raise Wrong("expected at least one value")
    seen: set[str] = set()
    for text in values:
        if text in seen:
            raise Wrong(f"has the value {found(text)} twice")
        seen.add(text)
    return tuple(values)


def table(value: object) -> dict[str, Values]:
    """A mapping of parameters to their values."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise expected("a mapping such as {m: 1..500}", value)
    pairs = each(value.items(), lambda name, item: (variable(name), value_list(item)))
    return dict(pairs)


def chosen(value: object) -> tuple[str, ...] | dict[str, Values]:
    """A task's ``parameters``: names of the suite's (one, or a list), or a mapping of its own."""
    if isinstance(value, dict):
        return table(value)
    return tuple(each(enumerate(as_list(value)), lambda _, item: variable(item)))


def product(parameters: Mapping[str, Values]) -> Rows:
    """All combinations, the last parameter changing fastest. Raises Wrong if they are too many."""
    total = 1
    for values in parameters.values():
        total *= len(values)
    if total > MOST_MEMBERS:
        raise Wrong(f"makes {total} members; at most {MOST_MEMBERS}")
    return Rows(tuple(parameters), tuple(itertools.product(*parameters.values())), len(parameters))


def read_csv(text: str) -> tuple[Rows | None, list[tuple[int, str]]]:
    """One member per row; the header names the parameters. Returns the problems as (line, text).

    Members are named by the shortest run of columns from the left that tells all rows apart, so only
    these columns must hold what can stand in a name.
    """
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, skipinitialspace=True)
    try:
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except csv.Error as error:
        return None, [(reader.line_num, f"not valid CSV: {error}")]
    if not lines:
        return None, [(0, "the file is empty; the first line names the parameters")]
    header, body = [cell.strip() for cell in lines[0][1]], lines[1:]
    problems = _header_problems(header, lines[0][0])
    for number, cells in body:
        if len(cells) != len(header):
            problems.append((number, f"has {len(cells)} values for {len(header)} parameters"))
        problems.extend((number, "contains a NUL byte") for cell in cells if "\0" in cell)
    if not body:
        problems.append((0, "has a header, but no rows"))
    if len(body) > MOST_MEMBERS:
        problems.append((0, f"makes {len(body)} members; at most {MOST_MEMBERS}"))
    if problems:
        return None, problems
    rows = tuple(tuple(cells) for _, cells in body)
    naming = next((n for n in range(1, len(header) + 1) if len({r[:n] for r in rows}) == len(rows)), 0)
    if not naming:
        seen: dict[Values, int] = {}
        again = next((n, seen[r]) for (n, _), r in zip(body, rows, strict=True) if seen.setdefault(r, n) != n)
        return None, [(again[0], f"is the same row as line {again[1]}")]
    for (number, _), row in zip(body, rows, strict=True):
        for name, value in zip(header[:naming], row, strict=False):
            if not _IN_NAMES.fullmatch(value):
                text = f"{name} = {found(value)} cannot stand in a task's name"
                problems.append((number, f"{text}; put a column of plain names first"))
    return (None if problems else Rows(tuple(header), rows, naming)), problems


def _header_problems(header: Sequence[str], line: int) -> list[tuple[int, str]]:
    problems = []
    for name in header:
        try:
            variable(name)
        except Wrong as wrong:
            problems.append((line, f"header: {wrong}"))
    problems.extend(
        (line, f"header: names '{n}' twice") for n in sorted({n for n in header if header.count(n) > 1})
    )
    return problems


def members(base: str, rows: Rows) -> tuple[Member, ...]:
    """The members of the task ``base``, in order. Raises Wrong if a name is bad or made twice."""
    columns = [_padded([row[index] for row in rows.rows]) for index in range(rows.naming)]
    prefixes = rows.names[: rows.naming]
    made: dict[str, Member] = {}
    for number, row in enumerate(rows.rows):
        name = base + "".join(f"_{p}{column[number]}" for p, column in zip(prefixes, columns, strict=True))
        if not layout.is_part(name):
            raise Wrong(f"would make the task name {found(name)}, which is too long or has '..' in it")
        if name in made:
            raise Wrong(f"makes the task {name} twice")
        made[name] = Member(name, row)
    return tuple(made.values())


def _padded(values: Sequence[str]) -> list[str]:
    """Whole numbers padded to one width, anything else as it is."""
    if not all(_WHOLE.fullmatch(value) for value in values):
        return list(values)
    width = max(len(value.lstrip("-")) for value in values)
    return [("-" if v.startswith("-") else "") + v.lstrip("-").zfill(width) for v in values]
