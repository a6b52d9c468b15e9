"""remote-tidy: the end of a run on this host. Removes ``.service/contact``; with ``clean`` the run directory.

Options: ``clean`` (bool), ``dry_run`` (bool: says what would go), ``shared`` (bool: the directory is the
controller's as well, who has files there). Replies: a data line ``{"removed": path}`` for each thing
removed.

A clean refuses while jobs live, and where that cannot be told. It follows no link but those that
remote-init has made and recorded, and these only if they lead where they were made to lead and the run's
uuid lies there; it removes folders above the run directory only if they are empty. The uuid goes last, so
an interrupted clean can be repeated.
"""

import os

from jobmgr_remote import evidence, fence, layout, status, wire
from jobmgr_remote.commands import remote_init, scan
from jobmgr_remote.runners import background
from jobmgr_remote.session import RUN_OK, Host, Refused, Reply, read_small
from jobmgr_remote.spool import Queued

#: What is the host's in the service folder of a directory that both sides share.
HOST_SERVICE = ("contact", "journal", "journal.lock", "jobs", "lib", "bin")
#: Parts that only jobs write to.
JOB_PARTS = ("share/cycle", "share", "work")
#: Processes: what is not known to be dead counts as alive.
NOT_DEAD = (wire.P_ALIVE, wire.P_OTHER_HOST, wire.P_CANNOT_SEE)
IN_QUEUE = (wire.Q_WAITING, wire.Q_ACTIVE, wire.Q_UNKNOWN, wire.Q_COULD_NOT_ASK)
NAMED = 5


def run(request: wire.Request, reply: Reply, host: Host) -> None:
    """Answer the request. Refuses with ``active-jobs`` while jobs live."""
    options = request.options
    if host.run_state != RUN_OK:  # it was deleted
        return
    remover = Remover(reply, bool(options.get("dry_run")))
    if not options.get("clean"):
        remover.file(host.path(layout.CONTACT_FILE))
        if not remover.dry:
            remove_empty_work_folders(host)
        return
    with fence.journal_lock(host.run_dir):
        living = living_jobs(host, reply)
        if living and not remover.dry:
            raise Refused(wire.E_ACTIVE, active_text(living))
        if living:
            reply.note("warning", "active-jobs", active_text(living))
        Clean(host, reply, remover).run(shares_directory(host, options))


def shares_directory(host: Host, options: dict) -> bool:
    """Whether the controller has files here: it says so, or its store lies here."""
    return bool(options.get("shared")) or os.path.lexists(host.path(layout.STORE_FILE))


def remove_empty_work_folders(host: Host) -> None:
    """Remove the empty working directories of background jobs, unless one of the run's jobs waits or runs.

    In one go at the end of the run: each wrapper would have to start a program for it, and a retry shares the
    directory of the job before it.
    """
    with fence.journal_lock(host.run_dir):  # nobody makes one for a job that is being submitted
        if any(_may_run(host, entry) for entry in background.spool_of(host).jobs()):
            return
        for cycle in _folders(host.path(layout.WORK)):
            for task in _folders(cycle):
                try:
                    os.rmdir(task)
                except OSError:  # something is in it
                    pass


def _may_run(host: Host, entry: Queued) -> bool:
    if entry.run_dir != host.run_dir:
        return False
    try:
        with open(host.path(layout.job_file(entry.job, layout.STATUS_FILE)), "rb") as file:
            return status.EXIT not in status.parse(file.read()).facts
    except (OSError, ValueError):
        return True


