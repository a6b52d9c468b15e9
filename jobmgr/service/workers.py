"""Threads for work on hosts: started when there is work, kept for more, never waited for at the end of the process.

``concurrent.futures`` joins its threads when the interpreter ends, whatever became of the one who started them: a
command that somebody has interrupted would stay until the last host has answered.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable


class Workers:
    """Up to ``limit`` threads. For the thread that made it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._idle = threading.Semaphore(0)
        self._count = 0

    def submit(self, work: Callable[[], None]) -> None:
        """Have ``work`` done, which raises nothing; with all threads at work it waits for one."""
        self._work.put(work)
        if not self._idle.acquire(blocking=False) and self._count < self._limit:
            self._count += 1
            threading.Thread(target=self._run, name=f"jobmgr_{self._count}", daemon=True).start()

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
            self._idle.release()

    def close(self) -> None:
        """Let each thread end after the work that it is at. Nothing is waited for."""
        for _ in range(self._count):
            self._work.put(None)
