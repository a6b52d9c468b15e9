"""The table of transitions."""

from __future__ import annotations

import pytest

from jobmgr.core.states import ACTIVE, BEFORE_JOB, FINAL, TRANSITIONS, UNSETTLED, State, can, may_wait_again

S = State


def test_every_state_is_in_the_table_and_in_one_group() -> None:
    assert set(TRANSITIONS) == set(State)
    assert set(State) == BEFORE_JOB | ACTIVE | FINAL
    assert len(BEFORE_JOB) + len(ACTIVE) + len(FINAL) == len(State)


@pytest.mark.parametrize("state", list(State))
def test_staying_is_allowed(state: State) -> None:
    assert can(state, state)


@pytest.mark.parametrize("state", [S.SUCCEEDED, S.KILLED, S.REMOVED])
def test_what_never_changes(state: State) -> None:
    assert not TRANSITIONS[state]


def test_a_job_never_goes_back_to_before_it_was_made() -> None:
    """But a full queue's refusal makes it wait."""
    for state in ACTIVE | FINAL:
        assert TRANSITIONS[state] & BEFORE_JOB == ({State.QUEUED} if state in UNSETTLED else set())
    assert not can(S.SUBMITTED, S.SUBMITTING)
    assert not can(S.RUNNING, S.SUBMIT_FAILED)


def test_every_job_state_is_reached_from_submitting() -> None:
    reached, todo = set(), [S.SUBMITTING]
    while todo:
        state = todo.pop()
        if state not in reached | BEFORE_JOB:
            reached.add(state)
            todo.extend(TRANSITIONS[state])
    assert reached == ACTIVE | FINAL - {S.REMOVED}


def test_an_instance_waits_again_once_its_job_has_ended() -> None:
    assert {state for state in State if may_wait_again(state)} == BEFORE_JOB | FINAL - {S.REMOVED}


def test_a_state_is_its_word() -> None:
    assert f"{S.SUBMIT_UNKNOWN}" == S.SUBMIT_UNKNOWN.value == "submit-unknown"
