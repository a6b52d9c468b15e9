"""One loop per run at a time: the lock that ``tick``, ``play`` and ``submit`` hold, across processes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from jobmgr.errors import RefusedError, StoreError
from jobmgr.transport.flocked import StillLocked, flocked
from jobmgr_remote import layout

STAYING = ("play", "wait", "as_completed")
"""Commands that turn the loop until their run, or the jobs that they wait for, have ended."""


class Busy(RefusedError):
    """Another process turns the loop of this run; ``holder`` says which, as far as is known."""

    def __init__(self, text: str, holder: str) -> None:
        super().__init__(text)
        self.holder = holder


@contextmanager
def loop_lock(run_dir: Path, name: str, what: str, timeout: float = 0.0) -> Iterator[None]:
    """Hold the loop of a run. ``what``: the command, for the one who finds it taken.

    Raises Busy after ``timeout`` seconds, at once if the one who has it stays until the run ends; StoreError where
    the file system cannot lock.
    """
    path = run_dir / layout.LOCK_FILE
    patience = 0.0 if _holder(run_dir).startswith(STAYING) else timeout
    with ExitStack() as stack:
        try:
            stack.enter_context(flocked(str(path), patience))
        except StillLocked:
            holder = _holder(run_dir)
            raise Busy(f"{name}: {holder} is at work on this run", holder) from None
        except OSError as error:
            raise StoreError(
                f"{path}: this file system cannot lock files ({error}); keep runs on another one with --run-root"
            ) from error
        note = run_dir / f"{layout.LOCK_FILE}.holder"
        stack.callback(note.unlink, missing_ok=True)
        note.touch(mode=0o600)
        note.write_text(f"{what} (pid {os.getpid()})\n", encoding="utf-8")
        yield


@contextmanager
def definition_lock(run_dir: Path, name: str) -> Iterator[None]:
    """Hold the definition of a run's suite, for the moment in which ad-hoc tasks are added to it. Raises Busy."""
    import filelock  # here: it imports asyncio, which every tick would wait for

    lock = filelock.FileLock(run_dir / f"{layout.LOCK_FILE}.suite", mode=0o600)
    try:
        lock.acquire(timeout=30.0, poll_interval=0.05)
    except filelock.Timeout:
        raise Busy(f"{name}: another jobmgr adds a job to this run", "another jobmgr") from None
    except (OSError, NotImplementedError) as error:
        raise StoreError(f"{run_dir}: this file system cannot lock files ({error})") from error
    try:
        yield
    finally:
        lock.release()


def _holder(run_dir: Path) -> str:
    try:
        return (run_dir / f"{layout.LOCK_FILE}.holder").read_text(
            encoding="utf-8"
        ).strip() or "another jobmgr"
    except OSError:
        return "another jobmgr"
