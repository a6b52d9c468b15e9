"""A host in a folder: the host side, started as a process of its own, with a home that ends with the test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from jobmgr_remote import layout, proc, status, wire
from measured import host_python

PACKAGE = Path(layout.__file__).parent
SUITE = "s"


class Answer:
    """The records of one reply."""

    def __init__(self, verb: str, code: int, out: bytes, err: bytes) -> None:
        reader = wire.ReplyReader(verb)
        self.records = reader.feed(out)
        self.code, self.stderr, self.ended, self.noise = code, err.decode(), reader.ended, reader.noise

    def of(self, kind: str) -> list[Any]:
        return [value for found, value in self.records if found == kind]

    @property
    def jobs(self) -> list[Any]:
        return self.of(wire.JOB)

    @property
    def hello(self) -> wire.Hello:
        return self.of(wire.HELLO)[0]

    @property
    def error(self) -> wire.Error | None:
        return next(iter(self.of(wire.ERROR)), None)


class Host:
    """One machine with one run. ``python`` runs its host side."""

    def __init__(self, home: Path, python: str = sys.executable) -> None:
        self.home = home
        self.python = python
        self.run = wire.Run("$HOME/jobmgr-run", SUITE, str(uuid.uuid4()), "controller", 1, "ada@lap")
        self.run_dir = home / "jobmgr-run" / SUITE
        self.through: list[str] = []
        """An argv that starts the host side, in a namespace of its own, say."""
        self.env = {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C", "JOBMGR_TEST_HOST": str(home)}

    def initialise(self) -> Host:
        """What remote-init leaves."""
        (self.run_dir / layout.SERVICE).mkdir(parents=True, mode=0o700)
        (self.run_dir / layout.UUID_FILE).write_text(self.run.uuid + "\n")
        return self

    def start(self, verb: str, **more: Any) -> subprocess.Popen[bytes]:
        """The process, nothing sent to it yet."""
        return subprocess.Popen(
            [*self.through, self.python, "-I", "-S", str(PACKAGE), verb],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.env,
            **more,
        )

    def request(
        self, verb: str, items: Iterable[dict[str, Any]] = (), run: wire.Run | None = None, **options: Any
    ) -> bytes:
        return wire.encode_request(verb, run or self.run, options, list(items))

    def call(
        self,
        verb: str,
        items: Iterable[dict[str, Any]] = (),
        run: wire.Run | None = None,
        hold: bool = False,
        **options: Any,
    ) -> Answer:
        """One call to its end; ``hold`` keeps stdin open until the reply has ended."""
        data = self.request(verb, items, run, **options)
        process = self.start(verb)
        if not hold:
            out, err = process.communicate(data, timeout=100)
            return Answer(verb, process.returncode, out, err)
        assert process.stdin
        assert process.stdout
        assert process.stderr
        with process:
            process.stdin.write(data)
            process.stdin.flush()
            out = process.stdout.read()
            err = process.stderr.read()
        return Answer(verb, process.returncode, out, err)

    def job(self, script: str = "true", task: str = "t", number: int = 1, **more: Any) -> dict[str, Any]:
        return {
            "job": f"1/{task}/{number:02d}",
            "token": str(uuid.uuid4()),
            "runner": "background",
            "script": script,
            **more,
        }

    def submit(self, *items: dict[str, Any], **options: Any) -> list[wire.Submitted]:
        answer = self.call(wire.JOBS_SUBMIT, items, **options)
        assert answer.error is None, (answer.error, answer.stderr)
        assert answer.ended
        return answer.jobs

    def poll(self, *items: dict[str, Any], **options: Any) -> list[wire.Evidence]:
        answer = self.call(wire.JOBS_POLL, items, hold=bool(options.get("wait")), **options)
        assert answer.error is None, (answer.error, answer.stderr)
        assert answer.ended
        return answer.jobs

    def kill(self, *items: dict[str, Any], **options: Any) -> list[wire.Killed]:
        answer = self.call(wire.JOBS_KILL, items, **options)
        assert answer.error is None, (answer.error, answer.stderr)
        assert answer.ended
        return answer.jobs

    def log_dir(self, item: dict[str, Any]) -> Path:
        return self.run_dir / layout.job_dir(item["job"])

    def facts(self, item: dict[str, Any]) -> dict[str, str]:
        try:
            return dict(status.parse((self.log_dir(item) / "job.status").read_bytes()).facts)
        except FileNotFoundError:
            return {}

    def exit_of(self, item: dict[str, Any]) -> str:
        return self.facts(item).get(status.EXIT, "")

    def wait_exit(self, *items: dict[str, Any]) -> None:
        await_that(lambda: all(self.exit_of(item) for item in items))

    def wait_started(self, *items: dict[str, Any]) -> None:
        await_that(lambda: all(status.START_TIME in self.facts(item) for item in items))

    @property
    def spool(self) -> Path:
        folder = self.home / layout.HOST_SPOOL / os.uname()[1]
        return next(iter(folder.iterdir()))

    def processes(self) -> list[int]:
        """Everything that lives and was started with this host's home in its environment, or by such."""
        found = []
        for name in os.listdir("/proc"):
            if name.isdigit() and int(name) != os.getpid():
                data = proc.environment(int(name)) or b""
                if proc.variable(data, "HOME") == str(self.home) and proc.is_alive(
                    int(name), _start(int(name))
                ):
                    found.append(int(name))
        return found

    def slots(self) -> list[int]:
        return [pid for pid in self.processes() if b"\0slot\0" in _command(pid)]

    def end(self) -> None:
        """End whatever a test has left running."""
        for _ in range(50):
            left = self.processes()
            if not left:
                return
            for pid in left:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        raise AssertionError(f"still there: {left}")


def _start(pid: int) -> str:
    found = proc.look(pid)
    return found.start if found else ""


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def await_that(condition: Callable[[], object], seconds: float = 60.0) -> None:
    """Return once ``condition()`` holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.01)


@contextmanager
def host_in(folder: Path, python: str = "") -> Iterator[Host]:
    """An initialised host; everything that it has started is ended afterwards.

    ``python`` runs its host side; default: the Python of the tests, measured if there is a measurement.
    """
    folder.mkdir(parents=True, exist_ok=True)
    host = Host(folder, python or host_python(folder)).initialise()
    try:
        yield host
    finally:
        host.end()
