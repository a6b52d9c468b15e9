"""The library: ``Session``, ``Run``, ``Job``. The command line is built on it.

It never prints, exits, sets signal handlers or reads the environment. It raises the errors of
:mod:`jobmgr.errors`. A Session and what comes from it may be used by several threads. docs/library.md has a
worked example.
"""

from jobmgr.api.results import (
    CleanResult,
    DryRun,
    HostResult,
    KillResult,
    Resolved,
    RetrieveResult,
    TickResult,
)
from jobmgr.api.run import Job, Run
from jobmgr.api.session import Session
from jobmgr.service.report import JobRow, Summary, Why, WhyLine

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
