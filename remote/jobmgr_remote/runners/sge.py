"""The Grid Engine family (``runner: sge``): Sun, Son of, Univa, Altair, Open Cluster Scheduler.

Commands: ``qsub``, ``qstat -xml``, ``qdel``, ``qacct``.

============== ==================================== ==================================================
portable key   directive                            note
============== ==================================== ==================================================
queue          ``-q``
account        ``-P``                               the project, by which sites account and limit
nodes          only ``1``                           more is refused: say it by ``-pe`` in directives
tasks          ``-pe smp SLOTS``                    slots = tasks x cpus_per_task, if more than 1
cpus_per_task  as above
memory         ``-l h_vmem``                        divided by the slots, as it counts per slot
gpus           ``-l gpu=N``
job_name       ``-N``                               default ``TASK.CYCLE.SUITE``
mail           ``-M``                               with ``-m ea``
time limit     ``-l h_rt`` in seconds
============== ==================================== ==================================================

``directives`` come after these, as given: ``-pe: mpi 64``, ``-l: [h_vmem=4G, arch=lx-amd64]``. A ``-pe``,
``h_vmem``, ``h_rt`` or ``-S`` of your own replaces the one made here. The job is run by ``-S /bin/bash``,
because Grid Engine ignores the first line of a script.

The token travels in ``-v JOBMGR_TOKEN=...``, which ``qstat -j`` shows as long as the job is queued.

Native id: the job number. Grid Engine counts anew after a crash or beyond 9,999,999, so a job is only
taken for ours with its token, or its submit time in the accounting.

Once a job has left the queue, ``qacct`` tells how it ended; it may lag by 15 seconds and more. Its
``exit_status 0`` says nothing if ``failed`` is not 0 (after a node's reboot: ``failed 19``, ``exit_status
0``), so both are shown. A queue limit (``max_u_jobs``) is no failure: the job waits at home. ``Eqw`` (an
error that somebody must clear) counts as waiting; its reason is shown.
"""

import re

from . import base

NAME = "sge"
VERSION_ARGV = ["qstat", "-help"]
CARRIER = "-v"
SHARED_STATUS = True
VACATION_SIGNALS = ()
ID_VARIABLE = "JOB_ID"
INDEX_VARIABLE = "SGE_TASK_ID"
TIMEOUT = 60.0
MAX_IDS = 2000

_LIMIT = re.compile(r"only [0-9]+ jobs are allowed per|max_u_jobs|job limit", re.I)
_UNSURE = re.compile(
    r"commlib error|unable to (?:send|contact|receive)|got (?:send|read|select|no connection)|"
    r"timed? ?out|failed receiving gdi|Connection refused|can't (?:connect|contact)|Broken pipe", re.I
)
_NUMBER = re.compile(r"([0-9]+)(?:\.[0-9]+(?:-[0-9]+)?(?::[0-9]+)?)?$")
_FAILED = re.compile(r"\s*([0-9]+)\s*:?\s*(.*)")


