"""``jobmgr-remote restricted``: all that a key may do whose line in authorized_keys forces this command.

sshd starts it instead of what the caller asked for, which it finds in ``SSH_ORIGINAL_COMMAND``. Of that text
nothing is ever run: it is compared with the forms that a controller sends (docs/protocol.md, "Restricted
keys"), and what it means is then done by this host side, of this version, in this process. So another version
that lies in ``~/.jobmgr/remote``, and may know no limits, is never started; a call of another version is
answered as far as the wire versions go.

rsync's paths travel on stdin (``-s``). They are read and checked here, and rsync is started with the checked
ones on its command line and without ``-s``; from then on it talks to the caller itself. The names of
``--files-from`` would come later, past any check, and rsync would follow a link in them out of the run root;
so that option is refused with a word (``wire.RSYNC_NAMES``) upon which the controller sends the names as paths.

Options: ``--poll-only`` (look, and bring files home; change nothing), ``--allow-install`` (take code from the
caller), ``--run-root DIR`` (again for more; default ``$HOME/jobmgr-run``), ``--called COMMAND`` (the platform's
``remote_command``; default ``jobmgr-remote``).
"""

import os
import re
import sys
import time

from jobmgr_remote import layout, native, session, wire
from jobmgr_remote.records import namedtuple

#: What the caller may do. ``roots`` are run roots as they stand in authorized_keys, ``called`` is what callers
#: put before the verb.
Limits = namedtuple("Limits", "roots poll_only allow_install called")
#: What the caller asks for. ``kind``: ``verb`` or ``install`` (``name`` of the host side that it believes in,
#: or ""; ``login``: in the environment of a login shell), or ``rsync`` (``sender``: files are read here;
#: ``flags``: the letters and capabilities, ``marked``: the beginning is to be marked).
Asked = namedtuple("Asked", "kind verb name login sender flags marked", defaults=("", "", False, False, "", False))

#: Verbs that change nothing. ``revoke`` and ``tend`` of a poll are taken out of the request (session.py).
LOOKING = (wire.JOBS_POLL, wire.CAT_LOG, wire.SCAN)
LOGGED_IN = "--logged-in"
VERSIONS = ".jobmgr/remote"
MAX_ARCHIVE = 64 << 20
LOG = ".jobmgr/restricted.log"
MAX_LOG = 1 << 20
EXIT_USAGE, EXIT_REFUSED, EXIT_NO_RSYNC = 2, 1, 127
MAX_ARGUMENTS = 1 << 20
#: Seconds that the paths of rsync may take to arrive.
ARGUMENTS_TIMEOUT = 60

_NAME = r"(jobmgr-remote-[0-9A-Za-z.+]+-[0-9a-f]{12})"
_VERB = r"([a-z][a-z-]{0,30})"
_BODY = r"[^'!\\\n]*"
_START = r'D="\$HOME/\.jobmgr/remote/%s"; %s' % (_NAME, _BODY)
_LOGIN = r'exec bash -l -c "\$1" jobmgr-remote "\$2" 3<&0 </dev/null'
_ENTER = r"exec 0<&3 3<&-; JOBMGR_LOGIN=1; export JOBMGR_LOGIN; "
_INSTALL = r'umask 077; D="\$HOME/\.jobmgr/remote"; A="\$D/%s\.\$\$\.pyz"; %s' % (_NAME, _BODY)
_SHIPPED = re.compile(r"/bin/sh -c '%s' jobmgr-remote %s\Z" % (_START, _VERB))
_SHIPPED_LOGIN = re.compile(
    r"/bin/sh -c '%s' jobmgr-remote '%s%s' %s\Z" % (_LOGIN, _ENTER, _START, _VERB)
)
_SHIP = re.compile(r"/bin/sh -c '%s' jobmgr-remote install\Z" % _INSTALL)
_SHIP_LOGIN = re.compile(r"/bin/sh -c '%s' jobmgr-remote '%s%s' install\Z" % (_LOGIN, _ENTER, _INSTALL))
_ONLY_VERB = re.compile(_VERB + r"\Z")
CALLED = "jobmgr-remote"
_RSYNC = re.compile(
    r"(echo %s; exec )?rsync --server (--sender )?-(s[strRp]*(?:e[0-9]*\.[A-Za-z]*)?)\Z" % wire.RSYNC_BEGINS
)
#: Options of rsync that change nothing about where it reads and writes.
_HARMLESS = re.compile(r"--timeout=[0-9]{1,9}\Z|--ignore-missing-args\Z|--from0\Z")
_FORGED = re.compile(r"(LD_|PYTHON|RSYNC_|JOBMGR_|BASH_FUNC_)|(BASH_ENV|ENV|SHELLOPTS|BASHOPTS|PS4|IFS)\Z")


