"""From the store's record of a job to what decisions take, and from a verdict back to the store."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence

from msgspec.structs import replace

from jobmgr.core.events import Changed
from jobmgr.core.evidence import Facts, Find, JobView, PollAgain, Resend, Revoke, Verdict
from jobmgr.core.retry import NEVER_FOLLOWED
from jobmgr.core.schedule import Intervals, Polled, next_poll
from jobmgr.core.states import ACTIVE
from jobmgr.platforms.model import BACKGROUND, Platform
from jobmgr.service.context import RunContext
from jobmgr.store.records import Change, Job, Message, Retrieval
from jobmgr_remote import wire

TELLS_NOTHING = frozenset({"late-answer", "final"})
"""Rules that leave everything as it was: the one that decided before is still the reason of the state."""


def store_changes(
    ctx: RunContext, changes: Sequence[Change], listed: Iterable[Retrieval] = ()
) -> tuple[Change, ...]:
    """Store a batch of changes, and the files that they bring home, in one transaction, and tell of them;
    returns those that were made.
    """
    if not changes:
        return ()
    made = ctx.store.apply(changes, ctx.now(), listed)
    stored = tuple(change for change in changes if change.old.number in made)
    tell(ctx, stored)
    return stored


def tell(ctx: RunContext, changes: Iterable[Change]) -> None:
    """Emit an event for each change that somebody would want to read about."""
    for change in changes:
        old, new = change.old, change.new
        if old.state is not new.state or bool(old.doubt) is not bool(new.doubt):
            ctx.emit(
                Changed(
                    ctx.name,
                    new.id,
                    old.state,
                    new.state,
                    new.detail,
                    new.native_id,
                    new.platform,
                    new.host,
                    new.exit_time or new.start_time or ctx.now(),
                    new.doubt,
                    new.runner,
                )
            )


def view_of(job: Job) -> JobView:
    """What a decision needs to know of a job."""
    return JobView(
        job=job.id,
        token=job.token,
        runner=job.runner,
        batch=job.runner != BACKGROUND,
        state=job.state,
        native_id=job.native_id,
        instance=job.instance,
        acknowledged=job.acknowledged,
        kill_intended=job.kill_intended is not None,
        tries=job.tries,
        seen_size=job.seen_size,
        seen_messages=job.seen_messages,
        look_time=job.look_time,
        look_instance=job.look_instance,
        grace_since=job.grace_since,
        grace_instance=job.grace_instance,
        retry_safe=job.retry_safe,
        rule=job.rule,
        detail=job.detail,
        facts=Facts(
            job.start_time,
            job.exit_time,
            job.exit_record,
            job.exit_code,
            job.signal,
            job.reason,
            job.elapsed,
            job.cpu,
            job.max_rss,
            job.hostname,
            job.attempts,
            job.lost,
            job.superseded,
        ),
    )


def change_of(
    ctx: RunContext,
    platform: Platform,
    job: Job,
    verdict: Verdict,
    *,
    evidence: wire.Evidence | None = None,
    answered: bool,
    clock_offset: float,
    kind: str = "poll",
) -> Change:
    """The new record of a job after a verdict. ``answered``: the host has said something about this job.

    ``clock_offset``: how far the host's clock is ahead of ours.
    """
    facts = verdict.facts
    asked = {type(action) for action in verdict.actions}
    now = ctx.now()
    polls = job.polls + 1 if answered and verdict.state is job.state else 0
    errors = 0 if answered else job.errors + 1
    polled = Polled(verdict.state, now, polls, errors, facts.start_time, clock_offset=clock_offset)
    new = job._replace(
        state=verdict.state,
        detail=verdict.detail,
        doubt=verdict.doubt,
        rule=job.rule if verdict.rule in TELLS_NOTHING and job.rule else verdict.rule,
        native_id=verdict.native_id,
        acknowledged=verdict.acknowledged,
        seen_size=verdict.seen_size,
        seen_messages=verdict.seen_messages,
        look_time=verdict.look_time,
        look_instance=verdict.look_instance,
        grace_since=verdict.grace_since,
        grace_instance=verdict.grace_instance,
        retry_safe=verdict.retry_safe,
        start_time=facts.start_time,
        exit_time=facts.exit_time,
        exit_record=facts.exit_record,
        exit_code=facts.exit_code,
        signal=facts.signal,
        reason=facts.reason,
        elapsed=facts.elapsed,
        cpu=facts.cpu,
        max_rss=facts.max_rss,
        hostname=facts.hostname,
        attempts=facts.attempts,
        lost=facts.lost,
        superseded=facts.superseded,
        tries=job.tries + (kind == "submit"),
        find=Find in asked,
        revoke=Revoke in asked,
        resend=Resend in asked,
        polls=polls,
        errors=errors,
        last_polled=now,
        last_answer=now if answered else job.last_answer,
        next_poll=_next_look(ctx, platform, job.task, verdict, polled),
    )
    messages = _messages(evidence.file) if evidence is not None else ()
    return Change(
        job,
        new,
        kind=kind,
        evidence=json.dumps(evidence) if evidence is not None else "",
        messages=messages,
        outputs=(*(("started",) if new.start_time is not None else ()), *_events(messages)),
        ends_all=verdict.state in NEVER_FOLLOWED and not platform.retrieve_logs,
    )


def _messages(file: wire.FileEvidence) -> tuple[Message, ...]:
    """The messages that an answer holds, which are the last ones that there are, each with its number."""
    first = max(file.message_count - len(file.messages), 0)
    return tuple(Message(first + index, *message) for index, message in enumerate(file.messages))


def _events(messages: Iterable[Message]) -> list[str]:
    return [message.text for message in messages if message.severity == "EVENT"]


def _next_look(
    ctx: RunContext, platform: Platform, name: str, verdict: Verdict, polled: Polled
) -> float | None:
    """When to look at a job of this task again; None for never."""
    again = [action.after for action in verdict.actions if isinstance(action, PollAgain | Resend)]
    if again:
        return polled.last + min(again)
    if any(isinstance(action, Revoke) for action in verdict.actions):
        return polled.last
    return _due(ctx, platform, name, polled) if verdict.state in ACTIVE else None


def again(ctx: RunContext, platform: Platform, job: Job, clock_offset: float) -> float | None:
    """When to look again at a job of which the last look, just now, has brought nothing new."""
    polled = Polled(job.state, ctx.now(), job.polls + 1, 0, job.start_time, clock_offset=clock_offset)
    return _due(ctx, platform, job.task, polled)


def _due(ctx: RunContext, platform: Platform, name: str, polled: Polled) -> float | None:
    task = ctx.shared_task(name)
    execution = platform.polling_interval
    if task is not None:
        execution = task.polling_interval or execution
        polled = replace(polled, time_limit=task.time_limit)
    intervals = Intervals(execution, platform.queued_polling_interval, platform.min_polling_interval)
    return next_poll(polled, intervals, random.random())
