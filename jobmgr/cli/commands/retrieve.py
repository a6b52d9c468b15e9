"""``jobmgr retrieve``: bring logs and outputs home now."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context, exit_of
from jobmgr.views import progress, text

EPILOG = """\
Done by itself when a job ends; this is for jobs that are still running, or for another place.

examples:
  jobmgr retrieve sweep :running
  jobmgr retrieve sweep 1/sim_m007 --to ./results
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.ids(parser, "all jobs")
    parser.add_argument("--to", metavar="DIR", help="put the files there (default: the run directory)")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        result = asked.retrieve(args.ids, to=args.to)
    left_out = [{"path": path, "why": why} for path, why in result.left_out]
    context.record(
        "retrieve",
        run=asked.name,
        files=result.files,
        bytes=result.bytes,
        left_out=left_out,
        to_come=result.to_come,
        unreachable=dict(result.unreachable),
        person=dict(result.person),
    )
    if not context.options.quiet:
        files = f"{result.files} file{'s' * (result.files != 1)}"
        context.show(f"{asked.name}: {files} retrieved ({progress.size(result.bytes)})")
    for path, why in result.left_out:
        context.note(f"left out {text.one_line(path)}: {text.one_line(why)}")
    if result.to_come:
        context.note(f"{result.to_come} files are still to come; they are fetched at the next turn")
    return exit_of(result.unreachable, result.person)
