"""The contract that every transport fulfils.

A transport runs one command line on one host, feeds it bytes and hands back bytes. It knows nothing of jobs.
``tests/conformance/test_transports.py`` holds every implementation against this contract.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import NamedTuple, Protocol


class Completed(NamedTuple):
    """A remote command that ran to its end.

    ``exit_code`` is the command's own (128+N for a signal, as a shell says it); ``stdout`` is empty if
    ``on_chunk`` took it; ``stderr`` is the end of it, at most :data:`STDERR_LIMIT` bytes.
    """

    exit_code: int
    stdout: bytes
    stderr: bytes


STDERR_LIMIT = 65536


class Hold:
    """Keeps the stdin of a running command open until somebody says :meth:`release`.

    Hosts end a long poll or a follow when their stdin ends. Release may be called from any thread, any number
    of times; ``fileno()`` becomes readable by then, so that a transport can select on it.
    """

    resting = False
    """Whether nothing is expected from the command, so that its silence is none."""

    def __init__(self) -> None:
        self._read, self._write = os.pipe()
        self._released = False
        self._then: Callable[[], None] | None = None

    def fileno(self) -> int:
        return self._read

    @property
    def released(self) -> bool:
        return self._released

    def release(self) -> None:
        if not self._released:
            self._released = True
            os.write(self._write, b"x")
            if self._then is not None:
                self._then()

    def then(self, act: Callable[[], None] | None) -> None:
        """Have ``act`` called at the release, now if that has been (perhaps twice); None: no more."""
        self._then = act
        if act is not None and self._released:
            act()

    def take(self) -> bytes | None:
        """For the transport, once ``fileno()`` is readable: more for stdin, or None: it is released."""
        return None

    def close(self) -> None:
        """Free the descriptors; call once the command has ended."""
        os.close(self._read)
        os.close(self._write)

    def __enter__(self) -> Hold:
        return self

    def __exit__(self, *exc: object) -> None:
        self._released = True
        self.close()


class Feed(Hold):
    """A stdin that somebody goes on to write to, piece by piece, until its release."""

    def __init__(self) -> None:
        super().__init__()
        self._pieces: deque[bytes] = deque()
        self._lock = threading.Lock()
        self._closed = False

    def send(self, data: bytes) -> None:
        """One more piece for stdin; lost if the command has ended."""
        with self._lock:
            if not self._closed:
                self._pieces.append(data)
                os.write(self._write, b"x")

    def release(self) -> None:
        with self._lock:
            if not self._closed:
                super().release()

    def close(self) -> None:
        with self._lock:
            self._closed = True
            super().close()

    def rest(self) -> None:
        """From here on no answer is expected."""
        self.resting = True

    def resume(self, data: bytes) -> None:
        """Send something that is to be answered."""
        self.resting = False
        self.send(data)

    def take(self) -> bytes | None:
        os.read(self._read, 1)
        return self._pieces.popleft() if self._pieces else None


OnChunk = Callable[[bytes], None]


class Transport(Protocol):
    """One host, as seen from the controller. Safe to use from several threads at once."""

    name: str
    """``fabric``, ``openssh`` or ``local``."""

    host: str
    """The name that ssh knows the host by (an alias counts)."""

    def connect(self) -> None:
        """Have a usable connection. Cheap if there is one.

        Raises :class:`~jobmgr.errors.ConnectError` or a subclass; nothing was sent to the host then.
        """
        ...

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        """Run one command line by the login shell of the host.

        ``stdin`` is written in bulk while the output is being read; then stdin is closed, or, with ``hold``,
        when that is released. ``idle_timeout`` is the number of seconds without a byte in either direction
        after which the call is given up (the remote command is not killed: the pipe is closed). ``on_chunk``
        gets stdout as it arrives; an exception raised by it closes the channel and passes through.

        Calls :meth:`connect` if need be. Raises ConnectError (nothing was sent), IdleTimeout or
        ConnectionLost (the request may have arrived).
        """
        ...

    def rsync_shell(self) -> list[str] | None:
        """The argv that rsync is to use as its remote shell for this host; None: no shell, same machine."""
        ...

    def close(self) -> None:
        """Let go of the connection. A shared master stays up."""
        ...
