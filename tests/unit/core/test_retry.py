"""What follows a final state."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.retry import (
    BACKOFF,
    NEVER_FOLLOWED,
    Ended,
    Policy,
    after_final,
    backoff,
    contact_backoff,
)
from jobmgr.core.states import FINAL, State

S = State
POLICY = Policy((60.0, 600.0), (10.0,))


def test_a_failed_job_is_retried_by_its_delays() -> None:
    first = after_final(Ended(S.FAILED, retry_safe=True, submit_tries=1), POLICY, 1000.0)
    assert (first.again, first.at, first.tries, first.submit_tries) == (True, 1060.0, 1, 0)
    assert first.text == "retry 1 of 2 in 60 s"
    second = after_final(Ended(S.FAILED, retry_safe=True, tries=1), POLICY, 1000.0)
    assert (second.at, second.tries) == (1600.0, 2)
    last = after_final(Ended(S.FAILED, retry_safe=True, tries=2), POLICY, 1000.0)
    assert (last.again, last.tries, last.text) == (False, 2, "no retries left")


def test_a_submit_failed_job_has_delays_of_its_own() -> None:
    first = after_final(Ended(S.SUBMIT_FAILED, retry_safe=True, tries=1), POLICY, 0.0)
    assert (first.again, first.at, first.tries, first.submit_tries, first.fence_first) == (
        True,
        10.0,
        1,
        1,
        False,
    )
    assert not after_final(Ended(S.SUBMIT_FAILED, retry_safe=True, submit_tries=1), POLICY, 0.0).again


def test_without_delays_nothing_is_retried_and_nothing_is_said() -> None:
    for state in (S.FAILED, S.SUBMIT_FAILED):
        following = after_final(Ended(state, retry_safe=True), Policy(), 0.0)
        assert (following.again, following.text) == (False, "")


def test_a_retry_waits_for_the_fence() -> None:
    assert after_final(Ended(S.SUBMIT_FAILED), POLICY, 0.0).fence_first
    assert not after_final(Ended(S.SUBMIT_FAILED), Policy(), 0.0).fence_first


@given(st.builds(Ended, st.sampled_from(sorted(NEVER_FOLLOWED)), *[st.booleans()] * 2, *[st.integers(0, 9)] * 2))
def test_what_is_never_followed_is_followed_by_nothing(ended: Ended) -> None:
    following = after_final(ended, POLICY, 0.0)
    assert (following.again, following.fence_first, following.text) == (False, False, "")


def test_a_lost_job_is_never_retried_by_itself() -> None:
    following = after_final(Ended(S.FAILED, lost=True, retry_safe=True), POLICY, 0.0)
    assert (following.again, following.text) == (False, "not retried by itself: it may have run")


def test_a_job_that_the_host_has_from_another_controller_is_never_retried_by_itself() -> None:
    following = after_final(Ended(S.SUBMIT_FAILED, retry_safe=True, taken=True), POLICY, 0.0)
    assert (following.again, following.text) == (
        False,
        "not retried by itself: the host has it from another controller",
    )


@pytest.mark.parametrize("state", sorted(FINAL - {S.FAILED, S.SUBMIT_FAILED}))
def test_killed_succeeded_and_removed_are_never_retried(state: State) -> None:
    assert not after_final(Ended(state, retry_safe=True), POLICY, 0.0).again


@given(st.sampled_from(sorted(FINAL)), st.booleans(), st.integers(0, 3), st.integers(0, 3))
def test_retries_end(state: State, safe: bool, tries: int, submit_tries: int) -> None:
    following = after_final(Ended(state, False, safe, tries, submit_tries), POLICY, 0.0)
    if following.again:
        assert following.tries <= 2 or state is S.SUBMIT_FAILED
        assert following.submit_tries <= 1


def test_backoff_grows_to_its_last_step_with_jitter_on_top() -> None:
    assert [backoff(n) for n in (0, 1, 2, 99)] == [BACKOFF[0], BACKOFF[0], BACKOFF[1], BACKOFF[-1]]
    assert backoff(1, jitter=1.0) == backoff(1, jitter=7.0) == BACKOFF[0] * 1.25
    assert contact_backoff(2, -1.0) == BACKOFF[1]
