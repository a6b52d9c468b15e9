"""What the library tells while it works: frozen records, handed to ``Session(on_event=...)``.

Nothing below the command line prints; it emits one of these. Handlers may be called from several threads, one
call at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from msgspec import Struct

from jobmgr.core.states import State


class Contact(Struct, frozen=True):
    """A host was met for the first time in this run; ``text`` says what was installed there."""

    host: str
    text: str


class Changed(Struct, frozen=True):
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


class Trouble(Struct, frozen=True):
    """A host could not be asked; ``person`` is true if nothing will help until a person acts."""

    host: str
    text: str
    person: bool


class Installed(Struct, frozen=True):
    """Suite files were installed on a host."""

    run: str
    host: str
    files: int


class Retrieved(Struct, frozen=True):
    """Logs and outputs came home; ``left_out`` pairs a path with the reason."""

    run: str
    host: str
    files: int
    size: int
    left_out: tuple[tuple[str, str], ...]


class Note(Struct, frozen=True):
    """Something a person should know; ``level`` is info, warning or error."""

    level: str
    text: str


class Turn(Struct, frozen=True):
    """One turn of the loop is over; ``counts`` are of the latest jobs and of tasks without a job."""

    run: str
    counts: Mapping[State, int]


Event = Contact | Changed | Trouble | Installed | Retrieved | Note | Turn
Emit = Callable[[Event], None]
