"""The field types that the models of suites and platforms share: each is a reader of
:mod:`jobmgr.core.fields` with its JSON Schema. Imports pydantic; only models come here."""

from __future__ import annotations

from typing import Annotated, Any

import pydantic
from pydantic import Field, PlainValidator, WithJsonSchema

from jobmgr.core import fields
from jobmgr.core.fields import Directive, Pairs

TEXT: dict[str, Any] = {"type": ["string", "number", "boolean", "null"]}
"""Editors read YAML with implicit types; to jobmgr all of these are text."""

LIST_OF_TEXT: dict[str, Any] = {
    "oneOf": [{"type": ["string", "number"]}, {"type": "array", "items": {"type": ["string", "number"]}}]
}
COUNT: dict[str, Any] = {"type": "integer", "minimum": 1}
MAPPING_OF_TEXT: dict[str, Any] = {"type": "object", "additionalProperties": TEXT}

Script = Annotated[str, PlainValidator(fields.script), WithJsonSchema({"type": ["string", "null"]})]
Words = Annotated[str, PlainValidator(fields.words), WithJsonSchema(TEXT)]
Identifier = Annotated[str, PlainValidator(fields.identifier), WithJsonSchema(TEXT)]
Identifiers = Annotated[tuple[str, ...], PlainValidator(fields.identifiers), WithJsonSchema(LIST_OF_TEXT)]
Line = Annotated[str, PlainValidator(fields.line), WithJsonSchema(TEXT)]
Lines = Annotated[tuple[str, ...], PlainValidator(fields.lines), WithJsonSchema(LIST_OF_TEXT)]
Flag = Annotated[bool, PlainValidator(fields.flag), WithJsonSchema({"type": "boolean"})]
Count = Annotated[int, PlainValidator(fields.count), WithJsonSchema(COUNT)]
Seconds = Annotated[int, PlainValidator(fields.positive_duration), WithJsonSchema({"type": "string"})]
Durations = Annotated[tuple[int, ...], PlainValidator(fields.duration_list), WithJsonSchema(LIST_OF_TEXT)]
Intervals = Annotated[tuple[int, ...], PlainValidator(fields.interval_list), WithJsonSchema(LIST_OF_TEXT)]
Platform = Annotated[str, PlainValidator(fields.target), WithJsonSchema({"type": "string"})]
Patterns = Annotated[tuple[str, ...], PlainValidator(fields.patterns), WithJsonSchema(LIST_OF_TEXT)]
Environment = Annotated[Pairs, PlainValidator(fields.environment), WithJsonSchema(MAPPING_OF_TEXT)]
Inputs = Annotated[
    Pairs,
    PlainValidator(fields.input_pairs),
    WithJsonSchema({"oneOf": [*LIST_OF_TEXT["oneOf"], MAPPING_OF_TEXT]}),
]
WorkDir = Annotated[str, PlainValidator(fields.work_dir), WithJsonSchema({"type": ["string", "null"]})]
RelativePath = Annotated[str, PlainValidator(fields.relative_path), WithJsonSchema({"type": "string"})]
Memory = Annotated[
    str,
    PlainValidator(fields.size),
    WithJsonSchema({"type": "string", "pattern": "^[1-9][0-9]* ?[KMGTkmgt](i?[Bb])?$"}),
]
Gpus = Annotated[str, PlainValidator(fields.gpus), WithJsonSchema({"type": ["string", "integer"]})]
Directives = Annotated[
    tuple[tuple[str, Directive], ...],
    PlainValidator(fields.directives),
    WithJsonSchema(
        {"type": "object", "additionalProperties": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}}
    ),
]


class Strict(pydantic.BaseModel):
    """Base of all models: no key but the known ones."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Portable(Strict):
    """What every runner says in its own way."""

    queue: Line | None = Field(None, description="Queue or partition.")
    account: Line | None = Field(None, description="Account or project that is charged.")
    nodes: Count | None = Field(None, description="Number of nodes.")
    tasks: Count | None = Field(None, description="Number of processes (MPI ranks).")
    cpus_per_task: Count | None = Field(None, description="Cores of each process.")
    memory: Memory | None = Field(None, description="Memory per node, such as 4G.")
    gpus: Gpus | None = Field(None, description="GPUs, as a number or TYPE:NUMBER.")
    job_name: Line | None = Field(None, description="The job's name in the queue.")
    mail: Line | None = Field(None, description="Address that the queue writes to.")
