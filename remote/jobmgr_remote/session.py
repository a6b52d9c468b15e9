"""One call of the host side: read the request, check what all verbs have in common, run the verb, end.

``serve`` answers every request with a hello line first and an end line last, whatever happens in between: a
refusal becomes one error line, a bug becomes one error line and the end of its traceback on stderr.

A request with the option ``more`` keeps the process, if it was answered: another request may follow on the same
stream, of any verb, within :data:`PATIENCE`. So a caller who has several in a row pays for one start.

A verb is a module ``commands/VERB.py`` (``-`` written ``_``) with ``run(request, reply, host)``. It answers
through ``reply``, and raises :class:`Refused` for what concerns the whole call.
"""

import os
import sys
import time

from jobmgr_remote import __version__, hostconf, layout, native, wire
from jobmgr_remote.native import signals

EXIT_REFUSED = 1
EXIT_BUG = 70

#: Verbs that change something, so that only the run's owner may call them.
CHANGING = (wire.REMOTE_INIT, wire.REMOTE_TIDY, wire.JOBS_SUBMIT, wire.JOBS_KILL)
#: Verbs that need a run directory of the right run.
NEED_RUN = (wire.JOBS_SUBMIT, wire.REMOTE_TIDY, wire.CAT_LOG, wire.SCAN)

RUN_OK, RUN_ABSENT, RUN_UNMOUNTED, RUN_FOREIGN = "ok", "absent", "unmounted", "foreign"

#: Heartbeats stop if the work has not moved for so long (seconds): a host that hangs in a dead file system
#: must
#: not look alive for ever.
STUCK = 600.0

#: Answers about jobs that come within so many seconds leave together, and at once when there are so many bytes:
#: each write wakes two programs of ssh and the caller.
TOGETHER = 0.01
FULL = 32768
#: So many jobs stand in one line that says of them that nothing is new.
SAME_PER_LINE = 1000
#: Seconds for which the next request is waited for. The caller sends none to one that has rested for a third
#: of that.
PATIENCE = 15.0

#: The use of an unpacked version is marked (its folder's time is set) at most so often (seconds).
MARK_AGAIN = 86400.0


class Refused(Exception):
    """The whole call is declined; ``code`` is one of wire.ERROR_CODES."""

    def __init__(self, code: str, text: str) -> None:
        Exception.__init__(self, text)
        self.code = code
        self.text = text


