"""The stage: private sshds on loopback, homes of their own, and a stopwatch for command lines.

Everything is below one temporary folder, which is removed at the end and not before: ext4 scans past inodes
that were deleted moments ago, so deleting between the measurements would disturb them. On a tmpfs it would not, and
what is left behind fills the memory, so there what nobody needs any more is removed between the turns.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobmgr.transport.private_host import end_inhabitants
from jobmgr.transport.private_sshd import PrivateSshd

ROOT = Path(__file__).resolve().parents[1]
FLOOR = Path(__file__).with_name("floor_host.py")
AT_ONCE = 4
"""Jobs that run at the same time, whoever runs them."""
MANY = "400"
SSHD_OPTIONS = {"MaxStartups": MANY, "MaxSessions": MANY}
TIMEOUT = 1800.0
NOT_OURS = ("JOBMGR_", "CYLC_", "SSH_", "PYTHON")
"""Variables of the one who measures that would be measured too (PYTHONDONTWRITEBYTECODE, say)."""


@dataclass(frozen=True, slots=True)
class Timed:
    """One command: wall-clock seconds, processor seconds and peak memory (bytes) of the process itself and of
    the children that it has waited for, and what it said.
    """

    seconds: float
    processor: float
    peak: int
    output: bytes


class CommandFailed(Exception):
    """A command that was to be measured did not do what it should."""


class Stage:
    """A context manager: hosts, folders and the environment that commands are run in."""

    def __init__(self) -> None:
        self.base = Path(os.path.realpath(tempfile.mkdtemp(prefix="jm-bench-")))
        self.home = self.base / "home"
        self.home.mkdir(mode=0o700)
        self.sshds: list[PrivateSshd] = []
        self._count = 0
        self._masters: list[str] = []
        self._rubbish: list[Path] = []
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.base], capture_output=True, text=True, check=True)
        self._in_memory = kind.stdout.strip() == "tmpfs"
        self.ssh_config = self.base / "ssh_config"
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(NOT_OURS)},
            "HOME": str(self.home),
            "JOBMGR_RUN_ROOT": str(self.home / "jobmgr-run"),
            "JOBMGR_SSH_CONFIG": str(self.ssh_config),
            "JOBMGR_PLATFORMS": str(self.base / "platforms.yaml"),
        }

    def __enter__(self) -> Stage:
        self.add_hosts(1)
        return self

    def __exit__(self, *exc: object) -> None:
        for path in self._masters:
            self.close_master(path)
        for sshd in self.sshds:
            sshd.stop()
        end_inhabitants(str(self.base))
        shutil.rmtree(self.base, ignore_errors=True)

    def add_hosts(self, number: int) -> list[PrivateSshd]:
        """More private hosts; each has a port and a home of its own."""
        made = []
        for _ in range(number):
            index = len(self.sshds)
            name = f"host{index:02d}"
            sshd = PrivateSshd(
                self.base / name / "sshd", self.base / name / "home", name, sshd_options=SSHD_OPTIONS
            )
            sshd.start()
            self.sshds.append(sshd)
            made.append(sshd)
        self.write_config()
        return made

    def write_config(self, extra: str = "") -> None:
        """The client's configuration for all hosts so far, and ``extra`` below it."""
        text = "".join(sshd.client_configuration() for sshd in self.sshds)
        self.ssh_config.write_text(text + extra)

    @property
    def host(self) -> PrivateSshd:
        return self.sshds[0]

    def fresh(self, word: str) -> str:
        """A name that was not used before."""
        self._count += 1
        return f"{word}{self._count}"

    def discard(self, *paths: Path) -> None:
        """What is there is no longer needed."""
        self._rubbish.extend(paths)

    def clear(self) -> None:
        """Remove what was discarded, where that does not disturb what is measured next."""
        rubbish, self._rubbish = self._rubbish, []
        for path in rubbish if self._in_memory else ():
            shutil.rmtree(path, ignore_errors=True)

    # --- measuring ---------------------------------------------------------------------------------

    def run(
        self,
        argv: Sequence[str],
        stdin: bytes = b"",
        *,
        codes: Sequence[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> Timed:
        """Run a command to its end. Raises CommandFailed if it ends with another code than these."""
        source = self.base / "stdin"
        source.write_bytes(stdin)
        with open(source, "rb") as given, tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            env = {**self.environment, **(environment or {})}
            began = time.monotonic()
            child = subprocess.Popen(
                list(argv),
                stdin=given,
                stdout=out,
                stderr=err,
                env=env,
                cwd=self.base,
                start_new_session=True,
            )
            guard = threading.Timer(TIMEOUT, os.killpg, (child.pid, signal.SIGKILL))
            guard.start()
            try:
                _, status, usage = os.wait4(child.pid, 0)
            finally:
                guard.cancel()
            seconds = time.monotonic() - began
            child.returncode = os.waitstatus_to_exitcode(status)
            for stream in (out, err):
                stream.seek(0)
            output, said = out.read(), err.read()
        if child.returncode not in codes:
            words = " ".join(argv)[:200]
            raise CommandFailed(f"{words}: exit code {child.returncode}: {(said or output)[-600:]!r}")
        return Timed(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)

    # --- ssh without jobmgr --------------------------------------------------------------------------

    def ssh(self, host: str, master: str = "") -> list[str]:
        """The beginning of a bare ssh command line, over a master if its socket is given."""
        shared = ["-S", master, "-oControlMaster=no"] if master else []
        return ["ssh", "-F", str(self.ssh_config), "-oBatchMode=yes", "-T", *shared, host]

    def open_master(self, host: str) -> str:
        """A ControlMaster for the bare ssh calls; returns its socket."""
        path = str(self.base / f"m-{host}")
        if path not in self._masters:
            argv = [
                "ssh",
                "-F",
                str(self.ssh_config),
                "-f",
                "-N",
                "-M",
                "-S",
                path,
                "-oControlPersist=yes",
                host,
            ]
            subprocess.run(argv, check=True, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            self._masters.append(path)
        return path

    def close_master(self, path: str) -> None:
        argv = ["ssh", "-F", str(self.ssh_config), "-S", path, "-O", "exit", "any"]
        subprocess.run(argv, check=False, capture_output=True)

    # --- looking at hosts ----------------------------------------------------------------------------

    @contextlib.contextmanager
    def counting(self) -> Iterator[dict[str, int]]:
        """How many logins and remote commands the hosts have seen, by their own logs, while the block lasted."""
        before = [len(sshd.log()) for sshd in self.sshds]
        seen: dict[str, int] = {}
        yield seen
        said = [sshd.log()[begin:] for sshd, begin in zip(self.sshds, before, strict=True)]
        seen["connections"] = sum(text.count("Accepted publickey for ") for text in said)
        seen["calls"] = sum(text.count("Starting session: ") for text in said)

    @contextlib.contextmanager
    def watching_memory(self) -> Iterator[dict[str, int]]:
        """The greatest peak (VmHWM, bytes) of any process of the host side while the block lasted."""
        seen = {"peak": 0}
        stop = threading.Event()

        def look() -> None:
            while not stop.wait(0.02):
                seen["peak"] = max([seen["peak"], *_peaks(HOST_SIDE)])

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield seen
        finally:
            stop.set()
            thread.join()


HOST_SIDE = "/jobmgr_remote/"
"""In the command line of a process of the host side; those of ssh have it too, as part of what they ask for."""


def _peaks(word: str) -> Iterator[int]:
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            words = Path(f"/proc/{name}/cmdline").read_text().split("\0") if name.isdigit() else []
            if any(word in each for each in words) and not words[0].endswith("ssh"):
                for line in Path(f"/proc/{name}/status").read_text().splitlines():
                    if line.startswith("VmHWM:"):
                        yield int(line.split()[1]) * 1024


_measured: list[str] = []


def measure(program: Path) -> None:
    """Say which jobmgr is measured; else it is this checkout's."""
    _measured[:] = [str(program)]


def jobmgr_argv(*words: str) -> list[str]:
    """The command line of the jobmgr that is measured."""
    if _measured:
        return [*_measured, *words]
    program = Path(sys.executable).with_name("jobmgr")
    return [str(program), *words] if program.exists() else [sys.executable, "-m", "jobmgr", *words]
