"""Make a host ready for a run: its run directory, the service files, the suite's files and inputs.

Order, and what breaks if it is violated: ``remote-init`` first (it tells whose directory it is, and whether
it is our own seen through a shared file system: installing there would copy files onto themselves), then the
files, then the note in the store that the host is ready. A suite of few small files travels with ``remote-init``
itself, which writes them in that order; more go by rsync. A crash in between repeats all of it, which changes
nothing.
"""

from __future__ import annotations

import base64
import io
import json
import os
import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from jobmgr import __version__
from jobmgr.core.events import Contact, Installed, Note
from jobmgr.core.tasks import TaskTable
from jobmgr.errors import RemoteError, UsageError
from jobmgr.platforms.model import Platform
from jobmgr.service import install
from jobmgr.service.context import RunContext
from jobmgr.service.jobspec import input_place
from jobmgr.store.records import Host
from jobmgr_remote import layout, wire

_TAR_CHUNK = 192 * 1024


def ensure_ready(
    ctx: RunContext, platform: Platform, host: str, tasks: Sequence[str], *, force: bool = False
) -> Host:
    """The host's record, after making it ready for these tasks if it was not.

    Raises what a call or rsync raises, and RefusedError if the host has another run of this name.
    """
    epoch = int(ctx.meta("epoch", "1"))
    record = ctx.store.host(platform.name, host)
    suite = _Suite.of(ctx)
    stale = force or record.source_digest != suite.digest
    if force or record.initialised_epoch != epoch or not record.contact_installed:
        record = initialise(
            ctx,
            platform,
            host,
            replace(record, source_digest="") if stale else record,
            suite if stale else None,
        )
    if not record.shared and record.source_digest != suite.digest:
        _install_files(ctx, platform, host, record, suite.files)
        record = replace(record, source_digest=suite.digest)
        ctx.store.set_host(record)
    _ensure_inputs(ctx, platform, host, record, tasks)
    return record


class _Suite(NamedTuple):
    """The files of the suite as they are installed at home, and the name of that state."""

    files: list[str]
    digest: str

    @classmethod
    def of(cls, ctx: RunContext) -> _Suite:
        files = install.installed_files(ctx.run_dir)
        return cls(files, install.digest(ctx.run_dir, files))


def _ensure_inputs(
    ctx: RunContext, platform: Platform, host: str, record: Host, tasks: Sequence[str]
) -> None:
    """Inputs from outside the suite's folder: sent once, and again when one has changed at home."""
    wanted = _inputs(ctx, tasks)
    if not wanted:
        return
    key = f"inputs {platform.name}/{host}"
    known = json.loads(ctx.meta(key, "{}"))
    missing: dict[str, list[str]] = {}
    for folder, names in wanted.items():
        for name in names:
            state = _state_of(os.path.join(folder, name))
            if known.get(f"{folder}/{name}") != state:
                known[f"{folder}/{name}"] = state
                missing.setdefault(folder, []).append(name)
    if missing:
        _push_inputs(ctx, platform, host, record, missing)
        ctx.store.set_meta({key: json.dumps(known)})


def _state_of(path: str) -> list[int]:
    try:
        info = os.stat(path)
    except OSError as error:
        raise UsageError(f"input {path} cannot be read: {error.strerror}") from error
    return [info.st_size, info.st_mtime_ns]


