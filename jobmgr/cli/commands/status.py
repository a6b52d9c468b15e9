"""``jobmgr status``: what is known, and how old it is. Never connects unless told to."""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

from jobmgr.cli import arguments
from jobmgr.cli.context import Context, exit_of
from jobmgr.errors import EXIT_OK, JobmgrError, UsageError
from jobmgr.views import table, text

if TYPE_CHECKING:
    from jobmgr.api import Run, Session

EPILOG = """\
examples:
  jobmgr status                      all runs
  jobmgr status sweep                counts, and a few jobs of each state
  jobmgr status sweep :failed        every failed job
  jobmgr status sweep --csv > t.csv  every job, for a spreadsheet

A ? behind a job marks doubt: a host could not be asked, or what it said does not fit. The state is then the
last one that was proven.
"""
REDRAW = 2.0
ASK_AGAIN = 10.0


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, optional=True, path=False)
    arguments.ids(parser, "a few of each state")
    parser.add_argument("--poll", action="store_true", help="ask the hosts first")
    parser.add_argument("--watch", action="store_true", help="show it again and again, until it is finished")
    parser.add_argument("--csv", action="store_true", help="every job as comma-separated values")


def run(args: argparse.Namespace, context: Context) -> int:
    if args.csv and (args.suite is None or context.json or args.watch):
        raise UsageError("--csv wants a run, and neither --json nor --watch")
    with context.session() as session:
        if args.suite is None:
            return _all_runs(args, session, context)
        shown = session.open(arguments.name_only(args.suite))
        if args.watch:
            return _watch(args, shown, context)
        code = _poll(shown, args.ids) if args.poll else EXIT_OK
        _show(args, shown, context)
        return code


def _poll(shown: Run, ids: list[str]) -> int:
    result = shown.poll(ids)
    return exit_of(result.unreachable, result.person)


def _show(args: argparse.Namespace, shown: Run, context: Context) -> bool:
    """Print the run; returns whether it is finished."""
    overview = shown.summary()
    found = shown.rows(args.ids)
    if args.csv:
        from jobmgr.views import csv

        context.write(csv.table(found))
    elif context.json:
        from jobmgr.views import jsonlines

        context.records([jsonlines.overview(overview)])
        context.records(jsonlines.job(shown.name, row) for row in found)
    else:
        context.show(
            *table.status(
                overview,
                found,
                context.now(),
                context.width,
                colored=context.colored,
                complete=bool(args.ids),
            )
        )
    return overview.finished is not None


def _watch(args: argparse.Namespace, shown: Run, context: Context) -> int:
    """Draw until the run is finished or somebody presses Ctrl-C, which is the usual way out."""
    asked = 0.0
    code = EXIT_OK
    try:
        while True:
            if args.poll and time.monotonic() - asked >= ASK_AGAIN:
                code = _poll(shown, args.ids)
                asked = time.monotonic()
            if context.out_terminal and not context.json:
                context.write("\x1b[H\x1b[2J")
            if _show(args, shown, context):
                return code
            time.sleep(REDRAW)
    except KeyboardInterrupt:
        return code


def _all_runs(args: argparse.Namespace, session: Session, context: Context) -> int:
    if args.watch:
        raise UsageError("--watch wants a run")
    code = EXIT_OK
    if args.poll:
        results = session.poll_all()
        code = max((exit_of(result.unreachable, result.person) for result in results), default=EXIT_OK)
    overviews = []
    for name in session.runs():
        try:
            overviews.append(session.open(name).summary())
        except JobmgrError as error:  # one run that cannot be read hides no other
            context.complain(text.one_line(f"{name}: {error}"))
            code = max(code, error.exit_code)
    if context.json:
        from jobmgr.views import jsonlines

        context.records(jsonlines.overview(overview) for overview in overviews)
    elif overviews or code:
        context.show(*table.runs(overviews, context.now(), context.width))
    else:
        context.show(
            f"no runs in {session.run_root}", "to begin: jobmgr demo, or jobmgr run HOST -- hostname"
        )
    return code
