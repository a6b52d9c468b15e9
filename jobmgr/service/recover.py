"""Rebuild the store of a run from the hosts' job.status files, or take a run over from another controller.

The epoch is raised above what any host knows, and written there by ``remote-init``; the old controller is
told "taken over" from then on, wherever it wants to change something. The suite's definition comes from the
installed suite.yaml, at home if it is there, else from a host.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from jobmgr.core.decide import decide
from jobmgr.core.evidence import JobView, Look
from jobmgr.core.found import submission
from jobmgr.core.graph import Graph
from jobmgr.core.states import State
from jobmgr.core.tasks import SuiteDef, TaskDef, TaskTable
from jobmgr.errors import JobmgrError, NotFoundError, RefusedError, TransportError
from jobmgr.platforms.model import BACKGROUND, Platform
from jobmgr.service import install, remote_init, runs
from jobmgr.service.context import M_ADHOC, M_SUITE, RunContext, World
from jobmgr.store.records import Host, Job
from jobmgr.suite.load import SUITE_FILE, load_suite
from jobmgr.transport import rsync
from jobmgr_remote import layout, wire

NOTHING_REBUILT = (
    "nothing was rebuilt: what it has of the run might be run a second time. "
    "Try again when it answers; leave it out of --from if it has none of its jobs"
)


class Recovered(Struct, frozen=True):
    """What was found: jobs, the new epoch, hosts that answered, and hosts that did not (with the reason)."""

    jobs: int
    epoch: int
    hosts: tuple[str, ...]
    failed: tuple[tuple[str, str], ...]


class _Scan(Struct, frozen=True):
    platform: Platform
    host: str
    hello: wire.Hello
    evidence: tuple[wire.Evidence, ...]
    uuid: str
    epoch: int


def recover(world: World, name: str, platforms: Sequence[Platform]) -> Recovered:
    """Rebuild the run, from all of these platforms or not at all.

    Raises NotFoundError if no host knows it, RefusedError if its store is there and sound, and a
    TransportError if a platform gives no answer: its jobs would count as never submitted, and run again.
    """
    if runs.exists(world, name):
        raise RefusedError(
            f"{runs.run_dir(world, name)} has a store; nothing to recover. "
            f"(To rebuild it all the same, move {layout.STORE_FILE} away.)"
        )
    scans: list[_Scan] = []
    failed: list[tuple[str, str]] = []
    for platform in platforms:
        silent: TransportError | None = None
        for host in platform.hosts:
            try:
                scans.append(_scan(world, name, platform, host))
                break  # the hosts of a platform share their files
            except TransportError as error:
                silent = error
                failed.append((host, str(error).splitlines()[0]))
            except JobmgrError as error:
                failed.append((host, str(error).splitlines()[0]))
        else:
            if silent is not None:
                raise type(silent)(f"{str(silent).splitlines()[0]}; {NOTHING_REBUILT}") from silent
    if not scans:
        told = "; ".join(f"{host}: {text}" for host, text in failed)
        raise NotFoundError(f"no host knows a run {name!r}{f' ({told})' if told else ''}")
    identities = {scan.uuid for scan in scans}
    if len(identities) > 1:
        raise RefusedError(f"the hosts have different runs named {name!r}; recover them one host at a time")
    epoch = max(scan.epoch for scan in scans) + 1
    ctx = runs.create_run(world, name, _empty(name), run_uuid=identities.pop(), epoch=epoch)
    try:
        count = _rebuild(ctx, scans)
    except JobmgrError:  # half a store would be taken for a sound one
        ctx.store.close()
        for path in ctx.run_dir.glob(f"{layout.STORE_FILE}*"):
            path.unlink()
        raise
    return Recovered(count, epoch, tuple(scan.host for scan in scans), tuple(failed))


def _rebuild(ctx: RunContext, scans: Sequence[_Scan]) -> int:
    """Fill an empty store from what hosts have, and take the run over there; returns the number of jobs."""
    if scans[0].hello.run_dir.rsplit("/", 1)[-1] != ctx.name:
        ctx.store.set_meta({M_ADHOC: True})
    for scan in scans:
        remote_init.initialise(ctx, scan.platform, scan.host, Host(scan.platform.name, scan.host))
    _suite(ctx, scans)
    count = sum(_restore(ctx, scan) for scan in scans)
    for cycle in ctx.store.cycles() or [runs.DEFAULT_CYCLE]:
        ctx.store.add_cycle(cycle, list(ctx.suite.tasks), ctx.now())
    return count


def _scan(world: World, name: str, platform: Platform, host: str) -> _Scan:
    """Ask one host what it has of a run: first under the name, then under the name of this controller's
    ad-hoc run.
    """
    root = (
        str(world.run_root)
        if platform.transport == "local" and not platform.chosen("run_root")
        else platform.run_root
    )
    error: JobmgrError | None = None
    for remote_name in (name, f"{name}-{world.controller[:8]}"):
        run = wire.Run(root, remote_name, "", world.controller, 0, world.owner)
        evidence: list[wire.Evidence] = []
        owner: dict[str, Any] = {}
        try:
            reply = world.hosts.call(platform, host, wire.SCAN, run, {})
        except NotFoundError as failed:
            error = failed
            continue
        for kind, value in reply.records:
            if kind == wire.JOB:
                evidence.append(value)
            elif kind == wire.DATA:
                owner.update(value)
        if reply.hello is None or reply.truncated:
            raise NotFoundError(f"{host}: the answer ended early; nothing was rebuilt from it")
        return _Scan(
            platform,
            host,
            reply.hello,
            tuple(evidence),
            str(owner.get("uuid", "")),
            int(owner.get("epoch", 0) or 0),
        )
    assert error is not None
    raise error


def _empty(name: str) -> SuiteDef:
    return SuiteDef(name, {}, Graph({}))


def _suite(ctx: RunContext, scans: Sequence[_Scan]) -> None:
    """The suite's definition from the installed file; tasks that only the hosts know are added as they were
    seen.
    """
    file = ctx.run_dir / SUITE_FILE
    for scan in scans:
        if not file.is_file():
            rsync.pull(
                ctx.world.hosts.for_files(scan.platform, scan.host),
                scan.hello.run_dir,
                str(ctx.run_dir),
                [SUITE_FILE],
            )
    suite = _empty(ctx.name)
    if file.is_file():
        suite = load_suite(file)
        files = install.source_files(ctx.run_dir, suite.install)
        (ctx.run_dir / layout.SERVICE / "installed").write_text("".join(f"{path}\n" for path in files))
    known = set(suite.tasks)
    extra = {}
    for scan in scans:
        for evidence in scan.evidence:
            task = evidence.job.split("/")[1]
            if task not in known:
                extra[task] = TaskDef(task, task, platform=scan.platform.name)
    if extra:
        suite = (
            suite.with_tasks(list(extra.values()))
            if suite.tasks
            else SuiteDef(ctx.name, TaskTable.of(extra.values()), Graph(dict.fromkeys(extra)))
        )
    ctx.store.set_meta({M_SUITE: suite.to_json()})
    ctx.forget_suite()


def _restore(ctx: RunContext, scan: _Scan) -> int:
    now = ctx.now()
    jobs = [_job(scan, evidence, now) for evidence in scan.evidence if layout.is_token(evidence.token)]
    return ctx.store.restore(jobs, now)


def _job(scan: _Scan, evidence: wire.Evidence, now: float) -> Job:
    """A job as its host tells of it: the first verdict, from a record that knows nothing but that it was
    submitted.
    """
    cycle, task, number = layout.split_job_id(evidence.job)
    runner, instance, when = submission(evidence)
    runner = runner or BACKGROUND
    view = JobView(
        evidence.job,
        evidence.token,
        runner,
        runner != BACKGROUND,
        State.SUBMITTED,
        native_id=str(evidence.native_id or ""),
        instance=instance,
        acknowledged=True,
    )
    verdict = decide(view, Look(evidence, scan.hello.time, scan.hello.instance, scan.hello.run_state))
    known = verdict.facts
    submitted = now if when is None else when
    values: dict[str, Any] = dict.fromkeys(Job._fields)
    values.update(
        number=0,
        cycle=cycle,
        task=task,
        submit=int(number),
        token=evidence.token,
        platform=scan.platform.name,
        host=scan.host,
        transport="",
        runner=runner,
        state=verdict.state,
        changed=known.exit_time or known.start_time or submitted,
        detail=verdict.detail,
        doubt=verdict.doubt,
        rule=verdict.rule,
        native_id=verdict.native_id,
        instance=view.instance,
        acknowledged=True,
        tries=1,
        submit_time=submitted,
        start_time=known.start_time,
        exit_time=known.exit_time,
        exit_record=known.exit_record,
        exit_code=known.exit_code,
        signal=known.signal,
        reason=known.reason,
        elapsed=known.elapsed,
        cpu=known.cpu,
        max_rss=known.max_rss,
        hostname=known.hostname,
        attempts=known.attempts,
        lost=known.lost,
        retry_safe=verdict.retry_safe,
        grace_since=verdict.grace_since,
        grace_instance=verdict.grace_instance,
        look_time=verdict.look_time,
        look_instance=verdict.look_instance,
        seen_size=verdict.seen_size,
        seen_messages=verdict.seen_messages,
        find=False,
        revoke=False,
        resend=False,
        polls=0,
        errors=0,
        superseded=known.superseded,
        followed=False,
        last_polled=now,
        last_answer=now,
        next_poll=now,
    )
    return Job(**values)
