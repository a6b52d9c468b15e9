"""The models of platforms.yaml. Checking only: the result of loading is :mod:`jobmgr.platforms.model`."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PlainValidator, WithJsonSchema

from jobmgr.core import fields
from jobmgr.core.fields import Pairs
from jobmgr.core.model_fields import (
    LIST_OF_TEXT,
    MAPPING_OF_TEXT,
    Count,
    Directives,
    Environment,
    Flag,
    Identifier,
    Identifiers,
    Intervals,
    Line,
    Portable,
    Script,
    Seconds,
    Strict,
)

_SELECTIONS = ("ordered", "random", "definition order")
_TRANSPORTS = ("auto", "fabric", "openssh", "local")
_SIZE: dict[str, Any] = {"type": "string", "pattern": "^[1-9][0-9]* ?[KMGTkmgt](i?[Bb])?$"}


def _selection(value: object) -> str:
    word = fields.one_of(*_SELECTIONS)(value)
    return "ordered" if word == "definition order" else word


Selection = Annotated[str, PlainValidator(_selection), WithJsonSchema({"enum": list(_SELECTIONS)})]
Transport = Annotated[
    str, PlainValidator(fields.one_of(*_TRANSPORTS)), WithJsonSchema({"enum": list(_TRANSPORTS)})
]
Hosts = Annotated[tuple[str, ...], PlainValidator(fields.targets), WithJsonSchema(LIST_OF_TEXT)]
HostPath = Annotated[str, PlainValidator(fields.host_path), WithJsonSchema({"type": "string"})]
Symlinks = Annotated[Pairs, PlainValidator(fields.symlinks), WithJsonSchema(MAPPING_OF_TEXT)]
RemoteCommand = Annotated[str, PlainValidator(fields.remote_command), WithJsonSchema({"type": "string"})]
Python = Annotated[str, PlainValidator(fields.python_path), WithJsonSchema({"type": "string"})]
SshOptions = Annotated[
    tuple[str, ...],
    PlainValidator(fields.ssh_options),
    WithJsonSchema({"oneOf": [*LIST_OF_TEXT["oneOf"], MAPPING_OF_TEXT]}),
]
ByteCount = Annotated[int, PlainValidator(fields.byte_count), WithJsonSchema(_SIZE)]


class PlatformModel(Portable):
    """What a platform may hold."""

    hosts: Hosts | None = Field(None, description="Hosts as ssh knows them; default the platform's name.")
    host_selection: Selection | None = Field(None, description="The order in which hosts are tried.")
    transport: Transport | None = Field(None, description="How the hosts are reached; default auto.")
    runner: Identifier | None = Field(None, description="What runs the jobs; default background.")
    runner_file: Line | None = Field(None, description="A Python file that holds the runner.")
    run_root: HostPath | None = Field(None, description="Default $HOME/jobmgr-run; expanded on the host.")
    symlinks: Symlinks | None = Field(None, description="Parts of the run directory that lie elsewhere.")
    remote_command: RemoteCommand | None = Field(None, description="An installed host side.")
    python: Python | None = Field(None, description="The path of the host's Python.")
    use_login_shell: Flag | None = Field(None, description="Jobs get the login environment.")
    ssh_options: SshOptions | None = Field(None, description="KEY=VALUE, as ssh -o takes them.")
    connect_timeout: Seconds | None = Field(None, description="Default 10s.")
    polling_interval: Intervals | None = Field(None, description="Waits between polls of running jobs.")
    queued_polling_interval: Intervals | None = Field(None, description="Waits between polls of queued jobs.")
    min_polling_interval: Seconds | None = Field(None, description="Default 10s; no poll sooner.")
    long_poll: Flag | None = Field(None, description="The host waits for news and tells them.")
    max_active: Count | None = Field(None, description="Jobs that run at a time.")
    max_submit: Count | None = Field(None, description="Jobs submitted and not ended at a time.")
    retrieve_logs: Flag | None = Field(None, description="Logs are brought home; default true.")
    retrieve_max_size: ByteCount | None = Field(None, description="Per file; default 10M.")
    directives: Directives | None = Field(None, description="Settings in the runner's own words.")
    environment: Environment | None = Field(None, description="Variables of every job.")
    init_script: Script | None = Field(None, description="Runs first in every job.")


class GroupModel(Strict):
    """Platforms that can stand in for one another."""

    platforms: Identifiers | None = Field(None, description="The members.")
    selection: Selection | None = Field(None, description="The order in which they are tried.")


class PlatformsModel(Strict):
    """The platforms that jobs run on."""

    platforms: dict[str, PlatformModel | None] | None = Field(None, description="The platforms.")
    groups: dict[str, GroupModel | None] | None = Field(None, description="Groups of platforms.")
