"""Run what ``python -I -S ARGUMENTS`` would run, under branch coverage. Made use of by tests/measured.py.

The host side starts with -I and -S, where the usual ways to measure child processes do not reach. Here
coverage is started first, then the folder, archive or file that the arguments name is run as ``__main__``.
Anything else (``-c``, ``--version``) is handed to the plain interpreter. The configuration comes in a
variable of our own, because coverage would start by itself, too early, on finding the one that it knows.
"""

from __future__ import annotations

import os
import runpy
import sys
from itertools import takewhile


def main() -> None:
    arguments = sys.argv[1:]
    flags = list(takewhile(lambda word: word.startswith("-") and word not in ("-c", "-m"), arguments))
    rest = arguments[len(flags) :]
    config = os.environ.pop("MEASURED_HOST_CONFIG")
    if not rest or not os.path.exists(rest[0]):
        os.execv(sys.executable, [sys.executable, *arguments])
    sys.argv = rest
    _start_coverage(config)
    runpy.run_path(rest[0], run_name="__main__")


def _start_coverage(config: str) -> None:
    """Start it, and leave no trace in the environment: jobs of the host side are not to be measured."""
    import coverage

    os.environ["COVERAGE_PROCESS_CONFIG"] = config
    coverage.process_startup()
    os.environ.pop("COVERAGE_PROCESS_CONFIG", None)


main()
