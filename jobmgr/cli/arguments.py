"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from jobmgr.cli import complete
from jobmgr.core.durations import parse_duration
from jobmgr.errors import UsageError

ID_HELP = "CYCLE/TASK, CYCLE/TASK/NN, TASK, a glob or a family, each with an optional :STATE; or :STATE"


def suite(parser: argparse.ArgumentParser, *, optional: bool = False, path: bool = True) -> None:
    """SUITE: a path or the name of a run; ``path`` False: the name alone."""
    words = (
        "a suite's path (with /, ending in .yaml, or .), or the name of a run"
        if path
        else "the name of a run"
    )
    action = (
        parser.add_argument("suite", metavar="SUITE", nargs="?", help=words)
        if optional
        else parser.add_argument("suite", metavar="SUITE", help=words)
    )
    complete.attach(action, complete.suites if path else complete.runs)


def ids(parser: argparse.ArgumentParser, default: str, *, needed: bool = False) -> None:
    """ID...: ``default`` says what no ID means."""
    words = ID_HELP + (f" (default: {default})" if default else "")
    # With a default of its own argparse does not ask for what may be left out.
    more: dict[str, Any] = {"nargs": "+"} if needed else {"nargs": "*", "default": []}
    action = parser.add_argument("ids", metavar="ID", help=words, **more)
    complete.attach(action, complete.ids)


def one_id(parser: argparse.ArgumentParser) -> None:
    """ID: exactly one job."""
    action = parser.add_argument("id", metavar="ID", help="CYCLE/TASK, CYCLE/TASK/NN, or TASK")
    complete.attach(action, complete.ids)


def choice(parser: argparse.ArgumentParser, name: str, words: Sequence[str], meaning: str) -> None:
    """One of some words; where it is missing, they are named."""
    parser.add_argument(name, choices=words, metavar=f"{{{','.join(words)}}}", help=meaning)


def platform(parser: argparse.ArgumentParser, words: str) -> None:
    """PLATFORM: its name, or a host that ssh knows."""
    complete.attach(parser.add_argument("platform", metavar="PLATFORM", help=words), complete.platforms)


def timeout(parser: argparse.ArgumentParser, words: str) -> None:
    """``--timeout D``."""
    parser.add_argument("--timeout", metavar="D", type=duration, help=words)


def duration(word: str) -> int:
    """A type of argparse: seconds of ``90s``, ``5m``, ``1h30m``, ``PT5M``."""
    try:
        return parse_duration(word)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(str(exc)) from None


def pair(word: str) -> tuple[str, str]:
    """A type of argparse: ``NAME=VALUE``."""
    name, equals, value = word.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"expected NAME=VALUE, found {word!r}")
    return name, value


def name_only(word: str) -> str:
    """``word`` if it can be a run's name. Raises UsageError for what is a path."""
    if "/" in word or word.endswith((".yaml", ".yml")) or word in (".", ".."):
        raise UsageError(
            f"expected the name of a run, found the path {word!r} (jobmgr status lists the runs)"
        )
    return word
