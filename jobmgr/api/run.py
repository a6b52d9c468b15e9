"""``Run`` and ``Job``: one run of a suite, and one of its jobs."""

from __future__ import annotations

import os
import time
from collections.abc import Collection, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from jobmgr.api.results import CleanResult, HostResult, KillResult, RetrieveResult, TickResult
from jobmgr.core.states import ACTIVE, FINAL, State
from jobmgr.errors import NotFoundError, RefusedError, WaitTimeout
from jobmgr.service.context import M_FINISHED, RunContext
from jobmgr.service.report import JobRow, Summary, Why

if TYPE_CHECKING:
    from jobmgr.api.session import Session
    from jobmgr.service.engine import Totals
    from jobmgr.service.log import LogFile
    from jobmgr.service.loop import Turned
    from jobmgr.service.runs import Cleaned
    from jobmgr.store.records import Event as HistoryRow
    from jobmgr.store.records import Job as StoredJob

LOCK_PATIENCE = 30.0
"""Seconds that a command waits for another one that turns the same run's loop."""


class Run:
    """One run of a suite."""

    def __init__(self, session: Session, ctx: RunContext) -> None:
        self._session = session
        self._ctx = ctx
        self.name = ctx.name
        self.path = ctx.run_dir
        self.turned: TickResult | None = None
        """What the turn of ``submit``, ``run`` or ``retry`` that returned this run came to; None before one.
        """

    # --- what is known -----------------------------------------------------------------------------------

    def summary(self) -> Summary:
        """Counts by state, doubts, and how old the knowledge is. Never connects."""
        from jobmgr.service import report

        return report.summary(self._ctx)

    def rows(self, ids: Sequence[str] = ()) -> list[JobRow]:
        """One row per task: its latest job, or what it waits for. Never connects. Raises as :meth:`jobs`."""
        from jobmgr.service import report

        return report.rows(self._ctx, ids)

    def jobs(self, ids: Sequence[str] = ()) -> list[Job]:
        """The jobs that IDs mean (all without). Raises UsageError for a bad ID, NotFoundError for one that
        matches nothing.
        """
        return [Job(self, row.cycle, row.task, row.submit) for row in self.rows(ids) if row.submit]

    def job(self, id: str) -> Job:
        """The one job that an ID means. Raises NotFoundError if it means none or several."""
        found = self.jobs([id])
        if len(found) != 1:
            what = f"means {len(found)} jobs; name one of them" if found else "has no job yet"
            raise NotFoundError(f"{id} {what}")
        return found[0]

    def why(self, id: str) -> Why:
        """Every piece of evidence behind a job's state, and the rule that decided."""
        from jobmgr.service import report

        return report.why(self._ctx, id)

    def history(self, id: str) -> list[HistoryRow]:
        """All that happened to one job, in the order of time."""
        return self._ctx.store.history(self._stored(id).number)

    def _stored(self, id: str) -> StoredJob:
        from jobmgr.service import report

        found = [
            job
            for cycle, task, submit in report.selected(self._ctx, [id])
            if (job := self._ctx.store.job(cycle, task, submit or 0)) is not None
        ]
        if len(found) != 1:
            what = f"means {len(found)} jobs; name one of them" if found else "has no job yet"
            raise NotFoundError(f"{id} {what}")
        return found[0]

    def _stored_many(self, ids: Sequence[str], states: Collection[State] | None = None) -> list[StoredJob]:
        """The jobs that these IDs mean; without any, the latest ones that are in these states (all: None)."""
        from jobmgr.service import report

        if not ids:
            return self._ctx.store.jobs_where(states, latest=True)
        found = []
        for cycle, task, submit in report.selected(self._ctx, ids):
            job = self._ctx.store.job(cycle, task, submit or 0)
            if job is not None:
                found.append(job)
        return found

    # --- turning the loop ----------------------------------------------------------------------------------

    def _loop_lock(self, what: str, timeout: float) -> Any:
        from jobmgr.service.lock import loop_lock

        return loop_lock(self.path, self.name, what, timeout)

    def _let_through(self) -> None:
        from jobmgr.service.reach import let_through

        let_through(self._ctx)

    def _turn(self, *, poll_due: bool) -> Turned:
        from jobmgr.service import loop

        return loop.one_turn(self._ctx, poll_due=poll_due)

    def _result(self, turned: Turned) -> TickResult:
        return self._note_turn(turned.totals)

    def _note_turn(self, totals: Totals) -> TickResult:
        self.turned = TickResult(
            self.name,
            False,
            totals.polled,
            totals.changed,
            totals.submitted,
            totals.retrieved.files,
            dict(totals.unreachable),
            dict(totals.person),
            dict(totals.refused),
        )
        return self.turned

    def _renew_contacts(self) -> None:
        """A restart: the contact file is installed again on all hosts with live jobs, but those that have just
        got it.
        """
        from jobmgr.errors import JobmgrError
        from jobmgr.service import remote_init
        from jobmgr.service.reach import note_trouble

        for platform_name, host in self._ctx.store.active_counts():
            if (self.name, platform_name, host) in self._ctx.world.greeted:
                continue
            record = self._ctx.store.host(platform_name, host)
            try:
                remote_init.initialise(self._ctx, self._ctx.world.platform(platform_name), host, record)
            except JobmgrError as error:
                note_trouble(self._ctx, platform_name, host, error)

    def _say_if_stuck(self, turned: Turned) -> None:
        from jobmgr.service.report import held_note

        if not turned.finished and (self._ctx.held or any(i.hold for i in self._ctx.store.instances())):
            self._ctx.emit(held_note(self._ctx))

    def tick(self) -> TickResult:
        """Poll what is due, retrieve, retry, submit what became ready; ``busy`` if another process does it
        right now.
        """
        if self._nothing_due():
            return TickResult(self.name)
        from jobmgr.service.lock import Busy

        try:
            with self._loop_lock("tick", 0.0):
                return self._result(self._turn(poll_due=True))
        except Busy:
            return TickResult(self.name, busy=True)

    def _nothing_due(self) -> bool:
        """Whether a run is at its end and has nothing left to bring home: then a tick need not even be
        locked.
        """
        store = self._ctx.store
        return store.meta(M_FINISHED) is not None and store.next_due() is None and not store.to_follow()

    def poll(self, ids: Sequence[str] = ()) -> TickResult:
        """Ask the hosts now: about these jobs, or all active ones. Logs of those that have ended come home.
        """
        from jobmgr.service import loop

        return self._result(loop.look(self._ctx, self._stored_many(ids, ACTIVE)))

    def wait(self, ids: Sequence[str] = (), timeout: float | None = None) -> list[JobRow]:
        """Until these (or all) tasks have ended; retries and what becomes ready meanwhile are submitted.

        Raises WaitTimeout after ``timeout`` seconds; the jobs go on.
        """
        from jobmgr.service import loop, report
        from jobmgr.service.lock import Busy

        keys = {(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)} if ids else None

        def over() -> bool:
            return all(
                i.state in FINAL and not self._ctx.store.retrievals()
                for i in self._ctx.store.instances(keys=None if keys is None else sorted(keys))
            )

        self._let_through()
        try:
            with self._loop_lock("wait", 0.0):
                loop.watch_to_the_end(self._ctx, over if ids else None, timeout)
        except Busy:
            loop.follow_others(
                self._ctx, lambda: over() or self._ctx.store.meta(M_FINISHED) is not None, timeout
            )
        return self.rows(ids)

    def as_completed(self, timeout: float | None = None) -> Iterator[Job]:
        """Each job as its task comes to its end, while the loop is turned.

        Raises WaitTimeout, and RefusedError if nothing goes on until somebody acts.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        told: set[tuple[str, str]] = set()
        while True:
            instances = self._ctx.store.instances()
            fresh = [i for i in instances if i.state in FINAL and i.key not in told and i.last_submit]
            for instance in fresh:
                told.add(instance.key)
                yield Job(self, instance.cycle, instance.task, instance.last_submit)
            if not fresh:
                if all(i.state in FINAL for i in instances) or self._ctx.store.meta(M_FINISHED) is not None:
                    return
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise WaitTimeout(f"{self.name}: not finished in time; the jobs go on")
                self._until_more(len(told), left)

    def _until_more(self, told: int, left: float | None) -> None:
        from jobmgr.service import loop
        from jobmgr.service.lock import Busy

        def more() -> bool:
            return sum(count for state, count in self._ctx.store.counts().items() if state in FINAL) > told

        try:
            with self._loop_lock("as_completed", 0.0):
                turned = loop.watch_to_the_end(self._ctx, more, left)
                if not turned.finished and not more():
                    why = "; ".join([*turned.totals.refused.values(), *turned.totals.person.values()])
                    raise RefusedError(
                        f"{self.name}: nothing goes on by itself: {why or 'the run or its tasks are held'}"
                    )
        except Busy:
            loop.follow_others(
                self._ctx, lambda: more() or self._ctx.store.meta(M_FINISHED) is not None, left
            )

    # --- logs and outputs ----------------------------------------------------------------------------------

    def log(self, id: str, name: str = "out") -> bytes:
        """One log of a job, whole: ``out``, ``err``, ``job``, ``status``, ``activity`` or a name in its log
        directory.
        """
        return b"".join(self.log_stream(id, name))

    def log_stream(
        self, id: str, name: str = "out", follow: bool = False, tail: int | None = None
    ) -> Iterator[bytes]:
        """One log of a job as it comes, from here or from the host. ``follow``: until the job has ended;
        close the iterator to stop.
        """
        from jobmgr.service import log

        return log.stream(self._ctx, self._stored(id), name, follow=follow, tail=tail)

    def log_list(self, id: str) -> list[LogFile]:
        """The files in a job's log directory, here and on its host."""
        from jobmgr.service import log

        return log.files(self._ctx, self._stored(id))

    def log_path(self, id: str, name: str = "out") -> str:
        """Where a log is: a path here, or HOST:PATH."""
        from jobmgr.service import log

        return log.path_of(self._ctx, self._stored(id), name)

    def retrieve(self, ids: Sequence[str] = (), to: str | os.PathLike[str] | None = None) -> RetrieveResult:
        """Bring logs and outputs home now; of running jobs the logs as they are. ``to``: copy the outputs
        there as well.
        """
        from jobmgr.service import fetch

        target = None if to is None else self._session._path(to)
        fetched = fetch.fetch(self._ctx, self._stored_many(ids), target)
        outcome = fetched.outcome
        return RetrieveResult(
            outcome.files,
            outcome.size,
            outcome.left_out,
            outcome.to_come,
            fetched.unreachable,
            fetched.person,
        )

    # --- steering ------------------------------------------------------------------------------------------

    def _start(self, keys: Sequence[tuple[str, str]]) -> None:
        """Submit tasks that were just added: by a turn of the loop, or beside the one who turns it."""
        from jobmgr.service import steer
        from jobmgr.service.lock import Busy

        try:
            with self._loop_lock("run", 0.0):
                self._result(self._turn(poll_due=False))
        except Busy:
            self._note_turn(steer.submit_now(self._ctx, keys).totals)

    def _submit_now(self, ids: Sequence[str]) -> None:
        """These tasks now, whatever the graph says."""
        from jobmgr.service import report, steer

        keys = [(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)]
        self._let_through()
        self._note_turn(steer.submit_now(self._ctx, keys).totals)

    def kill(self, ids: Sequence[str] = ()) -> list[KillResult]:
        """Kill the active jobs among these. Without IDs: all, and the run is held."""
        from jobmgr.service import kill, steer

        if not ids:
            steer.hold_run(self._ctx, True)
        jobs = self._stored_many(ids, ACTIVE | {State.QUEUED})
        results = [KillResult(one.job.id, one.result, one.text) for one in kill.drop_queued(self._ctx, jobs)]
        for host in kill.kill_jobs(self._ctx, [job for job in jobs if job.state in ACTIVE]):
            results.extend(KillResult(one.job.id, one.result, one.text) for one in host.results)
        told = {result.id for result in results}
        if ids:
            results.extend(
                KillResult(job.id, "already-finished", job.state.value) for job in jobs if job.id not in told
            )
        return results

    def hold(self, ids: Sequence[str] = ()) -> list[str]:
        """Submit nothing of these tasks (or of the run) until they are released. Jobs go on. Returns what is
        held.
        """
        return self._hold(ids, True)

    def release(self, ids: Sequence[str] = ()) -> list[str]:
        """Undo :meth:`hold`. Nothing is submitted by this call."""
        return self._hold(ids, False)

    def _hold(self, ids: Sequence[str], held: bool) -> list[str]:
        from jobmgr.service import report, steer

        if not ids:
            steer.hold_run(self._ctx, held)
            return [self.name]
        keys = [(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)]
        return [f"{cycle}/{task}" for cycle, task in steer.hold_tasks(self._ctx, keys, held)]

    def retry(self, ids: Sequence[str] = ()) -> list[str]:
        """Submit again what has failed or submit-failed (or these), now. Returns the new jobs' IDs, or the
        tasks still queued.

        A job that was lost is ended for certain on its host first; RefusedError if that host gives no answer.
        """
        from jobmgr.service import report, steer

        if ids:
            keys = [(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)]
        else:
            keys = [i.key for i in self._ctx.store.instances(states=(State.FAILED, State.SUBMIT_FAILED))]
        self._let_through()
        started = steer.retry(self._ctx, keys)
        self._note_turn(started.totals)
        return started.ids

    def remove(self, ids: Sequence[str]) -> list[str]:
        """The graph no longer waits for these tasks; their files stay."""
        from jobmgr.service import report, steer

        keys = [(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)]
        return [f"{cycle}/{task}" for cycle, task in steer.remove(self._ctx, keys)]

    def tidy(self) -> list[HostResult]:
        """End the run on its hosts (``remote-tidy``). Raises RefusedError while jobs are active."""
        from jobmgr.service import tidy

        tidy.refuse_while_active(self._ctx)
        return [_host_result(one) for one in tidy.tidy_hosts(self._ctx)]

    def clean(self, *, local: bool = True, remote: bool = True, dry_run: bool = False) -> CleanResult:
        """Delete the run directories, on the hosts first. Raises RefusedError while jobs are active."""
        from jobmgr.service import runs

        done: Cleaned = runs.clean_run(self._ctx, local=local, remote=remote, dry_run=dry_run)
        return CleanResult(done.paths, [_host_result(one) for one in done.failed])


