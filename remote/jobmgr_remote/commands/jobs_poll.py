"""jobs-poll: evidence about many jobs, at once or as soon as something has changed.

With ``wait`` the answer comes when anything differs from what the request says was seen, and holds the jobs
that changed, or nothing when the time is over; a caller that closes its side ends it at once.
"""

import os
import time

from jobmgr_remote import evidence, fence, layout, listing, runners, session, status, wire
from jobmgr_remote.runners import background

FIRST_PAUSE, LAST_PAUSE, GROWTH = 0.01, 0.5, 1.3
#: Seconds of pause that each watched job adds to the shortest one, so that many jobs cost no processor.
PAUSE_PER_JOB = 0.00001
#: How often processes, companions of the status files and the spool are looked at, in seconds.
SLOW_LOOK = 1.0
#: What changes within moments of the first change is told in the same answer: seconds per job watched, and at
#: most.
LINGER_PER_JOB, LINGER = 0.001, 0.25
MAX_WAIT = 3600.0
NOT_QUEUED = (wire.Q_ABSENT, wire.Q_ENDED, wire.Q_OTHER_JOB)


def run(request: wire.Request, reply: object, host: object) -> None:
    """Answers with one wire.Evidence per job (see above).

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
        items = Watch(looker, items, host, options, reply).until_change(wait)
        looker.forget()
    answer(looker, items, reply, host)


def checked(items: "list[dict]", reply: object) -> "list[dict]":
    """The items that make sense; a note about each other one."""
    good = []
    for item in items:
        try:
            good.append(session.check_item(item))
        except ValueError as error:
            reply.note("error", "item", str(error))
    return good


def answer(looker: evidence.Looker, items: "list[dict]", reply: object, host: object) -> None:
    """Look, revoke and list as the items ask, and reply."""
    items = [with_revocation(item, reply, host) for item in items]
    found = looker.look(items, reply.progress)
    for item, one in zip(items, found):
        reply.job(with_files(item, one, host))


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


class Watch(object):
    """Waits until something differs from what the caller has seen.

    Cheap for thousands of jobs: it compares sizes.
    """

    def __init__(
        self, looker: evidence.Looker, items: "list[dict]", host: object, options: dict, reply: object
    ) -> None:
        self.looker = looker
        self.items = items
        self.host = host
        self.options = options
        self.reply = reply
        self.paths = [host.path(layout.job_file(item["job"], layout.STATUS_FILE)) for item in items]
        self.sizes = [None] * len(items)  # type: list[int | None]
        self.facts = [None] * len(items)  # type: list[dict | None]
        self._slow_at = 0.0

    def until_change(self, seconds: float) -> "list[dict]":
        """The items that changed; [] if the time is over or the caller has gone."""
        now = time.monotonic()
        deadline = now + seconds
        slowest = self.host.conf.min_polling_interval  # type: ignore[attr-defined]
        pause = max(slowest, FIRST_PAUSE + PAUSE_PER_JOB * len(self.items))
        changed = self._look(slow=True)
        while not changed:
            now = time.monotonic()
            if now >= deadline or self.host.stdin_ended(min(pause, deadline - now)):
                return []
            self.reply.progress()
            pause = max(slowest, min(pause * GROWTH, LAST_PAUSE))
            changed = self._look(slow=time.monotonic() >= self._slow_at)
        if len(self.items) > len(changed):
            time.sleep(min(LINGER, LINGER_PER_JOB * len(self.items)))
            changed = changed | self._look(slow=False)
        return [self.items[at] for at in sorted(changed)]

    def _look(self, slow: bool) -> "set[int]":
        changed = {at for at in range(len(self.items)) if self._size_differs(at)}
        if slow:
            self._slow_at = time.monotonic() + SLOW_LOOK
            if self.options.get("tend", True):
                background.tend(self.host, self.options)
            self.looker.forget()
            changed.update(at for at in range(len(self.items)) if at not in changed and self._differs(at))
        return changed

    def _size_differs(self, at: int) -> bool:
        """Whether the main status file has another size than at the last full look (or than the caller has
        seen).
        """
        known = self.sizes[at]
        if known is None:
            return False
        try:
            return os.stat(self.paths[at]).st_size != known
        except OSError:
            return known != -1

    def _differs(self, at: int) -> bool:
        """The full look, without the queue; from the second time on the file is parsed only if something
        points at it.
        """
        item = self.items[at]
        self.sizes[at] = _size(self.paths[at])
        facts = self.facts[at]
        if facts is not None and self.looker.status_size(item) == (item.get("seen_size") or 0):
            if status.EXIT in facts or evidence.runner_shares_status(
                item.get("runner") or runners.BACKGROUND
            ):
                return False
            if self.looker.process(item, facts, fence.NO_CLAIM) not in evidence.NOT_THERE:
                return False
        one = self.looker.first_look(item)
        self.facts[at] = one.file.facts
        if one.file.size != (item.get("seen_size") or 0):
            return True
        if status.EXIT in one.file.facts:
            return False
        return one.process in evidence.NOT_THERE and one.process != item.get("seen_process")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return -1
