"""``jobmgr login``: open a shared connection, with all the questions that a person must answer."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "ssh itself asks (password, 2FA, an unknown host key). Every later command, cron and rsync use the\n"
        "connection until jobmgr logout, or until the host ends it."
    )
    arguments.platform(parser, "a platform, or a host that ssh knows")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        hosts = session.login(args.platform)
    context.record("login", platform=args.platform, hosts=hosts)
    if not context.options.quiet:
        context.show(
            *(
                f"{args.platform}: connected to {host}; end it by jobmgr logout {args.platform}"
                for host in hosts
            )
        )
    return EXIT_OK
