"""Processor seconds of all that a scenario sets to work: commands, sshds, what they run, jobs that outlive them.

The benchmarks run below a process that takes in orphans as init does, so whatever is started stays below it.
What has ended is in its parent's account, what lives in its own; what else the machine does is in neither.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Callable

PR_SET_CHILD_SUBREAPER = 36
TICK = os.sysconf("SC_CLK_TCK")


def below_an_init(main: Callable[[], int]) -> int:
    """Run ``main`` in a child, and see every orphan of it off until it ends; its exit code."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        return main()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to both
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGTERM))
    while True:
        pid, status = os.wait()
        if pid == child:
            os._exit(os.waitstatus_to_exitcode(status) % 256)


def spent() -> float:
    """Processor seconds of all that was ever below the init, this process itself left out."""
    init, me = os.getppid(), os.getpid()
    times = os.times()
    total = times.children_user + times.children_system + _of_the_ended(init)
    return total + sum(_own(pid) + _of_the_ended(pid) for pid in _below(init) if pid != me)


def _below(top: int) -> list[int]:
    """All that live below a process."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (fields := _stat(int(name))):
            children.setdefault(int(fields[1]), []).append(int(name))
    found = [top]
    for pid in found:
        found += children.get(pid, [])
    return found[1:]


def _stat(pid: int) -> list[str]:
    """The fields of its ``stat`` from the state on; none if it is gone."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def _own(pid: int) -> float:
    """Of a process itself, by nanoseconds: a job that has cost a millisecond has cost no tick yet."""
    seconds = 0.0
    with contextlib.suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                seconds += int(file.read().split()[0]) / 1e9
    return seconds


def _of_the_ended(pid: int) -> float:
    """Of the children that a process has waited for, and theirs."""
    fields = _stat(pid)
    return (int(fields[13]) + int(fields[14])) / TICK if fields else 0.0
