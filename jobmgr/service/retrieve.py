"""Bring logs and outputs home: one rsync per host and turn, for all jobs that have ended there.

What is to come was listed by the host at the job's end (path, size, type). A file is done when it is here
with at least the listed size, or when it is known why it never will be: too large, a link, vanished. All else
is tried again.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from jobmgr.core.events import Note, Retrieved
from jobmgr.core.retry import backoff
from jobmgr.platforms.model import Platform
from jobmgr.service.context import RunContext
from jobmgr.store import records
from jobmgr.store.records import Host, Job, Retrieval
from jobmgr.transport import rsync
from jobmgr_remote import layout, wire


class Outcome(Struct, frozen=True):
    """What came of a retrieval: files and bytes that arrived now, what was left out (path, why), what is
    still to come.
    """

    files: int = 0
    size: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    to_come: int = 0

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.files + other.files,
            self.size + other.size,
            self.left_out + other.left_out,
            self.to_come + other.to_come,
        )


def listed(
    job: Job, files: Iterable[wire.Listed], platform: Platform, work_dir: str = ""
) -> list[Retrieval]:
    """The retrievals that a host's listing of an ended job asks for.

    Only the job's own logs and what lies in its work directory: a host that lists anything else, such as the
    store, the suite's programs or another job's record, would have them overwritten at home.
    """
    logs = layout.job_dir(job.id) + "/"
    work = (work_dir or layout.default_work_dir(job.cycle, job.task)).strip("/") + "/"
    if not platform.retrieve_logs:
        files = [entry for entry in files if not entry.path.startswith(logs)]
    return [
        Retrieval(job.number, entry.path, entry.size, entry.type)
        for entry in files
        if entry.path != logs + layout.ACTIVITY_FILE
        and rsync.is_safe_name(entry.path)
        and (entry.path.startswith(logs) or _is_work(entry.path, work))
    ]


def _is_work(path: str, work: str) -> bool:
    """Whether a path is one of a work directory, and of none of the folders that are jobmgr's own."""
    return (work == "./" or path.startswith(work)) and path.split("/")[0] not in (layout.SERVICE, "log")


def retrieve_host(ctx: RunContext, platform: Platform, host: Host, pending: Sequence[Retrieval]) -> Outcome:
    """One rsync for everything that is to come from a host. Raises TransportError or RsyncError; nothing is
    lost then.
    """
    if host.shared:
        ctx.store.put_retrievals([replace(entry, state=records.DONE) for entry in pending])
        return Outcome(len(pending), sum(entry.size for entry in pending))
    files = [entry for entry in pending if entry.type == "file"]
    result = rsync.pull(
        ctx.world.hosts.for_files(platform, host.host),
        host.run_dir,
        str(ctx.run_dir),
        [entry.path for entry in files if not _too_large(entry, platform)],
        alike=layout.JOB_LOGS,
        max_size=platform.retrieve_max_size,
    )
    refused = set(result.refused)
    now = ctx.now()
    here = rsync.Inside(str(ctx.run_dir))
    after = [_judge(here, entry, platform, refused, result, now) for entry in pending]
    ctx.store.put_retrievals(after)
    point_latest(ctx.run_dir, (entry.path for entry in after if entry.state == records.DONE))
    outcome = Outcome(
        sum(entry.state == records.DONE for entry in after),
        sum(entry.size for entry in after if entry.state == records.DONE),
        tuple(
            (entry.path, entry.error) for entry in after if entry.state not in (records.DONE, records.PENDING)
        ),
        sum(entry.state == records.PENDING for entry in after),
    )
    if outcome.files or outcome.left_out:
        ctx.emit(Retrieved(ctx.name, host.host, outcome.files, outcome.size, outcome.left_out))
    return outcome


def point_latest(run_dir: Path, paths: Iterable[str]) -> None:
    """Beside the log directories of these files, make the link ``NN`` name the latest submit that is here."""
    logs = layout.JOB_LOGS.split("/")
    parts = (path.split("/") for path in paths)
    depth = len(logs) + 4
    folders = {"/".join(part[:-2]) for part in parts if part[: len(logs)] == logs and len(part) == depth}
    for folder in folders:
        here = os.path.join(run_dir, folder)
        try:
            with os.scandir(here) as entries:
                numbers = [entry.name for entry in entries if entry.name.isdigit() and entry.is_dir()]
        except OSError:  # nothing has come
            continue
        if numbers:
            _point(os.path.join(here, layout.LATEST), max(numbers, key=int))


def _point(link: str, target: str) -> None:
    """Have a link name this target, at no time another than the one of before."""
    try:
        os.symlink(target, link)
        return
    except FileExistsError:
        if os.path.islink(link) and os.readlink(link) == target:
            return
    folder, name = os.path.split(link)
    beside = f"{folder}/.{name}.{os.getpid()}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(beside)
    os.symlink(target, beside)
    os.replace(beside, link)


