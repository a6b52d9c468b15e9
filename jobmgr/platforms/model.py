"""Platforms once they have been loaded: plain frozen records. docs/platforms.md has the keys."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from jobmgr.core.fields import Directive, Pairs
from jobmgr_remote import layout

LOCALHOST = "localhost"
BACKGROUND = "background"
DEFAULT = "default"
MIB = 1 << 20


class Platform(Struct, frozen=True):
    """One configured target. Durations are seconds, sizes bytes.

    ``max_active`` None: the runner's own default (2 x cores for background, no limit for batch);
    ``max_submit`` None: no limit. ``remote_command`` empty: the host side that jobmgr ships. ``python``
    empty: it is looked for. ``ssh_options`` are ``KEY=VALUE``. ``origins`` says for each key where its
    value comes from: ``default`` or ``FILE:LINE``.
    """

    name: str
    hosts: tuple[str, ...]
    host_selection: str = "ordered"
    transport: str = "auto"
    runner: str = BACKGROUND
    runner_file: str = ""
    run_root: str = layout.RUN_ROOT
    symlinks: Pairs = ()
    remote_command: str = ""
    python: str = ""
    use_login_shell: bool = False
    ssh_options: tuple[str, ...] = ()
    connect_timeout: int = 10
    polling_interval: tuple[int, ...] = (30,)
    queued_polling_interval: tuple[int, ...] = (30,)
    min_polling_interval: int = 10
    long_poll: bool = True
    max_active: int | None = None
    max_submit: int | None = None
    retrieve_logs: bool = True
    retrieve_max_size: int = 10 * MIB
    directives: tuple[tuple[str, Directive], ...] = ()
    environment: Pairs = ()
    init_script: str = ""
    resources: Pairs = ()
    origins: Mapping[str, str] = field(default_factory=dict)

    def chosen(self, key: str) -> bool:
        """Whether somebody wrote this key, so that its value is not the default."""
        return self.origins.get(key, DEFAULT) != DEFAULT

    def with_runner(self, runner: str) -> Platform:
        """The platform as a task sees it that names another runner: the defaults that depend on the runner
        follow."""
        named = replace(self, runner=runner, origins={**self.origins, "runner": "task"})
        return with_runner_defaults(named)


def with_runner_defaults(platform: Platform) -> Platform:
    """The values that depend on the runner, for keys that nobody wrote."""
    background = platform.runner == BACKGROUND
    interval = (30,) if background else (60,)
    return replace(
        platform,
        polling_interval=platform.polling_interval if platform.chosen("polling_interval") else interval,
        queued_polling_interval=(
            platform.queued_polling_interval if platform.chosen("queued_polling_interval") else interval
        ),
        long_poll=platform.long_poll if platform.chosen("long_poll") else background,
    )


class PlatformGroup(Struct, frozen=True):
    """Platforms that can stand in for one another; ``selection``: ``ordered`` or ``random``."""

    name: str
    platforms: tuple[str, ...]
    selection: str = "ordered"


class Shown(Struct, frozen=True):
    """One line of ``platforms show``."""

    key: str
    value: str
    origin: str
