"""What a person says to a run: submit these now, hold, release, retry, remove."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from jobmgr.core.states import ACTIVE, BEFORE_JOB, State
from jobmgr.errors import RefusedError
from jobmgr.service.context import M_FINISHED, M_HELD, RunContext
from jobmgr.service.engine import Engine, Totals
from jobmgr.service.kill import kill_jobs
from jobmgr.service.submit import DEFINITION_LOST
from jobmgr.store.records import InstanceChange, job_id

Key = tuple[str, str]


class Started(Struct, frozen=True):
    """The IDs of the new jobs, or of the tasks that stay queued; and what the turn came to."""

    ids: list[str]
    totals: Totals


def submit_now(ctx: RunContext, keys: Sequence[Key]) -> Started:
    """Submit these tasks, whatever the graph says. Raises RefusedError if a job of one is active.

    Returns the new jobs' IDs; a task whose host could not be reached stays queued, and its own ID is
    returned.
    """
    instances = {i.key: i for i in ctx.store.instances(keys=keys)}
    active = [i.id for i in instances.values() if i.state in ACTIVE]
    if active:
        raise RefusedError(
            f"{', '.join(active[:5])}: a job is active already; kill it first, or wait for its end"
        )
    lost = [i.id for i in instances.values() if not _has_script(ctx, i.task)]
    if lost:
        raise RefusedError(
            f"{', '.join(lost[:5])}: {DEFINITION_LOST}; submit the suite again by its path, or the command anew"
        )
    before = {key: instance.last_submit for key, instance in instances.items()}
    again = [key for key, instance in instances.items() if instance.state not in BEFORE_JOB]
    ctx.store.remove_outputs(again)
    ctx.store.set_instances(
        [
            InstanceChange(*key, state=State.QUEUED, hold=False, manual=True, text="submitted by a person")
            for key in keys
        ],
        ctx.now(),
    )
    ctx.store.set_meta({M_FINISHED: None})
    by_platform: dict[str, list[Key]] = {}
    for key in keys:
        by_platform.setdefault(ctx.task(key[1]).platform, []).append(key)
    with Engine(ctx, plans=False) as engine:
        for platform, group in by_platform.items():
            engine.submit(platform, group, before)
        while engine.busy:
            engine.step(5.0)
            engine.follow()
    after = {i.key: i for i in ctx.store.instances(keys=keys)}
    ids = [
        job_id(*key, after[key].last_submit)
        if after[key].last_submit > before[key] or after[key].state in ACTIVE
        else f"{key[0]}/{key[1]}"
        for key in keys
    ]
    return Started(ids, engine.totals)


def _has_script(ctx: RunContext, name: str) -> bool:
    task = ctx.task(name)
    return bool(task.script or task.script_file)


def retry(ctx: RunContext, keys: Sequence[Key]) -> Started:
    """Submit again. A job that was lost is ended for certain first, so that it cannot run beside the new one.
    """
    jobs = [job for key in keys if (job := ctx.store.job(*key)) is not None]
    waiting = [job.id for job in jobs if job.state in ACTIVE]
    if waiting:
        raise RefusedError(f"{', '.join(waiting[:5])}: still active; kill it first, or wait for its end")
    unsafe = [job for job in jobs if job.lost and not job.retry_safe]
    if unsafe:
        results = [result for host in kill_jobs(ctx, unsafe, even_final=True) for result in host.results]
        failed = [result for result in results if result.result in ("no-answer", "refused", "could-not")]
        if failed:
            raise RefusedError(
                f"{failed[0].job.id} was lost and may still run; "
                f"{failed[0].job.host} must say that it is gone first: {failed[0].text}"
            )
    ctx.store.set_instances([InstanceChange(*key, tries=0, submit_tries=0) for key in keys], ctx.now())
    return submit_now(ctx, keys)


def hold_run(ctx: RunContext, held: bool) -> None:
    """Hold or release the whole run."""
    ctx.store.set_meta({M_HELD: held})


def hold_tasks(ctx: RunContext, keys: Sequence[Key], held: bool) -> list[Key]:
    """Hold or release tasks; returns those that it concerned."""
    text = "held by a person" if held else "released by a person"
    states = {i.key: i.state for i in ctx.store.instances(keys=keys)}
    changes = [
        InstanceChange(*key, state=_held_state(states.get(key), held), hold=held, text=text) for key in keys
    ]
    made = ctx.store.set_instances(changes, ctx.now())
    return [key for key in keys if key in made]


def _held_state(state: State | None, held: bool) -> State | None:
    """The state that a task changes to as it is held or released; None: it keeps the one that it has."""
    if held:
        return State.HELD if state in BEFORE_JOB else None
    return State.WAITING if state is State.HELD else None


def remove(ctx: RunContext, keys: Sequence[Key]) -> list[Key]:
    """The graph no longer waits for these tasks. Jobs that are active go on, and are still looked at."""
    changes = [
        InstanceChange(*key, state=State.REMOVED, detail="removed by a person", text="removed")
        for key in keys
    ]
    made = ctx.store.set_instances(changes, ctx.now())
    return [key for key in keys if key in made]
