"""The host of the fault tests: one process that has the host side loaded and forks for each call.

Started as ``python hosted.py HOME SOCKET``, as the first process of a pid namespace: its end is the end of
every process of the host, and the next one is another instance, as after a reboot. A client connects to the
socket, passes the stdin, stdout and stderr of a call, and says in one JSON line what is to be called and
what is to go wrong; the answer is one JSON line with the exit code, and whether the fault came about.

Steps are the system calls by which the host side changes something. A fault happens before or after the
N-th of them, in the called process (``who: main``) or in what it forks, until that is another program (``who:
fork``). A command that it runs (``sbatch``) is a step as well. A plan ``slot`` is for the slots that the call starts.

Started as ``python hosted.py slot PLAN HOME slot ...`` it is the program that becomes slots. Started as ``python
hosted.py once HOME VERB PLAN FD`` it is one call and nothing else (batch.py); FD is where it says that the fault
came about.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from typing import Any

STEPS = (
    "mkdir", "open", "write", "fsync", "rename", "replace", "link", "symlink", "unlink", "ftruncate", "chmod",
    "fork", "setsid", "execve", "posix_spawn", "wait4",
)  # fmt: skip
FULL = ("mkdir", "open", "write", "fsync", "rename", "replace", "link", "symlink", "ftruncate")
"""What fails on a full disk."""

KILLED, STOPPED = 137, -19
PATIENCE = 0.3
"""Seconds to wait for a lock."""


class Steps:
    """Counts the steps of a process and does what the plan says at the N-th."""

    def __init__(self, plan: dict[str, Any], fired: int) -> None:
        self.plan = plan
        self.fired = fired
        self.count = 0
        self.main = os.getpid()
        self.real = {name: getattr(os, name) for name in STEPS}

    def install(self) -> None:
        for name in STEPS:
            setattr(os, name, self.wrapped(name, self.real[name]))
        from jobmgr_remote import proc

        proc.run = self.wrapped("run", proc.run)

    def wrapped(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def step(*args: Any, **kw: Any) -> Any:
            if name == "open" and not (args[1] & (os.O_CREAT | os.O_TRUNC)):
                return real(*args, **kw)
            if name == "write" and args[0] in (1, 2, self.fired):
                return real(*args, **kw)
            if not self.mine():
                return self.forked(real(*args, **kw)) if name == "fork" else real(*args, **kw)
            if self.plan["kind"] == "full" and name not in FULL:
                return real(*args, **kw)
            self.count += 1
            at, now = self.plan["at"], self.count
            if self.plan["kind"] == "full" and self.strikes(now):
                self.fire(name)
                if name == "write" and len(args[1]) > 1:
                    real(args[0], args[1][: len(args[1]) // 2])  # a full disk takes a part of it
                raise OSError(self.plan["errno"], os.strerror(self.plan["errno"]), str(args[0]))
            if at == now and self.plan["when"] == "before":
                self.strike(name)
            try:
                result = real(*args, **kw)
                return self.forked(result) if name == "fork" else result
            finally:  # a call that failed is a step as well
                if at == now and self.plan["when"] == "after" and self.mine():
                    self.strike(name)

        return step

    def mine(self) -> bool:
        return (os.getpid() == self.main) == (self.plan["who"] == "main")

    def forked(self, pid: int) -> int:
        if pid == 0:
            self.count = 0
        return pid

    def strikes(self, now: int) -> bool:
        return now == self.plan["at"] if self.plan["when"] == "once" else now >= self.plan["at"]

    def strike(self, name: str) -> None:
        if self.plan["kind"] == "kill":
            self.fire(name)
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.plan["kind"] == "stop":
            self.fire(name)
            os.kill(os.getpid(), signal.SIGSTOP)

    def fire(self, name: str) -> None:
        self.real["write"](self.fired, name.encode() + b" ")


def trapped(text: str, count: int, mark: str) -> str:
    """A bash script that kills itself before its N-th command."""
    trap = f"set -o functrace\ntrap '((BASHPID != $$ || ++chaos_n != {count})) || {{ : >{mark}; kill -9 $$; }}' DEBUG\n"
    return trap + text


def work(verb: str, plan: dict[str, Any], home: str, fired: int) -> int:
    """The call itself, in a process of its own."""
    from jobmgr_remote import jobfile, lock, session, spool
    from jobmgr_remote.runners import background

    # Who holds a lock may be stopped; nobody has a minute to wait for it.
    lock.Lock.__init__.__defaults__ = (PATIENCE,)
    background.LOCK_TIMEOUT = PATIENCE
    offset = plan.get("clock", 0.0)
    real_time = time.time
    time.time = lambda: real_time() + offset
    if plan.get("slot"):
        program = [sys.executable, os.path.abspath(__file__), "slot", json.dumps(plan["slot"]), home]
        spool.slot_command = lambda: [*program, "slot"]
    if plan.get("wrapper"):
        real_source = jobfile._source
        jobfile._source = lambda name: (
            trapped(real_source(name).decode(), plan["wrapper"], f"{home}/fired").encode()
            if name in (jobfile.WRAPPER, "start.sh")
            else real_source(name)
        )
    if plan.get("kind"):
        Steps(plan, fired).install()
    return session.main(verb)


def handle(connection: socket.socket, request: dict[str, Any], fds: list[int], home: str) -> None:
    """One call: start it, wait for it, answer. In a process of its own, so that several can be at work."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    get, put = os.pipe()
    pid = os.fork()
    if pid == 0:
        code = 70
        try:
            os.setsid()
            for number, fd in enumerate(fds):
                os.dup2(fd, number)
            connection.close()
            code = work(request["verb"], request["plan"], home, put)
        finally:
            os._exit(code)
    for fd in (*fds, put):
        os.close(fd)
    _, status = os.waitpid(pid, os.WUNTRACED)
    stopped = os.WIFSTOPPED(status)
    code = STOPPED if stopped else KILLED if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
    if stopped:
        os.set_blocking(get, False)
    fired = ""
    try:  # to its end: a slot that was forked has the other end until it is bash
        while chunk := os.read(get, 4096):
            fired += chunk.decode()
    except BlockingIOError:
        pass
    connection.sendall(json.dumps({"code": code, "fired": fired}).encode() + b"\n")
    connection.close()
    if stopped:  # its stdin and stdout stay as they are; somebody lets it go on
        os.waitpid(pid, 0)


