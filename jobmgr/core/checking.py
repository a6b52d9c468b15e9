"""Checks a YAML tree against a model, and says what is wrong in the file's own terms."""

from __future__ import annotations

from typing import TypeVar

from jobmgr.core import yaml_tree
from jobmgr.core.model import Model, Notes
from jobmgr.core.nearest import key_hint
from jobmgr.core.yaml_tree import Keys, Path
from jobmgr.errors import Problem

M = TypeVar("M", bound=Model)


def check_model(model: type[M], root: Keys, file: str) -> tuple[M, list[Problem], set[Path]]:
    """The model of what is right in the tree, the problems of the rest, and the paths left out.

    Entries that are wrong are passed over, so that one mistake hides no other.
    """
    notes = Notes(_unknown_key)
    made = model.read(yaml_tree.plain(root), (), notes)
    problems = [
        Problem(file, yaml_tree.line_of(root, place), yaml_tree.dotted(root, shown), text)
        for place, shown, text in notes.wrongs
    ]
    return made, problems, notes.left_out


def _unknown_key(key: str, known: list[str]) -> str:
    return f"unknown key '{yaml_tree.printable(key)}'{key_hint(key, known)}"


def schema_text(model: type[Model], title: str) -> str:
    """The JSON Schema of a file, for editors, as it is kept in the repository."""
    import json

    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **model.schema(),
        "$defs": {name: each.schema() for name, each in model.referred().items()},
        "title": title,
    }
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
