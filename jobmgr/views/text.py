"""Text that came from elsewhere, made safe to look at; and text cut to a column.

A host, a log or a job's message may hold anything. On a terminal a control character could move the cursor,
retitle the window or hide what stands before it, so each is shown as its escape: ``\\x1b``, ``\\u202e``.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from functools import lru_cache

_SPECIAL = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1
    "\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff"  # what turns or breaks the direction of a line
    "\ud800-\udfff"  # a lone surrogate cannot be written at all
)
_CONTROL = re.compile(f"[{_SPECIAL}]")
_CONTROL_OR_BREAK = re.compile(f"[\t\n{_SPECIAL}]")
_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}


def _shown(match: re.Match[str]) -> str:
    char = match[0]
    short = _SHORT.get(char)
    if short is not None:
        return short
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def one_line(text: str) -> str:
    """``text`` on one line, with every control character (tab and newline too) shown as its escape."""
    return text if text.isprintable() else _CONTROL_OR_BREAK.sub(_shown, text)


def lines(text: str) -> str:
    """``text`` with its lines and tabs kept and every other control character shown as its escape."""
    return _CONTROL.sub(_shown, text.replace("\r\n", "\n"))


class Escaper:
    """Turns a stream of log bytes into text that is safe on a terminal.

    A character may be split between chunks. Bytes that are not UTF-8 are shown as ``\\xff``.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("backslashreplace")
        self._held = ""

    def feed(self, chunk: bytes) -> str:
        """The text that is complete so far; a carriage return waits for what follows it."""
        text = self._held + self._decoder.decode(chunk)
        self._held = "\r" if text.endswith("\r") else ""
        return lines(text[:-1] if self._held else text)

    def end(self) -> str:
        """What is left when the stream has ended."""
        rest, self._held = self._held + self._decoder.decode(b"", final=True), ""
        return lines(rest)


def log_text(data: bytes) -> str:
    """A whole log, safe on a terminal."""
    escaper = Escaper()
    return escaper.feed(data) + escaper.end()


@lru_cache(maxsize=512)
def _char_width(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def width(text: str) -> int:
    """The columns that ``text`` takes on a terminal."""
    return len(text) if text.isascii() else sum(map(_char_width, text))


def cut(text: str, columns: int) -> str:
    """``text`` in at most ``columns`` columns; what is missing at its end is marked by ``…``."""
    if width(text) <= columns:
        return text
    if columns <= 0:
        return ""
    kept, used = [], 1
    for char in text:
        used += _char_width(char)
        if used > columns:
            break
        kept.append(char)
    return "".join(kept) + "…"


def pad(text: str, columns: int) -> str:
    """``text`` followed by blanks up to ``columns``."""
    return text + " " * (columns - width(text))
