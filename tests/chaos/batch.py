"""A lab host with a real batch system, in the place of world.Host: the same faults, and the queue's jobs.

Each call of the host side is a process of its own there (``hosted.py once``), by nsenter and not by ssh.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from chaos.hosted import KILLED, STOPPED
from chaos.world import LIMIT, ROOT
from lab.atd import AtHost
from lab.fixtures import need_lab
from lab.gridengine import GridEngine
from lab.hosts import USER, Lab
from lab.slurm import SlurmCluster

SYSTEMS = {
    "at": (AtHost, ["atd", "at"], ["atq"]),
    "slurm": (partial(SlurmCluster, min_job_age=10), ["slurmctld", "slurmd", "munged"], ["squeue", "-h"]),
    "sge": (GridEngine, ["sge_qmaster", "sge_execd", "qconf"], ["qstat"]),
}
"""runner -> what starts the system in a lab, the programs that this needs, the command that lists jobs."""
FOLDER = ".chaos"


class BatchHost:
    """``daemon`` is one of the lab's batch systems, ``runner`` the name of its runner."""

    def __init__(self, daemon: Any, runner: str) -> None:
        self.daemon = daemon
        self.queue = SYSTEMS[runner][2]
        self.home: Path = daemon.head.home / USER
        self.inside = f"/home/{USER}"
        self._stopped: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        folder = self.home / FOLDER
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(ROOT / "remote", folder / "remote", ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(Path(__file__).with_name("hosted.py"), folder)
        self.daemon.head.run(["chown", "-R", USER, f"{self.inside}/{FOLDER}"], user=None)

    def stop(self) -> None:
        """Nothing of the tests stays there; the host goes on."""
        self.ask("!kill")
        for name in (FOLDER, "jobmgr-run", ".jobmgr"):
            shutil.rmtree(self.home / name, ignore_errors=True)

    def reboot(self) -> None:
        """After a failure: as far as it goes without one."""
        self.ask("!kill")

    def ask(self, verb: str, plan: dict[str, Any] | None = None, fds: tuple[int, ...] = ()) -> Any:
        if verb in ("!resume", "!kill"):
            self._let_go(kill=verb == "!kill")
            return 0
        get, put = os.pipe()
        argv = ["/usr/bin/python3", "-S", f"{FOLDER}/hosted.py", "once", self.inside, verb, json.dumps(plan or {})]
        process = subprocess.Popen(
            self.daemon.head.argv([*argv, str(put)]), stdin=fds[0], stdout=fds[1], stderr=fds[2], pass_fds=[put]
        )
        for fd in (*fds, put):
            os.close(fd)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        stopped = os.WIFSTOPPED(status)
        if stopped:
            self._stopped.append(process)
            code = STOPPED
        else:
            code = KILLED if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
            process.returncode = code
        os.set_blocking(get, False)
        fired = b""
        with contextlib.suppress(BlockingIOError), os.fdopen(get, "rb", buffering=0) as stream:
            fired = stream.read() or b""
        return {"code": code, "fired": fired.decode()}

    def resume(self) -> None:
        self.ask("!resume")

    def _let_go(self, kill: bool) -> None:
        """What has stopped goes on, or dies."""
        for process in self._stopped:
            if kill:
                inner = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text(encoding="ascii")
                for pid in inner.split():
                    os.kill(int(pid), signal.SIGKILL)
            process.send_signal(signal.SIGCONT)
            process.wait()
        self._stopped.clear()

    def processes(self) -> list[str]:
        """What the queue still has, and the user's processes on all nodes."""
        found = self.daemon.head.run(self.queue).stdout.splitlines()
        for node in self.daemon.nodes:
            found += node.run(["pgrep", "-a", "-u", USER], user=None, check=False).stdout.splitlines()
        return found

    def settle(self, limit: float = LIMIT) -> None:
        """Wait until no job is left. What a fault has stopped goes on after a while."""
        deadline = time.monotonic() + limit
        resume = time.monotonic() + 0.5
        while left := self.processes():
            if time.monotonic() > resume:
                self.resume()
            assert time.monotonic() < deadline, f"the host is never idle: {left}"
            time.sleep(0.1)


@contextlib.contextmanager
def system(runner: str) -> Iterator[BatchHost]:
    """A lab of its own with that system; skipped where it cannot be had."""
    start, programs, _ = SYSTEMS[runner]
    need_lab(*programs)
    with Lab() as lab:
        yield BatchHost(start(lab), runner)
