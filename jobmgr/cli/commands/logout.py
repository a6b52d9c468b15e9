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
        hosts = session.logout(args.platform)
    context.record("logout", platform=args.platform, hosts=hosts)
    if not context.options.quiet:
        context.show(*(f"{args.platform}: connection to {host} closed" for host in hosts))
        if not hosts:
            context.show(f"{args.platform}: there was no shared connection")
    return EXIT_OK
