"""``jobmgr release``: undo a hold."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, told
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "What is ready is submitted at the next turn: jobmgr play, jobmgr tick or cron."
    arguments.suite(parser, path=False)
    arguments.ids(parser, "the whole run")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        released = asked.release(args.ids)
        told.names(asked.name, released, "released", "nothing to release", context)
    return EXIT_OK
