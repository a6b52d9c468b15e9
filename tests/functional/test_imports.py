"""Lazy imports: what is not needed is not loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shells import Shell

HEAVY = ("paramiko", "fabric", "invoke", "cryptography", "rich", "sh", "yaml")


def imported(user: Shell, *words: str) -> set[str]:
    """Top-level packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "jobmgr", *words], env=user.environment, cwd=user.home,
        capture_output=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done
    lines = [line for line in done.stderr.decode().splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().split(".")[0] for line in lines}


@pytest.fixture(scope="module")
def settled(module_user: Shell) -> Shell:
    """A run at its end, and one with a job that needs no look for a while."""
    module_user("play", module_user.suite("done", "tasks: {a: {platform: wizard, script: 'true'}}\n"))
    module_user.platforms(
        "platforms: {wizard: {hosts: [wizard], runner: background, polling_interval: 1h,"
        " queued_polling_interval: 1h}}\n"
    )
    module_user("run", "wizard", "--suite", "going", "--", "sleep", "300")
    module_user("poll", "going")
    return module_user


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["status"], ["status", "done"], ["status", "going"],
                                   ["tick", "done"], ["tick", "going"], ["tick", "--all"]])  # fmt: skip
def test_commands_without_anything_to_ask_load_nothing_heavy(settled: Shell, words: list[str]) -> None:
    loaded = imported(settled, *words)
    assert "jobmgr" in loaded
    assert loaded.isdisjoint(HEAVY), (words, loaded & set(HEAVY))


def test_what_asks_a_host_does_load_the_transport(settled: Shell) -> None:
    assert "paramiko" in imported(settled, "poll", "going")
