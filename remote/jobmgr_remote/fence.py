"""What makes a submit happen once: the journal, claims, revocation, and the small files beside a job.

``.service/journal``      one line per job that was about to be given to its runner, made durable before that
``.service/jobs/TOKEN/``  ``claim`` (exactly one start of the job wins it, or a revocation does),
``native-id``, ``killed``

Order matters. A token stands in the journal, on disk, before its runner is called; so a token that is not in
the journal was never given to a runner. A start claims its token before it does anything else; so a token
that could be revoked has not started and cannot start any more.
"""

import errno
import os
import time

from jobmgr_remote import layout, proc, wire
from jobmgr_remote.lock import Lock
from jobmgr_remote.records import namedtuple
from jobmgr_remote.session import read_small, write_all, write_beside, write_new

#: The holder of a token: ``state`` is wire.C_*; the rest is set for C_STARTED and may be "" or 0.
Claim = namedtuple("Claim", "state native_id pid start instance hostname")
#: Who was about to submit what, where, and when (seconds since the epoch): one line of the journal.
Entry = namedtuple("Entry", "token job runner time pid start instance hostname")

REVOKED = "revoked"
NO_CLAIM = Claim(wire.C_NONE, "", 0, "", "", "")
#: A claim is created first and filled at once; a reader that comes in between looks again, for so long
#: (seconds).
FILLING = 0.05


def token_file(run_dir: str, token: str, name: str) -> str:
    """The absolute path of a file of the token."""
    return run_dir + "/" + layout.token_dir(token) + "/" + name


# --- claims ----------------------------------------------------------------------------------------


def read_claim(run_dir: str, token: str) -> Claim:
    """Who holds the token. The claim of any element of a job array counts."""
    deadline = time.monotonic() + FILLING
    while True:
        text = _claim_text(run_dir, token)
        if text is None:
            return NO_CLAIM
        if text.endswith("\n") or time.monotonic() >= deadline:
            return parse_claim(text)
        time.sleep(0.002)


def _claim_text(run_dir: str, token: str) -> "str | None":
    """The claim's text; that of an array's element goes before a revocation, which came too late for it."""
    path = token_file(run_dir, token, layout.CLAIM)
    text = None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        pass
    else:
        try:
            text = os.read(fd, 4096).decode("utf-8", "replace")
        finally:
            os.close(fd)
    if text is None or text.strip() == REVOKED:
        for name in _element_claims(os.path.dirname(path)):
            return read_small(os.path.join(os.path.dirname(path), name), 4096)
    return text


def _element_claims(folder: str) -> "list[str]":
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(name for name in names if name[len(layout.CLAIM) + 1 :].isdigit())


def parse_claim(text: str) -> Claim:
    """``NATIVE_ID PID START INSTANCE HOSTNAME`` or ``revoked``; a torn claim is a start that is not known
    further.
    """
    words = text.split()
    if words == [REVOKED]:
        return Claim(wire.C_REVOKED, "", 0, "", "", "")
    words += [""] * (5 - len(words))
    pid = int(words[1]) if words[1].isdigit() else 0
    return Claim(wire.C_STARTED, words[0], pid, words[2], words[3], words[4])


def revoke(run_dir: str, token: str) -> bool:
    """Make sure that the job can never start. False if it has started already (or was claimed otherwise).

    True if the token is revoked, by this call or an earlier one. Raises OSError if the host cannot write.
    """
    folder = run_dir + "/" + layout.token_dir(token)
    make_folders(folder)
    path = folder + "/" + layout.CLAIM
    created = _create_whole(path, REVOKED + "\n")
    if created and _element_claims(folder):
        os.unlink(path)  # elements of a job array have started; the others may
        return False
    return read_claim(run_dir, token).state == wire.C_REVOKED


def _create_whole(path: str, text: str) -> bool:
    """Create a file that nobody ever sees half-written; False if it was there already."""
    temporary = "%s.%d.tmp" % (path, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        try:
            write_all(fd, text.encode())
        finally:
            os.close(fd)
        try:
            os.link(temporary, path)
            return True
        except FileExistsError:
            return _same_file(temporary, path)  # an NFS server may say so of our own link
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK):
                raise
    finally:
        os.unlink(temporary)
    return create_directly(path, text)


def _same_file(one: str, other: str) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False


