"""Somebody's terminal in a test: a home and a run root of one's own, and private sshds as the hosts."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from jobmgr.transport.private_host import end_inhabitants, inhabitants
from jobmgr.transport.private_sshd import PrivateSshd

ROOT = Path(__file__).resolve().parents[1]
PYTHONPATH = os.pathsep.join([str(ROOT), str(ROOT / "remote")])
PATIENCE = 60.0
"""Seconds after which a condition is held to come never."""

# Every command that a session of the host runs is one line of this file. rsync's are among them.
LOG_CALLS = 'printf "%s\\n" "$SSH_ORIGINAL_COMMAND" >> "$HOME/../calls-$JOBMGR_TEST_HOST"'

Found = TypeVar("Found")


@dataclass
class Shell:
    """``shell("status", "sweep")`` runs the command as a user does, and gives its stdout."""

    folder: Path
    hosts: Mapping[str, PrivateSshd]
    extra: dict[str, str] = field(default_factory=dict)
    name: str = "me"

    @property
    def home(self) -> Path:
        return self.folder / self.name

    @property
    def run_root(self) -> Path:
        return self.home / "jobmgr-run"

    @property
    def host(self) -> PrivateSshd:
        """The first host."""
        return next(iter(self.hosts.values()))

    @property
    def remote_root(self) -> Path:
        """The run root on the first host."""
        return Path(self.host.home) / "jobmgr-run"

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "HOME": str(self.home),
            "PATH": f"{self.home}/bin:{os.environ['PATH']}",
            "PYTHONPATH": PYTHONPATH,
            "JOBMGR_RUN_ROOT": str(self.run_root),
            "JOBMGR_PLATFORMS": str(self.home / "platforms.yaml"),
            "JOBMGR_SSH_CONFIG": str(self.home / "ssh_config"),
            "TERM": "xterm",
            "COLUMNS": "120",
            **self.extra,
        }

    def beside(self, name: str, **platform: str) -> Shell:
        """Another user's machine with the same hosts: another home, another run root."""
        other = Shell(self.folder, self.hosts, name=name)
        prepare(other, **platform)
        return other

    # --- commands ----------------------------------------------------------------------------------

    def __call__(self, *words: str, code: int | None = 0, stdin: bytes = b"") -> str:
        """Run jobmgr; its stdout. ``code``: the exit code that it must end with (None: any)."""
        done = self.done(*words, stdin=stdin)
        if code is not None:
            assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def done(self, *words: str, stdin: bytes = b"", timeout: float = 60, **kw: Any) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "jobmgr", *words], env=self.environment, cwd=self.home, input=stdin,
            capture_output=True, check=False, timeout=timeout, **kw,
        )  # fmt: skip
        out, err = (stream.decode(errors="replace") for stream in (done.stdout, done.stderr))
        assert "Traceback" not in err, err
        return subprocess.CompletedProcess(done.args, done.returncode, out, err)

    @contextlib.contextmanager
    def started(self, *words: str, **kw: Any) -> Iterator[subprocess.Popen[bytes]]:
        """jobmgr in the background, for as long as the block lasts."""
        kw = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "start_new_session": True, **kw}
        with subprocess.Popen(
            [sys.executable, "-m", "jobmgr", *words], env=self.environment, cwd=self.home,
            stdin=subprocess.DEVNULL, **kw,
        ) as process:  # fmt: skip
            try:
                yield process
            except BaseException:
                process.kill()
                if process.stdout is not None and not process.stdout.closed:
                    print(f"jobmgr {' '.join(words)}:", process.stdout.read().decode(errors="replace"), sep="\n")
                raise
            finally:
                process.kill()

    @contextlib.contextmanager
    def terminal(self, *words: str) -> Iterator[tuple[subprocess.Popen[bytes], Terminal]]:
        """jobmgr on a terminal of its own."""
        main, side = pty.openpty()
        try:
            with self.started(*words, stdout=side, stderr=side, preexec_fn=os.setsid,
                              start_new_session=False) as process:  # fmt: skip
                os.close(side)
                yield process, Terminal(main)
        finally:
            os.close(main)

    def records(self, *words: str, code: int | None = 0) -> list[dict[str, Any]]:
        """The JSON lines that a command prints."""
        return [json.loads(line) for line in self("--json", *words, code=code).splitlines()]

    def states(self, run: str, *words: str) -> dict[str, str]:
        """ID -> state, as ``status`` has it; nothing while there is no such run or job."""
        found = self.records("status", run, *words, code=None)
        return {r["id"]: r["state"] for r in found if r["type"] == "job"}

    # --- files -------------------------------------------------------------------------------------

    def suite(self, name: str, text: str, files: Mapping[str, str] | None = None) -> str:
        """Write a suite's folder; the word that names it."""
        folder = self.home / name
        folder.mkdir(exist_ok=True)
        for path, content in {"suite.yaml": text, **(files or {})}.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(content)
        return f"./{name}"

    def patch(self, text: str) -> None:
        """Python that runs at the start of every command from here on, to have a few jobs go the way of thousands."""
        folder = self.home / "patched"
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(text)
        self.extra["PYTHONPATH"] = f"{folder}:{PYTHONPATH}"

    def platforms(self, text: str) -> None:
        (self.home / "platforms.yaml").write_text(text)

    # --- what the hosts saw --------------------------------------------------------------------------

    def calls(self, name: str = "") -> list[str]:
        """What a host was asked, in order: verbs of the host side, ``install``, ``rsync``."""
        host = name or next(iter(self.hosts))
        try:
            lines = (self.folder / f"calls-{host}").read_text().splitlines()
        except FileNotFoundError:
            return []
        return ["rsync" if line.startswith("rsync") else line.rsplit(None, 1)[-1] for line in lines]

    def forget_calls(self) -> None:
        for path in self.folder.glob("calls-*"):
            path.unlink()


