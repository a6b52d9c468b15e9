"""The last words of a play: how it went, what failed and why, and what to type next."""

from __future__ import annotations

from collections.abc import Sequence

from jobmgr.core.states import UNSUCCESSFUL, State
from jobmgr.views import rows, text, times

SEEN = 3
_DONE = (State.SUCCEEDED, State.FAILED, State.SUBMIT_FAILED, State.KILLED, State.REMOVED)
_STILL = (State.RUNNING, State.SUBMITTED, State.SUBMITTING, State.SUBMIT_UNKNOWN, State.QUEUED, State.HELD)


def summary(overview: rows.Overview, found: Sequence[rows.Row]) -> list[str]:
    """``sweep finished in 41 min: 484 succeeded, 1 not run (1/plot: waits for 1/sim)``, and what follows."""
    name = overview.name
    parts = [
        f"{overview.counts[state]} {state.value}" for state in (*_DONE, *_STILL) if overview.counts.get(state)
    ]
    not_run = overview.counts.get(State.WAITING, 0)
    if not_run:
        parts.append(f"{not_run} not run{_reasons(overview.waiting)}")
    took = duration(found)
    verb = "stopped" if overview.finished is None else "finished"
    time_taken = f" in {times.span(took)}" if took is not None else ""
    lines = [f"{name} {verb}{time_taken}: {', '.join(parts) or 'no jobs'}"]
    bad = [row for row in found if row.state in UNSUCCESSFUL]
    lines += _failures(bad)
    again = [row for row in bad if row.state is not State.KILLED]
    if again:
        logged = next((row for row in again if row.state is State.FAILED), None)
        steps = (
            [f"jobmgr log {name} {short(logged.id)} err"]
            if logged
            else [f"jobmgr why {name} {short(again[0].id)}"]
        )
        lines.append("next: " + "  ·  ".join([*steps, f"jobmgr retry {name}"]))
    elif bad:
        lines.append(f"next: jobmgr retry {name} :killed")
    return lines


def _reasons(waiting: Sequence[tuple[str, str]]) -> str:
    if not waiting:
        return ""
    told = "; ".join(f"{job}: {text.one_line(why)}" for job, why in waiting[:SEEN])
    return f" ({told}{'; …' if len(waiting) > SEEN else ''})"


def short(job_id: str) -> str:
    """``1/sim_m007`` of ``1/sim_m007/01``: what a person types for the latest job."""
    return "/".join(job_id.split("/")[:2])


def duration(found: Sequence[rows.Row]) -> float | None:
    """Seconds from the first submit to the last end; None if nothing has ended."""
    begun = [row.submit_time for row in found if row.submit_time is not None]
    ended = [row.exit_time for row in found if row.exit_time is not None]
    return max(ended) - min(begun) if begun and ended else None


def _failures(bad: Sequence[rows.Row]) -> list[str]:
    """``failed: exit 137 × 16 (first 1/sim_m007), time limit × 1 (1/sim_m499)``, a line for each bad end."""
    lines = []
    for state in (State.FAILED, State.SUBMIT_FAILED, State.KILLED):
        reasons: dict[str, list[str]] = {}
        for row in bad:
            if row.state is state:
                reasons.setdefault(reason(row), []).append(short(row.id))
        told = [
            f"{text.cut(why, 60)} × {len(jobs)} ({'first ' if len(jobs) > 1 else ''}{jobs[0]})"
            for why, jobs in sorted(reasons.items(), key=lambda item: -len(item[1]))
        ]
        if told:
            rest = f", and {len(told) - 2 * SEEN} reasons more" if len(told) > 2 * SEEN else ""
            lines.append(f"{state.value}: {', '.join(told[: 2 * SEEN])}{rest}")
    return lines


def reason(row: rows.Row) -> str:
    """Why a job ended badly, in the words that jobs of the same fate share: up to the first comma."""
    return text.one_line(row.detail.partition(",")[0].strip() or row.state.value)


def ended(row: rows.Row) -> str:
    """``1/sim_m007/01  failed: exit 137``."""
    detail = " · ".join(text.one_line(part) for part in (row.doubt, row.detail) if part)
    return f"{row.id}  {row.state.value}{f': {detail}' if detail else ''}"
