"""Suite source files: which they are, and how they get into the run directory at home.

Hosts get them from there by rsync (``service/remote_init.py``). What is installed is a list of paths relative
to the run directory, kept in ``.service/installed``, so that a file which has left the source leaves the run
directory too, and nothing else ever does.
"""

from __future__ import annotations

import base64
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from jobmgr.errors import UsageError

VCS = frozenset({".git", ".svn", ".hg", ".bzr", "CVS", "_darcs"})
NEVER_AT_TOP = frozenset({"log", "work", "share", ".service"})
_INSTALLED = ".service/installed"
FEW = 50
"""Files, of :data:`SMALL` bytes in all, that travel with ``remote-init``; what is more goes by rsync."""
SMALL = 65536


def source_files(root: Path, patterns: Sequence[str], always: Iterable[str] = ()) -> list[str]:
    """The files of a suite source that belong into a run directory, as sorted relative paths.

    Without ``patterns`` everything counts but version control and the run directory's own ``log``, ``work``,
    ``share`` and ``.service``. A pattern is a glob on the relative path; one that names a folder means all
    below it. ``always`` are paths that belong whatever the patterns say (script files, inputs). Symbolic
    links are followed; a loop of them is cut.
    """
    wanted = [pattern.rstrip("/") for pattern in patterns]
    found = [
        path
        for path in _walk(root)
        if not wanted
        or any(
            fnmatchcase(path, p) or fnmatchcase(path, p + "/*") or path.startswith(p + "/") for p in wanted
        )
    ]
    for path in always:
        below = root / path
        if below.is_dir():
            found.extend(f"{path.rstrip('/')}/{inner}" for inner in _walk(below))
        elif below.is_file():
            found.append(path)
    return sorted(set(found))


def _walk(root: Path) -> Iterator[str]:
    seen: set[str] = set()
    for folder, folders, files in os.walk(root, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        at_top = folder == str(root)
        folders[:] = sorted(f for f in folders if f not in VCS and not (at_top and f in NEVER_AT_TOP))
        relative = os.path.relpath(folder, root)
        for name in sorted(files):
            if name in VCS or (at_top and name in NEVER_AT_TOP):
                continue
            path = name if relative == "." else f"{relative}/{name}"
            if os.path.isfile(os.path.join(folder, name)):
                yield path


def install_source(root: Path, run_dir: Path, files: Sequence[str]) -> int:
    """Bring the run directory up to date with the source; returns the number of files that changed.

    Raises UsageError if a file cannot be read or written.
    """
    if root.resolve() == run_dir.resolve():
        return 0
    changed = 0
    try:
        for path in files:
            changed += _copy(root / path, run_dir / path)
        for gone in set(installed_files(run_dir)) - set(files):
            (run_dir / gone).unlink(missing_ok=True)
            changed += 1
        record = run_dir / _INSTALLED
        beside = record.with_suffix(".new")
        beside.touch(mode=0o600)
        beside.write_text("".join(f"{path}\n" for path in files), encoding="utf-8", errors="surrogateescape")
        os.replace(beside, record)
    except OSError as error:
        raise UsageError(
            f"cannot install {root} into {run_dir}: {error.strerror or error} ({error.filename})"
        ) from error
    return changed


def installed_files(run_dir: Path) -> list[str]:
    """What was installed into a run directory, as relative paths."""
    try:
        text = (run_dir / _INSTALLED).read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        return []
    return text.splitlines()


def private_folders(folder: str | Path) -> None:
    """Make a folder and those above it that are missing, each for its owner alone, whatever the umask."""
    try:
        os.mkdir(folder, 0o700)
    except FileNotFoundError:
        private_folders(os.path.dirname(folder))
        private_folders(folder)
    except OSError:
        if not os.path.isdir(folder):
            raise


def _copy(source: Path, target: Path) -> int:
    there = source.stat()
    try:
        here = target.lstat()
    except FileNotFoundError:
        pass
    else:
        if here.st_size == there.st_size and here.st_mtime_ns == there.st_mtime_ns:
            return 0
    private_folders(target.parent)
    beside = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, beside)
    os.chmod(beside, 0o700 if there.st_mode & 0o100 else 0o600)
    os.utime(beside, ns=(there.st_atime_ns, there.st_mtime_ns))
    os.replace(beside, target)
    return 1


def digest(run_dir: Path, files: Iterable[str]) -> str:
    """A short name for this state of the installed files (paths, sizes, times), to know whether a host is up
    to date.
    """
    state = hashlib.sha256()
    for path in files:
        try:
            info = os.stat(run_dir / path)
        except FileNotFoundError:
            continue
        state.update(f"{path}\0{info.st_size}\0{info.st_mtime_ns}\n".encode(errors="surrogateescape"))
    return state.hexdigest()[:16]


def few_and_small(run_dir: Path, files: Sequence[str]) -> list[dict[str, Any]] | None:
    """The installed files as ``remote-init`` takes them along, if they are few and small; None: rsync is better
    at it. Names that not every host can write in its own encoding are rsync's too. Without rsync here nothing
    could be brought home: then there is no way around its complaint.
    """
    if len(files) > FEW or not all(path.isascii() and path.isprintable() for path in files):
        return None
    if shutil.which("rsync") is None:
        return None
    taken = []
    left = SMALL
    for path in files:
        try:
            with open(run_dir / path, "rb") as file:
                data = file.read(left + 1)
                info = os.fstat(file.fileno())
        except OSError:
            return None
        left -= len(data)
        if left < 0:
            return None
        taken.append(
            {
                "path": path,
                "data": base64.b64encode(data).decode(),
                "time": info.st_mtime_ns,
                "program": bool(info.st_mode & 0o100),
            }
        )
    return taken


def newest_change(root: Path, run_dir: Path) -> str | None:
    """The first installed file whose source differs by now, or None: the hint of a start by name."""
    for path in installed_files(run_dir):
        try:
            there = os.stat(root / path)
            here = os.stat(run_dir / path)
        except OSError:
            continue
        if there.st_mtime_ns > here.st_mtime_ns:
            return path
    return None
