"""What happens after a final state, and how long to wait before trying again."""

from __future__ import annotations

from msgspec import Struct

from .states import State

BACKOFF = (10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
"""Seconds between attempts to reach something that failed; the last one repeats."""


class Policy(Struct, frozen=True):
    """The delays of a task, in seconds: one try for each."""

    retry_delays: tuple[float, ...] = ()
    submit_retry_delays: tuple[float, ...] = ()


class Ended(Struct, frozen=True):
    """How a job ended: its final state and what bears on a retry.

    ``tries`` and ``submit_tries``: how many delays of each kind its instance has used up. ``retry_safe``:
    nothing of the job can start any more. ``taken``: the host has a job of that name already, which is not ours.
    """

    state: State
    lost: bool = False
    retry_safe: bool = False
    tries: int = 0
    submit_tries: int = 0
    taken: bool = False


class Next(Struct, frozen=True):
    """What comes next for the instance.

    ``again``: it waits for a new job, not before ``at`` (controller clock); ``tries`` and ``submit_tries``:
    its new counts. ``fence_first``: the retry has to wait until the old token is known to be revoked.
    ``text`` says it for users.
    """

    again: bool
    text: str
    at: float = 0.0
    tries: int = 0
    submit_tries: int = 0
    fence_first: bool = False


NEVER_FOLLOWED = frozenset((State.SUCCEEDED, State.KILLED))
"""Final states of jobs that are never followed by another one."""


def after_final(ended: Ended, policy: Policy, now: float) -> Next:
    """Whether a job that has ended is followed by another one, and when.

    Failed: by ``retry_delays``; submit-failed: by ``submit_retry_delays``. Killed, succeeded and removed ones
    never; a lost one never by itself, because it may have run, nor one that the host has from somebody else
    (another controller, before the run was taken over): that one runs.
    """
    tries, submit_tries = ended.tries, ended.submit_tries
    if ended.state is State.FAILED and ended.lost:
        return Next(False, "not retried by itself: it may have run", tries=tries, submit_tries=submit_tries)
    if ended.state is State.FAILED:
        if tries >= len(policy.retry_delays):
            return Next(False, _used_up(tries), tries=tries, submit_tries=submit_tries)
        delay = policy.retry_delays[tries]
        text = f"retry {tries + 1} of {len(policy.retry_delays)} in {delay:.0f} s"
        return Next(True, text, now + delay, tries + 1, 0)
    if ended.state is State.SUBMIT_FAILED:
        return _after_submit(ended, policy, now)
    return Next(False, "", tries=tries, submit_tries=submit_tries)


def _after_submit(ended: Ended, policy: Policy, now: float) -> Next:
    tries, used = ended.tries, ended.submit_tries
    if ended.taken:
        text = "not retried by itself: the host has it from another controller"
        return Next(False, text, tries=tries, submit_tries=used)
    delays = policy.submit_retry_delays
    if used >= len(delays):
        return Next(False, _used_up(used), tries=tries, submit_tries=used)
    text = f"submit retry {used + 1} of {len(delays)} in {delays[used]:.0f} s"
    return Next(True, text, now + delays[used], tries, used + 1, fence_first=not ended.retry_safe)


def _used_up(tries: int) -> str:
    return "no retries left" if tries else ""


def backoff(failures: int, delays: tuple[float, ...] = BACKOFF, jitter: float = 0.0) -> float:
    """Seconds to wait after so many failures in a row. ``jitter`` (0 to 1) adds up to a quarter, so that many
    do not come at once.
    """
    delay = delays[min(max(failures, 1), len(delays)) - 1]
    return delay * (1.0 + 0.25 * min(max(jitter, 0.0), 1.0))


def contact_backoff(failures: int, jitter: float) -> float:
    """Seconds until a host is contacted again after so many failures in a row; ``jitter`` from 0 to 1."""
    return backoff(failures, jitter=jitter)
