"""``jobmgr kill``: end jobs and every process of theirs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_JOB_FAILED, EXIT_NO_ANSWER, EXIT_OK, EXIT_REFUSED
from jobmgr.views import jsonlines, text

if TYPE_CHECKING:
    from jobmgr.api import KillResult

EPILOG = """\
examples:
  jobmgr kill sweep                everything, and the run is held
  jobmgr kill sweep 1/sim_m007
  jobmgr kill sweep :submitted     what has not started yet

Exit code: 0 all are gone, 1 something could not be ended, 5 a host gave no answer,
7 a host refused.
"""
LISTED = 10


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.ids(parser, "everything, and the run is held")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        results = asked.kill(args.ids)
    context.records(jsonlines.line("kill", run=asked.name, **jsonlines.record(result)) for result in results)
    if not context.options.quiet:
        context.show(*told(asked.name, results))
        if not args.ids:
            context.note(f"the run is held; to go on: jobmgr release {asked.name}")
    return code(results)


def told(run: str, results: Sequence[KillResult]) -> list[str]:
    """A line for each job of a few; for many, a count of each result, and those that were not ended."""
    if not results:
        return [f"{run}: nothing to kill"]
    if len(results) <= LISTED:
        return [_line(result) for result in results]
    counts: dict[str, int] = {}
    for result in results:
        counts[result.result] = counts.get(result.result, 0) + 1
    not_ended = [_line(result) for result in results if result.result not in ("killed", "already-finished")]
    head = f"{run}: " + ", ".join(f"{number} {name}" for name, number in counts.items())
    rest = [f"… {len(not_ended) - LISTED} more"] if len(not_ended) > LISTED else []
    return [head, *not_ended[:LISTED], *rest]


def _line(result: KillResult) -> str:
    return f"{result.id}  {result.result}{f': {text.one_line(result.text)}' if result.text else ''}"


def code(results: Sequence[KillResult]) -> int:
    """The exit code: 0 all are gone, 7 refused, 5 somebody gave no answer, 1 something could not be ended."""
    kinds = {result.result for result in results}
    if "refused" in kinds:
        return EXIT_REFUSED
    if "no-answer" in kinds:
        return EXIT_NO_ANSWER
    return EXIT_OK if kinds <= {"killed", "already-finished"} else EXIT_JOB_FAILED
