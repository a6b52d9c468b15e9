"""One command over a shared connection: the master is asked for a session at its control socket.

OpenSSH's ``PROTOCOL.mux``: the client sends the command and, as SCM_RIGHTS, the three descriptors that the
master is to connect with it; the master answers once the host has opened the channel, says the exit status when it
comes, and hangs up when the channel is closed. That is what ``ssh -S SOCKET HOST COMMAND`` does, without a program of
its own per session, and each refusal has a name here.
"""

from __future__ import annotations

import array
import contextlib
import os
import socket
import struct
import time
from typing import IO

from jobmgr.transport.control_socket import ask, packet, receive
from jobmgr.transport.pump import Silence
from jobmgr.transport.sessions import SessionRefused

NEW_SESSION = 0x10000002
PERMISSION_DENIED, FAILURE, EXIT_MESSAGE, SESSION_OPENED = 0x80000002, 0x80000003, 0x80000004, 0x80000006
NO_ESCAPE = 0xFFFFFFFF
NO_STATUS = -1
REQUEST_ID = 1


class MasterGone(Exception):
    """Nobody answers at the control socket: nothing was sent."""


class HungUp(Exception):
    """The master hung up before it had opened the session; the command may have been started."""


class MuxSession:
    """A command that a host runs. Has of ``subprocess.Popen`` what :func:`jobmgr.transport.pump.pump` wants.

    ``stdin``, ``stdout`` and ``stderr`` are unbuffered pipes to the master.
    """

    def __init__(self, path: str, command: str, timeout: float) -> None:
        """Have the master behind the socket ``path`` open a session.

        Raises MasterGone, SessionRefused (the command was not started), HungUp, or Silence after ``timeout`` seconds.
        """
        self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        pipes = [os.pipe() for _ in range(3)]
        (theirs_in, ours_in), (ours_out, theirs_out), (ours_err, theirs_err) = pipes
        self.stdin: IO[bytes] = os.fdopen(ours_in, "wb", 0)
        self.stdout: IO[bytes] = os.fdopen(ours_out, "rb", 0)
        self.stderr: IO[bytes] = os.fdopen(ours_err, "rb", 0)
        try:
            self._open(path, command, (theirs_in, theirs_out, theirs_err), timeout)
        except BaseException:
            self.close()
            raise
        finally:
            for fd in (theirs_in, theirs_out, theirs_err):
                os.close(fd)

    def _open(self, path: str, command: str, descriptors: tuple[int, ...], timeout: float) -> None:
        until = time.monotonic() + timeout
        self._connection.settimeout(timeout)
        try:
            ask(self._connection, path, _request(command))
        except TimeoutError:
            raise Silence from None
        except OSError:
            raise MasterGone from None
        try:
            for fd in descriptors:  # one by one, each with a byte to carry it
                rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))
                self._connection.sendmsg([b"\0"], [rights])
            answer = self._answer(until)
        except TimeoutError:
            raise Silence from None
        except OSError:
            raise HungUp from None
        if answer != SESSION_OPENED:
            raise SessionRefused

    def _answer(self, until: float) -> int:
        while True:
            self._connection.settimeout(max(0.001, until - time.monotonic()))
            kind, _ = _numbers(receive(self._connection), at=1)
            if kind in (SESSION_OPENED, FAILURE, PERMISSION_DENIED):
                return kind

    def wait(self, timeout: float) -> int:
        """The command's exit status, once the master says it. Raises Silence after ``timeout`` seconds.

        :data:`NO_STATUS` if the master hangs up instead: a signal has ended the login shell, or the connection broke.
        """
        until = time.monotonic() + timeout
        try:
            while True:
                self._connection.settimeout(max(0.001, until - time.monotonic()))
                kind, number = _numbers(receive(self._connection), at=2)
                if kind == EXIT_MESSAGE:
                    return number
        except TimeoutError:
            raise Silence from None
        except OSError:
            return NO_STATUS

    def close(self) -> None:
        """Let go of it: the master closes the channel if it is still open."""
        for stream in (self.stdin, self.stdout, self.stderr):
            with contextlib.suppress(BrokenPipeError):
                stream.close()
        self._connection.close()


def _request(command: str) -> bytes:
    no_tty_no_x11_no_agent_no_subsystem = (0, 0, 0, 0)
    return b"".join(
        (
            struct.pack(">II", NEW_SESSION, REQUEST_ID),
            packet(b""),  # reserved
            struct.pack(">5I", *no_tty_no_x11_no_agent_no_subsystem, NO_ESCAPE),
            packet(b""),  # terminal
            packet(os.fsencode(command)),
        )
    )


def _numbers(body: bytes, at: int) -> tuple[int, int]:
    """The first number of a packet, and the one at ``at``; 0 for what is not there."""
    first, second = body[:4].rjust(4, b"\0"), body[4 * at : 4 * at + 4].rjust(4, b"\0")
    return struct.unpack(">I", first)[0], struct.unpack(">I", second)[0]
