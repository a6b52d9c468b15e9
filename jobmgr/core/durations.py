"""Durations as people write them: ``90s``, ``5m``, ``1h30m``, ``2d``, and ISO 8601 (``PT5M``, ``P1DT2H``).

Seconds are whole numbers. A bare number is refused, because nobody remembers its unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

EXPECTED = "a duration such as 90s, 5m, 1h30m or PT5M"
LONGEST = 3650 * 86400  # ten years: anything longer is a typing error, and overflows clocks
MOST_REPEATS = 1000

_SHORT = re.compile(r"(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m)?(?:(\d{1,9})s)?", re.ASCII)
_ISO = re.compile(
    r"P(?:(\d{1,9})W)?(?:(\d{1,9})D)?(?:T(?:(\d{1,9})H)?(?:(\d{1,9})M)?(?:(\d{1,9})S)?)?", re.ASCII
)
_UNITS = (604800, 86400, 3600, 60, 1)
_REPEAT = re.compile(r"(\d{1,9})\s*\*\s*(.+)")


def parse_duration(text: str) -> int:
    """Seconds; raises ValueError, whose text says what was expected and what was found."""
    word = text.strip()
    match = (_ISO if word.startswith("P") else _SHORT).fullmatch(word)
    if match is None or not any(match.groups()) or word.endswith("T"):
        raise ValueError(f"expected {EXPECTED}, found {text!r}")
    seconds = sum(int(number) * unit for number, unit in zip(match.groups(), _UNITS, strict=True) if number)
    if seconds > LONGEST:
        raise ValueError(f"{text!r} is longer than ten years")
    return seconds


def parse_repeated(text: str) -> tuple[int, ...]:
    """One item of a list of durations: ``10m``, or ``3*10m`` for three of them."""
    match = _REPEAT.fullmatch(text.strip())
    if match is None:
        return (parse_duration(text),)
    count = int(match[1])
    if not 1 <= count <= MOST_REPEATS:
        raise ValueError(f"{text!r}: between 1 and {MOST_REPEATS} repeats")
    return (parse_duration(match[2]),) * count


def parse_durations(items: Iterable[str]) -> tuple[int, ...]:
    """A list of durations, in seconds: ``["1m", "3*10m"]`` gives ``(60, 600, 600, 600)``."""
    return tuple(seconds for item in items for seconds in parse_repeated(item))


def format_duration(seconds: int) -> str:
    """The shortest text that :func:`parse_duration` reads back: ``5400`` gives ``1h30m``."""
    if seconds < 0:
        raise ValueError(f"a duration is not negative: {seconds}")
    parts = []
    for unit, letter in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        count, seconds = divmod(seconds, unit)
        if count:
            parts.append(f"{count}{letter}")
    return "".join(parts) or "0s"
