"""``jobmgr run``: one command on a platform, now."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobmgr.cli import arguments, dry_run
from jobmgr.cli.context import Context, exit_after
from jobmgr.core.states import ACTIVE, UNSUCCESSFUL, State
from jobmgr.errors import (
    EXIT_JOB_FAILED,
    EXIT_OK,
    EXIT_WAIT_CANNOT_TELL,
    EXIT_WAIT_TIME_LIMIT,
    UsageError,
)
from jobmgr.views import jsonlines, progress, rows, summary, text

if TYPE_CHECKING:
    from jobmgr.api import Job, Session

EPILOG = """\
examples:
  jobmgr run wizard -- hostname
  jobmgr run hpc -i a.nc -o '*.nc' --time-limit 1h -- ./model.sh a.nc
  jobmgr run wizard --param m=1..9 -- bash -c 'echo "$JOBMGR_PARAM_m"'
  jobmgr run wizard --wait -- make test

A local ./script travels along. Exit code with --wait: the command's own, 124 time limit, 128+N signal N,
125 jobmgr cannot tell; several jobs: 0 or 1.
"""
LISTED = 10


def configure(parser: argparse.ArgumentParser) -> None:
    parser.usage = "jobmgr run PLATFORM [OPTIONS] -- COMMAND..."
    parser.epilog = EPILOG
    arguments.platform(parser, "a platform, or a host that ssh knows")
    parser.add_argument(
        "-i", "--input", dest="inputs", metavar="PATH", action="append", default=[],
        help="a file or folder to take along into the work directory",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", dest="outputs", metavar="GLOB", action="append", default=[],
        help="what to bring home when the job has ended",
    )  # fmt: skip
    parser.add_argument("--to", metavar="DIR", help="where outputs go (default: the run directory)")
    parser.add_argument("--name", metavar="N", help="the job's name (default: the command's)")
    parser.add_argument(
        "--suite", metavar="RUN", default="adhoc", help="the run it belongs to (default adhoc)"
    )
    parser.add_argument("--time-limit", metavar="D", type=arguments.duration, help="the longest it may run")
    parser.add_argument(
        "--env",
        metavar="K=V",
        action="append",
        default=[],
        type=arguments.pair,
        help="a variable for the job",
    )
    parser.add_argument(
        "--directive", dest="directives", metavar="X", action="append", default=[],
        help="a setting in the batch system's own words",
    )  # fmt: skip
    parser.add_argument(
        "--param", dest="params", metavar="m=1..9", action="append", default=[], type=arguments.pair,
        help="one job for each value (m=1..9, or m=a,b); several names make a product",
    )  # fmt: skip
    parser.add_argument("--wait", action="store_true", help="return when it has ended, with its exit code")
    parser.add_argument("--dry-run", action="store_true", help="show the job file, submit nothing")


def run(args: argparse.Namespace, context: Context) -> int:
    if not args.command:
        raise UsageError("which command? jobmgr run PLATFORM [OPTIONS] -- COMMAND... (see jobmgr run --help)")
    with context.session() as session:
        if args.dry_run:
            return dry_run.show(session.run_dry(args.platform, args.command, **_options(args)), context)
        jobs = session.run_many(args.platform, args.command, **_options(args))
        _told(session, jobs, context)
        return _waited(jobs, context) if args.wait else _submitted(jobs)


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "inputs": args.inputs,
        "outputs": args.outputs,
        "to": args.to,
        "name": args.name,
        "suite": args.suite,
        "time_limit": args.time_limit,
        "env": dict(args.env),
        "directives": args.directives,
        "parameters": _parameters(args.params),
    }


def _parameters(pairs: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """``m=1..3``, ``m=a,b``, or the same name again: all its values, in order."""
    found: dict[str, list[str]] = {}
    for name, words in pairs:
        found.setdefault(name, []).extend(words.split(","))
    return found


def _told(session: Session, jobs: list[Job], context: Context) -> None:
    """``adhoc 1/hostname/01  submitted to wizard (pid 4711)``, and what to type next."""
    found = [(job, job.row()) for job in jobs]
    for job, row in found:
        context.records([jsonlines.job(job.run.name, row)])
    context.show(*(_line(job.run.name, row) for job, row in found[:LISTED]))
    run = jobs[0].run.name
    if len(jobs) > LISTED:
        context.show(f"… {len(jobs) - LISTED} more: jobmgr status {run}")
    first = summary.short(jobs[0].id)
    which = f" {first}" if len(jobs) == 1 else ""
    context.note(f"output: jobmgr log {run} {first} -f     stop: jobmgr kill {run}{which}")


def _line(run: str, row: rows.Row) -> str:
    words = row.state.value
    if row.state in ACTIVE:
        words = f"submitted to {progress.place(row.platform, row.native_id, row.runner)}"
        if row.state is State.SUBMIT_UNKNOWN:
            words = f"submit-unknown on {row.platform}"
    tail = " · ".join(text.one_line(part) for part in (row.doubt, row.detail) if part)
    return f"{run} {row.id}  {words}{f': {tail}' if tail else ''}"


def _submitted(jobs: list[Job]) -> int:
    failed = any(job.row().state in UNSUCCESSFUL for job in jobs)
    return exit_after(jobs[0].run.turned, failed)


def _waited(jobs: list[Job], context: Context) -> int:
    for job in jobs:
        job.wait()
    ended = [job.row() for job in jobs]
    for job, row in zip(jobs, ended, strict=True):
        context.records([jsonlines.job(job.run.name, row)])
        context.note(_line(job.run.name, row))
    if len(ended) > 1:
        return EXIT_OK if all(row.state is State.SUCCEEDED for row in ended) else EXIT_JOB_FAILED
    return wait_code(ended[0])


_SIGNAL = re.compile(r"\b(?:signal|killed by|SIG)[ /]*(?:SIG)?([A-Z]+[0-9]*|[0-9]+)")


def wait_code(row: rows.Row) -> int:
    """The exit code of ``run --wait`` for a job that has ended."""
    if row.state is State.SUCCEEDED:
        return EXIT_OK
    if row.state is State.KILLED:
        return 128 + 15
    if row.state is State.FAILED:
        if "time limit" in row.detail:
            return EXIT_WAIT_TIME_LIMIT
        if row.exit_code:
            return row.exit_code
        number = signal_number(row.detail)
        if number:
            return 128 + number
    return EXIT_WAIT_CANNOT_TELL


def signal_number(detail: str) -> int:
    """The number of the signal that ``signal TERM`` or ``SIGKILL`` names; 0 if there is none."""
    import signal

    found = _SIGNAL.search(detail)
    if found is None:
        return 0
    word = found[1]
    return int(word) if word.isdecimal() else int(getattr(signal, f"SIG{word}", 0))
