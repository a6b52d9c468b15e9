"""``jobmgr submit``: start a suite, or some of its tasks, and return."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from jobmgr.cli import arguments, dry_run
from jobmgr.cli.context import Context, exit_after
from jobmgr.core.states import UNSUCCESSFUL
from jobmgr.views import jsonlines, rows, table

if TYPE_CHECKING:
    from jobmgr.api import Run, Session

EPILOG = """\
examples:
  jobmgr submit ./sweep                  install it as "sweep" and submit what is ready
  jobmgr submit sweep 1/sim_m007         this one now, whatever the graph says
  jobmgr submit ./sweep --dry-run        the job files that would be sent; connects to nothing

Nothing more is submitted by itself afterwards: jobmgr play, jobmgr tick or cron do that.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser)
    arguments.ids(parser, "what the graph says is ready")
    parser.add_argument("--name", metavar="N", help="the run's name (default: the suite's)")
    parser.add_argument("--cycle", metavar="C", help="the cycle's label (default 1)")
    parser.add_argument("--dry-run", action="store_true", help="show the job files, submit nothing")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        resolved = session.resolve(args.suite)
        if resolved.note:
            context.note(resolved.note)
        cycle = {} if args.cycle is None else {"cycle": args.cycle}
        if args.dry_run:
            found = session.dry_run(args.suite, args.ids, name=args.name, **cycle)
            return dry_run.show(found, context)
        started = session.submit(args.suite, args.ids, name=args.name, **cycle)
        return _told(session, started, args.ids, context)


def _told(session: Session, started: Run, ids: list[str], context: Context) -> int:
    now = context.now()
    overview = started.summary()
    found = started.rows(ids)
    context.records([jsonlines.overview(overview)])
    context.records(jsonlines.job(started.name, row) for row in found)
    context.show(*table.status(overview, found, now, context.width, colored=context.colored))
    context.note(f"to go on: jobmgr play {started.name}     to stop: jobmgr kill {started.name}")
    bad = rows.count(found)
    return exit_after(started.turned, any(bad.get(state) for state in UNSUCCESSFUL))
