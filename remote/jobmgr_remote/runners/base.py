"""The contract of a runner: what a module must offer so that jobmgr can run jobs through a batch system.

A runner is a module (no class, no inheritance) that builds command lines and reads their output; it never
runs anything itself, ``proc.py`` does. Every function is pure. ``tests/conformance/test_runners.py`` holds
each runner against this contract; docs/runners.md has an annotated example.

A module offers:

``NAME``             the runner's name, as in ``runner: slurm``.
``VERSION_ARGV``     an argv that prints a version and needs no server.
``CARRIER``          how the token travels with a job, for humans (``--comment``), or ``""`` if it cannot.
``SHARED_STATUS``    True if the job may run on another machine than the one that submits.
``VACATION_SIGNALS`` names of signals (``"XCPU"``) by which the system vacates a job to run it again.
``ID_VARIABLE``      the environment variable in which the job finds its own native id, or ``""``.
``INDEX_VARIABLE``   the same for its index in a job array, or ``""``. No array: unset, empty or
``undefined``. ``TIMEOUT``          seconds that one of its commands may take. ``MAX_IDS``          how many
ids fit into one poll or kill command.

``directives(job) -> [str]``
    Lines for the head of the job file (``#SBATCH --time=10``), from the portable keys, ``job["directives"]``
    (as given, last), the time limit and the token. Raises ValueError, with a text for the user, for a key
    that the system cannot express.
``submit_call(job, job_file, out_file, err_file) -> Call``
    The command that submits a job file (absolute paths).
``parse_submit(code, out, err) -> Outcome``
``poll_calls(ids) -> [Call]``
    All that has to be asked about these ids. ``Call.ids`` tells which of them a call answers for.
``history_calls(ids) -> [Call]``
    What else may know why these ids, which the queue no longer lists, have ended (accounting); ``[]`` if
    nothing does. Only ``Q_ENDED`` answers count, and a failure of these calls changes nothing.
``parse_poll(call, ids, code, out, err) -> Answer``     for both kinds of calls
``kill_calls(ids) -> [Call]``
``parse_kill(ids, code, out, err) -> {id: text}``
    What could not be killed, with the reason; an id that the system no longer knows is not an error.
``find_call(user, tokens[, place]) -> Call or None``     a look-up by token; None if there is no carrier
``parse_find(tokens, code, out, err) -> Answer``     keyed by token; ``Seen.native_id`` is set

A module may offer ``place(job_text) -> str`` and ``PLACE_VARIABLE``, where one system has several queues that are
asked each by itself: the one that a job file names, or ``""``; and the variable in which a job that named one finds
it. Its native id is then ``ID;PLACE``.

Text arrives decoded as UTF-8 with replacement. ``code`` is the exit code, None if the command could not be
started or timed out (``err`` says which: it begins with ``could not start`` or ``timed out``).

:func:`ask`, :func:`kill` and :func:`find` go through a module's calls in the one right way; ``run(call)``
does the work and returns ``(code, out, err)``.
"""

import re
import time

from jobmgr_remote.records import namedtuple

#: ``argv``: a list of text; ``stdin_path``: a file to give as stdin, or ""; ``env``: pairs to add to the
#: environment; ``ids``: the ids that the call is about (empty: all that were given); ``until``: words on stderr
#: at which the command is ended, since it would only wait.
Call = namedtuple("Call", "argv stdin_path env ids until", defaults=("", (), (), ""))

#: What a submit command said. ``state``: ``submitted`` (``native_id`` is set), ``failed`` (certainly not
#: queued; ``text`` says why), ``limit`` (refused because a queue limit is reached: try later), ``unknown``
#: (may have been queued).
Outcome = namedtuple("Outcome", "state native_id text")
SUBMITTED, FAILED, LIMIT, UNKNOWN = "submitted", "failed", "limit", "unknown"

#: One job in the queue's answer. ``state``: wire.Q_WAITING, Q_ACTIVE, Q_ENDED or Q_UNKNOWN; ``raw`` the
#: system's own word, ``reason`` its own word for why; ``token``, ``name`` and ``submit_time`` (seconds since
#: the epoch, 0 = not told) prove whose job it is, each "" or 0 where the system does not tell.
Seen = namedtuple("Seen", "native_id state raw reason token name submit_time")

#: ``seen`` maps id (or token, for a look-up) to Seen. ``error`` is "" if the question was answered, so that
#: an id which is not in ``seen`` is absent; else why the queue could not be asked (then nothing may be
#: concluded about the others, but that those in ``absent`` were named as unknown by the system itself).
Answer = namedtuple("Answer", "seen error absent", defaults=(frozenset(),))

