"""A TCP relay that delays every byte: a link with a long round trip, for scenario S8."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
import time
from collections import deque

CHUNK = 65536


class Relay:
    """Listens on loopback and passes everything on to ``port``, each way ``delay`` seconds late."""

    def __init__(self, port: int, delay: float) -> None:
        self.target = port
        self.delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed = True
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.create_connection(("127.0.0.1", self.target))
            for end in (near, far):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._pass, args=(near, far), daemon=True).start()
            threading.Thread(target=self._pass, args=(far, near), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        """Reading goes on while bytes wait for their time: the delay costs no bandwidth."""
        waiting: deque[tuple[float, bytes]] = deque()
        ended = False
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(source, selectors.EVENT_READ)
            while waiting or not ended:
                pause = max(0.0, waiting[0][0] - time.monotonic()) if waiting else 1.0
                if ended:
                    time.sleep(pause)
                elif selector.select(pause):
                    chunk = source.recv(CHUNK)
                    ended = not chunk
                    waiting.append((time.monotonic() + self.delay, chunk))
                while waiting and waiting[0][0] <= time.monotonic():
                    chunk = waiting.popleft()[1]
                    if chunk:
                        target.sendall(chunk)
                    else:
                        target.shutdown(socket.SHUT_WR)
