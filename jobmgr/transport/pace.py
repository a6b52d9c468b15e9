"""At most 8 new connections per second to one sshd, over all processes of this user on this machine.

sshd drops connections at random beyond ``MaxStartups`` (10:30:100), and sites ban addresses that
log in too often. A small file per sshd holds the boot that it is about and the times (``CLOCK_MONOTONIC``,
the same for all processes) of the latest connections; it is locked only while it is read and written, never
during a connection.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Sequence

from jobmgr.errors import ConnectTimeout
from jobmgr.transport.flocked import StillLocked, flocked
from jobmgr.transport.ssh_settings import SshSettings

PER_SECOND = 8
PATIENCE = 30.0


def reserve(latest: Sequence[float], now: float) -> tuple[tuple[float, ...], float]:
    """The times to remember, and the time at which one more connection may begin (``now`` or later).

    Times of the future beyond what this rule can have made for people who wait are forgotten.
    """
    usable = sorted(stamp for stamp in latest if stamp <= now + 600)[-PER_SECOND:]
    start = now if len(usable) < PER_SECOND else max(now, usable[0] + 1.0)
    return (*usable[-(PER_SECOND - 1) :], start), start


def wait_for_turns(directory: str, settings: SshSettings) -> None:
    """Wait until a connection by these settings is due: at its first gateway, and at the host itself."""
    if settings.proxy_jump:
        wait_for_turn(directory, settings.proxy_jump.split(",")[0])
    wait_for_turn(directory, f"{settings.hostname}:{settings.port}")


def wait_for_turn(directory: str, sshd: str) -> None:
    """Sleep until one more connection to ``sshd`` (``host:port``) is due."""
    name = "pace-" + hashlib.sha256(sshd.encode()).hexdigest()[:16]
    boot = _boot()
    try:
        with flocked(os.path.join(directory, name), PATIENCE) as fd:
            now = time.monotonic()
            latest, start = reserve(_stamps(os.read(fd, 4096), boot), now)
            text = " ".join([boot, *(f"{stamp:.3f}" for stamp in latest)])
            os.ftruncate(fd, 0)
            os.pwrite(fd, text.encode(), 0)
    except StillLocked:
        raise ConnectTimeout(f"{sshd}: {directory} has been locked for {PATIENCE:g} s") from None
    if start > now:
        time.sleep(start - now)


def _boot() -> str:
    """Which boot the clock counts from; after the next one, times that are kept would lie in the future."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "-"


def _stamps(data: bytes, boot: str) -> list[float]:
    first, *words = data.split() or [b""]
    if first.decode(errors="replace") != boot:
        return []
    stamps = []
    for word in words:
        try:
            stamps.append(float(word))
        except ValueError:
            continue
    return stamps
