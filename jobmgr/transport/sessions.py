"""How many sessions one connection may carry at a time.

sshd's own limit is ``MaxSessions`` (10 by default, and sites lower it); jobmgr stays below with 8
and goes down when a host refuses a session. A refusal can be a moment's (sshd counts a session that has
ended until it gets round to it), so the limit comes back, one by one.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SESSIONS_PER_CONNECTION = 8


class NoSession(Exception):
    """No session came free in time; nothing was sent."""


class SessionRefused(Exception):
    """The host (or the master) would not open one more session; nothing was sent."""


CALM = 20
"""So many sessions without a refusal, and one more is tried at a time."""


class SessionGate:
    """Counts the open sessions of one connection; thread-safe."""

    def __init__(self, limit: int = SESSIONS_PER_CONNECTION) -> None:
        self._highest = limit
        self.limit = limit
        self.open = 0
        self._calm = 0
        self._changed = threading.Condition()

    @contextmanager
    def session(self, timeout: float) -> Iterator[None]:
        """Hold one place; raises :class:`NoSession` after ``timeout`` seconds without one."""
        self._enter(timeout)
        try:
            yield
        finally:
            with self._changed:
                self.open -= 1
                self._calm += 1
                if self._calm >= CALM:
                    self._calm = 0
                    self.limit = min(self._highest, self.limit + 1)
                self._changed.notify_all()

    def _enter(self, timeout: float) -> None:
        with self._changed:
            if not self._changed.wait_for(lambda: self.open < self.limit, timeout):
                raise NoSession
            self.open += 1

    def refused(self) -> None:
        """The host refused one session of those that are open now: ask for fewer from here on."""
        with self._changed:
            self._calm = 0
            self.limit = max(1, min(self.limit, self.open - 1))


class Patience:
    """Waits between attempts to get a session: 0.05 s, doubling up to 1 s, for ``limit`` seconds in all."""

    def __init__(self, limit: float) -> None:
        self._until = time.monotonic() + limit
        self._next = 0.05

    def left(self) -> float:
        return max(0.0, self._until - time.monotonic())

    def pause(self) -> bool:
        """Wait a little; False, at once, if the time is used up."""
        left = self.left()
        if left <= 0:
            return False
        time.sleep(min(self._next, left))
        self._next = min(1.0, 2 * self._next)
        return True
