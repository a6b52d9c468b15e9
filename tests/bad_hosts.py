"""Hosts with something wrong about each of them, for the tests of bad input."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from jobmgr.transport.private_host import end_inhabitants
from jobmgr.transport.private_sshd import PrivateSshd
from shells import Shell, prepare
from sshd_hosts import end_masters

TOOLS = [
    "sh",
    "bash",
    "env",
    "cat",
    "mkdir",
    "rm",
    "ls",
    "cp",
    "mv",
    "ln",
    "grep",
    "sed",
    "head",
    "tail",
    "tr",
    "sleep",
    "id",
    "uname",
    "hostname",
    "rsync",
    "setsid",
    "date",
    "stat",
    "chmod",
    "touch",
    "dirname",
    "basename",
    "python3",
    "true",
    "false",
    "sort",
    "wc",
    "tar",
    "gzip",
    "kill",
    "mktemp",
    "sync",
]


def path_without(folder: Path, *missing: str, programs: Mapping[str, str] | None = None) -> str:
    """/bin/sh text that sets a PATH with the usual tools, without some, and with programs of one's own."""
    folder.mkdir(parents=True)
    for tool in TOOLS:
        found = os.path.realpath(sys.executable) if tool == "python3" else shutil.which(tool)
        if found and tool not in missing:
            (folder / tool).symlink_to(found)
    for name, text in (programs or {}).items():
        (folder / name).unlink(missing_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    return f"PATH={folder}; export PATH"


@contextlib.contextmanager
def hosts_like(kinds: Mapping[str, Mapping[str, Any]], **platform: str) -> Iterator[Shell]:
    """A user whose hosts differ: name -> keywords of PrivateSshd (``home``: below the test's folder).

    ``path_without``: (tools that are missing, programs of one's own).
    """
    folder = Path(tempfile.mkdtemp(prefix="jm-", dir="/tmp"))
    hosts: dict[str, PrivateSshd] = {}
    try:
        for name, given in kinds.items():
            keywords = dict(given)
            home = folder / keywords.pop("home", name)
            if "path_without" in keywords:
                missing, programs = keywords.pop("path_without")
                prefix = path_without(folder / f"bin-{name}", *missing, programs=programs)
                keywords["force_command_prefix"] = prefix
            hosts[name] = PrivateSshd(folder / f"sshd-{name}", home, name, **keywords)
            hosts[name].start()
        shell = Shell(folder, hosts, extra={"TMPDIR": str(folder)})
        prepare(shell, **platform)
        yield shell
    finally:
        end_masters(str(folder / "me" / ".jobmgr" / "c"))
        for host in hosts.values():
            host.stop()
        end_inhabitants(str(folder))
        shutil.rmtree(folder, ignore_errors=True)


def add_platform(shell: Shell, name: str, **keys: str) -> None:
    """One more platform in the user's file."""
    path = shell.home / "platforms.yaml"
    own = "".join(f"    {key}: {value}\n" for key, value in {"runner": "background", **keys}.items())
    path.write_text(f"{path.read_text()}  {name}:\n{own}")


def add_host(shell: Shell, name: str, port: int) -> None:
    """One more host in the ssh configuration: a port of this machine."""
    path = shell.home / "ssh_config"
    path.write_text(f"{path.read_text()}\nHost {name}\n    HostName 127.0.0.1\n    Port {port}\n")


@contextlib.contextmanager
def refusing_port() -> Iterator[int]:
    """A port of this machine that nothing listens at."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


@contextlib.contextmanager
def silent_port() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    kept.append(server.accept()[0])

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for connection in kept:
                connection.close()
