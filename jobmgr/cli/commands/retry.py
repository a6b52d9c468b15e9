"""``jobmgr retry``: submit failed jobs again."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments, told
from jobmgr.cli.context import Context, exit_after
from jobmgr.core.states import State
from jobmgr.views import text

EPILOG = """\
examples:
  jobmgr retry sweep               every failed and submit-failed job
  jobmgr retry sweep 1/sim_m007    this one, also if it has succeeded

They are submitted at once, with a new submit number. A job that was lost is first ended for certain on its
host, which has to answer for that.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.ids(parser, "failed and submit-failed ones")


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        ids = asked.retry(args.ids)
        rows = {row.id: row for row in asked.rows(ids)} if ids else {}
    failed = [row for row in rows.values() if row.state is State.SUBMIT_FAILED]
    names = [name for name in ids if name not in rows or rows[name] not in failed]
    if names or not failed:
        told.names(asked.name, names, "submitted again", "nothing to retry", context)
    context.complain(
        *(text.one_line(f"{asked.name} {row.id}  submit-failed: {row.detail}") for row in failed[: told.FEW]),
        *([f"… {len(failed) - told.FEW} more"] if len(failed) > told.FEW else []),
    )
    return exit_after(asked.turned, failed=bool(failed))
