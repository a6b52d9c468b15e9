"""The records that go into the store and come out of it.

Times are seconds since the epoch: by the controller's clock, but for the fields of :class:`Job` that say
otherwise. None = not known, or never. What is made for every job of a batch is a named tuple: making a frozen
dataclass costs four times as much.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from ..core.states import State

PENDING, DONE, TOO_LARGE, IS_A_LINK, VANISHED, FAILED = (
    "pending",
    "done",
    "too-large",
    "is-a-link",
    "vanished",
    "failed",
)
RETRIEVAL_STATES = (PENDING, DONE, TOO_LARGE, IS_A_LINK, VANISHED, FAILED)
"""States of a file's retrieval; all but ``pending`` are ends (``failed``: given up)."""


class Instance(Struct, frozen=True):
    """A task in a cycle. ``state``: its own before its first job and while it waits, else its last job's."""

    cycle: str
    task: str
    state: State = State.WAITING
    detail: str = ""
    not_before: float | None = None
    tries: int = 0
    submit_tries: int = 0
    hold: bool = False
    manual: bool = False
    last_submit: int = 0
    changed: float = 0.0

    @property
    def id(self) -> str:
        return f"{self.cycle}/{self.task}"

    @property
    def key(self) -> tuple[str, str]:
        return self.cycle, self.task


class NewSubmit(Struct, frozen=True):
    """A job to be made. ``spec``: JSON text of the submit item, without ``job`` and ``token``.

    ``after``: the submit number that it follows; if another process has taken one since, none is made. None:
    whatever it is.
    """

    cycle: str
    task: str
    platform: str
    host: str
    runner: str
    spec: str
    transport: str = ""
    instance: str = ""
    after: int | None = None


class Job(NamedTuple):
    """One submission of a task; change with ``_replace``.

    ``number`` is the store's own key, ``id`` the name that users know. By the host's clock: ``start_time``,
    ``exit_time``, ``grace_since`` and ``look_time`` (0 = none).
    """

    number: int
    cycle: str
    task: str
    submit: int
    token: str
    platform: str
    host: str
    transport: str
    runner: str
    state: State
    changed: float
    detail: str
    doubt: str
    doubt_since: float | None
    rule: str
    native_id: str
    instance: str
    acknowledged: bool
    tries: int
    submit_time: float
    start_time: float | None
    exit_time: float | None
    exit_record: str
    exit_code: int | None
    signal: str
    reason: str
    elapsed: float | None
    cpu: float | None
    max_rss: int | None
    hostname: str
    attempts: int
    superseded: int
    lost: bool
    retry_safe: bool
    followed: bool
    kill_intended: float | None
    grace_since: float
    grace_instance: str
    look_time: float
    look_instance: str
    seen_size: int
    seen_messages: int
    find: bool
    revoke: bool
    resend: bool
    polls: int
    errors: int
    last_polled: float | None
    last_answer: float | None
    next_poll: float | None

    @property
    def id(self) -> str:
        return job_id(self.cycle, self.task, self.submit)

    @property
    def key(self) -> tuple[str, str]:
        return self.cycle, self.task


Place = tuple[str, str]
"""(platform, host)"""


def by_place(jobs: Iterable[Job]) -> dict[Place, list[Job]]:
    """The jobs of each host, in their order."""
    found: dict[Place, list[Job]] = {}
    for job in jobs:
        found.setdefault((job.platform, job.host), []).append(job)
    return found


def job_id(cycle: str, task: str, submit: int) -> str:
    """``("1", "sim", 1)`` -> ``"1/sim/01"``."""
    return f"{cycle}/{task}/{submit:02d}"


class Message(Struct, frozen=True):
    """What a job announced: ``time`` as in job.status (UTC with ``Z``), ``severity`` (``EVENT`` for a named
    event).
    """

    number: int
    time: str
    severity: str
    text: str


class Change(Struct, frozen=True):
    """The new record of a job after a decision. ``old`` is the job as it was read when the decision was made.

    If the stored state is no longer ``old.state``, or the job was marked to be killed meanwhile, this change
    is not made. ``new`` holds the whole new record (``replace(old, ...)``); what names the job,
    ``submit_time``, ``kill_intended``, ``changed``, ``doubt_since`` and ``followed`` are not taken from it.
    ``text`` is for the history, ``evidence`` (JSON, "" = none) what the decision rests on, ``outputs`` what the
    instance has reached by it, ``messages`` those not seen before. ``ends_all``: it ends the job, and nothing is left
    to be done about that (else the job is one of those to follow).
    """

    old: Job
    new: Job
    kind: str = "poll"
    text: str = ""
    evidence: str = ""
    outputs: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    ends_all: bool = False


class InstanceChange(Struct, frozen=True):
    """What to change of an instance; None = leave as it is. ``not_before`` is taken if ``state`` is given."""

    cycle: str
    task: str
    state: State | None = None
    detail: str | None = None
    not_before: float | None = None
    tries: int | None = None
    submit_tries: int | None = None
    hold: bool | None = None
    manual: bool | None = None
    text: str = ""


class Event(Struct, frozen=True):
    """One line of the history."""

    time: float
    subject: str
    kind: str
    old: str = ""
    new: str = ""
    rule: str = ""
    text: str = ""
    evidence: str = ""
    number: int | None = None


class JobLine(NamedTuple):
    """What ``status`` shows of an instance and its latest job (``submit`` 0: no job yet). ``detail`` is that of the one
    whose state the instance shows, ``job_detail`` the job's; ``not_before``: when the next try is due.
    """

    cycle: str
    task: str
    submit: int
    state: State
    changed: float
    detail: str
    doubt: str
    doubt_since: float | None
    platform: str
    host: str
    native_id: str
    last_answer: float | None
    not_before: float | None
    start_time: float | None
    exit_time: float | None
    elapsed: float | None
    exit_code: int | None
    submit_time: float | None
    cpu: float | None
    max_rss: int | None
    token: str
    runner: str
    job_detail: str


class StateCount(NamedTuple):
    """How many instances show a state, how many of them have a job, and how many of these are in doubt;
    ``last_answer``: the latest answer about one of these jobs.
    """

    state: State
    number: int
    jobs: int
    doubts: int
    last_answer: float | None


LOG_IN = 1
"""The host does not let us in."""
CLEAR = 2
"""The host answers and refuses: another run's directory is in the way, or the site's policy."""


class Host(Struct, frozen=True):
    """What is known of a host of a platform. ``clock_offset``: seconds that its clock is ahead of ours.
    ``auth_blocked``: what a person must do first, :data:`LOG_IN` or :data:`CLEAR`, or 0.
    """

    platform: str
    host: str
    run_dir: str = ""
    instance: str = ""
    hostname: str = ""
    clock_offset: float = 0.0
    last_contact: float | None = None
    last_error: str = ""
    error_since: float | None = None
    errors: int = 0
    blocked_until: float | None = None
    auth_blocked: int = 0
    initialised_epoch: int = 0
    contact_installed: bool = False
    source_digest: str = ""
    shared: bool = False
    network_fs: str = ""
    cores: int = 0


class Retrieval(Struct, frozen=True):
    """One file to bring home; ``number`` is its job's, ``path`` relative to the run directory, ``size`` in
    bytes.
    """

    number: int
    path: str
    size: int
    type: str
    state: str = PENDING
    error: str = ""
    tries: int = 0
    not_before: float | None = None
