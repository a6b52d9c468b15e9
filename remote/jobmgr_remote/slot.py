"""A slot: runs the background jobs of this user on this machine, one after the other, and ends when none is left.

Started by spool.py as ``python3 -I -S PACKAGE slot SPOOL BASH LOCK``, with a line ``NUMBER ENTRY`` on stdin per
slot that is wanted, in a session of its own with a clean environment and cwd /. This program loads what slots
need once, forks for each of them, and ends. LOCK is the descriptor that holds the spool's lock until all slots
are registered.

A slot is a child subreaper, so what a job leaves behind (``setsid``, double forks, ``env -i``) comes to it. It takes an
entry by creating ``taken/ENTRY`` exclusively, and has it until all is recorded about that job (supervise.py). spool.py
describes the files.
"""

import os

from jobmgr_remote import fence, proc
from jobmgr_remote.native import signals
from jobmgr_remote.session import write_beside
from jobmgr_remote.spool import Left, Queued, Spool, job_environment, unlink
from jobmgr_remote.supervise import WAITED, Supervision

PR_SET_CHILD_SUBREAPER = 36


def main(words: "list[str]") -> None:
    """Become the slots that stdin names; does not return."""
    folder, bash, lock = words[0], words[1], int(words[2])
    rows = [row.split() for row in _everything(0).splitlines()]
    null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    os.dup2(null, 0)
    signals.pthread_sigmask(signals.SIG_BLOCK, WAITED)
    subreaper = load_prctl()
    _settle_memory()
    for number, entry in rows:
        if os.fork() == 0:
            try:
                _become(Slot(Spool.at(folder), int(number), bash), entry, lock, subreaper)
            finally:
                os._exit(1)
    os._exit(0)  # the lock goes at once


def _everything(fd: int) -> str:
    data = b""
    while True:
        more = os.read(fd, 65536)
        if not more:
            return data.decode()
        data += more


def load_prctl() -> object:
    """The C library's prctl, or None where it cannot be had (a slot then works without being a subreaper)."""
    try:
        import ctypes

        return ctypes.CDLL(None, use_errno=True).prctl
    except Exception:
        return None


def _settle_memory() -> None:
    """What is loaded now stays shared by all slots: no collector looks through it again."""
    import gc
    import resource  # os.wait4 would import it, in each slot  # noqa: F401

    gc.disable()
    if hasattr(gc, "freeze"):
        gc.freeze()


def _become(slot: "Slot", entry: str, lock: int, subreaper: object) -> None:
    """Be a slot to its end, and end."""
    os.setsid()
    if subreaper is not None:
        subreaper(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    _name_process()
    slot.register()
    os.close(lock)
    slot.work(entry)
    os._exit(0)


def _name_process() -> None:
    """``ps`` and ``pkill`` see jobmgr-slot: who ends all that is called python3 does not mean this."""
    try:
        with open("/proc/self/comm", "w") as file:
            file.write("jobmgr-slot")
    except OSError:
        pass


class Slot(object):
    """One slot, in the process that it is. ``bash``: the program that runs job files."""

    def __init__(self, spool: Spool, number: int, bash: str) -> None:
        self.spool = spool
        self.number = number
        self.bash = bash
        self.me = proc.own()
        self._environment = job_environment()
        self._left = {}  # type: dict[tuple[int, str], Left]
        self._previous = "-"
        self._has_orphans = False
        self._ending = False

    def register(self) -> None:
        """Say who the slot of this number is."""
        for kind in ("last", "retire", "orphans"):
            unlink(self._mark(kind))
        write_beside("%s/%d" % (self.spool.slots, self.number), "%d %s\n" % (self.me.pid, self.me.start))

    def work(self, entry: str = "") -> None:
        """Run jobs until none is left; ``entry`` is meant to be the first, so that a thousand slots that start
        together need not look for one.

        A spool that has gone or cannot be written to ends the slot too; a later call starts one again.
        """
        try:
            if entry and not self._is_to_retire():
                self._try(entry)
            while not self._ending:
                if not self._is_to_retire() and self._walk():
                    continue
                if fence.create_directly(self._mark("last"), ""):
                    return
                os.unlink(self._mark("last"))  # there is more to do
        except OSError:
            pass

    def _mark(self, kind: str) -> str:
        return self.spool.mark(self.number, self.me.pid, kind)

    def _is_to_retire(self) -> bool:
        return os.path.exists(self._mark("retire"))

    def _walk(self) -> bool:
        """One walk through the queue as it is now, in the order of submission. False if there was no job to run.

        While a job ran, the other slots have gone on: what is before the last one that they have taken is left to the
        next walk.
        """
        taken = set(os.listdir(self.spool.taken))
        ran, last = False, ""
        for name in sorted(os.listdir(self.spool.queue)):
            if name.startswith(".") or name in taken or name < last:
                continue
            if not os.path.exists(self.spool.queue + "/" + name):  # another slot is through with it by now
                continue
            if self._try(name):
                ran = True
                taken = set(os.listdir(self.spool.taken))
                last = max(taken, default="")
            if self._ending or self._is_to_retire():
                break
        return ran

    def _try(self, name: str) -> bool:
        """Take an entry and run its job, unless another slot is faster. True if it was ours."""
        if not fence.create_directly(self.spool.taken + "/" + name, "%d %s\n" % (self.me.pid, self.me.start)):
            return False
        entry = self.spool.read_entry(name)
        if entry is not None and not self._run(entry):
            self._ending = True
            return True
        self.spool.remove(name)
        return entry is not None

    def _run(self, entry: Queued) -> bool:
        """False if nothing could be recorded: then the slot ends with the entry in its hands, which tells of it."""
        if self._has_orphans or self._left:
            self._note_orphans()
        self._previous = entry.token
        supervision = Supervision(
            self.bash, entry, self.me, list(self._left.values()), self._environment
        )
        recorded = supervision.run()
        self._ending = self._ending or bool(supervision.told)
        self._has_orphans = supervision.has_orphans
        return recorded

    def _note_orphans(self) -> None:
        """Write down what earlier jobs have left to this slot, so that nobody takes it for the next job's."""
        children = self._children()
        now = {}
        for pid in children:
            process = proc.look(pid)
            if process is not None:
                key = (pid, process.start)
                made = Left(pid, process.start, process.pgid, process.sid, self._previous)
                now[key] = self._left.get(key, made)
        self._left = now
        rows = ["%d %s %d %d %s\n" % one for one in now.values()]
        write_beside(self._mark("orphans"), "".join(rows))

    def _children(self) -> "list[int]":
        try:
            with open("/proc/%d/task/%d/children" % (self.me.pid, self.me.pid)) as file:
                return [int(word) for word in file.read().split()]
        except OSError:
            return []
