"""``jobmgr tick``: one turn of the loop, made for cron."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, ticks
from jobmgr.cli.context import Context
from jobmgr.errors import UsageError

EPILOG = """\
One turn: poll what is due, retrieve, retry, submit what became ready. A second tick of a run leaves at once
while the first is at work, with exit code 0.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, optional=True, path=False)
    parser.add_argument("--all", action="store_true", help="every run of the run root")
    parser.add_argument("--log", metavar="FILE", help="append all output to FILE, which is kept below 1 MB")


def run(args: argparse.Namespace, context: Context) -> int:
    if args.all == (args.suite is not None):
        raise UsageError("name a run, or say --all")
    if args.log:
        from jobmgr.cli import bounded_log

        bounded_log.redirect(args.log, context.now())
    with context.session() as session:
        if args.all:
            results = session.tick_all()
        else:
            results = [session.open(arguments.name_only(args.suite)).tick()]
        return ticks.told(results, session, context)
