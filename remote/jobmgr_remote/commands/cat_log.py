"""cat-log: one log of a job. Modes: ``cat``, ``follow``, ``list``, ``path``.

Options: ``job``, ``token`` (optional: refuse if the job's directory belongs to another), ``file`` (``out``,
``err``, ``job``, ``status``, ``activity`` or any name in the job's log directory), ``mode``, ``offset``
(bytes), ``tail_lines`` (begin with the last N lines instead), ``max_bytes`` (0 or null: all).

Replies are data lines: ``{"b64": ..., "offset": where it begins}``, ``{"name", "size", "time"}`` for each
file, or ``{"path": ...}``. A follow ends when stdin ends, when the caller is gone, or when the job has an
exit record and the file is at its end.
"""

import os
import stat

from jobmgr_remote import layout, status, wire
from jobmgr_remote.session import Host, Refused, Reply

NAMES = {
    "out": layout.OUT_FILE, "err": layout.ERR_FILE, "job": layout.JOB_FILE, "status": layout.STATUS_FILE,
    "activity": layout.ACTIVITY_FILE,
}
#: Bytes per data line, before base64 makes four of three.
CHUNK = wire.MAX_DATA // 4 * 3
MAX_LISTED = 10000
#: Seconds between two looks of a follow: short while something comes, longer while nothing does.
FIRST_PAUSE, LAST_PAUSE = 0.1, 1.0


def run(request: wire.Request, reply: Reply, host: Host) -> None:
    """Answer the request. Refuses a job or file that is not there."""
    options = request.options
    folder = job_folder(host, options)
    mode = options.get("mode") or "cat"
    if mode == "list":
        for entry in list_files(folder):
            reply.data(entry)
        return
    path = file_path(folder, options.get("file") or "out")
    if mode == "path":
        if not os.path.lexists(path):
            raise Refused(wire.E_NOT_FOUND, "no such file: %s" % path)
        reply.data({"path": path})
    elif mode == "cat":
        cat(reply, folder, path, options)
    elif mode == "follow":
        Follower(reply, host, folder, path).run(options)
    else:
        raise Refused(wire.E_USAGE, "unknown mode %r (known: cat, follow, list, path)" % (mode,))


def job_folder(host: Host, options: dict) -> str:
    """The job's log directory, absolute. Raises Refused."""
    job = options.get("job")
    try:
        layout.split_job_id(job)
    except ValueError as error:
        raise Refused(wire.E_USAGE, str(error))
    folder = host.path(layout.job_dir(job))
    if not os.path.isdir(folder):
        raise Refused(wire.E_NOT_FOUND, "no such job here: %s" % job)
    token = options.get("token")
    if token and own_token(folder) not in ("", token):
        raise Refused(wire.E_FOREIGN, "%s belongs to another submit" % folder)
    return folder


def own_token(folder: str) -> str:
    """The token in the folder's job.status; "" if there is none to read."""
    try:
        with open(folder + "/" + layout.STATUS_FILE, "rb") as stream:
            return status.parse(stream.read(4096)).facts.get(status.TOKEN, "")
    except (OSError, status.Unreadable):
        return ""


def file_path(folder: str, name: object) -> str:
    """The absolute path of a file below the job's log directory.

    Raises Refused for one that would lead outside.
    """
    try:
        path = folder + "/" + layout.check_relative(NAMES.get(name, name))  # type: ignore[call-overload]
    except (ValueError, TypeError, AttributeError):
        raise Refused(wire.E_USAGE, "not a file of the job's log directory: %r" % (name,))
    inside = os.path.realpath(folder) + "/"
    if not os.path.realpath(path).startswith(inside):
        raise Refused(wire.E_USAGE, "leads out of the job's log directory: %r" % (name,))
    return path


def list_files(folder: str) -> "list[dict]":
    """Name (relative), size and time of change (seconds) of each file, sorted by name."""
    found = []
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            path = parent + "/" + name
            try:
                info = os.lstat(path)
            except FileNotFoundError:
                continue
            if stat.S_ISREG(info.st_mode):
                name = os.path.relpath(path, folder)
                found.append({"name": name, "size": info.st_size, "time": info.st_mtime})
        if len(found) >= MAX_LISTED:
            break
    found.sort(key=lambda entry: entry["name"])
    return found[:MAX_LISTED]


def open_log(path: str) -> object:
    """The file for reading, or None if it is not there. Raises Refused if it is no regular file."""
    try:
        # O_NONBLOCK: a pipe of that name must not hold us.
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Refused(wire.E_NOT_FOUND, "not a regular file: %s" % path)
    return os.fdopen(fd, "rb", 0)


def send(reply: Reply, data: bytes, offset: int) -> None:
    """One data line."""
    import binascii

    reply.data({"b64": binascii.b2a_base64(data).decode("ascii").rstrip("\n"), "offset": offset})


