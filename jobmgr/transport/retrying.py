"""``Retrying(transport)``: connects again after a failure that may pass, with backoff and jitter.

Only connecting is repeated. A request that may have arrived is never sent again from here, and a
refused login, an unknown host key or an unsupported configuration is never tried twice: accounts
get locked, and only a person can help.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

from jobmgr.errors import AuthenticationError, ConnectError, HostKeyError, UnsupportedError
from jobmgr.transport.base import Completed, Hold, OnChunk, Transport

Result = TypeVar("Result")

HOPELESS = (AuthenticationError, HostKeyError, UnsupportedError)


def delay(attempt: int, first: float, cap: float, chance: float) -> float:
    """Seconds before attempt ``attempt + 1``: doubling from ``first`` to ``cap``, of which 50 to 100 %.

    ``chance`` in [0, 1) is the jitter: many controllers that lost one host do not come back at once.
    """
    full: float = min(cap, first * 2.0**attempt)
    return full * (0.5 + chance / 2)


class Retrying:
    """A transport that tries ``attempts`` times to connect."""

    def __init__(
        self,
        transport: Transport,
        attempts: int = 3,
        first_delay: float = 0.5,
        max_delay: float = 10.0,
        sleep: Callable[[float], None] = time.sleep,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.inner = transport
        self.name = transport.name
        self.host = transport.host
        self._attempts = attempts
        self._first = first_delay
        self._cap = max_delay
        self._sleep = sleep
        self._chance = chance

    def connect(self) -> None:
        self._repeat(self.inner.connect)

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        """A ConnectError says that nothing was sent: then, and only then, the command is tried again."""
        return self._repeat(lambda: self.inner.run(command, stdin, hold, idle_timeout, on_chunk))

    def _repeat(self, act: Callable[[], Result]) -> Result:
        for attempt in range(self._attempts - 1):
            try:
                return act()
            except HOPELESS:
                raise
            except ConnectError:
                self._sleep(delay(attempt, self._first, self._cap, self._chance()))
        return act()

    def rsync_shell(self) -> list[str] | None:
        return self.inner.rsync_shell()

    def close(self) -> None:
        self.inner.close()
