"""Nothing that a host says can do anything to a terminal."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.views import text

UNSAFE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200e\u200f]")


@pytest.mark.parametrize(
    ("given_text", "shown"),
    [
        ("plain", "plain"),
        ("größer · …", "größer · …"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b2J", "\\x9b2J"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("\u202etxt.exe", "\\u202etxt.exe"),
        ("\x00\x07\x7f", "\\x00\\x07\\x7f"),
    ],
)
def test_one_line_shows_control_characters(given_text: str, shown: str) -> None:
    assert text.one_line(given_text) == shown


@given(st.text(st.characters(codec=None)))
def test_one_line_is_one_safe_line(anything: str) -> None:
    shown = text.one_line(anything)
    assert not UNSAFE.search(shown)
    assert "\n" not in shown
    shown.encode()


@given(st.lists(st.binary(max_size=20)))
def test_a_log_is_safe_however_it_is_cut_into_chunks(chunks: list[bytes]) -> None:
    escaper = text.Escaper()
    shown = "".join(map(escaper.feed, chunks)) + escaper.end()
    assert not UNSAFE.search(shown)
    assert shown == text.log_text(b"".join(chunks))


def test_a_log_keeps_lines_tabs_and_utf8_and_shows_other_bytes() -> None:
    assert text.log_text("a\tä\r\nb\n".encode() + b"\xff\rc") == "a\tä\nb\n\\xff\\rc"


@given(st.text(), st.integers(0, 30))
def test_cut_text_fits(anything: str, columns: int) -> None:
    assert text.width(text.cut(anything, columns)) <= columns


def test_wide_characters_take_two_columns() -> None:
    assert text.width("日本") == 4
    assert text.cut("日本語", 5) == "日本…"
    assert text.pad("日", 4) == "日  "
