"""The machine's view: one JSON object a line, each with ``schema`` and ``type`` (docs/cli.md lists them).

A new field may be added under the same schema number; one that changes its meaning raises it. Times are UTC.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from enum import Enum
from typing import Any

from msgspec import Struct

from jobmgr.core import events
from jobmgr.views import rows, times

SCHEMA = 1

_TIME_FIELDS = frozenset(
    {"since", "submit_time", "start_time", "exit_time", "next_try", "as_of", "finished", "time", "started"}
)


def line(kind: str, **values: Any) -> str:
    """One JSON line of type ``kind``, ASCII only."""
    return json.dumps({"schema": SCHEMA, "type": kind, **values}, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Struct):
        return record(value)
    if isinstance(value, Mapping):
        return {str(key.value if isinstance(key, Enum) else key): item for key, item in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "backslashreplace")
    return str(value)


def record(value: Any) -> dict[str, Any]:
    """The fields of a record of the library; its points in time as UTC text."""
    found: dict[str, Any] = {}
    for name in value.__struct_fields__:
        item = getattr(value, name)
        if name in _TIME_FIELDS and isinstance(item, (int, float)):
            item = times.utc(item)
        elif isinstance(item, Mapping):
            item = _plain(item)
        found[name] = item
    return found


def job(run: str, row: rows.Row) -> str:
    """A job, or a task without one; of type ``job``."""
    return line("job", run=run, **record(row))


def overview(summary: rows.Overview) -> str:
    """A run as a whole; of type ``run``."""
    values = record(summary)
    values["waiting"] = [{"job": name, "why": why} for name, why in summary.waiting]
    return line("run", **values)


_EVENT_TYPES = {
    events.Contact: "contact",
    events.Changed: "changed",
    events.Trouble: "trouble",
    events.Installed: "installed",
    events.Retrieved: "retrieved",
    events.Note: "note",
    events.Turn: "turn",
}


def event(happened: events.Event) -> str:
    """Something that the library told while it worked."""
    values = record(happened)
    if isinstance(happened, events.Retrieved):
        values["left_out"] = [{"path": path, "why": why} for path, why in happened.left_out]
    return line(_EVENT_TYPES[type(happened)], **values)
