from __future__ import annotations

from pathlib import Path

import pytest

from jobmgr.core.graph import Atom, Group
from jobmgr.errors import SuiteError
from jobmgr.suite.load import load_suite

DATA = Path(__file__).resolve().parents[2] / "data" / "validate"


def cases(name):
    """(text, complaint) of each block of a file of cases."""
    blocks = [block.split("!! ") for block in (DATA / name).read_text().split("----\n")[1:]]
    return [pytest.param(text, complaint.strip(), id=complaint[:70].strip()) for text, complaint in blocks]


@pytest.fixture
def write(tmp_path):
    def write(text, **files):
        folder = tmp_path / "mysuite"
        folder.mkdir(exist_ok=True)
        (folder / "suite.yaml").write_text(text)
        for name, content in files.items():
            (folder / name.replace("__", ".")).write_text(content)
        return folder

    return write


def platforms(name):
    return None if name in ("hpc", "localhost") else f"unknown platform '{name}' (nearest: hpc)"


def complaints(folder):
    with pytest.raises(SuiteError) as caught:
        load_suite(folder, platforms)
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("case", sorted(DATA.glob("*.yaml")), ids=lambda path: path.stem)
def test_all_errors_are_reported_at_once_as_in_the_golden_file(case, tmp_path):
    (tmp_path / "suite.yaml").write_text(case.read_text())
    assert "\n".join(complaints(tmp_path)) + "\n" == case.with_suffix(".txt").read_text()


def test_the_least_suite_has_defaults(write):
    suite = load_suite(write("tasks: {hello: {script: echo hello}}"))
    task = suite.tasks["hello"]
    assert (suite.name, suite.description, suite.install) == ("mysuite", "", ())
    assert (task.name, task.base, task.platform, task.runner) == ("hello", "hello", "localhost", None)
    assert (task.time_limit, task.retry_delays, task.families, task.manual) == (None, (), (), False)
    assert suite.graph.prerequisites == {"hello": None}


def test_every_task_key_arrives(write):
    text = """
name: full
description: all of it
install: ["*.sh", data]
tasks:
  t:
    script_file: run.sh
    init_script: "i"
    pre_script: "a"
    post_script: "b"
    err_script: "c"
    exit_script: "d"
    platform: hpc
    runner: slurm
    environment: {A: on, B: , C: "$A/x"}
    inputs: {data/x.nc: in.nc, /abs/y.nc: , ../z: sub/}
    outputs: ["*.nc", plots/]
    events: [data_ready]
    work_dir: work/shared
    time_limit: 1h30m
    retry_delays: [1m, 2*10m]
    submit_retry_delays: 30s
    polling_interval: PT1M, 5m
    queue: long
    account: 0755
    nodes: 2
    tasks: 8
    cpus_per_task: 4
    memory: 4 gb
    gpus: a100:2
    job_name: my job
    mail: ada@example.org
    directives: {--exclusive: , --constraint: [a, b], -x: 1}
    manual: true
"""
    suite = load_suite(write(text, run__sh="#!/bin/sh\n"))
    task = suite.tasks["t"]
    assert (suite.name, suite.description, suite.install) == ("full", "all of it", ("*.sh", "data"))
    assert (task.script_file, task.init_script, task.pre_script, task.post_script) == (
        "run.sh",
        "i",
        "a",
        "b",
    )
    assert (task.err_script, task.exit_script, task.platform, task.runner) == ("c", "d", "hpc", "slurm")
    assert task.environment == (("A", "on"), ("B", ""), ("C", "$A/x"))
    assert task.inputs == (("data/x.nc", "in.nc"), ("/abs/y.nc", "y.nc"), ("../z", "sub/z"))
    assert task.outputs == ("*.nc", "plots/")
    assert (task.events, task.work_dir, task.time_limit) == (("data_ready",), "work/shared", 5400)
    assert (task.retry_delays, task.submit_retry_delays) == ((60, 600, 600), (30,))
    assert task.polling_interval == (60, 300)
    assert task.resources == (
        ("queue", "long"), ("account", "0755"), ("nodes", "2"), ("tasks", "8"), ("cpus_per_task", "4"),
        ("memory", "4G"), ("gpus", "a100:2"), ("job_name", "my job"), ("mail", "ada@example.org"),
    )  # fmt: skip
    assert task.directives == (("--exclusive", None), ("--constraint", ("a", "b")), ("-x", "1"))
    assert task.manual
    assert suite.graph.prerequisites == {}
    assert suite.graph.manual == {"t"}


