"""Points in time and spans, as people read them (local time) and as programs do (UTC with Z)."""

from __future__ import annotations

import time

MINUTE, HOUR, DAY = 60, 3600, 86400


def clock(moment: float | None, now: float, *, seconds: bool = False) -> str:
    """``12:04`` today, ``11-19 12:04`` this year, ``2025-11-19 12:04`` before; empty for None. Local time."""
    if moment is None:
        return ""
    then, today = time.localtime(moment), time.localtime(now)
    shown = time.strftime("%H:%M:%S" if seconds else "%H:%M", then)
    if (then.tm_year, then.tm_yday) == (today.tm_year, today.tm_yday):
        return shown
    return time.strftime("%m-%d " if then.tm_year == today.tm_year else "%Y-%m-%d ", then) + shown


def ago(moment: float, now: float) -> str:
    """``just now``, ``40 s ago``, ``2 min ago``, ``5 h ago``, ``3 days ago``."""
    seconds = now - moment
    if seconds < 1:
        return "just now"
    if seconds < MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < HOUR:
        return f"{int(seconds // MINUTE)} min ago"
    if seconds < 2 * DAY:
        return f"{int(seconds // HOUR)} h ago"
    return f"{int(seconds // DAY)} days ago"


def span(seconds: float) -> str:
    """A length of time in its two largest units: ``0.4 s``, ``45 s``, ``41 min``, ``1 h 5 min``."""
    if seconds < 0:
        return "0 s"
    if seconds < 9.95:
        return f"{seconds:.1f} s".replace(".0 s", " s")
    whole = round(seconds)
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        minutes, rest = divmod(whole, MINUTE)
        return f"{minutes} min {rest} s" if rest and minutes < 10 else f"{minutes} min"
    if whole < DAY:
        hours, rest = divmod(whole, HOUR)
        return f"{hours} h {rest // MINUTE} min" if rest >= MINUTE else f"{hours} h"
    days, rest = divmod(whole, DAY)
    return f"{days} d {rest // HOUR} h" if rest >= HOUR else f"{days} d"


def utc(moment: float | None) -> str | None:
    """``2026-11-20T11:20:03Z``, for programs; None stays None."""
    if moment is None:
        return None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))
