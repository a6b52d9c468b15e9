"""``jobmgr logout``: close the shared connection of a platform."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Jobs go on; later commands connect by themselves again, where that needs no person."
    arguments.platform(parser, "a platform, or a host that ssh knows")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        session.logout(args.platform)
    context.record("logout", platform=args.platform)
    if not context.options.quiet:
        context.show(f"{args.platform}: shared connection closed")
    return EXIT_OK
