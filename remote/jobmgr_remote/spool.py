"""The queue of background jobs of one user on one machine, and the slots that work it off.

``~/.jobmgr/spool/HOSTNAME/INSTANCE/`` belongs to one life of the machine, so that nothing queued before a
reboot ever runs::

    queue/ENTRY               a job that waits: run directory, job, token, login file or "", supervision, one per line
    taken/ENTRY               the slot that has it: PID START; created exclusively, so one slot wins
    slots/NUMBER              a slot: PID START
    slots/NUMBER.PID.last     end of that slot. Empty: it has closed its door; else: it must look once more
    slots/NUMBER.PID.retire   that slot shall end after its job
    slots/NUMBER.PID.orphans  what its earlier jobs have left to that slot: PID START PGID SID TOKEN
    max_active                how many jobs may run at once
    lock                      held while slots are counted and started
    kill                      lock, held while slots are stopped (takeover.py)

ENTRY is ``TIME-INDEX-TOKEN``, so names sort by the order of submission. A slot is ``slot.py``; it has its entry
until all is recorded about that job. No wake-up is lost: a slot that finds the queue empty creates its ``.last``
exclusively before it ends, and who has queued a job creates the same file for each live slot; whoever comes
second knows of the other. That a job runs once is not decided here but by its claim.
"""

import os
import sys
import time

from jobmgr_remote import fence, layout, proc, wire
from jobmgr_remote.lock import Held, Lock
from jobmgr_remote.native import signals
from jobmgr_remote.records import namedtuple
from jobmgr_remote.session import read_small, write_all, write_beside

#: A job for the queue. ``login`` is a file of ``export`` lines, or ""; ``supervision`` is BY_SLOT where the slot itself
#: looks after the job, "" where a wrapper does.
Queued = namedtuple("Queued", "run_dir job token login supervision")


class Slot(namedtuple("Slot", "number pid start ending stopped")):
    """A registered slot. ``ending``: it has closed its door. ``stopped``: it was, when it was looked at."""

    __slots__ = ()

    @property
    def name(self) -> str:
        """What stands in an entry that it has taken."""
        return "%d %s" % (self.pid, self.start)

    def send(self, *numbers: int) -> None:
        """Send signals to it, if it lives."""
        proc.send(proc.Process(self.pid, 0, 0, 0, self.start, "", 0), *numbers)


#: A process that an earlier job has left to a slot; ``token`` is that job's.
Left = namedtuple("Left", "pid start pgid sid token")
#: What is in the spool: entry name -> "PID START" of its slot, "" if nobody has taken it.
#: ``by_token``: token -> entry name.
Content = namedtuple("Content", "entries by_token")

BY_SLOT = "by-slot"
TOKEN_LENGTH = 36
#: An entry whose taker cannot be told counts as abandoned after so many seconds.
NAMELESS = 10.0
#: Spools of earlier instances are removed after so many seconds.
OLD_INSTANCE = 30 * 86400.0
#: What the Python of a slot may need to start at all; its jobs do not get it.
NEEDED_VARIABLES = ("LD_LIBRARY_PATH",)
KEPT_VARIABLES = ("HOME", "PATH", "USER", "LOGNAME", "LANG", "SHELL", "TMPDIR")

#: Seconds between two looks for what is about to be there.
PAUSE = 0.002
#: The signal by which a slot is told to look at the kill mark of its job (a real-time signal: nothing else uses it, and
#: none is lost).
TELL = 40

_children = []  # type: list[int]