def directives(job: dict) -> "list[str]":
    """The ``#$`` lines."""
    portable = base.resources(job)
    own = base.given(job)
    names = [name for name, _ in own]
    asked = " ".join(value for name, value in own if name == "-l" and value)
    lines = ["#$ -N " + _name(base.job_name(job))]
    if "-S" not in names:
        lines.append("#$ -S /bin/bash")
    for key, option in (("queue", "-q"), ("account", "-P")):
        if key in portable:
            lines.append("#$ %s %s" % (option, portable[key]))
    if base.count(portable, "nodes") > 1 and "-pe" not in names:
        raise ValueError("nodes: Grid Engine counts slots; say it by directives: {-pe: mpi 64}")
    slots = base.count(portable, "tasks") * base.count(portable, "cpus_per_task")
    if slots > 1 and "-pe" not in names:
        lines.append("#$ -pe smp %d" % slots)
    if "memory" in portable and "h_vmem=" not in asked:
        lines.append("#$ -l h_vmem=%dM" % -(-base.mebibytes(portable["memory"]) // max(1, slots)))
    if "gpus" in portable:
        lines.append("#$ -l gpu=%d" % base.count(portable, "gpus"))
    if job.get("time_limit") and "h_rt=" not in asked:
        lines.append("#$ -l h_rt=%d" % -(-int(job["time_limit"] * 1000) // 1000))
    if "mail" in portable:
        lines.append("#$ -m ea")
        lines.append("#$ -M " + portable["mail"])
    for name, value in own:
        lines.append("#$ " + name + ("" if value is None else " " + value))
    lines.append("#$ -v %s=%s" % (base.VARIABLE, job["token"]))
    return lines


def _name(text: str) -> str:
    text = re.sub(r"[\s/:@\\*?\"'%<>&]", "_", text)
    return "j" + text if text[:1].isdigit() else text


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``qsub -terse`` with both output files."""
    return base.call(["qsub", "-terse", "-o", out_file, "-e", err_file, job_file])


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """``-terse`` prints ``ID`` or ``ID.FIRST-LAST:STEP`` alone on a line."""
    for line in reversed(out.split("\n")):
        match = _NUMBER.match(line.strip())
        if match:
            return base.Outcome(base.SUBMITTED, match.group(1), "")
    return base.failure(code, out, err, _LIMIT, _UNSURE)


# The list knows the states, the details (-j) know tokens and submit times. A number that -j does not know
# makes it fail, but is named in its answer; only the list's exit code counts.
_POLL = 'qstat -u "$(id -un)" -xml || exit; echo "<details/>"; qstat -xml -j "$1"; exit 0'


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """The user's jobs, then details of those asked for."""
    return [base.sh(_POLL, [",".join(ids)], ids=tuple(ids))]


# One pass over the accounting file, whatever the number of jobs; only the blocks of these ids are printed.
_QACCT = (
    'qacct -o "$(id -un)" -j | awk -v ids=" $* " \''
    "/^=====/ { show = 0 } $1 == \"jobnumber\" && index(ids, \" \" $2 \" \") { show = 1 } "
    "/^=====/ { head = $0 \"\\n\"; next } { if (show && head != \"\") { printf \"%s\", head; head = \"\" } "
    "if (show) print; else if (head != \"\") head = head $0 \"\\n\" }\'"
)


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """The accounting records of these ids."""
    return [base.sh(_QACCT, ids, ids=tuple(ids))]


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The answer of qstat, or of qacct."""
    if call.argv[2] == _QACCT:
        return base.Answer(_accounted(ids, out), "")
    listed, cut, details = out.partition("<details/>")
    if code != 0 or not cut or "</job_info>" not in listed:
        return base.could_not_ask(code, "", err or "qstat did not answer")
    facts = _details(details)
    rows = {}  # type: dict[str, list[base.Seen]]
    for block in re.findall(r"<job_list\b[^>]*>(.*?)</job_list>", listed, re.S):
        row = _row(block, facts)
        if row is not None and row.native_id in ids:
            rows.setdefault(row.native_id, []).append(row)
    return base.Answer({key: base.merged(value) for key, value in rows.items()}, "")


def _tag(block: str, name: str) -> str:
    match = re.search(r"<%s>(.*?)</%s>" % (name, name), block, re.S)
    if not match:
        return ""
    text = match.group(1).strip()
    for entity, character in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        text = text.replace(entity, character)
    return text


def _row(block: str, facts: "dict[str, base.Seen]") -> "base.Seen | None":
    number = _tag(block, "JB_job_number")
    word = _tag(block, "state")
    if not number:
        return None
    known = facts.get(number)
    return base.Seen(
        number, _state(word), word, known.reason if known else "", known.token if known else "",
        _tag(block, "JB_name") or (known.name if known else ""),
        known.submit_time if known else base.epoch(_tag(block, "JB_submission_time")),
    )


def _state(word: str) -> str:
    if not word or not re.match(r"[a-zA-Z]+$", word):
        return "unknown"
    # "q" in any mixture (qw, hqw, hRwq, Eqw, Rq) is in the queue.
    if "q" in word or word in ("w", "h", "hw"):
        return "waiting"
    return "active" if re.match(r"[rtRsSTdhNPE]+$", word) else "unknown"


# The job's environment is told, and it has no token: somebody else's job, perhaps under a number used before.
_NO_TOKEN = "none"


def _details(text: str) -> "dict[str, base.Seen]":
    """Token, name, submit time and messages of each job in ``qstat -xml -j``."""
    facts = {}
    for block in re.split(r"(?=<JB_job_number>)", text)[1:]:
        number = _tag(block, "JB_job_number")
        token = ""
        for name, value in re.findall(
            r"<VA_variable>([^<]*)</VA_variable>\s*<VA_value>([^<]*)</VA_value>", block
        ):
            if name.strip() == base.VARIABLE:
                token = token or base.labelled(base.LABEL + value.strip())
        if not token and "<JB_env_list>" in block:
            token = _NO_TOKEN
        reason = _tag(block, "QIM_message") or _tag(block, "MES_message")
        if reason.startswith("There are no messages"):
            reason = ""
        facts.setdefault(number, base.Seen(
            number, "unknown", "", base.one_line(reason)[:300], token, _tag(block, "JB_job_name"),
            base.epoch(_tag(block, "JB_submission_time")),
        ))
    return facts


def _accounted(ids: "list[str]", out: str) -> "dict[str, base.Seen]":
    """The last record of each id. A rescheduled job has several, and a number may have been used before."""
    seen = {}  # type: dict[str, base.Seen]
    tasks = {}  # type: dict[str, dict[str, base.Seen]]
    for block in re.split(r"(?m)^=+\s*$", out):
        facts = {}  # type: dict[str, str]
        for line in block.split("\n"):
            key, _, value = line.partition(" ")
            facts.setdefault(key, value.strip())
        number = facts.get("jobnumber", "")
        if number not in ids or "exit_status" not in facts:
            continue
        row = _record(number, facts)
        earlier = tasks.get(number, {})
        if any(other.submit_time != row.submit_time for other in earlier.values()):
            earlier = {}
        earlier[facts.get("taskid", "")] = row
        tasks[number] = earlier
    for number, parts in tasks.items():
        seen[number] = base.merged(list(parts.values()))
    return seen


def _record(number: str, facts: "dict[str, str]") -> base.Seen:
    failed = _FAILED.match(facts.get("failed", "0"))
    code, text = failed.groups() if failed else ("0", "")
    status = facts["exit_status"].split()[0] if facts["exit_status"].split() else ""
    reason = "exit_status " + status if status != "0" else ""
    if code != "0":
        reason = ("failed %s: %s; %s" % (code, text.strip() or "no text", "exit_status " + status))
    word = "done" if code == "0" and status == "0" else "failed"
    submitted = base.epoch(facts.get("qsub_time", ""))
    return base.Seen(number, "ended", word, reason, "", facts.get("jobname", ""), submitted)


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``qdel``."""
    return [base.call(["qdel", ",".join(ids)], ids=ids)]


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """qdel tells about each id on a line of its own, on stdout."""
    failed = {}  # type: dict[str, str]
    settled = set()
    for line in (out + "\n" + err).split("\n"):
        numbers = re.findall(r"[0-9]+", line.replace('"', " "))
        named = [key for key in ids if key in numbers]
        if re.search(r"registered the job|has deleted job|does not exist|already in deletion", line):
            settled.update(named)
        elif line.startswith("denied") or "insufficient rights" in line:
            failed.update((key, line.strip()) for key in named)
    if code != 0:
        text = base.last_words(code, out, err)
        failed.update((key, text) for key in ids if key not in settled and key not in failed)
    return failed


# In portions: one argument has a length limit. What each of them says must be whole.
_FIND = (
    'list=$(qstat -u "$1" -xml) || exit; echo "<listed/>"; printf "%s\\n" "$list" | '
    "sed -n 's/.*<JB_job_number>\\([0-9]*\\)<.*/\\1/p' | sort -u | xargs -n 1000 | tr ' ' , | while read -r ids; do "
    'test -z "$ids" || { echo "<details/>"; qstat -xml -j "$ids"; }; done; exit 0'
)


def find_call(user: str, tokens: "list[str]") -> base.Call:
    """Details of all jobs of the user."""
    return base.sh(_FIND, [user])


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The jobs whose environment carries one of the tokens."""
    _, listed, details = out.partition("<listed/>")
    whole = all(re.search("</detailed_job_info>|</unknown_jobs>", part) for part in details.split("<details/>")[1:])
    if code != 0 or not listed or not whole:
        return base.could_not_ask(code, "", err or "qstat did not answer")
    seen = {}
    for row in _details(details).values():
        if row.token in tokens:
            seen.setdefault(row.token, row)
    return base.Answer(seen, "")
