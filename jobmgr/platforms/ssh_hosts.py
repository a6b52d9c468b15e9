"""The literal Host names of an ssh configuration: the hosts that a user has named.

Format: ssh_config(5). Only ``Host`` and ``Include`` lines are read; patterns (``*``, ``?``, ``!``) are no
names. An ``Include`` counts wherever it stands, conditions or not: the question is what names exist, not
what they mean.
"""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path

DEEPEST_INCLUDE = 16  # as in OpenSSH

_LINE = re.compile(r"\s*(host|include)(?:\s*=\s*|\s+)(.*)", re.IGNORECASE)


def ssh_config_files(home: Path) -> tuple[Path, Path]:
    """The files that OpenSSH reads for a user."""
    return home / ".ssh/config", Path("/etc/ssh/ssh_config")


def literal_hosts(files: Iterable[Path], home: Path) -> set[str]:
    """Every literal Host name in ``files`` and what they include. Files that cannot be read count as
    empty."""
    return {name for file in files for name in _hosts(file, home, 0)}


def _hosts(file: Path, home: Path, depth: int) -> Iterator[str]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        words = _words(match[2])
        if match[1].lower() == "host":
            yield from (word for word in words if not set(word) & set("*?!"))
        elif depth < DEEPEST_INCLUDE:
            for included in _included(words, file, home):
                yield from _hosts(included, home, depth + 1)


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # an open quote; ssh itself will complain
        return text.split()


def _included(patterns: Iterable[str], file: Path, home: Path) -> Iterator[Path]:
    """The files that Include names: relative ones are below ``~/.ssh``, or below the system file's folder."""
    folder = Path("/etc/ssh") if file.is_relative_to("/etc/ssh") else home / ".ssh"
    for pattern in patterns:
        place = str(home) + pattern[1:] if pattern.startswith("~/") else str(folder / pattern)
        for name in sorted(glob.glob(place)):
            yield Path(name)
