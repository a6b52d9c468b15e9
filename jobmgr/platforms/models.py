"""The models of platforms.yaml. Checking only: the result of loading is :mod:`jobmgr.platforms.model`."""

from __future__ import annotations

from typing import Any

from jobmgr.core import fields
from jobmgr.core.model import Key, Kind, Many, Model
from jobmgr.core.model_fields import (
    COUNT,
    DIRECTIVES,
    ENVIRONMENT,
    FLAG,
    IDENTIFIER,
    IDENTIFIERS,
    INTERVALS,
    LINE,
    LIST_OF_TEXT,
    MAPPING_OF_TEXT,
    SCRIPT,
    SECONDS,
    Portable,
)

_SELECTIONS = ("ordered", "random", "definition order")
_TRANSPORTS = ("auto", "fabric", "openssh", "local")
_SIZE: dict[str, Any] = {"type": "string", "pattern": "^[1-9][0-9]* ?[KMGTkmgt](i?[Bb])?$"}


def _selection(value: object) -> str:
    word = fields.one_of(*_SELECTIONS)(value)
    return "ordered" if word == "definition order" else word


SELECTION = Kind(_selection, {"enum": list(_SELECTIONS)})
TRANSPORT = Kind(fields.one_of(*_TRANSPORTS), {"enum": list(_TRANSPORTS)})
HOSTS = Kind(fields.targets, LIST_OF_TEXT)
HOST_PATH = Kind(fields.host_path, {"type": "string"})
SYMLINKS = Kind(fields.symlinks, MAPPING_OF_TEXT)
REMOTE_COMMAND = Kind(fields.remote_command, {"type": "string"})
PYTHON = Kind(fields.python_path, {"type": "string"})
SSH_OPTIONS = Kind(fields.ssh_options, {"oneOf": [*LIST_OF_TEXT["oneOf"], MAPPING_OF_TEXT]})
BYTE_COUNT = Kind(fields.byte_count, _SIZE)


class PlatformModel(Portable):
    """What a platform may hold."""

    hosts = Key(HOSTS, "Hosts as ssh knows them; default the platform's name.")
    host_selection = Key(SELECTION, "The order in which hosts are tried.")
    transport = Key(TRANSPORT, "How the hosts are reached; default auto.")
    runner = Key(IDENTIFIER, "What runs the jobs; default background.")
    runner_file = Key(LINE, "A Python file that holds the runner.")
    run_root = Key(HOST_PATH, "Default $HOME/jobmgr-run; expanded on the host.")
    symlinks = Key(SYMLINKS, "Parts of the run directory that lie elsewhere.")
    remote_command = Key(REMOTE_COMMAND, "An installed host side.")
    python = Key(PYTHON, "The path of the host's Python.")
    use_login_shell = Key(FLAG, "Jobs get the login environment.")
    ssh_options = Key(SSH_OPTIONS, "KEY=VALUE, as ssh -o takes them.")
    connect_timeout = Key(SECONDS, "Default 10s.")
    polling_interval = Key(INTERVALS, "Waits between polls of running jobs.")
    queued_polling_interval = Key(INTERVALS, "Waits between polls of queued jobs.")
    min_polling_interval = Key(SECONDS, "Default 10s; no poll sooner.")
    long_poll = Key(FLAG, "The host waits for news and tells them.")
    max_active = Key(COUNT, "Jobs that run at a time.")
    max_submit = Key(COUNT, "Jobs submitted and not ended at a time.")
    retrieve_logs = Key(FLAG, "Logs are brought home; default true.")
    retrieve_max_size = Key(BYTE_COUNT, "Per file; default 10M.")
    directives = Key(DIRECTIVES, "Settings in the runner's own words.")
    environment = Key(ENVIRONMENT, "Variables of every job.")
    init_script = Key(SCRIPT, "Runs first in every job.")


class GroupModel(Model):
    """Platforms that can stand in for one another."""

    platforms = Key(IDENTIFIERS, "The members.")
    selection = Key(SELECTION, "The order in which they are tried.")


class PlatformsModel(Model):
    """The platforms that jobs run on."""

    platforms = Many(PlatformModel, "The platforms.")
    groups = Many(GroupModel, "Groups of platforms.")
