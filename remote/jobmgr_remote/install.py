"""``jobmgr-remote install``: unpack the archive that is running beside itself, compiled by the Python that
runs it.

The archive lies as ``~/.jobmgr/remote/NAME.PID.pyz`` and becomes the folder ``NAME``: everything goes into a
temporary folder first, which is renamed when it is complete, so that nobody ever starts half a host side. Two
at once are no problem: the content is the same, the first one wins. The reply is one data line,
``{"installed": FOLDER, "python": ..., "removed": [...]}``.
"""

import os
import re
import sys
import time

from jobmgr_remote import wire

#: A folder that nobody has used for so many seconds is removed.
UNUSED = 30 * 86400.0
#: The same for what an installation that did not get to its end has left.
BROKEN = 86400.0
#: The file in the folder that names the Python which compiled it.
PYTHON_FILE = "python"

_NAME = re.compile(r"(jobmgr-remote-[0-9A-Za-z.+]+-[0-9a-f]{12})(\.[0-9]+)?(\.pyz)?\Z")


def main(archive: str) -> int:
    """Install from ``archive`` (the file that is running). Returns 0, or 1 after an error line."""
    try:
        folder = install(archive)
        removed = remove_unused(os.path.dirname(folder), folder)
    except (OSError, ValueError) as error:
        _say(wire.ERROR, wire.Error(wire.E_HOST, "cannot install the host side: %s" % error))
        _say(wire.END, 0)
        return 1
    _say(wire.DATA, {"installed": folder, "python": sys.executable, "removed": removed})
    _say(wire.END, 0)
    return 0


def install(archive: str) -> str:
    """Unpack and compile; the archive is removed.

    Returns the folder. Raises OSError, and ValueError for a broken archive.
    """
    match = _NAME.match(os.path.basename(archive))
    if not match or not os.path.isfile(archive):
        raise ValueError("%s is not an archive of the host side" % archive)
    folder = os.path.join(os.path.dirname(archive), match.group(1))
    temporary = "%s.%d.tmp" % (folder, os.getpid())
    try:
        if not os.path.isfile(os.path.join(folder, "__main__.py")):
            unpack(archive, temporary)
            _put_in_place(temporary, folder)
    finally:
        os.unlink(archive)
        _remove(temporary)
    return folder


def unpack(archive: str, folder: str) -> None:
    """The archive's files in a new private folder, compiled.

    Members that would leave the folder are refused.
    """
    import compileall
    import zipfile

    os.mkdir(folder, 0o700)
    try:
        with zipfile.ZipFile(archive) as source:
            for name in source.namelist():
                if name.startswith("/") or ".." in name.split("/"):
                    raise ValueError("the archive holds %r" % name)
            source.extractall(folder)
    except zipfile.BadZipFile as error:
        raise ValueError("the archive is broken: %s" % error)
    if not compileall.compile_dir(folder, quiet=2, force=True):
        raise ValueError("the host side does not compile under %s" % sys.executable)
    with open(os.path.join(folder, PYTHON_FILE), "w") as file:
        file.write(sys.executable + "\n")


def _put_in_place(temporary: str, folder: str) -> None:
    try:
        os.rename(temporary, folder)
    except OSError:
        if os.path.isfile(os.path.join(folder, "__main__.py")):
            return  # another call was first
        _remove(folder)  # what somebody has half deleted
        os.rename(temporary, folder)


def remove_unused(parent: str, keep: str) -> "list[str]":
    """Delete versions (and what broken installations left) that have not been used for long; returns their
    names.
    """
    removed = []
    for name in sorted(os.listdir(parent)):
        path = os.path.join(parent, name)
        if path == keep or not name.startswith("jobmgr-remote-"):
            continue
        try:
            age = time.time() - os.lstat(path).st_mtime
        except OSError:
            continue
        if age > (UNUSED if _NAME.match(name) and os.path.isdir(path) else BROKEN):
            _remove(path)
            removed.append(name)
    return removed


def _remove(path: str) -> None:
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path, ignore_errors=True)
    elif os.path.lexists(path):
        os.unlink(path)


def _say(kind: str, value: object) -> None:
    sys.stdout.write(wire.encode_reply(kind, value).decode("ascii"))
    sys.stdout.flush()
