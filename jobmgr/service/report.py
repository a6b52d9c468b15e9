"""What is known of a run, for people and programs: rows, counts, and the story behind a state. Reads the
store only.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from jobmgr.core.events import Note
from jobmgr.core.states import ACTIVE, BEFORE_JOB, FINAL, State
from jobmgr.errors import NotFoundError
from jobmgr.service.context import M_FINISHED, RunContext
from jobmgr.store import records
from jobmgr.store.records import LOG_IN, Host, Instance, Job, JobLine, job_id
from jobmgr_remote import wire

if TYPE_CHECKING:
    from jobmgr.core.plan import Instance as Planned
    from jobmgr.core.plan import Plan
    from jobmgr.core.select import Candidate


class JobRow(Struct, frozen=True):
    """One task of a cycle and its latest job, or one job. Times are seconds since the epoch; None = not
    known, or never.

    ``id`` is CYCLE/TASK/NN, or CYCLE/TASK while there is no job; ``since``: when the state began, by our
    clock; ``doubt`` is "" or what could not be asked; ``next_try``: when the next try is due; ``tries``:
    submits so far.
    """

    id: str
    cycle: str
    task: str
    submit: int
    state: State
    doubt: str = ""
    since: float | None = None
    platform: str = ""
    host: str = ""
    native_id: str = ""
    detail: str = ""
    exit_code: int | None = None
    submit_time: float | None = None
    start_time: float | None = None
    exit_time: float | None = None
    elapsed: float | None = None
    cpu: float | None = None
    max_rss: int | None = None
    tries: int = 0
    next_try: float | None = None
    token: str = ""
    runner: str = ""


class Summary(Struct, frozen=True):
    """A run as a whole. ``as_of``: when a host last answered; ``waiting``: tasks without a job, and what they
    wait for.
    """

    name: str
    counts: Mapping[State, int]
    doubts: int
    as_of: float | None
    held: bool
    finished: float | None
    jobs: int
    waiting: Sequence[tuple[str, str]]


class WhyLine(Struct, frozen=True):
    """One piece of evidence: its time, where it comes from (``job.status``, ``poll``, ``queue`` ...), and
    what it said.
    """

    time: float | None
    source: str
    text: str


class Why(Struct, frozen=True):
    """The explanation of a state: the job, the evidence in the order of time, the rule that decided, what
    comes next.
    """

    job: JobRow
    lines: tuple[WhyLine, ...]
    rule: str
    next: str


def candidates(ctx: RunContext, lines: Sequence[JobLine]) -> list[Candidate]:
    """The tasks of a run as IDs can select them."""
    from jobmgr.core.select import Candidate

    return [Candidate(line.cycle, line.task, line.state, tuple(range(1, line.submit + 1))) for line in lines]


def selected(ctx: RunContext, ids: Sequence[str]) -> list[tuple[str, str, int | None]]:
    """(cycle, task, submit number or None for the latest) for each thing that the IDs mean. Raises as
    ``select`` does.
    """
    from jobmgr.core.select import select

    found = select(ids, candidates(ctx, ctx.store.lines()), _families(ctx, ids))
    return [(candidate.cycle, candidate.task, submit) for candidate, submit in found]


def _families(ctx: RunContext, ids: Sequence[str]) -> Mapping[str, Sequence[str]]:
    return ctx.suite.families if ids else {}


def rows(ctx: RunContext, ids: Sequence[str] = ()) -> list[JobRow]:
    """One row for each task that the IDs mean (all without), or for the job that an ID names by its number.
    """
    lines = ctx.store.lines()
    if not ids:
        return [_row_of_task(line) for line in lines]
    from jobmgr.core.select import select

    by_key = {(line.cycle, line.task): line for line in lines}
    found = select(ids, candidates(ctx, lines), _families(ctx, ids))
    made = []
    for candidate, submit in found:
        line = by_key[candidate.cycle, candidate.task]
        job = None
        if submit is not None and submit != line.submit:
            job = ctx.store.job(candidate.cycle, candidate.task, submit)
        made.append(_row_of_task(line) if job is None else row_of(job))
    return made


def row_of(job: Job) -> JobRow:
    """The row of one job."""
    return _row(job, job.id, job.detail, None)


def _row_of_task(line: JobLine) -> JobRow:
    """The row of a task: of its latest job, where it has one."""
    name = job_id(line.cycle, line.task, line.submit) if line.submit else f"{line.cycle}/{line.task}"
    return _row(line, name, line.detail or line.job_detail, line.not_before)


def _row(of: Job | JobLine, name: str, detail: str, next_try: float | None) -> JobRow:
    return JobRow(
        name,
        of.cycle,
        of.task,
        of.submit,
        of.state,
        of.doubt,
        of.changed,
        of.platform,
        of.host,
        of.native_id,
        detail,
        of.exit_code,
        of.submit_time,
        of.start_time,
        of.exit_time,
        of.elapsed,
        of.cpu,
        of.max_rss,
        of.submit,
        next_try,
        of.token,
        of.runner,
    )


def summary(ctx: RunContext) -> Summary:
    """The run as a whole."""
    states = ctx.store.state_counts()
    counts = {each.state: each.number for each in states}
    heard = [each.last_answer for each in states] + [host.last_contact for host in ctx.store.hosts()]
    as_of = max((time for time in heard if time is not None), default=None)
    waiting = _waiting(ctx, ctx.store.lines()) if any(counts.get(state) for state in BEFORE_JOB) else ()
    finished = ctx.store.meta(M_FINISHED)
    return Summary(
        ctx.name,
        counts,
        sum(each.doubts for each in states if each.state in ACTIVE),
        as_of,
        ctx.held,
        None if finished is None else float(finished),
        sum(each.jobs for each in states),
        waiting,
    )


def _waiting(ctx: RunContext, lines: Sequence[JobLine]) -> list[tuple[str, str]]:
    """Tasks that have no job, and why, as far as people will want to read."""
    without = [line for line in lines if line.state in BEFORE_JOB]
    shown = []
    plans: dict[str, Plan] = {}
    for line in without[:200]:
        if line.submit or line.state is not State.WAITING:
            shown.append((f"{line.cycle}/{line.task}", line.detail or line.state.value))
            continue
        plan = plans.get(line.cycle)
        if plan is None:
            plan = plans[line.cycle] = plan_of(ctx, line.cycle)
        shown.append(
            (f"{line.cycle}/{line.task}", plan.explain(line.task) or line.detail or "not submitted yet")
        )
    return shown


def plan_of(ctx: RunContext, cycle: str) -> Plan:
    """The plan of one cycle, as the store has it."""
    from jobmgr.core.plan import Plan

    outputs = ctx.store.outputs(cycle)
    return Plan(
        ctx.suite.graph,
        cycle,
        [
            planned(instance, outputs.get(instance.key, frozenset()))
            for instance in ctx.store.instances(cycle=cycle)
        ],
    )


def planned(instance: Instance, reached: frozenset[str]) -> Planned:
    """A task instance of the store, as the plan takes it."""
    from jobmgr.core.plan import Instance as Planned

    held = instance.hold and instance.state not in ACTIVE and instance.state not in FINAL
    return Planned(
        instance.task,
        State.HELD if held else instance.state,
        instance.last_submit,
        instance.not_before or 0.0,
        "started" in reached,
        reached,
    )


def why(ctx: RunContext, text: str) -> Why:
    """The whole story of one job, or of a task that has none. Raises NotFoundError if the ID means several.
    """
    found = selected(ctx, [text])
    if len(found) > 1:
        some = ", ".join(f"{cycle}/{task}" for cycle, task, _ in found[:4])
        raise NotFoundError(f"{text} means {len(found)} jobs ({some} …); name one of them")
    cycle, task, submit = found[0]
    job = ctx.store.job(cycle, task, submit or 0)
    row = rows(ctx, [f"{cycle}/{task}/{submit:02d}" if submit else f"{cycle}/{task}"])[0]
    if job is None:
        return _why_no_job(ctx, row)
    lines = [
        *_status_lines(job),
        *_history_lines(ctx, job),
        *_look_lines(ctx, job),
        *_not_here_lines(ctx, job),
    ]
    lines += [
        WhyLine(None, "message", f"{m.severity} {m.text} ({m.time})") for m in ctx.store.messages(job.number)
    ]
    lines.sort(key=lambda line: line.time if line.time is not None else float("inf"))
    from jobmgr.core.decide import RULES

    rule = RULES.get(job.rule, job.rule or "not asked yet")
    return Why(row, tuple(lines), rule, _next(ctx, job, row))


def _why_no_job(ctx: RunContext, row: JobRow) -> Why:
    lines = [
        WhyLine(event.time, event.kind, event.text or f"{event.old} -> {event.new}")
        for event in ctx.store.subject_history(f"{row.cycle}/{row.task}")
    ]
    plan = plan_of(ctx, row.cycle)
    waits = plan.explain(row.task)
    if ctx.held or row.state is State.HELD:
        return Why(row, tuple(lines), "It is held by a person.", f"jobmgr release {ctx.name}")
    if row.task in ctx.suite.graph.manual:
        return Why(
            row,
            tuple(lines),
            "It is a manual task: the graph never starts it.",
            f"jobmgr submit {ctx.name} {row.id}",
        )
    if waits:
        return Why(row, tuple(lines), f"It {waits}.", "submitted as soon as that has happened")
    next_step = f"submitted by the next: jobmgr tick {ctx.name}"
    there = [host for host in ctx.store.hosts() if host.platform == ctx.task(row.task).platform]
    if there and all(host.auth_blocked for host in there):
        next_step = _after_a_person(ctx, there[0])
    return Why(row, tuple(lines), row.detail or "It is ready.", next_step)


def _status_lines(job: Job) -> list[WhyLine]:
    lines = [
        WhyLine(job.submit_time, "store", f"submit intended for {job.host} ({job.runner}), token {job.token}")
    ]
    if job.start_time is not None:
        on = f" on {job.hostname}" if job.hostname else ""
        attempt = f", attempt {job.attempts}" if job.attempts > 1 else ""
        lines.append(WhyLine(job.start_time, "job.status", f"started{on}, id {job.native_id}{attempt}"))
    if job.exit_record:
        used = f", {job.elapsed:.1f} s" if job.elapsed is not None else ""
        cpu = f", {job.cpu:.1f} s CPU" if job.cpu is not None else ""
        lines.append(WhyLine(job.exit_time, "job.status", f"{job.exit_record}{used}{cpu}"))
    return lines


def _history_lines(ctx: RunContext, job: Job) -> list[WhyLine]:
    lines = []
    for event in ctx.store.history(job.number):
        moved = f"{event.old} -> {event.new}" if event.old and event.old != event.new else event.new
        text = "; ".join(part for part in (moved, event.text) if part)
        lines.append(WhyLine(event.time, event.kind, text))
    if job.doubt and not (lines and lines[-1].text.endswith(job.doubt)):  # the history has the first reason only
        lines.append(WhyLine(job.last_polled, "poll", f"{job.state.value}; {job.doubt}"))
    return lines


def _look_lines(ctx: RunContext, job: Job) -> list[WhyLine]:
    look = ctx.store.last_look(job.number)
    if look is None:
        return []
    when, text = look
    try:
        evidence = wire.decode_evidence(json.loads(text))
    except (ValueError, TypeError):
        return []
    parts = [f"file {evidence.file.state}, {evidence.file.size} bytes"]
    parts += [f"queue {_queue_words(evidence.queue)}"] if evidence.queue.state != wire.Q_NOT_ASKED else []
    parts += [f"process {evidence.process}"] if evidence.process != wire.P_NOT_ASKED else []
    parts += [f"spool {evidence.spool}"] if evidence.spool != wire.S_NONE else []
    parts += [f"claim {evidence.claim}"]
    return [WhyLine(when, "look", "; ".join(parts))]


def _not_here_lines(ctx: RunContext, job: Job) -> list[WhyLine]:
    """The files that did not come home, and why; those that are still to come."""
    lines = []
    for entry in ctx.store.retrievals(records.RETRIEVAL_STATES, number=job.number):
        if entry.state == records.PENDING:
            lines.append(WhyLine(None, "retrieve", f"{entry.path} is to come; {entry.error}".rstrip("; ")))
        elif entry.state != records.DONE:
            lines.append(WhyLine(None, "retrieve", f"{entry.path} was left out: {entry.error}"))
    return lines


def _queue_words(queue: Any) -> str:
    return " ".join(part for part in (queue.state, queue.raw, queue.reason, queue.error) if part)


def _next(ctx: RunContext, job: Job, row: JobRow) -> str:
    record = ctx.store.host(job.platform, job.host)
    if job.state in ACTIVE:
        look = f"To look: ssh {job.host}" if ctx.world.platform(job.platform).transport != "local" else ""
        if record.auth_blocked:
            return _after_a_person(ctx, record)
        due = max(job.next_poll or 0.0, record.blocked_until or 0.0)
        return f"next poll due {_clock(due)}. {look}".strip() if due else look
    if row.next_try is not None:
        return f"next try {_clock(row.next_try)}"
    if row.state is State.QUEUED:
        return "submitted as soon as there is room (by a play, or by the next tick)"
    if job.state is State.SUCCEEDED:
        left = len(ctx.store.retrievals(number=job.number))
        return f"{left} files are still to come home" if left else ""
    again = f"to run it again: jobmgr retry {ctx.name} {row.cycle}/{row.task}"
    if job.state is State.SUBMIT_FAILED and job.reason == wire.R_FOREIGN:
        return f"{job.host} has it from another controller, and it may have run: not retried by itself; {again}"
    return again


def _after_a_person(ctx: RunContext, record: Host) -> str:
    then = f"jobmgr login {record.platform}" if record.auth_blocked == LOG_IN else f"jobmgr play {ctx.name}"
    return f"not tried again until you act: {then}"


def _clock(when: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(when))


def held_note(ctx: RunContext) -> Note:
    """What to say when a loop ends because the run is held."""
    return Note(
        "warning", f"{ctx.name} is held; nothing new is submitted. To go on: jobmgr release {ctx.name}"
    )
