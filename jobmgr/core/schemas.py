"""JSON Schemas of the models, for editors, and the small command that keeps them up to date."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pydantic

FOLDER = Path(__file__).resolve().parents[2] / "schemas"


def schema_text(model: type[pydantic.BaseModel], title: str) -> str:
    """The schema of a file, as it is kept in the repository."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **_cleaned(model.model_json_schema()),
        "title": title,
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _cleaned(value: Any) -> Any:
    """Without the titles and defaults that pydantic makes up: an editor would show them to no use."""
    if isinstance(value, dict):
        return {
            key: _cleaned(child)
            for key, child in value.items()
            if not (key == "title" and isinstance(child, str)) and not (key == "default" and child is None)
        }
    return [_cleaned(child) for child in value] if isinstance(value, list) else value


def main(model: type[pydantic.BaseModel], title: str, name: str, argv: Sequence[str] | None = None) -> int:
    """``--write`` brings the file up to date; without it the exit code says whether it is (1: it is not)."""
    parser = argparse.ArgumentParser(description=f"Keep {name} in step with the model.")
    parser.add_argument("--write", action="store_true", help="write the file")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the file is kept")
    options = parser.parse_args(argv)
    file = options.folder / name
    text = schema_text(model, title)
    if options.write:
        options.folder.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return 0
    if file.exists() and file.read_text(encoding="utf-8") == text:
        return 0
    sys.stderr.write(f"{name} is out of date; run this command with --write\n")
    return 1