def test_families_and_defaults_are_inherited(write):
    text = """
defaults:
  platform: hpc
  environment: {A: default, B: default}
  memory: 1G
families:
  BIG: {memory: 8G, script: echo big, environment: {B: big, C: big}}
  SLOW: {inherit: BIG, time_limit: 2h, directives: {-x: slow, -y: slow}}
  OTHER: {memory: 2G, pre_script: other}
tasks:
  one: {inherit: [SLOW, OTHER], environment: {D: one}, directives: {-x: one}}
  two: {inherit: OTHER, script: echo two, platform: }
  three: {inherit: BIG, script_file: x.sh}
graph: BIG => two
"""
    suite = load_suite(write(text, x__sh="#!/bin/sh\n"))
    one, two, three = suite.tasks.values()
    assert (one.script, one.time_limit, one.pre_script, one.platform) == ("echo big", 7200, "other", "hpc")
    assert dict(one.resources) == {"memory": "8G"}
    assert one.environment == (("A", "default"), ("B", "big"), ("C", "big"), ("D", "one"))
    assert one.directives == (("-x", "one"), ("-y", "slow"))
    assert one.families == ("SLOW", "BIG", "OTHER")
    assert (two.platform, dict(two.resources)) == ("localhost", {"memory": "2G"})
    assert (three.script, three.script_file) == ("", "x.sh")
    assert suite.families == {"BIG": ("one", "three"), "SLOW": ("one",), "OTHER": ("one", "two")}
    assert suite.graph.prerequisites["two"] == Group("BIG", "succeeded", True, ("one", "three"))


def test_parameters_make_members(write):
    text = """
parameters: {m: 8..10, lr: [0.10, 0.01]}
tasks:
  sim: {script: x, parameters: m, outputs: "out_{m}.nc"}
  grid: {script: x, parameters: [m, lr]}
  own: {script: x, parameters: {k: [a, b]}}
  file: {script: x, parameter_file: rows.csv, environment: {CITY: "{city}"}}
graph: sim<m> => grid<m> & own & file
"""
    suite = load_suite(write(text, rows__csv="city,t\nrome,30\n"))
    assert suite.families["sim"] == ("sim_m08", "sim_m09", "sim_m10")
    assert suite.families["grid"][:3] == ("grid_m08_lr0.10", "grid_m08_lr0.01", "grid_m09_lr0.10")
    sim = suite.tasks["sim_m08"]
    assert (sim.base, sim.families, sim.parameters, sim.outputs) == (
        "sim",
        ("sim",),
        (("m", "8"),),
        ("out_8.nc",),
    )
    assert suite.tasks["file_cityrome"].environment == (("CITY", "rome"),)
    assert suite.tasks["file_cityrome"].parameters == (("city", "rome"), ("t", "30"))
    assert suite.graph.prerequisites["grid_m10_lr0.01"] == Atom("sim_m10", "succeeded")


def test_a_graph_may_be_a_list_of_lines(write):
    suite = load_suite(
        write("tasks: {a: {script: x}, b: {script: x}, c: {script: x}}\ngraph:\n  - a => b\n  - b => c\n")
    )
    assert suite.graph.prerequisites["c"] == Atom("b", "succeeded")


