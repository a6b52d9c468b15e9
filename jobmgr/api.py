"""The library: ``Session``, ``Run``, ``Job``. The command line is built on it.

It never prints, exits, sets signal handlers or reads the environment. It raises the errors of
:mod:`jobmgr.errors`. A Session and
what comes from it may be used by several threads. docs/library.md has a worked example.
"""

from __future__ import annotations

import getpass
import os
import random
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jobmgr.core.events import Emit
from jobmgr.core.states import ACTIVE, FINAL, State
from jobmgr.errors import NotFoundError, RefusedError, UsageError, WaitTimeout
from jobmgr.service.context import M_FINISHED, M_SOURCE, RunContext, World
from jobmgr.service.report import JobRow, Summary, Why, WhyLine

if TYPE_CHECKING:
    from jobmgr.core.tasks import SuiteDef
    from jobmgr.platforms.load import Platforms
    from jobmgr.platforms.model import Platform, Shown
    from jobmgr.service.log import LogFile
    from jobmgr.service.loop import Turned
    from jobmgr.service.recover import Recovered
    from jobmgr.service.runs import Cleaned, Source
    from jobmgr.store.records import Event as HistoryRow
    from jobmgr.store.records import Job as StoredJob
    from jobmgr.suite.api_model import Suite

__all__ = [
    "CleanResult",
    "DryRun",
    "HostResult",
    "Job",
    "JobRow",
    "KillResult",
    "Resolved",
    "RetrieveResult",
    "Run",
    "Session",
    "Summary",
    "TickResult",
    "Why",
    "WhyLine",
]

