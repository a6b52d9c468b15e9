"""The wire: every message between controller and host, its type, and how it is written and read.

Both ways it is lines of JSON, ASCII only. docs/protocol.md describes each message.

A request is a header, items, and an end line of its own (not EOF, because a held stdin must be able to
say "stop" later)::

    {"jobmgr": 1, "verb": "jobs-poll", "run": {...}, "options": {...}, "common": {...}}
    {"item": {...}}
    {"end": 1}

``common`` holds what all items share; a reader gets it merged below each item.

A reply line carries the marker ``@jobmgr `` (what stands before it on the line is a banner, and ignored)
and one object with one key: ``hello`` first, then ``job``, ``data``, ``note``, ``init``, ``beat``, ``error`` in any
number, and ``end`` with the count of ``job`` lines last. Without ``end`` the reply is truncated; what did
arrive still counts.
"""

import json
from collections import namedtuple

PROTOCOL = 1
SERVED = (1,)
MARK = "@jobmgr "
NOT_INSTALLED = "@jobmgr-not-installed"
NO_PYTHON = "@jobmgr-no-python"
MAX_REQUEST_LINE = 64 * 1024 * 1024
MAX_REPLY_LINE = 4 * 1024 * 1024
MAX_DATA = 256 * 1024
HEARTBEAT = 10.0

REMOTE_INIT = "remote-init"
REMOTE_TIDY = "remote-tidy"
JOBS_SUBMIT = "jobs-submit"
JOBS_POLL = "jobs-poll"
JOBS_KILL = "jobs-kill"
CAT_LOG = "cat-log"
SCAN = "scan"
VERBS = (REMOTE_INIT, REMOTE_TIDY, JOBS_SUBMIT, JOBS_POLL, JOBS_KILL, CAT_LOG, SCAN)

HELLO, JOB, DATA, NOTE, INIT, BEAT, ERROR, END = (
    "hello", "job", "data", "note", "init", "beat", "error", "end",
)

# --- evidence: what a host reports about one job -------------------------------------------------

# file states
FILE_OK, FILE_MISSING, FILE_UNREADABLE, FILE_DIRECTORY_MISSING, FILE_FOREIGN = (
    "ok", "missing", "unreadable", "directory-missing", "foreign",
)
# queue states
Q_WAITING, Q_ACTIVE, Q_ENDED, Q_UNKNOWN, Q_ABSENT, Q_OTHER_JOB, Q_NOT_ASKED, Q_COULD_NOT_ASK = (
    "waiting", "active", "ended", "unknown", "absent", "other-job", "not-asked", "could-not-ask",
)
# process states
P_ALIVE, P_GONE, P_NOT_OURS, P_REBOOTED, P_OTHER_HOST, P_CANNOT_SEE, P_NOT_ASKED = (
    "alive", "gone", "not-ours", "rebooted", "other-host", "cannot-see", "not-asked",
)
# claim states: nobody has claimed the token / a wrapper has / it was revoked
C_NONE, C_STARTED, C_REVOKED = "none", "started", "revoked"
# spool states (background only): not in the spool / waits for a slot / taken by a slot that has not yet claimed
S_NONE, S_QUEUED, S_TAKEN = "none", "queued", "taken"
# answers of a look-up by token (settling a submit)
FOUND_NOT_ASKED, FOUND_ABSENT, FOUND_COULD_NOT_ASK, FOUND_ID, FOUND_CANNOT = (
    "not-asked", "absent", "could-not-ask", "id", "cannot",
)

#: ``facts`` maps the keys of job.status (status.py) to text; ``messages`` are [time, severity, text]
#: beyond the number that the request says was seen; ``message_count`` counts all; ``size`` in bytes.
FileEvidence = namedtuple("FileEvidence", "state size facts messages message_count attempts error")
#: ``raw`` is the queue's own word for the state, ``reason`` its own word for why, ``error`` why it could not be asked.
QueueEvidence = namedtuple("QueueEvidence", "state raw reason error")
#: A look-up by token: ``state`` is one of FOUND_*, ``native_id`` set for FOUND_ID, ``error`` for the rest;
#: ``submitter_alive`` tells whether the process that submitted may still be at it.
Found = namedtuple("Found", "state native_id error submitter_alive")
#: One file for retrieval: ``path`` relative to the run directory, ``size`` in bytes, ``type`` one of
#: ``file``, ``link``, ``dir``, ``other``.
Listed = namedtuple("Listed", "path size type")
#: All evidence about one job. ``native_id`` is the one recorded beside job.status ("" = none), ``fenced``
#: whether the journal knows the token, ``killed`` whether a kill mark lies there, ``files`` a tuple of
#: Listed or None if it was not asked for.
Evidence = namedtuple(
    "Evidence", "job token file queue process claim native_id fenced killed spool found files"
)

