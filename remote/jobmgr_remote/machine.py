"""What this machine can do for jobmgr, and what a user should know about it before the first job.

Every function that reads the system's files takes their root folder, ``/`` but in tests.
"""

import os
import re

from jobmgr_remote import proc, wire
from jobmgr_remote.session import Refused

BATCH_COMMANDS = ("sbatch", "qsub", "bsub", "msub", "llsubmit", "condor_submit")
OLDEST_BASH = (4, 2)
#: Types of file systems (proc(5), mounts) that other machines may write to at the same time.
NETWORK_TYPES = frozenset((
    "nfs", "nfs4", "cifs", "smb3", "smbfs", "afs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "pvfs2",
    "orangefs", "panfs", "wekafs", "9p", "gfs2", "ocfs2", "coda", "acfs", "quobyte", "dvs",
    "fuse.sshfs", "fuse.glusterfs", "fuse.ceph", "fuse.ceph-fuse", "fuse.beegfs", "fuse.juicefs",
    "fuse.lizardfs", "fuse.moosefs", "fuse.quobyte",
))
LITTLE_SPACE = 50 * 1024 * 1024
FEW_INODES = 1000


def abilities(home: str, root: str = "/") -> dict:
    """What every job needs of a machine: cores, bash, batch commands, hidepid.

    Raises Refused if it lacks something.
    """
    if not os.path.exists(root + "proc/self/stat"):
        raise Refused(wire.E_HOST, "no /proc is mounted on this host; jobmgr needs Linux with /proc")
    bash, version = find_bash()
    return {
        "cores": len(os.sched_getaffinity(0)),
        "bash": bash,
        "bash_version": version,
        "batch": [name for name in BATCH_COMMANDS if proc.find_program(name)],
        "hidepid": hidepid(root),
        "kills_at_logout": kills_at_logout(root),
    }


def find_bash() -> "tuple[str, str]":
    """Path and version of bash. Raises Refused if it is missing or too old."""
    bash = proc.find_program("bash")
    if not bash:
        raise Refused(wire.E_HOST, "no bash on the PATH; jobmgr needs bash %d.%d or newer" % OLDEST_BASH)
    done = proc.run([bash, "--norc", "--noprofile", "-c", 'echo "$BASH_VERSION"'], 10.0)
    version = done.out.strip()
    numbers = parse_version(version)
    if numbers < OLDEST_BASH:
        raise Refused(wire.E_HOST, "%s is version %s; jobmgr needs %d.%d or newer, first on the PATH" % (
            (bash, version or "unknown (%s)" % done.err.strip()[:200]) + OLDEST_BASH
        ))
    return bash, version


def parse_version(text: str) -> "tuple[int, int]":
    """``4.2.46(2)-release`` -> (4, 2); (0, 0) for what is no version."""
    match = re.match(r"([0-9]+)\.([0-9]+)", text)
    return (int(match.group(1)), int(match.group(2))) if match else (0, 0)


def place(path: str, root: str = "/") -> dict:
    """What can be said of the file system under an existing path."""
    info = os.statvfs(path)
    kind = file_system(os.path.realpath(path), root)
    return {
        "free_bytes": info.f_bavail * info.f_frsize,
        "free_inodes": info.f_favail if info.f_files else None,
        "read_only": bool(info.f_flag & os.ST_RDONLY),
        "noexec": bool(info.f_flag & getattr(os, "ST_NOEXEC", 8)),
        "file_system": kind,
        "network_fs": kind if kind in NETWORK_TYPES else "",
    }


def mounts(root: str = "/") -> "list[tuple[str, str, str]]":
    """The mounts of proc(5): (mount point, type, options)."""
    found = []
    try:
        with open(root + "proc/mounts", encoding="utf-8", errors="surrogateescape") as stream:
            for row in stream:
                words = row.split(" ")
                if len(words) >= 4:
                    point = re.sub(r"\\([0-7]{3})", lambda m: chr(int(m.group(1), 8)), words[1])
                    found.append((point, words[2], words[3]))
    except OSError:
        pass
    return found


def file_system(path: str, root: str = "/") -> str:
    """The type of the file system that an absolute, resolved path lies on; "" if that cannot be told."""
    best, kind = "", ""
    for point, found, _ in mounts(root):
        below = point == "/" or path == point or path.startswith(point + "/")
        if below and len(point) >= len(best):  # of two mounts on one point the later one counts
            best, kind = point, found
    return kind


def hidepid(root: str = "/") -> str:
    """The value of /proc's hidepid option, or "" if everybody sees every process."""
    for point, kind, options in mounts(root):
        if point == "/proc" and kind == "proc":
            match = re.search(r"(?:^|,)hidepid=([^,]+)", options)
            if match and match.group(1) not in ("0", "off"):
                return match.group(1)
    return ""


def kills_at_logout(root: str = "/") -> bool:
    """Whether systemd-logind ends a user's processes at logout: KillUserProcesses of logind.conf(5)."""
    if not os.path.isdir(root + "run/systemd/system"):
        return False
    files = [root + "etc/systemd/logind.conf"]
    dropins = {}
    for folder in ("usr/lib/systemd", "lib/systemd", "run/systemd", "etc/systemd"):
        path = root + folder + "/logind.conf.d"
        if os.path.isdir(path):
            dropins.update({name: path + "/" + name for name in os.listdir(path) if name.endswith(".conf")})
    files += [dropins[name] for name in sorted(dropins)]
    value = "no"
    for path in files:
        try:
            with open(path, encoding="utf-8", errors="replace") as stream:
                for row in stream:
                    key, _, text = row.partition("=")
                    if key.strip() == "KillUserProcesses":
                        value = text.strip().lower()
        except OSError:
            pass
    return value in ("yes", "true", "on", "1")


def lingers(user: str, root: str = "/") -> bool:
    """Whether the user's processes may outlive the login: ``loginctl enable-linger``."""
    return os.path.exists(root + "var/lib/systemd/linger/" + user)


def warnings(found: dict, user: str, path: str, root: str = "/") -> "list[tuple[str, str, str]]":
    """What a person should know, from what was found: (level, code, text)."""
    out = []
    if found["noexec"]:
        out.append(("warning", "noexec", (
            "%s is mounted noexec: jobs run, but programs of the suite cannot be executed there" % path
        )))
    if found["read_only"]:
        out.append(("error", "read-only", "%s is on a read-only file system" % path))
    if found["free_bytes"] < LITTLE_SPACE:
        out.append(("warning", "space", "%s has only %d MB left" % (path, found["free_bytes"] // 1000000)))
    if found["free_inodes"] is not None and found["free_inodes"] < FEW_INODES:
        out.append(("warning", "inodes", "%s has room for only %d more files" % (path, found["free_inodes"])))
    if found["kills_at_logout"] and user != "root" and not lingers(user, root):
        out.append(("warning", "logout-kills", (
            "this host ends all processes of a user at logout (KillUserProcesses), background jobs too; "
            "to keep them: loginctl enable-linger %s" % user
        )))
    if found["hidepid"] in ("1", "noaccess"):
        out.append(("info", "hidepid", "this host shows a user his own processes only"))
    return out
