"""The public keys by which ssh would log in to a host: of the configured files, else of the agent."""

from __future__ import annotations

import base64
import os
import subprocess

from jobmgr.errors import UsageError
from jobmgr.transport.environment import for_ssh
from jobmgr.transport.identity import key_type_of, read_identity
from jobmgr.transport.ssh_settings import SshSettings

AGENT_TIMEOUT = 10.0


def of_file(path: str) -> str:
    """``TYPE BASE64`` of a public key file, or of a private one whose public part can be read.

    Raises UsageError.
    """
    identity = read_identity(path)
    if identity is None:
        raise UsageError(f"{path}: no key can be read there")
    if not identity.blob:
        raise UsageError(f"{path}: its public part is not known; give the .pub file")
    return f"{key_type_of(identity.blob)} {base64.b64encode(identity.blob).decode('ascii')}"


def of_host(settings: SshSettings) -> list[tuple[str, str]]:
    """(where it comes from, ``TYPE BASE64``) of every key that ssh would offer, in its order; the agent's only
    if no file has one."""
    found = []
    for path in settings.identity_files:
        identity = read_identity(path)
        if identity is not None and identity.blob:
            found.append((path, of_file(path)))
    return found or [("the agent", line) for line in _of_agent(settings)]


def _of_agent(settings: SshSettings) -> list[str]:
    """``ssh-add -L`` (ssh-add(1)): one line per key, ``TYPE BASE64 COMMENT``."""
    environ = for_ssh()
    agent = settings.identity_agent
    if agent is None:
        return []
    if agent.startswith("$"):
        environ["SSH_AUTH_SOCK"] = os.environ.get(agent.strip("${}"), "")
    elif agent != "SSH_AUTH_SOCK":
        environ["SSH_AUTH_SOCK"] = agent
    if not environ.get("SSH_AUTH_SOCK"):
        return []
    try:
        done = subprocess.run(
            ["ssh-add", "-L"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=AGENT_TIMEOUT,
            env=environ,
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    words = [line.split() for line in done.stdout.splitlines()] if done.returncode == 0 else []
    return [" ".join(line[:2]) for line in words if len(line) >= 2]
