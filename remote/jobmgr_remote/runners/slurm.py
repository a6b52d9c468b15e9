"""Slurm (``runner: slurm``).

Commands: ``sbatch``, ``squeue``, ``scancel``; ``sacct`` where accounting exists, done without where it does
not.

============== ============================= ==========================================================
portable key   directive                     note
============== ============================= ==========================================================
queue          ``--partition``
account        ``--account``
nodes          ``--nodes``
tasks          ``--ntasks``
cpus_per_task  ``--cpus-per-task``
memory         ``--mem`` (MiB, per node)     ``4G``, ``500M``; a number alone is MiB
gpus           ``--gres=gpu:N``              ``TYPE:N`` is taken as it is; per node
job_name       ``--job-name``                default ``TASK.CYCLE.SUITE``
mail           ``--mail-user``               with ``--mail-type=END,FAIL``
time limit     ``--time``                    rounded up to minutes, as Slurm counts
============== ============================= ==========================================================

``directives`` come after these and win: ``--qos: high``, ``qos: high`` and ``-q: high`` are all
understood; a value with spaces is quoted. ``hetjob`` (empty) begins the next component of a
heterogeneous job. A job array (``--array``) is polled and killed as one job.

The token travels in ``--comment``; a comment of your own stays in front of it. Output is appended
(``--open-mode=append``), so that a requeued job does not lose what it had written.

Native id: the job id; with ``--clusters`` (or in a federation) ``ID;CLUSTER``.

A submit limit (``QOSMaxSubmitJobPerUserLimit``, ``AssocMaxSubmitJobLimit``, ...) is no failure: the job waits
at home. So it does where the whole queue is full (``MaxJobCount``): sbatch, which would sleep and try again for two
minutes, is ended when it says so. States that Slurm may still change (``PENDING``, ``REQUEUE_HOLD``, ...) count
as waiting, ``COMPLETING`` and ``SUSPENDED`` as active. Once Slurm has forgotten a job (MinJobAge, 5 minutes by default)
only accounting can tell why it ended.
``TIMEOUT``, ``NODE_FAIL``, ``PREEMPTED``, ``OUT_OF_MEMORY``, ``CANCELLED`` are shown as the reason of a failed job.
"""

import re

from . import base

NAME = "slurm"
VERSION_ARGV = ["sbatch", "--version"]
CARRIER = "--comment"
SHARED_STATUS = True
VACATION_SIGNALS = ()
ID_VARIABLE = "SLURM_JOB_ID"
INDEX_VARIABLE = "SLURM_ARRAY_TASK_ID"
PLACE_VARIABLE = "SLURM_CLUSTER_NAME"
TIMEOUT = 60.0
# One argument may be 128 KiB long; an id with its comma is at most 20 characters.
MAX_IDS = 4000

_WAITING = frozenset((
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_HOLD", "REQUEUE_FED", "SPECIAL_EXIT", "RESV_DEL_HOLD",
))
_ACTIVE = frozenset((
    "RUNNING", "COMPLETING", "SUSPENDED", "STOPPED", "SIGNALING", "STAGE_OUT", "RESIZING",
))
_ENDED = frozenset((
    "COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "PREEMPTED", "BOOT_FAIL", "DEADLINE",
    "OUT_OF_MEMORY", "REVOKED", "LAUNCH_FAILED", "RECONFIG_FAIL",
))

# The environment of a login may filter squeue's answer, so that a job would seem to be gone.
_UNFILTERED = ["env"] + [
    part
    for name in (
        "ACCOUNT", "LICENSES", "NAMES", "PARTITION", "QOS", "STATES", "USERS", "ARRAY", "FEDERATION",
        "SIBLING",
    )
    for part in ("-u", "SQUEUE_" + name)
]
# It also beats the directives of a job file: a comment would displace the token, WAIT would wait for the job.
_UNSWAYED = ["env", "-u", "SBATCH_COMMENT", "-u", "SBATCH_WAIT"]
_TIMES = (("SLURM_TIME_FORMAT", "%s"),)
_FORMAT = "%i|%T|%r|%V|%k|%j"
_HEADER = "JOBID|STATE|REASON|"
_SQUEUE = [*_UNFILTERED, "squeue", "--all", "--states=all", "--format=" + _FORMAT]
_SACCT = ["sacct", "--parsable2", "--allocations", "--format=JobID,State,ExitCode,Submit,JobName"]

# sbatch would try again for two minutes; the job is not in the queue while it says so.
_FULL = ", sleeping and retrying"
_LIMIT = re.compile(r"(?:QOS|Assoc)\w*Submit\w*Limit|%s|MaxJobCount" % _FULL, re.I)
# The server may have taken the job: it was reached, or may have been, and its answer is missing.
_UNSURE = re.compile(
    r"timed out|timeout|Unable to contact slurm controller|Connection (?:refused|reset|timed)"
    r"|Zero Bytes were transmitted|Unexpected message received|Resource temporarily unavailable"
    r"|communication connection|Transport endpoint"
    r"|Header lengths are longer|Insane message length|I/O error|Broken pipe|send/recv", re.I
)
_INVALID_ID = re.compile(r"Invalid job id", re.I)
_KILL_ERROR = re.compile(r"Kill job error on job id (\S+?):? +(.*)")
_NOT_ALIVE = re.compile(r"Invalid job id|already completing or completed", re.I)


