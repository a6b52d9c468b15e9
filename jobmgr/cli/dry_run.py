"""What ``--dry-run`` shows: the job files, on stdout as they would be written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from jobmgr.cli.context import Context
from jobmgr.errors import EXIT_OK
from jobmgr.views import text


class JobFile(Protocol):
    """A job that would be submitted."""

    @property
    def job(self) -> str: ...
    @property
    def platform(self) -> str: ...
    @property
    def text(self) -> str: ...


def show(found: Sequence[JobFile], context: Context) -> int:
    """Print the files; nothing has been submitted."""
    for one in found:
        context.record("job-file", job=one.job, platform=one.platform, text=one.text)
        context.note(f"--- {one.job} on {one.platform}")
        context.show(text.lines(one.text) if context.out_terminal else one.text)
    context.note(f"{len(found)} job{'s' * (len(found) != 1)}; nothing was submitted")
    return EXIT_OK