NO_FILE = FileEvidence(FILE_MISSING, 0, {}, (), 0, 0, "")
NO_QUEUE = QueueEvidence(Q_NOT_ASKED, "", "", "")
NO_FOUND = Found(FOUND_NOT_ASKED, "", "", False)

# --- answers to jobs-submit ------------------------------------------------------------------------

# submitted now / was there already (a repeated request) / failed for good / the queue is full, try later /
# the runner did not tell (settle it) / another token owns the directory / refused by policy / revoked before
R_SUBMITTED, R_ALREADY, R_FAILED, R_LIMIT, R_UNKNOWN, R_FOREIGN, R_REFUSED, R_REVOKED = (
    "submitted", "already", "failed", "limit", "unknown", "foreign", "refused", "revoked",
)
#: One job's answer: ``text`` is for humans (why it failed), ``time`` UTC with ``Z``.
Submitted = namedtuple("Submitted", "job token result native_id text time")

# --- answers to jobs-kill --------------------------------------------------------------------------

K_KILLED, K_FINISHED, K_NOT_FOUND, K_COULD_NOT = "killed", "already-finished", "not-found", "could-not"
#: One job's answer: ``text`` says what could not be done or seen; ``evidence`` as after the kill, or None.
Killed = namedtuple("Killed", "job token result text evidence")

# --- the other records ------------------------------------------------------------------------------

#: ``time`` is the host's clock (seconds since the epoch, float), ``instance`` one life of the host,
#: ``run_dir`` absolute, ``run_state`` one of ``ok``, ``absent`` (the run is not there), ``unmounted`` (it should be
#: there and is not), ``foreign`` (another run's uuid).
Hello = namedtuple("Hello", "protocol version time instance hostname user run_dir run_state python")
#: Something a person should know: ``level`` is info, warning or error.
Note = namedtuple("Note", "level code text")
#: A refusal or failure of the whole call; ``code`` is one of ERROR_CODES.
Error = namedtuple("Error", "code text")
E_USAGE, E_VERSION, E_TOO_OLD, E_TAKEN_OVER, E_FOREIGN, E_ACTIVE, E_POLICY, E_HOST, E_NOT_FOUND, E_BUG = (
    "usage", "unsupported-version", "too-old", "taken-over", "foreign-run", "active-jobs", "policy", "host",
    "not-found", "bug",
)
ERROR_CODES = (
    E_USAGE, E_VERSION, E_TOO_OLD, E_TAKEN_OVER, E_FOREIGN, E_ACTIVE, E_POLICY, E_HOST, E_NOT_FOUND, E_BUG,
)

#: Who asks, and for which run: ``root`` is a run root (may hold ``$HOME``), ``owner`` a text for humans such as ``ada@lap2``.
Run = namedtuple("Run", "root suite uuid controller epoch owner")
#: A whole request: ``items`` are dicts (see docs/protocol.md for each verb's keys), ``complete`` says whether
#: its end line arrived.
Request = namedtuple("Request", "protocol verb run options items complete")


class WireError(ValueError):
    """A line that does not follow the protocol."""


def encode_request(verb: str, run: Run, options: dict, items: "list[dict]", common: "dict | None" = None) -> bytes:
    """The bytes of a request, end line included."""
    lines = [
        _dump({
            "jobmgr": PROTOCOL, "verb": verb, "run": run._asdict(), "options": options, "common": common or {},
        })
    ]
    lines.extend(_dump({"item": item}) for item in items)
    lines.append(_dump({"end": len(items)}))
    lines.append("")
    return "\n".join(lines).encode("ascii")


def read_request(stream: object) -> Request:
    """Read one request from a binary stream up to its end line, or to EOF (``complete`` is False then).

    Items whose line did not arrive whole are not in ``items``. Raises WireError if there is no header,
    or a line that is no request line.
    """
    readline = stream.readline  # type: ignore[attr-defined]
    first = readline(MAX_REQUEST_LINE)
    if not first.endswith(b"\n"):
        raise WireError("the request has no header line")
    header = _load(first)
    if not isinstance(header.get("jobmgr"), int):
        raise WireError("the request does not begin with a jobmgr header")
    common = header.get("common") or {}
    items = []
    while True:
        raw = readline(MAX_REQUEST_LINE)
        if not raw.endswith(b"\n"):
            complete = False
            break
        row = _load(raw)
        if "end" in row:
            complete = row["end"] == len(items)
            break
        item = row.get("item")
        if not isinstance(item, dict):
            raise WireError("a request line that is neither item nor end")
        items.append(dict(common, **item) if common else item)
    run = header.get("run") or {}
    return Request(
        header["jobmgr"], str(header.get("verb", "")),
        Run(*(run.get(field, "") for field in Run._fields)), header.get("options") or {}, items, complete,
    )


