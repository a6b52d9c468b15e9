from __future__ import annotations

import json

import pytest

from jobmgr.platforms import schema as platforms_schema
from jobmgr.platforms.model import Platform
from jobmgr.suite import schema as suite_schema

BOTH = pytest.mark.parametrize("schema", [suite_schema, platforms_schema], ids=["suite", "platforms"])


@BOTH
def test_the_schema_in_the_repository_is_current(schema):
    assert schema.main([]) == 0, f"run: python -m {schema.__name__} --write"


@BOTH
def test_the_schema_is_written_and_staleness_is_noticed(schema, tmp_path, capsys):
    file = tmp_path / "x.schema.json"
    assert schema.main(["--file", str(file)]) == 1
    assert "--write" in capsys.readouterr().err
    assert schema.main(["--write", "--file", str(file)]) == 0
    assert schema.main(["--file", str(file)]) == 0
    assert json.loads(file.read_text())["additionalProperties"] is False


def test_the_schema_knows_every_key_of_a_task():
    keys = json.loads(suite_schema.text())["$defs"]["TaskModel"]["properties"]
    assert {"script", "time_limit", "parameters", "memory", "cpus_per_task", "directives"} <= set(keys)
    assert all(key["description"] for key in keys.values())


def test_the_schema_knows_every_key_of_a_platform():
    keys = set(json.loads(platforms_schema.text())["$defs"]["PlatformModel"]["properties"])
    records = set(Platform.__dataclass_fields__) - {"name", "origins", "resources"}
    assert keys >= records
