"""A file as a lock between processes and threads of this user: flock(2), which goes with the process that holds it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator

LONGEST_PAUSE = 0.05


class StillLocked(Exception):
    """Somebody else has held the lock for as long as one wanted to wait."""


@contextlib.contextmanager
def flocked(path: str, patience: float) -> Iterator[int]:
    """Hold the lock; gives the descriptor of the file, open for reading and writing.

    Raises StillLocked after ``patience`` seconds, at the earliest after one attempt; OSError where the file cannot be
    made or the file system cannot lock.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take(fd, patience)
        try:
            yield fd
        finally:
            # By name: closing is not enough where a child between fork and exec has a copy of the descriptor.
            fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)


def _take(fd: int, patience: float) -> None:
    until = time.monotonic() + patience
    pause = 0.001
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            left = until - time.monotonic()
            if left <= 0:
                raise StillLocked from None
        time.sleep(min(pause, left))
        pause = min(LONGEST_PAUSE, 1.5 * pause)
