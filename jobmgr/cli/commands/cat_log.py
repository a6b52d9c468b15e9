"""``jobmgr cat-log``: ``jobmgr log`` for hands that know Cylc's options."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, logs
from jobmgr.cli.context import Context
from jobmgr.errors import UsageError

FILES = {"o": "out", "e": "err", "j": "job", "s": "status", "a": "activity"}
MODES = {
    "c": "cat", "cat": "cat", "t": "follow", "tail": "follow", "l": "list", "list-dir": "list",
    "p": "path", "print": "path",
}  # fmt: skip
EPILOG = """\
examples:
  jobmgr cat-log suitex 1/remote-a                  its standard output
  jobmgr cat-log -f e -m t suitex 1/remote-a        follow its standard error
  jobmgr cat-log -s 02 -f j suitex 1/remote-a       the job file of its second submit
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.one_id(parser)
    parser.add_argument(
        "-f", "--file", metavar="FILE", default="o",
        help="o(ut), e(rr), j(ob), s(tatus), a(ctivity), or a file's name (default o)",
    )  # fmt: skip
    parser.add_argument(
        "-m", "--mode", choices=sorted(MODES), default="c",
        help="c(at), t(ail), l(ist-dir), p(rint) the path (default c)",
    )  # fmt: skip
    parser.add_argument("-s", "--submit-number", metavar="NN", help="which submit (default: the latest)")


def run(args: argparse.Namespace, context: Context) -> int:
    job = args.id
    if args.submit_number is not None:
        if not (args.submit_number.isdecimal() or args.submit_number == "NN"):
            raise UsageError(f"-s: expected a submit number, found {args.submit_number!r}")
        if job.count("/") != 1:
            raise UsageError(f"-s wants an ID of the form CYCLE/TASK, found {job!r}")
        job = f"{job}/{args.submit_number}"
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        return logs.show(asked, job, FILES.get(args.file, args.file), MODES[args.mode], None, context)
