"""Checks a YAML tree against a pydantic model, and says what is wrong in the file's own terms.

The only module besides the models that imports pydantic; commands that only read the store never come
here.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any, TypeVar, get_args

import pydantic

from jobmgr.core import yaml_tree
from jobmgr.core.fields import Wrong, found
from jobmgr.core.nearest import key_hint
from jobmgr.core.yaml_tree import Keys, Path
from jobmgr.errors import Problem

M = TypeVar("M", bound=pydantic.BaseModel)


def known_keys(model: type[pydantic.BaseModel], path: Path) -> list[str]:
    """The keys that the model at ``path`` below ``model`` has. Parts that are keys of a mapping of models
    are passed over."""
    for part in path:
        field = model.model_fields.get(str(part))
        model = (_model_in(field.annotation) if field else None) or model
    return list(model.model_fields)


def _model_in(annotation: Any) -> type[pydantic.BaseModel] | None:
    """The model in ``Model``, ``Model | None`` or ``dict[str, Model]``."""
    if isinstance(annotation, type) and issubclass(annotation, pydantic.BaseModel):
        return annotation
    return next(filter(None, map(_model_in, get_args(annotation))), None)


def _texts(error: Any, model: type[pydantic.BaseModel]) -> list[tuple[Path, Path, str]]:
    """(path of the line, path that is printed, text) for one of pydantic's errors."""
    path: Path = tuple(error["loc"])
    if error["type"] == "extra_forbidden":
        parent = path[:-1]
        key = str(path[-1])
        return [
            (
                path,
                parent,
                f"unknown key '{yaml_tree.printable(key)}'{key_hint(key, known_keys(model, parent))}",
            )
        ]
    cause = error.get("ctx", {}).get("error")
    if isinstance(cause, Wrong):
        return [((*path, *inner), (*path, *inner), text) for inner, text in cause.wrongs]
    return [(path, path, f"expected a mapping, found {found(error['input'])}")]


def _without(value: Any, paths: Collection[Path]) -> Any:
    """A copy of nested mappings without the entries at ``paths``; only what lies on a path is copied."""
    below: dict[str | int, list[Path]] = {}
    for path in paths:
        below.setdefault(path[0], []).append(path[1:])
    kept = dict(value)
    for head, rests in below.items():
        if () in rests:
            del kept[head]
        else:
            kept[head] = _without(kept[head], rests)
    return kept


def check_model(model: type[M], root: Keys, file: str) -> tuple[M, list[Problem], set[Path]]:
    """The model of what is right in the tree, the problems of the rest, and the paths left out.

    Entries that are wrong are taken out and the rest is read again, so that one mistake hides no other.
    """
    values: Any = yaml_tree.plain(root)
    problems: list[Problem] = []
    broken: set[Path] = set()
    while True:
        try:
            return model.model_validate(values), problems, broken
        except pydantic.ValidationError as failure:
            errors = failure.errors(include_url=False)
            for error in errors:
                for place, shown, text in _texts(error, model):
                    line, key = yaml_tree.line_of(root, place), yaml_tree.dotted(root, shown)
                    problems.append(Problem(file, line, key, text))
            places = {tuple(error["loc"]) for error in errors}
            broken |= places
            values = _without(values, places)


def schema_text(model: type[pydantic.BaseModel], title: str) -> str:
    """The JSON Schema of a file, for editors, as it is kept in the repository."""
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