_TOKEN = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
#: How a token is written where a system offers a free text.
LABEL = "jobmgr:"
#: The variable that carries it where a system offers an environment.
VARIABLE = "JOBMGR_TOKEN"
_LABELLED = re.compile(r"(?:%s|%s=)(%s)(?![0-9a-f])" % (LABEL, VARIABLE, _TOKEN))


def call(
    argv: "list[str]", stdin_path: str = "", env: "tuple[tuple[str, str], ...]" = (),
    ids: "tuple[str, ...]" = (), until: str = "",
) -> Call:
    """A Call with defaults."""
    return Call(list(argv), stdin_path, tuple(env), tuple(ids), until)


def sh(script: str, arguments: "list[str]", ids: "tuple[str, ...]" = ()) -> Call:
    """A Call of a constant shell script; whatever varies travels as its arguments ``"$1" ...``."""
    return call(["/bin/sh", "-c", script, "sh", *list(arguments)], ids=ids)


def last_words(code: "int | None", out: str, err: str) -> str:
    """The end of what a command said, on one line: an error text for humans."""
    words = (err.strip() or out.strip() or "exit code %s" % code).split("\n")
    return " ".join(part.strip() for part in words[-3:])[:500]


def could_not_ask(code: "int | None", out: str, err: str) -> Answer:
    """The Answer for a command that failed: the end of what it said, on one line."""
    return Answer({}, last_words(code, out, err))


# --- going through a module's calls ------------------------------------------------------------------


def ask(runner: object, ids: "list[str]", run: object) -> "tuple[dict[str, Seen], dict[str, str]]":
    """Ask about ids: ``(seen, errors)``, both keyed by id. An id in neither is absent.

    One command per ``MAX_IDS`` ids; what the queue no longer lists is then looked up in the accounting.
    """
    seen = {}  # type: dict[str, Seen]
    errors = {}  # type: dict[str, str]
    for part in split(ids, runner.MAX_IDS):  # type: ignore[attr-defined]
        for one in runner.poll_calls(part):  # type: ignore[attr-defined]
            about = list(one.ids) or part
            answer = _parsed(runner, one, about, run)
            seen.update((key, value) for key, value in answer.seen.items() if key in about)
            if answer.error:
                for key in about:
                    if key not in answer.seen and key not in answer.absent:
                        errors[key] = answer.error
    for key in seen:
        errors.pop(key, None)
    left = [key for key in ids if key not in seen and key not in errors]
    for part in split(left, runner.MAX_IDS):  # type: ignore[attr-defined]
        for one in runner.history_calls(part):  # type: ignore[attr-defined]
            answer = _parsed(runner, one, list(one.ids) or part, run)
            seen.update(
                (key, value) for key, value in answer.seen.items() if key in part and value.state == "ended"
            )
    return seen, errors


def _parsed(runner: object, one: Call, about: "list[str]", run: object) -> Answer:
    code, out, err = run(one)  # type: ignore[operator]
    return runner.parse_poll(one, about, code, out, err)  # type: ignore[attr-defined]


def kill(runner: object, ids: "list[str]", run: object) -> "dict[str, str]":
    """Cancel ids; what could not be cancelled, with the reason."""
    failed = {}  # type: dict[str, str]
    for part in split(ids, runner.MAX_IDS):  # type: ignore[attr-defined]
        for one in runner.kill_calls(part):  # type: ignore[attr-defined]
            code, out, err = run(one)  # type: ignore[operator]
            failed.update(runner.parse_kill(list(one.ids) or part, code, out, err))  # type: ignore[attr-defined]
    return failed


def find(runner: object, user: str, tokens: "list[str]", run: object, place: str = "") -> "Answer | None":
    """Look tokens up; keyed by token. None if the runner has no carrier.

    ``place``: what the runner's ``place`` said of the job files, if it has such a function.
    """
    where = [place] if place else []
    one = runner.find_call(user, tokens, *where)  # type: ignore[attr-defined]
    if one is None:
        return None
    code, out, err = run(one)  # type: ignore[operator]
    return runner.parse_find(tokens, code, out, err)  # type: ignore[attr-defined]


def split(ids: "list[str]", size: int) -> "list[list[str]]":
    """Ids in portions of at most ``size``."""
    return [ids[at:at + size] for at in range(0, len(ids), size)]


# --- what modules share ---------------------------------------------------------------------------------


def failure(code: "int | None", out: str, err: str, limit: object, unsure: object) -> Outcome:
    """The Outcome of a submit command that named no id.

    ``limit`` and ``unsure`` are compiled patterns: a queue limit, and words after which the server may
    have the job all the same. Exit code 0 without an id, a time-out and death by a signal are unsure too.
    """
    text = last_words(code, out, err)
    if code is None and text.startswith("could not start"):
        return Outcome(FAILED, "", text)
    if code is None or code <= 0:
        return Outcome(UNKNOWN, "", text)
    said = err + "\n" + out
    if limit.search(said):  # type: ignore[attr-defined]
        return Outcome(LIMIT, "", text)
    if unsure.search(said):  # type: ignore[attr-defined]
        return Outcome(UNKNOWN, "", text)
    return Outcome(FAILED, "", text)


