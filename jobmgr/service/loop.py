"""Ways to turn the engine: one turn (``tick``, ``submit``), until the end (``play``, ``wait``), or just a
look (``poll``).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from msgspec import Struct, field

from jobmgr.core.events import Turn
from jobmgr.core.states import FINAL, State
from jobmgr.errors import WaitTimeout
from jobmgr.service import tidy
from jobmgr.service.context import M_ADHOC, M_FINISHED, RunContext
from jobmgr.service.engine import Engine, Totals
from jobmgr.store.records import Job

OTHERS_EVERY = 1.0
"""Seconds between looks at what other processes have changed in the store."""


class Turned(Struct, frozen=True):
    """What a turn came to. ``finished``: nothing is left to do in the run."""

    totals: Totals = field(default_factory=Totals)
    finished: bool = False


def one_turn(ctx: RunContext, *, poll_due: bool = True) -> Turned:
    """Poll what is due, retrieve, retry, submit what became ready; returns when nothing more follows at once.
    """
    with Engine(ctx) as engine:
        if poll_due:
            engine.poll_due()
        engine.advance()
        while engine.busy:
            if not engine.step(5.0) or engine.has_news:
                engine.advance()
        finished = engine.finished()
    _turn_event(ctx)
    if finished:
        finish_run(ctx)
    return Turned(engine.totals, finished)


def look(ctx: RunContext, jobs: Sequence[Job], *, even_logs: bool = False) -> Turned:
    """Ask the hosts about these jobs now, bring home what ended; nothing is submitted.

    ``even_logs``: logs as well where they do not come by themselves.
    """
    with Engine(ctx, plans=False) as engine:
        engine.poll(jobs, even_blocked=True, even_logs=even_logs)
        while engine.busy:
            engine.step(5.0)
            engine.retrieve()
    return Turned(engine.totals)


def watch_to_the_end(
    ctx: RunContext, until: Callable[[], bool] | None = None, timeout: float | None = None
) -> Turned:
    """Turn until the run is finished, or ``until()`` is true. Raises WaitTimeout after ``timeout`` seconds;
    jobs go on.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    finished = False
    with Engine(ctx) as engine:
        while True:
            engine.advance()
            engine.watch()
            engine.poll_due()
            _turn_event(ctx)
            finished = engine.finished()
            if finished or (until is not None and until()) or engine.stuck():
                break
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise WaitTimeout(f"{ctx.name}: not finished in time; the jobs go on")
            pause = engine.next_time(OTHERS_EVERY)
            engine.step(pause if left is None else min(pause, left))
    engine.refresh()
    finished = finished or engine.finished()
    if finished and _to_retrieve(ctx):
        engine.totals.retrieved += one_turn(ctx, poll_due=False).totals.retrieved
    if finished:
        finish_run(ctx)
    return Turned(engine.totals, finished)


def follow_others(ctx: RunContext, until: Callable[[], bool], timeout: float | None = None) -> None:
    """Wait for ``until()`` while another process turns the loop. Raises WaitTimeout."""
    deadline = None if timeout is None else time.monotonic() + timeout
    pause = 0.05
    while not until():
        if deadline is not None and time.monotonic() >= deadline:
            raise WaitTimeout(f"{ctx.name}: not finished in time; the jobs go on")
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)


def finish_run(ctx: RunContext) -> None:
    """Note that a run has come to its end, and take the contact file from its hosts, once."""
    if ctx.store.meta(M_FINISHED) is None and not any(s not in FINAL for s in _job_states(ctx)):
        ctx.store.set_meta({M_FINISHED: ctx.now()})
        if not _to_retrieve(ctx) and not ctx.store.meta(M_ADHOC):  # the next ad-hoc job may come any moment
            tidy.tidy_hosts(ctx)


def _job_states(ctx: RunContext) -> list[State]:
    return [state for state in ctx.store.counts() if state not in (State.WAITING, State.QUEUED, State.HELD)]


def _to_retrieve(ctx: RunContext) -> bool:
    return bool(ctx.store.retrievals())


def _turn_event(ctx: RunContext) -> None:
    ctx.emit(Turn(ctx.name, ctx.store.counts()))
