"""How ``fabric`` proves who both ends are: host keys and logins by ssh's own settings.

Fabric's default accepts any host key, and paramiko's own login order knows neither IdentitiesOnly
nor certificates beside agent keys. Nothing here asks a person anything.
"""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from typing import Any

import paramiko
from paramiko.agent import AgentSSH
from paramiko.auth_strategy import AuthStrategy

from jobmgr.errors import ConnectError
from jobmgr.transport import ssh_errors
from jobmgr.transport.identity import Identity, key_type_of, read_identity
from jobmgr.transport.known_hosts import Known
from jobmgr.transport.ssh_settings import SshSettings, certificates_for

AGENT_TIMEOUT = 10.0


class KnownHostsPolicy(paramiko.RejectPolicy):  # type: ignore[misc]
    """Rejects every host key that the known_hosts files of ssh's settings do not hold."""

    def __init__(self, settings: SshSettings, known: Known) -> None:
        self._settings = settings
        self._known = known

    def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
        """Called for every key: the client itself is given no known keys."""
        blob = key.asbytes()
        if self._known.revokes(blob):
            raise ssh_errors.host_key_revoked(self._settings)
        if self._known.accepts(blob):
            return
        if any(known.key_type == key.get_name() for known in self._known.keys):
            raise ssh_errors.host_key_changed(self._settings)
        detail = f" (it shows {key.get_name()} {key.fingerprint})"
        raise ssh_errors.host_key_unknown(self._settings, detail=detail)


def order_host_keys(transport: Any, known: Known) -> None:
    """Ask the host for a key of a type that is known, as ssh does."""
    options = transport.get_security_options()
    types = {key.key_type for key in known.keys}
    preferred = [kind for kind in options.key_types if _plain(kind) in types]
    options.key_types = preferred + [kind for kind in options.key_types if kind not in preferred]


def _plain(algorithm: str) -> str:
    return "ssh-rsa" if algorithm.startswith("rsa-sha2-") else algorithm


class Login(AuthStrategy):  # type: ignore[misc]
    """Offers keys in OpenSSH's order until the host is content; raises jobmgr's errors otherwise."""

    def __init__(self, settings: SshSettings) -> None:
        super().__init__(ssh_config=None)
        self._settings = settings
        self._locked: list[str] = []
        self._hardware = False
        self._agent: AgentSSH | None = None

    def authenticate(self, transport: Any) -> list[str]:
        """Keys first: to ask which methods there are takes two round trips, and only a refusal needs it."""
        settings = self._settings
        offered: tuple[str, ...] | None = None
        try:
            for key in self._candidates() if settings.pubkey else ():
                answer = self._offer(transport, key)
                if answer == ():
                    return []
                offered = answer or offered
                if answer and "publickey" not in answer:
                    break
        finally:
            if self._agent is not None:
                self._agent._close()
        if offered is None:
            offered = _offered(transport, settings)
            if not offered:
                return []
        raise self._refusal(offered)

    def _offer(self, transport: Any, key: Any) -> tuple[str, ...] | None:
        """() logged in; None: the key is refused; else the methods that the host wants instead, or besides."""
        try:
            left = tuple(transport.auth_publickey(self._settings.user, key))
        except paramiko.BadAuthenticationType as exc:
            return tuple(exc.allowed_types) or ("nothing",)
        except paramiko.SSHException as exc:
            if not transport.is_active():
                raise ssh_errors.too_many_keys(self._settings) from exc
            return None
        if left and "publickey" not in left:
            raise ssh_errors.wants_person(self._settings, left)
        return left

    def _refusal(self, offered: tuple[str, ...]) -> ConnectError:
        if self._settings.gssapi and "gssapi-with-mic" in offered:
            reason = "the keys are refused, Kerberos (GSSAPI) is what is left"
            return ssh_errors.only_openssh(self._settings, reason)
        if self._hardware and "publickey" in offered:
            return ssh_errors.only_openssh(
                self._settings, "a key that was not tried is in a FIDO device (sk-)"
            )
        if self._locked and "publickey" in offered:
            return ssh_errors.passphrase_wanted(self._settings, self._locked)
        return ssh_errors.login_refused(self._settings, offered)

    # keys ---------------------------------------------------------------------------------------

    def _candidates(self) -> Iterator[Any]:
        """Agent keys that the configuration names, other agent keys (unless IdentitiesOnly), then files."""
        files = [found for path in self._settings.identity_files if (found := read_identity(path))]
        named = {found.blob for found in files if found.blob}
        in_agent = {key.blob: key for key in self._agent_keys()}
        usable = {blob: key for blob, key in in_agent.items() if not key_type_of(blob).startswith("sk-")}
        self._hardware = len(usable) < len(in_agent) or any(found.hardware for found in files)
        yield from (usable[found.blob] for found in files if found.blob in usable)
        if not self._settings.identities_only:
            yield from (key for blob, key in usable.items() if blob not in named)
        for found in files:
            if found.private and found.blob not in usable:
                yield from self._from_file(found)

    def _agent_keys(self) -> list[Any]:
        path = agent_socket(self._settings)
        if path is None:
            return []
        agent = AgentSSH()
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(AGENT_TIMEOUT)
            connection.connect(path)
            agent._connect(connection)
        except (OSError, paramiko.SSHException):
            connection.close()
            return []
        self._agent = agent
        return list(agent.get_keys())

    def _from_file(self, found: Identity) -> Iterator[Any]:
        if found.encrypted:
            self._locked.append(found.path)
            return
        if found.hardware or _too_open(found.path):
            return
        for certificate in certificates_for(self._settings, found.path):
            key = _load(found.path)
            if key is not None and _certify(key, certificate, found.blob):
                yield key
        key = _load(found.path)
        if key is not None:
            key.public_blob = None  # without the certificate beside it
            yield key


