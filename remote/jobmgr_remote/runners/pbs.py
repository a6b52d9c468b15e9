"""PBS (``runner: pbs``): OpenPBS, PBS Professional, Torque.

Commands: ``qsub``, ``qstat -f`` (and ``qstat -x -f`` for ended jobs, where the server keeps a history),
``qdel``, ``qselect``.

============== ==================================== ===================================================
portable key   directive                            note
============== ==================================== ===================================================
queue          ``-q``
account        ``-A``
nodes          ``-l select=NODES:...``              default 1
tasks          ``mpiprocs`` (and ``ncpus``)         per chunk: tasks / nodes, rounded up
cpus_per_task  ``ncpus`` = tasks per chunk x this
memory         ``mem`` of a chunk (per node)
gpus           ``ngpus`` of a chunk (per node)
job_name       ``-N``                               default ``TASK.CYCLE.SUITE``, cut to 15 characters
mail           ``-M``                               with ``-m ae``
time limit     ``-l walltime``
============== ==================================== ===================================================

``directives`` come after these, as given: ``-l: [select=2:ncpus=8, place=scatter]``, ``-W: umask=077``. A
``select``, ``nodes`` or ``walltime`` of your own replaces the one made from the portable keys. Torque does
not know ``select``: give ``-l: [nodes=2:ppn=8, mem=4gb]`` there instead of the portable keys.

The token travels in ``-v JOBMGR_TOKEN=...``; a ``-v`` of your own is put before it on the same line. Output
arrives when the job has ended, as PBS spools it on the node; ``-k: oed`` (OpenPBS 19 and newer) writes it at
once.

Native id: as qsub prints it, ``123.server`` or ``123[].server`` (array, polled as one job).

Exit statuses that PBS makes itself are put into words: 256+N is signal N (271: TERM, by qdel or a limit; 265:
KILL), -29 the walltime; other negative ones come from the server or the node's daemon. A job is only taken as
absent if qstat says "Unknown Job Id" of just that id. The plain text output is read, not JSON: with some
versions one user's environment makes the JSON of all jobs invalid.
"""

import re

from . import base

NAME = "pbs"
VERSION_ARGV = ["qstat", "--version"]
CARRIER = "-v"
SHARED_STATUS = True
VACATION_SIGNALS = ()
ID_VARIABLE = "PBS_JOBID"
INDEX_VARIABLE = "PBS_ARRAY_INDEX"
TIMEOUT = 60.0
MAX_IDS = 2000

_WAITING, _ACTIVE, _ENDED = "HQTW", "BERSU", "CFX"
_JOB_ID = re.compile(r"([0-9]+(?:\[[0-9]*\])?)((?:\.[A-Za-z0-9_.-]+)?)((?:@[A-Za-z0-9_.:-]+)?)$")
_LIMIT = re.compile(
    r"would exceed .*limit|Maximum number of jobs already in queue|exceeds? the queue limit", re.I
)
_UNSURE = re.compile(
    r"timed? ?out|Connection (?:refused|reset)|cannot connect to server|Couldn't connect|End of File"
    r"|errno=15[0-9]{3}|communication failure|premature end|invalid response|Broken pipe", re.I
)
_UNKNOWN_ID = re.compile(r"Unknown Job ?Id(?: Error)? +(\S+)", re.I)
_NO_HISTORY = re.compile(r"not configured to maintain job history", re.I)
_HAS_FINISHED = re.compile(r"Job has finished +(\S+)|(\S+) +Job has finished", re.I)
_MEANINGS = {
    -1: "failed before its files were staged", -2: "failed after its files were staged",
    -3: "failed, to be tried again", -24: "killed: ncpus burst", -25: "killed: ncpus", -26: "killed: vmem",
    -27: "killed: memory", -28: "killed: CPU time", -29: "killed: walltime",
}


def directives(job: dict) -> "list[str]":
    """The ``#PBS`` lines."""
    portable = base.resources(job)
    own = base.given(job)
    asked = " ".join(value for name, value in own if name == "-l" and value)
    lines = ["#PBS -N " + _name(base.job_name(job), "job_name" in portable)]
    for key, option in (("queue", "-q"), ("account", "-A")):
        if key in portable:
            lines.append("#PBS %s %s" % (option, portable[key]))
    chunk = _chunk(portable)
    if chunk and not re.search(r"\b(?:select|nodes)=", asked):
        lines.append("#PBS -l " + chunk)
    if job.get("time_limit") and not re.search(r"\bwalltime=", asked):
        lines.append("#PBS -l walltime=" + base.hms(job["time_limit"]))
    if "mail" in portable:
        lines.append("#PBS -m ae")
        lines.append("#PBS -M " + portable["mail"])
    variables = [value for name, value in own if name == "-v" and value]
    for name, value in own:
        if name != "-v":
            lines.append("#PBS " + name + ("" if value is None else " " + value))
    lines.append("#PBS -v " + ",".join([*variables, "%s=%s" % (base.VARIABLE, job["token"])]))
    return lines


def _chunk(portable: "dict[str, str]") -> str:
    if not any(key in portable for key in ("nodes", "tasks", "cpus_per_task", "memory", "gpus")):
        return ""
    nodes = max(1, base.count(portable, "nodes"))
    tasks = -(-base.count(portable, "tasks") // nodes)
    chunk = "select=%d:ncpus=%d" % (nodes, tasks * base.count(portable, "cpus_per_task"))
    if "tasks" in portable:
        chunk += ":mpiprocs=%d" % tasks
    if "memory" in portable:
        chunk += ":mem=%dmb" % base.mebibytes(portable["memory"])
    if "gpus" in portable:
        chunk += ":ngpus=%d" % base.count(portable, "gpus")
    return chunk


def _name(text: str, chosen: bool) -> str:
    # qsub refuses blanks and characters beyond ASCII; older ones more than 15 characters, or a leading digit.
    text = re.sub(r"[^A-Za-z0-9_.+-]", "_", text)
    return text[:230] if chosen else ("j" + text if text[:1].isdigit() else text)[:15]


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``qsub`` with both output files."""
    return base.call(["qsub", "-o", out_file, "-e", err_file, job_file])


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """qsub prints the id alone on a line."""
    for line in reversed(out.split("\n")):
        if _JOB_ID.match(line.strip()):
            return base.Outcome(base.SUBMITTED, line.strip(), "")
    return base.failure(code, out, err, _LIMIT, _UNSURE)


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``qstat -f``."""
    return [base.call(["qstat", "-f", *ids], ids=ids)]


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """``qstat -x -f``. Torque prints XML for ``-x``, which simply holds no answer."""
    return [base.call(["qstat", "-x", "-f", *ids], ids=ids)]


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The blocks of ``qstat -f``; absent is only an id that stderr calls unknown or finished."""
    rows = _blocks(out)
    seen = {}
    for key in ids:
        row = _match(key, rows)
        if row is not None:
            seen[key] = row._replace(native_id=key)
    gone = set()
    problems = []
    for line in err.split("\n"):
        named = _UNKNOWN_ID.search(line) or _HAS_FINISHED.search(line)
        if named:
            name = next(text for text in named.groups() if text)
            gone.update(key for key in ids if _same(key, name))
        elif line.strip() and not _NO_HISTORY.search(line):
            problems.append(line.strip())
    if all(key in seen or key in gone for key in ids):
        return base.Answer(seen, "", frozenset(gone))
    text = base.last_words(code, "", "\n".join(problems)) if problems or code != 0 else (
        "qstat named neither the job nor an error"
    )
    return base.Answer(seen, text, frozenset(gone))


def _same(key: str, other: str) -> bool:
    """Whether two ids are one job's; each may lack its server or the server's domain."""
    mine, theirs = _JOB_ID.match(key), _JOB_ID.match(other.rstrip(":,"))
    if not mine or not theirs or mine.group(1) != theirs.group(1):
        return key == other
    one, two = mine.group(2).lower(), theirs.group(2).lower()
    return not one or not two or one == two or one.startswith(two + ".") or two.startswith(one + ".")


def _match(key: str, rows: "dict[str, base.Seen]") -> "base.Seen | None":
    if key in rows:
        return rows[key]
    for name, row in rows.items():
        if _same(key, name):
            return row
    return None


def _blocks(out: str) -> "dict[str, base.Seen]":
    """``Job Id:`` blocks by id. The first line of a key counts: no job's text can overrule its state."""
    rows = {}  # type: dict[str, base.Seen]
    for block in re.split(r"(?m)^Job Id: ?", out.replace("\r\n", "\n").replace("\n\t", ""))[1:]:
        head, _, body = block.partition("\n")
        facts = {}  # type: dict[str, str]
        for line in body.split("\n"):
            key, equals, value = line.partition(" = ")
            if equals and key.startswith("    "):
                facts.setdefault(key.strip(), value)
        name = head.strip()
        if name and "job_state" in facts and name not in rows:
            rows[name] = _seen(name, facts)
    return rows


# "Job run at Fri Nov 20 at 18:30 on (pbs01:ncpus=1) and exceeded resource walltime"
_RUN_AND = re.compile(r"Job run at .* on \S+(?: and (?:finished|failed)$| and |$)")


def _seen(name: str, facts: "dict[str, str]") -> base.Seen:
    word = facts["job_state"].strip()
    state = (
        "waiting" if word and word in _WAITING else "active" if word and word in _ACTIVE
        else "ended" if word and word in _ENDED else "unknown"
    )
    comment = facts.get("comment", "").strip()
    status = facts.get("Exit_status", facts.get("exit_status", "")).strip()
    if state == "ended":
        comment = _RUN_AND.sub("", comment)
        reason = [_status_text(status) if status not in ("", "0") else "", comment]
    else:
        reason = [comment]
    return base.Seen(
        name, state, word, "; ".join(filter(None, reason)), base.labelled(facts.get("Variable_List", "")),
        facts.get("Job_Name", "").strip(), base.epoch(facts.get("ctime", "")),
    )


def _status_text(status: str) -> str:
    if not re.match(r"-?[0-9]{1,9}$", status):
        return "exit status " + status
    number = int(status)
    if number in _MEANINGS:
        return "exit status %d (%s)" % (number, _MEANINGS[number])
    if number < 0:
        return "exit status %d (by PBS itself)" % number
    if number > 256:
        return "exit status %d (signal %d)" % (number, number - 256)
    return "exit status %d" % number


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``qdel``."""
    return [base.call(["qdel", *ids], ids=ids)]


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """qdel ends its complaints with the id."""
    failed = {}  # type: dict[str, str]
    if code == 0:
        return failed
    general = []
    for line in err.split("\n"):
        if not line.strip() or _UNKNOWN_ID.search(line) or _HAS_FINISHED.search(line):
            continue
        last = line.split()[-1]
        named = [key for key in ids if _JOB_ID.match(last) and _same(key, last)]
        failed.update((key, re.sub(r"^qdel: *", "", line.strip())) for key in named)
        if not named:
            general.append(line)
    if general or not err.strip():
        failed.update((key, base.last_words(code, out, err)) for key in ids if key not in failed)
    return failed


# qselect lists the user's ids; without any, qstat would list everybody's jobs.
_FIND = 'ids=$(qselect -u "$1") || exit; test -n "$ids" || exit 0; exec qstat -f $ids'


def find_call(user: str, tokens: "list[str]") -> base.Call:
    """Every job of the user, with its variables."""
    return base.sh(_FIND, [user])


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The blocks whose variables carry one of the tokens; who ended between the commands does not matter."""
    problems = [
        line for line in err.split("\n")
        if line.strip() and not _UNKNOWN_ID.search(line) and not _HAS_FINISHED.search(line)
    ]
    if code is None or (code != 0 and (problems or not err.strip())):
        return base.could_not_ask(code, out, err)
    seen = {}
    for row in _blocks(out).values():
        if row.token in tokens:
            seen.setdefault(row.token, row)
    return base.Answer(seen, "")
