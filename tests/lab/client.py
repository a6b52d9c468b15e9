"""The host side of jobmgr in a lab host, called as the controller does: ``ssh HOST python3 ... VERB``."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import host_side
from jobmgr_remote import layout, wire

from .hosts import USER, Host, wait_until

CODE = ".host-side/jobmgr_remote"
"""Where a host's user has the host side, below the home directory."""


class LabRun(host_side.Host):
    """One run on a lab host; its files are seen from outside in ``run_dir``."""

    def __init__(self, machine: Host, runner: str) -> None:
        super().__init__(machine.home / USER, "python3")
        self.machine, self.runner = machine, runner
        self.run = self.run._replace(suite=f"s{self.run.uuid[:8]}")
        self.run_dir = self.home / "jobmgr-run" / self.run.suite
        service = f"jobmgr-run/{self.run.suite}/{layout.SERVICE}"
        # A copy: where the checkout lies may be a folder that the host does not see (/tmp is its own).
        shutil.copytree(
            host_side.PACKAGE, self.home / CODE, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
        machine.run(["sh", "-c", f'mkdir -p -m 700 {service}; echo {self.run.uuid} >"{service}/uuid"'])

    def start(self, verb: str, **more: Any) -> subprocess.Popen[bytes]:
        """The process at the far end of an ssh connection."""
        return subprocess.Popen(
            [
                "ssh",
                "-F",
                str(self.machine.ssh_config),
                "-T",
                self.machine.name,
                f"python3 -I -S {CODE} {verb}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )

    def job(self, script: str = "true", task: str = "t", number: int = 1, **more: Any) -> dict[str, Any]:
        """An item of jobs-submit for this run's runner."""
        return super().job(script, task, number, **{"runner": self.runner, **more})

    def look(self, item: dict[str, Any], **more: Any) -> wire.Evidence:
        """One poll of one job."""
        return self.poll({**item, **more})[0]

    def await_exit(self, item: dict[str, Any], seconds: float = 90.0) -> str:
        """Wait for the job's exit record, as its file says it."""
        wait_until(lambda: self.exit_of(item), f"{item['job']} has ended", seconds)
        return self.exit_of(item)

    def await_start(self, item: dict[str, Any], seconds: float = 60.0) -> None:
        """Wait until the job has started."""
        wait_until(lambda: "START_TIME" in self.facts(item), f"{item['job']} has started", seconds)

    def await_queue(
        self,
        item: dict[str, Any],
        condition: Callable[[wire.Evidence], object],
        what: str,
        seconds: float = 60.0,
    ) -> wire.Evidence:
        """Poll until the evidence fits; returns it."""
        last: list[wire.Evidence] = []

        def fits() -> object:
            last[:] = [self.look(item)]
            return condition(last[0])

        try:
            wait_until(fits, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {last}") from error
        return last[0]
