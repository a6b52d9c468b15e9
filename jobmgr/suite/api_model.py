"""``Suite`` and ``Task`` of the library: what a program says instead of a suite.yaml.

They are turned into the same tree that a file gives and go through the same checks, so they accept and
refuse the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import timedelta
from os import PathLike, fspath

from jobmgr.core import yaml_tree
from jobmgr.core.durations import format_duration
from jobmgr.core.yaml_tree import Keys, Plain
from jobmgr.errors import Problem, SuiteError

Scalar = str | int | float | bool
Duration = str | int | timedelta
"""A text such as ``1h30m``, whole seconds, or a timedelta."""
FilePath = str | PathLike[str]
ParameterValues = Scalar | Iterable[Scalar]

_DURATIONS = ("time_limit", "retry_delays", "submit_retry_delays", "polling_interval")


@dataclass(frozen=True, kw_only=True)
class Task:
    """One task; the fields are the task keys of suite.yaml (docs/suites.md). None leaves a key out."""

    script: str | None = None
    script_file: FilePath | None = None
    init_script: str | None = None
    pre_script: str | None = None
    post_script: str | None = None
    err_script: str | None = None
    exit_script: str | None = None
    inherit: str | Sequence[str] | None = None
    manual: bool | None = None
    platform: str | None = None
    runner: str | None = None
    environment: Mapping[str, Scalar] | None = None
    parameters: str | Sequence[str] | Mapping[str, ParameterValues] | None = None
    parameter_file: FilePath | None = None
    inputs: FilePath | Sequence[FilePath] | Mapping[FilePath, str] | None = None
    outputs: str | Sequence[str] | None = None
    events: str | Sequence[str] | None = None
    work_dir: str | None = None
    time_limit: Duration | None = None
    retry_delays: Duration | Sequence[Duration] | None = None
    submit_retry_delays: Duration | Sequence[Duration] | None = None
    polling_interval: Duration | Sequence[Duration] | None = None
    queue: str | None = None
    account: str | None = None
    nodes: int | None = None
    tasks: int | None = None
    cpus_per_task: int | None = None
    memory: str | None = None
    gpus: int | str | None = None
    job_name: str | None = None
    mail: str | None = None
    directives: Mapping[str, Scalar | Sequence[Scalar] | None] | None = None


@dataclass(frozen=True, kw_only=True)
class Suite:
    """A suite; the fields are the top-level keys of suite.yaml. ``folder``: where script files and inputs
    are, and what is installed; None for a suite without files."""

    name: str
    tasks: Mapping[str, Task]
    graph: str | Sequence[str] | None = None
    description: str | None = None
    parameters: Mapping[str, ParameterValues] | None = None
    install: str | Sequence[str] | None = None
    defaults: Task | None = None
    families: Mapping[str, Task] = field(default_factory=dict)
    folder: FilePath | None = None


def suite_tree(suite: Suite, label: str) -> Keys:
    """The tree that a suite.yaml with the same contents gives. Raises SuiteError for values of types that no
    suite.yaml could hold."""
    values: dict[str, Plain] = {"name": suite.name}
    for key in ("description", "graph", "parameters", "install"):
        value = getattr(suite, key)
        if value is not None:
            values[key] = _plain(label, key, value)
    if suite.defaults is not None:
        values["defaults"] = _task(label, "defaults", suite.defaults)
    if suite.families:
        values["families"] = {
            name: _task(label, f"families.{name}", task) for name, task in suite.families.items()
        }
    values["tasks"] = {name: _task(label, f"tasks.{name}", task) for name, task in suite.tasks.items()}
    tree = yaml_tree.from_plain(values)
    assert isinstance(tree, Keys)
    return tree


def _task(label: str, path: str, task: Task) -> Plain:
    if not isinstance(task, Task):
        raise SuiteError([Problem(label, 0, path, f"expected a Task, found {type(task).__name__}")])
    return {
        f.name: _plain(label, f"{path}.{f.name}", value, duration=f.name in _DURATIONS)
        for f in fields(task)
        if (value := getattr(task, f.name)) is not None
    }


def _plain(label: str, path: str, value: object, duration: bool = False) -> Plain:
    """A Python value as the YAML tree would hold it."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, timedelta):
        value, duration = int(value.total_seconds()), True
    if isinstance(value, int) and duration:
        return format_duration(value) if value >= 0 else f"{value}s"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, PathLike):
        return str(fspath(value))
    if isinstance(value, Mapping):
        return {
            str(_plain(label, path, key)): _plain(label, f"{path}.{key}", item) for key, item in value.items()
        }
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray)):
        return [_plain(label, path, item, duration) for item in value]
    raise SuiteError(
        [
            Problem(
                label, 0, path, f"expected text, a number, a list or a mapping, found {type(value).__name__}"
            )
        ]
    )
