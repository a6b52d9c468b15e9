"""What the views read of a job, a run and its explanation, and what they work out of it. Pure.

The records come from the library; a view needs only these names of them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from jobmgr.core.states import FINAL, State


class Row(Protocol):
    """One task's latest job, or a task that has none yet (its ``id`` is then CYCLE/TASK)."""

    @property
    def id(self) -> str: ...
    @property
    def cycle(self) -> str: ...
    @property
    def task(self) -> str: ...
    @property
    def state(self) -> State: ...
    @property
    def doubt(self) -> str: ...
    @property
    def since(self) -> float | None: ...
    @property
    def platform(self) -> str: ...
    @property
    def host(self) -> str: ...
    @property
    def native_id(self) -> str: ...
    @property
    def runner(self) -> str: ...
    @property
    def detail(self) -> str: ...
    @property
    def exit_code(self) -> int | None: ...
    @property
    def submit_time(self) -> float | None: ...
    @property
    def start_time(self) -> float | None: ...
    @property
    def exit_time(self) -> float | None: ...


class Overview(Protocol):
    """A run as a whole."""

    @property
    def name(self) -> str: ...
    @property
    def counts(self) -> Mapping[State, int]: ...
    @property
    def doubts(self) -> int: ...
    @property
    def as_of(self) -> float | None: ...
    @property
    def held(self) -> bool: ...
    @property
    def finished(self) -> float | None: ...
    @property
    def waiting(self) -> Sequence[tuple[str, str]]: ...


ATTENTION = (
    State.FAILED,
    State.SUBMIT_FAILED,
    State.KILLED,
    State.SUBMIT_UNKNOWN,
    State.RUNNING,
    State.SUBMITTED,
    State.SUBMITTING,
    State.QUEUED,
    State.HELD,
    State.WAITING,
    State.REMOVED,
    State.SUCCEEDED,
)
"""The order in which states are listed: what needs a person first."""

COUNTED = (
    State.SUCCEEDED,
    State.RUNNING,
    *(s for s in ATTENTION if s not in (State.SUCCEEDED, State.RUNNING)),
)
"""The order in which a title counts states."""

FEW = 15
FEWER = 5
_MODEST = frozenset({State.WAITING, State.SUCCEEDED, State.REMOVED})


def counts_text(counts: Mapping[State, int], separator: str = " · ") -> str:
    """``421 succeeded · 64 running``; states without a job are left out."""
    return separator.join(f"{counts[state]} {state.value}" for state in COUNTED if counts.get(state))


def count(rows: Iterable[Row]) -> dict[State, int]:
    """How many rows there are of each state."""
    found: dict[State, int] = {}
    for row in rows:
        found[row.state] = found.get(row.state, 0) + 1
    return found


class Kind(Struct, frozen=True):
    """Rows of one state: those worth showing, and how many more there are."""

    state: State
    shown: tuple[Row, ...]
    more: int


def kinds(rows: Sequence[Row], *, all_of_them: bool = False) -> list[Kind]:
    """The rows by state, what needs a person first, a few of each.

    Every different doubt and detail of a state is shown at least once while there is room.
    """
    by_state: dict[State, list[Row]] = {}
    for row in rows:
        by_state.setdefault(row.state, []).append(row)
    generous = all_of_them or len(rows) <= 2 * FEW
    return [
        _kind(state, by_state[state], None if generous else FEWER if state in _MODEST else FEW)
        for state in ATTENTION
        if state in by_state
    ]


def _kind(state: State, rows: list[Row], room: int | None) -> Kind:
    if room is None or len(rows) <= room:
        return Kind(state, tuple(rows), 0)
    first: dict[tuple[str, str], int] = {}
    for index, row in enumerate(rows):
        first.setdefault((row.doubt, row.detail), index)
    special = sorted(first.values(), key=lambda index: (not rows[index].doubt, index))[:room]
    others = (index for index in range(len(rows)) if index not in set(special))
    filled = [*special, *(index for index, _ in zip(others, range(room - len(special)), strict=False))]
    return Kind(state, tuple(rows[index] for index in sorted(filled)), len(rows) - room)


_MEMBER = re.compile(r"(?:_[A-Za-z]+[-+]?[0-9][A-Za-z0-9.+-]*)+\Z")


def family_of(task: str) -> str:
    """The parametrised task of a member such as ``sim_m007`` (``sim``); any other name is its own."""
    return _MEMBER.sub("", task) or task


def by_task(
    states: Mapping[str, State], room: int, group: Callable[[str], str] = family_of
) -> tuple[list[tuple[str, dict[State, int]]], int]:
    """(label, counts by state) per task, for at most ``room`` of them, and how many labels are left out.

    ``states`` maps CYCLE/TASK to a state. Tasks stand for themselves while they fit, else members of a
    parametrised task share a line; a single cycle is not repeated in each label. Where room is short,
    unfinished ones have it.
    """
    cycles = {key.partition("/")[0] for key in states}
    labelled: Callable[[str], str] = (
        (lambda key: key.partition("/")[2]) if len(cycles) <= 1 else (lambda key: key)
    )
    if len(states) > room:
        single = labelled
        labelled = lambda key: group(single(key))  # noqa: E731
    groups: dict[str, dict[State, int]] = {}
    for key, state in states.items():
        counts = groups.setdefault(labelled(key), {})
        counts[state] = counts.get(state, 0) + 1
    if len(groups) <= room:
        return list(groups.items()), 0
    wanted = sorted(groups, key=lambda label: all(state in FINAL for state in groups[label]))[:room]
    return [(label, counts) for label, counts in groups.items() if label in set(wanted)], len(groups) - room
