"""What the floor does in each scenario: bare command lines, nothing of jobmgr in them."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.stage import AT_ONCE, FLOOR, CommandFailed, Stage, Timed

START_TIMEOUT = 120.0
LOG_SIZE = 4096
LOG = f"head -c {LOG_SIZE} /dev/zero | tr '\\0' x"


class Floor:
    """The hand-written floor on the first host of a stage, cold or over a master."""

    def __init__(self, stage: Stage, master: str = "") -> None:
        self.stage = stage
        self.master = master
        self.host = stage.host.name

    def names(self, number: int) -> list[str]:
        return [f"sim_i{index:05d}" for index in range(1, number + 1)]

    def call(self, verb: str, folder: str, lines: Sequence[str], at_once: int = AT_ONCE) -> Timed:
        """One call of floor_host.py."""
        command = shlex.join(["python3", "-I", "-S", str(FLOOR), verb, folder, str(at_once)])
        stdin = "\n".join([*lines, ""]).encode()
        return self.stage.run([*self.stage.ssh(self.host, self.master), command], stdin)

    def folder(self) -> str:
        os.makedirs(f"{self.stage.host.home}/floor", exist_ok=True)
        return f"{self.stage.host.home}/floor/{self.stage.fresh('f')}"

    def submit(self, number: int, script: str = ":") -> Timed:
        """Submit and complete."""
        folder = self.folder()
        timed = self.call("submit", folder, [script, *self.names(number)])
        self.stage.discard(Path(folder))
        check(timed.output.count(b" 0\n"), number)
        return timed

    def start(self, number: int) -> str:
        """Start jobs that go on, all at once; the folder of it, when all run."""
        folder = self.folder()
        self.call("start", folder, ["sleep 3000", *self.names(number)], number)
        deadline = time.monotonic() + START_TIMEOUT
        while self.call("poll", folder, self.names(number)).output.count(b" running\n") < number:
            if time.monotonic() > deadline:
                raise CommandFailed(f"{folder}: not all jobs run")
            time.sleep(0.2)
        return folder

    def poll(self, folder: str, number: int) -> Timed:
        timed = self.call("poll", folder, self.names(number))
        check(timed.output.count(b" running\n"), number)
        return timed

    def kill(self, folder: str, number: int) -> Timed:
        timed = self.call("kill", folder, self.names(number))
        check(timed.output.count(b" killed\n"), number)
        return timed

    def rsync(self, source: str, number: int) -> Timed:
        """A bare rsync of the log directories of a run on the host, to a new folder."""
        target = self.stage.base / self.stage.fresh("rsync")
        target.mkdir()
        shell = shlex.join(self.stage.ssh(self.host, self.master)[:-1])
        timed = self.stage.run(
            ["rsync", "-rt", "--no-links", "-e", shell, f"{self.host}:{source}/log", f"{target}/"]
        )
        check(len(list(target.glob("log/job/1/*/01/job.out"))), number)
        self.stage.discard(target)
        return timed

    def diamond(self, number: int) -> Timed:
        """One job, then all but two at once, then one: three calls."""
        return together([self.submit(part) for part in (1, number - 2, 1) if part > 0])


def together(parts: Sequence[Timed]) -> Timed:
    """Several commands as one."""
    return Timed(
        sum(one.seconds for one in parts),
        sum(one.processor for one in parts),
        max(one.peak for one in parts),
        b"".join(one.output for one in parts),
    )


def check(found: int, wanted: int) -> None:
    """Raises CommandFailed if not every job has the outcome that it should have."""
    if found != wanted:
        raise CommandFailed(f"{found} jobs of {wanted} are as they should be")
