"""Completion of words in a shell, by argcomplete: verbs, options, runs, platforms, job IDs and states.

The completers read the store and never ask a host. One that fails completes nothing: a shell's line is no
place for an error.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jobmgr.api import Session

MOST = 500
"""More candidates than this help nobody."""

Completer = Callable[..., Sequence[str]]


def attach(action: argparse.Action, completer: Completer) -> None:
    """Make argcomplete ask ``completer`` about this argument."""
    action.completer = completer  # type: ignore[attr-defined]


def _session(args: argparse.Namespace) -> Session:
    from jobmgr.cli.context import Context, Options

    return Context(Options.of(args, os.environ), os.environ).session(told=False)


def _known(args: argparse.Namespace, ask: Callable[[Session], Sequence[str]], prefix: str) -> list[str]:
    try:
        with _session(args) as session:
            return [word for word in ask(session) if word.startswith(prefix)][:MOST]
    except Exception:
        return []


def runs(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Names of runs."""
    return _known(parsed_args, lambda session: session.runs(), prefix)


def platforms(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Names of platforms."""
    return _known(parsed_args, lambda session: session.platform_names(), prefix)


def files(prefix: str, **_: Any) -> list[str]:
    """Files and folders below the folder that is being typed."""
    folder, slash, start = prefix.rpartition("/")
    try:
        with os.scandir(os.path.expanduser(folder) or ("/" if slash else ".")) as entries:
            return sorted(
                f"{folder}{slash}{entry.name}{'/' if entry.is_dir() else ''}"
                for entry in entries
                if entry.name.startswith(start) and (start or not entry.name.startswith("."))
            )[:MOST]
    except OSError:
        return []


def folders(prefix: str, **_: Any) -> list[str]:
    """Folders only."""
    return [name for name in files(prefix) if name.endswith("/")]


def suites(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """Runs, and paths."""
    return [*runs(prefix, parsed_args), *files(prefix)]


def ids(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """CYCLE/TASK of the run that is named, or :STATE."""
    if ":" in prefix:
        from jobmgr.core.states import State

        body = prefix.partition(":")[0]
        return [f"{body}:{state.value}" for state in State if f"{body}:{state.value}".startswith(prefix)]
    name = getattr(parsed_args, "suite", None)
    if not name:
        return []

    def known(session: Session) -> list[str]:
        rows = session.open(name).rows()
        return [
            *dict.fromkeys(f"{row.cycle}/{row.task}" for row in rows),
            *dict.fromkeys(row.task for row in rows),
        ]

    return _known(parsed_args, known, prefix)


def logs(prefix: str, parsed_args: argparse.Namespace, **_: Any) -> list[str]:
    """The usual logs of a job."""
    return [name for name in ("out", "err", "job", "status", "activity") if name.startswith(prefix)]


def answer(environ: Mapping[str, str]) -> None:
    """Answer the shell that asks by argcomplete's variables, and end the process."""
    import argcomplete

    argcomplete.autocomplete(_parser(environ.get("COMP_LINE", "")), always_complete_options=False)


def _parser(line: str) -> argparse.ArgumentParser:
    """One parser with all verbs, of which only the one on the line is filled."""
    from jobmgr.cli.parser import global_options, main_parser, split
    from jobmgr.cli.verbs import VERBS

    parser = main_parser()
    chosen = split(line.split()[1:])[1]
    verbs = parser.add_subparsers(dest="verb")
    for name, verb in VERBS.items():
        if name == chosen:
            sub = verbs.add_parser(name, help=verb.summary)
            verb.load().configure(sub)
            global_options(sub)
        else:
            verbs.add_parser(name, help=verb.summary, add_help=False)
    return parser