class Reply(object):
    """Writes the reply, line by line, from any thread.

    A closed pipe is noted in ``closed`` and stops nobody. Answers about jobs leave together with those that
    follow within :data:`TOGETHER` seconds: a thread of its own sees to it that none is held back for longer,
    whatever the host is at. All else leaves at once, behind them.
    """

    def __init__(self, stdout: object) -> None:
        import _thread

        self._stdout = stdout
        self._lock = _thread.allocate_lock()
        #: Held but for a moment when there is something to do for the thread that beats.
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._rung = False
        self._held = []  # type: list[bytes]
        self._size = 0
        self._moved = self._written = time.monotonic()
        self._beating = False
        self.closed = False
        self.count = 0
        self.more = False

    def job(self, value: object) -> None:
        """The answer about one job (a tuple of wire.py)."""
        self.count += 1
        self.progress()
        data = wire.encode_reply(wire.JOB, value)
        with self._lock:
            self._held.append(data)
            self._size += len(data)
            if self._size >= FULL or not self._beating:
                self._flush()
            else:
                self._ring()

    def same(self, jobs: "list[str]") -> None:
        """These jobs are as the caller has seen them."""
        for at in range(0, len(jobs), SAME_PER_LINE):
            self._write(wire.SAME, jobs[at : at + SAME_PER_LINE])

    def flush(self) -> None:
        """Let go of what is held back."""
        with self._lock:
            self._flush()

    def note(self, level: str, code: str, text: str) -> None:
        """Something a person should know; level is info, warning or error."""
        self._write(wire.NOTE, wire.Note(level, code, text))

    def data(self, value: dict) -> None:
        self._write(wire.DATA, value)

    def init(self, value: dict) -> None:
        self._write(wire.INIT, value)

    def error(self, code: str, text: str) -> None:
        self._write(wire.ERROR, wire.Error(code, text))

    def hello(self, value: wire.Hello) -> None:
        self._write(wire.HELLO, value)

    def progress(self) -> None:
        """Tell the heartbeat that the work moves on."""
        self._moved = time.monotonic()

    def end(self) -> None:
        """The last line; heartbeats stop."""
        if self._beating:
            with self._lock:
                self._beating = False
                self._ring()
        if self.more:
            self._write(wire.MORE, 1)
        self._write(wire.END, self.count)

    def start_beating(self) -> None:
        """Send heartbeats, and what is held back, from a thread of its own until :meth:`end`."""
        import _thread

        self._beating = True
        _thread.start_new_thread(self._beat_loop, ())

    def _ring(self) -> None:
        if not self._rung:
            self._rung = True
            self._bell.release()

    def _beat_loop(self) -> None:
        while self._beating:
            if self._bell.acquire(True, wire.HEARTBEAT / 2):
                time.sleep(TOGETHER)
                with self._lock:
                    self._rung = False
                    if self._beating:
                        self._flush()
                continue
            silent = time.monotonic() - self._written
            if silent >= wire.HEARTBEAT / 2 and time.monotonic() - self._moved < STUCK:
                self._write(wire.BEAT, int(time.time()))

    def _write(self, kind: str, value: object) -> None:
        data = wire.encode_reply(kind, value)
        if kind != wire.BEAT:
            self.progress()
        with self._lock:
            if kind == wire.BEAT and not self._beating:
                return  # the end came first
            self._held.append(data)
            self._flush()

    def _flush(self) -> None:
        """Write what is held. The caller has the lock."""
        data, self._held, self._size = b"".join(self._held), [], 0
        if self.closed or not data:
            return
        try:
            self._write_all(data)
            self._written = time.monotonic()
        except (OSError, ValueError):  # ValueError: the stream is closed
            self.closed = True

    def _write_all(self, data: bytes) -> None:
        while data:
            written = self._stdout.write(data)
            if written is None:  # a non-blocking stdout is full (it is not buffered)
                import select

                select.select([], [self._stdout], [], 1.0)
                continue
            data = data[written:]
        self._stdout.flush()


class Host(object):
    """This machine and the run that is asked about, as every verb sees them.

    ``run`` is the request's wire.Run, ``home`` and ``run_dir`` are absolute, ``run_state`` one of RUN_*,
    ``stale`` is True if another controller has taken the run over (then nothing may be changed), ``stdin``
    the request's stream, ``more`` whether another request may follow on it.
    """

    def __init__(self, run: wire.Run, stdin: object) -> None:
        self.run = run
        self.stdin = stdin
        self.home = home_folder()
        self.user = user_name(self.home)
        self.hostname = os.uname()[1]
        self.root = ""
        self.run_dir = ""
        self.run_state = RUN_ABSENT
        self.stale = False
        self.more = False
        self._instance = ""
        self._conf = None  # type: hostconf.HostConf | None

    @property
    def conf(self) -> hostconf.HostConf:
        """What the site demands. Raises Refused if its file cannot be understood."""
        if self._conf is None:
            try:
                self._conf = hostconf.load()
            except ValueError as error:
                raise Refused(wire.E_POLICY, str(error))
        return self._conf

    @property
    def instance(self) -> str:
        """The text of this life of the host."""
        if not self._instance:
            from jobmgr_remote import proc

            self._instance = proc.instance()
        return self._instance

    def path(self, relative: str) -> str:
        """A path of the run directory, absolute."""
        return self.run_dir + "/" + relative

    def in_home(self, relative: str) -> str:
        """A path below the home directory, absolute."""
        return self.home + "/" + relative

    def stdin_ended(self, timeout: float = 0.0) -> bool:
        """Whether the caller has closed the request's stream, or (with ``more``) has sent an empty line; waits at
        most so long for it to happen.

        What else arrives there is thrown away.
        """
        import select

        deadline = time.monotonic() + timeout
        while True:
            try:
                ready, _, _ = select.select([self.stdin], [], [], max(0.0, deadline - time.monotonic()))
                if not ready:
                    return False
                data = os.read(self.stdin.fileno(), 65536)
                if not data or (self.more and wire.STOP in data):
                    return True
            except (OSError, ValueError):  # closed, or no real file
                return True


