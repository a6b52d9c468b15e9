"""The values of suite and platform files: one pure function per kind of value, from plain text.

Each takes what the YAML tree holds (None, a text, a list, a mapping) and returns the converted value,
or raises :class:`Wrong` with everything that is wrong in it. The models of
``jobmgr.suite`` and ``jobmgr.platforms`` name these functions, and so does the library.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from jobmgr.core import durations
from jobmgr_remote import layout

T = TypeVar("T")
Path = tuple[str | int, ...]
Pairs = tuple[tuple[str, str], ...]
Directive = None | str | tuple[str, ...]

PORTABLE_KEYS = (
    "queue", "account", "nodes", "tasks", "cpus_per_task", "memory", "gpus", "job_name", "mail",
)  # fmt: skip
"""The settings that every runner says in its own way, in the order in which they are kept."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_MEMORY = re.compile(r"([1-9]\d{0,11}) ?([KMGT])(?:i?B)?\Z", re.IGNORECASE)
_GPUS = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9_.-]*:)?\d{1,6}\Z")
_UNIT = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_FLAGS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}


class Wrong(ValueError):
    """A value that does not fit; ``wrongs`` has (path inside the value, text) for each thing wrong."""

    def __init__(self, text: str = "", wrongs: Sequence[tuple[Path, str]] = ()) -> None:
        self.wrongs: tuple[tuple[Path, str], ...] = tuple(wrongs) or (((), text),)
        super().__init__("; ".join(what for _, what in self.wrongs))


def found(value: object) -> str:
    """A value as an error shows it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:55]}…'"


def expected(what: str, value: object) -> Wrong:
    """The error for a value of the wrong kind."""
    return Wrong(f"expected {what}, found {found(value)}")


def each(items: Iterable[tuple[str | int, object]], read: Callable[[str | int, object], T]) -> list[T]:
    """``read`` for every item; all that is wrong in any of them is raised at once."""
    values: list[T] = []
    wrongs: list[tuple[Path, str]] = []
    for part, item in items:
        try:
            values.append(read(part, item))
        except Wrong as wrong:
            wrongs.extend(((part, *path), text) for path, text in wrong.wrongs)
    if wrongs:
        raise Wrong(wrongs=wrongs)
    return values


def script(value: object) -> str:
    """Text of any number of lines; no NUL, which no shell can hold."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise expected("text", value)
    if "\0" in value:
        raise Wrong("contains a NUL byte, which no shell can hold")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise Wrong("contains half a surrogate pair, which is not a character") from None
    return value


def words(value: object) -> str:
    """One line of text, possibly empty."""
    text = script(value)
    if _CONTROL.search(text):
        raise Wrong("must be one line without control characters")
    return text


def line(value: object) -> str:
    """One line of text, not empty."""
    text = words(value)
    if not text.strip():
        raise expected("text", None)
    return text


def identifier(value: object) -> str:
    """A name that may be one part of a path (``layout.is_part``)."""
    text = line(value)
    if not layout.is_part(text):
        raise Wrong(bad_name(text))
    return text


def bad_name(text: str) -> str:
    """Why ``text`` cannot be a name."""
    return (
        f"bad name {found(text)}: letters, digits and _ . + @ % - only, a letter or digit first, no '..', "
        f"at most {layout.MAX_PART} characters"
    )


def variable(value: object) -> str:
    """A name that a shell variable may have."""
    text = line(value)
    if not _VARIABLE.match(text):
        raise Wrong(f"bad name {found(text)}: letters, digits and _ only, no digit first")
    return text


def as_list(value: object) -> list[object]:
    """A list as it is; one text as a list of one; nothing as an empty list."""
    if value is None:
        return []
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise expected("a list", value)
    return value


def lines(value: object) -> tuple[str, ...]:
    """A list of one-line texts, or one of them."""
    return tuple(each(enumerate(as_list(value)), lambda _, item: line(item)))


def identifiers(value: object) -> tuple[str, ...]:
    """A list of names, or one of them; none twice."""
    names = each(enumerate(as_list(value)), lambda _, item: identifier(item))
    for name in names:
        if names.count(name) > 1:
            raise Wrong(f"names '{name}' twice")
    return tuple(names)


def flag(value: object) -> bool:
    if not isinstance(value, str) or value.lower() not in _FLAGS:
        raise expected("true or false", value)
    return _FLAGS[value.lower()]


