"""Transport ``fabric``: one ``fabric.Connection`` per host and process, kept open.

Settings come from ``ssh -G`` (``ssh_settings.py``), so that Include, Match, ProxyJump, HostKeyAlias and
known_hosts files count as for ssh. Commands run on channels of the connection directly: invoke's
``in_stream`` hands stdin over one character at a time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import subprocess
import tempfile
import threading
from typing import Any, BinaryIO

import fabric
import paramiko

from jobmgr.errors import (
    ConnectError,
    ConnectionLost,
    ConnectTimeout,
    IdleTimeout,
    JobmgrError,
    UnsupportedError,
)
from jobmgr.transport import ssh_errors
from jobmgr.transport.base import Completed, Hold, OnChunk
from jobmgr.transport.environment import for_ssh
from jobmgr.transport.fabric_auth import KnownHostsPolicy, Login, order_host_keys, refuse_unsupported
from jobmgr.transport.fabric_channel import ChannelRun, Ended, watch_signals
from jobmgr.transport.kept_settings import read_settings
from jobmgr.transport.pace import wait_for_turns
from jobmgr.transport.patient_socket import LIMIT as PATIENCE
from jobmgr.transport.patient_socket import PatientSocket, patient_pair
from jobmgr.transport.private_dir import default_control_dir, private_directory
from jobmgr.transport.pump import Silence, reap_later
from jobmgr.transport.sessions import NoSession, Patience, SessionGate, SessionRefused
from jobmgr.transport.ssh_settings import (
    SshOptions,
    SshSettings,
    proxy_argv,
    seconds,
    why_openssh,
)

KEEPALIVE = 15
CUT_AFTER_MS = round(1000 * PATIENCE)
"""Unanswered bytes for this long end the connection (TCP_USER_TIMEOUT), like ServerAlive 15 x 3."""
PROBE_TIMEOUT = 5.0
SESSION_PATIENCE = 60.0
CLOSE_PATIENCE = 0.5

# Without a handler of its own, logging prints paramiko's warnings to stderr.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


class FabricSSH:
    """One host by way of fabric and paramiko."""

    name = "fabric"

    def __init__(
        self, host: str, *, options: SshOptions | None = None, settings: SshSettings | None = None
    ) -> None:
        """``settings``: what ``ssh -G`` said just now, if it has been asked already."""
        self.host = host
        self._options = options or SshOptions()
        self._settings = settings
        self._lock = threading.Lock()
        self._gate = SessionGate()
        self._connection: _Connection | None = None
        self._suspect = False
        self._closed = False

    # connection ---------------------------------------------------------------------------------

    def connect(self) -> None:
        self._connected()

    def _connected(self) -> _Connection:
        with self._lock:
            connection = self._connection
            if connection is not None and connection.usable(self._suspect):
                self._suspect = False
                return connection
            self._drop()
            settings = self._settings or read_settings(self.host, self._options)
            self._settings = None  # a later connection asks again: the configuration may have changed
            self._closed = False
            self._connection = _open(settings, self._options)
            self._suspect = False
            if self._closed:  # meanwhile
                self._drop()
                raise ConnectError(f"{self.host}: not needed any more")
            return self._connection

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """A thread that is about to connect is not waited for; it drops its connection itself."""
        self._closed = True
        if self._lock.acquire(timeout=CLOSE_PATIENCE):
            try:
                self._drop()
            finally:
                self._lock.release()

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
        broken = 0
        while True:
            connection = self._connected()
            try:
                with self._gate.session(patience.left()):
                    try:
                        channel = connection.session(min(self._options.connect_timeout, idle_timeout))
                    except SessionRefused:  # MaxSessions; nothing was sent
                        self._gate.refused()
                    else:
                        run = ChannelRun(channel, hold, idle_timeout, on_chunk)
                        return self._run(run, command, stdin)
            except NoSession:
                raise self._no_session() from None
            except TimeoutError:  # no channel: the host is silent; nothing was sent
                self._suspect = True
                said = f"{self.host}: connected, but no session was opened in time (timed out)"
                raise ConnectTimeout(said) from None
            except paramiko.SSHException as exc:  # no channel: the connection is gone; nothing was sent
                broken += 1
                self._suspect = True
                if broken > 2:
                    raise ConnectError(
                        f"{self.host}: the connection broke as soon as it stood: {exc}"
                    ) from exc
                continue
            if not patience.pause():
                raise self._no_session()

    def _run(self, run: ChannelRun, command: str, stdin: bytes) -> Completed:
        try:
            return run.complete(command, stdin)
        except Silence:
            self._suspect = True
            raise IdleTimeout(f"{self.host}: connected, but silent for {run.idle_timeout:g} s") from None
        except Ended as exc:
            raise ConnectionLost(
                f"{self.host}: the connection broke before the command ended; the request may have arrived"
                f" ({exc})"
            ) from exc

    def _no_session(self) -> ConnectError:
        return ConnectError(
            f"{self.host}: no free session within {SESSION_PATIENCE:g} s: the host allows few per connection "
            "(MaxSessions), and others use them"
        )

    def rsync_shell(self) -> list[str] | None:
        """rsync cannot use a connection inside this process: it logs in by an ssh of its own."""
        return [
            "ssh",
            *("-T", "-oBatchMode=yes", "-oRemoteCommand=none", "-oClearAllForwardings=yes"),
            *("-oPermitLocalCommand=no", "-oForwardAgent=no", "-oForwardX11=no"),
            *("-oControlMaster=no", "-oControlPath=none"),
            *("-oServerAliveInterval=15", "-oServerAliveCountMax=3"),
            f"-oConnectTimeout={seconds(self._options.connect_timeout)}",
            *self._options.argv(),
            *(self.host, "--"),
        ]


class _Connection:
    """A fabric connection, the process it belongs to, and its proxy program if it has one."""

    def __init__(self, connection: Any, proxy: _Proxy | None) -> None:
        self._fabric = connection
        self._proxy = proxy
        self._pid = os.getpid()

    def usable(self, suspect: bool) -> bool:
        """A connection inherited by a fork is not; a suspect one has to open a channel first."""
        if self._pid != os.getpid() or not self._fabric.is_connected:
            return False
        if not suspect:
            return True
        try:
            self.session(PROBE_TIMEOUT).close()
        except SessionRefused:  # it did answer
            return True
        except (paramiko.SSHException, EOFError, OSError):
            return False
        return True

    def session(self, timeout: float) -> Any:
        """A new channel. Raises TimeoutError, SessionRefused or SSHException (broken)."""
        transport = self._fabric.transport
        try:
            return transport.open_session(timeout=timeout)
        except (paramiko.SSHException, EOFError, OSError) as exc:
            if not transport.is_active():
                raise paramiko.SSHException(str(exc) or "the host hung up") from exc
            if "Timeout" in str(exc):
                raise TimeoutError from exc
            # Threads share paramiko's one place for the reason: it need not be a ChannelException here.
            raise SessionRefused from exc

    def close(self) -> None:
        if self._pid == os.getpid():
            # A cut connection can block while it says good-bye.
            threading.Thread(target=self._close, name="close-ssh", daemon=True).start()

    def _close(self) -> None:
        with contextlib.suppress(Exception):
            self._fabric.close()
        if self._proxy is not None:
            self._proxy.close()


class _Proxy:
    """ProxyCommand or ProxyJump: a program that stands for the network, on a socket pair."""

    def __init__(self, argv: list[str]) -> None:
        ours, theirs = patient_pair()
        self.said: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as the proxy
        with theirs:
            end = theirs.fileno()
            self._process = subprocess.Popen(
                argv, stdin=end, stdout=end, stderr=self.said, env=for_ssh(), start_new_session=True
            )
        self.socket = ours

    def stderr(self) -> str:
        self.said.seek(0)
        return self.said.read(65536).decode(errors="replace")

    def ended(self) -> bool:
        """Has the program ended (a moment is given to one that is about to)?"""
        try:
            self._process.wait(0.5)
        except subprocess.TimeoutExpired:
            return False
        return True

    def close(self) -> None:
        self.socket.close()
        if self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                reap_later(self._process)
        self.said.close()


def _open(settings: SshSettings, options: SshOptions) -> _Connection:
    """A new connection, verified and logged in. Raises ConnectError or a subclass."""
    refuse_unsupported(settings, why_openssh(settings))
    directory = private_directory(options.control_dir or default_control_dir())
    wait_for_turns(directory, settings)
    argv = proxy_argv(settings, options)
    if argv is None:
        return _log_in(settings, options, _tcp(settings, options), None)
    proxy = _Proxy(argv)
    try:
        return _log_in(settings, options, proxy.socket, proxy)
    except ConnectError as exc:
        error = exc
        if type(exc) is ConnectError and proxy.ended() and proxy.stderr().strip():
            said = proxy.stderr() + ssh_errors.GATEWAY_FAILED
            error = ssh_errors.classify(said, settings)
        proxy.close()
        raise error from exc


def _tcp(settings: SshSettings, options: SshOptions) -> socket.socket:
    family = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(settings.address_family, socket.AF_UNSPEC)
    try:
        found = socket.getaddrinfo(settings.hostname, settings.port, family, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as exc:
        raise ssh_errors.not_resolved(settings, settings.hostname) from exc
    error: ConnectError = ssh_errors.no_route(settings)
    for kind, flavour, protocol, _, address in found:
        connection = PatientSocket(kind, flavour, protocol)
        try:
            connection.settimeout(options.connect_timeout)
            if settings.bind_address:
                connection.bind((settings.bind_address, 0))
            connection.connect(address)
        except OSError as exc:
            connection.close()
            error = _tcp_error(settings, exc)
            error.__cause__ = exc
            continue
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, CUT_AFTER_MS)
        return connection
    raise error


def _tcp_error(settings: SshSettings, exc: OSError) -> ConnectError:
    if isinstance(exc, TimeoutError):
        return ssh_errors.timed_out(settings)
    if isinstance(exc, ConnectionRefusedError):
        return ssh_errors.refused(settings)
    return ssh_errors.no_route(settings)


def _log_in(
    settings: SshSettings, options: SshOptions, sock: socket.socket, proxy: _Proxy | None
) -> _Connection:
    known = settings.known()

    def transport(*args: Any, **kwargs: Any) -> Any:
        made = paramiko.Transport(*args, **kwargs)
        made.handshake_timeout = options.connect_timeout
        made.daemon = True
        order_host_keys(made, known)
        return made

    config = fabric.Config(lazy=True)
    config.load_ssh_configs = False
    connection = fabric.Connection(
        settings.hostname,
        user=settings.user,
        port=settings.port,
        config=config,
        gateway=False,
        forward_agent=False,
        connect_timeout=seconds(options.connect_timeout),
        connect_kwargs={
            "sock": sock,
            "transport_factory": transport,
            "banner_timeout": options.connect_timeout,
            "auth_timeout": 2 * options.connect_timeout,
        },
    )
    connection.config.authentication.strategy_class = lambda **_: Login(settings)
    connection.client.set_missing_host_key_policy(KnownHostsPolicy(settings, known))
    try:
        connection.open()
    except BaseException as exc:
        with contextlib.suppress(Exception):
            connection.client.close()
        sock.close()
        error = _login_error(settings, exc)
        if error is None:
            raise
        raise error from exc
    connection.transport.set_keepalive(KEEPALIVE)
    watch_signals(connection.transport)
    return _Connection(connection, proxy)


def _login_error(settings: SshSettings, exc: BaseException) -> ConnectError | None:
    """jobmgr's error for what paramiko raised; None: not a matter of the connection."""
    if isinstance(exc, ConnectError):
        return exc
    if isinstance(exc, JobmgrError):
        return None
    said = str(exc) or type(exc).__name__
    if isinstance(exc, paramiko.ssh_exception.IncompatiblePeer):
        return UnsupportedError(
            f"{settings.host}: paramiko and the host have no common algorithm ({said}). "
            "Set 'transport: openssh' (or auto) for this platform"
        )
    if isinstance(exc, paramiko.AuthenticationException):
        if "timeout" in said.lower():
            return ssh_errors.timed_out(settings)
        return ssh_errors.login_refused(settings, (), said)
    if _timed_out(exc) or "timeout" in said.lower():
        return ssh_errors.timed_out(settings)
    if isinstance(exc, (paramiko.SSHException, EOFError, OSError)):
        return ssh_errors.hung_up(settings, said)
    return None


def _timed_out(exc: BaseException | None) -> bool:
    """Is a timeout at the bottom of it? Without one for the key exchange, paramiko goes on and finds
    that there is "No existing session"."""
    while exc is not None:
        if isinstance(exc, TimeoutError) or "No existing session" in str(exc):
            return True
        exc = exc.__cause__ or exc.__context__
    return False