def directives(job: dict) -> "list[str]":
    """The ``#SBATCH`` lines."""
    portable = base.resources(job)
    own = [(_option(name), value) for name, value in base.given(job)]
    lines = ["#SBATCH --job-name=" + _quoted(base.job_name(job))]
    for key, option in (
        ("queue", "--partition"), ("account", "--account"), ("nodes", "--nodes"), ("tasks", "--ntasks"),
        ("cpus_per_task", "--cpus-per-task"),
    ):
        if key in portable:
            lines.append("#SBATCH %s=%s" % (option, _quoted(portable[key])))
    if "memory" in portable:
        lines.append("#SBATCH --mem=%dM" % base.mebibytes(portable["memory"]))
    if "gpus" in portable:
        lines.append("#SBATCH --gres=gpu:" + _quoted(portable["gpus"]))
    if "mail" in portable:
        lines.append("#SBATCH --mail-type=END,FAIL")
        lines.append("#SBATCH --mail-user=" + _quoted(portable["mail"]))
    if job.get("time_limit"):
        lines.append("#SBATCH --time=" + base.hms(job["time_limit"]))
    comments = [value for name, value in own if name == "--comment" and value]
    for name, value in own:
        if name == "--comment":
            continue
        lines.append("#SBATCH " + _rendered(name, value))
    comment = " ".join([_unquoted(text) for text in comments[-1:]] + [base.label(job["token"])])
    # Before a "hetjob" line: what follows belongs to the next component.
    lines.insert(1, "#SBATCH --comment=" + _quoted(comment))
    return lines


def _option(name: str) -> str:
    if name.startswith("-") or name in ("hetjob", "packjob"):
        return name
    return ("--" if len(name) > 1 else "-") + name


def _rendered(name: str, value: "str | None") -> str:
    if value is None:
        return name
    return name + ("=" if name.startswith("--") else " ") + _quoted(value)


