"""The connections of one process: a transport per platform and host, shared by all threads and runs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec import Struct, field

from jobmgr_remote import wire

if TYPE_CHECKING:
    from jobmgr.platforms.model import Platform
    from jobmgr.transport.base import Hold, Transport
    from jobmgr.transport.conversation import Talks
    from jobmgr.transport.remote_call import Reply

OnRecord = Callable[[str, Any], None]
_WITH_RUNNERS = (wire.JOBS_SUBMIT, wire.JOBS_POLL, wire.JOBS_KILL, wire.SCAN, wire.CHECK)
LEAVE = 2.0
"""Seconds that the host sides of all hosts get to come to their end when the command does."""
_FOLLOWED = (wire.JOBS_SUBMIT, wire.JOBS_POLL)
"""After these the next call of a command that stays comes soon; after ``remote-init`` it comes at once."""


def faulty(chaos: str, tell: Callable[[str], None] | None = None) -> Callable[[Transport], Transport]:
    """What ``Hosts.wrap`` takes, for faults as ``chaos`` says (docs/cli.md). Raises UsageError."""
    from jobmgr.transport.chaos import Chaos, Chaotic

    parsed = Chaos.parse(chaos)
    return lambda transport: Chaotic(transport, parsed, tell)


class Hosts(Struct):
    """Makes transports on demand and keeps them until :meth:`close`. Safe to use from several threads.

    ``wrap`` is put around every new transport; :func:`faulty` makes one that injects faults. ``staying``: calls of
    the same host follow one another, so the host side is asked to stay for the next one.
    """

    ssh_config: str | None = None
    control_dir: str | None = None
    wrap: Callable[[Transport], Transport] | None = None
    staying: bool = False
    _transports: dict[tuple[str, str], Transport] = field(default_factory=dict)
    _talks: dict[tuple[str, str], Talks] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def transport(self, platform: Platform, host: str) -> Transport:
        """The transport to one host of a platform; nothing is connected yet."""
        key = (platform.name, host)
        with self._lock:
            found = self._transports.get(key)
            if found is None:
                from jobmgr.transport import make_transport

                found = make_transport(
                    platform.transport,
                    host,
                    ssh_options=platform.ssh_options,
                    connect_timeout=platform.connect_timeout,
                    ssh_config=self.ssh_config,
                    control_dir=self.control_dir,
                )
                if self.wrap is not None:
                    found = self.wrap(found)
                self._transports[key] = found
            return found

    def for_files(self, platform: Platform, host: str) -> Transport:
        """The same for rsync, which wants a session of its own on hosts that may allow one only."""
        talks = self._talks.get((platform.name, host))
        if talks is not None:
            talks.close()
        return self.transport(platform, host)

    def _talks_with(self, platform: Platform, host: str) -> Talks | None:
        """The conversations with a host; None where faults are injected, which are drawn for each call."""
        if self.wrap is not None:
            return None
        transport = self.transport(platform, host)
        with self._lock:
            found = self._talks.get((platform.name, host))
            if found is None:
                from jobmgr.transport.conversation import Talks

                found = self._talks[platform.name, host] = Talks(transport)
            return found

    def call(
        self,
        platform: Platform,
        host: str,
        verb: str,
        run: wire.Run,
        options: dict[str, Any],
        items: Sequence[dict[str, Any]] = (),
        *,
        common: dict[str, Any] | None = None,
        on_record: OnRecord | None = None,
        hold: Hold | None = None,
        idle_timeout: float = 60.0,
        more: bool = False,
    ) -> Reply:
        """One remote subcommand on one host. Raises what ``remote_call.call`` raises.

        Runners that are not built in travel along. ``more``: another call of this host follows at once, so the host
        side is asked to stay for it.
        """
        from jobmgr.platforms import third_party
        from jobmgr.transport.remote_call import RemoteSettings
        from jobmgr.transport.remote_call import call as remote_call

        if verb in _WITH_RUNNERS:
            names = {str(item.get("runner", "")) for item in (*items, common or {})} | {platform.runner}
            own = third_party.sources(platform, names)
            options = {**options, "runners": own} if own else options
        talks = self._talks_with(platform, host)
        return remote_call(
            self.transport(platform, host),
            verb,
            run,
            options,
            list(items),
            common=common,
            on_record=on_record,
            hold=hold,
            idle_timeout=idle_timeout,
            remote=RemoteSettings(platform.python, platform.use_login_shell, platform.remote_command),
            talks=talks,
            more=talks is not None
            and (more or verb == wire.REMOTE_INIT or (self.staying and verb in _FOLLOWED)),
        )

    def close(self) -> None:
        """Let go of all connections."""
        with self._lock:
            transports, self._transports = list(self._transports.values()), {}
            talks, self._talks = list(self._talks.values()), {}
        for each in talks:
            each.release()
        until = time.monotonic() + LEAVE
        for each in talks:
            each.close(max(0.0, until - time.monotonic()))
        for transport in transports:
            transport.close()
