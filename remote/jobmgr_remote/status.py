"""job.status: the one definition of the file that is the source of truth about a job.

A file is lines ``JOBMGR_KEY=VALUE``, appended whole and never rewritten. The first line is
``JOBMGR_STATUS_VERSION=1``. Values are escaped so that no value can end a line: backslash, newline and
carriage return are written as ``\\\\``, ``\\n`` and ``\\r``, other control characters as ``\\xNN``. A last
line without a newline is torn and ignored, and so is a line that an empty line follows (a writer found it
torn, on a disk that had been full); unknown keys are kept; any other line that is not ``KEY=VALUE`` makes
the file unreadable. docs/protocol.md describes every key.

A file may hold several attempts (a batch system may start a job again): the wrapper opens each with a
``JOBMGR_ATTEMPT=N`` line. The facts are those of the latest attempt.
"""

from jobmgr_remote.records import namedtuple

VERSION = "1"
PREFIX = "JOBMGR_"

STATUS_VERSION = "STATUS_VERSION"
TOKEN = "TOKEN"
RUNNER = "RUNNER"
SUBMIT_TIME = "SUBMIT_TIME"
ATTEMPT = "ATTEMPT"
PID = "PID"
START_IDENTITY = "START_IDENTITY"
INSTANCE = "INSTANCE"
HOSTNAME = "HOSTNAME"
NATIVE_ID = "NATIVE_ID"
START_TIME = "START_TIME"
MESSAGE = "MESSAGE"
ELAPSED = "ELAPSED"
CPU = "CPU"
MAX_RSS = "MAX_RSS"
EXIT_TIME = "EXIT_TIME"
EXIT = "EXIT"

HEAD_KEYS = (STATUS_VERSION, TOKEN, RUNNER, SUBMIT_TIME)
ATTEMPT_KEYS = (
    ATTEMPT, PID, START_IDENTITY, INSTANCE, HOSTNAME, NATIVE_ID, START_TIME,
    ELAPSED, CPU, MAX_RSS, EXIT_TIME, EXIT,
)
KEYS = HEAD_KEYS + ATTEMPT_KEYS + (MESSAGE,)
_FACTS = frozenset(KEYS) - {ATTEMPT, MESSAGE}

SUCCEEDED = "SUCCEEDED"
FAILED = "FAILED"
SIGNAL = "SIGNAL"
VACATED = "VACATED"
ABORTED = "ABORTED"
EXIT_KINDS = (SUCCEEDED, FAILED, SIGNAL, VACATED, ABORTED)

SEVERITIES = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL", "EVENT")
MAX_MESSAGE = 4096
MAX_MESSAGES = 1000

#: ``facts`` maps keys (without prefix) to text, those of the latest attempt; ``messages`` is a tuple of
#: Message; ``attempts`` counts attempts that have started; ``unknown`` maps keys nobody knows to text.
Status = namedtuple("Status", "facts messages attempts unknown")
#: ``time`` is UTC with ``Z``, ``severity`` one of SEVERITIES (an event that a suite names: EVENT).
Message = namedtuple("Message", "time severity text")
#: ``kind`` is one of EXIT_KINDS, ``value`` what stands behind the slash ("" for SUCCEEDED).
Exit = namedtuple("Exit", "kind value")


class Unreadable(ValueError):
    """The content is not a job.status file."""


_ESCAPES = {"\\": "\\\\", "\n": "\\n", "\r": "\\r"}
_BACK = {"\\": "\\", "n": "\n", "r": "\r"}


def escape(value: str) -> str:
    """Make a value fit for one line; :func:`unescape` gives it back."""
    if not value.isprintable() or "\\" in value:
        return "".join(
            _ESCAPES.get(c) or (c if c >= " " and c != "\x7f" else "\\x%02x" % ord(c)) for c in value
        )
    return value


def unescape(text: str) -> str:
    """Undo :func:`escape`. What is no escape sequence stays as it is."""
    if "\\" not in text:
        return text
    out = []
    i = 0
    while i < len(text):
        c = text[i]
        following = text[i + 1:i + 2]
        if c != "\\":
            out.append(c)
            i += 1
        elif following in _BACK and following:
            out.append(_BACK[following])
            i += 2
        elif following == "x" and _is_hex(text[i + 2:i + 4]):
            out.append(chr(int(text[i + 2:i + 4], 16)))
            i += 4
        else:
            out.append(c)
            i += 1
    return "".join(out)


