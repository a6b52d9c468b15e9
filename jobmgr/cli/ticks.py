"""What a turn of the loop did, in words; and its exit code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from jobmgr.cli.context import Context, exit_of
from jobmgr.views import jsonlines

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


def told(results: Sequence[Result], context: Context) -> int:
    """Print each result and return the worst exit code of them all."""
    unreachable: dict[str, str] = {}
    person: dict[str, str] = {}
    for result in results:
        context.records([jsonlines.line("turn-result", **jsonlines.record(result))])
        if not context.options.quiet:
            context.show(words(result))
        unreachable.update(result.unreachable)
        person.update(result.person)
    return exit_of(unreachable, person)


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
    if silent:
        named = ", ".join(silent[:FEW]) + (" …" if len(silent) > FEW else "")
        hosts = f"{len(silent)} host{'s' * (len(silent) != 1)}"
        done.append(f"{hosts} gave no answer ({named}; jobmgr status {result.run} tells why)")
    return f"{result.run}: {', '.join(done) or 'nothing was due'}"