def test_a_manual_task_may_be_left_out_of_the_graph(write):
    suite = load_suite(write("tasks: {a: {script: x}, b: {script: x, manual: yes}}\ngraph: a\n"))
    assert suite.graph.prerequisites == {"a": None}


def test_a_suite_file_of_another_name_is_named_in_errors(write):
    folder = write("tasks: {}")
    (folder / "other.yaml").write_text("nope: 1\ntasks: {a: {script: x}}\n")
    (complaint,) = complaints(folder / "other.yaml")
    assert complaint.startswith("other.yaml:1: unknown key 'nope'")


@pytest.mark.parametrize("text, complaint", cases("suite.cases"))
def test_what_is_wrong_is_told_with_file_line_and_key(write, text, complaint):
    (told,) = complaints(write(text))
    assert told.startswith(complaint)


def test_members_may_wait_for_one_another(write):
    load_suite(write("tasks: {s: {script: x, parameters: {m: 1..2}}}\ngraph: s<m=1> => s<m=2>\n"))


def test_each_platform_is_asked_about_once(write):
    asked = []
    load_suite(
        write("defaults: {platform: a+b, script: x}\ntasks: {a: {platform: a+b}, b: {platform: c}}"),
        asked.append,
    )
    assert asked == ["a+b", "c"]


def test_a_script_file_without_shebang_is_refused(write):
    (complaint,) = complaints(write("tasks: {a: {script_file: x.sh}}", x__sh="echo\n"))
    assert complaint.startswith("suite.yaml:1: tasks.a.script_file: x.sh does not begin with '#!'")


def test_values_of_a_csv_cannot_lead_out_of_a_folder(write):
    text = "tasks: {a: {script: x, parameter_file: r.csv, outputs: '{f}'}}"
    (complaint,) = complaints(write(text, r__csv="id,f\n1,ok.nc\n2,../../etc/passwd\n"))
    assert complaint == "suite.yaml:1: tasks.a: member a_id2: '../../etc/passwd' must not contain '..'"


def test_a_bad_csv_is_told_by_its_own_name_and_line(write):
    told = complaints(write("tasks: {a: {script: x, parameter_file: r.csv}}", r__csv="m,n\n1\n2,3,4\n"))
    assert told == ["r.csv:2: has 1 values for 2 parameters", "r.csv:3: has 3 values for 2 parameters"]


def test_a_file_that_is_not_utf8_is_refused(write):
    folder = write("")
    (folder / "suite.yaml").write_bytes(b"name: x\nb: \xff\n")
    assert complaints(folder) == ["suite.yaml:2: not UTF-8 text"]


def test_a_missing_suite_is_told(tmp_path):
    (complaint,) = complaints(tmp_path)
    assert "cannot read" in complaint
    assert "No such file" in complaint


def test_a_folder_whose_name_is_no_name_needs_a_name_in_the_file(tmp_path):
    folder = tmp_path / "my suite"
    folder.mkdir()
    (folder / "suite.yaml").write_text("tasks: {a: {script: x}}\n")
    (complaint,) = complaints(folder)
    assert "write name: ..." in complaint
    (folder / "suite.yaml").write_text("name: good\ntasks: {a: {script: x}}\n")
    assert load_suite(folder).name == "good"


def test_scripts_keep_every_character(write):
    script = "echo 'quotes' \"and\" $X ${Y} {m} \\ é 日本\n\techo tab\n\n"
    indented = "".join(f"      {line}" if line.strip() else line for line in script.splitlines(keepends=True))
    suite = load_suite(write(f"tasks:\n  a:\n    parameters: {{m: 1}}\n    script: |+\n{indented}"))
    assert suite.tasks["a_m1"].script == script


def test_ten_thousand_members_are_loaded_from_a_small_file(write):
    suite = load_suite(
        write("tasks: {s: {script: x, parameters: {m: 1..10000}}, p: {script: y}}\ngraph: s => p\n")
    )
    assert len(suite.tasks) == 10_001
    assert type(suite).from_json(suite.to_json()) == suite