def number(options: dict, key: str) -> int:
    """A count among the options, 0 if it is not given. Raises Refused."""
    value = options.get(key)
    if value is None:
        return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise Refused(wire.E_USAGE, "%s: not a count: %r" % (key, value))
    return value


def start_offset(stream: object, options: dict) -> int:
    """Where to begin: the offset asked for, or where the last lines begin."""
    if options.get("tail_lines") is None:
        return number(options, "offset")
    return tail_offset(stream, number(options, "tail_lines"))


def tail_offset(stream: object, lines: int) -> int:
    """Where the last ``lines`` lines of a file begin. A last line without a newline counts as one."""
    end = stream.seek(0, os.SEEK_END)  # type: ignore[attr-defined]
    if lines == 0:
        return int(end)
    at = end
    wanted = lines
    while at > 0:
        size = min(65536, at)
        at -= size
        stream.seek(at)  # type: ignore[attr-defined]
        block = stream.read(size)  # type: ignore[attr-defined]
        stop = len(block)
        if at + size == end and block.endswith(b"\n"):
            stop -= 1
        while True:
            stop = block.rfind(b"\n", 0, stop)
            if stop < 0:
                break
            wanted -= 1
            if wanted == 0:
                return int(at + stop + 1)
    return 0


def cat(reply: Reply, folder: str, path: str, options: dict) -> None:
    """The file from the place asked for to its end as it was at the beginning."""
    stream = open_log(path)
    if stream is None:
        raise Refused(wire.E_NOT_FOUND, "no such file: %s" % path)
    try:
        offset = start_offset(stream, options)
        end = os.fstat(stream.fileno()).st_size  # type: ignore[attr-defined]
        limit = number(options, "max_bytes")
        if limit:
            end = min(end, offset + limit)
        stream.seek(offset)  # type: ignore[attr-defined]
        while offset < end and not reply.closed:
            data = stream.read(min(CHUNK, end - offset))  # type: ignore[attr-defined]
            if not data:
                break
            send(reply, data, offset)
            offset += len(data)
    finally:
        stream.close()  # type: ignore[attr-defined]


class Follower(object):
    """Follows one file, through its late appearance, truncation and replacement."""

    def __init__(self, reply: Reply, host: Host, folder: str, path: str) -> None:
        self.reply = reply
        self.host = host
        self.folder = folder
        self.path = path
        self.stream = None  # type: object
        self.offset = 0
        self._status_state = None  # type: object
        self._finished = False

    def run(self, options: dict) -> None:
        """Until the reader leaves or the job has ended."""
        self.stream = open_log(self.path)
        if self.stream is not None:
            self.offset = start_offset(self.stream, options)
        pause = FIRST_PAUSE
        try:
            while not self.reply.closed:
                finished = self.job_finished()  # before the look, so that the look sees the last bytes
                if self.copy():
                    pause = FIRST_PAUSE
                    continue
                if finished:
                    return
                self.reply.progress()
                if self.host.stdin_ended(pause):
                    return
                pause = min(LAST_PAUSE, pause * 2)
        finally:
            if self.stream is not None:
                self.stream.close()  # type: ignore[attr-defined]

    def copy(self) -> bool:
        """Send what is new; whether there was anything, or a new file."""
        if self.stream is None:
            self.stream = open_log(self.path)
            if self.stream is None:
                return False
        info = os.fstat(self.stream.fileno())  # type: ignore[attr-defined]
        if info.st_size < self.offset:
            self._tell("truncated", "was cut")
            self.offset = 0
        self.stream.seek(self.offset)  # type: ignore[attr-defined]
        data = self.stream.read(CHUNK)  # type: ignore[attr-defined]
        if data:
            send(self.reply, data, self.offset)
            self.offset += len(data)
            return True
        return self._replaced(info)

    def _replaced(self, info: os.stat_result) -> bool:
        try:
            now = os.stat(self.path)
        except FileNotFoundError:
            return False
        if (now.st_dev, now.st_ino) == (info.st_dev, info.st_ino):
            return False
        self.stream.close()  # type: ignore[attr-defined]
        self.stream = None
        self.offset = 0
        self._tell("replaced", "is a new file")
        return True

    def _tell(self, code: str, text: str) -> None:
        self.reply.note("info", code, "%s %s; from its beginning:" % (os.path.basename(self.path), text))

    def job_finished(self) -> bool:
        """Whether the job has an exit record, or its directory is gone."""
        if self._finished:
            return True
        path = self.folder + "/" + layout.STATUS_FILE
        try:
            info = os.stat(path)
            state = (info.st_ino, info.st_size)
            if state != self._status_state:
                self._status_state = state
                with open(path, "rb") as stream:
                    self._finished = bool(status.parse(stream.read()).facts.get(status.EXIT))
        except FileNotFoundError:
            self._finished = not os.path.isdir(self.folder)
        except status.Unreadable:
            pass
        return self._finished
