"""Threads for work on hosts: started when there is work, kept for more, never waited for at the end of the process.

``concurrent.futures`` joins its threads when the interpreter ends, whatever became of the one who started them: a
command that somebody has interrupted would stay until the last host has answered.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

HEARING = 0.5
"""Seconds after which a thread that waits without end looks up."""

Item = TypeVar("Item")
Result = TypeVar("Result")


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


def take(inbox: queue.SimpleQueue[Result]) -> Result:
    """``inbox.get()`` that no interrupt escapes: one that comes just before the wait begins would wake nobody."""
    while True:
        try:
            return inbox.get(timeout=HEARING)
        except queue.Empty:
            continue


def each(work: Callable[[Item], Result], items: Sequence[Item], limit: int = 64) -> list[Result]:
    """What ``work`` makes of each item, in their order; up to ``limit`` of them are worked on at once.

    Raises what it raised for one of them, once all are through. An interrupt waits for nothing.
    """
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()

    def run(index: int, item: Item) -> None:
        try:
            done.put((index, work(item), None))
        except BaseException as error:  # raised by the thread that waits
            done.put((index, None, error))

    workers = Workers(limit)
    for index, item in enumerate(items):
        workers.submit(partial(run, index, item))
    workers.close()
    found = sorted((take(done) for _ in items), key=lambda entry: entry[0])
    for _, _, error in found:
        if error is not None:
            raise error
    return [value for _, value, _ in found]
