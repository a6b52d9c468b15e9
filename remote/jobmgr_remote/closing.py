"""How the attempt of a job without a wrapper is closed in its job.status: by its slot, or by a jobs-kill that does the
slot's last duty.
"""

import os

from jobmgr_remote import fence, layout, session, status, wire

#: Bytes of job.status in which a job's first and last lines are looked for.
PART = 65536
APPEND = os.O_WRONLY | os.O_CREAT | os.O_APPEND
#: The record of a job that was killed.
KILLED = status.SIGNAL + "/TERM"


class Closing(object):
    """The end of the attempt of the process ``pid``."""

    def __init__(self, run_dir: str, job: str, token: str, pid: int) -> None:
        self.run_dir = run_dir
        self.token = token
        self.pid = pid
        self.path = run_dir + "/" + layout.job_file(job, layout.STATUS_FILE)
        self._before = b""

    def missing(self, start_time: str) -> "str | None":
        """What job.status lacks of the lines that open the attempt; None if there is nothing to record: the shell
        did not win the claim, or a wrapper or another one has recorded all of it.
        """
        self._before = data = self.read()
        at = data.rfind(("\n" + status.line(status.PID, str(self.pid))).encode())
        if at >= 0:
            return None if data.find(("\n%s%s=" % (status.PREFIX, status.EXIT)).encode(), at) >= 0 else ""
        claim = fence.read_claim(self.run_dir, self.token)
        if claim.state != wire.C_STARTED or claim.pid != self.pid:
            return None
        who = (claim.pid, claim.start, claim.instance, claim.hostname, claim.native_id)
        return status.opening(1, *who, start_time=start_time)

    def read(self) -> bytes:
        """job.status; of a very long one, its head and its tail."""
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = os.read(fd, PART)
                if len(data) == PART and os.lseek(fd, 0, os.SEEK_END) > PART:
                    os.lseek(fd, -PART, os.SEEK_END)
                    data += os.read(fd, PART)
                return data
            finally:
                os.close(fd)
        except OSError:
            return b""

    def write(self, text: str) -> bool:
        """Append the last lines, right after :meth:`missing`; False if that cannot be done."""
        return self._append(self._before, text)

    def write_again(self, text: str) -> bool:
        """Another attempt, after one that failed."""
        return self._append(self.read(), text)

    def _append(self, before: bytes, text: str) -> bool:
        # A torn line that somebody left on a full disk must not swallow what follows: an empty line says so.
        torn = not before.endswith(b"\n")
        return append(self.path, (("\n\n" if torn else "") + text).encode())


def lines(elapsed: float, cpu: float, record: str) -> str:
    """The lines that close an attempt now; times in seconds."""
    return status.closing(elapsed, cpu, session.utc_milliseconds(), record)


def append(path: str, data: bytes) -> bool:
    """Append to a file, all of it in one write; False if that cannot be done."""
    try:
        fd = os.open(path, APPEND | os.O_CLOEXEC, 0o600)
        try:
            return os.write(fd, data) == len(data)
        finally:
            os.close(fd)
    except OSError:
        return False
