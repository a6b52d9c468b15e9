"""The models of suite.yaml. Checking only: the result of loading a suite is ``core.tasks.SuiteDef``."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from jobmgr.core import fields
from jobmgr.core.model_fields import (
    LIST_OF_TEXT,
    TEXT,
    Directives,
    Durations,
    Environment,
    Flag,
    Identifier,
    Identifiers,
    Inputs,
    Intervals,
    Patterns,
    Platform,
    Portable,
    RelativePath,
    Script,
    Seconds,
    Strict,
    WorkDir,
)
from jobmgr.core.yaml_tree import Plain
from jobmgr.suite import parameters as params

Values: dict[str, Any] = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
Parameters = Annotated[
    dict[str, params.Values],
    PlainValidator(params.table),
    WithJsonSchema({"type": "object", "additionalProperties": Values}),
]
Chosen = Annotated[
    tuple[str, ...] | dict[str, params.Values],
    PlainValidator(params.chosen),
    WithJsonSchema({"anyOf": [*LIST_OF_TEXT["oneOf"], {"type": "object", "additionalProperties": Values}]}),
]


class TaskModel(Portable):
    """What a task, a family or the defaults may hold."""

    script: Script | None = Field(None, description="Bash text, run under set -euo pipefail.")
    script_file: RelativePath | None = Field(None, description="A file of the suite with its own shebang.")
    init_script: Script | None = Field(None, description="Runs first, before jobmgr sets anything up.")
    pre_script: Script | None = Field(None, description="Runs before the script.")
    post_script: Script | None = Field(None, description="Runs after the script.")
    err_script: Script | None = Field(None, description="Runs when the job fails.")
    exit_script: Script | None = Field(None, description="Runs when the job has succeeded.")
    inherit: Identifiers | None = Field(None, description="Families, the first one wins.")
    manual: Flag | None = Field(None, description="Never started by the graph.")
    platform: Platform | None = Field(None, description="Platform or group; default localhost.")
    runner: Identifier | None = Field(None, description="Another runner than the platform's.")
    environment: Environment | None = Field(None, description="Variables of the job, in order.")
    parameters: Chosen | None = Field(None, description="Names of the suite's parameters, or own ones.")
    parameter_file: RelativePath | None = Field(None, description="A CSV file: one member per row.")
    inputs: Inputs | None = Field(None, description="Files put into the work directory.")
    outputs: Patterns | None = Field(None, description="Patterns brought home at the job's end.")
    events: Identifiers | None = Field(None, description="Names that the job may announce.")
    work_dir: WorkDir | None = Field(None, description="Default work/CYCLE/TASK.")
    time_limit: Seconds | None = Field(None, description="The longest that the job may run.")
    retry_delays: Durations | None = Field(None, description="Waits before each retry of a failed job.")
    submit_retry_delays: Durations | None = Field(None, description="Waits before each retry of a submit.")
    polling_interval: Intervals | None = Field(None, description="Waits between polls; the last repeats.")
    directives: Directives | None = Field(None, description="Settings in the runner's own words.")


def graph_text(value: object) -> Plain:
    """The graph as it is written: a text, or a list of lines."""
    if isinstance(value, list):
        return list(fields.each(enumerate(value), lambda _, item: fields.script(item)))
    return fields.script(value)


Graph = Annotated[
    Any,
    PlainValidator(graph_text),
    WithJsonSchema({"type": ["string", "array"], "items": {"type": "string"}}),
]


class SuiteModel(Strict):
    """A suite of jobmgr: tasks, the graph that orders them, and what they share."""

    name: Identifier | None = Field(None, description="Default: the name of the suite's folder.")
    description: Script | None = Field(None, description="What the suite is for.")
    graph: Graph | None = Field(None, description="a => b & c; without a graph every task runs.")
    parameters: Parameters | None = Field(None, description="Values for several tasks: {m: 1..500}.")
    install: Patterns | None = Field(None, description="Source files to install.")
    defaults: TaskModel | None = Field(None, description="What every task starts from.")
    families: dict[str, TaskModel | None] | None = Field(None, description="Inherited from, never run.")
    tasks: dict[str, TaskModel | None] | None = Field(None, description="The tasks.")
