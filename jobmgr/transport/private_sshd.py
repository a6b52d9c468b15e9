"""A real sshd of one's own: unprivileged, on loopback, with throw-away keys and a home of its own.

The demo and the tests use it as a host. It needs no privilege: ``UsePAM no``, a high port, the user
who starts it is the user who logs in. A forced command sets ``HOME`` and starts the login shell, so
that nothing of the real home is touched; rsync passes through it.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import pwd
import re
import shlex
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Mapping

from jobmgr.errors import RefusedError
from jobmgr.transport.environment import scrubbed

START_TIMEOUT = 10.0
START_ATTEMPTS = 5
STOP_TIMEOUT = 5.0
STOP_ROUNDS = 3
"""A session that was just being forked shows up in the second round."""
SBIN = ("/usr/sbin", "/usr/local/sbin", "/sbin")


class PrivateSshd:
    """One private sshd; ``ssh -F ssh_config_path NAME`` logs in to it.

    ``directory`` holds keys, configuration and log; ``home`` is the home directory on the "host" (both
    are made). ``shell`` is the login shell. ``force_command_prefix`` is /bin/sh text that runs before
    each command (noise, a delay). ``sshd_options`` go in front of sshd's configuration, where the
    first value of a keyword wins. Raises RefusedError if there is no sshd or it does not start.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        home: str | os.PathLike[str],
        name: str = "wizard",
        shell: str = "/bin/bash",
        force_command_prefix: str = "",
        sshd_options: Mapping[str, str] | None = None,
    ) -> None:
        self.directory = os.path.abspath(directory)
        self.home = os.path.abspath(home)
        self.name = name
        self.shell = shell
        self.port = 0
        self._prefix = force_command_prefix
        self._options = dict(sshd_options or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._kept: dict[int, str] = {}

    # files --------------------------------------------------------------------------------------

    def path(self, name: str) -> str:
        return os.path.join(self.directory, name)

    @property
    def ssh_config_path(self) -> str:
        """The client's configuration (``ssh -F``)."""
        return self.path("ssh_config")

    @property
    def known_hosts_path(self) -> str:
        return self.path("known_hosts")

    @property
    def identity_path(self) -> str:
        return self.path("id_user")

    @property
    def host_key_path(self) -> str:
        return self.path("host_key")

    @property
    def log_path(self) -> str:
        return self.path("sshd.log")

    def host_public_key(self) -> str:
        """``TYPE BASE64``, as known_hosts has it."""
        with open(self.host_key_path + ".pub", encoding="ascii") as file:
            return " ".join(file.read().split()[:2])

    def log(self) -> str:
        try:
            with open(self.log_path, encoding="utf-8", errors="replace") as file:
                return file.read()
        except FileNotFoundError:
            return ""

    # life ---------------------------------------------------------------------------------------

    def start(self) -> None:
        """Start it and return once it listens. A second start after a stop keeps keys and home."""
        program = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), *SBIN]))
        if program is None:
            raise RefusedError("no sshd on this machine: install openssh-server")
        self._prepare()
        for _ in range(START_ATTEMPTS):
            self.port = self.port or _free_port()
            self._write_configuration()
            if self._launch(program):
                return
            self.port = 0
        raise RefusedError(f"sshd does not start: {self.log().strip()[-400:]}")

    def __enter__(self) -> PrivateSshd:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End sshd, its sessions, and every process that lives in its home (jobs that go on, say)."""
        for pid in self._listener():  # so that no session begins while the sessions are ended
            _send(pid, signal.SIGSTOP)
        for _ in range(STOP_ROUNDS):
            if self._sessions():
                self.kill_sessions()
        self._end_listener(signal.SIGKILL)
        end_processes(self._inhabitants())

    def stop_accepting(self) -> None:
        """End the listener only: new connections are refused, sessions live on."""
        self._kept = self._sessions()
        self._end_listener()

    def freeze(self, listener: bool = True) -> None:
        """SIGSTOP to sshd and its sessions: connections hang, as after a cut cable.

        Without ``listener`` only those that stand now hang, and new ones work.
        """
        for pid in [*self._sessions(), *(self._listener() if listener else ())]:
            _send(pid, signal.SIGSTOP)

    def thaw(self) -> None:
        for pid in [*self._listener(), *self._sessions()]:
            _send(pid, signal.SIGCONT)

    def kill_sessions(self) -> None:
        """End every session of sshd as a crash would; what the commands have started lives on."""
        sessions = self._sessions()
        for pid in sessions:
            _send(pid, signal.SIGKILL)
        _await_end(sessions)
        self._kept = {}

    def logins(self) -> int:
        """Authenticated logins since the directory was made, by sshd's own log."""
        return len(re.findall(r"^Accepted \S+ for ", self.log(), re.MULTILINE))

    # processes ----------------------------------------------------------------------------------

    def _listener(self) -> list[int]:
        process = self._process
        return [process.pid] if process is not None and process.poll() is None else []

    def _sessions(self) -> dict[int, str]:
        """Session processes of this sshd: pid -> start time. Commands are not among them."""
        found = {pid: start for pid, start in self._kept.items() if start_time(pid) == start}
        children = _children()
        todo = [*self._listener(), *found]
        while todo:
            for pid in children.get(todo.pop(), []):
                start = start_time(pid)  # empty for a zombie
                if start and pid not in found and _command(pid).startswith("sshd"):
                    found[pid] = start
                    todo.append(pid)
        return found

    def _inhabitants(self) -> dict[int, str]:
        """Processes with this home in their environment."""
        marker = f"HOME={self.home}".encode()
        own = {os.getpid(), os.getppid()}
        found = {}
        for pid in _pids():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
                if pid not in own and marker in file.read().split(b"\0"):
                    found[pid] = start_time(pid)
        return found

    def _end_listener(self, number: signal.Signals = signal.SIGTERM) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(number)
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    # set-up -------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        os.makedirs(self.directory, mode=0o700, exist_ok=True)
        os.makedirs(self.home, mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", mode=0o755, exist_ok=True)  # sshd's, for privilege separation
        for key in (self.host_key_path, self.identity_path):
            if not os.path.exists(key):
                make_key(key)
        shutil.copyfile(self.identity_path + ".pub", self.path("authorized_keys"))
        self._write("login", self._login_script(), 0o700)

    def _login_script(self) -> str:
        shell = shlex.quote(self.shell)
        return (
            "#!/bin/sh\n"
            "unset SHLVL\n"
            f"HOME={shlex.quote(self.home)} SHELL={shell}\n"
            "export HOME SHELL\n"
            'cd "$HOME" || exit 1\n'
            f"{self._prefix}\n"
            f'if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec {shell} -c "$SSH_ORIGINAL_COMMAND"; fi\n'
            f"exec {shell} -l\n"
        )

    def _write_configuration(self) -> None:
        options = {
            **self._options,
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": _quoted(self.host_key_path),
            "AuthorizedKeysFile": _quoted(self.path("authorized_keys")),
            "ForceCommand": _quoted(self.path("login")),
            # For the user's own login shell, which sshd starts first: a bash below another shell does
            # not read .bashrc; the one that the script starts (without SHLVL) then does.
            "SetEnv": f'"HOME={self.home}" SHLVL=9',
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "UseDNS": "no",
            "PasswordAuthentication": "no",
            "PermitRootLogin": "yes",
            "LogLevel": "VERBOSE",
        }
        given = {key.lower() for key in self._options}
        lines = [f"{key} {value}" for key, value in self._options.items()]
        lines += [f"{key} {value}" for key, value in options.items() if key.lower() not in given]
        self._write("sshd_config", "\n".join(lines) + "\n")
        self.write_known_hosts()
        self._write("ssh_config", self.client_configuration())

    def write_known_hosts(self) -> None:
        self._write("known_hosts", f"{self.name} {self.host_public_key()}\n")

    def client_configuration(self, *extra: str) -> str:
        """The text of ``ssh_config``, with ``extra`` lines in front of the host's own settings."""
        lines = [
            *extra,
            "HostName 127.0.0.1",
            f"Port {self.port}",
            f"User {getpass_user()}",
            f"IdentityFile {_quoted(self.identity_path)}",
            "IdentitiesOnly yes",
            "IdentityAgent none",
            f"UserKnownHostsFile {_quoted(self.known_hosts_path)}",
            "GlobalKnownHostsFile /dev/null",
            f"HostKeyAlias {self.name}",
        ]
        return f"Host {self.name}\n" + "".join(f"    {line}\n" for line in lines)

    def _write(self, name: str, text: str, mode: int = 0o600) -> None:
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(self.path(name), mode)

    def _launch(self, program: str) -> bool:
        """Start sshd; True once it listens, False if it ended (the port was taken meanwhile)."""
        before = len(self.log())
        self._process = process = subprocess.Popen(
            [program, "-D", "-f", self.path("sshd_config"), "-E", self.log_path],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=scrubbed(),
            cwd="/",
            start_new_session=True,
        )
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until and process.poll() is None:
            if "Server listening on" in self.log()[before:]:
                return True
            time.sleep(0.005)
        self._end_listener()
        return False


def make_key(path: str, comment: str = "jobmgr throw-away key") -> None:
    """A new ed25519 key without a passphrase at ``path`` and ``path.pub``."""
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", path],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
    )


