"""Moab (``runner: moab``), in front of Torque or another resource manager.

Commands: ``msub``, ``showq --xml`` (with ``-c`` for ended jobs), ``mjobctl -c``.

============== ==================================== ==================================================
portable key   directive                            note
============== ==================================== ==================================================
queue          ``-q``
account        ``-A``
nodes          ``-l nodes=N:ppn=P``                 ppn = tasks / nodes x cpus_per_task
tasks          as above
cpus_per_task  as above
memory         ``-l mem``
gpus           ``:gpus=N`` of a node
job_name       ``-N``                               default ``TASK.CYCLE.SUITE``
mail           ``-M``                               with ``-m ae``
time limit     ``-l walltime``
============== ==================================== ==================================================

``directives`` come after these, as given (``#MSUB``). A ``nodes`` or ``walltime`` of your own replaces the
one made here.

Moab shows no field that could carry the token: a submit whose outcome is not known cannot be looked up, and a
job is known as ours by its name and its submit time. Native id: as msub prints it, ``123`` or ``Moab.123``.
"""

import re

from . import base

NAME = "moab"
VERSION_ARGV = ["msub", "--version"]
CARRIER = ""
SHARED_STATUS = True
VACATION_SIGNALS = ()
ID_VARIABLE = "MOAB_JOBID"
INDEX_VARIABLE = "MOAB_JOBARRAYINDEX"
TIMEOUT = 60.0
MAX_IDS = 2000

_STATES = {
    "idle": "waiting", "hold": "waiting", "batchhold": "waiting", "userhold": "waiting",
    "systemhold": "waiting", "deferred": "waiting", "blocked": "waiting", "staging": "waiting",
    "staged": "waiting", "migrated": "waiting", "notqueued": "waiting",
    "running": "active", "starting": "active", "suspended": "active",
    "completed": "ended", "removed": "ended", "vacated": "ended", "rejected": "ended",
}
_ID = re.compile(r"((?:[A-Za-z][A-Za-z0-9_-]*\.)?[0-9]+(?:\[[0-9]*\])?(?:\.[A-Za-z0-9_.-]+)?)$")
_LIMIT = re.compile(r"exceeds? .*(?:max(?:imum)? ?job|queue limit)|job limit|MAXI?JOB", re.I)
_UNSURE = re.compile(
    r"cannot connect|timed? ?out|Connection (?:refused|reset)|lost connection|cannot (?:send|receive)|"
    r"server (?:rejected|is busy)|Broken pipe|communication error|not responding", re.I
)


def directives(job: dict) -> "list[str]":
    """The ``#MSUB`` lines."""
    portable = base.resources(job)
    own = base.given(job)
    asked = " ".join(value for name, value in own if name == "-l" and value)
    lines = ["#MSUB -N " + re.sub(r"[^A-Za-z0-9_.+-]", "_", base.job_name(job))]
    for key, option in (("queue", "-q"), ("account", "-A")):
        if key in portable:
            lines.append("#MSUB %s %s" % (option, portable[key]))
    if any(key in portable for key in ("nodes", "tasks", "cpus_per_task", "gpus")) and "nodes=" not in asked:
        nodes = max(1, base.count(portable, "nodes"))
        ppn = -(-base.count(portable, "tasks") // nodes) * base.count(portable, "cpus_per_task")
        gpus = ":gpus=%d" % base.count(portable, "gpus") if "gpus" in portable else ""
        lines.append("#MSUB -l nodes=%d:ppn=%d%s" % (nodes, ppn, gpus))
    if "memory" in portable:
        lines.append("#MSUB -l mem=%dmb" % base.mebibytes(portable["memory"]))
    if job.get("time_limit") and "walltime=" not in asked:
        lines.append("#MSUB -l walltime=" + base.hms(job["time_limit"]))
    if "mail" in portable:
        lines.append("#MSUB -m ae")
        lines.append("#MSUB -M " + portable["mail"])
    for name, value in own:
        lines.append("#MSUB " + name + ("" if value is None else " " + value))
    return lines


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``msub`` with both output files."""
    return base.call(["msub", "-o", out_file, "-e", err_file, job_file])


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """msub prints an empty line, then the id."""
    for line in reversed(out.split("\n")):
        if _ID.match(line.strip()):
            return base.Outcome(base.SUBMITTED, line.strip(), "")
    return base.failure(code, out, err, _LIMIT, _UNSURE)


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """Active, eligible and blocked jobs."""
    return [base.call(["showq", "--xml"], ids=tuple(ids))]


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """Completed jobs."""
    return [base.call(["showq", "-c", "--xml"], ids=tuple(ids))]


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The job elements; the end of the document proves that all of it has come."""
    if code != 0 or "</Data>" not in out:
        return base.could_not_ask(code, "", err or "showq did not answer")
    seen = {}
    for attributes in re.findall(r"<job\s([^>]*?)/?>", out, re.S | re.I):
        facts = dict(re.findall(r'([A-Za-z]+)="([^"]*)"', attributes))
        names = (facts.get("JobID", ""), facts.get("DRMJID", "").partition(".")[0], facts.get("GJobID", ""))
        for name in names:
            for key in ids:
                if name and key not in seen and (name == key or name == key.partition(".")[0]):
                    seen[key] = _seen(key, facts, "-c" in call.argv)
    return base.Answer(seen, "")


def _seen(key: str, facts: "dict[str, str]", ended: bool) -> base.Seen:
    word = facts.get("State", "")
    code = facts.get("CompletionCode", "")
    return base.Seen(
        key, "ended" if ended else _STATES.get(word.lower(), "unknown"), word,
        "completion code " + code if code else facts.get("BlockReason", ""), "", facts.get("JobName", ""),
        base.epoch(facts.get("SubmissionTime", "")),
    )


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """``mjobctl -c`` takes several jobs."""
    return [base.call(["mjobctl", "-c", *ids], ids=ids)]


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """``job '123' cancelled``, or an error that names the job."""
    failed = {}  # type: dict[str, str]
    settled = set()
    for line in (out + "\n" + err).split("\n"):
        words = re.findall(r"[A-Za-z0-9_.\[\]-]+", line)
        named = [key for key in ids if key in words]
        if re.search(r"cancell?ed|invalid job|cannot locate job|not found|unknown job|already", line, re.I):
            settled.update(named)
        elif line.strip():
            failed.update((key, line.strip()) for key in named)
    if code != 0:
        text = base.last_words(code, out, err)
        failed.update((key, text) for key in ids if key not in settled and key not in failed)
    return failed


def find_call(user: str, tokens: "list[str]") -> None:
    """There is no carrier."""
    return None


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """Never asked: there is no carrier."""
    return base.could_not_ask(code, out, "Moab cannot look up a job by its token")
