"""The store: records in and out, each method one transaction."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from jobmgr.core.states import ACTIVE, FINAL, State, can
from jobmgr.store import Store
from jobmgr.store.jobs import FIRST_LOOK, new_token
from jobmgr.store.records import (
    DONE,
    PENDING,
    Change,
    Event,
    Host,
    InstanceChange,
    Job,
    Message,
    NewSubmit,
    Retrieval,
)
from jobmgr_remote.layout import is_token

S = State
NOW = 1_800_000_000.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.create(str(tmp_path / "suite.db"), {"uuid": "u-1", "epoch": 1}, network_fs=False) as made:
        yield made


def submit(task: str, cycle: str = "1", **more: Any) -> NewSubmit:
    return NewSubmit(
        **{
            "cycle": cycle,
            "task": task,
            "platform": "hpc",
            "host": "login1",
            "runner": "slurm",
            "spec": f'{{"script": "{task}"}}',
            **more,
        }
    )


def made(store: Store, *tasks: str) -> list[Job]:
    """Jobs of a cycle with these tasks, just taken."""
    store.add_cycle("1", tasks, NOW)
    return store.take_submits([submit(task) for task in tasks], NOW)


def move(store: Store, job: Job, state: State, now: float = NOW, **more: Any) -> Job:
    """Apply one change, and read the job again."""
    assert store.apply([Change(job, job._replace(state=state, **more))], now) == {job.number}
    (stored,) = store.jobs_where(numbers=[job.number])
    return stored


# --- the run ------------------------------------------------------------


def test_metadata_is_any_json(store: Store) -> None:
    assert store.meta("uuid") == "u-1"
    assert store.meta("nothing", 7) == 7
    store.set_meta({"epoch": 2, "tree": {"a": [1, None, "ü"]}, "none": None})
    assert store.all_meta() == {"uuid": "u-1", "epoch": 2, "tree": {"a": [1, None, "ü"]}, "none": None}


def test_cycles_keep_their_order_and_adding_one_again_adds_nothing(store: Store) -> None:
    assert store.add_cycle("2", ["b", "a"], NOW) == 2
    assert store.add_cycle("1", ["a"], NOW, S.HELD) == 1
    assert store.add_cycle("2", ["a", "c"], NOW) == 1
    assert store.cycles() == ["2", "1"]
    assert [i.id for i in store.instances()] == ["2/b", "2/a", "1/a", "2/c"]
    assert [i.id for i in store.instances(states=[S.HELD])] == ["1/a"]
    assert [i.id for i in store.instances(cycle="2", keys=[("2", "a"), ("1", "a")])] == ["2/a"]
    assert store.instances(keys=[]) == []
    assert len(store.instances(keys=[("2", f"x{n}") for n in range(500)] + [("2", "a")])) == 1


def test_instances_change_as_asked_and_only_then(store: Store) -> None:
    (job, _) = made(store, "a", "b")
    store.add_cycle("1", ["c"], NOW)
    changes = [
        InstanceChange("1", "a", State.WAITING),
        InstanceChange("1", "b", hold=True, manual=True, detail="held by ada"),
        InstanceChange(
            "1", "c", State.QUEUED, not_before=NOW + 5, tries=1, submit_tries=2, text="waits for room"
        ),
        InstanceChange("1", "nobody", State.HELD),
    ]
    assert store.set_instances(changes, NOW + 1) == {("1", "b"), ("1", "c")}
    a, b, c = store.instances()
    assert (a.state, a.hold) == (S.SUBMITTING, False)
    assert (b.state, b.hold, b.manual, b.detail) == (S.SUBMITTING, True, True, "held by ada")
    assert (c.state, c.not_before, c.tries, c.submit_tries) == (S.QUEUED, NOW + 5, 1, 2)
    assert [event.text for event in store.subject_history("1/c")] == ["waits for room"]
    move(store, job, S.FAILED)
    assert store.set_instances([InstanceChange("1", "a", S.WAITING, not_before=NOW + 60, tries=1)], NOW + 2)
    assert [i.id for i in store.instances(changed_since=NOW + 2)] == ["1/a"]
    assert store.set_instances([InstanceChange("1", "a", S.REMOVED)], NOW + 3)
    assert store.set_instances([InstanceChange("1", "a", S.HELD)], NOW + 4)


def test_counts_and_lines(store: Store) -> None:
    a, b = made(store, "a", "b")
    store.add_cycle("1", ["c"], NOW)
    move(store, a, S.RUNNING, NOW + 9, native_id="7", detail="words", doubt="unreachable", rule="no-answer")
    assert store.counts() == {S.RUNNING: 1, S.SUBMITTING: 1, S.WAITING: 1}
    line, _, waiting = store.lines()
    assert (line.task, line.submit, line.state, line.changed, line.detail) == (
        "a",
        1,
        S.RUNNING,
        NOW + 9,
        "words",
    )
    assert (line.doubt, line.doubt_since, line.platform, line.native_id) == (
        "unreachable",
        NOW + 9,
        "hpc",
        "7",
    )
    assert (waiting.task, waiting.submit, waiting.state, waiting.platform) == ("c", 0, S.WAITING, "")
    move(store, b, S.FAILED)
    store.set_instances([InstanceChange("1", "b", S.WAITING, "retry 1 of 2", NOW + 60)], NOW)
    assert (store.lines()[1].state, store.lines()[1].detail) == (S.WAITING, "retry 1 of 2")


def test_outputs_are_reached_once_and_mark_the_instance(store: Store) -> None:
    job, _ = made(store, "a", "b")
    change = Change(job, job._replace(state=S.RUNNING), outputs=("started", "data_ready"))
    store.apply([change], NOW + 1)
    store.add_outputs([("1", "a", "started"), ("1", "a", "succeeded")], NOW + 2)
    assert store.outputs() == {("1", "a"): frozenset({"started", "data_ready", "succeeded"})}
    assert store.outputs(cycle="2") == {}
    version, _ = store.instances_since(-1)
    assert store.outputs(since=version) == store.outputs(cycle="2", since=0) == {}
    assert store.outputs(since=0) == store.outputs(cycle="1", since=0) == store.outputs()
    store.add_outputs([("1", "a", "started")], NOW + 9)
    assert store.instances()[0].changed == NOW + 2
    store.remove_outputs([("1", "a")])
    assert store.outputs() == {}
    version, _ = store.instances_since(-1)
    store.add_outputs([("1", "b", "started")], NOW + 9)
    assert store.outputs(since=version) == {("1", "b"): frozenset({"started"})}


# --- submits ------------------------------------------------------------


def test_a_taken_job_is_an_intent(store: Store) -> None:
    a, b = made(store, "a", "b")
    assert (a.id, a.state, a.host, a.runner, a.tries) == ("1/a/01", S.SUBMITTING, "login1", "slurm", 0)
    assert a.next_poll == NOW + FIRST_LOOK
    assert is_token(a.token)
    assert a.token != b.token
    assert store.specs([a.number, b.number]) == {a.number: '{"script": "a"}', b.number: '{"script": "b"}'}
    assert [event.kind for event in store.history(a.number)] == ["submit"]
    store.set_specs({a.number: "{}"})
    assert store.specs([a.number]) == {a.number: "{}"}
    assert store.instances()[0].state is S.SUBMITTING


def test_an_active_or_unknown_instance_gets_no_second_job(store: Store) -> None:
    (job,) = made(store, "a")
    again = [submit("a"), submit("nobody"), submit("a", cycle="9")]
    assert store.take_submits(again, NOW) == []
    move(store, job, S.SUBMIT_FAILED)
    (second,) = store.take_submits([submit("a"), submit("a")], NOW)
    assert second.id == "1/a/02"
    assert store.job("1", "a") == second
    assert store.job("1", "a", 1) is not None
    assert store.job("1", "b") is None
    assert store.job_of_token(second.token) == second
    assert store.job_of_token("x") is None
    assert store.jobs_where(latest=True) == [second]
    assert [job.submit for job in store.jobs_where(task="a")] == [1, 2]


def test_tokens_are_what_hosts_take_for_tokens() -> None:
    assert all(is_token(new_token()) for _ in range(100))


def test_only_an_unsent_job_moves_to_another_host(store: Store) -> None:
    a, b = made(store, "a", "b")
    b = move(store, b, S.SUBMITTED, acknowledged=True)
    store.move([a.number, b.number], "login2", "boot2")
    assert [job.host for job in store.jobs_where()] == ["login2", "login1"]


def test_the_intent_to_kill_is_noted_once_and_for_active_jobs_only(store: Store) -> None:
    a, b = made(store, "a", "b")
    move(store, b, S.SUCCEEDED)
    (marked,) = store.mark_kill_intent([a.number, b.number], NOW + 1)
    assert (marked.id, marked.kill_intended, marked.next_poll) == ("1/a/01", NOW + 1, NOW + 1)
    store.mark_kill_intent([a.number], NOW + 2)
    assert store.jobs_where(numbers=[a.number])[0].kill_intended == NOW + 1
    assert [event.kind for event in store.history(a.number)] == ["submit", "kill"]
    assert store.histories([a.number]) == {a.number: store.history(a.number)}


# --- decisions ------------------------------------------------------------


def test_a_change_is_stored_whole_with_its_history(store: Store) -> None:
    (job,) = made(store, "a")
    new = job._replace(
        state=S.FAILED,
        detail="exit 3",
        rule="failed",
        native_id="77",
        acknowledged=True,
        start_time=1.0,
        exit_time=2.0,
        exit_record="FAILED/3",
        exit_code=3,
        signal="",
        reason="r",
        elapsed=1.0,
        cpu=0.5,
        max_rss=9,
        hostname="n1",
        attempts=2,
        superseded=1,
        lost=True,
        retry_safe=True,
        grace_since=5.0,
        grace_instance="i",
        look_time=6.0,
        look_instance="i",
        seen_size=10,
        seen_messages=2,
        find=True,
        revoke=True,
        resend=True,
        polls=4,
        errors=1,
        last_polled=NOW,
        last_answer=NOW,
        next_poll=NOW + 9,
        tries=3,
        host="login2",
        transport="openssh",
        runner="pbs",
        platform="hpc",
        instance="z",
    )
    told = (Message(0, "t", "INFO", "one"), Message(1, "t", "EVENT", "ready"))
    change = Change(job, new, "poll", "", '{"e":1}', ("ready",), told)
    assert store.apply([change], NOW + 3) == {job.number}
    (stored,) = store.jobs_where()
    assert stored == new._replace(changed=NOW + 3)
    assert store.messages(job.number) == list(told)
    assert store.last_look(job.number) == (NOW + 3, '{"e":1}')
    event = store.history(job.number)[-1]
    assert (event.kind, event.old, event.new, event.rule, event.text, event.evidence) == (
        "poll",
        "submitting",
        "failed",
        "failed",
        "exit 3",
        '{"e":1}',
    )
    assert store.instances()[0].state is S.FAILED


def test_what_names_a_job_is_never_changed(store: Store) -> None:
    (job,) = made(store, "a")
    other = job._replace(token="x", submit=9, task="z", submit_time=0.0, kill_intended=1.0, state=S.RUNNING)
    store.apply([Change(job, other)], NOW)
    (stored,) = store.jobs_where()
    assert (stored.token, stored.id, stored.submit_time, stored.kill_intended) == (
        job.token,
        job.id,
        NOW,
        None,
    )


def test_a_job_that_somebody_else_has_decided_about_is_left_alone(store: Store) -> None:
    (job,) = made(store, "a")
    move(store, job, S.SUCCEEDED)
    assert store.apply([Change(job, job._replace(state=S.SUBMIT_UNKNOWN))], NOW) == set()
    assert store.jobs_where()[0].state is S.SUCCEEDED
    ghost = job._replace(number=99)
    assert store.apply([Change(ghost, ghost)], NOW) == set()


def test_a_decision_that_did_not_know_of_a_kill_is_left_out(store: Store) -> None:
    (job,) = made(store, "a")
    (marked,) = store.mark_kill_intent([job.number], NOW)
    assert store.apply([Change(job, job._replace(state=S.FAILED))], NOW) == set()
    assert store.apply([Change(marked, marked._replace(state=S.KILLED))], NOW) == {job.number}


def test_a_transition_that_is_not_in_the_table_is_refused_and_said(store: Store) -> None:
    (job,) = made(store, "a")
    job = move(store, job, S.SUCCEEDED)
    assert store.apply([Change(job, job._replace(state=S.RUNNING))], NOW) == set()
    assert store.jobs_where()[0].state is S.SUCCEEDED
    assert store.history(job.number)[-1].kind == "refused"


def test_the_history_tells_what_changed_and_nothing_else(store: Store) -> None:
    (job,) = made(store, "a")
    job = move(store, job, S.RUNNING)
    for at in (1, 2, 3):
        job = move(store, job, S.RUNNING, NOW + at, seen_size=at)
    assert len(store.history(job.number)) == 2
    job = move(store, job, S.RUNNING, NOW + 4, doubt="unreachable", rule="no-answer")
    job = move(store, job, S.RUNNING, NOW + 5, doubt="unreachable (again)", rule="no-answer")
    assert job.doubt_since == NOW + 4
    job = move(store, job, S.RUNNING, NOW + 6, doubt="the queue could not be asked", rule="running-unseen")
    assert job.doubt_since == NOW + 6
    job = move(store, job, S.RUNNING, NOW + 7, doubt="", rule="running")
    assert job.doubt_since is None
    assert [event.text for event in store.history(job.number)[2:]] == [
        "unreachable",
        "the queue could not be asked",
        "",
    ]


def test_an_instance_shows_its_latest_job_unless_it_was_removed(store: Store) -> None:
    first, b = made(store, "a", "b")
    first = move(store, first, S.FAILED)
    (second,) = store.take_submits([submit("a")], NOW)
    move(store, first, S.SUCCEEDED)
    assert store.instances()[0].state is S.SUBMITTING
    move(store, second, S.RUNNING)
    store.set_instances([InstanceChange("1", "b", S.REMOVED)], NOW)
    move(store, b, S.RUNNING)
    assert [i.state for i in store.instances()] == [S.RUNNING, S.REMOVED]


def test_final_jobs_are_to_be_followed_until_that_is_done(store: Store) -> None:
    a, b = made(store, "a", "b")
    a = move(store, a, S.FAILED)
    move(store, b, S.RUNNING)
    assert [job.id for job in store.to_follow()] == ["1/a/01"]
    store.set_followed([a.number])
    assert store.to_follow() == []
    a = move(store, store.jobs_where(numbers=[a.number])[0], S.FAILED, detail="more is known")
    assert store.to_follow() == []
    move(store, a, S.SUCCEEDED)
    assert [job.state for job in store.to_follow()] == [S.SUCCEEDED]


def test_where_nothing_is_left_to_be_done_nothing_is_to_be_followed(store: Store) -> None:
    a, b = made(store, "a", "b")
    b = move(store, b, S.RUNNING)
    change = Change(a, a._replace(state=S.SUCCEEDED), ends_all=True)
    assert store.apply([change], NOW) == {a.number}
    assert store.to_follow() == []
    move(store, b, S.FAILED)
    assert [job.id for job in store.to_follow()] == ["1/b/01"]


def test_states_are_counted_as_lines_would_be(store: Store) -> None:
    jobs = made(store, "a", "b", "c", "d")
    move(store, jobs[0], S.SUCCEEDED)
    move(store, jobs[2], S.RUNNING, doubt="unreachable")
    move(store, jobs[3], S.SUCCEEDED, last_answer=NOW + 7)
    lines = store.lines()
    found = store.state_counts()
    assert [each.state for each in found] == list(dict.fromkeys(line.state for line in lines))
    for each in found:
        same = [line for line in lines if line.state is each.state]
        assert (each.number, each.jobs) == (len(same), sum(bool(line.submit) for line in same))
        assert each.doubts == sum(bool(line.doubt) for line in same)
        assert each.last_answer == max((line.last_answer for line in same if line.last_answer), default=None)


def test_due_polls_come_host_by_host(store: Store) -> None:
    a, b, c = made(store, "a", "b", "c")
    store.set_next_poll({a.number: NOW + 2, b.number: NOW + 1, c.number: None})
    assert [job.task for job in store.due_polls(NOW + 1)] == ["b"]
    assert [job.task for job in store.due_polls(NOW + 2)] == ["b", "a"]
    assert store.next_due() == NOW + 1
    assert store.next_due(until=NOW + 1) == NOW + 1
    assert store.next_due(until=NOW) is None
    store.put_retrievals([Retrieval(a.number, "x", 1, "file", not_before=NOW - 5)])
    assert store.next_due() == NOW - 5


def test_a_confirmed_job_is_due_again_unless_something_else_became_of_it(store: Store) -> None:
    a, b, c, d = (move(store, job, S.RUNNING) for job in made(store, "a", "b", "c", "d"))
    move(store, b, S.SUCCEEDED)
    store.mark_kill_intent([c.number], NOW)
    move(store, d, S.RUNNING, doubt="unreachable", errors=2)
    before = {job.number: job for job in store.jobs_where()}
    store.confirm(dict.fromkeys((a.number, b.number, c.number, d.number), NOW + 9), NOW + 1)
    after = {job.number: job for job in store.jobs_where()}
    seen = before[a.number]
    assert after.pop(a.number) == seen._replace(
        polls=seen.polls + 1, errors=0, last_polled=NOW + 1, last_answer=NOW + 1, next_poll=NOW + 9
    )
    del before[a.number]
    assert after == before


def test_nothing_due(store: Store) -> None:
    assert store.next_due() is None


def test_resends_and_active_jobs(store: Store) -> None:
    a, b, c = made(store, "a", "b", "c")
    move(store, a, S.SUBMIT_UNKNOWN, resend=True)
    move(store, b, S.SUCCEEDED, resend=True)
    assert [job.task for job in store.to_resend()] == ["a"]
    assert store.active_counts() == {("hpc", "login1"): 2}
    assert [job.task for job in store.jobs_where(states=ACTIVE, platform="hpc", host="login1")] == ["a", "c"]
    assert store.jobs_where(host="nowhere", latest=True) == []
    assert c.number in {job.number for job in store.jobs_where(latest=True, cycle="1")}


def test_jobs_are_restored_with_their_numbers(store: Store, tmp_path: Path) -> None:
    first, b = made(store, "a", "b")
    move(store, first, S.FAILED)
    store.take_submits([submit("a")], NOW)
    jobs = store.jobs_where()
    with Store.create(str(tmp_path / "new.db"), {}, network_fs=False) as new:
        assert new.restore(jobs, NOW) == 3
        assert new.restore(jobs, NOW) == 0
        assert [job._replace(number=0) for job in new.jobs_where()] == [
            job._replace(number=0) for job in jobs
        ]
        assert [(i.id, i.state, i.last_submit) for i in new.instances()] == [
            ("1/a", S.SUBMITTING, 2),
            ("1/b", S.SUBMITTING, 1),
        ]
        assert b.key in {job.key for job in new.jobs_where(latest=True)}


def test_events_can_be_followed(store: Store) -> None:
    end, events = store.events_since()
    assert events == []
    store.add_events([Event(NOW, "hpc/login1", "contact", text="installed")])
    later, events = store.events_since(end)
    assert [event.text for event in events] == ["installed"]
    assert store.events_since(later) == (later, [])
    assert store.subject_history("hpc/login1") == events


# --- hosts and retrievals ------------------------------------------------------------


def test_hosts_are_stored_whole(store: Store) -> None:
    assert store.host("hpc", "login1") == Host("hpc", "login1")
    known = Host(
        "hpc",
        "login1",
        "/home/a",
        "boot",
        "l1",
        -2.5,
        NOW,
        "e",
        NOW,
        3,
        NOW,
        True,
        2,
        True,
        "d",
        True,
        "nfs",
        64,
    )
    store.set_host(known)
    assert store.host("hpc", "login1") == known
    store.set_host(replace(known, errors=0))
    assert store.hosts() == [replace(known, errors=0)]


def test_retrievals_go_from_pending_to_done(store: Store) -> None:
    (job,) = made(store, "a")
    rows = [
        Retrieval(job.number, "log/out", 10, "file"),
        Retrieval(job.number, "log/err", 0, "file", not_before=NOW + 9),
    ]
    assert store.add_retrievals(rows) == 2
    assert [row.path for row in store.retrievals()] == ["log/err", "log/out"]
    assert [row.path for row in store.retrievals(due=NOW)] == ["log/out"]
    store.put_retrievals([replace(rows[0], state=DONE, tries=1)])
    assert store.add_retrievals(rows) == 0
    assert store.add_retrievals([replace(rows[0], size=11)]) == 1
    assert [row.state for row in store.retrievals((PENDING, DONE), number=job.number)] == [PENDING, PENDING]
    assert store.retrievals(number=99) == []


# --- many at once, from many threads ------------------------------------------------------------


def test_ten_thousand_jobs_in_one_transaction_each(store: Store) -> None:
    tasks = [f"t{n}" for n in range(10_000)]
    jobs = made(store, *tasks)
    assert len(jobs) == 10_000
    assert len(store.apply([Change(job, job._replace(state=S.RUNNING)) for job in jobs], NOW)) == 10_000
    assert store.counts() == {S.RUNNING: 10_000}
    assert len(store.lines()) == len(store.jobs_where(numbers=[job.number for job in jobs])) == 10_000


def test_threads_share_a_store(store: Store) -> None:
    tasks = [f"t{n}" for n in range(40)]
    jobs = made(store, *tasks)
    failures = list[BaseException]()

    def work(own: list[Job]) -> None:
        try:
            for job in own:
                store.apply([Change(job, job._replace(state=S.RUNNING))], NOW)
                store.lines()
        except BaseException as error:
            failures.append(error)

    threads = [Thread(target=work, args=(jobs[n::4],)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert store.counts() == {S.RUNNING: 40}


def test_an_error_inside_leaves_nothing_of_a_transaction(store: Store) -> None:
    a, b = made(store, "a", "b")
    broken = Change(b, b._replace(state=S.RUNNING, seen_size=object()))  # type: ignore[arg-type]
    with pytest.raises(Exception, match="type"):
        store.apply([Change(a, a._replace(state=S.RUNNING)), broken], NOW)
    assert store.counts() == {S.SUBMITTING: 2}
    assert move(store, a, S.RUNNING).state is S.RUNNING


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(sorted(ACTIVE | FINAL)), max_size=12))
def test_stored_states_follow_the_table(wishes: list[State]) -> None:
    with memory() as store:
        (job,) = made(store, "a")
        for wish in wishes:
            (before,) = store.jobs_where()
            store.apply([Change(before, before._replace(state=wish))], NOW)
            (after,) = store.jobs_where()
            assert after.state is (wish if can(before.state, wish) else before.state)
            assert after.state is before.state or can(before.state, after.state)
            assert store.instances()[0].state is after.state
        states = [event.new for event in store.history(job.number) if event.kind == "poll"]
        assert all(one != two for one, two in pairwise(states))


def memory() -> Store:
    """A store that is nowhere on the disk."""
    import sqlite3

    from jobmgr.store.db import schema

    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.executescript(schema())
    return Store(connection, ":memory:", False)


def test_what_has_changed_since_a_version_is_told_and_nothing_else(store: Store) -> None:
    store.add_cycle("7", ["a", "b", "c"], NOW)
    version, everything = store.instances_since(-1)
    assert {instance.task for instance in everything if instance.cycle == "7"} == {"a", "b", "c"}
    assert store.instances_since(version) == (version, [])
    store.set_instances([InstanceChange("7", "b", state=State.HELD)], NOW - 1000)
    later, changed = store.instances_since(version)
    assert [instance.id for instance in changed] == ["7/b"]
    store.add_outputs([("7", "c", "ready")], NOW)
    _, changed = store.instances_since(later)
    assert [instance.id for instance in changed] == ["7/c"]


def test_jobs_on_a_watched_host_are_not_due_unless_a_poll_is_to_ask_more(store: Store) -> None:
    store.add_cycle("7", ["a", "b"], NOW)
    jobs = store.take_submits([NewSubmit("7", task, "hpc", "login1", "background", "{}") for task in "ab"], NOW)
    running = [Change(job, job._replace(state=State.RUNNING, next_poll=NOW)) for job in jobs]
    store.apply(running, NOW)
    watched = [("hpc", "login1")]
    assert len(store.due_polls(NOW)) == 2
    assert store.due_polls(NOW, watched) == []
    assert store.next_due() == NOW
    assert store.next_due(watched) is None
    (first, _) = store.jobs_where(states=[State.RUNNING])
    store.apply([Change(first, first._replace(find=True))], NOW)
    assert [job.task for job in store.due_polls(NOW, watched)] == ["a"]
