"""remote-init: make this host ready for a run, and say what it can do.

Options: ``make`` (default true; false only looks), ``symlinks`` ({part: folder}: ``run``, ``log``,
``work``, ``share``, ``share/cycle`` lie below that folder, whose variables are this host's), ``probe`` (a
file of the controller's run directory, relative to it: seen here, both sides are one directory), ``files``
(a suite of few small files, so that no rsync has to follow: each ``{path, data, time, program}``). Items:
``{"tar": base64}``, the pieces of a tar of service files (``contact``, ``bin/...``).

Replies: notes, then one init line with ``shared cores home bash bash_version python batch free_bytes
free_inodes file_system network_fs noexec links installed``. Nothing that is there is overwritten, but the
service files of the tar and the suite's files; so a repeated or interrupted call does no harm, and a directory
that is shared with the controller keeps what is the controller's.
"""

import os
import sys
import time

from jobmgr_remote import layout, machine, native, wire
from jobmgr_remote.records import namedtuple
from jobmgr_remote.session import (
    RUN_OK,
    RUN_UNMOUNTED,
    Host,
    Refused,
    Reply,
    expand_root,
    read_owner,
    read_small,
    write_all,
    write_beside,
    write_owner,
)

PARTS = ("run", "log", "work", "share", "share/cycle")
FOLDERS = (layout.JOB_LOGS, layout.WORK, layout.SHARE, layout.SHARE_CYCLE, layout.INPUTS)
#: Below a symlink's target: the run directory's part lies in FOLDER/SUITE/PART, and this file tells whose
#: it is.
LINK_FOLDER = "jobmgr-run"
LINK_UUID = ".jobmgr-uuid"
#: What a tar may not touch: the state of both sides.
PROTECTED = frozenset((
    "uuid", "owner", "journal", "journal.lock", "links", "jobs", "lib", "lock", "installed", "inputs",
))
#: The parts of a run directory that no suite's file may lie in.
NOT_THE_SUITES = frozenset(("log", "work", "share", layout.SERVICE))
MAX_TAR = 16 * 1024 * 1024
MAX_MEMBERS = 1000
#: A directory that was listed without the probe is listed again after so many seconds (negative caching of
#: NFS).
SECOND_LOOK = 0.2

#: ``path`` is relative to the run directory, ``time`` in nanoseconds.
SuiteFile = namedtuple("SuiteFile", "path data time program")


def run(request: wire.Request, reply: Reply, host: Host) -> None:
    """Answer the request.

    Refuses a host that cannot work, another run's directory, and a tar that is not safe.
    """
    options = request.options
    if not request.complete:
        raise Refused(wire.E_USAGE, "the request was cut off")
    os.umask(0o077)
    found = machine.abilities(host.home)
    shared = sees_probe(host, options.get("probe"))
    links = {}
    installed = False
    if options.get("make", True):
        members = read_tar(request.items)
        files = read_files(options.get("files") or [])
        links = make(reply, host, options.get("symlinks") or {}, shared)
        unpack(host, members)
        installed = bool(files) and not shared and install_files(host, files)
    place = existing_parent(host.run_dir)
    found.update(machine.place(place))
    found.update(
        shared=shared, home=host.home, python="%d.%d.%d" % sys.version_info[:3], links=links,
        installed=installed,
    )
    for level, code, text in machine.warnings(found, host.user, place):
        reply.note(level, code, text)
    reply.init(found)


# --- the run directory -----------------------------------------------------------------------------


def sees_probe(host: Host, probe: object) -> bool:
    """Whether the controller's probe file can be seen here.

    Lists the directory before it opens anything, twice.
    """
    if not probe:
        return False
    try:
        path = host.path(layout.check_relative(probe))  # type: ignore[arg-type]
    except (ValueError, AttributeError):
        raise Refused(wire.E_USAGE, "probe: not a path below the run directory: %r" % (probe,))
    folder, name = os.path.split(path)
    for pause in (0.0, SECOND_LOOK):
        if not os.path.isdir(host.run_dir):
            return False
        time.sleep(pause)
        try:
            if name in os.listdir(folder):
                return True
        except OSError:
            pass
    return os.path.exists(path)


