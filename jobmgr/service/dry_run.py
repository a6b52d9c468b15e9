"""``submit --dry-run``: the job files that would be sent. Connects to nothing and changes nothing.

What only the host knows (its bash, its hostname) is shown as a placeholder.
"""

from __future__ import annotations

from collections.abc import Sequence

from jobmgr.core.plan import Instance, Plan
from jobmgr.core.select import Candidate, select
from jobmgr.core.states import State
from jobmgr.core.tasks import SuiteDef
from jobmgr.platforms import third_party
from jobmgr.platforms.model import Platform
from jobmgr.service.context import RunContext, World
from jobmgr.service.jobspec import job_item
from jobmgr.service.report import plan_of, selected
from jobmgr.suite import preview

Row = tuple[str, str, str]
NO_TOKEN = "00000000-0000-0000-0000-000000000000"


def of_run(ctx: RunContext, ids: Sequence[str], cycle: str | None) -> list[Row]:
    """(job, platform, job file) of what a run would submit next; a cycle that it has not got would be added."""
    if cycle is not None and cycle not in ctx.store.cycles():
        return of_suite(ctx.world, ctx.suite, ctx.name, ids, cycle, ctx.source_root)
    if ids:
        keys = [(c, task) for c, task, _ in selected(ctx, ids)]
    else:
        cycles = [cycle] if cycle else ctx.store.cycles()
        keys = [(c, task) for c in cycles for task in plan_of(ctx, c).ready(ctx.now())]
    last = {i.key: i.last_submit for i in ctx.store.instances(keys=keys)}
    return [_row(ctx.world, ctx.suite, ctx.name, key, last.get(key, 0) + 1, ctx.source_root) for key in keys]


def of_suite(
    world: World, suite: SuiteDef, name: str, ids: Sequence[str], cycle: str, source_root: str
) -> list[Row]:
    """The same for a suite that is not installed."""
    if ids:
        pool = [Candidate(cycle, task, State.WAITING, ()) for task in suite.tasks]
        tasks = [candidate.task for candidate, _ in select(ids, pool, suite.families)]
    else:
        plan = Plan(suite.graph, cycle)
        for task in suite.tasks:
            plan.put(Instance(task, State.WAITING))
        tasks = plan.ready(0.0)
    return [_row(world, suite, name, (cycle, task), 1, source_root) for task in tasks]


def _row(
    world: World, suite: SuiteDef, name: str, key: tuple[str, str], number: int, source_root: str
) -> Row:
    cycle, task_name = key
    task = suite.tasks[task_name]
    platform = world.candidates(task.platform)[0]
    job = f"{cycle}/{task_name}/{number:02d}"
    item = {
        "job": job,
        "token": NO_TOKEN,
        "suite": name,
        **job_item(task, platform, cycle=cycle, source_root=source_root, home=str(world.home)),
    }
    third_party.register(platform, str(item.get("runner") or platform.runner))
    return (
        job,
        platform.name,
        preview.job_file(item, platform.runner, platform.hosts[0], _run_dir(world, platform, name), name),
    )


def _run_dir(world: World, platform: Platform, name: str) -> str:
    """The run directory; variables of a host's path stay as they are written: only the host knows them."""
    root = str(world.run_root) if platform.transport == "local" else platform.run_root
    return f"{root if root.startswith('/') else f'/{root}'}/{name}"