def _is_hex(text: str) -> bool:
    return len(text) == 2 and all(c in "0123456789abcdefABCDEF" for c in text)


def line(key: str, value: str) -> str:
    """One line of the file, newline included."""
    return PREFIX + key + "=" + escape(value) + "\n"


def header(token: str, runner: str, submit_time: str) -> str:
    """The first lines, as jobs-submit creates the file."""
    return head(token, runner) + line(SUBMIT_TIME, submit_time)


def head(token: str, runner: str) -> str:
    """Whose file it is."""
    return line(STATUS_VERSION, VERSION) + line(TOKEN, token) + line(RUNNER, runner)


def opening(
    attempt: int, pid: int, start: str, instance: str, hostname: str, native_id: str, start_time: str
) -> str:
    """The lines that open an attempt."""
    values = (str(attempt), str(pid), start, instance, hostname, native_id, start_time)
    return "".join(line(key, value) for key, value in zip(ATTEMPT_KEYS, values))


def closing(elapsed: float, cpu: float, exit_time: str, record: str) -> str:
    """The lines that close an attempt; times in seconds."""
    return (
        line(ELAPSED, "%.2f" % elapsed) + line(CPU, "%.2f" % cpu) + line(EXIT_TIME, exit_time) + line(EXIT, record)
    )


def message(time: str, severity: str, text: str) -> str:
    """The line of one message: ``time|severity|text``, the text cut at MAX_MESSAGE characters."""
    return line(MESSAGE, time + "|" + severity + "|" + text[:MAX_MESSAGE])


def parse(data: bytes) -> Status:
    """Read a whole file (bytes) into a Status. Raises Unreadable."""
    text = data.decode("utf-8", "replace")
    cut = text.rfind("\n")
    lines = text[:cut].split("\n") if cut >= 0 else []
    if not lines or not lines[0].startswith(PREFIX + STATUS_VERSION + "="):
        raise Unreadable("no version line")
    facts, unknown = {}, {}  # type: dict[str, str], dict[str, str]
    messages = []
    attempts = 0
    if "" in lines:
        lines = _without_torn(lines)
    for number, row in enumerate(lines, 1):
        key, equals, value = row.partition("=")
        if not equals or not key.startswith(PREFIX):
            raise Unreadable("line %d is not JOBMGR_KEY=VALUE" % number)
        key = key[len(PREFIX):]
        if "\\" in value:
            value = unescape(value)
        if key in _FACTS:
            facts[key] = value
        elif key == MESSAGE:
            parsed = _message(value)
            if len(messages) < MAX_MESSAGES:
                messages.append(parsed)
        elif key == ATTEMPT:
            for old in ATTEMPT_KEYS:
                facts.pop(old, None)
            attempts += 1
            facts[key] = value
        else:
            unknown[key] = value
    return Status(facts, tuple(messages), attempts, unknown)


def _without_torn(lines: "list[str]") -> "list[str]":
    """Leave out empty lines and the torn ones before them."""
    return lines[:1] + [row for row, following in zip(lines[1:], lines[2:] + ["-"]) if row and following]


def _message(value: str) -> Message:
    time, _, rest = value.partition("|")
    severity, bar, text = rest.partition("|")
    if not bar or severity not in SEVERITIES:
        return Message("", "INFO", value)
    return Message(time, severity, text)


def merge(main: Status, others: "list[Status]") -> Status:
    """Add the messages of other nodes' files (``job.status.HOSTNAME``) to a Status, by time."""
    messages = list(main.messages)
    for other in others:
        messages.extend(other.messages)
    messages.sort(key=lambda m: m.time)
    return main._replace(messages=tuple(messages[:MAX_MESSAGES]))


def parse_exit(text: str) -> "Exit | None":
    """``"FAILED/3"`` -> ``Exit("FAILED", "3")``; None if the text is no exit record."""
    kind, _, value = text.partition("/")
    return Exit(kind, value) if kind in EXIT_KINDS else None