def _folders(path: str) -> "list[str]":
    try:
        with os.scandir(path) as entries:
            return [entry.path for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []


# --- jobs that live ----------------------------------------------------------------------------------


def living_jobs(host: Host, reply: Reply) -> "list[tuple[str, str]]":
    """Jobs that are not known to have ended, each with what is known."""
    items, unreadable = scan.find_jobs(host.run_dir)
    known = {item["token"] for item in items}
    for entry in fence.read_journal(host.run_dir).values():
        if entry.token not in known:
            items.append({"job": entry.job, "token": entry.token, "runner": entry.runner})
            known.add(entry.token)
    for job, reason in unreadable:
        reply.note("warning", "unreadable", "%s: %s" % (job, reason))
    looker = evidence.Looker(host, background.spool_of(host))
    found = []
    for one in looker.look(items, reply.progress):
        why = living(one)
        if why:
            found.append((one.job, why))
    return found


def living(one: wire.Evidence) -> str:
    """Why a job counts as alive; "" if it has ended or never started."""
    record = one.file.facts.get(status.EXIT, "")
    if one.queue.state in IN_QUEUE:
        return one.queue.raw or one.queue.error or one.queue.state
    if one.process in NOT_DEAD and not record:
        pid = one.file.facts.get(status.PID)
        words = {wire.P_ALIVE: "running", wire.P_OTHER_HOST: "perhaps on another host"}
        return words.get(one.process, "cannot be seen") + (", pid %s" % pid if pid else "")
    return ""


def active_text(living: "list[tuple[str, str]]") -> str:
    """``2 jobs are alive: 1/a/01 (running, pid 7), ...``"""
    named = ", ".join("%s (%s)" % pair for pair in living[:NAMED])
    more = ", ..." if len(living) > NAMED else ""
    count = "1 job is" if len(living) == 1 else "%d jobs are" % len(living)
    return "%s alive: %s%s; kill or wait first" % (count, named, more)


# --- removing ----------------------------------------------------------------------------------------


class Remover(object):
    """Removes and tells; in a dry run it only tells. What is not there is no error."""

    def __init__(self, reply: Reply, dry: bool) -> None:
        self.reply = reply
        self.dry = dry
        self.told = set()  # type: set[str]

    def tell(self, path: str) -> None:
        """That a path is gone, or would be; once."""
        if path not in self.told:
            self.told.add(path)
            self.reply.data({"removed": path})

    def file(self, path: str) -> None:
        """One file or link (the link itself)."""
        if not os.path.lexists(path):
            return
        if not self.dry:
            try:
                os.unlink(path)
            except FileNotFoundError:
                return
        self.tell(path)

    def folder(self, path: str) -> None:
        """A folder if it is empty."""
        try:
            if not self.dry:
                os.rmdir(path)
            elif not all(path + "/" + name in self.told for name in os.listdir(path)):
                return
        except OSError:
            return
        self.tell(path)

    def above(self, path: str) -> None:
        """The folder that holds this one, if it is empty: nothing of the user's, so nobody is told."""
        if not self.dry:
            try:
                os.rmdir(os.path.dirname(path))
            except OSError:
                pass

    def tree(self, path: str) -> None:
        """A file, a link (itself), or a folder with all below it. Follows no link. Raises OSError."""
        if os.path.islink(path) or not os.path.isdir(path):
            self.file(path)
            return
        if not self.dry:
            self._remove_tree(path)
        self.tell(path)

    def _remove_tree(self, path: str) -> None:
        """Piece by piece, so that the caller hears from a host that has much to remove."""
        try:
            names = list_names(path)
        except PermissionError:
            names = []
        for name in names:
            inner = path + "/" + name
            if os.path.isdir(inner) and not os.path.islink(inner):
                remove_folder(inner)
            self.reply.progress()
        remove_folder(path)


def remove_folder(path: str) -> None:
    """Remove a folder with all below it, also where its owner has taken permissions away. Follows no link."""
    import shutil

    try:
        shutil.rmtree(path)
    except FileNotFoundError:
        if os.path.isdir(path):  # something below it went by itself
            shutil.rmtree(path, ignore_errors=True)
    except PermissionError:
        open_folders(path)
        shutil.rmtree(path)


def open_folders(path: str) -> None:
    """Let the owner back into every folder of a tree, as far as they are his."""
    try:
        os.chmod(path, 0o700)
    except PermissionError:
        return
    for name in list_names(path):
        inner = path + "/" + name
        if os.path.isdir(inner) and not os.path.islink(inner):
            open_folders(inner)


class Clean(object):
    """The clean of one run directory."""

    def __init__(self, host: Host, reply: Reply, remover: Remover) -> None:
        self.host = host
        self.reply = reply
        self.remover = remover
        self.links = remote_init.read_links(host)

    def run(self, shared: bool) -> None:
        """All of it, in an order that can be interrupted anywhere and repeated."""
        self.outside()
        if shared:
            self.host_things()
        else:
            self.everything()

    def outside(self) -> None:
        """What this run has left beside its run directory: entries of the spool, rescued records."""
        tokens = self.tokens()
        spool = background.spool_of(self.host)
        if spool.exists() and not self.remover.dry:
            spool.withdraw(sorted(tokens))
        folder = self.host.in_home(layout.HOST_RESCUE)
        for name in list_names(folder):
            if name.partition(".")[0] in tokens:
                self.remover.file(folder + "/" + name)

    def tokens(self) -> "set[str]":
        """Every token that this run has had here."""
        found = {name for name in list_names(self.host.path(layout.TOKENS)) if layout.is_token(name)}
        found.update(fence.read_journal(self.host.run_dir))
        return found

    def host_things(self) -> None:
        """On a shared directory: what only the host side uses, and the folders outside that jobs wrote to."""
        for part in JOB_PARTS:
            if part in self.links:
                self.link(part, self.links[part])
        for name in HOST_SERVICE:
            self.remover.tree(self.host.path(layout.SERVICE) + "/" + name)

    def everything(self) -> None:
        """The run directory, its links' targets included, and empty folders above."""
        service = self.host.path(layout.SERVICE)
        self.remover.file(self.host.path(layout.CONTACT_FILE))
        for part in ("share/cycle", "share", "work", "log"):
            if part in self.links:
                self.link(part, self.links[part])
        for name in list_names(self.host.run_dir):
            if name != layout.SERVICE:
                self.remover.tree(self.host.path(name))
        last = [os.path.basename(path) for path in (layout.LINKS_FILE, layout.OWNER_FILE, layout.UUID_FILE)]
        names = [name for name in list_names(service) if name not in last]
        for name in names + last:
            self.remover.tree(service + "/" + name)
        self.remover.folder(service)
        self.run_folder()

    def run_folder(self) -> None:
        """The run directory itself, by now empty, and the folders that were made for it."""
        path = self.host.run_dir
        target = self.links.get("run", "")
        if os.path.islink(path):
            if target and os.readlink(path) == target:
                self.remover.folder(target)
                self.remover.above(target)
                self.remover.file(path)
            else:
                self.reply.note("warning", "link", "%s is a link that jobmgr did not make; it stays" % path)
        else:
            self.remover.folder(path)
        if os.path.basename(self.host.root) == os.path.basename(layout.RUN_ROOT):
            self.remover.above(self.host.run_dir)  # made by remote-init, not chosen by the user

    def link(self, part: str, target: str) -> None:
        """A link that remote-init has made: what it leads to, and the link."""
        path = self.host.path(part)
        if not os.path.islink(path):
            return
        why = self.stranger(part, path, target)
        if why:
            self.reply.note("warning", "link", "%s: %s; what it leads to stays" % (path, why))
            if os.readlink(path) == target:
                self.remover.file(path)
            return
        self.remover.tree(target)
        self.remover.file(path)
        self.parents(part, target)

    def stranger(self, part: str, path: str, target: str) -> str:
        """Why the target may not be taken for ours; "" if it may."""
        if os.readlink(path) != target:
            return "it does not lead to %s any more" % target
        if not target.endswith("/%s/%s/%s" % (remote_init.LINK_FOLDER, self.host.run.suite, part)):
            return "%s is not where jobmgr puts such a folder" % target
        if os.path.islink(target):
            return "%s has become a link" % target
        if not os.path.isdir(target):
            return "%s is not there" % target
        if os.stat(target).st_uid != os.geteuid():
            return "%s belongs to another user" % target
        if read_small(target[:-len(part)] + remote_init.LINK_UUID).strip() != self.host.run.uuid:
            return "%s is not marked as this run's" % target
        return ""

    def parents(self, part: str, target: str) -> None:
        """The folders that remote-init made above a target, once nothing of ours is left in them."""
        base = target[:-len(part) - 1]
        if "/" in part:
            self.remover.above(target)
        if list_names(base) == [remote_init.LINK_UUID]:
            self.remover.file(base + "/" + remote_init.LINK_UUID)
            self.remover.folder(base)
            self.remover.above(base)


def list_names(folder: str) -> "list[str]":
    """The sorted names in a folder; none if it is not there."""
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []
