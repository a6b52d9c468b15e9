"""From the checked settings of a task, its families and the defaults to the records of its members. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from jobmgr.core import fields
from jobmgr.core.tasks import TaskDef, Template, fill
from jobmgr.suite.models import TaskModel
from jobmgr.suite.parameters import Member

Settings = Mapping[str, Any]

_MERGED = ("environment", "directives")
_SAME = (
    "platform", "runner", "script", "script_file", "init_script", "pre_script", "post_script", "err_script",
    "exit_script", "environment", "inputs", "outputs", "events", "work_dir", "time_limit", "retry_delays",
    "submit_retry_delays", "polling_interval", "directives", "manual",
)  # fmt: skip


def merged(models: Sequence[TaskModel]) -> dict[str, Any]:
    """The settings of a task; ``models`` from the most general to the most specific.

    ``environment`` and ``directives`` are merged name by name, a variable keeping the place where it first
    appeared; everything else replaces. An empty value sets back to nothing. ``script`` and ``script_file``
    replace each other.
    """
    settings: dict[str, Any] = {}
    for model in models:
        own = {key: value for key, value in model.given.items() if key != "inherit"}
        if own.get("script") or own.get("script_file"):
            settings.pop("script", None)
            settings.pop("script_file", None)
        if "parameters" in own or "parameter_file" in own:
            settings.pop("parameters", None)
            settings.pop("parameter_file", None)
        for key, value in own.items():
            if key in _MERGED and value is not None:
                settings[key] = tuple({**dict(settings.get(key) or ()), **dict(value)}.items())
            else:
                settings[key] = value
    return {key: value for key, value in settings.items() if value is not None}


def template(
    name: str, families: tuple[str, ...], settings: Settings, names: Sequence[str], members: Sequence[Member]
) -> Template:
    """The template of the task key ``name``; ``names`` and ``members`` of its parameters, empty without
    any."""
    texts = {key: str(settings[key]) for key in fields.PORTABLE_KEYS if key in settings}
    values = {key: settings[key] for key in _SAME if key in settings}
    groups = (name, *families) if names else families
    task = TaskDef(name=name, base=name, families=groups, resources=fields.portable(texts), **values)
    rows = tuple((member.name, member.values) for member in members) if names else ()
    return Template(task, tuple(names), rows)


def unsafe_member(made: Template) -> str:
    """Why a member's values must not be put in (``outputs: ../x``), or nothing. Only values that a plain
    name could not hold are looked at, so thousands of ordinary members cost nothing."""
    pattern = made.placeholders()
    if pattern is None:
        return ""
    paths = TaskDef(
        "", "", inputs=made.task.inputs, outputs=made.task.outputs, directives=made.task.directives
    )
    for name, row in made.members:
        if all(value.isalnum() for value in row):
            continue
        filled = fill(paths, pattern, dict(zip(made.parameters, row, strict=True)))
        try:
            fields.patterns(list(filled.outputs))
            for source, target in filled.inputs:
                fields.line(source)
                fields.relative_path(target)
            for _, value in filled.directives:
                for text in value if isinstance(value, tuple) else (value,):
                    fields.words(text)
        except fields.Wrong as wrong:
            return f"member {name}: {wrong}"
    return ""
