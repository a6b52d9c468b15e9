"""The wire: every message between controller and host, its type, and how it is written and read.

Both ways it is lines of JSON, ASCII only. docs/protocol.md describes each message.

A request is a header, items, and an end line of its own (not EOF, because a held stdin must be able to
say "stop" later)::

    {"jobmgr": 1, "verb": "jobs-poll", "run": {...}, "options": {...}, "common": {...}}
    {"item": {...}}
    {"end": 1}

``common`` holds what all items share; a reader gets it merged below each item.

A reply line carries the marker ``@jobmgr `` (what stands before it on the line is a banner, and ignored)
and one object with one key: ``hello`` first, then ``job``, ``data``, ``note``, ``init``, ``beat``,
``error`` in any number, and ``end`` with the count of ``job`` lines last. Without ``end`` the reply is
truncated; what did arrive still counts. ``more`` before it: one more request may follow on the same stream.
"""

from jobmgr_remote import native
from jobmgr_remote.records import namedtuple

PROTOCOL = 1
SERVED = (1,)
MARK = "@jobmgr "
NOT_INSTALLED = "@jobmgr-not-installed"
NO_PYTHON = "@jobmgr-no-python"
#: Marks where rsync begins behind a login shell that prints something.
RSYNC_BEGINS = "jobmgr-rsync-begins"
#: Said on stderr where ``--files-from`` is refused: names are to come as paths.
RSYNC_NAMES = "jobmgr-rsync-names-as-paths"
MAX_REQUEST_LINE = 64 * 1024 * 1024
MAX_REPLY_LINE = 4 * 1024 * 1024
MAX_DATA = 256 * 1024
HEARTBEAT = 10.0
#: How many marks of one line are tried before the line counts as noise.
MAX_MARKS = 16

REMOTE_INIT = "remote-init"
REMOTE_TIDY = "remote-tidy"
JOBS_SUBMIT = "jobs-submit"
JOBS_POLL = "jobs-poll"
JOBS_KILL = "jobs-kill"
CAT_LOG = "cat-log"
SCAN = "scan"
CHECK = "check"
VERBS = (REMOTE_INIT, REMOTE_TIDY, JOBS_SUBMIT, JOBS_POLL, JOBS_KILL, CAT_LOG, SCAN, CHECK)

HELLO, JOB, SAME, DATA, NOTE, INIT, BEAT, ERROR, MORE, END = (
    "hello", "job", "same", "data", "note", "init", "beat", "error", "more", "end",
)
#: The line that ends a wait or a follow and leaves the stream open, where more was asked for (else its end).
STOP = b"\n"

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
# spool states (background only): not in the spool / waits for a slot / taken by a slot that has not yet
# claimed
S_NONE, S_QUEUED, S_TAKEN = "none", "queued", "taken"
# answers of a look-up by token (settling a submit)
FOUND_NOT_ASKED, FOUND_ABSENT, FOUND_COULD_NOT_ASK, FOUND_ID, FOUND_CANNOT = (
    "not-asked", "absent", "could-not-ask", "id", "cannot",
)

#: ``facts`` maps the keys of job.status (status.py) to text; ``messages`` are [time, severity, text]
#: beyond the number that the request says was seen; ``message_count`` counts all; ``size`` in bytes.
FileEvidence = namedtuple("FileEvidence", "state size facts messages message_count attempts error")
#: ``raw`` is the queue's own word for the state, ``reason`` its own word for why, ``error`` why it could
#: not be asked.
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
#: ``run_dir`` absolute, ``run_state`` one of ``ok``, ``absent`` (the run is not there), ``unmounted`` (it
#: should be there and is not), ``foreign`` (another run's uuid).
Hello = namedtuple("Hello", "protocol version time instance hostname user run_dir run_state python")
#: Something a person should know: ``level`` is info, warning or error.
Note = namedtuple("Note", "level code text")
#: A refusal or failure of the whole call; ``code`` is one of ERROR_CODES.
Error = namedtuple("Error", "code text")
(
    E_USAGE, E_VERSION, E_TOO_OLD, E_TAKEN_OVER, E_FOREIGN, E_ACTIVE, E_POLICY, E_HOST, E_NOT_FOUND, E_BUG,
) = (
    "usage", "unsupported-version", "too-old", "taken-over", "foreign-run", "active-jobs", "policy", "host",
    "not-found", "bug",
)
ERROR_CODES = (
    E_USAGE, E_VERSION, E_TOO_OLD, E_TAKEN_OVER, E_FOREIGN, E_ACTIVE, E_POLICY, E_HOST, E_NOT_FOUND, E_BUG,
)

