"""jobmgr: submit shell jobs over SSH, poll them, kill them, bring their logs home.

The library is ``from jobmgr import Session, Suite, Task`` (docs/library.md). The names are loaded when they
are first used, so that ``import jobmgr`` alone, as the command line does it, costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jobmgr.api import Job, Run, Session
    from jobmgr.suite.api_model import Suite, Task

__version__ = "1.0.0"

__all__ = ["Session", "Run", "Job", "Suite", "Task", "__version__"]

_HOMES = {
    "Session": "jobmgr.api",
    "Run": "jobmgr.api",
    "Job": "jobmgr.api",
    "Suite": "jobmgr.suite.api_model",
    "Task": "jobmgr.suite.api_model",
}


def __getattr__(name: str) -> object:
    """Import a public name at its first use (PEP 562)."""
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module 'jobmgr' has no attribute {name!r}")
    value: object = getattr(import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES})
