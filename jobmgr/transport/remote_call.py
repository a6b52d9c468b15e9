"""One call of the host side: the command line, the request, the reply, and the first shipment.

The command line is constant but for the verb and the platform's own keys: one line, no newline, ``!`` or
backslash (csh mangles them even in quotes), no user name and no path of the user's. All names travel on
stdin. docs/protocol.md, "Calling", shows it.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from typing import Any

from msgspec import Struct, field

from jobmgr.errors import (
    ConnectError,
    ConnectionLost,
    IdleTimeout,
    JobmgrError,
    NotFoundError,
    RefusedError,
    RemoteError,
)
from jobmgr.transport.archive import archive_name, host_archive
from jobmgr.transport.base import Completed, Hold, Transport
from jobmgr.transport.conversation import Talks
from jobmgr_remote import wire

PYTHONS = ("python3", "/usr/libexec/platform-python")
#: Asked last, only to say by name that they are too old.
OLD_PYTHONS = ("python3", "python", "python2")
SHIP_TIMEOUT = 120.0

OnRecord = Callable[[str, Any], None]


class RemoteSettings(Struct, frozen=True):
    """What a platform says about the host side.

    ``python``: the interpreter to use, "" to look for one. ``use_login_shell``: through ``bash -l``.
    ``remote_command``: what to run instead of the shipped host side; such a host never receives code.
    """

    python: str = ""
    use_login_shell: bool = False
    remote_command: str = ""


class Reply(Struct):
    """What a host answered.

    ``records`` are (kind, value) pairs as in wire.py, in order, without hello and end, and without answers
    about jobs if these were handed to ``on_record``. ``truncated``: the end
    line did not arrive or the call broke off (``failure`` says how); what did arrive counts. ``noise`` is the
    end of what was no reply. ``shipped``: the host side was installed by this call.
    """

    hello: wire.Hello | None = None
    records: list[tuple[str, Any]] = field(default_factory=list)
    noise: str = ""
    truncated: bool = False
    shipped: bool = False
    failure: str = ""


def call(
    transport: Transport,
    verb: str,
    run: wire.Run,
    options: dict[str, Any],
    items: list[dict[str, Any]],
    *,
    common: dict[str, Any] | None = None,
    on_record: OnRecord | None = None,
    hold: Hold | None = None,
    idle_timeout: float = 60.0,
    remote: RemoteSettings | None = None,
    talks: Talks | None = None,
    more: bool = False,
) -> Reply:
    """One request and its reply; ships the host side first if the host has not got it (one more call, then
    the request again).

    ``on_record`` gets (kind, value) as they arrive. If the connection breaks, or the host reports a failure,
    after answers about some jobs have arrived, these are returned in a truncated Reply.

    ``talks``: the conversations with this host: the call takes part in one, and with ``more`` leaves it open for
    the next call.

    Raises ConnectError (the request was certainly not sent), IdleTimeout or ConnectionLost (it may have
    arrived), RefusedError, NotFoundError (no such run or file there), and RemoteError for all else.
    """
    settings = remote or RemoteSettings()
    if more:
        options = {**options, "more": True}
    request = wire.encode_request(verb, run, options, items, common)
    attempt = _Attempt(transport, verb, request, on_record, hold, idle_timeout, more)
    reply = attempt.run(verb_command(verb, settings), talks)
    if attempt.reader.missing_host_side and reply.hello is None:
        _check_missing(transport.host, attempt.reader.missing_host_side, settings)
        ship(transport, settings)
        attempt = _Attempt(transport, verb, request, on_record, hold, idle_timeout, more)
        reply = attempt.run(verb_command(verb, settings), talks)
        reply.shipped = True
    attempt.judge(reply)
    return reply


class _Attempt:
    """One run of the remote command and the reading of its reply."""

    def __init__(
        self,
        transport: Transport,
        verb: str,
        request: bytes,
        on_record: OnRecord | None,
        hold: Hold | None,
        idle: float,
        more: bool,
    ) -> None:
        self.more = more
        self.transport = transport
        self.request = request
        self.on_record = on_record
        self.hold = hold
        self.idle = idle
        self.reader = wire.ReplyReader(verb)
        self.reply = Reply()
        self.completed: Completed | None = None
        self.error: wire.Error | None = None

    def run(self, command: str, talks: Talks | None) -> Reply:
        reply = self.reply
        try:
            if talks is None:
                self.completed = self.transport.run(command, self.request, self.hold, self.idle, self._take)
            else:
                self.completed = talks.exchange(
                    command,
                    self.request,
                    self.hold,
                    self.idle,
                    self._take,
                    self._is_heard,
                    self._is_over,
                    more=self.more,
                )
        except ConnectError:
            raise
        except (IdleTimeout, ConnectionLost) as exc:
            if not self.reader.count:
                raise
            reply.failure = str(exc)
        reply.noise = self.reader.noise.decode("utf-8", "replace")
        reply.truncated = not self.reader.ended
        return reply

    def _is_heard(self) -> bool:
        return self.reply.hello is not None

    def _is_over(self) -> bool:
        return self.reader.ended and self.reader.more and self.error is None

    def _take(self, chunk: bytes) -> None:
        for kind, value in self.reader.feed(chunk):
            if isinstance(value, wire.Hello):
                self.reply.hello = value
            elif isinstance(value, wire.Error):
                self.error = value
            elif kind not in (wire.BEAT, wire.MORE, wire.END) and not (
                kind in (wire.JOB, wire.SAME) and self.on_record is not None
            ):
                self.reply.records.append((kind, value))
            if self.on_record is not None:
                self.on_record(kind, value)

    def judge(self, reply: Reply) -> None:
        """Raise for what went wrong; not if answers about jobs have arrived, since these count."""
        if self.error is not None:
            error = error_of(self.transport.host, self.error, self._stderr())
            if not self.reader.count:
                raise error
            reply.truncated, reply.failure = True, str(error)
        elif reply.hello is None and not reply.failure:
            raise RemoteError(self._no_answer())
        elif reply.truncated and not reply.failure:
            reply.failure = f"{self.transport.host}: the answer ended early{self._said()}"

    def _no_answer(self) -> str:
        host = self.transport.host
        if self.reader.missing_host_side == wire.NO_PYTHON:
            return no_python(host)
        if self.reader.missing_host_side:
            return (
                f"{host}: the host side was installed and is not there (a home directory that is not kept?)"
            )
        code = self.completed.exit_code if self.completed is not None else "?"
        return f"{host}: the host side gave no answer (exit code {code}){self._said()}"

    def _said(self) -> str:
        words = last_lines(self.reply.noise) or last_lines(self._stderr())
        return f"; it said: {words}" if words else ""

    def _stderr(self) -> str:
        return self.completed.stderr.decode("utf-8", "replace") if self.completed is not None else ""


def last_lines(text: str, count: int = 3) -> str:
    """The last lines of a text on one line, printable."""
    lines = [line.strip() for line in text.splitlines() if line.strip()][-count:]
    return "".join(c if c.isprintable() else "?" for c in " / ".join(lines))[-500:]


def no_python(host: str) -> str:
    return f"{host} has no Python 3.6 or newer; if it has one off the PATH, set python: in platforms.yaml"


def error_of(host: str, error: wire.Error, stderr: str) -> JobmgrError:
    """The exception for a host's error line."""
    code, text = error
    if code == wire.E_TAKEN_OVER:
        return RefusedError(f"{host}: the run was {text}; this controller may look at it, and change nothing")
    if code == wire.E_FOREIGN:
        return RefusedError(
            f"{host}: {text}; choose another --name, or clean that run from its own controller"
        )
    if code in (wire.E_ACTIVE, wire.E_POLICY):
        return RefusedError(f"{host}: {text}")
    if code == wire.E_NOT_FOUND:
        return NotFoundError(f"{host}: {text}")
    if code == wire.E_TOO_OLD:
        return RemoteError(f"{no_python(host)} ({text})")
    if code == wire.E_BUG:
        said = last_lines(stderr)
        return RemoteError(f"{host}: a bug in the host side: {text}" + (f" ({said})" if said else ""))
    return RemoteError(f"{host}: {text}")