def _quoted(text: str) -> str:
    # sbatch reads quotes and backslashes as a shell does, and takes a bare # for a comment.
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text
    if re.search(r"[\s#'\"\\]", text) or not text:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _unquoted(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'" else text


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``sbatch``; a ``%`` in a path would begin one of its patterns."""
    return base.call([
        *_UNSWAYED, "sbatch", "--parsable", "--open-mode=append", "--output=" + out_file.replace("%", "%%"),
        "--error=" + err_file.replace("%", "%%"), job_file,
    ], until=_FULL)


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """``--parsable`` prints ``ID`` or ``ID;CLUSTER``, possibly after what a site's plugin has to say."""
    for line in reversed(out.split("\n")):
        match = re.match(r"([0-9]+)(;[A-Za-z0-9_.-]+)?$", line.strip())
        if match:
            return base.Outcome(base.SUBMITTED, match.group(0), "")
    if code is not None and code < 0 and _FULL in err:  # ended by us; the token fences a try that was quicker
        return base.Outcome(base.LIMIT, "", base.last_words(code, out, err))
    return base.failure(code, out, err, _LIMIT, _UNSURE)


def _by_cluster(ids: "list[str]") -> "list[tuple[str, list[str]]]":
    groups = {}  # type: dict[str, list[str]]
    for key in ids:
        groups.setdefault(key.partition(";")[2], []).append(key)
    return sorted(groups.items())


def _numbers(ids: "list[str]") -> str:
    return ",".join(key.partition(";")[0] for key in ids)


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """One squeue per cluster."""
    calls = []
    for cluster, members in _by_cluster(ids):
        argv = [*_SQUEUE, "--jobs=" + _numbers(members)]
        if cluster:
            argv.append("--clusters=" + cluster)
        calls.append(base.call(argv, env=_TIMES, ids=members))
    return calls


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """One sacct per cluster: whole allocations, no steps."""
    calls = []
    for cluster, members in _by_cluster(ids):
        argv = [*_SACCT, "--jobs=" + _numbers(members)]
        if cluster:
            argv.append("--clusters=" + cluster)
        calls.append(base.call(argv, env=_TIMES, ids=members))
    return calls


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """Rows of squeue or sacct. squeue's header proves that it answered."""
    if "sacct" in call.argv:
        return base.Answer(_by_id(ids, _sacct_rows(out)), "")
    lines = out.split("\n")
    if code == 0 and any(line.startswith(_HEADER) for line in lines):
        return base.Answer(_by_id(ids, _squeue_rows(lines)), "")
    if code is not None and code > 0 and _INVALID_ID.search(err) and not _UNSURE.search(err):
        return base.Answer({}, "")
    return base.could_not_ask(code, out, err)


def _squeue_rows(lines: "list[str]") -> "list[base.Seen]":
    rows = []
    for line in lines:
        parts = line.split("|", 4)
        if len(parts) == 5 and re.match(r"[0-9]", parts[0]):
            native, word, reason, submitted, rest = parts
            rows.append(base.Seen(
                native, _state(word), word, _reason(word, "" if reason == "None" else reason), base.labelled(rest),
                rest.rpartition("|")[2], base.epoch(submitted),
            ))
    return rows


def _sacct_rows(out: str) -> "list[base.Seen]":
    rows = []
    for line in out.split("\n"):
        parts = line.split("|", 4)
        if len(parts) == 5 and re.match(r"[0-9]", parts[0]):
            # Not the field Reason: it still tells why the job once had to wait.
            native, word, exit_code, submitted, name = parts
            reason = _reason(word, "" if exit_code in ("", "0:0") else _exit_text(exit_code))
            rows.append(base.Seen(native, _state(word), word, reason, "", name, base.epoch(submitted)))
    return rows


def _reason(word: str, said: str) -> str:
    """Why it waits or has ended. TIMEOUT, NODE_FAIL, PREEMPTED, OUT_OF_MEMORY, CANCELLED by 1000, ... tell it by
    themselves; what stands beside them repeats it, or still tells why the job once had to wait.
    """
    if _state(word) != "ended" or word == "COMPLETED":
        return said
    return (said or word) if word == "FAILED" else word


def _exit_text(exit_code: str) -> str:
    code, _, signal = exit_code.partition(":")
    return "signal " + signal if signal not in ("", "0") else "exit code " + code


def _state(word: str) -> str:
    # sacct says "CANCELLED by 1000", and marks what did not fit with a "+".
    first = (word.split() or [""])[0].rstrip("+").upper()
    if first in _WAITING:
        return "waiting"
    if first in _ACTIVE:
        return "active"
    return "ended" if first in _ENDED else "unknown"


def _by_id(ids: "list[str]", rows: "list[base.Seen]") -> "dict[str, base.Seen]":
    parts = {}  # type: dict[str, list[base.Seen]]
    for row in rows:
        # 12_3, 12_[4-9%2] (array), 12+1 (heterogeneous): all are job 12.
        parts.setdefault(re.match("[0-9]+", row.native_id).group(0), []).append(row)  # type: ignore[union-attr]
    seen = {}
    for key in ids:
        rows_of_it = parts.get(key.partition(";")[0])
        if rows_of_it:
            seen[key] = base.merged(rows_of_it)._replace(native_id=key)
    return seen


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """One scancel per cluster."""
    calls = []
    for cluster, members in _by_cluster(ids):
        argv = ["scancel"] + (["--clusters=" + cluster] if cluster else [])
        calls.append(base.call(argv + [key.partition(";")[0] for key in members], ids=members))
    return calls


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """scancel names each id that it could not cancel."""
    failed = {}  # type: dict[str, str]
    general = []
    for line in err.split("\n"):
        match = _KILL_ERROR.search(line)
        if match and not _NOT_ALIVE.search(line):
            for key in ids:
                if key.partition(";")[0] == re.split(r"[_+:]", match.group(1))[0]:
                    failed[key] = match.group(2)
        elif line.strip() and not match and not _NOT_ALIVE.search(line):
            general.append(line.strip())
    if (code != 0 and not failed and (general or not err.strip())) or _UNSURE.search(" ".join(general)):
        failed.update((key, base.last_words(code, out, err)) for key in ids if key not in failed)
    return failed


def place(job_text: str) -> str:
    """The clusters that a job file asks for, or ""."""
    found = ""
    for line in job_text.split("\n"):
        if not line.startswith("#"):
            break
        match = re.match(r"#SBATCH\s+(?:--clusters?(?:=|\s+)|-M\s*=?\s*)(\S+)", line)
        found = match.group(1).strip("\"'") if match else found
    return found


def find_call(user: str, tokens: "list[str]", place: str = "") -> base.Call:
    """All jobs of the user that squeue still lists, here or in the clusters named by ``place``."""
    where = ["--clusters=" + place] if place else []
    return base.call([*_SQUEUE, "--user=" + user, *where], env=_TIMES)


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The rows whose comment carries one of the tokens."""
    lines = out.split("\n")
    if code != 0 or not any(line.startswith(_HEADER) for line in lines):
        return base.could_not_ask(code, out, err)
    seen = {}
    for cluster, part in _parts(lines):
        for row in _squeue_rows(part):
            if row.token in tokens:
                native = re.match("[0-9]+", row.native_id).group(0)  # type: ignore[union-attr]
                seen.setdefault(row.token, row._replace(native_id=native + cluster))
    return base.Answer(seen, "")


def _parts(lines: "list[str]") -> "list[tuple[str, list[str]]]":
    """(``;CLUSTER`` or "", its lines): what squeue says of several clusters stands under the name of each."""
    parts = [("", [])]  # type: list[tuple[str, list[str]]]
    for line in lines:
        if line.startswith("CLUSTER: "):
            parts.append((";" + line[9:].strip(), []))
        parts[-1][1].append(line)
    return parts
