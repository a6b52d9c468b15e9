"""Processes: who one is, whether it still lives, and the one way to run a command.

A process is known by its number, the start time that the kernel gives it (field 22 of ``/proc/PID/stat``, in
clock ticks after boot) and the instance, one life of the host: a number alone is used again. See proc(5).
"""

import os

from jobmgr_remote.native import signals
from jobmgr_remote.records import namedtuple

#: One line of the process table. ``start`` is text, in ticks; ``state`` is the kernel's letter (Z = dead, not
#: yet reaped).
Process = namedtuple("Process", "pid ppid pgid sid start state uid")

DEAD_STATES = "ZXx"
STOPPED = "T"
UNKNOWN = "-"
TOKEN_VARIABLE = "JOBMGR_TOKEN"
#: Set by jobmgr for what it starts and what must outlive the job that it was called from (an SSH master, a
#: slot).
SERVICE_VARIABLE = "JOBMGR_SERVICE"
#: Set by a slot for a job that it looks after itself: ``PID TIME``, the slot's process id and the time of the start.
SLOT_VARIABLE = "JOBMGR_SLOT"

#: What a command said: ``code`` is None if it could not be started or took too long (``err`` says which).
Done = namedtuple("Done", "code out err")
TERM_TO_KILL = 2.0
MAX_OUTPUT = 64 * 1024 * 1024


def instance() -> str:
    """``BOOTID:PIDNSINODE:PID1START``; a part that cannot be seen here is ``-``."""
    return ":".join((_boot_id(), _pid_namespace(), _start_of_first()))


def _boot_id() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return file.read().strip() or UNKNOWN
    except OSError:
        return UNKNOWN


def _pid_namespace() -> str:
    try:
        return str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        return UNKNOWN


def _start_of_first() -> str:
    first = look(1)
    return first.start if first else UNKNOWN


def same_instance(one: str, other: str) -> bool:
    """Whether two instance texts mean the same life of a host; ``-`` and a missing text fit anything."""
    if not one or not other:
        return True
    pairs = zip(one.split(":"), other.split(":"))
    return all(a == b or UNKNOWN in (a, b) for a, b in pairs)


def look(pid: int) -> "Process | None":
    """The process of that number as it is now, or None. Never raises."""
    path = "/proc/%d/stat" % pid
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        raw = os.read(fd, 4096)
        uid = os.fstat(fd).st_uid
    except OSError:  # it ended between open and read
        return None
    finally:
        os.close(fd)
    return parse_stat(raw, uid)


def parse_stat(raw: bytes, uid: int) -> "Process | None":
    """``/proc/PID/stat`` as a Process. The name in it may hold blanks and parentheses."""
    open_at, close_at = raw.find(b" ("), raw.rfind(b")")
    fields = raw[close_at + 2 :].split()
    if open_at < 0 or close_at < 0 or len(fields) < 20:
        return None
    return Process._make(
        (
            int(raw[:open_at]),
            int(fields[1]),
            int(fields[2]),
            int(fields[3]),
            fields[19].decode("ascii"),
            fields[0].decode("ascii"),
            uid,
        )
    )


def own() -> Process:
    """This process."""
    found = look(os.getpid())
    return found or Process(os.getpid(), os.getppid(), os.getpgid(0), os.getsid(0), UNKNOWN, "R", os.getuid())


def is_alive(pid: int, start: str) -> bool:
    """Whether that very process lives."""
    state = state_of(pid, start)
    return bool(state) and state not in DEAD_STATES


def state_of(pid: int, start: str) -> str:
    """The state letter of that very process, "" if there is none such. Cheaper than :func:`look`, where nothing else is
    asked.
    """
    fields = _fields(pid)
    return fields[0].decode("ascii") if len(fields) > 19 and fields[19] == start.encode() else ""


