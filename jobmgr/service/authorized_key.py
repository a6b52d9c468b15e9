"""The line of authorized_keys that binds a key to jobmgr (docs/security.md, "Restricted keys")."""

from __future__ import annotations

from msgspec import Struct

from jobmgr.errors import UsageError
from jobmgr.platforms.model import Platform
from jobmgr.transport import public_keys
from jobmgr.transport.kept_settings import read_settings
from jobmgr.transport.remote_call import RemoteSettings, restricted_command
from jobmgr.transport.ssh_settings import SshOptions
from jobmgr_remote import layout


class AuthorizedKey(Struct, frozen=True):
    """``line`` is for ``~/.ssh/authorized_keys`` on the hosts; ``source`` is the file that the key comes from,
    ``others`` those that ssh would offer too.
    """

    line: str
    source: str
    others: tuple[str, ...] = ()


def authorized_key(
    platform: Platform,
    ssh_config: str | None,
    *,
    poll_only: bool = False,
    allow_install: bool = False,
    key_file: str | None = None,
) -> AuthorizedKey:
    """The line for a platform's hosts. Connects to nothing.

    Raises UsageError if there is no key, or nothing to restrict.
    """
    if platform.transport == "local":
        raise UsageError(f"{platform.name} is this machine (transport: local); no key leads there")
    if poll_only and allow_install:
        raise UsageError("--poll-only and --allow-install exclude each other")
    words = ["--poll-only"] * poll_only + ["--allow-install"] * allow_install
    if platform.run_root != layout.RUN_ROOT:
        words += ["--run-root", platform.run_root]
    if platform.remote_command not in ("", "jobmgr-remote"):
        words += ["--called", platform.remote_command]
    settings = RemoteSettings(platform.python, platform.use_login_shell, platform.remote_command)
    command = restricted_command(settings, words).replace('"', '\\"')
    (source, key), *others = _keys(platform, ssh_config, key_file)
    name = "jobmgr-poll-only" if poll_only else "jobmgr"
    return AuthorizedKey(
        f'command="{command}",restrict {key} {name}', source, tuple(where for where, _ in others)
    )


def _keys(platform: Platform, ssh_config: str | None, key_file: str | None) -> list[tuple[str, str]]:
    if key_file is not None:
        return [(key_file, public_keys.of_file(key_file))]
    host = platform.hosts[0]
    options = SshOptions(platform.ssh_options, platform.connect_timeout, ssh_config)
    found = public_keys.of_host(read_settings(host, options))
    if not found:
        raise UsageError(f"ssh has no key for {host}: make one (ssh-keygen -t ed25519), or name it by --key")
    return found