def make(reply: Reply, host: Host, symlinks: dict, shared: bool) -> "dict[str, str]":
    """Make the run directory and all in it that is missing; returns the links in force.

    Raises Refused, OSError.
    """
    if host.run_state == RUN_UNMOUNTED and os.path.islink(host.root):
        raise Refused(wire.E_HOST, "%s leads to %s, which is not there (not mounted?)" % (
            host.root, os.readlink(host.root),
        ))
    os.makedirs(host.root, mode=0o700, exist_ok=True)
    targets = {part: link_target(host, part, folder) for part, folder in symlinks.items()}
    if shared:  # the controller's own directory and logs stay where it put them
        targets = {part: target for part, target in targets.items() if part not in ("run", "log")}
    if host.run_state != RUN_OK and not shared:
        refuse_stranger(host.run_dir)
    made = []
    if "run" in targets:
        made += make_link(reply, host, "run", targets["run"])
    os.makedirs(host.path(layout.SERVICE), mode=0o700, exist_ok=True)
    claim_uuid(host)
    if not read_owner(host):
        write_owner(host)
    record_links(host, made)
    for part in PARTS[1:]:
        if part in targets:
            record_links(host, make_link(reply, host, part, targets[part]))
    for folder in FOLDERS:
        os.makedirs(host.path(folder), mode=0o700, exist_ok=True)
    if not shared:
        os.chmod(host.run_dir, 0o700)
    os.chmod(host.path(layout.SERVICE), 0o700)
    return read_links(host)


def refuse_stranger(run_dir: str) -> None:
    """A directory that jobmgr did not make is not taken over: a later clean would delete it."""
    try:
        names = os.listdir(run_dir)
    except FileNotFoundError:
        return
    if names and os.path.basename(layout.SERVICE) not in names:
        raise Refused(wire.E_FOREIGN, "%s is there already and is no run directory of jobmgr" % run_dir)


def claim_uuid(host: Host) -> None:
    """Write the run's uuid, unless it is there; another one refuses the call."""
    path = host.path(layout.UUID_FILE)
    if not read_small(path).strip():
        temporary = "%s.%d" % (path, os.getpid())
        write_beside(temporary, host.run.uuid + "\n")
        try:
            os.link(temporary, path)  # fails if somebody else was faster
        except FileExistsError:
            if not read_small(path).strip():  # an empty one, left by a full disk
                os.rename(temporary, path)
        except OSError:  # no hard links here
            os.rename(temporary, path)
        if os.path.lexists(temporary):
            os.unlink(temporary)
    if read_small(path).strip() != host.run.uuid:
        raise Refused(wire.E_FOREIGN, "%s belongs to another run" % host.run_dir)


# --- symlinks --------------------------------------------------------------------------------------


def link_target(host: Host, part: str, folder: object) -> str:
    """The absolute path that a part of the run directory shall lead to. Raises Refused."""
    if part not in PARTS:
        raise Refused(wire.E_USAGE, "symlinks: no such part: %r (known: %s)" % (part, ", ".join(PARTS)))
    if not isinstance(folder, str) or not folder or ".." in folder.split("/"):
        raise Refused(wire.E_USAGE, "symlinks: %s: not a folder: %r" % (part, folder))
    base = "%s/%s/%s" % (expand_root(folder, host.home), LINK_FOLDER, host.run.suite)
    return base if part == "run" else base + "/" + part


