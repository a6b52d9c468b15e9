from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core import graph as graphs
from jobmgr.core.graph import (
    NEGATIVE,
    OUTPUTS,
    And,
    Atom,
    Fact,
    Graph,
    Group,
    Or,
    Progress,
    conjunction,
    evaluate,
    find_loops,
    satisfied,
)

MEMBERS = ("s1", "s2", "s3")
NAMES = ("a", "b", "c", *MEMBERS)


def a(task, output="succeeded"):
    return Atom(task, output)


def sims(output="succeeded", every=True):
    return Group("sim", output, every, MEMBERS)


def made(**outputs):
    return Progress(outputs, ended=frozenset(outputs))


expressions = st.recursive(
    st.builds(Atom, st.sampled_from(NAMES), st.sampled_from(OUTPUTS))
    | st.builds(sims, st.sampled_from(OUTPUTS), st.booleans()),
    lambda inner: (
        st.builds(And, st.lists(inner, min_size=1, max_size=3).map(tuple))
        | st.builds(Or, st.lists(inner, min_size=1, max_size=3).map(tuple))
    ),
    max_leaves=8,
)
happenings = st.sets(st.tuples(st.sampled_from(NAMES), st.sampled_from(OUTPUTS)))


def naive(expr, happened):
    if isinstance(expr, Atom):
        return (expr.task, expr.output) in happened
    if isinstance(expr, Group):
        values = [(member, expr.output) in happened for member in MEMBERS]
        return all(values) if expr.every else any(values)
    values = [naive(term, happened) for term in expr.terms]
    return all(values) if isinstance(expr, And) else any(values)


@given(expressions, happenings)
def test_an_expression_holds_when_plain_logic_says_so(expr, happened):
    assert satisfied(expr, lambda task, output: (task, output) in happened) == naive(expr, happened)


@given(expressions, st.dictionaries(st.tuples(st.sampled_from(NAMES), st.sampled_from(OUTPUTS)), st.sampled_from(Fact)))
def test_a_task_is_ready_when_its_expression_is_done_or_of_no_account(expr, known):
    def fact(task, output):
        return known.get((task, output), Fact.PENDING)

    class Known(Progress):
        def fact(self, task, output):
            return fact(task, output)

    graph = Graph({"x": expr}, {"sim": MEMBERS})
    assert bool(graph.ready(["x"], Known({}))) == (evaluate(expr, fact) in (Fact.DONE, Fact.IGNORED))


@given(expressions, happenings)
def test_never_means_that_no_future_can_satisfy_it(expr, happened):
    """With every task ended nothing is pending: satisfied now, or never."""
    outputs = {}
    for task, output in happened:
        outputs.setdefault(task, set()).add(output)
    progress = Progress(outputs, ended=frozenset(NAMES))
    assert evaluate(expr, progress.fact) is (Fact.DONE if naive(expr, happened) else Fact.NEVER)


@given(expressions, happenings, st.sets(st.sampled_from(NAMES)), happenings)
def test_what_is_never_stays_never_and_what_is_done_stays_done(expr, happened, ended, later):
    def progress(events):
        outputs = {}
        for task, output in events:
            outputs.setdefault(task, set()).add(output)
        return Progress(outputs, ended=frozenset(ended))

    before = evaluate(expr, progress(happened).fact)
    after = evaluate(expr, progress(happened | {(t, o) for t, o in later if t not in ended}).fact)
    if before is not Fact.PENDING:
        assert after is before


@given(expressions, happenings)
def test_what_is_explained_is_what_is_missing(expr, happened):
    progress = Progress({t: {o for u, o in happened if u == t} for t, _ in happened})
    text = Graph({"x": expr}, {"sim": MEMBERS}).explain("x", progress, "1")
    assert (text == "") == naive(expr, happened)


def test_nothing_to_wait_for_is_satisfied():
    assert satisfied(None, lambda *_: False)


@pytest.mark.parametrize("output", OUTPUTS)
def test_of_a_removed_task_only_failures_will_never_come(output):
    fact = Progress({}, removed={"a"}).fact("a", output)
    assert fact is (Fact.NEVER if output in NEGATIVE else Fact.IGNORED)


