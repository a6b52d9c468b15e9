"""scan: evidence about every job that the run directory holds, to rebuild a controller's store from it.

No items, no options. One wire.Evidence per job directory, in the order of the job ids; its facts hold
RUNNER, TOKEN and SUBMIT_TIME. A directory whose job.status cannot be read gets a note instead. Before them
one data line tells whose the run is: ``uuid``, ``controller``, ``epoch``, ``owner``, ``time``. The
request's uuid may be empty: who rebuilds a store may not know it any more.
"""

import os

from jobmgr_remote import evidence, layout, status, wire
from jobmgr_remote.runners import background
from jobmgr_remote.session import Host, Reply, read_owner, read_small


def run(request: wire.Request, reply: Reply, host: Host) -> None:
    """Answer the request."""
    owner = dict(read_owner(host), uuid=read_small(host.path(layout.UUID_FILE)).strip())
    reply.data(owner)
    items, unreadable = find_jobs(host.run_dir)
    for job, reason in unreadable:
        reply.note("warning", "unreadable", "%s: %s" % (job, reason))
    looker = evidence.Looker(host, background.spool_of(host))
    for found in looker.look(items, reply.progress):
        reply.job(found)


def find_jobs(run_dir: str) -> "tuple[list[dict], list[tuple[str, str]]]":
    """The jobs in ``log/job`` as items of a poll; and those whose job.status cannot be read, with why."""
    items = []
    unreadable = []
    for job in job_ids(run_dir):
        try:
            items.append(read_item(run_dir, job))
        except (OSError, status.Unreadable) as error:
            unreadable.append((job, str(error)))
    return items, unreadable


def job_ids(run_dir: str) -> "list[str]":
    """Every ``CYCLE/TASK/NN`` that has a directory, sorted; links (``NN``) and strangers are passed over."""
    found = []
    base = run_dir + "/" + layout.JOB_LOGS
    for cycle in folders(base):
        for task in folders(base + "/" + cycle):
            for number in folders("%s/%s/%s" % (base, cycle, task)):
                job = "%s/%s/%s" % (cycle, task, number)
                try:
                    layout.split_job_id(job)
                except ValueError:
                    continue
                found.append(job)
    return found


def folders(path: str) -> "list[str]":
    """Names of the real folders in a folder, sorted; none if it is not there."""
    try:
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def read_item(run_dir: str, job: str) -> dict:
    """What job.status says a job is. Raises OSError, status.Unreadable."""
    data, _ = evidence.read_bounded(run_dir + "/" + layout.job_file(job, layout.STATUS_FILE))
    facts = status.parse(data).facts
    token = facts.get(status.TOKEN)
    if not layout.is_token(token):
        raise status.Unreadable("job.status has no token")
    return {"job": job, "token": token, "runner": facts.get(status.RUNNER) or background.NAME}
