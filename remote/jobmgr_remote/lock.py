"""A lock between processes that works on every file system: flock, or an exclusively created file where there
is none.

Held for moments only (a spool's book-keeping, a journal's batch), never across a runner call.
"""

import errno
import fcntl
import os
import time

from jobmgr_remote import proc

NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)
#: A lock file whose holder cannot be looked at (another host) counts as left behind after so many seconds.
LEFT_BEHIND = 600.0


class Held(OSError):
    """Somebody else has the lock, and did not let go in time."""


class Lock(object):
    """``with Lock(path): ...``; waits at most ``timeout`` seconds (0 = ask once), then raises Held."""

    def __init__(self, path: str, timeout: float = 60.0) -> None:
        self.path = path
        self.timeout = timeout
        self._fd = -1
        self._held_file = ""

    def __enter__(self) -> "Lock":
        try:
            self._acquire()
        except BaseException:  # a long poll asks often: no descriptor may stay open
            self.__exit__()
            raise
        return self

    def __exit__(self, *exc: object) -> None:
        if self._held_file:
            _unlink(self._held_file)
            self._held_file = ""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def pass_on(self) -> None:
        """Leave it to the child that was forked while it was held: that one has it, and lets go of it."""
        self._held_file = ""
        self.__exit__()

    def fileno(self) -> int:
        """The descriptor; a program that inherits it has the lock as well, where there is flock."""
        return self._fd

    def _acquire(self) -> None:
        deadline = time.monotonic() + self.timeout
        pause = 0.002
        while not self._try():
            if time.monotonic() >= deadline:
                raise Held(
                    errno.EAGAIN, "another jobmgr call has been holding this lock for too long", self.path
                )
            time.sleep(pause)
            pause = min(pause * 2, 0.1)

    def _try(self) -> bool:
        if self._fd < 0:
            self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno in NO_LOCKS:
                return self._try_file()
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise

    def _try_file(self) -> bool:
        path = self.path + ".held"
        me = proc.own()
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except FileExistsError:
            if self._left_behind(path):
                _unlink(path)
            return False
        os.write(fd, ("%d %s %s\n" % (me.pid, me.start, proc.instance())).encode())
        os.close(fd)
        self._held_file = path
        return True

    def _left_behind(self, path: str) -> bool:
        try:
            with open(path) as file:
                words = file.read().split()
            age = time.time() - os.stat(path).st_mtime
        except OSError:
            return False
        if len(words) == 3 and words[0].isdigit() and words[2] == proc.instance():
            return not proc.is_alive(int(words[0]), words[1])
        return age > LEFT_BEHIND


def _unlink(path: str) -> None:
    try:
        os.unlink(path)
    except OSError:
        pass