def encode_reply(kind: str, value: object) -> bytes:
    """One reply line. Named tuples travel as arrays."""
    return (MARK + _dump({kind: value}) + "\n").encode("ascii")


def _dump(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def _load(raw: bytes) -> dict:
    try:
        value = json.loads(raw.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WireError("a line that is not JSON: %s" % error)
    if not isinstance(value, dict):
        raise WireError("a line that is not an object")
    return value


class ReplyReader:
    """Turns the bytes of a reply into ``(kind, value)`` pairs; noise is put aside, not lost.

    ``value`` is the decoded named tuple for hello, job, note, error, found; a dict for data and init; an
    int for beat and end. ``job_type`` tells which tuple a job line holds. ``noise`` keeps the last 4 KiB of
    what was no reply; ``ended`` is true once the end line came. A reply line that is broken or too long counts as
    noise: for its job that is "no answer".
    """

    def __init__(self, verb: str) -> None:
        self._decode_job = _JOB_DECODERS.get(verb, _keep)
        self._buffer = bytearray()
        self._skipping = False
        self.noise = b""
        self.ended = False
        self.missing_host_side = ""
        self.count = 0

    def feed(self, chunk: bytes) -> "list[tuple[str, object]]":
        """Take bytes, return what became complete."""
        out = []
        self._buffer += chunk
        while True:
            end = self._buffer.find(b"\n")
            if end < 0:
                break
            raw = bytes(self._buffer[:end])
            del self._buffer[:end + 1]
            if self._skipping:
                self._skipping = False
                continue
            record = self._record(raw)
            if record is not None:
                out.append(record)
        if len(self._buffer) > MAX_REPLY_LINE:
            self._put_aside(bytes(self._buffer[:4096]))
            self._buffer.clear()
            self._skipping = True
        return out

    def _record(self, raw: bytes) -> "tuple[str, object] | None":
        at = raw.rfind(MARK.encode())
        text = raw[at + len(MARK):].decode("utf-8", "replace") if at >= 0 else ""
        while at >= 0:
            try:
                value, _ = _DECODER.raw_decode(text)
                return self._typed(value)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                at = raw.rfind(MARK.encode(), 0, at)
                text = raw[at + len(MARK):].decode("utf-8", "replace")
        for word in (NOT_INSTALLED, NO_PYTHON):
            if raw.rstrip().endswith(word.encode()):
                self.missing_host_side = word
                return None
        self._put_aside(raw + b"\n")
        return None

    def _typed(self, value: object) -> "tuple[str, object]":
        if not isinstance(value, dict) or len(value) != 1:
            raise ValueError("not one key")
        (kind, content), = value.items()
        if kind == JOB:
            content = self._decode_job(content)
            self.count += 1
        elif kind == END:
            self.ended = int(content) == self.count
            content = int(content)
        elif kind in _RECORDS:
            content = _RECORDS[kind](*content)
        elif kind == BEAT:
            content = int(content)
        elif kind not in (DATA, INIT):
            raise ValueError("unknown kind")
        return kind, content

    def _put_aside(self, raw: bytes) -> None:
        self.noise = (self.noise + raw)[-4096:]


_DECODER = json.JSONDecoder()
_RECORDS = {HELLO: Hello, NOTE: Note, ERROR: Error}


def _keep(value: object) -> object:
    return value


def decode_evidence(value: list) -> Evidence:
    """Evidence from what ``encode_reply(JOB, evidence)`` wrote. Raises ValueError or TypeError if it does not fit."""
    evidence = Evidence(*value)
    file = FileEvidence(*evidence.file)
    if not isinstance(file.facts, dict) or not isinstance(file.size, int) or not isinstance(evidence.job, str):
        raise ValueError("evidence of the wrong shape")
    return evidence._replace(
        file=file._replace(messages=tuple(tuple(str(part) for part in m) for m in file.messages)),
        queue=QueueEvidence(*evidence.queue),
        found=Found(*evidence.found),
        files=None if evidence.files is None else tuple(Listed(*entry) for entry in evidence.files),
    )


def decode_submitted(value: list) -> Submitted:
    """A Submitted from its array."""
    return Submitted(*value)


def decode_killed(value: list) -> Killed:
    """A Killed from its array, its evidence included."""
    killed = Killed(*value)
    if killed.evidence is None:
        return killed
    return killed._replace(evidence=decode_evidence(killed.evidence))


_JOB_DECODERS = {
    JOBS_SUBMIT: decode_submitted, JOBS_POLL: decode_evidence, JOBS_KILL: decode_killed, SCAN: decode_evidence,
}