def _fields(pid: int) -> "list[bytes]":
    """What stands behind the name in ``/proc/PID/stat``: the state first, the start time 20th; [] if it is gone."""
    try:
        fd = os.open("/proc/%d/stat" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        raw = os.read(fd, 4096)
    except OSError:  # it ended between open and read
        return []
    finally:
        os.close(fd)
    return raw[raw.rfind(b")") + 2 :].split(None, 20)


def usage(pid: int, start: str) -> "float | None":
    """Seconds of processor that a process has used that has ended and is not waited for yet, with all that it has
    waited for; None if it is not such a one.
    """
    fields = _fields(pid)
    if len(fields) < 20 or fields[0] != b"Z" or fields[19].decode("ascii") != start:
        return None
    return sum(int(field) for field in fields[11:15]) / os.sysconf("SC_CLK_TCK")


def can_see() -> bool:
    """Whether /proc is there at all."""
    return look(os.getpid()) is not None


def environment(pid: int) -> "bytes | None":
    """The environment a process was started with, NUL-separated; None if this user may not see it."""
    try:
        fd = os.open("/proc/%d/environ" % pid, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        data = os.read(fd, 131072)
        while len(data) % 4096 == 0 and data:
            more = os.read(fd, 131072)
            if not more:
                break
            data += more
        return data
    except OSError:
        return None
    finally:
        os.close(fd)


def variable(data: "bytes | None", name: str) -> str:
    """One variable of an environment as :func:`environment` gives it; "" if it is not there."""
    if not data:
        return ""
    mark = name.encode() + b"="
    at = 0 if data.startswith(mark) else data.find(b"\0" + mark) + 1
    if at == 0 and not data.startswith(mark):
        return ""
    end = data.find(b"\0", at)
    return data[at + len(mark) : end if end >= 0 else None].decode("utf-8", "replace")


def start_of_job(pid: int, start: str, token: str) -> str:
    """The start time of the process that a job recorded, if it lives, else "": known by its start time, or by the token
    it was started with.

    The token decides where a time namespace shifts the start times that this process sees.
    """
    if pid <= 0:
        return ""
    if is_alive(pid, start):
        return start
    found = look(pid) if token else None
    if found is None or found.state in DEAD_STATES or variable(environment(pid), TOKEN_VARIABLE) != token:
        return ""
    return found.start


def is_job_process(pid: int, start: str, token: str) -> bool:
    """Whether that process lives."""
    return bool(start_of_job(pid, start, token))


def send(process: Process, *numbers: int) -> str:
    """Send signals to that very process and to no other. Returns "" or why it could not be done; gone is "".

    Where the kernel offers it, the process is held by a descriptor while its identity is checked, so that its
    number cannot pass on to another in between.
    """
    opened = None
    try:
        if hasattr(os, "pidfd_open") and hasattr(signals, "pidfd_send_signal"):
            try:
                opened = os.pidfd_open(process.pid)
            except ProcessLookupError:
                return ""
            except OSError:  # an old kernel, or a sandbox
                opened = None
        if not is_alive(process.pid, process.start):
            return ""
        for number in numbers:
            if opened is not None:
                signals.pidfd_send_signal(opened, number)
            else:
                os.kill(process.pid, number)
    except ProcessLookupError:
        return ""
    except OSError as error:
        return "%s (pid %d)" % (error.strerror, process.pid)
    finally:
        if opened is not None:
            os.close(opened)
    return ""


def find_program(name: str) -> str:
    """The absolute path of a program on PATH or in the usual places, or ""."""
    folders = os.environ.get("PATH", "").split(":") + ["/usr/local/bin", "/usr/bin", "/bin"]
    for folder in folders:
        path = folder + "/" + name
        if folder.startswith("/") and os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def scrubbed(environ: "dict[str, str]") -> "dict[str, str]":
    """An environment without the variables of the job that jobmgr may have been called from."""
    return {key: value for key, value in environ.items() if not key.startswith("JOBMGR_")}


def run(
    argv: "list[str]", timeout: float, stdin_path: str = "", env: "tuple[tuple[str, str], ...]" = (),
    until: str = "",
) -> Done:
    """Run a command and wait for it, at most ``timeout`` seconds; then its whole process group is ended.

    It is ended too as soon as its stderr holds ``until``, and what it said is kept. Messages come in English
    where the command can (``LC_ALL=C``). Never raises; see :data:`Done`.
    """
    import subprocess

    environ = scrubbed(dict(os.environ, LC_ALL="C"))
    environ.update(env)
    try:
        with open(stdin_path or os.devnull, "rb") as stdin:
            child = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=environ,
                cwd="/",
                start_new_session=True,
            )
    except (OSError, ValueError) as error:
        return Done(None, "", "could not start %s: %s" % (argv[0], getattr(error, "strerror", None) or error))
    try:
        out, err = _said_until(child, until.encode(), timeout) if until else child.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        _, err = _end_group(child)
        return Done(None, "", ("timed out after %g s: %s\n%s" % (timeout, _name(argv), _text(err))).strip())
    return Done(child.returncode, _text(out), _text(err))


def _name(argv: "list[str]") -> str:
    """The command of an argv, also behind ``env -u NAME ...``."""
    rest = list(argv)
    while len(rest) > 3 and rest[0] == "env" and rest[1] == "-u":
        del rest[1:3]
    return rest[1] if rest[0] == "env" and len(rest) > 1 else rest[0]


def _text(data: bytes) -> str:
    return data[:MAX_OUTPUT].decode("utf-8", "replace")


def _said_until(child: object, words: bytes, timeout: float) -> "tuple[bytes, bytes]":
    """``communicate``, but the command is ended as soon as these words are in its stderr."""
    import selectors
    import subprocess
    import time

    deadline = time.monotonic() + timeout
    said = {child.stdout.fileno(): b"", child.stderr.fileno(): b""}
    with selectors.DefaultSelector() as selector:
        for fd in said:
            selector.register(fd, selectors.EVENT_READ)
        while selector.get_map():
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise subprocess.TimeoutExpired(child.args, timeout)
            for key, _ in selector.select(rest):
                data = os.read(key.fd, 65536)
                said[key.fd] += data
                if not data:
                    selector.unregister(key.fd)
            if words in said[child.stderr.fileno()]:
                break
    out, err = said[child.stdout.fileno()], said[child.stderr.fileno()]
    if words in err:
        more_out, more_err = _end_group(child)
    else:
        more_out, more_err = child.communicate(timeout=max(0.0, deadline - time.monotonic()))
    return out + more_out, err + more_err


def _end_group(child: object) -> "tuple[bytes, bytes]":
    """End a command and what it has started; what it said meanwhile."""
    import subprocess

    for number in (signals.SIGTERM, signals.SIGKILL):
        try:
            os.killpg(child.pid, number)
        except OSError:
            pass
        try:
            return child.communicate(timeout=TERM_TO_KILL)
        except subprocess.TimeoutExpired:
            continue
    return b"", b""


def run_call(call: object, timeout: float) -> Done:
    """Run what a runner has built (``runners.base.Call``)."""
    return run(call.argv, timeout, call.stdin_path, call.env, call.until)