def mark_use(folder: str) -> None:
    """Remember that this unpacked version is in use, so that nobody removes it.

    Costs one look, and a write once a day.
    """
    try:
        if (
            os.path.basename(folder).startswith("jobmgr-remote-")
            and time.time() - os.stat(folder).st_mtime > MARK_AGAIN
        ):
            os.utime(folder, None)
    except OSError:
        pass


def main(verb: str, limits: object = None) -> int:
    """``serve`` on this process's own stdin and stdout. A stray print goes to stderr."""
    # A handler, not "ignore": what is started from here gets the default back.
    signals.signal(signals.SIGHUP, lambda *_: None)
    signals.signal(signals.SIGPIPE, signals.SIG_IGN)
    stdout = os.fdopen(os.dup(1), "wb", 0)
    os.dup2(2, 1)
    stdin = os.fdopen(0, "rb", 65536, closefd=False)
    try:
        code, more = answer(verb, stdin, stdout, limits)
        while more and next_comes(stdin):
            code, more = answer(None, stdin, stdout, limits)
        return code
    finally:
        stdout.close()


def next_comes(stdin: object) -> bool:
    """Whether the caller sends one more request; waits for it."""
    import select

    ready, _, _ = select.select([stdin], [], [], PATIENCE)
    return bool(ready) and bool(stdin.peek(1))  # type: ignore[attr-defined]


def serve(verb: str, stdin: object, stdout: object, limits: object = None) -> int:
    """Answer one request. Returns 0, 1 if the call as a whole was refused, 70 if there is a bug.

    ``limits``: restricted.Limits of the key that the caller has, None for an unrestricted one.
    """
    return answer(verb, stdin, stdout, limits)[0]


def answer(verb: "str | None", stdin: object, stdout: object, limits: object) -> "tuple[int, bool]":
    """Answer one request of that verb; None: of the one that it names itself. Returns what :func:`serve` returns, and
    whether one more may follow, as the caller was told. Leaves the process as it was: a verb may set the umask.
    """
    reply = Reply(stdout)
    code = 0
    umask = os.umask(0o077)
    os.umask(umask)
    try:
        _serve(verb, stdin, reply, limits)
    except Refused as refused:
        reply.error(refused.code, refused.text)
        code = EXIT_REFUSED
    except wire.WireError as error:
        reply.error(wire.E_USAGE, str(error))
        code = EXIT_REFUSED
    except OSError as error:
        _print_traceback()
        reply.error(wire.E_HOST, os_error_text(error))
        code = EXIT_REFUSED
    except Exception as error:
        _print_traceback()
        reply.error(wire.E_BUG, "%s: %s" % (type(error).__name__, str(error)[:500]))
        code = EXIT_BUG
    os.umask(umask)
    reply.more = reply.more and not code and not reply.closed
    reply.end()
    return code, reply.more


