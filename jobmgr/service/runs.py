"""Runs: where they are, how they are made, opened, and brought up to date with their suite."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from jobmgr.errors import NotFoundError, RefusedError, UsageError
from jobmgr.service.context import (
    M_ADHOC,
    M_CONTROLLER,
    M_CREATED,
    M_EPOCH,
    M_FINISHED,
    M_OWNER,
    M_SOURCE,
    M_SUITE,
    M_UUID,
    RunContext,
    World,
)
from jobmgr.store import Store
from jobmgr_remote import layout

if TYPE_CHECKING:
    from jobmgr.core.tasks import SuiteDef, TaskDef
    from jobmgr.service import tidy

DEFAULT_CYCLE = "1"


class Source(Struct, frozen=True):
    """A suite that was loaded from somewhere: its definition, and the folder its files are in (None: no
    files).
    """

    suite: SuiteDef
    folder: Path | None


def run_dir(world: World, name: str) -> Path:
    """Where a run of this name is kept. Raises UsageError for a name that cannot be one."""
    if not layout.is_part(name):
        raise UsageError(
            f"not a name for a run: {name!r} (letters, digits and _ . + @ % -, a letter or digit first)"
        )
    return world.run_root / name


def exists(world: World, name: str) -> bool:
    """Whether there is a run of this name, with its store."""
    return layout.is_part(name) and (world.run_root / name / layout.STORE_FILE).is_file()


def names(world: World) -> list[str]:
    """All runs of the run root."""
    try:
        entries = sorted(os.listdir(world.run_root))
    except OSError:
        return []
    return [name for name in entries if exists(world, name)]


def open_run(world: World, name: str, *, readonly: bool = False) -> RunContext:
    """Open a run. Raises NotFoundError, with what to do if only its store is gone."""
    folder = run_dir(world, name)
    if not exists(world, name):
        if folder.is_dir():
            raise NotFoundError(
                f"{folder} has no store ({layout.STORE_FILE}); "
                f"rebuild it from its hosts: jobmgr recover {name} --from PLATFORM"
            )
        known = names(world)
        raise NotFoundError(
            f"no run {name!r} in {world.run_root}" + (f" (runs: {', '.join(known[:8])})" if known else "")
        )
    return RunContext(world, name, folder, Store.open(str(folder / layout.STORE_FILE), readonly=readonly))


def create_run(
    world: World,
    name: str,
    suite: SuiteDef,
    *,
    run_uuid: str = "",
    epoch: int = 1,
    source: Path | None = None,
    cycle: str | None = None,
) -> RunContext:
    """Make the run directory and the store of a new run, and open it. ``cycle``: its first one, if it has
    one already; ``source``: the folder that it is installed from.

    The store comes last and is made whole, first cycle included: a run is there, or it is not.
    """
    folder = make_run_dir(world, name)
    now = world.clock()
    store = Store.create(
        str(folder / layout.STORE_FILE),
        {
            M_UUID: run_uuid or str(uuid.uuid4()),
            M_CONTROLLER: world.controller,
            M_EPOCH: epoch,
            M_OWNER: world.owner,
            M_SUITE: suite.to_json(),
            M_CREATED: now,
            **({} if source is None else {M_SOURCE: str(source)}),
        },
        first_cycle=None if cycle is None else (cycle, list(suite.tasks), now),
    )
    return RunContext(world, name, folder, store)


def make_run_dir(world: World, name: str) -> Path:
    """The run directory with its parts, made if it is not there.

    Raises RefusedError if something else is in the way, UsageError if it cannot be made.
    """
    from jobmgr.service import install

    folder = run_dir(world, name)
    if folder.exists() and not (folder / layout.SERVICE).is_dir() and any(folder.iterdir()):
        raise RefusedError(f"{folder} exists and is no run directory; move it away, or choose another --name")
    try:
        world.run_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for part in (layout.SERVICE, layout.JOB_LOGS, layout.WORK, layout.SHARE_CYCLE):
            install.private_folders(folder / part)
        folder.chmod(0o700)
        (folder / layout.SERVICE).chmod(0o700)
    except OSError as error:
        raise UsageError(
            f"cannot make the run directory {folder}: {error.strerror} ({error.filename})"
        ) from error
    return folder


def install_suite(
    world: World, source: Source, name: str | None, cycle: str | None, *, new: bool = False
) -> RunContext:
    """Install a suite under a name: make its run, or bring the one that is there up to date.

    Raises RefusedError if a run of that name has another source, or with ``new`` if jobs are active.
    """
    chosen = name or source.suite.name
    check_cycle(cycle)
    if new and exists(world, chosen):
        with_old = open_run(world, chosen)
        clean_run(with_old, local=True, remote=True)
    if not exists(world, chosen):
        _install_files(source, make_run_dir(world, chosen))
        return create_run(world, chosen, source.suite, source=source.folder, cycle=cycle or DEFAULT_CYCLE)
    ctx = open_run(world, chosen)
    _same_source(ctx, source)
    _install_files(source, ctx.run_dir)
    found = {} if source.folder is None else {M_SOURCE: str(source.folder)}
    ctx.store.set_meta({M_SUITE: source.suite.to_json(), **found})
    ctx.forget_suite()
    add_cycle(ctx, cycle)
    return ctx


def _install_files(source: Source, folder: Path) -> None:
    if source.folder is not None:
        from jobmgr.service import install

        files = install.source_files(source.folder, source.suite.install, _always(source))
        install.install_source(source.folder, folder, files)


def _same_source(ctx: RunContext, source: Source) -> None:
    before = ctx.meta(M_SOURCE)
    if source.folder is not None and before and Path(before) != source.folder:
        raise RefusedError(
            f"a run {ctx.name!r} exists that was installed from {before}; "
            "choose another --name, or --new to begin afresh"
        )


def _always(source: Source) -> list[str]:
    """Files that a suite names, and so are installed whatever its ``install`` patterns say."""
    assert source.folder is not None
    named = {"suite.yaml", "bin"}
    for task in _one_of_each(source.suite):
        if task.script_file:
            named.add(task.script_file)
    for name in source.suite.tasks:
        for path, _target in source.suite.tasks[name].inputs:
            full = os.path.normpath(source.folder / path)
            if not path.startswith("~") and full.startswith(f"{source.folder}{os.sep}"):
                named.add(os.path.relpath(full, source.folder))
    return sorted(path for path in named if (source.folder / path).exists())


def _one_of_each(suite: SuiteDef) -> Iterable[TaskDef]:
    seen: set[str] = set()
    for name in suite.tasks:
        task = suite.tasks[name]
        if task.base not in seen:
            seen.add(task.base)
            yield task


def add_cycle(ctx: RunContext, cycle: str | None) -> None:
    """Add a cycle, and tasks that the suite has gained, to the run. Raises UsageError for a bad label."""
    check_cycle(cycle)
    known = ctx.store.cycles()
    wanted = [cycle] if cycle is not None else known or [DEFAULT_CYCLE]
    added = sum(ctx.store.add_cycle(one, list(ctx.suite.tasks), ctx.now()) for one in wanted)
    if added and ctx.store.meta(M_FINISHED) is not None:
        ctx.store.set_meta({M_FINISHED: None})


def check_cycle(cycle: str | None) -> None:
    if cycle is not None and not layout.is_part(cycle):
        raise UsageError(
            f"not a cycle: {cycle!r} (an integer, or a basic-format date-time such as 20261120T0000Z)"
        )


def add_tasks(ctx: RunContext, tasks: Sequence[TaskDef], cycle: str = DEFAULT_CYCLE) -> None:
    """Add ad-hoc tasks to a run (the caller holds its loop)."""
    ctx.forget_suite()
    suite = ctx.suite.with_tasks(tasks)
    ctx.store.set_meta({M_SUITE: suite.to_json(), M_FINISHED: None, M_ADHOC: True})
    ctx.forget_suite()
    ctx.store.add_cycle(cycle, [task.name for task in tasks], ctx.now())


class Cleaned(Struct, frozen=True):
    """What ``clean`` deleted, or would delete: (host, path), host "" for here; and hosts that could not be
    cleaned.
    """

    paths: tuple[tuple[str, str], ...]
    failed: tuple[tidy.Tidied, ...] = ()


def clean_run(ctx: RunContext, *, local: bool, remote: bool, dry_run: bool = False) -> Cleaned:
    """Delete a run's directories. Hosts first: as long as one of them still has something, the store is kept.

    Raises RefusedError while jobs are active. A host that refuses or does not answer is told in ``failed``.
    """
    from jobmgr.service import tidy

    tidy.refuse_while_active(ctx)
    paths: list[tuple[str, str]] = []
    failed: list[tidy.Tidied] = []
    if remote:
        for host in tidy.tidy_hosts(ctx, clean=True, dry_run=dry_run):
            paths.extend((host.host, path) for path in host.removed)
            if host.error is not None:
                failed.append(host)
    if local and not failed:
        paths.extend(("", path) for path in tidy.local_paths(ctx.run_dir))
        if not dry_run:
            ctx.store.close()
            tidy.clean_local(ctx.run_dir)
    if failed and not dry_run:
        hosts = ", ".join(f"{one.host} ({str(one.error).splitlines()[0]})" for one in failed)
        raise RefusedError(
            f"{ctx.name}: not cleaned on {hosts}; nothing was deleted here. Try again later, or --local"
        )
    return Cleaned(tuple(paths), tuple(failed))


def controller_id(run_root: Path) -> str:
    """The name of this controller: made once per run root, and kept there.

    Two controllers of one user are told apart by it on the hosts.
    """
    path = run_root / ".controller"
    try:
        return str(json.loads(path.read_text(encoding="utf-8"))["controller"])
    except (OSError, ValueError, KeyError):
        pass
    made = str(uuid.uuid4())
    try:
        run_root.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = path.with_name(f".controller.{os.getpid()}")
        beside.touch(mode=0o600)
        beside.write_text(json.dumps({"controller": made}) + "\n", encoding="utf-8")
        try:
            os.link(beside, path)
        except FileExistsError:
            return controller_id(run_root)
        finally:
            beside.unlink()
    except OSError as error:
        raise UsageError(
            f"the run root {run_root} cannot be used: {error.strerror} ({error.filename})"
        ) from error
    return made
