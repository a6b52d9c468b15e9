"""One log of a job: from home if it has come home whole, else from the host, as a stream of bytes."""

from __future__ import annotations

import base64
import binascii
import os
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from msgspec import Struct

from jobmgr.core.states import FINAL, State
from jobmgr.errors import JobmgrError, NotFoundError, TransportError
from jobmgr.service import activity
from jobmgr.service.context import RunContext
from jobmgr.service.workers import take
from jobmgr.store import records
from jobmgr.store.records import Job
from jobmgr.transport.base import Hold
from jobmgr_remote import layout, wire

LEAVE = 2.0
"""Seconds that a host gets to end a follow when nobody reads it any more."""
SHORT = {
    "out": layout.OUT_FILE,
    "err": layout.ERR_FILE,
    "job": layout.JOB_FILE,
    "status": layout.STATUS_FILE,
    "activity": layout.ACTIVITY_FILE,
}


class LogFile(Struct, frozen=True):
    """One file of a job's log directory: size in bytes, time of its last change, where it is (``here`` or the
    host).
    """

    name: str
    size: int
    time: float
    where: str


def file_name(name: str) -> str:
    """``out`` -> ``job.out``; other names as they are. Raises NotFoundError for one that leads out of the
    job's folder.
    """
    full = SHORT.get(name, name)
    try:
        layout.check_relative(full)
    except ValueError:
        raise NotFoundError(f"not a log of a job: {name!r}") from None
    return full


def local_file(ctx: RunContext, job: Job, name: str) -> Path | None:
    """The log at home if it is all there; None if the host may have more."""
    path = ctx.job_dir(job.id) / file_name(name)
    record = ctx.store.host(job.platform, job.host)
    if record.shared and path.exists():
        return path
    if job.state not in FINAL or path.is_symlink() or not path.is_file():
        return None
    relative = layout.job_file(job.id, file_name(name))
    entries = {
        entry.path: entry for entry in ctx.store.retrievals(records.RETRIEVAL_STATES, number=job.number)
    }
    entry = entries.get(relative)
    return path if entry is not None and entry.state == records.DONE else None


def stream(
    ctx: RunContext, job: Job, name: str, *, follow: bool = False, tail: int | None = None
) -> Iterator[bytes]:
    """The bytes of a log. ``follow``: until the job has ended; ``tail``: only the last so many lines.

    Raises NotFoundError if there is no such log, TransportError if the host cannot be asked (and nothing is
    here).
    """
    if file_name(name) == layout.ACTIVITY_FILE:
        yield activity.text_of(ctx.store.history(job.number)).encode()
        return
    here = local_file(ctx, job, name)
    if here is not None and not (follow and job.state not in FINAL):
        yield from _local(here, tail)
        return
    try:
        yield from _remote(ctx, job, name, follow, tail)
    except NotFoundError as error:
        if job.state is not State.SUBMIT_FAILED:
            raise
        raise NotFoundError(f"{job.id} has no {file_name(name)}, it was not submitted: {job.detail}") from error
    except TransportError:
        path = ctx.job_dir(job.id) / file_name(name)
        if follow or not path.is_file():
            raise
        yield from _local(path, tail)


def _local(path: Path, tail: int | None) -> Iterator[bytes]:
    try:
        with open(path, "rb") as file:
            if tail is not None:
                file.seek(_tail_offset(path, tail))
            while chunk := file.read(65536):
                yield chunk
    except FileNotFoundError:
        raise NotFoundError(f"there is no {path.name} of this job") from None


def _tail_offset(path: Path, lines: int) -> int:
    size = path.stat().st_size
    with open(path, "rb") as file:
        at, found = size, 0
        while at > 0:
            step = min(65536, at)
            at -= step
            file.seek(at)
            chunk = file.read(step)
            if at + step == size and chunk.endswith(b"\n"):
                found -= 1
            position = len(chunk)
            while (position := chunk.rfind(b"\n", 0, position)) >= 0:
                found += 1
                if found >= lines:
                    return at + position + 1
    return 0


def _remote(ctx: RunContext, job: Job, name: str, follow: bool, tail: int | None) -> Iterator[bytes]:
    """Bytes as the host sends them; closing the iterator ends the follow on the host."""
    platform = ctx.world.platform(job.platform)
    options: dict[str, Any] = {
        "job": job.id,
        "token": job.token,
        "file": file_name(name),
        "mode": "follow" if follow else "cat",
    }
    if tail is not None:
        options["tail_lines"] = tail
    chunks: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
    hold = Hold()

    def on_record(kind: str, value: Any) -> None:
        if kind == wire.DATA and isinstance(value.get("b64"), str):
            try:
                chunks.put(base64.b64decode(value["b64"], validate=True))
            except binascii.Error:
                chunks.put(TransportError(f"{job.host}: a part of the log arrived broken"))

    def work() -> None:
        try:
            ctx.world.hosts.call(
                platform,
                job.host,
                wire.CAT_LOG,
                ctx.wire_run(platform),
                options,
                (),
                on_record=on_record,
                hold=hold if follow else None,
            )
        except JobmgrError as error:
            chunks.put(error)
        finally:
            chunks.put(None)

    thread = threading.Thread(target=work, name="jobmgr-log", daemon=True)
    thread.start()
    try:
        while (item := take(chunks)) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        hold.release()
        thread.join(LEAVE)
        if not thread.is_alive():  # else the host is silent, and nobody who stops looking waits for it
            hold.close()


def files(ctx: RunContext, job: Job) -> list[LogFile]:
    """The files of a job's log directory, at home and on its host. A host that cannot be asked is left out.
    """
    folder = ctx.job_dir(job.id)
    found: dict[str, LogFile] = {}
    for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
        if path.is_file() and not path.is_symlink():
            info = path.stat()
            name = str(path.relative_to(folder))
            found[name] = LogFile(name, info.st_size, info.st_mtime, "here")
    if ctx.store.host(job.platform, job.host).shared:
        return list(found.values())
    platform = ctx.world.platform(job.platform)
    try:
        reply = ctx.world.hosts.call(
            platform,
            job.host,
            wire.CAT_LOG,
            ctx.wire_run(platform),
            {"job": job.id, "token": job.token, "mode": "list"},
        )
    except JobmgrError:
        if not found:
            raise
        return list(found.values())
    for kind, value in reply.records:
        if kind == wire.DATA and "name" in value:
            here = found.get(value["name"])
            if here is None or here.size < int(value["size"]):
                found[value["name"]] = LogFile(
                    value["name"], int(value["size"]), float(value["time"]), job.host
                )
    return sorted(found.values(), key=lambda entry: entry.name)


def path_of(ctx: RunContext, job: Job, name: str) -> str:
    """Where a log is: a path at home if it is here, else ``HOST:PATH``."""
    here = ctx.job_dir(job.id) / file_name(name)
    if here.exists():
        return str(here)
    record = ctx.store.host(job.platform, job.host)
    return f"{job.host}:{os.path.join(record.run_dir or '?', layout.job_file(job.id, file_name(name)))}"
