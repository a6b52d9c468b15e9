"""The spreadsheet's view: comma-separated values with a header line (RFC 4180, but for the line ends)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable

from jobmgr.views import rows, text, times

COLUMNS = (
    "job", "cycle", "task", "state", "doubt", "since", "platform", "host", "id", "detail", "exit_code",
    "submit_time", "start_time", "exit_time",
)  # fmt: skip


def table(found: Iterable[rows.Row]) -> str:
    """All rows; times are UTC, control characters are shown as their escapes."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in found:
        writer.writerow(
            [
                row.id, row.cycle, row.task, row.state.value, text.one_line(row.doubt), times.utc(row.since),
                row.platform, row.host, text.one_line(row.native_id), text.one_line(row.detail),
                row.exit_code,
                times.utc(row.submit_time), times.utc(row.start_time), times.utc(row.exit_time),
            ]
        )  # fmt: skip
    return out.getvalue()
