"""The models of suite.yaml. Checking only: the result of loading a suite is ``core.tasks.SuiteDef``."""

from __future__ import annotations

from typing import Any

from jobmgr.core import fields
from jobmgr.core.model import Key, Kind, Many, Model, One
from jobmgr.core.model_fields import (
    DIRECTIVES,
    DURATIONS,
    ENVIRONMENT,
    FLAG,
    IDENTIFIER,
    IDENTIFIERS,
    INPUTS,
    INTERVALS,
    LIST_OF_TEXT,
    PATTERNS,
    PLATFORM,
    RELATIVE_PATH,
    SCRIPT,
    SECONDS,
    TEXT,
    WORK_DIR,
    Portable,
)
from jobmgr.core.yaml_tree import Plain
from jobmgr.suite import parameters as params

Values: dict[str, Any] = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
PARAMETERS = Kind(params.table, {"type": "object", "additionalProperties": Values})
CHOSEN = Kind(
    params.chosen, {"anyOf": [*LIST_OF_TEXT["oneOf"], {"type": "object", "additionalProperties": Values}]}
)


class TaskModel(Portable):
    """What a task, a family or the defaults may hold."""

    script = Key(SCRIPT, "Bash text, run under set -euo pipefail.")
    script_file = Key(RELATIVE_PATH, "A file of the suite with its own shebang.")
    init_script = Key(SCRIPT, "Runs first, before jobmgr sets anything up.")
    pre_script = Key(SCRIPT, "Runs before the script.")
    post_script = Key(SCRIPT, "Runs after the script.")
    err_script = Key(SCRIPT, "Runs when the job fails.")
    exit_script = Key(SCRIPT, "Runs when the job has succeeded.")
    inherit = Key(IDENTIFIERS, "Families, the first one wins.")
    manual = Key(FLAG, "Never started by the graph.")
    platform = Key(PLATFORM, "Platform or group; default localhost.")
    runner = Key(IDENTIFIER, "Another runner than the platform's.")
    environment = Key(ENVIRONMENT, "Variables of the job, in order.")
    parameters = Key(CHOSEN, "Names of the suite's parameters, or own ones.")
    parameter_file = Key(RELATIVE_PATH, "A CSV file: one member per row.")
    inputs = Key(INPUTS, "Files put into the work directory.")
    outputs = Key(PATTERNS, "Patterns brought home at the job's end.")
    events = Key(IDENTIFIERS, "Names that the job may announce.")
    work_dir = Key(WORK_DIR, "Default work/CYCLE/TASK.")
    time_limit = Key(SECONDS, "The longest that the job may run.")
    retry_delays = Key(DURATIONS, "Waits before each retry of a failed job.")
    submit_retry_delays = Key(DURATIONS, "Waits before each retry of a submit.")
    polling_interval = Key(INTERVALS, "Waits between polls; the last repeats.")
    directives = Key(DIRECTIVES, "Settings in the runner's own words.")


def graph_text(value: object) -> Plain:
    """The graph as it is written: a text, or a list of lines."""
    if isinstance(value, list):
        return list(fields.each(enumerate(value), lambda _, item: fields.script(item)))
    return fields.script(value)


GRAPH = Kind(graph_text, {"type": ["string", "array"], "items": {"type": "string"}})


class SuiteModel(Model):
    """A suite of jobmgr: tasks, the graph that orders them, and what they share."""

    name = Key(IDENTIFIER, "Default: the name of the suite's folder.")
    description = Key(SCRIPT, "What the suite is for.")
    graph = Key(GRAPH, "a => b & c; without a graph every task runs.")
    parameters = Key(PARAMETERS, "Values for several tasks: {m: 1..500}.")
    install = Key(PATTERNS, "Source files to install.")
    defaults = One(TaskModel, "What every task starts from.")
    families = Many(TaskModel, "Inherited from, never run.")
    tasks = Many(TaskModel, "The tasks.")