class Forbidden(Exception):
    """What was asked for is not allowed; the text says what."""


def main(words: "list[str]", above: str) -> int:
    """Do what the caller may, with exit code and output as without restriction; or refuse, and log it.

    ``above`` is the folder or archive of this host side.
    """
    logged_in = words[:1] == [LOGGED_IN]  # a word of authorized_keys or our own, never the caller's
    try:
        limits = parse_options(words[1:] if logged_in else words)
    except ValueError as error:
        sys.stderr.write("jobmgr-remote restricted: %s\n" % error)
        return EXIT_USAGE
    command = os.environ.pop("SSH_ORIGINAL_COMMAND", "")
    clean(os.environ, logged_in)
    try:
        asked = understand(command, limits.called)
        allow(asked, limits)
        if asked.kind == "rsync":
            return run_rsync(asked, limits, command)
        return answer(asked, limits, words, above)
    except (Forbidden, session.Refused) as reason:
        return refuse(command, str(reason))


def answer(asked: Asked, limits: Limits, words: "list[str]", above: str) -> int:
    """Answer a verb, or take an archive."""
    log("allowed", asked.verb)
    if asked.kind == "install":
        return take(asked.name)
    program = above
    if limits.allow_install and asked.name and asked.name != os.path.basename(above):
        program = os.path.join(session.home_folder(), VERSIONS, asked.name)
        if not os.path.isfile(main_file(program)):
            sys.stdout.write(wire.NOT_INSTALLED + "\n")
            return 0
    if program != above or (asked.login and words[:1] != [LOGGED_IN]):
        return start_again(program, words, asked)
    if not limits.allow_install:
        os.environ["JOBMGR_RESTRICTED"] = "1"
    session.mark_use(above)
    return session.main(asked.verb, limits)


def parse_options(words: "list[str]") -> Limits:
    """The options of the line in authorized_keys. Raises ValueError."""
    roots = []
    flags = set()
    called = CALLED
    rest = iter(words)
    for word in rest:
        if word == "--run-root":
            root = next(rest, "")
            if not root:
                raise ValueError("--run-root wants a folder")
            roots.append(root)
        elif word == "--called":
            called = next(rest, "") or called
        elif word in ("--poll-only", "--allow-install"):
            flags.add(word)
        else:
            raise ValueError("unknown option %r" % word)
    if len(flags) > 1:
        raise ValueError("--poll-only and --allow-install exclude each other")
    return Limits(tuple(roots) or ("",), "--poll-only" in flags, "--allow-install" in flags, called)


def clean(environ: "os._Environ[str]", keep_login: bool = False) -> None:
    """Remove the variables by which a caller (AcceptEnv) could change what programs do."""
    for name in list(environ):
        if _FORGED.match(name) and not (keep_login and name == "JOBMGR_LOGIN"):
            del environ[name]


def understand(command: str, called: str = CALLED) -> Asked:
    """What a command line asks for. Raises Forbidden for all that no controller sends."""
    found = _RSYNC.match(command)
    if found:
        return Asked("rsync", sender=bool(found.group(2)), flags=found.group(3), marked=bool(found.group(1)))
    for pattern, login in ((_SHIP, False), (_SHIP_LOGIN, True)):
        found = pattern.match(command)
        if found:
            return Asked("install", "install", found.group(1), login)
    for pattern, login in ((_SHIPPED, False), (_SHIPPED_LOGIN, True)):
        found = pattern.match(command)
        if found:
            return Asked("verb", found.group(2), found.group(1), login)
    for word in (called, CALLED):  # CALLED: start_again
        found = _ONLY_VERB.match(command[len(word) + 1 :])
        if found and command.startswith(word + " "):
            return Asked("verb", found.group(1))
    if not command:
        raise Forbidden("no login: this key runs jobmgr only")
    raise Forbidden("not a command of jobmgr")


