"""at (``runner: at``): one machine's own queue, kept by ``atd``.

Commands: ``at now``, ``atq``, ``at -c``, ``atrm``.

at has no resources: ``queue`` is its queue letter (``a`` to ``z``, ``batch`` is ``b``), the time limit is
kept by the job itself; ``nodes``, ``tasks``, ``cpus_per_task``, ``memory``, ``gpus``, ``account`` and
``mail`` do not exist there and have no effect. ``directives`` may name ``-q`` and ``-m``; others are refused.

The token travels in the job's text, which ``at -c`` prints.

Native id: at's job number. A job that runs is listed under ``=``; after a crash of the machine at may list it
for ever, so a job that has started is judged by its process. Removing a job with ``atrm`` does not end what
has started already; jobmgr ends its processes.

If atd is not running, at takes jobs all the same ("No atd running?"): they wait until it is started.
"""

import re

from . import base

NAME = "at"
VERSION_ARGV = ["at", "-V"]
CARRIER = "at -c"
SHARED_STATUS = False
VACATION_SIGNALS = ()
ID_VARIABLE = ""
INDEX_VARIABLE = ""
TIMEOUT = 30.0
MAX_IDS = 2000

_NEVER = re.compile(r"(?!)")
_JOB = re.compile(r"(?m)^job ([0-9]+) at ")
_ATQ = re.compile(r"([0-9]+)\s+(.*?[0-9]{4})\s+(\S)(?:\s+(\S+))?$")
_OPTIONS = {"-q": "[a-zA-Z]", "-m": "", "-M": ""}


def directives(job: dict) -> "list[str]":
    """Nothing that at would read: a mark by which ``at -c`` finds the job is in what is submitted."""
    for name, value in base.given(job):
        if name not in _OPTIONS or not re.match(_OPTIONS[name] + "$", value or ""):
            raise ValueError("directives: at does not know %s %s" % (name, value or ""))
    return []


# at runs the text that it reads by /bin/sh, in the directory from which it was called.
_SUBMIT = (
    'cd / || exit; text="# $1\nexec /usr/bin/env bash \'$2\' >>\'$3\' 2>>\'$4\' </dev/null"; shift 4; '
    'printf "%s\\n" "$text" | at "$@" now'
)


def submit_call(job: dict, job_file: str, out_file: str, err_file: str) -> base.Call:
    """``at now``, the text on its stdin."""
    options = []
    for name, value in base.given(job):
        options.extend([name, value] if value else [name])
    queue = base.resources(job).get("queue")
    if queue and "-q" not in options:
        options = ["-q", "b" if queue == "batch" else queue, *options]
    paths = [path.replace("'", "'\\''") for path in (job_file, out_file, err_file)]
    return base.sh(_SUBMIT, [base.label(job["token"]), *paths, *options])


def parse_submit(code: "int | None", out: str, err: str) -> base.Outcome:
    """at names the job on stderr: ``job 5 at Fri Nov 20 20:10:00 2026``."""
    match = _JOB.search(err) or _JOB.search(out)
    if match:
        return base.Outcome(base.SUBMITTED, match.group(1), "")
    return base.failure(code, out, err, _NEVER, _NEVER)


# Which tokens the listed jobs carry; a job may vanish between the two commands.
_LIST = (
    'list=$(atq) || exit; echo "<atq>"; printf "%s\\n" "$list" | while read -r id rest; do '
    'test -n "$id" || continue; printf "%s %s\\n" "$id" "$rest"; '
    'at -c "$id" 2>/dev/null | sed -n "s/^# \\(' + base.LABEL + '[0-9a-f-]*\\)\\$/token $id \\1/p"; done'
)


def poll_calls(ids: "list[str]") -> "list[base.Call]":
    """The user's whole queue with its tokens."""
    return [base.sh(_LIST, [], ids=tuple(ids))]


def history_calls(ids: "list[str]") -> "list[base.Call]":
    """at keeps no history."""
    return []


def parse_poll(call: base.Call, ids: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """Every job that is listed."""
    if code != 0 or "<atq>" not in out:
        return base.could_not_ask(code, "", err or "atq did not answer")
    return base.Answer({key: row for key, row in _rows(out).items() if key in ids}, "")


def _rows(out: str) -> "dict[str, base.Seen]":
    tokens = dict(re.findall(r"(?m)^token ([0-9]+) %s([0-9a-f-]+)$" % base.LABEL, out))
    rows = {}
    for line in out.split("\n"):
        match = _ATQ.match(line.strip())
        if match:
            number, _, queue, _ = match.groups()
            rows[number] = base.Seen(
                number, "active" if queue == "=" else "waiting", queue, "", tokens.get(number, ""), "", 0
            )
    return rows


def kill_calls(ids: "list[str]") -> "list[base.Call]":
    """One ``atrm``."""
    return [base.call(["atrm", *ids], ids=ids)]


def parse_kill(ids: "list[str]", code: "int | None", out: str, err: str) -> "dict[str, str]":
    """atrm complains about unknown jobs, and warns about running ones, which is no error here."""
    failed = {}  # type: dict[str, str]
    if code == 0:
        return failed
    lines = [line.strip() for line in err.split("\n") if line.strip()]
    problems = [line for line in lines if not re.search(r"Cannot find jobid|is running|does not exist", line)]
    if problems or not lines:
        failed.update((key, base.last_words(code, out, "\n".join(problems))) for key in ids)
    return failed


def find_call(user: str, tokens: "list[str]") -> base.Call:
    """The same list: at shows each user their own jobs."""
    return base.sh(_LIST, [])


def parse_find(tokens: "list[str]", code: "int | None", out: str, err: str) -> base.Answer:
    """The jobs whose text carries one of the tokens."""
    if code != 0 or "<atq>" not in out:
        return base.could_not_ask(code, "", err or "atq did not answer")
    return base.Answer({row.token: row for row in _rows(out).values() if row.token in tokens}, "")
