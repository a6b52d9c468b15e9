"""Transport ``local``: this machine, without SSH. The same command lines, by ``/bin/sh``."""

from __future__ import annotations

import os
import subprocess

from jobmgr.errors import ConnectError, IdleTimeout
from jobmgr.transport.base import Completed, Hold, OnChunk
from jobmgr.transport.environment import outliving, scrubbed
from jobmgr.transport.pump import Silence, close_pipes, exit_code, pump, reap_later


class Local:
    """Runs command lines on this machine, each in a session of its own, in the home directory.

    ``home`` replaces ``HOME`` for the commands; default: the user's own.
    """

    name = "local"

    def __init__(self, host: str = "localhost", *, home: str | None = None) -> None:
        self.host = host
        self._home = home

    def connect(self) -> None:
        """There is nothing to connect to."""

    def run(
        self,
        command: str,
        stdin: bytes = b"",
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        on_chunk: OnChunk | None = None,
    ) -> Completed:
        process = self._start(command)
        try:
            code, out, err = pump(_Child(process), stdin, hold, idle_timeout, on_chunk)
        except Silence as exc:
            raise IdleTimeout(f"{self.host}: no answer for {idle_timeout:g} s") from exc
        finally:
            close_pipes(process.stdin, process.stdout, process.stderr)
            if process.poll() is None:
                reap_later(process)
        return Completed(exit_code(code), out, err)

    def _start(self, command: str) -> subprocess.Popen[bytes]:
        environ = outliving(scrubbed())
        if self._home is not None:
            environ["HOME"] = self._home
        home = environ.get("HOME") or os.path.expanduser("~")
        try:
            return subprocess.Popen(
                ["/bin/sh", "-c", command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                env=environ,
                cwd=home if os.path.isdir(home) else "/",
                start_new_session=True,
            )
        except OSError as exc:
            raise ConnectError(f"{self.host}: cannot start /bin/sh: {exc.strerror}") from exc

    def rsync_shell(self) -> list[str] | None:
        return None

    def close(self) -> None:
        """There is nothing to let go of."""


class _Child:
    """A process as :func:`pump` wants it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        self.stdin, self.stdout, self.stderr = process.stdin, process.stdout, process.stderr
        self._process = process

    def wait(self, timeout: float) -> int:
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise Silence from None
