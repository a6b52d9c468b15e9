"""``jobmgr tidy``: end a run on its hosts."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, hosts
from jobmgr.cli.context import Context


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Done by itself when a run finishes; refused while jobs are active (exit code 7). Files stay."
    )
    arguments.suite(parser, path=False)


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        results = asked.tidy()
    if not results:
        context.note(f"{asked.name}: it was on no host")
    return hosts.told("tidy", asked.name, results, "tidied", context)
