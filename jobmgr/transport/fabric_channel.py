"""One command on one paramiko channel: bytes in bulk both ways, idle timeout, held stdin."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import threading
import time
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_REQUEST, cMSG_CHANNEL_REQUEST

from jobmgr.transport.base import STDERR_LIMIT, Completed, Hold, OnChunk
from jobmgr.transport.pump import Silence

CHUNK = 1 << 16
SEND = 1 << 15


class Ended(Exception):
    """The channel ended without an exit code."""


def watch_signals(transport: Any) -> None:
    """Make the channels of ``transport`` keep the name of the signal that ended their command.

    RFC 4254, 6.10: ``exit-signal`` comes in the place of ``exit-status``; paramiko drops it.
    """
    handlers = dict(transport._channel_handler_table)
    plain = handlers[MSG_CHANNEL_REQUEST]

    def request(channel: Any, message: Any) -> None:
        start = message.packet.tell()
        if message.get_text() == "exit-signal":
            message.get_boolean()
            channel.exit_signal = message.get_text()
        message.packet.seek(start)
        plain(channel, message)

    handlers[MSG_CHANNEL_REQUEST] = request
    transport._channel_handler_table = handlers


def signal_code(name: str) -> int:
    """``KILL`` -> 137, as a shell says it; 255 for a name that is not known here."""
    try:
        return 128 + signal.Signals[f"SIG{name}"].value
    except KeyError:
        return 255


class _Bell:
    """Wakes a selector when one of a channel's two buffers got something, or the channel ended.

    In the place of ``Channel.fileno()``, whose two flags over one pipe know no lock: what comes on stderr just when
    stdout has been read up can be told to nobody, and nothing after it either, until the channel ends.
    """

    def __init__(self, channel: Any) -> None:
        self._lock = threading.Lock()
        self._rung = False
        self._closed = False
        self._read, self._write = os.pipe()
        channel.in_buffer.set_event(self)
        channel.in_stderr_buffer.set_event(self)

    def fileno(self) -> int:
        return self._read

    def set(self) -> None:
        """Called by paramiko."""
        with self._lock:
            if not self._rung and not self._closed:
                self._rung = True
                os.write(self._write, b"*")

    def clear(self) -> None:
        """Called by paramiko, in moments of its own choice."""

    def hear(self) -> None:
        """Before looking at the buffers: whatever comes from here on rings again."""
        with self._lock:
            if self._rung:
                self._rung = False
                os.read(self._read, 1)

    def close(self) -> None:
        with self._lock:
            self._closed = True
            os.close(self._read)
            os.close(self._write)


class ChannelRun:
    """Runs one command on an open channel and closes it."""

    def __init__(
        self, channel: Any, hold: Hold | None, idle_timeout: float, on_chunk: OnChunk | None
    ) -> None:
        self._channel = channel
        self._hold = hold
        self.idle_timeout = idle_timeout
        self._on_chunk = on_chunk
        self._out: list[bytes] = []
        self._err = bytearray()
        self._last = time.monotonic()
        self._written = threading.Event()
        self._bell = _Bell(channel)

    def complete(self, command: str, stdin: bytes) -> Completed:
        """Raises Silence, Ended, or what ``on_chunk`` raised."""
        try:
            self._execute(command)
            if stdin or self._hold is None:
                self._start_writer(stdin)
            else:
                self._written.set()
            self._read_all()
            code = self._exit_code()
            _close(self._channel)  # now: the host counts the session until it hears of this
            return Completed(code, b"".join(self._out), bytes(self._err[-STDERR_LIMIT:]))
        finally:
            self._close()

    def _execute(self, command: str) -> None:
        """``exec``, without paramiko's wait for the answer: it has no time limit, and the answer is
        either output or a closed channel."""
        message = paramiko.Message()
        message.add_byte(cMSG_CHANNEL_REQUEST)
        message.add_int(self._channel.remote_chanid)
        message.add_string("exec")
        message.add_boolean(True)
        message.add_string(command)
        self._channel._event_pending()
        try:
            self._channel.transport._send_user_message(message)
        except (paramiko.SSHException, OSError, EOFError) as exc:
            raise Ended(str(exc)) from exc

    # stdin --------------------------------------------------------------------------------------

    def _start_writer(self, stdin: bytes) -> None:
        threading.Thread(target=self._write, args=(stdin,), name="ssh-stdin", daemon=True).start()

    def _write(self, stdin: bytes) -> None:
        try:
            view = memoryview(stdin)
            while view:
                sent = self._channel.send(bytes(view[:SEND]))
                if not sent:
                    break  # the channel is closed
                view = view[sent:]
                self._last = time.monotonic()
        except (OSError, EOFError, paramiko.SSHException):
            pass  # the command reads no more, or the reader will see why
        self._written.set()
        if self._hold is None or self._hold.released:
            self._end_stdin()

    def _end_stdin(self) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            self._channel.shutdown_write()

    # output -------------------------------------------------------------------------------------

    def _read_all(self) -> None:
        channel = self._channel
        with selectors.DefaultSelector() as selector:
            selector.register(self._bell.fileno(), selectors.EVENT_READ)
            if self._hold is not None:
                selector.register(self._hold.fileno(), selectors.EVENT_READ)
            while not self._finished():
                # After the end of the output only the exit code can come, and that rings no bell.
                events = selector.select(0 if channel.eof_received else self._time_left())
                if self._hold is not None and any(key.fd == self._hold.fileno() for key, _ in events):
                    self._hear_hold(selector, self._hold)
                self._bell.hear()
                if not self._drain() and channel.eof_received:
                    channel.status_event.wait(0.02)
                if self._time_left() <= 0 and not self._finished():
                    raise Silence
        self._drain()

    def _finished(self) -> bool:
        channel = self._channel
        if channel.recv_ready() or channel.recv_stderr_ready():
            return False
        if channel.closed or not channel.transport.is_active():
            return True
        return bool(channel.eof_received and channel.exit_status_ready())

    def _hear_hold(self, selector: selectors.BaseSelector, hold: Hold) -> None:
        more = hold.take()
        if more is None:
            selector.unregister(hold.fileno())
            self._hold_released()
        else:  # an answer to what was sent before has come, so that is written
            self._last = time.monotonic()
            self._written.clear()
            self._start_writer(more)

    def _hold_released(self) -> None:
        self._hold = None if self._written.is_set() else self._hold
        if self._hold is None:
            self._end_stdin()

    def _time_left(self) -> float:
        if self._hold is not None and self._hold.resting:
            self._last = time.monotonic()
        return max(0.0, self._last + self.idle_timeout - time.monotonic())

    def _drain(self) -> bool:
        """Take all that has arrived; True if there was anything."""
        channel = self._channel
        took = False
        while channel.recv_ready():
            self._take(channel.recv(CHUNK))
            took = True
        while channel.recv_stderr_ready():
            self._err += channel.recv_stderr(CHUNK)
            if len(self._err) > 2 * STDERR_LIMIT:
                del self._err[:-STDERR_LIMIT]
            took = True
        if took:
            self._last = time.monotonic()
        return took

    def _take(self, chunk: bytes) -> None:
        self._last = time.monotonic()
        if self._on_chunk is not None:
            self._on_chunk(chunk)
        else:
            self._out.append(chunk)

    def _exit_code(self) -> int:
        channel = self._channel
        if channel.exit_status >= 0:
            return int(channel.exit_status)
        name = getattr(channel, "exit_signal", None)
        if name is not None:
            return signal_code(name)
        raise Ended("no exit code")

    def _close(self) -> None:
        self._bell.close()
        # Saying "close" can block on a connection that is cut; nobody has to wait for it.
        if self._channel.closed:
            self._channel.close()
        else:
            threading.Thread(target=_close, args=(self._channel,), name="close-channel", daemon=True).start()


def _close(channel: Any) -> None:
    with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
        channel.close()
