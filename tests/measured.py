"""Branch coverage of the host side, which runs in processes of its own."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

LAUNCHER = Path(__file__).resolve().parent / "fakes" / "measured_host.py"


def host_python(folder: Path) -> str:
    """The Python to name in a platform's ``python`` key, so that the host side counts in ``make test``.

    Without a measurement under way this is the Python of the tests. With one it is a program, written into
    ``folder``, that starts the host side under coverage; it is slower by some 0.1 s, so a test that counts
    milliseconds or looks at its own descendants does better without.
    """
    config = os.environ.get("COVERAGE_PROCESS_CONFIG")
    if not config:
        return sys.executable
    program = folder / "measured-python"
    program.write_text(
        f"#!/bin/sh\nexport MEASURED_HOST_CONFIG={shlex.quote(config)}\n"
        f'exec {shlex.quote(sys.executable)} -I {shlex.quote(str(LAUNCHER))} "$@"\n'
    )
    program.chmod(0o755)
    return str(program)


def unmeasured(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment without measurement, for a child whose imports are counted."""
    return {name: value for name, value in environ.items() if not name.startswith("COVERAGE_")}
