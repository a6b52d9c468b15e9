"""The times of job.status, and texts of hosts."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.clock import parse_utc
from jobmgr.core.words import LIMIT, line


@given(st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(timezone.utc)))
def test_times_are_read_as_datetime_reads_them(moment: datetime) -> None:
    assert parse_utc(moment.strftime("%Y-%m-%dT%H:%M:%SZ")) == moment.replace(microsecond=0).timestamp()


def test_parts_of_a_second_count() -> None:
    assert parse_utc("1970-01-01T00:00:01.25Z") == 1.25


@pytest.mark.parametrize(
    "text",
    ["", "now", "2026-11-20", "2026-13-01T00:00:00Z", "2026-11-20T24:00:00Z", None, 5, "2026-11-20T11:20:03"],
)
def test_what_is_no_time_is_none(text: object) -> None:
    assert parse_utc(text) is None


@given(st.text() | st.integers() | st.none())
def test_a_line_is_one_line_of_bounded_length(value: object) -> None:
    text = line(value)
    assert len(text.splitlines()) <= 1
    assert len(text) <= LIMIT


def test_a_long_line_is_cut() -> None:
    assert line("x" * 999).endswith("x…")
    assert len(line("x" * 999)) == LIMIT
