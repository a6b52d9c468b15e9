"""Kill: one ``jobs-kill`` per host, the intent stored before any host is asked.

A kill that gets no answer is not forgotten: the intent stays beside the job, the next look settles it (a
token that the host has not seen is revoked), and until then the job is in doubt, not killed. If that look finds the
job alive, and no kill mark beside it, the request is sent again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
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
    told = _Told(ctx, platform, host, jobs)
    error: JobmgrError | None = None
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
            poll.poll_items(ctx, jobs, logs=platform.retrieve_logs),
            on_record=told.take,
        )
    except JobmgrError as failed:
        error = failed
    return Killed(told.results(error), host, error)


class _Told:
    """What a host says of its kills, stored part by part while it goes on."""

    def __init__(self, ctx: RunContext, platform: Platform, host: str, jobs: Sequence[Job]) -> None:
        self._ctx, self._platform, self._host = ctx, platform, host
        self._jobs = {job.id: job for job in jobs}
        self._answers: dict[str, wire.Killed] = {}
        self._part = poll.Answer()
        self._stored: set[str] = set()

    def take(self, kind: str, value: Any) -> None:
        """One record of the reply."""
        if kind == wire.HELLO:
            self._part.hello = value
        elif kind == wire.JOB:
            self._answers[value.job] = value
            if value.evidence is not None and value.job in self._jobs:
                self._part.evidence[value.job] = value.evidence
            if len(self._part.evidence) >= poll.PART:
                self._store(self._part.evidence)

    def results(self, error: JobmgrError | None) -> tuple[Result, ...]:
        """Of all jobs, in their order, once the call is over. ``error``: what ended it before it was answered."""
        self._part.error = error
        self._store(self._jobs if error is not None else self._part.evidence)
        unheard = [job.number for job in self._jobs.values() if job.id not in self._stored]
        self._jobs.update((job.id, job) for job in self._ctx.store.jobs_where(numbers=unheard))
        return tuple(_result(job, self._answers.get(name), error) for name, job in self._jobs.items())

    def _store(self, names: Iterable[str]) -> None:
        """Conclude what the present part tells of these jobs, and begin the next one."""
        jobs = [self._jobs[name] for name in names]
        changes = poll.conclude_told_once(self._ctx, self._platform, self._host, jobs, self._part).changes
        self._jobs.update((change.new.id, change.new) for change in changes)
        self._stored.update(change.new.id for change in changes)
        self._part = poll.Answer(hello=self._part.hello)


def _result(job: Job, answer: wire.Killed | None, error: JobmgrError | None) -> Result:
    if answer is not None:
        return Result(job, answer.result, answer.text)
    if isinstance(error, RefusedError):
        return Result(job, REFUSED, str(error))
    text = str(error).splitlines()[0] if error is not None else "the host did not answer about this job"
    return Result(job, NO_ANSWER, f"{text}; the kill is remembered and followed up by ticks")
