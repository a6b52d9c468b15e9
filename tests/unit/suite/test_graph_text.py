from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.graph import OUTPUTS, And, Atom, Group, Or, satisfied
from jobmgr.suite.graph_text import Key, Names, parse_graph
from jobmgr.suite.parameters import Rows, members, product

PLAIN = ("a", "b", "c", "d", "e", "sub-task", "x.y")


def _names(**excused):
    parametrised = {
        "sim": product({"m": ("1", "2", "3")}),
        "post": product({"m": ("1", "2", "3")}),
        "half": product({"m": ("1", "2")}),
        "grid": product({"m": ("1", "2", "3"), "lr": ("0.1", "0.2")}),
        "row": Rows(("city", "zone"), (("rome", "x"), ("oslo", "y")), 1),
    }
    keys = {
        name: Key((), members(name, Rows((), ((),), 0)), ("data_ready",) if name == "a" else ())
        for name in PLAIN
    }
    keys.update({name: Key(rows.names, members(name, rows)) for name, rows in parametrised.items()})
    groups = {name: tuple(m.name for m in keys[name].members) for name in parametrised}
    groups |= {"FAM": ("a", "b"), "EMPTY": ()}
    key_of = {m.name: name for name, key in keys.items() for m in key.members}
    return Names(keys, groups, key_of, **excused)


NAMES = _names()


def parse(text):
    graph, problems = parse_graph(enumerate(text.split("\n"), 1), NAMES)
    assert problems == []
    return graph.prerequisites


def complaints(text):
    return [f"{line}: {what}" for line, what in parse_graph(enumerate(text.split("\n"), 1), NAMES)[1]]


def ok(task, output="succeeded"):
    return Atom(task, output)


def test_a_bare_name_means_succeeded():
    assert parse("a => b") == {"a": None, "b": ok("a")}


def test_a_chain_is_each_of_its_links():
    assert parse("a => b & c => d") == {"a": None, "b": ok("a"), "c": ok("a"), "d": And((ok("b"), ok("c")))}


def test_and_binds_more_than_or():
    assert parse("a | b & c => d")["d"] == Or((ok("a"), And((ok("b"), ok("c")))))
    assert parse("(a | b) & c => d")["d"] == And((Or((ok("a"), ok("b"))), ok("c")))


@pytest.mark.parametrize("output", OUTPUTS)
def test_every_output_can_be_waited_for(output):
    assert parse(f"c:{output} => b")["b"] == ok("c", output)


def test_events_can_be_waited_for_where_they_are_declared():
    assert parse("a:data_ready => b")["b"] == ok("a", "data_ready")
    assert complaints("b:data_ready => c")[0].startswith(
        "1: 'b:data_ready': 'b' has no output or event 'data_ready'"
    )
    assert complaints("a:data_redy => c") == [
        "1: 'a:data_redy': 'a' has no output or event 'data_redy' (nearest: data_ready)"
    ]


def test_lines_about_one_task_add_up():
    assert parse("a => c\nb => c\na => c")["c"] == And((ok("a"), ok("b")))


def test_a_task_by_itself_waits_for_nothing():
    assert parse("a\nb & c") == {"a": None, "b": None, "c": None}


def test_an_output_in_the_middle_counts_for_what_follows():
    assert parse("a => b:failed => c") == {"a": None, "b": ok("a"), "c": ok("b", "failed")}


@pytest.mark.parametrize(
    "text",
    [
        "a => b => c", "a =>\nb\n=> c", "a => b # => x\n# nothing\n\n=> c", "a=>b=>c", "  a  =>b\t=> c ",
        "a => (b) => ((c))", "(a\n) => b => c", "a => b\nb => c", "a => b\r\nb => c\r",
    ],
)  # fmt: skip
def test_layout_and_comments_do_not_matter(text):
    assert parse(text) == {"a": None, "b": ok("a"), "c": ok("b")}


