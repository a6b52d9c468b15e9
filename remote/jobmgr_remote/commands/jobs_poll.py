"""jobs-poll: evidence about many jobs, at once or as soon as something has changed.

With ``wait`` the answer comes when anything differs from what the request says was seen, and holds the jobs
that changed, or nothing when the time is over; a caller that closes its side ends it at once. With ``stream``
it goes on after that: every change is told as it comes, and it ends with the time, with the caller, or when
all jobs have ended.
"""

import os
import time

from jobmgr_remote import evidence, fence, layout, listing, runners, session, status, wire
from jobmgr_remote.runners import background

FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.01, 0.5, 1.3
#: A pause is at least so many times as long as the look before it, so that many jobs cost no processor.
PAUSE_PER_LOOK = 8.0
#: How often processes, companions of the status files and the spool are looked at, in seconds.
SLOW_LOOK = 1.0
SLOW_PAUSE_PER_LOOK = 25.0
#: What changes within moments of the first change is told in the same answer: seconds per job watched, and at
#: most.
LINGER_PER_JOB, LINGER = 0.0005, 0.25
MAX_WAIT = 3600.0
#: As long as any token and submit time.
SOME_TOKEN, SOME_TIME = "-" * 36, "2000-01-01T00:00:00Z"
#: So long is a status file of which jobs-submit alone knows.
HEADER = len(status.header(SOME_TOKEN, runners.BACKGROUND, SOME_TIME))
#: Slots take jobs in their order: behind so many that still wait (and two for each slot) the others wait too.
AHEAD = 64
NOT_QUEUED = (wire.Q_ABSENT, wire.Q_ENDED, wire.Q_OTHER_JOB)


def run(request: wire.Request, reply: object, host: object) -> None:
    """Answers with one wire.Evidence per job (see above). Those whose item says ``brief``, and of which there is
    nothing to tell that the caller has not seen, are named together in a ``same`` line instead.

    Jobs of a run directory that is not there get no answer.
    """
    options = request.options
    if host.run_state != session.RUN_OK:
        return
    spool = background.tend(host, options) if options.get("tend", True) else background.spool_of(host)
    looker = evidence.Looker(host, spool)
    items = checked(request.items, reply)
    longest = host.conf.max_wait  # type: ignore[attr-defined]
    wait = min(float(options.get("wait") or 0), MAX_WAIT if longest is None else longest)
    if wait > 0:
        watch = Watch(looker, items, host, options, reply)
        if options.get("stream"):
            watch.stream(wait)
            return
        items = watch.until_change(wait)
        looker.forget()
    answer(looker, without_same(looker, items, reply), reply, host)


def checked(items: "list[dict]", reply: object) -> "list[dict]":
    """The items that make sense; a note about each other one."""
    good = []
    for item in items:
        try:
            good.append(session.check_item(item))
        except ValueError as error:
            reply.note("error", "item", str(error))
    return good


def without_same(looker: evidence.Looker, items: "list[dict]", reply: object) -> "list[dict]":
    """The items that need an answer of their own; the others have had theirs."""
    same, left = [], []
    for item in items:
        if item.get("brief") and looker.confirms(item):
            same.append(item["job"])
        else:
            left.append(item)
        reply.progress()
    reply.same(same)
    return left


def answer(
    looker: evidence.Looker, items: "list[dict]", reply: object, host: object
) -> "list[wire.Evidence]":
    """Look, revoke and list as the items ask, and reply. Returns what was told."""
    items = [with_revocation(item, reply, host) for item in items]
    told = {}  # type: dict[int, wire.Evidence]
    for position, one in looker.looks(items, reply.progress):
        reply.job(with_files(items[position], one, host))
        told[position] = one
    reply.flush()
    return [told[at] for at in range(len(items))]


def with_revocation(item: dict, reply: object, host: object) -> dict:
    """Revoke the token if the item asks for it, before the looks."""
    if item.get("revoke") and not host.stale:
        try:
            fence.revoke(host.run_dir, item["token"])
        except OSError as error:
            reply.note("warning", "revoke", "%s: %s" % (item["job"], session.os_error_text(error)))
    return item


def with_files(item: dict, one: wire.Evidence, host: object) -> wire.Evidence:
    """What there is to bring home, if the item asks for it and the job has ended or cannot be found.

    The logs of a job that left no exit record are the only trace of why.
    """
    gone = one.process in evidence.NOT_THERE or one.queue.state in NOT_QUEUED
    if not item.get("list_files") or not (gone or status.EXIT in one.file.facts):
        return one
    return one._replace(files=listing.of_job(host.run_dir, item))


class Watched(object):
    """One job of a watch: ``size`` is that of its main status file at the last look (-1: not there; None: no
    look yet), ``facts`` what the file said when it was last read, ``waits``: it was in the spool, and had not
    begun.
    """

    __slots__ = ("facts", "item", "path", "size", "waits")

    def __init__(self, item: dict, path: str) -> None:
        self.item = item
        self.path = path
        self.size = None  # type: int | None
        self.facts = None  # type: dict | None
        self.waits = False

    @property
    def seen(self) -> int:
        return self.item.get("seen_size") or 0

    def told(self, one: wire.Evidence) -> None:
        """The caller knows this by now."""
        self.facts = one.file.facts
        self.item = dict(
            self.item,
            seen_size=one.file.size,
            seen_messages=one.file.message_count,
            seen_process=one.process,
            find=False,
            revoke=False,
        )