def _serve(verb: "str | None", stdin: object, reply: Reply, limits: object) -> None:
    if verb == "":  # the command line always has one
        raise Refused(wire.E_USAGE, "the verb got lost on the way: does .profile start another shell?")
    if verb is not None and verb not in wire.VERBS:
        raise Refused(wire.E_USAGE, "unknown verb %r (known: %s)" % (verb, ", ".join(wire.VERBS)))
    request = wire.read_request(stdin)
    if verb is None:
        verb = request.verb
        if verb not in wire.VERBS:
            raise Refused(wire.E_USAGE, "unknown verb %r (known: %s)" % (verb, ", ".join(wire.VERBS)))
    if request.protocol not in wire.SERVED:
        raise Refused(wire.E_VERSION, version_text(request.protocol))
    if request.verb != verb:
        raise Refused(wire.E_USAGE, "called as %s, asked for %s" % (verb, request.verb))
    run = check_run(request.run, verb)
    host = Host(run, stdin)
    host.more = reply.more = bool(request.options.get("more")) and limits is None
    host.root = expand_root(run.root, host.home)
    if limits is not None:
        request = limited(request, host, limits)
    host.run_dir = host.root + "/" + run.suite
    host.run_state = run_state(host)
    reply.hello(
        wire.Hello(
            wire.PROTOCOL,
            __version__,
            time.time(),
            host.instance,
            host.hostname,
            host.user,
            host.run_dir,
            host.run_state,
            "%d.%d.%d" % sys.version_info[:3],
        )
    )
    if host.conf.syslog:
        write_syslog(verb, host, len(request.items))
    check_state(verb, host, request.options)
    check_owner(verb, host)
    add_runners(request.options.get("runners"))
    reply.start_beating()
    module = __import__("jobmgr_remote.commands." + verb.replace("-", "_"), fromlist=["run"])
    module.run(request, reply, host)


def limited(request: wire.Request, host: Host, limits: object) -> wire.Request:
    """The request as a restricted key may make it. Raises Refused for another run root.

    Of a key that may only look, a poll revokes no token, writes no id down and starts nothing.
    """
    roots = [expand_root(root, host.home) for root in limits.roots]  # type: ignore[attr-defined]
    if host.root not in roots:
        raise Refused(
            wire.E_POLICY, "this key is restricted to the run root %s (not %s)" % (", ".join(roots), host.root)
        )
    if not limits.poll_only:  # type: ignore[attr-defined]
        return request
    options = dict(request.options, tend=False)
    options.pop("max_active", None)
    items = [dict(item, revoke=False, find=False) for item in request.items]
    return request._replace(options=options, items=items)


def write_syslog(verb: str, host: Host, items: int) -> None:
    """Who does what, for the site's system log. The texts have been checked, so none can forge a line."""
    import syslog

    syslog.openlog("jobmgr", syslog.LOG_PID, syslog.LOG_USER)
    syslog.syslog(syslog.LOG_INFO, "%s user=%s suite=%s items=%d" % (verb, host.user, host.run.suite, items))


def version_text(asked: int) -> str:
    """What to do about a wire version that is not served here."""
    served = ", ".join(str(number) for number in wire.SERVED)
    side = "the jobmgr on this host" if asked > max(wire.SERVED) else "the jobmgr that calls"
    return "wire version %s is not served by jobmgr %s (it serves %s); upgrade %s" % (
        asked,
        __version__,
        served,
        side,
    )


def add_runners(sources: object) -> None:
    """Runners that travel with the request. A restricted key (JOBMGR_RESTRICTED) takes no code. Raises Refused."""
    if not sources:
        return
    if os.environ.get("JOBMGR_RESTRICTED"):
        raise Refused(wire.E_POLICY, "this key takes no code; have the runner installed with the command")
    if not isinstance(sources, dict):
        raise Refused(wire.E_USAGE, "runners: not a table of sources")
    from jobmgr_remote import runners

    try:
        runners.add(sources)
    except ValueError as error:
        raise Refused(wire.E_POLICY, str(error))