def _number(value: object, least: int) -> int:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9]{1,9}", value) or int(value) < least:
        raise expected(f"a whole number, at least {least}", value)
    return int(value)


def count(value: object) -> int:
    """A whole number from 1."""
    return _number(value, 1)


def duration(value: object) -> int:
    """Seconds."""
    if not isinstance(value, str):
        raise expected(durations.EXPECTED, value)
    try:
        return durations.parse_duration(value)
    except ValueError as error:
        raise Wrong(str(error)) from None


def positive_duration(value: object) -> int:
    """Seconds, at least one."""
    seconds = duration(value)
    if seconds < 1:
        raise Wrong(f"expected a duration of at least 1s, found {found(value)}")
    return seconds


def _repeated(_: str | int, value: object) -> tuple[int, ...]:
    if not isinstance(value, str):
        raise expected(durations.EXPECTED, value)
    try:
        return durations.parse_repeated(value)
    except ValueError as error:
        raise Wrong(str(error)) from None


def duration_list(value: object) -> tuple[int, ...]:
    """Seconds, from a list (``[1m, 3*10m]``) or from one text (``1m, 3*10m``)."""
    items: list[object] = list(value.split(",")) if isinstance(value, str) else as_list(value)
    return tuple(seconds for group in each(enumerate(items), _repeated) for seconds in group)


def interval_list(value: object) -> tuple[int, ...]:
    """As :func:`duration_list`; each at least one second."""
    seconds = duration_list(value)
    if 0 in seconds:
        raise Wrong(f"expected durations of at least 1s, found {found('0s')}")
    return seconds


def one_of(*choices: str) -> Callable[[object], str]:
    """A reader for a text that is one of ``choices``."""

    def choice(value: object) -> str:
        if not isinstance(value, str) or value not in choices:
            raise expected(" or ".join((", ".join(choices[:-1]), choices[-1])), value)
        return value

    return choice


def size(value: object) -> str:
    """An amount of memory in its normal form, ``4G``: a whole number and one of K M G T (powers of 1024)."""
    match = _MEMORY.match(value) if isinstance(value, str) else None
    if match is None:
        raise expected("an amount such as 500M or 4G", value)
    return f"{match[1]}{match[2].upper()}"


def size_bytes(text: str) -> int:
    """Bytes of what :func:`size` returned."""
    return int(text[:-1]) * _UNIT[text[-1]]


def byte_count(value: object) -> int:
    """Bytes, from an amount such as ``10M``."""
    return size_bytes(size(value))


def gpus(value: object) -> str:
    """A number of GPUs, or ``TYPE:NUMBER``."""
    if not isinstance(value, str) or not _GPUS.match(value):
        raise expected("a number of GPUs, or TYPE:NUMBER", value)
    return value


def _mapping(value: object) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise expected("a mapping", value)
    return value


def environment(value: object) -> Pairs:
    """Variables in the order of the file; an empty value is an empty text."""

    def pair(name: str | int, item: object) -> tuple[str, str]:
        name = variable(name)
        if name.startswith("JOBMGR_"):
            raise Wrong("names with JOBMGR_ are jobmgr's own")
        return name, script(item)

    return tuple(each(_mapping(value).items(), pair))


def directives(value: object) -> tuple[tuple[str, Directive], ...]:
    """Directives of the runner: a text, a list of texts (the directive is repeated), or nothing (a flag)."""

    def pair(name: str | int, item: object) -> tuple[str, Directive]:
        name = line(name)
        if item is None:
            return name, None
        return name, (lines(item) if isinstance(item, list) else words(item))

    return tuple(each(_mapping(value).items(), pair))


def relative_path(value: object) -> str:
    """A path, or pattern, that stays below the folder that it is taken from."""
    text = line(value)
    if text.startswith(("/", "~")):
        raise Wrong(f"{found(text)} must be relative to its folder")
    if ".." in text.split("/"):
        raise Wrong(f"{found(text)} must not contain '..'")
    return text


def patterns(value: object) -> tuple[str, ...]:
    """Patterns that stay below their folder."""
    return tuple(each(enumerate(as_list(value)), lambda _, item: relative_path(item)))


