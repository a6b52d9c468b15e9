"""What a user would pick instead: GNU parallel and Cylc, as far as each can do a scenario."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.floor import check, together
from benchmarks.stage import AT_ONCE, ROOT, CommandFailed, Stage, Timed

CYLC = "cylc-flow==8.5.4"
CYLC_PYTHONS = ("python3.12", "python3.11", "python3.10", "python3.9", "python3.8")
FLOW = """\
[scheduler]
    allow implicit tasks = True
[task parameters]
    i = 1..{number}
[scheduling]
    [[queues]]
        [[[default]]]
            limit = {at_once}
    [[graph]]
        R1 = {graph}
[runtime]
    [[root]]
        platform = bench
        script = true
"""
JOB = """\
#!/bin/bash
# Job log directory: {folder}
# Job runner: background
echo "CYLC_JOB_PID=$$" >>"$0.status"
echo "CYLC_JOB_INIT_TIME=$EPOCHSECONDS" >>"$0.status"
{script}
echo "CYLC_JOB_EXIT=SUCCEEDED" >>"$0.status"
echo "CYLC_JOB_EXIT_TIME=$EPOCHSECONDS" >>"$0.status"
#EOF: {folder}
"""
PER_CALL = 100
"""Jobs in one call of Cylc's host commands, as its scheduler has them."""
END_TIMEOUT = 300.0
GLOBAL = """\
[platforms]
    [[bench]]
        hosts = {host}
        ssh command = ssh -F {config} -oBatchMode=yes -oConnectTimeout=10
        install target = bench
        cylc path = {path}
        job runner = background
"""


class Parallel:
    """``parallel --sshlogin``: one ssh session per job, cold or over a ControlMaster."""

    def __init__(self, stage: Stage, master: str = "") -> None:
        self.stage = stage
        self.master = master

    @staticmethod
    def available() -> bool:
        return shutil.which("parallel") is not None

    def submit(self, number: int) -> Timed:
        log = self.stage.base / self.stage.fresh("joblog")
        shell = " ".join(self.stage.ssh(self.stage.host.name, self.master)[:-1])
        login = f"{AT_ONCE}/{shell} {self.stage.host.name}"
        names = "\n".join(map(str, range(number))).encode()
        argv = ["parallel", "--will-cite", "--joblog", str(log), f"-j{AT_ONCE}", "--sshlogin", login, "true"]
        timed = self.stage.run([*argv, "{}"], names + b"\n")
        check(sum(row.split("\t")[6] == "0" for row in log.read_text().splitlines()[1:]), number)
        return timed


class Cylc:
    """A real ``cylc play`` against the same host, from a virtual environment of its own."""

    def __init__(self, stage: Stage, program: Path) -> None:
        self.stage = stage
        self.program = program
        config = stage.base / "cylc"
        config.mkdir(exist_ok=True)
        text = GLOBAL.format(host=stage.host.name, config=stage.ssh_config, path=program.parent)
        (config / "global.cylc").write_text(text)
        self.environment = {
            "CYLC_CONF_PATH": str(config),
            "PATH": f"{program.parent}:{os.environ['PATH']}",
        }

    def play(self, graph: str, parameters: int, tasks: int) -> Timed:
        name = self.stage.fresh("flow")
        folder = self.stage.home / "cylc-run" / name
        folder.mkdir(parents=True)
        text = FLOW.format(number=parameters, graph=graph, at_once=max(100, AT_ONCE))
        (folder / "flow.cylc").write_text(text)
        argv = [str(self.program), "play", "--no-detach", name]
        timed = self.stage.run(argv, environment=self.environment)
        ended = list(Path(self.stage.host.home).glob(f"cylc-run/{name}/log/job/1/*/01/job.status"))
        check(sum("CYLC_JOB_EXIT=SUCCEEDED" in path.read_text() for path in ended), tasks)
        return timed

    def submit(self, number: int) -> Timed:
        return self.play("sim<i>", number, number)

    def diamond(self, number: int) -> Timed:
        inner = max(number - 2, 1)
        return self.play("first => sim<i> => last", inner, inner + 2)


