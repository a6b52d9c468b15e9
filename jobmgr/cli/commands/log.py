"""``jobmgr log``: one log of a job, from here or from its host."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, complete, logs
from jobmgr.cli.context import Context

EPILOG = """\
examples:
  jobmgr log sweep 1/sim_m007              its standard output
  jobmgr log sweep 1/sim_m007 err -f       follow its standard error until the job ends
  jobmgr log sweep 1/sim_m007/02 status    of the second submit
  jobmgr log sweep 1/sim_m007 --list       what there is

On a terminal control characters are shown as \\x1b and the like; a pipe gets the bytes as they are.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.one_id(parser)
    name = parser.add_argument(
        "name", metavar="NAME", nargs="?", default="out",
        help="out, err, job, status, activity, or a file's name in the log directory (default out)",
    )  # fmt: skip
    complete.attach(name, complete.logs)
    how = parser.add_mutually_exclusive_group()
    how.add_argument("-f", "--follow", action="store_true", help="go on as it grows, until the job ends")
    how.add_argument("--list", action="store_true", help="the names, sizes and places of all its logs")
    how.add_argument("--path", action="store_true", help="where it is")
    parser.add_argument("--tail", metavar="N", type=int, help="only the last N lines")


def run(args: argparse.Namespace, context: Context) -> int:
    mode = "list" if args.list else "path" if args.path else "follow" if args.follow else "cat"
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        return logs.show(asked, args.id, args.name, mode, args.tail, context)