LOCK_PATIENCE = 30.0
"""Seconds that a command waits for another one that turns the same run's loop."""


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a SUITE word means: ``kind`` is ``run`` or ``path``; ``note`` says which was taken where both were
    possible.
    """

    kind: str
    name: str
    path: Path | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class DryRun:
    """A job that would be submitted: ``text`` is its job file, as far as it is known without asking the host.
    """

    job: str
    platform: str
    text: str


@dataclass(frozen=True, slots=True)
class TickResult:
    """What one turn did. ``busy``: another process is at work on the run, nothing was done.

    ``unreachable`` and ``person`` map hosts to why they gave no answer; for those in ``person`` a person must
    act.
    """

    run: str
    busy: bool = False
    polled: int = 0
    changed: int = 0
    submitted: int = 0
    retrieved: int = 0
    unreachable: Mapping[str, str] = field(default_factory=dict)
    person: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KillResult:
    """What became of one kill: ``killed``, ``already-finished``, ``not-found``, ``could-not`` or
    ``no-answer``; ``text``: why.
    """

    id: str
    result: str
    text: str


@dataclass(frozen=True, slots=True)
class RetrieveResult:
    """What came home: number of files, bytes; what was left out, with the reason; what is still to come."""

    files: int
    bytes: int
    left_out: Sequence[tuple[str, str]] = ()
    to_come: int = 0
    unreachable: Mapping[str, str] = field(default_factory=dict)
    person: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class HostResult:
    """What one host did: the paths that it removed, or the error text ("" = none)."""

    host: str
    removed: Sequence[str] = ()
    error: str = ""
    exit_code: int = 0


@dataclass(frozen=True, slots=True)
class CleanResult:
    """What was (or would be) deleted: (host, path), host "" for this machine; hosts that refused or gave no
    answer.
    """

    paths: Sequence[tuple[str, str]]
    failed: Sequence[HostResult] = ()


class Session:
    """The way in: platforms, a run root, and the connections of this process.

    ``platforms``: a platforms.yaml read after the system's and the user's own (``user_files=False``: instead
    of them).
    ``run_root``: the folder with the run directories, ``~/jobmgr-run`` by default. ``ssh_config``: a
    configuration for ssh
    instead of the user's. ``on_event`` gets the records of :mod:`jobmgr.core.events`, one call at a time.
    ``home``: the home
    directory, the user's by default. Raises PlatformError if a platform file is wrong.
    """

    def __init__(
        self,
        platforms: str | os.PathLike[str] | None = None,
        run_root: str | os.PathLike[str] | None = None,
        *,
        ssh_config: str | os.PathLike[str] | None = None,
        user_files: bool = True,
        on_event: Emit | None = None,
        home: str | os.PathLike[str] | None = None,
    ) -> None:
        self._home = Path(home) if home is not None else Path.home()
        self._platform_file = None if platforms is None else self._path(platforms)
        self.run_root = self._path(run_root) if run_root is not None else self._home / "jobmgr-run"
        self._ssh_config = None if ssh_config is None else self._path(ssh_config)
        self._user_files = user_files
        self._on_event = on_event
        self._lock = threading.RLock()
        self._loaded: Platforms | None = None
        self._made: World | None = None
        self._runs: list[RunContext] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of connections and stores. Jobs go on; a shared connection stays up."""
        with self._lock:
            runs, self._runs = self._runs, []
            if self._made is not None:
                self._made.hosts.close()
        for ctx in runs:
            ctx.store.close()

    def _path(self, path: str | os.PathLike[str]) -> Path:
        text = os.fspath(path)
        if text == "~" or text.startswith("~/"):
            text = str(self._home) + text[1:]
        return Path(os.path.abspath(text))

    # --- the world -----------------------------------------------------------------------------------

    def _platforms(self) -> Platforms:
        with self._lock:
            if self._loaded is None:
                from jobmgr.platforms import load, ssh_hosts

                extra = self._platform_file
                files = (
                    load.standard_files(self._home, extra) if self._user_files else (extra,) if extra else ()
                )

                def hosts() -> set[str]:
                    configs = (
                        (self._ssh_config,) if self._ssh_config else ssh_hosts.ssh_config_files(self._home)
                    )
                    return ssh_hosts.literal_hosts(configs, self._home)

                self._loaded = load.load_platforms(files, extra, hosts)
            return self._loaded

    def _world(self) -> World:
        with self._lock:
            if self._made is None:
                from jobmgr.service import runs
                from jobmgr.service.hosts import Hosts

                self._made = World(
                    run_root=self.run_root,
                    home=self._home,
                    controller=runs.controller_id(self.run_root),
                    owner=f"{getpass.getuser()}@{socket.gethostname()}",
                    hosts=Hosts(ssh_config=None if self._ssh_config is None else str(self._ssh_config)),
                    candidates=lambda name: self._platforms().candidates(name, random.Random()),
                    clock=time.time,
                    on_event=self._on_event,
                )
            return self._made

    def _open(self, name: str) -> RunContext:
        from jobmgr.service import runs

        ctx = runs.open_run(self._world(), name)
        return self._keep(ctx)

    def _keep(self, ctx: RunContext) -> RunContext:
        with self._lock:
            self._runs.append(ctx)
        return ctx

    # --- suites --------------------------------------------------------------------------------------

    def resolve(self, word: str | os.PathLike[str]) -> Resolved:
        """What a SUITE word means: a path if it has a ``/``, ends in ``.yaml`` or is ``.``; else a run, else
        a folder.

        Raises NotFoundError if it is none of them.
        """
        from jobmgr.service import runs

        text = os.fspath(word)
        if (
            "/" in text
            or text.endswith((".yaml", ".yml"))
            or text in (".", "..")
            or not isinstance(word, str)
        ):
            path = self._path(text)
            return Resolved("path", path.parent.name if path.is_file() else path.name, path)
        folder = self._path(text)
        is_folder = (folder / "suite.yaml").is_file()
        if runs.exists(self._world(), text):
            both = f"{text}: the run of that name (for the folder say ./{text})" if is_folder else ""
            return Resolved("run", text, None, both or self._source_hint(text))
        if is_folder:
            return Resolved(
                "path", text, folder, f"{text}: the folder ./{text} (there is no run of that name)"
            )
        raise NotFoundError(
            f"no run {text!r} in {self.run_root}, and no folder of that name with a suite.yaml here"
        )

    def _source_hint(self, name: str) -> str:
        from jobmgr.service import install

        ctx = self._open(name)
        source = ctx.meta(M_SOURCE)
        newer = install.newest_change(Path(source), ctx.run_dir) if source else None
        return (
            f"{name}: {source}/{newer} is newer than what is installed; to install it: {source}"
            if newer
            else ""
        )

    def _load(self, suite: Suite | str | os.PathLike[str]) -> Source:
        from jobmgr.service.runs import Source
        from jobmgr.suite import load
        from jobmgr.suite.api_model import Suite as SuiteObject

        if isinstance(suite, SuiteObject):
            made = load.suite_from_objects(suite, self._platforms().problem)
            return Source(made, None if suite.folder is None else Path(suite.folder).resolve())
        path = self._path(suite)
        return Source(
            load.load_suite(path, self._platforms().problem), load.suite_file(path).resolve().parent
        )

    def validate(self, suite: Suite | str | os.PathLike[str]) -> SuiteDef:
        """Check a suite, its platforms included. Raises SuiteError, or PlatformError, with all that is wrong.
        """
        if isinstance(suite, str):
            resolved = self.resolve(suite)
            if resolved.path is None:
                self._platforms()
                return self._load(self.run_root / resolved.name).suite
            return self._load(resolved.path).suite
        return self._load(suite).suite

    def _install(
        self, suite: Suite | str | os.PathLike[str], name: str | None, cycle: str | None, new: bool
    ) -> RunContext:
        """The run that a SUITE means: installed from its path or object, or as it is."""
        from jobmgr.service import runs

        if isinstance(suite, str):
            resolved = self.resolve(suite)
            if resolved.path is None:
                if new:
                    raise UsageError(
                        f"{suite}: --new installs a suite again, so it needs its path, not the name of a run"
                    )
                ctx = self._open(resolved.name)
                if cycle is not None:
                    runs.add_cycle(ctx, cycle)
                return ctx
            suite = resolved.path
        return self._keep(runs.install_suite(self._world(), self._load(suite), name, cycle, new=new))

    def submit(
        self,
        suite: Suite | str | os.PathLike[str],
        ids: Sequence[str] = (),
        *,
        name: str | None = None,
        cycle: str | None = None,
        new: bool = False,
    ) -> Run:
        """Install a suite (a path or object) or take a run by name, submit what is ready, and return.

        With ``ids``: these tasks now, whatever the graph says. ``new``: delete the run of that name first, on
        its hosts
        too. Hosts that could not be reached are told as events; their tasks stay queued.
        """
        ctx = self._install(suite, name, cycle, new)
        run = Run(self, ctx)
        if ids:
            run._submit_now(ids)
        else:
            run._let_through()
            with run._loop_lock("submit", LOCK_PATIENCE):
                run._turn(poll_due=False)
        return run

    def play(
        self,
        suite: Suite | str | os.PathLike[str],
        *,
        name: str | None = None,
        cycle: str | None = None,
        new: bool = False,
        timeout: float | None = None,
    ) -> Run:
        """As :meth:`submit`, and stay until the run is at its end. Raises WaitTimeout after ``timeout``
        seconds.
        """
        from jobmgr.service import loop

        ctx = self._install(suite, name, cycle, new)
        run = Run(self, ctx)
        run._let_through()
        with run._loop_lock("play", LOCK_PATIENCE):
            run._renew_contacts()
            turned = loop.watch_to_the_end(ctx, timeout=timeout)
        run._say_if_stuck(turned)
        return run

    def dry_run(
        self,
        suite: Suite | str | os.PathLike[str],
        ids: Sequence[str] = (),
        *,
        name: str | None = None,
        cycle: str | None = None,
    ) -> list[DryRun]:
        """The job files that ``submit`` would send first, or those of ``ids``. Connects to nothing, changes
        nothing.
        """
        from jobmgr.service import dry_run, runs

        resolved = self.resolve(suite) if isinstance(suite, str) else None
        if resolved is not None and resolved.path is None:
            ctx = self._open(resolved.name)
            return [DryRun(*row) for row in dry_run.of_run(ctx, ids, cycle)]
        source = self._load(suite if resolved is None or resolved.path is None else resolved.path)
        rows = dry_run.of_suite(
            self._world(),
            source.suite,
            name or source.suite.name,
            ids,
            cycle or runs.DEFAULT_CYCLE,
            str(source.folder or self.run_root),
        )
        return [DryRun(*row) for row in rows]

    # --- ad-hoc jobs -----------------------------------------------------------------------------------

    def run(self, platform: str, command: Sequence[str], *, wait: bool = False, **options: Any) -> Job:
        """One ad-hoc job; the options are those of :meth:`run_many`. With ``parameters`` the first of several
        jobs.
        """
        jobs = self.run_many(platform, command, **options)
        if wait:
            for job in jobs:
                job.wait()
        return jobs[0]

    def run_many(
        self,
        platform: str,
        command: Sequence[str],
        *,
        inputs: Sequence[str | os.PathLike[str]] = (),
        outputs: Sequence[str] = (),
        to: str | os.PathLike[str] | None = None,
        name: str | None = None,
        suite: str = "adhoc",
        time_limit: float | str | None = None,
        env: Mapping[str, str] | None = None,
        directives: Sequence[str] = (),
        parameters: Mapping[str, object] | None = None,
    ) -> list[Job]:
        """Run a command on a platform: one job, or one for each combination of ``parameters``.

        ``inputs`` are put into the work directory, a local ``./script`` that is the command too; ``outputs``
        are patterns that
        come home at the end, into the folder ``to`` if given. ``time_limit`` in seconds or as ``1h30m``.
        Returns when
        the jobs were submitted, or are queued because the host could not be reached.
        """
        from jobmgr.service import retrieve, runs

        world = self._world()
        if not runs.exists(world, suite):
            from jobmgr.core.graph import Graph
            from jobmgr.core.tasks import SuiteDef

            self._adhoc(
                suite,
                (),
                platform,
                command,
                folder=Path.cwd(),
                inputs=inputs,
                outputs=outputs,
                name=name,
                time_limit=time_limit,
                env=env,
                directives=directives,
                parameters=parameters,
            )
            ctx = self._keep(runs.create_run(world, suite, SuiteDef(suite, {}, Graph({}))))
        else:
            ctx = self._open(suite)
        run = Run(self, ctx)
        run._let_through()
        with run._loop_lock("run", LOCK_PATIENCE):
            ctx.forget_suite()
            tasks = self._adhoc(
                suite,
                {base for task in ctx.suite.tasks.values() for base in (task.name, task.base)},
                platform,
                command,
                folder=Path.cwd(),
                inputs=inputs,
                outputs=outputs,
                name=name,
                time_limit=time_limit,
                env=env,
                directives=directives,
                parameters=parameters,
            )
            runs.add_tasks(ctx, tasks)
            if to is not None:
                wanted = {
                    **(ctx.store.meta(retrieve.M_DELIVER) or {}),
                    **{t.name: str(self._path(to)) for t in tasks},
                }
                ctx.store.set_meta({retrieve.M_DELIVER: wanted})
            run._turn(poll_due=False)
        return [Job(run, runs.DEFAULT_CYCLE, task.name, 0) for task in tasks]

    def run_dry(self, platform: str, command: Sequence[str], **options: Any) -> list[DryRun]:
        """The job files of :meth:`run_many`, nothing submitted."""
        from jobmgr.core.graph import Graph
        from jobmgr.core.tasks import SuiteDef, TaskTable
        from jobmgr.service import dry_run, runs

        suite = options.pop("suite", "adhoc")
        options.pop("to", None)
        tasks = self._adhoc(suite, (), platform, command, folder=Path.cwd(), **options)
        made = SuiteDef(suite, TaskTable.of(tasks), Graph(dict.fromkeys(task.name for task in tasks)))
        rows = dry_run.of_suite(
            self._world(), made, suite, (), runs.DEFAULT_CYCLE, str(self.run_root / suite)
        )
        return [DryRun(*row) for row in rows]

    def _adhoc(
        self,
        suite: str,
        taken: Collection[str],
        platform: str,
        command: Sequence[str],
        *,
        folder: Path,
        inputs: Sequence[str | os.PathLike[str]] = (),
        **options: Any,
    ) -> list[Any]:
        from jobmgr.service import adhoc

        return adhoc.tasks_of(
            platform,
            command,
            folder=folder,
            taken=taken,
            known_platforms=self._platforms().problem,
            inputs=[os.fspath(path) for path in inputs],
            **options,
        )

    # --- runs ------------------------------------------------------------------------------------------

    def open(self, name: str) -> Run:
        """A run by its name. Raises NotFoundError."""
        return Run(self, self._open(name))

    def runs(self) -> list[str]:
        """The names of all runs of the run root."""
        from jobmgr.service import runs

        if not self.run_root.is_dir():
            return []
        return runs.names(self._world())

    def tick_all(self) -> list[TickResult]:
        """One turn of every run. A run that cannot be opened is told as an event and passed over."""
        return self._each(lambda run: run.tick())

    def poll_all(self) -> list[TickResult]:
        """Ask the hosts about every active job of every run."""
        return self._each(lambda run: run.poll())

    def _each(self, act: Callable[[Run], TickResult]) -> list[TickResult]:
        from jobmgr.core.events import Note
        from jobmgr.errors import JobmgrError

        results = []
        for name in self.runs():
            try:
                results.append(act(self.open(name)))
            except JobmgrError as error:
                self._world().emit(Note("error", f"{name}: {error}"))
        return results

    def recover(self, name: str, platforms: Sequence[str]) -> Recovered:
        """Rebuild the store of a run from its hosts' job.status files, with a raised epoch: the run is this
        controller's now.
        """
        from jobmgr.service import recover

        known = self._platforms()
        return recover.recover(self._world(), name, [known.resolve(platform) for platform in platforms])

    # --- platforms ---------------------------------------------------------------------------------------

    def platform_names(self) -> list[str]:
        """All configured platforms and groups, and ``localhost``."""
        return list(self._platforms().names())

    def platform(self, name: str) -> Platform:
        """One platform. Raises PlatformError for a name that nobody knows."""
        return self._platforms().resolve(name)

    def platform_show(self, name: str) -> Sequence[Shown]:
        """Every key of a platform, its value, and where that comes from."""
        return self._platforms().show(name)

    def transport_choice(self, name: str) -> list[tuple[str, str, str]]:
        """(host, transport, why) for each host of a platform. Reads the ssh configuration, connects to
        nothing.
        """
        from jobmgr.transport.choose import choose

        platform = self.platform(name)
        if platform.transport != "auto":
            return [(host, platform.transport, "configured") for host in platform.hosts]
        options = self._ssh_options(platform)
        return [(host, *choose(host, options)) for host in platform.hosts]

    def login(self, name: str) -> list[str]:
        """Make the shared connection to every host of a platform; ssh asks on the terminal. Returns the
        hosts.
        """
        from jobmgr.transport import openssh

        platform = self.platform(name)
        for host in platform.hosts:
            openssh.login(host, self._ssh_options(platform))
        return list(platform.hosts)

    def logout(self, name: str) -> list[str]:
        """Close the shared connections of a platform. Returns the hosts that had one."""
        from jobmgr.transport import openssh

        platform = self.platform(name)
        return [host for host in platform.hosts if openssh.logout(host, self._ssh_options(platform))]

    def _ssh_options(self, platform: Platform) -> Any:
        from jobmgr.transport.ssh_settings import SshOptions

        return SshOptions(
            ssh_options=platform.ssh_options,
            config_file=None if self._ssh_config is None else str(self._ssh_config),
            connect_timeout=platform.connect_timeout,
        )


