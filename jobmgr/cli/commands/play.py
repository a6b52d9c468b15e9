"""``jobmgr play``: start or continue a suite and watch it to its end."""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from jobmgr.cli import arguments
from jobmgr.cli.context import Context, exit_after
from jobmgr.core import events
from jobmgr.core.states import ACTIVE, BEFORE_JOB, UNSUCCESSFUL
from jobmgr.errors import EXIT_INTERRUPTED, EXIT_JOB_FAILED, EXIT_OK, WaitTimeout
from jobmgr.views import jsonlines, progress, summary

if TYPE_CHECKING:
    from jobmgr.api import Run

EPILOG = """\
examples:
  jobmgr play ./sweep            install it as "sweep" and play it
  jobmgr play sweep              go on where it was left
  jobmgr play ./sweep --new      forget the last run, here and on its hosts, and begin again

Ctrl-C leaves the jobs running. Exit code: 0 all succeeded, 1 some did not, 124 --timeout, 130 Ctrl-C.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser)
    parser.add_argument("--name", metavar="N", help="the run's name (default: the suite's)")
    parser.add_argument("--cycle", metavar="C", help="the cycle's label (default 1)")
    parser.add_argument(
        "--new", action="store_true", help="delete the last run of that name first, on its hosts too"
    )
    arguments.timeout(parser, "leave after this time; the jobs go on")


class Listener:
    """Hands events to whoever shows them: the live picture once there is one, else lines of text.

    Another process may change the run as well (a kill, a remove, a tick): after each turn of the loop the
    counts are compared, and what no event has told is read from the store.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._run = ""
        self._live = False
        self._progress: progress.Progress | None = None
        self._started: Run | None = None

    def expect(self, run: str) -> None:
        """The run whose name goes without saying."""
        self._run = run

    def follow(self, started: Run, *, live: bool) -> progress.Progress:
        """From now on keep the picture of this run; ``live``: somebody draws it."""
        self._started = started
        self._run = started.name
        self._live = live
        self._progress = progress.Progress(started.name, drawn=live)
        self._progress.seed(started.rows())
        return self._progress

    def __call__(self, event: events.Event) -> None:
        self._show(event)
        started, known = self._started, self._progress
        if isinstance(event, events.Turn) and started is not None and known is not None:
            if event.run == started.name and known.differs(event.counts):
                for missed in known.missed(started.rows(), self._context.now()):
                    self._show(missed)

    def _show(self, event: events.Event) -> None:
        if self._progress is not None:
            self._progress.apply(event)
        if self._context.json:
            self._context.tell(event)
        elif not self._context.live:
            self._plain(event)
        elif not self._live and not isinstance(event, events.Changed):
            self._context.tell(event)

    def _plain(self, event: events.Event) -> None:
        if self._context.options.quiet and not isinstance(event, events.Trouble):
            return
        told = progress.told_by(event, self._run)
        if not told:
            return
        if isinstance(event, events.Trouble):
            self._context.complain(told)
        else:
            moment = event.time if isinstance(event, events.Changed) else self._context.now()
            self._context.show(progress.stamped(told, moment, self._context.now()))


def run(args: argparse.Namespace, context: Context) -> int:
    listener = Listener(context)
    with context.session_with(listener, staying=True) as session:
        resolved = session.resolve(args.suite)
        if resolved.note:
            context.note(resolved.note)
        listener.expect(args.name or resolved.name)
        started: Run | None = None
        try:
            cycle = {} if args.cycle is None else {"cycle": args.cycle}
            started = session.submit(args.suite, name=args.name, new=args.new, **cycle)
            with _picture(started, listener, context):
                started = session.play(started.name, timeout=args.timeout)
        except KeyboardInterrupt:
            if started is None:
                raise
            return _left(started, context, EXIT_INTERRUPTED)
        except WaitTimeout:
            if started is None:
                raise
            return _left(started, context, WaitTimeout.exit_code)
        return _finished(started, context)


def _picture(started: Run, listener: Listener, context: Context) -> AbstractContextManager[object]:
    if not context.live:
        if context.json or not context.options.quiet:  # else nobody is told of anything but troubles
            listener.follow(started, live=False)
        return nullcontext()
    from jobmgr.views.live import LivePlay

    return LivePlay(listener.follow(started, live=True), context.out, color=context.colored)


def _left(started: Run, context: Context, code: int) -> int:
    """Ctrl-C or a timeout: what goes on, and how to go on."""
    overview = started.summary()
    active = sum(overview.counts.get(state, 0) for state in ACTIVE)
    jobs = f"{active} job{'s go' if active != 1 else ' goes'} on" if active else "no job is active"
    context.records([jsonlines.overview(overview)])
    context.complain(
        f"left; {jobs}, nothing new is submitted until you say",
        f"jobmgr play {started.name}  (or: jobmgr cron install).  To stop them: jobmgr kill {started.name}",
    )
    return code


def _finished(started: Run, context: Context) -> int:
    overview = started.summary()
    found = started.rows()
    context.records(jsonlines.job(started.name, row) for row in found)
    context.records([jsonlines.overview(overview)])
    context.show(*summary.summary(overview, found))
    unwell = any(overview.counts.get(state) for state in (*UNSUCCESSFUL, *BEFORE_JOB))
    if overview.finished is None and started.turned is not None:
        return exit_after(started.turned, unwell)  # left: nothing goes on until somebody acts
    return EXIT_JOB_FAILED if unwell else EXIT_OK
