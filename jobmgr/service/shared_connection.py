"""The shared ssh connection of a platform: which transport its hosts get, and ``login`` / ``logout`` (2FA).
"""

from __future__ import annotations

from jobmgr.errors import UsageError
from jobmgr.platforms.model import Platform
from jobmgr.transport import openssh
from jobmgr.transport.choose import choose
from jobmgr.transport.ssh_settings import SshOptions


def transport_choice(platform: Platform, ssh_config: str | None) -> list[tuple[str, str, str]]:
    """(host, transport, why) for each host. Reads the ssh configuration, connects to nothing."""
    if platform.transport != "auto":
        return [(host, platform.transport, "configured") for host in platform.hosts]
    options = _options(platform, ssh_config)
    return [(host, *choose(host, options)) for host in platform.hosts]


def login(platform: Platform, ssh_config: str | None) -> list[str]:
    """Open the shared connection to every host; ssh asks on the terminal what it has to. Returns the hosts.

    Raises AuthenticationError if ssh gives up, UsageError for a platform that needs no connection.
    """
    if platform.transport == "local":
        raise UsageError(f"{platform.name} is this machine (transport: local); there is nothing to log in to")
    for host in platform.hosts:
        openssh.login(host, _options(platform, ssh_config))
    return list(platform.hosts)


def logout(platform: Platform, ssh_config: str | None) -> list[str]:
    """End the shared connections; returns the hosts that had one."""
    options = _options(platform, ssh_config)
    return [host for host in platform.hosts if openssh.logout(host, options)]


def _options(platform: Platform, ssh_config: str | None) -> SshOptions:
    return SshOptions(
        ssh_options=platform.ssh_options, connect_timeout=platform.connect_timeout, config_file=ssh_config
    )
