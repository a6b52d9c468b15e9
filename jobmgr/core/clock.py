"""The times of job.status, without the weight of ``datetime``."""

from __future__ import annotations

import re
from functools import lru_cache

_UTC = re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(\.[0-9]{1,9})?Z\Z")
_NUMBER = re.compile("[0-9]+")


def parse_utc(text: object) -> float | None:
    """``"2026-11-20T11:20:03Z"`` -> seconds since the epoch; None for whatever is not such a time."""
    match = _UTC.match(text) if isinstance(text, str) else None
    seconds = _seconds(match[1]) if match is not None else None
    return None if match is None or seconds is None else seconds + float(match[2] or 0)


@lru_cache(maxsize=256)
def _seconds(text: str) -> float | None:
    """Whole seconds; kept, because the many jobs of a batch start and end in the same ones."""
    year, month, day, hour, minute, second = map(int, _NUMBER.findall(text))
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second <= 60):
        return None
    return _days(year, month, day) * 86400.0 + hour * 3600 + minute * 60 + second


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01, Gregorian; the year is taken to begin in March, its leap day last."""
    if month <= 2:
        year, month = year - 1, month + 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * month - 457) // 5 + day - 719469
