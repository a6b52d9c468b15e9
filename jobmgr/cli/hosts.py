"""What each host said to a request that went to all hosts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK
from jobmgr.views import jsonlines, text


def told(kind: str, run: str, results: Sequence[Any], context: Context) -> int:
    """A line for each host; the worst exit code among them."""
    worst = EXIT_OK
    for result in results:
        context.records([jsonlines.line(kind, run=run, **jsonlines.record(result))])
        if not context.options.quiet:
            context.show(f"{result.host}: {text.one_line(result.text)}")
        worst = max(worst, int(result.exit_code))
    return worst
