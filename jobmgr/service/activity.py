"""job-activity.log: what the controller did about a job, written where its logs come home when it has ended.

A copy for people of what the store's history has; ``jobmgr log SUITE ID activity`` reads the history itself. Where
logs stay on the hosts (``retrieve_logs: false``), so that nothing is made at home for each of many jobs, it is written
when somebody has them brought.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Sequence
from functools import lru_cache

from jobmgr.core.states import FINAL
from jobmgr.errors import JobmgrError
from jobmgr.service.context import RunContext
from jobmgr.service.install import private_folders
from jobmgr.store.records import Event, Job
from jobmgr_remote import layout


def text_of(events: Iterable[Event]) -> str:
    """One line per event: UTC time, kind, states, text."""
    return "".join(_line(event) for event in events)


def _line(event: Event) -> str:
    when = _utc(int(event.time))
    moved = f"{event.old or '-'} -> {event.new}" if event.old != event.new else event.new
    text = " ".join(event.text.split())
    rule = f" ({event.rule})" if event.rule else ""
    return f"{when} [{event.kind}] {moved}{rule}{f': {text}' if text else ''}\n"


@lru_cache(maxsize=64)
def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def write(ctx: RunContext, jobs: Sequence[Job]) -> None:
    """Write the activity of jobs that have ended."""
    if not jobs:
        return
    histories = ctx.store.histories([job.number for job in jobs])
    for job in jobs:
        folder = f"{ctx.run_dir}/{layout.job_dir(job.id)}"
        private_folders(folder)
        _put(f"{folder}/{layout.ACTIVITY_FILE}", text_of(histories[job.number]).encode())


def write_beside_logs(ctx: RunContext, jobs: Sequence[Job]) -> None:
    """The same for those of them whose logs come home by themselves."""
    stay = _leaving_logs(ctx, jobs)
    write(ctx, [job for job in jobs if job.platform not in stay])


def write_fetched(ctx: RunContext, jobs: Sequence[Job]) -> None:
    """The same for the others, as far as somebody has had their logs brought."""
    stay = _leaving_logs(ctx, jobs)
    there = [job.number for job in jobs if job.platform in stay and ctx.job_dir(job.id).is_dir()]
    write(ctx, [job for job in ctx.store.jobs_where(numbers=there) if job.state in FINAL])


def _leaving_logs(ctx: RunContext, jobs: Iterable[Job]) -> set[str]:
    """The platforms of these jobs whose logs stay on the hosts."""
    return {name for name in {job.platform for job in jobs} if not _brings_logs(ctx, name)}


def _brings_logs(ctx: RunContext, platform: str) -> bool:
    try:
        return ctx.world.platform(platform).retrieve_logs
    except JobmgrError:  # it is in no file any more
        return True


def _put(path: str, data: bytes) -> None:
    folder, name = os.path.split(path)
    beside = f"{folder}/.{name}.new"
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    finally:
        os.close(descriptor)
    os.replace(beside, path)
