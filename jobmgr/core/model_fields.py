"""The kinds of values that the models of suites and platforms share: each is a reader of
:mod:`jobmgr.core.fields` with its JSON Schema."""

from __future__ import annotations

from typing import Any

from jobmgr.core import fields
from jobmgr.core.model import Key, Kind, Model

TEXT: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
"""Editors read YAML with implicit types; to jobmgr all of these are text."""

LIST_OF_TEXT: dict[str, Any] = {
    "oneOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]
}
MAPPING_OF_TEXT: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}

SCRIPT = Kind(fields.script, {"type": ["string", "null"]})
IDENTIFIER = Kind(fields.identifier, TEXT)
IDENTIFIERS = Kind(fields.identifiers, LIST_OF_TEXT)
LINE = Kind(fields.line, TEXT)
FLAG = Kind(fields.flag, {"type": "boolean"})
COUNT = Kind(fields.count, {"type": "integer", "minimum": 1})
SECONDS = Kind(fields.positive_duration, {"type": "string"})
DURATIONS = Kind(fields.duration_list, LIST_OF_TEXT)
INTERVALS = Kind(fields.interval_list, LIST_OF_TEXT)
PLATFORM = Kind(fields.target, {"type": "string"})
PATTERNS = Kind(fields.patterns, LIST_OF_TEXT)
ENVIRONMENT = Kind(fields.environment, MAPPING_OF_TEXT)
INPUTS = Kind(fields.input_pairs, {"oneOf": [*LIST_OF_TEXT["oneOf"], MAPPING_OF_TEXT]})
WORK_DIR = Kind(fields.work_dir, {"type": ["string", "null"]})
RELATIVE_PATH = Kind(fields.relative_path, {"type": "string"})
MEMORY = Kind(fields.size, {"type": "string", "pattern": "^[1-9][0-9]* ?[KMGTkmgt](i?[Bb])?$"})
GPUS = Kind(fields.gpus, {"type": ["string", "integer"]})
DIRECTIVES = Kind(
    fields.directives,
    {"type": "object", "additionalProperties": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}},
)


class Portable(Model):
    """What every runner says in its own way."""

    queue = Key(LINE, "Queue or partition.")
    account = Key(LINE, "Account or project that is charged.")
    nodes = Key(COUNT, "Number of nodes.")
    tasks = Key(COUNT, "Number of processes (MPI ranks).")
    cpus_per_task = Key(COUNT, "Cores of each process.")
    memory = Key(MEMORY, "Memory per node, such as 4G.")
    gpus = Key(GPUS, "GPUs, as a number or TYPE:NUMBER.")
    job_name = Key(LINE, "The job's name in the queue.")
    mail = Key(LINE, "Address that the queue writes to.")
