"""Parsers: the options of every verb, the verb, and the verb's own words. Built for the chosen verb only."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import NoReturn

from jobmgr.cli import complete
from jobmgr.cli.verbs import VERBS, Verb, listing
from jobmgr.core.nearest import hint
from jobmgr.errors import UsageError

WITH_VALUE = frozenset({"--platforms", "--run-root", "--ssh-config", "--color", "--chaos"})
"""Options before the verb that take the next word."""

DESCRIPTION = "Submit shell jobs over SSH, poll them, kill them, bring their logs home."
EPILOG = f"""\
verbs:
{listing()}

SUITE is a path (a word with /, ending in .yaml, or .) or the name of a run. ID is CYCLE/TASK, CYCLE/TASK/NN,
TASK, a glob or a family, each with an optional :STATE; a bare :failed means all such jobs.

  jobmgr VERB --help         its words and options, with examples
  jobmgr demo                see it work, on this machine, in a minute
  jobmgr run HOST -- uname   the shortest use
"""


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are a :class:`UsageError`, one line long."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def global_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that every verb takes, before it or after it.

    They have no default, so that a parser never overwrites what an earlier one has read.
    """
    absent = argparse.SUPPRESS
    group = parser.add_argument_group("options of every verb")
    files = group.add_argument(
        "--platforms", metavar="FILE", default=absent,
        help="a platforms.yaml, on top of /etc/jobmgr and ~/.config/jobmgr (or JOBMGR_PLATFORMS)",
    )  # fmt: skip
    complete.attach(files, complete.files)
    folder = group.add_argument(
        "--run-root", metavar="DIR", default=absent,
        help="the folder of the run directories (or JOBMGR_RUN_ROOT; default ~/jobmgr-run)",
    )  # fmt: skip
    complete.attach(folder, complete.folders)
    config = group.add_argument(
        "--ssh-config", metavar="FILE", default=absent,
        help="read this instead of ~/.ssh/config (or JOBMGR_SSH_CONFIG)",
    )  # fmt: skip
    complete.attach(config, complete.files)
    group.add_argument(
        "--chaos", metavar="FAULTS", default=absent,
        help="have calls of hosts fail on purpose, for acceptance tests (or JOBMGR_CHAOS)",
    )  # fmt: skip
    group.add_argument("--json", action="store_true", default=absent, help="JSON lines for programs")
    group.add_argument("-q", "--quiet", action="store_true", default=absent, help="only results and errors")
    group.add_argument("-v", "--verbose", action="store_true", default=absent, help="tell more")
    group.add_argument(
        "--color", choices=("auto", "always", "never"), default=absent, help="default auto; NO_COLOR counts"
    )


def main_parser() -> Parser:
    """The parser of what stands before the verb."""
    parser = Parser(
        prog="jobmgr",
        usage="jobmgr [OPTIONS] VERB [WORDS]",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    global_options(parser)
    parser.add_argument(
        "--version", action="store_true", default=argparse.SUPPRESS, help="print it and leave"
    )
    return parser


def verb_parser(verb: Verb) -> Parser:
    """The parser of what stands after the verb; imports the verb's module."""
    parser = Parser(
        prog=f"jobmgr {verb.name}",
        description=verb.summary[0].upper() + verb.summary[1:] + ".",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    verb.load().configure(parser)
    global_options(parser)
    parser.add_argument("--version", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    return parser


def split(argv: Sequence[str]) -> tuple[list[str], str | None, list[str]]:
    """The words before the verb, the verb (None: there is none), and the words after it."""
    index = 0
    while index < len(argv):
        word = argv[index]
        if not word.startswith("-") or word == "-":
            return list(argv[:index]), word, list(argv[index + 1 :])
        index += 2 if word in WITH_VALUE else 1
    return list(argv), None, []


def find_verb(name: str) -> Verb:
    """The verb of that name. Raises UsageError, with the verb that was probably meant."""
    if name in VERBS:
        return VERBS[name]
    raise UsageError(f"unknown verb {name!r}{hint(name, VERBS)} (see jobmgr --help)")


def parse(argv: Sequence[str]) -> tuple[Verb | None, argparse.Namespace]:
    """Read a command line; no verb: None, and the namespace says if a version was asked for.

    ``args.command`` holds the words behind ``--``, None if there is no ``--``. Raises UsageError, and
    SystemExit behind a help text.
    """
    before, name, after = split(argv)
    args = main_parser().parse_args(before)
    if name is None or getattr(args, "version", False):
        return None, args
    verb = find_verb(name)
    args.command = None
    if "--" in after:
        cut = after.index("--")
        after, args.command = after[:cut], after[cut + 1 :]
    parser = verb_parser(verb)
    parser.parse_intermixed_args(after, args)
    if args.command is not None and verb.name != "run":
        raise UsageError(f"{parser.prog}: only jobmgr run takes words behind --")
    return verb, args