def make_link(reply: Reply, host: Host, part: str, target: str) -> "list[tuple[str, str]]":
    """Make one link and what it leads to; returns what was made, as pairs (part, target)."""
    path = host.run_dir if part == "run" else host.path(part)
    if os.path.islink(path):
        if os.readlink(path) != target:
            reply.note("warning", "link", "%s leads to %s, not to %s; left as it is" % (
                path, os.readlink(path), target,
            ))
        elif not os.path.isdir(path):
            raise Refused(wire.E_HOST, "%s leads to %s, which is not there (not mounted?)" % (path, target))
        return []
    if os.path.lexists(path):
        reply.note("warning", "link", "%s is there already; not made a link to %s" % (path, target))
        return []
    if not os.path.isdir(os.path.dirname(path)):
        os.makedirs(os.path.dirname(path), mode=0o700)
    mark_target(host, part, target)
    os.makedirs(target, mode=0o700, exist_ok=True)
    os.symlink(target, path)
    return [(part, target)]


def mark_target(host: Host, part: str, target: str) -> None:
    """Leave the run's uuid beside what a link leads to, so that a clean knows that it is ours.

    Raises Refused.
    """
    if part == "run":
        refuse_stranger(target)
        return
    base = target[:-len(part) - 1]
    os.makedirs(base, mode=0o700, exist_ok=True)
    path = base + "/" + LINK_UUID
    known = read_small(path).strip()
    if known and known != host.run.uuid:
        raise Refused(wire.E_FOREIGN, "%s belongs to another run" % base)
    if not known:
        write_beside(path, host.run.uuid + "\n")


def record_links(host: Host, made: "list[tuple[str, str]]") -> None:
    """Append links to ``.service/links``: one JSON array [part, target] per line."""
    if not made:
        return
    fd = os.open(host.path(layout.LINKS_FILE), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        write_all(fd, "".join(native.dumps(list(pair)) + "\n" for pair in made).encode())
    finally:
        os.close(fd)


def read_links(host: Host) -> "dict[str, str]":
    """The links that jobmgr has made here: part -> target. A line that is not understood is left out."""
    found = {}
    for row in read_small(host.path(layout.LINKS_FILE), 1 << 20).splitlines():
        try:
            part, target = native.loads(row)
        except (ValueError, TypeError):
            continue
        if part in PARTS and isinstance(target, str):
            found[part] = target
    return found


def existing_parent(path: str) -> str:
    """The path itself or the nearest folder above it that is there."""
    while not os.path.isdir(path):
        path = os.path.dirname(path)
    return path


# --- the service files ------------------------------------------------------------------------------


def read_tar(items: "list[dict]") -> "list[tuple[str, bytes]]":
    """The regular files of the tar, as (path relative to .service, content).

    Raises Refused for anything unsafe.
    """
    import base64

    pieces = []
    for item in items:
        piece = item.get("tar")
        try:
            pieces.append(base64.b64decode(piece, validate=True))
        except (ValueError, TypeError):
            raise Refused(wire.E_USAGE, "an item without a piece of a tar")
    data = b"".join(pieces)
    if len(data) > MAX_TAR:
        raise Refused(wire.E_USAGE, "the tar of service files is larger than %d bytes" % MAX_TAR)
    return list(tar_members(data)) if data else []


def tar_members(data: bytes) -> "list[tuple[str, bytes]]":
    """Read a whole tar in memory; see :func:`read_tar`."""
    import io
    import tarfile

    found = []
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:") as archive:
            for count, member in enumerate(archive):
                if count >= MAX_MEMBERS:
                    raise Refused(wire.E_USAGE, "the tar has more than %d members" % MAX_MEMBERS)
                if member.isdir():
                    continue
                name = check_member(member)
                if member.size > MAX_TAR:
                    raise Refused(wire.E_USAGE, "tar: %s is too large" % name)
                content = archive.extractfile(member).read()  # type: ignore[union-attr]
                if len(content) != member.size:
                    raise Refused(wire.E_USAGE, "tar: %s is cut off" % name)
                found.append((name, content))
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise Refused(wire.E_USAGE, "the tar of service files cannot be read: %s" % error)
    return found


def check_member(member: object) -> str:
    """The member's path, normalised. Raises Refused if it is no plain file below .service."""
    name = member.name  # type: ignore[attr-defined]
    if name.startswith("./"):
        name = name[2:]
    if not member.isreg():  # type: ignore[attr-defined]
        raise Refused(wire.E_USAGE, "tar: %r is no regular file" % (name,))
    try:
        parts = layout.check_relative(name).split("/")
    except ValueError:
        raise Refused(wire.E_USAGE, "tar: %r leads out of its folder" % (name,))
    if "" in parts or "." in parts:
        raise Refused(wire.E_USAGE, "tar: %r is not a plain path" % (name,))
    if parts[0] in PROTECTED or parts[0].startswith("suite.db"):
        raise Refused(wire.E_USAGE, "tar: %r is not a service file" % (name,))
    return str(name)


def unpack(host: Host, members: "list[tuple[str, bytes]]") -> None:
    """Write the files below .service: 0600, those in ``bin/`` 0700. Follows no link."""
    service = host.path(layout.SERVICE)
    for name, content in members:
        folder = make_folder(service, name)
        if not folder:
            raise Refused(wire.E_USAGE, "tar: %s is behind a link" % name)
        mode = 0o700 if name.startswith("bin/") else 0o600
        write_file(folder + "/" + name.rpartition("/")[2], content, mode)


def make_folder(base: str, name: str) -> str:
    """The folder of ``base/name``, made if it is not there; "" if a link or a file is in the way."""
    folder = base
    for part in name.split("/")[:-1]:
        folder += "/" + part
        if os.path.islink(folder):
            return ""
        if not os.path.isdir(folder):
            if os.path.lexists(folder):
                return ""
            os.mkdir(folder, 0o700)
    return folder


def write_file(path: str, content: bytes, mode: int, time_ns: "int | None" = None) -> None:
    """Write a file beside, then rename it. A link of that name is replaced, not followed."""
    folder, name = os.path.split(path)
    temporary = "%s/.%s.%d" % (folder, name, os.getpid())
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)
    try:
        try:
            write_all(fd, content)
            os.fchmod(fd, mode)
            if time_ns is not None:
                os.utime(fd, ns=(time_ns, time_ns))
        finally:
            os.close(fd)
        os.rename(temporary, path)
    except OSError:
        os.unlink(temporary)
        raise


