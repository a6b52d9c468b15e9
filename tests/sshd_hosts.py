"""Private sshds as the hosts of a test: made when asked for, gone without a trace when it ends."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from jobmgr.transport import make_transport
from jobmgr.transport.base import Transport
from jobmgr.transport.control_socket import terminate
from jobmgr.transport.private_sshd import PrivateSshd

MakeSshd = Callable[..., PrivateSshd]


@contextlib.contextmanager
def sshd_factory() -> Iterator[MakeSshd]:
    """A function that starts a private sshd; keywords as of PrivateSshd, ``start=False`` only makes it.

    The folders are short on purpose: the path of a control socket has to fit into 107 bytes.
    """
    made: list[PrivateSshd] = []
    folders: list[str] = []

    def make(start: bool = True, **kw: Any) -> PrivateSshd:
        folder = tempfile.mkdtemp(prefix="jm-", dir="/tmp")
        folders.append(folder)
        sshd = PrivateSshd(os.path.join(folder, "d"), os.path.join(folder, "home"), **kw)
        made.append(sshd)
        if start:
            sshd.start()
        return sshd

    try:
        yield make
    finally:
        for folder in folders:
            end_masters(os.path.join(folder, "d", "c"))
        for sshd in made:
            sshd.stop()
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)


def end_masters(control_dir: str) -> None:
    """End the shared connections that live in ``control_dir``."""
    with contextlib.suppress(FileNotFoundError):
        for path in Path(control_dir).iterdir():
            if path.is_socket():
                terminate(str(path))


def transport_to(sshd: PrivateSshd, kind: str, host: str | None = None, **kw: Any) -> Transport:
    """A transport to ``sshd`` whose shared connections live, and die, with the test."""
    if kind == "local":
        return make_transport("local", "localhost")
    kw.setdefault("ssh_config", sshd.ssh_config_path)
    kw.setdefault("control_dir", sshd.path("c"))
    return make_transport(kind, host or sshd.name, **kw)


def write_config(sshd: PrivateSshd, text: str) -> None:
    """Replace the client's configuration."""
    Path(sshd.ssh_config_path).write_text(text, encoding="utf-8")
