"""Poll: ask one host about many jobs, decide, and store what follows.

Asking (:func:`ask`) may run in any thread; deciding and storing (:func:`conclude`) is one transaction for all
jobs that a host has told about. A host that gives no answer changes no state: its jobs get a doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct, field

from jobmgr.core.decide import decide
from jobmgr.core.evidence import Look, Retrieve, Verdict
from jobmgr.core.states import FINAL, State
from jobmgr.errors import JobmgrError
from jobmgr.platforms.model import BACKGROUND, Platform
from jobmgr.service.context import RunContext
from jobmgr.service.jobspec import work_dir
from jobmgr.service.reach import note_contact, note_trouble
from jobmgr.service.retrieve import listed
from jobmgr.service.verdicts import again, change_of, store_changes, view_of
from jobmgr.store.records import Change, Host, Job
from jobmgr.transport.base import Hold
from jobmgr_remote import wire

OnEvidence = Callable[[wire.Hello, wire.Evidence], None]

PART = 250
"""So many answers of a host are stored together, while it goes on with the others."""


class Answer(Struct):
    """What a call about jobs brought: the hello, evidence by job id, and the error that ended it, if one did.

    ``same``: jobs that run as they did when they were last seen.
    """

    hello: wire.Hello | None = None
    evidence: dict[str, wire.Evidence] = field(default_factory=dict)
    same: list[Job] = field(default_factory=list)
    complete: bool = False
    error: JobmgrError | None = None


def is_settled(job: Job) -> bool:
    """Whether it is enough to hear of a job that it runs on: nothing else is asked of its host, or in doubt."""
    if job.state is not State.RUNNING or job.runner != BACKGROUND or not job.seen_size:
        return False
    open_end = job.doubt or job.grace_since or job.find or job.revoke or job.resend
    return not open_end and job.kill_intended is None


def poll_item(
    job: Job, spec: Mapping[str, Any], *, list_files: bool = True, brief: bool = False
) -> dict[str, Any]:
    """What the host needs to know to look for one job; the same for polls and kills."""
    item: dict[str, Any] = {
        "job": job.id,
        "token": job.token,
        "runner": job.runner,
        "native_id": job.native_id,
        "instance": job.instance,
        "seen_size": job.seen_size,
        "seen_messages": job.seen_messages,
        "work_dir": spec.get("work_dir", ""),
        "outputs": spec.get("outputs", []),
        "list_files": list_files,
        "find": job.find,
        "revoke": job.revoke,
        "brief": brief and is_settled(job),
    }
    return {key: value for key, value in item.items() if value not in ("", [], 0, False)}


def poll_items(
    ctx: RunContext, jobs: Sequence[Job], *, logs: bool = True, brief: bool = False
) -> list[dict[str, Any]]:
    """The items of a poll or kill request for these jobs. ``logs``: they are to come home at the end; ``brief``: of
    those that run on as before it is enough to hear just that.
    """
    cache: dict[str, dict[str, Any]] = {}
    items = []
    for job in jobs:
        if job.task not in cache:
            task = ctx.shared_task(job.task)
            if task is not None and task.outputs:  # they may hold the member's parameters
                task = ctx.suite.tasks[job.task]
            cache[job.task] = {
                "outputs": list(task.outputs) if task else [],
                "work_dir": task.work_dir if task else "",
            }
        known = cache[job.task]
        own = {"CYCLE": job.cycle, "TASK": job.task}
        work_dir = "/".join(own.get(part, part) for part in known["work_dir"].split("/"))
        spec = {"outputs": known["outputs"], "work_dir": work_dir}
        items.append(poll_item(job, spec, list_files=logs or bool(known["outputs"]), brief=brief))
    return items


def ask(
    ctx: RunContext,
    platform: Platform,
    host: str,
    jobs: Sequence[Job],
    *,
    wait: float = 0.0,
    hold: Hold | None = None,
    on_evidence: OnEvidence | None = None,
    more: bool = False,
) -> Answer:
    """One ``jobs-poll``. Never raises for a host: the error is part of the answer. ``more``: another one follows.

    With ``wait`` (seconds) it lasts until then, until all jobs have ended, or until ``hold`` is released. With
    ``on_evidence`` evidence is only handed to that, as it comes.
    """
    answer = Answer()
    same = set[str]()

    def on_record(kind: str, value: Any) -> None:
        if kind == wire.HELLO:
            answer.hello = value
        elif kind == wire.JOB and on_evidence is None:
            answer.evidence[value.job] = value
        elif kind == wire.JOB and on_evidence is not None and answer.hello is not None:
            on_evidence(answer.hello, value)
        elif kind == wire.SAME:
            same.update(value)

    options: dict[str, Any] = {"wait": wait, "stream": True} if wait else {}
    if platform.max_active is not None:
        options["max_active"] = platform.max_active
    try:
        reply = ctx.world.hosts.call(
            platform,
            host,
            wire.JOBS_POLL,
            ctx.wire_run(platform),
            options,
            poll_items(ctx, jobs, logs=platform.retrieve_logs, brief=not wait),
            on_record=on_record,
            hold=hold,
            more=more,
        )
    except JobmgrError as error:
        answer.error = error
    else:
        answer.complete = not reply.truncated
    if same:
        answer.same = [job for job in jobs if job.id in same and is_settled(job)]
    return answer


def rounds(told: Iterable[tuple[wire.Hello, wire.Evidence]]) -> list[Answer]:
    """What one call has told, in its order, as answers that are to be concluded one after the other.

    The last word about a job is what counts, but a host tells each message once: behind evidence that holds
    messages, the next of the same job goes into an answer of its own.
    """
    answers: list[Answer] = []
    place: dict[str, int] = {}
    for hello, evidence in told:
        at = place.get(evidence.job, 0)
        if at < len(answers) and (before := answers[at].evidence.get(evidence.job)) and before.file.messages:
            at += 1
        if at == len(answers):
            answers.append(Answer())
        answers[at].hello = hello
        answers[at].evidence[evidence.job] = evidence
        place[evidence.job] = at
    return answers


class Concluded(Struct, frozen=True):
    """What a conclusion came to: the changes that were stored, and the jobs that have just ended for good.

    ``host_doubt``: why nothing can be told of any job on this host, though it answers ("" if it can).
    """

    changes: tuple[Change, ...] = ()
    host_doubt: str = ""

    @property
    def ended(self) -> list[Job]:
        return [
            change.new
            for change in self.changes
            if change.new.state in FINAL and change.old.state not in FINAL
        ]


def conclude(
    ctx: RunContext,
    platform: Platform,
    host: str,
    jobs: Iterable[Job],
    answer: Answer,
) -> Concluded:
    """Decide about every job that was asked about, and store it all in one transaction. Jobs without a reply line are
    in doubt.
    """
    return _conclude(ctx, platform, _note_host(ctx, platform, host, answer), jobs, answer, all_asked=True)


def conclude_told_once(
    ctx: RunContext, platform: Platform, host: str, jobs: Sequence[Job], answer: Answer
) -> Concluded:
    """The same where the host tells of each thing once, as it comes, about jobs that were read a while ago: those that
    somebody else has changed meanwhile are read again. Jobs without a reply line stay as they are.
    """
    record = _note_host(ctx, platform, host, answer)
    first = _conclude(ctx, platform, record, jobs, answer, all_asked=False)
    made = {change.old.number for change in first.changes}
    left = [job.number for job in jobs if job.number not in made]
    if not left:
        return first
    fresh = ctx.store.jobs_where(numbers=left)
    second = _conclude(ctx, platform, record, fresh, answer, all_asked=False)
    return Concluded(first.changes + second.changes, first.host_doubt or second.host_doubt)


def _conclude(
    ctx: RunContext, platform: Platform, record: Host, jobs: Iterable[Job], answer: Answer, *, all_asked: bool
) -> Concluded:
    """``all_asked``: jobs without a reply line are in doubt, and not only if an error ended the call."""
    error = str(answer.error).splitlines()[0] if answer.error else ""
    changes = []
    listings = []
    host_doubt = ""
    for job in jobs:
        evidence = answer.evidence.get(job.id)
        if evidence is None and not all_asked and answer.error is None:
            continue
        look = _look(answer, evidence, record, error)
        verdict = decide(view_of(job), look)
        host_doubt = host_doubt or (verdict.doubt if verdict.host_doubt else "")
        changes.append(
            change_of(
                ctx,
                platform,
                job,
                verdict,
                evidence=evidence,
                answered=evidence is not None,
                clock_offset=record.clock_offset,
            )
        )
        if evidence is not None and evidence.files is not None and _wants_files(verdict):
            listings.extend(listed(job, evidence.files, platform, _work_dir(ctx, job)))
    return Concluded(store_changes(ctx, changes, listings), host_doubt)


def confirm(ctx: RunContext, platform: Platform, host: str, jobs: Sequence[Job]) -> None:
    """Store of jobs that a host has named as unchanged that they were asked about, and when to do so again."""
    if not jobs:
        return
    offset = ctx.store.host(platform.name, host).clock_offset
    ctx.store.confirm({job.number: again(ctx, platform, job, offset) for job in jobs}, ctx.now())


def _work_dir(ctx: RunContext, job: Job) -> str:
    task = ctx.suite.tasks.get(job.task)
    return work_dir(task, job.cycle) if task is not None else ""


def _note_host(ctx: RunContext, platform: Platform, host: str, answer: Answer) -> Host:
    if answer.hello is not None:
        record = note_contact(ctx, platform.name, host, answer.hello.time, answer.hello.instance)
    else:
        record = ctx.store.host(platform.name, host)
    if answer.error is not None:
        note_trouble(ctx, platform.name, host, answer.error)
    return record


def _look(answer: Answer, evidence: wire.Evidence | None, record: Host, error: str) -> Look:
    hello = answer.hello
    if hello is None:
        return Look(None, error=error)
    return Look(evidence, hello.time, hello.instance, hello.run_state, bool(record.network_fs), error)


def _wants_files(verdict: Verdict) -> bool:
    return any(isinstance(action, Retrieve) for action in verdict.actions) or verdict.state in FINAL
