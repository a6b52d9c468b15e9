"""The explanation of one state: its evidence in order, the rule that decided, what comes next."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobmgr.views import color, rows, text, times


class Line(Protocol):
    """One piece of evidence; ``time`` is seconds since the epoch, or None if nobody knows it."""

    @property
    def time(self) -> float | None: ...
    @property
    def source(self) -> str: ...
    @property
    def text(self) -> str: ...


class Explanation(Protocol):
    """What the library answers to "why?"."""

    @property
    def job(self) -> rows.Row: ...
    @property
    def lines(self) -> Sequence[Line]: ...
    @property
    def rule(self) -> str: ...
    @property
    def next(self) -> str: ...


def explain(why: Explanation, now: float, *, colored: bool = False) -> list[str]:
    """The lines to print: state, evidence with local times, rule, next step."""
    state = why.job.state
    head = color.paint(state.value, color.SGR.get(state), colored)
    shown = [f"{text.one_line(why.job.id)}: {head}{', in doubt' if why.job.doubt else ''}"]
    whens = [times.clock(line.time, now, seconds=True) for line in why.lines]
    first = max(map(len, whens), default=0)
    second = max((text.width(text.one_line(line.source)) for line in why.lines), default=0)
    for when, line in zip(whens, why.lines, strict=True):
        source = text.pad(text.one_line(line.source), second)
        shown.append(f"{when:<{first}}  {source}  {text.one_line(line.text)}".rstrip())
    if why.rule:
        shown.append(f"rule: {text.one_line(why.rule)}")
    if why.next:
        shown.append(f"next: {text.one_line(why.next)}")
    return shown
