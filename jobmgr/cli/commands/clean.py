"""``jobmgr clean``: delete a run's directories, here and on its hosts."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING

from jobmgr.cli import arguments, hosts
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK, UsageError
from jobmgr.views import text

if TYPE_CHECKING:
    from jobmgr.api import CleanResult

EPILOG = """\
examples:
  jobmgr clean sweep --dry-run       what would be deleted
  jobmgr clean sweep --remote        only on its hosts; what is here stays
  jobmgr clean sweep --yes           without a question, for scripts

Refused while jobs are active (exit code 7). Of symbolic links, only those that jobmgr made are followed.
"""
LISTED = 20


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--local", action="store_true", help="only here")
    where.add_argument("--remote", action="store_true", help="only on the hosts")
    parser.add_argument("--dry-run", action="store_true", help="say what would be deleted")
    parser.add_argument("--yes", action="store_true", help="do not ask")


def run(args: argparse.Namespace, context: Context) -> int:
    if not (args.dry_run or args.yes or context.asks):
        raise UsageError("nobody is there to ask; say --yes, or look first with --dry-run")
    local, remote = not args.remote, not args.local
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        if args.dry_run or not args.yes:
            found = asked.clean(local=local, remote=remote, dry_run=True)
            context.note(*_listed(found.paths))
            if args.dry_run:
                return _told(asked.name, found, True, context)
            if not _agreed(asked.name):
                context.complain("nothing was deleted")
                return EXIT_OK
        done = asked.clean(local=local, remote=remote)
    if not context.options.quiet:
        context.show(*_lines("deleted ", done.paths))
    return _told(asked.name, done, False, context)


def _told(run: str, result: CleanResult, dry_run: bool, context: Context) -> int:
    paths = [{"host": host, "path": path} for host, path in result.paths]
    context.record("clean", run=run, dry_run=dry_run, paths=paths)
    return hosts.told("clean-failed", run, result.failed, "", context)


def _tops(paths: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """The paths without those that lie below another one of the same host."""
    whole = set(paths)
    return [
        (host, path) for host, path in paths if not any((host, str(up)) in whole for up in PurePath(path).parents)
    ]


def _place(host: str, path: str) -> str:
    return text.one_line(f"{host}:{path}" if host else path)


def _listed(paths: Sequence[tuple[str, str]]) -> list[str]:
    return ["to be deleted:", *_lines("  ", paths)] if paths else ["nothing to delete"]


def _lines(before: str, paths: Sequence[tuple[str, str]]) -> list[str]:
    tops = _tops(paths)
    rest = [f"… {len(tops) - LISTED} more"] if len(tops) > LISTED else []
    return [*(before + _place(*one) for one in tops[:LISTED]), *rest]


def _agreed(name: str) -> bool:
    sys.stderr.write(f"Delete run {name}? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")
