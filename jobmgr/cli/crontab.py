"""The user's crontab: one marked line of ours, and every other byte as it was.

Format: crontab(5). ``%`` is a newline there unless it has a backslash, even inside quotes.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from jobmgr.errors import RefusedError

_PROGRAM = "crontab"


def mark(run_root: str) -> str:
    """The comment at the end of our line for a run root."""
    return f"# jobmgr tick: {run_root}"


def line(minutes: int, command: Sequence[str], ending: str) -> str:
    """The line: when, the command, the mark. Raises RefusedError for what a crontab cannot hold."""
    words = f"{' '.join(map(shlex.quote, command))} {ending}"
    if "\n" in words or "\r" in words:
        raise RefusedError("a crontab line cannot hold a path with a newline")
    return f"{'*' if minutes == 1 else f'*/{minutes}'} * * * * {words}".replace("%", r"\%")


def program() -> list[str]:
    """argv by which cron finds this very program."""
    called = Path(sys.argv[0])
    if called.name == "jobmgr" and called.is_file() and os.access(called, os.X_OK):
        return [str(called.absolute())]
    return [sys.executable, "-m", "jobmgr"]


def read() -> bytes:
    """The crontab as it is; empty if there is none. Raises RefusedError where the user may have none."""
    done = _crontab(["-l"])
    if done.returncode == 0:
        return done.stdout
    if b"no crontab for" in done.stderr.lower():
        return b""
    raise RefusedError(f"crontab -l: {_said(done)}")


def write(table: bytes) -> None:
    """Put the whole crontab in place; one that has become empty is removed."""
    done = _crontab(["-"], table) if table else _crontab(["-r"])
    if done.returncode:
        raise RefusedError(f"crontab: {_said(done)}")


def find(table: bytes, ending: str) -> str | None:
    """Our line, without its newline; None if it is not there."""
    return next((os.fsdecode(entry) for entry in table.split(b"\n") if _ours(entry, ending)), None)


def with_line(table: bytes, ending: str, ours: str | None) -> bytes:
    """The crontab with our line replaced, appended, or (None) taken out; other lines keep every byte."""
    entries = table.split(b"\n")
    kept = [entry for entry in entries if not _ours(entry, ending)]
    if ours is None:
        return b"\n".join(kept)
    new = os.fsencode(ours)
    place = next((number for number, entry in enumerate(entries) if _ours(entry, ending)), None)
    if place is not None:
        before = [entry for entry in entries[:place] if not _ours(entry, ending)]
        return b"\n".join([*before, new, *kept[len(before) :]])
    body = b"\n".join(kept)
    return body + (b"" if not body or body.endswith(b"\n") else b"\n") + new + b"\n"


def _ours(entry: bytes, ending: str) -> bool:
    return not entry.startswith(b"#") and entry.endswith(b" " + os.fsencode(ending.replace("%", r"\%")))


def _crontab(options: list[str], table: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
    if shutil.which(_PROGRAM) is None:
        raise RefusedError(
            "there is no crontab program here; install cron, or call jobmgr tick --all in another way"
        )
    environment = {**os.environ, "LC_ALL": "C"}
    return subprocess.run(
        [_PROGRAM, *options], input=table or b"", capture_output=True, check=False, env=environment
    )


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    lines = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return " ".join(line.strip() for line in lines[-3:]) or f"exit code {done.returncode}"