def allow(asked: Asked, limits: Limits) -> None:
    """Raises Forbidden if the limits do not allow it."""
    if asked.kind == "install" and not limits.allow_install:
        raise Forbidden("this key takes no code (--allow-install is not in its line of authorized_keys)")
    if asked.kind == "verb" and asked.verb not in wire.VERBS:
        raise Forbidden("unknown verb %r" % asked.verb)
    if limits.poll_only and asked.kind == "verb" and asked.verb not in LOOKING:
        raise Forbidden("%s: this key may only look (--poll-only)" % asked.verb)
    if limits.poll_only and asked.kind == "rsync" and not asked.sender:
        raise Forbidden("this key may not write (--poll-only)")


def refuse(command: str, reason: str) -> int:
    """Say no: to a caller that understands it by wire, to all others on stderr."""
    if reason != wire.RSYNC_NAMES:
        log("refused", "%s: %s" % (reason, command))
    sys.stderr.write("jobmgr: refused: %s\n" % reason)
    if not command.startswith(("rsync ", "echo ")):  # bytes that rsync would take for its own
        for kind, value in ((wire.ERROR, wire.Error(wire.E_POLICY, reason)), (wire.END, 0)):
            sys.stdout.write(wire.encode_reply(kind, value).decode("ascii"))
    return EXIT_REFUSED


