"""The engine: runs host work in threads, draws conclusions in one, and keeps the plan of each cycle.

Hosts are worked at in parallel, each kind of work once per host at a time, so that a slow or dead host delays
nobody. All that a worker learns comes back through one inbox; decisions and their transactions are made by
the thread that calls :meth:`Engine.step`, a batch at a time. ``tick``, ``play``, ``submit``, ``poll`` and
``wait`` are different ways to turn it.
"""

from __future__ import annotations

import contextlib
import queue
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any, TypeVar

from msgspec import Struct, field
from msgspec.structs import astuple, replace

from jobmgr.core.plan import Plan
from jobmgr.core.retry import Ended, Policy, after_final
from jobmgr.core.schedule import Full, after_send
from jobmgr.core.states import ACTIVE, State
from jobmgr.errors import JobmgrError, RefusedError, TransportError
from jobmgr.platforms.model import Platform
from jobmgr.service import activity, kill, poll, retrieve, submit
from jobmgr.service.context import M_FULL, RunContext
from jobmgr.service.reach import blocked, needs_person, note_trouble
from jobmgr.service.remote_init import has_own_inputs
from jobmgr.service.report import planned
from jobmgr.service.workers import Workers
from jobmgr.store.records import Change, InstanceChange, Job, Place, by_place
from jobmgr.transport.base import Hold
from jobmgr_remote import wire

WORKERS = 64
WATCH = 300.0
"""Seconds that a long poll may last before it is asked anew."""
BATCH = 5000
"""At most so many jobs travel in one request, which the host has in its memory; the requests about more than these
follow one another in the same call.
"""
FIRST_BATCH, GROWTH = 250, 4
"""So many are submitted first, so that the host has something to run while the next requests, each so many times as
long, are put together.
"""
QUEUE_AGAIN = 15.0
"""Seconds until somebody who had to wait is looked at again, if nothing has changed before."""
WATCHES = 3
"""Long polls per host at a time; jobs that are new there get one of their own, until there are so many."""
RETRIEVE_PAUSE = 1.0
"""Seconds between two rsyncs from a host on which jobs still end, so that they come home many at a time."""
KILLS_EVERY = 10.0
"""Seconds between looks for kills of which their hosts have not heard."""
LEAVE = 20.0
"""Seconds that workers get to come to an end when something has gone wrong; each would come to its own, in minutes."""
LEAVE_AT_ONCE = 3.0
"""The same, when a person waits who has typed Ctrl-C."""

FULL = "the queue is full, waiting for room"
"""Why tasks have to wait that a platform's queue takes no more of."""

_WATCHABLE = (State.SUBMITTED, State.RUNNING)

Key = tuple[str, str]


class Totals(Struct):
    """What a turn has done, for the result of ``tick`` and ``poll``."""

    polled: int = 0
    changed: int = 0
    submitted: int = 0
    retrieved: retrieve.Outcome = field(default_factory=retrieve.Outcome)
    unreachable: dict[str, str] = field(default_factory=dict)
    person: dict[str, str] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def trouble(self, host: str, error: JobmgrError) -> None:
        """A host could not be asked, or refuses."""
        if isinstance(error, RefusedError):
            self.refused[host] = str(error)
        else:
            (self.person if needs_person(error) else self.unreachable)[host] = str(error)


class _Asked(Struct):
    """A poll that is under way: the jobs that it asks about, as the answers so far have left them.

    ``told``: IDs of those that the host has told of. ``host_doubt``: why it can tell nothing of any.
    """

    platform: Platform
    host: str
    jobs: dict[str, Job]
    told: set[str] = field(default_factory=set)
    host_doubt: str = ""

    @property
    def place(self) -> Place:
        return self.platform.name, self.host


class _Watch(_Asked, kw_only=True):
    """A long poll, and what keeps its stdin open."""

    hold: Hold


class _Work(Struct):
    """What a worker is at. ``ended``: it is through, and what it brought is in the inbox, or was taken."""

    ended: bool = False


