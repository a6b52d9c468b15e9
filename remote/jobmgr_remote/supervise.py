"""One background job and the slot that looks after it: start, signals, and the record of its end.

The job is ``bash JOBFILE`` in a process group of its own, with its token in the environment from the first
moment; that shell claims the token, opens the attempt in job.status and runs the user's scripts
(``job/start.sh``). The slot waits for it and closes the attempt. A job whose entry asks for no supervision (it
has a time limit, an err or exit script) runs under the whole wrapper, which records its end itself.

Signals to the slot: TERM and its like end the job as they would end a wrapper, and then the slot. ``spool.TELL``
says that jobs-kill is at work on the job: it ends the processes, and the record is ``SIGNAL/TERM``.
"""

import os
import time

from jobmgr_remote import fence, jobfile, layout, proc, session, spool, status
from jobmgr_remote.closing import APPEND, KILLED, Closing, append, lines
from jobmgr_remote.ending import Ending, Target
from jobmgr_remote.native import signals

#: Signals by which a machine or a person ends a slot.
ENDING = (signals.SIGTERM, signals.SIGHUP, signals.SIGINT, signals.SIGQUIT, signals.SIGXCPU, signals.SIGPWR)
#: All that a slot waits for; they are blocked in it.
WAITED = ENDING + (signals.SIGCHLD, spool.TELL)
#: What wakes a slot while its job runs: word of a kill is heard when the job has ended, which it is about to.
WAKING = ENDING + (signals.SIGCHLD,)
#: Signals that a job gets with their default action, whatever this process does with them.
WITH_DEFAULT = spool.catchable()
#: Seconds between two attempts to write the last lines.
PAUSE = 5.0
#: Runs the job file in the environment of the login shell.
WITH_LOGIN = '. "$1"; export %s %s; exec "$BASH" "$2"'


