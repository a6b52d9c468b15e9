"""The rule of ``transport: auto``: ``openssh`` where it is at hand or needed, else ``fabric``."""

from __future__ import annotations

from jobmgr.transport.kept_settings import read_settings
from jobmgr.transport.openssh import master_is_up
from jobmgr.transport.ssh_settings import SshOptions, SshSettings, why_openssh


def decide(shared_connection: bool, only_openssh: str | None) -> tuple[str, str]:
    """The name of the transport and the reason, in words for ``platforms show``."""
    if shared_connection:
        return "openssh", "a shared connection is up"
    if only_openssh is not None:
        return "openssh", only_openssh
    return "fabric", "nothing in the ssh configuration needs OpenSSH itself"


def choose(host: str, options: SshOptions | None = None) -> tuple[str, str]:
    """Apply the rule to ``host`` as it is now; does not connect. Raises ConnectError if ssh is missing."""
    options = options or SshOptions()
    return choose_by(read_settings(host, options), options)


def choose_by(settings: SshSettings, options: SshOptions) -> tuple[str, str]:
    """The same for settings that are known already."""
    return decide(master_is_up(settings.host, options, settings), why_openssh(settings))
