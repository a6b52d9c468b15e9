"""``jobmgr recover``: rebuild a run from its hosts, or take it over."""

from __future__ import annotations

import argparse

from jobmgr.cli import complete
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_NO_ANSWER, EXIT_OK
from jobmgr.views import jsonlines, table, text

EPILOG = """\
examples:
  jobmgr recover sweep --from hpc wizard    after the store was lost, or on another machine

The hosts' job.status files are read, and the store is made anew. From then on the hosts obey this controller;
the one before is refused by name.
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = EPILOG
    name = parser.add_argument("suite", metavar="NAME", help="the name of the run")
    complete.attach(name, complete.runs)
    sources = parser.add_argument(
        "--from", dest="sources", metavar="PLATFORM", nargs="+", action="extend", required=True,
        help="the platforms that hold its jobs",
    )  # fmt: skip
    complete.attach(sources, complete.platforms)


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        result = session.recover(args.suite, args.sources)
        recovered = session.open(args.suite)
        overview = recovered.summary()
        found = recovered.rows()
    failed = dict(result.failed)
    context.record(
        "recover",
        run=args.suite,
        jobs=result.jobs,
        epoch=result.epoch,
        hosts=list(result.hosts),
        failed=failed,
    )
    context.records(jsonlines.job(args.suite, row) for row in found)
    context.show(*table.status(overview, found, context.now(), context.width, colored=context.colored))
    for host, why in failed.items():
        context.complain(text.one_line(f"{host}: {why}"))
    jobs = f"{result.jobs} job{'s' * (result.jobs != 1)}"
    hosts = f"{len(result.hosts)} host{'s' * (len(result.hosts) != 1)}"
    context.note(f"{jobs} found on {hosts}; to go on: jobmgr play {args.suite}")
    return EXIT_NO_ANSWER if failed else EXIT_OK
