"""Makers of views, evidence and looks for the tests of decisions."""

from __future__ import annotations

from typing import Any

from jobmgr.core.evidence import Facts, JobView, Look
from jobmgr.core.states import State
from jobmgr_remote import wire

TOKEN = "00000000-0000-4000-8000-000000000001"
START = "2026-11-20T11:20:03Z"
END = "2026-11-20T11:50:00Z"
NOW = 1_800_000_000.0
HERE = "boot1:4026531836:12"
ELSEWHERE = "boot2:4026531836:15"


def view(state: State = State.SUBMITTED, **more: Any) -> JobView:
    """A batch job with a native id, or what ``more`` says."""
    batch = more.pop("batch", True)
    values: dict[str, Any] = {
        "job": "1/sim/01",
        "token": TOKEN,
        "runner": "slurm" if batch else "background",
        "batch": batch,
        "state": state,
        "native_id": "812345" if batch else "",
        "instance": HERE,
        "acknowledged": True,
        "seen_size": 100,
        "tries": 1,
    }
    if state is State.RUNNING and "facts" not in more:
        values["facts"] = Facts(start_time=NOW - 600, attempts=1)
    return JobView(**{**values, **more})


def unsettled(**more: Any) -> JobView:
    """A job whose submit has had no answer."""
    return view(
        **{"state": State.SUBMIT_UNKNOWN, "native_id": "", "acknowledged": False, "seen_size": 0, **more}
    )


def file(exit: str = "", started: bool = False, **more: Any) -> wire.FileEvidence:
    """A job.status that was read."""
    facts = dict(more.pop("facts", {}))
    if started or exit:
        facts.update({"START_TIME": START, "PID": "4711"})
    if exit:
        facts.update({"EXIT": exit, "EXIT_TIME": END})
    attempts = more.pop("attempts", 1 if facts else 0)
    fields = {
        "state": wire.FILE_OK,
        "size": 500,
        "facts": facts,
        "messages": (),
        "message_count": 0,
        "error": "",
    }
    return wire.FileEvidence(**{**fields, "attempts": attempts, **more})


def no_file(state: str = wire.FILE_MISSING, error: str = "") -> wire.FileEvidence:
    return wire.NO_FILE._replace(state=state, error=error)


def queue(
    state: str = wire.Q_NOT_ASKED, raw: str = "", reason: str = "", error: str = ""
) -> wire.QueueEvidence:
    return wire.QueueEvidence(state, raw, reason, error)


def found(
    state: str = wire.FOUND_NOT_ASKED, native_id: str = "", error: str = "", alive: bool = False
) -> wire.Found:
    return wire.Found(state, native_id, error, alive)


def evidence(**more: Any) -> wire.Evidence:
    """Evidence; ``queue`` and ``found`` may be given as their state alone."""
    values: dict[str, Any] = {
        "job": "1/sim/01",
        "token": TOKEN,
        "file": file(),
        "queue": wire.NO_QUEUE,
        "process": wire.P_NOT_ASKED,
        "claim": wire.C_NONE,
        "native_id": "",
        "fenced": True,
        "killed": False,
        "spool": wire.S_NONE,
        "found": wire.NO_FOUND,
        "files": None,
    }
    values.update(more)
    if isinstance(values["queue"], str):
        values["queue"] = queue(values["queue"])
    if isinstance(values["found"], str):
        values["found"] = found(values["found"])
    return wire.Evidence(**values)


def look(seen: wire.Evidence | None, at: float = 0.0, **more: Any) -> Look:
    """A look, ``at`` seconds after NOW."""
    values: dict[str, Any] = {"evidence": seen, "time": NOW + at, "instance": HERE, **more}
    return Look(**values)
