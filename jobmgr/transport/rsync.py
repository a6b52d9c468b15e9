"""Files from and to a host, by rsync (run through the ``sh`` package).

The names of files travel on stdin (``--files-from=- -0``), so that no name is ever part of a command
line. Links, devices and special files are never transferred, ownership and foreign permissions neither.
What is listed and gone meanwhile is no error (``--ignore-missing-args``).
"""

from __future__ import annotations

import importlib
import os
import re
import shlex
import shutil
import stat
import tempfile
import threading
import weakref
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from enum import Enum

from msgspec import Struct

from jobmgr.errors import RsyncError
from jobmgr.transport.base import Transport
from jobmgr.transport.environment import for_ssh
from jobmgr.transport.folders import Asked, by_folder
from jobmgr_remote import wire

OPTIONS = ("-rt", "--no-inc-recursive", "--no-links", "--no-devices", "--no-specials", "-s")
"""The names are known before it starts, so rsync goes through them as one list. By folders as they turn up, which is
its way, 4,000 names in 1,000 folders take it three times as long.
"""
PULLED_MODE = "--chmod=Du=rwx,Fu=rw,go="
PUSHED_MODE = "--chmod=Du=rwx,Fu+rw,go="
"""As pulled files, but a program of the suite stays one: ``u`` keeps its ``x`` (with ``-p``)."""
LISTED = ("--from0", "--files-from=-", "--ignore-missing-args")
PARTIAL = (23, 24)
"""rsync(1): some files could not be transferred (23), or vanished meanwhile (24)."""
INTERRUPTED = 20
"""rsync's exit code after SIGINT, SIGTERM or SIGHUP, as Ctrl-C sends it to all that runs on a terminal."""
IDLE_TIMEOUT = 120.0
END = 600
BEGINS = wire.RSYNC_BEGINS
MAX_NAMES = 128 * 1024
"""Bytes of paths in one command line of rsync, where the host does not take a list."""
_BEHIND_THE_MARK = f"""\
exec 3>&1
code=$({{ {{ SSH "$@" 4>&-; echo $? >&4; }} |
  while IFS= read -r line; do case $line in *{BEGINS}) exec cat ;; esac; done >&3 4>&-; }} 4>&1)
exit "$code"
"""


class RsyncResult(Struct, frozen=True):
    """``exit_code`` is 0, 23 or 24; ``stderr`` has rsync's last words on what it left out, up to END characters.

    ``refused``: names that were not asked for, because they could lead out of the local directory.
    """

    exit_code: int
    stderr: str
    refused: tuple[str, ...] = ()

    @property
    def partial(self) -> bool:
        return self.exit_code != 0

    def complaint(self, path: str) -> str:
        """The line of ``stderr`` that names a file, or the folder that it lies in; "" if none does."""
        folder = f'/{path.rpartition("/")[0]}"'
        return next((line for line in self.stderr.splitlines() if path in line or folder in line), "")

    @property
    def may_have_more(self) -> bool:
        """Whether there may have been more words than are kept: a file that none names may be one of those."""
        return len(self.stderr) >= END


class Listed(Struct, frozen=True):
    """One file as the host listed it.

    ``path`` is relative, ``size`` in bytes, ``kind`` is ``file``, ``link`` or another word.
    """

    path: str
    size: int
    kind: str = "file"


class Arrival(Enum):
    """What became of a listed file."""

    ARRIVED = "arrived"
    MISSING = "missing"
    TOO_LARGE = "too-large"
    IS_A_LINK = "is-a-link"


def arrival(listed: Listed, local_dir: str | Inside, max_size: int | None = None) -> Arrival:
    """Compare one listed file with what is here now (looks at the file, follows no link)."""
    inside = Inside(local_dir) if isinstance(local_dir, str) else local_dir
    if listed.kind != "file":
        return Arrival.IS_A_LINK if listed.kind == "link" else Arrival.ARRIVED
    if inside.holds(listed.path, listed.size):
        return Arrival.ARRIVED
    if max_size is not None and listed.size > max_size:
        return Arrival.TOO_LARGE
    return Arrival.MISSING


def missing(listing: Iterable[Listed], local_dir: str, max_size: int | None = None) -> tuple[Listed, ...]:
    """The listed files that should be here and are not, or not yet whole. Empty: retrieval is done.

    rsync's own ``--max-size`` leaves files out with exit 0, so its exit code does not tell.
    """
    return tuple(one for one in listing if arrival(one, local_dir, max_size) is Arrival.MISSING)


def is_safe_name(path: str) -> bool:
    """A relative path without ``..``, empty parts or NUL."""
    parts = path.split("/")
    return "\0" not in path and all(part not in ("", "..") for part in parts)