#: Who asks, and for which run: ``root`` is a run root (may hold ``$HOME``), ``owner`` a text for humans
#: such as ``ada@lap2``.
Run = namedtuple("Run", "root suite uuid controller epoch owner")
#: A whole request: ``items`` are dicts (see docs/protocol.md for each verb's keys), ``complete`` says whether
#: its end line arrived.
Request = namedtuple("Request", "protocol verb run options items complete")


class WireError(ValueError):
    """A line that does not follow the protocol."""


def encode_request(
    verb: str, run: Run, options: dict, items: "list[dict]", common: "dict | None" = None
) -> bytes:
    """The bytes of a request, end line included."""
    lines = [
        _dump({
            "jobmgr": PROTOCOL, "verb": verb, "run": run._asdict(),
            "options": options, "common": common or {},
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
    while first == STOP:  # of the request before, which had ended by itself
        first = readline(MAX_REQUEST_LINE)
    if not first.endswith(b"\n"):
        raise WireError("the request has no header line")
    header = _load(first)
    if not _is_int(header.get("jobmgr")):
        raise WireError("the request does not begin with a jobmgr header")
    run, options, common = (_object(header, key) for key in ("run", "options", "common"))
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
    return Request(
        header["jobmgr"], str(header.get("verb", "")), Run(*(run.get(field, "") for field in Run._fields)),
        options, items, complete,
    )


def _object(header: dict, key: str) -> dict:
    value = header.get(key) or {}
    if not isinstance(value, dict):
        raise WireError("%s of the request is no object" % key)
    return value


def encode_reply(kind: str, value: object) -> bytes:
    """One reply line. Named tuples travel as arrays."""
    return (MARK + _dump({kind: value}) + "\n").encode("ascii")


def _dump(value: object) -> str:
    return native.dumps(value)


def _load(raw: bytes) -> dict:
    try:
        value = native.loads(raw.decode("ascii"))
    except (ValueError, RecursionError) as error:
        raise WireError("a line that is not JSON: %s" % error)
    if not isinstance(value, dict):
        raise WireError("a line that is not an object")
    return value


class ReplyReader:
    """Turns the bytes of a reply into ``(kind, value)`` pairs; noise is put aside, not lost.

    ``value`` is the decoded named tuple for hello, job, note and error; a dict for data and init; an int
    for beat, more and end; a tuple of job ids for same. Which tuple a job line holds follows from the verb. ``noise``
    keeps the last 4 KiB of what was no reply; ``ended`` is true once the end line came with the right count. A reply
    line that is broken, of the wrong shape or too long counts as noise: for its job that is "no answer". Arrays may be
    longer than this version knows; text is always valid Unicode, but for file names.
    """

    def __init__(self, verb: str) -> None:
        self._decode_job = _JOB_DECODERS.get(verb, _keep)
        self._buffer = bytearray()
        self._skipping = False
        self.noise = b""
        self.ended = False
        self.more = False
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
        at = raw.find(_MARK)
        for _ in range(MAX_MARKS):
            if at < 0:
                break
            try:
                value, _ = native.raw_decode(raw[at + len(_MARK):].decode("utf-8", "replace"))
                return self._typed(value)
            except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
                at = raw.find(_MARK, at + 1)  # a line that was cut, and one of another writer behind it
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
        elif kind in _RECORDS:
            content = _record(_RECORDS[kind], content)
        elif kind in (END, BEAT, MORE):
            if not _is_int(content):
                raise ValueError("no count")
            self.more = self.more or kind == MORE
            self.ended = self.ended or (kind == END and content == self.count)
        elif kind == SAME:
            content = tuple([_text(one) for one in _of(list, content)])
        elif kind not in (DATA, INIT) or not isinstance(content, dict):
            raise ValueError("unknown kind, or no object")
        return kind, content

    def _put_aside(self, raw: bytes) -> None:
        self.noise = (self.noise + raw)[-4096:]


_MARK = MARK.encode("ascii")


def _keep(value: object) -> object:
    return value


def _text(value: object) -> str:
    """A text that can be encoded: half surrogate pairs become question marks."""
    if not isinstance(value, str):
        raise ValueError("no text")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return value.encode("utf-8", "replace").decode("utf-8")
    return value


def _texts(value: object) -> dict:
    """An object that maps texts to texts; looked at as a whole, for hardly ever is there anything to replace."""
    found = _of(dict, value)
    try:
        "".join([*found, *found.values()]).encode("utf-8")
    except TypeError:
        raise ValueError("no text")
    except UnicodeEncodeError:
        return {_text(key): _text(one) for key, one in found.items()}
    return found


def _of(kind: type, value: object) -> object:
    if not isinstance(value, kind):
        raise ValueError("not of type %s" % kind.__name__)
    return value


def _bool(value: object) -> bool:
    return _of(bool, value)


def _int(value: object) -> int:
    if not _is_int(value):
        raise ValueError("no integer")
    return value


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) < 1e15:
        raise ValueError("no number")
    return value


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _messages(value: object) -> "tuple[tuple[str, ...], ...]":
    return tuple([_message(one) for one in _of(list, value)])


def _message(value: object) -> "tuple[str, ...]":
    if not isinstance(value, list) or len(value) < 3:
        raise ValueError("no message")
    return tuple([_text(part) for part in value[:3]])


def _record(kind: type, value: object) -> tuple:
    """A named tuple from its array, which may be longer. Raises ValueError if a field has the wrong type."""
    if not isinstance(value, list):
        raise ValueError("no array")
    shape = _SHAPES[kind]
    if len(value) < len(shape):
        raise ValueError("too short")
    return kind._make([check(one) for check, one in zip(shape, value)])


def _file(value: object) -> FileEvidence:
    return _record(FileEvidence, value)  # type: ignore[return-value]


def _queue(value: object) -> QueueEvidence:
    return _record(QueueEvidence, value)  # type: ignore[return-value]


def _found(value: object) -> Found:
    return _record(Found, value)  # type: ignore[return-value]


def _evidence(value: object) -> "Evidence | None":
    return None if value is None else decode_evidence(value)


def _files(value: object) -> "tuple[Listed, ...] | None":
    return None if value is None else tuple([_listed(one) for one in _of(list, value)])


def _listed(value: object) -> Listed:
    """File names keep what is not Unicode (as ``os.fsdecode`` gives it), since they name files."""
    listed = _record(Listed, value)
    _of(str, listed.path)  # type: ignore[attr-defined]
    return listed  # type: ignore[return-value]


#: What each field of a record has to be.
_SHAPES = {
    Hello: (_int, _text, _float, _text, _text, _text, _text, _text, _text),
    Note: (_text, _text, _text),
    Error: (_text, _text),
    Submitted: (_text, _text, _text, _text, _text, _text),
    Killed: (_text, _text, _text, _text, _evidence),
    Found: (_text, _text, _text, _bool),
    Evidence: (_text, _text, _file, _queue, _text, _text, _text, _bool, _bool, _text, _found, _files),
    FileEvidence: (_text, _int, _texts, _messages, _int, _int, _text),
    QueueEvidence: (_text, _text, _text, _text),
    Listed: (_keep, _int, _text),
}
_RECORDS = {HELLO: Hello, NOTE: Note, ERROR: Error}


def decode_evidence(value: object) -> Evidence:
    """Evidence from what ``encode_reply(JOB, evidence)`` wrote. Raises ValueError if it does not fit."""
    return _record(Evidence, value)  # type: ignore[return-value]


def decode_submitted(value: object) -> Submitted:
    """A Submitted from its array."""
    return _record(Submitted, value)  # type: ignore[return-value]


def decode_killed(value: object) -> Killed:
    """A Killed from its array, its evidence included."""
    return _record(Killed, value)  # type: ignore[return-value]


_JOB_DECODERS = {
    JOBS_SUBMIT: decode_submitted,
    JOBS_POLL: decode_evidence,
    JOBS_KILL: decode_killed,
    SCAN: decode_evidence,
}