def _check_missing(host: str, word: str, settings: RemoteSettings) -> None:
    if word == wire.NO_PYTHON:
        raise RemoteError(no_python(host))
    if settings.remote_command:
        raise RemoteError(
            f"{host}: {settings.remote_command} says that it is not installed; "
            "a platform with remote_command is sent no code"
        )


_SILENT = "do its login files (.bashrc) read the input? This must print x: echo x | ssh {} cat"


def ship(transport: Transport, settings: RemoteSettings) -> None:
    """Install the host side of this jobmgr on a host. Raises RemoteError, or what the transport raises."""
    archive = host_archive()
    reader = wire.ReplyReader("install")
    found: list[tuple[str, Any]] = []
    completed = transport.run(
        install_command(archive.name, settings),
        archive.data,
        None,
        SHIP_TIMEOUT,
        lambda chunk: found.extend(reader.feed(chunk)),
    )
    stderr = completed.stderr.decode("utf-8", "replace")
    for kind, value in found:
        if kind == wire.ERROR:
            raise error_of(transport.host, value, stderr)
    if reader.missing_host_side == wire.NO_PYTHON:
        raise RemoteError(no_python(transport.host))
    if not reader.ended:
        said = last_lines(stderr) or last_lines(reader.noise.decode("utf-8", "replace"))
        raise RemoteError(
            f"{transport.host}: the host side could not be installed (exit code {completed.exit_code})"
            + (f"; it said: {said}" if said else f"; {_SILENT.format(transport.host)}")
        )