def test_a_family_means_all_its_members():
    every = Group("FAM", "succeeded", True, ("a", "b"))
    assert parse("FAM => c")["c"] == every
    assert parse("FAM:succeeded-all => c")["c"] == every
    assert parse("FAM:failed-any => c")["c"] == Group("FAM", "failed", False, ("a", "b"))
    assert parse("c => FAM") == {"c": None, "a": ok("c"), "b": ok("c")}


def test_the_bare_name_of_a_parametrised_task_means_all_members():
    graph = parse("a => sim => b")
    assert graph["b"] == Group("sim", "succeeded", True, ("sim_m1", "sim_m2", "sim_m3"))
    assert graph["sim_m2"] == ok("a")


def test_pairwise_goes_member_by_member():
    assert parse("sim<m> => post<m>") == {
        **{f"sim_m{n}": None for n in "123"},
        **{f"post_m{n}": ok(f"sim_m{n}") for n in "123"},
    }


def test_one_member_can_be_named_by_value_or_by_its_own_name():
    assert (
        parse("sim<m=2> => b")["b"]
        == parse("sim_m2 => b")["b"]
        == parse("sim<m=02> => b")["b"]
        == ok("sim_m2")
    )


def test_a_parameter_that_is_not_named_means_all_its_values():
    graph = parse("sim<m> => grid<m>")
    assert graph["grid_m2_lr0.1"] == graph["grid_m2_lr0.2"] == ok("sim_m2")
    assert parse("grid<m> => post<m>")["post_m1"] == And((ok("grid_m1_lr0.1"), ok("grid_m1_lr0.2")))
    assert parse("grid<m>:failed-any => post<m>")["post_m1"] == Or(
        (ok("grid_m1_lr0.1", "failed"), ok("grid_m1_lr0.2", "failed"))
    )
    assert parse("grid<m=1, lr=0.2> => a")["a"] == ok("grid_m1_lr0.2")
    assert parse("grid<m, lr=0.2> => post<m>")["post_m3"] == ok("grid_m3_lr0.2")


def test_free_parameters_of_one_side_are_all_waited_for():
    assert parse("sim<m> => a")["a"] == And((ok("sim_m1"), ok("sim_m2"), ok("sim_m3")))
    assert parse("a => sim<m>")["sim_m3"] == ok("a")
    assert parse("sim<m> & a => post<m>")["post_m1"] == And((ok("sim_m1"), ok("a")))


def test_rows_of_a_file_can_be_named_by_any_column():
    assert parse("row<zone=y> => a")["a"] == ok("row_cityoslo")


def test_values_without_counterpart_are_told():
    assert complaints("sim<m> => half<m>") == ["1: 'sim<m>': m=3 has no counterpart on the other side"]