class _Done(Struct, frozen=True):
    """A worker has finished: what it was, what it brought (or the exception that ended it)."""

    key: tuple[str, ...]
    finish: Callable[[Any], None]
    value: Any
    error: BaseException | None


class _News(Struct, frozen=True):
    """Evidence that a poll brought while it goes on."""

    key: tuple[str, ...]
    told: tuple[tuple[wire.Hello, wire.Evidence], ...]


class Engine:
    """The work on one run. Use as a context manager; not for several threads."""

    def __init__(self, ctx: RunContext, *, plans: bool = True) -> None:
        self.ctx = ctx
        self.totals = Totals()
        self._workers = Workers(WORKERS)
        self._inbox: queue.SimpleQueue[_Done | _News] = queue.SimpleQueue()
        self._arrived: deque[_Done] = deque()
        self._busy: dict[tuple[str, ...], _Work] = {}
        self._watches: dict[tuple[str, ...], _Watch] = {}
        self._polls: dict[tuple[str, ...], _Asked] = {}
        self._watched: dict[Key, int] = {}
        self._unwatched = True
        self._watches_made = 0
        self._watch_again: dict[Place, float] = {}
        self._retrieve_at: dict[Place, float] = {}
        self._plans: dict[str, Plan] = {}
        self._use_plans = plans
        self._seen_version = -1
        self._waits: dict[tuple[str, str], float] = {}
        self._no_room: dict[str, tuple[int, float]] = {}
        self._kills_due = 0.0
        self._closed = False
        self.has_news = False

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None:
            self.close()
        else:
            with contextlib.suppress(Exception):  # the first one tells what is wrong
                self.close(LEAVE if isinstance(error, Exception) else LEAVE_AT_ONCE)

    def close(self, limit: float | None = None) -> None:
        """End the long polls and wait for the workers, up to ``limit`` seconds. What they still bring is stored.

        An exception that this meets is raised when all is done. A worker that is left behind is to a host what a
        controller is that was killed: the next one goes on from what the store and the host have.
        """
        self._closed = True
        until = None if limit is None else time.monotonic() + limit
        for watch in self._watches.values():
            watch.hold.release()
        failed: Exception | None = None
        while self._busy and (until is None or time.monotonic() < until):
            try:
                if not self.step(1.0):
                    self._forget_lost()
            except Exception as error:  # what else has arrived is dealt with before it is raised
                failed = failed or error
                until = until or time.monotonic() + LEAVE
        self._workers.close()
        if failed is not None:
            raise failed

    def _forget_lost(self) -> None:
        """Strike out work that is through and whose result is nowhere: an interrupt came as it was taken out."""
        if not self._arrived and self._inbox.empty():
            self._busy = {key: work for key, work in self._busy.items() if not work.ended}

    @property
    def busy(self) -> bool:
        """Whether any work but long polls is under way."""
        return any(key[0] != "watch" for key in self._busy)

    # --- workers -----------------------------------------------------------------------------------

    def _start(self, key: tuple[str, ...], work: Callable[[], Any], finish: Callable[[Any], None]) -> bool:
        if key in self._busy or self._closed:
            return False
        state = self._busy[key] = _Work()

        def run() -> None:
            try:
                value, error = work(), None
            except BaseException as failed:  # handed to the thread that decides
                value, error = None, failed
            self._inbox.put(_Done(key, finish, value, error))
            state.ended = True

        self._workers.submit(run)
        return True

    def step(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for news, then deal with all that is there. True if there was any.

        If that raises, the next step goes on behind what raised it. ``has_news``: whether anything may follow from it;
        what follows from a poll is drawn once, at its end.
        """
        news = []
        wait = 0.0 if self._arrived else max(timeout, 0.0)
        while True:
            try:
                item = self._inbox.get(timeout=wait) if wait > 0 else self._inbox.get_nowait()
            except queue.Empty:
                break
            wait = 0.0
            if isinstance(item, _Done):
                self._arrived.append(item)
            else:
                news.append(item)
        self.has_news = any(item.key in self._watches for item in news)
        if not news and not self._arrived:
            return False
        self._take_news(news)
        while self._arrived:
            done = self._arrived.popleft()
            self._busy.pop(done.key, None)
            self._polls.pop(done.key, None)
            self.has_news = self.has_news or done.key[0] != "poll" or done.error is not None
            if done.error is not None:
                self._failed(done)
            else:
                done.finish(done.value)
        return True

    def _failed(self, item: _Done) -> None:
        assert item.error is not None
        if not isinstance(item.error, JobmgrError):
            raise item.error
        host = item.key[-1] if len(item.key) < 3 else item.key[2]
        if isinstance(item.error, TransportError) and len(item.key) >= 3:
            note_trouble(self.ctx, item.key[1], host, item.error)
        self.totals.trouble(host, item.error)

    def _take_news(self, news: Sequence[_News]) -> None:
        for key, group in groupby(sorted(news, key=lambda item: item.key), key=lambda item: item.key):
            asked = self._watches.get(key) or self._polls.get(key)
            if asked is not None:
                for answer in poll.rounds(one for item in group for one in item.told):
                    self._take_answer(asked, answer)

    def _take_answer(self, asked: _Asked, answer: poll.Answer) -> None:
        jobs = [asked.jobs[job] for job in answer.evidence if job in asked.jobs]
        concluded = poll.conclude_told_once(self.ctx, asked.platform, asked.host, jobs, answer)
        asked.jobs.update((change.new.id, change.new) for change in concluded.changes)
        asked.told.update(answer.evidence)
        asked.host_doubt = asked.host_doubt or concluded.host_doubt
        self._count(concluded.changes)

    def _count(self, changes: Iterable[Change]) -> None:
        self.totals.changed += sum(change.old.state is not change.new.state for change in changes)

    # --- polls -------------------------------------------------------------------------------------

    def poll(self, jobs: Iterable[Job], *, even_blocked: bool = False, even_logs: bool = False) -> None:
        """Start asking about these jobs, one call per host.

        ``even_logs``: logs of those that have ended are to come home, also where they stay as a rule.
        """
        for place, group in by_place(jobs).items():
            if not even_blocked and blocked(self.ctx.store.host(*place), self.ctx.now()):
                continue
            self._poll_place(place, group, even_logs)

    def _poll_place(self, place: Place, jobs: list[Job], even_logs: bool) -> None:
        platform = self.ctx.world.platform(place[0])
        if even_logs:
            platform = replace(platform, retrieve_logs=True)
        key = ("poll", *place)
        asked = _Asked(platform, place[1], {job.id: job for job in jobs})
        told: list[tuple[wire.Hello, wire.Evidence]] = []

        def on_evidence(hello: wire.Hello, evidence: wire.Evidence) -> None:
            told.append((hello, evidence))
            if len(told) >= poll.PART:
                self._inbox.put(_News(key, tuple(told)))
                told.clear()

        def ask(part: list[Job], more: bool) -> poll.Answer:
            answer = poll.ask(self.ctx, platform, place[1], part, on_evidence=on_evidence, more=more)
            answer.evidence = {evidence.job: evidence for _hello, evidence in told}
            told.clear()
            return answer

        def work() -> list[tuple[list[Job], poll.Answer]]:
            return [(part, ask(part, more)) for part, more in _parts(jobs)]

        def finish(answers: list[tuple[list[Job], poll.Answer]]) -> None:
            for part, answer in answers:
                known = asked.told.union(job.id for job in answer.same)
                left = [job for job in part if job.id not in known or job.id in answer.evidence]
                self.has_news = self.has_news or len(answer.same) < len(part) or answer.error is not None
                concluded = poll.conclude(self.ctx, platform, place[1], self._fresh(left), answer)
                poll.confirm(self.ctx, platform, place[1], answer.same)
                self.totals.polled += len(part)
                self._count(concluded.changes)
                doubt = asked.host_doubt or concluded.host_doubt
                if answer.error is not None:
                    self.totals.trouble(place[1], answer.error)
                elif doubt:  # it answers, and cannot tell anything
                    self.totals.unreachable[place[1]] = doubt

        if self._start(key, work, finish):
            self._polls[key] = asked

    def _fresh(self, jobs: Sequence[Job]) -> list[Job]:
        """The same jobs as the store has them now (somebody else may have changed them meanwhile)."""
        return self.ctx.store.jobs_where(numbers=[job.number for job in jobs])

    def poll_due(self) -> None:
        """Start asking about all jobs that are due, but those that a long poll watches."""
        sending = any(key[0] in ("submit", "resend") for key in self._busy)
        due = self.ctx.store.due_polls(self.ctx.now(), self._watched_places())
        self.poll(job for job in due if not (sending and job.state is State.SUBMITTING))

    def _watched_places(self) -> set[Place]:
        return {watch.place for watch in self._watches.values()}

    def watch(self) -> None:
        """Have every active job watched by a long poll, on the hosts whose platform wants that.

        Jobs that are new on a host get a long poll of their own, until there are too many on that host: then
        one is started for all.
        """
        if not self._unwatched:
            return
        self._unwatched = False
        # A job whose process is gone would end a long poll at once; its second look comes when it is due.
        active = self.ctx.store.jobs_where(states=_WATCHABLE)
        new = [job for job in active if not job.grace_since and self._watched.get(job.key) != job.submit]
        for place, jobs in by_place(new).items():
            platform = self.ctx.world.platform(place[0])
            if not platform.long_poll:
                continue
            there = [watch for watch in self._watches.values() if watch.place == place]
            if len(there) >= WATCHES:
                for watch in there:
                    watch.hold.release()
            elif blocked(self.ctx.store.host(*place), self.ctx.now()) or self._rests(place):
                self._unwatched = True
            else:
                self._watch_place(place, platform, jobs)

    def _rests(self, place: Place) -> bool:
        """Whether a host has ended a long poll so early that it is not to be asked for another one yet."""
        return self._watch_again.get(place, 0.0) > self.ctx.now()

    def _watch_place(self, place: Place, platform: Platform, jobs: list[Job]) -> None:
        self._watches_made += 1
        key = ("watch", *place, str(self._watches_made))
        watch = _Watch(platform, place[1], {job.id: job for job in jobs}, hold=Hold())
        began = self.ctx.now()

        def on_evidence(hello: wire.Hello, evidence: wire.Evidence) -> None:
            self._inbox.put(_News(key, ((hello, evidence),)))

        def work() -> poll.Answer:
            return poll.ask(
                self.ctx, platform, place[1], jobs, wait=WATCH, hold=watch.hold, on_evidence=on_evidence
            )

        def finish(answer: poll.Answer) -> None:
            del self._watches[key]
            watch.hold.close()
            for job in watch.jobs.values():
                self._watched.pop(job.key, None)
            self._unwatched = True
            left = self._fresh([job for job in watch.jobs.values() if job.state in ACTIVE])
            if left and not watch.hold.released:  # the site allows short waits only (host.conf), say
                self._watch_again[place] = began + platform.min_polling_interval
            if answer.error is not None:
                poll.conclude(self.ctx, platform, place[1], left, poll.Answer(error=answer.error))
                self.totals.trouble(place[1], answer.error)

        if self._start(key, work, finish):
            self._watches[key] = watch
            self._watched.update((job.key, job.submit) for job in jobs)
        else:
            watch.hold.close()

    # --- submits -----------------------------------------------------------------------------------

    def submit_ready(self) -> None:
        """Start submitting what is ready by the plans, and send again what has to be sent again."""
        now = self.ctx.now()
        self._resend()
        if self.ctx.held:
            return
        by_platform: dict[str, list[Key]] = {}
        for cycle, plan in self._plans.items():
            for task in plan.ready(now):
                by_platform.setdefault(self.ctx.task(task).platform, []).append((cycle, task))
        for name, keys in by_platform.items():
            self.submit(name, keys)

    def submit(self, name: str, keys: list[Key], before: Mapping[Key, int] | None = None) -> None:
        """Start submitting tasks to a platform (or group), as many as there is room for.

        ``before``: their latest submit numbers when that was decided; None: just now.
        """
        if before is None:
            before = {i.key: i.last_submit for i in self.ctx.store.instances(keys=keys)}
        known = before
        platforms = self.ctx.world.candidates(name)
        key = ("submit", name)
        now = self.ctx.now()
        if key in self._busy or self._waits.get(key, 0.0) > now:
            return
        changed, until = self._no_room.get(name, (-1, 0.0))
        if changed == self.totals.changed and now < until:  # no job of ours has ended since
            return
        keys = self._room(platforms[0], keys)
        if not keys:
            full = self._full(platforms[0].name)
            after = full.after if full is not None and full.after > now else now + QUEUE_AGAIN
            self._no_room[name] = (self.totals.changed, min(after, now + QUEUE_AGAIN))
            return

        def work() -> list[submit.Sent]:
            sent = []
            # Files for tasks go by an rsync for each request.
            inputs = len(keys) > FIRST_BATCH and any(has_own_inputs(self.ctx, task) for _cycle, task in keys)
            for part, more in _parts(keys, BATCH if inputs else FIRST_BATCH):
                sent.append(submit.submit_tasks(self.ctx, platforms, part, known, more=more))
                if sent[-1].stops:
                    break
            return sent

        def finish(sent: list[submit.Sent]) -> None:
            why = ""
            for one in sent:
                self._note_room(one.changes)
                self.totals.submitted += sum(
                    change.new.state in (State.SUBMITTED, State.RUNNING) for change in one.changes
                )
                if one.error is not None:
                    self.totals.trouble(one.host or name, one.error)
                    self._waits[key] = self.ctx.now() + QUEUE_AGAIN
                    why = _about(name, one.error)
                elif one.stops:
                    why = f"{one.changes[0].new.platform}: {FULL}"
            if why:
                tried = {change.old.key for one in sent for change in one.changes}
                submit.queue_tasks(self.ctx, [k for k in keys if k not in tried], why)

        self._start(key, work, finish)

    def _room(self, platform: Platform, keys: list[Key]) -> list[Key]:
        """The tasks that there is room for; the others are noted to wait, and for what."""
        full = self._full(platform.name)
        if platform.max_submit is None and full is None:
            return keys
        active = self._active(platform.name)
        rooms = []
        if platform.max_submit is not None:
            why = f"{platform.name}: max_submit {platform.max_submit} is reached"
            rooms.append((max(platform.max_submit - active, 0), why))
        if full is not None:
            why = f"{platform.name}: {FULL}"
            rooms.append((full.room(active, self.ctx.now()), why))
        room, why = min(rooms)
        if len(keys) > room:
            submit.queue_tasks(self.ctx, keys[room:], why)
        return keys[:room]

    def _active(self, name: str) -> int:
        """How many jobs a platform has, on all its hosts."""
        counts = self.ctx.store.active_counts()
        return sum(count for (platform, _host), count in counts.items() if platform == name)

    def _full(self, name: str) -> Full | None:
        found = self.ctx.store.meta(M_FULL + name)
        return None if found is None else Full(*found)

    def _note_room(self, changes: Sequence[Change]) -> None:
        """Keep, for this and the next turn, which queues are full: they get what they have room for."""
        for name in {change.new.platform for change in changes}:
            refused = any(c.new.platform == name and c.new.state is State.QUEUED for c in changes)
            before = self._full(name)
            after = after_send(before, refused, self._active(name), self.ctx.now())
            if after != before:
                kept = None if after is None else list(astuple(after))
                self.ctx.store.set_meta({M_FULL + name: kept})

    def _resend(self) -> None:
        now = self.ctx.now()
        due = [job for job in self.ctx.store.to_resend() if (job.next_poll or 0.0) <= now]

        def finish(sent: submit.Sent) -> None:
            self.totals.submitted += sum(change.new.state is State.SUBMITTED for change in sent.changes)

        self._send_again("resend", due, submit.send, finish)

    def _send_again(
        self,
        kind: str,
        jobs: Iterable[Job],
        send: Callable[[RunContext, Platform, str, list[Job]], Any],
        finish: Callable[[Any], None],
    ) -> None:
        """Start one call per host about these jobs, but on hosts that are left alone."""
        for place, group in by_place(jobs).items():
            if not blocked(self.ctx.store.host(*place), self.ctx.now()):
                platform = self.ctx.world.platform(place[0])
                self._start((kind, *place), partial(send, self.ctx, platform, place[1], group), finish)

    # --- kills -------------------------------------------------------------------------------------

    def kill_again(self) -> None:
        """Send kills again of which the hosts have not heard."""
        now = self.ctx.now()
        if now < self._kills_due:
            return
        self._kills_due = now + KILLS_EVERY

        def finish(killed: kill.Killed) -> None:
            self.totals.changed += sum(result.job.state is State.KILLED for result in killed.results)
            if killed.error is not None:
                self.totals.trouble(killed.host, killed.error)

        self._send_again("kill", kill.unheard(self.ctx, now), kill.kill_at, finish)

    # --- what follows --------------------------------------------------------------------------------

    def follow(self) -> None:
        """Draw the consequences of jobs that have ended: a retry, or the end of the task."""
        jobs = self.ctx.store.to_follow()
        if not jobs:
            return
        now = self.ctx.now()
        instances = {i.key: i for i in self.ctx.store.instances(keys=[job.key for job in jobs])}
        changes = []
        done = []
        for job in jobs:
            done.append(job.number)
            instance = instances.get(job.key)
            task = self.ctx.shared_task(job.task)
            if (
                instance is None
                or task is None
                or instance.last_submit != job.submit
                or instance.state is not job.state
            ):
                continue
            taken = job.reason == wire.R_FOREIGN
            ended = Ended(job.state, job.lost, job.retry_safe, instance.tries, instance.submit_tries, taken)
            following = after_final(ended, Policy(task.retry_delays, task.submit_retry_delays), now)
            if following.fence_first:
                done.pop()
                continue
            if following.again and job.kill_intended is None:
                changes.append(
                    InstanceChange(
                        job.cycle,
                        job.task,
                        State.WAITING,
                        following.text,
                        following.at,
                        following.tries,
                        following.submit_tries,
                        text=following.text,
                    )
                )
        if changes:
            self.ctx.store.set_instances(changes, now)
        followed = set(done)
        activity.write_beside_logs(self.ctx, [job for job in jobs if job.number in followed])
        self.ctx.store.set_followed(done)

    def retrieve(self) -> None:
        """Start bringing home what is due, one rsync per host."""
        now = self.ctx.now()
        if self._retrieve_at and now < min(self._retrieve_at.values()) and self._watches:
            return
        due = self.ctx.store.retrievals(due=now)
        if not due:
            return
        jobs = {job.number: job for job in self.ctx.store.jobs_where(numbers=sorted({r.number for r in due}))}
        there: dict[Place, list[Any]] = {}
        for entry in due:
            job = jobs[entry.number]
            there.setdefault((job.platform, job.host), []).append(entry)
        watched = self._watched_places()
        for place, entries in there.items():
            record = self.ctx.store.host(*place)
            if blocked(record, now) or (place in watched and now < self._retrieve_at.get(place, 0.0)):
                continue
            asked = self._polls.get(("poll", *place))
            if asked is not None and asked.told:  # one rsync for all that it tells of
                continue
            platform = self.ctx.world.platform(place[0])

            def work(
                platform: Platform = platform, record: Any = record, entries: list[Any] = entries
            ) -> retrieve.Outcome:
                return retrieve.retrieve_host(self.ctx, platform, record, entries)

            def finish(
                outcome: retrieve.Outcome,
                entries: list[Any] = entries,
                place: Place = place,
                began: float = now,
            ) -> None:
                took = self.ctx.now() - began
                self._retrieve_at[place] = self.ctx.now() + max(RETRIEVE_PAUSE, 2 * took)
                self.totals.retrieved += outcome
                retrieve.deliver(self.ctx, {entry.number for entry in entries})

            self._start(("retrieve", *place), work, finish)

    def refresh(self) -> None:
        """Bring the plans up to date with the store: what this process and others have changed."""
        if not self._use_plans:
            return
        before = self._seen_version
        self._seen_version, changed = self.ctx.store.instances_since(before)
        if not changed:
            return
        known = self.ctx.suite.tasks
        if any(instance.task not in known for instance in changed):
            self.ctx.forget_suite()  # somebody has added ad-hoc jobs
        outputs = self.ctx.store.outputs(since=before)
        for instance in changed:
            plan = self._plans.get(instance.cycle)
            if plan is None:
                plan = self._plans[instance.cycle] = Plan(self.ctx.suite.graph, instance.cycle)
            plan.put(planned(instance, outputs.get(instance.key, frozenset())))
            if instance.state in _WATCHABLE and self._watched.get(instance.key) != instance.last_submit:
                self._unwatched = True

    def advance(self) -> None:
        """Everything that follows from what is known by now, started."""
        self.kill_again()
        self.follow()
        self.refresh()
        self.submit_ready()
        self.retrieve()

    # --- questions -----------------------------------------------------------------------------------

    def plans(self) -> Iterator[Plan]:
        """The plan of each cycle."""
        return iter(self._plans.values())

    def finished(self) -> bool:
        """Whether nothing is left to do in any cycle."""
        return not self.busy and all(plan.finished() for plan in self._plans.values())

    def stuck(self) -> bool:
        """Whether nothing will happen by itself any more, though not all is finished: something is held."""
        if self.busy or any(plan.active() for plan in self._plans.values()):
            return False
        if self.ctx.held:
            return True
        now = self.ctx.now()
        if any((plan.next_time() or 0.0) > now for plan in self._plans.values()):
            return False
        wanted = {self.ctx.task(task).platform for plan in self._plans.values() for task in plan.ready(now)}
        return all(self._waits_for_person(name) for name in wanted)

    def _waits_for_person(self, name: str) -> bool:
        """Whether no host of a platform (or group) will be asked again until somebody acts."""
        now = self.ctx.now()
        records = [
            self.ctx.store.host(platform.name, host)
            for platform in self.ctx.world.candidates(name)
            for host in platform.hosts
        ]
        return all(record.auth_blocked and blocked(record, now) for record in records)

    def next_time(self, longest: float) -> float:
        """Seconds until something is due by the clock; at most ``longest``."""
        now = self.ctx.now()
        due = self.ctx.store.next_due(self._watched_places(), until=now + longest)
        return longest if due is None else min(max(due - now, 0.05), longest)


_T = TypeVar("_T")


def _parts(things: list[_T], first: int = BATCH) -> Iterator[tuple[list[_T], bool]]:
    """What goes into one request each, and whether more follows. ``first``: the size of the first; they grow."""
    at, size = 0, first
    while at < len(things):
        size = min(size, BATCH)
        yield things[at : at + size], at + size < len(things)
        at, size = at + size, size * GROWTH


def _about(platform: str, error: JobmgrError) -> str:
    """Why tasks have to wait; errors name the host, which often is the platform's name too."""
    text = (str(error).splitlines() or [type(error).__name__])[0]
    return text if text.startswith((f"{platform}:", f"{platform} ")) else f"{platform}: {text}"
