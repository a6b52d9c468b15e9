"""Ending the processes of many jobs at once: all of theirs, and nobody else's.

What belongs to a job: its first process; what descends from it by parent process; what carries its token in the
environment it was started with; what shares a session or a process group that the job has made; and what its
slot has adopted since the job began (a slot is a child subreaper, so ``setsid``, double forks and an emptied
environment do not get away). What never belongs to it: slots, other jobs' processes, this process, and what
jobmgr itself started from inside a job to outlive it (``JOBMGR_SERVICE``).

One pass over /proc serves all jobs of a call. First everything is stopped, and looked at again until two
looks find nothing new, so that a fork storm cannot outrun the list; then TERM and CONT; after the grace KILL,
the wrapper last.
"""

import os
import time

from jobmgr_remote import proc
from jobmgr_remote.native import signals
from jobmgr_remote.records import namedtuple

#: A job whose processes are to end. ``pid``/``start``: its first process (0, "" if it is not known). ``slot``:
#: process id of its slot, 0 if it has none. ``left``: what earlier jobs have left to the slots (spool.Left).
#: ``wrapper``: whether the first process is a wrapper, which records how the others end.
Target = namedtuple("Target", "token pid start slot left wrapper")

#: Seconds to go on stopping what forks faster than we look.
STORM = 20.0
#: Seconds that a wrapper has for its last lines once all else is gone.
LAST_LINES = 2.0
#: Seconds after KILL after which a process counts as one that cannot be ended.
AFTER_KILL = 5.0
QUIET_LOOKS = 2
#: Seconds between two looks at what has been told to end.
SHORTEST_PAUSE, LONGEST_PAUSE, GROWTH = 0.002, 0.1, 1.2
LATE_ROUNDS = 10


