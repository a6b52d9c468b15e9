"""The host side as one file: what a host that has never seen jobmgr is sent.

The archive is a zip that Python runs as it is (``python3 ARCHIVE --version``) and that a host unpacks::

    __main__.py            starts jobmgr_remote; compiles under Python 2.7, so that an old Python can say so
    jobmgr_remote/...      the package: its .py and .sh files, nothing else

It is called ``jobmgr-remote-VERSION-DIGEST12``: the first 12 hex digits of a SHA-256 over the paths and the
contents of these files. Identical sources give an identical name and identical bytes, whatever the time, the
umask, the order of a folder or the Python that builds it. A host may therefore take the name for the content.

An installed jobmgr carries the archive ready-made in ``jobmgr/_host`` (see setup.py); from a checkout it is
made in memory.
"""

from __future__ import annotations

import functools
import hashlib
import io
import os
from typing import NamedTuple

import jobmgr_remote

PREBUILT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "_host")
SUFFIX = ".pyz"

SHEBANG = b"#!/usr/bin/env python3\n"
MAIN = b"""\
import sys

from jobmgr_remote.entry import main

if __name__ == "__main__":
    sys.exit(main())
"""

_PACKAGE = "jobmgr_remote"
_SUFFIXES = (".py", ".sh")
_NAME_PREFIX = "jobmgr-remote-"
_DIGEST_LENGTH = 12
_FIRST_ZIP_TIME = (1980, 1, 1, 0, 0, 0)
_UNIX = 3
_REGULAR_FILE = 0o100644 << 16


class HostArchive(NamedTuple):
    """``name`` is ``jobmgr-remote-VERSION-DIGEST12``, ``data`` the bytes of the zip."""

    name: str
    data: bytes


@functools.cache
def archive_name() -> str:
    """The name of the host side that belongs to this jobmgr.

    Every request names it, so this is cheap: from a checkout the sources are read and hashed, once per
    process; of an installed jobmgr only a folder is listed.
    """
    prebuilt = _prebuilt_file(PREBUILT)
    if prebuilt is not None:
        return prebuilt[: -len(SUFFIX)]
    return name_of(_own_sources())


def host_archive() -> HostArchive:
    """The archive itself; only a host that has not got it yet needs it."""
    prebuilt = _prebuilt_file(PREBUILT)
    if prebuilt is not None:
        with open(os.path.join(PREBUILT, prebuilt), "rb") as file:
            return HostArchive(prebuilt[: -len(SUFFIX)], file.read())
    return HostArchive(archive_name(), _zip(_own_sources()))


@functools.cache
def _own_sources() -> dict[str, bytes]:
    """Read once: a checkout that is edited meanwhile must not ship another archive than requests name."""
    return read_sources(package_folder())


def package_folder() -> str:
    """Where the sources of the host side are."""
    return os.path.dirname(os.path.abspath(jobmgr_remote.__file__))


def build(folder: str) -> HostArchive:
    """The archive of the ``jobmgr_remote`` package in ``folder``."""
    sources = read_sources(folder)
    return HostArchive(name_of(sources), _zip(sources))


def read_sources(folder: str) -> dict[str, bytes]:
    """Path in the archive -> content, in the order of the paths, for all that the archive holds."""
    found = {"__main__.py": MAIN}
    for directory, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
        for name in files:
            if name.endswith(_SUFFIXES) and not name.startswith("."):
                path = os.path.join(directory, name)
                with open(path, "rb") as file:
                    found[f"{_PACKAGE}/{os.path.relpath(path, folder)}"] = file.read()
    return dict(sorted(found.items()))


def name_of(sources: dict[str, bytes]) -> str:
    """The archive's name. Lengths are hashed too, so that no content can pass for a path."""
    digest = hashlib.sha256()
    for path, content in sorted(sources.items()):
        digest.update(b"%s\0%d\0%s" % (path.encode(), len(content), content))
    return f"{_NAME_PREFIX}{jobmgr_remote.__version__}-{digest.hexdigest()[:_DIGEST_LENGTH]}"


def _zip(sources: dict[str, bytes]) -> bytes:
    """A zip with nothing of this machine in it.

    Stored, not deflated: zlib and its replacements do not compress to the same bytes.
    """
    import zipfile  # 8 ms, for the first contact only

    buffer = io.BytesIO()
    buffer.write(SHEBANG)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as archive:
        for path, content in sorted(sources.items()):
            entry = zipfile.ZipInfo(path, _FIRST_ZIP_TIME)
            entry.create_system = _UNIX
            entry.external_attr = _REGULAR_FILE
            archive.writestr(entry, content)
    return buffer.getvalue()


def _prebuilt_file(folder: str) -> str | None:
    """The name of the archive file in ``folder``, if there is one."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return None
    return next((name for name in names if name.startswith(_NAME_PREFIX) and name.endswith(SUFFIX)), None)
