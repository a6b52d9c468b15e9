"""job-activity.log: what the controller did about a job, written beside its logs when it has ended.

A copy for people of what the store's history has; ``jobmgr log SUITE ID activity`` reads the history itself
while the job
is active.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from jobmgr.service.context import RunContext
from jobmgr.store.records import Event, Job
from jobmgr_remote import layout


def text_of(events: Iterable[Event]) -> str:
    """One line per event: UTC time, kind, states, text."""
    return "".join(_line(event) for event in events)


def _line(event: Event) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(event.time))
    moved = f"{event.old or '-'} -> {event.new}" if event.old != event.new else event.new
    text = " ".join(event.text.split())
    return f"{when} [{event.kind}] {moved}{f' ({event.rule})' if event.rule else ''}{f': {text}' if text else ''}\n"


def write(ctx: RunContext, jobs: Iterable[Job]) -> None:
    """Write the activity of jobs that have ended, and the link NN to the latest of each task."""
    latest: dict[tuple[str, str], Job] = {}
    for job in jobs:
        folder = ctx.job_dir(job.id)
        os.makedirs(folder, mode=0o700, exist_ok=True)
        path = folder / layout.ACTIVITY_FILE
        beside = folder / f".{layout.ACTIVITY_FILE}.new"
        with open(beside, "w", encoding="utf-8", opener=_private) as file:
            file.write(text_of(ctx.store.history(job.number)))
        os.replace(beside, path)
        if job.key not in latest or latest[job.key].submit < job.submit:
            latest[job.key] = job
    for job in latest.values():
        _link_latest(ctx, job)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _link_latest(ctx: RunContext, job: Job) -> None:
    folder = ctx.job_dir(job.id).parent
    link = folder / layout.LATEST
    target = f"{job.submit:02d}"
    try:
        if int(os.readlink(link)) >= job.submit:
            return
    except (OSError, ValueError):
        pass
    beside = folder / f".{layout.LATEST}.{os.getpid()}"
    beside.unlink(missing_ok=True)
    beside.symlink_to(target)
    os.replace(beside, link)