@dataclass
class Terminal:
    """The other end of a terminal."""

    fd: int
    seen: str = ""

    def until(self, text: str = "") -> str:
        """Read up to a text, or to the end; all that was seen so far."""
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline and not (text and text in self.seen):
            try:
                chunk = os.read(self.fd, 65536)
            except OSError:  # the other end is closed
                break
            if not chunk:
                break
            self.seen += chunk.decode(errors="replace")
        assert text in self.seen, self.seen
        return self.seen

    def type(self, keys: bytes) -> None:
        os.write(self.fd, keys)


def eventually(question: Callable[[], Found], patience: float = PATIENCE) -> Found:
    """The first true answer."""
    deadline = time.monotonic() + patience
    while not (answer := question()):
        assert time.monotonic() < deadline, f"never true: {question}"
        time.sleep(0.02)
    return answer


def prepare(shell: Shell, **platform: str) -> None:
    """A home with the ssh configuration of all hosts, and a platform for each of them.

    The runner is said aloud: the machine that runs the tests may have a batch system.
    """
    shell.home.mkdir(exist_ok=True)
    (shell.home / "bin").mkdir(exist_ok=True)
    program = shell.home / "bin" / "jobmgr"
    # Jobs on this machine do not inherit these from the controller; a user has them in files of the home.
    names = ("JOBMGR_PLATFORMS", "JOBMGR_SSH_CONFIG", "PYTHONPATH")
    exports = "".join(f"export {name}={shlex.quote(shell.environment[name])}\n" for name in names)
    program.write_text(f'#!/bin/sh\n{exports}exec {sys.executable} -m jobmgr "$@"\n')
    program.chmod(0o700)
    configs = [Path(host.ssh_config_path).read_text() for host in shell.hosts.values()]
    (shell.home / "ssh_config").write_text("\n".join(configs))
    keys = {"runner": "background", "min_polling_interval": "1s", **platform}
    own = "".join(f"    {key}: {value}\n" for key, value in keys.items())
    path = json.dumps(f"{shell.home}/bin:$PATH")
    text = "".join(f"  {name}:\n    hosts: [{name}]\n{own}" for name in shell.hosts)
    shell.platforms(
        f"platforms:\n{text}  localhost:\n    runner: background\n    environment:\n      PATH: {path}\n"
    )


@contextlib.contextmanager
def at_work(*names: str, sshd: Mapping[str, Any] | None = None, **platform: str) -> Iterator[Shell]:
    """A shell and its hosts (``wizard`` if none is named); ``platform``: keys of each host's platform.

    Everything that lives in them is gone afterwards. ``sshd``: keywords for PrivateSshd.
    """
    # Short: a path of a socket has at most 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="jm-", dir="/tmp"))
    hosts: dict[str, PrivateSshd] = {}
    try:
        for name in names or ("wizard",):
            keywords = dict(sshd or {})
            prefix = keywords.pop("force_command_prefix", "")
            hosts[name] = PrivateSshd(
                folder / f"sshd-{name}", folder / name, name,
                force_command_prefix=f"JOBMGR_TEST_HOST={name}\n{LOG_CALLS}\n{prefix}", **keywords,
            )  # fmt: skip
            hosts[name].start()
        shell = Shell(folder, hosts)
        prepare(shell, **platform)
        yield shell
    finally:
        for host in hosts.values():
            host.stop()
        end_inhabitants(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def processes_in(folder: Path | str) -> list[int]:
    """Processes whose home or working directory is inside a folder."""
    return sorted(inhabitants(str(folder)))


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ctrl-C: SIGINT to the whole process group."""
    os.killpg(process.pid, signal.SIGINT)
