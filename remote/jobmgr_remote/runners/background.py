"""background (``runner: background``): processes of this machine, without a batch system.

Jobs wait in the user's spool on the host, and at most ``max_active`` of them run at once (default: twice the
number of processors), over all runs of the user on that machine. They outlive the connection and need nothing
resident: the slots that run them end with the last job. Portable keys (``memory``, ``cpus_per_task``, ...)
are shown to the job in its environment and not enforced; the time limit is. ``directives`` do not exist here
and are refused.

Native id: the process id of the job's shell, once it runs.
"""

from jobmgr_remote import proc
from jobmgr_remote.spool import Queued, Spool

NAME = "background"
VERSION_ARGV = ["bash", "--version"]
CARRIER = "the job's own record"
SHARED_STATUS = False
VACATION_SIGNALS = ()
ID_VARIABLE = ""
INDEX_VARIABLE = ""
TIMEOUT = 60.0
MAX_IDS = 10000
#: Seconds to wait for another call that is starting slots.
LOCK_TIMEOUT = 60.0


def directives(job: dict) -> "list[str]":
    """None: there is no batch system that would read them. Raises ValueError if the job asks for some."""
    for name, _ in job.get("directives") or []:
        raise ValueError("directives: the background runner has none (%s)" % name)
    return []


def spool_of(host: object) -> Spool:
    """The spool of this user on this machine."""
    return Spool(host.home, host.hostname, host.instance)


def submit(host: object, jobs: "list[Queued]", max_active: "int | None") -> "dict[str, OSError]":
    """Queue jobs, and have slots for them. Returns what could not be queued, by token. Raises OSError."""
    spool = spool_of(host)
    failed = spool.enqueue(jobs)
    spool.set_max_active(max_active)
    spool.tend(proc.find_program("bash"), LOCK_TIMEOUT)
    spool.remove_old_instances()
    return failed


def tend(host: object, options: dict) -> Spool:
    """Restart what is missing; every call of any verb does so. Never raises for want of a writable spool."""
    spool = spool_of(host)
    try:
        if spool.exists():
            if options.get("max_active"):
                spool.set_max_active(options["max_active"])
            spool.tend(proc.find_program("bash"))
    except OSError:
        pass
    return spool
