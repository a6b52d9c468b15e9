"""Tables of plain text: fast for ten thousand rows, cut to the width of the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from jobmgr.core.states import FINAL, UNSUCCESSFUL, State
from jobmgr.views import color, rows, text, times

HEADER = ("JOB", "STATE", "SINCE", "PLATFORM", "ID", "DETAIL")
RUNS_HEADER = ("RUN", "STATE", "JOBS", "AS OF")


def table(
    header: Sequence[str], lines: Sequence[Sequence[str]], width: int, paints: Sequence[str | None] = ()
) -> list[str]:
    """Aligned lines, two blanks between columns; the last column is cut at ``width`` (0: never cut).

    ``paints`` gives each line's colour for the second column, None for none.
    """
    cells = [[text.one_line(cell) for cell in line] for line in lines]
    columns = range(len(header) - 1)
    widths = [max(text.width(line[i]) for line in [header, *cells]) for i in columns]
    room = max(width - sum(widths) - 2 * len(widths), 12) if width else 0
    shown = []
    for number, line in enumerate([header, *cells]):
        code = paints[number - 1] if number and paints else None
        parts = [text.pad(line[i], widths[i]) for i in columns]
        if code and len(parts) > 1:
            parts[1] = color.paint(parts[1], code, True)
        parts.append(text.cut(line[-1], room) if room else line[-1])
        shown.append("  ".join(parts).rstrip())
    return shown


def job_line(row: rows.Row, now: float) -> tuple[str, ...]:
    """The cells of one job: a ``?`` behind the ID marks doubt, which then leads the detail."""
    detail = " · ".join(part for part in (row.doubt, row.detail) if part)
    return (
        f"{row.id} ?" if row.doubt else row.id,
        row.state.value,
        times.clock(row.since, now),
        row.platform,
        row.native_id,
        detail,
    )


def title(overview: rows.Overview, now: float) -> str:
    """``sweep  421 succeeded · 64 running · 17 failed        as of 12:04, 2 min ago (--poll asks now)``."""
    words = rows.counts_text(overview.counts) or "no jobs"
    if overview.held:
        words += " · run held"
    if overview.doubts:
        words += f" · {overview.doubts} in doubt"
    if overview.finished is not None:
        return f"{overview.name}  {words}        finished {times.clock(overview.finished, now)}"
    if overview.as_of is None:
        return f"{overview.name}  {words}        no host has answered yet"
    when = f"as of {times.clock(overview.as_of, now)}, {times.ago(overview.as_of, now)}"
    return f"{overview.name}  {words}        {when} (--poll asks now)"


def status(
    overview: rows.Overview,
    found: Sequence[rows.Row],
    now: float,
    width: int,
    *,
    colored: bool = False,
    complete: bool = False,
) -> list[str]:
    """The title and the table of a run. ``complete`` shows every row, else a few of each state."""
    listed: list[tuple[str, ...]] = []
    paints: list[str | None] = []
    hints: dict[int, str] = {}
    for kind in rows.kinds(found, all_of_them=complete):
        listed += (job_line(row, now) for row in kind.shown)
        paints += [color.SGR.get(kind.state) if colored else None] * len(kind.shown)
        if kind.more:
            hints[len(listed)] = (
                f"… {kind.more} more like this: jobmgr status {overview.name} :{kind.state.value}"
            )
    lines = [color.paint(title(overview, now), color.BOLD, colored)]
    if not listed:
        return lines
    body = table(HEADER, listed, width, paints)
    lines.append(body[0])
    for number, line in enumerate(body[1:], start=1):
        lines.append(line)
        if number in hints:
            lines.append(hints[number])
    return lines


def runs(overviews: Sequence[rows.Overview], now: float, width: int) -> list[str]:
    """One line for each run of the run root."""
    lines = [
        (
            overview.name,
            _run_state(overview),
            rows.counts_text(overview.counts) or "no jobs",
            f"{times.clock(overview.as_of, now)}, {times.ago(overview.as_of, now)}" if overview.as_of else "",
        )
        for overview in overviews
    ]
    return table(RUNS_HEADER, lines, width)


def _run_state(overview: rows.Overview) -> str:
    if overview.finished is not None:
        bad = any(overview.counts.get(state) for state in UNSUCCESSFUL)
        return "finished, not all well" if bad else "finished"
    if overview.held:
        return "held"
    if overview.doubts:
        return "active, in doubt"
    return "active" if any(overview.counts.get(state) for state in State if state not in FINAL) else "ended"
