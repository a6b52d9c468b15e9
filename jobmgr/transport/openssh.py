"""Transport ``openssh``: sessions over one shared connection of the ``ssh`` program (a "master") per user@host:port.

The master is started on purpose (``ssh -MN``), never as a side effect of a session: a master that
forks out of a session keeps that session's stderr open, and whoever reads it hangs. Its stdio is
/dev/null, its complaints go to a file beside the socket. It is shared by all commands, cron and
rsync, outlives them, and ends after 10 minutes without a session (:data:`IDLE_LIFE`); one that was
opened by ``jobmgr login`` stays until ``logout`` or a cut. A cut is noticed by the master itself
within a minute (``ServerAlive``); until then it still answers ``-O check``, so every call has an idle
timeout, and after one the next user sends a probe through the master before trusting it.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator

from jobmgr.errors import (
    AuthenticationError,
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    IdleTimeout,
)
from jobmgr.transport import control_socket, ssh_errors
from jobmgr.transport.base import Completed, Hold, OnChunk
from jobmgr.transport.control_socket import ControlPaths, control_paths
from jobmgr.transport.environment import for_ssh, outliving, scrubbed
from jobmgr.transport.flocked import StillLocked, flocked
from jobmgr.transport.identity import read_identity
from jobmgr.transport.kept_settings import read_settings
from jobmgr.transport.mux_session import NO_STATUS, HungUp, MasterGone, MuxSession
from jobmgr.transport.pace import wait_for_turns
from jobmgr.transport.pump import Silence, pump, reap_later
from jobmgr.transport.sessions import NoSession, Patience, SessionGate, SessionRefused
from jobmgr.transport.ssh_settings import SshOptions, SshSettings, proxy_argv, seconds

IDLE_LIFE = 600
"""Seconds that a master lives without a session (``ControlPersist``)."""
ENDED_BY_SIGNAL = 255
PROBE_TIMEOUT = 5.0
SESSION_PATIENCE = 60.0
"""Seconds to wait for a free session on a host that allows few of them."""
LOCK_PATIENCE = 90.0
"""Seconds to wait while another process starts the master, or a person logs in."""

ALWAYS = (
    "-T",
    "-oBatchMode=yes",
    "-oRemoteCommand=none",
    "-oClearAllForwardings=yes",
    "-oPermitLocalCommand=no",
    "-oForwardAgent=no",
    "-oForwardX11=no",
)


def _socket_argument(path: str) -> str:
    return path.replace("%", "%%")


def master_argv(host: str, options: SshOptions, path: str, *, interactive: bool = False) -> list[str]:
    """The command line that opens a shared connection and returns once it stands (``-f``)."""
    always = [word for word in ALWAYS if not (interactive and "BatchMode" in word)]
    return [
        "ssh",
        *("-f", "-N", "-M", "-S", _socket_argument(path)),
        *always,
        *(f"-oControlPersist={'yes' if interactive else IDLE_LIFE}", "-oLogLevel=INFO"),
        *("-oServerAliveInterval=15", "-oServerAliveCountMax=3", "-oTCPKeepAlive=yes"),
        *(f"-oConnectTimeout={seconds(options.connect_timeout)}", "-oConnectionAttempts=1"),
        *options.argv(),
        "--",
        host,
    ]


def _audible_jump(settings: SshSettings, options: SshOptions, log: str) -> list[str]:
    """The options that run a ``ProxyJump`` in batch mode and with its complaints in ``log``.

    ssh's own jump may ask for a password, and under ControlPersist its stderr is /dev/null.
    """
    if settings.proxy_command or not settings.proxy_jump:
        return []
    argv = proxy_argv(settings, options) or []
    command = shlex.join(["/bin/sh", "-c", 'exec 2>>"$0"; exec "$@"', log, *argv])
    return ["-oProxyCommand=" + command.replace("%", "%%")]


def worker_argv(host: str, path: str) -> list[str]:
    """The command line of one session over the master, for rsync; the remote command follows it.

    It reads no configuration: all of that concerns the connection, which stands. With
    ``ProxyCommand=false`` a session that the master refuses fails, where ssh would otherwise log in anew.
    """
    return [
        "ssh",
        *("-F", "/dev/null"),
        *ALWAYS,
        *("-S", _socket_argument(path), "-oControlMaster=no", "-oProxyCommand=false", "-oLogLevel=ERROR"),
        *(host, "--"),  # ssh looks for options behind the host too (which checked_host has seen)
    ]


class OpenSSH:
    """One host by way of the ``ssh`` program.

    ``exit_code`` is 255 where the login shell itself died of a signal: the master is told which, and does not
    say. (A signal of a command below a shell that lives on is 128+N, as with the other transports.)
    """

    name = "openssh"

    def __init__(
        self, host: str, *, options: SshOptions | None = None, settings: SshSettings | None = None
    ) -> None:
        """``settings``: what ``ssh -G`` said just now, if it has been asked already."""
        self.host = host
        self._options = options or SshOptions()
        self._settings = settings
        self._gate = SessionGate()
        self._resolving = threading.Lock()
        self._resolved: tuple[SshSettings, ControlPaths] | None = None

    # connection ---------------------------------------------------------------------------------

    def connect(self) -> None:
        settings, paths = self._resolve()
        if _trusted(paths):
            return
        with _locked(paths, self.host):
            if _trusted(paths):
                return
            if self._survives_probe(paths):
                return
            wait_for_turns(os.path.dirname(paths.socket), settings)
            try:
                _start_master(settings, self._options, paths)
            except ConnectError:
                self._resolved = None  # the person who mends it may change the configuration
                raise

    def _resolve(self) -> tuple[SshSettings, ControlPaths]:
        with self._resolving:
            if self._resolved is None:
                settings = self._settings or read_settings(self.host, self._options)
                self._settings = None
                self._resolved = settings, control_paths(settings, self._options)
            return self._resolved

    def _survives_probe(self, paths: ControlPaths) -> bool:
        """Is there a master whose other end still answers? One that does not is ended."""
        if control_socket.alive(paths.socket) is None:
            _forget(paths)
            return False
        try:
            self._session("exit 0", b"", None, PROBE_TIMEOUT, None)
        except (Silence, MasterGone, ConnectionLost):
            end_master(paths)
            return False
        except SessionRefused:  # it did answer
            pass
        with contextlib.suppress(FileNotFoundError):
            os.unlink(paths.suspect)
        return True

    def close(self) -> None:
        """The master is shared and stays."""

    # commands -----------------------------------------------------------------------------------

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        patience = Patience(SESSION_PATIENCE)
        masters = 0
        while True:
            self.connect()
            try:
                with self._gate.session(patience.left()):
                    try:
                        return self._session(command, stdin, hold, idle_timeout, on_chunk)
                    except SessionRefused:
                        self._gate.refused()
            except NoSession:
                raise self._no_session() from None
            except MasterGone:
                masters += 1
                if masters > 2:
                    said = f"{self.host}: the shared connection broke as soon as it stood"
                    raise ConnectError(said) from None
                continue
            except Silence:
                self._suspect()
                raise IdleTimeout(f"{self.host}: connected, but silent for {idle_timeout:g} s") from None
            if not patience.pause():
                raise self._no_session()

    def _no_session(self) -> ConnectError:
        return ConnectError(
            f"{self.host}: no free session within {SESSION_PATIENCE:g} s: the host allows few per connection "
            "(MaxSessions), and others use them"
        )

    def _suspect(self) -> None:
        _, paths = self._resolve()
        with open(paths.suspect, "w", encoding="ascii"):
            pass

    def _session(
        self, command: str, stdin: bytes, hold: Hold | None, idle_timeout: float, on_chunk: OnChunk | None
    ) -> Completed:
        """One session over the master."""
        _, paths = self._resolve()
        try:
            with contextlib.closing(MuxSession(paths.socket, command, idle_timeout)) as session:
                code, out, err = pump(session, stdin, hold, idle_timeout, on_chunk)
        except HungUp:
            raise self._lost() from None
        if code == NO_STATUS:
            if control_socket.alive(paths.socket) is None:
                raise self._lost()
            code = ENDED_BY_SIGNAL
        return Completed(code, out, err)

    def _lost(self) -> ConnectionLost:
        return ConnectionLost(
            f"{self.host}: the connection broke before the command ended; the request may have arrived"
        )

    def rsync_shell(self) -> list[str] | None:
        _, paths = self._resolve()
        return worker_argv(self.host, paths.socket)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read(65536)


# the master -------------------------------------------------------------------------------------


def _trusted(paths: ControlPaths) -> bool:
    return control_socket.alive(paths.socket) is not None and not os.path.exists(paths.suspect)


@contextlib.contextmanager
def _locked(paths: ControlPaths, host: str) -> Iterator[None]:
    """One process or thread at a time starts, probes or ends this master. Raises ConnectTimeout."""
    try:
        with flocked(paths.lock, LOCK_PATIENCE):
            yield
    except StillLocked:
        raise ConnectTimeout(
            f"{host}: another jobmgr has been connecting (a login that waits for somebody?) for {LOCK_PATIENCE:g} s"
        ) from None


def _forget(paths: ControlPaths) -> None:
    for path in (paths.socket, paths.suspect):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _start_master(settings: SshSettings, options: SshOptions, paths: ControlPaths) -> None:
    _forget(paths)
    argv = master_argv(settings.host, options, paths.socket)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_CLOEXEC
    log = os.open(paths.log, flags, 0o600)
    try:
        process = subprocess.Popen(
            [argv[0], *_audible_jump(settings, options, paths.log), *argv[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=outliving(for_ssh()),
            cwd="/" if not _relative(options) else None,
            start_new_session=True,
        )
    except FileNotFoundError as exc:
        raise ConnectError("no ssh on this machine: install openssh-client") from exc
    finally:
        os.close(log)
    limit = 2 * options.connect_timeout + 1  # ssh's own limit covers the TCP connection and the banner only
    code = _wait(process, limit)
    if code is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        reap_later(process)
        raise ssh_errors.timed_out(settings)
    if code != 0:
        raise _why_no_master(_read(paths.log), settings)


def _relative(options: SshOptions) -> bool:
    return bool(options.config_file and not os.path.isabs(options.config_file)) or bool(options.ssh_options)


def _wait(process: subprocess.Popen[bytes], timeout: float) -> int | None:
    """``process.wait`` without its polling (up to 50 ms late), where the kernel can tell."""
    try:
        fd = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        fd = -1
    if fd >= 0:
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            if not poller.poll(timeout * 1000):
                return None
        finally:
            os.close(fd)
    try:
        return process.wait(1 if fd >= 0 else timeout)
    except subprocess.TimeoutExpired:
        return None


def _why_no_master(said: str, settings: SshSettings) -> ConnectError:
    error = ssh_errors.classify(said, settings)
    if isinstance(error, AuthenticationError) and re.search(r"Permission denied \([^)]*publickey", said):
        found = [identity for path in settings.identity_files if (identity := read_identity(path))]
        private = [identity for identity in found if identity.private]
        if private and all(identity.encrypted for identity in private):
            return ssh_errors.passphrase_wanted(settings, [identity.path for identity in private])
    return error


def end_master(paths: ControlPaths) -> bool:
    """End the master and wait until its socket is gone (at most 2 s); False if there was none."""
    if not control_socket.terminate(paths.socket):
        _forget(paths)
        return False
    until = time.monotonic() + 2
    while os.path.exists(paths.socket) and time.monotonic() < until:
        time.sleep(0.005)
    _forget(paths)
    return True


# for `jobmgr login` and `jobmgr logout` -----------------------------------------------------------


def master_is_up(host: str, options: SshOptions | None = None, settings: SshSettings | None = None) -> bool:
    """Is there a shared connection for ``host``? Does not connect."""
    options = options or SshOptions()
    settings = settings or read_settings(host, options)
    return control_socket.alive(control_paths(settings, options).socket) is not None


def login(host: str, options: SshOptions | None = None) -> bool:
    """Open the shared connection in the foreground, so that a person can type what the host asks for.

    Uses this process's terminal; returns once the connection stands in the background, where it
    stays until :func:`logout`. False: it was up already. Raises AuthenticationError if ssh gave up
    (it has said why on the terminal).
    """
    options = options or SshOptions()
    settings = read_settings(host, options)
    paths = control_paths(settings, options)
    with _locked(paths, host):
        if _trusted(paths):
            return False
        end_master(paths)
        argv = master_argv(host, options, paths.socket, interactive=True)
        code = subprocess.call(argv, env=outliving(scrubbed()))
        if code != 0:
            raise AuthenticationError(f"{host}: ssh could not log in (exit {code}); see what it said above")
    return True


def logout(host: str, options: SshOptions | None = None) -> bool:
    """End the shared connection; False if there was none."""
    options = options or SshOptions()
    paths = control_paths(read_settings(host, options), options)
    with _locked(paths, host):
        return end_master(paths)
