"""``jobmgr remove``: let the graph go on without a task."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, told
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The run no longer waits for it; its files stay. A job that is active goes on: kill it first."
    )
    arguments.suite(parser, path=False)
    arguments.ids(parser, "", needed=True)


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        told.names(asked.name, asked.remove(args.ids), "removed", "nothing", context)
    return EXIT_OK