class Spool(object):
    """The spool of this machine's present life."""

    def __init__(self, home: str, hostname: str, instance: str) -> None:
        self._lie_in(
            "/".join((home, layout.HOST_SPOOL, hostname, instance.replace(":", ".").replace("/", "_")))
        )

    @classmethod
    def at(cls, folder: str) -> "Spool":
        """The spool in this folder."""
        made = cls.__new__(cls)
        made._lie_in(folder)
        return made

    def _lie_in(self, folder: str) -> None:
        self.folder = folder
        self.host_folder = os.path.dirname(folder)
        self.queue = self.folder + "/queue"
        self.taken = self.folder + "/taken"
        self.slots = self.folder + "/slots"

    def make(self) -> None:
        """Create what is missing."""
        for path in (self.queue, self.taken, self.slots):
            fence.make_folders(path)

    def exists(self) -> bool:
        return os.path.isdir(self.slots)

    def lock(self, timeout: float) -> Lock:
        return Lock(self.folder + "/lock", timeout)

    # --- the queue ---------------------------------------------------------------------------------

    def content(self) -> Content:
        """All entries, taken or not. Looks at ``taken`` first, so that an entry in motion is not missed."""
        taken = dict.fromkeys(_names(self.taken))
        entries = {}
        for name in _names(self.queue):
            entries[name] = self._taker(name) if name in taken else ""
        for name in taken:
            if name not in entries:  # being swept, or taken in vain
                entries[name] = self._taker(name)
        return Content(entries, {name[-TOKEN_LENGTH:]: name for name in entries})

    def _taker(self, name: str) -> str:
        return read_small(self.taken + "/" + name, 200).strip() or "?"

    def enqueue(self, jobs: "list[Queued]") -> "dict[str, OSError]":
        """Put jobs at the end of the queue, in this order. Returns what could not be queued, by token."""
        self.make()
        now = self._next_time()
        failed = {}
        for index, job in enumerate(jobs):
            name = "%020d-%06d-%s" % (now, index, job.token)
            try:
                self._put(name, job)
            except OSError as error:
                failed[job.token] = error
        return failed

    def _next_time(self) -> int:
        """The time for new names: now, and later than all that is queued, also after the clock was set back.

        Slots take entries in the order of their names, and look for those that wait at the end.
        """
        names = _names(self.queue)
        last = names[-1].partition("-")[0] if names else ""
        return max(int(time.time() * 1e9), int(last) + 1 if last.isdigit() else 0)

    def _put(self, name: str, job: Queued) -> None:
        hidden = self.queue + "/." + name
        fd = os.open(hidden, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            try:
                write_all(fd, ("\n".join(job) + "\n").encode("utf-8", "surrogateescape"))
            finally:
                os.close(fd)
            os.rename(hidden, self.queue + "/" + name)
        except OSError:
            unlink(hidden)
            raise

    def read_entry(self, name: str) -> "Queued | None":
        """What an entry says; None if it is gone or makes no sense."""
        lines = read_small(self.queue + "/" + name, 16384).split("\n")
        if len(lines) < 4:
            return None
        return Queued(*lines[:4], supervision=lines[4] if len(lines) > 4 else "")

    def jobs(self) -> "list[Queued]":
        """The jobs that wait or run, or have ended moments ago."""
        return [job for job in map(self.read_entry, self.content().entries) if job is not None]

    def withdraw(self, tokens: "list[str]") -> None:
        """Take entries that nobody has taken out of the queue (their tokens are revoked, so it is only
        tidiness).
        """
        if not tokens:
            return
        content = self.content()
        for token in tokens:
            name = content.by_token.get(token)
            if name is not None and not content.entries[name]:
                unlink(self.queue + "/" + name)

    def release(self, tokens: "list[str]") -> "Keeper":
        """Let the slots of these jobs end with the job that they have, as far as no other job waits for them: each
        of a thousand slots would look through the whole queue for work. Returns who looks after which job now.
        """
        try:
            with self.lock(0.0):
                content, slots = self._content_and_slots()
                mine = (content.entries[content.by_token[token]] for token in tokens if token in content.by_token)
                held = [taker for taker in dict.fromkeys(mine) if taker in slots]
                waiting = sum(1 for taker in content.entries.values() if not taker)
                for taker in held[waiting:]:
                    fence.create_directly(self.mark(slots[taker].number, slots[taker].pid, "retire"), "")
        except (Held, OSError):  # they find out by themselves
            return self.keeper()
        return Keeper(self, content, slots, held[waiting:])

    def keeper(self) -> "Keeper":
        """Who looks after which job now."""
        return Keeper(self, *self._content_and_slots())

    def _content_and_slots(self) -> "tuple[Content, dict[str, Slot]]":
        return self.content(), {slot.name: slot for slot in self.live_slots()}

    def remove(self, name: str) -> None:
        """Take an entry that is through out of the spool."""
        # The queue's side goes first: an entry that is taken but not queued is run by nobody.
        unlink(self.queue + "/" + name)
        unlink(self.taken + "/" + name)

    def leave(self, name: str, slot: Slot) -> bool:
        """All is recorded about the job of this entry: it leaves the spool, and its slot, which is to retire, closes
        its door, as it would itself. False if there is more to do for that slot, or this could not be done.
        """
        door = self.mark(slot.number, slot.pid, "last")
        try:
            self.remove(name)
            if fence.create_directly(door, ""):
                return True
            unlink(door)  # it was told of work; others have done it, if it is still to retire
            return os.path.exists(self.mark(slot.number, slot.pid, "retire")) and fence.create_directly(door, "")
        except OSError:
            return False

    # --- slots -------------------------------------------------------------------------------------

    def kill_lock(self) -> Lock:
        """Held by who has stopped slots."""
        return Lock(self.folder + "/kill", 0.0)

    def live_slots(self) -> "list[Slot]":
        """The slots that live, in the order of their numbers."""
        found = []
        for name in _names(self.slots):
            if name.isdigit():
                words = read_small(self.slots + "/" + name, 200).split()[:2]
                state = live(" ".join(words))
                if state:
                    pid = int(words[0])
                    closed = self._has_closed(int(name), pid)
                    found.append(Slot(int(name), pid, words[1], closed, state == proc.STOPPED))
        return sorted(found)

    def unregister(self, slots: "list[Slot]") -> None:
        """Slots that were ended. Their numbers may be others' by now; what cannot be done a later call does."""
        try:
            with self.lock(0.0):  # a new slot registers while that is held
                for slot in slots:
                    path = "%s/%d" % (self.slots, slot.number)
                    if read_small(path, 200).strip() == slot.name:
                        unlink(path)
        except OSError:
            pass

    def mark(self, number: int, pid: int, kind: str) -> str:
        return "%s/%d.%d.%s" % (self.slots, number, pid, kind)

    def _has_closed(self, number: int, pid: int) -> bool:
        try:
            return os.stat(self.mark(number, pid, "last")).st_size == 0
        except OSError:
            return False

    def orphans(self, slots: "list[Slot]") -> "list[Left]":
        """Processes that earlier jobs have left to these slots."""
        found = []
        there = set(_names(self.slots))
        for slot in slots:
            path = self.mark(slot.number, slot.pid, "orphans")
            if os.path.basename(path) not in there:  # as of nearly all
                continue
            for row in read_small(path, 1 << 20).splitlines():
                words = row.split()
                if len(words) == 5 and words[0].isdigit() and words[2].isdigit() and words[3].isdigit():
                    found.append(Left(int(words[0]), words[1], int(words[2]), int(words[3]), words[4]))
        return found

    def set_max_active(self, number: "int | None") -> None:
        """Record how many jobs may run at once; None: as many as is usual here."""
        wanted = str(number or default_max_active()) + "\n"
        path = self.folder + "/max_active"
        if read_small(path, 100) != wanted:
            write_beside(path, wanted)

    def max_active(self) -> int:
        text = read_small(self.folder + "/max_active", 100).strip()
        return int(text) if text.isdigit() and int(text) > 0 else default_max_active()

    def tend(self, bash: str, timeout: float = 0.0) -> int:
        """Put back what dead slots had taken, wake and start slots as far as there is work. Returns how many
        were started.

        Somebody else being at it (the lock is held for longer than ``timeout``) is as good as done: 0.
        """
        _reap()
        if not self.exists() or self._is_in_order():
            return 0
        try:
            with self.lock(timeout) as lock:
                return self._tend(bash, lock)
        except Held:
            return 0

    def _is_in_order(self) -> bool:
        """Whether nothing waits and each slot is at work: so it is for most calls."""
        taken = _names(self.taken)
        if set(_names(self.queue)).difference(taken) or sum(map(str.isdigit, _names(self.slots))) > len(taken):
            return False
        return all(live(self._taker(name)) not in ("", proc.STOPPED) for name in taken)

    def _tend(self, bash: str, lock: Lock) -> int:
        slots = self.live_slots()
        self._let_go_on([slot for slot in slots if slot.stopped])
        busy = self._clear_dead(slots)
        self._tidy_slot_files(slots)
        queued = self.content().entries
        waiting = [name for name in sorted(queued) if not queued[name]]
        allowed = self.max_active()
        # First whether it shall go on, then that there is work: a slot that hears of work looks whether it shall go on.
        candidates = [slot for slot in slots if not slot.ending]
        self._mark_surplus(candidates, busy, allowed)
        awake = [slot for slot in candidates if not waiting or self._poke(slot)]
        missing = min(allowed - len(awake) - busy, len(waiting))
        if missing <= 0:
            return 0
        taken_numbers = {slot.number for slot in awake}
        free = (number for number in range(1, allowed + len(awake) + 1) if number not in taken_numbers)
        rows = ["%d %s\n" % (next(free), entry) for entry in waiting[:missing]]
        self._start_slots(rows, bash, lock)
        return missing

    def _let_go_on(self, stopped: "list[Slot]") -> None:
        """Slots that nobody has stopped who is still at it."""
        if stopped:
            try:
                with self.kill_lock():
                    for slot in stopped:
                        slot.send(signals.SIGCONT)
            except Held:
                pass

    def _clear_dead(self, slots: "list[Slot]") -> int:
        """Deal with what dead slots had taken; returns how many of their jobs still run."""
        living = {slot.name for slot in slots}
        busy = 0
        for name in _names(self.taken):
            taker = self._taker(name)
            if taker in living or (taker == "?" and _age(self.taken + "/" + name) < NAMELESS):
                continue
            busy += self._clear_entry(name)
        return busy

    def _clear_entry(self, name: str) -> int:
        entry = self.read_entry(name)
        claim = fence.read_claim(entry.run_dir, entry.token) if entry else fence.NO_CLAIM
        if entry and claim.state == wire.C_NONE:
            self._put_back(name)
            return 0
        if (
            entry
            and claim.state == wire.C_STARTED
            and proc.is_job_process(claim.pid, claim.start, entry.token)
        ):
            return 1
        self.remove(name)
        return 0

    def _put_back(self, name: str) -> None:
        """Queue an entry anew that a dead slot had taken and not begun, behind all others."""
        behind = "%020d%s" % (self._next_time(), name[20:])
        try:
            os.rename(self.queue + "/" + name, self.queue + "/" + behind)
        except FileNotFoundError:
            pass
        unlink(self.taken + "/" + name)

    def _tidy_slot_files(self, slots: "list[Slot]") -> None:
        numbers = {str(slot.number) for slot in slots}
        pids = {str(slot.pid) for slot in slots}
        for name in _names(self.slots):
            parts = name.split(".")
            keep = parts[0] in numbers if len(parts) == 1 else parts[1] in pids or _exists(parts[1])
            if not keep:
                unlink(self.slots + "/" + name)

    def _poke(self, slot: Slot) -> bool:
        """Tell a live slot to look once more before it ends; False if it has closed its door already."""
        path = self.mark(slot.number, slot.pid, "last")
        temporary = self.folder + "/.poke.%d" % os.getpid()
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.write(fd, b"more\n")
            os.link(temporary, path)
            return True
        except FileExistsError:
            return not self._has_closed(slot.number, slot.pid)
        except OSError:  # no hard links here: at worst there is one slot too many for a moment
            return fence.create_directly(path, "more\n") or not self._has_closed(slot.number, slot.pid)
        finally:
            os.close(fd)
            unlink(temporary)

    def _mark_surplus(self, awake: "list[Slot]", busy: int, allowed: int) -> None:
        keep = max(0, allowed - busy)
        for position, slot in enumerate(awake):
            path = self.mark(slot.number, slot.pid, "retire")
            if position >= keep:
                fence.create_directly(path, "")
            elif os.path.exists(path):
                unlink(path)

    def _start_slots(self, rows: "list[str]", bash: str, lock: Lock) -> None:
        """Start a program that becomes these slots: ``NUMBER ENTRY``, each begins with its entry if nobody is faster.

        They are registered before the lock can be free again: it passes to that program.
        """
        get, put = os.pipe()
        argv = slot_command() + [self.folder, bash, str(lock.fileno())]
        pid = os.fork()
        if pid == 0:
            try:
                _become(argv, get, lock.fileno())
            finally:
                os._exit(127)
        started(pid)
        os.close(get)
        try:
            write_all(put, "".join(rows).encode())
        except BrokenPipeError:  # it could not start; a later call tries again
            pass
        finally:
            os.close(put)

    def remove_old_instances(self) -> None:
        """Delete spools of lives of this machine that ended long ago."""
        for name in _names(self.host_folder):
            path = self.host_folder + "/" + name
            if path != self.folder and os.path.isdir(path) and _age(path + "/slots") > OLD_INSTANCE:
                import shutil

                shutil.rmtree(path, ignore_errors=True)


def default_max_active() -> int:
    """Twice the number of processors that this process may use."""
    return 2 * max(1, len(os.sched_getaffinity(0)))


def slot_environment() -> "dict[str, str]":
    """What a slot starts with: the user's login, and nothing of the call that happened to start it."""
    needed = {name: os.environ[name] for name in NEEDED_VARIABLES if name in os.environ}
    return dict(job_environment(), **needed, **{proc.SERVICE_VARIABLE: "slot"})


def job_environment() -> "dict[str, str]":
    """What of a slot's environment its jobs get."""
    kept = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ}
    kept.setdefault("PATH", "/usr/local/bin:/usr/bin:/bin")
    return kept


