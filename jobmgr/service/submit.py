"""Submit: from ready tasks to jobs at a host, each exactly once.

The order, and what breaks if it is violated:

1. connect (and make the host ready): a host that cannot be reached costs nothing, no intent names it yet;
2. commit the intent (submit number, token, host) to the store, for the whole batch in one transaction: from
here on the
   job is looked for at that host only;
3. one ``jobs-submit``; what the host answers is recorded; no answer makes the job ``submit-unknown``, to be
settled by polls.

The same request may be sent again at any time: the host knows its tokens.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from jobmgr.core.settle import answer as answer_of
from jobmgr.core.states import State
from jobmgr.errors import (
    ConnectError,
    JobmgrError,
    NotFoundError,
    RefusedError,
    RemoteError,
    TransportError,
    UsageError,
)
from jobmgr.platforms.model import Platform
from jobmgr.service.context import M_FULL, RunContext
from jobmgr.service.jobspec import job_item, runner_of, split_common
from jobmgr.service.reach import connect_any, failure_text, note_contact, note_trouble
from jobmgr.service.remote_init import ensure_ready, has_own_inputs
from jobmgr.service.verdicts import change_of, store_changes, view_of
from jobmgr.store.records import Change, Host, InstanceChange, Job, NewSubmit
from jobmgr_remote import wire

Key = tuple[str, str]
"""Cycle and task."""

DEFINITION_LOST = "what it runs is not known any more: its definition was lost with the store"


class Sent(Struct, frozen=True):
    """What a batch came to: changes that are stored already, and the host that had the word."""

    changes: tuple[Change, ...] = ()
    host: str = ""
    error: JobmgrError | None = None

    @property
    def stops(self) -> bool:
        """Whether nothing is to be sent behind it: it failed, or a full queue has not taken all (the order stays)."""
        return self.error is not None or any(change.new.state is State.QUEUED for change in self.changes)


def submit_tasks(
    ctx: RunContext,
    platforms: Sequence[Platform],
    keys: Sequence[Key],
    before: Mapping[Key, int],
    *,
    more: bool = False,
) -> Sent:
    """Submit these task instances to the first platform of ``platforms`` that can be reached.

    ``before``: their latest submit numbers when it was decided to submit them. A play and a person may want
    the same task at once: who comes second finds its number taken, and makes no job. ``more``: others follow.

    Never raises for a host: tasks that could not be sent stay as they are, queued, and ``error`` tells why.
    """
    error: JobmgrError | None = None
    for platform in platforms:
        try:
            host = connect_any(ctx, platform)
        except (ConnectError, RefusedError) as failed:
            error = failed
            continue
        return _submit_apart(ctx, platform, host, keys, before, more)
    return Sent(error=error)


def _submit_apart(
    ctx: RunContext, platform: Platform, host: str, keys: Sequence[Key], before: Mapping[Key, int], more: bool
) -> Sent:
    """Tasks with files from outside the suite go apart: if these cannot be sent, the others still are."""
    plain: list[Key] = []
    needy: list[Key] = []
    for key in keys:
        (needy if has_own_inputs(ctx, key[1]) else plain).append(key)
    sent = [_submit_at(ctx, platform, host, part, before, more) for part in (plain, needy) if part]
    error = next((one.error for one in sent if one.error is not None), None)
    return Sent(tuple(change for one in sent for change in one.changes), host, error)


def _submit_at(
    ctx: RunContext, platform: Platform, host: str, keys: Sequence[Key], before: Mapping[Key, int], more: bool
) -> Sent:
    try:
        record = ensure_ready(ctx, platform, host, [task for _cycle, task in keys])
    except (TransportError, RefusedError) as error:
        note_trouble(ctx, platform.name, host, error)
        return Sent(host=host, error=error)
    except UsageError as error:
        return _refuse_all(ctx, platform, host, keys, before, error)
    jobs = ctx.store.take_submits(_new(ctx, platform, record, keys, before), ctx.now())
    return send(ctx, platform, host, jobs, more=more)


def _new(
    ctx: RunContext, platform: Platform, record: Host, keys: Iterable[Key], before: Mapping[Key, int]
) -> list[NewSubmit]:
    source_root, home = ctx.source_root, str(ctx.world.home)
    new = []
    for cycle, name in keys:
        task = ctx.task(name)
        spec = job_item(task, platform, cycle=cycle, source_root=source_root, home=home)
        new.append(
            NewSubmit(
                cycle,
                name,
                platform.name,
                record.host,
                runner_of(task, platform) or platform.runner,
                json.dumps(spec),
                instance=record.instance,
                after=before.get((cycle, name)),
            )
        )
    return new


def _refuse_all(
    ctx: RunContext,
    platform: Platform,
    host: str,
    keys: Sequence[Key],
    before: Mapping[Key, int],
    error: UsageError,
) -> Sent:
    """An input that is not there: those who need it fail, with the reason; the caller sends the others again."""
    bad = [key for key in keys if _needs(ctx, key[1], str(error))] or list(keys)
    record = ctx.store.host(platform.name, host)
    jobs = ctx.store.take_submits(_new(ctx, platform, record, bad, before), ctx.now())
    changes = [
        Change(
            job,
            job._replace(
                state=State.SUBMIT_FAILED, rule="not-sent", detail=str(error), retry_safe=True, next_poll=None
            ),
            kind="submit",
            text=str(error),
        )
        for job in ctx.store.jobs_where(numbers=[job.number for job in jobs])
    ]
    return Sent(store_changes(ctx, changes), host)


def _needs(ctx: RunContext, task: str, text: str) -> bool:
    return any(source.rsplit("/", 1)[-1] in text for source, _target in ctx.task(task).inputs)


def send(
    ctx: RunContext, platform: Platform, host: str, jobs: Sequence[Job], *, more: bool = False
) -> Sent:
    """Send (or send again) the submit request of jobs whose intent names this host, and store what came back.

    ``more``: another one follows.
    """
    if not jobs:
        return Sent(host=host)
    specs = ctx.store.specs([job.number for job in jobs])
    items = [{"job": job.id, "token": job.token, **json.loads(specs.get(job.number, "{}"))} for job in jobs]
    answers: dict[str, wire.Submitted] = {}
    error: JobmgrError | None = None
    items = _with_scripts(items, answers)
    try:
        if not items:
            return _store_answers(ctx, platform, host, jobs, answers, None)
        hello = _call(ctx, platform, host, items, answers, more)
        note_contact(ctx, platform.name, host, hello.time, hello.instance)
    except RefusedError as failed:  # the host declined the whole call
        error = failed
        for job in jobs:
            answers.setdefault(job.id, wire.Submitted(job.id, job.token, wire.R_REFUSED, "", str(failed), ""))
    except TransportError as failed:
        note_trouble(ctx, platform.name, host, failed)
        error = failed
    return _store_answers(ctx, platform, host, jobs, answers, error)


def _with_scripts(items: list[dict[str, Any]], answers: dict[str, wire.Submitted]) -> list[dict[str, Any]]:
    """The items that have something to run. After a recovery there may be jobs whose definition nobody knows
    any more: an empty one would succeed.
    """
    for item in items:
        if not item.get("script") and not item.get("script_file"):
            text = DEFINITION_LOST
            answers[item["job"]] = wire.Submitted(item["job"], item["token"], wire.R_FAILED, "", text, "")
    return [item for item in items if item["job"] not in answers]


def _store_answers(
    ctx: RunContext,
    platform: Platform,
    host: str,
    jobs: Sequence[Job],
    answers: dict[str, wire.Submitted],
    error: JobmgrError | None,
) -> Sent:
    sent = not isinstance(error, ConnectError)
    text = failure_text(error) if isinstance(error, TransportError) else ""
    clock_offset = ctx.store.host(platform.name, host).clock_offset
    changes = [
        change_of(
            ctx,
            platform,
            job,
            answer_of(view_of(job), answers.get(job.id), sent, text),
            answered=job.id in answers,
            clock_offset=clock_offset,
            kind="submit",
        )
        for job in ctx.store.jobs_where(numbers=[job.number for job in jobs])
    ]
    return Sent(store_changes(ctx, changes), host, error)


def _call(
    ctx: RunContext,
    platform: Platform,
    host: str,
    items: list[dict[str, Any]],
    answers: dict[str, wire.Submitted],
    more: bool,
) -> wire.Hello:
    common, own = split_common(items)
    options: dict[str, Any] = {"max_active": platform.max_active, "platform": platform.name}
    if ctx.store.meta(M_FULL + platform.name) is not None:
        options["in_order"] = True

    def on_record(kind: str, value: Any) -> None:
        if kind == wire.JOB:
            answers[value.job] = value

    def once() -> wire.Hello:
        reply = ctx.world.hosts.call(
            platform,
            host,
            wire.JOBS_SUBMIT,
            ctx.wire_run(platform),
            options,
            own,
            common=common,
            on_record=on_record,
            more=more,
        )
        if reply.hello is None:
            raise RemoteError(f"{host}: jobs-submit was not answered")
        return reply.hello

    try:
        return once()
    except NotFoundError:  # the run directory is gone, or was never made: nothing was submitted
        ensure_ready(ctx, platform, host, sorted({item["job"].split("/")[1] for item in items}), force=True)
        return once()


def queue_tasks(ctx: RunContext, keys: Sequence[Key], why: str) -> None:
    """Note that tasks are ready but have to wait for room, and for what, as far as it was not noted yet."""
    noted = {i.key for i in ctx.store.instances(keys=keys) if i.state is State.QUEUED and i.detail == why}
    changes = [InstanceChange(*key, state=State.QUEUED, detail=why) for key in keys if key not in noted]
    if changes:
        ctx.store.set_instances(changes, ctx.now())
