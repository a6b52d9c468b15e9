"""``jobmgr validate``: all errors of a suite at once."""

from __future__ import annotations

import argparse

from jobmgr.cli import arguments
from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK, ConfigError


def configure(parser: argparse.ArgumentParser) -> None:
    parser.epilog = "Platform names are checked as well. Exit code: 0 nothing wrong, 3 errors."
    arguments.suite(parser)


def run(args: argparse.Namespace, context: Context) -> int:
    with context.session() as session:
        resolved = session.resolve(args.suite)
        if resolved.note:
            context.note(resolved.note)
        try:
            suite = session.validate(args.suite)
        except ConfigError as error:
            for problem in error.problems:
                context.record(
                    "problem", file=problem.file, line=problem.line, key=problem.key, text=problem.text
                )
            raise
    tasks = len(suite.tasks)
    context.show(f"{suite.name}: {tasks} task{'s' * (tasks != 1)}, no errors")
    context.record("valid", suite=suite.name, tasks=tasks)
    return EXIT_OK
