"""Directories that only their owner can look into: control sockets, generated scripts, pace files."""

from __future__ import annotations

import contextlib
import os
import stat

from jobmgr.errors import RefusedError

LONGEST_PATH = 80
"""A socket's path has at most 107 bytes, and ssh adds 17 while it makes the socket."""


def default_control_dir() -> str:
    """``~/.jobmgr/ssh``, or ``/tmp/jobmgr-UID`` if a socket's path there would be too long."""
    path = os.path.join(os.path.expanduser("~"), ".jobmgr", "ssh")
    return path if len(path) + 17 <= LONGEST_PATH else f"/tmp/jobmgr-{os.geteuid()}"


def private_directory(path: str) -> str:
    """Make ``path`` (0700, with its parents) unless it is there, and return it.

    Raises :class:`~jobmgr.errors.RefusedError` if it is not a real directory, belongs to somebody
    else, or lets others in: whoever can write there could answer in the place of a host.
    """
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        os.makedirs(parent, mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        os.mkdir(path, 0o700)
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode):
        raise RefusedError(f"{path} is not a directory (a link does not count): move it away")
    if found.st_uid != os.geteuid():
        raise RefusedError(f"{path} belongs to user {found.st_uid}, not to you: move it away")
    if found.st_mode & 0o077:
        raise RefusedError(f"{path} can be entered by others: chmod 700 {path}")
    return path
