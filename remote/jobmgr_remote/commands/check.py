"""check: try what jobmgr needs of this host, and say what was found. Changes nothing that outlives the call.

Options: ``probe`` (a file name in the controller's run root: seen here, both sides are one folder), ``hold``
(seconds: the folder made for the trial stays, for the caller's own rsync, until the caller closes its side, or
the time is over), ``sessions`` (true: only say that the call has arrived, and wait; the caller counts how many
of these it gets at a time), ``runners`` (of one's own, as in jobs-submit).

Reply: one init line with all that remote-init tells, and ``folder`` (for the trial, or ""), ``write_error``,
``write_seconds``, ``exec_error``, ``made_root`` (the run root was not there), ``home_id`` (the same on hosts
that share the home directory), ``home_free_bytes``, ``quota``, ``rsync``, ``lingers``, ``policy`` (host.conf),
``runners`` (a list of ``name version queue accounting``). What cannot be found out is "".
"""

import os
import sys
import time
import uuid

from jobmgr_remote import evidence, machine, proc, runners, wire
from jobmgr_remote.commands.remote_init import existing_parent
from jobmgr_remote.session import Host, Refused, Reply, os_error_text, write_all

PREFIX = ".jobmgr-check-"
LONGEST_HOLD = 300.0
ASK_TIMEOUT = 15.0
TRIAL_BYTES = 65536
#: ``qstat`` is the name of two systems' command; what the right one says of itself.
_SAYS = {"pbs": ("pbs", "version", "torque"), "sge": ("sge", "ge ", "grid engine", "gridengine", "qmaster")}


def run(request: wire.Request, reply: Reply, host: Host) -> None:
    """Answer the request. Refuses nothing: what is missing is part of the answer."""
    options = request.options
    hold = min(float(options.get("hold") or 0), LONGEST_HOLD)
    if options.get("sessions"):
        reply.data({"up": True})
        host.stdin_ended(hold)
        return
    os.umask(0o077)
    found = abilities(host)
    trial = Trial(host.root)
    try:
        found.update(trial.make(), shared=seen(host, options.get("probe")))
        found.update(machine.place(existing_parent(host.root)))
        found["runners"] = [report(name, host) for name in names(options)]
        reply.init(found)
        if hold > 0:
            host.stdin_ended(hold)
    finally:
        trial.remove()


def abilities(host: Host) -> dict:
    """What remote-init finds, but as text where remote-init would refuse."""
    try:
        found = machine.abilities(host.home)
        found["lacks"] = ""
    except Refused as reason:
        found = {
            "lacks": reason.text, "cores": os.cpu_count() or 0, "bash": "", "bash_version": "", "batch": [],
            "hidepid": machine.hidepid(), "kills_at_logout": machine.kills_at_logout(),
        }
    conf = host.conf
    found.update(
        home=host.home, python="%d.%d.%d" % sys.version_info[:3], lingers=machine.lingers(host.user),
        user=host.user, home_id=home_id(host.home), home_free_bytes=free_bytes(host.home), quota=quota(),
        rsync=rsync_version(),
        policy={
            "min_polling_interval": conf.min_polling_interval, "max_wait": conf.max_wait,
            "deny_runners": list(conf.deny_runners), "syslog": conf.syslog,
        },
    )
    return found


def home_id(home: str) -> str:
    """A text that is the same on every host which sees this home directory."""
    try:
        return str(os.stat(home + "/.jobmgr").st_ino)
    except OSError:
        return ""


def free_bytes(path: str) -> "int | None":
    """What this user may still write there; None if that cannot be told."""
    try:
        info = os.statvfs(path)
    except OSError:
        return None
    return info.f_bavail * info.f_frsize


def quota() -> str:
    """quota(1)'s lines about this user's limits ("" where there are none, or no such program)."""
    if not proc.find_program("quota"):
        return ""
    done = proc.run(["quota", "-w"], 5.0)
    return "\n".join(row.strip() for row in done.out.splitlines()[2:8])[:1000]


def rsync_version() -> str:
    """Its first line; "" if it is not on PATH, which is where the controller's call looks for it."""
    import shutil

    return first_line(proc.run(["rsync", "--version"], ASK_TIMEOUT)) if shutil.which("rsync") else ""


def first_line(done: proc.Done) -> str:
    """The first line that a program said."""
    rows = [row.strip() for row in (done.out + "\n" + done.err).splitlines() if row.strip()]
    return (rows or ["?"])[0][:200]


