"""Private sshds where a line of authorized_keys forces what a key may do, as a site would write it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from jobmgr.api import Session
from jobmgr.platforms.model import Platform
from jobmgr.service.hosts import Hosts
from jobmgr.transport.private_sshd import PrivateSshd
from jobmgr.transport.remote_call import RemoteSettings, ship
from sshd_hosts import MakeSshd, transport_to


def make_plain(make_sshd: MakeSshd, **kw: Any) -> PrivateSshd:
    """An sshd without a forced command of its own."""
    options = {"ForceCommand": "none", "Subsystem": "sftp internal-sftp", **kw.pop("sshd_options", {})}
    return make_sshd(sshd_options=options, **kw)


def session_at(sshd: PrivateSshd, folder: Path, text: str = "", **settings: str) -> Session:
    """A library session that knows the host by a platform file."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = "".join(f"    {key}: {value}\n" for key, value in settings.items())
    (folder / "platforms.yaml").write_text(
        text or f"platforms:\n  {sshd.name}:\n    hosts: [{sshd.name}]\n    runner: background\n{keys}"
    )
    session = Session(
        folder / "platforms.yaml",
        folder / "runs",
        ssh_config=sshd.ssh_config_path,
        user_files=False,
        home=folder,
    )
    session._world().hosts.control_dir = sshd.path("c")
    return session


def restrict(sshd: PrivateSshd, line: str) -> None:
    """From now on this line is all that authorized_keys says."""
    Path(sshd.path("authorized_keys")).write_text(line + "\n")


def install(sshd: PrivateSshd) -> None:
    """What a first, unrestricted contact leaves."""
    transport = transport_to(sshd, "fabric")
    ship(transport, RemoteSettings())
    transport.close()


def ssh(
    sshd: PrivateSshd, command: str = "", stdin: bytes = b"", *options: str
) -> subprocess.CompletedProcess[bytes]:
    """The command by ssh itself, as somebody who has the key would send it."""
    return subprocess.run(
        [
            "ssh",
            "-F",
            sshd.ssh_config_path,
            "-oBatchMode=yes",
            *options,
            sshd.name,
            *([command] if command else []),
        ],
        input=stdin,
        capture_output=True,
        timeout=60,
    )


def log(sshd: PrivateSshd) -> str:
    """What the host side has written down."""
    path = Path(sshd.home, ".jobmgr/restricted.log")
    return path.read_text() if path.exists() else ""


def hosts_of(sshd: PrivateSshd) -> Hosts:
    return Hosts(ssh_config=sshd.ssh_config_path, control_dir=sshd.path("c"))


def platform_of(sshd: PrivateSshd, **more: Any) -> Platform:
    return Platform(sshd.name, (sshd.name,), **more)
