"""``retrieve``: logs and outputs now, because a person asks, on all hosts in parallel."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct, field

from jobmgr.core.states import ACTIVE, FINAL
from jobmgr.errors import JobmgrError
from jobmgr.service import activity, loop, retrieve
from jobmgr.service.context import RunContext
from jobmgr.service.reach import needs_person
from jobmgr.service.workers import each
from jobmgr.store import records
from jobmgr.store.records import Job, Retrieval, by_place
from jobmgr.transport import rsync
from jobmgr_remote import layout

FEW = 20
"""Up to so many jobs are asked for one by one; for more, all files of the run are gone through once."""


class Fetched(Struct):
    """What came home, and the hosts that gave no answer."""

    outcome: retrieve.Outcome = field(default_factory=retrieve.Outcome)
    unreachable: dict[str, str] = field(default_factory=dict)
    person: dict[str, str] = field(default_factory=dict)

    def trouble(self, host: str, error: JobmgrError) -> None:
        (self.person if needs_person(error) else self.unreachable)[host] = str(error)


def fetch(ctx: RunContext, jobs: Sequence[Job], to: Path | None) -> Fetched:
    """Bring home what there is of these jobs. Never raises for a host."""
    fetched = Fetched()
    unlisted = _unlisted(ctx, jobs)
    if unlisted:
        rsync.get_ready()
        turned = loop.look(ctx, unlisted, even_logs=True)
        fetched.outcome += turned.totals.retrieved
        fetched.unreachable.update(turned.totals.unreachable)
        fetched.person.update(turned.totals.person)
    there = by_place(_with_files(ctx, jobs))
    results = each(lambda item: _from_host(ctx, item[0], item[1]), list(there.items()))
    for place, result in zip(there, results, strict=True):
        if isinstance(result, JobmgrError):
            fetched.trouble(place[1], result)
        else:
            fetched.outcome += result
    activity.write_fetched(ctx, jobs)
    if to is not None:
        ended = [
            job for job in ctx.store.jobs_where(numbers=[job.number for job in jobs]) if job.state in FINAL
        ]
        retrieve.copy_to(ctx, ended, to)
    return fetched


def _unlisted(ctx: RunContext, jobs: Sequence[Job]) -> list[Job]:
    """Those whose host has yet to be asked what there is."""
    entries = _entries(ctx, jobs, records.RETRIEVAL_STATES)
    listed = {entry.number for entry in entries if entry.path.startswith(layout.JOB_LOGS + "/")}
    return [job for job in jobs if job.state in ACTIVE or job.number not in listed]


def _with_files(ctx: RunContext, jobs: Sequence[Job]) -> list[Job]:
    """Those of which something can be brought, as the store has them now."""
    pending = {entry.number for entry in _entries(ctx, jobs, (records.PENDING,))}
    numbers = [job.number for job in jobs if job.state in ACTIVE or job.number in pending]
    return ctx.store.jobs_where(numbers=numbers) if numbers else []


def _entries(ctx: RunContext, jobs: Sequence[Job], states: Sequence[str]) -> list[Retrieval]:
    """The retrievals of these jobs in these states."""
    if len(jobs) <= FEW:
        return [entry for job in jobs for entry in ctx.store.retrievals(states, number=job.number)]
    wanted = {job.number for job in jobs}
    return [entry for entry in ctx.store.retrievals(states) if entry.number in wanted]


def _from_host(ctx: RunContext, place: tuple[str, str], jobs: list[Job]) -> retrieve.Outcome | JobmgrError:
    platform = ctx.world.platform(place[0])
    record = ctx.store.host(*place)
    outcome = retrieve.Outcome()
    try:
        running = [job for job in jobs if job.state in ACTIVE]
        if running:
            outcome += retrieve.fetch_running(ctx, platform, record, running)
        pending = _entries(ctx, [job for job in jobs if job.state in FINAL], (records.PENDING,))
        if pending:
            outcome += retrieve.retrieve_host(ctx, platform, record, pending)
    except JobmgrError as error:
        return error
    return outcome
