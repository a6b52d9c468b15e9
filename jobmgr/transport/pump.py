"""Feed a command and take its output, both at once, with an idle timeout.

The three pipes never wait for one another: a command that writes megabytes before it reads its stdin
does not block, and neither does one that reads without writing.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import threading
import time
from typing import IO, TYPE_CHECKING, Protocol

from msgspec import Struct

from jobmgr.transport.base import STDERR_LIMIT, Hold, OnChunk

if TYPE_CHECKING:
    import subprocess

CHUNK = 1 << 16


class Silence(Exception):
    """No byte in either direction for the idle timeout."""


class Piped(Protocol):
    """A command that runs, with unbuffered pipes."""

    @property
    def stdin(self) -> IO[bytes]: ...
    @property
    def stdout(self) -> IO[bytes]: ...
    @property
    def stderr(self) -> IO[bytes]: ...
    def wait(self, timeout: float) -> int:
        """Its exit code. Raises :class:`Silence` after so many seconds."""
        ...


class _Taken(Struct):
    stdout: list[bytes]
    stderr: bytearray

    def add_stderr(self, chunk: bytes) -> None:
        self.stderr += chunk
        if len(self.stderr) > 2 * STDERR_LIMIT:
            del self.stderr[:-STDERR_LIMIT]


def pump(
    command: Piped,
    stdin: bytes,
    hold: Hold | None,
    idle_timeout: float,
    on_chunk: OnChunk | None,
) -> tuple[int, bytes, bytes]:
    """Run the pipes of a command to their end; return its exit code, stdout, stderr.

    Raises :class:`Silence`, or whatever ``on_chunk`` or the command's ``wait`` raises; the pipes are closed then, and
    the command is the caller's to end.
    """
    try:
        with selectors.DefaultSelector() as selector:
            taken = _run_pipes(selector, command, memoryview(stdin), hold, idle_timeout, on_chunk)
        code = command.wait(idle_timeout)
    finally:
        close_pipes(command.stdin, command.stdout, command.stderr)
    return code, b"".join(taken.stdout), bytes(taken.stderr[-STDERR_LIMIT:])


def _run_pipes(
    selector: selectors.BaseSelector,
    command: Piped,
    unsent: memoryview,
    hold: Hold | None,
    idle_timeout: float,
    on_chunk: OnChunk | None,
) -> _Taken:
    taken = _Taken([], bytearray())
    stream = command.stdin
    to_child = stream.fileno()
    from_child, errors = command.stdout.fileno(), command.stderr.fileno()
    os.set_blocking(to_child, False)
    selector.register(from_child, selectors.EVENT_READ)
    selector.register(errors, selectors.EVENT_READ)
    if unsent:
        selector.register(to_child, selectors.EVENT_WRITE)
    elif hold is None:
        command.stdin.close()
    if hold is not None:
        selector.register(hold.fileno(), selectors.EVENT_READ)
    stdin_open = not command.stdin.closed
    reading = {from_child, errors}
    last = time.monotonic()

    def end_stdin() -> None:
        nonlocal stdin_open
        if stdin_open:
            stdin_open = False
            if to_child in selector.get_map():
                selector.unregister(to_child)
            _close(stream)

    while reading:
        if hold is not None and hold.resting:
            last = time.monotonic()
        events = selector.select(max(0.0, last + idle_timeout - time.monotonic()))
        if hold is not None and hold.resting:
            last = time.monotonic()
        if not events and time.monotonic() - last >= idle_timeout:
            raise Silence
        for key, _ in events:
            if key.fd in reading:
                chunk = os.read(key.fd, CHUNK)
                if not chunk:
                    reading.discard(key.fd)
                    selector.unregister(key.fd)
                    continue
                last = time.monotonic()
                if key.fd == errors:
                    taken.add_stderr(chunk)
                elif on_chunk is not None:
                    on_chunk(chunk)
                else:
                    taken.stdout.append(chunk)
            elif hold is not None and key.fd == hold.fileno():
                more = hold.take()
                if more is not None:
                    if not unsent and stdin_open:
                        selector.register(to_child, selectors.EVENT_WRITE)
                    unsent = memoryview(bytes(unsent) + more)
                    last = time.monotonic()
                    continue
                selector.unregister(key.fd)
                hold = None
                if not unsent:
                    end_stdin()
            elif stdin_open:
                try:
                    unsent = unsent[os.write(to_child, unsent[:CHUNK]) :]
                    last = time.monotonic()
                except BlockingIOError:
                    continue
                except BrokenPipeError:  # the child reads no more, which is its right
                    unsent = memoryview(b"")
                    end_stdin()
                    continue
                if not unsent:
                    selector.unregister(to_child)
                    if hold is None:
                        end_stdin()
    return taken


def _close(stream: IO[bytes]) -> None:
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def close_pipes(*streams: IO[bytes] | None) -> None:
    for stream in streams:
        if stream is not None:
            _close(stream)


def reap_later(process: subprocess.Popen[bytes]) -> None:
    """Collect a process that is left to itself once it ends, so that no zombie stays."""
    threading.Thread(target=process.wait, name=f"reap-{process.pid}", daemon=True).start()


def exit_code(code: int) -> int:
    """``Popen.returncode`` as a shell says it: 128+N for a signal."""
    return 128 - code if code < 0 else code
