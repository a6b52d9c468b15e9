"""A controller and one host in a folder, and a clock that the tests turn. See hosted.py for the host."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobmgr import Session, Suite, Task
from jobmgr.api.run import Run
from jobmgr.errors import ConnectError, ConnectionLost, IdleTimeout, JobmgrError
from jobmgr.store import db
from jobmgr.transport.base import Completed, Hold, OnChunk, Transport
from jobmgr_remote import wire
from needs import need

ROOT = Path(__file__).resolve().parents[2]
HOST = "wizard"
STRIDE = 700.0
"""Seconds by which the clock goes on between two ticks: longer than every grace time and every pause."""

PATIENCE, LIMIT = 20.0, 300.0
"""Seconds in which a host that is not idle may do nothing at all; in which it may do something."""

SCRIPT = 'echo "$JOBMGR_JOB" >> "$JOBMGR_SHARE_DIR/ran"'


@dataclass(frozen=True)
class Fault:
    """What goes wrong in the next call of ``verb``.

    ``plan`` is for the host (hosted.py); the rest happens on the way: the request cut after so many bytes or
    lines, the reply after so many lines (-1: not at all), the request twice (``after`` or ``at once``).
    """

    verb: str = wire.JOBS_SUBMIT
    plan: dict[str, Any] = field(default_factory=dict)
    request_lines: int = -1
    request_bytes: int = -1
    reply_lines: int = -1
    twice: str = ""
    refused: bool = False


def steps(kind: str, at: int, when: str, who: str = "main", verb: str = wire.JOBS_SUBMIT, **more: Any) -> Fault:
    """A fault at one system call of the host side."""
    return Fault(verb, {"kind": kind, "at": at, "when": when, "who": who, **more})


class Host:
    """The host's processes, in a pid namespace of their own. ``inside``: its home as it sees it itself."""

    def __init__(self, folder: Path) -> None:
        self.home = self.inside = folder / "host"
        self.home.mkdir(mode=0o700)
        self.socket = str(folder / "socket")
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
        if os.geteuid() != 0:
            command[1:1] = ["--user", "--map-root-user"]
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.socket)
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "remote"), "LANG": "C.UTF-8"}
        self.process = subprocess.Popen(
            [*command, sys.executable, str(Path(__file__).with_name("hosted.py")), str(self.home), self.socket],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=environ, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        need(line == "ready\n", "pid namespaces (unshare --pid --mount-proc)")

    def stop(self) -> None:
        """The end of every process of the host."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def reboot(self) -> None:
        self.stop()
        self.start()

    def ask(self, verb: str, plan: dict[str, Any] | None = None, fds: tuple[int, ...] = ()) -> Any:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(self.socket)
            data = json.dumps({"verb": verb, "plan": plan or {}}).encode()
            socket.send_fds(client, [data], fds)
            for fd in fds:
                os.close(fd)
            answer = b""
            while chunk := client.recv(65536):
                answer += chunk
        return json.loads(answer) if answer else {"code": 137, "fired": ""}

    def processes(self) -> list[int]:
        return list(self.ask("!processes"))

    def settle(self, patience: float = PATIENCE, limit: float = LIMIT) -> None:
        """Wait until no job and no slot is left. What a fault has stopped goes on after a while.

        Time alone is no failure: a loaded machine gives a host as little of it as it likes. The host has
        failed once nothing has gone on there for ``patience`` seconds, or after ``limit``.
        """
        began = changed = resume = time.monotonic()
        before: list[str] = []
        while self.processes():
            time.sleep(0.002)
            now = time.monotonic()
            if now < resume + 0.5:
                continue
            resume = now
            self.resume()
            activity = self.ask("!activity")
            if activity != before:
                before, changed = activity, now
            if now > changed + patience or now > began + limit:
                raise AssertionError(f"the host is never idle\n{self.ask('!picture')}")

    def resume(self) -> None:
        self.ask("!resume")


class Line:
    """The transport to the host."""

    name, host = "local", HOST

    def __init__(self, world: World) -> None:
        self.world = world

    def connect(self) -> None:
        if self.world.down:
            raise ConnectError(f"{HOST}: no route to host")

    def rsync_shell(self) -> list[str] | None:
        return None

    def close(self) -> None:
        """Nothing is kept open."""

    def run(
        self, command: str, stdin: bytes = b"", hold: Hold | None = None, idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:  # fmt: skip
        verb = command.rsplit(None, 1)[-1].strip("'")
        self.connect()
        fault = self.world.take(verb)
        if fault.refused:
            raise ConnectError(f"{HOST}: refused")
        request = stdin
        if fault.request_lines >= 0:
            request = b"".join(stdin.splitlines(keepends=True)[: fault.request_lines])
        elif fault.request_bytes >= 0:
            request = stdin[: fault.request_bytes]
        if len(request) < len(stdin):
            self.world.fired.append("request")
            self._call(verb, request, {})
            raise ConnectionLost(f"{HOST}: broken pipe")
        if fault.twice:
            self.world.fired.append("twice")
        if fault.twice == "at once":
            other = threading.Thread(target=self._call, args=(verb, request, {}))
            other.start()
            code, out = self._call(verb, request, fault.plan)
            other.join()
        else:
            if fault.twice:
                self._call(verb, request, {})
            code, out = self._call(verb, request, fault.plan)
        lines = out.splitlines(keepends=True)
        if 0 <= fault.reply_lines < len(lines):
            self.world.fired.append("reply")
            out = b"".join(lines[: fault.reply_lines])
        if on_chunk is not None:
            on_chunk(out)
        if code == -19:
            raise IdleTimeout(f"{HOST}: no answer for 60 s")
        if code == 137 or 0 <= fault.reply_lines < len(lines):
            raise ConnectionLost(f"{HOST}: connection reset")
        return Completed(code, b"" if on_chunk else out, b"")

    def _call(self, verb: str, request: bytes, plan: dict[str, Any]) -> tuple[int, bytes]:
        """(exit code, reply) of one call of the host side."""
        get, put = os.pipe()
        read, write = os.pipe()
        null = os.open(os.devnull, os.O_RDWR) if not self.world.loud else os.dup(2)
        out = bytearray()

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(put, "wb") as stream:
                stream.write(request)

        def listen() -> None:
            while chunk := os.read(read, 65536):
                out.extend(chunk)

        feeder = threading.Thread(target=feed)
        feeder.start()
        if plan.get("kind") != "stop":
            listener = threading.Thread(target=listen)
            listener.start()
        clock = self.world.offset + self.world.host_offset
        done = self.world.host.ask(verb, {**plan, "clock": clock}, (get, write, null))
        if plan.get("kind") != "stop":
            listener.join()
        elif done["code"] != -19:
            listen()
        else:  # what it had written before it stopped
            os.set_blocking(read, False)
            with contextlib.suppress(BlockingIOError):
                listen()
        os.close(read)
        if done["fired"]:
            self.world.fired.extend(done["fired"].split())
        feeder.join()
        return done["code"], bytes(out)


class World:
    """A controller, a host, and what goes wrong between them."""

    def __init__(self, folder: Path, host: Any = None, runner: str = "background") -> None:
        self.folder = folder
        self.host = host or Host(folder)
        self.home = folder / "home"
        self.home.mkdir()
        self.offset = 0.0
        self.host_offset = 0.0
        self.down = False
        self.loud = False
        self.fired: list[str] = []
        self._faults: list[Fault] = []
        self._lock = threading.Lock()
        self._runs = 0
        self.wrap: Callable[[Transport], Transport] | None = None
        (folder / "platforms.yaml").write_text(
            f"platforms: {{{HOST}: {{hosts: [{HOST}], transport: local, runner: {runner}, retrieve_logs: false,"
            f" {'max_active: 2, ' * (runner == 'background')}min_polling_interval: 1s,"
            f" run_root: {self.host.inside}/jobmgr-run}}}}\n"
        )
        self.host.start()

    def close(self) -> None:
        self.host.stop()

    # --- faults ------------------------------------------------------------------------------------

    def arm(self, *faults: Fault) -> None:
        self.fired.clear()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.host.home / "fired")
        self._faults = list(faults)

    def take(self, verb: str) -> Fault:
        with self._lock:
            for fault in self._faults:
                if fault.verb == verb:
                    self._faults.remove(fault)
                    return fault
        return Fault()

    def came_about(self) -> bool:
        """Whether the fault that was armed happened."""
        return bool(self.fired) or (self.host.home / "fired").exists()

    # --- the controller ----------------------------------------------------------------------------

    def now(self) -> float:
        return time.time() + self.offset

    def session(self) -> Session:
        made = Session(
            self.folder / "platforms.yaml", self.home / "jobmgr-run", user_files=False, home=self.home
        )
        world = made._world()
        world.clock = self.now
        line: Transport = Line(self)
        world.hosts.wrap = lambda _local: self.wrap(line) if self.wrap is not None else line
        return made

    def suite(self, tasks: int = 2, **more: Any) -> Suite:
        task = Task(script=SCRIPT, platform=HOST, submit_retry_delays="5*1s", **more)
        return Suite(name="s", tasks={f"t{number}": task for number in range(tasks)})

    def new_name(self) -> str:
        self._runs += 1
        return f"r{self._runs}"

    def forget(self, name: str) -> None:
        """Remove a run's folders, once nothing is left there that could find its claims gone and begin anew."""
        self.host.settle()
        for root in (self.host.home / "jobmgr-run", self.home / "jobmgr-run"):
            shutil.rmtree(root / name, ignore_errors=True)

    def ran(self, name: str) -> Counter[str]:
        """CYCLE/TASK -> how often its script has run."""
        try:
            text = (self.host.home / "jobmgr-run" / name / "share/ran").read_text()
        except FileNotFoundError:
            return Counter()
        return Counter(line.rpartition("/")[0] for line in text.split())

    def settle(self, run: Run, rounds: int = 14) -> None:
        """Nothing but plain ticks, as cron would do, until the run is at its end."""
        for _ in range(rounds):
            self.host.settle()
            self.offset += STRIDE
            run.tick()
            if run.summary().finished is not None:
                return
        rows = [(row.id, row.state.value, row.doubt, row.detail) for row in run.rows()]
        raise AssertionError(f"no end after {rounds} ticks: {rows}")

    def held_to_be_right(self, run: Run, *, may_be_lost: bool = False, tasks: int = 2) -> None:
        """Each job has run exactly once; what is lost (may have run), or died with its shell, at most once."""
        ran = self.ran(run.name)
        rows = {f"{row.cycle}/{row.task}": row for row in run.rows()}
        assert len(rows) == tasks, rows
        for key, row in rows.items():
            job = run._ctx.store.job(row.cycle, row.task)
            story = f"{row.id} {row.state} {row.detail!r} ran {ran[key]} times; fault: {self.fired}; {job}"
            if row.state.value == "succeeded":
                assert ran[key] == 1, story
            else:
                assert may_be_lost, story
                assert row.state.value == "failed", story
                assert "lost" in row.detail or "KILL" in row.detail, story
                assert ran[key] <= 1, story

    def in_child(self, work: Callable[[Session], object], die_at: int = 0, when: str = "before") -> bool:
        """Do something in a controller of its own, which is killed at its N-th transaction.

        False if it had fewer, and came to its end.
        """
        pid = os.fork()
        if pid == 0:
            try:
                _die_at(die_at, when)
                with self.session() as session:
                    work(session)
                os._exit(0)
            except BaseException:
                import traceback

                traceback.print_exc()
                os._exit(3)
        _, status = os.waitpid(pid, 0)
        assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, status
        return os.WIFSIGNALED(status)


def _die_at(count: int, when: str) -> None:
    real = db.Database.writing
    left = count

    @contextlib.contextmanager
    def writing(self: db.Database) -> Iterator[Any]:
        nonlocal left
        left -= 1
        now = left == 0
        with real(self) as connection:
            yield connection
            if now and when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
        if now:
            os.kill(os.getpid(), signal.SIGKILL)

    if count:
        db.Database.writing = writing  # type: ignore[method-assign,assignment]


def submitted(world: World, session: Session, suite: Suite, name: str) -> Run:
    """Submit; what goes wrong meanwhile is for the ticks that follow."""
    try:
        return session.submit(suite, name=name)
    except JobmgrError:
        return session.open(name)


@contextlib.contextmanager
def world(host: Any = None, runner: str = "background") -> Iterator[World]:
    """A world that leaves nothing behind."""
    need(shutil.which("unshare"), "unshare")
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="jm-chaos-", dir=memory if os.access(memory, os.W_OK) else None))
    made = None
    try:
        made = World(folder, host, runner)
        yield made
    finally:
        if made is not None:
            made.close()
        shutil.rmtree(folder, ignore_errors=True)