def work_dir(value: object) -> str:
    """A folder below the run directory, outside jobmgr's own ones; empty for the default."""
    if value is None:
        return ""
    text = relative_path(value).rstrip("/")
    first = next((part for part in text.split("/") if part not in ("", ".")), "")
    if first in ("", "log", layout.SERVICE):
        raise Wrong(f"{found(value)} is not a folder for jobs: choose one below work/ or share/")
    return text


def input_pairs(value: object) -> Pairs:
    """(source, target) pairs. A source is a path in the suite's folder, absolute, or from ``~/``. A target
    is a path in the work directory; one that ends with ``/`` is a folder that takes the source under its
    own name. The sources of a list are put into the work directory under their own names."""
    if isinstance(value, dict):
        pairs = each(value.items(), _input_pair)
    else:
        pairs = each(enumerate(as_list(value)), lambda _, item: _input_pair(line(item), None))
    taken: set[str] = set()
    for _, goal in pairs:
        if goal in taken:
            raise Wrong(f"two inputs would become {found(goal)}; give each a name: {{source: target}}")
        taken.add(goal)
    return tuple(pairs)


def _input_pair(source: str | int, target: object) -> tuple[str, str]:
    path = line(source)
    name = path.rstrip("/").rpartition("/")[2]
    if name in ("", ".", "..", "~"):
        raise Wrong(f"{found(path)} does not end with the name of a file or folder")
    goal = "./" if target is None else relative_path(target)
    return path, (goal.removeprefix("./") + name if goal.endswith("/") else goal)


def python_path(value: object) -> str:
    """The path of a Python on a host; nothing in it that a shell of any kind would touch."""
    text = line(value)
    if not re.fullmatch(r"[A-Za-z0-9_./+-]+", text) or text.startswith("-"):
        raise Wrong(f"bad path {found(text)}: letters, digits and _ . / + - only")
    return text


def remote_command(value: object) -> str:
    """The words that start an installed host side; nothing in them that a shell would touch but ``$HOME``."""
    text = line(value)
    if not re.fullmatch(r"(?:\$HOME/|~/)?[A-Za-z0-9_./+@%=:,-]+(?: [A-Za-z0-9_./+@%=:,-]+)*", text):
        raise Wrong(
            f"bad command {found(text)}: words of letters, digits and _ . / + @ % = : , - only "
            "($HOME/ or ~/ may stand first)"
        )
    return text


def host_path(value: object) -> str:
    """A path that the host expands: absolute, or from a variable or the home directory."""
    text = line(value)
    if not re.match(r"/|~/|\$[A-Za-z_]|\$\{[A-Za-z_]", text) or ".." in text.split("/"):
        raise Wrong(f"bad path {found(text)}: absolute, or starting with $NAME or ~/, and without '..'")
    return text


LINKED = ("run", "log", "share", "share/cycle", "work")


def symlinks(value: object) -> Pairs:
    """Parts of the run directory that are links, and the folder on the host that they lead into."""

    def pair(part: str | int, item: object) -> tuple[str, str]:
        if part not in LINKED:
            raise Wrong(f"cannot be linked; only {', '.join(LINKED)} can")
        return str(part), host_path(item)

    return tuple(each(_mapping(value).items(), pair))


def ssh_options(value: object) -> tuple[str, ...]:
    """``KEY=VALUE`` texts, as ssh's ``-o`` takes them; from a list of them or a mapping."""
    if isinstance(value, dict):
        return tuple(each(value.items(), lambda key, item: _ssh_option(f"{key}={line(item)}")))
    return tuple(each(enumerate(as_list(value)), lambda _, item: _ssh_option(line(item))))


def _ssh_option(text: str) -> str:
    if not re.match(r"[A-Za-z]+=.", text):
        raise expected("KEY=VALUE (as ssh_config names them)", text)
    return text


def target(value: object) -> str:
    """A host as ssh knows it: a name, an alias, USER@HOST, or an address."""
    text = line(value)
    if not re.fullmatch(r"[A-Za-z0-9_\[][A-Za-z0-9_.:@%+\[\]-]*", text):
        raise Wrong(f"bad host {found(text)}: a name, an alias, USER@HOST or an address")
    return text


def targets(value: object) -> tuple[str, ...]:
    """A list of hosts, or one of them."""
    return tuple(each(enumerate(as_list(value)), lambda _, item: target(item)))


def portable(values: dict[str, str]) -> Pairs:
    """The portable keys among ``values``, in their fixed order."""
    return tuple((key, values[key]) for key in PORTABLE_KEYS if key in values)
