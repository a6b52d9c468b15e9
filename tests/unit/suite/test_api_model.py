from __future__ import annotations

from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from jobmgr.errors import SuiteError
from jobmgr.suite.api_model import Suite, Task
from jobmgr.suite.load import load_suite, suite_from_objects
from jobmgr.suite.models import SuiteModel, TaskModel


def test_objects_and_a_file_with_the_same_contents_give_the_same_suite(tmp_path):
    folder = tmp_path / "sweep"
    folder.mkdir()
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "suite.yaml").write_text(
        """
parameters: {lr: [0.1, 0.2]}
defaults: {platform: hpc}
families: {BIG: {memory: 4G}}
tasks:
  sim:
    script: "x"
    parameters: {m: 1..500}
    time_limit: 1h
    retry_delays: [1m, 2m]
    environment: {A: 1, B: true}
  tune:
    {script_file: run.sh, inherit: BIG, parameters: lr, inputs: a.nc, nodes: 2, gpus: 1,
     polling_interval: 1m30s}
graph: sim => tune
"""
    )
    suite = Suite(
        name="sweep",
        parameters={"lr": [0.1, 0.2]},
        defaults=Task(platform="hpc"),
        families={"BIG": Task(memory="4G")},
        tasks={
            "sim": Task(
                script="x",
                parameters={"m": range(1, 501)},
                time_limit=3600,
                retry_delays=[60, "2m"],
                environment={"A": 1, "B": True},
            ),
            "tune": Task(
                script_file=Path("run.sh"),
                inherit="BIG",
                parameters="lr",
                inputs=[Path("a.nc")],
                nodes=2,
                gpus=1,
                polling_interval=timedelta(minutes=1.5),
            ),
        },
        graph="sim => tune",
        folder=folder,
    )
    assert suite_from_objects(suite) == load_suite(folder)


def test_problems_name_the_suite_and_the_key():
    suite = Suite(name="s", tasks={"a": Task(script="x", platform="hcp", nodes=0), "b c": Task(script="x")})
    with pytest.raises(SuiteError) as caught:
        suite_from_objects(suite, lambda name: f"unknown platform '{name}'")
    assert sorted(str(problem)[:44] for problem in caught.value.problems) == [
        "suite 's': tasks.a.nodes: expected a whole n",
        "suite 's': tasks.a.platform: unknown platfor",
        "suite 's': tasks.b c: bad name 'b c': letter",
    ]


@pytest.mark.parametrize(
    "task, complaint",
    [
        (Task(script=object()), "tasks.a.script: expected text, a number, a list or a mapping, found object"),
        (Task(script=b"x"), "tasks.a.script: expected text, a number, a list or a mapping, found bytes"),
        ("x", "tasks.a: expected a Task, found str"),
        (Task(script="x", time_limit=-1), "tasks.a.time_limit: expected a duration"),
        (Task(script_file="x.sh"), "tasks.a.script_file: cannot read x.sh: the suite has no folder"),
        (Task(script="x", parameters={"m": []}), "tasks.a.parameters.m: expected at least one value"),
    ],
)
def test_values_that_no_file_could_hold_are_refused(task, complaint):
    with pytest.raises(SuiteError, match="suite 's': ") as caught:
        suite_from_objects(Suite(name="s", tasks={"a": task}))
    assert complaint in str(caught.value)


def test_the_classes_have_every_key_of_the_file():
    assert {f.name for f in fields(Task)} == set(TaskModel.keys)
    assert {f.name for f in fields(Suite)} == {*SuiteModel.keys, "folder"}
