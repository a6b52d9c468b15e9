"""docs/suites.md and docs/platforms.md against the loaders: the examples load, and every key is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from jobmgr.core.graph import OUTPUTS
from jobmgr.platforms.load import load_platforms
from jobmgr.platforms.model import Platform
from jobmgr.platforms.models import GroupModel, PlatformModel
from jobmgr.suite.load import load_suite
from jobmgr.suite.models import SuiteModel, TaskModel

DOCS = Path(__file__).resolve().parents[3] / "docs"
SUITES = (DOCS / "suites.md").read_text()
PLATFORMS = (DOCS / "platforms.md").read_text()


def examples(text):
    return re.findall(r"^```yaml\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def first_cells(text):
    """The words in backquotes in the first column of every table."""
    return {
        word
        for row in re.findall(r"^\| (.*?) \| ", text, re.MULTILINE)
        for word in re.findall(r"`([a-z_-]+)`", row)
    }


@pytest.mark.parametrize("example", examples(SUITES), ids=lambda text: text.split("\n")[0])
def test_every_suite_in_the_documentation_is_right(example, tmp_path):
    (tmp_path / "suite.yaml").write_text(f"name: documented\n{example}")
    load_suite(tmp_path)


@pytest.mark.parametrize("example", examples(PLATFORMS), ids=lambda text: text.split("\n")[0])
def test_every_platform_file_in_the_documentation_is_right(example, tmp_path):
    (tmp_path / "platforms.yaml").write_text(example)
    assert load_platforms([tmp_path / "platforms.yaml"]).names()


def test_the_documentation_has_examples():
    assert len(examples(SUITES)) >= 5
    assert len(examples(PLATFORMS)) >= 1


def test_the_csv_in_the_documentation_is_right(tmp_path):
    rows = re.search(r"^```\n(city,.*?)^```", SUITES, re.MULTILINE | re.DOTALL)[1]
    (tmp_path / "rows.csv").write_text(rows)
    (tmp_path / "suite.yaml").write_text("name: x\ntasks: {sim: {script: x, parameter_file: rows.csv}}\n")
    assert "sim_cityrome" in load_suite(tmp_path).tasks


def test_every_key_of_a_suite_is_documented_and_no_other():
    words = first_cells(SUITES)
    keys = {*SuiteModel.keys, *TaskModel.keys, "parameter_file"}
    undocumented = keys - words - {"parameter_file", "parameters"}
    assert undocumented == set()
    assert "`parameter_file`" in SUITES
    assert words - keys - set(OUTPUTS) <= {"a", "sim"}


def test_every_output_is_documented():
    assert set(OUTPUTS) <= first_cells(SUITES)


def test_every_key_of_a_platform_is_documented_and_no_other():
    words = first_cells(PLATFORMS)
    keys = {*PlatformModel.keys, *GroupModel.keys, "groups"}
    assert keys - words == set()
    assert words - keys <= {"localhost"}


@pytest.mark.parametrize(
    "key, shown",
    [
        ("host_selection", "ordered"), ("transport", "auto"), ("connect_timeout", "10s"),
        ("runner", "background"),

        ("run_root", "$HOME/jobmgr-run"), ("min_polling_interval", "10s"), ("retrieve_max_size", "10M"),
        ("retrieve_logs", "true"), ("use_login_shell", "false"),
    ],
)  # fmt: skip
def test_documented_defaults_are_the_real_ones(key, shown):
    row = next(line for line in PLATFORMS.split("\n") if line.startswith(f"| `{key}` |"))
    assert f"`{shown}`" in row.split(" | ")[-1]
    real = {row.key: row.value for row in load_platforms([]).show("x@y")}
    assert real[key] == shown
    assert key in Platform.__struct_fields__
