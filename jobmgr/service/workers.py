"""Threads for work on hosts: started when there is work, kept for more, never waited for at the end of the process.

``concurrent.futures`` joins its threads when the interpreter ends, whatever became of the one who started them: a
command that somebody has interrupted would stay until the last host has answered.
"""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

MOST = 64
"""Threads at a time, where each waits for a host."""

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


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``[work(item) for item in items]``, up to 64 at a time.

    Raises, when all have ended, what the first of them has raised. An interrupt is raised at once, and leaves the
    work to itself.
    """
    todo = list(items)
    came: queue.SimpleQueue[tuple[int, Result | None, BaseException | None]] = queue.SimpleQueue()
    workers = Workers(min(MOST, len(todo)))

    def run(index: int, item: Item) -> None:
        try:
            came.put((index, work(item), None))
        except BaseException as error:  # handed to the thread that waits
            came.put((index, None, error))

    for index, item in enumerate(todo):
        workers.submit(functools.partial(run, index, item))
    workers.close()
    results: list[Any] = [None] * len(todo)
    errors: list[tuple[int, BaseException]] = []
    for _ in todo:
        index, results[index], error = came.get()
        if error is not None:
            errors.append((index, error))
    if errors:
        raise min(errors, key=lambda pair: pair[0])[1]
    return results
