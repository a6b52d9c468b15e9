"""What jobmgr does in each scenario, by its command line, over one transport."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.floor import LOG_SIZE, check
from benchmarks.stage import AT_ONCE, CommandFailed, Stage, Timed, jobmgr_argv

START_LOOKS, START_PAUSE = 100, 0.5
READY_AT_ONCE = 4

PLATFORM = """\
  {name}:
    hosts: [{host}]
    transport: {transport}
    runner: background
    max_active: {at_once}
    retrieve_logs: {logs}
    connect_timeout: 3s
"""
SWEEP = """\
parameters: {{i: 1..{number}}}
tasks:
  sim:
    platform: {platform}
    parameters: [i]
    script: {script}
"""
DIAMOND = """\
parameters: {{i: 1..{number}}}
graph: first => sim<i> => last
defaults:
  platform: {platform}
  script: ":"
tasks:
  first:
  sim:
    parameters: [i]
  last:
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to reach the host; ``cold``: without a shared connection at the start."""

    label: str
    transport: str
    cold: bool = False

    @property
    def beside(self) -> str:
        """The connection that the floor beside it has: fabric logs in with each command, too."""
        return "cold" if self.cold or self.transport == "fabric" else "warm"


KINDS = (
    Kind("openssh, warm", "openssh"),
    Kind("openssh, cold", "openssh", cold=True),
    Kind("fabric", "fabric"),
    Kind("local", "local"),
)


class Jobmgr:
    """jobmgr on the first host of a stage."""

    def __init__(self, stage: Stage, kind: Kind) -> None:
        self.stage = stage
        self.kind = kind
        self.names: list[str] = []

    @property
    def run_root(self) -> Path:
        """Where its runs are on the host."""
        home = self.stage.home if self.kind.transport == "local" else Path(self.stage.host.home)
        return home / "jobmgr-run"

    def platforms(self, hosts: Sequence[str] = (), *, at_once: int = AT_ONCE, logs: bool = False) -> None:
        """Write the platform file: one platform per host, ``p`` and ``p01``, ``p02``, ..."""
        names = hosts or [self.stage.host.name if self.kind.transport != "local" else "localhost"]
        rows = [
            PLATFORM.format(
                name=f"p{index:02d}" if index else "p",
                host=host,
                transport=self.kind.transport,
                at_once=at_once,
                logs=str(logs).lower(),
            )
            for index, host in enumerate(names)
        ]
        path, text = self.stage.base / "platforms.yaml", "platforms:\n" + "".join(rows)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            self.stage.run(
                jobmgr_argv("platforms", "list")
            )  # a new file is checked once, by whoever comes first
        self.names = [f"p{index:02d}" if index else "p" for index in range(len(names))]

    def suite(self, text: str) -> tuple[str, str]:
        """A new suite; its folder and its name."""
        name = self.stage.fresh("s")
        folder = self.stage.base / name
        folder.mkdir()
        (folder / "suite.yaml").write_text(text)
        return str(folder), name

    def ready(self) -> None:
        """Have the connections as this kind wants them, before the clock starts."""
        if self.kind.transport == "openssh":
            each = [
                "xargs",
                "-n1",
                f"-P{READY_AT_ONCE}",
                *jobmgr_argv("logout" if self.kind.cold else "login"),
            ]
            self.stage.run(each, "\n".join(self.names).encode())

    def timed(self, *words: str, codes: Sequence[int] = (0,)) -> Timed:
        return self.stage.run(jobmgr_argv(*words), codes=codes)

    def warm_up(self) -> None:
        """Install the host side, compile everything, open the shared connection."""
        self.platforms()
        folder, _ = self.suite(SWEEP.format(number=2, platform="p", script="':'"))
        self.stage.run(jobmgr_argv("play", folder, "-q"))

    # --- scenarios -----------------------------------------------------------------------------------

    def play(self, text: str, number: int) -> Timed:
        """From the start of ``play`` to its end, every outcome in the store."""
        folder, name = self.suite(text)
        timed = self.timed("play", folder, "-q")
        check(self.count(name, "succeeded"), number)
        self.stage.discard(self.run_root / name, self.stage.home / "jobmgr-run" / name)
        return timed

    def submit(self, number: int) -> Timed:
        return self.play(SWEEP.format(number=number, platform="p", script="':'"), number)

    def diamond(self, number: int) -> Timed:
        return self.play(DIAMOND.format(number=max(number - 2, 1), platform="p"), max(number, 3))

    def start(self, number: int) -> str:
        """A run whose jobs all run at once, and go on; its name."""
        self.platforms(at_once=number)
        name = self.submitted(SWEEP.format(number=number, platform="p", script="exec sleep 3000"))
        for _ in range(START_LOOKS):
            if self.count(name, "running") == number:
                return name
            time.sleep(START_PAUSE)
            self.stage.run(jobmgr_argv("poll", name, "-q"), codes=(0, 1, 5))
        raise CommandFailed(f"{name}: not all jobs run")

    def submitted(self, text: str) -> str:
        """A run whose jobs have been sent; its name."""
        folder, name = self.suite(text)
        self.stage.run(jobmgr_argv("submit", folder, "-q"))
        return name

    def poll(self, name: str, number: int) -> Timed:
        timed = self.timed("poll", name, "-q")
        check(self.count(name, "running"), number)
        return timed

    def kill(self, name: str, number: int) -> Timed:
        timed = self.timed("kill", name, "-q", codes=(0, 1))
        check(self.count(name, "killed"), number)
        return timed

    def complete(self, number: int, script: str, *, logs: bool = False) -> str:
        """A run that is finished; its name. ``logs``: they came home as the jobs ended."""
        self.platforms(logs=logs)
        text = SWEEP.format(number=number, platform="p", script=script)
        folder, name = self.suite(text)
        self.stage.run(jobmgr_argv("play", folder, "-q"))
        return name

    def forget_files(self, name: str, *, listed: bool) -> None:
        """Have a run as if no log had come home. ``listed``: what there is to bring is known, as it is after
        ``play``; else the hosts are asked first, as where the platform says ``retrieve_logs: false``.
        """
        run = self.stage.home / "jobmgr-run" / name
        if (run / "log/job").exists():  # moved, since deleting would disturb what is measured next
            forgotten = self.stage.base / self.stage.fresh("forgotten")
            (run / "log/job").rename(forgotten)
            self.stage.discard(forgotten)
        with sqlite3.connect(run / ".service/suite.db") as store:
            store.execute(
                "UPDATE retrievals SET state = 'pending', tries = 0" if listed else "DELETE FROM retrievals"
            )
        store.close()

    def retrieve(self, name: str, number: int) -> Timed:
        timed = self.timed("retrieve", name, "-q")
        run = self.stage.home / "jobmgr-run" / name
        check(sum(path.stat().st_size >= LOG_SIZE for path in run.glob("log/job/1/*/01/job.out")), number)
        return timed

    def make_due(self, name: str) -> None:
        """Have the next tick ask about every job."""
        with sqlite3.connect(self.stage.home / "jobmgr-run" / name / ".service/suite.db") as store:
            store.execute("UPDATE jobs SET next_poll = 0 WHERE next_poll IS NOT NULL")
        store.close()

    def status(self, name: str) -> Timed:
        return self.timed("status", name)

    def count(self, name: str, state: str) -> int:
        """How many jobs of a run are in a state, by its store."""
        path = self.stage.home / "jobmgr-run" / name / ".service/suite.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
            (number,) = store.execute("SELECT count(*) FROM instances WHERE state = ?", (state,)).fetchone()
        store.close()
        return int(number)

    def contacts(self, name: str) -> dict[str, float]:
        """When each host last answered (seconds since the epoch), by the store."""
        path = self.stage.home / "jobmgr-run" / name / ".service/suite.db"
        with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as store:
            found = store.execute("SELECT host, last_contact FROM hosts WHERE last_contact > 0").fetchall()
        store.close()
        return dict(found)


def version() -> str:
    """The version of jobmgr that is measured."""
    text = (Path(__file__).parents[1] / "jobmgr/__init__.py").read_text()
    found = re.search(r'__version__ = "([^"]+)"', text)
    return found.group(1) if found else "?"