def test_removed_tasks_are_no_longer_waited_for_and_the_rest_is():
    progress = Progress({}, removed={"a"})
    graph = Graph({"a": None, "b": None, "x": And((a("a"), a("b"))), "y": Or((a("a"), a("b"))), "z": a("a")})
    assert graph.ready(["x", "y", "z"], progress) == ["z"]
    assert graph.ready(["x", "y"], Progress({"b": {"succeeded"}}, removed={"a"})) == ["x", "y"]


def test_a_removed_task_does_not_start_its_failure_branch():
    graph = Graph({"a": None, "rescue": a("a", "failed")})
    progress = Progress({}, removed={"a"})
    assert graph.ready(["rescue"], progress) == []
    assert graph.unreachable(["rescue"], progress) == {"rescue"}


def test_a_group_of_removed_members_waits_for_the_others():
    graph = Graph({**dict.fromkeys(MEMBERS), "x": sims()}, {"sim": MEMBERS})
    one = {"s1": {"succeeded"}, "s2": {"succeeded"}}
    assert graph.ready(["x"], Progress(one)) == []
    assert graph.ready(["x"], Progress(one, removed={"s3"})) == ["x"]


def test_ready_tasks_keep_their_order_and_manual_ones_are_left_out():
    graph = Graph({"c": None, "b": None, "m": None}, manual=frozenset({"m"}))
    assert graph.ready(["b", "m", "c", "unknown"], Progress({})) == ["b", "c"]


def test_after_a_success_the_failure_branch_and_what_follows_it_cannot_run():
    graph = Graph(
        {
            "a": None,
            "rescue": a("a", "failed"),
            "after": a("rescue"),
            "either": Or((a("rescue"), a("b"))),
            "b": a("a"),
        }
    )
    progress = made(a={"succeeded", "finished"})
    waiting = ["rescue", "after", "either", "b"]
    assert graph.unreachable(waiting, progress) == {"rescue", "after"}
    assert graph.ready(waiting, progress) == ["b"]
    assert graph.can_still_run("either", waiting, progress)
    assert not graph.can_still_run("after", waiting, progress)


def test_what_waits_for_a_task_that_was_started_by_hand_can_still_run():
    graph = Graph({"a": None, "rescue": a("a", "failed"), "after": a("rescue")})
    progress = made(a={"succeeded"})
    assert graph.unreachable(["after"], progress) == frozenset()  # rescue is not waiting: it runs
    assert graph.unreachable(["rescue", "after"], progress) == {"rescue", "after"}


def test_an_event_that_an_ended_task_did_not_announce_never_comes():
    graph = Graph({"a": None, "x": a("a", "data_ready")})
    assert graph.unreachable(["x"], Progress({"a": {"started"}})) == frozenset()
    assert graph.unreachable(["x"], made(a={"succeeded"})) == {"x"}


def test_any_of_a_family_is_lost_only_with_all_of_it():
    graph = Graph({**dict.fromkeys(MEMBERS), "x": sims("failed", every=False)}, {"sim": MEMBERS})
    assert graph.unreachable(["x"], made(s1={"succeeded"}, s2={"succeeded"})) == frozenset()
    assert graph.unreachable(["x"], made(**{m: {"succeeded"} for m in MEMBERS})) == {"x"}


def test_dependents_are_found_through_families():
    graph = Graph({**dict.fromkeys(MEMBERS), "x": sims(), "y": a("s2"), "z": None}, {"sim": MEMBERS})
    assert graph.dependents(["s1"]) == {"x"}
    assert graph.dependents(["s2"]) == {"x", "y"}
    assert graph.dependents(["z"]) == set()


def test_every_task_stands_after_what_it_waits_for():
    graph = Graph({"x": sims(), "s1": a("a"), "s2": None, "s3": None, "a": None}, {"sim": MEMBERS})
    order = graph.order
    assert sorted(order) == sorted(graph.prerequisites)
    assert order.index("a") < order.index("s1") < order.index("x")
    assert order.index("s3") < order.index("x")


def test_loops_are_paths_in_the_direction_of_the_arrows():
    graph = Graph({"sim": a("plot"), "plot": a("sim"), "free": a("sim")})
    assert find_loops(graph) == [("sim", "plot", "sim")]


def test_a_task_that_waits_for_itself_is_a_loop():
    assert find_loops(Graph({"a": a("a", "failed")})) == [("a", "a")]


def test_a_loop_through_a_family_names_the_member():
    graph = Graph({"x": sims(), "s1": a("x"), "s2": None, "s3": None}, {"sim": MEMBERS})
    assert find_loops(graph) == [("x", "s1", "x")]


