"""``Session``: platforms, a run root, and the way to runs."""

from __future__ import annotations

import getpass
import os
import random
import shlex
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from jobmgr.core.events import Emit, Note
from jobmgr.errors import NotFoundError, UsageError
from jobmgr.service.context import M_SOURCE, RunContext, World

if TYPE_CHECKING:
    from jobmgr.core.platform_report import PlatformReport
    from jobmgr.core.tasks import SuiteDef
    from jobmgr.platforms.load import Platforms
    from jobmgr.platforms.model import Platform, Shown
    from jobmgr.service.authorized_key import AuthorizedKey
    from jobmgr.service.recover import Recovered
    from jobmgr.service.runs import Source
    from jobmgr.suite.api_model import Suite


from jobmgr.api.results import DryRun, Resolved, TickResult
from jobmgr.api.run import LOCK_PATIENCE, Job, Run

_T = TypeVar("_T")


class Session:
    """The way in: platforms, a run root, and the connections of this process.

    ``platforms``: a platforms.yaml read after the system's and the user's own (``user_files=False``: instead
    of them). ``run_root``: the folder with the run directories, ``~/jobmgr-run`` by default. ``ssh_config``:
    a configuration for ssh instead of the user's. ``on_event`` gets the records of :mod:`jobmgr.core.events`,
    one call at a time. ``home``: the home directory, the user's by default. ``chaos``: faults to inject into
    every call of a host, for acceptance tests, as ``--chaos`` has them; each is told as a Note. ``staying``: the
    same hosts are going to be asked several times in a row, so the host side stays between two calls. Raises
    PlatformError if a platform file is wrong, UsageError if ``chaos`` is.
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
        chaos: str | None = None,
        staying: bool = False,
    ) -> None:
        self._home = Path(home) if home is not None else Path.home()
        self._platform_file = None if platforms is None else self._path(platforms)
        self.run_root = self._path(run_root) if run_root is not None else self._home / "jobmgr-run"
        self._ssh_config = None if ssh_config is None else self._path(ssh_config)
        self._user_files = user_files
        self._on_event = on_event
        self._staying = staying
        self._lock = threading.RLock()
        self._loaded: Platforms | None = None
        self._made: World | None = None
        self._runs: list[RunContext] = []
        self._wrap = None
        if chaos:
            from jobmgr.service.hosts import faulty

            self._wrap = faulty(chaos, self._tell_fault)
        self._wished = ""
        """The run last submitted: a play that follows asks no host again that has refused the login."""

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
                from jobmgr.platforms import cache, load, ssh_hosts

                extra = self._platform_file
                files = (
                    load.standard_files(self._home, extra) if self._user_files else (extra,) if extra else ()
                )

                def hosts() -> set[str]:
                    configs = (
                        (self._ssh_config,) if self._ssh_config else ssh_hosts.ssh_config_files(self._home)
                    )
                    return ssh_hosts.literal_hosts(configs, self._home)

                self._loaded = load.load_platforms(files, extra, hosts, self._home / cache.FOLDER)
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
                    owner=f"{getpass.getuser()}@{os.uname().nodename}",
                    hosts=Hosts(ssh_config=self._config_file, wrap=self._wrap, staying=self._staying),
                    candidates=lambda name: self._platforms().candidates(name, random.Random()),
                    clock=time.time,
                    on_event=self._on_event,
                )
            return self._made

    def _tell_fault(self, text: str) -> None:
        self._world().emit(Note("info", f"chaos: {text}"))

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
            f"{name}: {source}/{newer} is newer than what is installed; "
            f"to install it: jobmgr play {shlex.quote(source)} --name {name}"
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
                _keeps_its_name(resolved.name, name)
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
        its hosts too. Hosts that could not be reached are told as events; their tasks stay queued.
        """
        ctx = self._install(suite, name, cycle, new)
        run = Run(self, ctx)
        self._wished = run.name
        if ids:
            run._submit_now(ids)
        else:
            run._let_through()
            with run._loop_lock("submit", LOCK_PATIENCE):
                run._result(run._turn(poll_due=False))
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
        if self._wished != run.name:
            run._let_through()
        self._wished = ""
        with run._loop_lock("play", LOCK_PATIENCE):
            run._renew_contacts()
            turned = loop.watch_to_the_end(ctx, timeout=timeout)
        run._result(turned)
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
        runs.check_cycle(cycle)
        if resolved is not None and resolved.path is None:
            _keeps_its_name(resolved.name, name)
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
        are patterns that come home at the end, into the folder ``to`` if given. ``time_limit`` in seconds or
        as ``1h30m``. Returns when the jobs were submitted, or are queued because the host could not be
        reached.
        """
        from jobmgr.service import retrieve, runs
        from jobmgr.service.lock import definition_lock

        def made(taken: Collection[str]) -> list[Any]:
            return self._adhoc(
                suite,
                taken,
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

        world = self._world()
        if not runs.exists(world, suite):
            from jobmgr.core.graph import Graph
            from jobmgr.core.tasks import SuiteDef

            made(())  # nothing is left behind by a command that cannot be run
            ctx = self._keep(runs.create_run(world, suite, SuiteDef(suite, {}, Graph({}))))
        else:
            ctx = self._open(suite)
        run = Run(self, ctx)
        run._let_through()
        with definition_lock(ctx.run_dir, suite):
            ctx.forget_suite()
            tasks = made({base for task in ctx.suite.tasks.values() for base in (task.name, task.base)})
            runs.add_tasks(ctx, tasks)
            if to is not None:
                wanted = {
                    **(ctx.store.meta(retrieve.M_DELIVER) or {}),
                    **{t.name: str(self._path(to)) for t in tasks},
                }
                ctx.store.set_meta({retrieve.M_DELIVER: wanted})
        run._start([(runs.DEFAULT_CYCLE, task.name) for task in tasks])
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

    def _each(self, act: Callable[[Run], _T]) -> list[_T]:
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
        from jobmgr.service import shared_connection

        return shared_connection.transport_choice(self.platform(name), self._config_file)

    def login(self, name: str) -> list[str]:
        """Make the shared connection to every host of a platform; ssh asks on the terminal. Returns the
        hosts: every run, cron's ticks included, may use them at once, whatever they refused before.
        """
        from jobmgr.service import shared_connection
        from jobmgr.service.reach import let_through

        hosts = shared_connection.login(self.platform(name), self._config_file)
        self._each(lambda run: let_through(run._ctx, hosts))
        return hosts

    def logout(self, name: str) -> list[str]:
        """Close the shared connections of a platform. Returns the hosts that had one."""
        from jobmgr.service import shared_connection

        return shared_connection.logout(self.platform(name), self._config_file)

    def authorized_key(
        self, name: str, *, poll_only: bool = False, allow_install: bool = False, key: str | None = None
    ) -> AuthorizedKey:
        """The line of authorized_keys that binds a key to this platform's run root and to jobmgr.

        ``key``: a key file; default: the first that ssh would offer to the platform. Connects to nothing.
        Raises UsageError.
        """
        from jobmgr.service import authorized_key

        return authorized_key.authorized_key(
            self.platform(name),
            self._config_file,
            poll_only=poll_only,
            allow_install=allow_install,
            key_file=None if key is None else str(self._path(key)),
        )

    def platform_check(self, name: str) -> PlatformReport:
        """Try all that jobmgr needs of a platform's hosts, by real connections and files; nothing stays there
        but the host side. Raises PlatformError for a name that nobody knows.
        """
        from jobmgr.service import platform_check

        return platform_check.check_platform(self._world(), self.platform(name))

    @property
    def _config_file(self) -> str | None:
        return None if self._ssh_config is None else str(self._ssh_config)


def _keeps_its_name(run: str, wanted: str | None) -> None:
    if wanted not in (None, run):
        raise UsageError(f"{run} is a run and keeps its name; --name names what is installed from a path")
