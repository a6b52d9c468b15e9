"""What a user would pick instead: GNU parallel and Cylc, as far as each can do a scenario."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.floor import check
from benchmarks.stage import AT_ONCE, ROOT, Stage, Timed

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