def create_directly(path: str, text: str) -> bool:
    """Create a file exclusively, content after; False if it was there already."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        return False
    try:
        write_all(fd, text.encode())
    finally:
        os.close(fd)
    return True


# --- the journal -----------------------------------------------------------------------------------


def journal_lock(run_dir: str) -> Lock:
    """Held while a batch is prepared and written into the journal, so that one request sent twice meets
    itself.
    """
    return Lock(run_dir + "/" + layout.JOURNAL_FILE + ".lock")


def read_journal(run_dir: str) -> "dict[str, Entry]":
    """The latest entry of each token that has not been released.

    A line that is torn or not understood is left out.
    """
    found = {}
    try:
        with open(run_dir + "/" + layout.JOURNAL_FILE, "rb") as file:
            for raw in file:
                entry = parse_entry(raw)
                if entry is not None and entry.pid:
                    found[entry.token] = entry
                elif entry is not None:
                    found.pop(entry.token, None)
    except (FileNotFoundError, NotADirectoryError):
        pass
    return found


def parse_entry(raw: bytes) -> "Entry | None":
    """One line of the journal: ``TOKEN JOB RUNNER TIME PID START INSTANCE HOSTNAME``."""
    words = raw.decode("utf-8", "replace").split()
    if not raw.endswith(b"\n") or len(words) != 8 or not layout.is_token(words[0]) or not words[4].isdigit():
        return None
    try:
        seconds = float(words[3])
    except ValueError:
        return None
    return Entry(words[0], words[1], words[2], seconds, int(words[4]), words[5], words[6], words[7])


def format_entry(entry: Entry) -> str:
    """The line that :func:`parse_entry` reads."""
    return "%s %s %s %.3f %d %s %s %s\n" % entry


def append_journal(run_dir: str, entries: "list[Entry]") -> None:
    """Write a batch and make it durable: one sync of the file, one of its folder.

    Raises OSError; then nothing counts.
    """
    path = run_dir + "/" + layout.JOURNAL_FILE
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
        text = ("\n" if torn else "") + "".join(format_entry(entry) for entry in entries)
        try:
            write_all(fd, text.encode())
            os.fsync(fd)
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
    sync_folder(os.path.dirname(path))


def release(run_dir: str, jobs: "list[tuple[str, str, str]]") -> None:
    """Note that these (token, job, runner) were certainly not queued.

    Without it they are merely in doubt; so no error counts.
    """
    if not jobs:
        return
    data = "".join(
        format_entry(Entry(token, job, runner, time.time(), 0, "-", "-", "-")) for token, job, runner in jobs
    )
    try:
        fd = os.open(run_dir + "/" + layout.JOURNAL_FILE, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    except OSError:
        return
    try:
        write_all(fd, data.encode())
    except OSError:
        pass
    finally:
        os.close(fd)


def sync_folder(path: str) -> None:
    """Make a folder's entries durable, where the file system lets one."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EROFS, errno.ENOTSUP):
            raise
    finally:
        os.close(fd)


def submitter_lives(entry: "Entry | None") -> bool:
    """Whether the process that was about to submit may still be at it."""
    if entry is None or not proc.same_instance(entry.instance, proc.instance()):
        return False
    return entry.pid != os.getpid() and proc.is_alive(entry.pid, entry.start)


# --- native id and kill mark -----------------------------------------------------------------------


def write_native_id(run_dir: str, token: str, native_id: str) -> None:
    """Record the runner's own name of the job."""
    make_folders(run_dir + "/" + layout.token_dir(token))
    write_beside(token_file(run_dir, token, layout.NATIVE_ID), native_id + "\n")


def read_native_id(run_dir: str, token: str) -> str:
    """The recorded native id, or ""."""
    return read_small(token_file(run_dir, token, layout.NATIVE_ID), 4096).strip()


def write_kill_mark(run_dir: str, token: str, time_text: str) -> None:
    """Leave word that somebody wants this job dead, so that nobody retries it."""
    path = token_file(run_dir, token, layout.KILL_MARK)
    try:
        try:
            write_new(path, time_text + "\n")
        except FileNotFoundError:
            make_folders(os.path.dirname(path))
            write_new(path, time_text + "\n")
    except FileExistsError:  # it was wanted dead already
        pass


def has_kill_mark(run_dir: str, token: str) -> bool:
    """Whether somebody has asked for the job's death."""
    return os.path.exists(token_file(run_dir, token, layout.KILL_MARK))


def make_folders(path: str) -> bool:
    """Make a folder and what is missing above it, all private (0700). True if it was made now."""
    try:
        os.mkdir(path, 0o700)
        return True
    except FileExistsError:
        return False
    except FileNotFoundError:
        make_folders(os.path.dirname(path))
    try:
        os.mkdir(path, 0o700)
        return True
    except FileExistsError:
        return False
