"""The control socket of an ssh master, spoken to directly.

OpenSSH's ``PROTOCOL.mux``: packets are a 32-bit length and a body of 32-bit numbers and of texts with a length in
front. ``ssh -O check`` does the same at the price of one process per look.
"""

from __future__ import annotations

import hashlib
import os
import socket
import struct

from msgspec import Struct

from jobmgr.errors import RefusedError
from jobmgr.transport.private_dir import LONGEST_PATH, default_control_dir, private_directory
from jobmgr.transport.ssh_settings import SshOptions, SshSettings

HELLO, VERSION = 1, 4
ALIVE_CHECK, ALIVE = 0x10000004, 0x80000005
TERMINATE = 0x10000005
ANSWER_TIMEOUT = 2.0


class ControlPaths(Struct, frozen=True):
    """The files of one shared connection: its socket and what lies beside it."""

    socket: str

    @property
    def lock(self) -> str:
        return self.socket + ".lock"

    @property
    def log(self) -> str:
        return self.socket + ".log"

    @property
    def suspect(self) -> str:
        """There after a session went silent: the next user looks closely before trusting it."""
        return self.socket + ".suspect"


def control_paths(settings: SshSettings, options: SshOptions) -> ControlPaths:
    """Where the connection for these settings is shared.

    The name is a hash of all that makes it this connection: user, host, port, and also the way
    there and the keys, because a key may be tied to a forced command. Raises RefusedError if the
    directory is not private or its path too long.
    """
    directory = private_directory(options.control_dir or default_control_dir())
    if len(os.fsencode(directory)) + 17 > LONGEST_PATH:
        raise RefusedError(f"{directory}: this path is too long for a control socket; choose a shorter one")
    identity = (
        settings.address,
        settings.host_key_alias,
        settings.proxy_jump,
        settings.proxy_command,
        settings.identity_files,
        settings.certificate_files,
        settings.known_hosts_files,
    )
    return ControlPaths(os.path.join(directory, hashlib.sha256(repr(identity).encode()).hexdigest()[:16]))


def alive(path: str) -> int | None:
    """The pid of the master behind ``path``; None if there is none. (It does not know of a cut yet.)"""
    answer = _ask(path, ALIVE_CHECK)
    if answer is None or len(answer) < 12:
        return None
    kind, _, pid = struct.unpack(">III", answer[:12])
    return pid if kind == ALIVE else None


def terminate(path: str) -> bool:
    """Ask the master to end, with all its sessions; False if there is none."""
    if alive(path) is None:
        return False
    _ask(path, TERMINATE)  # it goes before its answer does
    return True


def _ask(path: str, request: int) -> bytes | None:
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(ANSWER_TIMEOUT)
            ask(connection, path, struct.pack(">II", request, 0))
            return receive(connection)
    except OSError:
        return None


def ask(connection: socket.socket, path: str, request: bytes) -> None:
    """Connect to the master behind ``path``, greet it, and send it a request; its answer is what comes next.

    Raises OSError (TimeoutError after the socket's timeout), also for what is no master.
    """
    connection.connect(path)
    connection.sendall(packet(struct.pack(">II", HELLO, VERSION)) + packet(request))
    if receive(connection)[:4] != struct.pack(">I", HELLO):
        raise OSError("not a control socket")


def packet(body: bytes) -> bytes:
    """A body with its length in front."""
    return struct.pack(">I", len(body)) + body


def receive(connection: socket.socket) -> bytes:
    """The body of the next packet. Raises OSError (TimeoutError after the socket's timeout), also at the end."""
    (length,) = struct.unpack(">I", _exactly(connection, 4))
    if length > 65536:
        raise OSError("not a control socket")
    return _exactly(connection, length)


def _exactly(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        chunk = connection.recv(length - len(data))
        if not chunk:
            raise OSError("the master hung up")
        data += chunk
    return data