def test_separate_loops_are_all_told():
    graph = Graph({"a": a("b"), "b": a("a"), "c": a("d"), "d": a("e"), "e": a("c"), "f": a("a")})
    loops = find_loops(graph)
    assert len(loops) == 2
    assert {frozenset(loop) for loop in loops} == {frozenset("ab"), frozenset("cde")}


tasks = st.integers(2, 12).flatmap(
    lambda n: st.lists(st.tuples(st.integers(0, n - 1), st.integers(0, n - 1)), max_size=25).map(
        lambda e: (n, e)
    )
)


def _graph(n, edges):
    waits = {f"t{i}": [] for i in range(n)}
    for before, after in edges:
        waits[f"t{after}"].append(a(f"t{before}"))
    return Graph({task: conjunction(terms) for task, terms in waits.items()}), waits


@given(tasks)
def test_loops_are_found_exactly_when_no_order_exists(made_up):
    graph, waits = _graph(*made_up)
    left, done = dict(waits), set()
    while ready := [t for t, terms in left.items() if all(term.task in done for term in terms)]:
        done.update(ready)
        left = {t: terms for t, terms in left.items() if t not in done}
    loops = find_loops(graph)
    assert bool(loops) == bool(left)
    for loop in loops:
        for before, after in itertools.pairwise(loop):
            assert a(before) in waits[after]
    if not loops:
        for task, terms in waits.items():
            assert all(graph.order.index(term.task) < graph.order.index(task) for term in terms)


@given(
    st.dictionaries(st.sampled_from(["p", "q", "r", *MEMBERS]), st.none() | expressions),
    st.sets(st.just("p")),
)
def test_a_graph_survives_json(prerequisites, manual):
    groups = {"sim": MEMBERS, "other": ("p", "q")}
    graph = Graph(prerequisites, groups, frozenset(manual))
    again = graphs.from_json(graphs.to_json(graph), groups)
    assert again == graph


def test_shared_expressions_and_whole_groups_stand_once_in_json():
    names = tuple(f"m{n:05}" for n in range(10_000))
    shared = And((a("a"), a("b")))
    graph = Graph({**dict.fromkeys(names, shared), "x": Group("m", "succeeded", True, names)}, {"m": names})
    value = graphs.to_json(graph)
    assert value["edges"] == [[["&", "a:succeeded", "b:succeeded"], "m"], [["all", "m:succeeded"], ["x"]]]


def test_ten_thousand_tasks_are_asked_about_once_each():
    """Family to family: a pair-wise look would be a hundred million facts."""
    left = tuple(f"l{n}" for n in range(10_000))
    right = tuple(f"r{n}" for n in range(10_000))
    graph = Graph(
        {**dict.fromkeys(left), **dict.fromkeys(right, Group("l", "succeeded", True, left))},
        {"l": left, "r": right},
    )
    asked = 0

    class Counting(Progress):
        def fact(self, task, output):
            nonlocal asked
            asked += 1
            return super().fact(task, output)

    progress = Counting(dict.fromkeys(left, ("succeeded",)), ended=frozenset(left))
    assert len(graph.ready(right, progress)) == 10_000
    assert graph.unreachable(right, progress) == frozenset()
    assert asked <= 20_001
    assert len(graph.dependents(left)) == 10_000


def test_explanations_name_tasks_outputs_and_counts():
    graph = Graph(
        {
            "x": And((a("a"), a("b", "failed"), Or((a("c"), sims("failed", every=False))))),
            "y": sims(),
            "z": conjunction([a(f"t{n}") for n in range(9)]),
            "n": None,
        },
        {"sim": MEMBERS},
    )
    none = Progress({"s2": {"succeeded"}})
    assert graph.explain("x", none, "1") == "waits for 1/a, 1/b (failed), (1/c or any of 1/sim (failed))"
    assert graph.explain("y", none, "1") == "waits for 1/sim (2 of 3 missing)"
    assert graph.explain("z", none, "7") == "waits for 7/t0, 7/t1, 7/t2, and 6 more"
    assert graph.explain("n", none, "1") == ""


def test_a_conjunction_is_flat_and_has_each_term_once():
    assert conjunction([]) is None
    assert conjunction([a("x"), a("x")]) == a("x")
    assert conjunction([And((a("x"), a("y"))), a("y"), a("z")]) == And((a("x"), a("y"), a("z")))
