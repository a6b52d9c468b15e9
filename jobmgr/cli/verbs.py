"""The verbs of the command line: their groups, one line about each, and where their module is.

Nothing of a verb is imported before it is chosen; ``jobmgr --help`` is made of this table alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from msgspec import Struct

if TYPE_CHECKING:
    from jobmgr.cli.context import Context


class Command(Protocol):
    """What a module of ``jobmgr.cli.commands`` offers."""

    configure: Callable[[argparse.ArgumentParser], None]
    """Adds description, arguments and examples to the verb's parser."""
    run: Callable[[argparse.Namespace, Context], int]
    """Does it; returns the exit code, raises the documented errors."""


class Verb(Struct, frozen=True):
    """One verb of the command line."""

    name: str
    group: str
    summary: str

    def load(self) -> Command:
        """Import the verb's module."""
        return cast(Command, import_module(f"jobmgr.cli.commands.{self.name.replace('-', '_')}"))


_GROUPS: tuple[tuple[str, tuple[tuple[str, str], ...]], ...] = (
    (
        "start",
        (
            ("run", "one command on a platform, now"),
            ("play", "start or continue a suite and watch it to its end"),
            ("submit", "start or continue a suite and return at once"),
            ("validate", "all errors of a suite, each with file and line"),
        ),
    ),
    (
        "look",
        (
            ("status", "what is known of the jobs, and how old it is"),
            ("why", "the evidence and the rule behind one job's state"),
            ("log", "a job's output and other logs, from here or from its host"),
            ("cat-log", "jobmgr log with Cylc's options"),
            ("wait", "return when jobs have finished"),
        ),
    ),
    (
        "act",
        (
            ("poll", "ask the hosts now"),
            ("retrieve", "bring logs and outputs home now"),
            ("kill", "end jobs and every process of theirs"),
            ("hold", "start nothing new"),
            ("release", "undo a hold"),
            ("retry", "submit failed jobs again"),
            ("remove", "let the graph go on without a task"),
        ),
    ),
    (
        "end",
        (
            ("tidy", "end a run: tell its hosts"),
            ("clean", "delete a run's directories, here and on its hosts"),
            ("recover", "rebuild a run from its hosts, or take it over"),
        ),
    ),
    (
        "hosts",
        (
            ("platforms", "list platforms, or show where each setting comes from"),
            ("login", "open a shared connection (passwords, 2FA)"),
            ("logout", "close the shared connection"),
        ),
    ),
    (
        "unattended",
        (
            ("tick", "one turn of the loop, for cron"),
            ("cron", "install, show or remove the crontab line for it"),
        ),
    ),
    (
        "learn",
        (
            ("demo", "the worked example on a private host of this machine"),
            ("completion", "the code that completes words in your shell"),
        ),
    ),
)

VERBS: dict[str, Verb] = {
    name: Verb(name, group, summary) for group, members in _GROUPS for name, summary in members
}


def listing() -> str:
    """All verbs by group, for ``jobmgr --help``."""
    lines = []
    for group, members in _GROUPS:
        for number, (name, summary) in enumerate(members):
            lines.append(f"  {group if not number else '':<11} {name:<10}  {summary}")
    return "\n".join(lines)