class CylcHost:
    """Cylc's host commands alone, over ssh: what its scheduler calls on a host, without the scheduler.

    They start all jobs at once, since a limit is the scheduler's; ``jobs-kill`` does not wait until they are gone.
    """

    def __init__(self, stage: Stage, program: Path, master: str = "") -> None:
        self.stage = stage
        self.program = program
        self.master = master

    def call(self, verb: str, root: str, jobs: Sequence[str], stdin: bytes = b"") -> Timed:
        words = [str(self.program), verb, *(["--remote-mode"] if stdin else []), "--", root, *jobs]
        return self.stage.run([*self.stage.ssh(self.stage.host.name, self.master), shlex.join(words)], stdin)

    def calls(self, verb: str, root: str, jobs: Sequence[str], script: str = "") -> Timed:
        """As many calls as it takes; with a script, job files are sent along."""
        parts = [jobs[at : at + PER_CALL] for at in range(0, len(jobs), PER_CALL)]
        files = [
            "".join(JOB.format(folder=job, script=script) for job in part) if script else "" for part in parts
        ]
        return together(
            [self.call(verb, root, part, text.encode()) for part, text in zip(parts, files, strict=True)]
        )

    def new(self, number: int) -> tuple[str, list[str]]:
        """A place for so many jobs."""
        root = f"{self.stage.host.home}/cylc-run/{self.stage.fresh('host')}/log/job"
        os.makedirs(root)
        return root, [f"1/sim_{index:05d}/01" for index in range(1, number + 1)]

    def submit(self, number: int) -> Timed:
        """Submit, and poll those of which no end is known until every end is known."""
        root, jobs = self.new(number)
        whole = [self.calls("jobs-submit", root, jobs, ":")]
        deadline = time.monotonic() + END_TIMEOUT
        while jobs:
            if time.monotonic() > deadline:
                raise CommandFailed(f"cylc: {len(jobs)} jobs of {number} have no end")
            whole.append(self.calls("jobs-poll", root, jobs))
            lines = whole[-1].output.decode().splitlines()
            ended = {line.split("|")[1] for line in lines if '"run_status": 0' in line}
            jobs = [job for job in jobs if job not in ended]
        return together(whole)

    def start(self, number: int) -> tuple[str, list[str]]:
        """Jobs that run, and go on."""
        root, jobs = self.new(number)
        self.calls("jobs-submit", root, jobs, "sleep 3000")
        deadline = time.monotonic() + END_TIMEOUT
        while _running(self.calls("jobs-poll", root, jobs)) < number:
            if time.monotonic() > deadline:
                raise CommandFailed("cylc: not all jobs run")
        return root, jobs

    def poll(self, what: tuple[str, list[str]], number: int) -> Timed:
        timed = self.calls("jobs-poll", *what)
        check(_running(timed), number)
        return timed

    def kill(self, what: tuple[str, list[str]], number: int) -> Timed:
        timed = self.calls("jobs-kill", *what)
        done = [line for line in timed.output.decode().splitlines() if line.startswith("[TASK JOB SUMMARY]")]
        check(sum(line.endswith("|0") for line in done), number)
        return timed


def _running(polled: Timed) -> int:
    """How many jobs run, by the answer of ``jobs-poll``."""
    rows = [line.split("|", 2)[2] for line in polled.output.decode().splitlines() if line.count("|") >= 2]
    found = [json.loads(row) for row in rows if row.startswith("{")]
    return sum("time_run" in job and not ({"run_status", "time_run_exit"} & set(job)) for job in found)


def cylc_program(folder: Path) -> Path | None:
    """Cylc from PyPI in its own virtual environment; None if it cannot be had here."""
    program = folder / "bin/cylc"
    if program.exists():
        return program
    python = next((found for name in CYLC_PYTHONS if (found := shutil.which(name)) and _works(found)), None)
    python = python or sys.executable
    try:
        subprocess.run([python, "-m", "venv", str(folder)], check=True, capture_output=True)
        pip = [str(folder / "bin/pip"), "install", "-q", CYLC]
        subprocess.run(pip, check=True, capture_output=True, timeout=600)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"no Cylc here: {error}", file=sys.stderr)
        return None
    return program


def _works(python: str) -> bool:
    """Whether it starts: a shim of pyenv is there for versions that are not chosen, too."""
    return subprocess.run([python, "-c", "pass"], check=False, capture_output=True).returncode == 0


DEFAULT_CYLC = ROOT / ".build/bench/cylc"
