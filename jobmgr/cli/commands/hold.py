"""``jobmgr hold``: start nothing new."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, told
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Jobs that are active go on. Undone by jobmgr release."
    arguments.suite(parser, path=False)
    arguments.ids(parser, "the whole run")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        held = asked.hold(args.ids)
        told.names(asked.name, held, "held", "nothing to hold", context)
    return EXIT_OK
