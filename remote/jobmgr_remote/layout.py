"""The paths of a run directory and of a host's own folder: the one definition of both.

The same tree stands on the controller and on every host (docs/protocol.md, "Run directory"). All
functions are pure: they join strings and touch no file. A run directory is given as an absolute path,
everything below it as a path relative to it wherever a path travels.
"""

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
_DIGITS = frozenset("0123456789")
_HEX = frozenset("0123456789abcdef")
_FIRST = _DIGITS | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_FURTHER = _FIRST | frozenset("_.+@%-")
#: The lengths of the parts of a UUID.
_UUID = [8, 4, 4, 4, 12]


def is_part(text: object) -> bool:
    """Whether a text may be one part of a path: a suite, cycle, task or host name."""
    if not isinstance(text, str) or not 0 < len(text) <= MAX_PART:
        return False
    return text[0] in _FIRST and _FURTHER.issuperset(text) and ".." not in text


def is_token(text: object) -> bool:
    """Whether a text is a job's token (a lower-case UUID)."""
    if not isinstance(text, str) or len(text) != 36:
        return False
    parts = text.split("-")
    return [len(part) for part in parts] == _UUID and _HEX.issuperset("".join(parts))


def is_submit_number(text: str) -> bool:
    """Whether a text is the number of a submit in a job id."""
    return 2 <= len(text) <= 9 and _DIGITS.issuperset(text)


def has_control(text: str) -> bool:
    """Whether a text holds what no text of a request may: a control character."""
    return bool(text) and min(text) < " "


def split_job_id(job: str) -> "tuple[str, str, str]":
    """``"1/sim/01"`` -> ``("1", "sim", "01")``. Raises ValueError for anything else."""
    parts = job.split("/") if isinstance(job, str) else []
    if len(parts) != 3 or not is_part(parts[0]) or not is_part(parts[1]) or not is_submit_number(parts[2]):
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
