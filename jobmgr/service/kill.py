"""Kill: one ``jobs-kill`` per host, the intent stored before any host is asked.

A kill that gets no answer is not forgotten: the intent stays beside the job, the next look settles it (a
token that the host has not seen is revoked), and until then the job is in doubt, not killed. If that look finds the
job alive, and no kill mark beside it, the request is sent again.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from jobmgr.core.states import State
from jobmgr.errors import JobmgrError, RefusedError
from jobmgr.platforms.model import Platform
from jobmgr.service import poll
from jobmgr.service.context import RunContext
from jobmgr.service.verdicts import store_changes
from jobmgr.service.workers import each
from jobmgr.store.records import Change, Job, by_place
from jobmgr_remote import wire

GRACE = 10.0
"""Seconds between TERM and KILL."""

AGAIN = 60.0
"""Seconds after which a kill may be sent again: until then the first one may be under way."""

NO_ANSWER = "no-answer"
"""The result for a job whose host did not answer; the kill is followed up by the loop's turns."""


REFUSED = "refused"
"""The result for a job whose host declined: the run was taken over, or the site's policy forbids it."""


class Result(Struct, frozen=True):
    """What became of one kill: one of wire.K_*, NO_ANSWER or REFUSED; ``text`` for people."""

    job: Job
    result: str
    text: str


class Killed(Struct, frozen=True):
    """What one host said."""

    results: tuple[Result, ...]
    host: str
    error: JobmgrError | None = None


def kill_jobs(
    ctx: RunContext, jobs: Sequence[Job], grace: float = GRACE, *, even_final: bool = False
) -> list[Killed]:
    """Kill the active ones of these jobs on all their hosts, in parallel. Never raises for a host.

    ``even_final``: ask about final ones too (a lost job, before it may be retried).
    """
    active = ctx.store.mark_kill_intent([job.number for job in jobs], ctx.now())
    return each(
        lambda item: kill_at(ctx, ctx.world.platform(item[0][0]), item[0][1], item[1], grace),
        list(by_place(jobs if even_final else active).items()),
    )


def drop_queued(ctx: RunContext, jobs: Sequence[Job]) -> list[Result]:
    """Kill jobs that a full queue has refused: no host has them, so none is asked."""
    changes = [
        Change(
            job,
            job._replace(state=State.KILLED, rule="killed", detail="not submitted", retry_safe=True),
            kind="kill",
        )
        for job in jobs
        if job.state is State.QUEUED
    ]
    made = store_changes(ctx, changes)
    return [Result(change.new, wire.K_KILLED, "it had not been submitted") for change in made]


def unheard(ctx: RunContext, now: float) -> list[Job]:
    """Jobs that were to be killed, a while ago, and whose host does not know of it."""
    found = []
    for job in ctx.store.to_kill_again(now - AGAIN):
        look = ctx.store.last_look(job.number)
        if look is None or look[0] < (job.kill_intended or 0.0):
            continue  # it has not been looked at since
        if wire.decode_evidence(json.loads(look[1])).killed is not True:
            found.append(job)
    return found


def kill_at(
    ctx: RunContext, platform: Platform, host: str, jobs: Sequence[Job], grace: float = GRACE
) -> Killed:
    """One ``jobs-kill``; what the host says is stored. Never raises for the host."""
    answers: dict[str, wire.Killed] = {}
    answer = poll.Answer()

    def on_record(kind: str, value: Any) -> None:
        if kind == wire.HELLO:
            answer.hello = value
        elif kind == wire.JOB:
            answers[value.job] = value
            if value.evidence is not None:
                answer.evidence[value.job] = value.evidence

    options: dict[str, Any] = {"grace": grace}
    if platform.max_active is not None:
        options["max_active"] = platform.max_active
    try:
        ctx.world.hosts.call(
            platform,
            host,
            wire.JOBS_KILL,
            ctx.wire_run(platform),
            options,
            poll.poll_items(ctx, jobs),
            on_record=on_record,
        )
    except JobmgrError as error:
        answer.error = error
    fresh = ctx.store.jobs_where(numbers=[job.number for job in jobs])
    told = [job for job in fresh if job.id in answer.evidence or answer.error is not None]
    concluded = poll.conclude(ctx, platform, host, told, answer)
    after = {change.new.number: change.new for change in concluded.changes}
    return Killed(
        tuple(_result(after.get(job.number, job), answers.get(job.id), answer.error) for job in fresh),
        host,
        answer.error,
    )


def _result(job: Job, answer: wire.Killed | None, error: JobmgrError | None) -> Result:
    if answer is not None:
        return Result(job, answer.result, answer.text)
    if isinstance(error, RefusedError):
        return Result(job, REFUSED, str(error))
    text = str(error).splitlines()[0] if error is not None else "the host did not answer about this job"
    return Result(job, NO_ANSWER, f"{text}; the kill is remembered and followed up by ticks")
