"""What kind of file system a path is on, as far as SQLite has to know."""

from __future__ import annotations

import os

NETWORK = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "fhgfs",
        "ceph",
        "afs",
        "9p",
        "ocfs2",
        "gfs2",
        "pvfs2",
        "orangefs",
        "panfs",
        "glusterfs",
        "ncpfs",
        "wekafs",
        "virtiofs",
        "vboxsf",
    }
)
_ESCAPES = (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\"))


def network_type(path: str, mounts: str | None = None) -> str:
    """The type of the network file system that holds a path, or "" if it is on this machine's own.

    ``mounts``: the text of ``/proc/mounts`` (proc(5)); None reads it. Unknown types count as local. FUSE file
    systems (``fuse.sshfs``) count as network ones, for nobody can tell what is behind them.
    """
    if mounts is None:
        try:
            with open("/proc/mounts", encoding="utf-8", errors="surrogateescape") as stream:
                mounts = stream.read()
        except OSError:
            return ""
    where = os.path.realpath(path)
    best, kind = -1, ""
    for line in mounts.splitlines():
        parts = line.split(" ")
        if len(parts) < 3:
            continue
        point = parts[1]
        for escape, character in _ESCAPES:
            point = point.replace(escape, character)
        # `>=`: of several mounts on one point, the last one is on top.
        if len(point) >= best and (point == "/" or where == point or where.startswith(point + "/")):
            best, kind = len(point), parts[2]
    return kind if kind in NETWORK or kind.startswith("fuse.") else ""