def check_run(run: wire.Run, verb: str = "") -> wire.Run:
    """The run header, checked. A scan may not know the uuid (""). Raises Refused."""
    if not layout.is_part(run.suite):
        raise Refused(wire.E_USAGE, "not a suite name: %r" % (run.suite,))
    if not layout.is_token(run.uuid) and not (verb == wire.SCAN and run.uuid == ""):
        raise Refused(wire.E_USAGE, "not a run uuid: %r" % (run.uuid,))
    if not isinstance(run.controller, str) or not 0 < len(run.controller) <= 200 or "\n" in run.controller:
        raise Refused(wire.E_USAGE, "not a controller id: %r" % (run.controller,))
    if not isinstance(run.epoch, int) or isinstance(run.epoch, bool) or run.epoch < 0:
        raise Refused(wire.E_USAGE, "not an epoch: %r" % (run.epoch,))
    return run._replace(owner=str(run.owner)[:200])


def expand_root(root: object, home: str) -> str:
    """A run root as an absolute path: ``~`` and variables are those of this host. Raises Refused."""
    if not isinstance(root, str) or "\0" in root or "\n" in root:
        raise Refused(wire.E_USAGE, "not a run root: %r" % (root,))
    text = root or layout.RUN_ROOT
    if text == "~" or text.startswith("~/"):
        text = home + text[1:]
    text = expand_variables(text, home)
    if not text.startswith("/"):
        raise Refused(
            wire.E_USAGE, "run_root %r is %r on this host, which is no absolute path" % (root, text)
        )
    return "/" + os.path.normpath(text).strip("/")


def expand_variables(text: str, home: str) -> str:
    """Replace ``$NAME`` and ``${NAME}`` by this host's environment.

    Raises Refused for one that is not set.
    """
    if "$" not in text:
        return text
    if text.startswith("$HOME/") and "$" not in text[1:]:  # so it is for nearly everybody, and needs no import
        return home + text[5:]
    import re

    def value(match: object) -> str:
        name = match.group(1) or match.group(2)
        found = home if name == "HOME" else os.environ.get(name, "")
        if not found:
            raise Refused(wire.E_HOST, "$%s is not set on this host (in %r)" % (name, text))
        return found

    return re.sub(r"\$(?:([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})", value, text)


def run_state(host: Host) -> str:
    """Whether the run directory is there, and is this run's."""
    found = read_small(host.path(layout.UUID_FILE))
    if found:
        return RUN_OK if host.run.uuid in (found.strip(), "") else RUN_FOREIGN
    for path in (host.root, host.run_dir, host.path(layout.SERVICE)):
        if os.path.islink(path) and not os.path.exists(path):
            return RUN_UNMOUNTED
    return RUN_ABSENT if os.path.isdir(host.root) else RUN_UNMOUNTED


def check_state(verb: str, host: Host, options: dict) -> None:
    """Refuse what cannot be done without this run's directory.

    A dry run of a submit can, and where it was deleted there is nothing left to clean.
    """
    if host.run_state == RUN_FOREIGN and verb != wire.JOBS_POLL:
        raise Refused(wire.E_FOREIGN, "%s belongs to another run" % host.run_dir)
    if verb == wire.JOBS_SUBMIT and options.get("dry_run"):
        return
    if verb == wire.REMOTE_TIDY and options.get("clean") and host.run_state == RUN_ABSENT:
        return
    if host.run_state != RUN_OK and verb in NEED_RUN:
        raise Refused(wire.E_NOT_FOUND, "run directory not initialised: %s" % host.run_dir)


def check_item(item: dict) -> dict:
    """The keys by which every verb knows a job.

    Raises ValueError, with a text for the user, for what cannot be one.
    """
    layout.split_job_id(item.get("job", ""))
    if not layout.is_token(item.get("token")):
        raise ValueError("not a token: %r" % (item.get("token"),))
    for key in ("runner", "native_id", "work_dir", "instance"):
        value = item.get(key) or ""
        if not isinstance(value, str) or len(value) > 4096 or layout.has_control(value):
            raise ValueError("%s: not a text: %r" % (key, value))
    if (item.get("native_id") or "").startswith("-"):  # a queue's command would take it for an option
        raise ValueError("native_id: not an id: %r" % (item["native_id"],))
    if item.get("work_dir"):
        layout.check_relative(item["work_dir"])
    return item


