"""When to poll, whom to submit."""

from __future__ import annotations

import pytest

from jobmgr.core.schedule import (
    QUEUE_FULL,
    Full,
    Intervals,
    Polled,
    admit,
    after_send,
    by_host,
    entry,
    next_poll,
    soonest,
)
from jobmgr.core.states import ACTIVE, State

S = State
LISTS = Intervals(execution=(30.0, 60.0, 300.0), queued=(60.0,), minimum=10.0)


def test_the_last_interval_repeats() -> None:
    due = [next_poll(Polled(S.RUNNING, 1000.0, polls=n), LISTS) for n in range(5)]
    assert due == [1030.0, 1060.0, 1300.0, 1300.0, 1300.0]
    assert entry((), 3) == 60.0


def test_queued_jobs_have_intervals_of_their_own() -> None:
    for state in (S.SUBMITTED, S.SUBMIT_UNKNOWN, S.SUBMITTING):
        assert next_poll(Polled(state, 1000.0), LISTS) == 1060.0


@pytest.mark.parametrize("state", sorted(set(State) - ACTIVE))
def test_what_is_not_active_is_not_polled(state: State) -> None:
    assert next_poll(Polled(state, 1000.0), LISTS) is None


def test_no_poll_comes_sooner_than_the_minimum() -> None:
    often = Intervals((1.0,), (1.0,), 10.0)
    assert next_poll(Polled(S.RUNNING, 1000.0), often) == 1010.0
    assert (
        next_poll(Polled(S.RUNNING, 1000.0, start_time=0.0, time_limit=999.0 - 60.0 + 3.0), often) == 1010.0
    )


def test_errors_back_off_with_jitter() -> None:
    assert next_poll(Polled(S.RUNNING, 1000.0, errors=1), LISTS) == 1010.0
    assert next_poll(Polled(S.RUNNING, 1000.0, errors=4), LISTS, jitter=1.0) == 1150.0
    assert next_poll(Polled(S.RUNNING, 1000.0, errors=1), Intervals(minimum=180.0)) == 1180.0


def test_the_time_limit_is_followed_closely() -> None:
    slow = Intervals((3600.0,), (60.0,), 10.0)
    at = []
    last = 0.0
    for _ in range(5):
        due = next_poll(Polled(S.RUNNING, last, start_time=0.0, time_limit=1000.0), slow)
        assert due is not None
        at.append(due)
        last = due
    assert at == [1060.0, 1180.0, 1600.0, 2020.0, 2440.0]


def test_the_time_limit_is_told_by_the_hosts_clock() -> None:
    slow = Intervals((3600.0,), (60.0,), 10.0)
    polled = Polled(S.RUNNING, 0.0, start_time=500.0, time_limit=1000.0, clock_offset=500.0)
    assert next_poll(polled, slow) == 1060.0


def test_soonest() -> None:
    assert (soonest(1.0, None), soonest(None, 2.0), soonest(3.0, 2.0), soonest(None, None)) == (
        1.0,
        2.0,
        2.0,
        None,
    )


def test_batches_are_one_for_each_host() -> None:
    assert by_host(["a1", "b1", "a2"], lambda name: name[0]) == {"a": ["a1", "a2"], "b": ["b1"]}


def test_a_full_platform_holds_up_only_its_own() -> None:
    ready = ["a1", "a2", "b1", "c1", "a3"]
    admitted, waiting = admit(ready, lambda name: name[0], {"a": 1}, {"a": 2, "b": None}, held={"c"})
    assert admitted == ["a1", "b1"]
    assert waiting == [
        ("a2", "a has 2 jobs (max_submit)"),
        ("c1", "c is held"),
        ("a3", "a has 2 jobs (max_submit)"),
    ]


def test_a_full_queue_gets_one_job_for_each_that_has_ended() -> None:
    full = after_send(None, True, 100, 1000.0)
    assert full is not None
    assert full.room(100, 1001.0) == 0
    assert full.room(97, 1001.0) == 3
    assert after_send(full, False, 100, 1002.0) == full


def test_a_full_queue_is_tried_with_one_job_after_a_while_and_then_with_ten_times_as_many() -> None:
    full = after_send(None, True, 0, 1000.0)
    assert full is not None
    later = 1000.0 + QUEUE_FULL
    assert (full.room(0, later - 1), full.room(0, later)) == (0, 1)
    rooms, active = list[int](), 0
    while full is not None:
        rooms.append(full.room(active, later))
        active += rooms[-1]
        full = after_send(full, False, active, later)
    assert rooms == [1, 10, 100, 1000, 10000]
    assert after_send(Full(5, later, 1000), True, 7, later) == Full(7, later + QUEUE_FULL, 1)


def test_a_queue_that_still_counts_jobs_that_have_ended_is_given_time_and_then_believed() -> None:
    now, active = 1000.0, 100
    full = after_send(None, True, active, now)
    waits = list[float]()
    while full is not None and full.active == active:
        assert full.room(active - 3, max(now, full.after)) == 3  # the jobs that have ended make room
        now = full.after or now
        full = after_send(full, True, active - 3, now)
        assert full is not None
        if full.lag:
            assert full.room(active - 3, now) == 0
            waits.append(full.after - now)
    assert waits == [2.0, 4.0, 8.0, 16.0]
    assert full == Full(active - 3, now + QUEUE_FULL)


def test_a_queue_that_has_noticed_is_as_it_was() -> None:
    lagging = after_send(Full(2, 1120.0), True, 0, 1000.0)
    assert lagging == Full(2, 1120.0, 1, 2.0, 1002.0)
    assert after_send(lagging, False, 2, 1003.0) == Full(2, 1120.0)


def test_a_queue_that_never_refused_has_no_limit() -> None:
    assert after_send(None, False, 100_000, 0.0) is None