class Supervision(object):
    """One job of a slot. ``left``: what earlier jobs have left to that slot; ``environ``: what jobs get to start with.

    ``told``: the signal by which the slot was told to end, or "". ``has_orphans``: whether the job has left processes.
    """

    def __init__(
        self,
        bash: str,
        entry: spool.Queued,
        slot: proc.Process,
        left: "list[spool.Left]",
        environ: "dict[str, str]",
    ) -> None:
        self.bash = bash
        self.entry = entry
        self.slot = slot
        self.left = left
        self.environ = environ
        self.folder = entry.run_dir + "/" + layout.job_dir(entry.job)
        self.told = ""
        self.has_orphans = False
        self._killed = False
        self._cause = ""
        self._pid = 0
        self._cpu = 0.0

    def run(self) -> bool:
        """Start the job and see it to its end. False if the end could not be recorded anywhere."""
        if not os.path.isfile(self.folder + "/" + layout.JOB_FILE):
            return True
        self._began, start_time = time.monotonic(), session.utc_milliseconds()
        try:
            self._pid = self._start(start_time)
        except OSError:  # it has claimed nothing: whoever asks is told that it has not started
            return True
        result = self._wait()
        closing = Closing(self.entry.run_dir, self.entry.job, self.entry.token, self._pid)
        missing = closing.missing(start_time)
        if missing is None:
            return True
        if os.WIFSIGNALED(result) and not self._killed and not self._cause:
            self._end_all()
        last = lines(time.monotonic() - self._began, self._cpu, self._judge(result))
        return closing.write(missing + last) or self._close_later(closing, missing + last)

    # --- start and wait ----------------------------------------------------------------------------

    def _start(self, start_time: str) -> int:
        """The job's shell. Raises OSError."""
        environ = self.environ.copy()
        environ[proc.TOKEN_VARIABLE] = self.entry.token
        if self.entry.supervision == spool.BY_SLOT:
            environ[proc.SLOT_VARIABLE] = "%d %s" % (self.slot.pid, start_time)
        job = self.folder + "/" + layout.JOB_FILE
        argv = ["bash", job]
        if self.entry.login:
            script = WITH_LOGIN % (proc.TOKEN_VARIABLE, proc.SLOT_VARIABLE)
            argv = ["bash", "-c", script, "slot", self.entry.login, job]
        out, err = self.folder + "/" + layout.OUT_FILE, self.folder + "/" + layout.ERR_FILE
        return spawn(self.bash, argv, environ, out, err)

    def _wait(self) -> int:
        """Until the job's shell has ended; its wait status."""
        while True:
            self._take(signals.sigwaitinfo(WAKING).si_signo)
            result = self._reap()
            if result is not None:
                self._look_at_signals()
                return result

    def _reap(self) -> "int | None":
        """Wait for all children that have ended; the status of the job's shell if that is among them."""
        found = None
        while True:
            try:
                pid, result, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                self.has_orphans = False
                return found
            if pid == 0:
                self.has_orphans = found is not None
                return found
            if pid == self._pid:
                found = result
                self._cpu = usage.ru_utime + usage.ru_stime

    def _look_at_signals(self) -> None:
        """What was sent while the job lived, and what ends this slot."""
        while True:
            got = signals.sigtimedwait(WAITED, 0)
            if got is None:
                return
            if got.si_signo == spool.TELL:
                self._killed = self._killed or fence.has_kill_mark(self.entry.run_dir, self.entry.token)
            elif got.si_signo in ENDING:
                self.told = self.told or name_of(got.si_signo)

    def _take(self, number: int) -> None:
        if number in ENDING:
            self.told = self.told or name_of(number)
            self._cause = self._cause or status.SIGNAL + "/" + self.told
            self._end_all()

    def _end_all(self) -> None:
        """End what there is of the job: TERM, grace, KILL."""
        found = proc.look(self._pid)  # dead perhaps, but not waited for yet; or claimed, and waited for
        start = found.start if found else fence.read_claim(self.entry.run_dir, self.entry.token).start
        target = Target(self.entry.token, self._pid, start, self.slot.pid, self.left, False)
        Ending([target], {self.slot.pid}, lambda: None, Held()).run(jobfile.GRACE)

    # --- the record --------------------------------------------------------------------------------

    def _judge(self, result: int) -> str:
        """The exit record."""
        if self._killed:
            return KILLED
        if self._cause:
            return self._cause
        if os.WIFSIGNALED(result):
            return status.SIGNAL + "/" + name_of(os.WTERMSIG(result))
        code = os.WEXITSTATUS(result)
        return status.FAILED + "/%d" % code if code else status.SUCCEEDED

    def _close_later(self, closing: Closing, text: str) -> bool:
        """A full disk is waited for, then the lines go to the rescue folder."""
        said = "jobmgr: cannot write %s, trying again for %d s\n" % (closing.path, jobfile.RETRY)
        append(self.folder + "/" + layout.ERR_FILE, said.encode())
        deadline = time.monotonic() + jobfile.RETRY
        while time.monotonic() < deadline and not self._is_in_a_hurry():
            if closing.write_again(text):
                return True
        return self._rescue(closing, text)

    def _is_in_a_hurry(self) -> bool:
        """Whether somebody does not want to wait; False after a pause."""
        deadline = time.monotonic() + PAUSE
        while True:
            got = signals.sigtimedwait(WAITED, max(0.0, deadline - time.monotonic()))
            if got is None:
                return False
            if got.si_signo == signals.SIGCHLD:
                self._reap()
                continue
            if got.si_signo in ENDING:
                self.told = self.told or name_of(got.si_signo)
            return True

    def _rescue(self, closing: Closing, text: str) -> bool:
        """Leave the whole attempt in the home directory."""
        written = closing.read().decode("utf-8", "replace")
        begun = written.rfind(status.line(status.ATTEMPT, "1"))
        opened = written[begun : written.rfind("\n") + 1] if begun >= 0 else ""
        text = status.head(self.entry.token, "background") + opened + text
        folder = os.path.expanduser("~") + "/" + layout.HOST_RESCUE
        try:
            fence.make_folders(folder)
            session.write_beside(folder + "/" + self.entry.token, text)
        except OSError:
            return False
        return True


class Held(object):
    """For :class:`Ending`: a slot about its own job."""

    def holds(self, token: str) -> bool:
        """What the slot has adopted since it began is the job's."""
        return True

    def tell(self, token: str) -> None:
        """It knows."""


def name_of(number: int) -> str:
    """``TERM``, as in an exit record."""
    import signal

    try:
        return signal.Signals(number).name[3:]
    except ValueError:
        return "RTMIN+%d" % (number - signals.SIGRTMIN)


def spawn(program: str, argv: "list[str]", environ: "dict[str, str]", out: str, err: str) -> int:
    """Start a program with this process's stdin, output appended to two files, default signals, and a process group of
    its own; its process id. Raises OSError.
    """
    if hasattr(os, "posix_spawn"):  # Python 3.8: much cheaper than a fork
        files = [(os.POSIX_SPAWN_OPEN, 1, out, APPEND, 0o600), (os.POSIX_SPAWN_OPEN, 2, err, APPEND, 0o600)]
        return os.posix_spawn(
            program, argv, environ, file_actions=files, setpgroup=0, setsigmask=[], setsigdef=WITH_DEFAULT
        )
    files = [os.open(path, APPEND, 0o600) for path in (out, err)]
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            for number, fd in zip((1, 2), files):
                os.dup2(fd, number)
            spool.default_signals()
            os.execve(program, argv, environ)
        finally:
            os._exit(127)
    for fd in files:
        os.close(fd)
    return pid