def label(token: str) -> str:
    """The token as it is written into a comment."""
    return LABEL + token


def labelled(text: str) -> str:
    """The token that a comment or an environment carries, or ""."""
    found = _LABELLED.search(text)
    return found.group(1) if found else ""


def job_name(job: dict) -> str:
    """The name that the user gave, or ``TASK.CYCLE[.SUITE]``."""
    named = job.get("resources", {}).get("job_name")
    if named:
        return one_line(named)
    cycle, task = ([*str(job.get("job", "")).split("/"), "", ""])[:2]
    return ".".join(part for part in (task, cycle, str(job.get("suite") or "")) if part)


def resources(job: dict) -> "dict[str, str]":
    """The portable keys that are set, as one-line text."""
    keys = job.get("resources") or {}
    return {key: one_line(value) for key, value in keys.items() if value not in (None, "")}


def count(portable: "dict[str, str]", key: str, default: int = 1) -> int:
    """A portable key that is a whole number. Raises ValueError naming the key."""
    text = portable.get(key)
    if text is None:
        return default
    if not re.match("[0-9]+$", text):
        raise ValueError("%s: not a whole number: %s" % (key, text))
    return int(text)


_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) *([kKmMgGtTpP]?)(?:[iI]?[bB])?$")
_POWERS = {"": 2, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}


def mebibytes(text: str) -> int:
    """``4G``, ``4GB``, ``4096M`` or ``4096`` (MiB) in MiB, rounded up, at least 1. Raises ValueError."""
    match = _SIZE.match(text.strip())
    if not match:
        raise ValueError("memory: not a size such as 4G or 500M: %s" % text)
    size = float(match.group(1)) * 1024.0 ** (_POWERS[match.group(2).lower()] - 2)
    return max(1, int(size) if size == int(size) else int(size) + 1)


def hms(seconds: float) -> str:
    """Seconds as ``H:MM:SS``, rounded up."""
    whole = int(seconds) if seconds == int(seconds) else int(seconds) + 1
    return "%d:%02d:%02d" % (whole // 3600, whole // 60 % 60, whole % 60)


def one_line(value: object) -> str:
    """A value as text that cannot end a directive's line."""
    return " ".join(str(value).split("\n")).replace("\r", " ").strip()


def given(job: dict) -> "list[tuple[str, str | None]]":
    """The user's own directives as (name, value) pairs, a list repeated; value None = a flag."""
    pairs = []  # type: list[tuple[str, str | None]]
    for name, value in job.get("directives") or []:
        pairs.extend(
            (one_line(name), None if one is None or one == "" else one_line(one))
            for one in (value if isinstance(value, (list, tuple)) else [value])
        )
    return pairs


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_CTIME = re.compile(r"([A-Z][a-z]{2}) +([0-9]{1,2}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([0-9]{4})")
_ISO = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})[T ]([0-9]{2}):([0-9]{2}):([0-9]{2})")


def epoch(text: str) -> int:
    """A time as batch systems print it (epoch, ``Fri Nov 20 18:28:40 2026``, ISO; local) in seconds, or 0."""
    text = text.strip()
    if re.match(r"[0-9]{1,12}(\.[0-9]+)?$", text):
        return int(float(text))
    named = _CTIME.search(text)
    if named and named.group(1).lower() in _MONTHS:
        month, day, hour, minute, second, year = named.groups()
        fields = (int(year), _MONTHS.index(month.lower()) + 1, int(day), int(hour), int(minute), int(second))
    else:
        iso = _ISO.match(text)
        if not iso:
            return 0
        fields = tuple(int(part) for part in iso.groups())  # type: ignore[assignment]
    try:
        return max(0, int(time.mktime((*fields, 0, 0, -1))))  # type: ignore[arg-type]
    except (ValueError, OverflowError):
        return 0


def merged(rows: "list[Seen]") -> Seen:
    """Several rows of one id (elements of an array, parts of a heterogeneous job) as one job.

    It is active while any part is, or while some have ended and others still wait; it has ended when all
    have, with the word and the reason of the first part that went wrong.
    """
    by = {}  # type: dict[str, list[Seen]]
    for row in rows:
        by.setdefault(row.state, []).append(row)
    if "active" in by:
        return by["active"][0]
    if "waiting" in by:
        first = by["waiting"][0]
        return first._replace(state="active") if "ended" in by else first
    if "unknown" in by:
        return by["unknown"][0]
    bad = [row for row in rows if row.raw.upper() not in ("COMPLETED", "DONE", "F", "C", "COMPLETE", "X")]
    return (bad or rows)[0]
