"""``jobmgr retry``: submit failed jobs again."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, told
from jobmgr.cli.context import Context, exit_after

EPILOG = """\
examples:
  jobmgr retry sweep               every failed and submit-failed job
  jobmgr retry sweep 1/sim_m007    this one, also if it has succeeded

They are submitted at once, with a new submit number. A job that was lost is first ended for certain on its
host, which has to answer for that.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.ids(parser, "failed and submit-failed ones")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        told.names(asked.name, asked.retry(args.ids), "submitted again", "nothing to retry", context)
    return exit_after(asked.turned, failed=False)