def live(taker: str) -> str:
    """The state of the slot ``PID START`` that has taken an entry; "" if it does not live."""
    words = taker.split()
    state = proc.state_of(int(words[0]), words[1]) if len(words) == 2 and words[0].isdigit() else ""
    return "" if state in proc.DEAD_STATES else state


class Keeper(object):
    """The slots that look after jobs: what ``ending.py`` has to know of them, and to tell them.

    ``retiring``: the names of slots that have nothing to do after their present job.
    """

    def __init__(
        self, spool: Spool, content: Content, slots: "dict[str, Slot]", retiring: "list[str] | tuple[()]" = ()
    ) -> None:
        self.slots = list(slots.values())
        self._spool = spool
        self._jobs = {}  # type: dict[str, Queued | None]
        self._retiring = frozenset(retiring)
        self._slots = {
            token: (name, slots[content.entries[name]])
            for token, name in content.by_token.items()
            if content.entries[name] in slots
        }

    def slot(self, token: str) -> "Slot | None":
        """The slot that has the job."""
        return self._slots[token][1] if token in self._slots else None

    def entry(self, token: str) -> str:
        """The name of the entry of a job that has a slot."""
        return self._slots[token][0]

    def job(self, token: str) -> "Queued | None":
        """What that entry says; None if the job has no slot, or the entry makes no sense."""
        if token not in self._jobs:
            self._jobs[token] = self._spool.read_entry(self.entry(token)) if token in self._slots else None
        return self._jobs[token]

    def retires(self, token: str) -> bool:
        """Whether the job's slot has nothing to do after it."""
        return token in self._slots and self._slots[token][1].name in self._retiring

    def holds(self, token: str) -> bool:
        """Whether that slot still has it: not all is recorded that there is to record."""
        if token not in self._slots:
            return False
        name, slot = self._slots[token]
        return os.path.exists(self._spool.taken + "/" + name) and proc.is_alive(slot.pid, slot.start)

    def await_records(self, tokens: "list[str]", seconds: float) -> None:
        """Wait until all is recorded about these jobs, or so long."""
        deadline = time.monotonic() + seconds
        for token in tokens:
            while self.holds(token) and time.monotonic() < deadline:
                time.sleep(PAUSE)

    def tell(self, token: str) -> None:
        """Tell the slot that its job is being killed."""
        slot = self.slot(token)
        if slot is not None:
            slot.send(TELL)


