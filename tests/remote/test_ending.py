"""Whose processes they are: decided on tables of processes that nobody has to start."""

from __future__ import annotations

import signal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr_remote import ending, proc
from jobmgr_remote.ending import Ending, Target
from jobmgr_remote.spool import Content, Keeper, Left, Spool

SLOT, WRAPPER = 100, 200
NOBODY = Keeper(Spool("/nowhere", "h", "i"), Content({}, {}), {})


def process(pid: int, ppid: int, pgid: int = 0, sid: int = 0, start: int = 50) -> proc.Process:
    return proc.Process(pid, ppid, pgid or pid, sid or SLOT, str(start), "S", 0)


BASE = (process(SLOT, 1, SLOT, SLOT, 10), process(WRAPPER, SLOT), process(201, WRAPPER, WRAPPER))


def belongs(
    *more: proc.Process,
    marks: dict[int, tuple[str, bool]] | None = None,
    left: tuple[Left, ...] = (),
    wrapper: int = WRAPPER,
    slot: int = SLOT,
    keeper: Keeper | None = None,
) -> set[int]:
    """The process ids that belong to the job ``t`` in a table of BASE and ``more``."""
    target = Target("t", wrapper, "50" if wrapper else "", slot, left, True)
    one = Ending([target], {SLOT, 900}, lambda: None, keeper or NOBODY)
    one._mark = lambda process: (marks or {}).get(process.pid, ("", False))  # type: ignore[method-assign]
    table = {process.pid: process for process in (*BASE, *more)}
    return {process.pid for process, _ in one._belonging(table)}


def test_wrapper_and_descendants_belong_and_the_slot_does_not() -> None:
    assert belongs(process(202, 201), process(300, 1, 300, 300)) == {WRAPPER, 201, 202}


def test_what_the_slot_has_adopted_since_the_job_began_belongs() -> None:
    assert 300 in belongs(process(300, SLOT, 300, 300, 51), process(301, 300, 300, 300, 52))


def test_what_the_slot_had_adopted_before_does_not() -> None:
    assert belongs(process(300, SLOT, 300, 300, 49)) == {WRAPPER, 201}


@pytest.mark.parametrize(
    "left", [Left(300, "50", 300, 300, "u"), Left(299, "50", 300, 299, "u"), Left(299, "50", 299, 300, "u")]
)
def test_of_the_same_tick_the_slots_own_list_decides(left: Left) -> None:
    assert 300 not in belongs(process(300, SLOT, 300, 300), left=(left,))


def test_what_the_job_itself_has_left_to_a_slot_belongs() -> None:
    left = (Left(300, "50", 300, 300, "t"),)
    assert 300 in belongs(process(300, SLOT, 300, 300), left=left, wrapper=0, slot=0)
    assert 300 not in belongs(process(300, SLOT, 300, 300, 99), left=left, wrapper=0, slot=0)


def test_a_token_belongs_wherever_it_is_and_another_one_does_not() -> None:
    marks = {300: ("t", False), 301: ("u", False)}
    assert belongs(process(300, 1, 300, 300), process(301, SLOT, 301, 301, 60), marks=marks) == {
        WRAPPER,
        201,
        300,
    }


def test_sessions_and_groups_that_the_job_has_made_belong() -> None:
    daemon = process(300, 201, 300, 300)
    assert {300, 301} <= belongs(daemon, process(301, 1, 300, 300))
    # The leader has gone, and was none of those before the job.
    assert {302, 303} <= belongs(process(302, 201, 299, 299), process(303, 1, 299, 299))


def test_the_session_of_the_slot_is_not_the_jobs() -> None:
    assert 300 not in belongs(process(300, 1, 300, SLOT, 60))


def test_services_are_spared_with_all_that_they_have_started() -> None:
    marks = {300: ("", True), 900: ("", True), 901: ("u", False)}
    nested = (process(300, 201, 300, 300), process(301, 300, 300, 300), process(900, 201, 900, 900))
    assert belongs(*nested, process(901, 900, 901, 900), marks=marks) == {WRAPPER, 201}


def test_a_number_that_was_given_again_does_not_belong() -> None:
    one = Ending([Target("t", WRAPPER, "7", SLOT, (), True)], {SLOT}, lambda: None, NOBODY)
    one._mark = lambda _: ("", False)  # type: ignore[method-assign]
    assert one._belonging({process.pid: process for process in BASE}) == []


processes = st.lists(
    st.builds(
        process,
        st.integers(2, 30),
        st.integers(1, 30),
        st.integers(2, 30),
        st.integers(2, 30),
        st.integers(40, 60),
    ),
    max_size=12,
)


@given(processes, st.sets(st.integers(2, 30), max_size=3))
def test_no_slot_and_no_foreign_tree_is_ever_taken(table: list[proc.Process], others: set[int]) -> None:
    """Whatever the table: not pid 1, no slot, and nothing of another job that hangs on no process of ours."""
    marks = dict.fromkeys(others, ("u", False))
    got = belongs(*table, marks=marks)
    assert not got & {1, SLOT, 900}
    by_pid = {one.pid: one for one in (*BASE, *table)}
    for pid in got & others:
        assert by_pid[pid].ppid in got or pid == WRAPPER


class Immortal(Ending):
    """A table with one process that does not go."""

    seen = process(WRAPPER, SLOT)._replace(state="D")

    def _new_ones(self) -> list[proc.Process]:
        key = (self.seen.pid, self.seen.start)
        new = [] if key in self.members else [self.seen]
        self.members[key] = self.seen
        self._seen = {key}
        self.owner[key] = "t"
        self.ended.add("t")
        return new


def immortal(monkeypatch: pytest.MonkeyPatch, answer: str) -> tuple[dict[str, list[str]], list[int]]:
    sent: list[int] = []
    monkeypatch.setattr(ending, "AFTER_KILL", 0.02)
    monkeypatch.setattr(ending, "LAST_LINES", 0.02)
    monkeypatch.setattr(proc, "look", lambda _: Immortal.seen)
    monkeypatch.setattr(proc, "send", lambda _, *numbers: sent.extend(numbers) or answer)
    one = Immortal([Target("t", WRAPPER, "50", SLOT, (), True)], set(), lambda: None, NOBODY)
    return one.run(0.02), sent


def test_what_does_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    troubles, sent = immortal(monkeypatch, "")
    assert troubles == {"t": [f"pid {WRAPPER} does not end (state D)"]}
    assert sent[:3] == [signal.SIGSTOP, signal.SIGTERM, signal.SIGCONT]
    assert sent[-1] == signal.SIGKILL


def test_what_may_not_be_signalled_is_said_once_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    troubles, sent = immortal(monkeypatch, "Operation not permitted (pid 200)")
    assert troubles == {"t": ["Operation not permitted (pid 200)"]}
    assert sent == [signal.SIGSTOP]


def test_nothing_to_end_is_nothing_to_do() -> None:
    assert Ending([], set(), lambda: None, NOBODY).run(10) == {}
