"""What ``ssh -G`` has said is kept as long as it would say the same: each question is a process, per host and command.

What is kept counts while ssh itself, and every file and folder that it has looked into, are what they were, and for
:data:`LIFE` at most. Kept is only what follows from these files, the host's name and the options: a configuration that
asks something else (``Match exec``, ``CanonicalizeHostname``, ``${VARIABLE}``, see :func:`looked_into`) is asked for
each time. The folder is that of the shared connections, which nobody else can write to (private_dir.py): the
settings name programs that are run.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec

from jobmgr import __version__
from jobmgr.errors import RefusedError
from jobmgr.transport.private_dir import default_control_dir, private_directory
from jobmgr.transport.ssh_settings import SshOptions, SshSettings, ask, split_words

LIFE = 3600.0
"""Seconds after which ssh is asked again in any case."""
SETTLED = 2.0
"""A file that was changed within so many seconds before it was read may be changed again under the same times."""
SYSTEM_FILE = "/etc/ssh/ssh_config"
LONGEST_NAME = 200
"""ssh cuts longer ones when it tells which files it reads."""
PREFIX = "settings-"
_READS = re.compile(r"^debug1: Reading configuration data (.*?)\r?$", re.M)
_BY_NAME = {"all", "host", "originalhost", "user", "localuser"}
"""What a ``Match`` may ask without looking beyond the command line."""

Stamp = tuple[int, int, int, int] | None
"""Size, times of change in ns, and inode of a file; None: it is not there."""


def read_settings(host: str, options: SshOptions) -> SshSettings:
    """What ``ssh -G`` says, or has said while that still counts. Raises ConnectError if ssh is missing or refuses its
    configuration, UsageError for what is no name of a host.
    """
    path = path_of(host, options.argv(), options.control_dir, os.environ)
    known = recall(path) if path else None
    if known is None:
        began = time.time_ns()
        known, said = ask(host, options)
        if path:
            keep(path, known, said, options.config_file, began)
    return known


class _Kept(msgspec.Struct):
    stamps: dict[str, Stamp]
    settings: SshSettings


def path_of(host: str, argv: Iterable[str], control_dir: str | None, environ: Mapping[str, str]) -> str | None:
    """Where the answer to this question is kept; ``argv``: the options that were given to ssh. None: nowhere, since
    the folder is not private or cannot be made, which is told when a connection is wanted.
    """
    try:
        folder = private_directory(control_dir or default_control_dir())
    except (RefusedError, OSError):
        return None
    who = (os.getuid(), *map(environ.get, ("HOME", "USER", "PATH")), os.uname().nodename)
    question = (__version__, host, tuple(argv), who)
    return f"{folder}/{PREFIX}{hashlib.sha256(repr(question).encode()).hexdigest()[:24]}"


def recall(path: str) -> SshSettings | None:
    """What was kept, if nothing that it was made from has changed."""
    try:
        with open(path, "rb") as file:
            age = time.time() - os.fstat(file.fileno()).st_mtime
            kept = msgspec.json.decode(file.read(), type=_Kept)
    except (OSError, msgspec.MsgspecError):
        return None
    fresh = 0 <= age < LIFE and all(stamp(name) == was for name, was in kept.stamps.items())
    return kept.settings if fresh else None


def keep(path: str, settings: SshSettings, said: str, config_file: str | None, began: int) -> None:
    """Keep what ssh has just said, for :func:`recall`; ``said``: its stderr under ``-v``, ``began``: when it was asked
    (ns). Raises nothing.
    """
    with contextlib.suppress(OSError, UnicodeDecodeError):
        names = looked_into(_READS.findall(said), config_file)
        if names is None:
            return
        import shutil

        stamps = {name: stamp(name) for name in [*names, shutil.which("ssh") or ""]}
        if any(one and max(one[1:3]) > began - SETTLED * 1e9 for one in stamps.values()):
            return
        _forget_old(path)
        beside = f"{path}.{os.getpid()}"
        with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(msgspec.json.encode(_Kept(stamps, settings)))
        os.replace(beside, path)


def stamp(name: str) -> Stamp:
    """What changes with a file, or with what is in a folder."""
    try:
        found = os.stat(name)
    except OSError:
        return None
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def looked_into(read: list[str], config_file: str | None) -> list[str] | None:
    """All files and folders that an answer depends on, by the files that ssh has read; None if it depends on more.

    A file that ``Include`` might find later shows in the time of its folder. Raises OSError or UnicodeDecodeError for
    what cannot be read.
    """
    home = os.path.expanduser("~")
    names = [config_file] if config_file else [f"{home}/.ssh/config", SYSTEM_FILE]
    for name in read:
        if len(name) >= LONGEST_NAME:
            return None
        for line in Path(name).read_text(encoding="utf-8").splitlines():
            folders = _folders(line, f"{home}/.ssh" if not name.startswith("/etc/ssh/") else "/etc/ssh", home)
            if folders is None:
                return None
            names += folders
    names += read
    if not all(os.path.isabs(name) for name in names):
        return None
    return list(dict.fromkeys(names))


def _folders(line: str, base: str, home: str) -> list[str] | None:
    """The folders that a line has ssh look for files in; None if it has it look elsewhere than into files."""
    found = re.match(r"\s*(\w+)(?:\s*=\s*|\s+)(.*)", line)
    if found is None:
        return []
    keyword, rest = found[1].lower(), found[2]
    if "${" in rest:
        return None
    if keyword == "canonicalizehostname":
        return [] if rest.strip().lower() in ("no", '"no"') else None
    if keyword == "match":
        return [] if _asks_names_only(rest) else None
    if keyword != "include":
        return []
    folders = []
    for word in split_words(rest):
        path = os.path.join(base, home + word[1:] if word.startswith("~/") else word)
        folder = os.path.dirname(path)
        if (word.startswith("~") and not word.startswith("~/")) or re.search(r"[*?\[%]", folder):
            return None
        folders.append(folder)
    return folders


def _asks_names_only(criteria: str) -> bool:
    words = re.split(r"\s+|=", criteria.strip().lower())
    while words:
        word = words.pop(0).lstrip("!")
        if word not in _BY_NAME:
            return False
        if word != "all":
            words = words[1:]
    return True


def _forget_old(path: str) -> None:
    folder = os.path.dirname(path)
    for name in os.listdir(folder):
        old = f"{folder}/{name}"
        with contextlib.suppress(OSError):
            if name.startswith(PREFIX) and time.time() - os.stat(old).st_mtime > LIFE:
                os.unlink(old)
