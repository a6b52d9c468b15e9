"""What the library tells while it works: frozen records, handed to ``Session(on_event=...)``.

Nothing below the command line prints; it emits one of these. Handlers may be called from several threads, one
call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from jobmgr.core.states import State


@dataclass(frozen=True, slots=True)
class Contact:
    """A host was met for the first time in this run; ``text`` says what was installed there."""

    host: str
    text: str


@dataclass(frozen=True, slots=True)
class Changed:
    """A job's state, or its doubt, changed. ``time`` is seconds since the epoch, from job.status where it
    tells.
    """

    run: str
    job_id: str
    old: State | None
    new: State
    detail: str
    native_id: str
    platform: str
    host: str
    time: float
    doubt: str
    runner: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """A host could not be asked; ``person`` is true if nothing will help until a person acts."""

    host: str
    text: str
    person: bool


@dataclass(frozen=True, slots=True)
class Installed:
    """Suite files were installed on a host."""

    run: str
    host: str
    files: int


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Logs and outputs came home; ``left_out`` pairs a path with the reason."""

    run: str
    host: str
    files: int
    size: int
    left_out: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should know; ``level`` is info, warning or error."""

    level: str
    text: str


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the loop is over; ``counts`` are of the latest jobs and of tasks without a job."""

    run: str
    counts: Mapping[State, int]


Event = Contact | Changed | Trouble | Installed | Retrieved | Note | Turn
Emit = Callable[[Event], None]
