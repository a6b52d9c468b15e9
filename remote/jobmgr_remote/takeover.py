"""jobs-kill does the last duty of slots: it records how their jobs ended, in their stead.

A slot that has nothing to do after its job is stopped while jobs-kill ends that job. So it still is the parent of
whatever the job leaves to it, but a thousand of them need not wake up, each to write a few lines and end. When all is
gone the record is written, the entry leaves the spool, and the slot's door is closed as the slot would close it. The
slot itself is ended when the answer is written: that takes longer than all of this. Many of them are ended by a process
of its own, for which no caller waits.

Whatever is not as expected on that way (a full disk, somebody has put new work into the queue) the slot goes on and
does all of it itself: it was told of the kill when its job was signalled. Who stops slots holds the spool's kill lock;
``Spool.tend`` lets stopped slots go on once nobody does, so a jobs-kill that is cut at any point leaves nothing
behind.
"""

import os
import time

from jobmgr_remote import proc
from jobmgr_remote.closing import KILLED, Closing, lines
from jobmgr_remote.ending import Target
from jobmgr_remote.lock import Held
from jobmgr_remote.native import signals
from jobmgr_remote.spool import Keeper, Slot, Spool, detach, started

#: From so many slots on they are ended by a process of its own, one after the other: a thousand programs that end at
#: the same time would have the machine to themselves, and the answer is on its way.
APART = 64
#: Seconds between two looks whether one has gone.
PAUSE = 0.0005
#: Seconds after which the next is ended all the same.
PATIENCE = 1.0
#: As in ``time``, from Python 3.7 on; what start times of processes count from.
CLOCK_BOOTTIME = 7


class Takeover(object):
    """A Keeper for :class:`ending.Ending` that stops slots instead of having them record.

    ``with Takeover(spool, keeper) as takeover``: afterwards no slot is stopped any more, but for those that are about
    to be ended. ``then`` is called when that is done.
    """

    def __init__(self, spool: Spool, keeper: Keeper, then: object = None) -> None:
        self._spool = spool
        self.keeper = keeper
        self._then = then
        self._lock = spool.kill_lock()
        self._is_alone = False
        self._stopped = {}  # type: dict[str, tuple[Target, Slot]]
        self._told = set()  # type: set[str]
        self._done = []  # type: list[Slot]

    def __enter__(self) -> "Takeover":
        try:
            self._lock.__enter__()
            self._is_alone = True
        except (Held, OSError):  # another jobs-kill, or no spool: slots record by themselves
            pass
        return self

    def __exit__(self, *exc: object) -> None:
        self._let_go_on()
        if len(self._done) < APART or not self._is_left_to_child():
            self._end_slots()

    def _end_slots(self, pause: float = 0.0) -> None:
        """``pause``: how long to rest before each look whether a slot has gone, before the next is ended; 0: all at
        once.
        """
        for slot in self._done:
            slot.send(signals.SIGKILL)
            patience = time.monotonic() + PATIENCE
            while pause and time.monotonic() < patience and proc.is_alive(slot.pid, slot.start):
                time.sleep(pause)
        self._spool.unregister(self._done)
        self._lock.__exit__()
        if self._then is not None:
            self._then()

    def _is_left_to_child(self) -> bool:
        """Have a child of this process end the slots; False if none can be had."""
        try:
            pid = os.fork()
        except OSError:
            return False
        if pid:
            self._lock.pass_on()
            started(pid)
            return True
        try:
            detach(self._lock.fileno())
            self._end_slots(PAUSE)
        finally:
            os._exit(0)

    def _let_go_on(self) -> None:
        for _, slot in self._stopped.values():
            slot.send(signals.SIGCONT)
        self._stopped.clear()

    def stop(self, targets: "list[Target]") -> None:
        """These jobs are about to be ended: stop their slots, as far as these record the ends and have nothing to do
        then.

        The slots come first: the end of a child, and that it is stopped, wakes its parent.
        """
        for target in targets if self._is_alone else []:
            slot = self.keeper.slot(target.token)
            if slot is not None and not target.wrapper and self.keeper.retires(target.token):
                self._stopped[target.token] = (target, slot)
                slot.send(signals.SIGSTOP)

    def holds(self, token: str) -> bool:
        """As :meth:`spool.Keeper.holds`: what is stopped cannot let go of its job."""
        return token in self._stopped or self.keeper.holds(token)

    def tell(self, token: str) -> None:
        """As :meth:`spool.Keeper.tell`."""
        self._told.add(token)
        self.keeper.tell(token)

    def finish(self, tokens: "list[str]", troubled: "set[str]", seconds: float) -> None:
        """The jobs of these tokens have ended, but the troubled ones. Their records are there afterwards, as far as
        that takes no more than so many seconds.
        """
        recorded = set()
        for token, (target, slot) in list(self._stopped.items()):
            if token in self._told and token not in troubled and self._record(target, slot):
                del self._stopped[token]
                self._done.append(slot)
                recorded.add(token)
        self._let_go_on()
        self.keeper.await_records([token for token in tokens if token not in recorded], seconds)

    def _record(self, target: Target, slot: Slot) -> bool:
        """Do the slot's last duty. False if it has to do it itself, or what is left of it."""
        used = proc.usage(target.pid, target.start)
        job = self.keeper.job(target.token)
        if used is None or job is None:
            return False
        closing = Closing(job.run_dir, job.job, job.token, target.pid)
        missing = closing.missing("")
        if missing:  # the opening lines are not there, and the slot knows when it has started the job
            return False
        if missing is not None and not closing.write(lines(_age(target.start), used, KILLED)):
            return False
        return self._spool.leave(self.keeper.entry(target.token), slot)


def _age(start: str) -> float:
    """Seconds since a process was started, by its start time as the kernel tells it."""
    return max(0.0, time.clock_gettime(CLOCK_BOOTTIME) - int(start) / os.sysconf("SC_CLK_TCK"))
