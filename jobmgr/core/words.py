"""Texts that come from hosts, made fit for one line of output."""

from __future__ import annotations

LIMIT = 300


def line(value: object, limit: int = LIMIT) -> str:
    """A text on one line and of bounded length; "" for whatever is no text."""
    if not isinstance(value, str):
        return ""
    text = " ".join(value[: 4 * limit].split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