class Run:
    """One run of a suite."""

    def __init__(self, session: Session, ctx: RunContext) -> None:
        self._session = session
        self._ctx = ctx
        self.name = ctx.name
        self.path = ctx.run_dir

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

    def _stored_many(self, ids: Sequence[str]) -> list[StoredJob]:
        from jobmgr.service import report

        if not ids:
            return self._ctx.store.jobs_where(latest=True)
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
        totals = turned.totals
        return TickResult(
            self.name,
            False,
            totals.polled,
            totals.changed,
            totals.submitted,
            totals.retrieved.files,
            dict(totals.unreachable),
            dict(totals.person),
        )

    def _renew_contacts(self) -> None:
        """A restart: the contact file is installed again on all hosts with live jobs."""
        from jobmgr.errors import JobmgrError
        from jobmgr.service import remote_init
        from jobmgr.service.reach import note_trouble

        for platform_name, host in self._ctx.store.active_counts():
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
        from jobmgr.service.lock import Busy

        if self._nothing_due():
            return TickResult(self.name)
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

        jobs = self._stored_many(ids)
        wanted = jobs if ids else [job for job in jobs if job.state in ACTIVE]
        return self._result(loop.look(self._ctx, wanted))

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
        """Each job as its task comes to its end, while the loop is turned. Raises WaitTimeout."""
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
                    raise RefusedError(
                        f"{self.name}: nothing goes on by itself; the run or its tasks are held"
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

    def _submit_now(self, ids: Sequence[str]) -> None:
        """These tasks now, whatever the graph says."""
        from jobmgr.service import report, steer

        keys = [(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)]
        self._let_through()
        steer.submit_now(self._ctx, keys)

    def kill(self, ids: Sequence[str] = ()) -> list[KillResult]:
        """Kill the active jobs among these. Without IDs: all, and the run is held."""
        from jobmgr.service import kill, steer

        if not ids:
            steer.hold_run(self._ctx, True)
        jobs = self._stored_many(ids)
        results: list[KillResult] = []
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
        return steer.retry(self._ctx, keys)

    def remove(self, ids: Sequence[str]) -> list[str]:
        """The graph no longer waits for these tasks; their files stay."""
        from jobmgr.service import report, steer

        keys = [(cycle, task) for cycle, task, _ in report.selected(self._ctx, ids)]
        return [f"{cycle}/{task}" for cycle, task in steer.remove(self._ctx, keys)]

    def tidy(self) -> list[HostResult]:
        """End the run on its hosts (``remote-tidy``). A host with live jobs refuses."""
        from jobmgr.service import tidy

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
