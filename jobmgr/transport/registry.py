"""From the name of a transport to the transport. The SSH libraries are imported when one is wanted."""

from __future__ import annotations

from collections.abc import Sequence

from jobmgr.errors import UsageError
from jobmgr.transport.base import Transport

KINDS = ("auto", "fabric", "openssh", "local")


def make_transport(
    kind: str,
    host: str,
    *,
    ssh_options: Sequence[str] = (),
    connect_timeout: float = 10.0,
    ssh_config: str | None = None,
    control_dir: str | None = None,
) -> Transport:
    """A transport for ``host``; does not connect (``auto`` asks ssh for its settings).

    ``ssh_options``: ``Key=value`` or ready-made ssh arguments; ``connect_timeout`` in seconds;
    ``ssh_config`` replaces the user's ssh configuration; ``control_dir`` is where shared connections
    live. Raises UsageError for an unknown ``kind``, ConnectError if ``auto`` finds no usable ssh.
    """
    if kind == "local":
        from jobmgr.transport.local import Local

        return Local(host)
    if kind not in KINDS:
        raise UsageError(f"unknown transport {kind!r} (known: {', '.join(KINDS)})")
    from jobmgr.transport.kept_settings import read_settings
    from jobmgr.transport.ssh_settings import SshOptions, checked_host

    checked_host(host)
    options = SshOptions(tuple(ssh_options), connect_timeout, ssh_config, control_dir)
    settings = None
    if kind == "auto":
        from jobmgr.transport.choose import choose_by

        settings = read_settings(host, options)
        kind, _ = choose_by(settings, options)
    if kind == "openssh":
        from jobmgr.transport.openssh import OpenSSH

        return OpenSSH(host, options=options, settings=settings)
    from jobmgr.transport.fabric_ssh import FabricSSH

    return FabricSSH(host, options=options, settings=settings)