class Inside:
    """``path in Inside(local_dir)``: would it lie inside, with no symbolic link among the directories on the
    way? Each directory is looked at once in the life of this object.
    """

    def __init__(self, local_dir: str) -> None:
        self.local_dir = local_dir
        self._folders = {"": _REAL}

    def __contains__(self, path: str) -> bool:
        return is_safe_name(path) and self._folder(path.rpartition("/")[0]) != _LINKED

    def holds(self, path: str, size: int) -> bool:
        """Whether a regular file of at least this size is there, and inside."""
        if not is_safe_name(path) or self._folder(path.rpartition("/")[0]) != _REAL:
            return False
        try:
            found = os.lstat(f"{self.local_dir}/{path}")
        except OSError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_size >= size

    def _folder(self, folder: str) -> int:
        """What is there by the name of a folder; there is nothing below one that is absent or behind a link."""
        known = self._folders.get(folder)
        if known is None:
            known = self._folder(folder.rpartition("/")[0])
            if known == _REAL:
                known = _look(f"{self.local_dir}/{folder}")
            self._folders[folder] = known
        return known


_REAL, _ABSENT, _LINKED = range(3)


def _look(path: str) -> int:
    try:
        return _LINKED if stat.S_ISLNK(os.lstat(path).st_mode) else _REAL
    except OSError:
        return _ABSENT


def is_inside(local_dir: str, path: str) -> bool:
    """Would ``path`` lie inside ``local_dir``, with no symbolic link among the directories on the way?"""
    return path in Inside(local_dir)


def get_ready() -> None:
    """Load what a transfer runs through, beside what this thread does: best while a host is being asked."""
    threading.Thread(target=importlib.import_module, args=("sh",), daemon=True).start()


def pull(
    transport: Transport,
    remote_dir: str,
    local_dir: str,
    files: Sequence[str],
    *,
    alike: str = "",
    max_size: int | None = None,
    timeout: float = IDLE_TIMEOUT,
) -> RsyncResult:
    """Bring ``files`` (relative to ``remote_dir``, an absolute path) into ``local_dir``.

    A name that is a directory brings all of it. ``alike``: a folder below which many folders hold files of the
    same names, so that they may be asked for by folder (:func:`folders.by_folder` says what else that may bring).
    ``max_size`` in bytes per file; ``timeout`` is seconds without a byte. Nothing is written outside
    ``local_dir``, whatever the host sends: names that lead out of it, or through a link in it, are refused.
    Raises ConnectError as connecting does, RsyncError.
    """
    os.makedirs(local_dir, mode=0o700, exist_ok=True)
    inside = Inside(local_dir)
    wanted: list[str] = []
    out: list[str] = []
    for path in files:
        (wanted if path in inside else out).append(path)
    refused = tuple(out)
    limit = () if max_size is None else (f"--max-size={max_size}",)
    if not wanted or _same_directory(transport, remote_dir, local_dir):
        return RsyncResult(0, "", refused)
    asked = by_folder(wanted, alike) if alike else Asked(tuple(wanted))
    arguments = [*OPTIONS, PULLED_MODE, *limit, *(f"--filter={rule}" for rule in asked.rules)]
    if transport not in _WANT_PATHS:
        try:
            code, said = _rsync(
                transport, [*arguments, *LISTED], remote_dir, local_dir, timeout, pull=True, names=asked.paths
            )
            return RsyncResult(code, said, refused)
        except RsyncError as error:
            if wire.RSYNC_NAMES not in str(error):
                raise
            _WANT_PATHS.add(transport)
    return _pull_paths(transport, arguments, remote_dir, local_dir, asked.paths, timeout, refused)


_WANT_PATHS: weakref.WeakSet[Transport] = weakref.WeakSet()
"""Hosts where the key is restricted: paths are checked there before rsync starts, so a list that comes later
is refused."""


def _pull_paths(
    transport: Transport,
    arguments: Sequence[str],
    remote_dir: str,
    local_dir: str,
    names: Sequence[str],
    timeout: float,
    refused: tuple[str, ...],
) -> RsyncResult:
    """The same with the names as paths, in as many calls as they need."""
    worst, said = 0, ""
    portion: list[str] = []
    size = 0
    for name in [*names, None]:
        if portion and (name is None or size > MAX_NAMES):
            code, words = _rsync(
                transport,
                [*arguments, "-R", "--ignore-missing-args"],
                remote_dir,
                local_dir,
                timeout,
                pull=True,
                names=None,
                paths=portion,
            )
            worst, said = max(worst, code), (said + words)[-END:]
            portion, size = [], 0
        if name is not None:
            portion.append(name)
            size += len(os.fsencode(name)) + len(remote_dir) + len("jobmgr:/./")
    return RsyncResult(worst, said, refused)


