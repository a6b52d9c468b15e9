"""What ssh says when it fails, told apart: which error, what happened, what to do.

The sentences are OpenSSH's (7.4 to 9.x, LogLevel INFO); the same texts serve ``fabric``, so that a
user reads one language. What is not recognised is still a ConnectError with ssh's own words.
"""

from __future__ import annotations

import re

from jobmgr.errors import (
    AuthenticationError,
    ConnectError,
    ConnectTimeout,
    HostKeyError,
    UnsupportedError,
)
from jobmgr.transport.ssh_settings import SshSettings

GATEWAY_FAILED = "\nConnection closed by UNKNOWN port 65535"
"""What ssh says of its own connection when the program that stands for the network ended."""

END = 400
"""So many characters of ssh's own words go into a message."""


def classify(stderr: str, settings: SshSettings) -> ConnectError:
    """The error for an ssh that could not connect, or a gateway's ssh, and said ``stderr``."""
    host = settings.host
    for test in (_host_key, _login, _network, _agreement):
        error = test(stderr, settings)
        if error is not None:
            return error
    said = last_words(stderr)
    return ConnectError(f"{host}: cannot connect: {said or 'ssh ended without a word'}")


def last_words(stderr: str) -> str:
    """The end of what ssh said, on one line, without its own decorations."""
    lines = [line.strip() for line in stderr.splitlines()]
    text = "; ".join(line for line in lines if line and not line.startswith("@@"))
    return text if len(text) <= END else "... " + text[-END:]


def _host_key(stderr: str, settings: SshSettings) -> ConnectError | None:
    if "REVOKED HOST KEY" in stderr or re.search(r"host key .* revoked", stderr):
        return host_key_revoked(settings)
    if "REMOTE HOST IDENTIFICATION HAS CHANGED" in stderr:
        offending = re.search(r"Offending .* key in (.+):\d+", stderr)
        whose = re.search(r"Host key for (\S+) has changed", stderr)
        return host_key_changed(settings, whose and whose[1], offending and offending[1])
    unknown = re.search(r"No .* host key is known for (\S+)", stderr)
    if unknown is not None or "Host key verification failed" in stderr:
        return host_key_unknown(settings, unknown[1] if unknown else _gateway(stderr, settings))
    return None


def _gateway(stderr: str, settings: SshSettings) -> str | None:
    """The gateway, if it was that connection that failed: the host's own then never began."""
    return settings.proxy_jump if re.search(r"UNKNOWN port|kex_exchange_identification", stderr) else None


def host_key_unknown(settings: SshSettings, name: str | None = None, detail: str = "") -> HostKeyError:
    """``name``: whose key it is, if not the host's own (a gateway's)."""
    return HostKeyError(
        f"{settings.host}: the host key of {name or settings.known_names[0]} is not known{detail}. "
        f"Run 'ssh {settings.host}' once by hand, check the key's fingerprint and accept it"
    )


def host_key_changed(settings: SshSettings, name: str | None = None, file: str | None = None) -> HostKeyError:
    name = name or settings.known_names[0]
    at = file or (settings.known_hosts_files[0] if settings.known_hosts_files else "~/.ssh/known_hosts")
    return HostKeyError(
        f"{settings.host}: the host key of {name} has changed: the host was set up anew, or somebody listens "
        f"in. If the change is expected: ssh-keygen -R '{name}' -f {at}, then 'ssh {settings.host}' once"
    )


def host_key_revoked(settings: SshSettings) -> HostKeyError:
    return HostKeyError(
        f"{settings.host}: the host key of {settings.known_names[0]} is marked as revoked in known_hosts. "
        "Ask who runs the host for its new key"
    )


def _login(stderr: str, settings: SshSettings) -> ConnectError | None:
    denied = re.search(r"(?:(\S+@\S+): )?Permission denied \(([^)]*)\)", stderr)
    if denied is not None:
        return login_refused(settings, tuple(denied[2].split(",")), who=denied[1])
    if "Too many authentication failures" in stderr:
        return too_many_keys(settings)
    return None


