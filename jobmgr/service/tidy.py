"""The end of a run on its hosts: ``remote-tidy``, and ``clean``, which deletes run directories."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from jobmgr.core.states import ACTIVE
from jobmgr.errors import JobmgrError, RefusedError
from jobmgr.service.context import RunContext
from jobmgr.service.reach import note_contact, note_trouble
from jobmgr.service.workers import each
from jobmgr.store.records import Host
from jobmgr_remote import wire


class Tidied(Struct, frozen=True):
    """What one host said: what was (or would be) removed there, or the error that ended the call."""

    host: str
    removed: tuple[str, ...] = ()
    error: JobmgrError | None = None


def refuse_while_active(ctx: RunContext) -> None:
    """Raises RefusedError while jobs of the run are active, as far as is known here."""
    active = ctx.store.jobs_where(states=ACTIVE)
    if active:
        shown = ", ".join(job.id for job in active[:5])
        count = "1 job is" if len(active) == 1 else f"{len(active)} jobs are"
        raise RefusedError(
            f"{ctx.name}: {count} active ({shown}{' …' if len(active) > 5 else ''}); "
            f"first: jobmgr kill {ctx.name}"
        )


def tidy_hosts(ctx: RunContext, *, clean: bool = False, dry_run: bool = False) -> list[Tidied]:
    """Call ``remote-tidy`` on every host that this run has been to, in parallel. Never raises for a host."""
    hosts = [record for record in ctx.store.hosts() if record.initialised_epoch]
    return each(lambda record: _tidy(ctx, record, clean, dry_run), hosts)


def _tidy(ctx: RunContext, record: Host, clean: bool, dry_run: bool) -> Tidied:
    removed: list[str] = []

    def on_record(kind: str, value: Any) -> None:
        if kind == wire.DATA and isinstance(value.get("removed"), str):
            removed.append(value["removed"])

    try:
        platform = ctx.world.platform(record.platform)
        reply = ctx.world.hosts.call(
            platform,
            record.host,
            wire.REMOTE_TIDY,
            ctx.wire_run(platform),
            {"clean": clean, "dry_run": dry_run, "shared": record.shared},
            on_record=on_record,
        )
    except RefusedError as error:
        return Tidied(record.host, tuple(removed), error)
    except JobmgrError as error:
        note_trouble(ctx, record.platform, record.host, error)
        return Tidied(record.host, tuple(removed), error)
    if not dry_run:
        if reply.hello is not None:
            record = note_contact(ctx, record.platform, record.host, reply.hello.time, reply.hello.instance)
        if clean and not record.shared:
            record = replace(record, initialised_epoch=0, source_digest="")
        ctx.store.set_host(replace(record, contact_installed=False))
    return Tidied(record.host, tuple(removed))


def local_paths(run_dir: Path) -> list[str]:
    """What ``clean`` deletes at home: the run directory, which must not be a link."""
    return [str(run_dir)] if run_dir.is_dir() and not run_dir.is_symlink() else []


def clean_local(run_dir: Path, keep: Sequence[str] = ()) -> None:
    """Delete the run directory at home; links in it are removed, never followed.

    Renamed first, so that a run that was half deleted is no run any more. Raises RefusedError if it cannot be
    deleted.
    """
    if run_dir.is_symlink():
        raise RefusedError(f"{run_dir} is a symbolic link that jobmgr did not make; remove it by hand")
    doomed = run_dir.with_name(f".{run_dir.name}.removed-{os.getpid()}")
    try:
        os.rename(run_dir, doomed)
        import shutil

        shutil.rmtree(doomed)
    except OSError as error:
        raise RefusedError(f"{run_dir} cannot be deleted: {error.strerror} ({error.filename})") from error
