from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from jobmgr.platforms.model import Platform

SCRIPT = Path(__file__).resolve().parents[3] / "scripts" / "schemas.py"


@pytest.fixture(scope="module")
def schemas():
    spec = importlib.util.spec_from_file_location("schemas", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_schemas_in_the_repository_are_current(schemas):
    assert schemas.main([]) == 0, "run: scripts/schemas.py --write"


@pytest.mark.parametrize("name", ["suite", "platforms"])
def test_a_schema_is_written_and_staleness_is_noticed(schemas, name, tmp_path, capsys):
    folder = ["--folder", str(tmp_path)]
    assert schemas.main(folder) == 1
    assert schemas.main(["--write", *folder]) == 0
    assert schemas.main(folder) == 0
    file = tmp_path / f"{name}.schema.json"
    assert json.loads(file.read_text())["additionalProperties"] is False
    file.write_text(file.read_text() + "\n")
    capsys.readouterr()
    assert schemas.main(folder) == 1
    assert capsys.readouterr().err == f"{file} is out of date; run scripts/schemas.py --write\n"


def test_the_schema_knows_every_key_of_a_task(schemas):
    keys = json.loads(schemas.text("suite"))["$defs"]["TaskModel"]["properties"]
    assert {"script", "time_limit", "parameters", "memory", "cpus_per_task", "directives"} <= set(keys)
    assert all(key["description"] for key in keys.values())


def test_the_schema_knows_every_key_of_a_platform(schemas):
    keys = set(json.loads(schemas.text("platforms"))["$defs"]["PlatformModel"]["properties"])
    records = set(Platform.__struct_fields__) - {"name", "origins", "resources"}
    assert keys >= records
