"""The environment that jobmgr gives to the programs it starts on this machine."""

from __future__ import annotations

import os
from collections.abc import Mapping


def scrubbed(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """``environ`` (default: this process's own) without any ``JOBMGR_*`` variable.

    A kill finds the processes of a job by the token in their environment. An SSH master that was
    started by a job's own ``jobmgr`` call serves others too and must not be found that way.
    """
    source = os.environ if environ is None else environ
    return {key: value for key, value in source.items() if not key.startswith("JOBMGR_")}


def outliving(environ: Mapping[str, str]) -> dict[str, str]:
    """``environ`` for what must not die with the job that this jobmgr was called from.

    That is an SSH master, and a call of the host side on this machine. A kill finds the processes of a
    job by descent too; it spares what carries this mark and not the job's token.
    """
    return {**environ, "JOBMGR_SERVICE": "1"}


OF_THIS_LOGIN = ("SSH_CLIENT", "SSH_CONNECTION", "SSH_ORIGINAL_COMMAND", "SSH_TTY")
PROMPTERS = ("DISPLAY", "SSH_ASKPASS", "WAYLAND_DISPLAY")


def for_ssh(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of an ssh that must never ask anybody: agent and Kerberos yes, prompts no.

    ``BatchMode`` does not reach the ssh of a ``ProxyJump``; without these variables it cannot ask either.
    """
    kept = {key: value for key, value in scrubbed(environ).items() if key not in OF_THIS_LOGIN + PROMPTERS}
    kept["SSH_ASKPASS_REQUIRE"] = "never"
    return kept