def login_refused(
    settings: SshSettings, offered: tuple[str, ...], said: str = "", who: str | None = None
) -> AuthenticationError:
    """``offered``: the methods by which one might still get in; ``who``: ``user@host`` as ssh says it."""
    if "publickey" not in offered and ("keyboard-interactive" in offered or "password" in offered):
        return wants_person(settings, offered)
    by_hand = "keyboard-interactive" in offered or "password" in offered
    return AuthenticationError(
        f"{settings.host}: login as {who or settings.user} refused "
        f"(the host offers {', '.join(offered) or said}). "
        f"Check that 'ssh -o BatchMode=yes {settings.host}' works: right user, right key, agent running"
        + (f"; if a person has to type something: jobmgr login {settings.host}" if by_hand else "")
    )


def wants_person(settings: SshSettings, offered: tuple[str, ...]) -> AuthenticationError:
    method = "keyboard-interactive" if "keyboard-interactive" in offered else "password"
    return AuthenticationError(
        f"{settings.host} wants interactive authentication ({method}). Not tried again until you act: "
        f"jobmgr login {settings.host}"
    )


def passphrase_wanted(settings: SshSettings, files: list[str]) -> AuthenticationError:
    return AuthenticationError(
        f"{settings.host}: login as {settings.user} refused: {', '.join(files)} has a passphrase and no "
        f"agent holds it. Run 'ssh-add {files[0]}' (or jobmgr login {settings.host})"
    )


def too_many_keys(settings: SshSettings) -> AuthenticationError:
    return AuthenticationError(
        f"{settings.host}: too many keys were offered and refused. Name the right one in the ssh "
        "configuration: IdentityFile and 'IdentitiesOnly yes'"
    )


def _network(stderr: str, settings: SshSettings) -> ConnectError | None:
    unresolved = re.search(r"Could not resolve hostname ([^:\s]+)", stderr)
    if unresolved is not None:
        return not_resolved(settings, unresolved[1])
    if "Connection refused" in stderr:
        return refused(settings)
    if re.search(r"timed out|Connection timeout", stderr):
        return timed_out(settings)
    if re.search(r"No route to host|Network is unreachable", stderr):
        return no_route(settings)
    if re.search(r"Connection (closed|reset) by|kex_exchange_identification|Broken pipe", stderr):
        return hung_up(settings, last_words(stderr))
    return None


def _place(settings: SshSettings) -> str:
    via = f" (via {settings.proxy_jump})" if settings.proxy_jump else ""
    return f"{settings.hostname} port {settings.port}{via}"


def not_resolved(settings: SshSettings, name: str) -> ConnectError:
    return ConnectError(
        f"{settings.host}: the name {name} cannot be resolved. Check its spelling, HostName in the ssh "
        "configuration, and the network"
    )


def refused(settings: SshSettings) -> ConnectError:
    return ConnectError(
        f"{settings.host}: {_place(settings)} refused the connection: nothing listens there. "
        "Is sshd running, is the port right?"
    )


def timed_out(settings: SshSettings) -> ConnectTimeout:
    return ConnectTimeout(
        f"{settings.host}: {_place(settings)} did not answer in time (timed out). The host is down, cut off "
        "or overloaded; jobs are not affected"
    )


def no_route(settings: SshSettings) -> ConnectError:
    return ConnectError(f"{settings.host}: no route to {_place(settings)}. Check the network (or VPN)")


def hung_up(settings: SshSettings, said: str) -> ConnectError:
    return ConnectError(
        f"{settings.host}: {_place(settings)} closed the connection before the login. It may have too many "
        f"connections at once (MaxStartups), or bar this address: {said}"
    )


def _agreement(stderr: str, settings: SshSettings) -> ConnectError | None:
    found = re.search(r"Unable to negotiate .*: (no matching [^.]*)", stderr)
    if found is None:
        return None
    return UnsupportedError(f"{settings.host}: ssh and the host have no common algorithm: {found[1]}")


def only_openssh(settings: SshSettings, reason: str) -> UnsupportedError:
    """What the transport ``fabric`` says when the settings go beyond paramiko."""
    return UnsupportedError(
        f"{settings.host}: {reason}, which the transport 'fabric' cannot do. "
        "Set 'transport: openssh' (or auto) for this platform"
    )