# --- the suite's files ------------------------------------------------------------------------------


def read_files(items: object) -> "list[SuiteFile]":
    """The suite's files as they travel in the options. Raises Refused for anything unsafe."""
    import base64

    found = []
    try:
        for item in items:  # type: ignore[attr-defined]
            path = layout.check_relative(item["path"])
            parts = path.split("/")
            if "" in parts or "." in parts or parts[0] in NOT_THE_SUITES:
                raise ValueError("files: not a file of a suite: %r" % (path,))
            data = base64.b64decode(item["data"], validate=True)
            found.append(SuiteFile(path, data, int(item["time"]), bool(item["program"])))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Refused(wire.E_USAGE, str(error))
    if len(found) > MAX_MEMBERS or sum(len(one.data) for one in found) > MAX_TAR:
        raise Refused(wire.E_USAGE, "more files than %d, or than %d bytes" % (MAX_MEMBERS, MAX_TAR))
    return found


def install_files(host: Host, files: "list[SuiteFile]") -> bool:
    """Write the suite's files; False if something is in the way of one (a link, a folder), or if this host has
    no rsync to bring home what jobs write. Then the caller tries rsync, and tells what that says.
    """
    if not has_rsync():
        return False
    for one in files:
        folder = make_folder(host.run_dir, one.path)
        path = host.path(one.path)
        if not folder or (os.path.lexists(path) and not is_plain(path)):
            return False
        write_file(path, one.data, 0o700 if one.program else 0o600, one.time)
    return True


def has_rsync() -> bool:
    """Whether the login shell finds rsync: on the PATH, which is its own, and nowhere else."""
    folders = os.environ.get("PATH", "").split(":")
    return any(os.access(folder + "/rsync", os.X_OK) for folder in folders if folder.startswith("/"))


def is_plain(path: str) -> bool:
    """A regular file, not a link to one."""
    return os.path.isfile(path) and not os.path.islink(path)