class Watch(object):
    """Waits until something differs from what the caller has seen.

    Cheap for thousands of jobs: it compares sizes, and rests the longer the more there is to compare.
    """

    def __init__(
        self, looker: evidence.Looker, items: "list[dict]", host: object, options: dict, reply: object
    ) -> None:
        self.looker = looker
        self.host = host
        self.options = options
        self.reply = reply
        self.jobs = [
            Watched(item, host.path(layout.job_file(item["job"], layout.STATUS_FILE))) for item in items
        ]
        self._slowest = host.conf.min_polling_interval  # type: ignore[attr-defined]
        self._pause = max(self._slowest, FIRST_PAUSE)
        self._slow_at = 0.0
        #: Whether what jobs-submit itself has written is news.
        self._header_is_seen = False
        self._ahead = max(AHEAD, 2 * looker.spool.max_active())

    def until_change(self, seconds: float) -> "list[dict]":
        """The items that changed; [] if the time is over or the caller has gone."""
        return [job.item for job in self._changes(time.monotonic() + seconds, at_once=True)]

    def stream(self, seconds: float) -> None:
        """Tell every change as it comes, until the time is over, the caller has gone, or all jobs have ended.

        What was told is remembered, so each change is told once; a job that has ended is watched no longer.
        """
        deadline = time.monotonic() + seconds
        self._header_is_seen = True
        changed = self._changes(deadline, at_once=True)
        while changed:
            self.looker.forget()
            found = answer(self.looker, [job.item for job in changed], self.reply, self.host)
            for job, one in zip(changed, found):
                job.told(one)
            self.jobs = [job for job in self.jobs if not (job.facts and status.EXIT in job.facts)]
            changed = self._changes(deadline, at_once=False) if self.jobs and not self.reply.closed else []

    def _changes(self, deadline: float, at_once: bool) -> "list[Watched]":
        self._pause = max(self._slowest, FIRST_PAUSE)
        changed = self._timed_look(slow=True) if at_once else set()
        while not changed:
            now = time.monotonic()
            rest = min(self._pause, deadline - now)
            if now >= deadline or self.host.stdin_ended(rest) or rest < self._slowest:
                return []
            self.reply.progress()
            changed = self._timed_look(slow=time.monotonic() >= self._slow_at)
        if self._slowest <= LINGER:
            self._linger(changed)
        return [self.jobs[at] for at in sorted(changed)]

    def _linger(self, changed: "set[int]") -> None:
        """Add what changes within moments; at most until there is nothing left that could."""
        until = time.monotonic() + min(LINGER, LINGER_PER_JOB * len(self.jobs))
        pause = max(self._slowest, FIRST_PAUSE)
        while len(changed) < len(self.jobs):
            began = time.monotonic()
            if began >= until:
                return
            time.sleep(min(pause, until - began))
            began = time.monotonic()
            changed |= self._look(slow=False)
            pause = max(pause, SLOW_PAUSE_PER_LOOK * (time.monotonic() - began))

    def _timed_look(self, slow: bool) -> "set[int]":
        """A look that sets how long to rest after it."""
        began = time.monotonic()
        changed = self._look(slow)
        ended = time.monotonic()
        if slow:
            self._slow_at = ended + max(SLOW_LOOK, SLOW_PAUSE_PER_LOOK * (ended - began))
        rest = 0.0 if slow else PAUSE_PER_LOOK * (ended - began)
        self._pause = max(self._slowest, rest, min(self._pause * GROWTH, LAST_PAUSE))
        return changed

    def _look(self, slow: bool) -> "set[int]":
        changed = self._quick_look()
        if slow:
            if self.options.get("tend", True):
                background.tend(self.host, self.options)
            self.looker.forget()
            changed.update(at for at, job in enumerate(self.jobs) if at not in changed and self._differs(job))
        return changed

    def _quick_look(self) -> "set[int]":
        """Who has another size, but for those that wait behind many that wait: they are left to the slow look."""
        changed = set()
        waiting = 0
        for at, job in enumerate(self.jobs):
            if job.waits and waiting >= self._ahead:
                continue
            if self._size_differs(job):
                changed.add(at)
                waiting, job.waits = 0, False
            elif job.waits:
                waiting += 1
        return changed

    def _size_differs(self, job: Watched) -> bool:
        """Whether the main status file has another size than at the last look, which the caller does not know.
        """
        known = job.size
        if known is None:
            return False
        try:
            size = os.stat(job.path).st_size
        except OSError:
            size = -1
        if size == known:
            return False
        if self.looker.status_size(job.item) != job.seen:
            return True
        job.size = size  # told already: it grew between a look and the answer
        return False

    def _differs(self, job: Watched) -> bool:
        """The full look, without the queue; from the second time on the file is parsed only if something
        points at it.
        """
        item = job.item
        job.size = _size(job.path)
        job.waits = self._is_untouched(job)
        if job.waits:
            return False
        facts = job.facts
        if facts is None and job.size > 0 and not job.seen and self._header_is_seen:
            return True  # it is read for the answer; should that fail, it is told once
        if facts is not None and self.looker.status_size(item) == job.seen:
            if status.EXIT in facts or evidence.runner_shares_status(
                item.get("runner") or runners.BACKGROUND
            ):
                return False
            if self.looker.process(item, facts, fence.NO_CLAIM) not in evidence.NOT_THERE:
                return False
        one = self.looker.first_look(item)
        job.facts = one.file.facts
        if one.file.size != job.seen:
            return True
        if status.EXIT in one.file.facts:
            return False
        return one.process in evidence.NOT_THERE and one.process != item.get("seen_process")

    def _is_untouched(self, job: Watched) -> bool:
        """Whether the job is in the spool and nothing but jobs-submit has written into its file."""
        runner = job.item.get("runner") or runners.BACKGROUND
        if not self._header_is_seen or job.seen or runner != runners.BACKGROUND:
            return False
        if job.size != HEADER:
            return False
        return self.looker.spool_state(job.item["token"]) != wire.S_NONE


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