# --- the command lines -------------------------------------------------------------------------------


def verb_command(verb: str, settings: RemoteSettings) -> str:
    """The command line that answers one request of a verb."""
    if settings.remote_command:
        return f"{settings.remote_command} {verb}"
    return _command(_start_script(archive_name(), settings), verb, settings)


def install_command(name: str, settings: RemoteSettings) -> str:
    """The command line that takes an archive on its stdin and installs it."""
    return _command(_install_script(name, settings), "install", settings)


def restricted_command(settings: RemoteSettings, words: Sequence[str]) -> str:
    """The command line that ``command=`` of authorized_keys forces: the host side that the host has got, under
    the limits that ``words`` (options of ``jobmgr-remote restricted``) name.

    Raises RemoteError for a word that not every login shell would take.
    """
    for word in words:
        if any(c in word for c in "'!\\\"\n"):
            raise RemoteError(f"{word}: cannot stand in a forced command (a quote, backslash or !)")
    tail = " ".join(["restricted", *(shlex.quote(word) for word in words)])
    if settings.remote_command:
        return f"{settings.remote_command} {tail}"
    script = _start_script(archive_name(), settings).replace('"$1"', '"$@"')
    return f"/bin/sh -c {_single(script)} jobmgr-remote {tail}"


def _command(script: str, verb: str, settings: RemoteSettings) -> str:
    if not settings.use_login_shell:
        return f"/bin/sh -c {_single(script)} jobmgr-remote {verb}"
    # Profiles must not read the request: it waits on descriptor 3 until they are through.
    outer = 'exec bash -l -c "$1" jobmgr-remote "$2" 3<&0 </dev/null'
    inner = "exec 0<&3 3<&-; JOBMGR_LOGIN=1; export JOBMGR_LOGIN; " + script
    return f"/bin/sh -c {_single(outer)} jobmgr-remote {_single(inner)} {verb}"


def _single(script: str) -> str:
    """A script in single quotes.

    Login shells of any kind take it, because it holds none of what they would change.
    """
    for bad in ("'", "!", "\\", "\n"):
        if bad in script:
            raise RemoteError(
                f"the command line for the host would hold {bad!r}; check python: in platforms.yaml"
            )
    return f"'{script}'"


def _candidates(settings: RemoteSettings) -> str:
    if settings.python:
        return _word(settings.python)
    return " ".join(PYTHONS)


def _word(text: str) -> str:
    """A value of the platform file as one word in a script that itself stands in single quotes; ``$HOME``
    expands.
    """
    if shlex.quote(text) == text:
        return text
    if any(part in text for part in ('"', "`", "$(")):
        raise RemoteError(f"python: {text}: a path with quotes or commands in it cannot be used")
    return f'"{text}"'


#: Started as a file: a folder or an archive would cost the import of runpy.
_MAIN = "jobmgr_remote/__main__.py"
_PROBE = '"$P" -I -S -c "import sys; sys.exit(sys.version_info < (3, 6))" </dev/null >/dev/null 2>&1'


def _start_script(name: str, settings: RemoteSettings) -> str:
    start = f'exec "$P" -I -S "$D/{_MAIN}" "$1"; '
    recorded = 'read -r P <"$D/python" 2>/dev/null && [ -x "$P" ] && ' + start
    return (
        f'D="$HOME/.jobmgr/remote/{name}"; '
        f'[ -f "$D/__main__.py" ] || {{ echo {wire.NOT_INSTALLED}; exit 0; }}; '
        + ("" if settings.python else recorded)
        + f"for P in {_candidates(settings)}; do {_PROBE} && {start}done; "
        + _too_old_script("$D", settings)
    )


def _install_script(name: str, settings: RemoteSettings) -> str:
    return (
        f'umask 077; D="$HOME/.jobmgr/remote"; A="$D/{name}.$$.pyz"; '
        'mkdir -p "$D" && cat >"$A" || { rm -f "$A"; exit 1; }; '
        f'for P in {_candidates(settings)}; do {_PROBE} && exec "$P" -I -S "$A" "$1"; done; '
        + _too_old_script("$A", settings, 'rm -f "$A"; ')
    )


def _too_old_script(program: str, settings: RemoteSettings, after: str = "") -> str:
    """Let a Python that is too old say so itself; say so ourselves if there is none at all."""
    names = _candidates(settings) if settings.python else " ".join(OLD_PYTHONS)
    return (
        f'for P in {names}; do O=$("$P" -E -S "{program}" "$1" </dev/null 2>/dev/null); '
        f'case $O in *too-old*) {after}echo "$O"; exit 0;; esac; done; '
        f"{after}echo {wire.NO_PYTHON}"
    )
