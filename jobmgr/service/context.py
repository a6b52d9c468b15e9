"""What every service works on: one run, and the world around it, passed in as a value."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct, field

from jobmgr.core.events import Emit, Event
from jobmgr.errors import JobmgrError, SuiteError
from jobmgr.store import Store
from jobmgr_remote import layout, wire

if TYPE_CHECKING:
    from jobmgr.core.tasks import SuiteDef, TaskDef
    from jobmgr.platforms.model import Platform
    from jobmgr.service.hosts import Hosts

Clock = Callable[[], float]

# keys of the store's run meta
M_UUID, M_CONTROLLER, M_EPOCH, M_OWNER = "uuid", "controller", "epoch", "owner"
M_FULL = "full:"
"""With the name of a platform behind it: what is known of its full queue (core.schedule.Full)."""
M_SUITE, M_SOURCE, M_HELD, M_FINISHED, M_CREATED, M_ADHOC = (
    "suite",
    "source",
    "held",
    "finished",
    "created",
    "adhoc",
)


class World(Struct):
    """What all runs of a process share.

    ``home`` is the user's home on this machine, ``run_root`` where runs are kept; ``candidates`` gives the
    platform of a name, or those of a group, in the order in which they are to be tried; ``greeted`` are the
    (run, platform, host) that this process has had a ``remote-init`` answered by.
    """

    run_root: Path
    home: Path
    controller: str
    owner: str
    hosts: Hosts
    candidates: Callable[[str], tuple[Platform, ...]]
    clock: Clock
    on_event: Emit | None = None
    greeted: set[tuple[str, str, str]] = field(default_factory=set)
    _emit_lock: threading.Lock = field(default_factory=threading.Lock)

    def platform(self, name: str) -> Platform:
        """One platform by its name. Raises PlatformError for a name that nobody knows."""
        return self.candidates(name)[0]

    def emit(self, event: Event) -> None:
        """Tell the caller of the library; one call at a time."""
        if self.on_event is not None:
            with self._emit_lock:
                self.on_event(event)


class RunContext(Struct):
    """One run of one suite, opened."""

    world: World
    name: str
    run_dir: Path
    store: Store
    _suite: SuiteDef | None = None

    def meta(self, key: str, default: str = "") -> str:
        """A text of the run's metadata."""
        value = self.store.meta(key)
        return default if value is None else str(value)

    @property
    def suite(self) -> SuiteDef:
        """The suite as it was installed. Raises SuiteError if the store's copy is of another version."""
        if self._suite is None:
            from jobmgr.core.tasks import SuiteDef

            try:
                self._suite = SuiteDef.from_json(self.meta(M_SUITE))
            except ValueError as error:
                raise SuiteError([]) from error
        return self._suite

    def forget_suite(self) -> None:
        """Read the suite anew at its next use: it was installed again."""
        self._suite = None

    @property
    def source_root(self) -> str:
        """The folder that relative inputs of the suite start from."""
        return self.meta(M_SOURCE) or str(self.run_dir)

    @property
    def held(self) -> bool:
        """Whether nothing new is to be submitted."""
        return bool(self.store.meta(M_HELD))

    def task(self, name: str) -> TaskDef:
        """A task of the suite. Raises JobmgrError if an installed suite has lost it."""
        try:
            return self.suite.tasks[name]
        except KeyError:
            raise JobmgrError(f"{self.name}: the installed suite has no task {name} any more") from None

    def shared_task(self, name: str) -> TaskDef | None:
        """What a task has in common with the others of its parameters; None if the suite has lost it.

        Cheaper than :meth:`task` where thousands are asked for. Name, parameters, inputs, outputs,
        environment and directives are those of the template.
        """
        from jobmgr.core.tasks import TaskTable

        tasks = self.suite.tasks
        if not isinstance(tasks, TaskTable):
            return tasks.get(name)
        return tasks.template_of(name).task if name in tasks else None

    def wire_run(self, platform: Platform) -> wire.Run:
        """The run as requests to a host of this platform carry it."""
        return wire.Run(
            self.remote_root(platform),
            self.remote_name(platform),
            self.meta(M_UUID),
            self.meta(M_CONTROLLER),
            int(self.meta(M_EPOCH, "1")),
            self.meta(M_OWNER),
        )

    def remote_root(self, platform: Platform) -> str:
        """The run root on the platform's hosts; with the local transport that is the one at home."""
        if platform.transport == "local" and platform.origins.get("run_root", "default") == "default":
            return str(self.world.run_root)
        return platform.run_root

    def remote_name(self, platform: Platform) -> str:
        """The run's name on the platform's hosts. Ad-hoc runs of several controllers share a name at home,
        not there.
        """
        if platform.transport != "local" and self.store.meta(M_ADHOC):
            return f"{self.name}-{self.meta(M_CONTROLLER)[:8]}"
        return self.name

    def job_dir(self, job_id: str) -> Path:
        """The log directory of a job, at home."""
        return self.run_dir / layout.job_dir(job_id)

    def emit(self, event: Event) -> None:
        """Tell the caller of the library."""
        self.world.emit(event)

    def now(self) -> float:
        """Seconds since the epoch, by the clock at home."""
        return self.world.clock()
