"""From a task and a platform to the item of a submit request."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from jobmgr.core.tasks import TaskDef
from jobmgr.platforms.model import Platform
from jobmgr.service.jobspec import input_place, job_item, runner_of, split_common, work_dir

PLATFORM = Platform("hpc", ("login1",), runner="slurm", origins={"runner": "p.yaml:3"})


def item(task: TaskDef, platform: Platform = PLATFORM) -> dict[str, object]:
    return job_item(task, platform, cycle="1", source_root="/suite", home="/home/ada")


def test_the_task_overrides_the_platform_and_keeps_the_order() -> None:
    platform = Platform(
        "hpc",
        ("login1",),
        environment=(("A", "1"), ("B", "2")),
        resources=(("queue", "short"), ("memory", "1G")),
        directives=(("--qos", "low"), ("--exclusive", None)),
    )
    task = TaskDef(
        "t",
        "t",
        script="true",
        environment=(("B", "3"),),
        resources=(("queue", "long"),),
        directives=(("--qos", ("a", "b")),),
    )
    made = item(task, platform)
    assert made["environment"] == [["A", "1"], ["B", "2"], ["B", "3"]]
    assert made["resources"] == {"queue": "long", "memory": "1G"}
    assert made["directives"] == [["--qos", ["a", "b"]], ["--exclusive", None]]


def test_what_says_nothing_is_left_out() -> None:
    assert item(TaskDef("t", "t", script="true")) == {"runner": "slurm", "script": "true"}


def test_a_runner_that_nobody_chose_is_left_to_the_host() -> None:
    assert runner_of(TaskDef("t", "t"), Platform("bare", ("bare",))) == ""
    assert runner_of(TaskDef("t", "t", runner="at"), PLATFORM) == "at"
    assert runner_of(TaskDef("t", "t"), PLATFORM) == "slurm"


def test_cycle_and_task_stand_for_the_jobs_own_as_whole_parts_only() -> None:
    assert work_dir(TaskDef("t", "t", work_dir="work/CYCLE/TASK/TASKS"), "7") == "work/7/t/TASKS"
    assert work_dir(TaskDef("t", "t"), "7") == ""


def test_an_input_of_the_suite_keeps_its_place_and_another_goes_below_service() -> None:
    assert input_place("/suite", "/home/ada", "data/a.nc") == ("", "data/a.nc", "data/a.nc")
    folder, name, place = input_place("/suite", "/home/ada", "~/a.nc")
    assert (folder, name) == ("/home/ada", "a.nc")
    assert place.startswith(".service/inputs/")
    assert place.endswith("/a.nc")
    assert input_place("/suite", "/h", "../suite/data/x")[2] == "data/x"
    assert input_place("/suite", "/h", "../other/x")[2].startswith(".service/inputs/")
    assert input_place("/suite", "/h", "work/1/a/x")[2].startswith(".service/inputs/")


ITEMS = st.lists(
    st.dictionaries(st.sampled_from(["script", "runner", "time_limit", "work_dir"]), st.integers(0, 2)),
    max_size=6,
)


@given(ITEMS)
def test_common_and_own_parts_make_the_item_again(items: list[dict[str, object]]) -> None:
    numbered = [{**one, "job": f"1/t/{n:02d}"} for n, one in enumerate(items)]
    common, own = split_common(numbered)
    assert [{**common, **one} for one in own] == numbered
    assert "job" not in common
