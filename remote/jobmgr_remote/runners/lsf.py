"""LSF, Spectrum LSF (``runner: lsf``), 9.1 or newer.

Commands: ``bsub`` (the job file on its stdin), ``bjobs -o``, ``bkill``.

============== ==================================== ==================================================
portable key   directive                            note
============== ==================================== ==================================================
queue          ``-q``
account        ``-P``                               the project
nodes          ``-R "span[ptile=...]"``             tasks / nodes, rounded up
tasks          ``-n``                               default: nodes
cpus_per_task  ``-R "affinity[core(N)]"``
memory         ``-M`` in MiB                        a limit; units of the site's configuration otherwise
gpus           ``-gpu "num=N"``                     per node
job_name       ``-J``                               default ``TASK.CYCLE.SUITE``
mail           ``-u``                               with ``-N``
time limit     ``-W`` in minutes                    rounded up
============== ==================================== ==================================================

``directives`` come after these, as given: ``-R: "rusage[mem=4000]"``, ``-x:`` (empty). A job array (``-J
"name[1-9]"``) is polled as one job.

The token travels in the job description (``-Jd``). Output is appended (``-o``, ``-e``).

Native id: the job number. bsub is told not to wait and try again for ever by itself (``LSB_NTRIES=1``). LSF
forgets ended jobs after CLEAN_PERIOD (an hour by default). "Pending job threshold reached" is no failure: the
job waits at home. ``UNKWN`` and ``ZOMBI`` (the node does not answer) count as active; suspended jobs too.
"""

import re

from . import base

NAME = "lsf"
VERSION_ARGV = ["bsub", "-V"]
CARRIER = "-Jd"
SHARED_STATUS = True
VACATION_SIGNALS = ()
ID_VARIABLE = "LSB_JOBID"
INDEX_VARIABLE = "LSB_JOBINDEX"
TIMEOUT = 60.0
MAX_IDS = 2000

_STATES = {
    "PEND": "waiting", "PSUSP": "waiting", "PROV": "waiting", "WAIT": "waiting", "FWD_PEND": "waiting",
    "RUN": "active", "USUSP": "active", "SSUSP": "active", "UNKWN": "active", "ZOMBI": "active",
    "DONE": "ended", "EXIT": "ended",
}
_SUBMITTED = re.compile(r"Job <([0-9]+)> is submitted")
_LIMIT = re.compile(r"pending job threshold|User job limit|Job limit|maximum number of jobs", re.I)
_UNSURE = re.compile(
    r"LSF is down|Please wait|timed? ?out|Connection (?:refused|reset)|Communication|daemon not responding|"
    r"LIM is down|Broken pipe|trying to connect|cannot connect|Failed in (?:sending|receiving)", re.I
)
_NOT_FOUND = re.compile(r"Job <([0-9]+)(?:\[[0-9]+\])?> is not found|No matching job found", re.I)
_FIELDS = "jobid stat exit_code exit_reason pend_reason job_description job_name"
_ENV = (("LSB_NTRIES", "1"), ("LSB_DISPLAY_YEAR", "y"))
_LIST = ["bjobs", "-a", "-o", _FIELDS + " delimiter='^'"]


