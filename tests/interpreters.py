"""The Python interpreters of this machine, for tests that run the host side under each of them."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

NAMES = ("python2.7", "python3.6", *(f"python3.{minor}" for minor in range(7, 20)))


def _folders() -> list[Path]:
    """Folders that may hold interpreters. Shims are left out: they exist whether or not they work."""
    on_path = [Path(entry) for entry in os.environ.get("PATH", "").split(os.pathsep) if entry]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    return [
        *(folder for folder in on_path if folder.name != "shims"),
        *sorted(pyenv.glob("versions/*/bin")),
        Path("/usr/bin"),
        Path("/usr/local/bin"),
    ]


@functools.cache
def find(version: str) -> str | None:
    """The path of a working interpreter of that version (``3.6``), or None."""
    if version == f"{sys.version_info[0]}.{sys.version_info[1]}":
        return sys.executable
    for folder in _folders():
        candidate = folder / f"python{version}"
        if candidate.is_file() and _works(candidate, version):
            return str(candidate)
    return None


def _works(candidate: Path, version: str) -> bool:
    code = "import sys; sys.stdout.write('%d.%d' % sys.version_info[:2])"
    try:
        done = subprocess.run([candidate, "-c", code], stdout=subprocess.PIPE, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0 and done.stdout.decode() == version


@functools.cache
def host_pythons() -> tuple[str, ...]:
    """Every interpreter that the host side supports and that is here, oldest first."""
    versions = (name[len("python") :] for name in NAMES if name != "python2.7")
    return tuple(path for path in map(find, versions) if path)


def oldest_and_newest() -> tuple[str, ...]:
    """The two ends of :func:`host_pythons` (one, if there is only one)."""
    present = host_pythons()
    return present if len(present) < 2 else (present[0], present[-1])
