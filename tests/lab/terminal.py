"""Somebody's terminal whose hosts are lab hosts: ``jobmgr`` as a user types it, over ssh."""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shells import Shell, eventually

from .hosts import USER, Host


@dataclass
class LabShell(Shell):
    """A shell with one lab host; ``run_dir`` of a run there, seen from outside."""

    machine: Host | None = None

    def run_dir(self, run: str) -> Path:
        assert self.machine
        root = self.machine.home / USER / "jobmgr-run"
        controller = json.loads((self.run_root / ".controller").read_text(encoding="utf-8"))["controller"]
        adhoc = root / f"{run}-{controller[:8]}"
        return adhoc if adhoc.is_dir() else root / run

    def status_of(self, run: str, job: str) -> str:
        """The job.status there, "" while there is none."""
        try:
            return (self.run_dir(run) / "log/job" / job / "job.status").read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def await_status(self, run: str, job: str, text: str, seconds: float = 60.0) -> None:
        """Wait until a text stands in its job.status."""
        eventually(lambda: text in self.status_of(run, job), seconds)

    def row(self, run: str, job: str, *words: str) -> dict[str, Any]:
        """One job as ``status`` has it."""
        found = [r for r in self.records("status", run, job, *words, code=None) if r["type"] == "job"]
        assert len(found) == 1, found
        return found[0]

    def await_row(self, run: str, job: str, seconds: float = 60.0, **wanted: str) -> dict[str, Any]:
        """Poll until the job's row has these values, or these as parts of its texts."""
        last: list[dict[str, Any]] = []

        def fits() -> bool:
            last[:] = [self.row(run, job, "--poll")]
            return all(text in str(last[0].get(key)) for key, text in wanted.items())

        try:
            eventually(fits, seconds)
        except AssertionError as error:
            raise AssertionError(f"never {wanted}: {last}") from error
        return last[0]

    def wrap(self, name: str, script: str) -> Path:
        """Put a bash script before a command of the host, in its first folder of PATH, until the terminal is closed.
        ``$real`` is the command itself.
        """
        assert self.machine
        path = self.machine.home / USER / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/bash\nreal=/usr/bin/{name}\n{script}\n", encoding="utf-8")
        path.chmod(0o755)
        return path

    def count(self, *names: str) -> None:
        """From now on each call of these commands of the host is counted."""
        for name in names:
            self._calls(name).unlink(missing_ok=True)
            self.wrap(name, f'echo x >>~/calls-{name}; exec "$real" "$@"')

    def counted(self, name: str) -> int:
        """How often one of them was called."""
        path = self._calls(name)
        return len(path.read_text().splitlines()) if path.exists() else 0

    def _calls(self, name: str) -> Path:
        assert self.machine
        return self.machine.home / USER / f"calls-{name}"


@contextlib.contextmanager
def at_lab(machine: Host, runner: str, **platform: str) -> Iterator[LabShell]:
    """A terminal with the platform ``hpc``: that host, that runner; its jobs there are killed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="jm-", dir="/tmp"))
    shell = LabShell(folder, {}, machine=machine)
    try:
        shell.home.mkdir()
        (shell.home / "ssh_config").write_text(machine.ssh_config.read_text(encoding="ascii"))
        keys = {
            "hosts": f"[{machine.name}]",
            **({"runner": runner} if runner else {}),
            "min_polling_interval": "1s",
            "polling_interval": "2s",
            "queued_polling_interval": "2s",
            **platform,
        }
        own = "".join(f"    {key}: {value}\n" for key, value in keys.items())
        shell.platforms(f"platforms:\n  hpc:\n{own}  localhost:\n    runner: background\n")
        yield shell
        for run in [path.name for path in shell.run_root.glob("*") if path.is_dir()]:
            shell("kill", run, code=None)
    finally:
        shutil.rmtree(machine.home / USER / "bin", ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
