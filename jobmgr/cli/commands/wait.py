"""``jobmgr wait``: return when jobs have finished."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.core.states import State
from jobmgr.errors import EXIT_JOB_FAILED, EXIT_OK
from jobmgr.views import jsonlines, summary

EPILOG = """\
Keeps the loop turning meanwhile, as play does: retries and what becomes ready are submitted.
Exit code: 0 all succeeded, 1 some did not, 124 --timeout (the jobs go on).
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.ids(parser, "all jobs")
    arguments.timeout(parser, "give up waiting after this time")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        waited = session.open(arguments.name_only(args.suite))
        found = waited.wait(args.ids, timeout=args.timeout)
        context.records(jsonlines.job(waited.name, row) for row in found)
        if not args.ids:
            context.show(*summary.summary(waited.summary(), found))
        else:
            context.show(*(summary.ended(row) for row in found))
    return EXIT_OK if all(row.state in (State.SUCCEEDED, State.REMOVED) for row in found) else EXIT_JOB_FAILED