class Ending(object):
    """Ends the processes of jobs. ``slots``: the process ids of all live slots; ``keeper`` (spool.Keeper): which of
    them looks after which job.
    """

    def __init__(
        self, targets: "list[Target]", slots: "set[int]", progress: object, keeper: object
    ) -> None:
        self.targets = {target.token: target for target in targets}
        self.slots = slots
        self.progress = progress
        self.keeper = keeper
        self.owner = {}  # type: dict[tuple[int, str], str]
        self.members = {}  # type: dict[tuple[int, str], proc.Process]
        self.troubles = {token: [] for token in self.targets}  # type: dict[str, list[str]]
        self._marks = {}  # type: dict[tuple[int, str], tuple[str, bool]]
        self._refused = set()  # type: set[tuple[int, str]]
        self._gone = set()  # type: set[tuple[int, str]]
        #: Members that the last look has found.
        self._seen = set()  # type: set[tuple[int, str]]
        self.ended = set()  # type: set[str]
        #: All processes of a look after which every member was stopped: what is not in it is all that can be new.
        self._settled = {}  # type: dict[int, proc.Process]
        self._table = {}  # type: dict[int, proc.Process]

    def run(self, grace: float) -> "dict[str, list[str]]":
        """Carry it out.

        Returns, by token, what could not be ended or seen; ``ended`` then holds the tokens that had
        processes.
        """
        if not self.targets:
            return {}
        stopped = self._stop_all(signals.SIGSTOP)
        for process in stopped:  # what is stopped cannot end before its slot knows why
            target = self._target(process)
            if target.slot and self._is_first(process):
                self.keeper.tell(target.token)
        self._signal(stopped, signals.SIGTERM, signals.SIGCONT)
        self._wait(stopped, grace)
        if self._alive():
            self._kill()
        for _ in range(LATE_ROUNDS):  # what a dying wrapper or its scripts have started at the last moment
            if not self._new_ones():
                break
            self._kill()
        for process in self._alive():
            self._trouble(process, "pid %d does not end (state %s)" % (process.pid, process.state))
        return self.troubles

    # --- finding -----------------------------------------------------------------------------------

    def _new_ones(self) -> "list[proc.Process]":
        """Look at all processes; add what belongs to a target; return what is new."""
        self.progress()
        self._table = table = read_table(self.slots, self._settled)
        new = []
        self._seen = set()
        for process, token in self._belonging(table):
            key = (process.pid, process.start)
            self._seen.add(key)
            if key not in self.members:
                new.append(process)
                self.owner[key] = token
                self.ended.add(token)
            self.members[key] = process
        return new

    def _belonging(self, table: "dict[int, proc.Process]") -> "list[tuple[proc.Process, str]]":
        found = {}  # type: dict[int, str]
        marks = {pid: self._mark(process) for pid, process in table.items()}
        for pid, process in table.items():
            token = marks[pid][0]
            if token in self.targets or (pid, process.start) in self.owner:
                found[pid] = token if token in self.targets else self.owner[pid, process.start]
        for target in self.targets.values():
            process = table.get(target.pid)
            if process is not None and process.start == target.start:
                found[target.pid] = target.token
        self._add_adopted(table, marks, found)
        while self._grow(table, marks, found):
            pass
        return [(table[pid], token) for pid, token in found.items() if not self._never(pid)]

    def _never(self, pid: int) -> bool:
        return pid <= 1 or pid == os.getpid() or pid in self.slots

    def _mark(self, process: proc.Process) -> "tuple[str, bool]":
        """(token, is a service) of a process, from its first environment that was seen; read once."""
        key = (process.pid, process.start)
        mark = self._marks.get(key)
        if mark is None:
            data = proc.environment(process.pid)
            mark = (
                proc.variable(data, proc.TOKEN_VARIABLE),
                bool(proc.variable(data, proc.SERVICE_VARIABLE)),
            )
            if not mark[1]:  # a slot's child shows the slot's environment until it has become the job
                self._marks[key] = mark
        return mark

    def _foreign(self, mark: "tuple[str, bool]", token: str) -> bool:
        """Whether a process says of itself that it is not this job's."""
        return mark[0] != token and (bool(mark[0]) or mark[1])

    def _add_adopted(self, table: dict, marks: dict, found: "dict[int, str]") -> None:
        by_slot = {}
        for target in self.targets.values():
            if target.slot and self._is_with(target, table):
                by_slot[target.slot] = target
            for left in target.left:
                process = table.get(left.pid)
                if process is not None and (process.start, left.token) == (left.start, target.token):
                    if not self._foreign(marks[left.pid], target.token):
                        found.setdefault(left.pid, target.token)
        for pid, process in table.items():
            target = by_slot.get(process.ppid)
            if target is None or pid in found or self._foreign(marks[pid], target.token):
                continue
            if not _is_left(process, target):
                found[pid] = target.token

    def _is_with(self, target: Target, table: dict) -> bool:
        """Whether, when the table was read, the slot had not gone on from this job."""
        first = table.get(target.pid)
        return (first is not None and first.start == target.start) or self.keeper.holds(target.token)

    def _grow(self, table: dict, marks: dict, found: "dict[int, str]") -> bool:
        """Add children of what was found, and what shares its sessions and groups; True if there was
        something.
        """
        sessions, groups = self._made(table, found)
        before = len(found)
        for pid, process in table.items():
            if pid in found or self._never(pid):
                continue
            token = found.get(process.ppid)
            if token is not None and process.ppid not in self.slots and not marks[pid][1]:
                found[pid] = token
                continue
            token = sessions.get(process.sid) or groups.get(process.pgid)
            if token is not None and not self._foreign(marks[pid], token):
                found[pid] = token
        return len(found) > before

    def _made(self, table: dict, found: "dict[int, str]") -> "tuple[dict[int, str], dict[int, str]]":
        """Sessions and process groups that a job has made.

        They are led by one of its processes, or by one that has gone and was not there before the job.
        """
        sessions, groups = {}, {}
        for pid, token in found.items():
            process = table[pid]
            wrapper = table.get(self.targets[token].pid)
            known = wrapper is not None and wrapper.start == self.targets[token].start
            if self._is_made(process.sid, table, found, wrapper.sid if known else None):
                sessions.setdefault(process.sid, token)
            if self._is_made(process.pgid, table, found, wrapper.pgid if known else None):
                groups.setdefault(process.pgid, token)
        return sessions, groups

    def _is_made(self, leader: int, table: dict, found: dict, of_wrapper: "int | None") -> bool:
        if leader in found:
            return True
        if of_wrapper is None or leader in table or leader in self.slots:
            return False
        return leader != of_wrapper and leader > 1

    # --- ending ------------------------------------------------------------------------------------

    def _stop_all(self, number: int) -> "list[proc.Process]":
        """Stop what is there until two looks find nothing new; what is there then."""
        deadline = time.monotonic() + STORM
        quiet = 0
        while quiet < QUIET_LOOKS and time.monotonic() < deadline:
            new = self._new_ones()
            quiet = 0 if new else quiet + 1
            self._settled = self._table if quiet and self._all_stopped() else {}
            self._signal(new, number)
        self._settled = {}
        return [process for key, process in self.members.items() if key in self._seen and key not in self._refused]

    def _all_stopped(self) -> bool:
        """Whether no member can have forked since the last look."""
        return all(self.members[key].state == proc.STOPPED for key in self._seen)

    def _kill(self) -> None:
        self._stop_all(signals.SIGSTOP)
        others = [process for process in self._alive() if not self._is_wrapper(process)]
        self._signal(others, signals.SIGKILL)
        self._wait(others, AFTER_KILL)
        left = self._alive()
        self._signal([process for process in left if self._is_wrapper(process)], signals.SIGCONT)
        self._wait(left, LAST_LINES)
        left = self._alive()
        self._signal(left, signals.SIGKILL)
        self._wait(left, AFTER_KILL)

    def _target(self, process: proc.Process) -> Target:
        return self.targets[self.owner[process.pid, process.start]]

    def _is_first(self, process: proc.Process) -> bool:
        target = self._target(process)
        return (process.pid, process.start) == (target.pid, target.start)

    def _is_wrapper(self, process: proc.Process) -> bool:
        return self._target(process).wrapper and self._is_first(process)

    def _signal(self, processes: "list[proc.Process]", *numbers: int) -> None:
        """Wrappers last, so that each still sees how its processes end."""
        for process in sorted(processes, key=self._is_wrapper):
            error = proc.send(process, *numbers)
            if error:
                self._refused.add((process.pid, process.start))
                self._trouble(process, error)

    def _trouble(self, process: proc.Process, text: str) -> None:
        troubles = self.troubles[self.owner[process.pid, process.start]]
        if text not in troubles:
            troubles.append(text)

    def _alive(self) -> "list[proc.Process]":
        """The members that live and that we may signal."""
        found = (self._now(key) for key in self.members)
        return [process for process in found if process is not None]

    def _now(self, key: "tuple[int, str]") -> "proc.Process | None":
        """A member as it is now; None if it has gone (what is gone once does not come back) or is not to be
        had.
        """
        if key in self._gone or key in self._refused:
            return None
        now = proc.look(key[0])
        if now is not None and now.start == key[1] and now.state not in proc.DEAD_STATES:
            return now
        self._gone.add(key)
        return None

    def _wait(self, processes: "list[proc.Process]", seconds: float) -> None:
        """Until all of these have gone. Looks at one of them at a time: looking at thousands again and again
        would keep them from ending.
        """
        deadline = time.monotonic() + seconds
        left = [(process.pid, process.start) for process in processes]
        pause = SHORTEST_PAUSE
        while left:
            if self._now(left[-1]) is None:
                left.pop()
                pause = SHORTEST_PAUSE
                continue
            rest = deadline - time.monotonic()
            if rest <= 0:
                return
            self.progress()
            time.sleep(min(pause, rest))
            pause = min(pause * GROWTH, LONGEST_PAUSE)


def _is_left(process: proc.Process, target: Target) -> bool:
    """Whether what a slot has adopted comes from a job before this one."""
    if process.start.isdigit() and target.start.isdigit() and int(process.start) < int(target.start):
        return True
    for left in target.left:
        if left.token == target.token:
            continue
        if (process.pid, process.start) == (left.pid, left.start) or process.pgid == left.pgid:
            return True
        if process.sid == left.sid != target.slot:  # a slot leads its session
            return True
    return False


def read_table(without: "set[int]", known: "dict[int, proc.Process]") -> "dict[int, proc.Process]":
    """All processes that live, by number, but for some; of those that are known nothing new is read."""
    table = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in without:
            process = known.get(int(name)) or proc.look(int(name))
            if process is not None and process.state not in proc.DEAD_STATES:
                table[process.pid] = process
    return table
