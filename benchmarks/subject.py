"""What jobmgr does in each scenario, by its command line, over one transport."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.floor import check
from benchmarks.stage import AT_ONCE, CommandFailed, Stage, Timed, jobmgr_argv

START_LOOKS, START_PAUSE = 100, 0.5

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
        (self.stage.base / "platforms.yaml").write_text("platforms:\n" + "".join(rows))

    def suite(self, text: str) -> tuple[str, str]:
        """A new suite; its folder and its name."""
        name = self.stage.fresh("s")
        folder = self.stage.base / name
        folder.mkdir()
        (folder / "suite.yaml").write_text(text)
        return str(folder), name

    def ready(self) -> None:
        """Have the connection as this kind wants it, before the clock starts."""
        if self.kind.cold:
            self.stage.run(jobmgr_argv("logout", "p"))

    def timed(self, *words: str, codes: Sequence[int] = (0,)) -> Timed:
        self.ready()
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
        return timed

    def submit(self, number: int) -> Timed:
        return self.play(SWEEP.format(number=number, platform="p", script="':'"), number)

    def diamond(self, number: int) -> Timed:
        return self.play(DIAMOND.format(number=max(number - 2, 1), platform="p"), max(number, 3))

    def start(self, number: int) -> str:
        """A run whose jobs all run at once, and go on; its name."""
        self.platforms(at_once=number)
        folder, name = self.suite(SWEEP.format(number=number, platform="p", script="exec sleep 3000"))
        self.stage.run(jobmgr_argv("submit", folder, "-q"))
        for _ in range(START_LOOKS):
            if self.count(name, "running") == number:
                return name
            time.sleep(START_PAUSE)
            self.stage.run(jobmgr_argv("poll", name, "-q"), codes=(0, 1, 5))
        raise CommandFailed(f"{name}: not all jobs run")

    def poll(self, name: str, number: int) -> Timed:
        timed = self.timed("poll", name, "-q")
        check(self.count(name, "running"), number)
        return timed

    def kill(self, name: str, number: int) -> Timed:
        timed = self.timed("kill", name, "-q", codes=(0, 1))
        check(self.count(name, "killed"), number)
        return timed

    def complete(self, number: int, script: str) -> str:
        """A run that is finished and whose logs are still on the host; its name."""
        self.platforms()
        text = SWEEP.format(number=number, platform="p", script=script)
        folder, name = self.suite(text)
        self.stage.run(jobmgr_argv("play", folder, "-q"))
        self.platforms(logs=True)
        return name

    def retrieve(self, name: str, number: int) -> Timed:
        timed = self.timed("retrieve", name, "-q")
        run = self.stage.home / "jobmgr-run" / name
        check(len(list(run.glob("log/job/1/*/01/job.out"))), number)
        return timed

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
