"""``jobmgr poll``: ask the hosts now."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, ticks
from jobmgr.cli.context import Context
from jobmgr.errors import UsageError

EPILOG = "Exit code: 0 every host answered, 5 some did not (states unchanged), 6 a person must act."


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, optional=True, path=False)
    arguments.ids(parser, "every active job")
    parser.add_argument("--all", action="store_true", help="every run of the run root")


def run(args: argparse.Namespace, context: Context) -> int:
    if args.all == (args.suite is not None):
        raise UsageError("name a run, or say --all")
    with context.session() as session:
        if args.all:
            results = session.poll_all()
        else:
            results = [session.open(arguments.name_only(args.suite)).poll(args.ids)]
        return ticks.told(results, session, context)
