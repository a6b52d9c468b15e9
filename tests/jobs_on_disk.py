"""A run directory with job files in it, and the real wrapper to run them."""

from __future__ import annotations

import os
import signal
import subprocess
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jobmgr_remote import jobfile, layout, runners, status

JOB = "1/t/01"
SETTINGS = frozenset(
    {"grace", "retry", "vacation_signals", "native_variable", "index_variable", "directives"}
)


def until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait for a condition; AssertionError if it does not come."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def with_token(token: str) -> list[int]:
    """Processes that carry a job's token in the environment they were started with."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"JOBMGR_TOKEN={token}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if alive(pid)]


class DiskJob:
    """One job, as jobs-submit would leave it, ready to be started by the test."""

    def __init__(self, run_dir: Path, script: str, job: str = JOB, **keys: Any) -> None:
        settings = {key: keys.pop(key) for key in SETTINGS & keys.keys()}
        self.run_dir = run_dir
        self.job = job
        self.token = str(keys.pop("token", None) or uuid.uuid4())
        self.folder = run_dir / layout.job_dir(job)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.token_dir = run_dir / layout.token_dir(self.token)
        self.token_dir.mkdir(parents=True, exist_ok=True)
        runner = keys.setdefault("runner", "background")
        module: Any = runners.get(runner)
        self.text = jobfile.render(
            {"job": job, "token": self.token, "script": script, **keys},
            {"run_dir": str(run_dir), "suite": "s"},
            {
                "bash": "/bin/bash",
                "wrapper": jobfile.install_support(str(run_dir)),
                "instance": "-:-:-",
                "hostname": "nowhere",
                "clock_ticks": os.sysconf("SC_CLK_TCK"),
                "directives": [],
                "native_variable": module.ID_VARIABLE,
                "index_variable": module.INDEX_VARIABLE,
                **settings,
            },
        )
        self.file = self.folder / "job"
        self.file.write_bytes(self.text.encode())
        self.status_file = self.folder / "job.status"
        self.status_file.write_text(status.header(self.token, runner, "2026-11-20T12:00:00Z"))
        self.work_dir = run_dir / (keys.get("work_dir") or f"work/{job.rpartition('/')[0]}")

    def start(self, env: dict[str, str] | None = None, **popen: Any) -> subprocess.Popen[bytes]:
        """The wrapper, in a process group of its own; its output goes where jobs have theirs."""
        with (self.folder / "job.out").open("ab") as out, (self.folder / "job.err").open("ab") as err:
            return subprocess.Popen(
                ["bash", str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, **(env or {})},
                start_new_session=True,
                **popen,
            )

    def run(self, env: dict[str, str] | None = None, **popen: Any) -> int:
        """From start to end; the wrapper's exit code."""
        child = self.start(env, **popen)
        try:
            return child.wait(60)
        finally:
            self.kill(child)

    @contextmanager
    def running(self, env: dict[str, str] | None = None) -> Iterator[subprocess.Popen[bytes]]:
        """The wrapper after its script has written the file ``up`` into the work directory."""
        child = self.start(env)
        try:
            until(lambda: (self.work_dir / "up").exists() or child.poll() is not None)
            yield child
        finally:
            self.kill(child)

    def kill(self, child: subprocess.Popen[bytes]) -> None:
        """Nothing of the job survives the test."""
        if child.poll() is None:
            child.kill()
            child.wait()
        for pid in with_token(self.token):
            os.kill(pid, signal.SIGKILL)

    @property
    def out(self) -> str:
        return (self.folder / "job.out").read_text()

    @property
    def err(self) -> str:
        return (self.folder / "job.err").read_text()

    @property
    def status(self) -> status.Status:
        return status.parse(self.status_file.read_bytes())

    @property
    def exit(self) -> str | None:
        return self.status.facts.get(status.EXIT)
