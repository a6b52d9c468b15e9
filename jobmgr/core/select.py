"""Which jobs does a user mean? ``CYCLE/TASK[/NN]``, ``TASK``, a glob or a family, each with ``:STATE``. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from fnmatch import fnmatchcase

from msgspec import Struct

from jobmgr.core.nearest import hint
from jobmgr.core.states import State
from jobmgr.errors import NotFoundError, UsageError

_PART = re.compile(r"[A-Za-z0-9_.+@%\[\]*?!-]+\Z")


class Selector(Struct, frozen=True):
    """One parsed ID; ``cycle`` and ``task`` are globs, ``submit`` is a number or None for the latest."""

    text: str
    cycle: str
    task: str
    submit: int | None
    state: State | None

    def matches(self, cycle: str, task: str, families: Iterable[str], state: State | None) -> bool:
        """Whether a task of a cycle is meant; ``submit`` is for the caller to look at."""
        return (
            (self.state is None or self.state == state)
            and fnmatchcase(cycle, self.cycle)
            and (fnmatchcase(task, self.task) or self.task in families)
        )


def parse(text: str) -> Selector:
    """Read one ID. Raises UsageError if it is none."""
    body, colon, state_name = text.partition(":")
    state = _state(text, state_name) if colon else None
    parts = body.split("/") if body else ["*", "*"]
    if len(parts) == 1:
        parts = ["*", parts[0]]
    if len(parts) > 3 or ".." in body or not all(_PART.match(part) for part in parts):
        raise UsageError(
            f"not an ID: {text!r} (expected CYCLE/TASK, CYCLE/TASK/NN, TASK or a glob, "
            "each with an optional :STATE)"
        )
    submit: int | None = None
    if len(parts) == 3 and parts[2] != "NN":
        if not parts[2].isdecimal():
            raise UsageError(f"not an ID: {text!r} (the submit number {parts[2]!r} is no number)")
        submit = int(parts[2])
    return Selector(text, parts[0], parts[1], submit, state)


def _state(text: str, name: str) -> State:
    try:
        return State(name)
    except ValueError:
        near = get_close_matches(name, [state.value for state in State], 1)
        hint = f"nearest: {near[0]}" if near else "states: " + " ".join(state.value for state in State)
        raise UsageError(f"{text}: unknown state {name!r} ({hint})") from None


class Candidate(Struct, frozen=True):
    """One task of a cycle as it can be selected; ``submits`` are its job numbers, ascending."""

    cycle: str
    task: str
    state: State | None
    submits: tuple[int, ...]


def select(
    ids: Sequence[str], candidates: Sequence[Candidate], families: Mapping[str, Sequence[str]]
) -> list[tuple[Candidate, int | None]]:
    """All candidates that the IDs mean, in the order of ``candidates``, each with a submit number (None: the
    latest).

    No IDs: all of them. ``families`` maps a family, or a parametrised task, to its members. Raises UsageError
    for a bad ID and NotFoundError for one that matches nothing.
    """
    if not ids:
        return [(candidate, None) for candidate in candidates]
    member_of: dict[str, list[str]] = {}
    for family, members in families.items():
        for member in members:
            member_of.setdefault(member, []).append(family)
    chosen: dict[tuple[str, str, int | None], tuple[Candidate, int | None]] = {}
    position = {id(candidate): index for index, candidate in enumerate(candidates)}
    exact = {(candidate.cycle, candidate.task): candidate for candidate in candidates}
    for text in ids:
        selector = parse(text)
        one = exact.get((selector.cycle, selector.task))
        pool = [one] if one is not None else candidates
        found = False
        for candidate in pool:
            if selector.submit is not None and selector.submit not in candidate.submits:
                continue
            if selector.matches(
                candidate.cycle, candidate.task, member_of.get(candidate.task, ()), candidate.state
            ):
                found = True
                chosen.setdefault(
                    (candidate.cycle, candidate.task, selector.submit), (candidate, selector.submit)
                )
        if not found:
            raise NotFoundError(_nothing(text, selector, candidates, families))
    return sorted(chosen.values(), key=lambda pair: position[id(pair[0])])


def _nothing(
    text: str, selector: Selector, candidates: Sequence[Candidate], families: Mapping[str, Sequence[str]]
) -> str:
    if selector.state is not None and any(
        selector.task == "*" or fnmatchcase(candidate.task, selector.task) for candidate in candidates
    ):
        return f"{text}: no such job is {selector.state.value} now"
    of_task = [candidate for candidate in candidates if fnmatchcase(candidate.task, selector.task)]
    cycles = [candidate.cycle for candidate in of_task]
    if of_task and not any(fnmatchcase(cycle, selector.cycle) for cycle in cycles):
        return f"{text} matches nothing{hint(selector.cycle, cycles, 'cycles')}"
    if len(of_task) == 1 and selector.submit is not None:
        one = of_task[0]
        last = f"its last one is {one.submits[-1]:02d}" if one.submits else "it has none yet"
        return f"{text} matches nothing: {one.cycle}/{one.task} has no such job ({last})"
    names = {candidate.task for candidate in candidates} | set(families)
    return f"{text} matches nothing{hint(selector.task, names, 'tasks')}"
