"""Names of runners: built in, or offered by installed packages (entry points of the group ``jobmgr.runners``)."""

from __future__ import annotations

from functools import cache

GROUP = "jobmgr.runners"
"""The value of an entry point is the module that is the runner (docs/runners.md)."""


@cache
def entry_points() -> dict[str, str]:
    """The runners that installed packages offer: name -> module. Looked up once per process."""
    from importlib.metadata import entry_points as installed

    return {point.name: point.module for point in installed(group=GROUP)}