@pytest.mark.parametrize(
    "text, complaint",
    [
        ("a => plto", "1: unknown task 'plto'"),
        ("a => sim_m9", "1: unknown task 'sim_m9' (nearest: sim_m"),
        ("a => smi", "1: unknown task 'smi' (nearest: sim)"),
        ("a\n\nb => missing", "3: unknown task 'missing'"),
        ("a:succeded => b", "1: 'a:succeded': 'a' has no output or event 'succeded' (nearest: succeeded)"),
        ("a:fail => b", "1: 'a:fail': 'a' has no output or event 'fail' (nearest: failed)"),
        ("a: => b", "1: an output is missing after 'a'"),
        ("a:failed-any => b", "1: 'a:failed-any': '-any' is for families and parametrised tasks"),
        ("FAM:data_ready => c", "1: 'FAM:data_ready': 'b' of 'FAM' has no output or event 'data_ready'"),
        ("EMPTY => a", "1: family 'EMPTY' has no members"),
        ("a => b | c", "1: '|' is not possible on the right of '=>'"),
        ("a | b", "1: '|' is not possible"),
        ("a => b:failed", "1: the output of 'b:failed' has nothing that waits for it"),
        ("a b", "1: '=>', '&' or '|' is missing between 'a' and 'b'"),
        ("a => => b", "1: a task is missing beside '=>'"),
        ("=> b", "1: a task is missing beside '=>'"),
        ("a =>", "1: a task is missing beside '=>'"),
        ("a & => b", "1: a task is missing at the end"),
        ("(a => b", "1: a ')' is missing"),
        ("a) => b", "1: ')' is not expected here"),
        ("a & | b => c", "1: '|' is not expected here"),
        ("a -> b", "1: cannot read '-> b' (write => between"),
        ("!a => b", "1: cannot read '!a => b' (there is no 'not'"),
        ("../x => b", "1: cannot read '../x => b'"),
        ("a<m> => b", "1: 'a<m>': 'a' has no parameters"),
        ("FAM<m> => c", "1: 'FAM<m>': 'FAM' has no parameters"),
        ("sim<n> => b", "1: 'sim<n>': 'sim' has no parameter 'n' (known: m)"),
        ("sim<m,m> => b", "1: 'sim<m,m>' names 'm' twice"),
        ("sim<m=9> => b", "1: 'sim' has no member with m=9"),
        ("sim<m-1> => b", "1: cannot read <m-1>"),
        ("sim<> => b", "1: cannot read <>"),
        ("(" * 60 + "a" + ")" * 60 + " => b", "1: more than 50 parentheses in one another"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text, complaint):
    (told,) = complaints(text)
    assert told.startswith(complaint)


def test_all_statements_are_checked_and_their_tasks_count_as_named():
    graph, problems = parse_graph([(1, "a => b b"), (2, "c => nope"), (3, "d => e")], NAMES)
    assert [line for line, _ in problems] == [1, 2]
    assert set(graph.prerequisites) == {"a", "b", "c", "d", "e"}


def test_tasks_without_counterpart_count_as_named():
    graph, problems = parse_graph([(1, "sim<m> => half<m> & a")], NAMES)
    assert len(problems) == 1
    assert len(graph.prerequisites) == 6


def test_nothing_is_said_about_names_that_were_found_wrong_elsewhere():
    graph, problems = parse_graph([(1, "bad => a")], _names(excused={"bad"}))
    assert problems == []
    assert set(graph.prerequisites) == {"a"}


def test_ten_thousand_pairs_and_families_stay_cheap():
    rows = product({"m": tuple(str(n) for n in range(10_000))})
    keys = {name: Key(rows.names, members(name, rows)) for name in ("sim", "post", "last")}
    groups = {name: tuple(m.name for m in key.members) for name, key in keys.items()}
    key_of = {m.name: name for name, key in keys.items() for m in key.members}
    graph, problems = parse_graph(
        [(1, "sim<m> => post<m>"), (2, "post => last")], Names(keys, groups, key_of)
    )
    assert problems == []
    assert len(graph.prerequisites) == 30_000
    assert graph.prerequisites["last_m0000"] is graph.prerequisites["last_m9999"]


trees = st.recursive(
    st.tuples(st.sampled_from(PLAIN[:4]), st.sampled_from(OUTPUTS)),
    lambda inner: st.tuples(st.sampled_from("&|"), st.lists(inner, min_size=2, max_size=3)),
    max_leaves=8,
)


def _text(tree):
    operator, rest = tree
    if operator in ("&", "|"):
        return "(" + f" {operator} ".join(map(_text, rest)) + ")"
    return operator if rest == "succeeded" else f"{operator}:{rest}"


def _holds(tree, happened):
    operator, rest = tree
    if operator in ("&", "|"):
        return (all if operator == "&" else any)(_holds(term, happened) for term in rest)
    return (operator, rest) in happened


@given(trees, st.sets(st.tuples(st.sampled_from(PLAIN[:4]), st.sampled_from(OUTPUTS))))
def test_a_written_expression_holds_when_plain_logic_says_so(tree, happened):
    expr = parse(f"{_text(tree)} => e")["e"]
    assert satisfied(expr, lambda task, output: (task, output) in happened) == _holds(tree, happened)


@given(st.text("ab&|=>()<>m:, \n#-", max_size=40))
def test_any_text_gives_a_graph_or_problems_and_never_a_crash(text):
    parse_graph(enumerate(text.split("\n"), 1), NAMES)
