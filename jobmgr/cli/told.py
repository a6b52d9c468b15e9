"""One line per job for a few, a count for many."""

from __future__ import annotations

from collections.abc import Sequence

from jobmgr.cli.context import Context

FEW = 10


def names(run: str, done: Sequence[str], verb: str, otherwise: str, context: Context) -> None:
    """Say to which jobs of a run (or to the run, by its name) something was done; ``otherwise``: to none."""
    context.record("done", run=run, what=verb, jobs=list(done))
    if context.options.quiet:
        return
    if not done:
        context.show(f"{run}: {otherwise}")
    elif list(done) == [run]:
        context.show(f"{run}: the whole run {verb}")
    elif len(done) <= FEW:
        context.show(*(f"{run} {job}  {verb}" for job in done))
    else:
        context.show(f"{run}: {len(done)} {verb} ({done[0]} … {done[-1]})")
