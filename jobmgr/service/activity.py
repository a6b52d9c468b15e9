"""job-activity.log: what the controller did about a job, written beside its logs when it has ended.

A copy for people of what the store's history has; ``jobmgr log SUITE ID activity`` reads the history itself
while the job is active.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from functools import lru_cache

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


def write(ctx: RunContext, jobs: Iterable[Job]) -> None:
    """Write the activity of jobs that have ended."""
    for job in jobs:
        folder = ctx.job_dir(job.id)
        private_folders(folder)
        path = folder / layout.ACTIVITY_FILE
        beside = folder / f".{layout.ACTIVITY_FILE}.new"
        with open(beside, "w", encoding="utf-8", opener=_private) as file:
            file.write(text_of(ctx.store.history(job.number)))
        os.replace(beside, path)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
