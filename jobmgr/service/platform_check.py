"""``platforms check``: look at every host of a platform, by real connections and a real file there and back.

Per host: each transport once; then one call of ``check``, which is held open while rsync is tried in the
folder that the host made for it, and takes that away when the call ends, however it ends; then as many calls
at a time as jobmgr ever has, to see how many sessions the host allows.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from jobmgr.core.durations import format_duration
from jobmgr.core.platform_report import Attempt, HostLook, PlatformReport, Settings, report
from jobmgr.errors import JobmgrError, TransportError
from jobmgr.platforms.model import Platform
from jobmgr.service.context import World
from jobmgr.service.hosts import Hosts
from jobmgr.service.reach import needs_person
from jobmgr.service.workers import each
from jobmgr.transport import make_transport, rsync
from jobmgr.transport.base import Hold, Transport
from jobmgr.transport.choose import choose
from jobmgr.transport.kept_settings import read_settings
from jobmgr.transport.remote_call import last_lines
from jobmgr.transport.sessions import SESSIONS_PER_CONNECTION
from jobmgr.transport.ssh_settings import SshOptions
from jobmgr_remote import wire

PREFIX = ".jobmgr-check-"
"""Of the names of all that is made for a trial, here and there."""
HOLD = 240
"""Seconds after which the host takes its folder away by itself."""
SETTLE = 3.0
"""Seconds without one more session after which there will be none."""
CALL_TIMEOUT = 120.0
TRIAL_BYTES = 65536
_DURATIONS = ("connect_timeout", "min_polling_interval", "polling_interval", "queued_polling_interval")
_PAIRS = ("symlinks", "environment", "directives")


def check_platform(world: World, platform: Platform) -> PlatformReport:
    """Look at all hosts at the same time and judge. Never raises for a host."""
    looks = each(lambda host: _Look(world, platform, host).look(), platform.hosts)
    return report(settings_of(platform), looks)


def settings_of(platform: Platform) -> Settings:
    """What the judgement needs to know of a platform."""
    return Settings(
        name=platform.name,
        hosts=platform.hosts,
        transport=platform.transport,
        runner=platform.runner,
        runner_chosen=platform.chosen("runner"),
        run_root=platform.run_root,
        remote_command=platform.remote_command,
        polls_every=float(platform.min_polling_interval),
        chosen=_chosen(platform),
    )


def _chosen(platform: Platform) -> dict[str, Any]:
    """The keys that somebody wrote, as they would be written."""
    found: dict[str, Any] = {}
    for key in Platform.__struct_fields__:
        if not platform.chosen(key) or key in ("hosts", "name", "origins", "resources"):
            continue
        value = getattr(platform, key)
        if key in _DURATIONS:
            value = [format_duration(one) for one in (value if isinstance(value, tuple) else (value,))]
            value = value[0] if len(value) == 1 else value
        found[key] = dict(value) if key in _PAIRS else value
    found.update(platform.resources)
    return found


class _Look:
    """The look at one host; what is found is collected in ``seen``."""

    def __init__(self, world: World, platform: Platform, host: str) -> None:
        self.world = world
        self.platform = platform
        self.host = host
        self.seen = HostLook(host)

    def look(self) -> HostLook:
        """All of it. Never raises for the host."""
        # Masters that were not there before end with the look; a socket's path has to be short.
        folder = tempfile.mkdtemp(prefix="jmc", dir="/tmp" if os.access("/tmp", os.W_OK) else None)
        hosts = Hosts(ssh_config=self.world.hosts.ssh_config, control_dir=self._control_dir(folder))
        try:
            self._connect(hosts.control_dir)
            if self.seen.used:
                self._ask(hosts, replace(self.platform, transport=self.seen.used))
        finally:
            hosts.close()
            self._end_masters(folder)
            shutil.rmtree(folder, ignore_errors=True)
        return self.seen

    def _control_dir(self, own: str) -> str | None:
        """Where shared connections are: the user's own if one is up, so that a login by 2FA is used."""
        if self.platform.transport == "local":
            return None
        from jobmgr.transport.openssh import master_is_up

        theirs = self.world.hosts.control_dir
        try:
            return theirs if master_is_up(self.host, self._options(theirs)) else own
        except JobmgrError:
            return own

    def _options(self, control_dir: str | None) -> SshOptions:
        platform = self.platform
        return SshOptions(
            tuple(platform.ssh_options), platform.connect_timeout, self.world.hosts.ssh_config, control_dir
        )

    def _end_masters(self, folder: str) -> None:
        from jobmgr.transport import control_socket

        if self.platform.transport == "local":
            return
        for path in Path(folder).iterdir():
            if path.is_socket():
                control_socket.terminate(str(path))

    # --- transports ----------------------------------------------------------------------------------

    def _connect(self, control_dir: str | None) -> None:
        wanted, why = self._wanted()
        order = [wanted] if wanted == "local" else [wanted, "fabric" if wanted == "openssh" else "openssh"]
        attempts = tuple(self._attempt(kind, control_dir) for kind in order)
        used = next((attempt.transport for attempt in attempts if not attempt.error), "")
        self.seen = replace(self.seen, attempts=attempts, wanted=wanted, used=used, why=why)
        if used and used != "local":
            self.seen = replace(self.seen, host_key=self._host_key())

    def _wanted(self) -> tuple[str, str]:
        if self.platform.transport != "auto":
            return self.platform.transport, "configured"
        try:
            return choose(self.host, self._options(self.world.hosts.control_dir))
        except JobmgrError as error:
            return "openssh", str(error)

    def _attempt(self, kind: str, control_dir: str | None) -> Attempt:
        began = time.monotonic()
        try:
            transport = self._transport(kind, control_dir)
            try:
                transport.connect()
            finally:
                transport.close()
        except JobmgrError as error:
            return Attempt(kind, time.monotonic() - began, str(error), needs_person(error))
        return Attempt(kind, time.monotonic() - began)

    def _transport(self, kind: str, control_dir: str | None) -> Transport:
        return make_transport(
            kind,
            self.host,
            ssh_options=self.platform.ssh_options,
            connect_timeout=self.platform.connect_timeout,
            ssh_config=self.world.hosts.ssh_config,
            control_dir=control_dir,
        )

    def _host_key(self) -> str:
        known = read_settings(self.host, self._options(None)).known()
        kinds = ", ".join(sorted({str(key.key_type) for key in known.keys}))
        return f"verified against known_hosts ({kinds})" if kinds else "verified"

    # --- the host side -------------------------------------------------------------------------------

    def _ask(self, hosts: Hosts, platform: Platform) -> None:
        arrived = threading.Event()
        found: dict[str, Any] = {}

        def take(kind: str, value: Any) -> None:
            if kind == wire.INIT:
                found.update(value)
                arrived.set()

        with Hold() as hold, _Probe(self.world.run_root) as probe:
            caller = threading.Thread(
                target=self._call, args=(hosts, platform, hold, probe, take, arrived), daemon=True
            )
            caller.start()
            arrived.wait(CALL_TIMEOUT)
            try:
                if found:
                    self._try_rsync(hosts, platform, found)
            finally:
                hold.release()
                caller.join(CALL_TIMEOUT)
        if found:
            self.seen = replace(self.seen, found=found)
            self._count_sessions(hosts, platform)

    def _call(
        self, hosts: Hosts, platform: Platform, hold: Hold, probe: str, take: Any, arrived: threading.Event
    ) -> None:
        """The held call. ``call_seconds`` is the time until its answer; its shipment, if any, included."""
        began = time.monotonic()
        timed: list[float] = []

        def first(kind: str, value: Any) -> None:
            if kind == wire.HELLO:
                offset = value.time - self.world.clock()
                self.seen = replace(self.seen, version=value.version, clock_offset=offset)
            elif kind == wire.INIT:
                timed.append(time.monotonic() - began)
            take(kind, value)

        try:
            answer = hosts.call(
                platform,
                self.host,
                wire.CHECK,
                self._run(),
                {"hold": HOLD, "probe": probe},
                on_record=first,
                hold=hold,
                idle_timeout=CALL_TIMEOUT,
            )
        except JobmgrError as error:
            self.seen = replace(self.seen, error=str(error))
        else:
            self.seen = replace(
                self.seen, noise=last_lines(answer.noise), shipped=answer.shipped, error=answer.failure
            )
        finally:
            seconds = timed[0] if timed else time.monotonic() - began
            self.seen = replace(self.seen, call_seconds=seconds)
            arrived.set()

    def _run(self) -> wire.Run:
        """A run that does not exist: the verb wants only its root."""
        from uuid import uuid4

        platform, world = self.platform, self.world
        at_home = platform.transport == "local" and not platform.chosen("run_root")
        root = str(world.run_root) if at_home else platform.run_root
        suite = f"jobmgr-check-{secrets.token_hex(6)}"
        return wire.Run(root, suite, str(uuid4()), world.controller, 1, world.owner)

    def _try_rsync(self, hosts: Hosts, platform: Platform, found: Mapping[str, Any]) -> None:
        """A small file there and back."""
        there = str(found.get("folder") or "")
        if not there or platform.transport == "local":
            return
        transport = hosts.transport(platform, self.host)
        data = secrets.token_bytes(TRIAL_BYTES)
        with tempfile.TemporaryDirectory(prefix="jobmgr-check-") as here:
            Path(here, "out").mkdir()
            Path(here, "out", "trial file").write_bytes(data)
            times = [time.monotonic()]
            try:
                rsync.push(transport, f"{here}/out", there, ["trial file"])
                times.append(time.monotonic())
                rsync.pull(transport, there, f"{here}/back", ["trial file"])
                times.append(time.monotonic())
                same = Path(here, "back", "trial file").read_bytes() == data
            except (TransportError, OSError) as error:
                self.seen = replace(self.seen, rsync_error=str(error))
                return
        if same:
            self.seen = replace(self.seen, rsync_seconds=(times[1] - times[0], times[2] - times[1]))
        else:
            self.seen = replace(self.seen, rsync_error="a file came back changed")

    # --- sessions ------------------------------------------------------------------------------------

    def _count_sessions(self, hosts: Hosts, platform: Platform) -> None:
        """Open as many calls at a time as jobmgr ever has, and count how many arrive."""
        if platform.transport == "local":
            return
        up = threading.Semaphore(0)
        wanted = SESSIONS_PER_CONNECTION

        def one(hold: Hold) -> None:
            with contextlib.suppress(JobmgrError):  # then it does not count
                hosts.call(
                    platform,
                    self.host,
                    wire.CHECK,
                    self._run(),
                    {"sessions": True, "hold": HOLD},
                    on_record=lambda kind, _: up.release() if kind == wire.DATA else None,
                    hold=hold,
                    idle_timeout=CALL_TIMEOUT,
                )

        with Hold() as hold:
            threads = [threading.Thread(target=one, args=(hold,), daemon=True) for _ in range(wanted)]
            for thread in threads:
                thread.start()
            count = 0
            while count < wanted and up.acquire(timeout=SETTLE):
                count += 1
            hold.release()
            for thread in threads:
                thread.join(CALL_TIMEOUT)
        self.seen = replace(self.seen, sessions=count, asked_sessions=wanted)


class _Probe:
    """A file in the run root at home, by which a host finds out that it sees the same folder."""

    def __init__(self, run_root: Path) -> None:
        self._root = run_root
        self._made = not run_root.is_dir()
        self._name = PREFIX + secrets.token_hex(8)

    def __enter__(self) -> str:
        try:
            self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self._root / self._name).touch(mode=0o600)
        except OSError:
            return ""
        return self._name

    def __exit__(self, *exc: object) -> None:
        try:
            (self._root / self._name).unlink(missing_ok=True)
            if self._made:
                self._root.rmdir()
        except OSError:
            pass  # somebody uses it by now
