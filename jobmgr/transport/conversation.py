"""Several requests to one host, one after the other, over one run of the host side.

A call that says ``more`` is answered by a host side that stays for the next one (docs/protocol.md, "Calling"): that
costs neither a session, nor a shell, nor a Python, and one round trip instead of three. Whether it stays is the
host's word, told with each answer; one that has rested too long is not spoken to again.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

from jobmgr.errors import ConnectError, ConnectionLost
from jobmgr.transport.base import Completed, Feed, Hold, OnChunk, Transport
from jobmgr_remote import wire

FRESH = 5.0
"""Seconds of rest after which nothing more is said; the host waits three times as long (``session.PATIENCE``)."""
HEARING = 0.5
"""Seconds after which a thread that waits looks up, so that no interrupt is lost."""
LEAVE = 2.0
"""Seconds to wait for the end of a conversation that is closed."""

UNHEARD = 5.0
"""Seconds without a word of the host side after which a first request is given its end of file: login files that
read the input would wait for that, and be told of by nobody.
"""

Asked = Callable[[], bool]
"""A question about the reply, put after each chunk: has the host side begun to answer (``heard``: a banner is no
answer)? Is the reply whole, and does the host wait for the next request (``over``)?
"""


class Conversation:
    """One run of the host side. For one request at a time, from whatever thread."""

    def __init__(self, transport: Transport, command: str, idle_timeout: float) -> None:
        self.idle_timeout = idle_timeout
        self._transport = transport
        self._command = command
        self._feed = Feed()
        self._outcome: queue.SimpleQueue[Completed | BaseException | None] = queue.SimpleQueue()
        self._take: OnChunk = _ignore
        self._is_heard: Asked = _never
        self._is_over: Asked = _never
        self._lock = threading.Lock()
        self._heard = False
        self._stop = False
        self._rests_since = 0.0
        self._thread: threading.Thread | None = None

    @property
    def usable(self) -> bool:
        """Whether one more request may be sent."""
        alive = self._thread is not None and self._thread.is_alive()
        rests = self._feed.resting and not self._feed.released
        return alive and rests and time.monotonic() - self._rests_since < FRESH

    def exchange(
        self, request: bytes, hold: Hold | None, take: OnChunk, heard: Asked, over: Asked
    ) -> Completed | None:
        """Send a request, hand its reply to ``take``. None: the host waits for the next one; else how it ended.

        Once ``hold`` is released, the host is told to come to an end with this one. Raises as ``Transport.run``
        does; a ConnectError (nothing was sent) only for the first request.
        """
        with self._lock:
            self._take, self._is_heard, self._is_over = take, heard, over
            self._heard = self._stop = False
        first = self._thread is None
        if first:
            self._thread = threading.Thread(target=self._run, args=(request,), name="conversation", daemon=True)
            self._thread.start()
        else:
            self._feed.resume(request)
        if hold is not None:
            hold.then(self._stop_it)
        try:
            outcome = self._wait(UNHEARD if first and hold is None else None)
        except BaseException:
            self._feed.release()
            raise
        finally:
            if hold is not None:
                hold.then(None)
        if isinstance(outcome, ConnectError) and not first:
            raise ConnectionLost(f"{outcome}; the request may have arrived") from outcome
        if isinstance(outcome, BaseException):
            raise outcome
        if outcome is not None and not first and not self._heard:
            said = f"{self._transport.host}: the host side ended before it answered; the request may have arrived"
            raise ConnectionLost(said)
        return outcome

    def release(self) -> None:
        """Let the host side end."""
        self._feed.release()

    def close(self, patience: float = LEAVE) -> None:
        """Let the host side end, and wait for it so many seconds."""
        self.release()
        if self._thread is not None:
            self._thread.join(patience)

    def _wait(self, unheard: float | None) -> Completed | BaseException | None:
        began = time.monotonic()
        while True:
            try:
                return self._outcome.get(timeout=HEARING)
            except queue.Empty:
                if unheard is not None and not self._heard and time.monotonic() - began >= unheard:
                    self._feed.release()

    def _run(self, request: bytes) -> None:
        outcome: Completed | BaseException
        try:
            outcome = self._transport.run(self._command, request, self._feed, self.idle_timeout, self._chunk)
        except BaseException as error:  # raised by the thread that waits
            outcome = error
        self._feed.close()
        self._outcome.put(outcome)

    def _chunk(self, chunk: bytes) -> None:
        self._take(chunk)
        with self._lock:
            self._heard = self._heard or self._is_heard()
            if self._is_over():
                self._take, self._is_over = _ignore, _never
                self._rests_since = time.monotonic()
                self._feed.rest()
                self._outcome.put(None)
            elif self._stop and self._heard:
                self._say_stop()

    def _stop_it(self) -> None:
        with self._lock:
            self._stop = True
            if self._heard:
                self._say_stop()

    def _say_stop(self) -> None:
        """Only after the first line of the answer: until then the host reads the request."""
        self._stop = False
        if not self._feed.resting:
            self._feed.send(wire.STOP)


class Talks:
    """The conversations with one host. At most one rests; the next call goes on with it."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._lock = threading.Lock()
        self._resting: Conversation | None = None

    def exchange(
        self,
        command: str,
        request: bytes,
        hold: Hold | None,
        idle_timeout: float,
        take: OnChunk,
        heard: Asked,
        over: Asked,
        *,
        more: bool,
    ) -> Completed | None:
        """As :meth:`Conversation.exchange`, with the one that rests, or with a new one that ``command`` starts.

        ``more``: whether the request asks the host to stay.
        """
        talk = self._taken()
        if talk is None and not more:
            return self._transport.run(command, request, hold, idle_timeout, take)
        if talk is None or not talk.usable or talk.idle_timeout != idle_timeout:
            if talk is not None:
                talk.close()
            talk = Conversation(self._transport, command, idle_timeout)
        done = talk.exchange(request, hold, take, heard, over)
        if done is None:
            self._keep(talk)
        return done

    def release(self) -> None:
        """Let the one that rests end."""
        talk = self._resting
        if talk is not None:
            talk.release()

    def close(self, patience: float = LEAVE) -> None:
        """End the one that rests: its session is free again, as a rule before ``patience`` is over."""
        talk = self._taken()
        if talk is not None:
            talk.close(patience)

    def _taken(self) -> Conversation | None:
        with self._lock:
            talk, self._resting = self._resting, None
            return talk

    def _keep(self, talk: Conversation) -> None:
        with self._lock:
            before, self._resting = self._resting, talk
        if before is not None:
            before.close()


def _ignore(_chunk: bytes) -> None:
    """What comes when nothing was asked."""


def _never() -> bool:
    return False
