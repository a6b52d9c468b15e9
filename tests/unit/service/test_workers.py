"""One piece of work for each of some things, at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from jobmgr.service.workers import each


def test_results_come_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def work(item: str) -> str:
        if item == "a":
            assert second.wait(20)  # so both are at work at once
        else:
            second.set()
        return item.upper()

    assert each(work, ["a", "b"]) == ["A", "B"]
    assert each(work, []) == []
    assert each(str, range(200), limit=3) == [str(number) for number in range(200)]


def test_an_error_is_raised_when_all_are_through() -> None:
    done = []

    def work(item: int) -> None:
        if item == 0:
            raise OSError("no space left")
        time.sleep(0.05)
        done.append(item)

    with pytest.raises(OSError, match="no space left"):
        each(work, [0, 1])
    assert done == [1]


STUCK = """\
import sys, threading
from jobmgr.service.workers import each
def work(item):
    print("begun", flush=True)
    threading.Event().wait(600)
try:
    each(work, [1, 2])
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_an_interrupt_waits_for_nothing() -> None:
    command = [sys.executable, "-c", STUCK]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(30) == 130
