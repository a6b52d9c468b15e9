"""A log that cron may append to for ever: when it has become large, its older half is dropped."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

MOST = 1_000_000


def redirect(name: str, now: float) -> None:
    """Send stdout and stderr of this process to the end of the file (0600), behind a line with the time.

    Raises OSError if the file cannot be written.
    """
    path = Path(name).expanduser()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    shorten(path)
    target = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(target, 1)
    os.dup2(target, 2)
    os.close(target)
    os.write(1, time.strftime("--- %Y-%m-%d %H:%M:%S\n", time.localtime(now)).encode())


def shorten(path: Path, most: int = MOST) -> None:
    """Keep the newer half of a file that is larger than ``most`` bytes, from the start of a line."""
    try:
        with path.open("rb") as file:
            if os.fstat(file.fileno()).st_size <= most:
                return
            file.seek(-most // 2, os.SEEK_END)
            kept = file.read().partition(b"\n")[2]
    except FileNotFoundError:
        return
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(kept)
    os.replace(beside, path)
