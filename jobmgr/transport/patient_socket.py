"""A socket that gives the connection up once the other end has taken nothing for a while.

TCP can do that by itself (``TCP_USER_TIMEOUT``), the pipe to a proxy program cannot, and paramiko repeats a send for
ever: one thread that sends would keep all others from the connection, and from replacing it.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import time
from typing import Any

LIMIT = 45.0
"""Seconds, like ServerAlive 15 x 3."""


class PatientSocket(socket.socket):
    """For use with a short timeout and one sender at a time, as paramiko's packetizer does."""

    _stuck_since: float | None = None

    def send(self, data: Any, flags: int = 0) -> int:
        """Raises ConnectionAbortedError, and ends the connection, where TimeoutError would come for too long."""
        try:
            sent = super().send(data, flags)
        except TimeoutError:
            now = time.monotonic()
            if self._stuck_since is None:
                self._stuck_since = now
            if now - self._stuck_since < LIMIT:
                raise
            with contextlib.suppress(OSError):
                self.shutdown(socket.SHUT_RDWR)  # whoever reads sees the end too
            raise ConnectionAbortedError(
                errno.ECONNABORTED, f"the other end took nothing for {LIMIT:g} s"
            ) from None
        self._stuck_since = None
        return sent


def patient_pair() -> tuple[PatientSocket, socket.socket]:
    """``socket.socketpair()`` whose first end is patient."""
    ours, theirs = socket.socketpair()
    return PatientSocket(ours.family, ours.type, ours.proto, fileno=ours.detach()), theirs
