from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.durations import LONGEST, format_duration, parse_duration, parse_durations


@pytest.mark.parametrize(
    "text, seconds",
    [
        ("90s", 90), ("5m", 300), ("1h30m", 5400), ("2d", 172800), ("1w", 604800), ("0s", 0),
        ("1d1h1m1s", 90061),
        ("PT5M", 300), ("PT1H30M", 5400), ("P1D", 86400), ("P1DT2H", 93600), ("PT0S", 0),
        ("P1W", 604800), (" 5m ", 300),
    ],
)  # fmt: skip
def test_durations_are_seconds(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "soon", "90", "5 m", "5M", "m5", "-5m", "1.5h", "PT", "P", "P1DT", "30m1h", "pt5m", "5m5m", "٣m"],
)
def test_anything_else_is_refused_with_what_was_expected(text):
    with pytest.raises(ValueError, match="expected a duration such as 90s, 5m, 1h30m or PT5M, found"):
        parse_duration(text)


def test_a_duration_beyond_ten_years_is_refused():
    with pytest.raises(ValueError, match="ten years"):
        parse_duration("999999999w")


def test_items_of_a_list_may_be_repeated():
    assert parse_durations(["1m", "3*10m", "2 * PT5S"]) == (60, 600, 600, 600, 5, 5)


@pytest.mark.parametrize("text", ["0*1m", "99999*1m", "3*", "*1m", "3*3*1m"])
def test_bad_repeats_are_refused(text):
    with pytest.raises(ValueError):
        parse_durations([text])


@given(st.integers(0, LONGEST))
def test_what_is_formatted_is_read_back(seconds):
    assert parse_duration(format_duration(seconds)) == seconds


def test_negative_durations_cannot_be_formatted():
    with pytest.raises(ValueError):
        format_duration(-1)