def push(
    transport: Transport,
    local_dir: str,
    remote_dir: str,
    files: Sequence[str] | None = None,
    *,
    exclude: Sequence[str] = (),
    timeout: float = IDLE_TIMEOUT,
) -> RsyncResult:
    """Send ``files`` (relative to ``local_dir``; None: everything) into ``remote_dir``, an absolute path.

    ``exclude`` are rsync patterns (``/log/`` = that directory at the top). Files keep the owner's
    execute bit. Raises ConnectError as connecting does, RsyncError.
    """
    refused = tuple(path for path in files or () if not is_safe_name(path))
    wanted = None if files is None else [path for path in files if is_safe_name(path)]
    if wanted == [] or _same_directory(transport, remote_dir, local_dir):
        return RsyncResult(0, "", refused)
    patterns = [f"--exclude={pattern}" for pattern in exclude]
    arguments = [*OPTIONS, "-p", PUSHED_MODE, *patterns, *(LISTED if wanted is not None else ())]
    code, said = _rsync(transport, arguments, remote_dir, local_dir, timeout, pull=False, names=wanted)
    return RsyncResult(code, said, refused)


def _same_directory(transport: Transport, remote_dir: str, local_dir: str) -> bool:
    return transport.rsync_shell() is None and os.path.realpath(remote_dir) == os.path.realpath(local_dir)


def _rsync(
    transport: Transport,
    arguments: Sequence[str],
    remote_dir: str,
    local_dir: str,
    timeout: float,
    *,
    pull: bool,
    names: Sequence[str] | None,
    paths: Sequence[str] = (),
) -> tuple[int, str]:
    transport.connect()
    shell = transport.rsync_shell()
    # With "./" in front, a name that begins with # or ; is no comment of the list.
    listing = b"".join(b"./" + os.fsencode(name) + b"\0" for name in names or ())
    # The host's own name stands in the script: what rsync makes of "user@host" does not matter.
    there = f"jobmgr:{remote_dir}/" if shell is not None else f"{remote_dir}/"
    here = os.path.abspath(local_dir) + "/"
    sources = [f"{there}./{path}" for path in paths] or [there]
    ends = (*sources, here) if pull else (here, there)
    options = [*arguments, f"--timeout={max(1, round(timeout))}"]

    def once(noisy: bool) -> tuple[int, str]:
        with _shell_script(shell, noisy) as script:
            over = ("-e", script) if script is not None else ()
            mark = (f"--rsync-path=echo {BEGINS}; exec rsync",) if noisy else ()
            return _run(transport.host, [*options, *over, *mark, "--", *ends], listing)

    try:
        return once(noisy=False)
    except RsyncError as error:
        if shell is None or wire.RSYNC_NAMES in str(error) or not _UNCLEAN.search(str(error)):
            raise
    return once(noisy=True)


def _run(host: str, argv: list[str], stdin: bytes) -> tuple[int, str]:
    import sh

    try:
        program = sh.Command("rsync")
    except sh.CommandNotFound as exc:
        raise RsyncError("no rsync on this machine: install rsync") from exc
    try:
        done = program(
            *argv, _in=stdin, _env=for_ssh(), _ok_code=[0, *PARTIAL], _tty_out=False, _return_cmd=True
        )
    except sh.ErrorReturnCode as exc:
        raise _error(host, argv, exc.exit_code, exc.stderr.decode(errors="replace")) from exc
    return done.exit_code, done.stderr.decode(errors="replace")[-END:]


def _error(host: str, argv: list[str], code: int, stderr: str) -> RsyncError:
    if code == 127 or re.search(r"rsync: (command )?not found|Unknown command.*rsync|exec: rsync", stderr):
        return RsyncError(f"{host}: no rsync on the host: have it installed there (rsync exit {code})")
    if code == INTERRUPTED:
        return RsyncError(f"{host}: rsync was interrupted; the next time it goes on with what is missing")
    said = "; ".join(line.strip() for line in stderr.splitlines() if line.strip())[-END:]
    return RsyncError(f"{host}: rsync failed with exit {code}: {said or 'no message'}", ("rsync", *argv))


_UNCLEAN = re.compile(r"is your shell clean|unexplained error|protocol incompatibility")
"""What rsync says where a login shell prints something, or ends with a code of its own."""


@contextmanager
def _shell_script(argv: list[str] | None, noisy: bool) -> Iterator[str | None]:
    """A script that rsync can be given by ``-e``, which splits its value at spaces; None for no shell.

    ``noisy``: what comes before the mark is the login shell's, and does not reach rsync.
    """
    if argv is None:
        yield None
        return
    directory = tempfile.mkdtemp(prefix="jobmgr-rsync-", dir=_directory_without_spaces())
    try:
        path = os.path.join(directory, "shell")
        # rsync calls: SHELL HOST COMMAND...
        text = "#!/bin/sh\nshift\n" + (_BEHIND_THE_MARK if noisy else 'exec SSH "$@"\n')
        text = text.replace("SSH", shlex.join(argv))
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o700)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        yield path
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _directory_without_spaces() -> str:
    for path in (tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"):
        if not re.search(r"\s", path) and os.access(path, os.W_OK | os.X_OK):
            return path
    raise RsyncError("no temporary directory without a space in its name: set TMPDIR")