def take(name: str) -> int:
    """Keep the archive that arrives on stdin and let it install itself (see install.py)."""
    folder = os.path.join(session.home_folder(), VERSIONS)
    os.makedirs(folder, mode=0o700, exist_ok=True)
    archive = "%s/%s.%d.pyz" % (folder, name, os.getpid())
    size = 0
    fd = os.open(archive, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        piece = os.read(0, 65536)
        while piece and size <= MAX_ARCHIVE:
            size += len(piece)
            session.write_all(fd, piece)
            piece = os.read(0, 65536)
    finally:
        os.close(fd)
        if size == 0 or size > MAX_ARCHIVE:
            os.unlink(archive)
    if not 0 < size <= MAX_ARCHIVE:
        raise Forbidden("not an archive of the host side")
    os.execv(sys.executable, [sys.executable, "-I", "-S", archive, "install"])


def main_file(program: str) -> str:
    """What Python is to run of a host side: the file in its folder, or the archive."""
    return program if os.path.isfile(program) else os.path.join(program, "jobmgr_remote", "__main__.py")


def start_again(program: str, words: "list[str]", asked: Asked) -> int:
    """The same call, answered under the same limits by another version, or in the environment that the user's
    own login files make, or both.
    """
    words = [word for word in words if word != LOGGED_IN]
    os.environ["SSH_ORIGINAL_COMMAND"] = CALLED + " " + asked.verb
    again = [sys.executable, "-I", "-S", main_file(program), "restricted"]
    if not asked.login:
        os.execv(again[0], again + words)
    os.environ["JOBMGR_LOGIN"] = "1"
    os.dup2(0, 3)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    again += [LOGGED_IN, *words]
    os.execvp("bash", ["bash", "-l", "-c", 'exec 0<&3 3<&-; exec "$@"', "jobmgr-remote", *again])


# --- rsync -------------------------------------------------------------------------------------------


def run_rsync(asked: Asked, limits: Limits, command: str) -> int:
    """Become rsync, with checked paths. Raises Forbidden."""
    if asked.marked:
        os.write(1, (wire.RSYNC_BEGINS + "\n").encode("ascii"))
    home = session.home_folder()
    roots = [session.expand_root(root, home) for root in limits.roots]
    options, paths = split_arguments(read_arguments(0))
    check_options(options, asked.sender)
    good = [path for path in paths if may_touch(path, roots, asked.sender)]
    for path in paths:
        if path not in good:
            log("refused", "rsync: outside the run root, or through a link: %s" % path)
            sys.stderr.write("jobmgr: refused: %s is outside the run root, or behind a link\n" % shown(path))
    if not good or (len(good) != 1 and not asked.sender):
        raise Forbidden("rsync: no path inside the run root")
    log("allowed", "%s %s" % (command, " ".join(good)))
    letters = asked.flags.replace("s", "", 1)
    argv = ["rsync", "--server", *(["--sender"] if asked.sender else []), *(["-" + letters] if letters else [])]
    sys.stderr.flush()
    os.umask(0o077)
    os.chdir(home)
    try:
        os.execvp("rsync", [*argv, *options, ".", *good])
    except FileNotFoundError:
        sys.stderr.write("rsync: command not found\n")
        return EXIT_NO_RSYNC


def read_arguments(fd: int) -> "list[str]":
    """The arguments that rsync sends ahead with ``-s``: each ended by a NUL, the last one empty.

    Reads not one byte beyond them, because the rest is for rsync. Raises Forbidden.
    """
    import signal

    signal.alarm(ARGUMENTS_TIMEOUT)
    data = bytearray()
    while not (data.endswith(b"\0\0") or data == b"\0"):
        byte = os.read(fd, 1)
        if not byte or len(data) > MAX_ARGUMENTS:
            raise Forbidden("rsync: its arguments do not arrive")
        data += byte
    signal.alarm(0)
    return [os.fsdecode(word) for word in bytes(data).split(b"\0")[:-2]]


def split_arguments(words: "list[str]") -> "tuple[list[str], list[str]]":
    """``rsync OPTION... . PATH...`` -> options and paths. Raises Forbidden."""
    if words[:1] != ["rsync"] or "." not in words:
        raise Forbidden("rsync: not the arguments of rsync")
    at = words.index(".")
    return words[1:at], words[at + 1 :]


def check_options(options: "list[str]", sender: bool) -> None:
    """Raises Forbidden for every option but those that jobmgr uses and that touch no other file."""
    for option in options:
        if option == "--files-from=-" and sender:
            raise Forbidden(wire.RSYNC_NAMES)
        if not _HARMLESS.match(option):
            raise Forbidden("rsync: the option %s" % shown(option))


def may_touch(path: str, roots: "list[str]", sender: bool) -> bool:
    """Whether rsync may have this path: absolute, below a run root, no ``..``, and through no link but those
    that remote-init has made.

    ``/./`` in a path read from tells rsync where the names at home begin, and means nothing else.
    """
    if not path.startswith("/") or ".." in path.split("/") or "\n" in path:
        return False
    for root in roots:
        for base in {root, os.path.realpath(root)}:
            if path.startswith(base.rstrip("/") + "/"):
                parts = [part for part in path[len(base) :].split("/") if part not in ("", ".")]
                return bool(parts) and not leads_out(os.path.realpath(root), parts)
    return False


def leads_out(root: str, parts: "list[str]") -> bool:
    """Whether a path below the root goes through a link, or is one, that is not jobmgr's own."""
    here = root
    run_dir = root + "/" + parts[0]
    for at, part in enumerate(parts):
        here += "/" + part
        if os.path.islink(here):
            name = "run" if at == 0 else "/".join(parts[1 : at + 1])
            if not is_own_link(run_dir, name, here):
                return True
            here = os.path.realpath(here)
    return False


def is_own_link(run_dir: str, part: str, path: str) -> bool:
    """Whether remote-init has made this link, and has written it down."""
    try:
        rows = session.read_small(run_dir + "/" + layout.LINKS_FILE, 1 << 20).splitlines()
        return any(native.loads(row) == [part, os.readlink(path)] for row in rows)
    except (OSError, ValueError):
        return False


# --- the log -----------------------------------------------------------------------------------------


def log(result: str, what: str) -> None:
    """One line in ``~/.jobmgr/restricted.log`` (at most 1 MiB, and as much of the past beside it); what was
    refused in the system log too. Never raises.
    """
    address = os.environ.get("SSH_CONNECTION", "").split(" ")[0]
    text = "%s %s %s" % (result, shown(address) or "-", shown(what))
    try:
        path = os.path.join(session.home_folder(), LOG)
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            if os.fstat(fd).st_size > MAX_LOG:
                os.rename(path, path + ".1")
            os.write(fd, ("%s %s\n" % (session.utc(time.time()), text)).encode("ascii"))
        finally:
            os.close(fd)
    except (OSError, session.Refused):
        pass
    if result == "refused":
        import syslog

        syslog.openlog("jobmgr", syslog.LOG_PID, syslog.LOG_AUTH)
        syslog.syslog(syslog.LOG_WARNING, "restricted key: uid=%d %s" % (os.getuid(), text))


def shown(text: str) -> str:
    """A caller's text on one line of ASCII, at most 300 characters: it can forge no line of a log."""
    return text.encode("unicode_escape", "backslashreplace").decode("ascii")[:300]
