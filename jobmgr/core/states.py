"""The states of jobs and task instances, and the one table of their transitions.

A *task instance* (a task in a cycle) has a state before it has any job: ``waiting`` (for the graph, or for
the time of its next try), ``held`` (by a person, or the whole run is), ``queued`` (ready, but there is no
room: ``max_submit``, a full queue, a platform that is held). From its first job on it shows the state of its
latest job, until it waits again for a retry. A job that a full queue has refused is ``queued`` too, until the
same job is sent again. ``removed`` is an instance that the graph no longer waits for.

A *job* is one submission and begins as ``submitting``; ``submit-unknown`` says that a request may or may not
have arrived, and that nobody may send another one before this is settled. docs/architecture.md has the
picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(str, Enum):
    """A state; its value is the word that users read and write."""

    WAITING = "waiting"
    HELD = "held"
    QUEUED = "queued"
    SUBMITTING = "submitting"
    SUBMIT_UNKNOWN = "submit-unknown"
    SUBMITTED = "submitted"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SUBMIT_FAILED = "submit-failed"
    KILLED = "killed"
    REMOVED = "removed"

    def __str__(self) -> str:
        return self.value


BEFORE_JOB = frozenset({State.WAITING, State.HELD, State.QUEUED})
"""States of a task instance for which the next job is yet to be made."""

ACTIVE = frozenset({State.SUBMITTING, State.SUBMIT_UNKNOWN, State.SUBMITTED, State.RUNNING})
"""States of a job that something may still happen to on its host."""

FINAL = frozenset({State.SUCCEEDED, State.FAILED, State.SUBMIT_FAILED, State.KILLED, State.REMOVED})
"""States that end a job or an instance. Some may be revised, see :data:`TRANSITIONS` and core/decide.py."""

UNSETTLED = frozenset({State.SUBMITTING, State.SUBMIT_UNKNOWN})
"""States of a job whose submission nobody has confirmed yet."""

UNSUCCESSFUL = frozenset({State.FAILED, State.SUBMIT_FAILED, State.KILLED})

_ENDS = frozenset({State.SUCCEEDED, State.FAILED, State.SUBMIT_FAILED, State.KILLED})

TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.WAITING: frozenset({State.HELD, State.QUEUED, State.SUBMITTING, State.REMOVED}),
    State.HELD: frozenset({State.WAITING, State.QUEUED, State.SUBMITTING, State.REMOVED}),
    State.QUEUED: frozenset({State.WAITING, State.HELD, State.SUBMITTING, State.KILLED, State.REMOVED}),
    # Back to queued: the queue took no more, and certainly has not got it.
    State.SUBMITTING: frozenset({State.QUEUED, State.SUBMIT_UNKNOWN, State.SUBMITTED, State.RUNNING}) | _ENDS,
    State.SUBMIT_UNKNOWN: frozenset({State.QUEUED, State.SUBMITTING, State.SUBMITTED, State.RUNNING}) | _ENDS,
    State.SUBMITTED: frozenset({State.RUNNING}) | _ENDS,
    # Back to submitted: the queue starts it again. Never to submit-failed: it did start.
    State.RUNNING: frozenset({State.SUBMITTED, State.SUCCEEDED, State.FAILED, State.KILLED}),
    State.SUCCEEDED: frozenset(),
    # A lost job whose exit record turns up; a failed one that the queue starts again.
    State.FAILED: frozenset({State.SUBMITTED, State.RUNNING, State.SUCCEEDED}),
    State.SUBMIT_FAILED: frozenset({State.SUBMITTED, State.RUNNING, State.SUCCEEDED, State.FAILED}),
    State.KILLED: frozenset(),
    State.REMOVED: frozenset(),
}
"""What may follow what, for one job (or, for the states before a job, one instance). A retry is no
transition: it makes the instance wait for a new job, and the old job keeps its state."""


def can(old: State, new: State) -> bool:
    """Whether ``new`` may follow ``old``. Staying is always allowed."""
    return old is new or new in TRANSITIONS[old]


def may_wait_again(state: State) -> bool:
    """Whether an instance whose latest job has this state may be made to wait for another job (a retry)."""
    return state in _ENDS or state in BEFORE_JOB
