"""The plan of a cycle: what is ready, what is due, and when nothing is left."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.graph import Atom, Graph, Group
from jobmgr.core.plan import Instance, Plan
from jobmgr.core.states import State

CHAIN = Graph({"a": None, "b": Atom("a", "succeeded"), "c": Atom("b", "succeeded")})
FORK = Graph({"a": None, "good": Atom("a", "succeeded"), "bad": Atom("a", "failed")})


def fresh(graph: Graph) -> Plan:
    return Plan(graph, "1", [Instance(task, State.WAITING) for task in graph.prerequisites])


def put(plan: Plan, task: str, state: State, jobs: int = 1, **values: object) -> None:
    plan.put(Instance(task, state, jobs, **values))  # type: ignore[arg-type]


def test_what_waits_for_nothing_is_ready_and_stays_so_until_it_is_submitted() -> None:
    plan = fresh(CHAIN)
    assert plan.ready(0.0) == ["a"]
    assert plan.ready(0.0) == ["a"]
    put(plan, "a", State.SUBMITTING)
    assert plan.ready(0.0) == []
    assert plan.active()


def test_a_success_makes_the_next_task_ready() -> None:
    plan = fresh(CHAIN)
    put(plan, "a", State.RUNNING)
    assert plan.ready(0.0) == []
    put(plan, "a", State.SUCCEEDED)
    assert plan.ready(0.0) == ["b"]


def test_a_retry_is_ready_when_its_time_has_come_and_fires_no_edge_before() -> None:
    plan = fresh(FORK)
    put(plan, "a", State.WAITING, 1, not_before=50.0, started=True)
    assert plan.ready(49.0) == []
    assert plan.next_time() == 50.0
    assert not plan.finished()
    assert plan.ready(50.0) == ["a"]


def test_the_end_is_reached_when_the_rest_cannot_run_any_more() -> None:
    plan = fresh(FORK)
    put(plan, "a", State.SUCCEEDED)
    put(plan, "good", State.SUCCEEDED)
    assert plan.finished()
    assert plan.not_run() == ["bad"]
    assert "a" in plan.explain("bad")


def test_a_killed_task_ends_without_its_failure_branch() -> None:
    plan = fresh(FORK)
    put(plan, "a", State.KILLED)
    assert plan.ready(0.0) == []
    assert plan.finished()


def test_a_held_task_keeps_the_cycle_open_and_is_not_ready() -> None:
    plan = fresh(CHAIN)
    put(plan, "a", State.HELD, 0)
    assert plan.ready(0.0) == []
    assert not plan.finished()
    assert plan.held() == ["a"]
    put(plan, "a", State.WAITING, 0)
    assert plan.ready(0.0) == ["a"]


def test_a_removed_task_is_no_longer_waited_for() -> None:
    plan = fresh(CHAIN)
    put(plan, "a", State.REMOVED, 0)
    assert plan.ready(0.0) == ["b"]


def test_a_queued_task_is_tried_again_though_it_has_no_job() -> None:
    plan = fresh(CHAIN)
    put(plan, "a", State.QUEUED, 0)
    assert plan.ready(0.0) == ["a"]
    assert not plan.finished()


def test_a_manual_task_and_what_waits_for_it_do_not_keep_the_cycle_open() -> None:
    plan = fresh(
        Graph({"a": None, "by_hand": None, "after": Atom("by_hand", "succeeded")}, {}, frozenset({"by_hand"}))
    )
    assert plan.ready(0.0) == ["a"]
    put(plan, "a", State.SUCCEEDED)
    assert plan.finished()


def test_an_event_makes_its_dependents_ready_while_the_job_runs() -> None:
    plan = fresh(Graph({"a": None, "b": Atom("a", "data_ready")}))
    put(plan, "a", State.RUNNING, 1, events=frozenset({"data_ready"}))
    assert plan.ready(0.0) == ["b"]


def test_started_counts_even_after_the_job_went_back_to_the_queue() -> None:
    plan = fresh(Graph({"a": None, "b": Atom("a", "started")}))
    put(plan, "a", State.SUBMITTED, 1, started=True)
    assert plan.ready(0.0) == ["b"]


def test_a_task_off_the_graph_is_never_ready_by_itself() -> None:
    plan = Plan(Graph({"a": None}), "1", [Instance("a", State.SUCCEEDED, 1), Instance("tool", State.WAITING)])
    assert plan.ready(0.0) == []
    assert plan.finished()


STATES = st.sampled_from(
    [State.WAITING, State.RUNNING, State.SUCCEEDED, State.FAILED, State.KILLED, State.REMOVED]
)


@given(st.lists(st.tuples(st.sampled_from("abcdef"), STATES), max_size=30))
def test_a_plan_that_was_told_step_by_step_equals_one_made_afresh(steps: list[tuple[str, State]]) -> None:
    group = ("a", "b", "c")
    graph = Graph(
        {
            "a": None,
            "b": None,
            "c": Atom("a", "succeeded"),
            "d": Group("abc", "finished", True, group),
            "e": Group("abc", "failed", False, group),
            "f": Atom("d", "succeeded"),
        },
        {"abc": group},
    )
    plan = fresh(graph)
    states = dict.fromkeys(graph.prerequisites, State.WAITING)
    for task, state in steps:
        states[task] = state
        put(plan, task, state, 0 if state is State.WAITING else 1)
        plan.ready(0.0)
    again = Plan(graph, "1", [Instance(t, s, 0 if s is State.WAITING else 1) for t, s in states.items()])
    assert sorted(plan.ready(0.0)) == sorted(again.ready(0.0))
    assert plan.finished() == again.finished()
