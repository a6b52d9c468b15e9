"""When a job is due for a poll, and which of the ready ones may be submitted.

All times are seconds since the epoch by the controller's clock. Chance comes in as ``jitter`` (0 to 1), so
that these functions stay pure.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from msgspec import Struct

from .retry import backoff
from .states import ACTIVE, State

NEAR_LIMIT = (60.0, 120.0, 420.0)
"""Seconds after the time limit of a job at which it is looked at: 1 min, then 2 min later, then every 7 min.
"""

QUEUE_FULL = 120.0
"""Seconds after a refusal for want of room until one more job is tried though none of ours has ended."""

FIRST_LAG, LONGEST_LAG = 2.0, 16.0
"""Seconds that a queue is given to notice that jobs have ended, before it is tried again."""

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)


class Intervals(Struct, frozen=True):
    """Seconds between polls; the last of a list repeats. ``execution`` once it runs, ``queued`` before."""

    execution: tuple[float, ...] = (30.0,)
    queued: tuple[float, ...] = (30.0,)
    minimum: float = 10.0


class Polled(Struct, frozen=True):
    """What bears on the next poll of a job.

    ``polls``: answered ones since its state last changed; ``errors``: unanswered ones in a row; ``last``: the
    time of the last one, answered or not; ``start_time`` and ``time_limit`` (seconds) as far as they are
    known; ``clock_offset``: how far the host's clock, by which ``start_time`` is told, is ahead of ours.
    """

    state: State
    last: float
    polls: int = 0
    errors: int = 0
    start_time: float | None = None
    time_limit: float | None = None
    clock_offset: float = 0.0


def next_poll(polled: Polled, intervals: Intervals, jitter: float = 0.0) -> float | None:
    """When the job is due; None for a state in which nothing more is expected."""
    if polled.state not in ACTIVE:
        return None
    if polled.errors:
        return polled.last + max(intervals.minimum, backoff(polled.errors, jitter=jitter))
    chosen = intervals.execution if polled.state is State.RUNNING else intervals.queued
    due = polled.last + max(intervals.minimum, entry(chosen, polled.polls))
    limit = _limit_poll(polled, intervals.minimum)
    return due if limit is None else min(due, limit)


def entry(values: Sequence[float], index: int) -> float:
    """An entry of a list whose last one repeats; 60 for an empty list."""
    return values[min(index, len(values) - 1)] if values else 60.0


def _limit_poll(polled: Polled, minimum: float) -> float | None:
    """The next look that the time limit asks for: soon after it has passed, and then less and less often."""
    if polled.state is not State.RUNNING or polled.start_time is None or not polled.time_limit:
        return None
    look = polled.start_time - polled.clock_offset + polled.time_limit
    for step in NEAR_LIMIT:
        look += step
        if look > polled.last:
            return max(look, polled.last + minimum)
    return polled.last + max(minimum, NEAR_LIMIT[-1])


class Full(Struct, frozen=True):
    """A queue that has refused a job for want of room.

    ``active``: the jobs that the platform had then, of ours; ``again``: when ``step`` more are tried though
    none of them has ended, since others' jobs may have. ``lag``: seconds that it was given the last time to
    notice that jobs have ended, which is over at ``after``.
    """

    active: int
    again: float
    step: int = 1
    lag: float = 0.0
    after: float = 0.0

    def room(self, active: int, now: float) -> int:
        """How many jobs may be sent now: one for each that has ended."""
        freed = self.active - active if now >= self.after else 0
        return max(freed, self.step if now >= self.again else 0)


def after_send(full: Full | None, refused: bool, active: int, now: float) -> Full | None:
    """What is known of a queue after a batch was sent there; None: nothing that limits.

    ``active``: the platform's jobs by now, without those refused. What went well beyond the old limit
    is followed by ten times as many. A queue that refuses though jobs of ours have ended counts them for a
    while longer (Grid Engine does so for seconds): it is given twice the time at each refusal, and taken at
    its word in the end.
    """
    if refused:
        if full is not None and active < full.active and full.lag < LONGEST_LAG:
            lag = 2 * full.lag or FIRST_LAG
            return Full(full.active, now + QUEUE_FULL, 1, lag, now + lag)
        return Full(active, now + QUEUE_FULL)
    if full is None or active <= full.active:
        return full if full is None or not full.lag else Full(full.active, full.again, full.step)
    return Full(active, now, full.step * 10) if full.step < 10_000 else None


def soonest(due: float | None, asked: float | None) -> float | None:
    """The earlier of two times, None being never."""
    if due is None or asked is None:
        return asked if due is None else due
    return min(due, asked)


def by_host(items: Iterable[T], key: Callable[[T], K]) -> dict[K, list[T]]:
    """Items in batches, one for each key (platform and host, say), in the order of their first item."""
    batches: dict[K, list[T]] = {}
    for item in items:
        batches.setdefault(key(item), []).append(item)
    return batches


def admit(
    ready: Iterable[T],
    platform_of: Callable[[T], str],
    active: Mapping[str, int],
    limits: Mapping[str, int | None],
    held: Collection[str] = (),
) -> tuple[list[T], list[tuple[T, str]]]:
    """Which of the ready ones may be submitted now, in their order, and why the others wait.

    ``active``: how many jobs each platform has; ``limits``: its ``max_submit`` (None or missing = no limit);
    ``held``: platforms that get nothing at present. One platform that is full never holds up another.
    """
    used = dict(active)
    admitted: list[T] = []
    waiting: list[tuple[T, str]] = []
    for item in ready:
        platform = platform_of(item)
        limit = limits.get(platform)
        if platform in held:
            waiting.append((item, f"{platform} is held"))
        elif limit is not None and used.get(platform, 0) >= limit:
            waiting.append((item, f"{platform} has {limit} jobs (max_submit)"))
        else:
            used[platform] = used.get(platform, 0) + 1
            admitted.append(item)
    return admitted, waiting
