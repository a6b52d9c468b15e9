"""What each host said to a request that went to all hosts of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK
from jobmgr.views import jsonlines, text


class HostResult(Protocol):
    """What one host did, or the error text."""

    @property
    def host(self) -> str: ...
    @property
    def removed(self) -> Sequence[str]: ...
    @property
    def error(self) -> str: ...
    @property
    def exit_code(self) -> int: ...


def told(kind: str, run: str, results: Sequence[HostResult], done: str, context: Context) -> int:
    """A line for each host, ``done`` where all went well; the worst exit code among them."""
    context.records(jsonlines.line(kind, run=run, **jsonlines.record(result)) for result in results)
    for result in results:
        if result.error:
            context.complain(text.one_line(f"{result.host}: {result.error}".replace("\n", " ")))
        elif not context.options.quiet:
            context.show(f"{result.host}: {done}")
    return max((result.exit_code for result in results), default=EXIT_OK)