def _too_large(entry: Retrieval, platform: Platform) -> bool:
    return entry.size > platform.retrieve_max_size


def _judge(
    here: rsync.Inside,
    entry: Retrieval,
    platform: Platform,
    refused: set[str],
    result: rsync.RsyncResult,
    now: float,
) -> Retrieval:
    if entry.path in refused:
        return replace(entry, state=records.FAILED, error="refused: its path leads out of the run directory")
    if entry.type == "link":
        return replace(entry, state=records.IS_A_LINK, error="a symbolic link; links are not followed")
    if entry.type != "file":
        return (
            replace(entry, state=records.DONE)
            if entry.type == "dir"
            else replace(entry, state=records.FAILED, error=f"not a regular file ({entry.type})")
        )
    if _too_large(entry, platform):
        return replace(
            entry,
            state=records.TOO_LARGE,
            error=f"{entry.size} bytes, more than retrieve_max_size ({platform.retrieve_max_size})",
        )
    if here.holds(entry.path, entry.size):
        return Retrieval(entry.number, entry.path, entry.size, entry.type, records.DONE, "", entry.tries)
    tries = entry.tries + 1
    is_here = os.path.exists(os.path.join(here.local_dir, entry.path))
    said = result.complaint(entry.path)
    if tries >= VANISHED_AFTER and not is_here and not said and not result.may_have_more:
        return replace(entry, state=records.VANISHED, tries=tries, error="no longer there")
    error = said[:300] or "has not arrived whole yet"
    return replace(entry, tries=tries, not_before=now + backoff(tries), error=error)


VANISHED_AFTER = 2
"""rsync leaves out a listed file that is gone without an error; after so many tries without it, it has
vanished.
"""


def fetch_running(ctx: RunContext, platform: Platform, host: Host, jobs: Sequence[Job]) -> Outcome:
    """The logs of jobs that have not ended, as they are now. They come again, whole, when the job has ended.
    """
    if host.shared or not host.run_dir:
        return Outcome()
    names = (layout.JOB_FILE, layout.OUT_FILE, layout.ERR_FILE, layout.STATUS_FILE)
    paths = [layout.job_file(job.id, name) for job in jobs for name in names]
    transport = ctx.world.hosts.for_files(platform, host.host)
    rsync.pull(transport, host.run_dir, str(ctx.run_dir), paths, alike=layout.JOB_LOGS)
    point_latest(ctx.run_dir, paths)
    here = [ctx.run_dir / path for path in paths]
    sizes = [path.stat().st_size for path in here if path.is_file()]
    return Outcome(len(sizes), sum(sizes))


M_DELIVER = "deliver"
"""Run metadata: task -> folder at home that its outputs are to be copied into."""


def deliver(ctx: RunContext, numbers: Iterable[int]) -> None:
    """Copy the outputs of jobs that came home whole to where ``run --to`` wants them. Tells what cannot be copied."""
    wanted = ctx.store.meta(M_DELIVER) or {}
    if not wanted:
        return
    jobs = [job for job in ctx.store.jobs_where(numbers=sorted(set(numbers))) if job.task in wanted]
    for job in jobs:
        if not ctx.store.retrievals(number=job.number):
            try:
                copy_to(ctx, [job], Path(wanted[job.task]))
            except OSError as error:
                here = ctx.run_dir / _work_dir(ctx, job)
                text = f"{wanted[job.task]} ({error.strerror or error}); they are in {here}"
                ctx.emit(Note("warning", f"{job.id}: its outputs could not be copied to {text}"))


def copy_to(ctx: RunContext, jobs: Sequence[Job], target: Path) -> int:
    """Copy what came home of these jobs into a folder: outputs by name, one folder per job if there are
    several.

    Returns the number of files. The job's logs stay in the run directory.
    """
    import shutil

    count = 0
    for job in jobs:
        folder = target if len(jobs) == 1 else target / job.cycle / job.task
        work = ctx.run_dir / (_work_dir(ctx, job))
        for entry in ctx.store.retrievals(records.RETRIEVAL_STATES, number=job.number):
            path = ctx.run_dir / entry.path
            if entry.state == records.DONE and path.is_file() and path.is_relative_to(work):
                goal = folder / path.relative_to(work)
                goal.parent.mkdir(parents=True, exist_ok=True)
                beside = goal.with_name(f".{goal.name}.new")
                shutil.copyfile(path, beside)
                os.replace(beside, goal)
                count += 1
    return count


def _work_dir(ctx: RunContext, job: Job) -> str:
    spec = json.loads(ctx.store.specs([job.number]).get(job.number, "{}"))
    return str(spec.get("work_dir") or layout.default_work_dir(job.cycle, job.task))