def initialise(
    ctx: RunContext, platform: Platform, host: str, record: Host, suite: _Suite | None = None
) -> Host:
    """Call ``remote-init``; the new record is stored. Tells what a person should know.

    ``suite`` travels along if it is small; then the record says that the host has it.
    """
    probe = _Probe(ctx)
    found: dict[str, Any] = {}
    options: dict[str, Any] = {"symlinks": dict(platform.symlinks), "probe": probe.path}
    files = None if suite is None else install.few_and_small(ctx.run_dir, suite.files)
    if files:
        options["files"] = files
    with probe:
        reply = ctx.world.hosts.call(
            platform,
            host,
            wire.REMOTE_INIT,
            ctx.wire_run(platform),
            options,
            _tar_items(_contact(ctx)),
        )
    for kind, value in reply.records:
        if kind == wire.INIT:
            found = value
        elif kind == wire.NOTE and value.level != "info":
            ctx.emit(Note(value.level, f"{host}: {value.text}"))
    if reply.truncated or reply.hello is None or not found:
        raise RemoteError(f"{host}: the answer to remote-init was cut off; nothing was submitted. Try again")
    if record.initialised_epoch == 0:
        home = f", host side {__version__} installed in ~/.jobmgr" if reply.shipped else ""
        ctx.emit(Contact(host, f"first contact{home}"))
    at_home = platform.transport == "local" and reply.hello.run_dir == str(ctx.run_dir)
    shared = at_home or bool(found.get("shared"))
    record = replace(
        record,
        run_dir=reply.hello.run_dir,
        instance=reply.hello.instance,
        hostname=reply.hello.hostname,
        clock_offset=reply.hello.time - ctx.now(),
        last_contact=ctx.now(),
        last_error="",
        initialised_epoch=int(ctx.meta("epoch", "1")),
        contact_installed=True,
        shared=shared,
        source_digest=suite.digest if suite is not None and found.get("installed") else record.source_digest,
        network_fs=str(found.get("network_fs") or ""),
        cores=int(found.get("cores") or 0),
    )
    ctx.store.set_host(record)
    if suite is not None and found.get("installed"):
        ctx.emit(Installed(ctx.name, host, len(suite.files)))
    ctx.world.greeted.add((ctx.name, platform.name, host))
    return record


class _Probe:
    """A file in the run directory at home by which a host finds out that it sees the same directory."""

    def __init__(self, ctx: RunContext) -> None:
        self.path = f"{layout.SERVICE}/probe-{secrets.token_hex(8)}"
        self._file = ctx.run_dir / self.path

    def __enter__(self) -> None:
        self._file.touch(mode=0o600)

    def __exit__(self, *exc: object) -> None:
        self._file.unlink(missing_ok=True)


def _contact(ctx: RunContext) -> dict[str, bytes]:
    text = json.dumps(
        {
            "suite": ctx.name,
            "uuid": ctx.meta("uuid"),
            "controller": ctx.meta("controller"),
            "owner": ctx.meta("owner"),
            "epoch": int(ctx.meta("epoch", "1")),
            "method": "poll",
        },
        sort_keys=True,
    )
    return {"contact": text.encode() + b"\n"}


def _tar_items(files: dict[str, bytes]) -> list[dict[str, Any]]:
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            member.mode = 0o600
            archive.addfile(member, io.BytesIO(data))
    data = buffer.getvalue()
    return [
        {"tar": base64.b64encode(data[at : at + _TAR_CHUNK]).decode()}
        for at in range(0, len(data), _TAR_CHUNK)
    ]


def _install_files(
    ctx: RunContext, platform: Platform, host: str, record: Host, files: Sequence[str]
) -> None:
    if not files:
        return
    from jobmgr.transport import rsync

    rsync.push(ctx.world.hosts.for_files(platform, host), str(ctx.run_dir), record.run_dir, list(files))
    ctx.emit(Installed(ctx.name, host, len(files)))


def has_own_inputs(ctx: RunContext, task: str) -> bool:
    """Whether a task takes files along that are not the suite's."""
    tasks = ctx.suite.tasks
    if isinstance(tasks, TaskTable) and task in tasks and not tasks.template_of(task).task.inputs:
        return False
    return bool(_inputs(ctx, [task]))


def _inputs(ctx: RunContext, tasks: Sequence[str]) -> dict[str, list[str]]:
    """Inputs from outside the suite's folder: names by folder at home."""
    wanted: dict[str, list[str]] = {}
    seen: set[tuple[str, str]] = set()
    for task in tasks:
        for source, _target in ctx.task(task).inputs:
            folder, name, _place = input_place(ctx.source_root, str(ctx.world.home), source)
            if folder and (folder, name) not in seen:
                seen.add((folder, name))
                wanted.setdefault(folder, []).append(name)
    return wanted


def _push_inputs(
    ctx: RunContext, platform: Platform, host: str, record: Host, wanted: dict[str, list[str]]
) -> None:
    from jobmgr.transport import rsync

    transport = ctx.world.hosts.for_files(platform, host)
    for folder, names in wanted.items():
        place = input_place(ctx.source_root, str(ctx.world.home), os.path.join(folder, names[0]))[2]
        target = f"{record.run_dir}/{os.path.dirname(place)}"
        rsync.push(transport, folder, target, names)
