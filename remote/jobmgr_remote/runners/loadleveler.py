"""LoadLeveler (``runner: loadleveler``).

Commands: ``llsubmit``, ``llq -l``, ``llcancel``.

============== ==================================== ==================================================
portable key   directive                            note
============== ==================================== ==================================================
queue          ``class``
account        ``account_no``
nodes          ``node``
tasks          ``total_tasks``
cpus_per_task  ``resources = ConsumableCpus(N)``
memory         ``resources = ConsumableMemory(N mb)``
gpus           refused                              LoadLeveler has no word for them
job_name       ``job_name``                         default ``TASK.CYCLE.SUITE``
mail           ``notify_user``                      with ``notification = always``
time limit     ``wall_clock_limit``
============== ==================================== ==================================================

``directives`` come after these, without ``@`` and in their order: ``job_type: parallel``; an empty one is
written alone. The last line is always ``# @ queue``.

The token travels in ``comment``. Native id: as llsubmit prints it, ``host.domain.123``; all steps count as
one job. A vacated job gets USR1 and is run again.
"""

import re

from . import base

NAME = "loadleveler"
VERSION_ARGV = ["llq", "-v"]
CARRIER = "comment"
SHARED_STATUS = True
VACATION_SIGNALS = ("USR1",)
ID_VARIABLE = "LOADL_JOB_NAME"
INDEX_VARIABLE = ""
TIMEOUT = 60.0
MAX_IDS = 500

_WAITING = frozenset((
    "IDLE", "NOT QUEUED", "NOTQUEUED", "HOLD", "USER HOLD", "SYSTEM HOLD", "USER & SYSTEM HOLD", "DEFERRED",
    "REJECT PENDING", "VACATE PENDING", "VACATED", "PREEMPTED",
))
_ACTIVE = frozenset((
    "RUNNING", "STARTING", "PENDING", "COMPLETE PENDING", "REMOVE PENDING", "CHECKPOINTING",
    "PREEMPT PENDING", "RESUME PENDING",
))
_ENDED = frozenset((
    "COMPLETED", "CANCELED", "CANCELLED", "REMOVED", "TERMINATED", "REJECTED", "NOTRUN", "NOT RUN",
))
_SUBMITTED = re.compile(r'The job "([^"\s]+)"(?: with [0-9]+ job steps?)? has been submitted')
_LIMIT = re.compile(r"maximum (?:number of )?(?:jobs|job steps)|maxqueued|max_jobs", re.I)
_UNSURE = re.compile(
    r"2539-\S* Cannot connect|Cannot connect|timed? ?out|Connection (?:refused|reset)|not responding|"
    r"unable to contact|Broken pipe|Failed to connect", re.I
)
_EMPTY = re.compile(r"no job status to report", re.I)


def directives(job: dict) -> "list[str]":
    """The ``# @`` lines."""
    portable = base.resources(job)
    if "gpus" in portable:
        raise ValueError("gpus: LoadLeveler has no directive for them")
    name = re.sub(r"[^A-Za-z0-9_.+-]", "_", base.job_name(job))
    pairs = [("job_name", name)]  # type: list[tuple[str, str | None]]
    for key, name in (
        ("queue", "class"), ("account", "account_no"), ("nodes", "node"), ("tasks", "total_tasks"),
    ):
        if key in portable:
            pairs.append((name, portable[key]))
    consumed = []
    if "cpus_per_task" in portable:
        consumed.append("ConsumableCpus(%d)" % base.count(portable, "cpus_per_task"))
    if "memory" in portable:
        consumed.append("ConsumableMemory(%d mb)" % base.mebibytes(portable["memory"]))
    if consumed:
        pairs.append(("resources", " ".join(consumed)))
    if job.get("time_limit"):
        pairs.append(("wall_clock_limit", base.hms(job["time_limit"])))
    if "mail" in portable:
        pairs.extend([("notification", "always"), ("notify_user", portable["mail"])])
    pairs.extend((name, value) for name, value in base.given(job) if name not in ("queue", "comment"))
    comments = [value for name, value in base.given(job) if name == "comment" and value]
    pairs.append(("comment", " ".join([*comments[-1:], base.label(job["token"])])))
    lines = ["# @ " + (name if value is None else "%s = %s" % (name, value)) for name, value in pairs]
    return [*lines, "# @ queue"]


# The output files stand in the job's text, in front of its "# @ queue"; llsubmit reads the whole from stdin.
_SUBMIT = (
    '{ head -n 1 "$1"; printf "# @ output = %s\\n# @ error = %s\\n" "$2" "$3"; tail -n +2 "$1"; }'
    ' | llsubmit -'
)


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``llsubmit -``, the output files put behind the first line."""
    return base.sh(_SUBMIT, [job_file, out_file, err_file])


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """``llsubmit: The job "host.domain.123" has been submitted.``"""
    match = _SUBMITTED.search(out) or _SUBMITTED.search(err)
    if match:
        return base.Outcome(base.SUBMITTED, match.group(1), "")
    return base.failure(code, out, err, _LIMIT, _UNSURE)


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``llq -l``."""
    return [base.call(["llq", "-l", *ids], ids=ids)]


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """llsummary reads a file that users may seldom read."""
    return []


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The long listing, or llq's word that there is nothing to report."""
    rows = _rows(out)
    if not rows and not (code == 0 and _EMPTY.search(out + err)):
        return base.could_not_ask(code, out, err)
    seen = {}
    for key in ids:
        steps = [row for name, row in rows if name == key or name.startswith(key + ".")]
        if steps:
            seen[key] = base.merged(steps)._replace(native_id=key)
    return base.Answer(seen, "" if code == 0 and not _UNSURE.search(err) else base.last_words(code, out, err))


def _rows(out: str) -> "list[tuple[str, base.Seen]]":
    rows = []
    for block in re.split(r"(?m)^\s*Job Step Id *: *", out)[1:]:
        name, _, body = block.partition("\n")
        facts = {}  # type: dict[str, str]
        for line in body.split("\n"):
            key, colon, value = line.partition(": ")
            if colon:
                facts.setdefault(key.strip(), value.strip())
        word = facts.get("Status", facts.get("Step Status", ""))
        rows.append((name.strip(), base.Seen(
            name.strip().rpartition(".")[0], _state(word), word, facts.get("Completion Code", ""),
            base.labelled(facts.get("Comment", "")), facts.get("Job Name", ""),
            base.epoch(facts.get("Queue Date", "")),
        )))
    return rows


def _state(word: str) -> str:
    upper = word.upper()
    if upper in _WAITING:
        return "waiting"
    if upper in _ACTIVE:
        return "active"
    return "ended" if upper in _ENDED else "unknown"


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``llcancel``."""
    return [base.call(["llcancel", *ids], ids=ids)]


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """llcancel sends its wishes to the central manager and knows little of what came of them."""
    if code == 0:
        return {}
    lines = [line.strip() for line in (err or out).split("\n") if line.strip()]
    problems = [line for line in lines if not re.search(r"not found|not exist|no longer|not in", line, re.I)]
    if not problems and lines:
        return {}
    return {key: base.last_words(code, out, "\n".join(problems)) for key in ids}


def find_call(user: str, tokens: "list[str]") -> base.Call:
    """The long listing of the user's jobs."""
    return base.call(["llq", "-l", "-u", user])


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The jobs whose comment carries one of the tokens."""
    rows = _rows(out)
    if code != 0 or not (rows or _EMPTY.search(out + err)):
        return base.could_not_ask(code, out, err)
    return base.Answer({row.token: row for _, row in rows if row.token in tokens}, "")
