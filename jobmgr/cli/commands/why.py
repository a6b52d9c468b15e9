"""``jobmgr why``: the evidence and the rule behind one job's state."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK

EPILOG = "example:\n  jobmgr why sweep 1/sim_m301"


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    arguments.suite(parser, path=False)
    arguments.one_id(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        asked = session.open(arguments.name_only(args.suite))
        explained = asked.why(args.id)
    if context.json:
        from jobmgr.views import jsonlines

        context.record(
            "why",
            run=asked.name,
            job=jsonlines.record(explained.job),
            evidence=[jsonlines.record(line) for line in explained.lines],
            rule=explained.rule,
            next=explained.next,
        )
        return EXIT_OK
    from jobmgr.views import why

    context.show(*why.explain(explained, context.now(), colored=context.colored))
    return EXIT_OK
