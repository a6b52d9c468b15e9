"""The live picture of a play on a terminal: a bar per task, the latest news, troubles. Needs rich."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from jobmgr.core.states import State
from jobmgr.views import rows
from jobmgr.views.progress import RECENT, Frame, Progress, bar

STYLES = {
    State.SUCCEEDED: "green",
    State.FAILED: "red",
    State.SUBMIT_FAILED: "red",
    State.KILLED: "magenta",
    State.RUNNING: "cyan",
    State.SUBMITTED: "blue",
    State.SUBMITTING: "blue",
    State.SUBMIT_UNKNOWN: "yellow",
    State.QUEUED: "blue",
    State.HELD: "yellow",
    State.WAITING: "bright_black",
    State.REMOVED: "bright_black",
}
PER_SECOND = 4
_OTHER_LINES = RECENT + 6
BAR = 30


def picture(frame: Frame, width: int, elapsed: str = "", *, last: bool = False) -> RenderableType:
    """One drawing, for a terminal of ``width`` columns; the last one needs no hint how to leave."""
    head = Text(frame.run, style="bold")
    head.append(f"  {rows.counts_text(frame.counts) or 'nothing submitted yet'}", style="default")
    if frame.doubts:
        head.append(f" · {frame.doubts} in doubt", style="yellow")
    if elapsed:
        head.append(f"   {elapsed}", style="bright_black")
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True, overflow="ellipsis", max_width=max(12, width // 3))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")
    for label, counts in frame.tasks:
        drawn = Text()
        for state, piece in bar(counts, min(BAR, max(8, width // 4))):
            drawn.append(piece, style=STYLES[state])
        table.add_row(Text(label), drawn, Text(_words(counts)))
    lines: list[RenderableType] = [head, table]
    if frame.more_tasks:
        lines.append(Text(f"… {frame.more_tasks} more tasks", style="bright_black"))
    lines += [Text(line, no_wrap=True, overflow="ellipsis") for line in frame.recent]
    lines += [Text(f"! {line}", style="yellow") for line in frame.troubles]
    if not last:
        lines.append(Text("Ctrl-C leaves the jobs running", style="bright_black"))
    return Group(*lines)


def _words(counts: Mapping[State, int]) -> str:
    if sum(counts.values()) == 1:
        return next(state.value for state, number in counts.items() if number)
    return rows.counts_text(counts)


class LivePlay:
    """Draws a :class:`Progress` until it is left; the last picture stays on the screen."""

    def __init__(
        self, progress: Progress, out: TextIO, *, color: bool, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._progress = progress
        self._console = Console(
            file=out, force_terminal=True, no_color=not color, highlight=False, soft_wrap=False
        )
        self._clock = clock
        self._begun = clock()
        self._over = False
        self._live = Live(
            get_renderable=self._draw, console=self._console, refresh_per_second=PER_SECOND,
            redirect_stdout=False, redirect_stderr=False, vertical_overflow="crop",
        )  # fmt: skip

    def _draw(self) -> RenderableType:
        room = max(3, self._console.height - _OTHER_LINES)
        seconds = int(self._clock() - self._begun)
        elapsed = f"{seconds // 60}:{seconds % 60:02d}"
        return picture(self._progress.frame(room), self._console.width, elapsed, last=self._over)

    def __enter__(self) -> LivePlay:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over = True
        self._live.stop()