def processes() -> list[int]:
    """All processes of the host but this one and the calls' handlers."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit() and name != "1"]


def activity(home: str) -> list[str]:
    """Something that stays the same only while nothing goes on: processor time, files of the spool."""
    found = []
    for pid in processes():
        with contextlib.suppress(OSError), open(f"/proc/{pid}/stat") as file:
            words = file.read().rpartition(") ")[2].split()
            found.append(f"{pid} {words[0]} {words[11]} {words[12]}")
    for folder, _, names in os.walk(f"{home}/.jobmgr/spool"):
        found.extend(f"{folder}/{name}" for name in names)
    return found


def picture(home: str) -> str:
    """What the host's processes are at, and what is in the spool: for a person who has to explain it."""
    lines = []
    for pid in processes():
        about = [f"pid {pid}"]
        for name in ("cmdline", "stat", "wchan", "stack"):
            with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
                text = file.read(4096).replace(b"\0", b" ").decode(errors="replace").strip()
                about.append(f"{name}: {' < '.join(text.splitlines())}")
        with contextlib.suppress(OSError):
            links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}
            about.append(f"files: {links}")
        lines.append("\n    ".join(about))
    for folder, _, names in os.walk(f"{home}/.jobmgr/spool"):
        for name in sorted(names):
            with contextlib.suppress(OSError), open(os.path.join(folder, name), errors="replace") as file:
                lines.append(f"{os.path.relpath(os.path.join(folder, name), home)}: {file.read(500)!r}")
    with contextlib.suppress(OSError), open("/proc/locks") as file:
        lines.append(file.read())
    return "\n".join(lines)


def send(pid: int, number: int) -> None:
    """A signal, to a process that may have ended."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def resume() -> None:
    """Let go on what has been stopped."""
    for pid in processes():
        send(pid, signal.SIGCONT)


def reap(*_: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


class SlotSteps(Steps):
    """The steps of each slot that a program becomes."""

    def __init__(self, plan: dict[str, Any], home: str) -> None:
        super().__init__({"kind": "kill", **plan, "who": "fork"}, -1)
        self.mark = f"{home}/fired"

    def fire(self, name: str) -> None:
        os.close(self.real["open"](self.mark, os.O_WRONLY | os.O_CREAT, 0o600))


def slots(plan: str, home: str, words: list[str]) -> None:
    """The program that becomes slots, which strike where the plan says."""
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../remote"))
    from jobmgr_remote import slot

    SlotSteps(json.loads(plan), home).install()
    slot.main(words)


def once(home: str, verb: str, plan: str, fired: str) -> int:
    """One call on stdin and stdout."""
    sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)) + "/remote")
    os.set_inheritable(int(fired), False)
    os.umask(0o077)
    return work(verb, json.loads(plan), home, int(fired))


def main() -> None:
    home, path = sys.argv[1:3]
    keep = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
    os.environ.clear()
    os.environ.update(keep, HOME=home, USER="chaos", LOGNAME="chaos")
    os.umask(0o077)
    os.chdir(home)
    sys.path[:0] = keep.get("PYTHONPATH", "").split(os.pathsep)
    import concurrent.futures  # noqa: F401 - loaded once, for all calls
    import ctypes  # noqa: F401

    import jobmgr_remote.commands.jobs_kill
    import jobmgr_remote.commands.jobs_poll
    import jobmgr_remote.commands.jobs_submit
    import jobmgr_remote.commands.remote_init
    import jobmgr_remote.runners.background  # noqa: F401
    from jobmgr_remote import proc

    signal.signal(signal.SIGCHLD, reap)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    server = socket.socket(socket.AF_UNIX)
    server.bind(path)
    server.listen(64)
    print("ready", flush=True)
    while True:
        connection, _ = server.accept()
        data, fds, _flags, _address = socket.recv_fds(connection, 65536, 3)
        if not data:
            connection.close()
            continue
        request = json.loads(data)
        if request["verb"] == "!processes":
            connection.sendall(json.dumps(processes()).encode() + b"\n")
        elif request["verb"] == "!instance":
            connection.sendall(json.dumps(proc.instance()).encode() + b"\n")
        elif request["verb"] == "!picture":
            connection.sendall(json.dumps(picture(home)).encode() + b"\n")
        elif request["verb"] == "!activity":
            connection.sendall(json.dumps(activity(home)).encode() + b"\n")
        elif request["verb"] == "!resume":
            resume()
            connection.sendall(b"0\n")
        elif request["verb"] == "!kill":
            for pid in processes():
                send(pid, signal.SIGKILL)
            connection.sendall(b"0\n")
        elif os.fork() == 0:
            try:
                server.close()
                handle(connection, request, fds, home)
            finally:
                os._exit(0)
        for fd in fds:
            os.close(fd)
        connection.close()


if __name__ == "__main__":
    if sys.argv[1] == "slot":
        slots(sys.argv[2], sys.argv[3], sys.argv[5:])
    if sys.argv[1] == "once":
        sys.exit(once(*sys.argv[2:]))
    main()
