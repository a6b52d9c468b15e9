from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.graph import Atom, Graph, Group
from jobmgr.core.tasks import SuiteDef, TaskDef, TaskTable, Template

names = st.from_regex(r"[a-z][a-z0-9_.-]{0,8}", fullmatch=True)
texts = st.text(st.characters(codec="utf-8"), max_size=20)
pairs = st.lists(st.tuples(texts, texts), max_size=3).map(tuple)
many = st.lists(texts, max_size=3).map(tuple)
seconds = st.lists(st.integers(0, 10**6), max_size=3).map(tuple)
directive_values = st.none() | texts | many
task_defs = st.builds(
    TaskDef,
    name=names,
    base=names,
    families=st.lists(names, max_size=2).map(tuple),
    runner=st.none() | names,
    script=texts,
    environment=pairs,
    inputs=pairs,
    outputs=many,
    events=many,
    time_limit=st.none() | st.integers(1, 10**6),
    retry_delays=seconds,
    polling_interval=seconds,
    resources=pairs,
    directives=st.lists(st.tuples(texts, directive_values), max_size=3).map(tuple),
    manual=st.booleans(),
)


@st.composite
def templates(draw, index):
    task = draw(task_defs)
    parameters = draw(st.lists(st.sampled_from("mnk"), max_size=2, unique=True).map(tuple))
    if not parameters:
        return Template(TaskDef(**{**_dict(task), "name": f"t{index}"}))
    rows = draw(st.lists(st.tuples(*[texts] * len(parameters)), min_size=1, max_size=4))
    return Template(task, parameters, tuple((f"t{index}_{n}", row) for n, row in enumerate(rows)))


def _dict(task):
    return {name: getattr(task, name) for name in TaskDef._fields}


@st.composite
def suites(draw):
    table = TaskTable([draw(templates(index)) for index in range(draw(st.integers(1, 3)))])
    known = tuple(table)
    families = draw(
        st.dictionaries(names, st.lists(st.sampled_from(known), unique=True).map(tuple), max_size=2)
    )
    families["all"] = known
    waits = st.none() | st.builds(Atom, st.sampled_from(known), st.just("failed"))
    graph = Graph(
        {**{name: draw(waits) for name in known}, "x": Group("all", "succeeded", True, known)}, families
    )
    return SuiteDef("s", table, graph, families, draw(texts), ("*.sh",))


@given(suites())
def test_a_suite_survives_json(suite):
    again = SuiteDef.from_json(suite.to_json())
    assert again == suite
    assert list(again.tasks) == list(suite.tasks)
    assert again.to_json() == suite.to_json()


@given(st.lists(task_defs, max_size=4, unique_by=lambda task: task.name))
def test_finished_records_survive_json_too(tasks):
    suite = SuiteDef("s", {task.name: task for task in tasks}, Graph({}))
    assert SuiteDef.from_json(suite.to_json()) == suite


def _template(**values):
    return Template(TaskDef("sim", "sim", **values), ("m", "lr"), (("sim_m1", ("1", "0.10")),))


def test_parameters_are_put_into_inputs_outputs_environment_and_directives():
    made = TaskTable(
        [
            _template(
                inputs=(("in/{m}.nc", "x_{lr}.nc"),),
                outputs=("out_{m}_{m}.nc",),
                environment=(("RATE", "{lr}"),),
                directives=(("--comment", "m={m}"), ("--flag", None), ("-l", ("a={m}", "b"))),
            )
        ]
    )["sim_m1"]
    assert made.inputs == (("in/1.nc", "x_0.10.nc"),)
    assert made.outputs == ("out_1_1.nc",)
    assert made.environment == (("RATE", "0.10"),)
    assert made.directives == (("--comment", "m=1"), ("--flag", None), ("-l", ("a=1", "b")))
    assert made.parameters == (("m", "1"), ("lr", "0.10"))
    assert (made.name, made.base) == ("sim_m1", "sim")


def test_parameters_are_never_put_into_scripts_nor_into_what_the_shell_means():
    made = TaskTable([_template(script="echo {m}", environment=(("A", "${m} {other} {a,b} { m }"),))])[
        "sim_m1"
    ]
    assert made.script == "echo {m}"
    assert made.environment == (("A", "${m} {other} {a,b} { m }"),)


def test_a_value_that_looks_like_a_parameter_is_not_replaced_again():
    template = Template(TaskDef("s", "s", outputs=("{m}",)), ("m", "n"), (("s_1", ("{n}", "9")),))
    assert TaskTable([template])["s_1"].outputs == ("{n}",)


def test_ten_thousand_members_share_their_template_in_json():
    members = tuple((f"sim_m{n:05}", (str(n),)) for n in range(10_000))
    template = Template(TaskDef("sim", "sim", script="x" * 5000, outputs=("{m}.nc",)), ("m",), members)
    table = TaskTable([template])
    groups = {"sim": tuple(table), "FAM": tuple(table)}
    suite = SuiteDef("s", table, Graph(dict.fromkeys(table), groups), groups)
    text = suite.to_json()
    assert len(text) < 5000 + 10_000 * 30
    assert json.loads(text)["families"] == {"sim": [0], "FAM": [0]}
    assert SuiteDef.from_json(text).tasks["sim_m00042"].outputs == ("42.nc",)


def test_the_table_is_a_mapping():
    table = TaskTable.of([TaskDef("a", "a"), TaskDef("b", "b")])
    assert list(table) == ["a", "b"]
    assert len(table) == 2
    assert "a" in table
    assert "c" not in table
    assert table == {"a": TaskDef("a", "a"), "b": TaskDef("b", "b")}
    with pytest.raises(KeyError):
        table["c"]
    assert table.template_of("a").task.name == "a"


def test_tasks_can_be_added_and_replaced():
    suite = SuiteDef("s", TaskTable.of([TaskDef("a", "a")]), Graph({"a": Atom("b", "failed")}))
    more = suite.with_tasks([TaskDef("b", "b"), TaskDef("a", "a", script="new")])
    assert list(more.tasks) == ["b", "a"]
    assert more.tasks["a"].script == "new"
    assert more.graph.prerequisites == {"a": None, "b": None}
    assert list(suite.tasks) == ["a"]


@pytest.mark.parametrize("text", ['{"version": 99}', "[]", "nonsense"])
def test_another_version_is_refused(text):
    with pytest.raises(ValueError):
        SuiteDef.from_json(text)
