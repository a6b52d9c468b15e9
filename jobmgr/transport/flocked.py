"""A file as a lock between processes and threads of this user, for moments."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

from jobmgr.errors import ConnectTimeout

LONGEST_PAUSE = 0.05


@contextlib.contextmanager
def flocked(path: str, patience: float, complaint: str) -> Iterator[int]:
    """Hold the lock; gives the descriptor of the file, open for reading and writing.

    Raises ConnectTimeout with ``complaint`` after ``patience`` seconds.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, patience, complaint)
        try:
            yield fd
        finally:
            # By name: closing is not enough where a child between fork and exec has a copy of the descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _take(fd: int, patience: float, complaint: str) -> None:
    until = time.monotonic() + patience
    pause = 0.001
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0:
                raise ConnectTimeout(f"{complaint} for {patience:g} s") from None
        time.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, 1.5 * pause)
