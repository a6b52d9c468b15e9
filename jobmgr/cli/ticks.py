"""What a turn of the loop did, in words; and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from jobmgr.cli.context import Context, exit_after
from jobmgr.core.states import ACTIVE
from jobmgr.errors import EXIT_OK
from jobmgr.views import jsonlines, times

if TYPE_CHECKING:
    from jobmgr.api import Session

FEW = 3
"""So many hosts are named in a line."""


class Result(Protocol):
    """One turn over one run."""

    @property
    def run(self) -> str: ...
    @property
    def busy(self) -> bool: ...
    @property
    def polled(self) -> int: ...
    @property
    def changed(self) -> int: ...
    @property
    def submitted(self) -> int: ...
    @property
    def retrieved(self) -> int: ...
    @property
    def unreachable(self) -> Mapping[str, str]: ...
    @property
    def person(self) -> Mapping[str, str]: ...
    @property
    def refused(self) -> Mapping[str, str]: ...


def told(results: Sequence[Result], session: Session, context: Context) -> int:
    """Print each result, and why hosts gave no answer; return the worst exit code of all."""
    codes = [EXIT_OK]
    for result in results:
        context.records([jsonlines.line("turn-result", **jsonlines.record(result))])
        if not context.options.quiet:
            context.show(words(result))
        if result.unreachable or result.refused or result.person:
            _silent_hosts(result, session, context)
        codes.append(exit_after(result, failed=False))
    return max(codes)


def _silent_hosts(result: Result, session: Session, context: Context) -> None:
    """Why a host gave no answer, if no event has said it yet; and that its jobs go on."""
    run = session.open(result.run)
    found = run.rows()
    seen = run.summary().as_of
    for host, why in {**result.unreachable, **result.refused, **result.person}.items():
        context.trouble(host, why, person=host in result.person)
        active = sum(row.host == host and row.state in ACTIVE for row in found)
        if active:
            last = f", last answer {times.clock(seen, context.now())}" if seen is not None else ""
            context.note(f"  {active} job{'s' * (active != 1)} there unaffected{last}")


def words(result: Result) -> str:
    """``sweep: 64 polled, 3 changed, 2 submitted``."""
    if result.busy:
        return f"{result.run}: another tick is at work; nothing done"
    done = [
        f"{number} {name}"
        for name, number in (
            ("polled", result.polled),
            ("changed", result.changed),
            ("submitted", result.submitted),
            ("retrieved", result.retrieved),
        )
        if number
    ]
    silent = [*result.person, *result.unreachable]
    for hosts, what in ((silent, "gave no answer"), (list(result.refused), "refused")):
        if hosts:
            named = ", ".join(hosts[:FEW]) + (" …" if len(hosts) > FEW else "")
            number = f"{len(hosts)} host{'s' * (len(hosts) != 1)}"
            done.append(f"{number} {what} ({named}; jobmgr status {result.run} tells why)")
    return f"{result.run}: {', '.join(done) or 'nothing was due'}"