def seen(host: Host, probe: object) -> bool:
    """Whether a file of the controller's run root lies in the run root here. Lists first (negative caching)."""
    if not isinstance(probe, str) or not probe.startswith(PREFIX) or "/" in probe:
        return False
    try:
        return probe in os.listdir(host.root)
    except OSError:
        return False


# --- the trial ---------------------------------------------------------------------------------------


class Trial(object):
    """A folder in the run root, and what is tried in it; all of it goes again."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.folder = ""
        self._made = []  # type: list[str]

    def make(self) -> dict:
        """Write, sync and run something there."""
        found = {
            "folder": "", "write_error": "", "write_seconds": 0.0, "exec_error": "",
            "made_root": not os.path.isdir(self.root),
        }
        try:
            self._make_folder()
            found["folder"] = self.folder
            found["write_seconds"] = self._write()
            found["exec_error"] = self._execute()
        except OSError as error:
            found["write_error"] = os_error_text(error)
        return found

    def _make_folder(self) -> None:
        missing = []
        path = self.root
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for path in reversed(missing):
            os.mkdir(path, 0o700)
            self._made.append(path)
        folder = "%s/%s%s" % (self.root, PREFIX, uuid.uuid4().hex[:12])
        os.mkdir(folder, 0o700)
        self.folder = folder

    def _write(self) -> float:
        began = time.monotonic()
        path = self.folder + "/written"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            write_all(fd, b"x" * TRIAL_BYTES)
            os.fsync(fd)
        finally:
            os.close(fd)
        os.rename(path, path + ".2")
        return round(time.monotonic() - began, 4)

    def _execute(self) -> str:
        path = self.folder + "/program"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o700)
        try:
            write_all(fd, b"#!/bin/sh\nexit 0\n")
        finally:
            os.close(fd)
        done = proc.run([path], ASK_TIMEOUT)
        return "" if done.code == 0 else (done.err.strip() or "exit code %s" % done.code)[:200]

    def remove(self) -> None:
        """Take away all that was made, run root included if it was not there before."""
        import shutil

        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)
        for path in reversed(self._made):
            try:
                os.rmdir(path)
            except OSError:  # somebody uses it by now
                return


# --- batch systems -----------------------------------------------------------------------------------


def names(options: dict) -> "list[str]":
    """Runners worth a look: the built-in ones and those that came with the request."""
    return [*runners.BUILT_IN, *(name for name in options.get("runners") or () if name not in runners.BUILT_IN)]


def report(name: str, host: Host) -> dict:
    """One runner: what its command says of itself, whether its queue answers, whether it has accounting.

    ``queue`` and ``accounting``: ``yes``, ``no: WHY``, or ``""`` if there is nothing to ask.
    """
    runner = runners.get(name)
    version = version_of(runner)
    found = {"name": name, "version": version, "queue": "", "accounting": ""}
    if version and name != runners.BACKGROUND:
        ask = evidence.command_runner(runner)
        found["queue"] = queue(runner, host, ask)
        if found["queue"] == "yes":
            found["accounting"] = accounting(runner, ask)
    return found


def version_of(runner: object) -> str:
    """The first line of what its command says, "" if the system is not here."""
    argv = list(runner.VERSION_ARGV)  # type: ignore[attr-defined]
    if not proc.find_program(argv[0]):
        return ""
    done = proc.run(argv, ASK_TIMEOUT)
    said = (done.out + " " + done.err).lower()
    says = _SAYS.get(runner.NAME)  # type: ignore[attr-defined]
    if says and not any(word in said for word in says):
        return ""
    if runner.NAME == "pbs" and done.code != 0:  # type: ignore[attr-defined]
        return ""  # Grid Engine's, which has no such option
    return first_line(done)


def queue(runner: object, host: Host, ask: object) -> str:
    """Ask the queue for a job that cannot be there."""
    from jobmgr_remote.runners import base

    try:
        answer = base.find(runner, host.user, [str(uuid.uuid4())], ask)
    except ValueError as error:
        return "no: %s" % error
    if answer is None:
        return ""
    return "no: " + answer.error if answer.error else "yes"


def accounting(runner: object, ask: object) -> str:
    """Ask for a job that has ended long ago."""
    calls = runner.history_calls(["1"])  # type: ignore[attr-defined]
    if not calls:
        return ""
    code, out, err = ask(calls[0])  # type: ignore[operator]
    if code == 0:
        return "yes"
    from jobmgr_remote.runners import base

    said = base.last_words(code, out, err)
    return "yes" if "not found" in said or "Unknown Job" in said else "no: " + said