def slot_command() -> "list[str]":
    """How slots are started: this same code, by this same Python."""
    package = os.path.dirname(os.path.abspath(__file__))
    archive = os.path.dirname(package)
    return [sys.executable, "-I", "-S", archive if os.path.isfile(archive) else package, "slot"]


def _become(argv: "list[str]", stdin: int, lock: int) -> None:
    """Turn this process into another program, in a session of its own and with nothing of ours but the lock."""
    _set_apart(stdin)
    os.umask(0o077)
    default_signals()
    _for_each_descriptor(lambda fd: os.set_inheritable(fd, fd == lock))
    os.execve(argv[0], argv, slot_environment())


def detach(kept: int) -> None:
    """Make this process, a child just forked, independent of the call, with nothing of it but one descriptor."""
    _set_apart()
    _for_each_descriptor(lambda fd: None if fd == kept else os.close(fd))


def _set_apart(stdin: int = -1) -> None:
    """A session of its own, cwd /, and /dev/null to read from (but for ``stdin``) and to write to."""
    os.setsid()
    os.chdir("/")
    null = os.open(os.devnull, os.O_RDWR)
    for number, fd in enumerate((null if stdin < 0 else stdin, null, null)):
        os.dup2(fd, number)


def _for_each_descriptor(act: object) -> None:
    """Do something with every open descriptor but the standard ones."""
    for text in os.listdir("/proc/self/fd"):
        if int(text) > 2:
            try:
                act(int(text))
            except OSError:  # the listing's own
                pass


def started(pid: int) -> None:
    """A child that is waited for whenever there is an occasion."""
    _children.append(pid)


def catchable() -> "list[int]":
    """The ordinary signals that a process may handle."""
    return [number for number in range(1, 32) if number not in (signals.SIGKILL, signals.SIGSTOP)]


def default_signals() -> None:
    """Give every signal its default action, and block none."""
    for number in catchable():
        signals.signal(number, signals.SIG_DFL)
    signals.pthread_sigmask(signals.SIG_SETMASK, [])


def _reap() -> None:
    for pid in list(_children):
        try:
            done, _ = os.waitpid(pid, os.WNOHANG)
        except ChildProcessError:
            done = pid
        if done:
            _children.remove(pid)


def _names(folder: str) -> "list[str]":
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _age(path: str) -> float:
    try:
        return time.time() - os.stat(path).st_mtime
    except OSError:
        return 0.0


def _exists(pid: str) -> bool:
    found = proc.look(int(pid)) if pid.isdigit() else None
    return found is not None and found.state not in proc.DEAD_STATES


def unlink(path: str) -> None:
    """Remove a file that may be gone already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
