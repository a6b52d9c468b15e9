from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from jobmgr.views import times

NOON = 1763640000.0  # 2025-11-20 12:00:00 UTC


@pytest.fixture(autouse=True)
def _in_utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_clock_names_the_day_only_when_it_is_another_one() -> None:
    assert times.clock(NOON - 60, NOON) == "11:59"
    assert times.clock(NOON - 60, NOON, seconds=True) == "11:59:00"
    assert times.clock(NOON - 86400, NOON) == "11-19 12:00"
    assert times.clock(NOON - 366 * 86400, NOON) == "2024-11-19 12:00"
    assert times.clock(None, NOON) == ""


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0, "just now"), (40, "40 s ago"), (120, "2 min ago"), (7200, "2 h ago"), (86400, "24 h ago"),
        (300000, "3 days ago"), (-5, "just now"),
    ],
)  # fmt: skip
def test_ago(seconds: int, words: str) -> None:
    assert times.ago(NOON - seconds, NOON) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.44, "0.4 s"), (1.0, "1 s"), (45, "45 s"), (59.7, "1 min"), (62, "1 min 2 s"), (2460, "41 min"),
        (2470, "41 min"), (3900, "1 h 5 min"), (7200, "2 h"), (180000, "2 d 2 h"), (-1, "0 s"),
    ],
)  # fmt: skip
def test_span(seconds: float, words: str) -> None:
    assert times.span(seconds) == words


def test_programs_read_utc() -> None:
    assert times.utc(NOON) == "2025-11-20T12:00:00Z"
    assert times.utc(None) is None
