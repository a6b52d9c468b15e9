"""The paths of a run directory and of a host's own folder: the one definition of both.

The same tree stands on the controller and on every host (docs/protocol.md, "Run directory"). All
functions are pure: they join strings and touch no file. A run directory is given as an absolute path,
everything below it as a path relative to it wherever a path travels.
"""

import re

RUN_ROOT = "$HOME/jobmgr-run"
SERVICE = ".service"
UUID_FILE = SERVICE + "/uuid"
OWNER_FILE = SERVICE + "/owner"
CONTACT_FILE = SERVICE + "/contact"
JOURNAL_FILE = SERVICE + "/journal"
LINKS_FILE = SERVICE + "/links"
STORE_FILE = SERVICE + "/suite.db"
LOCK_FILE = SERVICE + "/lock"
TOKENS = SERVICE + "/jobs"
LIB = SERVICE + "/lib"
INPUTS = SERVICE + "/inputs"
JOB_LOGS = "log/job"
WORK = "work"
SHARE = "share"
SHARE_CYCLE = "share/cycle"
BIN = "bin"
HOST_HOME = ".jobmgr"
HOST_CODE = HOST_HOME + "/remote"
HOST_SPOOL = HOST_HOME + "/spool"
HOST_RESCUE = HOST_HOME + "/rescue"
LATEST = "NN"

CLAIM = "claim"
NATIVE_ID = "native-id"
KILL_MARK = "killed"

JOB_FILE = "job"
OUT_FILE = "job.out"
ERR_FILE = "job.err"
STATUS_FILE = "job.status"
ACTIVITY_FILE = "job-activity.log"

MAX_PART = 200
#: What no text of a request may hold.
CONTROL = re.compile("[\\0-\\x1f]")
_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+@%-]*\Z")
_TOKEN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")
_SUBMIT = re.compile(r"[0-9]{2,9}\Z")


def is_part(text: object) -> bool:
    """Whether a text may be one part of a path: a suite, cycle, task or host name."""
    return isinstance(text, str) and len(text) <= MAX_PART and bool(_PART.match(text)) and ".." not in text


def is_token(text: object) -> bool:
    """Whether a text is a job's token (a lower-case UUID)."""
    return isinstance(text, str) and bool(_TOKEN.match(text))


def split_job_id(job: str) -> "tuple[str, str, str]":
    """``"1/sim/01"`` -> ``("1", "sim", "01")``. Raises ValueError for anything else."""
    parts = job.split("/") if isinstance(job, str) else []
    if len(parts) != 3 or not is_part(parts[0]) or not is_part(parts[1]) or not _SUBMIT.match(parts[2]):
        raise ValueError("not a job id (CYCLE/TASK/NN): %r" % (job,))
    return parts[0], parts[1], parts[2]


def check_relative(path: str) -> str:
    """Return a path that stays below where it is joined to. Raises ValueError otherwise."""
    parts = path.split("/")
    if not path or path.startswith("/") or ".." in parts or "\0" in path or "\n" in path:
        raise ValueError("not a path below the run directory: %r" % (path,))
    return path


def job_dir(job: str) -> str:
    """The job's log directory, relative to the run directory."""
    return JOB_LOGS + "/" + job


def job_file(job: str, name: str) -> str:
    """One file of the job's log directory, relative to the run directory."""
    return JOB_LOGS + "/" + job + "/" + name


def token_dir(token: str) -> str:
    """The folder of a token's claim, native id and kill mark, relative to the run directory."""
    return TOKENS + "/" + token


def default_work_dir(cycle: str, task: str) -> str:
    """The job's working directory where the suite names none, relative to the run directory."""
    return WORK + "/" + cycle + "/" + task