def _offered(transport: Any, settings: SshSettings) -> tuple[str, ...]:
    """The methods the host offers; empty if it lets anybody in."""
    try:
        transport.auth_none(settings.user)
    except paramiko.BadAuthenticationType as exc:
        return tuple(exc.allowed_types)
    except paramiko.SSHException:  # also a host that has had enough by now
        return ("publickey",)
    return ()


def agent_socket(settings: SshSettings) -> str | None:
    """Where the agent listens, by IdentityAgent and SSH_AUTH_SOCK; None: no agent."""
    named = settings.identity_agent
    if named is None:
        return None
    if named == "SSH_AUTH_SOCK":
        return os.environ.get("SSH_AUTH_SOCK") or None
    if named.startswith("$"):
        return os.environ.get(named.strip("${}")) or None
    return named


def _too_open(path: str) -> bool:
    """ssh ignores a private key of one's own that others can read; so does this."""
    found = os.stat(path)
    return found.st_uid == os.geteuid() and bool(stat.S_IMODE(found.st_mode) & 0o077)


def _load(path: str) -> Any:
    """The key, or None if paramiko cannot read it (then it is one that is not offered)."""
    try:
        return paramiko.PKey.from_path(path)
    except Exception:
        # Whatever the two libraries below raise for odd files: the host's refusal tells the rest.
        return None


def _certify(key: Any, certificate: str, blob: bytes) -> bool:
    """Load a certificate if it is one for this key."""
    try:
        key.load_certificate(certificate)
    except (OSError, ValueError, paramiko.SSHException):
        return False
    return not blob or _plain_of(blob) in key.public_blob.key_blob


def _plain_of(blob: bytes) -> bytes:
    """The key's numbers: what stands in its certificate too, behind the name and a nonce."""
    return blob[4 + int.from_bytes(blob[:4], "big") :]


def refuse_unsupported(settings: SshSettings, reason: str | None) -> None:
    """Raise the named refusal for settings that only OpenSSH can fulfil."""
    if reason is not None:
        raise ssh_errors.only_openssh(settings, reason)
