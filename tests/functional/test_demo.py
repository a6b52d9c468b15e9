"""The demo: in a pipe, on a terminal, interrupted. Nothing of it stays."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from shells import Shell, eventually, interrupt, processes_in


@pytest.fixture
def alone() -> Iterator[Shell]:
    """A shell without hosts whose temporary files are all in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="jm-", dir="/tmp"))
    (folder / "me").mkdir()
    (folder / "t").mkdir()
    shell = Shell(folder, {}, {"TMPDIR": str(folder / "t")})
    for name in ("JOBMGR_RUN_ROOT", "JOBMGR_PLATFORMS", "JOBMGR_SSH_CONFIG"):
        shell.extra[name] = ""
    try:
        yield shell
    finally:
        shutil.rmtree(folder)


def nothing_left(shell: Shell) -> bool:
    """No process that lives in the demo's folder, no file, none in the user's home."""
    files = list((shell.folder / "t").iterdir()) + list(shell.home.iterdir())
    return not files and not [pid for pid in processes_in(shell.folder) if pid != os.getpid()]


@pytest.mark.slow
def test_the_demo_in_a_pipe_shows_everything_and_leaves_nothing(alone: Shell) -> None:
    out = alone("demo")
    for said in ("$ jobmgr play", "$ jobmgr status suitex", "1/remote-a/01  killed", "JOBMGR_EXIT=SIGNAL/TERM",
                 "The run directory here", "The run directory on wizard", "|__remote-b/"):  # fmt: skip
        assert said in out
    assert re.search(r"suitex finished in .*: 2 succeeded, 2 removed", out)
    assert "\x1b[" not in out
    assert nothing_left(alone)


@pytest.mark.parametrize("moment", ["private sshd", "jobmgr play", "delayer"])
def test_ctrl_c_on_a_terminal_leaves_nothing(alone: Shell, moment: str) -> None:
    with alone.terminal("demo") as (process, screen):
        screen.until(moment)
        interrupt(process)
        screen.until()
        assert process.wait(60) == 130
    eventually(lambda: nothing_left(alone))


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGKILL])
def test_a_demo_that_is_ended_in_its_middle_leaves_nothing(alone: Shell, number: signal.Signals) -> None:
    with alone.terminal("demo") as (process, screen):
        screen.until("delayer")
        process.send_signal(number)
        process.wait(60)
    eventually(lambda: nothing_left(alone))


@pytest.mark.skipif(shutil.which("tmux") is None, reason="no tmux here")
def test_a_demo_whose_window_is_closed_leaves_nothing(alone: Shell) -> None:
    socket = str(alone.folder / "tmux")

    def tmux(*words: str) -> str:
        done = subprocess.run(
            ["tmux", "-f", "/dev/null", "-S", socket, *words], env=alone.environment, capture_output=True,
            check=True, text=True, timeout=30,
        )  # fmt: skip
        return done.stdout

    tmux("new-session", "-d", "-x", "120", "-y", "40", f"{sys.executable} -m jobmgr demo")
    try:
        eventually(lambda: "delayer" in tmux("capture-pane", "-p"))
    finally:
        tmux("kill-server")
    eventually(lambda: nothing_left(alone))