def read_owner(host: Host) -> dict:
    """What ``.service/owner`` says: uuid, controller, epoch, owner, time; {} if nobody owns the run yet."""
    text = read_small(host.path(layout.OWNER_FILE))
    try:
        found = native.loads(text) if text else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) and isinstance(found.get("epoch"), int) else {}


def check_owner(verb: str, host: Host) -> None:
    """Sets ``host.stale``; refuses a changing verb of anybody but the owner, and records a higher epoch."""
    found = read_owner(host) if host.run_state == RUN_OK else {}
    if not found:
        return
    mine = (host.run.epoch, host.run.controller) == (found["epoch"], found.get("controller"))
    host.stale = not mine and host.run.epoch <= found["epoch"]
    if verb not in CHANGING:
        return
    if host.stale:
        raise Refused(
            wire.E_TAKEN_OVER,
            "taken over by %s on %s"
            % (
                found.get("owner") or found.get("controller"),
                found.get("time"),
            ),
        )
    if not mine:
        write_owner(host)


def write_owner(host: Host) -> None:
    """Record the caller as the run's owner (remote-init does so first; a higher epoch later)."""
    run = host.run
    write_beside(
        host.path(layout.OWNER_FILE),
        native.dumps(
            {
                "uuid": run.uuid,
                "controller": run.controller,
                "epoch": run.epoch,
                "owner": run.owner,
                "time": utc_now(),
            }
        )
        + "\n",
    )


def home_folder() -> str:
    """The user's home directory: what the login says, else the password file. Raises Refused."""
    home = os.environ.get("HOME", "")
    if not home.startswith("/"):
        import pwd

        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            home = ""
    if not home.startswith("/"):
        raise Refused(wire.E_HOST, "this user has no home directory")
    return home.rstrip("/") or "/"


def user_name(home: str) -> str:
    """The user's name, for humans and for queue queries."""
    name = os.environ.get("LOGNAME") or os.environ.get("USER") or ""
    if not name:
        import pwd

        try:
            name = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:
            name = str(os.getuid())
    return name


def utc(seconds: float) -> str:
    """``2026-11-20T12:00:00Z``"""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def utc_milliseconds() -> str:
    """The time of now, as a wrapper writes it: ``2026-11-20T12:00:00.123Z``."""
    now = time.time()
    return "%s.%03dZ" % (utc(now)[:-1], int(now % 1 * 1000))


def utc_now() -> str:
    return utc(time.time())


def read_small(path: str, limit: int = 65536) -> str:
    """The text of a small file; "" if it is not there. Other failures pass through as OSError."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    try:
        return os.read(fd, limit).decode("utf-8", "replace")
    finally:
        os.close(fd)


def write_new(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file that is not there yet, and that nobody looks for before this is done."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, text.encode("utf-8", "surrogateescape"))
    except OSError:
        os.unlink(path)
        raise
    finally:
        os.close(fd)


def write_beside(path: str, text: str, mode: int = 0o600) -> None:
    """Write a file so that a reader sees the old content or the new one: temporary file, then rename."""
    temporary = "%s.%d.tmp" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, text.encode("utf-8", "surrogateescape"))
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


def write_all(fd: int, data: bytes) -> None:
    """Write all of it; a disk that takes half of it raises at the next piece."""
    while data:
        data = data[os.write(fd, data) :]


def os_error_text(error: OSError) -> str:
    """``/home/ada/x: No space left on device``"""
    text = error.strerror or str(error)
    return "%s: %s" % (error.filename, text) if error.filename else text


def _print_traceback() -> None:
    import traceback

    sys.stderr.write(traceback.format_exc()[-4000:])
    sys.stderr.flush()