class Job:
    """One job of a run; number 0 means the latest one of its task."""

    def __init__(self, run: Run, cycle: str, task: str, submit: int) -> None:
        self.run = run
        self._cycle = cycle
        self._task = task
        self._submit = submit

    def __repr__(self) -> str:
        return f"<Job {self.run.name} {self.id}>"

    @property
    def _selector(self) -> str:
        return (
            f"{self._cycle}/{self._task}/{self._submit:02d}"
            if self._submit
            else f"{self._cycle}/{self._task}"
        )

    @property
    def id(self) -> str:
        """CYCLE/TASK/NN, or CYCLE/TASK while there is no job yet."""
        return self.row().id

    def row(self) -> JobRow:
        """What is known of the job."""
        return self.run.rows([self._selector])[0]

    @property
    def state(self) -> State:
        """Its state, as far as is known; never connects."""
        return self.row().state

    @property
    def exit_code(self) -> int | None:
        """The script's exit code; None while it is not known, or if there is none."""
        return self.row().exit_code

    def wait(self, timeout: float | None = None) -> JobRow:
        """Until the task of this job has ended. Raises WaitTimeout."""
        return self.run.wait([self._selector], timeout)[0]

    def log(self, name: str = "out") -> bytes:
        """One of its logs, whole."""
        return self.run.log(self._selector, name)

    def why(self) -> Why:
        """The evidence behind its state."""
        return self.run.why(self._selector)

    def kill(self) -> list[KillResult]:
        """Kill it."""
        return self.run.kill([self._selector])


def _host_result(one: Any) -> HostResult:
    if one.error is None:
        return HostResult(one.host, one.removed)
    return HostResult(one.host, one.removed, str(one.error), one.error.exit_code)
