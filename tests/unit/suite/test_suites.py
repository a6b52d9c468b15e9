from __future__ import annotations

from pathlib import Path

import pytest

from jobmgr.core.graph import Progress
from jobmgr.core.tasks import SuiteDef
from jobmgr.suite.load import load_suite

SUITES = Path(__file__).resolve().parents[3] / "suites"


@pytest.mark.parametrize(
    "folder", sorted(path.parent for path in SUITES.glob("*/suite.yaml")), ids=lambda p: p.name
)
def test_every_example_suite_is_right(folder):
    suite = load_suite(folder)
    assert suite.name == folder.name
    assert suite.description
    assert suite.graph.ready(list(suite.tasks), Progress({}))
    assert SuiteDef.from_json(suite.to_json()) == suite


@pytest.mark.parametrize("name", ["hello", "sweep", "diamond", "daily"])
def test_these_run_anywhere(name):
    assert {task.platform for task in load_suite(SUITES / name).tasks.values()} == {"localhost"}


def test_the_sweep_takes_inputs_along_that_exist():
    suite = load_suite(SUITES / "sweep")
    member = suite.tasks["grow_rate0.10_steps20"]
    assert all((SUITES / "sweep" / source).is_file() for source, _ in member.inputs)
    assert member.outputs == ("result_0.10_20.txt",)
    assert len(suite.families["grow"]) == 9


def test_the_diamond_goes_on_after_its_failure():
    suite = load_suite(SUITES / "diamond")
    done = {name: {"succeeded", "finished"} for name in ("prepare", "left", "right")}
    progress = Progress({**done, "check": {"failed", "finished"}}, ended={*done, "check"})
    waiting = ["repair", "publish", "report", "tidy_up"]
    assert suite.graph.ready(waiting, progress) == ["repair"]
    assert suite.graph.unreachable(waiting, progress) == {"publish"}