def getpass_user() -> str:
    """The name of the user whose processes these are, whatever the environment says."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return getpass.getuser()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _quoted(path: str) -> str:
    return f'"{path}"' if any(c.isspace() for c in path) else path


# processes of this machine, by /proc (proc(5)) -----------------------------------------------------


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the state on; empty if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()
    except OSError:
        return []


def start_time(pid: int) -> str:
    """Identity of a process beside its pid; empty if it is gone or a zombie."""
    fields = _stat(pid)
    return fields[19] if fields and fields[0] != "Z" else ""


def _children() -> dict[int, list[int]]:
    children: dict[int, list[int]] = {}
    for pid in _pids():
        fields = _stat(pid)
        if fields:
            children.setdefault(int(fields[1]), []).append(pid)
    return children


def _command(pid: int) -> str:
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:
        return ""


def _send(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _await_end(processes: Mapping[int, str]) -> None:
    until = time.monotonic() + STOP_TIMEOUT
    while any(start_time(pid) == start for pid, start in processes.items() if start):
        if time.monotonic() > until:
            return
        time.sleep(0.005)


def end_processes(processes: Mapping[int, str]) -> None:
    """SIGKILL to each process that still is the one it was, and wait for the end of all."""
    for pid, start in processes.items():
        if start and start_time(pid) == start:
            _send(pid, signal.SIGKILL)
    _await_end(processes)