def directives(job: dict) -> "list[str]":
    """The ``#BSUB`` lines."""
    portable = base.resources(job)
    lines = ["#BSUB -J " + _quoted(base.job_name(job))]
    for key, option in (("queue", "-q"), ("account", "-P")):
        if key in portable:
            lines.append("#BSUB %s %s" % (option, _quoted(portable[key])))
    nodes = base.count(portable, "nodes")
    tasks = base.count(portable, "tasks", nodes)
    if tasks > 1:
        lines.append("#BSUB -n %d" % tasks)
    if "nodes" in portable and nodes > 0:
        lines.append('#BSUB -R "span[ptile=%d]"' % -(-tasks // nodes))
    if "cpus_per_task" in portable:
        lines.append('#BSUB -R "affinity[core(%d)]"' % base.count(portable, "cpus_per_task"))
    if "memory" in portable:
        lines.append("#BSUB -M %dMB" % base.mebibytes(portable["memory"]))
    if "gpus" in portable:
        lines.append('#BSUB -gpu "num=%d"' % base.count(portable, "gpus"))
    if job.get("time_limit"):
        lines.append("#BSUB -W %d" % -(-int(job["time_limit"] * 1000) // 60000))
    if "mail" in portable:
        lines.append("#BSUB -N")
        lines.append("#BSUB -u " + _quoted(portable["mail"]))
    for name, value in base.given(job):
        lines.append("#BSUB " + name + ("" if value is None else " " + _quoted(value)))
    lines.append("#BSUB -Jd " + _quoted(base.label(job["token"])))
    return lines


def _quoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return text
    return '"' + text.replace('"', "'") + '"' if re.search(r"[\s\[\]()<>&|;*?'\"#]", text) else text


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``bsub`` reads the job file on stdin; only there does it look for directives."""
    return base.call(["bsub", "-o", out_file, "-e", err_file], stdin_path=job_file, env=_ENV)


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """``Job <123> is submitted to default queue <normal>.``"""
    match = _SUBMITTED.search(out) or _SUBMITTED.search(err)
    if match:
        return base.Outcome(base.SUBMITTED, match.group(1), "")
    return base.failure(code, out, err, _LIMIT, _UNSURE)


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``bjobs``."""
    return [base.call(_LIST + ids, env=_ENV, ids=ids)]


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """bjobs -a has told already; bhist would read every event file."""
    return []


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The rows; absent is only an id that bjobs calls "not found"."""
    rows = _rows(out)
    seen = {key: base.merged(rows[key]) for key in ids if key in rows}
    gone = {match.group(1) for match in _NOT_FOUND.finditer(err) if match.group(1)}
    if code is not None and len(ids) == 1 and "No matching job found" in err:
        gone.add(ids[0])
    if code is not None and all(key in seen or key in gone for key in ids):
        return base.Answer(seen, "", frozenset(gone.intersection(ids)))
    return base.Answer(seen, base.last_words(code, "", err), frozenset(gone.intersection(ids)))


def _rows(out: str) -> "dict[str, list[base.Seen]]":
    rows = {}  # type: dict[str, list[base.Seen]]
    for line in out.split("\n"):
        parts = line.split("^", 5)
        if len(parts) == 6 and re.match(r"[0-9]+$", parts[0].strip()):
            number, word, code, ended, pending, rest = [part.strip() for part in parts]
            state = _STATES.get(word, "unknown")
            reason = [text for text in (ended if state == "ended" else pending,) if text not in ("-", "")]
            if state == "ended" and code not in ("-", "", "0"):
                reason.insert(0, "exit code " + code)
            rows.setdefault(number, []).append(base.Seen(
                number, state, word, "; ".join(reason), base.labelled(rest), rest.rpartition("^")[2], 0
            ))
    return rows


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``bkill``."""
    return [base.call(["bkill", *ids], env=_ENV, ids=ids)]


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """bkill answers ``Job <123> is being terminated`` or says what is wrong, id by id."""
    failed = {}  # type: dict[str, str]
    settled = set()
    for line in (out + "\n" + err).split("\n"):
        match = re.search(r"Job <([0-9]+)", line)
        if not match:
            continue
        if re.search(r"being terminated|already finished|not found|No matching|has already", line, re.I):
            settled.add(match.group(1))
        elif match.group(1) in ids:
            failed[match.group(1)] = line.strip()
    if code != 0:
        text = base.last_words(code, out, err)
        failed.update((key, text) for key in ids if key not in settled and key not in failed)
    return failed


def find_call(user: str, tokens: "list[str]") -> base.Call:
    """All jobs of the user that LSF still knows."""
    return base.call([*_LIST, "-u", user], env=_ENV)


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The rows whose description carries one of the tokens."""
    if code is None or not (out.startswith("JOBID") or re.search("No (?:matching )?job found", err)):
        return base.could_not_ask(code, "", err)
    seen = {}
    for rows in _rows(out).values():
        if rows[0].token in tokens:
            seen.setdefault(rows[0].token, base.merged(rows))
    return base.Answer(seen, "")
